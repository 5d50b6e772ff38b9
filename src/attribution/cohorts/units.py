"""The columns of a cohort's records: what was known at date zero, and whether it is complete."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..errors import DesignError
from ..outcomes.career import MONTHS_PER_PERIOD
from ..study import Study
from .flow import Flow

LEARNER = (
    "birth_year", "sex", "education", "education_years", "partnered", "unemp_months", "household_size", "children_u14",
)  # fmt: skip
EDUCATION = ("none", "cap_bep", "bac", "bac2", "bac3", "bac5")
SENSITIVE = ("black", "hispanic")
NO_HISTORY = "history before date zero missing in the income panel"


def learner_columns(study: Study) -> list[str]:
    have = set(study.columns("learners"))
    return [name for name in LEARNER if name in have]


def sensitive_columns(study: Study) -> tuple[str, str]:
    """SQL of the sensitive columns, and its join; both empty unless the study's plan asks for them."""
    plan = study.design
    asked = {*plan.covariates, *plan.exact, *plan.placebo_drop, *study.did.covariates} & set(SENSITIVE)
    if not asked or not study.has("learners_sensitive"):
        return "", ""
    names = [name for name in SENSITIVE if name in asked]
    columns = "".join(f", CASE WHEN x.ethnicity = '{name}' THEN 1 ELSE 0 END AS {name}" for name in names)
    return columns, " LEFT JOIN learners_sensitive AS x ON x.person_id = l.person_id"


def build_units(study: Study, tier: str, rows: pd.DataFrame) -> pd.DataFrame:
    """The columns known at date zero, before history."""
    month = rows["month"].to_numpy(dtype=np.int64)
    year = month // 12
    person = rows["person_id"].astype(object)
    first = int(month.min())
    every = range(first, int(month.max()) + 1)
    firsts = np.array([f"{m // 12:04d}-{m % 12 + 1:02d}-01" for m in every], dtype=object)
    units = pd.DataFrame(
        {
            "record_id": person + "|" + rows["landmark"].astype(str).astype(object),
            "person": person,
            "treated": rows["treated"].to_numpy(dtype=np.int64),
            "tier": tier,
            "status": rows["status"].astype(object),
            "landmark": rows["landmark"].to_numpy(dtype=np.int64),
            "date_zero": firsts[month - first],
            "zero_period": month // MONTHS_PER_PERIOD[study.frequency],
            "application_quarter": rows["applied"].to_numpy(dtype=np.int64) // 3,
        }
    )
    known = {name: _number(rows[name]) for name in rows if name in LEARNER and name not in ("sex", "education")}
    if "birth_year" in known:
        units["age"] = year - known.pop("birth_year")
    if "sex" in rows:
        units["female"] = (rows["sex"] == "F").to_numpy(dtype=np.int64)
    if "education" in rows:
        level = rows["education"].map({name: rank for rank, name in enumerate(EDUCATION)})
        units["education"] = _number(level)
        units["no_degree"] = np.where(np.isnan(units["education"]), np.nan, units["education"] < 2)
    if "education_years" in known:  # twelve years are a completed upper secondary school
        years = known["education_years"]
        units["no_degree"] = np.where(np.isnan(years), units.get("no_degree", np.nan), years < 12)
    for name in ("education_years", "partnered", "unemp_months", "household_size", "children_u14"):
        if name in known:
            units[name] = known[name]
    for name in (*SENSITIVE, "test_score"):
        if name in rows:
            units[name] = _number(rows[name])
    return units.loc[:, units.notna().any(axis=0)]


def _number(column: pd.Series) -> np.ndarray:
    return pd.to_numeric(column, errors="coerce").to_numpy(dtype=float, na_value=np.nan)


def complete(study: Study, units: pd.DataFrame, flow: Flow) -> np.ndarray:
    """(n,) bool: records with everything the study's design asks for; counts the others in the flow."""
    plan = study.design
    asked = [*plan.covariates, *plan.exact, *([plan.placebo] if plan.placebo else [])]
    if absent := sorted(set(asked) - set(units)):
        raise DesignError(
            "the covariates of [design] in the data", f"{', '.join(absent)} without a single value",
            "remove them from study.toml, or add the columns to the tables", count=len(absent), keys=absent,
        )  # fmt: skip
    is_history = [name for name in asked if "_lag_" in name or name.startswith("history_")]
    why = np.full(len(units), "", dtype=object)
    for name in dict.fromkeys([*is_history, *asked]):
        missing = units[name].isna().to_numpy() & (why == "")
        why[missing] = NO_HISTORY if name in is_history else f"{name} unknown"
    treated = units["treated"].to_numpy() == 1
    order = [NO_HISTORY, *sorted(set(why) - {"", NO_HISTORY})]
    flow.count("treated", why[treated], order)
    flow.count("comparison", why[~treated], order)
    return why == ""
