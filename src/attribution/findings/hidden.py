"""How strong something unrecorded would have to be: three answers side by side. None of them raises a grade."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from ..errors import DesignError, attempt
from ..estimate.att import att
from ..stress.confounding import Robustness, robustness
from ..stress.e_value import e_value
from ..stress.hidden_bias import rosenbaum_bounds
from ..study import Study
from .comparison import Comparison
from .disclosure import too_small
from .words import Told

BENCHMARKS = 3  # covariates shown as yardsticks: those that would move the estimate most


def strength(study: Study, one: Comparison, outcome: str) -> Robustness:
    """Cinelli & Hazlett's robustness value of the matched pairs, adjusted, with the strongest covariates as yardsticks.

    Raises
    ------
    DesignError : fewer people than may be shown.
    """
    parts = att(one.design, outcome, data=one.cohort.outcomes, parts=True)
    if too_small(parts, study.disclosure):
        raise DesignError("as many people as may be shown", "fewer people than may be shown", "widen the cohort")
    plan = list(study.design.covariates)
    every = robustness(one.design, outcome, adjust=plan, benchmarks=plan, times=(1,), data=one.cohort.outcomes)
    moved = (every.benchmarks["estimate"] - every.estimate).abs().to_numpy()
    strongest = every.benchmarks["covariate"].to_numpy()[np.argsort(-np.nan_to_num(moved), kind="stable")]
    return robustness(one.design, outcome, adjust=plan, benchmarks=[str(name) for name in strongest[:BENCHMARKS]],
                      times=(1,), data=one.cohort.outcomes)  # fmt: skip


def unrecorded(study: Study, one: Comparison, outcome: str) -> pd.DataFrame:
    """One row a method: what something unrecorded would have to do before the effect, or its significance, is gone.

    Rosenbaum: how many times the odds of starting may differ within a pair. E-value: the risk ratio with both starting
    and the outcome. Robustness value: the share of what is left of both that it explains.
    """
    effect = att(one.design, outcome, data=one.cohort.outcomes, parts=True)
    value = strength(study, one, outcome)
    way = "greater" if effect.estimate[-1] > 0 else "less"
    pairs, why_pairs = attempt(rosenbaum_bounds, one.design, outcome, alternative=way, data=one.cohort.outcomes)
    ratio, why_ratio = attempt(e_value, effect, scale="risk_ratio")
    rows: list[dict[str, Any]] = [
        {"method": "Robustness value (Cinelli and Hazlett 2020)",
         "unrecorded": "explains of what is left of starting and of the outcome",
         "effect gone": f"{value.robustness_value:.1%}", "no longer significant": f"{value.robustness_value_ci:.1%}"},
        {"method": "Sensitivity bounds (Rosenbaum 2002)", "unrecorded": "makes the odds of starting differ, in a pair",
         "effect gone": "", "no longer significant": _times(pairs.critical_gamma) if pairs else why_pairs},
        {"method": "E-value (VanderWeele and Ding 2017)", "unrecorded": "is tied to both by a risk ratio of",
         "effect gone": f"{ratio.e_value:.2f}" if ratio else why_ratio,
         "no longer significant": f"{ratio.e_value_ci:.2f}" if ratio else ""},
    ]  # fmt: skip
    return Told(pd.DataFrame(rows))


def _times(gamma: float | None) -> str:
    return "not significant to begin with" if gamma is None or np.isnan(gamma) else f"{gamma:.2f} times"
