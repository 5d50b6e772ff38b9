"""The range over tie orders: MatchIt's own range on lalonde, a case by hand, no range without ties."""

import numpy as np
import pandas as pd
import pytest
from matching_reference import CASES, LALONDE, case, covariates, data, dataset, school

import attribution as at
from attribution.design.match import match
from attribution.errors import EstimationError
from attribution.estimate.tie_range import tie_range


@pytest.mark.parametrize("name", [n for n in CASES if n.startswith("nn1_noreplace")])
def test_reference(name):
    """MatchIt 4.7.2 with rows shuffled 20 times: 200 orders reach at least as far, and little farther."""
    design = match(data(dataset(name)), "treat", covariates=covariates(name), distance="propensity", **CASES[name])
    theirs = case(name)["results"]["row_order_sensitivity"]
    ours = tie_range(design, "re78", orders=200, seed=0)
    width = theirs["att_max"] - theirs["att_min"]
    assert ours.low <= theirs["att_min"] + 1e-6 * abs(theirs["att_min"])
    assert ours.high >= theirs["att_max"] - 1e-6 * abs(theirs["att_max"])
    assert ours.high - ours.low <= 1.2 * width
    assert ours.low <= ours.estimate <= ours.high


def test_by_hand():
    """One treated unit between two equally near ones who earn 1 and 5: the effect is 9 or 5."""
    frame = pd.DataFrame({"t": [1, 1, 0, 0, 0], "x": [0.0, 7.0, 1.0, -1.0, 7.0], "y": [10.0, 3.0, 1.0, 5.0, 3.0]})
    design = match(frame, "t", covariates=["x"], distance="scaled_euclidean", replace=True)
    found = tie_range(design, "y", orders=40)
    assert (found.low, found.high, found.estimate, found.tied) == (2.5, 4.5, 4.5, 1)
    assert set(found.estimates) == {2.5, 4.5}
    assert "2.5 to 4.5 over 40 orders" in found.summary() and found.tidy()["tied"].item() == 1
    every = match(frame, "t", covariates=["x"], distance="scaled_euclidean", replace=True, ties="all")
    assert (tie_range(every, "y", orders=5).low, tie_range(every, "y", orders=5).high) == (3.5, 3.5)


def test_without_ties_there_is_no_range():
    design = match(school(200), "treated", covariates=["x", "z"], caliper_sd={"logit": 0.3, "x": 1.0}, key="key")
    found = tie_range(design, "y", orders=10)
    assert found.tied == 0 and found.low == pytest.approx(found.high) == pytest.approx(found.estimate)


def test_refusals():
    design = match(school(100), "treated", covariates=["x"])
    with pytest.raises(EstimationError, match="orders >= 1"):
        tie_range(design, "y", orders=0)
    assert np.isfinite(tie_range(design, "y", orders=2, data=design.units).low)


def test_the_summary_of_an_estimate_says_the_range_where_ties_decided():
    """On a score and up to 20,000 units without being asked; never where nothing was a tie, or all ties are kept."""
    men = data("lalonde")
    design = at.match(men, "treat", covariates=LALONDE, caliper_sd=0.2, key="id")
    asked = at.tie_range(design, "re78", orders=50)
    assert f"{asked.low:,.4g} to {asked.high:,.4g} over 50 orders" in at.att(design, "re78").summary()
    assert "orders" not in at.att(design, "re78", tie_orders=0).summary()
    kept = at.match(men, "treat", covariates=LALONDE, replace=True, ties="all")
    assert "orders" not in at.att(kept, "re78").summary()
    optimal = at.match(men, "treat", covariates=LALONDE, method="optimal", key="id")
    said = at.att(optimal, "re78", tie_orders=10).summary()
    assert "over 10 orders of equally near units." in said and "choices" not in said
