"""Panel -> cells: units that share cohort, covariates and observed periods become their sums and second moments.

An influence function that is affine in the outcome path is the same function A_c of z = (1, w, w y) for all units of a
cell, so estimates need only the sums of z, and covariances only sum z z'. One SQL group-by returns both; the second
moment is kept as a few `rows` r with sum r r' = sum z z' (at most one more than z has columns). With clusters, the rows
of a cell are its sums by cluster: first moments are enough. Where compressing would save nothing (continuous
covariates), a unit is a cell of its own and its row is its path.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from ..errors import DataError
from .panel import Panel

MOST_CELLS = 100_000
MOST_MOMENTS = 150  # columns of z whose squares and products one query sums
BLOCK = 65_536  # moment rows whose scores are in memory at once
KEPT = 4_000_000  # numbers: longer score tables are kept as the root of their covariance


@dataclass(frozen=True, kw_only=True)
class Cells:
    """What estimators eat: C cells, T periods (times J outcomes, side by side), m moment rows.

    cohort, risk_set, n, weight : (C,). observed : (C, J * T). x : (C, p) covariates without intercept, columns `names`.
    sums : (C, J * T) of w y. one, w, y : (m,), (m,), (m, J * T) moment rows of z = (1, w, w y); cell : (m,) their cell;
    group : (m,) ascending number of the independent group a row belongs to: its cluster, or the row itself.
    Outcomes of a panel count from the first known one of the unit, and are centred by period: differences of changes do
    not move, and their variance does not drown in that of the levels. Cross-sections are only centred. Unobserved
    periods hold 0.
    """

    periods: np.ndarray
    outcomes: tuple[str, ...]
    cohort: np.ndarray
    risk_set: np.ndarray | None
    observed: np.ndarray
    x: np.ndarray
    names: tuple[str, ...]
    n: np.ndarray
    weight: np.ndarray
    sums: np.ndarray
    one: np.ndarray
    w: np.ndarray
    y: np.ndarray
    cell: np.ndarray
    group: np.ndarray
    clustered: bool

    @cached_property
    def complete(self) -> bool:
        """True when every unit is seen in every period."""
        return bool(self.observed.all())

    @property
    def compressed(self) -> bool:
        """True when moment rows are not units."""
        return len(self.n) < self.n.sum()

    def grouped(self, rows: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Sums of values, given for these moment rows, within independent groups: their numbers, and the sums."""
        if not len(rows):
            return rows, values
        group = self.group[rows]
        starts = np.flatnonzero(np.r_[True, np.diff(group) > 0])
        return group[starts], values if len(starts) == len(rows) else np.add.reduceat(values, starts, axis=0)

    def scores(self, of_rows: Callable[[slice], np.ndarray], k: int) -> tuple[np.ndarray, str]:
        """Scores of k estimates, one row an independent group, and what a row stands for.

        of_rows : moment rows (a slice) -> their (rows, k) contributions. They are asked for block by block; a table
        too long to keep is replaced by the root of its covariance, whose rows stand for no unit or cluster.
        """
        groups = int(self.group[-1]) + 1
        keep = groups * k <= KEPT
        kept, gram = (np.zeros((groups, k)) if keep else np.empty((0, k))), np.zeros((k, k))
        for block in self._blocks():
            number, values = self.grouped(np.arange(block.start, block.stop), of_rows(block))
            if keep:
                kept[number] = values
            else:
                gram += values.T @ values
        rows = "clusters" if self.clustered else "cells" if self.compressed else "units"
        return (kept, rows) if keep else (root(gram), "cells")

    def _blocks(self) -> list[slice]:
        """Consecutive moment rows that never part a group."""
        m, edges = len(self.group), [0]
        while edges[-1] < m:
            end = min(edges[-1] + BLOCK, m)
            if end < m:
                end = int(np.searchsorted(self.group, self.group[end - 1], side="right"))
            edges.append(end)
        return [slice(a, b) for a, b in zip(edges[:-1], edges[1:], strict=True)]


