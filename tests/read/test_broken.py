"""Every way the tables have been seen to be wrong, one at a time: the error says where, how many, which, and what to do."""

# ruff: noqa: E501  (declarations read best one to a line)

from __future__ import annotations

import datetime as dt

import pandas as pd
import pytest
from small_tables import FREE, REJECTED, STARTED, config, tables

from attribution import DataError, Study
from attribution.read.contract import check, require


def put(table, column, value, rows=slice(0, 1)):
    """Overwrite some rows of a column."""

    def change(t, c):
        frame = t[table]
        if column not in frame or frame[column].dtype != object:
            frame[column] = frame[column].astype(object) if column in frame else None
        frame.loc[frame.index[rows], column] = value

    return change


def drop(table, column):
    def change(t, c):
        t[table] = t[table].drop(columns=column)

    return change


def append(table, **values):
    """A copy of the first row, changed."""

    def change(t, c):
        t[table] = pd.concat([t[table], t[table].head(1).assign(**values)], ignore_index=True)

    return change


def scale(table, *columns, by):
    def change(t, c):
        for column in columns:
            t[table][column] = t[table][column] * by

    return change


def every(*changes):
    def change(t, c):
        for one in changes:
            one(t, c)

    return change


def remove(table):
    return lambda t, c: t.pop(table)


def rename(table, to):
    def change(t, c):
        t[to] = t.pop(table)

    return change


def late(table, column, rows=slice(0, 1)):
    return put(table, column, dt.date(2031, 1, 1), rows)


