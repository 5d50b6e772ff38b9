"""Strata: MatchIt's figures, a hand count, order invariance, blindness, frames of every kind, refusals."""

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matching_reference import FOLDER, LALONDE, case, data, school

from attribution.design.balance import balance
from attribution.design.propensity import propensity
from attribution.design.stratify import stratify
from attribution.errors import DataError, DesignError
from attribution.estimate.att import att

CUTS = {"age": [20, 25, 30, 40], "educ": [8.5, 11.5], "re74": [0.5, 5000], "re75": [0.5, 5000]}
CASES = {
    "exact_lalonde": {"covariates": ["race", "married", "nodegree"], "method": "exact"},
    "cem_default_lalonde": {"covariates": LALONDE, "method": "coarsened"},
    "cem_cutpoints_lalonde": {"covariates": LALONDE, "method": "coarsened", "cuts": CUTS},
    "subclass6_lalonde": {"covariates": LALONDE, "method": "subclass"},
}
COLUMNS = {"Means Treated": "mean_treated", "Means Control": "mean_comparison", "Std. Mean Diff.": "smd",
           "Var. Ratio": "variance_ratio", "eCDF Mean": "ecdf_mean", "eCDF Max": "ks"}  # fmt: skip
ERRORS = {"HC0": "se_HC0_weights", "HC1": "se_HC1_weights", "HC3": "se_HC3_weights", "cluster": "se_cluster_subclass"}


def units_of(name):
    return pd.read_csv(FOLDER / f"{name}.units.csv", dtype={"subclass": "string"})


def compare(design, results, units):
    table = design.tidy().set_index("sample")
    for ours, theirs in {"all": "All", "matched": "Matched", "unmatched": "Unmatched", "discarded": "Discarded",
                         "effective": "Matched (ESS)"}.items():  # fmt: skip
        assert table.loc[ours, "treated"] == pytest.approx(results["n"][theirs]["Treated"], rel=1e-9)
        assert table.loc[ours, "comparison"] == pytest.approx(results["n"][theirs]["Control"], rel=1e-9)
    np.testing.assert_allclose(design.weights, units["weight"], rtol=1e-9, atol=1e-12)
    ours, theirs = pd.Series(design.strata), units["subclass"].fillna("none")
    assert len(set(zip(ours, theirs, strict=True))) == ours.nunique() == theirs.nunique()
    found = balance(design).table.set_index(["covariate", "sample"])
    for sample in ("before", "after"):
        for their, row in (results.get(f"balance_{sample}") or {}).items():
            for column, name in COLUMNS.items():
                if row[column] is not None:
                    got = found.loc[(their.replace("race", "race_"), sample), name]
                    assert got == pytest.approx(row[column], rel=1e-6, abs=1e-9), (their, sample, column)
    for vcov, name in ERRORS.items():
        effect = att(design, "re78", vcov=vcov)
        assert effect.estimate[0] == pytest.approx(results["att_weighted_diff"], rel=1e-6)
        assert effect.std_error[0] == pytest.approx(results[name], rel=1e-4)


@pytest.mark.parametrize("name", CASES)
def test_reference(name):
    """MatchIt 4.7.2: counts, ESS, weights, strata, balance, ATT, HC0 HC1 HC3 and clustered standard errors."""
    compare(stratify(data("lalonde"), "treat", **CASES[name]), case(name)["results"], units_of(name))


@pytest.mark.parametrize("name", CASES)
def test_canary(name):
    design = stratify(data("lalonde"), "treat", **CASES[name])
    results, units = case(name)["results"], units_of(name)
    changes = [("att_weighted_diff",), *[(se,) for se in ERRORS.values()],
               *[("n", kind, arm) for kind in ("Matched", "Unmatched", "Matched (ESS)")
                 for arm in ("Treated", "Control")]]  # fmt: skip
    if results.get("balance_after"):
        changes += [("balance_after", "married", "Means Control"), ("balance_before", "nodegree", "eCDF Max")]
    for path in changes:
        results = case(name)["results"]
        place = results
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = place[path[-1]] * 1.001 + 1e-3
        with pytest.raises(AssertionError):
            compare(design, results, units)
    results = case(name)["results"]
    for column in ("weight", "subclass"):
        other = units.copy()
        other[column] = other[column].to_numpy()[::-1]
        with pytest.raises(AssertionError):
            compare(design, results, other)


