"""Findings: complete or refused, fixed columns, stable files."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from attribution.errors import DataError, EstimationError
from attribution.findings.finding import COLUMNS, Finding, Findings, read_findings
from attribution.findings.grade import Grade
from attribution.findings.words import say_estimate, say_interval, say_number
from attribution.results import Effects


def effects(k: int = 1, n: int = 100) -> Effects:
    return Effects(
        estimand="ATT on placement", unit="share", labels=pd.DataFrame({"term": ["att", "observed"][:k]}),
        estimate=np.array([0.1234567890123456, 0.5])[:k], scores=np.full((4, k), 0.01), n_treated=np.full(k, n),
        n_comparison=np.full(k, n),
    )  # fmt: skip


@pytest.fixture
def findings() -> Findings:
    return Findings(
        "toy", "04_placements", "Did we cause placements?", year=2025, population="starters", clock="application"
    )


def test_columns_are_fixed():
    columns = (
        "finding_id study year notebook question tier term estimand estimate std_error conf_low conf_high level unit "
        "n_treated n_comparison n_covered population clock horizon_months pool design estimator status grade reason "
        "benchmark benchmark_source text"
    )
    assert columns.split() == COLUMNS


def test_an_effect_becomes_a_row(findings, tmp_path):
    one = findings.add(
        "att_paid", effects(), tier="paid", design="landmark", grade=Grade(level="weak", reasons=("So.",))
    )
    assert one.finding_id == "04_placements.att_paid" and one.std_error == 0.02 and one.n_covered == 100
    assert one.grade == "weak" and one.reason == "So." and one.population == "starters"
    assert one.estimate == 0.123456789012
    findings.write(tmp_path)
    back = read_findings(tmp_path)
    assert list(back.columns) == COLUMNS and back.loc[0, "n_treated"] == 100
    pd.testing.assert_frame_equal(back, findings.frame())


def test_one_finding_is_one_estimate(findings):
    with pytest.raises(EstimationError, match="2 rows"):
        findings.add("both", effects(2), design="landmark")
    assert findings.add("one", effects(2), term="observed", design="landmark").estimate == 0.5


@pytest.mark.parametrize("missing", ["std_error", "design", "n_treated", "estimand", "unit"])
def test_an_incomplete_effect_is_refused(findings, missing):
    whole = {"estimate": 0.1, "std_error": 0.02, "design": "d", "n_treated": 50, "estimand": "ATT", "unit": "share"}
    assert findings.add("whole", **whole).conf_low == pytest.approx(0.0608, abs=1e-4)
    with pytest.raises(EstimationError, match=missing):
        findings.add("part", **{key: value for key, value in whole.items() if key != missing})


def test_no_number_hides_behind_a_status(findings):
    with pytest.raises(EstimationError, match="no number"):
        findings.not_estimable("free", "no applicants", estimate=0.1)
    with pytest.raises(EstimationError, match="reason"):
        Finding(finding_id="a", study="s", year=1, notebook="n", status="not_available")


def test_small_cells_are_suppressed(findings):
    assert findings.add("few", effects(n=9), design="d").status == "suppressed"
    few = findings.describe("rare", count=9, n=300, estimand="share")
    assert few.status == "suppressed" and few.estimate is None and few.n_covered is None
    assert findings.describe("nearly_all", count=295, n=300, estimand="share").status == "suppressed"
    assert findings.describe("share_of_few", count=12, n=24, estimand="share").status == "suppressed"
    assert findings.describe("sensitive", count=10, n=300, estimand="share", sensitive=True).status == "suppressed"
    assert findings.describe("ten", count=10, n=300, estimand="share").status == "described"
    assert findings.describe("nobody", count=0, n=0, estimand="share").status == "not_available"
    assert findings.describe("mean", 4.2, n=9, unit="months", estimand="mean").status == "suppressed"
    text = findings.frame().to_csv() + findings.table().to_html()
    assert "295" not in text and "0.98" not in text


def test_names_and_columns_are_checked(findings, tmp_path):
    findings.describe("one", 3, unit="people", estimand="people")
    with pytest.raises(DataError, match="twice"):
        findings.describe("one", 3, unit="people", estimand="people")
    with pytest.raises(DataError, match="lower-case"):
        findings.describe("One two", 3, unit="people", estimand="people")
    with pytest.raises(DataError, match="fixed columns"):
        findings.describe("two", 3, unit="people", estimand="people", colour="red")
    with pytest.raises(DataError, match="absolute"):
        findings.write("somewhere")


def test_interactive_writes_nothing(findings, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    findings.describe("one", count=30, n=100, estimand="people in work")
    table = findings.write("")
    assert table.loc[0, "result"] == "30.0 %" and not list(tmp_path.iterdir())


def test_files_are_stable(tmp_path):
    from matplotlib.figure import Figure

    for name in ("a", "b"):
        findings = Findings("toy", "01_reach", year=2025)
        figure = Figure(figsize=(2, 2))
        figure.subplots().plot([1, 2], label="x")
        findings.figure("line", figure, "A line.")
        findings.show_table("numbers", pd.DataFrame({"x": [1 / 3, np.nan], "n": [1, 2]}), "Numbers.")
        findings.answer("Words\n  in a row.")
        findings.write(tmp_path / name)
    for path in sorted((tmp_path / "a").rglob("*.*")):
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes(), path.name
    assert (tmp_path / "a/tables/numbers.csv").read_text() == "x,n\n0.333333333333,1\n,2\n"
    assert json.loads((tmp_path / "a/findings/01_reach.json").read_text())["answer"] == "Words in a row."


def test_numbers_are_told_as_people_say_them():
    record = {
        "status": "estimated",
        "term": "att",
        "unit": "share",
        "estimate": 0.0523,
        "conf_low": 0.021,
        "conf_high": 0.083,
    }
    assert (say_estimate(record), say_interval(record)) == ("+5.2 points", "+2.1 to +8.3")
    record |= {"unit": "EUR a quarter", "estimate": 1411.23, "conf_low": 10.46, "conf_high": 2712.7}
    assert (say_estimate(record), say_interval(record)) == ("+1,411 EUR a quarter", "+10 to +2,713")
    record |= {"unit": "share", "estimate": 0.48, "conf_low": 0.4, "conf_high": 0.5, "term": "counterfactual"}
    assert (say_estimate(record), say_interval(record)) == ("48.0 %", "40.0 to 50.0")
    assert say_number(4123, "people") == "4,123" and say_number(-0.0001, "EUR") == "0"
