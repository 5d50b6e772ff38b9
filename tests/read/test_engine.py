"""The engine: files, frames and databases give the same answers; what cannot be read is named."""

# ruff: noqa: E501  (declarations read best one to a line)

from __future__ import annotations

import datetime as dt

import duckdb
import numpy as np
import pandas as pd
import pytest
from small_tables import config, tables

from attribution import DataError, Study
from attribution.read.contract import check
from attribution.read.contract.tables import sql_types
from attribution.read.engine import DuckDB, open_engine, query
from attribution.read.sql import render, tables_of


@pytest.fixture
def folder(tmp_path):
    home = tmp_path / "tables"
    home.mkdir()
    for name, frame in tables().items():
        frame.to_parquet(home / f"{name}.parquet", index=False)
    return home


def study_of(where, tmp_path, name="toml"):
    """A study folder whose tables are elsewhere."""
    home = tmp_path / name
    home.mkdir()
    lines = [f'[study]\ntables = "{where}"', *(_line(k, v) for k, v in config()["study"].items())]
    for section, values in config().items():
        if section in ("outcomes", "tiers"):
            for key, value in values.items():
                lines += [f"[{section}.{key}]", *(_line(k, v) for k, v in value.items())]
        elif section != "study":
            lines += [f"[{section}]", *(_line(k, v) for k, v in values.items())]
    (home / "study.toml").write_text("\n".join(lines), encoding="utf-8")
    return home


def _line(key, value):
    return f"{key} = {str(value).lower() if isinstance(value, bool) else repr(value)}"


def test_parquet_csv_duckdb_and_frames_agree(folder, tmp_path):
    (tmp_path / "csv").mkdir()
    for name, frame in tables().items():
        frame.to_csv(tmp_path / "csv" / f"{name}.csv", index=False)
    con = duckdb.connect(str(tmp_path / "all.duckdb"))
    for name in tables():
        con.execute(f"CREATE TABLE {name} AS SELECT * FROM '{folder / name}.parquet'")
    con.close()
    memory = Study.from_tables(config(), tables())
    expected = memory.table("enrolments"), memory.table("applications"), memory.table("income_panel")
    for k, where in enumerate(
        [folder, tmp_path / "csv", tmp_path / "all.duckdb", f"duckdb://{tmp_path / 'all.duckdb'}"]
    ):
        study = Study.open(study_of(where, tmp_path, f"s{k}"), check=False)
        assert not check(study).errors, check(study).summary()
        for name, frame in zip(("enrolments", "applications", "income_panel"), expected, strict=True):
            pd.testing.assert_frame_equal(study.table(name), frame, check_dtype=False)


def test_part_files_are_one_table(folder, tmp_path):
    whole = tables()["income_panel"]
    (folder / "income_panel.parquet").unlink()
    parts = folder / "income_panel"
    parts.mkdir()
    whole.iloc[:100].to_parquet(parts / "part-0.parquet", index=False)
    whole.iloc[100:].to_parquet(parts / "part-1.parquet", index=False)
    study = Study.open(study_of(folder, tmp_path))
    assert study.sql("SELECT COUNT(*) AS n FROM income_panel")["n"][0] == len(whole)
    assert [name for name, _ in study.sources() if "part" in name] == ["part-0.parquet", "part-1.parquet"]


def test_ids_with_leading_zeros_survive_csv(tmp_path):
    (tmp_path / "learners.csv").write_text("person_id,first_seen\n00123,2024-01-02\n", encoding="utf-8")
    answer = query(open_engine(tmp_path, sql_types()), "SELECT person_id, first_seen FROM learners").to_pylist()
    assert answer == [{"person_id": "00123", "first_seen": dt.date(2024, 1, 2)}]


def test_a_semicolon_csv_is_read(tmp_path):
    (tmp_path / "definitions.csv").write_text(
        "def_id;version;valid_from;change_note\nd;1;2024-01-01;a, b\n", encoding="utf-8"
    )
    assert query(open_engine(tmp_path, sql_types()), "SELECT change_note AS c FROM definitions").to_pylist() == [
        {"c": "a, b"}
    ]


