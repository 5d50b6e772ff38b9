"""Placebos: the same design code, asked about what happened before treatment, where the truth is zero."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from ..design.match import match
from ..errors import DesignError, EstimationError
from ..estimate.att import att
from ..inference import wald
from ..results import Check, Design, Effects
from ..results.tables import amount
from .equivalence import equivalent, rejected, verdict

NOT_REJECTED = "not different from zero, which shows nothing"


def placebo_outcome(
    units: pd.DataFrame, treatment: str, *, outcome: str, covariates: Sequence[str], drop: Sequence[str] = (),
    margin_sd: float = 0.25, level: float = 0.95, build: Callable[..., Design] = match, **options: Any,
) -> Check:  # fmt: skip
    """Effect of treatment on an outcome from before treatment, where the truth is exactly zero.

    The whole design is refitted without `drop`, so the placebo outcome cannot be balanced by construction.
    Failed: the `level` interval excludes zero, for an outcome the headline design did not hold. Passed: the interval of
    level 2*level - 1 lies inside plus or minus `margin_sd` standard deviations of the treated units' placebo outcome
    (two one-sided tests, Hartman & Hidalgo 2018). Not settled (`passed=None`): between the two, or zero is excluded
    once an outcome that the headline design does hold was taken out of it: either that covariate matters, or something
    hidden does, and the data cannot say which.

    Parameters
    ----------
    units : one row a unit. treatment : its 0/1 column. outcome : a pre-treatment column of `units`.
    covariates : the covariates of the headline design. drop : those to leave out, with all that reveal `outcome`.
    margin_sd : equivalence margin in SDs of the outcome among the treated.
    build : how the design is made: `match`, `stratify`, `weight`, or any function of (units, treatment, covariates=,
        **options) that gives a Design. options : passed to it unchanged (distance, caliper_sd, exact, key, method).

    Raises
    ------
    DesignError : the placebo outcome is itself among the covariates that stay, or `build` gives no design.
    """
    kept = [name for name in covariates if name not in set(drop)]
    if outcome in kept:
        raise DesignError(
            "a placebo outcome outside the refitted design", f"{outcome!r} among the covariates",
            f"add it (and whatever is derived from it) to placebo_drop, now {list(drop)}",
        )  # fmt: skip
    design = build(units, treatment, covariates=kept, **options)
    if not isinstance(design, Design):
        raise DesignError("build to give a Design", f"a {type(design).__name__}", "give match, stratify or weight")
    effect = att(design, outcome)
    estimate, std_error = float(effect.estimate[0]), float(effect.std_error[0])
    spread = float(design.units.loc[design.treated, outcome].std())
    margin = margin_sd * spread
    differs = rejected(estimate, std_error, level, effect.dof)
    passed = equivalent(differs, estimate, std_error, margin, level, effect.dof)
    found = verdict(passed, margin_sd)
    if differs and outcome in covariates:
        passed = None
        left_out = " and ".join(map(_named, drop))
        found = f"differs from zero once {left_out} is left out: the full design rests on that"
    size, error = (amount(value, effect.unit) for value in (estimate, std_error))
    text = f"Placebo on {_named(outcome)}: {size} (standard error {error}) {found}."
    return Check(
        name="placebo outcome", question="Is there an effect before treatment, where the truth is zero?",
        statistic=estimate, std_error=std_error, threshold=margin, passed=passed, text=text, table=effect.tidy(level),
    )  # fmt: skip


def beside(effects: Effects, *checks: Check) -> Effects:
    """The same effects, with what the checks found printed below them wherever they are shown."""
    return replace(effects, notes=(*effects.notes, *(check.text for check in checks)))


def pre_period(effects: Effects, *, spread: float | None = None, margin_sd: float = 0.25, level: float = 0.95) -> Check:
    """Joint test of the effects before date zero (and anticipation), where the truth is zero.

    Failed: a joint Wald test of all pre-period effects rejects at 1 - `level`. Passed: their average is shown to lie
    within `margin_sd` standard deviations (two one-sided tests); never without `spread`, since not rejecting shows
    nothing. Between the two: not settled.
    Checked : reference/did (the pre-test of R did 2.5.1, on ATT(g, t)).

    Parameters
    ----------
    effects : ATT(g, t), or by event time from one base; rows before date zero with a standard error are used.
    spread : SD of the outcome among the treated in the base period, in the unit of the effects.
    """
    event_time = effects.labels["event_time"].to_numpy(dtype=float)
    use = (event_time < -int(effects.spec.get("anticipation", 0))) & np.isfinite(effects.std_error)
    if not use.any():
        raise EstimationError(
            "at least one period before date zero besides the base", "none", "widen the window of [did] in study.toml"
        )
    mean = effects.combine(use / use.sum())
    if effects.dof is None:
        statistic, df, p_value = wald(effects.estimate[use], effects.cov[np.ix_(use, use)])
        said = f"joint test p = {p_value:.2f} ({df} degrees of freedom)"
    else:  # few clusters or units: their covariance is no ground for a joint statistic
        p_values = effects.tidy()["p_value"].to_numpy()[use]
        statistic = float(np.abs(effects.estimate[use] / effects.std_error[use]).max())
        p_value = min(1.0, float(p_values.min()) * len(p_values))
        said = f"largest t {statistic:.1f}, p = {p_value:.2f} over all (Bonferroni, few clusters or units)"
    estimate, std_error, margin = float(mean.estimate[0]), float(mean.std_error[0]), margin_sd * (spread or 0.0)
    passed = equivalent(p_value < 1 - level, estimate, std_error, margin, level, mean.dof)
    text = (
        f"Effects before date zero ({int(use.sum())} estimated): on average {amount(estimate, effects.unit)} "
        f"(standard error {amount(std_error, effects.unit)}); {said}: "
        f"{verdict(passed, margin_sd) if spread or passed is False else NOT_REJECTED}."
    )
    return Check(
        name="pre-period effects", question="Did the two groups move together before date zero?", statistic=statistic,
        std_error=std_error, threshold=margin if spread else None, passed=passed, text=text,
        table=effects.tidy(level)[use],
    )  # fmt: skip


def _named(column: str) -> str:
    """income_lag_1 -> income 1 period before date zero."""
    name, _, lag = column.partition("_lag_")
    return f"{name} {lag} period{'s' if lag != '1' else ''} before date zero" if lag else name.replace("_", " ")
