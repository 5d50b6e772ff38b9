"""Imputation: what the treated would have had, from the untreated observations alone."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from ..cohorts.cells import Cells
from ..cohorts.panel import Panel
from ..errors import EstimationError
from ..inference import FEW_TREATED, Support, finite, wald
from ..results import Check, Effects
from . import fixed_effects as fe
from .aggregate import By
from .few_clusters import Clusters, Rule


def imputation(
    panel: Panel, *, by: By, anticipation: int = 0, leads: int = 0, unit: str | None = None,
    few_clusters: Rule = "auto",
) -> Effects:  # fmt: skip
    """Outcome less imputed untreated outcome, averaged over the treated observations: ATT, or ATT by event time.

    Estimand : mean of Y - Y(never) over treated observations, each counted by its sampling weight: all of them, those
        at an event time, of a cohort, or in a period.
    Assumes : parallel trends of all cohorts in all periods; no effect more than `anticipation` periods early.
    Estimator : Borusyak, Jaravel & Spiess 2024, theorem 1: unit and period effects by least squares on untreated
        observations, taken off the treated ones. Efficient where errors are homoskedastic and uncorrelated.
    Std. errors : conservative, their eq. 7: residuals of treated observations around the mean effect of their cohort
        and period (theorem 3, no leave-out), summed within units or clusters. They condition on who is treated when:
        cohort shares are fixed. Few clusters and few units: as in `twfe`.
    Edge cases : treated observations of units never seen untreated cannot be imputed: they are left out and counted.
        An ATT(g, t) that rests on one unit carries no weight (its residual would be zero), said in the notes.
        Where nobody is untreated in a period, its effects are not identified: refused, naming cohorts and periods.
    Checked : diff-diff 3.13.0 on mpdta; dense least squares (tests); equals `group_time_att` with one cohort and
        one period before treatment.

    Parameters
    ----------
    by : "overall", "event_time", "cohort", "period". anticipation : periods >= 0 before treatment that are not used.
    leads : that many event times before treatment get a row, from the separate regression of `imputation_pretrend`
        (by="event_time" only): never part of the imputation, so testing them does not distort the effects.
    few_clusters : "auto" refuses few clusters, as `group_time_att` counts them, and corrects for few units; "off": the
        sums as they are, however few.
    """
    if by not in ("overall", "event_time", "cohort", "period"):
        raise EstimationError('by "overall", "event_time", "cohort" or "period"', repr(by), "choose one of these")
    if leads and by != "event_time":
        raise EstimationError('leads with by="event_time"', f"by={by!r}", "leave leads out")
    _check_count("anticipation", anticipation, 0)
    _check_count("leads", leads, 0)
    cells = fe.cells_of(panel)
    sample = _split(cells, anticipation)
    labels, average = _averages(sample, by)
    clusters, enlarge = fe.small_sample(panel, cells, few_clusters)
    estimate, scores, support = _impute(sample, average, enlarge, clusters)
    n = np.array([fe.units_at(cells, sample.of, one > 0, sample.treated) for one in average])
    m = int(cells.n[sample.untreated.any(axis=1)].sum())
    out = Effects(
        estimand={"overall": "ATT overall", "event_time": "ATT by event time", "cohort": "ATT by cohort",
                  "period": "ATT by period"}[by] + ", imputation",
        unit=unit or panel.columns["outcome"] or "", labels=labels, estimate=estimate, scores=scores, n_treated=n,
        n_comparison=np.full(len(n), m),
        spec={"estimator": "imputation", "by": by, "anticipation": anticipation, "leads": leads,
              "few_clusters": few_clusters, **fe.facts(cells)},
        notes=(*sample.notes, *fe.caveats(panel, clusters, support, few_clusters)),
        support=support, dof=None if support is None else support.dof,
    )  # fmt: skip
    if not leads:
        return out
    before = _leads(panel, cells, leads, anticipation, unit, clusters, enlarge)
    return _with_leads(out, before, clusters is not None and clusters.few)


def imputation_pretrend(panel: Panel, *, leads: int, anticipation: int = 0) -> Check:
    """Were cohorts on parallel paths before treatment? Joint test of `leads` event times, untreated observations only.

    Estimator : Borusyak, Jaravel & Spiess 2024, section 4.4 (test 1): untreated outcome on unit and period effects and
        indicators of the last `leads` event times before treatment (and anticipation); Wald test that all are zero.
        The verdict is "failed" below p = 0.05, else none: a test that does not reject does not prove.
    Std. errors : sandwich over units or clusters; few clusters, and few units behind an event time, are refused.
    """
    _check_count("leads", leads, 1)
    cells = fe.cells_of(panel)
    clusters, enlarge = fe.small_sample(panel, cells, "auto")
    effects = _leads(panel, cells, leads, anticipation, None, clusters, enlarge)
    if effects.dof is not None:
        raise EstimationError(
            f"{FEW_TREATED} units or more behind every event time of a joint test",
            f"{int(np.isfinite(effects.dof).sum())} event times with fewer: it would reject far too often",
            "look at the event times before treatment of group_time_att, which corrects for few units",
        )  # fmt: skip
    statistic, df, p = wald(effects.estimate, effects.cov)
    return Check(
        name="imputation_pretrend", question="Were the cohorts on parallel paths before treatment?",
        statistic=statistic, std_error=None, threshold=0.05, passed=False if p < 0.05 else None,
        text=f"{leads} event times before treatment jointly zero: Wald {statistic:.3g} on {df} degrees of freedom, "
             f"p = {p:.3g}; largest {np.abs(effects.estimate).max():.3g} in {effects.unit}.",
        table=effects.tidy(),
    )  # fmt: skip


@dataclass(frozen=True)
class _Sample:
    """Cells with their untreated observations, and the treated ones that can be imputed, both (C, T) bool."""

    cells: Cells
    cohorts: np.ndarray
    of: np.ndarray
    untreated: np.ndarray
    treated: np.ndarray
    size: np.ndarray  # (G, T) weight of the treated observations
    laplacian: np.ndarray  # (T, T)
    moments: np.ndarray  # (T,)
    notes: tuple[str, ...]


def _split(cells: Cells, anticipation: int) -> _Sample:
    cohorts, of = fe.cohort_index(cells)
    event = fe.event_times(cohorts, cells.periods)
    untreated = cells.observed & ~(event >= -anticipation)[of]
    after = cells.observed & (event >= 0)[of]
    if not after.any():
        raise EstimationError("at least one unit treated within the periods", "none", "check the cohorts")
    base = untreated.any(axis=1)
    imputable = after & base[:, None]
    units = fe.units_by_period(of, len(cohorts), cells.n, imputable)
    treated = imputable & (units > 1)[of]
    if not treated.any():
        raise EstimationError("two units or more in a cohort and period with an effect", "none", "pool the cohorts")
    lost = int(cells.n[after.any(axis=1) & ~base].sum())
    laplacian, moments = fe.normal_equations(cells, of, len(cohorts), untreated)
    sample = _Sample(
        cells=cells, cohorts=cohorts, of=of, untreated=untreated, treated=treated,
        size=fe.by_cohort(cells.weight[:, None] * treated, of, len(cohorts)),
        laplacian=laplacian.sum(axis=0), moments=moments.sum(axis=0),
        notes=(*((f"{lost:,} treated units never seen untreated are left out.",) if lost else ()),
               *fe.alone(cohorts, units == 1)),
    )  # fmt: skip
    _refuse_unidentified(sample)
    return sample


def _refuse_unidentified(sample: _Sample) -> None:
    """A treated observation is imputed from its unit's untreated periods: the period contrast must be estimable."""
    value, vectors = np.linalg.eigh(sample.laplacian)
    null = vectors[:, value <= 1e-10 * max(value.max(), 1e-300)]
    count = np.maximum(sample.untreated.sum(axis=1), 1)[:, None]
    home = sample.untreated / count @ null  # (C, null)
    missing = sample.treated & (np.abs(null[None, :, :] - home[:, None, :]).max(axis=2, initial=0.0) > 1e-7)
    if not missing.any():
        return
    where = fe.by_cohort(missing.astype(float), sample.of, len(sample.cohorts)) > 0
    names = [f"ATT({int(sample.cohorts[g])},{sample.cells.periods[t]})" for g, t in np.argwhere(where)]
    periods = sorted({int(sample.cells.periods[t]) for t in np.nonzero(where)[1]})
    raise EstimationError(
        "untreated units in every period with an effect (never treated, or treated later)",
        f"effects that are not identified, in period(s) {', '.join(map(str, periods))}",
        "end the panel before these periods, or add units untreated then", count=len(names), keys=names,
    )  # fmt: skip


