"""Small schools of known content, following the contract: one written by hand, one drawn at random."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pandas as pd

CONFIG: dict[str, Any] = {
    "study": {"name": "small", "title": "A small school", "question": "Did it work?", "years": [2024, 2025],
              "default_year": 2025, "currency": "EUR", "frequency": "quarter", "tables": "tables"},
    "clock": {"date_zero": "start", "horizon_months": 12, "cohort_lag_years": 1, "landmark_months": 6},
    "outcomes": {
        "placement": {"title": "In a job 12 months later", "column": "employed"},
        "income": {"title": "Household income", "column": "household_net_cents", "unit": "EUR a quarter",
                   "unequivalised": True},
    },
    "tiers": {
        "free": {"title": "Free courses", "design": "none", "reason": "nobody applies"},
        "paid": {"title": "Paid programmes", "design": "landmark"},
        "apprenticeship": {"title": "Apprenticeships", "design": "landmark", "placement_from_months": 18,
                           "reason": "the contract is a job"},
    },
    "comparison": {"kind": "landmark", "headline": "open",
                   "pools": ["open", "rejected", "no_funding", "withdrew", "elsewhere"]},
    "design": {"covariates": ["age", "employed_lag_1", "employed_lag_2"], "exact": ["landmark", "application_quarter"],
               "distance": "logit", "caliper_sd": 0.2, "ratio": 1, "replace": False,
               "placebo": "employed_lag_6", "placebo_drop": []},
    "did": {"covariates": ["age"], "base_period": -6, "window": [-8, 4]},
    "disclosure": {"min_cell": 10, "min_cell_sensitive": 11, "percent_min_n": 25},
}  # fmt: skip

PROGRAMMES = pd.DataFrame(
    {
        "programme_id": ["web", "nurse", "intro"], "name": ["Web developer", "Care", "HTML"],
        "track": ["tech", "health", "tech"], "level": ["bac2", "bac2", "free_course"], "months": [12, 12, 1],
        "list_price_cents": [700_000, 800_000, 0], "currency": "EUR", "country": "FR",
        "is_apprenticeship": [False, True, False], "valid_from": pd.Timestamp("2019-01-01"),
    }
)  # fmt: skip


def config(**sections: dict[str, Any]) -> dict[str, Any]:
    """The default study with some options of some sections replaced."""
    out = copy.deepcopy(CONFIG)
    for name, options in sections.items():
        out[name].update(options)
    return out


def learner(person: str, status: str = "jobseeker", **more: Any) -> dict[str, Any]:
    return {"person_id": person, "first_seen": "2023-01-01", "birth_year": 1990, "sex": "F", "country": "FR",
            "education": "bac", "status_at_entry": status, "unemp_months": 5, "household_size": 2, "children_u14": 0,
            "consent_research": True, "consent_link": True, "erased_on": None} | more  # fmt: skip


def application(person: str, on: str, programme: str = "web", **more: Any) -> dict[str, Any]:
    return {"application_id": f"a-{person}-{on}", "person_id": person, "programme_id": programme, "applied_on": on,
            "decided_on": None, "stage": "admitted", "reason_not_started": None, "test_score": 60,
            "consent_followup": True} | more  # fmt: skip


def enrolment(person: str, start: str, tier: str = "paid", **more: Any) -> dict[str, Any]:
    programme = {"paid": "web", "apprenticeship": "nurse", "free": "intro"}[tier]
    return {"enrolment_id": f"e-{person}-{start}-{tier}", "person_id": person, "programme_id": programme, "tier": tier,
            "funder": "none", "start": start, "end": None, "status": "active", "graduated_on": None, "hours": 100.0,
            "intent": "new_job", "intent_asked_on": start} | more  # fmt: skip


def event(person: str, on: str, kind: str = "new_job", **more: Any) -> dict[str, Any]:
    return {"event_id": f"v-{person}-{on}-{kind}", "person_id": person, "type": kind, "occurred_on": on,
            "date_precision": "day", "contract": "permanent", "in_field": "yes", "is_school_employer": False,
            "programme_embedded": False, "currency": "EUR", "cirr_code": "A", "self_credited": "no",
            "source_id": "survey", "evidence": "self_report", "recorded_on": on, "supersedes": None} | more  # fmt: skip


def panel(person: str, employed: dict[str, int], first: int = 2021, last: int = 2025) -> list[dict[str, Any]]:
    """Quarterly rows; `employed` maps a period to the state that holds from then on (jobless before the first)."""
    rows, state = [], 0
    for year in range(first, last + 1):
        for quarter in range(1, 5):
            period = f"{year}Q{quarter}"
            state = employed.get(period, state)
            rows.append({"person_id": person, "period": period, "employed": state,
                         "earnings_net_cents": 500_000 * state, "household_net_cents": 450_000 + 300_000 * state,
                         "currency": "EUR", "source": "admin", "imputed": False})  # fmt: skip
    return rows


_DATES = {"first_seen", "erased_on", "applied_on", "decided_on", "start", "end", "graduated_on", "intent_asked_on",
          "occurred_on", "recorded_on"}  # fmt: skip
_TEXT = {"reason_not_started", "supersedes"}


def tables(**rows: list[dict[str, Any]]) -> dict[str, pd.DataFrame]:
    """Frames by table name, dates as datetime64, with the programmes."""
    out = {"programmes": PROGRAMMES}
    for name, records in rows.items():
        frame = pd.DataFrame(records)
        for column in _DATES & set(frame):
            frame[column] = pd.to_datetime(frame[column])
        for column in _TEXT & set(frame):
            frame[column] = frame[column].astype("string")
        out[name] = frame
    return out


def random_school(n: int, seed: int = 0) -> dict[str, pd.DataFrame]:
    """Applicants of 2023 and 2024 who start, find a job, or are turned down, month by month."""
    rng = np.random.default_rng(seed)
    ids = np.array([f"p{k:06d}" for k in range(n)])
    applied = 2023 * 12 + rng.integers(0, 24, n)
    jobless = rng.random(n) < 0.8
    start, found, closed = (np.ceil(np.log(rng.random(n)) / np.log1p(-h)).astype(int) for h in (0.08, 0.05, 0.06))
    # a month begins with the starts
    start = np.where((start <= found) & (start <= closed) & (start < 12), start, 99)
    found = np.where(jobless, found, 99)
    hired = (start == 99) & (found < 99) & (found < closed)
    reason = np.where(start < 99, None, np.where(hired, "found_job", rng.choice(
        ["rejected", "no_funding", "withdrew", "elsewhere"], n)))  # fmt: skip
    decided = np.where(hired, found, np.minimum(closed, 30))

    def date(month: np.ndarray) -> np.ndarray:
        first = (month - 1970 * 12).astype("datetime64[M]").astype("datetime64[D]")
        return (first + rng.integers(0, 28, len(month)).astype("timedelta64[D]")).astype("datetime64[ns]")

    applied_on = date(applied)
    learners = pd.DataFrame(
        {"person_id": ids, "first_seen": applied_on - np.timedelta64(40, "D"),
         "birth_year": rng.integers(1965, 2003, n),
         "sex": rng.choice(["F", "M"], n), "country": "FR",
         "education": rng.choice(["none", "cap_bep", "bac", "bac3"], n),
         "status_at_entry": np.where(jobless, "jobseeker", "employed"), "unemp_months": rng.integers(0, 24, n),
         "household_size": rng.integers(1, 5, n), "children_u14": rng.integers(0, 3, n), "consent_research": True,
         "consent_link": True, "erased_on": pd.Series([pd.NaT] * n, dtype="datetime64[ns]")}
    )  # fmt: skip
    applications = pd.DataFrame(
        {"application_id": np.char.add("a", ids), "person_id": ids, "programme_id": rng.choice(["web", "nurse"], n),
         "applied_on": applied_on, "decided_on": pd.Series(date(applied + decided)).where(start == 99),
         "stage": np.where(start < 99, "started", "rejected"), "reason_not_started": pd.array(reason, dtype="string"),
         "test_score": rng.integers(30, 100, n), "consent_followup": True}
    )  # fmt: skip
    began = start < 99
    programme = applications["programme_id"].to_numpy()[began]
    enrolments = pd.DataFrame(
        {"enrolment_id": np.char.add("e", ids[began]), "person_id": ids[began], "programme_id": programme,
         "tier": np.where(programme == "nurse", "apprenticeship", "paid"), "funder": "self",
         "start": date((applied + start)[began]), "end": pd.NaT, "status": "active", "graduated_on": pd.NaT,
         "hours": 10.0, "intent": "new_job"}
    )  # fmt: skip
    works = (found < 30) & jobless
    events = pd.DataFrame(
        {"event_id": np.char.add("v", ids[works]), "person_id": ids[works], "type": "new_job",
         "occurred_on": date((applied + found)[works]), "date_precision": "day", "contract": "permanent",
         "in_field": "yes", "is_school_employer": False, "programme_embedded": False, "cirr_code": "A",
         "self_credited": rng.choice(["yes", "partly", "no"], works.sum()), "source_id": "s", "evidence": "none",
         "recorded_on": pd.Timestamp("2025-12-31"), "supersedes": pd.array([None] * works.sum(), dtype="string")}
    )  # fmt: skip
    quarters = np.arange(2021 * 4, 2026 * 4)
    job = np.where(jobless, applied + found, 0)[:, None] <= quarters * 3 + 2
    before = rng.random((n, len(quarters))) < 0.7
    job = np.where(quarters[None, :] * 3 < applied[:, None], before, job)
    income = 450_000 + 300_000 * job + rng.integers(-50_000, 50_000, job.shape)
    income_panel = pd.DataFrame(
        {"person_id": np.repeat(ids, len(quarters)),
         "period": np.tile([f"{q // 4}Q{q % 4 + 1}" for q in quarters], n), "employed": job.astype("int64").ravel(),
         "earnings_net_cents": 500_000 * job.ravel(), "household_net_cents": income.ravel(), "currency": "EUR",
         "source": "admin", "imputed": False}
    )  # fmt: skip
    return {"programmes": PROGRAMMES, "learners": learners, "applications": applications, "enrolments": enrolments,
            "outcome_events": events, "income_panel": income_panel}  # fmt: skip
