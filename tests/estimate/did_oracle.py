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
    tilted = method == "dr_imp"
    propensity = (w * (d - (1 - d) * odds if tilted else d - odds / (1 + odds)))[:, None] * x
    regression = (w * (1 - d) * (odds if tilted else 1) * (dy - mu))[:, None] * x
    if method == "reg":
        last = [w * d * (dy - eta_t), w * d * (mu - eta_c)]
    elif method == "ipw_ht":
        last = [w * d * (dy - eta_t), w * ((1 - d) * odds * dy - d * eta_c)]
    else:
        fitted = mu if method in ("dr", "dr_imp") else 0
        last = [w * d * (dy - fitted - eta_t), w * (1 - d) * odds * (dy - fitted - eta_c)]
    return np.column_stack([propensity, regression, *last])


def _repeated_moments(theta, method, x, d, t, w, y):
    """Sant'Anna & Zhao 2020, tau_1, tau_2 term by term; eta: (treated, comparison, all treated, treated) a period."""
    p = x.shape[1]
    gamma, share, eta = theta[:p], theta[p], theta[-8:]
    beta = theta[p + 1 : 5 * p + 1].reshape(2, 2, p)  # [treated][later]
    odds, tilted = np.exp(x @ gamma), "imp" in method
    a = (1 - d) * odds
    columns = [(w * (d - a if tilted else d - odds / (1 + odds)))[:, None] * x, w * (t - share)]
    for arm, late in ((0, 0), (0, 1), (1, 0), (1, 1)):
        here = (d if arm else 1 - d) * (t if late else 1 - t)
        by = odds if tilted and not arm else 1
        columns.append((w * here * by * (y - x @ beta[arm, late]))[:, None] * x)
    for late in (0, 1):
        here = t if late else 1 - t
        one = np.ones(len(y))
        mu_0, mu_1 = x @ beta[0, late], x @ beta[1, late]
        r = y - (mu_0 if method.startswith("dr") else 0)
        e = eta[4 * late : 4 * late + 4]
        if method == "ipw_ht":
            of_period = here / (share if late else 1 - share)
            columns += [w * (of_period * d * y - d * e[0]), w * (of_period * a * y - d * e[1])]
        else:
            columns += [w * d * here * (r - e[0]), w * (a * here * (r - e[1]) if method != "reg" else one * e[1])]
        if method == "reg":
            columns += [w * d * (-mu_0 - e[2]), w * one * e[3]]
        elif method in ("dr", "dr_imp"):
            columns += [w * d * (mu_1 - mu_0 - e[2]), w * d * here * (mu_1 - mu_0 - e[3])]
        else:
            columns += [w * one * e[2], w * one * e[3]]
    return np.column_stack(columns)


def _jacobian(moments, theta):
    step = 1e-30
    columns = []
    for j in range(len(theta)):
        moved = theta.astype(complex)
        moved[j] += 1j * step
        columns.append(moments(moved).sum(axis=0).imag / step)
    return np.column_stack(columns)


def _solve(moments, theta):
    """theta, from a start, and the Jacobian there."""
    for _ in range(100):
        move = np.linalg.solve(_jacobian(moments, theta), moments(theta).sum(axis=0))
        theta = theta - np.clip(move, -2, 2)
        if np.abs(move).max() < 1e-13:
            break
    return theta, _jacobian(moments, theta)


def did_2x2(method, x, d, w, dy):
    """(estimate, influence / n) of one comparison; x has its intercept."""

    def moments(theta):
        return _moments(theta, method, x, d, w, dy)

    theta, jacobian = _solve(moments, np.zeros(2 * x.shape[1] + 2))
    rows = -np.linalg.solve(jacobian, moments(theta).T).T
    return theta[-2] - theta[-1], rows[:, -2] - rows[:, -1]


def did_2x2_rc(method, x, d, t, w, y, *, nuisances_known=False):
    """(estimate, influence / n) from repeated cross-sections; nuisances_known: the first stages add nothing."""

    def moments(theta):
        return _repeated_moments(theta, method, x, d, t, w, y)

    start = np.zeros(5 * x.shape[1] + 9)
    start[x.shape[1]] = t.mean()
    theta, jacobian = _solve(moments, start)
    if nuisances_known:
        jacobian[-8:, :-8] = 0
    rows = -np.linalg.solve(jacobian, moments(theta).T).T
    contrast = np.array([-1, 1, -1, 1, 1, -1, 1, -1])  # earlier, later: treated - comparison + all - treated of it
    return contrast @ theta[-8:], rows[:, -8:] @ contrast


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
