"""Abadie and Imbens: Matching's and Stata's figures, a case by hand, coverage, and what is refused."""

import numpy as np
import pandas as pd
import pytest
from matching_reference import LALONDE, PSID, case, data, school

from attribution.design.match import match
from attribution.design.propensity import propensity
from attribution.errors import EstimationError
from attribution.estimate.abadie_imbens import abadie_imbens
from attribution.estimate.att import att

COVARIATES = {
    "lalonde": ["age", "educ", "hispan", "white", "married", "nodegree", "re74", "re75"],
    "nsw_psid": ["age", "educ", "black", "hisp", "married", "re74", "re75"],
}
SCORE = {"lalonde": LALONDE, "nsw_psid": PSID}


def men(name):
    frame = data(name)
    if name == "lalonde":
        frame = frame.assign(hispan=(frame["race"] == "hispan") * 1.0, white=(frame["race"] == "white") * 1.0)
    return frame


def matched(frame, call, name):
    """Matching's call as ours: Weight 1 inverse variance, 2 Mahalanobis, else the propensity; ATC by turning arms."""
    if "ATC" in call:
        frame = frame.assign(treat=1 - frame["treat"])
    distance = "propensity" if call.startswith("ps") else "mahalanobis_total" if "mahal" in call else "scaled_euclidean"
    return match(
        frame, "treat", covariates=(SCORE if call.startswith("ps") else COVARIATES)[name], distance=distance,
        ratio=4 if "M4" in call else 1, replace=True, ties="all", tie_tolerance=1e-10 if "tol0" in call else 1e-5,
        target="all" if "ATE" in call else "treated", caliper_sd=0.25 if "caliper" in call else None,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["lalonde", "nsw_psid"])
def test_matching(name):
    """All 20 estimates and standard errors of Matching 4.10.8, on our own propensity."""
    frame = men(name)
    for call, theirs in case(f"ai_match_{name}")["results"].items():
        design = matched(frame, call, name)
        ours = abadie_imbens(
            design, "re78", bias_correction=COVARIATES[name] if "biasadj" in call else (),
            variance_neighbours=4 if "VC4" in call else 0, estimated_propensity=False,
        )  # fmt: skip
        sign = -1.0 if "ATC" in call else 1.0
        assert len(design.pairs) == theirs["n_pairs"], call
        assert sign * ours.estimate[0] == pytest.approx(theirs["est"], rel=1e-6), call
        assert ours.std_error[0] == pytest.approx(theirs["se_AI"], rel=1e-4), call


def test_published_nnmatch():
    frame, results = data("nsw_dw"), case("ai_nnmatch_published")["results"]
    eight = ["age", "educ", "black", "hisp", "marr", "re74", "re75", "u74"]
    for name, covariates, ratio, options in (
        ("sate_age_M1", ["age"], 1, {"population": False}),
        ("sate_4_M1", ["age", "educ", "re74", "re75"], 1, {"population": False}),
        ("sate_4_M3", ["age", "educ", "re74", "re75"], 3, {"population": False}),
        ("satt_8_M4", eight, 4, {"population": False}),
        ("patt_8_M4_biasadj", eight, 4, {"bias_correction": eight}),
        ("patt_8_M4_biasadj_hetero", eight, 4, {"bias_correction": eight, "variance_neighbours": 4}),
    ):
        design = match(frame, "treat", covariates=covariates, distance="scaled_euclidean", ratio=ratio, replace=True,
                       ties="all", tie_tolerance=1e-5, target="all" if "sate" in name else "treated")  # fmt: skip
        ours = abadie_imbens(design, "re78", **options)
        assert len(design.pairs) == results[name]["n_pairs"]
        assert ours.estimate[0] == pytest.approx(results[name]["est"], rel=1e-6)
        assert ours.std_error[0] == pytest.approx(results[name]["se"], rel=1e-4)
        assert ours.estimand.startswith("SAT") == ("population" in options)


