"""Interaction-weighted event study: fixest on mpdta, dummies, estimated shares, recovery, refusals."""

from __future__ import annotations

import json

import fe_oracle
import numpy as np
import pandas as pd
import pytest
from did_oracle import panel as random_panel
from places import ROOT
from test_twfe import COLUMNS, SETTINGS, staggered

import attribution as at
from attribution.errors import EstimationError

FOLDER = ROOT / "tests" / "reference" / "did"
FIXEST = {c["id"]: c for c in json.loads((FOLDER / "fastdid_sunab_mpdta.json").read_text())["cases"]
          if c["id"].startswith("sunab/")}  # fmt: skip
BY = {"sunab/att": "overall", "sunab/cohort": "cohort", "sunab/period": "event_time"}


def mpdta() -> at.Panel:
    frame = pd.read_parquet(FOLDER / "mpdta.parquet")
    frame = frame.assign(first_treat=frame["first_treat"].replace(0, np.nan))
    return at.Panel(frame, unit="countyreal", period="year", cohort="first_treat", outcome="lemp")


@pytest.mark.parametrize("name", FIXEST)
def test_fixest(name):
    """fixest: shares fixed; G/(G-1) (N-1)/(N-K), K = 12 interactions + 5 years (500 units nested in the clusters)."""
    fit = at.sun_abraham(mpdta(), comparison="never_treated", base_period=-1, by=BY[name], shares="fixed",
                         small_sample=True)  # fmt: skip
    rows = FIXEST[name]["rows"]
    if name != "sunab/att":
        assert [int(row["term"].split("::")[1]) for row in rows] == fit.labels[BY[name]].tolist()
    np.testing.assert_allclose(fit.estimate, [row["est"] for row in rows], rtol=0, atol=1e-12)
    np.testing.assert_allclose(fit.std_error, [row["se"] for row in rows], rtol=1e-9)


def test_every_sunab_case_is_read():
    assert set(FIXEST) == set(BY)


@pytest.mark.parametrize(("made", "weight", "cluster"), SETTINGS)
def test_interactions_equal_dummies(made, weight, cluster):
    frame = random_panel(150, cohorts=(2, 3, 5, 9), seed=3, **made)
    fit = at.sun_abraham(at.Panel(frame, **COLUMNS, weight=weight, cluster=cluster), comparison="never_treated",
                         base_period=-1, by="cohort_period", few_clusters="off")  # fmt: skip
    columns = [(frame["g"] == g) & (frame["t"] == t) for g, t in zip(fit.labels["cohort"], fit.labels["period"],
                                                                     strict=True)]  # fmt: skip
    beta, cov = fe_oracle.regression(frame, np.column_stack(columns), weight=weight, group=cluster or "unit")
    np.testing.assert_allclose(fit.estimate, beta, rtol=1e-8)
    np.testing.assert_allclose(fit.cov, cov, rtol=1e-6, atol=1e-12)


def test_equals_group_time_att_on_a_balanced_panel():
    """Saturated in cohorts and with one base: the same differences in means as ATT(g, t) from a universal base."""
    panel = mpdta()
    gt = at.group_time_att(panel, comparison="never_treated", base_period="universal")
    for shares, by in (("estimated", "event_time"), ("estimated", "overall")):
        ours = at.sun_abraham(panel, comparison="never_treated", base_period=-1, by=by, shares=shares)
        theirs = at.aggregate(gt, by=by).tidy()
        theirs = theirs[theirs["std_error"].notna()]
        np.testing.assert_allclose(ours.estimate, theirs["estimate"], atol=1e-12)
        np.testing.assert_allclose(ours.std_error, theirs["std_error"], rtol=1e-9)


@pytest.mark.parametrize(("made", "weight", "cluster"), SETTINGS)
def test_estimated_shares_by_hand(made, weight, cluster):
    """A unit seen at an event time moves the average there by w (effect of its cohort - average) / sum of w."""
    frame, group = random_panel(150, cohorts=(2, 3, 5), seed=5, **made), cluster or "unit"
    panel = at.Panel(frame, **COLUMNS, weight=weight, cluster=group)
    call = dict(comparison="never_treated", base_period=-1, few_clusters="off")
    fixed, free = (at.sun_abraham(panel, **call, shares=s) for s in ("fixed", "estimated"))
    raw = at.sun_abraham(panel, **call, by="cohort_period")
    w = (frame["w"] if weight else pd.Series(1.0, frame.index)).where(frame["y"].notna(), 0)
    columns = []
    for e in free.labels["event_time"]:
        rows = raw.labels["event_time"] == e
        effect = frame["g"].map(dict(zip(raw.labels.loc[rows, "cohort"], raw.estimate[rows], strict=True)))
        here = (frame["t"] - frame["g"] == e) & (w > 0)
        average = np.average(effect[here], weights=w[here])
        assert free.estimate[free.labels["event_time"] == e] == pytest.approx(average, rel=1e-9)
        columns.append(np.where(here, w * (effect - average), 0) / w[here].sum())
    extra = fe_oracle.by_group(np.column_stack(columns), frame[group].to_numpy())
    np.testing.assert_allclose(free.scores - fixed.scores, extra, atol=1e-12)
    if made["missing"] == 0 and weight is None and cluster is None:
        np.testing.assert_allclose(free.cov, fixed.cov + extra.T @ extra, atol=1e-12)


