"""The tables around the lives: sensitive attributes, signals, surveys, engagement, money, environment, objectives."""

from __future__ import annotations

import numpy as np
import pandas as pd

from .lives import FIRST_MONTH, LAST_MONTH, NEVER, Applicants, Lives
from .parameters import Parameters
from .tables import DATA_UNTIL, REGIONS, People, blank, dates, ids, programmes

COUNTED = ("new_job", "job_change", "promotion", "business")
WAVES = (2022, 2023, 2024, 2025)


def learners_sensitive(
    rng: np.random.Generator, who: People, a: Applicants, lives: Lives, p: Parameters
) -> pd.DataFrame:
    """Flags of those who were asked; a question left open is `undeclared`, never `no`."""
    total, n = len(who.person_id), len(a.month)
    asked = np.flatnonzero(np.concatenate([np.ones(n, bool), rng.random(total - n) < 0.3]))
    shares = {"disability": 0.11, "refugee": 0.05, "qpv": 0.19, "minimum_income": 0.24}
    columns: dict[str, object] = {"person_id": who.person_id[asked]}
    for name, share in shares.items():
        answer = np.where(rng.random(len(asked)) < share, "yes", "no")
        columns[name] = np.where(rng.random(len(asked)) < p.undeclared_share, "undeclared", answer).astype(object)
    columns["legal_basis"] = np.full(len(asked), "explicit_consent", dtype=object)
    columns["collected_on"] = dates(who.first_seen[asked])
    return pd.DataFrame(columns)


def signals(
    rng: np.random.Generator, who: People, events: pd.DataFrame, lives: Lives, n: int, p: Parameters, when
) -> pd.DataFrame:
    """Noisy sightings of outcomes: capture differs by arm and tier, and some sightings are false."""
    events = events[events["type"].isin(COUNTED)]
    position = pd.Series(np.arange(len(who.person_id)), index=who.person_id)
    row = position.loc[events["person_id"]].to_numpy()
    occurred = events["occurred_on"].to_numpy().astype("datetime64[D]")
    started = np.concatenate([when["started_on"], who.free_start[n:]])
    inside = ~np.isnat(started[row]) & (occurred >= started[row])
    capture = np.where(row >= n, p.capture_free, np.where(inside, p.capture_inside, p.capture_outside))
    seen = rng.random(len(row)) < capture
    liars = np.flatnonzero(rng.random(len(who.person_id)) < p.false_signal)
    base = np.concatenate([when["applied_on"], who.free_start[n:]])[liars]
    rows = np.concatenate([row[seen], liars])
    true = np.concatenate([np.ones(seen.sum(), bool), np.zeros(len(liars), bool)])
    observed = np.concatenate([occurred[seen], base]) + rng.integers(0, 75, len(rows)).astype("timedelta64[D]")
    types = np.concatenate([events["type"].to_numpy(dtype=object)[seen], np.full(len(liars), "new_job", dtype=object)])
    inside = np.concatenate([inside[seen] | (row[seen] >= n), ~np.isnat(started[liars])])
    score = np.round(np.where(true, rng.beta(6, 2, len(rows)), rng.beta(2, 4, len(rows))), 3)
    product = np.array(["in_product_prompt", "coach_note", "email_reply"], dtype=object)
    outside = np.array(["profile_scrape_consented", "job_board", "partner_feed"], dtype=object)
    pick = rng.integers(0, 3, len(rows))
    keep = observed <= DATA_UNTIL
    from_product = inside & (rng.random(len(rows)) < 0.7)
    frame = pd.DataFrame({
        "person_id": who.person_id[rows], "source": np.where(from_product, product[pick], outside[pick]),
        "observed_on": dates(observed), "predicted_type": types, "score": score,
        "model_version": np.full(len(rows), "2024.1", dtype=object),
        "arm": np.where(inside, "learner", "comparison").astype(object),
    })[keep].sort_values(["observed_on", "person_id"], kind="stable", ignore_index=True)  # fmt: skip
    frame.insert(0, "signal_id", ids("S", np.arange(1, len(frame) + 1)))
    return frame


