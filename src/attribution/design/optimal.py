"""Designs by combinatorial optimisation: best pairs, full matching, the largest balanced sample. Blind to outcomes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..errors import DesignError
from ..results import Design
from .propensity import encode, read_treatment, refuse_missing, require_columns, to_pandas

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
    for t, c in _by_cell(treated, cell):
        if len(t) * len(c) * ratio <= _DENSE:
            i, j = _assign_dense(_matrix(points, t, c, width, allowed), ratio)
        else:
            i, j = _assign_sparse(*_edges(points, t, c, width, allowed), len(t), len(c), ratio)
        left.append(t[i])
        right.append(c[j])
    one, other = np.concatenate(left), np.concatenate(right)
    order = np.lexsort((other, one))
    return one[order], other[order]


def full_sets(
    treated: np.ndarray, score: np.ndarray, *, ratio: tuple[float, float] | None = None, width: float = np.inf,
    cell: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Row positions (left, right) of the edges of an optimal full matching: sets of one treated unit with one or more
    comparison units, or the reverse, that hold every unit with an admissible partner, of least total distance.

    Estimator : Rosenbaum 1991; Hansen & Klopfer 2006. Without limits it is a minimum-weight edge cover: with m(u) the
        distance of a unit's nearest partner, a matching on the pairs with d(i, j) < m(i) + m(j), everyone else to the
        nearest. With limits, the linear program of the same network (totally unimodular: its vertices are whole).

    Parameters
    ----------
    score : (n,); distance is the absolute difference. ratio : (least, most) comparison units per treated unit; a least
        of 1/3 lets three treated units share one. width, cell : as in `optimal_pairs`.
    """
    treated, points = np.asarray(treated, bool), _points(score)
    left, right = [np.empty(0, int)], [np.empty(0, int)]
    for t, c in _by_cell(treated, cell):
        i, j = _cover(points[:, 0], t, c, width) if ratio is None else _limited(points, t, c, width, ratio)
        left.append(t[i])
        right.append(c[j])
    one, other = np.concatenate(left), np.concatenate(right)
    order = np.lexsort((other, one))
    return one[order], other[order]


