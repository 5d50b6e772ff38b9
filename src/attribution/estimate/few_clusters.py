"""Standard errors from few clusters or few treated units: a jackknife, and Student's t.

Scores of few clusters understate the variance, most of all when few are treated or one is large: a cluster pulls the
estimate towards itself, and the normal quantile takes the variance for known. Leaving a cluster out undoes the first
(the jackknife CV3: Bell & McCaffrey 2002; MacKinnon, Nielsen & Webb 2023), degrees of freedom from the design the
second (Imbens & Kolesár 2016). tests/recovery/few_clusters.csv holds how often a true null is then rejected.

Few treated units among many need no refits: leaving out one of n equal units moves their mean by 1 / (n - 1) of its
distance, so the jackknife is the scores of that arm times n / (n - 1) (HC3 of MacKinnon & White 1985), with n - 1
degrees of freedom. tests/recovery/few_treated.csv holds the rates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, NoReturn

import numpy as np
import pandas as pd

from ..cohorts.cells import Cells
from ..cohorts.panel import Panel
from ..errors import EstimationError
from ..inference import FEW_TREATED, Jackknife, Support
from ..results import Effects
from .group_time import GroupTimeFit, Part

FEW = 40  # clusters: with more, the scores of the clusters themselves
MANY = 200  # clusters: up to here the jackknife where an arm of a cohort has fewer than FEW_TREATED of them
FEWEST_TREATED = 10  # treated clusters among more than MANY

Rule = Literal["auto", "off"]


@dataclass(frozen=True, kw_only=True)
class Clusters:
    """How many clusters there are, with any treated unit, and (G, 2) with treated and with other units of a cohort."""

    total: int
    treated: int
    arms: np.ndarray

    @classmethod
    def of(cls, group: np.ndarray, treated: np.ndarray) -> Clusters:
        """Those of units of one cohort and others, by the (n,) number of their cluster and whether they are treated."""
        arms = [len(np.unique(group[treated])), len(np.unique(group[~treated]))]
        return cls(total=len(np.unique(group)), treated=arms[0], arms=np.array([arms]))

    @property
    def few(self) -> bool:
        """Are there so few, or so few in one arm, that their scores understate the variance?"""
        if self.total > MANY:
            return self.treated < FEWEST_TREATED
        return bool(self.total <= FEW or self.arms.min(initial=FEW_TREATED) < FEW_TREATED)


def clusters_of(panel: Panel, cells: Cells, cohorts: np.ndarray) -> Clusters | None:
    """The clusters of some cells; None where every unit is its own."""
    if not cells.clustered or panel.own_cluster:
        return None
    of_row = cells.cohort[cells.cell]
    arms = [[len(np.unique(cells.group[of_row == g])), len(np.unique(cells.group[of_row != g]))] for g in cohorts]
    treated = len(np.unique(cells.group[np.isin(of_row, cohorts)]))
    return Clusters(total=int(cells.group[-1]) + 1, treated=treated, arms=np.array(arms, int).reshape(-1, 2))


def refuse_few(clusters: Clusters, column: str | None) -> NoReturn:
    """Refuse estimators whose standard errors nothing corrects for few clusters."""
    raise EstimationError(
        f"more than {FEW} clusters, with at least {FEW_TREATED} in and outside of every cohort (above {MANY}: "
        f"{FEWEST_TREATED} treated)",
        f"{clusters.total:,} clusters, {clusters.treated:,} treated, where a true null is rejected far too often",
        'use group_time_att, which corrects for few clusters, or say few_clusters="off" and read the standard errors '
        "as a lower limit", column=column,
    )  # fmt: skip


def off_note(clusters: Clusters | None) -> str:
    """The sentence for few clusters that nothing corrects for, by choice; empty where there are enough."""
    if clusters is None or not clusters.few:
        return ""
    return (f"Few clusters ({clusters.total}, {clusters.treated} treated): these standard errors are too small, read "
            "them as a lower limit; group_time_att corrects for it.")  # fmt: skip


def check_rule(few_clusters: Rule) -> None:
    if few_clusters not in ("auto", "off"):
        raise EstimationError('few_clusters "auto" or "off"', repr(few_clusters), "choose one of these")


def enlarge_few(cells: Cells, fit: GroupTimeFit, cohorts: np.ndarray, clusters: Clusters | None) -> Support | None:
    """Enlarge the scores of arms of few units (or clusters); what carries each estimate, None where all have enough."""
    counts, fitted = np.zeros((len(fit.labels), 2), int), np.zeros((len(fit.labels), 2), int)
    for part in fit.parts:
        own = _units(cells, part)
        fitted[part.ks, 1] = np.maximum(fitted[part.ks, 1], len(part.columns))
        before = counts[part.ks]
        counts[part.ks] = np.where(before > 0, np.minimum(before, own), own)
    if clusters is not None:
        by_cohort = clusters.arms[np.searchsorted(cohorts, fit.labels["cohort"])]
        counts = np.where(counts > 0, np.minimum(counts, np.maximum(by_cohort - fitted, 1)), 0)
    factor = enlargement(counts, fitted)
    if not ((counts > 0) & (counts < FEW_TREATED)).any() and (factor == 1).all():
        return None
    fit.parts[:] = [replace(part, factor=factor[part.ks]) for part in fit.parts]
    outcome, cohort = fit.labels["outcome"].to_numpy(str), fit.labels["cohort"].to_numpy()
    treated = Support.of(counts[:, 0], pd.factorize(pd.MultiIndex.from_arrays([outcome, cohort]))[0])
    return treated.beside(Support.of(counts[:, 1], pd.factorize(outcome)[0], arm=1))


def enlargement(counts: np.ndarray, fitted: np.ndarray | int = 0) -> np.ndarray:
    """n / (n - 1) where n is few, else 1; of a regression with p slopes, which n leaves out, (n + p) / (n - 1).

    The latter is 1 / (1 - h) at the mean leverage h = (p + 1) / (n + p); few where that is above 1 / 20.
    """
    few = (counts > 1) & (counts + fitted < FEW_TREATED * (fitted + 1))
    return np.where(few, (counts + fitted) / np.maximum(counts - 1, 1), 1.0)


def _units(cells: Cells, part: Part) -> np.ndarray:
    """(2,) treated and comparison units of a part, in the period with fewer; a covariate costs a comparison unit."""
    periods = [part.used] if part.post is None else [part.used & part.post, part.used & ~part.post]
    pairs = [[cells.n[here & part.treated].sum(), cells.n[here & ~part.treated].sum() - len(part.columns)]
             for here in periods]  # fmt: skip
    return np.maximum(np.min(pairs, axis=0), 1)


def few_units_note(support: Support | None, clusters: bool) -> str:
    """The sentence for estimates that rest on few treated or comparison units; empty where none does."""
    if support is None:
        return ""
    few = int((support.units < FEW_TREATED - 1e-6).sum())
    what = "clusters" if clusters else "units"
    if not few:
        return ""
    return (f"{few} of {len(support.units)} estimates rest on fewer than {FEW_TREATED} treated or comparison {what}: "
            "standard errors enlarged by n / (n - 1), Student's t.")  # fmt: skip


def leave_one_out(
    cells: Cells, fit: GroupTimeFit, clusters: Clusters, refit: Callable[[Cells], GroupTimeFit]
) -> Jackknife:
    """Every ATT(g, t) and cohort share without each cluster in turn.

    refit : makes the fit again from other cells; it may be left with one unit in an arm.

    Raises
    ------
    EstimationError : fewer than 10 treated clusters among more than 200.
    """
    if clusters.total > MANY:
        raise EstimationError(
            f"{FEWEST_TREATED} treated clusters or more among more than {MANY}",
            f"{clusters.treated} among {clusters.total:,}",
            'cluster more coarsely, or say few_clusters="off" and read the standard errors as a lower limit',
        )  # fmt: skip
    count, k = clusters.total, len(fit.labels)
    place = pd.Series(np.arange(k), index=fit.labels["term"])
    arms = 4 if any(part.post is not None for part in fit.parts) else 2
    estimates, shares = np.full((1 + count, k), np.nan), np.zeros((1 + count, len(fit.shares)))
    loadings = np.full((1 + count, count, arms, k), np.nan)
    for r in range(1 + count):
        left = cells.without(r - 1) if r else cells
        one = refit(left) if r else fit
        at = place[one.labels["term"]].to_numpy()
        estimates[r, at], shares[r] = one.estimate, one.shares.to_numpy()
        loadings[r][..., at] = _loadings(left, one, count, arms)
    missing = np.isnan(estimates)
    loadings[np.broadcast_to(missing[:, None, None], loadings.shape)] = np.nan
    return Jackknife(estimates=estimates, shares=shares, loadings=loadings, weights=np.eye(k)[None],
                     contrasts=_contrasts(cells.periods, fit.labels, arms))  # fmt: skip


def _loadings(cells: Cells, fit: GroupTimeFit, clusters: int, arms: int) -> np.ndarray:
    """(G, A, K) sums of w alpha by cluster and arm: treated, comparison (and again in the later period)."""
    out = np.zeros((clusters * arms, len(fit.labels)))
    for part in fit.parts:
        rows = np.flatnonzero(part.used[cells.cell])
        at = cells.cell[rows]
        arm = np.where(part.treated[at], 0, 1) + (0 if part.post is None else 2 * part.post[at])
        alpha, _ = part.score(cells, at)
        sums = np.bincount(cells.group[rows] * arms + arm, weights=cells.w[rows] * alpha, minlength=len(out))
        out[:, part.ks] += sums[:, None] * part.share
    return out.reshape(clusters, arms, -1)


def _contrasts(periods: np.ndarray, labels: pd.DataFrame, arms: int) -> np.ndarray:
    """(A, K, T) outcome path -> what a loading multiplies: the change, or its own period in repeated cross-sections."""
    low, high, period = (labels[name].to_numpy()[:, None] for name in ("low", "high", "period"))
    base = ((periods >= low) & (periods <= high)).astype(float)
    base /= np.maximum(base.sum(axis=1, keepdims=True), 1)
    later = (periods == period).astype(float)
    return np.stack([later - base] * 2 if arms == 2 else [base, base, later, later])


def jackknifed(effects: Effects, jackknife: Jackknife) -> Effects:
    """ATT(g, t) with the jackknife in place of the clusters' scores."""
    shares = jackknife.shares
    factor = np.sqrt((len(shares) - 2) / (len(shares) - 1))
    return _with(replace(effects, share_scores=factor * (shares[1:] - shares[0])), jackknife)


