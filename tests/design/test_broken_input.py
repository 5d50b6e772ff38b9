"""Tables as they come: what is the same table in another coat gives the same numbers; what is broken is refused."""

from decimal import Decimal

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from matching_reference import LALONDE, data

import attribution as at

CELLS = ["race", "married"]
SURFACE = {
    "nearest": lambda u: at.match(u, "treat", covariates=LALONDE, key="key"),
    "mahalanobis": lambda u: at.match(u, "treat", covariates=LALONDE, distance="mahalanobis", replace=True, key="key"),
    "ranks": lambda u: at.match(u, "treat", covariates=LALONDE, distance="robust_mahalanobis", key="key"),
    "optimal": lambda u: at.match(u, "treat", covariates=LALONDE, method="optimal", key="key"),
    "all": lambda u: at.match(u, "treat", covariates=LALONDE, target="all", replace=True, key="key"),
    "exact": lambda u: at.stratify(u, "treat", covariates=CELLS, method="exact", key="key"),
    "coarsened": lambda u: at.stratify(u, "treat", covariates=LALONDE, method="coarsened", key="key"),
    "subclass": lambda u: at.stratify(u, "treat", covariates=LALONDE, method="subclass", target="all", key="key"),
    "full": lambda u: at.stratify(u, "treat", covariates=LALONDE, method="full", key="key"),
    "ipw": lambda u: at.weight(u, "treat", covariates=LALONDE, target="all", key="key"),
    "overlap": lambda u: at.weight(u, "treat", covariates=LALONDE, method="overlap", key="key"),
    "entropy": lambda u: at.weight(u, "treat", covariates=LALONDE, method="entropy", key="key"),
    "cbps": lambda u: at.weight(u, "treat", covariates=LALONDE, method="cbps", key="key"),
    "cardinality": lambda u: at.cardinality_match(u, "treat", covariates=["age", "educ"], key="key"),
    "aipw": lambda u: at.aipw(u, "treat", outcome="re78", covariates=LALONDE, target="treated", key="key"),
    "crossed": lambda u: at.aipw(u, "treat", outcome="re78", covariates=LALONDE, folds=3, key="key"),
    "tmle": lambda u: at.tmle(u, "treat", outcome="re78", covariates=LALONDE, key="key"),
    "partially_linear": lambda u: at.partially_linear(u, "treat", outcome="re78", covariates=LALONDE, key="key"),
    "multi_valued": lambda u: at.multi_valued(u, "treat", outcome="re78", covariates=LALONDE, reference=0),
}
MODELLED = [name for name in SURFACE if name not in ("exact", "coarsened", "cardinality")]


@pytest.fixture(scope="module")
def men():
    frame = data("lalonde")
    return frame.assign(key=[f"k{i:04d}" for i in range(len(frame))])


def numbers(name, units):
    found = SURFACE[name](units)
    effects = at.att(found, "re78") if isinstance(found, at.Design) else found
    return np.r_[effects.estimate, effects.std_error]


@pytest.fixture(scope="module")
def plain(men):
    return {name: numbers(name, men) for name in SURFACE}


COATS = {
    "shuffled": lambda u: u.sample(frac=1, random_state=4),
    "one label for all rows": lambda u: u.set_axis([0] * len(u)),
    "nullable": lambda u: u.convert_dtypes(),
    "Arrow-backed": lambda u: u.convert_dtypes(dtype_backend="pyarrow"),
    "small integers": lambda u: u.astype({"age": "uint8", "educ": "int8", "treat": "uint8"}),
    "booleans": lambda u: u.astype({"married": "boolean", "nodegree": bool}),
    "unused levels": lambda u: u.assign(race=pd.Categorical(u["race"], ["aa", "black", "hispan", "white", "zz"])),
    "numbers kept as objects": lambda u: u.astype({"age": object, "re78": object}),
    "decimals": lambda u: u.assign(educ=[Decimal(int(years)) for years in u["educ"]]),
    "Polars": lambda u: pl.from_pandas(u),
    "Polars, planned": lambda u: pl.from_pandas(u).lazy(),
    "Arrow": lambda u: pa.Table.from_pandas(u),
    "DuckDB": lambda u: duckdb.from_df(u),
}


