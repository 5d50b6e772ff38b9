"""Small, sparse and brought-along studies: a whole report, *not estimable* where it must be, no small cell anywhere."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

from attribution.read.simulate import simulate_school, write_demo
from attribution.report.runner import run
from attribution.report.scaffold import create

ROOT = Path(__file__).resolve().parents[1]
STAGES = ("observed", "counterfactual", "claimed")


def school(folder: Path, learners: int, seed: int) -> Path:
    """A copy of the demo study with few learners."""
    folder.mkdir()
    text = (ROOT / "data" / "demo" / "study.toml").read_text(encoding="utf-8")
    (folder / "study.toml").write_text(text.replace('name = "demo"', 'name = "few"'), encoding="utf-8")
    write_demo(folder, learners=learners, seed=seed)
    return folder


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """The report of 2,500 learners: about twenty paid starters a year."""
    base = tmp_path_factory.mktemp("few")
    return run(str(school(base / "few", 2_500, 3)), reports=base / "reports").folder


def test_a_sparse_school_gets_a_whole_report(few):
    found = pd.read_csv(few / "findings.csv")
    assert found["notebook"].nunique() == 7
    stages = found[found["notebook"].str.startswith("07")]
    assert not stages.empty and stages["reason"].notna().any()


def test_no_share_rests_on_a_small_cell(few):
    found = pd.read_csv(few / "findings.csv")
    levels = found[(found["unit"] == "share") & (found["status"] == "described")]
    people = (levels["estimate"] * levels["n_covered"]).round()
    assert (levels["n_covered"] >= 25).all()
    assert ((people == 0) | (people >= 10)).all(), levels.to_string()
    left = levels["n_covered"] - people
    assert ((left == 0) | (left >= 10)).all(), levels.to_string()
    effects = found[(found["unit"] == "share") & (found["status"] == "estimated")]
    assert (effects["n_treated"] >= 25).all() and (effects["n_comparison"] >= 25).all()


def test_a_suppressed_finding_says_nothing_about_its_number(few):
    hidden = pd.read_csv(few / "findings.csv").query("status == 'suppressed'").fillna("")
    assert len(hidden)
    for column in ("estimand", "text", "design", "population"):
        assert not hidden[column].astype(str).str.contains(r"\d+ of \d+|\d\s?%").any(), hidden[column].tolist()


def test_figures_and_tables_show_no_small_share(few):
    told = [path for path in few.rglob("*") if path.suffix in (".csv", ".svg", ".html")]
    small = re.compile(r"(?<![\d.,])([1-9]) people")
    leaks = {path.name: hits for path in told if (hits := small.findall(path.read_text(encoding="utf-8")))}
    assert not leaks


def test_hardly_anybody_is_no_crash(tmp_path):
    folder = run(str(school(tmp_path / "few", 400, 1)), reports=tmp_path / "reports").folder
    found = pd.read_csv(folder / "findings.csv")
    assert set(found["status"]) & {"not_estimable", "suppressed"}


def test_data_brought_along_as_csv(tmp_path):
    """The scaffold as it comes, filled with CSVs that hold a tier its study.toml does not name."""
    folder = create(tmp_path, "mine")
    for name, frame in simulate_school(6_000, seed=2).tables.items():
        frame.to_csv(folder / "tables" / f"{name}.csv", index=False)
    report = run(str(folder), reports=tmp_path / "reports").folder
    assert (report / "index.html").is_file()
