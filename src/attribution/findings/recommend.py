"""The recommended effect where people select on a dip: chosen from what happened before, and graded by it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pandas as pd

from ..cohorts.panel import Panel
from ..cohorts.sequential import SPAN, Later, delays, moved, risk_sets
from ..errors import EstimationError
from ..estimate.aggregate import aggregate
from ..estimate.did import group_time_att
from ..estimate.kernels import Method
from ..estimate.symmetric import at_horizons, periods_after, side_by_side, symmetric_did
from ..results import Check, Effects, Result
from ..stress.dip import dip_check, drift, drift_check, faded, ordered, persistence, refuse_dip, spread
from ..study import Study
from .comparison import Comparison
from .grade import Grade, grade
from .income import horizon_periods

Name = Literal["long base", "symmetric, given the dip", "symmetric, less the trend"]
OTHERS = ("last period before the start", "symmetric", "symmetric, less the trend", "history")
BEYOND_DOUBT = 0.999  # level at which a drift is taken off; the doubtful ones only withhold the conclusion


@dataclass(frozen=True, kw_only=True, repr=False)
class Recommended(Result):
    """The chosen estimate, why it was chosen, and the estimates that were not.

    estimator : the chosen one. effects : by horizon, with `average` over them when there is
    more than one. reason : the step of the rule that chose it. checks : dip, drift. grade : from the drift check alone.
    candidates : every estimator of the bracket by name, the chosen one included; why_not : those without an estimate.
    """

    estimator: Name
    effects: Effects
    reason: str
    checks: tuple[Check, ...]
    grade: Grade
    candidates: dict[str, Effects] = field(default_factory=dict)
    why_not: dict[str, str] = field(default_factory=dict)

    def tidy(self) -> pd.DataFrame:
        """One row an estimator and horizon; `chosen` marks the recommended one."""
        parts = [effect.tidy().assign(estimator=name, chosen=name == self.estimator)
                 for name, effect in self.candidates.items()]  # fmt: skip
        return pd.concat(parts, ignore_index=True)

    def summary(self) -> str:
        lines = [f"{self.estimator}: {self.reason}", f"grade: {self.grade}", self.effects.summary()]
        return "\n".join(lines + [check.summary() for check in self.checks])


def recommended_did(
    panel: Panel, *, delay: int | str, dip: Sequence[int], base: Sequence[int], before: Sequence[int],
    horizons: Sequence[int], later: Later, covariates: Sequence[str] = (), method: Method = "reg",
    axis: float | Mapping[int, float] = 0.0, others: Sequence[str] = OTHERS, margin_sd: float = 0.25,
    level: float = 0.95, accept_dip: bool = False, unit: str | None = None,
) -> Recommended:  # fmt: skip
    """Effect h periods after the start, by an estimator chosen on outcomes before selection alone: ATT(h).

    Rule, declared here and blind to every outcome from the start on:
        1. long base (mean of the window `base`): the dip is shown to be absent (`dip_test` passed) and the groups do
           not drift apart before it.
        2. otherwise symmetric, given the dip: base mirrored around the dip window, the outcomes in that window held
           equal. Right if selection looked at these outcomes (whatever the process), or if outcomes revert in time
           (whatever else selection looked at).
        3. the same, less the trend, where the drift before the dip is beyond doubt (p < 0.001) and was read clear of
           the dip's tail (`stress.dip.drift`, `persistence`).
        Grade, from the drift before the dip: cannot conclude, where it differs from zero at `level` (that a trend would
        have gone on in a straight line cannot be seen); weak, where it was not shown to be small; moderate, where it
        was. The last period before the start is never chosen. Matching or regression on all of history is shown, not
        chosen: it is right only if selection looked at nothing else.
    Estimand, clock : as in `symmetric_did`: the panel's cohort is the period of selection, the start comes `delay`
        later, horizons count from the start. Comparison: those not yet selected then, see `risk_sets`.
    Estimator : `group_time_att` on risk sets; Chabé-Ferret 2015 for the mirrored base, Heckman & Robb 1985.
    Std. errors : influence functions; the choice itself is not in them: with its step included the intervals cover
        as tests/recovery/selection.csv says.
    Edge cases : a window that reaches the start moves back until it ends before it. Estimators of `others` that cannot
        be made are in `why_not`.
    Checked : tests/recovery/selection.csv, eight processes of selection.

    Parameters
    ----------
    dip : (first, last) event time since selection that selection could look at, such as (-2, 0).
    base : long base window before it, such as (-7, -4). before : window in which a drift would show, (-11, -4).
    later : "stay" or "leave", see `risk_sets`. covariates : unit-level columns, held equal in all estimators.
    axis : of the plain symmetric estimator, see `symmetric_did`; the chosen one mirrors around the centre of the dip.
    others : estimators to show beside the chosen one. accept_dip : allow `base` to touch the dip.

    Raises
    ------
    EstimationError : base or before inside the dip, or a horizon whose mirror lies before the panel.
    """
    dip, base, before = ordered(dip, "dip"), ordered(base, "base"), ordered(before, "before")
    warning = refuse_dip(base, dip, accept_dip=accept_dip)
    if base[1] >= dip[0] and not warning or before[1] >= dip[0]:
        raise EstimationError("base and before to end before the dip", f"base {base}, before {before}, dip {dip}",
                              "move them back")  # fmt: skip
    horizons = periods_after(horizons)
    others = (others,) if isinstance(others, str) else tuple(others)
    plan = _Plan(panel, delay, dip, base, before, horizons, later, tuple(covariates), method, unit,
                 axis, far="history" in others)  # fmt: skip
    dip_found = dip_check(plan.plain, plan.dip_seen, base, plan.sd, margin_sd, level)
    chosen, drifted, why = _chosen(plan, dip_found, margin_sd, level)
    wanted = list(dict.fromkeys([chosen, "long base", "symmetric, given the dip", *others]))
    candidates, why_not = {}, {}
    for name in wanted:
        try:
            candidates[name] = plan.estimate(name)
        except EstimationError as error:
            if name == chosen:
                raise
            why_not[name] = f"{error.found}; required: {error.required}"
    effects = candidates[chosen]
    notes = tuple(filter(None, [*effects.notes, warning, f"Chosen before any outcome after the start: {why}."]))
    effects = replace(effects, notes=notes, spec={**effects.spec, "recommended": chosen})
    graded = Grade(level="moderate", reasons=(drifted.text,)) if drifted.passed else grade((drifted,))
    return Recommended(estimator=chosen, effects=effects, reason=f"{why}.", checks=(dip_found, drifted), grade=graded,
                       candidates=candidates, why_not=why_not)  # fmt: skip


def _chosen(plan: _Plan, dip: Check, margin_sd: float, level: float) -> tuple[Name, Check, str]:
    """(estimator, check of its drift, why): the rule of `recommended_did`."""

    def drifts(events: Effects, span: float, at_level: float) -> Check:
        return drift_check(events, plan.before, span, plan.fade, plan.gap, plan.sd, margin_sd, at_level)

    drifted = drifts(plan.plain, plan.farthest - (plan.base[0] + plan.base[1]) / 2, level)
    if dip.passed and drifted.passed is not False:
        return "long base", drifted, "no dip before selection, and no drift"
    if dip.passed:
        why = "no dip before selection, but a drift"
    elif dip.passed is None:
        why = "a dip is not shown to be absent"
    elif dip.statistic > 0:
        why = "the treated had moved away from the comparison before selection"
    else:
        why = "there is a dip before selection"
    drifted = drifts(plan.given, plan.mirror, level)
    clear = len(faded(plan.before, plan.fade, plan.gap)) >= 4
    if clear and drifts(plan.given, plan.mirror, BEYOND_DOUBT).passed is False:
        return "symmetric, less the trend", drifted, f"{why}, and a drift beyond doubt, taken off"
    return "symmetric, given the dip", drifted, why


class _Plan:
    """One set of risk sets, and every estimator of the bracket on it."""

    def __init__(self, panel, delay, dip, base, before, horizons, later, covariates, method, unit, at, far) -> None:
        window = [*range(base[0], base[1] + 1)] if far else []
        history = sorted({*window, *range(dip[0], dip[1] + 1)}, reverse=True)  # an accepted base may share its periods
        names = tuple(f"before_{j + 1}" for j in range(len(history)))
        in_dip = tuple(name for name, k in zip(names, history, strict=True) if dip[0] <= k <= dip[1])
        self.panel = risk_sets(panel, later=later, history=history, delay=delay, covariates=covariates).by_unit()
        wait = delays(self.panel, "delay")
        self.wait_of = dict(zip(self.panel.cohort.tolist(), wait.tolist(), strict=True))
        self.waits = sorted(set(wait.tolist()))
        self.base, self.before, self.horizons, self.plain_axis = base, before, horizons, at
        self.covariates, self.given_names = covariates, (*covariates, *in_dip)
        self.history_names = (*covariates, *names)
        self.options: dict[str, Any] = {"comparison": "never_treated", "method": method, "unit": unit}
        self.axis = {d: sum(moved((dip[0], dip[1]), d)) / 2 for d in self.waits}
        self.sd = spread(self.panel, base)
        self.gap = dip[0] - before[1]
        self.fade = persistence(self.panel, (before[0], dip[0] - 1))
        self.farthest = max(self.waits) + max(horizons)
        self.mirror = max(2 * (d + max(horizons) - self.axis[d]) for d in self.waits)
        self.dip_seen = dip[0], min(dip[1], min(self.waits) - 1)  # where nobody has started
        self.gt = self.fit(covariates)
        self.plain = aggregate(self.gt, by="event_time")

    @cached_property
    def given(self) -> Effects:
        """The event study with the outcomes in the dip window held equal."""
        return aggregate(self.fit(self.given_names), by="event_time")

    def fit(self, covariates) -> Effects:
        """ATT(g, t) from the long base."""
        low, high = self.base
        return group_time_att(self.panel, base_period=low if low == high else (low, high), covariates=covariates,
                              **self.options)  # fmt: skip

    def estimate(self, name: str) -> Effects:
        """One estimator at every horizon, and their average."""
        if name == "symmetric":
            effect = self.symmetric(self.covariates, self.plain_axis)
        elif name == "symmetric, given the dip":
            effect = self.symmetric_given
        elif name == "symmetric, less the trend":
            effect = self.less_the_trend()
        elif name in ("long base", "history", "last period before the start"):
            effect = self.by_start(name)
        else:
            raise EstimationError("estimators of the bracket", repr(name), f"choose from {OTHERS}")
        return _with_average(effect, self.horizons, name)

    def symmetric(self, covariates, axis) -> Effects:
        return symmetric_did(self.panel, delay="delay", horizons=self.horizons, axis=axis, covariates=covariates,
                             **self.options)  # fmt: skip

    @cached_property
    def symmetric_given(self) -> Effects:
        """Base mirrored around the dip window, the outcomes in it held equal."""
        return self.symmetric(self.given_names, self.axis)

    def less_the_trend(self) -> Effects:
        """The symmetric estimate less the drift before the dip, carried over the distance from base to outcome."""
        effect = self.symmetric_given
        distance = [np.mean([2 * (d + h - self.axis[d]) for d in self.waits]) for h in self.horizons]
        drifts = side_by_side([drift(self.given, self.before, span, self.fade, self.gap) for span in distance])
        return replace(effect, estimate=effect.estimate - drifts.estimate, scores=effect.scores - drifts.scores)

    def by_start(self, name: str) -> Effects:
        """Estimators whose base does not depend on the horizon."""
        gt = self.fit(self.history_names) if name == "history" else self.gt
        fits = dict.fromkeys(self.waits, gt)
        if name == "last period before the start":
            fits = {d: _from(gt, d - 1) for d in self.waits}
        return at_horizons(dict.fromkeys(self.horizons, fits), self.wait_of)


def _from(gt: Effects, event_time: int) -> Effects:
    """The same ATT(g, t) counted from another period: each less its cohort's at that event time."""
    cohort, event = gt.labels["cohort"].to_numpy(), gt.labels["event_time"].to_numpy()
    at = {g: k for k, g in enumerate(cohort.tolist()) if event[k] == event_time}
    known = np.array([g in at for g in cohort.tolist()])
    less = np.array([at.get(g, 0) for g in cohort.tolist()])
    return replace(gt, estimate=np.where(known, gt.estimate - gt.estimate[less], np.nan),
                   scores=gt.scores - gt.scores[:, less])  # fmt: skip


