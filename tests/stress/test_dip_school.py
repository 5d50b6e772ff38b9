"""The dip in a simulated school whose effect is known: the ranking of estimators, the flag, the recommended estimate.

People start when their income of the last two quarters was low; shocks are larger than in the demo, so that one school
shows what there would take many.
"""

from __future__ import annotations

import tomllib
from types import SimpleNamespace

import pandas as pd
import pytest

import attribution as at
from attribution.findings.recommend import application_panel

LOOKED_AT = {0: -1.5, 1: -0.5, 2: 0.5}  # the two quarters before the start, from the application, by delay


@pytest.fixture(scope="module")
def school(root):
    config = tomllib.loads((root / "data" / "demo" / "study.toml").read_text(encoding="utf-8"))
    made = at.simulate_school(20_000, seed=1, variant="dynamic", core=True, applicant_share=1.0, shock_cents=60_000,
                              start_logit_dynamic=-1.2)  # fmt: skip
    study = at.Study.from_tables(config, made.tables, year=2025)
    one = at.compare(study, "paid")
    units = one.cohort.units
    who = made.people.set_index("person_id").loc[units.loc[one.design.matched & one.design.treated, "person"]]
    got = at.recommended_income(study, one, dip=(-2, 0), base=(-7, -4), before=(-8, -4), horizons=[4], axis=LOOKED_AT)
    truth = float((who["income1_q4"] - who["income0_q4"]).mean()) / 100
    return SimpleNamespace(study=study, one=one, got=got, truth=truth)


def test_the_ranking_is_that_of_the_mission(school):
    bias = {name: effect.estimate[0] - school.truth for name, effect in school.got.candidates.items()}
    size = {name: abs(value) for name, value in bias.items()}
    assert bias["last period before the start"] == max(bias.values()) > 2 * school.truth
    assert size["last period before the start"] > size["history"] > 2 * size["long base"], bias
    assert size["history"] > 2 * size["symmetric"] and size["history"] > 2 * size["symmetric, given the dip"], bias
    for name in ("symmetric", "long base", "symmetric, given the dip"):
        assert size[name] < 2 * school.got.candidates[name].std_error[0], (name, bias)


def test_the_dip_is_found_and_the_recommended_estimate_covers_the_truth(school):
    dip = school.got.checks[0]
    assert dip.passed is False and dip.statistic < -3 * dip.std_error
    assert school.got.estimator == "symmetric, given the dip"
    low, high = school.got.effects.conf_int()
    assert low[0] < school.truth < high[0]
    assert school.got.grade.level in ("weak", "moderate")


def test_the_curve_falls_from_the_dip_to_the_long_base(school):
    curve = at.income_base_curve(school.study, school.one, bases=[-1, -2, -6, -7], horizon=4)
    assert curve.estimate[0] > curve.estimate[1] > curve.estimate[2]
    gap = curve.combine([1, 0, -1, 0])
    assert gap.estimate[0] > 5 * gap.std_error[0]
    assert any("rebound" in note for note in curve.notes)


def test_records_meet_those_of_the_same_application_and_delay(school):
    panel = application_panel(school.one, [], (-8, 4))
    units = school.one.covered.units
    frame = pd.DataFrame({"set": panel.risk_set, "treated": pd.notna(panel.cohort)})
    expected = units.assign(delay=units["zero_period"] - units["application_quarter"])
    assert frame["treated"].sum() == (units["treated"] == 1).sum()
    assert frame["set"].nunique() == len(expected[["application_quarter", "delay"]].drop_duplicates())
