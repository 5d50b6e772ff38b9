"""Nearest-neighbour choices by any distance, with conditions on the partner: a search. Positions in, pairs out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...errors import DesignError
from .metric import EVEN, Space
from .neighbours import Pool

_PAIRS = 50_000_000  # more pairs than this are no design
_ENTRIES = 2_000_000  # candidates held at once
_CHUNK = 4096  # units whose candidates are searched together
_RETRIES = 50  # looks at everybody that cost as much as making the search anew
_ROUNDING = 1e-12  # two squared distances this close (relatively) are equal: which is smaller hangs on the last digit
_PATIENCE = 64  # looking at a unit through a search costs about as much as at this many without


def _even(squared):
    """The largest squared distance (in SDs) that still is equal to this one."""
    return squared * (1 + _ROUNDING) + 2 * EVEN * np.sqrt(squared)


@dataclass(frozen=True, kw_only=True)
class Side:
    """What partners must fulfil besides being near: calipers on numbers, values that must differ."""

    calipers: tuple[tuple[np.ndarray, float], ...] = ()
    differ: tuple[np.ndarray, ...] = ()

    def allows(self, i: np.ndarray | int, j: np.ndarray) -> np.ndarray:
        ok = np.ones(np.broadcast_shapes(np.shape(i), np.shape(j)), bool)
        for values, width in self.calipers:
            ok &= np.abs(values[i] - values[j]) <= width
        for values in self.differ:
            ok &= values[i] != values[j]
        return ok


class _Reach:
    """The rows of a pool that the narrowest caliper leaves to a unit."""

    def __init__(self, rows: np.ndarray, side: Side) -> None:
        self._rows, self._values = rows, None
        if side.calipers:
            self._all, self._width = side.calipers[0]
            self._rows = rows[np.argsort(self._all[rows], kind="stable")]
            self._values = self._all[self._rows]

    def of(self, q: int) -> np.ndarray:
        if self._values is None:
            return self._rows
        x, slack = self._all[q], self._width * (1 + 1e-9)
        return self._rows[np.searchsorted(self._values, x - slack) : np.searchsorted(self._values, x + slack, "right")]

    def size(self, queue: np.ndarray) -> float:
        """Rows left to a unit, on average."""
        return float(np.mean([len(self.of(q)) for q in queue[:: max(1, len(queue) // 50)].tolist()]))


def _cells(queue: np.ndarray, pool: np.ndarray, cell: np.ndarray):
    """(queue, pool) of every exact cell that has both."""
    order = np.argsort(cell[pool], kind="stable")
    found, starts = np.unique(cell[pool][order], return_index=True)
    members = dict(zip(found.tolist(), np.split(pool[order], starts[1:]), strict=True))
    order = np.argsort(cell[queue], kind="stable")
    found, starts = np.unique(cell[queue][order], return_index=True)
    for c, part in zip(found.tolist(), np.split(queue[order], starts[1:]), strict=True):
        if c in members:
            yield part, members[c]


def k_nearest(
    queue: np.ndarray, pool: np.ndarray, space: Space, cell: np.ndarray, side: Side, ratio: int, *,
    all_ties: bool, tolerance: float, reach: float = np.inf,
) -> tuple[np.ndarray, np.ndarray, int]:  # fmt: skip
    """With replacement: the `ratio` nearest allowed units of each of the queue, and how many choices were ties.

    all_ties : keep everyone no farther than the last chosen (squared distance + `tolerance`); else the first rows.
    reach : squared distance beyond which nobody is allowed (a help to stop, not a condition).
    """
    left, right, ties, kept = [], [], 0, 0
    which = np.zeros(len(cell), np.int64)  # row -> point
    for asking, members in _cells(queue, pool, cell):
        points, start, order = _distinct(members, space, side)
        search, counts = Pool(space, points), np.diff(start)
        which[points] = np.arange(len(points))
        reach_of = _Reach(points, side)
        todo, k, usual = asking, min(ratio + 2, len(points)), reach_of.size(asking)
        patience = max(_PATIENCE, usual / _PATIENCE)
        while len(todo):
            later = []
            step = max(1, int(_ENTRIES // (k if k <= patience else max(k, usual))))
            for part in (todo[i : i + step] for i in range(0, len(todo), step)):
                near, far = search.query(part, k) if k <= patience else _everybody(part, reach_of, space)
                whole = near.shape[1] >= len(points) or k > patience
                horizon = np.full(len(part), np.inf) if whole else far[:, -1] * (1 - 1e-9)
                ok = (near >= 0) & side.allows(part[:, None], near)
                at = which[near]
                sum_up = np.cumsum(np.where(ok, counts[at], 0), axis=1)
                has = sum_up[:, -1] >= ratio
                last = np.where(has, far[np.arange(len(part)), (sum_up >= ratio).argmax(axis=1)], np.inf)
                limit = _even(last) + tolerance
                done = (has & (limit < horizon)) | (horizon > reach) | whole
                later.append(part[~done])
                hit = ok & done[:, None] & (far <= limit[:, None])
                size = np.where(hit, counts[at], 0).sum(axis=1)
                tied = (size > ratio) & has
                ties += int(tied.sum())
                kept += int(size.sum() if all_ties else np.minimum(size, ratio).sum())
                if kept > _PAIRS:
                    raise DesignError("pairs that fit in memory", f"more than {_PAIRS:,} with all ties",
                                      'give a key and ties="key", or match exactly')  # fmt: skip
                i, j = _expand(part, at, hit, start, order, None if all_ties else ratio)
                if not all_ties:
                    i, j = _first(i, j, space, ratio)
                left.append(i)
                right.append(j)
            todo, k = np.concatenate(later), min(k * 4, len(points))
    if not left:
        return np.empty(0, int), np.empty(0, int), 0
    return np.concatenate(left), np.concatenate(right), ties


def _everybody(part, reach_of, space):
    rows = [reach_of.of(q) for q in part.tolist()]
    size = np.array([len(r) for r in rows])
    inside = np.arange(max(1, size.max())) < size[:, None]
    near, far = np.full(inside.shape, -1), np.full(inside.shape, np.inf)
    near[inside] = np.concatenate(rows)
    far[inside] = space.squared(np.repeat(part, size), near[inside])
    best = np.argsort(far, axis=1, kind="stable")
    return np.take_along_axis(near, best, 1), np.take_along_axis(far, best, 1)


def _distinct(members: np.ndarray, space: Space, side: Side) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Units that no condition tells apart are one point: (points, start, members in order of point and row)."""
    columns = [space.block[members], *space.inner[members].T, *(v[members] for v, _ in side.calipers),
               *(v[members] for v in side.differ)]  # fmt: skip
    rng = np.random.default_rng(0)  # any projection will do: equal units get equal numbers, and equality is checked
    mark = np.zeros(len(members))
    for column in columns:
        mark += column * rng.random()
    order = np.argsort(mark, kind="stable")
    new = np.ones(len(members), bool)
    new[1:] = np.any([column[order[1:]] != column[order[:-1]] for column in columns], axis=0)
    start = np.append(np.flatnonzero(new), len(members))
    return members[order][new], start, members[order]


