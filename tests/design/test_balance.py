"""Balance against MatchIt and cobalt; overlap's verdicts."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matching_reference import CASES, FOLDER, LALONDE, PSID, case, data, dataset, peer_design, school

import attribution as at
from attribution.design.balance import balance, overlap
from attribution.design.match import match
from attribution.design.propensity import propensity
from attribution.design.weight import weight
from attribution.errors import DesignError
from attribution.results import Design

COLUMNS = {"Means Treated": "mean_treated", "Means Control": "mean_comparison", "Std. Mean Diff.": "smd",
           "Var. Ratio": "variance_ratio", "eCDF Mean": "ecdf_mean", "eCDF Max": "ks"}  # fmt: skip


def ours(name):
    design = peer_design(name)
    distance = case(name).get("distance")
    if distance is None:
        distance = propensity(design.units, "treat", list(design.covariates)).probability
    return balance(replace(design, distance=np.asarray(distance))).table.set_index(["covariate", "sample"])


def compare(table, results):
    for sample in ("before", "after"):
        for theirs, row in results[f"balance_{sample}"].items():
            label = "age2" if theirs == "I(age^2)" else theirs.replace("race", "race_")
            for their, our in COLUMNS.items():
                if row[their] is not None:
                    assert table.loc[(label, sample), our] == pytest.approx(row[their], rel=1e-6, abs=1e-9), (
                        label,
                        our,
                    )


@pytest.mark.parametrize("name", CASES)
def test_matchit(name):
    compare(ours(name), case(name)["results"])


@pytest.mark.parametrize("column", COLUMNS)
def test_canary(column):
    table = ours("nn1_noreplace_caliper_lalonde")
    for sample in ("before", "after"):
        for label in ("age", "distance"):
            results = case("nn1_noreplace_caliper_lalonde")["results"]
            results[f"balance_{sample}"][label][column] *= 1.0001
            with pytest.raises(AssertionError):
                compare(table, results)


PRINTED = {"Diff": "smd", "KS": "ks", "V.Ratio": "variance_ratio"}


def cobalt(table, found, rel=1e-6, tiny=1e-9):
    """Every figure of a printed bal.tab; returns how many were held."""
    held = 0
    for label, row in found.items():
        ours = label.replace("²", "^2").replace("prop.score", "distance").replace("I(age^2)", "age2")
        for end, sample in (("Un", "before"), ("Adj", "after")):
            for their, our in PRINTED.items():
                value = row.get(f"{their}.{end}")
                if value is not None:
                    held += 1
                    got = table.loc[(ours, sample), our]
                    assert got == pytest.approx(value, rel=rel, abs=tiny), (ours, sample, our)
    return held


def caliper_design(**changes):
    name = "nn1_noreplace_caliper_lalonde"
    score = propensity(data("lalonde"), "treat", LALONDE).probability
    return replace(peer_design(name), distance=score, **changes)


def test_cobalt():
    found = case("cobalt_balance_lalonde")["results"]["balance"]
    assert cobalt(ours("nn1_noreplace_caliper_lalonde"), found) == 50
    found["age"]["V.Ratio.Adj"] *= 1.0001
    with pytest.raises(AssertionError):
        cobalt(ours("nn1_noreplace_caliper_lalonde"), found)


def test_cobalt_squares_and_interactions():
    found = case("cobalt_balance_lalonde")["results"]["interactions_and_squares"]
    table = balance(caliper_design(), squares=True, interactions=True).table.set_index(["covariate", "sample"])
    assert cobalt(table, found) == 2 * len(found) == 128
    assert set(table.index.get_level_values(0)) == {label.replace("²", "^2") for label in found}


def test_cobalt_pooled_sd():
    """The pooled SD of target "all"; cobalt was asked for raw differences of 0/1 columns there."""
    found = case("cobalt_balance_lalonde")["results"]["binary_raw_pooled_sd"]
    numbers = {k: v for k, v in found.items() if k in ("age", "educ", "re74", "re75", "distance")}
    table = balance(caliper_design(target="all")).table.set_index(["covariate", "sample"])
    assert cobalt(table, numbers) == 10


@pytest.mark.parametrize("name", ["ipw_att_lalonde", "ipw_ate_lalonde", "ipw_ato_lalonde", "ebal_att_lalonde",
                                  "cbps_att_lalonde", "ebal_att_nsw_psid"])  # fmt: skip
def test_cobalt_after_weighting(name):
    """With WeightIt's own weights where we keep them: cobalt's figures of all targets, on any kind of design."""
    file = FOLDER / f"{name}.units.csv"
    target = {"ate": "all", "ato": "overlap"}.get(name.split("_")[1], "treated")
    units = data(dataset(name))
    theirs = pd.read_csv(file) if file.exists() else None
    if theirs is None:
        design = weight(units, "treat", covariates=PSID, method="entropy")
    else:
        design = replace(caliper_design(), target=target, weights=theirs["weight"].to_numpy(),
                         distance=theirs["ps"].to_numpy() if "ps" in theirs else None)  # fmt: skip
    table = balance(design).table.set_index(["covariate", "sample"])
    # R stops entropy balancing before the optimum, which we reach: their means still differ by 1e-5 SD. What overlap
    # weights make zero is rounding of glm and of the file.
    tiny = (2e-8 if target == "overlap" else 1e-9) if theirs is not None else 1e-4
    assert cobalt(table, case(name)["results"]["balance"], rel=1e-6 if theirs is not None else 1e-4, tiny=tiny) >= 36


def test_overlap_fails_on_psid_and_passes_on_a_randomised_trial():
    psid = match(data("nsw_psid"), "treat", covariates=["age", "educ", "black", "re74", "re75", "u75"], caliper_sd=0.2)
    check = overlap(psid)
    assert check.passed is False
    assert "age still differs" in check.text
    trial = match(data("nsw_dw"), "treat", covariates=["age", "educ", "black", "re74", "re75"], caliper_sd=0.2)
    assert overlap(trial).passed is True
    assert overlap(trial, least_covered=1.01).passed is False
    assert {"at least", "at most"} <= set(check.table["rule"])


def test_overlap_of_weights_speaks_of_weight():
    check = overlap(weight(data("lalonde"), "treat", covariates=LALONDE, method="entropy"))
    assert check.passed is True
    assert "At least 75% of the treated carry weight" in check.text


def test_overlap_fails_when_a_covariate_stays_apart():
    check = overlap(match(data("lalonde"), "treat", covariates=LALONDE, distance="propensity"))
    assert check.passed is False
    assert "race_black still differs by 1.03 SD" in check.text


def test_a_covariate_outside_the_design_can_be_looked_at():
    design = match(school(300), "treated", covariates=["x"])
    table = balance(design, covariates=["z", "cell"]).table
    assert set(table["covariate"]) == {"z", "cell", "distance"}


def hand(frame, weights=None, **changes):
    """A design on a frame with a column `t`, all kept unless told."""
    n = len(frame)
    w = np.ones(n) if weights is None else np.asarray(weights, float)
    return Design(
        estimand="ATT", units=frame, treatment="t", covariates=tuple(c for c in frame if c != "t"), weights=w,
        pairs=pd.DataFrame(), strata=np.arange(n), discarded=np.zeros(n, bool), unmatched=w == 0, **changes,
    )  # fmt: skip


def one(table, label, sample="after"):
    return table.set_index(["covariate", "sample"]).loc[(label, sample)]


SIX = pd.DataFrame({"t": [1, 1, 1, 0, 0, 0], "x": [1.0, 2, 3, 2, 4, 6], "g": list("aabbba")})


def test_by_hand():
    """Treated 1 2 3, comparison 2 4 6 before and, with weights 1 1 0, 2 4 after."""
    table = balance(hand(SIX, [1, 1, 1, 1, 1, 0])).table
    before, after = one(table, "x", "before"), one(table, "x")
    assert before[["mean_treated", "mean_comparison", "smd"]].tolist() == pytest.approx([2, 4, -2])  # SD 1
    assert before["variance_ratio"] == pytest.approx(1 / 4)
    # distribution functions at 1 2 3 4 6: treated 1/3 2/3 1 1 1, comparison 0 1/3 1/3 2/3 1
    assert before["ks"] == pytest.approx(2 / 3)
    assert before["ecdf_mean"] == pytest.approx((1 / 3 + 1 / 3 + 2 / 3 + 1 / 3 + 0) / 5)
    assert after[["mean_comparison", "smd"]].tolist() == pytest.approx([3, -1])  # SD still as before
    assert after["variance_ratio"] == pytest.approx(1 / 2)
    assert after["ks"] == pytest.approx(1 / 2)
    level = one(table, "g_a", "before")
    assert level["mean_treated"] == pytest.approx(2 / 3)
    assert level["smd"] == pytest.approx((2 / 3 - 1 / 3) / np.sqrt(2 / 9))


def test_each_cluster_is_as_if_alone():
    frame = school(400, 3).rename(columns={"treated": "t"}).assign(site=lambda f: f["cell"].map("ABCD".__getitem__))
    rng = np.random.default_rng(0)
    names = ["x", "z", "b", "cell"]
    design = replace(hand(frame, rng.random(400)), covariates=tuple(names))
    found = balance(design, by="site", interactions=True)
    for site in "ABCD":
        mine = (frame["site"] == site).to_numpy()
        alone = hand(frame[mine].reset_index(drop=True), design.weights[mine], distance=None)
        expected = balance(replace(alone, covariates=tuple(names)), interactions=True).table
        got = found.clusters.query("site == @site").drop(columns="site").reset_index(drop=True)
        assert set(expected["covariate"]) <= set(got["covariate"])
        got = got[got["covariate"].isin(set(expected["covariate"]))].reset_index(drop=True)
        pd.testing.assert_frame_equal(got, expected, rtol=1e-12, atol=1e-13)
    across = found.across().set_index(["covariate", "sample"]).loc[("x", "after")]
    sizes = found.clusters.query("covariate == 'x' and sample == 'after'").set_index("site")["smd"].abs()
    assert across["smd_max"] == sizes.max() and across["worst"] == sizes.idxmax()
    assert across["smd_mean"] == pytest.approx(sizes.mean()) and across["clusters"] == 4
    assert len(found.tidy()) == 5 * len(found.table)
    assert "Worst by site" in found.summary()
    with pytest.raises(DesignError, match="by="):
        balance(design).across()


def test_a_cluster_without_an_arm_is_named_and_has_no_figures():
    frame = SIX.assign(site=["A", "A", "B", "A", "A", "C"])
    found = balance(replace(hand(frame), covariates=("x",)), by="site")
    assert any("2 of 3 levels of site" in note and "B, C" in note for note in found.notes)
    assert found.clusters.query("site in ['B', 'C']")["smd"].isna().all()
    assert found.across()["clusters"].tolist() == [1, 1]


def test_what_does_not_vary_is_said():
    frame = SIX.assign(one=7.0, site="A", apart=[2.0, 2, 2, 5, 5, 5], own=[1.0, 1, 1, 1, 2, 3], flag=[1, 1, 1, 0, 0, 0])
    found = balance(hand(frame))
    smd = found.table.set_index(["covariate", "sample"])["smd"]
    assert smd["one", "before"] == smd["site_A", "after"] == 0
    assert smd["apart", "before"] == -np.inf and smd["flag", "after"] == np.inf
    assert smd["own", "before"] == pytest.approx(-1 / np.sqrt(0.5))  # comparison 1 2 3 has variance 1, treated 0
    notes = "\n".join(found.notes)
    for said in ("one: always 7", "site_A: always 1", "apart: constant within both arms", "own: the treated do not"):
        assert said in notes
    assert "∞" in found.summary() and "far apart" in found.summary()
    assert overlap(hand(frame)).passed is False


def test_missing_values_are_refused_by_count_or_shown():
    frame = SIX.assign(x=[1.0, 2, np.nan, 3, np.nan, np.nan], g=["a", None, "b", "b", "b", "a"])
    with pytest.raises(DesignError, match=r"x: .*missing values \[3\]"):
        balance(hand(frame))
    found = balance(hand(frame), missing="indicator", interactions=True)
    assert one(found.table, "x:missing")[["mean_treated", "mean_comparison"]].tolist() == pytest.approx([1 / 3, 2 / 3])
    assert one(found.table, "x")[["mean_treated", "mean_comparison"]].tolist() == [1.5, 3]
    assert one(found.table, "g_a")["mean_treated"] == 0.5  # one a, one b known
    assert one(found.table, "x * g_a")["mean_treated"] == 1  # one unit has both: 1 * 1
    with pytest.raises(DesignError, match="throughout"):
        balance(hand(frame.assign(x=np.nan)), missing="indicator")


@pytest.mark.parametrize(("change", "options", "said"), [
    ({}, {"covariates": ["nowhere"]}, "no such column"),
    ({}, {"covariates": []}, "at least one covariate"),
    ({}, {"by": "nowhere"}, "no such column"),
    ({}, {"missing": "drop"}, "refuse"),
    ({}, {"threshold_smd": 0}, "above 0"),
    ({"x": [1.0, np.inf, 3, 2, 4, 6]}, {}, "infinite"),
    ({"x": pd.date_range("2024-01-01", periods=6)}, {}, "dates into numbers"),
    ({"g_a": range(6)}, {}, "named like another column"),
    ({"kind": range(6)}, {"by": "kind"}, "kind: .*not named like one of the table"),
    ({"t": 1}, {}, "one arm empty"),
])  # fmt: skip
def test_refused(change, options, said):
    frame = SIX.assign(**change)
    with pytest.raises(DesignError, match=said):
        balance(hand(frame), **options)


def test_a_covariate_called_distance_counts_like_any_other():
    """Kilometres to the campus: no propensity to be left out of the verdict. Beside a propensity it is refused."""
    units = data("lalonde").rename(columns={"age": "distance"})
    units["distance"] += 50 * units["treat"]
    design = at.everyone(units, "treat", covariates=["distance", "nodegree"])
    table = balance(design)
    assert table.worst_smd > 5 and table.summary().startswith("2 of 2 covariates")
    assert overlap(design).passed is False and "distance still differs" in overlap(design).text
    assert "2 of 2" in at.plots.love(table).texts[0].get_text()
    with pytest.raises(DesignError, match="the distance matched on named like"):
        balance(match(units.assign(distance=units["distance"] % 7), "treat", covariates=["distance", "nodegree"]))


def test_a_design_that_keeps_nobody_of_an_arm_is_refused():
    with pytest.raises(DesignError, match="both arms"):
        balance(hand(SIX, [1, 1, 1, 0, 0, 0]))


def test_sampling_weights_count_before_the_design_too():
    frame = SIX.assign(s=[1.0, 1, 2, 1, 1, 1])
    table = balance(replace(hand(frame, frame["s"]), covariates=("x",), spec={"sampling": "s"})).table
    assert one(table, "x", "before")["mean_treated"] == one(table, "x")["mean_treated"] == pytest.approx(9 / 4)


def test_column_types_do_not_matter():
    """Booleans, nullable, unsigned and Arrow columns read as plain numbers do; inputs stay as they were."""
    frame = data("lalonde").rename(columns={"treat": "t"})[["t", "age", "educ", "married", "race"]]
    plain = balance(hand(frame)).table
    for change in (
        {"married": frame["married"].astype(bool)},
        {"age": frame["age"].astype("Int64")},
        {"educ": frame["educ"].astype("uint8")},
        {"race": frame["race"].astype("category")},
        {"race": frame["race"].astype("string[pyarrow]")},
        {"age": frame["age"].astype("int64[pyarrow]")},
    ):
        given = frame.assign(**change)
        copy = given.copy(deep=True)
        pd.testing.assert_frame_equal(balance(hand(given)).table, plain, rtol=1e-12)
        pd.testing.assert_frame_equal(given, copy)


FIGURES = ["smd", "variance_ratio", "ks", "ecdf_mean"]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), shift=st.floats(-1e3, 1e3), times=st.floats(1e-3, 1e3), two=st.booleans())
def test_affine_maps_and_row_order_do_not_matter(seed, shift, times, two):
    rng = np.random.default_rng(seed)
    n = 60
    x = rng.integers(0, 2 if two else 9, n) / 2
    frame = pd.DataFrame({"t": np.arange(n) < 20, "x": x, "c": rng.choice(list("pqr"), n)}).astype({"t": int})
    design = hand(frame, rng.random(n))
    table = balance(design).table
    mapped = balance(replace(design, units=frame.assign(x=shift + times * x))).table
    np.testing.assert_allclose(mapped[FIGURES], table[FIGURES], rtol=1e-6, atol=1e-9)
    mirrored = balance(replace(design, units=frame.assign(x=-x))).table
    np.testing.assert_allclose(one(mirrored, "x")["smd"], -one(table, "x")["smd"], rtol=1e-9, atol=1e-12)
    p = rng.permutation(n)
    shuffled = hand(frame.iloc[p].reset_index(drop=True), design.weights[p])
    np.testing.assert_allclose(balance(shuffled).table[FIGURES], table[FIGURES], rtol=1e-9, atol=1e-12)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), copies=st.integers(2, 4))
def test_copies_of_every_row_change_only_the_degree_of_freedom(seed, copies):
    rng = np.random.default_rng(seed)
    t = (np.arange(40) < 15).astype(int)
    frame = pd.DataFrame({"t": t, "x": rng.normal(size=40), "b": rng.integers(0, 2, 40)})
    weights = rng.random(40)
    table = balance(hand(frame, weights)).table
    many = balance(hand(pd.concat([frame] * copies, ignore_index=True), np.tile(weights, copies))).table
    same = ["mean_treated", "mean_comparison", "ks", "ecdf_mean"]
    np.testing.assert_allclose(many[same], table[same], rtol=1e-9, atol=1e-12)
    assert one(many, "b")["smd"] == pytest.approx(one(table, "b")["smd"])
    # the variance divides by n - 1 = 14, then by copies * 15 - 1 for copies times the sum
    factor = np.sqrt((copies * 15 - 1) / (copies * 14))
    assert one(many, "x")["smd"] == pytest.approx(one(table, "x")["smd"] * factor)


def test_the_table_reads_in_words():
    found = balance(caliper_design(), squares=True, interactions=True)
    shown = found.readable(order="worst", labels={"married": "Married", "age": "Age"})
    assert shown.index[0] == "Married: yes × nodegree: no"
    assert shown["SMD after"].abs().is_monotonic_decreasing
    assert {"Age²", "race: black", "Age × race: black", "educ × re74"} <= set(shown.index)
    assert shown.loc["Married: yes × nodegree: no", "in words"] == "far apart (over 0.25 SD)"
    assert "narrower among the treated" in shown.loc["Age", "in words"]
    assert shown.loc["re74", "in words"] == "shape differs (distributions over 0.1 apart)"
    assert shown.loc["educ", "in words"] == "close"
    text = found.summary()
    assert "of 63 covariates, squares and interactions differ by more than 0.1 SD" in text and "−0.31" in text
    assert "p-value" not in text and "race_black" not in text
    page = balance(caliper_design())._repr_html_()
    assert page.count("<tr") == 11 and "far apart" not in page and "Customary limits" in page
    assert "&lt;" in balance(hand(SIX.assign(g=["<b>", "x"] * 3)))._repr_html_()
