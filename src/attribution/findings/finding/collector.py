"""The collector a notebook fills step by step; its last cell calls `write(out)`, the only place that writes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from ...errors import DataError, EstimationError
from ...inference import normal_interval, wilson
from ...results import Effects
from ..words import Answer, human_table, refused
from . import figures
from .files import rounded, to_frame
from .record import COLUMNS, HIDDEN, Finding, number

NAME = re.compile(r"[a-z][a-z0-9_]*")


class Findings:
    """Collector of one notebook's findings, figures and tables.

    Parameters
    ----------
    study : a Study (its name, year, clock, horizon and disclosure rules become defaults), or a name with `year=`.
    notebook : the notebook's file name without suffix ("04_placements"). question : its H1.
    **common : any Finding field shared by all of this notebook's findings (population, clock, design, ...).
    """

    def __init__(self, study: Any, notebook: str, question: str = "", *, year: int | None = None, **common: Any):
        self.study = study if isinstance(study, str) else study.name
        self.year = year if year is not None else int(getattr(study, "year", 0) or 0)
        self.notebook, self.question = notebook, question
        self.common = {**_study_defaults(study), **common}
        rules = getattr(study, "disclosure", None)
        self.min_cell = int(_read(rules, "min_cell", 10))
        self.min_cell_sensitive = int(_read(rules, "min_cell_sensitive", 11))
        self.percent_min_n = int(_read(rules, "percent_min_n", 25))
        self._findings: dict[str, Finding] = {}
        self._figures: dict[str, tuple[Any, str]] = {}
        self._tables: dict[str, tuple[pd.DataFrame, str]] = {}
        self._answer = ""
        self._tiers = {name: tier.title for name, tier in dict(getattr(study, "tiers", {})).items()
                       if hasattr(tier, "title") and not callable(tier.title)}  # fmt: skip
        self._pools = dict(_read(getattr(study, "comparison", None), "titles", {}) or {})

    # -- adding -------------------------------------------------------------------------------------------------

    def add(self, name: str, effects: Effects | None = None, *, term: str | None = None, row: int | None = None,
            level: float = 0.95, **columns: Any) -> Finding:  # fmt: skip
        """Add an effect from an `Effects` (its only row, the row of `term`, or row number `row`) or from numbers.

        `grade` may be a Grade: its level and reasons are taken. Cells below the study's minimum are suppressed.
        """
        if effects is not None:
            columns = {**_from_effects(effects, term, row, level), **columns}
        else:
            columns = {"term": term or "", "level": level, **columns}
        columns = _with_grade({**columns, "status": columns.get("status", "estimated")})
        columns = _with_interval(columns)
        columns["estimand"] = str(columns.get("estimand", "")).partition(" (")[0]  # "525 of 529" would tell of the 4
        floor = self.percent_min_n if columns.get("unit") == "share" else self.min_cell_sensitive
        counts = [columns.get(key) for key in ("n_treated", "n_comparison")]
        if any(n is not None and 0 < n < floor for n in counts):
            return self._suppress(name, columns, f"fewer than {floor} people in one of the groups")
        return self._keep(name, columns)

    def describe(self, name: str, estimate: float | None = None, *, count: int | None = None, n: int | None = None,
                 sensitive: bool = False, level: float = 0.95, **columns: Any) -> Finding:  # fmt: skip
        """Add a description: a number (`estimate` with `unit`), a count of people, or the share `count` / `n`.

        A share gets a Wilson interval; a share of fewer than `percent_min_n` people, or one that rests on (or leaves
        out) fewer than the minimum cell, is suppressed. `sensitive` raises the minimum (income, disability, refugee).
        """
        floor = self.min_cell_sensitive if sensitive else self.min_cell
        columns = {"status": "described", **columns}
        if count is not None and n is not None:
            low, high = wilson(count, n, level) if n else (None, None)
            share = count / n if n else None
            columns = {"unit": "share", "estimate": share, "conf_low": low, "conf_high": high, "level": level,
                       "n_covered": n, **columns}  # fmt: skip
            if n == 0:
                return self.not_available(name, "nobody in this group", **_labels(columns))
            if n < self.percent_min_n:
                return self._suppress(name, columns, f"a share of fewer than {self.percent_min_n} people")
            if 0 < count < floor or 0 < n - count < floor:
                return self._suppress(name, columns, f"fewer than {floor} people on one side of the share")
        elif count is not None:
            columns = {"unit": "people", "estimate": count, "n_covered": count, **columns}
            if 0 < count < floor:
                return self._suppress(name, columns, f"fewer than {floor} people")
        else:
            columns = {"estimate": estimate, "n_covered": n, **columns}
            if n is not None and 0 < n < floor:
                return self._suppress(name, columns, f"fewer than {floor} people")
        return self._keep(name, _with_interval({"level": level, **columns}))

    def not_estimable(self, name: str, reason: str, **columns: Any) -> Finding:
        """Say that an effect cannot be estimated, and why. `grade` may still carry "cannot conclude"."""
        columns = _with_grade({**columns, "reason": reason})
        return self._keep(name, {**columns, "status": "not_estimable", "reason": refused(reason)})

    def not_available(self, name: str, reason: str, **columns: Any) -> Finding:
        """Say that the data for a finding do not exist (yet), and why."""
        return self._keep(name, {**columns, "status": "not_available", "reason": reason})

    def suppressed(
        self, name: str, reason: str = "a small cell, or one that would reveal it", **columns: Any
    ) -> Finding:
        """Say that a number exists and may not be shown (as when `protect_table` hid it)."""
        return self._suppress(name, columns, reason)

    def figure(self, name: str, figure: Any, caption: str) -> None:
        """Show a drawn matplotlib figure in the notebook and keep it; `write` saves it as SVG and PNG."""
        self._check_name(name, self._figures)
        self._figures[name] = (figure, caption)
        figures.show(figure, caption)

    def show_table(self, name: str, frame: pd.DataFrame, caption: str) -> pd.DataFrame:
        """Keep a table (already protected) that `write` saves as CSV, and return it for display, its caption above."""
        self._check_name(name, self._tables)
        self._tables[name] = (frame.copy(), caption)
        frame.attrs["caption"] = caption
        return frame

    def answer(self, text: str) -> str:
        """The notebook's answer in words, shown first on the report's page."""
        self._answer = " ".join(str(text).split())
        return Answer(self._answer)

    # -- reading ------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._findings)

    def frame(self) -> pd.DataFrame:
        """All findings, the fixed columns, in the order they were added."""
        return to_frame(self._findings.values())

    def table(self, part: str = "") -> pd.DataFrame:
        """The findings for people (those with `part` in their name): words, rounded numbers, no empty columns."""
        chosen = [finding for name, finding in self._findings.items() if part in name]
        return human_table(to_frame(chosen), self._tiers, self._pools)

    def write(self, out: str | Path = "") -> pd.DataFrame:
        """Write findings, figures and tables below `out` and return the display table; out="" writes nothing."""
        if not str(out):
            return self.table()
        folder = Path(out)
        if not folder.is_absolute():
            raise DataError("an absolute folder in `out`", f"{str(out)!r}", 'use out="" to try things interactively')
        for part in ("findings", "figures", "tables"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        document = {
            "notebook": self.notebook,
            "question": self.question,
            "answer": self._answer,
            "findings": [asdict(finding) for finding in self._findings.values()],
            "figures": [{"name": name, "caption": caption} for name, (_, caption) in self._figures.items()],
            "tables": [{"name": name, "caption": caption} for name, (_, caption) in self._tables.items()],
        }
        for name, (figure, _) in self._figures.items():
            figures.save(figure, folder / "figures" / name)
        for name, (frame, _) in self._tables.items():
            rounded(frame).to_csv(folder / "tables" / f"{name}.csv", index=False, lineterminator="\n")
        text = json.dumps(document, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False)
        (folder / "findings" / f"{self.notebook}.json").write_text(text + "\n", encoding="utf-8")
        return self.table()

    # -- inside -------------------------------------------------------------------------------------------------

    def _check_name(self, name: str, taken: Mapping[str, Any]) -> None:
        if not NAME.fullmatch(name):
            raise DataError("a name of lower-case letters, digits and _", repr(name), "rename it")
        if name in taken:
            raise DataError("each name once in a notebook", f"{name!r} twice", "rename the second")

    def _keep(self, name: str, columns: dict[str, Any]) -> Finding:
        self._check_name(name, self._findings)
        unknown = sorted(set(columns) - set(COLUMNS))
        if unknown:
            raise DataError("only the fixed columns of a finding", f"{', '.join(unknown)}", f"use {', '.join(COLUMNS)}")
        values = {**self.common, "question": self.question, **columns}
        values = {key: value for key, value in values.items() if value is not None}
        finding = Finding(**{**values, "finding_id": f"{self.notebook}.{name}", "study": self.study,
                             "year": self.year, "notebook": self.notebook})  # fmt: skip
        self._findings[name] = finding
        return finding

    def _suppress(self, name: str, columns: dict[str, Any], reason: str) -> Finding:
        return self._keep(name, {**_labels(columns), "status": "suppressed", "reason": reason})


# -- small helpers --------------------------------------------------------------------------------------------------


def _read(section: Any, name: str, default: Any) -> Any:
    if isinstance(section, Mapping):
        return section.get(name, default)
    return getattr(section, name, default)


def _study_defaults(study: Any) -> dict[str, Any]:
    if isinstance(study, str):
        return {}
    return {"clock": _read(getattr(study, "clock", None), "date_zero", ""),
            "horizon_months": getattr(study, "horizon_months", None)}  # fmt: skip


def _labels(columns: dict[str, Any]) -> dict[str, Any]:
    return {
        key: value for key, value in columns.items() if key not in HIDDEN and key not in ("status", "level", "text")
    }


def _from_effects(effects: Effects, term: str | None, row: int | None, level: float) -> dict[str, Any]:
    tidy = effects.tidy(level)
    if term is not None:
        tidy = tidy[tidy["term"] == term]
    if row is not None:
        tidy = tidy.iloc[[row]]
    if len(tidy) != 1:
        raise EstimationError(
            "one estimate for one finding",
            f"{len(tidy)} rows" + (f" of term {term!r}" if term else ""),
            "choose with term= or row=",
            keys=effects.labels["term"].tolist(),
        )
    one = tidy.iloc[0]
    names = ("term", "estimand", "estimate", "std_error", "conf_low", "conf_high", "unit", "n_treated", "n_comparison")
    return {**{name: one[name] for name in names}, "level": level, "n_covered": one["n_treated"]}


def _with_interval(columns: dict[str, Any]) -> dict[str, Any]:
    """Normal interval where only a standard error was given; no level where there is no interval."""
    estimate, se = number(columns.get("estimate")), number(columns.get("std_error"))
    if columns.get("conf_low") is None and estimate is not None and se is not None:
        low, high = normal_interval(estimate, se, columns.get("level", 0.95))
        columns = {**columns, "conf_low": float(low), "conf_high": float(high)}
    if columns.get("conf_low") is None:
        columns = {key: value for key, value in columns.items() if key != "level"}
    return columns


def _with_grade(columns: dict[str, Any]) -> dict[str, Any]:
    """A Grade object becomes its level and, unless a reason is given, its reasons."""
    grade = columns.get("grade")
    if grade is None or isinstance(grade, str):
        return columns
    return {**columns, "grade": grade.level, "reason": columns.get("reason") or " ".join(grade.reasons)}
