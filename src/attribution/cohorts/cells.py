"""Panel -> cells: units that share cohort, covariates and observed periods become their sums and second moments.

An influence function that is affine in the outcome path is the same function A_c of z = (1, w, w y) for all units of a
cell, so estimates need only the sums of z, and covariances only sum z z'. One SQL group-by returns both; the second
moment is kept as a few `rows` r with sum r r' = sum z z' (at most one more than z has columns). With clusters, the rows
of a cell are its sums by cluster: first moments are enough. Where compressing would save nothing (continuous
covariates), a unit is a cell of its own and its row is its path.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from ..errors import DataError
from .moments import Moments, group_by, moment_rows, refuse_overflow
from .panel import Panel

MOST_CELLS = 100_000
MOST_MOMENTS = 150  # columns of z whose squares and products one query sums
BLOCK = 65_536  # moment rows whose scores are in memory at once
NAMED = 200_000  # units: with more, their rows come unsorted and are not compared across fits
KEPT = 20_000_000  # numbers: longer score tables are kept as the root of their covariance


@dataclass(frozen=True, kw_only=True)
class Cells:
    """What estimators eat: C cells, T periods (times J outcomes, side by side), m moment rows.

    cohort, risk_set, n, weight : (C,). observed : (C, J * T). x : (C, p) covariates without intercept, columns `names`.
    sums : (C, J * T) of w y. one, w, y : (m,), (m,), (m, J * T) moment rows of z = (1, w, w y); cell : (m,) their cell;
    group : (m,) ascending number of the independent group a row belongs to: its cluster, or the row itself.
    sample : tells the groups of two fits apart.
    Outcomes of a panel count from the first known one of the unit, and are centred by period on `centre` (J * T,):
    differences of changes do not move, and their variance does not drown in that of the levels. Cross-sections are only
    centred. Unobserved periods hold 0.
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
    sample: str
    centre: np.ndarray

    @cached_property
    def complete(self) -> bool:
        """True when every unit is seen in every period."""
        return bool(self.observed.all())

    @property
    def compressed(self) -> bool:
        """True when moment rows are not units."""
        return len(self.n) < self.n.sum()

    def where(self, keep: np.ndarray) -> Cells:
        """Only these cells, with their moment rows."""
        rows = keep[self.cell]
        return replace(
            self, cohort=self.cohort[keep], risk_set=None if self.risk_set is None else self.risk_set[keep],
            observed=self.observed[keep], x=self.x[keep], n=self.n[keep], weight=self.weight[keep],
            sums=self.sums[keep], one=self.one[rows], w=self.w[rows], y=self.y[rows],
            cell=(np.cumsum(keep) - 1)[self.cell[rows]], group=np.unique(self.group[rows], return_inverse=True)[1],
        )  # fmt: skip

    def without(self, group: int) -> Cells:
        """The same cells as if this group had never been seen; the others keep their numbers."""
        gone = self.group == group
        n, weight, sums = self.n.astype(float), self.weight.copy(), self.sums.copy()
        for total, rows in ((n, self.one), (weight, self.w), (sums, self.y)):
            np.subtract.at(total, self.cell[gone], rows[gone])
        keep = np.rint(n) > 0
        return replace(
            self, cohort=self.cohort[keep], risk_set=None if self.risk_set is None else self.risk_set[keep],
            observed=self.observed[keep], x=self.x[keep], n=np.rint(n[keep]).astype(np.int64), weight=weight[keep],
            sums=sums[keep], one=self.one[~gone], w=self.w[~gone], y=self.y[~gone],
            cell=(np.cumsum(keep) - 1)[self.cell[~gone]], group=self.group[~gone],
        )  # fmt: skip

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


