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
from .bridge import verdict
from .comparison import Comparison
from .finding import Findings
from .grade import Grade
from .income import Income, at_horizon, income_panel
from .words import say_number


@dataclass(frozen=True, kw_only=True)
class Household:
    """What the effect on income means for households.

    definition : income as it enters. effect : the headline, at the horizon. joint : effects at the horizon of one fit:
    income and, where the study knows the size of households, equivalised income and the share below the poverty line.
    deciles : effects on the deciles. euros : attributable, on those covered. share : of the change seen, how much was
    caused. percent : of what they would have had. line : the poverty line, held fixed.
    """

    definition: IncomeOutcome
    effect: Effects
    joint: Effects
    deciles: ChangesInChanges
    euros: AttributableEuros
    share: Ratios
    percent: Ratios
    line: PovertyLine | None

    @property
    def deciles_note(self) -> str:
        """What stands below the deciles: they hold no covariates equal, so their mean is not the headline."""
        mean, headline = float(self.deciles.mean.estimate[0]), float(self.effect.estimate[0])
        return f"Without covariates; its mean {_signed(mean)} beside the headline {_signed(headline)}."

    @property
    def why_no_deciles(self) -> str:
        """Why the deciles are not shown: their mean tells another story than the headline. Empty where it does not."""
        (low,), (high,) = self.effect.conf_int()
        if low <= self.deciles.mean.estimate[0] <= high:
            return ""
        return ("effects on deciles can only be read without holding age, schooling and the like equal, and their mean "
                f"({_signed(self.deciles.mean.estimate[0])}) then lies outside the 95 % interval of the headline "
                f"({_signed(low)} to {_signed(high)})")  # fmt: skip


def household_effects(study: Study, one: Comparison, income: Income, *, draws: int = 200) -> Household:
    """Income as households live it: equivalised, by decile, below the poverty line, in euros and as a share.

    Parameters
    ----------
    study : an opened `Study`. one : from `compare`. income : from `income_effects` on the same comparison. draws : of
        the bootstrap behind the deciles.

    Raises
    ------
    EstimationError : no price year in [outcomes.income], or an effect that does not exist.
    """
    plan = study.outcomes["income"]
    if plan.price_year is None:
        raise EstimationError("the year in whose prices income is given", "no price_year in [outcomes.income]",
                              "add it to study.toml", table="study.toml")  # fmt: skip
    sized = plan.unequivalised and "household_uc" in study.columns("income_panel")
    spec = income.group_time.spec  # what the headline was estimated with: one answer, told in several ways
    names = list(spec["covariates"])
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
    alike = {name: spec[name] for name in ("comparison", "base_period")}
    joint = group_time_att(panel, method=spec["method"], covariates=names, **alike)
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
        definition=definition, effect=income.horizon, joint=joint, line=line,
        deciles=changes_in_changes(income.panel, by="event_time", draws=draws, unit=plan.unit, **alike).at(
            event_time=int(effect.labels["event_time"].iloc[0])
        ),
        euros=attributable_euros(effect, income=definition, n_covered=covered, treated_total=treated),
        share=caused_share(effect, changed, n_covered=covered, income=definition),
        percent=percent_of_counterfactual(effect, level),
    )  # fmt: skip


