"""Several levels of treatment: WeightIt's contrasts and standard errors, two levels as weights, and refusals."""

import numpy as np
import pandas as pd
import pytest
from matching_reference import case, data, school

from attribution.design.weight import weight
from attribution.errors import AttributionError
from attribution.estimate.att import att
from attribution.estimate.levels import multi_valued

NAMES = ["mmarried", "mage", "mage2", "fbaby", "medu"]


def births():
    return data("cattaneo2").assign(mage2=lambda f: f["mage"] ** 2)


def compare(fit, r):
    np.testing.assert_allclose(fit.estimate, list(r["coef"].values())[1:], rtol=1e-6)
    np.testing.assert_allclose(fit.std_error, list(r["se_Mest"].values())[1:], rtol=1e-4)
    np.testing.assert_allclose(fit.labels["ess"], r["ess"][1:], rtol=1e-6)


def test_reference():
    fit = multi_valued(births(), "msmoke", outcome="bweight", covariates=NAMES, reference=0)
    compare(fit, case("ipw_multi_cattaneo2")["results"])
    assert fit.labels["term"].tolist() == ["1 vs 0", "2 vs 0", "3 vs 0"]
    assert fit.n_treated.tolist() == [200, 337, 327] and fit.n_comparison.tolist() == [3778] * 3
    assert fit.notes[0].startswith("Effective units: 0 3,633 of 3,778, 1 154 of 200")


@pytest.mark.parametrize("path", ["coef", "se_Mest", "ess"])
def test_canary(path):
    r = case("ipw_multi_cattaneo2")["results"]
    r[path] = {k: v * 1.001 for k, v in r[path].items()} if path != "ess" else [v * 1.001 for v in r[path]]
    with pytest.raises(AssertionError):
        compare(multi_valued(births(), "msmoke", outcome="bweight", covariates=NAMES, reference=0), r)


@pytest.mark.parametrize(("whom", "target"), [("all", "all"), (1, "treated")])
def test_two_levels_are_weights_and_att(whom, target):
    frame = births()
    fit = multi_valued(frame, "mbsmoke", outcome="bweight", covariates=NAMES, reference=0, target=whom)
    peer = att(weight(frame, "mbsmoke", covariates=NAMES, target=target), "bweight", vcov="m_estimation")
    assert fit.estimate[0] == pytest.approx(peer.estimate[0], rel=1e-8)
    assert fit.std_error[0] == pytest.approx(peer.std_error[0], rel=1e-8)


def ways(n, seed):
    """Three ways into the school, by x; free adds 0.5, apprentice 1 + x."""
    frame = school(n, seed=seed).rename(columns={"treated": "_"})
    rng = np.random.default_rng(1_000 + seed)
    eta = np.column_stack([np.zeros(n), 0.5 * frame["x"], -0.3 + 0.5 * frame["b"]]) + rng.gumbel(size=(n, 3))
    frame["way"] = np.array(["paid", "free", "apprentice"])[eta.argmax(axis=1)]
    gain = np.select([frame["way"] == "free", frame["way"] == "apprentice"], [0.5, 1 + frame["x"]], 0.0)
    return frame.assign(y=frame["y"] + gain)


def test_recovers_the_effects_of_three_ways():
    truth, hits, gaps = {"apprentice vs paid": 1.0, "free vs paid": 0.5}, [], []
    for seed in range(120):
        fit = multi_valued(ways(600, seed), "way", outcome="y", covariates=["x", "z", "b"], reference="paid")
        assert fit.labels["term"].tolist() == list(truth)
        low, high = fit.conf_int()
        aim = np.array(list(truth.values()))
        hits.append((low <= aim) & (aim <= high))
        gaps.append((fit.estimate - aim) / fit.std_error)
    assert (np.abs(np.mean(gaps, axis=0)) < 3 / np.sqrt(120)).all()
    assert (np.mean(hits, axis=0) > 0.9).all() and np.mean(hits) < 0.995


def test_order_of_rows_and_missing_outcomes():
    frame = ways(400, 0)
    one = multi_valued(frame, "way", outcome="y", covariates=["x", "b"], reference="paid", target="free")
    two = multi_valued(frame.sample(frac=1, random_state=1), "way", outcome="y", covariates=["x", "b"],
                       reference="paid", target="free")  # fmt: skip
    np.testing.assert_allclose(two.estimate, one.estimate, rtol=1e-9)
    np.testing.assert_allclose(two.std_error, one.std_error, rtol=1e-9)
    assert one.estimand == "effect on the units of way free, each level against paid"
    holes = multi_valued(frame.assign(y=frame["y"].where(np.arange(400) >= 5)), "way", outcome="y", covariates=["x"],
                         reference="paid")  # fmt: skip
    assert " where y is known, each level against " in holes.estimand
    assert "5 units without y were left out of the means." in holes.notes


@pytest.mark.parametrize(("change", "options", "says"), [
    (lambda f: f, {"reference": "gift"}, "among the levels of way"),
    (lambda f: f, {"target": "gift"}, "among the levels of way"),
    (lambda f: f.assign(way=np.where(np.arange(len(f)) == 0, "only", f["way"])), {}, "two units with an outcome"),
    (lambda f: f.assign(x=1.0), {}, "constant covariate"),
    (lambda f: f.assign(x=f["x"].where(f["x"] < 1)), {}, "missing values"),
    (lambda f: f.assign(x=(f["way"] == "free") + 0.0 * f["x"]), {}, "does not converge"),
    (lambda f: f, {"covariates": ["x", "y"]}, "other than the treatment and the outcome"),
])  # fmt: skip
def test_refusals(change, options, says):
    with pytest.raises(AttributionError, match=says):
        multi_valued(change(ways(300, 1)), "way",
                     **{"outcome": "y", "covariates": ["x", "z"], "reference": "paid", **options})  # fmt: skip


def test_input_is_not_changed():
    frame = ways(200, 2)
    before = frame.copy()
    multi_valued(frame, "way", outcome="y", covariates=["x"], reference="paid")
    pd.testing.assert_frame_equal(frame, before)
