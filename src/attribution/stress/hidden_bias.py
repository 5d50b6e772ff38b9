"""Rosenbaum bounds: how unequal may two matched people's chances of treatment be before the finding falls?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd

from ..errors import EstimationError, check_level
from ..estimate.sample import read_outcome
from ..results import Design, Result

Alternative = Literal["greater", "less"]
GAMMAS = (1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0)


@dataclass(frozen=True, kw_only=True, repr=False)
class HiddenBias(Result):
    """One-sided p-values of no effect on anybody, were partners' odds of treatment to differ up to `gamma` times.

    table : gamma, p_low, p_high (smallest and largest p-value that hidden bias of this size can give); for the signed
        rank also effect_low, effect_high: between which the effect, the same for all, would then be estimated.
    critical_gamma : the largest gamma at which p_high <= alpha; NaN where it exceeds alpha already without hidden bias.
    """

    outcome: str
    test: Literal["signed rank", "McNemar"]
    alternative: Alternative
    alpha: float
    table: pd.DataFrame
    critical_gamma: float
    n_pairs: int
    n_informative: int
    notes: tuple[str, ...] = ()
    spec: Mapping[str, Any] = field(default_factory=dict)

    def tidy(self) -> pd.DataFrame:
        return self.table.assign(test=self.test, alternative=self.alternative, critical_gamma=self.critical_gamma,
                                 n_pairs=self.n_pairs, n_informative=self.n_informative)  # fmt: skip

    def summary(self) -> str:
        idle = "differ" if self.test == "signed rank" else "have one success between them"
        head = (f"{self.outcome}, {self.n_pairs:,} pairs ({self.n_informative:,} {idle}): {self.test} test, effect "
                f"{'above' if self.alternative == 'greater' else 'below'} zero, one-sided")  # fmt: skip
        if np.isnan(self.critical_gamma):
            said = f"Not distinguishable from no effect even without hidden bias (p > {self.alpha:g})."
        else:
            said = (f"The finding (p <= {self.alpha:g}) stands until partners' odds of treatment may differ "
                    f"{self.critical_gamma:.2f} times because of something nobody measured.")  # fmt: skip
        table = self.table.rename(columns={"gamma": "odds differ", "p_low": "smallest p", "p_high": "largest p",
                                           "effect_low": "effect from", "effect_high": "to"})  # fmt: skip
        text = table.to_string(index=False, float_format=lambda v: f"{v:,.4g}" if abs(v) < 1000 else f"{v:,.0f}")
        return "\n".join([head, said, text, *self.notes])


def rosenbaum_bounds(
    design: Design, outcome: Any, *, gammas: Sequence[float] = GAMMAS, alternative: Alternative = "greater",
    alpha: float = 0.05, data: pd.DataFrame | None = None,
) -> HiddenBias:  # fmt: skip
    """Largest p-value that hidden bias of size gamma could give a matched comparison: tests no effect on any treated.

    Estimand : none; it tests that treatment moved nobody's outcome. For amounts also one effect, the same for all.
    Assumes : pairs are independent; within a pair the odds of having been the treated one lie in [1/gamma, gamma].
    Estimator : 0/1 outcomes: exact McNemar, P(X >= D) of X ~ Bin(discordant pairs, gamma / (1 + gamma)) (Rosenbaum
        2002, section 4.3.2). Otherwise Wilcoxon's signed rank: average ranks, zero differences dropped, normal
        approximation without continuity correction (section 4.3.3); Hodges & Lehmann's estimate moves between two
        quantiles of the averages of all pairs of differences (section 4.3.4). The critical gamma by bisection.
    Std. errors : none; p-values are exact (McNemar) or normal (signed rank), at each gamma the largest possible.
    Edge cases : a pair with a missing outcome leaves and is counted. Designs without pairs, with several partners or
        with a comparison that serves twice are refused, as are outcomes with no pair that differs.
    Checked : reference/match/rosenbaum_lalonde (rbounds 2.2; its McNemar takes X > D, which is too small: not ours; its
        Hodges-Lehmann bounds are searched on a grid: 0.2 % apart).

    Parameters
    ----------
    design : 1:1 pairs without replacement, from `match`. outcome, data : as `att`. gammas : >= 1.
    alternative : "greater" if treatment is claimed to raise the outcome. alpha : one-sided level, in (0, 1).

    Raises
    ------
    EstimationError : no pairs, partners that serve twice, no pair that differs, gammas below 1.
    """
    check_level(1 - alpha)
    if alternative not in ("greater", "less"):
        raise EstimationError('alternative "greater" or "less"', repr(alternative), "choose one of these")
    gammas = [float(g) for g in gammas]
    if not gammas or not all(1 <= g < np.inf for g in gammas):
        raise EstimationError("gammas of 1 or more", f"{gammas}", "1 is no hidden bias, 2 twice the odds")
    name, y = read_outcome(design, outcome, data)
    left, right = _pairs(design)
    known = np.isfinite(y[left]) & np.isfinite(y[right])
    sign = 1.0 if alternative == "greater" else -1.0
    difference = sign * (y[left] - y[right])[known]
    missing = int((~known).sum())
    gone = [f"{missing:,} pairs were left out: {name} is missing."] if missing else []
    notes = (*design.whom, *design.notes, *gone)
    moved = difference[difference != 0]
    if not len(moved):
        raise EstimationError("pairs whose outcomes differ", f"none of {len(difference):,}",
                              "no test can tell anything here", column=name)  # fmt: skip
    binary = bool(np.isin(y[np.r_[left[known], right[known]]], (0.0, 1.0)).all())
    p_values = _mcnemar(moved) if binary else _signed_rank(moved)
    table = pd.DataFrame([{"gamma": g, "p_low": p_values(1 / g), "p_high": p_values(g)} for g in gammas])
    if not binary:
        middle = np.sort(difference)
        ends = np.array([[_walsh_quantile(middle, p / (1 + g)) for p in (1, g)] for g in gammas]) * sign
        table["effect_low"], table["effect_high"] = ends.min(axis=1), ends.max(axis=1)
    return HiddenBias(
        outcome=name, test="McNemar" if binary else "signed rank", alternative=alternative, alpha=alpha, table=table,
        critical_gamma=_critical(p_values, alpha), n_pairs=len(difference), n_informative=len(moved), notes=notes,
        spec={"design": dict(design.spec)},
    )  # fmt: skip


def _pairs(design: Design) -> tuple[np.ndarray, np.ndarray]:
    if not len(design.pairs):
        raise EstimationError("a design of matched pairs", "no pairs", "use match(..., ratio=1, replace=False)")
    left, right = design.pairs["treated"].to_numpy(int), design.pairs["comparison"].to_numpy(int)
    for units, what in ((left, "treated units with several partners"), (right, "comparison units that serve twice")):
        again = int((np.unique(units, return_counts=True)[1] > 1).sum())
        if again:
            raise EstimationError("pairs of one treated and one comparison unit each", what,
                                  "use match(..., ratio=1, replace=False)", count=again)  # fmt: skip
    return left, right


def _signed_rank(difference: np.ndarray):
    """p-value of T+ at odds gamma, as a function of gamma."""
    from scipy.special import ndtr
    from scipy.stats import rankdata

    rank = rankdata(np.abs(difference))
    total, squares, found = rank.sum(), (rank**2).sum(), rank[difference > 0].sum()

    def p_value(gamma: float) -> float:
        p = gamma / (1 + gamma)
        return float(ndtr(-(found - p * total) / np.sqrt(p * (1 - p) * squares)))

    return p_value


def _walsh_quantile(ordered: np.ndarray, share: float) -> float:
    """The value below which this share of the averages (d_i + d_j) / 2, i <= j, lies; by bisection, in n log n."""
    n = len(ordered)
    wanted = share * n * (n + 1) / 2

    def below(value: float) -> float:
        """Averages under the value, those equal to it by half."""
        low, high = (np.searchsorted(ordered, 2 * value - ordered, side=side) for side in ("left", "right"))
        half = (low + high) / 2  # of ordered pairs; i = j is counted once there and twice below
        own = (ordered < value) + (ordered == value) / 2
        return float(half.sum() + own.sum()) / 2

    left, right = float(ordered[0]), float(ordered[-1])
    for _ in range(200):
        middle = (left + right) / 2
        if not left < middle < right:
            break
        left, right = (middle, right) if below(middle) < wanted else (left, middle)
    return right


def _mcnemar(difference: np.ndarray):
    from scipy.special import bdtrc

    discordant, wins = len(difference), int((difference > 0).sum())

    def p_value(gamma: float) -> float:
        return 1.0 if wins == 0 else float(bdtrc(wins - 1, discordant, gamma / (1 + gamma)))

    return p_value


def _critical(p_value, alpha: float) -> float:
    """Largest gamma with p_high <= alpha, to 1e-10 of itself; p_high rises with gamma."""
    if p_value(1.0) > alpha:
        return float("nan")
    low, high = 1.0, 2.0
    while p_value(high) <= alpha and high < 1e6:
        low, high = high, 2 * high
    if high >= 1e6:
        return float("inf")
    while high - low > 1e-10 * low:
        middle = (low + high) / 2
        low, high = (middle, high) if p_value(middle) <= alpha else (low, middle)
    return low
