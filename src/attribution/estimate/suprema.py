"""The largest difference between two distribution functions, and how much of it is noise."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from ..results import Design
from .sample import Sample

Side = Literal["low", "high"]
GRID, GRID_IN_STRATA = 400, 120  # points at which the noise is simulated, where there are more values
FEW = 50  # groups, below which the multipliers are drawn for units
MANY = 4_000  # units in an arm, above which the sum over a bin is drawn as a normal


@dataclass(frozen=True, kw_only=True)
class Stratum:
    """Outcomes of one stratum on a common scale: the treated's, less the threshold, and the comparison's.

    rows : (m,) positions in the sample. treated : (m,). code : (m,) rank of the value, ties equal. weight : (m,) sums
    to 1 in each arm. at_least : does an equal value count as gain? grid : codes at which the noise is simulated.
    """

    rows: np.ndarray
    treated: np.ndarray
    code: np.ndarray
    weight: np.ndarray
    at_least: bool
    grid: np.ndarray

    @classmethod
    def of(cls, s: Sample, rows: np.ndarray, threshold: float, *, at_least: bool) -> Stratum:
        t, w = s.treated[rows], s.weight[rows]
        value = s.y[rows] - threshold * t
        order = np.argsort(value, kind="stable")
        tie = 1e-9 * max(float(np.abs(value).max()), 1e-300)  # 0.3 - 0.1 and 0.2 are the same amount
        code = np.empty(len(rows), int)
        code[order] = np.append(0, np.cumsum(np.diff(value[order]) > tie))
        weight = w / np.where(t, w[t].sum(), w[~t].sum())
        most = GRID if len(rows) == len(s.y) else GRID_IN_STRATA
        points = np.arange(code.max() + 1)
        if len(points) > most:
            mass = np.bincount(code, weight).cumsum() / 2
            points = np.unique(np.append(np.searchsorted(mass, (np.arange(most) + 0.5) / most), code.max()))
        return cls(rows=rows, treated=t, code=code, weight=weight, at_least=at_least, grid=points)

    @property
    def step(self) -> float:
        """1 / effective sample size of the smaller arm: the usual step of its distribution function."""
        return max(float((self.weight[self.treated == arm] ** 2).sum()) for arm in (True, False))

    def distribution(self, arm: bool) -> tuple[np.ndarray, np.ndarray]:
        """(F(y), F(y-)) of an arm at every value."""
        own = np.bincount(self.code, self.weight * (self.treated == arm))
        total = own.cumsum()
        return total, total - own

    def gap(self, side: Side) -> np.ndarray:
        """At every value, what its supremum bounds: P(gain) from below, P(no gain) from below."""
        return _combine(self.distribution(True), self.distribution(False), side, self.at_least)

    def bins(self) -> np.ndarray:
        """(m,) bin of each unit: 2j between grid points j - 1 and j, 2j + 1 at point j."""
        place = np.searchsorted(self.grid, self.code)
        return 2 * place + (self.grid[place] == self.code)

    def if_ranks_never_change(self) -> float:
        """Share who gain if the person at every rank stays there."""
        levels = [self.distribution(arm)[0] for arm in (True, False)]
        cuts = np.unique(np.concatenate([np.clip(level, 0, 1).round(12) for level in levels]))
        cuts = cuts[cuts > 0]
        width, middle = np.diff(np.append(0, cuts)), cuts - np.diff(np.append(0, cuts)) / 2
        one, other = (np.searchsorted(level, middle) for level in levels)
        return float(width[(one >= other) if self.at_least else (one > other)].sum())


def _combine(one, other, side: Side, at_least: bool) -> np.ndarray:
    """F0 - F1 or F1 - F0 (one: the treated), with the left limit of the second where that is sharp."""
    first, second = (other, one) if side == "low" else (one, other)
    return first[0] - second[1 if at_least == (side == "low") else 0]


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Draws of what sampling adds to the distributions: for each stratum and arm (treated, comparison) a (draws, 2m)
    array of sums up to the end of each bin."""

    paths: list[tuple[np.ndarray, np.ndarray]]
    n: int

    @classmethod
    def of(cls, design: Design, s: Sample, strata: list[Stratum], draws: int, seed: int) -> Noise:
        """Multipliers of +1 or -1, one an independent group; the second half of the draws mirrors the first.

        Signs, since a sample's distribution function moves in steps of its own size: the supremum of a path with normal
        steps is too small by about a step (0.47 in place of 0.5 at 150 a side).

        A handful of large groups (subclasses) are strata of independent units, not clusters: each unit has its own.
        """
        groups = int(s.group.max()) + 1
        if groups < FEW:
            s, groups = replace(s, group=np.arange(len(s.y))), len(s.y)
        alone = groups == len(s.y) and design.weight_model is None
        half = (draws + 1) // 2
        paths = _independent(strata, half, seed) if alone else _grouped(design, s, strata, half, seed)
        return cls(paths=[(np.vstack([a, -a]), np.vstack([b, -b])) for a, b in paths], n=len(s.y))

    def gap(self, k: int, side: Side, at_least: bool) -> np.ndarray:
        """(draws, m) noise in the gap of stratum k at its grid points."""
        one, other = ((path[:, 1::2], path[:, ::2]) for path in self.paths[k])
        return _combine(one, other, side, at_least)