def test_last_cohort_ends_the_panel():
    frame = staggered(lambda e: 1 + 2 * e, periods=6, starts=(3, 5, np.nan))
    fit = at.sun_abraham(at.Panel(frame, **COLUMNS), comparison="last_cohort", base_period=-1)
    assert fit.labels["event_time"].tolist() == [-2, 0, 1]
    np.testing.assert_allclose(fit.estimate, [0, 1, 3], atol=1e-10)
    assert fit.n_comparison.tolist() == [7, 7, 7]
    assert fit.notes == ("Comparison: cohort 5.", "Periods 5 and later are left out: nobody is untreated then.",
                         "6 never-treated units are left out.",
                         "3 of 3 estimates rest on fewer than 20 treated or comparison units: standard errors "
                         "enlarged by n / (n - 1), Student's t.")  # fmt: skip


def test_recovers_effects_that_twfe_misses():
    frame = staggered(lambda e: 1 + 4 * e, units=30, periods=8, starts=(3, 6, np.nan))
    panel = at.Panel(frame, **COLUMNS)
    fit = at.sun_abraham(panel, comparison="never_treated", base_period=-1)
    e = fit.labels["event_time"].to_numpy()
    np.testing.assert_allclose(fit.estimate, np.where(e < 0, 0, 1 + 4 * e), atol=1e-9)


def test_coverage_counts_the_shares():
    """Effects differ between cohorts and cohort sizes are drawn: only the estimated shares give honest intervals."""
    r = np.random.default_rng(11)
    hit, runs, truth = {"fixed": 0, "estimated": 0}, 300, 0.5 * 4.0
    for _ in range(runs):
        g = r.choice([2.0, 3.0, np.nan], 60, p=[0.35, 0.35, 0.3])
        y = r.normal(size=(60, 3)) * 0.7
        y[:, 2] += np.where(g == 3, 4.0, 0)  # at event time 0 cohort 2 gains nothing and cohort 3 gains 4
        frame = pd.DataFrame({"unit": np.repeat(np.arange(60), 3), "g": np.repeat(g, 3), "t": np.tile([1, 2, 3], 60),
                              "y": y.ravel()})  # fmt: skip
        panel = at.Panel(frame, **COLUMNS)
        for shares in hit:
            fit = at.sun_abraham(panel, comparison="never_treated", base_period=-1, shares=shares)
            low, high = fit.conf_int()
            zero = fit.labels["event_time"].tolist().index(0)
            hit[shares] += bool(low[zero] <= truth <= high[zero])
    assert 0.91 <= hit["estimated"] / runs <= 0.98
    assert hit["fixed"] / runs < 0.88


def test_a_cohort_of_one_unit_carries_no_weight():
    frame = random_panel(100, cohorts=(3, 4), seed=9)
    lonely = frame["unit"].isin(frame.loc[frame["g"] == 4, "unit"].unique()[1:])
    panel = at.Panel(frame[~lonely], **COLUMNS)
    call = dict(comparison="never_treated", base_period=-1)
    assert set(at.sun_abraham(panel, **call, by="cohort_period").labels["cohort"]) == {3}
    fit = at.sun_abraham(panel, **call, by="overall")
    assert "(cohorts 4)" in fit.notes[0] and "rest on a single treated unit" in fit.notes[0]
    alone = at.sun_abraham(at.Panel(frame[frame["g"] != 4], **COLUMNS), **call, by="overall")
    assert fit.estimate[0] == pytest.approx(alone.estimate[0]) and fit.std_error[0] == pytest.approx(alone.std_error[0])
    with pytest.raises(EstimationError, match="two units or more in a cohort"):
        at.sun_abraham(at.Panel(frame[~lonely & (frame["g"] != 3)], **COLUMNS), **call)
    few = frame["g"].notna() | (frame["unit"] == frame.loc[frame["g"].isna(), "unit"].iloc[0])
    with pytest.raises(EstimationError, match="two comparison units"):
        at.sun_abraham(at.Panel(frame[few], **COLUMNS), **call)


@pytest.mark.parametrize(
    ("starts", "options", "match"),
    [
        ((3, 5), dict(comparison="never_treated", base_period=-1), "from period 5 on are not identified"),
        ((3,), dict(comparison="last_cohort", base_period=-1), "no effect is identified"),
        ((np.nan,), dict(comparison="never_treated", base_period=-1), "at least one cohort"),
        ((2, 5, np.nan), dict(comparison="never_treated", base_period=-2), "cohort 2 not seen at -2"),
        ((3, np.nan), dict(comparison="never_treated", base_period=0), "before treatment"),
        ((3, np.nan), dict(comparison="others", base_period=-1), "comparison one of"),
        ((3, np.nan), dict(comparison="never_treated", base_period=-1, shares="yes"), "shares one of"),
    ],
)
def test_refusals(starts, options, match):
    with pytest.raises(EstimationError, match=match):
        at.sun_abraham(at.Panel(staggered(lambda e: 1.0, starts=starts), **COLUMNS), **options)
