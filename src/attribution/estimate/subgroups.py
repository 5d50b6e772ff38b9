"""Effects in subgroups of a design, how they differ, what could have been seen at all, and how often one looked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any, Literal

import numpy as np
import pandas as pd

from ..design.table import categories, refuse_missing, require_columns
from ..errors import EstimationError
from ..inference import normal_quantile, student_quantile, wald
from ..results import Design, Effects, Result
from ..results.words import effect_words
from .few_units import few_note, few_units
from .g_computation import Vcov, cluster_robust, fewest, potential_means, read_adjustment, target
from .glm import Family
from .sample import read_outcome, unit_of

Correction = Literal["holm", "bh"]


@dataclass(frozen=True, kw_only=True, repr=False)
class Subgroups(Result):
    """Effects by subgroup and their pairwise differences, on one sample with one covariance.

    effects : one term a level. differences : one term a pair, "second minus first"; None with one level.
    table : a row each, with p_adjusted (over the subgroups, and over the differences, apart) and mde, the smallest true
        effect that would be found significant at 5 % in `power` of samples (80 %: 2.8 standard errors, Bloom 1995).
    refused : levels without an estimate, and why. heterogeneity : (Wald statistic, degrees of freedom, p) that all
        effects are equal (where a level has few units, p of an F with the fewest degrees of freedom); None with one
        level, and with CR2, whose degrees of freedom belong to single effects.
    """

    by: str
    effects: Effects
    differences: Effects | None
    table: pd.DataFrame
    refused: Mapping[str, str] = field(default_factory=dict)
    heterogeneity: tuple[float, int, float] | None = None
    correction: Correction = "holm"
    power: float = 0.8

    def tidy(self) -> pd.DataFrame:
        return self.table.copy()

    def summary(self) -> str:
        keep = ["kind", "term", "estimate", "std_error", "conf_low", "conf_high", "p_adjusted", "mde", "n_treated",
                "n_comparison"]  # fmt: skip
        text = self.table[keep].to_string(index=False, float_format=lambda v: f"{v:,.4g}")
        lines = [f"{self.effects.estimand}, in {self.effects.unit} "
                 f"(95 % intervals each; p adjusted by {self.correction})", text]  # fmt: skip
        lines.append(f"mde: smallest true effect that would be found (5 %, two-sided) in {self.power:.0%} of samples")
        lines += [f"{level}: no estimate, {why}" for level, why in self.refused.items()]
        if self.heterogeneity is not None:
            statistic, dof, p = self.heterogeneity
            lines.append(f"all subgroups alike? Wald {statistic:.2f} on {dof}, p = {p:.3f}; not rejecting shows little "
                         "where the mde of the differences is large.")  # fmt: skip
        return "\n".join([*lines, effect_words(self.effects.spec), *self.effects.notes])


def subgroup_effects(
    design: Design, outcome: Any, *, by: str, adjust: Sequence[str] = (), model: Family = "linear",
    vcov: Vcov | None = None, cluster: str | None = None, correction: Correction = "holm", power: float = 0.8,
    data: pd.DataFrame | None = None, unit: str | None = None,
) -> Subgroups:  # fmt: skip
    """The effect in each level of `by`, with the design's weights: ATT (or the design's target) per subgroup.

    Estimand : the design's, within each level. Assumes : as `g_computation`, within each level.
    Estimator : g-computation with the levels (and `adjust`) interacted with treatment, averaged over the target of each
        level; without `adjust` the difference of weighted means inside the level.
    Std. errors : as `g_computation`, jointly, so that differences are exact also where pairs cross levels; with CR2,
        degrees of freedom, p-values and detectable effects of each effect and each difference are its own.
    Edge cases : levels that fewer than 20 units of an arm carry: Student's t in intervals, p-values and mde, as in
        `g_computation`. Levels with fewer than two treated or comparison units get no estimate but a reason;
        others stand. A design that did not match exactly on `by` balances the whole, not each level: said in a note.
    Checked : reference/match subgroup_lalonde (WeightIt 1.4.0, marginaleffects 0.30.0).

    Parameters
    ----------
    design, outcome, adjust, model, vcov, cluster, data, unit : as in `g_computation`. by : column of the units.
    correction : of p-values for how many levels were looked at: "holm" or "bh" (false discovery rate).
    power : of the minimum detectable effect, in (0, 1).

    Raises
    ------
    EstimationError : no level with two units in each arm, options that do not go together.
    """
    if correction not in ("holm", "bh") or not 0 < power < 1:
        raise EstimationError('correction "holm" or "bh", 0 < power < 1', f"{correction!r}, {power}", "choose one")
    name, y = read_outcome(design, outcome, data)
    require_columns(design.units, [by])
    if by in (design.treatment, name):
        raise EstimationError("by= a column fixed before treatment", "the treatment or the outcome itself",
                              "split by something known before", column=by)  # fmt: skip
    inside = np.isfinite(y) & design.matched
    refuse_missing(design.units[inside], [by])
    code, found = categories(design.units[by])
    t, refused, kept = design.treated, {}, []
    for j, level in enumerate(found):
        n1, n0 = int((inside & t & (code == j)).sum()), int((inside & ~t & (code == j)).sum())
        if min(n1, n0) < 2:
            refused[str(level)] = f"{n1} treated and {n0} comparison units with weight and outcome"
        else:
            kept.append(j)
    if not kept:
        raise EstimationError("a subgroup with two treated and two comparison units", "none",
                              "split by something coarser", column=by, count=len(found))  # fmt: skip
    others = [name_x for name_x in adjust if name_x != by]
    sample = read_adjustment(design, name, y, others, vcov, cluster, keep=np.isin(code, kept))
    mine = code[sample.used]
    level_of = np.stack([mine == j for j in kept], axis=1)
    names = [f"{by}_{found[j]}" for j in kept]
    sample = replace(sample, x=np.hstack([sample.x, level_of[:, 1:]]), names=[*sample.names, *names[1:]],
                     level=level_of.argmax(axis=1))  # fmt: skip
    over = target(design, sample)[:, None] * level_of
    means, rows, told = potential_means(sample, y, over, model)
    pairs = list(combinations(range(len(kept)), 2))
    contrast = np.zeros((len(pairs), len(kept)))
    for row, (first, second) in enumerate(pairs):
        contrast[row, [first, second]] = -1.0, 1.0
    support = few_units(sample.weights[sample.used], sample.block, np.tile(np.eye(len(kept)), (2, 1)),
                        **sample.small(True))  # fmt: skip
    dof, own = None if support is None else support.dof, None
    if sample.vcov.startswith("CR"):
        if model != "linear":
            raise EstimationError('model="linear" for vcov CR0 to CR3', f"{model!r}", 'use vcov="cluster"')
        each = np.vstack([np.eye(len(kept)), -np.eye(len(kept))])
        rows, own = cluster_robust(sample, y, over, True, np.hstack([each, each @ contrast.T]))
        dof = fewest(dof, None if own is None else own[: len(kept)])
    arm = t[sample.used]
    if not others:
        _settle(means, rows, y[sample.used], arm, level_of)
    terms = [str(found[j]) for j in kept]
    notes = [*sample.notes, *told]
    if by not in design.spec.get("exact", ()):
        notes.append(f"The design balances the whole, not each level of {by}: read the balance of a level before it.")
    counts = level_of[arm].sum(axis=0), level_of[~arm].sum(axis=0)
    notes += few_note(support, np.min(counts), dof, what=sample.what, terms=terms)
    effects = Effects(
        estimand=f"{sample.estimand}, each level of {by}", unit=unit or unit_of(y[sample.used], name),
        labels=pd.DataFrame({"term": terms, "outcome": name}), estimate=means[0] - means[1],
        scores=rows[:, 0] - rows[:, 1], n_treated=counts[0], n_comparison=counts[1],
        dof=dof, support=support, notes=tuple(notes),
        spec={"outcome": name, "by": by, "cluster": cluster, "adjust": tuple(adjust), "model": model,
              "vcov": sample.vcov, "design": dict(design.spec)},
    )  # fmt: skip
    differences, heterogeneity = None, None
    if pairs:
        labels = pd.DataFrame({"term": [f"{terms[b]} minus {terms[a]}" for a, b in pairs]})
        differences = effects.combine(contrast, labels=labels, estimand=f"difference of effects by {by}")
        base = contrast[: len(kept) - 1]  # every other level against the first
        if own is None:
            heterogeneity = wald(base @ effects.estimate, base @ effects.cov @ base.T, effects.degrees.min())
        else:
            differences = replace(differences, dof=fewest(differences.dof, own[len(kept) :]))
    if own is not None:  # a combination takes the fewest, not what the units alone would say
        effects = replace(effects, support=None)
        differences = None if differences is None else replace(differences, support=None)
    table = pd.concat([_table(part, kind, correction, power) for kind, part in (("subgroup", effects),
                      ("difference", differences)) if part is not None], ignore_index=True)  # fmt: skip
    return Subgroups(by=by, effects=effects, differences=differences, table=table, refused=refused,
                     heterogeneity=heterogeneity, correction=correction, power=power)  # fmt: skip


def _settle(means: np.ndarray, rows: np.ndarray, y: np.ndarray, arm: np.ndarray, level_of: np.ndarray) -> None:
    """Where all of an arm fare alike in a level, what is left is rounding, and over rounding it looks significant."""
    for a, mine in enumerate((arm, ~arm)):
        for j in range(level_of.shape[1]):
            own = y[mine & level_of[:, j]]
            if np.ptp(own) == 0:
                means[a, j], rows[:, a, j] = own[0], 0.0


def minimum_detectable_effect(std_error: Any, *, power: float = 0.8, alpha: float = 0.05) -> Any:
    """Smallest true effect found significant at `alpha` with probability `power`: 2.80 standard errors (Bloom 1995).

    Estimator : (z of 1 - alpha / 2 + z of power) x std_error, two-sided; Student's t for Effects with dof.

    Parameters
    ----------
    std_error : a number, an array, or Effects, whose standard errors are meant; the answer is in their unit.
    power, alpha : in (0, 1).
    """
    if not (0 < alpha < 1 and 0 < power < 1):
        raise EstimationError("power and alpha between 0 and 1", f"{power}, {alpha}", "0.8 and 0.05 are common")
    times = normal_quantile(1 - alpha / 2) + normal_quantile(power)
    if not isinstance(std_error, Effects):
        return times * np.asarray(std_error, float)
    if std_error.dof is None:
        return times * std_error.std_error
    few = student_quantile(1 - alpha / 2, std_error.dof) + student_quantile(power, std_error.dof)
    return np.where(np.isfinite(std_error.dof), few, times) * std_error.std_error


def _table(effects: Effects, kind: str, correction: Correction, power: float) -> pd.DataFrame:
    from statsmodels.stats.multitest import multipletests

    out = effects.tidy()
    out.insert(0, "kind", kind)
    p = out["p_value"].to_numpy()
    known = np.isfinite(p)
    adjusted = np.full(len(p), np.nan)
    if known.any():
        adjusted[known] = multipletests(p[known], method={"holm": "holm", "bh": "fdr_bh"}[correction])[1]
    out["p_adjusted"], out["mde"] = adjusted, minimum_detectable_effect(effects, power=power)
    return out
