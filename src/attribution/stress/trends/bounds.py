"""How far may parallel trends fail before the answer changes? Honest bounds of an event study."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

import numpy as np
import pandas as pd

from ...errors import EstimationError, check_level
from ...inference import normal_interval, normal_p_value
from ...results import TIDY_COLUMNS, Effects, Result
from .cone import MOST
from .restrictions import Bound, EventPath, Monotone, Sign, event_path, is_whole, whole_numbers
from .sets import FEW_DRAWS, ConfidenceSet, Method
from .solve import Solver, breakdown, relative_solver, sizes, smooth_solver, weight_vector

At = int | Mapping[int, float] | Literal["average"]
ALL, WITH, WITHOUT = "as named", "with the dip", "without the dip"


@dataclass(frozen=True, kw_only=True, repr=False)
class Bounds(Result):
    """Confidence sets of one effect, for growing violations of parallel trends.

    table : the columns of the results protocol and restriction, parameter ("Mbar", "M"), value (of it), pre_periods
        ("as named", or "with the dip" and "without the dip"), method. The row "original" is the usual interval.
    breakdowns : largest value for which the set excludes zero, by pre_periods; 0 = none does, inf = every one tried.
    """

    estimand: str
    unit: str
    restriction: str
    parameter: Literal["Mbar", "M"]
    table: pd.DataFrame
    breakdowns: Mapping[str, float]
    spec: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def breakdown(self) -> float:
        """The breakdown value; the smaller one where there is one with and one without the dip."""
        return min(self.breakdowns.values())

    @property
    def breakdown_shown(self) -> float:
        """The breakdown value as it is printed: cut, not rounded."""
        value = self.breakdown
        return float(size_in_words(value, self.parameter)) if 0 < value < np.inf else value

    def tidy(self) -> pd.DataFrame:
        """One row a set; `breakdown` repeats the value of its pre_periods."""
        return self.table.assign(breakdown=self.table["pre_periods"].map(self.breakdowns))

    def summary(self) -> str:
        frame = self.table[["pre_periods", "term", "conf_low", "conf_high"]]
        if len(self.breakdowns) == 1:
            frame = frame.drop(columns="pre_periods")
        text = frame.to_string(index=False, float_format=lambda v: f"{v:,.4g}" if abs(v) < 1000 else f"{v:,.0f}")
        sets = f"({self.spec['level']:.0%} sets, {self.spec['method']})"
        head = f"{self.estimand}, in {self.unit}: {self.restriction} {sets}"
        return "\n".join([head, text, *map(self._say, self.breakdowns), *self.notes])

    def _say(self, pre_periods: str) -> str:
        value, name = self.breakdowns[pre_periods], self.parameter
        shown = size_in_words(value, name)
        lead = "" if len(self.breakdowns) == 1 else f"{pre_periods[:1].upper()}{pre_periods[1:]}: "
        if value == 0:
            return f"{lead}breakdown {name} 0: already at {name} = 0 the set holds zero."
        if np.isinf(value):
            return f"{lead}no breakdown: at no {name} tried does the set reach zero."
        if name == "M":
            return (f"{lead}breakdown M {shown}: the set excludes zero as long as the difference in trends changes "
                    f"its slope by at most that much a period.")  # fmt: skip
        what = "step" if self.spec["bound"] == "parallel trends" else "change of slope"
        return (f"{lead}breakdown Mbar {shown}: the set excludes zero as long as no {what} of the difference in "
                f"trends from date zero on exceeds {shown} times the largest one before.")  # fmt: skip


def size_in_words(value: float, parameter: str) -> str:
    """A breakdown value cut, not rounded, to two digits: at what is printed, zero is still excluded."""
    digits = 2 if parameter == "Mbar" or value == 0 else 1 - int(np.floor(np.log10(value)))
    return f"{np.floor(value * 10.0**digits + 1e-9) / 10.0**digits:.{max(digits, 0)}f}"


def relative_magnitudes(
    effects: Effects, *, pre_periods: Sequence[int], mbar: Sequence[float] = (0, 0.5, 1, 1.5, 2), at: At = "average",
    dip: Sequence[int] | None = None, bias: Sign | None = None, monotone: Monotone | None = None,
    bound: Bound = "parallel trends", method: Method = "c-lf", level: float = 0.95,
) -> Bounds:  # fmt: skip
    """Bounds on an effect if trends part at most Mbar times as fast after treatment as before: ATT, in bounds.

    Estimand : the combination `at` of event-time effects.
    Assumes : from one period to the next, the difference in untreated trends moves after date zero by at most Mbar
        times its largest move among `pre_periods`; at Mbar = 0 it stays where it was in the last period before
        treatment, whatever the base. Estimates jointly normal.
    Estimator : Delta^RM(Mbar) (Rambachan & Roth 2023; with bound="linear trend" Delta^SDRM, on changes of slope),
        optionally with the sign or direction of the bias; test inversion by the conditional test of Andrews, Roth &
        Pakes (2023), with a least-favourable first stage of a tenth of the size (c-lf) or without (conditional).
    Std. errors : full covariance of the event study. The critical value of the first stage is simulated: 40,000 draws
        (fewer, at least 4,000, beyond 25 vertices) of an own generator with a fixed seed. Beyond 20,000 vertices (sign
        or direction over about 11 event times), linear programmes (HiGHS) replace the list, with 4,000 draws of which
        those that may decide the quantile are solved; a note says so. A narrow interval apart from the rest of a set
        may then be missed, above all with "conditional".
    Edge cases : only effects from one base for all event times and cohorts (universal, a fixed event time or a window;
        varying, and bases that differ between cohorts, are refused), and none with Student's t (few clusters or units).
        Gaps between event times count per period. A set that is not an interval is reported as its hull, with a note;
        an empty one as missing. With `dip`, the bounds are given twice. Without the dip, nothing is assumed about the
        deviation in those periods: they set no Mbar, and the first step spans from the last period before them, one
        Mbar a period. Use `balance` in `aggregate`, or the mix of cohorts may pose as a trend.
    Checked : reference/did (R HonestDiD 0.2.6).

    Parameters
    ----------
    effects : from `aggregate(gt, by="event_time")`. pre_periods : event times whose moves set Mbar; a single base
        counts as one of them. mbar : values >= 0, no unit.
    at : "average" of all event times after treatment, one event time, or {event time: weight}.
    dip : every event time of the dip, for example (-3, -2, -1); those after date zero may be named too.
    bias : "positive" or "negative", sign of the difference in trends from date zero on, measured from the base.
    monotone : "increasing" or "decreasing" difference in trends from the last period before treatment on.
    bound : "parallel trends" compares moves, "linear trend" changes of slope. level : of each set.

    Raises
    ------
    EstimationError : varying or several bases, few clusters, no or unknown pre-periods, event times not estimated.
    """

    def solver(path: EventPath, weights: np.ndarray, named: Sequence[int]) -> Solver:
        return relative_solver(path, weights, pre_periods=named, bound=bound, bias=bias, monotone=monotone,
                               method=method, level=level)  # fmt: skip

    restriction = "relative magnitudes" if bound == "parallel trends" else "relative magnitudes of changes of slope"
    return _bounds(
        effects, solver, sizes(mbar, "mbar"), at, dip, whole_numbers(pre_periods, "pre_periods"), parameter="Mbar",
        restriction=restriction + _shape_words(bias, monotone), level=level,
        spec={"bias": bias, "monotone": monotone, "bound": bound, "method": method},
    )  # fmt: skip


def smoothness(
    effects: Effects, *, m: Sequence[float], at: At = "average", dip: Sequence[int] | None = None,
    bias: Sign | None = None, monotone: Monotone | None = None, method: Method | None = None, level: float = 0.95,
) -> Bounds:  # fmt: skip
    """Bounds on an effect if the difference in trends bends by at most M a period: ATT, in bounds.

    Estimand : the combination `at` of event-time effects.
    Assumes : the difference in untreated trends changes its slope by at most M from one period to the next; at M = 0 it
        is a straight line, extended from before treatment. Estimates jointly normal.
    Estimator : Delta^SD(M) (Rambachan & Roth 2023). "flci": shortest interval of fixed length around a linear
        estimator (Armstrong & Kolesár 2020), only without a sign restriction and the default there; "c-lf" (default
        with one), "conditional", and "c-f" with an FLCI first stage: test inversion as in `relative_magnitudes`.
    Std. errors : as in `relative_magnitudes`; the FLCI needs no simulation.
    Edge cases : as in `relative_magnitudes`; with gaps, M is per period of the longer steps too.
    Checked : reference/did (R HonestDiD 0.2.6).

    Parameters
    ----------
    effects, at, dip, bias, monotone, level : as in `relative_magnitudes`. Every event time before treatment counts.
    m : values >= 0, unit of the outcome per period squared.
    """
    chosen: Method = method or ("flci" if bias is None and monotone is None else "c-lf")

    def solver(path: EventPath, weights: np.ndarray, named: Sequence[int]) -> Solver:
        return smooth_solver(path, weights, bias=bias, monotone=monotone, method=chosen, level=level)

    return _bounds(
        effects, solver, sizes(m, "m"), at, dip, None, parameter="M",
        restriction="smoothness" + _shape_words(bias, monotone), level=level,
        spec={"bias": bias, "monotone": monotone, "method": chosen},
    )  # fmt: skip


def path_of(effects: Effects) -> EventPath:
    """The event path of effects by event time, with their base found or refused."""
    labels = effects.labels
    if "event_time" not in labels or labels["event_time"].isna().any() or labels["event_time"].duplicated().any():
        raise EstimationError("one effect for each event time", f"effects {effects.estimand}",
                              'aggregate first: at.aggregate(gt, by="event_time")')  # fmt: skip
    if effects.dof is not None:
        raise EstimationError(
            "a normal estimate, as the confidence sets assume",
            "standard errors of few clusters or few units, with Student's t",
            "keep event times of 20 units and more (`balance` in aggregate) and more than 40 clusters, or say "
            "few_clusters='off' in the estimator, whose sets are then too short",
        )  # fmt: skip
    times = labels["event_time"].to_numpy(int)
    known = np.isfinite(effects.estimate)
    return event_path(effects.estimate[known], effects.cov[np.ix_(known, known)], times[known], _base(effects, times),
                      first_post=-int(effects.spec.get("anticipation", 0)))  # fmt: skip


def _base(effects: Effects, times: np.ndarray) -> int | tuple[int, int]:
    base, bases = effects.spec.get("base_period"), effects.spec.get("bases") or ()
    if effects.spec.get("estimator") == "imputation":
        raise EstimationError(
            "every effect measured from one base period", "imputation: its effects start from all periods before "
            "treatment, its rows before treatment from a regression of their own, so they have no base",
            "use group_time_att(..., base_period=-1), or sun_abraham",
        )  # fmt: skip
    if base is None or base == "varying":
        raise EstimationError(
            "every effect measured from one base period", f"base_period={base!r}: each pre-period has its own base",
            'use group_time_att(..., base_period="universal"), or a negative event time such as -6',
        )  # fmt: skip
    if len(bases) > 1:
        raise EstimationError(
            "every effect measured from one base period", "event times of several bases",
            "cohorts may differ because of a gap in the periods: use one fixed event time, or a window, that all "
            "cohorts have", count=len(bases), keys=[_listed(one) for one in bases],
        )  # fmt: skip
    if isinstance(base, (tuple, list)):
        return int(base[0]) if base[0] == base[-1] else (int(base[0]), int(base[-1]))
    if base != "universal":
        return int(base)
    found = times[(effects.estimate == 0) & ~np.isfinite(effects.std_error)]
    if len(found) != 1:
        raise EstimationError(
            "one base event time for all cohorts", "another number of event times at exactly 0",
            "give base_period as a negative event time", count=len(found), keys=found.tolist(),
        )  # fmt: skip
    return int(found[0])


def _bounds(
    effects: Effects, solver: Callable[[EventPath, np.ndarray, Sequence[int]], Solver], values: list[float], at: At,
    dip: Sequence[int] | None, pre_periods: tuple[int, ...] | None, *, parameter: Literal["Mbar", "M"],
    restriction: str, level: float, spec: dict[str, Any],
) -> Bounds:  # fmt: skip
    check_level(level)
    path = path_of(effects)
    dipped = _dip(path, dip)
    chosen, words = _target(path, at, dipped)
    whole = weight_vector(path, chosen)
    estimate, std_error = float(whole @ path.estimate), float(np.sqrt(whole @ path.cov @ whole))
    low, high = (float(end) for end in normal_interval(estimate, std_error, level))
    rows: list[dict[str, Any]] = []
    breakdowns, notes = {}, list(effects.notes)
    for variant in (WITH, WITHOUT) if dipped else (ALL,):
        here = path.without(dipped) if variant == WITHOUT else path
        named = [t for t in pre_periods or () if variant != WITHOUT or t not in dipped]
        solve = cache(solver(here, weight_vector(here, chosen), named))
        found = [solve(value) for value in values]
        start = 1.0 if parameter == "Mbar" else max(values) or std_error / 10
        breakdowns[variant] = breakdown(solve, start=start, relative=parameter == "M")
        rows.append({"term": "original", "pre_periods": variant, "estimate": estimate, "std_error": std_error,
                     "conf_low": low, "conf_high": high})  # fmt: skip
        rows += [{"term": f"{parameter} = {v:g}", "value": v, "pre_periods": variant, "conf_low": one.low,
                  "conf_high": one.high} for v, one in zip(values, found, strict=True)]  # fmt: skip
        notes += _notes(found, values, parameter, "" if variant == ALL else f" {variant}")
    if dipped:
        notes.append(f"Without the dip: nothing is assumed about event times {_listed(dipped)}.")
    used = effects.labels["event_time"].isin([t for t, w in chosen.items() if w]).to_numpy()
    estimand = f"{effects.estimand}, {words}"
    table = pd.DataFrame(rows).assign(
        estimand=estimand, unit=effects.unit, level=level, band="pointwise", restriction=restriction,
        parameter=parameter, method=spec["method"], cohort=np.nan, period=np.nan,
        event_time=at if isinstance(at, (int, np.integer)) else np.nan,
        n_treated=effects.n_treated[used].max(), n_comparison=effects.n_comparison[used].max(),
        p_value=lambda frame: normal_p_value(frame["estimate"] / frame["std_error"]),
    )  # fmt: skip
    extra = ["restriction", "parameter", "value", "pre_periods", "method"]
    return Bounds(
        estimand=estimand, unit=effects.unit, restriction=restriction, parameter=parameter,
        table=table[TIDY_COLUMNS + extra], breakdowns=breakdowns, notes=tuple(dict.fromkeys(notes)),
        spec={**effects.spec, **spec, "at": at, "dip": tuple(dipped), "pre_periods": pre_periods, "level": level,
              parameter.lower(): tuple(values)},
    )  # fmt: skip


def _target(path: EventPath, at: At, dipped: Sequence[int]) -> tuple[dict[int, float], str]:
    """{event time: weight} and its words; the average leaves out event times after treatment that belong to the dip."""
    keys, weights = (list(at), list(at.values())) if isinstance(at, Mapping) else ([at], [1.0])
    numbers = all(isinstance(w, (int, float, np.number)) and np.isfinite(w) for w in weights)
    if not (isinstance(at, str) and at == "average") and not (all(map(is_whole, keys)) and numbers):
        raise EstimationError('at "average", a whole event time or {event time: finite weight}', repr(at), "choose one")
    if isinstance(at, str):
        times = [int(t) for t in path.times[path.post] if t not in dipped and t >= 0]
        if not times:
            raise EstimationError("an event time after treatment outside the dip", "none", "shorten `dip`")
        return dict.fromkeys(times, 1 / len(times)), f"average of event times {_listed(times)}"
    chosen = {int(t): float(w) for t, w in at.items()} if isinstance(at, Mapping) else {int(at): 1.0}
    inside = [t for t in chosen if t in dipped]
    if inside:
        raise EstimationError("effects asked for outside the dip", "event times in both `at` and `dip`",
                              "shorten `dip`, or ask for a later effect", keys=inside)  # fmt: skip
    if isinstance(at, Mapping):
        return chosen, "weighted: " + ", ".join(f"{w:.3g} at {t}" for t, w in chosen.items())
    return chosen, f"at event time {at}"


def _dip(path: EventPath, dip: Sequence[int] | None) -> list[int]:
    named = sorted(set(() if dip is None else whole_numbers(dip, "dip")))
    between = [int(t) for t in path.times if named and named[0] < t < named[-1] and t not in named]
    if between or any(t not in path.times for t in named):
        raise EstimationError("every event time of the dip, one by one, among the estimates", f"dip={tuple(named)}",
                              f"choose neighbours among {path.times.tolist()}", keys=between)  # fmt: skip
    return named


def _listed(times: Sequence[int]) -> str:
    run = list(times) == list(range(times[0], times[-1] + 1))
    return f"{times[0]} to {times[-1]}" if run and len(times) > 1 else ", ".join(map(str, times))


def _shape_words(bias: Sign | None, monotone: Monotone | None) -> str:
    words = [f"{bias} bias"] * (bias is not None) + [f"{monotone} bias"] * (monotone is not None)
    return f", {' and '.join(words)}" if words else ""


def _notes(found: list[ConfidenceSet], values: list[float], parameter: str, where: str) -> list[str]:
    def those(test: Callable[[ConfidenceSet], bool]) -> str:
        return ", ".join(f"{v:g}" for v, one in zip(values, found, strict=True) if test(one))

    notes = []
    if gaps := those(lambda one: len(one.intervals) > 1):
        notes.append(f"{parameter} = {gaps}{where}: the set has holes; its smallest and largest value are shown.")
    if empty := those(lambda one: not one.intervals):
        notes.append(f"{parameter} = {empty}{where}: the set is empty, the data reject the restriction.")
    if wide := those(lambda one: np.isinf(one.low) or np.isinf(one.high)):
        notes.append(f"{parameter} = {wide}{where}: the set is unbounded.")
    if any(one.programmes for one in found):
        notes.append(f"Too many event times and restrictions to list every case{where} (over {MOST:,}): linear "
                     f"programmes (HiGHS) confirm the ends of each set and values across it instead, and critical "
                     f"values are simulated from {FEW_DRAWS:,} draws.")  # fmt: skip
    return notes
