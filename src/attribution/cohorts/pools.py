"""External comparison pools: the starters of a tier against units outside the programme (SQL)."""

from __future__ import annotations

import pandas as pd

from ..errors import DesignError
from ..outcomes.career import month_of
from ..study import Study
from .flow import NO_CONSENT, Flow
from .history import People

_STARTERS = """
SELECT e.person_id, MIN({start}) AS month FROM enrolments AS e WHERE e.tier = :tier GROUP BY e.person_id
HAVING MIN({start}) BETWEEN :first_month AND :last_month"""


def members(study: Study, tier: str, pools: tuple[str, ...]) -> tuple[str, dict[str, object]]:
    """SQL of everyone in the comparison: person_id, month (of date zero), treated, status; and its parameters."""
    year = study.year - study.clock.cohort_lag_years
    starters = _STARTERS.format(start=month_of("e.start"))
    query = (
        f"SELECT s.person_id, s.month, 1 AS treated, 'started' AS status FROM ({starters}) AS s UNION ALL "
        f"SELECT u.unit_id, {month_of('u.index_date')}, 0, u.pool FROM comparison_units AS u WHERE u.pool IN (:pools) "
        f"AND {month_of('u.index_date')} BETWEEN :first_month AND :last_month"
    )
    return query, {"tier": tier, "pools": list(pools), "first_month": year * 12, "last_month": year * 12 + 11}


def read_members(
    study: Study, tier: str, pools: tuple[str, ...], covariates: list[str], extra: str, join: str, no_consent: str
) -> pd.DataFrame:
    """Treated and pool units with their covariates, one row each, ordered by treatment, then id.

    covariates : names of learners; one that comparison_units lacks is missing there.
    extra, join : SQL of further columns and of the tables they come from (keyed by l.person_id).
    no_consent : SQL condition on learners l who may not be used; `why` is "" for all others.
    """
    if not study.has("comparison_units"):
        raise DesignError(
            "units to compare the starters with", study.why_absent("comparison_units"),
            'add the table, or set the design of the tier to "landmark"', table="comparison_units",
        )  # fmt: skip
    query, params = members(study, tier, pools)
    outside = set(study.columns("comparison_units"))
    one, shown = ", ".join(covariates), ", ".join(f"l.{name} AS {name}" for name in covariates)
    two = ", ".join(f"{name if name in outside else 'NULL'} AS {name}" for name in covariates)
    frame = study.sql(
        f"WITH members AS ({query}), facts AS ("
        f"SELECT person_id, CASE WHEN {no_consent} THEN '{NO_CONSENT}' ELSE '' END AS why, {one} FROM learners AS l "
        f"UNION ALL SELECT unit_id, '', {two} FROM comparison_units) "
        "SELECT ROW_NUMBER() OVER (ORDER BY m.treated DESC, m.person_id) - 1 AS k, m.person_id, 0 AS landmark, "
        f"m.month, m.month AS applied, m.treated, m.status, l.why, {shown}{extra} "
        f"FROM members AS m JOIN facts AS l ON l.person_id = m.person_id{join} ORDER BY m.treated DESC, m.person_id",
        **params,
    )
    found = set(frame["status"])
    if absent := [pool for pool in pools if pool not in found]:
        raise DesignError(
            f"units of each pool asked for, dated {study.year - study.clock.cohort_lag_years}",
            f"none of {', '.join(absent)}",
            "name pools that comparison_units holds for the cohort year", table="comparison_units", column="pool",
        )  # fmt: skip
    return frame


def open_flow(study: Study, candidates: pd.DataFrame) -> Flow:
    """The flow of an external comparison starts with everyone in it."""
    year, flow = study.year - study.clock.cohort_lag_years, Flow()
    for arm, value, what in (("treated", 1, "first starts in the tier"), ("comparison", 0, "units of the pools")):
        n = int((candidates["treated"] == value).sum())
        flow.open(arm, n, f"{what} in {year}", n)
        flow.count(arm, candidates["why"].to_numpy()[candidates["treated"].to_numpy() == value], (NO_CONSENT,))
    return flow


def people(study: Study, tier: str, pools: tuple[str, ...], n: int) -> People:
    """Numbers the members as `read_members` does."""
    query, params = members(study, tier, pools)
    numbered = f"SELECT person_id, ROW_NUMBER() OVER (ORDER BY treated DESC, person_id) - 1 AS k FROM ({query}) AS m"
    return People(numbered, params, n)