def cardinality_match(
    units: Any, treatment: str, *, covariates: Sequence[str], tols: float | Mapping[str, float] = 0.05, ratio: int = 1,
    key: str | None = None, time_limit_s: float = 60.0,
) -> Design:  # fmt: skip
    """The largest matched sample whose means agree within a tolerance: the ATT on the treated of that sample.

    Estimand : average effect on the treated units that are kept; the name says how many of how many.
    Assumes : given the covariates nobody knew more about their outcome when treatment was decided.
    Estimator : Zubizarreta, Paredes & Rosenbaum 2014: most treated units, `ratio` comparison units for each, with every
        |standardised mean difference| <= tolerance; an integer program (HiGHS).
    Std. errors : no pairs are made, each unit is its own group.
    Edge cases : the size is unique, the units chosen are not; with `key` the answer does not depend on the order of
        rows. A program that is not proven optimal within the time limit is refused, with the best size found.
    Checked : reference/match/cardinality_lalonde (MatchIt 4.7.2, Symphony).

    Parameters
    ----------
    units : table, one row a unit. treatment : its 0/1 column. covariates : columns to balance, categories by level.
    tols : largest difference, in SDs of the treated in the whole sample (sqrt(p(1-p)) for 0/1 columns); one for all, or
        one for every covariate. ratio : comparison units per treated unit. key : column of unique values.
    time_limit_s : seconds of search.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp

    units = to_pandas(units)
    require_columns(units, [treatment, *covariates, *([key] if key else [])])
    t = read_treatment(units, treatment)
    refuse_missing(units, [*covariates, *([key] if key else [])])
    if treatment in covariates or not len(covariates):
        raise DesignError("covariates other than the treatment", f"{list(covariates)}", "name what must balance")
    if int(ratio) != ratio or not 1 <= ratio <= (~t).sum():
        raise DesignError("a whole ratio from 1 to the size of the pool", f"ratio = {ratio}", "lower the ratio")
    order = key_order(units, key)
    x, labels, origins = encode(units, covariates, drop_base=False)
    limit = _tolerances(tols, covariates, origins)
    x, arm = x[order], t[order]
    z = (x - x[arm].mean(axis=0)) / _spread(x, arm)
    sign = np.where(arm, 1.0, -1.0 / ratio)
    gap = (z * sign[:, None]).T  # summed over the chosen units: difference of means times the number of treated
    scale = 1_000.0  # the solver's feasibility tolerance is absolute: keep it far below the balance asked for
    found = milp(
        -arm.astype(float), integrality=np.ones(len(arm)), bounds=Bounds(0, 1),
        constraints=[LinearConstraint(scale * (gap - limit[:, None] * arm), -np.inf, 0),
                     LinearConstraint(scale * (gap + limit[:, None] * arm), 0, np.inf),
                     LinearConstraint(sign * ratio, 0, 0)],
        options={"time_limit": float(time_limit_s), "mip_rel_gap": 0.0},
    )  # fmt: skip
    if found.status != 0:
        best = "none found" if found.x is None else f"{int(np.round(found.x)[arm].sum())} treated units found so far"
        raise DesignError(f"the largest balanced sample, proven within {time_limit_s:g} seconds",
                          f"{best}, at most {_bound(found, arm)} possible",
                          "raise time_limit_s or the tolerances, or balance on less")  # fmt: skip
    kept = np.zeros(len(t), bool)
    kept[order] = np.round(found.x).astype(bool)
    n_kept, n_treated = int((kept & t).sum()), int(t.sum())
    if not n_kept:
        raise DesignError("at least one treated unit in a balanced sample", "none", "raise the tolerances",
                          count=n_treated)  # fmt: skip
    smd = (gap @ np.round(found.x)) / n_kept
    strata = np.full(len(t), -1)
    strata[order[kept[order]]] = np.arange(int(kept.sum()))
    lost = n_treated - n_kept
    notes = (f"{lost:,} of {n_treated:,} treated units were left out to reach the balance asked for: the effect speaks "
             "for the others only.",) if lost else ()  # fmt: skip
    return Design(
        estimand=f"ATT on the treated of the largest balanced sample ({n_kept:,} of {n_treated:,})" if lost else "ATT",
        units=units.copy(), treatment=treatment, covariates=tuple(covariates), weights=kept.astype(float),
        pairs=no_pairs(), strata=strata, discarded=np.zeros(len(t), bool), unmatched=~kept,
        spec={"method": "cardinality", "ratio": ratio, "tols": dict(zip(labels, limit.tolist(), strict=True)),
              "largest_smd": float(np.abs(smd).max()), "key": key},
        notes=notes,
    )  # fmt: skip


def key_order(units: pd.DataFrame, key: str | None) -> np.ndarray:
    """Rows in the order of a unique key, or as they come."""
    if key is None:
        return np.arange(len(units))
    twice = units[key][units[key].duplicated()]
    if len(twice):
        raise DesignError("one row a key", "the same key again", "give a column that is unique", column=key,
                          count=len(twice), keys=twice.unique().tolist())  # fmt: skip
    return np.argsort(units[key].to_numpy(), kind="stable")


def no_pairs() -> pd.DataFrame:
    return pd.DataFrame({"treated": np.empty(0, int), "comparison": np.empty(0, int), "distance": np.empty(0)})


def _points(place: np.ndarray) -> np.ndarray:
    points = np.asarray(place, float)
    return points[:, None] if points.ndim == 1 else points


def _by_cell(treated: np.ndarray, cell: np.ndarray | None):
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


def _reward(largest: float, rows: int, ratio: int) -> np.ndarray:
    """(ratio,) what a first, second, ... partner is worth: each more than any sum of distances can win back."""
    return (2.0 * rows * ratio * largest + 1.0) * np.arange(ratio, 0, -1)


def _assign_dense(distance: np.ndarray, ratio: int) -> tuple[np.ndarray, np.ndarray]:
    from scipy.optimize import linear_sum_assignment

    rows, possible = len(distance), np.isfinite(distance)
    if ratio == 1 and possible.all() and rows <= distance.shape[1]:
        return linear_sum_assignment(distance)
    worth = _reward(distance[possible].max(initial=0.0), rows, ratio)
    cost = np.concatenate([np.where(possible, distance - each, 0.0) for each in worth])
    i, j = linear_sum_assignment(cost)
    kept = cost[i, j] < 0
    return i[kept] % rows, j[kept]


def _assign_sparse(i, j, distance, rows: int, columns: int, ratio: int) -> tuple[np.ndarray, np.ndarray]:
    """The same on a list of pairs: every copy of a treated unit may also take a column of its own, unpaired."""
    worth = _reward(distance.max(initial=0.0), rows, ratio)
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


def _cover(score: np.ndarray, t: np.ndarray, c: np.ndarray, width: float) -> tuple[np.ndarray, np.ndarray]:
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
    rest_x = np.setdiff1d(np.flatnonzero(far_x <= width), a)
    rest_y = np.setdiff1d(np.flatnonzero(far_y <= width), b)
    i = np.concatenate([a, rest_x, near_y[rest_y]])
    j = np.concatenate([b, near_x[rest_x], rest_y])
    edges = np.unique(np.column_stack([i, j]), axis=0)  # two units may be each other's nearest
    i, j = _stars(edges[:, 0], edges[:, 1], np.abs(x[edges[:, 0]] - y[edges[:, 1]]))
    return t_sorted[i], c_sorted[j]


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


def _limited(points, t, c, width: float, ratio: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Full matching with limits on the sets, as a network flow; places in t and c."""
    from scipy.optimize import linprog
    from scipy.sparse import coo_array, hstack, identity, vstack

    least, most = max(int(np.floor(ratio[0] + 1e-9)), 1), int(np.floor(ratio[1] + 1e-9))
    shared = max(int(np.floor(1 / ratio[0] + 1e-9)), 1)  # treated units that may share a comparison unit
    most = max(most, 1)
    i, j, distance = _edges(points, t, c, width, None)
    enough = np.bincount(i, minlength=len(t)) >= least
    i, j, distance = i[enough[i]], j[enough[i]], distance[enough[i]]
    t_seen, i = np.unique(i, return_inverse=True)
    c_seen, j = np.unique(j, return_inverse=True)
    n, m, e = len(t_seen), len(c_seen), np.arange(len(i))
    if not len(e):
        return e, e
    reach = coo_array((np.ones(2 * len(e)), (np.r_[i, n + j], np.r_[e, e])), shape=(n + m, len(e))).tocsr()
    # A unit may stay out, at a price above any distance it could save: first as many units as possible, then distance.
    price = 2.0 * (n + m) * distance.max() + 1.0
    out = identity(n + m, format="csr")
    if least > 1:  # all or none would not be whole at the vertices
        out = hstack([coo_array((n, n)), coo_array((n, m))]).tocsr(), out[n:]
        out = vstack(out).tocsr()
    need = np.r_[np.full(n, float(least)), np.ones(m)]
    room = np.r_[np.full(n, float(most)), np.full(m, float(shared))]
    nothing = coo_array((n + m, n + m))
    found = linprog(
        np.r_[distance, np.full(n + m, price)], method="highs-ds", bounds=(0, 1), b_ub=np.r_[room, -need],
        A_ub=vstack([hstack([reach, nothing]), hstack([-reach, -out])]).tocsr(),
    )  # fmt: skip
    if found.status != 0:
        raise DesignError(f"{least} to {most} comparison units for each of {n:,} treated units",
                          f"no such sets among {m:,} comparison units", "widen the ratio or the caliper")  # fmt: skip
    used = found.x[: len(e)] > 0.5
    i, j = _stars(i[used], j[used], distance[used]) if least == 1 else (i[used], j[used])
    return t_seen[i], c_seen[j]


