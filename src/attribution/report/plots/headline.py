"""The headline figure: claimed, verified, observed, counterfactual, attributable, tier by tier."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from . import theme as t
from .designs import require
from .words import Unit, count, in_words, intervals, known, pretty

STAGES = ("claimed", "verified", "observed", "counterfactual", "attributable")
COLOURS = {"claimed": t.CLAIM, "verified": "#b98512", "observed": "#4f93ab", "counterfactual": "#b4bec5",
           "attributable": t.TREATED}  # fmt: skip
SHOWN = ("estimated", "described")


@t.drawn
def waterfall(
    bridge: Any, *, labels: Mapping[str, str] | None = None, title: str | None = None, subtitle: str | None = None,
    footnote: str | None = None,
) -> Figure:  # fmt: skip
    """Claimed → verified → observed → counterfactual → attributable, one panel a tier, with intervals.

    Attributable floats between counterfactual and observed, since it is their difference. A stage without a number is
    a hatched box that says so; its reason is printed below. Tiers are never added up.

    Parameters
    ----------
    bridge : a Bridge, or its table: tier, stage, status, share (0 to 1), conf_low, conf_high, people, n, reason.
    labels : tier or stage -> words.
    """
    frame = bridge if isinstance(bridge, pd.DataFrame) else bridge.tidy()
    require(frame, ("tier", "stage", "status", "share", "conf_low", "conf_high"), "waterfall")
    tiers = list(dict.fromkeys(frame["tier"]))
    if title is None:
        title = "How many outcomes would not have happened otherwise?"
    if subtitle is None:
        subtitle = (
            "Share of the people of each tier, and the number of people; same people, clock and horizon in a panel"
        )
    note = " ".join(filter(None, [intervals(getattr(bridge, "level", 0.95)), footnote, *_reasons(frame, labels)]))
    columns = min(3, len(tiers))
    grid = -(-len(tiers) // columns)
    fig, axes = t.frame(title, subtitle, note, height=grid * 2.55 + 0.35, rows=grid, columns=columns, sharex=True,
                        sharey=True)  # fmt: skip
    for axis in axes[len(tiers) :]:
        axis.set_visible(False)
    numbers = frame[["share", "conf_high"]].apply(pd.to_numeric, errors="coerce")
    shown = numbers[frame["status"].isin(SHOWN)]
    most = 100 * float(shown.max().max()) if shown.notna().any().any() else 100.0
    edge = max(most, 1.0) * {1: 1.18, 2: 1.42}.get(columns, 1.7)
    lowest = 0.0
    for axis, tier in zip(axes, tiers, strict=False):
        part = frame[frame["tier"] == tier].drop_duplicates("stage").set_index("stage")
        low = _panel(axis, part, edge, max(most, 1.0))
        people = pd.to_numeric(part["n"], errors="coerce").dropna() if "n" in part else pd.Series(dtype=float)
        words = t.wrap(pretty(tier, labels), (t.WIDTH - 1.3) / columns - 0.15, 9, "bold", most=2)
        t.heading(axis, "\n".join(words), f"{count(people.max())} people" if len(people) else "")
        t.label_column(axis, [pretty(stage, labels) for stage in STAGES], width=1.2)
        lowest = min(lowest, low)
        axis.set_xlim(lowest if lowest < -0.02 * edge else 0.0, edge)
        axis.xaxis.set_major_locator(MaxNLocator(nbins={1: 8, 2: 6}.get(columns, 5), steps=[1, 2, 2.5, 5, 10]))
        axis.xaxis.set_major_formatter(
            FuncFormatter(lambda v, _: "" if v > most * 1.08 else Unit("share", effect=False).tick(v))
        )
        axis.tick_params(axis="x", labelbottom=True)
        axis.grid(axis="x")
        axis.spines["left"].set_visible(False)
    return fig


def _panel(axis: Axes, part: pd.DataFrame, edge: float, most: float) -> float:
    """One tier; returns the smallest value drawn, in percent."""

    def value(stage: str, column: str) -> float | None:
        number: Any = part.loc[stage, column] if stage in part.index else None
        return 100 * float(number) if known(number) and part.loc[stage, "status"] in SHOWN else None

    base, smallest = value("counterfactual", "share"), 0.0
    for y, stage in enumerate(STAGES):
        share = value(stage, "share")
        if share is None:
            status = str(part.loc[stage, "status"]) if stage in part.index else "not_available"
            t.hatched(axis, 0, most, y, status.replace("_", " "))
            continue
        floats = stage == "attributable" and base is not None
        start = base if floats and base is not None else 0.0
        colour = t.ALERT if stage == "attributable" and share < 0 else COLOURS[stage]
        axis.barh(y, share, left=start, height=0.62, color=colour, zorder=3)
        low, high = value(stage, "conf_low"), value(stage, "conf_high")
        right = max(start, start + share)
        if low is not None and high is not None:
            axis.plot([start + low, start + high], [y, y], color=t.INK, lw=1.3, zorder=5, solid_capstyle="butt")
            right, smallest = max(right, start + high), min(smallest, start + low)
        words = Unit("share", effect=stage == "attributable").value(share / 100)
        words += " points" if stage == "attributable" else ""
        offset: dict[str, Any] = {"xytext": (5, 0), "textcoords": "offset points", "zorder": 6, "bbox": t.BEHIND}
        people: Any = part.loc[stage, "people"] if "people" in part.columns else None
        right = min(right, edge * 0.98)
        if known(people):
            axis.annotate(words, (right, y - 0.16), size=8.2, weight="bold", va="center", **offset)
            axis.annotate(
                _people(float(people), stage), (right, y + 0.19), size=7.2, color=t.MUTED, va="center", **offset
            )
        else:
            axis.annotate(words, (right, y), size=8.2, weight="bold", va="center", **offset)
    observed = value("observed", "share")
    if base is not None and observed is not None and value("attributable", "share") is not None:
        rows = {stage: y for y, stage in enumerate(STAGES)}
        for x, upper in ((observed, "observed"), (base, "counterfactual")):
            axis.plot(
                [x, x],
                [rows[upper] + 0.31, rows["attributable"] - 0.31],
                color=t.MUTED,
                lw=0.8,
                ls=(0, (2, 2)),
                zorder=2,
            )
    return smallest


def _people(value: float, stage: str) -> str:
    sign = "\u2212" if value < 0 and round(value) else "+" if stage == "attributable" and round(value) > 0 else ""
    return f"{sign}{count(abs(value))} people"


def _reasons(frame: pd.DataFrame, labels: Mapping[str, str] | None) -> list[str]:
    """Each reason for a missing number once, with the tiers and stages it concerns."""
    if "reason" not in frame:
        return []
    missing = frame[~frame["status"].isin(SHOWN) & frame["reason"].notna() & (frame["reason"].astype(str) != "")]
    tiers = frame["tier"].nunique()
    out = []
    for (status, reason), rows in missing.groupby(["status", "reason"], sort=False):
        names = list(dict.fromkeys(rows["tier"]))
        where = "" if len(names) == tiers else f" ({', '.join(pretty(name, labels) for name in names)})"
        stages = ", ".join(dict.fromkeys(pretty(stage, labels).lower() for stage in rows["stage"]))
        text = in_words(str(reason).strip(), labels)
        text = text if len(text) <= 220 else text[:217].rsplit(" ", 1)[0] + " …"
        out.append(f"{pretty(status)}, {stages}{where}: {text.rstrip('.')}.")
    return out
