"""Confidence sets by test inversion: conditional, least-favourable hybrid and FLCI hybrid tests.

Andrews, Roth & Pakes (2023) test whether some nuisance effects satisfy all moment inequalities; their statistic is a
linear programme. Its dual has the same vertices for every value tested, every Mbar and every draw, so the vertices are
listed once (`cone.extreme_rays`) and each test is a few matrix products. Where they are too many, the same products run
over those that HiGHS has found, until programmes confirm what comes out (`dual`).
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
from .dual import Dual, Listed, Programmes, largest_quantile, unsolved
from .restrictions import EventPath, Piece

Method = Literal["c-lf", "conditional", "c-f", "flci"]
SEED, DRAWS, FEW_DRAWS = 20_230_401, 40_000, 4_000
GRID, ROUNDS = 160, 60
CHECKS = 9, 33  # values across a set put to programmes: within a first stage, and without one
TRIED = (4.0, 16.0, 64.0, 256.0, 1024.0)  # critical values that bound where the conditional test looks


@dataclass(frozen=True)
class ConfidenceSet:
    """Values not rejected, as intervals from left to right; a test inverted need not give a single one.

    programmes : solved by linear programmes, the vertices being too many to list.
    """

    intervals: tuple[tuple[float, float], ...]
    programmes: bool = False

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
        equations = np.delete(after * self.weights[pivot] - np.outer(after[:, pivot], self.weights), pivot, axis=1)
        rays = extreme_rays(equations)
        self.dual: Dual = Programmes(equations) if rays is None else Listed(rays)

    def invert(self, size: float, level: float, method: Method, first: FirstStage | None = None) -> ConfidenceSet:
        """Union of the sets of the pieces at Mbar or M = `size` (Rambachan & Roth 2023)."""
        tests = [_Test(self, piece, level, method, first) for piece in self.pieces(size)]
        stages = [test.first_stage() for test in tests]
        order = sorted(range(len(tests)), key=lambda k: stages[k][0] - stages[k][1])  # the widest first
        found: list[tuple[float, float]] = []
        for k in order:
            low, high = stages[k]
            if method == "conditional" or not any(a <= low and high <= b for a, b in found):
                found += self._invert(tests[k])  # else: all that the first stage leaves is in the set already
        union: list[tuple[float, float]] = []
        for low, high in sorted(found):
            if union and low <= union[-1][1]:
                union[-1] = union[-1][0], max(union[-1][1], high)
            else:
                union.append((low, high))
        return ConfidenceSet(tuple(union), not self.dual.complete)

    def _invert(self, test: _Test) -> list[tuple[float, float]]:
        """Intervals of accepted values of one piece; without all vertices, until programmes confirm them."""
        for _ in range(ROUNDS):
            test.refresh()
            found, decisive = self._accepted(test)
            if not found or self.dual.complete:
                return found
            if test.confirmed(decisive):
                return [] if test.rejected else found
        raise unsolved(f"sets that still change after {ROUNDS} rounds")

    def _accepted(self, test: _Test) -> tuple[list[tuple[float, float]], np.ndarray]:
        """Accepted intervals, found on a grid, their ends refined; and the values whose verdicts decide them."""
        low, high = test.first_stage()
        if not low <= high:
            return [], np.zeros(0)
        open_low = open_high = False
        left, right = np.clip(test.estimated, low, high)  # a grid of its own: the set may be a narrow one around it
        for _ in range(40):  # the conditional test has no first stage that bounds its set: widen until it is inside
            grid = np.unique(np.r_[np.linspace(low, high, GRID), np.linspace(left, right, GRID // 4)])
            accepted = ~test.reject(grid)
            open_low, open_high = (test.method == "conditional") & accepted[[0, -1]]
            if not (open_low or open_high):
                break
            low, high = low - open_low * (high - low), high + open_high * (high - low)
        turns = np.flatnonzero(np.diff(np.r_[False, accepted, False].astype(int)))
        last = len(grid) - 1
        found, decisive = [], [np.linspace(low, high, CHECKS[test.method == "conditional"]), np.array([left, right])]
        for start, stop in turns.reshape(-1, 2):
            ends = -np.inf if open_low else grid[0], np.inf if open_high else grid[-1]
            if start > 0:
                outside, inside = test.edge(grid[start - 1], grid[start])
                ends = inside, ends[1]
                decisive.append(np.array([outside, inside]))
            if stop <= last:
                outside, inside = test.edge(grid[stop], grid[stop - 1])
                ends = ends[0], inside
                decisive.append(np.array([outside, inside]))
            found.append((float(ends[0]), float(ends[1])))
        return found, np.unique(np.concatenate(decisive))


class _Test:
    """Is `theta` compatible with one piece? Vectorised over theta."""

    def __init__(
        self, inverter: Inverter, piece: Piece, level: float, method: Method, first: FirstStage | None
    ) -> None:
        path, self.dual = inverter.path, inverter.dual
        unit = np.zeros(len(path.times))
        unit[path.post] = inverter.weights / (inverter.weights @ inverter.weights)
        self.path, self.first, self.method, self.alpha = path, first, method, 1 - level
        self.rows, self.moments, self.along = piece.rows, piece.rows @ path.estimate - piece.bound, piece.rows @ unit
        self.sd = np.sqrt(np.einsum("ij,jk,ik->i", piece.rows, path.cov, piece.rows))
        self.size, self.critical, self.rejected = self.alpha, np.inf, False
        if method != "conditional":  # a tenth of the size goes to the first stage
            kappa = self.alpha / 10
            self.size = (self.alpha - kappa) / (1 - kappa)
        if method == "c-lf":
            draws = FEW_DRAWS
            if self.dual.complete:
                draws = int(np.clip(1_000_000 / len(self.dual.rays), FEW_DRAWS, DRAWS))
            self.critical = largest_quantile(self.dual, piece.rows @ inverter._root, self.sd,
                                             inverter._normal[:, :draws], 1 - kappa)  # fmt: skip
        if not self.dual.complete:  # the ends of the estimated set and of the first stage
            for critical in (0.0, self.critical) if method == "c-lf" else (0.0, *TRIED):
                low, high = self.ends(critical, self.dual)
                if critical and np.isfinite([low, high]).all():
                    break
        self.known = Listed(np.zeros((0, 0)))
        self.refresh()

    def refresh(self) -> None:
        """Take in the rays that programmes have found since."""
        if 0 < len(self.dual.rays) == len(self.known.rays):
            return
        scale = self.dual.rays @ self.sd
        if not len(scale):
            raise unsolved("no vertex")
        if (scale <= 0).any():
            raise EstimationError("sampling error in every restricted step", "a covariance of too low rank",
                                  "use more clusters or fewer event times", count=int((scale <= 0).sum()))  # fmt: skip
        rays = self.dual.rays / scale[:, None]
        self.known, self.rays = Listed(self.dual.rays), rays
        self.loading = rays @ self.rows
        self.constant, self.slope = rays @ self.moments, rays @ self.along
        self.spread = self.loading @ self.path.cov
        self.estimated = self.ends(0.0, self.known)

    def ends(self, critical: float, dual: Dual) -> tuple[float, float]:
        """{theta : every moment <= critical standard deviations}; low > high when empty."""
        left = self.moments - critical * self.sd
        return dual.largest(left, self.along), -dual.largest(left, -self.along)

    def confirmed(self, theta: np.ndarray) -> bool:
        """Whether programmes find no vertex that changes the first stage, or the statistic or truncation at theta."""
        good = True
        if self.method == "c-lf":
            low, high = self.ends(self.critical, self.dual)
            known_low, known_high = self.ends(self.critical, self.known)
            slack = 1e-6 * (known_high - known_low)
            self.rejected = not low <= high + slack
            good = self.rejected or (low <= known_low + slack and high >= known_high - slack)
        sigma = self.rows @ self.path.cov @ self.rows.T
        variance, best, eta, lower, upper = self._statistic(theta)
        for k in range(0 if self.rejected else len(theta)):
            left = self.moments - self.along * theta[k] - eta[k] * self.sd  # what exceeds the known largest moment
            more = self.dual.largest(left, self.sd)
            if np.isinf(more):
                raise unsolved(f"a statistic of {more}")
            if more > 1e-7:
                good = False
            elif 1e-12 < eta[k] <= self.critical and variance[k] >= 1e-12:  # else truncation decides nothing
                ray = self.rays[best[k]]
                room = self.sd - sigma @ ray / (ray @ sigma @ ray)
                down, up = self.dual.largest(left, room), self.dual.largest(left, -room)
                if max(down, up) > 1e-4:  # rounding where the moment of this vertex is 0 over 0: ask for a little less
                    left = left - 1e-6 * self.sd
                    down, up = self.dual.largest(left, room), self.dual.largest(left, -room)
                if max(down, up) > 1e-4:
                    raise unsolved(f"truncation points {down:.4g} above and {up:.4g} below the statistic they surround")
                for end, known in ((down, lower[k] - eta[k]), (up, eta[k] - upper[k])):
                    good = good and bool(np.isneginf(end) or end <= known + 1e-6 * max(1.0, abs(end)))
        return bool(good)

    def first_stage(self) -> tuple[float, float]:
        """Values outside are rejected at once; for the conditional test, only where to start looking."""
        if self.method == "c-lf":
            return (np.inf, -np.inf) if self.rejected else self.ends(self.critical, self.known)
        if self.first is not None:
            centre = float(self.first.weights @ self.path.estimate)
            return centre - self.first.half, centre + self.first.half
        for critical in TRIED:
            low, high = self.ends(critical, self.known)
            if low < high and np.isfinite([low, high]).all():
                return low, high
        return np.inf, -np.inf

    def reject(self, theta: np.ndarray) -> np.ndarray:
        """(g,) bool."""
        step = max(1, 2_000_000 // len(self.constant))
        return np.concatenate([self._reject(theta[k : k + step]) for k in range(0, len(theta), step)])

    def _reject(self, theta: np.ndarray) -> np.ndarray:
        variance, best, eta, low, high = self._statistic(theta)
        certain = variance < 1e-12
        high = np.minimum(high, self.critical)
        if self.first is not None:
            low, high = self._inside_first(theta, best, eta, variance, certain, low, high)
        sd = np.sqrt(np.where(certain, 1.0, variance))
        p_value = truncated_tail(eta / sd, low / sd, high / sd)
        return np.where(certain, eta > 1e-9, (eta > 1e-12) & (p_value < self.size)) | (eta > self.critical)

    def _statistic(self, theta: np.ndarray) -> tuple[np.ndarray, ...]:
        """Variance, number and value of the largest moment, and the values between which it stays the largest."""
        moments = self.constant - np.outer(theta, self.slope)
        best = moments.argmax(axis=1)
        eta = moments[np.arange(len(theta)), best]
        vertex, back = np.unique(best, return_inverse=True)
        spread = self.spread[vertex] @ self.loading.T
        variance = spread[np.arange(len(vertex)), vertex][back]
        ratio = spread[back] / np.where(variance < 1e-12, 1.0, variance)[:, None]
        # the optimal vertex stays optimal for these values of its moment, given what is independent of it
        room = 1 - ratio
        limit = np.divide(moments - ratio * eta[:, None], room, where=np.abs(room) > 1e-9, out=np.zeros_like(room))
        low = np.where(room > 1e-9, limit, -np.inf).max(axis=1)
        high = np.where(room < -1e-9, limit, np.inf).min(axis=1)
        return variance, best, eta, low, high

    def _inside_first(self, theta, best, eta, variance, certain, low, high):
        """Truncation of the optimal moment by the first stage of the FLCI hybrid having accepted."""
        assert self.first is not None
        centre = self.first.weights @ self.path.estimate
        along = self.spread[best] @ self.first.weights / np.where(certain, 1.0, variance)
        ends = np.stack([theta - self.first.half, theta + self.first.half]) - (centre - along * eta)
        moves = np.abs(along) > 1e-12
        bound = np.sort(np.divide(ends, along, where=moves, out=np.zeros_like(ends)), axis=0)
        return np.where(moves, np.maximum(low, bound[0]), low), np.where(moves, np.minimum(high, bound[1]), high)

    def edge(self, outside: float, inside: float) -> tuple[float, float]:
        """A rejected and an accepted neighbour between a rejected and an accepted value, at 1e-3 of their distance."""
        for _ in range(2):
            grid = np.linspace(outside, inside, 33)
            k = int(np.argmax(~self.reject(grid)))
            outside, inside = grid[max(k - 1, 0)], grid[k]
        return float(outside), float(inside)


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
