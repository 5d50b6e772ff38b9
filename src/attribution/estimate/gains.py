"""Who gains: how many learners are better off, as far as two distributions can tell.

Nobody is seen both with and without treatment, so the share who gain has bounds, not a value. Both are suprema of
differences of distribution functions, and the largest of many noisy differences is too large: under no effect at all
the plug-in lower bound is above zero. What is reported is corrected for that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from ..design.table import cell_numbers, refuse_missing, require_columns
from ..errors import EstimationError, check_level
from ..results import Design, Result
from .sample import Sample, sample
from .suprema import Noise, Stratum, sharp_limit


@dataclass(frozen=True, kw_only=True, repr=False)
class Gains(Result):
    """Bounds on the share of people who gain (more than nothing, or at least a threshold), and who lose.

    table : one row a share, with the columns of `tidy`: bound_low, bound_high are half-median-unbiased (each as likely
        too wide as too narrow, at worst); plugin_low, plugin_high the uncorrected ones; conf_low, conf_high hold the
        whole set. if_ranks_never_change : the share were everybody to keep their rank, which no data can show.
    """

    outcome: str
    unit: str
    whose: str
    level: float
    table: pd.DataFrame
    n_treated: int
    n_comparison: int
    by: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    spec: Mapping[str, Any] = field(default_factory=dict)

    def tidy(self) -> pd.DataFrame:
        return self.table.assign(level=self.level, n_treated=self.n_treated, n_comparison=self.n_comparison,
                                 unit="share")  # fmt: skip

    def summary(self) -> str:
        lines = [f"{self.whose}: {self.n_treated:,} treated, {self.n_comparison:,} comparison units"]
        for _, row in self.table.iterrows():
            lines.append(f"{_words(row, self.outcome, self.unit)}: between {row['bound_low']:.1%} and "
                         f"{row['bound_high']:.1%} ({self.level:.0%} interval {row['conf_low']:.1%} to "
                         f"{row['conf_high']:.1%}).")  # fmt: skip
        first = self.table.iloc[0]
        what = _words(first, self.outcome, self.unit)
        lines.append(f"{what}, if ranks never changed, which no data can show: {first['if_ranks_never_change']:.1%}.")
        return "\n".join([*lines, *self.notes])


def share_who_gain(
    design: Design, outcome: Any, *, threshold: float | Sequence[float] = 0.0, by: Sequence[str] = (),
    level: float = 0.95, data: pd.DataFrame | None = None, least: int = 10, draws: int = 1_000, seed: int = 20_240_101,
) -> Gains:  # fmt: skip
    """Bounds on the share of people whom treatment gives more than nothing, or at least `threshold`.

    Estimand : P(Y(1) > Y(0)), and P(Y(1) - Y(0) >= threshold) for a threshold other than 0, among those whom the design
        weighs (the treated after matching, everyone in a trial). For placement max(ATT, 0) to min(p1, 1 - p0).
    Assumes : what the design assumes for the two distributions; nothing about how the two outcomes of a person belong
        together.
    Estimator : sup (F0 - F1)+ and 1 - sup (F1 - F0-)+ with left limits at atoms such as zero income (Makarov 1981; Fan
        & Park 2010); `by`: within strata, averaged by their shares, which can only narrow the true bounds. Corrected
        to be half-median-unbiased, by the median of the supremum of the noise over the points that may be the largest
        (Chernozhukov, Lee & Rosen 2013; not studentised, summed over strata) and half a step of the distributions.
    Std. errors : none: a bound is a supremum and not normal. Intervals from the quantiles of the same noise: random
        signs on the design's independent groups (on units, if there are fewer than 50 groups); estimated weights
        enter through their `weight_model`. Half of 1 - level on each side, so that the whole set is covered. Shares of
        the strata are held fixed. Each threshold has its own interval. The share if ranks never changed has none: it
        counts differences of any size, and where there is no effect it is noise.
    Edge cases : strata with fewer than `least` units in an arm say nothing (0 to 1) and are counted. Missing outcomes
        leave as in `att`. Values that differ by less than 1e-9 of the largest tie. Negative thresholds: the share who
        lose no more than that.
    Checked : reference/match/benefit_bounds_nsw (closed form, plug-in); linear programming over all joint
        distributions; null simulation and coverage.

    Parameters
    ----------
    design : any Design; everyone(units, treatment) for a trial. outcome, data : as `att`.
    threshold : one or several, in the outcome's unit. by : columns fixed before treatment, with few values each.
    level : of the intervals. least : units a stratum needs in each arm; the normal noise needs several.
    draws, seed : of the noise; half of the draws mirror the others.

    Raises
    ------
    EstimationError : an outcome that is the same for all, thresholds that are no numbers, strata all too thin.
    """
    check_level(level)
    s = sample(design, outcome, data)
    thresholds = [float(v) for v in np.atleast_1d(np.asarray(threshold, float))]
    if not thresholds or not np.isfinite(thresholds).all() or len(set(thresholds)) < len(thresholds):
        raise EstimationError("one or several different finite thresholds", f"{thresholds}", "give euros, such as 500")
    if draws < 200:
        raise EstimationError("200 draws or more", f"{draws}", "a quantile from fewer is noise")
    if s.y.min() == s.y.max():
        raise EstimationError("an outcome that varies", f"{s.y[0]:g} for all", "nothing can be said about gains",
                              column=s.name, count=len(s.y))  # fmt: skip
    strata, shares, thin = _strata(design, s, by, least)
    rows = []
    for t in thresholds:
        rows.append(_share(design, s, strata, shares, t, "gain", t == 0, level, draws, seed))
        if t == 0:
            rows.append(_share(design, s, strata, shares, t, "lose", True, level, draws, seed))
    notes = [*design.whom, *s.notes]
    if by:
        names = " and ".join(str(name).replace("_", " ") for name in by)
        notes.append(f"Narrowed within {len(strata)} strata of {names}.")
    if thin:
        many = "strata" if thin > 1 else "stratum"
        notes.append(f"{thin} {many} with fewer than {least} units in an arm ({1 - shares.sum():.1%} of the people): "
                     "nothing is said of them (0 to 1).")  # fmt: skip
    whose = {"treated": "Of the treated", "all": "Of everyone"}.get(design.target, "Of those in the overlap")
    return Gains(
        outcome=s.name, unit=s.unit, whose=whose, level=level, table=pd.DataFrame(rows), n_treated=s.n_treated,
        n_comparison=s.n_comparison, by=tuple(by), notes=tuple(notes),
        spec={"draws": draws, "seed": seed, "design": dict(design.spec)},
    )  # fmt: skip


def _strata(design: Design, s: Sample, by: Sequence[str], least: int) -> tuple[list[np.ndarray], np.ndarray, int]:
    """Positions of the strata thick enough, their shares of those the design weighs, and how many are too thin."""
    counted = s.weight * s.treated if design.target == "treated" else s.weight
    if not by:
        return [np.arange(len(s.y))], np.ones(1), 0
    frame = design.units.iloc[s.rows]
    require_columns(frame, by)
    refuse_missing(frame, by)
    code = cell_numbers(frame, by)
    parts = [np.flatnonzero(code == k) for k in range(code.max() + 1)]
    thick = [p for p in parts if min(s.treated[p].sum(), (~s.treated[p]).sum()) >= least]
    if not thick:
        raise EstimationError(f"a stratum with {least} or more units in each arm", f"none of {len(parts)}",
                              "give by= fewer or coarser columns", column=str(by[0]), count=len(parts))  # fmt: skip
    shares = np.array([counted[p].sum() for p in thick]) / counted.sum()
    return thick, shares, len(parts) - len(thick)


def _share(design, s: Sample, strata, shares, t: float, term: str, strict: bool, level, draws, seed) -> dict[str, Any]:
    """One row of the table. Those who lose are those who do not gain at least nothing."""
    turned = term == "lose"
    arms = [Stratum.of(s, rows, t, at_least=turned or not strict) for rows in strata]
    noise = Noise.of(design, s, arms, draws, seed)
    tail = (1 - level) / 2
    low = sharp_limit(arms, shares, noise, "low", (0.5, 1 - tail))
    high = sharp_limit(arms, shares, noise, "high", (0.5, 1 - tail))
    ranks = float(shares @ [a.if_ranks_never_change() for a in arms])
    ends = np.array([[low.plugin, *low.limits], [1 - high.plugin, *(1 - v for v in high.limits)]])
    ends = (1 - ends[::-1]) if turned else ends
    (plugin_low, bound_low, conf_low), (plugin_high, bound_high, conf_high) = ends
    known = float(shares.sum())  # thin strata are not among those who surely keep their rank
    return {
        "term": term, "threshold": t, "bound_low": bound_low, "bound_high": bound_high, "plugin_low": plugin_low,
        "plugin_high": plugin_high, "conf_low": conf_low, "conf_high": conf_high,
        "if_ranks_never_change": (known - ranks) / known if turned else ranks / known,
    }  # fmt: skip


def _words(row: pd.Series, outcome: str, unit: str) -> str:
    if row["term"] == "lose":
        return f"Lose {outcome} to treatment" if unit == "share" else f"Have less {outcome}"
    if row["threshold"] == 0:
        return f"Owe {outcome} to treatment" if unit == "share" else f"Gain more than nothing of {outcome}"
    verb = "Gain at least" if row["threshold"] > 0 else "Lose no more than"
    return f"{verb} {abs(row['threshold']):,g} of {outcome}"
