"""What a person at a terminal sees: help, refusals in three clauses, exit codes."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest

from attribution import cli
from attribution.errors import DataError
from attribution.report import runner


def call(capsys, *arguments: str) -> tuple[int, str, str]:
    try:
        cli.main(list(arguments))
        code = 0
    except SystemExit as leave:
        code = int(leave.code or 0)
    out, err = capsys.readouterr()
    return code, out, err


def test_help_names_every_command_and_loads_nothing_heavy():
    script = (
        "import sys; from attribution.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "print([m for m in ('numpy', 'pandas', 'papermill', 'duckdb', 'sqlglot') if m in sys.modules])"
    )
    text = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert all(name in text for name in cli.cli.commands) and text.strip().endswith("[]")
    assert {name for names in cli.GROUPS.values() for name in names} == set(cli.cli.commands)


@pytest.mark.parametrize("command", sorted(cli.cli.commands))
def test_each_command_has_help_with_an_example(capsys, command):
    code, out, _ = call(capsys, command, "--help")
    assert code == 0 and "Usage:" in out and f"  attribution {command}" in out


def test_version(capsys):
    assert call(capsys, "--version")[1].startswith("attribution ")


def test_usage_errors_end_with_two(capsys):
    assert call(capsys, "run", "--yeer", "3")[0] == 2
    assert call(capsys, "simulate", "--learners", "1")[0] == 2


def test_a_refusal_is_told_in_its_clauses(capsys, monkeypatch):
    def refuse(*_, **__):
        raise DataError("one row per person", "doubles", "remove them", table="learners", column="person_id", count=2,
                        keys=["a", "b"])  # fmt: skip

    monkeypatch.setattr(runner, "run", refuse)
    code, _, err = call(capsys, "run", "nsw")
    assert code == 2 and "Traceback" not in err
    for part in ("learners.person_id", "one row per person", "doubles  [2]", "remove them", "a, b"):
        assert part in err
    with pytest.raises(DataError):
        cli.main(["run", "--traceback"])


def test_unknown_study_and_year_are_refused(capsys):
    code, _, err = call(capsys, "run", "nwsw")
    assert code == 2 and "nsw" in err
    code, _, err = call(capsys, "run", "nsw", "--year", "1066")
    assert code == 2 and "1978" in err


def test_parameters_travel_once(capsys, monkeypatch):
    seen = {}

    def publish(study, year, **options):
        seen.update(options, study=study, year=year)
        folder = SimpleNamespace()
        return SimpleNamespace(notebooks=[], study=study, year=2025, findings=0, seconds=1.0, draft=False,
                               folder=__import__("pathlib").Path("/reports"), **vars(folder))  # fmt: skip

    monkeypatch.setattr(runner, "run", publish)
    assert call(capsys, "run", "-p", "level", "0.9", "-p", "seed", "3")[0] == 0
    assert seen["parameters"] == {"level": "0.9", "seed": "3"} and seen["study"] == "demo" and seen["year"] is None
    assert call(capsys, "run", "-p", "level", "0.9", "-p", "level", "0.8")[0] == 2


def test_a_failed_notebook_ends_with_one(capsys, monkeypatch, tmp_path):
    def fail(*_, **__):
        failure = runner.Failure(
            notebook="04_placements",
            cell=5,
            line="at.match(",
            error="DesignError",
            message="no overlap",
            kept=tmp_path / "04_placements.html",
        )
        raise runner.NotebookError([failure], tmp_path, [])

    monkeypatch.setattr(runner, "run", fail)
    code, _, err = call(capsys, "run")
    assert code == 1
    for part in ("04_placements", "cell 5", "at.match(", "DesignError", "no overlap", "as it was"):
        assert part in err


def test_a_new_study_is_made_and_not_overwritten(capsys, monkeypatch, tmp_path):
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("ATTRIBUTION_PROJECT", str(tmp_path))
    code, out, _ = call(capsys, "new", "mine")
    assert code == 0 and "attribution check mine" in out and (tmp_path / "data" / "mine" / "study.toml").exists()
    assert call(capsys, "new", "mine")[0] == 2
    code, out, err = call(capsys, "check", "mine")
    assert code == 2 and "programmes" in err