def _averages(sample: _Sample, by: By) -> tuple[pd.DataFrame, np.ndarray]:
    """Labels and (J, G, T) weights per unit of sampling weight; those of a row sum to one over its observations."""
    here = sample.size > 0
    key = {"overall": np.zeros(here.shape), "event_time": fe.event_times(sample.cohorts, sample.cells.periods),
           "cohort": np.broadcast_to(sample.cohorts[:, None], here.shape),
           "period": np.broadcast_to(sample.cells.periods[None, :], here.shape)}[by]  # fmt: skip
    keys = np.unique(key[here]).astype(int)
    average = np.stack([(here & (key == k)) / sample.size[here & (key == k)].sum() for k in keys])
    if by == "overall":
        return pd.DataFrame({"term": ["overall"]}), average
    return pd.DataFrame({"term": [f"{by}={k}" for k in keys], by: keys}), average


def _impute(
    sample: _Sample, average: np.ndarray, enlarge: np.ndarray | None, clusters: Clusters | None
) -> tuple[np.ndarray, np.ndarray, Support | None]:
    """Estimates (J,), conservative scores (groups, J), and how many units carry each.

    The estimate is sum_it v_it y_it: v = w a on treated observations, and on untreated ones what least squares makes of
    it. v sums to zero over a unit, so that unit effects drop out of its score sum_t v_it (y_it - period_t - effect_gt).
    """
    cells, of, groups = sample.cells, sample.of, len(sample.cohorts)
    pinv = np.linalg.pinv(sample.laplacian, hermitian=True, rcond=1e-11)
    period = pinv @ sample.moments
    home = sample.untreated / np.maximum(sample.untreated.sum(axis=1), 1)[:, None]
    # mean over (g, t) of outcome - period effect - unit effect, the latter the mean over the unit's untreated periods
    level = cells.sums - cells.weight[:, None] * period
    gain = np.where(sample.treated, level - (home * level).sum(axis=1)[:, None], 0.0)
    effect = fe.by_cohort(gain, of, groups) / np.where(sample.size > 0, sample.size, 1)
    estimate = np.einsum("jgt,gt->j", average, effect * sample.size)
    # how much the estimate leans on each period effect, and hence on each untreated observation
    lean = np.einsum("jgt,gt->tj", average, sample.size)
    for g in range(groups):
        own = of == g
        mixed = (cells.weight[own, None] * sample.treated[own]).T @ home[own]
        lean -= mixed.T @ average[:, g].T
    through = pinv @ lean
    rows = np.empty((len(cells.w), len(average)))
    row_of = of[cells.cell]
    for g in range(groups):
        at = np.flatnonzero(row_of == g)
        cell = cells.cell[at]
        residual = cells.y[at] - cells.w[at, None] * period
        at_home = (residual * home[cell]).sum(axis=1)[:, None]
        on_treated = np.where(sample.treated[cell], residual - at_home - cells.w[at, None] * effect[g], 0.0)
        rows[at] = on_treated @ average[:, g].T - fe.centred(residual, sample.untreated[cell]) @ through
        rows[at] *= 1.0 if enlarge is None else enlarge[g]
    support = None if enlarge is None else _support(sample, average, through, clusters)
    return estimate, fe.all_groups(cells, rows), support


