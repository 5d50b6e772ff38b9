"""Are the groups comparable? Balance of covariates before and after a design, and overlap. No p-values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd

from ..errors import DesignError
from ..results import Balance, Check, Design, require_design
from .arms import Arms, Figures, nothing
from .table import categories, refuse_missing, require_columns
from .terms import Term, interactions_of, read_terms, squares_of

SCALE = {
    "treated": "SD of the treated, original sample",
    "all": "pooled SD of both arms, original sample",
    "overlap": "pooled SD of both arms, original sample",
}


def balance(
    design: Design, *, covariates: Sequence[str] | None = None, threshold_smd: float = 0.1, squares: bool = False,
    interactions: bool = False, by: str | None = None, missing: Literal["refuse", "indicator"] = "refuse",
) -> Balance:  # fmt: skip
    """Balance of every covariate and of the distance, before and after the design.

    Estimator : standardised mean difference over the SD of the treated in the original sample for target "treated",
        over the pooled SD sqrt((v1 + v0) / 2) for "all" and "overlap" (and where the treated do not vary); for a column
        of two values, sqrt(p(1-p)) times their distance. Ratio of reliability-weighted variances (none for two
        values). Mean and largest (KS) distance between the weighted empirical distributions, over the distinct values
        of the original sample. "Before" carries the design's sampling weights, where it has them.
    Edge cases : a constant covariate has SMD 0; one that is constant within both arms at different values, infinity;
        both are named in the notes. A combination that nobody has is left out, and counted.
    Example : `at.balance(design, squares=True).readable(order="worst")`; `at.plots.love(at.balance(design))` draws it.
    Checked : reference/match balance_before/after of nn1_* (MatchIt 4.7.2), cobalt_balance_lalonde with its squares and
        interactions and ipw_*, ebal_*, cbps_* (cobalt 4.5.5).

    Parameters
    ----------
    design : from `match`, `stratify` or `weight`. covariates : columns of its units; None means the design's covariates
        and exact columns. threshold_smd : shown beside the table, decides nothing.
    squares : of numbers of more than two values. interactions : every product of two, categories and two-valued columns
        by level.
    by : column of clusters; `Balance.clusters` then has the table of each, as if it were alone, and `across()` the mean
        and the worst.
    missing : "refuse", or "indicator": figures among those known, and a row `name:missing` for being missing.

    Returns
    -------
    Balance whose table has columns covariate, sample (before | after), mean_treated, mean_comparison, smd,
    variance_ratio, ks, ecdf_mean, kind; categories one row a level (`name_level`), the distance last.
    """
    require_design(design)
    if covariates is None:
        covariates = [*design.covariates, *(design.spec.get("exact") or ())]
    names = list(dict.fromkeys(covariates))
    require_columns(design.units, [*names, *([by] if by else [])])
    if not names:
        raise DesignError("at least one covariate", "none", "name the columns to compare")
    if not threshold_smd > 0:
        raise DesignError("threshold_smd above 0", f"{threshold_smd}", "0.1 is customary")
    if missing not in ("refuse", "indicator"):
        raise DesignError('missing "refuse" or "indicator"', f"{missing!r}", "choose one of these")
    refuse_missing(design.units, [*(names if missing == "refuse" else ()), *([by] if by else ())])
    if by in (*nothing(), "covariate", "sample", "kind"):
        raise DesignError("by= a column not named like one of the table of balance", f"{by!r}", "rename it",
                          column=str(by))  # fmt: skip
    arms = arms_of(design)
    found = read_terms(design.units, names)
    terms: list[Term] = list(found)
    terms += squares_of(found) if squares else []
    terms += interactions_of(found) if interactions else []
    if design.distance is not None:
        terms.append(Term.of("distance", np.asarray(design.distance, float), kind="distance"))
    groups = _clusters(design.units[by], arms) if by else {}
    rows: list[dict[str, Any]] = []
    within: list[dict[str, Any]] = []
    notes, empty = list(design.whom), 0
    for term in terms:
        figures = _measured(term, arms)
        if term.kind == "interaction" and figures[0].value == 0:
            empty += 1
            continue
        rows += [row for label, one in zip(term.labels, figures, strict=True) for row in one.rows(label, term.kind)]
        notes += [f"{label}: {one.remark}." for label, one in zip(term.labels, figures, strict=True) if one.remark]
        for level, cluster in groups.items():
            ours = zip(term.labels, _measured(term, cluster), strict=True)
            within += [{str(by): level, **row} for label, one in ours for row in one.rows(label, term.kind)]
    if empty:
        notes.append(f"{empty:,} combinations that nobody has are left out.")
    silent = [str(level) for level, cluster in groups.items() if not all(cluster.alive.values())]
    if silent:
        shown = ", ".join(silent[:5]) + (", ..." if len(silent) > 5 else "")
        notes.append(f"{len(silent):,} of {len(groups):,} levels of {by} lack units of one arm, before or after the "
                     f"design, and have no figures there: {shown}.")  # fmt: skip
    _refuse_twins([row["covariate"] for row in rows[::2]])
    parts = {label: part for term in terms for label, part in zip(term.labels, term.parts, strict=True)}
    return Balance(
        table=pd.DataFrame(rows), threshold_smd=threshold_smd, notes=tuple(notes),
        clusters=pd.DataFrame(within) if by else None,
        spec={"denominator": SCALE[design.target], "target": design.target, "by": by, "missing": missing,
              "parts": parts, "how": kind_of_design(design), "estimand": design.estimand if design.whom else None},
    )  # fmt: skip


def arms_of(design: Design) -> Arms:
    """The weights of both arms before and after the design; a design without units in an arm is refused."""
    weights = np.asarray(design.weights, float)
    sampling = design.spec.get("sampling")
    base = design.units[sampling].to_numpy(float) if sampling else None
    arms = Arms.of(design.treated, base, weights, pooled=design.target != "treated")
    for sample, alive in arms.alive.items():
        if not alive:
            raise DesignError("a design with units in both arms", "none left" if sample == "after" else "one arm empty",
                              "build a design that keeps units")  # fmt: skip
    return arms


def kind_of_design(design: Design) -> str:
    """What the design did, for the headline of a figure."""
    if len(design.pairs):
        return "matching"
    return "weighting" if design.spec.get("method") in ("ipw", "overlap", "entropy", "cbps") else "the design"


def _measured(term: Term, arms: Arms) -> list[Figures]:
    """The figures of each label of a term, among the units whose value is known."""
    return term.levels(arms) if term.codes is not None else [term.number(arms)]


def _clusters(column: pd.Series, arms: Arms) -> dict[Any, Arms]:
    codes, levels = categories(column.astype("category"))
    order = np.argsort(codes, kind="stable")
    ends = np.cumsum(np.bincount(codes, minlength=len(levels)))
    return {level: arms.only(part) for level, part in zip(levels, np.split(order, ends[:-1]), strict=True)}


def _refuse_twins(labels: list[str]) -> None:
    twice = [label for label in dict.fromkeys(labels) if labels.count(label) > 1]
    if twice:
        raise DesignError("covariates of different names", "a level, a product or the distance matched on named like "
                          "another column", "rename the column", count=len(twice), keys=twice)  # fmt: skip


def overlap(design: Design, *, least_covered: float = 0.75, good_smd: float = 0.1, worst_smd: float = 0.25) -> Check:
    """Do treated units have comparable comparison units at all?

    Failed when less than `least_covered` of the treated are covered (what is left no longer speaks for the group asked
    about), or a covariate still differs by more than `worst_smd` standard deviations after the design. Passed when none
    differs by more than `good_smd`. Between the two: not settled. These are facts of the design, no test; the other
    quantities (range, AUC, effective sample size) are shown and decide nothing.

    Parameters
    ----------
    design : from `match`, `stratify`, `weight` or `everyone`. least_covered : share in [0, 1].
    good_smd, worst_smd : SDs as `balance` takes them (0.1: Stuart 2010; 0.25: Rubin 2001).
    """
    after = balance(design).after
    t = design.treated
    sizes = after["smd"].abs().to_numpy()
    where, largest = str(after["covariate"].iloc[int(sizes.argmax())]), float(sizes.max())
    covered, ess = design.covered_share, design.ess
    rows = [("share of the treated covered", covered, least_covered, "at least"),
            ("largest standardised mean difference after", largest, worst_smd, "at most")]  # fmt: skip
    if design.propensity is not None:
        from sklearn.metrics import roc_auc_score

        p = design.propensity
        outside = float(((p[t] < p[~t].min()) | (p[t] > p[~t].max())).mean())
        rows += [("share of the treated outside the comparison's propensity range", outside, np.nan, ""),
                 ("AUC of the propensity", float(roc_auc_score(t, p)), np.nan, "")]  # fmt: skip
    rows += [("effective treated units", float(ess["treated"]), np.nan, ""),
             ("effective comparison units", float(ess["comparison"]), np.nan, "")]  # fmt: skip
    table = pd.DataFrame(rows, columns=["quantity", "value", "threshold", "rule"])
    have = "have a partner" if len(design.pairs) else "carry weight"
    failed = []
    if covered < least_covered:
        failed.append(f"Fewer than {least_covered:.0%} of the treated {have}")
    if largest > worst_smd:
        failed.append(f"{where} still differs by {largest:.2f} SD (at most {worst_smd} is allowed)")
    good = f"At least {least_covered:.0%} of the treated {have}, and no covariate differs by more than {largest:.2f} SD"
    passed = False if failed else True if largest <= good_smd else None
    return Check(
        name="overlap", question="Do the treated have comparable units to be compared with?", statistic=covered,
        std_error=None, threshold=least_covered, passed=passed, text=("; ".join(failed) or good) + ".", table=table,
    )  # fmt: skip
