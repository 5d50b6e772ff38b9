"""Robustness values and benchmarks: sensemakr's figures, the algebra by hand, a confounder put in and taken out."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matching_reference import case, school

import attribution as at
from attribution.errors import EstimationError
from attribution.results import Design
from attribution.stress.confounding import robustness

DARFUR = ["age", "farmer_dar", "herder_dar", "pastvoted", "hhsize_darfur", "female", "village"]


@pytest.fixture(scope="module")
def darfur(external) -> Design:
    path = external / "reference" / "match" / "data" / "darfur.csv"
    if not path.is_file():
        pytest.skip("data/external/reference/match/data/darfur.csv is absent: it may not be committed")
    return at.everyone(pd.read_csv(path), "directlyharmed", covariates=DARFUR)


def test_reference(darfur):
    found = case("sensemakr_darfur")["results"]
    result = robustness(darfur, "peacefactor", benchmarks=["female"])
    stats = found["stats"]
    ours = [result.estimate, result.std_error, result.partial_r2, result.robustness_value, result.robustness_value_ci]
    theirs = [stats[k] for k in ("estimate", "se", "r2yd.x", "rv_q", "rv_qa")]
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    assert result.dof == stats["dof"]
    columns = {"r2_treatment": "r2dz.x", "r2_outcome": "r2yz.dx", "estimate": "adjusted_estimate",
               "std_error": "adjusted_se", "t": "adjusted_t", "conf_low": "adjusted_lower_CI",
               "conf_high": "adjusted_upper_CI"}  # fmt: skip
    theirs = pd.DataFrame(found["bounds"])
    for mine, peers in columns.items():
        np.testing.assert_allclose(result.benchmarks[mine], theirs[peers], rtol=1e-6)
    assert robustness(darfur, "peacefactor", q=0.5).robustness_value_ci == pytest.approx(found["rv_q50"], rel=1e-6)
    assert robustness(darfur, "peacefactor", level=0.9).robustness_value_ci == pytest.approx(found["rv_alpha10"])
    row = result.adjusted(0.1, 0.1).iloc[0]
    keys = ["adjusted_estimate_r2_.1_.1", "adjusted_se_.1_.1", "adjusted_t_.1_.1"]
    np.testing.assert_allclose(row[["estimate", "std_error", "t"]].astype(float), [found[k] for k in keys], rtol=1e-6)


def test_by_hand():
    """Means 1, 3 and 2, 4, 6: effect 2; residuals -1 1 -2 0 2, so s2 = 10/3, SE = sqrt(10/3 (1/2 + 1/3)) = 5/3."""
    frame = pd.DataFrame({"t": [0, 0, 1, 1, 1], "y": [1.0, 3, 2, 4, 6]})
    result = robustness(at.everyone(frame, "t"), "y")
    assert result.estimate == pytest.approx(2)
    assert result.std_error == pytest.approx(5 / 3)
    f2 = (2 / (5 / 3)) ** 2 / 3  # partial R2 / (1 - partial R2)
    assert result.partial_r2 == pytest.approx(f2 / (1 + f2))
    assert result.robustness_value == pytest.approx((np.sqrt(f2**2 + 4 * f2) - f2) / 2)
    assert result.robustness_value_ci == 0  # the interval holds zero already
    np.testing.assert_allclose(result.tidy()[["estimate", "t"]].iloc[0].astype(float), [2, 1.2])


def test_a_confounder_of_known_strength_is_undone():
    """The regression without z, told z's true partial R2s, gives back the regression with z."""
    frame = school(800, effect=0.3)
    frame["y"] += 2 * frame["x"]
    full = robustness(at.everyone(frame, "treated"), "y", adjust=["z", "b", "x"], benchmarks=["x"])
    short = robustness(at.everyone(frame, "treated"), "y", adjust=["z", "b"])

    def left(columns, target):
        rows = np.column_stack([np.ones(len(frame)), frame[columns]])
        return frame[target] - rows @ np.linalg.lstsq(rows, frame[target], rcond=None)[0]

    r2_d = np.corrcoef(left(["z", "b"], "x"), left(["z", "b"], "treated"))[0, 1] ** 2
    columns = ["z", "b", "treated"]
    r2_y = np.corrcoef(left(columns, "x"), left(columns, "y"))[0, 1] ** 2
    row = short.adjusted(r2_d, r2_y).iloc[0]
    assert row["estimate"] == pytest.approx(full.estimate, rel=1e-9)
    assert row["std_error"] == pytest.approx(full.std_error, rel=1e-9)