def _support(sample: _Sample, average: np.ndarray, through: np.ndarray, clusters: Clusters | None) -> Support:
    """How many units carry each estimate: each by the length of v over its outcome path."""
    groups = len(sample.cohorts)
    untreated = fe.by_cohort(sample.untreated.astype(float), sample.of, groups) > 0
    size = np.zeros((groups, len(average)))
    for g in range(groups):
        home = untreated[g] / max(untreated[g].sum(), 1)
        weights = average[:, g] - average[:, g].sum(axis=1)[:, None] * home
        weights -= fe.centred(through.T, np.broadcast_to(untreated[g], through.T.shape))
        size[g] = np.sqrt((weights**2).sum(axis=1))
    sizes = fe.independent(sample.cells, sample.of, groups, clusters)
    return Support(sizes=sizes.astype(float), arms=np.zeros(groups), loadings=size)


def _leads(
    panel: Panel, cells: Cells, leads: int, anticipation: int, unit: str | None, clusters: Clusters | None,
    enlarge: np.ndarray | None,
) -> Effects:  # fmt: skip
    """The last event times before treatment, by the regression on untreated observations alone."""
    sample = _split(cells, anticipation)
    event = fe.event_times(sample.cohorts, cells.periods)
    times = list(range(-anticipation - leads, -anticipation))
    _refuse_leads(np.unique(event[sample.of][sample.untreated & (event < 0)[sample.of]]), times)
    where = [event == e for e in times]
    labels = pd.DataFrame({"term": [f"event_time={e}" for e in times], "event_time": times})
    fit = fe.regress(cells, fe.indicators(where, event.shape), labels["term"].tolist(), use=sample.untreated,
                     enlarge=enlarge)  # fmt: skip
    support = fit.support(clusters)
    n = np.array([fe.units_at(cells, fit.of, one, fit.use) for one in where])
    return Effects(
        estimand="Pre-trend by event time, untreated observations", unit=unit or panel.columns["outcome"] or "",
        labels=labels, estimate=fit.beta, scores=fit.scores(), n_treated=n,
        n_comparison=np.full(leads, int(cells.n[fit.use.any(axis=1)].sum())),
        spec={"estimator": "imputation", "leads": leads, "anticipation": anticipation, **fe.facts(cells)},
        support=support, dof=None if support is None else support.dof,
    )  # fmt: skip


