"""What users bring: every flaw is refused by name, counted, or harmless; nothing dies with another library's error."""

from __future__ import annotations

import datetime
import decimal

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from estimate.did_oracle import panel
from hypothesis import given, settings
from hypothesis import strategies as st

from attribution.cohorts.panel import Panel
from attribution.errors import AttributionError, DataError, EstimationError
from attribution.estimate.aggregate import aggregate
from attribution.estimate.did import group_time_att

NAMES = {"unit": "unit", "period": "t", "cohort": "g", "outcome": "y"}
WIDE = {"unit": "unit", "cohort": "g", "outcome": {t: f"y{t}" for t in range(1, 6)}}
FRAME = panel(n=80, seed=1)
MONTHS = {1: 202211, 2: 202212, 3: 202301, 4: 202302, 5: 202303}


def fit(frame, covariates=(), **names):
    made = Panel(frame, **{**NAMES, **names})
    gt = group_time_att(made, comparison="not_yet_treated", base_period="varying", covariates=covariates)
    made.summary(), aggregate(gt, by="event_time").summary()  # what a user does next
    return made, gt


def same(one, other, rtol=1e-10):
    np.testing.assert_allclose(one.estimate, other.estimate, rtol=rtol, atol=1e-12)
    np.testing.assert_allclose(one.std_error, other.std_error, rtol=rtol, atol=1e-12)
    np.testing.assert_array_equal(one.n_treated, other.n_treated)
    np.testing.assert_array_equal(one.n_comparison, other.n_comparison)


def turned(frame=FRAME, name="y{}"):
    y = frame.pivot(index="unit", columns="t", values="y")
    y.columns = [name.format(t) for t in y.columns]
    return y.join(frame.groupby("unit")[["g", "x", "s", "w", "k"]].first()).reset_index()


def some(column, value, unit=3, frame=FRAME):
    """`value` in all rows of one unit."""
    return frame.assign(**{column: frame[column].astype(object).where(frame["unit"] != unit, value)})


def nan_at_3(column):
    """NaN, which is not missing in Polars, in all rows of a unit."""
    hit = pl.when(pl.col("unit") == 3).then(float("nan"))
    return pl.from_pandas(FRAME).with_columns(hit.otherwise(pl.col(column).cast(pl.Float64)).alias(column))


def new(**columns):
    return FRAME.assign(**columns)


g, t, u, y = FRAME["g"], FRAME["t"], FRAME["unit"], FRAME["y"]


# -- refused --