@pytest.mark.parametrize("coat", COATS)
@pytest.mark.parametrize("name", SURFACE)
def test_the_same_table_in_another_coat(men, plain, name, coat):
    before = men.copy(deep=True)
    np.testing.assert_allclose(numbers(name, COATS[coat](men)), plain[name], rtol=1e-12, atol=1e-9)
    pd.testing.assert_frame_equal(men, before)


@pytest.mark.parametrize("name", [name for name in SURFACE if name != "multi_valued"])
@pytest.mark.parametrize("kind", [bool, "boolean", str, float, "category", object])
def test_treatment_in_another_type(men, plain, name, kind):
    """Text "0" is zero: a design that took any text for true would have no comparison left."""
    np.testing.assert_allclose(numbers(name, men.astype({"treat": kind})), plain[name], rtol=1e-12, atol=1e-9)


def with_one(frame, column, value):
    out = frame.astype({column: float})
    out.loc[3, column] = value
    return out


BROKEN = {
    "missing": (lambda u: with_one(u, "re74", np.nan), "re74: .*missing values"),
    "infinite": (lambda u: with_one(u, "re74", np.inf), "re74: .*infinite"),
    "a name twice": (lambda u: pd.concat([u, u[["age"]]], axis=1), "share their name.*age"),
    "complex": (lambda u: u.astype({"age": complex}), "age: .*complex"),
    "dates": (lambda u: u.assign(age=pd.Timestamp("2020-01-01") + pd.to_timedelta(u["age"], unit="D")), "age: .*date"),
}


@pytest.mark.parametrize("what", BROKEN)
@pytest.mark.parametrize("name", MODELLED)
def test_broken_covariates_are_refused_by_name(men, name, what):
    spoil, said = BROKEN[what]
    with pytest.raises(at.AttributionError, match=said):
        SURFACE[name](spoil(men))


@pytest.mark.parametrize("name", [name for name in SURFACE if name != "multi_valued"])
@pytest.mark.parametrize(("spoil", "said"), [
    (lambda u: u.assign(treat=u["treat"] + 1), "0 or 1 for every unit.*185"),
    (lambda u: u.assign(treat=u["treat"].astype("Int64").where(u.index != 2)), "0 or 1 for every unit.*\\[1\\]"),
    (lambda u: u[(u["treat"] == 0) | (u.index == 0)], "two treated.*1 treated"),
    (lambda u: u.iloc[:0], "0 treated and 0 comparison"),
    (lambda u: pd.concat([u, u[["treat"]]], axis=1), "share their name.*treat"),
    (lambda u: u.assign(key=["k0001", *u["key"][1:]]), "one row a key"),
    (lambda u: u.assign(key=[None, *u["key"][1:]]), "key: .*missing"),
    (lambda u: u.assign(key=[7, *u["key"][1:]]), "keys of one kind.*int and str"),
], ids=["1 and 2", "missing arm", "one treated", "empty", "arm twice", "key twice", "no key", "mixed"])  # fmt: skip
def test_broken_arms_and_keys_are_refused(men, name, spoil, said):
    with pytest.raises(at.AttributionError, match=said):
        SURFACE[name](spoil(men))


@pytest.mark.parametrize("name", SURFACE)
@pytest.mark.parametrize(("spoil", "said"), [
    (lambda u: u.assign(re78=u["re78"].astype(str)), "re78: .*numeric"),
    (lambda u: with_one(u, "re78", np.inf), "re78: .*infinite values \\[1\\]"),
    (lambda u: u.assign(re78=np.nan), "re78: "),
    (lambda u: u.astype({"re78": complex}), "re78: .*numeric"),
    (lambda u: pd.concat([u, u[["re78"]]], axis=1), "re78"),
], ids=["text", "infinite", "nothing known", "complex", "twice"])  # fmt: skip
@pytest.mark.filterwarnings("error")
def test_broken_outcomes_are_refused(men, name, spoil, said):
    with pytest.raises(at.AttributionError, match=said):
        numbers(name, spoil(men))


@pytest.mark.parametrize("name", SURFACE)
def test_large_numbers_do_not_overflow(men, plain, name):
    """Small integers whose products overflow, and incomes of 10^9: the same effects, in their unit."""
    large = men.assign(re74=men["re74"] * 1e9, re75=men["re75"] * 1e9, re78=men["re78"] * 1e9, age=men["age"] * 2**52)
    np.testing.assert_allclose(numbers(name, large), plain[name] * 1e9, rtol=2e-6)


