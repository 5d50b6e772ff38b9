"""TWFE: against dummies and statsmodels, unbalanced, weighted and clustered; what it hides, and what it refuses."""

from __future__ import annotations

import fe_oracle
import numpy as np
import pandas as pd
import pytest
from did_oracle import panel as random_panel
from hypothesis import given, settings
from hypothesis import strategies as st

import attribution as at
from attribution.cohorts.cells import build_cells
from attribution.errors import EstimationError

COLUMNS = {"unit": "unit", "period": "t", "cohort": "g", "outcome": "y"}
SETTINGS = [
    pytest.param(dict(missing=0.0), None, None, id="balanced"),
    pytest.param(dict(missing=0.2), None, None, id="unbalanced"),
    pytest.param(dict(missing=0.2), "w", None, id="unbalanced, weighted"),
    pytest.param(dict(missing=0.2), "w", "k", id="unbalanced, weighted, clustered"),
    pytest.param(dict(missing=0.0), None, "k", id="clustered"),
]


def long(rows) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["unit", "g", "t", "y"])


def staggered(effect, units=20, periods=6, starts=(3, 5, np.nan)) -> pd.DataFrame:
    """A panel without noise: y = effect(event time) after treatment, plus unit and period levels."""
    rows = []
    for i in range(units):
        g = starts[i % len(starts)]
        for t in range(1, periods + 1):
            rows.append((i, g, t, i + t * t + (effect(t - g) if t >= g else 0.0)))
    return long(rows)


def test_two_groups_two_periods_by_hand():
    frame = long([(0, 2, 1, 1.0), (0, 2, 2, 6.0), (1, 2, 1, 2.0), (1, 2, 2, 5.0),
                  (2, np.nan, 1, 0.0), (2, np.nan, 2, 1.0), (3, np.nan, 1, 3.0), (3, np.nan, 2, 6.0)])  # fmt: skip
    fit = at.twfe(at.Panel(frame, **COLUMNS), form="static", few_clusters="off")
    assert fit.estimate[0] == pytest.approx((5 + 3) / 2 - (1 + 3) / 2)
    # changes 5, 3 and 1, 3: each arm has sum of squares 2 around its mean, so variance 2/2^2 + 2/2^2
    assert fit.std_error[0] == pytest.approx(1.0)
    assert (fit.n_treated[0], fit.n_comparison[0]) == (2, 2)
    # leaving one of two units out moves their mean twice as far as its score: and four units make three degrees
    auto = at.twfe(at.Panel(frame, **COLUMNS), form="static")
    assert auto.std_error[0] == pytest.approx(2.0) and auto.dof == pytest.approx([3])
    assert "1 of 1 estimates rest on fewer than 20 treated or comparison units" in auto.summary()


@pytest.mark.parametrize(("made", "weight", "cluster"), SETTINGS)
def test_static_equals_dummies(made, weight, cluster):
    frame = random_panel(120, cohorts=(2, 3, 5, 9), seed=3, **made)
    fit = at.twfe(at.Panel(frame, **COLUMNS, weight=weight, cluster=cluster), form="static",
                  few_clusters="off")  # fmt: skip
    beta, cov = fe_oracle.regression(frame, (frame["t"] >= frame["g"]).to_numpy()[:, None], weight=weight,
                                     group=cluster or "unit")  # fmt: skip
    np.testing.assert_allclose(fit.estimate, beta, rtol=1e-10)
    np.testing.assert_allclose(fit.cov, cov, rtol=1e-8)


@pytest.mark.parametrize(("made", "weight", "cluster"), SETTINGS)
def test_event_study_equals_dummies(made, weight, cluster):
    frame = random_panel(120, cohorts=(2, 3, 5), seed=4, **made)
    fit = at.twfe(at.Panel(frame, **COLUMNS, weight=weight, cluster=cluster), form="event_study", base_period=-1,
                  few_clusters="off")  # fmt: skip
    event = (frame["t"] - frame["g"]).to_numpy()
    columns = event[:, None] == fit.labels["event_time"].to_numpy()[None]
    beta, cov = fe_oracle.regression(frame, columns, weight=weight, group=cluster or "unit")
    assert fit.labels["event_time"].tolist() == [-4, -3, -2, 0, 1, 2, 3]
    np.testing.assert_allclose(fit.estimate, beta, rtol=1e-9)
    np.testing.assert_allclose(fit.cov, cov, rtol=1e-7, atol=1e-12)


