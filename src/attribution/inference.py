"""From influence functions to standard errors, intervals and bands.

Every estimate of the package carries `scores` S, an (m, k) array whose rows are independent and mean zero and for
which S'S is the covariance of the k estimates. For independent units a row is psi_i / n; for clusters it is the sum of
psi_i / n over the cluster; for cells (many units sharing one linear influence function) it is A_c L_c / n, where
L_c L_c' is the second-moment matrix of the cell. Any linear function of estimates is the same function of the columns.
"""

from __future__ import annotations

from math import erfc
from statistics import NormalDist
from typing import Literal

import numpy as np


def scores_from_influence(influence: np.ndarray, clusters: np.ndarray | None = None) -> np.ndarray:
    """Scores S from unit influence values.

    Parameters
    ----------
    influence : (n, k) or (n,) array of psi_i, mean zero, on the scale where the estimate minus its target is mean(psi).
    clusters : (n,) labels of independent groups; None means every unit is its own.

    Returns
    -------
    (m, k) array with S'S the covariance; m = n, or the number of clusters. No small-sample factor is applied.
    """
    psi = np.atleast_2d(np.asarray(influence, dtype=float).T).T
    scaled = psi / psi.shape[0]
    if clusters is None:
        return scaled
    codes = np.unique(np.asarray(clusters), return_inverse=True)[1]
    out = np.zeros((codes.max() + 1, psi.shape[1]))
    np.add.at(out, codes, scaled)
    return out


def normal_quantile(p: float) -> float:
    """The p-quantile of N(0, 1)."""
    return NormalDist().inv_cdf(p)


def normal_p_value(z) -> np.ndarray:
    """Two-sided p-values of N(0, 1) statistics; NaN stays NaN."""
    return np.array([erfc(abs(value) / 2**0.5) for value in np.atleast_1d(np.asarray(z, float))])


def normal_interval(estimate, std_error, level: float = 0.95, critical: float | None = None):
    """Two-sided interval estimate -+ z * std_error; `critical` replaces the normal quantile (simultaneous bands)."""
    z = normal_quantile(0.5 + level / 2) if critical is None else critical
    estimate, std_error = np.asarray(estimate, float), np.asarray(std_error, float)
    return estimate - z * std_error, estimate + z * std_error


def sup_t(cov: np.ndarray, level: float = 0.95, draws: int = 40_000, seed: int = 20_240_101) -> float:
    """Critical value c with P(max_j |N(0, V)_j| / sd_j <= c) = level (Montiel Olea & Plagborg-Møller 2019, alg. 1).

    Entries with zero or missing variance (base periods) are left out. Own seeded generator: same V, same value.
    """
    cov = np.asarray(cov, float)
    sd = np.sqrt(np.diag(cov))
    keep = np.isfinite(sd) & (sd > 0)
    if not keep.any():
        return float("nan")
    corr = cov[np.ix_(keep, keep)] / np.outer(sd[keep], sd[keep])
    value, vectors = np.linalg.eigh((corr + corr.T) / 2)
    root = vectors * np.sqrt(np.clip(value, 0, None))
    normal = np.random.default_rng(seed).standard_normal((draws, int(keep.sum())))
    return float(np.quantile(np.abs(normal @ root.T).max(axis=1), level))


def wilson(successes: float, n: float, level: float = 0.95) -> tuple[float, float]:
    """Wilson (1927) score interval of a proportion; n = 0 gives (nan, nan)."""
    if n <= 0:
        return float("nan"), float("nan")
    z = normal_quantile(0.5 + level / 2)
    p = successes / n
    centre, half = p + z * z / (2 * n), z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return float((centre - half) / (1 + z * z / n)), float((centre + half) / (1 + z * z / n))


def fieller(
    numerator: float, denominator: float, cov: np.ndarray, level: float = 0.95
) -> tuple[float, float, Literal["interval", "complement", "line"]]:
    """Fieller (1954) confidence set of numerator / denominator.

    Returns (low, high, kind): "interval" is [low, high]; "complement" is everything outside (low, high); "line" means
    every value is compatible with the data. `cov` is the 2 x 2 covariance of (numerator, denominator).
    """
    z2 = normal_quantile(0.5 + level / 2) ** 2
    a = denominator**2 - z2 * cov[1, 1]
    b = -2 * (numerator * denominator - z2 * cov[0, 1])
    c = numerator**2 - z2 * cov[0, 0]
    disc = b * b - 4 * a * c
    if a > 0:
        root = np.sqrt(max(disc, 0.0))
        return float((-b - root) / (2 * a)), float((-b + root) / (2 * a)), "interval"
    if disc <= 0:
        return float("-inf"), float("inf"), "line"
    root = np.sqrt(disc)
    low, high = sorted(((-b - root) / (2 * a), (-b + root) / (2 * a)))
    return float(low), float(high), "complement"


def wald(estimate: np.ndarray, cov: np.ndarray) -> tuple[float, int, float]:
    """Joint Wald test that all estimates are zero: (statistic, degrees of freedom, p-value); V may lack full rank."""
    estimate = np.asarray(estimate, float)
    from scipy.special import chdtrc  # slow to import, seldom needed

    rank = int(np.linalg.matrix_rank(cov))
    statistic = float(estimate @ np.linalg.pinv(cov, hermitian=True) @ estimate)
    return statistic, rank, float(chdtrc(rank, statistic)) if rank else float("nan")
