"""Sequential landmark trials: at each month since application, starters against applicants not yet started (SQL)."""

from __future__ import annotations

import pandas as pd

from ..outcomes.career import EMPLOYED, JOBLESS, PLACEMENT, TIER_OF_PROGRAMME, current_events, month_of, quoted
from ..study import Study
from .flow import NO_CONSENT, Flow
from .history import People

EMPLOYED_AT_ZERO = "employed at date zero: job change is described, not estimated"
STATUS_UNKNOWN = "labour status at date zero unknown"
FOUND_JOB = "found a job before the landmark month: no longer at risk"
OTHER_TIER = "started another tier of the school"
EXCLUSIONS = (NO_CONSENT, EMPLOYED_AT_ZERO, STATUS_UNKNOWN, FOUND_JOB, OTHER_TIER)

_ANCHORS = f"""
WITH numbered AS (
    SELECT a.person_id, {{applied}} AS applied, {{decided}} AS decided, a.stage, a.reason_not_started,
        {{score}} AS test_score,
        ROW_NUMBER() OVER (PARTITION BY a.person_id ORDER BY a.applied_on, a.application_id) AS turn
    FROM applications AS a JOIN programmes AS p ON p.programme_id = a.programme_id
    WHERE {TIER_OF_PROGRAMME} = :tier
),
anchors AS (SELECT * FROM numbered WHERE turn = 1),
starts AS (
    SELECT e.person_id, MIN(CASE WHEN e.tier = :tier THEN {{start}} END) AS started,
        MIN(CASE WHEN e.tier <> :tier AND e.tier IN ('paid', 'apprenticeship') THEN {{start}} END) AS started_other
    FROM enrolments AS e GROUP BY e.person_id
)"""

_CANDIDATES = """,
people AS ({people}),
found AS (
    SELECT v.person_id, MIN({occurred}) AS found FROM ({events}) AS v
    JOIN anchors AS a ON a.person_id = v.person_id
    WHERE {occurred} >= a.applied GROUP BY v.person_id
),
grid AS ({grid}),
candidates AS (
    SELECT n.k, a.person_id, g.landmark, a.applied + g.landmark AS month, a.applied, a.test_score,
        CASE WHEN s.started = a.applied + g.landmark THEN 1 ELSE 0 END AS treated,
        CASE WHEN s.started = a.applied + g.landmark THEN 'started'
            WHEN a.stage <> 'started' AND a.reason_not_started IS NOT NULL AND a.decided < a.applied + g.landmark
            THEN a.reason_not_started ELSE 'open' END AS status,
        COALESCE(f.found < a.applied + g.landmark, FALSE) AS has_found,
        COALESCE(s.started_other <= a.applied + g.landmark, FALSE) AS has_other
    FROM anchors AS a
    JOIN people AS n ON n.person_id = a.person_id
    CROSS JOIN grid AS g
    LEFT JOIN starts AS s ON s.person_id = a.person_id
    LEFT JOIN found AS f ON f.person_id = a.person_id
    WHERE a.applied + g.landmark BETWEEN :first_month AND :last_month
        AND (s.started IS NULL OR s.started >= a.applied + g.landmark)
)
SELECT c.k, c.person_id, c.landmark, c.month, c.applied, c.test_score, c.treated, c.status,
    CASE WHEN {no_consent} THEN '{NO_CONSENT}'
        WHEN l.status_at_entry IN ({employed}) THEN '{EMPLOYED_AT_ZERO}'
        WHEN l.status_at_entry IS NULL OR l.status_at_entry NOT IN ({jobless}) THEN '{STATUS_UNKNOWN}'
        WHEN c.has_found OR c.status = 'found_job' THEN '{FOUND_JOB}'
        WHEN c.has_other THEN '{OTHER_TIER}' ELSE '' END AS why,
    {covariates}
FROM candidates AS c JOIN learners AS l ON l.person_id = c.person_id{sensitive}
ORDER BY c.k, c.landmark"""


