"""A valid set of tables of twenty people, small enough to read: tests break one thing at a time."""

# ruff: noqa: E501  (declarations read best one to a line)

from __future__ import annotations

import copy
import datetime as dt

import pandas as pd

UNTIL = "2024-12-31"

CONFIG = {
    "study": {
        "name": "small", "title": "Twenty people", "years": [2024], "default_year": 2024, "currency": "EUR",
        "frequency": "quarter", "data_until": UNTIL,
    },
    "clock": {"date_zero": "start", "horizon_months": 6, "cohort_lag_years": 1, "landmark_months": 6},
    "outcomes": {
        "placement": {"title": "In a job", "column": "employed"},
        "income": {"title": "Household income", "column": "household_net_cents", "unit": "EUR a quarter"},
    },
    "tiers": {
        "free": {"title": "Free", "design": "none", "reason": "nobody applies"},
        "paid": {"title": "Paid", "design": "landmark"},
    },
    "comparison": {"kind": "landmark", "headline": "open", "pools": ["open", "rejected", "withdrew"]},
    "design": {"covariates": ["age", "unemp_months"], "exact": ["landmark"]},
}  # fmt: skip

PEOPLE = [f"L{k:02d}" for k in range(1, 21)]
STARTED, REJECTED, WITHDREW, OPEN, FREE = PEOPLE[:8], PEOPLE[8:11], PEOPLE[11:13], PEOPLE[13:15], PEOPLE[15:]
UNITS = ["U01", "U02", "U03"]
_PERSON = {
    "sex": "F", "country": "FR", "education": "bac", "education_years": 12, "partnered": 0, "status_at_entry": "jobseeker",
    "household_size": 2, "children_u14": 0,
}  # fmt: skip


def day(text: str) -> pd.Timestamp:
    return pd.Timestamp(text)


def config() -> dict:
    return copy.deepcopy(CONFIG)


def tables() -> dict[str, pd.DataFrame]:
    """Fresh frames each time, so that a test may change them."""
    quarters = [f"{year}Q{q}" for year in (2022, 2023, 2024) for q in (1, 2, 3, 4)]
    out = {
        "programmes": [
            dict(programme_id=key, name=key, track="tech", level=level, months=8, list_price_cents=price, currency="EUR",
                 country="FR", is_apprenticeship=False, valid_from=dt.date(2020, 1, 1), valid_to=None)
            for key, level, price in (("P1", "bac2", 560_000), ("P0", "free_course", 0))
        ],
        "learners": [
            dict(person_id=p, first_seen=dt.date(2023, 1, 1 + k), birth_year=1970 + k, unemp_months=k, consent_research=True,
                 consent_link=True, **_PERSON)
            for k, p in enumerate(PEOPLE)
        ],
        "learners_sensitive": [
            dict(person_id=p, disability="no", refugee="undeclared", qpv="yes", minimum_income="no", legal_basis="consent",
                 collected_on=dt.date(2023, 3, 1))
            for p in PEOPLE[:5]
        ],
        "applications": [
            dict(application_id=f"A{k:02d}", person_id=p, programme_id="P1", applied_on=dt.date(2023, 2, 1 + k), stage=stage,
                 decided_on=None if stage in ("started", "test") else dt.date(2023, 4, 1), test_score=10.0 + k,
                 reason_not_started={"rejected": "rejected", "withdrew": "elsewhere"}.get(stage), consent_followup=True)
            for k, (p, stage) in enumerate(
                [(p, "started") for p in STARTED] + [(p, "rejected") for p in REJECTED] + [(p, "withdrew") for p in WITHDREW]
                + [(p, "test") for p in OPEN]
            )
        ],
        "enrolments": [
            dict(enrolment_id=f"N{k:02d}", person_id=p, programme_id="P1" if p in STARTED else "P0",
                 tier="paid" if p in STARTED else "free", funder="cpf" if p in STARTED else "none", start=dt.date(2023, 5, 1),
                 end=dt.date(2024, 1, 15), status="graduated", graduated_on=dt.date(2024, 1, 15), hours=700.0, intent="new_job",
                 intent_asked_on=dt.date(2023, 5, 2))
            for k, p in enumerate(STARTED + FREE)
        ],
        "engagement": [
            dict(person_id=p, month="2023-06", minutes=600, lessons=6, projects=1, mentor_sessions=2) for p in STARTED
        ],
        "outcome_events": [
            dict(event_id=f"V{k:02d}", person_id=p, type="new_job", occurred_on=dt.date(2024, 3, 1), date_precision="day",
                 contract="permanent", hours_pct=100.0, in_field="yes", employer_id=f"E{k}", is_school_employer=False,
                 programme_embedded=False, base_pay_cents=220_000, pay_period="month", self_credited="yes", source_id="admin",
                 evidence="contract", recorded_on=dt.date(2024, 4, 1), supersedes=None)
            for k, p in enumerate([*STARTED[:4], *REJECTED[:1], "U01"])
        ],
        "signals": [
            dict(signal_id=f"S{k}", person_id=p, source="job_board", observed_on=dt.date(2024, 3, 5), predicted_type="new_job",
                 score=0.8, model_version="1", arm="learner")
            for k, p in enumerate(STARTED)
        ],
        "survey_waves": [
            dict(wave_id="W1", instrument_version="1", mode="web", open=dt.date(2024, 2, 1), close=dt.date(2024, 3, 31))
        ],
        "survey_invites": [
            dict(wave_id="W1", person_id=p, arm="learner", invited_on=dt.date(2024, 2, 1), inclusion_prob=0.5, stratum="all",
                 reminders=1, responded_on=dt.date(2024, 2, 9), partial=False, employed=1, pay_cents=200_000, credit="yes")
            for p in STARTED
        ],
        "income_panel": [
            dict(person_id=p, period=q, employed=int(j > 8), hours_pct=100.0, earnings_net_cents=(j > 8) * (450_000 + 10 * j),
                 benefits_cents=90_000, household_net_cents=480_000 + 1_000 * j + 100 * k, household_uc=1.5,
                 equiv_net_cents=320_000, currency="EUR", source="admin", imputed=False)
            for k, p in enumerate(PEOPLE + UNITS) for j, q in enumerate(quarters)
        ],
        "comparison_units": [
            dict(unit_id=u, pool="external_panel", index_date=dt.date(2023, 5, 1), index_rule="first of May", weight=1.0,
                 birth_year=1980, unemp_months=3, **_PERSON)
            for u in UNITS
        ],
    }  # fmt: skip
    return {name: pd.DataFrame(rows) for name, rows in out.items()}