def test_full_matching_reference():
    """As hold_to says: n matched, distance not worse than optmatch's, balance of the distance, ATT in its range."""
    found, units = case("full_lalonde")["results"], units_of("full_lalonde")
    frame = data("lalonde")
    design = stratify(frame, "treat", covariates=LALONDE, method="full")
    np.testing.assert_allclose(design.propensity, units["distance"], rtol=1e-6)
    theirs = 0.0
    for _, rows in units.groupby("subclass"):
        score, t = rows["distance"].to_numpy(), frame["treat"].to_numpy()[rows.index] == 1
        theirs += np.abs(score[t][:, None] - score[~t]).sum()
    assert theirs == pytest.approx(2.149812, abs=1e-6)
    assert design.spec["total_distance"] == pytest.approx(design.pairs["distance"].sum())
    assert design.spec["total_distance"] <= theirs
    table = design.tidy().set_index("sample")
    assert table.loc["matched"].tolist() == [found["n"]["Matched"][arm] for arm in ("Treated", "Control")]
    assert table.loc["effective", "comparison"] == pytest.approx(found["n"]["Matched (ESS)"]["Control"], rel=0.01)
    after = balance(design).table.set_index(["covariate", "sample"]).loc[("distance", "after")]
    theirs = found["balance_after"]["distance"]
    assert after["mean_treated"] == pytest.approx(theirs["Means Treated"], rel=1e-6)
    assert after["mean_comparison"] == pytest.approx(theirs["Means Control"], rel=2e-4)  # theirs is no exact optimum
    assert after["smd"] == pytest.approx(theirs["Std. Mean Diff."], abs=5e-4)
    assert after["ks"] == pytest.approx(found["balance_after"]["distance"]["eCDF Max"], abs=1e-6)
    effect = att(design, "re78")
    span = found["row_order_sensitivity"]
    assert span["att_min"] <= effect.estimate[0] <= span["att_max"]
    assert effect.std_error[0] == pytest.approx(found["se_cluster_subclass"], rel=0.05)


def hand():
    """Cell a: 2 treated, 1 comparison; b: 1 and 3; c: only treated; d: only comparison."""
    frame = pd.DataFrame({"cell": list("aaabbbbcdd"), "t": [1, 1, 0, 1, 0, 0, 0, 1, 0, 0]})
    return frame.assign(y=[5.0, 7, 4, 3, 1, 2, 3, 9, 9, 9])


def test_by_hand():
    """ATT: ((6 - 4) 2 + (3 - 2) 1) / 3; ATE: (2 * 3 + 1 * 4) / 7."""
    design = stratify(hand(), "t", covariates=["cell"], method="exact")
    assert design.estimand == "ATT on the treated with comparison units in their cell (3 of 4)"
    np.testing.assert_allclose(design.weights, [1, 1, 8 / 3, 1, 4 / 9, 4 / 9, 4 / 9, 0, 0, 0])
    assert design.strata.tolist() == [0, 0, 0, 1, 1, 1, 1, -1, -1, -1]
    assert design.unmatched.tolist() == [False] * 7 + [True] * 3
    assert not design.discarded.any()
    assert att(design, "y").estimate[0] == pytest.approx(5 / 3)
    everybody = stratify(hand(), "t", covariates=["cell"], method="exact", target="all")
    assert everybody.target == "all"
    assert everybody.estimand == "ATE on the units with both arms in their cell (7 of 10)"
    assert att(everybody, "y").estimate[0] == pytest.approx(10 / 7)
    for arm in (everybody.treated, ~everybody.treated):
        assert everybody.weights[arm].sum() == pytest.approx((everybody.matched & arm).sum())


