"""What the deviation from parallel trends may look like: polyhedra over event times (Rambachan & Roth 2023)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from ...errors import EstimationError

Sign = Literal["positive", "negative"]
Monotone = Literal["increasing", "decreasing"]
Bound = Literal["parallel trends", "linear trend"]


@dataclass(frozen=True, kw_only=True)
class EventPath:
    """Estimates by event time from one base.

    times : (k,) event times, increasing. estimate : (k,), 0 at the base. cov : (k, k), zeros at the base.
    base : the base event time, or (first, last) of a base window. first_post : first event time with an effect.
    """

    times: np.ndarray
    estimate: np.ndarray
    cov: np.ndarray
    base: int | tuple[int, int]
    first_post: int = 0

    @property
    def post(self) -> np.ndarray:
        """(k,) bool: event times that may carry an effect."""
        return self.times >= self.first_post

    @property
    def at_base(self) -> np.ndarray:
        """(k,) bool: the base event time; none for a window, whose event times have estimates of their own."""
        return self.times == self.base if isinstance(self.base, int) else np.zeros(len(self.times), bool)

    def without(self, times: Sequence[int]) -> EventPath:
        """The same path with these event times unknown: nothing is assumed about the deviation there."""
        keep = ~np.isin(self.times, list(times))
        return replace(self, times=self.times[keep], estimate=self.estimate[keep], cov=self.cov[np.ix_(keep, keep)])


@dataclass(frozen=True, kw_only=True)
class Piece:
    """One polyhedron {d : rows d <= bound} of deviations d by event time."""

    rows: np.ndarray
    bound: np.ndarray


def event_path(
    estimate: Sequence[float] | np.ndarray, cov: np.ndarray, event_times: Sequence[int] | np.ndarray,
    base: int | tuple[int, int], *, first_post: int = 0,
) -> EventPath:  # fmt: skip
    """Path from plain arrays; the base event time (effect 0, no error) is added where it is missing.

    Parameters
    ----------
    estimate, cov, event_times : (k,), (k, k), (k,), one unit of the outcome throughout.
    base : event time at which the deviation is 0, anywhere before `first_post`; a window (first, last) is averaged, and
        its event times are among the estimates.
    """
    times, values = np.asarray(event_times, int), np.asarray(estimate, float)
    cov = np.asarray(cov, float)
    k = len(times)
    if values.shape != (k,) or cov.shape != (k, k):
        raise EstimationError("as many estimates and rows of covariance as event times",
                              f"{values.shape}, {cov.shape} and {k} event times", "drop the rest")  # fmt: skip
    if len(set(times.tolist())) < k:
        raise EstimationError("each event time once", "repeated event times", "aggregate first", count=k)
    if not (np.isfinite(values).all() and np.isfinite(cov).all()):
        raise EstimationError("finite estimates and covariance", "missing or infinite values", "leave those out",
                              keys=times[~np.isfinite(values)].tolist())  # fmt: skip
    if isinstance(base, int) and base not in times:
        times, values = np.append(times, base), np.append(values, 0.0)
        cov = np.pad(cov, (0, 1))
    order = np.argsort(times)
    times, values, cov = times[order], values[order], cov[np.ix_(order, order)]
    at_base = times == base if isinstance(base, int) else np.zeros(len(times), bool)
    variance = np.diag(cov)
    if (variance[~at_base] <= 0).any():
        raise EstimationError("a variance at every event time but the base", "none", "name the base, or drop those",
                              keys=times[~at_base & (variance <= 0)].tolist())  # fmt: skip
    dust = 1e-12 * variance.max(initial=0.0)  # what is left of 0 after matrix products
    if at_base.any() and (values[at_base] ** 2 > dust or variance[at_base] > dust):
        raise EstimationError("effect 0 without error at the base", f"{values[at_base][0]:.4g}",
                              "give estimates measured from the base", keys=[base])  # fmt: skip
    values, cov = np.where(at_base, 0.0, values), np.where(at_base | at_base[:, None], 0.0, cov)
    last = base if isinstance(base, int) else base[1]
    if last >= first_post or not (times >= first_post).any():
        raise EstimationError(f"a base before event time {first_post} and effects from there on",
                              f"base {base}, event times {times[0]} to {times[-1]}", "check both")  # fmt: skip
    return EventPath(times=times, estimate=values, cov=cov, base=base, first_post=first_post)


def whole_numbers(values: Any, name: str) -> tuple[int, ...]:
    """Event times one by one: a 2.5 that became 2, or a text read letter by letter, would name another period."""
    found = None if isinstance(values, (str, bytes)) or not isinstance(values, Iterable) else list(values)
    if found is None or not all(map(is_whole, found)):
        raise EstimationError(f"{name} as a sequence of whole event times", repr(values), "write for example (-3, -2)")
    return tuple(int(t) for t in found)


def is_whole(value: Any) -> bool:
    """A Python or numpy integer, and no bool."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def slopes(times: np.ndarray) -> np.ndarray:
    """(k - 1, k): change per period between neighbouring event times."""
    gap = np.diff(times).astype(float)
    out = np.zeros((len(gap), len(times)))
    at = np.arange(len(gap))
    out[at, at], out[at, at + 1] = -1 / gap, 1 / gap
    return out