def build_cells(panel: Panel, covariates: Sequence[str] = (), *, after: int | None = None) -> Cells:
    """Cells of a panel without the cohorts treated in or before `after` (default: the first period)."""
    if isinstance(covariates, str):
        raise DataError("covariates as a list of names", "one text", f"write covariates=[{covariates!r}]")
    after = int(panel.periods[0]) if after is None else after
    strata = panel.strata
    kept = np.isnan(strata["c"]) | (strata["c"] > after)
    seen = strata["observed"][kept]
    count = strata["n"][kept] @ seen
    centre = strata["sums"][kept].sum(axis=0) / np.maximum(count, 1)
    weighted, clustered = panel.columns["weight"] is not None, panel.columns["cluster"] is not None
    paths = [f"({change} - {mean!r})" + (" * w" if weighted else "")
             for change, mean in zip(panel.changes, centre.tolist(), strict=True)]  # fmt: skip
    source, keys = panel.select(covariates, paths, after), panel.keys(covariates)
    z = ["w", *panel.outcome_columns] if weighted else panel.outcome_columns
    few = _few(panel, source, keys, len(z), int(strata["n"][kept].sum()), bool(covariates))
    if few and not clustered:
        found, total, rows, cell = _second_moments(panel, source, keys, z)
        head, cluster = np.arange(len(total)), None
    else:
        found, rows, cluster = _rows(panel, source, keys, z, clustered, few)
        if few:
            cell, head = _number([found[key] for key in keys])
            total = np.zeros((len(head), rows.shape[1]))
            np.add.at(total, cell, rows)
        else:
            cell = head = np.arange(len(rows))
            total = rows
    values = {name: found[f"x{j}"][head] for j, name in enumerate(covariates)}
    x, names = encode_covariates(panel, covariates, values, total[:, 0])
    group = np.arange(len(rows))
    if cluster is not None:
        order = np.argsort(cluster, kind="stable")
        rows, cell, group = rows[order], cell[order], _ascending(cluster[order])
    observed = panel.pattern({key: found[key][head] for key in keys})
    return Cells(
        periods=panel.periods, outcomes=panel.outcomes, cohort=found["c"][head].astype(float),
        risk_set=found["r"][head].astype(float) if "r" in keys else None, observed=observed, x=x, names=names,
        n=total[:, 0].astype(np.int64), weight=total[:, 1], sums=total[:, 2:], one=rows[:, 0], w=rows[:, 1],
        y=rows[:, 2:], cell=cell, group=group, clustered=clustered,
    )  # fmt: skip


def _few(panel: Panel, source: str, keys: list[str], width: int, n: int, covariates: bool) -> bool:
    """Are there so few cells that sums and second moments are shorter than the units themselves?"""
    cells = len(panel.strata["n"])
    if covariates:
        found = panel.table.one(f"SELECT approx_count_distinct(hash({', '.join(keys)})) AS n FROM {source}")
        cells = max(cells, int(found["n"]))
    return cells <= min(MOST_CELLS, n / (width + 2)) and (width <= MOST_MOMENTS or panel.columns["cluster"] is not None)


def _second_moments(panel: Panel, source: str, keys: list[str], z: list[str]):
    """The group-by: (n, sums of z) and the Gram matrix of z by cell; then moment rows r with sum r r' = sum z z'."""
    d = len(z)
    pairs = [(i, j) for i in range(d) for j in range(i + 1)]
    sums = [f"sum({name}) AS s{i}" for i, name in enumerate(z)]
    sums += [f"sum({z[i]} * {z[j]}) AS q{i}_{j}" for i, j in pairs]
    found = panel.table.fetch(f"SELECT {', '.join([*keys, 'count(*) AS n', *sums])} FROM {source} "
                              "GROUP BY ALL ORDER BY ALL")  # fmt: skip
    n = found["n"].astype(float)
    first = np.nan_to_num(np.column_stack([found.pop(f"s{i}").astype(float) for i in range(d)]))
    gram = np.empty((len(n), d, d))
    for i, j in pairs:
        gram[:, i, j] = gram[:, j, i] = found.pop(f"q{i}_{j}").astype(float)
    gram[np.isnan(gram)] = 0  # no unit seen in both
    _refuse_overflow(gram)
    mean = first / n[:, None]
    centred = gram - n[:, None, None] * mean[:, :, None] * mean[:, None, :]
    own, raw = (np.diagonal(each, axis1=1, axis2=2) for each in (centred, gram))
    scale = np.sqrt(np.where(own > 1e-14 * raw, own, 0.0))  # as correlations, weights do not drown in large outcomes
    inverse = np.divide(1.0, scale, out=np.zeros_like(scale), where=scale > 0)
    size, vectors = np.linalg.eigh(centred * inverse[:, :, None] * inverse[:, None, :])
    size = np.where(size > 1e-15 * d, size, 0.0)
    spread = np.sqrt(size)[:, :, None] * vectors.transpose(0, 2, 1) * scale[:, None, :]  # root of the centred part
    level = np.sqrt(n)[:, None] * np.column_stack([np.ones(len(n)), mean])
    rows = np.concatenate([np.dstack([np.zeros((len(n), d, 1)), spread]), level[:, None]], axis=1)
    keep = np.column_stack([size > 0, np.ones(len(n), bool)])
    total, rows, cell = np.column_stack([n, first]), rows[keep], np.nonzero(keep)[0]
    if "w" not in z:  # w = 1: its column is that of the ones
        total, rows = np.insert(total, 1, total[:, 0], axis=1), np.insert(rows, 1, rows[:, 0], axis=1)
    return found, total, rows, cell


