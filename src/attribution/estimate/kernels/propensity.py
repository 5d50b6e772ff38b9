"""The chance of being treated, x'b on the logit scale: maximum likelihood, or tilted until the means agree."""

from __future__ import annotations

import numpy as np

from .algebra import CannotEstimate, blocks, cross, minimise, refuse_collinear

TRIM = 0.995  # comparison units at or above this propensity leave
CAP = 1 - 1e-6  # propensities are capped here, and never from below
SEPARATED = "no overlap: covariates separate the treated from the comparison units"


def probability(x: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(r,) propensities, capped."""
    eta = x @ b
    e = np.exp(-np.abs(eta))
    return np.minimum(np.where(eta >= 0, 1.0, e) / (1 + e), CAP)


def odds(p: np.ndarray, treated: np.ndarray) -> np.ndarray:
    """(r,) p / (1 - p) of the comparison units, the weight that makes them look like the treated; 0 where they left."""
    return np.where(treated | (p >= TRIM), 0.0, p / (1 - p))


def logit(x: np.ndarray, treated: np.ndarray, weight: np.ndarray, start: np.ndarray | None = None) -> np.ndarray:
    """(p,) coefficients of an unpenalised weighted logit, to full convergence."""
    d = treated.astype(float)
    refuse_collinear(cross(x, weight, x), "collinear covariates in the propensity")
    if start is None:
        share = (weight @ d) / weight.sum()
        start = np.r_[np.log(share / (1 - share)), np.zeros(x.shape[1] - 1)]

    def evaluate(b):
        value, gradient, information = 0.0, np.zeros(len(b)), np.zeros((len(b), len(b)))
        for rows in blocks(len(x)):
            part, w, own = x[rows], weight[rows], d[rows]
            eta = part @ b
            e = np.exp(-np.abs(eta))
            p = np.where(eta >= 0, 1.0, e) / (1 + e)
            value += w @ (np.maximum(eta, 0) + np.log1p(e) - own * eta)
            gradient += part.T @ (w * (p - own))
            information += (part * (w * e / (1 + e) ** 2)[:, None]).T @ part
        return value, gradient, information

    b, step, converged = minimise(evaluate, start)
    extreme = treated & (probability(x, b) >= CAP)
    if not converged or not np.isfinite(b).all() or extreme.any():
        raise CannotEstimate(SEPARATED, _separating(x, extreme if extreme.any() else treated, step))
    return b


def tilted(x: np.ndarray, treated: np.ndarray, weight: np.ndarray, start: np.ndarray) -> np.ndarray:
    """(p,) coefficients b with sum w (1 - d) exp(x'b) x = sum w d x (Graham, Pinto & Egel 2012; Sant'Anna & Zhao 3.1).

    The comparison units, weighted by their odds, have exactly the covariate means of the treated. `start` is the logit.
    """
    target = x.T @ (weight * treated)
    comparison = np.where(treated, 0.0, weight)

    def evaluate(b):
        value, gradient, hessian = -target @ b, -target, np.zeros((len(b), len(b)))
        for rows in blocks(len(x)):
            part = x[rows]
            scaled = part * (comparison[rows] * np.exp(np.minimum(part @ b, 500)))[:, None]
            value += scaled[:, 0].sum()
            gradient = gradient + scaled.sum(axis=0)
            hessian += scaled.T @ part
        return value, gradient, hessian

    b, _, converged = minimise(evaluate, start)
    if not converged or not np.isfinite(b).all():
        gap = np.abs(evaluate(b)[1]) / np.sqrt(np.diag(cross(x, weight, x)))
        gap[0] = 0  # the intercept is nobody's covariate
        raise CannotEstimate("no overlap: no weights give the comparison units the treated means",
                             np.flatnonzero(gap > 0.1 * gap.max()))  # fmt: skip
    return b


def _separating(x: np.ndarray, rows: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Columns whose coefficients still run off, as far as they move these units away from the others."""
    if len(step) == 1:
        return np.empty(0, int)
    pull = np.abs((x[rows].mean(axis=0) - x.mean(axis=0)) * step)
    return np.flatnonzero(pull > 0.1 * pull.max()) if np.isfinite(pull).all() else np.empty(0, int)
