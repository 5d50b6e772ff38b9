"""Weights from a propensity: inverse probability for the treated or for all, overlap weights."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..newton import Columns, Weighted, logit, probit
from ..propensity import Propensity, columns_of, fit_link
from ..table import encode


def inverse(columns: Columns, t, base, target, names, origins, link="logit") -> Weighted:
    """Inverse-probability weights by maximum likelihood, with their derivatives through the log-odds."""
    fit = fit_link(columns, t, names, origins, link, base)
    eta = columns.index(fit.beta)
    loss, log_odds, slope = logit, eta, np.ones(1)
    if link == "probit":
        from scipy.special import log_ndtr

        up, down = log_ndtr(eta), log_ndtr(-eta)
        loss, log_odds = probit, up - down
        slope = np.exp(-0.5 * eta**2 - 0.5 * np.log(2 * np.pi) - up - down)
    w, by_odds = by_target(log_odds, t, target)
    influence = columns.influence(fit, base * loss(eta, t.astype(float))[1])
    return Weighted(weights=base * w, influence=influence, slopes=columns.weighted(base * by_odds * slope),
                    log_odds=log_odds)  # fmt: skip


def by_target(log_odds: np.ndarray, t: np.ndarray, target: str) -> tuple[np.ndarray, np.ndarray]:
    """Weights and their derivative by the log-odds."""
    sign = np.where(t, -1.0, 1.0)
    if target == "overlap":
        w = 1 / (1 + np.exp(-sign * log_odds))
        return w, sign * w * (1 - w)
    if target == "all":
        odds = np.exp(sign * log_odds)
        return 1 + odds, sign * odds
    odds = np.exp(np.where(t, 0.0, log_odds))
    return odds, np.where(t, 0.0, odds)


def from_score(score: Propensity, log_odds: np.ndarray, rows: pd.DataFrame, t, base, target: str) -> Weighted:
    """A logit or probit that these rows reproduce brings its own M-estimation; another score is held fixed."""
    if score.spec.get("model") in ("logit", "probit"):
        x, names, origins = encode(rows, score.spec["covariates"], drop_base=True)
        found = inverse(columns_of(x, names, origins), t, base, target, names, origins, score.spec["model"])
        if found.log_odds is not None and np.allclose(found.log_odds, log_odds, rtol=1e-6, atol=1e-6):
            return found
    return Weighted(weights=base * by_target(log_odds, t, target)[0], log_odds=log_odds)
