"""From influence functions to standard errors, intervals and bands.

Every estimate of the package carries `scores` S, an (m, k) array whose rows are independent and mean zero and for
which S'S is the covariance of the k estimates. For independent units a row is psi_i / n; for clusters it is the sum of
psi_i / n over the cluster; for cells (many units sharing one linear influence function) it is A_c L_c / n, where
L_c L_c' is the second-moment matrix of the cell. Any linear function of estimates is the same function of the columns.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import erfc
from statistics import NormalDist
from typing import Literal

import numpy as np

FEW_TREATED = 20  # independent units (or clusters) of an arm: with fewer, Student's t


def normal_quantile(p: float) -> float:
    """The p-quantile of N(0, 1)."""
    return NormalDist().inv_cdf(p)


def normal_p_value(z) -> np.ndarray:
    """Two-sided p-values of N(0, 1) statistics; NaN stays NaN."""
    return np.array([erfc(abs(value) / 2**0.5) for value in np.atleast_1d(np.asarray(z, float))])


def normal_interval(estimate, std_error, level: float = 0.95, critical=None):
    """Two-sided interval estimate -+ z * std_error; `critical` (one, or one each) replaces the normal quantile."""
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


def student_quantile(p: float, dof) -> np.ndarray:
    """The p-quantile of Student's t; NaN degrees of freedom give NaN."""
    from scipy.special import stdtrit  # slow to import, seldom needed

    return stdtrit(np.asarray(dof, float), p)


def student_p_value(t, dof) -> np.ndarray:
    """Two-sided p-values of t statistics; NaN stays NaN."""
    from scipy.special import stdtr

    return 2 * stdtr(np.asarray(dof, float), -np.abs(np.asarray(t, float)))


def weighted(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(..., j) sums of values (..., k) by weights (j, k); NaN only where a missing value carries weight."""
    missing = np.isnan(values)
    out = np.where(missing, 0.0, values) @ weights.T
    out[(missing.astype(float) @ (weights != 0).T.astype(float)) > 0] = np.nan
    return out


@dataclass(frozen=True, kw_only=True)
class Jackknife:
    """K estimates with each of G clusters left out in turn, and how every cluster's outcomes enter them.

    Made for estimators that are linear in the outcomes. First axis r: 0 with all clusters, r without cluster r - 1.

    estimates : (1 + G, B) of the B base estimates; NaN where leaving the cluster out leaves none. shares : (1 + G, g).
    loadings : (1 + G, G, A, B) what base estimate b gives to cluster c's contrast, by arm (even: treated, odd:
        comparison). contrasts : (A, B, T) a contrast as a function of the outcome path.
    weights : (1 or 1 + G, K, B) of the base estimates in the K estimates.
    """

    estimates: np.ndarray
    shares: np.ndarray
    loadings: np.ndarray
    contrasts: np.ndarray
    weights: np.ndarray

    @property
    def scores(self) -> np.ndarray:
        """(G, K) rows sqrt((G - 1) / G) (theta without g - theta): S'S is the jackknife covariance CV3."""
        if len(self.weights) == 1:
            out = weighted(self.estimates, self.weights[0])
        else:
            pairs = zip(self.estimates, self.weights, strict=True)
            out = np.stack([weighted(one, np.where(np.isnan(w), 1.0, w)) for one, w in pairs])
            out[np.isnan(self.weights).any(axis=2)] = np.nan
        clusters = len(self.estimates) - 1
        return np.sqrt((clusters - 1) / clusters) * (out[1:] - out[0])

    def combine(self, weights: np.ndarray) -> Jackknife:
        """The same for linear combinations (j, K) of the estimates."""
        own = np.stack([weighted(each.T, weights).T for each in self.weights])
        return replace(self, weights=own)

    def path(self, k: int) -> np.ndarray:
        """(1 + G, G, A, T) what estimate k gives to every outcome of a cluster's arm; NaN where it does not exist."""
        weights = self.weights[:, k]
        used = np.flatnonzero((np.nan_to_num(weights, nan=1.0) != 0).any(axis=0))
        loadings = np.where(weights[:, None, None, used] == 0, 0.0, self.loadings[..., used])
        each = weights[:, None, None, used] * loadings
        return np.einsum("rcab,abt->rcat", each, self.contrasts[:, used])

    @property
    def dof(self) -> np.ndarray:
        """(K,) degrees of freedom of the jackknife variance: the fewest that a working model gives.

        Satterthwaite's (sum of eigenvalues)^2 / (sum of their squares) of the scores' covariance (Bell & McCaffrey
        2002; Imbens & Kolesár 2016), from the design alone, when each cluster has shocks of its own that are
        independent from period to period or a random walk, common to its treated and comparison units or separate
        (the common ones where they make at least a tenth of the largest variance: else they all but cancel).
        """
        out = np.full(self.weights.shape[1], np.nan)
        for k in range(len(out)):
            path = self.path(k)
            shift = path[1:] - path[0]
            if np.isfinite(shift).all() and np.abs(shift).max() > 0:
                out[k] = min(_satterthwaite(shift))
        return out

    def arms(self) -> np.ndarray:
        """(K, 2) clusters that any treated, any comparison unit of each estimate belongs to."""
        counts = []
        for k in range(self.weights.shape[1]):
            seen = (np.nan_to_num(self.path(k)[0]) != 0).any(axis=2)
            counts.append([int(seen[:, arm::2].any(axis=1).sum()) for arm in (0, 1)])
        return np.array(counts)