def tell_household(findings: Findings, study: Study, tier: str, home: Household, **columns: Any) -> None:
    """Keep what the effect means for households as findings of this tier.

    Nothing is said to be caused where the grade or the estimate does not carry it. A ratio outside 0 to 1, or whose set
    is no interval, is told in words; few people are told as few.

    Parameters
    ----------
    findings : changed: the findings are added to it. study : an opened `Study`. tier : code of one of its tiers.
    home : from `household_effects`. columns : those shared by all findings (pool, design, estimator, grade, ...).
    """
    plan = study.outcomes["income"]
    unit, floor = plan.unit, study.disclosure.min_cell_sensitive
    covered, rest = home.euros.table.to_dict("records")
    counts = {"n_treated": covered["n"], "n_comparison": int(home.joint.n_comparison[0]), "n_covered": covered["n"]}
    for k, name in enumerate(list(home.joint.labels.get("outcome", []))[1:], start=1):
        row = home.joint.rows(np.array([k]), unit="share" if name == "share below the poverty line" else unit)
        about = f"ATT, {name}, {study.horizon_months} months after date zero"
        line = ""
        if home.line and row.unit == "share":
            line = f"The line: {home.line.line:,.0f} {unit} a consumption unit ({plan.poverty_line_source}), fixed."
        key = "poverty" if row.unit == "share" else name.split()[0]
        findings.add(f"household_{tier}_{key}", row, tier=tier, estimand=about, text=line, **columns)
    caused = is_clear(home.effect, columns.get("grade"))
    what = "total that the programme caused" if caused else "total of the estimated effect"
    left = "Everyone is covered."
    if rest["n"]:
        few = f"fewer than {floor}" if rest["n"] < floor else f"{rest['n']:,}"
        left = f"Not covered: {few} starters, and no money is counted for them."
    findings.add(
        f"household_{tier}_total", estimate=covered["total"], std_error=covered["std_error"],
        conf_low=covered["conf_low"], conf_high=covered["conf_high"], unit=unit, tier=tier,
        estimand=f"{what}, all covered, {when(study)}", text=f"{left} Neither equivalised nor winsorised.",
        **counts, **columns,
    )  # fmt: skip
    few_people = any(0 < counts[name] < floor for name in ("n_treated", "n_comparison"))
    change, percent = home.share.table.iloc[0], home.percent.table.iloc[0]
    seen = say_change(float(change["numerator"]), float(change["denominator"]), unit, caused=caused)
    part = "share of the change in income that the programme caused"
    about = part if caused else "estimated effect as a share of the change in income"
    for name, told, of, ratio, text, why in (
        ("share", about, "% of the change", change, seen, "" if 0 <= change["ratio"] <= 1 else seen),
        ("percent", "ATT, relative to what they would have had", "% of their income without it", percent, "", ""),
    ):
        key = f"household_{tier}_{name}"
        about_it = {"tier": tier, "estimand": told, "pool": columns.get("pool", "")}
        if few_people:  # neither the numbers nor the words that hold them
            findings.suppressed(key, f"fewer than {floor} people in one of the groups", **about_it)
        elif why or ratio["kind"] != "interval":
            findings.not_estimable(key, why or f"the data allow {ratio['words']}", **about_it)
        else:
            findings.add(
                key, estimate=100 * ratio["ratio"], std_error=100 * ratio["std_error"], conf_low=100 * ratio["low"],
                conf_high=100 * ratio["high"], unit=of, tier=tier, estimand=told, text=text, **counts, **columns,
            )  # fmt: skip


def say_change(effect: float, change: float, unit: str, *, caused: bool) -> str:
    """What happened to their income, and what would have happened without the programme.

    effect : ATT. change : seen since the base, on average. "Of it" only where the effect is a part of the change.
    caused : the evidence carries the word.
    """
    moved = f"Their income {_moved(change)} {unit} on average since the base"
    if change and 0 <= effect / change <= 1:
        part = f"{abs(effect):,.0f} of it was caused" if caused else f"the estimated effect is {_signed(effect)}"
        return f"{moved}; {part}."
    lead = "without the programme" if caused else "by this estimate, without the programme"
    without = _moved(change - effect).replace("rose", "risen").replace("fell", "fallen")
    return f"{moved}; {lead} it would have {without}."


def is_clear(effect: Effects, grade: Grade | str | None) -> bool:
    """Whether one may say that the programme caused it: beyond 99.5 %, and nothing forbids a conclusion."""
    level = grade if isinstance(grade, str) or grade is None else grade.level
    return level != "cannot conclude" and verdict(effect.estimate[0], effect.std_error[0]) != "no clear effect"


def when(study: Study) -> str:
    """The period at the horizon, in words."""
    zero = {"start": "the start", "application": "the application"}.get(study.clock.date_zero, "date zero")
    return f"in the {study.frequency} {study.horizon_months} months after {zero}"


def _moved(change: float) -> str:
    return f"{'fell' if change < 0 else 'rose'} by {abs(change):,.0f}"


def _signed(value: float) -> str:
    return say_number(value, "", signed=True, scale=1000.0)
