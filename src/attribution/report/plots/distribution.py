"""The effect along the distribution of income."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from ...errors import EstimationError
from . import theme as t
from .designs import rows_of
from .effects import limits
from .words import Unit, count

if TYPE_CHECKING:
    from ...estimate.distribution import ChangesInChanges

CAPTION = "Effects on deciles, not deciles of effects: the people at a decile may change."


@t.drawn
def deciles(
    result: ChangesInChanges, *, level: float = 0.95, unit: str | None = None, title: str | None = None,
    subtitle: str | None = None, footnote: str | None = None,
) -> Figure:  # fmt: skip
    """Effect on each quantile of the treated, beside the effect on their mean; bounds at an atom drawn as a bar.

    Parameters
    ----------
    result : from `at.changes_in_changes` with one row a quantile: by="overall", or one event time, cohort or period.
    """
    table = result.tidy(level).sort_values("quantile", kind="stable").reset_index(drop=True)
    if table["quantile"].duplicated().any():
        raise EstimationError("one row a quantile", "several event times, cohorts or periods",
                              'draw by="overall", or `result.at(event_time=4)`')  # fmt: skip
    scale = Unit(unit or result.effects.unit)
    drawn = ["estimate", "bound_low", "bound_high", "set_low", "set_high"]
    table[drawn] = table[drawn] * scale.factor
    rows, mean = table[table["quantile"].notna()], table[table["quantile"].isna()]
    n = int(np.nanmax(result.effects.n_treated))
    if title is None:
        title = "How far treatment moved each decile"
    if subtitle is None:
        subtitle = f"{scale.axis}, by quantile of the treated; {count(n)} treated"
    note = f"{CAPTION} Lines: {level:.0%} intervals" + ("; shaded: that of the mean." if len(mean) else ".")
    still = rows["set_low"] == rows["set_high"]
    if rows["at_atom"].any():
        note += " Bars: bounds, where many share one income (an atom such as zero); lines hold both bounds."
    if still.any():
        note += " Hollow: with and without treatment inside an atom, nothing varies."
    fig, (axis,) = t.frame(title, subtitle, " ".join(filter(None, [note, footnote])), height=3.1)
    gap = float(np.diff(rows["quantile"]).min()) if len(rows) > 1 else 0.1
    span = limits(rows[drawn].to_numpy(float), include=[0.0])
    axis.axhline(0, color=t.INK, lw=0.9, zorder=2)
    for row in rows_of(mean):
        axis.axhspan(row.set_low, row.set_high, color=t.SHADE, lw=0, zorder=0)
        axis.axhline(row.estimate, color=t.CLAIM, lw=1.4, zorder=1)
        axis.text(1.01, row.estimate, f"mean\n{scale.value(row.estimate / scale.factor)}", color="#8a6108", size=8,
                  weight="bold", va="center", transform=axis.get_yaxis_transform())  # fmt: skip
        span = limits(np.array([row.set_low, row.set_high]), include=span)
    for row in rows_of(rows):
        q, ends = row.quantile, (row.set_low, row.set_high)
        axis.plot([q, q], ends, color=t.TREATED, lw=1.6, zorder=3, solid_capstyle="butt")
        if row.at_atom:
            axis.bar(q, row.bound_high - row.bound_low, 0.34 * gap, bottom=row.bound_low, color=t.PALE_TREATED,
                     edgecolor=t.TREATED, lw=1.1, zorder=4, gid="bounds")  # fmt: skip
        else:
            axis.plot(q, row.estimate, "o", ms=6, mec=t.TREATED, mew=1.4, zorder=4,
                      mfc=t.PAPER if ends[0] == ends[1] else t.TREATED)  # fmt: skip
    pad = 0.08 * (span[1] - span[0])
    axis.set_ylim(span[0] - pad, span[1] + pad)
    axis.set_xlim(rows["quantile"].min() - 0.6 * gap, rows["quantile"].max() + 0.6 * gap)
    axis.set_xticks(rows["quantile"].to_numpy())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3g}%"))
    axis.yaxis.set_major_locator(MaxNLocator(nbins=7, steps=[1, 2, 2.5, 5, 10]))
    axis.yaxis.set_major_formatter(FuncFormatter(scale.tick))
    axis.set_xlabel("quantile: share of the treated with less, with and without treatment")
    axis.set_ylabel(scale.axis if len(scale.axis) < 45 else scale.axis.split(",")[0])
    axis.grid(axis="y")
    axis.spines["left"].set_visible(False)
    return fig