@pytest.mark.parametrize("options", [
    {"method": "exact", "covariates": ["b", "cell"]}, {"method": "coarsened", "covariates": ["x", "z", "cell"]},
    {"method": "coarsened", "covariates": ["x", "z"], "cuts": {"x": "quantile:4", "z": [0.0]}, "exact": ["cell"]},
    {"method": "subclass", "covariates": ["x", "b"], "exact": ["cell"]},
    {"method": "subclass", "covariates": ["x", "b"], "target": "all", "discard": "common_support"},
    {"method": "full", "covariates": ["x", "b"], "exact": ["cell"], "caliper_sd": 0.1},
    {"method": "full", "covariates": ["x", "b"], "distance": "mahalanobis", "caliper_sd": {"x": 0.5, "logit": 1}},
    {"method": "full", "covariates": ["x", "b"], "distance": "robust_mahalanobis", "ratio": (1 / 3, 3)},
    {"method": "full", "covariates": ["x", "b"], "ratio": (1 / 2, 4)},
])  # fmt: skip
def test_row_order_and_outcomes_never_matter(options):
    frame = school(400)
    frame[["x", "z"]] = frame[["x", "z"]].round(1)  # ties
    before = frame.copy()
    shuffled = frame.sample(frac=1, random_state=3).assign(y=np.nan)
    key = "key" if options["method"] in ("full", "subclass") else None
    a, b = (stratify(units, "treated", key=key, **options) for units in (frame, shuffled))
    pd.testing.assert_frame_equal(frame, before)
    for name in ("weights", "strata", "discarded", "unmatched", "propensity"):
        if getattr(a, name) is not None:
            ours = pd.Series(getattr(a, name), index=frame["key"]).sort_index()
            theirs = pd.Series(getattr(b, name), index=shuffled["key"]).sort_index()
            pd.testing.assert_series_equal(ours, theirs, check_exact=True)
    assert (a.spec, a.notes, a.estimand) == (b.spec, b.notes, b.estimand)
    t, inside = a.treated, a.strata >= 0
    assert (inside == (a.weights > 0)).all()
    assert not (a.discarded & a.unmatched).any()
    assert (a.discarded | a.unmatched | inside).all()
    for arm in (t, ~t):
        assert a.weights[arm].sum() == pytest.approx((inside & arm).sum())
    # the weighted arms have the same distribution over the strata
    shares = [np.bincount(a.strata[inside & arm], a.weights[inside & arm]) / (inside & arm).sum() for arm in (t, ~t)]
    np.testing.assert_allclose(*shares, rtol=1e-9)
    if "exact" in options:
        assert (frame.assign(s=a.strata)[inside].groupby("s")["cell"].nunique() == 1).all()


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), target=st.sampled_from(["treated", "all"]))
def test_twice_the_units_twice_the_weights_and_other_names_the_same(seed, target):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"a": rng.choice(list("abc"), 60), "b": rng.integers(0, 3, 60), "t": rng.integers(0, 2, 60)})
    try:
        one = stratify(frame, "t", covariates=["a", "b"], method="exact", target=target)
    except DesignError:
        return
    two = stratify(pd.concat([frame, frame]), "t", covariates=["a", "b"], method="exact", target=target)
    np.testing.assert_allclose(two.weights, np.concatenate([one.weights, one.weights]))
    named = frame.assign(a=frame["a"].map({"a": "zebra", "b": "ape", "c": "cow"}), b=frame["b"] * -7)
    other = stratify(named, "t", covariates=["b", "a"], method="exact", target=target)
    np.testing.assert_allclose(other.weights, one.weights)
    assert len(set(zip(one.strata, other.strata, strict=True))) == len(set(one.strata))


