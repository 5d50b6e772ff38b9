"""Optimal pairs and full matching: reference optima, brute force and an integer program as oracles."""

from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matching_reference import LALONDE, case, data
from scipy.optimize import Bounds, LinearConstraint, milp

from attribution.design.matching import optimal
from attribution.design.matching.optimal import full_sets, optimal_pairs
from attribution.design.propensity import propensity
from attribution.errors import DesignError


def scored():
    frame = data("lalonde")
    return propensity(frame, "treat", LALONDE).probability, frame["treat"].to_numpy() == 1


@pytest.mark.parametrize("dense", [True, False])
def test_optimal_pairs_reference(dense, monkeypatch):
    """scipy's optimum 39.692799 on lalonde, below optmatch's 39.693742; 185 pairs of different men."""
    if not dense:
        monkeypatch.setattr(optimal, "_DENSE", 0)
    p, t = scored()
    left, right = optimal_pairs(t, p)
    exact, theirs = case("optimal_exact_lalonde")["results"], case("optimal1_lalonde")["results"]
    total = np.abs(p[left] - p[right]).sum()
    assert len(left) == exact["n_pairs"] == theirs["n"]["Matched"]["Control"]
    assert total == pytest.approx(exact["total_abs_distance"], rel=1e-9)
    assert total < theirs["total_abs_pair_distance"]
    smd = (p[left].mean() - p[right].mean()) / p[t].std(ddof=1)
    assert smd == pytest.approx(theirs["balance_after"]["distance"]["Std. Mean Diff."], rel=1e-4)
    assert t[left].all()
    assert not t[right].any()
    assert len(set(left)) == len(set(right)) == 185


def brute_pairs(d, ratio):
    """Most pairs, then most treated with a first, a second, ... partner, then least distance: every possibility."""
    best = (0,)
    choices = [[c for k in range(ratio + 1) for c in combinations(np.flatnonzero(np.isfinite(row)), k)] for row in d]
    for taken in product(*choices):
        flat = [j for some in taken for j in some]
        if len(set(flat)) == len(flat):
            total = sum(d[i, j] for i, some in enumerate(taken) for j in some)
            depth = tuple(sum(len(some) > k for some in taken) for k in range(ratio))
            best = max(best, (len(flat), *depth, -round(total, 9)))
    return best


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 100_000), n_t=st.integers(1, 4), n_c=st.integers(1, 5), ratio=st.integers(1, 2),
    width=st.sampled_from([np.inf, 0.3, 1.0]), dims=st.sampled_from([1, 2]), dense=st.booleans(), anti=st.booleans(),
)  # fmt: skip
def test_optimal_pairs_equal_brute_force(seed, n_t, n_c, ratio, width, dims, dense, anti):
    rng = np.random.default_rng(seed)
    points = np.round(rng.normal(size=(n_t + n_c, dims)), 1)
    t = rng.permutation(np.arange(n_t + n_c) < n_t)
    cell, town = rng.integers(0, 2, n_t + n_c), rng.integers(0, 3, n_t + n_c)
    with pytest.MonkeyPatch.context() as patch:
        if not dense:
            patch.setattr(optimal, "_DENSE", -1)
        left, right = optimal_pairs(t, points[:, 0] if dims == 1 else points, ratio=ratio, width=width, cell=cell,
                                    allowed=(lambda i, j: town[i] != town[j]) if anti else None)  # fmt: skip
    d = np.linalg.norm(points[t][:, None] - points[~t], axis=2)
    d[(d > width) | (cell[t][:, None] != cell[~t])] = np.inf
    if anti:
        d[town[t][:, None] == town[~t]] = np.inf
    assert len(set(right)) == len(right)
    where = np.full(len(t), -1)
    where[t], where[~t] = np.arange(n_t), np.arange(n_c)
    found = d[where[left], where[right]]
    assert np.isfinite(found).all()
    depth = np.bincount(where[left], minlength=n_t)
    ours = (len(left), *[int((depth > k).sum()) for k in range(ratio)], -round(float(found.sum()), 9))
    expected = brute_pairs(d, ratio)
    assert ours == (expected if len(expected) > 1 else (0,) * (ratio + 1) + (0.0,))