REFUSED = {  # name: frame, options of the panel, words of the error, count, covariates
    "text numbers": (new(y=y.astype(str)), {}, "y: required: numbers"),
    "mixed outcome": (some("y", "n/a"), {}, "y: required: values of one plain type"),
    "complex outcome": (new(y=y.astype(complex)), {}, "y: required: values of one plain type"),
    "list outcome": (new(y=[[1.0]] * len(y)), {}, "y: required: numbers"),
    "dict outcome": (new(y=[{"a": 1}] * len(y)), {}, "y: required: numbers"),
    "duration outcome": (new(y=pd.to_timedelta(y, unit="D")), {}, "y: required: numbers"),
    "all outcomes missing": (new(y=np.nan), {}, "y: required: outcomes; found: missing values only", 1),
    "all outcomes None": (new(y=None), {}, "y: required: outcomes; found: missing values only", 1),
    "one of two outcomes missing": (new(z=np.nan), {"outcome": ["y", "z"]}, "missing values only", 1),
    "infinite outcome": (some("y", np.inf), {}, "y: required: finite outcomes", 5),
    "both infinities": (some("y", -np.inf, 4, some("y", np.inf)), {}, "y: required: finite outcomes", 10),
    "squares overflow": (new(y=y * 1e200), {}, "outcomes whose squares are numbers"),
    "period timestamp": (new(t=pd.Timestamp("2020-01-01")), {}, "t: required: numbers"),
    "period date": (new(t=datetime.date(2020, 1, 1)), {}, "t: required: numbers"),
    "period dtype": (new(t=pd.Period("2020Q1")), {}, "t: required: values of one plain type"),
    "period fraction": (some("t", 1.5), {}, "t: required: periods as integers", 5),
    "period missing": (some("t", np.nan), {}, "t: required: periods as integers", 5),
    "period infinite": (some("t", np.inf), {}, "t: required: periods as integers", 5),
    "period out of range": (some("t", 1e300), {}, "t: required: periods as integers", 5),
    "nanoseconds": (new(t=1_700_000_000_000_000_000 + t), {}, "t: required: periods as integers", 400),
    "a period a row": (FRAME.loc[np.repeat(range(400), 3)].assign(t=range(1200)), {}, "1,000 periods", 1200),
    "unit missing": (some("unit", None), {}, "unit: required: a key in every row", 5),
    "unit NaN": (nan_at_3("unit"), {}, "unit: required: a key in every row", 5),
    "unit of mixed types": (new(unit=[i if i % 2 else str(i) for i in u]), {}, "unit: required: values of one plain"),
    "unit a list": (new(unit=[[i] for i in u]), {}, "unit: required: keys as numbers or text"),
    "cluster a list": (new(k=[[i] for i in u]), {"cluster": "k"}, "k: required: keys as numbers or text"),
    "cluster NaN": (nan_at_3("k"), {"cluster": "k"}, "k: required: a cluster for every unit", 1),
    "cluster changes": (new(k=t), {"cluster": "k"}, "k: required: one cluster per unit", 80),
    "one unit": (FRAME[u == 0], {}, "at least two units", None),
    "one row": (FRAME.iloc[:1], {}, "at least two units", None),
    "one period": (FRAME[t == 3], {}, "at least one cohort treated after the first period"),
    "no rows": (FRAME.iloc[:0], {}, "at least one row", None),
    "no rows, Polars": (pl.from_pandas(FRAME).head(0), {}, "at least one row", None),
    "no columns": (pd.DataFrame(), {}, "no column 'unit', 't', 'g', 'y'", 4),
    "keys in the index": (FRAME.set_index(["unit", "t"]), {}, "reset_index()", 2),
    "duplicate": (pd.concat([FRAME, FRAME.iloc[[0, 7]]]), {}, "one row per unit and period; found: duplicates", 2),
    "names twice": (pd.concat([FRAME, FRAME[["y"]]], axis=1), {}, "one column of each name", 1),
    "names twice, Arrow": (pa.table(FRAME).append_column("y", pa.array(y)), {}, "a frame that can be read"),
    "names apart in case": (new(Y=y), {"outcome": ["y", "Y"]}, "more than upper and lower case", 2),
    "cohort 0": (new(g=g.fillna(0)), {}, "never treated = missing", 140),
    "cohort inf": (new(g=g.fillna(np.inf)), {}, "never treated = missing", 140),
    "cohort -1": (new(g=g.fillna(-1)), {}, "never treated = missing", 140),
    "cohort true or false": (new(g=g.notna()), {}, "never treated = missing", 140),
    "cohort text": (new(g=g.astype(str)), {}, "g: required: numbers"),
    "cohort fraction": (some("g", 3.5), {}, "g: required: cohorts as integer periods", 5),
    "treatment switches off": (new(g=g.where(t < 5)), {}, "g: required: one cohort per unit", 52),
    "always treated": (new(g=1), {}, "units untreated in the first period"),
    "never treated": (new(g=np.nan), {}, "at least one cohort treated"),
    "cohort after the last period": (new(g=99.0), {}, "at least one cohort treated"),
    "one cohort and nobody else": (new(g=3), {}, "at least one estimated ATT(g, t)"),
    "treated without outcome": (new(y=y.where(g.isna())), {}, "at least one cohort treated"),
    "weight zero": (new(w=0.0), {"weight": "w"}, "w: required: weights above 0", 80),
    "weight of the treated zero": (new(w=g.isna() * 1.0), {"weight": "w"}, "at least one cohort treated"),
    "weight NaN": (some("w", np.nan), {"weight": "w"}, "w: required: one weight >= 0 per unit", 1),
    "weight at times NaN": (new(w=FRAME["w"].where(t != 3)), {"weight": "w"}, "w: required: one weight >= 0", 80),
    "weight infinite": (some("w", np.inf), {"weight": "w"}, "w: required: one weight >= 0 per unit", 1),
    "weight negative": (some("w", -1.0), {"weight": "w"}, "w: required: one weight >= 0 per unit", 1),
    "weight huge": (new(w=1e300), {"weight": "w"}, "w: required: one weight >= 0 per unit", 80),
    "weight text": (new(w="a"), {"weight": "w"}, "w: required: numbers"),
    "risk set missing": (new(r=g), {"risk_set": "r"}, "r: required: one risk set per unit", 28),
    "risk set fraction": (new(r=g.fillna(3.5)), {"risk_set": "r"}, "r: required: one risk set per unit", 28),
    "risk set after the cohort": (new(r=g.fillna(3) + 1), {"risk_set": "r"}, "at risk before they are treated", 52),
    "covariate missing": (some("x", np.nan), {"covariates": ["x"]}, "x: required: covariates known", 1),
    "covariate infinite": (some("x", -np.inf), {"covariates": ["x"]}, "x: required: covariates known", 1),
    "category missing": (some("s", None), {"covariates": ["s"]}, "s: required: covariates known", 1),
    "covariate changes": (FRAME, {"covariates": ["y"]}, "y: required: covariates that are constant", 80),
    "covariate of mixed types": (some("s", 7), {"covariates": ["s"]}, "s: required: values of one plain type"),
    "covariate absent": (FRAME, {"covariates": ["age"]}, "no column 'age'", 1),
    "covariates as text": (FRAME, {"covariates": "x"}, "write covariates=['x']"),
    "unit a list of names": (FRAME, {"unit": ["unit"]}, "unit=['unit']"),
    "no cohort column": (FRAME, {"cohort": None}, "cohort=None"),
    "no outcome": (FRAME, {"outcome": []}, "names of columns, each outcome once"),
    "outcome None": (FRAME, {"outcome": None}, "outcome=None"),
    "outcome twice": (FRAME, {"outcome": ["y", "y"]}, "each outcome once"),
    "wide and long at once": (turned(), {"outcome": {1: "y1"}}, "either a period column, or outcome"),
}  # fmt: skip
WIDE_REFUSED = {
    "no column": (turned(), {"outcome": {}}, "a column for each period"),
    "no column of an outcome": (turned(), {"outcome": {"a": {}}}, "a column for each period"),
    "text period": (turned(), {"outcome": {"1": "y1"}}, "periods as integers", 1),
    "huge period": (turned(), {"outcome": {10**30: "y1", 1: "y2"}}, "periods as integers", 1),
    "column twice": (turned(), {"outcome": {1: "y1", 2: "y1"}}, "a column of its own", 1),
    "periods differ": (turned(), {"outcome": {"a": {1: "y1"}, "b": {2: "y2"}}}, "the same periods for every outcome"),
    "unit twice": (pd.concat([turned(), turned().iloc[:2]]), {}, "unit: required: one row per unit", 2),
    "text unit twice": (pd.concat([turned(), turned().iloc[:2]]).astype({"unit": str}), {}, "one row per unit", 2),
    "unit missing": (some("unit", None, frame=turned()), {}, "unit: required: a key in every row", 1),
    "infinite": (some("y2", np.inf, frame=turned()), {}, "finite outcomes", 1),
    "all missing": (turned(FRAME.assign(y=np.nan)), {}, "missing values only", 1),
    "no rows": (turned().iloc[:0], {}, "at least one row"),
    "covariate infinite": (some("x", np.inf, frame=turned()), {"covariates": ["x"]}, "covariates known", 1),
    "switching cannot be seen, cohort text can": (turned().assign(g="never"), {}, "g: required: numbers"),
}  # fmt: skip


