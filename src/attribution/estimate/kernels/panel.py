"""Two periods, the same units in both: the effect on the treated from outcome changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from .algebra import CannotEstimate, by_column, cross, regression_gram
from .propensity import logit, odds, probability, tilted

Method = Literal["dr", "dr_imp", "reg", "ipw", "ipw_ht"]
METHODS: tuple[str, ...] = get_args(Method)


@dataclass(frozen=True, kw_only=True)
class Score:
    """Influence values as a function of x: w (alpha dy + gamma), with only coefficients (p,) or (p, k) kept.

    With a the odds of a comparison unit: alpha = d/n_t - a/n_c - (1-d) x'u, and
    gamma = -alpha x'beta - d eta_t/n_t + a eta_c/n_c - (d-p) x'v.
    """

    n_t: float
    n_c: float
    eta_t: np.ndarray
    eta_c: np.ndarray
    propensity: np.ndarray | None  # b; None: no unit is weighted
    beta: np.ndarray | None = None  # outcome regression
    u: np.ndarray | None = None  # what its estimation adds
    v: np.ndarray | None = None  # what the propensity's estimation adds

    def __call__(self, x: np.ndarray, treated: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """alpha (r,), gamma (r, k) of these rows."""
        alpha = treated / self.n_t
        gamma = np.multiply.outer(alpha, -self.eta_t)
        if self.propensity is not None:
            p = probability(x, self.propensity)
            a = odds(p, treated) / self.n_c
            alpha = alpha - a
            gamma += np.multiply.outer(a, self.eta_c)
            if self.v is not None:
                gamma -= (x * (treated - p)[:, None]) @ self.v
        if self.u is not None:
            alpha = alpha - np.where(treated, 0.0, x @ self.u)
        if self.beta is not None:
            gamma -= (x * alpha[:, None]) @ self.beta
        return alpha, gamma


@dataclass(frozen=True)
class TwoByTwo:
    """estimate (k,); score(x, treated) -> alpha (r,), gamma (r, k) for any rows: unit i adds w_i (alpha dy_i + gamma).

    The contributions are divided by n already: their sums over units, clusters or cells are rows S with S'S = V.
    """

    estimate: np.ndarray
    score: Score

    @property
    def propensity(self) -> np.ndarray | None:
        """(p,) coefficients on the logit scale: a start for the next comparison with the same columns."""
        return self.score.propensity


def two_by_two(
    method: Method, x: np.ndarray, treated: np.ndarray, weight: np.ndarray, change: np.ndarray,
    start: np.ndarray | None = None,
) -> TwoByTwo:  # fmt: skip
    """ATT of the treated cells against the others, for k outcome changes at once.

    Estimator : "dr" logit and least squares (Sant'Anna & Zhao 2020, eq. 2.6, traditional); "dr_imp" inverse probability
        tilting and least squares weighted by its odds (their sec. 3.1: no first stage adds to the variance); "reg"
        outcome regression (Heckman, Ichimura & Todd 1997); "ipw" normalised (Hajek) weights; "ipw_ht" Abadie 2005,
        not normalised: it alone moves when the same number is added to every outcome change.
    Edge cases : comparison units with propensity >= 0.995 leave; no lower clip. The variance of "dr_imp" is exact when
        none leaves. Without covariates all methods are one.

    Parameters
    ----------
    x : (C, p) covariates, first column 1; fastest stored by column. treated : (C,) bool. weight : (C,) sums of w.
    change : (C, k) sums of w dy. start : (p,) coefficients to start the propensity from.

    Raises
    ------
    CannotEstimate : collinear covariates, no overlap; with the columns of x to blame.
    """
    if method not in METHODS:
        raise ValueError(f"method {method!r} is none of {METHODS}")
    x = by_column(x)
    one, w_t = np.where(treated, 0.0, 1.0), weight * treated
    x_t, change_t = x.T @ w_t, treated.astype(float) @ change
    n_t = x_t[0]
    if x.shape[1] == 1:
        method = "reg"  # without covariates all are one
    beta = u = v = None
    if method == "reg":
        gram = regression_gram(x, weight * one)
        beta = np.linalg.solve(gram, cross(x, one, change))
        estimate = (change_t - x_t @ beta) / n_t
        u = np.linalg.solve(gram, x_t) / n_t
        return TwoByTwo(estimate, Score(n_t=n_t, n_c=n_t, eta_t=estimate, eta_c=0 * estimate, propensity=None,
                                        beta=beta, u=u))  # fmt: skip
    b = logit(x, treated, weight, start)
    if method == "dr_imp":
        regression_gram(x, weight * one)
        b = tilted(x, treated, weight, b)
    p = probability(x, b)
    a = odds(p, treated)
    weighted, change_a = cross(x, weight * a, x), cross(x, a, change)  # comparison units as the treated look
    x_a = weighted[0]
    n_c = x_a[0]
    if not n_c > 0:
        raise CannotEstimate("no overlap: every comparison unit has a propensity of 0.995 or more")
    if method == "dr":
        gram = regression_gram(x, weight * one)
        beta = np.linalg.solve(gram, cross(x, one, change))
        u = np.linalg.solve(gram, x_t / n_t - x_a / n_c)
    elif method == "dr_imp":
        beta = np.linalg.solve(weighted, change_a)
    fitted = np.zeros_like(change_a) if beta is None else beta
    residual_a = change_a - weighted @ fitted
    eta_t = (change_t - x_t @ fitted) / n_t
    if method == "ipw_ht":  # the treated total stands for the comparison total
        n_c, estimate = n_t, eta_t - residual_a[0] / n_t
        eta_t, eta_c = estimate, 0 * estimate
    else:
        eta_c = residual_a[0] / n_c
        estimate = eta_t - eta_c
    if method != "dr_imp":
        information = cross(x, weight * p * (1 - p), x)
        v = np.linalg.solve(information, residual_a - np.multiply.outer(x_a, eta_c)) / n_c
    return TwoByTwo(estimate, Score(n_t=n_t, n_c=n_c, eta_t=eta_t, eta_c=eta_c, propensity=b, beta=beta, u=u, v=v))
