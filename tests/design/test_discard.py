"""Overlap rules: the reference's counts, a case by hand, and a probability that rounds to one."""

import numpy as np
import pytest
from matching_reference import LALONDE, PSID, case, data

from attribution.design.discard import crump_alpha, no_overlap
from attribution.design.propensity import propensity
from attribution.errors import DesignError


@pytest.mark.parametrize("name", ["trim_lalonde", "trim_nsw_psid"])
def test_reference(name):
    r, set_ = case(name)["results"], name.removeprefix("trim_")
    frame = data(set_)
    p, t = propensity(frame, "treat", PSID if set_ == "nsw_psid" else LALONDE).probability, frame["treat"] == 1
    assert crump_alpha(p) == pytest.approx(r["crump_alpha"], abs=1e-3)
    kept = ~no_overlap(p, t, "crump")
    assert [(kept & t).sum(), (kept & ~t).sum()] == [r["kept_treated"], r["kept_control"]]
    out = no_overlap(p, t, "common_support")
    assert [(out & t).sum(), (out & ~t).sum()] == [r["minmax"]["treated_outside"], r["minmax"]["control_outside"]]
    inside = p[~out]
    assert inside.min() >= r["minmax"]["lo"] - 1e-7 and inside.max() <= r["minmax"]["hi"] + 1e-7


def test_by_hand():
    p = np.array([0.05, 0.3, 0.5, 0.7, 0.2, 0.4, 0.6, 0.95])
    t = np.array([1, 1, 1, 1, 0, 0, 0, 0], bool)
    assert no_overlap(p, t, "common_support").tolist() == [True, False, False, False, False, False, False, True]
    assert not no_overlap(p, t, None).any()
    assert crump_alpha(np.full(10, 0.5)) == 0.0


def test_certain_units_leave_by_crump():
    """1 / (p (1 - p)) without end must not pass for overlap."""
    p = np.array([0.4, 0.5, 0.6, 0.5, 1.0, 0.0])
    assert no_overlap(p, np.array([1, 0, 1, 0, 1, 0], bool), "crump").tolist() == [False] * 4 + [True] * 2


def test_an_unknown_rule_is_refused():
    with pytest.raises(DesignError, match="common_support"):
        no_overlap(np.array([0.5, 0.5]), np.array([True, False]), "guess")
