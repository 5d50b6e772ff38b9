"""Weights for a treatment of several levels (free, paid, apprentice): multinomial logit. Blind to outcomes."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...errors import DesignError
from ..newton import Columns, Weighted, blocks, newton


def multinomial(columns: Columns, level: np.ndarray, names: list[Any], goal: int | None) -> Weighted:
    """1/p of the own level (goal None: the average over all), or p of level `goal` over p of the own level.

    Estimator : multinomial logit by Newton's method, not penalised; weights after Imbens (2000).

    Parameters
    ----------
    columns : covariates. level : (n,) codes 0 .. L-1; the odds are against level 0. names : of the levels.
    """
    others, size = len(names) - 1, columns.x.shape[1] + 1
    codes = np.arange(len(names))[:, None]

    def chances(beta: np.ndarray, part: np.ndarray) -> np.ndarray:
        eta = np.vstack([np.zeros(part.shape[1]), beta.reshape(others, size) @ part])
        p = np.exp(eta - eta.max(axis=0))
        return p / p.sum(axis=0)

    def evaluate(beta: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        value, gradient = 0.0, np.zeros((others, size))
        hessian = np.zeros((others, size, others, size))
        for rows in blocks(len(level)):
            part = columns.rows(rows)
            p, mine = chances(beta, part), level[rows] == codes
            value -= float(np.log(np.maximum(p[mine], 1e-300)).sum())
            gradient += (p - mine)[1:] @ part.T
            for j in range(others):
                for k in range(j, others):
                    block = (part * (p[j + 1] * ((j == k) - p[k + 1]))) @ part.T
                    hessian[j, :, k] += block
                    if k > j:
                        hessian[k, :, j] += block
        return value, gradient.ravel(), hessian.reshape(others * size, -1)

    fit = newton(evaluate, np.zeros(others * size), 1e-8)
    if not fit.converged:
        raise DesignError("overlap: no combination of covariates that decides the level",
                          "a multinomial logit that does not converge", "leave out or coarsen covariates, or levels",
                          keys=names)  # fmt: skip
    n, inverse = len(level), -np.linalg.inv(fit.information)
    w, influence, slopes = np.empty(n), np.empty((others * size, n)), np.empty((others * size, n))
    for rows in blocks(n):
        part = columns.rows(rows)
        p, mine = chances(fit.beta, part), level[rows] == codes
        toward = p if goal is None else (codes == goal) * np.ones(part.shape[1])
        w[rows] = (1.0 if goal is None else p[goal]) / p[mine.argmax(axis=0), np.arange(part.shape[1])]
        score = ((p - mine)[1:, None] * part).reshape(others * size, -1)
        influence[:, rows] = inverse @ score
        slopes[:, rows] = ((w[rows] * (toward - mine))[1:, None] * part).reshape(others * size, -1)
    return Weighted(weights=w, influence=influence.T, slopes=slopes.T)
