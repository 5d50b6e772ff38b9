"""Matching: MatchIt's counts and distances, order invariance, blindness, and the brute-force algorithm as oracle."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matching_reference import CASES, case, covariates, data, dataset, school

from attribution.design.balance import balance
from attribution.design.cardinality import cardinality_match
from attribution.design.discard import no_overlap
from attribution.design.match import match
from attribution.design.matching.metric import space
from attribution.design.pairs import ends
from attribution.design.propensity import propensity
from attribution.design.stratify import stratify
from attribution.errors import DesignError


def figures(name):
    """The results of a case, with (score, weight) of its comparison units where the case is held by score."""
    found, results = case(name), case(name)["results"]
    if "replace" in name and "noreplace" not in name:
        frame = data(dataset(name))
        score = propensity(frame, "treat", covariates(name)).probability
        weight = {int(k) - 1: w for k, w in found["weights"].items()}
        results["scores"] = [(score[i], weight.get(i, 0.0)) for i in np.flatnonzero(frame["treat"] == 0)]
    return results


def build(name, **options):
    frame = data(dataset(name))
    return match(frame, "treat", covariates=covariates(name), distance="propensity", **CASES[name], **options)


def compare(design, results):
    table = design.tidy().set_index("sample")
    if design.spec["replace"]:  # which of several equal men MatchIt reuses is arbitrary: count men of different score
        used = np.flatnonzero(design.weights[~design.treated] > 0)
        distinct = len(np.unique(design.distance[~design.treated][used]))
        assert distinct == len({s for s, w in results["scores"] if w > 0})
        table.loc[["matched", "unmatched"], "comparison"] = [
            results["n"][k]["Control"] for k in ("Matched", "Unmatched")
        ]
    for ours, theirs in {"matched": "Matched", "unmatched": "Unmatched", "discarded": "Discarded"}.items():
        assert table.loc[ours].to_dict() == {"treated": results["n"][theirs]["Treated"],
                                             "comparison": results["n"][theirs]["Control"]}  # fmt: skip
    total = design.weights[~design.treated].sum()
    assert total == pytest.approx(len(used) if design.spec["replace"] else results["sum_weights_control"])
    if "caliper_width" in results:
        assert design.spec["caliper_width"] == pytest.approx(results["caliper_width"], rel=1e-6)
    if "total_abs_pair_distance" in results:
        assert design.pairs["distance"].sum() == pytest.approx(results["total_abs_pair_distance"], rel=1e-6)
    after = balance(design).table.set_index(["covariate", "sample"]).loc[("distance", "after")]
    theirs = results["balance_after"]["distance"]
    for ours, their in {"mean_treated": "Means Treated", "mean_comparison": "Means Control"}.items():
        assert after[ours] == pytest.approx(theirs[their], rel=1e-6)
    assert after["smd"] == pytest.approx(theirs["Std. Mean Diff."], rel=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_reference(name):
    """MatchIt 4.7.2 as its hold_to says: counts, total pair distance, balance of the distance."""
    results = figures(name)
    design = build(name)
    compare(design, results)
    y, t, w = design.units["re78"].to_numpy(), design.treated, design.weights
    att = np.average(y[t], weights=w[t]) - np.average(y[~t], weights=w[~t])
    if "noreplace" in name or "exact" in name:  # in data order ours breaks ties as MatchIt does
        assert att == pytest.approx(results["att_weighted_diff"], rel=1e-6)
    else:
        slack = 1e-6 * abs(results["att_weighted_diff"])
        span = results["row_order_sensitivity"]
        assert span["att_min"] - slack <= att <= span["att_max"] + slack


@pytest.mark.parametrize("name", CASES)
def test_canary(name):
    design = build(name)
    for change in (
        lambda r: r["n"]["Matched"].__setitem__("Treated", r["n"]["Matched"]["Treated"] + 1),
        lambda r: r["n"]["Unmatched"].__setitem__("Treated", r["n"]["Unmatched"]["Treated"] + 1),
        lambda r: r["n"]["Discarded"].__setitem__("Treated", 1),
        lambda r: r.__setitem__("scores", [(0.0, w) for _, w in r["scores"]]) if "scores" in r
        else r.__setitem__("sum_weights_control", r["sum_weights_control"] * 1.0001),
        lambda r: r.__setitem__("total_abs_pair_distance", r["total_abs_pair_distance"] * 1.0001),
        lambda r: r.__setitem__("caliper_width", r.get("caliper_width", 1.0) * 1.0001) if "caliper" in name
        else r["balance_after"]["distance"].__setitem__("Means Treated", 0.0),
        lambda r: r["balance_after"]["distance"].__setitem__("Means Control", 0.0),
        lambda r: r["balance_after"]["distance"].__setitem__("Std. Mean Diff.", 9.0),
    ):  # fmt: skip
        results = figures(name)
        change(results)
        with pytest.raises((AssertionError, TypeError)):
            compare(design, results)


def ranked(score, i, options):
    """From near to far; distances equal up to rounding in the order of rows."""
    options = sorted(options, key=lambda j: abs(score[j] - score[i]))
    gap = np.abs(score[options] - score[i])
    place = np.cumsum(np.diff(gap, prepend=gap[:1]) > 1e-11 * score.std())
    return [j for _, j in sorted(zip(place.tolist(), options, strict=True))]


def brute(frame, score, *, caliper=np.inf, exact=None, person=None, ratio=1):
    """The specification as three loops: descending propensity, closest unused, first in order on ties."""
    treated = np.flatnonzero(frame["treated"] == 1)
    pool = set(np.flatnonzero(frame["treated"] == 0).tolist())
    queue = treated[np.argsort(-score[treated], kind="stable")]
    pairs = []
    for _ in range(ratio):
        for i in queue:
            near = [j for j in sorted(pool) if abs(score[j] - score[i]) <= caliper]
            options = [j for j in near if exact is None or exact[i] == exact[j]]
            options = [j for j in options if person is None or person[i] != person[j]]
            if options:
                j = ranked(score, i, options)[0]
                pairs.append((int(i), j))
                pool -= {j} if person is None else {k for k in pool if person[k] == person[j]}
    return sorted(pairs)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000), n=st.integers(30, 120), levels=st.integers(2, 8), ratio=st.integers(1, 3),
    caliper=st.sampled_from([None, 0.05, 0.5]), exact=st.booleans(), people=st.booleans(),
)  # fmt: skip
def test_equals_brute_force(seed, n, levels, ratio, caliper, exact, people):
    """Coarse covariates make many ties; persons repeat. The fast algorithm and the obvious one give the same pairs."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"x": rng.integers(0, levels, n), "z": rng.integers(0, 3, n), "cell": rng.integers(0, 3, n)})
    frame = frame.assign(who=rng.integers(0, n // 2, n), treated=(rng.random(n) < 0.35).astype(int))
    before = frame.copy()
    try:
        design = match(frame, "treated", covariates=["x", "z"], ratio=ratio, caliper_sd=caliper,
                       exact=["cell"] if exact else (), person="who" if people else None)  # fmt: skip
    except DesignError:
        return
    pd.testing.assert_frame_equal(frame, before)
    score = design.distance
    expected = brute(frame, score, caliper=np.inf if caliper is None else caliper * score.std(ddof=1), ratio=ratio,
                     exact=frame["cell"].to_numpy() if exact else None,
                     person=frame["who"].to_numpy() if people else None)  # fmt: skip
    assert sorted(zip(design.pairs["treated"], design.pairs["comparison"], strict=True)) == expected
    assert not design.pairs["comparison"].duplicated().any()
    if caliper is not None:
        assert (design.pairs["distance"] <= design.spec["caliper_width"]).all()
    comparison = design.weights[~design.treated]
    assert comparison.sum() == pytest.approx((comparison > 0).sum())
    assert ((design.strata >= 0) == design.matched).all()
    if people:
        people_used = frame["who"].iloc[design.pairs["comparison"]]
        assert not people_used.duplicated().any()
        groups = pd.DataFrame({"who": frame["who"], "group": design.strata})[design.matched]
        assert (groups.groupby("who")["group"].nunique() == 1).all()
    assert (design.strata[design.pairs["treated"]] == design.strata[design.pairs["comparison"]]).all()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), ratio=st.integers(1, 4), caliper=st.sampled_from([None, 0.1]))
