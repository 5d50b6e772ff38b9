"""The searches give what looking at everybody gives: nearest neighbours, ties, greedy choices, side conditions."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attribution.design.match import match
from attribution.design.matching.metric import Space, line, space
from attribution.design.matching.nearest import Side, greedy, k_nearest
from attribution.design.matching.neighbours import Pool


def world(seed, n, kind):
    """A space with many duplicates and ties ("grid"), with categories ("mixed"), or in many dimensions ("wide")."""
    rng = np.random.default_rng(seed)
    if kind == "grid":
        return Space(centres=np.zeros((1, 1)), block=np.zeros(n, int), inner=rng.integers(0, 4, (n, 2)).astype(float))
    if kind == "wide":
        return Space(centres=np.zeros((1, 1)), block=np.zeros(n, int), inner=rng.normal(size=(n, 14)))
    centres = rng.integers(0, 3, (5, 2)).astype(float)
    return Space(centres=centres, block=rng.integers(0, 5, n), inner=rng.integers(0, 5, (n, 1)).astype(float))


def conditions(seed, n, calipers, differ):
    rng = np.random.default_rng(seed + 1)
    return Side(calipers=((rng.normal(size=n), 0.7),) if calipers else (),
                differ=(rng.integers(0, 3, n),) if differ else ())  # fmt: skip


CASES = {
    "seed": st.integers(0, 10_000), "n": st.integers(20, 150), "kind": st.sampled_from(["grid", "mixed", "wide"]),
    "calipers": st.booleans(), "differ": st.booleans(), "cells": st.integers(1, 4), "ratio": st.integers(1, 4),
}  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(**CASES, all_ties=st.booleans(), tolerance=st.sampled_from([0.0, 1.0]))
def test_k_nearest(seed, n, kind, calipers, differ, cells, ratio, all_ties, tolerance):
    rng = np.random.default_rng(seed)
    where, side, cell = world(seed, n, kind), conditions(seed, n, calipers, differ), rng.integers(0, cells, n)
    treated = rng.random(n) < 0.4
    queue, pool = np.flatnonzero(treated), np.flatnonzero(~treated)
    left, right, ties = k_nearest(queue, pool, where, cell, side, ratio, all_ties=all_ties,
                                  tolerance=tolerance if all_ties else 0.0)  # fmt: skip
    expected, tied = [], 0
    for q in queue:
        near = [(float(where.squared(q, p)), p) for p in pool if cell[p] == cell[q] and side.allows(q, p)]
        near.sort()
        if len(near) < ratio or not all_ties:
            expected += [(q, p) for _, p in near[:ratio]]
            tied += not all_ties and len(near) > ratio and near[ratio][0] <= near[ratio - 1][0] * (1 + 1e-12)
        else:
            chosen = [(q, p) for d, p in near if d <= near[ratio - 1][0] * (1 + 1e-12) + tolerance]
            expected += chosen
            tied += len(chosen) > ratio
    assert sorted(zip(left.tolist(), right.tolist(), strict=True)) == sorted(expected)
    assert ties == tied


@settings(max_examples=80, deadline=None)
@given(**CASES, people=st.booleans())
def test_greedy(seed, n, kind, calipers, differ, cells, ratio, people):
    rng = np.random.default_rng(seed)
    where, side, cell = world(seed, n, kind), conditions(seed, n, calipers, differ), rng.integers(0, cells, n)
    who = rng.integers(0, max(2, n // 2), n) if people else None
    treated = rng.random(n) < 0.5  # many compete for few, so that candidates run out
    queue, pool = rng.permutation(np.flatnonzero(treated)), np.flatnonzero(~treated)
    left, right, _ = greedy(queue, pool, where, cell, side, ratio, who)
    free, expected = set(pool.tolist()), []
    for _ in range(ratio):
        for q in queue.tolist():
            near = [(float(where.squared(q, p)), p) for p in free if cell[p] == cell[q] and side.allows(q, p)
                    and (who is None or who[p] != who[q])]  # fmt: skip
            if near:
                p = min(near)[1]
                expected.append((q, p))
                free -= {p} if who is None else {f for f in free if who[f] == who[p]}
    assert list(zip(left.tolist(), right.tolist(), strict=True)) == expected


def test_greedy_with_more_than_the_candidates(monkeypatch):
    """Half the pool gone: the search is made anew; all candidates gone: everyone left is looked at."""
    rng = np.random.default_rng(0)
    where = line(np.concatenate([rng.normal(size=300), np.full(60, 0.1), rng.normal(3.0, 1.0, 340)]))
    queue, pool = np.arange(300, 360), np.concatenate([np.arange(300), np.arange(360, 700)])
    left, right, _ = greedy(queue, pool, where, np.zeros(700, int), Side(), 1, None)
    gap = np.abs(where.inner[pool, 0] - where.inner[300, 0])
    assert right.tolist() == pool[np.argsort(gap, kind="stable")][:60].tolist()
    assert left.tolist() == queue.tolist()


def test_too_many_ties_are_refused(monkeypatch):
    from attribution.design.matching import nearest
    from attribution.errors import DesignError

    monkeypatch.setattr(nearest, "_PAIRS", 1000)
    where = line(np.arange(200) % 2 * 1.0)
    with pytest.raises(DesignError, match="pairs that fit in memory"):
        k_nearest(np.arange(100), np.arange(100, 200), where, np.zeros(200, int), Side(), 1, all_ties=True,
                  tolerance=0.0)  # fmt: skip


def table(n=300, seed=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame({"a": rng.normal(size=n), "b": rng.exponential(size=n), "c": rng.choice(list("xyz"), n),
                         "d": rng.integers(0, 2, n).astype(bool)})  # fmt: skip


def test_ranks_of_many_levels_have_no_inverse():
    """More levels than are kept apart: their ranks fix each other, and the distance is that of the pseudo-inverse."""
    rng = np.random.default_rng(3)
    frame = pd.DataFrame({"town": rng.choice([f"t{i:02d}" for i in range(90)], 400), "a": rng.normal(size=400)})
    found = space(frame, ["town", "a"], np.arange(400) % 3 == 0, "robust_mahalanobis")
    x = np.column_stack([*(frame["town"] == town for town in sorted(set(frame["town"]))), frame["a"]]).astype(float)
    x = pd.DataFrame(x).rank().to_numpy()
    s = np.cov(x, rowvar=False)
    scale = np.std(np.arange(1, 401), ddof=1) / np.sqrt(np.diag(s))
    w = np.linalg.pinv(s * np.outer(scale, scale), rcond=1e-10, hermitian=True)
    i, j = np.meshgrid(np.arange(40), np.arange(40, 400), indexing="ij")
    step = x[i] - x[j]
    assert found.squared(i, j) == pytest.approx(np.einsum("ijk,kl,ijl->ij", step, w, step), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("distance", ["mahalanobis", "mahalanobis_total", "robust_mahalanobis", "scaled_euclidean"])
def test_space_is_the_quadratic_form(distance):
    """Categories apart and the square completed: the same distance as x' W x on one 0/1 column a level."""
    frame = table()
    treated = np.arange(300) % 3 == 0
    found = space(frame, ["a", "c", "b", "d"], treated, distance)
    x = np.column_stack([frame["a"], *(frame["c"] == level for level in "xyz"), frame["b"], frame["d"]]).astype(float)
    if distance.startswith("mahalanobis"):
        x = np.delete(x, 2, axis=1)  # another base level than ours: the distance does not care
    if distance == "robust_mahalanobis":
        x = pd.DataFrame(x).rank().to_numpy()
    if distance == "mahalanobis":
        s = sum(np.cov(x[arm], rowvar=False) * (arm.sum() - 1) for arm in (treated, ~treated)) / 298
    else:
        s = np.cov(x, rowvar=False)
    if distance == "robust_mahalanobis":
        scale = np.std(np.arange(1, 301), ddof=1) / np.sqrt(np.diag(s))
        w = np.linalg.pinv(s * np.outer(scale, scale), rcond=1e-10)
    else:
        w = np.diag(1 / np.diag(s)) if distance == "scaled_euclidean" else np.linalg.inv(s)
    i, j = np.meshgrid(np.arange(40), np.arange(40, 300), indexing="ij")
    step = x[i] - x[j]
    assert found.squared(i, j) == pytest.approx(np.einsum("ijk,kl,ijl->ij", step, w, step), rel=1e-8)
    assert len(found.centres) == 6  # 3 levels x 2


