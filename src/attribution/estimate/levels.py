"""The effect of each level of a treatment against one level: free, paid, apprentice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..design.propensity import columns_of
from ..design.table import categories, encode, refuse_missing, require_columns, to_pandas
from ..design.weighting.levels import multinomial
from ..errors import DesignError, EstimationError
from ..results import Effects, WeightModel
from .few_units import few_note, few_units
from .m_estimation import m_estimation
from .sample import numeric, refuse_treatment, unit_of


def multi_valued(
    units: Any, treatment: str, *, outcome: str, covariates: Sequence[str], reference: Any, target: Any = "all",
    unit: str | None = None,
) -> Effects:  # fmt: skip
    """Mean outcome under each level minus under the reference level: the ATE, or the effect on one level's units.

    Estimand : for every level the average, over the units of the target, of the outcome under that level minus under
        the reference.
    Assumes : given the covariates nobody knew anything more about their outcome when the level was decided; every unit
        could have had every level.
    Estimator : inverse generalised propensity by multinomial logit (Imbens 2000), weighted means of the levels.
    Std. errors : M-estimation: the multinomial logit and the means stacked, no correction for degrees of freedom.
    Edge cases : units without the outcome count in the logit but not in the means, and are counted in the notes. A
        level that fewer than 20 units carry, by their weights: Student's t. A level of
        fewer than two units with an outcome is refused; so are missing values, constant or collinear
        covariates, separation.
    Checked : reference/match/ipw_multi_cattaneo2 (WeightIt 1.4.0); with two levels it equals `weight` and `att`.

    Parameters
    ----------
    units : table, one row a unit. treatment : column of two or more levels. outcome : numeric or 0/1 column.
    covariates : columns the levels' probabilities use. reference : the level all others are compared with.
    target : "all", or the level whose units the effect is about. unit : default "share" for 0/1 outcomes.

    Returns
    -------
    Effects, one row a contrast: term "level vs reference"; labels also level, reference, ess (effective units of the
    level). n_treated and n_comparison count the units of the level and of the reference.
    """
    units = to_pandas(units)
    refuse_treatment(outcome, treatment)
    require_columns(units, [treatment, outcome, *covariates])
    if {treatment, outcome} & set(covariates):
        raise DesignError("covariates other than the treatment and the outcome", "one of these", "leave it out")
    refuse_missing(units, [treatment, *covariates])
    code, levels = categories(units[treatment].astype("category"))
    level = code.astype(int)
    if reference not in levels or (target != "all" and target not in levels) or len(levels) < 2:
        raise DesignError(f"reference and target among the levels of {treatment}", f"{reference!r} and {target!r}",
                          'name levels that occur, or target "all"', column=treatment, keys=levels)  # fmt: skip
    y = numeric(units[outcome], outcome)
    used = np.isfinite(y)
    count = np.bincount(level[used], minlength=len(levels))
    if (count < 2).any():
        raise EstimationError("two units with an outcome in every level", "fewer", "merge the level or leave it out",
                              column=outcome, keys=[levels[j] for j in np.flatnonzero(count < 2)])  # fmt: skip
    x, names, origins = encode(units, covariates, drop_base=True)
    found = multinomial(columns_of(x, names, origins), level, levels, None if target == "all" else levels.index(target))
    w = found.weights[used]
    means = (level[used, None] == np.arange(len(levels))).astype(float)
    assert found.influence is not None and found.slopes is not None
    model = WeightModel(influence=found.influence, slopes=found.slopes)
    base = levels.index(reference)
    others = [j for j in range(len(levels)) if j != base]
    contrast = np.eye(len(levels))[:, others]
    contrast[base] = -1.0
    support = few_units(w, level[used], contrast, arms=np.arange(len(levels)))
    scores, beta = m_estimation(means, y[used], w, used, model, np.full(len(y), -1))
    ess = (means.T @ w) ** 2 / (means.T @ w**2)
    notes = ["Effective units: " + ", ".join(f"{levels[j]} {ess[j]:,.0f} of {count[j]:,}" for j in range(len(levels)))
             + "."]  # fmt: skip
    whom = "ATE" if target == "all" else f"effect on the units of {treatment} {target}"
    if not used.all():
        notes.append(f"{int((~used).sum()):,} units without {outcome} were left out of the means.")
        whom += f" where {outcome} is known"
    return Effects(
        estimand=f"{whom}, each level against {reference}",
        unit=unit or unit_of(y[used], outcome),
        labels=pd.DataFrame({"term": [f"{levels[j]} vs {reference}" for j in others], "outcome": outcome,
                             "level": [levels[j] for j in others], "reference": reference, "ess": ess[others]}),
        estimate=beta @ contrast, scores=scores @ contrast, n_treated=count[others],
        n_comparison=np.full(len(others), count[base]), support=support, dof=None if support is None else support.dof,
        notes=(*notes, *few_note(support, count.min())),
        spec={"treatment": treatment, "outcome": outcome, "estimator": "multinomial",
              "covariates": tuple(covariates), "target": target, "reference": reference,
              "vcov": "m_estimation"},
    )  # fmt: skip
