"""Run a study's notebooks and publish a year's report, whole or not at all. Only here papermill and nbconvert."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..read.contract import require
from ..study import Study, find_project
from . import bundle
from .bundle import RunError
from .normalise import normalise
from .parameters import Parameter, assign, find_notebooks, read_parameters

TEMPLATES = Path(__file__).with_name("templates")
ONE_THREAD = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "ATTRIBUTION_THREADS",
)
KERNEL_ENV = {
    "PYTHONHASHSEED": "0",
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",  # an inherited "Agg" would silently drop every figure
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    **dict.fromkeys(ONE_THREAD, "1"),
}
SECRET = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL)", re.I)


@dataclass(frozen=True, kw_only=True)
class Progress:
    """One step of the run. state: checking | waiting | running | passed | failed | skipped | writing | done."""

    state: str
    notebook: str = ""
    cell: int = 0
    cells: int = 0
    seconds: float = 0.0
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a notebook failed. cell counts all cells of the notebook from 1; line is the cell's first code line."""

    notebook: str
    cell: int
    line: str
    error: str
    message: str
    kept: Path | None = None

    def __str__(self) -> str:
        return f"{self.notebook}, cell {self.cell} ({self.line}): {self.error}: {self.message}"


class NotebookError(RuntimeError):
    """At least one notebook failed; the published report is as it was."""

    def __init__(self, failures: Sequence[Failure], kept: Path, skipped: Sequence[str]):
        self.failures, self.kept, self.skipped = tuple(failures), kept, tuple(skipped)
        super().__init__("; ".join(map(str, failures)))


@dataclass(frozen=True, kw_only=True)
class NotebookRun:
    """One executed notebook. warnings: how many warnings it printed (they stay visible in its page)."""

    name: str
    seconds: float
    warnings: int
    failure: Failure | None = None


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """A published run. draft: only some notebooks ran, and the year's report was not touched."""

    study: str
    year: int
    folder: Path
    seconds: float
    notebooks: tuple[NotebookRun, ...]
    findings: int
    draft: bool = False


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
    opened = _open(study, year)
    root = find_project() if notebooks is None else notebooks.resolve().parent
    folder = notebooks or root / "notebooks"
    sources = _choose(find_notebooks(folder), only, folder)
    declared = _declared(sources)
    given = assign(declared, parameters or {})
    progress(Progress(state="checking", detail="tables against the contract"))
    if isinstance(opened, Study):
        require(opened)
    study = opened
    home = (reports or root / "reports") / study.name
    target = home / ("draft" if only else "") / str(study.year)
    with bundle.lock(home, study.year):
        bundle.clean_leftovers(home, study.year)
        scratch = (home / f".building-{study.year}-{os.getpid()}").resolve()
        scratch.mkdir()
        try:
            if only and (target := home / "draft" / str(study.year)) and (home / str(study.year) / "findings").is_dir():
                shutil.copytree(home / str(study.year) / "findings", scratch / "findings")
            runs = _execute_all(study, root, sources, given, scratch, jobs, timeout, progress)
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
    nbformat = _import_notebooks("nbformat")
    return {name: read_parameters(nbformat.read(path, as_version=4), name) for name, path in sources.items()}


def _effective(declared: Mapping[str, Parameter], given: Mapping[str, Any], study: Any) -> dict[str, Any]:
    """The values a notebook ran with, as the manifest tells them: no machine path."""
    values = {name: parameter.default for name, parameter in declared.items() if name != "out"}
    return {**values, **given, "study": study.name, "year": study.year}


def _import_notebooks(name: str) -> Any:
    """Import papermill & co. without the parser of internationalised addresses, a CPU second nobody here uses.

    jsonschema guards that import with `suppress(ImportError)`; None in sys.modules makes it raise just that.
    """
    import importlib

    parser = "rfc3987_syntax"
    absent = parser not in sys.modules
    if absent:
        sys.modules[parser] = None  # type: ignore[assignment]
    try:
        return importlib.import_module(name)
    finally:
        if absent:
            sys.modules.pop(parser, None)


# -- execute --------------------------------------------------------------------------------------------------------


