"""Cells by one group-by: pandas as the oracle, cut points at their edges, missing values, many covariates."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attribution.design.coarsen import cells
from attribution.design.stratify import stratify


def same_partition(ours, theirs):
    return len(set(zip(ours, theirs, strict=True))) == len(set(ours)) == len(set(theirs))


def oracle(codes: pd.DataFrame, treated):
    """Cell numbers by pandas; -1 where an arm is absent."""
    number = codes.groupby(list(codes), dropna=False, sort=True).ngroup()
    both = pd.Series(treated).groupby(number).transform("nunique") == 2
    return np.where(both, number, -1)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(20, 200), bins=st.integers(1, 6), holes=st.booleans())
def test_equals_pandas(seed, n, bins, holes):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({
        "x": rng.normal(size=n) * 1e3, "whole": rng.integers(-3, 4, n), "text": rng.choice(["é", "b", "O'Neil"], n),
        "yes": rng.random(n) < 0.5, "order by": pd.Categorical(rng.choice(list("zyx"), n), list("zyx")),
    })  # fmt: skip
    if holes:
        frame.loc[rng.random(n) < 0.1, "x"] = np.nan
        frame.loc[rng.random(n) < 0.1, "text"] = None
    treated = rng.random(n) < 0.4
    points = np.sort(rng.normal(size=bins - 1) * 1e3)
    strata, cuts, notes = cells(frame, treated, list(frame), cuts={"x": points, "whole": 3}, missing="level")
    assert cuts["x"] == tuple(points)
    edges = frame["whole"].min() + np.arange(1, 3) * (frame["whole"].max() - frame["whole"].min()) / 3
    assert len(notes) == int(frame[["x", "text"]].isna().any().sum())
    codes = frame.assign(x=np.where(frame["x"].isna(), -1, np.searchsorted(points, frame["x"], "right")),
                         whole=np.searchsorted(edges, frame["whole"], "right"),
                         **{"order by": frame["order by"].astype(str)})  # fmt: skip
    assert same_partition(strata, oracle(codes, treated))
    assert set(strata) - {-1} == set(range(strata.max() + 1))


def test_a_value_at_a_cut_goes_up_to_the_last_digit():
    """0.1 + 0.2 is not 0.3: cut points reach the engine with every digit."""
    cut = 0.1 + 0.2
    frame = pd.DataFrame({"x": [0.3, cut, np.nextafter(cut, 1), 1e-300, -5e300, 0.3], "t": [0, 1, 0, 1, 0, 1]})
    strata, cuts, _ = cells(frame, frame["t"].to_numpy() == 1, ["x"], cuts={"x": [1e-300, cut]})
    assert cuts["x"] == (1e-300, cut)
    assert strata.tolist() == [0, 1, 1, 0, -1, 0]


def test_bins():
    n = 100
    frame = pd.DataFrame({"x": np.arange(n, dtype=float), "one": 7.0})
    t = np.arange(n) % 2 == 0
    strata, cuts, _ = cells(frame, t, ["x", "one"])
    assert cuts["one"] == ()
    assert cuts["x"] == pytest.approx(np.arange(1, 8) * 99 / 8)  # ceil(log2(100) + 1) = 8
    assert strata.max() == 7
    _, cuts, _ = cells(frame, t, ["x"], cuts={"x": "quantile:4"})
    assert cuts["x"] == pytest.approx(np.quantile(frame["x"], [0.25, 0.5, 0.75]))
    assert cells(frame, t, ["x"], cuts={"x": 1})[1]["x"] == ()
    assert (cells(frame, t, ["x"], cuts={"x": "exact"})[0] == -1).all()
    assert (cells(frame, t, ["x"], coarsen=False)[0] == -1).all()


def test_groups_of_levels():
    frame = pd.DataFrame({"g": ["lower", "upper", "master", "upper"], "n": [1, 2, 3, 2]})
    t = np.array([True, False, True, True])
    strata, _, notes = cells(frame, t, ["g"], cuts={"g": {"lower": 0, "upper": 1, "master": 1, "phd": 1}})
    assert strata.tolist() == [-1, 0, 0, 0]
    assert "'phd'" in notes[0]
    assert cells(frame, t, ["n"], cuts={"n": {1: "few", 2: "few", 3: "many"}})[0].tolist() == [0, 0, -1, 0]


@pytest.mark.parametrize("levels", [2, 25])
def test_forty_covariates_never_overflow(levels):
    """25^40 cells have no number of 64 bits: twins meet, those who differ in one covariate do not."""
    rng = np.random.default_rng(0)
    n = 300
    one = rng.integers(0, levels, (n, 40))
    other = one.copy()
    where = rng.integers(0, 40, n)
    other[np.arange(n), where] = (one[np.arange(n), where] + 1) % levels
    names = [f"c{i}" for i in range(40)]
    frame = pd.DataFrame(np.vstack([one, one[: n // 2], other[n // 2 :]]), columns=names)
    frame["t"] = np.r_[np.ones(n, int), np.zeros(n, int)]
    design = stratify(frame, "t", covariates=names, method="exact")
    assert design.matched.tolist() == [i % n < n // 2 for i in range(2 * n)]
    assert same_partition(design.strata[design.matched], np.tile(np.arange(n // 2), 2))
    coarse = stratify(frame, "t", covariates=names, method="coarsened", cuts=dict.fromkeys(names, levels))
    np.testing.assert_array_equal(coarse.strata, design.strata)


def test_missing_is_a_level_of_its_own():
    frame = pd.DataFrame({"x": [1.0, np.nan, np.nan, 2.0, 9.0], "t": [1, 1, 0, 0, 0]})
    strata, _, notes = cells(frame, frame["t"].to_numpy() == 1, ["x"], cuts={"x": [1.5]}, missing="level")
    assert strata.tolist() == [-1, 0, 0, -1, -1]
    assert notes == ("2 units without x are a level of their own in x.",)


def test_names_like_ours():
    frame = pd.DataFrame({"treated": [0, 1, 0, 1], "unit": [0, 0, 1, 1], 'w0"; --': [1, 1, 2, 2], "arm": 1})
    strata = cells(frame, np.array([True, False, True, False]), ["unit", "treated", 'w0"; --', "arm"])[0]
    assert strata.tolist() == [-1, -1, -1, -1]
    assert cells(frame, np.array([True, False, True, False]), ["unit", 'w0"; --', "arm"])[0].tolist() == [0, 0, 1, 1]
