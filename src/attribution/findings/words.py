"""Findings in words and rounded numbers, for people."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

import pandas as pd


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of a frame as dicts."""
    return [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]


class Told(pd.DataFrame):
    """A frame whose notebook display shows every word and no row numbers."""

    @property
    def _constructor(self) -> type[pd.DataFrame]:
        return pd.DataFrame

    def _repr_html_(self) -> str:
        with pd.option_context("display.max_colwidth", None):
            return self.to_html(index=False, border=0, classes="told")


class Answer(str):
    """A text that a notebook shows as a paragraph."""

    def _repr_html_(self) -> str:
        return f"<p class='answer'>{html.escape(self)}</p>"


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
    return Told(table[[name for name in table.columns if (table[name] != "").any()]])


POINTS = ("points", "share points", "percentage points")
NO_NUMBER = ("not_estimable", "not_available", "suppressed")
AS_IT_STANDS = ("counterfactual", "observed", "claimed", "verified")  # levels, not differences: no plus sign


def say_number(value: Any, unit: str, *, signed: bool = False, scale: float | None = None) -> str:
    """A number for people: shares as percent, counts and money without decimals.

    signed : a difference, so it carries its sign (and a share is told in points). scale : size that sets the number of
    decimals, so that the ends of an interval match.
    """
    if value is None or pd.isna(value):
        return ""
    plus = "+" if signed else ""
    if unit == "share":
        return f"{100 * value:{plus}.1f} {'points' if signed else '%'}"
    if unit in POINTS:
        return f"{value:+.1f} points"
    size = abs(value if scale is None else scale)
    whole = scale is None and float(value).is_integer()
    digits = 0 if size >= 100 or whole else 1 if size >= 10 else 2 if size >= 0.1 else 3
    text = f"{value:{plus},.{digits}f}"
    return "0" if text.strip("+-0.,") == "" else text


def say_estimate(record: Mapping[str, Any]) -> str:
    """The result cell: a formatted number with its unit, or the status in words."""
    if record["status"] in NO_NUMBER:
        return record["status"].replace("_", " ")
    unit = record["unit"]
    number = say_number(record["estimate"], unit, signed=_signed(record))
    return number if unit in ("share", *POINTS) else f"{number} {unit}".strip()


def say_interval(record: Mapping[str, Any]) -> str:
    """The interval in the unit of the result."""
    low, high = record["conf_low"], record["conf_high"]
    if pd.isna(low) or pd.isna(high) or record["status"] in NO_NUMBER:
        return ""
    ends = [
        say_number(end, record["unit"], signed=_signed(record), scale=max(abs(low), abs(high))) for end in (low, high)
    ]
    return " to ".join(end.removesuffix(" points").removesuffix(" %") for end in ends)


def _signed(record: Mapping[str, Any]) -> bool:
    return record["status"] == "estimated" and record["term"] not in AS_IT_STANDS