def refuses(frame, options, words, count=None, **names):
    with pytest.raises(AttributionError, match="required: .*; found: .*; ") as error:
        fit(frame, **{**names, **options})
    assert words in str(error.value)
    assert count is None or error.value.count == count
    assert len(error.value.keys) <= 5


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    refuses(*REFUSED[name])


@pytest.mark.parametrize("name", WIDE_REFUSED)
def test_refused_in_a_wide_table(name):
    frame, options, *rest = WIDE_REFUSED[name]
    refuses(frame, {**WIDE, "period": None, **options}, *rest)


@pytest.mark.parametrize(
    "thing",
    [None, 3, b"abc", [1], {"a": 1}, FRAME.to_dict("list"), FRAME.to_records(), FRAME["y"], pl.Series([1]), object()],
    ids=lambda thing: type(thing).__name__,
)
def test_what_is_no_frame(thing):
    with pytest.raises(DataError, match="required: a .*; found: .*; .*convert it"):
        Panel(thing, **NAMES)


# -- read as it is meant --

HARMLESS = {  # the same answer as FRAME: options of the panel
    "floats": (new(t=t * 1.0, unit=u * 1.0), {}),
    "nullable": (FRAME.convert_dtypes(), {}),
    "Arrow types": (FRAME.convert_dtypes(dtype_backend="pyarrow"), {}),
    "objects": (FRAME.astype({"y": object, "g": object, "unit": object}), {}),
    "categories of numbers": (FRAME.astype({"g": "category", "t": "category", "k": "category"}), {}),
    "categorical keys": (new(unit=u.astype(str).str.zfill(3).astype("category")), {}),
    "texts of pandas": (new(unit=("u" + u.astype(str).str.zfill(3)).astype("string")), {}),
    "bytes of keys": (new(unit=u.astype("uint8")), {}),
    "keys beyond 2**63": (new(unit=u.astype("uint64") + np.uint64(2**63)), {}),
    "another column twice": (pd.concat([FRAME, FRAME[["x"]]], axis=1), {}),
    "names apart in case": (new(Y=1.0, T=3, G=2), {}),
    "names that are numbers": (FRAME.rename(columns={"y": 5}), {"outcome": "5"}),
    "an index that repeats": (FRAME.set_index(np.zeros(len(FRAME), int)), {}),
    "months with gaps": (new(t=t.map(MONTHS), g=g.map(MONTHS)), {}),
    "days with gaps": (new(t=t.map(MONTHS) * 100 + 1, g=g.map(MONTHS) * 100 + 1), {}),
    "far apart": (new(t=t.map(MONTHS) * 10**7, g=g.map(MONTHS) * 10**7), {}),
    "negative periods": (new(t=t - 10, g=g - 10), {}),
    "never treated as a late cohort": (new(g=g.fillna(9999)), {}),
    "cluster = unit": (FRAME, {"cluster": "unit"}),
    "equal weights": (new(w=np.int8(100)), {"weight": "w"}),
    "a level for each": (new(y=y + u), {}),
    "Arrow": (pa.table(FRAME), {}),
    "Arrow batch": (pa.RecordBatch.from_pandas(FRAME), {}),
    "Polars": (pl.from_pandas(FRAME), {}),
    "Polars NaN": (pl.from_pandas(FRAME).with_columns(pl.col("g").fill_null(float("nan"))), {}),
    "lazy": (pl.from_pandas(FRAME).lazy(), {}),
    "wide": (turned(), {**WIDE, "period": None}),
    "wide, named by numbers": (turned(name="{}").rename(columns=lambda c: int(c) if c.isdigit() else c),
                               {**WIDE, "period": None, "outcome": {i: i for i in range(1, 6)}}),
    "wide, no keys": (turned().drop(columns="unit"), {**WIDE, "period": None, "unit": None}),
    "wide, small keys": (turned().assign(unit=(np.arange(80) * 3 - 120).astype("int8")), {**WIDE, "period": None}),
}  # fmt: skip


