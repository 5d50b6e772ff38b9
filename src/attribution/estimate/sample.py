"""A design and an outcome as arrays: the units that carry weight and whose outcome is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..errors import EstimationError
from ..results import Design
from .att import _complete, read_outcome


@dataclass(frozen=True, kw_only=True)
class Sample:
    """rows : (m,) positions in the design's units. y, weight : (m,) floats. treated : (m,) bool. group : (m,) the
    independent groups, 0 to g-1. name : of the outcome. notes : the design's, with what was left out."""

    name: str
    rows: np.ndarray
    y: np.ndarray
    treated: np.ndarray
    weight: np.ndarray
    group: np.ndarray
    notes: tuple[str, ...]

    @property
    def n_treated(self) -> int:
        return int(self.treated.sum())

    @property
    def n_comparison(self) -> int:
        return int((~self.treated).sum())

    @property
    def unit(self) -> str:
        """"share" for a 0/1 outcome."""
        return "share" if bool(np.isin(self.y, (0.0, 1.0)).all()) else f"units of {self.name}"


def sample(design: Design, outcome: Any, data: pd.DataFrame | None = None, *, least: int = 2) -> Sample:
    """The sample behind every estimate after a design; at least `least` units in each arm, or refused."""
    if not isinstance(design, Design):
        raise EstimationError("a design", f"a {type(design).__name__}",
                              "make one: match, stratify, weight, or everyone() for a trial")  # fmt: skip
    name, y = read_outcome(design, outcome, data)
    t = design.treated
    weights, dropped = _complete(design, t, np.isfinite(y))
    rows = np.flatnonzero(weights > 0)
    arms = t[rows]
    if min(arms.sum(), (~arms).sum()) < least:
        raise EstimationError(
            f"at least {least} units with an outcome in each arm of the design",
            f"{int(arms.sum())} treated, {int((~arms).sum())} comparison",
            "check the outcome's horizon and censoring", column=name, count=dropped or None,
        )  # fmt: skip
    notes = list(design.notes)
    if dropped:
        what = "pair" if len(design.pairs) else "unit"
        many = "s were" if dropped > 1 else " was"
        notes.append(f"{dropped:,} {what}{many} left out: {name} is missing.")
    return Sample(name=name, rows=rows, y=y[rows], treated=arms, weight=weights[rows],
                  group=np.unique(design.strata[rows], return_inverse=True)[1], notes=tuple(notes))  # fmt: skip


def check_level(level: float) -> None:
    if not 0 < level < 1:
        raise EstimationError("0 < level < 1", f"level = {level}", "give a level such as 0.95")
