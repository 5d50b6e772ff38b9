"""G-computation after a design: marginaleffects' figures, a table by hand, recovery, what it refuses or flags."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matching_reference import CASES, LALONDE, case, covariates, data, peer_design, school
from places import ROOT

import attribution as at
from attribution.errors import EstimationError
from attribution.estimate.att import att
from attribution.results import Design, WeightModel

SCALES = {"difference": "difference", "ratio": "lnratioavg", "odds_ratio": "lnoravg"}
DARFUR = ROOT / "data" / "external" / "reference" / "match" / "data" / "darfur.csv"


def everyone(frame, treatment="treat", **options):
    n = len(frame)
    return Design(
        estimand="ATT", units=frame, treatment=treatment, covariates=(), weights=np.ones(n), pairs=pd.DataFrame(),
        strata=np.arange(n), discarded=np.zeros(n, bool), unmatched=np.zeros(n, bool), **options,
    )  # fmt: skip


def same(effect, expected, rel=1e-6, rel_se=1e-5):
    assert effect.estimate[0] == pytest.approx(expected["est"], rel=rel)
    assert effect.std_error[0] == pytest.approx(expected["se"], rel=rel_se)


def compare(name, results):
    vcov = "cluster" if "subclass" in results["vcov"] else "HC3"
    for scale, key in SCALES.items():
        effect = at.g_computation(peer_design(name), "emp78", adjust=covariates(name), scale=scale, vcov=vcov)
        same(effect, results[key], rel=5e-6)  # all of a level employed: R stops 4e-6 before the limit


@pytest.mark.parametrize("name", CASES)
def test_reference_after_matching(name):
    compare(name, case("gcomp_after_matching")["results"][name])


@pytest.mark.parametrize("key", SCALES.values())
@pytest.mark.parametrize("figure", ["est", "se"])
def test_canary(key, figure):
    results = case("gcomp_after_matching")["results"]["nn1_exactwithin_lalonde"]
    results[key][figure] *= 1.0001
    with pytest.raises(AssertionError):
        compare("nn1_exactwithin_lalonde", results)


@pytest.mark.parametrize("scale", SCALES)
def test_reference_of_villages(scale):
    if not DARFUR.exists():
        pytest.skip(f"{DARFUR.name} (GPL package, not in git) is not in data/external/reference/match/data")
    design = everyone(pd.read_csv(DARFUR), "directlyharmed", target="all")
    names = ["age", "female", "pastvoted"]
    effect = at.g_computation(design, "wouldvote", adjust=names, scale=scale, cluster="village")
    same(effect, case("gcomp_darfur")["results"][SCALES[scale]])


def test_reference_of_the_experiment():
    expected = case("nsw_experimental")["results"]["emp78"]
    design = everyone(data("nsw_dw"), target="all")
    names = ["age", "educ", "black", "hisp", "marr", "nodegree", "re74", "re75"]
    for scale, key in zip(SCALES, ("gcomp_rd", "gcomp_lnrr", "gcomp_lnor"), strict=True):
        effect = at.g_computation(design, "emp78", adjust=names, scale=scale, vcov="HC1")
        same(effect, expected[key])


def test_reference_of_weights_that_were_estimated():
    """Entropy balancing, its equations stacked on the outcome's (WeightIt: the means aimed at are held fixed)."""
    design, results = entropy_balanced(), case("gcomp_ebal_lalonde")["results"]
    plain = at.g_computation(design, "re78", adjust=[], model="linear")
    assert plain.spec["vcov"] == "m_estimation"
    same(plain, results["se_lm_weightit"], rel=2e-5)  # R's optimiser stops early
    same(at.g_computation(design, "re78", adjust=LALONDE, model="linear"), results["weighted_regression_gcomp"])


