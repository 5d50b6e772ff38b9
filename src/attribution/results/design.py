"""Who is compared with whom: a match, strata or weights, on covariates alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd

from ..errors import DesignError
from .result import Result
from .tables import as_html, short
from .words import design_words


@dataclass(frozen=True, kw_only=True)
class WeightModel:
    """What a standard error must add when the design weights were themselves estimated (M-estimation).

    influence : (n, p) rows with parameters - truth = sum of rows, to first order. slopes : (n, p) derivative of each
    unit's weight by each parameter.
    """

    influence: np.ndarray
    slopes: np.ndarray


@dataclass(frozen=True, kw_only=True, repr=False)
class Design(Result):
    """Who is compared with whom, and with what weight. Holds no outcome after treatment.

    units : the frame the design was built on, one row a unit (never changed). treatment : its 0/1 column.
    weights : (n,) design weights; 0 for units left out. pairs : frame treated, comparison, distance (row positions).
    strata : (n,) independent groups for the standard error (pair or stratum number; -1 for units left out).
    propensity : (n,) fitted probabilities, or None. discarded / unmatched : (n,) bool, no overlap / no partner.
    target : whose average effect it is ("treated", "all", "overlap"); decides the SD of the balance table.
    weight_model : where estimated weights come from; None when the design is held fixed.
    """

    estimand: str
    units: pd.DataFrame
    treatment: str
    covariates: tuple[str, ...]
    weights: np.ndarray
    pairs: pd.DataFrame
    strata: np.ndarray
    discarded: np.ndarray
    unmatched: np.ndarray
    propensity: np.ndarray | None = None
    distance: np.ndarray | None = None
    target: Literal["treated", "all", "overlap"] = "treated"
    weight_model: WeightModel | None = None
    spec: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def treated(self) -> np.ndarray:
        """(n,) bool."""
        return pd.to_numeric(self.units[self.treatment]).to_numpy(dtype=float) == 1  # as read_treatment: "0" is 0

    @property
    def matched(self) -> np.ndarray:
        """(n,) bool: units that carry weight."""
        return self.weights > 0

    @property
    def ess(self) -> pd.Series:
        """Effective sample size (sum w)^2 / sum w^2 of each arm (Kish 1965)."""

        def kish(w: np.ndarray) -> float:
            return float(w.sum() ** 2 / (w**2).sum()) if w.any() else 0.0

        return pd.Series({"treated": kish(self.weights[self.treated]), "comparison": kish(self.weights[~self.treated])})

    @property
    def whom(self) -> tuple[str, ...]:
        """One line for results that name no estimand of their own; nothing where nobody was left out."""
        whole = self.estimand in ("ATT", "ATE") or self.estimand.startswith("difference between")
        return () if whole else (f"The design speaks for: {self.estimand}.",)

    @property
    def covered_share(self) -> float:
        """Share of the treated units that the estimate speaks for."""
        return float(self.matched[self.treated].mean())

    def tidy(self) -> pd.DataFrame:
        """Sample sizes: one row each for all, matched, effective, unmatched, discarded; columns treated, comparison."""
        t = self.treated
        rows = {"all": np.ones(len(t), bool), "matched": self.matched,
                "unmatched": self.unmatched, "discarded": self.discarded}  # fmt: skip
        counts = {name: {"treated": int(rows[name][t].sum()), "comparison": int(rows[name][~t].sum())} for name in rows}
        table = pd.DataFrame(counts).T.astype(float)
        table.loc["effective"] = self.ess
        return table.rename_axis("sample").reset_index()

    def summary(self) -> str:
        head, how = self._lines()
        table = self.tidy().to_string(index=False, float_format=lambda v: f"{v:,.0f}" if v == int(v) else f"{v:,.1f}")
        return "\n".join([head, *how, table, *self.notes])

    def _repr_html_(self) -> str:
        head, how = self._lines()
        return as_html(head, self.tidy().round(1), (*how, *self.notes), show=short)

    def _lines(self) -> tuple[str, list[str]]:
        how = design_words(self.spec)
        head = f"{self.estimand}; {self.covered_share:.0%} of the treated are covered"
        return head, [f"Design: {how}."] if how else []


def require_design(design: Any) -> None:
    """A frame where a design belongs is the newcomer's first mistake: say what makes one."""
    if not isinstance(design, Design):
        raise DesignError("a design", f"a {type(design).__name__}",
                          "make one: match, stratify, weight, or everyone() for a trial")  # fmt: skip
