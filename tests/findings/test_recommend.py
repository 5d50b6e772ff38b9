"""The recommended estimate: its rule step by step, blind to what came after, and what it refuses."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import attribution as at
from attribution.errors import EstimationError

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "recovery"))
import selection


def made(process: str, seed: int = 1, **options):
    income, applied, _ = selection.draw(process, seed)
    return at.recommended_did(selection.panel(income, applied), **{**selection.RULE, **options})


@pytest.mark.parametrize(
    ("process", "estimator", "levels"),
    [("transitory dip", "symmetric, given the dip", {"weak", "moderate"}),
     ("no dip", "long base", {"weak", "moderate"}),
     ("trend", "symmetric, less the trend", {"cannot conclude"})],
)  # fmt: skip
def test_each_step_of_the_rule(process, estimator, levels):
    got = made(process)
    assert got.estimator == estimator and got.grade.level in levels
    assert got.effects.estimate[0] == got.candidates[estimator].estimate[0]
    assert got.tidy().query("chosen")["estimator"].unique().tolist() == [estimator]
    assert "Chosen before any outcome after the start" in got.summary()


def test_the_choice_is_blind_to_every_outcome_from_the_start_on():
    income, applied, _ = selection.draw("transitory dip", 2)
    other = income.copy()
    other[:, selection.APPLIED + selection.DELAY :] = np.random.default_rng(0).normal(0, 1e5, other.shape)[:, :5]
    one, two = (at.recommended_did(selection.panel(y, applied), **selection.RULE) for y in (income, other))
    assert one.estimator == two.estimator and one.grade == two.grade and one.reason == two.reason
    assert [check.statistic for check in one.checks] == [check.statistic for check in two.checks]
    assert one.effects.estimate[0] != two.effects.estimate[0]


def test_horizons_and_their_average_share_their_scores():
    got = made("transitory dip", horizons=[2, 4])
    assert got.effects.labels["term"].tolist() == ["h=2", "h=4", "average"]
    assert got.effects.estimate[2] == pytest.approx(got.effects.estimate[:2].mean())
    assert got.effects.std_error[2] == pytest.approx(np.sqrt(got.effects.cov[:2, :2].sum()) / 2)


def test_the_long_base_and_the_symmetric_are_those_of_the_public_functions():
    income, applied, _ = selection.draw("transitory dip", 3)
    panel = selection.panel(income, applied)
    got = at.recommended_did(panel, **selection.RULE)
    plain = at.symmetric_did(panel, delay=1, horizons=[4])
    base = at.base_curve(panel, bases=[(-7, -4)], horizon=5, comparison="never_treated")
    for name, effect in (("symmetric", plain), ("long base", base)):
        assert got.candidates[name].estimate[0] == pytest.approx(effect.estimate[0], rel=1e-9)
        assert got.candidates[name].std_error[0] == pytest.approx(effect.std_error[0], rel=1e-9)
    dip = at.dip_test(panel, dip=(-2, 0), base=(-7, -4), comparison="never_treated")
    assert got.checks[0].statistic == pytest.approx(dip.statistic, rel=1e-9)


def test_a_base_in_the_dip_is_refused_unless_said():
    with pytest.raises(EstimationError, match="accept_dip"):
        made("transitory dip", base=(-4, -2))
    got = made("transitory dip", base=(-2, -2), accept_dip=True)
    assert any("rebound" in note for note in got.effects.notes)
    with pytest.raises(EstimationError, match="before the dip"):
        made("transitory dip", before=(-8, -1))


def test_an_accepted_base_may_share_periods_with_the_dip():
    got = made("transitory dip", base=(-4, -2), accept_dip=True)
    assert "history" in got.candidates and "symmetric, given the dip" in got.candidates
    assert np.isfinite(got.candidates["history"].std_error).all()


def test_a_rise_before_selection_is_called_no_dip():
    income, applied, _ = selection.draw("transitory dip", 1)
    got = at.recommended_did(selection.panel(-income, applied), **selection.RULE)
    assert got.checks[0].statistic > 0 and got.checks[0].passed is False
    assert "moved away from the comparison" in got.reason and "dip" not in got.reason


def test_one_other_estimator_may_be_named_alone():
    assert "history" in made("transitory dip", others="history").candidates


@pytest.mark.parametrize("horizons", [3, [], [1.5], [-1], [2, 2], "4"])
def test_horizons_of_anything_else_are_refused(horizons):
    with pytest.raises(EstimationError, match="list of horizons"):
        made("transitory dip", horizons=horizons)


def test_a_horizon_without_its_mirror_is_refused_and_others_are_named():
    income, applied, _ = selection.draw("transitory dip", 1)
    short = selection.panel(income[:, 4:], np.where(np.isnan(applied), np.nan, applied))
    with pytest.raises(EstimationError):
        at.recommended_did(short, **{**selection.RULE, "before": (-20, -4)})
    got = made("transitory dip", others=("history", "nonsense"))
    assert "nonsense" in got.why_not and "history" in got.candidates


def test_inputs_stay_as_they_were():
    income, applied, _ = selection.draw("dynamic assignment", 1)
    panel = selection.panel(income, applied)
    before = panel.y.copy(), panel.cohort.copy(), dict(panel.columns)
    at.recommended_did(panel, **selection.RULE)
    assert np.array_equal(before[0], panel.y) and panel.cluster is None and before[2] == panel.columns
    pd.testing.assert_series_equal(pd.Series(before[1]), pd.Series(panel.cohort))