def build_cells(
    panel: Panel, covariates: Sequence[str] = (), *, after: int | None = None, levels: bool = False
) -> Cells:
    """Cells of a panel without the cohorts treated in or before `after` (default: the first period).

    levels : outcomes as they are, for what is no difference within a unit; their rows are those of the changes only
        where these are units or clusters.
    """
    if isinstance(covariates, str):
        raise DataError("covariates as a list of names", "one text", f"write covariates=[{covariates!r}]")
    after = int(panel.periods[0]) if after is None else after
    cohort = panel.moments.keys["c"].astype(float)
    strata = panel.moments.where(np.isnan(cohort) | (cohort > after))
    count = np.maximum(strata.n @ panel.pattern(strata.keys), 1)
    centre = panel.near_means(levels=True) if levels else panel.centre + strata.sums.sum(axis=0) / count
    weighted, clustered = panel.columns["weight"] is not None, panel.columns["cluster"] is not None
    paths = [f"({value} - {mean!r})" + (" * w" if weighted else "")
             for value, mean in zip(panel.values(levels), centre.tolist(), strict=True)]  # fmt: skip
    source, keys = panel.select(covariates, paths, after), panel.keys(covariates)
    z = ["w", *panel.outcome_columns] if weighted else panel.outcome_columns
    few = _few(panel, source, keys, len(z), strata, bool(covariates))
    cluster = None
    if few and not clustered:
        afresh = bool(covariates) or weighted or levels or strata.gram is None
        if afresh:
            strata = group_by(panel.table.fetch, source, keys, z, squares=True)
        rows, cell = moment_rows(strata)
        total, found = np.column_stack([strata.n, strata.sums]), strata.keys
        if not weighted:  # w = 1: its column is that of the ones
            total, rows = np.insert(total, 1, total[:, 0], axis=1), np.insert(rows, 1, rows[:, 0], axis=1)
        if not afresh:  # the products of the panel are about its own centre
            seen = panel.pattern(found)
            total[:, 2:] -= total[:, 1:2] * (centre - panel.centre) * seen
            rows[:, 2:] -= rows[:, 1:2] * (centre - panel.centre) * seen[cell]
        head, sample = np.arange(len(total)), f"{int(total[:, 0].sum())} units"
    else:
        found, rows, cluster, sample = _rows(panel, source, keys, z, clustered, few)
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
        rows, cell, group = rows[order], cell[order], cluster[order]
    return Cells(
        periods=panel.periods, outcomes=panel.outcomes, cohort=found["c"][head].astype(float),
        risk_set=found["r"][head].astype(float) if "r" in keys else None,
        observed=panel.pattern({key: found[key][head] for key in keys}), x=x, names=names,
        n=total[:, 0].astype(np.int64), weight=total[:, 1], sums=total[:, 2:], one=rows[:, 0], w=rows[:, 1],
        y=rows[:, 2:], cell=cell, group=group, clustered=clustered, sample=sample, centre=centre,
    )  # fmt: skip


def _few(panel: Panel, source: str, keys: list[str], width: int, strata: Moments, covariates: bool) -> bool:
    """Are there so few cells that sums and second moments are shorter than the units themselves?"""
    cells = len(strata.n)
    if covariates:
        found = panel.table.one(f"SELECT approx_count_distinct(hash({', '.join(keys)})) AS n FROM {source}")
        cells = max(cells, int(found["n"]))
    most = min(MOST_CELLS, strata.n.sum() / (width + 2))
    return cells <= most and (width <= MOST_MOMENTS or panel.columns["cluster"] is not None)


def _rows(panel: Panel, source: str, keys: list[str], z: list[str], clustered: bool, few: bool):
    """Sums of z by cell and cluster, or, where that would save nothing, z unit by unit."""
    named = not (few or clustered or panel.cross_section) and panel.moments.n.sum() <= NAMED
    group = [*keys, *(["k"] if clustered else []), *(["u"] if named else [])]
    columns = [f"sum({name}) AS {name}" for name in z] if few else z
    size = "count(*) AS n" if few else "1 AS n"
    end = " GROUP BY ALL ORDER BY ALL" if few else " ORDER BY u" if named else ""
    found = panel.table.fetch(f"SELECT {', '.join([*group, size, *columns])} FROM {source}{end}")
    rows = np.empty((len(found["n"]), len(panel.outcome_columns) + 2))
    rows[:, 0] = found.pop("n")
    rows[:, 1] = found.pop("w") if "w" in z else rows[:, 0]
    for j, name in enumerate(panel.outcome_columns):
        rows[:, 2 + j] = found.pop(name)
    rows[np.isnan(rows)] = 0  # not seen
    refuse_overflow(np.vdot(rows, rows))
    if not clustered:
        units = found.pop("u") if named else np.array([id(found)])  # whose rows these are, or nobody else's
        return found, rows, None, f"{len(rows)} units {_signature(units)}"
    cluster, labels = pd.factorize(found.pop("k"), sort=True)
    return found, rows, cluster, f"{len(labels)} clusters {_signature(labels)}"


def _signature(labels: np.ndarray) -> str:
    """The same for the same labels."""
    return f"{int(pd.util.hash_array(labels).sum(dtype=np.uint64)):x}"


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
