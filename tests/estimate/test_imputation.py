"""Imputation: dense least squares, conservative errors, coverage, separate pre-trend test, what is not identified."""

from __future__ import annotations

import json

import fe_oracle
import numpy as np
import pandas as pd
import pytest
from did_oracle import panel as random_panel
from places import ROOT
from test_twfe import COLUMNS, SETTINGS, long, staggered

import attribution as at
from attribution.errors import EstimationError


def averages(by, labels):
    keys = [0] if by == "overall" else labels[by]
    value = {"overall": lambda f: 0 * f["t"], "event_time": lambda f: f["t"] - f["g"], "cohort": lambda f: f["g"],
             "period": lambda f: f["t"]}[by]  # fmt: skip
    return [lambda f, k=k: (value(f) == k).to_numpy() for k in keys]


def test_by_hand():
    """One treated pair, one comparison pair, three periods: the base is the mean of both periods before."""
    paths = {0: (3, [1.0, 2.0, 9.0]), 1: (3, [0.0, 1.0, 5.0]), 2: (np.nan, [1, 1, 3.0]), 3: (np.nan, [2, 4, 4.0])}
    frame = long([(i, g, t + 1, y) for i, (g, path) in paths.items() for t, y in enumerate(path)])
    fit = at.imputation(at.Panel(frame, **COLUMNS), by="overall", few_clusters="off")
    change = {i: path[2] - (path[0] + path[1]) / 2 for i, (_, path) in paths.items()}
    assert fit.estimate[0] == pytest.approx((change[0] + change[1]) / 2 - (change[2] + change[3]) / 2)
    # 7.5, 4.5 and 2, 1: around their means 1.5 and 0.5, each halved
    assert fit.std_error[0] == pytest.approx(np.sqrt(2 * (1.5 / 2) ** 2 + 2 * (0.5 / 2) ** 2))
    assert fit.n_treated[0] == 2


def test_diff_diff_on_mpdta():
    folder = ROOT / "tests" / "reference" / "did"
    frame = pd.read_parquet(folder / "mpdta.parquet")
    frame = frame.assign(first_treat=frame["first_treat"].replace(0, np.nan))
    panel = at.Panel(frame, unit="countyreal", period="year", cohort="first_treat", outcome="lemp")
    fits = [at.imputation(panel, by=by) for by in ("overall", "event_time")]
    rows = json.loads((folder / "imputation_mpdta.json").read_text())["rows"]
    assert [row[0] for row in rows] == ["overall", *fits[1].labels["event_time"]]
    np.testing.assert_allclose(np.r_[fits[0].estimate, fits[1].estimate], [row[1] for row in rows], atol=1e-8)
    np.testing.assert_allclose(np.r_[fits[0].std_error, fits[1].std_error], [row[2] for row in rows], rtol=1e-6)


@pytest.mark.parametrize("by", ["overall", "event_time", "cohort", "period"])
@pytest.mark.parametrize(("made", "weight", "cluster"), SETTINGS)
def test_equals_dense(made, weight, cluster, by):
    frame = random_panel(120, cohorts=(2, 3, 5, 9), seed=3, **made)
    untreated = frame["y"].notna() & ~(frame["t"] >= frame["g"])
    frame = frame[frame["unit"].isin(frame.loc[untreated, "unit"])]  # those never seen untreated have their own test
    fit = at.imputation(at.Panel(frame, **COLUMNS, weight=weight, cluster=cluster), by=by, few_clusters="off")
    estimate, cov = fe_oracle.imputation(frame, averages(by, fit.labels), weight=weight, group=cluster or "unit")
    np.testing.assert_allclose(fit.estimate, estimate, rtol=1e-9)
    np.testing.assert_allclose(fit.cov, cov, rtol=1e-7, atol=1e-12)


def test_anticipation_leaves_periods_out():
    frame = random_panel(120, cohorts=(3, 5), seed=4, missing=0.1)
    untreated = frame["y"].notna() & ~(frame["t"] >= frame["g"] - 1)
    frame = frame[frame["unit"].isin(frame.loc[untreated, "unit"])]
    fit = at.imputation(at.Panel(frame, **COLUMNS), by="event_time", anticipation=1)
    estimate, cov = fe_oracle.imputation(frame, averages("event_time", fit.labels), anticipation=1)
    np.testing.assert_allclose(fit.estimate, estimate, rtol=1e-9)
    np.testing.assert_allclose(fit.cov, cov, rtol=1e-7, atol=1e-12)


