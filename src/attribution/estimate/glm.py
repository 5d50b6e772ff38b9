"""Weighted linear, logit and probit regression with what a standard error needs: score rows and their bread."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..errors import EstimationError

Family = Literal["linear", "logit", "probit"]
EXACT = 1e-6  # distance of a fitted probability from its outcome below which it counts as told
ALONE = 1e-11  # share of a column's weighted sum of squares the columns before it leave unexplained


@dataclass(frozen=True, kw_only=True)
class Regression:
    """A fitted regression: coefficients (k,), and scores (n,) u with sum of u_i x_i = 0.

    bread : (k, k) inverse of minus the derivative of that sum, so that (x * u[:, None]) @ bread are the rows whose sum
        is coefficients - truth, to first order.
    residual, curvature : (n,) outcome minus fitted mean; minus the derivative of u by the linear predictor.
    separated : units whose outcome the regression fits exactly because a coefficient runs away (a level in which all
        outcomes are 0, or all 1). Their fitted mean is the limit; no standard error knows that it might be otherwise.
    """

    family: Family
    coefficients: np.ndarray
    bread: np.ndarray
    u: np.ndarray
    residual: np.ndarray
    curvature: np.ndarray
    separated: int = 0

    def mean(self, x: np.ndarray) -> np.ndarray:
        """(m,) fitted means of other rows."""
        return inverse_link(self.family, x @ self.coefficients)

    def slope(self, x: np.ndarray) -> np.ndarray:
        """(m,) derivative of the fitted mean by the linear predictor."""
        return link_slope(self.family, x @ self.coefficients)

    def lever(self, x: np.ndarray) -> np.ndarray:
        """(n,) hat values of the rows the regression was fitted on."""
        return self.curvature * np.einsum("ij,ij->i", x @ self.bread, x)


def inverse_link(family: Family, eta: np.ndarray) -> np.ndarray:
    """Mean at a linear predictor."""
    if family == "linear":
        return eta
    from scipy.special import expit, ndtr

    return expit(eta) if family == "logit" else ndtr(eta)


def link_slope(family: Family, eta: np.ndarray) -> np.ndarray:
    """Derivative of the mean by the linear predictor."""
    if family == "linear":
        return np.ones_like(eta)
    if family == "logit":
        mean = inverse_link(family, eta)
        return mean * (1 - mean)
    return np.exp(-(eta**2) / 2) / np.sqrt(2 * np.pi)


def regress(
    x: np.ndarray, y: np.ndarray, weights: np.ndarray | None = None, *, family: Family, names: Sequence[str] = (),
    where: str = "", start: np.ndarray | None = None,
) -> Regression:  # fmt: skip
    """Maximum likelihood (least squares) of y on x, no penalty, solved until the last step or the score vanishes.

    x : (n, k), a column of ones first. y : (n,), for logit and probit between 0 and 1. weights : (n,) >= 0 or None.
    names : of the columns, `where` : of the sample, for the words of a refusal. start : coefficients to begin with.

    Raises
    ------
    EstimationError : a column that is constant or a combination of others; an outcome that the columns tell exactly.
    """
    w = np.ones(len(y)) if weights is None else weights
    separated = 0
    scale = np.sqrt(np.einsum("ij,ij,i->j", x, x, w) / w.sum())
    _refuse_collinear(x, w, scale, names, where)
    z = x / scale
    if family == "linear":
        inverse = np.linalg.inv((z * w[:, None]).T @ z)
        beta = inverse @ (z.T @ (w * y))
        beta = beta + inverse @ (z.T @ (w * (y - z @ beta)))  # one step of refinement
        residual = y - z @ beta
        u, curvature = w * residual, w
    else:
        beta, ran_away = _maximise(z, y, w, family, None if start is None else start * scale)
        eta = z @ beta
        mean, slope = inverse_link(family, eta), link_slope(family, eta)
        residual = y - mean
        if family == "logit":
            u, curvature = w * residual, w * slope
        else:
            rate = slope / (mean * (1 - mean))
            u = w * residual * rate
            curvature = w * (rate * slope + residual * (rate * eta + rate**2 * (1 - 2 * mean)))  # observed information
        separated = int((np.abs(residual) < EXACT).sum()) if ran_away else 0
        if separated == len(y):
            raise EstimationError(f"a {family} of an outcome that the columns do not tell exactly",
                                  f"separation{where}: every outcome is fitted as 0 or 1",
                                  'adjust for less, join small groups, or use model="linear"')  # fmt: skip
        inverse = _inverse((z * curvature[:, None]).T @ z)
    return Regression(family=family, coefficients=beta / scale, bread=inverse / np.outer(scale, scale), u=u,
                      residual=residual, curvature=curvature, separated=separated)  # fmt: skip


def _inverse(information: np.ndarray) -> np.ndarray:
    """Inverse after scaling to a unit diagonal: a coefficient that runs away does not spoil the others."""
    size = np.sqrt(np.diag(information))
    return np.linalg.inv(information / np.outer(size, size)) / np.outer(size, size)


def _maximise(z, y, w, family, start) -> tuple[np.ndarray, bool]:
    """Coefficients, and whether some run away while the likelihood has long reached its limit."""
    import statsmodels.api as sm

    link = sm.families.links.Logit() if family == "logit" else sm.families.links.Probit()
    model = sm.GLM(y, z, family=sm.families.Binomial(link), var_weights=w)
    start = np.zeros(z.shape[1]) if start is None else start
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # convergence is judged below, on the step and the score themselves
        fit = model.fit(start, method="newton", maxiter=50, tol=1e-10, disp=0, max_start_irls=0)
        beta = np.asarray(fit.params)
        score, information = model.score(beta), -model.hessian(beta)
    size = np.sqrt(np.diag(information))
    if (size > 0).all():
        step = np.linalg.solve(information / np.outer(size, size), score / size) / size
        if np.abs(step).max() < 1e-8:
            return beta, False
    if np.abs(score).max() < 1e-6 * w.sum():
        return beta, True
    raise EstimationError(f"a {family} that converges", "a likelihood without a maximum", 'use model="linear"')


def _refuse_collinear(x, w, scale, names, where) -> None:
    """Each column must add something to those before it (Cholesky's pivots on columns of length one)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        z = x / scale
    label = list(names) or [f"column {j}" for j in range(x.shape[1])]
    gram = (z * w[:, None]).T @ z / w.sum()
    left = np.ones(x.shape[1], bool)
    for j in range(x.shape[1]):
        before = gram[:j, :j]
        if not scale[j] > 0:
            left[j] = False
            break
        fitted = np.linalg.solve(before, gram[:j, j]) if j else np.zeros(0)
        left[j] = gram[j, j] - gram[j, :j] @ fitted > ALONE
        if not left[j]:
            break
    if not left.all():
        j = int(np.flatnonzero(~left)[0])
        raise EstimationError(
            "covariates that vary and are no combination of each other", f"{label[j]!r} does not add anything{where}",
            "leave it out of the adjustment, or join its levels", column=label[j],
        )  # fmt: skip
