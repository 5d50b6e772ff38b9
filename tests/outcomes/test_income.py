"""Household income: every choice stated and counted, the price year never mixed, percent effects refused with zeros."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import attribution as at
from attribution.errors import DataError, EstimationError

OPTIONS = {"income": "income", "currency": "EUR", "frequency": "year", "price_year": 2024, "prices": "constant"}


def define(frame, *, equivalise="none", winsorise=None, **options):
    return at.household_income(frame, equivalise=equivalise, winsorise=winsorise, **{**OPTIONS, **options})


@pytest.fixture
def households() -> pd.DataFrame:
    """Two adults with two children; one person; one without a known household; three aged 14 or more."""
    return pd.DataFrame({"income": [42_000.0, 18_000.0, 20_000.0, 0.0, np.nan], "size": [4, 1, np.nan, 3, 2],
                         "young": [2, 0, 0, 0, 1]}, index=list("abcde"))  # fmt: skip


def test_the_oecd_modified_scale_by_hand(households):
    out = define(households, equivalise="oecd_modified", household_size="size", children_u14="young")
    assert out.values.to_dict() == pytest.approx(
        {"a": 42_000 / 2.1, "b": 18_000, "c": np.nan, "d": 0, "e": np.nan}, nan_ok=True
    )
    counts = out.tidy().set_index("what")["count"].to_dict()
    assert counts == {"rows": 5, "income missing": 1, "household missing": 1, "known": 3, "zero": 1, "negative": 0}
    assert out.unit == "EUR of 2024 a year, equivalised (OECD-modified), not winsorised"
    assert not out.countable and out.positive.tolist()[:2] == [1, 1] and np.isnan(out.positive["c"])
    for words in ("EUR of 2024 a year", "1 + 0.5", "declared so by the caller", "zero: 1 (20.0%)", "income missing: 1"):
        assert words in out.summary()


def test_given_consumption_units_do_the_same(households):
    given_units = households.assign(uc=[2.1, 1, np.nan, 2, 1.3])
    by_units = define(given_units, equivalise="oecd_modified", household_uc="uc")
    by_size = define(households, equivalise="oecd_modified", household_size="size", children_u14="young")
    pd.testing.assert_series_equal(by_units.values, by_size.values)


def test_cents_become_euros_and_the_input_stays(households):
    cents = households.assign(income_cents=households["income"] * 100)
    before = cents.copy()
    out = define(cents, income="income_cents")
    pd.testing.assert_series_equal(out.values, households["income"], check_names=False)
    pd.testing.assert_frame_equal(cents, before)
    assert "cents" in out.summary() and out.countable
    other = define(pl.from_pandas(cents), income="income_cents")
    np.testing.assert_array_equal(other.values, out.values)


@pytest.mark.parametrize(
    ("periods", "frequency"),
    [([2022, 2023, 2024], "year"), (["2022Q4", "2023Q1", "2024Q3"], "quarter"),
     ([2022 * 4 + 3, 2023 * 4, 2024 * 4 + 2], "quarter")],
)  # fmt: skip
def test_prices_by_year(periods, frequency):
    frame = pd.DataFrame({"income": [100.0, 100.0, 100.0], "t": periods})
    out = define(frame, period="t", prices={2022: 100.0, 2023: 105.0, 2024: 110.0}, frequency=frequency)
    assert out.values.tolist() == pytest.approx([110, 110 / 1.05, 100])


QUARTERS = {"2023Q4": 90.0, "2024Q1": 100.0, "2024Q2": 104.0, "2024Q3": 106.0, "2024Q4": 110.0}


@pytest.mark.parametrize(
    "periods",
    [["2023Q4", "2024Q1"], [2023 * 4 + 3, 2024 * 4], pd.PeriodIndex(["2023Q4", "2024Q1"], freq="Q"),
     pd.to_datetime(["2023-11-01", "2024-03-31"])],
    ids=["text", "number", "period", "date"],
)  # fmt: skip
@pytest.mark.parametrize(
    "prices",
    [QUARTERS, pd.Series(QUARTERS), pd.Series(list(QUARTERS.values()), pd.PeriodIndex(QUARTERS, freq="Q"))],
    ids=["mapping", "series", "series by period"],
)
def test_prices_by_period_take_the_mean_of_the_year(periods, prices):
    frame = pd.DataFrame({"income": [100.0, 100.0], "t": periods})
    out = define(frame, period="t", frequency="quarter", prices=prices)
    assert out.values.tolist() == pytest.approx([100 * 105 / 90, 105])


def test_one_quarter_is_not_the_price_year():
    frame = pd.DataFrame({"income": [100.0, 100.0], "t": ["2023Q4", "2024Q1"]})
    part = {"2023Q4": 90.0, "2024Q1": 100.0}
    with pytest.raises(DataError, match="four quarters of 2024"):
        define(frame, period="t", frequency="quarter", prices=part)
    out = define(frame, period="t", frequency="quarter", prices={**part, 2024: 105.0})
    assert out.values.tolist() == pytest.approx([100 * 105 / 90, 105])


def test_a_monthly_index_is_not_taken_for_one_by_quarter():
    frame = pd.DataFrame({"income": [100.0], "t": ["2024Q1"]})
    months = pd.Series(range(90, 102), pd.date_range("2024-01-01", periods=12, freq="MS"))
    with pytest.raises(DataError, match="take their mean"):
        define(frame, period="t", frequency="quarter", prices=months)


def test_years_may_be_text():
    frame = pd.DataFrame({"income": [100.0, 100.0], "t": [2023, 2024]})
    assert define(frame, period="t", prices={"2023": 50.0, "2024": 100.0}).values.tolist() == [200.0, 100.0]
    with pytest.raises(DataError, match="recode the periods"):
        define(frame.assign(t=pd.PeriodIndex(["2023-01", "2024-01"], freq="M")), period="t", prices={2024: 1.0})


def test_years_are_never_mixed_silently():
    frame = pd.DataFrame({"income": [1.0, 2.0], "t": [2023, 2024]})
    with pytest.raises(DataError, match="periods of other years.*2023"):
        define(frame, period="t", prices=None)
    assert define(frame[frame["t"] == 2024], period="t", prices=None).values.tolist() == [2.0]
    with pytest.raises(DataError, match="gaps.*2023"):
        define(frame, period="t", prices={2024: 1.0})
    with pytest.raises(EstimationError, match="column of periods"):
        define(frame, prices=None)


def test_winsorising_is_counted_and_marks_the_unit():
    frame = pd.DataFrame({"income": [*np.arange(-1.0, 98.0), np.nan]})
    out = define(frame, winsorise=(0.02, 0.98))
    counts = out.tidy().set_index("what")["count"]
    assert out.limits == (0.0, 96.0)
    assert counts["raised to 0"] == 1 and counts["lowered to 96"] == 1 and counts["negative"] == 1
    assert out.values.min() == 0 and out.values.max() == 96 and out.values.isna().sum() == 1
    assert "winsorised at quantiles 0.02 and 0.98" in out.unit and not out.countable


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"income": [np.inf, 1.0]}, "infinite"), ({"size": [1.0, 1.0], "young": [1, 0]}, "aged 14"),
     ({"size": [2.0, 2.0], "young": [-1, 0]}, "aged 14"), ({"income": ["a", "b"]}, "numbers"),
     ({"size": [2.5, 2.0]}, "size: required: whole persons"), ({"young": [0, 0.5]}, "young: required: whole persons")],
)  # fmt: skip
def test_impossible_data_are_refused(changes, words):
    frame = pd.DataFrame({"income": [1.0, 2.0], "size": [2.0, 2.0], "young": [0, 0], **changes})
    with pytest.raises(DataError, match=words):
        define(frame, equivalise="oecd_modified", household_size="size", children_u14="young")


@pytest.mark.parametrize(
    ("options", "words"),
    [({"winsorise": (0.9, 0.1)}, "quantiles"), ({"equivalise": "sqrt"}, "equivalise"),
     ({"equivalise": "oecd_modified"}, "household_uc"), ({"prices": "cpi"}, "prices"),
     ({"prices": 1.02}, "mapping"), ({"winsorise": 0.99}, "quantiles"), ({"winsorise": "ab"}, "quantiles")],
)  # fmt: skip
def test_unclear_choices_are_refused(options, words):
    with pytest.raises(EstimationError, match=words):
        define(pd.DataFrame({"income": [1.0]}), **options)


@pytest.mark.parametrize("transform", ["log", "log1p", "asinh"])
def test_percent_by_logs_is_refused_with_zeros(transform):
    with pytest.raises(EstimationError, match="1 zero and 1 negative.*counterfactual mean.*any income"):
        at.log_outcome([0.0, -5.0, 2.0, np.nan], transform=transform)
    known = at.log_outcome([1.0, np.nan, 3.0], transform=transform)
    assert known.notna().tolist() == [True, False, True]


def test_winsorised_zeros_are_zeros_to_a_log():
    out = define(pd.DataFrame({"income": [-1.0, *[0.0] * 2, *range(1, 18)]}), winsorise=(0.2, 0.9))
    assert out.values.min() > 0
    with pytest.raises(EstimationError, match="2 zero and 1 negative"):
        at.log_outcome(out, transform="log")
    assert at.log_outcome(define(pd.DataFrame({"income": [1.0, 2.0]})), transform="log").iloc[0] == 0


def test_a_list_is_no_frame_and_cents_are_cents_in_any_case():
    with pytest.raises(DataError, match="data frame"):
        define([1.0, 2.0])
    assert define(pd.DataFrame({"INCOME_CENTS": [1_250]}), income="INCOME_CENTS").values.tolist() == [12.5]


def test_why_logs_are_refused():
    """Chen & Roth: the same effect on the extensive margin takes any size on log(1 + y) by the unit of y."""
    treated, comparison = np.array([0.0, 100, 100, 100]), np.array([0.0, 0, 100, 100])
    effects = [np.log1p(k * treated).mean() - np.log1p(k * comparison).mean() for k in (1, 100)]
    assert effects[1] - effects[0] == pytest.approx(0.25 * np.log(100), rel=0.01)


@given(st.lists(st.floats(1, 1e6), min_size=2, max_size=20), st.floats(0.5, 2))
def test_deflating_scales_and_winsorising_stays_inside(values, level):
    frame = pd.DataFrame({"income": values, "t": 2023})
    out = define(frame, period="t", prices={2023: level, 2024: 1.0})
    np.testing.assert_allclose(out.values, np.array(values) / level)
    clipped = define(frame, winsorise=(0.1, 0.9))
    assert min(values) <= clipped.values.min() and clipped.values.max() <= max(values)


def test_eu_silc_equivalised_sizes_and_incomes(external):
    silc = pd.read_parquet(external / "data" / "eusilc_synthetic.parquet")
    young = (silc["age"] < 14).groupby(silc["db030"]).transform("sum")
    frame = silc.assign(total=silc["eqIncome"] * silc["eqSS"], young=young)
    out = define(frame, income="total", equivalise="oecd_modified", household_size="hsize", children_u14="young")
    np.testing.assert_allclose(out.values, silc["eqIncome"], rtol=1e-12)
    assert out.tidy().set_index("what").loc["zero", "count"] == 3
