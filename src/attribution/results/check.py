"""One question put to a design or an estimate, with its answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from .result import Result


@dataclass(frozen=True, kw_only=True, repr=False)
class Check(Result):
    """One question put to a design or an estimate. A test that merely fails to reject is `passed=None`, never True.

    only_lowers : a refuter or a causal graph: failed, it lowers the grade of the evidence; else it counts for nothing.
    """

    name: str
    question: str
    statistic: float
    std_error: float | None
    threshold: float | None
    passed: bool | None
    text: str
    table: pd.DataFrame | None = None
    only_lowers: bool = False

    @property
    def verdict(self) -> str:
        """passed, failed, or not settled: neither could be shown.

        A check that can only lower the grade has no third answer of that kind: no fault found, or nothing to test.
        """
        if self.passed is not None:
            return "passed" if self.passed else "failed"
        if not self.only_lowers:
            return "not settled"
        return "no fault found" if self.table is None or len(self.table) else "nothing to test"

    def tidy(self) -> pd.DataFrame:
        return pd.DataFrame([{"check": self.name, "question": self.question, "statistic": self.statistic,
                              "std_error": self.std_error, "threshold": self.threshold, "verdict": self.verdict,
                              "text": self.text}])  # fmt: skip

    def summary(self) -> str:
        return f"{self.question} {'FAILED' if self.passed is False else self.verdict}: {self.text}"


def checks_table(checks: Sequence[Check]) -> pd.DataFrame:
    """The checks as one table, in the order given."""
    return pd.concat([check.tidy() for check in checks], ignore_index=True) if checks else pd.DataFrame()