def survey_waves() -> pd.DataFrame:
    return pd.DataFrame([
        dict(wave_id=f"W{year}", instrument_version="3.0" if year >= 2024 else "2.1", mode="web",
             open=np.datetime64(f"{year}-11-01", "s"), close=np.datetime64(f"{year}-12-15", "s"))
        for year in WAVES
    ])  # fmt: skip


def survey_invites(
    rng: np.random.Generator, who: People, a: Applicants, lives: Lives, p: Parameters, when
) -> pd.DataFrame:
    """Yearly waves for those who applied (or enrolled free) the year before; people in a job answer more."""
    n, parts = len(a.month), []
    year = np.concatenate([a.month // 12, who.free_start[n:].astype("datetime64[Y]").astype(int) + 1970])
    applicant = np.arange(len(year)) < n
    inclusion = np.where(applicant, p.survey_share, p.survey_share_free)
    started = np.concatenate([when["started_on"], who.free_start[n:]])
    for wave in WAVES:
        rows = np.flatnonzero((year == wave - 1) & (rng.random(len(year)) < inclusion))
        opened = np.datetime64(f"{wave}-11-01")
        month = wave * 12 + 10
        job = _in_job(rng, rows, n, a, lives, month)
        learner = ~np.isnat(started[rows]) & (started[rows] <= opened)
        logit = p.response_logit + p.response_outcome * job + p.response_learner * learner
        answered = rng.random(len(rows)) < 1 / (1 + np.exp(-logit))
        credit_draw = rng.random(len(rows))
        credit = np.where(
            credit_draw < p.credit_learner * 0.6, "yes", np.where(credit_draw < p.credit_learner, "partly", "no")
        )
        delay = rng.integers(0, 44, len(rows)).astype("timedelta64[D]")
        answers_on = np.where(answered, opened + delay, np.datetime64("NaT"))
        wage = np.concatenate([a.wage, np.zeros(len(year) - n)])[rows]
        pay = np.rint(wage * (0.9 + 0.2 * rng.random(len(rows))) / 5000)  # people round
        parts.append(pd.DataFrame({
            "wave_id": f"W{wave}", "person_id": who.person_id[rows],
            "arm": np.where(learner, "learner", "comparison").astype(object),
            "invited_on": dates(np.full(len(rows), opened)), "inclusion_prob": inclusion[rows],
            "stratum": np.where(applicant[rows], "applicant", "free").astype(object),
            "reminders": rng.integers(0, 4, len(rows)),
            "responded_on": dates(answers_on),
            "partial": answered & (rng.random(len(rows)) < 0.08),
            "employed": pd.arrays.IntegerArray(job.astype(np.int64), ~answered),
            "occurred_on": dates(np.full(len(rows), np.datetime64("NaT", "D"))),
            "pay_cents": pd.arrays.IntegerArray(pay.astype(np.int64) * 5000, ~(answered & job & (wage > 0))),
            "household_income_band": _band(rng, answered),
            "credit": blank(credit, ~(answered & learner & job)),
        }))  # fmt: skip
    return pd.concat(parts, ignore_index=True).sort_values(["wave_id", "person_id"], kind="stable", ignore_index=True)


def _in_job(rng, rows, n, a: Applicants, lives: Lives, month: int) -> np.ndarray:
    job = rng.random(len(rows)) < 0.62
    ours = rows < n
    relative = np.clip(month - a.month[rows[ours]], FIRST_MONTH, LAST_MONTH) - FIRST_MONTH
    job[ours] = (lives.employed | lives.contract)[rows[ours], relative]
    return job


def _band(rng, answered: np.ndarray) -> np.ndarray:
    bands = np.array(["under_15k", "15k_25k", "25k_35k", "over_35k"], dtype=object)
    band = rng.choice(bands, len(answered), p=(0.3, 0.35, 0.2, 0.15))
    return blank(band, ~(answered & (rng.random(len(answered)) < 0.7)))


def credit_events(rng: np.random.Generator, events: pd.DataFrame, invites: pd.DataFrame, p: Parameters) -> pd.DataFrame:
    """Fill `self_credited` from survey answers (applicants) and the in-product prompt (free); add a few corrections."""
    events = events.copy()
    draw = rng.random(len(events))
    credited = events["self_credited"].to_numpy(dtype=object, copy=True)
    prompt = (events["source_id"] == "in_product").to_numpy()
    credited[prompt] = np.where(draw < 0.6 * p.free_credit, "yes", np.where(draw < p.free_credit, "partly", "no"))[
        prompt
    ]
    answers = invites[invites["credit"].notna()].sort_values("responded_on", kind="stable").drop_duplicates("person_id")
    answers = answers.set_index("person_id")
    said = events["person_id"].map(answers["credit"])
    asked_on = events["person_id"].map(answers["responded_on"])
    hit = (said.notna() & (events["occurred_on"] <= asked_on) & ~prompt).to_numpy()
    credited[hit] = said.to_numpy(dtype=object)[hit]
    events["self_credited"] = credited
    wrong = np.flatnonzero((rng.random(len(events)) < 0.004) & ~events["programme_embedded"].to_numpy())
    fixed = events.iloc[wrong].copy()
    fixed["supersedes"] = fixed["event_id"].astype("string")
    fixed["event_id"] = ids("V", np.arange(len(events) + 1, len(events) + 1 + len(wrong)))
    fixed["evidence"] = "contract"
    later = fixed["recorded_on"].to_numpy() + np.timedelta64(20, "D")
    fixed["recorded_on"] = np.minimum(later, DATA_UNTIL.astype("datetime64[s]"))
    fixed = fixed.astype(events.dtypes.to_dict())
    return pd.concat([events, fixed], ignore_index=True)


def engagement(rng: np.random.Generator, who: People, a: Applicants, lives: Lives) -> pd.DataFrame:
    """Monthly activity of the first six months after a start."""
    rows = np.flatnonzero(lives.start < NEVER)
    month = (a.month + lives.start)[rows][:, None] + np.arange(6)[None, :]
    keep = month <= 2025 * 12 + 11
    row = np.nonzero(keep)[0]
    stamp = month[keep]
    names = np.array([f"{m // 12}-{m % 12 + 1:02d}" for m in range(stamp.min(), stamp.max() + 1)], dtype=object)
    pace = rng.gamma(3.0, 1.0, len(rows))[row]
    total = len(row)
    return pd.DataFrame({
        "person_id": who.person_id[rows][row], "month": names[stamp - stamp.min()],
        "minutes": rng.poisson(700 * pace), "lessons": rng.poisson(6 * pace), "projects": rng.poisson(0.3 * pace),
        "mentor_sessions": rng.poisson(2.5, total),
    })  # fmt: skip


def labour_market(rng: np.random.Generator) -> pd.DataFrame:
    quarters = [f"{year}Q{q}" for year in range(2019, 2026) for q in range(1, 5)]
    level = rng.normal(7.5, 1.0, len(REGIONS))
    rows = [
        dict(area_code=region, quarter=quarter, unemployment_rate=round(float(level[i] + 0.4 * np.sin(j / 5)), 2),
             vacancies_index=round(float(100 + 8 * np.sin(j / 4) - 2 * (level[i] - 7.5)), 1), source="simulated")
        for i, region in enumerate(REGIONS) for j, quarter in enumerate(quarters)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def definitions() -> pd.DataFrame:
    rows = [
        ("career_outcome", "1.0", "2021-01-01", "four kinds within a year"),
        ("career_outcome", "1.1", "2024-01-01", "programme-embedded contracts reported apart"),
        ("household_income", "1.0", "2024-01-01", "after benefits and tax, a quarter"),
    ]
    frame = pd.DataFrame(rows, columns=["def_id", "version", "valid_from", "change_note"])
    return frame.assign(valid_from=dates(frame["valid_from"].to_numpy(dtype="datetime64[D]")))


def objectives() -> pd.DataFrame:
    rows = [
        ("O1", "art. 2, al. 1", "career outcomes within a year", "persons", "from_start", 12_000, 2025, "impact"),
        ("O2", "art. 2, al. 1", "in a job at 12 months, paid programmes", "percent", "from_start", 60, 2025, "impact"),
        ("O3", "art. 2, al. 2", "students in a priority public", "percent", "calendar_year", 75, 2025, "admissions"),
        ("O4", "art. 2, al. 2", "graduation in expected time", "percent", "from_start", 50, 2025, "education"),
        ("O5", "art. 2, al. 3", "emissions per active learner", "kgco2e", "calendar_year", 12, 2025, "operations"),
    ]
    columns = ["objective_id", "statutory_text_ref", "indicator", "unit", "clock", "target", "year", "owner"]
    return pd.DataFrame(rows, columns=columns)


def finance(enrolled: pd.DataFrame) -> pd.DataFrame:
    """Money by fiscal year, programme, funder and measure, in cents; costs follow the number of starts."""
    price = programmes().set_index("programme_id")["list_price_cents"]
    table = enrolled.assign(fiscal_year=pd.to_datetime(enrolled["start"]).dt.year)
    starts = table.groupby(["fiscal_year", "programme_id"]).size()
    by_funder = table[table["tier"] != "free"].groupby(["fiscal_year", "programme_id", "funder"]).size()
    rows = []
    for year, programme, funder, count in by_funder.reset_index().itertuples(index=False, name=None):
        rows.append((int(year), programme, funder, "revenue", int(count * price[programme] * 0.9), "EUR", "invoiced"))
    share = {"direct_cost": 0.18, "mentor_cost": 0.26, "marketing_cost": 0.14, "marketing_women_cost": 0.02,
             "scholarships": 0.03, "guarantee_refunds": 0.015, "allocated_overhead": 0.25}  # fmt: skip
    for year, programme, count in starts.reset_index().itertuples(index=False, name=None):
        base = float(price[programme]) or 1_500.0  # a free learner costs about 15 euros
        for measure, part in share.items():
            if price[programme] == 0 and measure in {"mentor_cost", "scholarships", "guarantee_refunds"}:
                continue
            rule = "share of starts" if measure == "allocated_overhead" else "direct"
            rows.append((int(year), programme, "all", measure, int(count * base * part), "EUR", rule))
    columns = ["fiscal_year", "programme_id", "funder", "measure", "amount_cents", "currency", "allocation_rule"]
    return pd.DataFrame(rows, columns=columns).sort_values(columns[:4], kind="stable", ignore_index=True)


def environment(enrolled: pd.DataFrame) -> pd.DataFrame:
    starts = pd.to_datetime(enrolled["start"]).dt.year.value_counts().sort_index()
    rows = []
    lines = [
        # scope, category, activity per start, unit, kg CO2e per unit, quality, source
        ("1", "heating", 0.8, "kWh", 0.227, "measured", "ADEME Base Empreinte"),
        ("2_location", "electricity", 2.1, "kWh", 0.052, "measured", "ADEME Base Empreinte"),
        ("2_market", "electricity", 2.1, "kWh", 0.010, "measured", "supplier contract"),
        ("3", "video streaming", 1.5, "GB", 0.060, "modelled", "ADEME digital services"),
        ("3", "purchased services", 22.0, "EUR", 0.170, "proxy", "ADEME monetary ratios"),
        ("3", "business travel", 3.0, "km", 0.110, "measured", "ADEME Base Empreinte"),
        ("3", "learner equipment", 0.004, "laptop", 156.0, "proxy", "ADEME Base Empreinte"),
    ]
    for year, count in zip(starts.index.tolist(), starts.tolist(), strict=True):
        for scope, category, activity, unit, factor, quality, source in lines:
            value = round(float(count) * activity, 3)
            rows.append(dict(fiscal_year=int(year), programme_id="all", scope=scope, category=category,
                             kgco2e=round(value * factor, 3), activity_value=value, activity_unit=unit,
                             factor_source=source, quality=quality))  # fmt: skip
    return pd.DataFrame(rows)


def company_kpis(money: pd.DataFrame) -> pd.DataFrame:
    revenue = money[money["measure"] == "revenue"].groupby("fiscal_year")["amount_cents"].sum()
    years = sorted(money["fiscal_year"].unique())
    return pd.DataFrame({
        "fiscal_year": years,
        "revenue_cents": [int(revenue.get(year, 0)) for year in years],
        "currency": "EUR",
        "employee_satisfaction": [72.0, 70.0, 74.0, 76.0, 77.0][: len(years)],
        "headcount": [310, 350, 330, 300, 290][: len(years)],
    })  # fmt: skip
