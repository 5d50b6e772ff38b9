"""Who started in the cohort year, by tier and priority public (description, no effect)."""

from __future__ import annotations

import pandas as pd

from ..study import Study

_STARTERS = """
SELECT e.person_id, e.tier, MIN(e.start) AS start, BOOL_OR(p.track = 'tech') AS in_tech
FROM enrolments AS e JOIN programmes AS p ON p.programme_id = e.programme_id
WHERE EXTRACT(year FROM e.start) = :cohort_year
GROUP BY e.person_id, e.tier
"""

# group -> (condition over learners l and starters s, whether the fact is sensitive)
_GROUPS = {
    "everyone": "TRUE",
    "women in tech": "l.sex = 'F' AND s.in_tech",
    "job seekers at entry": "l.status_at_entry = 'jobseeker'",
    "low or no qualification": "l.education IN ('none', 'cap_bep')",
}
_SENSITIVE = {"disability": "people with a disability", "refugee": "refugees", "qpv": "residents of priority districts"}


def reach(study: Study) -> pd.DataFrame:
    """People who started in the cohort year.

    Parameters
    ----------
    study : an opened `Study`.

    Returns
    -------
    One row a tier and group: tier, group, n (persons), of (persons whose answer is known; groups nobody answered
    for are left out), share (n / of), sensitive (bool: stricter small-cell rule). Undeclared is never counted as "no".
    """
    year = study.year - study.clock.cohort_lag_years
    counts = ", ".join(f"COUNT(*) FILTER (WHERE {condition}) AS n{k}" for k, condition in enumerate(_GROUPS.values()))
    wide = study.sql(
        f"WITH s AS ({_STARTERS}) SELECT s.tier, COUNT(*) AS total, {counts} "
        "FROM s JOIN learners AS l ON l.person_id = s.person_id GROUP BY s.tier ORDER BY s.tier",
        cohort_year=year,
    )
    rows = [
        {"tier": row["tier"], "group": group, "n": int(row[f"n{k}"]), "of": int(row["total"]), "sensitive": False}
        for _, row in wide.iterrows()
        for k, group in enumerate(_GROUPS)
    ]
    if study.has("learners_sensitive"):
        rows += _sensitive(study, year)
    table = pd.DataFrame(rows, columns=["tier", "group", "n", "of", "sensitive"])
    table = table[table["of"] > 0].sort_values(["tier", "sensitive"], kind="stable", ignore_index=True)
    return table.assign(share=table["n"] / table["of"])


def _sensitive(study: Study, year: int) -> list[dict]:
    present = [name for name in _SENSITIVE if name in study.columns("learners_sensitive")]
    if not present:
        return []
    counts = ", ".join(
        f"COUNT(*) FILTER (WHERE x.{name} = 'yes') AS yes_{name}, "
        f"COUNT(*) FILTER (WHERE x.{name} IN ('yes', 'no')) AS known_{name}"
        for name in present
    )
    wide = study.sql(
        f"WITH s AS ({_STARTERS}) SELECT s.tier, {counts} "
        "FROM s JOIN learners_sensitive AS x ON x.person_id = s.person_id GROUP BY s.tier ORDER BY s.tier",
        cohort_year=year,
    )
    return [
        {"tier": row["tier"], "group": _SENSITIVE[name], "n": int(row[f"yes_{name}"]), "of": int(row[f"known_{name}"]),
         "sensitive": True}
        for _, row in wide.iterrows()
        for name in present
    ]  # fmt: skip
