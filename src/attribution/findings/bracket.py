"""The bracket: other defensible estimators of the headline, declared before anyone sees it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..design.match import match
from ..errors import attempt
from ..estimate.att import att
from ..results import Effects
from ..study import Study
from .bridge import verdict
from .comparison import Comparison, match_options
from .grade import Grade
from .income import Income, income_effects
from .recommend import Recommended, recommended_income

HEADLINE = "Matched (headline)"


def bracket(study: Study, one: Comparison, outcome: str) -> dict[str, Effects]:
    """The effect on `outcome` by each declared estimator, headline first; all on the same cohort and pool.

    Matched pairs; the same pairs with regression on the covariates; two partners for each starter.

    Parameters
    ----------
    study : an opened `Study`. one : from `compare`. outcome : 0/1 or money column of its cohort's outcomes.

    Returns
    -------
    Estimator in words -> Effects of one term, the ATT of that design, in shares (0/1 outcome) or the outcome's unit.

    Raises
    ------
    DesignError : one of the designs does not exist. EstimationError : too few people with an outcome.
    """
    plan, data = study.design, one.cohort.outcomes
    options = {**match_options(study), "ratio": plan.ratio + 1}
    pairs = match(one.cohort.units, "treated", covariates=list(plan.covariates), **options)
    return {
        HEADLINE: att(one.design, outcome, data=data),
        "Matched and adjusted": att(one.design, outcome, data=data, adjust=list(plan.covariates)),
        "One partner more": att(pairs, outcome, data=data),
    }


@dataclass(frozen=True, kw_only=True)
class Declared:
    """One estimator declared beforehand: its effect at the horizon, its own grade, and what a reader must know of it.

    slug : a name for the id of its finding.
    """

    effect: Effects
    grade: Grade
    text: str = ""
    slug: str = ""


def income_bracket(study: Study, one: Comparison, income: Income) -> dict[str, Declared]:
    """The effect on income at the horizon by each declared estimator, headline first; none from the last period before.

    The doubly robust difference-in-differences of the plan; the same without covariates; the matched starters and
    partners at the horizon; and, where the application is dated, those of `recommended_did` that do not rest on the
    last period before: the chosen one is marked, and carries the reason it was chosen for. Each has the grade of its
    own checks. Counts of people so close that their difference would be a small cell are told as the headline's.

    Parameters
    ----------
    study : an opened `Study`. one : from `compare`. income : from `income_effects` on it.

    Returns
    -------
    Estimator in words -> Declared: one effect, in the income's unit a period, with its grade and reason.
    """
    unit = study.outcomes["income"].unit
    plain = income_effects(study, one, covariates=False)
    matched = _att_row(att(one.design, "income_h", data=one.cohort.outcomes, unit=unit))
    made = {
        "Doubly robust, long base (headline)": Declared(
            effect=income.horizon, grade=income.grade, text=f"The headline. {income.check.text}", slug="headline"),
        "Without covariates": Declared(
            effect=plain.horizon, grade=plain.grade, text=plain.check.text, slug="no_covariates"),
        "Matched, level at the horizon": Declared(effect=matched, grade=one.grade, slug="matched"),
    }  # fmt: skip
    found, _ = attempt(recommended_income, study, one, others=("symmetric", "history"))
    if found is not None:
        made |= _since_application(found)
    counted = one_count(study, {name: way.effect for name, way in made.items()})
    return {name: replace(way, effect=counted[name]) for name, way in made.items()}


def _since_application(found: Recommended) -> dict[str, Declared]:
    """The estimators on the clock of the application; the recommended one first and by name, whichever it is."""
    names = {
        "long base": "Long base before the application",
        "symmetric, given the dip": "Symmetric, given the incomes they applied with",
        "symmetric, less the trend": "Symmetric, less the trend before",
        "symmetric": "Symmetric around the application", "history": "All of the history held equal",
    }  # fmt: skip
    made = {}
    for name in dict.fromkeys([found.estimator, *names]):
        effect = found.candidates.get(name)
        if effect is None or (name == "long base" and name != found.estimator):
            continue  # the long base is the headline's already, on its clock
        chosen = name == found.estimator
        said = [*found.grade.reasons]
        if name == "history":
            said.insert(0, "Right only if nothing but these incomes decided who applied.")
        if chosen:
            said.insert(0, f"Recommended by the rule declared beforehand: {_why(found)}")
            if found.grade.level != "cannot conclude":
                said.append(say_verdict(verdict(effect.estimate[0], effect.std_error[0])))
        text = " ".join(said)
        made[f"{names[name]}{' (recommended)' if chosen else ''}"] = Declared(
            effect=effect, grade=found.grade, text=text, slug=re.sub(r"\W+", "_", name))  # fmt: skip
    return made


def _why(found: Recommended) -> str:
    """The step of the rule, by what was seen: a rise before the application is no dip."""
    dip = found.checks[0]
    if dip.passed is False and dip.statistic > 0:
        return found.reason.replace("there is a dip before selection", "income did not stay level before selection")
    return found.reason


def say_verdict(clear: str) -> str:
    return "No clear effect." if clear == "no clear effect" else f"It {clear} income, beyond 99.5 %."


def one_count(study: Study, effects: Mapping[str, Effects], *, beside: Effects | None = None) -> dict[str, Effects]:
    """The effects with counts of starters that cannot be subtracted to a small cell: the first one's where they would.

    525 starters beside 529 tell of the 4 who have no partner in one of the pools. beside : an effect told elsewhere.
    """
    floor = max(study.disclosure.min_cell, study.disclosure.min_cell_sensitive)
    first = beside if beside is not None else next(iter(effects.values()), None)
    anchors = [] if first is None else np.asarray(first.n_treated).tolist()
    out = {}
    for name, effect in effects.items():
        counts = np.asarray(effect.n_treated).tolist()
        told = [next((anchor for anchor in anchors if abs(anchor - n) < floor), n) for n in counts]
        out[name] = replace(effect, n_treated=np.array(told), n_comparison=_paired(effect, told))
    return out


def _paired(effect: Effects, told: Sequence[int]) -> np.ndarray:
    """One partner each: their number says how many starters there are, and follows it."""
    rows = zip(effect.n_comparison, effect.n_treated, told, strict=True)
    return np.array([mine if other == own else other for other, own, mine in rows])


def _att_row(effect: Effects) -> Effects:
    """The difference alone, of a result that also holds the levels."""
    return effect.rows((effect.labels["term"] == "att").to_numpy()) if len(effect) > 1 else effect


def disagreement(effects: Mapping[str, Effects | Declared]) -> str:
    """Why nothing can be concluded when the declared estimators disagree in sign; empty when they agree.

    Parameters
    ----------
    effects : name -> one-term Effects or Declared, from `bracket` or `income_bracket`, all of the same quantity.
    """
    made = [one.effect if isinstance(one, Declared) else one for one in effects.values()]
    signs = {float(np.sign(effect.estimate[0])) for effect in made}
    return "" if len(signs) == 1 else "the estimators declared beforehand disagree in sign"