def test_forty_categories(men):
    rng = np.random.default_rng(1)
    names = [f"c{j}" for j in range(40)]
    units = pd.DataFrame({name: rng.choice(list("abcdef"), 3_000) for name in names})
    units = units.assign(treat=rng.integers(0, 2, 3_000))
    units.loc[1] = units.loc[0]
    units.loc[:1, "treat"] = [0, 1]
    assert at.stratify(units, "treat", covariates=names, method="exact").matched.sum() == 2  # 6^40 cells
    assert at.match(units, "treat", covariates=["c0"], exact=names).pairs.shape == (1, 3)


def test_data_beside_the_design_may_be_any_table(men, plain):
    design = SURFACE["nearest"](men.drop(columns="re78"))
    for coat in (lambda u: u, pl.from_pandas, pa.Table.from_pandas, duckdb.from_df):
        got = at.att(design, "re78", data=coat(men[["key", "re78"]]))
        np.testing.assert_allclose(np.r_[got.estimate, got.std_error], plain["nearest"])


@pytest.mark.parametrize("name", ["nearest", "mahalanobis", "exact", "subclass", "full", "ipw", "entropy", "cbps"])
def test_an_outcome_nobody_differs_in_is_never_significant(men, name):
    """Nobody placed in either arm: rounding over rounding is no t-statistic."""
    effects = at.att(SURFACE[name](men), np.ones(len(men)))
    assert effects.estimate[0] == 0 and np.isnan(effects.std_error[0]) and np.isnan(effects.tidy()["p_value"][0])


def test_the_trial_reads_its_arms_as_every_design_does(men):
    plain = at.difference_in_means(men, "treat", "re78")
    for coat in (lambda u: u.astype({"treat": str}), pl.from_pandas, lambda u: u.convert_dtypes()):
        got = at.difference_in_means(coat(men), "treat", "re78")
        np.testing.assert_allclose(np.r_[got.estimate, got.std_error], np.r_[plain.estimate, plain.std_error])
    with pytest.raises(at.AttributionError, match="0 or 1 for every unit"):
        at.difference_in_means(men.assign(treat=men["treat"] + 1), "treat", "re78")
    with pytest.raises(at.AttributionError, match="infinite values"):
        at.difference_in_means(with_one(men, "re78", np.inf), "treat", "re78")


@pytest.mark.parametrize("kind", ["parquet", "csv"])
@pytest.mark.parametrize("name", SURFACE)
def test_the_path_of_a_file_is_a_table(men, plain, name, kind, tmp_path):
    path = tmp_path / f"the men.{kind}"
    men.to_parquet(path) if kind == "parquet" else men.to_csv(path, index=False)
    np.testing.assert_allclose(numbers(name, path if kind == "csv" else str(path)), plain[name], rtol=1e-9)


@pytest.mark.parametrize("name", [name for name in SURFACE if name != "multi_valued"])
@pytest.mark.parametrize(("spoil", "said"), [
    (lambda u: u.astype({"treat": complex}), "treat: .*complex128"),
    (lambda u: u.assign(treat=pd.to_datetime(u["treat"], unit="ns")), "treat: .*datetime64"),
], ids=["complex", "dates"])  # fmt: skip
@pytest.mark.filterwarnings("error")
def test_a_treatment_that_is_no_number_is_refused(men, name, spoil, said):
    with pytest.raises(at.AttributionError, match=said):
        SURFACE[name](spoil(men))


@pytest.mark.parametrize("name", MODELLED)
def test_values_without_order_are_refused(men, name):
    """Lists, and dates that Arrow or a database hands over as objects: they are no levels of a category."""
    days = pd.Series(pd.Timestamp("2020-01-01") + pd.to_timedelta(men["age"], unit="D")).dt.date
    for spoiled, said in ((men.assign(race=[[1]] * len(men)), "race: .*such as lists"),
                          (pa.Table.from_pandas(men.assign(age=days)), "age: .*months since application")):  # fmt: skip
        with pytest.raises(at.AttributionError, match=said):
            SURFACE[name](spoiled)


