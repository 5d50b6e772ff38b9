"""One text for every engine: DuckDB's dialect in, the engine's dialect out, parameters bound as literals."""

from __future__ import annotations

import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import sqlglot
from sqlglot import exp

from ..errors import DataError


def render(sql: str, dialect: str = "duckdb", **params: Any) -> str:
    """The query in the engine's dialect, identifiers quoted, each `:name` replaced by a literal."""
    tree = _parse(sql)
    if not params and not tree.find(exp.Placeholder):
        return tree.sql(dialect, identify=True)
    tree = tree.copy()
    used = set()
    for place in list(tree.find_all(exp.Placeholder)):
        name = place.name
        if name not in params:
            raise DataError(
                "a value for every :name of the query", f":{name} without one", f"pass {name}=...", keys=[name]
            )
        used.add(name)
        value = params[name]
        if isinstance(value, (list, tuple, set, frozenset, np.ndarray)):
            values = [literal(item) for item in (sorted(value) if isinstance(value, (set, frozenset)) else value)]
            home: Any = place.parent if isinstance(place.parent, (exp.In, exp.Tuple)) else None
            home = home or (place.parent.parent if isinstance(place.parent, exp.Paren) else None)
            if not values or home is None:
                raise DataError(
                    "a non-empty list inside IN (:name)", f":{name}", "write `column IN (:name)`", keys=[name]
                )
            home.set("expressions", values)
        else:
            place.replace(literal(value))
    if unused := sorted(set(params) - used):
        raise DataError(
            "only values that the query names", f"{', '.join(unused)} not in the query", "remove them", keys=unused
        )
    return tree.sql(dialect, identify=True)


def literal(value: Any) -> Any:
    """A Python value as a SQL literal expression."""
    if value is None:
        return exp.Null()
    if isinstance(value, (bool, np.bool_)):
        return exp.Boolean(this=bool(value))
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, datetime.datetime):
        return exp.cast(exp.Literal.string(value.isoformat(sep=" ")), "timestamp")
    if isinstance(value, datetime.date):
        return exp.cast(exp.Literal.string(value.isoformat()), "date")
    if isinstance(value, (int, float, str)):
        if isinstance(value, float) and not np.isfinite(value):
            raise DataError("finite numbers as query parameters", str(value), "filter it out first")
        return exp.convert(value)
    raise DataError(
        "numbers, text, dates, booleans or None as query parameters", type(value).__name__, "convert the value first"
    )


def tables_of(sql: str) -> set[str]:
    """The stored tables a query reads."""
    tree = _parse(sql)
    local = {cte.alias for cte in tree.find_all(exp.CTE)}
    return {table.name for table in tree.find_all(exp.Table) if table.name and table.name not in local}


@lru_cache(maxsize=512)
def _parse(sql: str) -> Any:
    try:
        trees = sqlglot.parse(sql, read="duckdb")
    except sqlglot.errors.SqlglotError as error:
        raise DataError(
            "a query in DuckDB's SQL", f"text that does not parse ({first_line(error)})", "correct it"
        ) from error
    if len(trees) != 1 or not isinstance(trees[0], exp.Query):
        raise DataError(
            "one SELECT", "another statement, or several", "ask one question a call; tables are never written"
        )
    return trees[0]


def first_line(error: BaseException) -> str:
    # file paths stay out: messages end up in reports that are published
    line = next((part.strip() for part in str(error).splitlines() if part.strip()), type(error).__name__)
    return " ".join(Path(word.strip("\"'")).name if "/" in word else word for word in line.split())[:200]
