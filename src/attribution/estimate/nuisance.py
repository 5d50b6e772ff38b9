"""The two models behind a doubly robust estimate, treatment and outcome given covariates, in sample or cross-fitted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ..errors import EstimationError
from ..inference import Unrecorded
from .glm import Family, Regression, link_slope, regress
from .units import Units

Target = Literal["all", "treated"]
NO_OVERLAP = 1e-6  # a probability this near to 0 or 1 leaves nobody to compare with


def usual(model: Any, otherwise: str) -> Any:
    """The model, or the usual one for None; a forest that is not fitted has no truth value, so never `or`."""
    return otherwise if model is None else model


@dataclass(frozen=True, kw_only=True)
class Nuisances:
    """Fitted p (n,) = P(treated | x) and m (2, n) = E[outcome | x] in each arm, treated first.

    treatment, arms : the regressions themselves where they were fitted in sample, for stacked standard errors; `arms`
        has one entry when both arms share coefficients. clipped : (n,) bool, p moved to the bound.
    """

    p: np.ndarray
    m: np.ndarray
    clipped: np.ndarray
    treatment: Regression | None = None
    arms: tuple[Regression, ...] = ()
    notes: tuple[str, ...] = ()


def fit_nuisances(
    sample: Units, *, outcome_model: Any, propensity_model: Any, target: Target, interact: bool = True,
    clip: float | None = None, outcome_weights: Any = None, known: np.ndarray | None = None,
) -> Nuisances:  # fmt: skip
    """Both models on the sample, each unit predicted by models that have not seen its fold.

    outcome_model : "linear", "logit" or a scikit-learn regressor or classifier. propensity_model : "logit", "probit" or
        a classifier. outcome_weights : function of p giving the (2, n) weights of the outcome regressions, or None.
    clip : p is kept inside [clip, 1 - clip], and the note says for how many. known : an outcome in place of sample.y.
    """
    y = sample.y if known is None else known
    if sample.fold is None:
        if not isinstance(outcome_model, str) or not isinstance(propensity_model, str):
            raise EstimationError("folds of 2 or more for a scikit-learn model", "folds = 0",
                                  "flexible models must not predict their own units: try folds=5")  # fmt: skip
        p, treatment = _probability(sample, np.ones(len(y), bool), propensity_model, None)
        p, clipped, notes = _overlap(p, sample, target, clip)
        weights = None if outcome_weights is None else outcome_weights(p)
        arms = _outcomes(sample, y, np.ones(len(y), bool), outcome_model, interact, weights)
        m = np.stack([_predict(arms[a if interact else 0], sample.x, 1 - a, interact) for a in (0, 1)])
        told = sum(arm.separated for arm in arms)
        if told:
            notes = (*notes, f"The outcome model fits {told:,} units exactly (a level in which all outcomes are "
                     "alike): the standard error cannot know otherwise.")  # fmt: skip
        return Nuisances(p=p, m=m, clipped=clipped, treatment=treatment, arms=arms, notes=notes)
    if outcome_weights is not None:
        raise EstimationError("folds = 0 for a weighted outcome model", "cross-fitting", 'use form="aipw"')
    p, m = np.empty(len(y)), np.empty((2, len(y)))
    start = _probability(sample, np.ones(len(y), bool), propensity_model, None)[1]
    for k in range(int(sample.fold.max()) + 1):
        test = sample.fold == k
        p[test] = _probability(sample, ~test, propensity_model, start, test)[0]
        models = _outcomes(sample, y, ~test, outcome_model, interact, None)
        for a in (0, 1):
            m[a, test] = _predict(models[a if interact else 0], sample.x[test], 1 - a, interact)
    if not (np.isfinite(p).all() and np.isfinite(m).all()):
        raise EstimationError("finite predictions of both models", "infinite or missing ones", "check the models given")
    p, clipped, notes = _overlap(p, sample, target, clip)
    return Nuisances(p=p, m=m, clipped=clipped, notes=notes)


def fitted_values(sample: Units, y: np.ndarray, model: Any) -> np.ndarray:
    """(n,) E[y | x] for both arms together, each unit by a model that has not seen its fold."""
    whole = np.ones(len(y), bool)
    if sample.fold is None:
        if not isinstance(model, str):
            raise EstimationError("folds of 2 or more for a scikit-learn model", "folds = 0", "try folds=5")
        return _predict(_one_model(sample, y, whole, model), sample.x, 1, True)
    out = np.empty(len(y))
    for k in range(int(sample.fold.max()) + 1):
        test = sample.fold == k
        out[test] = _predict(_one_model(sample, y, ~test, model), sample.x[test], 1, True)
    return out


def _one_model(sample: Units, y: np.ndarray, rows: np.ndarray, model: Any) -> Any:
    if not isinstance(model, str):
        return _fitted(model, sample.x[rows], y[rows], sample, rows)
    if model not in ("linear", "logit"):
        raise EstimationError('model "linear", "logit" or a scikit-learn model', f"{model!r}", "choose one of these")
    family: Family = "linear" if model == "linear" else "logit"
    return regress(sample.x[rows], y[rows], family=family, names=sample.names)


def _probability(sample, train, model, start, test=None) -> tuple[np.ndarray, Regression | None]:
    everyone = train.all()
    z, t = (sample.z, sample.t) if everyone else (sample.z[train], sample.t[train])
    asked = sample.z if test is None else sample.z[test]
    if isinstance(model, str):
        if model not in ("logit", "probit"):
            raise EstimationError('propensity_model "logit", "probit" or a scikit-learn classifier', f"{model!r}",
                                  "choose one of these")  # fmt: skip
        family: Family = "logit" if model == "logit" else "probit"
        fit = regress(z, t.astype(float), family=family, names=sample.names_z, whole=True,
                      start=None if start is None else start.coefficients)  # fmt: skip
        if fit.separated:
            raise EstimationError(
                "overlap: no combination of covariates that decides treatment",
                "units whose treatment the covariates tell exactly", "leave those units out, or coarsen the covariates",
                count=fit.separated, keys=sample.keys[train][np.abs(fit.residual) < NO_OVERLAP].tolist(),
            )  # fmt: skip
        return fit.mean(asked), fit
    if test is None:
        return np.empty(0), None  # the warm start is for regressions only
    return _sklearn(model, z, t.astype(int), asked, sample, train), None


def _outcomes(sample, y, train, model, interact, weights) -> tuple[Any, ...]:
    """Fitted models of both arms, or one for both; a scikit-learn model is cloned, never changed."""
    out = []
    for a, arm in enumerate((sample.t, ~sample.t) if interact else (sample.t | ~sample.t,)):
        rows = train & arm
        x = sample.x[rows] if interact else np.column_stack([sample.x[rows], sample.t[rows]])
        if isinstance(model, str):
            if model not in ("linear", "logit"):
                raise EstimationError('outcome_model "linear", "logit" or a scikit-learn model', f"{model!r}",
                                      "choose one of these")  # fmt: skip
            if model == "logit" and ((y < 0) | (y > 1)).any():
                raise EstimationError("an outcome between 0 and 1 for a logit", "values outside", 'use "linear"',
                                      column=sample.outcome)  # fmt: skip
            where = f" among the {'treated' if a == 0 else 'comparison'} units" if interact else ""
            names = sample.names if interact else [*sample.names, "treatment"]
            family: Family = "linear" if model == "linear" else "logit"
            out.append(regress(x, y[rows], None if weights is None else weights[a][rows], family=family, names=names,
                               where=where))  # fmt: skip
        else:
            out.append(_fitted(model, x, y[rows], sample, rows))
    return tuple(out)


def _predict(model, x, treated: int, interact: bool) -> np.ndarray:
    asked = x if interact else np.column_stack([x, np.full(len(x), float(treated))])
    if isinstance(model, Regression):
        return model.mean(asked)
    if hasattr(model, "predict_proba"):
        return model.predict_proba(asked[:, 1:])[:, 1]
    return np.asarray(model.predict(asked[:, 1:]), float)


def _fitted(model, x, y, sample: Units, rows: np.ndarray):
    """A clone, fitted; x, y are those of `rows` of the sample, and come by content where no key orders them."""
    from sklearn.base import clone, is_classifier

    own = clone(model)
    if "random_state" in own.get_params() and own.get_params()["random_state"] is None:
        own.set_params(random_state=0)  # the same call gives the same answer
    if is_classifier(own):
        if not ((y == 0) | (y == 1)).all() or np.ptp(y) == 0:
            raise EstimationError("0 and 1 in each arm and fold for a classifier", "other values, or only one",
                                  "give a regressor, or ask for fewer folds")  # fmt: skip
        y = y.astype(int)
    order = slice(None) if sample.mark is None else np.argsort(sample.mark[rows], kind="stable")
    return own.fit(x[order, 1:], y[order])


def _sklearn(model, z, t, asked, sample, train) -> np.ndarray:
    own = _fitted(model, z, t, sample, train)
    if not hasattr(own, "predict_proba"):
        raise EstimationError("a classifier with predict_proba for the treatment", type(model).__name__,
                              "give a classifier")  # fmt: skip
    return own.predict_proba(asked[:, 1:])[:, 1]


def _overlap(p, sample: Units, target: Target, clip) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Probabilities fit to divide by: none so near 0 or 1 that nobody is comparable, clipped only where asked to."""
    if clip is not None:
        if not 0 < clip < 0.5:
            raise EstimationError("0 < clip < 0.5", f"clip = {clip}", "0.01 is common")
        inside = np.clip(p, clip, 1 - clip)
        clipped = inside != p
        note = (f"{int(clipped.sum()):,} probabilities of treatment were moved to [{clip:g}, {1 - clip:g}]: for these "
                "units nothing vouches for the answer.",) if clipped.any() else ()  # fmt: skip
        return inside, clipped, note
    bad = p > 1 - NO_OVERLAP
    if target == "all":
        bad |= p < NO_OVERLAP
    if bad.any():
        raise EstimationError(
            "overlap: probabilities of treatment away from 0 and 1", "units all but surely treated or untreated",
            "leave them out with trim=, coarsen the covariates, or conclude that there is no comparison",
            count=int(bad.sum()), keys=sample.keys[bad].tolist(),
        )  # fmt: skip
    return p, np.zeros(len(p), bool), ()


