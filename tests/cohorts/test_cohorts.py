"""Cohorts: a school written by hand where every count is known, and properties on drawn ones."""

from __future__ import annotations

import time
import tomllib
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_school import application, config, enrolment, event, learner, panel, random_school, tables

from attribution.cohorts.cohorts import landmarks
from attribution.errors import DesignError
from attribution.study import Study

JOBS = {"p02": "2024Q4", "p05": "2024Q2"}


def rows_by_hand() -> dict[str, list[dict[str, Any]]]:
    """Twenty people. All apply for the paid tier in January 2024 unless said otherwise; the cohort year is 2024."""
    started = {"stage": "started"}

    def closed(reason: str, on: str) -> dict[str, Any]:
        return {"stage": "withdrew", "reason_not_started": reason, "decided_on": on}

    learners = [learner(f"p{k:02d}") for k in range(1, 21)]
    learners[9] = learner("p10", "employed")
    learners[10] = learner("p11", "unknown")
    learners[11] = learner("p12", consent_research=False)
    learners[17] = learner("p18", "student")
    applications = [
        application("p01", "2024-01-10", **started),  # starts in month 2
        application("p02", "2024-01-11", **started),  # starts in month 2, works from October
        application("p03", "2024-01-12"),  # open for ever
        application("p04", "2024-01-13", **closed("rejected", "2024-03-20")),  # closed from April on: month 3
        application("p05", "2024-01-14", **closed("found_job", "2024-03-15")),  # job in March: at risk in months 0 to 2
        application("p06", "2024-01-15", **closed("no_funding", "2024-02-20")),  # closed from month 2
        application("p07", "2024-01-16", **closed("withdrew", "2024-01-31")),  # closed from month 1
        application("p08", "2024-01-17", **closed("elsewhere", "2024-09-01")),  # open for all landmarks
        application("p09", "2024-01-18", **started),  # starts in month 8: late, but at risk in months 0 to 6
        application("p10", "2024-01-19", **started),  # employed at entry, starts in month 3
        application("p11", "2024-01-20"),  # labour status unknown
        application("p12", "2024-01-21"),  # no consent
        application("p13", "2023-10-05", **started),  # starts in February 2024 (month 4)
        application("p14", "2024-01-22", "nurse"),  # another tier
        application("p15", "2024-01-23", **closed("unknown", "2024-02-10")),  # closed for a reason nobody knows
        application("p16", "2024-01-24"),  # begins an apprenticeship in month 3
        application("p17", "2024-01-25"),  # no income before date zero
        application("p18", "2024-01-26", **started),  # a student, starts in month 1
        application("p19", "2024-02-01", **started),  # started before applying
        # p20 starts without any application
    ]
    enrolments = [
        enrolment("p01", "2024-03-05"), enrolment("p02", "2024-03-20"), enrolment("p09", "2024-09-02"),
        enrolment("p10", "2024-04-03"), enrolment("p13", "2024-02-06"),
        enrolment("p16", "2024-04-08", "apprenticeship"), enrolment("p18", "2024-02-09"),
        enrolment("p19", "2024-01-09"), enrolment("p20", "2024-05-06"),
        enrolment("p03", "2024-02-01", "free"),  # free courses do not end the time at risk
    ]  # fmt: skip
    events = [
        event("p02", "2024-10-10", self_credited="yes"),
        event("p05", "2024-03-15"),
        event("p01", "2024-03-05", "apprenticeship", programme_embedded=True),
        event("p03", "2024-02-20", event_id="wrong"),  # a mistake, corrected below: no job before 2025-06
        event("p03", "2025-06-20", event_id="right", supersedes="wrong"),
        event("p08", "2023-06-01"),  # a job before applying is history, not the end of the time at risk
    ]
    others = [f"p{k:02d}" for k in range(1, 21) if k != 17]
    income = [row for person in others for row in panel(person, {JOBS.get(person, "2099Q1"): 1})]
    return {"learners": learners, "applications": applications, "enrolments": enrolments, "outcome_events": events,
            "income_panel": income}  # fmt: skip


def by_hand(sections: dict[str, Any] | None = None, **changes: Any) -> Study:
    return Study.from_tables(config(**(sections or {})), tables(**(rows_by_hand() | changes)))