@pytest.mark.parametrize("name", HARMLESS)
def test_harmless(name):
    frame, options = HARMLESS[name]
    same(fit(frame, **options)[1], fit(FRAME)[1])


@pytest.mark.parametrize("covariates", [(), ("x",), ("s",), ("x", "s")])
@pytest.mark.parametrize("turn", [pl.from_pandas, pa.table, duckdb.from_df, turned, lambda f: pa.table(f).to_reader()])
def test_every_kind_of_frame_gives_one_answer(turn, covariates):
    frame = panel(n=80, seed=1, missing=0.05)
    options = {"weight": "w", "cluster": "k", "covariates": covariates}
    names = {**WIDE, "period": None} if turn is turned else {}
    same(fit(turn(frame), **options, **names)[1], fit(frame, **options)[1])


def test_types_of_outcomes():
    for changed in (y.round(2).map(lambda v: decimal.Decimal(f"{v:.2f}")), y.round(2).astype("category"),
                    y.round(2).astype(object)):  # fmt: skip
        same(fit(new(y=changed))[1], fit(new(y=y.round(2)))[1])
    same(fit(new(y=y > 0))[1], fit(new(y=(y > 0) * 1.0))[1])
    same(fit(new(y=(y > 0).astype(object).where(u != 3, None)))[1], fit(new(y=((y > 0) * 1.0).where(u != 3)))[1])
    same(fit(new(y=y.astype("float16")))[1], fit(new(y=y.astype("float16").astype(float)))[1])
    same(fit(new(y=(y * 20).astype("int8")))[1], fit(new(y=(y * 20).astype("int8") * 1.0))[1])


