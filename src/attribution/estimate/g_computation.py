"""Effects after a design by g-computation: outcome models of both arms, averaged over those the design speaks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from ..design.table import encode, refuse_missing, require_columns
from ..errors import EstimationError
from ..inference import normal_quantile, student_quantile
from ..results import Design, Effects
from .clustered import cluster_scores, satterthwaite_dof
from .few_units import few_note, few_units
from .glm import Family, regress
from .sample import complete_weights, held_fixed, left_out, read_outcome, unit_of, usual_errors

Scale = Literal["difference", "ratio", "odds_ratio"]
Vcov = Literal["cluster", "m_estimation", "HC0", "HC1", "HC3", "CR0", "CR1", "CR1S", "CR2", "CR3"]


def g_computation(
    design: Design, outcome: Any, *, adjust: Sequence[str] | None = None, scale: Scale = "difference",
    model: Family = "logit", vcov: Vcov | None = None, cluster: str | None = None, data: pd.DataFrame | None = None,
    interact: bool = True, parts: bool = False, unit: str | None = None,
) -> Effects:  # fmt: skip
    """Risk difference, ratio or odds ratio (or a difference in means) of the people the design speaks for.

    Estimand : mean outcome of the design's target if treated against if not: the treated that carry weight
        (target "treated"), all units that do ("all"), or those weighted by overlap.
    Assumes : the design's covariates and `adjust` hold all that decides both treatment and outcome; nobody's treatment
        changes another's outcome. With design weights that balance, the outcome model may be wrong.
    Estimator : Robins 1986; Snowden, Rose & Mortimer 2011. Outcome on `adjust` in each arm by design-weighted maximum
        likelihood (the treatment x covariates model), predicted for the target with and without treatment.
    Std. errors : delta method of the coefficients' sandwich, the target's covariates held fixed. "cluster": by pair or
        stratum, or by `cluster`, times G/(G-1), and for a linear model (n-1)/(n-k); "m_estimation": with the
        equations of the design weights; HC0, HC1, HC3. None: that where they were estimated; for cells or
        subclasses as in `att`; else "cluster".
        CR0 to CR3: cluster-robust errors of the linear model for few clusters, CR2 with Satterthwaite's degrees of
        freedom (`clustered`). Ratios are estimated on the log scale; the note shows them exponentiated.
    Edge cases : fewer than 20 units (or clusters) carry an arm: Student's t as in `att`; with CR2 the smaller of both
        degrees of freedom. Missing outcomes leave with their pair, counted. A level in which all outcomes of an arm
        are alike: the limit of the likelihood, flagged in a note. An outcome told exactly, a covariate that does not
        vary in an arm, a ratio of a risk of 0: refused.
    Checked : reference/match gcomp_darfur, nn1_*, nsw_experimental (marginaleffects 0.30.0, sandwich 3.0.2).

    Parameters
    ----------
    design : from `match`, `stratify` or `weight`. outcome : column of its units or of `data`, or an (n,) array.
    adjust : columns of the units; None: the design's covariates. scale : "ratio" and "odds_ratio" need a mean above 0.
    model : "logit" or "probit" (0/1 outcomes), "linear". cluster : column of the units naming independent groups.
    vcov : kind of standard error, above. interact : coefficients of their own in each arm; False: treatment enters as
        one coefficient.
    parts : three terms in place of one: observed, counterfactual, att (target "treated"), or if_treated, if_untreated,
        ate (ato).
    """
    name, y = read_outcome(design, outcome, data)
    if scale not in ("difference", "ratio", "odds_ratio") or model not in ("linear", "logit", "probit"):
        raise EstimationError('scale "difference", "ratio" or "odds_ratio", model "linear", "logit" or "probit"',
                              f"{scale!r}, {model!r}", "choose one of these")  # fmt: skip
    if parts and scale != "difference":
        raise EstimationError('parts=True with scale="difference"', f"scale = {scale!r}", "ask for one of the two")
    adjust = design.covariates if adjust is None else tuple(adjust)
    sample = read_adjustment(design, name, y, adjust, vcov, cluster)
    over = target(design, sample)
    means, rows, told = potential_means(sample, y, over[:, None], model, interact)
    turn = np.array([[1.0, 0.0, 1.0], [0.0, 1.0, -1.0]]) if parts else np.array([[1.0], [-1.0]])
    carry = np.abs(turn) if parts else np.ones((2, 1))
    support = few_units(sample.weights[sample.used], sample.block, carry, **sample.small(interact))
    dof = None if support is None else support.dof
    if sample.vcov.startswith("CR"):
        if model != "linear" or scale != "difference":
            raise EstimationError('model="linear", scale="difference" for vcov CR0 to CR3', f"{model!r}, {scale!r}",
                                  'use vcov="cluster"')  # fmt: skip
        rows, own = cluster_robust(sample, y, over[:, None], interact, turn)
        dof = fewest(dof, own)
    if parts:
        estimate, scores = means[:, 0] @ turn, rows[:, :, 0] @ turn
        terms = part_terms(design.target)
    else:
        estimate, scores = on_scale(means, rows, scale, name)
        terms = [name]
    words = {"ratio": "log risk ratio", "odds_ratio": "log odds ratio"}
    return Effects(
        estimand=sample.estimand, unit=words.get(scale) or unit or unit_of(y[sample.used], name),
        labels=pd.DataFrame({"term": terms, "outcome": name}), estimate=estimate, scores=scores,
        n_treated=np.full(len(terms), sample.counts[0]), n_comparison=np.full(len(terms), sample.counts[1]),
        notes=(*sample.notes, *few_note(support, min(sample.counts), dof, what=sample.what), *told,
               *shown_ratio(scale, estimate, scores, dof)),
        dof=dof, support=None if sample.vcov == "CR2" else support,
        spec={"outcome": name, "estimator": "g-computation", "adjust": adjust, "scale": scale, "model": model,
              "interact": interact, "vcov": sample.vcov, "cluster": cluster, "groups": len(scores),
              "design": dict(design.spec)},
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Adjustment:
    """What the regressions of a design's outcome need: who is in, with what weight, columns and independent groups."""

    design: Design
    used: np.ndarray
    treated: np.ndarray
    weights: np.ndarray
    x: np.ndarray
    names: list[str]
    groups: np.ndarray
    vcov: str
    estimand: str
    notes: tuple[str, ...]
    clustered: bool = False  # by a column of the caller's
    level: np.ndarray | None = None  # (m,) number of the level of the used units, where each has its effect

    @property
    def block(self) -> np.ndarray:
        """(m,) number of the mean that a used unit belongs to: the levels of the treated, then of the others."""
        level = np.zeros(int(self.used.sum()), int) if self.level is None else self.level
        return level + (level.max() + 1) * ~self.treated[self.used]

    def small(self, interact: bool) -> dict[str, Any]:
        """What `few_units` asks of them."""
        levels = 1 if self.level is None else self.level.max() + 1
        return {"slopes": self.x.shape[1] - levels if interact else 0.0,
                "groups": self.groups[self.used] if self.clustered else None}  # fmt: skip

    @property
    def what(self) -> str:
        return "clusters" if self.clustered else "units"

    @property
    def counts(self) -> tuple[int, int]:
        return int(self.treated[self.used].sum()), int((~self.treated[self.used]).sum())


