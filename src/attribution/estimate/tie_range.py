"""What the order of equally near units is worth: the range of a matching estimate over tie orders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..design.matching.search import search_of
from ..design.pairs import ends
from ..design.propensity import Propensity
from ..errors import EstimationError
from ..results import Design, Result, require_design
from .sample import read_outcome


@dataclass(frozen=True, kw_only=True, repr=False)
class TieRange(Result):
    """Lowest and highest estimate over `orders` random tie orders, beside the design's own. tied : choices by ties."""

    outcome: str
    estimate: float
    low: float
    high: float
    orders: int
    tied: int
    estimates: np.ndarray
    notes: tuple[str, ...] = ()

    def tidy(self) -> pd.DataFrame:
        return pd.DataFrame([{"outcome": self.outcome, "estimate": self.estimate, "low": self.low, "high": self.high,
                              "orders": self.orders, "tied": self.tied}])  # fmt: skip

    def summary(self) -> str:
        text = (f"{self.outcome}: {self.estimate:,.4g} in this design; {self.low:,.4g} to {self.high:,.4g} over "
                f"{self.orders} orders of equally near units{_ties(self.tied)}.")  # fmt: skip
        return "\n".join([text, *self.notes])


def _ties(tied: int) -> str:
    """Optimal matching counts none: whole solutions are equally good."""
    return "" if not tied else " (1 choice was a tie)" if tied == 1 else f" ({tied:,} choices were ties)"


def tie_range(
    design: Design, outcome: Any, *, orders: int = 200, seed: int = 0, data: pd.DataFrame | None = None
) -> TieRange:
    """Range of the matching estimate when equally near units are taken in another order: the design's ATT or ATE.

    Estimand : the design's.
    Assumes : as `att`; that the choice among equals is no part of the design.
    Estimator : matches anew in `orders` random orders of the units, same propensity, and takes the mean difference
        between units and partners. Without replacement the order also decides who chooses first among treated units
        with one propensity, and, for a distance of several covariates, among all.
    Std. errors : none; this is no sampling error. A range wider than the standard error asks for `ties="all"`.
    Edge cases : a design with `ties` "all" has no order; its range is a point.
    Checked : reference/match nn1_noreplace_caliper_lalonde (MatchIt 4.7.2, rows shuffled).

    Parameters
    ----------
    design : from `match`. outcome, data : as `att`. orders : how many to draw. seed : of the draws.
    """
    if orders < 1:
        raise EstimationError("orders >= 1", f"{orders}", "200 is common")
    require_design(design)
    if not len(design.pairs) or "tied" not in design.spec:
        raise EstimationError("a design from `match`", "a design without its pairs", "build it with `match`")
    name, y = read_outcome(design, outcome, data)
    search = search_of(design.units, design.treatment, design.covariates, {**design.spec, "key": None}, design.target,
                       _score(design), np.arange(len(y)), design.treated)  # fmt: skip
    rows = search.within_reach()
    if not np.isfinite(y[design.matched]).any():
        raise EstimationError("matched units with an outcome", "none", "check the outcome's horizon", column=name)
    rng = np.random.default_rng(seed)
    found = np.empty(orders)
    for draw in range(orders):
        order = rng.permutation(rows)
        focal, partner, _ = search.among(order).pairs()
        found[draw] = _mean_difference(order[focal], order[partner], design.treated, y)
    return TieRange(
        outcome=name, estimate=_mean_difference(*ends(design.pairs), design.treated, y), low=float(np.nanmin(found)),
        high=float(np.nanmax(found)), orders=orders, tied=int(design.spec["tied"]), estimates=found,
        notes=design.whom,
    )  # fmt: skip


def _score(design: Design) -> Propensity | None:
    if design.propensity is None:
        return None
    p = design.propensity
    known = design.distance if design.spec["distance"] == "logit" else None
    nothing = pd.Series(dtype=float)
    return Propensity(
        coefficients=nothing, std_error=nothing, probability=p, logit=np.log(p / (1 - p)) if known is None else known,
        treated=design.treated, converged=True, log_likelihood=float("nan"),
    )  # fmt: skip


def _mean_difference(focal: np.ndarray, partner: np.ndarray, treated: np.ndarray, y: np.ndarray) -> float:
    whole = np.isfinite(y[focal]) & np.isfinite(y[partner])
    focal, partner = focal[whole], partner[whole]
    share = 1.0 / np.bincount(focal, minlength=len(y))[focal]
    sign = np.where(treated[focal], 1.0, -1.0)
    return float((share * sign * (y[focal] - y[partner])).sum() / share.sum()) if len(focal) else float("nan")
