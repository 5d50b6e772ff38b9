"""The look of every figure: one palette, one frame (title, subtitle, drawing, footnote), the same bytes each time."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

# Distinct under the common colour-vision deficiencies and in grey print (after Okabe & Ito 2008).
INK, MUTED, FAINT, GRID, PAPER = "#1c2b36", "#5d6b75", "#9aa5ad", "#e4e9ec", "#ffffff"
TREATED, COMPARISON, ALERT, CLAIM, SHADE = "#006d8f", "#8a969e", "#c4501b", "#e0a526", "#f6ead2"
PALE_TREATED, PALE_COMPARISON = "#bcdbe5", "#d5dbdf"
BEHIND = {"facecolor": "#ffffff", "edgecolor": "none", "pad": 0.8, "alpha": 0.85}  # keeps words legible over lines
SERIES = (TREATED, ALERT, CLAIM, "#7a4f9a", "#4d8b31", MUTED)

WIDTH = 7.0  # inches: a notebook's text column
PAD = 0.12

RC: dict[str, Any] = {
    "font.family": ["DejaVu Sans"], "font.size": 8.5, "text.color": INK, "text.parse_math": False,
    "axes.edgecolor": FAINT, "axes.labelcolor": MUTED, "axes.labelsize": 8.5, "axes.linewidth": 0.8,
    "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True, "axes.titlesize": 9,
    "axes.titlelocation": "left", "axes.titleweight": "bold", "axes.unicode_minus": True,
    "xtick.color": FAINT, "ytick.color": FAINT, "xtick.labelcolor": MUTED, "ytick.labelcolor": INK,
    "xtick.labelsize": 8, "ytick.labelsize": 8.5, "xtick.major.size": 3, "ytick.major.size": 0,
    "grid.color": GRID, "grid.linewidth": 0.8, "hatch.linewidth": 0.7, "hatch.color": FAINT,
    "figure.facecolor": PAPER, "savefig.facecolor": PAPER, "savefig.dpi": 200, "figure.dpi": 100,
    "svg.hashsalt": "attribution", "svg.fonttype": "path", "path.simplify": True, "legend.frameon": False,
}  # fmt: skip
_HOST = ("backend", "interactive", "toolbar", "webagg", "tk.", "macosx", "docstring", "datapath", "figure.hooks")

F = TypeVar("F", bound=Callable[..., Any])


@contextmanager
def style() -> Iterator[None]:
    """The house settings, whatever the caller's own matplotlib settings are."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", matplotlib.MatplotlibDeprecationWarning)
        defaults = {k: v for k, v in matplotlib.rcParamsDefault.items() if not k.startswith(_HOST)}
        with matplotlib.rc_context(cast(Any, {**defaults, **RC})):
            yield


def drawn(function: F) -> F:
    """Run a figure function under the house settings, and fix its layout."""

    @wraps(function)
    def inside(*args: Any, **kwargs: Any) -> Any:
        with style():
            figure = function(*args, **kwargs)
            # Solved here and kept: solved at each saving, it would move by a hair. At the resolution of the saved file,
            # since letters are relatively wider there; a second pass settles wide labels.
            screen = figure.get_dpi()
            figure.set_dpi(RC["savefig.dpi"])
            for _ in range(2):
                figure.draw_without_rendering()
            figure.set_dpi(screen)
            figure.set_layout_engine("none")
            for axis in figure.axes:  # the solver's last digits depend on memory addresses
                axis.set_position([round(float(v), 5) for v in axis.get_position().bounds])
            return figure

    return cast(F, inside)


class HouseFigure(Figure):
    """A figure that belongs to no window, shows itself in notebooks, and saves the same bytes each time."""

    alt: str = ""

    def savefig(self, fname: Any, **options: Any) -> None:
        """As matplotlib's, without dates, versions and random ids."""
        kind = options.get("format") or (Path(fname).suffix[1:] if isinstance(fname, (str, Path)) else "png")
        if kind == "svg":
            own: dict[str, Any] = {"Date": None, "Creator": None, "Title": self.alt or None}
        else:
            own = {"Software": None}
        with style():
            super().savefig(fname, **{**options, "metadata": {**own, **(options.get("metadata") or {})}})

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=110)
        return buffer.getvalue()


def save(figure: Figure, stem: str | Path) -> list[Path]:
    """Write `<stem>.svg` and `<stem>.png` and return both paths; the same figure gives the same bytes.

    Parameters
    ----------
    figure : from a function of this package. stem : path without suffix; its folder is made if absent.
    """
    stem = Path(stem)
    stem.parent.mkdir(parents=True, exist_ok=True)
    paths = [stem.with_name(stem.name + suffix) for suffix in (".svg", ".png")]
    with style():
        figure.savefig(paths[0], format="svg", metadata={"Date": None, "Creator": None})
        figure.savefig(paths[1], format="png", dpi=200, metadata={"Software": None})
    return paths