def test_one_period_before_equals_group_time_att():
    frame = random_panel(150, periods=(1, 2, 3), cohorts=(2,), seed=5)
    panel = at.Panel(frame, **COLUMNS)
    gt = at.group_time_att(panel, comparison="never_treated", base_period="universal")
    after = (gt.labels["period"] >= 2).to_numpy()
    fit = at.imputation(panel, by="period")
    np.testing.assert_allclose(fit.estimate, gt.estimate[after], rtol=1e-10)
    np.testing.assert_allclose(fit.cov, gt.cov[np.ix_(after, after)], rtol=1e-9)


def test_recovers_growing_effects():
    frame = staggered(lambda e: 1 + 4 * e, units=30, periods=8, starts=(3, 6, np.nan))
    fit = at.imputation(at.Panel(frame, **COLUMNS), by="event_time")
    np.testing.assert_allclose(fit.estimate, 1 + 4 * fit.labels["event_time"], atol=1e-9)


def test_standard_errors_are_right_under_one_effect_and_conservative_otherwise():
    r = np.random.default_rng(3)
    estimates, errors = {0.0: [], 2.0: []}, {0.0: [], 2.0: []}
    g = np.repeat([3.0, 4.0, np.nan], 20)
    t = np.arange(1, 6)
    after = t[None, :] >= np.nan_to_num(g, nan=99)[:, None]
    for spread in estimates:
        own = np.tile(np.linspace(-1, 1, 20), 3) * spread  # effects that differ between units, the same each time
        for _ in range(300):
            y = r.normal(size=(60, 5)) + after * (1 + own[:, None])
            frame = pd.DataFrame({"unit": np.repeat(np.arange(60), 5), "g": np.repeat(g, 5), "t": np.tile(t, 60),
                                  "y": y.ravel()})  # fmt: skip
            fit = at.imputation(at.Panel(frame, **COLUMNS), by="overall")
            estimates[spread].append(fit.estimate[0])
            errors[spread].append(fit.std_error[0])
    ratio = {s: np.mean(errors[s]) / np.std(estimates[s]) for s in estimates}
    assert np.mean(estimates[0.0]) == pytest.approx(1, abs=0.03)
    assert 0.88 < ratio[0.0] < 1.12
    assert ratio[2.0] > 1.2


def test_pretrend_rows_are_a_regression_of_the_untreated_alone():
    frame = random_panel(150, periods=(1, 2, 3, 4, 5, 6), cohorts=(4, 6), seed=6, missing=0.1)
    panel = at.Panel(frame, **COLUMNS)
    fit = at.imputation(panel, by="event_time", leads=2)
    plain = at.imputation(panel, by="event_time")
    assert fit.labels["event_time"].tolist() == [-2, -1, 0, 1, 2]
    np.testing.assert_array_equal(fit.estimate[2:], plain.estimate)
    untreated = frame[~(frame["t"] >= frame["g"])]
    event = (untreated["t"] - untreated["g"]).to_numpy()
    beta, cov = fe_oracle.regression(untreated, event[:, None] == np.array([-2, -1]))
    np.testing.assert_allclose(fit.estimate[:2], beta, rtol=1e-9)
    np.testing.assert_allclose(fit.cov[:2, :2], cov, rtol=1e-7)
    check = at.imputation_pretrend(panel, leads=2)
    assert check.statistic == pytest.approx(beta @ np.linalg.solve(cov, beta), rel=1e-7)
    assert check.table["estimate"].tolist() == fit.estimate[:2].tolist()


def test_pretrend_test_rejects_as_often_as_it_says_and_finds_a_trend():
    r = np.random.default_rng(4)
    g = np.repeat([5.0, 6.0, np.nan], 40)
    failed = {0.0: 0, 0.5: 0}
    for slope in failed:
        for _ in range(200):
            path = r.normal(size=(120, 6)) + slope * np.arange(6) * np.isfinite(g)[:, None]
            frame = pd.DataFrame({"unit": np.repeat(np.arange(120), 6), "g": np.repeat(g, 6),
                                  "t": np.tile(np.arange(1, 7), 120), "y": path.ravel()})  # fmt: skip
            check = at.imputation_pretrend(at.Panel(frame, **COLUMNS), leads=2)
            assert check.passed in (None, False)  # never "passed"
            failed[slope] += check.passed is False
    assert 0.01 <= failed[0.0] / 200 <= 0.10
    assert failed[0.5] / 200 > 0.95


