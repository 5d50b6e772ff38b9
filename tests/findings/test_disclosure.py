"""No hidden cell can be worked out, whatever is published around it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attribution.errors import DataError
from attribution.findings.disclosure import protect, protect_table, protect_tables, recoverable


def grid(values: np.ndarray):
    """Cells and sums of a two-way table with both margins and the grand total."""
    rows, columns = values.shape
    cells = {f"r{i}c{j}": int(values[i, j]) for i in range(rows) for j in range(columns)}
    cells |= {f"r{i}": int(values[i].sum()) for i in range(rows)} | {
        f"c{j}": int(values[:, j].sum()) for j in range(columns)
    }
    cells["all"] = int(values.sum())
    sums = [(f"r{i}", [f"r{i}c{j}" for j in range(columns)]) for i in range(rows)]
    sums += [(f"c{j}", [f"r{i}c{j}" for i in range(rows)]) for j in range(columns)]
    sums += [("all", [f"r{i}" for i in range(rows)]), ("all", [f"c{j}" for j in range(columns)])]
    return cells, sums


@given(st.lists(st.lists(st.integers(0, 40), min_size=3, max_size=3), min_size=2, max_size=4))
@settings(max_examples=40, deadline=None)
def test_nothing_hidden_can_be_recovered_from_a_two_way_table(values):
    cells, sums = grid(np.array(values))
    out = protect(cells, sums)
    assert {key for key, n in cells.items() if 0 < n < 10} <= out
    hidden = sorted(out)
    if hidden:
        matrix = np.array([[(k in parts) - 1.0 * (k == total) for k in hidden] for total, parts in sums])
        rank = np.linalg.matrix_rank(matrix)
        for j, key in enumerate(hidden):  # an oracle of its own: a fixed unknown adds nothing to the row space
            assert np.linalg.matrix_rank(np.vstack([matrix, np.eye(len(hidden))[j]])) > rank, key
    assert not recoverable(out, cells, sums)


def test_one_small_cell_hides_the_smallest_other_and_nothing_more():
    assert protect({"a": 3, "b": 20, "c": 15, "n": 38}, [("n", ["a", "b", "c"])]) == {"a", "c"}


def test_two_small_cells_with_a_small_sum_are_not_enough():
    out = protect({"a": 1, "b": 1, "c": 30, "n": 32}, [("n", ["a", "b", "c"])])
    assert out == {"a", "b", "c"}


def test_zero_is_shown_and_ten_is_shown():
    assert protect({"a": 0, "b": 10, "n": 10}, [("n", ["a", "b"])]) == set()


def test_sensitive_cells_have_the_higher_minimum():
    assert protect({"a": 10, "b": 40, "n": 50}, [("n", ["a", "b"])]) == set()
    assert protect({"a": 10, "b": 40, "n": 50}, [("n", ["a", "b"])], sensitive=["a"]) == {"a", "b"}


def test_sums_that_do_not_add_up_are_refused():
    with pytest.raises(DataError, match="add up"):
        protect({"a": 1, "n": 3}, [("n", ["a"])])
    with pytest.raises(DataError, match="no cell"):
        protect({"n": 3}, [("n", ["a"])])


def test_a_table_never_holds_the_hidden_number():
    frame = pd.DataFrame({"n": [137, 53, 190], "placed": [97, 7, 104], "share": [97 / 137, 7 / 53, 104 / 190]},
                         index=["women", "men", "all"])  # fmt: skip
    before = frame.copy()
    shown = protect_table(frame, counts=["n", "placed"], shares={"share": ("placed", "n")}, total="all")
    pd.testing.assert_frame_equal(frame, before)
    for text in (shown.to_html(), shown.to_csv()):
        assert "13.2" not in text and ">7<" not in text and ",7," not in text and "97" not in text
    assert shown.loc["all", "placed"] == "104"
    assert shown.loc["men", "n"] == "53"


def test_the_complement_of_a_share_is_a_cell_too():
    frame = pd.DataFrame({"n": [60], "placed": [58], "share": [58 / 60]}, index=["all"])
    shown = protect_table(frame, counts=["n", "placed"], shares={"share": ("placed", "n")})
    assert shown.loc["all", "placed"] == "suppressed" and shown.loc["all", "share"] == "suppressed"


def test_shares_need_twenty_five_people():
    frame = pd.DataFrame({"n": [24, 25], "share": [0.5, 0.48]}, index=["a", "b"])
    shown = protect_table(frame, counts=["n"], shares={"share": "n"})
    assert list(shown["share"]) == ["suppressed", "48.0 %"]


def test_linked_tables_do_not_give_each_other_away():
    first = pd.DataFrame({"n": [4, 46, 50]}, index=["yes", "no", "all"])
    second = pd.DataFrame({"n": [4, 30, 16, 50]}, index=["yes", "bac", "none", "all"])
    spec = {"counts": ["n"], "total": "all"}
    shown = protect_tables(
        {"a": {"frame": first, **spec}, "b": {"frame": second, **spec}},
        equal=[(("a", "yes", "n"), ("b", "yes", "n")), (("a", "all", "n"), ("b", "all", "n"))],
    )
    assert shown["a"].loc["yes", "n"] == shown["b"].loc["yes", "n"] == "suppressed"
    assert shown["a"].loc["no", "n"] == "suppressed"
    assert (shown["b"]["n"] == "suppressed").sum() == 2
