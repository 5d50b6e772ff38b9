"""Matched difference-in-differences: by hand, the refusal of the base-period outcome, both answers, the known bias."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import attribution as at
from attribution.design.propensity import propensity
from attribution.errors import DesignError
from attribution.results import Design, WeightModel

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


def odds_weighted(units, covariates, *, model=True) -> Design:
    """The ATT weights p / (1 - p) of a logit, with the influence of its coefficients."""
    fit = propensity(units, "treated", covariates)
    t, n = units["treated"].to_numpy().astype(bool), len(units)
    x = np.column_stack([np.ones(n), units[covariates]])
    odds = np.where(t, 1.0, np.exp(fit.logit))
    p = fit.probability
    influence = (x * (t - p)[:, None]) @ np.linalg.inv((x.T * (p * (1 - p))) @ x)
    slopes = np.where(t[:, None], 0.0, x * odds[:, None])
    return Design(
        estimand="ATT", units=units, treatment="treated", covariates=tuple(covariates), weights=odds,
        pairs=pd.DataFrame(), strata=np.arange(n), discarded=np.zeros(n, bool), unmatched=np.zeros(n, bool),
        weight_model=WeightModel(influence=influence, slopes=slopes) if model else None,
    )  # fmt: skip


def trending(n: int, seed: int, effect: float = 0.5):
    """Outcomes drift with age and the treated are older: parallel only between people of like age."""
    rng = np.random.default_rng(seed)
    age = rng.normal(size=n)
    treated = rng.random(n) < 1 / (1 + np.exp(1 - 0.8 * age))
    level, time = rng.normal(size=n), np.arange(4)
    y = level[:, None] + 0.4 * age[:, None] * time + effect * (treated[:, None] & (time >= 3))
    y = y + 0.5 * rng.normal(size=y.shape)
    frame = pd.DataFrame({"unit": np.repeat(np.arange(n), 4), "period": np.tile(time, n), "y": y.ravel(),
                          "cohort": np.repeat(np.where(treated, 3.0, np.nan), 4)})  # fmt: skip
    panel = at.Panel(frame, unit="unit", period="period", cohort="cohort", outcome="y")
    return panel, pd.DataFrame({"unit": np.arange(n), "treated": treated.astype(int), "age": age})


def test_weights_and_what_their_estimation_adds_to_the_error():
    """One change a unit: the error must be that of the stacked equations of a weighted regression of the change."""
    panel, units = trending(400, 0)
    design = odds_weighted(units, ["age"])
    got = at.matched_did(panel, design, key="unit", base_period=-1).effects
    j = list(got.labels["event_time"]).index(0)
    change = pd.Series(panel.y[:, 3] - panel.y[:, 2])
    stacked = at.g_computation(design, change.to_numpy(), adjust=[], model="linear", vcov="m_estimation")
    assert got.estimate[j] == pytest.approx(stacked.estimate[0], rel=1e-9)
    assert got.std_error[j] == pytest.approx(stacked.std_error[0], rel=1e-6)
    fixed = at.matched_did(panel, odds_weighted(units, ["age"], model=False), key="unit", base_period=-1).effects
    assert fixed.std_error[j] != pytest.approx(got.std_error[j], rel=1e-3)
    assert "that carry weight (100%)" in got.estimand


def test_strata_are_the_independent_groups():
    panel, units = trending(300, 1)
    units["cell"] = pd.qcut(units["age"], 60, labels=False)
    counts = units.groupby(["cell", "treated"])["unit"].transform("size")
    both = units.groupby("cell")["treated"].transform("nunique") == 2
    treated_in = units.groupby("cell")["treated"].transform("sum")
    weights = np.where(both, np.where(units["treated"] == 1, 1.0, treated_in / counts), 0.0)
    design = Design(
        estimand="ATT", units=units, treatment="treated", covariates=("age",), weights=weights, pairs=pd.DataFrame(),
        strata=np.where(both, units["cell"], -1), discarded=~both.to_numpy(), unmatched=np.zeros(300, bool),
    )  # fmt: skip
    got = at.matched_did(panel, design, key="unit", base_period=-1).effects
    change = panel.y[:, 3] - panel.y[:, 2]
    cells = units.assign(change=change)[both].pivot_table(index="cell", columns="treated", values="change")
    size = units[both].groupby("cell")["treated"].sum()
    j = list(got.labels["event_time"]).index(0)
    assert got.estimate[j] == pytest.approx(np.average(cells[1] - cells[0], weights=size), rel=1e-9)
    assert got.scores.shape[0] == both[units["treated"] == 1].pipe(lambda s: units.loc[s.index[s], "cell"].nunique())


def test_a_design_that_is_not_a_match_needs_to_be_told_how_to_be_made_again():
    panel, units = levels()
    with pytest.raises(DesignError, match="build="):
        at.matched_did(panel, odds_weighted(units, ["age", "then"]), key="unit", base_period=BASE,
                       base_outcome_matched="declared")  # fmt: skip
    got = at.matched_did(panel, odds_weighted(units, ["age", "then"]), key="unit", base_period=BASE,
                         base_outcome_matched="declared", build=lambda names: odds_weighted(units, names))  # fmt: skip
    assert got.refitted.covariates == ("age",) and got.without is not None


@pytest.mark.parametrize("seeds", [15, pytest.param(100, marks=pytest.mark.slow)])
def test_recovers_an_effect_that_plain_did_misses(seeds):
    rows, plain = [], []
    for seed in range(seeds):
        panel, units = trending(400, seed)
        got = at.matched_did(panel, odds_weighted(units, ["age"]), key="unit", base_period=-1).effects
        j = list(got.labels["event_time"]).index(0)
        low, high = got.conf_int()
        rows.append((got.estimate[j] - 0.5, got.std_error[j], low[j] <= 0.5 <= high[j]))
        naive = at.aggregate(at.group_time_att(panel, comparison="never_treated", base_period=-1), by="event_time")
        plain.append(naive.estimate[j] - 0.5)
    error, se, covered = np.array(rows).T
    assert abs(error.mean()) < 4 * error.std(ddof=1) / np.sqrt(seeds) < np.mean(plain)
    assert se.mean() / error.std(ddof=1) == pytest.approx(1, abs=4 / np.sqrt(2 * seeds))
    assert covered.mean() > 0.95 - 4 * np.sqrt(0.05 * 0.95 / seeds)
