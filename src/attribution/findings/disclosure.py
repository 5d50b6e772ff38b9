"""Small cells: which counts may not be shown, and which others would give them away.

A count of 1 to min_cell - 1 people is hidden, and so is whatever published totals, or another table with the same
totals, would let a reader subtract back (complementary suppression, Cox 1980; Hundepool et al. 2012, ch. 4).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..errors import DataError
from ..read.config import Disclosure
from ..results import Effects

Sum = tuple[Hashable, Sequence[Hashable]]
MARK = "suppressed"


def protect(
    cells: Mapping[Hashable, int] | pd.Series, sums: Iterable[Sum] = (), *, min_cell: int = 10,
    sensitive: Iterable[Hashable] = (), min_cell_sensitive: int = 11, hidden: Iterable[Hashable] = (),
    public: Iterable[Hashable] = (),
) -> set[Hashable]:  # fmt: skip
    """The cells to hide: small ones, and as few and as small others as keep them from being worked out.

    Parameters
    ----------
    cells : key -> number of people. A key that appears in several tables is one cell.
    sums : (total, parts): total = sum of parts, all keys of `cells`. Two equal cells are a sum of one part.
    min_cell, min_cell_sensitive : smallest count that may be shown; the second for the keys in `sensitive`.
    hidden : keys that must be hidden for another reason. public : keys printed elsewhere, which hiding cannot help.

    A hidden small cell is safe when the published cells and sums neither fix it (null space) nor, with counts that
    cannot be negative, bound it below its minimum (linear programme). Zeros are shown: nobody is in them.
    """
    counts = {key: _whole(value, key) for key, value in dict(cells).items()}
    equations = [(total, list(parts)) for total, parts in sums]
    for total, parts in equations:
        missing = [key for key in (total, *parts) if key not in counts]
        if missing:
            raise DataError("sums over known cells", f"{missing[0]!r} is no cell", "add the cell or correct the sum")
        if counts[total] != sum(counts[part] for part in parts):
            raise DataError("parts that add up to their total", f"{total!r} does not", "correct the sum")
    special = set(sensitive)
    floor = {key: min_cell_sensitive if key in special else min_cell for key in counts}
    primary = {key for key, n in counts.items() if 0 < n < floor[key]} | set(hidden)
    out = set(primary)
    while unsafe := _unsafe(primary, out, counts, equations, floor):
        out.add(_cheapest(unsafe, out, set(public), counts, equations))
    for key in sorted(out - primary, key=lambda key: -counts[key]):
        if not _unsafe(primary, out - {key}, counts, equations, floor):
            out.remove(key)  # a later choice made this one needless
    return out


def recoverable(out: Iterable[Hashable], cells: Mapping[Hashable, int], sums: Iterable[Sum]) -> set[Hashable]:
    """Hidden cells that the published ones determine exactly: those no direction of the null space moves."""
    hidden = sorted(out, key=str)
    matrix = _matrix(hidden, list(sums))
    if not len(matrix):
        return set()
    _, sizes, right = np.linalg.svd(matrix)
    rank = int((sizes > 1e-9 * max(sizes.max(), 1.0)).sum())
    free = right[rank:]
    moves = np.abs(free).max(axis=0) if len(free) else np.zeros(len(hidden))
    return {key for key, move in zip(hidden, moves, strict=True) if move < 1e-9}


def too_small(effects: Effects, rule: Disclosure) -> bool:
    """Whether an effect rests on fewer people than may be shown.

    A share needs `percent_min_n` people in each arm and no small cell in its parts; money needs `min_cell_sensitive`.
    """
    people = np.concatenate([effects.n_treated, effects.n_comparison])
    if not (people > 0).any():
        return True
    least = people[people > 0].min()  # an estimate that could not be made shows nobody
    if effects.unit != "share":
        return bool(least < rule.min_cell_sensitive)
    parts = effects.labels["term"].isin(["observed", "counterfactual"]).to_numpy()
    cells = np.round(effects.estimate[parts] * least)
    cells = np.concatenate([cells, least - cells])
    return bool(least < rule.percent_min_n or ((cells > 0) & (cells < rule.min_cell)).any())


def protect_table(
    frame: pd.DataFrame, *, counts: Sequence[str], shares: Mapping[str, str | tuple[str, str]] | None = None,
    values: Mapping[str, str] | None = None, total: Any = None, sums: Iterable[tuple[str, Sequence[str]]] = (),
    min_cell: int = 10, percent_min_n: int = 25, hidden: Iterable[tuple[Any, str]] = (),
) -> pd.DataFrame:  # fmt: skip
    """A table for people in which no small cell can be read or worked out; hidden cells are words, never numbers.

    Parameters
    ----------
    frame : one row a group, the index names the groups (unique). Never changed.
    counts : columns that hold people. shares : share column -> its n column, or (count column, n column).
    values : other numeric columns (means, estimates) -> their n column; hidden with it.
    total : index label of the row that is the sum of all others. sums : within a row, (column, its parts).
    min_cell : smallest count shown (11 for income, disability, refugee). percent_min_n : smallest n of a share.
    hidden : (row, column) pairs that must be hidden because a linked table hides them.
    """
    return protect_tables(
        {"table": {"frame": frame, "counts": counts, "shares": shares or {}, "values": values or {}, "total": total,
                   "sums": sums, "hidden": hidden}},
        min_cell=min_cell, percent_min_n=percent_min_n,
    )["table"]  # fmt: skip


def protect_tables(
    tables: Mapping[str, Mapping[str, Any]], *, equal: Iterable[tuple[Hashable, Hashable]] = (), min_cell: int = 10,
    percent_min_n: int = 25,
) -> dict[str, pd.DataFrame]:  # fmt: skip
    """Several linked tables protected together: what one hides cannot be read in another.

    Parameters
    ----------
    tables : name -> the arguments of `protect_table` (frame, counts, shares, values, total, sums, hidden).
    equal : pairs of cells (table, row, column) that are the same people in two tables.
    """
    cells: dict[Hashable, int] = {}
    equations: list[Sum] = []
    forced: set[Hashable] = set()
    for name, table in tables.items():
        part, own, more = _cells(name, table)
        cells.update(part)
        equations += own
        forced |= more
    equations += [(left, [right]) for left, right in equal]
    out = protect(cells, equations, min_cell=min_cell, hidden=forced)
    return {name: _display(name, table, out, min_cell, percent_min_n) for name, table in tables.items()}


# -- inside ---------------------------------------------------------------------------------------------------------


def _whole(value: Any, key: Hashable) -> int:
    if pd.isna(value) or value < 0 or float(value) != int(value):
        raise DataError("whole counts of people", f"{value!r} in {key!r}", "count people, not weights or shares")
    return int(value)


def _matrix(hidden: Sequence[Hashable], equations: Sequence[Sum]) -> np.ndarray:
    """(equations with a hidden cell, hidden cells): coefficients of the unknown counts."""
    place = {key: j for j, key in enumerate(hidden)}
    rows = []
    for total, parts in equations:
        row = np.zeros(len(hidden))
        for key, sign in ((total, -1.0), *((part, 1.0) for part in parts)):
            if key in place:
                row[place[key]] += sign
        if row.any():
            rows.append(row)
    return np.array(rows).reshape(len(rows), len(hidden))


def _unsafe(
    primary: set[Hashable], out: set[Hashable], counts: Mapping[Hashable, int], equations: Sequence[Sum],
    floor: Mapping[Hashable, int],
) -> list[Hashable]:  # fmt: skip
    """Small cells a reader could pin down, in a stable order."""
    known = recoverable(out, counts, equations)
    fixed = [key for key in primary if key in known]
    if not fixed:
        fixed = _bounded(primary, out, counts, equations, floor)
    return sorted(fixed, key=lambda key: (counts[key], str(key)))


def _bounded(
    primary: set[Hashable], out: set[Hashable], counts: Mapping[Hashable, int], equations: Sequence[Sum],
    floor: Mapping[Hashable, int],
) -> list[Hashable]:  # fmt: skip
    """Small cells whose largest possible count stays below their minimum."""
    hidden = sorted(out, key=str)
    matrix = _matrix(hidden, equations)
    if not len(matrix):
        return []
    from scipy.optimize import linprog

    right = matrix @ np.array([counts[key] for key in hidden], float)
    found = []
    for j, key in enumerate(hidden):
        if key not in primary or not matrix[:, j].any() or counts[key] >= floor[key]:
            continue
        goal = np.zeros(len(hidden))
        goal[j] = -1.0
        answer = linprog(goal, A_eq=matrix, b_eq=right, bounds=(0, None), method="highs")
        if answer.status == 0 and -answer.fun < floor[key] - 1e-6:
            found.append(key)
    return found


def _cheapest(
    unsafe: Sequence[Hashable], out: set[Hashable], public: set[Hashable], counts: Mapping[Hashable, int],
    equations: Sequence[Sum],
) -> Hashable:  # fmt: skip
    """Smallest published cell that shares a sum with an unsafe one (or with anything hidden, if none does)."""

    def beside(keys: set[Hashable]) -> list[Hashable]:
        near = {key for total, parts in equations if keys & {total, *parts} for key in (total, *parts)}
        return sorted(near - out - public, key=lambda key: (counts[key] == 0, counts[key], str(key)))

    choice = beside(set(unsafe)) or beside(out)
    if not choice:
        raise DataError("sums that leave room to hide a cell", f"none for {unsafe[0]!r}", "merge small groups")
    return choice[0]


def _cells(name: str, table: Mapping[str, Any]) -> tuple[dict[Hashable, int], list[Sum], set[Hashable]]:
    """Cells and sums of one table, with the complement of every share's count as a cell of its own."""
    frame, counts, total = table["frame"], list(table["counts"]), table.get("total")
    if not frame.index.is_unique:
        raise DataError("one row a group", "an index with repeated labels", "set the groups as the index", table=name)
    cells: dict[Hashable, int] = {(name, row, column): _whole(frame.loc[row, column], (row, column))
                                  for row in frame.index for column in counts}  # fmt: skip
    equations: list[Sum] = [((name, row, whole), [(name, row, part) for part in parts])
                            for whole, parts in table.get("sums", ()) for row in frame.index]  # fmt: skip
    pairs = [pair for pair in (table.get("shares") or {}).values() if not isinstance(pair, str)]
    rest = []
    for count, n in dict.fromkeys(map(tuple, pairs)):
        rest.append(f"{n} without {count}")
        for row in frame.index:
            other = (name, row, rest[-1])
            cells[other] = cells[name, row, n] - cells[name, row, count]
            equations.append(((name, row, n), [(name, row, count), other]))
    if total is not None:
        groups = [row for row in frame.index if row != total]
        equations += [((name, total, column), [(name, row, column) for row in groups]) for column in (*counts, *rest)]
    forced: set[Hashable] = {(name, row, column) for row, column in table.get("hidden", ())}
    return cells, equations, forced


