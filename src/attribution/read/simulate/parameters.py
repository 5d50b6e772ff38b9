"""Every figure of the simulated school: name, value, unit, source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from ...errors import DataError

MISSION = "the school's published mission reports"
DARES = "Dares, matched cohort of 1.2 m French job seekers: 60 % with, about 52 % without training at 12 months"
CKW = "Card, Kluve and Weber (2018): about 0 in the first year (lock-in), +5 to +9 points after 2-3 years"
INSEE = "INSEE ERFS 2023, equivalised household income"
UNEDIC = "French unemployment insurance rules: 57 % of the previous gross wage, at most 18 months"
SIGNALS = "product signals exist mostly for people inside the product (project brief, 75 % against 45 %)"
DESIGN = "chosen for the simulation"

VARIANTS = {
    "base": "starting depends on the recorded covariates only, so the landmark comparison is right",
    "zero": "starting changes nothing at any horizon; apprentices' contracts are recorded but carry no job and no pay",
    "hidden": "unrecorded employability raises starting, past employment and job finding alike",
    "no_dip": "employment before application is stationary and starting ignores how long one has been jobless",
    "dynamic": "starting also depends on shocks to income and job finding in the two quarters before",
    "anticipation": "open applicants who will start stop searching and lose odd earnings in the three months before",
}


def _figure(value: float, unit: str, source: str) -> Any:
    return field(default=value, metadata={"unit": unit, "source": source})


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """The figures behind the simulated school; `table()` shows them with unit and source."""

    # who applies
    applicant_share: float = _figure(0.25, "share of persons", "applicants are a minority of learners; " + DESIGN)
    apprenticeship_share: float = _figure(0.25, "share of applications", DESIGN)
    jobless_share: float = _figure(0.80, "share of applicants", MISSION + " (job seekers)")
    women_share: float = _figure(0.50, "share of persons", DESIGN)
    partnered_share: float = _figure(0.52, "share of persons", "INSEE census, adults 20-60")
    unemployment_spell_mean: float = _figure(7.0, "months", "INSEE labour force survey, median spell of about 6 months")
    tenure_mean: float = _figure(14.0, "months", DESIGN)
    # who starts, and who does not
    start_rate: float = _figure(0.29, "share of applicants", MISSION + " 2022, orientation rate")
    start_rate_2023: float = _figure(0.09, "share of applicants", MISSION + " 2023, orientation rate")
    start_logit: float = _figure(-2.60, "log odds a month", "set so that start_rate holds")
    start_logit_2023: float = _figure(
        -1.40, "added log odds, applications of 2023", "set so that start_rate_2023 holds"
    )
    start_logit_month: float = _figure(-0.04, "log odds per month since application", DESIGN)
    start_logit_age: float = _figure(-0.020, "log odds per year of age above 33", DESIGN)
    start_logit_female: float = _figure(0.20, "log odds", DESIGN)
    start_logit_education: float = _figure(0.16, "log odds per level above bac", DESIGN)
    start_logit_unemp: float = _figure(-0.060, "log odds per month jobless at application", "Ashenfelter (1978): a dip")
    start_logit_test: float = _figure(0.020, "log odds per test point above 60", DESIGN)
    start_logit_partnered: float = _figure(0.15, "log odds", DESIGN)
    start_logit_employed: float = _figure(0.0, "log odds, employed at application", DESIGN)
    start_logit_hidden: float = _figure(0.70, "log odds per SD of employability, variant hidden", DESIGN)
    start_logit_dynamic: float = _figure(-0.70, "log odds per SD of shock, variant dynamic", DESIGN)
    close_logit: float = _figure(-2.30, "log odds a month", DESIGN)
    decision_months: int = _figure(12, "months", "every application is decided within a year; " + DESIGN)
    # working lives
    find_log_hazard: float = _figure(-2.97, "log of the monthly job-finding rate", "set so that job_12_without holds")
    find_employability: float = _figure(0.35, "log hazard per SD", DESIGN)
    find_education: float = _figure(0.08, "log hazard per level above bac", DESIGN)
    find_female: float = _figure(-0.06, "log hazard", DESIGN)
    find_age: float = _figure(-0.012, "log hazard per year above 33", DESIGN)
    find_test: float = _figure(0.006, "log hazard per test point above 60", DESIGN)
    find_duration: float = _figure(
        -0.28, "log hazard per log month jobless at application", "negative duration dependence"
    )
    find_season: float = _figure(0.12, "log hazard, amplitude over the year", DESIGN)
    find_shock: float = _figure(0.15, "log hazard per SD of the quarterly shock", DESIGN)
    lose_log_hazard: float = _figure(-3.75, "log of the monthly job-loss rate", "about 2.4 % a month; " + DESIGN)
    lose_employability: float = _figure(-0.25, "log hazard per SD", DESIGN)
    shock_persistence: float = _figure(0.5, "quarterly autocorrelation", DESIGN)
    # what starting does
    lock_in_months: int = _figure(6, "months after the start", CKW)
    lock_in: float = _figure(-0.45, "log hazard ratio of finding a job while locked in", CKW)
    find_after: float = _figure(0.40, "log hazard ratio of finding a job afterwards", "set so that job_12_with holds")
    find_after_low_education: float = _figure(
        0.15, "added, at most bac", "larger gains of the less qualified; " + DESIGN
    )
    find_after_female: float = _figure(0.12, "added, women", "women-into-tech trials in Poland: +11 to +15 points")
    lose_after: float = _figure(-0.08, "log hazard ratio of losing a job afterwards", CKW)
    wage_after: float = _figure(0.02, "log points", "Per Scholas +16 % over 10 years, Job Corps +12 % in year 4")
    contract_months: int = _figure(12, "months", "usual French apprenticeship contract")
    contract_wage_cents: int = _figure(
        138_000, "cents net a month", "net minimum wage 2024, due to apprentices of 26 and more"
    )
    contract_kept: float = _figure(
        0.38, "share in a regular job when the contract ends", "Dares InserJeunes, 6 months after"
    )
    # money
    wage_median_cents: int = _figure(
        218_000, "cents net a month, bac, man of 33", "INSEE wages; set for equiv_employed"
    )
    wage_education: float = _figure(0.07, "log points per level", "INSEE wages")
    wage_female: float = _figure(-0.06, "log points", "INSEE wages, hourly gap")
    wage_age: float = _figure(0.006, "log points a year", "INSEE wages")
    wage_employability: float = _figure(0.12, "log points per SD", DESIGN)
    benefit_replacement: float = _figure(0.57, "share of the gross wage", UNEDIC)
    net_to_gross: float = _figure(0.78, "share", "French payroll")
    benefit_months: int = _figure(18, "months", UNEDIC)
    minimum_income_cents: int = _figure(95_000, "cents a month, with housing aid", "RSA plus APL; " + DESIGN)
    partner_income_cents: int = _figure(232_000, "cents a month, median", "set so that equiv_jobless holds")
    child_benefit_cents: int = _figure(15_000, "cents a month per child", "French family allowances, rounded")
    shock_cents: int = _figure(25_000, "cents a quarter per SD of shock", DESIGN)
    noise_cents: int = _figure(20_000, "cents a quarter, SD of white noise", DESIGN)
    anticipation_find: float = _figure(-1.2, "log hazard ratio before the start, variant anticipation", DESIGN)
    anticipation_cents: int = _figure(-15_000, "cents a month before the start, variant anticipation", DESIGN)
    # what is seen
    capture_inside: float = _figure(0.75, "share of events with a signal, arm learner", SIGNALS)
    capture_outside: float = _figure(0.45, "share of events with a signal, arm comparison", SIGNALS)
    capture_free: float = _figure(0.55, "share of events with a signal, free learners", DESIGN)
    false_signal: float = _figure(0.03, "share of persons without an event", DESIGN)
    survey_share: float = _figure(0.5, "inclusion probability, applicants", DESIGN)
    survey_share_free: float = _figure(0.1, "inclusion probability, free learners", DESIGN)
    response_logit: float = _figure(-1.1, "log odds of an answer", DESIGN)
    response_outcome: float = _figure(0.9, "log odds when in a job", "answers linked to the outcome; " + DESIGN)
    response_learner: float = _figure(0.5, "log odds, arm learner", DESIGN)
    credit_learner: float = _figure(0.80, "share crediting the school, fully or partly", DESIGN)
    free_event_rate: float = _figure(
        0.30, "share of free learners reporting an outcome", "over 90 % of the claimed count is free"
    )
    free_credit: float = _figure(0.85, "share of those crediting the school", DESIGN)
    graduation_before_2023: float = _figure(0.41, "share graduating in expected time", MISSION + " 2022")
    graduation_since_2023: float = _figure(0.50, "share graduating in expected time", MISSION + " 2023")
    priority_share: float = _figure(0.75, "share of starters in a priority public", MISSION + " 2023")
    undeclared_share: float = _figure(0.22, "share per sensitive question", DESIGN)

    def table(self) -> list[dict[str, object]]:
        """Return one row per figure: name, value, unit, source."""
        return [dict(name=f.name, value=getattr(self, f.name), **f.metadata) for f in fields(self)]


def parameters_for(variant: str, overrides: Mapping[str, Any]) -> Parameters:
    """Return the figures of a variant with the caller's overrides.

    Raises
    ------
    DataError : unknown variant or unknown figure.
    """
    if variant not in VARIANTS:
        raise DataError(f"a variant among {', '.join(VARIANTS)}", repr(variant), "choose one of them")
    known = {f.name for f in fields(Parameters)}
    unknown = sorted(set(overrides) - known)
    if unknown:
        raise DataError(
            "figures named in Parameters", "unknown names", "see Parameters().table()", count=len(unknown), keys=unknown
        )
    figures = Parameters()
    if variant == "zero":
        figures = replace(figures, lock_in=0.0, find_after=0.0, find_after_low_education=0.0, find_after_female=0.0,
                          lose_after=0.0, wage_after=0.0, contract_months=0, contract_kept=0.0)  # fmt: skip
    if variant == "no_dip":
        figures = replace(figures, start_logit_unemp=0.0)
    if variant == "dynamic":  # shocks that last, or a year later nothing of the selection would be left
        figures = replace(figures, shock_persistence=0.75, find_shock=0.30)
    if variant != "hidden":
        figures = replace(figures, start_logit_hidden=0.0)
    if variant != "dynamic":
        figures = replace(figures, start_logit_dynamic=0.0)
    if variant != "anticipation":
        figures = replace(figures, anticipation_find=0.0, anticipation_cents=0)
    return replace(figures, **overrides)
