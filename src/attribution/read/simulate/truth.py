"""What only a simulation knows: potential outcomes of every starter and the effects they add up to."""

from __future__ import annotations

import numpy as np
import pandas as pd

from .lives import EDUCATION, FIRST_MONTH, FIRST_QUARTER, NEVER, Applicants, Lives, not_yet, quarters
from .parameters import Parameters
from .tables import LAST_OBSERVED_MONTH

HORIZON_QUARTERS = 8
STUDY_YEARS = (2022, 2023, 2024, 2025)
LANDMARK_MONTHS = 6


def people_frame(person_id: np.ndarray, a: Applicants, lives: Lives, p: Parameters) -> pd.DataFrame:
    """Return one row per starter: outcomes by quarter since the start under "start now" (1) and "not yet" (0).

    `employed1_q4`: in a job (regular or apprenticeship contract) in the last month of the fourth quarter after the
    quarter of the start, as in income_panel; `regular`: without the contract; `income`: household net, cents a quarter.
    `placed1_m12`: in a regular job 12 full months after the start month.
    """
    rows, starters, blocked = not_yet(a, lives, p)
    n = len(rows)
    factual = Lives(**{name: value[rows] for name, value in vars(lives).items()})
    start = factual.start
    date_zero = starters.month + start
    first = (start + starters.offset) // 3 - FIRST_QUARTER
    columns: dict[str, object] = {
        "person_id": person_id[rows],
        "tier": np.where(starters.apprentice, "apprenticeship", "paid").astype(object),
        "jobless": starters.jobless,
        "landmark": start,
        "application_quarter": starters.month // 3,
        "zero_month": date_zero,
        "zero_period": date_zero // 3,
        "year": date_zero // 12,
        "sex": np.where(starters.female, "F", "M").astype(object),
        "education": np.array(EDUCATION, dtype=object)[starters.education],
        "employability": starters.employability,
    }
    index = np.arange(n)
    for arm, lived in ((1, factual), (0, blocked)):
        q = quarters(starters, lived, p)
        for k in range(HORIZON_QUARTERS + 1):
            at = first + k
            regular, embedded = q["employed"][index, at], q["embedded"][index, at]
            columns[f"employed{arm}_q{k}"] = regular | embedded
            columns[f"regular{arm}_q{k}"] = regular
            columns[f"income{arm}_q{k}"] = q["household"][index, at]
        for months in (6, 12, 18, 24):
            columns[f"placed{arm}_m{months}"] = lived.employed[index, start + months - FIRST_MONTH]
    return pd.DataFrame(columns).sort_values("person_id", kind="stable", ignore_index=True)


def effects(people: pd.DataFrame) -> dict[str, object]:
    """Return the mean effects of starting now rather than not yet over the given starters."""
    columns, values = _potential(people)
    return _effects(columns, values)


def _potential(people: pd.DataFrame) -> tuple[dict[str, int], np.ndarray]:
    names = [
        name for name in people.columns if name.rsplit("_", 1)[0][:-1] in ("employed", "regular", "income", "placed")
    ]
    return {name: i for i, name in enumerate(names)}, people[names].to_numpy(dtype=float)


def _effects(columns: dict[str, int], values: np.ndarray) -> dict[str, object]:
    if not len(values):
        return {"n": 0}
    means = values.mean(axis=0)

    def pair(name: str, when: str) -> tuple[float, float]:
        return float(means[columns[f"{name}1_{when}"]]), float(means[columns[f"{name}0_{when}"]])

    out: dict[str, object] = {"n": len(values)}
    for name in ("employed", "regular"):
        table = {}
        for months, k in ((6, 2), (12, 4), (18, 6), (24, 8)):
            one, zero = pair(name, f"q{k}")
            table[str(months)] = {"effect": round(one - zero, 9), "start_now": round(one, 9), "not_yet": round(zero, 9)}
        out[f"{name}_by_months"] = table
    exact = {m: pair("placed", f"m{m}") for m in (6, 12, 18, 24)}
    out["placed_by_exact_months"] = {str(m): round(one - zero, 9) for m, (one, zero) in exact.items()}
    income = [pair("income", f"q{k}") for k in range(HORIZON_QUARTERS + 1)]
    gains = [one - zero for one, zero in income]
    out["household_income_cents_by_quarter"] = {str(k): round(gain, 3) for k, gain in enumerate(gains)}
    out["household_income_cents_mean_q1_q4"] = round(sum(gains[1:5]) / 4, 3)
    gain = values[:, columns["income1_q4"]] - values[:, columns["income0_q4"]]
    out["share_gaining_household_income_q4"] = round(float((gain > 0).mean()), 9)
    return out


def truth(people: pd.DataFrame, naive: dict) -> dict[str, object]:
    """Return the aggregate truth by study year (starts of the year before) and tier, for jobless starters."""
    columns, values = _potential(people)
    year, tier = people["year"].to_numpy(), people["tier"].to_numpy()
    jobless, women = people["jobless"].to_numpy(), people["sex"].to_numpy() == "F"
    early = people["landmark"].to_numpy() <= LANDMARK_MONTHS
    low = people["education"].isin(["none", "cap_bep", "bac"]).to_numpy()
    years: dict[str, object] = {}
    for study_year in STUDY_YEARS:
        tiers: dict[str, dict[str, object]] = {}
        for name in ("paid", "apprenticeship"):
            mine = (year == study_year - 1) & (tier == name) & jobless
            groups = {
                "all_jobless_starters": mine,
                f"landmarks_1_to_{LANDMARK_MONTHS}": mine & early,
                "women": mine & women,
                "men": mine & ~women,
                "at_most_bac": mine & low,
                "above_bac": mine & ~low,
            }
            tiers[name] = {group: _effects(columns, values[rows]) for group, rows in groups.items()}
            tiers[name]["naive"] = naive[study_year, name]
        years[str(study_year)] = tiers
    return years


def naive_answers(a: Applicants, lives: Lives, p: Parameters) -> dict:
    """Return what careless comparisons say, per study year and tier, on the jobless at application.

    starters_minus_never_12m: in a job 12 months after *application*, starters of the year before the study year against
    never-starters who applied in it: who finds a job before the start never starts, and months before the start count.
    income_did_last_quarter_cents: change of household income from the last quarter before date zero (start;
    application) to the fourth after.
    """
    q = quarters(a, lives, p)
    started = lives.start < NEVER
    row = np.arange(len(a.month))
    job = (lives.employed | lives.contract)[:, 12 - FIRST_MONTH]
    first = np.where(started, (np.where(started, lives.start, 0) + a.offset) // 3, 0) - FIRST_QUARTER
    change = q["household"][row, first + 4] - q["household"][row, first - 1]
    zero_year = (a.month + np.where(started, lives.start, 0)) // 12
    out: dict[tuple[int, str], dict[str, float]] = {}
    for year in STUDY_YEARS:
        for tier, apprentice in (("paid", False), ("apprenticeship", True)):
            base = a.jobless & (a.apprentice == apprentice) & (zero_year == year - 1)
            yes, no = base & started, base & ~started
            if not yes.any() or not no.any():
                out[year, tier] = {}
                continue
            out[year, tier] = {
                "starters_minus_never_12m": round(float(job[yes].mean() - job[no].mean()), 9),
                "starters_12m": round(float(job[yes].mean()), 9),
                "never_starters_12m": round(float(job[no].mean()), 9),
                "income_did_last_quarter_cents": round(float(change[yes].mean() - change[no].mean()), 3),
            }
    return out


def observable_until() -> str:
    return f"{LAST_OBSERVED_MONTH // 12}-12-31"
