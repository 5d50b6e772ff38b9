"""Household income of starters against those still able to start: one call from a comparison to graded effects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace


from ..cohorts.panel import Panel
from ..errors import DataError, EstimationError
from ..estimate.aggregate import aggregate
from ..estimate.attributable import (
    AttributableEuros,
    Ratios,
    attributable_euros,
    caused_share,
    percent_of_counterfactual,
    treated_means,
)
from ..estimate.did import group_time_att
from ..estimate.distribution import ChangesInChanges, changes_in_changes
from ..outcomes.career import MONTHS_PER_PERIOD
from ..outcomes.income import IncomeOutcome, household_income
from ..outcomes.poverty import PovertyLine, given_line
from ..results import Check, Effects
from ..stress.placebo import pre_period
from ..study import Study
from .comparison import Comparison
from .grade import Grade, grade


@dataclass(frozen=True, kw_only=True)
class Income:
    """Effects on income around date zero.

    panel : what they were estimated on. group_time : ATT(g, t). events : by event time. horizon : the one at the
    study's horizon. overall : average since date zero. check : were the two groups apart before date zero?
    grade : from it and the overlap of the comparison.
    """

    panel: Panel
    group_time: Effects
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
    names = list(study.did.covariates) if covariates else []
    base = _base(study, base_period)
    panel = income_panel(one, ["income"], names)
    effect = group_time_att(
        panel, comparison="never_treated", method="dr" if covariates else "reg", base_period=base, covariates=names,
        unit=study.outcomes["income"].unit,
    )  # fmt: skip
    events = aggregate(effect, by="event_time")
    units = one.covered.units
    spread = float(units[f"income_lag_{-base}"][units["treated"] == 1].std())
    check = pre_period(events, spread=spread)
    return Income(panel=panel, group_time=effect, events=events, horizon=at_horizon(study, events),
                  overall=aggregate(effect, by="overall"), check=check, grade=grade((one.checks[0], check)))  # fmt: skip


def income_panel(one: Comparison, outcomes: Sequence[str], covariates: Sequence[str], frame=None) -> Panel:
    """Outcome paths of the covered records around date zero, each compared within its risk set."""
    frame = one.covered.panel(list(outcomes), covariates=covariates) if frame is None else frame
    return Panel(frame, unit="unit", period="period", cohort="cohort", outcome=list(outcomes), cluster="person",
                 risk_set="risk_set")  # fmt: skip


def at_horizon(study: Study, events: Effects) -> Effects:
    """The rows of effects by event time that lie at the study's horizon."""
    at = study.horizon_months // MONTHS_PER_PERIOD[study.frequency]
    place = (events.labels["event_time"] == at).to_numpy()
    if not place.any():
        raise EstimationError(
            f"an effect at the horizon, event time {at}", f"a window of [did] {list(study.did.window)}", "widen the window"
        )
    return events.rows(place, estimand=f"ATT at event time {at}")


@dataclass(frozen=True, kw_only=True)
class Household:
    """What the effect on income means for households.

    definition : income as it enters. joint : effects at the horizon of one fit: income and, where the study knows the
    size of households, equivalised income and the share below the poverty line. deciles : effects on the deciles.
    euros : attributable, on those covered. share : of the change seen, how much was caused. percent : of what they
    would have had. line : the poverty line, held fixed.
    """

    definition: IncomeOutcome
    joint: Effects
    deciles: ChangesInChanges
    euros: AttributableEuros
    share: Ratios
    percent: Ratios
    line: PovertyLine | None


def household_effects(study: Study, one: Comparison, income: Income, *, draws: int = 200) -> Household:
    """Income as households live it: equivalised, by decile, below the poverty line, in euros and as a share.

    income : from `income_effects` on the same comparison. draws : of the bootstrap behind the deciles.

    Raises
    ------
    DataError : no price year in [outcomes.income]. EstimationError : an effect that does not exist.
    """
    plan = study.outcomes["income"]
    if plan.price_year is None:
        raise DataError("the year in whose prices income is given", "none", "add `price_year` under [outcomes.income]",
                        table="study.toml", column="outcomes.income.price_year")  # fmt: skip
    sized = plan.unequivalised and "household_uc" in study.columns("income_panel")
    names = list(study.did.covariates)
    frame = one.covered.panel(["income", *(["household_uc"] if sized else [])], covariates=names)
    made = {"income": "income", "winsorise": None, "currency": study.currency, "frequency": study.frequency,
            "price_year": plan.price_year, "prices": "constant"}  # fmt: skip
    definition, line = household_income(frame, equivalise="none", **made), None
    outcomes = {"income": definition.values}
    if sized:
        equal = household_income(frame, equivalise="oecd_modified", household_uc="household_uc", **made)
        outcomes["equivalised income"] = equal.values
        if plan.poverty_line:
            line = given_line(plan.poverty_line, equal)
            outcomes["below the poverty line"] = line.below(equal)
    frame = frame.drop(columns=["income", "household_uc"], errors="ignore").assign(**outcomes)
    panel = income_panel(one, list(outcomes), names, frame)
    joint = group_time_att(panel, comparison="never_treated", base_period=_base(study, None), covariates=names)
    joint = at_horizon(study, aggregate(joint, by="event_time"))
    joint = replace(joint, unit=f"{plan.unit}; share") if len(outcomes) > 1 else replace(joint, unit=plan.unit)
    changed, level = (
        replace(at_horizon(study, aggregate(treated_means(income.panel, income.group_time, of=of), by="event_time")),
                unit=definition.unit)
        for of in ("change", "level")
    )  # fmt: skip
    effect = replace(income.horizon, unit=definition.unit)
    covered = int(effect.n_treated[0])
    return Household(
        definition=definition, joint=joint, line=line,
        deciles=changes_in_changes(
            income.panel, comparison="never_treated", base_period=_base(study, None), by="event_time", draws=draws,
            unit=plan.unit,
        ).at(event_time=int(effect.labels["event_time"].iloc[0])),
        euros=attributable_euros(effect, income=definition, covered=covered, treated_total=int(one.design.treated.sum())),
        share=caused_share(effect, changed, covered=covered, income=definition),
        percent=percent_of_counterfactual(effect, level),
    )  # fmt: skip


def _base(study: Study, base_period: int | None) -> int:
    base = study.did.base_period if base_period is None else base_period
    if base is None:
        raise EstimationError("a base period", "none in [did] of study.toml", "choose one well before the dip")
    return base
