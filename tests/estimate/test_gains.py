"""Who gains: closed forms, linear programming over every joint distribution, and what noise alone would show."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matching_reference import LALONDE, case, data, school
from scipy.optimize import linprog
from scipy.stats import norm

import attribution as at
from attribution.errors import DesignError, EstimationError
from attribution.estimate.gains import share_who_gain
from attribution.estimate.sample import sample
from attribution.estimate.suprema import Noise, Stratum
from attribution.results import WeightModel


def plugin(result, term="gain", threshold=0.0):
    row = result.table.set_index(["term", "threshold"]).loc[(term, threshold)]
    return [row["plugin_low"], row["plugin_high"]]


def test_reference():
    found = case("benefit_bounds_nsw")["results"]
    design = at.everyone(data("nsw_dw"), "treat")
    for key, options in {
        "emp78_binary": {}, "emp78_within_nodegree": {"by": ["nodegree"]},
        "emp78_within_black_nodegree": {"by": ["black", "nodegree"], "least": 1},
    }.items():  # fmt: skip
        result = share_who_gain(design, "emp78", **options)
        np.testing.assert_allclose(plugin(result), found[key]["benefit"], rtol=0, atol=1e-10)
        np.testing.assert_allclose(plugin(result, "lose"), found[key]["harm"], rtol=0, atol=1e-10)
    result, sharp = share_who_gain(design, "re78"), found["re78_makarov"]["sharp_with_atoms"]
    np.testing.assert_allclose(plugin(result), sharp["benefit"], rtol=0, atol=1e-10)
    np.testing.assert_allclose(plugin(result, "lose"), sharp["harm"], rtol=0, atol=1e-10)


def joint(one, other, gain):
    """(least, most) chance of `gain` (k, m) over all joint distributions with these margins."""
    k, m = len(one), len(other)
    rows = np.vstack([np.kron(np.eye(k), np.ones(m)), np.kron(np.ones(k), np.eye(m))])
    return [sign * linprog(sign * gain.ravel(), A_eq=rows, b_eq=np.r_[one, other], method="highs").fun
            for sign in (1, -1)]  # fmt: skip


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_no_joint_distribution_does_better(seed):
    rng = np.random.default_rng(seed)
    values = np.sort(rng.choice([-2, -1, 0, 1, 2, 3], size=4, replace=False))
    frame = pd.DataFrame({"t": np.repeat([1, 0], 12), "y": rng.choice(values, 24).astype(float)})
    if frame["y"].nunique() == 1:
        return
    shift = float(rng.choice([-1, 1, 2]))
    result = share_who_gain(at.everyone(frame, "t"), "y", threshold=[0.0, shift], draws=200)
    one, other = (frame.loc[frame["t"] == arm, "y"].value_counts(normalize=True).reindex(values, fill_value=0)
                  for arm in (1, 0))  # fmt: skip
    difference = values[:, None] - values[None, :]
    for term, threshold, gain in (("gain", 0.0, difference > 0), ("lose", 0.0, difference < 0),
                                  ("gain", shift, difference >= shift)):  # fmt: skip
        np.testing.assert_allclose(plugin(result, term, threshold), joint(one, other, gain.astype(float)), atol=1e-9)


def test_by_hand():
    """Treated 1, 1, 3, 5 and comparison 0, 1, 1, 4 (of 4 each): by rank 1>0, 1=1, 3>1, 5>4."""
    frame = pd.DataFrame({"t": [1] * 4 + [0] * 4, "y": [1.0, 1, 3, 5, 0, 1, 1, 4]})
    result = share_who_gain(at.everyone(frame, "t"), "y", threshold=[0, 1, 2, -9])
    table = result.table.set_index(["term", "threshold"])
    np.testing.assert_allclose(plugin(result), [1 / 4, 3 / 4])  # F0(0) - F1(0); 1 - (F1(1) - F0 below 1)
    assert table.loc[("gain", 0), "if_ranks_never_change"] == 0.75
    assert table.loc[("lose", 0), "if_ranks_never_change"] == 0
    assert table.loc[("gain", 1), "if_ranks_never_change"] == 0.75
    assert table.loc[("gain", 2), "if_ranks_never_change"] == 0.25
    assert plugin(result, "gain", -9) == [1, 1]


def test_money_in_cents_ties_where_it_ties():
    """A gain of exactly 0.1 for everybody: floating point must not split 0.3 - 0.1 from 0.2."""
    base = np.round(np.arange(1, 31) / 10, 10)
    frame = pd.DataFrame({"t": np.repeat([1, 0], 30), "y": np.r_[base + 0.1, base]})
    result = share_who_gain(at.everyone(frame, "t"), "y", threshold=[0.1, 0.1001])
    assert result.table["if_ranks_never_change"].tolist() == [1.0, 0.0]


def test_placement_is_the_formula_of_the_two_shares_after_any_design():
    frame = school(600, effect=0.8).assign(placed=lambda f: (f["y"] > 0.5).astype(int))
    design = at.match(frame, "treated", covariates=["x", "z", "b"], caliper_sd=0.2, key="key", ratio=2, replace=True)
    p1, p0, effect = at.att(design, "placed", parts=True).estimate
    np.testing.assert_allclose(plugin(share_who_gain(design, "placed")), [max(effect, 0), min(p1, 1 - p0)])


def test_a_single_point_has_the_standard_error_of_the_design():
    """A 0/1 outcome far from no effect: the supremum is one difference of shares, its interval the usual one."""
    rng = np.random.default_rng(0)
    pair = rng.normal(size=400)
    y = np.r_[pair + 1.5, pair] + rng.normal(size=800) > 0.5
    units = pd.DataFrame({"t": np.repeat([1, 0], 400), "y": y.astype(int)})
    base = at.everyone(units, "t")
    for strata in (np.arange(800), np.tile(np.arange(400), 2)):  # alone, and in pairs that go together
        design = replace(base, strata=strata)
        result = share_who_gain(design, "y", draws=8_000)
        low, _ = at.att(design, "y").conf_int(0.95)
        row = result.table.iloc[0]
        assert row["conf_low"] == pytest.approx(low[0], abs=2e-3)
        assert row["bound_low"] == pytest.approx(row["plugin_low"], abs=5e-4)


def test_estimated_weights_enter_as_in_m_estimation():
    """Noise in the gap of a 0/1 outcome after IPW against the stacked sandwich, written out; fixed weights differ."""
    frame = data("lalonde")
    x = np.column_stack([np.ones(len(frame)), (frame[["age", "educ", "nodegree"]] - 10) / 10])
    t, y = frame["treat"].to_numpy().astype(bool), (frame["age"] > 25).to_numpy(float)  # what the weights balance
    beta = np.zeros(x.shape[1])
    for _ in range(30):
        p = 1 / (1 + np.exp(-x @ beta))
        information = np.linalg.inv((x * (p * (1 - p))[:, None]).T @ x)
        beta = beta + information @ x.T @ (t - p)
    odds = p / (1 - p)
    model = WeightModel(influence=(x * (t - p)[:, None]) @ information, slopes=np.where(t, 0, odds)[:, None] * x)
    design = replace(at.everyone(frame, "treat"), weights=np.where(t, 1, odds), target="treated", weight_model=model)
    m1, w0 = y[t].mean(), odds[~t].sum()
    m0 = (odds * y)[~t].sum() / w0
    fixed = np.where(t, (y - m1) / t.sum(), -odds * (y - m0) / w0)
    full = fixed - model.influence @ (model.slopes * np.where(t, 0, y - m0)[:, None]).sum(axis=0) / w0
    for d, score in ((design, full), (replace(design, weight_model=None), fixed)):
        s = sample(d, y)
        arms = Stratum.of(s, np.arange(len(y)), 0.0, at_least=False)
        drawn = Noise.of(d, s, [arms], 4_000, 1).gap(0, "low", False)[:, 0]
        assert drawn.std() == pytest.approx(np.sqrt(score @ score), rel=0.04)
    assert np.sqrt(full @ full) < 0.8 * np.sqrt(fixed @ fixed)


def test_few_large_strata_are_not_clusters():
    """Three subclasses: the interval is that of independent units, not of three draws."""
    design = at.everyone(data("nsw_dw"), "treat")
    alone = share_who_gain(design, "emp78").table
    three = share_who_gain(replace(design, strata=np.arange(445) % 3), "emp78").table
    pd.testing.assert_frame_equal(alone, three)


def nothing_happens(rng, n=300):
    """A trial without any effect; one in three earns nothing."""
    t = rng.permutation(n) % 2
    y = np.where(rng.random(n) < 1 / 3, 0, rng.lognormal(7, 1, n))
    return at.everyone(pd.DataFrame({"t": t, "y": y, "tier": rng.integers(0, 3, n)}), "t")


def simulate(make, truth, reps, seed, **options):
    """Mean plug-in lower bound, chance that the lower limit covers, that the interval covers, that the corrected lower
    bound is not above the truth, and the same for the upper one."""
    rng, rows = np.random.default_rng(seed), []
    for _ in range(reps):
        rows.append(share_who_gain(make(rng), "y", draws=300, **options).table.iloc[0])
    table = pd.DataFrame(rows).drop(columns="term").astype(float)
    low, high = table["conf_low"] <= truth[0] + 1e-12, table["conf_high"] >= truth[1] - 1e-12
    safe = (table["bound_low"] <= truth[0] + 1e-12).mean(), (table["bound_high"] >= truth[1] - 1e-12).mean()
    return (table["plugin_low"].mean(), low.mean(), (low & high).mean(), *safe)


@pytest.mark.parametrize("by", [(), ("tier",)])
def test_no_effect_reads_as_no_effect(by):
    """The plug-in says that several in a hundred gain; the interval holds 0, and half the corrected bounds are 0."""
    reps = 150
    naive, low, both, half, _ = simulate(nothing_happens, (0, 2 / 3), reps, 7, by=by)
    assert naive > 0.04
    assert low >= 0.975 - 3 * np.sqrt(0.975 * 0.025 / reps)
    assert both >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / reps)
    assert half >= 0.5 - 3 * np.sqrt(0.25 / reps)


@pytest.mark.slow
@pytest.mark.parametrize("case_", ["null", "null by tier", "shift", "shift in pairs", "placement", "two tiers"])
def test_coverage(case_):
    """400 samples each: the interval covers both ends of the true set, the corrected bounds are on the safe side."""

    def shift(rng, n=300, pairs=False):
        t, both = np.repeat([1, 0], n // 2), np.tile(rng.normal(size=n // 2), 2)
        y = (0.8 * both if pairs else 0) + rng.normal(size=n) * (0.6 if pairs else 1) + t
        design = at.everyone(pd.DataFrame({"t": t, "y": y}), "t")
        return replace(design, strata=np.tile(np.arange(n // 2), 2)) if pairs else design

    def placement(rng, n=300):
        t = rng.permutation(n) % 2
        return at.everyone(pd.DataFrame({"t": t, "y": (rng.random(n) < 0.5 + 0.15 * t).astype(int)}), "t")

    def tiers(rng, n=600):
        t, tier = rng.permutation(n) % 2, rng.integers(0, 2, n)
        return at.everyone(pd.DataFrame({"t": t, "y": rng.normal(size=n) + np.where(tier, t, -t), "tier": tier}), "t")

    gain = 2 * norm.cdf(0.5) - 1
    make, truth, by = {
        "null": (nothing_happens, (0, 2 / 3), ()), "null by tier": (nothing_happens, (0, 2 / 3), ("tier",)),
        "shift": (shift, (gain, 1), ()), "shift in pairs": (lambda rng: shift(rng, pairs=True), (gain, 1), ()),
        "placement": (placement, (0.15, 0.5), ()), "two tiers": (tiers, (gain / 2, 1 - gain / 2), ("tier",)),
    }[case_]  # fmt: skip
    _, low, both, half_low, half_high = simulate(make, truth, 400, 11, by=by)
    assert low >= 0.975 - 3 * np.sqrt(0.975 * 0.025 / 400)
    assert both >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / 400)
    assert min(half_low, half_high) >= 0.5 - 3 * np.sqrt(0.25 / 400)


def test_covariates_narrow_the_bounds_where_tiers_differ():
    rng = np.random.default_rng(2)
    tier, t = rng.integers(0, 2, 4_000), rng.integers(0, 2, 4_000)
    frame = pd.DataFrame({"t": t, "y": rng.normal(size=4_000) + np.where(tier, 2 * t, -2 * t), "tier": tier})
    wide = share_who_gain(at.everyone(frame, "t"), "y").table.iloc[0]
    narrow = share_who_gain(at.everyone(frame, "t"), "y", by=["tier"]).table.iloc[0]
    gain = (2 * norm.cdf(1) - 1) / 2
    assert narrow["conf_low"] < gain < 1 - gain < narrow["conf_high"]
    assert narrow["bound_high"] - narrow["bound_low"] < 0.8 * (wide["bound_high"] - wide["bound_low"])


def test_order_of_rows_units_and_inputs():
    frame = school(300, effect=0.5)
    before, covariates = frame.copy(), ["x", "z", "b"]
    design = at.match(frame, "treated", covariates=covariates, caliper_sd=0.2, key="key")
    result = share_who_gain(design, "y", threshold=[0, 0.5], by=["b"])
    pd.testing.assert_frame_equal(frame, before)
    again = at.match(frame.sample(frac=1, random_state=3), "treated", covariates=covariates, caliper_sd=0.2, key="key")
    numbers = result.table.drop(columns="term")
    moved = share_who_gain(again, "y", threshold=[0, 0.5], by=["b"]).table.drop(columns="term")
    np.testing.assert_allclose(moved, numbers, atol=1e-12)
    cents = share_who_gain(design, frame["y"] * 100 + 7, threshold=[0, 50], by=["b"]).table
    np.testing.assert_allclose(cents.drop(columns=["term", "threshold"]), numbers.drop(columns="threshold"), atol=1e-12)
    text = result.summary()
    assert "Of the treated" in text and "if ranks never changed" in text and "Gain at least 0.5" in text
    assert set(result.tidy()) >= {"bound_low", "plugin_low", "conf_low", "level", "n_treated", "unit"}


def test_thin_strata_say_nothing_and_are_counted():
    frame = data("nsw_dw")
    result = share_who_gain(at.everyone(frame, "treat"), "emp78", by=["black", "nodegree"])
    full = share_who_gain(at.everyone(frame, "treat"), "emp78", by=["black", "nodegree"], least=1)
    assert "1 stratum with fewer than 10 units" in result.summary() and "4.3%" in result.summary()
    assert plugin(result)[0] <= plugin(full)[0] and plugin(result)[1] >= plugin(full)[1]


def test_refusals():
    frame = school(80).assign(flat=3.0, hole=lambda f: f["b"].where(f["x"] > 0))
    design = at.everyone(frame, "treated")
    with pytest.raises(EstimationError, match="an outcome that varies"):
        share_who_gain(design, "flat")
    with pytest.raises(EstimationError, match="coarser"):
        share_who_gain(design, "y", by=["key"])
    with pytest.raises(EstimationError, match="finite thresholds"):
        share_who_gain(design, "y", threshold=[0.0, 0.0])
    with pytest.raises(EstimationError, match="200 draws"):
        share_who_gain(design, "y", draws=20)
    with pytest.raises(EstimationError, match="level"):
        share_who_gain(design, "y", level=95)
    with pytest.raises(DesignError, match="missing"):
        share_who_gain(design, "y", by=["hole"])
    with pytest.raises(DesignError, match="everyone"):
        share_who_gain(frame, "y")
    lone = at.match(data("lalonde"), "treat", covariates=LALONDE, caliper_sd=0.2)
    with pytest.raises(EstimationError, match="in each arm"):
        share_who_gain(lone, np.full(614, np.nan))
