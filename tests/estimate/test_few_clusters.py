"""Few clusters: the jackknife by hand and by brute force, what it refuses, and when it stays away."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from attribution.cohorts.panel import Panel
from attribution.errors import EstimationError
from attribution.estimate.aggregate import aggregate
from attribution.estimate.did import group_time_att

PERIODS = 5
KINDS = [("overall", False), ("event_time", False), ("event_time", True), ("cohort", False), ("cohort", True),
         ("period", False)]  # fmt: skip


def school(starts=(3, 3, 4, 4, None, None, None), seed=0, size=12) -> pd.DataFrame:
    """A long panel: cluster k starts in starts[k], clusters of growing size, shocks that walk, covariates x and s."""
    r = np.random.default_rng(seed)
    k = np.repeat(np.arange(len(starts)), size + 2 * np.arange(len(starts)))
    g = np.array([np.nan if start is None else start for start in starts], float)[k]
    x, s = r.normal(size=len(k)), r.choice(list("ab"), len(k))
    y = r.normal(size=(len(starts), PERIODS)).cumsum(axis=1)[k] + r.normal(size=(len(k), PERIODS))
    y += x[:, None] * np.arange(PERIODS)
    unit = pd.DataFrame({"unit": np.arange(len(k)), "k": k, "g": g, "x": x, "s": s, "w": r.uniform(0.5, 2, len(k))})
    long = unit.loc[np.repeat(np.arange(len(k)), PERIODS)].reset_index(drop=True)
    return long.assign(t=np.tile(np.arange(1, PERIODS + 1), len(k)), y=y.ravel())


def fit(frame, *, cluster="k", unit="unit", outcome="y", weight=None, **options):
    panel = Panel(frame, unit=unit, period="t", cohort="g", outcome=outcome, cluster=cluster, weight=weight)
    return group_time_att(panel, **{"comparison": "not_yet_treated", "base_period": "universal", **options})


def by_term(effects):
    return pd.Series(effects.estimate, index=effects.labels["term"])


def brute(frame, make):
    """The jackknife standard errors from as many fits as there are clusters."""
    whole, clusters = by_term(make(frame)), frame["k"].unique()
    moves = pd.DataFrame({k: by_term(make(frame[frame["k"] != k])) - whole for k in clusters})
    share = (len(clusters) - 1) / len(clusters)
    return np.sqrt(share * (moves**2).sum(axis=1, skipna=False)).reindex(whole.index).to_numpy()


# -- by hand --


def two_by_two() -> pd.DataFrame:
    """One change a cluster. Treated 4, 6, 8; comparison 1, 2, 3, each seen on two equal units."""
    changes = [(2, 4.0), (2, 6.0), (2, 8.0), (np.nan, 1.0), (np.nan, 2.0), (np.nan, 3.0)]
    rows = [(2 * k + copy, k, t, g, (t == 2) * change) for k, (g, change) in enumerate(changes)
            for copy in (0, 1) for t in (1, 2)]  # fmt: skip
    return pd.DataFrame(rows, columns=["unit", "k", "t", "g", "y"])


def test_means_by_hand():
    """Without a treated cluster the mean 6 becomes 7, 6, 5; without a comparison one 2 becomes 2.5, 2, 1.5.

    Variance 5/6 (1 + 0 + 1 + 1/4 + 0 + 1/4) = 25/12. Three clusters an arm have Welch's 4 degrees of freedom.
    """
    gt = fit(two_by_two())
    assert gt.estimate[1] == pytest.approx(4)
    assert gt.std_error[1] == pytest.approx(np.sqrt(25 / 12))
    assert gt.dof[1] == pytest.approx(4)
    low, high = gt.conf_int(0.9)
    half = stats.t.ppf(0.95, 4) * np.sqrt(25 / 12)
    assert (low[1], high[1]) == pytest.approx((4 - half, 4 + half))
    row = gt.tidy(0.9).iloc[1]
    assert (row["conf_low"], row["conf_high"]) == pytest.approx((4 - half, 4 + half))
    assert row["p_value"] == pytest.approx(2 * stats.t.sf(4 / np.sqrt(25 / 12), 4))
    assert np.isnan(gt.std_error[0]) and gt.labels["reason"].tolist() == ["base period", ""]


def test_degrees_of_freedom_are_those_of_welch():
    """m treated and n comparison clusters of one size and variance: the sum of squares of the two means' jackknife."""
    frame = two_by_two()
    extra = frame[frame["k"] == 5].assign(k=6, unit=lambda f: f["unit"] + 100)
    gt = fit(pd.concat([frame, extra]))
    parts = {m: 1 / (m - 1) for m in (3, 4)}  # sum over m clusters of (y - mean)^2 / (m - 1)^2, per unit of variance
    welch = sum(parts.values()) ** 2 / sum(v**2 / (m - 1) for m, v in parts.items())
    assert gt.dof[1] == pytest.approx(welch)