@pytest.mark.parametrize("form", ["categories", "polars", "lazy", "arrow", "duckdb", "parquet", "csv"])
def test_any_frame(form, tmp_path):
    frame = data("lalonde")
    expected = stratify(frame, "treat", covariates=LALONDE, method="coarsened")
    if form == "categories":
        units = frame.assign(race=frame["race"].astype("category"))
    elif form in ("parquet", "csv"):
        units = tmp_path / f"units.{form}"
        getattr(frame, f"to_{form}")(units, index=False)
    else:
        units = pl.from_pandas(frame)
        if form == "duckdb":
            arrow = units.to_arrow()
            units = duckdb.sql("SELECT * FROM arrow")
            assert len(arrow) == len(frame)
        else:
            units = units.lazy() if form == "lazy" else units.to_arrow() if form == "arrow" else units
    design = stratify(units, "treat", covariates=LALONDE, method="coarsened")
    np.testing.assert_array_equal(design.weights, expected.weights)
    np.testing.assert_array_equal(design.strata, expected.strata)
    ours, theirs = att(design, "re78"), att(expected, "re78")
    assert (ours.estimate, ours.std_error) == (theirs.estimate, theirs.std_error)
    assert balance(design).worst_smd == pytest.approx(balance(expected).worst_smd)


def test_two_threads_give_the_same_design(monkeypatch):
    frame = school(200_000)
    one = stratify(frame, "treated", covariates=["x", "z", "cell"], method="coarsened")
    monkeypatch.setenv("ATTRIBUTION_THREADS", "2")
    two = stratify(frame, "treated", covariates=["x", "z", "cell"], method="coarsened")
    np.testing.assert_array_equal(one.strata, two.strata)


def test_a_given_score_and_a_rule_of_overlap():
    frame = school(500)
    score = propensity(frame, "treated", ["x", "b"])
    ours = stratify(frame, "treated", covariates=["x", "b"], method="subclass", score=score, discard="common_support")
    theirs = stratify(frame, "treated", covariates=["x", "b"], method="subclass", discard="common_support")
    np.testing.assert_array_equal(ours.weights, theirs.weights)
    assert ours.discarded.any()
    assert (ours.weights[ours.discarded] == 0).all()
    assert not (ours.discarded & ours.unmatched).any()
    assert "discarded: no overlap (common_support)" in ours.notes[0]
    cells = stratify(frame, "treated", covariates=["b"], method="exact", discard="common_support", score=score)
    np.testing.assert_array_equal(cells.discarded, ours.discarded)
    with pytest.raises(DesignError, match="fitted on these rows"):
        stratify(frame[1:], "treated", covariates=["x", "b"], method="subclass", score=score)


def test_no_effect_is_found_where_there_is_none():
    """Selection on x, whose effect on y is 1: subclasses and full matching remove it, the raw difference does not."""
    frame = school(3_000, seed=4)
    raw = frame.groupby("treated")["y"].mean().diff().iloc[1]
    assert raw > 0.5
    for options, within in (({"method": "subclass", "subclasses": 10}, 0.1), ({"method": "full"}, 0.1),
                            ({"method": "full", "distance": "mahalanobis"}, 0.15),
                            ({"method": "coarsened"}, 0.1)):  # fmt: skip
        effect = att(stratify(frame, "treated", covariates=["x", "z", "b"], **options), "y")
        assert abs(effect.estimate[0]) < within


