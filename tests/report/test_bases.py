"""The base curve: its words and marks, the same bytes twice, what it refuses."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import attribution as at
from attribution.errors import EstimationError
from attribution.results import Effects


def curve(unit: str = "EUR a quarter") -> Effects:
    base = [*range(-8, 0), -6.5]
    labels = pd.DataFrame({"term": [f"base={b}" for b in base], "base": base, "base_low": [*range(-8, 0), -8],
                           "base_high": [*range(-8, 0), -5]})  # fmt: skip
    rng = np.random.default_rng(0)
    return Effects(estimand="ATT at event time 4, by base period", unit=unit, labels=labels,
                   estimate=100 + 50.0 * np.arange(9), scores=rng.normal(0, 5, (60, 9)), n_treated=np.full(9, 202),
                   n_comparison=np.full(9, 598))  # fmt: skip


def words(figure) -> str:
    from matplotlib.text import Text

    figure.canvas.draw()
    return "\n".join(" ".join(text.get_text().split()) for text in figure.findobj(Text) if text.get_text().strip())


def test_it_says_what_it_shows(tmp_path):
    figure = at.plots.base_curve(curve(), dip=(-3, -1), chosen=(-8, -5), period="quarters")
    said = words(figure)
    for text in ("How much does the answer hang on the base period?", "202 treated", "chosen", "dip", "EUR a quarter",
                 "base period, in quarters since date zero"):  # fmt: skip
        assert text in said
    assert any(patch.get_gid() == "dip" for patch in figure.axes[0].patches)
    first = at.plots.save(figure, tmp_path / "one")[0].read_bytes()
    again = at.plots.base_curve(curve(), dip=(-3, -1), chosen=(-8, -5), period="quarters")
    assert first == at.plots.save(again, tmp_path / "two")[0].read_bytes()


def test_missing_estimates_leave_a_gap_and_other_effects_are_refused():
    effects = curve()
    effects.estimate[2] = np.nan
    plain = at.plots.base_curve(effects)
    assert "chosen" not in words(plain)
    with pytest.raises(EstimationError, match=r"at\.base_curve"):
        at.plots.base_curve(Effects(estimand="", unit="", labels=pd.DataFrame({"term": ["a"]}), estimate=np.ones(1),
                                    scores=np.ones((2, 1)), n_treated=np.ones(1), n_comparison=np.ones(1)))  # fmt: skip
