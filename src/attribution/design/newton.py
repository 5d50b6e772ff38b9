"""Models of one index, eta = b0 + x'b: a logit, a probit, weights that balance. Newton by blocks of rows.

All of them minimise a sum of convex functions of eta, so each unit's first-order influence on the coefficients is its
own gradient times the inverse Hessian, whatever the model: that is what a standard error needs of estimated weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

BLOCK = 8_192  # rows whose temporaries stay in the processor's cache
LARGE, SOME = 100_000, 25_000  # rows above which some of each arm find the start

Loss = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]


def logit(eta: np.ndarray, own: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """-log likelihood of own = 1 with probability 1 / (1 + exp(-eta)), and its two derivatives by eta."""
    e = np.exp(-np.abs(eta))
    p = np.where(eta >= 0, 1.0, e) / (1 + e)
    return np.maximum(eta, 0.0) + np.log1p(e) - own * eta, p - own, e / (1 + e) ** 2


def probit(eta: np.ndarray, own: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """-log likelihood of own = 1 with probability Phi(eta); own may be a share."""
    from scipy.special import log_ndtr

    yes, no, density = log_ndtr(eta), log_ndtr(-eta), -0.5 * eta**2 - 0.5 * np.log(2 * np.pi)
    up, down = np.exp(density - yes), np.exp(density - no)
    return (-own * yes - (1 - own) * no, (1 - own) * down - own * up,
            own * up * (up + eta) + (1 - own) * down * (down - eta))  # fmt: skip


def tilt(eta: np.ndarray, own: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The others (own = 0), weighted by exp(eta), have the means of the units with own = 1."""
    w = np.where(own > 0, 0.0, np.exp(eta))
    return w - own * eta, w - own, w


