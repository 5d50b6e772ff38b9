"""Risk sets: who meets whom, with which history, and on which clock."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import attribution as at
from attribution.cohorts.sequential import SPAN, moved
from attribution.errors import DesignError


def small(**columns) -> at.Panel:
    """Units a (selected in 3), b (in 4), c (never), d (in 2); income = 10 * unit + period."""
    frame = pd.DataFrame([(u, p, 10 * k + p) for k, u in enumerate("abcd") for p in range(7)],
                         columns=["unit", "period", "income"])  # fmt: skip
    frame["cohort"] = frame["unit"].map({"a": 3.0, "b": 4.0, "d": 2.0})
    for name, values in columns.items():
        frame[name] = frame["unit"].map(dict(zip("abcd", values, strict=True)))
    return at.Panel(frame, unit="unit", period="period", cohort="cohort", outcome="income")


def records(panel: at.Panel) -> set[tuple[int, int]]:
    """(risk set, person) pairs."""
    return set(zip(panel.risk_set.astype(int).tolist(), np.asarray(panel.cluster).tolist(), strict=True))


def test_everybody_not_yet_selected_is_at_risk_and_nobody_else():
    out = at.risk_sets(small(), later="stay")
    assert records(out) == {(2, 3), (2, 0), (2, 1), (2, 2), (3, 0), (3, 1), (3, 2), (4, 1), (4, 2)}
    assert np.isfinite(out.cohort).sum() == 3 and np.isfinite(out.y).all()


def test_later_selected_leave_only_when_told():
    out = at.risk_sets(small(), later="leave")
    row = int(np.flatnonzero((out.risk_set == 3) & (np.asarray(out.cluster) == 1))[0])
    assert np.isnan(out.y[row, 4:]).all() and np.isfinite(out.y[row, :4]).all() and np.isnan(out.cohort[row])


def test_history_is_that_of_the_common_date():
    out = at.risk_sets(small(), later="stay", history=(-2, -1))
    got = out.covariates(["before_1", "before_2"])
    for k in range(len(out.units)):
        g, person = int(out.risk_set[k]), int(np.asarray(out.cluster)[k])
        assert got["before_1"][k] == 10 * person + g - 1 and got["before_2"][k] == 10 * person + g - 2


def test_a_window_that_reaches_the_start_moves_back():
    assert moved((-2, -1, 0), 1) == [-2, -1, 0] and moved((-2, -1, 0), 0) == [-3, -2, -1]
    assert moved((), 0) == []


def test_delays_keep_to_themselves():
    out = at.risk_sets(small(wait=[1, 2, 2, 1]), later="stay", delay="wait")
    assert records(out) == {(2 + SPAN, 3), (2 + SPAN, 0), (3 + SPAN, 0), (4 + 2 * SPAN, 1), (4 + 2 * SPAN, 2)}


def test_gaps_in_the_history_are_counted_and_a_history_nobody_has_is_refused():
    out = at.risk_sets(small(), later="stay", history=(-3,))
    assert records(out) == {(3, 0), (3, 1), (3, 2), (4, 1), (4, 2)}
    assert out.counts["records left out for a gap in their history"] == 4
    with pytest.raises(DesignError, match="shorter history"):
        at.risk_sets(small(), later="stay", history=(-9,))
    with pytest.raises(DesignError, match="count the periods"):
        at.risk_sets(small(wait=[1.5, 0, 0, 0]), later="stay", delay="wait")


def test_options_of_another_name_are_refused():
    with pytest.raises(DesignError, match="stay"):
        at.risk_sets(small(), later="droop")
    with pytest.raises(DesignError, match="list of event times"):
        at.risk_sets(small(), later="stay", history=-1)