@pytest.mark.parametrize("kind", ["int8", "uint8", "int16", "uint16", "Int8", "float32"])
def test_small_covariates_do_not_overflow(kind):
    """Ages of up to 120 squared do not fit a byte."""
    age = (u % 60 + 60).astype(float)
    for method in ("dr", "reg", "ipw"):
        one, other = (Panel(new(x=x), **NAMES) for x in (age, age.astype(kind)))
        options = {"comparison": "never_treated", "base_period": "universal", "covariates": ["x"], "method": method}
        same(group_time_att(one, **options), group_time_att(other, **options))


def test_an_object_column_is_read_to_its_last_value():
    """A type guessed from a sample of the rows made 2.5 a 2."""
    long = pd.concat([FRAME.assign(unit=u + 80 * i) for i in range(20)], ignore_index=True)
    values = pd.Series(np.where(long["g"].notna() & (long["t"] >= 3), 2, 1), dtype=object)
    values[7901] = 2.5
    same(fit(long.assign(y=values))[1], fit(long.assign(y=values.astype(float)))[1])
    values[7901] = "n/a"
    with pytest.raises(DataError, match="y: required: values of one plain type"):
        Panel(long.assign(y=values), **NAMES)


# -- names --


@pytest.mark.parametrize(
    "renamed",
    [
        {"unit": "select", "t": "order", "g": 'a"b', "y": "it's; drop", "x": "group by", "k": " ", "w": "é", "s": "*"},
        {"unit": "c", "t": "u", "g": "y0", "y": "t", "x": "n", "w": "k", "k": "w", "s": "x0"},
        {"unit": "c_differs", "t": "c", "g": "u", "y": "v0", "x": "xu", "w": "y1", "k": "p0", "s": "source"},
        {"unit": "twice", "t": "n", "g": "t", "y": "units", "x": "y2", "w": "c", "k": "x1", "s": "z0"},
        {"unit": "covariates", "t": "keyed", "g": "r", "y": "u", "x": "c", "w": "x0", "k": "t", "s": "y"},
    ],
)
@pytest.mark.parametrize("kind", ["long", "wide", "cross-section"])
def test_names_mean_nothing(renamed, kind):
    """Words of SQL, quotes, and the very names that queries use inside."""

    def named(frame, to):
        names = {"unit": to["unit"], "cohort": to["g"], "weight": to["w"], "cluster": to["k"],
                 "covariates": [to["x"], to["s"]], "period": to["t"], "outcome": to["y"]}  # fmt: skip
        if kind == "cross-section":
            names["unit"] = None
        if kind == "wide":
            others = ["p1", "y3", "w_differs", "x2", "v1"] if to is renamed else WIDE["outcome"].values()
            columns = dict(zip(range(1, 6), others, strict=True))
            names |= {"period": None, "outcome": columns}
            frame = frame.rename(columns={f"y{i}": name for i, name in columns.items()})
        return fit(frame.rename(columns=to), **names)[1]

    frame = turned() if kind == "wide" else FRAME
    same(named(frame, renamed), named(frame, {name: name for name in renamed}))


