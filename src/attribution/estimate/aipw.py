"""Doubly robust effects without a design object: augmented inverse probability weighting, in sample or cross-fitted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from ..errors import EstimationError
from ..inference import Unrecorded
from ..results import Effects
from .few_units import few_note, few_units
from .g_computation import Scale, on_scale, part_terms, shown_ratio
from .nuisance import Nuisances, Target, by_group, fit_nuisances, probability_slope, unrecorded, usual
from .units import Missing, Units, read_units

Form = Literal["aipw", "aipw_wls", "ipwra", "ra", "ipw"]
StdError = Literal["default", "influence", "stacked"]


def aipw(
    units: Any, treatment: str, *, outcome: str, covariates: Sequence[str], target: Target = "all", form: Form = "aipw",
    outcome_model: Any = None, propensity_model: Any = None, propensity_covariates: Sequence[str] | None = None,
    interact: bool = True, normalised: bool = False, folds: int = 0, fold: str | None = None, key: str | None = None,
    cluster: str | None = None, trim: float | None = None, clip: float | None = None, missing: Missing = "refuse",
    scale: Scale = "difference", std_error: StdError = "default", parts: bool = False, unit: str | None = None,
) -> Effects:  # fmt: skip
    """Mean outcome with and without treatment, right if either model is: the ATE or the ATT.

    Estimand : E[Y(1)] against E[Y(0)] over all units, or over the treated; after `trim`, over those that remain.
    Assumes : given the covariates nobody knew more about their outcome when treatment was decided; overlap.
    Estimator : Robins, Rotnitzky & Zhao 1994; with `folds`, cross-fitted (Chernozhukov et al. 2018, interactive model).
        form "aipw_wls": outcome by weighted least squares (Cao, Tsiatis & Davidian 2009); "ipwra": outcome by weighted
        regression, no augmentation (Wooldridge 2007); "ra": outcome alone; "ipw": weights alone (Horvitz & Thompson
        1952; `normalised`: Hájek 1971). No probability is clipped unless `clip`.
    Std. errors : "influence": spread of the influence function, models taken as known, which is right to first order
        for aipw (over n - 1 for target "all", a mean of n numbers); "stacked" (default in sample): the equations of
        both models and of the means together (M-estimation), no dof correction. Summed by `cluster`, times G/(G-1).
    Edge cases : an arm of fewer than 20 units (or clusters): Student's t with one degree of freedom less than it has by
        its weights, (sum w^2)^2 / sum w^4. A probability of treatment within 1e-6 of 0 or 1 is refused, by count;
        `trim` leaves such units out, refits, and the estimand says so. Missing outcomes: refused, or left out and
        counted.
    Example : `at.aipw(units, "treated", outcome="placed", covariates=["age", "town"], target="treated", key="id")`
    Checked : reference/match aipw_*, tmle_lalonde (aiptw), stata_teffects_cattaneo2, dml_lalonde (irm).

    Parameters
    ----------
    units : one row a unit. treatment : its 0/1 column. outcome : numeric column. covariates : numeric or categories.
    outcome_model : "linear", "logit" or a scikit-learn model (needs folds); None: "logit" for a 0/1 outcome.
    propensity_model : "logit" (None), "probit" or a scikit-learn classifier (needs folds).
    normalised : weights of each arm add up to the target (forms "aipw" and "ipw").
    propensity_covariates : columns of the treatment model, where they are not `covariates`.
    folds : 0, or how many; dealt out in the order of `key`, without one of a hash of content (whole clusters together).
    fold : a column instead.
    trim : leave out units with p outside [trim, 1 - trim] (target "treated": above 1 - trim). clip : move p inside.
    interact : outcome coefficients of their own in each arm. scale : "ratio", "odds_ratio": log, shown exponentiated.
    parts : three terms: observed, counterfactual, att (target "treated"), or if_treated, if_untreated, ate.
    """
    if target not in ("all", "treated") or form not in get_args(Form):
        raise EstimationError('target "all" or "treated", form "aipw", "aipw_wls", "ipwra", "ra" or "ipw"',
                              f"{target!r}, {form!r}", "choose one of these")  # fmt: skip
    if scale not in ("difference", "ratio", "odds_ratio") or (parts and scale != "difference"):
        raise EstimationError('scale "difference", "ratio" or "odds_ratio", the first with parts=True', f"{scale!r}",
                              "choose one of these")  # fmt: skip
    if form == "aipw_wls" and target == "treated":
        raise EstimationError('form="aipw_wls" with target="all"', 'target="treated"', 'use "aipw" or "ipwra"')
    sample = read_units(units, treatment, outcome, covariates, key=key, cluster=cluster, folds=folds, fold=fold,
                        missing=missing, propensity_covariates=propensity_covariates)  # fmt: skip
    options: dict[str, Any] = {
        "outcome_model": usual(outcome_model, "logit" if sample.binary else "linear"), "target": target, "clip": clip,
        "propensity_model": usual(propensity_model, "logit"), "interact": interact,
        "outcome_weights": _weights(form, target),
    }  # fmt: skip
    sample, estimand, notes = trimmed(sample, trim, target, options)
    fitted = fit_nuisances(sample, **options)
    means, rows, kind = _means(sample, fitted, target, form, std_error, interact, normalised)
    room = unrecorded(sample, sample.y - np.where(sample.t, *fitted.m), fitted.p, target)
    with_treatment, without = _ratios(fitted.p, target)[0]
    weights = np.ones(len(sample.t)) if form == "ra" else np.where(sample.t, with_treatment, without)
    spec = {"outcome": outcome, "estimator": form, "target": target, "covariates": tuple(covariates), "trim": trim,
            "clip": clip, "normalised": normalised, "interact": interact, "key": key, "cluster": cluster,
            "vcov": kind, **{name: str(options[name]) for name in ("outcome_model", "propensity_model")}}  # fmt: skip
    return effects_of(sample, means, rows, scale=scale, parts=parts, target=target, estimand=estimand, unit=unit,
                      notes=(*notes, *fitted.notes), spec=spec,
                      weights=weights, room=room if form in ("aipw", "aipw_wls") else None)  # fmt: skip


def effects_of(
    sample: Units, means: np.ndarray, rows: np.ndarray, *, scale: Scale, parts: bool, target: Target, estimand: str,
    unit: str | None, notes: tuple[str, ...], spec: dict[str, Any], weights: np.ndarray, room: Unrecorded | None,
) -> Effects:  # fmt: skip
    """Effects from the means (2,) with and without treatment and their score rows (n or groups, 2).

    weights : (n,) of the units in the mean of their arm.
    """
    carry = np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]]) if parts else np.ones((2, 1))
    n1 = int(sample.t.sum())
    least = min(n1, len(sample.t) - n1)
    support = few_units(weights, np.where(sample.t, 0, 1), carry, groups=sample.groups, models=True)
    dof = None if support is None else support.dof
    if parts:
        turn = np.array([[1.0, 0.0, 1.0], [0.0, 1.0, -1.0]])
        estimate, scores, terms = means @ turn, rows @ turn, part_terms(target)
    else:
        estimate, scores = on_scale(means[:, None], rows[:, :, None], scale, sample.outcome)
        terms = [sample.outcome]
    words = {"ratio": "log risk ratio", "odds_ratio": "log odds ratio"}
    unit = words.get(scale) or unit or ("share" if sample.binary else f"units of {sample.outcome}")
    return Effects(
        estimand=estimand, unit=unit,
        labels=pd.DataFrame({"term": terms, "outcome": sample.outcome}), estimate=estimate, scores=scores,
        n_treated=np.full(len(terms), n1), n_comparison=np.full(len(terms), len(sample.t) - n1),
        support=support, dof=dof, notes=(*notes, *few_note(support, least, what=sample.what),
                                         *shown_ratio(scale, estimate, scores, dof)),
        unrecorded=None if parts or scale != "difference" else room,
        spec={**spec, "scale": scale, "folds": 0 if sample.fold is None else int(sample.fold.max()) + 1},
    )  # fmt: skip


def trimmed(
    sample: Units, trim: float | None, target: Target, options: dict[str, Any]
) -> tuple[Units, str, tuple[str, ...]]:
    """The sample without the units nobody is comparable with, the estimand's name, and what was left out."""
    name = "ATE" if target == "all" else "ATT"
    if len(sample.t) < sample.total:
        name += f" where {sample.outcome} is known"
    if trim is None:
        return sample, name, sample.notes
    if not 0 < trim < 0.5:
        raise EstimationError("0 < trim < 0.5", f"trim = {trim}", "0.1 is common (Crump et al. 2009)")
    first = fit_nuisances(sample, **{**options, "clip": 1e-12})
    keep = first.p <= 1 - trim
    if target == "all":
        keep &= first.p >= trim
    t, n = sample.t, len(sample.t)
    if min(t[keep].sum(), (~t[keep]).sum()) < 2 or np.ptp(sample.y[keep]) == 0:
        raise EstimationError("two treated and two comparison units that overlap, with outcomes that vary", "fewer",
                              "conclude that there is no comparison", count=int(keep.sum()))  # fmt: skip
    if keep.all():
        return sample, name, sample.notes
    inside = f"[{trim:g}, {1 - trim:g}]" if target == "all" else f"[0, {1 - trim:g}]"
    note = (f"{int((~keep & t).sum()):,} of {int(t.sum()):,} treated and {int((~keep & ~t).sum()):,} of "
            f"{int((~t).sum()):,} comparison units were left out: p outside {inside}.")  # fmt: skip
    told = f"{name} on units with overlap ({int(keep.sum()):,} of {n:,})"
    return sample.kept(keep), told, (*sample.notes, note)


