"""Placebo outcomes of any design: refitted without what gives them away, printed beside the estimate."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from matching_reference import LALONDE, case, data, school

import attribution as at
from attribution.errors import DesignError
from attribution.stress.placebo import beside, placebo_outcome


def weighed(units, treatment, *, covariates, trim=0.0):
    """Inverse-probability weights for the treated, the plain way."""
    score = at.match(units, treatment, covariates=covariates).propensity
    t = units[treatment].to_numpy().astype(bool)
    return replace(at.everyone(units, treatment, covariates=covariates), target="treated",
                   weights=np.where(t, 1.0, np.where(score < trim, 0.0, score / (1 - score))))  # fmt: skip


def test_reference_stays():
    found = case("placebo_outcome_lalonde")["results"]["matchit"]
    check = placebo_outcome(data("lalonde"), "treat", outcome="re75", covariates=LALONDE, drop=["re75"],
                            distance="propensity", caliper_sd=0.2)  # fmt: skip
    assert check.statistic == pytest.approx(found["est"], rel=1e-6)


def test_any_design_is_refitted_without_the_placebo():
    frame = school(1_500, effect=0.5)
    frame["before"] = frame["x"] + 0.3 * frame["z"]
    seen = []

    def build(units, treatment, **options):
        seen.append(options)
        return weighed(units, treatment, **options)

    check = placebo_outcome(frame, "treated", outcome="before", covariates=["x", "z", "b", "before"], drop=["before"],
                            build=build, trim=0.01)  # fmt: skip
    assert seen == [{"covariates": ["x", "z", "b"], "trim": 0.01}]
    t, w = frame["treated"] == 1, weighed(frame, "treated", covariates=["x", "z", "b"], trim=0.01).weights
    by_hand = frame.loc[t, "before"].mean() - np.average(frame.loc[~t, "before"], weights=w[~t])
    assert check.statistic == pytest.approx(by_hand)
    assert check.passed is True  # x and z are held: nothing is left
    blind = placebo_outcome(frame, "treated", outcome="before", covariates=["b", "z"], build=weighed)
    assert blind.passed is False  # x was never held, and treatment follows it


@pytest.mark.parametrize("coat", ["text", "polars"])
def test_the_margin_is_that_of_the_treated_however_they_are_coded(coat):
    frame = school(400)
    if coat == "text":
        other = frame.assign(treated=frame["treated"].astype(str))
    else:
        other = pytest.importorskip("polars").from_pandas(frame)
    options = {"outcome": "x", "covariates": ["z", "b"], "caliper_sd": 0.2, "key": "key"}
    plain, dressed = (placebo_outcome(units, "treated", **options) for units in (frame, other))
    assert dressed.threshold == plain.threshold == pytest.approx(0.25 * frame.loc[frame["treated"] == 1, "x"].std())


def test_it_is_printed_beside_the_estimate():
    frame = school(400, effect=0.5)
    design = at.match(frame, "treated", covariates=["z", "b"], caliper_sd=0.2, key="key")
    check = placebo_outcome(frame, "treated", outcome="x", covariates=["z", "b"], caliper_sd=0.2, key="key")
    effect = at.att(design, "y")
    shown = beside(effect, check)
    assert check.text in shown.summary() and check.text not in effect.summary()
    np.testing.assert_array_equal(shown.scores, effect.scores)


def test_refusals():
    frame = school(100)
    with pytest.raises(DesignError, match="among the covariates"):
        placebo_outcome(frame, "treated", outcome="x", covariates=["x", "b"])
    with pytest.raises(DesignError, match="build to give a Design"):
        placebo_outcome(frame, "treated", outcome="x", covariates=["b"], build=lambda *_, **__: None)