def _tolerances(tols: float | Mapping[str, float], covariates: Sequence[str], origins: Sequence[str]) -> np.ndarray:
    each = dict(tols) if isinstance(tols, Mapping) else dict.fromkeys(covariates, tols)
    odd = sorted(set(map(str, covariates)) ^ set(map(str, each)))
    if odd:
        raise DesignError("a tolerance for every covariate and nothing else", "names on one side only",
                          "give one number, or one for each", count=len(odd), keys=odd)  # fmt: skip
    wrong = [name for name, value in each.items() if not (np.isfinite(value) and value >= 0)]
    if wrong:
        raise DesignError("tolerances >= 0, in SDs", "others", "0.05 is common", count=len(wrong), keys=wrong)
    return np.array([float(each[name]) for name in origins])


def _spread(x: np.ndarray, t: np.ndarray) -> np.ndarray:
    """SD of the treated (of all, where the treated do not vary), as in the balance table; 1 for a constant."""
    def sd(part: np.ndarray) -> np.ndarray:
        binary = np.isin(x, (0.0, 1.0)).all(axis=0)
        mean = part.mean(axis=0)
        return np.sqrt(np.where(binary, mean * (1 - mean), part.var(axis=0, ddof=1)))

    own, other = sd(x[t]), sd(x[~t])
    out = np.where(own > 1e-10, own, np.sqrt((own**2 + other**2) / 2))
    return np.where(out > 1e-10, out, 1.0)


def _bound(found: Any, arm: np.ndarray) -> int:
    bound = getattr(found, "mip_dual_bound", None)
    return int(arm.sum()) if bound is None or not np.isfinite(bound) else int(np.floor(-bound + 1e-6))