# -- against refitting --


@pytest.mark.parametrize("options", [
    {}, {"covariates": ("x",)}, {"covariates": ("s",), "method": "reg"}, {"covariates": ("s",), "weight": "w"},
    {"comparison": "never_treated", "method": "ipw", "covariates": ("x",)}, {"base_period": "varying"},
    {"base_period": (-2, -1)},
])  # fmt: skip
def test_every_aggregate_is_the_jackknife_of_refits(options):
    frame = school()
    gt = fit(frame, **options)
    again = brute(frame, lambda f: fit(f, **options))
    np.testing.assert_allclose(gt.std_error, np.where(gt.estimate == 0, np.nan, again))
    for by, overall in KINDS:
        made = aggregate(gt, by=by, overall=overall)
        again = brute(frame, lambda f, by=by, overall=overall: aggregate(fit(f, **options), by=by, overall=overall))
        np.testing.assert_allclose(made.std_error, np.where(made.estimate == 0, np.nan, again), rtol=1e-7)


def test_repeated_cross_sections_are_refitted_too():
    frame = school(size=60)
    frame = frame[(frame["unit"] + frame["t"]) % PERIODS < 1]
    gt = fit(frame, unit=None, covariates=("x",))
    again = brute(frame, lambda f: aggregate(fit(f, unit=None, covariates=("x",)), by="overall"))
    np.testing.assert_allclose(aggregate(gt, by="overall").std_error, again)
    assert np.isfinite(aggregate(gt, by="overall").dof).all()


def test_missing_outcomes():
    frame = school()
    frame.loc[np.random.default_rng(2).random(len(frame)) < 0.1, "y"] = np.nan
    make = lambda f: aggregate(fit(f, covariates=("s",)), by="overall")  # noqa: E731
    np.testing.assert_allclose(make(frame).std_error, brute(frame, make))


@pytest.mark.parametrize("options", [
    {}, {"covariates": ("x",)}, {"covariates": ("x",), "method": "dr_imp"}, {"covariates": ("s",), "method": "reg"},
    {"method": "ipw", "covariates": ("x",)},
])  # fmt: skip
def test_loadings_reproduce_shifts_of_a_clusters_outcomes(options):
    """A loading is what it says: the estimate moves by it when all outcomes of a cluster's arm move together."""
    frame, cluster, period = school(), 2, 5
    gt = fit(frame, **options)
    moved = frame.assign(y=frame["y"] + ((frame["k"] == cluster) & (frame["t"] == period)))
    after = fit(moved, **options)
    for effects, other in ((gt, after), (aggregate(gt, by="event_time"), aggregate(after, by="event_time"))):
        expected = other.estimate - effects.estimate
        found = [effects.jackknife.path(k)[0, cluster, :, period - 1].sum() for k in range(len(effects))]
        np.testing.assert_allclose(found, expected, atol=1e-8)


# -- combinations --


def test_a_combination_is_the_aggregate_it_equals():
    gt = fit(school())
    events = aggregate(gt, by="event_time")
    after = (events.labels["event_time"] >= 0).to_numpy()
    by_hand, made = events.combine(after / after.sum()), aggregate(gt, by="event_time", overall=True)
    np.testing.assert_allclose(by_hand.std_error, made.std_error)
    np.testing.assert_allclose(by_hand.dof, made.dof)


def test_a_combination_does_not_inherit_what_it_does_not_use():
    gt = fit(school((3, 4, 4, None, None, None)))
    lost = np.isnan(gt.std_error) & (gt.labels["reason"] != "base period").to_numpy()
    assert lost.any()
    weights = np.eye(len(gt))[~lost & (gt.estimate != 0)]
    assert np.isfinite(gt.combine(weights).std_error).all()
    assert np.isnan(gt.combine(np.eye(len(gt))[lost]).std_error).all()


