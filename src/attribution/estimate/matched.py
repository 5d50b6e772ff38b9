"""Matched difference-in-differences: the weights of a design carried into group-time effects."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from inspect import signature
from typing import Any, Literal

import numpy as np
import pandas as pd

from ..cohorts.panel import Panel
from ..design.match import match
from ..errors import DesignError, EstimationError
from ..results import Design, Effects, Result
from .aggregate import By, aggregate
from .did import Base, group_time_att

NEAR = 0.95  # rank correlation from which a covariate is a copy of an outcome
REGRESSION_TO_THE_MEAN = (
    "Matched on outcomes before treatment ({names}): where the groups differ in level, partners are those who happened "
    "to be near, and their return to the mean counts as effect (Daw & Hatfield 2018; Chabé-Ferret 2017)."
)


@dataclass(frozen=True, kw_only=True, repr=False)
class MatchedDid(Result):
    """Matched effects, and the same without the base-period outcome in the match set where it was in it.

    effects : with the design as given. without : design refitted without `base_outcomes`; None where there were none.
    design : the one behind `effects`. refitted : the one behind `without`.
    """

    effects: Effects
    without: Effects | None
    base_outcomes: tuple[str, ...]
    design: Design
    refitted: Design | None = None

    def tidy(self) -> pd.DataFrame:
        """The rows of both, told apart by the column `match_set`."""
        parts = [self.effects.tidy().assign(match_set="as declared")]
        if self.without is not None:
            parts.append(self.without.tidy().assign(match_set=f"without {', '.join(self.base_outcomes)}"))
        return pd.concat(parts, ignore_index=True)

    def summary(self) -> str:
        if self.without is None:
            return self.effects.summary()
        head = f"matched on the base-period outcome ({', '.join(self.base_outcomes)}), as declared:"
        return "\n".join([head, self.effects.summary(), "without it in the match set:", self.without.summary()])


def matched_did(
    panel: Panel, design: Design, *, key: str, base_period: Base, by: By = "event_time",
    base_outcome_matched: Literal["refuse", "declared"] = "refuse", unit: str | None = None,
    build: Callable[[list[str]], Design] | None = None,
) -> MatchedDid:  # fmt: skip
    """Difference-in-differences between matched, stratified or weighted units: ATT on those the design covers.

    Estimand : ATT(g, t) of the treated that carry weight (those with a partner), aggregated `by`; see `group_time_att`.
        With a design for all units or for the overlap, of treatment in all of these.
    Assumes : parallel trends from the base between matched units. A match on the outcome at the base makes that base
        equal by construction and moves the bias elsewhere, so it is refused unless declared, and then both are shown.
    Estimator : Heckman, Ichimura & Todd 1997: `group_time_att` without covariates on the design's weights (times the
        panel's sampling weights).
    Std. errors : summed within the design's independent groups (pairs, strata), which are held fixed (Abadie & Spiess
        2022). Where the design weights were estimated (`weight_model`), plus what their estimation adds: the influence
        of their parameters times the derivative of the estimate by them, by central differences.
    Edge cases : units of the panel that the design left out carry no weight; a unit of the design that the panel does
        not hold is refused. A covariate is the base-period outcome (whatever its name) when among the treated it moves
        with it, at one base period or in the mean of the window: one for one, or nearly in the same order (|Spearman|
        above 0.95 and no other period nearer, 20 treated or more), as a rounded, noisy or logged copy does. One that is
        the outcome of a period after treatment in this sense is refused.

    Parameters
    ----------
    key : column of the design's units that holds the panel's unit keys.
    base_period : as in `group_time_att`. base_outcome_matched : "declared" to go on, with both answers.
    build : how the design is made from a list of covariates, for the second answer; needed unless `match` made it.

    Raises
    ------
    DesignError : the base-period outcome is in the match set, undeclared; an outcome after treatment is; units that do
        not belong together.
    """
    if base_outcome_matched not in ("refuse", "declared"):
        raise DesignError('base_outcome_matched "refuse" or "declared"', f"{base_outcome_matched!r}", "choose one")
    rows = _rows(panel, design, key)
    at_base, before, after = _outcomes_matched(panel, design, rows, base_period)
    if after:
        raise DesignError("a match set from before treatment", f"outcomes after it: {', '.join(after)}",
                          "match on what was known before treatment", count=len(after), keys=after)  # fmt: skip
    if at_base and base_outcome_matched == "refuse":
        raise DesignError(
            "a match set without the outcome of the base period", f"{', '.join(at_base)} among the covariates",
            'match on something else or earlier, or say base_outcome_matched="declared" to see both',
            count=len(at_base), keys=at_base,
        )  # fmt: skip
    notes = (REGRESSION_TO_THE_MEAN.format(names=", ".join((*at_base, *before))),) if (at_base or before) else ()
    effects = _fit(panel, design, rows, base_period, by, unit, notes)
    if not at_base:
        return MatchedDid(effects=effects, without=None, base_outcomes=(), design=design)
    kept = [name for name in design.covariates if name not in at_base]
    if not kept:
        raise DesignError("a covariate besides the base-period outcome", "none", "there is no second answer to show")
    refitted = build(kept) if build is not None else _matched_again(design, kept, at_base)
    without = _fit(panel, refitted, _rows(panel, refitted, key), base_period, by, unit, ())
    return MatchedDid(effects=effects, without=without, base_outcomes=at_base, design=design, refitted=refitted)


def _matched_again(design: Design, kept: list[str], without: tuple[str, ...]) -> Design:
    """The same matching on fewer covariates."""
    if not len(design.pairs) or "replace" not in design.spec:
        raise DesignError("build= to make the design again without the base-period outcome", "none",
                          "give a function from the list of covariates to a Design")  # fmt: skip

    def left(value: Any) -> Any:
        """Calipers and exact columns of what is no longer matched on go with it."""
        if isinstance(value, Mapping):
            return {name: width for name, width in value.items() if name not in without} or None
        return [name for name in value if name not in without] if isinstance(value, (tuple, list)) else value

    known = set(signature(match).parameters) - {"units", "treatment", "covariates", "score"}
    options = {name: left(value) for name, value in design.spec.items() if name in known}
    return match(design.units, design.treatment, covariates=kept, **options)


def _rows(panel: Panel, design: Design, key: str) -> np.ndarray:
    """Positions in the panel of the design's units."""
    if key not in design.units:
        raise DesignError("the column of unit keys among the design's units", f"no column {key!r}", "name it in key=")
    rows = pd.Index(panel.units).get_indexer(pd.Index(design.units[key]))
    lost = (rows < 0) & design.matched
    if lost.any():
        raise DesignError("every matched unit in the panel", "units that are not", "build both from one table",
                          column=key, count=int(lost.sum()), keys=design.units.loc[lost, key].tolist())  # fmt: skip
    inside = rows >= 0
    treated = np.isfinite(panel.cohort[rows[inside]])
    if (wrong := design.treated[inside] & ~treated & design.matched[inside]).any():
        raise DesignError("the design's treated to have a cohort in the panel", "treated without one",
                          "build both from one table", column=key, count=int(wrong.sum()))  # fmt: skip
    return rows


