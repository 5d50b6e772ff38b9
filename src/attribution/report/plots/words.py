"""Numbers and names as people read them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from ...findings.words import pretty

MINUS, MISSING = "\u2212", "–"


def in_words(text: str, labels: Mapping[str, str] | None = None) -> str:
    """A sentence with the column names in it replaced by words."""
    return re.sub(r"\b[a-z][a-z0-9]*(?:_[a-z0-9]+)+\b", lambda name: pretty(name[0], labels).lower(), text)


def known(value: Any) -> bool:
    """True for a finite number."""
    try:
        return value is not None and math.isfinite(float(value))
    except (TypeError, ValueError):
        return False


def decimals(value: float) -> int:
    """Digits after the point that a number of this size deserves."""
    size = abs(value)
    if size >= 100 or size == 0:
        return 0
    if size >= 1:
        return 1
    return min(9, 1 - math.floor(math.log10(size)))


def number(value: Any, digits: int | None = None, *, signed: bool = False) -> str:
    """12,345 · −0.12 · 1.5 m; an en dash where there is none."""
    if not known(value):
        return MISSING
    value = float(value)
    suffix = ""
    if abs(value) >= 1e6:
        value, suffix = (value / 1e9, " bn") if abs(value) >= 1e9 else (value / 1e6, " m")
        digits = 1
    digits = decimals(value) if digits is None else digits
    text = f"{abs(value):,.{digits}f}"
    zero = not text.strip("0.,")
    sign = "" if zero else MINUS if value < 0 else "+" if signed else ""
    return sign + text + suffix


def count(value: Any) -> str:
    """A number of people."""
    return f"{round(float(value)):,}" if known(value) else MISSING


def intervals(level: Any) -> str:
    """What the thin lines of a figure are."""
    return f"Lines: {float(level):.0%} intervals." if known(level) else "Lines: 95% intervals."


class Unit:
    """How a result's unit is drawn: shares in percent or percentage points, everything else as it is.

    effect : True for differences (signed; percentage points), False for levels.
    """

    def __init__(self, unit: str | None, *, effect: bool = True):
        self.unit, self.effect = unit or "", effect
        self.share = self.unit in ("share", "probability", "proportion")
        self.factor = 100.0 if self.share else 1.0

    @property
    def axis(self) -> str:
        """Axis title."""
        if self.share:
            return "percentage points" if self.effect else "percent"
        return self.unit

    def value(self, value: Any, digits: int | None = None) -> str:
        """A number with its sign (effects) and its percent mark (levels)."""
        if not known(value):
            return MISSING
        scaled = float(value) * self.factor
        if digits is None and self.share and abs(scaled) >= 0.1:
            digits = 1
        return number(scaled, digits, signed=self.effect) + ("%" if self.share and not self.effect else "")

    def interval(self, estimate: Any, low: Any, high: Any) -> str:
        """`+11.1 [+2.6, +19.6]`, all three with the digits of the estimate."""
        parts = [float(v) * self.factor for v in (estimate, low, high) if known(v)]
        if not parts:
            return MISSING
        largest = max(abs(v) for v in parts)
        digits = 1 if self.share and largest >= 0.1 else decimals(largest)
        small = known(estimate) and estimate != 0 and abs(float(estimate)) * self.factor < 0.5 * 10**-digits
        text = self.value(estimate, None if small else digits)
        if known(low) and known(high):
            text += f" [{self.value(low, digits)}, {self.value(high, digits)}]"
        return text

    def tick(self, value: float, _: Any = None) -> str:
        """Axis tick, already scaled."""
        text = number(value, _tick_digits(value), signed=self.effect)
        return text + ("%" if self.share and not self.effect else "")


def _tick_digits(value: float) -> int:
    for digits in range(10):
        if abs(value - round(value, digits)) <= 1e-6 * abs(value):
            return digits
    return 9


def whose(estimand: str | None) -> str:
    """Whom a figure speaks for, where units were left out; the counts stay in the tables, which hide few."""
    words = re.sub(r" \([0-9,]+ of [0-9,]+\)", "", estimand or "")
    return f"Speaks for: {words}." if words else ""
