"""The panel: any frame in, every flaw named with a count, examples and the mend."""

from __future__ import annotations

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from estimate.did_oracle import panel

from attribution.cohorts.panel import Panel
from attribution.errors import DataError

NAMES = {"unit": "unit", "period": "t", "cohort": "g", "outcome": "y"}


@pytest.fixture
def frame() -> pd.DataFrame:
    return panel(n=40, seed=1)


def as_relation(frame, _):
    return duckdb.connect().from_df(frame)


def as_path(frame, folder):
    frame.to_parquet(folder / "panel.parquet")
    return folder / "panel.parquet"


@pytest.mark.parametrize(
    "turn",
    [
        lambda f, _: f.convert_dtypes(), lambda f, _: pl.from_pandas(f), lambda f, _: pl.from_pandas(f).lazy(),
        lambda f, _: pa.Table.from_pandas(f), as_relation, as_path, lambda f, d: str(as_path(f, d)),
    ],
    ids=["nullable", "polars", "lazy", "arrow", "relation", "path", "text path"],
)  # fmt: skip
def test_any_frame(frame, tmp_path, turn):
    expected = Panel(frame, **NAMES)
    got = Panel(turn(frame, tmp_path), **NAMES)
    np.testing.assert_array_equal(got.y, expected.y)
    np.testing.assert_array_equal(got.cohort, expected.cohort)
    covariates = got.covariates(["s", "x"])
    assert covariates["s"].tolist() == expected.covariates(["s", "x"])["s"].tolist()


def test_summary_counts_what_is_left_out(frame):
    frame = frame.copy()
    frame.loc[3, "y"] = np.nan
    frame.loc[frame["unit"] == 7, "g"] = 1.0
    frame.loc[frame["unit"] == 8, "g"] = 9.0
    frame = frame.drop(index=[11, 12])
    made = Panel(frame, **NAMES)
    counts = made.tidy().set_index("what")["count"]
    assert counts["rows without outcome"] == 1 and counts["unit-periods absent"] == 2
    assert counts["units treated in or before the first period, dropped"] == 1 and counts["units used"] == 39
    assert counts["of these treated after the last period (not yet treated throughout)"] == 1
    assert counts["cohorts of one unit"] == 1
    assert "units used" in made.summary() and 7 not in made.units


def broken(frame, **changes):
    return frame.assign(**changes)


FLAWS = {
    "duplicate": (lambda f: pd.concat([f, f.iloc[[0, 7]]]), "one row per unit and period", 2),
    "switching": (lambda f: broken(f, g=f["g"].where(f["t"] < 3, 4.0)), "one cohort per unit", None),
    "cohort zero": (lambda f: broken(f, g=f["g"].fillna(0)), "never treated = missing", None),
    "cohort inf": (lambda f: broken(f, g=f["g"].fillna(np.inf)), "never treated = missing", None),
    "cohort fraction": (lambda f: broken(f, g=f["g"] + 0.5), "cohorts as integer periods", None),
    "infinite outcome": (lambda f: broken(f, y=f["y"].where(f["unit"] != 3, np.inf)), "finite outcomes", 5),
    "text outcome": (lambda f: broken(f, y=f["y"].astype(str) + "EUR"), "numbers", None),
    "period text": (lambda f: broken(f, t=f["t"] + 0.5), "periods as integers", 200),
    "period date": (lambda f: broken(f, t=pd.Timestamp("2020-01-01")), "required: numbers", None),
    "period missing": (lambda f: broken(f, t=f["t"].where(f["unit"] != 3)), "periods as integers", 5),
    "unit missing": (lambda f: broken(f, unit=f["unit"].where(f["unit"] != 3)), "a key in every row", 5),
    "empty": (lambda f: f.iloc[:0], "at least one row", None),
    "column": (lambda f: f.drop(columns="y"), "no column 'y'", 1),
    "all treated": (lambda f: broken(f, g=1.0), "units untreated in the first period", None),
}


@pytest.mark.parametrize("flaw", FLAWS)
def test_flaws_are_named(frame, flaw):
    spoil, words, count = FLAWS[flaw]
    with pytest.raises(DataError, match="required: .*; found: .*") as error:
        Panel(spoil(frame), **NAMES)
    assert words in str(error.value)
    assert count is None or error.value.count == count
    assert len(error.value.keys) <= 5


@pytest.mark.parametrize(
    "column, values, words",
    [
        ("weight", lambda f: -f["w"], "one weight >= 0 per unit"),
        ("weight", lambda f: f["w"] + f["t"], "one weight >= 0 per unit"),
        ("weight", lambda f: f["w"].where(f["unit"] > 2), "one weight >= 0 per unit"),
        ("cluster", lambda f: f["k"] + f["t"], "one cluster per unit"),
        ("cluster", lambda f: f["k"].where(f["unit"] > 2), "a cluster for every unit"),
        ("risk_set", lambda f: f["t"], "one risk set per unit"),
        ("risk_set", lambda f: f["g"].fillna(3) + 1, "at risk before they are treated"),
    ],
)
def test_flaws_of_unit_columns(frame, column, values, words):
    with pytest.raises(DataError, match=words):
        Panel(frame.assign(extra=values(frame)), **NAMES, **{column: "extra"})


def test_covariates_must_be_known_and_constant(frame):
    with pytest.raises(DataError, match="constant within a unit"):
        Panel(frame.assign(x=frame["x"] + frame["t"]), **NAMES).covariates(["x"])
    with pytest.raises(DataError, match="known for every unit") as error:
        Panel(frame.assign(x=frame["x"].where(frame["unit"] != 5)), **NAMES).covariates(["x"])
    assert error.value.keys == (5,)
