"""A complete long table in order, unit by unit and period by period, is wide already: T rows on end are a unit."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np


def blocks(batches: Iterable[Any], periods: np.ndarray) -> Any:
    """Arrow table with one row a unit, or None where rows are not complete, in order, and alike within the unit.

    batches : of u, keys of the units, and, as asked for, t, periods; v0, v1, ..., which become y0, y1, ... outcome by
        outcome and period by period; others, which a unit holds constant.
    """
    import pyarrow as pa

    parts, rest = list[Any](), None
    for batch in batches:
        rows = pa.table(batch) if rest is None else pa.concat_tables([rest, pa.table(batch)])
        whole = len(rows) - len(rows) % len(periods)
        rest = rows.slice(whole)
        if whole:
            parts.append(_turned(rows.slice(0, whole).combine_chunks(), periods))
        if parts and parts[-1] is None:
            return None
    units = None if rest is None or len(rest) else pa.concat_tables(parts)
    return units if units is not None and _ascending(units["u"]) else None


def _turned(rows: Any, periods: np.ndarray) -> Any:
    import pyarrow as pa

    width, columns, y = len(periods), {}, list[Any]()
    starts = pa.array(np.arange(0, len(rows), width))
    inside = np.arange(1, len(rows)) % width > 0  # not the first row of a unit
    for name, column in zip(rows.column_names, rows.columns, strict=True):
        if name == "t":
            if (column.to_numpy().reshape(-1, width) != periods).any():
                return None
        elif name.startswith("v"):
            path = column.to_numpy().reshape(-1, width)
            y += [pa.array(values, from_pandas=True) for values in np.ascontiguousarray(path.T)]
        elif not _like_the_last(column)[inside].all():
            return None
        else:
            columns[name] = column.take(starts)
    return pa.table({**columns, **{f"y{j}": values for j, values in enumerate(y)}})


def _like_the_last(column: Any) -> np.ndarray:
    """(n - 1,) bool: the value, or its absence, is that of the row before."""
    import pyarrow.compute as pc

    row, last = column.slice(1), column.slice(0, len(column) - 1)
    same = pc.equal(row, last)
    if column.null_count:
        same = pc.coalesce(same, pc.and_(pc.is_null(row), pc.is_null(last)))
    return same.to_numpy()


def _ascending(keys: Any) -> bool:
    import pyarrow.compute as pc

    return not keys.null_count and pc.all(pc.less(keys.slice(0, len(keys) - 1), keys.slice(1)), min_count=0).as_py()