def test_a_column_may_have_two_roles():
    same(fit(FRAME, weight="w", covariates=["w"])[1], fit(new(v=FRAME["w"]), weight="v", covariates=["w"])[1])
    same(fit(FRAME, cluster="k", covariates=["k"])[1], fit(new(v=FRAME["k"]), cluster="v", covariates=["k"])[1])
    wide = fit(turned(), weight="w", covariates=["w"], period=None, **WIDE)[1]
    same(wide, fit(FRAME, weight="w", covariates=["w"])[1])


def test_a_covariate_twice_is_collinear():
    options = {"comparison": "never_treated", "base_period": "universal", "covariates": ["x", "x"]}
    gt = group_time_att(Panel(FRAME, **NAMES), **options)
    assert set(gt.labels["reason"]) == {"base period", "collinear covariates in the propensity (x)"}


# -- many periods --


@pytest.mark.parametrize("periods", [60, 61, 121, 130])
def test_patterns_of_many_periods(periods):
    """Observed periods are bits of integers of 60: no bit is lost at the seams, and none runs over."""
    frame = panel(n=120, periods=tuple(range(1, periods + 1)), cohorts=(30, 40), seed=2, missing=0.02)
    made = Panel(frame, **NAMES)
    wide = frame.pivot(index="unit", columns="t", values="y")
    np.testing.assert_array_equal(made.observed, wide.notna())
    assert (made.moments.n @ made.pattern(made.moments.keys) == wide.notna().sum()).all()
    gt = group_time_att(made, comparison="never_treated", base_period="universal")
    at = int(np.flatnonzero(gt.labels["term"] == f"att(30,{periods})")[0])
    change = wide[periods] - wide[29]
    cohort = frame.groupby("unit")["g"].first()
    both = change.notna()
    assert gt.estimate[at] == pytest.approx(change[cohort == 30].mean() - change[cohort.isna()].mean())
    assert gt.n_treated[at] == (both & (cohort == 30)).sum()
    with pytest.raises(DataError, match="one row per unit and period") as error:
        Panel(pd.concat([frame, frame[frame["t"] == periods].head(3)]), **NAMES)
    assert error.value.count == 3


def test_the_only_units_of_a_cohort_and_a_period_without_outcomes():
    single = np.where(u == 0, 4, np.where(g == 4, 3, g))
    made, gt = fit(new(g=single))
    assert made.tidy().set_index("what").loc["cohorts of one unit", "count"] == 1
    assert "fewer than two treated units" in " ".join(gt.notes)
    made, gt = fit(new(y=y.where(t != 2)))
    assert made.counts["rows without outcome"] == 80
    assert np.isnan(gt.estimate[gt.labels["event_time"] == 0][0]) and "could not be estimated" in gt.notes[0]


