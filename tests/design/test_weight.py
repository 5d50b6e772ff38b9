"""Weights: WeightIt's to seven digits, the equations each method solves, whom the effect is about when units leave."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matching_reference import FOLDER, LALONDE, PSID, WEIGHTINGS, case, data, dataset, school

from attribution.design.balance import balance
from attribution.design.propensity import propensity
from attribution.design.stratify import stratify
from attribution.design.weight import weight
from attribution.errors import DesignError
from attribution.estimate.att import att


def build(name, **options):
    frame = data(dataset(name))
    return weight(frame, "treat", covariates=PSID if name.endswith("psid") else LALONDE, **WEIGHTINGS[name], **options)


def compare(design, found, theirs, *, tolerance):
    r, t = found["results"], design.treated
    optimum = r.get("exact_dual")
    if theirs is not None:
        np.testing.assert_allclose(design.weights, theirs, rtol=tolerance)
    ess = {"treated": r["ess"]["treated"], "comparison": r["ess"]["control"]}
    if optimum:
        ess["comparison"] = optimum["ess_control"]
        own = design.weights[~t]
        assert own.max() / own.mean() == pytest.approx(optimum["max_weight_over_mean"], rel=1e-6)
    assert design.ess.to_dict() == pytest.approx(ess, rel=1e-3 if tolerance == 1e-3 else 1e-6)
    for arm, mine in (("treated", t), ("control", ~t)):
        assert design.weights[mine].max() == pytest.approx(r["max_weight"][arm], rel=max(tolerance, 1e-6))
        assert design.weights[mine].sum() == pytest.approx(r["sum_w"][arm], rel=max(tolerance, 1e-6))


def reference(name):
    """The case, WeightIt's weights where they are exact enough to hold, and how closely."""
    file = FOLDER / f"{name}.units.csv"
    tolerance = {"ipw": 1e-6, "eba": 2e-4, "cbp": 1e-3}[name[:3]]  # R stops entropy balancing and CBPS early
    return case(name), pd.read_csv(file)["weight"] if file.exists() else None, tolerance


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_reference(name):
    found, theirs, tolerance = reference(name)
    compare(build(name), found, theirs, tolerance=tolerance)


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_canary(name):
    """Each column of the reference, moved, must be noticed."""
    design = build(name)
    for path in ("ess", "max_weight", "sum_w", "units"):
        found, theirs, tolerance = reference(name)
        if path == "units":
            if theirs is None:
                continue
            theirs = theirs * (1 + 3 * tolerance)
        elif path == "ess" and "exact_dual" in found["results"]:
            found["results"]["exact_dual"]["ess_control"] *= 1.00001
        else:
            found["results"][path] = {k: v * 1.005 for k, v in found["results"][path].items()}
        with pytest.raises(AssertionError):
            compare(design, found, theirs, tolerance=tolerance)


def test_by_hand():
    """Half of the four with x = 1 are treated, a fifth of the five with x = 0."""
    frame = pd.DataFrame({"x": [1] * 4 + [0] * 5, "t": [1, 1, 0, 0, 1, 0, 0, 0, 0]})
    one = weight(frame, "t", covariates=["x"])
    np.testing.assert_allclose(one.weights, [1, 1, 1, 1, 1, 0.25, 0.25, 0.25, 0.25], atol=1e-9)
    np.testing.assert_allclose(weight(frame, "t", covariates=["x"], target="all").weights[[0, 2, 4, 5]],
                               [2, 2, 5, 1.25], atol=1e-8)  # fmt: skip
    np.testing.assert_allclose(weight(frame, "t", covariates=["x"], method="overlap").weights[[0, 2, 4, 5]],
                               [0.5, 0.5, 0.8, 0.2], atol=1e-9)  # fmt: skip
    # two cells: every method of the treated is the same up to scale; entropy weights sum to the six comparison units
    entropy = weight(frame, "t", covariates=["x"], method="entropy").weights
    np.testing.assert_allclose(entropy[3:], [2, 1, 0.5, 0.5, 0.5, 0.5], atol=1e-9)
    np.testing.assert_allclose(weight(frame, "t", covariates=["x"], method="cbps").weights, one.weights, atol=1e-9)
    stable = weight(frame, "t", covariates=["x"], target="all", stabilised=True).weights
    np.testing.assert_allclose(stable[[0, 2, 4, 5]], [2 / 3, 4 / 3, 5 / 3, 2.5 / 3], atol=1e-8)


