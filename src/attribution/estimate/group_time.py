"""Every ATT(g, t) of some cells: which cells meet which, one call of the kernel for all that share them, and scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from ..cohorts.cells import Cells
from .kernels import CannotEstimate, TwoByTwo, TwoByTwoRepeated, two_by_two, two_by_two_rc, varying

Comparison = Literal["never_treated", "not_yet_treated"]
Base = Literal["varying", "universal"] | int | tuple[int, int] | list[int]
GroupTimeMethod = Literal["dr", "dr_imp", "reg", "ipw"]


@dataclass(frozen=True, kw_only=True)
class Part:
    """Estimates that share treated and comparison cells, and how any moment row counts in them."""

    ks: list[int]  # their places among all estimates
    used: np.ndarray  # (C,) bool
    treated: np.ndarray  # (C,) bool
    post: np.ndarray | None  # (C,) bool: repeated cross-sections, seen in the later period
    contrast: np.ndarray  # (J * T, k): outcome path -> outcome change
    columns: list[int]  # covariates that vary here
    share: np.ndarray  # (k,) of each estimate that comes from here: 1, or 1 / periods of a base in cross-sections
    kernel: TwoByTwo | TwoByTwoRepeated
    factor: np.ndarray | None = None  # (k, 2) that enlarges the scores of treated and comparison units, few of them

    def add(self, out: np.ndarray, cells: Cells, block: slice) -> None:
        """Add the contributions of a block of moment rows to out (rows, K)."""
        cell = cells.cell[block]
        rows = np.flatnonzero(self.used[cell])
        at = cell[rows]
        alpha, gamma = self.score(cells, at)
        gamma *= cells.w[block][rows, None]
        gamma += alpha[:, None] * (cells.y[block][rows] @ self.contrast)
        if self.factor is not None:
            gamma *= np.where(self.treated[at][:, None], self.factor[:, 0], self.factor[:, 1])
        out[rows[:, None], self.ks] += gamma * self.share

    def score(self, cells: Cells, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """alpha (r,), gamma (r, k) of moment rows that belong to these cells."""
        x = np.ones((len(at), 1 + len(self.columns)), order="F")
        for place, column in enumerate(self.columns, start=1):
            x[:, place] = cells.x[at, column]
        if isinstance(self.kernel, TwoByTwoRepeated):
            assert self.post is not None
            return self.kernel.score(x, self.treated[at], self.post[at])
        return self.kernel.score(x, self.treated[at])


class GroupTimeFit:
    """Every ATT(g, t) of some cells: labels, estimates, counts, cohort shares, and the parts that score them."""

    def __init__(self, cells: Cells, labels: pd.DataFrame, cohorts: np.ndarray) -> None:
        k = len(labels)
        self.labels, self.estimate, self.parts = labels, np.full(k, np.nan), list[Part]()
        self.n_treated, self.n_comparison = np.zeros(k, int), np.zeros(k, int)
        self.reason = np.full(k, "", dtype=object)
        self.members = [treated_cells(cells, g) for g in cohorts]
        sizes = [cells.weight[member].sum() for member in self.members]
        self.shares = pd.Series(sizes, index=cohorts) / cells.n.sum()

    def scores(self, cells: Cells) -> tuple[np.ndarray, str]:
        """Scores of the estimates and of the cohort shares, side by side, in one pass over the moment rows."""
        k, n = len(self.estimate), cells.n.sum()

        def of_rows(block: slice) -> np.ndarray:
            out = np.zeros((block.stop - block.start, k + len(self.shares)))
            for part in self.parts:
                part.add(out, cells, block)
            out[:, :k][:, np.isnan(self.estimate)] = 0.0
            for j, (member, share) in enumerate(zip(self.members, self.shares, strict=True)):
                own = np.where(member[cells.cell[block]], cells.w[block], 0.0)
                out[:, k + j] = (own - cells.one[block] * share) / n
            return out

        return cells.scores(of_rows, k + len(self.shares))


def fit_cells(
    cells: Cells, cohorts: np.ndarray, *, comparison: Comparison, base_period: Base, method: GroupTimeMethod,
    anticipation: int, cross_section: bool, fewest: int = 2,
) -> GroupTimeFit:  # fmt: skip
    """Point estimates of every ATT(g, t), and how to score them; an arm of less than `fewest` units has none."""
    fit = GroupTimeFit(cells, layout(cells, cohorts, base_period, anticipation), cohorts)
    never = ~np.isfinite(cells.cohort) | (cells.cohort > cells.periods[-1] + anticipation)
    start = None
    for g in cohorts.tolist():
        treated = treated_cells(cells, g)
        others = (cells.cohort != g) & (True if cells.risk_set is None else cells.risk_set == g)
        groups: dict[bytes, _Group] = {}
        known: dict[tuple, _Group] = {}
        for row in fit.labels[fit.labels["cohort"] == g].itertuples():
            k, window = row.Index, (cells.periods >= row.low) & (cells.periods <= row.high)
            if not window.any():
                fit.reason[k] = "base period not observed"
                continue
            if row.low < row.high and row.low < cells.periods[0]:
                fit.reason[k] = "base window begins before the first period"
                continue
            if row.low == row.high == row.period:
                fit.estimate[k], fit.reason[k] = 0.0, "base period"
            until = None
            if comparison == "not_yet_treated":
                until = max(row.period, int(cells.periods[window].max())) + anticipation
            here, base = _places(cells, row, window)
            asked = (until, *(() if cells.complete and not cross_section else (here.tobytes(), base.tobytes())))
            pool = never if until is None else never | (cells.cohort > until)
            if asked not in known:
                known[asked] = _group(cells, treated, pool & others, here, base, cross_section, groups)
            group = known[asked]
            fit.n_treated[k], fit.n_comparison[k] = group.n_treated, group.n_comparison
            if fit.reason[k]:
                continue
            if min(group.n_treated, group.n_comparison) < fewest:
                arm = "treated" if group.n_treated < fewest else "comparison"
                when = "either period" if cross_section else "both periods"
                fit.reason[k] = f"fewer than two {arm} units with an outcome in {when}"
                continue
            if not cross_section:
                group.add(k, here - base / base.sum())
                continue
            for one in np.flatnonzero(base & ~here):  # other people in each period: one base after another, averaged
                alone = np.arange(len(base)) == one
                pair = _group(cells, treated, pool & others, here, alone, cross_section, groups)
                if min(pair.n_treated, pair.n_comparison) < fewest:
                    fit.reason[k] = "fewer than two units with an outcome in a period of the base"
                pair.add(k, (here | alone) * 1.0, 1 / base.sum())
        for group in groups.values():
            if group.ks:
                start = _fit_group(fit, cells, group, treated, method, start)
    fit.estimate[(fit.reason != "") & (fit.reason != "base period")] = np.nan
    fit.labels["reason"] = fit.reason
    return fit


@dataclass(frozen=True, kw_only=True)
class _Group:
    """Cells of one comparison, and the estimates that are made from it: all of them in one call of the kernel."""

    used: np.ndarray
    post: np.ndarray | None
    n_treated: int
    n_comparison: int
    ks: list[int]
    contrasts: list[np.ndarray]
    shares: list[float]

    def add(self, k: int, contrast: np.ndarray, share: float = 1.0) -> None:
        self.ks.append(k)
        self.contrasts.append(contrast)
        self.shares.append(share)


def _group(cells, treated, others, here, base, cross_section, groups) -> _Group:
    used = treated | others
    if cross_section:
        used &= cells.observed[:, here | base].any(axis=1)
    elif not cells.complete:
        used &= cells.observed[:, here | base].all(axis=1)
    post = cells.observed[:, here].any(axis=1) if cross_section else None
    made = _Group(used=used, post=post, n_treated=int(cells.n[used & treated].sum()),
                  n_comparison=int(cells.n[used & ~treated].sum()), ks=[], contrasts=[], shares=[])  # fmt: skip
    return groups.setdefault(used.tobytes() + (b"" if post is None else post.tobytes()), made)


def _places(cells: Cells, row, window: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(J * T,) bool: the period and the base of one ATT(g, t) in the outcome path."""
    here, base = np.zeros(cells.observed.shape[1], bool), np.zeros(cells.observed.shape[1], bool)
    own = slice(cells.outcomes.index(row.outcome) * len(window), None)
    here[own][: len(window)], base[own][: len(window)] = cells.periods == row.period, window
    return here, base


