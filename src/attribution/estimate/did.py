"""Group-time average effects on the treated: what each cohort gained in each period."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd

from ..cohorts.cells import build_cells
from ..cohorts.panel import Panel
from ..errors import EstimationError
from ..read.threads import one_setting
from ..results import Effects
from .few_clusters import (
    Rule,
    check_rule,
    clusters_of,
    enlarge_few,
    few_units_note,
    jackknifed,
    leave_one_out,
    off_note,
)
from .group_time import Base, Comparison, GroupTimeMethod, bases, fit_cells, treated_cells

NAIVE = (
    "The base is the last period before treatment: where people select on a dip, the rebound counts as effect; "
    "see at.dip_test."
)


def group_time_att(
    panel: Panel, *, comparison: Comparison, base_period: Base, method: GroupTimeMethod = "dr",
    covariates: Sequence[str] = (), anticipation: int = 0, unit: str | None = None,
    few_clusters: Rule = "auto",
) -> Effects:  # fmt: skip
    """Effect on each cohort in each period: ATT(g, t).

    Estimand : E[Y_t(g) - Y_t(never) | first treated in g], for every cohort g and period t (and outcome).
    Assumes : parallel trends between cohort and comparison given the covariates; no effect more than `anticipation`
        periods before treatment. Repeated cross-sections also assume that who is sampled does not change.
    Estimator : difference in differences by outcome regression (reg), Hajek-weighted inverse propensity (ipw) or both
        (dr, Sant'Anna & Zhao 2020, traditional: logit and least squares; dr_imp: improved), per Callaway & Sant'Anna
        2021, eq. 2.4-2.10. Repeated cross-sections: the estimators of `kernels.two_by_two_rc`.
    Std. errors : influence function, propensity and regression estimated; summed within `cluster`; no n-1. At most
        40 clusters: leave-one-cluster-out jackknife (CV3; Bell & McCaffrey 2002; MacKinnon, Nielsen & Webb 2023) and
        Student's t with degrees of freedom from the design (Imbens & Kolesár 2016), also in every aggregate,
        difference and combination; it makes the estimates again once a cluster. Where fewer than 20 treated or
        comparison units (or clusters) carry an estimate, their scores count n / (n - 1) times (the jackknife of a mean;
        with p covariates N comparison units, if fewer than 20 (p + 1), count N / (N - p - 1) times), and with fewer
        than 20 the interval is Student's t with n - 1 degrees of freedom; aggregates that rest on more stay normal. A
        true null is then rejected in at most 7 % where growth is normal or levels are lognormal; where growth is skewed
        in up to 10 % (exponential) or 14 % (lognormal).
    Edge cases : unit-periods without outcome leave the (g, t) that need them (pair-balanced), see n_treated and
        n_comparison; periods in which a cohort was never observed have no row; a (g, t) that cannot be estimated is NaN
        with its reason in `labels`; the base period is 0 without a standard error. Comparison units with propensity
        >= 0.995 leave; no lower clip. One cluster: refused; few: an estimate that rests on a single treated or
        comparison cluster has no standard error (NaN), with its reason in `labels`. Where `spec["score_rows"]` is
        "cells", the rows of the scores belong to no unit: combine the estimates, but do not subtract another fit's.
    Checked : reference/did (R did 2.5.1, fastdid 1.0.7, DRDID 1.2.3); recovery/few_clusters.csv (5 to 10 clusters,
        few treated among 50 to 200), recovery/few_treated.csv (2 to 19 treated units).

    Parameters
    ----------
    comparison : "never_treated", or "not_yet_treated" (also those treated later than period t and anticipation).
    base_period : "varying" (last before treatment afterwards, the period before t earlier), "universal" (last before
        treatment), a negative event time such as -6, or a window (-8, -5) whose mean is the base.
    method : "dr", "dr_imp", "reg", "ipw". covariates : unit-level columns, numbers or categories.
    anticipation : periods >= 0. unit : unit of the outcome for the reader; default its column name.
    few_clusters : "auto" (at most 40 clusters, or a cohort with fewer than 20 treated or comparison clusters among up
        to 200: jackknife and Student's t; few units: Student's t), or "off": the sums and the normal, however few.

    Raises
    ------
    EstimationError : no treated cohort, no never-treated units to compare with, base period not before anticipation.
    """
    if isinstance(base_period, list):
        base_period = tuple(base_period)  # type: ignore[assignment]
    _check_options(comparison, base_period, method, anticipation, few_clusters)
    first, last = int(panel.periods[0]) + anticipation, int(panel.periods[-1]) + anticipation
    cohort, n = panel.strata["c"].to_numpy(), panel.strata["n"].to_numpy()
    if comparison == "never_treated" and not (np.isnan(cohort) | (cohort > last)).any():
        raise EstimationError("never-treated units", "none in the panel", 'use comparison="not_yet_treated"',
                              column=panel.columns["cohort"])  # fmt: skip
    cells = build_cells(panel, covariates or (), after=first)
    seen = cells.observed.any(axis=1)
    cohorts = np.array([g for g in panel.cohorts if (treated_cells(cells, g) & seen).any()], dtype=int)
    if not len(cohorts):
        raise EstimationError("at least one cohort treated after the first period and anticipation", "none",
                              "add earlier periods, or check the cohorts", column=panel.columns["cohort"])  # fmt: skip
    if cells.clustered and cells.group[-1] < 1:
        raise EstimationError("at least two clusters", "one", "cluster by unit", column=panel.columns["cluster"])
    refit = partial(fit_cells, cohorts=cohorts, comparison=comparison, base_period=base_period, method=method,
                    anticipation=anticipation, cross_section=panel.cross_section)  # fmt: skip
    with one_setting():
        fit = refit(cells)
        clusters, support, jackknife = clusters_of(panel, cells, cohorts), None, None
        if few_clusters == "auto" and clusters is not None and clusters.few:
            jackknife = leave_one_out(cells, fit, clusters, partial(refit, fewest=1))
        elif few_clusters == "auto":
            support = enlarge_few(cells, fit, cohorts, clusters)
        scores, rows = fit.scores(cells)
    k, early = len(fit.labels), int(n[cohort <= first].sum())
    effects = Effects(
        estimand="ATT(g, t)", unit=unit or panel.columns["outcome"] or "",
        labels=fit.labels.drop(columns=["low", "high", "outcome"] if len(panel.outcomes) == 1 else ["low", "high"]),
        estimate=fit.estimate, scores=scores[:, :k], n_treated=fit.n_treated, n_comparison=fit.n_comparison,
        shares=fit.shares, share_scores=scores[:, k:],
        spec={"comparison": comparison, "base_period": base_period, "method": method,
              "covariates": tuple(covariates or ()), "anticipation": anticipation,
              "periods": tuple(cells.periods.tolist()), "units": int(cells.n.sum()),
              "cells": len(cells.n), "score_rows": rows,
              "clusters": int(cells.group[-1]) + 1 if cells.clustered else None,
              "few_clusters": few_clusters, "risk_set": panel.columns["risk_set"] is not None,
              "outcomes": panel.outcomes, "bases": bases(fit, cells.periods),
              "sample": cells.sample},
        notes=tuple(filter(None, [*_notes(fit.labels, early), base_note(base_period, anticipation),
                                  few_units_note(support, clusters is not None),
                                  off_note(clusters) if few_clusters == "off" else ""])),
        support=support, dof=None if support is None else support.dof,
    )  # fmt: skip
    return effects if jackknife is None else jackknifed(effects, jackknife)


def _notes(labels: pd.DataFrame, early: int) -> list[str]:
    notes = []
    if early:
        notes.append(f"{early} units treated within anticipation of the first period are left out.")
    missing = labels.loc[~labels["reason"].isin(["", "base period"]), "reason"].value_counts()
    notes += [f"{count} of {len(labels)} ATT(g, t) could not be estimated: {why}." for why, count in missing.items()]
    return notes


def base_note(base_period: Base, anticipation: int = 0) -> str:
    """The sentence a reader must see when the base is the last period before treatment; empty otherwise."""
    if isinstance(base_period, str):
        return NAIVE
    last = base_period if isinstance(base_period, (int, np.integer)) else max(base_period)
    return NAIVE if last == -1 - anticipation else ""


def _check_options(comparison, base_period, method, anticipation, few_clusters="auto") -> None:
    def refuse(required, found):
        raise EstimationError(required, repr(found), "choose one of these")

    if comparison not in ("never_treated", "not_yet_treated"):
        refuse('comparison "never_treated" or "not_yet_treated"', comparison)
    check_rule(few_clusters)
    if method not in ("dr", "dr_imp", "reg", "ipw"):  # "ipw_ht" would move with the centring of the cells
        refuse('method "dr", "dr_imp", "reg" or "ipw"', method)
    if isinstance(anticipation, bool) or not isinstance(anticipation, (int, np.integer)) or anticipation < 0:
        refuse("anticipation as a number of periods >= 0", anticipation)
    if base_period in ("varying", "universal"):
        return
    ends = base_period if isinstance(base_period, tuple) and len(base_period) == 2 else (base_period, base_period)
    if not all(isinstance(end, (int, np.integer)) and not isinstance(end, bool) for end in ends):
        refuse('base_period "varying", "universal", a negative event time or a window (low, high)', base_period)
    low, high = ends
    if low > high or high >= -anticipation:
        refuse(f"a base before treatment and anticipation (event time below {-anticipation})", base_period)