def test_with_replacement_takes_the_nearest(seed, ratio, caliper):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"x": rng.integers(0, 9, 80), "z": rng.integers(0, 4, 80), "cell": rng.integers(0, 2, 80)})
    frame["treated"] = (rng.random(80) < 0.4).astype(int)
    try:
        design = match(frame, "treated", covariates=["x", "z"], ratio=ratio, replace=True, caliper_sd=caliper,
                       exact=["cell"])  # fmt: skip
    except DesignError:
        return
    score, t, cell = design.distance, design.treated, frame["cell"].to_numpy()
    width = design.spec["caliper_width"] or np.inf
    expected = []
    for i in np.flatnonzero(t):
        near = [j for j in np.flatnonzero(~t) if cell[i] == cell[j] and abs(score[i] - score[j]) <= width]
        expected += [(i, j) for j in ranked(score, i, near)[:ratio]]
    assert sorted(zip(design.pairs["treated"], design.pairs["comparison"], strict=True)) == sorted(expected)


@pytest.mark.parametrize("key", ["key", None])
@pytest.mark.parametrize("options", [{}, {"caliper_sd": 0.2}, {"exact": ["cell"]}, {"ratio": 2}, {"replace": True}])
def test_row_order_never_matters(options, key):
    """With a key, and without one where the labels of the index tell rows apart."""
    frame = school(600)
    frame["x"] = frame["x"].round(0)  # ties everywhere
    frame["z"] = frame["z"].round(0)
    shuffled = frame.sample(frac=1, random_state=3)
    a = match(frame, "treated", covariates=["x", "z"], key=key, **options)
    b = match(shuffled, "treated", covariates=["x", "z"], key=key, **options)

    def facts(design):
        keys = design.units["key"].to_numpy()
        pairs = pd.DataFrame({"t": keys[design.pairs["treated"]], "c": keys[design.pairs["comparison"]],
                              "d": design.pairs["distance"]})  # fmt: skip
        units = pd.DataFrame({"w": design.weights, "p": design.propensity, "s": design.strata}, index=keys)
        return pairs.sort_values(["t", "c"], ignore_index=True), units.sort_index()

    for ours, theirs in zip(facts(a), facts(b), strict=True):
        pd.testing.assert_frame_equal(ours, theirs, check_exact=True)


