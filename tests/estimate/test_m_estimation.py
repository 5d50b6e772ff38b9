"""Standard errors of estimated weights: WeightIt's and Stata's, a case that theory solves by hand, and coverage."""

from dataclasses import replace

import numpy as np
import pytest
from matching_reference import LALONDE, PSID, WEIGHTINGS, case, data, school

from attribution.design.match import match
from attribution.design.propensity import propensity
from attribution.design.weight import weight
from attribution.errors import EstimationError
from attribution.estimate.att import att

IMBENS_XU = ["age", "educ", "black", "hisp", "married", "nodegree", "re74", "re75", "u74", "u75"]


def build(name):
    psid = name.endswith("psid")
    return weight(data("nsw_psid" if psid else "lalonde"), "treat", covariates=PSID if psid else LALONDE,
                  **WEIGHTINGS[name])  # fmt: skip


def compare(design, results, *, loose):
    """WeightIt stops entropy balancing and CBPS short of the optimum: there `exact_dual`, or one in a thousand."""
    effect, rd = results["effect"], results["binary_effect"]["rd"]
    exact = results.get("exact_dual", effect)
    fit = att(design, "re78", vcov="m_estimation")
    assert fit.estimate[0] == pytest.approx(exact["est"], rel=1e-3 if loose and "exact_dual" not in results else 1e-6)
    for vcov, key in (("HC0", "se_HC0_weights_fixed"), ("HC3", "se_HC3_weights_fixed")):
        assert att(design, "re78", vcov=vcov).std_error[0] == pytest.approx(effect[key], rel=1e-4)
    assert fit.std_error[0] == pytest.approx(effect["se_lm_weightit"]["se"], rel=1e-4)
    share = att(design, "emp78", vcov="m_estimation")
    assert share.estimate[0] == pytest.approx(rd["est"], rel=1e-3 if loose else 1e-6)
    assert share.std_error[0] == pytest.approx(rd["se"], rel=1e-4)


def as_reference(name):
    """WeightIt's entropy balancing holds the means it aims at fixed: so does ours without what the treated rows add."""
    design = build(name)
    if not name.startswith("ebal"):
        return design
    model = design.weight_model
    return replace(design, weight_model=replace(model, influence=np.where(design.treated[:, None], 0, model.influence)))


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_reference(name):
    compare(as_reference(name), case(name)["results"], loose=not name.startswith("ipw"))


@pytest.mark.parametrize("name", ["ipw_att_lalonde", "ebal_att_lalonde"])
@pytest.mark.parametrize("path", ["est", "se_HC0_weights_fixed", "se_HC3_weights_fixed", "se_lm_weightit"])
def test_canary(name, path):
    results = case(name)["results"]
    part = results["exact_dual"] if path == "est" and "exact_dual" in results else results["effect"]
    if path == "se_lm_weightit":
        part[path]["se"] *= 1.0005
    else:
        part[path] *= 1.0005
    with pytest.raises(AssertionError):
        compare(as_reference(name), results, loose=not name.startswith("ipw"))


@pytest.mark.parametrize("name", ["ipw_att_lalonde", "ipw_ate_lalonde", "cbps_att_lalonde"])
def test_weighted_regression(name):
    """g-computation after a weighted regression with interactions, averaged over those the effect is about."""
    theirs = case(name)["results"]["effect"]["weighted_regression_gcomp"]
    fit = att(build(name), "re78", adjust=LALONDE, vcov="m_estimation")
    assert fit.estimate[0] == pytest.approx(theirs["est"], rel=1e-6)
    assert fit.std_error[0] == pytest.approx(theirs["se"], rel=1e-4)


def test_entropy_and_cbps_of_the_treated_are_one_estimator():
    one, two = (att(build(name), "re78", vcov="m_estimation") for name in ("ebal_att_lalonde", "cbps_att_lalonde"))
    assert one.estimate[0] == pytest.approx(two.estimate[0], rel=1e-10)
    assert one.std_error[0] == pytest.approx(two.std_error[0], rel=1e-8)


