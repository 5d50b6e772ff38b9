"""Probability of treatment given covariates: an unpenalised logit, solved to full convergence."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from ..errors import DesignError
from ..results import Result

_COLLINEAR = 1e-9  # share of a column's variance the columns before it leave unexplained


@dataclass(frozen=True, kw_only=True, repr=False)
class Propensity(Result):
    """P(treated | covariates) by logit. Coefficients are per unit of the covariate, base levels of categories left out.

    coefficients, std_error : Series, `intercept` first. probability, logit : (n,) in the order of the rows given.
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
        return f"logit of treatment, {k:,} of {n:,} treated\n{self.tidy().to_string(index=False, float_format='%.4g')}"


def to_pandas(frame: Any) -> pd.DataFrame:
    """The caller's table (pandas, Polars, Arrow, a DuckDB relation) as a pandas frame; never changed."""
    if isinstance(frame, pd.DataFrame):
        return frame
    for method in ("to_pandas", "df"):
        if hasattr(frame, method):
            return getattr(frame, method)()
    raise DesignError("a table of units", f"a {type(frame).__name__}", "give a pandas, Polars or Arrow table")


def read_treatment(units: pd.DataFrame, treatment: str) -> np.ndarray:
    """(n,) bool of a 0/1 column in which both arms are present."""
    require_columns(units, [treatment])
    values = pd.to_numeric(units[treatment], errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    wrong = ~np.isin(values, (0.0, 1.0))
    if wrong.any():
        raise DesignError(
            "treatment to be 0 or 1 for every unit", "other values or none", "code treated as 1, comparison as 0",
            column=treatment, count=int(wrong.sum()), keys=units.index[wrong].tolist(),
        )  # fmt: skip
    treated = values == 1
    n_treated, n_comparison = int(treated.sum()), int((~treated).sum())
    if n_treated < 2 or n_comparison < 2:
        raise DesignError(
            "at least two treated and two comparison units", f"{n_treated} treated and {n_comparison} comparison",
            "widen the cohort, or report the group as not estimable", column=treatment,
        )  # fmt: skip
    return treated


def require_columns(units: pd.DataFrame, names: Sequence[str]) -> None:
    missing = [name for name in names if name not in units.columns]
    if missing:
        raise DesignError(
            f"columns {', '.join(map(str, names))}", "no such column", "check the spelling or build the column",
            count=len(missing), keys=missing,
        )  # fmt: skip


def refuse_missing(units: pd.DataFrame, names: Sequence[str], labels: Any = None) -> None:
    """Missing values are never imputed or dropped on the quiet: say how many, and whose."""
    for name in names:
        hole = units[name].isna().to_numpy()
        if hole.any():
            keys = np.asarray(units.index if labels is None else labels)[hole]
            raise DesignError(
                "no missing value in a column the design uses", "missing values",
                "impute it and add a missing-indicator as a covariate, or leave these units out and say so",
                column=str(name), count=int(hole.sum()), keys=keys[:5].tolist(),
            )  # fmt: skip


def encode(
    units: pd.DataFrame, covariates: Sequence[str], *, drop_base: bool
) -> tuple[np.ndarray, list[str], list[str]]:
    """Covariates as an (n, k) float matrix, with the name of each column and the covariate it comes from.

    Text and categories become one 0/1 column a level, `name_level`, in sorted order (a categorical keeps its own
    order); `drop_base` leaves the first level out.
    """
    columns, names, origins = [], [], []
    for name in covariates:
        series = units[name]
        dtype = series.dtype
        if (
            isinstance(dtype, pd.CategoricalDtype)
            or pd.api.types.is_object_dtype(dtype)
            or pd.api.types.is_string_dtype(dtype)
        ):
            if isinstance(dtype, pd.CategoricalDtype):  # the category's own order, observed levels only
                tidy = series.cat.remove_unused_categories().cat
                codes, levels = tidy.codes.to_numpy(), list(tidy.categories)
            else:
                found, names_found = pd.factorize(series, sort=True)
                codes, levels = found, list(names_found)
            for code, level in enumerate(levels):
                if code == 0 and drop_base and len(levels) > 1:
                    continue
                columns.append((codes == code).astype(float))
                names.append(f"{name}_{level}")
                origins.append(name)
        elif pd.api.types.is_numeric_dtype(dtype) or pd.api.types.is_bool_dtype(dtype):
            columns.append(series.to_numpy(dtype=float))
            names.append(str(name))
            origins.append(name)
        else:
            raise DesignError("numeric or categorical covariates", f"a column of type {dtype}",
                              "turn dates into numbers with a meaning (months since application)",
                              column=str(name))  # fmt: skip
    matrix = np.column_stack(columns) if columns else np.empty((len(units), 0))
    infinite = ~np.isfinite(matrix).all(axis=0)
    if infinite.any():
        raise DesignError("finite covariates", "infinite or missing values", "correct them at the source",
                          column=names[int(np.flatnonzero(infinite)[0])])  # fmt: skip
    return matrix, names, origins


def propensity(units: Any, treatment: str, covariates: Sequence[str]) -> Propensity:
    """Fit P(treated | covariates) by maximum likelihood, no penalty.

    Estimator : logit by Newton's method (statsmodels) on standardised columns, mapped back to the units of the
        covariates. Converged means the last step was below 1e-10 standard deviations.
    Edge cases : a constant, collinear or separating covariate is refused by name; missing values are refused with count
        and examples. Probabilities are never clipped.
    Checked : reference/match/ps_logit_lalonde, ps_logit_nsw_psid (R's glm).

    Parameters
    ----------
    units : table of n rows. treatment : its 0/1 column. covariates : numeric, boolean, text or categorical columns.
    """
    units = to_pandas(units)
    treated = read_treatment(units, treatment)
    require_columns(units, covariates)
    refuse_missing(units, covariates)
    x, names, origins = encode(units, covariates, drop_base=True)
    return fit_logit(x, treated, names, origins)


def fit_logit(x: np.ndarray, treated: np.ndarray, names: list[str], origins: list[str]) -> Propensity:
    """The logit of `propensity` on a ready matrix."""
    if not names:
        raise DesignError("at least one covariate", "none", "name the covariates that decide who is treated")
    centre, scale = x.mean(axis=0), x.std(axis=0)
    flat = scale <= 1e-12 * np.maximum(1.0, np.abs(centre))
    if flat.any():
        raise DesignError("covariates that vary", "a constant covariate", "leave it out of the design",
                          column=origins[int(np.flatnonzero(flat)[0])])  # fmt: skip
    z = (x - centre) / scale
    _refuse_collinear(z, names, origins)
    exog = np.column_stack([np.ones(len(z)), z])
    beta, cov, converged, step = _newton(exog, treated.astype(float))
    if not converged:
        _refuse_separation(x, treated, names, origins, step)
    # einsum adds each row alone, unlike BLAS: units with equal covariates get equal scores, whatever their neighbours
    eta = np.einsum("ij,j->i", exog, beta)
    back = np.zeros((len(beta), len(beta)))
    back[0, 0], back[0, 1:] = 1.0, -centre / scale
    back[np.arange(1, len(beta)), np.arange(1, len(beta))] = 1 / scale
    index = ["intercept", *names]
    log_likelihood = -float(np.logaddexp(0.0, np.where(treated, -eta, eta)).sum())
    return Propensity(
        coefficients=pd.Series(back @ beta, index), std_error=pd.Series(np.sqrt(np.diag(back @ cov @ back.T)), index),
        probability=1 / (1 + np.exp(-eta)), logit=eta, treated=treated, converged=bool(converged),
        log_likelihood=log_likelihood, spec={"covariates": tuple(dict.fromkeys(origins)), "model": "logit"},
    )  # fmt: skip


def _newton(exog: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, bool, np.ndarray]:
    from statsmodels.discrete.discrete_model import Logit

    start = np.zeros(
        exog.shape[1]
    )  # at zero the information is largest: Newton does not overshoot, also when few are treated
    model = Logit(y, exog, check_rank=False)
    model.raise_on_perfect_prediction = False
    with warnings.catch_warnings(), np.errstate(over="ignore"):
        warnings.simplefilter("ignore")  # convergence is judged below, on the step itself
        try:
            fit = model.fit(start, method="newton", maxiter=40, tol=1e-10, disp=0, skip_hessian=True)
            beta = np.asarray(fit.params)
            information = -model.hessian(beta)
            step = np.linalg.solve(information, model.score(beta))
            cov = np.linalg.inv(information)
        except np.linalg.LinAlgError:
            return start, np.full((len(start), len(start)), np.nan), False, np.full(len(start), np.nan)
    return beta, cov, bool(np.abs(step).max() < 1e-8), step


def _refuse_collinear(z: np.ndarray, names: list[str], origins: list[str]) -> None:
    gram = z.T @ z / len(z)
    if np.linalg.eigvalsh(gram)[0] > 1e-7:
        return
    for j in range(1, len(gram)):
        weights = np.linalg.lstsq(gram[:j, :j], gram[:j, j], rcond=None)[0]
        if gram[j, j] - gram[:j, j] @ weights < _COLLINEAR:
            partners = [names[i] for i in np.flatnonzero(np.abs(weights) > 1e-6)]
            raise DesignError(
                "covariates that are not combinations of each other", f"{names[j]!r} is fixed by {', '.join(partners)}",
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
