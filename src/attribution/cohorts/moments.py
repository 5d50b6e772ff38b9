"""The group-by: how many units, the sums of their values, and the sums of the products of their values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import DataError

Fetch = Callable[[str], dict[str, np.ndarray]]


@dataclass(frozen=True, kw_only=True)
class Moments:
    """S groups by `keys`: n (S,) units, sums (S, d) of z and, where asked for, gram (S, d, d) of its products."""

    keys: dict[str, np.ndarray]
    n: np.ndarray
    sums: np.ndarray
    gram: np.ndarray | None

    def where(self, keep: np.ndarray) -> Moments:
        """Only these groups."""
        return Moments(keys={name: values[keep] for name, values in self.keys.items()}, n=self.n[keep],
                       sums=self.sums[keep], gram=None if self.gram is None else self.gram[keep])  # fmt: skip


def group_by(fetch: Fetch, source: str, keys: Sequence[str], z: Sequence[str], *, squares: bool) -> Moments:
    """One pass over `source`; a missing value counts as 0 in sums and products."""
    d = len(z)
    pairs = [(i, j) for i in range(d) for j in range(i + 1)] if squares else []
    columns = [*keys, "count(*) AS n", *(f"coalesce(sum({name}), 0) AS s{i}" for i, name in enumerate(z))]
    columns += [f"coalesce(sum({z[i]} * {z[j]}), 0) AS q{i}_{j}" for i, j in pairs]
    found = fetch(f"SELECT {', '.join(columns)} FROM {source} GROUP BY ALL ORDER BY ALL")
    n = found.pop("n").astype(np.int64)
    sums = np.column_stack([found.pop(f"s{i}").astype(float) for i in range(d)])
    gram = np.empty((len(n), d, d)) if squares else None
    for i, j in pairs:
        assert gram is not None
        gram[:, i, j] = gram[:, j, i] = found.pop(f"q{i}_{j}").astype(float)
    return Moments(keys=found, n=n, sums=sums, gram=gram)


def moment_rows(moments: Moments) -> tuple[np.ndarray, np.ndarray]:
    """(m, 1 + d) rows r of (1, z) with sum r r' = sum (1, z)(1, z)' in every group, and (m,) their group.

    The root of the centred second moment, and the mean.
    """
    assert moments.gram is not None
    refuse_overflow(moments.gram)
    n, d = moments.n.astype(float), moments.sums.shape[1]
    mean = moments.sums / n[:, None]
    centred = moments.gram - n[:, None, None] * mean[:, :, None] * mean[:, None, :]
    own, raw = (np.diagonal(each, axis1=1, axis2=2) for each in (centred, moments.gram))
    scale = np.sqrt(np.where(own > 1e-14 * raw, own, 0.0))  # as correlations, weights do not drown in large outcomes
    inverse = np.divide(1.0, scale, out=np.zeros_like(scale), where=scale > 0)
    size, vectors = np.linalg.eigh(centred * inverse[:, :, None] * inverse[:, None, :])
    size = np.where(size > 1e-15 * d, size, 0.0)
    spread = np.sqrt(size)[:, :, None] * vectors.transpose(0, 2, 1) * scale[:, None, :]
    level = np.sqrt(n)[:, None] * np.column_stack([np.ones(len(n)), mean])
    rows = np.concatenate([np.dstack([np.zeros((len(n), d, 1)), spread]), level[:, None]], axis=1)
    keep = np.column_stack([size > 0, np.ones(len(n), bool)])
    return rows[keep], np.nonzero(keep)[0]


def refuse_overflow(squares: Any) -> None:
    """Raise where squares are too large for a number."""
    if not np.isfinite(squares).all():
        raise DataError("outcomes whose squares are numbers", "values above 1e150", "choose a larger unit")
