"""Are the groups comparable? Balance of covariates before and after a design, and overlap. No p-values."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ..errors import DesignError
from ..results import Balance, Check, Design
from .propensity import encode, refuse_missing, require_columns


def balance(design: Design, *, covariates: Sequence[str] | None = None, threshold_smd: float = 0.1) -> Balance:
    """Balance of every covariate and of the distance, before and after the design.

    Estimator : standardised mean difference over the SD of the treated in the original sample (the ATT's population),
        sqrt(p(1-p)) for 0/1 columns, the pooled SD where the treated do not vary; ratio of reliability-weighted
        variances (none for 0/1 columns); mean and largest (KS) distance between the weighted empirical distributions
        over the distinct values of the original sample.
    Checked : reference/match balance_before/after of nn1_* (MatchIt 4.7.2), cobalt_balance_lalonde (cobalt 4.5.5).

    Parameters
    ----------
    design : from `match`. covariates : columns of its units; None means the design's covariates and exact columns.
    threshold_smd : shown beside the table, decides nothing.

    Returns
    -------
    Balance whose table has columns covariate, sample (before | after), mean_treated, mean_comparison, smd,
    variance_ratio, ks, ecdf_mean; categories one row a level (`name_level`), the distance last.
    """
    names = list(covariates) if covariates is not None else list(
        dict.fromkeys([*design.covariates, *design.spec.get("exact", ())])
    )  # fmt: skip
    require_columns(design.units, names)
    refuse_missing(design.units, names)
    x, labels, _ = encode(design.units, names, drop_base=False)
    if design.distance is not None:
        x, labels = np.column_stack([x, design.distance]), [*labels, "distance"]
    t = design.treated
    whole, after = np.ones(len(t)), np.asarray(design.weights, float)
    if not (after[t].any() and after[~t].any()):
        raise DesignError("a design with units in both arms", "none left", "build a design that keeps units")
    rows = []
    for j, label in enumerate(labels):
        column = x[:, j]
        binary = bool(np.isin(column, (0.0, 1.0)).all())
        scale = _scale(column, t, binary)
        order = None if binary else np.argsort(column, kind="stable")
        for sample, w in (("before", whole), ("after", after)):
            rows.append({"covariate": label, "sample": sample, **_compare(column, t, w, binary, scale, order)})
    table = pd.DataFrame(rows)
    return Balance(table=table, threshold_smd=threshold_smd, spec={"denominator": "SD of the treated, original sample"})


def _scale(x: np.ndarray, t: np.ndarray, binary: bool) -> float:
    def variance(part: np.ndarray) -> float:
        p = part.mean()
        return float(p * (1 - p)) if binary else float(part.var(ddof=1))

    own = variance(x[t])
    return float(np.sqrt(own if own > 1e-20 else (own + variance(x[~t])) / 2))


def _compare(x, t, w, binary: bool, scale: float, order: np.ndarray | None) -> dict[str, float]:
    wt, wc = np.where(t, w, 0.0), np.where(t, 0.0, w)
    wt, wc = wt / wt.sum(), wc / wc.sum()
    mean_t, mean_c = float(wt @ x), float(wc @ x)
    gap = mean_t - mean_c
    out = {"mean_treated": mean_t, "mean_comparison": mean_c}
    out["smd"] = gap / scale if scale > 0 else (0.0 if abs(gap) < 1e-12 else float("inf"))
    if binary or order is None:
        return out | {"variance_ratio": float("nan"), "ks": abs(gap), "ecdf_mean": abs(gap)}
    var_t, var_c = _variance(x, wt, mean_t), _variance(x, wc, mean_c)
    out["variance_ratio"] = var_t / var_c if var_c > 0 else float("nan")
    ordered = x[order]
    last = np.append(ordered[1:] != ordered[:-1], True)  # the distribution functions jump here
    distance = np.abs(np.cumsum(wt[order] - wc[order])[last])
    return out | {"ks": float(distance.max()), "ecdf_mean": float(distance.mean())}


def _variance(x: np.ndarray, w: np.ndarray, mean: float) -> float:
    """Unbiased under reliability weights that sum to one; n - 1 for equal weights."""
    return float(w @ (x - mean) ** 2 / (1 - (w**2).sum())) if (w**2).sum() < 1 else float("nan")


def overlap(
    design: Design, *, least_covered: float = 0.75, good_smd: float = 0.1, worst_smd: float = 0.25
) -> Check:
    """Do treated units have comparable comparison units at all?

    Failed when less than `least_covered` of the treated are covered (what is left no longer speaks for the group asked
    about), or a covariate still differs by more than `worst_smd` standard deviations after the design. Passed when none
    differs by more than `good_smd`. Between the two: not answered. These are facts of the design, no test; the other
    quantities (range, AUC, effective sample size) are shown and decide nothing.

    Parameters
    ----------
    least_covered : share in [0, 1]. good_smd, worst_smd : SDs of the treated (0.1: Stuart 2010; 0.25: Rubin 2001).
    """
    t = design.treated
    after = balance(design).table.query("sample == 'after' and covariate != 'distance'")
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
    failed = []
    if covered < least_covered:
        failed.append(f"fewer than {least_covered:.0%} of the treated have a partner")
    if largest > worst_smd:
        failed.append(f"{where} still differs by {largest:.2f} SD (at most {worst_smd} is allowed)")
    good = (f"at least {least_covered:.0%} of the treated have a partner, and no covariate differs by more than "
            f"{largest:.2f} SD")  # fmt: skip
    passed = False if failed else True if largest <= good_smd else None
    return Check(
        name="overlap", question="Do the treated have comparable units to be compared with?", statistic=covered,
        std_error=None, threshold=least_covered, passed=passed, text=("; ".join(failed) or good) + ".", table=table,
    )  # fmt: skip