def _display(
    name: str, table: Mapping[str, Any], out: set[Hashable], min_cell: int, percent_min_n: int
) -> pd.DataFrame:
    """The words and numbers to show. One mark for all hidden cells, because which is which would narrow them down."""
    frame = table["frame"]
    gone_counts = [
        frame.loc[row, column] for row in frame.index for column in table["counts"] if (name, row, column) in out
    ]
    secondary = any(count == 0 or count >= min_cell for count in gone_counts)
    mark = MARK if secondary else f"<{min_cell}"
    shown = frame.astype(object).copy()
    for row in frame.index:
        for column in table["counts"]:
            gone = (name, row, column) in out
            shown.loc[row, column] = mark if gone else f"{int(frame.loc[row, column]):,}"
        for column, basis in (table.get("shares") or {}).items():
            count, n = (None, basis) if isinstance(basis, str) else basis
            gone = (name, row, n) in out or (count is not None and (name, row, count) in out)
            gone = gone or (count is not None and (name, row, f"{n} without {count}") in out)
            small = frame.loc[row, n] < percent_min_n
            value = frame.loc[row, column]
            text = "" if pd.isna(value) else f"{100 * value:.1f} %"
            shown.loc[row, column] = MARK if gone or (small and text) else text
        for column, n in (table.get("values") or {}).items():
            if (name, row, n) in out:
                shown.loc[row, column] = MARK
    return shown
