"""The figure of deciles: bars for bounds, the caption that says what deciles are, one place at a time."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from test_plots import inside, said

import attribution as at
from attribution.errors import EstimationError
from attribution.report import plots

OPTIONS = {"comparison": "never_treated", "base_period": -1, "draws": 100}


@pytest.fixture(scope="module")
def panel() -> at.Panel:
    """Four in ten without income at first, two in ten later; treatment adds 400 to all."""
    r = np.random.default_rng(1)
    n = 400
    g = np.where(np.arange(n) < 160, 2.0, np.nan)
    rows = []
    for t in (1, 2, 3):
        y = np.maximum(0, r.normal(300 if t == 1 else 1_000, 1_200, n)).round(2)
        rows.append(pd.DataFrame({"u": range(n), "t": t, "g": g, "y": y + 400 * ((t >= 2) & (g == 2))}))
    return at.Panel(pd.concat(rows), unit="u", period="t", cohort="g", outcome="y")


def test_it_draws_bounds_as_bars_and_says_what_deciles_are(panel, tmp_path):
    unit = "EUR of 2024 a quarter, equivalised (OECD-modified), not winsorised"
    result = at.changes_in_changes(panel, by="overall", unit=unit, **OPTIONS)
    figure = plots.deciles(result)
    inside(figure)
    said(figure, "Effects on deciles, not deciles of effects", "Bars: bounds", "160 treated", "mean", "90%", unit)
    bars = [patch for patch in figure.axes[0].patches if patch.get_gid() == "bounds"]
    assert len(bars) == result.at_atom[1:].sum() > 0
    one, two = (plots.save(plots.deciles(result), tmp_path / name) for name in ("a", "b"))
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(one, two, strict=True))


def test_one_place_at_a_time_and_shares_in_points(panel):
    result = at.changes_in_changes(panel, by="event_time", unit="share", **OPTIONS)
    with pytest.raises(EstimationError, match="one row a quantile"):
        plots.deciles(result)
    figure = plots.deciles(result.at(event_time=1), footnote="Simulated.")
    inside(figure)
    said(figure, "percentage points", "Simulated.")
    with pytest.raises(EstimationError, match="rows at"):
        result.at(event_time=7)
    with pytest.raises(EstimationError, match="labels of this result"):
        result.at(tier=1)


def test_quantiles_inside_an_atom_are_hollow():
    zeros = [0.0] * 40
    y = [*zeros, *range(1, 41)] * 2
    frame = pd.DataFrame({"u": [*range(160)] * 2, "t": [1] * 160 + [2] * 160, "g": ([2.0] * 80 + [np.nan] * 80) * 2,
                          "y": y * 2})  # fmt: skip
    panel = at.Panel(frame, unit="u", period="t", cohort="g", outcome="y")
    figure = plots.deciles(at.changes_in_changes(panel, by="overall", quantiles=(0.1, 0.9), **OPTIONS))
    said(figure, "Hollow: with and without treatment inside an atom")
