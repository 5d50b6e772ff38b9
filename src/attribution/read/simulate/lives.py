"""Applicants and their monthly lives, with and without the start: the data-generating process."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .parameters import Parameters

FIRST_MONTH, LAST_MONTH = -36, 38  # relative to the month of application
FIRST_QUARTER, LAST_QUARTER = -8, 12  # relative to the quarter of application
NEVER = 99
REASONS = ("rejected", "no_funding", "withdrew", "elsewhere")
FIRST_APPLICATION = 2021 * 12  # January 2021, as year * 12 + month - 1
YEAR_WEIGHTS = (0.20, 0.23, 0.27, 0.30)  # applications of 2021..2024: a growing school
MONTH_WEIGHTS = np.array([11, 8, 8, 8, 8, 8, 7, 8, 12, 9, 7, 6]) / 100  # January and September lead
EDUCATION = ("none", "cap_bep", "bac", "bac2", "bac3", "bac5")
EDUCATION_SHARES = (0.10, 0.20, 0.27, 0.17, 0.17, 0.09)


@dataclass(frozen=True, kw_only=True)
class Applicants:
    """What is drawn before any month is lived; every array has one entry per applicant."""

    month: np.ndarray  # of application, year * 12 + month - 1
    age: np.ndarray
    female: np.ndarray
    education: np.ndarray  # index into EDUCATION
    partnered: np.ndarray
    other_adults: np.ndarray
    children_u14: np.ndarray
    test_score: np.ndarray
    apprentice: np.ndarray
    jobless: np.ndarray  # at application
    unemp_months: np.ndarray  # length of the spell at application, 0 for the employed
    employability: np.ndarray  # never recorded
    part_time: np.ndarray
    partner_income: np.ndarray  # cents a month
    wage: np.ndarray  # cents net a month, when in a job
    shock: np.ndarray  # (n, quarters from FIRST_QUARTER - 1), persistent, SD 1
    noise: np.ndarray  # (n, quarters from FIRST_QUARTER), SD 1
    history: np.ndarray  # (n, months FIRST_MONTH..0) in a job
    latent_starts: np.ndarray  # (n, decision_months) would start in month 1.. if still open
    latent_close: np.ndarray  # month in which the application closes if nothing else happens
    latent_reason: np.ndarray  # index into REASONS
    u_find: np.ndarray  # (n, LAST_MONTH)
    u_lose: np.ndarray
    u_kept: np.ndarray

    @property
    def offset(self) -> np.ndarray:
        """Month of application within its quarter, 0..2."""
        return self.month % 3

    def take(self, rows: np.ndarray) -> Applicants:
        return Applicants(**{name: value[rows] for name, value in vars(self).items()})


@dataclass(frozen=True, kw_only=True)
class Lives:
    """What happened in months 1..LAST_MONTH (columns) after application."""

    start: np.ndarray  # month since application, NEVER
    close: np.ndarray  # month of the decision against, NEVER
    reason: np.ndarray  # text, "" when started
    employed: np.ndarray  # (n, months FIRST_MONTH..LAST_MONTH) regular job
    contract: np.ndarray  # (n, same) apprenticeship contract
    insured: np.ndarray  # (n, same) jobless spell within benefit_months
    trained: np.ndarray  # (n, same) wage premium applies
    expecting: np.ndarray  # (n, same) anticipation


def draw_applicants(rng: np.random.Generator, n: int, p: Parameters, variant: str) -> Applicants:
    """Draw n applicants: covariates, unrecorded employability, history, and all later uniforms."""
    month = FIRST_APPLICATION + 12 * rng.choice(4, n, p=YEAR_WEIGHTS) + rng.choice(12, n, p=MONTH_WEIGHTS)
    age = np.clip(18 + rng.gamma(2.2, 7.0, n), 18, 60).astype(np.int64)
    female = rng.random(n) < p.women_share
    education = rng.choice(6, n, p=EDUCATION_SHARES)
    partnered = rng.random(n) < np.clip(p.partnered_share + 0.012 * (age - 33), 0.05, 0.9)
    other_adults = (~partnered & (rng.random(n) < np.where(age < 27, 0.5, 0.12))).astype(np.int64)
    children = rng.poisson(np.where(partnered, 0.9, 0.25) * np.clip(1.3 - np.abs(age - 35) / 25, 0.1, 1.2))
    children = np.minimum(children, 5)
    test = np.clip(np.rint(60 + 3 * (education - 2) + 12 * rng.standard_normal(n)), 0, 100).astype(np.int64)
    apprentice = rng.random(n) < p.apprenticeship_share
    eta = rng.standard_normal(n)
    part_time = rng.random(n) < np.where(female, 0.25, 0.10)
    partner = np.where(rng.random(n) < 0.82, p.partner_income_cents * np.exp(0.35 * rng.standard_normal(n)), 0.0)
    wage = p.wage_median_cents * np.exp(
        p.wage_education * (education - 2) + p.wage_female * female + p.wage_age * (age - 33)
        + p.wage_employability * eta + 0.15 * rng.standard_normal(n)
    ) * np.where(part_time, 0.75, 1.0)  # fmt: skip
    shock = _autoregressive(rng, n, LAST_QUARTER - FIRST_QUARTER + 2, p.shock_persistence)
    noise = rng.standard_normal((n, LAST_QUARTER - FIRST_QUARTER + 1))
    jobless, unemp_months, history = _history(rng, n, p, variant, education, eta)
    covariates = dict(age=age, female=female, education=education, partnered=partnered, test=test)
    starts = _latent_starts(rng, p, month, jobless, unemp_months, eta, shock, covariates)
    close, reason = _latent_close(rng, p, education, test)
    return Applicants(
        month=month, age=age, female=female, education=education, partnered=partnered, other_adults=other_adults,
        children_u14=children, test_score=test, apprentice=apprentice, jobless=jobless, unemp_months=unemp_months,
        employability=eta, part_time=part_time, partner_income=np.where(partnered, partner, 0.0), wage=wage,
        shock=shock, noise=noise, history=history, latent_starts=starts, latent_close=close, latent_reason=reason,
        u_find=rng.random((n, LAST_MONTH)), u_lose=rng.random((n, LAST_MONTH)), u_kept=rng.random(n),
    )  # fmt: skip


def _autoregressive(rng, n: int, length: int, rho: float) -> np.ndarray:
    draws = rng.standard_normal((length, n))
    for t in range(1, length):
        draws[t] = rho * draws[t - 1] + np.sqrt(1 - rho**2) * draws[t]
    return draws.T


def _history(rng, n: int, p: Parameters, variant: str, education, eta):
    """Months FIRST_MONTH..0: a stationary working life, and (but in no_dip) the job loss that leads to applying."""
    length = 1 - FIRST_MONTH
    find = np.exp(p.find_log_hazard - 0.6 + p.find_employability * eta + p.find_education * (education - 2))
    lose = np.exp(p.lose_log_hazard + p.lose_employability * eta)
    if variant == "no_dip":
        lose = find * p.jobless_share / (1 - p.jobless_share)  # the same share jobless in every month
    find, lose = -np.expm1(-find), -np.expm1(-lose)
    draws = rng.random((length, n))
    history = np.empty((length, n), dtype=bool)
    history[0] = draws[0] < find / (find + lose)
    for t in range(1, length):
        history[t] = np.where(history[t - 1], draws[t] >= lose, draws[t] < find)
    jobless = rng.random(n) < p.jobless_share
    mean = p.unemployment_spell_mean * np.exp(-0.25 * eta - 0.06 * (education - 2))
    spell = np.where(jobless, np.minimum(1 + np.floor(rng.exponential(mean)), 36), 0).astype(np.int64)
    tenure = 2 + np.floor(rng.exponential(p.tenure_mean * np.exp(0.25 * eta))).astype(np.int64)
    if variant != "no_dip":
        age_of_month = -np.arange(FIRST_MONTH, 1)[:, None]  # 0 = the month of application
        history[(age_of_month < spell)] = False
        history[(age_of_month >= spell) & (age_of_month < spell + tenure)] = True
    jobless = ~history[-1]
    backwards = history[::-1]
    spell = np.where(jobless, np.where(backwards.any(axis=0), backwards.argmax(axis=0), 36), 0)
    return jobless, np.minimum(spell, 36), np.ascontiguousarray(history.T)


def _latent_starts(rng, p: Parameters, month, jobless, unemp_months, eta, shock, x) -> np.ndarray:
    logit = (
        p.start_logit
        + p.start_logit_2023 * (month // 12 == 2023)
        + p.start_logit_age * (x["age"] - 33)
        + p.start_logit_female * x["female"]
        + p.start_logit_education * (x["education"] - 2)
        + p.start_logit_unemp * np.where(jobless, unemp_months, 6)
        + p.start_logit_test * (x["test"] - 60)
        + p.start_logit_partnered * x["partnered"]
        + p.start_logit_employed * ~jobless
        + p.start_logit_hidden * eta
    )
    months = np.arange(1, int(p.decision_months) + 1)
    logits = logit[:, None] + p.start_logit_month * (months - 1)
    if p.start_logit_dynamic:
        quarter = (months[None, :] + (month % 3)[:, None]) // 3 - (FIRST_QUARTER - 1)
        recent = np.take_along_axis(shock, quarter - 1, 1) + np.take_along_axis(shock, quarter - 2, 1)
        logits = logits + p.start_logit_dynamic * recent
    return rng.random(logits.shape) < 1 / (1 + np.exp(-logits))


def _latent_close(rng, p: Parameters, education, test):
    n = len(test)
    hazard = 1 / (1 + np.exp(-(p.close_logit - 0.02 * (test - 60))))
    close = np.minimum(1 + np.floor(np.log(rng.random(n)) / np.log1p(-hazard)), p.decision_months).astype(np.int64)
    weights = np.stack([
        np.exp(-0.6 - 0.04 * (test - 60)), np.exp(-0.5 - 0.15 * (education - 2)), np.full(n, 0.9), np.full(n, 0.35),
    ], axis=1)  # fmt: skip
    cumulative = np.cumsum(weights, axis=1)
    reason = (rng.random(n)[:, None] * cumulative[:, -1:] > cumulative).sum(axis=1)
    return close, reason


def first_start(latent: np.ndarray, after: np.ndarray | int = 0) -> np.ndarray:
    """Return the first latent start month later than `after`, NEVER where there is none."""
    months = np.arange(1, latent.shape[1] + 1)
    allowed = latent & (months[None, :] > np.asarray(after).reshape(-1, 1))
    return np.where(allowed.any(axis=1), allowed.argmax(axis=1) + 1, NEVER)


def live(people: Applicants, p: Parameters, blocked: np.ndarray | None = None) -> Lives:
    """Live months 1..LAST_MONTH; with `blocked` (a month per person) nobody starts up to and including that month."""
    n, zero = len(people.month), -FIRST_MONTH
    first = first_start(people.latent_starts)
    wish = first if blocked is None else first_start(people.latent_starts, blocked)
    width = LAST_MONTH - FIRST_MONTH + 1
    employed, contract, insured, trained, expecting = (np.zeros((width, n), dtype=bool) for _ in range(5))
    employed[: zero + 1] = people.history.T
    start, close = np.full(n, NEVER), np.full(n, NEVER)
    reason = np.full(n, "", dtype="<U10")
    duration = np.zeros(n, dtype=np.int64)
    for t in range(zero + 1):
        duration = np.where(employed[t], 0, duration + 1)
        insured[t] = duration <= p.benefit_months
    low = people.education <= 2
    base_find = (
        p.find_log_hazard
        + p.find_employability * people.employability
        + p.find_education * (people.education - 2)
        + p.find_female * people.female
        + p.find_age * (people.age - 33)
        + p.find_test * (people.test_score - 60)
        + p.find_duration * np.log(np.maximum(people.unemp_months, 1) / 6)
    )
    after = p.find_after + p.find_after_low_education * low + p.find_after_female * people.female
    base_lose = p.lose_log_hazard + p.lose_employability * people.employability
    season = p.find_season * np.cos(2 * np.pi * (np.arange(12) - 8) / 12)  # most hiring in September
    job, is_open = employed[zero].copy(), np.ones(n, dtype=bool)
    for m in range(1, LAST_MONTH + 1):
        starting = is_open & (wish == m)
        start[starting] = m
        is_open &= ~starting
        if p.contract_months:
            job &= ~(starting & people.apprentice)  # the contract replaces a job
        closing = is_open & (people.latent_close == m)
        close[closing] = m
        reason[closing] = np.array(REASONS)[people.latent_reason[closing]]
        is_open &= ~closing
        since = np.where(start < NEVER, m - start, -1)
        effective = np.where(people.apprentice & (start < NEVER), p.contract_months, p.lock_in_months)
        in_contract = people.apprentice & (since >= 0) & (since < p.contract_months)
        locked, freed = (since >= 0) & (since < effective), since >= effective
        freed &= since >= 0
        before = (m < first) & (m >= first - 3)
        if blocked is not None:
            before = np.where(m < blocked, before, (m < wish) & (m >= wish - 3))
        before = before & is_open
        quarter = (m + people.offset) // 3 - (FIRST_QUARTER - 1)
        shock = people.shock[np.arange(n), np.minimum(quarter, people.shock.shape[1] - 1)]
        find = base_find + season[(people.month + m) % 12] + p.find_shock * shock
        find = find + p.lock_in * locked + after * freed + p.anticipation_find * before
        lose = base_lose + p.lose_after * freed
        found = ~job & ~in_contract & (people.u_find[:, m - 1] < -np.expm1(-np.exp(find)))
        if p.contract_months:
            found |= ~job & people.apprentice & (since == p.contract_months) & (people.u_kept < p.contract_kept)
        lost = job & (people.u_lose[:, m - 1] < -np.expm1(-np.exp(lose)))
        job = (job | found) & ~lost
        hired = found & is_open & people.jobless
        close[hired] = m
        reason[hired] = "found_job"
        is_open &= ~hired
        duration = np.where(job | in_contract, 0, duration + 1)
        t = zero + m
        employed[t], contract[t], insured[t] = job, in_contract, duration <= p.benefit_months
        trained[t], expecting[t] = freed, before
    return Lives(start=start, close=close, reason=reason, employed=employed.T, contract=contract.T, insured=insured.T,
                 trained=trained.T, expecting=expecting.T)  # fmt: skip


def equivalence_units(people: Applicants) -> np.ndarray:
    """OECD-modified scale: 1, 0.5 per further person of 14 or more, 0.3 per child."""
    return 1 + 0.5 * (people.partnered + people.other_adults) + 0.3 * people.children_u14


def quarters(people: Applicants, lives: Lives, p: Parameters) -> dict[str, np.ndarray]:
    """Return (n, quarters FIRST_QUARTER..LAST_QUARTER) arrays: employed, embedded, and cents of each income."""
    k = np.arange(FIRST_QUARTER, LAST_QUARTER + 1)
    first = 3 * k[None, :] - people.offset[:, None] - FIRST_MONTH
    wage = people.wage[:, None] * np.exp(p.wage_after * lives.trained)
    pay = np.where(lives.employed, wage, 0.0) + lives.contract * p.contract_wage_cents
    minimum = p.minimum_income_cents * np.where(people.partnered, 0.6, 1.0)
    insurance = np.maximum(p.benefit_replacement / p.net_to_gross * people.wage, minimum)
    benefit = np.where(lives.insured, insurance[:, None], minimum[:, None]) * ~(lives.employed | lives.contract)
    benefit = benefit + p.anticipation_cents * lives.expecting if p.anticipation_cents else benefit
    earnings, benefits = _sum3(pay, first), _sum3(np.maximum(benefit, 0), first)
    others = people.partner_income + 70_000 * people.other_adults + p.child_benefit_cents * people.children_u14
    transitory = p.shock_cents * people.shock[:, 1:] + p.noise_cents * people.noise
    household = np.maximum(earnings + benefits + 3 * others[:, None] + transitory, 30_000)
    last = first + 2
    return {
        "employed": np.take_along_axis(lives.employed, last, 1),
        "embedded": np.take_along_axis(lives.contract, last, 1),
        "earnings": np.rint(earnings).astype(np.int64),
        "benefits": np.rint(benefits).astype(np.int64),
        "household": np.rint(household).astype(np.int64),
    }


def _sum3(monthly: np.ndarray, first: np.ndarray) -> np.ndarray:
    total = np.concatenate([np.zeros((len(monthly), 1)), np.cumsum(monthly, axis=1)], axis=1)
    return np.take_along_axis(total, first + 3, 1) - np.take_along_axis(total, first, 1)


def not_yet(people: Applicants, lives: Lives, p: Parameters) -> tuple[np.ndarray, Applicants, Lives]:
    """Return the starters' rows, draws and lives had each not started in his start month (the counterfactual)."""
    rows = np.flatnonzero(lives.start < NEVER)
    starters = people.take(rows)
    return rows, starters, live(starters, p, blocked=lives.start[rows])


__all__ = ["Applicants", "Lives", "draw_applicants", "equivalence_units", "first_start", "live", "not_yet", "quarters"]
