"""From ATT(g, t) to the figures people quote: overall, by event time, by cohort, by calendar period."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

import numpy as np
import pandas as pd

from ..errors import EstimationError
from ..results import Effects
from .few_clusters import jackknife_aggregate

By = Literal["overall", "event_time", "cohort", "period"]


def aggregate(
    gt: Effects, *, by: By, balance: int | None = None, overall: bool = False,
    cohort_weights: Mapping[int, float] | None = None,
) -> Effects:  # fmt: skip
    """Weighted averages of ATT(g, t), weights = cohort shares: ATT overall, by event time, cohort or period.

    Estimand : "overall": mean over all treated (g, t >= g), each weighted by its cohort's size; "event_time": at each
        event time, over the cohorts seen there; "cohort": mean over the cohort's periods after treatment; "period": at
        each calendar period, over the cohorts treated by then. `overall=True` gives one row instead: the mean over
        event times >= 0, over cohorts (by size), or over periods. Several outcomes: each has its own rows.
    Estimator : Callaway & Sant'Anna 2021, section 3.1 (did::aggte simple, dynamic, group, calendar).
    Std. errors : influence functions, with the term for the estimated cohort shares (none for weights you give).
    Edge cases : (g, t) without an estimate carry no weight and are named in the notes.
    Checked : reference/did (R did 2.5.1, fastdid 1.0.7).

    Parameters
    ----------
    gt : from `group_time_att`. balance : only cohorts seen until this event time, and event times up to it, so that the
        mix of cohorts does not change from 0 to `balance`; before 0 cohorts may still join (as in did::aggte), which a
        note says; `by="event_time"` only.
    cohort_weights : {cohort: weight >= 0} in place of the cohorts' shares, such as next year's intake; a cohort that is
        not named carries none. Any other weights: `gt.combine(weights)`.
    """
    if by not in ("overall", "event_time", "cohort", "period"):
        raise EstimationError('by "overall", "event_time", "cohort" or "period"', repr(by), "choose one of these")
    if gt.shares is None or gt.share_scores is None or not {"cohort", "period"} <= set(gt.labels):
        raise EstimationError("the result of group_time_att", f"effects {gt.estimand}", "aggregate ATT(g, t), once")
    whole = isinstance(balance, (int, np.integer)) and not isinstance(balance, bool)
    if balance is not None and (by != "event_time" or not whole or balance < 0):
        raise EstimationError('balance, an event time >= 0, with by="event_time"', f"balance={balance!r}, by={by!r}",
                              "leave balance out, or name the last event time that all cohorts reach")  # fmt: skip
    if cohort_weights is not None and not isinstance(cohort_weights, Mapping):
        raise EstimationError("cohort_weights as {cohort: weight}", repr(cohort_weights), "name the cohorts")
    if cohort_weights is not None:
        gt = _given_weights(gt, cohort_weights)
    outcomes = gt.labels["outcome"] if "outcome" in gt.labels else pd.Series("", index=gt.labels.index)
    pieces = [_of_outcome(gt, name, (outcomes == name).to_numpy(), by, balance, overall) for name in outcomes.unique()]
    labels = pd.concat([piece[0] for piece in pieces], ignore_index=True)
    weights, extra = np.vstack([piece[1] for piece in pieces]), np.hstack([piece[2] for piece in pieces])
    g, t = gt.labels["cohort"].to_numpy(), gt.labels["period"].to_numpy()
    lost = int((np.isnan(gt.estimate) & (t >= g)).sum())
    notes = (*gt.notes, f"{lost} ATT(g, t) after treatment carry no weight.") if lost else gt.notes
    if balance is not None and len({tuple(np.unique(g[row != 0])) for row in weights}) > 1:
        notes = (*notes, "Not the same cohorts at every event time: some begin later before date zero, or lack a cell.")
    out = gt.combine(weights, weights_influence=extra, labels=labels, estimand=_estimand(by, overall))
    sum_comparison = bool(gt.spec.get("risk_set"))
    counts = [_counts(gt, row, g, sum_comparison) for row in weights]

    def weigh(one: Effects) -> dict[str, np.ndarray]:
        """Weights by term without one cluster; none where an average over fewer keys would be another estimand."""
        found: dict[str, np.ndarray] = {}
        for name in outcomes.unique():
            own = (outcomes == name).to_numpy()
            groups = _groups(one, own, by, balance)
            if groups and (not overall or by == "cohort" or len(groups) == len(_groups(gt, own, by, balance))):
                named, row, _ = _of_outcome(one, name, own, by, balance, overall)
                found |= dict(zip(named["term"], row, strict=True))
        return found

    if gt.jackknife is not None:
        out = jackknife_aggregate(out, gt, weights, weigh, fixed=cohort_weights is not None)
    return replace(
        out, n_treated=np.array([c[0] for c in counts]), n_comparison=np.array([c[1] for c in counts]), notes=notes,
        spec={**gt.spec, "by": by, "balance": balance, "overall": overall,
              "cohort_weights": dict(cohort_weights) if cohort_weights else None},
    )  # fmt: skip


def _given_weights(gt: Effects, cohort_weights: Mapping[int, float]) -> Effects:
    """The same ATT(g, t) with these weights as cohort shares, known and not estimated."""
    assert gt.shares is not None and gt.share_scores is not None
    unknown = [g for g in cohort_weights if g not in gt.shares.index]
    values = np.array(list(cohort_weights.values()), dtype=float)
    if unknown or not np.isfinite(values).all() or (values < 0).any() or not values.sum() > 0:
        raise EstimationError("a weight >= 0, one of them above 0, for cohorts that were estimated",
                              f"{len(unknown)} unknown cohorts and weights {values.tolist()}",
                              f"name cohorts among {gt.shares.index.tolist()}", keys=unknown)  # fmt: skip
    shares = pd.Series(0.0, index=gt.shares.index) + pd.Series(dict(cohort_weights), dtype=float)
    return replace(gt, shares=shares.fillna(0.0), share_scores=np.zeros_like(gt.share_scores))


def _of_outcome(gt: Effects, outcome: str, own: np.ndarray, by: By, balance: int | None, overall: bool):
    """Labels, (j, K) weights and (m, j) scores of their estimation, for the rows of one outcome."""
    groups = _groups(gt, own, by, balance)
    if not groups:
        raise EstimationError("at least one estimated ATT(g, t) after treatment", "none",
                              "see `labels['reason']` of the ATT(g, t)")  # fmt: skip
    keys = list(groups)
    weights, extra = _weights(gt, list(groups.values()), equal=by == "cohort")
    if by == "overall" or overall:
        weights, extra = _collapse(gt, by, keys, weights, extra)
        labels = pd.DataFrame({"term": ["overall"]})
    else:
        labels = pd.DataFrame({"term": [f"{by}={key}" for key in keys], by: keys})
    if outcome:
        labels = labels.assign(term=f"{outcome}: " + labels["term"], outcome=outcome)
    return labels, weights, extra


def _groups(gt: Effects, own: np.ndarray, by: By, balance: int | None) -> dict[int, np.ndarray]:
    """Rows of ATT(g, t) behind each aggregate."""
    g, t = gt.labels["cohort"].to_numpy(), gt.labels["period"].to_numpy()
    event, known = t - g, own & ~np.isnan(gt.estimate) & (_shares_of_rows(gt)[0] > 0)
    after = known & (event >= 0)
    if by == "overall":
        return {0: np.flatnonzero(after)} if after.any() else {}
    if by == "event_time":
        keep = known
        if balance is not None:
            first, last = gt.spec["periods"][0], gt.spec["periods"][-1]
            keep = known & (last - g >= balance) & (event <= balance) & (event >= balance - (last - first))
        return {int(e): np.flatnonzero(keep & (event == e)) for e in np.unique(event[keep])}
    of = g if by == "cohort" else t
    return {int(key): np.flatnonzero(after & (of == key)) for key in np.unique(of[after])}


def _weights(gt: Effects, groups: list[np.ndarray], equal: bool) -> tuple[np.ndarray, np.ndarray]:
    """(j, k) weights, and the (m, j) scores of their estimation: sum_k s_k (ATT_k - theta) / sum_k p_k."""
    shares, scores = _shares_of_rows(gt)
    weights, extra = np.zeros((len(groups), len(gt))), np.zeros((gt.scores.shape[0], len(groups)))
    for j, rows in enumerate(groups):
        if equal:  # within a cohort every period counts the same
            weights[j, rows] = 1 / len(rows)
            continue
        p = shares[rows]
        weights[j, rows] = p / p.sum()
        theta = weights[j, rows] @ gt.estimate[rows]
        extra[:, j] = scores[:, rows] @ (gt.estimate[rows] - theta) / p.sum()
    return weights, extra


def _shares_of_rows(gt: Effects) -> tuple[np.ndarray, np.ndarray]:
    assert gt.shares is not None and gt.share_scores is not None
    at = gt.shares.index.get_indexer(pd.Index(gt.labels["cohort"]))
    return gt.shares.to_numpy()[at], gt.share_scores[:, at]


def _collapse(gt: Effects, by: By, keys: list[int], weights: np.ndarray, extra: np.ndarray):
    """One row from many: event times >= 0 and periods count equally, cohorts by their share."""
    if by == "cohort":
        assert gt.shares is not None and gt.share_scores is not None
        at = gt.shares.index.get_indexer(pd.Index(keys))
        p = gt.shares.to_numpy()[at]
        effects = np.array([row[row != 0] @ gt.estimate[row != 0] for row in weights])
        theta = p @ effects / p.sum()
        outer = p / p.sum()
        own = gt.share_scores[:, at] @ (effects - theta) / p.sum()
        return (outer @ weights)[None], (extra @ outer + own)[:, None]
    use = np.array([by != "event_time" or key >= 0 for key in keys], float)
    if not use.any():
        raise EstimationError("event times after treatment", "none", "check the cohorts and periods")
    outer = use / use.sum()
    return (outer @ weights)[None], (extra @ outer)[:, None]


def _counts(gt: Effects, row: np.ndarray, g: np.ndarray, disjoint: bool) -> tuple[int, int]:
    """Treated units: cohorts are disjoint, so they add up; comparison units only do between risk sets."""
    used = np.abs(row) > 0
    per = pd.DataFrame({"g": g[used], "t": gt.n_treated[used], "c": gt.n_comparison[used]}).groupby("g").max()
    return int(per["t"].sum()), int(per["c"].sum() if disjoint else per["c"].max())


def _estimand(by: By, overall: bool) -> str:
    of = {"overall": "overall", "event_time": "by event time", "cohort": "by cohort", "period": "by period"}[by]
    return f"ATT {of}" + (", averaged" if overall and by != "overall" else "")
