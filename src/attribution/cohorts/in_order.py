"""A complete long table in order, unit by unit and period by period, is wide already: T rows on end are a unit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

BATCH = 131_072  # rows in memory at once, at least


def blocks(read: Callable[[int], Any], periods: np.ndarray) -> Any:
    """Arrow table with one row a unit, or None where rows are not complete, in order, and alike within the unit.

    read : number of rows -> batches of so many: u, keys of the units, and, as asked for, t, periods; v0, v1, ..., which
        become y0, y1, ... outcome by outcome and period by period; others, which a unit holds constant.
    """
    import pyarrow as pa

    width, rest, parts = len(periods), None, list[Any]()
    for batch in read(-(-BATCH // width) * width):
        rows = pa.concat_batches([rest, batch]) if rest else batch  # several threads make shorter batches
        whole = len(rows) - len(rows) % width
        rest = rows[whole:]
        turned = _turned(rows[:whole], periods)
        if turned is None:
            return None
        parts.append(turned)
    units = None if rest else pa.Table.from_batches(parts)
    return units if units is not None and _ascending(units["u"]) else None


def _turned(batch: Any, periods: np.ndarray) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    width, columns, y = len(periods), dict[str, Any](), list[Any]()
    first = np.zeros((len(batch) // width, width), dtype=bool)
    first[:, 0] = True
    starts, first = pa.array(np.arange(0, len(batch), width)), pa.array(first.ravel()[1:])
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if name == "t":
            if (column.to_numpy().reshape(-1, width) != periods).any():
                return None
        elif name.startswith("v"):
            path = np.ascontiguousarray(column.to_numpy(zero_copy_only=False).reshape(-1, width).T)
            y += [pa.array(values, from_pandas=column.null_count > 0) for values in path]
        elif pc.all(pc.or_(_like_the_last(column), first), min_count=0).as_py():
            columns[name] = column.take(starts)
        else:
            return None
    return pa.record_batch({**columns, **{f"y{j}": values for j, values in enumerate(y)}})


def _like_the_last(column: Any) -> Any:
    """(n - 1,) bool: the value, or its absence, is that of the row before."""
    import pyarrow.compute as pc

    row, last = column[1:], column[:-1]
    same = pc.equal(row, last)
    return pc.coalesce(same, pc.and_(row.is_null(), last.is_null())) if column.null_count else same


def _ascending(keys: Any) -> bool:
    import pyarrow.compute as pc

    return not keys.null_count and pc.all(pc.less(keys[:-1], keys[1:]), min_count=0).as_py()