def test_search_over_many_combinations():
    frame = table(4000).assign(e=lambda f: np.arange(4000) % 7, f=lambda f: f["a"].round(0))
    where = space(frame, list(frame), np.arange(4000) % 2 == 0, "mahalanobis")
    pool, left = np.arange(1000, 4000), np.arange(200)
    near, far = Pool(where, pool).query(left, 5)
    everybody = np.sort(where.squared(left[:, None], pool), axis=1)[:, :5]
    assert far == pytest.approx(everybody, rel=1e-9)
    assert where.squared(left[:, None], near) == pytest.approx(far)


@pytest.mark.parametrize("replace", [True, False])
@pytest.mark.parametrize("unit", [1.0, 1e-3, 1e9])
def test_a_tie_up_to_rounding_goes_to_the_smaller_key_in_any_unit(replace, unit):
    """Two years older or two years younger is equally near; the last digit, which the unit decides, may not choose."""
    rng = np.random.default_rng(5)
    age = np.array([21, 40, 19, 23, 41, 39, *rng.integers(18, 60, 34)])
    frame = pd.DataFrame({"age": age, "money": np.round(rng.gamma(2, 3, 40), 2) * unit,
                          "treat": [1, 1, 0, 0, 0, 0, *[0] * 17, *[1] * 17], "key": np.arange(40)})  # fmt: skip
    frame.loc[:5, "money"] = 0.0
    for flip in (False, True):  # the other of the two has the smaller key
        units = frame.assign(key=np.where(flip, 40 - frame["key"], frame["key"]))
        keys = units["key"].to_numpy()
        design = match(units, "treat", covariates=["age", "money"], distance="mahalanobis", replace=replace, key="key")
        if replace:
            chosen = design.pairs.set_index("treated")["comparison"]
            assert keys[chosen[0]] == min(keys[2], keys[3])
            assert keys[chosen[1]] == min(keys[4], keys[5])
        else:
            plain = match(units.assign(money=units["money"] / unit), "treat", covariates=["age", "money"],
                          distance="mahalanobis", key="key")  # fmt: skip
            columns = ["treated", "comparison"]
            pd.testing.assert_frame_equal(design.pairs[columns], plain.pairs[columns])
