"""Ashenfelter's dip: is there one before treatment, and how much of the answer hangs on the base period?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from ..cohorts.panel import Panel
from ..errors import EstimationError, check_level
from ..estimate.aggregate import aggregate
from ..estimate.did import Base, Comparison, group_time_att
from ..estimate.group_time import GroupTimeMethod as Method
from ..estimate.symmetric import side_by_side
from ..results import Check, Effects
from ..results.tables import amount
from .equivalence import equivalent, rejected, verdict

TAIL = 0.25  # share of a dip that may be left where a trend is read
Window = tuple[int, int]


def dip_test(
    panel: Panel, *, dip: Sequence[int], base: Sequence[int], comparison: Comparison, method: Method = "reg",
    covariates: Sequence[str] = (), margin_sd: float = 0.25, level: float = 0.95,
) -> Check:  # fmt: skip
    """Ashenfelter's dip: how far the treated fell below the comparison just before treatment, against their long base.

    Estimand : mean over the event times `dip` of E[Y_e - Y_base | treated] - E[Y_e - Y_base | comparison], cohorts by
        size. Negative: a dip. It is no effect; it says what the last period before treatment does as a base.
    Estimator : group-time differences from the base window (Callaway & Sant'Anna 2021), averaged; Ashenfelter 1978.
    Std. errors : influence functions, with the term for the estimated cohort shares; few units or clusters as in
        `group_time_att`, Student's t also in the verdict.
    Edge cases : failed means that zero is excluded at `level`; passed that two one-sided tests put the dip within
        `margin_sd` standard deviations of the treated in the base window; otherwise neither (None).
    Checked : tests/stress/test_dip.py by hand; tests/recovery/selection.csv.

    Parameters
    ----------
    dip, base : (first, last) event time of the panel's cohort, base before dip; the dip ends at -1, or at 0 where the
        cohort is the period of selection and treatment starts later. comparison, method, covariates : as in
        `group_time_att`.
    """
    dip, base = ordered(dip, "dip"), ordered(base, "base")
    if base[1] >= dip[0]:
        raise EstimationError("a base window that ends before the dip", f"base {base}, dip {dip}", "move the base back")
    if dip[1] > 0:
        raise EstimationError("a dip that ends by the panel's cohort period, event time 0", f"dip {dip}",
                              "later outcomes are effects, not a dip: end it at -1, or at 0 where the cohort is the "
                              "period of selection and treatment starts later")  # fmt: skip
    events = event_study(panel, base, comparison=comparison, method=method, covariates=covariates)
    return dip_check(events, dip, base, spread(panel, base), margin_sd, level)


def base_curve(
    panel: Panel, *, bases: Sequence[Base], comparison: Comparison, horizon: int | None = None, method: Method = "reg",
    covariates: Sequence[str] = (), unit: str | None = None,
) -> Effects:  # fmt: skip
    """The same effect from one base period after another: ATT as a function of the base.

    Estimand : ATT at event time `horizon` (None: overall), once for each base, over the cohorts and periods that have
        an estimate from every base: one number if the groups moved together before treatment. Where they did not, the
        curve shows how much the answer hangs on the choice. A far base may leave few cohorts: the notes name them.
    Std. errors : influence functions of all bases on one set of units, so that `combine` gives the difference between
        two bases its own standard error.
    Edge cases : a base without any estimate is NaN, said in the notes, and limits no other base. No cohort with an
        estimate from all the others: refused.

    Parameters
    ----------
    bases : event times such as -8, or windows (-8, -5); each as `base_period` of `group_time_att`.
    """
    panel = panel.by_unit()
    if not len(bases) or any(isinstance(base, str) for base in bases):
        raise EstimationError("bases as event times or windows of them", f"{list(bases)}", "name at least one number")
    windows = [ordered(np.atleast_1d(np.asarray(base, dtype=int)).tolist(), "base") for base in bases]
    fits = [group_time_att(panel, base_period=low if low == high else (low, high), comparison=comparison, method=method,
                           covariates=covariates, unit=unit) for low, high in windows]  # fmt: skip
    spans = [f"{low}" if low == high else f"{low} to {high}" for low, high in windows]
    blank, without, notes = _in_all(fits, spans, horizon)
    columns = []
    for fit, absent in zip(fits, without, strict=True):
        if absent:
            columns.append(_nothing(fit))
        elif horizon is None:
            columns.append(aggregate(_without(fit, blank), by="overall"))
        else:
            columns.append(at_event(aggregate(_without(fit, blank), by="event_time"), {horizon: 1.0}))
    out = side_by_side(columns)
    ends = np.array(windows)
    labels = pd.DataFrame({"term": [f"base={span}" for span in spans], "base": ends.mean(axis=1),
                           "base_low": ends[:, 0], "base_high": ends[:, 1]})  # fmt: skip
    what = "ATT overall" if horizon is None else f"ATT at event time {horizon}"
    return replace(
        out, labels=labels, estimand=f"{what}, by base period", shares=None, notes=(*notes, *out.notes),
        share_scores=None, spec={**out.spec, "base_period": tuple(bases), "horizon": horizon,
                                  "bases": tuple(tuple(range(low, high + 1)) for low, high in windows)},
    )  # fmt: skip


def _in_all(fits: Sequence[Effects], spans: Sequence[str], horizon: int | None):
    """(k,) ATT(g, t) that lack some base; (b,) bases without any estimate; the sentences about what is left out.

    The bases are asked about the same cohorts, or the mix of cohorts would pass for an effect of the base.
    """
    labels = fits[0].labels  # the same rows from every base
    event = labels["event_time"].to_numpy()
    asked = event >= 0 if horizon is None else event == horizon
    known = np.array([np.isfinite(fit.estimate) & asked for fit in fits])
    without = np.logical_not(known.any(axis=1))
    common = known[~without].all(axis=0) & known.any(axis=0)
    if not common.any():
        when = "after treatment" if horizon is None else f"at event time {horizon}"
        raise EstimationError(
            f"a cohort with an estimate {when} from every base", "none" if without.all() else "none has them all",
            "name fewer or later bases, or add earlier periods", keys=spans,
        )  # fmt: skip
    some = known.any(axis=0)
    cohorts = labels["cohort"].to_numpy()
    mine, lost = np.unique(cohorts[common]), np.setdiff1d(cohorts[some], cohorts[common])
    notes = [f"No estimate from base {span}." for span, absent in zip(spans, without, strict=True) if absent]
    if (some & ~common).any():
        notes.append(f"All bases on the {int(common.sum())} of {int(some.sum())} ATT(g, t) that every base has: "
                     f"{len(mine)} of {len(mine) + len(lost)} cohorts ({_names(mine)})"
                     + (f", without {_names(lost)}." if len(lost) else "."))  # fmt: skip
    return asked & ~common, without.tolist(), notes


def _names(cohorts: np.ndarray) -> str:
    """Up to eight cohorts by name."""
    return ", ".join(str(int(g)) for g in cohorts[:8]) + (", ..." if len(cohorts) > 8 else "")


def _without(fit: Effects, blank: np.ndarray) -> Effects:
    """The same ATT(g, t), as if these had no estimate."""
    jackknife = fit.jackknife
    if jackknife is not None:
        jackknife = replace(jackknife, estimates=np.where(blank, np.nan, jackknife.estimates))
    return replace(fit, estimate=np.where(blank, np.nan, fit.estimate), scores=np.where(blank, 0.0, fit.scores),
                   jackknife=jackknife)  # fmt: skip


def _nothing(fit: Effects) -> Effects:
    """One missing estimate in the place of all."""
    none = fit.combine(np.zeros(len(fit)))
    return replace(none, estimate=np.array([np.nan]), scores=np.zeros_like(none.scores))


def refuse_dip(base_period: Base, dip: Sequence[int], *, accept_dip: bool = False) -> str:
    """Refuse a base that touches the declared dip; with `accept_dip`, the note that must go with it instead.

    Raises
    ------
    EstimationError : the base lies in the dip, and nobody said that this is meant.
    """
    dip = ordered(dip, "dip")
    bases = (dip[1], dip[1]) if isinstance(base_period, str) else ordered(np.atleast_1d(base_period).tolist(), "base")
    if bases[1] < dip[0] or bases[0] > dip[1]:
        return ""
    if not accept_dip:
        raise EstimationError(
            f"a base outside the declared dip, event times {dip[0]} to {dip[1]}", f"base_period {base_period!r}",
            "choose one well before the dip, or say accept_dip=True and show it as a warning only",
        )  # fmt: skip
    return f"The base lies in the declared dip ({dip[0]} to {dip[1]}): the rebound counts as effect."


def event_study(panel: Panel, base: Sequence[int], *, by: Any = "event_time", **options: Any) -> Effects:
    """Effects by event time from one base window."""
    low, high = (int(k) for k in base)
    return aggregate(group_time_att(panel, base_period=low if low == high else (low, high), **options), by=by)


def at_event(events: Effects, weights: dict[int, float]) -> Effects:
    """A linear combination of event-time effects; refused when one of them does not exist."""
    event = events.labels["event_time"].to_numpy()
    absent = [e for e in weights if weights[e] and not (event == e).any()]
    if absent:
        raise EstimationError("an estimate at every event time asked for", "none at some", "ask for others, or widen "
                              "the panel", count=len(absent), keys=sorted(absent))  # fmt: skip
    return events.combine(np.array([weights.get(int(e), 0.0) for e in event]))


def dip_check(events: Effects, dip: Window, base: Window, sd: float, margin_sd: float, level: float) -> Check:
    """`dip_test` from an event study whose base is the base window."""
    check_level(level)
    span = range(dip[0], dip[1] + 1)
    effect = at_event(events, dict.fromkeys(span, 1 / len(span)))
    estimate, std_error = float(effect.estimate[0]), float(effect.std_error[0])
    passed = equivalent(rejected(estimate, std_error, level, effect.dof), estimate, std_error, margin_sd * sd, level,
                        effect.dof)  # fmt: skip
    moved, name = ("fallen", "a dip") if estimate < 0 else ("risen", "the opposite of a dip")
    found = {False: f"{name}, and the last period before treatment is no base",
             True: f"within {margin_sd} SD of zero", None: verdict(None, margin_sd)}[passed]  # fmt: skip
    text = (
        f"From {_span(base)} until {_span(dip)} the treated had {moved} {amount(abs(estimate), events.unit)} "
        f"more than the comparison (standard error {amount(std_error, events.unit)}): {found}."
    )
    return Check(name="dip", question="Did income stay level until just before treatment?", statistic=estimate,
                 std_error=std_error, threshold=margin_sd * sd, passed=passed, text=text,
                 table=events.tidy(level))  # fmt: skip


def _span(window: Window) -> str:
    first, last = window
    return f"event time {first}" if first == last else f"event times {first} to {last}"


def drift_check(
    events: Effects, before: Window, span: float, fade: float, gap: int, sd: float, margin_sd: float, level: float
) -> Check:  # fmt: skip
    """Do the groups drift apart before the dip, and how far would that carry over `span` periods?

    `drift` with its standard error. Failed: zero is excluded. Passed: shown to be within `margin_sd` SD. Else neither.
    """
    effect = drift(events, before, span, fade, gap)
    estimate, std_error = float(effect.estimate[0]), float(effect.std_error[0])
    passed = equivalent(rejected(estimate, std_error, level, effect.dof), estimate, std_error, margin_sd * sd, level,
                        effect.dof)  # fmt: skip
    found = {False: "the groups were on different trends", True: f"within {margin_sd} SD of zero",
             None: verdict(None, margin_sd)}[passed]  # fmt: skip
    text = (
        f"Going on as at {_span(before)}, the groups would be {amount(estimate, events.unit)} (standard error "
        f"{amount(std_error, events.unit)}) further apart over the {span:g} periods between base and outcome: "
        f"{found}."
    )
    return Check(name="drift", question="Were the two groups on the same trend before the dip?", statistic=estimate,
                 std_error=std_error, threshold=margin_sd * sd, passed=passed, text=text)  # fmt: skip


def drift(events: Effects, before: Window, span: float, fade: float = 0.0, gap: int = 1) -> Effects:
    """Slope of the event-time effects within `before`, times `span`; the tail of a dip is not taken for a trend.

    A dip that loses 1 - fade of itself each period comes in as fade ** (periods to the dip), a stationary first-order
    autoregression looked at backwards. The slope is read where less than a quarter of it is left; where that leaves
    fewer than four periods, from all of them with that shape beside it.

    Parameters
    ----------
    before : (first, last) event time. gap : periods from its last to the dip. fade : see `persistence`.
    """
    times = np.arange(before[0], before[1] + 1)
    tail, clear = fade ** (times[-1] + gap - times).astype(float), faded(before, fade, gap)
    shape = [np.ones(len(times)), times.astype(float), tail]
    if len(clear) >= 4:
        times, shape = clear, [np.ones(len(clear)), clear.astype(float)]
    if len(times) <= len(shape):
        raise EstimationError(f"at least {len(shape) + 1} periods before the dip", f"{len(times)}", "widen `before`")
    slope = np.linalg.pinv(np.column_stack(shape))[1]
    return at_event(events, dict(zip(times.tolist(), (span * slope).tolist(), strict=True)))


def faded(before: Window, fade: float, gap: int) -> np.ndarray:
    """Event times of `before` by which less than a quarter of the dip is left, looking back."""
    times = np.arange(before[0], before[1] + 1)
    return times[fade ** (times[-1] + gap - times).astype(float) <= TAIL]


def persistence(panel: Panel, before: Sequence[int]) -> float:
    """How much of an income shock is left one period later, in both arms of risk sets before selection.

    The autocovariances of the outcomes at the event times `before` are those of a fixed effect, a trend of one's own,
    a first-order autoregression and noise (minimum distance, equal weights: Abowd & Card 1989); its autocorrelation
    is returned, on a grid from 0 to 0.95 (0 where no such shock can be told). Uses no outcome from the dip on.
    """
    times = np.arange(before[0], before[1] + 1)
    zero = panel.risk_set if panel.risk_set is not None else panel.cohort
    rows = []
    for g in panel.cohorts.tolist():
        at = np.searchsorted(panel.periods, g + times)
        if at[-1] >= len(panel.periods) or (panel.periods[at] != g + times).any():
            continue
        for arm in (panel.cohort == g, ~(panel.cohort == g)):
            y = panel.y[np.ix_((zero == g) & arm, at)]
            y = y[np.isfinite(y).all(axis=1)]
            rows.append(y - y.mean(axis=0) if len(y) else y)
    y = np.vstack(rows) if rows else np.empty((0, len(times)))
    if len(times) < 5 or len(y) <= len(times):
        return 0.0
    j, k = np.tril_indices(len(times))
    moment = (y.T @ y / len(y))[j, k]
    centred = times - times.mean()
    loss = np.full(20, np.inf)
    for step in range(20):
        shape = [np.ones(len(j)), centred[j] + centred[k], centred[j] * centred[k], (j == k).astype(float)]
        if step:
            shape.append((step / 20) ** np.abs(j - k))
        x = np.column_stack(shape)
        fit = np.linalg.lstsq(x, moment, rcond=None)[0]
        if not step or fit[-1] > 0:
            loss[step] = ((moment - x @ fit) ** 2).sum()
    best = int(loss.argmin())
    # a shock that lasts costs two more figures: it has to explain more than two figures would by chance (Akaike 1974)
    return best / 20 if loss[best] < loss[0] * np.exp(-4 / len(j)) else 0.0


def spread(panel: Panel, base: Sequence[int]) -> float:
    """SD among the treated of their mean outcome over the base window."""
    values = []
    for g in panel.cohorts.tolist():
        inside = (panel.periods >= g + base[0]) & (panel.periods <= g + base[1])
        mine = panel.cohort == g if panel.risk_set is None else (panel.cohort == g) & (panel.risk_set == g)
        y = panel.y[np.ix_(mine, inside)]
        seen = np.isfinite(y)
        values.append(np.where(seen, y, 0).sum(axis=1)[seen.any(axis=1)] / seen.sum(axis=1)[seen.any(axis=1)])
    known = np.concatenate(values) if values else np.empty(0)
    if len(known) < 2:
        raise EstimationError("treated units with an outcome in the base window", f"{len(known)}", "move the base")
    return float(known.std(ddof=1))


def ordered(window: Sequence[int], name: str) -> Window:
    """(first, last) event time, whole numbers."""
    ends = list(window) if isinstance(window, (Sequence, np.ndarray)) else []
    whole = all(isinstance(k, (int, float, np.number)) and float(k).is_integer() for k in ends)
    if not ends or len(ends) > 2 or not whole or ends[0] > ends[-1]:
        raise EstimationError(f"{name} as (first, last) event time, whole numbers", f"{window!r}", "such as (-8, -5)")
    return int(ends[0]), int(ends[-1])