# name: (change, table, column, count, keys)
BROKEN = {
    "missing required column": (drop("learners", "first_seen"), "learners", "first_seen", None, ()),
    "missing key column": (drop("enrolments", "enrolment_id"), "enrolments", "enrolment_id", None, ()),
    "renamed column": (lambda t, c: t.update(learners=t["learners"].rename(columns={"sex": "sexe"})), "learners", "sex", None, ()),
    "number where a date belongs": (lambda t, c: t.update(learners=t["learners"].assign(first_seen=20230101)),
                                    "learners", "first_seen", None, ()),
    "text where a number belongs": (put("learners", "birth_year", "about 1980", slice(0, 20)), "learners", "birth_year", 20,
                                    ("L01", "L02", "L03", "L04", "L05")),
    "day-month-year dates": (lambda t, c: t["applications"].__setitem__(
        "applied_on", [f"{k + 13}/02/2023" for k in range(15)]), "applications", "applied_on", 15, ("A00", "A01", "A02", "A03", "A04")),
    "numeric ids with fractions": (lambda t, c: t["programmes"].__setitem__("name", [1.5, 2.5]), "programmes", "name", None, ()),
    "duplicate key": (append("learners"), "learners", "person_id", 1, ("L01",)),
    "duplicate panel row": (append("income_panel"), "income_panel", "person_id", 1, ("L01/2022Q1",)),
    "missing key": (put("outcome_events", "event_id", None), "outcome_events", "event_id", 1, ("?",)),
    "NaN key": (put("signals", "signal_id", float("nan"), slice(0, 2)), "signals", "signal_id", 2, ("?", "?")),
    "NaN key as text": (put("survey_invites", "person_id", "nan"), "survey_invites", "person_id", 1, ("W1/nan",)),
    "empty key": (put("applications", "application_id", " "), "applications", "application_id", 1, (" ",)),
    "missing value": (put("learners", "sex", None, slice(2, 4)), "learners", "sex", 2, ("L03", "L04")),
    "unknown category": (put("enrolments", "tier", "Paid", slice(1, 3)), "enrolments", "tier", 2, ("N01", "N02")),
    "undeclared written as text of another language": (put("learners_sensitive", "disability", "oui"), "learners_sensitive",
                                                       "disability", 1, ("L01",)),
    "flag that is not 0 or 1": (put("income_panel", "employed", 2), "income_panel", "employed", 1, ("L01/2022Q1",)),
    "person unknown": (put("enrolments", "person_id", "L99"), "enrolments", "person_id", 1, ("N00",)),
    "programme unknown": (put("applications", "programme_id", "P9", slice(8, 9)), "applications", "programme_id", 1, ("A08",)),
    "panel of strangers": (put("income_panel", "person_id", "X1", slice(0, 12)), "income_panel", "person_id", 12, None),
    "invite to an unknown wave": (put("survey_invites", "wave_id", "W7"), "survey_invites", "wave_id", 1, ("W7/L01",)),
    "correction of an unknown event": (put("outcome_events", "supersedes", "V77"), "outcome_events", "supersedes", 1, ("V00",)),
    "event before first contact": (put("outcome_events", "occurred_on", dt.date(2022, 1, 1)), "outcome_events", "occurred_on", 1, ("V00",)),
    "application before first contact": (put("learners", "first_seen", dt.date(2023, 4, 30), slice(8, 10)), "applications",
                                         "applied_on", 2, ("A08", "A09")),
    "end before start": (put("enrolments", "end", dt.date(2023, 1, 1)), "enrolments", "end", 1, ("N00",)),
    "graduated before start": (put("enrolments", "graduated_on", dt.date(2023, 1, 1)), "enrolments", "graduated_on", 1, ("N00",)),
    "decided before applied": (put("applications", "decided_on", dt.date(2023, 1, 1), slice(8, 10)), "applications", "decided_on",
                               2, ("A08", "A09")),
    "intent asked late": (put("enrolments", "intent_asked_on", dt.date(2023, 5, 5)), "enrolments", "intent_asked_on", 1, ("N00",)),
    "recorded before it occurred": (put("outcome_events", "recorded_on", dt.date(2024, 2, 1)), "outcome_events", "recorded_on", 1, ("V00",)),
    "applied after the start": (put("applications", "applied_on", dt.date(2023, 6, 1)), "applications", "applied_on", 1, ("A00",)),
    "invited outside the wave": (put("survey_invites", "invited_on", dt.date(2024, 1, 1)), "survey_invites", "invited_on", 1, ("W1/L01",)),
    "future event": (every(late("outcome_events", "occurred_on"), late("outcome_events", "recorded_on")), "outcome_events",
                     "occurred_on", 1, ("V00",)),
    "future start": (every(late("enrolments", "start"), put("enrolments", "end", None), put("enrolments", "graduated_on", None)),
                     "enrolments", "start", 1, ("N00",)),
    "future period": (put("income_panel", "period", "2031Q1"), "income_panel", "period", 1, ("L01/2031Q1",)),
    "spreadsheet zero date": (put("learners", "first_seen", dt.date(1900, 1, 1)), "learners", "first_seen", 1, ("L01",)),
    "born after first contact": (put("learners", "birth_year", 2024.0), "learners", "birth_year", 1, ("L01",)),
    "mixed currency": (put("income_panel", "currency", "USD", slice(0, 12)), "income_panel", "currency", 12, None),
    "currency of another study": (put("programmes", "currency", "GBP", slice(0, 2)), "programmes", "currency", 2, ("P0", "P1")),
    "currency sign": (put("income_panel", "currency", "€", slice(0, 1)), "income_panel", "currency", 1, ("L01/2022Q1",)),
    "euros with decimals": (scale("income_panel", "household_net_cents", by=0.0101), "income_panel", "household_net_cents", None, None),
    "euros given as cents": (lambda t, c: t["income_panel"].__setitem__(
        "household_net_cents", t["income_panel"]["household_net_cents"] // 100), "income_panel", "household_net_cents", 276, None),
    "earnings in euros": (lambda t, c: t["income_panel"].__setitem__(
        "earnings_net_cents", t["income_panel"]["earnings_net_cents"] // 100), "income_panel", "earnings_net_cents", None, None),
    "negative income": (put("income_panel", "household_net_cents", -5), "income_panel", "household_net_cents", 1, ("L01/2022Q1",)),
    "income far outside": (put("income_panel", "household_net_cents", 900_000_000), "income_panel", "household_net_cents", 1,
                           ("L01/2022Q1",)),
    "hours as a share times a hundred twice": (put("outcome_events", "hours_pct", 10_000.0), "outcome_events", "hours_pct", 1, ("V00",)),
    "score in percent": (put("signals", "score", 80.0), "signals", "score", 1, ("S0",)),
    "period as a date": (put("income_panel", "period", "2022-01-01"), "income_panel", "period", 1, ("L01/2022-01-01",)),
    "yearly rows in a quarterly panel": (put("income_panel", "period", "2022", slice(0, 1)), "income_panel", "period", 1, ("L01/2022",)),
    "month as a number": (put("engagement", "month", "6/2023"), "engagement", "month", 1, ("L01/6/2023",)),
    "invite without probability": (put("survey_invites", "inclusion_prob", None), "survey_invites", "inclusion_prob", 1, ("W1/L01",)),
    "probability of zero": (put("survey_invites", "inclusion_prob", 0.0), "survey_invites", "inclusion_prob", 1, ("W1/L01",)),
    "probability in percent": (put("survey_invites", "inclusion_prob", 50.0, slice(0, 8)), "survey_invites", "inclusion_prob", 8, None),
    "school as employer, not embedded": (put("outcome_events", "is_school_employer", True), "outcome_events", "programme_embedded",
                                         1, ("V00",)),
    "school as employer, not flagged": (every(put("outcome_events", "employer_id", "E1", slice(0, 1)),
                                              put("outcome_events", "is_school_employer", True, slice(1, 2)),
                                              put("outcome_events", "programme_embedded", True, slice(1, 2))),
                                        "outcome_events", "is_school_employer", 1, ("V00",)),
    "pay without period": (put("outcome_events", "pay_period", None), "outcome_events", "pay_period", 1, ("V00",)),
    "sensitive column among learners": (put("learners", "disability", "yes"), "learners", "disability", 1, ("L01",)),
    "sensitive column in an unknown table": (lambda t, c: t.update(crm=pd.DataFrame({"refugee": ["yes", None]})), "crm", "refugee", 1, ("?",)),
    "sensitive row of an erased person": (put("learners", "erased_on", dt.date(2024, 1, 1)), "learners_sensitive", "person_id", 1, ("L01",)),
    "comparison unit that had started": (append("comparison_units", unit_id="L01", index_date=dt.date(2024, 1, 1)),
                                         "comparison_units", "index_date", 1, ("L01",)),
    "outcome inside the pool's exposure": (every(append("comparison_units", unit_id="L01", index_date=dt.date(2023, 3, 1)),
                                                 put("outcome_events", "occurred_on", dt.date(2023, 12, 1))),
                                           "outcome_events", "occurred_on", 1, ("V00",)),
    "not started without reason": (put("applications", "reason_not_started", None, slice(8, 9)), "applications",
                                   "reason_not_started", 1, ("A08",)),
    "not started without date": (put("applications", "decided_on", None, slice(8, 10)), "applications", "decided_on", 2, ("A08", "A09")),
    "started with a reason": (put("applications", "reason_not_started", "withdrew"), "applications", "reason_not_started", 1, ("A00",)),
    "started without enrolment": (put("applications", "stage", "started", slice(13, 14)), "applications", "stage", 1, ("A13",)),
    "empty required table": (lambda t, c: t.update(enrolments=t["enrolments"].head(0)), "enrolments", None, 0, ()),
    "missing required table": (remove("learners"), "learners", None, None, ()),
    "missing table of a design": (remove("applications"), "applications", None, None, ()),
    "missing panel": (remove("income_panel"), "income_panel", None, None, ()),
    "misspelt table": (rename("learners", "learner"), "learners", None, None, ()),
    "outcome column that does not exist": (lambda t, c: c["outcomes"]["income"].update(column="household_cents"), "income_panel",
                                           "household_cents", None, ()),
}  # fmt: skip


def small(change=None):
    t, c = tables(), config()
    if change:
        change(t, c)
    return Study.from_tables(c, t)


def test_the_valid_set_passes():
    study = small()
    assert len(check(study)) == 0, check(study).summary()
    require(study)


def test_there_are_many_broken_inputs():
    assert len(BROKEN) >= 35


@pytest.mark.parametrize("name", BROKEN)
def test_broken(name):
    change, table, column, count, keys = BROKEN[name]
    study = small(change)
    problems = check(study)
    found = [
        p for p in problems.errors if (p.table, p.column) == (table, column) and (count is None or p.count == count)
    ]
    assert found, problems.summary()
    problem = found[0]
    assert len(problem.mend) > 5 and problem.required and problem.found
    if keys is not None:
        assert problem.keys == tuple(keys)
    elif problem.count:
        assert len(problem.keys) == min(5, problem.count)
    assert problems.frame().loc[0, "severity"] == "error"


def test_several_problems_are_all_collected_and_summarised():
    study = small(every(append("learners"), put("enrolments", "tier", "Paid"), put("signals", "score", 80.0)))
    assert {p.table for p in check(study).errors} == {"learners", "enrolments", "signals"}
    with pytest.raises(DataError, match="2 more problems"):
        require(study)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda t, c: t.update(surveys=pd.DataFrame({"a": [1]})), "a table surveys"),
        (lambda t, c: t["learners"].__setitem__("shoe_size", 42), "a column shoe_size"),
    ],
)
def test_what_is_only_unknown_warns(change, text):
    problems = check(small(change))
    assert not problems.errors
    assert text in problems.summary()
    require(small(change))


def test_optional_tables_may_be_absent():
    kept = ("programmes", "learners", "enrolments", "applications", "income_panel")

    def change(t, c):
        for name in [name for name in t if name not in kept]:
            t.pop(name)
        t["income_panel"] = t["income_panel"][t["income_panel"]["person_id"].str.startswith("L")]

    assert len(check(small(change))) == 0


def test_planned_dates_may_lie_ahead():
    assert not check(small(late("enrolments", "end", slice(0, 8)))).errors


def test_open_applications_need_no_reason():
    study = small()
    assert (
        study.sql("SELECT COUNT(*) AS n FROM applications WHERE stage = 'test' AND reason_not_started IS NULL")["n"][0]
        == 2
    )


def test_whole_numbers_stored_as_floats_are_fine():
    assert not check(small(put("learners", "unemp_months", None, slice(0, 3)))).errors


def test_keys_of_the_demo_groups_exist():
    assert len(STARTED) == 8 and len(REJECTED) == 3 and len(FREE) == 5
