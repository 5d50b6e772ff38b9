"""Units and their outcome as arrays, for the models of treatment and outcome: read once, refused here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from ..design.table import encode, key_order, read_treatment, refuse_missing, require_columns, to_pandas
from ..errors import EstimationError
from .sample import numeric, refuse_treatment

Missing = Literal["refuse", "leave_out"]


@dataclass(frozen=True, kw_only=True)
class Units:
    """Units in the order of their keys: 0/1 treatment, outcome, columns with ones first, independent groups, folds.

    x, z : (n, k) columns of the outcome models and of the treatment model, often the same array.
    fold : (n,) 0 .. k - 1, or None without cross-fitting. mark : (n,) of the content, to cross-fit without a key.
    notes : what a reader must know of who is in.
    """

    t: np.ndarray
    y: np.ndarray
    x: np.ndarray
    names: list[str]
    z: np.ndarray
    names_z: list[str]
    keys: np.ndarray
    groups: np.ndarray | None
    fold: np.ndarray | None
    mark: np.ndarray | None
    outcome: str
    binary: bool
    total: int
    notes: tuple[str, ...] = ()

    @property
    def what(self) -> str:
        """What stands on its own."""
        return "units" if self.groups is None else "clusters"

    def kept(self, keep: np.ndarray) -> Units:
        """The same on some of the units."""
        x = self.x[keep]
        return replace(
            self, t=self.t[keep], y=self.y[keep], x=x, z=x if self.z is self.x else self.z[keep], keys=self.keys[keep],
            groups=None if self.groups is None else self.groups[keep],
            fold=None if self.fold is None else self.fold[keep],
            mark=None if self.mark is None else self.mark[keep],
        )  # fmt: skip


def read_units(
    units: Any, treatment: str, outcome: str, covariates: Sequence[str], *, key: str | None, cluster: str | None,
    folds: int, fold: str | None, missing: Missing, propensity_covariates: Sequence[str] | None = None,
) -> Units:  # fmt: skip
    """The units of a doubly robust estimate; every refusal of bad input is here.

    They come in the order of `key`, without one in that of the index. To cross-fit without a key, folds and what random
    models draw go by content, so that neither rows nor labels matter.
    """
    units = to_pandas(units)
    t = read_treatment(units, treatment)
    refuse_treatment(outcome, treatment)
    if missing not in ("refuse", "leave_out"):
        raise EstimationError('missing "refuse" or "leave_out"', f"{missing!r}", "choose one of these")
    extra = [name for name in (key, cluster, fold) if name is not None]
    decide = covariates if propensity_covariates is None else propensity_covariates
    if not covariates or not decide:
        raise EstimationError("covariates", "none", "name what decides who is treated")
    named = list(dict.fromkeys([*covariates, *decide]))
    require_columns(units, [outcome, *named, *extra])
    if {treatment, outcome} & set(named):
        raise EstimationError("covariates other than the treatment and the outcome", f"{list(covariates)}",
                              "name what decides who is treated")  # fmt: skip
    y = numeric(units[outcome], outcome)
    hole = np.isnan(y)
    if hole.any() and missing == "refuse":
        raise EstimationError("an outcome for every unit", "missing values",
                              'say missing="leave_out" to estimate on the others, or use a later horizon',
                              column=outcome, count=int(hole.sum()), keys=units.index[hole].tolist())  # fmt: skip
    refuse_missing(units[~hole] if hole.any() else units, [*named, *extra])
    notes: tuple[str, ...] = ()
    if hole.any():
        notes = (f"{int(hole.sum()):,} of {len(y):,} units were left out because {outcome} is missing "
                 f"({int(hole[t].sum()):,} treated).",)  # fmt: skip
    place = np.flatnonzero(~hole)
    place = place[key_order(units if len(place) == len(y) else units.iloc[place], key)]
    rows = units if np.array_equal(place, np.arange(len(y))) else units.iloc[place]
    t, y = t[place], y[place]
    if min(t.sum(), (~t).sum()) < 2:
        raise EstimationError("two treated and two comparison units with an outcome",
                              f"{int(t.sum())} and {int((~t).sum())}", "widen the cohort", column=outcome)  # fmt: skip
    if np.ptp(y) == 0:
        raise EstimationError("an outcome that varies", f"{y[0]:g} for everyone", "check its definition and horizon",
                              column=outcome)  # fmt: skip
    x, names_x = _columns(rows, covariates)
    z, names_z = (x, names_x) if list(decide) == list(covariates) else _columns(rows, decide)
    groups = None if cluster is None else pd.factorize(rows[cluster], sort=True)[0]
    mark = _content(t, y, x, z) if key is None and (folds or fold is not None) else None
    return Units(
        t=t, y=y, x=x, names=names_x, z=z, names_z=names_z, outcome=outcome, total=len(units), notes=notes,
        keys=rows.index.to_numpy() if key is None else rows[key].to_numpy(), groups=groups,
        fold=_folds(rows, t, groups, folds, fold, mark), mark=mark, binary=bool(((y == 0) | (y == 1)).all()),
    )  # fmt: skip


def _columns(rows: pd.DataFrame, names: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    matrix, labels, _ = encode(rows, names, drop_base=True)
    x = np.empty((len(rows), matrix.shape[1] + 1))
    x[:, 0], x[:, 1:] = 1.0, matrix
    return x, ["intercept", *labels]


def _content(t: np.ndarray, y: np.ndarray, x: np.ndarray, z: np.ndarray) -> np.ndarray:
    """(n,) marks whose order is a matter of values alone, not of rows or labels: a hash of all the estimate reads."""
    mark = np.zeros(len(y), np.uint64)
    for column in (t, y, *x.T, *z.T[: 0 if z is x else None]):
        mark = mark * np.uint64(0x9E3779B97F4A7C15) + pd.util.hash_array(column + 0.0)
    return mark


def _folds(rows, t, groups, folds, fold, mark) -> np.ndarray | None:
    """(n,) fold numbers: a column's, or dealt out arm by arm in the order of rows or marks (clusters together)."""
    if fold is not None:
        code = pd.factorize(rows[fold], sort=True)[0]
    elif isinstance(folds, (int, np.integer)) and folds == 0:
        return None
    elif not isinstance(folds, (int, np.integer)) or folds < 2:
        raise EstimationError("folds = 0 (models in sample) or 2 and more", f"folds = {folds!r}", "5 is common")
    elif groups is not None:
        code = groups % folds
    else:
        code = np.empty(len(t), int)
        for arm in (t, ~t):
            mine = np.flatnonzero(arm)
            mine = mine if mark is None else mine[np.argsort(mark[mine], kind="stable")]
            code[mine] = np.arange(len(mine)) % folds
    count = int(code.max()) + 1
    seen = np.bincount(code[t], minlength=count), np.bincount(code[~t], minlength=count)
    if count < 2 or min(seen[0].min(), seen[1].min()) < 1:
        raise EstimationError("treated and comparison units in each of two or more folds",
                              f"{seen[0].tolist()} treated, {seen[1].tolist()} comparison",
                              "ask for fewer folds")  # fmt: skip
    return code