def _fit_group(fit: GroupTimeFit, cells: Cells, group: _Group, treated: np.ndarray, method, start):
    """One call of the kernel; returns the propensity, a start for the next one."""
    used, post, ks, contrast = group.used, group.post, group.ks, np.column_stack(group.contrasts)
    x, names = varying(cells.x[used], cells.names)
    change = cells.sums[used] @ contrast
    try:
        kernel: TwoByTwo | TwoByTwoRepeated
        if post is None:
            fits = start is not None and len(start) == x.shape[1]
            kernel = two_by_two(method, x, treated[used], cells.weight[used], change, start if fits else None)
            start = kernel.propensity
        else:
            kernel = two_by_two_rc(method, x, treated[used], post[used], cells.weight[used], change)
    except CannotEstimate as reason:
        fit.reason[ks] = reason.code + "".join(f" ({names[column]})" for column in reason.columns)
        return start
    share = np.array(group.shares)
    fit.estimate[ks] = np.nan_to_num(fit.estimate[ks]) + share * kernel.estimate
    columns = [cells.names.index(name) for name in names[1:]]
    fit.parts.append(Part(ks=ks, used=used, treated=treated, post=post, contrast=contrast, columns=columns,
                          share=share, kernel=kernel))  # fmt: skip
    return start


