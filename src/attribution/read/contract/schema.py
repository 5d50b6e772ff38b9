"""Schema level: columns and types, by pandera on the frame without rows. No data are read."""

from __future__ import annotations

import difflib
from functools import cache
from typing import Any

import pyarrow as pa

from ...errors import DataError
from .declare import Table

_ARROW = {"text": pa.string(), "int": pa.int64(), "float": pa.float64(), "bool": pa.bool_(), "date": pa.date32()}
_MEND = {
    "text": "store it as text",
    "int": "store whole numbers",
    "float": "store it as a number",
    "bool": "store true and false",
    "date": "store a date (in text: YYYY-MM-DD)",
}


@cache
def schema(table: Table) -> Any:
    """The table as a pandera DataFrameSchema (Arrow types); columns beyond the contract are allowed."""
    import pandas as pd
    import pandera.pandas as pandera

    return pandera.DataFrameSchema(
        {
            column.name: pandera.Column(
                pd.ArrowDtype(_ARROW[column.type]),
                required=column.required,
                nullable=True,
                description=column.doc or None,
            )
            for column in table.columns
        },
        name=table.name,
        strict=False,
    )


def problems_of_schema(table: Table, empty: pa.Table) -> list[DataError]:
    """Missing columns and wrong types, from a table without rows."""
    import pandas as pd
    import pandera.errors

    declared = {column.name: column.type for column in table.columns}
    stored = {field.name: field.type for field in empty.schema}
    plain = pa.schema([pa.field(name, _plain(kind, declared.get(name))) for name, kind in stored.items()])
    try:
        schema(table).validate(plain.empty_table().to_pandas(types_mapper=pd.ArrowDtype), lazy=True)
    except pandera.errors.SchemaErrors as failed:
        found = {
            str(error.failure_cases if error.reason_code.name == "COLUMN_NOT_IN_DATAFRAME" else error.schema.name)
            for error in failed.schema_errors
        }
    else:
        return []
    wrong = []
    for column in table.columns:
        if column.name in stored and column.name in found:
            wrong.append(
                DataError(
                    f"{column.type} values{f' ({column.unit})' if column.unit else ''}",
                    f"a column of type {stored[column.name]}",
                    _MEND[column.type],
                    table=table.name,
                    column=column.name,
                )  # fmt: skip
            )
        elif column.name not in stored and column.required:
            near = difflib.get_close_matches(column.name, [name for name in stored if name not in declared], n=1)
            wrong.append(
                DataError(
                    f"a column {column.name} ({column.doc or column.type})",
                    "no such column",
                    f"rename {near[0]} to {column.name}"
                    if near
                    else "add the column" + (" (values may be missing)" if column.nullable else ""),
                    table=table.name,
                    column=column.name,
                )  # fmt: skip
            )
    return wrong


def _plain(kind: pa.DataType, declared: str | None) -> pa.DataType:
    """The Arrow type as one of the five of the contract, where it is one."""
    t = pa.types
    if t.is_large_string(kind) or t.is_string_view(kind) or t.is_dictionary(kind):
        return pa.string()
    if t.is_integer(kind):
        return pa.int64()
    if t.is_floating(kind) or t.is_decimal(kind):
        # whole numbers with gaps are often stored as floats: the data checks refuse those that are not whole
        return pa.int64() if declared == "int" else pa.float64()
    if t.is_null(kind) and declared:
        return _ARROW[declared]
    return kind
