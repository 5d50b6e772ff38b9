"""Long table -> checked wide panel: one row a unit, one column a period, what was left out counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..errors import DataError
from ..results import Result


class Panel(Result):
    """Units observed over periods, with the period in which each is first treated.

    Parameters
    ----------
    frame : long table, one row a unit and period: pandas, Polars, Arrow, a DuckDB relation, or a Parquet file's path.
    unit : column of unit keys. period : integer index (year, or year * 4 + quarter - 1); gaps between them are allowed.
    cohort : first treated period of the unit, the same in all its rows; missing = never treated.
    outcome : number; missing values are counted and left out pair by pair.
    weight : sampling weight >= 0, the same in all rows of a unit. cluster : column of independent groups.
    risk_set : cohort for which a record is at risk (sequential trials): it is compared with that cohort only. The
        record of a unit treated later, risk_set < cohort, serves as not yet treated.

    Raises
    ------
    DataError : missing column, duplicate unit-period, cohort or weight that changes within a unit, cohort coded 0 or
        infinite, periods that are no integers, infinite outcome, empty table.

    Units treated in or before the first period have no period before treatment: they are dropped and counted.
    """

    def __init__(
        self, frame: Any, *, unit: str, period: str, cohort: str, outcome: str, weight: str | None = None,
        cluster: str | None = None, risk_set: str | None = None,
    ) -> None:  # fmt: skip
        self.columns = {"unit": unit, "period": period, "cohort": cohort, "outcome": outcome, "weight": weight,
                        "cluster": cluster, "risk_set": risk_set}  # fmt: skip
        self._source = frame
        wanted = list(dict.fromkeys(name for name in self.columns.values() if name))
        rows = read_columns(frame, wanted)
        if rows.empty:
            raise DataError("at least one row", "an empty table", "check the filter that made the panel", table="panel")
        self.units, self._first, self._code = _unit_codes(rows[unit], unit)
        periods = _integers(rows[period], period)
        first_treated = _cohorts(rows[cohort], cohort)
        self._same_in_unit(first_treated, cohort, "one cohort per unit (treatment that starts stays)",
                           "keep the first treated period in all rows of the unit")  # fmt: skip
        self.periods, at = np.unique(periods, return_inverse=True)
        self.y, present = self._wide(rows[outcome], outcome, at)
        self.cohort = first_treated[self._first]
        self.weight = self._unit_numbers(rows, weight, "one weight >= 0 per unit")
        if self.weight is not None and (self.weight < 0).any():
            raise DataError("weights >= 0", "negative weights", "correct or drop them", column=weight,
                            count=int((self.weight < 0).sum()), keys=self.units[self.weight < 0])  # fmt: skip
        self.risk_set = self._unit_numbers(rows, risk_set, "one risk set per unit")
        self.cluster = None if cluster is None else self._clusters(rows[cluster], cluster)
        if self.risk_set is not None and (late := self.risk_set > self.cohort).any():
            raise DataError("records at risk before they are treated", "a risk set later than the cohort",
                            "give treated records risk_set = cohort", column=risk_set, count=int(late.sum()),
                            keys=self.units[late])  # fmt: skip
        always = self.cohort <= self.periods[0]
        self.counts = {
            "rows": len(rows), "units": len(self.units),
            "rows without outcome": int((present & np.isnan(self.y)).sum()),
            "unit-periods absent": int((~present).sum()),
            "units treated in or before the first period, dropped": int(always.sum()),
        }  # fmt: skip
        if always.all():
            raise DataError("units untreated in the first period", "none", "add earlier periods", table="panel")
        self._keep(~always)

    def _keep(self, keep: np.ndarray) -> None:
        self._kept = np.flatnonzero(keep)
        self.units, self.y, self.cohort = self.units[keep], self.y[keep], self.cohort[keep]
        self.weight = None if self.weight is None else self.weight[keep]
        self.cluster = None if self.cluster is None else self.cluster[keep]
        self.risk_set = None if self.risk_set is None else self.risk_set[keep]

    @property
    def observed(self) -> np.ndarray:
        """(n, T) bool: outcome known."""
        return np.isfinite(self.y)

    @property
    def cohorts(self) -> np.ndarray:
        """Cohorts treated within the observed periods, ascending."""
        g = np.unique(self.cohort[np.isfinite(self.cohort)])
        return g[g <= self.periods[-1]].astype(int)

    def covariates(self, names: list[str] | tuple[str, ...]) -> pd.DataFrame:
        """(n, len(names)) values of unit-level columns; refused when they are missing or change within a unit."""
        rows = read_columns(self._source, list(names))
        out = {}
        for name in names:
            codes = pd.factorize(rows[name])[0]
            if (codes < 0).any():
                raise DataError("covariates known for every unit", "missing values",
                                "impute them, or drop these units and say so", column=name,
                                count=int((codes < 0).sum()), keys=self._keys(codes < 0))  # fmt: skip
            self._same_in_unit(codes.astype(float), name, "covariates that are constant within a unit",
                               "use the value at the base period, as a column of its own")  # fmt: skip
            out[name] = rows[name].iloc[self._first].iloc[self._kept].reset_index(drop=True)
        return pd.DataFrame(out)

    def tidy(self) -> pd.DataFrame:
        """What came in, and what was left out: columns what, count."""
        never = ~np.isfinite(self.cohort)
        late = np.isfinite(self.cohort) & (self.cohort > self.periods[-1])
        steps = np.diff(self.periods)
        counts = {**self.counts, "units used": len(self.units), "of these never treated": int(never.sum()),
                  "of these treated after the last period (not yet treated throughout)": int(late.sum()),
                  "periods": len(self.periods), "gaps between periods": int((steps > 1).sum()),
                  "cohorts": len(self.cohorts)}  # fmt: skip
        sizes = pd.Series(self.cohort).value_counts()
        counts["cohorts of one unit"] = int((sizes == 1).sum())
        return pd.DataFrame({"what": list(counts), "count": list(counts.values())})

    def summary(self) -> str:
        head = f"panel of {self.columns['outcome']!r}, periods {self.periods[0]} to {self.periods[-1]}"
        return f"{head}\n{self.tidy().to_string(index=False, header=False)}"

    # -- checks ------------------------------------------------------------------------------------------------------

    def _wide(self, outcome: pd.Series, name: str, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        shape = len(self.units), len(self.periods)
        place = self._code * shape[1] + at
        seen = np.bincount(place, minlength=shape[0] * shape[1])
        if seen.max() > 1:
            twice = seen[place] > 1
            raise DataError("one row per unit and period", "duplicates", "aggregate or drop the extra rows",
                            column=self.columns["period"], count=int((seen > 1).sum()),
                            keys=self._keys(twice))  # fmt: skip
        values = _numbers(outcome, name)
        if (infinite := np.isinf(values)).any():
            raise DataError("finite outcomes", "infinite values", "correct them, or set them missing", column=name,
                            count=int(infinite.sum()), keys=self._keys(infinite))  # fmt: skip
        y = np.full(shape[0] * shape[1], np.nan)
        y[place] = values
        return y.reshape(shape), (seen > 0).reshape(shape)

    def _same_in_unit(self, values: np.ndarray, column: str, required: str, mend: str) -> None:
        reference = values[self._first][self._code]
        differs = ~((values == reference) | (np.isnan(values) & np.isnan(reference)))
        if differs.any():
            keys = self._keys(differs)
            raise DataError(required, "units where it changes", mend, column=column, count=len(keys), keys=keys)

    def _unit_numbers(self, rows: pd.DataFrame, column: str | None, required: str) -> np.ndarray | None:
        if column is None:
            return None
        values = _numbers(rows[column], column)
        if not np.isfinite(values).all():
            bad = ~np.isfinite(values)
            raise DataError(required, "missing or infinite values", "fill them or drop the units", column=column,
                            count=int(bad.sum()), keys=self._keys(bad))  # fmt: skip
        self._same_in_unit(values, column, required, "make it constant within the unit")
        return values[self._first]

    def _clusters(self, values: pd.Series, column: str) -> np.ndarray:
        codes = pd.factorize(values, sort=True)[0]
        if (codes < 0).any():
            raise DataError("a cluster for every unit", "missing clusters", "fill them or drop the units",
                            column=column, count=int((codes < 0).sum()), keys=self._keys(codes < 0))  # fmt: skip
        self._same_in_unit(codes.astype(float), column, "one cluster per unit", "use the cluster before treatment")
        return codes[self._first]

    def _keys(self, rows: np.ndarray) -> list:
        """Unit keys behind these rows."""
        return list(self.units[np.unique(self._code[rows])])


def read_columns(frame: Any, names: list[str]) -> pd.DataFrame:
    """These columns of any accepted frame, in row order; the frame itself is never changed."""
    if isinstance(frame, (str, Path)):
        import duckdb

        frame = duckdb.connect().read_parquet(str(frame))
    if type(frame).__module__.split(".")[0] in ("duckdb", "_duckdb"):
        _require(names, list(frame.columns))
        quoted = ", ".join('"' + name.replace('"', '""') + '"' for name in names)
        return frame.project(quoted).to_arrow_table().to_pandas()
    if not isinstance(frame, pd.DataFrame):
        import narwhals as nw

        native = nw.from_native(frame)
        _require(names, list(native.collect_schema().names()))
        narrow = native.select(names)
        return (narrow.collect() if isinstance(narrow, nw.LazyFrame) else narrow).to_pandas()
    _require(names, list(frame.columns))
    return frame[names]


def _require(names: list[str], present: list[str]) -> None:
    absent = [name for name in names if name not in present]
    if absent:
        raise DataError("all named columns", f"no column {', '.join(map(repr, absent))}", "check the spelling",
                        table="panel", count=len(absent), keys=present)  # fmt: skip


def _unit_codes(values: pd.Series, column: str):
    codes, units = pd.factorize(values, sort=True)
    if (codes < 0).any():
        raise DataError("a key in every row", "missing keys", "fill or drop these rows", column=column,
                        count=int((codes < 0).sum()))  # fmt: skip
    first = np.full(len(units), len(codes))
    np.minimum.at(first, codes, np.arange(len(codes)))
    return np.asarray(units), first, codes


def _numbers(values: pd.Series, column: str) -> np.ndarray:
    try:
        if pd.api.types.is_datetime64_any_dtype(values):
            raise TypeError("dates would silently become nanoseconds")
        return values.to_numpy(dtype=float, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise DataError("numbers", f"values of type {values.dtype}", "convert the column", column=column) from error


def _integers(values: pd.Series, column: str) -> np.ndarray:
    numbers = _numbers(values, column)
    bad = ~np.isfinite(numbers) | (numbers != np.round(numbers))
    if bad.any():
        raise DataError("periods as integers, none missing", "other values",
                        "number the periods (year * 4 + quarter - 1)", column=column, count=int(bad.sum()),
                        keys=list(values[bad].unique()[:5]))  # fmt: skip
    return numbers.astype(np.int64)


def _cohorts(values: pd.Series, column: str) -> np.ndarray:
    numbers = _numbers(values, column)
    coded = (numbers == 0) | np.isinf(numbers)
    if coded.any():
        raise DataError("the first treated period, or missing for the never treated", "codes 0 or infinite",
                        "never treated = missing: replace the code", column=column, count=int(coded.sum()),
                        keys=np.unique(numbers[coded]).tolist())  # fmt: skip
    known = np.isfinite(numbers)
    if (numbers[known] != np.round(numbers[known])).any():
        raise DataError("cohorts as integer periods", "fractions", "number them like the periods", column=column)
    return numbers
