"""Findings as frames and files: what a notebook wrote is read here."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from .record import COLUMNS, COUNTS, NUMBERS, number


def read_documents(folder: str | Path) -> list[dict[str, Any]]:
    """What every notebook wrote below `folder`, in notebook order."""
    paths = sorted((Path(folder) / "findings").glob("*.json"))
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths]


def read_findings(folder: str | Path) -> pd.DataFrame:
    """All findings below `folder`: one row a finding, the fixed columns, in notebook order.

    Reads a finished report (findings.json) or a folder in which notebooks are still writing (findings/*.json).

    Parameters
    ----------
    folder : of a report, such as reports/nsw/1978.
    """
    whole = Path(folder) / "findings.json"
    if whole.exists():
        return to_records(json.loads(whole.read_text(encoding="utf-8")))
    found = [record for document in read_documents(folder) for record in document["findings"]]
    return to_records(found)


def to_frame(findings: Any) -> pd.DataFrame:
    """Findings as a frame with the fixed columns."""
    return to_records([asdict(finding) for finding in findings])


def to_records(records: list[dict[str, Any]]) -> pd.DataFrame:
    """Records of findings as a frame: fixed columns, counts as nullable integers, numbers as floats."""
    frame = pd.DataFrame(records, columns=COLUMNS)
    kinds = {**dict.fromkeys(NUMBERS, "float64"), **dict.fromkeys(COUNTS, "Int64")}
    return frame.astype(kinds)


def rounded(frame: pd.DataFrame) -> pd.DataFrame:
    """Floats at 12 significant digits, so that last-bit differences between machines never reach a file."""
    out = frame.copy()
    for j, kind in enumerate(out.dtypes):
        if getattr(kind, "kind", "") == "f":
            out.isetitem(j, [number(value) for value in out.iloc[:, j]])
    return out
