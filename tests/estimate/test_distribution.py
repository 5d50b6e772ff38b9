"""Changes in changes: by hand, against the written-out oracle, against known densities, and at atoms."""

from __future__ import annotations

import json

import cic_oracle as oracle
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from places import ROOT

import attribution as at
from attribution.errors import EstimationError

OPTIONS = {"comparison": "never_treated", "base_period": -1, "by": "overall", "draws": 100}


def panel_of(treated, observed, before, after, *, copies=1, cluster=None) -> at.Panel:
    """Two periods: the treated from `treated` to `observed`, the comparison from `before` to `after`."""
    n, m = len(treated), len(before)
    wide = pd.DataFrame({1: [*treated, *before], 2: [*observed, *after], "g": [2.0] * n + [np.nan] * m})
    wide = pd.concat([wide.assign(k=range(n + m))] * copies, ignore_index=True)
    return panel_of_wide(wide, (1, 2), cluster)


def panel_of_wide(wide: pd.DataFrame, periods, cluster=None) -> at.Panel:
    long = pd.concat([wide[["g", "k"]].assign(u=wide.index, t=t, y=wide[t]) for t in periods])
    return at.Panel(long, unit="u", period="t", cohort="g", outcome="y", cluster=cluster)


def test_by_hand():
    """Ranks of the treated at base are 2/4, 2/4, 4/4: without treatment they would have had 20, 20, 40."""
    panel = panel_of([2, 2, 4], [25, 30, 50], [1, 2, 3, 4], [10, 20, 30, 40])
    out = at.changes_in_changes(panel, quantiles=(0.5, 0.9), **OPTIONS)
    assert out.effects.estimate.tolist() == pytest.approx([35 - 80 / 3, 30 - 20, 50 - 40])
    assert not out.at_atom.any() and out.effects.n_treated.tolist() == [3, 3, 3]
    assert out.effects.n_comparison[0] == 4


