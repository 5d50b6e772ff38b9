"""TMLE: zEpid's figures, agreement with AIPW where both are exact, recovery, what it refuses."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matching_reference import LALONDE, case, data, school

import attribution as at
from attribution.errors import EstimationError

ZEPID = {"covariates": LALONDE, "interact": False}


def compare(results):
    frame = data("lalonde")
    binary, continuous = results["tmle_binary"], results["tmle_continuous"]
    found = at.tmle(frame, "treat", outcome="emp78", **ZEPID)
    assert found.estimate[0] == pytest.approx(binary["risk_difference"], rel=1e-6)
    assert found.std_error[0] == pytest.approx(binary["risk_difference_se"], rel=1e-5)
    for scale, name in (("ratio", "risk_ratio"), ("odds_ratio", "odds_ratio")):
        found = at.tmle(frame, "treat", outcome="emp78", scale=scale, **ZEPID)
        assert np.exp(found.estimate[0]) == pytest.approx(binary[name], rel=1e-6)
        if f"{name}_ci" in binary:
            np.testing.assert_allclose(np.exp(found.conf_int()).ravel(), binary[f"{name}_ci"], rtol=1e-5)
    found = at.tmle(frame, "treat", outcome="re78", bound=0.0005, **ZEPID)
    assert found.estimate[0] == pytest.approx(continuous["average_treatment_effect"], rel=1e-6)
    assert found.std_error[0] == pytest.approx(continuous["average_treatment_effect_se"], rel=1e-5)


def test_reference():
    compare(case("tmle_lalonde")["results"])


@pytest.mark.parametrize(("part", "name"), [
    ("tmle_binary", "risk_difference"), ("tmle_binary", "risk_difference_se"), ("tmle_binary", "risk_ratio"),
    ("tmle_binary", "odds_ratio"), ("tmle_continuous", "average_treatment_effect"),
    ("tmle_continuous", "average_treatment_effect_se"),
])  # fmt: skip
def test_canary(part, name):
    results = case("tmle_lalonde")["results"]
    results[part][name] *= 1.0001
    with pytest.raises(AssertionError):
        compare(results)


def test_saturated_it_is_the_average_of_the_cells():
    frame = school(600).assign(y=lambda f: (f["y"] > 0).astype(int))
    cells = frame.groupby(["b", "treated"])["y"].mean().unstack()
    found = at.tmle(frame, "treated", outcome="y", covariates=["b"])
    assert found.estimate[0] == pytest.approx(frame["b"].map(cells[1] - cells[0]).mean(), rel=1e-7)


def test_it_stays_inside_the_range_and_solves_its_equations():
    frame = school(400).assign(y=lambda f: (f["y"] > 1).astype(int))
    parts = at.tmle(frame, "treated", outcome="y", covariates=["x", "z", "b"], parts=True)
    assert list(parts.labels["term"]) == ["if_treated", "if_untreated", "ate"]
    assert (parts.estimate[:2] > 0).all() and (parts.estimate[:2] < 1).all()
    np.testing.assert_allclose(parts.scores.sum(axis=0), 0, atol=1e-6)


@pytest.mark.parametrize("seeds", [40, pytest.param(400, marks=pytest.mark.slow)])
@pytest.mark.parametrize("folds", [0, 3])
def test_recovers_a_constant_effect(seeds, folds):
    rows = []
    for seed in range(seeds):
        found = at.tmle(school(600, seed=seed, effect=0.5), "treated", outcome="y", covariates=["x", "z", "b"],
                        folds=folds, key="key")  # fmt: skip
        low, high = found.conf_int()
        rows.append((found.estimate[0] - 0.5, found.std_error[0], low[0] <= 0.5 <= high[0]))
    error, se, covered = np.array(rows).T
    assert abs(error.mean()) < 4 * error.std(ddof=1) / np.sqrt(seeds) + 0.01  # the bounded outcome costs a little
    assert se.mean() / error.std(ddof=1) == pytest.approx(1, abs=4 / np.sqrt(2 * seeds) + 0.05)
    assert covered.mean() > 0.95 - 4 * np.sqrt(0.05 * 0.95 / seeds)


def test_the_treated_by_hand():
    """Two cells of three comparison units: weighted fluctuation or not, the answer is the mean of the cells' gaps."""
    frame = pd.DataFrame({"b": [0] * 5 + [1] * 7, "t": [1, 1, 0, 0, 0] + [1, 1, 1, 1, 0, 0, 0],
                          "y": [1, 0, 1, 0, 0] + [1, 1, 0, 1, 1, 0, 0]})  # fmt: skip
    found = at.tmle(frame, "t", outcome="y", covariates=["b"], target="treated", parts=True)
    np.testing.assert_allclose(found.estimate, [4 / 6, 1 / 3, 1 / 3], rtol=1e-6)
    # p/(1 - p) is 2/3 and 4/3; D in twelfths: treated 2 (Y - 1/3 - 1/3), others -2 p/(1 - p) (Y - 1/3)
    odds = frame["b"].map({0: 2 / 3, 1: 4 / 3})
    d = np.where(frame["t"] == 1, 2 * (frame["y"] - 2 / 3), -2 * odds * (frame["y"] - 1 / 3))
    assert found.std_error[2] == pytest.approx(np.sqrt((d**2).sum() / 12 / 11), rel=1e-6)
    assert found.estimand == "ATT" and list(found.labels["term"]) == ["observed", "counterfactual", "att"]


