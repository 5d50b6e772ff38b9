"""The ATT after matching: R's estimates and standard errors on R's own pairs, recovery, and missing outcomes."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matching_reference import CASES, LALONDE, case, covariates, data, peer_design, school

from attribution.design.match import match
from attribution.design.stratify import stratify
from attribution.errors import EstimationError
from attribution.estimate.att import att
from attribution.results import Design

KINDS = {"HC0": "se_HC0_weights", "HC1": "se_HC1_weights", "HC3": "se_HC3_weights", "cluster": "se_cluster_subclass"}


def compare(design, results, name):
    paired = "se_cluster_subclass" in results
    for kind, key in KINDS.items():
        if key in results:
            effect = att(design, "re78", vcov=kind)
            assert effect.estimate[0] == pytest.approx(results["att_weighted_diff"], rel=1e-6)
            assert effect.std_error[0] == pytest.approx(results[key], rel=1e-6)
    binary, kind = results["binary_unadjusted"], "cluster" if paired else "HC3"
    effect = att(design, "emp78", parts=True, vcov=kind)
    np.testing.assert_allclose(effect.estimate, [binary["p1"], binary["p0"], binary["rd"]], rtol=1e-6, atol=1e-12)
    assert effect.std_error[2] == pytest.approx(binary["rd_se"], rel=1e-6)
    adjusted = results["att_gcomp_linear"]
    effect = att(design, "re78", adjust=covariates(name), vcov="cluster" if paired else "HC1")
    assert effect.estimate[0] == pytest.approx(adjusted["est"], rel=1e-6)
    if paired:  # marginaleffects differentiates numerically: 8e-7 here
        assert effect.std_error[0] == pytest.approx(adjusted["se"], rel=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_reference(name):
    compare(peer_design(name), case(name)["results"], name)


@pytest.mark.parametrize("name", ["nn1_noreplace_caliper_lalonde", "nn1_replace_nsw_psid"])
def test_canary(name):
    design = peer_design(name)
    found = case(name)["results"]
    paths = [(k,) for k in ("att_weighted_diff", *KINDS.values()) if k in found]
    paths += [("binary_unadjusted", k) for k in ("p1", "p0", "rd", "rd_se")] + [("att_gcomp_linear", "est")]
    paths += [("att_gcomp_linear", "se")] if "se_cluster_subclass" in found else []
    for path in paths:
        results = case(name)["results"]
        holder = results
        for step in path[:-1]:
            holder = holder[step]
        holder[path[-1]] *= 1.0001
        with pytest.raises(AssertionError):
            compare(design, results, name)


def everyone(frame):
    n = len(frame)
    return Design(
        estimand="ATT", units=frame, treatment="treat", covariates=(), weights=np.ones(n), pairs=pd.DataFrame(),
        strata=np.arange(n), discarded=np.zeros(n, bool), unmatched=np.zeros(n, bool),
    )  # fmt: skip


def test_experiment():
    design, results = everyone(data("nsw_dw")), case("nsw_experimental")["results"]
    assert att(design, "re78").estimate[0] == pytest.approx(results["diff_in_means"]["est"], rel=1e-6)
    assert att(design, "re78", vcov="HC1").std_error[0] == pytest.approx(results["diff_in_means"]["se"], rel=1e-6)
    assert att(design, "re78", vcov="HC2").std_error[0] == pytest.approx(results["diff_HC2"]["se"], rel=1e-6)
    effect = att(design, "emp78", vcov="HC2", parts=True)
    emp = results["emp78"]
    np.testing.assert_allclose(effect.estimate, [emp["p1"], emp["p0"], emp["rd"]], rtol=1e-6)
    assert effect.std_error[2] == pytest.approx(emp["rd_se_HC2"], rel=1e-6)
    placebo = att(design, "re75", vcov="HC1")
    assert placebo.estimate[0] == pytest.approx(results["placebo_re75"]["est"], rel=1e-6)


def test_placebo_outcome_from_a_refitted_design():
    found = case("placebo_outcome_lalonde")["results"]["matchit"]
    design = match(data("lalonde"), "treat", covariates=[c for c in LALONDE if c != "re75"], distance="propensity",
                   caliper_sd=0.2)  # fmt: skip
    assert int((design.matched & design.treated).sum()) == found["n_treated"]
    effect = att(design, "re75")
    assert effect.estimate[0] == pytest.approx(found["est"], rel=1e-6)
    # the same units, but tied units are paired otherwise than by MatchIt, which the pair-clustered error feels
    assert effect.std_error[0] == pytest.approx(found["se"], rel=5e-3)


def test_pairs_by_hand():
    """Four pairs with differences 1, 2, 3, 6: mean 3; the paired t-test's variance 14/3/4 times (n-1)/(n-k) = 7/6."""
    frame = pd.DataFrame({"treat": [1] * 4 + [0] * 4, "y": [1.0, 4, 4, 9, 0, 2, 1, 3]})
    design = replace(everyone(frame), strata=np.array([0, 1, 2, 3] * 2))
    effect = att(design, "y")
    assert effect.estimate[0] == 3.0
    assert effect.std_error[0] == pytest.approx(np.sqrt(14 / 3 / 4 * 7 / 6))
    assert effect.unit == "units of y"