def _with_average(effect: Effects, horizons: list[int], name: str) -> Effects:
    k = len(horizons)
    terms, times, weights = [f"h={h}" for h in horizons], [float(h) for h in horizons], np.eye(k)
    if k > 1:
        terms, times, weights = [*terms, "average"], [*times, np.nan], np.vstack([weights, np.full(k, 1 / k)])
    labels = pd.DataFrame({"term": terms, "event_time": times})
    return effect.combine(weights, labels=labels, estimand=f"ATT by periods since the start ({name})")


def recommended_income(
    study: Study, one: Comparison, *, dip: Sequence[int] | None = None, base: Sequence[int] | None = None,
    before: Sequence[int] | None = None, horizons: Sequence[int] | None = None, covariates: bool = True, **options: Any,
) -> Recommended:  # fmt: skip
    """Household income of starters, by an estimator chosen on the quarters before they applied: ATT(h).

    The records of the comparison (starters who have a partner, and everyone not yet started at the same landmark) on
    the clock of the application: cohorts are application periods, the delay is what lay between it and the landmark,
    and a record meets only those of the same period and delay. Estimand: "start now rather than not yet".

    Parameters
    ----------
    dip, base : event times since the application; None is selection_dip and selection_base of [did]. before : None is
        from the first period of [did] to the end of the base. horizons : periods since the start; None is the study's.
    covariates : hold the covariates of [did] equal, or none. options : of `recommended_did` (margin_sd, level, others).
    """
    plan = study.did
    dip, base = dip or plan.selection_dip, base or plan.selection_base
    if dip is None or base is None:
        raise EstimationError("the dip and a base since the application", "none in [did] of study.toml",
                              "add selection_dip and selection_base")  # fmt: skip
    before = before or (min(plan.window[0], base[0]), base[1])
    horizons = horizons or [horizon_periods(study)]
    names = [name for name in plan.covariates if covariates]
    panel = application_panel(one, names, (min(base[0], before[0], dip[0] - 1 - max(horizons)), max(horizons)))
    names = [name for name in names if len(pd.unique(panel.covariates([name])[name])) > 1]
    unit = study.outcomes["income"].unit
    return recommended_did(panel, delay="delay", dip=dip, base=base, before=before, horizons=horizons, later="stay",
                           covariates=names, unit=unit, **options)  # fmt: skip


def application_panel(one: Comparison, covariates: Sequence[str], window: tuple[int, int]) -> Panel:
    """Income of the covered records on the clock of the application: cohort, risk set, `delay`.

    window : first event time since the application, last since the start.
    """
    units = one.covered.units
    if "application_quarter" not in units:
        raise EstimationError("the period of the application", "a comparison without one", "use a landmark design")
    wait = (units["zero_period"] - units["application_quarter"]).to_numpy()
    frame = one.covered.panel(["income"], window=(window[0] - int(wait.max()), window[1]),
                              covariates=[*covariates, "application_quarter"])  # fmt: skip
    frame["delay"] = frame["risk_set"] - frame["application_quarter"]
    # a person meets those of the same application quarter *and* delay: each delay gets a calendar of its own
    frame["applied"] = frame["application_quarter"] + frame["delay"] * SPAN
    frame["when"] = frame["period"] + frame["delay"] * SPAN
    frame["cohort_applied"] = np.where(frame["treated"] == 1, frame["applied"], np.nan)
    return Panel(frame, unit="unit", period="when", cohort="cohort_applied", outcome="income", cluster="person",
                 risk_set="applied")  # fmt: skip