@pytest.mark.slow
@pytest.mark.parametrize("options", [
    {"method": "exact", "covariates": ["a", "b"]},
    {"method": "coarsened", "covariates": ["x", "a", "b"], "cuts": {"x": "quantile:12"}},
    {"method": "subclass", "covariates": ["x", "a", "b"], "subclasses": 12},
    {"method": "full", "covariates": ["x", "a", "b"]},
    {"method": "full", "covariates": ["x", "a", "b"], "distance": "mahalanobis", "exact": ["a", "b"],
     "caliper_sd": {"x": 0.2}},
])  # fmt: skip
def test_intervals_clustered_by_stratum_cover_the_effect(options):
    """Selection on a, b and (where it is in the design) x; constant effect 1."""
    inside, estimates, errors = 0, [], []
    on_x = "x" in options["covariates"]
    for seed in range(200):
        rng = np.random.default_rng(seed)
        a, b, x = rng.integers(0, 4, 800), rng.integers(0, 5, 800), rng.normal(size=800)
        t = rng.random(800) < 1 / (1 + np.exp(1 - 0.3 * a + 0.2 * b - 0.5 * x * on_x))
        y = 0.5 * a - 0.3 * b + x * on_x + t + rng.normal(size=800)
        frame = pd.DataFrame({"a": a, "b": b, "x": x, "t": t, "y": y})
        effect = att(stratify(frame, "t", **options), "y")
        low, high = effect.conf_int()
        inside += low[0] <= 1 <= high[0]
        estimates.append(effect.estimate[0])
        errors.append(effect.std_error[0])
    assert abs(np.mean(estimates) - 1) < 0.03
    assert 0.92 <= inside / 200 <= 0.995
    assert 0.9 <= np.mean(errors) / np.std(estimates) <= 1.2


def test_no_most_is_as_many_as_there_are():
    frame = odd()
    one, other = (stratify(frame, "t", covariates=["x"], method="full", ratio=(1, most)) for most in (np.inf, 20))
    np.testing.assert_array_equal(one.weights, other.weights)


def test_full_matching_by_any_distance():
    """On lalonde: calipers hold within each pair, sets are stars, and the distance is named."""
    frame = data("lalonde")
    for distance in ("mahalanobis", "robust_mahalanobis", "scaled_euclidean", "logit"):
        design = stratify(frame, "treat", covariates=LALONDE, method="full", distance=distance, exact=["married"],
                          caliper_sd={"propensity": 0.3, "age": 1.0})  # fmt: skip
        left, right = design.pairs["treated"].to_numpy(), design.pairs["comparison"].to_numpy()
        for values, width in ((frame["age"].to_numpy(float), 1.0), (design.propensity, 0.3)):
            assert (np.abs(values[left] - values[right]) <= width * values.std(ddof=1) + 1e-12).all()
        degree = np.bincount(np.r_[left, right])
        assert ((degree[left] == 1) | (degree[right] == 1)).all()
        assert (frame["married"].to_numpy()[left] == frame["married"].to_numpy()[right]).all()
        kind = "Mahalanobis" if "mahalanobis" in distance else "Euclidean" if "euclid" in distance else "logit"
        assert f"{kind}" in design.summary() and "full matching on" in design.summary()
        assert att(design, "re78").std_error[0] > 0


