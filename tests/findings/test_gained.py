"""What an effect amounts to, for whom, who can have gained, and what nobody recorded would need: on the NSW men."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import attribution as at
from attribution.findings import gained, hidden


@pytest.fixture(scope="module")
def study():
    return at.Study.open("nsw")


@pytest.fixture(scope="module")
def one(study):
    return at.compare(study, "paid", "cps1")


def with_outcome(one, values):
    """The same comparison, other outcomes."""
    cohort = replace(one.cohort)
    cohort.__dict__["outcomes"] = one.cohort.outcomes.assign(employed_h=values)  # where cached_property keeps it
    return replace(one, cohort=cohort)


def test_amounts_are_the_two_shares_in_other_words(study, one):
    rows = {row["term"]: row for row in gained.amounts(study, one, "employed_h")}
    seen, without, effect = at.att(one.design, "employed_h", data=one.cohort.outcomes, parts=True).estimate
    assert rows["ratio"]["estimate"] == pytest.approx(seen / without)
    assert rows["ratio"]["conf_low"] < seen / without < rows["ratio"]["conf_high"]
    assert rows["in_all"]["estimate"] == np.round(185 * effect)
    assert rows["least"]["estimate"] == pytest.approx(max(effect, 0), abs=1e-3)  # half-median-unbiased
    assert rows["most"]["estimate"] == pytest.approx(min(seen, 1 - without), abs=1e-3)
    assert {row["n_covered"] for row in rows.values()} == {185}


def test_groups_carry_what_could_be_seen_and_small_ones_are_left_out(study, one):
    found = gained.by_group(study, one, "employed_h")
    assert list(found) == ["no_degree"]  # of the other group named in the plan, 29 men, a cell would be small
    table = found["no_degree"].set_index("level")
    assert list(table.index) == ["no", "yes", "difference"]
    np.testing.assert_allclose(table["mde"], 2.8 * table["std_error"], rtol=1e-3)
    estimate = table["estimate"]
    assert estimate["difference"] == pytest.approx(estimate["yes"] - estimate["no"])
    shown = gained.groups_table(found)
    assert shown["by"].eq("No school diploma").all() and shown["effect"].str.contains("points").all()


def test_an_outcome_that_hardly_anybody_has_is_not_told(study, one):
    rare = pd.Series(0.0, index=one.cohort.outcomes.index)
    rare[one.design.units.index[np.flatnonzero(one.design.matched & one.design.treated)[:5]]] = 1.0
    few = with_outcome(one, rare)
    for ask in (gained.amounts, hidden.strength):
        with pytest.raises(at.DesignError, match="fewer people"):
            ask(study, few, "employed_h")
    assert gained.by_group(study, few, "employed_h") == {}
    assert gained.not_shown(study, {}).endswith("too few people in a group: No school diploma, Black)")
    assert gained.not_shown(study, dict.fromkeys(study.design.subgroups)) == ""


def test_thresholds_come_from_the_plan(study, one):
    table = gained.income_gains(study, one).tidy()
    assert table.loc[table["term"] == "gain", "threshold"].tolist() == [0, 1000, 2500]
    assert (table["bound_low"] <= table["bound_high"]).all() and (table["conf_low"] <= table["bound_low"]).all()


def test_three_answers_to_what_nobody_recorded(study, one):
    table = hidden.unrecorded(study, one, "employed_h")
    assert table["method"].str.extract(r"\((.*) \d{4}\)")[0].tolist() == [
        "Cinelli and Hazlett", "Rosenbaum", "VanderWeele and Ding"]  # fmt: skip
    value = hidden.strength(study, one, "employed_h")
    assert len(value.benchmarks) == hidden.BENCHMARKS
    gone = value.adjusted(value.robustness_value, value.robustness_value)["estimate"].iloc[0]
    assert gone == pytest.approx(0, abs=1e-9)
    assert table["effect gone"].iloc[0] == f"{value.robustness_value:.1%}"
