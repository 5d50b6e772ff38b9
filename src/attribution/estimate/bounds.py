"""What the data say when treatment was not dealt out (Manski), or when the outcome exists only for some (Lee)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
import pandas as pd

from ..design.everyone import everyone
from ..design.table import cell_numbers, refuse_missing, require_columns
from ..errors import EstimationError, check_level
from ..inference import normal_quantile
from ..results import Result
from .sample import numeric, refuse_treatment, sample, unit_of

TIDY = ["term", "estimand", "assumes", "bound_low", "bound_high", "std_error_low", "std_error_high", "conf_low",
        "conf_high"]  # fmt: skip


_ASSUMED = {
    "nothing": "nothing assumed", "response": "if treatment lowers nobody's outcome",
    "selection": "if the treated would do at least as well anyway", "both": "under both assumptions",
    "selection raised": "if treatment moves nobody out of selection",
    "selection lowered": "if treatment moves nobody into selection",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, repr=False)
class IdentifiedSet(Result):
    """The values an effect can have under each set of assumptions, and an interval that covers the effect itself.

    table : one row a set of assumptions, with the columns of `tidy`. The interval covers the effect, not the whole set
        (Imbens & Manski 2004).
    """

    outcome: str
    unit: str
    level: float
    table: pd.DataFrame
    n_treated: int
    n_comparison: int
    notes: tuple[str, ...] = ()
    spec: Mapping[str, Any] = field(default_factory=dict)

    def tidy(self) -> pd.DataFrame:
        return self.table[TIDY].assign(level=self.level, n_treated=self.n_treated, n_comparison=self.n_comparison,
                                       unit=self.unit)  # fmt: skip

    def summary(self) -> str:
        head = (f"Effect on {self.outcome}, in {self.unit} ({self.n_treated:,} treated, {self.n_comparison:,} others; "
                "intervals for the effect itself)")  # fmt: skip
        lines = [
            f"{row['estimand']}, {_ASSUMED.get(row['assumes'], row['assumes'])}: between {_say(row['bound_low'])} and "
            f"{_say(row['bound_high'])} ({self.level:.0%} interval {_say(row['conf_low'])} to {_say(row['conf_high'])})"
            for row in self.table.to_dict("records")
        ]
        return "\n".join([head, *lines, *self.notes])


def _say(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:,.3g}"


def imbens_manski(low: float, high: float, se_low: float, se_high: float, level: float) -> tuple[float, float]:
    """Interval that covers any one value of [low, high] with at least `level` (Imbens & Manski 2004, eq. 6-7).

    Its critical value solves Phi(c + (high - low) / max(se)) - Phi(-c) = level: two-sided for a point, one-sided for a
    wide set.
    """
    largest = max(se_low, se_high)
    if not np.isfinite(largest):
        return float("nan"), float("nan")
    if largest == 0:
        return low, high
    phi, gap = NormalDist().cdf, max(high - low, 0.0) / largest
    left, right = normal_quantile(level) - 1e-9, normal_quantile(0.5 + level / 2) + 1e-9
    for _ in range(60):
        c = (left + right) / 2
        left, right = (c, right) if phi(c + gap) - phi(-c) < level else (left, c)
    return low - right * se_low, high + right * se_high


def manski_bounds(
    units: pd.DataFrame, treatment: str, *, outcome: str, limits: tuple[float, float] | None = None, level: float = 0.95
) -> IdentifiedSet:
    """The effect with nothing assumed about who was treated, then with one assumption after the other: ATE and ATT.

    Estimand : E[Y(1) - Y(0)] (ATE), and among the treated (ATT), as sets.
    Assumes : "nothing": the outcome lies within `limits`. "response": treatment lowers nobody's outcome. "selection":
        the treated would do at least as well as the others on average, with treatment and without. "both".
    Estimator : Manski (1990); monotone treatment response and selection: Manski & Pepper (2000).
    Std. errors : each bound is a mean or a difference of means; intervals of Imbens & Manski (2004).
    Edge cases : units without an outcome are left out and counted: the sets are for those who have one. Where "both"
        contradict the data, the set is zero alone and a note says whether chance can explain it.
    Checked : reference/match/manski_nsw_psid (closed form).

    Parameters
    ----------
    units : one row a unit. treatment : its 0/1 column. outcome : a column of `units`. limits : smallest and largest
        value it can have, in its unit; required unless it is 0/1. For an outcome that treatment is to lower, give its
        negative.

    Raises
    ------
    EstimationError : an outcome without limits, or outside them.
    """
    check_level(level)
    s = sample(everyone(units, treatment), outcome)
    if limits is None:
        if s.unit != "share":
            raise EstimationError("limits=(smallest, largest) for an outcome that is not 0/1", "none",
                                  "without them nothing is known", column=s.name)  # fmt: skip
        limits = (0.0, 1.0)
    if np.shape(limits) != (2,):
        raise EstimationError("limits=(smallest, largest)", f"{limits}", "give two numbers")
    low, high = map(float, limits)
    if not (np.isfinite([low, high]).all() and low < high):
        raise EstimationError("limits that are finite and in order", f"{limits}", "give (smallest, largest)")
    beyond = (s.y < low) | (s.y > high)
    if beyond.any():
        raise EstimationError(f"outcomes within [{low:g}, {high:g}]", "others", "widen limits, or mend the data",
                              column=s.name, count=int(beyond.sum()), keys=s.y[beyond].tolist())  # fmt: skip
    y, t = s.y, s.treated
    known = np.where(t, y, -y)  # what each unit's own outcome adds to Y(1) - Y(0); the other half is not seen
    worst, best = _mean(known + np.where(t, -high, low)), _mean(known + np.where(t, -low, high))
    own, naive = _mean(y[t]), _difference(y[t], y[~t])
    zero, capped = (0.0, 0.0), (max(naive[0], 0.0), naive[1])
    rows = []
    for estimand, down, up in (
        ("ATE", worst, best),
        ("ATT", (own[0] - high, own[1]), (own[0] - low, own[1])),
    ):
        rows += [(estimand, "nothing", down, up), (estimand, "response", zero, up),
                 (estimand, "selection", down, naive), (estimand, "both", zero, capped)]  # fmt: skip
    table = _table(s.name, rows, level)
    both = table["assumes"] == "both"  # the interval of the difference itself, then cut at zero
    table.loc[both, "conf_high"] = max(0.0, imbens_manski(0.0, naive[0], 0.0, naive[1], level)[1])
    notes = list(s.notes)
    if naive[0] < 0:
        chance = "beyond chance" if naive[0] + normal_quantile(level) * naive[1] < 0 else "perhaps by chance"
        notes.append(f"The treated have {-naive[0]:.3g} less than the others, which contradicts monotone response and "
                     f"selection together ({chance}): do not use that row.")  # fmt: skip
    return IdentifiedSet(outcome=s.name, unit=s.unit, level=level, table=table, n_treated=s.n_treated,
                         n_comparison=s.n_comparison, notes=tuple(notes),
                         spec={"estimator": "Manski bounds", "limits": (low, high)})  # fmt: skip


def lee_bounds(
    units: pd.DataFrame, treatment: str, *, outcome: str, selection: Literal["raised", "lowered"],
    selected: str | None = None, by: Sequence[str] = (), level: float = 0.95,
) -> IdentifiedSet:  # fmt: skip
    """Effect on an outcome that only some have (pay, of those in work): the effect on those who have it either way.

    Estimand : E[Y(1) - Y(0) | has an outcome with and without treatment], as a set.
    Assumes : treatment dealt out at random; it moves nobody out of selection ("raised") or nobody into it ("lowered").
    Estimator : Lee (2009): the arm with more selected units is trimmed by the excess share, floor(share x n) units,
        from above for one bound and from below for the other. `by`: within each cell, averaged over the cells of the
        selected units of the other arm, which can only narrow the true bounds (his section 3.3).
    Std. errors : Lee (2009, proposition 3): trimmed mean, trimming quantile and estimated share; with `by` also the
        shares of the cells. Intervals of Imbens & Manski (2004).
    Edge cases : equal selection: nothing is trimmed and the bounds meet. Selection against the direction assumed:
        refused; in a cell, too, if beyond chance (5 % over all cells), else nothing is trimmed there and a note counts
        it. With some 75 units a cell the bounds were a quarter of an error too narrow; the intervals still covered.
    Checked : reference/match/lee_bounds_nsw (closed form); cells by hand; bootstrap and coverage in simulation.

    Parameters
    ----------
    units : one row a unit. treatment : its 0/1 column. outcome : a column of `units`.
    selection : what treatment does to having an outcome. selected : 0/1 column; default: the outcome is not missing.
    by : columns fixed before treatment, with few values each. level : of the interval.

    Raises
    ------
    EstimationError : selection goes the other way, nobody selected (in a cell), an outcome missing among the selected.
    """
    check_level(level)
    if selection not in ("raised", "lowered"):
        raise EstimationError('selection "raised" or "lowered"', repr(selection), "say what treatment does to it")
    design = everyone(units, treatment)
    frame, t = design.units, design.treated
    refuse_treatment(outcome, treatment)
    require_columns(frame, [outcome, *([selected] if selected else [])])
    y = numeric(frame[outcome], outcome)
    if selected is None:
        inside = np.isfinite(y)
    else:
        flag = numeric(frame[selected], selected)
        if not np.isin(flag, (0.0, 1.0)).all():
            raise EstimationError("selected to be 0 or 1 for every unit", "other values or none", "code it",
                                  column=selected, count=int((~np.isin(flag, (0.0, 1.0))).sum()))  # fmt: skip
        inside = flag == 1
    hole = inside & ~np.isfinite(y)
    if hole.any():
        raise EstimationError("an outcome for every selected unit", "missing outcomes", "leave selected= out, or mend",
                              column=outcome, count=int(hole.sum()))  # fmt: skip
    share = inside[t].mean(), inside[~t].mean()
    if min((inside & t).sum(), (inside & ~t).sum()) < 2:
        raise EstimationError("two or more selected units in each arm", f"shares {share[0]:.3g} and {share[1]:.3g}",
                              "no comparison of outcomes exists", column=outcome)  # fmt: skip
    sign = 1.0 if selection == "raised" else -1.0
    if sign * (share[0] - share[1]) < 0:
        raise EstimationError(
            f"selection {selection} by treatment", f"a selected share of {share[0]:.3g} against {share[1]:.3g}",
            "the assumption is contradicted: assume the other direction, or give worst-case bounds", column=outcome,
        )  # fmt: skip
    arm = t if sign > 0 else ~t  # the arm that is trimmed; bounds of (arm - other), turned at the end
    cells, turned = _cells(frame, by, arm, inside, outcome)
    ends = [_tightened(y, arm, inside, cells, keep) for keep in ("low", "high")]
    down, up = sorted(((sign * value, se) for value, se in ends), key=lambda end: end[0])
    table = _table(outcome, [("ATE of the always selected", f"selection {selection}", down, up)], level)
    n_arm = int((inside & arm).sum())
    n_trimmed = n_arm - sum(_kept(arm[cell], inside[cell]) for cell in cells)
    notes = [f"Selected: {share[0]:.1%} of the treated, {share[1]:.1%} of the others; {n_trimmed:,} of {n_arm:,} were "
             "trimmed. The set is for those who are selected either way."]  # fmt: skip
    if by:
        notes.append(f"Narrowed within {len(cells)} cells of {' and '.join(by)}; in {turned} of them selection goes "
                     "the other way by chance, and nothing is trimmed.")  # fmt: skip
    unit = unit_of(y[inside], outcome)
    return IdentifiedSet(
        outcome=outcome, unit=unit, level=level, table=table, n_treated=int((inside & t).sum()),
        n_comparison=int((inside & ~t).sum()), notes=tuple(notes),
        spec={"estimator": "Lee bounds", "selection": selection, "by": tuple(by), "trimmed": n_trimmed,
              "naive": float(y[inside & t].mean() - y[inside & ~t].mean())},
    )  # fmt: skip


def _mean(values: np.ndarray) -> tuple[float, float]:
    """Mean and standard error."""
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))


def _difference(one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    (a, se_a), (b, se_b) = _mean(one), _mean(other)
    return a - b, float(np.hypot(se_a, se_b))


def _table(term: str, rows: list, level: float) -> pd.DataFrame:
    out = []
    for estimand, assumes, (low, se_low), (high, se_high) in rows:
        ends = imbens_manski(low, high, se_low, se_high, level)
        out.append((term, estimand, assumes, low, high, se_low, se_high, *ends))
    return pd.DataFrame(out, columns=TIDY)


def _cells(
    frame: pd.DataFrame, by: Sequence[str], arm: np.ndarray, inside: np.ndarray, outcome: str
) -> tuple[list[np.ndarray], int]:
    """Rows of each cell of `by`, and in how many selection goes the other way, though not beyond chance."""
    if not by:
        return [np.arange(len(arm))], 0
    require_columns(frame, by)
    refuse_missing(frame, by)
    code = cell_numbers(frame, by)
    cells = [np.flatnonzero(code == k) for k in range(code.max() + 1)]
    thin = [c for c in cells if min((inside & arm)[c].sum(), (inside & ~arm)[c].sum()) < 2]
    if thin:
        raise EstimationError("two or more selected units of each arm in every cell", "fewer in some",
                              "give by= fewer or coarser columns", column=str(by[0]), count=len(thin))  # fmt: skip
    turned = 0
    for c in cells:
        one, other = inside[c][arm[c]], inside[c][~arm[c]]
        gap, error = other.mean() - one.mean(), np.sqrt(one.var() / len(one) + other.var() / len(other))
        turned += gap > 0
        if gap > normal_quantile(1 - 0.05 / len(cells)) * error:
            raise EstimationError(
                "selection in the direction assumed in every cell", f"shares {one.mean():.3g} and {other.mean():.3g}",
                "the assumption is contradicted there: leave by= out only if it holds for all the same", column=outcome,
            )  # fmt: skip
    return cells, turned


def _excess(arm: np.ndarray, inside: np.ndarray) -> float:
    """Share of the arm's selected units that treatment brought in: 1 - s0/s1."""
    return max(0.0, float(1 - inside[~arm].mean() / inside[arm].mean()))


