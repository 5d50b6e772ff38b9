"""Figure of who gains: what can be said of the share of people who are better off."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from ...estimate.gains import Gains
from . import theme as t
from .designs import rows_of
from .words import count, number, pretty


@t.drawn
def share_who_gain(
    result: Gains, *, unit: str | None = None, labels: Mapping[str, str] | None = None, title: str | None = None,
    subtitle: str | None = None, footnote: str | None = None,
) -> Figure:  # fmt: skip
    """Bounds on the share who gain (and lose), one row a threshold, with their interval as a line.

    Parameters
    ----------
    result : from `at.share_who_gain`. unit : of the outcome, for the rows ("EUR a quarter"). labels : column -> words.
    """
    table = result.table.sort_values(["term", "threshold"], kind="stable").reset_index(drop=True)
    outcome, share = pretty(result.outcome, labels), result.unit == "share"
    rows = [_row(row, unit or "", share) for row in rows_of(table)]
    first = result.table.iloc[0]
    if title is None:
        low, high = (_percent(v) for v in (first["bound_low"], first["bound_high"]))
        what = _row(first, unit or "", share)
        title = f"Between {low}% and {high}% {what[:1].lower()}{what[1:]}"
    whose = result.whose.removeprefix("Of ").replace("everyone", "all people")
    if subtitle is None:
        subtitle = (f"{outcome}; percent of {whose}; {count(result.n_treated)} treated, "
                    f"{count(result.n_comparison)} comparison")  # fmt: skip
    note = [
        "Bars: what the data leave open (nobody is seen both with and without treatment), corrected for chance.",
        f"Lines: {result.level:.0%} intervals. Hollow: if everybody kept their rank, which no data can show.",
    ]
    if result.by:
        note.append(f"Narrowed within groups of {' and '.join(pretty(name, labels).lower() for name in result.by)}.")
    fig, (axis,) = t.frame(title, subtitle, " ".join(filter(None, [*note, footnote])),
                           height=0.42 * len(rows) + 0.75)  # fmt: skip
    for y, row in enumerate(rows_of(table)):
        strong, pale = (t.ALERT, "#f1d2c4") if row.term == "lose" else (t.TREATED, t.PALE_TREATED)
        axis.plot([100 * row.conf_low, 100 * row.conf_high], [y, y], color=strong, lw=1.4, zorder=2,
                  solid_capstyle="butt")  # fmt: skip
        axis.barh(y, 100 * (row.bound_high - row.bound_low), left=100 * row.bound_low, height=0.44, color=pale,
                  edgecolor=strong, lw=1.1, zorder=3, gid="bounds")  # fmt: skip
        axis.plot(100 * row.if_ranks_never_change, y, "D", ms=4.5, mfc=t.PAPER, mec=t.MUTED, mew=1.1, zorder=4,
                  clip_on=False)  # fmt: skip
        axis.text(1.03, y, f"{_percent(row.bound_low)}–{_percent(row.bound_high)}%", size=8.5, weight="bold",
                  color=strong, va="center", transform=axis.get_yaxis_transform())  # fmt: skip
    t.label_column(axis, rows, width=2.2, most=2)
    axis.tick_params(axis="y", pad=8)
    axis.set_xlim(0, 100)
    axis.set_xticks(np.arange(0, 101, 20))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:.0f}%"))
    axis.grid(axis="x")
    axis.spines["left"].set_visible(False)
    return fig


def _percent(share: float) -> str:
    """Whole percent; a share that is not quite nothing or not quite all is not rounded to it."""
    text = f"{100 * share:.0f}"
    return "<1" if text == "0" and share > 0 else ">99" if text == "100" and share < 1 else text


def _row(row, unit: str, share: bool) -> str:
    if row.term == "lose":
        return "Lose it to treatment" if share else "Have less"
    if row.threshold == 0:
        return "Owe it to treatment" if share else "Gain more than nothing"
    size = f"{number(abs(row.threshold))} {unit}".strip()
    return f"Gain at least {size}" if row.threshold > 0 else f"Lose no more than {size}"
