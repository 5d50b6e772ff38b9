"""Household income as an outcome: equivalised or not, in whose prices, winsorised or not, and what was counted."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

import numpy as np
import pandas as pd

from ..errors import DataError, EstimationError
from ..results import Result

Equivalise = Literal["oecd_modified", "none"]
Transform = Literal["log", "log1p", "asinh"]
OTHER_14, UNDER_14 = 0.5, 0.3  # OECD-modified scale: the first adult counts 1.0


@dataclass(frozen=True, kw_only=True, repr=False)
class IncomeOutcome(Result):
    """Household income under one definition, aligned with the frame it came from.

    values : (n,) income in `unit`, on the frame's index; NaN where it is not known. zeros and negatives stay in.
    unit : carries every choice, so that it travels with each estimate ("EUR of 2024 a quarter, ...").
    equivalised : divided by consumption units. winsorised : (low, high) quantiles, or None. limits : their amounts.
    table : what was counted (rows, zero, negative, missing, clipped), columns what, count, share.
    """

    values: pd.Series
    unit: str
    currency: str
    frequency: str
    price_year: int
    equivalised: bool
    winsorised: tuple[float, float] | None
    limits: tuple[float, float] | None
    table: pd.DataFrame
    choices: tuple[str, ...]

    @property
    def countable(self) -> bool:
        """True for euros that may be added up: neither equivalised nor winsorised."""
        return not self.equivalised and self.winsorised is None

    @property
    def positive(self) -> pd.Series:
        """(n,) 1.0 where income is above zero, 0.0 where it is not, NaN where unknown: the extensive margin."""
        return (self.values > 0).astype(float).where(self.values.notna())

    def tidy(self) -> pd.DataFrame:
        return self.table.copy()

    def summary(self) -> str:
        counts = [f"  {row.what}: {row.count:,} ({row.share:.1%})" for row in self.table.itertuples(name="Row")]
        return "\n".join([f"household income, in {self.unit}", *self.choices, *counts])


def household_income(
    frame: Any, *, income: str, equivalise: Equivalise, winsorise: tuple[float, float] | None, currency: str,
    frequency: Literal["quarter", "year"], price_year: int,
    prices: Mapping[Any, float] | pd.Series | Literal["constant"] | None, period: str | None = None,
    household_uc: str | None = None, household_size: str | None = None, children_u14: str | None = None,
) -> IncomeOutcome:  # fmt: skip
    """Household income in the prices of one year, under choices that are all stated: a person-period's income.

    Estimator : income * index[price_year] / index[period], then per consumption unit (OECD-modified: 1.0 for the first
        adult, 0.5 for each further person aged 14 or more, 0.3 for each child below), then clipped, in this order. An
        index by period is set to its value for price_year as a whole, or else to the mean of all its four quarters.
    Edge cases : missing income or household gives a missing value; zeros and negatives stay; all are counted. Limits of
        winsorising are quantiles of all known values of the call, so use one call for all periods and groups.
    Checked : EU-SILC (synthetic) equivalised sizes and incomes; laeken's poverty rate from them.

    Parameters
    ----------
    frame : one row a person and period (pandas, Polars, Arrow, ...). income : its column; cents where its name ends in
        "_cents" (in any case), whole currency units otherwise. currency, frequency : "EUR", "quarter": for the unit.
    equivalise : "none", or "oecd_modified" from `household_uc` (consumption units), or else from `household_size` and
        `children_u14` (persons).
    winsorise : quantiles (low, high) beyond which incomes are clipped, such as (0, 0.99); None clips nothing.
    price_year : the year in whose prices income is given. prices : price index by period or by year, "constant" where
        the column is in those prices already, None where all its periods lie in that year. period : column of periods:
        2024, "2024", "2024Q1", dates, pandas periods, or year * 4 + quarter - 1 with frequency="quarter".

    Raises
    ------
    DataError : several years without prices, an index with gaps, households without an adult, infinite income.
    """
    _check(equivalise, winsorise, frequency, prices, period)
    names = [name for name in (income, period, household_uc, household_size, children_u14) if name]
    rows, index = _columns(frame, names)
    cents = income.lower().endswith("_cents")
    money = _numbers(rows[income], income) / (100 if cents else 1)
    choices = [f"{income}: {'cents, divided by 100' if cents else 'as given'}"]
    factor, text = _deflator(None if period is None else rows[period], period, prices, price_year, frequency)
    units = np.ones(len(rows))
    choices += [text, "not equivalised"]
    if equivalise == "oecd_modified":
        units, choices[-1] = _consumption_units(rows, household_uc, household_size, children_u14)
    values = money * factor / units
    known = np.isfinite(values)
    counts = {"rows": len(rows), "income missing": int(np.isnan(money).sum()),
              "household missing": int((np.isnan(units) & ~np.isnan(money)).sum()), "known": int(known.sum()),
              "zero": int((values == 0).sum()), "negative": int((values < 0).sum())}  # fmt: skip
    limits = None
    if winsorise is not None:
        if not known.any():
            raise DataError("known incomes to take quantiles of", "none", "check the column", column=income)
        low, high = np.quantile(values[known], winsorise, method="inverted_cdf")
        limits = float(low), float(high)
        counts |= {f"raised to {low:,.0f}": int((values < low).sum()),
                   f"lowered to {high:,.0f}": int((values > high).sum())}  # fmt: skip
        values = np.clip(values, low, high)
    clipped = "not winsorised"
    if winsorise is not None:
        clipped = f"winsorised at quantiles {winsorise[0]:g} and {winsorise[1]:g}"
    scale = "not equivalised" if equivalise == "none" else "equivalised (OECD-modified)"
    table = pd.DataFrame({"what": list(counts), "count": list(counts.values())})
    return IncomeOutcome(
        values=pd.Series(values, index=index, name="household_income"), currency=currency, frequency=frequency,
        unit=f"{currency} of {price_year} a {frequency}, {scale}, {clipped}", price_year=price_year,
        equivalised=equivalise != "none", winsorised=winsorise, limits=limits, choices=(*choices, clipped),
        table=table.assign(share=table["count"] / max(len(rows), 1)),
    )  # fmt: skip


def log_outcome(values: Any, *, transform: Transform) -> pd.Series:
    """log(y), log(1 + y) or asinh(y), where "percent" has a meaning; refused as soon as one value is zero or below.

    With zeros, the effect on log(1 + y) or asinh(y) takes any size by a change of the unit of y, and log(y) drops the
    zeros (Chen & Roth 2024, QJE 139, proposition 1).

    Parameters
    ----------
    values : incomes, or an IncomeOutcome (its zeros count as before winsorising). Missing values stay missing.
    """
    y = income_series(values)
    below = y <= 0
    zero, all_below = int((y == 0).sum()), int(below.sum())
    if isinstance(values, IncomeOutcome):  # zeros that winsorising has raised are zeros still
        counts = values.table.set_index("what")["count"]
        zero, all_below = int(counts["zero"]), int(counts["zero"] + counts["negative"])
    if all_below:
        raise EstimationError(
            f"positive values only for a percent effect by {transform}",
            f"{zero:,} zero and {all_below - zero:,} negative",
            "report instead the effect in euros, as a percent of the counterfactual mean "
            "(at.percent_of_counterfactual), and the effect on having any income on its own (IncomeOutcome.positive)",
            count=all_below, keys=y[below].index.tolist(),
        )  # fmt: skip
    functions = {"log": np.log, "log1p": np.log1p, "asinh": np.arcsinh}
    if transform not in functions:
        raise EstimationError('transform "log", "log1p" or "asinh"', repr(transform), "choose one of these")
    return pd.Series(functions[transform](y.to_numpy()), index=y.index, name=f"{transform} of {y.name}")


def income_series(values: Any) -> pd.Series:
    """Values of an IncomeOutcome or of anything array-like as a float series; infinite ones are refused."""
    series = values.values if isinstance(values, IncomeOutcome) else pd.Series(values)
    return pd.Series(_numbers(series, str(series.name or "values")), index=series.index, name=series.name)


def _check(equivalise, winsorise, frequency, prices, period) -> None:
    def refuse(required: str, found: object, mend: str = "choose one of these"):
        raise EstimationError(required, str(found), mend)

    if equivalise not in ("oecd_modified", "none"):
        refuse('equivalise "oecd_modified" or "none"', repr(equivalise))
    if frequency not in ("quarter", "year"):
        refuse('frequency "quarter" or "year"', repr(frequency))
    pair = isinstance(winsorise, Sequence) and len(winsorise) == 2 and not isinstance(winsorise, str)
    if winsorise is not None and not (pair and 0 <= winsorise[0] < winsorise[1] <= 1):
        refuse("winsorise=None or quantiles 0 <= low < high <= 1", winsorise, "give for example (0, 0.99)")
    constant = isinstance(prices, str) and prices == "constant"
    if not (prices is None or constant or isinstance(prices, (Mapping, pd.Series))):
        refuse('prices as a mapping {year or period: index}, "constant" or None', repr(prices))
    if period is None and not constant:
        refuse("the column of periods, to know in whose prices income is", "period=None",
               'name it, or declare prices="constant" where income is in prices of price_year already')  # fmt: skip


def _columns(frame: Any, names: list[str]) -> tuple[pd.DataFrame, pd.Index]:
    """The named columns as pandas, and the index of the caller's rows."""
    if not isinstance(frame, pd.DataFrame):
        import narwhals as nw

        try:
            native = nw.from_native(frame)
        except TypeError as error:
            raise DataError("a data frame (pandas, Polars, Arrow, ...)", f"a {type(frame).__name__}",
                            "make a frame of it first") from error  # fmt: skip
        frame = (native.collect() if isinstance(native, nw.LazyFrame) else native).to_pandas()
    absent = [name for name in names if name not in frame.columns]
    if absent:
        raise DataError("all named columns", f"no column {', '.join(map(repr, absent))}", "check the spelling",
                        count=len(absent), keys=list(frame.columns))  # fmt: skip
    return frame[names].reset_index(drop=True), frame.index