def _kept(arm: np.ndarray, inside: np.ndarray) -> int:
    n = int((inside & arm).sum())
    return n - int(np.floor(_excess(arm, inside) * n + 1e-9))


def _tightened(
    y: np.ndarray, arm: np.ndarray, inside: np.ndarray, cells: list[np.ndarray], keep: Literal["low", "high"]
) -> tuple[float, float]:
    """Trimmed mean of the arm, averaged over the cells of the others' selected units, less their mean; and its error.

    Those who are always selected are spread over the cells as the others' selected units are.
    """
    others = inside & ~arm
    rows, mean_of_cell = np.zeros(len(y)), np.zeros(len(y))
    for cell in cells:
        value, own = _trimmed(y[cell], arm[cell], inside[cell], keep)
        rows[cell] += others[cell].sum() / others.sum() * own
        mean_of_cell[cell] = value
    gap, n = (mean_of_cell - y)[others], int(others.sum())
    rows[others] += (gap - gap.mean()) / n * np.sqrt(n / (n - 1))
    return float(gap.mean()), float(np.sqrt(rows @ rows))


def _trimmed(
    y: np.ndarray, arm: np.ndarray, inside: np.ndarray, keep: Literal["low", "high"]
) -> tuple[float, np.ndarray]:
    """Mean of the arm's selected units but for the excess share, with the influence (n,) of every unit on it.

    Influence of unit i among the n selected: [(y_i - c)+ / (1 - q) - (m - c)] / n for the mean m above the q-quantile
    c, and (m - c) / (1 - q) times that of q = 1 - s0/s1, which every unit has a part in (Lee 2009, proposition 3).
    """
    turn = 1.0 if keep == "high" else -1.0
    mine = inside & arm
    values = turn * y[mine]
    kept = np.sort(values)[len(values) - _kept(arm, inside) :]
    q, cut, mean, n = _excess(arm, inside), float(kept[0]), float(kept.mean()), len(values)
    own = (np.maximum(values - cut, 0.0) / (1 - q) - (mean - cut)) / n
    s1, s0 = inside[arm].mean(), inside[~arm].mean()
    of_q = np.where(arm, s0 / s1**2 * (inside - s1) / arm.sum(), -(inside - s0) / s1 / (~arm).sum())
    rows = turn * (mean - cut) / (1 - q) * of_q
    rows[mine] += turn * (own - own.mean()) * np.sqrt(n / (n - 1))
    return turn * mean, rows