def _execute_all(
    study: Any,
    root: Path,
    sources: Mapping[str, Path],
    given: Mapping[str, Mapping[str, Any]],
    scratch: Path,
    jobs: int,
    timeout: int | None,
    progress: Callable[[Progress], None],
) -> list[NotebookRun]:
    """Run all but the last notebook side by side, then the last; stop starting new ones after a failure."""
    names = list(sources)
    guard, stop = threading.Lock(), threading.Event()

    def tell(step: Progress) -> None:
        with guard:
            progress(step)

    folder, own = getattr(study, "folder", None), root / "data" / study.name
    label = study.name if folder is None or Path(folder).resolve() == own.resolve() else str(Path(folder).resolve())
    with _kernels() as kernel:

        def one(name: str) -> NotebookRun | None:
            if stop.is_set():
                tell(Progress(state="skipped", notebook=name, detail="not started after a failure"))
                return None
            values = {**given[name], "study": label, "year": study.year, "out": str(scratch)}
            done = _execute(name, sources[name], scratch / "notebooks" / f"{name}.ipynb", values, kernel, timeout, tell)
            if done.failure:
                stop.set()
            return done

        (scratch / "notebooks").mkdir()
        for name in names:
            tell(Progress(state="waiting", notebook=name))
        first, last = (names[:-1], names[-1:]) if len(names) > 1 else (names, [])
        with ThreadPoolExecutor(max(1, jobs)) as pool:
            try:
                results = list(pool.map(one, first))
            except BaseException:
                stop.set()
                kernel.kill_all()
                raise
            try:
                results += [one(name) for name in last]
            except BaseException:
                kernel.kill_all()
                raise
    return [result for result in results if result is not None]


def _execute(
    name: str, source: Path, output: Path, values: Mapping[str, Any], kernel: Any, timeout: int | None,
    tell: Callable[[Progress], None],
) -> NotebookRun:  # fmt: skip
    """Execute one notebook; the verdict comes from the exception raised and from cells that never ran."""
    papermill = _import_notebooks("papermill")
    nbformat = _import_notebooks("nbformat")
    started = time.monotonic()
    total = len(nbformat.read(source, as_version=4).cells)
    at = {"cell": 0, "added": 0}

    def cell_starts(cell: Any, cell_index: int) -> None:
        at["cell"] = cell_index
        at["added"] += _added(cell)
        if cell.cell_type == "code" and not _added(cell):
            tell(Progress(state="running", notebook=name, cell=cell_index + 1 - at["added"], cells=total,
                          seconds=time.monotonic() - started, detail=_first_line(cell.source)))  # fmt: skip

    error: tuple[str, str] | None = None
    try:
        papermill.execute_notebook(
            str(source),
            str(output),
            parameters=dict(values),
            kernel_name="python3",
            language="python",
            progress_bar=False,
            log_output=False,
            start_timeout=120,
            execution_timeout=timeout,
            autosave_cell_every=0,
            shutdown_kernel="immediate",
            kernel_manager_class=kernel,
            on_cell_start=cell_starts,
            resources={"metadata": {"path": str(source.parent)}},  # the kernel's folder, as in Jupyter; papermill's
        )  # cwd= would change the folder of the whole process, under the feet of the other thread
    except Exception as problem:
        kind, text = type(problem).__name__, str(problem)
        if kind == "PapermillExecutionError":
            kind, text = problem.ename, problem.evalue  # type: ignore[attr-defined]
            at["cell"] = problem.cell_index - 1 if problem.cell_index else at["cell"]  # type: ignore[attr-defined]
        elif kind == "DeadKernelError":
            text = "the kernel died (out of memory, or the process ended itself)"
        elif kind == "CellTimeoutError":
            text = f"the cell took longer than {timeout} seconds"
        error = (kind, text)
    if not output.exists():
        shutil.copyfile(source, output)
    notebook = nbformat.read(output, as_version=4)
    if error is None:
        unrun = [j for j, cell in enumerate(notebook.cells)
                 if cell.cell_type == "code" and cell.source.strip() and cell.execution_count is None]  # fmt: skip
        if unrun:
            at["cell"], error = unrun[0], ("CellNotRun", "the cell was never executed (the kernel stopped early)")
    seconds = time.monotonic() - started
    warnings = sum(
        output_.text.count("Warning: ")
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output_ in cell.outputs
        if output_.output_type == "stream" and output_.name == "stderr"
    )
    failure = None
    if error:
        failure = _locate(name, notebook, at["cell"], error)
        notebook = _without_markers(notebook)
        nbformat.write(notebook, output)
    tell(Progress(state="failed" if failure else "passed", notebook=name, cells=total, seconds=seconds,
                  cell=failure.cell if failure else total, detail=str(failure or "")))  # fmt: skip
    return NotebookRun(name=name, seconds=seconds, warnings=warnings, failure=failure)


def _locate(name: str, notebook: Any, index: int, error: tuple[str, str]) -> Failure:
    """Cell number as the author's notebook counts (papermill adds cells of its own), and the cell's first line."""
    cells = notebook.cells
    errored = [j for j, cell in enumerate(cells) if cell.cell_type == "code"
               and any(output.output_type == "error" for output in cell.outputs)]  # fmt: skip
    index = errored[0] if errored else min(index, len(cells) - 1)
    own = [j for j, cell in enumerate(cells[: index + 1]) if not _added(cell)]
    return Failure(
        notebook=name, cell=len(own), line=_first_line(cells[index].source), error=error[0], message=error[1]
    )


def _added(cell: Any) -> bool:
    tags = cell.get("metadata", {}).get("tags", [])
    return any(tag.startswith("papermill-error") or tag == "injected-parameters" for tag in tags)