@pytest.mark.parametrize("units, cluster, few", [(30, None, False), (12, None, True), (30, "k", True)])
def test_few_units_or_clusters_are_said(units, cluster, few):
    r = np.random.default_rng(1)
    wide = pd.DataFrame(r.normal(size=(units + 60, 2)), columns=[1, 2])
    wide = wide.assign(g=np.where(wide.index < units, 2.0, np.nan), k=wide.index // 10)
    out = at.changes_in_changes(panel_of_wide(wide, (1, 2), cluster), **OPTIONS)
    assert any("too small for so few" in note for note in out.effects.notes) == few


def test_bounds_at_zero_by_hand():
    """Half of the comparison starts at zero; of these, half rise to 8. A treated unit at zero: anything from 0 to 8."""
    panel = panel_of([0, 0, 6, 6], [9, 9, 9, 9], [0, 0, 0, 0, 6, 6, 6, 6], [0, 0, 8, 8, 10, 10, 10, 10])
    out = at.changes_in_changes(panel, quantiles=(0.25, 0.75), **OPTIONS)
    assert out.effects.estimate.tolist() == pytest.approx([9 - (0 + 8 + 10 + 10) / 4, 9 - 0, 9 - 10])
    assert out.lower.estimate.tolist() == pytest.approx([9 - (8 + 8 + 10 + 10) / 4, 9 - 8, 9 - 10])
    assert out.upper.estimate.tolist() == pytest.approx([9 - (0 + 0 + 10 + 10) / 4, 9 - 0, 9 - 10])
    assert out.at_atom.tolist() == [True, True, False]
    assert out.cells["largest_atom"].iloc[0] == 0.5
    assert "ties at base, the largest 50.0%" in out.summary()


def test_a_few_equal_cents_among_thousands_are_no_bounds():
    r = np.random.default_rng(0)
    treated, observed, before, after = (r.normal(size=n).tolist() for n in (1_000, 1_000, 3_000, 3_000))
    middle = np.argsort(before)[1_500:1_502]
    before[middle[0]] = before[middle[1]] = treated[0] = 0.5 * (before[middle[0]] + before[middle[1]])
    out = at.changes_in_changes(panel_of(treated, observed, before, after), **OPTIONS)
    assert not out.at_atom.any() and "no bounds shown" in out.summary()
    assert out.cells["largest_atom"].iloc[0] == 2 / 3_000
    np.testing.assert_array_equal(out.lower.scores, out.effects.scores)
    for k in np.argsort(before)[:600]:  # a fifth of the comparison at one value, a tenth of the treated with it
        before[k] = -9.0
    treated[:100] = [-9.0] * 100
    bound = at.changes_in_changes(panel_of(treated, observed, before, after), **OPTIONS)
    assert bound.at_atom[0] and bound.at_atom[1] and "no bounds shown" not in bound.summary()


@given(st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_the_oracle_agrees(seed):
    """Discrete outcomes with many ties, the treated on the comparison's support."""
    r = np.random.default_rng(seed)
    before, after, observed = (r.integers(0, 6, size).tolist() for size in (15, 15, 12))
    treated = r.choice(before, 12).tolist()
    out = at.changes_in_changes(panel_of(treated, observed, before, after), quantiles=(0.15, 0.55, 0.83), **OPTIONS)
    expected = np.array(oracle.effects(treated, observed, before, after, (0.15, 0.55, 0.83)))
    found = np.column_stack([one.estimate for one in (out.lower, out.effects, out.upper)])
    np.testing.assert_allclose(found, expected, atol=1e-9)


@given(st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_a_pure_shift_is_difference_in_differences(seed):
    r = np.random.default_rng(seed)
    before = r.normal(size=30)
    treated = r.choice(before, 20)
    panel = panel_of(treated, treated + 5.0, before, before + 3.0)
    out = at.changes_in_changes(panel, **OPTIONS)
    gt = at.group_time_att(panel, comparison="never_treated", base_period="universal")
    did = at.aggregate(gt, by="overall")
    assert out.mean.estimate[0] == pytest.approx(did.estimate[0]) and did.estimate[0] == pytest.approx(2.0)
    np.testing.assert_allclose(out.deciles.estimate, 2.0)


def test_quantiles_move_with_any_monotone_scale():
    """Unlike difference in differences: counterfactual quantiles of exp(y) are exp of those of y."""
    r = np.random.default_rng(1)
    before, treated = r.normal(size=50), r.normal(0.2, 0.7, size=40)
    after, observed = before * 1.3 + 0.1, treated + 1

    def untreated(f):
        out = at.changes_in_changes(panel_of(*(f(v) for v in (treated, observed, before, after))), **OPTIONS)
        quantiles = [oracle.inverse(f(observed).tolist(), q) for q in out.deciles.labels["quantile"]]
        return np.array(quantiles) - out.deciles.estimate

    np.testing.assert_allclose(untreated(np.exp), np.exp(untreated(lambda v: v)))


def test_standard_error_with_known_densities():
    """Athey & Imbens 2006, theorem 5.1: comparison U(0, 1) then U(0, 2), drawn anew; ranks of the treated Beta(2, 2).

    P and Q have variance 4 Var(F(U)), F the Beta's distribution function; k(u) = 2u, so treated add 8 Var(U).
    """
    r = np.random.default_rng(2)
    n, m = 1_500, 2_500
    out = at.changes_in_changes(
        panel_of(r.beta(2, 2, n), 2 * r.beta(2, 2, n) + 1, r.random(m), 2 * r.random(m)),
        **{**OPTIONS, "draws": 400},
    )
    u = (np.arange(100_000) + 0.5) / 100_000
    known = np.sqrt(8 * np.var(3 * u**2 - 2 * u**3) / m + 8 / 20 / n)
    assert out.mean.std_error[0] == pytest.approx(known, rel=0.12)
    assert out.mean.estimate[0] == pytest.approx(1, abs=3 * known)


def test_standard_error_knows_that_people_stay_the_same():
    """Comparison units that keep their rank say the same twice: only the treated add variance."""
    r = np.random.default_rng(3)
    n, m = 800, 4_000
    u, treated = r.random(m), r.beta(2, 2, n)
    out = at.changes_in_changes(panel_of(treated, 2 * treated + r.normal(size=n), u, 2 * u), **OPTIONS)
    assert out.mean.std_error[0] == pytest.approx(1 / np.sqrt(n), rel=0.2)


def earnings(n: int, seed: int):
    """Latent rank, redrawn in part; income is zero for about an eighth; treatment adds 500 to all."""
    r = np.random.default_rng(seed)
    g = np.where(r.random(n) < 0.4, r.choice([3.0, 4.0], n), np.nan)
    latent = r.normal(size=n) + 0.5 * np.isfinite(g)
    wide = pd.DataFrame({"g": g, "k": range(n)})
    untreated = {}
    for t in (1, 2, 3, 4):
        u = 0.8 * latent + 0.6 * r.normal(size=n)
        untreated[t] = np.maximum(0.0, 1_500 * np.exp(0.5 * u) - 1_200 + 100 * t)
        wide[t] = untreated[t] + 500 * (t >= np.nan_to_num(g, nan=np.inf))
    return panel_of_wide(wide, (1, 2, 3, 4)), wide, untreated


def test_recovery_with_an_atom_at_zero():
    panel, wide, untreated = earnings(20_000, 4)
    out = at.changes_in_changes(panel, **{**OPTIONS, "by": "event_time", "base_period": -2})
    table = out.tidy(level=0.999)  # ten intervals at once
    assert sorted(table["event_time"].unique()) == [-3, -1, 0, 1]
    first = table[table["event_time"] == 0]
    with_, without = (np.concatenate([frame[g][wide["g"] == g] for g in (3, 4)]) for frame in (wide, untreated))
    q = first["quantile"].dropna().to_numpy()
    truth = np.r_[500.0, np.quantile(with_, q) - np.quantile(without, q)]
    assert (first["set_low"] <= truth).all() and (truth <= first["set_high"]).all()
    placebo = table[(table["event_time"] == -1) & table["quantile"].isna()].iloc[0]
    assert placebo["set_low"] < 0 < placebo["set_high"]
    assert first["at_atom"].iloc[0] and not first["at_atom"].iloc[-1]


def test_a_decile_inside_an_atom_before_and_after_has_no_interval():
    """Nobody at the first decile earns, with or without treatment: zero effect, no sampling variation to show."""
    zeros = [0.0] * 40
    panel = panel_of([*zeros, *range(1, 41)], [*zeros, *range(1, 41)], [*zeros, *range(1, 41)], [*zeros, *range(1, 41)])
    first = at.changes_in_changes(panel, quantiles=(0.1, 0.9), **OPTIONS).tidy().iloc[1]
    assert first["estimate"] == 0 and np.isnan(first["std_error"]) and not first["at_atom"]


@pytest.mark.slow
def test_intervals_cover():
    """200 samples: the truth is inside in 95 % of them, give or take three simulation errors (bounds cover more)."""
    hits = []
    for seed in range(200):
        panel, _, _ = earnings(1_500, seed)
        table = at.changes_in_changes(panel, quantiles=(0.5, 0.8), **{**OPTIONS, "draws": 200}).tidy()
        hits.append(((table["set_low"] < 500) & (table["set_high"] > 500)).to_numpy())
    share = np.mean(hits, axis=0)
    assert (share > 0.905).all() and (share < 0.995).all(), share


def test_cohorts_are_pooled_by_size():
    panel, _, _ = earnings(3_000, 5)
    pooled = at.changes_in_changes(panel, **{**OPTIONS, "by": "overall"})
    each = at.changes_in_changes(panel, **{**OPTIONS, "by": "group_time"})
    after = (each.mean.labels["event_time"] >= 0).to_numpy()
    n = each.mean.n_treated[after]
    assert pooled.mean.estimate[0] == pytest.approx(n @ each.mean.estimate[after] / n.sum())


def test_rows_in_any_order_and_clusters_of_copies_give_the_same():
    r = np.random.default_rng(6)
    data = (r.random(30), r.random(30), r.random(40), r.random(40))
    one = at.changes_in_changes(panel_of(*data, cluster="k"), **OPTIONS)
    doubled = at.changes_in_changes(panel_of(*data, copies=2, cluster="k"), **OPTIONS)
    np.testing.assert_allclose(doubled.effects.estimate, one.effects.estimate)
    np.testing.assert_allclose(doubled.effects.std_error, one.effects.std_error)
    panel, wide, _ = earnings(300, 7)
    first = at.changes_in_changes(panel, **OPTIONS)
    again = at.changes_in_changes(panel_of_wide(wide.sample(frac=1, random_state=0), (4, 1, 3, 2)), **OPTIONS)
    pd.testing.assert_frame_equal(first.tidy(), again.tidy())


def test_weights_are_copies():
    r = np.random.default_rng(8)
    times = np.r_[[1, 3, 2, 1], [2, 1, 1, 4, 1]]
    wide = pd.DataFrame({1: r.integers(0, 3, 9), 2: r.integers(0, 5, 9), "g": [2.0] * 4 + [np.nan] * 5, "k": range(9)})
    copies = panel_of_wide(wide.loc[np.repeat(wide.index, times)].reset_index(drop=True), (1, 2))
    long = pd.concat([wide[["g"]].assign(u=wide.index, t=t, y=wide[t], w=times) for t in (1, 2)])
    weighted = at.Panel(long, unit="u", period="t", cohort="g", outcome="y", weight="w")
    found, expected = (at.changes_in_changes(p, **OPTIONS) for p in (weighted, copies))
    np.testing.assert_allclose(found.effects.estimate, expected.effects.estimate)


def test_treated_outside_the_support_are_counted():
    panel = panel_of([-5, 2, 9, 9], [1, 2, 3, 4], [1, 2, 3, 4], [10, 20, 30, 40])
    out = at.changes_in_changes(panel, **OPTIONS)
    assert out.cells["outside_support"].tolist() == [3]
    assert out.mean.estimate[0] == pytest.approx(2.5 - (10 + 20 + 40 + 40) / 4)
    assert "3 of 4 treated unit-periods (75.0%) lie outside the support" in out.summary()
    inside = dict(zip(out.effects.labels["quantile"], out.in_support, strict=True))
    assert [q for q in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6) if inside[q]] == [0.3, 0.4, 0.5]  # one below, two above of four
    assert not out.in_support[0]


def test_a_risk_set_is_compared_with_itself():
    """A cohort's comparison are the records at risk with it, whatever those of the other cohort do."""
    rows = []
    for g, jump in ((2, 10.0), (3, 1_000.0)):
        for k in range(20):
            treated = k < 8
            for t in (1, 2, 3):
                y = k % 8 + jump * (t >= g) + 1.0 * (treated and t >= g)
                rows.append({"u": f"{g}-{k}", "t": t, "g": g if treated else np.nan, "risk": g, "y": y})
    panel = at.Panel(pd.DataFrame(rows), unit="u", period="t", cohort="g", outcome="y", risk_set="risk")
    out = at.changes_in_changes(panel, **{**OPTIONS, "by": "cohort"})
    assert out.effects.n_comparison.tolist() == [12] * 20
    assert (out.lower.estimate <= 1.0).all() and (out.upper.estimate >= 1.0).all()


def test_everything_says_what_deciles_are():
    out = at.changes_in_changes(panel_of([1, 2], [1, 2], [1, 2, 3], [1, 2, 3]), **OPTIONS)
    assert "effects on deciles, not deciles of effects" in out.summary()
    assert out.tidy()["estimand"].str.contains("effects on deciles, not deciles of effects").all()


def test_cells_without_two_of_each_have_a_reason():
    panel, wide, _ = earnings(400, 9)
    alone = wide.assign(g=wide["g"].where(wide["g"] != 4))
    alone.loc[0, "g"] = 4.0
    out = at.changes_in_changes(panel_of_wide(alone, (1, 2, 3, 4)), **OPTIONS)
    reasons = out.cells.set_index("cohort")["reason"]
    assert reasons.loc[4].str.contains("fewer than two treated").all() and (reasons.loc[3] == "").all()
    assert "could not be estimated: fewer than two treated" in out.summary()


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"base_period": 0}, "base period before treatment"), ({"base_period": -1, "anticipation": 1}, "anticipation"),
     ({"base_period": -7}, "seen at base"), ({"quantiles": (0, 0.5)}, "between 0 and 1"), ({"by": "decile"}, "by"),
     ({"quantiles": 0.5}, "between 0 and 1"),
     ({"draws": 20}, "draws"), ({"comparison": "control"}, "comparison")],
)  # fmt: skip
def test_unclear_calls_are_refused(changes, words):
    panel = panel_of([1, 2], [1, 2], [1, 2, 3], [1, 2, 3])
    with pytest.raises(EstimationError, match=words):
        at.changes_in_changes(panel, **{**OPTIONS, **changes})


