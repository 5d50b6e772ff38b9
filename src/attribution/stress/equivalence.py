"""An effect that should be zero: shown to differ, shown to be small, or neither; and how that is said."""

from __future__ import annotations

import numpy as np

from ..inference import normal_quantile, student_quantile


def rejected(estimate: float, std_error: float, level: float, dof: np.ndarray | None = None) -> bool:
    """Does the interval of `level` exclude zero? Student's t where there are degrees of freedom."""
    return abs(estimate) > _critical(0.5 + level / 2, dof) * std_error


def equivalent(
    differs: bool, estimate: float, std_error: float, margin: float, level: float, dof: np.ndarray | None = None
) -> bool | None:
    """False if zero is rejected, True if the estimate is shown to be within the margin, None between the two.

    Shown by two one-sided tests (Hartman & Hidalgo 2018), with Student's t where there are degrees of freedom.
    """
    if differs:
        return False
    return True if abs(estimate) + _critical(level, dof) * std_error < margin else None


def _critical(p: float, dof: np.ndarray | None) -> float:
    return normal_quantile(p) if dof is None else float(student_quantile(p, dof)[0])


def verdict(passed: bool | None, margin_sd: float) -> str:
    """The end of the sentence."""
    return {
        False: "differs from zero: the design does not remove what was there before",
        True: f"within {margin_sd} SD of zero",
        None: f"neither different from zero nor shown to be within {margin_sd} SD of it",
    }[passed]