def test_statsmodels_without_correction():
    import statsmodels.api as sm

    frame = random_panel(80, cohorts=(3, 4), seed=5, missing=0.1)
    known = frame[frame["y"].notna()]
    x = np.column_stack([known["t"] >= known["g"], fe_oracle.dummies(known)]).astype(float)
    theirs = sm.OLS(known["y"].to_numpy(), x).fit(
        cov_type="cluster", cov_kwds={"groups": known["unit"], "use_correction": False}
    )
    fit = at.twfe(at.Panel(frame, **COLUMNS), form="static")
    assert fit.estimate[0] == pytest.approx(theirs.params[0], rel=1e-9)
    assert fit.std_error[0] == pytest.approx(theirs.bse[0], rel=1e-8)


def test_small_sample_factor():
    frame = random_panel(50, cohorts=(3, 4), seed=6)
    plain, small = (at.twfe(at.Panel(frame, **COLUMNS), form="static", small_sample=s) for s in (False, True))
    n, units, k = 250, 50, 1 + 5
    assert (small.std_error / plain.std_error)[0] ** 2 == pytest.approx(units / (units - 1) * (n - 1) / (n - k))


def test_cells_and_units_agree():
    """The same panel compressed (few cohorts, many units) and with every unit a cluster of its own."""
    frame = random_panel(400, cohorts=(3, 4), seed=7)
    one, other = at.Panel(frame, **COLUMNS), at.Panel(frame, **COLUMNS, cluster="unit")
    assert build_cells(one).compressed and len(build_cells(one).w) < 400
    a, b = (at.twfe(p, form="event_study", base_period=-1, small_sample=True) for p in (one, other))
    np.testing.assert_allclose(a.estimate, b.estimate, rtol=1e-10)
    np.testing.assert_allclose(a.cov, b.cov, rtol=1e-9)
    assert (a.spec["score_rows"], b.spec["score_rows"]) == ("cells", "clusters")


def test_negative_weights_turn_growing_effects_around():
    """Every unit's effect is positive and grows; two cohorts, no never treated: the coefficient is negative."""
    frame = staggered(lambda e: 1 + 4 * e, periods=10, starts=(3, 6))
    panel = at.Panel(frame, **COLUMNS)
    fit, weights = at.twfe(panel, form="static"), at.twfe_weights(panel)
    assert fit.estimate[0] < 0
    assert weights["weight"].sum() == pytest.approx(1)
    below = weights["weight"] < 0
    assert below.any() and set(weights.loc[below, "cohort"]) == {3}  # the early cohort, late
    assert fit.spec["negative_weight"] == pytest.approx(-weights.loc[below, "weight"].sum())
    assert f"{below.sum()} of the {len(weights)} ATT(g, t) behind it have a negative weight" in fit.summary()


def test_weights_times_effects_are_the_coefficient():
    frame = random_panel(90, cohorts=(2, 3, 4), seed=8, missing=0.15)
    effect = frame["g"].fillna(0) + frame["t"] ** 1.5  # one effect for each ATT(g, t), nothing else in the outcome
    frame["y"] = np.where(frame["y"].isna(), np.nan, np.where(frame["t"] >= frame["g"], effect, 0) + frame["unit"])
    panel = at.Panel(frame, **COLUMNS)
    weights = at.twfe_weights(panel)
    total = (weights["weight"] * (weights["cohort"] + weights["period"] ** 1.5)).sum()
    assert at.twfe(panel, form="static").estimate[0] == pytest.approx(total, rel=1e-9)


def test_no_negative_weights_with_one_cohort():
    fit = at.twfe(at.Panel(staggered(lambda e: 1.0, starts=(4, np.nan)), **COLUMNS), form="static")
    assert fit.estimate[0] == pytest.approx(1) and fit.spec["negative_weight"] == 0
    assert "None of the 3 ATT(g, t)" in fit.summary()


def test_always_treated_are_counted():
    fit = at.twfe(at.Panel(staggered(lambda e: 1.0, starts=(1, 4, np.nan)), **COLUMNS), form="static")
    assert any("7 units treated in or before the first period" in note for note in fit.notes)


