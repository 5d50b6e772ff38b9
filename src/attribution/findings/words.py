"""Findings in words and rounded numbers, for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of a frame as dicts."""
    return [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]


def human_table(frame: pd.DataFrame) -> pd.DataFrame:
    """Display table of findings: what, estimate with interval, n, grade; suppressed and missing ones in words."""
    rows = []
    for record in records(frame):
        rows.append({
            "tier": record["tier"], "what": record["estimand"] or record["term"], "result": say_estimate(record),
            "interval": say_interval(record),
            "people": say_number(record["n_covered"], "people"),
            "grade": record["grade"] or "", "note": record["text"] or record["reason"] or "",
        })  # fmt: skip
    table = pd.DataFrame(rows).fillna("")
    return table[[name for name in table.columns if (table[name] != "").any()]]


def say_number(value: Any, unit: str) -> str:
    """A number for people: shares as percent, counts and money without decimals."""
    if value is None or pd.isna(value):
        return ""
    if unit == "share":
        return f"{100 * value:.1f} %"
    if unit in ("share points", "percentage points", "points"):
        return f"{value:+.1f} points"
    size = abs(value)
    digits = 0 if size >= 100 or float(value).is_integer() else 1 if size >= 10 else 2 if size >= 0.1 else 3
    text = f"{value:,.{digits}f}"
    return "0" if text.strip("-0.,") == "" else text


def say_estimate(record: Mapping[str, Any]) -> str:
    """The result cell: a formatted number with its unit, or the status in words."""
    if record["status"] in ("not_estimable", "not_available", "suppressed"):
        return record["status"].replace("_", " ")
    unit = record["unit"]
    if unit == "share" and record["status"] == "estimated" and record.get("term") != "counterfactual":
        return f"{100 * record['estimate']:+.1f} points"
    number = say_number(record["estimate"], unit)
    return number if unit in ("share", "share points", "percentage points", "points") else f"{number} {unit}".strip()


def say_interval(record: Mapping[str, Any]) -> str:
    """The interval in the unit of the result."""
    low, high = record["conf_low"], record["conf_high"]
    if pd.isna(low) or pd.isna(high):
        return ""
    if record["unit"] == "share":
        sign = "+" if record["status"] == "estimated" and record.get("term") != "counterfactual" else ""
        return f"{100 * low:{sign}.1f} to {100 * high:{sign}.1f}"
    return f"{say_number(low, record['unit']).removesuffix(' points')} to " \
           f"{say_number(high, record['unit']).removesuffix(' points')}"  # fmt: skip
