"""study.toml: parsed, frozen, hashed; what does not hold is refused with the key and the mend."""

# ruff: noqa: E501  (declarations read best one to a line)

from __future__ import annotations

import copy
import dataclasses
import time

import pandas as pd
import pytest

from attribution import DataError, Study
from attribution import study as module

CONFIG = {
    "study": {
        "name": "tiny", "title": "Tiny", "years": [2023, 2024], "default_year": 2024, "frequency": "quarter", "currency": "EUR",
    },
    "clock": {"date_zero": "start", "horizon_months": 12},
    "outcomes": {"placement": {"title": "In a job", "column": "employed"}},
    "tiers": {
        "free": {"title": "Free", "design": "none", "reason": "nobody applies"},
        "paid": {"title": "Paid", "design": "landmark"},
    },
    "comparison": {"kind": "landmark", "headline": "open", "pools": ["open", "rejected"]},
    "design": {"covariates": ["age", "female"]},
}  # fmt: skip
LEARNERS = pd.DataFrame({"person_id": ["b", "a"], "first_seen": ["2024-01-01", "2023-01-01"]})


def tiny(year=None, **changes):
    config = copy.deepcopy(CONFIG)
    for path, value in changes.items():
        *sections, key = path.split("__")
        place = config
        for section in sections:
            place = place.setdefault(section, {})
        if value is None:
            place.pop(key)
        else:
            place[key] = value
    return Study.from_tables(config, {"learners": LEARNERS}, year=year)


def test_a_study_is_frozen_to_the_bottom():
    study = tiny()
    with pytest.raises(dataclasses.FrozenInstanceError):
        study.year = 2023
    with pytest.raises(dataclasses.FrozenInstanceError):
        study.clock.horizon_months = 6
    with pytest.raises(TypeError):
        study.tiers["new"] = 1
    assert study.design.covariates == ("age", "female")


def test_defaults_and_sections():
    study = tiny()
    assert (study.name, study.year, study.years, study.horizon_months) == ("tiny", 2024, [2023, 2024], 12)
    assert (study.disclosure.min_cell, study.disclosure.min_cell_sensitive, study.disclosure.percent_min_n) == (
        10,
        11,
        25,
    )
    assert study.did.base_period is None, "no default for what decides the answer"
    assert study.data_until == "2024-12-31"
    assert tiny(study__data_until="2024-06-30").data_until == "2024-06-30"
    assert tiny(did={"base_period": -6, "window": [-8, 4]}).did.window == (-8, 4)


def test_the_plan_hash_follows_the_plan_and_not_the_order():
    one, other = tiny(), tiny(clock__horizon_months=18)
    turned = Study.from_tables(dict(reversed(CONFIG.items())), {})
    assert one.plan_hash == turned.plan_hash != other.plan_hash
    assert len(one.plan_hash) == 64


def test_tables_columns_and_absence():
    study = tiny()
    assert study.has("learners") and not study.has("audits")
    assert study.why_absent("learners") == ""
    assert "audits" in study.why_absent("audits")
    assert study.columns("learners") == ["person_id", "first_seen"] and study.columns("audits") == []
    assert study.table("learners")["person_id"].tolist() == ["a", "b"], "ordered by key"
    assert pd.api.types.is_datetime64_any_dtype(study.table("learners")["first_seen"])
    for asks in (lambda: study.table("audits"), lambda: study.sql("SELECT * FROM audits")):
        with pytest.raises(DataError) as caught:
            asks()
        assert caught.value.table == "audits"
    with pytest.raises(DataError, match="columns"):
        study.sql("SELECT shoe FROM learners")


def test_summary_and_html_name_tables_and_absences():
    study = tiny()
    assert "learners" in study.summary() and "absent" in study.summary() and "2024" in study.summary()
    assert "<table" in study._repr_html_() and "absent" in study._repr_html_()
    assert repr(study) == "Study('tiny', year=2024)"


@pytest.mark.parametrize("year", [2022, 2025, "2024", True, 2023.5])
def test_a_year_the_study_lacks_is_refused(year):
    with pytest.raises(DataError, match="2023, 2024"):
        tiny(year=year)