BAD = {
    "method": ({"method": "cem"}, "method"),
    "target": ({"target": "overlap"}, "target"),
    "no covariates": ({"covariates": []}, "at least one covariate"),
    "unknown column": ({"covariates": ["nothing"]}, "no such column"),
    "treatment": ({"covariates": ["t"]}, "the treatment itself"),
    "cuts of exact": ({"method": "exact", "cuts": {"x": [1]}}, "leave cuts out"),
    "unknown cut": ({"cuts": {"xx": [1.0]}}, "names that are no covariates"),
    "unsorted": ({"cuts": {"x": [2.0, 1.0]}}, "increasing order"),
    "repeated": ({"cuts": {"x": [1.0, 1.0]}}, "increasing order"),
    "infinite cut": ({"cuts": {"x": [1.0, np.inf]}}, "finite cut points"),
    "no cut": ({"cuts": {"x": None}}, "finite cut points"),
    "words for cuts": ({"cuts": {"x": ["low", "high"]}}, "finite cut points"),
    "no bins": ({"cuts": {"x": 0}}, "at least one bin"),
    "bins by name": ({"cuts": {"x": "doane"}}, "choose one of these"),
    "true": ({"cuts": {"x": True}}, "choose one of these"),
    "a million bins": ({"cuts": {"x": 10**6}}, "at most 1,000 bins.*1,000,000.*exact"),
    "quantiles without end": ({"cuts": {"x": "quantile:99999"}}, "at most 1,000 bins"),
    "points without end": ({"cuts": {"x": list(range(5000))}}, "at most 1,000 bins.*5,001"),
    "cuts of nothing": ({"cuts": "sturges"}, "cuts by covariate"),
    "one ratio": ({"method": "full", "ratio": 2}, "least, most"),
    "score of another kind": ({"method": "full", "score": np.ones(60)}, "a result of propensity"),
    "cut of text": ({"covariates": ["g"], "cuts": {"g": [1.0]}}, "a mapping for categories"),
    "level without group": ({"covariates": ["g"], "cuts": {"g": {"a": 1}}}, "levels without one"),
    "cut and exact": ({"cuts": {"x": [1.0]}, "exact": ["x"]}, "not both"),
    "missing": ({"covariates": ["hole"]}, r"missing values \[3\]"),
    "missing policy": ({"missing": "drop"}, "missing"),
    "missing and full": ({"method": "full", "missing": "level"}, "propensity"),
    "infinite": ({"covariates": ["far"]}, r"infinite values \[1\]"),
    "no cell": ({"covariates": ["row"], "method": "exact"}, "at least one cell"),
    "key": ({"method": "full", "key": "g"}, "one row a key"),
    "subclasses": ({"method": "subclass", "subclasses": 0}, "subclasses"),
    "ratio": ({"method": "full", "ratio": (2, 1)}, "least <= most"),
    "ratio of cells": ({"ratio": (1, 2)}, "leave them out"),
    "distance of cells": ({"distance": "mahalanobis"}, 'are for "full"'),
    "caliper of text": ({"method": "full", "caliper_sd": {"g": 1}}, "g: .*a caliper on a number"),
    "caliper of points": ({"method": "full", "distance": "mahalanobis", "caliper_sd": 1}, "with a standard deviation"),
    "caliper": ({"method": "full", "caliper_sd": 0}, "caliper_sd"),
    "constant": ({"method": "full", "covariates": ["one"]}, "covariates that vary"),
}


def odd():
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"x": rng.normal(size=40), "g": list("ab") * 20, "t": np.tile([0, 0, 1, 1], 10), "one": 1})
    hole = np.r_[np.full(3, np.nan), np.arange(37) % 4]
    return frame.assign(row=range(40), hole=hole, far=np.r_[np.inf, np.zeros(39)])


@pytest.mark.parametrize("name", BAD)
def test_refused(name):
    options, words = BAD[name]
    with pytest.raises(DesignError, match=words):
        stratify(odd(), "t", **{"covariates": ["x"], "method": "coarsened"} | options)


def test_the_design_says_how_it_was_cut_and_whom_it_leaves_out():
    frame = odd()
    design = stratify(frame, "t", covariates=["x", "g"], method="coarsened", cuts={"x": [0], "g": {"a": 1, "b": 1}})
    assert design.spec["cuts"] == {"x": (0.0,), "g": {"a": 1, "b": 1}}
    pairs = stratify(frame, "t", covariates=["x"], method="full", ratio=(1, 1), caliper_sd=0.1)
    lost = int((pairs.unmatched & pairs.treated).sum())
    assert pairs.estimand == f"ATT on the treated with comparison units in their set ({20 - lost} of 20)"
    assert pairs.notes[0] == f"{lost} of 20 treated units are in no set: the effect speaks for the others only."
    assert (np.bincount(pairs.strata[pairs.matched]) == 2).all()


def test_columns_that_share_their_name():
    frame = odd()
    with pytest.raises(DesignError, match="share their name"):
        stratify(pd.concat([frame, frame[["g"]]], axis=1), "t", covariates=["g"], method="exact")


def test_one_treated_and_columns_that_differ_in_case():
    with pytest.raises(DesignError, match="1 treated"):
        stratify(odd().assign(t=np.r_[1, np.zeros(39)]), "t", covariates=["x"], method="coarsened")
    with pytest.raises(DataError, match="upper and lower case"):
        stratify(odd().assign(X=1), "t", covariates=["x", "X"], method="coarsened")
