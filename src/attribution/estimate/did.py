"""Group-time average effects on the treated: what each cohort gained in each period."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd

from ..cohorts.cells import Cells, build_cells
from ..cohorts.panel import Panel
from ..errors import EstimationError
from ..results import Effects
from .kernels import CannotEstimate, Method, two_by_two, varying

Comparison = Literal["never_treated", "not_yet_treated"]
Base = Literal["varying", "universal"] | int | tuple[int, int] | list[int]


def group_time_att(
    panel: Panel, *, comparison: Comparison, base_period: Base, method: Method = "dr", covariates: Sequence[str] = (),
    anticipation: int = 0, unit: str | None = None,
) -> Effects:  # fmt: skip
    """Effect on each cohort in each period: ATT(g, t).

    Estimand : E[Y_t(g) - Y_t(never) | first treated in g], for every cohort g and period t.
    Assumes : parallel trends between cohort and comparison given the covariates; no effect more than `anticipation`
        periods before treatment.
    Estimator : difference in differences by outcome regression (reg), Hajek-weighted inverse propensity (ipw) or both
        (dr, Sant'Anna & Zhao 2020, traditional: logit and least squares; dr_imp: improved), per Callaway & Sant'Anna
        2021, eq. 2.4-2.10.
    Std. errors : influence function, propensity and regression estimated; summed within `cluster`; no n-1.
    Edge cases : unit-periods without outcome leave the (g, t) that need them (pair-balanced), see n_treated and
        n_comparison; periods in which a cohort was never observed have no row; a (g, t) that cannot be estimated is NaN
        with its reason in `labels`; the base period is 0 without a standard error. Comparison units with propensity
        >= 0.995 leave; no lower clip. One cluster: refused. Where `spec["score_rows"]` is "cells", the rows of the
        scores belong to no unit: combine the estimates, but do not subtract those of another fit.
    Checked : reference/did (R did 2.5.1).

    Parameters
    ----------
    comparison : "never_treated", or "not_yet_treated" (also those treated later than period t and anticipation).
    base_period : "varying" (last before treatment afterwards, the period before t earlier), "universal" (last before
        treatment), a negative event time such as -6, or a window (-8, -5) whose mean is the base.
    method : "dr", "dr_imp", "reg", "ipw". covariates : unit-level columns, numbers or categories.
    anticipation : periods >= 0.
    unit : unit of the outcome for the reader; default its column name.

    Raises
    ------
    EstimationError : no treated cohort, no never-treated units to compare with, base period not before anticipation.
    """
    if isinstance(base_period, list):
        base_period = (base_period[0], base_period[-1])
    _check_options(comparison, base_period, method, anticipation)
    keep = ~(panel.cohort <= panel.periods[0] + anticipation)
    never = ~np.isfinite(panel.cohort) | (panel.cohort > panel.periods[-1] + anticipation)
    if comparison == "never_treated" and not never.any():
        raise EstimationError("never-treated units", "none in the panel", 'use comparison="not_yet_treated"',
                              column=panel.columns["cohort"])  # fmt: skip
    cells = build_cells(panel, tuple(covariates), keep)
    cohorts = np.array([g for g in panel.cohorts if _treated(cells, g).any()], dtype=int)
    if not len(cohorts):
        raise EstimationError("at least one cohort treated after the first period and anticipation", "none",
                              "add earlier periods, or check the cohorts", column=panel.columns["cohort"])  # fmt: skip
    if cells.group[-1] < 1:
        raise EstimationError("at least two clusters", "one", "cluster by unit", column=panel.columns["cluster"])
    labels = _layout(cells, cohorts, base_period, anticipation)
    fit = _Fit(cells, labels)
    for g in cohorts:
        _fit_cohort(fit, cells, labels, g, comparison, method, anticipation)
    shares, share_scores = _shares(cells, cohorts)
    labels["reason"] = fit.reason
    rows = "clusters" if panel.cluster is not None else "cells" if cells.compressed else "units"
    return Effects(
        estimand="ATT(g, t)", unit=unit or panel.columns["outcome"] or "", labels=labels.drop(columns=["low", "high"]),
        estimate=fit.estimate, scores=fit.scores, n_treated=fit.n_treated, n_comparison=fit.n_comparison,
        shares=shares, share_scores=share_scores,
        spec={"comparison": comparison, "base_period": base_period, "method": method, "covariates": tuple(covariates),
              "anticipation": anticipation, "periods": tuple(cells.periods.tolist()), "units": int(cells.n.sum()),
              "cells": len(cells.n), "score_rows": rows, "clusters": None if panel.cluster is None else len(fit.scores),
              "risk_set": panel.risk_set is not None},
        notes=_notes(labels, int((~keep).sum())),
    )  # fmt: skip


class _Fit:
    """Arrays filled cohort by cohort."""

    def __init__(self, cells: Cells, labels: pd.DataFrame) -> None:
        k = len(labels)
        self.estimate, self.scores = np.full(k, np.nan), np.zeros((cells.group[-1] + 1, k))
        self.n_treated, self.n_comparison = np.zeros(k, int), np.zeros(k, int)
        self.reason = np.full(k, "", dtype=object)


def _fit_cohort(
    fit: _Fit, cells: Cells, labels: pd.DataFrame, g: int, comparison: str, method: Method, anticipation: int
) -> None:
    """All periods of one cohort; periods that share treated and comparison cells are one call of the kernel."""
    treated = _treated(cells, g)
    pool = ~np.isfinite(cells.cohort) | (cells.cohort > cells.periods[-1] + anticipation)
    at_risk = np.ones(len(treated), bool) if cells.risk_set is None else cells.risk_set == g
    frame = {name: labels[name].to_numpy() for name in ("cohort", "period", "low", "high")}
    groups: dict[bytes, tuple[np.ndarray, list[int], list[np.ndarray]]] = {}
    for k in np.flatnonzero(frame["cohort"] == g):
        t, low, high = frame["period"][k], frame["low"][k], frame["high"][k]
        base = (cells.periods >= low) & (cells.periods <= high)
        if not base.any():
            fit.reason[k] = "base period not observed"
            continue
        if low == high == t:
            fit.estimate[k], fit.reason[k] = 0.0, "base period"
        others = pool
        if comparison == "not_yet_treated":
            last = max(t, int(cells.periods[base].max()))
            others = pool | (cells.cohort > last + anticipation)
        here = cells.periods == t
        used = (treated | (others & at_risk & (cells.cohort != g))) & cells.observed[:, base | here].all(axis=1)
        fit.n_treated[k] = cells.n[used & treated].sum()
        fit.n_comparison[k] = cells.n[used & ~treated].sum()
        if fit.reason[k]:
            continue
        if min(fit.n_treated[k], fit.n_comparison[k]) < 2:
            arm = "treated" if fit.n_treated[k] < 2 else "comparison"
            fit.reason[k] = f"fewer than two {arm} units with an outcome in both periods"
            continue
        group = groups.setdefault(used.tobytes(), (used, [], []))
        group[1].append(int(k))
        group[2].append(here.astype(float) - base / base.sum())
    for used, ks, contrasts in groups.values():
        _fit_group(fit, cells, used, treated, ks, np.column_stack(contrasts), method)


def _fit_group(fit: _Fit, cells: Cells, used, treated, ks: list[int], contrast: np.ndarray, method: Method) -> None:
    x, names = varying(cells.x[used], cells.names)
    try:
        got = two_by_two(method, x, treated[used], cells.weight[used], cells.sums[used] @ contrast)
    except CannotEstimate as reason:
        fit.reason[ks] = reason.code + "".join(f" ({names[column]})" for column in reason.columns)
        return
    fit.estimate[ks] = got.estimate
    place = np.cumsum(used) - 1
    rows = np.flatnonzero(used[cells.cell])
    at = place[cells.cell[rows]]
    alpha, gamma = got.score(x, treated[used])
    scores = alpha[at, None] * (cells.y[rows] @ contrast) + gamma[at] * cells.w[rows, None]
    groups, scores = cells.grouped(rows, scores)
    fit.scores[np.ix_(groups, np.array(ks))] = scores


def _treated(cells: Cells, g: int) -> np.ndarray:
    """(C,) bool: cells of the units that cohort g is about."""
    of_cohort = cells.cohort == g
    return of_cohort if cells.risk_set is None else of_cohort & (cells.risk_set == g)


def _shares(cells: Cells, cohorts: np.ndarray) -> tuple[pd.Series, np.ndarray]:
    """Weighted share of each cohort among all units, and the scores of these shares."""
    n = cells.n.sum()
    members = [_treated(cells, g) for g in cohorts]
    shares = pd.Series([cells.weight[member].sum() for member in members], index=cohorts) / n
    rows = np.column_stack([np.where(member[cells.cell], cells.w, 0.0) for member in members])
    return shares, cells.grouped(np.arange(len(rows)), (rows - np.outer(cells.one, shares)) / n)[1]


def _layout(cells: Cells, cohorts: np.ndarray, base: Base, anticipation: int) -> pd.DataFrame:
    """One row per (cohort, period in which it was observed) with the base window [low, high] in calendar periods."""
    rows, periods = [], cells.periods
    for g in cohorts.tolist():
        before = int(periods[periods + anticipation < g].max())
        seen = cells.observed[_treated(cells, g)].any(axis=0)
        for j, t in enumerate(periods.tolist()):
            low = high = before
            if not seen[j]:
                continue
            if base == "varying" and t < g:
                if j == 0:
                    continue
                low = high = int(periods[j - 1])
            elif isinstance(base, tuple):
                low, high = g + base[0], g + base[1]
            elif not isinstance(base, str):
                low = high = g + base
            rows.append((f"att({g},{t})", g, t, t - g, low, high))
    return pd.DataFrame(rows, columns=["term", "cohort", "period", "event_time", "low", "high"])


def _notes(labels: pd.DataFrame, early: int) -> tuple[str, ...]:
    notes = []
    if early:
        notes.append(f"{early} units treated within anticipation of the first period are left out.")
    missing = labels.loc[~labels["reason"].isin(["", "base period"]), "reason"].value_counts()
    notes += [f"{count} of {len(labels)} ATT(g, t) could not be estimated: {why}." for why, count in missing.items()]
    return tuple(notes)


def _check_options(comparison, base_period, method, anticipation) -> None:
    def refuse(required, found):
        raise EstimationError(required, repr(found), "choose one of these")

    if comparison not in ("never_treated", "not_yet_treated"):
        refuse('comparison "never_treated" or "not_yet_treated"', comparison)
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
