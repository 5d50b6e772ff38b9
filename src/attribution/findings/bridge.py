"""The headline: claimed, verified, observed, counterfactual, attributable, on one population, clock and horizon."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..errors import EstimationError
from ..estimate.att import att
from ..inference import fieller, normal_quantile, wilson
from ..outcomes.career import career_outcomes
from ..read.config import Disclosure
from ..results import Effects, Result
from ..study import Study
from .comparison import Comparison
from .grade import Grade
from .words import refused

STAGES = ("claimed", "verified", "observed", "counterfactual", "attributable")

COLUMNS = [
    "tier", "stage", "status", "share", "std_error", "conf_low", "conf_high", "people", "people_low", "people_high",
    "n", "reason",
]  # fmt: skip


@dataclass(frozen=True, kw_only=True, repr=False)
class Bridge(Result):
    """The stages of one or several tiers: `table` has one row a tier and stage (columns `COLUMNS`).

    status is estimated | described | not_available | not_estimable | cannot_conclude | suppressed; only the first two
    carry numbers.
    ratios : one row a tier, attributable / claimed with its Fieller set (low, high, kind), where both exist.
    """

    table: pd.DataFrame
    ratios: pd.DataFrame
    level: float = 0.95

    def tidy(self) -> pd.DataFrame:
        return self.table.copy()

    def stage(self, tier: str, stage: str) -> pd.Series:
        """The row of one tier and stage."""
        rows = self.table[(self.table["tier"] == tier) & (self.table["stage"] == stage)]
        if rows.empty:
            raise EstimationError("a tier and stage of this bridge", f"{tier!r}, {stage!r}", f"choose from {STAGES}")
        return rows.iloc[0]

    def summary(self) -> str:
        lines = []
        for tier, rows in self.table.groupby("tier", sort=False):
            lines.append(str(tier))
            for row in rows.to_dict("records"):
                if row["status"] in ("estimated", "described"):
                    interval = f"[{row['conf_low']:.1%}, {row['conf_high']:.1%}]"
                    value = f"{row['share']:6.1%}  {interval}  {row['people']:,.0f} people"
                else:
                    value = f"{row['status'].replace('_', ' ')}: {row['reason']}"
                lines.append(f"  {row['stage']:<15} {value}")
        return "\n".join(lines)


def estimated(
    tier: str, *, parts: Effects, claimed: Effects | None, n_covered: int, grade: Grade, rule: Disclosure,
    withheld: str = "", claimed_reason: str = "", verified_reason: str = "", level: float = 0.95,
) -> Bridge:  # fmt: skip
    """Bridge of a tier that has a design; every stage speaks of the same `n_covered` people.

    Parameters
    ----------
    parts : Effects with the terms observed, counterfactual and att (`att(..., parts=True)`), shares.
    claimed : one-term Effects, the share of the same people who credit the school, on the same score rows; or None.
    n_covered : treated people the estimate speaks for. grade : "cannot conclude" withholds the last two stages, as does
        `withheld`, another reason to (the declared estimators disagree in sign).
    rule : small-cell rule of the study; a stage it hides carries no number anywhere.
    claimed_reason, verified_reason : why a stage is not available.
    """
    place = {term: j for j, term in enumerate(parts.labels["term"])}
    low, high = parts.conf_int(level)
    doubt = " ".join(grade.reasons) if grade.level == "cannot conclude" else withheld
    rows = []
    if claimed is None:
        rows.append(_empty(tier, "claimed", "not_available", claimed_reason))
    else:
        (share,), (std_error,) = claimed.estimate, claimed.std_error
        (c_low,), (c_high,) = claimed.conf_int(level)
        rows.append(_row(tier, "claimed", "described", share, std_error, c_low, c_high, n_covered))
    rows.append(_empty(tier, "verified", "not_available", verified_reason))
    for stage, term in (("observed", "observed"), ("counterfactual", "counterfactual"), ("attributable", "att")):
        if stage != "observed" and doubt:
            rows.append(_empty(tier, stage, "cannot_conclude", doubt))
            continue
        j = place[term]
        status = "described" if stage == "observed" else "estimated"
        rows.append(_row(tier, stage, status, parts.estimate[j], parts.std_error[j], low[j], high[j], n_covered))
    rows, ratios = _protected(rows, rule), []
    shown = {row["stage"]: row["status"] for row in rows}
    if claimed is not None and shown["claimed"] == "described" and shown["attributable"] == "estimated":
        j = place["att"]
        both = np.column_stack([parts.scores[:, j], claimed.scores[:, 0]])
        r_low, r_high, kind = fieller(
            parts.estimate[j], claimed.estimate[0], both.T @ both, level, float(parts.degrees[j])
        )
        ratio = parts.estimate[j] / claimed.estimate[0] if claimed.estimate[0] else np.nan
        ratios.append({"tier": tier, "ratio": ratio, "conf_low": r_low, "conf_high": r_high, "kind": kind})
    return _build(rows, ratios, level)


def without_design(
    tier: str, *, n: int, claimed: int | None, observed: int | None, reason: str, rule: Disclosure,
    claimed_reason: str = "", observed_reason: str = "", verified_reason: str = "", level: float = 0.95,
) -> Bridge:  # fmt: skip
    """Bridge of a tier nobody can be compared with: what was counted, and *not estimable* for the rest.

    n : people of the tier on the same clock and horizon. claimed, observed : how many of them, or None.
    reason : why no comparison exists.
    """
    rows = []
    for stage, count, why in (("claimed", claimed, claimed_reason), ("observed", observed, observed_reason)):
        if count is None or n == 0:
            rows.append(_empty(tier, stage, "not_available", why or "nobody on this clock and horizon"))
            continue
        low, high = wilson(count, n, level)
        share = count / n
        rows.append(_row(tier, stage, "described", share, float(np.sqrt(share * (1 - share) / n)), low, high, n))
    rows.insert(1, _empty(tier, "verified", "not_available", verified_reason))
    rows += [_empty(tier, stage, "not_estimable", reason) for stage in ("counterfactual", "attributable")]
    return _build(_protected(rows, rule), [], level)


def claims(comparison: Comparison, outcome: str) -> Effects | None:
    """Share of the covered starters who credit the school, on the score rows of the effect; None where nobody asked."""
    outcomes, treated = comparison.cohort.outcomes, comparison.design.treated
    if "claimed_h" not in outcomes:
        return None
    said = outcomes["claimed_h"].where(treated, 0.0).where(outcomes[outcome].notna())
    parts = att(comparison.design, said.rename("claimed"), parts=True)
    first = np.array([1.0, 0.0, 0.0])
    return parts.combine(first, labels=parts.labels.iloc[[0]], estimand="share who credit the school")


def outcome_of(study: Study) -> tuple[str, str]:
    """(column of the cohort's outcomes, words) that every stage of the bridge speaks of.

    Placed at least once within the horizon, where career events are recorded, because that is what people claim;
    otherwise the study's placement outcome.
    """
    if study.comparison.kind == "landmark" and study.has("outcome_events"):
        return "placed_ever_h", f"Placed at least once within {study.horizon_months} months"
    plan = study.outcomes["placement"]
    return plan.column + "_h", plan.title


def counted(study: Study, tier: str) -> dict[str, Any]:
    """What was counted in a tier without a design: people jobless at date zero whose horizon has passed, and claims.

    Observed placements are not counted: nobody but the people themselves reports them, and a contract that belongs to
    the programme is a job by construction.
    """
    known = "placements are recorded only by the people themselves"
    plan, nothing = study.tiers[tier], {"n": 0, "claimed": None, "observed": None}
    if study.horizon_months < (plan.placement_from_months or 0):
        return {**nothing, "claimed_reason": plan.reason, "observed_reason": plan.reason}
    if not study.has("outcome_events"):
        return {**nothing, "observed_reason": known, "claimed_reason": study.why_absent("outcome_events")}
    persons = career_outcomes(study).persons
    mine = persons[(persons["tier"] == tier) & (persons["labour_status"] == "jobless") & (persons["matured"] == 1)]
    return {"n": len(mine), "claimed": int(mine["claimed"].sum()), "observed": None, "observed_reason": known}


def bridge(*tiers: Bridge) -> Bridge:
    """One bridge from the bridges of several tiers; tiers are shown side by side and never pooled.

    Parameters
    ----------
    tiers : one Bridge a tier, from `estimated` or `without_design`; shares are 0 to 1.
    """
    names = [name for part in tiers for name in part.table["tier"].unique()]
    if len(set(names)) != len(names):
        raise EstimationError("each tier once", f"tiers {names}", "build one bridge a tier")
    return Bridge(
        table=pd.DataFrame([row for part in tiers for row in part.table.to_dict("records")], columns=COLUMNS),
        ratios=pd.DataFrame(
            [row for part in tiers for row in part.ratios.to_dict("records")], columns=tiers[0].ratios.columns
        ),
        level=tiers[0].level,
    )


def net_of_displacement(people: float, shares: Sequence[float] = (0.0, 0.5)) -> tuple[float, float]:
    """Range of the people attributable when a share of the gain was taken from other job seekers.

    people : attributable, gross. shares : lowest and highest displaced share assumed (Crépon et al. 2013
    find that much of the gain of a French job-search programme came from untreated job seekers).
    """
    return people * (1 - max(shares)), people * (1 - min(shares))


def _protected(rows: list[dict[str, Any]], rule: Disclosure) -> list[dict[str, Any]]:
    """Rows whose people (or the people left over) are too few lose every number; effects go with their parts."""
    why = "fewer people than may be shown"

    def small(row: dict[str, Any]) -> bool:
        if row["status"] not in ("described", "estimated"):
            return False
        people = round(abs(row["people"]))
        parts = () if row["stage"] == "attributable" else (people, row["n"] - people)
        return row["n"] < rule.percent_min_n or any(0 < part < rule.min_cell for part in parts)

    hidden = {row["stage"] for row in rows if small(row)}
    if hidden & {"observed", "counterfactual"}:
        hidden.add("attributable")  # the difference would give the hidden one away
    told = ("described", "estimated")
    gone = [row["stage"] in hidden and row["status"] in told for row in rows]
    return [_empty(row["tier"], row["stage"], "suppressed", why) if out else row
            for row, out in zip(rows, gone, strict=True)]  # fmt: skip


def _row(
    tier: str, stage: str, status: str, share: float, std_error: float, low: float, high: float, n: int
) -> dict[str, Any]:
    return {"tier": tier, "stage": stage, "status": status, "share": share, "std_error": std_error, "conf_low": low,
            "conf_high": high, "people": share * n, "people_low": low * n, "people_high": high * n, "n": n,
            "reason": ""}  # fmt: skip


def _empty(tier: str, stage: str, status: str, reason: str) -> dict[str, Any]:
    return {"tier": tier, "stage": stage, "status": status, "reason": refused(reason)}


def _build(rows: list[dict[str, Any]], ratios: list[dict[str, Any]], level: float) -> Bridge:
    return Bridge(
        table=pd.DataFrame(rows).reindex(columns=COLUMNS),
        ratios=pd.DataFrame(ratios, columns=["tier", "ratio", "conf_low", "conf_high", "kind"]),
        level=level,
    )


def verdict(estimate: float, std_error: float, level: float = 0.995) -> str:
    """Direction an estimate may be said to have: "raised", "lowered" or "no clear effect".

    Stricter than the 95 % interval beside it (99.5 %), so that a wrong direction is stated in fewer than 1 % of
    runs even where a standard error is a little too small.
    """
    z = estimate / std_error if std_error else np.nan
    if not np.isfinite(z) or abs(z) < normal_quantile(0.5 + level / 2):
        return "no clear effect"
    return "raised" if z > 0 else "lowered"
