"""TMLE: zEpid's figures, agreement with AIPW where both are exact, recovery, what it refuses."""

from __future__ import annotations

import numpy as np
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