def test_one_period_is_refused():
    wide = pd.DataFrame({2: range(6), "g": [2.0] * 3 + [np.nan] * 3, "k": range(6)})
    with pytest.raises(EstimationError, match="two periods or more"):
        at.changes_in_changes(panel_of_wide(wide, (2,)), **OPTIONS)


def test_no_never_treated_is_refused():
    wide = pd.DataFrame({1: range(6), 2: range(6), 3: range(6), "g": [2.0] * 3 + [3.0] * 3, "k": range(6)})
    with pytest.raises(EstimationError, match="not_yet_treated"):
        at.changes_in_changes(panel_of_wide(wide, (1, 2, 3)), **OPTIONS)
    out = at.changes_in_changes(panel_of_wide(wide, (1, 2, 3)), **{**OPTIONS, "comparison": "not_yet_treated"})
    assert out.mean.n_comparison[0] == 3


REFERENCE = json.loads((ROOT / "tests" / "reference" / "cic" / "changes_in_changes.json").read_text())
CASES = {case["id"]: case for case in REFERENCE["cases"]}


def fit_case(case, **options):
    samples = (case[name] for name in ("treated", "observed", "before", "after"))
    return at.changes_in_changes(panel_of(*samples), **{**OPTIONS, **options})


def test_the_reference_agrees_on_its_support():
    out = fit_case(CASES["continuous"])
    np.testing.assert_allclose(out.effects.estimate, [CASES["continuous"]["att"], *CASES["continuous"]["qte"]])
    assert not out.at_atom.any() and out.in_support.all()


def test_the_reference_is_one_of_our_bounds_at_an_atom():
    case = CASES["atom"]
    out = fit_case(case)
    np.testing.assert_allclose(out.lower.estimate, [case["att"], *case["qte"]])
    assert out.at_atom.any() and (out.upper.estimate >= out.effects.estimate).all()


def test_standard_errors_of_the_reference():
    """Theirs resamples units 4,000 times, ours draws smooth weights: equal up to the size of the sample."""
    case = CASES["gamma"]
    out = fit_case(case, draws=1_000)
    assert out.mean.estimate[0] == pytest.approx(case["att"], abs=0.1 * case["se"])
    assert out.mean.std_error[0] == pytest.approx(case["se"], rel=0.08)
    np.testing.assert_allclose(out.deciles.std_error, case["qte_se"], rtol=0.2)
