"""AIPW and its relatives: R's, Stata's, DoubleML's and zEpid's figures, double robustness, cross-fitting, refusals."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest
from matching_reference import LALONDE, case, data, school
from sklearn.ensemble import RandomForestRegressor

import attribution as at
from attribution.errors import AttributionError, DesignError, EstimationError

BIRTHS = {"outcome": "bweight", "covariates": ["prenatal1", "mmarried", "mage", "fbaby"]}
MOTHERS = ["mmarried", "mage", "mage2", "fbaby", "medu"]
STATA = [("ra", "all"), ("ra", "treated"), ("ipw", "all"), ("ipw", "treated"), ("aipw", "all"), ("aipw_wls", "all"),
         ("ipwra", "all"), ("ipwra", "treated")]  # fmt: skip
TARGET = {"all": "ATE", "treated": "ATT"}


def births():
    return data("cattaneo2").assign(mage2=lambda f: f["mage"] ** 2)


def compare_stata(form, target, expected):
    """Probit propensity, linear outcomes, the effect and the mean of those not treated."""
    found = at.aipw(births(), "mbsmoke", **BIRTHS, propensity_covariates=MOTHERS, propensity_model="probit", form=form,
                    target=target, parts=True, normalised=form == "ipw")  # fmt: skip
    for j, name in ((2, "r1vs0.mbsmoke"), (1, "0.mbsmoke")):
        assert found.estimate[j] == pytest.approx(expected[name]["est"], rel=1e-6)
        assert found.std_error[j] == pytest.approx(expected[name]["se"], rel=1e-5)


@pytest.mark.parametrize(("form", "target"), STATA)
def test_stata(form, target):
    compare_stata(form, target, case("stata_teffects_cattaneo2")["results"]["stata"][form][TARGET[target]])


@pytest.mark.parametrize("name", ["r1vs0.mbsmoke", "0.mbsmoke"])
@pytest.mark.parametrize("figure", ["est", "se"])
def test_canary(name, figure):
    expected = case("stata_teffects_cattaneo2")["results"]["stata"]["ipwra"]["ATT"]
    expected[name][figure] *= 1.0001
    with pytest.raises(AssertionError):
        compare_stata("ipwra", "treated", expected)


def test_statsmodels_finds_the_same_regression_adjustment():
    from statsmodels.regression.linear_model import OLS
    from statsmodels.treatment.treatment_effects import TreatmentEffect

    frame = births()
    exog = np.column_stack([np.ones(len(frame)), frame[BIRTHS["covariates"]]])
    probit = np.column_stack([np.ones(len(frame)), frame[MOTHERS]])
    from statsmodels.discrete.discrete_model import Probit

    peer = TreatmentEffect(OLS(frame["bweight"].to_numpy(float), exog), frame["mbsmoke"].to_numpy(),
                           results_select=Probit(frame["mbsmoke"].to_numpy(float), probit).fit(disp=0))  # fmt: skip
    for form, call in (("ra", peer.ra), ("aipw", peer.aipw), ("ipwra", peer.ipw_ra)):
        found = at.aipw(frame, "mbsmoke", **BIRTHS, propensity_covariates=MOTHERS, propensity_model="probit", form=form)
        result = call()
        np.testing.assert_allclose([found.estimate[0], found.std_error[0]],
                                   [result.results_gmm.params[0], result.results_gmm.bse[0]], rtol=5e-4)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "call"),
    [("aipw_lalonde", ("lalonde", "treat", "re78", LALONDE)),
     ("aipw_cattaneo2", ("births", "mbsmoke", "bweight", MOTHERS))],
)  # fmt: skip
def test_closed_form(name, call):
    what, treatment, outcome, names = call
    frame, results = births() if what == "births" else data(what), case(name)["results"]
    for target, key in (("all", "ate"), ("treated", "att")):
        options = {"outcome": outcome, "covariates": names, "target": target}
        found = at.aipw(frame, treatment, std_error="influence", **options)
        assert found.estimate[0] == pytest.approx(results[f"aipw_{key}"]["est"], rel=1e-6)
        assert found.std_error[0] == pytest.approx(results[f"aipw_{key}"]["se_if"], rel=1e-5)
        alone = at.aipw(frame, treatment, form="ra", **options)
        assert alone.estimate[0] == pytest.approx(results[f"ra_{key}"], rel=1e-6)
    options = {"outcome": outcome, "covariates": names}
    for normalised, form, target, key in ((False, "ipw", "all", "ipw_ate_ht"), (True, "ipw", "all", "ipw_ate_hajek"),
                                          (True, "aipw", "treated", "aipw_att_hajek")):  # fmt: skip
        found = at.aipw(frame, treatment, form=form, target=target, normalised=normalised, **options)
        assert found.estimate[0] == pytest.approx(results[key], rel=1e-6)


@pytest.mark.parametrize(("target", "key"), [("all", "irm_ATE"), ("treated", "irm_ATTE")])
def test_doubleml(target, key):
    """Five fixed folds; DoubleML moves propensities to [0.01, 0.99] on the quiet, here it is asked for and said."""
    frame, expected = data("lalonde"), case("dml_lalonde")["results"][key]
    frame["fold"] = np.arange(len(frame)) % 5
    found = at.aipw(frame, "treat", outcome="re78", covariates=LALONDE, target=target, fold="fold", clip=0.01)
    assert found.estimate[0] == pytest.approx(expected["est"], rel=1e-5)
    assert found.std_error[0] == pytest.approx(expected["se"], rel=1e-3)  # DoubleML divides by n, not n - 1
    assert "2 probabilities of treatment were moved" in found.notes[0]


def test_zepid():
    """One outcome model with treatment as a main effect."""
    results, options = case("tmle_lalonde")["results"], {"covariates": LALONDE, "interact": False}
    for outcome, key, name in (("emp78", "aiptw_binary", "risk_difference"),
                               ("re78", "aiptw_continuous", "average_treatment_effect")):  # fmt: skip
        found = at.aipw(data("lalonde"), "treat", outcome=outcome, std_error="influence", **options)
        assert found.estimate[0] == pytest.approx(results[key][name], rel=1e-6)
        assert found.std_error[0] == pytest.approx(results[key][f"{name}_se"], rel=1e-5)
    ratio = at.aipw(data("lalonde"), "treat", outcome="emp78", scale="ratio", **options)
    assert np.exp(ratio.estimate[0]) == pytest.approx(results["aiptw_binary"]["risk_ratio"], rel=1e-6)


def test_saturated_by_hand():
    """One binary covariate: AIPW is the average over its cells of the difference within, and so are its relatives."""
    frame = school(600, effect=1.0)
    cells = frame.groupby(["b", "treated"])["y"].mean().unstack()
    gap = cells[1] - cells[0]
    expected = {"all": frame["b"].map(gap).mean(), "treated": frame.loc[frame["treated"] == 1, "b"].map(gap).mean()}
    for form, target in STATA:
        found = at.aipw(frame, "treated", outcome="y", covariates=["b"], form=form, target=target,
                        normalised=form == "ipw")  # fmt: skip
        assert found.estimate[0] == pytest.approx(expected[target], rel=1e-9)


def test_scale_and_order():
    frame = school(500, effect=1.0)
    options = {"outcome": "y", "covariates": ["x", "z", "b"], "key": "key"}
    for more in ({}, {"folds": 3}, {"form": "ipwra"}, {"target": "treated", "normalised": True}):
        plain = at.aipw(frame, "treated", **options, **more)
        moved = at.aipw(frame.assign(y=3 * frame["y"] - 1e4), "treated", **options, **more)
        mixed = at.aipw(frame.sample(frac=1, random_state=2), "treated", **options, **more)
        np.testing.assert_allclose([moved.estimate[0], moved.std_error[0]],
                                   [3 * plain.estimate[0], 3 * plain.std_error[0]], rtol=1e-6)  # fmt: skip
        assert mixed.estimate[0] == plain.estimate[0] and mixed.std_error[0] == plain.std_error[0]


def curved(n, seed):
    """Treatment and outcome both depend on x and its square; the effect of 1 is the same for all."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    t = (rng.random(n) < 1 / (1 + np.exp(0.7 - 0.3 * x - 0.2 * x**2))).astype(int)
    return pd.DataFrame({"x": x, "x2": x**2, "t": t, "y": x + x**2 + t + rng.normal(size=n), "who": np.arange(n)})