def months(units: pd.DataFrame, person: str, status: str | None = None) -> list[int]:
    mine = units[(units["person"] == person) & ((units["status"] == status) | (status is None))]
    return mine["landmark"].tolist()


@pytest.fixture(scope="module")
def hand():
    return landmarks(by_hand(), "paid")


def test_treated_are_those_who_start_in_the_landmark_month(hand):
    treated = hand.units[hand.units["treated"] == 1]
    assert dict(zip(treated["person"], treated["landmark"], strict=True)) == {"p01": 2, "p02": 2, "p13": 4, "p18": 1}
    assert set(treated["status"]) == {"started"}
    assert dict(zip(treated["person"], treated["date_zero"], strict=True))["p13"] == "2024-02-01"


def test_comparison_is_not_started_by_the_end_of_the_month(hand):
    units = hand.units[hand.units["treated"] == 0]
    assert months(units, "p01") == [0, 1] and months(units, "p18") == [0]
    assert months(units, "p13") == [3]  # date zeros of 2023 belong to another cohort year
    assert months(units, "p09") == [0, 1, 2, 3, 4, 5, 6]
    assert months(units, "p03") == [0, 1, 2, 3, 4, 5, 6]  # a superseded job and a free course change nothing
    assert months(units, "p08", "open") == [0, 1, 2, 3, 4, 5, 6]


def test_closed_applications_carry_their_reason_from_the_month_after_the_decision(hand):
    units = hand.units
    assert months(units, "p04", "open") == [0, 1, 2] and months(units, "p04", "rejected") == [3, 4, 5, 6]
    assert months(units, "p06", "open") == [0, 1] and months(units, "p06", "no_funding") == [2, 3, 4, 5, 6]
    assert months(units, "p07", "open") == [0] and months(units, "p07", "withdrew") == [1, 2, 3, 4, 5, 6]
    assert months(units, "p15") == [0, 1]  # "unknown" is no pool of this study: counted out


def test_immortal_time_a_job_found_in_month_two_ends_the_time_at_risk(hand):
    assert months(hand.units, "p05") == [0, 1, 2]


def test_excluded_people_never_serve(hand):
    left_out = {"p10", "p11", "p12", "p14", "p17", "p19", "p20"}
    assert not left_out & set(hand.units["person"])
    assert months(hand.units, "p16") == [0, 1, 2]  # began another tier in month 3


def test_the_flow_counts_every_exclusion(hand):
    n = hand.flow.set_index(["arm", "reason"])["excluded"]
    treated, comparison = n["treated"], n["comparison"]
    assert hand.flow["n"].iloc[0] == 8  # p01 p02 p09 p10 p13 p18 p19 p20
    assert treated["no application to this tier on record"] == 1
    assert treated["started before applying"] == 1
    assert treated["started more than 6 months after applying"] == 1
    assert treated["employed at date zero: job change is described, not estimated"] == 1
    assert comparison["employed at date zero: job change is described, not estimated"] == 3
    assert comparison["labour status at date zero unknown"] == 7
    assert comparison["no consent to research, or erased"] == 7
    assert comparison["found a job before the landmark month: no longer at risk"] == 4
    assert comparison["started another tier of the school"] == 4
    assert comparison["closed before: unknown"] == 5
    assert comparison["history before date zero missing in the income panel"] == 7


def assert_adds_up(cohort) -> None:
    for arm, rows in cohort.flow.groupby("arm", sort=False):
        n, excluded = rows["n"].to_numpy(), rows["excluded"].to_numpy()
        assert (n[1:] == n[:-1] - excluded[1:]).all(), arm
        assert excluded[0] == 0
    last = cohort.flow.groupby("arm")["n"].last()
    if "stand-in" not in last:
        assert last["treated"] == (cohort.units["treated"] == 1).sum()
    assert last["comparison"] == (cohort.units["treated"] == 0).sum()


def test_the_flow_adds_up_by_hand_and_drawn(hand):
    assert_adds_up(hand)
    cohort = landmarks(Study.from_tables(config(), random_school(2_000, seed=3)), "paid")
    assert_adds_up(cohort)
    assert_adds_up(cohort.select(status="rejected"))


