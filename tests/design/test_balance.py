"""Balance against MatchIt and cobalt; overlap's verdicts."""

from dataclasses import replace

import numpy as np
import pytest
from matching_reference import CASES, LALONDE, case, data, peer_design, school

from attribution.design.balance import balance, overlap
from attribution.design.match import match
from attribution.design.propensity import propensity

COLUMNS = {"Means Treated": "mean_treated", "Means Control": "mean_comparison", "Std. Mean Diff.": "smd",
           "Var. Ratio": "variance_ratio", "eCDF Mean": "ecdf_mean", "eCDF Max": "ks"}  # fmt: skip


def ours(name):
    design = peer_design(name)
    distance = case(name).get("distance")
    if distance is None:
        distance = propensity(design.units, "treat", list(design.covariates)).probability
    return balance(replace(design, distance=np.asarray(distance))).table.set_index(["covariate", "sample"])


def compare(table, results):
    for sample in ("before", "after"):
        for theirs, row in results[f"balance_{sample}"].items():
            label = "age2" if theirs == "I(age^2)" else theirs.replace("race", "race_")
            for their, our in COLUMNS.items():
                if row[their] is not None:
                    assert table.loc[(label, sample), our] == pytest.approx(row[their], rel=1e-6, abs=1e-9), (
                        label,
                        our,
                    )


@pytest.mark.parametrize("name", CASES)
def test_matchit(name):
    compare(ours(name), case(name)["results"])


@pytest.mark.parametrize("column", COLUMNS)
def test_canary(column):
    table = ours("nn1_noreplace_caliper_lalonde")
    for sample in ("before", "after"):
        for label in ("age", "distance"):
            results = case("nn1_noreplace_caliper_lalonde")["results"]
            results[f"balance_{sample}"][label][column] *= 1.0001
            with pytest.raises(AssertionError):
                compare(table, results)


def test_cobalt():
    found = case("cobalt_balance_lalonde")
    table = ours("nn1_noreplace_caliper_lalonde")
    for label, row in found["results"]["balance"].items():
        for end, sample in (("Un", "before"), ("Adj", "after")):
            line = table.loc[(label, sample)]
            assert line["smd"] == pytest.approx(row[f"Diff.{end}"], rel=1e-6)
            assert line["ks"] == pytest.approx(row[f"KS.{end}"], rel=1e-6)
            if row[f"V.Ratio.{end}"] is not None:
                assert line["variance_ratio"] == pytest.approx(row[f"V.Ratio.{end}"], rel=1e-6)


def test_overlap_fails_on_psid_and_passes_on_a_randomised_trial():
    psid = match(data("nsw_psid"), "treat", covariates=["age", "educ", "black", "re74", "re75", "u75"], caliper_sd=0.2)
    check = overlap(psid)
    assert check.passed is False
    assert "age still differs" in check.text
    trial = match(data("nsw_dw"), "treat", covariates=["age", "educ", "black", "re74", "re75"], caliper_sd=0.2)
    assert overlap(trial).passed is True
    assert overlap(trial, least_covered=1.01).passed is False
    assert {"at least", "at most"} <= set(check.table["rule"])


def test_overlap_fails_when_a_covariate_stays_apart():
    check = overlap(match(data("lalonde"), "treat", covariates=LALONDE, distance="propensity"))
    assert check.passed is False
    assert "race_black still differs by 1.03 SD" in check.text


def test_a_covariate_outside_the_design_can_be_looked_at():
    design = match(school(300), "treated", covariates=["x"])
    table = balance(design, covariates=["z", "cell"]).table
    assert set(table["covariate"]) == {"z", "cell", "distance"}