def test_units_of_weight_zero_are_left_out_and_counted():
    weight = FRAME["w"].where(u % 4 > 0, 0.0)
    for options in ({}, {"cluster": "k"}, {"covariates": ["x"]}):
        made, gt = fit(new(w=weight), weight="w", **options)
        same(gt, fit(new(w=weight)[u % 4 > 0], weight="w", **options)[1])
        assert made.counts["units of weight 0, left out"] == 20 and gt.spec["units"] == 60
    assert len(made.units) == len(made.covariates(["x"])) == 60 and (made.weight > 0).all()
    overall = [aggregate(fit(f, weight="w")[1], by="overall") for f in (new(w=weight), new(w=weight)[u % 4 > 0])]
    same(*overall)


# -- files --


def test_files(tmp_path):
    FRAME.to_parquet(tmp_path / "panel.parquet")
    for name in ("panel.csv", "panel.csv.gz", "panel.txt"):
        FRAME.to_csv(tmp_path / name, index=False)
    FRAME.to_csv(tmp_path / "panel.tsv", index=False, sep="\t")
    FRAME.to_csv(tmp_path / "r.csv", index=False, na_rep="NA")
    parts = tmp_path / "it's parts"
    parts.mkdir()
    for i in (0, 1):
        FRAME[u % 2 == i].to_parquet(parts / f"part {i}.parquet")
    expected = fit(FRAME, covariates=["x", "s"])[1]
    names = ("panel.parquet", "panel.csv", "panel.csv.gz", "panel.txt", "panel.tsv", "r.csv")
    files = [tmp_path / name for name in names]
    for file in (*files, str(files[0]), parts, parts / "part *.parquet", str(parts / "*.parquet")):
        same(fit(file, covariates=["x", "s"])[1], expected)
    pl.from_pandas(FRAME).with_columns(pl.col("g").fill_null(float("nan"))).write_parquet(tmp_path / "nan.parquet")
    same(fit(tmp_path / "nan.parquet")[1], fit(FRAME)[1])
    same(fit(pl.scan_parquet(tmp_path / "panel.parquet"), covariates=["s"])[1], fit(FRAME, covariates=["s"])[1])


def test_files_that_cannot_be_read(tmp_path):
    FRAME.to_parquet(tmp_path / "panel.parquet")
    whole = (tmp_path / "panel.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(whole[:2000])
    (tmp_path / "rotten.parquet").write_bytes(whole[:200] + bytes(2300) + whole[2500:])
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "sheet.xlsx").write_bytes(b"PK\x03\x04")
    (tmp_path / "folder").mkdir()
    FRAME.to_csv(tmp_path / "comma.csv", index=False, sep=";", decimal=",")
    for name in ("no.parquet", "no*.parquet", "cut.parquet", "rotten.parquet", "empty.csv", "sheet.xlsx", "folder",
                 "comma.csv", "no.csv"):  # fmt: skip
        for path in (tmp_path / name, str(tmp_path / name)):
            with pytest.raises(DataError, match="required: .*; found: .*; "):
                fit(path)
    with pytest.raises(DataError, match="a frame that can be read; found: FileNotFoundError"):
        Panel(pl.scan_parquet(tmp_path / "no.parquet"), **NAMES)


def test_a_csv_is_typed_by_all_its_rows(tmp_path):
    """A type guessed from the first 20,480 rows made a later 2.5 a 3."""
    long = pd.concat([FRAME.assign(unit=u + 80 * i, y=1) for i in range(70)], ignore_index=True)
    long = long.astype({"y": object})
    long.loc[27_000:, "y"] = 2.5
    long.to_csv(tmp_path / "late.csv", index=False)
    assert Panel(tmp_path / "late.csv", **NAMES).y.max() == 2.5
    long.loc[27_500, "y"] = "oops"
    long.to_csv(tmp_path / "late.csv", index=False)
    with pytest.raises(DataError, match="y: required: numbers"):
        Panel(tmp_path / "late.csv", **NAMES)


