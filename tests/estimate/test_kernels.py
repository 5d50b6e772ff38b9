"""The 2x2 kernels against stacked estimating equations and derivatives in the weights; what they refuse."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from estimate.did_oracle import did_2x2, did_2x2_rc
from hypothesis import given, settings
from hypothesis import strategies as st

from attribution.estimate.kernels import (
    METHODS,
    REPEATED_METHODS,
    CannotEstimate,
    two_by_two,
    two_by_two_rc,
    varying,
)
from attribution.estimate.kernels.propensity import probability

IMPROVED_RC = ("dr_imp", "dr_imp_rc1")


def sample(n=300, seed=0, k=1):
    """x (n, 4) with intercept, treated, post, weight, y (n, k): overlap is good, trends move with x."""
    r = np.random.default_rng(seed)
    x = np.column_stack([np.ones(n), r.normal(size=(n, 2)), r.integers(0, 2, n)])
    treated, post = r.random(n) < 1 / (1 + np.exp(0.5 - 0.5 * x[:, 1] - 0.3 * x[:, 3])), r.random(n) < 0.6
    y = r.normal(size=(n, k)) + x[:, [1]] + post[:, None] * (0.5 + 0.3 * x[:, [2]]) + (treated & post)[:, None]
    return x, treated, post, r.uniform(0.5, 2, n), y + 3


def influence(got, x, y, w, *rows):
    alpha, gamma = got.score(x, *rows)
    return w[:, None] * (alpha[:, None] * y + gamma)


# -- by hand --


@pytest.mark.parametrize("method", METHODS)
def test_panel_by_hand(method):
    """Changes: treated 3, 5; comparison 1, 2, 3. ATT 4 - 2 = 2; variance (1+1)/4 + (1+0+1)/9 = 13/18."""
    treated, change = np.array([True, True, False, False, False]), np.array([[3.0], [5], [1], [2], [3]])
    x, w = np.ones((5, 1)), np.ones(5)
    got = two_by_two(method, x, treated, w, change)
    assert got.estimate[0] == pytest.approx(2)
    assert (influence(got, x, change, w, treated) ** 2).sum() == pytest.approx(13 / 18)


@pytest.mark.parametrize("method", REPEATED_METHODS)
def test_cross_sections_by_hand(method):
    """Means 2 -> 7 and 3 -> 4: ATT 5 - 1 = 4. Each mean of two has variance 2/4; Abadie's moves with the groups too."""
    treated, post = np.repeat([True, False], 4), np.tile([False, False, True, True], 2)
    y, x, w = np.array([[1.0], [3], [6], [8], [2], [4], [3], [5]]), np.ones((8, 1)), np.ones(8)
    got = two_by_two_rc(method, x, treated, post, w, y)
    assert got.estimate[0] == pytest.approx(4)
    variance = (influence(got, x, y, w, treated, post) ** 2).sum()
    assert variance == pytest.approx(2) if method != "ipw_ht" else variance > 2