def _ratios(p: np.ndarray, target: Target) -> tuple[np.ndarray, np.ndarray]:
    """(2, n) weight that makes an arm's units stand for the target, treated first; and its derivative by p."""
    if target == "all":
        return np.stack([1 / p, 1 / (1 - p)]), np.stack([-1 / p**2, 1 / (1 - p) ** 2])
    return np.stack([np.ones_like(p), p / (1 - p)]), np.stack([np.zeros_like(p), 1 / (1 - p) ** 2])


def _weights(form: Form, target: Target):
    """Weights of the outcome regressions as a function of p; None where they are not weighted."""
    if form == "ipwra":
        return lambda p: _ratios(p, target)[0]
    if form == "aipw_wls":
        return lambda p: _ratios(p, target)[0] * (_ratios(p, target)[0] - 1)
    return None


def _means(
    sample: Units, fitted: Nuisances, target: Target, form: Form, std_error: StdError, interact: bool,
    normalised: bool,
) -> tuple[np.ndarray, np.ndarray, str]:  # fmt: skip
    """Means (2,) of the target with and without treatment, score rows (n or groups, 2), and their kind."""
    if std_error not in ("default", "influence", "stacked"):
        raise EstimationError('std_error "default", "influence" or "stacked"', f"{std_error!r}", "choose one of these")
    kind = std_error if std_error != "default" else "stacked" if sample.fold is None else "influence"
    if kind == "stacked" and fitted.treatment is None:
        raise EstimationError('std_error="stacked" with folds = 0', "cross-fitting", 'use "influence"')
    if normalised and form not in ("aipw", "ipw"):
        raise EstimationError('form="aipw" or "ipw" with normalised=True', f"{form!r}", "leave it out")
    if kind == "influence" and form not in ("aipw", "aipw_wls"):
        raise EstimationError(f'std_error="stacked" for form="{form}"', '"influence"', "its models are not orthogonal")
    t, y, n = sample.t, sample.y, len(sample.y)
    over = np.ones(n) if target == "all" else t.astype(float)
    total = over.sum()
    ratio, ratio_slope = _ratios(fitted.p, target)
    means, rows = np.empty(2), np.empty((n, 2))
    by_p = np.zeros((2, n))  # derivative of each sum by the linear predictor of treatment
    augment = form in ("aipw", "aipw_wls", "ipw")
    for a, arm in enumerate((t, ~t)):
        m = np.zeros(n) if form == "ipw" else fitted.m[a]
        gap = np.where(arm, y - m, 0.0)
        if normalised:  # the arm's weights add up to the target; the augmentation is then a mean of the residuals
            scale = total / ratio[a, arm].sum()
            ratio[a], ratio_slope[a] = scale * ratio[a], scale * ratio_slope[a]
        psi = over * m + (ratio[a] * gap if augment else 0.0)
        means[a] = psi.sum() / total
        centre = (ratio[a] * gap).sum() / total if normalised else 0.0
        rows[:, a] = (psi - over * (means[a] - centre) - np.where(arm, ratio[a] * centre, 0.0)) / total
        if kind == "stacked" and augment:
            by_p[a] = ratio_slope[a] * np.where(arm, gap - centre, 0.0)
    if kind == "stacked":
        rows += _stacked(sample, fitted, target, form, interact, over, ratio, ratio_slope, by_p, augment) / total
    elif target == "all" and sample.groups is None:
        rows *= np.sqrt(n / (n - 1))
    rows = by_group(rows, sample.groups)
    return means, rows, kind