MODELS = {"both right": (["x", "x2"], ["x", "x2"]), "outcome right": (["x", "x2"], ["x"]),
          "propensity right": (["x"], ["x", "x2"]), "both wrong": (["x"], ["x"])}  # fmt: skip


@pytest.mark.parametrize("which", MODELS)
@pytest.mark.parametrize("seeds", [60, pytest.param(400, marks=pytest.mark.slow)])
def test_right_if_either_model_is(which, seeds):
    outcome, decide = MODELS[which]
    rows = []
    for seed in range(seeds):
        for target, normalised in (("all", False), ("treated", False), ("treated", True)):
            found = at.aipw(curved(1_000, seed), "t", outcome="y", covariates=outcome, propensity_covariates=decide,
                            target=target, normalised=normalised)  # fmt: skip
            low, high = found.conf_int()
            rows.append((found.estimate[0] - 1, found.std_error[0], low[0] <= 1 <= high[0]))
    error, se, covered = np.array(rows).reshape(seeds, 3, 3).transpose(2, 1, 0)
    for k in range(3):
        monte_carlo = error[k].std(ddof=1) / np.sqrt(seeds)
        if which == "both wrong":
            assert error[k].mean() > 6 * monte_carlo  # the tests can tell
            continue
        assert abs(error[k].mean()) < 4 * monte_carlo
        assert se[k].mean() / error[k].std(ddof=1) == pytest.approx(1, abs=4 / np.sqrt(2 * seeds) + 0.03)
        assert covered[k].mean() > 0.95 - 4 * np.sqrt(0.05 * 0.95 / seeds)


