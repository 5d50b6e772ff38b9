"""What a career outcome is, and how many there were: claimed and observed side by side, persons counted once."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

import pandas as pd

from ..errors import DesignError
from ..inference import wilson
from ..results import Result
from ..study import Study

Clock = Literal["application", "start", "assignment", "from_exit", "calendar_year"]

EFFECT_CLOCKS = ("application", "start", "assignment")
DESCRIBED_CLOCKS = ("from_exit", "calendar_year")

# Labour status at entry: people without work may find a job, people in work may change jobs or move up.
JOBLESS = ("jobseeker", "inactive", "student")
EMPLOYED = ("employed", "self_employed")

# Event type -> kind. A pay rise alone is none of them: indexation raises everybody's pay, a promotion changes the work.
KINDS = {
    "new_job": "found a job", "job_change": "changed jobs", "promotion": "moved up", "business": "started a business",
}  # fmt: skip
_KIND_COLUMNS = {"found_job": "new_job", "changed_job": "job_change", "moved_up": "promotion", "business": "business"}
MONTHS_PER_PERIOD = {"quarter": 3, "year": 12}

# What ends joblessness.
PLACEMENT = ("new_job", "business")

# The tier somebody applies to is that of the programme.
TIER_OF_PROGRAMME = (
    "CASE WHEN p.level = 'free_course' THEN 'free' WHEN p.is_apprenticeship THEN 'apprenticeship' ELSE 'paid' END"
)

# Somebody who began several tiers in one year is counted in the first of these.
_TIERS = ("apprenticeship", "paid", "subscription", "free")


SUPERSEDED = "superseded by a later record"
DUPLICATE = "duplicate of the same person, type and month"
NOT_MATURED = "not matured: the horizon ends after the data"
BEFORE = "on or before date zero"
AFTER = "after the horizon"
EMBEDDED = "embedded in a programme (apprenticeship contract)"
WRONG_STATUS = "not possible from the labour status at date zero"
UNKNOWN_STATUS = "labour status at date zero unknown"
NO_KIND = {"internship": "internship: not counted", "pay_rise": "pay rise: not one of the four kinds"}


def require_effect_clock(clock: str) -> None:
    """Refuse an effect on a clock that only describes.

    Raises
    ------
    DesignError : `clock` is from_exit or calendar_year (or unknown).
    """
    if clock in EFFECT_CLOCKS:
        return
    why = {
        "from_exit": "exit comes after treatment and those who never started have none",
        "calendar_year": "a calendar year mixes people long before and long after their start, and has no comparison",
    }.get(clock, "no such clock")
    raise DesignError(
        f"an effect counted from date zero ({', '.join(EFFECT_CLOCKS)})", f"clock {clock!r}: {why}",
        "ask for the effect from the start or the application; this clock may describe only",
    )  # fmt: skip


def month_of(day: str) -> str:
    """SQL of the month index (year * 12 + month - 1) of a date expression."""
    return f"(EXTRACT(YEAR FROM CAST({day} AS DATE)) * 12 + EXTRACT(MONTH FROM CAST({day} AS DATE)) - 1)"


def quoted(names: tuple[str, ...]) -> str:
    """SQL list of text constants of this package."""
    return ", ".join("'" + name.replace("'", "''") + "'" for name in names)


def current_events(study: Study, types: tuple[str, ...]) -> str:
    """SQL of the events of these types that are neither superseded nor embedded in a programme."""
    if not study.has("outcome_events"):
        return "SELECT person_id, CAST(NULL AS DATE) AS occurred_on, '' AS self_credited FROM learners WHERE FALSE"
    base = (
        "SELECT o.person_id, o.occurred_on, o.self_credited FROM outcome_events AS o{join} "
        f"WHERE o.type IN ({quoted(types)}) AND NOT COALESCE(o.programme_embedded, FALSE)"
    )
    if "supersedes" not in study.columns("outcome_events"):
        return base.format(join="")
    join = " LEFT JOIN (SELECT DISTINCT supersedes FROM outcome_events) AS r ON r.supersedes = o.event_id"
    return base.format(join=join) + " AND r.supersedes IS NULL"


def period_of(study: Study, period: str) -> str:
    """SQL of the integer index of a period text: year * 4 + quarter - 1, or the year."""
    if study.frequency == "year":
        return f"CAST({period} AS INTEGER)"
    return f"(CAST(SUBSTRING({period}, 1, 4) AS INTEGER) * 4 + CAST(SUBSTRING({period}, 6, 1) AS INTEGER) - 1)"


def end_of_data(study: Study, year: int) -> int:
    """Month index just after the last whole month that the findings of `year` may know of.

    Declared (data_until in study.toml), never read off the outcomes, so that no design depends on them.
    """
    until = date.fromisoformat(study.data_until) + timedelta(days=1)
    return min((year + 1) * 12, until.year * 12 + until.month - 1)


@dataclass(frozen=True, kw_only=True, repr=False)
class CareerOutcomes(Result):
    """Career outcomes of the people of one cohort, on one clock and horizon. Describes; nothing here is an effect.

    Persons are counted once: in the most intensive tier they first began in the cohort year (apprenticeship, paid,
    subscription, free), with date zero the first start (application, exit) in that tier. Labour status is that at date
    zero. An event counts when it is the last record of its `supersedes` chain, the only one of its person, type and
    month, inside (date zero, date zero + horizon], not embedded in a programme, and possible from the labour status:
    found a job from joblessness; changed jobs and moved up from employment; started a business from either, not from
    self-employment. Internships and pay rises are not counted. Observed is any cause; claimed is credited to the
    school.

    clock, horizon_months, year (of the findings), cohort_year : what was asked.
    """

    study: Study
    clock: str
    horizon_months: int
    year: int
    cohort_year: int

    @functools.cached_property
    def persons(self) -> pd.DataFrame:
        """One row a person: person_id, tier, labour_status, date_zero, matured, ever, found_job, changed_job,
        moved_up, business, claimed, partly, embedded (0/1), and employed_h where an income panel exists; what is
        counted by the horizon is missing for people whose horizon has not passed."""
        frame = self._ask(f"SELECT * FROM ({self._persons_sql()}) AS p ORDER BY person_id")
        late = frame["matured"] == 0
        for name in list(frame)[5:]:
            frame[name] = frame[name].astype("Int64").mask(late)
        return frame.assign(date_zero=pd.to_datetime(frame["date_zero"]).dt.strftime("%Y-%m-%d"))

    @functools.cached_property
    def events(self) -> pd.DataFrame:
        """One row a counted event: event_id, person_id, tier, kind, type, occurred_on, credited (yes, partly, no,
        not_asked)."""
        kind = " ".join(f"WHEN '{name}' THEN '{text}'" for name, text in KINDS.items())
        frame = self._ask(
            f"SELECT event_id, person_id, tier, CASE type {kind} END AS kind, type, occurred_on, "
            "CASE credit WHEN 3 THEN 'yes' WHEN 2 THEN 'partly' WHEN 1 THEN 'no' ELSE 'not_asked' END AS credited "
            "FROM fates WHERE fate = '' ORDER BY person_id, occurred_on, event_id"
        )
        return frame.assign(occurred_on=pd.to_datetime(frame["occurred_on"]).dt.strftime("%Y-%m-%d"))

    @functools.cached_property
    def dropped(self) -> pd.DataFrame:
        """Events of the cohort's people that do not count, by reason: tier, reason, n; the row "counted" completes
        them, so that they add up to every event on record for these people."""
        return self._ask(
            "SELECT tier, CASE WHEN fate = '' THEN 'counted' ELSE fate END AS reason, COUNT(*) AS n FROM fates "
            "GROUP BY 1, 2 ORDER BY 1, 2"
        )

    def table(self, level: float = 0.95) -> pd.DataFrame:
        """Counts by tier, summed in the engine.

        Returns
        -------
        tier, persons, matured (persons whose horizon has passed; what follows speaks of them), observed,
        observed_share with observed_low and observed_high (Wilson 1927), claimed likewise, partly (credit in part, and
        no full credit), embedded, one column a kind (persons; somebody may have several), employed_h and employed_of
        (in work at the horizon, of those whose state is known).
        """
        sums = {"ever": "observed"} | {name: name for name in ("claimed", "partly", "embedded", *_KIND_COLUMNS)}
        if self._has_panel:
            sums |= {"employed_h": "employed_h", "CASE WHEN employed_h IS NULL THEN 0 ELSE 1 END": "employed_of"}
        totals = ", ".join(
            f"COALESCE(SUM(CASE WHEN matured = 1 THEN {what} END), 0) AS {name}" for what, name in sums.items()
        )
        table = self._ask(
            f"SELECT tier, COUNT(*) AS persons, SUM(matured) AS matured, {totals} FROM ({self._persons_sql()}) AS p "
            "GROUP BY tier ORDER BY tier"
        )
        table = table.astype({name: "int64" for name in table if name != "tier"})
        columns: dict[str, object] = {}
        for name in table:
            columns[str(name)] = table[name]
            if name in ("observed", "claimed"):
                bounds = [wilson(k, n, level) for k, n in zip(table[name], table["matured"], strict=True)]
                columns[f"{name}_share"] = table[name] / table["matured"].where(table["matured"] > 0)
                columns[f"{name}_low"] = [low for low, _ in bounds]
                columns[f"{name}_high"] = [high for _, high in bounds]
        return pd.DataFrame(columns)

    def tidy(self) -> pd.DataFrame:
        return self.table()

    def summary(self) -> str:
        head = f"career outcomes of {self.cohort_year}, clock {self.clock}, horizon {self.horizon_months} months"
        return "\n".join([head, self.table().to_string(index=False, float_format="%.3f")])

    @property
    def _has_panel(self) -> bool:
        return self.clock != "calendar_year" and self.study.has("income_panel")

    def _ask(self, select: str) -> pd.DataFrame:
        return self.study.sql(f"WITH {_cohort_sql(self)}, {_fates_sql(self)} {select}")

    def _persons_sql(self) -> str:
        flags = ", ".join(
            f"COALESCE(MAX(CASE WHEN f.fate = '' AND f.type = '{kind}' THEN 1 END), 0) AS {name}"
            for name, kind in _KIND_COLUMNS.items()
        )
        employed, join = "", ""
        if self._has_panel:
            per = MONTHS_PER_PERIOD[self.study.frequency]
            employed = ", MAX(i.employed) AS employed_h"
            join = (
                " LEFT JOIN income_panel AS i ON i.person_id = c.person_id AND "
                f"{period_of(self.study, 'i.period')} = ({month_of('c.date_zero')} + {self.horizon_months}) // {per}"
            )
        return (
            "SELECT c.person_id, c.tier, c.labour_status, c.date_zero, c.matured, "
            "COALESCE(MAX(CASE WHEN f.fate = '' THEN 1 END), 0) AS ever, "
            f"{flags}, COALESCE(MAX(CASE WHEN f.fate = '' AND f.credit = 3 THEN 1 END), 0) AS claimed, "
            "CASE WHEN COALESCE(MAX(CASE WHEN f.fate = '' THEN f.credit END), 0) = 2 THEN 1 ELSE 0 END AS partly, "
            f"COALESCE(MAX(CASE WHEN f.fate = '{EMBEDDED}' THEN 1 END), 0) AS embedded{employed} "
            f"FROM cohort AS c LEFT JOIN fates AS f ON f.person_id = c.person_id{join} "
            "GROUP BY c.person_id, c.tier, c.labour_status, c.date_zero, c.matured"
        )


def career_outcomes(
    study: Study, *, clock: Clock = "start", horizon_months: int | None = None, year: int | None = None
) -> CareerOutcomes:
    """Career outcomes of a cohort, claimed and observed, by tier (counts; no effect).

    Parameters
    ----------
    clock : "start", "assignment" (the recorded start) and "application" (of those who started) count from a date zero
        in the cohort year (year - cohort_lag_years); "from_exit" from the end of the programme; "calendar_year" counts
        the events of `year` itself after a first start, whatever the horizon. The last two only ever describe.
    horizon_months : window after date zero; None is the study's. year : of the findings; None is the study's.

    Raises
    ------
    DesignError : unknown clock, or a study without outcome_events.
    """
    if clock not in EFFECT_CLOCKS + DESCRIBED_CLOCKS:
        raise DesignError(
            f"a clock ({', '.join(EFFECT_CLOCKS + DESCRIBED_CLOCKS)})", repr(clock), "choose one of these"
        )
    if not study.has("outcome_events"):
        raise DesignError(
            "the table outcome_events", study.why_absent("outcome_events"),
            "add the table; employment at the horizon can still be read from the income panel", table="outcome_events",
        )  # fmt: skip
    year = int(study.year if year is None else year)
    lag = 0 if clock == "calendar_year" else study.clock.cohort_lag_years
    horizon = int(study.clock.horizon_months if horizon_months is None else horizon_months)
    return CareerOutcomes(study=study, clock=clock, horizon_months=horizon, year=year, cohort_year=year - lag)


def _cohort_sql(ask: CareerOutcomes) -> str:
    """CTEs up to `cohort`: person_id, tier, date_zero, opens, closes (dates), matured, labour_status."""
    study, year = ask.study, ask.cohort_year
    start = "CAST(e.start AS DATE)"
    source, tier, zero = "enrolments AS e", "e.tier", start
    if ask.clock == "from_exit":
        zero = 'COALESCE(CAST(e.graduated_on AS DATE), CAST(e."end" AS DATE))'
    elif ask.clock == "application":
        source = (
            "enrolments AS e JOIN applications AS a ON a.person_id = e.person_id JOIN programmes AS p ON "
            f"p.programme_id = a.programme_id AND {TIER_OF_PROGRAMME} = e.tier"
        )
        zero = "CAST(a.applied_on AS DATE)"
    rank = " ".join(f"WHEN '{name}' THEN {k}" for k, name in enumerate(_TIERS))
    if ask.clock == "calendar_year":
        within = f"date_zero < CAST('{year + 1}-01-01' AS DATE)"
        opens = f"GREATEST(r.date_zero, CAST('{year - 1}-12-31' AS DATE))"
        closes, matured = f"CAST('{year}-12-31' AS DATE)", "1"
    else:
        within = f"EXTRACT(YEAR FROM date_zero) = {year}"
        opens, closes = "r.date_zero", f"CAST(r.date_zero + INTERVAL '{ask.horizon_months}' MONTH AS DATE)"
        end = end_of_data(study, ask.year)
        matured = f"CASE WHEN {closes} < CAST('{end // 12:04d}-{end % 12 + 1:02d}-01' AS DATE) THEN 1 ELSE 0 END"
    applied = "SELECT r.person_id, CAST(NULL AS DATE) AS applied_on FROM ranked AS r WHERE FALSE"
    if study.has("applications"):
        applied = (
            "SELECT r.person_id, MAX(CAST(a.applied_on AS DATE)) AS applied_on FROM ranked AS r JOIN applications AS a "
            "ON a.person_id = r.person_id WHERE CAST(a.applied_on AS DATE) <= r.date_zero GROUP BY r.person_id"
        )
    return f"""
