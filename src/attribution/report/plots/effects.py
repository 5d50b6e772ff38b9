"""Figures of effects: event study, forest of estimates, pre-declared bracket."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from ...errors import EstimationError
from ...results import Effects
from . import theme as t
from .designs import require, rows_of
from .words import Unit, count, in_words, intervals, known, pretty


@t.drawn
def event_study(
    effects: Effects, *, dip: Sequence[int] | None = None, base: int | Sequence[int] | None = None,
    bands: Literal["simultaneous", "pointwise"] = "simultaneous", unit: str | None = None, level: float = 0.95,
    period: str = "periods", title: str | None = None, subtitle: str | None = None, footnote: str | None = None,
) -> Figure:  # fmt: skip
    """Effects by event time: estimates, pointwise bars, a band that covers all of them at once, zero and the base.

    Parameters
    ----------
    effects : with `event_time` in its labels (from `at.aggregate(..., by="event_time")`).
    dip : (first, last) event time to shade as Ashenfelter's dip. base : the base period(s); None reads the call's spec.
    bands : "pointwise" leaves the simultaneous band out. unit : "share" is drawn in percentage points.
    period : what an event time counts ("quarters", "years").
    """
    labels = effects.labels.reset_index(drop=True)
    if "event_time" not in labels or labels["event_time"].isna().all():
        raise EstimationError("effects by event time", "no event_time in their labels",
                              'aggregate them first: at.aggregate(effects, by="event_time")')  # fmt: skip
    scale = Unit(unit or effects.unit)
    low, high = effects.conf_int(level)
    rows = pd.DataFrame({"at": pd.to_numeric(labels["event_time"]), "y": effects.estimate, "low": low, "high": high})
    if bands == "simultaneous" and len(rows) > 1:
        rows["band_low"], rows["band_high"] = effects.conf_int(level, "simultaneous")
    drawn = [name for name in ("y", "low", "high", "band_low", "band_high") if name in rows]
    rows[drawn] = rows[drawn] * scale.factor
    rows = rows[rows["at"].notna()].sort_values("at", kind="stable").reset_index(drop=True)
    bases = _bases(effects.spec.get("base_period") if base is None else base)
    n = int(np.nanmax(effects.n_treated)) if len(effects.n_treated) else 0
    if title is None:
        title = effects.estimand[:1].upper() + effects.estimand[1:]
    if subtitle is None:
        subtitle = f"{_first(scale.axis)} by {period} since date zero; {count(n)} treated"
    note = f"Bars: {level:.0%} intervals, one at a time."
    if "band_low" in rows:
        note += f" Band: covers all of them at once with {level:.0%}."
    fig, (axis,) = t.frame(title, subtitle, " ".join(filter(None, [note, footnote])), height=3.1)
    first, last = int(rows["at"].min()), int(rows["at"].max())
    if dip is not None:
        axis.axvspan(min(dip) - 0.45, max(dip) + 0.45, color=t.SHADE, lw=0, zorder=0, gid="dip")
    for run in _runs(rows, "band_low"):
        part = rows.loc[run]
        wide = part["at"].to_numpy(float)
        if len(part) == 1:
            axis.bar(wide, part["band_high"] - part["band_low"], 0.4, bottom=part["band_low"], 
                     color=t.PALE_TREATED, alpha=0.6, zorder=1)  # fmt: skip
        else:
            axis.fill_between(
                wide, part["band_low"], part["band_high"], color=t.PALE_TREATED, alpha=0.6, lw=0, zorder=1
            )
    axis.axhline(0, color=t.INK, lw=0.9, zorder=2)
    if first < 0 <= last:
        axis.axvline(-0.5, color=t.FAINT, lw=0.9, ls=(0, (3, 3)), zorder=2)
    for row in rows_of(rows):
        if not known(row.y):
            continue
        colour = t.TREATED if row.at >= 0 else t.MUTED
        if known(row.low):
            axis.plot([row.at, row.at], [row.low, row.high], color=colour, lw=1.6, zorder=3, solid_capstyle="butt")
        hollow = row.at in bases or not known(row.low)
        axis.plot(row.at, row.y, "o", ms=6, mfc=t.PAPER if hollow else colour, mec=colour, mew=1.4, zorder=4)
    for k in bases:
        if not (rows["at"] == k).any() and first <= k <= last:
            axis.plot(k, 0, "o", ms=6, mfc=t.PAPER, mec=t.MUTED, mew=1.4, zorder=4)
    span = limits(rows[drawn].to_numpy(), include=[0.0])
    axis.set_ylim(
        span[0] - 0.06 * (span[1] - span[0]),
        span[1] + (0.2 if first < 0 <= last or dip else 0.06) * (span[1] - span[0]),
    )
    axis.set_xlim(first - 0.7, last + 0.7)
    top = axis.get_xaxis_transform()
    if first < 0 <= last:
        axis.text(-0.6, 0.985, "before", transform=top, ha="right", va="top", size=8.5, color=t.MUTED)
        axis.text(-0.4, 0.985, "after", transform=top, ha="left", va="top", size=8.5, color=t.TREATED, weight="bold")
    if dip is not None:
        room = (t.WIDTH - 1) * (max(dip) - min(dip) + 0.9) / (last - first + 1.4)
        words = "dip before date zero" if t.inches("dip before date zero", 7.8) < room else "dip"
        axis.text(min(dip) - 0.4, 0.9, words, transform=top, va="top", size=7.8, color=t.MUTED,
                  style="italic")  # fmt: skip
    if bases and first <= bases[0] <= last:
        axis.annotate(
            "base",
            (float(np.mean(bases)), 0),
            xytext=(0, -8),
            textcoords="offset points",
            ha="center",
            va="top",
            size=7.8,
            color=t.MUTED,
            style="italic",
            zorder=5,
            bbox=t.BEHIND,
        )
    step = max(1, -(-(last - first) // 14))
    axis.set_xticks([k for k in range(first, last + 1) if k % step == 0])
    axis.xaxis.set_major_formatter(FuncFormatter(Unit("").tick))
    axis.yaxis.set_major_formatter(FuncFormatter(scale.tick))
    axis.set_xlabel(f"{period} since date zero")
    axis.set_ylabel(scale.axis)
    axis.grid(axis="y")
    axis.spines["left"].set_visible(False)
    return fig


def _first(text: str) -> str:
    return text[:1].upper() + text[1:]


def _bases(value: Any) -> list[int]:
    """Event times of the base period; none for "varying" and the like."""
    if isinstance(value, (int, np.integer)):
        return [int(value)]
    pair = isinstance(value, (list, tuple)) and all(isinstance(v, (int, np.integer)) for v in value)
    return [int(v) for v in value] if pair else []


def _runs(rows: pd.DataFrame, column: str) -> list[list[int]]:
    """Row positions of consecutive event times that have a band."""
    if column not in rows:
        return []
    out: list[list[int]] = []
    for k in rows.index[rows[column].notna()]:
        joined = out and k == out[-1][-1] + 1 and rows["at"][k] - rows["at"][out[-1][-1]] <= 1
        out[-1].append(k) if joined else out.append([k])
    return out


def limits(values: np.ndarray, include: Sequence[float] = ()) -> tuple[float, float]:
    """Smallest and largest finite value, never equal."""
    finite = np.append(values[np.isfinite(values.astype(float))].astype(float), include)
    low, high = float(finite.min()), float(finite.max())
    return (low, high) if high > low else (low - 1.0, high + 1.0)


@t.drawn
def estimates(
    frame: pd.DataFrame, *, unit: str | None = None, benchmark: float | None = None,
    benchmark_label: str = "Experiment", benchmark_interval: Sequence[float] | None = None,
    labels: Mapping[str, str] | None = None, title: str | None = None, subtitle: str | None = None,
    footnote: str | None = None,
) -> Figure:  # fmt: skip
    """Forest of estimates, one row each, beside a known answer and the line of no effect.

    Parameters
    ----------
    frame : one row an estimate: label, estimate, conf_low, conf_high; optional group (a heading), grade, status and
        reason (shown where there is no estimate), unit. "cannot conclude" rows are drawn hollow.
    benchmark : the answer known from elsewhere, in the same unit; benchmark_interval : its (low, high).
    """
    require(frame, ("label", "estimate", "conf_low", "conf_high"), "estimates")
    scale = Unit(unit or _only(frame, "unit"))
    hollow = frame["grade"].eq("cannot conclude").to_numpy() if "grade" in frame else np.zeros(len(frame), bool)
    if title is None:
        title = "How much did it change?"
    note = " ".join(
        filter(None, [intervals(_only(frame, "level")), "Hollow: cannot conclude." if hollow.any() else "", footnote])
    )
    fig, axis = _forest(frame, scale, hollow, title, subtitle or "", note, labels, benchmark, benchmark_label,
                        benchmark_interval, headline=None)  # fmt: skip
    return fig


@t.drawn
def bracket(
    frame: pd.DataFrame, *, unit: str | None = None, benchmark: float | None = None,
    benchmark_label: str = "Experiment", benchmark_interval: Sequence[float] | None = None,
    labels: Mapping[str, str] | None = None, title: str | None = None, subtitle: str | None = None,
    footnote: str | None = None,
) -> Figure:  # fmt: skip
    """The pre-declared bracket: every declared estimator, the headline in colour, the range they span shaded.

    Parameters
    ----------
    frame : one row an estimator: label, estimate, conf_low, conf_high; optional headline (bool), reason, unit.
    """
    require(frame, ("label", "estimate", "conf_low", "conf_high"), "bracket")
    scale = Unit(unit or _only(frame, "unit"))
    values = pd.to_numeric(frame["estimate"], errors="coerce").dropna()
    agree = len(values) > 0 and (bool((values > 0).all()) or bool((values < 0).all()))
    if title is None:
        if values.empty:
            title = "None of the declared estimators could be computed"
        elif len(values) == 1:
            title = "One declared estimator could be computed"
        elif agree:
            title = (f"All {len(values)} declared estimators agree on the sign: from {scale.value(values.min())} "
                     f"to {scale.value(values.max())} {'points' if scale.share else scale.axis}")  # fmt: skip
        else:
            title = "The declared estimators disagree on the sign: cannot conclude"
    headline = frame["headline"].fillna(False).astype(bool).to_numpy() if "headline" in frame else None
    note = " ".join(filter(None, ["Shaded: range of the estimates.", intervals(_only(frame, "level")), footnote]))
    fig, axis = _forest(frame, scale, np.zeros(len(frame), bool), title, subtitle or "", note, labels, benchmark,
                        benchmark_label, benchmark_interval, headline)  # fmt: skip
    if len(values) > 1:
        axis.axvspan(values.min() * scale.factor, values.max() * scale.factor, color=t.GRID, alpha=0.75, lw=0, zorder=0)
    return fig


def _status(row: pd.Series) -> str:
    status = row.get("status")
    return pretty(status) if isinstance(status, str) and status not in ("", "estimated") else "Not estimable"


def _only(frame: pd.DataFrame, column: str) -> str:
    """The one value of a column, "" where it is absent or differs."""
    values = list(frame[column].dropna().unique()) if column in frame else []
    return str(values[0]) if len(values) == 1 else ""


def _forest(
    frame: pd.DataFrame, scale: Unit, hollow: np.ndarray, title: str, subtitle: str, footnote: str,
    labels: Mapping[str, str] | None, benchmark: float | None, benchmark_label: str,
    benchmark_interval: Sequence[float] | None, headline: np.ndarray | None,
) -> tuple[Figure, Axes]:  # fmt: skip
    rows = _with_headings(frame, labels)
    missing = frame[pd.to_numeric(frame["estimate"], errors="coerce").isna()]
    for _, source in missing.iterrows():
        if "reason" in frame and pd.notna(source["reason"]) and str(source["reason"]):
            reason = in_words(str(source["reason"])).rstrip(".")
            footnote += f" {_status(source)}, {pretty(source['label'], labels)}: {reason}."
    fig, (axis,) = t.frame(title, subtitle, footnote, height=max(1.5, 0.36 * len(rows) + 0.85))
    numbers = (
        frame[["estimate", "conf_low", "conf_high"]].apply(pd.to_numeric, errors="coerce").to_numpy(float)
        * scale.factor
    )
    known_answer = [float(benchmark) * scale.factor] if benchmark is not None and known(benchmark) else []
    left, right = _robust(numbers, [0.0, *known_answer])
    axis.axvline(0, color=t.INK, lw=0.9, zorder=2)
    if known_answer:
        if benchmark_interval is not None:
            axis.axvspan(
                *(np.clip(v * scale.factor, left, right) for v in benchmark_interval), color=t.SHADE, lw=0, zorder=0
            )
        axis.axvline(known_answer[0], color=t.CLAIM, lw=1.8, zorder=1)
        axis.annotate(
            f"{benchmark_label} {scale.value(benchmark)}",
            (known_answer[0], 1),
            xytext=(0, 3),
            xycoords=axis.get_xaxis_transform(),
            textcoords="offset points",
            ha="center",
            va="bottom",
            size=8,
            weight="bold",
            color="#8a6108",
        )
    for y, (kind, position, _) in enumerate(rows):
        if kind == "heading":
            continue
        estimate, low, high = numbers[position]
        source = frame.iloc[position]
        if np.isnan(estimate):
            t.hatched(axis, left, right - left, y, _status(source).lower(), height=0.5)
            continue
        colour = t.MUTED if hollow[position] else t.TREATED
        if headline is not None and headline.any() and not headline[position]:
            colour = t.MUTED
        if np.isfinite(low) and np.isfinite(high):
            axis.plot(np.clip([low, high], left, right), [y, y], color=colour, lw=1.8, zorder=3, solid_capstyle="butt")
            for end, side in ((low, "<"), (high, ">")):
                if (end < left if side == "<" else end > right) and left <= estimate <= right:
                    axis.plot(
                        left if side == "<" else right, y, marker=side, color=colour, ms=5, zorder=4, clip_on=False
                    )
        if left <= estimate <= right:
            axis.plot(
                estimate, y, "o", ms=7, mfc=t.PAPER if hollow[position] else colour, mec=colour, mew=1.5, zorder=5
            )
        else:
            axis.plot(
                left if estimate < left else right,
                y,
                marker="<" if estimate < left else ">",
                color=colour,
                ms=8,
                zorder=5,
            )
        words = scale.interval(*(numbers[position] / scale.factor))
        axis.text(
            1.02,
            y,
            words,
            transform=axis.get_yaxis_transform(),
            size=8,
            va="center",
            color=t.INK if colour == t.TREATED else t.MUTED,
        )
    t.label_column(axis, [text for _, _, text in rows])
    for y, (kind, _, _) in enumerate(rows):
        if kind == "heading":
            axis.get_yticklabels()[y].set_fontweight("bold")
    pad = 0.05 * (right - left)
    axis.set_xlim(left - pad, right + pad)
    axis.xaxis.set_major_locator(MaxNLocator(nbins=7, steps=[1, 2, 2.5, 5, 10]))
    axis.xaxis.set_major_formatter(FuncFormatter(scale.tick))
    axis.set_xlabel(scale.axis)
    axis.grid(axis="x")
    axis.spines["left"].set_visible(False)
    return fig, axis


def _with_headings(frame: pd.DataFrame, labels: Mapping[str, str] | None) -> list[tuple[str, int, str]]:
    """(kind, row position, words) of each line of the forest."""
    out: list[tuple[str, int, str]] = []
    seen: object = None
    for position in range(len(frame)):
        row = frame.iloc[position]
        group = row.get("group") if "group" in frame else None
        if group is not None and pd.notna(group) and group != seen:
            out.append(("heading", -1, pretty(group, labels)))
            seen = group
        out.append(("row", position, pretty(row["label"], labels)))
    return out


def _robust(numbers: np.ndarray, include: Sequence[float]) -> tuple[float, float]:
    """Axis limits that one enormous interval cannot flatten; what lies outside is drawn as an arrow."""
    estimates, lengths = numbers[:, 0], numbers[:, 2] - numbers[:, 1]
    low, high = limits(numbers, include)
    finite, length = estimates[np.isfinite(estimates)], lengths[np.isfinite(lengths)]
    if len(length) < 2 or not len(finite):
        return low, high
    middle = np.append(
        finite[np.abs(finite) <= 50 * np.median(np.abs(finite))] if np.median(np.abs(finite)) > 0 else finite, include
    )
    reach = 3 * float(np.median(length)) + 1e-12
    return max(low, float(middle.min()) - reach), min(high, float(middle.max()) + reach)