@pytest.mark.parametrize("moments", [1, 2, 3])
@pytest.mark.parametrize("target", ["treated", "all"])
def test_entropy_equates_moments(moments, target):
    frame = school(600)
    design = weight(frame, "treated", covariates=["x", "z", "b"], method="entropy", moments=moments, target=target)
    t, w = design.treated, design.weights
    for name in ("x", "z", "b"):
        for power in range(1, moments + 1):
            values = frame[name].to_numpy() ** power
            aim = values[t].mean() if target == "treated" else values.mean()
            assert np.average(values[~t], weights=w[~t]) == pytest.approx(aim, abs=1e-9)
            assert np.average(values[t], weights=w[t]) == pytest.approx(aim, abs=1e-9)
    assert w[~t].sum() == pytest.approx((~t).sum())


@pytest.mark.parametrize("target", ["treated", "all"])
def test_cbps_solves_its_moment_equations(target):
    frame = school(600)
    design = weight(frame, "treated", covariates=["x", "z", "b"], method="cbps", target=target)
    t, w, p = design.treated, design.weights, design.propensity
    expected = np.where(t, 1 / p, 1 / (1 - p)) if target == "all" else np.where(t, 1, p / (1 - p))
    np.testing.assert_allclose(w, expected, rtol=1e-9)
    z = np.column_stack([np.ones(600), frame[["x", "z", "b"]]])
    np.testing.assert_allclose(z.T @ (np.where(t, 1, -1) * w), 0, atol=1e-7)
    assert np.abs(np.diff(p)).max() > 0.01  # and the propensity is no constant


def test_overlap_weights_balance_exactly():
    """Li, Morgan & Zaslavsky (2018, theorem 3): with a logit, the weighted means agree."""
    table = balance(build("ipw_ato_lalonde")).table.query("covariate != 'distance'")
    largest = table.assign(smd=table["smd"].abs()).groupby("sample")["smd"].max()
    assert largest["after"] < 1e-8 < 1 < largest["before"]


@pytest.mark.parametrize("name", ["trim_lalonde", "trim_nsw_psid"])
def test_trimming(name):
    """Crump's rule: the reference's counts, and what the design says of them."""
    r, set_ = case(name)["results"], name.removeprefix("trim_")
    names = PSID if set_ == "nsw_psid" else LALONDE
    design = weight(data(set_), "treat", covariates=names, discard="crump")
    counts = design.tidy().set_index("sample")
    assert counts.loc["matched"].tolist() == [r["kept_treated"], r["kept_control"]]
    assert counts.loc["unmatched"].tolist() == [0, 0]
    assert design.estimand == f"ATT on the treated with overlap ({r['kept_treated']} of 185)"
    assert any("discarded for lack of overlap: the effect does not speak for these" in note for note in design.notes)


def test_discarding_fits_again_on_those_left():
    frame = data("lalonde")
    design = weight(frame, "treat", covariates=LALONDE, discard="common_support")
    again = weight(frame[~design.discarded], "treat", covariates=LALONDE)
    np.testing.assert_allclose(design.weights[~design.discarded], again.weights, rtol=1e-8)
    assert (design.weights[design.discarded] == 0).all() and (design.strata[design.discarded] == -1).all()
    assert (design.weight_model.influence[design.discarded] == 0).all()


def test_a_cap_names_itself():
    frame = data("lalonde")
    free = weight(frame, "treat", covariates=LALONDE, target="all")
    capped = weight(frame, "treat", covariates=LALONDE, target="all", trim=0.95)
    for arm in (free.treated, ~free.treated):
        cap = np.quantile(free.weights[arm], 0.95)
        np.testing.assert_allclose(capped.weights[arm], np.minimum(free.weights[arm], cap))
    assert "capped at their 95% quantile" in capped.estimand
    assert sum("are capped at" in note for note in capped.notes) == 2
    treated = weight(frame, "treat", covariates=LALONDE, trim=0.95)  # weights of one are no weights to cap
    assert treated.weights[treated.treated].tolist() == [1.0] * 185
    assert sum("are capped at" in note for note in treated.notes) == 1


def test_heavy_weights_are_noted():
    notes = build("ebal_att_nsw_psid").notes
    assert notes == ("Few comparison units carry the weight: 2,490 count as much as 23 equal ones, and one of them "
                     "holds 11%.",)  # fmt: skip
    assert build("ebal_att_lalonde").notes == ()


