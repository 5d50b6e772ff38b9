"""Symmetric difference-in-differences: by hand, against direct fits, delays of one's own, refusals, recovery."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import attribution as at
from attribution.errors import DataError, EstimationError


def make(y: np.ndarray, cohort: np.ndarray, **columns) -> at.Panel:
    n, periods = y.shape
    frame = pd.DataFrame({"unit": np.repeat(np.arange(n), periods), "period": np.tile(np.arange(periods), n),
                          "cohort": np.repeat(cohort, periods), "y": y.ravel()})  # fmt: skip
    for name, values in columns.items():
        frame[name] = np.repeat(values, periods)
    return at.Panel(frame, unit="unit", period="period", cohort="cohort", outcome="y")


def dipped(rho: float, n: int = 6_000, seed: int = 1, trend: float = 0.0, effect: float = 1.0) -> at.Panel:
    """Selected in period 8 on a low income and a high fixed effect; treated from period 9."""
    rng = np.random.default_rng(seed)
    fixed, shock = rng.normal(size=n), rng.normal(size=(n, 15))
    for t in range(1, 15):
        shock[:, t] = rho * shock[:, t - 1] + np.sqrt(1 - rho**2) * shock[:, t]
    y = fixed[:, None] + shock
    chosen = -y[:, 8] + 0.7 * fixed + rng.logistic(size=n) > 1
    y = y + chosen[:, None] * (trend * np.arange(15) + effect * (np.arange(15) >= 9))
    return make(y, np.where(chosen, 8.0, np.nan))


def test_by_hand_and_the_base_is_the_mirror():
    y = np.array([[1, 2, 3, 4, 9, 9, 16], [0, 0, 0, 1, 3, 3, 4], [0, 0, 1, 0, 0, 0, 0], [2, 2, 2, 2, 2, 3, 3.0]])
    panel = make(y, np.array([3, 3, np.nan, np.nan]))
    got = at.symmetric_did(panel, delay=1, horizons=[0, 2])
    # h=0: period 4 against 2: treated 6, 3; comparison -1, 0. h=2: period 6 against 0: treated 15, 4; comparison 0, 1
    assert got.estimate == pytest.approx([5.0, 9.0])
    by_hand = [np.sqrt(2.25 / 2 + 0.25 / 2), np.sqrt(30.25 / 2 + 0.25 / 2)]
    assert got.std_error == pytest.approx(2 * np.array(by_hand))  # two units an arm: without one, twice as far
    assert got.labels["event_time"].tolist() == [0, 2] and got.spec["base_period"] == (-1, -3)


def test_horizons_are_the_fits_with_their_bases_and_share_their_scores():
    panel = dipped(0.5, 400)
    got = at.symmetric_did(panel, delay=1, horizons=[0, 1, 4], axis=-0.5)
    for k, h in enumerate([0, 1, 4]):
        gt = at.group_time_att(panel, comparison="never_treated", base_period=-2 - h, method="reg")
        events = at.aggregate(gt, by="event_time")
        j = list(events.labels["event_time"]).index(1 + h)
        assert got.estimate[k] == pytest.approx(events.estimate[j], rel=1e-10)
        assert got.std_error[k] == pytest.approx(events.std_error[j], rel=1e-10)
    mean = got.combine([1 / 3, 1 / 3, 1 / 3])
    assert mean.std_error[0] < got.std_error.max()


def test_few_units_are_corrected_unless_switched_off():
    rng = np.random.default_rng(4)
    panel = make(rng.normal(size=(80, 7)), np.where(np.arange(80) < 6, 3.0, np.nan))
    auto, off = (at.symmetric_did(panel, delay=1, horizons=[0, 2], few_clusters=rule) for rule in ("auto", "off"))
    assert off.dof is None and auto.dof == pytest.approx([5, 5])
    assert (auto.std_error > 1.1 * off.std_error).all()


def test_units_meet_those_of_the_same_delay_only():
    rng = np.random.default_rng(2)
    n = 300
    wait, chosen = np.arange(n) % 3 % 2, rng.random(n) < 0.4
    y = rng.normal(size=(n, 12)) + 3 * wait[:, None] * np.arange(12)
    panel = make(y, np.where(chosen, 6.0, np.nan), wait=wait)
    got = at.symmetric_did(panel, delay="wait", horizons=[1])
    each = []
    for d in (0, 1):
        mine = wait == d
        one = at.symmetric_did(make(y[mine], np.where(chosen, 6.0, np.nan)[mine]), delay=d, horizons=[1])
        each.append((one.estimate[0], int((chosen & mine).sum())))
    expected = np.average([e for e, _ in each], weights=[k for _, k in each])
    assert got.estimate[0] == pytest.approx(expected, rel=1e-10)
    assert got.n_treated[0] == chosen.sum()


@pytest.mark.parametrize("rho", [0.3, 0.9])
def test_a_dip_that_fades_as_it_came_leaves_the_effect(rho):
    panel = dipped(rho)
    plain = at.symmetric_did(panel, delay=1, horizons=[3])
    held = at.symmetric_did(at.risk_sets(panel, later="stay", history=(-1, 0)), delay=1, horizons=[3], axis=-0.5,
                            covariates=["before_1", "before_2"])  # fmt: skip
    naive = at.base_curve(panel, bases=[-1], horizon=4, comparison="never_treated")
    for got in (plain, held):
        assert abs(got.estimate[0] - 1) < 3 * got.std_error[0]
    assert naive.estimate[0] - 1 > 3 * naive.std_error[0]


def test_a_trend_is_doubled_not_removed():
    got = at.symmetric_did(dipped(0.3, trend=0.1), delay=1, horizons=[3])
    assert got.estimate[0] - 1 == pytest.approx(0.8, abs=3 * got.std_error[0])  # eight periods between base and outcome


def test_every_horizon_speaks_for_the_same_cohorts():
    """Cohort 4 has no base for horizon 4 (period -1); its effects are 10, those of cohort 7 are 1."""
    cohort = np.repeat([4.0, 7.0, np.nan], [5, 3, 6])
    period = np.arange(14)
    y = np.where(cohort == 4, 10.0, 1.0)[:, None] * (period >= cohort[:, None] + 1)
    y = y + np.random.default_rng(0).normal(0, 0.01, y.shape)
    panel = make(y, cohort)
    both = at.symmetric_did(panel, delay=1, horizons=[1, 4])
    assert both.estimate == pytest.approx([1, 1], abs=0.1) and both.n_treated.tolist() == [3, 3]
    assert any("1 of 2 cohorts" in note for note in both.notes)
    alone = at.symmetric_did(panel, delay=1, horizons=[1])
    assert alone.estimate[0] == pytest.approx((5 * 10 + 3 * 1) / 8, abs=0.1)
    assert not any("left out" in note for note in alone.notes)


def test_a_delay_known_for_starters_only_says_what_to_fill_in():
    y = np.random.default_rng(0).normal(size=(8, 12))
    panel = make(y, np.repeat([6.0, np.nan], 4), wait=np.repeat([1.0, np.nan], 4))
    with pytest.raises(DataError, match="would have had"):
        at.symmetric_did(panel, delay="wait", horizons=[1])


def test_refusals():
    panel = dipped(0.3, 100)
    with pytest.raises(EstimationError, match="shorter horizon"):
        at.symmetric_did(panel, delay=6, horizons=[3])
    with pytest.raises(EstimationError, match="steps of half"):
        at.symmetric_did(panel, delay=1, horizons=[0], axis=0.3)
    with pytest.raises(EstimationError, match="steps of half"):
        at.symmetric_did(panel, delay=0, horizons=[0])
    with pytest.raises(EstimationError, match="at least one"):
        at.symmetric_did(panel, delay=1, horizons=[-1])
    for horizons in (3, [], [0.5]):
        with pytest.raises(EstimationError, match="list of horizons"):
            at.symmetric_did(panel, delay=1, horizons=horizons)
    with pytest.raises(EstimationError, match="axis for every delay"):
        at.symmetric_did(panel, delay=1, horizons=[1], axis={2: 0.0})
