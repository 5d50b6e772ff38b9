"""Data level, one column or row at a time: each check is a SQL condition that is true of a wrong row."""

# ruff: noqa: E501  (declarations read best one to a line)

from __future__ import annotations

from dataclasses import dataclass

from sqlglot import exp

from .declare import SQL, Column, Table

_NO_KEY = ("", "nan", "none", "null", "<na>", "nat")


@dataclass(frozen=True)
class Wrong:
    """A condition over rows of one table (alias t), and the clauses of the error where it holds."""

    column: str
    condition: str
    required: str
    found: str
    mend: str
    show: str = ""  # column whose wrong values are quoted in the error


def text(value: object) -> str:
    return exp.convert(value).sql("duckdb")


def name(column: str) -> str:
    return "t." + exp.to_identifier(column, quoted=True).sql("duckdb")


def uncastable(column: Column) -> Wrong:
    """Text that is not what the column is declared to be."""
    c, to = name(column.name), SQL[column.type]
    condition = f"{c} IS NOT NULL AND TRY_CAST({c} AS {to}) IS NULL"
    if column.type == "int":
        number = f"TRY_CAST({c} AS DOUBLE)"
        condition = f"({condition}) OR {number} <> ROUND({number})"
    unit = "integer cents" if column.unit.startswith("cents") else f"{column.type} values"
    mend = {
        "date": "write dates as YYYY-MM-DD",
        "int": "multiply amounts by 100 and round to whole cents" if unit == "integer cents" else "write whole numbers",
        "float": "write numbers with a decimal point and no spaces",
        "bool": "write true or false",
    }.get(column.type, "write text")
    return Wrong(column.name, condition, unit, "text that cannot be read as such", mend, column.name)


def column_checks(table: Table, column: Column, stored: str, until: str) -> list[Wrong]:
    """Everything one declared column promises. stored: SQL type as queries see it; until: ISO date of the last data."""
    c, checks = name(column.name), []
    money = column.unit.startswith("cents")
    if column.name in table.key and not column.nullable:
        # a missing id that went through pandas comes out as the text "nan"
        empty = f"{c} IS NULL"
        if column.type == "text":
            empty += f" OR LOWER(TRIM({c})) IN ({', '.join(map(text, _NO_KEY))})"
        checks.append(Wrong(column.name, empty, "a key in every row", "rows without one (missing, empty or 'nan')",
                            "fill the key or drop the row at its source"))  # fmt: skip
    elif not column.nullable:
        checks.append(Wrong(column.name, f"{c} IS NULL", f"a value in every row{_choices(column)}", "missing values",
                            "fill it" + (" ('unknown' where nobody knows)" if "unknown" in column.allowed else
                                         " ('undeclared' where it was not said)" if "undeclared" in column.allowed else "")))  # fmt: skip
    if column.type == "int" and stored in ("DOUBLE", "FLOAT"):
        checks.append(Wrong(column.name, f"{c} <> ROUND({c})", "integer cents" if money else "whole numbers", "fractions",
                            "multiply amounts by 100 and round to whole cents" if money else "round at the source", column.name))  # fmt: skip
    if column.type == "float" and stored in ("DOUBLE", "FLOAT"):
        checks.append(Wrong(column.name, f"{c} = CAST('NaN' AS DOUBLE)", "numbers, or missing values", "NaN",
                            "write missing values as null"))  # fmt: skip
    if column.allowed:
        listed = ", ".join(text(value) for value in column.allowed)
        checks.append(Wrong(column.name, f"{c} NOT IN ({listed})", f"one of {', '.join(map(str, column.allowed))}",
                            "unknown categories", "map them to the contract's words (lower case, see the data dictionary)",
                            column.name))  # fmt: skip
    if column.pattern:
        checks.append(Wrong(column.name, f"NOT REGEXP_MATCHES({c}, {text(column.pattern)})",
                            f"text like {column.unit or column.doc}", "other text", "correct the format", column.name))  # fmt: skip
    if column.low is not None or column.high is not None:
        low = [] if column.low is None else [f"{c} < {column.low:g}"]
        high = [] if column.high is None else [f"{c} > {column.high:.15g}"]
        bounds = " to ".join(f"{b:.15g}" if b is not None else "..." for b in (column.low, column.high))
        checks.append(Wrong(column.name, " OR ".join(low + high), f"{bounds} {column.unit}".strip(), "values outside",
                            f"check the unit ({column.unit or 'see the data dictionary'})", column.name))  # fmt: skip
    if column.type == "date":
        if not column.future:
            checks.append(Wrong(column.name, f"{c} > CAST({text(until)} AS DATE)", f"dates up to data_until ({until})",
                                "dates in the future", "correct the dates, or raise data_until in study.toml", column.name))  # fmt: skip
        checks.append(Wrong(column.name, f"{c} < CAST('1950-01-01' AS DATE)", "dates since 1950", "earlier dates",
                            "correct them (a spreadsheet's zero date is the usual cause), or leave them missing", column.name))  # fmt: skip
    return checks


def row_checks(table: Table, usable: set[str]) -> list[Wrong]:
    """The declared conditions between columns of a row."""
    checks = []
    for row in table.rows:
        if {need.strip('"') for need in row.needs} <= usable:
            checks.append(Wrong(row.column, row.wrong, row.required, row.found, row.mend))
    return checks


def _choices(column: Column) -> str:
    return f" ({', '.join(map(str, column.allowed))})" if column.allowed else ""