@pytest.mark.parametrize(
    ("frame", "options", "match"),
    [
        (staggered(lambda e: 1.0, starts=(4,)), dict(form="static"), "determined by the others"),
        (staggered(lambda e: 1.0, starts=(np.nan,)), dict(form="static"), "at least one unit treated"),
        (staggered(lambda e: 1.0, starts=(3, 5)), dict(form="event_study", base_period=-1), "leave out a further"),
        (staggered(lambda e: 1.0), dict(form="event_study"), "base_period with event_study"),
        (staggered(lambda e: 1.0), dict(form="static", base_period=-1), "base_period with event_study"),
        (staggered(lambda e: 1.0), dict(form="event_study", base_period=-9), "among the observed event times"),
        (staggered(lambda e: 1.0), dict(form="event_study", base_period=-1.5), "base_period as event times"),
        (staggered(lambda e: 1.0), dict(form="dynamic"), "static"),
    ],
)
def test_refusals(frame, options, match):
    with pytest.raises(EstimationError, match=match):
        at.twfe(at.Panel(frame, **COLUMNS), **options)


def test_risk_sets_are_refused():
    frame = staggered(lambda e: 1.0).assign(risk=3.0)
    with pytest.raises(EstimationError, match="sequential trials"):
        at.twfe(at.Panel(frame[frame["g"] != 5], **COLUMNS, risk_set="risk"), form="static")


def test_one_cluster_is_refused():
    with pytest.raises(EstimationError, match="two clusters"):
        at.twfe(at.Panel(staggered(lambda e: 1.0).assign(k=1), **COLUMNS, cluster="k"), form="static")


FAMILY = {
    "twfe": lambda panel, **rule: at.twfe(panel, form="static", **rule),
    "twfe_weights": at.twfe_weights,
    "bacon": at.bacon,
    "imputation": lambda panel, **rule: at.imputation(panel, by="overall", **rule),
    "pretrend": lambda panel, **rule: at.imputation_pretrend(panel, leads=1, **rule),
    "sun_abraham": lambda panel, **rule: at.sun_abraham(panel, comparison="never_treated", base_period=-1, **rule),
    "last_cohort": lambda panel, **rule: at.sun_abraham(panel, comparison="last_cohort", base_period=-1, **rule),
}


@pytest.mark.parametrize("name", FAMILY)
def test_several_outcomes_and_cross_sections_are_refused(name):
    frame = staggered(lambda e: 1.0).assign(z=lambda f: f["y"] ** 2)
    with pytest.raises(EstimationError, match=r"one outcome; found: several \[2\] \(for example y, z\)"):
        FAMILY[name](at.Panel(frame, **{**COLUMNS, "outcome": ["y", "z"]}))
    with pytest.raises(EstimationError, match="repeated cross-sections"):
        FAMILY[name](at.Panel(frame, **{**COLUMNS, "unit": None}))


@pytest.mark.parametrize("name", sorted(set(FAMILY) - {"twfe_weights"}))
def test_few_clusters_are_refused(name):
    """By the rule of group_time_att: at most 40 clusters, or up to 200 and fewer than 20 in an arm."""
    frame = random_panel(240, periods=(1, 2, 3, 4, 5, 6), cohorts=(4, 6), seed=3)
    number = frame["unit"] % 60
    some = frame.assign(k=np.where(frame["g"] == 4, number % 19, number))
    for few, clusters in ((frame.assign(k=number % 40), 40), (frame.assign(k=number % 8), 8), (some, 60)):
        clusters = r"\d+" if name == "last_cohort" else clusters  # those of the never treated are gone
        panel = at.Panel(few, **COLUMNS, cluster="k")
        with pytest.raises(EstimationError, match=f"k: required: more than 40 clusters.*found: {clusters} clusters.*"
                                                  "use group_time_att, which corrects"):  # fmt: skip
            FAMILY[name](panel)
        if name != "pretrend":
            fit = FAMILY[name](panel, few_clusters="off")
            (note,) = [note for note in fit.notes if note.startswith("Few clusters (")]
            assert note.startswith(f"Few clusters ({fit.spec['clusters']}, ")
            assert name == "last_cohort" or fit.spec["clusters"] == clusters
            assert fit.spec["few_clusters"] == "off"
            assert "_units" not in vars(panel)  # no unit's rows were loaded
    FAMILY[name](at.Panel(frame.assign(k=number), **COLUMNS, cluster="k"))
    own = at.Panel(frame[frame["unit"] < 16], **COLUMNS).by_unit()  # a unit as its own cluster is no few clusters
    if name == "pretrend":
        with pytest.raises(EstimationError, match="20 units or more behind every event time"):
            FAMILY[name](own)
    else:
        assert not any("Few clusters" in note for note in FAMILY[name](own).notes)


