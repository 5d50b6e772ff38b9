"""Group-time average effects on the treated: what each cohort gained in each period."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import pandas as pd

from ..cohorts.cells import Cells, build_cells
from ..cohorts.panel import Panel
from ..errors import EstimationError
from ..read.threads import one_setting
from ..results import Effects
from .few_clusters import FEW, jackknifed, leave_one_out
from .kernels import CannotEstimate, TwoByTwo, TwoByTwoRepeated, two_by_two, two_by_two_rc, varying

Comparison = Literal["never_treated", "not_yet_treated"]
Base = Literal["varying", "universal"] | int | tuple[int, int] | list[int]
GroupTimeMethod = Literal["dr", "dr_imp", "reg", "ipw"]
NAIVE = (
    "The base is the last period before treatment: where people select on a dip, the rebound counts as effect; "
    "see at.dip_test."
)


def group_time_att(
    panel: Panel, *, comparison: Comparison, base_period: Base, method: GroupTimeMethod = "dr",
    covariates: Sequence[str] = (), anticipation: int = 0, unit: str | None = None,
    few_clusters: Literal["auto", "off"] = "auto",
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
        difference and combination; it makes the estimates again once a cluster.
    Edge cases : unit-periods without outcome leave the (g, t) that need them (pair-balanced), see n_treated and
        n_comparison; periods in which a cohort was never observed have no row; a (g, t) that cannot be estimated is NaN
        with its reason in `labels`; the base period is 0 without a standard error. Comparison units with propensity
        >= 0.995 leave; no lower clip. One cluster: refused; few: an estimate that rests on a single treated or
        comparison cluster has no standard error (NaN), with its reason in `labels`. Where `spec["score_rows"]` is
        "cells", the rows of the scores belong to no unit: combine the estimates, but do not subtract another fit's.
    Checked : reference/did (R did 2.5.1, fastdid 1.0.7, DRDID 1.2.3); recovery/few_clusters.csv (5 to 10 clusters).

    Parameters
    ----------
    comparison : "never_treated", or "not_yet_treated" (also those treated later than period t and anticipation).
    base_period : "varying" (last before treatment afterwards, the period before t earlier), "universal" (last before
        treatment), a negative event time such as -6, or a window (-8, -5) whose mean is the base.
    method : "dr", "dr_imp", "reg", "ipw". covariates : unit-level columns, numbers or categories.
    anticipation : periods >= 0. unit : unit of the outcome for the reader; default its column name.
    few_clusters : "auto", or "off": the sums within clusters and the normal, however few they are.

    Raises
    ------
    EstimationError : no treated cohort, no never-treated units to compare with, base period not before anticipation.
    """
    if isinstance(base_period, list):
        base_period = (base_period[0], base_period[-1])
    _check_options(comparison, base_period, method, anticipation, few_clusters)
    first, last = int(panel.periods[0]) + anticipation, int(panel.periods[-1]) + anticipation
    cohort, n = panel.strata["c"].to_numpy(), panel.strata["n"].to_numpy()
    if comparison == "never_treated" and not (np.isnan(cohort) | (cohort > last)).any():
        raise EstimationError("never-treated units", "none in the panel", 'use comparison="not_yet_treated"',
                              column=panel.columns["cohort"])  # fmt: skip
    cells = build_cells(panel, covariates, after=first)
    seen = cells.observed.any(axis=1)
    cohorts = np.array([g for g in panel.cohorts if (_treated(cells, g) & seen).any()], dtype=int)
    if not len(cohorts):
        raise EstimationError("at least one cohort treated after the first period and anticipation", "none",
                              "add earlier periods, or check the cohorts", column=panel.columns["cohort"])  # fmt: skip
    if cells.clustered and cells.group[-1] < 1:
        raise EstimationError("at least two clusters", "one", "cluster by unit", column=panel.columns["cluster"])
    refit = partial(fit_cells, cohorts=cohorts, comparison=comparison, base_period=base_period, method=method,
                    anticipation=anticipation, cross_section=panel.cross_section)  # fmt: skip
    with one_setting():
        fit = refit(cells)
        scores, rows = fit.scores(cells)
        few = few_clusters == "auto" and cells.clustered and not panel.own_cluster and cells.group[-1] < FEW
        jackknife = leave_one_out(cells, fit, partial(refit, fewest=1)) if few else None
    k, early = len(fit.labels), int(n[cohort <= first].sum())
    effects = Effects(
        estimand="ATT(g, t)", unit=unit or panel.columns["outcome"] or "",
        labels=fit.labels.drop(columns=["low", "high", "outcome"] if len(panel.outcomes) == 1 else ["low", "high"]),
        estimate=fit.estimate, scores=scores[:, :k], n_treated=fit.n_treated, n_comparison=fit.n_comparison,
        shares=fit.shares, share_scores=scores[:, k:],
        spec={"comparison": comparison, "base_period": base_period, "method": method, "covariates": tuple(covariates),
              "anticipation": anticipation, "periods": tuple(cells.periods.tolist()), "units": int(cells.n.sum()),
              "cells": len(cells.n), "score_rows": rows,
              "clusters": int(cells.group[-1]) + 1 if cells.clustered else None,
              "few_clusters": few_clusters, "risk_set": panel.columns["risk_set"] is not None,
              "outcomes": panel.outcomes},
        notes=tuple(filter(None, [*_notes(fit.labels, early), base_note(base_period, anticipation)])),
    )  # fmt: skip
    return effects if jackknife is None else jackknifed(effects, jackknife)


