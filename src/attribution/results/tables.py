"""Tables of results as people read them: aligned text, and HTML for notebooks. Words left, numbers right."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd


def cell(value: Any) -> str:
    """Two decimals with a true minus and none before zero, a dash for what does not exist; words as they are."""
    if isinstance(value, str):
        return value
    if value is None or np.isnan(value):
        return "–"
    if np.isinf(value):
        return "∞" if value > 0 else "\u2212∞"
    text = f"{abs(value):.2f}" if abs(value) < 1000 else f"{abs(value):,.0f}"
    return f"\u2212{text}" if value < 0 and text != "0.00" else text


def as_text(frame: pd.DataFrame) -> str:
    """One line a row, two spaces between columns."""
    columns = []
    for name in frame:
        texts = [str(name), *map(cell, frame[name])]
        width = max(map(len, texts))
        words = not pd.api.types.is_numeric_dtype(frame[name].dtype)
        columns.append([text.ljust(width) if words else text.rjust(width) for text in texts])
    return "\n".join("  ".join(row).rstrip() for row in zip(*columns, strict=True))


def short(value: Any) -> str:
    """Four digits, whole numbers and thousands in full: for quantities in any unit."""
    if value is None or isinstance(value, str) or not np.isfinite(value):
        return cell(value)
    text = f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return text.replace("-", "\u2212")


def amount(value: float, unit: str = "") -> str:
    """A number within a sentence: shares in points, money without decimals, small numbers with three digits."""
    if unit == "share":
        text = f"{100 * value:.1f}"
        return f"{'0.0' if text == '-0.0' else text.replace('-', chr(0x2212))} points"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def as_html(
    head: str, frame: pd.DataFrame, notes: Sequence[str], *, alert: str | None = None,
    show: Callable[[Any], str] = cell,
) -> str:  # fmt: skip
    """The table under its headline, notes below; a last column that says `alert` stands out."""
    style = "padding:2px 14px 2px 0;border:0;white-space:nowrap;text-align:"
    sides = ["right" if pd.api.types.is_numeric_dtype(frame[name].dtype) else "left" for name in frame]
    rows = ["".join(f"<th style='{style}{side}'>{html.escape(str(name))}</th>"
                    for name, side in zip(frame, sides, strict=True))]  # fmt: skip
    for row in frame.itertuples(index=False):
        looks = ["", *[";color:#5d6b75"] * (len(row) - 1)] if alert else [""] * len(row)
        if alert and alert in row[-1]:
            looks = ["", *[""] * (len(row) - 2), ";color:#c4501b"]
        rows.append("".join(f"<td style='{style}{side}{look}'>{html.escape(show(value))}</td>"
                            for value, side, look in zip(row, sides, looks, strict=True)))  # fmt: skip
    body = "".join(f"<tr style='background:none;border-bottom:1px solid #e4e9ec'>{row}</tr>" for row in rows)
    foot = "<br>".join(map(html.escape, notes))
    return (f"<div class='attribution'><b>{html.escape(head)}</b><table style='border-collapse:collapse;"
            f"font-variant-numeric:tabular-nums'>{body}</table><small>{foot}</small></div>")  # fmt: skip
