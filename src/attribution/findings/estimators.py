"""LaLonde's (1986) exercise: every estimator on the same people and covariates, where the answer is known.

For studies that hold randomised controls only. A yearly report has a bracket declared beforehand instead: seventeen
numbers to choose from would be an invitation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd

from ..cohorts.cohorts import Cohort, landmarks
from ..design.everyone import everyone
from ..design.match import match
from ..design.stratify import stratify
from ..design.weight import weight
from ..errors import DesignError, attempt
from ..estimate.aipw import aipw
from ..estimate.att import att
from ..results import Design, Effects
from ..study import Study
from .words import MINUS, Told

COLUMNS = ["pool", "outcome", "estimator", "estimand", "estimate", "std_error", "n_treated", "n_comparison", "reason"]
EXPERIMENT = "Experiment (difference in means)"


def every_estimator(
    units: pd.DataFrame, outcome: str, *, covariates: Sequence[str], key: str, base: str = "",
    base_covariates: Sequence[str] = (),
) -> pd.DataFrame:  # fmt: skip
    """The effect of `treated` on `outcome` by every estimator of the package: one row each, ATT unless it says else.

    Std. errors : those that suit each design by default: pairs, strata or units; Abadie & Imbens (2006, 2016) with
        replacement; M-estimation for weights and outcome models; the influence function where folds are crossed.
    Edge cases : an estimator that refuses has no number but its reason.

    Parameters
    ----------
    units : one row a unit, with column `treated`, the covariates and the outcome. key : column of unique values.
    base : the outcome before treatment from which changes are taken; "" leaves out the difference-in-differences.
    base_covariates : what is held equal for it.
    """
    rows = []
    for name, estimate in _estimators(units, outcome, list(covariates), key, base, list(base_covariates)).items():
        effect, why = attempt(estimate)
        row: dict[str, object] = {"estimator": name, "reason": why}
        if effect is not None:
            row |= {"estimand": effect.estimand, "estimate": effect.estimate[0], "std_error": effect.std_error[0],
                    "n_treated": int(effect.n_treated[0]), "n_comparison": int(effect.n_comparison[0])}  # fmt: skip
        rows.append(row)
    return pd.DataFrame(rows).reindex(columns=[name for name in COLUMNS if name not in ("pool", "outcome")])


def _estimators(units, outcome, x, key, base, base_x) -> dict[str, Callable[[], Effects]]:
    def pairs(**options) -> Design:
        return match(units, "treated", covariates=x, key=key, **options)

    def strata(**options) -> Design:
        return stratify(units, "treated", covariates=x, key=key, **options)

    def weights(**options) -> Design:
        return weight(units, "treated", covariates=x, key=key, **options)

    def model(**options) -> Effects:
        return aipw(units, "treated", outcome=outcome, covariates=x, key=key, **{"target": "treated", **options})

    def boosted() -> Effects:
        from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

        options = {"max_iter": 60, "max_leaf_nodes": 8, "random_state": 0, "early_stopping": False}
        return model(folds=5, outcome_model=HistGradientBoostingRegressor(**options),
                     propensity_model=HistGradientBoostingClassifier(**options))  # fmt: skip

    def change() -> Effects:
        frame = units.assign(change=units[outcome] - units[base])
        return aipw(frame, "treated", outcome="change", covariates=base_x, target="treated", key=key)

    near = {"distance": "scaled_euclidean", "ratio": 5, "replace": True, "ties": "all"}
    made: dict[str, Callable[[], Effects]] = {
        "Difference in means": lambda: att(everyone(units, "treated"), outcome),
        "Regression, one slope": lambda: model(form="ra", interact=False),
        "Regression in each arm": lambda: model(form="ra"),
        "Coarsened exact": lambda: att(strata(method="coarsened"), outcome),
        "Nearest propensity, caliper 0.2": lambda: att(pairs(caliper_sd=0.2), outcome),
        "The same, adjusted": lambda: att(pairs(caliper_sd=0.2), outcome, adjust=x),
        "Optimal pairs, caliper 0.2": lambda: att(pairs(method="optimal", caliper_sd=0.2), outcome),
        "Nearest propensity, replacement": lambda: att(pairs(replace=True, ties="all"), outcome),
        "Nearest Mahalanobis, replacement": lambda: att(
            pairs(distance="mahalanobis", replace=True, ties="all"), outcome),
        "Five nearest, bias-corrected": lambda: att(pairs(**near), outcome, bias_correction=x),
        "Full matching, caliper 0.2": lambda: att(strata(method="full", caliper_sd=0.2), outcome),
        "Six subclasses": lambda: att(strata(method="subclass"), outcome),
        "Inverse probability weights": lambda: att(weights(method="ipw"), outcome),
        "Entropy balancing": lambda: att(weights(method="entropy"), outcome),
        "Covariate balancing propensity": lambda: att(weights(method="cbps"), outcome),
        "Overlap weights": lambda: att(weights(method="overlap"), outcome),
        "Doubly robust (AIPW)": model,
        "Doubly robust, boosted trees, 5 folds": boosted,
    }  # fmt: skip
    return made | ({"Difference-in-differences, doubly robust": change} if base else {})


def lalonde_table(study: Study, tier: str) -> pd.DataFrame:
    """Every estimator against every pool, on income at the horizon and on the placebo before; the experiment first.

    The placebo is the study's own (`[design] placebo`), from designs without `placebo_drop`: its truth is zero. The
    experiment's rows come from the randomised controls and are printed, never used.

    Returns
    -------
    DataFrame, columns `COLUMNS`: pool, outcome ("effect" or "placebo"), estimator, estimand, estimate, ...

    Raises
    ------
    DesignError : the study holds no randomised controls.
    """
    plan, pools = study.design, study.comparison
    if not pools.benchmark:
        raise DesignError("a study with randomised controls", "none", "declare the estimators beforehand: see bracket")
    everybody = landmarks(study, tier, pools=[*pools.pools, pools.benchmark])
    kept = [name for name in plan.covariates if name not in plan.placebo_drop]
    from_ = f"income_lag_{-study.did.base_period}" if isinstance(study.did.base_period, int) else ""
    parts = []
    for pool in (pools.benchmark, *pools.pools):
        units = _with_outcome(everybody.select(status=pool))
        asked = {"effect": ("income_h", list(plan.covariates)), "placebo": (plan.placebo, kept)}
        for what, (outcome, covariates) in asked.items():
            if pool == pools.benchmark:
                found = every_estimator(units, outcome, covariates=covariates, key="record_id").head(1)
                found = found.assign(estimator=EXPERIMENT, estimand="ATE, randomised")
            else:
                found = every_estimator(units, outcome, covariates=covariates, key="record_id", base=from_,
                                        base_covariates=study.did.covariates)  # fmt: skip
            parts.append(found.assign(pool=pool, outcome=what))
    return pd.concat(parts, ignore_index=True)[COLUMNS]


def _with_outcome(cohort: Cohort) -> pd.DataFrame:
    return cohort.units.assign(income_h=cohort.outcomes["income_h"].to_numpy(dtype=float, na_value=float("nan")))


def lalonde_words(study: Study, table: pd.DataFrame) -> pd.DataFrame:
    """`lalonde_table` as people read it: one row an estimator, "estimate (standard error)" by pool and outcome."""

    def cell(row) -> str:
        return "refused" if pd.isna(row.estimate) else f"{row.estimate:,.0f} ({row.std_error:,.0f})".replace("-", MINUS)

    text = table.assign(told=[cell(row) for row in table.itertuples()])
    titles = {"effect": "effect", "placebo": "placebo (truth 0)"}
    columns = {}
    for pool in study.comparison.pools:
        for what, title in titles.items():
            column = text[text["pool"].isin([pool, study.comparison.benchmark]) & text["outcome"].eq(what)]
            columns[f"{study.comparison.titles.get(pool, pool)}: {title}"] = column.set_index("estimator")["told"]
    wide = pd.DataFrame(columns).reindex(list(dict.fromkeys(table["estimator"])))
    return Told(wide.rename_axis("estimator").reset_index())
