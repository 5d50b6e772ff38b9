"""The slow obvious version: every unit's influence value by stacked estimating equations (Newey & McFadden 1994).

theta solves sum_i m_i(theta) = 0; psi_i = -n J^-1 m_i with J = sum dm_i/dtheta by complex steps. Nothing is shared with
src.
"""

from __future__ import annotations

import numpy as np
import pandas as pd


def _moments(theta, method, x, d, w, dy):
    p = x.shape[1]
    gamma, beta, eta_t, eta_c = theta[:p], theta[p : 2 * p], theta[-2], theta[-1]
    odds, mu = np.exp(x @ gamma), x @ beta
    logit = (w * (d - odds / (1 + odds)))[:, None] * x
    ols = (w * (1 - d) * (dy - mu))[:, None] * x
    if method == "reg":
        last = [w * d * (dy - eta_t), w * d * (mu - eta_c)]
    else:
        fitted = mu if method == "dr" else 0
        last = [w * d * (dy - fitted - eta_t), w * (1 - d) * odds * (dy - fitted - eta_c)]
    return np.column_stack([logit, ols, *last])


def _jacobian(theta, *args):
    step = 1e-30
    columns = []
    for j in range(len(theta)):
        moved = theta.astype(complex)
        moved[j] += 1j * step
        columns.append(_moments(moved, *args).sum(axis=0).imag / step)
    return np.column_stack(columns)


def did_2x2(method, x, d, w, dy):
    """(estimate, influence / n) of one comparison; x has its intercept."""
    theta = np.zeros(2 * x.shape[1] + 2)
    for _ in range(50):
        move = np.linalg.solve(_jacobian(theta, method, x, d, w, dy), _moments(theta, method, x, d, w, dy).sum(axis=0))
        theta = theta - np.clip(move, -2, 2)
        if np.abs(move).max() < 1e-13:
            break
    rows = -np.linalg.solve(_jacobian(theta, method, x, d, w, dy), _moments(theta, method, x, d, w, dy).T).T
    return theta[-2] - theta[-1], rows[:, -2] - rows[:, -1]


def att_gt(wide: np.ndarray, cohort: np.ndarray, periods, g, t, base, *, method="reg", x=None, w=None, not_yet=False):
    """ATT(g, t) against one base period, and (n,) scores; NaN outcomes leave the pair."""
    n = len(cohort)
    x = np.ones((n, 1)) if x is None else np.column_stack([np.ones(n), x])
    w = np.ones(n) if w is None else w
    at = list(periods)
    dy = wide[:, at.index(t)] - wide[:, at.index(base)]
    others = np.isnan(cohort) | (not_yet & (cohort > max(t, base)) & (cohort != g))
    used = ((cohort == g) | others) & np.isfinite(dy)
    estimate, rows = did_2x2(method, x[used], (cohort[used] == g).astype(float), w[used], dy[used])
    scores = np.zeros(n)
    scores[used] = rows
    return estimate, scores


def panel(n=200, periods=(1, 2, 3, 4, 5), cohorts=(3, 4), seed=0, missing=0.0) -> pd.DataFrame:
    """A long random panel: unit, t, g, y, x (continuous), s (category), w, k (cluster)."""
    r = np.random.default_rng(seed)
    g = r.choice([np.nan, *cohorts], n)
    x, s = r.normal(size=n) + 0.4 * np.isfinite(g), r.choice(list("abc"), n)
    y = r.normal(size=(n, len(periods))).cumsum(axis=1) + 0.3 * x[:, None] * np.array(periods)
    y += np.where(np.array(periods)[None] >= np.nan_to_num(g, nan=np.inf)[:, None], 1.0, 0.0)
    y[r.random(y.shape) < missing] = np.nan
    weight, cluster = r.uniform(0.5, 2, n), r.integers(0, n // 4, n)
    unit = pd.DataFrame({"unit": np.arange(n), "g": g, "x": x, "s": s, "w": weight, "k": cluster})
    long = unit.loc[np.repeat(np.arange(n), len(periods))].reset_index(drop=True)
    return long.assign(t=np.tile(periods, n), y=y.ravel())
