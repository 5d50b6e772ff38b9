"""Reading a table of units: treatment, covariates as numbers, and what is refused."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..cohorts.source import Source, quoted
from ..errors import DesignError, spelling
from ..read.engine import is_data_file

_FEW_LEVELS = 1000  # names of units stay text: a category pays only where its levels are few
_DATES = ("date", "datetime", "datetime64", "time", "timedelta", "timedelta64", "period")


def to_pandas(frame: Any) -> pd.DataFrame:
    """The caller's table as a pandas frame, never changed; the text of a file comes as categories."""
    if isinstance(frame, pd.DataFrame):
        return frame
    if isinstance(frame, (str, Path)):
        return _from_file(frame)
    if hasattr(frame, "collect"):  # a Polars plan
        frame = frame.collect()
    for method in ("to_pandas", "df"):
        if hasattr(frame, method):
            return getattr(frame, method)()
    raise DesignError("a table of units", f"a {type(frame).__name__}",
                      "give a pandas, Polars or Arrow table, or the path of a Parquet or CSV file")  # fmt: skip


def _from_file(path: str | Path) -> pd.DataFrame:
    file = Path(path)
    if not (file.is_dir() or is_data_file(file)):
        found = "is neither" if file.exists() else "does not exist"
        raise DesignError("a Parquet or CSV file", f"{file.name!r}, which {found}", "correct the path, or give a frame")
    source = Source(path, [])
    picked = []
    for i, (name, kind) in enumerate(source.types.items()):
        column = quoted(name)
        if kind.startswith("DECIMAL"):
            column = f"{column}::DOUBLE AS {column}"
        elif kind == "VARCHAR" and source.one(f"SELECT approx_count_distinct({column}) AS n FROM source")["n"] < (
            _FEW_LEVELS
        ):
            source.run(f"CREATE TYPE levels_{i} AS ENUM (SELECT DISTINCT {column} FROM source "
                       f"WHERE {column} IS NOT NULL ORDER BY 1)")  # fmt: skip
            column = f"{column}::levels_{i} AS {column}"
        picked.append(column)
    table = source.arrow(f"SELECT {', '.join(picked)} FROM source")
    return table.to_pandas(split_blocks=True, self_destruct=True)  # no second copy in memory


def read_treatment(units: pd.DataFrame, treatment: str) -> np.ndarray:
    """(n,) bool of a 0/1 column in which both arms are present."""
    require_columns(units, [treatment])
    if units[treatment].dtype.kind in "cmM":
        raise DesignError("treatment as 0/1 numbers, booleans or text", f"a column of type {units[treatment].dtype}",
                          "code treated as 1, comparison as 0", column=treatment)  # fmt: skip
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
    """Rows by key, or by the labels of the index, so that not even floating-point sums see the order of rows."""
    if key is None:
        return _by_label(units.index)
    if units[key].duplicated().any():
        twice = units[key][units[key].duplicated()]
        raise DesignError("one row a key", "the same key again", "give a column that is unique", column=key,
                          count=len(twice), keys=twice.unique().tolist())  # fmt: skip
    import pyarrow as pa
    from pyarrow import compute

    try:  # four times as fast as NumPy on text
        return compute.sort_indices(pa.array(units[key])).to_numpy().astype(np.intp)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError, OverflowError):  # whole numbers of 2^63
        return sort_keys(units[key])


def in_order(units: pd.DataFrame, order: np.ndarray) -> pd.DataFrame:
    """Rows in `order`, as rows that come so: the labels start anew."""
    return units if (order == np.arange(len(order))).all() else units.iloc[order].reset_index(drop=True)


def choice_order(given: Any, units: pd.DataFrame, key: str | None, seen: Sequence[str]) -> tuple[np.ndarray, str]:
    """Rows in the order in which ties are broken, and who is first in words: by key, by label, or by content.

    Where nothing names the rows (no key, and labels that repeat, have no order, or belong to no table but pandas'),
    they are ordered by the columns `seen`. Units alike in all of them then need a key: which of two equals is taken
    must not hang on the order of rows.
    """
    if key is not None:
        return key_order(units, key), f"the smallest {key}"
    if given is units and (order := _label_order(units.index)) is not None:
        return order, "the smallest label of the index"
    rows = units[list(dict.fromkeys(seen))].reset_index(drop=True)  # an index may bear a column's name
    alike = rows.groupby(list(rows), sort=True, observed=True, dropna=False).ngroup()
    twins = int(alike.duplicated(keep=False).sum())
    if twins:
        raise DesignError("key=, a column that tells units apart", "units alike in everything the design sees, in a "
                          "table whose rows nothing names", 'give key="id", or a pandas table with an index that does',
                          count=twins)  # fmt: skip
    return np.argsort(alike.to_numpy(), kind="stable"), "the smallest in its covariates"


def _by_label(index: pd.Index) -> np.ndarray:
    """Rows by label where labels tell rows apart and have an order; else as they come."""
    order = _label_order(index)
    return np.arange(len(index)) if order is None else order


def _label_order(index: pd.Index) -> np.ndarray | None:
    if not index.is_unique:
        return None
    if index.is_monotonic_increasing:
        return np.arange(len(index))
    try:
        return index.argsort()
    except TypeError:
        return None


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
            'give a list of columns, ["age"] and not "age"' if letters else spelling(missing[0], list(units.columns)),
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
            if len(levels) > max(20, len(units) / 2):
                raise DesignError("categories that units share", f"{len(levels):,} different values in "
                                  f"{len(units):,} rows (an identifier?)", "leave it out of the covariates",
                                  column=str(name))  # fmt: skip
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
    if pd.api.types.is_object_dtype(dtype):  # dates of Arrow and of databases are objects, too
        return pd.api.types.infer_dtype(series, skipna=True) not in (*_NUMBERS, *_DATES)
    return pd.api.types.is_string_dtype(dtype)


def cell_numbers(units: pd.DataFrame, names: Sequence[str]) -> np.ndarray:
    """(n,) number of the combination of values of these columns, in the order of the values; all 0 without columns."""
    if not names:
        return np.zeros(len(units), int)
    rows = units[list(dict.fromkeys(names))].reset_index(drop=True)  # an index may bear a column's name
    try:
        return rows.groupby(list(rows.columns), sort=True, observed=True).ngroup().to_numpy()
    except TypeError as error:
        raise _not_plain(", ".join(map(str, names))) from error


def with_both_arms(cell: np.ndarray, treated: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """(n,) bool: units whose cell keeps units of both arms."""
    arms = np.zeros((int(cell.max()) + 1, 2), bool)
    arms[cell[kept], treated[kept].astype(int)] = True
    return (arms[:, 0] & arms[:, 1])[cell]


def _not_plain(column: str) -> DesignError:
    return DesignError("one text, number or date a unit", "values that have no order, such as lists",
                       "turn each into one value, or into several columns", column=column)  # fmt: skip


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
        try:
            found, names = pd.factorize(series, sort=True)
        except TypeError as error:
            raise _not_plain(str(series.name)) from error
        return found, list(names)
    codes: np.ndarray = series.cat.codes.to_numpy()
    levels = series.cat.categories
    seen = np.bincount(codes[codes >= 0], minlength=len(levels)) > 0
    place = np.append(np.cumsum(seen) - 1, -1)  # code -1, missing, reads the last entry
    return (codes if seen.all() else place[codes]), list(levels[seen])
