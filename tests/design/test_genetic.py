"""Weights for balance: at least as good as GenMatch's on lalonde, whose ATT its own weights give here."""

import pandas as pd
import pytest
from matching_reference import case, data, school

from attribution.design.balance import balance
from attribution.design.genetic import genetic_weights
from attribution.design.match import match
from attribution.errors import DesignError
from attribution.estimate.att import att

COVARIATES = ["age", "educ", "hispan", "white", "married", "nodegree", "re74", "re75"]


def men():
    frame = data("lalonde")
    return frame.assign(hispan=(frame["race"] == "hispan") * 1.0, white=(frame["race"] == "white") * 1.0)


def design(weights):
    return match(men(), "treat", covariates=COVARIATES, distance="scaled_euclidean", covariate_weights=weights,
                 replace=True, ties="all", tie_tolerance=1e-5)  # fmt: skip


def worst(weights):
    after = balance(design(weights)).table.query("sample == 'after'")
    return max(after["smd"].abs().max(), after["ks"].max())


def test_reference():
    results = case("genetic_lalonde")["results"]
    theirs = dict(zip(COVARIATES, results["weights_diag"], strict=True))
    found = att(design(theirs), "re78")
    assert found.estimate[0] == pytest.approx(results["att"], rel=1e-6)
    assert found.std_error[0] == pytest.approx(results["se_AI"], rel=1e-4)
    ours = genetic_weights(men(), "treat", covariates=COVARIATES, tie_tolerance=1e-5, population=5, generations=12)
    assert ours.worst <= worst(theirs)
    assert worst(ours.weights) <= worst(theirs)
    assert ours.worst < ours.worst_equal and list(ours.tidy()["covariate"]) == COVARIATES
    assert f"{ours.worst:.3f}" in ours.summary()


def test_same_seed_same_weights_whatever_the_order_of_rows():
    frame = school(150).assign(x=lambda f: f["x"].round(1))
    options = {"covariates": ["x", "z", "b"], "key": "key", "population": 3, "generations": 2, "exact": ["cell"]}
    one = genetic_weights(frame, "treated", **options)
    two = genetic_weights(frame.sample(frac=1, random_state=1), "treated", **options)
    assert one.weights == pytest.approx(two.weights) and one.worst == pytest.approx(two.worst)
    assert one.worst <= one.worst_equal


def test_refusals():
    frame = school(100)
    with pytest.raises(DesignError, match="generations >= 1"):
        genetic_weights(frame, "treated", covariates=["x"], generations=0)
    apart = pd.DataFrame({"t": [1, 1, 0, 0], "x": [1.0, 2, 3, 4], "c": [1, 1, 0, 0]})
    with pytest.raises(DesignError, match="in one exact cell"):
        genetic_weights(apart, "t", covariates=["x"], exact=["c"], generations=1)
