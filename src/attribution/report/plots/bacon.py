"""The comparisons behind a TWFE coefficient: how much each weighs, and what it says."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from ...estimate.bacon import KINDS, Bacon
from . import theme as t
from .effects import limits
from .words import Unit, number

LOOKS = dict(zip(KINDS, ((t.TREATED, "o"), (t.MUTED, "s"), (t.ALERT, "X")), strict=True))


@t.drawn
def bacon(
    result: Bacon, *, unit: str | None = None, title: str | None = None, subtitle: str | None = None,
    footnote: str | None = None,
) -> Figure:  # fmt: skip
    """One mark a 2x2 comparison: weight across, estimate up; forbidden ones marked, the TWFE coefficient as a line.

    Parameters
    ----------
    result : from `at.bacon`. unit : unit of the outcome; "share" is drawn in percentage points.
    """
    scale = Unit(unit or result.unit)
    table = result.tidy()
    table["estimate"] = table["estimate"] * scale.factor
    total = float(result.total.estimate[0]) * scale.factor
    if title is None:
        title = f"{result.forbidden_weight:.0%} of the TWFE weight rests on forbidden comparisons"
    if subtitle is None:
        subtitle = f"Each mark is a comparison of two groups: {len(table)} in all, {result.n_forbidden} forbidden"
    note = (
        "Forbidden: the comparison group is treated already, and any change of its own effect is taken off "
        "(Goodman-Bacon 2021)."
    )
    fig, (axis,) = t.frame(title, subtitle, " ".join(filter(None, [note, footnote])), height=3.3)
    axis.axhline(0, color=t.INK, lw=0.9, zorder=1)
    axis.axhline(total, color=t.FAINT, lw=1.1, ls=(0, (4, 3)), zorder=2, gid="twfe")
    weights = result.by_kind().set_index("kind")["weight"]
    for kind, part in table.groupby("kind", sort=False):
        colour, marker = LOOKS[str(kind)]
        words = f"{str(kind)[:1].upper()}{str(kind)[1:]}: {weights[str(kind)]:.0%}"
        axis.scatter(part["weight"] * 100, part["estimate"], s=44, color=colour, marker=marker, alpha=0.85, lw=0.6,
                     edgecolor=t.PAPER, zorder=3, label=words + (" (forbidden)" if part["forbidden"].any() else ""),
                     gid=str(kind))  # fmt: skip
    low, high = limits(table["estimate"].to_numpy(float), include=[0.0, total])
    axis.set_ylim(low - 0.08 * (high - low), high + 0.08 * (high - low))
    right = float(table["weight"].max()) * 100
    axis.set_xlim(-0.04 * right, 1.15 * right)
    axis.annotate(f"TWFE {number(total, signed=True)}", (1.15 * right, total), xytext=(-2, 3), ha="right",
                  textcoords="offset points", va="bottom", size=7.8, color=t.MUTED, bbox=t.BEHIND)  # fmt: skip
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}%"))
    axis.yaxis.set_major_formatter(FuncFormatter(scale.tick))
    axis.set_xlabel("Weight in the TWFE coefficient")
    axis.set_ylabel(scale.axis)
    axis.grid(axis="y")
    axis.spines["left"].set_visible(False)
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=3, fontsize=7.8, handletextpad=0.3,
                columnspacing=1.4)  # fmt: skip
    return fig
