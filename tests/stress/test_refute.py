"""DoWhy's refuters with our own designs plugged in: everything is refitted."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
from matching_reference import LALONDE, case, data, school

from attribution.design.cardinality import cardinality_match
from attribution.design.match import match
from attribution.design.propensity import propensity
from attribution.errors import DesignError
from attribution.estimate.att import att
from attribution.results import Design
from attribution.stress.refute import KINDS, placebo_treatment, random_common_cause, refute

BANDS = {"placebo": "placebo_treatment", "random_common_cause": "random_common_cause", "subset": "subset_80",
         "bootstrap": "bootstrap", "dummy_outcome": "permuted_outcome"}  # fmt: skip


def ipw(units, treatment, covariates=tuple(LALONDE), stale=None) -> Design:
    """Odds weights of a logit, as the reference has them; `stale` is a score that is never refitted."""
    score = propensity(units, treatment, list(covariates))
    p = score.probability if stale is None else stale
    n, none = len(units), np.zeros(len(units), bool)
    return Design(
        estimand="ATT", units=units, treatment=treatment, covariates=tuple(covariates),
        weights=np.where(score.treated, 1.0, p / (1 - p)), pairs=pd.DataFrame(columns=["treated", "comparison"]),
        strata=np.arange(n), discarded=none, unmatched=none, propensity=p,
    )  # fmt: skip


def in_the_band(kind: str, n: int, seed: int) -> None:
    found = case("refuters_lalonde")["results"]
    peer = found[BANDS[kind]]
    (check,) = refute(
        data("lalonde"), "treat", outcome="re78", build=ipw, estimate=partial(att, vcov="HC0"), kinds=[kind], n=n,
        seed=seed,
    )  # fmt: skip
    draws = check.table["effect"].to_numpy()
    ours = draws.std(ddof=1) / np.sqrt(n)
    assert abs(draws.mean() - peer["mean"]) < 4 * np.hypot(ours, peer["mc_se_mean"])
    assert draws.std(ddof=1) == pytest.approx(peer["sd"], rel=0.15)
    assert check.passed is None


@pytest.mark.parametrize("kind", KINDS)
def test_monte_carlo_bands_of_the_reference(kind):
    in_the_band(kind, n=300, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_monte_carlo_bands_with_as_many_refits_as_the_reference(kind):
    in_the_band(kind, n=1000, seed=2)


def test_the_estimate_refuted_is_the_references():
    effect = att(ipw(data("lalonde"), "treat"), "re78")
    assert effect.estimate[0] == pytest.approx(case("refuters_lalonde")["results"]["ipw_att"], rel=1e-6)


def test_a_score_that_is_not_refitted_is_caught():
    """What DoWhy's own propensity estimators do; the reference says 1,060 where zero is right."""
    units = data("lalonde")
    stale = partial(ipw, stale=propensity(units, "treat", LALONDE).probability)
    (check,) = refute(units, "treat", outcome="re78", build=stale, kinds=["placebo"], n=100)
    assert check.passed is False
    peer = case("refuters_lalonde")["results"]["wrong_placebo_with_stale_ps"]
    assert abs(check.statistic - peer["mean"]) < 4 * np.hypot(check.std_error, peer["mc_se_mean"])


def test_every_kind_that_is_valid_for_the_design_in_one_call():
    units, build = school(400, effect=0.3), partial(match, covariates=["x", "b"], caliper_sd=0.2, key="key")
    before, state = units.copy(), np.random.get_state()[1].copy()  # noqa: NPY002
    checks = refute(units, "treated", outcome="y", build=build, n=5)
    assert [check.name for check in checks] == [
        "placebo treatment", "random common cause", "data subset", "dummy outcome",
    ]  # fmt: skip
    assert all(check.passed is not True and check.only_lowers for check in checks)
    assert units.equals(before)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    again = refute(units, "treated", outcome="y", build=build, n=5)
    for one, other in zip(checks, again, strict=True):
        pd.testing.assert_frame_equal(one.table, other.table)
        assert one.table["effect"].nunique() == 5
    other = refute(units, "treated", outcome="y", build=build, n=5, seed=1)
    assert not any(one.table.equals(two.table) for one, two in zip(checks, other, strict=True))


def test_bootstrap_of_matching_is_refused():
    build = partial(match, covariates=["x", "b"])
    with pytest.raises(DesignError, match="Abadie & Imbens 2008"):
        refute(school(200), "treated", outcome="y", build=build, kinds=["subset", "bootstrap"], n=5)


def test_bootstrap_of_cardinality_matching_is_refused():
    """Its answer jumps with the units at hand, as a nearest neighbour's does, and no theorem says otherwise."""
    build = partial(cardinality_match, covariates=["x", "b"])
    with pytest.raises(DesignError, match="imitate"):
        refute(school(200), "treated", outcome="y", build=build, kinds=["bootstrap"], n=2)