def test_sampling_weights():
    """A weight of two is the unit twice; entropy balancing starts from them."""
    frame = school(300).drop(columns="key")
    frame["s"] = np.where(np.arange(300) % 3 == 0, 2.0, 1.0)
    twice = pd.concat([frame, frame[frame["s"] == 2]], ignore_index=True)
    for options in ({"method": "ipw"}, {"method": "entropy"}, {"method": "cbps", "target": "all"}):
        one = weight(frame, "treated", covariates=["x", "z"], sampling="s", **options)
        two = weight(twice, "treated", covariates=["x", "z"], **options)
        for arm in (True, False):
            own = one.treated == arm
            first = one.weights[own] / one.weights[own].sum()
            second = two.weights[:300][own] / two.weights[two.treated == arm].sum()
            np.testing.assert_allclose(first, second * frame["s"][own], rtol=1e-7)


@pytest.mark.parametrize("method", ["ipw", "overlap", "entropy", "cbps"])
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.floats(1e-3, 1e3), shift=st.floats(-1e3, 1e3))
def test_order_and_units_do_not_matter(method, seed, scale, shift):
    """With a key the weights are the same to the last bit; a linear change of the covariates changes nothing."""
    frame = school(250, seed=seed % 7)
    plain = weight(frame, "treated", covariates=["x", "z"], method=method, key="key")
    shuffled = frame.sample(frac=1, random_state=seed)
    again = weight(shuffled, "treated", covariates=["x", "z"], method=method, key="key")
    back = pd.Series(again.weights, shuffled["key"]).loc[frame["key"]].to_numpy()
    assert (back == plain.weights).all()
    no_key = weight(shuffled.drop(columns="key"), "treated", covariates=["x", "z"], method=method)
    np.testing.assert_allclose(no_key.weights, again.weights, rtol=1e-9)
    other = frame.assign(a=scale * frame["x"] + shift, b2=frame["z"] - 2 * frame["x"])
    np.testing.assert_allclose(
        weight(other, "treated", covariates=["a", "b2"], method=method, key="key").weights, plain.weights, rtol=1e-6
    )


def test_entropy_of_moments_does_not_see_units():
    frame = school(400)
    plain = weight(frame, "treated", covariates=["x", "z"], method="entropy", moments=3).weights
    moved = frame.assign(x=frame["x"] * 250 + 1e4)
    np.testing.assert_allclose(
        weight(moved, "treated", covariates=["x", "z"], method="entropy", moments=3).weights, plain, rtol=1e-6
    )


def test_many_rows_take_the_start_from_few():
    """Above a hundred thousand rows a subsample finds the start; the answer is that of the same rows compressed."""
    some = school(1_000).drop(columns=["key", "y", "cell"]).round(1)
    many = pd.concat([some] * 120, ignore_index=True)
    for method in ("ipw", "entropy"):
        few = weight(some, "treated", covariates=["x", "z", "b"], method=method)
        lots = weight(many, "treated", covariates=["x", "z", "b"], method=method)
        np.testing.assert_allclose(lots.weights[:1_000], few.weights, rtol=1e-8)


def test_input_is_not_changed_and_outcome_not_read():
    frame = school(200).assign(y=np.nan)
    before = frame.copy()
    weight(frame, "treated", covariates=["x"], method="entropy", trim=0.9)
    pd.testing.assert_frame_equal(frame, before)


def test_a_score_of_ones_own():
    frame = school(500)
    score = propensity(frame, "treated", ["x", "z"])
    given_, own = (weight(frame, "treated", covariates=["x", "z"], score=s) for s in (score, None))
    np.testing.assert_allclose(given_.weights, own.weights, rtol=1e-9)
    np.testing.assert_allclose(given_.weight_model.slopes, own.weight_model.slopes, rtol=1e-7, atol=1e-12)
    from sklearn.linear_model import LogisticRegression

    learnt = propensity(frame, "treated", ["x", "z"], model=LogisticRegression(), key="key")
    fixed = weight(frame, "treated", covariates=["x", "z"], score=learnt)
    assert fixed.weight_model is None and "held fixed" in fixed.notes[0]
    p = learnt.probability
    np.testing.assert_allclose(fixed.weights, np.where(frame["treated"] == 1, 1, p / (1 - p)))
    trimmed = weight(frame, "treated", covariates=["x", "z"], score=learnt, discard="common_support", target="all")
    assert trimmed.estimand == f"ATE on the units with overlap ({int((~trimmed.discarded).sum())} of 500)"
    t, kept = trimmed.treated, trimmed.weights > 0
    low, high = np.where(t, p[~t].min(), p[t].min()), np.where(t, p[~t].max(), p[t].max())
    assert kept.tolist() == ((p >= low) & (p <= high)).tolist() and not kept.all()
    with pytest.raises(DesignError, match="fitted on these rows"):
        weight(frame.sample(frac=1, random_state=1), "treated", covariates=["x", "z"], score=score)


