"""Symmetric difference-in-differences: as far back before selection as the effect lies after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from ..cohorts.panel import Panel
from ..cohorts.sequential import delays, risk_sets
from ..errors import EstimationError
from ..inference import finite
from ..results import Effects
from .aggregate import aggregate
from .did import Comparison, group_time_att
from .few_clusters import Rule
from .kernels import Method


def symmetric_did(
    panel: Panel, *, delay: int | str, horizons: Sequence[int], comparison: Comparison = "never_treated",
    axis: float | Mapping[int, float] = 0.0, method: Method = "reg", covariates: Sequence[str] = (),
    unit: str | None = None, few_clusters: Rule = "auto",
) -> Effects:  # fmt: skip
    """Effect h periods after the start, from a base as far before selection as that lies after it: ATT(h).

    Clock : the panel's cohort is the period s of selection (application). Treatment starts at s + delay, so horizon h
        is period s + delay + h and its base is period s + 2 axis - (delay + h). With delay 1 and axis 0 the effect four
        periods after the start (s + 5) has the base s - 5.
    Estimand : E[Y_{s+delay+h}(selected at s) - Y_{s+delay+h}(not) | selected at s], over the cohorts by their size.
    Assumes : without treatment the groups would be as far apart d periods after selection as they were d periods
        before: a dip fades as it came (outcomes covariance-stationary around a fixed effect, selection on the fixed
        effect and the outcome at the axis). Trends that differ between the groups break it, twice as much the further
        the horizon. With the outcomes around the axis as covariates (`risk_sets`) it also holds where selection looked
        at these outcomes alone, whatever the process: shocks that last included.
    Estimator : Heckman & Robb 1985; Chabé-Ferret 2015, section 3; each ATT(h) by `group_time_att` with its own base.
    Std. errors : influence functions of all horizons on one set of units, so that their differences have one too.
    Edge cases : all horizons speak for the same cohorts: one that lacks a horizon, or the base of one, is left out of
        all and counted in the notes; a horizon that no cohort has is refused, not shortened.
    Checked : tests/recovery/selection.csv.

    Parameters
    ----------
    delay : periods from selection to the start, or the unit-level column that holds it (units are then compared only
        with those of the same delay).
    horizons : periods since the start, >= 0. axis : periods from selection to the centre of what selection looked at
        (0: the period of selection itself; -1: the one before; -0.5: both alike), a multiple of 0.5; or one a delay.
    comparison, method, covariates, few_clusters : as in `group_time_att`.
    """
    wait = delays(panel, delay)
    together = np.zeros(len(wait)) if panel.risk_set is None else panel.risk_set
    if isinstance(delay, str) and pd.Series(wait).groupby(together).nunique().gt(1).any():
        panel = risk_sets(panel, later="leave" if comparison == "not_yet_treated" else "stay", delay=delay,
                          covariates=covariates)  # fmt: skip
        wait, comparison = delays(panel, "delay"), "never_treated"
    panel = panel.by_unit()
    wait_of = dict(zip(panel.cohort.tolist(), wait.tolist(), strict=True))
    horizons = periods_after(horizons)
    options: dict[str, Any] = {"comparison": comparison, "method": method, "covariates": covariates, "unit": unit,
                               "few_clusters": few_clusters}  # fmt: skip
    waits = sorted({wait_of[g] for g in panel.cohorts.tolist()})
    if isinstance(axis, Mapping) and (absent := [d for d in waits if d not in axis]):
        raise EstimationError("an axis for every delay", "delays without one", "add them to axis", count=len(absent),
                              keys=absent)  # fmt: skip
    base = {h: {d: _mirror(axis[d] if isinstance(axis, Mapping) else axis, d + h) for d in waits} for h in horizons}
    bases = {b for of_delay in base.values() for b in of_delay.values()}
    fits = {b: group_time_att(panel, base_period=b, **options) for b in bases}
    out = at_horizons({h: {d: fits[base[h][d]] for d in waits} for h in horizons}, wait_of)
    labels = pd.DataFrame({"term": [f"h={h}" for h in horizons], "event_time": horizons})
    shown = sorted(bases, reverse=True)
    note = "Base as far before selection as the effect lies after it: event times " + ", ".join(map(str, shown)) + "."
    return replace(
        out, labels=labels, estimand="ATT by periods since the start, symmetric base", notes=(*out.notes, note),
        shares=None, share_scores=None,
        spec={**out.spec, "estimator": "symmetric_did", "delay": delay, "axis": axis, "base_period": tuple(shown),
              "horizons": tuple(horizons)},
    )  # fmt: skip


def at_horizons(fits: Mapping[int, Mapping[int, Effects]], wait_of: Mapping[float, int]) -> Effects:
    """ATT(h) over the cohorts that have every horizon, by their size; the others are counted in the notes.

    fits : by horizon, then by delay, the ATT(g, t) to use.
    """
    parts = {h: side_by_side([_rows_at(gt, wait_of, d, h) for d, gt in of_delay.items()])
             for h, of_delay in fits.items()}  # fmt: skip
    for h, gt in parts.items():
        if not np.isfinite(gt.estimate).any():
            why = ", ".join(sorted({str(reason) for reason in gt.labels["reason"]} - {""})) or "none"
            raise EstimationError(f"cohorts observed {h} periods after the start and in the base of that horizon", why,
                                  "add earlier or later periods, or ask for a shorter horizon")  # fmt: skip
    known = [set(gt.labels["cohort"][np.isfinite(gt.estimate)]) for gt in parts.values()]
    kept = set.intersection(*known)
    if not kept:
        raise EstimationError(f"cohorts observed at every horizon of {list(parts)} and in its base",
                              "none that has them all", "ask for each on its own, or for shorter horizons")  # fmt: skip
    out = side_by_side([aggregate(gt.rows(gt.labels["cohort"].isin(kept).to_numpy()), by="overall")
                        for gt in parts.values()])  # fmt: skip
    cohorts = pd.Series([g for g in wait_of if np.isfinite(g)])
    if lost := int((~cohorts.isin(kept)).sum()):
        note = f"{lost} of {len(cohorts)} cohorts lack one of the horizons or its base and are left out of all of them."
        out = replace(out, notes=(*out.notes, note))
    return out


def _rows_at(gt: Effects, wait_of: Mapping[float, int], d: int, h: int) -> Effects:
    cohort, event = gt.labels["cohort"].to_numpy(), gt.labels["event_time"].to_numpy()
    return gt.rows((event == d + h) & np.array([wait_of[g] == d for g in cohort.tolist()]))


def periods_after(horizons: Sequence[int]) -> list[int]:
    """Horizons as a list, refused unless they are 0, 1, 2, ... and each named once."""
    given = list(horizons) if isinstance(horizons, (Sequence, np.ndarray)) else []
    whole = all(isinstance(h, (int, float, np.number)) and float(h).is_integer() and h >= 0 for h in given)
    if not given or not whole or len(set(given)) < len(given):
        raise EstimationError("a list of horizons: different 0, 1, 2, ... periods since the start", f"{horizons!r}",
                              "name at least one, such as [4]")  # fmt: skip
    return [int(h) for h in given]


def side_by_side(parts: Sequence[Effects]) -> Effects:
    """Estimates of several fits of one panel as one result; their score rows are the same units."""
    first = parts[0]
    if any(part.scores.shape[0] != first.scores.shape[0] for part in parts):
        raise EstimationError("fits on the same units", "scores of different lengths", "fit them on one panel")
    return replace(
        first, labels=pd.concat([part.labels for part in parts], ignore_index=True),
        estimate=np.concatenate([part.estimate for part in parts]),
        scores=np.column_stack([part.scores for part in parts]),
        n_treated=np.concatenate([part.n_treated for part in parts]),
        n_comparison=np.concatenate([part.n_comparison for part in parts]),
        notes=tuple(dict.fromkeys(note for part in parts for note in part.notes)), jackknife=None,
        support=None, dof=finite(np.concatenate([part.degrees for part in parts])),
    )  # fmt: skip


def _mirror(axis: float, distance: int) -> int:
    base = 2 * axis - distance
    if base != round(base) or base >= 0:
        raise EstimationError("an axis in steps of half a period whose mirror lies before selection",
                              f"axis {axis} for an effect {distance} periods after selection",
                              "choose 0, -0.5, -1, ..., and a horizon after selection")  # fmt: skip
    return int(base)
