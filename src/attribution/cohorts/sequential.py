"""Sequential comparison: each cohort beside everybody still able to be selected when it was, with their history."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd

from ..errors import DataError, DesignError
from .panel import Panel

Later = Literal["stay", "leave"]
SPAN = 1_000_000  # periods between the clocks of two delays: no calendar holds as many


def risk_sets(
    panel: Panel, *, later: Later, history: Sequence[int] = (), delay: int | str = 0, covariates: Sequence[str] = (),
) -> Panel:  # fmt: skip
    """One record a unit and cohort it can be compared with: those of the cohort, and those not yet selected by then.

    Each cohort g becomes a trial of its own at its date; a unit may serve in several, so records are clustered by unit.
    The outcomes in the periods `history` become the columns `before_1` (the latest), `before_2`, ...: what selection
    could look at, known for both arms at the same date. Records with a gap in it leave, and are counted in `counts`.

    Parameters
    ----------
    panel : cohort = period of selection (application). A panel with risk sets keeps them.
    later : "stay": those selected later keep their outcomes, and the effect is that of "now rather than not yet";
        "leave": they leave from that period on, which is right only where leaving does not depend on their outcome.
    history : event times since selection, e.g. (-2, -1, 0). Where a record's treatment starts within them (delay 0 and
        event time 0), its whole window moves back until it ends before the start.
    delay : periods from selection to the start, or the column that holds it; records are compared with those of the
        same delay only. covariates : unit-level columns to carry along.

    Raises
    ------
    DesignError : nobody has the history asked for.
    """
    if later not in ("stay", "leave"):
        raise DesignError('later "stay" or "leave"', repr(later), "choose one of these")
    if not isinstance(history, (Sequence, np.ndarray)) or not all(float(k).is_integer() for k in history):
        raise DesignError("history as a list of event times, whole numbers", repr(history), "such as (-2, -1, 0)")
    carried = panel.covariates(list(covariates))
    wait = delays(panel, delay)
    person = np.arange(len(panel.units)) if panel.cluster is None else np.asarray(panel.cluster)
    parts: list[pd.DataFrame] = []
    gaps = 0
    for g in panel.cohorts.tolist():
        open_ = ~(panel.cohort < g) if panel.risk_set is None else panel.risk_set == g
        for d in np.unique(wait[open_ & (panel.cohort == g)]).tolist():
            rows = np.flatnonzero(open_ & (wait == d))
            past = [_at(panel, rows, g + k) for k in sorted(moved(history, d), reverse=True)]
            full = np.isfinite(np.column_stack(past)).all(axis=1) if past else np.ones(len(rows), bool)
            gaps += int((~full).sum())
            parts.append(_trial(panel, rows[full], g, d if isinstance(delay, str) else 0, later,
                                [column[full] for column in past], person, carried, d))  # fmt: skip
    frame = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    if frame.empty or not frame["cohort"].notna().any():
        raise DesignError("selected units with an outcome in every period of the history", "none",
                          "ask for a shorter history, or add earlier periods", count=gaps)  # fmt: skip
    out = Panel(
        frame, unit="record", period="period", cohort="cohort", outcome="outcome", cluster="person",
        risk_set="risk_set", weight=None if panel.weight is None else "weight",
    )  # fmt: skip
    out.columns["outcome"] = panel.columns["outcome"]
    out.counts["records left out for a gap in their history"] = gaps
    return out


def delays(panel: Panel, delay: int | str) -> np.ndarray:
    """(n,) periods from selection to the start."""
    if isinstance(delay, str):
        try:
            wait = panel.covariates([delay])[delay].to_numpy(dtype=float)
        except DataError as error:
            if "missing" not in error.found:
                raise
            raise DataError(
                "a delay for every unit, since each meets only those of the same delay", "units without one",
                "give units never selected the delay they would have had (the usual one of their place and time), or "
                "one number for all, such as delay=1", column=delay, count=error.count, keys=error.keys,
            ) from error  # fmt: skip
    else:
        wait = np.full(len(panel.units), float(delay))
    if (bad := ~(wait >= 0) | (wait != np.round(wait))).any():
        raise DesignError("delays of 0, 1, 2, ... periods", "others", "count the periods from selection to the start",
                          column=delay if isinstance(delay, str) else None, count=int(bad.sum()),
                          keys=np.unique(wait[bad]).tolist())  # fmt: skip
    return wait.astype(int)


def moved(window: Sequence[int], delay: int) -> list[int]:
    """The event times of a window, all moved back until the last lies before the start."""
    back = min(0, delay - 1 - max(window)) if len(window) else 0
    return [k + back for k in window]


def _at(panel: Panel, rows: np.ndarray, period: int) -> np.ndarray:
    """Outcome of these units in a period; missing outside the panel."""
    column = np.flatnonzero(panel.periods == period)
    return panel.y[rows, column[0]] if len(column) else np.full(len(rows), np.nan)


def _trial(panel, rows, g, clock, later, past, person, carried, wait) -> pd.DataFrame:
    y = panel.y[rows]
    if later == "leave":
        y = np.where(panel.periods >= np.where(np.isfinite(panel.cohort[rows]) & (panel.cohort[rows] > g),
                                               panel.cohort[rows], np.inf)[:, None], np.nan, y)  # fmt: skip
    row, column = np.nonzero(np.isfinite(y))
    shift = clock * SPAN
    frame = pd.DataFrame({
        "record": (np.int64(g + shift) * len(panel.units) + rows)[row],
        "person": person[rows][row],
        "period": panel.periods[column] + shift,
        "cohort": np.where(panel.cohort[rows] == g, g + shift, np.nan)[row],
        "risk_set": float(g + shift),
        "delay": wait,
        "outcome": y[row, column],
    })  # fmt: skip
    for j, values in enumerate(past, 1):
        frame[f"before_{j}"] = values[row]
    if panel.weight is not None:
        frame["weight"] = panel.weight[rows][row]
    for name in carried:
        frame[name] = carried[name].to_numpy()[rows][row]
    return frame
