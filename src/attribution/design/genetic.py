"""Covariate weights for matching, searched for the best balance (genetic matching). Blind to outcomes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..errors import DesignError
from ..results import Result
from .matching.metric import Space
from .matching.nearest import Side, k_nearest
from .pairs import pair_weights
from .table import cell_numbers, encode, in_order, key_order, read_treatment, refuse_missing, require_columns, to_pandas


@dataclass(frozen=True, kw_only=True, repr=False)
class GeneticWeights(Result):
    """weights : {covariate: weight}, for `match(distance="scaled_euclidean", covariate_weights=...)`.

    worst, worst_equal : largest |SMD| or KS of a covariate with these weights, and with equal ones. tried : how many
    sets of weights were.
    """

    weights: dict[str, float]
    worst: float
    worst_equal: float
    tried: int

    def tidy(self) -> pd.DataFrame:
        return pd.DataFrame({"covariate": list(self.weights), "weight": list(self.weights.values())})

    def summary(self) -> str:
        return (f"largest imbalance (SMD or KS) {self.worst:.3f}, with equal weights {self.worst_equal:.3f}; "
                f"{self.tried:,} tried\n{self.tidy().to_string(index=False, float_format='%.3g')}")  # fmt: skip


def genetic_weights(
    units: Any, treatment: str, *, covariates: Sequence[str], ratio: int = 1, tie_tolerance: float = 0.0,
    exact: Sequence[str] = (), key: str | None = None, seed: int = 0, population: int = 10, generations: int = 20,
) -> GeneticWeights:  # fmt: skip
    """Weights of covariates under which nearest matching with replacement, all ties kept, balances best.

    Estimand : none; the design it serves has the ATT's.
    Assumes : nothing; the match that uses the weights assumes what every match does.
    Estimator : Diamond & Sekhon 2013, on balance itself and no p-values: the largest |standardised mean difference| or
        Kolmogorov-Smirnov distance of a covariate is made small (a hundredth of their mean decides between equals), by
        differential evolution over log-weights (Storn & Price 1997); equal weights are among the first tried.
    Edge cases : the search is random, the same for the same `seed` and (with `key`) whatever the order of rows. Better
        balance of means and distributions is no proof of better matches: look at all of `balance`.
    Checked : reference/match genetic_lalonde (Matching 4.10.8): balance at least as good; its weights give its ATT.

    Parameters
    ----------
    units, treatment, covariates, ratio, tie_tolerance, exact, key : as in `match`.
    population : candidates a covariate and generation. generations : at most.
    """
    from scipy.optimize import differential_evolution

    units = to_pandas(units)
    treated = read_treatment(units, treatment)
    require_columns(units, [*covariates, *exact, *([key] if key else [])])
    refuse_missing(units, [*covariates, *exact, *([key] if key else [])])
    if min(population, generations) < 1 or ratio > int((~treated).sum()):
        raise DesignError("population, generations >= 1 and a ratio no larger than the pool",
                          f"{population}, {generations}, {ratio}", "correct them")  # fmt: skip
    order = key_order(units, key)
    rows, t = in_order(units, order), treated[order]
    cell = cell_numbers(rows, exact)
    x, _, origins = encode(rows, covariates, drop_base=False)
    if (x.std(axis=0) == 0).any():
        raise DesignError("covariates that vary", "a constant covariate", "leave it out of the design",
                          column=origins[int(np.argmin(x.std(axis=0)))])  # fmt: skip
    z, of = x / x.std(axis=0, ddof=1), np.array([list(covariates).index(name) for name in origins])
    imbalance = _imbalance(x, t)
    tried = 0

    def worst(logs: np.ndarray) -> tuple[float, float]:
        where = Space(centres=np.zeros((1, 1)), block=np.zeros(len(t), int), inner=z * np.exp(logs / 2)[of])
        i, j, _ = k_nearest(np.flatnonzero(t), np.flatnonzero(~t), where, cell, Side(), ratio, all_ties=True,
                            tolerance=tie_tolerance)  # fmt: skip
        if not len(i):
            raise DesignError("treated and comparison units in one exact cell", "none", "match exactly on less")
        sizes = imbalance(pair_weights(i, j, len(t), "treated")[0])
        return float(sizes.max()), float(sizes.mean())

    def loss(logs: np.ndarray) -> float:
        nonlocal tried
        tried += 1
        most, mean = worst(logs)
        return most + mean / 100

    k = len(covariates)
    equal = worst(np.zeros(k))[0]
    rng = np.random.default_rng(seed)
    first = np.vstack([np.zeros(k), rng.uniform(-7.0, 7.0, (max(4, population * k) - 1, k))])
    found = differential_evolution(loss, [(-7.0, 7.0)] * k, init=first, maxiter=generations, rng=rng, tol=0.0,
                                   polish=False)  # fmt: skip
    weights = dict(zip(covariates, np.exp(found.x).tolist(), strict=True))
    return GeneticWeights(weights=weights, worst=worst(found.x)[0], worst_equal=equal, tried=tried)


def _imbalance(x: np.ndarray, t: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Function of (n,) weights to the |SMD| (SD of the treated) and KS distance of every column."""
    scale = x[t].std(axis=0, ddof=1)
    scale = np.where(scale > 0, scale, x.std(axis=0, ddof=1))
    order = np.argsort(x, axis=0, kind="stable")
    ordered = np.take_along_axis(x, order, 0)
    jump = np.vstack([ordered[1:] != ordered[:-1], np.ones((1, x.shape[1]), bool)])

    def sizes(weights: np.ndarray) -> np.ndarray:
        signed = np.where(t, weights / weights[t].sum(), -weights / weights[~t].sum())
        gap = np.abs(np.cumsum(signed[order], axis=0)) * jump
        return np.concatenate([np.abs(signed @ x) / scale, gap.max(axis=0)])

    return sizes
