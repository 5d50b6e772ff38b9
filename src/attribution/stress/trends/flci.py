"""Fixed-length confidence intervals under smoothness (Armstrong & Kolesár 2020; Rambachan & Roth 2023)."""

from __future__ import annotations

import numpy as np
from scipy import special

from .restrictions import EventPath, bends
from .sets import FirstStage


def flci(path: EventPath, weights: np.ndarray, m: float, level: float) -> FirstStage:
    """Shortest interval `v'estimate -+ half` that covers weights'effects whenever slopes change by at most m a period.

    An estimator that is unbiased under every linear trend is v = bends'c; its largest bias under the restriction is
    m |c|_1. The part of c on bends after treatment is fixed by the weights, the rest is free. Smallest variance for
    each bias is a lasso, whose path is piecewise linear: the length is searched along it, with no conic solver.
    """
    bend = bends(path.times)
    after = ((bend != 0) & path.post).any(axis=1)
    gram = bend @ path.cov @ bend.T
    fixed = np.linalg.solve(bend[np.ix_(after, path.post)].T, weights[path.post])
    pull = gram[np.ix_(~after, after)] @ fixed
    base_bias, base_variance = np.abs(fixed).sum(), fixed @ gram[np.ix_(after, after)] @ fixed
    knots = _lasso_knots(gram[np.ix_(~after, ~after)], -pull)

    def lengths(free: np.ndarray) -> np.ndarray:
        variance = base_variance + 2 * free @ pull + np.einsum("ij,jk,ik->i", free, gram[np.ix_(~after, ~after)], free)
        sd = np.sqrt(np.maximum(variance, 0))
        return sd * folded_quantile(m * (base_bias + np.abs(free).sum(axis=1)) / sd, level)

    # position on the path: 0 .. knots - 1; zoom in three times
    low, high = 0.0, float(len(knots) - 1)
    for _ in range(4):
        at = np.unique(np.r_[np.linspace(low, high, 40 * (len(knots) if high - low > 2 else 2)), low, high])
        left = np.minimum(at.astype(int), max(len(knots) - 2, 0))
        right = np.minimum(left + 1, len(knots) - 1)
        free = knots[left] + (at - left)[:, None] * (knots[right] - knots[left])
        length = lengths(free)
        k = int(np.argmin(length))
        best, half = free[k], float(length[k])
        low, high = at[max(k - 1, 0)], at[min(k + 1, len(at) - 1)]
    c = np.zeros(len(bend))
    c[after], c[~after] = fixed, best
    return FirstStage(weights=bend.T @ c, half=half)


def _lasso_knots(gram: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(knots, p) solutions of min c'Gc/2 - target'c + penalty |c|_1 from c = 0 to no penalty; linear in between."""
    p = len(target)
    free = np.linalg.lstsq(gram, target, rcond=1e-12)[0] if p else np.zeros(0)
    largest = np.abs(target).max(initial=0.0)
    if p == 0 or largest == 0:
        return np.stack([np.zeros(p), free])
    from sklearn.linear_model import lars_path_gram

    size = np.trace(gram) / p  # its stopping rule is absolute: bring the problem to size one
    _, _, path = lars_path_gram(target / largest, gram / size, n_samples=1, method="lasso")
    return np.vstack([path.T * (largest / size), free])


def folded_quantile(shift: np.ndarray, level: float) -> np.ndarray:
    """`level` quantile of |N(shift, 1)|, shift >= 0."""
    shift = np.asarray(shift, float)
    z = np.maximum(special.ndtri(0.5 + level / 2), shift + special.ndtri(level))
    for _ in range(30):  # Newton from above: the distribution function is concave there
        density = (np.exp(-((z - shift) ** 2) / 2) + np.exp(-((z + shift) ** 2) / 2)) / np.sqrt(2 * np.pi)
        z = z - (special.ndtr(z - shift) - special.ndtr(-z - shift) - level) / density
    return z
