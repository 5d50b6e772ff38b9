"""Sums over cells, a block of rows at a time: nothing as long as the data is made that need not be."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

BLOCK = 16_384  # rows whose temporaries stay in the processor's cache

Evaluate = Callable[[np.ndarray], tuple[float, np.ndarray, np.ndarray]]


class CannotEstimate(Exception):
    """This one comparison has no estimate: why, and the columns of x that are to blame."""

    def __init__(self, code: str, columns: np.ndarray | Sequence[int] = ()) -> None:
        self.code, self.columns = code, columns
        super().__init__(code)


def blocks(n: int) -> Iterator[slice]:
    """Slices that cover n rows."""
    return (slice(start, min(start + BLOCK, n)) for start in range(0, n, BLOCK))


def cross(x: np.ndarray, by: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(p, q) sum over rows of by_i x_i y_i'."""
    total = np.zeros((x.shape[1], y.shape[1]))
    for rows in blocks(len(x)):
        total += (x[rows] * by[rows, None]).T @ y[rows]
    return total


def by_column(x: np.ndarray) -> np.ndarray:
    """x stored column by column: scaling the rows of a narrow matrix is several times faster so."""
    return np.asfortranarray(x, dtype=float)


def varying(x: np.ndarray, names: tuple[str, ...]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Intercept and the columns that vary here (a category absent from this comparison says nothing)."""
    keep = np.flatnonzero(np.ptp(x, axis=0) > 1e-12) if len(x) else np.empty(0, int)
    out = np.ones((len(x), 1 + len(keep)), order="F")
    for place, column in enumerate(keep, start=1):
        out[:, place] = x[:, column]
    return out, ("intercept", *(names[column] for column in keep))


def refuse_collinear(gram: np.ndarray, why: str) -> None:
    """Raise, naming the columns that the columns before them already determine (R squared within 1e-10 of one)."""
    size = np.sqrt(np.diag(gram))
    unit = np.where(size > 0, size, 1)
    left = np.abs(np.diag(np.linalg.qr(gram / np.outer(unit, unit), mode="r")))
    bad = np.flatnonzero((left <= 1e-10) | (size == 0))
    if len(bad):
        raise CannotEstimate(why, bad)


def regression_gram(x: np.ndarray, weight: np.ndarray, who: str = "comparison units") -> np.ndarray:
    """(p, p) sum of w x x' over these units, refused where a regression on x has no answer."""
    gram = cross(x, weight, x)
    refuse_collinear(gram, f"collinear covariates among the {who}")
    return gram


def minimise(evaluate: Evaluate, start: np.ndarray, iterations: int = 60) -> tuple[np.ndarray, np.ndarray, bool]:
    """Newton with halving on a convex function given as (value, gradient, Hessian): minimum, last step, converged.

    x has an intercept, so Hessian[0, 0] is the total weight of the squared steps: the step that is taken without
    another look moves the linear predictor by less than 1e-7 (root mean square), and leaves an error of its square.
    """
    at, step = start, np.zeros(len(start))
    value, gradient, hessian = evaluate(at)
    for _ in range(iterations):
        try:
            step = np.linalg.solve(hessian, gradient)
        except np.linalg.LinAlgError:
            return at, step, False
        decrement = gradient @ step
        if not decrement >= 0:
            return at, step, bool(np.abs(gradient).max() <= 1e-9 * hessian[0, 0])
        if decrement <= 1e-14 * hessian[0, 0]:
            return at - step, step, True
        trial = evaluate(at - step)
        while not trial[0] <= value + 1e-9 * abs(value) and np.abs(step).max() > 1e-12:
            step = step / 2
            trial = evaluate(at - step)
        at, gain = at - step, value - trial[0]
        value, gradient, hessian = trial
        if abs(gain) < 1e-14 * (abs(value) + 0.1):
            return at, step, True
    return at, step, False