def _stacked(sample, fitted, target, form, interact, over, ratio, ratio_slope, by_p, augment) -> np.ndarray:
    """(n, 2) what the errors of the models' coefficients add to the sums: derivative times their influence."""
    x, t = sample.x, sample.t
    source = fitted.treatment
    slope_p = probability_slope(source, sample.z, fitted.clipped)
    influence = (sample.z * source.u[:, None]) @ source.bread
    out = np.zeros((len(t), 2))
    for a, arm in enumerate((t, ~t)):
        if form == "ipw":
            out[:, a] += influence @ (sample.z.T @ (slope_p * by_p[a]))
            continue
        fit, rows = (fitted.arms[a], arm) if interact else (fitted.arms[0], t | ~t)
        own = x[rows] if interact else np.column_stack([x, t])
        asked = x if interact else np.column_stack([x, np.full(len(t), 1.0 - a)])
        needed = over - np.where(arm, ratio[a], 0.0) if augment else over
        load = fit.bread @ (asked.T @ (fit.slope(asked) * needed))
        out[rows, a] += fit.u * (own @ load)
        by = by_p[a].copy()
        if form in ("ipwra", "aipw_wls"):  # the weights of the outcome regression move with p
            weight, move = (ratio[a], ratio_slope[a]) if form == "ipwra" else (
                ratio[a] * (ratio[a] - 1), (2 * ratio[a] - 1) * ratio_slope[a])  # fmt: skip
            by[rows] += fit.u * (own @ load) * move[rows] / weight[rows]
        out[:, a] += influence @ (sample.z.T @ (slope_p * by))
    return out