def nameless(frame):
    """The same rows in tables whose rows nothing names."""
    yield pl.from_pandas(frame)
    yield frame.set_axis(frame.index // 2, axis=0)
    yield frame.set_axis(["a", *frame.index[1:]], axis=0)


BUILD = {
    "nearest": lambda u, **k: match(u, "treated", covariates=["x", "z"], **k),
    "mahalanobis": lambda u, **k: match(u, "treated", covariates=["x", "z"], distance="mahalanobis", **k),
    "full": lambda u, **k: stratify(u, "treated", covariates=["x", "z"], method="full", **k),
    "cardinality": lambda u, **k: cardinality_match(u, "treated", covariates=["x", "z"], **k),
}


@pytest.mark.parametrize("name", BUILD)
def test_where_nothing_names_the_rows_content_orders_them(name):
    frame = school(200)
    for seed in (1, 2):
        for one, other in zip(nameless(frame), nameless(frame.sample(frac=1, random_state=seed)), strict=True):
            a, b = (BUILD[name](u) for u in (one, other))
            taken = [set(d.units["key"][d.weights > 0]) for d in (a, b)]
            assert taken[0] == taken[1]


@pytest.mark.parametrize("name", BUILD)
def test_units_alike_need_a_key_where_nothing_names_the_rows(name):
    frame = school(200).assign(x=lambda u: u["x"].round(0), z=lambda u: u["z"].round(0))
    for units in nameless(frame):
        with pytest.raises(DesignError, match='key=, a column that tells units apart.*give key="id"'):
            BUILD[name](units)
        assert (BUILD[name](units, key="key").weights > 0).any()
    assert "the smallest label of the index" in " ".join(BUILD["nearest"](frame).notes)
    assert len(match(pl.from_pandas(frame), "treated", covariates=["x"], replace=True, ties="all").pairs)


@pytest.mark.parametrize("scramble", ["permute", "missing"])
def test_blind_to_every_other_column(scramble):
    frame = school(500)
    other = frame.copy()
    other["y"] = np.nan if scramble == "missing" else frame["y"].sample(frac=1, random_state=1).to_numpy()
    a = match(frame, "treated", covariates=["x", "b"], exact=["cell"], key="key", caliper_sd=0.2)
    b = match(other, "treated", covariates=["x", "b"], exact=["cell"], key="key", caliper_sd=0.2)
    for name in ("weights", "strata", "propensity", "distance", "discarded", "unmatched"):
        assert getattr(a, name).tobytes() == getattr(b, name).tobytes(), name
    pd.testing.assert_frame_equal(a.pairs, b.pairs, check_exact=True)


def test_exact_cell_without_the_other_arm_is_discarded_and_counted():
    frame = school(400)
    frame.loc[(frame["cell"] == 0) & (frame["treated"] == 0), "cell"] = 1
    alone = (frame["cell"] == 0).to_numpy()
    design = match(frame, "treated", covariates=["x", "b"], exact=["cell"], caliper_sd=0.5)
    assert design.discarded.tolist() == alone.tolist()
    assert not (design.discarded & design.unmatched).any()
    assert f"({alone.sum()} of them in an exact cell" in design.notes[0]
    covered = int((design.matched & design.treated).sum())
    assert design.estimand == f"ATT on the matched treated ({covered} of {int(design.treated.sum())})"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"ratio": 0}, "ratio >= 1"),
        ({"ratio": 10_000}, "ratio no larger than the pool"),
        ({"caliper_sd": 0.0}, "caliper_sd > 0"),
        ({"distance": "euclid"}, "choose one of these"),
        ({"exact": ["nowhere"]}, "no such column"),
        ({"key": "b"}, "one row a key"),
        ({"person": "key", "replace": True}, "without replacement"),
        ({"exact": ["treated"]}, "treatment itself"),
        ({"method": "best"}, "choose one of these"),
        ({"ties": "some"}, "choose one of these"),
        ({"target": "overlap"}, "choose one of these"),
        ({"discard": "all"}, "choose one of these"),
        ({"ties": "all"}, "with replacement"),
        ({"target": "all"}, "with replacement"),
        ({"target": "all", "replace": True, "ratio": 90}, "no larger than the pool"),
        ({"tie_tolerance": -1.0}, "tie_tolerance >= 0"),
        ({"ratio": True}, "whole number"),
        ({"method": "optimal", "replace": True}, "optimal pairs without replacement"),
        ({"caliper_sd": 0.2, "distance": "mahalanobis"}, "something with a standard deviation"),
        ({"caliper_sd": {"nowhere": 0.2}}, "no such column"),
        ({"caliper_sd": {"key": 0.2}}, "a caliper on a number"),
        ({"caliper_sd": {"logit": 0.0}}, "caliper_sd > 0"),
        ({"anti_exact": ["nowhere"]}, "no such column"),
        ({"covariate_weights": {"x": 2.0}, "distance": "mahalanobis"}, 'with distance "scaled_euclidean"'),
        ({"covariate_weights": {"y": 2.0}, "distance": "scaled_euclidean"}, "for covariates of the design"),
        ({"covariate_weights": {"x": -1.0}, "distance": "scaled_euclidean"}, "a weight >= 0"),
        ({"caliper_sd": 1e-12}, "with a partner"),
    ],
)
def test_bad_options(options, says):
    with pytest.raises(DesignError, match=says):
        match(school(200), "treated", covariates=["x", "z"], **options)


