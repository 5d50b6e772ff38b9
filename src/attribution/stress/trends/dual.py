"""The largest value over the dual cone of the tests, {g >= 0 : equations'g = 0}: from its rays, or by HiGHS.

Every number of the tests is one question, `largest`: the largest ratio numerator'g / denominator'g over the cone. The
statistic is that of moments to standard deviations, an end of the identified set that of moments to what a unit of the
effect takes from them, a truncation point that of slack to what a unit of the statistic takes from it.
Where the rays are too many to be listed, those that programmes have met stand for all, and each answer that matters is
put to a programme: one that finds a larger ratio brings in its ray, and the answer is worked out again.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from ...errors import EstimationError

BATCH = 40


class Dual(Protocol):
    """rays : (v, m) known rays of the cone. complete : whether they are all."""

    rays: np.ndarray
    complete: bool

    def largest(self, numerator: np.ndarray, denominator: np.ndarray) -> float:
        """Largest numerator'g / denominator'g where the denominator is positive; -inf where it never is. Both (m,).

        inf if the numerator is positive where the denominator is 0. A programme sees that between the rays, too: then
        no z has numerator'g <= z denominator'g for all g, which rays show by a largest z below that is above the
        smallest z above.
        """


class Listed:
    """All rays are known: the largest ratio is one of theirs."""

    complete = True

    def __init__(self, rays: np.ndarray) -> None:
        self.rays = rays

    def largest(self, numerator: np.ndarray, denominator: np.ndarray) -> float:
        above, below = self.rays @ numerator, self.rays @ denominator
        flat = np.abs(below) <= 1e-9 * np.abs(denominator).max()
        if (above[flat] > 1e-9 * np.abs(numerator).max()).any():
            return np.inf
        up = (below > 0) & ~flat
        return float((above[up] / below[up]).max(initial=-np.inf))


class Programmes:
    """Rays are met one by one: each ratio is a linear programme (Charnes & Cooper 1962), solved by HiGHS."""

    complete = False

    def __init__(self, equations: np.ndarray) -> None:
        self._equations = equations.T / (np.abs(equations).max(initial=0.0) or 1.0)
        self.rays = np.zeros((0, len(equations)))
        self._seen: set[bytes] = set()

    def largest(self, numerator: np.ndarray, denominator: np.ndarray) -> float:
        from scipy.optimize import linprog

        top, bottom = np.abs(numerator).max() or 1.0, np.abs(denominator).max() or 1.0
        got = linprog(-numerator / top, A_eq=np.vstack([self._equations, denominator / bottom]),
                      b_eq=np.r_[np.zeros(len(self._equations)), 1.0], bounds=(0, None), method="highs",
                      options={"dual_feasibility_tolerance": 1e-10})  # fmt: skip
        if got.status == 2:
            return -np.inf
        if got.status == 3:
            return np.inf
        if got.status != 0:
            raise unsolved(f"status {got.status} ({got.message.splitlines()[0]})")
        ray = np.maximum(got.x, 0) / np.maximum(got.x, 0).sum()
        if ray @ denominator <= 1e-9 * bottom:  # held up by rounding alone: the denominator is never positive
            return -np.inf
        key = np.round(ray, 9).tobytes()
        if key not in self._seen:
            self._seen.add(key)
            self.rays = np.vstack([self.rays, ray])
        return float(ray @ numerator / (ray @ denominator))


def largest_quantile(dual: Dual, moments: np.ndarray, sd: np.ndarray, normal: np.ndarray, level: float) -> float:
    """Quantile over draws of the largest moment, the least-favourable critical value: all hold with equality.

    moments : (m, k), times a column of `normal` (k, draws) one draw of the moments. Known rays bound each draw from
    below. Unless they are all, the draws that may decide the quantile are solved, the largest bounds first, until none
    is left within twice the largest shortfall of the bounds in the last round.
    """
    if dual.complete:
        return float(np.quantile(_bounds(dual.rays, moments, sd, normal), level))
    if not len(dual.rays):
        for k in range(100):
            dual.largest(moments @ normal[:, k], sd)
    value = _bounds(dual.rays, moments, sd, normal)
    solved = np.zeros(len(value), bool)
    short = np.inf
    while True:
        quantile = float(np.quantile(value, level))
        chosen = np.flatnonzero(~solved & (value + 2 * short >= quantile))
        if not len(chosen):
            return quantile
        chosen = chosen[np.argsort(-value[chosen])[:BATCH]]
        known, bound = len(dual.rays), value[chosen].copy()
        value[chosen] = [dual.largest(moments @ normal[:, k], sd) for k in chosen]
        if not np.isfinite(value[chosen]).all():
            raise unsolved("a statistic that is infinite")
        solved[chosen] = True
        short = float((value[chosen] - bound).max())
        if len(dual.rays) > known:
            value = np.maximum(value, _bounds(dual.rays[known:], moments, sd, normal))


def _bounds(rays: np.ndarray, moments: np.ndarray, sd: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """(draws,) largest standardised moment of the rays."""
    loading = rays @ moments / (rays @ sd)[:, None]
    step = max(400, 200_000 // loading.size)  # small products: in the cache, and not worth a thread
    parts = [(loading @ normal[:, k : k + step]).max(axis=0) for k in range(0, normal.shape[1], step)]
    return np.concatenate(parts)


def unsolved(found: str) -> EstimationError:
    return EstimationError(
        "a solution of each linear programme behind the sets", found,
        "check that the covariance is not close to singular, average over fewer event times, or leave out the sign or "
        "monotonicity restriction",
    )  # fmt: skip