def full_oracle(d, least=1, most=np.inf, shared=np.inf):
    """(units left out, distance) by Hansen and Klopfer's program in whole edges; None where there are no such sets."""
    n, m = d.shape
    ends = np.zeros((n + m, n * m + n + m))
    for e, (i, j) in enumerate(product(range(n), range(m))):
        ends[[i, n + j], e] = 1
    ends[np.arange(n + m), n * m + np.arange(n + m)] = 1  # a unit may stay out
    low, high = np.r_[np.full(n, least), np.ones(m)], np.r_[np.full(n, most), np.full(m, shared)]
    cost = np.r_[np.where(np.isfinite(d), d, 0.0).ravel(), np.full(n + m, 1e3)]
    top = np.r_[np.isfinite(d).ravel().astype(float), np.full(n, float(least == 1)), np.ones(m)]
    edges = np.hstack([ends[:, : n * m], np.zeros((n + m, n + m))])
    constraints = [LinearConstraint(ends, low, np.inf), LinearConstraint(edges, 0, high)]
    found = milp(cost, integrality=np.ones(len(cost)), bounds=Bounds(0, top), constraints=constraints)
    if found.status != 0:
        return None
    out = int(np.round(found.x[n * m :]).sum())
    return out, found.fun - 1e3 * out


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 100_000), n_t=st.integers(1, 6), n_c=st.integers(1, 8), digits=st.sampled_from([0, 1, 6]))
def test_full_sets_are_optimal_stars(seed, n_t, n_c, digits):
    rng = np.random.default_rng(seed)
    score, t = np.round(rng.normal(size=n_t + n_c), digits), rng.permutation(np.arange(n_t + n_c) < n_t)
    left, right = full_sets(t, score)
    assert set(left) | set(right) == set(range(n_t + n_c))
    degree = np.bincount(np.r_[left, right])
    assert ((degree[left] == 1) | (degree[right] == 1)).all()
    d = np.abs(score[t][:, None] - score[~t])
    assert full_oracle(d)[0] == 0
    assert np.abs(score[left] - score[right]).sum() == pytest.approx(full_oracle(d)[1], abs=1e-7)


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 100_000), n_t=st.integers(1, 6), n_c=st.integers(1, 8), dims=st.integers(1, 3),
       digits=st.sampled_from([0, 6]), width=st.sampled_from([np.inf, 1.2]), barred=st.booleans())  # fmt: skip
