"""Extreme rays of the small cones behind the tests: every linear programme of the confidence sets at once."""

from __future__ import annotations

import numpy as np

MOST = 20_000


def extreme_rays(equations: np.ndarray) -> np.ndarray | None:
    """(v, m) rays of the cone {g >= 0, equations' g = 0}, each scaled to sum 1; None if they are too many to list.

    Double description (Motzkin, Raiffa, Thompson & Thrall 1953): one equation after the other, each step keeps the
    rays that meet it and joins the adjacent ones on either side (adjacent: no third ray has its support inside theirs).

    equations : (m, k). Too many: more than 20,000 rays on the way, or m > 64.
    """
    rows, columns = equations.shape
    if rows > 64:
        return None
    rays, left = np.eye(rows), list(range(columns))
    bits = np.uint64(1) << np.arange(rows, dtype=np.uint64)
    size = np.abs(equations).max(initial=0.0)
    for done in range(columns):
        values = rays @ equations[:, left]
        values[np.abs(values) < 1e-10 * size] = 0
        cost = (values > 0).sum(axis=0) * (values < 0).sum(axis=0)
        j = int(np.argmin(cost))  # the cheapest equation next keeps the intermediate cones small
        if cost[j] > 400 * MOST:
            return None
        value = values[:, j]
        left.pop(j)
        support = np.where(rays > 1e-12, bits, np.uint64(0)).sum(axis=1, dtype=np.uint64)
        above, below = np.flatnonzero(value > 0), np.flatnonzero(value < 0)
        joined = support[above][:, None] | support[below]
        a, b = np.nonzero(np.bitwise_count(joined) <= done + 2)
        keep = _adjacent(joined[a, b], support)
        a, b = above[a[keep]], below[b[keep]]
        new = value[a][:, None] * rays[b] - value[b][:, None] * rays[a]
        rays = np.vstack([rays[value == 0], new / new.sum(axis=1, keepdims=True)])
        if len(rays) > MOST:
            return None
    return rays


def _adjacent(joined: np.ndarray, support: np.ndarray) -> np.ndarray:
    """(pairs,) bool: exactly the two rays of the pair have their support inside the joined support."""
    step = max(1, 4_000_000 // max(len(support), 1))
    parts = [((support & ~joined[k : k + step, None]) == 0).sum(axis=1) == 2 for k in range(0, len(joined), step)]
    return np.concatenate(parts) if parts else np.zeros(0, bool)
