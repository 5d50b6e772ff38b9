"""Cells hold the first and second moments of their units exactly, and never more than that."""

from __future__ import annotations

import numpy as np
import pytest
from estimate.did_oracle import panel

from attribution.cohorts.cells import build_cells
from attribution.cohorts.panel import Panel

NAMES = {"unit": "unit", "period": "t", "cohort": "g", "outcome": "y"}


@pytest.mark.parametrize("weight", [None, "w"])
@pytest.mark.parametrize("missing", [0.0, 0.02])
@pytest.mark.parametrize("covariates", [(), ("s",)])
def test_moments_are_exact(weight, missing, covariates):
    made = Panel(panel(n=800, seed=3, missing=missing), **NAMES, weight=weight)
    cells = build_cells(made, covariates)
    assert cells.compressed and cells.n.sum() == 800
    w = np.ones(800) if weight is None else made.weight
    seen = made.observed
    first = made.y[np.arange(800), seen.argmax(axis=1)]
    change = made.y - first[:, None]
    y = np.where(seen, change - np.nanmean(change, axis=0), 0) * w[:, None]
    z = np.column_stack([np.ones(800), w, y])
    rows = np.column_stack([cells.one, cells.w, cells.y])
    np.testing.assert_allclose(rows.T @ rows, z.T @ z, rtol=1e-10, atol=1e-9)
    np.testing.assert_allclose(cells.sums.sum(axis=0), y.sum(axis=0), atol=1e-9)
    assert np.bincount(cells.cell).max() <= z.shape[1] + 1


def test_continuous_covariates_make_cells_of_one():
    cells = build_cells(Panel(panel(n=200, seed=3), **NAMES), ("x",))
    assert not cells.compressed and len(cells.cell) == 200


def test_clusters_need_first_moments_only():
    made = Panel(panel(n=800, seed=3), **NAMES, cluster="k")
    cells = build_cells(made)
    assert cells.one.sum() == 800 and cells.group[-1] + 1 == len(np.unique(made.cluster))
    per_cell = np.bincount(cells.cell, cells.one)
    np.testing.assert_array_equal(per_cell, cells.n)