def _outcomes_matched(panel: Panel, design: Design, rows: np.ndarray, base: Base) -> tuple[tuple[str, ...], ...]:
    """Covariates that are the outcome (at the base, at another period before treatment, from treatment on)."""
    use = design.treated & (rows >= 0)
    at = rows[use]
    low, high = (-1, -1) if isinstance(base, str) else (min(np.atleast_1d(base)), max(np.atleast_1d(base)))
    first = int(panel.periods[0] - np.nanmax(panel.cohort[at]))
    last = int(panel.periods[-1] - np.nanmin(panel.cohort[at]))
    lags = {e: _event(panel, at, e) for e in range(first, last + 1)}
    window = [lags[e] for e in range(int(low), int(high) + 1) if e in lags]
    places = (  # in this order where two are equally near
        [*window, *([np.mean(window, axis=0)] if len(window) > 1 else [])],
        [values for e, values in lags.items() if e < 0 and not low <= e <= high],
        [values for e, values in lags.items() if e >= 0 and not low <= e <= high],
    )
    found: tuple[list[str], ...] = ([], [], [])
    for name in dict.fromkeys([*design.covariates, *design.spec.get("exact", ())]):
        column = design.units.loc[use, name]
        if not pd.api.types.is_numeric_dtype(column):
            continue
        x = column.to_numpy(dtype=float, na_value=np.nan)
        near = [max((_nearness(x, values) for values in of_place), default=0.0) for of_place in places]
        if max(near) > NEAR:
            found[int(np.argmax(near))].append(name)
    return tuple(map(tuple, found))


