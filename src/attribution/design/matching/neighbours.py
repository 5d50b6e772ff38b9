"""The k nearest points of a `Space`, exactly: trees within combinations of categories, or brute force."""

from __future__ import annotations

from typing import Any

import numpy as np

from .metric import Space

_TREE = 10  # numeric dimensions up to which a tree beats brute force
_SPARSE = 8  # points a combination of categories, below which combinations are searched together
_CELLS = 4_000_000  # numbers in a block of distances held at once


class Pool:
    """Rows of a space that may be chosen; trees are built when first asked.

    Combinations of categories have a tree each, unless they hold so few points that one search of all is quicker.
    """

    def __init__(self, space: Space, rows: np.ndarray) -> None:
        self.space, self.size = space, len(rows)
        block = space.block[rows]
        order = np.argsort(block, kind="stable")
        self._blocks, starts = np.unique(block[order], return_index=True)
        self._apart = len(rows) >= _SPARSE * len(self._blocks)
        self._members = np.split(rows[order], starts[1:]) if self._apart else [rows]
        self._trees: dict[int, Any] = {}

    def query(self, left: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """(m, k) rows and squared distances of the k nearest of each row of `left`, nearest first; -1 and inf beyond.

        The search compares rounded distances; those returned are exact, and up to rounding in order.
        """
        k = min(k, self.size)
        row = self._over_blocks(left, k) if self._apart else self._within(0, self._points(left), k)[0]
        far = np.where(row >= 0, self.space.squared(left[:, None], row), np.inf)
        best = np.argsort(far, axis=1, kind="stable")
        return np.take_along_axis(row, best, 1), np.take_along_axis(far, best, 1)

    def _points(self, rows: np.ndarray) -> np.ndarray:
        inner = self.space.inner[rows]
        return inner if self._apart else np.hstack([self.space.centres[self.space.block[rows]], inner])

    def _over_blocks(self, left: np.ndarray, k: int) -> np.ndarray:
        space, inner = self.space, self._points(left)
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
        return row

    def _within(self, j: int, points: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        members = self._members[j]
        k = min(k, len(members))
        if points.shape[1] > _TREE:
            at, squared = _brute(points, self._points(members), k)
        else:
            from scipy.spatial import cKDTree

            if j not in self._trees:
                self._trees[j] = cKDTree(self._points(members), balanced_tree=False)
            near = cKDTree(points, balanced_tree=False).indices  # neighbours ask one after another: memory stays warm
            squared, at = np.empty((len(points), k)), np.empty((len(points), k), np.int64)
            squared[near], at[near] = self._trees[j].query(points[near], k=np.arange(1, k + 1))
            squared *= squared
        return members[at], squared


def _brute(points: np.ndarray, pool: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    norm = np.einsum("ij,ij->i", pool, pool)
    turned = np.ascontiguousarray(-2 * pool.T)
    at, squared = np.empty((len(points), k), np.int64), np.empty((len(points), k))
    step = max(1, _CELLS // len(pool))
    for start in range(0, len(points), step):
        part = points[start : start + step]
        d = part @ turned
        d += norm
        row = np.arange(len(part))
        if k <= 8:  # a few smallest: one after another beats a partition
            best = np.empty((len(part), k), np.int64)
            for j in range(k):
                best[:, j] = d.argmin(axis=1)
                squared[start : start + step, j] = d[row, best[:, j]]
                d[row, best[:, j]] = np.inf
        else:
            best = np.argpartition(d, k - 1, axis=1)[:, :k]
            squared[start : start + step] = np.take_along_axis(d, best, 1)
        at[start : start + step] = best
        squared[start : start + step] += np.einsum("ij,ij->i", part, part)[:, None]
    return at, squared