@pytest.mark.parametrize("arm", ["ATE", "ATT"])
def test_stata(arm):
    """teffects ipw with a probit treatment model: the effect and the counterfactual mean."""
    r = case("stata_teffects_cattaneo2")["results"]["stata"]["ipw"][arm]
    frame = data("cattaneo2").assign(mage2=lambda f: f["mage"] ** 2)
    names = ["mmarried", "mage", "mage2", "fbaby", "medu"]
    score = propensity(frame, "mbsmoke", names, link="probit")
    design = weight(frame, "mbsmoke", covariates=names, target="all" if arm == "ATE" else "treated", score=score)
    fit = att(design, "bweight", vcov="m_estimation", parts=True)
    for place, key in ((1, "0.mbsmoke"), (2, "r1vs0.mbsmoke")):
        assert fit.estimate[place] == pytest.approx(r[key]["est"], rel=1e-5)
        assert fit.std_error[place] == pytest.approx(r[key]["se"], rel=1e-4)


@pytest.mark.parametrize("outcome", ["re78", "placebo_re75"])
def test_imbens_xu_entropy_rows(outcome):
    """Their table B1 and its placebo, recomputed in R with ebal's tolerance: HC1 with weights held fixed."""
    r = case("imbens_xu_rows_nsw_psid")["results"][outcome]["entropy_balancing"]
    column = outcome.removeprefix("placebo_")
    names = [name for name in IMBENS_XU if column != "re75" or name not in ("re75", "u75")]
    frame = data("nsw_psid")
    design = weight(frame, "treat", covariates=names, method="entropy")
    fit = att(design, frame[column] * 1000, vcov="HC1")
    assert fit.estimate[0] == pytest.approx(r["est"], rel=5e-5)
    assert fit.std_error[0] == pytest.approx(r["se"], rel=5e-5)


def test_saturated_weights_are_a_poststratified_mean():
    """One binary covariate: IPW is the mean over cells of the cells' differences, and its variance is known by hand."""
    frame = school(400)
    t, b, y = (frame[name].to_numpy() for name in ("treated", "b", "y"))
    fit = att(weight(frame, "treated", covariates=["b"], target="all"), "y", vcov="m_estimation")
    effect, rows = 0.0, np.zeros(400)
    gaps = {}
    for cell in (0, 1):
        share = (b == cell).mean()
        for arm, sign in ((1, 1.0), (0, -1.0)):
            own = (b == cell) & (t == arm)
            gaps[cell] = gaps.get(cell, 0.0) + sign * y[own].mean()
            rows[own] += sign * share * (y[own] - y[own].mean()) / own.sum()
        effect += share * gaps[cell]
    rows += (np.where(b == 1, gaps[1], gaps[0]) - effect) / 400
    assert fit.estimate[0] == pytest.approx(effect, rel=1e-9)
    assert fit.std_error[0] == pytest.approx(np.sqrt((rows**2).sum()), rel=1e-8)


def test_rows_of_one_person_are_one_group():
    frame = school(400)
    frame["person"] = np.arange(400) // 2
    designs = [weight(frame, "treated", covariates=["x", "b"], person=who) for who in (None, "person")]
    apart, together = (att(design, "y", vcov="m_estimation") for design in designs)
    rows = apart.scores[0::2] + apart.scores[1::2]
    assert len(together.scores) == 200
    assert together.std_error[0] == pytest.approx(np.sqrt((rows**2).sum()), rel=1e-9)


def test_missing_outcomes_keep_their_part_in_the_weights():
    frame = school(400)
    design = weight(frame, "treated", covariates=["x", "b"])
    y = frame["y"].where(np.arange(400) >= 20)
    fit = att(design, y, vcov="m_estimation")
    known = np.isfinite(y.to_numpy())
    t, w = design.treated, design.weights
    expected = y[t & known].mean() - np.average(y[~t & known], weights=w[~t & known])
    assert fit.estimate[0] == pytest.approx(expected)
    assert len(fit.scores) == 400 and (fit.scores[:20] != 0).any()


