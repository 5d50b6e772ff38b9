"""Run a study's notebooks and publish a year's report, whole or not at all."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...read.contract import require
from ...study import Study, find_project
from .. import bundle
from ..bundle import RunError
from ..pages import write_index
from ..parameters import Parameter, assign, find_notebooks, read_parameters
from .kernels import import_notebooks
from .notebooks import execute_all
from .page import finish_notebook
from .steps import NotebookError, NotebookRun, Progress, RunResult


def run(
    study: Any, year: int | None = None, *, notebooks: Path | None = None, only: Sequence[str] = (),
    parameters: Mapping[str, Any] | None = None, jobs: int = 2, timeout: int | None = 1800,
    reports: Path | None = None, progress: Callable[[Progress], None] = lambda step: None,
) -> RunResult:  # fmt: skip
    """Execute the notebooks of a study for one year and publish `reports/<study>/<year>/`.

    Everything is built in a scratch folder beside the target and moved in place by two renames when all notebooks have
    passed; until then, and after any failure, the year's folder stays as it was.

    Parameters
    ----------
    study : name of a folder in data/, path to a study folder, or an opened Study. year : default of study.toml.
    notebooks : their folder (default: the project's). only : run just these (a draft; the published year stays).
    parameters : values beyond study, year and out, by name; each goes to every notebook that declares it.
    jobs : notebooks at a time; the last one always runs after all others, because it reads their findings.
    timeout : seconds a cell may take. reports : where reports go. progress : called with every `Progress` step.

    Raises
    ------
    AttributionError : study, year, data or parameters are refused, or another run holds the lock. Nothing was run.
    NotebookError : a notebook failed; what it did so far is kept in `reports/<study>/failed/<year>/`.
    """
    started = time.time()
    progress(Progress(state="checking", detail="the study and its parameters"))
    study = _open(study, year)
    root = find_project() if notebooks is None else notebooks.resolve().parent
    folder = notebooks or root / "notebooks"
    sources = _choose(find_notebooks(folder), only, folder)
    declared = _declared(sources)
    given = assign(declared, parameters or {})
    progress(Progress(state="checking", detail="tables against the contract"))
    if isinstance(study, Study):
        require(study)
    home = (reports or root / "reports") / study.name
    published = home / str(study.year)
    target = home / "draft" / str(study.year) if only else published
    with bundle.lock(home, study.year):
        bundle.clean_leftovers(home, study.year)
        scratch = (home / f".building-{study.year}-{os.getpid()}").resolve()
        scratch.mkdir()
        try:
            if only and (published / "findings").is_dir():  # what the other notebooks found, for those that read it
                shutil.copytree(published / "findings", scratch / "findings")
            runs = execute_all(study, root, sources, given, scratch, jobs, timeout, progress)
            _verdict(runs, scratch, home, study, root)
            progress(Progress(state="writing", detail="pages, findings and manifest"))
            effective = {name: _effective(declared[name], given[name], study) for name in sources}
            count = _publish(study, root, sources, effective, scratch, runs, started)
            target.parent.mkdir(parents=True, exist_ok=True)
            bundle.swap(scratch, target)
            shutil.rmtree(home / "failed" / str(study.year), ignore_errors=True)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    seconds = time.time() - started
    progress(Progress(state="done", seconds=seconds, detail=str(target)))
    return RunResult(study=study.name, year=study.year, folder=target, seconds=seconds, notebooks=tuple(runs),
                     findings=count, draft=bool(only))  # fmt: skip


# -- before ---------------------------------------------------------------------------------------------------------


def _open(study: Any, year: int | None) -> Any:
    if isinstance(study, str | Path):
        return Study.open(study, year=year, check=False)
    if year is not None and year != study.year:
        raise RunError(f"the opened study's year {study.year}", f"year = {year}", "open the study for that year")
    return study


def _choose(found: dict[str, Path], only: Sequence[str], folder: Path) -> dict[str, Path]:
    if not found:
        raise RunError("notebooks to run", f"no .ipynb in {folder}", "run the command inside the project")
    if not only:
        return found
    chosen = {}
    for wish in only:
        stem = Path(wish).stem
        fits = [name for name in found if name == stem or name.startswith(f"{stem}_") or name.startswith(f"0{stem}_")]
        if len(fits) != 1:
            raise RunError("a notebook of the project", f"--only {wish}", f"choose from {', '.join(found)}")
        chosen[fits[0]] = found[fits[0]]
    return dict(sorted(chosen.items()))


def _declared(sources: Mapping[str, Path]) -> dict[str, dict[str, Parameter]]:
    nbformat = import_notebooks("nbformat")
    return {name: read_parameters(nbformat.read(path, as_version=4), name) for name, path in sources.items()}


def _effective(declared: Mapping[str, Parameter], given: Mapping[str, Any], study: Any) -> dict[str, Any]:
    """The values a notebook ran with, as the manifest tells them: no machine path."""
    values = {name: parameter.default for name, parameter in declared.items() if name != "out"}
    return {**values, **given, "study": study.name, "year": study.year}


# -- after ----------------------------------------------------------------------------------------------------------


def _verdict(runs: Sequence[NotebookRun], scratch: Path, home: Path, study: Any, root: Path) -> None:
    """Raise if a notebook failed, after keeping it aside for reading."""
    failures = [run.failure for run in runs if run.failure]
    if not failures:
        return
    kept = home / "failed" / str(study.year)
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir(parents=True)
    for failure in failures:
        finish_notebook(scratch / "notebooks" / f"{failure.notebook}.ipynb", kept, study, root, scratch, str(failure))
    done = {run.name for run in runs}
    skipped = sorted(set(find_notebooks(scratch / "notebooks")) - done)
    raise NotebookError(
        [replace(failure, kept=kept / f"{failure.notebook}.html") for failure in failures], kept, skipped
    )


def _publish(
    study: Any, root: Path, sources: Mapping[str, Path], effective: Mapping[str, Mapping[str, Any]], scratch: Path,
    runs: Sequence[NotebookRun], started: float,
) -> int:  # fmt: skip
    """Everything of the report that is made after the notebooks; returns the number of findings."""
    notebooks = scratch / "notebooks"
    for name in sources:
        finish_notebook(notebooks / f"{name}.ipynb", notebooks, study, root, scratch)
    documents = bundle.gather(scratch)
    write_index(scratch, study, documents)
    bundle.check_no_person(scratch, bundle.person_ids(study))
    bundle.write_json(scratch / "manifest.json", bundle.manifest(study, effective, sources, scratch))
    seconds = {run.name: run.seconds for run in runs}
    bundle.write_json(scratch / "run.json", bundle.run_facts(root, started, time.time(), seconds))
    return sum(len(document["findings"]) for document in documents)