def test_full_sets_of_points_are_optimal_stars(seed, n_t, n_c, dims, digits, width, barred):
    """Several covariates, a caliper on the distance, pairs that may not be made: whoever can be is in a set."""
    rng = np.random.default_rng(seed)
    place, t = np.round(rng.normal(size=(n_t + n_c, dims)), digits), rng.permutation(np.arange(n_t + n_c) < n_t)
    kind = rng.integers(0, 3, n_t + n_c)
    rule = (lambda i, j: kind[i] != kind[j]) if barred else None
    left, right = full_sets(t, place, width=width, allowed=rule)
    every = np.sqrt(((place[:, None] - place) ** 2).sum(axis=2))
    d = every[t][:, ~t].copy()
    d[(d > width) | (barred & (kind[t][:, None] == kind[~t]))] = np.inf
    d = d[np.isfinite(d).any(axis=1)][:, np.isfinite(d).any(axis=0)]
    assert len(set(left) | set(right)) == sum(d.shape)
    if not d.size:
        return
    degree = np.bincount(np.r_[left, right], minlength=len(t))
    assert ((degree[left] == 1) | (degree[right] == 1)).all()
    assert not barred or (kind[left] != kind[right]).all()
    assert every[left, right].sum() == pytest.approx(full_oracle(d)[1], abs=1e-6)


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 100_000), n_t=st.integers(1, 6), n_c=st.integers(1, 8), width=st.sampled_from([np.inf, 0.7]),
    ratio=st.sampled_from([(1, 1), (1, 2), (1, 3), (1 / 2, 1), (1 / 2, 2), (1 / 3, 1), (2, 3), (2, 2), (1 / 8, 8)]),
    assign=st.booleans(),
)  # fmt: skip
def test_full_sets_with_limits(seed, n_t, n_c, width, ratio, assign):
    rng = np.random.default_rng(seed)
    score, t = rng.normal(size=n_t + n_c).round(2), rng.permutation(np.arange(n_t + n_c) < n_t)
    least, most, shared = max(ratio[0], 1), ratio[1], round(max(1 / ratio[0], 1))
    d = np.abs(score[t][:, None] - score[~t])
    d[d > width] = np.inf
    able = np.isfinite(d).sum(axis=1) >= least
    d = d[able][:, np.isfinite(d[able]).any(axis=0)]
    expected = full_oracle(d, least, most, shared) if d.size else (0, 0.0)
    with pytest.MonkeyPatch.context() as patch:
        if not assign:  # by the linear program alone
            patch.setattr(optimal, "_DENSE", -1)
        try:
            left, right = full_sets(t, score, ratio=ratio, width=width)
        except DesignError:
            assert expected is None
            return
    n_left, n_right = np.bincount(left, minlength=len(t)), np.bincount(right, minlength=len(t))
    assert (n_left <= most).all()
    assert (n_right <= shared).all()
    assert ((n_left[left] == 1) | (n_right[right] == 1)).all()
    assert (n_left[left] >= least).all()
    assert sum(d.shape) - len(set(left) | set(right)) == expected[0]
    distance = np.abs(score[left] - score[right])
    assert (distance <= width).all()
    assert distance.sum() == pytest.approx(expected[1], abs=1e-6)


def test_full_sets_share_equals_in_turn():
    """2 treated and 6 comparison units of one score: two sets of four, not one of seven and a leftover."""
    for place in (np.zeros(8), np.zeros((8, 2))):
        left, right = full_sets(np.arange(8) < 2, place)
        assert np.bincount(left).tolist() == [3, 3]
        assert len(set(right)) == 6


def test_full_sets_with_caliper_and_cells():
    score = np.array([0.0, 0.1, 5.0, 0.05, 5.2, 9.0])
    t = np.array([True, False, True, False, False, False])
    left, right = full_sets(t, score, width=0.3)
    assert sorted(zip(left, right, strict=True)) == [(0, 1), (0, 3), (2, 4)]
    left, right = full_sets(t, score, cell=np.array([0, 0, 1, 1, 2, 1]))
    assert sorted(zip(left, right, strict=True)) == [(0, 1), (2, 3), (2, 5)]


def test_full_sets_at_fifty_thousand(monkeypatch):
    """Solved in stretches or all at once: the same total, everybody in a set."""
    rng = np.random.default_rng(0)
    t, score = rng.random(50_000) < 0.1, rng.normal(size=50_000)
    left, right = full_sets(t, score)
    assert len(np.union1d(left, right)) == 50_000
    monkeypatch.setattr(optimal, "_STRETCH", 10**9)
    whole = full_sets(t, score)
    assert np.abs(score[left] - score[right]).sum() == pytest.approx(np.abs(score[whole[0]] - score[whole[1]]).sum())


def test_too_many_pairs_are_refused():
    with pytest.raises(DesignError, match="narrow the caliper"):
        optimal_pairs(np.arange(60_000) < 30_000, np.zeros(60_000))
    with pytest.raises(DesignError, match="narrow the caliper"):
        optimal_pairs(np.arange(60_000) < 30_000, np.zeros(60_000), width=1.0)
