"""Data level, between tables: who must exist, and what may not come before what."""

# ruff: noqa: E501  (declarations read best one to a line)

from __future__ import annotations

from dataclasses import dataclass

from .columns import Wrong, name
from .tables import SENSITIVE, TABLES

# other names under which special-category facts turn up
_SENSITIVE_WORDS = {
    *SENSITIVE,
    "race",
    "black",
    "hispanic",
    "ethnic_group",
    "religion",
    "health",
    "handicap",
    "rqth",
    "rsa",
    "disabled",
}


@dataclass(frozen=True)
class Rule:
    """A condition over rows of `table` (alias t) that looks into other tables. needs: table.column it reads."""

    table: str
    needs: tuple[str, ...]
    wrong: Wrong


def _before_contact(table: str, column: str, what: str) -> Rule:
    return Rule(table, (f"{table}.{column}", f"{table}.person_id", "learners.person_id", "learners.first_seen"), Wrong(
        column, f"EXISTS (SELECT 1 FROM learners AS l WHERE l.person_id = t.person_id AND t.{column} < l.first_seen)",
        f"{column} on or after learners.first_seen", f"{what} before the first contact",
        "correct the date, or set first_seen to the earliest contact",
    ))  # fmt: skip


RULES = (
    _before_contact("outcome_events", "occurred_on", "events"),
    _before_contact("applications", "applied_on", "applications"),
    _before_contact("enrolments", "start", "starts"),
    Rule("applications", ("applications.stage", "enrolments.person_id", "enrolments.programme_id"), Wrong(
        "stage", "t.stage = 'started' AND NOT EXISTS (SELECT 1 FROM enrolments AS e WHERE e.person_id = t.person_id "
        "AND e.programme_id = t.programme_id)",
        "an enrolment of that person in that programme where stage is started", "started applications without one",
        "add the enrolment, or correct the stage",
    )),
    Rule("applications", ("applications.stage", "applications.applied_on", "enrolments.start", "enrolments.programme_id"), Wrong(
        "applied_on", "t.stage = 'started' AND t.applied_on > (SELECT MAX(e.start) FROM enrolments AS e "
        "WHERE e.person_id = t.person_id AND e.programme_id = t.programme_id)",
        "applied_on on or before the start", "applications dated after the start they led to", "correct applied_on or start",
    )),
    Rule("outcome_events", ("outcome_events.employer_id", "outcome_events.is_school_employer"), Wrong(
        "is_school_employer", "NOT t.is_school_employer AND t.employer_id IN (SELECT s.employer_id FROM outcome_events AS s "
        "WHERE s.is_school_employer AND s.employer_id IS NOT NULL)",
        "one flag an employer", "events at an employer that other rows flag as the school", "set is_school_employer on all its rows",
    )),
    Rule("comparison_units", ("comparison_units.index_date", "enrolments.start"), Wrong(
        "index_date", "EXISTS (SELECT 1 FROM enrolments AS e WHERE e.person_id = t.unit_id AND e.start < t.index_date)",
        "no enrolment before index_date", "comparison units that had started before", "drop them from the pool, or correct index_date",
    )),
    Rule("comparison_units", ("comparison_units.index_date", "engagement.month"), Wrong(
        "index_date", "EXISTS (SELECT 1 FROM engagement AS e WHERE e.person_id = t.unit_id AND e.month < "
        "STRFTIME(t.index_date, '%Y-%m'))",
        "no use of the product before index_date", "comparison units that had used it", "drop them from the pool, or correct index_date",
    )),
    Rule("outcome_events", ("outcome_events.occurred_on", "comparison_units.index_date", "enrolments.start", "enrolments.end"), Wrong(
        "occurred_on", "EXISTS (SELECT 1 FROM comparison_units AS u JOIN enrolments AS e ON e.person_id = u.unit_id "
        "WHERE u.unit_id = t.person_id AND e.start >= u.index_date AND t.occurred_on >= e.start "
        'AND (e."end" IS NULL OR t.occurred_on <= e."end"))',
        "outcomes of comparison units outside any exposure", "outcomes during an enrolment of the unit",
        "a person has one role in a window: drop the unit from the pool, or end its window at the start",
    )),
    Rule("outcome_events", ("outcome_events.programme_embedded", "comparison_units.unit_id", "learners.person_id"), Wrong(
        "programme_embedded", "t.programme_embedded AND t.person_id IN (SELECT u.unit_id FROM comparison_units AS u) "
        "AND t.person_id NOT IN (SELECT l.person_id FROM learners AS l WHERE l.person_id IS NOT NULL)",
        "no programme_embedded outcome outside the school", "embedded outcomes of external comparison units",
        "correct programme_embedded",
    )),
    Rule("survey_invites", ("survey_invites.invited_on", "survey_waves.open", "survey_waves.close"), Wrong(
        "invited_on", "EXISTS (SELECT 1 FROM survey_waves AS w WHERE w.wave_id = t.wave_id AND "
        "(t.invited_on < w.open OR t.invited_on > w.close))",
        "invited_on between open and close of the wave", "invitations outside it", "correct the date or the wave",
    )),
    Rule("learners_sensitive", ("learners_sensitive.person_id", "learners.erased_on"), Wrong(
        "person_id", "EXISTS (SELECT 1 FROM learners AS l WHERE l.person_id = t.person_id AND l.erased_on IS NOT NULL)",
        "no sensitive row of an erased person", "rows of persons with erased_on", "delete them",
    )),
)  # fmt: skip


def foreign_rules(present: dict[str, set[str]]) -> list[Rule]:
    """Foreign keys whose target tables the study has (none of them: nothing can be checked)."""
    rules = []
    for table in TABLES.values():
        if table.name not in present:
            continue
        for key in table.foreign:
            targets = [(t, c) for t, c in key.targets if c in present.get(t, set())]
            if key.column not in present[table.name] or not targets:
                continue
            exists = " AND ".join(
                f"NOT EXISTS (SELECT 1 FROM {t} AS f WHERE f.{c} = {name(key.column)})" for t, c in targets
            )
            where = " or ".join(f"{t}.{c}" for t, c in targets)
            rules.append(Rule(table.name, (), Wrong(
                key.column, f"{name(key.column)} IS NOT NULL AND {exists}", f"a row in {where}", "values without one",
                f"add the missing rows to {targets[0][0]}, or correct {key.column}",
            )))  # fmt: skip
    return rules


def sensitive_columns(columns: list[str]) -> list[str]:
    """Columns that belong in learners_sensitive only."""
    return [column for column in columns if column.lower() in _SENSITIVE_WORDS]
