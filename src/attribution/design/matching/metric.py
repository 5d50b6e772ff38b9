"""Distances of several covariates at once: Mahalanobis, robust (rank) Mahalanobis, scaled Euclidean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from ...errors import DesignError
from ..table import encode

VectorDistance = Literal["mahalanobis", "mahalanobis_total", "robust_mahalanobis", "scaled_euclidean"]
VECTOR_DISTANCES = ("mahalanobis", "mahalanobis_total", "robust_mahalanobis", "scaled_euclidean")
_FEW = 12  # values up to which a numeric covariate counts as categories
_BLOCKS = 4096  # combinations of categories kept apart; beyond, the search gains nothing from them


@dataclass(frozen=True, kw_only=True)
class Space:
    """Points whose squared distance is |centre_i - centre_j|^2 + |inner_i - inner_j|^2.

    centres : (b, c) one point a combination of categories; block : (n,) which one; inner : (n, m) the rest, m >= 1.
    Categories stand apart because a search tree splits numeric coordinates well and 0/1 columns badly.
    """

    centres: np.ndarray
    block: np.ndarray
    inner: np.ndarray

    def points(self) -> np.ndarray:
        """(n, c + m) the points, categories first."""
        return np.hstack([self.centres[self.block], self.inner])

    def squared(self, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        """Squared distances of row positions i and j (broadcast); the same for the same two points, wherever."""
        apart = self.centres[self.block[i]] - self.centres[self.block[j]]
        inner = self.inner[i] - self.inner[j]
        return np.einsum("...k,...k->...", apart, apart) + np.einsum("...k,...k->...", inner, inner)


def line(values: np.ndarray) -> Space:
    """The space of one number: its distance in standard deviations (n - 1)."""
    sd = float(np.std(values, ddof=1))
    inner = (values / (sd if sd > 0 else 1.0))[:, None]
    return Space(centres=np.zeros((1, 1)), block=np.zeros(len(values), np.int64), inner=inner)


GRID = 40  # binary digits below the SD
EVEN = 2.5 * 2.0**-GRID  # SDs: distances that differ by no more are equal, as the score and both ends were rounded


def on_grid(score: np.ndarray) -> np.ndarray:
    """(n,) scores on a grid of about 1e-12 SD, a power of two: distances are exact, and ties are ties.

    Otherwise the last digit of a fitted number would decide between units that are equally near, not the key.
    """
    sd = float(np.std(score))
    if not sd > 0:
        return score
    step = 2.0 ** (np.floor(np.log2(sd)) - GRID)
    return np.round(score / step) * step


def space(
    units: pd.DataFrame, covariates: Sequence[str], treated: np.ndarray, distance: VectorDistance,
    covariate_weights: Mapping[str, float] | None = None,
) -> Space:  # fmt: skip
    """Covariates as points of the `distance`.

    "mahalanobis": covariance pooled within the arms (Rosenbaum & Rubin 1985); "mahalanobis_total": covariance of all
    units (Abadie & Imbens 2006); "robust_mahalanobis": ranks, with the covariance rescaled so that ties do not make a
    covariate heavier (Rosenbaum 2010, section 8.3); "scaled_euclidean": each covariate over its SD, times the root of
    its weight. Categories count as one 0/1 column a level (Mahalanobis: whichever level is left out, the same).
    """
    base = distance in ("mahalanobis", "mahalanobis_total")
    x, names, origins = encode(units, covariates, drop_base=base)
    if not names:
        raise DesignError("at least one covariate", "none", "name the covariates that the distance is made of")
    flat = x.std(axis=0) <= 1e-12 * np.maximum(1.0, np.abs(x.mean(axis=0)))
    if flat.any():
        raise DesignError("covariates that vary", "a constant covariate", "leave it out of the design",
                          column=origins[int(np.flatnonzero(flat)[0])])  # fmt: skip
    if distance == "robust_mahalanobis":
        x = pd.DataFrame(x).rank().to_numpy()
    weights = _weights(covariate_weights, covariates, origins, distance)
    metric = _metric(x, treated, distance, weights, names, origins)
    few, block, first = _blocks(units, covariates, origins, weights)
    return _split(x, metric, few, block, first)


def _weights(weights, covariates, origins, distance) -> np.ndarray:
    if weights is None:
        return np.ones(len(origins))
    if distance != "scaled_euclidean":
        raise DesignError('covariate_weights with distance "scaled_euclidean"', f"{distance!r}",
                          "choose that distance, or give no weights")  # fmt: skip
    strange = sorted(set(weights) - set(covariates))
    given = np.array([float(weights.get(name, 1.0)) for name in origins])
    if strange or not (np.isfinite(given).all() and (given >= 0).all() and (given > 0).any()):
        raise DesignError(
            "a weight >= 0 for covariates of the design, one of them positive",
            "others" if strange else f"{dict(weights)}", "correct covariate_weights", keys=strange,
        )  # fmt: skip
    return given


def _metric(x, treated, distance, weights, names, origins) -> np.ndarray:
    """(k, k) matrix W with squared distance (x - y)' W (x - y)."""
    n = len(x)
    if distance == "scaled_euclidean":
        return np.diag(weights / x.var(axis=0, ddof=1))
    if distance == "mahalanobis":
        centred = np.where(treated[:, None], x - x[treated].mean(axis=0), x - x[~treated].mean(axis=0))
        covariance = centred.T @ centred / (n - 2)
    else:
        centred = x - x.mean(axis=0)
        covariance = centred.T @ centred / (n - 1)
    sd = np.sqrt(np.diag(covariance))
    if distance == "robust_mahalanobis":
        untied = np.sqrt((n**2 + n) / 12)  # SD (n - 1) of the ranks 1 .. n
        correlation = covariance / np.outer(sd, sd)
        return np.linalg.pinv(correlation, rcond=1e-10, hermitian=True) / untied**2
    if (sd <= 1e-12 * x.std(axis=0)).any():
        raise DesignError("covariates that vary within the arms", "a covariate that is fixed by treatment",
                          "leave it out of the design", column=origins[int(np.argmin(sd))])  # fmt: skip
    correlation = covariance / np.outer(sd, sd)
    values, vectors = np.linalg.eigh(correlation)
    if values[0] < 1e-9:
        tied = [names[j] for j in np.flatnonzero(np.abs(vectors[:, 0]) > 1e-3)]
        more = f" and {len(tied) - 5} more" if len(tied) > 5 else ""
        raise DesignError("covariates that are not combinations of each other",
                          f"{', '.join(tied[:5])}{more} fix each other",
                          "leave one of them out")  # fmt: skip
    return np.linalg.inv(correlation) / np.outer(sd, sd)


