"""The two models behind a doubly robust estimate, treatment and outcome given covariates, in sample or cross-fitted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from ..design.propensity import encode, read_treatment, refuse_missing, require_columns, to_pandas
from ..design.table import is_number, sort_keys
from ..errors import EstimationError
from .glm import Family, Regression, link_slope, regress

Target = Literal["all", "treated"]
Missing = Literal["refused", "left_out"]
NO_OVERLAP = 1e-6  # a probability this near to 0 or 1 leaves nobody to compare with


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Units in the order of their keys: 0/1 treatment, outcome, columns with ones first, independent groups, folds.

    x, z : (n, k) columns of the outcome models and of the treatment model, often the same array.
    fold : (n,) 0 .. k - 1, or None without cross-fitting. notes : what a reader must know of who is in.
    """

    t: np.ndarray
    y: np.ndarray
    x: np.ndarray
    names: list[str]
    z: np.ndarray
    names_z: list[str]
    keys: np.ndarray
    groups: np.ndarray | None
    fold: np.ndarray | None
    outcome: str
    binary: bool
    total: int
    notes: tuple[str, ...] = ()

    def kept(self, keep: np.ndarray) -> Sample:
        """The same on some of the units."""
        x = self.x[keep]
        return replace(
            self, t=self.t[keep], y=self.y[keep], x=x, z=x if self.z is self.x else self.z[keep], keys=self.keys[keep],
            groups=None if self.groups is None else self.groups[keep],
            fold=None if self.fold is None else self.fold[keep],
        )  # fmt: skip


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


def read_units(
    units: Any, treatment: str, outcome: str, covariates: Sequence[str], *, key: str | None, cluster: str | None,
    folds: int, fold: str | None, missing: Missing, propensity_covariates: Sequence[str] | None = None,
) -> Sample:  # fmt: skip
    """The units of a doubly robust estimate, in the order of `key`; every refusal of bad input is here."""
    units = to_pandas(units)
    t = read_treatment(units, treatment)
    if missing not in ("refused", "left_out"):
        raise EstimationError('missing "refused" or "left_out"', f"{missing!r}", "choose one of these")
    extra = [name for name in (key, cluster, fold) if name is not None]
    decide = covariates if propensity_covariates is None else propensity_covariates
    named = list(dict.fromkeys([*covariates, *decide]))
    require_columns(units, [outcome, *named, *extra])
    if not covariates or not decide or {treatment, outcome} & set(named):
        raise EstimationError("covariates other than the treatment and the outcome", f"{list(covariates)}",
                              "name what decides who is treated")  # fmt: skip
    if not is_number(units[outcome]):
        raise EstimationError("a numeric or 0/1 outcome", f"type {units[outcome].dtype}", "code it as a number",
                              column=outcome)  # fmt: skip
    y = units[outcome].to_numpy(dtype=float, na_value=np.nan)
    hole = np.isnan(y)
    if np.isinf(y).any():
        raise EstimationError("a finite outcome", "infinite values", "correct them at the source", column=outcome,
                              count=int(np.isinf(y).sum()))  # fmt: skip
    if hole.any() and missing == "refused":
        raise EstimationError("an outcome for every unit", "missing values",
                              'say missing="left_out" to estimate on the others, or use a later horizon',
                              column=outcome, count=int(hole.sum()), keys=units.index[hole].tolist())  # fmt: skip
    refuse_missing(units[~hole] if hole.any() else units, [*named, *extra])
    notes: tuple[str, ...] = ()
    if hole.any():
        notes = (f"{int(hole.sum()):,} of {len(y):,} units were left out because {outcome} is missing "
                 f"({int(hole[t].sum()):,} treated).",)  # fmt: skip
    place = np.flatnonzero(~hole)
    if key is not None:
        names = units[key].to_numpy()
        if units[key].iloc[place].duplicated().any():
            raise EstimationError("one row a key", "the same key again", "give a column that is unique", column=key)
        place = place[sort_keys(units[key].iloc[place])]
    in_order = np.array_equal(place, np.arange(len(y)))
    rows = units if in_order else units.iloc[place]
    t, y = t[place], y[place]
    if min(t.sum(), (~t).sum()) < 2:
        raise EstimationError("two treated and two comparison units with an outcome",
                              f"{int(t.sum())} and {int((~t).sum())}", "widen the cohort", column=outcome)  # fmt: skip
    if np.ptp(y) == 0:
        raise EstimationError("an outcome that varies", f"{y[0]:g} for everyone", "check its definition and horizon",
                              column=outcome)  # fmt: skip
    x, names_x = _columns(rows, covariates)
    z, names_z = (x, names_x) if list(decide) == list(covariates) else _columns(rows, decide)
    groups = None if cluster is None else pd.factorize(rows[cluster], sort=True)[0]
    return Sample(
        t=t, y=y, x=x, names=names_x, z=z, names_z=names_z, outcome=outcome, total=len(units), notes=notes,
        keys=rows.index.to_numpy() if key is None else names[place], groups=groups,
        fold=_folds(rows, t, groups, folds, fold), binary=bool(((y == 0) | (y == 1)).all()),
    )  # fmt: skip


