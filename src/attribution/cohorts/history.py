"""What the income panel says about each record, by period: history before date zero, state after it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..errors import DataError
from ..outcomes.career import period_of
from ..study import Study

LAGS = 8


@dataclass(frozen=True)
class People:
    """SQL that numbers people (person_id, k = 0, 1, ...), its parameters, and how many numbers are in use."""

    sql: str
    params: Mapping[str, Any]
    n: int


@dataclass(frozen=True)
class Paths:
    """Employment and income of numbered people over consecutive periods; NaN where the panel has no row.

    first : index of the first period (quarter: year * 4 + quarter - 1; year: the year).
    employed, income : (people, periods); 0/1 and whole currency units a period. household_uc : consumption units of the
    household (OECD-modified scale), where the study holds them.
    """

    first: int
    employed: np.ndarray
    income: np.ndarray
    household_uc: np.ndarray | None = None

    def at(self, name: str, person: np.ndarray, period: np.ndarray) -> np.ndarray:
        """(n,) values of `employed`, `income` or `household_uc` of the people numbered `person` in `period`."""
        values = getattr(self, name)
        if values is None:
            raise DataError("the size of the household", f"no {name}", "add the column", table="income_panel",
                            column=name)  # fmt: skip
        column = np.asarray(period) - self.first
        inside = (column >= 0) & (column < values.shape[1])
        out = np.full(len(column), np.nan)
        out[inside] = values[np.asarray(person)[inside], column[inside]]
        return out


def read_paths(study: Study, people: People, first: int, last: int) -> Paths:
    """Paths of `people` from period `first` to `last`."""
    column = study.outcomes["income"].column
    size = "household_uc" in study.columns("income_panel")
    uc = (", i.household_uc AS household_uc", ", household_uc") if size else ("", "")
    rows = study.sql(
        f"WITH people AS ({people.sql}), paths AS ("
        f"SELECT p.k AS k, {period_of(study, 'i.period')} AS period, i.employed AS employed, "
        f"i.{column} AS income{uc[0]} "
        "FROM income_panel AS i JOIN people AS p ON p.person_id = i.person_id) "
        f"SELECT k, period, employed, income{uc[1]} FROM paths "
        "WHERE k < :n AND period BETWEEN :first_period AND :last_period",
        n=people.n, first_period=int(first), last_period=int(last), **people.params,
    )  # fmt: skip
    shape = (people.n, last - first + 1)
    employed, income = np.full(shape, np.nan), np.full(shape, np.nan)
    where = rows["k"].to_numpy(dtype=np.int64), rows["period"].to_numpy(dtype=np.int64) - first
    employed[where] = rows["employed"].to_numpy(dtype=float, na_value=np.nan)
    income[where] = rows["income"].to_numpy(dtype=float, na_value=np.nan) / 100
    units = None
    if size:
        units = np.full(shape, np.nan)
        units[where] = rows["household_uc"].to_numpy(dtype=float, na_value=np.nan)
    return Paths(first=first, employed=employed, income=income, household_uc=units)


def history(paths: Paths, person: np.ndarray, zero_period: np.ndarray) -> pd.DataFrame:
    """Columns employed_lag_k, income_lag_k, jobless_lag_k (k periods before date zero), those that exist for anyone.

    `history_employed_share` is the share employed over the lags known for everyone who has any history.
    """
    columns: dict[str, np.ndarray] = {}
    known: list[np.ndarray] = []
    for k in range(1, LAGS + 1):
        employed = paths.at("employed", person, zero_period - k)
        if np.isnan(employed).all():
            continue
        columns[f"employed_lag_{k}"] = employed
        columns[f"income_lag_{k}"] = paths.at("income", person, zero_period - k)
        columns[f"jobless_lag_{k}"] = 1.0 - employed
        known.append(employed)
    if known:
        stack = np.column_stack(known)
        seen = (~np.isnan(stack)).sum(axis=1)
        columns["history_employed_share"] = np.where(seen > 0, np.nansum(stack, axis=1) / np.maximum(seen, 1), np.nan)
    return pd.DataFrame(columns, index=pd.RangeIndex(len(person)))
