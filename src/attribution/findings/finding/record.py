"""One finding: a number the report states, and everything a reader needs to judge it."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import pandas as pd

from ...errors import DataError, EstimationError

STATUSES = ("estimated", "described", "not_estimable", "not_available", "suppressed")
GRADES = ("", "strong", "moderate", "weak", "cannot conclude")
NUMBERS = ("estimate", "std_error", "conf_low", "conf_high", "level", "benchmark")
COUNTS = ("year", "n_treated", "n_comparison", "n_covered", "horizon_months")
# what a suppressed finding does not tell
HIDDEN = ("estimate", "std_error", "conf_low", "conf_high", "n_treated", "n_comparison", "n_covered")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One finding; the fields are the columns of findings.csv, in this order.

    estimate, std_error, conf_low, conf_high are in `unit` ("share", "EUR a quarter", "people", ...); shares are 0 to 1.
    n_treated, n_comparison : units behind the estimate; n_covered : people the finding speaks for.
    status : estimated (an effect), described (a count or share), not_estimable, not_available, suppressed (small cell).
    grade : strong | moderate | weak | cannot conclude, for effects; empty for descriptions. reason : why no number, or
    why that grade. benchmark : a number known from elsewhere, printed beside and never used. text : in words.
    """

    finding_id: str
    study: str
    year: int
    notebook: str
    question: str = ""
    tier: str = ""
    term: str = ""
    estimand: str = ""
    estimate: float | None = None
    std_error: float | None = None
    conf_low: float | None = None
    conf_high: float | None = None
    level: float | None = None
    unit: str = ""
    n_treated: int | None = None
    n_comparison: int | None = None
    n_covered: int | None = None
    population: str = ""
    clock: str = ""
    horizon_months: int | None = None
    pool: str = ""
    design: str = ""
    estimator: str = ""
    status: str = "estimated"
    grade: str = ""
    reason: str = ""
    benchmark: float | None = None
    benchmark_source: str = ""
    text: str = ""

    def __post_init__(self) -> None:
        where: dict[str, Any] = {"table": "findings", "column": self.finding_id}
        for name in NUMBERS:
            object.__setattr__(self, name, number(getattr(self, name)))
        for name in COUNTS:
            object.__setattr__(self, name, _count(getattr(self, name), where))
        if self.status not in STATUSES:
            raise DataError(f"status one of {', '.join(STATUSES)}", repr(self.status), "choose one of them", **where)
        if self.grade not in GRADES:
            raise DataError(f"grade one of {', '.join(GRADES[1:])}", repr(self.grade), "choose one of them", **where)
        if self.status == "estimated":
            self._check_estimate(where)
        elif self.status == "described" and (self.estimate is None or not self.unit or not self.estimand):
            raise EstimationError("a described finding with a number, its unit and what it counts",
                                  "one of them is missing", "give estimate, unit and estimand", **where)  # fmt: skip
        elif self.status in STATUSES[2:]:
            if any(getattr(self, name) is not None for name in HIDDEN[:4]):
                raise EstimationError(f"no number under status {self.status}", "an estimate or interval",
                                      "leave the numbers out", **where)  # fmt: skip
            if not self.reason:
                raise EstimationError(f"a reason for status {self.status}", "none", "say why in `reason`", **where)

    def _check_estimate(self, where: dict[str, Any]) -> None:
        needed = ("estimate", "estimand", "unit", "design", "n_treated")
        missing = [name for name in needed if getattr(self, name) in (None, "")]
        if self.std_error is None and (self.conf_low is None or self.conf_high is None):
            missing.append("std_error or interval")
        if missing:
            raise EstimationError("an effect with its estimand, design, unit, n and uncertainty",
                                  f"no {', no '.join(missing)}",
                                  "complete it, or call not_estimable() with a reason", **where)  # fmt: skip


COLUMNS = [f.name for f in fields(Finding)]


def number(value: Any) -> float | None:
    """A float at 12 significant digits; None where it is missing or not finite."""
    if value is None or pd.isna(value):
        return None
    value = float(value)
    return float(f"{value:.12g}") if math.isfinite(value) else None


def _count(value: Any, where: dict[str, Any]) -> int | None:
    if value is None or pd.isna(value):
        return None
    if float(value) != int(value):
        raise DataError("whole numbers of people, years and months", repr(value), "count people, not weights", **where)
    return int(value)