def test_relations_of_other_connections():
    other = duckdb.connect()
    other.register("frame", FRAME)
    same(fit(other.sql("SELECT * FROM frame"), covariates=["s"])[1], fit(FRAME, covariates=["s"])[1])
    with pytest.raises(DataError, match="a frame that can be read; found: ConversionException"):
        Panel(other.sql("SELECT unit, t, g, CAST(s AS INTEGER) AS y FROM frame"), **NAMES)
    relation = other.sql("SELECT * FROM frame")
    other.close()
    with pytest.raises(DataError, match="a frame that can be read"):
        Panel(relation, **NAMES)


# -- random breakage --

seeds = st.integers(0, 10_000)
HURT = {  # a few units are spoilt; either it is refused, or the answer is that of the panel without them
    "outcome missing": lambda f, bad: f.assign(y=f["y"].where(~bad)),
    "rows absent": lambda f, bad: f[~bad],
    "always treated": lambda f, bad: f.assign(g=f["g"].where(~bad, 1.0)),
    "weight zero": lambda f, bad: f.assign(w=f["w"].where(~bad, 0.0)),
    "outcome infinite": lambda f, bad: f.assign(y=f["y"].where(~bad, np.inf)),
    "cohort 0": lambda f, bad: f.assign(g=f["g"].where(~bad, 0)),
    "cohort inf": lambda f, bad: f.assign(g=f["g"].where(~bad, np.inf)),
    "weight missing": lambda f, bad: f.assign(w=f["w"].where(~bad)),
    "weight negative": lambda f, bad: f.assign(w=f["w"].where(~bad, -1)),
    "cluster missing": lambda f, bad: f.assign(k=f["k"].where(~bad)),
    "covariate missing": lambda f, bad: f.assign(x=f["x"].where(~bad)),
    "unit missing": lambda f, bad: f.assign(unit=f["unit"].where(~bad)),
    "period missing": lambda f, bad: f.assign(t=f["t"].where(~bad)),
    "doubled": lambda f, bad: pd.concat([f, f[bad]]),
    "switches": lambda f, bad: f.assign(g=f["g"].where(~(bad & (f["t"] == 5)), 6.0)),
}
COUNTED = ("outcome missing", "rows absent", "always treated", "weight zero")


@settings(max_examples=40, deadline=None)
@given(seeds, st.sampled_from(list(HURT)), st.sampled_from(["dr", "reg", "ipw"]), st.booleans())
def test_broken_units_are_refused_or_left_out(seed, hurt, method, everywhere):
    """In all periods of some units, or (where rows may differ) in some periods only."""
    frame = panel(n=150, seed=seed, missing=0.02)
    r = np.random.default_rng(seed)
    bad = frame["unit"].isin(r.choice(150, 6, replace=False))
    if not everywhere and hurt in ("outcome missing", "rows absent", "outcome infinite", "doubled"):
        bad = bad & (r.random(len(frame)) < 0.4)
    before = HURT[hurt](frame, bad)
    spoilt = before.copy(deep=True)

    def answer(f):
        made = Panel(f, **NAMES, weight="w", cluster="k")
        gt = group_time_att(made, comparison="not_yet_treated", base_period="varying", method=method, covariates=["x"])
        return gt, aggregate(gt, by="event_time")

    try:
        got = answer(spoilt)
    except AttributionError as error:
        assert hurt not in COUNTED and isinstance(error, DataError)
        assert error.required and error.found and error.mend and error.count and len(error.keys) <= 5
    else:
        assert hurt in COUNTED or not bad.any()
        clean = answer(frame[~bad])
        for one, other in zip(got, clean, strict=True):
            same(one, other, rtol=1e-7)
    pd.testing.assert_frame_equal(spoilt, before)


def test_one_cluster_and_no_comparison():
    with pytest.raises(EstimationError, match="at least two clusters"):
        fit(new(k=1), cluster="k")
    with pytest.raises(EstimationError, match="never-treated units"):
        group_time_att(Panel(FRAME[g.notna()], **NAMES), comparison="never_treated", base_period="varying")
