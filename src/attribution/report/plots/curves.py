"""Placement over the months since date zero."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from . import theme as t
from .designs import require
from .effects import limits
from .words import Unit, pretty


@t.drawn
def rates(
    frame: pd.DataFrame, *, labels: Mapping[str, str] | None = None, unit: str = "share", landmark: int | None = None,
    title: str | None = None, subtitle: str | None = None, footnote: str | None = None,
) -> Figure:  # fmt: skip
    """Placement over the months since date zero, one line an arm, with intervals where given.

    Parameters
    ----------
    frame : one row a month and arm: month, arm, rate (0 to 1; missing = not known or suppressed), optional conf_low,
        conf_high, n. landmark : month to mark (the horizon of the finding). labels : arm -> words.
    """
    require(frame, ("month", "arm", "rate"), "rates")
    scale = Unit(unit, effect=False)
    arms = list(dict.fromkeys(frame["arm"]))
    data = frame.assign(
        month=pd.to_numeric(frame["month"]), rate=pd.to_numeric(frame["rate"], errors="coerce") * scale.factor
    )
    banded = {"conf_low", "conf_high"} <= set(data.columns)
    if title is None:
        title = "How many are in a job, month by month?"
    note = " ".join(filter(None, ["Bands: 95% intervals." if banded else "", footnote]))
    fig, (axis,) = t.frame(title, subtitle or "", note, height=3.1)
    colours = {arm: t.MUTED if "comparison" in str(arm) else None for arm in arms}
    others = [arm for arm in arms if colours[arm] is None]
    colours |= {arm: t.SERIES[k % len(t.SERIES)] for k, arm in enumerate(others)}
    ends: list[tuple[float, str, str]] = []
    for arm in arms:
        part = data[data["arm"] == arm].sort_values("month", kind="stable")
        if banded:
            low, high = (pd.to_numeric(part[c], errors="coerce") * scale.factor for c in ("conf_low", "conf_high"))
            axis.fill_between(part["month"].to_numpy(float), low, high, color=colours[arm], alpha=0.15, lw=0, zorder=1)
        axis.plot(part["month"], part["rate"], color=colours[arm], lw=2, zorder=3, ms=4,
                  marker="o" if len(part) <= 13 else "", clip_on=False)  # fmt: skip
        good = part[part["rate"].notna()]
        if len(good):
            last = good["rate"].iloc[-1]
            ends.append((float(last), f"{pretty(arm, labels)} {scale.value(last / scale.factor)}", str(colours[arm])))
    values = data["rate"].to_numpy(float)
    low, high = limits(values, include=[0.0])
    if banded:
        ends_of = data[["conf_low", "conf_high"]].apply(pd.to_numeric, errors="coerce").to_numpy(float)
        low, high = limits(ends_of * scale.factor, include=[low, high])
        low = max(low, 0.0) if scale.share else low
    high = high + 0.06 * (high - low)
    axis.set_ylim(low, high)
    for place, (_, text, colour) in zip(spread([e[0] for e in ends], 0.062 * (high - low)), ends, strict=True):
        axis.text(1.015, place, "\n".join(t.wrap(text, 1.9, 8.5, "bold", most=2)), transform=axis.get_yaxis_transform(),
                  color=colour, weight="bold", va="center", size=8.5, clip_on=False)  # fmt: skip
    if landmark is not None:
        axis.axvline(landmark, color=t.FAINT, lw=0.9, ls=(0, (3, 3)), zorder=0)
    axis.set_xlim(data["month"].min(), max(data["month"].max(), data["month"].min() + 1))
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=12))
    axis.yaxis.set_major_formatter(FuncFormatter(scale.tick))
    axis.set_xlabel("months since date zero")
    axis.grid(axis="y")
    axis.spines["left"].set_visible(False)
    return fig


def spread(values: Sequence[float], gap: float) -> list[float]:
    """The same positions, pushed apart so that labels do not touch."""
    order = np.argsort(values, kind="stable")
    placed = np.array(values, float)
    for _ in range(50):
        moved = False
        for a, b in zip(order[:-1], order[1:], strict=True):
            short = gap - (placed[b] - placed[a])
            if short > 1e-9:
                placed[a] -= short / 2
                placed[b] += short / 2
                moved = True
        if not moved:
            break
    return placed.tolist()
