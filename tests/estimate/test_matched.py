"""Matched difference-in-differences: by hand, the refusal of the base-period outcome, both answers, the known bias."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import attribution as at
from attribution.errors import DesignError

BASE = -3


def levels(n: int = 1_500, seed: int = 0, gap: float = 1.0):
    """No effect. Treated lie `gap` SDs higher for good; outcomes vary around that level. Treated from period 6."""
    rng = np.random.default_rng(seed)
    treated = rng.random(n) < 0.25
    age = rng.normal(size=n) + 0.3 * treated
    y = rng.normal(size=n)[:, None] + gap * treated[:, None] + 0.5 * age[:, None] + rng.normal(size=(n, 8))
    frame = pd.DataFrame({"unit": np.repeat(np.arange(n), 8), "period": np.tile(np.arange(8), n),
                          "cohort": np.repeat(np.where(treated, 6.0, np.nan), 8), "y": y.ravel()})  # fmt: skip
    panel = at.Panel(frame, unit="unit", period="period", cohort="cohort", outcome="y")
    units = pd.DataFrame({"unit": np.arange(n), "treated": treated.astype(int), "age": age, "then": y[:, 6 + BASE],
                          "earlier": y[:, 1]})  # fmt: skip
    return panel, units


def design(units, *covariates):
    return at.match(units, "treated", covariates=list(covariates), key="unit", caliper_sd=0.2)


def test_by_hand_it_is_the_weighted_mean_of_differences_within_pairs():
    panel, units = levels(200)
    pairs = design(units, "age")
    got = at.matched_did(panel, pairs, key="unit", base_period=BASE)
    j = list(got.effects.labels["event_time"]).index(1)
    change = panel.y[:, 7] - panel.y[:, 6 + BASE]
    within = change[pairs.pairs["treated"]] - change[pairs.pairs["comparison"]]
    assert got.effects.estimate[j] == pytest.approx(within.mean(), rel=1e-10)
    assert got.effects.std_error[j] == pytest.approx(within.std() / np.sqrt(len(within)), rel=1e-10)
    assert got.without is None and got.base_outcomes == ()


def test_the_base_outcome_is_refused_whatever_its_name_and_shown_both_ways_once_declared():
    panel, units = levels()
    hidden = units.assign(score=3 - 2 * units["then"])
    for name in ("then", "score"):
        with pytest.raises(DesignError, match="declared"):
            at.matched_did(panel, design(hidden, "age", name), key="unit", base_period=BASE)
    got = at.matched_did(panel, design(units, "age", "then"), key="unit", base_period=BASE,
                         base_outcome_matched="declared")  # fmt: skip
    assert got.base_outcomes == ("then",) and got.refitted.covariates == ("age",)
    j = list(got.effects.labels["event_time"]).index(0)
    # true effect 0: matched on the base, the return to the mean is about half of the gap between the groups
    assert got.effects.estimate[j] > 3 * got.effects.std_error[j]
    assert abs(got.without.estimate[j]) < 3 * got.without.std_error[j]
    assert set(got.tidy()["match_set"]) == {"as declared", "without then"}
    assert "Daw & Hatfield" in got.summary()


def test_an_earlier_outcome_is_allowed_and_said_and_a_window_mean_is_found():
    panel, units = levels()
    got = at.matched_did(panel, design(units, "age", "earlier"), key="unit", base_period=BASE)
    assert "earlier" in got.effects.notes[-1] and got.without is None
    mean = units.assign(level=panel.y[:, 2:5].mean(axis=1))
    with pytest.raises(DesignError, match="level"):
        at.matched_did(panel, design(mean, "age", "level"), key="unit", base_period=(-4, -2))


@pytest.mark.parametrize("copy", [np.exp, lambda y: y.round(1), lambda y: -(y**3), lambda y: y + 0.1 * np.sin(99 * y)],
                         ids=["logged", "rounded", "cubed", "noisy"])  # fmt: skip
def test_copies_of_the_base_outcome_are_found_too(copy):
    panel, units = levels()
    with pytest.raises(DesignError, match="declared"):
        at.matched_did(panel, design(units.assign(score=copy(units["then"])), "age", "score"), key="unit",
                       base_period=BASE)  # fmt: skip
    earlier = units.assign(score=copy(units["earlier"]))
    got = at.matched_did(panel, design(earlier, "age", "score"), key="unit", base_period=BASE)
    assert got.base_outcomes == () and "score" in got.effects.notes[-1]


def test_an_outcome_after_treatment_is_refused():
    panel, units = levels()
    with pytest.raises(DesignError, match="before treatment"):
        at.matched_did(panel, design(units.assign(late=np.exp(panel.y[:, 7])), "age", "late"), key="unit",
                       base_period=BASE)  # fmt: skip


def test_few_treated_are_alike_by_chance():
    panel, units = levels(40, seed=3)
    order = units["then"].rank() + np.where(np.arange(40) % 2, 0.3, -0.3)
    assert 3 < units["treated"].sum() < 20
    got = at.matched_did(panel, at.match(units.assign(order=order), "treated", covariates=["order"], key="unit"),
                         key="unit", base_period=BASE)  # fmt: skip
    assert got.base_outcomes == ()


def test_units_that_do_not_belong_together_are_refused():
    panel, units = levels(100)
    with pytest.raises(DesignError, match="every matched unit"):
        at.matched_did(panel, design(units.assign(unit=units["unit"] + 1_000), "age"), key="unit", base_period=BASE)
    with pytest.raises(DesignError, match="no column"):
        at.matched_did(panel, design(units, "age"), key="who", base_period=BASE)
    with pytest.raises(DesignError, match="no second answer"):
        at.matched_did(panel, design(units, "then"), key="unit", base_period=BASE, base_outcome_matched="declared")