BAD = {
    "unknown section": (dict(clok={"a": 1}), "clok", "did you mean clock"),
    "misspelt key": (dict(clock__horizon_month=6), "clock.horizon_month", "did you mean horizon_months"),
    "misspelt key of a tier": (dict(tiers__paid__reasn="x"), "tiers.paid.reasn", "did you mean reason"),
    "missing section": (dict(clock=None), None, "clock"),
    "missing key": (dict(study__years=None), "study.years", "add"),
    "text for a number": (dict(clock__horizon_months="12"), "clock.horizon_months", "whole number"),
    "flag for a number": (dict(clock__horizon_months=True), "clock.horizon_months", "whole number"),
    "negative horizon": (dict(clock__horizon_months=-3), "clock.horizon_months", "from 1"),
    "unknown date zero": (dict(clock__date_zero="exit"), "clock.date_zero", "application"),
    "unknown frequency": (dict(study__frequency="month"), "study.frequency", "quarter"),
    "years out of order": (dict(study__years=[2024, 2023]), "study.years", "ascending"),
    "years as text": (dict(study__years=["2024"]), "study.years", "list"),
    "default year not among years": (dict(study__default_year=2030), "study.default_year", "one of years"),
    "currency sign": (dict(study__currency="€"), "study.currency", "EUR"),
    "name with a path": (dict(study__name="../demo"), "study.name", "letters"),
    "date the other way round": (dict(study__data_until="31/12/2024"), "study.data_until", "YYYY-MM-DD"),
    "unknown design": (dict(tiers__paid__design="rct"), "tiers.paid.design", "landmark"),
    "no design and no reason": (dict(tiers__free__reason=None), "tiers.free.reason", "reason"),
    "design of another kind": (dict(tiers__paid__design="pools"), "tiers.paid.design", "agree"),
    "tier that is no section": (dict(tiers__paid="landmark"), None, "section"),
    "no comparison": (dict(comparison=None), "comparison", "section"),
    "headline outside pools": (dict(comparison__headline="cps1"), "comparison.headline", "one of pools"),
    "pool that is no status": (dict(comparison__pools=["open", "cps1"]), "comparison.pools", "statuses"),
    "pools twice": (dict(comparison__pools=["open", "open"]), "comparison.pools", "different"),
    "no covariates": (dict(design__covariates=[]), "design.covariates", "at least one"),
    "covariates as text": (dict(design__covariates="age"), "design.covariates", "list"),
    "placebo drops a stranger": (dict(design__placebo_drop=["shoe"]), "design.placebo_drop", "name only"),
    "subgroups of a stranger": (dict(design__subgroups=["shoe"]), "design.subgroups", "name only"),
    "thresholds that are no amounts": (
        dict(outcomes__income={"title": "Income", "column": "c", "gain_thresholds": [0, 0]}),
        "outcomes.income.gain_thresholds",
        "amounts",
    ),
    "caliper of zero": (dict(design__caliper_sd=0), "design.caliper_sd", "above 0"),
    "positive base period": (dict(did={"base_period": 2}), "did.base_period", "negative"),
    "base window reversed": (dict(did={"base_period": [-2, -6]}), "did.base_period", "negative"),
    "window without pre-periods": (dict(did={"window": [0, 4]}), "did.window", "first < 0"),
    "cell of zero": (dict(disclosure={"min_cell": 0}), "disclosure.min_cell", "from 1"),
    "simulated without seed": (dict(study__simulated=True), "simulate.seed", "seed"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_study_toml(name):
    changes, column, text = BAD[name]
    with pytest.raises(DataError) as caught:
        tiny(**changes)
    assert caught.value.table == "study.toml"
    assert text in str(caught.value)
    assert column is None or caught.value.column == column


def write(folder, text):
    folder.mkdir(parents=True)
    (folder / "study.toml").write_text(text, encoding="utf-8")
    return folder


def test_a_toml_that_does_not_parse_names_the_line(tmp_path):
    with pytest.raises(DataError, match="line 2"):
        Study.open(write(tmp_path / "s", "[study]\nname = tiny\n"))


def test_a_toml_in_another_encoding(tmp_path):
    folder = write(tmp_path / "s", "")
    (folder / "study.toml").write_bytes('title = "é"'.encode("latin-1"))
    with pytest.raises(DataError, match="UTF-8"):
        Study.open(folder)


def test_unknown_studies_are_refused_with_what_exists(tmp_path, monkeypatch):
    (tmp_path / "pyproject.toml").touch()
    write(tmp_path / "data" / "demo", "")
    write(tmp_path / "data" / "nsw", "")
    monkeypatch.delenv(module.PROJECT, raising=False)
    monkeypatch.chdir(tmp_path / "data" / "demo")
    assert module.find_project() == tmp_path and module.studies() == ["demo", "nsw"]
    with pytest.raises(DataError, match="demo, nsw.*did you mean demo"):
        Study.open("dem")
    assert module.find_study("nsw") == module.find_study("data/nsw") == tmp_path / "data" / "nsw"


def test_the_project_may_be_named_by_the_environment(tmp_path, monkeypatch):
    write(tmp_path / "data" / "x", "")
    monkeypatch.setenv(module.PROJECT, str(tmp_path))
    assert module.studies() == ["x"]
    monkeypatch.setenv(module.PROJECT, str(tmp_path / "no"))
    with pytest.raises(DataError, match=module.PROJECT):
        module.find_project()


def test_outside_a_project(tmp_path, monkeypatch):
    monkeypatch.delenv(module.PROJECT, raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="project folder"):
        Study.open("demo")


def test_tables_that_are_not_there(root, tmp_path):
    text = (root / "data" / "nsw" / "study.toml").read_text(encoding="utf-8")
    with pytest.raises(DataError, match="does not exist"):
        Study.open(write(tmp_path / "s", text))


def test_nsw_opens_and_holds_the_contract(root):
    study = Study.open(root / "data" / "nsw")
    assert study.currency == "USD" and study.frequency == "year" and study.year == 1978
    assert study.sql("SELECT COUNT(*) AS n FROM enrolments")["n"][0] == 185
    names = [name for name, _ in study.sources()]
    assert names[0] == "study.toml" and "tables/learners.parquet" in names
    assert all(len(digest) == 64 for _, digest in study.sources())


def test_from_tables_is_fast_and_needs_no_pandera():
    tiny()
    best = min(_seconds(tiny) for _ in range(5))
    assert best < 0.5  # about 0.02 s when the machine is idle: recovery runs open thousands


def _seconds(f):
    start = time.perf_counter()
    f()
    return time.perf_counter() - start


def test_pandera_is_not_imported_to_open_unchecked(root):
    import subprocess
    import sys

    code = (
        f"import sys; from attribution.study import Study; Study.open({str(root / 'data' / 'nsw')!r}, check=False); "
        "print('pandera' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
