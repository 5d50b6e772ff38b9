"""Rosenbaum bounds: rbounds' figures, exact enumeration, the size of the test under bias of known strength."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest
from matching_reference import FOLDER, case, school

import attribution as at
from attribution.errors import EstimationError
from attribution.results import Design
from attribution.stress.hidden_bias import rosenbaum_bounds


def paired(treated, comparison) -> Design:
    """Pairs in the order given, with the outcome y."""
    n = len(treated)
    frame = pd.DataFrame({"t": [1] * n + [0] * n, "y": [*treated, *comparison]})
    pairs = pd.DataFrame({"treated": np.arange(n), "comparison": np.arange(n, 2 * n)})
    return Design(
        estimand="ATT", units=frame, treatment="t", covariates=(), weights=np.ones(2 * n), pairs=pairs,
        strata=np.tile(np.arange(n), 2), discarded=np.zeros(2 * n, bool), unmatched=np.zeros(2 * n, bool),
    )  # fmt: skip


@pytest.fixture(scope="module")
def lalonde() -> pd.DataFrame:
    return pd.read_csv(FOLDER / "rosenbaum_lalonde.pairs.csv")


def test_reference_signed_rank(lalonde):
    found = case("rosenbaum_lalonde")["results"]
    precise = pd.DataFrame(found["wilcoxon_precise"])
    result = rosenbaum_bounds(paired(lalonde["y_t"], lalonde["y_c"]), "y", gammas=precise["gamma"])
    np.testing.assert_allclose(result.table["p_low"], precise["p_lower"], rtol=1e-6, atol=1e-15)  # theirs: 1 - Phi
    np.testing.assert_allclose(result.table["p_high"], precise["p_upper"], rtol=1e-6)
    assert result.n_pairs == found["n_pairs"] == 113
    assert result.n_pairs - result.n_informative == found["n_zero_differences"]
    assert np.isnan(result.critical_gamma) and found["critical_gamma_p05"] is None
    assert "even without hidden bias" in result.summary()
    printed = pd.DataFrame(found["wilcoxon"])
    rounded = rosenbaum_bounds(paired(lalonde["y_t"], lalonde["y_c"]), "y", gammas=printed["Gamma"]).table
    np.testing.assert_allclose(rounded[["p_low", "p_high"]], printed[["Lower bound", "Upper bound"]], atol=5.1e-5)


def test_reference_hodges_lehmann(lalonde):
    """rbounds searches a grid: a few parts in a thousand. Without bias it drops zero differences, unlike with it."""
    found = pd.DataFrame(case("rosenbaum_lalonde")["results"]["hodges_lehmann"]).iloc[1:]
    table = rosenbaum_bounds(paired(lalonde["y_t"], lalonde["y_c"]), "y", gammas=found["Gamma"]).table
    np.testing.assert_allclose(table["effect_low"], found["Lower bound"], rtol=3e-3)
    np.testing.assert_allclose(table["effect_high"], found["Upper bound"], rtol=3e-3)


def test_hodges_lehmann_by_hand():
    """Differences 1, 2, 6: averages 1, 1.5, 2, 3.5, 4, 6; a third below 2, two thirds below 3.5 at gamma = 2."""
    design = paired([1.0, 2, 6], [0.0, 0, 0])
    row = rosenbaum_bounds(design, "y", gammas=[2]).table.iloc[0]
    assert 1.5 <= row["effect_low"] <= 2 and 3.5 <= row["effect_high"] <= 4
    big = np.random.default_rng(0).normal(3, 1, 4_000)
    row = rosenbaum_bounds(paired(big, 0 * big), "y", gammas=[1]).table.iloc[0]
    assert row["effect_low"] == pytest.approx(row["effect_high"], abs=1e-3) == pytest.approx(3, abs=0.06)


def test_reference_mcnemar(lalonde):
    found = case("rosenbaum_lalonde")["results"]
    exact = {float(k.removeprefix("gamma_")): v for k, v in found["mcnemar_upper_exact"].items()}
    result = rosenbaum_bounds(paired(lalonde["b_t"], lalonde["b_c"]), "y", gammas=list(exact))
    np.testing.assert_allclose(result.table["p_high"], list(exact.values()), rtol=1e-6)
    assert result.test == "McNemar" and result.n_informative == sum(found["discordant"].values())
    peers = pd.DataFrame(found["mcnemar_binarysens"]).set_index("Gamma")["Upper bound"]
    both = result.table.set_index("gamma")["p_high"].to_frame().join(peers, how="inner")
    assert len(both) == 5 and (both["p_high"] > both["Upper bound"]).all()  # theirs: X > D


def test_against_every_assignment():
    """Six pairs: the p-value is the chance, over all 64 ways to deal out treatment, of ranks at least as high."""
    treated, comparison = [5, 0, 9, 4, 7, 2.5], [1.0, 1, 2, 4, 0, 0]  # differences 4 -1 7 0 7 2.5: ranks 3 1 4.5 4.5 2
    ranks, gamma = np.array([3, 1, 4.5, 4.5, 2]), 2.0
    signs = np.array(list(product([0, 1], repeat=5)))
    chance = np.prod(np.where(signs, gamma / (1 + gamma), 1 / (1 + gamma)), axis=1)
    mean = chance @ (signs @ ranks)
    sd = np.sqrt(chance @ (signs @ ranks) ** 2 - mean**2)
    result = rosenbaum_bounds(paired(treated, comparison), "y", gammas=[gamma])
    from scipy.stats import norm

    assert result.table["p_high"].iloc[0] == pytest.approx(norm.sf((14 - mean) / sd))
    won = [1, 1, 1, 0, 1, 0], [0, 0, 1, 1, 0, 0]  # three won, one lost
    exact = [chance4 for s in product([0, 1], repeat=4) if sum(s) >= 3
             for chance4 in [np.prod([2 / 3 if k else 1 / 3 for k in s])]]  # fmt: skip
    assert rosenbaum_bounds(paired(*won), "y", gammas=[2]).table["p_high"].iloc[0] == pytest.approx(sum(exact))


def test_critical_gamma_is_where_the_p_value_crosses():
    rng = np.random.default_rng(0)
    design = paired(rng.normal(0.5, 1, 200), rng.normal(0, 1, 200))
    result = rosenbaum_bounds(design, "y")
    again = rosenbaum_bounds(design, "y", gammas=[result.critical_gamma, result.critical_gamma + 1e-3])
    assert again.table["p_high"].iloc[0] == pytest.approx(0.05, abs=1e-8) and again.table["p_high"].iloc[1] > 0.05
    assert result.critical_gamma > 1 and f"{result.critical_gamma:.2f}" in result.summary()
    assert (np.diff(result.table["p_high"]) > 0).all() and (np.diff(result.table["p_low"]) < 0).all()
    turned = rosenbaum_bounds(paired(-design.units["y"][:200], -design.units["y"][200:]), "y", alternative="less")
    columns = ["p_low", "p_high"]
    pd.testing.assert_frame_equal(turned.table[columns], result.table[columns])
    np.testing.assert_allclose(turned.table["effect_low"], -result.table["effect_high"], atol=1e-9)


@pytest.mark.parametrize("binary", [False, True])
def test_size_under_bias_of_known_strength(binary):
    """No effect, but in each pair odds of 2 that the one with more is treated: gamma = 2 rejects 5 % at most."""
    rng = np.random.default_rng(5)
    rejected, naive = [], []
    for _ in range(400):
        y = rng.integers(0, 2, (150, 2)).astype(float) if binary else rng.exponential(size=(150, 2))
        y.sort(axis=1)
        first = rng.random(150) < 2 / 3
        treated, comparison = np.where(first, y[:, 1], y[:, 0]), np.where(first, y[:, 0], y[:, 1])
        table = rosenbaum_bounds(paired(treated, comparison), "y", gammas=[1, 2]).table
        naive.append(table["p_high"].iloc[0] < 0.05)
        rejected.append(table["p_high"].iloc[1] < 0.05)
    assert np.mean(rejected) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 400)
    assert np.mean(naive) > 0.5  # what is guarded against


def test_missing_outcomes_and_matched_designs():
    frame = school(400, effect=1.0)
    frame.loc[frame.index[:40], "y"] = np.nan
    design = at.match(frame, "treated", covariates=["x", "z", "b"], caliper_sd=0.2, key="key")
    result = rosenbaum_bounds(design, "y")
    assert 0 < result.n_pairs < len(design.pairs)
    assert f"{len(design.pairs) - result.n_pairs} pairs were left out" in result.summary()


def test_refusals():
    frame = school(200)
    with pytest.raises(EstimationError, match="no pairs"):
        rosenbaum_bounds(at.everyone(frame, "treated"), "y")
    twice = at.match(frame, "treated", covariates=["x"], ratio=2, replace=True)
    with pytest.raises(EstimationError, match="several partners"):
        rosenbaum_bounds(twice, "y")
    again = at.match(frame, "treated", covariates=["x"], replace=True)
    with pytest.raises(EstimationError, match="serve twice"):
        rosenbaum_bounds(again, "y")
    with pytest.raises(EstimationError, match="whose outcomes differ"):
        rosenbaum_bounds(paired([1.0, 2], [1.0, 2]), "y")
    with pytest.raises(EstimationError, match="1 or more"):
        rosenbaum_bounds(paired([1.0, 2], [0.0, 2]), "y", gammas=[0.5])
    with pytest.raises(EstimationError, match="greater"):
        rosenbaum_bounds(paired([1.0, 2], [0.0, 2]), "y", alternative="two-sided")