def read_adjustment(
    design: Design, name: str, y: np.ndarray, adjust: Sequence[str], vcov: Vcov | None, cluster: str | None,
    keep: np.ndarray | None = None,
) -> Adjustment:  # fmt: skip
    """The units with weight and a known outcome; `used` (n,) bool, the rest of the arrays over the used or all.

    keep : (n,) bool, units to consider at all; None: everyone.
    """
    if vcov is not None and vcov not in get_args(Vcov):
        raise EstimationError(f"vcov {', '.join(get_args(Vcov))}", f"{vcov!r}", "choose one of these")
    t = design.treated
    weights, dropped = complete_weights(design, t, np.isfinite(y))
    if keep is not None:
        weights = np.where(keep, weights, 0.0)
    used = weights > 0
    n1, n0 = int((used & t).sum()), int((used & ~t).sum())
    if min(n1, n0) < 2:
        raise EstimationError("two or more units with weight and an outcome in both arms",
                              f"{n1} treated, {n0} comparison", "check the outcome's horizon and censoring",
                              column=name, count=dropped)  # fmt: skip
    usual = "cluster" if cluster is not None else usual_errors(design, adjust)
    kind: str = vcov or ("m_estimation" if design.weight_model is not None else usual)
    if kind == "m_estimation" and design.weight_model is None:
        raise EstimationError('a design with a weight_model, for vcov="m_estimation"', "none", 'use vcov="cluster"')
    if cluster is not None:
        require_columns(design.units, [cluster])
        refuse_missing(design.units[used], [cluster])
        groups = pd.factorize(design.units[cluster])[0]
        kind = kind if kind == "m_estimation" or kind.startswith("CR") else "cluster"
    elif kind == "cluster" or kind.startswith("CR"):
        groups = np.asarray(design.strata)
    else:  # a person's rows stay together; whoever the design put in no group stands alone
        alone = np.asarray(design.strata) < 0
        groups = np.where(alone, np.max(design.strata, initial=0) + 1 + np.arange(len(t)), design.strata)
    x, names, _ = encode(held_fixed(design, adjust, name, y, used), adjust, drop_base=True)
    notes, estimand = list(design.notes), design.estimand
    if dropped:
        notes.append(left_out(design, name, dropped))
        estimand = f"{estimand}, where {name} is known ({n1:,} of {int(t.sum()):,} treated)"
    return Adjustment(design=design, used=used, treated=t, weights=weights, names=["intercept", *names],
                  groups=groups, clustered=cluster is not None, x=np.column_stack([np.ones(len(x)), x]), vcov=kind,
                  estimand=estimand, notes=tuple(notes))  # fmt: skip