def _independent(strata: list[Stratum], draws: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Units on their own; of many, the sum of a bin is as good as normal and drawn at once."""
    rng, out = np.random.default_rng(seed), []
    for arms in strata:
        pair = []
        for arm in (True, False):
            bins, w, level, scale, _ = _arm(None, None, arms, arm)
            order = np.lexsort((w, bins))
            order = order[w[order] > 0]
            if len(order) <= MANY:
                step = np.zeros((draws, len(level)))
                filled, first = np.unique(bins[order], return_index=True)
                signs = rng.integers(0, 2, (draws, len(order))) * 2.0 - 1
                step[:, filled] = np.add.reduceat(signs * w[order], first, axis=1)
            else:
                step = rng.standard_normal((draws, len(level))) * np.sqrt(np.bincount(bins, w**2, minlength=len(level)))
            pair.append(_centred(step * scale, level))
        out.append((pair[0], pair[1]))
    return out


def _grouped(design: Design, s: Sample, strata: list[Stratum], draws: int, seed: int) -> list:
    """The same with one multiplier for each pair or stratum of the design, and with weights that were estimated."""
    rng, groups = np.random.default_rng(seed), int(s.group.max()) + 1
    # numbered by their outcomes and not by their rows, so that the order of rows does not matter
    keys = [np.bincount(s.group, v) for v in (s.weight, s.y**2, s.y * s.treated, s.y)]
    number = np.empty(groups, int)
    number[np.lexsort(keys)] = np.arange(groups)
    group, model = number[s.group], design.weight_model
    if model is not None:  # units without weight can still have moved the weights: multipliers of their own
        of_unit = np.arange(groups, groups + len(design.units))
        of_unit[s.rows] = group
    out = []
    for arms in strata:
        width = 2 * len(arms.grid)
        out.append((np.empty((draws, width)), np.empty((draws, width))))
    sides: list[list[tuple]] = [[_arm(design, s, arms, arm) for arm in (True, False)] for arms in strata]
    for row in range(draws):
        xi = rng.integers(0, 2, groups + (len(design.units) if model is not None else 0)) * 2.0 - 1
        moved = xi[of_unit] @ model.influence if model is not None else None
        for k, arms in enumerate(strata):
            pull = xi[group[arms.rows]]
            for a, (bins, w, level, scale, slope) in enumerate(sides[k]):
                step = np.bincount(bins, w * pull, minlength=len(level)) * scale
                if moved is not None:
                    step = step + moved @ slope
                out[k][a][row] = _centred(step[None], level)[0]
    return out


def _arm(design: Design | None, s: Sample | None, arms: Stratum, arm: bool) -> tuple:
    """(bins, weights, F at the end of each bin, small-sample scale, what each weight parameter adds to each bin)."""
    bins, mine = arms.bins(), arms.treated == arm
    w, width = arms.weight * mine, 2 * len(arms.grid)
    effective = 1 / float((w**2).sum())
    slope = None
    if design is not None and s is not None and design.weight_model is not None:
        own = design.weight_model.slopes[s.rows[arms.rows]] * mine[:, None]
        total = s.weight[arms.rows][mine].sum()
        slope = np.stack([np.bincount(bins, column, minlength=width) for column in own.T]) / total
    level = np.bincount(bins, w, minlength=width).cumsum()
    return bins, w, level, np.sqrt(effective / max(effective - 1, 1)), slope


def _centred(step: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Sum of multipliers x weight x (1{in the bins so far} - F)."""
    path = np.cumsum(step, axis=1)
    return path - path[:, -1:] * level


@dataclass(frozen=True, kw_only=True)
class Limit:
    """The average supremum of the gaps as found, and lowered so as to be above the true one with chance 1 - p only."""

    plugin: float
    limits: tuple[float, ...]


def sharp_limit(
    strata: list[Stratum], shares: np.ndarray, noise: Noise, side: Side, chances: tuple[float, ...]
) -> Limit:
    """sum_k share_k sup_y (gap_k(y))+, and the same less the p-quantile of sum_k share_k sup_y (noise_k(y)) and half a
    step of the distribution functions (continuity correction: the supremum moves in steps, its quantile falls between
    two). No more than the median of the noise: a single point, as in a 0/1 outcome, has none and needs no correction.

    The noise is taken over the points that can be the largest given a band around the gap (adaptive inequality
    selection, Chernozhukov, Lee & Rosen 2013, section 4); one of them is "below all values", where the gap is 0 surely.
    """
    gaps = [arms.gap(side) for arms in strata]
    plugin = float(shares @ [max(gap.max(), 0.0) for gap in gaps])
    at = [np.append(gap[arms.grid], 0.0) for gap, arms in zip(gaps, strata, strict=True)]
    drawn = [noise.gap(k, side, arms.at_least) for k, arms in enumerate(strata)]
    drawn = [np.column_stack([paths, np.zeros(len(paths))]) for paths in drawn]
    spread = [paths.std(axis=0) for paths in drawn]
    # in the tails there is next to no noise: a tenth of the largest is a floor to divide by
    floor = [np.maximum(sd, 0.1 * max(sd.max(), 1e-300)) for sd in spread]
    largest = np.max([np.abs(p / f).max(axis=1) for p, f in zip(drawn, floor, strict=True)], axis=0)
    k = float(np.quantile(largest, 1 - 0.1 / np.log(max(noise.n, 3))))
    total = np.zeros(len(largest))
    for share, gap, paths, f in zip(shares, at, drawn, floor, strict=True):
        half = np.append(k * f[:-1], 0.0)
        total += share * paths[:, gap + half >= (gap - half).max()].max(axis=1)
    found = float(shares @ [gap.max() for gap in at])
    median, *noisy = (float(np.quantile(total, p)) for p in (0.5, *chances))
    half_step = min(0.5 * float(shares @ [arms.step for arms in strata]), max(median, 0.0))
    return Limit(plugin=plugin, limits=tuple(max(0.0, found - half_step - quantile) for quantile in noisy))
