"""Panel -> cells: units that share cohort, covariates and observed periods become their sums and second moments.

An influence function that is affine in the outcome path is the same function A_c of z = (1, w, w y) for all units of a
cell, so estimates need only the sums of z, and covariances only sum z z'. That second moment is kept as a few `rows` r
with sum r r' = sum z z' (at most one more than z has columns); a cell of size one *is* its unit's row. With
clusters, the rows of a cell are its sums by cluster: first moments are enough.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..errors import DesignError
from .panel import Panel


@dataclass(frozen=True, kw_only=True)
class Cells:
    """What estimators eat: C cells, T periods, m moment rows.

    cohort, risk_set, n, weight : (C,). observed : (C, T). x : (C, p) covariates without intercept, columns `names`.
    sums : (C, T) of w y. one, w, y : (m,), (m,), (m, T) moment rows of z = (1, w, w y); cell : (m,) their cell;
    group : (m,) ascending number of the independent group a row belongs to: its cluster, or the row itself.
    Outcomes are centred by period (differences between groups do not move); unobserved periods hold 0.
    """

    periods: np.ndarray
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

    @property
    def compressed(self) -> bool:
        """True when moment rows are not units."""
        return bool((self.n > 1).any())

    def grouped(self, rows: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Sums of values, given for these moment rows, within independent groups: their numbers, and the sums."""
        if not len(rows):
            return rows, values
        group = self.group[rows]
        starts = np.flatnonzero(np.r_[True, np.diff(group) > 0])
        return group[starts], values if len(starts) == len(rows) else np.add.reduceat(values, starts, axis=0)


def build_cells(panel: Panel, covariates: tuple[str, ...] = (), keep: np.ndarray | None = None) -> Cells:
    """Cells of a panel; compressed where that leaves fewer rows, else one cell a unit (continuous covariates)."""
    keep = np.arange(len(panel.units)) if keep is None else np.flatnonzero(keep)
    x, names = encode_covariates(panel, covariates)
    x, y, cohort = x[keep], panel.y[keep], panel.cohort[keep]
    w = np.ones(len(keep)) if panel.weight is None else panel.weight[keep]
    risk = None if panel.risk_set is None else panel.risk_set[keep]
    cluster = None if panel.cluster is None else panel.cluster[keep]
    seen = np.isfinite(y)
    with np.errstate(invalid="ignore"):
        centre = np.where(seen, y, 0).sum(axis=0) / np.maximum(seen.sum(axis=0), 1)
    z = np.column_stack([np.ones(len(w)), w, np.where(seen, y - centre, 0) * w[:, None]])
    code = _cell_codes([cohort] + ([] if risk is None else [risk]), x, seen, limit=len(w) // (z.shape[1] + 1))
    if code is None:  # too many distinct cells to save anything: every unit is its own
        code, order = np.arange(len(w)), np.arange(len(w))
        starts, rows, row_cell, row_cluster = order, z, code, cluster
        total = z
    else:
        order = np.argsort(code, kind="stable")
        starts = np.flatnonzero(np.r_[True, np.diff(code[order]) > 0])
        total = np.add.reduceat(z[order], starts, axis=0)
        if cluster is None:
            rows, row_cell = _moment_rows(z[order], starts)
            row_cluster = None
        else:
            rows, row_cell, row_cluster = _cluster_rows(z, code, cluster)
    head = order[starts]
    group = np.arange(len(rows))
    if row_cluster is not None:
        by_cluster = np.argsort(row_cluster, kind="stable")
        rows, row_cell = rows[by_cluster], row_cell[by_cluster]
        group = np.unique(row_cluster[by_cluster], return_inverse=True)[1]
    return Cells(
        periods=panel.periods, cohort=cohort[head], risk_set=None if risk is None else risk[head], observed=seen[head],
        x=x[head], names=names, n=total[:, 0].astype(int), weight=total[:, 1], sums=total[:, 2:],
        one=rows[:, 0], w=rows[:, 1], y=rows[:, 2:], cell=row_cell, group=group,
    )  # fmt: skip


def encode_covariates(panel: Panel, covariates: tuple[str, ...]) -> tuple[np.ndarray, tuple[str, ...]]:
    """(n, p) standardised columns: numbers as they are, categories as indicators without their first level."""
    if not covariates:
        return np.empty((len(panel.units), 0)), ()
    frame = panel.covariates(covariates)
    columns, names = [], []
    for name in covariates:
        values = frame[name]
        if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
            columns.append(values.to_numpy(float))
            names.append(name)
            continue
        codes, levels = pd.factorize(values, sort=True)
        columns += [(codes == k).astype(float) for k in range(1, len(levels))]
        names += [f"{name}={level}" for level in levels[1:]]
    x = np.column_stack(columns) if columns else np.empty((len(frame), 0))
    if not np.isfinite(x).all():
        raise DesignError("finite covariates", "infinite values", "correct them", count=int((~np.isfinite(x)).sum()))
    spread = x.std(axis=0)
    return (x - x.mean(axis=0)) / np.where(spread > 0, spread, 1), tuple(names)


def _cell_codes(groups: list[np.ndarray], x: np.ndarray, seen: np.ndarray, limit: int) -> np.ndarray | None:
    """(n,) cell numbers, or None once there are more than `limit` of them."""
    code = np.zeros(len(seen), dtype=np.int64)
    patterns = [] if seen.all() else [seen[:, t] for t in range(seen.shape[1])]
    for column in [*groups, *x.T, *patterns]:
        own, levels = pd.factorize(column, use_na_sentinel=False)
        code, found = pd.factorize(code * len(levels) + own)
        if len(found) > limit:
            return None
    return code


def _moment_rows(z: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows r of each cell with sum r r' = sum z z': root of the centred second moment by QR, and the mean."""
    rows, cell = [], []
    for c, block in enumerate(np.split(z, starts[1:])):
        mean = block.mean(axis=0)
        part = block
        if len(block) > z.shape[1] + 1:
            part = np.vstack([np.linalg.qr(block - mean, mode="r"), np.sqrt(len(block)) * mean])
        rows.append(part)
        cell.append(np.full(len(part), c))
    return np.vstack(rows), np.concatenate(cell)


def _cluster_rows(z: np.ndarray, code: np.ndarray, cluster: np.ndarray):
    """Sums of z by cell and cluster."""
    pair = code * (int(cluster.max()) + 1) + cluster
    order = np.argsort(pair, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(pair[order]) > 0])
    head = order[starts]
    return np.add.reduceat(z[order], starts, axis=0), code[head], cluster[head]
