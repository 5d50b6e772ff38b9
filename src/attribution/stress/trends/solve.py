"""From estimates by event time to confidence sets: the entry for plain arrays, and the breakdown value."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import get_args

import numpy as np

from ...errors import EstimationError, check_level
from .flci import flci
from .restrictions import Bound, EventPath, Monotone, Sign, event_path, relative_pieces, smooth_piece, whole_numbers
from .sets import ConfidenceSet, Inverter, Method

Solver = Callable[[float], ConfidenceSet]


def relative_magnitudes_sets(
    estimate: np.ndarray, cov: np.ndarray, event_times: Sequence[int], base: int | tuple[int, int], *,
    weights: Mapping[int, float], pre_periods: Sequence[int], mbar: Sequence[float], bound: Bound = "parallel trends",
    bias: Sign | None = None, monotone: Monotone | None = None, method: Method = "c-lf", level: float = 0.95,
) -> list[ConfidenceSet]:  # fmt: skip
    """One confidence set of sum_t weights_t effect_t for each Mbar; see `relative_magnitudes` and `event_path`."""
    path, named = event_path(estimate, cov, event_times, base), whole_numbers(pre_periods, "pre_periods")
    solve = relative_solver(path, weight_vector(path, weights), pre_periods=named, bound=bound, bias=bias,
                            monotone=monotone, method=method, level=level)  # fmt: skip
    return [solve(size) for size in sizes(mbar, "mbar")]


def smoothness_sets(
    estimate: np.ndarray, cov: np.ndarray, event_times: Sequence[int], base: int | tuple[int, int], *,
    weights: Mapping[int, float], m: Sequence[float], bias: Sign | None = None, monotone: Monotone | None = None,
    method: Method = "flci", level: float = 0.95,
) -> list[ConfidenceSet]:  # fmt: skip
    """One confidence set of sum_t weights_t effect_t for each M; see `smoothness` and `event_path`."""
    path = event_path(estimate, cov, event_times, base)
    solve = smooth_solver(path, weight_vector(path, weights), bias=bias, monotone=monotone, method=method, level=level)
    return [solve(size) for size in sizes(m, "m")]


def relative_solver(
    path: EventPath, weights: np.ndarray, *, pre_periods: Sequence[int], bound: Bound, bias: Sign | None,
    monotone: Monotone | None, method: Method, level: float,
) -> Solver:  # fmt: skip
    """Mbar -> confidence set."""
    _check(level, bias=(bias, Sign), monotone=(monotone, Monotone), bound=(bound, Bound))
    if method not in ("c-lf", "conditional"):
        raise EstimationError('method "c-lf" or "conditional" for relative magnitudes', repr(method),
                              "choose one of these: no interval of fixed length has coverage here")  # fmt: skip
    _known(path, pre_periods)
    inverter = Inverter(path, weights, lambda size: relative_pieces(
        path, size, pre_periods, bound=bound, bias=bias, monotone=monotone))  # fmt: skip
    return lambda size: inverter.invert(size, level, method)


def smooth_solver(
    path: EventPath, weights: np.ndarray, *, bias: Sign | None, monotone: Monotone | None, method: Method, level: float
) -> Solver:
    """M -> confidence set."""
    _check(level, bias=(bias, Sign), monotone=(monotone, Monotone), method=(method, Method))
    if method == "flci" and (bias is not None or monotone is not None):
        raise EstimationError('method "c-lf", "c-f" or "conditional" with a sign or monotonicity restriction', '"flci"',
                              "an interval of fixed length gains nothing from such a restriction")  # fmt: skip

    def pieces(size: float):
        return [smooth_piece(path, size, bias=bias, monotone=monotone)]

    if method == "flci":
        pieces(0.0)  # the same refusals

        def fixed_length(size: float) -> ConfidenceSet:
            best = flci(path, weights, size, level)
            centre = float(best.weights @ path.estimate)
            return ConfidenceSet(((centre - best.half, centre + best.half),))

        return fixed_length
    inverter = Inverter(path, weights, pieces)
    if method == "c-f":  # a tenth of the size goes to the first stage
        return lambda size: inverter.invert(size, level, method, flci(path, weights, size, 1 - (1 - level) / 10))
    return lambda size: inverter.invert(size, level, method)


def weight_vector(path: EventPath, weights: Mapping[int, float]) -> np.ndarray:
    """(k,) weights on the event times of the path."""
    absent = [t for t in weights if t not in path.times[path.post]]
    if absent or not any(weights.values()):
        raise EstimationError(
            f"weights on estimated event times from {path.first_post} on", "none of them" if absent else "no weight",
            f"choose among {path.times[path.post].tolist()}", keys=absent,
        )  # fmt: skip
    return np.array([float(weights.get(int(t), 0.0)) for t in path.times])


def sizes(values: Sequence[float] | float, name: str) -> list[float]:
    """Mbar or M as a list, each finite and >= 0."""
    try:
        out = [float(v) for v in np.asarray(values, float).ravel()]
    except (TypeError, ValueError):
        raise EstimationError(f"{name} as numbers >= 0", repr(values), "give for example 0, 0.5, 1") from None
    bad = [v for v in out if not (np.isfinite(v) and v >= 0)]
    if bad or not out:
        raise EstimationError(f"{name} as numbers >= 0", "none" if not out else "others", "give for example 0, 0.5, 1",
                              keys=bad)  # fmt: skip
    return out


def breakdown(solve: Solver, *, start: float, relative: bool) -> float:
    """Largest Mbar or M whose set excludes zero, by bisection: 0 if none does, inf if the set never reaches zero.

    start : first size tried, doubled until 4,096 times as large. relative : stop at half a per cent instead of 0.005.
    """
    if not solve(0.0).excludes_zero:
        return 0.0
    low, high = 0.0, start
    for _ in range(13):
        if not solve(high).excludes_zero:
            break
        low, high = high, 2 * high
    else:
        return np.inf
    while high - low > (0.005 * high if relative else 0.005) and high > 1e-4 * start:
        middle = (low + high) / 2
        low, high = (middle, high) if solve(middle).excludes_zero else (low, middle)
    return low


def _known(path: EventPath, pre_periods: Sequence[int]) -> None:
    before = [int(t) for t in path.times[~path.post]]
    absent = [t for t in pre_periods if t not in before and t != path.base]
    if absent or not len(pre_periods):
        raise EstimationError(
            f"pre_periods among the estimated event times before {path.first_post}",
            "others" if absent else "no pre-period", f"choose among {before}", keys=absent,
        )  # fmt: skip


def _check(level: float, **options: tuple) -> None:
    check_level(level)
    for name, (value, kind) in options.items():
        if value is not None and value not in get_args(kind):
            raise EstimationError(f"{name} one of {', '.join(map(repr, get_args(kind)))}", repr(value),
                                  "choose one of these")  # fmt: skip
