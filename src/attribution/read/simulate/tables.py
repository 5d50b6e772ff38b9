"""The simulated lives as the core tables of the central database."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from .lives import (
    EDUCATION,
    FIRST_MONTH,
    FIRST_QUARTER,
    LAST_MONTH,
    LAST_QUARTER,
    NEVER,
    Applicants,
    Lives,
    equivalence_units,
    quarters,
)  # fmt: skip
from .parameters import Parameters

DATA_UNTIL = np.datetime64("2025-12-31")
LAST_OBSERVED_MONTH = 2025 * 12 + 11
REGIONS = np.array([
    "FR-IDF", "FR-ARA", "FR-NAQ", "FR-OCC", "FR-HDF", "FR-PAC", "FR-GES", "FR-PDL", "FR-BRE", "FR-NOR", "FR-BFC",
    "FR-CVL", "FR-COR",
])  # fmt: skip
REGION_SHARES = np.array([19, 12, 9, 9, 9, 8, 8, 6, 5, 5, 4, 4, 2]) / 100
STATUSES = ("jobseeker", "employed", "student", "inactive", "self_employed", "unknown")  # of free learners, at entry
SCHOOL_EMPLOYER = "E00001"
_PROGRAMMES = [
    # id, name, track, level, months, list price in euros, apprenticeship
    ("P01", "Discover programming", "tech", "free_course", 1, 0, False),
    ("P02", "First steps with data", "data", "free_course", 1, 0, False),
    ("P03", "Find your first job", "business", "free_course", 1, 0, False),
    ("P04", "Web design basics", "design", "free_course", 1, 0, False),
    ("P11", "Web developer", "tech", "bac2", 8, 5_600, False),
    ("P12", "Data analyst", "data", "bac3", 9, 6_300, False),
    ("P13", "Interface designer", "design", "bac3", 8, 5_600, False),
    ("P14", "Digital project manager", "business", "bac3", 9, 6_300, False),
    ("P21", "IT support technician, apprenticeship", "tech", "bac2", 12, 8_000, True),
    ("P22", "Software developer, apprenticeship", "tech", "bac3", 12, 8_500, True),
    ("P23", "Sales and marketing assistant, apprenticeship", "business", "bac2", 12, 7_500, True),
]
FREE, PAID, APPRENTICE = (np.array([p[0] for p in _PROGRAMMES if p[0].startswith(k)]) for k in ("P0", "P1", "P2"))


@dataclass(frozen=True, kw_only=True)
class People:
    """Identity of everybody, applicants first, then free learners; one entry per person."""

    person_id: np.ndarray
    region: np.ndarray
    birth_year: np.ndarray
    sex: np.ndarray
    education: np.ndarray
    first_seen: np.ndarray
    free_start: np.ndarray  # NaT for applicants
    status: np.ndarray
    programme: np.ndarray


def ids(prefix: str, numbers: np.ndarray, width: int = 7) -> np.ndarray:
    return np.array([f"{prefix}{number:0{width}d}" for number in numbers.tolist()], dtype=object)


def day(month: np.ndarray, day_of_month: np.ndarray) -> np.ndarray:
    """Date of a calendar month (year * 12 + month - 1) and a day 1..28."""
    first = (np.asarray(month) - 1970 * 12).astype("datetime64[M]").astype("datetime64[D]")
    return first + (np.asarray(day_of_month) - 1).astype("timedelta64[D]")


def blank(values: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Text with nothing where told."""
    out = values.astype(object)
    out[where] = None
    return out


def job_day(row: np.ndarray, month: np.ndarray) -> np.ndarray:
    """Day 15..28 on which a person's event of a month happens; the decision "found a job" carries the same date."""
    return 15 + (row * 7 + month * 5) % 14


def dates(values: np.ndarray) -> np.ndarray:
    return values.astype("datetime64[s]")