@pytest.mark.parametrize("outcome", ["emp78", "re78"])
def test_the_treated_by_root_finding(outcome):
    """The same equations by statsmodels' logit and a bracketed root, one unknown, nothing of ours but the data."""
    import statsmodels.api as sm
    from scipy.optimize import brentq
    from scipy.special import expit, logit

    frame, binary = data("lalonde"), outcome == "emp78"
    x = sm.add_constant(pd.get_dummies(frame[LALONDE], columns=["race"], drop_first=True).astype(float)).to_numpy()
    a, y = frame["treat"].to_numpy() == 1, frame[outcome].to_numpy(float)
    low, width = y.min(), np.ptp(y)
    y = (y - low) / width
    p = sm.Logit(a.astype(float), x).fit(disp=0, tol=1e-12).predict(x)
    family = sm.families.Binomial() if binary else sm.families.Gaussian()
    q0 = sm.GLM(y[~a], x[~a], family=family).fit(tol=1e-12).predict(x)
    q0 = q0 if binary else np.clip(q0, 0.0005, 0.9995)
    odds = p / (1 - p)
    step = brentq(lambda e: (odds * (y - expit(logit(q0) + e)))[~a].sum(), -5, 5, xtol=1e-14)
    q0 = expit(logit(q0) + step)
    psi = (y - q0)[a].mean()
    d = np.where(a, y - q0 - psi, -odds * (y - q0)) / a.mean()
    found = at.tmle(frame, "treat", outcome=outcome, covariates=LALONDE, target="treated", parts=True)
    assert found.estimate[2] == pytest.approx(width * psi, rel=1e-6)
    assert found.std_error[2] == pytest.approx(width * d.std(ddof=1) / np.sqrt(len(a)), rel=1e-6)
    assert found.estimate[0] == pytest.approx(low + width * y[a].mean(), rel=1e-8)  # the treated keep their own mean