def _blocks(units, covariates, origins, weights) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which columns are categories, the (n,) combination of each unit, and one unit of every combination."""
    n = len(units)
    chosen: list[str] = []
    code = np.zeros(n, np.int64)
    sizes = []
    for name in covariates:
        series = units[name]
        kind = pd.api.types.is_numeric_dtype(series.dtype) and not pd.api.types.is_bool_dtype(series.dtype)
        if kind and len(pd.unique(series.iloc[: 20 * _FEW])) > _FEW:
            continue
        codes, levels = pd.factorize(series)
        if not kind or len(levels) <= _FEW:
            sizes.append((len(levels), name, codes))
    for size, name, codes in sorted(sizes, key=lambda one: one[0]):
        trial, found = pd.factorize(code * size + codes)
        if len(found) > min(_BLOCKS, max(64, n // 100)):
            break
        chosen, code = [*chosen, name], trial
    first = np.empty(int(code.max()) + 1, np.int64)
    first[code[::-1]] = np.arange(n)[::-1]
    return np.array([name in chosen for name in origins]), code, first


def _split(x, metric, few, block, first) -> Space:
    """Complete the square: the numeric coordinates carry their cross terms with the categories."""
    c, m = np.flatnonzero(few), np.flatnonzero(~few)
    inner, rest = np.zeros((len(x), 1)), metric[np.ix_(c, c)]
    live = m[np.diag(metric)[m] > 0] if len(m) else m  # a weight of zero leaves a covariate out
    if len(live):
        core, cross = metric[np.ix_(live, live)], metric[np.ix_(c, live)]
        root, shift = _root(core, cross.T)
        # einsum adds each row alone, unlike BLAS: equal units are equal points, whatever their neighbours
        number = x[:, live] - x[:, live].mean(axis=0)
        if len(c):
            number = number + np.einsum("bc,mc->bm", x[np.ix_(first, c)], shift)[block]
        inner = np.ascontiguousarray(np.einsum("nm,mk->nk", number, root))
        rest = rest - cross @ shift
    if not len(c):
        return Space(centres=np.zeros((len(first), 1)), block=block, inner=inner)
    values, vectors = np.linalg.eigh(rest)
    root = vectors * np.sqrt(np.clip(values, 0.0, None))
    return Space(centres=np.einsum("bc,ck->bk", x[np.ix_(first, c)], root), block=block, inner=inner)


def _root(core: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """R with R R' = core, and core^-1 right; by the pseudo-inverse where there is no other (ranks of every level)."""
    unit = np.sqrt(np.diag(core))
    values, vectors = np.linalg.eigh(core / np.outer(unit, unit))
    live = values > 1e-10
    if live.all():
        return np.linalg.cholesky(core), np.linalg.solve(core, right)
    vectors = vectors[:, live]
    return unit[:, None] * vectors * np.sqrt(values[live]), (
        (vectors / values[live]) @ vectors.T @ (right / unit[:, None]) / unit[:, None]
    )
