"""Optimal pairs and optimal full matching: the least total distance, by assignment and network flow."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd

from ...errors import DesignError

Allowed = Callable[[np.ndarray, np.ndarray], np.ndarray]
_DENSE = 20_000_000  # pairs of one cell held as a full matrix (160 MB)
_EDGES = 50_000_000  # admissible pairs held as a list
_STRETCH = 500  # treated units solved at once


def optimal_pairs(
    treated: np.ndarray, place: np.ndarray, *, ratio: int = 1, width: float = np.inf, cell: np.ndarray | None = None,
    allowed: Allowed | None = None,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Row positions (left treated, right comparison) of the pairs of least total distance, without replacement.

    First as many pairs as the cells, the width and `allowed` admit, then as many treated units with a partner (a
    second, ...) as possible, then the least sum of distances (Rosenbaum 1989; assignment by shortest augmenting paths).
    Among equal sums the rows' order decides: give rows in the order of a key.

    Parameters
    ----------
    treated : (n,) bool. place : (n,) a score (distance: absolute difference) or (n, p) points (Euclidean distance;
        whitened covariates for Mahalanobis). ratio : comparison units per treated unit at most. width : largest
        distance within a pair. cell : (n,) numbers on which partners must agree. allowed : function of treated and
        comparison row positions, arrays that broadcast, to bool: which pairs may be made (a caliper on a covariate, an
        anti-exact rule).
    """
    treated, points = np.asarray(treated, bool), _points(place)
    left, right = [np.empty(0, int)], [np.empty(0, int)]
    steps = np.arange(ratio, 0, -1)  # many first partners before second ones
    for t, c in _by_cell(treated, cell):
        if len(t) * len(c) * ratio <= _DENSE:
            i, j = _assign_dense(_matrix(points, t, c, width, allowed), steps)
        else:
            i, j = _assign_sparse(*_edges(points, t, c, width, allowed), len(t), len(c), steps)
        left.append(t[i])
        right.append(c[j])
    one, other = np.concatenate(left), np.concatenate(right)
    order = np.lexsort((other, one))
    return one[order], other[order]


def full_sets(
    treated: np.ndarray, place: np.ndarray, *, ratio: tuple[float, float] | None = None, width: float = np.inf,
    cell: np.ndarray | None = None, allowed: Allowed | None = None,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Row positions (left, right) of the edges of an optimal full matching: sets of one treated unit with one or more
    comparison units, or the reverse, that hold every unit with an admissible partner, of least total distance.

    Estimator : Rosenbaum 1991; Hansen & Klopfer 2006. Without limits it is a minimum-weight edge cover: with m(u) the
        distance of a unit's nearest partner, a matching on the pairs with d(i, j) < m(i) + m(j), everyone else to the
        nearest. With limits: first as many units in sets as the limits admit, then distance; an assignment, or the
        linear program of the network (totally unimodular: its vertices are whole).

    Parameters
    ----------
    place, width, cell, allowed : as in `optimal_pairs`. ratio : (least, most) comparison units per treated unit; a
        least of 1/3 lets three treated units share one.
    """
    treated, points = np.asarray(treated, bool), _points(place)
    line = points.shape[1] == 1 and allowed is None
    left, right = [np.empty(0, int)], [np.empty(0, int)]
    for t, c in _by_cell(treated, cell):
        if ratio is not None:
            i, j = _limited(points, t, c, width, allowed, ratio)
        else:
            i, j = _cover_line(points[:, 0], t, c, width) if line else _cover(points, t, c, width, allowed)
        left.append(t[i])
        right.append(c[j])
    one, other = np.concatenate(left), np.concatenate(right)
    order = np.lexsort((other, one))
    return one[order], other[order]


def _points(place: np.ndarray) -> np.ndarray:
    points = np.asarray(place, float)
    return points[:, None] if points.ndim == 1 else points


def _by_cell(treated: np.ndarray, cell: np.ndarray | None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(treated rows, comparison rows) of every cell that holds both arms."""
    if cell is None:
        yield np.flatnonzero(treated), np.flatnonzero(~treated)
        return
    order = np.argsort(cell, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(cell[order])) + 1):
        t, c = rows[treated[rows]], rows[~treated[rows]]
        if len(t) and len(c):
            yield t, c