def test_history_is_strictly_before_date_zero(hand):
    person = hand.units["person"] == "p02"
    late = hand.units[person & (hand.units["treated"] == 1)].iloc[0]
    assert late["zero_period"] == 2024 * 4 and late["employed_lag_1"] == 0 and late["jobless_lag_1"] == 1
    assert late["income_lag_8"] == 4500.0  # whole euros
    lags = [c for c in hand.units if c.startswith("employed_lag_")]
    assert lags == [f"employed_lag_{k}" for k in range(1, 9)]
    study = by_hand(income_panel=[row for k in range(1, 21) for row in panel(f"p{k:02d}", {"2024Q1": 1})])
    now = landmarks(study, "paid").units
    first = now[now["zero_period"] == 2024 * 4]
    assert (first["employed_lag_1"] == 0).all()  # the quarter of date zero itself is not history


def test_outcomes_at_the_horizon(hand):
    frame = hand.units.join(hand.outcomes)
    treated = frame[frame["treated"] == 1].set_index("person")
    assert treated["employed_h"].to_dict() == {"p01": 0.0, "p02": 1.0, "p13": 0.0, "p18": 0.0}
    assert treated["income_h"]["p02"] == 7500.0
    assert treated["placed_ever_h"].to_dict() == {"p01": 0.0, "p02": 1.0, "p13": 0.0, "p18": 0.0}  # not the contract
    assert treated["claimed_h"].to_dict() == {"p01": 0.0, "p02": 1.0, "p13": 0.0, "p18": 0.0}
    at_risk = frame[frame["person"] == "p05"]
    assert at_risk["placed_ever_h"].tolist() == [1.0, 1.0, 1.0] and at_risk["claimed_h"].sum() == 0
    assert (frame["censored"] == 0).all()
    assert len(hand.outcomes) == len(hand.units)


def test_event_windows_are_calendar_months():
    events = [event("p03", "2025-01-01"), event("p08", "2024-12-31")]
    cohort = landmarks(by_hand(outcome_events=events), "paid")
    frame = cohort.units.join(cohort.outcomes).set_index(["person", "landmark"])["placed_ever_h"]
    assert frame["p08", 0] == 1  # last day of twelve months from 1 January 2024
    assert frame["p03", 0] == 0 and frame["p03", 1] == 1


def test_only_matured_records_serve():
    cohort = landmarks(by_hand(), "paid", horizon_months=18)
    assert cohort.units["date_zero"].max() <= "2024-06-01"
    short = landmarks(by_hand({"study": {"data_until": "2025-03-31"}}), "paid")
    assert short.units["date_zero"].max() <= "2024-03-01"
    assert_adds_up(short)


def test_only_the_cohort_year_serves():
    study = Study.from_tables(config(), random_school(1_500), year=2024)
    assert landmarks(study, "paid").units["date_zero"].str[:4].unique().tolist() == ["2023"]


def test_panel_is_long_and_says_whose_risk_set_it_is(hand):
    frame = hand.panel(window=(-2, 4), covariates=["age"])
    assert list(frame) == ["unit", "person", "treated", "status", "period", "event_time", "cohort", "risk_set", "age",
                           "employed", "income"]  # fmt: skip
    assert len(frame) == 7 * len(hand.units)
    assert (frame["period"] - frame["event_time"] == frame["risk_set"]).all()
    assert frame.loc[frame["treated"] == 0, "cohort"].isna().all()
    assert (frame.loc[frame["treated"] == 1, "cohort"] == frame.loc[frame["treated"] == 1, "risk_set"]).all()
    works = frame[(frame["unit"] == "p02|2")].set_index("event_time")["employed"]
    assert works.tolist() == [0, 0, 0, 0, 0, 1, 1]


def test_select_keeps_the_treated_and_one_status(hand):
    few = hand.select(status="rejected")
    assert set(few.units["status"]) == {"started", "rejected"}
    assert few.units.index.equals(pd.RangeIndex(len(few.units)))
    whole = hand.units.join(hand.outcomes).set_index("record_id")
    part = few.units.join(few.outcomes).set_index("record_id")
    pd.testing.assert_frame_equal(part, whole.loc[part.index])
    with pytest.raises(DesignError, match="none with status"):
        hand.select(status="nobody")


