"""One effect for all, the rest left open: partially linear regression with cross-fitted models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..errors import EstimationError
from ..results import Effects
from .few_units import few_note, few_units
from .nuisance import by_group, fitted_values, room
from .units import Missing, read_units


def partially_linear(
    units: Any, treatment: str, *, outcome: str, covariates: Sequence[str], outcome_model: Any = "linear",
    treatment_model: Any = "linear", folds: int = 5, fold: str | None = None, key: str | None = None,
    cluster: str | None = None, missing: Missing = "refuse", unit: str | None = None,
) -> Effects:  # fmt: skip
    """Effect of treatment when it is the same for all: an overlap-weighted average of effects where it is not.

    Estimand : theta in Y = theta D + g(X) + e; with effects that differ, their average weighted by Var(D | X) under a
        linear fit (Angrist 1998): neither ATE nor ATT.
    Assumes : given the covariates nobody knew more about their outcome when treatment was decided.
    Estimator : Robinson 1988; cross-fitted, partialling out (Chernozhukov et al. 2018, eq. 4.4): outcome and treatment
        minus their predictions, then least squares of one residual on the other.
    Std. errors : influence function v (Y~ - theta v) / mean(v^2); summed by `cluster`, times G/(G-1).
    Edge cases : a treatment that the covariates predict perfectly is refused; few units, by their
        residual of treatment, and others as `aipw`.
    Checked : reference/match dml_lalonde (plr_linear; DoubleML 0.11.4).

    Parameters
    ----------
    Those of `aipw`. outcome_model : "linear", "logit" or a scikit-learn model of E[Y | X]. treatment_model : of
        E[D | X], likewise. folds : 2 or more; 0 fits both on all units (linear: ordinary least squares).
    """
    sample = read_units(units, treatment, outcome, covariates, key=key, cluster=cluster, folds=folds, fold=fold,
                        missing=missing)  # fmt: skip
    d = sample.t.astype(float)
    v = d - fitted_values(sample, d, treatment_model)
    gap = sample.y - fitted_values(sample, sample.y, outcome_model)
    n, moment = len(v), float(v @ v)
    if moment < 1e-9 * n:
        raise EstimationError("a treatment that the covariates do not predict perfectly", "no variation left",
                              "conclude that there is no comparison", column=treatment)  # fmt: skip
    theta = float(v @ gap) / moment
    scores = (v * (gap - theta * v) / moment)[:, None]
    block = np.where(sample.t, 0, 1)
    support = few_units(np.abs(v), block, np.ones((2, 1)), groups=sample.groups, models=True)
    scores = by_group(scores, sample.groups)
    alpha = v * (n / moment)  # the mean of its square, 1 / E[v^2], moves against that of v^2
    return Effects(
        estimand="effect under overlap weights, one for all",
        labels=pd.DataFrame({"term": [outcome], "outcome": outcome}),
        unit=unit or ("share" if sample.binary else f"units of {outcome}"), estimate=np.array([theta]), scores=scores,
        n_treated=np.array([int(sample.t.sum())]), n_comparison=np.array([int((~sample.t).sum())]),
        support=support, dof=None if support is None else support.dof,
        notes=(*sample.notes, *few_note(support, np.bincount(block).min(), what=sample.what)),
        unrecorded=room(sample, (gap - theta * v) ** 2, alpha**2, -(alpha**2)),
        spec={"outcome": outcome, "estimator": "partially linear", "covariates": tuple(covariates),
              "outcome_model": str(outcome_model), "treatment_model": str(treatment_model), "key": key,
              "vcov": "influence", "cluster": cluster,
              "folds": 0 if sample.fold is None else int(sample.fold.max()) + 1},
    )  # fmt: skip
