"""Run a study's notebooks and publish a year's report, whole or not at all. Only here papermill and nbconvert."""

from .steps import Failure, NotebookError, NotebookRun, Progress, RunResult
from .year import run

__all__ = ["Failure", "NotebookError", "NotebookRun", "Progress", "RunResult", "run"]
