"""Where the tables are and how they are asked: an engine is a SQL dialect and `fetch(sql) -> Arrow`.

Queries are written once, in DuckDB's dialect; SQLGlot parses them, binds the parameters as literals, quotes every
identifier and renders the engine's own dialect. Tables stay where they are: files become views, nothing is loaded
until a query asks for it.

One setting, `ATTRIBUTION_THREADS` (default 1): with one thread the same query gives the same bytes each time. With
more, sums of floats may differ in the last digit; sums of integer cents never do.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import duckdb
import pyarrow as pa
from sqlglot import exp

from ..errors import DataError
from .sql import first_line as _first_line
from .sql import render
from .threads import threads

_FORMATS = {".parquet": "read_parquet", ".csv": "read_csv"}
_GIVEN = "given|"  # prefix of the view of a table as it was given, before its text is read as dates and numbers

Types = Mapping[str, Mapping[str, str]]


class Engine(Protocol):
    """What the package asks of a database: its SQLGlot dialect, and an Arrow table for a query."""

    dialect: str

    def fetch(self, sql: str) -> pa.Table: ...


class DuckDB:
    """The embedded engine: DuckDB in process, one view a table over files, frames or a database.

    Parameters
    ----------
    types : table -> column -> SQL type (BIGINT, DOUBLE, DATE, BOOLEAN, VARCHAR). A text column declared otherwise is
        cast when it is read, an integer id is read as text; nothing else is converted.
    """

    dialect = "duckdb"

    def __init__(self, types: Types | None = None) -> None:
        self.types = types or {}
        self.files: dict[str, list[Path]] = {}
        self._tables: dict[str, dict[str, str]] = {}
        self._given: dict[str, dict[str, str]] = {}
        self._con = duckdb.connect(config={"threads": threads()})

    def fetch(self, sql: str) -> pa.Table:
        try:
            return self._con.sql(sql).to_arrow_table()
        except duckdb.Error as error:
            raise _as_data_error(error) from error

    def tables(self) -> dict[str, dict[str, str]]:
        """Table -> column -> type as queries see it."""
        return self._tables

    def given(self, table: str) -> dict[str, str]:
        """Column -> type as the table was given, before casts."""
        return self._given[table]

    def given_name(self, table: str) -> str:
        """The view of the table as it was given (for counting the values that a cast would refuse)."""
        return _GIVEN + table if self._given[table] != self._tables[table] else table

    def add_frame(self, table: str, frame: Any) -> None:
        """Register a pandas, Polars or Arrow frame, or a DuckDB relation, under a table name."""
        arrow = as_arrow(frame)
        given = dict(zip(arrow.column_names, map(_sql_type, arrow.schema.types), strict=True))
        name = table if not self._casts(table, given) else _GIVEN + table
        self._con.register(name, arrow)
        self._view(table, _quoted(name), given)

    def add_files(self, table: str, files: Sequence[Path]) -> None:
        """One view over the Parquet or CSV files of one table."""
        function = _FORMATS[files[0].suffix.lower()]
        for file in files:
            _refuse_unreadable(table, file)
        # every CSV value of a declared table starts as text: an id such as 00123 must not become a number
        options = ["union_by_name = true"]
        if function == "read_csv":
            options += ["header = true", f"all_varchar = {str(table in self.types).lower()}"]
        paths = ", ".join(exp.Literal.string(file.as_posix()).sql("duckdb") for file in files)
        source = f"{function}([{paths}], {', '.join(options)})"
        self._source(table, source, files[0].name)
        self.files[table] = list(files)

    def attach(self, file: Path) -> None:
        """Every table of a DuckDB file, read only."""
        try:
            self._con.execute(f"ATTACH {exp.Literal.string(file.as_posix()).sql('duckdb')} AS source (READ_ONLY)")
        except duckdb.Error as error:
            raise DataError(
                "a DuckDB database",
                f"{file.name}, which DuckDB cannot open ({_first_line(error)})",
                "write the file again",
            ) from error
        names = self._con.execute(
            "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = 'source' UNION "
            "SELECT schema_name, view_name FROM duckdb_views() WHERE database_name = 'source' AND NOT internal "
            "ORDER BY 1, 2"
        ).fetchall()
        for schema, table in names:
            self._source(table, f"source.{_quoted(schema)}.{_quoted(table)}", file.name)
            self.files[table] = [file]

    def close(self) -> None:
        self._con.close()

    def _source(self, table: str, source: str, shown: str) -> None:
        try:
            described = self._con.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()
        except duckdb.Error as error:
            raise DataError(
                "a complete Parquet or CSV file", f"{shown} cannot be read ({_first_line(error)})",
                "write the file again; a copy that was cut off is the usual cause", table=table, count=1, keys=[shown],
            ) from error  # fmt: skip
        self._view(table, source, {row[0]: row[1] for row in described})

    def _casts(self, table: str, given: Mapping[str, str]) -> dict[str, str]:
        declared = self.types.get(table, {})
        return {
            column: to
            for column, have in given.items()
            if (to := declared.get(column)) and have != to and castable(have, to)
        }

    def _view(self, table: str, source: str, given: dict[str, str]) -> None:
        casts = self._casts(table, given)
        if casts or source != _quoted(table):
            if casts and not source.startswith(_quoted(_GIVEN + table)):
                self._con.execute(f"CREATE OR REPLACE VIEW {_quoted(_GIVEN + table)} AS SELECT * FROM {source}")
                source = _quoted(_GIVEN + table)
            columns = ", ".join(
                f"CAST({_quoted(c)} AS {casts[c]}) AS {_quoted(c)}" if c in casts else _quoted(c) for c in given
            )
            self._con.execute(f"CREATE OR REPLACE VIEW {_quoted(table)} AS SELECT {columns} FROM {source}")
        self._given[table] = given
        self._tables[table] = given | casts


def open_engine(where: str | Path, types: Types | None = None) -> Any:
    """An engine over a folder of Parquet or CSV files, a `.duckdb` file, or a URL of a scheme in `ENGINES`."""
    text = str(where)
    scheme, separator, rest = text.partition("://")
    if separator:
        if scheme not in ENGINES:
            raise DataError(
                f"a folder, a .duckdb file or a URL of {', '.join(f'{s}://' for s in sorted(ENGINES))}", f"{scheme}://",
                "use one of these, or add an engine (a dialect and fetch(sql) -> Arrow, for example over the ADBC "
                "driver of that database) to attribution.read.engine.ENGINES",
            )  # fmt: skip
        return ENGINES[scheme](rest, types)
    path = Path(where)
    if path.is_file() and path.suffix in (".duckdb", ".db"):
        return _duckdb_file(text, types)
    if not path.is_dir():
        raise DataError(
            "a folder of tables or a DuckDB file", f"{path.as_posix()}, which does not exist",
            "correct `tables` in study.toml, or put the tables there (attribution new writes a template)",
        )  # fmt: skip
    return _folder(path, types)


def _folder(folder: Path, types: Types | None) -> DuckDB:
    engine = DuckDB(types)
    found: dict[str, list[Path]] = {}
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith((".", "_")):
            continue
        if entry.is_dir():
            parts = sorted(part for part in entry.rglob("*") if part.suffix.lower() in _FORMATS)
            if parts:
                _one_format(entry.name, parts)
                found.setdefault(entry.name, []).extend(parts)
        elif entry.suffix.lower() in _FORMATS:
            found.setdefault(entry.stem, []).append(entry)
            if len(found[entry.stem]) > 1:
                raise DataError(
                    "one file, or one folder of part files, a table",
                    f"both {' and '.join(part.name for part in found[entry.stem][:2])}",
                    "keep one of them", table=entry.stem, count=len(found[entry.stem]),
                    keys=[part.name for part in found[entry.stem]],
                )  # fmt: skip
    for table, files in found.items():
        engine.add_files(table, files)
    return engine


def _one_format(table: str, parts: list[Path]) -> None:
    if len({part.suffix.lower() for part in parts}) > 1:
        raise DataError(
            "part files of one format", "both Parquet and CSV files", "convert the parts to one format",
            table=table, count=len(parts), keys=[part.name for part in parts],
        )  # fmt: skip


def _duckdb_file(path: str, types: Types | None) -> DuckDB:
    file = Path(path)
    if not file.is_file():
        raise DataError("a DuckDB file", f"{file.as_posix()}, which does not exist", "correct `tables` in study.toml")
    engine = DuckDB(types)
    engine.attach(file)
    return engine


ENGINES: dict[str, Callable[[str, Types | None], Any]] = {"duckdb": _duckdb_file}


def castable(have: str, to: str) -> bool:
    """Whether a stored type may be read as the declared one without a chance of changing a readable value."""
    if have.startswith("ENUM"):
        return True
    if have == "VARCHAR":
        return to != "VARCHAR"
    integer = have in _INTEGERS
    return (
        (to == "DATE" and have.startswith("TIMESTAMP"))
        or (to == "VARCHAR" and integer)
        or (to == "BOOLEAN" and integer)
        or (to == "BIGINT" and (integer or have == "BOOLEAN"))
        or (to == "DOUBLE" and (integer or have in ("FLOAT", "BOOLEAN") or have.startswith("DECIMAL")))
        or have == '"NULL"'  # a column without a single value
    )


_INTEGERS = {
    "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT",
}  # fmt: skip


def as_arrow(frame: Any) -> pa.Table:
    """The frame as an Arrow table: pandas (NaN becomes missing), Polars, Arrow, a DuckDB relation."""
    if isinstance(frame, pa.Table):
        return frame
    if isinstance(frame, pa.RecordBatch):
        return pa.Table.from_batches([frame])
    if hasattr(frame, "collect") and not hasattr(frame, "to_arrow"):  # a lazy Polars frame
        frame = frame.collect()
    if hasattr(frame, "to_arrow_table"):
        return frame.to_arrow_table()
    if hasattr(frame, "to_arrow"):
        return frame.to_arrow()
    import pandas as pd

    if isinstance(frame, pd.DataFrame):
        try:
            return pa.Table.from_pandas(frame, preserve_index=False)
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise DataError(
                "columns of one type each",
                f"a column of mixed types ({_first_line(error)})",
                "give each column one type",
            ) from error
    raise DataError(
        "a pandas, Polars or Arrow frame, or a DuckDB relation", f"a {type(frame).__name__}", "convert it first"
    )


def is_data_file(file: Path) -> bool:
    """A file that `DuckDB.add_files` reads."""
    return file.suffix.lower() in _FORMATS and file.is_file()


def to_pandas(table: pa.Table):
    """Arrow -> pandas: dates as datetime64, exact integers and decimals as int64 or float64."""
    for k, field in enumerate(table.schema):
        if pa.types.is_decimal(field.type):
            to = pa.int64() if field.type.scale == 0 else pa.float64()
            try:
                column = table.column(k).cast(to)
            except pa.ArrowInvalid:  # beyond 64 bits
                column = table.column(k).cast(pa.float64())
            table = table.set_column(k, field.name, column)
    return table.to_pandas(date_as_object=False)


def query(engine: Engine, sql: str, **params: Any) -> pa.Table:
    """Run a query written in DuckDB's dialect on any engine; `:name` placeholders are bound as literals."""
    return engine.fetch(render(sql, engine.dialect, **params))