def test_differences_have_the_fewer_degrees_of_freedom():
    frame = school()
    one, two = aggregate(fit(frame), by="overall"), aggregate(fit(frame, covariates=("x",)), by="overall")
    gap = one.minus(two)
    assert gap.dof == pytest.approx(np.minimum(one.dof, two.dof))
    assert gap.std_error == pytest.approx(brute(frame, lambda f: aggregate(fit(f), by="overall").minus(
        aggregate(fit(f, covariates=("x",)), by="overall"))))  # fmt: skip
    assert one.scaled(100, "points").conf_int()[0] == pytest.approx(100 * one.conf_int()[0])


def test_the_band_is_wider_than_the_intervals_and_bonferronis():
    events = aggregate(fit(school()), by="event_time")
    low, high = events.conf_int(band="simultaneous")
    k = int(np.isfinite(events.std_error).sum())
    expected = 2 * stats.t.ppf(1 - 0.025 / k, events.dof) * events.std_error
    np.testing.assert_allclose(high - low, expected, rtol=1e-6)


# -- refusals --


def test_one_treated_cluster_has_no_standard_error():
    gt = fit(school((3, None, None, None, None)))
    assert np.isfinite(gt.estimate).all() and np.isnan(gt.std_error).all()
    assert gt.labels["reason"].iloc[-1] == "1 treated cluster: no honest standard error with fewer than 2"
    overall = aggregate(gt, by="overall")
    assert np.isnan(overall.std_error[0]) and np.isnan(overall.tidy()["p_value"][0])
    assert np.isnan(overall.conf_int()).all() and np.isnan(overall.conf_int(band="simultaneous")).all()
    assert "have no standard error" in overall.notes[-1] and overall.labels["reason"][0].startswith("1 treated")


def test_one_comparison_cluster_has_no_standard_error():
    gt = fit(school((3, 3, 3, 3, None)), comparison="never_treated")
    assert gt.labels["reason"].iloc[-1] == "1 comparison cluster: no honest standard error with fewer than 2"
    assert np.isnan(aggregate(gt, by="overall").std_error[0])


def test_cohorts_of_one_cluster_are_refused_but_not_their_mean():
    """Whoever leaves takes the cohort along, and the mean over cohorts is made again from the others."""
    frame = school((3, 4, 4, 5, None, None, None))
    gt = fit(frame)
    cohorts = aggregate(gt, by="cohort")
    assert np.isnan(cohorts.std_error).tolist() == [True, False, True]
    make = lambda f: aggregate(fit(f), by="overall")  # noqa: E731
    np.testing.assert_allclose(aggregate(gt, by="overall").std_error, brute(frame, make))


def test_given_weights_do_not_lose_a_cohort():
    gt = fit(school((3, 4, 4, None, None, None)))
    assert np.isnan(aggregate(gt, by="overall", cohort_weights={3: 1, 4: 2}).std_error[0])
    assert np.isfinite(aggregate(gt, by="overall", cohort_weights={4: 2}).std_error[0])


def test_a_mean_over_event_times_may_not_lose_one():
    gt = fit(school((3, 4, 4, None, None, None)))  # event time 2 is the single cluster of cohort 3
    assert np.isnan(aggregate(gt, by="event_time", overall=True).std_error[0])


def test_covariates_that_hold_only_with_all_clusters():
    """Category b lives in one comparison cluster: without it there is nothing left to compare the treated b with."""
    frame = school((3, 3, 3, None, None, None))
    frame["s"] = np.where((frame["k"] == 3) | ((frame["k"] == 0) & (frame["unit"] % 2 == 0)), "b", "a")
    gt = fit(frame, covariates=("s",), method="reg")
    assert np.isnan(gt.std_error[-1])
    assert gt.labels["reason"].iloc[-1] == "no standard error: without one of the clusters there is no such estimate"


def test_unknown_option():
    with pytest.raises(EstimationError, match="few_clusters"):
        fit(school(), few_clusters="on")


# -- when it stays away --


def test_off_is_the_sum_of_scores_within_clusters():
    frame = school()
    off, no_clusters = fit(frame, few_clusters="off"), fit(frame, cluster="unit", few_clusters="off")
    assert off.dof is None and off.jackknife is None
    of_unit = frame.drop_duplicates("unit").set_index("unit")["k"].to_numpy()
    summed = pd.DataFrame(no_clusters.scores).groupby(of_unit).sum().to_numpy()
    np.testing.assert_allclose(off.scores, summed, atol=1e-12)
    assert off.conf_int()[1][-1] - off.estimate[-1] == pytest.approx(1.959964 * off.std_error[-1], rel=1e-6)


