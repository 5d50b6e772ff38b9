"""Figure of hidden confounding: what would be left of an estimate, by how strong something unmeasured is."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from ...stress.confounding import Robustness
from . import theme as t
from .designs import rows_of
from .words import Unit, count, number, pretty

COLOURS = (t.TREATED, "#7a4f9a", "#4d8b31", t.CLAIM, t.MUTED, "#b5508c")
MARKS = ("o", "^", "v", "P", "X", "D")  # with the colours: told apart in grey, too
MOST = len(COLOURS)  # covariates in the key


@t.drawn
def sensitivity_contour(
    result: Robustness, *, unit: str | None = None, labels: Mapping[str, str] | None = None, title: str | None = None,
    subtitle: str | None = None, footnote: str | None = None,
) -> Figure:  # fmt: skip
    """Lines of equal remaining effect over what a hidden confounder explains, with measured covariates as yardsticks.

    Parameters
    ----------
    result : from `at.robustness`, best with benchmarks. unit : of the outcome, "EUR a quarter"; shares are drawn in
        percentage points. labels : covariate -> words.
    """
    scale = Unit(unit or ("share" if result.unit == "share" else ""))
    marks = result.benchmarks.dropna(subset=["estimate"]) if len(result.benchmarks) else result.benchmarks
    names = list(marks["covariate"].unique())[:MOST] if len(marks) else []
    rv, goal = result.robustness_value, "zero" if result.q == 1 else f"{1 - result.q:.0%} of itself"
    if title is None:
        both = f"{rv:.0%} of both treatment and outcome"
        title = f"Something hidden would have to explain {both} to bring the effect to {goal}"
    if subtitle is None:
        words = f"{pretty(result.outcome, labels)}: effect that would be left"
        subtitle = (f"{words}{', in ' * bool(scale.axis)}{scale.axis}; {count(result.n_treated)} treated, "
                    f"{count(result.n_comparison)} comparison")  # fmt: skip
    fig, (axis, key) = t.frame(title, subtitle, " ".join(filter(None, [*_notes(result, names, labels), footnote])),
                               height=3.9, columns=2, gridspec_kw={"width_ratios": [3.1, 1]})  # fmt: skip
    shown = marks[marks["covariate"].isin(names)] if len(marks) else marks
    right = min(0.97, 1.3 * max([rv, *shown.get("r2_treatment", [])]) + 0.01)
    top = min(0.99, 1.3 * max([rv, *shown.get("r2_outcome", [])]) + 0.01)
    dots = shown[["r2_treatment", "r2_outcome"]].to_numpy(float) if len(shown) else np.empty((0, 2))
    _contours(axis, result, scale, right, top, np.vstack([dots, [rv, rv]]) / [right, top])
    said = [("As estimated", scale.value(result.estimate), t.INK, "o")]
    axis.plot(0, 0, "o", ms=7, color=t.INK, zorder=6, clip_on=False)
    for name, colour, mark in zip(names, COLOURS, MARKS, strict=False):
        rows = marks[marks["covariate"] == name]
        axis.plot(rows["r2_treatment"], rows["r2_outcome"], f"-{mark}", ms=5, lw=1.0, color=colour, zorder=5,
                  clip_on=False)  # fmt: skip
        last = list(rows_of(rows))[-1]
        said.append((f"{last.times:g} × {pretty(name, labels)}",
                     scale.interval(last.estimate, last.conf_low, last.conf_high), colour, mark))  # fmt: skip
    if rv > 0:
        axis.plot(rv, rv, "s", ms=5.5, color=t.ALERT, zorder=6)
        end = scale.value((1 - result.q) * result.estimate) if result.q != 1 else "No effect"
        said.append((f"{end} left", f"at {rv:.1%} of both", t.ALERT, "s"))
    _key(key, said)
    return fig


def _notes(result: Robustness, names: list, labels: Mapping[str, str] | None) -> list[str]:
    goal = "zero" if result.q == 1 else "that value"
    reached = result.robustness_value_ci > 0
    note = [f"Dashed: the {result.level:.0%} interval begins to hold {goal}." if reached else
            f"The {result.level:.0%} interval holds {goal} already."]  # fmt: skip
    if names:
        times = [f"{k:g}" for k in sorted(result.benchmarks["times"].unique())]
        several = ", ".join(times[:-1]) + " and " * (len(times) > 1) + times[-1]
        strong = "as strong" if times == ["1"] else f"{several} times as strong"
        last = ", for the last dot" if len(times) > 1 else ""
        note.append(f"Dots: something hidden {strong} as the covariate named; beside the names what would then be left"
                    f"{last}.")  # fmt: skip
    if len(result.benchmarks):
        never = result.benchmarks[result.benchmarks["estimate"].isna()]
        if len(never):
            who = " or ".join(pretty(name, labels).lower() for name in never["covariate"].unique())
            least = never["times"].min()
            note.append(f"Nothing can be {f'{least:g} times ' if least != 1 else ''}as strong as {who}.")
        more = result.benchmarks.dropna(subset=["estimate"])["covariate"].nunique() - len(names)
        if more > 0:
            note.append(f"{more} further covariates are not drawn.")
    return note


def _contours(axis: Axes, result: Robustness, scale: Unit, right: float, top: float, dots: np.ndarray) -> None:
    """Lines of equal effect; the one that is to be reached thick, and dashed where the interval reaches it.

    dots : (m, 2) in axes fractions, which the numbers on the lines keep clear of.
    """
    x, y = np.meshgrid(np.linspace(0, right, 161), np.linspace(0, top, 161))
    left = result.adjusted(x, y)
    value = left["estimate"].to_numpy().reshape(x.shape) * scale.factor
    now, goal = result.estimate * scale.factor, (1 - result.q) * result.estimate * scale.factor
    steps = np.asarray(MaxNLocator(nbins=8, steps=[1, 2, 2.5, 5, 10]).tick_values(value.min(), value.max()))
    apart = 0.12 * abs(now)  # a line on top of the axes or of the thick line says nothing
    inside = (steps > value.min()) & (steps < value.max())
    steps = steps[inside & (np.abs(steps - goal) > apart) & (np.abs(steps - now) > apart)]
    axis.set_xlim(0, right)
    axis.set_ylim(0, top)
    if len(steps):
        lines = axis.contour(x, y, value, levels=steps, colors=t.FAINT, linewidths=0.9, negative_linestyles="solid",
                             zorder=1)  # fmt: skip
        places = [_place(result, step / scale.factor, right, top, dots) for step in steps]
        words = axis.clabel(lines, fmt=lambda v: scale.tick(v), fontsize=7.5, colors=t.MUTED,
                            manual=[(a * right, b * top) for a, b in places])  # fmt: skip
        for word in words:
            word.set_bbox(t.BEHIND)
            word.set_rotation(0)
            word.set_zorder(4)
    axis.contour(x, y, value, levels=[goal], colors=t.ALERT, linewidths=2.0, linestyles="solid", zorder=2)
    if result.robustness_value_ci > 0:
        near = left["conf_low" if result.estimate > 0 else "conf_high"].to_numpy().reshape(x.shape) * scale.factor
        axis.contour(x, y, near, levels=[goal], colors=t.ALERT, linewidths=1.1, linestyles="dashed", zorder=2)
    for side in (axis.xaxis, axis.yaxis):
        side.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
        side.set_major_formatter(FuncFormatter(lambda v, _: f"{number(100 * v, 0 if 100 * v >= 0.95 else None)}%"))
    axis.set_xlabel("share of treatment that it explains, beyond the covariates")
    axis.set_ylabel("share of the outcome that it explains")


def _place(result: Robustness, level: float, right: float, top: float, dots: np.ndarray) -> tuple[float, float]:
    """Where a line gets its number: on the ray from the corner where it is farthest from the dots."""
    far = np.linspace(0, 1, 200)
    best, clear = (0.5, 0.5), -1.0
    for a, b in ((1, 1), (0.7, 1), (1, 0.7), (0.45, 1), (1, 0.45), (1, 0.25)):  # each ray meets every line once
        value = result.adjusted(far * a * right, far * b * top)["estimate"].to_numpy() * np.sign(result.estimate or 1)
        at = float(np.interp(-level * np.sign(result.estimate or 1), -value, far))
        gap = float(np.hypot(*(dots - [at * a, at * b]).T).min()) if at < 1 else -1.0
        if gap > clear + 0.02 and clear < 0.15:
            best, clear = (at * a, at * b), gap
    return best


def _key(axis: Axes, rows: list[tuple[str, str, str, str]]) -> None:
    """Names and what is left, one below the other, at the right."""
    axis.set_axis_off()
    axis.set_xlim(0, 1)
    axis.set_ylim(0, 1)
    step = min(0.125, 0.98 / len(rows))
    for k, (name, left, colour, mark) in enumerate(rows):
        y = 0.97 - k * step
        axis.plot(0.02, y, mark, ms=5.5, color=colour, clip_on=False)
        lines = t.wrap(name, 1.5, 8, "bold", most=2)
        axis.text(0.09, y + 0.012, "\n".join(lines), size=8, weight="bold", color=colour, va="top", linespacing=1.1)
        axis.text(0.09, y + 0.012 - 0.04 * len(lines), left, size=7.6, color=t.MUTED, va="top")
