"""Confidence sets by test inversion: conditional, least-favourable hybrid and FLCI hybrid tests.

Andrews, Roth & Pakes (2023) test whether some nuisance effects satisfy all moment inequalities; their statistic is a
linear programme. Its dual has the same vertices for every value tested, every Mbar and every draw, so the vertices are
listed once (`cone.extreme_rays`) and each test is a few matrix products: no programme is solved twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from scipy import special

from ...errors import EstimationError
from .cone import extreme_rays
from .restrictions import EventPath, Piece

Method = Literal["c-lf", "conditional", "c-f", "flci"]
SEED, DRAWS, FEW_DRAWS = 20_230_401, 40_000, 4_000
GRID = 160


@dataclass(frozen=True)
class ConfidenceSet:
    """Values not rejected, as intervals from left to right; a test inverted need not give a single one."""

    intervals: tuple[tuple[float, float], ...]

    @property
    def low(self) -> float:
        return self.intervals[0][0] if self.intervals else np.nan

    @property
    def high(self) -> float:
        return self.intervals[-1][1] if self.intervals else np.nan

    @property
    def excludes_zero(self) -> bool:
        """True when zero lies outside the hull [low, high]; also when every value is rejected."""
        return not self.intervals or self.low > 0 or self.high < 0


@dataclass(frozen=True, kw_only=True)
class FirstStage:
    """Affine estimator of the FLCI hybrid: `weights @ estimate` within `half` of the value tested, or reject."""

    weights: np.ndarray
    half: float


class Inverter:
    """Confidence sets of weights'effects under unions of polyhedra.

    The dual vertices are the rays of {g >= 0 : rows'g proportional to the weights over the event times after
    treatment}. There, the rows do not depend on Mbar or M nor on which pre-step is the largest: listed once.
    """

    def __init__(self, path: EventPath, weights: np.ndarray, pieces: Callable[[float], list[Piece]]) -> None:
        self.path, self.weights, self.pieces = path, weights[path.post], pieces
        value, vectors = np.linalg.eigh(path.cov)
        self._root = vectors * np.sqrt(np.clip(value, 0, None))
        self._normal = _draws(len(value), DRAWS, SEED)
        after = pieces(1.0)[0].rows[:, path.post]
        pivot = int(np.argmax(np.abs(self.weights)))
        equations = after * self.weights[pivot] - np.outer(after[:, pivot], self.weights)
        self._rays = extreme_rays(np.delete(equations, pivot, axis=1))

    def invert(self, size: float, level: float, method: Method, first: FirstStage | None = None) -> ConfidenceSet:
        """Union of the sets of the pieces at Mbar or M = `size` (Rambachan & Roth 2023)."""
        found = sorted(one for piece in self.pieces(size) for one in self._invert(piece, level, method, first))
        union: list[tuple[float, float]] = []
        for low, high in found:
            if union and low <= union[-1][1]:
                union[-1] = union[-1][0], max(union[-1][1], high)
            else:
                union.append((low, high))
        return ConfidenceSet(tuple(union))

    def _invert(
        self, piece: Piece, level: float, method: Method, first: FirstStage | None
    ) -> list[tuple[float, float]]:
        """Intervals of accepted values of one piece: found on a grid, their ends refined."""
        test = _Test(self, piece, level, method, first)
        low, high = test.first_stage()
        if not low <= high:
            return []
        left, right = np.clip(test.estimated, low, high)  # a grid of its own: the set may be a narrow one around it
        for _ in range(40):  # the conditional test has no first stage that bounds its set: widen until it is inside
            grid = np.unique(np.r_[np.linspace(low, high, GRID), np.linspace(left, right, GRID // 4)])
            accepted = ~test.reject(grid)
            open_low, open_high = (method == "conditional") & accepted[[0, -1]]
            if not (open_low or open_high):
                break
            low, high = low - open_low * (high - low), high + open_high * (high - low)
        turns = np.flatnonzero(np.diff(np.r_[False, accepted, False].astype(int)))
        last = len(grid) - 1
        return [
            (
                (-np.inf if open_low else grid[0]) if start == 0 else test.edge(grid[start - 1], grid[start]),
                (np.inf if open_high else grid[-1]) if stop > last else test.edge(grid[stop], grid[stop - 1]),
            )
            for start, stop in turns.reshape(-1, 2)
        ]


class _Test:
    """Is `theta` compatible with one piece? Vectorised over theta."""

    def __init__(
        self, inverter: Inverter, piece: Piece, level: float, method: Method, first: FirstStage | None
    ) -> None:
        path, rays = inverter.path, inverter._rays
        sd = np.sqrt(np.einsum("ij,jk,ik->i", piece.rows, path.cov, piece.rows))
        scale = rays @ sd
        if (scale <= 0).any():
            raise EstimationError("sampling error in every restricted step", "a covariance of too low rank",
                                  "use more clusters or fewer event times", count=int((scale <= 0).sum()))  # fmt: skip
        rays = rays / scale[:, None]
        unit = np.zeros(len(path.times))
        unit[path.post] = inverter.weights / (inverter.weights @ inverter.weights)
        self.path, self.first, self.method, self.alpha = path, first, method, 1 - level
        self.loading = rays @ piece.rows
        self.constant = self.loading @ path.estimate - rays @ piece.bound
        self.slope = self.loading @ unit
        self.slope[np.abs(self.slope) < 1e-9 * np.abs(self.slope).max()] = 0
        self.spread = self.loading @ path.cov
        self.size, self.critical = self.alpha, np.inf
        if method != "conditional":  # a tenth of the size goes to the first stage
            kappa = self.alpha / 10
            self.size = (self.alpha - kappa) / (1 - kappa)
        if method == "c-lf":
            draws = int(np.clip(1_000_000 / len(rays), FEW_DRAWS, DRAWS))
            self.critical = _largest_quantile(self.loading @ inverter._root, inverter._normal[:, :draws], 1 - kappa)
        self.estimated = self._interval(0.0)

    def _interval(self, critical: float) -> tuple[float, float]:
        """{theta : every vertex <= critical}; (1, 0)-like when empty."""
        up, down, flat = self.slope > 0, self.slope < 0, self.slope == 0
        bound = np.divide(self.constant - critical, self.slope, where=~flat, out=np.zeros_like(self.constant))
        low, high = bound[up].max(initial=-np.inf), bound[down].min(initial=np.inf)
        return (low, high) if (self.constant[flat] <= critical + 1e-9).all() else (np.inf, -np.inf)

    def first_stage(self) -> tuple[float, float]:
        """Values outside are rejected at once; for the conditional test, only where to start looking."""
        if self.method == "c-lf":
            return self._interval(self.critical)
        if self.first is not None:
            centre = float(self.first.weights @ self.path.estimate)
            return centre - self.first.half, centre + self.first.half
        for critical in (4.0, 16.0, 64.0, 256.0, 1024.0):
            low, high = self._interval(critical)
            if low < high and np.isfinite([low, high]).all():
                return low, high
        return np.inf, -np.inf

    def reject(self, theta: np.ndarray) -> np.ndarray:
        """(g,) bool."""
        step = max(1, 2_000_000 // len(self.constant))
        return np.concatenate([self._reject(theta[k : k + step]) for k in range(0, len(theta), step)])

    def _reject(self, theta: np.ndarray) -> np.ndarray:
        moments = self.constant - np.outer(theta, self.slope)
        best = moments.argmax(axis=1)
        eta = moments[np.arange(len(theta)), best]
        vertex, back = np.unique(best, return_inverse=True)
        spread = self.spread[vertex] @ self.loading.T
        variance = spread[np.arange(len(vertex)), vertex][back]
        certain = variance < 1e-12
        ratio = spread[back] / np.where(certain, 1.0, variance)[:, None]
        # the optimal vertex stays optimal for these values of its moment, given what is independent of it
        room = 1 - ratio
        limit = np.divide(moments - ratio * eta[:, None], room, where=np.abs(room) > 1e-9, out=np.zeros_like(room))
        low = np.where(room > 1e-9, limit, -np.inf).max(axis=1)
        high = np.minimum(np.where(room < -1e-9, limit, np.inf).min(axis=1), self.critical)
        if self.first is not None:
            low, high = self._inside_first(theta, best, eta, variance, certain, low, high)
        sd = np.sqrt(np.where(certain, 1.0, variance))
        p_value = truncated_tail(eta / sd, low / sd, high / sd)
        return np.where(certain, eta > 1e-9, (eta > 1e-12) & (p_value < self.size)) | (eta > self.critical)

    def _inside_first(self, theta, best, eta, variance, certain, low, high):
        """Truncation of the optimal moment by the first stage of the FLCI hybrid having accepted."""
        assert self.first is not None
        centre = self.first.weights @ self.path.estimate
        along = self.spread[best] @ self.first.weights / np.where(certain, 1.0, variance)
        ends = np.stack([theta - self.first.half, theta + self.first.half]) - (centre - along * eta)
        moves = np.abs(along) > 1e-12
        bound = np.sort(np.divide(ends, along, where=moves, out=np.zeros_like(ends)), axis=0)
        return np.where(moves, np.maximum(low, bound[0]), low), np.where(moves, np.minimum(high, bound[1]), high)

    def edge(self, outside: float, inside: float) -> float:
        """Last accepted value between a rejected and an accepted one, to 1e-3 of their distance."""
        for _ in range(2):
            grid = np.linspace(outside, inside, 33)
            k = int(np.argmax(~self.reject(grid)))
            outside, inside = grid[max(k - 1, 0)], grid[k]
        return float(inside)


@lru_cache(maxsize=4)
def _draws(rows: int, draws: int, seed: int) -> np.ndarray:
    """Standard normals of an own generator: the same for every call, so that sets differ by their data alone."""
    normal = np.random.default_rng(seed).standard_normal((rows, draws))
    normal.flags.writeable = False
    return normal


def truncated_tail(value: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """P(Z > value | low <= Z <= high) for a standard normal Z, exact far out in the tails; 1 outside [low, high]."""
    upper, at, lower = special.log_ndtr(-high), special.log_ndtr(-value), special.log_ndtr(-low)
    inside = (low <= value + 1e-9) & (value <= high + 1e-9)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        tail = np.exp(at - lower) * np.expm1(np.minimum(upper - at, 0)) / np.expm1(np.minimum(upper - lower, 0))
    return np.where(inside & np.isfinite(tail), tail, 1.0)


def _largest_quantile(loading: np.ndarray, normal: np.ndarray, level: float) -> float:
    """Least-favourable critical value: quantile of the largest moment when all hold with equality."""
    step = max(400, 200_000 // loading.size)  # small products: in the cache, and not worth a thread
    parts = [(loading @ normal[:, k : k + step]).max(axis=0) for k in range(0, normal.shape[1], step)]
    return float(np.quantile(np.concatenate(parts), level))
