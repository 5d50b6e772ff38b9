"""The dip test and the base curve: by hand, against direct fits, what they refuse, what does not move them."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import attribution as at
from attribution.errors import EstimationError
from attribution.estimate.did import NAIVE, base_note
from attribution.stress.dip import drift, persistence, refuse_dip

OPTIONS = {"comparison": "never_treated"}


def make(income: np.ndarray, cohort: np.ndarray, **columns) -> at.Panel:
    n, periods = income.shape
    frame = pd.DataFrame({"unit": np.repeat(np.arange(n), periods), "period": np.tile(np.arange(periods), n),
                          "cohort": np.repeat(cohort, periods), "income": income.ravel(), **columns})  # fmt: skip
    return at.Panel(frame, unit="unit", period="period", cohort="cohort", outcome="income")


def simulated(n: int = 300, seed: int = 0, depth: float = 0.0, trend: float = 0.0) -> at.Panel:
    """Treated from period 9; `depth` SDs lower in the two periods before, `trend` SDs a period."""
    rng = np.random.default_rng(seed)
    treated = np.arange(n) % 3 == 0
    y = rng.normal(size=(n, 1)) + rng.normal(size=(n, 12))
    y[treated, 7:9] -= depth
    y[treated] += trend * np.arange(12)
    return make(y, np.where(treated, 9.0, np.nan))


def test_by_hand():
    income = np.array([[10, 12, 9, 5, 8], [20, 20, 19, 13, 20], [10, 10, 11, 11, 10], [30, 34, 32, 33, 30.0]])
    panel = make(income, np.array([4, 4, np.nan, np.nan]))
    check = at.dip_test(panel, dip=(-1, -1), base=(-4, -3), **OPTIONS)
    # changes from the base mean: treated 5 - 11 = -6, 13 - 20 = -7; comparison 11 - 10 = 1, 33 - 32 = 1
    assert check.statistic == pytest.approx(-7.5)
    # within-arm mean squares 0.25 and 0, each over its 2 units; scores of so few count n / (n - 1) = 2 times
    assert check.std_error == pytest.approx(2 * np.sqrt(0.25 / 2))
    # two units in an arm, one degree of freedom: t is 10.6, Student's quantile 12.7 at 95 % and 6.3 at 90 %
    assert check.passed is None
    surer = at.dip_test(panel, dip=(-1, -1), base=(-4, -3), level=0.9, **OPTIONS)
    assert surer.passed is False and "no base" in surer.text
    assert check.threshold == pytest.approx(0.25 * np.std([11, 20], ddof=1))


@pytest.mark.parametrize(
    ("depth", "said"), [(1.0, "had fallen .* more than .*: a dip,"), (-1.0, "had risen .* more .*opposite of a dip")]
)
def test_the_words_follow_the_sign(depth, said):
    check = at.dip_test(simulated(depth=depth), dip=(-2, -1), base=(-8, -5), **OPTIONS)
    assert re.search(said, check.text) and (check.statistic < 0) == (depth > 0)


@pytest.mark.parametrize("window", [(-2.5, -1), -1, "ab", [], (-3, -2, -1), (-1, -2)])
def test_windows_of_anything_else_are_refused(window):
    with pytest.raises(EstimationError, match="whole numbers"):
        at.dip_test(simulated(60), dip=window, base=(-8, -5), **OPTIONS)


@pytest.mark.parametrize(("change", "words"), [({"dip": (-1, 3)}, "effects, not a dip"), ({"level": 95}, "0.95")])
def test_effects_are_no_dip_and_percents_no_level(change, words):
    with pytest.raises(EstimationError, match=words):
        at.dip_test(simulated(60), **{"dip": (-2, -1), "base": (-8, -5), **OPTIONS, **change})


def test_a_dip_fails_none_is_shown_absent_and_few_units_say_nothing():
    window = {"dip": (-2, -1), "base": (-8, -5), **OPTIONS}
    assert at.dip_test(simulated(depth=1.0), **window).passed is False
    assert at.dip_test(simulated(3_000), **window).passed is True
    few = at.dip_test(simulated(24, seed=3), **window)
    assert few.passed is None and few.tidy()["verdict"].item() == "not settled"


def test_the_size_of_the_test_is_its_level():
    rejected = [at.dip_test(simulated(120, seed=s), dip=(-2, -1), base=(-8, -5), **OPTIONS).passed is False
                for s in range(300)]  # fmt: skip
    assert abs(np.mean(rejected) - 0.05) < 3 * np.sqrt(0.05 * 0.95 / 300)


def test_four_treated_do_not_reject_more_often_than_said():
    """With the normal in place of Student's t one null in nine was rejected."""
    window = {"dip": (-2, -1), "base": (-8, -5), **OPTIONS}
    cohort = np.where(np.arange(60) < 4, 8.0, np.nan)
    draws = np.random.default_rng(1).normal(size=(200, 60, 9))
    rejected = [at.dip_test(make(draw, cohort), **window).passed is False for draw in draws]
    assert np.mean(rejected) < 0.05 + 2 * np.sqrt(0.05 * 0.95 / 200)