def test_pools_named_in_the_call():
    cohort = landmarks(by_hand(), "paid", pools="withdrew")
    assert set(cohort.units["status"]) == {"started", "withdrew"}
    assert_adds_up(cohort)


def test_embedded_placements_wait_for_the_end_of_the_contract():
    study = Study.from_tables(config(), random_school(2_000))
    early, late = landmarks(study, "apprenticeship"), landmarks(study, "apprenticeship", horizon_months=18)
    assert early.outcomes[["employed_h", "placed_ever_h", "claimed_h"]].isna().all().all()
    assert early.outcomes["income_h"].notna().all() and "18 months" in early.notes[0]
    assert late.outcomes["employed_h"].notna().all() and late.notes == ()


@pytest.mark.parametrize("tier, what", [("free", "nobody applies"), ("evening", "tier of this study")])
def test_tiers_without_a_design_are_refused(tier, what):
    with pytest.raises(DesignError, match=what):
        landmarks(by_hand(), tier)


def test_an_empty_arm_says_why_it_is_empty():
    rows = rows_by_hand()
    with pytest.raises(DesignError, match="employed at date zero"):
        landmarks(by_hand(learners=[row | {"status_at_entry": "employed"} for row in rows["learners"]]), "paid")
    with pytest.raises(DesignError, match="closed before"):
        landmarks(by_hand(), "paid", pools=["waitlist"])


def test_a_covariate_nobody_has_is_named():
    with pytest.raises(DesignError, match="education_years"):
        landmarks(by_hand({"design": {"covariates": ["age", "education_years"]}}), "paid")


def test_missing_covariates_are_counted_not_dropped_silently():
    rows = rows_by_hand()["learners"]
    rows[2] = rows[2] | {"birth_year": None}
    cohort = landmarks(by_hand(learners=rows), "paid")
    assert "p03" not in set(cohort.units["person"])
    flow = cohort.flow.set_index(["arm", "reason"])["excluded"]
    assert flow["comparison", "age unknown"] == 7
    assert_adds_up(cohort)


def test_sensitive_columns_join_only_where_the_plan_asks():
    sensitive = [{"person_id": f"p{k:02d}", "ethnicity": "black" if k % 2 else "other"} for k in range(1, 21)]
    quiet = landmarks(by_hand(learners_sensitive=sensitive), "paid").units
    asked = landmarks(by_hand({"design": {"covariates": ["age", "black"]}}, learners_sensitive=sensitive), "paid").units
    assert "black" not in quiet and "hispanic" not in asked
    assert asked.groupby("person")["black"].first()[["p01", "p02"]].tolist() == [1, 0]


@pytest.fixture(scope="module")
def nsw(root):
    return Study.open(root / "data" / "nsw", check=False)


def test_the_trial_study_has_its_published_samples_and_history(nsw):
    cohort = landmarks(nsw, "paid", pools=["cps1", "psid1", "nsw_control"])
    assert cohort.counts.set_index("status")["records"].to_dict() == {
        "started": 185, "cps1": 15_992, "psid1": 2_490, "nsw_control": 260,
    }  # fmt: skip
    treated = cohort.units[cohort.units["treated"] == 1]
    means = treated[["age", "education_years", "no_degree", "black", "hispanic", "partnered"]].mean()
    np.testing.assert_allclose(means, [25.816, 10.346, 0.708, 0.843, 0.059, 0.189], atol=5e-4)  # Dehejia & Wahba 1999
    np.testing.assert_allclose(treated[["income_lag_2", "income_lag_1"]].mean(), [2095.57, 1532.06], atol=0.01)
    assert (treated["zero_period"] == 1976).all() and "employed_lag_3" not in cohort.units
    income = cohort.outcomes["income_h"]
    gap = income[cohort.units["treated"] == 1].mean() - income[cohort.units["status"] == "nsw_control"].mean()
    assert gap == pytest.approx(1794.34, abs=0.01)


def test_the_randomised_out_can_stand_in_for_the_treated(nsw):
    cohort = landmarks(nsw, "paid", pools=["cps1", "nsw_control"]).stand_in("nsw_control")
    assert cohort.counts.set_index("status")["records"].to_dict() == {"nsw_control": 260, "cps1": 15_992}
    assert (cohort.units["treated"] == (cohort.units["status"] == "nsw_control")).all()
    assert len(cohort.outcomes) == 16_252
    flow = cohort.flow
    assert flow[flow["arm"] == "treated"]["n"].iloc[-1] == 0
    with pytest.raises(DesignError, match="stand in"):
        landmarks(nsw, "paid", pools=["cps1"]).stand_in("nsw_control")
    with pytest.raises(DesignError, match="nobody"):
        landmarks(nsw, "paid", pools=["cps1", "nobody"])