def _expand(part, at, hit, start, order, most: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of the units asking and all members (or the first `most`) of the points hit."""
    row, column = np.nonzero(hit)
    point = at[row, column]
    size = start[point + 1] - start[point]
    if most is not None:
        size = np.minimum(size, most)
    offset = np.arange(size.sum()) - np.repeat(np.cumsum(size) - size, size)
    return part[np.repeat(row, size)], order[np.repeat(start[point], size) + offset]


def _first(i, j, space, ratio) -> tuple[np.ndarray, np.ndarray]:
    """The `ratio` nearest of each i; distances equal up to rounding go to the first row."""
    far = space.squared(i, j)
    rank = np.lexsort((far, i))
    i, j, far = i[rank], j[rank], far[rank]
    step = np.ones(len(i), bool)
    step[1:] = (i[1:] != i[:-1]) | (far[1:] > _even(far[:-1]))
    rank = np.lexsort((j, np.cumsum(step)))
    i, j = i[rank], j[rank]
    place = np.arange(len(i)) - np.searchsorted(i, i, side="left")
    return i[place < ratio], j[place < ratio]


def greedy(
    queue: np.ndarray, pool: np.ndarray, space: Space, cell: np.ndarray, side: Side, ratio: int,
    who: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray, int]:  # fmt: skip
    """Without replacement, by any distance: each of the queue in turn takes its nearest allowed unused unit.

    Ties go to the first row. Returns the pairs in the order taken, and how many choices were ties.
    """
    free = np.zeros(len(cell), bool)
    free[pool] = True
    cells = {int(cell[asking[0]]): _Unused(members, space, side, who, free) for asking, members in
             _cells(queue, pool, cell)}  # fmt: skip
    queue = queue[np.isin(cell[queue], list(cells))]
    same: dict[int, np.ndarray] = {}
    if who is not None:
        order = pool[np.argsort(who[pool], kind="stable")]
        persons, starts = np.unique(who[order], return_index=True)
        same = dict(zip(persons.tolist(), np.split(order, starts[1:]), strict=True))
    left, right, ties = [], [], 0
    for _ in range(ratio):
        for start in range(0, len(queue), _CHUNK):
            part = queue[start : start + _CHUNK]
            order = np.argsort(cell[part], kind="stable")
            found, starts = np.unique(cell[part][order], return_index=True)
            lists: list = [None] * len(part)
            for c, places in zip(found.tolist(), np.split(order, starts[1:]), strict=True):
                for place, candidates in zip(places.tolist(), cells[c].candidates(part[places]), strict=True):
                    lists[place] = candidates
            for q, candidates in zip(part.tolist(), lists, strict=True):
                take, tied = cells[int(cell[q])].nearest(q, *candidates)
                if take < 0:
                    continue
                ties += tied
                left.append(q)
                right.append(take)
                free[take] = False
                if who is not None:
                    free[same[int(who[take])]] = False
    return np.array(left, int), np.array(right, int), ties


class _Unused:
    """The unused units of an exact cell, as points with several units each.

    Candidates come from a search over the points that had unused units when it was made; it is made anew when half of
    the units are gone, or when too many of those asking found all candidates used and had to look at everybody.
    """

    def __init__(self, members, space: Space, side: Side, who: np.ndarray | None, free: np.ndarray) -> None:
        self._members, self._space, self._side, self._who, self._free = members, space, side, who, free
        self._k = 64 if side.calipers or side.differ else 16
        self._lost, self._usual = 0, 0.0
        self._build()

    def _build(self) -> None:
        self._members = self._members[self._free[self._members]]
        self._built, self._lost = len(self._members), 0
        if not self._built:
            return
        self._points, start, order = _distinct(self._members, self._space, self._side)
        self._head, self._end, self._rows = start[:-1].tolist(), start[1:].tolist(), order.tolist()
        self._search, self._reach = Pool(self._space, self._points), _Reach(self._members, self._side)
        self._sorted, self._usual = np.argsort(self._points), self._reach.size(self._members)

    def candidates(self, asking: np.ndarray) -> list[tuple[list[int], list[float], float]]:
        """For each: points, their squared distances, and the distance up to which that list is complete."""
        if self._lost * self._usual > _RETRIES * self._built or self._free[self._members].sum() < self._built / 2:
            self._build()
        if not self._built:
            return [([], [], np.inf)] * len(asking)
        near, far = self._search.query(asking, self._k)
        ok = (near >= 0) & self._side.allows(asking[:, None], near)
        point = self._sorted[np.searchsorted(self._points, near, sorter=self._sorted).clip(0, len(self._points) - 1)]
        whole = len(self._points) <= self._k
        horizon = np.full(len(asking), np.inf) if whole else far[:, -1] * (1 - 1e-9)
        return [(p[o].tolist(), f[o].tolist(), h) for p, f, o, h in zip(point, far, ok, horizon.tolist(), strict=True)]

    def nearest(self, q: int, points: list[int], far: list[float], horizon: float) -> tuple[int, bool]:
        """(row, was it a tie?) of the nearest unused unit that q may take; row -1 when there is none."""
        me = -1 if self._who is None else int(self._who[q])
        take, best, tied = -1, np.inf, False
        for point, distance in zip(points, far, strict=True):
            if distance >= horizon or distance > _even(best):
                break
            row, more = self._first(point, me)
            if row >= 0:
                tied |= more or take >= 0
                take, best = row if take < 0 else min(take, row), min(best, distance)
        if take >= 0 or horizon == np.inf:
            return take, tied
        self._lost += 1
        rows = self._reach.of(q)
        rows = rows[self._free[rows]]
        rows = rows[self._side.allows(q, rows)]
        if self._who is not None:
            rows = rows[self._who[rows] != me]
        if not len(rows):
            return -1, False
        distances = self._space.squared(np.full(len(rows), q), rows)
        least = distances <= _even(distances.min())
        return int(rows[least].min()), bool(least.sum() > 1)

    def _first(self, point: int, me: int) -> tuple[int, bool]:
        """The first unused row of a point that is not `me`, and whether there is another."""
        free, who, rows, end = self._free, self._who, self._rows, self._end[point]
        at = self._head[point]
        while at < end and not free[rows[at]]:
            at += 1
        self._head[point] = at
        found = -1
        for i in range(at, end):
            row = rows[i]
            if free[row] and (who is None or who[row] != me):
                if found >= 0:
                    return found, True
                found = row
        return found, False