def _nearness(x: np.ndarray, y: np.ndarray) -> float:
    """1 if one moves one for one with the other (any unit, any sign), else |Spearman| where 20 or more are known."""
    known = np.isfinite(x) & np.isfinite(y)
    if known.sum() < 3 or np.ptp(x[known]) == 0 or np.ptp(y[known]) == 0:
        return 0.0
    x, y = x[known], y[known]
    if abs(np.corrcoef(x, y)[0, 1]) > 1 - 1e-9:
        return 1.0
    if len(x) < 20:  # among few, two orders are alike by chance
        return 0.0
    return round(abs(float(np.corrcoef(pd.Series(x).rank(), pd.Series(y).rank())[0, 1])), 9)


def _event(panel: Panel, at: np.ndarray, e: int) -> np.ndarray:
    column = np.searchsorted(panel.periods, panel.cohort[at] + e)
    column = np.minimum(column, len(panel.periods) - 1)
    return np.where(panel.periods[column] == panel.cohort[at] + e, panel.y[at, column], np.nan)


def _fit(panel: Panel, design: Design, rows, base: Base, by: By, unit, notes: Sequence[str]) -> Effects:
    out, groups = _weighted_did(panel, design, design.weights, rows, base, by, unit)
    if design.weight_model is not None:
        out = _with_estimated_weights(out, groups, panel, design, rows, base, by)
    whose = {"treated": f"on the matched treated ({design.covered_share:.0%})" if len(design.pairs) else
             f"on the treated that carry weight ({design.covered_share:.0%})"}  # fmt: skip
    return replace(out, estimand=f"{out.estimand}, {whose.get(design.target, f'weighted to the {design.estimand}')}",
                   notes=(*design.notes, *out.notes, *notes),
                   spec={**out.spec, "design": dict(design.spec), "match_set": design.covariates})  # fmt: skip


def _weighted_did(panel, design, weights, rows, base, by, unit) -> tuple[Effects, np.ndarray]:
    """Effects under these design weights, and the independent group of each score row."""
    use = np.flatnonzero(design.matched)
    at = rows[use]
    weight = weights[use] * (1.0 if panel.weight is None else panel.weight[at])
    risk: Any = np.full(len(at), np.nan) if panel.risk_set is None else panel.risk_set[at]
    treated = design.treated[use]
    after = ~treated[:, None] & (panel.periods >= panel.cohort[at][:, None])  # partners serve until their own start
    row, column = np.nonzero(np.isfinite(panel.y[at]) & ~after)
    cohort = np.where(treated, panel.cohort[at], np.nan)
    frame = pd.DataFrame({
        "unit": row, "period": panel.periods[column], "cohort": cohort[row], "y": panel.y[at][row, column],
        "weight": weight[row], "group": design.strata[use][row], "risk_set": risk[row],
    })  # fmt: skip
    groups = np.unique(frame["group"])
    if len(groups) < 2:
        raise EstimationError("at least two independent groups", "one", "no standard error exists; widen the cohort")
    small = Panel(frame, unit="unit", period="period", cohort="cohort", outcome="y", weight="weight", cluster="group",
                  risk_set=None if panel.risk_set is None else "risk_set")  # fmt: skip
    gt = group_time_att(small, comparison="never_treated", base_period=base, method="reg",
                        unit=unit or panel.columns["outcome"])  # fmt: skip
    return aggregate(gt, by=by), groups


def _with_estimated_weights(out: Effects, groups, panel, design: Design, rows, base, by) -> Effects:
    """Score rows with what the estimation of the weights adds: influence (n, p) times d estimate / d parameter."""
    if out.dof is not None:
        note = "The weights are held fixed: with so few clusters their own error is not added."
        return replace(out, notes=(*out.notes, note))
    model = design.weight_model
    assert model is not None
    used = design.matched
    slope = np.empty((model.slopes.shape[1], len(out)))
    for j, column in enumerate(model.slopes.T):
        pull = np.abs(column[used] / design.weights[used]).max()
        step = 1e-4 / pull if pull > 0 else 0.0
        ends = [_weighted_did(panel, design, design.weights + sign * step * column, rows, base, by, None)[0].estimate
                for sign in (1, -1)] if step else [out.estimate] * 2  # fmt: skip
        slope[j] = (ends[0] - ends[1]) / (2 * step or 1.0)
    own = model.influence[used] @ np.nan_to_num(slope)
    everyone, code = np.unique(design.strata[used], return_inverse=True)
    scores = np.stack([np.bincount(code, weights=column, minlength=len(everyone)) for column in own.T], axis=1)
    scores[np.searchsorted(everyone, groups)] += out.scores
    return replace(out, scores=scores)
