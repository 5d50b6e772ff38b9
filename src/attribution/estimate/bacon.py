"""Which two-group comparisons a TWFE coefficient is made of, and how many of them use treated units as comparison."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from ..cohorts.cells import Cells
from ..cohorts.panel import Panel
from ..errors import EstimationError
from ..inference import FEW_TREATED
from ..results import Effects, Result
from . import fixed_effects as fe
from .few_clusters import Rule
from .twfe import twfe

NEVER, EARLY, FORBIDDEN = "treated vs never treated", "earlier vs later treated", "later vs earlier treated"
KINDS = (NEVER, EARLY, FORBIDDEN)


@dataclass(frozen=True, kw_only=True, repr=False)
class Bacon(Result):
    """The 2x2 comparisons behind a TWFE coefficient.

    table : one row a comparison: kind, treated (cohort), comparison (cohort, missing = never treated), weight (they sum
        to 1), estimate, std_error, n_treated, n_comparison, forbidden. total : the TWFE coefficient, with its error.
    """

    table: pd.DataFrame
    total: Effects
    unit: str
    spec: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def forbidden_weight(self) -> float:
        """Weight of the comparisons with units that are already treated."""
        return float(self.table.loc[self.table["forbidden"], "weight"].sum())

    @property
    def n_forbidden(self) -> int:
        """Comparisons whose comparison group is already treated."""
        return int(self.table["forbidden"].sum())

    def tidy(self) -> pd.DataFrame:
        """One row a comparison."""
        return self.table.copy()

    def by_kind(self) -> pd.DataFrame:
        """One row a kind: kind, comparisons, weight, estimate (weighted mean of its comparisons)."""
        parts = self.table.assign(product=self.table["weight"] * self.table["estimate"]).groupby("kind", sort=False)
        out = parts.agg(comparisons=("weight", "size"), weight=("weight", "sum"), estimate=("product", "sum"))
        out["estimate"] = out["estimate"] / out["weight"]
        return out.reindex([kind for kind in KINDS if kind in out.index]).reset_index()

    def summary(self) -> str:
        total, se = self.total.estimate[0], self.total.std_error[0]
        head = f"TWFE coefficient {total:,.4g} (standard error {se:,.4g}), in {self.unit}, by comparison"
        say = (
            f"{self.n_forbidden} of {len(self.table)} comparisons are forbidden: they take units already treated as "
            f"comparison, and carry {self.forbidden_weight:.1%} of the weight."
        )
        return "\n".join([head, self.by_kind().to_string(index=False, float_format="%.4g"), say, *self.notes])


def bacon(panel: Panel, *, unit: str | None = None, few_clusters: Rule = "auto") -> Bacon:
    """Decomposition of the static TWFE coefficient into all its two-group comparisons: weights and 2x2 estimates.

    Estimand : each comparison is (treated after - before) - (comparison after - before) in the periods in which one
        group's treatment changes and the other's does not; weights are those of the regression.
    Estimator : Goodman-Bacon 2021, theorem 1, eq. 10a-g.
    Std. errors : of each comparison from its influence function, weights taken as fixed, missing where an
        arm has one unit, or fewer than 20 (few_clusters="off" shows them); of the sum, that of `twfe`, which refuses
        few clusters.
    Edge cases : needs a balanced panel (the theorem does); units treated after the last period belong to the never
        treated; always treated units are dropped by Panel and counted in the notes, so no comparison uses them.
    Checked : sums to `twfe` (1e-10); bacondecomp on Medicaid, all comparisons.

    Raises
    ------
    EstimationError : an unbalanced panel; no treated cohort; a single group.
    """
    cells = fe.cells_of(panel)
    if not cells.observed.all():
        part = int(cells.n[~cells.observed.all(axis=1)].sum())
        raise EstimationError(
            "a balanced panel, every unit observed in every period", "units with missing periods",
            "keep complete units, or use twfe and twfe_weights, which need no balance", count=part,
        )  # fmt: skip
    total = twfe(panel, form="static", unit=unit, few_clusters=few_clusters)
    groups = _Groups(cells)
    rows, contrasts = [], []
    treated = [g for g in range(len(groups.start)) if np.isfinite(groups.start[g])]
    for k in treated:
        if groups.never.any():
            contrasts.append(groups.pair(k, None, after=cells.periods >= groups.start[k]))
            rows.append((NEVER, groups.start[k], np.nan, groups.weight(k, None)))
    for k, late in combinations(treated, 2):  # cohorts ascend: k is treated earlier
        before_late, after_k = cells.periods < groups.start[late], cells.periods >= groups.start[k]
        contrasts.append(groups.pair(k, late, after=after_k & before_late, before=~after_k))
        rows.append((EARLY, groups.start[k], groups.start[late], groups.weight(k, late)))
        contrasts.append(groups.pair(late, k, after=~before_late, before=after_k & before_late))
        rows.append((FORBIDDEN, groups.start[late], groups.start[k], groups.weight(late, k)))
    table = pd.DataFrame(rows, columns=["kind", "treated", "comparison", "weight"])
    table["treated"] = table["treated"].astype(int)
    table["weight"] /= table["weight"].sum()
    table["estimate"] = [estimate for estimate, *_ in contrasts]
    scores = fe.all_groups(cells, np.column_stack([rows for _, rows, *_ in contrasts]))
    table["n_treated"] = [n for _, _, n, _ in contrasts]
    table["n_comparison"] = [n for *_, n in contrasts]
    few = table[["n_treated", "n_comparison"]].min(axis=1) < (2 if few_clusters == "off" else FEW_TREATED)
    table["std_error"] = np.where(few, np.nan, np.sqrt((scores**2).sum(axis=0)))
    table["forbidden"] = table["kind"] == FORBIDDEN
    table = table[["kind", "treated", "comparison", "weight", "estimate", "std_error", "n_treated", "n_comparison",
                   "forbidden"]]  # fmt: skip
    order = pd.Categorical(table["kind"], categories=KINDS)
    table = table.assign(order=order).sort_values(["order", "treated", "comparison"], kind="stable")
    return Bacon(table=table.drop(columns="order").reset_index(drop=True), total=total, unit=total.unit,
                 spec={"estimator": "bacon", "few_clusters": few_clusters, **fe.facts(cells)},
                 notes=tuple(note for note in total.notes if "ATT(g, t) behind it" not in note))  # fmt: skip


class _Groups:
    """The groups of the theorem: cohorts treated within the periods, and all others together."""

    def __init__(self, cells: Cells) -> None:
        self.cells = cells
        cohorts, of = fe.cohort_index(cells)
        inside = cohorts <= cells.periods[-1]
        self.start = cohorts[inside]
        self.members = [of == g for g in np.flatnonzero(inside)]
        self.never = ~inside[of]
        if len(self.start) + bool(self.never.any()) < 2:
            raise EstimationError("two groups that start at different times", "one", "add untreated or later units")

    def _member(self, g: int | None) -> np.ndarray:
        return self.never if g is None else self.members[g]

    def pair(self, k: int, other: int | None, *, after: np.ndarray, before: np.ndarray | None = None):
        """(estimate, (m,) scores of the moment rows, units in each arm) of one 2x2 comparison."""
        before = ~after if before is None else before
        contrast = after / after.sum() - before / before.sum()
        estimate, scores, counts = 0.0, np.zeros(len(self.cells.w)), []
        for sign, member in ((1.0, self._member(k)), (-1.0, self._member(other))):
            weight = self.cells.weight[member].sum()
            mean = (self.cells.sums[member] @ contrast).sum() / weight
            own = member[self.cells.cell]
            scores[own] = sign * (self.cells.y[own] @ contrast - self.cells.w[own] * mean) / weight
            estimate += sign * mean
            counts.append(int(self.cells.n[member].sum()))
        return estimate, scores, *counts

    def weight(self, k: int, other: int | None) -> float:
        """Numerator of the theorem's weight, in units of squared weight; the denominator is their sum."""
        share = [self.cells.weight[self._member(g)].sum() for g in (k, other)]
        own = self._treated_share(k)
        if other is None:
            return share[0] * share[1] * own * (1 - own)
        theirs = self._treated_share(other)
        early, late = max(own, theirs), min(own, theirs)
        return share[0] * share[1] * (early - late) * ((1 - early) if own > theirs else late)

    def _treated_share(self, k: int) -> float:
        return float((self.cells.periods >= self.start[k]).mean())
