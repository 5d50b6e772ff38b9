"""The largest matched sample that is balanced: cardinality matching by an integer program. Blind to outcomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import DesignError
from ..results import Design
from .pairs import no_pairs
from .table import choice_order, encode, read_treatment, refuse_missing, require_columns, to_pandas


def cardinality_match(
    units: Any, treatment: str, *, covariates: Sequence[str], tols: float | Mapping[str, float] = 0.05, ratio: int = 1,
    key: str | None = None, time_limit_s: float = 60.0,
) -> Design:  # fmt: skip
    """The largest matched sample whose means agree within a tolerance: the ATT on the treated of that sample.

    Estimand : average effect on the treated units that are kept; the name says how many of how many.
    Assumes : given the covariates nobody knew more about their outcome when treatment was decided.
    Estimator : Zubizarreta, Paredes & Rosenbaum 2014: most treated units, `ratio` comparison units for each, with every
        |standardised mean difference| <= tolerance; an integer program (HiGHS).
    Std. errors : no pairs are made, each unit is its own group.
    Edge cases : the size is unique, the units chosen are not; who is chosen among equals does not depend on the order
        of rows, as in `match`. A program that is not proven optimal within the time limit is refused, with the best
        size found.
    Checked : reference/match/cardinality_lalonde (MatchIt 4.7.2, Symphony).

    Parameters
    ----------
    units : table, one row a unit. treatment : its 0/1 column. covariates : columns to balance, categories by level.
    tols : largest difference, in SDs of the treated in the whole sample (sqrt(p(1-p)) for 0/1 columns); one for all, or
        one for every covariate. ratio : comparison units per treated unit. key : column of unique values.
    time_limit_s : seconds of search.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp

    given, units = units, to_pandas(units)
    require_columns(units, [treatment, *covariates, *([key] if key else [])])
    t = read_treatment(units, treatment)
    refuse_missing(units, [*covariates, *([key] if key else [])])
    if treatment in covariates or not len(covariates):
        raise DesignError("covariates other than the treatment", f"{list(covariates)}", "name what must balance")
    if int(ratio) != ratio or not 1 <= ratio <= (~t).sum():
        raise DesignError("a whole ratio from 1 to the size of the pool", f"ratio = {ratio}", "lower the ratio")
    order, _ = choice_order(given, units, key, [treatment, *covariates])
    x, labels, origins = encode(units, covariates, drop_base=False)
    limit = _tolerances(tols, covariates, origins)
    x, arm = x[order], t[order]
    z = (x - x[arm].mean(axis=0)) / _spread(x, arm)
    sign = np.where(arm, 1.0, -1.0 / ratio)
    gap = (z * sign[:, None]).T  # summed over the chosen units: difference of means times the number of treated
    scale = 1_000.0  # the solver's feasibility tolerance is absolute: keep it far below the balance asked for
    found = milp(
        -arm.astype(float), integrality=np.ones(len(arm)), bounds=Bounds(0, 1),
        constraints=[LinearConstraint(scale * (gap - limit[:, None] * arm), -np.inf, 0),
                     LinearConstraint(scale * (gap + limit[:, None] * arm), 0, np.inf),
                     LinearConstraint(sign * ratio, 0, 0)],
        options={"time_limit": float(time_limit_s), "mip_rel_gap": 0.0},
    )  # fmt: skip
    if found.status != 0:
        best = "none found" if found.x is None else f"{int(np.round(found.x)[arm].sum())} treated units found so far"
        raise DesignError(f"the largest balanced sample, proven within {time_limit_s:g} seconds",
                          f"{best}, at most {_bound(found, arm)} possible",
                          "raise time_limit_s or the tolerances, or balance on less")  # fmt: skip
    kept = np.zeros(len(t), bool)
    kept[order] = np.round(found.x).astype(bool)
    n_kept, n_treated = int((kept & t).sum()), int(t.sum())
    if not n_kept:
        raise DesignError("at least one treated unit in a balanced sample", "none", "raise the tolerances",
                          count=n_treated)  # fmt: skip
    smd = (gap @ np.round(found.x)) / n_kept
    strata = np.full(len(t), -1)
    strata[order[kept[order]]] = np.arange(int(kept.sum()))
    lost = n_treated - n_kept
    notes = (f"{lost:,} of {n_treated:,} treated units were left out to reach the balance asked for: the effect speaks "
             "for the others only.",) if lost else ()  # fmt: skip
    return Design(
        estimand=f"ATT on the treated of the largest balanced sample ({n_kept:,} of {n_treated:,})" if lost else "ATT",
        units=units.copy(), treatment=treatment, covariates=tuple(covariates), weights=kept.astype(float),
        pairs=no_pairs(), strata=strata, discarded=np.zeros(len(t), bool), unmatched=~kept,
        spec={"method": "cardinality", "ratio": ratio, "tols": dict(zip(labels, limit.tolist(), strict=True)),
              "largest_smd": float(np.abs(smd).max()), "key": key},
        notes=notes,
    )  # fmt: skip


def _tolerances(tols: float | Mapping[str, float], covariates: Sequence[str], origins: Sequence[str]) -> np.ndarray:
    each = dict(tols) if isinstance(tols, Mapping) else dict.fromkeys(covariates, tols)
    odd = sorted(set(map(str, covariates)) ^ set(map(str, each)))
    if odd:
        raise DesignError("a tolerance for every covariate and nothing else", "names on one side only",
                          "give one number, or one for each", count=len(odd), keys=odd)  # fmt: skip
    wrong = [name for name, value in each.items() if not (np.isfinite(value) and value >= 0)]
    if wrong:
        raise DesignError("tolerances >= 0, in SDs", "others", "0.05 is common", count=len(wrong), keys=wrong)
    return np.array([float(each[name]) for name in origins])


def _spread(x: np.ndarray, t: np.ndarray) -> np.ndarray:
    """SD of the treated (of all, where the treated do not vary), as in the balance table; 1 for a constant."""

    def sd(part: np.ndarray) -> np.ndarray:
        binary = np.isin(x, (0.0, 1.0)).all(axis=0)
        mean = part.mean(axis=0)
        return np.sqrt(np.where(binary, mean * (1 - mean), part.var(axis=0, ddof=1)))

    own, other = sd(x[t]), sd(x[~t])
    out = np.where(own > 1e-10, own, np.sqrt((own**2 + other**2) / 2))
    return np.where(out > 1e-10, out, 1.0)


def _bound(found: Any, arm: np.ndarray) -> int:
    bound = getattr(found, "mip_dual_bound", None)
    return int(arm.sum()) if bound is None or not np.isfinite(bound) else int(np.floor(-bound + 1e-6))