@pytest.mark.parametrize("outcome", ["re78", "re75"])
def test_imbens_xu(outcome):
    results = case("imbens_xu_rows_nsw_psid")["results"]
    theirs = results["re78" if outcome == "re78" else "placebo_re75"]["nn_match_M5_biasadj"]
    covariates = ["age", "educ", "nodegree", "married", "black", "hisp", "re74", "re75", "u74", "u75"]
    covariates = [c for c in covariates if outcome == "re78" or c not in ("re75", "u75")]
    design = match(data("nsw_psid"), "treat", covariates=covariates, distance="scaled_euclidean", ratio=5, replace=True,
                   ties="all")  # fmt: skip
    ours = att(design, outcome, bias_correction=covariates)
    assert ours.estimate[0] * 1000 == pytest.approx(theirs["est"], rel=1e-6)
    assert ours.std_error[0] * 1000 == pytest.approx(theirs["se_AI"], rel=1e-4)


def test_placebo_outcome():
    """Earnings before the programme, the covariates without them: Matching's row of the placebo case."""
    theirs = case("placebo_outcome_lalonde")["results"]["match_invvar_M1"]
    frame = men("lalonde")
    names = [name for name in COVARIATES["lalonde"] if name != "re75"]
    design = match(frame, "treat", covariates=names, distance="scaled_euclidean", replace=True, ties="all",
                   tie_tolerance=1e-5)  # fmt: skip
    ours = abadie_imbens(design, "re75")
    assert ours.estimate[0] == pytest.approx(theirs["est"], rel=1e-6)
    assert ours.std_error[0] == pytest.approx(theirs["se_AI"], rel=1e-4)


def test_stata():
    """Exact cells, bias correction, local variances (nnmatch); the estimated propensity (psmatch)."""
    frame, results = data("cattaneo2"), case("stata_matching_cattaneo2")["results"]
    covariates = ["mmarried", "mage", "fage", "medu", "prenatal1"]
    for name, theirs in results.items():
        target = "all" if name.endswith("_ate") else "treated"
        if name.startswith("nnmatch"):
            design = match(frame, "mbsmoke", covariates=covariates, distance="mahalanobis_total", replace=True,
                           ties="all", target=target, exact=["mmarried", "prenatal1"])  # fmt: skip
            ours = abadie_imbens(design, "bweight", bias_correction=covariates[1:4], variance_neighbours=2)
        else:
            design = match(frame, "mbsmoke", covariates=covariates, distance="propensity", replace=True, ties="all",
                           target=target)  # fmt: skip
            ours = abadie_imbens(design, "bweight", variance_neighbours=1)
            known = abadie_imbens(design, "bweight", variance_neighbours=1, estimated_propensity=False)
            assert ours.spec["estimated_propensity"] and known.std_error[0] != pytest.approx(theirs["se"], rel=4e-4)
        assert ours.estimate[0] == pytest.approx(theirs["est"], abs=5e-5)
        assert ours.std_error[0] == pytest.approx(theirs["se"], rel=2e-4 if name == "psmatch_atet" else 3e-7)


def test_by_hand():
    """Treated 0, 1, 4; comparison 0, 0, 5: effects 10 - (2 + 4)/2, 8 - 3, 9 - 6; K = 1, 1, 1 and K2 = 1/2, 1/2, 1.

    Three units of an arm are few: the standard error grows by 3 / 2, Student's t has 2 degrees of freedom.
    """
    frame = pd.DataFrame({"t": [1, 1, 1, 0, 0, 0], "x": [0, 1, 4, 0, 0, 5], "y": [10.0, 8, 9, 2, 4, 6]})
    design = match(frame, "t", covariates=["x"], distance="scaled_euclidean", replace=True, ties="all")
    assert design.weights.tolist() == [1, 1, 1, 1, 1, 1]
    ours = att(design, "y", parts=True)
    assert ours.estimate.tolist() == pytest.approx([9, 4, 5])
    s2 = ((3**2 + 1**2) / 2 + (1**2 + 1**2) / 2 + 2**2) / 3 / 2
    variance = ((7 - 5) ** 2 + 0 + (3 - 5) ** 2 + s2 * (0.5 + 0.5 + 0)) / 9
    assert ours.std_error[2] == pytest.approx(1.5 * np.sqrt(variance)) and ours.dof == pytest.approx([2, 2, 2])
    assert ours.std_error[0] == pytest.approx(1.5 * np.sqrt((1 + 1 + 0) / 9))
    difference = np.array([1.0, -1.0, -1.0])
    assert difference @ ours.cov @ difference == pytest.approx(0.0, abs=1e-12)  # observed - counterfactual = att