def _without_markers(notebook: Any) -> Any:
    """papermill puts its own red cells into a failed notebook; the page says it better."""
    notebook.cells = [
        cell
        for cell in notebook.cells
        if not any("papermill-error" in tag for tag in cell.get("metadata", {}).get("tags", []))
    ]
    return notebook


def _first_line(source: str) -> str:
    lines = [line.strip() for line in source.splitlines() if line.strip() and not line.strip().startswith("#")]
    return (lines or [""])[0][:80]


@contextlib.contextmanager
def _kernels() -> Iterator[Any]:
    """A kernel manager class that starts kernels of this very interpreter, over TCP, and remembers them."""
    _import_notebooks("nbclient")
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager
    from traitlets import Unicode

    logging.getLogger("papermill").setLevel(logging.CRITICAL)
    logging.getLogger("traitlets").setLevel(logging.CRITICAL)
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}", "--log-level=50"]
    started: list[Any] = []

    class OwnKernel(AsyncKernelManager):
        """Not whatever kernel this machine calls python3, and not its environment either."""

        transport = Unicode("tcp")

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            started.append(self)

        @property
        def kernel_spec(self) -> Any:
            return KernelSpec(argv=command, env=dict(KERNEL_ENV), display_name="Python 3", language="python")

        @staticmethod
        def kill_all() -> None:
            for manager in started:
                process = getattr(manager.provisioner, "process", None)
                if process is not None and process.poll() is None:
                    process.kill()

    try:
        yield OwnKernel
    finally:
        OwnKernel.kill_all()


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
        _finish_notebook(scratch / "notebooks" / f"{failure.notebook}.ipynb", kept, study, root, scratch, str(failure))
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
    from .pages import write_index

    notebooks = scratch / "notebooks"
    for name in sources:
        _finish_notebook(notebooks / f"{name}.ipynb", notebooks, study, root, scratch)
    documents = bundle.gather(scratch)
    write_index(scratch, study, documents)
    bundle.check_no_person(scratch, bundle.person_ids(study))
    bundle.write_json(scratch / "manifest.json", bundle.manifest(study, effective, sources, scratch))
    seconds = {run.name: run.seconds for run in runs}
    bundle.write_json(scratch / "run.json", bundle.run_facts(root, started, time.time(), seconds))
    return sum(len(document["findings"]) for document in documents)


def _finish_notebook(path: Path, folder: Path, study: Any, root: Path, scratch: Path, failure: str = "") -> None:
    """Write an executed notebook normalised, and its page beside it."""
    nbformat = _import_notebooks("nbformat")
    notebook = normalise(nbformat.read(path, as_version=4), _replacements(study, root, scratch))
    text = nbformat.writes(notebook, version=4)
    (folder / path.name).write_text(text + "\n", encoding="utf-8")
    page = _page(notebook, path.stem, f"{getattr(study, 'title', study.name)}, {study.year}", failure)
    (folder / f"{path.stem}.html").write_text(page, encoding="utf-8")


def _replacements(study: Any, root: Path, scratch: Path) -> dict[str, str]:
    """Machine paths and secrets that outputs may hold, and what is written instead."""
    paths = {str(scratch): f"reports/{study.name}/{study.year}", str(root.resolve()): ".", sys.prefix: "<python>"}
    folder = getattr(study, "folder", None)
    if folder is not None and not Path(folder).resolve().is_relative_to(root.resolve()):
        paths[str(Path(folder).resolve())] = study.name
    if len(str(Path.home())) > 3:
        paths[str(Path.home())] = "~"
    secrets = {value: f"<{name}>" for name, value in os.environ.items() if SECRET.search(name) and len(value) >= 8}
    return {**secrets, **paths}


def _page(notebook: Any, name: str, title: str, failure: str) -> str:
    """One executed notebook as a self-contained page: nothing is loaded from elsewhere, code is folded away."""
    nbconvert = _import_notebooks("nbconvert")
    exporter = nbconvert.HTMLExporter(
        template_name="attribution", extra_template_basedirs=[str(TEMPLATES)], require_js_url="", mathjax_url="",
        exclude_anchor_links=True,
    )  # fmt: skip
    exporter.register_filter("hidden_cell", _hidden)
    heading = next((line[2:].strip() for cell in notebook.cells if cell.cell_type == "markdown"
                    for line in cell.source.splitlines() if line.startswith("# ")), name)  # fmt: skip
    body, _ = exporter.from_notebook_node(
        notebook,
        resources={"metadata": {"name": name}, "page": {"title": title, "heading": heading, "failure": failure}},
    )
    return "\n".join(line.rstrip() for line in body.splitlines()) + "\n"


def _hidden(cell: Any) -> bool:
    """The declared defaults are hidden where injected values follow them; nothing else is."""
    return "parameters" in cell.get("metadata", {}).get("tags", [])
