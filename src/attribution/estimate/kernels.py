"""One difference-in-differences on cells: the estimate and the cell coefficients of its influence function.

The score of unit i in cell c is w_i (alpha_c dy_i + gamma_c): affine in the outcome change, the same for all units of
a cell, so the same code serves units, cells and clusters (Sant'Anna & Zhao 2020, eq. 2.6 and the traditional variants).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Method = Literal["dr", "reg", "ipw"]
TRIM = 0.995  # comparison units at or above this propensity leave
CAP = 1 - 1e-6  # propensities are capped here, and never from below


class CannotEstimate(Exception):
    """This one comparison has no estimate: why, and the columns of x that are to blame."""

    def __init__(self, code: str, columns: np.ndarray | tuple[int, ...] = ()) -> None:
        self.code, self.columns = code, columns
        super().__init__(code)


@dataclass(frozen=True)
class TwoByTwo:
    """estimate (k,), alpha (C,), gamma (C, k) for k outcome changes."""

    estimate: np.ndarray
    alpha: np.ndarray
    gamma: np.ndarray


def two_by_two(method: Method, x: np.ndarray, treated: np.ndarray, weight: np.ndarray, change: np.ndarray) -> TwoByTwo:
    """ATT of the treated cells against the others, for k outcome changes at once.

    Parameters
    ----------
    x : (C, p) covariates, first column 1. treated : (C,) bool. weight : (C,) sums of w. change : (C, k) sums of w dy.
    """
    d = treated.astype(float)
    if x.shape[1] == 1:
        method = "reg"  # without covariates the three are one
    if method == "reg":
        return _regression(x, d, weight, change)
    p = logit(x, d, weight)
    a_c = np.where(treated | (p >= TRIM), 0.0, p / (1 - p))
    if not (weight * a_c).sum() > 0:
        raise CannotEstimate("no overlap: every comparison unit has a propensity of 0.995 or more")
    mu, solve_b = np.zeros_like(change), None
    if method == "dr":
        beta, solve_b = _outcome_regression(x, d, weight, change)
        mu = x @ beta
    residual = change - weight[:, None] * mu
    n_t, n_c = (weight * d).sum(), (weight * a_c).sum()
    eta_t, eta_c = (d @ residual) / n_t, (a_c @ residual) / n_c
    information = (x * (weight * p * (1 - p))[:, None]).T @ x
    v = x @ np.linalg.solve(information, x.T @ (a_c[:, None] * (residual - weight[:, None] * eta_c)))
    alpha = d / n_t - a_c / n_c
    gamma = -d[:, None] * (mu + eta_t) / n_t + (a_c[:, None] * (mu + eta_c) - (d - p)[:, None] * v) / n_c
    if solve_b is not None:
        u = (1 - d) * (x @ solve_b(x.T @ (weight * d)) / n_t - x @ solve_b(x.T @ (weight * a_c)) / n_c)
        alpha = alpha - u
        gamma = gamma + u[:, None] * mu
    return TwoByTwo(eta_t - eta_c, alpha, gamma)


def _regression(x, d, weight, change) -> TwoByTwo:
    beta, solve_b = _outcome_regression(x, d, weight, change)
    mu, n_t = x @ beta, (weight * d).sum()
    eta_t, eta_c = (d @ change) / n_t, ((weight * d) @ mu) / n_t
    u = (1 - d) * (x @ solve_b(x.T @ (weight * d)))
    gamma = (u[:, None] * mu - d[:, None] * (eta_t + mu - eta_c)) / n_t
    return TwoByTwo(eta_t - eta_c, (d - u) / n_t, gamma)


def _outcome_regression(x, d, weight, change):
    """Least squares of the change on x among the comparison cells: coefficients (p, k), and a solver with its Gram."""
    gram = (x * (weight * (1 - d))[:, None]).T @ x
    _refuse_collinear(gram, "collinear covariates among the comparison units")
    return np.linalg.solve(gram, x.T @ ((1 - d)[:, None] * change)), lambda b: np.linalg.solve(gram, b)


def varying(x: np.ndarray, names: tuple[str, ...]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Intercept and the columns that vary here (a category absent from this comparison says nothing)."""
    keep = np.ptp(x, axis=0) > 1e-12 if len(x) else np.zeros(len(names), bool)
    kept = tuple(name for name, stays in zip(names, keep, strict=True) if stays)
    return np.column_stack([np.ones(len(x)), x[:, keep]]), ("intercept", *kept)


def _refuse_collinear(gram: np.ndarray, why: str) -> None:
    """Raise, naming the columns that the columns before them already determine."""
    left = np.abs(np.diag(np.linalg.qr(gram, mode="r")))
    bad = np.flatnonzero(left <= 1e-10 * np.abs(np.diag(gram)).max())
    if len(bad):
        raise CannotEstimate(why, bad)


def logit(x: np.ndarray, d: np.ndarray, weight: np.ndarray, iterations: int = 60) -> np.ndarray:
    """(C,) fitted probabilities of an unpenalised weighted logit (Newton with halving, to full convergence)."""
    _refuse_collinear((x * weight[:, None]).T @ x, "collinear covariates in the propensity")
    share = (weight * d).sum() / weight.sum()
    beta = np.zeros(x.shape[1])
    beta[0] = np.log(share / (1 - share))

    def likelihood(b):
        eta = x @ b
        return float((weight * (d * eta - np.logaddexp(0, eta))).sum())

    now = likelihood(beta)
    for _ in range(iterations):
        p = _expit(x @ beta)
        information = (x * (weight * p * (1 - p))[:, None]).T @ x
        try:
            step = np.linalg.solve(information, x.T @ (weight * (d - p)))
        except np.linalg.LinAlgError as error:
            raise CannotEstimate("no overlap: covariates separate the treated from the comparison units") from error
        while (new := likelihood(beta + step)) < now - 1e-9 * abs(now) and np.abs(step).max() > 1e-12:
            step = step / 2
        beta, gain, now = beta + step, new - now, new
        if np.abs(step).max() < 1e-10 or abs(gain) < 1e-14 * (abs(now) + 0.1):
            break
    p = np.minimum(_expit(x @ beta), CAP)
    if not np.isfinite(p).all() or (p[d > 0] >= CAP).any():
        raise CannotEstimate("no overlap: covariates separate the treated from the comparison units")
    return p


def _expit(eta: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(0, -eta))