def test_more_than_forty_clusters_are_left_alone():
    frame = school(seed=4)
    frame["k"] = frame["unit"] % 41
    auto, off = fit(frame), fit(frame, few_clusters="off")
    assert auto.dof is None and auto.scores.tobytes() == off.scores.tobytes()
    assert aggregate(auto, by="event_time").tidy().equals(aggregate(off, by="event_time").tidy())
    frame["k"] = frame["unit"] % 40
    assert fit(frame).dof is not None


def test_without_clusters_nothing_changes():
    assert fit(school(), cluster=None).dof is None


def test_forty_equal_clusters_are_close_to_the_plain_error():
    frame = school((3,) * 20 + (None,) * 20, size=30)
    auto, off = fit(frame), fit(frame, few_clusters="off")
    use = np.isfinite(off.std_error)
    ratio = auto.std_error[use] / off.std_error[use]
    assert (ratio > 1).all() and (ratio < 1.12).all()
    assert (auto.dof[use] > 20).all()


# -- properties --


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_names_of_clusters_and_order_of_rows_do_not_matter(seed):
    frame = school(seed=seed)
    names = np.random.default_rng(seed).permutation([f"c{i}" for i in range(7)])
    shuffled = frame.assign(k=names[frame["k"]]).sample(frac=1, random_state=seed)
    for by in ("overall", "event_time"):
        one, other = (aggregate(fit(f, covariates=("s",)), by=by) for f in (frame, shuffled))
        np.testing.assert_allclose(one.std_error, other.std_error, rtol=1e-9)
        np.testing.assert_allclose(one.dof, other.dof, rtol=1e-9)


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_degrees_of_freedom_never_pass_the_clusters(seed):
    r = np.random.default_rng(seed)
    starts = [3, 3, *r.choice([3, 4, None], 4), None, None]
    dof = aggregate(fit(school(starts, seed)), by="event_time").dof
    assert (dof[np.isfinite(dof)] >= 1 - 1e-9).all() and (dof[np.isfinite(dof)] <= len(starts) - 1 + 1e-9).all()


def many(clusters, treated, r, size=10, periods=4):
    """A wide panel of clusters with shocks that walk; no effect."""
    k = np.repeat(np.arange(clusters), size)
    y = r.normal(size=(clusters, periods)).cumsum(axis=1)[k] + r.normal(size=(len(k), periods))
    frame = pd.DataFrame(y, columns=[f"y{t}" for t in range(1, periods + 1)])
    frame = frame.assign(u=np.arange(len(k)), k=k, g=np.where(k < treated, 3.0, np.nan))
    made = Panel(frame, unit="u", cohort="g", outcome={t: f"y{t}" for t in range(1, periods + 1)}, cluster="k")
    return group_time_att(made, comparison="never_treated", base_period=-1)


def test_few_treated_among_many_clusters():
    r = np.random.default_rng(1)
    assert many(60, 2, r).dof is not None and many(60, 30, r).dof is None
    assert many(60, 15, r).jackknife is not None  # fewer than 20 treated
    with pytest.raises(EstimationError, match="10 treated clusters"):
        many(250, 3, r)
    assert many(250, 40, r).dof is None
    some = many(250, 12, r)  # enough to go on, too few for the normal
    assert some.jackknife is None and some.dof[-1] == pytest.approx(11)


@pytest.mark.slow
@pytest.mark.parametrize("clusters, treated", [(45, 4), (100, 3)])
def test_few_treated_among_many_clusters_reject_seldom(clusters, treated):
    r, reps, rejected = np.random.default_rng(2), 300, 0
    for _ in range(reps):
        low, high = aggregate(many(clusters, treated, r), by="overall").conf_int()
        rejected += not low[0] < 0 < high[0]
    assert rejected / reps <= 0.07 + 2 * np.sqrt(0.07 * 0.93 / reps)


# -- few treated units --


def units(starts: dict, r, periods=5, outcomes=1, **options):
    """Independent units without any effect: {cohort (0: never): how many}."""
    g = np.repeat(list(starts), list(starts.values())).astype(float)
    frame = pd.DataFrame({"u": np.repeat(np.arange(len(g)), periods), "t": np.tile(np.arange(1, periods + 1), len(g))})
    frame = frame.assign(g=np.where(g == 0, np.nan, g)[frame["u"]])
    for k in range(outcomes):
        frame[f"y{k}"] = r.normal(size=len(frame))
    made = Panel(frame, unit="u", period="t", cohort="g", outcome=[f"y{k}" for k in range(outcomes)])
    return frame, group_time_att(made, comparison="never_treated", base_period=-1, **options)