first_dates AS (SELECT e.person_id, {tier} AS tier, MIN({zero}) AS date_zero FROM {source} GROUP BY 1, 2),
numbered AS (
    SELECT person_id, tier, date_zero, ROW_NUMBER() OVER (
        PARTITION BY person_id ORDER BY CASE tier {rank} ELSE 9 END, date_zero) AS turn
    FROM first_dates WHERE {within}
),
ranked AS (SELECT person_id, tier, date_zero FROM numbered WHERE turn = 1),
applied AS ({applied}),
hired AS (
    SELECT r.person_id FROM ranked AS r JOIN learners AS l ON l.person_id = r.person_id
    LEFT JOIN applied AS a ON a.person_id = r.person_id
    JOIN ({current_events(study, PLACEMENT)}) AS v ON v.person_id = r.person_id
    WHERE CAST(v.occurred_on AS DATE) <= r.date_zero
        AND CAST(v.occurred_on AS DATE) >= COALESCE(a.applied_on, CAST(l.first_seen AS DATE))
    GROUP BY r.person_id
),
cohort AS (
    SELECT r.person_id, r.tier, r.date_zero, {opens} AS opens, {closes} AS closes, {matured} AS matured,
        CASE WHEN l.status_at_entry = 'self_employed' THEN 'self_employed'
            WHEN l.status_at_entry = 'employed' OR h.person_id IS NOT NULL THEN 'employed'
            WHEN l.status_at_entry IN ({quoted(JOBLESS)}) THEN 'jobless' ELSE 'unknown' END AS labour_status
    FROM ranked AS r JOIN learners AS l ON l.person_id = r.person_id LEFT JOIN hired AS h ON h.person_id = r.person_id
)"""


def _fates_sql(ask: CareerOutcomes) -> str:
    """CTE `fates`: every event of the cohort's people with why it does not count ("" if it does) and its credit."""
    chained = "supersedes" in ask.study.columns("outcome_events")
    later = " LEFT JOIN (SELECT DISTINCT supersedes FROM outcome_events) AS s ON s.supersedes = o.event_id"
    join = later if chained else ""
    replaced = "CASE WHEN s.supersedes IS NULL THEN 0 ELSE 1 END" if chained else "0"
    same = f"o.person_id, o.type, {month_of('o.occurred_on')}, {replaced}, COALESCE(o.programme_embedded, FALSE)"
    not_kinds = " ".join(f"WHEN type = '{name}' THEN '{text}'" for name, text in NO_KIND.items())
    return f"""
records AS (
    SELECT o.event_id, o.person_id, o.type, CAST(o.occurred_on AS DATE) AS occurred_on, c.tier, c.opens, c.closes,
        c.matured, c.labour_status, {replaced} AS replaced,
        CASE WHEN COALESCE(o.programme_embedded, FALSE) OR o.type = 'apprenticeship' THEN 1 ELSE 0 END AS embedded,
        ROW_NUMBER() OVER (PARTITION BY {same} ORDER BY o.occurred_on, o.event_id) AS turn,
        MAX(CASE o.self_credited WHEN 'yes' THEN 3 WHEN 'partly' THEN 2 WHEN 'no' THEN 1 ELSE 0 END)
            OVER (PARTITION BY {same}) AS credit
    FROM outcome_events AS o JOIN cohort AS c ON c.person_id = o.person_id{join}
),
fates AS (
    SELECT event_id, person_id, type, occurred_on, tier, credit,
        CASE WHEN replaced = 1 THEN '{SUPERSEDED}' WHEN turn > 1 THEN '{DUPLICATE}' {not_kinds}
            WHEN matured = 0 THEN '{NOT_MATURED}' WHEN occurred_on <= opens THEN '{BEFORE}'
            WHEN occurred_on > closes THEN '{AFTER}' WHEN embedded = 1 THEN '{EMBEDDED}'
            WHEN labour_status = 'unknown' THEN '{UNKNOWN_STATUS}'
            WHEN type = 'new_job' AND labour_status <> 'jobless' THEN '{WRONG_STATUS}'
            WHEN type IN ('job_change', 'promotion') AND labour_status = 'jobless' THEN '{WRONG_STATUS}'
            WHEN type = 'business' AND labour_status = 'self_employed' THEN '{WRONG_STATUS}' ELSE '' END AS fate
    FROM records
)"""
