"""A report is published whole or not at all, and the same inputs give the same bytes."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from pathlib import Path

import pytest
from toys import DRAW, toy

from attribution.errors import AttributionError
from attribution.report.bundle import check_no_person, clean_leftovers
from attribution.report.runner import NotebookError, run


def digests(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob("*")) if path.is_file()}  # fmt: skip


def go(project: Path, study=None, **options):
    return run(study or toy(), notebooks=project / "notebooks", reports=project / "reports", **options)


READ = "from attribution.findings.finding import read_findings\nsorted(read_findings(out)['notebook'])"


def test_a_report_is_whole_and_the_same_twice(project, put, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.setenv("SOME_API_TOKEN", "very-secret-value")
    put(
        "01_reach",
        DRAW.format(name="a"),
        "import os, warnings; warnings.warn('careful')\nprint(os.environ['MPLBACKEND'])\n"
        "print(os.environ['PYTHONHASHSEED'], os.environ['OMP_NUM_THREADS'], os.environ['SOME_API_TOKEN'])",
    )
    put("02_last", READ, question="What do we tell the committee?")
    steps = []
    first = go(project, parameters={"seed": "7"}, progress=steps.append)
    folder = project / "reports" / "toy" / "2024"
    made = digests(folder)
    assert set(made) == {
        "figures/line_a.png", "figures/line_a.svg", "findings.csv", "findings.json", "findings/01_reach.json",
        "findings/02_last.json", "index.html", "manifest.json", "notebooks/01_reach.html", "notebooks/01_reach.ipynb",
        "notebooks/02_last.html", "notebooks/02_last.ipynb", "run.json",
    }  # fmt: skip
    assert first.findings == 2 and first.notebooks[0].warnings == 1
    page = (folder / "notebooks" / "01_reach.ipynb").read_text()
    assert "matplotlib_inline" in page and "0 1 <SOME_API_TOKEN>" in page and "very-secret" not in page
    assert str(project) not in page and "0x0" in page and "careful" in page
    assert "['01_reach']" in (folder / "notebooks" / "02_last.ipynb").read_text()  # it ran after the other
    html = (folder / "notebooks" / "01_reach.html").read_text()
    assert ">40.0 %<" in html
    assert "https://" not in html and "http://" not in html and "<script" not in html
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["seeds"] == {"01_reach.seed": 7, "02_last.seed": 7}
    assert {**made, "run.json": ""} == {**manifest["outputs"], "manifest.json": made["manifest.json"], "run.json": ""}
    assert [step.state for step in steps][-1] == "done" and {"waiting", "running", "passed"} <= {s.state for s in steps}
    go(project, parameters={"seed": 7}, jobs=1)
    again = digests(folder)
    assert {k: v for k, v in again.items() if k != "run.json"} == {k: v for k, v in made.items() if k != "run.json"}
    assert not list(folder.parent.glob(".building*")) and not list(folder.parent.glob(".old*"))


@pytest.fixture
def published(project):
    """A year's report from before."""
    folder = project / "reports" / "toy" / "2024"
    folder.mkdir(parents=True)
    (folder / "index.html").write_text("last year's words")
    return folder


@pytest.mark.parametrize(
    ("cell", "error", "line"),
    [
        ("x = 1\n# a comment", None, ""),
        ("# why\n1 / 0", "ZeroDivisionError", "1 / 0"),
        ("import os; os._exit(3)", "DeadKernelError", "import os; os._exit(3)"),
        ("import time; time.sleep(60)", "CellTimeoutError", "import time; time.sleep(60)"),
        ("import sys; sys.exit(0)", "CellNotRun", ""),
    ],
    ids=["fine", "raises", "dies", "hangs", "leaves"],
)
def test_a_failing_cell_leaves_the_published_year_alone(project, put, published, cell, error, line):
    put("01_only", cell)
    before = digests(published)
    if error is None:
        assert go(project).findings == 1
        return
    with pytest.raises(NotebookError) as caught:
        go(project, timeout=3 if error == "CellTimeoutError" else 60)
    (failure,) = caught.value.failures
    assert failure.notebook == "01_only" and failure.error == error
    if line:
        assert failure.cell == 4 and failure.line == line
    assert digests(published) == before
    kept = project / "reports" / "toy" / "failed" / "2024"
    assert {path.name for path in kept.iterdir()} == {"01_only.ipynb", "01_only.html"}
    assert failure.kept == kept / "01_only.html" and error in failure.kept.read_text()
    assert not list(published.parent.glob(".building*"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"parameters": {"sede": 1}}, "did you mean seed"),
        ({"parameters": {"seed": "many"}}, "seed: int"),
        ({"parameters": {"seed": 1.5}}, "seed: int"),
        ({"parameters": {"seed": True}}, "seed: int"),
        ({"parameters": {"year": 2025}}, "argument of the run"),
        ({"year": 2031}, "2031"),
        ({"only": ["09"]}, "choose from 01_only"),
    ],
)
def test_refusals_come_before_anything_runs(project, put, published, options, message):
    put("01_only")
    before = digests(published)
    with pytest.raises(AttributionError, match=message):
        go(project, **options)
    assert digests(published) == before


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("year = 2024", "one annotated literal"),
        ("import os", "one annotated literal"),
        ("year: int = 2000 + 24", "one annotated literal"),
        ("year: int = '2024'", "year: int|one annotated literal"),
        ("x: list[int] = [\n1]", "one annotated literal"),
        ("year: int =", "that Python can read"),
        ("year: int = 2024", "no study, no out"),
    ],
)
def test_a_parameters_cell_holds_plain_annotated_literals(project, put, cell, message):
    put("01_only", parameters=cell)
    with pytest.raises(AttributionError, match=message):
        go(project)


def test_two_runs_of_one_year_are_refused(project, put, published):
    put("01_only")
    with (published.parent / ".lock-2024").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        with pytest.raises(AttributionError, match="one run of toy 2024 at a time"):
            go(project)


def test_leftovers_of_killed_runs_are_cleaned(tmp_path):
    (tmp_path / ".building-2024-1" / "findings").mkdir(parents=True)
    (tmp_path / ".building-2023-1").mkdir()
    (tmp_path / ".old-2024-1").mkdir()
    (tmp_path / ".old-2024-1" / "index.html").write_text("kept")
    clean_leftovers(tmp_path, 2024)
    assert sorted(os.listdir(tmp_path)) == [".building-2023-1", "2024"]
    assert (tmp_path / "2024" / "index.html").read_text() == "kept"


def test_a_persons_id_in_an_output_is_refused(tmp_path):
    (tmp_path / "findings.csv").write_text("a,b\nL-000123,4\n")
    check_no_person(tmp_path, {"L-000124"})
    with pytest.raises(AttributionError, match="findings.csv"):
        check_no_person(tmp_path, {"L-000123"})