def test_missing_exact_column_counts_keys():
    frame = school(200).assign(cell=lambda f: f["cell"].where(f.index > 6))
    with pytest.raises(DesignError, match=r"\[7\] \(for example u000000") as error:
        match(frame, "treated", covariates=["x"], exact=["cell"], key="key")
    assert error.value.count == 7


CALIPERS = [None, {"logit": 0.5}, {"x": 0.4, "z": 1.0}, {"propensity": 0.3, "x": 0.5}]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000), replace=st.booleans(), ratio=st.integers(1, 3), caliper=st.sampled_from(CALIPERS),
    distance=st.sampled_from(["logit", "mahalanobis", "robust_mahalanobis", "scaled_euclidean"]),
    ties=st.sampled_from(["key", "all"]), target=st.sampled_from(["treated", "all"]), exact=st.booleans(),
    anti=st.booleans(), discard=st.sampled_from([None, "common_support", "crump"]),
)  # fmt: skip
def test_every_design_keeps_its_word(seed, replace, ratio, caliper, distance, ties, target, exact, anti, discard):
    """Caliper, exact, anti-exact, ratio, uniqueness, sums of weights, and the same answer whatever the row order."""
    frame = school(90, seed=seed)
    frame = frame.assign(x=frame["x"].round(1), z=frame["z"].round(0), cohort=frame["cell"] % 2)
    if not replace:
        ties, target = "key", "treated"
    options = {"covariates": ["x", "z", "b"], "distance": distance, "ratio": ratio, "replace": replace, "ties": ties,
               "target": target, "caliper_sd": caliper, "exact": ["cohort"] if exact else (), "key": "key",
               "anti_exact": ["cell"] if anti else (), "discard": discard}  # fmt: skip
    try:
        design = match(frame, "treated", **options)
    except DesignError as error:
        assert "with a partner" in str(error) or "overlap" in str(error)
        return
    shuffled = match(frame.sample(frac=1, random_state=seed), "treated", **options)

    def keys(one):
        who = one.units["key"].to_numpy()
        return sorted(zip(who[one.pairs["treated"]], who[one.pairs["comparison"]], strict=True))

    assert keys(design) == keys(shuffled)
    pairs, t = design.pairs, design.treated
    left, right = frame.iloc[pairs["treated"]], frame.iloc[pairs["comparison"]]
    assert t[pairs["treated"]].all() and not t[pairs["comparison"]].any()
    numbers = {"x": frame["x"], "z": frame["z"]}
    if design.propensity is not None:
        p = design.propensity
        numbers |= {"propensity": p, "logit": np.log(p / (1 - p))}
    for name, sds in (caliper or {}).items():
        values = np.asarray(numbers[name])
        width = sds * values.std(ddof=1)
        assert (np.abs(values[pairs["treated"]] - values[pairs["comparison"]]) <= width * (1 + 1e-9)).all()
    if exact:
        assert (left["cohort"].to_numpy() == right["cohort"].to_numpy()).all()
    if anti:
        assert (left["cell"].to_numpy() != right["cell"].to_numpy()).all()
    focal, partner = ends(pairs)
    partners = np.bincount(focal, minlength=len(frame))
    if ties == "key":
        assert partners.max() <= ratio
    if not replace:
        assert not pairs["comparison"].duplicated().any()
    w = design.weights
    assert ((w > 0) == design.matched).all() and not (design.matched & (design.unmatched | design.discarded)).any()
    assert (design.matched | design.unmatched | design.discarded).all()
    if target == "treated":
        assert np.array_equal(w[t], (partners[t] > 0).astype(float))
        assert w[~t].sum() == pytest.approx((w[~t] > 0).sum())
    else:
        assert w[t].sum() == pytest.approx(w[~t].sum()) == pytest.approx((partners > 0).sum())
    share = 1 / partners[focal]
    effect = (share * np.where(t[focal], 1, -1) * (frame["y"].to_numpy()[focal] - frame["y"].to_numpy()[partner])).sum()
    y = frame["y"].to_numpy()
    assert np.average(y[t], weights=w[t]) - np.average(y[~t], weights=w[~t]) == pytest.approx(effect / share.sum())