def _rows(panel: Panel, source: str, keys: list[str], z: list[str], clustered: bool, few: bool):
    """Sums of z by cell and cluster, or, where that would save nothing, z unit by unit."""
    group = [*keys, "k"] if clustered else keys
    columns = [f"sum({name}) AS {name}" for name in z] if few else z
    size = "count(*) AS n" if few else "1 AS n"
    end = " GROUP BY ALL ORDER BY ALL" if few else ""
    found = panel.table.fetch(f"SELECT {', '.join([*group, size, *columns])} FROM {source}{end}")
    rows = np.empty((len(found["n"]), len(panel.outcome_columns) + 2))
    rows[:, 0] = found.pop("n")
    rows[:, 1] = found.pop("w") if "w" in z else rows[:, 0]
    for j, name in enumerate(panel.outcome_columns):
        rows[:, 2 + j] = found.pop(name)
    rows[np.isnan(rows)] = 0  # not seen
    _refuse_overflow(np.vdot(rows, rows))
    return found, rows, _ascending(found.pop("k")) if clustered else None


def _refuse_overflow(squares: Any) -> None:
    if not np.isfinite(squares).all():
        raise DataError("outcomes whose squares are numbers", "values above 1e150", "choose a larger unit")


def encode_covariates(
    panel: Panel, covariates: Sequence[str], found: Mapping[str, Any] | pd.DataFrame, n: np.ndarray
) -> tuple[np.ndarray, tuple[str, ...]]:
    """(C, p) standardised columns and their names: numbers as such, categories as indicators without their first level.

    found : values by covariate, one a cell. n : (C,) units of each cell.
    """
    columns, names = [], []
    for name in covariates:
        values = np.asarray(found[name])
        if panel.table.is_number(name):
            columns.append(values.astype(float))
            names.append(name)
            continue
        codes, levels = pd.factorize(values, sort=True)
        columns += [(codes == k).astype(float) for k in range(1, len(levels))]
        names += [f"{name}={level}" for level in levels[1:]]
    x = np.column_stack(columns) if columns else np.empty((len(n), 0))
    mean = n @ x / n.sum()
    spread = np.sqrt(n @ (x - mean) ** 2 / n.sum())
    return (x - mean) / np.where(spread > 0, spread, 1), tuple(names)


def root(gram: np.ndarray) -> np.ndarray:
    """(k, k) rows R with R'R = gram."""
    size, vectors = np.linalg.eigh((gram + gram.T) / 2)
    return np.sqrt(np.clip(size, 0, None))[:, None] * vectors.T


def _number(columns: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """(m,) numbers of the distinct combinations, and where each first stands."""
    code = np.zeros(len(columns[0]), dtype=np.int64)
    for column in columns:
        own, levels = pd.factorize(column, use_na_sentinel=False)
        code, found = pd.factorize(code * len(levels) + own)
    first = np.full(len(found), len(code))
    np.minimum.at(first, code, np.arange(len(code)))
    return code, first


def _ascending(labels: np.ndarray) -> np.ndarray:
    """(m,) numbers 0, 1, ... of the labels in their own order."""
    return pd.factorize(labels, sort=True)[0]