def frame(
    title: str, subtitle: str = "", footnote: str = "", *, height: float, rows: int = 1, columns: int = 1,
    width: float = WIDTH, **grid: Any,
) -> tuple[HouseFigure, list[Axes]]:  # fmt: skip
    """An empty figure with its words in place: title, subtitle and footnote left-aligned, axes between them.

    height : inches of the drawing itself; the figure grows with its words. grid : options of `subplots`.
    """
    usable = width - 2 * PAD
    top, bottom = (wrap(title, usable, 11.5, "bold"), wrap(subtitle, usable, 8.5)), wrap(footnote, usable, 7.2)
    line = {"title": 0.205, "subtitle": 0.155, "footnote": 0.135}
    head = PAD + len(top[0]) * line["title"] + len(top[1]) * line["subtitle"] + 0.08
    foot = (len(bottom) * line["footnote"] + 0.1 if bottom else 0.0) + PAD / 2
    total = head + height + foot
    figure = HouseFigure(figsize=(width, total), layout="constrained")
    FigureCanvasAgg(figure)
    layout = cast(Any, figure.get_layout_engine())
    side = 0.6 * PAD / width
    layout.set(
        rect=(side, foot / total, 1 - 2 * side, height / total), w_pad=0.06, h_pad=0.03, wspace=0.02, hspace=0.04
    )
    x, y = PAD / width, 1 - PAD / total
    figure.text(x, y, "\n".join(top[0]), size=11.5, weight="bold", va="top", ha="left", linespacing=1.2, gid="title")
    y -= (len(top[0]) * line["title"] + 0.02) / total
    if top[1]:
        figure.text(x, y, "\n".join(top[1]), size=8.5, color=MUTED, va="top", linespacing=1.25, gid="subtitle")
    if bottom:
        figure.text(x, (PAD / 2) / total, "\n".join(bottom), size=7.2, color=MUTED, va="bottom", linespacing=1.25,
                    gid="footnote")  # fmt: skip
    figure.alt = " ".join(part for part in (title, subtitle) if part)
    axes = figure.subplots(rows, columns, squeeze=False, **grid)
    return figure, list(axes.ravel())


def inches(text: str, size: float, weight: str = "normal") -> float:
    """Width of a line of text, in inches."""
    font = FontProperties(family="DejaVu Sans", size=size, weight=weight)
    width, _, _ = text_to_path.get_text_width_height_descent(text, font, ismath=False)
    return float(width) / 72


def wrap(text: str, width: float, size: float, weight: str = "normal", most: int = 0) -> list[str]:
    """Lines of `text` that fit `width` inches; with `most`, the rest is cut with an ellipsis."""
    lines: list[str] = []
    for paragraph in str(text).strip().split("\n"):
        line = ""
        for word in paragraph.split():
            while inches(word, size, weight) > width and len(word) > 1:  # one word wider than the column
                cut = next(k for k in range(len(word) - 1, 0, -1) if k == 1 or inches(word[:k], size, weight) <= width)
                if line:
                    lines.append(line)
                    line = ""
                lines.append(word[:cut])
                word = word[cut:]
            longer = f"{line} {word}".strip()
            if line and inches(longer, size, weight) > width:
                lines.append(line)
                line = word
            else:
                line = longer
        if line:
            lines.append(line)
    if most and len(lines) > most:
        lines = [*lines[: most - 1], lines[most - 1].rstrip(" ,;.") + " …"]
    return lines


def heading(axis: Axes, title: str, below: str = "", colour: str = INK) -> None:
    """Heading of a panel, with a quieter second line."""
    axis.set_title(title, size=9, color=colour, pad=17 if below else 6)
    if below:
        axis.annotate(below, (0, 1), xycoords="axes fraction", xytext=(0, 5), textcoords="offset points", size=7.8,
                      color=MUTED, va="bottom")  # fmt: skip


def label_column(axis: Axes, labels: Sequence[str], *, width: float = 2.3, size: float = 8.5, most: int = 3) -> None:
    """Row labels at the left of an axis whose rows are 0, 1, 2 ... from the top."""
    axis.set_yticks(range(len(labels)))
    axis.set_yticklabels(
        ["\n".join(wrap(text, width, size, most=most)) for text in labels], size=size, linespacing=1.05
    )
    axis.set_ylim(len(labels) - 0.45, -0.55)


def hatched(
    axis: Axes, left: float, width: float, y: float, text: str, *, height: float = 0.62, size: float = 7.5
) -> None:
    """The mark of a number that is not there: an outlined, hatched box that says why."""
    axis.barh(y, width, left=left, height=height, facecolor="#f7f8f9", edgecolor=PALE_COMPARISON, hatch="////",
              linewidth=0.8, gid="placeholder")  # fmt: skip
    axis.text(left + width / 2, y, text, size=size, color=MUTED, style="italic", ha="center", va="center",
              bbox={"facecolor": "#ffffff", "edgecolor": "none", "pad": 1.2, "alpha": 0.9})  # fmt: skip