def test_the_curve_is_the_fits_and_its_differences_have_their_standard_errors():
    panel = simulated(depth=1.0)
    bases = [-1, -3, -6, (-8, -5)]
    curve = at.base_curve(panel, bases=bases, horizon=1, **OPTIONS)
    for k, base in enumerate(bases):
        events = at.aggregate(at.group_time_att(panel, base_period=base, method="reg", **OPTIONS), by="event_time")
        j = list(events.labels["event_time"]).index(1)
        assert curve.estimate[k] == pytest.approx(events.estimate[j], rel=1e-10)
        assert curve.std_error[k] == pytest.approx(events.std_error[j], rel=1e-10)
    # the base -1 less the base -6 is the effect at -1 from the base -6, its sign turned, standard error included
    gap = curve.combine([1, 0, -1, 0])
    events = at.aggregate(at.group_time_att(panel, base_period=-6, method="reg", **OPTIONS), by="event_time")
    j = list(events.labels["event_time"]).index(-1)
    assert gap.estimate[0] == pytest.approx(-events.estimate[j], rel=1e-10)
    assert gap.std_error[0] == pytest.approx(events.std_error[j], rel=1e-10)
    assert NAIVE in curve.notes and curve.estimate[0] - curve.estimate[2] > 0.5


def two_cohorts() -> at.Panel:
    """Parallel without noise in periods 0 to 9; the cohort of period 3 gains 1, that of 7 gains 5."""
    cohort = np.array([3, 3, 7, 7, 7, np.nan, np.nan])
    level = np.arange(7.0)[:, None] + np.arange(10.0) ** 2
    gain = np.where(cohort == 3, 1.0, 5.0)[:, None] * (np.arange(10) >= np.nan_to_num(cohort, nan=99)[:, None])
    return make(level + gain, cohort)


@pytest.mark.parametrize("horizon", [None, 1])
def test_parallel_groups_have_one_effect_whatever_the_base(horizon):
    """The base -5 lies before the panel for the first cohort: it would leave the base -1 alone with both."""
    curve = at.base_curve(two_cohorts(), bases=[-1, -2, -3, -5, (-5, -4)], horizon=horizon, **OPTIONS)
    assert curve.estimate == pytest.approx([5.0] * 5)
    assert curve.n_treated.tolist() == [3] * 5
    known = "3 of 10" if horizon is None else "1 of 2"
    said = f"All bases on the {known} ATT(g, t) that every base has: 1 of 2 cohorts (7), without 3."
    assert curve.notes[0] == said
    near = at.base_curve(two_cohorts(), bases=[-1, -2, -3], horizon=1, **OPTIONS)
    assert near.estimate == pytest.approx([(2 * 1 + 3 * 5) / 5] * 3)
    assert not any("All bases" in note for note in near.notes)


def test_a_base_nobody_has_is_missing_and_bases_nobody_shares_are_refused():
    curve = at.base_curve(two_cohorts(), bases=[-1, -9], horizon=1, **OPTIONS)
    assert curve.estimate[0] == pytest.approx((2 * 1 + 3 * 5) / 5) and np.isnan(curve.estimate[1])
    assert np.isnan(curve.std_error[1]) and "No estimate from base -9." in curve.notes
    with pytest.raises(EstimationError, match="at event time 1 from every base; found: none .for example -9, -8"):
        at.base_curve(two_cohorts(), bases=[-9, -8], horizon=1, **OPTIONS)
    income, cohort = two_cohorts().y.copy(), two_cohorts().cohort
    income[cohort == 7, 6] = np.nan  # the base -1 then is that of the first cohort alone, -5 that of the second
    with pytest.raises(EstimationError, match="none has them all"):
        at.base_curve(make(income, cohort), bases=[-1, -5], **OPTIONS)


