"""Household income of starters against those still able to start: one call from a comparison to graded effects."""

from __future__ import annotations

from dataclasses import dataclass

from ..cohorts.panel import Panel
from ..errors import EstimationError
from ..estimate.aggregate import aggregate
from ..estimate.did import group_time_att
from ..outcomes.career import MONTHS_PER_PERIOD
from ..results import Check, Effects
from ..stress.placebo import pre_period
from ..study import Study
from .comparison import Comparison
from .grade import Grade, grade


@dataclass(frozen=True, kw_only=True)
class Income:
    """Effects on income around date zero.

    events : by event time. horizon : the one at the study's horizon. overall : average since date zero.
    check : were the two groups apart before date zero? grade : from it and the overlap of the comparison.
    """

    events: Effects
    horizon: Effects
    overall: Effects
    check: Check
    grade: Grade


def income_effects(study: Study, one: Comparison, *, covariates: bool = True, base_period: int | None = None) -> Income:
    """Group-time ATT on income of the covered starters within the risk set of each start period, and its aggregates.

    covariates : doubly robust on the plan's covariates, or none. base_period : event time; None is the plan's.

    Raises
    ------
    EstimationError : the window of [did] ends before the horizon, or too few people.
    """
    plan, unit = study.did, study.outcomes["income"].unit
    names = list(plan.covariates) if covariates else []
    base = plan.base_period if base_period is None else base_period
    if base is None:
        raise EstimationError("a base period", "none in [did] of study.toml", "choose one well before the dip")
    cohort = one.covered
    panel = Panel(
        cohort.panel(["income"], covariates=names), unit="unit", period="period", cohort="cohort", outcome="income",
        cluster="person", risk_set="risk_set",
    )  # fmt: skip
    effect = group_time_att(
        panel, comparison="never_treated", method="dr" if covariates else "reg", base_period=base, covariates=names,
        unit=unit,
    )  # fmt: skip
    events = aggregate(effect, by="event_time")
    at = study.horizon_months // MONTHS_PER_PERIOD[study.frequency]
    place = (events.labels["event_time"] == at).to_numpy()
    if not place.any():
        raise EstimationError(
            f"an effect at the horizon, event time {at}", f"a window of [did] {list(plan.window)}", "widen the window"
        )
    units = cohort.units
    spread = float(units[f"income_lag_{-base}"][units["treated"] == 1].std())
    check = pre_period(events, spread=spread)
    horizon = events.combine(place.astype(float), labels=events.labels[place], estimand=f"ATT at event time {at}")
    return Income(events=events, horizon=horizon, overall=aggregate(effect, by="overall"), check=check,
                  grade=grade((one.checks[0], check)))  # fmt: skip
