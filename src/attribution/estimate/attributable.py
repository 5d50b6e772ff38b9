"""From an effect per head to what it amounts to: euros, the caused share of a change, percent of the counterfactual."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from ..cohorts.cells import build_cells
from ..cohorts.panel import Panel
from ..errors import EstimationError, check_level
from ..inference import fieller
from ..outcomes.income import IncomeOutcome
from ..results import Effects, Result
from .few_clusters import enlargement
from .group_time import layout, treated_cells


def treated_means(panel: Panel, gt: Effects, *, of: Literal["level", "change"]) -> Effects:
    """What the treated had, beside what they gained: their mean at t, or its change since the base of ATT(g, t).

    Estimand : E[Y_t | first treated in g], or E[Y_t - Y_base | first treated in g], on the units behind ATT(g, t).
    Std. errors : influence function w 1{G = g} (y - mean) / E[w 1{G = g}], n / (n - 1) times where fewer than 20 units
        (or clusters) carry the mean, as in the ATT; on the score rows of `gt`: joint covariances
        with it, before and after the same `aggregate`, are exact. They are not zero: treated outcomes are in both.
    Edge cases : (g, t) without an ATT are NaN, so that both aggregate with the same weights.

    Parameters
    ----------
    panel : the one of `gt`. gt : from `group_time_att`, not aggregated. of : "level" or "change".
    """
    if of not in ("level", "change"):
        raise EstimationError('of="level" or "change"', repr(of), "choose one of these")
    spec = gt.spec
    if gt.shares is None or "base_period" not in spec:
        raise EstimationError("the result of group_time_att", gt.estimand, "take the means first, then aggregate both")
    levels = of == "level"
    if levels and spec["score_rows"] == "cells":
        raise EstimationError("score rows of units or clusters", "rows that stand for cells of many units",
                              "estimate on panel.by_unit(): changes do not tell levels")  # fmt: skip
    cells = build_cells(panel, spec["covariates"], after=int(panel.periods[0]) + spec["anticipation"], levels=levels)
    rows_of = layout(cells, gt.shares.index.to_numpy(), spec["base_period"], spec["anticipation"])
    if list(rows_of["term"]) != list(gt.labels["term"]) or cells.n.sum() != spec["units"]:
        raise EstimationError("the panel that the effects were estimated on", "another one", "give both together")
    if cells.group[-1] + 1 != len(gt.scores):
        raise EstimationError("a score row for every unit, cell or cluster", "only the root of their covariance",
                              "give Panel fewer outcomes or periods, or a cluster=")  # fmt: skip
    estimate, scores = np.full(len(gt), np.nan), np.zeros_like(gt.scores)
    for k in np.flatnonzero(~np.isnan(gt.estimate)):
        g, t, low, high = rows_of.loc[k, ["cohort", "period", "low", "high"]].to_numpy(dtype=int)
        base, here = (cells.periods >= low) & (cells.periods <= high), cells.periods == t
        used = treated_cells(cells, g) & cells.observed[:, base | here].all(axis=1)
        contrast = here - base / base.sum() if of == "change" else here.astype(float)
        total = cells.weight[used].sum()
        mean = float((cells.sums[used] @ contrast).sum() / total)
        estimate[k] = mean + cells.centre @ contrast
        rows = np.flatnonzero(used[cells.cell])
        groups, own = cells.grouped(rows, (cells.y[rows] @ contrast - mean * cells.w[rows]) / total)
        if gt.spec["few_clusters"] == "auto":  # as the scores of the ATT
            own = own * enlargement(np.array(len(groups) if panel.columns["cluster"] else cells.n[used].sum()))
        scores[groups, k] = own
    what = "mean of the treated" if of == "level" else "mean change of the treated since base"
    return replace(gt, estimate=estimate, scores=scores, estimand=what, n_comparison=np.zeros(len(gt), int), notes=(),
                   spec={**spec, "of": of}, dof=None, jackknife=None, support=None)  # fmt: skip


@dataclass(frozen=True, kw_only=True, repr=False)
class Ratios(Result):
    """Ratios with their Fieller (1954) sets.

    table : one row each: term, ratio, std_error (delta method), low, high, kind ("interval", "complement", "line"),
        numerator, denominator, correlation of the two, n_treated, and the set in words.
    """

    estimand: str
    table: pd.DataFrame
    level: float
    text: str = ""

    def tidy(self) -> pd.DataFrame:
        return self.table.copy()

    def summary(self) -> str:
        rows = [f"  {row.term}: {row.ratio:.1%} (SE {row.std_error:.1%}); {row.words}"
                for row in self.table.itertuples(name="Row")]  # fmt: skip
        return "\n".join([f"{self.estimand} ({self.level:.0%} Fieller sets)", *rows, *filter(None, [self.text])])


def caused_share(
    effect: Effects, total_change: Effects, *, n_covered: int, income: IncomeOutcome | None = None, level: float = 0.95
) -> Ratios:
    """Share of the change seen in the treated that treatment caused: ATT / mean change of the treated.

    Estimand : ATT / E[Y_t - Y_base | treated], and both times `n_covered`: heads where the outcome is a share, euros a
        period where `income` says that they may be added up, otherwise no totals. Above 1: without treatment they
        would have lost; below 0: it worked against the change.
    Std. errors : Fieller (1954) with Cov(ATT, change) from the scores of both, which share the treated; delta method
        beside it. `n_covered` is taken as known. Where the effect rests on few units or clusters, Student's t with its
        degrees of freedom.
    Edge cases : a change near zero makes the set the outside of an interval, or the whole line; said in words.

    Parameters
    ----------
    effect : ATT by `group_time_att`, aggregated or not. total_change : `treated_means(panel, gt, of="change")`,
        aggregated alike. n_covered : units the estimand speaks for, at most those behind the estimate. income : the
        definition of an income outcome: unequivalised, unwinsorised, or refused.
    """
    _refuse_more_than_covered(effect, n_covered)
    if income is not None:
        _require_countable(effect, income)
    table = _ratios(effect, total_change, "change", level)
    unit = "heads" if effect.unit == "share" else effect.unit if income is not None else ""
    text = "" if unit else "  no totals: only heads, and euros neither equivalised nor winsorised, may be added up"
    if unit:
        total, caused = table["denominator"] * n_covered, table["numerator"] * n_covered
        table = table.assign(total_change=total, caused=caused, total_unit=unit, n_covered=n_covered)
        text = "\n".join(
            f"  {row.term}: {row.caused:+,.0f} of {row.total_change:+,.0f} {unit}, on {n_covered:,} covered"
            for row in table.itertuples(name="Row")
        )
    text = "\n".join(filter(None, [text, _few_note(effect)]))
    return Ratios(estimand="caused share of the total change in the treated", table=table, level=level, text=text)


def percent_of_counterfactual(effect: Effects, observed: Effects, *, level: float = 0.95) -> Ratios:
    """Effect as a percent of what the treated would have had: ATT / E[Y(never) | treated].

    Estimand : ATT / (mean of the treated - ATT): a percent that zeros do not break (Chen & Roth 2024, section 4.1).
    Std. errors : Fieller (1954) with the covariance from the scores of both; delta method beside it.

    Parameters
    ----------
    effect : ATT in euros. observed : `treated_means(panel, gt, of="level")`, aggregated alike.
    """
    _same_sample(effect, observed, "level")
    without = replace(observed, estimate=observed.estimate - effect.estimate, scores=observed.scores - effect.scores)
    table = _ratios(effect, without, "level", level)
    return Ratios(estimand="effect as a percent of the counterfactual mean of the treated", table=table, level=level,
                  text=_few_note(effect))  # fmt: skip


def _few_note(effect: Effects) -> str:
    """The line for effects that rest on few units or clusters; empty where none does."""
    if not np.isfinite(effect.degrees).any():
        return ""
    return "  few units or clusters: enlarged standard errors and Student's t in the sets"


@dataclass(frozen=True, kw_only=True, repr=False)
class AttributableEuros(Result):
    """Euros caused, on the people the estimand covers. `table`: a line each for covered and not covered people."""

    table: pd.DataFrame
    level: float

    def tidy(self) -> pd.DataFrame:
        return self.table.copy()

    def summary(self) -> str:
        covered, rest = self.table.iloc[0], self.table.iloc[1]
        return (f"attributable: {covered['total']:,.0f} [{covered['conf_low']:,.0f}, {covered['conf_high']:,.0f}] "
                f"{covered['unit']}, on {covered['n']:,} covered (SE {covered['std_error']:,.0f}, {self.level:.0%})\n"
                f"not covered: {rest['n']:,} treated without an estimate, and no euros for them")  # fmt: skip


def attributable_euros(
    effect: Effects, *, income: IncomeOutcome, n_covered: int, treated_total: int, periods: int = 1, level: float = 0.95
) -> AttributableEuros:
    """Euros that treatment caused: ATT x n covered, for nobody else.

    Estimand : sum over the covered treated of Y(treated) - Y(never).
    Std. errors : n x SE(ATT); n is a count, known.
    Edge cases : the treated that the estimand leaves out (no overlap, no outcome) have a line of their own, no euros.

    Parameters
    ----------
    effect : one ATT, in the unit of `income`. income : its definition: neither equivalised nor winsorised.
    n_covered : treated units the estimand speaks for, at most those behind the estimate. treated_total : all treated.
    periods : how many periods of that length the total is for, when the ATT is their average (4 quarters: a year).

    Raises
    ------
    EstimationError : equivalised or winsorised income, another unit, more people than the estimate has.
    """
    _require_countable(effect, income)
    if len(effect) != 1 or not np.isfinite(effect.estimate[0]):
        raise EstimationError("one estimated ATT", f"{len(effect)} rows", "aggregate, or combine to one")
    _refuse_more_than_covered(effect, n_covered)
    if not _whole(treated_total) or not _whole(periods) or treated_total < n_covered or periods < 1:
        found = f"{treated_total}, {n_covered}, {periods}"
        raise EstimationError("whole numbers treated_total >= n_covered, and periods >= 1", found,
                              "count all treated, covered or not")  # fmt: skip
    span = f"a {income.frequency}" if periods == 1 else f"over {periods} {income.frequency}s"
    total = effect.scaled(n_covered * periods, f"{income.currency} of {income.price_year} {span}")
    low, high = total.conf_int(level)
    table = pd.DataFrame({
        "line": ["attributable, covered", "not covered"], "n": [n_covered, treated_total - n_covered],
        "per_head": [effect.estimate[0] * periods, np.nan], "total": [total.estimate[0], np.nan],
        "std_error": [total.std_error[0], np.nan], "conf_low": [low[0], np.nan], "conf_high": [high[0], np.nan],
        "level": level, "unit": total.unit,
    })  # fmt: skip
    return AttributableEuros(table=table, level=level)


def _ratios(top: Effects, bottom: Effects, of: Literal["level", "change"], level: float) -> pd.DataFrame:
    """Every ratio of two results on the same score rows."""
    _same_sample(top, bottom, of)
    check_level(level)
    what = "the counterfactual mean" if of == "level" else "the change"
    rows = []
    for k in np.flatnonzero(np.isfinite(top.estimate) & (bottom.estimate != 0)):
        pair = np.column_stack([top.scores[:, k], bottom.scores[:, k]])
        cov, a, b = pair.T @ pair, float(top.estimate[k]), float(bottom.estimate[k])
        low, high, kind = fieller(a, b, cov, level, float(top.degrees[k]))
        gradient = np.array([1 / b, -a / b**2])
        with np.errstate(invalid="ignore", divide="ignore"):
            correlation = cov[0, 1] / np.sqrt(cov[0, 0] * cov[1, 1])
        rows.append({"term": top.labels["term"].iloc[k], "ratio": a / b,
                     "std_error": float(np.sqrt(gradient @ cov @ gradient)), "low": low, "high": high, "kind": kind,
                     "numerator": a, "denominator": b, "correlation": correlation, "n_treated": int(top.n_treated[k]),
                     "words": _in_words(low, high, kind, what)})  # fmt: skip
    if not rows:
        raise EstimationError("a ratio with an estimated numerator and a denominator that is not zero", "none",
                              "aggregate to periods after the base")  # fmt: skip
    return pd.DataFrame(rows)


def _in_words(low: float, high: float, kind: str, what: str) -> str:
    if kind == "interval":
        return f"between {low:.1%} and {high:.1%}"
    if kind == "complement":
        return f"{low:.1%} or less, or {high:.1%} or more ({what} may be zero; only values between are excluded)"
    return f"any value ({what} may be zero, and the data do not bound the ratio)"


def _same_sample(one: Effects, other: Effects, of: str) -> None:
    def spec(effects: Effects) -> dict[str, Any]:
        return {name: value for name, value in effects.spec.items() if name != "of"}

    same = one.scores.shape == other.scores.shape and list(one.labels["term"]) == list(other.labels["term"])
    if not same or one.unit != other.unit or spec(one) != spec(other) or other.spec.get("of") != of:
        raise EstimationError(
            "an ATT and what the treated had, on one sample, aggregated alike", f"{one.estimand} and {other.estimand}",
            f'make the second by treated_means(panel, gt, of="{of}") and aggregate both alike',
        )  # fmt: skip


def _require_countable(effect: Effects, income: IncomeOutcome) -> None:
    if not income.countable:
        raise EstimationError(
            "unequivalised, unwinsorised euros: only these may be added up", income.unit,
            'estimate the effect on household_income(equivalise="none", winsorise=None)',
        )  # fmt: skip
    if effect.unit != income.unit:
        raise EstimationError(f"an effect in {income.unit}", f"one in {effect.unit}",
                              "estimate it on the values of this definition, with unit=income.unit")  # fmt: skip


def _refuse_more_than_covered(effect: Effects, n_covered: int) -> None:
    most = int(effect.n_treated.min())
    if not _whole(n_covered) or not 0 < n_covered <= most:
        raise EstimationError(f"n_covered from 1 to the {most:,} treated units behind the estimate", f"{n_covered!r}",
                              "count only units the estimand speaks for; the others go to treated_total")  # fmt: skip


def _whole(number: Any) -> bool:
    return isinstance(number, (int, np.integer)) and not isinstance(number, bool)
