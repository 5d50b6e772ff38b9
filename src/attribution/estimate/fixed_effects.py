"""Least squares with unit and period effects, on cells: the one regression behind TWFE, Sun-Abraham and imputation.

Within a cell all units are observed in the same periods, so that taking out unit effects is the same projection M_c for
all of them, and regressors are the same for all cells of a cohort. A cohort therefore enters the normal equations
through sum_c W_c M_c (T x T) and sum_c M_c S_c (T) alone, however many patterns of missing periods it has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..cohorts.cells import Cells, build_cells
from ..cohorts.panel import Panel
from ..errors import EstimationError
from ..inference import Support
from .few_clusters import Clusters, Rule, check_rule, clusters_of, enlargement, few_units_note, off_note, refuse_few

ROUND = 1e-9  # a regressor with less than this share of its variation left is explained by the others


@dataclass(frozen=True, kw_only=True)
class Regression:
    """A fitted regression of y on `design` with unit and period effects; see `regress`.

    cohorts : (G,) their numbers, never treated = NaN last. of : (C,) cohort of each cell. use : (C, T) observations.
    beta : (K,) coefficients. inverse : (K, K) of the residual Gram. residual : (G, T, K) design without its period
    effects (unit effects not yet taken out). laplacian : (G, T, T) sum_c W_c M_c. period : (T,) period effects.
    """

    cells: Cells
    cohorts: np.ndarray
    of: np.ndarray
    use: np.ndarray
    design: np.ndarray
    beta: np.ndarray
    inverse: np.ndarray
    residual: np.ndarray
    laplacian: np.ndarray
    period: np.ndarray
    enlarge: np.ndarray | None = None  # (G,) of the scores of cohorts of few units

    def scores(self, weights: np.ndarray | None = None) -> np.ndarray:
        """(groups, J) scores of `weights @ beta`, weights (J, K); without them, of beta."""
        solve = self.inverse if weights is None else self.inverse @ weights.T
        loading = self.residual @ solve
        fitted = self.period + self.design @ self.beta
        return grouped_by_cohort(self.cells, self.of, self.use, fitted, loading, self.enlarge)

    def support(self, clusters: Clusters | None, weights: np.ndarray | None = None) -> Support | None:
        """How many units carry `weights @ beta`: each by the length of what it gives to its outcome path."""
        if self.enlarge is None:
            return None
        loading = self.residual @ (self.inverse if weights is None else self.inverse @ weights.T)
        size = np.sqrt(((loading - loading.mean(axis=1, keepdims=True)) ** 2).sum(axis=1))
        sizes = independent(self.cells, self.of, len(self.cohorts), clusters)
        return Support(sizes=sizes.astype(float), arms=np.zeros(len(sizes)), loadings=size)

    def factor(self) -> float:
        """G/(G-1) (N-1)/(N-K): K coefficients and periods; unit effects are nested in the clusters, so not counted."""
        n = int((self.cells.n[:, None] * self.use).sum())
        k = len(self.beta) + int(self.use.any(axis=0).sum())
        groups = int(self.cells.group[-1]) + 1 if self.cells.clustered else int(self.cells.n.sum())
        if n <= k or groups < 2:
            raise EstimationError("more observations than coefficients", f"{n} and {k}", "add units")
        return groups / (groups - 1) * (n - 1) / (n - k)


def regress(
    cells: Cells, design: np.ndarray, names: Sequence[str], use: np.ndarray | None = None,
    enlarge: np.ndarray | None = None,
) -> Regression:  # fmt: skip
    """Least squares with unit and period effects, weighted by w.

    Estimator : Frisch-Waugh-Lovell. With P_g = sum_c W_c M_c, s_g = sum_c M_c S_c over the cells of cohort g, and
        L = (sum P_g)^+ sum P_g D_g:  beta = (sum D_g' P_g (D_g - L))^-1 sum (D_g - L)' s_g.
    Std. errors : the score of unit i is (D_g - L)' M_c w_i (y_i - period - D_g beta), affine in its path.

    Parameters
    ----------
    cells : C cells, T periods. design : (G, T, K) regressors by cohort, in the order of `cohort_index`. names : (K,)
    for the error. use : (C, T) observations that enter; default all observed. enlarge : see `small_sample`.

    Raises
    ------
    EstimationError : a regressor that unit effects, period effects and the others already determine; names it.
    """
    cohorts, of = cohort_index(cells)
    use = cells.observed if use is None else use & cells.observed
    laplacian, moments = normal_equations(cells, of, len(cohorts), use)
    pinv = np.linalg.pinv(laplacian.sum(axis=0), hermitian=True, rcond=1e-11)
    through = laplacian @ design
    residual = design - pinv @ through.sum(axis=0)
    gram = np.einsum("gtk,gtl->kl", residual, laplacian @ residual)
    whole = np.einsum("gtk,gtk->k", design, through)
    left = np.abs(np.diag(np.linalg.qr(gram, mode="r"))) if len(gram) else np.empty(0)
    bad = [name for name, row, all_of_it in zip(names, left, whole, strict=True) if row <= ROUND * all_of_it]
    if bad:
        raise EstimationError(
            "regressors that vary beyond unit effects, period effects and each other",
            f"{', '.join(bad[:5])} determined by the others", "leave out a further event time, or add untreated units",
            count=len(bad), keys=bad,
        )  # fmt: skip
    inverse = np.linalg.inv(gram)
    beta = inverse @ np.einsum("gtk,gt->k", residual, moments)
    period = pinv @ (moments - np.einsum("gtk,k->gt", through, beta)).sum(axis=0)
    return Regression(cells=cells, cohorts=cohorts, of=of, use=use, design=design, beta=beta, inverse=inverse,
                      residual=residual, laplacian=laplacian, period=period, enlarge=enlarge)  # fmt: skip


def cohort_index(cells: Cells) -> tuple[np.ndarray, np.ndarray]:
    """(G,) cohorts ascending, never treated (NaN) last, and the (C,) position of each cell's cohort among them."""
    cohorts, of = np.unique(cells.cohort, return_inverse=True)
    return cohorts, of.ravel()


def normal_equations(cells: Cells, of: np.ndarray, groups: int, use: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(G, T, T) sum_c W_c M_c and (G, T) sum_c M_c S_c of each cohort, M_c = I - 11'/n on the periods in `use`."""
    periods = use.shape[1]
    laplacian, moments = np.zeros((groups, periods, periods)), np.zeros((groups, periods))
    sums = centred(cells.sums, use)
    share = use * (cells.weight / np.maximum(use.sum(axis=1), 1))[:, None]
    for g in range(groups):
        own = of == g
        laplacian[g] = np.diag(cells.weight[own] @ use[own]) - share[own].T @ use[own]
        moments[g] = sums[own].sum(axis=0)
    return laplacian, moments


def centred(values: np.ndarray, use: np.ndarray) -> np.ndarray:
    """M v: values less their mean over the periods in use; 0 elsewhere."""
    inside = np.where(use, values, 0.0)
    return np.where(use, inside - (inside.sum(axis=1) / np.maximum(use.sum(axis=1), 1))[:, None], 0.0)


def grouped_by_cohort(
    cells: Cells, of: np.ndarray, use: np.ndarray, fitted: np.ndarray, loading: np.ndarray,
    enlarge: np.ndarray | None = None,
) -> np.ndarray:  # fmt: skip
    """(groups, J) sums of loading_g' M_c (y - w fitted_g); fitted (G, T), loading (G, T, J) by cohort."""
    row_of = of[cells.cell]
    out = np.empty((len(row_of), loading.shape[2]))
    for g in range(len(fitted)):
        rows = np.flatnonzero(row_of == g)
        residual = cells.y[rows] - cells.w[rows, None] * fitted[g]
        out[rows] = centred(residual, use[cells.cell[rows]]) @ loading[g] * (1.0 if enlarge is None else enlarge[g])
    return all_groups(cells, out)


def all_groups(cells: Cells, values: np.ndarray) -> np.ndarray:
    """(groups, J) sums of the values of all moment rows."""
    return cells.grouped(np.arange(len(values)), values)[1]


def cells_of(panel: Panel, *, treated_only: bool = False) -> Cells:
    """Cells of a panel whose rows are units, with two independent groups or more."""
    refuse_kind(panel)
    cells = build_cells(panel)
    if treated_only:
        cells = cells.where(np.isfinite(cells.cohort))
    if not len(cells.group):
        raise EstimationError("units to compare", "none left", "check the cohorts", column=panel.columns["cohort"])
    if cells.clustered and cells.group[-1] < 1:
        raise EstimationError("at least two clusters", "one", "cluster by unit", column=panel.columns["cluster"])
    return cells


def refuse_kind(panel: Panel) -> None:
    """Refuse what unit effects cannot be taken out of, before anything else is said about it."""
    if panel.columns["risk_set"] is not None:
        raise EstimationError(
            "one record a unit", "a panel of sequential trials (risk_set)",
            "use group_time_att, which compares within the risk set",
        )  # fmt: skip
    if panel.cross_section:
        raise EstimationError(
            "units seen in several periods, for unit effects", "repeated cross-sections, every row another unit",
            "use group_time_att, or name the unit column of the panel",
        )  # fmt: skip
    if len(panel.outcomes) > 1:
        raise EstimationError("one outcome", "several", "make a Panel for each, or use group_time_att",
                              count=len(panel.outcomes), keys=panel.outcomes)  # fmt: skip


def only_periods(cells: Cells, keep: np.ndarray) -> Cells:
    """The same cells seen in some of their periods: moments of a part of z are a part of the moments."""
    return replace(cells, periods=cells.periods[keep], observed=cells.observed[:, keep], sums=cells.sums[:, keep],
                   y=cells.y[:, keep])  # fmt: skip


def seen(cells: Cells) -> np.ndarray:
    """(G, T) bool: some unit of the cohort is observed in the period."""
    cohorts, of = cohort_index(cells)
    return units_by_period(of, len(cohorts), cells.n, cells.observed) > 0


def event_times(cohorts: np.ndarray, periods: np.ndarray) -> np.ndarray:
    """(G, T) period minus cohort; NaN for the never treated."""
    return periods[None, :] - cohorts[:, None]


def indicators(where: Sequence[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """(G, T, K) design of 0/1 regressors, each given as a (G, T) bool."""
    return np.stack(list(where), axis=2).astype(float) if len(where) else np.zeros((*shape, 0))


def units_at(cells: Cells, of: np.ndarray, where: np.ndarray, use: np.ndarray) -> int:
    """Units with an observation in use in at least one (cohort, period) of the (G, T) mask."""
    return int(cells.n[(where[of] & use).any(axis=1)].sum())


def units_by_period(of: np.ndarray, groups: int, n: np.ndarray, use: np.ndarray) -> np.ndarray:
    """(G, T) units of each cohort with an observation in use."""
    return by_cohort(n[:, None] * use, of, groups)


def by_cohort(values: np.ndarray, of: np.ndarray, groups: int) -> np.ndarray:
    """(G, T) sums over the cells of a cohort of (C, T) values."""
    out = np.zeros((groups, values.shape[1]), values.dtype)
    np.add.at(out, of, values)
    return out


def alone(cohorts: np.ndarray, single: np.ndarray) -> tuple[str, ...]:
    """The sentence about the ATT(g, t) of one unit: its variation cannot be seen, so it would count as none."""
    if not single.any():
        return ()
    names = ", ".join(str(int(g)) for g in cohorts[single.any(axis=1)])
    return (f"{int(single.sum())} ATT(g, t) that rest on a single treated unit carry no weight (cohorts {names}).",)


def untreated_throughout(cells: Cells) -> int:
    """Units never treated, or not before the last period is over."""
    return int(cells.n[~(cells.cohort <= cells.periods[-1])].sum())


def facts(cells: Cells) -> dict[str, Any]:
    """What every spec says about the sample and its score rows."""
    rows = "clusters" if cells.clustered else "cells" if cells.compressed else "units"
    return {"periods": tuple(cells.periods.tolist()), "units": int(cells.n.sum()), "cells": len(cells.n),
            "score_rows": rows, "clusters": int(cells.group[-1]) + 1 if cells.clustered else None}  # fmt: skip


def small_sample(panel: Panel, cells: Cells, few_clusters: Rule) -> tuple[Clusters | None, np.ndarray | None]:
    """The clusters, and what enlarges the scores of each cohort in the order of `cohort_index`: few units, see `few`.

    Raises
    ------
    EstimationError : few clusters, unless the rule is "off".
    """
    check_rule(few_clusters)
    cohorts, of = cohort_index(cells)
    clusters = clusters_of(panel, cells, cohorts[cohorts <= cells.periods[-1]])
    if few_clusters == "off":
        return clusters, None
    if clusters is not None and clusters.few:
        refuse_few(clusters, panel.columns["cluster"])
    enlarge = enlargement(independent(cells, of, len(cohorts), clusters))
    return clusters, enlarge if (enlarge > 1).any() else None


def independent(cells: Cells, of: np.ndarray, groups: int, clusters: Clusters | None) -> np.ndarray:
    """(G,) independent units, or clusters, of each cohort."""
    if clusters is None:
        return np.bincount(of, cells.n, groups).astype(int)
    return np.array([len(np.unique(cells.group[of[cells.cell] == g])) for g in range(groups)])


def caveats(panel: Panel, clusters: Clusters | None, support: Support | None, few_clusters: Rule) -> tuple[str, ...]:
    """The sentences about few clusters or units, and about the always treated, where there are any."""
    count = panel.counts.get("units treated in or before the first period, dropped", 0)
    text = f"{count:,} units treated in or before the first period are left out: no period before treatment."
    few = off_note(clusters) if few_clusters == "off" else few_units_note(support, clusters is not None)
    return (*((few,) if few else ()), *((text,) if count else ()))