def test_cross_fitted_trees_find_what_lines_miss():
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    frame = curved(8_000, 1)
    models = {"outcome_model": DecisionTreeRegressor(min_samples_leaf=50),
              "propensity_model": DecisionTreeClassifier(min_samples_leaf=300)}  # fmt: skip
    found = at.aipw(frame, "t", outcome="y", covariates=["x"], folds=4, key="who", **models)
    lines = at.aipw(frame, "t", outcome="y", covariates=["x"], folds=4, key="who")
    assert abs(found.estimate[0] - 1) < 3 * found.std_error[0] < 0.3
    assert abs(lines.estimate[0] - 1) > 3 * lines.std_error[0]
    shuffled = frame.sample(frac=1, random_state=0)
    mixed = at.aipw(shuffled, "t", outcome="y", covariates=["x"], folds=4, key="who", **models)
    np.testing.assert_allclose(found.estimate, mixed.estimate, rtol=1e-12)  # folds follow the key, not the rows
    assert models["outcome_model"].random_state is None  # cloned, not changed
    with pytest.raises(EstimationError, match="folds of 2 or more"):
        at.aipw(frame, "t", outcome="y", covariates=["x"], outcome_model=models["outcome_model"])


@pytest.mark.parametrize("call", [at.aipw, at.tmle])
def test_forests_are_models_too(call):
    """An unfitted ensemble has a length, which raises when asked for."""
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    found = call(curved(400, 1), "t", outcome="y", covariates=["x", "x2"], folds=2,
                 outcome_model=RandomForestRegressor(10, min_samples_leaf=20, random_state=0),
                 propensity_model=RandomForestClassifier(10, min_samples_leaf=100, random_state=0))  # fmt: skip
    assert np.isfinite(found.std_error).all() and "outcome: RandomForestRegressor" in found.summary()


def test_clusters_go_whole_into_folds_and_scores():
    frame = curved(600, 3)
    twice = pd.concat([frame, frame.assign(who=frame["who"] + 600)], ignore_index=True)
    twice["person"] = twice["who"] % 600
    options = {"outcome": "y", "covariates": ["x", "x2"]}
    once = at.aipw(frame, "t", cluster="who", **options)
    double = at.aipw(twice, "t", cluster="person", **options)
    np.testing.assert_allclose(double.estimate, once.estimate, rtol=1e-9)
    np.testing.assert_allclose(double.std_error, once.std_error, rtol=1e-7)
    assert at.aipw(twice, "t", cluster="person", folds=3, **options).scores.shape == (600, 1)


def test_no_overlap_is_refused_and_trimming_says_for_whom_it_still_speaks():
    rng = np.random.default_rng(0)
    frame = curved(800, 0)
    extra = pd.DataFrame({"x": rng.normal(150, 1, 40), "t": 1, "y": 0.0, "who": np.arange(800, 840)})
    extra["x2"] = extra["x"] ** 2
    wide = pd.concat([frame, extra], ignore_index=True)
    with pytest.raises(EstimationError, match=r"overlap.*\[\d+\]"):
        at.aipw(wide, "t", outcome="y", covariates=["x"], target="treated")
    found = at.aipw(wide, "t", outcome="y", covariates=["x"], target="treated", trim=0.02)
    assert "left out" in found.notes[0] and "on units with overlap" in found.estimand
    assert found.n_treated[0] <= frame["t"].sum()
    apart = frame.assign(x=frame["x"] + 50 * frame["t"])
    with pytest.raises(AttributionError, match="overlap"):
        at.aipw(apart, "t", outcome="y", covariates=["x"])