def _satterthwaite(shift: np.ndarray) -> list[float]:
    """Degrees of freedom under four working models; shift : (G scores, G clusters, A arms, T)."""
    out, largest = [], 0.0
    for serial in (shift, np.cumsum(shift[..., ::-1], axis=-1)):
        for shocks in (serial, serial.sum(axis=2, keepdims=True)):
            flat = shocks.reshape(len(shocks), -1)
            gram = flat @ flat.T
            trace = np.trace(gram)
            largest = max(largest, trace)
            if trace > 0.1 * largest:  # shocks that cancel within the clusters say nothing
                out.append(float(trace**2 / (gram**2).sum()))
    return out


@dataclass(frozen=True, kw_only=True)
class Support:
    """How many independent units (or clusters) of each arm carry K estimates: where that is few, Student's t.

    sizes : (B,) units of a block, which all count alike. arms : (B,) the arm a block is of. loadings : (B, K) >= 0 of
    each of its units.
    """

    sizes: np.ndarray
    arms: np.ndarray
    loadings: np.ndarray

    @classmethod
    def of(cls, counts: np.ndarray, blocks: np.ndarray, arm: int = 0) -> Support:
        """Estimates that are means over `counts` (K,) units; those of one block (K,) share as many as they can.

        Counts from `FEW_TREATED` on differ too little to tell apart; 0: a base period, which rests on nobody.
        """
        sizes, rows = [], []
        for block in np.unique(blocks):
            own = (blocks == block) & (counts > 0)
            levels = np.unique(np.minimum(counts[own], FEW_TREATED))
            for low, high in zip([0, *levels][:-1], levels, strict=True):
                sizes.append((counts[own].max() if high == levels[-1] else high) - low)
                rows.append(np.where(own & (counts >= high), 1 / np.maximum(counts, 1), 0.0))
        return cls(sizes=np.array(sizes, float), arms=np.full(len(sizes), arm),
                   loadings=np.array(rows).reshape(len(sizes), len(counts)))  # fmt: skip

    def beside(self, other: Support) -> Support:
        """The blocks of both."""
        return Support(sizes=np.r_[self.sizes, other.sizes], arms=np.r_[self.arms, other.arms],
                       loadings=np.vstack([self.loadings, other.loadings]))  # fmt: skip

    def combine(self, weights: np.ndarray) -> Support:
        """The same for linear combinations (j, K) of the estimates."""
        return replace(self, loadings=self.loadings @ np.abs(weights).T)

    @property
    def units(self) -> np.ndarray:
        """(K,) units that carry each estimate, in the arm with fewest: (sum a^2)^2 / sum a^4 over their loadings a.

        One more than Satterthwaite's degrees of freedom of a mean with these weights and equal variances.
        """
        found = np.full(self.loadings.shape[1], np.inf)
        for arm in np.unique(self.arms):
            own = self.arms == arm
            square = self.loadings[own] ** 2
            total, fourth = self.sizes[own] @ square, self.sizes[own] @ square**2
            with np.errstate(invalid="ignore", divide="ignore"):
                found = np.fmin(found, np.where(fourth > 0, total**2 / fourth, np.inf))
        return found

    @property
    def dof(self) -> np.ndarray | None:
        """(K,) degrees of freedom, infinite from `FEW_TREATED` units on; None where all are."""
        units = self.units
        return finite(np.where(units < FEW_TREATED - 1e-6, np.maximum(units - 1, 1), np.inf))