def test_a_design_without_a_model_of_its_weights_is_refused():
    frame = school(200)
    with pytest.raises(EstimationError, match="no weight model"):
        att(match(frame, "treated", covariates=["x"]), "y", vcov="m_estimation")


LEFT_OUT = {
    "ipw": {}, "ipw all": {"target": "all"}, "ipw all stabilised": {"target": "all", "stabilised": True},
    "overlap": {"method": "overlap"}, "entropy": {"method": "entropy"},
    "entropy 2": {"method": "entropy", "moments": 2},
    "entropy all": {"method": "entropy", "target": "all"}, "cbps": {"method": "cbps", "stabilised": True},
    "cbps all": {"method": "cbps", "target": "all"}, "sampled": {"method": "entropy", "sampling": "s"},
    "sampled ipw": {"target": "all", "sampling": "s"},
}  # fmt: skip


@pytest.mark.parametrize("name", LEFT_OUT)
def test_scores_are_what_leaving_a_unit_out_does(name):
    """Every unit's score is, to first order, what the estimate loses when all is fitted again without it."""
    frame = school(1_000, effect=0.4)
    frame["s"] = 1 + np.arange(1_000) % 3
    frame["y"] += frame["x"] ** 2  # so that the means alone do not make the weights' part vanish

    def fit(units):
        return att(weight(units, "treated", covariates=["x", "z", "b"], **LEFT_OUT[name]), "y", vcov="m_estimation")

    whole, some = fit(frame), np.arange(0, 1_000, 25)
    lost = np.array([whole.estimate[0] - fit(frame.drop(index=frame.index[i])).estimate[0] for i in some])
    scores = whole.scores[some, 0]
    assert np.abs(lost - scores).max() < 0.05 * np.abs(scores).max()
    assert (lost @ scores) / (scores @ scores) == pytest.approx(1, abs=0.02)


def coverage(seeds, options, *, vcov="m_estimation", n=400):
    """(bias in standard errors, mean standard error over the spread, coverage) of a known effect of 0.4 + 0.3 x."""
    hits, estimates, errors, truths = 0, [], [], []
    for seed in range(seeds):
        frame = school(n, seed=seed)
        frame["y"] += (0.4 + 0.3 * frame["x"]) * frame["treated"]
        truth = TRUTH if options.get("target", "treated") == "treated" else 0.4
        fit = att(weight(frame, "treated", covariates=["x", "z", "b"], **options), "y", vcov=vcov)
        low, high = fit.conf_int()
        hits += int(low[0] <= truth <= high[0])
        estimates.append(fit.estimate[0])
        errors.append(fit.std_error[0])
        truths.append(truth)
    gap = np.array(estimates) - truths
    return gap.mean() / gap.std() * np.sqrt(seeds), np.mean(errors) / gap.std(), hits / seeds


def _truth() -> float:
    """E[0.4 + 0.3 x | treated] of `school`, by quadrature over x and the coin b."""
    x, w = np.polynomial.hermite_e.hermegauss(60)
    p = sum(0.5 / (1 + np.exp(1.2 - 0.6 * x - 0.4 * b)) for b in (0, 1))
    return float(0.4 + 0.3 * (w @ (x * p)) / (w @ p))


TRUTH = _truth()
DESIGNS = [{"method": "ipw"}, {"method": "ipw", "target": "all"}, {"method": "entropy"},
           {"method": "entropy", "target": "all"}, {"method": "cbps", "target": "all"}]  # fmt: skip


@pytest.mark.parametrize("options", DESIGNS, ids=lambda o: "-".join(o.values()))
def test_recovery_and_coverage(options):
    """300 samples of 400: no bias, a standard error of the right size, 95 % intervals that cover 91 to 98 %."""
    bias, size, covered = coverage(300, options)
    assert abs(bias) < 3
    assert 0.9 < size < 1.12
    assert 0.91 <= covered <= 0.98


def test_holding_the_weights_fixed_is_wrong():
    """The same intervals without the weights' own estimation are too wide by more than a tenth."""
    assert coverage(100, {"method": "ipw", "target": "all"}, vcov="HC0")[1] > 1.1