def test_the_curve_of_few_clusters_keeps_its_degrees_of_freedom():
    panel = simulated(120)
    frame = pd.DataFrame({"unit": np.repeat(np.arange(120), 12), "period": np.tile(np.arange(12), 120),
                          "cohort": np.repeat(panel.cohort, 12), "income": panel.y.ravel(),
                          "k": np.repeat(np.arange(120) % 10, 12)})  # fmt: skip
    panel = at.Panel(frame, unit="unit", period="period", cohort="cohort", outcome="income", cluster="k")
    curve = at.base_curve(panel, bases=[-1, -30, (-8, -5)], horizon=1, **OPTIONS)
    events = at.aggregate(at.group_time_att(panel, base_period=(-8, -5), method="reg", **OPTIONS), by="event_time")
    j = list(events.labels["event_time"]).index(1)
    assert curve.std_error[2] == pytest.approx(events.std_error[j], rel=1e-10)
    assert curve.dof[2] == pytest.approx(events.dof[j], rel=1e-10)
    assert np.isnan(curve.tidy()["conf_low"]).tolist() == [False, True, False]


def test_the_last_period_is_named_and_the_dip_refused():
    assert base_note("universal") and base_note("varying") and base_note(-1) and base_note((-4, -1))
    assert base_note(-3, anticipation=2) and not base_note(-6) and not base_note((-8, -5))
    with pytest.raises(EstimationError, match="outside the declared dip"):
        refuse_dip((-4, -2), (-3, -1))
    with pytest.raises(EstimationError, match="accept_dip"):
        refuse_dip("universal", (-3, -1))
    assert "rebound" in refuse_dip(-1, (-3, -1), accept_dip=True)
    assert refuse_dip((-8, -5), (-3, -1)) == ""


@pytest.mark.parametrize(
    ("dip", "base"), [((-2, -1), (-4, -2)), ((-1, -2), (-8, -5)), ((-2, -1), (-12, -10))],
    ids=["base in the dip", "backwards", "before the panel"],
)  # fmt: skip
def test_refusals(dip, base):
    with pytest.raises(EstimationError):
        at.dip_test(simulated(60), dip=dip, base=base, **OPTIONS)
    with pytest.raises(EstimationError, match="at least one number"):
        at.base_curve(simulated(60), bases=["universal"], **OPTIONS)


@settings(max_examples=15, deadline=None)
@given(st.floats(0.01, 1e4), st.floats(-1e5, 1e5), st.integers(0, 5))
def test_scale_and_shift(scale, shift, seed):
    panel = simulated(60, seed=seed)
    moved = make(panel.y * scale + shift, panel.cohort)
    one, two = (at.dip_test(p, dip=(-2, -1), base=(-8, -5), **OPTIONS) for p in (panel, moved))
    assert two.statistic == pytest.approx(scale * one.statistic, rel=1e-5, abs=1e-7 * scale)
    assert two.std_error == pytest.approx(scale * one.std_error, rel=1e-5)
    assert two.passed is one.passed


def test_a_straight_line_is_read_exactly_and_a_fading_dip_is_not_taken_for_one():
    panel = simulated(60)
    events = at.aggregate(at.group_time_att(panel, base_period=-9, method="reg", **OPTIONS), by="event_time")
    time = events.labels["event_time"].to_numpy(float)
    line = 2.0 + 3.0 * time
    tail = -50 * 0.8 ** (-1 - time)
    for values, fade in ((line, 0.0), (line, 0.5), (line + tail, 0.8)):
        drawn = at.Effects(estimand="", unit="", labels=events.labels, estimate=values, scores=events.scores,
                           n_treated=events.n_treated, n_comparison=events.n_comparison)  # fmt: skip
        assert drift(drawn, (-9, -2), 10, fade).estimate[0] == pytest.approx(30.0)
    with pytest.raises(EstimationError, match="widen"):
        drift(events, (-3, -2), 10)


@pytest.mark.parametrize("rho", [0.3, 0.6, 0.9])
def test_persistence_is_that_of_the_shock_not_of_the_person(rho):
    rng = np.random.default_rng(5)
    n, periods = 6_000, 12
    shock = rng.normal(size=(n, periods))
    for t in range(1, periods):
        shock[:, t] = rho * shock[:, t - 1] + np.sqrt(1 - rho**2) * shock[:, t]
    y = 2 * rng.normal(size=(n, 1)) + 0.1 * rng.normal(size=(n, 1)) * np.arange(periods) + shock
    y = y + 0.5 * rng.normal(size=y.shape)
    panel = at.risk_sets(make(y, np.where(np.arange(n) % 4 == 0, 11.0, np.nan)), later="stay")
    assert persistence(panel, (-11, -1)) == pytest.approx(rho, abs=0.1)
