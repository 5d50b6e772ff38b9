"""Nearest-neighbour choices by one number: sorting and pointers. Positions in, pairs out."""

from __future__ import annotations

import numpy as np

from .metric import EVEN


def _sorted_pool(pool, d, cell, *, reverse_ties: bool = False):
    """Comparison units by (cell, distance, row), and the numbers by which cells and distances sort as one."""
    pool = pool[::-1] if reverse_ties else pool  # rows ascend, and the sorts are stable
    if not cell.any():
        return pool[np.argsort(d[pool], kind="stable")], d
    pool = pool[np.lexsort((d[pool], cell[pool]))]
    levels, rank = np.unique(d, return_inverse=True)
    return pool, cell.astype(np.int64) * len(levels) + rank


def _end(chain: list[int], i: int) -> int:
    """Where the chain from i ends; all on the way then point there, so that the next walk is short."""
    end = i
    while chain[end] != end:
        end = chain[end]
    while chain[i] != end:
        chain[i], i = end, chain[i]
    return end


def greedy_line(queue, pool, d, cell, width, ratio, who):
    """Greedy passes with pointers to the next unused neighbour on each side: O(n log n)."""
    pool, code = _sorted_pool(pool, d, cell)
    pool_code = code[pool]
    m, same = len(pool), EVEN * float(np.std(d))
    spot = np.searchsorted(pool_code, code[queue], side="left").tolist()  # first pool unit not below the treated one
    first = np.searchsorted(pool_code, pool_code, side="left").tolist()  # start of each run of ties
    low = np.searchsorted(cell[pool], cell[queue], "left").tolist()
    high = np.searchsorted(cell[pool], cell[queue], "right").tolist()
    value, rank = d[pool].tolist(), pool.tolist()
    # Chains of used places. The end of above[i]: the first unused place >= i, or m. The end of below[i] - 1: the last
    # unused one < i, or -1.
    above, below = list(range(m + 1)), list(range(m + 1))
    if who is not None:  # a person's rows of the pool: rows_of[edge[p] : edge[p + 1]]
        rows_of = np.argsort(who[pool], kind="stable")
        edge = np.r_[0, np.cumsum(np.bincount(who[pool], minlength=int(who.max()) + 1))].tolist()
    person: list[int] = who.tolist() if who is not None else []

    left, right, ties = [], [], 0
    for _ in range(ratio):
        for q, unit in enumerate(queue.tolist()):
            x, start, lo, hi = d[unit], spot[q], low[q], high[q]
            me = person[unit] if person else -1
            b = _end(above, start)
            while me >= 0 and b < hi and person[rank[b]] == me:
                b = _end(above, b + 1)
            a = _end(below, start) - 1
            while a >= lo:
                run = _end(above, first[a])  # first unused of the run of ties
                while me >= 0 and run <= a and person[rank[run]] == me:
                    run = _end(above, run + 1)
                if run <= a:
                    a = run
                    break
                a = _end(below, first[a]) - 1
            gap_a = x - value[a] if a >= lo else np.inf
            gap_b = value[b] - x if b < hi else np.inf
            gap = min(gap_a, gap_b)
            if gap == np.inf or gap > width:
                continue
            even = abs(gap_a - gap_b) <= same
            take = a if (rank[a] < rank[b] if even else gap_a < gap_b) else b
            other = _end(above, take + 1)  # the first of a run was taken: is there another as near?
            ties += even or (other < m and first[other] == first[take])
            left.append(unit)
            right.append(rank[take])
            p = person[rank[take]] if person else -1
            for i in rows_of[edge[p] : edge[p + 1]].tolist() if person else (take,):
                above[i] = i + 1
                below[i + 1] = i
    return np.array(left, int), np.array(right, int), ties


def k_nearest_line(queue, pool, d, cell, width, ratio):
    """The `ratio` nearest of each treated unit, all at once: k candidates on each side, ranked by (distance, order)."""
    up_pool, code = _sorted_pool(pool, d, cell)
    down_pool, _ = _sorted_pool(pool, d, cell, reverse_ties=True)
    spot = np.searchsorted(code[up_pool], code[queue], side="left")[:, None]
    ahead = min(ratio + 1, len(pool))  # one more than asked, to see ties
    steps = np.arange(ahead)
    index = np.hstack([spot + steps, spot - 1 - steps])
    inside = (index >= 0) & (index < len(pool))
    index = np.clip(index, 0, len(pool) - 1)
    candidate = np.where(np.arange(2 * ahead) < ahead, up_pool[index], down_pool[index])
    gap = np.abs(d[candidate] - d[queue][:, None])
    gap[~inside | (cell[candidate] != cell[queue][:, None]) | (gap > width)] = np.inf
    same = EVEN * float(np.std(d))
    best = np.argsort(gap, axis=1, kind="stable")
    gap, candidate = np.take_along_axis(gap, best, 1), np.take_along_axis(candidate, best, 1)
    with np.errstate(invalid="ignore"):  # nobody minus nobody
        place = np.cumsum(np.diff(gap, axis=1, prepend=gap[:, :1]) > same, axis=1)  # equally near, one place
    best = np.lexsort((candidate, place), axis=1)[:, : ratio + 1]
    gap, candidate = np.take_along_axis(gap, best, 1), np.take_along_axis(candidate, best, 1)
    more = gap[:, ratio] if gap.shape[1] > ratio else np.full(len(gap), np.inf)
    gap, candidate = gap[:, :ratio], candidate[:, :ratio]
    kept = np.isfinite(gap)
    ties = int((more[np.isfinite(more)] - gap[np.isfinite(more), -1] <= same).sum())
    return np.repeat(queue, ratio)[kept.ravel()], candidate[kept], ties
