"""The whole distribution of one covariate in both groups, before and after the design."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from ...design.balance import arms_of, kind_of_design
from ...errors import DesignError, spelling
from ...results import Design
from . import theme as t
from .words import Unit, number, pretty, whose

MOST_POINTS = 2000  # a line of seven inches shows no more


@t.drawn
def ecdf(
    design: Design, covariate: str, *, labels: Mapping[str, str] | None = None, title: str | None = None,
    subtitle: str | None = None, footnote: str | None = None,
) -> Figure:  # fmt: skip
    """Share of each group at or below every value of a covariate, before and after, and where they are furthest apart.

    Parameters
    ----------
    design : from `match`, `stratify` or `weight`. covariate : numeric column of its units, or "distance".
    labels : covariate -> words.
    """
    x, unknown = _values(design, covariate)
    name = pretty(covariate, labels)
    log_odds = covariate == "distance" and not (0 <= np.nanmin(x) <= np.nanmax(x) <= 1)
    arms = arms_of(design).only(np.flatnonzero(~np.isnan(x)))
    x = x[~np.isnan(x)]
    values, place = np.unique(x, return_inverse=True)
    curves = {s: [np.cumsum(np.bincount(place[at], weights=w[s], minlength=len(values)))
                  for at, w in zip(arms.at, arms.weights, strict=True)] for s in ("before", "after")}  # fmt: skip
    gaps = {s: np.abs(own - other) for s, (own, other) in curves.items()}
    low, high, beyond = _window(values, curves)
    done = kind_of_design(design)
    if title is None:
        was, now = (number(100 * float(gaps[s].max()), 0) for s in ("before", "after"))
        title = f"{name}: up to {was} points apart before, {now} after {done}"
    if subtitle is None:
        subtitle = "Share of each group at or below a value; gaps in percentage points"
    speaks = whose(design.estimand if design.whom else None)
    notes = ["Upright line: where the curves are furthest apart (KS).", beyond, speaks, footnote]
    if unknown:
        notes.append(f"{unknown:,} without a value are left out.")
    fig, axes = t.frame(title, subtitle, " ".join(filter(None, notes)), height=2.6, columns=2, sharey=True)
    seen = np.unique(np.linspace(0, len(values) - 1, min(len(values), MOST_POINTS)).round().astype(int))
    for axis, sample, head in zip(axes, ("before", "after"), ("Before", f"After {done}"), strict=True):
        own, other = (100 * curve for curve in curves[sample])
        for curve, colour, label in ((other, t.MUTED, "comparison"), (own, t.TREATED, "started")):
            # from 0 % left of the smallest value to 100 % right of the largest
            steps = np.r_[low - 1, values[seen], high + 1], np.r_[0, curve[seen], curve[-1]]
            axis.step(*steps, where="post", color=colour, lw=1.8, label=label, zorder=3, solid_joinstyle="miter")
        k = int(gaps[sample].argmax())
        at = values[k] if k + 1 == len(values) else (values[k] + min(values[k + 1], high)) / 2  # middle of the step
        if low <= values[k] <= high:
            axis.plot([at, at], [own[k], other[k]], color=t.ALERT, lw=1.6, zorder=4, solid_capstyle="butt")
        gap = f"furthest apart: {number(100 * float(gaps[sample].max()), 0)} points"
        t.heading(axis, head, gap if low <= values[k] <= high else f"{gap}, beyond the axis")
        axis.set_xlim(low, high)
        axis.set_ylim(0, 102)
        axis.xaxis.set_major_locator(MaxNLocator(6))
        axis.xaxis.set_major_formatter(FuncFormatter(Unit("", effect=False).tick))
        axis.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:.0f}%"))
        axis.set_xlabel(f"{name}, log-odds" if log_odds else name)
        axis.grid(axis="y", lw=0.6)
        axis.spines["left"].set_visible(False)
    handles, words = axes[1].get_legend_handles_labels()
    axes[1].legend(handles[::-1], words[::-1], loc="lower right", bbox_to_anchor=(1.0, 1.075), ncols=2, fontsize=8,
                   labelcolor=t.MUTED, handlelength=1.4, columnspacing=1.2, borderaxespad=0.1)  # fmt: skip
    return fig


def _values(design: Design, covariate: str) -> tuple[np.ndarray, int]:
    """The column as numbers, and how many have none."""
    if covariate == "distance" and design.distance is not None:
        x = np.asarray(design.distance, float)
    elif covariate not in design.units:
        raise DesignError("a column of the design's units", f"no {covariate!r}",
                          spelling(covariate, list(design.units.columns)), column=covariate)  # fmt: skip
    elif not pd.api.types.is_numeric_dtype(design.units[covariate].dtype):
        raise DesignError("a numeric covariate", "categories, which have no order to accumulate",
                          "show them in plots.love", column=covariate)  # fmt: skip
    else:
        x = design.units[covariate].to_numpy(dtype=float, na_value=np.nan)
    known = x[~np.isnan(x)]
    if not len(known) or np.isinf(known).any() or known.min() == known.max():
        raise DesignError("a covariate of several finite values", "none, one or infinite ones",
                          "show another covariate", column=covariate)  # fmt: skip
    return x, len(x) - len(known)


def _window(values: np.ndarray, curves: dict[str, list[np.ndarray]]) -> tuple[float, float, str]:
    """What is drawn: everything, unless the outermost hundredth stretches the axis to more than twice the rest."""
    all_of = np.array([curve for pair in curves.values() for curve in pair])
    low, high = float(values[0]), float(values[-1])
    inner_low = float(values[int((all_of > 0.01).any(axis=0).argmax())])
    inner_high = float(values[int((all_of >= 0.99).all(axis=0).argmax())])
    if inner_high > inner_low and high - low > 2 * (inner_high - inner_low):
        low, high, note = inner_low, inner_high, "Not drawn: at most 1% of a group at either end."
    else:
        note = ""
    pad = 0.03 * (high - low)
    return low - pad, high + pad, note
