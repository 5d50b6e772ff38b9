"""Subgroup effects: WeightIt's and marginaleffects' figures, by hand, coverage, detectable effect, many looks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matching_reference import FOLDER, LALONDE, case, school
from test_g_computation import entropy_balanced, everyone

import attribution as at
from attribution.errors import DesignError, EstimationError


def compare(found, results, rel=1e-6):
    names = ["nodegree0", "nodegree1"]
    np.testing.assert_allclose(found.effects.estimate, [results[name]["est"] for name in names], rtol=rel)
    difference = results["difference_b2_minus_b1"]
    assert found.differences.estimate[0] == pytest.approx(difference["est"], rel=rel)
    return [results[name]["se"] for name in names], difference["se"]


def test_reference_on_the_peer_s_weights():
    weights = pd.read_csv(FOLDER / "ebal_att_lalonde.units.csv")["weight"].to_numpy()
    design = replace(entropy_balanced(), weights=weights, weight_model=None)
    compare(at.subgroup_effects(design, "re78", by="nodegree", adjust=LALONDE), case("subgroup_lalonde")["results"])


def errors(results):
    found = at.subgroup_effects(entropy_balanced(), "re78", by="nodegree", adjust=LALONDE)
    own, between = compare(found, results, rel=2e-5)  # the weights to the last digit; R stops early
    np.testing.assert_allclose(found.effects.std_error, own, rtol=1e-5)
    assert found.differences.std_error[0] == pytest.approx(between, rel=1e-5)


def test_reference_errors_with_the_weights_own_equations():
    errors(case("subgroup_lalonde")["results"])


@pytest.mark.parametrize("name", ["nodegree0", "nodegree1", "difference_b2_minus_b1"])
@pytest.mark.parametrize("figure", ["est", "se"])
def test_canary(name, figure):
    results = case("subgroup_lalonde")["results"]
    results[name][figure] *= 1.0001
    with pytest.raises(AssertionError):
        errors(results)


def test_by_hand_it_is_the_difference_inside_each_level():
    frame = school(300)
    found = at.subgroup_effects(everyone(frame, "treated"), "y", by="cell", vcov="HC0")
    means = frame.groupby(["cell", "treated"])["y"].agg(["mean", "var", "size"])
    for j, cell in enumerate(range(4)):
        (m0, v0, n0), (m1, v1, n1) = means.loc[(cell, 0)], means.loc[(cell, 1)]
        assert found.effects.estimate[j] == pytest.approx(m1 - m0)
        variance = v1 * (n1 - 1) / n1**2 + v0 * (n0 - 1) / n0**2
        assert found.effects.std_error[j] == pytest.approx(np.sqrt(variance))
        assert (found.effects.n_treated[j], found.effects.n_comparison[j]) == (n1, n0)
    assert list(found.differences.labels["term"])[:2] == ["1 minus 0", "2 minus 0"] and len(found.differences) == 6
    first = found.effects.std_error[:2]
    assert found.differences.std_error[0] == pytest.approx(np.hypot(*first))  # other people, so independent
    assert found.heterogeneity[1] == 3


def test_detectable_effect_and_many_looks():
    found = at.subgroup_effects(everyone(school(600), "treated"), "y", by="cell", correction="holm")
    rows = found.tidy()
    np.testing.assert_allclose(rows["mde"] / rows["std_error"], 2.8016, atol=1e-4)  # Bloom's 2.8
    assert float(at.minimum_detectable_effect(1.0, power=0.9)) == pytest.approx(3.2415, abs=1e-4)
    own = rows[rows["kind"] == "subgroup"]
    p = own["p_value"].sort_values()
    holm = np.minimum(np.maximum.accumulate(p * np.arange(len(p), 0, -1)), 1)
    np.testing.assert_allclose(own["p_adjusted"].loc[p.index], holm)
    bh = at.subgroup_effects(everyone(school(600), "treated"), "y", by="cell", correction="bh").tidy()
    assert (bh["p_adjusted"] <= rows["p_adjusted"] + 1e-12).all()
    assert "balances the whole, not each level" in found.summary()


def test_a_level_without_partners_is_named_and_the_others_stand():
    frame = school(300)
    frame.loc[frame["cell"] == 3, "treated"] = 1
    found = at.subgroup_effects(everyone(frame, "treated"), "y", by="cell")
    assert list(found.effects.labels["term"]) == ["0", "1", "2"]
    assert "0 comparison" in found.refused["3"] and "3: no estimate" in found.summary()
    without = at.subgroup_effects(everyone(frame[frame["cell"] != 3].reset_index(drop=True), "treated"), "y", by="cell")
    np.testing.assert_allclose(found.effects.estimate, without.effects.estimate, rtol=1e-10)


def test_separation_in_a_subgroup_is_flagged():
    frame = school(400).assign(y=lambda f: (f["y"] > 0).astype(int))
    frame.loc[frame["cell"] == 1, "y"] = 1
    found = at.subgroup_effects(everyone(frame, "treated"), "y", by="cell", model="logit")
    assert any("exactly" in note for note in found.effects.notes)
    assert found.effects.estimate[1] == pytest.approx(0, abs=1e-6)


def test_refusals():
    design = everyone(school(300), "treated")
    with pytest.raises(EstimationError, match="holm"):
        at.subgroup_effects(design, "y", by="cell", correction="none")
    with pytest.raises(DesignError, match="no such column"):
        at.subgroup_effects(design, "y", by="town")
    with pytest.raises(DesignError, match="missing values"):
        holes = design.units.assign(cell=design.units["cell"].where(design.units["z"] > 0))
        at.subgroup_effects(replace(design, units=holes), "y", by="cell")
    with pytest.raises(EstimationError, match="a subgroup with two"):
        at.subgroup_effects(design, "y", by="key")
    for own in ("y", "treated"):
        with pytest.raises(EstimationError, match=f"{own}: .*fixed before treatment"):
            at.subgroup_effects(design, "y", by=own)
    with pytest.raises(DesignError, match="lists: .*such as lists"):
        at.subgroup_effects(everyone(school(50).assign(lists=[[1]] * 50), "treated"), "y", by="lists")


@pytest.mark.parametrize("vcov", ["HC1", "HC3", "cluster", "CR2"])
@pytest.mark.parametrize("same", [0.1, 1, 33_333.3])
def test_a_level_in_which_all_fare_alike_has_no_standard_error(vcov, same):
    """What is left there is rounding: an effect of 6e-33 with a p of 3e-7 was printed."""
    frame = school(400, seed=2).assign(y=lambda f: f["y"].where(f["cell"] != 1, same))
    found = at.subgroup_effects(at.weight(frame, "treated", covariates=["x"]), "y", by="cell", vcov=vcov).effects
    row = found.tidy().set_index("term").loc["1"]
    assert row["estimate"] == pytest.approx(0, abs=1e-9 * same)
    assert np.isnan(row["std_error"]) and np.isnan(row["p_value"])


# few seeds: statsmodels' multipletests collects garbage at every call
@pytest.mark.parametrize("seeds", [15, pytest.param(100, marks=pytest.mark.slow)])
def test_recovers_effects_that_differ_and_rarely_sees_a_difference_that_is_not_there(seeds):
    errors, ses, covered, false = [], [], [], []
    for seed in range(seeds):
        frame = school(900, seed=seed, effect=0.5)
        design = at.match(frame, "treated", covariates=["x", "z", "b"], caliper_sd=0.2, exact=["b"])
        y = frame["y"] + 0.5 * frame["b"] * frame["treated"]
        found = at.subgroup_effects(design, y.to_numpy(), by="b", adjust=["x", "z"])
        low, high = found.effects.conf_int()
        errors.append(found.effects.estimate - [0.5, 1.0])
        ses.append(found.effects.std_error)
        covered.append((low <= [0.5, 1.0]) & (high >= [0.5, 1.0]))
        flat = at.subgroup_effects(design, "y", by="cell", adjust=["x", "z", "b"])
        false.append((flat.tidy().query("kind == 'difference'")["p_adjusted"] < 0.05).any())
    spread = np.std(errors, axis=0, ddof=1)
    assert (np.abs(np.mean(errors, axis=0)) < 4 * spread / np.sqrt(seeds) + 0.05 * spread).all()
    np.testing.assert_allclose(np.mean(ses, axis=0) / spread, 1, atol=4 / np.sqrt(2 * seeds))
    assert np.mean(covered) > 0.95 - 4 * np.sqrt(0.05 * 0.95 / seeds / 2)
    assert np.mean(false) < 0.05 + 4 * np.sqrt(0.05 * 0.95 / seeds)


@pytest.mark.parametrize("kind", ["CR0", "CR1S", "CR2", "CR3"])
def test_few_clusters_within_a_level_and_between(kind):
    """Levels share no coefficient, so each is the same regression on its own rows; differences by statsmodels."""
    import statsmodels.formula.api as smf

    frame = school(400, seed=4, effect=0.5).assign(town=lambda f: np.arange(len(f)) % 12)
    options = {"model": "linear", "vcov": kind, "cluster": "town"}
    found = at.subgroup_effects(at.everyone(frame, "treated"), "y", by="b", **options)
    for j, level in enumerate((0, 1)):
        alone = at.g_computation(at.everyone(frame[frame["b"] == level], "treated"), "y", adjust=[], **options)
        assert found.effects.estimate[j] == pytest.approx(alone.estimate[0])
        if kind != "CR1S":  # which counts all rows and coefficients
            assert found.effects.std_error[j] == pytest.approx(alone.std_error[0], rel=1e-9)
        if kind == "CR2":
            assert found.effects.dof[j] == pytest.approx(alone.dof[0], rel=1e-9)
            assert found.differences.dof[0] > max(found.effects.dof) and found.heterogeneity is None
            p = found.table["p_value"]
            assert p[2] == pytest.approx(found.differences.tidy()["p_value"][0]) and (found.table["mde"] > 0).all()
            assert found.table["mde"][0] > 2.81 * found.effects.std_error[0]
    fit = smf.ols("y ~ treated * C(b)", frame).fit()
    corrected = {"CR0": False, "CR1S": True}.get(kind)
    if corrected is not None:
        robust = fit.get_robustcov_results("cluster", groups=frame["town"], use_correction=corrected)
        assert found.differences.std_error[0] == pytest.approx(robust.bse[-1], rel=1e-9)


def test_small_levels_are_pointed_at():
    frame = school(200, seed=1).assign(level=lambda f: np.where(np.arange(200) < 30, "small", "large"))
    text = at.subgroup_effects(at.everyone(frame, "treated"), "y", by="level").summary()
    assert "Fewer than 20 treated units carry the estimate of small: Student's t with 3 degrees of freedom." in text
    with pytest.raises(EstimationError, match='model="linear"'):
        at.subgroup_effects(at.everyone(frame, "treated"), "b", by="level", model="logit", vcov="CR2")
