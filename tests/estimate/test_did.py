"""Group-time ATT: by hand, against the slow version, in simulation, and what it refuses."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from estimate.did_oracle import att_gt, panel

from attribution.cohorts.panel import Panel
from attribution.errors import EstimationError
from attribution.estimate.aggregate import aggregate
from attribution.estimate.did import group_time_att

COLUMNS = {"unit": "unit", "period": "t", "cohort": "g", "outcome": "y"}
DEFAULT = {"comparison": "never_treated", "base_period": "universal"}


def fit(frame, *, weight=None, cluster=None, risk_set=None, **options):
    made = Panel(frame, **COLUMNS, weight=weight, cluster=cluster, risk_set=risk_set)
    return group_time_att(made, **{**DEFAULT, **options})


def wide(frame):
    return frame.pivot(index="unit", columns="t", values="y").to_numpy()


def one_per_unit(frame, column):
    return frame.groupby("unit")[column].first().to_numpy()


def columns(frame, *names):
    units = frame.groupby("unit")[list(names)].first()
    return pd.get_dummies(units, drop_first=True).to_numpy(float) if names else np.empty((len(units), 0))


def row(gt, g, t):
    return int(np.flatnonzero((gt.labels["cohort"] == g) & (gt.labels["period"] == t))[0])


# -- by hand --


def test_two_by_two_by_hand():
    """Changes: treated 3, 5; comparison 1, 2, 3. ATT 4 - 2 = 2; variance (1+1)/4 + (1+0+1)/9 = 13/18."""
    changes = {1: (2, 3.0), 2: (2, 5.0), 3: (np.nan, 1.0), 4: (np.nan, 2.0), 5: (np.nan, 3.0)}
    rows = [(u, t, g, 10.0 * u + (t == 2) * dy) for u, (g, dy) in changes.items() for t in (1, 2)]
    gt = fit(pd.DataFrame(rows, columns=["unit", "t", "g", "y"]), few_clusters="off")
    assert gt.labels["event_time"].tolist() == [-1, 0]
    assert gt.estimate.tolist() == pytest.approx([0, 2])
    assert gt.std_error[1] == pytest.approx(np.sqrt(13 / 18))
    assert np.isnan(gt.std_error[0]) and gt.labels["reason"][0] == "base period"
    assert (gt.n_treated[1], gt.n_comparison[1]) == (2, 3)


def test_base_window_is_the_mean_of_its_periods():
    frame = panel(seed=3, periods=(1, 2, 3, 4, 5), cohorts=(4,))
    averaged = frame.copy()
    at = averaged["t"].isin([1, 2])
    averaged.loc[at, "y"] = averaged[at].groupby("unit")["y"].transform("mean")
    window, single = fit(frame, base_period=(-3, -2)), fit(averaged, base_period=-2)
    for t in (3, 4, 5):
        assert window.estimate[row(window, 4, t)] == pytest.approx(single.estimate[row(single, 4, t)])
        assert window.std_error[row(window, 4, t)] == pytest.approx(single.std_error[row(single, 4, t)])


def test_periods_may_have_gaps():
    frame = panel(seed=1, periods=(1974, 1975, 1978), cohorts=(1976,))
    gt = fit(frame)
    assert gt.labels["event_time"].tolist() == [-2, -1, 2]
    assert fit(frame, base_period=-2).estimate[1] == pytest.approx(-gt.estimate[0])
    assert set(fit(frame, base_period=-3).labels["reason"]) == {"base period not observed"}


def test_risk_sets_compare_within_their_own():
    """Sequential trials: cohort 3 is compared with the records at risk at 3, whatever the others do."""
    frame = panel(n=300, seed=5, cohorts=(3, 4))
    at_risk = np.where(np.isnan(frame["g"]), 3 + frame["unit"] % 2, frame["g"])
    frame = frame.assign(risk=at_risk)
    gt = fit(frame, risk_set="risk")
    for g in (3, 4):
        alone = fit(frame[frame["risk"] == g])
        assert gt.estimate[row(gt, g, 5)] == pytest.approx(alone.estimate[row(alone, g, 5)])
        assert gt.std_error[row(gt, g, 5)] == pytest.approx(alone.std_error[row(alone, g, 5)])


def test_a_later_starter_serves_as_not_yet_treated_in_its_risk_set():
    frame = panel(n=300, seed=5, cohorts=(3, 5)).assign(risk=3.0)
    gt = fit(frame, risk_set="risk", comparison="not_yet_treated")
    assert gt.n_comparison[row(gt, 3, 4)] == (one_per_unit(frame, "g") != 3).sum()
    assert gt.n_comparison[row(gt, 3, 5)] == np.isnan(one_per_unit(frame, "g")).sum()
    assert set(gt.labels["cohort"]) == {3} and gt.shares.index.tolist() == [3]


# -- against the slow version --


@pytest.mark.parametrize("method", ["dr", "reg", "ipw"])
@pytest.mark.parametrize("comparison", ["never_treated", "not_yet_treated"])
@pytest.mark.parametrize("covariates", [(), ("s",), ("x",), ("s", "x")])
@pytest.mark.parametrize("weight", [None, "w"])
@pytest.mark.parametrize("missing", [0.0, 0.1])
def test_cells_equal_the_dense_influence_function(method, comparison, covariates, weight, missing):
    frame = panel(n=400, seed=11, missing=missing)
    gt = fit(frame, method=method, comparison=comparison, covariates=covariates, weight=weight)
    x = columns(frame, *covariates)
    w = one_per_unit(frame, "w") if weight else None
    names = gt.labels[gt.labels["reason"] == ""].index
    dense = [
        att_gt(wide(frame), one_per_unit(frame, "g"), range(1, 6), g, t, g - 1, method=method, x=x, w=w,
               not_yet=comparison == "not_yet_treated")
        for g, t in gt.labels.loc[names, ["cohort", "period"]].to_numpy()
    ]  # fmt: skip
    scores = np.column_stack([each[1] for each in dense])
    np.testing.assert_allclose(gt.estimate[names], [each[0] for each in dense], rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(gt.cov[np.ix_(names, names)], scores.T @ scores, rtol=1e-9, atol=1e-12)


def test_clusters_sum_the_dense_scores():
    frame = panel(n=400, seed=12)
    gt = fit(frame, cluster="k", covariates=["s"], method="dr")
    x = columns(frame, "s")
    _, scores = att_gt(wide(frame), one_per_unit(frame, "g"), range(1, 6), 3, 5, 2, method="dr", x=x)
    sums = pd.Series(scores).groupby(one_per_unit(frame, "k")).sum()
    assert gt.std_error[row(gt, 3, 5)] == pytest.approx(np.sqrt((sums**2).sum()), rel=1e-10)


def test_large_incomes_keep_their_digits():
    frame = panel(n=400, seed=2)
    shifted = frame.assign(y=frame["y"] + 1e9)
    np.testing.assert_allclose(fit(shifted).std_error[2:4], fit(frame).std_error[2:4], rtol=1e-6)
    big = fit(frame.assign(y=frame["y"] * 1e9))
    np.testing.assert_allclose(big.std_error[2:4] / 1e9, fit(frame).std_error[2:4], rtol=1e-12)


# -- recovery --


def test_recovery_of_the_overall_effect():
    """True effect 1 in every treated period: bias below a quarter SE, 95 % intervals cover, SEs are honest."""
    estimates, errors = [], []
    for seed in range(200):
        frame = panel(n=250, seed=1000 + seed)
        one = aggregate(fit(frame, covariates=["x"], method="dr"), by="overall")
        estimates.append(one.estimate[0])
        errors.append(one.std_error[0])
    estimates, errors = np.array(estimates), np.array(errors)
    assert abs(estimates.mean() - 1) < 0.25 * errors.mean()
    assert 0.90 <= (np.abs(estimates - 1) < 1.96 * errors).mean() <= 0.985
    assert 0.85 <= errors.mean() / estimates.std() <= 1.15


# -- what cannot be estimated, and what is refused --


def test_one_singular_cell_does_not_stop_the_run():
    frame = panel(n=120, seed=4, periods=(1, 2, 3, 4, 5), cohorts=(3, 4))
    last = int(frame.loc[frame["g"] == 4, "unit"].iloc[0])
    frame = frame[(frame["g"] != 4) | (frame["unit"] == last)]
    gt = fit(frame)
    assert np.isnan(gt.estimate[row(gt, 4, 5)]) and np.isfinite(gt.estimate[row(gt, 3, 5)])
    assert gt.labels["reason"][row(gt, 4, 5)].startswith("fewer than two treated")
    overall = aggregate(gt, by="overall")
    assert np.isfinite(overall.estimate[0]) and any("carry no weight" in note for note in overall.notes)


def test_collinear_covariates_are_named():
    frame = panel(n=200, seed=4).assign(double=lambda f: 2 * f["x"])
    gt = fit(frame, covariates=["x", "double"], method="reg")
    assert gt.labels["reason"][row(gt, 3, 5)] == "collinear covariates among the comparison units (double)"


def test_separation_is_no_overlap():
    frame = panel(n=200, seed=4).assign(z=lambda f: np.where(f["g"].notna(), 5.0, -5.0) + f["x"].clip(-1, 1))
    gt = fit(frame, covariates=["z"], method="ipw")
    assert np.isnan(gt.estimate[row(gt, 3, 5)]) and gt.labels["reason"][row(gt, 3, 5)].startswith("no overlap")


@pytest.mark.parametrize(
    "options",
    [
        {"comparison": "control"}, {"method": "twfe"}, {"anticipation": -1}, {"anticipation": 1.5}, {"base_period": 0},
        {"base_period": "last"}, {"base_period": None}, {"base_period": (-1, -3)},
        {"base_period": -1, "anticipation": 1},
    ],
)  # fmt: skip
def test_options_out_of_range_are_refused(options):
    with pytest.raises(EstimationError, match="required: .*; found: .*"):
        fit(panel(), **options)


def test_choices_that_decide_the_answer_have_no_default():
    made = Panel(panel(), **COLUMNS)
    for missing in DEFAULT:
        with pytest.raises(TypeError, match=missing):
            group_time_att(made, **{name: value for name, value in DEFAULT.items() if name != missing})


def test_no_never_treated_units():
    frame = panel().dropna(subset=["g"])
    with pytest.raises(EstimationError, match="never-treated units"):
        fit(frame)
    gt = fit(frame, comparison="not_yet_treated")
    assert np.isfinite(gt.estimate[row(gt, 3, 3)]) and np.isnan(gt.estimate[row(gt, 3, 4)])


def test_no_cohort_within_the_periods():
    with pytest.raises(EstimationError, match="at least one cohort"):
        fit(panel(cohorts=(9,)))


def test_one_cluster_is_no_sample():
    with pytest.raises(EstimationError, match="at least two clusters"):
        fit(panel().assign(k=1), cluster="k")


def test_anticipation_leaves_early_cohorts_out():
    gt = fit(panel(cohorts=(2, 4)), anticipation=1)
    assert set(gt.labels["cohort"]) == {4} and "left out" in gt.notes[0]
