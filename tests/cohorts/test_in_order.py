"""A long table in order is read as the wide one it is: the same numbers and refusals as in any other order."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from estimate.did_oracle import panel

from attribution.cohorts.in_order import blocks
from attribution.cohorts.panel import Panel
from attribution.errors import DataError
from attribution.estimate.did import group_time_att

NAMES = {"unit": "unit", "period": "t", "cohort": "g", "outcome": "y"}


@pytest.fixture
def frame() -> pd.DataFrame:
    return panel(n=60, seed=1).sort_values(["unit", "t"], ignore_index=True)


def in_order(made: Panel) -> bool:
    return made.table._in_order is not None


@pytest.mark.parametrize("key", [int, lambda u: f"u{u:05d}", float], ids=["whole", "text", "float"])
@pytest.mark.parametrize("missing", [False, True])
def test_same_units_and_numbers_in_any_order(frame, key, missing):
    frame["unit"] = frame["unit"].map(key)
    if missing:
        frame.loc[5, "y"] = np.nan
    made, mixed = Panel(frame, **NAMES), Panel(frame.sample(frac=1, random_state=2), **NAMES)
    assert in_order(made) and not in_order(mixed)
    np.testing.assert_array_equal(made.units, mixed.units)
    np.testing.assert_array_equal(made.y, mixed.y)
    np.testing.assert_array_equal(made.cohort, mixed.cohort)
    assert made.covariates(["s", "x"]).equals(mixed.covariates(["s", "x"]))
    assert made.tidy().equals(mixed.tidy())
    for covariates in ([], ["s"], ["s", "x"]):
        one, other = (group_time_att(each, comparison="never_treated", base_period="universal", method="dr",
                                     covariates=covariates) for each in (made, mixed))  # fmt: skip
        np.testing.assert_allclose(one.estimate, other.estimate, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(one.std_error, other.std_error, rtol=1e-10, atol=1e-12)


def test_batches_may_part_a_unit(frame):
    columns = frame.rename(columns={"unit": "u", "g": "c", "y": "v0"})[["u", "c", "t", "v0"]]
    rows, periods = pa.Table.from_pandas(columns), np.unique(frame["t"])
    whole, parted = (blocks(lambda _, size=size: rows.to_batches(size), periods) for size in (len(rows), 5))
    assert parted.equals(whole) and len(whole) == frame["unit"].nunique()
    assert blocks(lambda _: rows[:-1].to_batches(5), periods) is None


@pytest.mark.parametrize(
    "spoil",
    [lambda f: f.drop(index=3), lambda f: f.drop(index=len(f) - 1), lambda f: f.iloc[::-1],
     lambda f: f.sort_values(["t", "unit"])],
    ids=["gap", "last row gone", "descending", "by period"],
)  # fmt: skip
def test_any_other_table_is_turned(frame, spoil):
    spoilt = spoil(frame)
    made = Panel(spoilt, **NAMES)
    assert not in_order(made)
    assert made.counts["unit-periods absent"] == len(frame) - len(spoilt)


def test_what_changes_within_a_unit_is_refused_by_name(frame):
    frame["w"], frame["z"] = 1.0, frame["s"]
    frame.loc[frame.index[-1], "z"] = None
    with pytest.raises(DataError, match=r"covariates"):
        Panel(frame, **NAMES).covariates(["z"])
    frame.loc[frame.index[0], "w"] = np.nan
    with pytest.raises(DataError, match=r"one weight"):
        Panel(frame, **NAMES, weight="w")


def test_a_unit_that_comes_twice_is_refused(frame):
    twice = pd.concat([frame, frame[frame["unit"] == frame["unit"].iloc[0]]])
    with pytest.raises(DataError, match="duplicates"):
        Panel(twice, **NAMES)