def test_bad_input():
    frame = curved(200, 0)
    options = {"outcome": "y", "covariates": ["x"]}
    with pytest.raises(EstimationError, match=r"missing values.*\[2\]"):
        at.aipw(frame.assign(y=frame["y"].where(frame["who"] > 1)), "t", **options)
    left = at.aipw(frame.assign(y=frame["y"].where(frame["who"] > 1)), "t", missing="leave_out", **options)
    assert "2 of 200 units were left out" in left.notes[0] and left.estimand == "ATE where y is known"
    with pytest.raises(EstimationError, match="varies"):
        at.aipw(frame.assign(y=3.0), "t", **options)
    with pytest.raises(EstimationError, match="infinite"):
        at.aipw(frame.assign(y=frame["y"].where(frame["who"] > 0, np.inf)), "t", **options)
    with pytest.raises(DesignError, match="1 treated"):
        at.aipw(frame.assign(t=(frame["who"] == 0).astype(int)), "t", **options)
    with pytest.raises(DesignError, match="missing values"):
        at.aipw(frame.assign(x=frame["x"].where(frame["who"] > 1)), "t", **options)
    with pytest.raises(EstimationError, match="fewer folds"):
        at.aipw(frame.assign(t=(frame["who"] < 3).astype(int)), "t", folds=5, **options)
    with pytest.raises(DesignError, match="the same key"):
        at.aipw(frame.assign(who=0), "t", key="who", **options)
    with pytest.raises(EstimationError, match="covariates other than"):
        at.aipw(frame, "t", outcome="y", covariates=["x", "t"])
    with pytest.raises(EstimationError, match="not orthogonal"):
        at.aipw(frame, "t", form="ra", std_error="influence", **options)
    with pytest.raises(EstimationError, match="does not add anything"):
        at.aipw(frame.assign(c=1.0), "t", outcome="y", covariates=["x", "c"])


@pytest.mark.parametrize("estimate", [at.aipw, at.tmle, at.partially_linear])
def test_without_a_key_folds_are_a_matter_of_content(estimate):
    """Neither rows nor labels matter, nor whether a forest draws among them; a key deals otherwise."""
    units = data("lalonde")
    target = {} if estimate is at.partially_linear else {"target": "treated"}
    found = []
    for seed in (None, 1, 2):
        men = units if seed is None else units.sample(frac=1, random_state=seed)
        for table in (men, men.reset_index(drop=True), pl.from_pandas(men), men.astype({"educ": float})):
            found.append(estimate(table, "treat", outcome="re78", covariates=LALONDE, folds=5, **target))
    assert len({f"{effect.estimate[0]:.9g} {effect.std_error[0]:.9g}" for effect in found}) == 1
    keyed = estimate(units, "treat", outcome="re78", covariates=LALONDE, folds=5, key="id", **target)
    assert keyed.estimate[0] != pytest.approx(found[0].estimate[0], rel=1e-6)


def test_a_forest_without_a_key_does_not_see_the_order_of_rows():
    men, forest = data("lalonde"), RandomForestRegressor(10, min_samples_leaf=10, random_state=1)
    one, other = (at.aipw(u, "treat", outcome="re78", covariates=LALONDE, folds=3, outcome_model=forest).estimate[0]
                  for u in (men, men.sample(frac=1, random_state=5)))  # fmt: skip
    assert one == pytest.approx(other, rel=1e-12)


def test_scores_stay_beside_their_units_whatever_deals_the_folds():
    """Two outcomes of the same people, and the same people shuffled: rows of scores are those of the labels."""
    men = data("lalonde").assign(twice=lambda f: 2 * f["re78"] + f["age"] / 100)
    options = {"covariates": LALONDE, "folds": 5, "target": "treated"}
    one, twice = (at.aipw(men, "treat", outcome=name, **options).scores[:, 0] for name in ("re78", "twice"))
    assert np.corrcoef(one, twice)[0, 1] > 0.95
    shuffled = at.aipw(men.sample(frac=1, random_state=2), "treat", outcome="re78", **options).scores[:, 0]
    np.testing.assert_allclose(shuffled, one, rtol=1e-9, atol=1e-9)