def _refuse_unreadable(table: str, file: Path) -> None:
    if file.stat().st_size == 0:
        raise DataError(
            "a file with at least a header", f"{file.name} of 0 bytes",
            "write the file again, or remove it if the study lacks this table", table=table, count=1, keys=[file.name],
        )  # fmt: skip
    if file.suffix.lower() != ".csv":
        return
    decoder = codecs.getincrementaldecoder("utf-8")()
    with file.open("rb") as stream:
        try:
            while block := stream.read(1 << 20):
                decoder.decode(block)
            decoder.decode(b"", final=True)
            return
        except UnicodeDecodeError:
            stream.seek(0)
            bad = [number for number, line in enumerate(stream, start=1) if not _is_utf8(line)]
    raise DataError(
        "CSV text in UTF-8", f"lines of {file.name} in another encoding",
        "save the file as UTF-8 (in a spreadsheet: 'CSV UTF-8')", table=table, count=len(bad),
        keys=[f"line {number}" for number in bad],
    )  # fmt: skip


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _as_data_error(error: duckdb.Error) -> DataError:
    found = _first_line(error)
    if isinstance(error, duckdb.ConversionException):
        return DataError(
            "values of the declared type",
            found,
            "run `attribution check` on the study: it names the table, column and keys",
        )
    if isinstance(error, (duckdb.BinderException, duckdb.CatalogException, duckdb.ParserException)):
        return DataError(
            "a query over the tables of the study", found, "correct the query; Study.columns(table) lists names"
        )
    return DataError("readable tables", found, "write the file again; a copy that was cut off is the usual cause")


def _quoted(name: str) -> str:
    return exp.to_identifier(name, quoted=True).sql("duckdb")


def _sql_type(arrow: pa.DataType) -> str:
    t = pa.types
    if t.is_dictionary(arrow):
        return "ENUM"
    if t.is_string(arrow) or t.is_large_string(arrow) or t.is_string_view(arrow):
        return "VARCHAR"
    if t.is_boolean(arrow):
        return "BOOLEAN"
    if t.is_integer(arrow):
        names = {8: "TINYINT", 16: "SMALLINT", 32: "INTEGER", 64: "BIGINT"}
        return ("U" if t.is_unsigned_integer(arrow) else "") + names[arrow.bit_width]
    if t.is_floating(arrow):
        return "DOUBLE" if arrow.bit_width == 64 else "FLOAT"
    if t.is_date(arrow):
        return "DATE"
    if t.is_timestamp(arrow):
        return "TIMESTAMP"
    if t.is_null(arrow):
        return '"NULL"'
    return str(arrow).upper()