def bends(times: np.ndarray) -> np.ndarray:
    """(k - 2, k): change of slope per period; with gaps, what unit second differences <= M imply is still <= M."""
    gap = np.diff(times).astype(float)
    return np.diff(slopes(times), axis=0) / ((gap[1:] + gap[:-1]) / 2)[:, None]


def relative_pieces(
    path: EventPath, mbar: float, pre_periods: Sequence[int], *, bound: Bound, bias: Sign | None,
    monotone: Monotone | None,
) -> list[Piece]:  # fmt: skip
    """Delta^RM(Mbar), or Delta^SDRM: a union of polyhedra, one for each pre-step and sign that may be the largest."""
    change = slopes(path.times) if bound == "parallel trends" else bends(path.times)
    touched = change != 0
    after = (touched & path.post).any(axis=1)
    named = np.isin(path.times, list(pre_periods)) | path.at_base
    before = ~after & (~touched | named).all(axis=1)
    if not before.any():
        need = "two neighbouring" if bound == "parallel trends" else "three neighbouring"
        raise EstimationError(
            f"{need} pre-periods (the base counts) to set Mbar",
            f"pre_periods {sorted(pre_periods)}, base {path.base}, event times {path.times[~path.post].tolist()}",
            "name more pre-periods, or estimate earlier ones",
        )  # fmt: skip
    shape = _shape(path, bias, monotone)
    later = change[after]
    out = []
    for largest in (*change[before], *-change[before]):
        rows = np.vstack([later - mbar * largest, -later - mbar * largest, shape])
        out.append(Piece(rows=rows, bound=np.zeros(len(rows))))
    return out


def smooth_piece(path: EventPath, m: float, *, bias: Sign | None, monotone: Monotone | None) -> Piece:
    """Delta^SD(M): slopes change by at most M a period; restrictions that touch event times after treatment."""
    if (~path.post).sum() < 2:
        raise EstimationError("at least one pre-period besides the base", f"event times {path.times.tolist()}",
                              "estimate earlier event times: without them a trend cannot be extended")  # fmt: skip
    bend = bends(path.times)
    later = bend[((bend != 0) & path.post).any(axis=1)]
    shape = _shape(path, bias, monotone)
    return Piece(rows=np.vstack([later, -later, shape]), bound=np.r_[np.full(2 * len(later), m), np.zeros(len(shape))])


def _shape(path: EventPath, bias: Sign | None, monotone: Monotone | None) -> np.ndarray:
    """(r, k) rows <= 0: sign of the deviation after treatment, direction of its steps into and after treatment."""
    out = np.zeros((0, len(path.times)))
    if bias is not None:
        out = np.vstack([out, (-1 if bias == "positive" else 1) * np.eye(len(path.times))[path.post]])
    if monotone is not None:
        step = slopes(path.times)
        after = ((step != 0) & path.post).any(axis=1)
        out = np.vstack([out, (-1 if monotone == "increasing" else 1) * step[after]])
    return out
