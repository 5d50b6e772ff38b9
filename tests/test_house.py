"""The house keeps its shape: imports in one direction, a light front door, thin notebooks."""

from __future__ import annotations

import ast
import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HEAVY = {"dowhy", "statsmodels", "seaborn", "matplotlib", "sklearn", "papermill", "nbconvert", "pandera", "pandas"}
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def test_import_contract():
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("tool", [["ruff", "check", "src", "tests", "data"], ["mypy"]], ids=["ruff", "mypy"])
def test_tools_find_nothing(tool):
    done = subprocess.run([sys.executable, "-m", *tool], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_front_door_is_light():
    code = "import sys, attribution, attribution.cli; print(' '.join(sorted({m.split('.')[0] for m in sys.modules})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not HEAVY & set(done.stdout.split())


def test_every_public_name_resolves():
    import attribution

    assert all(getattr(attribution, name) is not None for name in attribution.__all__)


def test_every_public_function_says_what_it_takes():
    import attribution as at

    public = [getattr(at, name) for name in at.__all__ if name not in ("__version__", "plots")]
    outside = ("attribution.estimate", "attribution.stress")
    functions = [f for f in public if inspect.isfunction(f) and not f.__module__.startswith(outside)]
    assert len(functions) > 30
    takes = [f for f in functions if inspect.signature(f).parameters]
    silent = [f.__name__ for f in takes if "Parameters\n" not in (inspect.getdoc(f) or "")]
    assert not silent


def test_there_are_seven_notebooks():
    assert [path.name[:2] for path in NOTEBOOKS] == [f"{k:02d}" for k in range(1, 8)]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_thin(path):
    cells = json.loads(path.read_text())["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    prose = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells), "outputs in git"
    headings = re.findall(r"^# (.+)$", prose, flags=re.M)
    assert len(headings) == 1 and headings[0].endswith("?"), headings
    for source in code:
        kinds = {type(node) for node in ast.walk(ast.parse(source))}
        assert not kinds & {ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda}, source
    writes = [k for k, source in enumerate(code) if ".write(" in source]
    assert writes == [len(code) - 1], "only the last cell writes"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_parameters_are_annotated_literals(path):
    cells = json.loads(path.read_text())["cells"]
    tagged = [cell for cell in cells if "parameters" in cell["metadata"].get("tags", [])]
    assert len(tagged) == 1
    for line in "".join(tagged[0]["source"]).splitlines():
        node = ast.parse(line).body[0]
        assert isinstance(node, ast.AnnAssign) and isinstance(node.value, ast.Constant), line
        assert "#" in line, f"no comment with unit or allowed values: {line}"
