"""A design and an outcome as arrays: the units that carry weight and whose outcome is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from ..design.pairs import ends, pair_weights
from ..design.stratify import stratum_weights
from ..design.table import is_number, refuse_missing, require_columns, to_pandas
from ..errors import EstimationError, spelling
from ..results import Design, require_design

CELLS = ("exact", "coarsened", "subclass")  # methods whose strata are made again where outcomes are missing
FEW_CELLS = 12  # of one size: from so many on errors clustered by them were seen to cover


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
        return unit_of(self.y, self.name)


def sample(design: Design, outcome: Any, data: pd.DataFrame | None = None, *, least: int = 2) -> Sample:
    """The sample behind every estimate after a design; at least `least` units in each arm, or refused."""
    name, y = read_outcome(design, outcome, data)
    t = design.treated
    weights, dropped = complete_weights(design, t, np.isfinite(y))
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
        notes.append(left_out(design, name, dropped))
    return Sample(name=name, rows=rows, y=y[rows], treated=arms, weight=weights[rows],
                  group=np.unique(design.strata[rows], return_inverse=True)[1], notes=tuple(notes))  # fmt: skip


def unit_of(y: np.ndarray, name: str) -> str:
    """The unit of an effect where the caller names none: "share" for a 0/1 outcome."""
    return "share" if np.isin(y, (0.0, 1.0)).all() else f"units of {name}"


def usual_errors(design: Design, adjust: Sequence[str]) -> Literal["cluster", "HC1", "HC3"]:
    """Errors summed within the design's groups: pairs always; cells and subclasses where they are many.

    One cell that holds half of the treated outweighs all others, so they count by (sum n)^2 / sum n^2 (Kish 1965): HC3
    where that is few. With covariates in the outcome model the scores of a cell add up to little or nothing, however
    many cells there are: HC1, because HC3 does not exist where a covariate tells one treated unit from all others.
    """
    if design.spec.get("method") not in CELLS:
        return "cluster"
    if len(adjust):
        return "HC1"
    whom = design.matched & (design.treated if design.target == "treated" else True)
    sizes = np.unique(design.strata[whom], return_counts=True)[1].astype(float)
    return "cluster" if round(sizes.sum() ** 2 / (sizes**2).sum()) >= FEW_CELLS else "HC3"


def read_outcome(design: Design, outcome: Any, data: pd.DataFrame | None) -> tuple[str, np.ndarray]:
    """The outcome as (n,) floats in the order of the design's units; missing stays missing."""
    require_design(design)
    units = design.units
    if isinstance(outcome, str):
        refuse_treatment(outcome, design.treatment)
        if data is None and outcome in design.covariates:
            raise EstimationError("an outcome that the design has not seen", "it is one of the covariates held equal",
                                  f"make the design again without {outcome}", column=outcome)  # fmt: skip
        frame = units if data is None else to_pandas(data)
        if list(frame.columns).count(outcome) != 1:
            found, mend = "several", "name one column of the units or of data="
            if outcome not in frame.columns:
                found, mend = "no such column", spelling(outcome, list(frame.columns))
            raise EstimationError(f"a column {outcome!r}", found, mend, column=outcome)
        if data is None:
            series = units[outcome]
        elif frame.index.equals(units.index):
            series = frame[outcome]
        else:
            absent = units.index.difference(frame.index)
            if len(absent) or not frame.index.is_unique:
                raise EstimationError("data= with one row for every unit of the design, on the same index",
                                      "an index that does not fit", "give the frame the index of the units",
                                      count=len(absent) or None, keys=absent.tolist())  # fmt: skip
            series = frame[outcome].loc[units.index]
        name = outcome
    else:
        series, name = pd.Series(np.asarray(outcome)), str(getattr(outcome, "name", None) or "outcome")
        if series.shape != (len(units),):
            raise EstimationError(
                f"an outcome of length {len(units)}", f"length {len(series)}", "give one value a unit"
            )
    return name, numeric(series, name)


def refuse_treatment(outcome: str, treatment: str) -> None:
    if outcome == treatment:
        raise EstimationError("an outcome that treatment may change", "the treatment itself",
                              "name what was measured afterwards", column=outcome)  # fmt: skip


def numeric(series: pd.Series, name: str) -> np.ndarray:
    """(n,) floats of an outcome that is a number or 0/1, and finite where it is known; missing stays missing."""
    if not is_number(series):
        raise EstimationError("a numeric or 0/1 outcome", f"type {series.dtype}", "code it as a number", column=name)
    y = series.to_numpy(dtype=float, na_value=np.nan)
    if np.isinf(y).any():
        raise EstimationError("a finite outcome", "infinite values", "correct them at the source", column=name,
                              count=int(np.isinf(y).sum()))  # fmt: skip
    return y


def held_fixed(design: Design, names: Sequence[str], outcome: str, y: np.ndarray, rows: Any) -> pd.DataFrame:
    """Some rows of the units, with columns to adjust for that are complete and neither treatment nor this outcome."""
    require_columns(design.units, names)
    own = [name for name in names if name == design.treatment or (name == outcome and _same(design.units[name], y))]
    if own:
        raise EstimationError("covariates other than the treatment and the outcome", f"{', '.join(own)} among them",
                              "leave it out: held fixed, it takes the effect away", column=own[0])  # fmt: skip
    units = design.units.iloc[rows]
    refuse_missing(units, names)
    return units


def _same(series: pd.Series, y: np.ndarray) -> bool:
    """An earlier measurement may share the outcome's name where data= holds the later one."""
    return is_number(series) and np.array_equal(series.to_numpy(dtype=float, na_value=np.nan), y, equal_nan=True)


def complete_weights(design: Design, t: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, int]:
    """Design weights on complete pairs, and the number of pairs (or units, without pairs) left out."""
    weights = np.asarray(design.weights, float)
    if known[weights > 0].all():
        return weights, 0
    if not len(design.pairs):
        lost = ~known & (weights > 0)
        if design.spec.get("method") in CELLS:
            return _reweighted(np.where(lost, -1, design.strata), t, design.target), int(lost.sum())
        return np.where(known, weights, 0.0), int(lost.sum())
    left, right = ends(design.pairs)
    whole = known[left] & known[right]
    return pair_weights(left[whole], right[whole], len(t), design.target)[0], int((~whole).sum())


def _reweighted(strata: np.ndarray, t: np.ndarray, target: str) -> np.ndarray:
    """Weights made again within the strata that still hold both arms."""
    inside = strata >= 0
    arms = np.zeros((strata.max(initial=0) + 1, 2), bool)
    arms[strata[inside], t[inside].astype(int)] = True
    return stratum_weights(np.where(inside & arms[strata].all(axis=1), strata, -1), t, target)


def left_out(design: Design, name: str, dropped: int) -> str:
    """The sentence for pairs (or units, without pairs) that `complete_weights` left out."""
    whole, what = (len(design.pairs), "pairs") if len(design.pairs) else (int(design.matched.sum()), "units")
    return f"{dropped:,} of {whole:,} {what} {'was' if dropped == 1 else 'were'} left out because {name} is missing."
