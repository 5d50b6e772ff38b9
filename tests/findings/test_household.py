"""Income in words: one specification, a grade a row, nothing caused that is not clear, no small cell to subtract."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from places import ROOT

import attribution as at
from attribution.findings import bridge, shown
from attribution.findings.bracket import _since_application, one_count
from attribution.findings.household import say_change
from attribution.findings.words import plain, refused, say_estimate, say_interval
from attribution.outcomes.income import household_income
from attribution.read.simulate import write_demo
from attribution.results import Check, Effects

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "recovery"))
import selection

SHOWN = {"pool": "open", "design": "risk sets", "estimator": "group-time ATT"}


@pytest.fixture(scope="module")
def school(tmp_path_factory):
    """A hundred paid starters."""
    folder = tmp_path_factory.mktemp("home") / "few"
    folder.mkdir()
    text = (ROOT / "data" / "demo" / "study.toml").read_text(encoding="utf-8")
    (folder / "study.toml").write_text(text.replace('name = "demo"', 'name = "few"'), encoding="utf-8")
    write_demo(folder, learners=12_000, seed=3)
    study = at.Study.open(str(folder))
    one = at.compare(study, "paid")
    income = at.income_effects(study, one)
    return SimpleNamespace(study=study, one=one, income=income,
                           home=at.household_effects(study, one, income, draws=100))  # fmt: skip


def effect(estimate=400.0, std_error=100.0, n=(525,), unit="EUR a quarter", n_comparison=(900,)) -> Effects:
    k = len(n)
    return Effects(estimand="ATT", unit=unit, labels=pd.DataFrame({"term": ["att"] * k}),
                   estimate=np.full(k, estimate), scores=np.full((4, k), std_error / 2), n_treated=np.array(n),
                   n_comparison=np.array(n_comparison))  # fmt: skip


def told(school, home, grade="moderate"):
    findings = at.Findings(school.study, "05_income", "?", population="starters")
    at.tell_household(findings, school.study, "paid", home, **SHOWN, grade=grade)
    return findings.frame().set_index(findings.frame()["finding_id"].str.rpartition(".")[2])


def test_the_household_effects_are_the_headline_again(school):
    for income in (school.income, at.income_effects(school.study, school.one, covariates=False, base_period=-7)):
        home = at.household_effects(school.study, school.one, income, draws=100)
        assert home.joint.estimate[0] == pytest.approx(income.horizon.estimate[0], rel=1e-9)
        assert home.joint.std_error[0] == pytest.approx(income.horizon.std_error[0], rel=1e-9)
        assert home.euros.table["total"][0] == pytest.approx(income.horizon.estimate[0] * home.euros.table["n"][0])
        assert home.deciles.effects.spec["base_period"] == income.group_time.spec["base_period"]


def test_totals_say_when_for_whom_and_caused_only_where_clear(school):
    clear = replace(school.home, effect=effect(400, 100))
    found = told(school, clear)
    total = found.loc["household_paid_total"]
    assert total["estimand"] == "total that the programme caused, all covered, in the quarter 12 months after the start"
    assert total["n_covered"] == total["n_treated"]
    for home, grade in ((clear, "cannot conclude"), (replace(school.home, effect=effect(100, 100)), "moderate")):
        found = told(school, home, grade)
        assert found.loc["household_paid_total", "estimand"].startswith("total of the estimated effect")
        assert not found[["estimand", "text", "reason"]].apply(lambda col: col.str.contains("caused")).any().any()


def test_those_left_out_are_few_or_nobody(school):
    for left, words in ((0, "Everyone is covered."), (10, "fewer than 11 starters"), (11, "Not covered: 11 starters")):
        table = school.home.euros.table.copy()
        table.loc[1, "n"] = left
        home = replace(school.home, euros=replace(school.home.euros, table=table))
        assert words in told(school, home).loc["household_paid_total", "text"]


def test_few_people_are_told_no_ratio_in_numbers_or_words(school):
    few = replace(school.home, joint=replace(school.home.joint, n_comparison=np.full(len(school.home.joint), 5)))
    found = told(school, few).loc[["household_paid_share", "household_paid_percent"]]
    assert (found["status"] == "suppressed").all() and not found["reason"].str.contains("%").any()


@pytest.mark.parametrize(
    ("size", "change", "caused", "words"),
    [(409, -258, True, "Their income fell by 258 EUR on average since the base; without the programme it would have "
                       "fallen by 667."),
     (300, 200, True, "Their income rose by 200 EUR on average since the base; without the programme it would have "
                      "fallen by 100."),
     (-100, 200, False, "Their income rose by 200 EUR on average since the base; by this estimate, without the "
                        "programme it would have risen by 300."),
     (200, 500, True, "Their income rose by 500 EUR on average since the base; 200 of it was caused."),
     (200, 500, False, "Their income rose by 500 EUR on average since the base; the estimated effect is +200.")],
)  # fmt: skip
def test_a_change_in_words(size, change, caused, words):
    assert say_change(size, change, "EUR", caused=caused) == words


def test_a_share_beyond_the_whole_is_told_in_words(school):
    table = school.home.share.table.assign(ratio=-1.6, numerator=409.0, denominator=-258.0, kind="interval")
    found = told(school, replace(school.home, effect=effect(), share=replace(school.home.share, table=table)))
    share = found.loc["household_paid_share"]
    assert share["status"] == "not_estimable" and "it would have fallen by 667" in share["reason"]
    assert pd.isna(share["estimate"]) and "%" not in share["reason"]


def test_deciles_are_drawn_only_where_their_mean_is_the_headline(school):
    mean = float(school.home.deciles.mean.estimate[0])
    near, far = (replace(school.home, effect=effect(mean + gap, 100.0)) for gap in (150, 250))
    assert near.why_no_deciles == "" and "outside the 95 % interval" in far.why_no_deciles
    assert near.deciles_note.startswith("Without covariates; its mean ") and "beside the headline" in near.deciles_note


def test_each_estimator_has_its_own_grade_and_one_is_recommended(school):
    made = at.income_bracket(school.study, school.one, school.income)
    bare = at.income_effects(school.study, school.one, covariates=False)
    grades = {way.slug: way.grade for way in made.values()}
    assert grades["headline"] == school.income.grade and grades["no_covariates"] == bare.grade
    assert grades["matched"] == school.one.grade
    assert len(grades) == len(made) and all(re.fullmatch(r"[a-z_]+", slug) for slug in grades)
    (chosen,) = (way for name, way in made.items() if name.endswith("(recommended)"))
    assert chosen.grade == at.recommended_income(school.study, school.one).grade
    assert chosen.text.startswith("Recommended by the rule declared beforehand: ")
    assert shown.bracket(made)["headline"].tolist() == [True] + [False] * (len(made) - 1)


def test_the_recommended_one_is_marked_whichever_it_is():
    for process, name in (("trend", "Symmetric, less the trend before"), ("no dip", "Long base")):
        income, applied, _ = selection.draw(process, 1)
        found = at.recommended_did(selection.panel(income, applied), **selection.RULE)
        made = _since_application(found)
        (marked,) = (key for key in made if key.endswith("(recommended)"))
        assert marked.startswith(name) and made[marked].effect is found.candidates[found.estimator]
        if found.grade.level == "cannot conclude":  # no direction where nothing can be concluded
            assert "beyond 99.5 %" not in made[marked].text


def test_counts_cannot_be_subtracted_to_a_small_cell(school):
    counts = {"a": (525, 900), "b": (529, 529), "c": (300, 900), "d": (305, 305)}
    effects = {name: effect(n=(n,), n_comparison=(other,)) for name, (n, other) in counts.items()}
    got = one_count(school.study, effects)
    assert [int(one.n_treated[0]) for one in got.values()] == [525, 525, 300, 305]  # other pools are other people
    assert [int(one.n_comparison[0]) for one in got.values()] == [900, 525, 900, 305]
    assert one_count(school.study, {"a": effect(n=(162,))}, beside=effect(n=(163,)))["a"].n_treated[0] == 163


def test_starters_are_not_told_beside_nearly_as_many_with_a_partner(school):
    def pool(kept, starters=529):
        matched = np.arange(starters) < kept
        return SimpleNamespace(design=SimpleNamespace(treated=np.ones(starters, bool), matched=matched))

    told = shown.covered(school.study, {"open": pool(525), "rejected": pool(102)})
    assert {name: (one["count"], "n" in one) for name, one in told.items()} == {"open": (525, False),
                                                                               "rejected": (102, False)}  # fmt: skip
    assert shown.covered(school.study, {"open": pool(529), "rejected": pool(102)})["rejected"]["n"] == 529


def test_definitions_hide_shares_of_few(school):
    values = np.r_[np.zeros(4), np.full(4000, 5000.0)]
    income = household_income(pd.DataFrame({"income": values}), income="income", equivalise="none", winsorise=None,
                              currency="EUR", frequency="quarter", price_year=2024, prices="constant")  # fmt: skip
    row = shown.definitions(school.study, {"paid": income}).iloc[0]
    assert row["zero"] == "few" and row["negative"] == "0.0 %"
    values[:1000] = 0
    many = replace(income, table=income.table.assign(count=[4004, 0, 0, 4004, 1000, 0]))
    assert shown.definitions(school.study, {"paid": many}).iloc[0]["zero"] == "25.0 %"


def test_reasons_hold_no_counts_ranges_or_columns(school):
    for why in ("nobody left after the exclusions (3 erased; 2 abroad); required: comparison records of the tier paid",
                "1; required: two periods or more before the dip",
                "a constant covariate; required: covariates that vary",
                "'unemp_months' is 3 to 4 for the treated; required: overlap: no covariate that decides treatment",
                "one thing; required: something new"):  # fmt: skip
        assert not re.search(r"\d|_|required", refused(why)) and plain(why) == refused(why)
    nobody = '[tiers.free] design = "none": nobody applies; required: a tier with a comparison'
    assert refused(nobody) == "nobody applies" and refused("as it stands") == "as it stands"
    findings = at.Findings(school.study, "05_income", "?")
    assert not re.search(r"\d", findings.not_estimable("x", "3; required: enough people", tier="paid").reason)


def test_no_clear_effect_says_why_the_interval_does_not_do(school):
    row = {"tier": "paid", "status": "estimated", "grade": "weak", "estimate": 1969.0, "std_error": 707.0,
           "conf_low": 584.0, "conf_high": 3355.0, "unit": "USD a year", "term": "", "horizon_months": 12}  # fmt: skip
    said = shown.effects_in_words(school.study, pd.DataFrame([row]))
    assert "no clear effect, +1,969" in said and "excludes zero, but an effect is called clear only beyond" in said
    sure = {**row, "std_error": 100.0}
    mean = {**row, "estimate": 100.0, "conf_low": -700.0, "conf_high": 900.0}
    said = shown.effects_in_words(school.study, pd.DataFrame([sure]), average=pd.DataFrame([mean]))
    assert "12 months after date zero, and on average since date zero no clear effect, +100" in said
    assert "excludes zero" not in said


def test_the_headline_is_attributable_only_where_clear():
    for std_error, words in ((0.01, "is attributable"), (0.04, "is too uncertain to be called an effect")):
        low, high = 0.1 - 1.96 * std_error, 0.1 + 1.96 * std_error
        rows = [bridge._row("Paid", stage, status, share, std_error, low, high, 500)
                for stage, status, share in (("observed", "described", 0.5), ("counterfactual", "estimated", 0.4),
                                             ("attributable", "estimated", 0.1))]  # fmt: skip
        one = bridge._build(rows, [], 0.95)
        said = shown.headline_in_words(None, one, {"Paid": "weak"}, "In a job")
        assert words in said and ("attributable" in said) == (std_error == 0.01)


@pytest.mark.parametrize(
    ("value", "words"), [(0.3, "would be gone if trends parted by 0.3 of"), (0.0, "cannot be told from zero"),
                         (np.inf, "would still be there if trends parted by 2 of")],
)  # fmt: skip
def test_the_breakdown_in_words(school, value, words):
    found = SimpleNamespace(breakdown_shown=value, table=pd.DataFrame({"value": [0, 2]}))
    assert words in shown.breakdown_in_words(school.study, "paid", found)
    assert "cannot be told: there are too few periods" in shown.breakdown_in_words(
        school.study, "paid", None, "1; required: two periods or more before the dip")  # fmt: skip


def test_a_dip_is_worded_by_its_sign():
    dips = [Check(name="dip", question="?", statistic=size, std_error=1, threshold=1, passed=passed, text="")
            for size, passed in ((-200, False), (200, False), (5, True), (50, None))]  # fmt: skip
    words = shown.dips_in_words([("Paid", dip) for dip in dips])
    expected = ["fallen more", "fallen less", "hardly any difference", "cannot be told"]
    assert all(part in said for part, said in zip(expected, words["before the start"], strict=True))
    assert (words["tier"] == "Paid").all()


def test_estimate_and_interval_have_the_same_decimals(school):
    row = {"status": "estimated", "unit": "EUR", "term": "", "estimate": 26.0, "conf_low": -479.0, "conf_high": 531.0}
    assert (say_estimate(row), say_interval(row)) == ("+26 EUR", "\u2212479 to +531")
    assert shown.lagged(school.study, "employed_lag_6") == "employed 6 quarters before the start"
    assert plain("placebo effect on employed lag 6") == "placebo effect on employed 6 periods before date zero"


def test_money_of_few_is_not_drawn(school):
    many, gap, few = effect(n=(50, 40)), effect(n=(50, 0)), effect(n=(50, 10))
    many, gap, few = (replace(one, n_comparison=np.array([900, 900])) for one in (many, gap, few))
    kept, _ = shown.large_enough(school.study, {"many": many, "gap": gap, "few": few}, {})
    assert list(kept) == ["many", "gap"]