def read_candidates(study: Study, tier: str, covariates: str, sensitive: str, no_consent: str) -> pd.DataFrame:
    """One row an (applicant, landmark month) with date zero in the cohort year, and why it is left out ("" if not).

    Nothing here depends on what happens from the landmark month on, except whether the programme starts in that month
    (treatment) and that a later starter's application was still open. A person's clock runs from the first application
    to the tier.
    """
    grid = " UNION ALL ".join(f"SELECT {m} AS landmark" for m in range(study.clock.landmark_months + 1))
    query = _anchors(study) + _CANDIDATES.format(
        people=people(study).sql, events=current_events(study, PLACEMENT), occurred=month_of("v.occurred_on"),
        grid=grid, covariates=covariates, sensitive=sensitive, no_consent=no_consent,
        employed=quoted(EMPLOYED), jobless=quoted(JOBLESS),
        NO_CONSENT=NO_CONSENT, EMPLOYED_AT_ZERO=EMPLOYED_AT_ZERO, STATUS_UNKNOWN=STATUS_UNKNOWN, FOUND_JOB=FOUND_JOB,
        OTHER_TIER=OTHER_TIER,
    )  # fmt: skip
    return study.sql(query, tier=tier, **people(study).params)


def people(study: Study, n: int = 0) -> People:
    """Numbers everyone with an application early enough to have a landmark in the cohort year."""
    first = (study.year - study.clock.cohort_lag_years) * 12
    applied = month_of("applied_on")
    query = (
        "SELECT person_id, ROW_NUMBER() OVER (ORDER BY person_id) - 1 AS k FROM ("
        f"SELECT DISTINCT person_id FROM applications WHERE {applied} "
        f"BETWEEN :first_month - {int(study.clock.landmark_months)} AND :last_month) AS applicants"
    )
    return People(query, {"first_month": first, "last_month": first + 11}, n)


def _anchors(study: Study) -> str:
    score = "a.test_score" if "test_score" in study.columns("applications") else "NULL"
    return _ANCHORS.format(
        applied=month_of("a.applied_on"), decided=month_of("a.decided_on"), start=month_of("e.start"), score=score
    )


def open_flow(study: Study, tier: str, candidates: pd.DataFrame) -> Flow:
    """The flow down to the records that may serve: starters of the cohort year, and applicants not yet started."""
    year, months = study.year - study.clock.cohort_lag_years, study.clock.landmark_months
    starters = study.sql(
        _anchors(study) + " SELECT CASE WHEN a.person_id IS NULL THEN 'none' WHEN s.started < a.applied THEN 'before' "
        "WHEN s.started > a.applied + :months THEN 'late' ELSE '' END AS why, COUNT(*) AS n "
        "FROM starts AS s LEFT JOIN anchors AS a ON a.person_id = s.person_id "
        "WHERE s.started BETWEEN :first_month AND :last_month GROUP BY 1 ORDER BY 1",
        tier=tier, months=months, first_month=year * 12, last_month=year * 12 + 11,
    )  # fmt: skip
    left_out = dict(zip(starters["why"], starters["n"], strict=True))
    flow = Flow()
    total = int(starters["n"].sum())
    flow.open("treated", total, f"first starts in the tier in {year}", total)
    flow.exclude("treated", left_out.get("none", 0), "no application to this tier on record")
    flow.exclude("treated", left_out.get("before", 0), "started before applying")
    flow.exclude("treated", left_out.get("late", 0), f"started more than {months} months after applying")
    rest = candidates[candidates["treated"].to_numpy() == 0]
    flow.open("comparison", len(rest), f"applicant-months in {year}: applied, not started by the end of the month",
              rest["k"].nunique())  # fmt: skip
    for arm, value in (("treated", 1), ("comparison", 0)):
        why = candidates["why"].to_numpy()[candidates["treated"].to_numpy() == value]
        flow.count(arm, why, EXCLUSIONS)
    return flow
