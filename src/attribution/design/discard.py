"""Who has no counterpart at all, by the propensity: common support and Crump's rule. Blind to outcomes."""

from __future__ import annotations

from typing import Literal

import numpy as np

from ..errors import DesignError

Discard = Literal["common_support", "crump"]


def no_overlap(probability: np.ndarray, treated: np.ndarray, rule: Discard | None) -> np.ndarray:
    """(n,) bool: units that a rule of overlap leaves out.

    "common_support" leaves out whoever lies outside the range of the other arm's propensity; "crump" whoever lies
    outside [alpha, 1 - alpha], with alpha from `crump_alpha`; None leaves out nobody.
    """
    p, t = np.asarray(probability, float), np.asarray(treated, bool)
    if rule is None:
        return np.zeros(len(p), bool)
    if rule == "common_support":
        low = np.where(t, p[~t].min(), p[t].min())
        high = np.where(t, p[~t].max(), p[t].max())
        return (p < low) | (p > high)
    if rule == "crump":
        alpha = crump_alpha(p)
        return (p < alpha) | (p > 1 - alpha)
    raise DesignError('discard None, "common_support" or "crump"', f"{rule!r}", "choose one of these")


def crump_alpha(probability: np.ndarray) -> float:
    """The smallest a with 1 / (a (1 - a)) <= 2 E[1 / (p (1 - p)) | kept] (Crump, Hotz, Imbens & Mitnik 2009).

    Kept are the units with a <= p <= 1 - a. 0 when the variance of nobody's comparison stands out.
    Checked : reference/match trim_lalonde, trim_nsw_psid.
    """
    p = np.asarray(probability, float)
    with np.errstate(divide="ignore"):
        cost = np.sort(1 / (p * (1 - p)))
    mean = np.cumsum(cost) / np.arange(1, len(cost) + 1)
    worth = (cost <= 2 * mean) & np.isfinite(cost)  # a probability that rounds to 0 or 1 costs without end
    if worth[-1]:
        return 0.0
    k = int(np.flatnonzero(worth)[-1])  # the largest set whose costliest unit is worth keeping
    bound = 2 * mean[k]
    return float(0.5 - np.sqrt(0.25 - 1 / bound))