def jackknife_aggregate(
    out: Effects, gt: Effects, weights: np.ndarray, weigh: Callable[[Effects], dict[str, np.ndarray]], fixed: bool
) -> Effects:
    """An aggregate of `gt` with its weights made again without each cluster.

    weights : (j, K) with all clusters. weigh : ATT(g, t) without a cluster -> weights by term of `out`. A cohort may
    leave with its only cluster, unless its weight is `fixed`; an ATT(g, t) of a cohort that stays may not.
    """
    jackknife, shares = gt.jackknife, gt.shares
    assert jackknife is not None and shares is not None
    replicates = [weights]
    rows_of = shares.index.get_indexer(pd.Index(gt.labels["cohort"]))
    for estimate, share in zip(jackknife.estimates[1:], jackknife.shares[1:], strict=True):
        left = shares if fixed else pd.Series(share, index=shares.index)
        one = replace(gt, estimate=estimate, scores=np.empty((0, len(estimate))), shares=left,
                      share_scores=np.empty((0, len(left))), jackknife=None)  # fmt: skip
        found = weigh(one)
        own = np.array([found.get(term, np.full(len(estimate), np.nan)) for term in out.labels["term"]])
        gone = np.isnan(estimate) & (left.to_numpy()[rows_of] > 0)
        own[((weights != 0) & gone).any(axis=1)] = np.nan
        replicates.append(own)
    return _with(out, replace(jackknife, weights=np.stack(replicates)))


def _with(effects: Effects, jackknife: Jackknife) -> Effects:
    """These estimates with the standard errors of the jackknife, and why some have none."""
    scores = jackknife.scores
    lost = ~np.isnan(effects.estimate) & np.isnan(scores).any(axis=0)
    labels = effects.labels.copy()
    if "reason" not in labels:
        labels["reason"] = ""
    arms = jackknife.arms()
    lost &= arms.any(axis=1)  # a base period is zero with any clusters
    for k in np.flatnonzero(lost):
        labels.loc[k, "reason"] = _why(*arms[k].tolist())
    notes = tuple(note for note in effects.notes if not note.startswith("Few clusters"))
    note = f"Few clusters ({len(scores)}): jackknife standard errors, Student's t."
    if lost.any():
        note += f" {int(lost.sum())} estimates have no standard error, see `labels['reason']`."
    return replace(effects, labels=labels, scores=scores, dof=jackknife.dof, jackknife=jackknife, notes=(*notes, note))


def _why(treated: int, comparison: int) -> str:
    for count, arm in ((treated, "treated"), (comparison, "comparison")):
        if count < 2:
            return f"{count} {arm} cluster: no honest standard error with fewer than 2"
    return "no standard error: without one of the clusters there is no such estimate"
