"""The slow obvious version: regressions with one dummy a unit and a period, rows in memory. Shares nothing with src."""

from __future__ import annotations

import numpy as np
import pandas as pd


def dummies(frame: pd.DataFrame) -> np.ndarray:
    """One column a unit, and one a period but the first."""
    unit = pd.get_dummies(frame["unit"], dtype=float).to_numpy()
    return np.column_stack([unit, pd.get_dummies(frame["t"], dtype=float).to_numpy()[:, 1:]])


def by_group(values: np.ndarray, group: np.ndarray) -> np.ndarray:
    codes = np.unique(group, return_inverse=True)[1]
    out = np.zeros((codes.max() + 1, values.shape[1]))
    np.add.at(out, codes, values)
    return out


def regression(frame, columns, *, weight=None, group="unit"):
    """(beta, cov) of y on these columns with dummies; sandwich over groups, no small-sample factor."""
    known = frame["y"].notna().to_numpy()
    frame, columns = frame[known], np.asarray(columns, float)[known]
    w = np.ones(len(frame)) if weight is None else frame[weight].to_numpy()
    x, y = np.column_stack([columns, dummies(frame)]), frame["y"].to_numpy()
    root = np.sqrt(w)[:, None]
    beta = np.linalg.lstsq(x * root, y * root[:, 0], rcond=None)[0]
    bread = np.linalg.pinv((x * w[:, None]).T @ x)
    scores = by_group(x * (w * (y - x @ beta))[:, None], frame[group].to_numpy()) @ bread
    k = columns.shape[1]
    return beta[:k], (scores.T @ scores)[:k, :k]


def imputation(frame, average, *, weight=None, group="unit", anticipation=0):
    """(estimate, cov) of Borusyak, Jaravel & Spiess 2024, eq. 7; average: {name: bool over rows} of treated rows."""
    frame = frame[frame["y"].notna()].reset_index(drop=True)
    w = np.ones(len(frame)) if weight is None else frame[weight].to_numpy()
    event, y, x = (frame["t"] - frame["g"]).to_numpy(), frame["y"].to_numpy(), dummies(frame)
    d0, d1 = ~(event >= -anticipation), event >= 0
    root = np.sqrt(w[d0])
    beta = np.linalg.lstsq(x[d0] * root[:, None], y[d0] * root, rcond=None)[0]
    bread = np.linalg.pinv((x[d0] * w[d0, None]).T @ x[d0])
    tau = y - x @ beta
    cell = pd.Series(np.where(d1, w * tau, 0)).groupby([frame["g"], frame["t"]]).transform("sum")
    size = pd.Series(np.where(d1, w, 0)).groupby([frame["g"], frame["t"]]).transform("sum")
    error = np.where(d1, tau - (cell / size).to_numpy(), np.where(d0, tau, 0.0))
    estimates, scores = [], []
    for rows in average:
        target = np.asarray(rows(frame) & d1, float) * w
        target /= target.sum()
        estimates.append(target @ tau)
        v = target.copy()
        v[d0] = -w[d0] * (x[d0] @ (bread @ (x.T @ target)))
        scores.append(v * error)
    s = by_group(np.column_stack(scores), frame[group].to_numpy())
    return np.array(estimates), s.T @ s
