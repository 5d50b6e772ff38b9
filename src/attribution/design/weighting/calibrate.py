"""Weights that balance by construction: entropy balancing and the covariate balancing propensity score."""

from __future__ import annotations

import numpy as np

from ...errors import DesignError
from ..newton import Columns, Fit, Weighted, both_to_all, tilt, tilt_to_all


def powers(x: np.ndarray, names: list[str], origins: list[str], moments: int):
    """The matrix with powers up to `moments` of every standardised column that has more values than that."""
    columns, more, sources = [x], list(names), list(origins)
    for j, name in enumerate(names):
        values = len(np.unique(x[:1_000, j]))
        if values <= moments:
            values = len(np.unique(x[:, j]))
        z = (x[:, j] - x[:, j].mean()) / (x[:, j].std() or 1.0)
        for power in range(2, min(moments, values - 1) + 1):
            columns.append((z**power)[:, None])
            more.append(f"{name}^{power}")
            sources.append(origins[j])
    return (np.concatenate(columns, axis=1) if len(columns) > 1 else x), more, sources


def entropy(columns: Columns, treated: np.ndarray, sampling: np.ndarray, target: str, names, origins) -> Weighted:
    """Weights closest to `sampling` in relative entropy that give an arm the covariate means of the target.

    Estimator : Hainmueller (2012), dual (his eq. 8) by Newton: w = s exp(b0 + z'b). Target "all": both arms.
    The weighted sums equal the target's, so b0 carries the scale.
    """
    if target == "treated":
        fit, eta = _solve(columns, tilt, treated, ~treated, sampling, names, origins, "the treated")
        w = sampling * np.where(treated, 1.0, np.exp(np.where(treated, 0.0, eta)))
        first = sampling * tilt(eta, treated.astype(float))[1]
        return Weighted(weights=w, influence=columns.influence(fit, first),
                        slopes=columns.weighted(np.where(treated, 0.0, w)), log_odds=eta)  # fmt: skip
    w, influence, slopes = np.empty(len(treated)), [], []
    for arm in (True, False):
        own = treated == arm
        fit, eta = _solve(columns, tilt_to_all, own, own, sampling, names, origins, "all units")
        w[own] = sampling[own] * np.exp(eta[own])
        influence.append(columns.influence(fit, sampling * tilt_to_all(eta, own.astype(float))[1]))
        slopes.append(columns.weighted(np.where(own, w, 0.0)))
    return Weighted(weights=w, influence=np.hstack(influence), slopes=np.hstack(slopes))


def cbps(columns: Columns, treated: np.ndarray, sampling: np.ndarray, target: str, names, origins) -> Weighted:
    """Inverse probabilities of a logit whose coefficients balance the means instead of maximising the likelihood.

    Estimator : Imai & Ratkovic (2014, eq. 10 and 11), just identified: sum s [t - (1-t) p/(1-p)] z = 0 for the treated,
        sum s [t/p - (1-t)/(1-p)] z = 0 for all; both are minima of convex functions (Zhao 2019).
    """
    if target == "treated":  # the same equations as entropy balancing: the weights are odds
        return entropy(columns, treated, sampling, target, names, origins)
    fit, eta = _solve(columns, both_to_all, treated, None, sampling, names, origins, "the other arm")
    sign = np.where(treated, 1.0, -1.0)
    own = sampling * np.exp(-sign * eta)
    influence = columns.influence(fit, sampling * both_to_all(eta, treated.astype(float))[1])
    return Weighted(weights=sampling + own, influence=influence, slopes=columns.weighted(-sign * own), log_odds=eta)


def _solve(columns, loss, own, moved, sampling, names, origins, goal: str) -> tuple[Fit, np.ndarray]:
    """The minimum and eta; refused by name where the units that are `moved` cannot reach the target's means."""
    start = np.zeros(columns.x.shape[1] + 1)
    if moved is not None:
        whole = sampling[~moved].sum() if loss is tilt else sampling.sum()
        start[0] = np.log(whole / sampling[moved].sum())
        _refuse_outside(columns, loss, moved, sampling, names, origins, goal)
    fit = columns.minimise(loss, own, None if (sampling == 1).all() else sampling, start)
    if not fit.converged:
        far = np.argsort(-np.abs(np.nan_to_num(fit.step[1:], nan=1.0)), kind="stable")[:3]
        raise DesignError(
            f"weights that give an arm the means of {goal} on all covariates at once", "none, only nearly so",
            "leave out the units nobody can be compared with (discard=), or balance fewer moments",
            column=origins[int(far[0])], keys=[names[int(j)] for j in far],
        )  # fmt: skip
    return fit, columns.index(fit.beta)


def _refuse_outside(columns, loss, moved, sampling, names, origins, goal) -> None:
    """A mean at or beyond the edge of what the weighted units have cannot be reached by any positive weights."""
    aim = ~moved if loss is tilt else np.ones(len(moved), bool)
    for j, name in enumerate(names):
        column = columns.x[:, j]
        mean = float(np.average(column[aim], weights=sampling[aim]))
        low, high = float(column[moved].min()), float(column[moved].max())
        if not low < mean < high:
            raise DesignError(
                f"units on both sides of the mean of {goal}",
                f"a mean of {name} of {mean:.4g} where the units to be weighted go from {low:.4g} to {high:.4g}",
                "leave out the units nobody can be compared with (discard=), or that covariate and say so",
                column=origins[j],
            )  # fmt: skip