def test_units_never_seen_untreated_are_counted():
    frame = staggered(lambda e: 1.0, units=21, starts=(3, 5, np.nan))
    hidden = frame[~((frame["unit"] == 0) & (frame["t"] < 3))]
    fit = at.imputation(at.Panel(hidden, **COLUMNS), by="overall")
    assert fit.n_treated[0] == 13 and fit.estimate[0] == pytest.approx(1)
    assert "1 treated units never seen untreated are left out." in fit.notes


def test_a_cohort_of_one_unit_carries_no_weight():
    """Its residual around its own mean would be zero, and its error nothing."""
    frame = random_panel(100, cohorts=(3, 4), seed=9)
    lonely = frame["unit"].isin(frame.loc[frame["g"] == 4, "unit"].unique()[1:])
    fit = at.imputation(at.Panel(frame[~lonely], **COLUMNS), by="cohort")
    assert fit.labels["cohort"].tolist() == [3]
    assert fit.notes == ("2 ATT(g, t) that rest on a single treated unit carry no weight (cohorts 4).",)
    with pytest.raises(EstimationError, match="two units or more in a cohort"):
        at.imputation(at.Panel(frame[~lonely & (frame["g"] != 3)], **COLUMNS), by="overall")


def test_effects_that_are_not_identified_are_named():
    panel = at.Panel(staggered(lambda e: 1.0, starts=(3, 5)), **COLUMNS)
    with pytest.raises(EstimationError, match=r"period\(s\) 5, 6 \[4\] \(for example ATT\(3,5\), ATT\(3,6\)"):
        at.imputation(panel, by="event_time")
    early = staggered(lambda e: 1.0, starts=(3, 5)).query("t < 5")
    fit = at.imputation(at.Panel(early, **COLUMNS), by="event_time")
    np.testing.assert_allclose(fit.estimate, [1, 1], atol=1e-10)


def test_periods_that_no_untreated_unit_links_are_refused():
    """Half the comparison units are seen in periods 1-2 only, half in 3-4: nothing says how 2 and 3 compare."""
    frame = random_panel(40, periods=(1, 2, 3, 4), cohorts=(3,), seed=2)
    early = frame["g"].isna() & (frame["unit"] % 2 == 0)
    frame = frame[~(early & (frame["t"] > 2)) & ~(frame["g"].isna() & ~early & (frame["t"] <= 2))]
    with pytest.raises(EstimationError, match=r"not identified, in period\(s\) 3, 4"):
        at.imputation(at.Panel(frame, **COLUMNS), by="overall")


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (dict(by="unit"), "by \"overall\""),
        (dict(by="overall", leads=2), "leads with by"),
        (dict(by="event_time", leads=-1), "whole number"),
        (dict(by="overall", anticipation=1.5), "whole number"),
    ],
)  # fmt: skip
def test_refusals(options, match):
    with pytest.raises(EstimationError, match=match):
        at.imputation(at.Panel(staggered(lambda e: 1.0), **COLUMNS), **options)


def test_too_many_leads_are_refused():
    early, late = (at.Panel(staggered(lambda e: 1.0, starts=(g, np.nan)), **COLUMNS) for g in (3, 5))
    for panel, leads, most in ((early, 2, 1), (late, 4, 3), (late, 9, 3)):
        mend = f"leads of {most} at most"
        with pytest.raises(EstimationError, match=f"leads={leads}, which exceed the periods.*{mend}"):
            at.imputation_pretrend(panel, leads=leads)
        with pytest.raises(EstimationError, match=mend):
            at.imputation(panel, by="event_time", leads=leads)
    assert len(at.imputation(late, by="event_time", leads=3)) == 5
    with pytest.raises(EstimationError, match="leads of 2 at most"):
        at.imputation_pretrend(late, leads=3, anticipation=1)
    with pytest.raises(EstimationError, match="add earlier periods"):
        at.imputation_pretrend(early, leads=1, anticipation=1)


def test_joint_tests_from_few_clusters_are_refused():
    frame = random_panel(200, periods=(1, 2, 3, 4, 5, 6), cohorts=(4, 6), seed=3)
    few, many = (at.Panel(frame.assign(k=frame["unit"] % k), **COLUMNS, cluster="k") for k in (40, 41))
    with pytest.raises(EstimationError, match="more than 40 clusters.*found: 40 clusters"):
        at.imputation_pretrend(few, leads=2)
    assert at.imputation_pretrend(many, leads=2).statistic > 0
    notes = [at.imputation(panel, by="event_time", leads=2, few_clusters="off").notes[0] for panel in (few, many)]
    assert "no joint test" in notes[0] and "jointly zero, p = " in notes[1]
