"""How much an estimate can carry, decided before anyone looks at the answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ..results import Check

Level = Literal["strong", "moderate", "weak", "cannot conclude"]


@dataclass(frozen=True, kw_only=True)
class Grade:
    """A grade and the reasons for it, one sentence each."""

    level: Level
    reasons: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.level}: {' '.join(self.reasons)}" if self.reasons else self.level


def grade(checks: Sequence[Check], *, randomised: bool = False) -> Grade:
    """Grade of the evidence from design quantities and pre-treatment placebos alone.

    - strong: assignment was randomised and no check failed;
    - moderate: every check passed;
    - weak: no check failed, but at least one could not be answered with these data (not rejecting is not passing);
    - cannot conclude: a check failed, or there is none.

    It takes checks and nothing else: no estimate, no outcome after treatment and no known answer can reach it.
    Refuters and causal graphs (`Check.only_lowers`) cannot see unobserved confounding: one that fails lowers the grade
    to *cannot conclude*, one that does not counts for nothing, whatever it says of itself.

    Parameters
    ----------
    checks : from `overlap`, `placebo_outcome`, `pre_period`, `refute`, `adjustment_set`, ... in any order.
    randomised : treatment was dealt out at random, by the study's plan.

    Returns
    -------
    Grade: level, and one sentence a reason.
    """
    failed = [check for check in checks if check.passed is False]
    if failed:
        return Grade(level="cannot conclude", reasons=tuple(check.text for check in failed))
    checks = [check for check in checks if not check.only_lowers]
    if not checks:
        return Grade(level="cannot conclude", reasons=("No check of the design was made.",))
    if randomised:
        return Grade(level="strong", reasons=("Assignment was randomised.",))
    open_ones = [check for check in checks if check.passed is None]
    if open_ones:
        return Grade(level="weak", reasons=tuple(check.text for check in open_ones))
    return Grade(level="moderate", reasons=("Overlap, balance and the pre-treatment placebo hold.",))
