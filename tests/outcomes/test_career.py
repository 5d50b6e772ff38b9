"""Career outcomes: a school written by hand where every count is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from attribution.errors import DesignError
from attribution.inference import wilson
from attribution.outcomes.career import CareerOutcomes, career_outcomes, require_effect_clock
from attribution.study import Study

CONFIG: dict[str, Any] = {
    "study": {"name": "small", "title": "A small school", "question": "Did it work?", "years": [2024, 2025],
              "default_year": 2025, "currency": "EUR", "frequency": "quarter", "tables": "tables"},
    "clock": {"date_zero": "start", "horizon_months": 12, "cohort_lag_years": 1, "landmark_months": 6},
    "outcomes": {"placement": {"title": "In a job", "column": "employed"},
                 "income": {"title": "Household income", "column": "household_net_cents", "unit": "EUR a quarter"}},
    "tiers": {"free": {"title": "Free", "design": "none", "reason": "nobody applies"},
              "paid": {"title": "Paid", "design": "none", "reason": "only counted here"}},
}  # fmt: skip

# person: labour status at entry, first start by tier
PEOPLE: dict[str, tuple[str, dict[str, str]]] = {
    "a": ("jobseeker", {"paid": "2024-02-01"}),
    "b": ("jobseeker", {"paid": "2024-02-01"}),
    "c": ("employed", {"paid": "2024-02-01"}),
    "d": ("employed", {"paid": "2024-02-01"}),
    "e": ("self_employed", {"paid": "2024-02-01"}),
    "f": ("unknown", {"paid": "2024-02-01"}),
    "g": ("jobseeker", {"apprenticeship": "2024-03-01"}),
    "h": ("student", {"free": "2024-01-15", "paid": "2024-06-01"}),  # counted in paid, once
    "i": ("inactive", {"free": "2023-05-01", "paid": "2024-06-01"}),  # free in another cohort year
    "j": ("jobseeker", {"free": "2024-01-15"}),
    "k": ("jobseeker", {"free": "2024-12-20"}),
    "l": ("jobseeker", {"paid": "2022-01-10"}),  # another cohort year
    "m": ("jobseeker", {"paid": "2024-05-01"}),  # a job between entry and start: employed at date zero
}

# event: person, type, date, credit, options, and why it does not count ("" = it does)
EVENTS: list[tuple[str, str, str, str, dict[str, Any], str]] = [
    ("a", "new_job", "2024-06-10", "yes", {}, ""),
    ("a", "new_job", "2024-06-25", "no", {"evidence": "payslip"}, "duplicate of the same person, type and month"),
    ("a", "promotion", "2024-11-01", "yes", {}, "not possible from the labour status at date zero"),
    ("a", "internship", "2024-04-01", "yes", {}, "internship: not counted"),
    ("b", "new_job", "2024-02-01", "yes", {}, "on or before date zero"),
    ("b", "business", "2025-02-01", "partly", {}, ""),  # the last day of the horizon
    ("b", "new_job", "2025-02-02", "yes", {}, "after the horizon"),
    ("c", "job_change", "2024-07-01", "no", {"event_id": "c1"}, "superseded by a later record"),
    ("c", "job_change", "2024-08-01", "yes", {"event_id": "c2", "supersedes": "c1"}, "superseded by a later record"),
    ("c", "job_change", "2024-09-01", "no", {"event_id": "c3", "supersedes": "c2"}, ""),
    ("c", "promotion", "2024-12-01", "not_asked", {}, ""),
    ("c", "pay_rise", "2024-12-01", "yes", {}, "pay rise: not one of the four kinds"),
    ("d", "new_job", "2024-07-01", "yes", {}, "not possible from the labour status at date zero"),
    ("d", "business", "2024-07-01", "yes", {}, ""),
    ("e", "business", "2024-07-01", "yes", {}, "not possible from the labour status at date zero"),
    ("f", "business", "2024-07-01", "yes", {}, "labour status at date zero unknown"),
    ("g", "apprenticeship", "2024-03-02", "yes", {"programme_embedded": True},
     "embedded in a programme (apprenticeship contract)"),
    ("h", "new_job", "2024-03-01", "yes", {}, "on or before date zero"),  # before the paid start
    ("i", "new_job", "2024-12-01", "no", {}, ""),
    ("j", "new_job", "2024-12-01", "partly", {}, ""),
    ("l", "new_job", "2024-12-01", "yes", {}, "elsewhere"),
    ("m", "new_job", "2024-03-10", "yes", {}, "on or before date zero"),
    ("m", "job_change", "2024-09-10", "yes", {}, ""),
]  # fmt: skip


def made() -> dict[str, pd.DataFrame]:
    programmes = pd.DataFrame(
        {"programme_id": ["paid", "apprenticeship", "free"], "name": ["W", "N", "I"], "track": "tech",
         "level": ["bac2", "bac2", "free_course"], "months": 6, "is_apprenticeship": [False, True, False]}
    )  # fmt: skip
    learners = pd.DataFrame(
        [{"person_id": p, "first_seen": "2022-01-01", "status_at_entry": status} for p, (status, _) in PEOPLE.items()]
    )
    enrolments = pd.DataFrame(
        [{"enrolment_id": f"{p}{tier}", "person_id": p, "programme_id": tier, "tier": tier, "start": start,
          "end": "2024-12-31", "graduated_on": "2024-11-30" if p in "ab" else None}
         for p, (_, starts) in PEOPLE.items() for tier, start in starts.items()]
    )  # fmt: skip
    applications = pd.DataFrame(
        [{"application_id": f"{p}1", "person_id": p, "programme_id": tier, "applied_on": "2024-01-02"}
         for p, (_, starts) in PEOPLE.items() for tier in starts if tier != "free" and p != "l"]
    )  # fmt: skip
    events = pd.DataFrame(
        [{"event_id": f"v{k:02d}", "person_id": p, "type": kind, "occurred_on": on, "programme_embedded": False,
          "self_credited": credit, "evidence": "self_report", "recorded_on": "2025-06-01", "supersedes": None} | more
         for k, (p, kind, on, credit, more, _) in enumerate(EVENTS)]
    )  # fmt: skip
    income = pd.DataFrame(
        [{"person_id": p, "period": f"{year}Q{q}", "employed": int(p in "abci"), "household_net_cents": 500_000}
         for p in PEOPLE if p != "d" for year in (2023, 2024, 2025) for q in (1, 2, 3, 4)]
    )  # fmt: skip
    frames = {"programmes": programmes, "learners": learners, "enrolments": enrolments, "applications": applications,
              "outcome_events": events, "income_panel": income}  # fmt: skip
    days = ("first_seen", "start", "end", "graduated_on", "applied_on", "occurred_on", "recorded_on")
    for frame in frames.values():
        for column in set(days) & set(frame):
            frame[column] = pd.to_datetime(frame[column])
    return frames


def small(**tables: pd.DataFrame | None) -> Study:
    frames = made() | tables
    return Study.from_tables(CONFIG, {name: frame for name, frame in frames.items() if frame is not None})


@pytest.fixture(scope="module")
def outcomes() -> CareerOutcomes:
    return career_outcomes(small())


def test_every_event_counts_or_has_its_reason(outcomes):
    cohort = set(outcomes.persons["person_id"])
    expected = pd.Series([why or "counted" for p, *_, why in EVENTS if p in cohort]).value_counts()
    found = outcomes.dropped.groupby("reason")["n"].sum()
    assert found.to_dict() == expected.to_dict()
    assert outcomes.dropped["n"].sum() == sum(p in cohort for p, *_ in EVENTS)  # they add up
    counted = {(p, kind, on) for p, kind, on, *_, why in EVENTS if not why and p in cohort}
    assert set(outcomes.events[["person_id", "type", "occurred_on"]].itertuples(index=False, name=None)) == counted


def test_persons_are_counted_once_in_the_tier_of_their_date_zero(outcomes):
    persons = outcomes.persons.set_index("person_id")
    assert persons.index.is_unique and "l" not in persons.index
    assert persons["tier"][["a", "g", "h", "i", "j"]].tolist() == ["paid", "apprenticeship", "paid", "paid", "free"]
    assert persons["date_zero"]["h"] == "2024-06-01" and persons["date_zero"]["i"] == "2024-06-01"


def test_labour_status_is_that_at_date_zero(outcomes):
    status = outcomes.persons.set_index("person_id")["labour_status"]
    assert status[["a", "c", "e", "f", "h", "m"]].tolist() == [
        "jobless", "employed", "self_employed", "unknown", "employed", "employed",
    ]  # fmt: skip


def test_the_table_puts_claimed_beside_observed(outcomes):
    table = outcomes.table().set_index("tier")
    paid = table.loc["paid"]
    assert paid["persons"] == paid["matured"] == 9  # a b c d e f h i m
    assert paid["observed"] == 6  # a b c d i m
    assert paid["claimed"] == 3  # a d m: b only in part, c not after the correction, i not
    assert paid["partly"] == 1 and table.loc["free", "partly"] == 1
    assert (paid[["found_job", "changed_job", "moved_up", "business"]] == [2, 2, 1, 2]).all()
    assert paid["observed_share"] == pytest.approx(6 / 9)
    np.testing.assert_allclose(paid[["observed_low", "observed_high"]].astype(float), wilson(6, 9))
    np.testing.assert_allclose(paid[["claimed_low", "claimed_high"]].astype(float), wilson(3, 9))


def test_embedded_contracts_stand_apart(outcomes):
    table = outcomes.table().set_index("tier")
    assert table.loc["apprenticeship", "embedded"] == 1 and table.loc["apprenticeship", "observed"] == 0
    assert table["embedded"].sum() == 1


def test_in_work_at_the_horizon_is_another_outcome(outcomes):
    paid = outcomes.table().set_index("tier").loc["paid"]
    assert paid["employed_of"] == 8 and paid["employed_h"] == 4  # d has no income panel; a b c i work
    assert outcomes.persons.set_index("person_id")["employed_h"].isna()["d"]
    without = career_outcomes(small(income_panel=None))
    assert "employed_h" not in without.table() and "employed_h" not in without.persons


def test_only_matured_people_are_counted():
    late = career_outcomes(small(), horizon_months=24)
    assert (late.table()["matured"] == 0).all() and (late.table()["observed"] == 0).all()
    assert late.table()["observed_share"].isna().all() and late.persons["ever"].isna().all()
    assert late.dropped.set_index(["tier", "reason"])["n"]["paid", "not matured: the horizon ends after the data"] > 0
    # starts up to June have 18 months before the end of 2025
    half = career_outcomes(small(), horizon_months=18).table().set_index("tier")
    assert half.loc["paid", "matured"] == 9 and half.loc["free", ["persons", "matured"]].tolist() == [2, 1]


def test_the_application_clock_counts_from_the_application():
    persons = career_outcomes(small(), clock="application").persons.set_index("person_id")
    assert set(persons["date_zero"]) == {"2024-01-02"}
    assert persons["tier"]["h"] == "paid" and "j" not in persons.index  # nobody applies for free courses
    assert persons["ever"]["h"] == 1  # the job of March lies after the application


def test_clocks_that_only_describe():
    exits = career_outcomes(small(), clock="from_exit").persons.set_index("person_id")
    assert exits["date_zero"]["a"] == "2024-11-30" and exits["date_zero"]["c"] == "2024-12-31"
    assert exits["ever"]["a"] == 0 and exits["ever"]["b"] == 1
    year = career_outcomes(small(), clock="calendar_year", year=2024)
    assert year.cohort_year == 2024 and "employed_h" not in year.persons
    assert set(year.events["occurred_on"].str[:4]) == {"2024"}
    assert "l" in set(year.events["person_id"])  # began in 2022, found a job in 2024
    assert career_outcomes(small(), clock="calendar_year").events["person_id"].tolist() == ["b"]  # 2025


@pytest.mark.parametrize("clock, why", [("from_exit", "exit comes after treatment"), ("calendar_year", "no comparison"),
                                        ("ever", "no such clock")])  # fmt: skip
def test_effects_are_refused_on_clocks_that_only_describe(clock, why):
    with pytest.raises(DesignError, match=why):
        require_effect_clock(clock)


@pytest.mark.parametrize("clock", ["application", "start", "assignment"])
def test_effects_may_be_asked_from_a_date_zero(clock):
    require_effect_clock(clock)


def test_what_cannot_be_counted_is_refused():
    with pytest.raises(DesignError, match="a clock"):
        career_outcomes(small(), clock="ever")  # type: ignore[arg-type]
    with pytest.raises(DesignError, match="outcome_events"):
        career_outcomes(small(outcome_events=None))


def test_studies_without_optional_columns_or_applications():
    events = made()["outcome_events"].drop(columns="supersedes")
    assert career_outcomes(small(outcome_events=events)).table()["observed"].sum() == 7
    assert career_outcomes(small(applications=None)).table()["persons"].sum() == 12


def test_another_year_speaks_of_another_cohort():
    assert set(career_outcomes(small(), year=2024).persons["person_id"]) == {"i"}  # free, May 2023


def test_summary_names_clock_and_horizon(outcomes):
    assert "clock start, horizon 12 months" in outcomes.summary() and "paid" in outcomes.summary()
    pd.testing.assert_frame_equal(outcomes.tidy(), outcomes.table())


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 10_000))
def test_row_order_of_the_tables_does_not_matter(outcomes, seed):
    rng = np.random.default_rng(seed)
    mixed = {name: frame.iloc[rng.permutation(len(frame))].reset_index(drop=True) for name, frame in made().items()}
    again = career_outcomes(Study.from_tables(CONFIG, mixed))
    pd.testing.assert_frame_equal(again.table(), outcomes.table(), check_exact=True)
    pd.testing.assert_frame_equal(again.persons, outcomes.persons)
    pd.testing.assert_frame_equal(again.events, outcomes.events)
    pd.testing.assert_frame_equal(again.dropped, outcomes.dropped)


def test_table_and_persons_agree(outcomes):
    persons = outcomes.persons
    sums = persons.groupby("tier")[["ever", "claimed", "partly", "embedded", "found_job"]].sum().astype("int64")
    table = outcomes.table().set_index("tier").rename(columns={"observed": "ever"})
    pd.testing.assert_frame_equal(sums, table[list(sums)], check_names=False)
