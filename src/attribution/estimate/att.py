"""The effect on the treated after a design, with the observed and the counterfactual mean beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from ..design.matching.search import SCORES
from ..design.table import encode
from ..errors import EstimationError
from ..results import Design, Effects, require_design
from .few_units import few_note, few_units
from .m_estimation import m_estimation
from .sample import complete_weights, held_fixed, left_out, read_outcome, unit_of, usual_errors
from .tie_range import tie_range

USUAL_ORDERS, QUICK = 50, 20_000  # orders in which ties are taken, up to so many units: a blink
Vcov = Literal["cluster", "HC0", "HC1", "HC2", "HC3", "m_estimation", "abadie_imbens"]


def att(
    design: Design, outcome: Any, *, adjust: Sequence[str] = (), data: pd.DataFrame | None = None,
    vcov: Vcov | None = None, bias_correction: Sequence[str] = (), parts: bool = False, unit: str | None = None,
    tie_orders: int | None = None,
) -> Effects:  # fmt: skip
    """Difference between the treated and their design-weighted comparison: the ATT of the design.

    Estimand : the design's, on the units whose outcome is known.
    Assumes : the design's covariates hold all that decides both treatment and outcome; no effect of one unit's
        treatment on another's outcome.
    Estimator : weighted least squares of the outcome on treatment; with `adjust`, also on those covariates and their
        interactions with treatment, centred at the means of the target (Lin 2013; linear g-computation).
    Std. errors : "cluster" sums over the design's independent groups (pairs), times G/(G-1) (n-1)/(n-k) (Abadie &
        Spiess 2022); HC0 to HC3 of the weighted regression; design and covariate means are held fixed.
        "abadie_imbens" (see there) for pairs with replacement, where nothing is fixed and pairs are no clusters.
        "m_estimation" adds what estimated weights cost (Stefanski & Boos 2002). None: that where weights were
        estimated; else "abadie_imbens" with replacement, HC3 with `adjust`; for cells or subclasses HC1 with `adjust`
        (whose model takes from a cell what its sum would show), HC3 where they are worth fewer than 12 of one size,
        (sum n)^2 / sum n^2 with n the treated in each (Kish 1965; too wide by up to a half, but clusters so few are
        nothing to lean on); else "cluster".
    Edge cases : fewer than 20 units of an arm carry the estimate, by their weights (sum w^2)^2 / sum w^4: Student's t
        with one degree of freedom less, and less the slopes of `adjust` in that arm. A pair with a missing
        outcome leaves whole, is counted in the notes, and the estimand says so; with several partners only the
        incomplete pairs leave. Fewer than two groups: refused. An outcome that is the same for everybody has no
        standard error.
    Example : `at.att(design, "placed", adjust=["age"], parts=True).tidy()`
    Checked : reference/match nn1_*, strata (sandwich 3.0.2, marginaleffects 0.30.0), ipw_*, ebal_*, cbps_* (WeightIt
        1.4.0), ai_* (Matching 4.10.8), nsw_experimental (estimatr 1.0.0).

    Parameters
    ----------
    design : from `match`, `stratify`, `weight` or `everyone`.
    outcome : column of the design's units or of `data`, or an array of length n.
    adjust : columns of the design's units. data : table with the units' index, where the outcome is kept apart.
    vcov : kind of standard error. bias_correction : covariates, for "abadie_imbens".
    parts : three terms on one sample, with their joint covariance: observed (mean of the treated), counterfactual,
        att = observed - counterfactual. unit : default "share" for 0/1 outcomes.
    tie_orders : for designs from `match` in which partners were equally near: take them in so many other orders, and
        say the range of the estimate in the notes (`tie_range`). None: 50 where that takes no time (matched on a
        score, up to 20,000 units), else 0.

    Returns
    -------
    Effects with one term (named like the outcome), or three with `parts`.
    """
    require_design(design)
    orders = _tie_orders(design) if tie_orders is None else tie_orders
    if orders and _may_tie(design):
        effects = att(design, outcome, adjust=adjust, data=data, vcov=vcov, bias_correction=bias_correction,
                      parts=parts, unit=unit, tie_orders=0)  # fmt: skip
        told = tie_range(design, outcome, orders=orders, data=data).summary().splitlines()[0]
        return replace(effects, notes=(*effects.notes, told))
    vcov = vcov or _usual(design, adjust)
    if vcov not in get_args(Vcov):
        raise EstimationError(f"vcov {', '.join(get_args(Vcov))}", f"{vcov!r}", "choose one of these")
    if vcov == "abadie_imbens":
        if adjust:
            raise EstimationError("bias_correction= in place of adjust= with vcov abadie_imbens",
                                  f"adjust = {list(adjust)}", "name the covariates there")  # fmt: skip
        from .abadie_imbens import abadie_imbens

        return abadie_imbens(design, outcome, data=data, bias_correction=bias_correction, parts=parts, unit=unit)
    if bias_correction:
        raise EstimationError('vcov "abadie_imbens" with bias_correction=', f"{vcov!r}", "or use adjust=")
    name, y = read_outcome(design, outcome, data)
    t = design.treated
    weights, dropped = complete_weights(design, t, np.isfinite(y))
    used = weights > 0
    n_treated, n_comparison = int((used & t).sum()), int((used & ~t).sum())
    if min(n_treated, n_comparison) < 1:
        raise EstimationError("matched units with an outcome in both arms",
                              f"{n_treated} treated, {n_comparison} comparison",
                              "check the outcome's horizon and censoring", column=name, count=dropped)  # fmt: skip
    regressors = _regressors(design, adjust, name, y, used, weights)
    carry = np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]]) if parts else np.ones((2, 1))
    support = few_units(weights[used], np.where(t[used], 0, 1), carry, slopes=regressors.shape[1] / 2 - 1)
    if vcov == "m_estimation":
        scores, beta = m_estimation(regressors, y[used], weights[used], used, design.weight_model, design.strata)
    else:
        scores, beta = _fit(regressors, y[used], weights[used], design.strata[used], vcov)
    if np.ptp(y[used]) == 0:  # what is left is rounding, and rounding over rounding would look significant
        beta[:2], scores = (y[used][0], 0.0), np.zeros_like(scores)
    # with covariates centred at the treated, intercept = counterfactual mean and slope of treatment = ATT
    combine = np.array([[1.0, 1.0, 0.0], [1.0, 0.0, 1.0]]) if parts else np.array([[0.0], [1.0]])
    labels = pd.DataFrame({"term": ["observed", "counterfactual", "att"] if parts else [name]})
    labels["outcome"] = name
    notes = [*design.notes, *few_note(support, min(n_treated, n_comparison))]
    estimand = design.estimand
    if dropped:
        notes.append(left_out(design, name, dropped))
        estimand = f"ATT on the matched treated ({n_treated:,} of {int(t.sum()):,})"
        if design.target != "treated":
            estimand = f"{design.estimand}, where {name} is known"
    return Effects(
        estimand=estimand, unit=unit or unit_of(y[used], name), labels=labels,
        estimate=beta[:2] @ combine, scores=scores[:, :2] @ combine, n_treated=np.full(len(labels), n_treated),
        n_comparison=np.full(len(labels), n_comparison), support=support, dof=None if support is None else support.dof,
        notes=tuple(notes),
        spec={"outcome": name, "adjust": tuple(adjust), "vcov": vcov, "groups": len(scores),
              "design": dict(design.spec)},
    )  # fmt: skip


def _may_tie(design: Design) -> bool:
    """Did, or could, the order of units decide who was taken among equals?"""
    spec = design.spec
    return spec.get("ties") == "key" and bool(spec.get("tied") or spec.get("method") == "optimal")


def _tie_orders(design: Design) -> int:
    quick = design.spec.get("method") == "nearest" and design.spec.get("distance") in SCORES
    return USUAL_ORDERS if quick and len(design.units) <= QUICK else 0


def _usual(design: Design, adjust: Sequence[str]) -> Vcov:
    """The standard error that suits how the weights came about; pairs with replacement are never clusters."""
    if design.weight_model is not None:
        return "m_estimation"
    if design.spec.get("replace") and len(design.pairs):
        return "HC3" if adjust else "abadie_imbens"
    return usual_errors(design, adjust)


def _regressors(design, adjust, name, y, used, weights) -> np.ndarray:
    """(m, k) columns: 1, treatment, then centred covariates and their interactions with treatment."""
    t = design.treated
    one = np.ones(int(used.sum()))
    arm = t[used].astype(float)
    columns = [one, arm]
    if adjust:
        x, names, origins = encode(held_fixed(design, adjust, name, y, used), adjust, drop_base=True)
        speak = {"treated": weights[used] * arm, "all": one, "overlap": weights[used]}[design.target]
        x = x - np.average(x, axis=0, weights=speak)  # the covariate means of those the effect is about
        for j, name in enumerate(names):
            columns += [x[:, j], x[:, j] * arm]
            trial = np.column_stack(columns)
            norm = np.linalg.norm(trial, axis=0)
            if (norm == 0).any() or np.linalg.cond(trial / norm) > 1e10:
                raise EstimationError(
                    "adjustment covariates that vary in both arms and are no combination of each other",
                    f"{name!r} does not add anything among the matched units", "leave it out of adjust",
                    column=origins[j],
                )  # fmt: skip
    return np.column_stack(columns)


def _fit(x, y, w, strata, vcov) -> tuple[np.ndarray, np.ndarray]:
    """Scores (m, k) with S'S the chosen covariance, and coefficients, of weighted least squares."""
    n, k = x.shape
    bread = np.linalg.inv((x * w[:, None]).T @ x)
    beta = bread @ (x * w[:, None]).T @ y
    residual = y - x @ beta
    if n <= k:
        raise EstimationError("more matched units than coefficients", f"{n} units, {k} coefficients", "adjust for less")
    lever = 1 - w * np.einsum("ij,jk,ik->i", x, bread, x) if vcov in ("HC2", "HC3") else np.ones(n)
    alone = int((lever < 1e-10).sum())
    if alone:
        raise EstimationError(f"no unit that alone decides a coefficient, for {vcov} errors", "units that do",
                              "adjust for less, or widen the design: one unit of an arm has no spread",
                              count=alone)  # fmt: skip
    power = {"HC2": 0.5, "HC3": 1.0}.get(vcov, 0.0)
    rows = (x * (w * residual / lever**power)[:, None]) @ bread
    if vcov == "cluster":
        codes = np.unique(strata, return_inverse=True)[1]
        groups = int(codes.max()) + 1
        if groups < 2:
            raise EstimationError(
                "at least two independent groups", f"{groups}", "no standard error exists; widen the cohort"
            )
        scores = np.zeros((groups, k))
        np.add.at(scores, codes, rows)
        return scores * np.sqrt(groups / (groups - 1) * (n - 1) / (n - k)), beta
    return rows * np.sqrt(n / (n - k) if vcov == "HC1" else 1.0), beta
