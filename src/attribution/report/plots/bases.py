"""The answer as a function of the base period."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from ...errors import EstimationError
from ...results import Effects
from . import theme as t
from .effects import limits
from .words import Unit, count


@t.drawn
def base_curve(
    effects: Effects, *, dip: Sequence[int] | None = None, chosen: int | Sequence[int] | None = None,
    unit: str | None = None, level: float = 0.95, period: str = "periods", title: str | None = None,
    subtitle: str | None = None, footnote: str | None = None,
) -> Figure:  # fmt: skip
    """The same effect from one base period after another, the dip shaded, the chosen base in colour.

    Parameters
    ----------
    effects : from `at.base_curve`. dip : (first, last) event time to shade. chosen : the base (or window) of the plan.
    unit : "share" is drawn in percentage points. period : what an event time counts ("quarters", "years").
    """
    labels = effects.labels
    if not {"base_low", "base_high"} <= set(labels):
        raise EstimationError("effects by base period", "labels without base_low and base_high",
                              "make them with at.base_curve")  # fmt: skip
    scale = Unit(unit or effects.unit)
    first, last = labels["base_low"].to_numpy(float), labels["base_high"].to_numpy(float)
    y = effects.estimate * scale.factor
    low, high = (np.asarray(end) * scale.factor for end in effects.conf_int(level))
    pick = None if chosen is None else (min(np.atleast_1d(chosen)), max(np.atleast_1d(chosen)))
    if title is None:
        title = "How much does the answer hang on the base period?"
    if subtitle is None:
        n = int(effects.n_treated.max(initial=0))
        subtitle = f"{effects.estimand}; {count(n)} treated"
    told = (
        f"Bars: {level:.0%} intervals, one at a time. Band: covers all bases at once with {level:.0%}. "
        "Level lines: a window whose mean is the base."
    )
    note = " ".join(filter(None, [told, footnote]))
    fig, (axis,) = t.frame(title, subtitle, note, height=3.0)
    left, right = float(first.min()), float(max(last.max(), max(dip) if dip is not None else -np.inf))
    band = effects.conf_int(level, "simultaneous")
    span = limits(np.concatenate([y, *(np.asarray(end) * scale.factor for end in band)]), include=[0.0])
    axis.set_ylim(span[0] - 0.08 * (span[1] - span[0]), span[1] + 0.18 * (span[1] - span[0]))
    axis.set_xlim(left - 0.7, right + 0.7)
    if dip is not None:
        axis.axvspan(min(dip) - 0.45, max(dip) + 0.45, color=t.SHADE, lw=0, zorder=0, gid="dip")
        axis.text(min(dip) - 0.4, 0.97, "dip", transform=axis.get_xaxis_transform(), va="top", size=7.8, color=t.MUTED,
                  style="italic")  # fmt: skip
    axis.axhline(0, color=t.INK, lw=0.9, zorder=2)
    single = np.flatnonzero(np.isfinite(y) & (first == last))
    single = single[np.argsort(first[single])]
    if len(single) > 1:
        wide_low, wide_high = (np.asarray(end)[single] * scale.factor for end in band)
        axis.fill_between(first[single], wide_low, wide_high, color=t.PALE_COMPARISON, alpha=0.45, lw=0, zorder=1)
    for k in np.flatnonzero(np.isfinite(y)):
        mine = pick is not None and (first[k], last[k]) == pick
        colour = t.TREATED if mine else t.MUTED
        middle = (first[k] + last[k]) / 2
        if last[k] > first[k]:
            axis.plot([first[k] - 0.3, last[k] + 0.3], [y[k], y[k]], color=colour, lw=1.2, alpha=0.6, zorder=3)
        if np.isfinite(low[k]):
            axis.plot([middle, middle], [low[k], high[k]], color=colour, lw=2.2 if mine else 1.5, zorder=3,
                      solid_capstyle="butt")  # fmt: skip
        axis.plot(middle, y[k], "o", ms=7 if mine else 5.5, mfc=colour, mec=colour, zorder=4)
        if mine:
            axis.annotate("chosen", (middle, high[k] if np.isfinite(high[k]) else y[k]), xytext=(0, 5), ha="center",
                          textcoords="offset points", size=8, weight="bold", color=t.TREATED, va="bottom",
                          bbox=t.BEHIND, zorder=5)  # fmt: skip
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=14))
    axis.xaxis.set_major_formatter(FuncFormatter(Unit("").tick))
    axis.yaxis.set_major_formatter(FuncFormatter(scale.tick))
    axis.set_xlabel(f"base period, in {period} since date zero")
    axis.set_ylabel(scale.axis)
    axis.grid(axis="y")
    axis.spines["left"].set_visible(False)
    return fig