BAD = {
    "constant covariate": (lambda f: f.assign(w=1.0), {}, "constant covariate"),
    "a combination": (lambda f: f.assign(w=f["x"] + f["z"]), {}, "is fixed by x, z"),
    "missing": (lambda f: f.assign(w=np.where(np.arange(len(f)) < 3, np.nan, 1.0)), {}, "[3] (for example 0, 1, 2)"),
    "separation": (lambda f: f.assign(w=f["treated"] * 2.0 + np.linspace(0, 1, len(f))), {}, "alone tells treated"),
    "out of reach": (
        lambda f: f.assign(w=np.where(f["treated"] == 1, 5.0 + f["z"], f["z"].clip(-1, 1))), {"method": "entropy"},
        "a mean of w of",
    ),
    "all treated have it": (
        lambda f: f.assign(w=np.where(f["treated"] == 1, 1, np.arange(len(f)) % 2)), {"method": "cbps"},
        "a mean of w of 1 where the units to be weighted go from 0 to 1",
    ),
    "one treated": (lambda f: f.assign(treated=np.r_[1, np.zeros(len(f) - 1, int)]), {}, "1 treated and"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_data_is_refused_by_name(name):
    change, options, says = BAD[name]
    frame = change(school(300))
    names = ["x", "z"] + (["w"] if "w" in frame else [])
    with pytest.raises(DesignError) as error:
        weight(frame, "treated", covariates=names, **options)
    assert says in str(error.value)
    assert error.value.column == ("treated" if name == "one treated" else "w")


def test_means_that_only_together_are_out_of_reach():
    """Each mean lies inside the comparison's range, but no comparison unit is high on both."""
    frame = school(400).drop(columns="b")
    high = frame["treated"] == 1
    frame["a"] = np.where(high, 1.0, np.arange(400) % 2) + 0.01 * frame["x"]
    frame["b"] = np.where(high, 1.0, 1 - np.arange(400) % 2) + 0.01 * frame["z"]
    with pytest.raises(DesignError, match="on all covariates at once"):
        weight(frame, "treated", covariates=["a", "b"], method="entropy")


@pytest.mark.parametrize("bad", [-1.0, 0.0, np.inf])
def test_bad_sampling_weights(bad):
    frame = school(100)
    frame["s"] = np.where(np.arange(100) < 2, bad, 1.0)
    with pytest.raises(DesignError, match=r"\[2\]") as error:
        weight(frame, "treated", covariates=["x"], sampling="s")
    assert error.value.column == "s"


@pytest.mark.parametrize("options", [
    {"method": "magic"}, {"method": "overlap", "target": "all"}, {"method": "entropy", "target": "overlap"},
    {"moments": 2}, {"method": "entropy", "moments": 4}, {"method": "entropy", "stabilised": True}, {"trim": 0.3},
    {"trim": 1.0}, {"discard": "guess"}, {"covariates": ["x", "treated"]}, {"covariates": []}, {"key": "cell"},
])  # fmt: skip
def test_bad_options_are_refused(options):
    with pytest.raises(DesignError):
        weight(school(100), "treated", **{"covariates": ["x"], **options})


def interacted(frame, covariates, by):
    """The frame with a column for every level but the first and one for every covariate within every level."""
    out, names, levels = frame.copy(), [], sorted(set(frame[by]))
    for level in levels:
        for name in [None, *covariates] if level != levels[0] else covariates:
            names.append(f"{level} {name}")
            out[names[-1]] = (frame[by] == level) * (1.0 if name is None else frame[name])
    return out, names


@pytest.mark.parametrize("options", [
    {}, {"target": "all"}, {"target": "all", "stabilised": True}, {"method": "overlap"}, {"method": "entropy"},
    {"method": "cbps", "target": "all"}, {"trim": 0.9}, {"sampling": "w"},
], ids=str)  # fmt: skip
def test_exact_is_the_model_with_all_interactions(options):
    """Models apart in every cell solve the equations of one model in which the cell changes every coefficient."""
    frame = data("lalonde").assign(w=lambda u: 1 + u["educ"] % 3)
    whole, names = interacted(frame, ["age", "re74"], "race")
    apart = weight(frame, "treat", covariates=["age", "re74"], exact=["race"], **options)
    together = weight(whole, "treat", covariates=names, **options)
    np.testing.assert_allclose(apart.weights, together.weights, rtol=1e-9)
    one, other = att(apart, "re78"), att(together, "re78")
    assert one.estimate == pytest.approx(other.estimate, rel=1e-8)
    assert one.std_error == pytest.approx(other.std_error, rel=1e-7)


def test_cells_without_the_other_arm_are_discarded_and_the_estimand_says_so():
    frame = data("lalonde").query("race != 'hispan' or treat == 1")
    for options, said in (({"method": "entropy"}, "ATT on the treated with overlap in their cell (174 of 185)"),
                          ({"target": "all"}, "ATE on the units with overlap in their cell (542 of 553)")):  # fmt: skip
        design = weight(frame, "treat", covariates=["age"], exact=["race"], **options)
        assert design.estimand == said and design.discarded.sum() == 11
        assert any("11 of these treated and 0 of these comparison units stand in a cell (race)" in note
                   for note in design.notes)  # fmt: skip
        left = weight(frame[frame["race"] != "hispan"], "treat", covariates=["age"], exact=["race"], **options)
        np.testing.assert_allclose(design.weights[~design.discarded], left.weights)
        assert att(design, "re78").std_error == pytest.approx(att(left, "re78").std_error)


def test_exact_cells_of_any_kind():
    """A covariate that a cell fixes is left out there; every cell then weighs what its treated weigh."""
    frame = data("lalonde")
    design = weight(frame, "treat", covariates=["race", "nodegree"], exact=["race", "nodegree"])
    cells = stratify(frame, "treat", covariates=["race", "nodegree"], method="exact")
    ratio = design.weights[design.matched] / cells.weights[design.matched]
    assert np.ptp(ratio[~design.treated[design.matched]]) < 1e-9
    keyed = frame.assign(key=range(len(frame)))
    options = {"covariates": ["age", "re74"], "exact": ["race"], "key": "key"}
    mixed = keyed.sample(frac=1, random_state=3)
    again = pd.Series(weight(mixed, "treat", **options).weights, mixed["key"]).sort_index()
    np.testing.assert_array_equal(again, weight(keyed, "treat", **options).weights)


@pytest.mark.parametrize(("options", "said"), [
    ({"method": "entropy", "exact": ["race", "age"]}, "within race black, age 21.*7 treated and 2 comparison"),
    ({"exact": ["race", "age"]}, "re74: .*within race black, age 26.*alone tells.*make the cells of exact= larger"),
    ({"exact": ["re78", "key"]}, "0 treated and 0 comparison units; match exactly on less"),
    ({"exact": ["race"], "score": True}, "exact= or score="),
    ({"exact": ["treat"]}, "the treatment itself"),
    ({"exact": ["nowhere"]}, "no such column"),
])  # fmt: skip
def test_what_exact_refuses(options, said):
    frame = data("lalonde").assign(key=range(614))
    if "score" in options:
        options = options | {"score": propensity(frame, "treat", ["age"])}
    with pytest.raises(DesignError, match=said):
        weight(frame, "treat", **({"covariates": ["age", "re74"]} | options))


def test_exact_weights_recover_what_pooled_weights_miss():
    """Selection runs the other way in the second cell: one slope for all balances nobody."""
    rng, found = np.random.default_rng(5), {True: [], False: []}
    for _ in range(200):
        n = 600
        cell, x = rng.integers(0, 2, n), rng.normal(size=n)
        t = rng.random(n) < 1 / (1 + np.exp(1 - np.where(cell, -1.0, 1.0) * x))
        y = 2 * np.where(cell, -1.0, 1.0) * x + cell + t + rng.normal(size=n)
        frame = pd.DataFrame({"t": t.astype(int), "x": x, "cell": cell, "y": y})
        for exact in found:
            effect = att(weight(frame, "t", covariates=["x", "cell"], method="entropy",
                                exact=["cell"] if exact else []), "y")  # fmt: skip
            found[exact].append((effect.estimate[0], effect.std_error[0]))
    estimate, error = np.array(found[True]).T
    assert abs(estimate.mean() - 1) < 3 * estimate.std() / np.sqrt(200)
    assert 0.92 <= (np.abs(estimate - 1) < 1.96 * error).mean() <= 0.98
    assert 0.9 <= error.mean() / estimate.std() <= 1.1
    assert np.array(found[False])[:, 0].mean() > 2  # the pooled weights keep the confounding