def describe(rng: np.random.Generator, a: Applicants, free: int, extra: dict) -> People:
    """Name everybody and draw what only free learners lack."""
    n = len(a.month)
    month = rng.integers(2021 * 12, LAST_OBSERVED_MONTH + 1, free)
    free_start = day(month, rng.integers(1, 29, free))
    age = np.clip(17 + rng.gamma(2.0, 6.5, free), 16, 65).astype(np.int64)
    education = np.concatenate([a.education, rng.choice(6, free, p=(0.06, 0.12, 0.25, 0.18, 0.22, 0.17))])
    status = np.concatenate([
        np.where(a.jobless, "jobseeker", "employed").astype(object),
        rng.choice(np.array(STATUSES, dtype=object), free, p=(0.24, 0.38, 0.22, 0.05, 0.06, 0.05)),
    ])  # fmt: skip
    sex = np.concatenate(
        [
            np.where(a.female, "F", "M").astype(object),
            rng.choice(np.array(["F", "M", "X", "unknown"], dtype=object), free, p=(0.44, 0.47, 0.01, 0.08)),
        ]
    )
    seen = extra["applied_on"] - rng.integers(0, 60, n).astype("timedelta64[D]")
    paid, apprentice = PAID[rng.integers(0, len(PAID), n)], APPRENTICE[rng.integers(0, len(APPRENTICE), n)]
    programme = np.concatenate([np.where(a.apprentice, apprentice, paid), FREE[rng.integers(0, len(FREE), free)]])
    return People(
        person_id=ids("L", rng.permutation(n + free) + 1),
        region=rng.choice(REGIONS, n + free, p=REGION_SHARES).astype(object),
        birth_year=np.concatenate([a.month // 12 - a.age, month // 12 - age]),
        sex=sex, education=np.array(EDUCATION, dtype=object)[education],
        first_seen=np.concatenate([seen, free_start]),
        free_start=np.concatenate([np.full(n, np.datetime64("NaT"), dtype="datetime64[D]"), free_start]),
        status=status,
        programme=programme.astype(object),
    )  # fmt: skip


def programmes() -> pd.DataFrame:
    rows = [
        dict(programme_id=key, name=name, track=track, level=level, months=months, list_price_cents=100 * price,
             currency="EUR", country="FR", is_apprenticeship=apprentice,
             rncp_code=None if price == 0 else f"RNCP3{key[1:]}00",
             valid_from=np.datetime64("2020-01-01", "s"), valid_to=np.datetime64("NaT", "s"))
        for key, name, track, level, months, price, apprentice in _PROGRAMMES
    ]  # fmt: skip
    return pd.DataFrame(rows)


def learners(rng: np.random.Generator, who: People, a: Applicants) -> pd.DataFrame:
    n, total = len(a.month), len(who.person_id)
    free = total - n
    unknown = np.full(free, np.nan)
    return pd.DataFrame({
        "person_id": who.person_id,
        "first_seen": dates(who.first_seen),
        "birth_year": pd.array(who.birth_year, dtype="Int64"),
        "sex": who.sex,
        "country": np.full(total, "FR", dtype=object),
        "region_code": who.region,
        "education": who.education,
        "status_at_entry": who.status,
        "unemp_months": _integer(np.concatenate([np.where(a.jobless, a.unemp_months, np.nan), unknown])),
        "household_size": _integer(np.concatenate([1 + a.partnered + a.other_adults + a.children_u14, unknown])),
        "children_u14": _integer(np.concatenate([a.children_u14, unknown])),
        "partnered": _integer(np.concatenate([a.partnered, unknown])),
        "consent_research": rng.random(total) < 0.97,
        "consent_link": rng.random(total) < 0.95,
        "erased_on": np.full(total, np.datetime64("NaT", "s")),
    })  # fmt: skip


def _integer(values: np.ndarray) -> pd.arrays.IntegerArray:
    missing = np.isnan(values)
    return pd.arrays.IntegerArray(np.where(missing, 0, values).astype(np.int64), missing)


def applications(who: People, a: Applicants, lives: Lives, when: dict) -> pd.DataFrame:
    n = len(a.month)
    stage = pd.Series(lives.reason).map(
        {"": "started", "rejected": "rejected", "no_funding": "admitted", "withdrew": "withdrew",
         "elsewhere": "withdrew", "found_job": "no_show"}
    ).to_numpy(dtype=object)  # fmt: skip
    reason = blank(lives.reason, lives.reason == "")
    return pd.DataFrame({
        "application_id": ids("A", np.arange(1, n + 1)),
        "person_id": who.person_id[:n],
        "programme_id": who.programme[:n],
        "applied_on": dates(when["applied_on"]),
        "stage": stage,
        "test_score": a.test_score.astype(float),
        "randomised": np.zeros(n, dtype=np.int64),
        "reason_not_started": reason,
        "decided_on": dates(when["decided_on"]),
        "consent_followup": np.ones(n, dtype=bool),
    })  # fmt: skip


def enrolments(
    rng: np.random.Generator, who: People, a: Applicants, lives: Lives, p: Parameters, when: dict
) -> pd.DataFrame:
    rows = np.flatnonzero(lives.start < NEVER)
    free_rows = np.flatnonzero(~np.isnat(who.free_start))
    start, apprentice = when["started_on"][rows], a.apprentice[rows]
    months = np.where(apprentice, 12, 8)
    year = start.astype("datetime64[Y]").astype(int) + 1970
    share = np.where(year < 2023, p.graduation_before_2023, p.graduation_since_2023)
    draw = rng.random(len(rows))
    rest = (draw - share) / (1 - share)  # uniform among those who do not graduate in expected time
    status = np.select([draw < share, rest < 0.66, rest < 0.92], ["graduated", "dropped", "transferred"], "refunded")
    length = np.where(
        status == "graduated", 30 * months, (30 * months * (0.2 + 0.8 * rng.random(len(rows)))).astype(int)
    )
    end = start + length.astype("timedelta64[D]")
    running = end > DATA_UNTIL
    status = np.where(running, "active", status).astype(object)
    end = np.where(running, np.datetime64("NaT"), end)
    funders = np.array(["france_travail", "region", "cpf", "self", "employer", "scholarship"], dtype=object)
    funder = np.where(apprentice, "opco", rng.choice(funders, len(rows), p=(0.38, 0.14, 0.27, 0.12, 0.05, 0.04)))
    jobless = a.jobless[rows]
    intent = np.where(
        jobless, "new_job", rng.choice(np.array(["change", "promotion", "business"], dtype=object), len(rows))
    )
    k = len(free_rows)
    free_start = who.free_start[free_rows]
    free_end = free_start + rng.integers(7, 90, k).astype("timedelta64[D]")
    over = free_end <= DATA_UNTIL
    free_status = np.where(over, np.where(rng.random(k) < 0.2, "graduated", "dropped"), "active").astype(object)
    free_end = np.where(over, free_end, np.datetime64("NaT"))
    frame = pd.DataFrame({
        "person_id": np.concatenate([who.person_id[rows], who.person_id[free_rows]]),
        "programme_id": np.concatenate([who.programme[rows], who.programme[free_rows]]),
        "tier": np.concatenate([np.where(apprentice, "apprenticeship", "paid"), np.full(k, "free")]).astype(object),
        "funder": np.concatenate([funder, np.full(k, "none", dtype=object)]),
        "start": dates(np.concatenate([start, free_start])),
        "end": dates(np.concatenate([end, free_end])),
        "status": np.concatenate([status, free_status]),
        "graduated_on": dates(np.concatenate([
            np.where(status == "graduated", end, np.datetime64("NaT")),
            np.where(free_status == "graduated", free_end, np.datetime64("NaT"))])),
        "hours": np.concatenate([np.where(apprentice, 550, 700), rng.integers(2, 40, k)]).astype(float),
        "intent": np.concatenate([intent, rng.choice(
            np.array(["new_job", "change", "promotion", "business", "curiosity", "none"], dtype=object), k,
            p=(0.28, 0.18, 0.10, 0.08, 0.30, 0.06))]),
        "intent_asked_on": dates(np.concatenate([start, free_start])),
    })  # fmt: skip
    frame.insert(0, "enrolment_id", ids("N", np.arange(1, len(frame) + 1)))
    return frame


def income_panel(who: People, a: Applicants, lives: Lives, p: Parameters) -> pd.DataFrame:
    """Quarters FIRST_QUARTER..LAST_QUARTER around application for both arms alike, from one administrative source."""
    n = len(a.month)
    q = quarters(a, lives, p)
    period = a.month[:, None] // 3 + np.arange(FIRST_QUARTER, LAST_QUARTER + 1)[None, :]
    keep = period <= LAST_OBSERVED_MONTH // 3
    row = np.nonzero(keep)[0]
    low = int(period.min())
    names = np.array([f"{x // 4}Q{x % 4 + 1}" for x in range(low, int(period.max()) + 1)], dtype=object)
    uc = equivalence_units(a)
    employed = (q["employed"] | q["embedded"])[keep]
    household = q["household"][keep]
    hours = np.where(a.part_time[row] & ~q["embedded"][keep], 75.0, 100.0)
    total = len(row)
    return pd.DataFrame({
        "person_id": who.person_id[:n][row],
        "period": names[period[keep] - low],
        "employed": employed.astype(np.int64),
        "hours_pct": np.where(employed, hours, np.nan),
        "earnings_net_cents": q["earnings"][keep],
        "benefits_cents": q["benefits"][keep],
        "household_net_cents": household,
        "household_uc": uc[row],
        "equiv_net_cents": np.rint(household / uc[row]).astype(np.int64),
        "currency": np.full(total, "EUR", dtype=object),
        "source": np.full(total, "admin", dtype=object),
        "imputed": np.zeros(total, dtype=bool),
    }, copy=False)  # fmt: skip


def outcome_events(rng: np.random.Generator, who: People, a: Applicants, lives: Lives, p: Parameters) -> pd.DataFrame:
    """Events after application from the administrative feed, and what free learners report themselves."""
    zero = -FIRST_MONTH
    now, before = lives.employed[:, zero + 1 :], lives.employed[:, zero:-1]
    n, width = now.shape
    months = a.month[:, None] + np.arange(1, LAST_MONTH + 1)[None, :]
    seen = months <= LAST_OBSERVED_MONTH
    since = np.arange(1, width + 1)[None, :] - lives.start[:, None]
    draw = rng.random((n, width))
    stay = now & before & seen
    kinds = {
        "new_job": now & ~before & seen,
        "job_change": stay & (draw < 0.011),
        "promotion": stay & (draw > 0.993),
        "business": stay & (draw > 0.5) & (draw < 0.5015),
        "pay_rise": stay & (draw > 0.6) & (draw < 0.603),
        "internship": ~now & ~lives.contract[:, zero + 1 :] & seen & (since >= 3) & (since <= 8) & (draw < 0.015),
        "apprenticeship": lives.contract[:, zero + 1 :] & (since == 0) & seen,
    }
    if not p.contract_months:
        kinds["apprenticeship"] = (since == 0) & a.apprentice[:, None] & seen
    parts = []
    for kind, hit in kinds.items():
        person, column = np.nonzero(hit)
        parts.append(pd.DataFrame({"row": person, "month": months[person, column], "type": kind}))
    frame = pd.concat([*parts, _free_events(rng, who, n, p)], ignore_index=True)
    return _complete_events(rng, frame, who, a, lives, p)


def _free_events(rng, who: People, n: int, p: Parameters) -> pd.DataFrame:
    rows = np.flatnonzero(~np.isnat(who.free_start))
    rows = rows[rng.random(len(rows)) < p.free_event_rate]
    month = who.free_start[rows].astype("datetime64[M]").astype(int) + 1970 * 12 + rng.integers(1, 13, len(rows))
    draw = rng.random(len(rows))
    working = np.isin(who.status[rows], ["employed", "self_employed"])
    kind = np.where(
        working,
        np.select([draw < 0.5, draw < 0.85], ["job_change", "promotion"], "business"),
        np.where(draw < 0.9, "new_job", "business"),
    ).astype(object)
    keep = month <= LAST_OBSERVED_MONTH
    return pd.DataFrame({"row": rows[keep], "month": month[keep], "type": kind[keep]})


def _complete_events(rng, frame: pd.DataFrame, who: People, a: Applicants, lives: Lives, p: Parameters) -> pd.DataFrame:
    n = len(a.month)
    frame = frame.sort_values(["row", "month", "type"], kind="stable", ignore_index=True)
    total = len(frame)
    kind, row = frame["type"].to_numpy(dtype=object), frame["row"].to_numpy()
    free, embedded = row >= n, kind == "apprenticeship"
    working = ~np.isin(kind, ["internship", "business"])
    # jobs begin after the 14th and programmes before the 11th, so the order within a month is plain
    month = frame["month"].to_numpy()
    occurred = day(month, np.where(embedded, 10, job_day(row, month)))
    recorded = np.minimum(occurred + rng.integers(5, 60, total).astype("timedelta64[D]"), DATA_UNTIL)
    contracts = np.array(["permanent", "fixed_ge6m", "fixed_lt6m", "agency"], dtype=object)
    contract = rng.choice(contracts, total, p=(0.48, 0.24, 0.18, 0.10))
    contract = np.where(
        embedded, "apprentice", np.where(kind == "business", "freelance", np.where(working, contract, "unknown"))
    )
    begun = np.concatenate([lives.start, np.full(len(who.person_id) - n, NEVER)])[row]
    applied = np.concatenate([a.month, np.zeros(len(who.person_id) - n, dtype=np.int64)])[row]
    after = (begun < NEVER) & (month >= applied + begun)
    school = (kind == "new_job") & after & (rng.random(total) < 0.004)  # hired by the school: reported apart
    others = len(who.person_id) - n
    wage = np.concatenate([a.wage / p.net_to_gross, np.zeros(others)])
    part_time = np.concatenate([a.part_time, np.zeros(others, dtype=bool)])[row]
    pay = np.where(embedded, p.contract_wage_cents / p.net_to_gross, wage[row])
    shown = working & ~free
    field = rng.choice(np.array(["yes", "no", "unknown"], dtype=object), total, p=(0.5, 0.35, 0.15))
    employers = np.char.mod("E%05d", rng.integers(2, 4000, total)).astype(object)
    return pd.DataFrame({
        "event_id": ids("V", np.arange(1, total + 1)),
        "person_id": who.person_id[row],
        "type": kind,
        "occurred_on": dates(occurred),
        "date_precision": np.where(free, "quarter", np.where(embedded, "day", "month")).astype(object),
        "contract": contract.astype(object),
        "hours_pct": np.where(shown, np.where(part_time, 75.0, 100.0), np.nan),
        "in_field": np.where(embedded, "yes", field).astype(object),
        "employer_id": blank(np.where(school, SCHOOL_EMPLOYER, employers), ~shown),
        "is_school_employer": school,
        "programme_embedded": embedded | school,
        "base_pay_cents": pd.arrays.IntegerArray(np.where(shown, np.rint(pay), 0).astype(np.int64), ~shown),
        "pay_period": blank(np.full(total, "month"), ~shown),
        "currency": np.full(total, "EUR", dtype=object),
        "cirr_code": _cirr(kind, contract),
        "self_credited": np.full(total, "not_asked", dtype=object),
        "source_id": np.where(free, "in_product", "admin_feed").astype(object),
        "evidence": np.where(free, "self_report", "employer").astype(object),
        "recorded_on": dates(recorded),
        "supersedes": pd.array([pd.NA] * total, dtype="string"),
    })  # fmt: skip


def _cirr(kind: np.ndarray, contract: np.ndarray) -> np.ndarray:
    # Council on Integrity in Results Reporting: 1A permanent, 1B fixed term, 1C in training, 1D own business
    return np.select(
        [np.isin(kind, ["apprenticeship", "internship"]), kind == "business", contract == "permanent"],
        ["1C", "1D", "1A"], "1B",
    ).astype(object)  # fmt: skip