def test_truncated_parquet_is_named(folder):
    file = folder / "learners.parquet"
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(DataError) as caught:
        open_engine(folder)
    assert (caught.value.table, caught.value.count, caught.value.keys) == ("learners", 1, ("learners.parquet",))
    assert "again" in caught.value.mend


def test_damaged_pages_behind_a_good_footer_are_named(folder, tmp_path):
    file = folder / "learners.parquet"
    raw = bytearray(file.read_bytes())
    raw[4:80] = b"\xff" * 76
    file.write_bytes(bytes(raw))
    problems = check(Study.open(study_of(folder, tmp_path), check=False)).errors
    assert any(p.table == "learners" for p in problems)


def test_csv_in_another_encoding_is_named_by_line(tmp_path):
    text = "programme_id,name\nP1,Développeur\nP2,plain\nP3,Rédacteur\n"
    (tmp_path / "programmes.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError) as caught:
        open_engine(tmp_path, sql_types())
    assert (caught.value.table, caught.value.count, caught.value.keys) == ("programmes", 2, ("line 2", "line 4"))


@pytest.mark.parametrize("name", ["learners.csv", "learners.parquet"])
def test_a_file_of_zero_bytes_is_named(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(DataError, match="0 bytes"):
        open_engine(tmp_path)


def test_two_files_for_one_table_are_refused(folder):
    (folder / "learners.csv").write_text("person_id\nL01\n", encoding="utf-8")
    with pytest.raises(DataError, match="keep one"):
        open_engine(folder)


def test_missing_folder_and_file(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        open_engine(tmp_path / "nothing")
    with pytest.raises(DataError, match="does not exist"):
        open_engine(f"duckdb://{tmp_path}/nothing.duckdb")
    (tmp_path / "bad.duckdb").write_bytes(b"not a database at all")
    with pytest.raises(DataError, match="cannot open"):
        open_engine(tmp_path / "bad.duckdb")


def test_unknown_scheme_names_the_known_ones():
    with pytest.raises(DataError, match="duckdb://"):
        open_engine("oracle://host/db")


def test_errors_hold_no_paths(folder):
    (folder / "learners.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(DataError) as caught:
        open_engine(folder)
    assert str(folder) not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "rendered"),
    [
        (3, "3"), (np.int64(3), "3"), (-2, "-2"), (1.5, "1.5"), ("o'clock; DROP TABLE x", "'o''clock; DROP TABLE x'"),
        (True, "TRUE"), (None, "NULL"), (dt.date(2024, 1, 2), "CAST('2024-01-02' AS DATE)"),
    ],
)  # fmt: skip
def test_parameters_are_literals(value, rendered):
    assert render("SELECT x FROM t WHERE x = :a", a=value) == f'SELECT "x" FROM "t" WHERE "x" = {rendered}'


def test_lists_go_inside_in():
    engine = DuckDB()
    engine.add_frame("t", pd.DataFrame({"x": ["a", "b", "c"]}))
    assert query(engine, "SELECT COUNT(*) AS n FROM t WHERE x IN (:w)", w=["a", "c"]).to_pylist() == [{"n": 2}]
    assert query(engine, "SELECT COUNT(*) AS n FROM t WHERE x NOT IN (:w)", w=("a",)).to_pylist() == [{"n": 2}]
    assert query(engine, "SELECT COUNT(*) AS n FROM t WHERE x IN (:w)", w="b").to_pylist() == [{"n": 1}]
    with pytest.raises(DataError):
        query(engine, "SELECT x FROM t WHERE x IN (:w)", w=[])
    with pytest.raises(DataError):
        query(engine, "SELECT x FROM t WHERE x = :w", w=["a"])


@pytest.mark.parametrize(
    ("sql", "params", "text"),
    [
        ("SELECT 1 + :a", {}, "without one"), ("SELECT 1", {"b": 1}, "not in the query"), ("SELEC 1", {}, "required"),
        ("DROP TABLE learners", {}, "one SELECT"), ("SELECT 1; SELECT 2", {}, "one SELECT"),
        ("SELECT 1 + :a", {"a": float("nan")}, "finite"), ("SELECT 1 + :a", {"a": object()}, "convert"),
    ],
)  # fmt: skip
def test_bad_queries_are_refused(sql, params, text):
    with pytest.raises(DataError, match=text):
        render(sql, **params)


def test_the_same_text_renders_for_another_engine():
    sql = "SELECT person_id, STRFTIME(start, '%Y') AS y FROM enrolments WHERE start > :d"
    rendered = render(sql, "postgres", d=dt.date(2024, 1, 1))
    assert '"enrolments"' in rendered and "TO_CHAR" in rendered and "CAST('2024-01-01' AS DATE)" in rendered


def test_tables_of_a_query_leave_out_its_own():
    assert tables_of("WITH a AS (SELECT * FROM learners) SELECT * FROM a JOIN enrolments AS e USING (person_id)") == {
        "learners", "enrolments",
    }  # fmt: skip


def test_an_engine_is_a_dialect_and_a_fetch():
    class Recorder:
        dialect = "spark"

        def fetch(self, sql):
            self.sql = sql
            return None

    engine = Recorder()
    query(engine, "SELECT a FROM t WHERE b = :b", b="x")
    assert engine.sql == "SELECT `a` FROM `t` WHERE `b` = 'x'"


@pytest.mark.parametrize("kind", ["pandas", "polars", "lazy", "arrow", "relation"])
def test_frames_of_every_kind(kind):
    import polars as pl
    import pyarrow as pa

    frame = pd.DataFrame({"person_id": ["a", "b"], "first_seen": ["2024-01-01", None], "unemp_months": [1.0, np.nan]})
    given = {
        "pandas": lambda: frame,
        "polars": lambda: pl.from_pandas(frame),
        "lazy": lambda: pl.from_pandas(frame).lazy(),
        "arrow": lambda: pa.Table.from_pandas(frame),
        "relation": lambda: duckdb.from_df(frame),
    }[kind]()
    study = Study.from_tables(config(), {"learners": given})
    answer = study.sql("SELECT MIN(first_seen) AS d, COUNT(unemp_months) AS n, SUM(unemp_months) AS s FROM learners")
    assert answer["d"][0] == pd.Timestamp("2024-01-01") and answer["n"][0] == 1 and answer["s"][0] == 1


def test_inputs_are_not_mutated():
    given = tables()
    before = {name: frame.copy(deep=True) for name, frame in given.items()}
    check(Study.from_tables(config(), given))
    for name, frame in given.items():
        pd.testing.assert_frame_equal(frame, before[name])


def test_sums_of_cents_are_integers():
    study = Study.from_tables(config(), tables())
    assert study.sql("SELECT SUM(earnings_net_cents) AS s FROM income_panel")["s"].dtype == "int64"


def test_threads_is_one_documented_setting(monkeypatch):
    monkeypatch.setenv("ATTRIBUTION_THREADS", "many")
    with pytest.raises(DataError, match="ATTRIBUTION_THREADS"):
        DuckDB()


def test_wide_data_never_enter_pandas(tmp_path, monkeypatch):
    """Half a million rows are checked by counts: nothing larger than the keys is ever converted."""
    con = duckdb.connect()
    small = tables()
    (tmp_path / "tables").mkdir()
    for name, frame in small.items():
        if name != "income_panel":
            frame.to_parquet(tmp_path / "tables" / f"{name}.parquet", index=False)
    con.register("p", small["income_panel"])
    con.execute(
        f"COPY (SELECT p.* REPLACE (person_id || '-' || i AS person_id) FROM p, range(2000) AS r(i)) TO '{tmp_path}/tables/income_panel.parquet'"
    )
    biggest = 0
    fetch = DuckDB.fetch

    def watched(self, sql):
        nonlocal biggest
        answer = fetch(self, sql)
        biggest = max(biggest, answer.num_rows)
        return answer

    monkeypatch.setattr(DuckDB, "fetch", watched)
    study = Study.open(study_of(tmp_path / "tables", tmp_path), check=False)
    problems = check(study).errors
    assert [p.column for p in problems] == ["person_id"] and problems[0].count == 2000 * 276
    assert biggest <= 5