def test_trainees_without_consent_are_counted_out_of_a_pool_comparison(root, nsw):
    made = {name: nsw.table(name) for name in nsw.engine.tables()}
    learners = made["learners"].assign(consent_research=[False] * 5 + [True] * 180)
    raw = tomllib.loads((root / "data" / "nsw" / "study.toml").read_text(encoding="utf-8"))
    cohort = landmarks(Study.from_tables(raw, made | {"learners": learners}), "paid", pools="psid1")
    assert cohort.counts["records"].tolist() == [180, 2490]
    assert_adds_up(cohort)
    whole = landmarks(nsw, "paid", pools="psid1")
    both = [c.units.join(c.outcomes).set_index("record_id") for c in (cohort, whole)]
    pd.testing.assert_frame_equal(both[0], both[1].loc[both[0].index])


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 10_000))
def test_row_order_of_the_tables_does_not_matter(seed):
    made = random_school(300, seed=11)
    rng = np.random.default_rng(seed)
    mixed = {name: frame.iloc[rng.permutation(len(frame))].reset_index(drop=True) for name, frame in made.items()}
    one, two = (landmarks(Study.from_tables(config(), frames), "paid") for frames in (made, mixed))
    pd.testing.assert_frame_equal(one.units, two.units, check_exact=True)
    pd.testing.assert_frame_equal(one.outcomes, two.outcomes, check_exact=True)
    pd.testing.assert_frame_equal(one.panel(), two.panel(), check_exact=True)
    pd.testing.assert_frame_equal(one.flow, two.flow)


def test_the_database_is_not_changed():
    made = random_school(300)
    before = {name: frame.copy(deep=True) for name, frame in made.items()}
    cohort = landmarks(Study.from_tables(config(), made), "paid")
    units = cohort.units.copy(deep=True)
    _ = cohort.outcomes, cohort.panel(), cohort.select(status="open")
    pd.testing.assert_frame_equal(cohort.units, units)
    for name, frame in made.items():
        pd.testing.assert_frame_equal(frame, before[name])


def test_no_slower_than_a_few_times_reading_the_panel():
    """Recovery tests build thousands of cohorts: the cost is compared with reading the panel, not with a clock."""
    study = Study.from_tables(config(), random_school(3_000))

    def best(action) -> float:
        spent = []
        for _ in range(3):
            begin = time.process_time()
            action()
            spent.append(time.process_time() - begin)
        return min(spent)

    floor = best(lambda: study.sql("SELECT person_id, period, employed FROM income_panel ORDER BY person_id, period"))
    assert best(lambda: landmarks(study, "paid")) < 20 * floor + 0.05


def test_immortal_time_moves_a_naive_comparison_and_not_the_landmark_one():
    """True effect zero, constant hazards: who starts has been jobless until then, so starters look worse by far."""
    made = random_school(20_000, seed=8)
    people = made["applications"].merge(made["learners"][["person_id", "status_at_entry"]], on="person_id")
    people = people[people["status_at_entry"] == "jobseeker"].merge(
        made["outcome_events"][["person_id", "occurred_on"]], on="person_id", how="left"
    )
    placed = people["occurred_on"] - people["applied_on"] <= pd.Timedelta(days=365)
    started = people["stage"] == "started"
    assert placed[started].mean() - placed[~started].mean() < -0.10
    cohort = landmarks(Study.from_tables(config(), made), "paid").select(status="open")
    frame = cohort.units.join(cohort.outcomes)
    by = ["landmark", "application_quarter", "treated"]
    cell = frame.groupby(by)["placed_ever_h"].agg(["mean", "size"]).unstack()
    weight = cell["size"][1].fillna(0)
    gap = ((cell["mean"][1] - cell["mean"][0]) * weight).sum() / weight.sum()
    assert abs(gap) < 3 * np.sqrt(0.25 / weight.sum())