# -- against the slow version --


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("weighted", [False, True])
def test_panel_equals_estimating_equations(method, weighted):
    x, treated, _, w, y = sample(seed=3, k=2)
    w = w if weighted else np.ones(len(w))
    got = two_by_two(method, x, treated, w, w[:, None] * y)
    scores = influence(got, x, y, w, treated)
    for k in (0, 1):
        estimate, rows = did_2x2(method, x, treated.astype(float), w, y[:, k])
        assert got.estimate[k] == pytest.approx(estimate, rel=1e-9)
        np.testing.assert_allclose(scores[:, k], rows, rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("method", [method for method in REPEATED_METHODS if method != "twfe"])
@pytest.mark.parametrize("weighted", [False, True])
def test_cross_sections_equal_estimating_equations(method, weighted):
    x, treated, post, w, y = sample(seed=4, k=2)
    w = w if weighted else np.ones(len(w))
    got = two_by_two_rc(method, x, treated, post, w, w[:, None] * y)
    scores = influence(got, x, y, w, treated, post)
    for k in (0, 1):
        estimate, rows = did_2x2_rc(method, x, treated.astype(float), post.astype(float), w, y[:, k],
                                    nuisances_known=method in IMPROVED_RC)  # fmt: skip
        assert got.estimate[k] == pytest.approx(estimate, rel=1e-9)
        np.testing.assert_allclose(scores[:, k], rows, rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("method", IMPROVED_RC)
def test_improved_cross_sections_owe_the_first_stages_nothing(method):
    """Sampling is stationary here, so the estimated first stages move the standard error by next to nothing."""
    x, treated, post, w, y = sample(n=4_000, seed=5)
    d, t = treated.astype(float), post.astype(float)
    known, estimated = (did_2x2_rc(method, x, d, t, w, y[:, 0], nuisances_known=known)[1] for known in (True, False))
    assert (known**2).sum() == pytest.approx((estimated**2).sum(), rel=0.02)


@pytest.mark.parametrize("method", [method for method in REPEATED_METHODS if method not in IMPROVED_RC])
def test_influence_is_the_derivative_in_the_weight(method):
    """No formula at all: move a unit's weight by 1e-5 and see what the estimate does. The sign of every term shows."""
    x, treated, post, w, y = sample(n=120, seed=6)
    got = influence(two_by_two_rc(method, x, treated, post, w, w[:, None] * y), x, y, w, treated, post)[:, 0]

    def estimate(moved):
        return two_by_two_rc(method, x, treated, post, moved, moved[:, None] * y).estimate[0]

    for i in range(0, 120, 6):
        up, down = w.copy(), w.copy()
        up[i], down[i] = w[i] * (1 + 1e-5), w[i] * (1 - 1e-5)
        assert got[i] == pytest.approx((estimate(up) - estimate(down)) / 2e-5, rel=1e-4, abs=1e-8)


# -- cells and blocks --


def cells(x, y, w, *groups):
    """Units that share everything but y become their sums."""
    key = pd.DataFrame(np.column_stack([x, *groups])).groupby(list(range(x.shape[1] + len(groups)))).ngroup().to_numpy()
    first = np.unique(key, return_index=True)[1]
    return first, np.bincount(key, w), np.column_stack([np.bincount(key, w * column) for column in y.T])


@pytest.mark.parametrize("method", METHODS)
def test_cells_give_what_units_give(method):
    x, treated, _, w, y = sample(seed=7, k=3)
    x = np.round(x)
    units = two_by_two(method, x, treated, w, w[:, None] * y)
    first, weight, total = cells(x, y, w, treated)
    compressed = two_by_two(method, x[first], treated[first], weight, total)
    np.testing.assert_allclose(compressed.estimate, units.estimate, rtol=1e-9)
    np.testing.assert_allclose(influence(compressed, x, y, w, treated), influence(units, x, y, w, treated), rtol=1e-7,
                               atol=1e-12)  # fmt: skip


@pytest.mark.parametrize("method", REPEATED_METHODS)
def test_cells_of_cross_sections_give_what_units_give(method):
    x, treated, post, w, y = sample(seed=8, k=2)
    x = np.round(x)
    units = two_by_two_rc(method, x, treated, post, w, w[:, None] * y)
    first, weight, total = cells(x, y, w, treated, post)
    compressed = two_by_two_rc(method, x[first], treated[first], post[first], weight, total)
    np.testing.assert_allclose(compressed.estimate, units.estimate, rtol=1e-9)
    np.testing.assert_allclose(influence(compressed, x, y, w, treated, post), influence(units, x, y, w, treated, post),
                               rtol=1e-7, atol=1e-12)  # fmt: skip


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(METHODS), st.integers(1, 299))
def test_blocks_of_rows_give_the_same_values_which_sum_to_zero(seed, method, cut):
    x, treated, post, w, y = sample(seed=seed)
    got, repeated = two_by_two(method, x, treated, w, w[:, None] * y), two_by_two_rc(method, x, treated, post, w,
                                                                                     w[:, None] * y)  # fmt: skip
    whole, late = influence(got, x, y, w, treated), influence(repeated, x, y, w, treated, post)
    parts = [influence(got, x[r], y[r], w[r], treated[r]) for r in (slice(0, cut), slice(cut, None))]
    np.testing.assert_allclose(np.vstack(parts), whole, rtol=1e-10, atol=1e-14)
    assert abs(whole.sum()) < 1e-9 and abs(late.sum()) < 1e-9


def test_many_blocks_and_a_warm_start():
    """More rows than one block; the start of the propensity changes nothing but the last digits."""
    x, treated, _, w, y = sample(n=40_000, seed=9)
    cold = two_by_two("dr", x, treated, w, w[:, None] * y)
    warm = two_by_two("dr", x, treated, w, w[:, None] * y, start=cold.propensity + 0.3)
    assert warm.estimate[0] == pytest.approx(cold.estimate[0], rel=1e-10)
    small = two_by_two("dr", *(np.tile(part, (4, 1)[: part.ndim]) for part in
                               (x[:9_000], treated[:9_000], w[:9_000], w[:9_000, None] * y[:9_000])))  # fmt: skip
    once = two_by_two("dr", x[:9_000], treated[:9_000], w[:9_000], w[:9_000, None] * y[:9_000])
    assert small.estimate[0] == pytest.approx(once.estimate[0], rel=1e-9)


def test_inputs_are_never_changed():
    x, treated, post, w, y = sample()
    before = [part.copy() for part in (x, treated, post, w, y)]
    for method in REPEATED_METHODS:
        two_by_two_rc(method, x, treated, post, w, y).score(x, treated, post)
    for method in METHODS:
        two_by_two(method, x, treated, w, y).score(x, treated)
    for part, was in zip((x, treated, post, w, y), before, strict=True):
        np.testing.assert_array_equal(part, was)


# -- what the improved estimator promises --


def test_tilting_gives_the_comparison_units_the_treated_means():
    x, treated, _, w, y = sample(seed=10)
    got = two_by_two("dr_imp", x, treated, w, w[:, None] * y)
    p = probability(x, got.propensity)
    a = w * np.where(treated, 0, p / (1 - p))
    np.testing.assert_allclose(a @ x, (w * treated) @ x, rtol=1e-10)


def test_only_abadie_moves_with_the_level():
    x, treated, post, w, y = sample(seed=11)
    for method in METHODS:
        one, other = (two_by_two(method, x, treated, w, w[:, None] * (y + c)).estimate[0] for c in (0, 100))
        assert (one == pytest.approx(other, rel=1e-8)) == (method != "ipw_ht")


@pytest.mark.parametrize("method", ["dr", "ipw", "ipw_ht"])
def test_comparison_units_that_are_almost_surely_treated_leave(method):
    """One comparison unit among 250 (p = 0.996) leaves; 50 of 100 (p = 0.5) stay, with their odds of one."""
    x = np.column_stack([np.ones(350), np.repeat([1.0, 0.0], [250, 100])])
    treated = np.r_[np.ones(249, bool), False, np.tile([True, False], 50)]
    y, w = np.random.default_rng(0).normal(size=(350, 1)) + x[:, [1]], np.ones(350)
    got = two_by_two(method, x, treated, w, y)
    stay = ~treated & (x[:, 1] == 0)
    if method == "ipw":
        assert got.estimate[0] == pytest.approx(y[treated].mean() - y[stay].mean(), rel=1e-9)
    if method == "ipw_ht":
        assert got.estimate[0] == pytest.approx(y[treated].mean() - y[stay].sum() / 299, rel=1e-9)
    scores = influence(got, x, y, w, treated)[:, 0]

    def estimate(moved):
        return two_by_two(method, x, treated, moved, moved[:, None] * y).estimate[0]

    for i in (0, 249, 250, 251):
        step = np.zeros(350)
        step[i] = 1e-5
        assert scores[i] == pytest.approx((estimate(w + step) - estimate(w - step)) / 2e-5, rel=1e-4, abs=1e-8)


# -- recovery --


@pytest.mark.parametrize("repeated", [False, True])
def test_recovery(repeated):
    """True effect 1; trends move with x, so does treatment: bias below a quarter SE, 95 % intervals cover."""
    methods = [m for m in (REPEATED_METHODS if repeated else METHODS) if m != "twfe"]
    estimates, errors = np.empty((100, len(methods))), np.empty((100, len(methods)))
    for seed in range(100):
        x, treated, post, w, y = sample(n=500, seed=1_000 + seed)
        w = np.ones(500)
        if not repeated:
            r = np.random.default_rng(seed)
            y = r.normal(size=(500, 1)) + 0.5 * x[:, [1]] + 0.3 * x[:, [2]] + treated[:, None]
        for j, method in enumerate(methods):
            rows = (treated, post) if repeated else (treated,)
            got = (two_by_two_rc if repeated else two_by_two)(method, x, *rows, w, y)
            estimates[seed, j] = got.estimate[0]
            errors[seed, j] = np.sqrt((influence(got, x, y, w, *rows) ** 2).sum())
    bias = np.abs(estimates.mean(axis=0) - 1) / errors.mean(axis=0)
    coverage = (np.abs(estimates - 1) < 1.96 * errors).mean(axis=0)
    assert bias.max() < 0.3 and coverage.min() >= 0.88 and coverage.max() <= 1
    np.testing.assert_array_less(np.abs(errors.mean(axis=0) / estimates.std(axis=0) - 1), 0.2)


# -- what has no answer --


def refusal(method, x, treated, post=None):
    w, y = np.ones(len(x)), np.arange(len(x), dtype=float)[:, None]
    with pytest.raises(CannotEstimate) as caught:
        if post is None:
            two_by_two(method, x, treated, w, y)
        else:
            two_by_two_rc(method, x, treated, post, w, y)
    return caught.value.code, list(caught.value.columns)


@pytest.mark.parametrize("method", METHODS)
def test_a_collinear_column_is_named(method):
    x, treated, post, *_ = sample()
    x = np.column_stack([x, 1e5 * (x[:, 1] + x[:, 2])])
    for code, columns in (refusal(method, x, treated), refusal(method, x, treated, post)):
        assert code.startswith("collinear covariates") and columns == [4]


def test_columns_collinear_in_one_period_alone_are_named():
    x, treated, post, *_ = sample()
    x[post & ~treated, 3] = 1
    code, columns = refusal("reg", x, treated, post)
    assert code == "collinear covariates among the comparison units of the later period" and columns == [3]


@pytest.mark.parametrize("method", [method for method in METHODS if method != "reg"])
def test_a_separating_column_is_named(method):
    x, treated, post, *_ = sample()
    x[:, 2] = np.where(treated, 1.0, -1.0) + 0.1 * x[:, 2].clip(-5, 5)
    for code, columns in (refusal(method, x, treated), refusal(method, x, treated, post)):
        assert code.startswith("no overlap: covariates separate") and columns == [2]


@pytest.mark.parametrize("method", ["dr", "ipw", "ipw_ht", "dr_imp"])
def test_a_category_of_treated_units_alone_is_named(method):
    x, treated, *_ = sample()
    x[:, 3] = treated & (x[:, 1] > 1)
    code, columns = refusal(method, x, treated)
    assert code.startswith(("no overlap", "collinear covariates among the comparison units")) and columns == [3]


def test_a_category_of_comparison_units_alone_says_nothing():
    """They weigh nothing: the estimate is that without them."""
    x, treated, _, w, y = sample()
    x[:, 3] = ~treated & (x[:, 1] < -1)
    out = x[:, 3] == 0
    with_them = two_by_two("ipw", x, treated, w, w[:, None] * y)
    without = two_by_two("ipw", x[out][:, :3], treated[out], w[out], (w[:, None] * y)[out])
    assert with_them.estimate[0] == pytest.approx(without.estimate[0], rel=1e-7)


def test_treated_means_outside_the_comparison_units_are_named():
    """The logit exists, but no positive weights reach the treated mean of column 1."""
    n = 40
    x = np.column_stack([np.ones(2 * n), np.r_[np.linspace(0, 1, n), np.linspace(0, 9, n)]])
    x[n, 1] = -9.0
    treated = np.arange(2 * n) >= n
    assert refusal("dr_imp", x, treated) == ("no overlap: no weights give the comparison units the treated means", [1])


def test_nobody_left_to_compare_with():
    """999 treated to 1: every comparison unit has a propensity above 0.995."""
    treated = np.r_[np.ones(1_998, bool), np.zeros(2, bool)]
    x = np.column_stack([np.ones(2_000), np.tile([0.0, 1.0], 1_000)])
    assert refusal("ipw", x, treated)[0] == "no overlap: every comparison unit has a propensity of 0.995 or more"


@pytest.mark.parametrize("arm", [True, False])
@pytest.mark.parametrize("when", [True, False])
def test_an_empty_group_is_named(arm, when):
    x, treated, post, *_ = sample()
    keep = ~((treated == arm) & (post == when))
    name = f"no {'treated' if arm else 'comparison'} units in the {'later' if when else 'earlier'} period"
    assert refusal("reg", x[keep], treated[keep], post[keep]) == (name, [])


def test_unknown_methods_are_refused():
    x, treated, post, w, y = sample()
    with pytest.raises(ValueError, match="none of"):
        two_by_two("twfe", x, treated, w, y)
    with pytest.raises(ValueError, match="none of"):
        two_by_two_rc("ols", x, treated, post, w, y)


def test_columns_that_do_not_vary_leave():
    x, names = varying(np.array([[1.0, 3, 2], [1, 4, 2], [1, 5, 2]]), ("a", "b", "c"))
    assert names == ("intercept", "b") and x.tolist() == [[1, 3], [1, 4], [1, 5]] and x.flags.f_contiguous
