"""Targeted maximum likelihood: a doubly robust effect whose means stay inside the range of the outcome."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import EstimationError
from ..results import Effects
from .aipw import effects_of, trimmed
from .g_computation import Scale
from .nuisance import Target, by_group, fit_nuisances, unrecorded, usual
from .units import Missing, read_units


def tmle(
    units: Any, treatment: str, *, outcome: str, covariates: Sequence[str], target: Target = "all",
    scale: Scale = "difference", outcome_model: Any = None, propensity_model: Any = None,
    propensity_covariates: Sequence[str] | None = None, folds: int = 0, fold: str | None = None, key: str | None = None,
    cluster: str | None = None, trim: float | None = None, clip: float | None = None, interact: bool = True,
    bound: float = 0.0005, missing: Missing = "refuse", parts: bool = False, unit: str | None = None,
) -> Effects:  # fmt: skip
    """Mean outcome with and without treatment, by targeted maximum likelihood: the ATE or the ATT.

    Estimand : E[Y(1)] against E[Y(0)] over all units, or over the treated; after `trim`, over those that remain.
    Assumes : given the covariates nobody knew more about their outcome when treatment was decided; overlap.
    Estimator : van der Laan & Rubin 2006. The outcome model is moved along a logit with offset until the influence
        function has mean zero. "all": by the covariates 1(treated)/p and 1(not)/(1 - p). "treated" (van der Laan & Rose
        2011, ch. 8): an intercept in each arm, comparison units weighted by p/(1 - p), so that the mean of the treated
        is their own. Outcomes other than 0/1 are first scaled to [0, 1] by their range, predictions (and for "all" the
        outcome) `bound` away from its ends (Gruber & van der Laan 2010).
    Std. errors : standard deviation of the influence function / sqrt(n), models taken as known; summed by `cluster`.
        Of the ATT: A/q (Y - Q0 - psi) - (1 - A) p / (q (1 - p)) (Y - Q0), q the share treated, A treated, Q0 the moved
        prediction without treatment. Ratios on the log scale; the note shows them exponentiated.
    Edge cases : as `aipw`: few units have Student's t, probabilities within 1e-6 of 0 or 1 are refused (of 1, for the
        treated), missing outcomes refused or counted.
    Checked : reference/match tmle_lalonde (zEpid 0.9.1); the ATT by root finding, `aipw`, and simulation.

    Parameters
    ----------
    Those of `aipw`. bound : of the scaled outcome and its predictions, between 0 and 0.5.
    """
    if target not in ("all", "treated"):
        raise EstimationError('target "all" or "treated"', f"{target!r}", "choose one of these")
    if scale not in ("difference", "ratio", "odds_ratio") or (parts and scale != "difference"):
        raise EstimationError('scale "difference", "ratio" or "odds_ratio", the first with parts=True', f"{scale!r}",
                              "choose one of these")  # fmt: skip
    if not 0 < bound < 0.5:
        raise EstimationError("0 < bound < 0.5", f"bound = {bound}", "0.0005 is common")
    sample = read_units(units, treatment, outcome, covariates, key=key, cluster=cluster, folds=folds, fold=fold,
                        missing=missing, propensity_covariates=propensity_covariates)  # fmt: skip
    options: dict[str, Any] = {
        "outcome_model": usual(outcome_model, "logit" if sample.binary else "linear"), "target": target, "clip": clip,
        "propensity_model": usual(propensity_model, "logit"), "interact": interact,
    }  # fmt: skip
    sample, estimand, notes = trimmed(sample, trim, target, options)
    if not sample.binary and scale == "odds_ratio":
        raise EstimationError("a 0/1 outcome for an odds ratio", "other values", 'use scale="difference"',
                              column=outcome)  # fmt: skip
    low, width = (0.0, 1.0) if sample.binary else (sample.y.min(), np.ptp(sample.y))
    y = (sample.y - low) / width
    if target == "all" and not sample.binary:
        y = np.clip(y, bound, 1 - bound)
    fitted = fit_nuisances(sample, known=y, **options)
    edge = 1e-9 if sample.binary else bound  # a logit's own predictions never reach 0 or 1
    m, p, n = np.clip(fitted.m, edge, 1 - edge), fitted.p, len(y)
    arms = np.stack([sample.t, ~sample.t])
    if target == "all":
        over, ratio = np.ones(n), np.stack([1 / p, 1 / (1 - p)])
        m = _targeted(y, m, arms, ratio, np.ones(n))
    else:
        over, ratio = sample.t / sample.t.mean(), np.stack([np.ones(n), p / (1 - p)])
        m = _targeted(y, m, arms, np.ones((2, n)), np.where(sample.t, ratio[0], ratio[1]))
        ratio = ratio / sample.t.mean()
    room = unrecorded(sample, width * (y - np.where(sample.t, *m)), p, target)
    means = (over * m).mean(axis=1)
    rows = (np.where(arms, ratio * (y - m), 0.0) + over * (m - means[:, None])).T / n
    rows = by_group(rows, sample.groups) if sample.groups is not None else rows * np.sqrt(n / (n - 1))
    spec = {"outcome": outcome, "estimator": "tmle", "target": target, "covariates": tuple(covariates), "trim": trim,
            "clip": clip, "interact": interact, "bound": bound, "key": key, "cluster": cluster,
            "vcov": "influence", "outcome_model": str(options["outcome_model"]),
            "propensity_model": str(options["propensity_model"])}  # fmt: skip
    return effects_of(sample, low + width * means, width * rows, scale=scale, parts=parts, target=target, unit=unit,
                      estimand=estimand, notes=(*notes, *fitted.notes), spec=spec, room=room,
                      weights=np.where(sample.t, ratio[0], ratio[1]))  # fmt: skip


def _targeted(y, m, arms, clever, weight) -> np.ndarray:
    """Predictions (2, n) moved along `clever` (2, n), arm by arm, until their weighted scores are zero."""
    import statsmodels.api as sm
    from scipy.special import expit, logit

    offset, own = logit(np.where(arms[0], m[0], m[1])), np.where(arms, clever, 0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = sm.GLM(y, own.T, family=sm.families.Binomial(), offset=offset, var_weights=weight)
        step = np.asarray(model.fit(np.zeros(2), tol=1e-12, tol_criterion="params").params)
    moved = expit(logit(m) + step[:, None] * clever)
    off = np.abs((own * weight * (y - np.where(arms[0], moved[0], moved[1]))).mean(axis=1)).max()
    if not off < 1e-6:
        raise EstimationError("a fluctuation that solves the influence equations", f"a mean of {off:.2g} left",
                              "trim= the units without overlap, or clip=")  # fmt: skip
    return moved
