"""The two-way fixed effects regression, as a diagnostic: what it says, and which effects it weights negatively."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd

from ..cohorts.cells import Cells
from ..cohorts.panel import Panel
from ..errors import EstimationError
from ..results import Effects
from . import fixed_effects as fe
from .few_clusters import Rule

Form = Literal["static", "event_study"]


def twfe(
    panel: Panel, *, form: Form, base_period: int | Sequence[int] | None = None, small_sample: bool = False,
    unit: str | None = None, few_clusters: Rule = "auto",
) -> Effects:  # fmt: skip
    """Regression of the outcome on treatment with unit and period effects: a sum of ATT(g, t), weights not ours.

    Estimand : the coefficient of "treated by now" (static) or of each event time (event_study). With staggered starts
        it equals an average effect on the treated only where effects differ neither between cohorts nor over time.
    Assumes : parallel trends, and that homogeneity. Report `group_time_att`; keep this as the diagnostic beside it.
    Estimator : least squares. Weights of each ATT(g, t): de Chaisemartin & D'Haultfoeuille 2020, theorem 1; the notes
        say how many are negative, `twfe_weights` lists them.
    Std. errors : sandwich over units, or over `cluster`; no small-sample factor unless asked for. Few clusters
        are refused; where few units carry an estimate, scores of small cohorts times n / (n - 1) and Student's t.
    Edge cases : units treated in or before the first period are dropped by Panel and counted in the notes; those
        treated after the last period count as untreated. Unbalanced panels keep every observed unit-period. Without
        never-treated units the event study needs two base periods (Borusyak et al. 2024, section 3.2): else refused.
    Checked : statsmodels with dummies (tests); Medicaid 0.0703 (0.0074); Sun & Abraham 2021, table 3, column 1.

    Parameters
    ----------
    form : "static" or "event_study". base_period : event time(s) left out, such as -1 or (-4, -1); event_study only.
    small_sample : multiply the variance by G/(G-1) (N-1)/(N-K), K coefficients and periods: the clustered errors of
        fixest (and of Stata's xtreg), which do not count unit effects nested in the clusters.
    unit : unit of the outcome for the reader; default its column name.
    few_clusters : "auto" refuses few clusters, as `group_time_att` counts them, and corrects for few units; "off": the
        sums as they are, however few.

    Raises
    ------
    EstimationError : few clusters, no treated unit, nobody untreated to compare with, a base that is no event time.
    """
    if form not in ("static", "event_study"):
        raise EstimationError('form "static" or "event_study"', repr(form), "choose one of these")
    if (base_period is None) == (form == "event_study"):
        found = f"form={form!r} with base_period={base_period!r}"
        raise EstimationError("base_period with event_study, and only there", found, "name the event time left out")
    cells = fe.cells_of(panel)
    cohorts = np.unique(cells.cohort)
    event = fe.event_times(cohorts, cells.periods)
    labels, where = _static(event) if form == "static" else _dynamic(event, base_period, cells)
    clusters, enlarge = fe.small_sample(panel, cells, few_clusters)
    fit = fe.regress(cells, fe.indicators(where, event.shape), labels["term"].tolist(), enlarge=enlarge)
    support = fit.support(clusters)
    bases = {} if base_period is None else {"bases": tuple((e,) for e in _left_out(base_period))}
    if form == "static":
        weights = _weights(fit)
        notes, negative = _negative(weights), float(-weights["weight"].clip(upper=0).sum())
    else:
        notes = ("Each coefficient may mix the effects of other event times (Sun & Abraham 2021): see sun_abraham.",)
        negative = None
    scale = np.sqrt(fit.factor()) if small_sample else 1.0
    return Effects(
        estimand="TWFE coefficient" + (" by event time" if form == "event_study" else " of treatment"),
        unit=unit or panel.columns["outcome"] or "", labels=labels, estimate=fit.beta, scores=fit.scores() * scale,
        n_treated=np.array([fe.units_at(cells, fit.of, one, fit.use) for one in where]),
        n_comparison=np.full(len(labels), fe.untreated_throughout(cells)),
        spec={"estimator": "twfe", "form": form, "base_period": base_period, "small_sample": small_sample,
              "negative_weight": negative, "few_clusters": few_clusters, **bases, **fe.facts(cells)},
        notes=(*notes, *fe.caveats(panel, clusters, support, few_clusters)),
        support=support, dof=None if support is None else support.dof,
    )  # fmt: skip


def twfe_weights(panel: Panel) -> pd.DataFrame:
    """Weight of each ATT(g, t) in the static TWFE coefficient: columns cohort, period, event_time, weight, n_treated.

    Weights sum to 1. A negative one means that a larger effect there *lowers* the coefficient.
    Estimator : de Chaisemartin & D'Haultfoeuille 2020, theorem 1: treated observations times the residual of treatment
        on unit and period effects.
    """
    cells = fe.cells_of(panel)
    event = fe.event_times(np.unique(cells.cohort), cells.periods)
    labels, where = _static(event)
    return _weights(fe.regress(cells, fe.indicators(where, event.shape), labels["term"].tolist()))


def _static(event: np.ndarray) -> tuple[pd.DataFrame, list[np.ndarray]]:
    treated = event >= 0  # NaN compares as False
    if not treated.any():
        raise EstimationError("at least one unit treated within the periods", "none", "check the cohorts")
    return pd.DataFrame({"term": ["treated"]}), [treated]


def _dynamic(event: np.ndarray, base_period: Any, cells: Cells) -> tuple[pd.DataFrame, list[np.ndarray]]:
    base = _left_out(base_period)
    _static(event)
    times = np.unique(event[fe.seen(cells) & np.isfinite(event)]).astype(int)
    if unknown := [e for e in base if e not in times]:
        raise EstimationError("base periods among the observed event times", f"{unknown}",
                              f"choose from {times[0]} to {times[-1]}", count=len(unknown))  # fmt: skip
    kept = [int(e) for e in times if e not in base]
    labels = pd.DataFrame({"term": [f"event_time={e}" for e in kept], "event_time": kept})
    return labels, [event == e for e in kept]


def _left_out(base_period: int | Sequence[int]) -> list[int]:
    """Event times left out: each is a base of its own, not part of a window."""
    found = [base_period] if isinstance(base_period, (int, np.integer)) else base_period
    if isinstance(found, str) or not isinstance(found, (Sequence, np.ndarray)) or not all(
        isinstance(e, (int, np.integer)) and not isinstance(e, bool) for e in found
    ):  # fmt: skip
        raise EstimationError("base_period as event times left out", repr(base_period), "such as -1 or (-4, -1)")
    return sorted({int(e) for e in found})


def _weights(fit: fe.Regression) -> pd.DataFrame:
    treated = fit.design[:, :, 0] > 0
    weight = np.einsum("gst,gt->gs", fit.laplacian, fit.residual[:, :, 0])
    weight = np.where(treated, weight, 0.0) * fit.inverse[0, 0]
    n = fe.units_by_period(fit.of, len(treated), fit.cells.n, fit.use)
    g, t = np.nonzero(treated & (n > 0))
    cohort, period = fit.cohorts[g].astype(int), fit.cells.periods[t]
    return pd.DataFrame({"cohort": cohort, "period": period, "event_time": period - cohort, "weight": weight[g, t],
                         "n_treated": n[g, t]})  # fmt: skip


def _negative(weights: pd.DataFrame) -> tuple[str, ...]:
    below = weights["weight"] < -1e-12
    if not below.any():
        return (f"None of the {len(weights)} ATT(g, t) behind it has a negative weight.",)
    some = f"{int(below.sum())} of the {len(weights)} ATT(g, t) behind it have a negative weight"
    return (f"{some}, together {weights.loc[below, 'weight'].sum():.3g}: their effects count against the sum "
            "(de Chaisemartin & D'Haultfoeuille 2020).",)  # fmt: skip
