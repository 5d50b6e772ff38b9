"""What an effect on income means for households: equivalised, by decile, below the poverty line, in euros."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..errors import EstimationError
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
from ..outcomes.income import IncomeOutcome, household_income
from ..outcomes.poverty import PovertyLine, given_line
from ..results import Effects
from ..study import Study
from .comparison import Comparison
from .finding import Findings
from .income import Income, at_horizon, base_of, income_panel


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
    EstimationError : no price year in [outcomes.income], or an effect that does not exist.
    """
    plan = study.outcomes["income"]
    if plan.price_year is None:
        raise EstimationError("the year in whose prices income is given", "no price_year in [outcomes.income]",
                              "add it to study.toml", table="study.toml")  # fmt: skip
    sized = plan.unequivalised and "household_uc" in study.columns("income_panel")
    names = list(study.did.covariates)
    frame = one.covered.panel(["income", *(["household_uc"] if sized else [])], covariates=names)
    sized = sized and bool(frame["household_uc"].notna().any())
    made: dict[str, Any] = {
        "income": "income", "winsorise": None, "currency": study.currency, "frequency": study.frequency,
        "price_year": plan.price_year, "prices": "constant",
    }  # fmt: skip
    definition, line = household_income(frame, equivalise="none", **made), None
    outcomes = {"income": definition.values}
    if sized:
        equal = household_income(frame, equivalise="oecd_modified", household_uc="household_uc", **made)
        outcomes["equivalised income"] = equal.values
        if plan.poverty_line:
            line = given_line(plan.poverty_line, equal)
            outcomes["share below the poverty line"] = line.below(equal)
    frame = frame.drop(columns=["income", "household_uc"], errors="ignore").assign(**outcomes)
    panel = income_panel(one, list(outcomes), names, frame=frame)
    joint = group_time_att(panel, comparison="never_treated", base_period=base_of(study, None), covariates=names)
    joint = at_horizon(study, aggregate(joint, by="event_time"))
    joint = replace(joint, unit=f"{plan.unit}; share") if len(outcomes) > 1 else replace(joint, unit=plan.unit)
    changed, level = (
        replace(at_horizon(study, aggregate(treated_means(income.panel, income.group_time, of=of), by="event_time")),
                unit=definition.unit)
        for of in ("change", "level")
    )  # fmt: skip
    effect = replace(income.horizon, unit=definition.unit)
    covered, treated = int(effect.n_treated[0]), int(one.design.treated.sum())
    return Household(
        definition=definition, joint=joint, line=line,
        deciles=changes_in_changes(
            income.panel, comparison="never_treated", base_period=base_of(study, None), by="event_time", draws=draws,
            unit=plan.unit,
        ).at(event_time=int(effect.labels["event_time"].iloc[0])),
        euros=attributable_euros(effect, income=definition, covered=covered, treated_total=treated),
        share=caused_share(effect, changed, covered=covered, income=definition),
        percent=percent_of_counterfactual(effect, level),
    )  # fmt: skip


def tell_household(findings: Findings, study: Study, tier: str, home: Household, **columns: Any) -> None:
    """Keep what the effect means for households as findings of this tier.

    columns : those shared by all of them (pool, design, estimator, grade, ...). A ratio whose set is no interval is not
    estimable, in words. Few people without an estimate are told as few.
    """
    plan = study.outcomes["income"]
    unit = plan.unit
    for k, name in enumerate(list(home.joint.labels.get("outcome", []))[1:], start=1):
        row = home.joint.rows(np.array([k]), unit="share" if name == "share below the poverty line" else unit)
        about = f"ATT, {name}, {study.horizon_months} months after date zero"
        line = ""
        if home.line and row.unit == "share":
            line = f"The line: {home.line.line:,.0f} {unit} a consumption unit ({plan.poverty_line_source}), fixed."
        key = "poverty" if row.unit == "share" else name.split()[0]
        findings.add(f"household_{tier}_{key}", row, tier=tier, estimand=about, text=line, **columns)
    covered, rest = home.euros.table.to_dict("records")
    few = rest["n"] < findings.min_cell
    left = f"fewer than {findings.min_cell} starters" if few else f"{rest['n']:,} starters"
    counts = {"n_treated": covered["n"], "n_comparison": int(home.joint.n_comparison[0])}
    findings.add(
        f"household_{tier}_total", estimate=covered["total"], std_error=covered["std_error"],
        conf_low=covered["conf_low"], conf_high=covered["conf_high"], unit=unit, tier=tier,
        estimand="total that the programme caused, all covered",
        text=f"Not covered: {left}, and no money is counted for them. Neither equivalised nor winsorised.",
        **counts, **columns,
    )  # fmt: skip
    change = home.share.table.iloc[0]
    seen = (f"Their income changed by {change['denominator']:+,.0f} {unit} on average since the base; "
            f"{change['numerator']:+,.0f} of it was caused.")  # fmt: skip
    for name, about, of, ratios, text in (
        ("share", "share of the change in income that the programme caused", "% of the change", home.share, seen),
        ("percent", "ATT, relative to what they would have had", "% of their income without it", home.percent, ""),
    ):
        ratio = ratios.table.iloc[0]
        if ratio["kind"] == "interval":
            findings.add(
                f"household_{tier}_{name}", estimate=100 * ratio["ratio"], std_error=100 * ratio["std_error"],
                conf_low=100 * ratio["low"], conf_high=100 * ratio["high"], unit=of, tier=tier, estimand=about,
                text=text, **counts, **columns,
            )  # fmt: skip
        else:
            why = f"the data allow {ratio['words']}"
            findings.not_estimable(f"household_{tier}_{name}", why, tier=tier, estimand=about)
