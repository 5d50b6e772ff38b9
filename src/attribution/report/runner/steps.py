"""What a run tells while it goes, and what it hands back or raises."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


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
