"""Any frame as a table that can be asked: pandas, Polars, Arrow, a DuckDB relation, or the path of a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd

from ..errors import DataError, spelling
from ..read.threads import threads
from .in_order import blocks

WHOLE = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT")
FLOATS = ("FLOAT", "DOUBLE")
NUMBERS = {"BOOLEAN", "DECIMAL", "NULL", '"NULL"', *FLOATS, *WHOLE, *(f"U{kind}" for kind in WHOLE)}
TEXT_FILES = {".csv", ".tsv", ".txt"}
OURS = (duckdb.ParserException, duckdb.BinderException, duckdb.CatalogException, duckdb.InternalException,
        duckdb.OutOfMemoryException)  # fmt: skip


class Source:
    """The frame as the table `source` of a DuckDB of its own; files are read only by the queries that need them."""

    def __init__(self, frame: Any, names: Sequence[str]) -> None:
        self._con = duckdb.connect(config={"threads": threads()})
        self._frame = frame if isinstance(frame, (str, Path, pd.DataFrame)) else _rereadable(frame)
        self._names = list[str]()
        dtypes = frame.dtypes.items() if isinstance(frame, pd.DataFrame) else ()
        self._categories = {str(name) for name, dtype in dtypes if isinstance(dtype, pd.CategoricalDtype)}
        self.use(names)

    def use(self, names: Sequence[str]) -> None:
        """Make these columns, too, part of `source`."""
        self._names = list(dict.fromkeys([*self._names, *names]))
        lower = [str(name).lower() for name in self._names]
        same = [name for name, low in zip(self._names, lower, strict=True) if lower.count(low) > 1]
        if same:
            raise DataError("names that differ in more than upper and lower case", "names that do not", "rename them",
                            table="panel", count=len(same), keys=same)  # fmt: skip
        if isinstance(self._frame, (str, Path)):
            self._file(str(self._frame))
        else:
            self._con.register("source", _columns(self._frame, self._names))
        self.types = dict(zip(*list(self.fetch("DESCRIBE source").values())[:2], strict=True))
        _require(self._names, list(self.types))

    def run(self, sql: str) -> None:
        self._ask(sql, "fetchall")

    def fetch(self, sql: str) -> dict[str, np.ndarray]:
        """Columns of a query: missing numbers are NaN, missing text is None."""
        return {name: _plain(values) for name, values in self._ask(sql, "fetchnumpy").items()}

    def frame(self, sql: str) -> pd.DataFrame:
        """The rows of a query as a frame."""
        return self._ask(sql, "df")

    def arrow(self, sql: str) -> Any:
        """The rows of a query as an Arrow table."""
        return self._ask(sql, "to_arrow_table")

    def one(self, sql: str) -> dict[str, Any]:
        """The only row of a query."""
        return {name: values[0] for name, values in self.fetch(sql).items()}

    def in_order(self, sql: str, periods: np.ndarray) -> Any:
        """Rows of a long table as the Arrow table of its units; None where `blocks` does not apply."""
        import pyarrow as pa

        try:
            return blocks(self._con.sql(sql).to_arrow_reader, periods)
        except (pa.ArrowException, OSError, duckdb.Error):  # no order of such keys; a file cut off: the next query says
            return None

    def hold(self, name: str, table: Any) -> None:
        """Let queries read this Arrow table under a name."""
        self._con.register(name, table)

    def number(self, column: str) -> str:
        """SQL of a column as DOUBLE, NaN as missing; a column that holds no numbers is refused."""
        if not self._holds_numbers(column):
            raise DataError("numbers", f"values of type {self.types[column]}", "convert the column", column=column)
        cast = f"CAST({quoted(column)} AS DOUBLE)"
        return f"nullif({cast}, 'nan'::DOUBLE)" if self.types[column] in FLOATS else cast

    def key(self, column: str) -> str:
        """SQL of a column whose values are names; NaN is missing."""
        kind = self.types[column]
        if kind.endswith("]") or kind.startswith(("STRUCT", "MAP", "UNION")):
            raise DataError("keys as numbers or text", f"values of type {kind}", "convert the column", column=column)
        return f"nullif({quoted(column)}, 'nan'::{kind})" if kind in FLOATS else quoted(column)

    def is_number(self, column: str) -> bool:
        """True for numbers, false for categories (text, dates, true or false)."""
        return self.types[column] != "BOOLEAN" and column not in self._categories and self._holds_numbers(column)

    def _holds_numbers(self, column: str) -> bool:
        kind = self.types[column]
        return kind.split("(")[0] in NUMBERS and not kind.endswith("]")

    def _ask(self, sql: str, how: str) -> Any:
        try:
            # a relation hands its rows to Arrow without a copy
            asked = self._con.sql(sql) if how == "to_arrow_table" else self._con.execute(sql)
            return getattr(asked, how)()
        except OURS:
            raise
        except duckdb.Error as error:
            raise DataError("values that can be read to the last row", _words(error), "correct or convert them; "
                            "write the file again if it was cut off", table="panel") from error  # fmt: skip

    def _file(self, path: str) -> None:
        pattern = f"{path}/**/*.parquet" if Path(path).is_dir() else path
        file = "'" + pattern.replace("'", "''") + "'"
        text = TEXT_FILES & {suffix.lower() for suffix in Path(path).suffixes}
        # all rows decide the type of a column: a type guessed from the first would round what comes later
        options = ", nullstr = ['', 'NA', 'NULL', '.'], sample_size = -1" if text else ""
        reader = f"{'read_csv' if text else 'read_parquet'}({file}{options})"
        try:
            self._con.execute(f"CREATE OR REPLACE VIEW source AS SELECT * FROM {reader}")
        except duckdb.Error as error:
            raise DataError("a complete Parquet or CSV file", f"{Path(path).name}, which cannot be read", "check the "
                            "path; write the file again if it was cut off", table="panel") from error  # fmt: skip


def read_columns(frame: Any, names: Sequence[str]) -> pd.DataFrame:
    """These columns of any frame, in row order."""
    source = Source(frame, names)
    return source.frame(f"SELECT {', '.join(map(quoted, names))} FROM source")


def quoted(name: str) -> str:
    """A column name as a SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def _rereadable(frame: Any) -> Any:
    """The frame, or what an Arrow stream that can be read but once holds; anything else is refused."""
    import narwhals as nw
    import pyarrow as pa

    try:
        if isinstance(nw.from_native(frame, pass_through=True), (nw.DataFrame, nw.LazyFrame)):
            return frame
        if hasattr(frame, "__arrow_c_stream__") or hasattr(frame, "__arrow_c_array__"):
            return pa.table(frame)
    except Exception as error:  # whatever its library raises
        raise _unreadable(error) from error
    raise DataError("a pandas, Polars or Arrow frame, a DuckDB relation, or the path of a Parquet or CSV file",
                    f"a {type(frame).__name__}", "convert it, for example to pandas", table="panel")  # fmt: skip


