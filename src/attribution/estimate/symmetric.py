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
from ..results import Effects
from .aggregate import aggregate
from .did import Comparison, group_time_att
from .kernels import Method


def symmetric_did(
    panel: Panel, *, delay: int | str, horizons: Sequence[int], comparison: Comparison = "never_treated",
    axis: float | Mapping[int, float] = 0.0, method: Method = "reg", covariates: Sequence[str] = (),
    unit: str | None = None,
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
    Edge cases : a horizon whose base lies before the panel is refused, not shortened.
    Checked : tests/recovery/selection.csv.

    Parameters
    ----------
    delay : periods from selection to the start, or the unit-level column that holds it (units are then compared only
        with those of the same delay).
    horizons : periods since the start, >= 0. axis : periods from selection to the centre of what selection looked at
        (0: the period of selection itself; -1: the one before; -0.5: both alike), a multiple of 0.5; or one a delay.
    comparison, method, covariates : as in `group_time_att`.
    """
    wait = delays(panel, delay)
    together = np.zeros(len(wait)) if panel.risk_set is None else panel.risk_set
    if isinstance(delay, str) and pd.Series(wait).groupby(together).nunique().gt(1).any():
        panel = risk_sets(panel, later="leave" if comparison == "not_yet_treated" else "stay", delay=delay,
                          covariates=covariates)  # fmt: skip
        wait, comparison = delays(panel, "delay"), "never_treated"
    panel = panel.by_unit()
    wait_of = dict(zip(panel.cohort.tolist(), wait.tolist(), strict=True))
    horizons = list(horizons)
    if not horizons or min(horizons) < 0:
        raise EstimationError("horizons of 0, 1, 2, ... periods since the start", f"{horizons}", "name at least one")
    options: dict[str, Any] = {"comparison": comparison, "method": method, "covariates": covariates, "unit": unit}
    waits = sorted({wait_of[g] for g in panel.cohorts.tolist()})
    fits: dict[int, Effects] = {}
    columns: list[Effects] = []
    bases: list[int] = []
    for h in horizons:
        base = {d: _mirror(axis[d] if isinstance(axis, Mapping) else axis, d + h) for d in waits}
        for b in set(base.values()) - set(fits):
            fits[b] = group_time_att(panel, base_period=b, **options)
        columns.append(at_horizon({d: fits[base[d]] for d in waits}, wait_of, h))
        bases += base.values()
    out = side_by_side(columns)
    labels = pd.DataFrame({"term": [f"h={h}" for h in horizons], "event_time": horizons})
    shown = sorted(set(bases), reverse=True)
    note = "Base as far before selection as the effect lies after it: event times " + ", ".join(map(str, shown)) + "."
    return replace(
        out, labels=labels, estimand="ATT by periods since the start, symmetric base", notes=(*out.notes, note),
        shares=None, share_scores=None,
        spec={**out.spec, "estimator": "symmetric_did", "delay": delay, "axis": axis, "base_period": tuple(shown),
              "horizons": tuple(horizons)},
    )  # fmt: skip


def at_horizon(fits: Mapping[int, Effects], wait_of: Mapping[float, int], h: int) -> Effects:
    """ATT(g, t) h periods after the start, over the cohorts by their size; fits: the ATT(g, t) to use, by delay."""
    parts = []
    for d, gt in fits.items():
        cohort, event = gt.labels["cohort"].to_numpy(), gt.labels["event_time"].to_numpy()
        parts.append(gt.rows((event == d + h) & np.array([wait_of[g] == d for g in cohort.tolist()])))
    gt = side_by_side(parts)
    if not np.isfinite(gt.estimate).any():
        why = ", ".join(sorted({str(reason) for reason in gt.labels["reason"]} - {""}))
        raise EstimationError(f"cohorts observed {h} periods after the start and in the base of that horizon",
                              why or "none", "add earlier or later periods, or ask for a shorter horizon")  # fmt: skip
    return aggregate(gt, by="overall")


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
        dof=None if first.dof is None else np.concatenate([part.dof for part in parts if part.dof is not None]),
    )  # fmt: skip


def _mirror(axis: float, distance: int) -> int:
    base = 2 * axis - distance
    if base != round(base) or base >= 0:
        raise EstimationError("an axis in steps of half a period whose mirror lies before selection",
                              f"axis {axis} for an effect {distance} periods after selection",
                              "choose 0, -0.5, -1, ..., and a horizon after selection")  # fmt: skip
    return int(base)