@dataclass(frozen=True, kw_only=True)
class Part:
    """Estimates that share treated and comparison cells, and how any moment row counts in them."""

    ks: list[int]  # their places among all estimates
    used: np.ndarray  # (C,) bool
    treated: np.ndarray  # (C,) bool
    post: np.ndarray | None  # (C,) bool: repeated cross-sections, seen in the later period
    contrast: np.ndarray  # (J * T, k): outcome path -> outcome change
    columns: list[int]  # covariates that vary here
    kernel: TwoByTwo | TwoByTwoRepeated

    def add(self, out: np.ndarray, cells: Cells, block: slice) -> None:
        """Add the contributions of a block of moment rows to out (rows, K)."""
        cell = cells.cell[block]
        rows = np.flatnonzero(self.used[cell])
        at = cell[rows]
        alpha, gamma = self.score(cells, at)
        gamma *= cells.w[block][rows, None]
        gamma += alpha[:, None] * (cells.y[block][rows] @ self.contrast)
        out[rows[:, None], self.ks] = gamma

    def score(self, cells: Cells, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """alpha (r,), gamma (r, k) of moment rows that belong to these cells."""
        x = np.ones((len(at), 1 + len(self.columns)), order="F")
        for place, column in enumerate(self.columns, start=1):
            x[:, place] = cells.x[at, column]
        if isinstance(self.kernel, TwoByTwoRepeated):
            assert self.post is not None
            return self.kernel.score(x, self.treated[at], self.post[at])
        return self.kernel.score(x, self.treated[at])


class GroupTimeFit:
    """Every ATT(g, t) of some cells: labels, estimates, counts, cohort shares, and the parts that score them."""

    def __init__(self, cells: Cells, labels: pd.DataFrame, cohorts: np.ndarray) -> None:
        k = len(labels)
        self.labels, self.estimate, self.parts = labels, np.full(k, np.nan), list[Part]()
        self.n_treated, self.n_comparison = np.zeros(k, int), np.zeros(k, int)
        self.reason = np.full(k, "", dtype=object)
        self.members = [_treated(cells, g) for g in cohorts]
        sizes = [cells.weight[member].sum() for member in self.members]
        self.shares = pd.Series(sizes, index=cohorts) / cells.n.sum()

    def scores(self, cells: Cells) -> tuple[np.ndarray, str]:
        """Scores of the estimates and of the cohort shares, side by side, in one pass over the moment rows."""
        k, n = len(self.estimate), cells.n.sum()

        def of_rows(block: slice) -> np.ndarray:
            out = np.zeros((block.stop - block.start, k + len(self.shares)))
            for part in self.parts:
                part.add(out, cells, block)
            for j, (member, share) in enumerate(zip(self.members, self.shares, strict=True)):
                own = np.where(member[cells.cell[block]], cells.w[block], 0.0)
                out[:, k + j] = (own - cells.one[block] * share) / n
            return out

        return cells.scores(of_rows, k + len(self.shares))


def fit_cells(
    cells: Cells, cohorts: np.ndarray, *, comparison: Comparison, base_period: Base, method: GroupTimeMethod,
    anticipation: int, cross_section: bool, fewest: int = 2,
) -> GroupTimeFit:  # fmt: skip
    """Point estimates of every ATT(g, t), and how to score them; an arm of less than `fewest` units has none."""
    fit = GroupTimeFit(cells, _layout(cells, cohorts, base_period, anticipation), cohorts)
    never = ~np.isfinite(cells.cohort) | (cells.cohort > cells.periods[-1] + anticipation)
    start = None
    for g in cohorts.tolist():
        treated = _treated(cells, g)
        others = (cells.cohort != g) & (True if cells.risk_set is None else cells.risk_set == g)
        groups: dict[bytes, _Group] = {}
        known: dict[tuple, _Group] = {}
        for row in fit.labels[fit.labels["cohort"] == g].itertuples():
            k, window = row.Index, (cells.periods >= row.low) & (cells.periods <= row.high)
            if not window.any():
                fit.reason[k] = "base period not observed"
                continue
            if row.low == row.high == row.period:
                fit.estimate[k], fit.reason[k] = 0.0, "base period"
            until = None
            if comparison == "not_yet_treated":
                until = max(row.period, int(cells.periods[window].max())) + anticipation
            here, base = _places(cells, row, window)
            asked = (until, *(() if cells.complete and not cross_section else (here.tobytes(), base.tobytes())))
            if asked not in known:
                pool = never if until is None else never | (cells.cohort > until)
                known[asked] = _group(cells, treated, pool & others, here, base, cross_section, groups)
            group = known[asked]
            fit.n_treated[k], fit.n_comparison[k] = group.n_treated, group.n_comparison
            if fit.reason[k]:
                continue
            if min(group.n_treated, group.n_comparison) < fewest:
                arm = "treated" if group.n_treated < fewest else "comparison"
                when = "either period" if cross_section else "both periods"
                fit.reason[k] = f"fewer than two {arm} units with an outcome in {when}"
                continue
            group.ks.append(k)
            group.contrasts.append((here | base) * 1.0 if cross_section else here - base / base.sum())
        for group in groups.values():
            if group.ks:
                start = _fit_group(fit, cells, group, treated, method, start)
    fit.labels["reason"] = fit.reason
    return fit


@dataclass(frozen=True, kw_only=True)
class _Group:
    """Cells of one comparison, and the estimates that are made from it: all of them in one call of the kernel."""

    used: np.ndarray
    post: np.ndarray | None
    n_treated: int
    n_comparison: int
    ks: list[int]
    contrasts: list[np.ndarray]


def _group(cells, treated, others, here, base, cross_section, groups) -> _Group:
    used = treated | others
    if cross_section:
        used &= cells.observed[:, here | base].any(axis=1)
    elif not cells.complete:
        used &= cells.observed[:, here | base].all(axis=1)
    post = cells.observed[:, here].any(axis=1) if cross_section else None
    made = _Group(used=used, post=post, n_treated=int(cells.n[used & treated].sum()),
                  n_comparison=int(cells.n[used & ~treated].sum()), ks=[], contrasts=[])  # fmt: skip
    return groups.setdefault(used.tobytes() + (b"" if post is None else post.tobytes()), made)


def _places(cells: Cells, row, window: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(J * T,) bool: the period and the base of one ATT(g, t) in the outcome path."""
    here, base = np.zeros(cells.observed.shape[1], bool), np.zeros(cells.observed.shape[1], bool)
    own = slice(cells.outcomes.index(row.outcome) * len(window), None)
    here[own][: len(window)], base[own][: len(window)] = cells.periods == row.period, window
    return here, base


def _fit_group(fit: GroupTimeFit, cells: Cells, group: _Group, treated: np.ndarray, method, start):
    """One call of the kernel; returns the propensity, a start for the next one."""
    used, post, ks, contrast = group.used, group.post, group.ks, np.column_stack(group.contrasts)
    x, names = varying(cells.x[used], cells.names)
    change = cells.sums[used] @ contrast
    try:
        kernel: TwoByTwo | TwoByTwoRepeated
        if post is None:
            fits = start is not None and len(start) == x.shape[1]
            kernel = two_by_two(method, x, treated[used], cells.weight[used], change, start if fits else None)
            start = kernel.propensity
        else:
            kernel = two_by_two_rc(method, x, treated[used], post[used], cells.weight[used], change)
    except CannotEstimate as reason:
        fit.reason[ks] = reason.code + "".join(f" ({names[column]})" for column in reason.columns)
        return start
    fit.estimate[ks] = kernel.estimate
    columns = [cells.names.index(name) for name in names[1:]]
    fit.parts.append(Part(ks=ks, used=used, treated=treated, post=post, contrast=contrast, columns=columns,
                          kernel=kernel))  # fmt: skip
    return start


def _treated(cells: Cells, g: int) -> np.ndarray:
    """(C,) bool: cells of the units that cohort g is about."""
    of_cohort = cells.cohort == g
    return of_cohort if cells.risk_set is None else of_cohort & (cells.risk_set == g)


def _layout(cells: Cells, cohorts: np.ndarray, base: Base, anticipation: int) -> pd.DataFrame:
    """One row per (outcome, cohort, period in which it was observed) with the base window [low, high]."""
    rows, periods, width = [], cells.periods, len(cells.periods)
    for o, outcome in enumerate(cells.outcomes):
        prefix = f"{outcome}: " if len(cells.outcomes) > 1 else ""
        for g in cohorts.tolist():
            before = int(periods[periods + anticipation < g].max())
            seen = np.atleast_1d(cells.observed[_treated(cells, g), o * width : (o + 1) * width].any(axis=0))
            for j, t in enumerate(periods.tolist()):
                low = high = before
                if not seen[j] or (base == "varying" and j == 0):
                    continue
                if base == "varying" and t < g:
                    low = high = int(periods[j - 1])
                elif isinstance(base, tuple):
                    low, high = g + base[0], g + base[1]
                elif not isinstance(base, str):
                    low = high = g + base
                rows.append((f"{prefix}att({g},{t})", outcome, g, t, t - g, low, high))
    return pd.DataFrame(rows, columns=["term", "outcome", "cohort", "period", "event_time", "low", "high"])


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
    if few_clusters not in ("auto", "off"):
        refuse('few_clusters "auto" or "off"', few_clusters)
    if method not in ("dr", "dr_imp", "reg", "ipw"):  # "ipw_ht" would move with the centring of the cells
        refuse('method "dr", "dr_imp", "reg" or "ipw"', method)
    if isinstance(anticipation, bool) or not isinstance(anticipation, (int, np.integer)) or anticipation < 0:
        refuse("anticipation as a number of periods >= 0", anticipation)
    if isinstance(base_period, str) or base_period is None:
        if base_period not in ("varying", "universal"):
            refuse('base_period "varying", "universal", a negative event time or a window (low, high)', base_period)
        return
    low, high = base_period if isinstance(base_period, tuple) else (base_period, base_period)
    if low > high or high >= -anticipation:
        refuse(f"a base before treatment and anticipation (event time below {-anticipation})", base_period)