def _matrix(points: np.ndarray, t: np.ndarray, c: np.ndarray, width: float, allowed: Allowed | None) -> np.ndarray:
    """(t, c) distances, infinite where a pair is not admissible."""
    from scipy.spatial.distance import cdist

    a, b = points[t], points[c]
    distance = np.abs(a - b.T) if points.shape[1] == 1 else cdist(a, b)
    distance[distance > width] = np.inf
    if allowed is not None:
        distance[~allowed(t[:, None], c[None, :])] = np.inf
    return distance


def _edges(
    points: np.ndarray, t: np.ndarray, c: np.ndarray, width: float, allowed: Allowed | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Admissible pairs as (place in t, place in c, distance), sorted; too many are refused."""
    if len(t) * len(c) > _EDGES and not np.isfinite(width):
        _too_many(len(t) * len(c))
    if not np.isfinite(width):
        i, j = (part.ravel() for part in np.indices((len(t), len(c))))
    else:
        from scipy.spatial import cKDTree

        tree, reach = cKDTree(points[c]), width * (1 + 1e-12)
        count = tree.query_ball_point(points[t], reach, return_length=True)
        if count.sum() > _EDGES:
            _too_many(int(count.sum()))
        near = tree.query_ball_point(points[t], reach, return_sorted=True)
        i, j = np.repeat(np.arange(len(t)), count), np.concatenate([*map(np.asarray, near), []]).astype(int)
    distance = np.linalg.norm(points[t][i] - points[c][j], axis=1)
    keep = distance <= width
    if allowed is not None:
        keep &= allowed(t[i], c[j])
    return i[keep], j[keep], distance[keep]


def _too_many(pairs: int) -> None:
    raise DesignError(f"at most {_EDGES:,} admissible pairs", f"{pairs:,}",
                      "set or narrow the caliper, or match exactly on more")  # fmt: skip


def _assign_dense(distance: np.ndarray, steps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of rows and columns, a column once, a row as often as there are steps: what its first, second, ... partner
    is worth, in units above any sum of distances that could be won back."""
    from scipy.optimize import linear_sum_assignment

    rows, possible = len(distance), np.isfinite(distance)
    if len(steps) == 1 and possible.all() and rows <= distance.shape[1]:
        return linear_sum_assignment(distance)
    worth = (2.0 * rows * len(steps) * distance[possible].max(initial=0.0) + 1.0) * steps
    cost = np.concatenate([np.where(possible, distance - each, 0.0) for each in worth])
    i, j = linear_sum_assignment(cost)
    kept = cost[i, j] < 0
    return i[kept] % rows, j[kept]


def _assign_sparse(i, j, distance, rows: int, columns: int, steps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same on a list of pairs: every copy of a treated unit may also take a column of its own, unpaired."""
    ratio = len(steps)
    worth = (2.0 * rows * ratio * distance.max(initial=0.0) + 1.0) * steps
    copies = np.arange(rows * ratio)
    cost = np.concatenate([*(distance - each for each in worth), np.zeros(len(copies))])
    left = np.concatenate([*(i + rows * copy for copy in range(ratio)), copies])
    right = np.concatenate([np.tile(j, ratio), columns + copies])
    a, b = _matching(left, right, cost, (len(copies), columns + len(copies)))
    kept = b < columns
    return a[kept] % rows, b[kept]


def _matching(left, right, cost, shape) -> tuple[np.ndarray, np.ndarray]:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import min_weight_full_bipartite_matching

    shift = 1.0 - min(cost.min(initial=0.0), 0.0)  # an explicit zero is no edge; a constant per row changes nothing
    return min_weight_full_bipartite_matching(coo_array((cost + shift, (left, right)), shape=shape).tocsr())


def _cover_line(score: np.ndarray, t: np.ndarray, c: np.ndarray, width: float) -> tuple[np.ndarray, np.ndarray]:
    """Minimum-weight edge cover on a line; places in t and c."""
    t_sorted, c_sorted = np.argsort(score[t], kind="stable"), np.argsort(score[c], kind="stable")
    x, y = score[t][t_sorted], score[c][c_sorted]
    near_x, near_y = _nearest(x, y), _nearest(y, x)
    far_x, far_y = np.abs(x - y[near_x]), np.abs(y - x[near_y])
    # A nearest-neighbour distance changes no faster than the score: the pairs worth a look are one run of y for each x.
    low = np.searchsorted(y + far_y, x - far_x, "right")
    high = np.maximum(np.searchsorted(y - far_y, x + far_x, "left"), low)
    count = high - low
    if count.sum() > _EDGES:
        _too_many(int(count.sum()))
    i = np.repeat(np.arange(len(x)), count)
    j = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + np.repeat(low, count)
    distance = np.abs(x[i] - y[j])
    saved = distance - far_x[i] - far_y[j]
    look = (saved < 0) & (distance <= width)
    i, j, saved = i[look], j[look], saved[look]
    # Stretches of the line that share no pair are solved apart: the solver's time grows with the square of their size.
    apart = np.flatnonzero(low[1:] >= np.maximum.accumulate(high)[:-1]) + 1
    first, second, start = [np.empty(0, int)], [np.empty(0, int)], 0
    for end in [*apart, len(x)]:
        if end - start >= _STRETCH or end == len(x):
            edge = slice(*np.searchsorted(i, [start, end]))
            if edge.stop > edge.start:
                base = j[edge].min()
                one, other = _worthwhile(i[edge] - start, j[edge] - base, saved[edge], end - start)
                first.append(one + start)
                second.append(other + base)
            start = end
    a, b = np.concatenate(first), np.concatenate(second)
    i, j = _others_to_nearest(a, b, near_x, near_y, far_x <= width, far_y <= width)
    i, j = _stars(i, j, np.abs(x[i] - y[j]))
    return t_sorted[i], c_sorted[j]


def _cover(points, t, c, width: float, allowed: Allowed | None) -> tuple[np.ndarray, np.ndarray]:
    """Minimum-weight edge cover of any points; places in t and c."""
    if len(t) * len(c) > _EDGES:
        _too_many(len(t) * len(c))
    distance = _matrix(points, t, c, width, allowed)
    far_t, far_c = distance.min(axis=1), distance.min(axis=0)
    with np.errstate(invalid="ignore"):  # nobody near minus nobody near
        i, j = np.nonzero(distance < far_t[:, None] + far_c)
    a, b = _worthwhile(i, j, distance[i, j] - far_t[i] - far_c[j], len(t)) if len(i) else (i, j)
    near_t, near_c = _in_turn(distance, points[t], points[c]), _in_turn(distance.T, points[c], points[t])
    i, j = _others_to_nearest(a, b, near_t, near_c, np.isfinite(far_t), np.isfinite(far_c))
    return _stars(i, j, distance[i, j])


def _in_turn(distance: np.ndarray, own: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Place of the nearest of each row; of equal ones, equal rows take one after another."""
    nearest = distance.argmin(axis=1)
    mine, others = (np.unique(points, axis=0, return_inverse=True)[1].ravel() for points in (own, other))
    turn = pd.Series(mine).groupby(mine).cumcount().to_numpy()
    order = np.argsort(others, kind="stable")
    start, size = np.searchsorted(others[order], others[nearest]), np.bincount(others)[others[nearest]]
    equal = order[start + turn % size]
    return np.where(distance[np.arange(len(own)), equal] == distance.min(axis=1), equal, nearest)


def _others_to_nearest(i, j, near_t, near_c, able_t, able_c) -> tuple[np.ndarray, np.ndarray]:
    """The pairs, and everybody else who has one with their nearest; two units may be each other's."""
    rest_t, rest_c = np.setdiff1d(np.flatnonzero(able_t), i), np.setdiff1d(np.flatnonzero(able_c), j)
    edges = np.unique(np.column_stack([np.r_[i, rest_t, near_c[rest_c]], np.r_[j, near_t[rest_t], rest_c]]), axis=0)
    return edges[:, 0], edges[:, 1]


def _worthwhile(i: np.ndarray, j: np.ndarray, saved: np.ndarray, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """The matching of least total `saved` (negative numbers); rows may stay unmatched."""
    own, columns = np.arange(rows), int(j.max()) + 1
    a, b = _matching(np.concatenate([i, own]), np.concatenate([j, columns + own]),
                     np.concatenate([saved, np.zeros(rows)]), (rows, columns + rows))  # fmt: skip
    return a[b < columns], b[b < columns]


def _nearest(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Place in sorted y of the nearest to each sorted x: the lower on ties, equal ones taken in turn by equal x."""
    up = np.clip(np.searchsorted(y, x), 0, len(y) - 1)
    down = np.maximum(up - 1, 0)
    value = np.where(np.abs(x - y[down]) <= np.abs(y[up] - x), y[down], y[up])
    first, last = np.searchsorted(y, value), np.searchsorted(y, value, "right")
    return first + (np.arange(len(x)) - np.searchsorted(x, x)) % (last - first)


def _stars(i: np.ndarray, j: np.ndarray, distance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Drop edges both of whose ends have another (possible at distance zero only), the longest first."""
    n_i, n_j = np.bincount(i), np.bincount(j)
    keep = np.ones(len(i), bool)
    doubtful = np.flatnonzero((n_i[i] > 1) & (n_j[j] > 1))
    for e in doubtful[np.argsort(-distance[doubtful], kind="stable")]:
        if n_i[i[e]] > 1 and n_j[j[e]] > 1:
            keep[e] = False
            n_i[i[e]] -= 1
            n_j[j[e]] -= 1
    return i[keep], j[keep]


def _limited(
    points, t, c, width: float, allowed: Allowed | None, ratio: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Full matching with limits on the sets: first as many units as possible, then distance; places in t and c."""
    least, most = max(int(ratio[0] + 1e-9), 1), int(min(ratio[1], len(c)) + 1e-9)
    shared = max(int(1 / ratio[0] + 1e-9), 1)  # treated units that may share a comparison unit
    i, j, distance = _edges(points, t, c, width, allowed)
    t_seen = np.flatnonzero(np.bincount(i, minlength=len(t)) >= least)
    able = np.isin(i, t_seen)
    c_seen = np.unique(j[able])
    i, j, distance = np.searchsorted(t_seen, i[able]), np.searchsorted(c_seen, j[able]), distance[able]
    n, m = len(t_seen), len(c_seen)
    if not len(i):
        return i, j
    most, shared, every = min(most, m), min(shared, n), len(i) == n * m
    # Where one side serves once each, by the limits or for want of the other, it is assigned to copies of the other. A
    # first partner brings two units into a set, a further one brings one.
    if (shared == 1 or (every and m >= n * most)) and n * most * m <= _DENSE:
        matrix = np.full((n, m), np.inf)
        matrix[i, j] = distance
        one, two = _assign_dense(matrix, np.where(np.arange(most) < least, 2, 1))
        if least > 1 and (np.bincount(one, minlength=n) < least).any():
            _no_sets(least, n, m)
    elif (most == 1 or (every and n >= m * shared)) and m * shared * n <= _DENSE:
        matrix = np.full((m, n), np.inf)
        matrix[j, i] = distance
        two, one = _assign_dense(matrix, np.where(np.arange(shared) < 1, 2, 1))
    else:
        everyone = every and least == 1 and m <= n * most and n <= m * shared
        used = _flow(i, j, distance, n, m, (least, most, shared), everyone)
        one, two = _stars(i[used], j[used], distance[used]) if least == 1 else (i[used], j[used])
    return t_seen[one], c_seen[two]


def _flow(i, j, distance, n: int, m: int, limits: tuple[int, int, int], everyone: bool) -> np.ndarray:
    """(edges,) bool: the edges used in the network of `_limited`; its linear program has whole vertices."""
    from scipy.optimize import linprog
    from scipy.sparse import coo_array, hstack, vstack

    least, most, shared = limits
    e, units = np.arange(len(i)), n + m
    reach = coo_array((np.ones(2 * len(e)), (np.r_[i, n + j], np.r_[e, e])), shape=(units, len(e)))
    # A unit may stay out, at a price above any distance it could save; not so where all can find a place, nor a treated
    # unit with several partners to find (all or none of them would not be whole).
    out = np.arange(n if least > 1 else 0, 0 if everyone else units)
    leave = coo_array((np.ones(len(out)), (out, np.arange(len(out)))), shape=(units, len(out)))
    need = np.r_[np.full(n, float(least)), np.ones(m)]
    room = np.r_[np.full(n, float(most)), np.full(m, float(shared))]
    found = linprog(
        np.r_[distance, np.full(len(out), 2.0 * units * distance.max() + 1.0)], method="highs-ds", bounds=(0, 1),
        A_ub=vstack([hstack([reach, 0 * leave]), hstack([-reach, -leave])]).tocsr(), b_ub=np.r_[room, -need],
    )  # fmt: skip
    if found.status != 0:
        _no_sets(least, n, m)
    return found.x[: len(e)] > 0.5


def _no_sets(least: int, n: int, m: int) -> None:
    raise DesignError(f"at least {least} comparison units for each of {n:,} treated units",
                      f"no such sets among {m:,} comparison units", "lower the ratio or widen the caliper")  # fmt: skip
