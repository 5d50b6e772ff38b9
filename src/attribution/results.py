"""What every stage returns: frozen results that can be read, tabulated and combined, and never changed."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from .errors import DesignError, EstimationError
from .inference import (
    Jackknife,
    Support,
    finite,
    normal_interval,
    normal_p_value,
    student_p_value,
    student_quantile,
    sup_t,
    weighted,
)  # fmt: skip
from .tables import as_html, as_text

Band = Literal["pointwise", "simultaneous"]

TIDY_COLUMNS = [
    "term", "estimand", "cohort", "period", "event_time", "estimate", "std_error", "conf_low", "conf_high",
    "level", "band", "p_value", "n_treated", "n_comparison", "unit",
]  # fmt: skip


class Result:
    """Shared face of the results: `tidy()` for frames, `summary()` for people, HTML for notebooks."""

    def tidy(self) -> pd.DataFrame:
        raise NotImplementedError

    def summary(self) -> str:
        raise NotImplementedError

    def __str__(self) -> str:
        return self.summary()

    def _repr_html_(self) -> str:
        return f"<pre class='attribution'>{html.escape(self.summary())}</pre>"


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
        if not 0 < level < 1:
            raise EstimationError("0 < level < 1", f"level = {level}", "give a level such as 0.95")
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
            **self._combined_dof(w),
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
            dof=finite(np.fmin(self.degrees, other.degrees)), jackknife=None, support=None,
        )  # fmt: skip

    def scaled(self, factor: float, unit: str) -> Effects:
        """The same estimates in another unit (shares to percentage points, a unit's effect to a total)."""
        return replace(self, estimate=self.estimate * factor, scores=self.scores * factor, unit=unit,
                       shares=None, share_scores=None)  # fmt: skip

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
        frame = self.tidy()
        keep = ["term", "cohort", "period", "event_time", "estimate", "std_error", "conf_low", "conf_high", "n_treated",
                "n_comparison"]  # fmt: skip
        frame = frame[[c for c in keep if not frame[c].isna().all()]]
        text = frame.to_string(index=False, float_format=lambda v: f"{v:,.4g}" if abs(v) < 1000 else f"{v:,.0f}")
        return "\n".join([f"{self.estimand}, in {self.unit} (95 % intervals)", text, *self.notes])


def _largest(counts: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Units behind a combination: the most behind any estimate that carries weight."""
    counts = np.asarray(counts)
    return np.array([counts[np.abs(row) > 0].max(initial=0) for row in weights])


@dataclass(frozen=True, kw_only=True)
class WeightModel:
    """What a standard error must add when the design weights were themselves estimated (M-estimation).

    influence : (n, p) rows with parameters - truth = sum of rows, to first order. slopes : (n, p) derivative of each
    unit's weight by each parameter.
    """

    influence: np.ndarray
    slopes: np.ndarray


@dataclass(frozen=True, kw_only=True, repr=False)
class Design(Result):
    """Who is compared with whom, and with what weight. Holds no outcome after treatment.

    units : the frame the design was built on, one row a unit (never changed). treatment : its 0/1 column.
    weights : (n,) design weights; 0 for units left out. pairs : frame treated, comparison, distance (row positions).
    strata : (n,) independent groups for the standard error (pair or stratum number; -1 for units left out).
    propensity : (n,) fitted probabilities, or None. discarded / unmatched : (n,) bool, no overlap / no partner.
    target : whose average effect it is ("treated", "all", "overlap"); decides the SD of the balance table.
    weight_model : where estimated weights come from; None when the design is held fixed.
    """

    estimand: str
    units: pd.DataFrame
    treatment: str
    covariates: tuple[str, ...]
    weights: np.ndarray
    pairs: pd.DataFrame
    strata: np.ndarray
    discarded: np.ndarray
    unmatched: np.ndarray
    propensity: np.ndarray | None = None
    distance: np.ndarray | None = None
    target: Literal["treated", "all", "overlap"] = "treated"
    weight_model: WeightModel | None = None
    spec: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def treated(self) -> np.ndarray:
        """(n,) bool."""
        return pd.to_numeric(self.units[self.treatment]).to_numpy(dtype=float) == 1  # as read_treatment: "0" is 0

    @property
    def matched(self) -> np.ndarray:
        """(n,) bool: units that carry weight."""
        return self.weights > 0

    @property
    def ess(self) -> pd.Series:
        """Effective sample size (sum w)^2 / sum w^2 of each arm (Kish 1965)."""
        def kish(w: np.ndarray) -> float:
            return float(w.sum() ** 2 / (w**2).sum()) if w.any() else 0.0

        return pd.Series({"treated": kish(self.weights[self.treated]), "comparison": kish(self.weights[~self.treated])})

    @property
    def whom(self) -> tuple[str, ...]:
        """One line for results that name no estimand of their own; nothing where nobody was left out."""
        whole = self.estimand in ("ATT", "ATE") or self.estimand.startswith("difference between")
        return () if whole else (f"The design speaks for: {self.estimand}.",)

    @property
    def covered_share(self) -> float:
        """Share of the treated units that the estimate speaks for."""
        return float(self.matched[self.treated].mean())

    def tidy(self) -> pd.DataFrame:
        """Sample sizes: one row each for all, matched, effective, unmatched, discarded; columns treated, comparison."""
        t = self.treated
        rows = {"all": np.ones(len(t), bool), "matched": self.matched,
                "unmatched": self.unmatched, "discarded": self.discarded}  # fmt: skip
        counts = {name: {"treated": int(rows[name][t].sum()), "comparison": int(rows[name][~t].sum())} for name in rows}
        table = pd.DataFrame(counts).T.astype(float)
        table.loc["effective"] = self.ess
        return table.rename_axis("sample").reset_index()

    def summary(self) -> str:
        return "\n".join([f"{self.estimand}; {self.covered_share:.0%} of the treated are covered",
                          self.tidy().to_string(index=False, float_format="%.1f"), *self.notes])  # fmt: skip


@dataclass(frozen=True, kw_only=True, repr=False)
class Balance(Result):
    """Covariate balance before and after a design: `table` has one row a covariate and sample (before, after).

    threshold_smd, threshold_ks, range_ratio : customary limits (Stuart 2010; Rubin 2001), shown, deciding nothing.
    clusters : the same rows for every level of the column `spec["by"]`. notes : what a reader must know of a row.
    """

    table: pd.DataFrame
    threshold_smd: float = 0.1
    threshold_ks: float = 0.1
    range_ratio: tuple[float, float] = (0.5, 2.0)
    clusters: pd.DataFrame | None = None
    spec: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def tidy(self) -> pd.DataFrame:
        """The table; with clusters, each level's rows below it (the whole has a missing level)."""
        return self.table.copy() if self.clusters is None else pd.concat([self.table, self.clusters], ignore_index=True)

    @property
    def worst_smd(self) -> float:
        """Largest absolute standardised mean difference of a covariate after the design."""
        after = self.table[(self.table["sample"] == "after") & (self.table["covariate"] != "distance")]
        return float(after["smd"].abs().max())

    def across(self) -> pd.DataFrame:
        """One row a covariate and sample: mean and largest |SMD| and KS over the clusters, and the worst of them."""
        if self.clusters is None:
            raise DesignError("a balance table by cluster", "one of the whole only", "balance(design, by=...)")
        sized = self.clusters.assign(smd=self.clusters["smd"].abs())
        known = sized[sized["smd"].notna()]
        groups = known.groupby(["covariate", "sample"], sort=False)
        worst = known.loc[groups["smd"].idxmax()].set_index(["covariate", "sample"])[self.spec["by"]]
        table = groups.agg(clusters=("smd", "size"), smd_mean=("smd", "mean"), smd_max=("smd", "max"),
                           ks_mean=("ks", "mean"), ks_max=("ks", "max"))  # fmt: skip
        return table.assign(worst=worst).reset_index()

    def readable(
        self, *, order: Literal["given", "worst"] = "given", labels: Mapping[str, str] | None = None
    ) -> pd.DataFrame:
        """One row a covariate, in words: SMD before and after, variance ratio and KS after, and what stands out.

        order : as asked for, or the largest |SMD| after first. labels : column -> words.
        """
        first = self.table.drop_duplicates(["covariate", "sample"])
        before, after = (first[first["sample"] == s].set_index("covariate") for s in ("before", "after"))
        wide = pd.DataFrame({"SMD before": before["smd"], "SMD after": after["smd"]})
        for name, column in (("variance ratio", "variance_ratio"), ("KS", "ks")):
            wide[name] = after.get(column, np.nan)
        wide = wide.reindex(list(dict.fromkeys(self.table["covariate"])))
        wide["in words"] = [self._verdict(*row) for row in wide.iloc[:, 1:].itertuples(index=False)]
        if order == "worst":
            wide = wide.loc[wide["SMD after"].abs().sort_values(ascending=False, kind="stable").index]
        return wide.set_axis([self.name(label, labels) for label in wide.index]).rename_axis("covariate")

    def name(self, label: str, labels: Mapping[str, str] | None = None) -> str:
        """A row's name as people read it: `race: black`, `age × educ`, `age²`."""
        given = labels or {}
        parts = self.spec.get("parts", {}).get(label, ((label, None),))
        words = [given.get(str(column), str(column)) + ("" if level is None else f": {level}")
                 for column, level in parts]  # fmt: skip
        return given.get(label) or (f"{words[0]}²" if len(words) == 2 and words[0] == words[1] else " × ".join(words))

    def _verdict(self, smd: float, ratio: float, ks: float) -> str:
        if np.isnan(smd):
            return "not known"
        size, (low, high) = abs(smd), self.range_ratio
        said = []
        if size > self.threshold_smd:
            grave = max(_GRAVE_SMD, self.threshold_smd)
            said.append(f"far apart (over {grave:g} SD)" if size > grave else f"apart (over {self.threshold_smd:g} SD)")
        if ratio < low or ratio > high:
            said.append("spread differs" + (" (narrower among the treated)" if ratio < low else
                                            " (wider among the treated)"))  # fmt: skip
        if ks > self.threshold_ks and size <= self.threshold_smd and not said:
            said.append(f"shape differs (KS over {self.threshold_ks:g})")
        return ", ".join(said) or "close"

    def _lines(self) -> tuple[str, str]:
        after = self.table[(self.table["sample"] == "after") & (self.table["covariate"] != "distance")]["smd"].abs()
        off, low_high = int((after > self.threshold_smd).sum()), "{:g} to {:g}".format(*self.range_ratio)
        kinds = set(self.table.get("kind", ()))
        what = " and ".join(f"{kind}s" for kind in ("square", "interaction") if kind in kinds)
        head = (f"{off} of {len(after)} covariates{f', {what}' if what else ''} differ by more than "
                f"{self.threshold_smd:g} SD after the design" if off else
                f"No covariate{f', {what[:-1]}' if what else ''} differs by more than {self.threshold_smd:g} SD after "
                "the design")  # fmt: skip
        foot = (f"SMD: difference of means in SDs ({self.spec.get('denominator', 'original sample')}). Customary "
                f"limits: SMD {self.threshold_smd:g}, variance ratio {low_high}, KS "
                f"{self.threshold_ks:g}.")  # fmt: skip
        if self.clusters is not None:
            across = self.across().query("sample == 'after' and covariate != 'distance'")
            if len(across):
                row = across.iloc[int(across["smd_max"].argmax())]
                foot += (f" Worst by {self.spec['by']}: {self.name(row['covariate'])}, {row['smd_max']:.2f} SD in "
                         f"{row['worst']}.")  # fmt: skip
        return head, foot

    def summary(self, *, order: Literal["given", "worst"] = "given", labels: Mapping[str, str] | None = None) -> str:
        """The readable table; order and labels as there."""
        head, foot = self._lines()
        return "\n".join([head, as_text(self.readable(order=order, labels=labels).reset_index()), foot, *self.notes])

    def _repr_html_(self) -> str:
        head, foot = self._lines()
        return as_html(head, self.readable().reset_index(), (foot, *self.notes), alert="apart")


_GRAVE_SMD = 0.25  # Rubin (2001)


@dataclass(frozen=True, kw_only=True, repr=False)
class Check(Result):
    """One question put to a design or an estimate. A test that merely fails to reject is `passed=None`, never True.

    only_lowers : a refuter or a causal graph: failed, it lowers the grade of the evidence; else it counts for nothing.
    """

    name: str
    question: str
    statistic: float
    std_error: float | None
    threshold: float | None
    passed: bool | None
    text: str
    table: pd.DataFrame | None = None
    only_lowers: bool = False

    def tidy(self) -> pd.DataFrame:
        verdict = {True: "passed", False: "failed", None: "not rejected"}[self.passed]
        return pd.DataFrame([{"check": self.name, "question": self.question, "statistic": self.statistic,
                              "std_error": self.std_error, "threshold": self.threshold, "verdict": verdict,
                              "text": self.text}])  # fmt: skip

    def summary(self) -> str:
        mark = {True: "passed", False: "FAILED", None: "no verdict"}[self.passed]
        return f"{self.question} {mark}: {self.text}"


def checks_table(checks: Sequence[Check]) -> pd.DataFrame:
    """The checks as one table, in the order given."""
    return pd.concat([check.tidy() for check in checks], ignore_index=True) if checks else pd.DataFrame()