def test_a_continuous_covariate_is_not_offered_to_exact_cells():
    def build(units, treatment):
        return Design(**{**vars(ipw(units, treatment, ("x", "b"))), "spec": {"method": "exact"}})

    names = [check.name for check in refute(school(200), "treated", outcome="y", build=build, n=2)]
    assert names == ["placebo treatment", "data subset", "bootstrap", "dummy outcome"]
    with pytest.raises(DesignError, match="alone in its cell"):
        refute(school(200), "treated", outcome="y", build=build, kinds=["random_common_cause"], n=2)


def test_bootstrap_finds_a_standard_error_that_is_too_small():
    class Tenth:
        def __init__(self, effect):
            self.estimate, self.std_error = effect.estimate, effect.std_error / 10

    build = partial(ipw, covariates=("x", "b"))
    (sound,) = refute(school(300), "treated", outcome="y", build=build, kinds=["bootstrap"], n=40)
    (small,) = refute(
        school(300), "treated", outcome="y", build=build, estimate=lambda *a: Tenth(att(*a)), kinds=["bootstrap"], n=40
    )
    assert sound.passed is None
    assert small.passed is False
    assert "The standard error is too small: resamples vary" in small.text


def test_a_build_sees_the_columns_it_knows_and_a_key_stays_a_key_when_units_are_drawn_twice():
    frame, seen = school(150), []

    def build(units, treatment):
        assert set(units) == set(frame) and units["x"].isin(frame["x"]).all()
        seen.append(units["key"].is_unique)
        design = ipw(units, treatment, ("x", "b"))
        return Design(**{**vars(design), "spec": {"key": "key"}})

    refute(frame, "treated", outcome="y", build=build, kinds=["bootstrap", "placebo", "dummy_outcome"], n=3)
    assert len(seen) == 10 and all(seen)


def test_outcomes_kept_apart_travel_with_their_units():
    units = school(200, effect=5.0)
    apart = units[["y"]].sample(frac=1, random_state=1)
    build = partial(match, covariates=["x", "b"])
    (check,) = refute(units.drop(columns="y"), "treated", outcome="y", data=apart, build=build, kinds=["subset"], n=4)
    (whole,) = refute(units, "treated", outcome=units["y"].to_numpy(), build=build, kinds=["subset"], n=4)
    pd.testing.assert_frame_equal(check.table, whole.table)
    assert check.table["effect"].between(4, 6).all()


def test_draws_without_a_design_are_counted():
    calls = []

    def build(units, treatment):
        calls.append(1)
        if len(calls) == 3:
            raise DesignError("overlap", "none", "nothing")
        return match(units, treatment, covariates=["x"])

    (check,) = refute(school(100), "treated", outcome="y", build=build, kinds=["placebo"], n=5)
    assert "4 of 5 refits" in check.text and check.table["effect"].isna().sum() == 1
    calls[:] = [1, 1, 1]

    def never(units, treatment):
        calls.append(1)
        if len(calls) > 4:
            raise DesignError("overlap", "none", "nothing")
        return match(units, treatment, covariates=["x"])

    with pytest.raises(DesignError, match=r"at least two refits .* found: 0 of 5"):
        refute(school(100), "treated", outcome="y", build=never, kinds=["placebo"], n=5)


@pytest.mark.parametrize("options", [{"kinds": ["coin"]}, {"n": 1}, {"fraction": 1.0}])
def test_bad_options_are_refused(options):
    with pytest.raises(DesignError):
        refute(school(100), "treated", outcome="y", build=partial(match, covariates=["x"]), **options)


def test_placebo_treatment_of_matching_finds_nothing_in_any_order_of_covariates():
    """The peers' stale score gives 1,060 to 1,090 here; a refit gives about zero."""
    check = placebo_treatment(
        data("lalonde"), "treat", outcome="re78", covariates=LALONDE, caliper_sd=0.2, n=40, seed=1
    )
    assert abs(check.statistic) < 4 * check.std_error
    assert check.passed is None  # never a reason to trust more
    again = placebo_treatment(data("lalonde"), "treat", outcome="re78", covariates=LALONDE[::-1], caliper_sd=0.2, n=40,
                              seed=1)  # fmt: skip
    np.testing.assert_array_equal(again.table["effect"], check.table["effect"])
    assert check.table["effect"].nunique() > 30


def test_random_common_cause_moves_little():
    frame = school(600, effect=0.3)
    before = frame.copy()
    check = random_common_cause(
        frame, "treated", outcome="y", covariates=["x", "z", "b"], caliper_sd=0.2, key="key", n=10
    )
    assert check.passed is None
    assert abs(check.statistic) < check.threshold
    assert frame.equals(before)
    assert random_common_cause(
        frame, "treated", outcome="y", covariates=["x", "z", "b"], n=5, largest_shift=1e-9
    ).passed is False  # fmt: skip
