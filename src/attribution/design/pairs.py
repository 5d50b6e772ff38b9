"""Pairs of a design: the weights they imply, and who looked for whom."""

from __future__ import annotations

import numpy as np
import pandas as pd


def pair_weights(focal: np.ndarray, partner: np.ndarray, n: int, target: str) -> tuple[np.ndarray, np.ndarray]:
    """(n,) design weights of pairs, and how many partners each unit found.

    A unit that found partners weighs 1; a partner weighs the sum of its shares. For the treated these are scaled to the
    number of comparison units used; for all, the two add.
    """
    partners = np.bincount(focal, minlength=n)
    pull = np.bincount(partner, weights=1.0 / partners[focal], minlength=n)
    weights = (partners > 0).astype(float)
    if target == "all":
        return weights + pull, partners
    used = pull > 0
    weights[used] = pull[used] * used.sum() / pull.sum()
    return weights, partners


def ends(pairs: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """(focal, partner) rows of a design's pairs: who looked for a partner, and who was found."""
    left, right = pairs["treated"].to_numpy(), pairs["comparison"].to_numpy()
    if "focal" not in pairs:
        return left, right
    swap = (pairs["focal"] == "comparison").to_numpy()
    return np.where(swap, right, left), np.where(swap, left, right)


def no_pairs() -> pd.DataFrame:
    """The pairs of a design that weights or groups units and pairs nobody."""
    return pd.DataFrame({"treated": np.empty(0, int), "comparison": np.empty(0, int), "distance": np.empty(0)})