def _numbers(values: pd.Series, name: str) -> np.ndarray:
    try:
        numbers = values.to_numpy(dtype=float, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise DataError("numbers", f"values of type {values.dtype}", "convert the column", column=name) from error
    if (infinite := np.isinf(numbers)).any():
        raise DataError("finite numbers", "infinite values", "correct them, or set them missing", column=name,
                        count=int(infinite.sum()), keys=values.index[infinite].tolist())  # fmt: skip
    return numbers


def _consumption_units(rows: pd.DataFrame, uc, size, children) -> tuple[np.ndarray, str]:
    """(n,) consumption units, and how they were found."""
    if uc is not None:
        units, text = _numbers(rows[uc], uc), f"equivalised by {uc} (OECD-modified consumption units, as given)"
        bad, required, column = units < 1, "consumption units of 1 or more", uc
    elif size is not None and children is not None:
        people, young = _numbers(rows[size], size), _numbers(rows[children], children)
        units = 1 + OTHER_14 * (people - young - 1) + UNDER_14 * young
        text = f"equivalised: 1 + {OTHER_14} each further person aged 14+ + {UNDER_14} each child under 14"
        bad = (young < 0) | (young >= people)
        required, column = "households with at least one person aged 14+", children
        if (part := (people % 1 > 0) | (young % 1 > 0)).any():
            bad, required, column = part, "whole persons", size if (people % 1 > 0).any() else children
    else:
        raise EstimationError("household_uc, or household_size and children_u14, to equivalise by", "neither",
                              'name the columns, or choose equivalise="none"')  # fmt: skip
    if bad.any():
        raise DataError(required, "others", "correct the household columns, or set them missing", column=column,
                        count=int(bad.sum()), keys=rows.index[bad].tolist())  # fmt: skip
    return units, text


def _deflator(periods: pd.Series | None, column: str | None, prices, price_year: int, frequency: str):
    """(n,) or scalar factor to prices of `price_year`, and the choice in words."""
    if isinstance(prices, str):
        return 1.0, f"prices of {price_year}: declared so by the caller"
    assert periods is not None
    if periods.isna().any():
        raise DataError("a period in every row", "missing periods", "fill or drop these rows", column=column,
                        count=int(periods.isna().sum()))  # fmt: skip
    codes, seen = pd.factorize(periods)
    when = [_when(value, frequency, column) for value in seen]
    years = np.array([year for year, _ in when])
    if prices is None:
        if (others := years != price_year).any():
            raise DataError(
                f"a price index, since income is not all of {price_year}", "periods of other years",
                'give prices={year or period: index}, or prices="constant" where it was deflated before',
                column=column, count=int(others.sum()), keys=np.unique(years[others]).tolist(),
            )  # fmt: skip
        return 1.0, f"prices of {price_year}: all periods lie in it"
    index = {_when(key, frequency, column): float(value) for key, value in prices.items()}
    if len(index) < len(prices):
        raise DataError(f"one price index a {frequency}, or a year", "several", "take their mean first", column=column,
                        count=len(prices))  # fmt: skip
    by_period = all(at in index for at in when)
    absent = [] if by_period else sorted({year for year, _ in when if (year, 0) not in index})
    base = index.get((price_year, 0), float("nan"))
    quarters = [index[price_year, q] for q in (1, 2, 3, 4) if (price_year, q) in index]
    if by_period and (price_year, 0) not in index and quarters:
        if len(quarters) < 4:
            raise DataError(f"the index of all four quarters of {price_year}, or of {price_year} as a whole",
                            f"{len(quarters)} of them", f"add the others, or prices={{{price_year}: ...}}",
                            column=column, count=len(quarters))  # fmt: skip
        base = float(np.mean(quarters))
    if absent or np.isnan(base) or not all(np.isfinite(v) and v > 0 for v in index.values()):
        raise DataError("a positive price index for every period (or year) and for price_year", "gaps or other values",
                        "complete the index", column=column, keys=absent or [price_year])  # fmt: skip
    own = np.array([index[at if by_period else (at[0], 0)] for at in when])
    by = "period" if by_period else "year"
    return (base / own)[codes], f"prices of {price_year}: deflated by the index by {by}"


def _when(value: Any, frequency: str, column: str | None) -> tuple[int, int]:
    """(year, quarter or 0) of 2024, "2024", "2024Q1", year * 4 + quarter - 1, a pandas Period or a date."""
    if isinstance(value, str) and (found := re.fullmatch(r"(\d{4})(?:Q([1-4]))?", value)):
        return int(found[1]), int(found[2] or 0)
    if isinstance(value, pd.Period) and value.freqstr[0] in "QAY":
        return value.year, value.quarter if value.freqstr[0] == "Q" else 0
    if isinstance(value, (date, np.datetime64)):
        stamp = pd.Timestamp(value)
        return stamp.year, stamp.quarter if frequency == "quarter" else 0
    if isinstance(value, (int, float, np.number)) and float(value).is_integer():
        if frequency == "quarter" and value >= 4000:
            return int(value) // 4, int(value) % 4 + 1
        return int(value), 0
    raise DataError('periods such as 2024, "2024Q1", a date or year * 4 + quarter - 1', repr(value),
                    "recode the periods", column=column)  # fmt: skip
