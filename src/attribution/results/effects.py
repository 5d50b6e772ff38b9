"""Estimates with the score rows behind them: combined, compared and scaled without losing their covariance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from ..errors import EstimationError, check_level
from ..inference import (
    FEW_TREATED,
    Jackknife,
    Support,
    Unrecorded,
    finite,
    normal_interval,
    normal_p_value,
    student_p_value,
    student_quantile,
    sup_t,
    weighted,
)  # fmt: skip
from .result import Result
from .tables import as_html, short
from .words import effect_words

Band = Literal["pointwise", "simultaneous"]

TIDY_COLUMNS = [
    "term", "estimand", "cohort", "period", "event_time", "estimate", "std_error", "conf_low", "conf_high",
    "level", "band", "p_value", "n_treated", "n_comparison", "unit",
]  # fmt: skip


@dataclass(frozen=True, kw_only=True, repr=False)
class Effects(Result):
    """k >= 1 estimates on one sample, with everything needed to combine them.

    estimand, unit : what is estimated, in which unit ("share", "EUR a quarter", ...).
    labels : (k rows) frame with at least `term`; also `cohort`, `period`, `event_time` where they exist. With several
        outcomes `term` begins with the outcome ("income: event_time=2"), and a column `outcome` names it.
    estimate : (k,) point estimates; NaN where a cell could not be estimated.
    scores : (m, k) independent score rows, S'S = covariance (see `inference`).
    n_treated, n_comparison : (k,) units behind each estimate.
    spec : the options of the call. notes : sentences a reader must see with the numbers.
    dof : (k,) degrees of freedom of the standard errors (few clusters or units; infinite: normal); None: all normal.
    jackknife, support : where they come from.
    shares, share_scores : (g,) estimated aggregation shares of the cohorts and their (m, g) scores, where they exist.
    unrecorded : of a single estimate by `aipw`, `tmle` or `partially_linear`, for `omitted_variable_bounds`.
    """

    estimand: str
    unit: str
    labels: pd.DataFrame
    estimate: np.ndarray
    scores: np.ndarray
    n_treated: np.ndarray
    n_comparison: np.ndarray
    spec: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    shares: pd.Series | None = None
    share_scores: np.ndarray | None = None
    dof: np.ndarray | None = None
    jackknife: Jackknife | None = None
    support: Support | None = None
    unrecorded: Unrecorded | None = None

    def __len__(self) -> int:
        return len(self.estimate)

    @property
    def cov(self) -> np.ndarray:
        """(k, k) covariance of the estimates."""
        return self.scores.T @ self.scores

    @property
    def std_error(self) -> np.ndarray:
        """(k,) standard errors; NaN where there is no sampling variation (a base period)."""
        variance = np.einsum("ij,ij->j", self.scores, self.scores)
        return np.where(variance > 0, np.sqrt(variance), np.nan)

    @property
    def degrees(self) -> np.ndarray:
        """(k,) degrees of freedom; infinite: the normal."""
        return np.full(len(self), np.inf) if self.dof is None else self.dof

    def conf_int(self, level: float = 0.95, band: Band = "pointwise") -> tuple[np.ndarray, np.ndarray]:
        """(low, high), each (k,). `band="simultaneous"` covers all k at once (sup-t from N(0, V)).

        With `dof`, Student's t in place of the normal. The band is then Bonferroni's: a covariance estimated from few
        clusters or units overstates how much the estimates move together, and sup-t covers too seldom.
        """
        check_level(level)
        critical: np.ndarray | float | None = None
        if self.dof is not None:
            at_once = int(np.isfinite(self.std_error).sum()) if band == "simultaneous" else 1
            critical = student_quantile(1 - (1 - level) / 2 / max(at_once, 1), self.dof)
        elif band == "simultaneous":
            critical = sup_t(self.cov, level)
        return normal_interval(self.estimate, self.std_error, level, critical)

    def combine(
        self, weights: np.ndarray, *, weights_influence: np.ndarray | None = None, labels: pd.DataFrame | None = None,
        estimand: str | None = None, unit: str | None = None,
    ) -> Effects:  # fmt: skip
        """Linear combinations `weights @ estimate` with exact standard errors.

        weights : (k,) or (j, k). weights_influence : (m, j) scores of the extra term when the weights are themselves
        estimated (sum over k of estimate_k times the scores of weight_jk); None when the weights are fixed.
        """
        w = np.atleast_2d(np.asarray(weights, float))
        if w.shape[1] != len(self) or not np.isfinite(w).all():
            raise EstimationError(f"a finite weight for each of the {len(self)} estimates",
                                  f"weights of shape {w.shape}, {int((~np.isfinite(w)).sum())} not finite",
                                  "give zeros to those left out")  # fmt: skip
        used = np.abs(w).sum(axis=0) > 0
        if np.isnan(self.estimate[used]).any():
            raise EstimationError(
                "every combined estimate to exist", "estimates that could not be made", "give those cells weight zero",
                count=int(np.isnan(self.estimate[used]).sum()),
            )  # fmt: skip
        scores = self.scores[:, used] @ w[:, used].T if self.dof is None else weighted(self.scores, w)
        if weights_influence is not None:
            scores = scores + weights_influence
        if labels is None:
            labels = pd.DataFrame({"term": [f"combination_{j + 1}" for j in range(len(w))]})
        return replace(
            self, labels=labels.reset_index(drop=True), estimate=w[:, used] @ self.estimate[used], scores=scores,
            n_treated=_largest(self.n_treated, w), n_comparison=_largest(self.n_comparison, w),
            estimand=estimand or self.estimand, unit=unit or self.unit, shares=None, share_scores=None,
            unrecorded=None, **self._combined_dof(w),
        )  # fmt: skip

    def rows(self, keep: np.ndarray, *, unit: str | None = None, estimand: str | None = None) -> Effects:
        """Some of the estimates, by place or by a (k,) mask; the shares of all cohorts stay."""
        at = np.arange(len(self))[keep]
        return replace(
            self, labels=self.labels.iloc[at].reset_index(drop=True), estimate=self.estimate[at],
            scores=self.scores[:, at], n_treated=np.asarray(self.n_treated)[at],
            n_comparison=np.asarray(self.n_comparison)[at], unit=unit or self.unit, estimand=estimand or self.estimand,
            dof=None if self.dof is None else finite(self.dof[at]), jackknife=None, support=None,
        )  # fmt: skip

    def _combined_dof(self, w: np.ndarray) -> dict[str, Any]:
        """Degrees of freedom of combinations; without the clusters' own loadings, the fewest behind any of them."""
        if self.support is not None:
            support = self.support.combine(w)
            return {"dof": support.dof, "support": support}
        if self.dof is None:
            return {}
        if self.jackknife is not None:
            jackknife = self.jackknife.combine(w)
            return {"dof": jackknife.dof, "jackknife": jackknife}
        return {"dof": finite(np.array([np.min(self.dof[row != 0], initial=np.inf) for row in w]))}

    def minus(self, other: Effects) -> Effects:
        """Difference of two results whose score rows are the same units or clusters: the same terms in one unit."""
        kinds = {self.spec.get("score_rows"), other.spec.get("score_rows")}
        if kinds & {"cells", "terms of a variance"} or len(kinds) > 1:
            raise EstimationError(
                "score rows that belong to the same units or clusters",
                f"rows that stand for {' and '.join(sorted(map(str, kinds)))}",
                "give Panel a cluster= (the unit itself will do), or combine within one fit",
            )  # fmt: skip
        if self.scores.shape != other.scores.shape:
            raise EstimationError(
                "two results on the same sample and as many estimates",
                f"scores of shape {self.scores.shape} and {other.scores.shape}", "fit both on one sample",
            )  # fmt: skip
        apart = [name for name, mine, theirs in (
            ("terms", list(self.labels["term"]), list(other.labels["term"])), ("units", self.unit, other.unit),
            ("samples", self.spec.get("sample"), other.spec.get("sample")),
        ) if mine != theirs]  # fmt: skip
        if apart:
            raise EstimationError("two results of the same terms, unit and sample", f"other {' and '.join(apart)}",
                                  "take the rows that agree, or combine within one fit")  # fmt: skip
        return replace(
            self, estimate=self.estimate - other.estimate, scores=self.scores - other.scores,
            estimand=f"{self.estimand} minus {other.estimand}", shares=None, share_scores=None,
            dof=finite(np.fmin(self.degrees, other.degrees)), jackknife=None, support=None, unrecorded=None,
        )  # fmt: skip

    def scaled(self, factor: float, unit: str) -> Effects:
        """The same estimates in another unit (shares to percentage points, a unit's effect to a total)."""
        return replace(self, estimate=self.estimate * factor, scores=self.scores * factor, unit=unit,
                       shares=None, share_scores=None,
                       unrecorded=None if self.unrecorded is None else self.unrecorded.scaled(factor))  # fmt: skip

    def tidy(self, level: float = 0.95, band: Band = "pointwise") -> pd.DataFrame:
        """One row an estimate, the fixed columns of the results protocol."""
        low, high = self.conf_int(level, band)
        se = self.std_error
        out = self.labels.reindex(columns=["term", "cohort", "period", "event_time"]).copy()
        out["estimand"], out["unit"], out["level"], out["band"] = self.estimand, self.unit, level, band
        out["estimate"], out["std_error"], out["conf_low"], out["conf_high"] = self.estimate, se, low, high
        with np.errstate(invalid="ignore", divide="ignore"):
            t = self.estimate / se
            out["p_value"] = normal_p_value(t) if self.dof is None else student_p_value(t, self.dof)
        out["n_treated"], out["n_comparison"] = self.n_treated, self.n_comparison
        return out[TIDY_COLUMNS]

    def summary(self) -> str:
        head, frame, below = self._parts()
        text = frame.to_string(index=False, float_format=lambda v: f"{v:,.4g}" if abs(v) < 1000 else f"{v:,.0f}")
        return "\n".join([head, text, *below])

    def _repr_html_(self) -> str:
        head, frame, below = self._parts()
        return as_html(head, frame, below, show=short)

    def _parts(self) -> tuple[str, pd.DataFrame, list[str]]:
        frame, how = self.tidy(), effect_words(self.spec)
        keep = ["term", "cohort", "period", "event_time", "estimate", "std_error", "conf_low", "conf_high", "n_treated",
                "n_comparison"]  # fmt: skip
        frame = frame[[c for c in keep if not frame[c].isna().all()]]
        below = [*([how] if how else []), *self.notes]
        fewest = np.minimum(self.n_treated, self.n_comparison)[np.isfinite(self.std_error)]
        if self.dof is None and 0 < fewest.min(initial=FEW_TREATED) < FEW_TREATED:
            below.append(f"Only {int(fewest.min())} units in an arm: normal intervals are too narrow (95 % ones cover "
                         "some 88 % with 5, 94 % with 15).")  # fmt: skip
        return f"{self.estimand}, in {self.unit} (95 % intervals)", frame, below


def _largest(counts: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Units behind a combination: the most behind any estimate that carries weight."""
    counts = np.asarray(counts)
    return np.array([counts[np.abs(row) > 0].max(initial=0) for row in weights])
