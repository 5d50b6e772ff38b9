"""The poverty line: laeken's figures, ties and exact hits by hand, and the share below it in the DiD engine."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import attribution as at
from attribution.errors import DataError, EstimationError


def test_laeken(external):
    """laeken 0.5.2: arpr(eqIncome, weights = rb050), gini."""
    silc = pd.read_parquet(external / "data" / "eusilc_synthetic.parquet")
    line = at.poverty_line(silc["eqIncome"], silc["rb050"])
    assert line.line == pytest.approx(10_859.24, abs=0.005)
    assert 100 * line.rate == pytest.approx(14.44422, abs=5e-6)
    assert 100 * line.gini == pytest.approx(26.48962, abs=5e-6)
    assert line.below(silc["eqIncome"]).sum() == (silc["eqIncome"] < line.line).sum()


@pytest.mark.parametrize(
    ("values", "weights", "median"),
    [([1, 2, 3, 4], None, 2.5), ([4, 3, 1], None, 3), ([1, 2, 3], [1, 1, 2], 2.5), ([1, 2, 3], [1, 1, 3], 3),
     ([5], None, 5), ([1, np.nan, 9, 7], [1, 9, 1, 0], 5)],
)  # fmt: skip
def test_weighted_median_by_hand(values, weights, median):
    assert at.poverty_line(values, weights).median == median


@pytest.mark.parametrize("weight", [1, 0.1, 0.7, 1 / 3, 1e-9, 1e9])
def test_the_unit_of_the_weights_does_not_move_the_median(weight):
    assert at.poverty_line(np.arange(1.0, 11), np.full(10, weight)).median == 5.5
    assert at.poverty_line([1.0, 2, 3], weight * np.array([0.3, 0.1, 0.2])).median == 1.5


@pytest.mark.parametrize("values", [[0.0, 0.0, 5.0], [-3.0, -1.0, 5.0]])
def test_a_median_of_zero_or_less_draws_no_line(values):
    with pytest.raises(DataError, match="median above 0"):
        at.poverty_line(values)


def test_gini_and_rate_by_hand():
    line = at.poverty_line([0.0, 1.0, 1.0, 2.0, np.nan])
    assert line.line == 0.6 and line.rate == 0.25 and line.n == 4 and line.missing == 1
    assert line.gini == pytest.approx(0.375)  # half the mean difference of two persons, 0.75 / 2, over the mean 1
    assert "60% of the weighted median" in line.summary()


@given(st.lists(st.floats(1, 1e5), min_size=3, max_size=30), st.floats(0.1, 10))
def test_line_scales_and_rate_does_not(values, factor):
    one, other = at.poverty_line(values), at.poverty_line(np.array(values) * factor)
    assert other.line == pytest.approx(factor * one.line) and other.gini == pytest.approx(one.gini, abs=1e-9)
    assert 0 <= one.rate <= 0.5


def test_only_equivalised_income_of_the_same_definition():
    frame = pd.DataFrame({"y": [10.0, 20.0, 30.0], "uc": 1.0})
    options = {"income": "y", "currency": "EUR", "frequency": "year", "prices": "constant", "winsorise": None}
    raw = at.household_income(frame, equivalise="none", price_year=2024, **options)
    with pytest.raises(EstimationError, match="equivalised"):
        at.poverty_line(raw)
    one, other = (at.household_income(frame, equivalise="oecd_modified", household_uc="uc", price_year=y, **options)
                  for y in (2023, 2024))  # fmt: skip
    line = at.poverty_line(one)
    assert line.below(one).tolist() == [1.0, 0.0, 0.0]
    with pytest.raises(EstimationError, match="of 2023.*of 2024"):
        line.below(other)


@pytest.mark.parametrize("weights", [[1.0, -1.0], [1.0], [np.nan, 1.0]])
def test_bad_weights_are_refused(weights):
    with pytest.raises(DataError, match="weight"):
        at.poverty_line([1.0, 2.0], weights)


def test_crossing_a_fixed_line_is_an_outcome_of_the_engine():
    """Two of four treated rise above the line, one of four comparison units does: -0.25 by hand."""
    before = [5, 5, 5, 20, 5, 5, 5, 20]
    after = [15, 15, 5, 20, 15, 5, 5, 20]
    frame = pd.DataFrame({"unit": [*range(8)] * 2, "t": [1] * 8 + [2] * 8, "y": [*before, *after],
                          "g": ([2.0] * 4 + [np.nan] * 4) * 2})  # fmt: skip
    line = at.poverty_line([10.0, 20.0, 30.0])
    frame["poor"] = line.below(frame["y"])
    panel = at.Panel(frame, unit="unit", period="t", cohort="g", outcome="poor")
    gt = at.group_time_att(panel, comparison="never_treated", base_period="universal", unit="share")
    effect = at.aggregate(gt, by="overall")
    assert effect.estimate[0] == pytest.approx(-0.25) and effect.std_error[0] > 0
