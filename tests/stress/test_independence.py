"""Partial correlations that curves, outliers and repeated people do not fake."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from attribution.stress.independence import partial_correlations


def test_without_anything_given_it_is_spearmans():
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"x": rng.integers(0, 5, 200), "y": rng.normal(size=200) ** 3})
    frame["y"] += frame["x"]
    found = partial_correlations(frame, [(["x"], ["y"], [])])
    assert found.loc[0, "correlation"] == pytest.approx(spearmanr(frame["x"], frame["y"])[0], abs=1e-12)


def test_given_a_category_it_is_the_correlation_within_its_cells():
    frame = pd.DataFrame({"x": [1, 2, 3, 4] * 10, "y": [2, 1, 4, 3] * 10, "z": list("aabb") * 10})
    found = partial_correlations(frame, [(["x"], ["y"], ["z"])])
    # within a cell x and y are each other's mirror image, between cells they move together
    assert found.loc[0, "correlation"] == pytest.approx(-1.0)
    assert partial_correlations(frame, [(["x"], ["y"], [])]).loc[0, "correlation"] == pytest.approx(0.6)


def test_a_shared_curve_is_taken_out_and_its_standard_error_is_honest():
    """x and y both follow the square of z; a straight-line adjustment would leave a correlation of about 0.6."""
    z_scores = []
    for seed in range(150):
        rng = np.random.default_rng(seed)
        z = rng.normal(size=400)
        frame = pd.DataFrame({"z": z, "x": z**2 + rng.normal(size=400), "y": z**2 + rng.standard_t(3, size=400)})
        found = partial_correlations(frame, [(["x"], ["y"], ["z"])])
        z_scores.append(found.loc[0, "correlation"] / found.loc[0, "std_error"])
    assert abs(np.mean(z_scores)) < 0.35  # 4 / sqrt(150), and the little that ten bins leave
    assert 0.8 < np.std(z_scores) < 1.2


def test_standard_error_counts_the_regressors():
    """Twenty of 60 rows' worth of information go into z: without a correction the scores spread by 1.2."""
    z_scores = []
    for seed in range(400):
        frame = pd.DataFrame(np.random.default_rng(seed).normal(size=(60, 3)), columns=["x", "y", "z"])
        found = partial_correlations(frame, [(["x"], ["y"], ["z"])])
        z_scores.append(found.loc[0, "correlation"] / found.loc[0, "std_error"])
    assert 0.9 < np.std(z_scores) < 1.12


def test_order_preserving_transformations_change_nothing():
    rng = np.random.default_rng(2)
    frame = pd.DataFrame(rng.normal(size=(300, 3)), columns=["x", "y", "z"])
    claim = [(["x"], ["y"], ["z"])]
    pd.testing.assert_frame_equal(
        partial_correlations(frame, claim), partial_correlations(np.exp(3 * frame), claim), rtol=1e-9
    )


def test_repeated_people_do_not_add_information():
    rng = np.random.default_rng(3)
    frame = pd.DataFrame(rng.normal(size=(200, 2)), columns=["x", "y"])
    once = partial_correlations(frame, [(["x"], ["y"], [])])
    four = partial_correlations(
        pd.concat([frame] * 4, ignore_index=True), [(["x"], ["y"], [])], group=np.tile(np.arange(200), 4)
    )
    assert four.loc[0, "correlation"] == pytest.approx(once.loc[0, "correlation"])
    assert four.loc[0, "std_error"] == pytest.approx(once.loc[0, "std_error"], rel=0.01)


def test_what_cannot_be_tested_yields_no_row():
    rng = np.random.default_rng(4)
    frame = pd.DataFrame({"x": rng.integers(0, 3, 100), "y": rng.normal(size=100), "one": 1.0})
    frame["twice"] = 2 * frame["x"]
    claims = [(["x"], ["y"], ["twice"]), (["one"], ["y"], []), (["x"], ["y"], [])]
    assert partial_correlations(frame, claims)["claim"].tolist() == [2]
    assert len(partial_correlations(frame[:30], [(["x"], ["y"], [])])) == 0


def test_categories_are_held_against_each_other_level_by_level():
    frame = pd.DataFrame({"x": list("abc") * 40, "y": list("uuv") * 40})
    found = partial_correlations(frame, [(["x"], ["y"], [])])
    assert found[["column_x", "column_y"]].to_numpy().tolist() == [["x_b", "y_v"], ["x_c", "y_v"]]
    assert found["correlation"].tolist() == pytest.approx([-0.5, 1.0])