def test_an_index_may_bear_the_name_of_a_column(men, plain):
    named = men.set_index(["race", "married"], drop=False)
    one, other = (at.match(u, "treat", covariates=["age"], exact=["race"], key="id") for u in (named, men))
    np.testing.assert_array_equal(one.weights, other.weights)
    drawn = {"outcome": "re78", "selection": "lowered", "selected": "emp78", "by": ["married"]}
    for after in (
        lambda u: at.share_who_gain(at.everyone(u, "treat"), "re78", by=["race"], draws=200).tidy(),
        lambda u: at.lee_bounds(u, "treat", **drawn).tidy(),
        lambda u: at.subgroup_effects(at.everyone(u, "treat"), "re78", by="race").tidy(),
        lambda u: at.genetic_weights(u, "treat", covariates=["age", "educ"], exact=["race"], population=4,
                                     generations=1).tidy(),
        lambda u: at.att(at.match(u, "treat", covariates=["age", "educ"], distance="mahalanobis", exact=["race"],
                                  replace=True, key="id"), "re78").tidy(),
    ):  # fmt: skip
        pd.testing.assert_frame_equal(after(named), after(men))


def test_names_that_are_no_text(men, plain):
    units = men.rename(columns={"race": 7, "married": ("a", 1)})
    got = at.att(at.stratify(units, "treat", covariates=[7, ("a", 1)], method="exact"), "re78")
    assert got.estimate[0] == pytest.approx(plain["exact"][0])


def test_whole_numbers_beyond_64_bits_are_keys(men, plain):
    units = men.assign(key=[10**30 + i for i in range(len(men))]).sample(frac=1, random_state=1)
    np.testing.assert_allclose(numbers("nearest", units), plain["nearest"])


def test_one_treated_unit_has_no_standard_error(men):
    few = men[(men["treat"] == 0) | (men.index < 2)]
    design = at.stratify(few, "treat", covariates=["age", "educ", "race", "re74"], method="coarsened")
    assert design.tidy().set_index("sample").loc["matched", "treated"] == 1
    with pytest.raises(at.EstimationError, match="alone decides a coefficient.*\\[1\\].*one unit of an arm"):
        at.att(design, "re78")


def test_a_name_that_does_not_exist_is_answered_with_the_one_that_it_resembles():
    units = data("lalonde")
    with pytest.raises(
        at.DesignError, match=r"no such column \[1\] \(for example eduk\); did you mean educ\? the columns are"
    ):
        at.match(units, "treat", covariates=["age", "eduk"])
    with pytest.raises(at.EstimationError, match=r"did you mean re78\?"):
        at.att(at.everyone(units, "treat"), "re7")
    many = units.join(pd.DataFrame(0, units.index, [f"x{i}" for i in range(100)]))
    with pytest.raises(at.DesignError, match=r"the columns are .* and \d+ more$"):
        at.match(many, "treat", covariates=["nothing like it"])


@pytest.mark.parametrize("build", [at.match, at.weight])
def test_an_identifier_among_the_covariates_is_refused_in_one_line(build):
    units = data("lalonde")
    options = {"method": "ipw"} if build is at.weight else {}
    with pytest.raises(at.DesignError, match="614 different values in 614 rows") as error:
        build(units, "treat", covariates=["age", "label"], **options)
    assert error.value.column == "label" and len(str(error.value)) < 250
    assert "NSW" not in str(error.value)  # nobody's name in a message


def test_columns_fixed_by_many_others_are_named_by_five():
    units = data("lalonde").assign(total=0.0)
    for i in range(8):
        units[f"x{i}"] = np.random.default_rng(i).normal(size=len(units))
        units["total"] += units[f"x{i}"]
    with pytest.raises(at.DesignError, match=r"'total' is fixed by x0, x1, x2, x3, x4 and 3 more"):
        at.match(units, "treat", covariates=[*(f"x{i}" for i in range(8)), "total"])


def test_an_outcome_that_the_design_has_held_equal_is_refused():
    design = at.match(data("lalonde"), "treat", covariates=["age", "re78"])
    with pytest.raises(
        at.EstimationError, match="one of the covariates held equal; make the design again without re78"
    ):
        at.att(design, "re78")


def test_a_path_that_is_no_table_is_refused(tmp_path):
    (tmp_path / "units.txt").write_text("a")
    for name, said in (("other.parquet", "which does not exist"), ("units.txt", "which is neither")):
        with pytest.raises(at.DesignError, match=said):
            at.match(tmp_path / name, "treat", covariates=["age"])
