"""Manski and Lee: closed forms, hand-made samples, coverage of the effect, what must be refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matching_reference import case, data
from scipy.stats import norm

from attribution.errors import DesignError, EstimationError
from attribution.estimate.bounds import imbens_manski, lee_bounds, manski_bounds


def ends(result, estimand, assumes):
    row = result.table.set_index(["estimand", "assumes"]).loc[(estimand, assumes)]
    return row[["bound_low", "bound_high"]].astype(float).tolist()


def test_reference_manski():
    found = case("manski_nsw_psid")["results"]
    result = manski_bounds(data("nsw_psid"), "treat", outcome="emp78")
    for (estimand, assumes), key in {
        ("ATE", "nothing"): "ate_worst_case", ("ATT", "nothing"): "att_worst_case", ("ATE", "response"): "ate_mtr",
        ("ATE", "selection"): "ate_mts_positive", ("ATE", "both"): "ate_mtr_mts", ("ATT", "response"): "att_mtr",
        ("ATT", "selection"): "att_mts_positive",
    }.items():  # fmt: skip
        np.testing.assert_allclose(ends(result, estimand, assumes), found[key], rtol=0, atol=1e-12)
    assert "beyond chance" in result.summary()


def test_reference_lee():
    found = case("lee_bounds_nsw")["results"]
    frame = data("nsw_dw")
    result = lee_bounds(frame, "treat", outcome="re78", selected="emp78", selection="raised")
    np.testing.assert_allclose(result.table[["bound_low", "bound_high"]].iloc[0].astype(float), found["bounds"],
                               rtol=0, atol=1e-9)  # fmt: skip
    assert result.spec["trimmed"] == found["k_trimmed"]
    assert result.spec["naive"] == pytest.approx(found["naive"], abs=1e-9)
    unseen = frame.assign(re78=frame["re78"].where(frame["emp78"] == 1))
    pd.testing.assert_frame_equal(lee_bounds(unseen, "treat", outcome="re78", selection="raised").table, result.table)
    turned = lee_bounds(frame.assign(other=1 - frame["treat"]), "other", outcome="re78", selected="emp78",
                        selection="lowered")  # fmt: skip
    np.testing.assert_allclose(turned.table[["bound_low", "bound_high"]].iloc[0].astype(float),
                               [-found["bounds"][1], -found["bounds"][0]])  # fmt: skip


def test_manski_by_hand():
    """Treated 1, 1, 0 and others 1, 0: E[Y1] in 2/5 + [0, 2/5], E[Y0] in 1/5 + [0, 3/5]."""
    frame = pd.DataFrame({"t": [1, 1, 1, 0, 0], "y": [1, 1, 0, 1, 0]})
    result = manski_bounds(frame, "t", outcome="y")
    np.testing.assert_allclose(ends(result, "ATE", "nothing"), [2 / 5 - 4 / 5, 4 / 5 - 1 / 5])
    np.testing.assert_allclose(ends(result, "ATE", "both"), [0, 2 / 3 - 1 / 2])
    np.testing.assert_allclose(ends(result, "ATT", "nothing"), [2 / 3 - 1, 2 / 3])
    row = result.table.iloc[0]
    assert row["std_error_low"] == pytest.approx(np.std([0, 0, -1, -1, 0], ddof=1) / np.sqrt(5))
    euros = manski_bounds(frame.assign(y=frame["y"] * 1e4 - 50), "t", outcome="y", limits=(-50, 9_950))
    np.testing.assert_allclose(ends(euros, "ATE", "nothing"), [-4_000, 6_000])


def test_lee_by_hand():
    """Half the others selected, all treated: of 4 treated outcomes 2 are kept, the lowest or the highest."""
    frame = pd.DataFrame({"t": [1] * 4 + [0] * 4, "y": [1.0, 2, 3, 4, 2, 4, np.nan, np.nan]})
    result = lee_bounds(frame, "t", outcome="y", selection="raised")
    np.testing.assert_allclose(ends(result, "ATE of the always selected", "selection raised"), [1.5 - 3, 3.5 - 3])
    full = lee_bounds(frame.fillna({"y": 3}), "t", outcome="y", selection="raised")
    assert full.table["bound_low"].iloc[0] == full.table["bound_high"].iloc[0] == pytest.approx(2.5 - 3)
    assert full.table["std_error_low"].iloc[0] == pytest.approx(
        np.hypot(np.std([1, 2, 3, 4], ddof=1), np.std([2, 4, 3, 3], ddof=1)) / 2
    )


def test_lee_in_cells_by_hand():
    """Cell a as above; in cell b all are selected. Two of six always selected live in a, four in b."""
    frame = pd.DataFrame({"t": [1] * 4 + [0] * 4, "y": [1.0, 2, 3, 4, 2, 4, np.nan, np.nan]}).assign(cell="a")
    frame = pd.concat([frame, pd.DataFrame({"t": [1] * 4 + [0] * 4, "y": [5.0, 6, 7, 8, 1, 1, 1, 2], "cell": "b"})])
    result = lee_bounds(frame.reset_index(drop=True), "t", outcome="y", selection="raised", by=["cell"])
    expected = [(2 * low + 4 * 6.5) / 6 - 11 / 6 for low in (1.5, 3.5)]
    np.testing.assert_allclose(ends(result, "ATE of the always selected", "selection raised"), expected)
    assert "2 of 8 were trimmed" in result.summary() and "2 cells of cell; in 0 of them" in result.summary()
    turned = lee_bounds(frame.assign(t=1 - frame["t"]).reset_index(drop=True), "t", outcome="y", selection="lowered",
                        by=["cell"])  # fmt: skip
    np.testing.assert_allclose(ends(turned, "ATE of the always selected", "selection lowered"),
                               [-expected[1], -expected[0]])  # fmt: skip


def in_cells(rng, n):
    """Pay and the share drawn into work differ by cell, so that knowing the cell narrows the bounds."""
    cell = rng.integers(0, 4, n)
    t, u = rng.integers(0, 2, n), rng.random(n)
    works = u < 0.5 + (0.05 + 0.1 * cell) * t
    y = rng.normal(2.0 * cell, 1) + 0.5 * t
    return pd.DataFrame({"t": t, "cell": cell, "y": np.where(works, y, np.nan)})


def test_lee_in_cells_recovers_narrower_bounds_and_their_errors():
    rng = np.random.default_rng(5)
    options = {"outcome": "y", "selection": "raised"}
    big = in_cells(rng, 400_000)
    wide, narrow = (lee_bounds(big, "t", by=by, **options).table.iloc[0] for by in ((), ("cell",)))
    assert wide["bound_low"] + 0.1 < narrow["bound_low"] < 0.5 < narrow["bound_high"] < wide["bound_high"] - 0.1
    table = pd.DataFrame([lee_bounds(in_cells(rng, 2_000), "t", by=["cell"], **options).table.iloc[0]
                          for _ in range(250)])  # fmt: skip
    for end in ("low", "high"):
        values = table[f"bound_{end}"].astype(float)
        assert 0.88 < table[f"std_error_{end}"].mean() / values.std() < 1.12
        assert abs(values.mean() - narrow[f"bound_{end}"]) < 0.35 * values.std()  # curved in the share: no exact mean
    covered = (table["conf_low"] <= narrow["bound_low"]) & (narrow["bound_low"] <= table["conf_high"])
    assert covered.mean() > 0.95 - 3 * np.sqrt(0.95 * 0.05 / 250)


def test_lee_in_cells_refuses():
    frame = in_cells(np.random.default_rng(6), 2_000)
    options = {"outcome": "y", "selection": "raised"}
    against = frame.assign(y=frame["y"].where((frame["cell"] != 0) | (frame["t"] == 0) | (frame.index % 3 == 0)))
    with pytest.raises(EstimationError, match="contradicted there"):
        lee_bounds(against, "t", by=["cell"], **options)
    with pytest.raises(EstimationError, match="fewer or coarser"):
        lee_bounds(frame.assign(extra=frame.index), "t", by=["extra"], **options)
    with pytest.raises(DesignError, match="no such column"):
        lee_bounds(frame, "t", by=["absent"], **options)


@given(st.floats(0, 3), st.floats(0.01, 2), st.floats(0.01, 2), st.floats(0.55, 0.99))
@settings(max_examples=40, deadline=None)
def test_imbens_manski(width, se_low, se_high, level):
    low, high = imbens_manski(0.0, width, se_low, se_high, level)
    c = -low / se_low
    assert (high - width) / se_high == pytest.approx(c)
    assert norm.ppf(level) - 1e-6 <= c <= norm.ppf(0.5 + level / 2) + 1e-6
    assert norm.cdf(c + width / max(se_low, se_high)) - norm.cdf(-c) == pytest.approx(level, abs=1e-6)


def employed(rng, n, effect=0.5):
    """Work for 50 % without and 70 % with treatment; the always employed earn more; all gain `effect`."""
    t, u = rng.integers(0, 2, n), rng.random(n)
    works = np.where(t == 1, u < 0.7, u < 0.5)
    y = rng.normal(2 * (u < 0.5), 1) + effect * t
    return pd.DataFrame({"t": t, "y": np.where(works, y, np.nan)})


def test_lee_recovers_and_its_errors_are_right():
    rng = np.random.default_rng(3)
    results = [lee_bounds(employed(rng, 1_000), "t", outcome="y", selection="raised").table.iloc[0]
               for _ in range(300)]  # fmt: skip
    table = pd.DataFrame(results).drop(columns=["term", "estimand", "assumes"]).astype(float)
    big = lee_bounds(employed(rng, 400_000), "t", outcome="y", selection="raised").table.iloc[0]
    assert big["bound_low"] < 0.5 < big["bound_high"]
    for end in ("low", "high"):
        ratio = table[f"std_error_{end}"].mean() / table[f"bound_{end}"].std()
        assert 0.88 < ratio < 1.12
        error = table[f"bound_{end}"].std() / np.sqrt(300)
        assert abs(table[f"bound_{end}"].mean() - big[f"bound_{end}"]) < 4 * error + 0.01
    # the end of the set is the hardest value to cover
    covered = (table["conf_low"] <= big["bound_low"]) & (table["conf_high"] >= big["bound_low"])
    assert covered.mean() > 0.95 - 3 * np.sqrt(0.95 * 0.05 / 300)


def test_manski_covers_an_effect_at_the_end_of_the_set():
    """All unseen treated outcomes are 1 and comparison outcomes 0: the truth is the upper end."""
    rng = np.random.default_rng(4)
    covered = []
    for _ in range(400):
        t = (rng.random(300) < 0.4).astype(int)
        y1, y0 = np.where(t == 1, rng.random(300) < 0.6, 1), np.where(t == 1, 0, rng.random(300) < 0.5)
        row = manski_bounds(pd.DataFrame({"t": t, "y": np.where(t, y1, y0)}), "t", outcome="y").table.iloc[0]
        truth = 0.4 * 0.6 + 0.6 - 0.6 * 0.5
        covered.append(row["conf_low"] <= truth <= row["conf_high"])
    assert abs(np.mean(covered) - 0.95) < 3 * np.sqrt(0.95 * 0.05 / 400)


def test_refusals():
    frame = data("nsw_dw")
    with pytest.raises(EstimationError, match="limits=") as error:
        manski_bounds(frame, "treat", outcome="re78")
    assert error.value.column == "re78"
    with pytest.raises(EstimationError, match="widen limits"):
        manski_bounds(frame, "treat", outcome="re78", limits=(0, 10_000))
    with pytest.raises(EstimationError, match="in order"):
        manski_bounds(frame, "treat", outcome="emp78", limits=(1, 0))
    with pytest.raises(EstimationError, match="contradicted"):
        lee_bounds(frame, "treat", outcome="re78", selected="emp78", selection="lowered")
    with pytest.raises(EstimationError, match="say what treatment does"):
        lee_bounds(frame, "treat", outcome="re78", selection="up")
    with pytest.raises(EstimationError, match="missing outcomes"):
        lee_bounds(frame.assign(re78=frame["re78"].where(frame["re78"] > 9_000)), "treat", outcome="re78",
                   selected="emp78", selection="raised")  # fmt: skip
    with pytest.raises(EstimationError, match="two or more selected"):
        lee_bounds(frame.assign(none=0), "treat", outcome="re78", selected="none", selection="raised")
    with pytest.raises(DesignError, match="0 or 1"):
        manski_bounds(frame.assign(treat=2), "treat", outcome="emp78")
    with pytest.raises(DesignError, match="cell: .*such as lists"):
        lee_bounds(frame.assign(cell=[[1]] * len(frame)), "treat", outcome="re78", selected="emp78", by=["cell"],
                   selection="raised")  # fmt: skip


def test_equal_outcomes_and_missing_ones():
    frame = pd.DataFrame({"t": [1, 1, 0, 0, 0], "y": [1, 1, 1, 1, np.nan]})
    result = manski_bounds(frame, "t", outcome="y")
    assert "1 of 5 units was left out" in result.summary()
    assert ends(result, "ATT", "selection") == [0.0, 0.0]
    assert result.tidy()["n_comparison"].eq(2).all()