def test_parts_add_up_with_their_covariance():
    design = match(school(500), "treated", covariates=["x", "z", "b"], caliper_sd=0.2)
    for adjust in ((), ("x",)):
        parts = att(design, "y", adjust=adjust, parts=True)
        assert list(parts.labels["term"]) == ["observed", "counterfactual", "att"]
        np.testing.assert_allclose(parts.estimate[0] - parts.estimate[1], parts.estimate[2])
        difference = parts.combine([1.0, -1.0, 0.0])
        np.testing.assert_allclose(difference.std_error[0], parts.std_error[2], rtol=1e-9)
        single = att(design, "y", adjust=adjust)
        np.testing.assert_allclose([single.estimate[0], single.std_error[0]], [parts.estimate[2], parts.std_error[2]])


def test_missing_outcomes_leave_with_their_pair():
    frame = school(400)
    design = match(frame, "treated", covariates=["x", "b"], caliper_sd=0.2)
    y = frame["y"].copy()
    gone = [int(design.pairs["treated"].iloc[0]), int(design.pairs["comparison"].iloc[1])]
    y.iloc[gone] = np.nan
    unmatched = int(np.flatnonzero(~design.matched)[0])
    y.iloc[unmatched] = np.nan  # nobody's pair: changes nothing
    effect = att(design, y.to_numpy())
    pairs = design.pairs.iloc[2:]
    expected = frame["y"].to_numpy()[pairs["treated"]] - frame["y"].to_numpy()[pairs["comparison"]]
    assert effect.estimate[0] == pytest.approx(expected.mean())
    n = 2 * len(expected)
    assert effect.std_error[0] == pytest.approx(expected.std(ddof=1) / np.sqrt(n / 2) * np.sqrt((n - 1) / (n - 2)))
    assert effect.n_treated[0] == len(pairs)
    assert f"2 of {len(design.pairs)} pairs were left out" in effect.notes[-1]
    assert effect.estimand == f"ATT on the matched treated ({len(pairs)} of {int(design.treated.sum())})"


def test_outcomes_may_live_in_another_frame():
    frame = school(300)
    design = match(frame.drop(columns="y"), "treated", covariates=["x", "b"])
    whole = att(match(frame, "treated", covariates=["x", "b"]), "y")
    apart = att(design, "y", data=frame[["y"]].sample(frac=1, random_state=0))
    assert apart.estimate[0] == whole.estimate[0]
    with pytest.raises(EstimationError, match="same index"):
        att(design, "y", data=frame[["y"]].iloc[5:])
    with pytest.raises(EstimationError, match="no such column"):
        att(design, "y")


def test_refusals():
    design = match(school(300), "treated", covariates=["x", "b"])
    with pytest.raises(EstimationError, match="numeric or 0/1"):
        att(design, "key")
    with pytest.raises(EstimationError, match="length 3"):
        att(design, [1, 2, 3])
    with pytest.raises(EstimationError, match="in both arms"):
        att(design, np.full(300, np.nan))
    with pytest.raises(EstimationError, match="choose one of these"):
        att(design, "y", vcov="HC9")
    constant = replace(design, units=design.units.assign(c=1.0))
    with pytest.raises(EstimationError, match="leave it out of adjust"):
        att(constant, "y", adjust=["c"])


def test_scaling_and_shifting_the_outcome():
    frame = school(300)
    design = match(frame, "treated", covariates=["x", "b"])
    plain, moved = att(design, "y"), att(design, 3 * frame["y"].to_numpy() + 1e6)
    np.testing.assert_allclose(moved.estimate, 3 * plain.estimate, rtol=1e-6)
    np.testing.assert_allclose(moved.std_error, 3 * plain.std_error, rtol=1e-6)


