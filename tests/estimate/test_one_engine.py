"""The engine: sums and second moments give what the units themselves would give, whatever way the table comes in."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from estimate.did_oracle import att_gt, panel
from hypothesis import given, settings
from hypothesis import strategies as st
from places import ROOT

from attribution.cohorts import cells as engine
from attribution.cohorts.cells import build_cells
from attribution.cohorts.panel import Panel
from attribution.errors import EstimationError
from attribution.estimate.aggregate import aggregate
from attribution.estimate.did import group_time_att
from attribution.inference import sup_t
from attribution.stress.trends import relative_magnitudes

NAMES = {"unit": "unit", "period": "t", "cohort": "g"}
PERIODS = range(1, 6)
REPEATED = json.loads((ROOT / "tests" / "reference" / "did" / "mpdta_rcs.json").read_text())["cases"]
UNITS = ["g", "x", "s", "w", "k"]


def fit(frame, *, outcome="y", period="t", unit="unit", covariates=(), method="dr", comparison="not_yet_treated",
        base_period="varying", **names):  # fmt: skip
    made = Panel(frame, unit=unit, period=period, cohort="g", outcome=outcome, **names)
    return group_time_att(made, comparison=comparison, base_period=base_period, method=method, covariates=covariates)


def two_outcomes(**options):
    frame = panel(**options)
    r = np.random.default_rng(99)
    z = 0.5 * frame["y"] + r.normal(size=len(frame)) + (frame["t"] >= frame["g"])
    return frame.assign(z=z.where(r.random(len(frame)) >= options.get("missing", 0)))


def pivot(frame, column):
    return frame.pivot(index="unit", columns="t", values=column)


def turned(frame, columns=("y",)):
    """One row a unit: y1, y2, ..., and what a unit has."""
    wide = pd.concat([pivot(frame, name).add_prefix(name) for name in columns], axis=1)
    wide.index.name = "unit"
    return wide.join(frame.groupby("unit")[UNITS].first()).reset_index()


def columns_of(name):
    return {t: f"{name}{t}" for t in PERIODS}


def same(one, other, rtol=1e-10):
    np.testing.assert_allclose(one.estimate, other.estimate, rtol=rtol, atol=1e-12)
    np.testing.assert_allclose(one.cov, other.cov, rtol=rtol, atol=1e-13)
    np.testing.assert_array_equal(one.n_treated, other.n_treated)
    np.testing.assert_array_equal(one.n_comparison, other.n_comparison)


def at(gt, g, t, outcome=None):
    rows = (gt.labels["cohort"] == g) & (gt.labels["period"] == t)
    return int(np.flatnonzero(rows if outcome is None else rows & (gt.labels["outcome"] == outcome))[0])


def dense(frame, gt, *, weight=None, cluster=None, covariates=(), method="dr"):
    """Estimates and scores of the same ATT(g, t) from the slow version; base = the period before, not yet treated."""
    units = frame.groupby("unit")[UNITS].first()
    x = pd.get_dummies(units[list(covariates)], drop_first=True).to_numpy(float) if covariates else None
    w = units[weight].to_numpy() if weight else None
    estimates, scores = [], []
    for row in gt.labels.itertuples():
        base = row.cohort - 1 if row.period >= row.cohort else row.period - 1
        outcome = getattr(row, "outcome", "y")
        one = att_gt(pivot(frame, outcome).to_numpy(), units["g"].to_numpy(), PERIODS, row.cohort, row.period, base,
                     method=method, x=x, w=w, not_yet=True)  # fmt: skip
        estimates.append(one[0])
        scores.append(one[1])
    scores = np.column_stack(scores)
    if cluster:
        scores = pd.DataFrame(scores).groupby(units[cluster].to_numpy()).sum().to_numpy()
    return np.array(estimates), scores


# -- compressed == dense --


@pytest.mark.parametrize("method", ["dr", "reg", "ipw", "dr_imp"])
@pytest.mark.parametrize("covariates", [(), ("s",), ("x",)])
@pytest.mark.parametrize(
    "weight, cluster, missing", [(None, None, 0.05), (None, None, 0), ("w", "k", 0.05), ("w", None, 0), (None, "k", 0)]
)
def test_two_outcomes_equal_the_dense_scores(method, covariates, weight, cluster, missing):
    """Within and between outcomes: the joint covariance, not only the standard errors."""
    frame = two_outcomes(n=500, seed=21, missing=missing)
    gt = fit(frame, outcome=["y", "z"], weight=weight, cluster=cluster, covariates=covariates, method=method)
    assert len(gt) == 16 and not gt.labels["reason"].any()
    estimates, scores = dense(frame, gt, weight=weight, cluster=cluster, covariates=covariates, method=method)
    np.testing.assert_allclose(gt.estimate, estimates, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(gt.cov, scores.T @ scores, rtol=1e-8, atol=1e-11)
    assert np.abs(gt.cov[:8, 8:]).max() > 1e-4
    if weight == cluster is None:
        compressed = build_cells(Panel(frame, **NAMES, outcome=["y", "z"]), covariates).compressed
        assert compressed == (covariates != ("x",) and missing == 0)


@pytest.mark.parametrize("missing", [0, 0.01])
def test_compressed_and_missing(missing):
    """Enough units for cells by observed periods to be worth while."""
    frame = panel(n=3000, seed=5, missing=missing)
    assert build_cells(Panel(frame, **NAMES, outcome="y"), ("s",)).compressed
    gt = fit(frame, covariates=["s"], weight="w")
    estimates, scores = dense(frame, gt, covariates=["s"], weight="w")
    np.testing.assert_allclose(gt.estimate, estimates, rtol=1e-9)
    np.testing.assert_allclose(gt.cov, scores.T @ scores, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("covariates", [(), ("s",), ("x",)])
@pytest.mark.parametrize("weight, cluster", [(None, None), ("w", None), (None, "k"), ("w", "k")])
def test_risk_sets_equal_the_dense_scores(covariates, weight, cluster):
    frame = panel(n=600, seed=5, missing=0.03)
    frame["r"] = frame["g"].fillna(3 + frame["unit"] % 2)
    names = {"weight": weight, "cluster": cluster}
    gt = fit(frame, risk_set="r", covariates=covariates, **names)
    scores = []
    for g in (3, 4):
        own = frame[frame["r"] == g]
        alone = fit(own, covariates=covariates)
        estimates, inside = dense(own, alone, weight=weight, covariates=covariates)
        rows = [at(gt, g, t) for t in alone.labels["period"]]
        np.testing.assert_allclose(gt.estimate[rows], estimates, rtol=1e-9)
        full = np.zeros((600, len(rows)))
        full[own["unit"].unique()] = inside
        scores.append((rows, full))
    stacked = np.hstack([full for _, full in scores])
    if cluster:
        stacked = pd.DataFrame(stacked).groupby(frame.groupby("unit")["k"].first().to_numpy()).sum().to_numpy()
    order = [row for rows, _ in scores for row in rows]
    np.testing.assert_allclose(gt.cov[np.ix_(order, order)], stacked.T @ stacked, rtol=1e-8, atol=1e-13)


# -- one answer, whatever way it comes in --


@pytest.mark.parametrize("covariates", [(), ("s",), ("x", "s")])
@pytest.mark.parametrize("names", [{}, {"weight": "w"}, {"cluster": "k"}, {"weight": "w", "cluster": "k"}])
@pytest.mark.parametrize("missing", [0, 0.05])
def test_wide_equals_long(covariates, names, missing, tmp_path):
    frame = two_outcomes(n=400, seed=6, missing=missing)
    turned(frame, ["y", "z"]).to_parquet(tmp_path / "wide.parquet")
    frame.sample(frac=1, random_state=0).to_parquet(tmp_path / "long.parquet")
    one = fit(tmp_path / "wide.parquet", period=None, outcome={"y": columns_of("y"), "z": columns_of("z")},
              covariates=covariates, **names)  # fmt: skip
    other = fit(tmp_path / "long.parquet", outcome=["y", "z"], covariates=covariates, **names)
    same(one, other)
    assert one.labels.equals(other.labels)
    for by in ("overall", "event_time", "cohort", "period"):
        same(aggregate(one, by=by), aggregate(other, by=by))


def test_each_outcome_alone_is_its_part_of_the_joint_fit():
    frame = two_outcomes(n=400, seed=6, missing=0.05)
    both = fit(frame, outcome=["y", "z"], covariates=["x"])
    for name in ("y", "z"):
        alone, rows = fit(frame, outcome=name, covariates=["x"]), np.flatnonzero(both.labels["outcome"] == name)
        np.testing.assert_allclose(both.estimate[rows], alone.estimate, rtol=1e-9)
        np.testing.assert_allclose(both.cov[np.ix_(rows, rows)], alone.cov, rtol=1e-9, atol=1e-13)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([(), ("s",), ("x",)]), st.sampled_from([None, "w"]),
       st.sampled_from([None, "k"]), st.floats(0.01, 1e6))  # fmt: skip
def test_order_labels_and_scale_do_not_matter_in_a_wide_table(seed, covariates, weight, cluster, scale):
    wide = turned(panel(n=150, seed=seed, missing=0.03))
    moved = wide.sample(frac=1, random_state=seed).rename(columns={f"y{t}": f"income {2000 + t}" for t in PERIODS})
    moved = moved.assign(unit=["u" + str(997 * u % 1009) for u in moved["unit"]], g=moved["g"] + 2000,
                         k="k" + moved["k"].astype(str), w=3 * moved["w"])  # fmt: skip
    for t in PERIODS:
        moved[f"income {2000 + t}"] *= scale
    names = {"period": None, "weight": weight, "cluster": cluster, "covariates": covariates}
    one = fit(wide, outcome=columns_of("y"), **names)
    other = fit(moved, outcome={2000 + t: f"income {2000 + t}" for t in PERIODS}, **names).scaled(1 / scale, "y")
    np.testing.assert_allclose(one.estimate, other.estimate, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(one.std_error, other.std_error, rtol=1e-9)


@pytest.mark.parametrize("covariates", [(), ("s",), ("x",)])
def test_threads_do_not_matter(monkeypatch, covariates):
    frame = two_outcomes(n=20_000, seed=3, missing=0.01)
    options = {"outcome": ["y", "z"], "covariates": covariates, "weight": "w"}
    one = fit(frame, **options)
    monkeypatch.setenv("ATTRIBUTION_THREADS", "2")
    two = fit(frame, **options)
    np.testing.assert_allclose(one.estimate, two.estimate, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(one.std_error, two.std_error, rtol=1e-12)


@pytest.mark.parametrize("covariates", [(), ("s",), ("x",)])
def test_a_unit_is_its_own_cluster(covariates):
    frame = two_outcomes(n=500, seed=3, missing=0.01)
    one, other = (fit(frame, outcome=["y", "z"], covariates=covariates, cluster=k) for k in (None, "unit"))
    same(one, other, rtol=1e-9)
    same(aggregate(one, by="event_time"), aggregate(other, by="event_time"), rtol=1e-9)


# -- scores block by block, kept or as the root of their covariance --


@pytest.mark.parametrize("names", [{}, {"weight": "w"}, {"cluster": "k"}])
@pytest.mark.parametrize("covariates", [(), ("s",), ("x",)])
def test_scores_kept_or_as_a_root(monkeypatch, names, covariates):
    frame = two_outcomes(n=500, seed=4, missing=0.02)
    options = {"outcome": ["y", "z"], "covariates": covariates, **names}
    whole = fit(frame, **options)
    monkeypatch.setattr(engine, "BLOCK", 7)
    blocks = fit(frame, **options)
    np.testing.assert_array_equal(blocks.scores.shape, whole.scores.shape)
    np.testing.assert_allclose(blocks.scores, whole.scores, rtol=1e-9, atol=1e-15)
    monkeypatch.setattr(engine, "KEPT", 10)
    rooted = fit(frame, **options)
    assert rooted.spec["score_rows"] == "cells" and len(rooted.scores) == 18 < len(whole.scores)
    same(rooted, whole, rtol=1e-8)
    for by in ("overall", "event_time", "cohort", "period"):
        for overall in (False, True):
            same(aggregate(rooted, by=by, overall=overall), aggregate(whole, by=by, overall=overall), rtol=1e-8)
    assert sup_t(rooted.cov) == pytest.approx(sup_t(whole.cov), rel=0.02)
    with pytest.raises(EstimationError, match="units or clusters"):
        rooted.minus(rooted)


# -- repeated cross-sections --


@pytest.mark.parametrize("case", REPEATED, ids=lambda case: case["id"])
def test_did_repeated_cross_sections(case):
    """R did 2.5.1, panel = FALSE, all of aggte; dr with the sign of its pre-period term put right."""
    frame = pd.read_parquet(ROOT / "tests" / "reference" / "did" / "mpdta.parquet")
    frame["g"] = frame["first_treat"].replace(0, np.nan)
    gt = fit(frame, unit=None, period="year", outcome="lemp", covariates=["lpop"], method=case["method"],
             comparison="never_treated")  # fmt: skip
    assert len(gt) == len(case["att_gt"])
    pairs = [(gt, at(gt, cell["group"], cell["time"]), cell) for cell in case["att_gt"]]
    for kind, agg in case["agg"].items():
        by = {"simple": "overall", "group": "cohort", "calendar": "period"}.get(kind, "event_time")
        balance = 1 if kind == "dynamic_balance_e1" else None
        pairs.append((aggregate(gt, by=by, overall=True, balance=balance), 0, agg["overall"]))
        each = aggregate(gt, by=by, balance=balance)
        pairs += [(each, int(np.flatnonzero(each.labels[by] == row["at"])[0]), row) for row in agg.get("rows", [])]
    assert len(pairs) > len(gt) + 4
    for effects, k, cell in pairs:
        assert effects.estimate[k] == pytest.approx(cell["att"], rel=1e-7, abs=1e-9)
        assert effects.std_error[k] == pytest.approx(cell["se"], rel=1e-6)


def test_cross_sections_of_a_balanced_panel_have_its_estimates():
    """Every row another unit: without covariates the same means, and a variance that knows of no unit."""
    frame = panel(n=400, seed=2)
    one, other = fit(frame), fit(frame, unit=None)
    np.testing.assert_allclose(one.estimate, other.estimate, rtol=1e-9)
    assert other.spec["units"] == 2000
    clustered = fit(frame, unit=None, cluster="unit")
    assert not np.allclose(other.std_error, one.std_error, rtol=0.05)
    np.testing.assert_allclose(clustered.std_error, one.std_error, rtol=1e-9)


# -- digits --


@pytest.mark.parametrize("covariates", [(), ("s",), ("x",)])
@pytest.mark.parametrize("names", [{}, {"cluster": "k"}, {"weight": "w"}])
@pytest.mark.parametrize("kind", ["long", "wide", "cross-section"])
def test_incomes_of_a_billion_keep_nine_digits(covariates, names, kind, tmp_path):
    """Mean 1e9, standard deviation 1e3, in cents that no double holds exactly."""
    frame = panel(n=400, seed=2)
    small = frame.assign(y=(1000 * frame["y"]).round(2))
    options = {"covariates": covariates, **names}
    if kind == "cross-section":
        options["unit"] = None
    expected = fit(small, **options)
    big = small.assign(y=small["y"] + 1e9)
    if kind == "wide":
        turned(big).to_parquet(tmp_path / "big.parquet")
        got = fit(tmp_path / "big.parquet", period=None, outcome=columns_of("y"), **options)
    else:
        got = fit(big, **options)
    np.testing.assert_allclose(got.estimate, expected.estimate, rtol=1e-9, atol=1e-6)  # cents of 1e9 are good to 1e-7
    np.testing.assert_allclose(got.std_error, expected.std_error, rtol=1e-9)


@pytest.mark.parametrize("names", [{}, {"weight": "w"}, {"cluster": "k"}])
@pytest.mark.parametrize("missing", [0, 0.01])
def test_levels_that_differ_much_leave_the_changes_alone(names, missing):
    """Between units a standard deviation of 1e6, within of 1: squares of levels would drown those of changes."""
    frame = panel(n=3000, seed=1, missing=missing)
    level = np.random.default_rng(0).normal(scale=1e6, size=3000)[frame["unit"]]
    one, other = fit(frame, **names), fit(frame.assign(y=frame["y"] + level), **names)
    np.testing.assert_allclose(one.estimate, other.estimate, rtol=1e-7)
    np.testing.assert_allclose(one.std_error, other.std_error, rtol=1e-7)


# -- weights of cohorts, windows, bands --


def test_cohort_weights_by_hand():
    gt = fit(panel(n=300, seed=8, periods=(1, 2, 3, 4, 5), cohorts=(3, 4)))
    att = {(g, t): gt.estimate[at(gt, g, t)] for g in (3, 4) for t in PERIODS if t > 1}
    weights = {3: 2.0, 4: 6.0}
    by_time = {0: (2 * att[3, 3] + 6 * att[4, 4]) / 8, 1: (2 * att[3, 4] + 6 * att[4, 5]) / 8, 2: att[3, 5]}
    event = aggregate(gt, by="event_time", cohort_weights=weights)
    for e, value in by_time.items():
        assert event.estimate[event.labels["event_time"] == e][0] == pytest.approx(value)
    means = {3: (att[3, 3] + att[3, 4] + att[3, 5]) / 3, 4: (att[4, 4] + att[4, 5]) / 2}
    cohort = aggregate(gt, by="cohort", overall=True, cohort_weights=weights)
    assert cohort.estimate[0] == pytest.approx((2 * means[3] + 6 * means[4]) / 8)
    treated = 2 * (att[3, 3] + att[3, 4] + att[3, 5]) + 6 * (att[4, 4] + att[4, 5])
    overall = aggregate(gt, by="overall", cohort_weights=weights)
    assert overall.estimate[0] == pytest.approx(treated / (2 * 3 + 6 * 2))
    w = np.zeros(len(gt))
    for (g, t), weight in {(3, 3): 2, (3, 4): 2, (3, 5): 2, (4, 4): 6, (4, 5): 6}.items():
        w[at(gt, g, t)] = weight / 18
    assert overall.std_error[0] == pytest.approx(gt.combine(w).std_error[0])  # weights that are known cost nothing
    only = aggregate(gt, by="cohort", cohort_weights={4: 1})
    assert only.labels["cohort"].tolist() == [4] and only.estimate[0] == pytest.approx(means[4])
    for wrong in ({5: 1}, {3: -1}, {3: 0}, {3: np.nan}):
        with pytest.raises(EstimationError, match="a weight >= 0"):
            aggregate(gt, by="overall", cohort_weights=wrong)


def test_base_window_of_two_years_ago():
    """Quarters -8 to -5: the mean of four, one change a unit."""
    frame = panel(n=300, seed=3, periods=tuple(range(1, 15)), cohorts=(11,), missing=0.02)
    gt = fit(frame, base_period=(-8, -5), comparison="never_treated")
    y, g = pivot(frame, "y"), frame.groupby("unit")["g"].first()
    for t in (1, 10, 12):
        change = y[t] - y[[3, 4, 5, 6]].mean(axis=1, skipna=False)
        parts = [change[g == 11].dropna(), change[g.isna()].dropna()]
        assert gt.estimate[at(gt, 11, t)] == pytest.approx(parts[0].mean() - parts[1].mean())
        variance = sum(part.var(ddof=0) / len(part) for part in parts)
        assert gt.std_error[at(gt, 11, t)] == pytest.approx(np.sqrt(variance))
        assert (gt.n_treated[at(gt, 11, t)], gt.n_comparison[at(gt, 11, t)]) == tuple(map(len, parts))


def test_a_band_over_two_outcomes_is_wider_than_over_either():
    frame = two_outcomes(n=400, seed=6)
    event = aggregate(fit(frame, outcome=["y", "z"]), by="event_time")
    joint = sup_t(event.cov)
    for name in ("y", "z"):
        own = np.flatnonzero(event.labels["outcome"] == name)
        assert sup_t(event.cov[np.ix_(own, own)]) + 0.05 < joint
    low, high = event.conf_int(band="simultaneous")
    np.testing.assert_allclose((high - low) / 2 / event.std_error, joint)


# -- recovery --


def unbalanced(seed):
    """Nine per cent of the rows are missing; every treated period gains 1."""
    r = np.random.default_rng(seed)
    n, periods = 300, np.arange(1, 9)
    g = r.choice([np.nan, 5, 6], n)
    y = r.normal(scale=2, size=(n, 1)) + r.normal(scale=0.7, size=(n, 8)) + 0.2 * periods
    y += periods >= np.nan_to_num(g, nan=np.inf)[:, None]
    y[r.random(y.shape) < 0.09] = np.nan
    unit = np.repeat(np.arange(n), 8)
    long = pd.DataFrame({"unit": unit, "t": np.tile(periods, n), "g": np.repeat(g, 8), "y": y.ravel()})
    return long.dropna(subset=["y"])


@pytest.mark.parametrize("seeds", [40, pytest.param(400, marks=pytest.mark.slow)])
def test_pair_balanced_differences_beat_the_other_routes(seeds):
    """Against dropping incomplete units, and against treating the rows as cross-sections; their intervals cover."""
    found = {"pairs": [], "complete": [], "levels": []}
    covered = []
    for seed in range(seeds):
        frame = unbalanced(seed)
        whole = frame.groupby("unit")["t"].transform("size") == 8
        for name, rows, unit in (("pairs", frame, "unit"), ("complete", frame[whole], "unit"), ("levels", frame, None)):
            one = aggregate(fit(rows, unit=unit, comparison="never_treated"), by="overall")
            found[name].append(one.estimate[0] - 1)
            if name == "pairs":
                covered.append(abs(one.estimate[0] - 1) < 1.96 * one.std_error[0])
    rmse = {name: np.sqrt(np.mean(np.square(errors))) for name, errors in found.items()}
    assert rmse["pairs"] < 0.9 * rmse["levels"] and rmse["pairs"] < 0.85 * rmse["complete"]
    assert abs(np.mean(found["pairs"])) < 3 * rmse["pairs"] / np.sqrt(seeds)
    assert 0.88 <= np.mean(covered) <= 0.99


def test_a_base_window_of_cross_sections_does_not_confuse_sizes_with_levels():
    """Other numbers sampled in each base period, by group: y = 5 t + 10 d has no effect, and none is found."""
    sizes = {1: {1: 2000, 2: 600, 3: 200, 4: 800}, 0: {1: 200, 2: 600, 3: 2000, 4: 800}}
    r = np.random.default_rng(0)
    frame = pd.concat([
        pd.DataFrame({"t": t, "g": 4.0 if d else np.nan, "y": 5 * t + 10 * d + r.normal(size=n)})
        for d, numbers in sizes.items() for t, n in numbers.items()
    ], ignore_index=True)  # fmt: skip
    window = fit(frame, unit=None, comparison="never_treated", base_period=(-3, -1))
    each = [fit(frame, unit=None, comparison="never_treated", base_period=b) for b in (-3, -2, -1)]
    assert window.estimate[3] == pytest.approx(np.mean([one.estimate[3] for one in each]))
    assert abs(window.estimate[3]) < 3 * window.std_error[3] < 0.3
    scores = np.mean([one.scores[:, 3] for one in each], axis=0)
    assert window.std_error[3] == pytest.approx(np.sqrt(scores @ scores), rel=1e-6)


def test_a_window_that_begins_before_the_panel_has_no_estimate():
    gt = fit(panel(n=200, seed=1, cohorts=(3, 5)), comparison="never_treated", base_period=(-4, -2))
    early = (gt.labels["cohort"] == 3).to_numpy()
    assert np.isnan(gt.estimate[early]).all() and np.isfinite(gt.estimate[~early]).any()
    assert gt.spec["bases"] == ((-4, -3, -2),)
    assert any("begins before the first period" in note for note in gt.notes)


def test_whole_numbers_as_categories_stay_categories():
    frame = panel(n=400, seed=5)
    coded = frame["s"].map({"a": 1, "b": 2, "c": 3})
    text, category = (fit(frame.assign(s=values), covariates=["s"])
                      for values in (coded.astype(str), coded.astype("category")))  # fmt: skip
    number = fit(frame.assign(s=coded), covariates=["s"])
    np.testing.assert_allclose(category.estimate, text.estimate, rtol=1e-9, atol=1e-12)
    assert np.nanmax(np.abs(number.estimate - text.estimate)) > 1e-6


def test_only_like_is_subtracted_from_like():
    frame = panel(n=400, seed=6)
    one, two = (fit(frame[frame["k"].between(low, low + 49)], cluster="k") for low in (0, 10))
    with pytest.raises(EstimationError, match="sample"):
        one.minus(two)
    with pytest.raises(EstimationError, match="term"):
        one.rows(np.array([0])).minus(one.rows(np.array([1])))
    np.testing.assert_array_equal(np.nan_to_num(one.minus(one).estimate), 0)


@pytest.mark.parametrize("weights", [[np.nan, 1], [np.inf, 0], [1]])
def test_weights_of_a_combination_are_checked(weights):
    effects = fit(panel(n=200, seed=1)).rows(np.array([0, 1]))
    with pytest.raises(EstimationError, match="a finite weight for each"):
        effects.combine(weights)


@pytest.mark.parametrize("base", [[], -1.0, ("a", "b"), (-1,), (-3, -2, -1), (-2.5, -1), True])
def test_odd_bases_are_refused(base):
    with pytest.raises(EstimationError, match="base"):
        fit(panel(n=100, seed=1), base_period=base)


@pytest.mark.parametrize("balance", [-1, True, 1.5])
def test_odd_balances_are_refused(balance):
    with pytest.raises(EstimationError, match="balance"):
        aggregate(fit(panel(n=100, seed=1)), by="event_time", balance=balance)


def test_a_gap_gives_cohorts_different_last_periods_and_bounds_refuse():
    frame = panel(n=400, seed=2, periods=(1, 2, 3, 5, 6, 7), cohorts=(3, 5))
    gt = fit(frame, comparison="never_treated", base_period="universal")
    assert gt.spec["bases"] == ((-2,), (-1,))
    with pytest.raises(EstimationError, match="one base"):
        relative_magnitudes(aggregate(gt, by="event_time"), pre_periods=[-1])
