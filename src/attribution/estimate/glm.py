"""Weighted linear, logit and probit regression with what a standard error needs: score rows and their bread.

Checked against statsmodels' GLM in the tests. Written out because a million rows and five folds call for no copies of
the matrix, a warm start, and no singular value decomposition.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..design.newton import logit, newton, probit, summed
from ..errors import EstimationError

Family = Literal["linear", "logit", "probit"]
LOSSES = {"logit": logit, "probit": probit}
CLOSE, FLAT = 1e-9, 1e-10  # the last step in SDs of the columns; score of a unit at the likelihood's limit
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
    where: str = "", start: np.ndarray | None = None, whole: bool = False,
) -> Regression:  # fmt: skip
    """Maximum likelihood (least squares) of y on x, no penalty, solved until the last step or the score vanishes.

    x : (n, k), a column of ones first. y : (n,), for logit and probit between 0 and 1. weights : (n,) >= 0 or None.
    names : of the columns, `where` : of the sample, for the words of a refusal. start : coefficients.
    whole : return also a fit that tells every outcome exactly (the caller looks at `separated`).

    Raises
    ------
    EstimationError : a column that is constant or a combination of others; an outcome that the columns tell exactly.
    """
    scale = np.sqrt(_gram_diagonal(x, weights) / (len(y) if weights is None else weights.sum()))
    separated, residual, u, curvature = 0, y, y, y
    if family == "linear":
        gram = _gram(x, weights)
        _refuse_collinear(gram, scale, names, where)
        inverse = np.linalg.inv(gram / np.outer(scale, scale)) / np.outer(scale, scale)
        w = np.ones(len(y)) if weights is None else weights
        beta = inverse @ (x.T @ (w * y))
        beta = beta + inverse @ (x.T @ (w * (y - x @ beta)))  # one step of refinement
        residual = y - x @ beta
        u, curvature = w * residual, w
    else:
        _refuse_collinear(_gram(x, weights), scale, names, where)
        beta, inverse, ran_away = _maximise(x, y, weights, family, start, scale)
        eta = x @ beta
        _, first, curvature = LOSSES[family](eta, y)
        u, residual = -first, y - inverse_link(family, eta)
        if weights is not None:
            u, curvature = weights * u, weights * curvature
        separated = int((np.abs(residual) < EXACT).sum()) if ran_away else 0
        if separated == len(y) and not whole:
            raise EstimationError(f"a {family} of an outcome that the columns do not tell exactly",
                                  f"separation{where}: every outcome is fitted as 0 or 1",
                                  'adjust for less, join small groups, or use model="linear"')  # fmt: skip
    return Regression(family=family, coefficients=beta, bread=inverse, u=u, residual=residual, curvature=curvature,
                      separated=separated)  # fmt: skip


def _maximise(x, y, weights, family, start, scale) -> tuple[np.ndarray, np.ndarray, bool]:
    """Coefficients, their bread (of the observed information), and whether some run away at the likelihood's limit.

    From zero, where the information is largest, or `start`; columns as long as their number, so that steps compare.
    """
    begin = np.zeros(x.shape[1]) if start is None else start * scale

    def rows_of(rows: slice) -> np.ndarray:
        return x[rows].T / scale[:, None]

    total = len(y) if weights is None else weights.sum()
    with np.errstate(all="ignore"):
        fit = newton(summed(LOSSES[family], rows_of, y, weights), begin, CLOSE, FLAT * total)
    if not fit.converged:
        raise EstimationError(f"a {family} that converges", "a likelihood without a maximum", 'use model="linear"')
    longest = np.abs(fit.step).max()
    return fit.beta / scale, _inverse(fit.information) / np.outer(scale, scale), bool(longest > 1e-3)


def _gram(x: np.ndarray, weights: np.ndarray | None, block: int = 32_768) -> np.ndarray:
    """X'WX, a block of rows at a time: no weighted copy of X."""
    out = np.zeros((x.shape[1], x.shape[1]))
    for i in range(0, len(x), block):
        part = x[i : i + block]
        out += part.T @ (part if weights is None else part * weights[i : i + block, None])
    return out


def _gram_diagonal(x: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    return np.einsum("ij,ij->j", x, x) if weights is None else np.einsum("ij,ij,i->j", x, x, weights)


def _inverse(information: np.ndarray) -> np.ndarray:
    """Inverse after scaling to a unit diagonal: a coefficient that runs away does not spoil the others."""
    size = np.sqrt(np.diag(information))
    return np.linalg.inv(information / np.outer(size, size)) / np.outer(size, size)


def _refuse_collinear(gram, scale, names, where) -> None:
    """Each column must add something to those before it (columns scaled to length one)."""
    label = list(names) or [f"column {j}" for j in range(len(gram))]
    with np.errstate(invalid="ignore", divide="ignore"):
        gram = gram / np.outer(scale, scale)
        gram = gram / gram[0, 0]
    left = np.ones(len(gram), bool)
    for j in range(len(gram)):
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
