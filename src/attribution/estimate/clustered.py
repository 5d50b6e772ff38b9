"""Cluster-robust standard errors of weighted least squares: CR0 to CR3, and the degrees of freedom of CR2."""

from __future__ import annotations

from typing import Literal

import numpy as np

from ..errors import EstimationError

ClusterKind = Literal["CR0", "CR1", "CR1S", "CR2", "CR3"]


def cluster_scores(
    x: np.ndarray, residual: np.ndarray, weights: np.ndarray, clusters: np.ndarray, kind: ClusterKind
) -> np.ndarray:
    """(G, k) score rows S of the coefficients; S'S is their cluster-robust covariance.

    CR0 : Liang & Zeger 1986. CR1 : times G/(G-1). CR1S : times G/(G-1) (n-1)/(n-k). CR2 : Bell & McCaffrey 2002 with
    identity working covariance (Pustejovsky & Tipton 2018, eq. 11). CR3 : the jackknife over clusters, uncorrected.
    Checked : reference/match cluster_se_darfur (clubSandwich 0.5.8, sandwich 3.0.2).

    x : (n, k). residual, weights : (n,) of the regression. clusters : (n,) labels.
    """
    code = np.unique(clusters, return_inverse=True)[1]
    groups, (n, k) = int(code.max()) + 1, x.shape
    if groups < 2:
        raise EstimationError("at least two clusters", f"{groups}", "no standard error exists; widen the cohort")
    bread = np.linalg.inv((x * weights[:, None]).T @ x)
    if kind == "CR3":
        return _jackknife(x, residual, weights, code, groups, bread)
    adjusted = _adjusted(x, residual[:, None], weights, code, bread)[:, 0] if kind == "CR2" else residual
    scores = _sums((x * (weights * adjusted)[:, None]) @ bread, code, groups)
    factor = {"CR1": groups / (groups - 1), "CR1S": groups / (groups - 1) * (n - 1) / (n - k)}.get(kind, 1.0)
    return scores * np.sqrt(factor)


def satterthwaite_dof(x: np.ndarray, weights: np.ndarray, clusters: np.ndarray, contrasts: np.ndarray) -> np.ndarray:
    """(j,) degrees of freedom of the CR2 variance of each combination `contrasts` (k, j) of coefficients.

    (tr P)^2 / tr P^2 for P_gh = a_g' (I - H)_g (I - H)_h' a_h, a_g = A_g W_g X_g M c (Bell & McCaffrey 2002;
    Pustejovsky & Tipton 2018, eq. 12); never the G x G matrix itself, so it serves a million pairs.
    """
    code = np.unique(clusters, return_inverse=True)[1]
    groups = int(code.max()) + 1
    bread = np.linalg.inv((x * weights[:, None]).T @ x)
    squared = bread @ ((x * weights[:, None] ** 2).T @ x) @ bread
    load = _adjusted(x, weights[:, None] * (x @ (bread @ contrasts)), weights, code, bread)
    out = []
    for a in load.T:
        own = _sums((a**2)[:, None], code, groups)[:, 0]
        plain, heavy = _sums(x * a[:, None], code, groups), _sums(x * (weights * a)[:, None], code, groups)
        f = np.hstack([plain, heavy])
        core = np.block([[squared, -bread], [-bread, np.zeros_like(bread)]])
        diagonal = np.einsum("gi,ij,gj->g", f, core, f)
        inner = core @ (f.T @ f)
        out.append((own + diagonal).sum() ** 2 / ((own**2).sum() + 2 * own @ diagonal + np.trace(inner @ inner)))
    return np.array(out)


def _sums(rows: np.ndarray, code: np.ndarray, groups: int) -> np.ndarray:
    return np.column_stack([np.bincount(code, weights=column, minlength=groups) for column in rows.T])


def _adjusted(x, columns, weights, code, bread) -> np.ndarray:
    """A_g times each column (n, j), cluster by cluster: A_g = B_g^(-1/2), B_g = (I - H)_g (I - H)_g'.

    B_g is the identity plus a matrix of rank 2k, U C U' with U = (X_g, W_g X_g): its root needs 2k x 2k matrices only.
    Clusters of one size go through together.
    """
    k = x.shape[1]
    squared = bread @ ((x * weights[:, None] ** 2).T @ x) @ bread
    core = np.block([[squared, -bread], [-bread, np.zeros((k, k))]])
    out = columns.copy()
    order = np.argsort(code, kind="stable")
    sizes = np.bincount(code)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    for size in np.unique(sizes):
        rows = order[starts[sizes == size][:, None] + np.arange(size)]
        u = np.concatenate([x[rows], weights[rows][..., None] * x[rows]], axis=2)
        q, r = np.linalg.qr(u)
        inner = np.eye(q.shape[2]) + r @ core @ np.swapaxes(r, 1, 2)
        value, vector = np.linalg.eigh((inner + np.swapaxes(inner, 1, 2)) / 2)
        root = np.where(value > 1e-10, 1 / np.sqrt(np.maximum(value, 1e-10)), 0.0)  # a direction with no variance left
        shift = vector * root[:, None, :] @ np.swapaxes(vector, 1, 2) - np.eye(q.shape[2])
        block = columns[rows]
        out[rows] = block + q @ (shift @ (np.swapaxes(q, 1, 2) @ block))
    return out


def _jackknife(x, residual, weights, code, groups, bread) -> np.ndarray:
    """Rows coefficients - coefficients without cluster g = (X'WX - X_g'W_gX_g)^(-1) X_g'W_g e_g."""
    k = x.shape[1]
    whole = np.linalg.inv(bread)
    own = np.stack([_sums(x * (weights * x[:, j])[:, None], code, groups) for j in range(k)], axis=2)
    left = whole - own
    scale = np.sqrt(np.diag(whole))
    if np.linalg.eigvalsh(left / np.outer(scale, scale))[:, 0].min() < 1e-10:
        raise EstimationError("coefficients that exist without any one cluster", "one that needs a single cluster",
                              'use vcov="CR2", or adjust for less')  # fmt: skip
    score = _sums(x * (weights * residual)[:, None], code, groups)
    return np.linalg.solve(left, score[..., None])[..., 0]