def test_mahalanobis_reference():
    """MatchIt 4.7.2. Fifteen of its choices are ties, and it breaks those among equal men by no rule; all earn 0."""
    found = case("mahal1_replace_nsw_psid")
    frame = data("nsw_psid").assign(back=lambda f: -f["id"])
    names = covariates("mahal1_replace_nsw_psid")
    design = match(frame, "treat", covariates=names, distance="mahalanobis", replace=True, key="back")
    assert design.spec["tied"] == 15
    y, t, w = frame["re78"].to_numpy(), design.treated, design.weights
    ours = np.average(y[t], weights=w[t]) - np.average(y[~t], weights=w[~t])
    assert ours == pytest.approx(found["results"]["att_weighted_diff"], rel=1e-6)
    theirs = np.array(found["pairs"]) - 1
    where = space(frame, names, t, "mahalanobis")
    gap = np.sqrt(where.squared(theirs[:, 0], theirs[:, 1]))
    mine = design.pairs.set_index("treated")["distance"].loc[theirs[:, 0]].to_numpy()
    assert gap == pytest.approx(mine, rel=1e-6, abs=1e-9)  # every pair of theirs is as near as ours
    same = design.pairs.set_index("treated")["comparison"].loc[theirs[:, 0]].to_numpy() == theirs[:, 1]
    assert (~same).sum() <= 1