def recover(seeds, n, effect=0.4):
    rows = []
    for seed in range(seeds):
        frame = school(n, seed=seed, effect=effect)
        design = match(frame, "treated", covariates=["x", "z", "b"], caliper_sd=0.2)
        found = att(design, "y", adjust=["x", "z", "b"])
        low, high = found.conf_int()
        rows.append((found.estimate[0] - effect, found.std_error[0], low[0] <= effect <= high[0]))
    error, se, covered = np.array(rows).T
    return error.mean(), error.std(ddof=1), se.mean(), covered.mean()


@pytest.mark.parametrize("seeds", [60, pytest.param(500, marks=pytest.mark.slow)])
def test_recovers_a_constant_effect(seeds):
    """Selection on observables: no bias, honest standard errors, 95 % coverage (within 4 Monte-Carlo errors)."""
    bias, spread, se, coverage = recover(seeds, 800)
    assert abs(bias) < max(4 * spread / np.sqrt(seeds), 0.25 * se)
    assert se / spread == pytest.approx(1, abs=4 / np.sqrt(2 * seeds))
    assert coverage > 0.95 - 4 * np.sqrt(0.05 * 0.95 / seeds)


def test_strata_that_lose_an_outcome_are_weighted_again():
    frame = pd.DataFrame({"cell": [0] * 5 + [1] * 5 + [2] * 2, "treated": [1, 1, 0, 0, 0] * 2 + [1, 0],
                          "y": [3.0, 5, 1, 2, np.nan, 8, np.nan, 4, 5, 6, 9, np.nan]})  # fmt: skip
    design = stratify(frame, "treated", covariates=["cell"], method="exact")
    effect = att(design, "y")
    # the cell whose comparison unit has no outcome leaves; the others weigh by the treated that still count: 2 and 1
    assert effect.estimate[0] == pytest.approx((2 * (4 - 1.5) + 1 * (8 - 5)) / 3)
    assert effect.n_treated[0] == 3 and effect.n_comparison[0] == 5 and "3 of 12" in effect.notes[-1]


@pytest.mark.parametrize("cells,kind", [(10, "HC3"), (60, "cluster")])
def test_few_cells_are_no_clusters(cells, kind):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"cell": np.repeat(np.arange(cells), 8), "treated": np.tile([1, 0, 0, 0], 2 * cells)})
    design = stratify(frame.assign(y=rng.normal(size=len(frame))), "treated", covariates=["cell"], method="exact")
    assert att(design, "y").spec["vcov"] == kind


def test_the_summary_says_the_range_over_orders_of_ties():
    design = match(data("lalonde"), "treat", covariates=LALONDE, distance="propensity", caliper_sd=0.2)
    plain, told = att(design, "re78", tie_orders=0), att(design, "re78", tie_orders=50)
    assert told.estimate[0] == plain.estimate[0] and told.notes[:-1] == plain.notes
    assert "over 50 orders of equally near units" in told.summary()
    alone = match(school(60), "treated", covariates=["x"])  # nobody is equally near
    assert att(alone, "y", tie_orders=50).notes == att(alone, "y").notes


def test_a_dozen_cells_of_which_two_hold_most_of_the_treated_are_no_dozen_clusters():
    """Lalonde by race, marriage and diploma: clustered by cells the interval covers zero in 79 % of 400 draws."""
    comparison = [20, 42, 11, 14, 8, 24, 7, 22, 55, 60, 72, 94]
    treated = [37, 90, 6, 23, 1, 7, 1, 2, 7, 8, 2, 1]
    cell = np.repeat(np.arange(12), np.add(comparison, treated))
    arm = np.concatenate([np.repeat([0, 1], [a, b]) for a, b in zip(comparison, treated, strict=True)])
    units = pd.DataFrame({"t": arm, "cell": [f"c{k:02d}" for k in cell]})
    design, rng = stratify(units, "t", covariates=["cell"], method="exact"), np.random.default_rng(0)
    inside = {None: 0, "cluster": 0}
    for _ in range(150):
        y = rng.normal(size=len(units))
        for vcov in inside:
            row = att(design, y, vcov=vcov).tidy().iloc[0]
            inside[vcov] += row["conf_low"] <= 0 <= row["conf_high"]
    assert inside[None] >= 135 and inside["cluster"] <= 128  # of 150; 142.5 are right
