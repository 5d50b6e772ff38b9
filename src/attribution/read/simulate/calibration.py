"""Simulated figures beside the published ones they are meant to resemble."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from .parameters import CKW, DARES, DESIGN, INSEE, MISSION, SIGNALS, Parameters

COUNTED = ["new_job", "job_change", "promotion", "business"]


def calibrate(tables: Mapping[str, pd.DataFrame], people: pd.DataFrame, p: Parameters) -> pd.DataFrame:
    """Return figure, target, simulated, tolerance, unit, source; one row per figure that the tables allow."""
    applied, enrolled, income = tables["applications"], tables["enrolments"], tables["income_panel"]
    year = applied["applied_on"].dt.year
    started = applied["stage"] == "started"
    paid = people[(people["tier"] == "paid") & people["jobless"]]
    equivalised = 4 * income["equiv_net_cents"] / 100
    working = income["employed"] == 1
    rows = [
        ("orientation rate, ordinary years", p.start_rate, started[year != 2023].mean(), 0.02, "share", MISSION),
        ("orientation rate, 2023", p.start_rate_2023, started[year == 2023].mean(), 0.02, "share", MISSION),
        ("in a job at 12 months, started", 0.60, paid["employed1_q4"].mean(), 0.025, "share", DARES),
        ("in a job at 12 months, not yet", 0.52, paid["employed0_q4"].mean(), 0.025, "share", DARES),
        ("effect at 6 months (lock-in)", 0.0, _effect(paid, 2), 0.03, "share", CKW),
        ("effect at 24 months", 0.08, _effect(paid, 8), 0.03, "share", CKW),
        ("equivalised income a year, employed", 25_760, equivalised[working].median(), 1_000, "EUR", INSEE),
        ("equivalised income a year, jobless", 18_670, equivalised[~working].median(), 1_000, "EUR", INSEE),
    ]
    done = enrolled[(enrolled["tier"] != "free") & (enrolled["status"] != "active")]
    early = done["start"].dt.year < 2023
    middle = ~early & (done["start"] < "2024-10-01")  # later starts are still running unless they dropped out
    graduated = done["status"] == "graduated"
    title = "graduation in expected time, starts"
    rows += [
        (f"{title} to 2022", p.graduation_before_2023, graduated[early].mean(), 0.03, "share", MISSION),
        (f"{title} from 2023", p.graduation_since_2023, graduated[middle].mean(), 0.03, "share", MISSION),
    ]
    if "learners_sensitive" in tables:
        rows += _surveys_and_signals(tables, p)
    columns = ["figure", "target", "simulated", "tolerance", "unit", "source"]
    table = pd.DataFrame(rows, columns=columns)
    table["target"], table["simulated"] = table["target"].astype(float), table["simulated"].astype(float).round(4)
    return table


def _effect(people: pd.DataFrame, quarter: int) -> float:
    return people[f"employed1_q{quarter}"].mean() - people[f"employed0_q{quarter}"].mean()


def _surveys_and_signals(tables: Mapping[str, pd.DataFrame], p: Parameters) -> list[tuple]:
    events, enrolled = tables["outcome_events"], tables["enrolments"]
    events = events[events["type"].isin(COUNTED) & ~events["event_id"].isin(events["supersedes"].dropna())]
    claimed = events[events["self_credited"].isin(["yes", "partly"])]
    free = set(enrolled.loc[enrolled["tier"] == "free", "person_id"])
    starters = enrolled.loc[enrolled["tier"] != "free", "person_id"]
    who = tables["learners"].set_index("person_id").loc[starters]
    flags = tables["learners_sensitive"].set_index("person_id").reindex(starters)
    programme = tables["programmes"].set_index("programme_id")["track"]
    track = programme.loc[enrolled.loc[enrolled["tier"] != "free", "programme_id"]].to_numpy()
    priority = (
        (who["status_at_entry"] == "jobseeker").to_numpy()
        | ((who["sex"] == "F").to_numpy() & np.isin(track, ["tech", "data"]))
        | who["education"].isin(["none", "cap_bep"]).to_numpy()
        | (flags[["disability", "refugee", "qpv"]] == "yes").any(axis=1).to_numpy()
    )
    invites = tables["survey_invites"]
    answered = invites["responded_on"].notna()
    wave = invites["arm"] == "learner"
    inside, outside = _capture(tables, events, "learner"), _capture(tables, events, "comparison")
    of_free = claimed["person_id"].isin(free).mean()
    return [
        ("starters in a priority public, at least", p.priority_share, priority.mean(), 0.20, "share", MISSION),
        ("free learners' part of the claimed count", 0.92, of_free, 0.05, "share", "project brief: over 90 %"),
        ("signal capture, learner arm", p.capture_inside, inside, 0.04, "share", SIGNALS),
        ("signal capture, comparison arm", p.capture_outside, outside, 0.04, "share", SIGNALS),
        ("survey response, learners", 0.5, answered[wave].mean(), 0.12, "share", DESIGN),
    ]


def _capture(tables: Mapping[str, pd.DataFrame], events: pd.DataFrame, arm: str) -> float:
    """Share of applicants' events with at least one later signal of the same type within 75 days."""
    enrolled = tables["enrolments"]
    start = enrolled[enrolled["tier"] != "free"].set_index("person_id")["start"]
    mine = events[events["person_id"].isin(tables["applications"]["person_id"])]
    mine = mine[mine["occurred_on"] < "2025-10-01"]
    begun = mine["person_id"].map(start)
    inside = begun.notna() & (begun <= mine["occurred_on"])
    mine = mine[inside if arm == "learner" else ~inside]
    seen = tables["signals"][["person_id", "observed_on", "predicted_type"]]
    both = mine.merge(seen, left_on=["person_id", "type"], right_on=["person_id", "predicted_type"])
    delay = (both["observed_on"] - both["occurred_on"]).dt.days
    return both.loc[(delay >= 0) & (delay < 75), "event_id"].nunique() / max(len(mine), 1)
