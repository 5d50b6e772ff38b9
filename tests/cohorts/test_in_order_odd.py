"""Odd tables in order: refused, or read, exactly as where the shorter way through order is shut."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from attribution.cohorts import source
from attribution.cohorts.panel import Panel
from attribution.errors import AttributionError

NAMES = {"unit": "unit", "period": "t", "cohort": "g", "outcome": "y"}


def table(n: int = 6, periods: int = 3) -> pd.DataFrame:
    unit, t = np.repeat(np.arange(n), periods), np.tile(np.arange(periods), n)
    g = np.where(unit % 2, np.nan, 1.0 + unit % 4 / 2)
    return pd.DataFrame({"unit": unit, "t": t, "g": g, "y": 10.0 + unit * 1.5 + t**2, "x": unit % 3,
                         "w": 1.0 + unit % 2, "k": unit // 2})  # fmt: skip


def read(frame, **options) -> tuple:
    """What a panel makes of a table, or what it says against it."""
    try:
        made = Panel(frame, **NAMES, **options)
        return (made.counts, made.periods.tolist(), made.units.tolist(), np.nan_to_num(made.y, nan=-1.0).tolist(),
                np.nan_to_num(made.cohort, nan=-1.0).tolist(), made.covariates(["x"]).to_dict("list"))  # fmt: skip
    except AttributionError as error:
        return type(error), str(error)


def both(frame, monkeypatch, **options) -> tuple:
    """Read in order where that can be, and with that way shut."""
    first = read(frame, **options)
    with monkeypatch.context() as shut:
        shut.setattr(source.Source, "in_order", lambda *_: None)
        return first, read(frame, **options)


def at(frame: pd.DataFrame, row: int, **values) -> pd.DataFrame:
    out = frame.astype({name: object for name, value in values.items() if value is None or isinstance(value, str)})
    for name, value in values.items():
        if isinstance(value, float):
            out[name] = out[name].astype(float)
        out.loc[row, name] = value
    return out


ODD = {
    "as it is": lambda f: f,
    "periods swapped in a unit": lambda f: f.iloc[[1, 0, *range(2, len(f))]],
    "a row twice": lambda f: pd.concat([f.iloc[:4], f.iloc[3:]]),
    "a period twice, one absent": lambda f: at(f, 4, t=0),
    "every row twice": lambda f: f.loc[f.index.repeat(2)],
    "one unit": lambda f: f.iloc[:3],
    "one period": lambda f: f[f["t"] == 0],
    "no rows": lambda f: f.iloc[:0],
    "a key missing": lambda f: at(f, 4, unit=np.nan),
    "keys missing at the end": lambda f: f.assign(unit=f["unit"].where(f["unit"] < 5).astype("Int64")),
    "a period missing": lambda f: at(f, 4, t=np.nan),
    "float periods": lambda f: f.astype({"t": float}),
    "half periods": lambda f: f.assign(t=f["t"] / 2),
    "nullable": lambda f: f.convert_dtypes(),
    "nullable, an outcome missing": lambda f: at(f, 4, y=np.nan).convert_dtypes(),
    "nullable cohort, missing": lambda f: f.astype({"g": "Int64"}),
    "cohorts missing in part of a unit": lambda f: at(f, 1, g=np.nan),
    "cohort changes": lambda f: at(f, 1, g=2.0),
    "cohort of 0": lambda f: f.assign(g=f["g"].fillna(0)),
    "cohort of inf": lambda f: f.assign(g=f["g"].fillna(np.inf)),
    "infinite outcome": lambda f: at(f, 4, y=np.inf),
    "a unit without outcomes": lambda f: f.assign(y=f["y"].where(f["unit"] != 2)),
    "no outcome at all": lambda f: f.assign(y=np.nan),
    "whole outcomes": lambda f: f.assign(y=f["y"].astype(int)),
    "text outcome": lambda f: at(f.assign(y=f["y"].astype(str)), 4, y="n/a"),
    "true and false": lambda f: f.assign(y=f["y"] > 12),
    "text keys in the order of numbers": lambda f: f.assign(unit=(f["unit"] + 8).astype(str)),
    "categorical keys": lambda f: f.assign(unit=f["unit"].astype("category")),
    "covariate changes": lambda f: at(f, 4, x=7.0),
    "weight changes": lambda f: at(f, 4, w=7.0),
    "weight missing in part": lambda f: at(f, 4, w=np.nan),
    "cluster changes": lambda f: at(f, 4, k=7.0),
    "huge keys": lambda f: f.assign(unit=f["unit"] + 2**60),
    "a unit cut short, one more at the end": lambda f: pd.concat([f.drop(index=5), f.iloc[-1:].assign(unit=9)]),
    "small numbers": lambda f: f.astype({"t": "int8", "unit": "uint16", "y": "float32"}),
}  # fmt: skip


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
@pytest.mark.parametrize("options", [{}, {"weight": "w", "cluster": "k"}], ids=["plain", "weight and cluster"])
def test_odd_tables_are_read_or_refused_alike(monkeypatch, odd, options):
    ordered, turned = both(odd(table()), monkeypatch, **options)
    assert ordered == turned


@pytest.mark.parametrize("rows", [1, 4, 1_000])
def test_row_groups_of_any_size(tmp_path, monkeypatch, rows):
    path = tmp_path / "long.parquet"
    pq.write_table(pa.Table.from_pandas(table(n=50)), path, row_group_size=rows)
    assert Panel(path, **NAMES).table._in_order is not None
    ordered, turned = both(path, monkeypatch)
    assert ordered == turned == read(table(n=50))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.integers(0, 17), min_size=1, max_size=24), sort=st.booleans(),
    gone=st.lists(st.integers(0, 23), max_size=3),
)  # fmt: skip
def test_any_rows_of_a_table(monkeypatch, rows, sort, gone):
    frame = table().iloc[sorted(rows) if sort else [*range(18), *rows][: len(rows)]].reset_index(drop=True)
    frame.loc[[row for row in gone if row < len(frame)], "y"] = np.nan
    ordered, turned = both(frame, monkeypatch)
    assert ordered == turned
