"""Figures of the design stage: sample flow, balance, overlap, reach. None of them shows an outcome."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from ...errors import DesignError, EstimationError
from ...results import Balance, Design, require_design
from . import theme as t
from .words import Unit, count, in_words, known, number, pretty, whose

MOST_ROWS = 60
GRAVE = 0.25  # SDs (Rubin 2001)


def require(frame: pd.DataFrame, columns: tuple[str, ...], figure: str) -> None:
    """Refuse a frame that lacks what the figure draws."""
    missing = [name for name in columns if name not in frame.columns]
    if missing or frame.empty:
        raise EstimationError(
            f"at least one row with the columns {', '.join(columns)}",
            f"no {', '.join(missing)}" if missing else "no rows", f"give plots.{figure} a frame that has them",
        )  # fmt: skip


def rows_of(frame: pd.DataFrame) -> Iterator[Any]:
    """The rows as named tuples."""
    yield from frame.itertuples()


@t.drawn
def love(
    balance: Balance, *, labels: Mapping[str, str] | None = None, order: Literal["worst", "after", "given"] = "worst",
    title: str | None = None, subtitle: str | None = None, footnote: str | None = None,
) -> Figure:  # fmt: skip
    """Love plot: how far apart the groups are on each covariate, before and after the design.

    Parameters
    ----------
    balance : from `at.balance`; its table has the columns covariate, sample (before | after) and smd. Squares and
        interactions are drawn where it has them. labels : covariate -> words. order : largest difference first
        ("after": after the design), or as in the table.
    """
    if not isinstance(balance, Balance):
        raise DesignError("a balance", f"a {type(balance).__name__}", "give at.balance(design)")
    require(balance.table, ("covariate", "sample", "smd"), "love")
    wide = balance.table.drop_duplicates(["covariate", "sample"]).pivot(
        index="covariate", columns="sample", values="smd"
    )
    wide = wide.reindex(columns=["before", "after"]).astype(float)
    size = wide["after"].abs() if order == "after" else wide.abs().max(axis=1)
    wide = wide.loc[size.sort_values(ascending=False, kind="stable").index]
    limit, shown, how = balance.threshold_smd, len(wide), balance.spec.get("how", "matching")
    what = balance.rows_are
    after = balance.after["smd"]
    off, total, unknown = int((after.abs() > limit).sum()), len(after), int(after.isna().sum())
    wide = wide.head(MOST_ROWS)
    if order == "given":
        kept = set(wide.index)
        wide = wide.reindex([name for name in dict.fromkeys(balance.table["covariate"]) if name in kept])
    if title is None:
        title = (f"After {how}, {off} of {total} {what[0]} still differ by more than {limit:g} SD" if off else
                 f"After {how}, no {what[1]} differs by more than {limit:g} SD")  # fmt: skip
        title = title if not unknown else f"{title} ({unknown} unknown)"
    if subtitle is None:
        pooled = balance.spec.get("target", "treated") != "treated"
        subtitle = "In standard deviations " + ("of both groups, pooled" if pooled else "of those who started")
    wider = f" and, paler, ±{GRAVE:g}" if limit < GRAVE else ""
    speaks = whose(balance.spec.get("estimand"))
    note = " ".join(filter(None, [f"Shaded: within ±{limit:g}{wider} SD.", speaks, footnote]))
    if shown > len(wide):
        note += f" The {len(wide)} largest of {shown} differences are shown."
    each = _each(balance, wide)
    drawn = np.concatenate([wide.to_numpy().ravel(), each["smd"].to_numpy(float)])
    finite = np.abs(drawn[np.isfinite(drawn)])
    reach = max(3 * limit, float(finite.max()) * 1.08 if finite.size else 0.0)
    # a single enormous difference must not flatten all the others: it becomes an arrow with its number
    usual = max(2.0, 3 * float(np.quantile(finite, 0.75))) if finite.size else reach
    edge = usual if reach > 1.5 * usual else reach
    beyond = int((each["smd"].abs() > edge).sum())
    note += f" {beyond} differences within a {balance.spec.get('by')} lie beyond the axis." if beyond else ""
    dense = shown > 25
    row = 0.2 if dense else 0.26
    fig, (axis,) = t.frame(title, subtitle, note, height=max(1.3, row * len(wide) + 0.75))
    if limit < GRAVE:
        axis.axvspan(-GRAVE, GRAVE, color="#f4f6f7", lw=0, zorder=0)
    axis.axvspan(-limit, limit, color=t.GRID, lw=0, zorder=0)
    axis.axvline(0, color=t.FAINT, lw=0.8, zorder=1)
    for y, (_, pair) in enumerate(wide.iterrows()):
        inside = pair.clip(-edge * 0.97, edge * 0.97)
        if inside.notna().all():
            axis.plot(inside, [y, y], color=t.PALE_COMPARISON, lw=1.4, zorder=2, solid_capstyle="round")
        for sample, face, edge_color in (("before", t.PAPER, t.COMPARISON), ("after", t.TREATED, t.TREATED)):
            value = pair[sample]
            if np.isnan(value):
                continue
            if abs(value) > edge:
                side = 1 if value > 0 else -1
                axis.plot(side * edge * 0.97, y, marker=">" if side > 0 else "<", color=edge_color, ms=6, zorder=4)
                words = number(value, 1) if np.isfinite(value) else "∞" if side > 0 else "\u2212∞"
                axis.annotate(
                    words,
                    (side * edge * 0.97, y),
                    xytext=(-side * 6, 0),
                    textcoords="offset points",
                    size=7.5,
                    ha="right" if side > 0 else "left",
                    va="center",
                    color=t.MUTED,
                    bbox=t.BEHIND,
                )
                continue
            wrong = sample == "after" and abs(value) > limit
            inner, outer = (t.ALERT, t.ALERT) if wrong else (face, edge_color)
            axis.plot(value, y, "D" if wrong else "o", ms=5.5 if wrong else 6, mfc=inner, mec=outer, mew=1.4,
                      zorder=4 if sample == "after" else 3)  # fmt: skip
    near = each[each["smd"].abs() <= edge]
    axis.plot(near["smd"], near["y"], "|", color=t.TREATED, ms=8, mew=0.9, alpha=0.55, zorder=2.5, ls="")
    ticks = f"after, each {pretty(balance.spec.get('by')).lower()}" if len(each) else ""
    t.label_column(axis, [spoken(balance, name, labels) for name in wide.index], width=2.6,
                   size=7.5 if dense else 8.5, most=1 if dense else 2)  # fmt: skip
    axis.set_xlim(-edge * 1.04, edge * 1.04)
    axis.xaxis.set_major_formatter(FuncFormatter(Unit("").tick))
    axis.set_xlabel("standardised mean difference, started minus comparison")
    axis.grid(axis="y", color=t.GRID, lw=0.6)
    axis.spines["left"].set_visible(False)
    _key(axis, [("before", t.PAPER, t.COMPARISON), ("after", t.TREATED, t.TREATED),
                *([(f"after, beyond {limit:g}", t.ALERT, t.ALERT)] if off else [])], ticks)  # fmt: skip
    return fig


def _each(balance: Balance, wide: pd.DataFrame) -> pd.DataFrame:
    """Columns smd, y: the difference after the design in every cluster, at the row of its covariate."""
    if balance.clusters is None:
        return pd.DataFrame({"smd": [], "y": []}, dtype=float)
    place = {label: y for y, label in enumerate(wide.index)}
    after = balance.clusters.query("sample == 'after'")
    after = after[after["covariate"].isin(place) & after["smd"].notna()]
    return pd.DataFrame({"smd": after["smd"].astype(float), "y": after["covariate"].map(place)})


def spoken(balance: Balance, label: str, labels: Mapping[str, str] | None = None) -> str:
    """A row of the balance table in words: `Race: black`, `Age × Married: no`, `Age²`."""
    parts = balance.spec.get("parts", {}).get(label)
    if not parts or (labels and label in labels) or (len(parts) == 1 and parts[0][1] is None):
        return pretty(label, labels)
    words = [pretty(column, labels) + ("" if level is None else f": {str(level).replace('_', ' ')}")
             for column, level in parts]  # fmt: skip
    return f"{words[0]}²" if len(words) == 2 and words[0] == words[1] else " × ".join(words)


def _key(axis, entries, ticks: str = "") -> None:
    from matplotlib.lines import Line2D

    marks = [
        Line2D([], [], marker="D" if face == t.ALERT else "o", ls="", ms=5.5, mfc=face, mec=edge, mew=1.4, label=text)
        for text, face, edge in entries
    ]
    if ticks:
        marks.append(Line2D([], [], marker="|", ls="", ms=8, mew=0.9, color=t.TREATED, alpha=0.55, label=ticks))
    axis.legend(handles=marks, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=len(marks), handletextpad=0.2,
                columnspacing=1.2, borderaxespad=0.1, labelcolor=t.MUTED, fontsize=8)  # fmt: skip


@t.drawn
def overlap(
    design: Design, *, bins: int = 32, few: int = 10, title: str | None = None, subtitle: str | None = None,
    footnote: str | None = None,
) -> Figure:  # fmt: skip
    """Mirrored histograms of the propensity: everyone in outline, those the design keeps filled.

    Parameters
    ----------
    design : from `at.match`, with a propensity. bins : number of bars an arm. few : when fewer people than this have
        no partner, the total is not told beside the number kept.
    """
    import seaborn as sns

    require_design(design)
    if design.propensity is None:
        raise DesignError("a design with a propensity", "none", "match on distance='logit', or show plots.love instead")
    p = np.asarray(design.propensity, float)
    ok, arm = np.isfinite(p), design.treated
    if not (ok & arm).any() or not (ok & ~arm).any():
        raise DesignError("a propensity in both arms", "an arm without one", "fit the design again")
    skewed = min(np.quantile(p[ok & arm], 0.25), np.quantile(p[ok & ~arm], 0.25)) < 0.02
    x = np.log(np.clip(p, 1e-6, 1 - 1e-6) / (1 - np.clip(p, 1e-6, 1 - 1e-6))) if skewed else p
    low, high = x[ok].min(), x[ok].max()
    pad = 0.02 * (high - low) or 0.02
    edges = np.linspace(low - pad, high + pad, bins + 1)
    n = {k: (int((arm == k).sum()), int((design.matched & (arm == k)).sum())) for k in (True, False)}
    arms = ((True, "started"), (False, "comparison"))
    if title is None:
        have = "have a comparable partner" if len(design.pairs) else "are compared"
        title = f"{design.covered_share:.0%} of those who started {have}"
    if subtitle is None:
        of = {k: "" if 0 < n[k][0] - n[k][1] < few else f" of {count(n[k][0])}" for k, _ in arms}
        subtitle = " and ".join(f"{count(n[k][1])}{of[k]} {arm}" for k, arm in arms) + " are kept"
        if not len(design.pairs):
            alike = " and ".join(count(size) for size in design.ess)
            subtitle += f"; weighted, they count as much as {alike}"
    filled_are = "those kept" if len(design.pairs) else "those kept, with their weights"
    speaks = whose(design.estimand if design.whom else None)
    note = " ".join(filter(None, [f"Outline: everyone; filled: {filled_are} (each adds to 100%).", speaks, footnote]))
    fig, (axis,) = t.frame(title, subtitle, note, height=3.0)
    tops = []
    for treated, sign, colour in ((True, 1, t.TREATED), (False, -1, t.COMPARISON)):
        everyone = np.where(ok & (arm == treated), 1.0, 0.0)
        kept = np.where(ok, design.weights, 0.0) * (arm == treated)
        for weight, filled in ((kept, True), (everyone, False)):
            if weight.sum() <= 0:
                continue
            used = weight > 0
            share = sign * 100 * weight[used] / weight.sum()
            tops.append(float(np.abs(np.histogram(x[used], edges, weights=share)[0]).max()))
            sns.histplot(
                x=x[used], weights=share, bins=edges.tolist(), ax=axis, element="step", fill=filled, color=colour,
                alpha=0.75 if filled else 1.0, linewidth=0 if filled else 1.3, zorder=2 if filled else 3,
            )  # fmt: skip
    edge = 1.22 * max(tops)
    axis.set_ylim(-edge, edge)
    axis.set_xlim(edges[0] - 0.3 * (edges[1] - edges[0]), edges[-1] + 0.3 * (edges[1] - edges[0]))
    axis.axhline(0, color=t.INK, lw=0.8, zorder=4)
    for place, va, text, colour in ((0.98, "top", "started", t.TREATED), (0.02, "bottom", "comparison", t.MUTED)):
        axis.text(
            0.01, place, text, transform=axis.transAxes, color=colour, weight="bold", va=va, size=9, bbox=t.BEHIND
        )
    if skewed:
        marks = [
            q
            for q in (1e-5, 1e-4, 0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999)
            if edges[0] <= np.log(q / (1 - q)) <= edges[-1]
        ]
        axis.set_xticks([np.log(q / (1 - q)) for q in marks])
        axis.set_xticklabels([f"{100 * q:g}%" for q in marks])
    else:
        axis.xaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10]))
        axis.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{100 * v:.4g}%"))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{abs(v):g}%"))
    axis.set_xlabel("estimated probability of starting" + (" (logit scale)" if skewed else ""))
    axis.set_ylabel("share of the group")
    axis.grid(axis="y", color=t.GRID, lw=0.6)
    axis.spines["left"].set_visible(False)
    return fig


@t.drawn
def flow(
    frame: pd.DataFrame, *, labels: Mapping[str, str] | None = None, title: str | None = None,
    subtitle: str | None = None, footnote: str | None = None,
) -> Figure:  # fmt: skip
    """Sample flow: how many are left after each step, who was left out and why, one column an arm.

    Parameters
    ----------
    frame : one row a step and arm: step, arm, n (left after the step; missing = suppressed), excluded, reason.
    labels : arm -> words.
    """
    require(frame, ("step", "arm", "n", "excluded", "reason"), "flow")
    arms = list(dict.fromkeys(frame["arm"]))
    parts = {arm: frame[frame["arm"] == arm].reset_index(drop=True) for arm in arms}
    # steps at which nobody was left out say nothing, except the first and last
    parts = {arm: part[_told(part)].reset_index(drop=True) for arm, part in parts.items()}
    if title is None:
        ends = [f"{count(part['n'].iloc[-1])} {pretty(arm, labels).lower()}" for arm, part in parts.items()]
        title = "Who is compared: " + " and ".join(ends) if len(ends) <= 3 else "Who is compared, and who is left out"
    rows = max(len(part) for part in parts.values())
    per_row = 2 if len(arms) > 1 else 1
    grid = -(-len(arms) // per_row)
    fig, axes = t.frame(title, subtitle or "Left after each step, and who was left out there", footnote or "",
                        height=grid * (0.54 * rows + 0.45), rows=grid, columns=per_row)  # fmt: skip
    for axis in axes[len(arms) :]:
        axis.set_visible(False)
    room = (t.WIDTH - 0.4) / per_row
    for axis, arm in zip(axes, arms, strict=False):
        part = parts[arm]
        most = max([float(v) for v in part["n"] if known(v)], default=1.0) or 1.0
        colour = t.TREATED if arm in ("treated", "started", "stand-in") or len(arms) == 1 else t.COMPARISON
        for y, row in enumerate(rows_of(part)):
            lost = known(row.excluded) and float(row.excluded) > 0
            if known(row.n):
                axis.barh(y, float(row.n), height=0.34, color=colour, zorder=3)
                if lost:
                    axis.barh(y, float(row.excluded), left=float(row.n), height=0.34, facecolor="#f7f8f9",
                              edgecolor=t.PALE_COMPARISON, hatch="////", zorder=2, lw=0.6)  # fmt: skip
                text = count(row.n)
            else:
                t.hatched(axis, 0, most * 0.25, y, "", height=0.34)
                text = "not shown, to protect a small group"
            reason = _sentence(row.reason)
            if lost:
                reason = f"{t_minus(row.excluded)}  {reason}"
            lines = t.wrap(reason, room - 0.2, 7.5, most=2)
            axis.text(0, y - 0.23, "\n".join(lines), size=7.5, color=t.MUTED, va="bottom", linespacing=1.1)
            filled = float(row.n) + (float(row.excluded) if lost else 0.0) if known(row.n) else most * 0.25
            seen = known(row.n)
            axis.text(filled + most * 0.02, y, text, size=8.5 if seen else 7.8, weight="bold" if seen else "normal",
                      style="normal" if seen else "italic", va="center", color=t.INK if seen else t.MUTED)  # fmt: skip
        t.heading(axis, pretty(arm, labels), colour=colour if colour != t.COMPARISON else t.MUTED)
        axis.set_xlim(0, most * 1.2)
        axis.set_ylim(rows - 0.6, -0.85)
        axis.axis("off")
    return fig


LAST = {"treated records": "Starters who are compared", "comparison records": "Records they are compared with"}


def _sentence(reason: object) -> str:
    text = in_words(LAST.get(reason, reason)) if isinstance(reason, str) else ""
    return text[:1].upper() + text[1:]


def t_minus(value: float) -> str:
    """The number left out, with a true minus."""
    return number(-float(value), 0)


def _told(part: pd.DataFrame) -> np.ndarray:
    excluded = pd.to_numeric(part["excluded"], errors="coerce")
    keep = (excluded.isna() | (excluded > 0)).to_numpy()
    keep[[0, -1]] = True
    return keep


@t.drawn
def reach(
    frame: pd.DataFrame, *, labels: Mapping[str, str] | None = None, title: str | None = None,
    subtitle: str | None = None, footnote: str | None = None,
) -> Figure:  # fmt: skip
    """People reached, by tier and priority public: the share of each tier, with the number of people.

    Parameters
    ----------
    frame : one row a tier and group: tier, group, n (people; missing = suppressed), share (0 to 1; missing where
        percentages are withheld). A group called `everyone` becomes the heading of its tier.
    labels : tier or group -> words.
    """
    require(frame, ("tier", "group", "n", "share"), "reach")
    tiers = list(dict.fromkeys(frame["tier"]))
    groups = [g for g in dict.fromkeys(frame["group"]) if g != "everyone"] or ["everyone"]
    if title is None:
        title = "Who was reached?"
    hidden = frame[frame["group"].isin(groups)][["n", "share"]].isna().any(axis=1).any()
    note = " ".join(
        part
        for part in (footnote, "Hatched: a small group; its number or percentage is withheld." if hidden else "")
        if part
    )
    columns = min(3, len(tiers))
    grid = -(-len(tiers) // columns)
    fig, axes = t.frame(title, subtitle or "Share of the people of each tier, and their number", note,
                        height=grid * (0.36 * len(groups) + 0.75), rows=grid, columns=columns, sharey=True,
                        sharex=True)  # fmt: skip
    for axis in axes[len(tiers) :]:
        axis.set_visible(False)
    shares = pd.to_numeric(frame["share"], errors="coerce") * 100
    edge = (
        max(10.0, float(shares[frame["group"].isin(groups)].max(skipna=True) or 0.0)) if shares.notna().any() else 100.0
    )
    for axis, tier in zip(axes, tiers, strict=False):
        part = frame[frame["tier"] == tier].drop_duplicates("group").set_index("group")
        for y, group in enumerate(groups):
            row = part.loc[group] if group in part.index else None
            if row is None:
                axis.text(0, y, " not asked", size=7.8, color=t.FAINT, va="center", style="italic")
            elif not known(row["n"]):
                t.hatched(axis, 0, edge * 0.9, y, "small group", height=0.55)
            elif not known(row["share"]):
                t.hatched(axis, 0, edge * 0.9, y, f"{count(row['n'])} people", height=0.55)
            else:
                value = 100 * float(row["share"])
                axis.barh(y, value, height=0.55, color=t.TREATED, zorder=3)
                words = f"{number(value, 0 if value >= 10 or not value else 1)}%"
                beside: dict[str, Any] = {"textcoords": "offset points", "va": "center", "zorder": 5}
                axis.annotate(words, (value, y), xytext=(4, 0), size=8.2, weight="bold", **beside)
                axis.annotate(count(row["n"]), (value, y), xytext=(10 + 72 * t.inches(words, 8.2, "bold"), 0), size=7.5,
                              color=t.MUTED, **beside)  # fmt: skip
        total = part.loc["everyone", "n"] if "everyone" in part.index else None
        t.heading(axis, pretty(tier, labels), f"{count(total)} people" if known(total) else "")
        t.label_column(axis, [pretty(group, labels) for group in groups], width=1.7)
        axis.set_xlim(0, edge * (1.75 if columns == 3 else 1.45 if columns == 2 else 1.2))
        axis.set_xticks([])
        axis.spines["bottom"].set_visible(False)
    return fig