def tilt_to_all(eta: np.ndarray, own: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The units with own = 1, weighted by exp(eta), have the means of all."""
    w = np.where(own > 0, np.exp(eta), 0.0)
    return w - eta, w - 1.0, w


def both_to_all(eta: np.ndarray, own: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Both arms, weighted by the inverse probability of a logit in eta, have the same means."""
    sign = 2 * own - 1
    e = np.exp(-sign * eta)
    return e - sign * eta, -sign * (1 + e), e


@dataclass(frozen=True, kw_only=True)
class Fit:
    """Coefficients on standardised columns, intercept first; information = Hessian at the minimum."""

    beta: np.ndarray
    information: np.ndarray
    step: np.ndarray
    converged: bool


@dataclass(frozen=True, kw_only=True)
class Weighted:
    """Estimated weights of n units before any scaling, with what M-estimation needs of them.

    log_odds : (n,) of the propensity behind them, where there is one. influence, slopes : (n, p) as in `WeightModel`;
    None when that propensity is held fixed.
    """

    weights: np.ndarray
    log_odds: np.ndarray | None = None
    influence: np.ndarray | None = None
    slopes: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Covariates (n, k), column by column in memory, with the centre and scale that make them comparable."""

    x: np.ndarray
    centre: np.ndarray
    scale: np.ndarray
    correlation: np.ndarray

    @staticmethod
    def of(x: np.ndarray) -> Columns:
        x = np.asfortranarray(x, dtype=float)
        centre, cross = x.mean(axis=0), np.zeros((x.shape[1], x.shape[1]))
        for rows in blocks(len(x)):
            part = x.T[:, rows] - centre[:, None]
            cross += part @ part.T
        cross /= len(x)
        scale = np.sqrt(np.diag(cross))
        safe = np.where(scale > 0, scale, 1.0)
        return Columns(x=x, centre=centre, scale=scale, correlation=cross / np.outer(safe, safe))

    def rows(self, rows: slice) -> np.ndarray:
        """(1 + k, m) intercept and standardised columns of a block."""
        part = self.x.T[:, rows]
        out = np.empty((len(part) + 1, part.shape[1]))
        out[0] = 1.0
        np.subtract(part, self.centre[:, None], out=out[1:])
        out[1:] /= self.scale[:, None]
        return out

    def index(self, beta: np.ndarray) -> np.ndarray:
        """(n,) eta. Columns are added one by one: equal covariates give equal scores, whatever the neighbours."""
        eta = np.empty(len(self.x))
        for rows in blocks(len(eta)):
            part = self.rows(rows)
            total = np.full(part.shape[1], beta[0])
            for j in range(1, len(beta)):
                total += beta[j] * part[j]
            eta[rows] = total
        return eta

    def minimise(self, loss: Loss, own: np.ndarray, weight: np.ndarray | None, start: np.ndarray) -> Fit:
        """The minimum of the sum of weight * loss(eta, own); of many rows, some of each arm find the start."""
        own = own.astype(float)
        if len(own) > LARGE:
            every = {arm: max(1, int((own == arm).sum()) // SOME) for arm in (0.0, 1.0)}
            some = np.concatenate([np.flatnonzero(own == arm)[:: every[arm]] for arm in every])
            stand_for = np.array([every[arm] for arm in own[some]], float)
            few = replace(self, x=np.asfortranarray(self.x[some]))
            first = few._newton(loss, own[some], stand_for * (1.0 if weight is None else weight[some]), start, 1e-3)
            if first.converged:
                fit = self._newton(loss, own, weight, first.beta, 1e-8)
                if fit.converged:
                    return fit
        return self._newton(loss, own, weight, start, 1e-8)

    def _newton(self, loss: Loss, own, weight, start: np.ndarray, close: float) -> Fit:
        return newton(summed(loss, self.rows, own, weight), start, close)

    def influence(self, fit: Fit, first: np.ndarray) -> np.ndarray:
        """(n, 1 + k) rows whose sum is estimate minus truth to first order; first : (n,) derivative of the loss."""
        inverse = -np.linalg.inv(fit.information)
        return self.weighted(first, inverse)

    def weighted(self, by: np.ndarray, matrix: np.ndarray | None = None) -> np.ndarray:
        """(n, 1 + k) by_i (1, z_i) matrix, z the standardised covariates."""
        out = np.empty((self.x.shape[1] + 1, len(by)))
        for rows in blocks(len(by)):
            part = self.rows(rows) * by[rows]
            out[:, rows] = part if matrix is None else matrix.T @ part
        return out.T


def summed(
    loss: Loss, rows_of: Callable[[slice], np.ndarray], own: np.ndarray, weight: np.ndarray | None
) -> Callable[[np.ndarray], tuple[float, np.ndarray, np.ndarray]]:  # fmt: skip
    """The sum of weight * loss(eta, own) as `newton` asks for it; rows_of gives the (k, m) columns of a block."""

    def evaluate(beta: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        value, gradient, hessian = 0.0, np.zeros(len(beta)), np.zeros((len(beta), len(beta)))
        for rows in blocks(len(own)):
            part = rows_of(rows)
            v, first, second = loss(beta @ part, own[rows])
            if weight is not None:
                v, first, second = v * weight[rows], first * weight[rows], second * weight[rows]
            value += float(v.sum())
            gradient += part @ first
            hessian += (part * second) @ part.T
        return value, gradient, hessian

    return evaluate


def newton(
    evaluate: Callable[[np.ndarray], tuple[float, np.ndarray, np.ndarray]], start: np.ndarray, close: float,
    flat: float = 0.0,
) -> Fit:  # fmt: skip
    """Newton's method with halving on a convex function given as (value, gradient, Hessian).

    A step shorter than `close` is the last: the error after it is of the order of its square. A gradient below `flat`
    ends the search too, with the step it would still take: a function without a minimum, at its limit.
    """
    beta, step = start.copy(), np.full(len(start), np.nan)
    with np.errstate(over="ignore", invalid="ignore"):
        value, gradient, hessian = evaluate(beta)
        for _ in range(60):
            try:
                step = -np.linalg.solve(hessian, gradient)
            except np.linalg.LinAlgError:
                break
            if not np.isfinite(step).all():
                break
            if np.abs(step).max() < close:
                return Fit(beta=beta + step, information=hessian, step=step, converged=True)
            if np.abs(gradient).max() < flat:
                return Fit(beta=beta, information=hessian, step=step, converged=True)
            length, slope = 1.0, float(gradient @ step)
            trial = evaluate(beta + step)
            while not trial[0] <= value + 1e-4 * length * slope + 1e-12 * abs(value) and length > 1e-10:
                length /= 2
                trial = evaluate(beta + length * step)
            beta = beta + length * step
            value, gradient, hessian = trial
    return Fit(beta=beta, information=hessian, step=step, converged=False)


def blocks(n: int) -> Iterator[slice]:
    """Slices that cover n rows."""
    return (slice(start, min(start + BLOCK, n)) for start in range(0, n, BLOCK))