def target(design: Design, sample: Adjustment) -> np.ndarray:
    """(m,) averaging weights of the used units: the treated, all, or all by their overlap weight."""
    used, t = sample.used, sample.treated
    if design.target == "treated":
        return sample.weights[used] * t[used]
    return np.ones(int(used.sum())) if design.target == "all" else sample.weights[used]


def potential_means(
    sample: Adjustment, y: np.ndarray, over: np.ndarray, model: Family, interact: bool = True
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Means (2, J) with and without treatment under J target weightings `over` (m, J); rows (groups, 2, J); notes."""
    used, w = sample.used, sample.weights[sample.used]
    t, outcome, x = sample.treated[used], y[used], sample.x
    over = over / over.sum(axis=0)
    if model != "linear" and ((outcome < 0) | (outcome > 1)).any():
        raise EstimationError(f"an outcome between 0 and 1 for a {model}", "values outside", 'use model="linear"',
                              count=int(((outcome < 0) | (outcome > 1)).sum()))  # fmt: skip
    m, width = len(outcome), over.shape[1]
    means, rows = np.empty((2, width)), np.zeros((len(used), 2, width))
    place, notes, names = np.flatnonzero(used), [], sample.names
    one = np.ones((m, 1))
    for a, arm in enumerate((t, ~t)):
        if interact:  # each arm its own coefficients: the treatment x covariates model
            rows_in, own, asked, where = arm, x[arm], x, f" among the {'treated' if a == 0 else 'comparison'} units"
        else:
            rows_in, own, asked, where = t | ~t, np.hstack([x, t[:, None]]), np.hstack([x, one * (1 - a)]), ""
            names = [*sample.names, "treatment"]
        if interact or a == 0:
            fit = regress(own, outcome[rows_in], w[rows_in], family=model, names=names, where=where)
            if fit.separated:
                notes.append(
                    f"The {model} fits the outcome of {fit.separated:,} units{where} exactly (a level in "
                    "which all outcomes are alike): the standard error cannot know otherwise."
                )
        means[a] = fit.mean(asked) @ over
        load = fit.bread @ (asked.T @ (fit.slope(asked)[:, None] * over))  # (k, J): means by error of a coefficient
        u = fit.u / (1 - fit.lever(own)) if sample.vcov == "HC3" else fit.u
        at = place[rows_in]
        rows[at, a] = u[:, None] * (own @ load)
        if sample.vcov == "m_estimation":  # the weights' own parameters move the equations by slopes x residual
            source = sample.design.weight_model
            assert source is not None
            moved = source.slopes[at].T @ ((fit.u / w[rows_in])[:, None] * own) @ load
            rows[:, a] += source.influence @ moved
    k = 2 * x.shape[1] if interact else x.shape[1] + 1
    if sample.vcov == "HC1":
        rows *= np.sqrt(m / (m - k))
    if sample.vcov.startswith("HC"):
        return means, rows[place], tuple(notes)
    keep = np.ones(len(used), bool) if sample.vcov == "m_estimation" else used
    code = np.unique(sample.groups[keep], return_inverse=True)[1]
    groups = int(code.max()) + 1
    if groups < 2:
        raise EstimationError("at least two independent groups", f"{groups}", "no standard error exists")
    summed = np.zeros((groups, 2, width))
    np.add.at(summed, code, rows[keep])
    if sample.vcov == "cluster":
        summed *= np.sqrt(groups / (groups - 1) * ((m - 1) / (m - k) if model == "linear" else 1.0))
    return means, summed, tuple(notes)


def cluster_robust(
    sample: Adjustment, y: np.ndarray, over: np.ndarray, interact: bool, turn: np.ndarray
) -> tuple[np.ndarray, np.ndarray | None]:
    """Score rows (groups, 2, J) of the means by `cluster_scores`, and the degrees of freedom of `turn` of them (CR2).

    One regression with the arms side by side, because a cluster may hold both. over : (m, J) as `potential_means`.
    turn : (2 J, c) combinations of the J means with treatment and the J without.
    """
    used, w, x = sample.used, sample.weights[sample.used], sample.x
    arm = sample.treated[used][:, None].astype(float)
    centre = x.T @ (over / over.sum(axis=0))
    none, each = np.zeros_like(centre), np.ones((1, centre.shape[1]))
    if interact:
        own = np.hstack([x * arm, x * (1 - arm)])
        load = np.block([[centre, none], [none, centre]])
    else:
        own = np.hstack([x, arm])
        load = np.block([[centre, centre], [each, 0 * each]])
    fit = regress(own, y[used], w, family="linear")
    kind, groups = sample.vcov, sample.groups[used]
    scores = cluster_scores(own, fit.residual, w, groups, kind)  # type: ignore[arg-type]
    dof = satterthwaite_dof(own, w, groups, load @ turn) if kind == "CR2" else None
    return (scores @ load).reshape(len(scores), 2, -1), dof


def fewest(dof: np.ndarray | None, own: np.ndarray | None) -> np.ndarray | None:
    """The smaller of two degrees of freedom, where either exists."""
    return dof if own is None else own if dof is None else np.fmin(dof, own)


def part_terms(of: Literal["treated", "all", "overlap"]) -> list[str]:
    """Names of the mean with treatment, the mean without, and their difference."""
    if of == "treated":
        return ["observed", "counterfactual", "att"]
    return ["if_treated", "if_untreated", "ate" if of == "all" else "ato"]


def on_scale(means: np.ndarray, rows: np.ndarray, scale: Scale, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Estimates (J,) and score rows (groups, J): mean difference, log ratio of means, or log ratio of odds."""
    if scale == "difference":
        return means[0] - means[1], rows[:, 0] - rows[:, 1]
    if (means <= 0).any() or (scale == "odds_ratio" and (means >= 1).any()):
        raise EstimationError("means above 0 (and below 1 for odds) in both arms", f"means {means.ravel().round(4)}",
                              'use scale="difference"', column=name)  # fmt: skip
    f = np.log(means) if scale == "ratio" else np.log(means / (1 - means))
    slope = 1 / means if scale == "ratio" else 1 / (means * (1 - means))
    return f[0] - f[1], rows[:, 0] * slope[0] - rows[:, 1] * slope[1]


def shown_ratio(scale: Scale, estimate: np.ndarray, scores: np.ndarray, dof: np.ndarray | None) -> tuple[str, ...]:
    """The ratio itself, for the reader of a log ratio."""
    level = 0.95
    if scale == "difference":
        return ()
    words = "Risk ratio" if scale == "ratio" else "Odds ratio"
    z = normal_quantile(0.5 + level / 2) if dof is None else student_quantile(0.5 + level / 2, dof)
    half = z * np.sqrt((scores**2).sum(axis=0))
    return tuple(f"{words} {np.exp(b):.3f} [{np.exp(b - h):.3f}, {np.exp(b + h):.3f}] ({level:.0%} interval)."
                 for b, h in zip(estimate, half, strict=True))  # fmt: skip
