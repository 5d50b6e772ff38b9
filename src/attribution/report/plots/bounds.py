"""Figure of honest bounds: how the confidence set of an effect widens with the violation of parallel trends."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from ...stress.trends.bounds import Bounds, size_in_words
from . import theme as t
from .designs import rows_of
from .effects import limits
from .words import Unit, known

COLOURS = {"as named": t.TREATED, "with the dip": t.MUTED, "without the dip": t.TREATED}


@t.drawn
def honest_bounds(
    bounds: Bounds, *, unit: str | None = None, title: str | None = None, subtitle: str | None = None,
    footnote: str | None = None,
) -> Figure:  # fmt: skip
    """The usual interval, then the set for each Mbar or M, the line of no effect and where the sets first reach it.

    Parameters
    ----------
    bounds : from `at.relative_magnitudes` or `at.smoothness`; with and without the dip stand side by side.
    unit : "share" is drawn in percentage points.
    """
    table, name = bounds.tidy(), bounds.parameter
    scale = Unit(unit or bounds.unit)
    values = np.sort(table["value"].dropna().unique())
    step = float(np.diff(values).min()) if len(values) > 1 else max(float(values[0]), 1.0)
    first = values[0] - 1.15 * step
    variants = list(bounds.breakdowns)
    note = f"Lines: {bounds.spec['level']:.0%} sets, {bounds.spec['method'].upper()}."
    note = " ".join(filter(None, [note, *(_in_words(bounds, variant, values[-1]) for variant in variants), footnote]))
    if subtitle is None:
        subtitle = f"{bounds.estimand}; {bounds.restriction}"
    fig, (axis,) = t.frame(title or _title(bounds), subtitle, note, height=3.2)
    ends = table[["conf_low", "conf_high"]].to_numpy(float) * scale.factor
    low, high = limits(ends, include=[0.0])
    room = high - low
    low, high = low - 0.06 * room, high + (0.22 if len(variants) > 1 else 0.12) * room
    axis.axhline(0, color=t.INK, lw=0.9, zorder=2)
    axis.axvline(first + 0.575 * step, color=t.GRID, lw=0.9, zorder=1)
    for k, variant in enumerate(variants):
        shift = 0.0 if len(variants) == 1 else (k - 0.5) * 0.16 * step
        for row in rows_of(table[table["pre_periods"] == variant]):
            usual = not known(row.value)
            if usual and k:
                continue  # the same interval, drawn once
            _set(axis, first if usual else row.value + shift, row, scale, (low, high),
                 t.INK if usual else COLOURS[variant])  # fmt: skip
        _mark(axis, bounds, variant, float(values[-1]), high - (0.02 + 0.085 * k) * room)
    for k, variant in enumerate(variants if len(variants) > 1 else []):
        axis.text(0.012, 0.985 - 0.075 * k, variant, transform=axis.transAxes, ha="left", va="top", size=8.5,
                  weight="bold", color=COLOURS[variant])  # fmt: skip
    axis.set_ylim(low, high)
    axis.set_xlim(first - 0.5 * step, values[-1] + 0.5 * step)
    axis.set_xticks([first, *values], ["usual\ninterval", *(f"{v:g}" for v in values)])
    axis.yaxis.set_major_formatter(FuncFormatter(scale.tick))
    axis.set_ylabel(scale.axis)
    axis.set_xlabel(
        "Mbar: largest step after date zero, in largest steps before" if name == "Mbar"
        else "M: change of slope a period that is allowed"
    )  # fmt: skip
    axis.grid(axis="y")
    axis.spines["left"].set_visible(False)
    return fig


def _set(axis, x: float, row, scale: Unit, view: tuple[float, float], colour: str) -> None:
    """One set as a vertical line; arrows where it has no end, a hollow mark where it is empty."""
    if pd.isna(row.conf_low):
        axis.text(x, 0, "empty", rotation=90, ha="center", va="center", size=7.5, color=colour, style="italic",
                  bbox=t.BEHIND)  # fmt: skip
        return
    ends = np.array([row.conf_low, row.conf_high]) * scale.factor
    shown = np.clip(ends, *view)
    axis.plot([x, x], shown, color=colour, lw=2.4, zorder=3, solid_capstyle="butt")
    for end, place, mark in zip(ends, shown, ("v", "^"), strict=True):
        axis.plot(x, place, mark if np.isinf(end) else "_", color=colour, ms=7, mew=1.6, zorder=4)
    if known(row.estimate):
        axis.plot(x, row.estimate * scale.factor, "o", ms=6, color=colour, zorder=4)


def _mark(axis, bounds: Bounds, variant: str, last: float, top: float) -> None:
    """Dashed line at the breakdown value, where it lies inside the drawing."""
    value = bounds.breakdowns[variant]
    if not 0 < value <= last:
        return
    axis.axvline(value, color=COLOURS[variant], lw=1.1, ls=(0, (3, 2)), zorder=2)
    right = value > 0.8 * last  # towards the middle of the drawing
    axis.annotate(f"breakdown {_size(bounds, value)}", (value, top), xytext=(-3 if right else 3, 0), va="top",
                  textcoords="offset points", ha="right" if right else "left", size=7.8, color=COLOURS[variant],
                  style="italic", bbox=t.BEHIND, zorder=5)  # fmt: skip


def _size(bounds: Bounds, value: float) -> str:
    return size_in_words(value, bounds.parameter)


def _in_words(bounds: Bounds, variant: str, last: float) -> str:
    """What the drawing cannot show of a breakdown value."""
    value, name = bounds.breakdowns[variant], bounds.parameter
    lead = "The set" if len(bounds.breakdowns) == 1 else f"{variant[:1].upper()}{variant[1:]} the set"
    if value == 0:
        return f"{lead} holds zero already at {name} = 0."
    if np.isinf(value):
        return f"{lead} reaches zero at no {name} tried."
    if value <= last:
        return ""
    return f"{lead} first reaches zero beyond the drawing, at {name} {_size(bounds, value)}."


def _title(bounds: Bounds) -> str:
    value, steps = bounds.breakdown, bounds.parameter == "Mbar"
    if value == 0:
        return f"Zero cannot be excluded, even if trends part {'no further' if steps else 'in a straight line'}"
    if np.isinf(value):
        return "The effect outlasts every departure from parallel trends tried"
    if steps:
        return f"The effect outlasts trends that part {_size(bounds, value)} times as fast as before"
    return f"The effect outlasts trends that bend by {_size(bounds, value)} a period"
