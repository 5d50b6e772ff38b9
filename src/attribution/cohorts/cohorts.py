"""Who is compared with whom: records of treated and comparison people at their date zero, and how they were chosen.

Two kinds of comparison. Landmark: at each month since application, those who start now against those not yet started
and still at risk ("start now rather than not yet"), so that nobody is credited with time they had to survive. Pools:
starters against units outside the programme.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from ..errors import DesignError
from ..outcomes.career import MONTHS_PER_PERIOD, PLACEMENT, current_events, end_of_data, month_of, require_effect_clock
from ..results import Result
from ..study import Study
from . import landmarks as landmark_trials
from . import pools as external
from .flow import Flow, continued
from .history import LAGS, Paths, People, history, read_paths
from .units import build_units, complete, learner_columns, sensitive_columns

NOT_MATURE = "the horizon ends after the data"
_ARMS = (("treated", 1), ("comparison", 0))
_REFUSED = {"consent_research": "IS FALSE", "erased_on": "IS NOT NULL"}


@dataclass(frozen=True, kw_only=True, repr=False)
class Cohort(Result):
    """Treated and comparison records of one tier at their date zero.

    units : one row a (person, landmark) record; everything in it was known before date zero (and the treatment itself).
    flow : who was left out and why; columns step, arm, n, excluded, reason, persons.
    outcomes : what happened by the horizon, one row a unit, read only when asked for.
    """

    study: Study
    tier: str
    kind: str
    horizon_months: int
    units: pd.DataFrame
    flow: pd.DataFrame
    notes: tuple[str, ...] = ()
    _keys: pd.DataFrame = field(default_factory=pd.DataFrame)  # k (person number), month (of date zero); row for row
    _people: People = field(default_factory=lambda: People("", {}, 0))

    @functools.cached_property
    def outcomes(self) -> pd.DataFrame:
        """employed_h, income_h, placed_ever_h, claimed_h, censored at the horizon (see `read_outcomes`)."""
        return read_outcomes(self)

    def panel(
        self, outcomes: Sequence[str] = ("employed", "income"), window: Sequence[int] | None = None,
        covariates: Sequence[str] = (),
    ) -> pd.DataFrame:  # fmt: skip
        """Long frame of the outcome paths around date zero, for group-time effects.

        Parameters
        ----------
        outcomes : "employed" (0/1), "income" (currency units a period), "household_uc" (consumption units).
        window : first and last event time in periods, inclusive; None is the study's [did] window.
        covariates : columns of `units` to carry along.

        Returns
        -------
        One row a record and period: unit, person, treated, status, period (int index), event_time, cohort (zero_period
        of the treated, missing otherwise), risk_set (zero_period of every record), covariates, outcomes (NaN where
        the income panel has no row; periods without a row for anybody are left out).
        """
        low, high = (int(v) for v in (self.study.did.window if window is None else window))
        zero = self.units["zero_period"].to_numpy()
        paths = self._paths(int(zero.min()) + low, int(zero.max()) + high)
        width = high - low + 1
        event_time = np.tile(np.arange(low, high + 1), len(zero))
        row = np.repeat(np.arange(len(zero)), width)
        period = zero[row] + event_time
        treated = self.units["treated"].to_numpy()
        frame = pd.DataFrame(
            {
                "unit": self.units["record_id"].to_numpy()[row],
                "person": self.units["person"].to_numpy()[row],
                "treated": treated[row],
                "status": self.units["status"].to_numpy()[row],
                "period": period,
                "event_time": event_time,
                "cohort": pd.array(zero, dtype="Int64")[row],
                "risk_set": zero[row],
            }
        )
        frame.loc[frame["treated"] == 0, "cohort"] = pd.NA
        for name in covariates:
            frame[name] = self.units[name].to_numpy()[row]
        person = self._keys["k"].to_numpy()[row]
        for name in outcomes:
            frame[name] = paths.at(name, person, period)
        lived = np.unique(period[frame[list(outcomes)].notna().any(axis=1).to_numpy()])
        return frame[np.isin(period, lived)].reset_index(drop=True)

    def select(self, *, status: str) -> Cohort:
        """The treated with the comparison records of one status (or pool)."""
        treated = self.units["treated"].to_numpy() == 1
        keep = treated | (self.units["status"].to_numpy() == status)
        if not (keep & ~treated).any():
            raise DesignError(
                "comparison records of the status asked for", f"none with status {status!r}",
                f"choose from {sorted(set(self.units.loc[~treated, 'status']))}",
            )  # fmt: skip
        flow = continued(self.flow, "comparison", int((~keep).sum()), f"status other than {status}")
        return self.restrict(keep, flow)

    def stand_in(self, status: str) -> Cohort:
        """The comparison records of one pool in the place of the treated: the same design asked for a known zero."""
        place = self.units["status"].to_numpy() == status
        if not place.any() or not (self.units["treated"].to_numpy()[~place] == 0).any():
            raise DesignError(
                "a pool to stand in for the treated, and another to compare it with", f"{status!r} among "
                f"{sorted(set(self.units['status']))}", "build the cohort with both pools",
            )  # fmt: skip
        treated = self.units["treated"].to_numpy() == 1
        flow = continued(self.flow, "treated", int(treated.sum()), f"left out: {status} stands in for the treated")
        flow = continued(flow, "comparison", int(place.sum()), f"{status} stands in for the treated")
        arm = Flow()
        arm.open("stand-in", int(place.sum()), f"{status} in the place of the treated", int(place.sum()))
        flow = pd.concat([flow, arm.table()], ignore_index=True)
        units = self.units.assign(treated=place.astype("int64"))
        return replace(self, units=units).restrict(place | ~treated, flow)

    @property
    def counts(self) -> pd.DataFrame:
        """Records and persons by tier, treated and status."""
        grouped = self.units.groupby(["treated", "status"], sort=True)["person"]
        table = pd.DataFrame({"records": grouped.size(), "persons": grouped.nunique()}).reset_index()
        table.insert(0, "tier", self.tier)
        return table.sort_values(["treated", "status"], ascending=[False, True], ignore_index=True)

    def tidy(self) -> pd.DataFrame:
        """The sample flow."""
        return self.flow.copy()

    def summary(self) -> str:
        lines = [f"{self.tier}, {self.kind} comparison, horizon {self.horizon_months} months"]
        return "\n".join([*lines, self.counts.to_string(index=False), *self.notes])

    def restrict(self, keep: np.ndarray, flow: pd.DataFrame) -> Cohort:
        """The records where `keep`, (n,) bool, with the flow that led there."""
        units, keys = (frame[keep].reset_index(drop=True) for frame in (self.units, self._keys))
        return replace(self, units=units, flow=flow, _keys=keys)

    def _paths(self, first: int, last: int) -> Paths:
        return read_paths(self.study, self._people, first, last)


def landmarks(
    study: Study, tier: str, *, horizon_months: int | None = None, pools: str | Sequence[str] | None = None
) -> Cohort:
    """Treated and comparison records of a tier whose date zero lies in the cohort year (no estimand yet).

    Landmark comparison: treated at month m since the (first) application to the tier are those whose programme starts
    in that calendar month; the comparison are applicants not started by its end, with the application open at its
    beginning or closed before for the reason in `status`. All were jobless at entry and had found no job before the
    month: finding one ends the time at risk, so nobody is credited with time they had to survive (immortal time). A
    month counts from its beginning: where starts fall late in the month, a job found earlier in it leaves a bias
    against the programme of less than one month's job finding. A person may serve at several landmarks.
    Pools: starters of the cohort year against `comparison_units`; no labour status is asked.

    Parameters
    ----------
    tier : a tier whose design is not "none". horizon_months : fixed window after date zero; None is the study's.
    pools : statuses (or pools) of the comparison; None is all the study names.

    Raises
    ------
    DesignError : the clock is no date zero, the tier has no design, or nobody is left on one side.
    """
    require_effect_clock(study.clock.date_zero)
    _require_design(study, tier)
    horizon = int(horizon_months or study.clock.horizon_months)
    wanted = tuple([pools] if isinstance(pools, str) else pools or study.comparison.pools)
    kind = study.tiers[tier].design
    if kind == "landmark":
        candidates, flow = _landmark_candidates(study, tier)
        people = landmark_trials.people(study, int(candidates["k"].max()) + 1 if len(candidates) else 0)
        candidates = _keep_pools(candidates, flow, wanted)
    else:
        candidates = external.read_members(
            study, tier, wanted, learner_columns(study), *sensitive_columns(study), _no_consent(study)
        )
        flow = external.open_flow(study, candidates)
        people = external.people(study, tier, wanted, len(candidates))
        candidates = _kept(candidates)
    candidates = _matured(study, candidates, flow, horizon)
    _require_both_arms(study, tier, candidates, flow)
    units = build_units(study, tier, candidates)
    first, last = int(units["zero_period"].min()), int(units["zero_period"].max())
    paths = read_paths(study, people, first - LAGS, last - 1)
    units = pd.concat([units, history(paths, candidates["k"].to_numpy(), units["zero_period"].to_numpy())], axis=1)
    full = complete(study, units, flow)
    units, keys = units[full].reset_index(drop=True), candidates.loc[full, ["k", "month"]].reset_index(drop=True)
    _require_both_arms(study, tier, units, flow)
    for arm, value in _ARMS:
        flow.close(arm, f"{arm} records", units.loc[units["treated"] == value, "person"].nunique())
    return Cohort(
        study=study, tier=tier, kind=kind, horizon_months=horizon, units=units, flow=flow.table(),
        notes=_notes(study, tier, horizon), _keys=keys, _people=people,
    )  # fmt: skip


def read_outcomes(cohort: Cohort) -> pd.DataFrame:
    """What happened to the records of a cohort by its horizon; kept apart so that no design can see it.

    employed_h : in work in the period `horizon_months` after date zero (0/1, NaN unknown).
    income_h : income of that period, currency units.
    placed_ever_h : found a job or started a business within the horizon months that begin at date zero;
        programme-embedded contracts do not count. claimed_h : such an event that the person credits to the school.
    censored : 1 where employed_h or income_h is unknown.
    Before `placement_from_months` of a tier the three placement outcomes are NaN: the contract is a job by
    construction.
    """
    study, keys = cohort.study, cohort._keys
    person, month = keys["k"].to_numpy(), keys["month"].to_numpy()
    zero = cohort.units["zero_period"].to_numpy()
    period = zero + cohort.horizon_months // MONTHS_PER_PERIOD[study.frequency]
    paths = cohort._paths(int(period.min()), int(period.max()))
    columns = {"employed_h": paths.at("employed", person, period), "income_h": paths.at("income", person, period)}
    if study.has("outcome_events") and cohort.kind == "landmark":
        events = study.sql(
            f"WITH people AS ({cohort._people.sql}) SELECT p.k AS k, {month_of('v.occurred_on')} AS month, "
            "CASE WHEN v.self_credited = 'yes' THEN 1 ELSE 0 END AS claimed "
            f"FROM ({current_events(study, PLACEMENT)}) AS v "
            "JOIN people AS p ON p.person_id = v.person_id WHERE k < :n",
            n=cohort._people.n, **cohort._people.params,
        )  # fmt: skip
        columns["placed_ever_h"] = _within(events, person, month, cohort.horizon_months)
        columns["claimed_h"] = _within(events[events["claimed"] == 1], person, month, cohort.horizon_months)
    frame = pd.DataFrame(columns, index=cohort.units.index)
    if cohort.horizon_months < (_placement_from(study, cohort.tier) or 0):
        for name in {"employed_h", "placed_ever_h", "claimed_h"} & set(frame):
            frame[name] = np.nan
    frame["censored"] = (np.isnan(columns["employed_h"]) | np.isnan(columns["income_h"])).astype("int64")
    return frame


def _within(events: pd.DataFrame, person: np.ndarray, month: np.ndarray, months: int) -> np.ndarray:
    """(n,) 1.0 where the person has an event in the `months` calendar months that begin with `month`."""
    span = 100_000  # more months than any calendar holds, so that people cannot run into each other
    when = np.sort(events["k"].to_numpy(dtype=np.int64) * span + events["month"].to_numpy(dtype=np.int64))
    begin = person.astype(np.int64) * span + month
    return (np.searchsorted(when, begin + months) > np.searchsorted(when, begin)).astype(float)


def _require_design(study: Study, tier: str) -> None:
    if tier not in study.tiers:
        raise DesignError("a tier of this study", f"{tier!r}", f"choose from {sorted(study.tiers)}")
    plan = study.tiers[tier]
    if plan.design == "none":
        raise DesignError(
            "a tier with a comparison", f"[tiers.{tier}] design = \"none\": {plan.reason}",
            "describe this tier; the effect of another is never applied to it",
        )  # fmt: skip


def _landmark_candidates(study: Study, tier: str) -> tuple[pd.DataFrame, Flow]:
    for table in ("applications", "income_panel"):
        if not study.has(table):
            raise DesignError(f"the table {table}", study.why_absent(table), "add the table", table=table)
    extra, join = sensitive_columns(study)
    facts = ", ".join(f"l.{name} AS {name}" for name in learner_columns(study)) + extra
    candidates = landmark_trials.read_candidates(study, tier, facts, join, _no_consent(study))
    return candidates, landmark_trials.open_flow(study, tier, candidates)


def _no_consent(study: Study) -> str:
    """SQL condition on learners l who may not be used."""
    have = set(study.columns("learners"))
    return " OR ".join(f"l.{name} {test}" for name, test in _REFUSED.items() if name in have) or "FALSE"


def _kept(candidates: pd.DataFrame) -> pd.DataFrame:
    """The candidates nobody excluded so far."""
    return candidates[np.asarray(candidates["why"] == "")].reset_index(drop=True)


def _keep_pools(candidates: pd.DataFrame, flow: Flow, wanted: tuple[str, ...]) -> pd.DataFrame:
    candidates = _kept(candidates)
    status, treated = candidates["status"].to_numpy(), candidates["treated"].to_numpy() == 1
    out = ~treated & ~np.isin(status, wanted)
    flow.count("comparison", np.where(out, "closed before: " + status.astype(str).astype(object), "")[~treated], ())
    return candidates[~out].reset_index(drop=True)


def _matured(study: Study, candidates: pd.DataFrame, flow: Flow, horizon: int) -> pd.DataFrame:
    """Only records whose whole horizon lies inside the data of the study's year."""
    per = MONTHS_PER_PERIOD[study.frequency]
    late = candidates["month"].to_numpy() // per * per + per + horizon // per * per > end_of_data(study, study.year)
    treated = candidates["treated"].to_numpy() == 1
    flow.exclude("treated", int((late & treated).sum()), NOT_MATURE)
    flow.exclude("comparison", int((late & ~treated).sum()), NOT_MATURE)
    return candidates[~late].reset_index(drop=True)


def _require_both_arms(study: Study, tier: str, rows: pd.DataFrame, flow: Flow) -> None:
    for arm, value in _ARMS:
        if (rows["treated"] == value).any():
            continue
        raise DesignError(
            f"{arm} records of the tier {tier} with date zero in {study.year - study.clock.cohort_lag_years}",
            f"nobody left after the exclusions ({_last_reasons(flow.table(), arm)})",
            "choose another year, horizon or comparison, or describe this tier only",
        )  # fmt: skip


def _placement_from(study: Study, tier: str) -> int | None:
    return study.tiers[tier].placement_from_months


def _notes(study: Study, tier: str, horizon: int) -> tuple[str, ...]:
    months = _placement_from(study, tier)
    if not months or horizon >= months:
        return ()
    return (f"Placement in this tier counts from {months} months: before, the contract is a job by construction.",)


def _last_reasons(flow: pd.DataFrame, arm: str) -> str:
    rows = flow[(flow["arm"] == arm) & (flow["excluded"] > 0)]
    return "; ".join(f"{row.excluded:,} {row.reason}" for row in rows.itertuples()) or "none in the tables"
