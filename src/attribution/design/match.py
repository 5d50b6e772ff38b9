"""Nearest-neighbour matching on the propensity, greedy, with caliper and exact-within. Blind to outcomes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ..errors import DesignError
from ..results import Design
from .propensity import propensity, read_treatment, refuse_missing, require_columns, to_pandas

Distance = Literal["logit", "propensity"]


def match(
    units: Any, treatment: str, *, covariates: Sequence[str], distance: Distance = "logit",
    method: Literal["nearest"] = "nearest", ratio: int = 1, replace: bool = False, caliper_sd: float | None = None,
    exact: Sequence[str] = (), key: str | None = None, person: str | None = None,
) -> Design:  # fmt: skip
    """Pair every treated unit with its nearest comparison units: the ATT on the matched treated.

    Estimand : average effect on the treated that find a partner; the name says how many of how many.
    Assumes : given the covariates nobody knew anything more about their outcome when treatment was decided; overlap.
    Estimator : Rosenbaum & Rubin 1985, greedy. Treated units choose in descending propensity the closest unused
        comparison unit; `ratio` k takes k passes. Ties (equal propensity, equal distance) go to the smallest `key`, and
        with a key the answer does not depend on the order of rows; without one they go to the first row.
    Std. errors : `strata` holds the independent groups: the pair, or, with `person`, all pairs sharing a person.
        With replacement each unit is its own group (MatchIt's advice: robust standard errors of the weights).
    Edge cases : units in an exact cell without the other arm are `discarded`, others without partner `unmatched`.
        Comparison weights are the sum of 1/(partners of the treated unit), scaled to the number of matched comparisons.
    Checked : reference/match/nn1_*, nn2_replace_lalonde (MatchIt 4.7.2).

    Parameters
    ----------
    units : table, one row a unit (or a person at a landmark). treatment : its 0/1 column.
    covariates : columns the propensity uses. distance : "logit" (log-odds) or "propensity".
    ratio : comparison units per treated unit, >= 1. replace : may a comparison unit serve several times?
    caliper_sd : largest distance within a pair, in standard deviations (n - 1) of the distance over all units.
    exact : columns on which partners must agree. key : column of unique values that breaks ties.
    person : column naming the person behind a row. A person then serves at most once as comparison over all rows
        (in the order of matching), never for themselves; without replacement only.

    Raises
    ------
    DesignError : missing values, separation, a constant or collinear covariate, bad options, or no pair at all.
    """
    units = to_pandas(units)
    treated = _check(units, treatment, covariates, distance, method, ratio, replace, caliper_sd, exact, key, person)
    n = len(units)
    # Everything below runs in key order, so that not even floating-point sums see the order of rows.
    order = np.arange(n) if key is None else np.argsort(units[key].to_numpy(), kind="stable")
    needed = list(dict.fromkeys([treatment, *covariates, *exact, *([person] if person else [])]))
    rows = units[needed].iloc[order]
    t = treated[order]
    score = propensity(rows, treatment, covariates)
    d = score.logit if distance == "logit" else score.probability
    cell = rows.groupby(list(exact), sort=False, observed=True).ngroup().to_numpy() if exact else np.zeros(n, int)
    who = pd.factorize(rows[person])[0] if person else None
    width = np.inf if caliper_sd is None else caliper_sd * float(np.std(d, ddof=1))

    queue = np.flatnonzero(t)
    queue = queue[np.argsort(-score.logit[queue], kind="stable")]
    pick = _with_replacement if replace else _without_replacement
    left, right = pick(queue, np.flatnonzero(~t), d, cell, width, ratio, who)
    if not len(left):
        raise DesignError(
            "at least one treated unit with a partner", f"none within the caliper ({width:.3g}) and exact cells",
            "widen the caliper, match exactly on less, or report no design", count=len(queue),
        )  # fmt: skip

    weights, groups = np.zeros(n), np.full(n, -1)
    partners = np.bincount(left, minlength=n)
    weights[partners > 0] = 1.0
    pull = np.bincount(right, weights=1.0 / partners[left], minlength=n)
    used = pull > 0
    weights[used] = pull[used] * used.sum() / pull.sum()
    matched = weights > 0
    arms = np.zeros((cell.max() + 1, 2), bool)
    arms[cell, t.astype(int)] = True
    discarded = ~arms[cell].all(axis=1)

    back = np.empty(n, int)
    back[order] = np.arange(n)  # row -> position in key order
    pairs = pd.DataFrame({"treated": order[left], "comparison": order[right], "distance": np.abs(d[left] - d[right])})
    pairs = pairs.iloc[np.lexsort((np.arange(len(pairs)), left))].reset_index(drop=True)
    groups[matched] = _independent(matched, left, right, who, replace)
    covered, total = int((matched & t).sum()), len(queue)
    return Design(
        estimand="ATT" if covered == total else f"ATT on the matched treated ({covered:,} of {total:,})",
        units=units.copy(), treatment=treatment, covariates=tuple(covariates), weights=weights[back], pairs=pairs,
        strata=groups[back], discarded=discarded[back], unmatched=(~matched & ~discarded)[back],
        propensity=score.probability[back], distance=d[back],
        spec={"method": method, "distance": distance, "ratio": ratio, "replace": replace, "caliper_sd": caliper_sd,
              "caliper_width": None if caliper_sd is None else width, "exact": tuple(exact), "key": key,
              "person": person},
        notes=_notes(t, matched, discarded, partners, ratio, exact, caliper_sd),
    )  # fmt: skip


def _check(
    units, treatment, covariates, distance, method, ratio, replace, caliper_sd, exact, key, person
) -> np.ndarray:
    if method != "nearest" or distance not in ("logit", "propensity"):
        raise DesignError('method "nearest" and distance "logit" or "propensity"', f"{method!r}, {distance!r}",
                          "choose one of these")  # fmt: skip
    if int(ratio) != ratio or ratio < 1:
        raise DesignError("ratio >= 1, a whole number", f"ratio = {ratio}", "give partners per treated unit")
    if caliper_sd is not None and not caliper_sd > 0:
        raise DesignError("caliper_sd > 0", f"caliper_sd = {caliper_sd}", "0.2 is common; None for no caliper")
    if person and replace:
        raise DesignError("person= without replacement", "replace=True", "a person serves at most once as comparison")
    columns = [*covariates, *exact, *([key] if key else []), *([person] if person else [])]
    require_columns(units, [treatment, *columns])
    if treatment in columns:
        raise DesignError(
            "covariates other than the treatment", "the treatment itself", "leave it out", column=treatment
        )
    treated = read_treatment(units, treatment)
    labels = units[key].to_numpy() if key else None
    refuse_missing(units, columns, labels)
    if key and units[key].duplicated().any():
        twice = units[key][units[key].duplicated()]
        raise DesignError("one row a key", "the same key again", "give a column that is unique", column=key,
                          count=len(twice), keys=twice.unique().tolist())  # fmt: skip
    n_comparison = int((~treated).sum())
    if ratio > n_comparison:
        raise DesignError("ratio no larger than the pool", f"ratio {ratio}, {n_comparison} comparison units",
                          "lower the ratio")  # fmt: skip
    return treated


def _sorted_pool(pool, d, cell, *, reverse_ties: bool = False):
    """Comparison units by (cell, distance, tie order), the ranks on which cells and distances become one number."""
    tie = -pool if reverse_ties else pool
    pool = pool[np.lexsort((tie, d[pool], cell[pool]))]
    levels, rank = np.unique(d, return_inverse=True)
    code = cell.astype(np.int64) * len(levels) + rank
    return pool, code


def _without_replacement(queue, pool, d, cell, width, ratio, who):
    """Greedy passes with pointers to the next unused neighbour on each side: O(n log n)."""
    pool, code = _sorted_pool(pool, d, cell)
    pool_code = code[pool]
    m = len(pool)
    spot = np.searchsorted(pool_code, code[queue], side="left").tolist()  # first pool unit not below the treated one
    first = np.searchsorted(pool_code, pool_code, side="left").tolist()  # start of each run of ties
    low = np.searchsorted(cell[pool], cell[queue], "left").tolist()
    high = np.searchsorted(cell[pool], cell[queue], "right").tolist()
    value, rank = d[pool].tolist(), pool.tolist()
    above, below = list(range(m + 1)), list(range(-1, m))  # next unused >= i; below[i + 1]: next unused <= i
    same: list[list[int]] = []
    if who is not None:
        same = [[] for _ in range(int(who.max()) + 1)]
        for i, p in enumerate(who[pool].tolist()):
            same[p].append(i)
    person: list[int] = who.tolist() if who is not None else []

    def up(i: int) -> int:
        root = i
        while above[root] != root:
            root = above[root]
        while above[i] != root:
            above[i], i = root, above[i]
        return root

    def down(i: int) -> int:  # i in -1 .. m - 1
        root = i
        while below[root + 1] != root:
            root = below[root + 1]
        while below[i + 1] != root:
            below[i + 1], i = root, below[i + 1]
        return root

    left, right = [], []
    for _ in range(ratio):
        for q, unit in enumerate(queue.tolist()):
            x, start, lo, hi = d[unit], spot[q], low[q], high[q]
            me = person[unit] if person else -1
            b = up(start)
            while me >= 0 and b < hi and person[rank[b]] == me:
                b = up(b + 1)
            a = down(start - 1)
            while a >= lo:
                run = up(first[a])  # first unused of the run of ties
                while me >= 0 and run <= a and person[rank[run]] == me:
                    run = up(run + 1)
                if run <= a:
                    a = run
                    break
                a = down(first[a] - 1)
            gap_a = x - value[a] if a >= lo else np.inf
            gap_b = value[b] - x if b < hi else np.inf
            take = a if gap_a < gap_b or (gap_a == gap_b and gap_a < np.inf and rank[a] < rank[b]) else b
            gap = min(gap_a, gap_b)
            if gap == np.inf or gap > width:
                continue
            left.append(unit)
            right.append(rank[take])
            for i in same[person[rank[take]]] if person else (take,):
                above[i] = i + 1
                below[i + 1] = i - 1
    return np.array(left, int), np.array(right, int)


def _with_replacement(queue, pool, d, cell, width, ratio, who):
    """The `ratio` nearest of each treated unit, all at once: k candidates on each side, ranked by (distance, order)."""
    up_pool, code = _sorted_pool(pool, d, cell)
    down_pool, _ = _sorted_pool(pool, d, cell, reverse_ties=True)
    spot = np.searchsorted(code[up_pool], code[queue], side="left")[:, None]
    steps = np.arange(ratio)
    index = np.hstack([spot + steps, spot - 1 - steps])
    inside = (index >= 0) & (index < len(pool))
    index = np.clip(index, 0, len(pool) - 1)
    candidate = np.where(np.arange(2 * ratio) < ratio, up_pool[index], down_pool[index])
    gap = np.abs(d[candidate] - d[queue][:, None])
    gap[~inside | (cell[candidate] != cell[queue][:, None]) | (gap > width)] = np.inf
    best = np.lexsort((candidate, gap), axis=1)[:, :ratio]
    gap, candidate = np.take_along_axis(gap, best, 1), np.take_along_axis(candidate, best, 1)
    kept = np.isfinite(gap)
    return np.repeat(queue, ratio)[kept.ravel()], candidate[kept]


def _independent(matched, left, right, who, replace) -> np.ndarray:
    """Group numbers of the matched units: linked by a pair, or by being the same person."""
    if replace:
        return np.arange(int(matched.sum()))
    n = len(matched)
    a, b, size = left, right, n
    if who is not None:
        a, b, size = np.concatenate([left, np.arange(n)]), np.concatenate([right, n + who]), n + int(who.max()) + 1
    graph = coo_array((np.ones(len(a), bool), (a, b)), shape=(size, size))
    component = connected_components(graph, directed=False)[1][:n][matched]
    return np.unique(component, return_inverse=True)[1]


def _notes(t, matched, discarded, partners, ratio, exact, caliper_sd) -> tuple[str, ...]:
    notes = []
    lost, out = int((t & ~matched).sum()), int((t & discarded).sum())
    if lost:
        notes.append(f"{lost:,} of {int(t.sum()):,} treated units have no partner ({out:,} of them in an exact cell "
                     "without comparison units): the effect speaks for the others only.")  # fmt: skip
    off = int((~t & discarded).sum())
    if off:
        notes.append(f"{off:,} comparison units stand in an exact cell ({', '.join(exact)}) without treated units.")
    short = int(((partners > 0) & (partners < ratio)).sum())
    if short:
        notes.append(f"{short:,} matched treated units have fewer than {ratio} partners.")
    return tuple(notes)
