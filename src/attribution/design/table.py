"""Reading a table of units: treatment, covariates as numbers, and what is refused."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..errors import DesignError


def to_pandas(frame: Any) -> pd.DataFrame:
    """The caller's table (pandas, Polars, Arrow, a DuckDB relation) as a pandas frame; never changed."""
    if isinstance(frame, pd.DataFrame):
        return frame
    if hasattr(frame, "collect"):  # a Polars plan
        frame = frame.collect()
    for method in ("to_pandas", "df"):
        if hasattr(frame, method):
            return getattr(frame, method)()
    raise DesignError("a table of units", f"a {type(frame).__name__}", "give a pandas, Polars or Arrow table")


def read_treatment(units: pd.DataFrame, treatment: str) -> np.ndarray:
    """(n,) bool of a 0/1 column in which both arms are present."""
    require_columns(units, [treatment])
    values = pd.to_numeric(units[treatment], errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    wrong = ~np.isin(values, (0.0, 1.0))
    if wrong.any():
        raise DesignError(
            "treatment to be 0 or 1 for every unit", "other values or none", "code treated as 1, comparison as 0",
            column=treatment, count=int(wrong.sum()), keys=units.index[wrong].tolist(),
        )  # fmt: skip
    treated = values == 1
    n_treated, n_comparison = int(treated.sum()), int((~treated).sum())
    if n_treated < 2 or n_comparison < 2:
        raise DesignError(
            "at least two treated and two comparison units", f"{n_treated} treated and {n_comparison} comparison",
            "widen the cohort, or report the group as not estimable", column=treatment,
        )  # fmt: skip
    return treated


def key_order(units: pd.DataFrame, key: str | None) -> np.ndarray:
    """Rows by key, so that not even floating-point sums see the order of rows; as they come without a key."""
    if key is None:
        return np.arange(len(units))
    if units[key].duplicated().any():
        twice = units[key][units[key].duplicated()]
        raise DesignError("one row a key", "the same key again", "give a column that is unique", column=key,
                          count=len(twice), keys=twice.unique().tolist())  # fmt: skip
    import pyarrow as pa
    from pyarrow import compute

    try:  # four times as fast as NumPy on text
        return compute.sort_indices(pa.array(units[key])).to_numpy().astype(np.intp)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError):
        return sort_keys(units[key])


def sort_keys(key: pd.Series) -> np.ndarray:
    """Rows by key; keys of several kinds have no order."""
    try:
        return np.argsort(key.to_numpy(), kind="stable")
    except TypeError:
        kinds = sorted({type(one).__name__ for one in key})
        raise DesignError("keys of one kind, all text or all numbers", f"{' and '.join(kinds)}",
                          "turn them all into text", column=str(key.name)) from None  # fmt: skip


def require_columns(units: pd.DataFrame, names: Sequence[str]) -> None:
    odd = [type(name).__name__ for name in names if not isinstance(name, Hashable)]
    if odd:
        raise DesignError("names of columns", f"a {odd[0]}", "give the name of one column", count=len(odd))
    missing = [name for name in names if name not in units.columns]
    if missing:
        letters = len(missing) > 1 and all(len(str(name)) == 1 for name in missing)
        raise DesignError(
            f"columns {', '.join(map(str, names))}", "no such column",
            'give a list of columns, ["age"] and not "age"' if letters else "check the spelling or build the column",
            count=len(missing), keys=missing,
        )  # fmt: skip
    if not units.columns.is_unique:
        again = set(units.columns[units.columns.duplicated()])
        twice = [name for name in dict.fromkeys(names) if name in again]
        if twice:
            raise DesignError("one column of each name", "columns that share their name", "rename or drop the others",
                              count=len(twice), keys=twice)  # fmt: skip


def refuse_missing(units: pd.DataFrame, names: Sequence[str], labels: Any = None) -> None:
    """Missing values are never imputed or dropped on the quiet: say how many, and whose."""
    for name in names:
        hole = units[name].isna().to_numpy()
        if hole.any():
            keys = np.asarray(units.index if labels is None else labels)[hole]
            raise DesignError(
                "no missing value in a column the design uses", "missing values",
                "impute it and add a missing-indicator as a covariate, or leave these units out and say so",
                column=str(name), count=int(hole.sum()), keys=keys[:5].tolist(),
            )  # fmt: skip


def encode(
    units: pd.DataFrame, covariates: Sequence[str], *, drop_base: bool
) -> tuple[np.ndarray, list[str], list[str]]:
    """Covariates as an (n, k) float matrix, with the name of each column and the covariate it comes from.

    Text and categories become one 0/1 column a level, `name_level`, in sorted order (a categorical keeps its own
    order); `drop_base` leaves the first level out.
    """
    columns, names, origins = [], [], []
    for name in covariates:
        series = units[name]
        dtype = series.dtype
        if is_category(series):
            codes, levels = categories(series)
            for code, level in enumerate(levels):
                if code == 0 and drop_base and len(levels) > 1:
                    continue
                columns.append(codes == code)
                names.append(f"{name}_{level}")
                origins.append(name)
        elif is_number(series):
            columns.append(series.to_numpy(dtype=float))
            names.append(str(name))
            origins.append(name)
        else:
            raise DesignError("numeric or categorical covariates", f"a column of type {dtype}",
                              "turn dates into numbers with a meaning (months since application)",
                              column=str(name))  # fmt: skip
        if columns and not np.isfinite(columns[-1]).all():
            raise DesignError("finite covariates", "infinite or missing values", "correct them at the source",
                              column=names[-1])  # fmt: skip
    by_column = np.empty((len(columns), len(units)))  # column by column in memory: every pass reads along columns
    for j, column in enumerate(columns):
        by_column[j] = column
    return by_column.T, names, origins


def is_category(series: pd.Series) -> bool:
    """Text and categories are coded by level; numbers and booleans are not."""
    dtype = series.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return True
    return (pd.api.types.is_object_dtype(dtype) or pd.api.types.is_string_dtype(dtype)) and not is_number(series)


_NUMBERS = ("integer", "floating", "mixed-integer-float", "decimal", "boolean")


def is_number(series: pd.Series) -> bool:
    """Real numbers and booleans, also where pandas keeps them as objects (decimals of a database)."""
    dtype = series.dtype
    if pd.api.types.is_object_dtype(dtype):
        return pd.api.types.infer_dtype(series, skipna=True) in _NUMBERS
    number = pd.api.types.is_numeric_dtype(dtype) or pd.api.types.is_bool_dtype(dtype)
    return number and not pd.api.types.is_complex_dtype(dtype)


def categories(series: pd.Series) -> tuple[np.ndarray, list[Any]]:
    """(n,) codes and the observed levels: a categorical's own order, sorted otherwise; a missing value is -1."""
    if not isinstance(series.dtype, pd.CategoricalDtype):
        found, names = pd.factorize(series, sort=True)
        return found, list(names)
    codes: np.ndarray = series.cat.codes.to_numpy()
    levels = series.cat.categories
    seen = np.bincount(codes[codes >= 0], minlength=len(levels)) > 0
    place = np.append(np.cumsum(seen) - 1, -1)  # code -1, missing, reads the last entry
    return (codes if seen.all() else place[codes]), list(levels[seen])