def probability_slope(fit: Regression, x: np.ndarray, clipped: np.ndarray) -> np.ndarray:
    """(n,) derivative of p by the linear predictor; 0 where p was clipped."""
    return np.where(clipped, 0.0, link_slope(fit.family, x @ fit.coefficients))


def unrecorded(sample: Units, residual: np.ndarray, p: np.ndarray, target: Target) -> Unrecorded:
    """Room for something unrecorded in the ATE or the ATT: residual (n,) is the outcome less its arm's prediction.

    alpha is t/p - (1 - t)/(1 - p), or [t - (1 - t) p/(1 - p)] / q with q the share treated. E[alpha^2] by
    2 m(alpha) - alpha^2, m(alpha) the effect of treatment on alpha over the target, so that errors of p do not matter
    to first order.
    """
    t, q = sample.t, sample.t.mean()
    if target == "all":
        leverage = 2 / (p * (1 - p)) - np.where(t, 1 / p, 1 / (1 - p)) ** 2
        known = np.zeros(len(t))
    else:
        leverage = (2 * t / (1 - p) - np.where(t, 1.0, p / (1 - p)) ** 2) / q**2
        known = 2 * leverage.mean() * (t / q - 1)  # the share treated is counted, not known
    return room(sample, residual**2, leverage, leverage - known)


def room(sample: Units, noise: np.ndarray, leverage: np.ndarray, moved: np.ndarray) -> Unrecorded:
    """From what each unit adds to both means, and to the influence of the second: by the product rule."""
    a, b, n = float(noise.mean()), float(leverage.mean()), len(noise)
    if a < 1e-20 * float(sample.y @ sample.y) / n:  # rounding of an outcome that the models tell exactly
        a = 0.0
    with np.errstate(invalid="ignore", divide="ignore"):  # none left: `omitted_variable_bounds` says so
        scores = (b * (noise - a) + a * (moved - moved.mean())) / (2 * np.sqrt(a * b)) / n
    return Unrecorded(noise=a, leverage=b, scores=by_group(scores[:, None], sample.groups)[:, 0])


def by_group(rows: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    """Score rows (n, k) summed within clusters, times sqrt(G / (G - 1)); unchanged without clusters."""
    if groups is None:
        return rows
    code = np.unique(groups, return_inverse=True)[1]
    count = int(code.max()) + 1
    if count < 2:
        raise EstimationError("at least two clusters", f"{count}", "no standard error exists; widen the cohort")
    sums = np.column_stack([np.bincount(code, weights=column) for column in rows.T])
    return sums * np.sqrt(count / (count - 1))