def _refuse_leads(seen: np.ndarray, times: list[int]) -> None:
    """Each lead must be observed, and an earlier event time with them: what they are measured from."""
    absent = [e for e in times if e not in seen]
    if not absent and seen[0] < times[0]:
        return
    most = 0
    while times[-1] - most in seen and (seen < times[-1] - most).any():
        most += 1
    raise EstimationError(
        "leads that are observed before treatment, and an earlier period to measure them from",
        f"leads={len(times)}, which exceed the periods: event times observed before treatment are "
        f"{', '.join(str(int(e)) for e in seen) or 'none'}",
        f"ask for leads of {most} at most" if most else "add earlier periods",
    )  # fmt: skip


def _with_leads(effects: Effects, before: Effects, few: bool) -> Effects:
    """Pre-trend rows in front of the effects: same score rows, so that one band can cover all."""
    _, df, p = wald(before.estimate, before.cov)
    few = few or before.dof is not None
    joint = "no joint test with few clusters or units" if few else f"jointly zero, p = {p:.3g} ({df} df)"
    return replace(
        effects, labels=pd.concat([before.labels, effects.labels], ignore_index=True),
        estimate=np.r_[before.estimate, effects.estimate], scores=np.hstack([before.scores, effects.scores]),
        n_treated=np.r_[before.n_treated, effects.n_treated],
        n_comparison=np.r_[before.n_comparison, effects.n_comparison],
        notes=(f"Rows before treatment: a regression of their own; {joint}.",
               *effects.notes),
        support=None, dof=finite(np.r_[before.degrees, effects.degrees]),
    )  # fmt: skip


def _check_count(name: str, value: int, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise EstimationError(f"{name} as a whole number >= {least}", repr(value), "correct it")