def test_rows_in_another_order_change_nothing():
    frame = school(400).assign(x=lambda f: f["x"].round(1))
    options = {"covariates": ["x", "b"], "replace": True, "ties": "all", "key": "key"}
    for more in ({"distance": "mahalanobis"}, {"distance": "logit"}, {"distance": "robust_mahalanobis", "ratio": 3}):
        one = abadie_imbens(match(frame, "treated", **options, **more), "y", variance_neighbours=2)
        shuffled = frame.sample(frac=1, random_state=2)
        two = abadie_imbens(match(shuffled, "treated", **options, **more), "y", variance_neighbours=2)
        assert one.estimate[0] == pytest.approx(two.estimate[0], rel=1e-12)
        assert one.std_error[0] == pytest.approx(two.std_error[0], rel=1e-12)


def test_the_usual_standard_error():
    frame = school(300)
    with_replacement = match(frame, "treated", covariates=["x", "b"], replace=True)
    assert att(with_replacement, "y").spec["vcov"] == "abadie_imbens"
    assert att(with_replacement, "y").spec["estimated_propensity"]
    assert att(match(frame, "treated", covariates=["x", "b"]), "y").spec["vcov"] == "cluster"
    narrow = match(frame, "treated", covariates=["x", "b"], replace=True, caliper_sd=0.1)
    assert not att(narrow, "y").spec["estimated_propensity"]  # the theory has no caliper
    given = match(frame, "treated", covariates=["x"], replace=True, score=propensity(frame, "treated", ["x", "b"]))
    assert not att(given, "y").spec["estimated_propensity"]


def test_missing_outcomes_leave_with_their_pairs():
    frame = school(300)
    design = match(frame, "treated", covariates=["x", "b"], replace=True, ratio=2)
    gone = design.pairs["comparison"].iloc[0]
    hole = frame.assign(y=frame["y"].where(np.arange(len(frame)) != gone))
    times = int((design.pairs["comparison"] == gone).sum())
    ours = abadie_imbens(design, "y", data=hole)
    assert any(note.startswith(f"{times} of {len(design.pairs)} pairs w") for note in ours.notes)
    assert ours.estimand == design.estimand or "matched treated" in ours.estimand
    other = match(hole[hole["y"].notna()], "treated", covariates=["x", "b"], replace=True)
    assert np.isfinite(abadie_imbens(other, "y").std_error[0])


def test_refusals():
    frame = school(300)
    design = match(frame, "treated", covariates=["x", "b"], replace=True)
    with pytest.raises(EstimationError, match="variance_neighbours >= 0"):
        abadie_imbens(design, "y", variance_neighbours=-1)
    with pytest.raises(EstimationError, match="in each arm"):
        abadie_imbens(design, "y", variance_neighbours=500)
    with pytest.raises(EstimationError, match="bias_correction= in place of adjust="):
        att(design, "y", adjust=["z"], vcov="abadie_imbens")
    with pytest.raises(EstimationError, match="abadie_imbens"):
        att(design, "y", bias_correction=["z"], vcov="HC1")
    with pytest.raises(EstimationError, match="two matched units"):
        abadie_imbens(design, np.full(len(frame), np.nan))
    with pytest.raises(EstimationError, match="parts of a population ATT"):
        abadie_imbens(design, "y", parts=True, population=False)
    one = abadie_imbens(design, "y")
    with pytest.raises(EstimationError, match="same units or clusters"):
        one.minus(one)


@pytest.mark.slow
@pytest.mark.parametrize("neighbours", [0, 2])
@pytest.mark.parametrize("distance", ["logit", "mahalanobis"])
def test_covers(distance, neighbours):
    """Nominal 95 %: between 92 % and 98 % of 400 samples, four standard errors of a share."""
    hits = []
    for seed in range(400):
        frame = school(500, seed=seed, effect=1.0)
        design = match(frame, "treated", covariates=["x", "b"], distance=distance, replace=True, ties="all")
        ours = abadie_imbens(design, "y", variance_neighbours=neighbours, bias_correction=["x"])
        low, high = ours.conf_int()
        hits.append(low[0] <= 1.0 <= high[0])
    assert 0.905 < np.mean(hits) < 0.985