def test_a_score_is_used_again():
    frame = school(400)
    score = propensity(frame, "treated", ["x", "z", "b"])
    ours = match(frame, "treated", covariates=["x"], score=score, caliper_sd=0.2)
    assert ours.distance is not None and np.abs(ours.distance - score.logit).max() < 1e-11
    with pytest.raises(DesignError, match="fitted on these rows"):
        match(frame.iloc[::-1], "treated", covariates=["x"], score=score)


def test_discarded_and_unmatched_are_counted_apart():
    frame = school(400)
    design = match(frame, "treated", covariates=["x", "b"], discard="crump", caliper_sd=0.01)
    score = propensity(frame, "treated", ["x", "b"])
    assert np.array_equal(design.discarded, no_overlap(score.probability, score.treated, "crump"))
    assert design.unmatched.any() and not (design.unmatched & design.discarded).any()
    frame = frame.assign(x=frame["x"] + 2 * frame["treated"])
    design = match(frame, "treated", covariates=["x", "b"], discard="common_support", caliper_sd=0.3)
    out = int((design.discarded & design.treated).sum())
    assert out > 0 and any(f"{out:,} outside the overlap of the propensity" in note for note in design.notes)


def test_ties_are_counted():
    frame = pd.DataFrame({"t": [1, 1, 0, 0, 0, 0], "x": [0.0, 2.0, 0.0, 0.0, 3.0, 3.0], "who": list("abcdef")})
    nearest = match(frame, "t", covariates=["x"], distance="scaled_euclidean", replace=True, key="who")
    assert nearest.pairs["comparison"].tolist() == [2, 4] and nearest.spec["tied"] == 2
    assert nearest.notes[-1] == ("In 2 choices several partners were equally near; the smallest who was taken: "
                                 "`tie_range` says what that is worth.")  # fmt: skip
    every = match(frame, "t", covariates=["x"], distance="scaled_euclidean", replace=True, ties="all")
    assert every.pairs["comparison"].tolist() == [2, 3, 4, 5] and every.weights.tolist() == [1, 1, 1, 1, 1, 1]
    turned = match(frame.iloc[::-1], "t", covariates=["x"], distance="scaled_euclidean", replace=True, key="who")
    assert turned.units["who"].iloc[turned.pairs["comparison"]].tolist() == ["c", "e"]


def test_weights_say_which_covariate_matters():
    frame = pd.DataFrame({"t": [1, 1, 0, 0, 0, 0], "x": [0.0, 9, 0, 5, 9, 4], "z": [0.0, 5, 5, 0, 0, 5]})
    options = {"covariates": ["x", "z"], "distance": "scaled_euclidean", "replace": True}
    by_x = match(frame, "t", covariate_weights={"x": 100.0}, **options)
    by_z = match(frame, "t", covariate_weights={"x": 0.0}, **options)
    assert by_x.pairs["comparison"].tolist() == [2, 4] and by_z.pairs["comparison"].tolist() == [3, 2]


def test_optimal_pairs_are_no_farther_than_greedy_ones():
    frame = data("lalonde")
    for options in ({}, {"distance": "mahalanobis", "exact": ["race"]}, {"anti_exact": ["nodegree"], "ratio": 2}):
        options = {"covariates": covariates("lalonde"), "distance": "propensity"} | options
        best, quick = (match(frame, "treat", method=m, **options) for m in ("optimal", "nearest"))
        assert len(best.pairs) >= len(quick.pairs)
        assert best.pairs["distance"].sum() <= quick.pairs["distance"].sum() + 1e-9
        assert not best.pairs["comparison"].duplicated().any()


def test_covariates_that_make_no_distance():
    frame = school(100).assign(one=1.0, twice=lambda f: 2 * f["x"], fixed=lambda f: f["treated"] * 2.0)
    for more, says in ((["one"], "covariates that vary"), (["twice"], "fix each other"), (["fixed"], "vary within")):
        with pytest.raises(DesignError, match=says):
            match(frame, "treated", covariates=["x", *more], distance="mahalanobis")
