"""Probability of treatment given covariates: an unpenalised logit or probit, or any classifier, cross-fitted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from ..errors import DesignError
from ..results import Result
from .newton import Columns, Fit, logit, probit
from .table import choice_order, encode, in_order, key_order, read_treatment, refuse_missing, require_columns, to_pandas

Link = Literal["logit", "probit"]
_COLLINEAR = 1e-9  # share of a column's variance the columns before it leave unexplained


@dataclass(frozen=True, kw_only=True, repr=False)
class Propensity(Result):
    """P(treated | covariates). Coefficients are per unit of the covariate, base levels of categories left out.

    coefficients, std_error : Series, `intercept` first; empty for a classifier. probability, logit (log-odds) : (n,) in
    the order of the rows given. spec : model ("logit", "probit" or the classifier's name), covariates, folds, seed.
    """

    coefficients: pd.Series
    std_error: pd.Series
    probability: np.ndarray
    logit: np.ndarray
    treated: np.ndarray
    converged: bool
    log_likelihood: float
    spec: dict[str, Any] = field(default_factory=dict)

    @property
    def auc(self) -> float:
        """Chance that a treated unit scores above a comparison unit (0.5: no selection; near 1: no overlap)."""
        from sklearn.metrics import roc_auc_score

        return float(roc_auc_score(self.treated, self.logit))

    def tidy(self) -> pd.DataFrame:
        return pd.DataFrame({"covariate": self.coefficients.index, "coefficient": self.coefficients.to_numpy(),
                             "std_error": self.std_error.to_numpy()})  # fmt: skip

    def summary(self) -> str:
        n, k = len(self.treated), int(self.treated.sum())
        folds = self.spec.get("folds")
        how = f", out of {folds} folds (AUC {self.auc:.3f})" if folds else ""
        first = f"{self.spec.get('model', 'logit')} of treatment, {k:,} of {n:,} treated{how}"
        return first if folds else f"{first}\n{self.tidy().to_string(index=False, float_format='%.4g')}"


def propensity(
    units: Any, treatment: str, covariates: Sequence[str], *, model: Any = None, link: Link = "logit", folds: int = 5,
    seed: int = 0, key: str | None = None,
) -> Propensity:  # fmt: skip
    """P(treated | covariates): by maximum likelihood without penalty, or by a classifier on units it has not seen.

    Estimator : logit (or probit) by Newton's method on standardised columns, mapped back to the units of the
        covariates. Converged means the last step was below 1e-8 standard deviations. With `model`, a copy of the
        classifier is fitted for every fold on the others (cross-fitting: Chernozhukov et al. 2018), on covariates with
        one 0/1 column a level; within each arm the units, sorted by a hash of seed and `key` (or place among the
        labels), are dealt to the folds in turn. Random states the classifier leaves open are set to `seed`.
    Edge cases : a constant, collinear or separating covariate is refused by name; missing values are refused with count
        and examples. Probabilities are never clipped: exact 0 or 1 from a classifier are counted and refused.
    Checked : reference/match/ps_logit_lalonde, ps_logit_nsw_psid (R's glm); statsmodels' Probit.

    Parameters
    ----------
    units : table of n rows. treatment : its 0/1 column. covariates : numeric, boolean, text or categorical columns.
    model : None, or an unfitted scikit-learn classifier with predict_proba. link : of the model None.
    folds : >= 2, at most the smaller arm. key : column of unique values, else the labels of the index: with either
        the order of rows never matters.
    """
    given, units = units, to_pandas(units)
    treated = read_treatment(units, treatment)
    columns = [*covariates, *([key] if key else [])]
    require_columns(units, columns)
    refuse_missing(units, columns, units[key].to_numpy() if key else None)
    if model is None and link not in ("logit", "probit"):
        raise DesignError('link "logit" or "probit"', f"{link!r}", "choose one of these")
    if model is None:
        order = key_order(units, key)
    else:  # units alike in all this sees may fall in different folds
        order, _ = choice_order(given, units, key, [treatment, *covariates])
    rows = in_order(units, order)
    t = treated[order]
    x, names, origins = encode(rows, covariates, drop_base=model is None)
    if model is None:
        score = fit_logit(x, t, names, origins, link=link)
    else:
        keys = np.arange(len(rows)) if key is None else rows[key].to_numpy()
        score = _cross_fitted(model, x, t, names, keys, covariates, folds, seed)
    return score if rows is units else _reordered(score, order)


def require_score(score: Any, treated: np.ndarray) -> None:
    """A score that a design is given must be of its rows, in their order."""
    if not isinstance(score, Propensity):
        raise DesignError("score= a result of propensity", f"a {type(score).__name__}",
                          "fit at.propensity on this table")  # fmt: skip
    if not np.array_equal(np.asarray(score.treated, bool), treated):
        raise DesignError("score= fitted on these rows", "a propensity of other rows or another treatment",
                          "fit it on this table, in this order", count=len(score.treated))  # fmt: skip


def fit_logit(
    x: np.ndarray, treated: np.ndarray, names: list[str], origins: list[str], *, link: Link = "logit",
    sampling: np.ndarray | None = None,
) -> Propensity:  # fmt: skip
    """The logit (or probit) of `propensity` on a ready matrix."""
    columns = columns_of(x, names, origins)
    return score_of(columns, fit_link(columns, treated, names, origins, link, sampling), treated, names, origins, link)


def columns_of(x: np.ndarray, names: list[str], origins: list[str]) -> Columns:
    """The matrix ready for Newton's method; constant and collinear columns are refused by name."""
    if not names:
        raise DesignError("at least one covariate", "none", "name the covariates that decide who is treated")
    columns = Columns.of(x)
    flat = columns.scale <= 1e-12 * np.maximum(1.0, np.abs(columns.centre))
    if flat.any():
        raise DesignError("covariates that vary", "a constant covariate", "leave it out of the design",
                          column=origins[int(np.flatnonzero(flat)[0])])  # fmt: skip
    _refuse_collinear(columns.correlation, names, origins)
    return columns


def fit_link(columns: Columns, treated, names, origins, link: Link = "logit", sampling=None) -> Fit:
    """Maximum likelihood; separation is refused by name."""
    # at zero the information is largest: Newton does not overshoot, also when few are treated
    fit = columns.minimise(logit if link == "logit" else probit, treated, sampling, np.zeros(len(names) + 1))
    if not fit.converged:
        _refuse_separation(columns.x, treated, names, origins, fit.step)
    return fit


def score_of(columns: Columns, fit: Fit, treated, names, origins, link: Link = "logit") -> Propensity:
    """Coefficients in the units of the covariates, and every unit's score."""
    eta = columns.index(fit.beta)
    back = np.diag(np.r_[1.0, 1 / columns.scale])
    back[0, 1:] = -columns.centre / columns.scale
    index = ["intercept", *names]
    if link == "logit":
        probability, log_odds = 1 / (1 + np.exp(-eta)), eta
        log_likelihood = -float(np.logaddexp(0.0, np.where(treated, -eta, eta)).sum())
    else:
        from scipy.special import log_ndtr, ndtr

        probability, log_odds = ndtr(eta), log_ndtr(eta) - log_ndtr(-eta)
        log_likelihood = float(log_ndtr(np.where(treated, eta, -eta)).sum())
    cov = back @ np.linalg.inv(fit.information) @ back.T
    return Propensity(
        coefficients=pd.Series(back @ fit.beta, index), std_error=pd.Series(np.sqrt(np.diag(cov)), index),
        probability=probability, logit=log_odds, treated=treated, converged=fit.converged,
        log_likelihood=log_likelihood, spec={"covariates": tuple(dict.fromkeys(origins)), "model": link},
    )  # fmt: skip


def _cross_fitted(model, x, treated, names, keys, covariates, folds, seed) -> Propensity:
    from sklearn.base import clone

    smaller = int(min(treated.sum(), (~treated).sum()))
    if not hasattr(model, "fit") or not hasattr(model, "predict_proba"):
        raise DesignError("a classifier with fit and predict_proba", f"a {type(model).__name__}",
                          "give a scikit-learn classifier, or None for the logit")  # fmt: skip
    if not 2 <= folds <= smaller:
        raise DesignError("2 or more folds, no more than the smaller arm", f"{folds} folds, {smaller} units",
                          "choose fewer folds, or the logit (model=None)")  # fmt: skip
    fold, p = fold_of(keys, treated, folds, seed), np.empty(len(treated))
    for one in range(folds):
        fresh, out = clone(model), fold == one
        loose = {name: seed for name, value in fresh.get_params().items()
                 if name.rsplit("__", 1)[-1] == "random_state" and value is None}  # fmt: skip
        fresh.set_params(**loose)
        fresh.fit(x[~out], treated[~out].astype(int))
        p[out] = fresh.predict_proba(x[out])[:, list(fresh.classes_).index(1)]
    certain = ~((p > 0) & (p < 1))
    if certain.any():
        raise DesignError(
            "probabilities strictly between 0 and 1", f"a {type(model).__name__} that is certain of some units",
            "larger leaves, or a calibrated classifier (CalibratedClassifierCV); or leave these units out",
            count=int(certain.sum()), keys=keys[certain][:5].tolist(),
        )  # fmt: skip
    empty = pd.Series(dtype=float)
    return Propensity(
        coefficients=empty, std_error=empty, probability=p, logit=np.log(p) - np.log1p(-p), treated=treated,
        converged=True, log_likelihood=float(np.log(np.where(treated, p, 1 - p)).sum()),
        spec={"covariates": tuple(covariates), "model": type(model).__name__, "folds": folds, "seed": seed},
    )  # fmt: skip


def fold_of(keys: np.ndarray, treated: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """(n,) fold numbers: within each arm, units sorted by a hash of seed and key are dealt in turn."""
    mixed = pd.util.hash_array(np.array([f"{seed}|{key}" for key in keys], dtype=object), categorize=False)
    fold = np.empty(len(keys), int)
    for arm in (False, True):
        mine = np.flatnonzero(treated == arm)
        fold[mine[np.argsort(mixed[mine], kind="stable")]] = np.arange(len(mine)) % folds
    return fold


def _reordered(score: Propensity, order: np.ndarray) -> Propensity:
    back = np.empty(len(order), int)
    back[order] = np.arange(len(order))
    return replace(score, probability=score.probability[back], logit=score.logit[back], treated=score.treated[back])


def _refuse_collinear(gram: np.ndarray, names: list[str], origins: list[str]) -> None:
    """gram : (k, k) correlations."""
    if np.linalg.eigvalsh(gram)[0] > 1e-7:
        return
    for j in range(1, len(gram)):
        weights = np.linalg.lstsq(gram[:j, :j], gram[:j, j], rcond=None)[0]
        if gram[j, j] - gram[:j, j] @ weights < _COLLINEAR:
            by = list(dict.fromkeys(origins[i] for i in np.flatnonzero(np.abs(weights) > 1e-6)))
            shown = f"{', '.join(by[:5])}{f' and {len(by) - 5} more' if len(by) > 5 else ''}"
            raise DesignError(
                "covariates that are not combinations of each other", f"{names[j]!r} is fixed by {shown}",
                "leave one of them out", column=origins[j],
            )  # fmt: skip


def _refuse_separation(
    x: np.ndarray, treated: np.ndarray, names: list[str], origins: list[str], step: np.ndarray
) -> None:
    """Name what separates: one covariate whose ranges at most touch, else the coefficients that still run away."""
    top, bottom = x[treated], x[~treated]
    for j, name in enumerate(names):
        a, b = top[:, j], bottom[:, j]
        binary = len(np.unique(x[:, j])) == 2
        if binary and (len(np.unique(a)) == 1 or len(np.unique(b)) == 1):
            arm, value = ("treated", a[0]) if len(np.unique(a)) == 1 else ("comparison", b[0])
            found = f"every {arm} unit has {name} = {value:g}, so nobody there can be compared"
        elif a.min() >= b.max() or a.max() <= b.min():
            ranges = f"{a.min():g} to {a.max():g} and {b.min():g} to {b.max():g}"
            found = f"{name} alone tells treated from comparison (ranges {ranges})"
        else:
            continue
        raise DesignError("overlap: no covariate that decides treatment", found,
                          "leave those units out first, coarsen the covariate, or report no design",
                          column=origins[j])  # fmt: skip
    moving = np.argsort(-np.abs(np.nan_to_num(step[1:], nan=1.0)), kind="stable")[:3]
    raise DesignError(
        "overlap: no combination of covariates that decides treatment", "a logit that does not converge",
        "leave out or coarsen these covariates, or report no design", column=origins[int(moving[0])],
        keys=[names[int(j)] for j in moving],
    )  # fmt: skip