def _columns(rows: pd.DataFrame, names: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    matrix, labels, _ = encode(rows, names, drop_base=True)
    x = np.empty((len(rows), matrix.shape[1] + 1))
    x[:, 0], x[:, 1:] = 1.0, matrix
    return x, ["intercept", *labels]


def _folds(rows, t, groups, folds, fold) -> np.ndarray | None:
    """(n,) fold numbers: a column's, or dealt out in the order of keys, arm by arm (whole clusters together)."""
    if fold is not None:
        code = pd.factorize(rows[fold], sort=True)[0]
    elif isinstance(folds, (int, np.integer)) and folds == 0:
        return None
    elif not isinstance(folds, (int, np.integer)) or folds < 2:
        raise EstimationError("folds = 0 (models in sample) or 2 and more", f"folds = {folds!r}", "5 is common")
    elif groups is not None:
        code = groups % folds
    else:
        code = np.empty(len(t), int)
        for arm in (t, ~t):
            code[arm] = np.arange(int(arm.sum())) % folds
    count = int(code.max()) + 1
    seen = np.bincount(code[t], minlength=count), np.bincount(code[~t], minlength=count)
    if count < 2 or min(seen[0].min(), seen[1].min()) < 1:
        raise EstimationError("treated and comparison units in each of two or more folds",
                              f"{seen[0].tolist()} treated, {seen[1].tolist()} comparison",
                              "ask for fewer folds")  # fmt: skip
    return code


def fit_nuisances(
    sample: Sample, *, outcome_model: Any, propensity_model: Any, target: Target, interact: bool = True,
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


def fitted_values(sample: Sample, y: np.ndarray, model: Any) -> np.ndarray:
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


def _one_model(sample: Sample, y: np.ndarray, rows: np.ndarray, model: Any) -> Any:
    if not isinstance(model, str):
        return _fitted(model, sample.x[rows], y[rows])
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
    return _sklearn(model, z, t.astype(int), asked), None


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
            out.append(_fitted(model, x, y[rows]))
    return tuple(out)


def _predict(model, x, treated: int, interact: bool) -> np.ndarray:
    asked = x if interact else np.column_stack([x, np.full(len(x), float(treated))])
    if isinstance(model, Regression):
        return model.mean(asked)
    if hasattr(model, "predict_proba"):
        return model.predict_proba(asked[:, 1:])[:, 1]
    return np.asarray(model.predict(asked[:, 1:]), float)


def _fitted(model, x, y):
    from sklearn.base import clone, is_classifier

    own = clone(model)
    if "random_state" in own.get_params() and own.get_params()["random_state"] is None:
        own.set_params(random_state=0)  # the same call gives the same answer
    if is_classifier(own):
        if not ((y == 0) | (y == 1)).all() or np.ptp(y) == 0:
            raise EstimationError("0 and 1 in each arm and fold for a classifier", "other values, or only one",
                                  "give a regressor, or ask for fewer folds")  # fmt: skip
        y = y.astype(int)
    return own.fit(x[:, 1:], y)


def _sklearn(model, z, t, asked) -> np.ndarray:
    own = _fitted(model, z, t)
    if not hasattr(own, "predict_proba"):
        raise EstimationError("a classifier with predict_proba for the treatment", type(model).__name__,
                              "give a classifier")  # fmt: skip
    return own.predict_proba(asked[:, 1:])[:, 1]


def _overlap(p, sample: Sample, target: Target, clip) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
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