def treated_cells(cells: Cells, g: int) -> np.ndarray:
    """(C,) bool: cells of the units that cohort g is about."""
    of_cohort = cells.cohort == g
    return of_cohort if cells.risk_set is None else of_cohort & (cells.risk_set == g)


def layout(cells: Cells, cohorts: np.ndarray, base: Base, anticipation: int) -> pd.DataFrame:
    """One row per (outcome, cohort, period in which it was observed) with the base window [low, high]."""
    rows, periods, width = [], cells.periods, len(cells.periods)
    for o, outcome in enumerate(cells.outcomes):
        prefix = f"{outcome}: " if len(cells.outcomes) > 1 else ""
        for g in cohorts.tolist():
            before = int(periods[periods + anticipation < g].max())
            seen = np.atleast_1d(cells.observed[treated_cells(cells, g), o * width : (o + 1) * width].any(axis=0))
            for j, t in enumerate(periods.tolist()):
                low = high = before
                if not seen[j] or (base == "varying" and j == 0):
                    continue
                if base == "varying" and t < g:
                    low = high = int(periods[j - 1])
                elif isinstance(base, tuple):
                    low, high = g + base[0], g + base[1]
                elif not isinstance(base, str):
                    low = high = g + base
                rows.append((f"{prefix}att({g},{t})", outcome, g, t, t - g, low, high))
    return pd.DataFrame(rows, columns=["term", "outcome", "cohort", "period", "event_time", "low", "high"])


def bases(fit: GroupTimeFit, periods: np.ndarray) -> tuple[tuple[int, ...], ...]:
    """The different bases of the estimates, each as the event times it consists of."""
    made = fit.labels[np.isfinite(fit.estimate)]
    found = {tuple(int(p - row.cohort) for p in periods if row.low <= p <= row.high) for row in made.itertuples()}
    return tuple(sorted(found))
