"""Two groups, two periods: one difference-in-differences, of the same units or of two cross-sections."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..cohorts.cells import encode_covariates
from ..cohorts.panel import Panel
from ..cohorts.source import read_columns
from ..errors import DataError, DesignError, EstimationError
from ..inference import FEW_TREATED, Support
from ..results import Effects
from . import kernels
from .few_clusters import Clusters, Rule, check_rule, enlargement, few_units_note, off_note, refuse_few
from .kernels import CannotEstimate, Method, RepeatedMethod


def did_2x2(
    frame: Any, *, outcome: str, period: str, treated: str, method: Method | RepeatedMethod,
    covariates: Sequence[str] = (), unit: str | None = None, weight: str | None = None, cluster: str | None = None,
    unit_of_outcome: str | None = None, few_clusters: Rule = "auto",
) -> Effects:  # fmt: skip
    """Effect on the treated group in the later of two periods: ATT.

    Estimand : E[Y_later(treated) - Y_later(not treated) | treated].
    Assumes : parallel trends between the groups given the covariates; no effect in the earlier period; overlap; without
        `unit`, that the people sampled in both periods come from one population.
    Estimator : Sant'Anna & Zhao 2020: "dr" (traditional; locally efficient for cross-sections), "dr_imp" (improved);
        "reg" Heckman, Ichimura & Todd 1997; "ipw" normalised weights, "ipw_ht" Abadie 2005. Cross-sections also
        "dr_rc1", "dr_imp_rc1" (not locally efficient) and "twfe" (regression; biased where effects move with x).
    Std. errors : influence function with the first stages estimated ("dr_imp": they add nothing); summed within
        `cluster`; no n-1. A person sampled in both cross-sections needs cluster= the person. Few clusters are refused,
        as `group_time_att` counts them; fewer than 20 units (or clusters) in an arm: their scores times n / (n - 1),
        and Student's t.
    Edge cases : units without outcome in a period (rows without outcome) are left out and counted. Comparison units
        with propensity >= 0.995 leave; no lower clip: it can move an estimate by more than its standard error.
    Checked : reference/did (R DRDID 1.2.3; its standard error of "dr" and "dr_rc1" for cross-sections has one term with
        the wrong sign, ours has not); NSW controls against CPS-1 (Sant'Anna & Zhao 2020).

    Parameters
    ----------
    frame : long table, one row a unit and period: pandas, Polars, Arrow, a DuckDB relation, or a Parquet file's path.
    outcome : number. period : integer, two values. treated : 0/1 or bool, the group, the same in both periods.
    covariates : numbers or categories, constant within a unit. unit : key of the units seen in both periods; None for
        repeated cross-sections, in which every row is another unit. weight : sampling weight >= 0.
    cluster : column of independent groups. unit_of_outcome : unit of the outcome for the reader; default its column
        name (`unit` of the other estimators, which here is the key).
    few_clusters : "auto", or "off": the sums within clusters and the normal, however few they are.

    Raises
    ------
    DataError : what Panel refuses; a group mark that is not 0/1 or changes within a unit.
    DesignError : not two periods, an empty group. EstimationError : collinear covariates, no overlap, few clusters.
    """
    _check_method(method, unit)
    check_rule(few_clusters)
    columns = [outcome, period, treated, *covariates, *(name for name in (unit, weight, cluster) if name)]
    rows = read_columns(frame, list(dict.fromkeys(columns)))
    first_treated, row = _free("first_treated", columns), _free("row", columns)
    group = _group(rows[treated], treated)
    if not pd.api.types.is_numeric_dtype(rows[period]):
        raise DataError("periods as integers", f"values of type {rows[period].dtype}", "number the periods",
                        column=period)  # fmt: skip
    periods = np.unique(rows[period].dropna().to_numpy(float))
    if len(periods) != 2:
        raise DesignError("exactly two periods", "another number of them", "keep the one before and the one after",
                          column=period, count=len(periods), keys=periods.tolist())  # fmt: skip
    if unit is not None:
        _same_group(rows[unit], group, treated)
    shift = max(0.0, 1 - periods[0])  # periods from 1: a cohort of 0 would read as another software's never treated
    rows = rows.assign(**{first_treated: np.where(group, periods[1] + shift, np.nan), row: np.arange(len(rows)),
                          period: rows[period] + shift})  # fmt: skip
    panel = Panel(rows, unit=unit or row, period=period, cohort=first_treated, outcome=outcome, weight=weight,
                  cluster=cluster)  # fmt: skip
    seen = panel.observed
    used = seen.all(axis=1) if unit is not None else seen.any(axis=1)
    d = np.isfinite(panel.cohort)[used]
    before, after = panel.y[used].T
    y = np.asarray(after - before if unit is not None else np.where(np.isnan(after), before, after))
    if min(d.sum(), (~d).sum()) < 2:
        raise DesignError("at least two treated and two comparison units with outcomes",
                          f"{d.sum()} and {(~d).sum()}", "check the group mark and the missing outcomes",
                          column=treated)  # fmt: skip
    x, names = encode_covariates(panel, covariates, panel.covariates(covariates), np.ones(len(seen)))
    x, names = kernels.varying(x[used], names)
    w = np.ones(len(y)) if panel.weight is None else panel.weight[used]
    if method != "ipw_ht":  # the others do not move with the level, and keep more digits without it
        y = y - y.mean()
    estimate, scores = _fit(method, x, names, d, None if unit is not None else seen[used, 1], w, y)
    codes = np.arange(len(y)) if panel.cluster is None else np.unique(panel.cluster[used], return_inverse=True)[1]
    if codes.max() < 1:
        raise EstimationError("at least two clusters", "one", "cluster by unit", column=cluster)
    clusters = None if cluster in (None, unit) else Clusters.of(codes, d)
    if few_clusters == "auto" and clusters is not None and clusters.few:
        refuse_few(clusters, cluster)
    arms = _independent(codes, d, None if unit is not None else seen[used, 1], x.shape[1] - 1)
    support = None
    if few_clusters == "auto" and arms.min() < FEW_TREATED:
        support = Support(sizes=arms, arms=np.arange(2), loadings=1 / arms[:, None])
    if few_clusters == "auto":
        scores = scores * enlargement(arms, np.array([0, x.shape[1] - 1]))[np.where(d, 0, 1)]
    scores = np.bincount(codes, scores)
    design = "panel" if unit is not None else "repeated cross-sections"
    left = int((~used).sum()) + panel.counts["units without any outcome, left out"]
    weightless = panel.counts["units of weight 0, left out"]
    lost = {"units without both outcomes" if unit is not None else "rows without outcome": left,
            f"{'units' if unit is not None else 'rows'} of weight 0": weightless}  # fmt: skip
    notes = [f"{count} {what} are left out." for what, count in lost.items() if count]
    few = off_note(clusters) if few_clusters == "off" else few_units_note(support, clusters is not None)
    return Effects(
        estimand="ATT", unit=unit_of_outcome or outcome,
        labels=pd.DataFrame({"term": ["att"], "period": [int(periods[1])]}),
        estimate=np.array([estimate]), scores=scores[:, None], n_treated=np.array([d.sum()]),
        n_comparison=np.array([(~d).sum()]), notes=(*notes, *filter(None, [few])),
        support=support, dof=None if support is None else support.dof,
        spec={"method": method, "design": design, "covariates": tuple(covariates),
              "periods": tuple(int(p) for p in periods), "units": len(y), "weight": weight,
              "few_clusters": few_clusters, "score_rows": "units" if cluster is None else "clusters",
              "clusters": None if cluster is None else len(scores)},
    )  # fmt: skip


def _fit(method, x, names, d, post, w, y) -> tuple[float, np.ndarray]:
    """Estimate, and what each unit adds to it; `post` None for a panel."""
    try:
        if post is None:
            panel = kernels.two_by_two(method, x, d, w, (w * y)[:, None])
            estimate, (alpha, gamma) = panel.estimate, panel.score(x, d)
        else:
            repeated = kernels.two_by_two_rc(method, x, d, post, w, (w * y)[:, None])
            estimate, (alpha, gamma) = repeated.estimate, repeated.score(x, d, post)
    except CannotEstimate as reason:
        blamed = [names[column] for column in reason.columns if column < len(names)]
        if reason.code.startswith("no overlap"):
            required, mend = "treated and comparison units that overlap", "drop covariates that decide treatment"
        elif reason.code.startswith("collinear"):
            required, mend = "covariates that say different things", "drop or merge the collinear ones"
        else:
            raise DesignError("both groups in both periods", reason.code, "check the group mark: it is the same in "
                              "both periods") from reason  # fmt: skip
        raise EstimationError(required, reason.code, mend, count=len(blamed) or None, keys=blamed) from reason
    return float(estimate[0]), w * (alpha * y + gamma[:, 0])


def _independent(codes: np.ndarray, d: np.ndarray, post: np.ndarray | None, covariates: int) -> np.ndarray:
    """(2,) treated and comparison units (or clusters), in the period with fewer; a covariate costs a comparison one."""
    periods = [np.ones(len(d), bool)] if post is None else [post, ~post]
    counts = [[len(np.unique(codes[here & arm])) for arm in (d, ~d)] for here in periods]
    return np.maximum(np.min(counts, axis=0) - [0, covariates], 1).astype(float)


def _check_method(method: str, unit: str | None) -> None:
    allowed = kernels.REPEATED_METHODS if unit is None else kernels.METHODS
    if method not in allowed:
        what = "repeated cross-sections" if unit is None else "a panel"
        raise EstimationError(f"a method for {what}", repr(method), f"choose one of {', '.join(allowed)}")


def _group(values: pd.Series, column: str) -> np.ndarray:
    """(rows,) bool."""
    known = values.isin([0, 1])
    if not known.all():
        raise DataError("0 or 1 in every row", "other or missing values", "code the treated group 1, the other 0",
                        column=column, count=int((~known).sum()), keys=list(values[~known].unique()[:5]))  # fmt: skip
    return values.to_numpy(dtype=float) == 1


def _same_group(units: pd.Series, group: np.ndarray, column: str) -> None:
    share = pd.Series(group.astype(float)).groupby(units.to_numpy()).transform("mean")
    changes = units[((share > 0) & (share < 1)).to_numpy()].unique()
    if len(changes):
        raise DataError("a treated group that is the same in both periods", "units that change",
                        "mark the group in both periods, not the treatment in force", column=column,
                        count=len(changes), keys=list(changes))  # fmt: skip


def _free(name: str, taken: Sequence[str]) -> str:
    """A column name that the frame does not use."""
    while name in taken:
        name += "_"
    return name
