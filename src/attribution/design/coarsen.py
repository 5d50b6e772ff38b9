"""Cells of units that agree on their (coarsened) covariates: one group-by in the engine, however many covariates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd

from ..cohorts.source import Source, quoted
from ..errors import DesignError
from .table import refuse_missing

Missing = Literal["refuse", "level"]
Cut = str | int | Sequence[float] | Mapping[Any, Any]
_BINS = 1_000  # more cut points of one covariate are no coarsening, and no SQL
_WORD = 2**62  # codes are packed into 64-bit words, as many as it takes: no product of levels can overflow


def cells(
    units: pd.DataFrame, treated: np.ndarray, covariates: Sequence[str], *, cuts: Mapping[str, Cut] | None = None,
    coarsen: bool = True, missing: Missing = "refuse",
) -> tuple[np.ndarray, dict[str, tuple[float, ...]], tuple[str, ...]]:  # fmt: skip
    """(n,) number of each unit's cell, -1 where a cell lacks one of the arms; cut points by covariate; notes.

    Numbers follow the order of the covariates' values, so that they do not depend on the order of rows.

    Parameters
    ----------
    treated : (n,) bool. cuts : see `stratify`. coarsen : numbers without cuts get Sturges' bins; else they stay exact.
    """
    cuts = dict(cuts or {})
    _check(units, list(dict.fromkeys(covariates)), cuts, missing)
    columns = {str(name): units[name] for name in covariates}  # SQL knows columns by text only
    names, cuts = list(columns), {str(name): cut for name, cut in cuts.items()}
    arm = "treated"
    while arm.lower() in {name.lower() for name in names}:
        arm += "_"
    source = Source(pd.DataFrame({**columns, arm: treated}, copy=False), [*names, arm])
    binned = [name for name in names if _is_binned(source, name, cuts.get(name, "sturges" if coarsen else "exact"))]
    facts = _facts(source, names, binned)
    notes = [f"{int(facts[f'missing_{i}']):,} units without {name} are a level of their own in {name}."
             for i, name in enumerate(names) if facts[f"missing_{i}"]]  # fmt: skip

    codes, sizes, joins = list[str](), list[int](), list[str]()
    points: dict[str, tuple[float, ...]] = {}
    for i, name in enumerate(names):
        if name in binned:
            points[name] = _points(source, name, cuts.get(name, "sturges"), facts, i, len(units))
            if len(points[name]) >= _BINS:
                _too_many(name, len(points[name]) + 1)
            code, size = _search(f"value_{i}", points[name]), len(points[name]) + 1
        else:
            size, unused = _levels(source, name, i, cuts.get(name))
            code = f"level_{i}.code"
            joins.append(f"LEFT JOIN level_{i} ON value_{i} = level_{i}.value")
            notes += [f"{name}: {', '.join(map(repr, unused))} of its mapping is in nobody's data."] if unused else []
        codes.append(f"coalesce(({code})::BIGINT, {size})")
        sizes.append(size + 1)
    words = _pack(codes, sizes)
    values = [source.number(name) if name in binned else source.key(name) for name in names]
    keys = ", ".join(f"w{j}" for j in range(len(words)))
    source.run(f"""
        CREATE TEMP TABLE coded AS
        SELECT unit, arm, {", ".join(f"{word} AS w{j}" for j, word in enumerate(words))}
        FROM (SELECT row_number() OVER () - 1 AS unit, {quoted(arm)} AS arm,
                     {", ".join(f"{value} AS value_{i}" for i, value in enumerate(values))} FROM source)
        {" ".join(joins)}""")
    found = source.fetch(f"""
        SELECT unit, cell FROM coded JOIN (
            SELECT {keys}, row_number() OVER (ORDER BY {keys}) - 1 AS cell
            FROM (SELECT {keys} FROM coded WHERE NOT arm) SEMI JOIN (SELECT {keys} FROM coded WHERE arm) USING ({keys})
            GROUP BY {keys}
        ) USING ({keys})""")
    out = np.full(len(units), -1)
    out[found["unit"]] = found["cell"]
    return out, points, tuple(notes)


def _check(units: pd.DataFrame, names: Sequence[str], cuts: Mapping[str, Cut], missing: str) -> None:
    if not names:
        raise DesignError("at least one covariate", "none", "name the columns on which units must agree")
    if missing not in ("refuse", "level"):
        raise DesignError('missing "refuse" or "level"', f"{missing!r}", "choose one of these")
    unknown = [name for name in cuts if name not in names]
    if unknown:
        raise DesignError("cuts of covariates only", "names that are no covariates", "check the spelling",
                          count=len(unknown), keys=unknown)  # fmt: skip
    if missing == "refuse":
        refuse_missing(units, names)


def _is_binned(source: Source, name: str, cut: Cut) -> bool:
    """True where the covariate is a number to be cut; categories, and numbers that stay exact, keep their values."""
    kind = cut if isinstance(cut, str) else ""
    if isinstance(cut, Mapping) or kind == "exact":
        return False
    if source.is_number(name):
        return True
    if kind != "sturges":
        raise DesignError("cut points for numbers; a mapping for categories", f"{cut!r}",
                          "give level -> group, or nothing", column=name)  # fmt: skip
    return False


def _facts(source: Source, names: Sequence[str], binned: Sequence[str]) -> dict[str, Any]:
    """Counts of missing and infinite values and the ranges, in one query."""
    parts = []
    for i, name in enumerate(names):
        parts.append(f"count(*) - count({source.key(name)}) AS missing_{i}")
        if source.types[name] in ("FLOAT", "DOUBLE"):
            parts.append(f"count(*) FILTER (WHERE isinf({quoted(name)})) AS infinite_{i}")
        if name in binned:
            parts.append(f"min({source.number(name)}) AS low_{i}, max({source.number(name)}) AS high_{i}")
    facts = source.one(f"SELECT {', '.join(parts)} FROM source")
    for i, name in enumerate(names):
        if facts.get(f"infinite_{i}"):
            raise DesignError("finite covariates", "infinite values", "correct them at the source", column=name,
                              count=int(facts[f"infinite_{i}"]))  # fmt: skip
    return facts


def _points(source: Source, name: str, cut: Cut, facts: Mapping[str, Any], i: int, n: int) -> tuple[float, ...]:
    """The cut points of a number: x >= point goes to the upper bin."""
    low, high = float(facts[f"low_{i}"]), float(facts[f"high_{i}"])
    kind, _, count = cut.partition(":") if isinstance(cut, str) else ("", "", "")
    if kind == "sturges" and not count:
        return _equal_width(low, high, int(np.ceil(np.log2(n) + 1)))
    if kind == "quantile" and count.isdigit() and int(count) >= 1:
        if int(count) > _BINS:
            _too_many(name, int(count))
        shares = [k / int(count) for k in range(1, int(count))]
        if not shares:
            return ()
        found = source.one(f"SELECT quantile_cont({source.number(name)}, {shares}) AS points FROM source")["points"]
        return tuple(dict.fromkeys(float(point) for point in found))
    if isinstance(cut, (str, bool)):
        raise DesignError('cuts "sturges", "quantile:4", "exact", a number of bins or a list of cut points',
                          f"{cut!r}", "choose one of these", column=name)  # fmt: skip
    if isinstance(cut, (int, np.integer)):
        if cut > _BINS:
            _too_many(name, int(cut))
        if cut < 1:
            raise DesignError("at least one bin", f"{cut}", "give a number of bins >= 1", column=name)
        return _equal_width(low, high, int(cut))
    try:
        points = np.asarray(cut, float)
    except (TypeError, ValueError):
        points = np.array(np.nan)
    if points.ndim != 1 or not np.isfinite(points).all() or (np.diff(points) <= 0).any():
        raise DesignError("finite cut points in increasing order, each once", f"{cut}", "sort them",
                          column=name)  # fmt: skip
    return tuple(points.tolist())


def _too_many(name: str, bins: int) -> None:
    raise DesignError(f"at most {_BINS:,} bins a covariate", f"{bins:,}", 'give fewer, or "exact" to keep every value',
                      column=name)  # fmt: skip


def _equal_width(low: float, high: float, bins: int) -> tuple[float, ...]:
    """Inner edges of `bins` bins of one width over [low, high]; none for a constant."""
    if not high > low:
        return ()
    width = (high - low) / bins
    return tuple(dict.fromkeys(low + k * width for k in range(1, bins)))


def _search(number: str, points: Sequence[float]) -> str:
    """SQL of the number of cut points at or below a value, as a binary search; missing stays missing."""

    def half(below: Sequence[float], start: int) -> str:
        if not below:
            return str(start)
        middle = len(below) // 2
        lower, upper = half(below[:middle], start), half(below[middle + 1 :], start + middle + 1)
        return f"CASE WHEN {number} < '{below[middle]!r}'::DOUBLE THEN {lower} ELSE {upper} END"

    return f"CASE WHEN {number} IS NOT NULL THEN {half(points, 0)} END"


def _levels(source: Source, name: str, i: int, mapping: Cut | None) -> tuple[int, list[Any]]:
    """Table level_i of a covariate's values and their codes, grouped by `mapping`; (codes, mapped levels unseen)."""
    source.run(f"""
        CREATE TEMP TABLE level_{i} AS SELECT value, row_number() OVER (ORDER BY value) - 1 AS code
        FROM (SELECT DISTINCT {source.key(name)} AS value FROM source) WHERE value IS NOT NULL""")
    if not isinstance(mapping, Mapping):
        return int(source.one(f"SELECT count(*) AS n FROM level_{i}")["n"]), []
    values = source.fetch(f"SELECT value FROM level_{i} ORDER BY code")["value"].tolist()
    unseen = [value for value in values if value not in mapping]
    if unseen:
        raise DesignError("a group for every level", "levels without one", "add them to the mapping", column=name,
                          count=len(unseen), keys=unseen)  # fmt: skip
    groups = list(dict.fromkeys(mapping[value] for value in values))
    code = [groups.index(mapping[value]) for value in values]
    source.run(f"CREATE OR REPLACE TEMP TABLE level_{i} AS SELECT value, ({code})[code + 1] AS code FROM level_{i}")
    return len(groups), [level for level in mapping if level not in values]


def _pack(codes: Sequence[str], sizes: Sequence[int]) -> list[str]:
    """SQL of the words that hold the codes side by side in mixed radix, each below 2^62."""
    words, room = [codes[0]], sizes[0]
    for code, size in zip(codes[1:], sizes[1:], strict=True):
        if room * size < _WORD:
            words[-1], room = f"({words[-1]}) * {size} + {code}", room * size
        else:
            words.append(code)
            room = size
    return words
