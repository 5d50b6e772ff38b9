"""The k nearest points of a `Space`, exactly: trees within combinations of categories, or brute force."""

from __future__ import annotations

from typing import Any

import numpy as np

from .metric import Space

_TREE = 12  # numeric dimensions up to which a tree beats brute force
_CELLS = 4_000_000  # numbers in a block of distances held at once


class Pool:
    """Rows of a space that may be chosen; trees are built when first asked."""

    def __init__(self, space: Space, rows: np.ndarray) -> None:
        self.space, self.size = space, len(rows)
        block = space.block[rows]
        order = np.argsort(block, kind="stable")
        self._blocks, starts = np.unique(block[order], return_index=True)
        self._members = np.split(rows[order], starts[1:])
        self._trees: dict[int, Any] = {}

    def query(self, left: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """(m, k) rows and squared distances of the k nearest of each row of `left`, nearest first; -1 and inf beyond.

        The search compares rounded distances; those returned are exact, and up to rounding in order.
        """
        k = min(k, self.size)
        space, inner = self.space, self.space.inner[left]
        row, far = np.full((len(left), k), -1), np.full((len(left), k), np.inf)
        order = np.argsort(space.block[left], kind="stable")
        blocks, starts = np.unique(space.block[left][order], return_index=True)
        for own, part in zip(blocks, np.split(order, starts[1:]), strict=True):
            apart = space.centres[self._blocks] - space.centres[own]
            gap = np.einsum("bk,bk->b", apart, apart)
            for j in np.argsort(gap, kind="stable"):  # nearest combinations first, until none can hold a nearer unit
                part = part[far[part, -1] * (1 + 1e-9) >= gap[j]]
                if not len(part):
                    break
                where, squared = self._within(int(j), inner[part], k)
                joined = np.hstack([far[part], squared + gap[j]])
                best = np.argsort(joined, axis=1, kind="stable")[:, :k]
                far[part] = np.take_along_axis(joined, best, 1)
                row[part] = np.take_along_axis(np.hstack([row[part], where]), best, 1)
        far = np.where(row >= 0, space.squared(left[:, None], row), np.inf)
        best = np.argsort(far, axis=1, kind="stable")
        return np.take_along_axis(row, best, 1), np.take_along_axis(far, best, 1)

    def _within(self, j: int, points: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        members = self._members[j]
        k = min(k, len(members))
        if points.shape[1] > _TREE:
            at, squared = _brute(points, self.space.inner[members], k)
        else:
            if j not in self._trees:
                from scipy.spatial import cKDTree

                self._trees[j] = cKDTree(self.space.inner[members], balanced_tree=False)
            distance, at = self._trees[j].query(points, k=np.arange(1, k + 1))
            squared = distance**2
        return members[at], squared


def _brute(points: np.ndarray, pool: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    norm = np.einsum("ij,ij->i", pool, pool)
    at, squared = np.empty((len(points), k), np.int64), np.empty((len(points), k))
    step = max(1, _CELLS // len(pool))
    for start in range(0, len(points), step):
        part = points[start : start + step]
        d = norm - 2 * part @ pool.T + np.einsum("ij,ij->i", part, part)[:, None]
        best = np.argpartition(d, k - 1, axis=1)[:, :k] if k < len(pool) else np.tile(np.arange(k), (len(part), 1))
        at[start : start + step], squared[start : start + step] = best, np.take_along_axis(d, best, 1)
    return at, squared
