"""One tier against one comparison pool, from who they are to how much the comparison can carry.

Everything here happens before any outcome after date zero is read; estimates start from what it returns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from ..cohorts.cohorts import Cohort, landmarks
from ..cohorts.flow import continued
from ..design.balance import balance, overlap
from ..design.match import match
from ..errors import attempt
from ..results import Balance, Check, Design, Result, checks_table
from ..stress.placebo import placebo_outcome
from ..study import Study
from .grade import Grade, grade


@dataclass(frozen=True, kw_only=True, repr=False)
class Comparison(Result):
    """A tier, its pool, the matched design between them, what was checked, and the grade that follows.

    cohort : records of the treated and of this pool (units, outcomes, panel, flow). design, balance : the matching.
    checks : overlap (with balance) and the pre-treatment placebo. grade : from the checks alone.
    """

    tier: str
    pool: str
    cohort: Cohort
    design: Design
    balance: Balance
    checks: tuple[Check, ...]
    grade: Grade

    @property
    def flow(self) -> pd.DataFrame:
        """The sample flow down to the starters who have a partner."""
        alone = int((~self.design.matched & self.design.treated).sum())
        return continued(self.cohort.flow, "treated", alone, "nobody comparable in the pool")

    @property
    def covered(self) -> Cohort:
        """The starters who have a partner, with every comparison record: one population for all answers."""
        return self.cohort.restrict(~self.design.treated | self.design.matched, self.flow)

    def tidy(self) -> pd.DataFrame:
        """The checks, one row each, with the grade."""
        return checks_table(self.checks).assign(tier=self.tier, pool=self.pool, grade=self.grade.level)

    def summary(self) -> str:
        lines = [f"{self.tier} against {self.pool}: {self.grade}", self.design.summary()]
        return "\n".join(lines + [check.summary() for check in self.checks])


def compare(study: Study, tier: str, pool: str | None = None, *, stand_in: str | None = None) -> Comparison:
    """Match the starters of a tier with one comparison pool as the study's plan says; blind to outcomes.

    Parameters
    ----------
    tier : a tier of the study that has a design.
    pool : status at the landmark (open, rejected, ...) or an external pool; None is the study's headline pool.
    stand_in : a pool that takes the place of the treated (the randomised-out men of a trial): the same design code
        asked a question whose true answer is zero.

    Raises
    ------
    DesignError : the tier has no design, the pool is empty, or no comparison can be built as planned.
    """
    pool = pool or study.comparison.headline
    wanted = [pool] if stand_in is None else [pool, stand_in]
    cohort = landmarks(study, tier, pools=wanted)
    if stand_in is not None:
        cohort = cohort.stand_in(stand_in)
    return _compare(study, stand_in or tier, pool, cohort)


def compare_all(study: Study, tier: str) -> tuple[dict[str, Comparison], dict[str, str]]:
    """Every pool of the study's plan for one tier: the comparisons that exist, and why the others do not.

    Parameters
    ----------
    study : an opened `Study`. tier : code of one of its tiers.

    Returns
    -------
    (comparisons by pool, headline first; reasons by pool where no honest comparison can be built)
    """
    pools = sorted(study.comparison.pools, key=lambda name: name != study.comparison.headline)
    cohort, why = attempt(landmarks, study, tier)
    if cohort is None:
        return {}, dict.fromkeys(pools, why)
    made, refused = {}, {}
    for pool in pools:
        one, why = attempt(_of_pool, study, tier, pool, cohort)
        if one is None:
            refused[pool] = why
        else:
            made[pool] = one
    return made, refused


def compare_tiers(study: Study) -> tuple[dict[str, Comparison], dict[str, str]]:
    """The headline comparison of every tier, and why the other tiers have none.

    Parameters
    ----------
    study : an opened `Study`.

    Returns
    -------
    (tier -> Comparison with the headline pool; tier -> reason, a sentence)
    """
    made, refused = {}, {}
    for tier, plan in study.tiers.items():
        one, why = attempt(compare, study, tier) if plan.design != "none" else (None, plan.reason)
        if one is None:
            refused[tier] = why
        else:
            made[tier] = one
    return made, refused


def _of_pool(study: Study, tier: str, pool: str, cohort: Cohort) -> Comparison:
    return _compare(study, tier, pool, cohort.select(status=pool))


def match_options(study: Study) -> dict[str, Any]:
    """The study's plan as options of `match`: a person serves once, ties go by record.

    Parameters
    ----------
    study : an opened `Study`; its [design] gives distance, caliper_sd (SDs of the score), ratio, replace and exact.
    """
    plan = study.design
    return {"distance": plan.distance, "ratio": plan.ratio, "caliper_sd": plan.caliper_sd, "exact": tuple(plan.exact),
            "key": "record_id", "person": "person"}  # fmt: skip


def why_no_placement(study: Study, tier: str) -> str:
    """Why the placement effect of a tier does not exist at the study's horizon; empty where it does.

    Parameters
    ----------
    study : an opened `Study`. tier : code of one of its tiers.
    """
    plan = study.tiers[tier]
    if plan.design == "none":
        return plan.reason
    if study.horizon_months < (plan.placement_from_months or 0):
        return plan.reason or f"placement can be read only {plan.placement_from_months} months after date zero"
    return ""


def _compare(study: Study, tier: str, pool: str, cohort: Cohort) -> Comparison:
    plan, options = study.design, match_options(study)
    design = match(cohort.units, "treated", covariates=list(plan.covariates), **options)
    placebo = placebo_outcome(
        cohort.units, "treated", outcome=plan.placebo, covariates=plan.covariates, drop=plan.placebo_drop, **options
    )
    checks = (overlap(design), placebo, *_still_at_risk(study))
    return Comparison(tier=tier, pool=pool, cohort=cohort, design=design, balance=balance(design),
                      checks=checks, grade=grade(checks))  # fmt: skip


def _still_at_risk(study: Study) -> tuple[Check, ...]:
    """A check nobody can pass where jobs found while waiting are not recorded."""
    if study.comparison.kind != "landmark" or study.has("outcome_events"):
        return ()
    text = "Jobs found while waiting are not recorded: people no longer at risk of starting may be in the comparison."
    return (Check(name="still at risk", question="Could everybody in the comparison still have started?",
                  statistic=float("nan"), std_error=None, threshold=None, passed=None, text=text),)  # fmt: skip