def few_treated(r) -> at.Panel:
    """Three treated units among 60, two periods, no effect."""
    frame = pd.DataFrame({"unit": np.arange(60), "g": np.where(np.arange(60) < 3, 2.0, np.nan),
                          **{f"y{t}": r.normal(size=60) for t in (1, 2)}})  # fmt: skip
    return at.Panel(frame, unit="unit", cohort="g", outcome={1: "y1", 2: "y2"})


def test_few_treated_units_as_in_group_time_att():
    """One difference of means, one standard error; three against 57 equal units have little over two degrees."""
    panel = few_treated(np.random.default_rng(5))
    gt = at.group_time_att(panel, comparison="never_treated", base_period=-1)
    n, m = 3, 57
    dof = (1 / n + 1 / m) ** 2 / (1 / n**3 + 1 / m**3) - 1
    for name in ("twfe", "sun_abraham", "imputation"):
        fit = FAMILY[name](panel)
        assert fit.std_error == pytest.approx(gt.std_error[-1:]) and fit.dof == pytest.approx([dof])


@pytest.mark.slow
def test_few_treated_units_reject_seldom():
    """The scores as they are reject a true null in every fourth panel; the three estimators are one here."""
    r, rejected, reps = np.random.default_rng(5), {"auto": 0, "off": 0}, 100
    for _ in range(reps):
        panel = few_treated(r)
        for rule in rejected:
            low, high = FAMILY["twfe"](panel, few_clusters=rule).conf_int()
            rejected[rule] += not low[0] <= 0 <= high[0]
    assert rejected["auto"] / reps <= 0.07 + 2 * np.sqrt(0.07 * 0.93 / reps)
    assert rejected["off"] / reps > 0.15


def test_large_cohorts_are_left_alone():
    panel = at.Panel(random_panel(240, cohorts=(2, 4), seed=3), **COLUMNS)
    for name in ("twfe", "sun_abraham", "imputation"):
        auto, off = (FAMILY[name](panel, few_clusters=rule) for rule in ("auto", "off"))
        assert auto.dof is None and auto.scores.tobytes() == off.scores.tobytes()


def test_two_event_times_left_out_are_two_bases():
    """They are no window: the coefficients are not measured from their mean, so honest bounds have no base."""
    panel = at.Panel(random_panel(200, periods=(1, 2, 3, 4, 5, 6), cohorts=(4, 6), seed=3), **COLUMNS)
    two, one = (at.twfe(panel, form="event_study", base_period=base) for base in ((-1, -4), -1))
    assert two.spec["bases"] == ((-4,), (-1,)) and one.spec["bases"] == ((-1,),)
    assert "bases" not in at.twfe(panel, form="static").spec
    with pytest.raises(EstimationError, match="several bases"):
        at.relative_magnitudes(two, pre_periods=(-3, -2))
    assert np.isfinite(at.relative_magnitudes(one, pre_periods=(-3, -2), mbar=(1,)).tidy()["conf_low"]).all()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), missing=st.sampled_from([0.0, 0.1, 0.3]))
def test_row_order_levels_and_scale(seed, missing):
    frame = random_panel(40, cohorts=(2, 4), seed=seed, missing=missing)
    other = frame.sample(frac=1, random_state=seed)
    other = other.assign(y=3 * other["y"] + 1e3 * other["unit"] + 50 * other["t"])  # unit and period effects
    before = frame.copy()
    a, b = (at.twfe(at.Panel(f, **COLUMNS), form="static") for f in (frame, other))
    np.testing.assert_allclose(b.estimate, 3 * a.estimate, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(b.std_error, 3 * a.std_error, rtol=1e-6)
    pd.testing.assert_frame_equal(frame, before)
