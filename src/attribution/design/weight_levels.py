"""Weights for a treatment of several levels (free, paid, apprentice): multinomial logit. Blind to outcomes."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from ..errors import DesignError
from .newton import Columns, Weighted


def multinomial(columns: Columns, level: np.ndarray, names: list[Any], goal: int | None) -> Weighted:
    """1/p of the own level (goal None: the average over all), or p of level `goal` over p of the own level.

    Estimator : multinomial logit by Newton's method (statsmodels), not penalised. Weights and their derivatives after
        Imbens (2000) and Lechner (2001).

    Parameters
    ----------
    columns : covariates. level : (n,) codes 0 .. L-1; the odds are against level 0. names : of the levels.
    """
    from statsmodels.discrete.discrete_model import MNLogit

    z, n, last = columns.weighted(np.ones(len(level))), len(level), len(names)
    with warnings.catch_warnings(), np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        warnings.simplefilter("ignore")  # convergence is judged below, on the step itself
        try:
            model = MNLogit(level, z, check_rank=False)
            start = np.zeros(z.shape[1] * (last - 1))
            fit = model.fit(start, method="newton", maxiter=40, tol=1e-10, disp=0, skip_hessian=True)
            flat = np.asarray(fit.params).ravel(order="F")
            information = -model.hessian(flat)
            step = np.linalg.solve(information, model.score(flat))
        except np.linalg.LinAlgError:
            step = np.full(1, np.inf)
    if not np.abs(step).max() < 1e-8:
        raise DesignError("overlap: no combination of covariates that decides the level",
                          "a multinomial logit that does not converge", "leave out or coarsen covariates, or levels",
                          keys=names)  # fmt: skip
    eta = np.column_stack([np.zeros(n), z @ np.asarray(fit.params)])
    p = np.exp(eta - eta.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    mine = (level[:, None] == np.arange(last)).astype(float)
    own = p[np.arange(n), level]
    w = 1 / own if goal is None else p[:, goal] / own
    toward = p if goal is None else (np.arange(last) == goal).astype(float)
    first, slope = (mine - p)[:, 1:], (w[:, None] * (toward - mine))[:, 1:]
    score = (first[:, :, None] * z[:, None, :]).reshape(n, -1)
    return Weighted(weights=w, influence=score @ np.linalg.inv(information),
                    slopes=(slope[:, :, None] * z[:, None, :]).reshape(n, -1))  # fmt: skip
