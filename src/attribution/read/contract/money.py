"""Money and periods: one currency, one frequency, cents and not euros, nothing far outside the rest unless flagged."""

# ruff: noqa: E501  (declarations read best one to a line)

from __future__ import annotations

from .columns import Wrong, name, text
from .tables import TABLES

# A median income below the first is euros given as cents; above the second, cents multiplied by 100 twice.
PLAUSIBLE_MEDIAN_CENTS = {"quarter": (30_000, 10_000_000), "year": (100_000, 40_000_000)}
MIN_ROWS_FOR_MEDIAN = 10
FAR = 5  # times the 99.9th percentile
_EXACT_QUANTILE_ROWS = 5_000_000


def income_columns(present: set[str]) -> list[str]:
    """Money columns of income_panel that the study has."""
    return [c.name for c in TABLES["income_panel"].columns if c.unit.startswith("cents") and c.name in present]


def quantile_query(columns: list[str], rows: int) -> str:
    """Count, median and 99.9th percentile of the positive unflagged amounts (the largest set aside), in one scan."""
    quantile = "QUANTILE_CONT" if rows <= _EXACT_QUANTILE_ROWS else "APPROX_QUANTILE"
    tops = ", ".join(f"MAX({name(c)}) AS m{k}" for k, c in enumerate(columns))
    parts = []
    for k, column in enumerate(columns):
        c = name(column)
        inside = f"FILTER (WHERE {c} > 0 AND NOT t.imputed AND {c} < m.m{k})"
        parts += [
            f"COUNT(*) {inside} AS n{k}",
            f"{quantile}({c}, 0.5) {inside} AS p{k}",
            f"{quantile}({c}, 0.999) {inside} AS q{k}",
        ]
    return f"SELECT {', '.join(parts)} FROM income_panel AS t CROSS JOIN (SELECT {tops} FROM income_panel AS t) AS m"


def income_checks(columns: list[str], answer: dict, frequency: str) -> list[Wrong]:
    """Implausible medians (the whole column is in another unit) and single amounts far outside."""
    checks = []
    low, high = PLAUSIBLE_MEDIAN_CENTS[frequency]
    for k, column in enumerate(columns):
        c, n, median, top = name(column), answer[f"n{k}"], answer[f"p{k}"], answer[f"q{k}"]
        share_of_pay = column == "benefits_cents"  # benefits may be small for everybody
        if n >= MIN_ROWS_FOR_MEDIAN and not share_of_pay and not low <= median <= high:
            guess = "whole currency units given as cents: multiply by 100" if median < low else "divide by 100"
            checks.append(Wrong(column, f"{c} > 0", f"cents a {frequency} (a median from {low:,} to {high:,})",
                                f"a median of {median:,.0f}", f"check the unit ({guess}), and that the period is a {frequency}"))  # fmt: skip
            continue
        bound = f" OR {c} > {int(FAR * top) + 1}" if n >= MIN_ROWS_FOR_MEDIAN and top else ""
        limit = f" to {FAR} times the 99.9th percentile ({int(FAR * top) + 1:,})" if bound else " or more"
        checks.append(Wrong(column, f"({c} < 0{bound}) AND NOT t.imputed", f"amounts from 0{limit} unless imputed is set",
                            "amounts outside", "correct them, or set imputed where the amount was checked and stays", column))  # fmt: skip
    return checks


def currency_check(currency: str) -> Wrong:
    return Wrong(
        "currency", f"{name('currency')} <> {text(currency)}", f"one currency, that of the study ({currency})",
        "amounts in another currency without a rate", f"convert the amounts to {currency} before loading, and say at which rate",
        "currency",
    )  # fmt: skip


def period_checks(frequency: str, until: str) -> list[Wrong]:
    """Periods of the study's frequency only, none after data_until."""
    c = name("period")
    year, quarter = int(until[:4]), (int(until[5:7]) + 2) // 3
    last = f"{year}Q{quarter}" if frequency == "quarter" else str(year)
    other = f"LENGTH({c}) = {4 if frequency == 'quarter' else 6}"
    return [
        Wrong("period", other, f"one frequency, that of the study ({'YYYYQn' if frequency == 'quarter' else 'YYYY'})",
              "periods of another frequency", "aggregate to one frequency, or correct `frequency` in study.toml", "period"),
        Wrong("period", f"{c} > {text(last)} AND NOT ({other})", f"periods up to data_until ({last})", "periods in the future",
              "correct them, or raise data_until in study.toml", "period"),
    ]  # fmt: skip