def test_at_the_robustness_value_nothing_is_left():
    result = robustness(at.everyone(school(400, effect=1.0), "treated"), "y", adjust=["x"])
    row = result.adjusted(result.robustness_value, result.robustness_value).iloc[0]
    assert row["estimate"] == pytest.approx(0, abs=1e-9)
    rv = result.robustness_value_ci  # Cinelli & Hazlett compare the ends at the critical value of n - 1
    assert result.adjusted(rv, rv).iloc[0]["conf_low"] == pytest.approx(0, abs=2e-3)


def test_design_weights_rows_and_units_of_the_outcome():
    frame = school(500, effect=0.5)
    design = at.match(frame, "treated", covariates=["x", "z", "b"], caliper_sd=0.2, key="key")
    result = robustness(design, "y", benchmarks={"both": ["x", "b"]})
    assert result.n_treated == result.n_comparison == len(design.pairs)
    shuffled = frame.sample(frac=1, random_state=1)
    again = at.match(shuffled, "treated", covariates=["x", "z", "b"], caliper_sd=0.2, key="key")
    scaled = robustness(again, again.units["y"].to_numpy() * 1e6, benchmarks={"both": ["b", "x"]})
    for name in ("robustness_value", "robustness_value_ci", "partial_r2"):
        assert getattr(scaled, name) == pytest.approx(getattr(result, name))
    np.testing.assert_allclose(scaled.benchmarks["estimate"], 1e6 * result.benchmarks["estimate"])
    assert "both" in result.summary() and "%" in result.summary()


def test_too_strong_a_benchmark_is_a_hole():
    frame = school(300)
    frame["z"] += 3 * frame["treated"]  # z all but gives treatment away
    result = robustness(at.everyone(frame, "treated"), "y", adjust=["x", "z"], benchmarks=["z"], times=(1, 50))
    assert np.isnan(result.benchmarks["estimate"].iloc[1])
    assert "no confounder can be that strong" in result.summary()


def test_refusals():
    frame = school(60).assign(twin=lambda f: 2 * f["treated"], flat=1.0)
    design = at.everyone(frame, "treated")
    with pytest.raises(EstimationError, match="determine") as error:
        robustness(design, "y", adjust=["twin"])
    assert error.value.column == "treated"
    with pytest.raises(EstimationError, match="all equal"):
        robustness(design, "flat", adjust=["x"])
    with pytest.raises(EstimationError, match="add them to adjust"):
        robustness(design, "y", adjust=["x"], benchmarks=["z"])
    with pytest.raises(EstimationError, match="q and times above 0"):
        robustness(design, "y", adjust=["x"], q=0)
    with pytest.raises(EstimationError, match="partial R2"):
        robustness(design, "y", adjust=["x"]).adjusted(1.0, 0.1)
    with pytest.raises(at.DesignError, match="everyone"):
        robustness(frame, "y", adjust=["x"])
    with pytest.raises(at.DesignError, match="60 different values in 60 rows .an identifier"):
        robustness(at.everyone(frame, "treated"), "y", adjust=["key"])
    wide = frame.assign(**{f"w{i}": np.random.default_rng(i).normal(size=60) for i in range(60)})
    with pytest.raises(EstimationError, match="adjust for less"):
        robustness(at.everyone(wide, "treated"), "y", adjust=[f"w{i}" for i in range(60)])