def test_few_treated_units_by_hand():
    """Three changes: their sum of squares over 3^2, times (3 / 2)^2; and two degrees of freedom."""
    frame, gt = units({3: 3, 0: 100}, np.random.default_rng(3))
    change = frame.pivot(index="u", columns="t", values="y0").pipe(lambda y: y[3] - y[2]).to_numpy()
    treated, others = ((part - part.mean()) @ (part - part.mean()) for part in (change[:3], change[3:]))
    row = gt.labels.index[gt.labels["period"] == 3][0]
    assert gt.std_error[row] == pytest.approx(np.sqrt(treated / 9 * 9 / 4 + others / 100**2))
    assert gt.dof[row] == pytest.approx(2)
    low, high = gt.conf_int()
    assert high[row] - low[row] == pytest.approx(2 * stats.t.ppf(0.975, 2) * gt.std_error[row])
    assert "4 of 5 estimates rest on fewer than 20 treated or comparison units" in gt.summary()


def test_a_tiny_cohort_in_a_large_study_stays_a_matter_of_its_own():
    """Its own effects have Student's t, and so has the last event time, which only it reaches; the others do not."""
    counts = {2: 5, 3: 300, 0: 600}
    _, gt = units(counts, np.random.default_rng(4))
    _, off = units(counts, np.random.default_rng(4), few_clusters="off")
    assert off.dof is None and not any("rest on fewer" in note for note in off.notes)
    tiny, base = (gt.labels["cohort"] == 2).to_numpy(), (gt.labels["reason"] == "base period").to_numpy()
    assert gt.dof[tiny & ~base] == pytest.approx(4) and np.isinf(gt.dof[~tiny]).all()
    np.testing.assert_array_equal(gt.std_error[~tiny], off.std_error[~tiny])
    events = aggregate(gt, by="event_time")
    last = (events.labels["event_time"] == 3).to_numpy()
    assert events.dof[last] == pytest.approx(4) and np.isinf(events.dof[~last]).all()
    for options in ({"by": "overall"}, {"by": "event_time", "balance": 2}, {"by": "cohort", "overall": True}):
        one, other = aggregate(gt, **options), aggregate(off, **options)
        assert one.dof is None  # the usual bands and bounds
        np.testing.assert_allclose(one.std_error, other.std_error, rtol=0.02)
    heavy = aggregate(gt, by="overall", cohort_weights={2: 1, 3: 1})  # five units carry half of it
    assert heavy.dof[0] < 6


def test_combinations_know_how_many_units_carry_them():
    """Cohorts of 4, 8 and 16, equal weights: (sum a^2)^2 / sum a^4 with a = 1/4, 1/8, 1/16."""
    _, gt = units({2: 4, 3: 8, 4: 16, 0: 90}, np.random.default_rng(5))
    at_start = (gt.labels["cohort"] == gt.labels["period"]).to_numpy()
    loads = np.repeat([1 / 4, 1 / 8, 1 / 16], [4, 8, 16])
    expected = (loads**2).sum() ** 2 / (loads**4).sum()
    assert expected < 20 and gt.combine(at_start / 3).dof[0] == pytest.approx(expected - 1)
    events = aggregate(gt, by="event_time")
    before = (events.labels["event_time"] == -3).to_numpy()  # cohort 4 alone
    assert events.combine(before * 2.0).dof == pytest.approx([15])


def test_few_comparison_units_and_two_outcomes():
    _, gt = units({3: 60, 0: 9}, np.random.default_rng(6), outcomes=2)
    assert np.unique(gt.dof[gt.labels["reason"] == ""]) == pytest.approx([8])
    both = aggregate(gt, by="event_time")
    assert all(term.split(": ")[0] in ("y0", "y1") for term in both.tidy()["term"])


def test_twenty_of_each_are_left_alone():
    for counts in ({3: 20, 0: 20}, {3: 20, 4: 25, 0: 90}):
        auto, off = (units(counts, np.random.default_rng(7), few_clusters=rule)[1] for rule in ("auto", "off"))
        assert auto.dof is None and auto.support is None and auto.scores.tobytes() == off.scores.tobytes()