@dataclass(frozen=True, kw_only=True)
class Unrecorded:
    """What something unrecorded has to work with: it can move an estimate in proportion to S = sqrt(noise x leverage).

    noise : E[(Y - g)^2], variance of the outcome that the models leave. leverage : E[alpha^2], mean square of the
        weight alpha by which the estimate multiplies outcomes (Riesz representer). scores : (m,) score rows of S,
        beside those of the estimate. Chernozhukov, Cinelli, Newey, Sharma & Syrgkanis (2022).
    """

    noise: float
    leverage: float
    scores: np.ndarray

    @property
    def largest(self) -> float:
        """S, in the unit of the estimate; 0 where there is no room, as where treatment is told exactly."""
        return float(np.sqrt(max(self.noise, 0.0) * max(self.leverage, 0.0)))

    def scaled(self, factor: float) -> Unrecorded:
        return replace(self, noise=self.noise * factor**2, scores=self.scores * abs(factor))


def finite(dof: np.ndarray | None) -> np.ndarray | None:
    """Degrees of freedom, or None where all are infinite: the normal."""
    return None if dof is None or np.isposinf(dof).all() else dof


def wilson(successes: float, n: float, level: float = 0.95) -> tuple[float, float]:
    """Wilson (1927) score interval of a proportion; n = 0 gives (nan, nan)."""
    if n <= 0:
        return float("nan"), float("nan")
    z = normal_quantile(0.5 + level / 2)
    p = successes / n
    centre, half = p + z * z / (2 * n), z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return float((centre - half) / (1 + z * z / n)), float((centre + half) / (1 + z * z / n))


def fieller(
    numerator: float, denominator: float, cov: np.ndarray, level: float = 0.95, dof: float = np.inf
) -> tuple[float, float, Literal["interval", "complement", "line"]]:
    """Fieller (1954) confidence set of numerator / denominator.

    Returns (low, high, kind): "interval" is [low, high]; "complement" is everything outside (low, high); "line" means
    every value is compatible with the data. `cov` is the 2 x 2 covariance of (numerator, denominator). dof : of
    Student's t; infinite: the normal.
    """
    p = 0.5 + level / 2
    z2 = (normal_quantile(p) if np.isinf(dof) else float(student_quantile(p, dof))) ** 2
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


def wald(estimate: np.ndarray, cov: np.ndarray, dof: float = np.inf) -> tuple[float, int, float]:
    """Joint Wald test that all estimates are zero: (statistic, degrees of freedom, p-value); V may lack full rank.

    dof : of the variances; where finite the p-value is of F(rank, dof) at statistic / rank.
    """
    estimate = np.asarray(estimate, float)
    from scipy.special import chdtrc, fdtrc  # slow to import, seldom needed

    rank = int(np.linalg.matrix_rank(cov))
    statistic = float(estimate @ np.linalg.pinv(cov, hermitian=True) @ estimate)
    if not rank:
        return statistic, rank, float("nan")
    return statistic, rank, float(chdtrc(rank, statistic) if np.isinf(dof) else fdtrc(rank, dof, statistic / rank))
