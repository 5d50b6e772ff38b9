"""Household income of starters against those still able to start: one call from a comparison to graded effects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..cohorts.panel import Panel
from ..errors import EstimationError
from ..estimate.aggregate import aggregate
from ..estimate.did import group_time_att
from ..outcomes.career import MONTHS_PER_PERIOD
from ..results import Check, Effects
from ..stress.dip import base_curve
from ..stress.placebo import pre_period
from ..stress.trends import Bounds, relative_magnitudes
from ..study import Study
from .comparison import Comparison
from .grade import Grade, grade


@dataclass(frozen=True, kw_only=True)
class Income:
    """Effects on income around date zero.

    panel : what they were estimated on. group_time : ATT(g, t). events : by event time. horizon : the one at the
    study's horizon. overall : average since date zero. check : were the two groups apart before date zero?
    grade : from it and the overlap of the comparison.
    """

    panel: Panel
    group_time: Effects
    events: Effects
    horizon: Effects
    overall: Effects
    check: Check
    grade: Grade


def income_effects(study: Study, one: Comparison, *, covariates: bool = True, base_period: int | None = None) -> Income:
    """Group-time ATT on income of the covered starters within the risk set of each start period, and its aggregates.

    Parameters
    ----------
    study : an opened `Study`. one : from `compare`. covariates : doubly robust on the plan's covariates, or none.
    base_period : event time, in periods since date zero; None is the plan's.

    Raises
    ------
    EstimationError : the window of [did] ends before the horizon, or too few people.
    """
    names = list(study.did.covariates) if covariates else []
    base = base_of(study, base_period)
    panel = income_panel(one, ["income"], names)
    effect = group_time_att(
        panel, comparison="never_treated", method="dr" if covariates else "reg", base_period=base, covariates=names,
        unit=study.outcomes["income"].unit,
    )  # fmt: skip
    events = aggregate(effect, by="event_time")
    units = one.covered.units
    spread = float(units[f"income_lag_{-base}"][units["treated"] == 1].std())
    check = pre_period(events, spread=spread)
    return Income(
        panel=panel, group_time=effect, events=events, horizon=at_horizon(study, events),
        overall=aggregate(effect, by="overall"), check=check, grade=grade((one.checks[0], check)),
    )  # fmt: skip


def income_panel(
    one: Comparison, outcomes: Sequence[str], covariates: Sequence[str], *, frame: pd.DataFrame | None = None,
    window: Sequence[int] | None = None,
) -> Panel:  # fmt: skip
    """Outcome paths of the covered records around date zero, each compared within its risk set.

    frame : the paths where they were worked on; None reads them. window : event times, default that of [did].
    """
    frame = one.covered.panel(list(outcomes), window, covariates) if frame is None else frame
    return Panel(frame, unit="unit", period="period", cohort="cohort", outcome=list(outcomes), cluster="person",
                 risk_set="risk_set")  # fmt: skip


def income_base_curve(
    study: Study, one: Comparison, *, bases: Sequence[Any] | None = None, horizon: int | None = None,
    covariates: bool = True,
) -> Effects:  # fmt: skip
    """Effect on income at the horizon, from one base period after another (`base_curve`).

    Parameters
    ----------
    study : an opened `Study`. one : from `compare`. covariates : doubly robust on the plan's, or none.
    bases : event times since date zero or windows; None is every period of [did] before date zero: those in the dip are
        there to show what they would have said. horizon : periods since date zero; None is the study's.
    """
    names = list(study.did.covariates) if covariates else []
    horizon = horizon_periods(study) if horizon is None else horizon
    bases = range(study.did.window[0], 0) if bases is None else bases
    first = min(int(np.min(base)) for base in bases)
    panel = income_panel(one, ["income"], names, window=(first, horizon))
    lived = {int(e) for e in np.unique(np.subtract.outer(panel.periods, panel.cohorts))}
    bases = [base for base in bases if not isinstance(base, int) or base in lived]
    return base_curve(panel, bases=bases, horizon=horizon, comparison="never_treated", covariates=names,
                      method="dr" if covariates else "reg", unit=study.outcomes["income"].unit)  # fmt: skip


def income_bounds(study: Study, income: Income, *, mbar: Sequence[float] = (0, 0.25, 0.5, 0.75, 1)) -> Bounds:
    """Honest bounds of the effect at the horizon: how far trends may part before it is gone, with the dip and without.

    All periods of [did] before date zero set the size of the steps; those of `dip` are left out in the second variant.

    Parameters
    ----------
    study : an opened `Study`. income : from `income_effects`. mbar : sizes of the steps, in multiples of the largest
        step seen before.

    Raises
    ------
    EstimationError : too few periods before the dip, or too few people.
    """
    times = income.events.labels["event_time"].astype(int)
    pre = [int(e) for e in times if e < 0]
    dip = [e for e in pre if study.did.dip and study.did.dip[0] <= e <= study.did.dip[1]]
    if len(dip) > len(pre) - 2:
        raise EstimationError("two periods or more before the dip", f"{len(pre) - len(dip)}",
                              "widen the window of [did]")  # fmt: skip
    return relative_magnitudes(income.events, pre_periods=pre, dip=dip or None, at=horizon_periods(study), mbar=mbar)


def horizon_periods(study: Study) -> int:
    """The study's horizon in periods of its income."""
    return study.horizon_months // MONTHS_PER_PERIOD[study.frequency]


def at_horizon(study: Study, events: Effects) -> Effects:
    """The rows of effects by event time that lie at the study's horizon."""
    at = horizon_periods(study)
    place = (events.labels["event_time"] == at).to_numpy()
    if not place.any():
        raise EstimationError(
            f"an effect at the horizon, event time {at}", f"a window of [did] {list(study.did.window)}",
            "widen the window",
        )  # fmt: skip
    return events.rows(place, estimand=f"ATT at event time {at}")


def base_of(study: Study, base_period: int | None) -> int:
    base = study.did.base_period if base_period is None else base_period
    if base is None:
        raise EstimationError("a base period", "none in [did] of study.toml", "choose one well before the dip")
    return base
