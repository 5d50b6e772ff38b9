"""The headline: claimed, verified, observed, counterfactual, attributable, on one population, clock and horizon."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from ..errors import EstimationError
from ..estimate.att import att
from ..inference import fieller, wilson
from ..outcomes.career import career_outcomes
from ..results import Effects, Result
from ..study import Study
from .comparison import Comparison
from .grade import Grade

STAGES = ("claimed", "verified", "observed", "counterfactual", "attributable")

COLUMNS = [
    "tier", "stage", "status", "share", "std_error", "conf_low", "conf_high", "people", "people_low", "people_high",
    "n", "reason",
]  # fmt: skip


@dataclass(frozen=True, kw_only=True, repr=False)
class Bridge(Result):
    """The stages of one or several tiers: `table` has one row a tier and stage (columns `COLUMNS`).

    status is estimated | described | not_available | not_estimable | cannot_conclude; only the first two carry numbers.
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

    def sentence(self) -> str:
        """The headline in words, a sentence a tier."""
        said = []
        for tier in self.table["tier"].unique():
            seen, caused = self.stage(tier, "observed"), self.stage(tier, "attributable")
            if caused["status"] == "estimated":
                said.append(
                    f"{tier}: of {caused['n']:,.0f} people, {seen['people']:,.0f} ({seen['share']:.0%}) were placed; "
                    f"{caused['people']:,.0f} of these ({100 * caused['share']:+.1f} points, interval "
                    f"{100 * caused['conf_low']:+.1f} to {100 * caused['conf_high']:+.1f}) are attributable."
                )
            else:
                said.append(f"{tier}: {caused['status'].replace('_', ' ')}: {str(caused['reason']).rstrip('.')}.")
        return " ".join(said)

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
    tier: str, *, parts: Effects, claimed: Effects | None, n_covered: int, grade: Grade,
    claimed_reason: str = "", verified_reason: str = "", level: float = 0.95,
) -> Bridge:  # fmt: skip
    """Bridge of a tier that has a design; every stage speaks of the same `n_covered` people.

    Parameters
    ----------
    parts : Effects with the terms observed, counterfactual and att (`att(..., parts=True)`), shares.
    claimed : one-term Effects, the share of the same people who credit the school, on the same score rows; or None.
    n_covered : treated people the estimate speaks for. grade : "cannot conclude" withholds the last two stages.
    claimed_reason, verified_reason : why a stage is not available.
    """
    place = {term: j for j, term in enumerate(parts.labels["term"])}
    low, high = parts.conf_int(level)
    rows = []
    if claimed is None:
        rows.append(_empty(tier, "claimed", "not_available", claimed_reason))
    else:
        (share,), (std_error,) = claimed.estimate, claimed.std_error
        (c_low,), (c_high,) = claimed.conf_int(level)
        rows.append(_row(tier, "claimed", "described", share, std_error, c_low, c_high, n_covered))
    rows.append(_empty(tier, "verified", "not_available", verified_reason))
    for stage, term in (("observed", "observed"), ("counterfactual", "counterfactual"), ("attributable", "att")):
        if stage != "observed" and grade.level == "cannot conclude":
            rows.append(_empty(tier, stage, "cannot_conclude", " ".join(grade.reasons)))
            continue
        j = place[term]
        status = "described" if stage == "observed" else "estimated"
        rows.append(_row(tier, stage, status, parts.estimate[j], parts.std_error[j], low[j], high[j], n_covered))
    ratios = []
    if claimed is not None and grade.level != "cannot conclude":
        j = place["att"]
        both = np.column_stack([parts.scores[:, j], claimed.scores[:, 0]])
        r_low, r_high, kind = fieller(parts.estimate[j], claimed.estimate[0], both.T @ both, level)
        ratio = parts.estimate[j] / claimed.estimate[0] if claimed.estimate[0] else np.nan
        ratios.append({"tier": tier, "ratio": ratio, "conf_low": r_low, "conf_high": r_high, "kind": kind})
    return _build(rows, ratios, level)


def without_design(
    tier: str, *, n: int, claimed: int | None, observed: int | None, reason: str,
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
    return _build(rows, [], level)


def claims(comparison: Comparison, outcome: str) -> Effects | None:
    """Share of the covered starters who credit the school, on the score rows of the effect; None where nobody asked."""
    outcomes, treated = comparison.cohort.outcomes, comparison.design.treated
    if "claimed_h" not in outcomes:
        return None
    said = outcomes["claimed_h"].where(treated, 0.0).where(outcomes[outcome].notna())
    parts = att(comparison.design, said.rename("claimed"), parts=True)
    first = np.array([1.0, 0.0, 0.0])
    return parts.combine(first, labels=parts.labels.iloc[[0]], estimand="share who credit the school")


def counted(study: Study, tier: str) -> dict[str, Any]:
    """What was counted in a tier without a design: people jobless at date zero whose horizon has passed, and claims.

    Observed placements are not counted: for people outside the income panel nobody knows them, and a contract that
    belongs to the programme is a job by construction.
    """
    known = "employment at the horizon is not known, or is the programme's own contract"
    if not study.has("outcome_events"):
        return {"n": 0, "claimed": None, "observed": None, "observed_reason": known,
                "claimed_reason": study.why_absent("outcome_events")}  # fmt: skip
    persons = career_outcomes(study).persons
    mine = persons[(persons["tier"] == tier) & (persons["labour_status"] == "jobless") & (persons["matured"] == 1)]
    return {"n": len(mine), "claimed": int(mine["claimed"].sum()), "observed": None, "observed_reason": known}


def bridge(*tiers: Bridge) -> Bridge:
    """One bridge from the bridges of several tiers; tiers are shown side by side and never pooled."""
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


def _row(
    tier: str, stage: str, status: str, share: float, std_error: float, low: float, high: float, n: int
) -> dict[str, Any]:
    return {"tier": tier, "stage": stage, "status": status, "share": share, "std_error": std_error, "conf_low": low,
            "conf_high": high, "people": share * n, "people_low": low * n, "people_high": high * n, "n": n,
            "reason": ""}  # fmt: skip


def _empty(tier: str, stage: str, status: str, reason: str) -> dict[str, Any]:
    return {"tier": tier, "stage": stage, "status": status, "reason": reason}


def _build(rows: list[dict[str, Any]], ratios: list[dict[str, Any]], level: float) -> Bridge:
    return Bridge(
        table=pd.DataFrame(rows).reindex(columns=COLUMNS),
        ratios=pd.DataFrame(ratios, columns=["tier", "ratio", "conf_low", "conf_high", "kind"]),
        level=level,
    )


def verdict(effect: Effects, term: str, level: float = 0.995) -> str:
    """Direction an estimate may be said to have: "raised", "lowered" or "no clear effect".

    Stricter than the 95 % interval beside it (99.5 %), so that a wrong direction is stated in fewer than 1 % of
    runs even where a standard error is a little too small.
    """
    j = list(effect.labels["term"]).index(term)
    z = effect.estimate[j] / effect.std_error[j]
    if not np.isfinite(z) or abs(z) < stats.norm.ppf(0.5 + level / 2):
        return "no clear effect"
    return "raised" if z > 0 else "lowered"
