"""Execute notebooks, side by side, and say of each how it went."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from .kernels import import_notebooks, kernels
from .steps import Failure, NotebookRun, Progress


def execute_all(
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
    with kernels() as kernel:

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
                results = list(pool.map(one, first)) + [one(name) for name in last]
            except BaseException:  # before the pool is left: it waits for its notebooks, and they for their kernels
                stop.set()
                kernel.kill_all()
                raise
    return [result for result in results if result is not None]


def _execute(
    name: str, source: Path, output: Path, values: Mapping[str, Any], kernel: Any, timeout: int | None,
    tell: Callable[[Progress], None],
) -> NotebookRun:  # fmt: skip
    """Execute one notebook; the verdict comes from the exception raised and from cells that never ran."""
    papermill = import_notebooks("papermill")
    nbformat = import_notebooks("nbformat")
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
        error = _why(problem, timeout)
        if number := getattr(problem, "cell_index", None):  # papermill's, from 1
            at["cell"] = number - 1
    if not output.exists():
        shutil.copyfile(source, output)
    notebook = nbformat.read(output, as_version=4)
    if error is None and (never := _never_run(notebook)):
        at["cell"], error = never[0], ("CellNotRun", "the cell was never executed (the kernel stopped early)")
    seconds = time.monotonic() - started
    warnings = _count_warnings(notebook)
    failure = None
    if error:
        failure = _locate(name, notebook, at["cell"], error)
        notebook = _without_markers(notebook)
        nbformat.write(notebook, output)
    tell(Progress(state="failed" if failure else "passed", notebook=name, cells=total, seconds=seconds,
                  cell=failure.cell if failure else total, detail=str(failure or "")))  # fmt: skip
    return NotebookRun(name=name, seconds=seconds, warnings=warnings, failure=failure)


def _why(problem: Exception, timeout: int | None) -> tuple[str, str]:
    """The kind of an error and its message: of the cell's own error where a cell raised it."""
    kind = type(problem).__name__
    if kind == "PapermillExecutionError":
        return problem.ename, problem.evalue  # type: ignore[attr-defined]
    if kind == "DeadKernelError":
        return kind, "the kernel died (out of memory, or the process ended itself)"
    if kind == "CellTimeoutError":
        return kind, f"the cell took longer than {timeout} seconds"
    return kind, str(problem)


def _never_run(notebook: Any) -> list[int]:
    """Code cells without an execution count: a kernel that leaves early raises nothing."""
    return [
        j
        for j, cell in enumerate(notebook.cells)
        if cell.cell_type == "code" and cell.source.strip() and cell.execution_count is None
    ]


def _count_warnings(notebook: Any) -> int:
    return sum(
        output.text.count("Warning: ")
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if output.output_type == "stream" and output.name == "stderr"
    )


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
