"""Any frame as a table that can be asked: pandas, Polars, Arrow, a DuckDB relation, or the path of a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd

from ..errors import DataError
from ..read.threads import threads

NUMBERS = ("BOOLEAN", "FLOAT", "DOUBLE", "DECIMAL", "NULL", '"NULL"')


class Source:
    """The frame as the table `source` of a DuckDB of its own; files are read only by the queries that need them."""

    def __init__(self, frame: Any, names: Sequence[str]) -> None:
        self._con = duckdb.connect(config={"threads": threads()})
        self._frame, self._names = frame, list[str]()
        self.use(names)

    def use(self, names: Sequence[str]) -> None:
        """Make these columns, too, part of `source`."""
        self._names = list(dict.fromkeys([*self._names, *names]))
        if isinstance(self._frame, (str, Path)):
            self._file(Path(self._frame))
        else:
            self._con.register("source", _columns(self._frame, self._names))
        self.types = {row[0]: row[1] for row in self._con.execute("DESCRIBE source").fetchall()}
        _require(self._names, list(self.types))

    def run(self, sql: str) -> None:
        self._con.execute(sql)

    def fetch(self, sql: str) -> dict[str, np.ndarray]:
        """Columns of a query: missing numbers are NaN, missing text is None."""
        return {name: _plain(values) for name, values in self._con.execute(sql).fetchnumpy().items()}

    def frame(self, sql: str) -> pd.DataFrame:
        """The rows of a query as a frame."""
        return self._con.execute(sql).df()

    def one(self, sql: str) -> dict[str, Any]:
        """The only row of a query."""
        return {name: values[0] for name, values in self.fetch(sql).items()}

    def number(self, column: str) -> str:
        """SQL of a column as DOUBLE, NaN as missing; a column that holds no numbers is refused."""
        kind = self.types[column]
        if not (kind.startswith(NUMBERS) or kind.endswith("INT") or kind == "INTEGER" or kind == "UINTEGER"):
            raise DataError("numbers", f"values of type {kind}", "convert the column", column=column)
        cast = f"CAST({quoted(column)} AS DOUBLE)"
        return f"nullif({cast}, 'nan'::DOUBLE)" if kind in ("FLOAT", "DOUBLE") else cast

    def is_number(self, column: str) -> bool:
        """True for numbers, false for categories (text, dates, true or false)."""
        kind = self.types[column]
        return kind != "BOOLEAN" and (kind.startswith(NUMBERS) or "INT" in kind)

    def _file(self, path: Path) -> None:
        reader = "read_csv" if path.suffix.lower() == ".csv" else "read_parquet"
        try:
            text = str(path).replace("'", "''")
            self._con.execute(f"CREATE OR REPLACE VIEW source AS SELECT * FROM {reader}('{text}')")
        except duckdb.Error as error:
            raise DataError("a complete Parquet or CSV file", f"{path.name}, which cannot be read",
                            "check the path; write the file again if it was cut off", table="panel") from error  # fmt: skip


def read_columns(frame: Any, names: Sequence[str]) -> pd.DataFrame:
    """These columns of any frame, in row order."""
    source = Source(frame, names)
    return source.frame(f"SELECT {', '.join(map(quoted, names))} FROM source")


def quoted(name: str) -> str:
    """A column name as a SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def _columns(frame: Any, names: list[str]) -> Any:
    """These columns, in a form DuckDB can read; the frame itself is never changed."""
    if type(frame).__module__.split(".")[0] in ("duckdb", "_duckdb"):
        _require(names, list(frame.columns))
        return frame.project(", ".join(map(quoted, names))).to_arrow_table()
    import narwhals as nw

    native = nw.from_native(frame)
    _require(names, list(native.collect_schema().names()))
    narrow = native.select(names)
    narrow = narrow.collect() if isinstance(narrow, nw.LazyFrame) else narrow
    return narrow.to_native() if narrow.implementation.is_pandas() else narrow.to_arrow()


def _require(names: list[str], present: list[str]) -> None:
    absent = [name for name in names if name not in present]
    if absent:
        raise DataError("all named columns", f"no column {', '.join(map(repr, absent))}", "check the spelling",
                        table="panel", count=len(absent), keys=present)  # fmt: skip


def _plain(values: np.ndarray) -> np.ndarray:
    if not isinstance(values, np.ma.MaskedArray):
        return values
    if not values.mask.any():
        return values.data
    return values.astype(object).filled(None) if values.dtype.kind == "O" else values.astype(float).filled(np.nan)