def entropy_balanced():
    """Entropy balancing of lalonde by Newton's method on its dual, with the influence of its multipliers."""
    frame = data("lalonde")
    t = frame["treat"].to_numpy().astype(bool)
    x = pd.get_dummies(frame[LALONDE], drop_first=True).to_numpy(float)
    z = (x - x[t].mean(axis=0)) / x.std(axis=0)
    pool, multiplier = z[~t], np.zeros(z.shape[1])
    for _ in range(50):
        q = np.exp(pool @ multiplier)
        q /= q.sum()
        slope = pool.T @ q
        multiplier -= np.linalg.solve((pool.T * q) @ pool - np.outer(slope, slope), slope)
    weights, influence, slopes = np.ones(len(t)), np.zeros(z.shape), np.zeros(z.shape)
    weights[~t] = q * len(q)
    influence[~t] = -(pool * weights[~t, None]) @ np.linalg.inv((pool.T * weights[~t]) @ pool)
    slopes[~t] = pool * weights[~t, None]
    return replace(everyone(frame), weights=weights, covariates=tuple(LALONDE),
                   weight_model=WeightModel(influence=influence, slopes=slopes))  # fmt: skip


def test_a_table_by_hand():
    """Treated: 3 of 4. Comparison: 1 of 4. Risk difference 1/2, ratio 3, odds ratio 9; HC0 variance p(1-p)/n each."""
    frame = pd.DataFrame({"treat": [1] * 4 + [0] * 4, "y": [1, 1, 1, 0, 1, 0, 0, 0]})
    design, variance = everyone(frame), 3 / 16 / 4
    for scale, value, slopes in (("difference", 0.5, (1, 1)), ("ratio", np.log(3), (4 / 3, 4)),
                                 ("odds_ratio", np.log(9), (16 / 3, 16 / 3))):  # fmt: skip
        effect = at.g_computation(design, "y", adjust=[], scale=scale, vcov="HC0")
        assert effect.estimate[0] == pytest.approx(value, rel=1e-7)
        assert effect.std_error[0] == pytest.approx(np.sqrt(variance * np.square(slopes).sum()), rel=1e-7)
    assert "Odds ratio 9.000" in effect.notes[-1] and effect.unit == "log odds ratio"
    parts = at.g_computation(design, "y", adjust=[], parts=True)
    assert list(parts.labels["term"]) == ["observed", "counterfactual", "att"]
    np.testing.assert_allclose(parts.estimate, [0.75, 0.25, 0.5], rtol=1e-7)


def test_linear_it_is_the_adjusted_att():
    design = peer_design("nn1_noreplace_lalonde")
    expected = att(design, "re78", adjust=LALONDE)
    for vcov in ("cluster", "CR1S"):
        effect = at.g_computation(design, "re78", adjust=LALONDE, model="linear", vcov=vcov)
        np.testing.assert_allclose([effect.estimate[0], effect.std_error[0]],
                                   [expected.estimate[0], expected.std_error[0]], rtol=1e-9)  # fmt: skip
    few = at.g_computation(design, "re78", adjust=LALONDE, model="linear", vcov="CR2")
    low, high = few.conf_int()
    assert few.dof[0] < 185 and high[0] - low[0] > 2 * 1.96 * few.std_error[0]


def test_a_level_all_placed_is_flagged_and_an_outcome_told_exactly_refused():
    frame = school(400).assign(y=lambda f: (f["z"] > 0).astype(int))
    frame.loc[frame["cell"] == 0, "y"] = 1
    design = everyone(frame, "treated")
    frame["cell"] = frame["cell"].astype(str)
    effect = at.g_computation(replace(design, units=frame), "y", adjust=["cell"])
    assert any("exactly" in note for note in effect.notes)
    with pytest.raises(EstimationError, match="separation among the treated"):
        at.g_computation(design, "y", adjust=["z", "cell"])


