"""Optimal pairs, full matching, cardinality: reference optima, brute force and an integer program as oracles."""

from itertools import combinations, product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matching_reference import LALONDE, case, data, school
from scipy.optimize import Bounds, LinearConstraint, milp

from attribution.design import optimal
from attribution.design.balance import balance
from attribution.design.optimal import cardinality_match, full_sets, optimal_pairs
from attribution.design.propensity import propensity
from attribution.errors import DesignError
from attribution.estimate.att import att


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
    """Hansen and Klopfer's program with integer edges; everyone must belong to a set."""
    n, m = d.shape
    ends = np.zeros((n + m, n * m))
    for e, (i, j) in enumerate(product(range(n), range(m))):
        ends[[i, n + j], e] = 1
    low, high = np.r_[np.full(n, least), np.ones(m)], np.r_[np.full(n, most), np.full(m, shared)]
    cost = np.where(np.isfinite(d), d, 1e6).ravel()
    found = milp(cost, integrality=np.ones(n * m), bounds=Bounds(0, 1), constraints=LinearConstraint(ends, low, high))
    return found.fun if found.status == 0 else None


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
    assert np.abs(score[left] - score[right]).sum() == pytest.approx(full_oracle(d), abs=1e-7)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 100_000), n_t=st.integers(1, 5), n_c=st.integers(2, 8),
    ratio=st.sampled_from([(1, 2), (1, 3), (1 / 2, 2), (1 / 3, 1), (2, 3), (1, 8)]),
)  # fmt: skip
def test_full_sets_with_limits(seed, n_t, n_c, ratio):
    rng = np.random.default_rng(seed)
    score, t = rng.normal(size=n_t + n_c).round(2), rng.permutation(np.arange(n_t + n_c) < n_t)
    least, most, shared = max(ratio[0], 1), ratio[1], round(max(1 / ratio[0], 1))
    expected = full_oracle(np.abs(score[t][:, None] - score[~t]), least, most, shared)
    try:
        left, right = full_sets(t, score, ratio=ratio)
    except DesignError:
        assert expected is None
        return
    n_left, n_right = np.bincount(left, minlength=len(t)), np.bincount(right, minlength=len(t))
    assert (n_left <= most).all()
    assert (n_right <= shared).all()
    assert ((n_left[left] == 1) | (n_right[right] == 1)).all()
    assert least == 1 or (n_left[t] >= least).all()
    if expected is not None:  # everybody can be in a set, so everybody is
        assert set(left) | set(right) == set(range(len(t)))
        assert np.abs(score[left] - score[right]).sum() == pytest.approx(expected, abs=1e-6)


def test_full_sets_share_equals_in_turn():
    """2 treated and 6 comparison units of one score: two sets of four, not one of seven and a leftover."""
    left, right = full_sets(np.arange(8) < 2, np.zeros(8))
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


def test_cardinality_reference():
    """118 and 118 men with every difference within 0.05 SD, as MatchIt with Symphony; proven largest."""
    found, frame = case("cardinality_lalonde")["results"], data("lalonde")
    design = cardinality_match(frame, "treat", covariates=LALONDE)
    table = design.tidy().set_index("sample")
    names = {"all": "All", "matched": "Matched", "unmatched": "Unmatched", "effective": "Matched (ESS)"}
    for ours, theirs in names.items():
        assert table.loc[ours].tolist() == [found["n"][theirs]["Treated"], found["n"][theirs]["Control"]]
    assert design.matched[design.treated].sum() == found["optimum_n_treated"]
    after = balance(design).table.query("sample == 'after'")
    assert len(after) == 9
    assert (after["smd"].abs() <= 0.05).all()
    assert design.spec["largest_smd"] == pytest.approx(after["smd"].abs().max())
    assert design.estimand == "ATT on the treated of the largest balanced sample (118 of 185)"
    assert att(design, "re78", vcov="HC1").std_error[0] == pytest.approx(att(design, "re78").std_error[0])


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), ratio=st.integers(1, 2), tol=st.sampled_from([0.0, 0.1, 0.5]))
def test_cardinality_equals_brute_force(seed, ratio, tol):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"x": rng.integers(0, 4, 11), "b": rng.integers(0, 2, 11)})
    frame["t"] = rng.permutation([1] * 4 + [0] * 7)
    t = frame["t"].to_numpy() == 1
    x = frame[["x", "b"]].to_numpy(float)
    p = x[:, 1]
    sd = [x[t, 0].std(ddof=1) or np.sqrt((x[t, 0].var(ddof=1) + x[~t, 0].var(ddof=1)) / 2) or 1.0,
          np.sqrt(p[t].var() or (p[t].var() + p[~t].var()) / 2) or 1.0]  # fmt: skip
    if np.isin(x[:, 0], (0, 1)).all():
        return
    best = 0
    for k in range(1, 5):
        for some in combinations(np.flatnonzero(t), k):
            for others in combinations(np.flatnonzero(~t), k * ratio) if k * ratio <= 7 else ():
                gap = np.abs(x[list(some)].mean(axis=0) - x[list(others)].mean(axis=0)) / sd
                best = max(best, k * bool((gap <= tol + 1e-9).all()))
    try:
        design = cardinality_match(frame, "t", covariates=["x", "b"], tols=tol, ratio=ratio)
    except DesignError as error:
        assert "in a balanced sample" in str(error)
        assert best == 0
        return
    assert design.matched[t].sum() == best
    assert design.matched[~t].sum() == best * ratio


def test_cardinality_does_not_see_the_order_of_rows_or_the_outcome():
    frame = school(200)
    other = frame.sample(frac=1, random_state=1).assign(y=0.0)
    a, b = (cardinality_match(units, "treated", covariates=["x", "b"], tols={"x": 0.01, "b": 0.1}, key="key")
            for units in (frame, other))  # fmt: skip
    assert dict(zip(frame["key"], a.weights, strict=True)) == dict(zip(other["key"], b.weights, strict=True))
    assert a.spec["tols"] == {"x": 0.01, "b": 0.1}


BAD = {
    "tolerance": ({"tols": -0.1}, "tolerances >= 0"),
    "names": ({"tols": {"x": 0.1}}, "a tolerance for every covariate"),
    "ratio": ({"ratio": 500}, "ratio = 500"),
    "none": ({"covariates": []}, "name what must balance"),
    "key": ({"key": "b"}, "one row a key"),
    "time": ({"covariates": ["x", "z", "b"], "tols": 1e-6, "time_limit_s": 0.05}, "proven within 0.05 seconds"),
}


@pytest.mark.parametrize("name", BAD)
def test_cardinality_refuses(name):
    options, words = BAD[name]
    with pytest.raises(DesignError, match=words):
        cardinality_match(school(300), "treated", **{"covariates": ["x", "b"]} | options)