def test_the_treated_stay_inside_the_range():
    """A linear model of a 0/1 outcome leaves [0, 1], and AIPW with it; the moved predictions do not."""
    rng = np.random.default_rng(6)
    x = np.r_[rng.normal(0, 1, 150), rng.normal(1.5, 1, 50)]
    frame = pd.DataFrame({"x": x, "t": np.repeat([0, 1], [150, 50])})
    frame["y"] = (x + 0.2 * rng.normal(size=200) < -1.2).astype(int)
    frame.loc[[198, 199], "y"] = 1
    options = {"outcome": "y", "covariates": ["x"], "target": "treated", "outcome_model": "linear", "parts": True}
    assert at.aipw(frame, "t", **options).estimate[1] < 0
    found = at.tmle(frame, "t", bound=0.001, **options)
    assert 0 < found.estimate[1] < 1
    np.testing.assert_allclose(found.scores.sum(axis=0), 0, atol=1e-6)


def lopsided(n, seed):
    """Treatment and outcome depend on x and its square; the effect of 0.1 is the same for all."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-2, 2, n)
    t = (rng.random(n) < 1 / (1 + np.exp(1.2 - 0.4 * x - 0.4 * x**2))).astype(int)
    base = 0.1 + 0.15 * x**2 + 0.05 * x
    y = base + 0.1 * t + rng.uniform(-0.1, 0.1, n)
    return pd.DataFrame({"x": x, "x2": x**2, "t": t, "y": y})


MODELS = {"both right": (["x", "x2"], ["x", "x2"]), "outcome right": (["x", "x2"], ["x"]),
          "propensity right": (["x"], ["x", "x2"]), "both wrong": (["x"], ["x"])}  # fmt: skip


@pytest.mark.parametrize("which", MODELS)
@pytest.mark.parametrize("seeds", [60, pytest.param(400, marks=pytest.mark.slow)])
def test_the_treated_are_right_if_either_model_is(which, seeds):
    outcome, decide = MODELS[which]
    rows = []
    for seed in range(seeds):
        found = at.tmle(lopsided(1_600, seed), "t", outcome="y", covariates=outcome, propensity_covariates=decide,
                        target="treated")  # fmt: skip
        low, high = found.conf_int()
        rows.append((found.estimate[0] - 0.1, found.std_error[0], low[0] <= 0.1 <= high[0]))
    error, se, covered = np.array(rows).T
    monte_carlo = error.std(ddof=1) / np.sqrt(seeds)
    if which == "both wrong":
        assert error.mean() > 6 * monte_carlo  # the tests can tell
        return
    assert abs(error.mean()) < 4 * monte_carlo
    if which == "both right":  # models taken as known: what a wrong one costs or spares is not counted
        assert se.mean() / error.std(ddof=1) == pytest.approx(1, abs=4 / np.sqrt(2 * seeds) + 0.03)
        assert covered.mean() > 0.95 - 4 * np.sqrt(0.05 * 0.95 / seeds)


def test_the_treated_without_overlap_are_refused():
    frame = school(300)
    options = {"outcome": "y", "covariates": ["x", "b"], "target": "treated"}
    with pytest.raises(EstimationError, match="overlap"):
        at.tmle(frame.assign(x=frame["x"] + 40 * frame["treated"]), "treated", **options)
    with pytest.raises(EstimationError, match="target"):
        at.tmle(frame, "treated", outcome="y", covariates=["x"], target="overlap")
    found = at.tmle(frame, "treated", trim=0.5 - 1e-6, **options)  # nobody treated more often than not
    assert "ATT on units with overlap" in found.estimand and "left out" in found.notes[0]


def test_refusals():
    frame = school(300)
    options = {"outcome": "y", "covariates": ["x", "b"]}
    with pytest.raises(EstimationError, match="bound"):
        at.tmle(frame, "treated", bound=0.7, **options)
    with pytest.raises(EstimationError, match="odds ratio"):
        at.tmle(frame, "treated", scale="odds_ratio", **options)
    with pytest.raises(EstimationError, match="varies"):
        at.tmle(frame.assign(y=1), "treated", **options)
    with pytest.raises(EstimationError, match="overlap"):
        at.tmle(frame.assign(x=frame["x"] + 40 * frame["treated"]), "treated", **options)