def _columns(frame: Any, names: list[str]) -> Any:
    """These columns as an Arrow table; the frame itself is never changed."""
    if isinstance(frame, pd.DataFrame):
        return _of_pandas(frame, names)
    import narwhals as nw

    try:
        if isinstance(frame, duckdb.DuckDBPyRelation):
            _require(names, frame.columns)
            return frame.project(", ".join(map(quoted, names))).to_arrow_table()
        native = nw.from_native(frame)
        _require(names, native.collect_schema().names())
        narrow = native.select(names)
        return (narrow.collect() if isinstance(narrow, nw.LazyFrame) else narrow).to_arrow()
    except DataError:
        raise
    except Exception as error:  # whatever its library raises
        raise _unreadable(error) from error


def _of_pandas(frame: pd.DataFrame, names: list[str]) -> Any:
    """Arrow reads every value of an object column; a type guessed from a sample would round or fail later."""
    import pyarrow as pa

    present = [str(name) for name in frame.columns]
    in_index = not set(names) <= set(present) and set(names) <= {*present, *map(str, frame.index.names)}
    _require(names, present, "move the index into columns: reset_index()" if in_index else "")
    twice = [name for name in names if present.count(name) > 1]
    if twice:
        raise DataError("one column of each name", "columns that share their name", "rename or drop the others",
                        table="panel", count=len(twice), keys=twice)  # fmt: skip
    arrays = {}
    for name in names:
        values = frame.iloc[:, present.index(name)]
        try:
            if isinstance(values.dtype, (pd.PeriodDtype, pd.IntervalDtype)):
                raise TypeError(f"values of type {values.dtype}")
            arrays[name] = pa.array(values.astype("float32") if values.dtype == "float16" else values, from_pandas=True)
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            raise DataError("values of one plain type", _words(error), "convert the column",
                            column=name) from error  # fmt: skip
    return pa.table(arrays)


def _require(names: Sequence[str], present: Sequence[str], mend: str = "") -> None:
    absent = [name for name in names if name not in present]
    if absent:
        raise DataError("all named columns", f"no column {', '.join(map(repr, absent))}",
                        mend or spelling(absent[0], present), table="panel", count=len(absent))  # fmt: skip


def _unreadable(error: Exception) -> DataError:
    return DataError("a frame that can be read", f"{type(error).__name__}, {_words(error)}",
                     "repair it, or convert it to a pandas frame", table="panel")  # fmt: skip


def _words(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _plain(values: Any) -> np.ndarray:
    if not np.ma.isMaskedArray(values):
        return np.asarray(values)
    if not values.mask.any():
        return values.data
    return values.filled(None) if values.dtype.kind == "O" else values.astype(float).filled(np.nan)
