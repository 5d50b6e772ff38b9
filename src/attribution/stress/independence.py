"""Conditional independence held against data: partial correlations that no curve and no outlier can fake."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

_BINS = 10
_SPARE_ROWS = 30


def partial_correlations(
    frame: pd.DataFrame, claims: Sequence[tuple[Sequence[str], Sequence[str], Sequence[str]]], *, group: Any = None
) -> pd.DataFrame:
    """Correlation of what is left of x and of y once z has explained what it can: zero if independent given z.

    Estimator : the generalised covariance measure (Shah & Peters 2020): mean product of the residuals of x and of y,
        over their spread. Numbers enter as ranks. z explains freely: every column as up to ten bins, and as its rank
        within them, added up over the columns.
    Std. errors : heteroscedasticity-robust, summed within `group`, times sqrt(n / (n - k)).
    Edge cases : text and categories are one 0/1 column a level but the first. A column constant given z, and a claim
        with fewer than 30 rows beyond the k regressors, yields no row.

    Parameters
    ----------
    frame : n rows without missing values. claims : (columns of x, columns of y, columns of z). group : (n,) labels.

    Returns
    -------
    One row a claim and pair of columns: claim (position), column_x, column_y, correlation, std_error.
    """
    n = len(frame)
    codes = None if group is None else pd.factorize(np.asarray(group))[0]
    used = dict.fromkeys(c for claim in claims for part in claim for c in part)
    levels = {c: _levels(frame[c]) for c in used}
    features = {c: _features(c, *levels[c]) for c in used}
    fits: dict[tuple[str, ...], tuple[np.ndarray, np.ndarray, int]] = {}
    rows = []
    for number, (left, right, given) in enumerate(claims):
        key = tuple(given)
        if key not in fits:
            fits[key] = _projector([_basis(*levels[c]) for c in key], n)
        basis, inverse, k = fits[key]
        if n - k < _SPARE_ROWS:
            continue
        sides = []
        for side in (left, right):
            names = [name for c in side for name in features[c][0]]
            values = np.column_stack([features[c][1] for c in side])
            rest = values - basis @ (inverse @ (basis.T @ values))
            sides.append((names, values, rest))
        for i, name_x in enumerate(sides[0][0]):
            for j, name_y in enumerate(sides[1][0]):
                found = _correlate(sides[0], i, sides[1], j, codes, n / (n - k))
                if found:
                    rows.append((number, name_x, name_y, *found))
    return pd.DataFrame(rows, columns=["claim", "column_x", "column_y", "correlation", "std_error"])


def _correlate(left, i, right, j, codes, inflate) -> tuple[float, float] | None:
    x, y = left[2][:, i], right[2][:, j]
    xx, yy = float(x @ x), float(y @ y)
    if xx <= 1e-8 * float(np.square(left[1][:, i]).sum()) or yy <= 1e-8 * float(np.square(right[1][:, j]).sum()):
        return None  # fixed by what it is held against
    product = x * y
    mean = product.sum() / len(product)
    spread = product - mean
    if codes is not None:
        spread = np.bincount(codes, weights=spread)
    scale = np.sqrt(xx * yy)
    return float(product.sum() / scale), float(np.sqrt(inflate * (spread @ spread)) / scale)


def _levels(series: pd.Series) -> tuple[np.ndarray, np.ndarray, list[Any], bool]:
    """Codes of the sorted levels, centred ranks in (-1/2, 1/2), the levels, and whether they are ordered numbers."""
    number = pd.api.types.is_numeric_dtype(series.dtype) or pd.api.types.is_bool_dtype(series.dtype)
    codes, levels = pd.factorize(series, sort=True)
    count = np.bincount(codes)
    rank = (np.cumsum(count) - count / 2) / len(series) - 0.5
    return codes, rank[codes], list(levels), number


def _features(name, codes, rank, levels, number) -> tuple[list[str], np.ndarray]:
    if number:
        return [str(name)], rank[:, None]
    dummies = codes[:, None] == np.arange(1, len(levels))
    return [f"{name}_{level}" for level in levels[1:]], dummies - dummies.mean(axis=0)


def _basis(codes, rank, levels, number) -> np.ndarray:
    """What a column may explain: any function of few levels, a straight piece in each of ten bins of many."""
    if not number or len(levels) <= _BINS:
        return (codes[:, None] == np.arange(1, len(levels))).astype(float)
    place = np.minimum(((rank + 0.5) * _BINS).astype(int), _BINS - 1)
    dummies = (place[:, None] == np.arange(_BINS)).astype(float)
    centre = (dummies * rank[:, None]).sum(axis=0) / np.maximum(dummies.sum(axis=0), 1)
    return np.column_stack([dummies[:, 1:], dummies * (rank[:, None] - centre) * _BINS])


def _projector(bases: Sequence[np.ndarray], n: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Regressors with a constant, the pseudo-inverse of their Gram matrix, and their rank."""
    basis = np.column_stack([np.ones(n), *bases])
    gram = basis.T @ basis
    scale = np.sqrt(np.maximum(np.diag(gram), 1e-12))
    inverse = np.linalg.pinv(gram / np.outer(scale, scale), rcond=1e-10, hermitian=True)
    rank = round(float(np.trace(inverse @ (gram / np.outer(scale, scale)))))
    return basis, inverse / np.outer(scale, scale), rank