def test_refusals():
    frame = school(300)
    design = everyone(frame, "treated")
    with pytest.raises(EstimationError, match="between 0 and 1"):
        at.g_computation(design, "y", adjust=["x"])
    with pytest.raises(EstimationError, match="infinite"):
        at.g_computation(design, np.r_[np.inf, np.ones(299)], adjust=["x"])
    with pytest.raises(EstimationError, match="separation"):
        at.g_computation(design, np.zeros(300), adjust=["x"])
    with pytest.raises(EstimationError, match="two or more units"):
        at.g_computation(design, np.where(frame["treated"] == 1, np.nan, 1.0), adjust=["x"])
    with pytest.raises(EstimationError, match="means above 0"):
        at.g_computation(design, frame["treated"] * 1.0, adjust=[], scale="ratio", model="linear")
    with pytest.raises(EstimationError, match="weight_model"):
        at.g_computation(design, "y", adjust=["x"], model="linear", vcov="m_estimation")
    with pytest.raises(EstimationError, match='model="linear"'):
        at.g_computation(design, (frame["y"] > 0).astype(int), adjust=["x"], vcov="CR2")
    with pytest.raises(EstimationError, match="'c' does not add anything"):
        at.g_computation(replace(design, units=frame.assign(c=1.0)), (frame["y"] > 0).astype(int), adjust=["c"])


def test_missing_outcomes_leave_with_their_pair():
    design = peer_design("nn1_noreplace_lalonde")
    y = design.units["emp78"].astype(float).copy()
    y.iloc[design.pairs["treated"].iloc[:5]] = np.nan
    effect = at.g_computation(design, y.to_numpy())
    assert effect.n_treated[0] == 180 and effect.n_comparison[0] == 180
    assert "5 of 185 pairs" in effect.notes[0] and "180 of 185 treated" in effect.estimand


@pytest.mark.parametrize("seeds", [40, pytest.param(400, marks=pytest.mark.slow)])
def test_recovers_a_risk_difference(seeds):
    """Matched, then a logit that is right: no bias, honest errors, the truth covered."""
    rows = []
    for seed in range(seeds):
        frame = school(800, seed=seed)
        rng = np.random.default_rng(seed + 10_000)
        index = 0.5 * frame["x"] + 0.3 * frame["b"] - 0.4

        def risk(treated, index=index):
            return 1 / (1 + np.exp(-(index + 0.8 * treated)))

        frame["placed"] = (rng.random(len(frame)) < risk(frame["treated"])).astype(int)
        design = at.match(frame, "treated", covariates=["x", "b"], caliper_sd=0.2)
        speaks = design.treated & design.matched
        truth = (risk(1) - risk(0))[speaks].mean()
        effect = at.g_computation(design, "placed")
        low, high = effect.conf_int()
        rows.append((effect.estimate[0] - truth, effect.std_error[0], low[0] <= truth <= high[0]))
    error, se, covered = np.array(rows).T
    assert abs(error.mean()) < 4 * error.std(ddof=1) / np.sqrt(seeds)
    assert se.mean() / error.std(ddof=1) == pytest.approx(1, abs=4 / np.sqrt(2 * seeds))
    assert covered.mean() > 0.95 - 4 * np.sqrt(0.05 * 0.95 / seeds)


def test_row_order_does_not_matter():
    frame = school(400).assign(placed=lambda f: (f["y"] > 0).astype(int))
    plain, mixed = frame, frame.sample(frac=1, random_state=1)
    found = [at.g_computation(everyone(f, "treated"), "placed", adjust=["x", "b"]) for f in (plain, mixed)]
    np.testing.assert_allclose(found[0].estimate, found[1].estimate, rtol=1e-10)
    np.testing.assert_allclose(found[0].std_error, found[1].std_error, rtol=1e-9)


def test_a_model_with_the_cells_in_it_leaves_their_sums_nothing_to_show():
    """Summed within cells that the model holds, scores are zero: the standard error was 1e-11 and covered nothing."""
    rng, inside = np.random.default_rng(1), 0
    units = pd.DataFrame({"t": np.tile([1, 0, 0], 100), "cell": np.repeat([f"c{k}" for k in range(20)], 15)})
    design = at.stratify(units, "t", covariates=["cell"], method="exact")
    for _ in range(100):
        y = rng.normal(size=len(units))
        effect = at.g_computation(design, y, model="linear")
        linear = at.att(design, y, adjust=["cell"])
        assert effect.spec["vcov"] == linear.spec["vcov"] == "HC1"
        assert effect.std_error[0] == pytest.approx(linear.std_error[0], rel=0.05)
        row = effect.tidy().iloc[0]
        inside += row["conf_low"] <= 0 <= row["conf_high"]
    assert 88 <= inside <= 99
