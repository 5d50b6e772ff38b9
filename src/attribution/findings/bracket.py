"""The bracket: other defensible estimators of the headline, declared before anyone sees it."""

from __future__ import annotations

import numpy as np

from ..design.match import match
from ..errors import attempt
from ..estimate.att import att
from ..results import Effects
from ..study import Study
from .comparison import Comparison, match_options
from .income import Income, income_effects
from .recommend import recommended_income

HEADLINE = "Matched (headline)"


def bracket(study: Study, one: Comparison, outcome: str) -> dict[str, Effects]:
    """The effect on `outcome` by each declared estimator, headline first; all on the same cohort and pool.

    Matched pairs; the same pairs with regression on the covariates; two partners for each starter.
    """
    plan, data = study.design, one.cohort.outcomes
    options = {**match_options(study), "ratio": plan.ratio + 1}
    pairs = match(one.cohort.units, "treated", covariates=list(plan.covariates), **options)
    return {
        HEADLINE: att(one.design, outcome, data=data),
        "Matched and adjusted": att(one.design, outcome, data=data, adjust=list(plan.covariates)),
        "One partner more": att(pairs, outcome, data=data),
    }


def income_bracket(study: Study, one: Comparison, income: Income) -> dict[str, Effects]:
    """The effect on income at the horizon by each declared estimator, headline first; none from the last period before.

    The doubly robust difference-in-differences of the plan; the same without covariates; the matched starters and
    partners at the horizon; and, where the application is dated, the base as far before it as the effect lies after it,
    the same given the incomes people applied with, and all of their history held equal (`recommended_did`).
    """
    unit = study.outcomes["income"].unit
    effects = {
        "Doubly robust, long base (headline)": income.horizon,
        "Without covariates": income_effects(study, one, covariates=False).horizon,
        "Matched, level at the horizon": _att_row(att(one.design, "income_h", data=one.cohort.outcomes, unit=unit)),
    }
    found, _ = attempt(recommended_income, study, one, others=("symmetric", "history"))
    if found is not None:
        names = {"symmetric": "Symmetric around the application", "history": "All of the history held equal",
                 "symmetric, given the dip": "Symmetric, given the incomes they applied with"}  # fmt: skip
        effects |= {names[name]: effect for name, effect in found.candidates.items() if name in names}
    return effects


def _att_row(effect: Effects) -> Effects:
    """The difference alone, of a result that also holds the levels."""
    return effect.rows((effect.labels["term"] == "att").to_numpy()) if len(effect) > 1 else effect


def disagreement(effects: dict[str, Effects]) -> str:
    """Why nothing can be concluded when the declared estimators disagree in sign; empty when they agree."""
    signs = {float(np.sign(effect.estimate[0])) for effect in effects.values()}
    return "" if len(signs) == 1 else "the estimators declared beforehand disagree in sign"
