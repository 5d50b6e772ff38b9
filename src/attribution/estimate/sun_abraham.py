"""The interaction-weighted event study: every cohort has effects of its own, averaged with its own share."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import pandas as pd

from ..cohorts.cells import Cells
from ..cohorts.panel import Panel
from ..errors import EstimationError
from ..results import Effects
from . import fixed_effects as fe
from .few_clusters import Rule

By = Literal["overall", "event_time", "cohort", "period", "cohort_period"]


def sun_abraham(
    panel: Panel, *, comparison: Literal["never_treated", "last_cohort"], base_period: int, by: By = "event_time",
    shares: Literal["estimated", "fixed"] = "estimated", small_sample: bool = False, unit: str | None = None,
    few_clusters: Rule = "auto",
) -> Effects:  # fmt: skip
    """Interaction-weighted event study: ATT by event time, cohorts weighted by their share of those seen there.

    Estimand : sum_g P(cohort g | seen at event time l) ATT(g, g + l); by="cohort", "period" and "overall": mean over
        the treated observations of a cohort, of a period, or of all; "cohort_period": ATT(g, t) themselves.
    Assumes : parallel trends of every cohort and the comparison in all periods; no effect at the base event time.
    Estimator : Sun & Abraham 2021, section 4.1: two-way fixed effects with cohort x event time indicators.
    Std. errors : sandwich over units or clusters. shares="estimated" (default) adds the sampling of the cohort shares,
        as in the paper and in eventstudyinteract, since the estimand is about the population the sample stands for;
        "fixed" speaks of cohorts of exactly these sizes, as fixest::sunab does. On balanced, unweighted panels the
        regression and the shares are uncorrelated, and the variances add, as the paper has it; elsewhere their
        covariance is counted too. Few clusters and few units: as in `twfe`.
    Edge cases : comparison="last_cohort" ends the panel where the last cohort starts and leaves the never treated out,
        both said in the notes. Units treated after the last period count as never treated. As in `group_time_att`, an
        ATT(g, t) that rests on one unit shows no variation: it carries no weight, and the notes say so.
    Checked : fixest 0.14.2 sunab on mpdta; Sun & Abraham 2021, table 3, columns IW; statsmodels with dummies.

    Parameters
    ----------
    comparison : "never_treated" or "last_cohort". base_period : the event time left out for every cohort, such as -1.
    by : as in `aggregate`, "overall", "event_time", "cohort" or "period"; or "cohort_period", nothing averaged.
    small_sample : the factor of `twfe` on the regression's part of the variance (fixest's default).
    few_clusters : "auto" refuses few clusters, as `group_time_att` counts them, and corrects for few units; "off": the
        sums as they are, however few.

    Raises
    ------
    EstimationError : few clusters, nobody untreated to compare with (names the periods), a cohort not seen at the base.
    """
    options = (("by", by, get_args(By)),
               ("shares", shares, ("estimated", "fixed")),
               ("comparison", comparison, ("never_treated", "last_cohort")))  # fmt: skip
    for name, value, allowed in options:
        if value not in allowed:
            raise EstimationError(f"{name} one of {', '.join(allowed)}", repr(value), "choose one of these")
    if isinstance(base_period, bool) or not isinstance(base_period, (int, np.integer)) or base_period >= 0:
        raise EstimationError("base_period as an event time before treatment", repr(base_period), "-1 is usual")
    cells, notes = _sample(panel, comparison)
    if (pool := fe.untreated_throughout(cells)) < 2:
        raise EstimationError("two comparison units or more", f"{pool}", "add untreated units")
    cohorts = np.unique(cells.cohort)
    table, where = _interactions(cells, cohorts, int(base_period))
    clusters, enlarge = fe.small_sample(panel, cells, few_clusters)
    design = fe.indicators(where, (len(cohorts), len(cells.periods)))
    fit = fe.regress(cells, design, table["term"].tolist(), enlarge=enlarge)
    units = fe.units_by_period(fit.of, len(cohorts), cells.n, fit.use)
    weight = fe.by_cohort(cells.weight[:, None] * fit.use, fit.of, len(cohorts))
    size = np.array([weight[mask].sum() for mask in where])
    labels, weights = _groups(table, size, np.array([units[mask].sum() > 1 for mask in where]), by)
    single = np.logical_or.reduce(where) & (units == 1)
    estimate, support = weights @ fit.beta, fit.support(clusters, weights)
    scores = fit.scores(weights) * (np.sqrt(fit.factor()) if small_sample else 1.0)
    if shares == "estimated" and by != "cohort_period":
        scores = scores + _share_scores(fit, where, size, weights, estimate)
    members = [np.logical_or.reduce([where[k] for k in np.flatnonzero(row)]) for row in weights]
    return Effects(
        estimand={"event_time": "ATT by event time", "cohort": "ATT by cohort", "overall": "ATT overall",
                  "period": "ATT by period", "cohort_period": "ATT(g, t)"}[by] + ", interaction-weighted",
        unit=unit or panel.columns["outcome"] or "", labels=labels, estimate=estimate, scores=scores,
        n_treated=np.array([fe.units_at(cells, fit.of, mask, fit.use) for mask in members]),
        n_comparison=np.full(len(labels), pool),
        spec={"estimator": "sun_abraham", "comparison": comparison, "base_period": int(base_period), "by": by,
              "shares": shares, "small_sample": small_sample, "few_clusters": few_clusters, **fe.facts(cells)},
        notes=(*notes, *fe.alone(cohorts, single), *fe.caveats(panel, clusters, support, few_clusters)),
        support=support, dof=None if support is None else support.dof,
    )  # fmt: skip


def _sample(panel: Panel, comparison: str) -> tuple[Cells, tuple[str, ...]]:
    """Cells of the units and periods that the comparison allows, and what was left out."""
    fe.refuse_kind(panel)
    cohort = panel.strata["c"].to_numpy()
    never = np.isnan(cohort)
    if comparison == "never_treated":
        if not (never | (cohort > panel.periods[-1])).any():
            last = int(np.nanmax(cohort))
            raise EstimationError(
                "units untreated throughout", f"none; effects from period {last} on are not identified",
                'use comparison="last_cohort", which ends the panel there', column=panel.columns["cohort"],
            )  # fmt: skip
        return fe.cells_of(panel), ()
    known = cohort[~never]
    last = int(known.max()) if len(known) else 0
    keep = panel.periods < last
    if len(np.unique(known)) < 2 or keep.sum() < 2:
        raise EstimationError(
            "a cohort treated before the last one", f"{len(np.unique(known))} cohort(s): no effect is identified",
            "add never-treated or later-treated units", column=panel.columns["cohort"],
        )  # fmt: skip
    notes = [f"Comparison: cohort {last}."]
    if not keep.all():
        notes.append(f"Periods {last} and later are left out: nobody is untreated then.")
    if never.any():
        notes.append(f"{int(panel.strata['n'][never].sum()):,} never-treated units are left out.")
    return fe.only_periods(fe.cells_of(panel, treated_only=True), keep), tuple(notes)


def _interactions(cells: Cells, cohorts: np.ndarray, base: int) -> tuple[pd.DataFrame, list[np.ndarray]]:
    """One indicator per cohort and period in which it is seen, without the base."""
    seen = fe.seen(cells)
    rows, where = [], []
    for k, g in enumerate(cohorts):
        if not g <= cells.periods[-1]:
            continue
        event = cells.periods - g
        if not (seen[k] & (event == base)).any():
            raise EstimationError("every cohort seen at the base event time", f"cohort {int(g)} not seen at {base}",
                                  "choose another base period, or leave the cohort out")  # fmt: skip
        for t in np.flatnonzero(seen[k] & (event != base)):
            mask = np.zeros(seen.shape, bool)
            mask[k, t] = True
            where.append(mask)
            period = int(cells.periods[t])
            rows.append((f"att({int(g)},{period})", int(g), period, int(event[t])))
    if not rows:
        raise EstimationError("at least one cohort treated within the periods", "none", "check the cohorts")
    return pd.DataFrame(rows, columns=["term", "cohort", "period", "event_time"]), where


def _groups(table: pd.DataFrame, size: np.ndarray, known: np.ndarray, by: By) -> tuple[pd.DataFrame, np.ndarray]:
    """Labels and (J, K) weights: sizes of the known cohort-periods, scaled to sum to one within each row."""
    if by == "cohort_period":
        return table[known].reset_index(drop=True), np.eye(len(table))[known]
    counted = known if by == "event_time" else known & (table["event_time"] >= 0).to_numpy()
    if not counted.any():
        raise EstimationError("two units or more in a cohort and period with an effect", "none", "pool the cohorts")
    if by == "overall":
        labels, mask = pd.DataFrame({"term": ["overall"]}), counted[None, :]
    else:
        key = table[by].to_numpy()
        keys = np.unique(key[counted])
        labels = pd.DataFrame({"term": [f"{by}={value}" for value in keys], by: keys})
        mask = (key[None, :] == keys[:, None]) & counted
    weights = mask * size
    return labels, weights / weights.sum(axis=1, keepdims=True)


def _share_scores(fit: fe.Regression, where, size: np.ndarray, weights: np.ndarray, estimate: np.ndarray) -> np.ndarray:
    """Scores of the shares: a unit seen at (g, t) moves the average by w (ATT(g, t) - average) / sum of w there."""
    pull = np.zeros((len(fit.cohorts), len(fit.cells.periods), len(weights)))
    for k, mask in enumerate(where):
        pull[mask] = weights[:, k] / size[k] * (fit.beta[k] - estimate)
    per_cell = np.einsum("ct,ctj->cj", fit.use.astype(float), pull[fit.of])
    return fe.all_groups(fit.cells, fit.cells.w[:, None] * per_cell[fit.cells.cell])
