"""Effects after a design and from a table: broken input is refused in the house's words, and summaries say how."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matching_reference import school

import attribution as at
from attribution.errors import AttributionError, EstimationError

FRAME = school(200, seed=1, effect=0.5).assign(
    binary=lambda f: (f["y"] > 0).astype(int), word=lambda f: np.where(f["y"] > 0, "yes", "no"),
    digits=lambda f: np.where(f["y"] > 0, "1", "0"), date=pd.Timestamp("2020-01-01"), complex=lambda f: f["y"] + 0j,
    nobody=np.nan,
)  # fmt: skip
COVARIATES = ["x", "z"]
PAIRS = at.match(FRAME, "treated", covariates=COVARIATES, caliper_sd=0.3, key="key")
REPEATED = at.match(FRAME, "treated", covariates=COVARIATES, replace=True, key="key")
EVERYONE = at.everyone(FRAME, "treated", covariates=COVARIATES)


def weighted(units, treatment, covariates=COVARIATES):
    return at.weight(units, treatment, covariates=covariates, method="ipw")


CALLS = {
    "att": lambda y: at.att(PAIRS, y), "g_computation": lambda y: at.g_computation(PAIRS, y, model="linear"),
    "subgroups": lambda y: at.subgroup_effects(PAIRS, y, by="b"), "gains": lambda y: at.share_who_gain(PAIRS, y),
    "robustness": lambda y: at.robustness(PAIRS, y), "rosenbaum": lambda y: at.rosenbaum_bounds(PAIRS, y),
    "ties": lambda y: at.tie_range(PAIRS, y, orders=2), "abadie_imbens": lambda y: at.abadie_imbens(REPEATED, y),
    "aipw": lambda y: at.aipw(FRAME, "treated", outcome=y, covariates=COVARIATES),
    "tmle": lambda y: at.tmle(FRAME, "treated", outcome=y, covariates=COVARIATES, target="treated"),
    "partially_linear": lambda y: at.partially_linear(FRAME, "treated", outcome=y, covariates=COVARIATES),
    "multi_valued": lambda y: at.multi_valued(FRAME, "cell", outcome=y, covariates=COVARIATES, reference=0),
    "manski": lambda y: at.manski_bounds(FRAME, "treated", outcome=y, limits=(-9, 9)),
    "lee": lambda y: at.lee_bounds(FRAME, "treated", outcome=y, selection="raised"),
    "experiment": lambda y: at.difference_in_means(FRAME, "treated", y),
    "refute": lambda y: at.refute(FRAME, "treated", outcome=y, build=weighted, kinds=["subset"], n=2),
}  # fmt: skip


@pytest.mark.parametrize("outcome", ["word", "digits", "date", "complex", "nobody", "absent", ["y"], None, 3])
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.filterwarnings("error")
def test_an_outcome_that_is_none_is_refused(call, outcome):
    with pytest.raises(AttributionError):
        CALLS[call](outcome)


@pytest.mark.parametrize("call", sorted(set(CALLS) - {"multi_valued"}))
def test_the_treatment_is_no_outcome(call):
    with pytest.raises(EstimationError, match="treated: required: an outcome that treatment may change"):
        CALLS[call]("treated")


def test_levels_of_treatment_are_no_outcome():
    with pytest.raises(EstimationError, match="the treatment itself"):
        at.multi_valued(FRAME, "cell", outcome="cell", covariates=COVARIATES, reference=0)


@pytest.mark.parametrize("own", ["y", "treated"])
@pytest.mark.parametrize("call", [
    lambda own: at.att(PAIRS, "y", adjust=["x", own]),
    lambda own: at.subgroup_effects(PAIRS, "y", by="b", adjust=[own]),
    lambda own: at.g_computation(PAIRS, "y", adjust=[own], model="linear"),
    lambda own: at.robustness(PAIRS, "y", adjust=[own]),
    lambda own: at.abadie_imbens(REPEATED, "y", bias_correction=[own]),
])  # fmt: skip
def test_the_outcome_and_the_treatment_are_no_covariates(call, own):
    with pytest.raises(EstimationError, match=f"{own} among them"):
        call(own)


def test_an_earlier_measurement_may_have_the_outcome_s_name():
    later = FRAME[["y"]] + FRAME[["x"]].to_numpy()
    at.att(PAIRS, "y", data=later, adjust=["y"])


@pytest.mark.parametrize("call", [
    lambda: at.aipw(FRAME, "treated", outcome="y", covariates=None),
    lambda: at.e_value(2.0, scale="risk_ratio", low=1.5, level=95),
    lambda: at.minimum_detectable_effect(1.0, power=80), lambda: at.minimum_detectable_effect(1.0, alpha=0),
    lambda: at.manski_bounds(FRAME, "treated", outcome="y", limits=5),
    lambda: at.falsify_graph(FRAME, "digraph { x -> treated; treated -> y; }", level=95),
])  # fmt: skip
def test_options_out_of_range(call):
    with pytest.raises(AttributionError):
        call()


@pytest.mark.parametrize(("effect", "said"), [
    (lambda: at.g_computation(PAIRS, "y", model="linear"), "clustered by matched set"),
    (lambda: at.g_computation(REPEATED, "y", model="linear"), "robust, each unit on its own"),
    (lambda: at.att(EVERYONE, "y"), "robust, each unit on its own"),
    (lambda: at.subgroup_effects(PAIRS, "y", by="b"), "clustered by matched set"),
    (lambda: at.subgroup_effects(EVERYONE, "y", by="b", cluster="cell"), "clustered by cell"),
    (lambda: at.aipw(FRAME, "treated", outcome="y", covariates=COVARIATES), "by M-estimation"),
    (lambda: at.aipw(FRAME, "treated", outcome="y", covariates=COVARIATES, folds=2, cluster="cell"),
     "by the influence function (models count as known), clustered by cell"),
    (lambda: at.tmle(FRAME, "treated", outcome="y", covariates=COVARIATES), "by the influence function"),
    (lambda: at.partially_linear(FRAME, "treated", outcome="y", covariates=COVARIATES), "by the influence function"),
    (lambda: at.multi_valued(FRAME, "cell", outcome="y", covariates=COVARIATES, reference=0),
     "inverse generalised propensity weighting; standard errors by M-estimation"),
    (lambda: at.difference_in_means(FRAME, "treated", "y"), "robust (HC2)"),
])  # fmt: skip
def test_the_summary_says_whose_standard_errors(effect, said):
    assert said in effect().summary()


def test_sets_are_sentences():
    text = at.manski_bounds(FRAME.assign(y=FRAME["y"] * 1e5), "treated", outcome="y", limits=(-1e6, 1e6)).summary()
    assert "ATE, nothing assumed: between -" in text and "e+0" not in text and "bound_low" not in text
    assert "ATT, if treatment lowers nobody's outcome: between 0 and" in text
    assert "largest p" in at.rosenbaum_bounds(PAIRS, "y").summary()
    nothing = at.robustness(EVERYONE, FRAME["z"].to_numpy(), adjust=["x"])
    assert nothing.robustness_value_ci == 0 and "interval holds that already" in nothing.summary()


def test_few_units_and_no_claims_are_said():
    few = FRAME.assign(treated=(np.arange(200) < 5).astype(int))
    five = at.difference_in_means(few, "treated", "y")
    assert "Fewer than 20 treated units carry this estimate: Student's t with 4 degrees of freedom." in five.summary()
    assert "Only 5 units in an arm: normal intervals" in replace(five, dof=None, support=None).summary()
    many = at.difference_in_means(FRAME, "treated", "y")
    assert "Only" not in many.summary() and "Fewer" not in many.summary() and many.dof is None
    design = at.match(FRAME.assign(none=0), "treated", covariates=COVARIATES, caliper_sd=0.3, key="key")
    claimed = at.att(design, "none", parts=True).rows(np.array([0]))
    text = at.attributable_outcomes(at.att(design, "binary", parts=True), n_covered=9, claimed=claimed).summary()
    assert "no ratio, nobody claims" in text and "nan" not in text and text.startswith("ATT on the matched")
