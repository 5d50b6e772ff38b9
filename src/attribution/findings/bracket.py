"""The bracket: other defensible estimators of the headline, declared before anyone sees it."""

from __future__ import annotations

import numpy as np

from ..design.match import match
from ..estimate.att import att
from ..results import Effects
from ..study import Study
from .comparison import Comparison, match_options

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


def disagreement(effects: dict[str, Effects]) -> str:
    """Why nothing can be concluded when the declared estimators disagree in sign; empty when they agree."""
    signs = {float(np.sign(effect.estimate[0])) for effect in effects.values()}
    return "" if len(signs) == 1 else "the estimators declared beforehand disagree in sign"
