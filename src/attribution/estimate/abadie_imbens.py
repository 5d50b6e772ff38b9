"""Abadie and Imbens: what nearest-neighbour matching with replacement estimates, and how precisely."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..design.matching.metric import Space, line, space
from ..design.matching.nearest import Side, k_nearest
from ..design.pairs import ends
from ..design.table import cell_numbers, encode, key_order
from ..errors import EstimationError
from ..results import Design, Effects
from .few_clusters import enlargement
from .few_units import few_note, few_units
from .sample import held_fixed, left_out, read_outcome, unit_of

_SCORES = ("logit", "propensity")


def abadie_imbens(
    design: Design, outcome: Any, *, bias_correction: Sequence[str] = (), variance_neighbours: int = 0,
    population: bool = True, estimated_propensity: bool | None = None, data: pd.DataFrame | None = None,
    parts: bool = False, unit: str | None = None,
) -> Effects:  # fmt: skip
    """Mean difference between units and their matches: the design's ATT or ATE, with Abadie and Imbens' standard error.

    Estimand : the design's, on units with partners whose outcomes are known; with `population` False the effect on
        these very units (SATT, SATE), not on the population they come from.
    Assumes : as `att`. Standard errors suppose that matches are close, and matching with replacement.
    Estimator : Abadie & Imbens 2006, eq. 3; `bias_correction` takes out what a regression of the outcome on these
        covariates, among the matches and weighted by their use, says the remaining differences are worth (2011, eq. 7).
    Std. errors : sum of (effect_i - ATT)^2 plus sum of (K^2 - K2) s2 over the matches, over n1^2 (2006, theorems 6, 7;
        K the sum of a match's shares, K2 of their squares; for the ATE K^2 + 2K - K2). s2: half the mean squared
        difference within pairs around the estimate, or, with `variance_neighbours` J, each unit's variance among itself
        and its J nearest of the same arm. With an estimated propensity, Abadie & Imbens 2016, propositions 1 and 2.
    Edge cases : a pair with a missing outcome leaves; the others of that unit carry on. Should the correction for an
        estimated propensity leave no variance, it is not made, and a note says so. Fewer than 20 units of an arm among
        those in pairs: Student's t, standard error times n / (n - 1). No bootstrap: it is invalid here.
    Checked : reference/match ai_match_lalonde, ai_match_nsw_psid, ai_nnmatch_published, imbens_xu_rows_nsw_psid
        (Matching 4.10.8; the last against nnmatch's published log); teffects psmatch on cattaneo2 (Stata).

    Parameters
    ----------
    design : from `match`, with pairs. outcome, data, parts, unit : as in `att`. bias_correction : columns of its units.
    variance_neighbours : J; 0 supposes one variance for all. estimated_propensity : None: where the theory holds, that
        is for a design on the logit it fitted, without caliper, exact or anti-exact columns, discarding or `person`.
    """
    _check(design, variance_neighbours, population, parts)
    name, y = read_outcome(design, outcome, data)
    t = design.treated
    focal, partner, dropped = _known_pairs(design, t, y, name)
    n, share = len(t), 1.0 / np.bincount(focal, minlength=len(t))[focal]
    sign = np.where(t[focal], 1.0, -1.0)
    correction = _bias(design, bias_correction, name, y, focal, partner, share)
    difference = sign * (y[focal] - y[partner] - correction)  # (pairs,)
    found = np.bincount(focal, minlength=n) > 0
    effect = np.bincount(focal, weights=share * difference, minlength=n)[found]
    size, tau = len(effect), float(effect.mean())
    pull = np.bincount(partner, weights=share, minlength=n)
    squares = np.bincount(partner, weights=share**2, minlength=n)
    own = found.astype(float)
    load = (own + pull) ** 2 - (own + squares if population else 0.0)
    if variance_neighbours:
        variance = _local_variance(design, y, load > 1e-12, variance_neighbours)
    else:
        variance = np.full(n, float(share @ (difference - tau) ** 2) / size / 2)
    noise = np.sqrt(np.clip(load, 0.0, None) * variance) / size
    spread = (effect - tau) / size if population else np.zeros(size)
    notes = list(design.notes)
    scale = 1.0
    adjusted = _theory_holds(design) if estimated_propensity is None else estimated_propensity
    total = float(spread @ spread + noise @ noise)
    if adjusted and population:
        gain = _estimated_propensity(design, y, tau, focal)
        if total + gain > 0:
            scale = float(np.sqrt((total + gain) / total))
        else:
            adjusted = False
            notes.append("The propensity counts as known: the correction for having estimated it exceeds the variance.")
    used = found | (pull > 0)
    block = np.where(t[used], 0, 1)
    carry = np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]]) if parts else np.ones((2, 1))
    support = few_units(np.ones(len(block)), block, carry)
    grown = float(enlargement(np.bincount(block)).max())
    scores = grown * scale * np.concatenate([spread, noise])[:, None]
    estimate, terms = np.array([tau]), [name]
    if parts:
        mean = y[found]
        seen = grown * np.concatenate([(mean - mean.mean()) / size, np.zeros(n)])[:, None]
        scores = np.hstack([seen, seen - scores, scores])
        estimate, terms = np.array([mean.mean(), mean.mean() - tau, tau]), ["observed", "counterfactual", "att"]
    if dropped:
        notes.append(left_out(design, name, dropped))
    if size < 30:
        notes.append(f"Only {size} units are matched: this standard error is for large samples.")
    notes += few_note(support, np.bincount(block).min(), enlarged=True)
    labels = pd.DataFrame({"term": terms}).assign(outcome=name)
    return Effects(
        estimand=_estimand(design, found, t, population, dropped), labels=labels, estimate=estimate, scores=scores,
        unit=unit or unit_of(y[used], name),
        n_treated=np.full(len(terms), int((used & t).sum())),
        n_comparison=np.full(len(terms), int((used & ~t).sum())), notes=tuple(notes),
        support=support, dof=None if support is None else support.dof,
        spec={"outcome": name, "vcov": "abadie_imbens", "bias_correction": tuple(bias_correction),
              "variance_neighbours": variance_neighbours, "population": population,
              "estimated_propensity": bool(adjusted and population), "score_rows": "terms of a variance",
              "design": dict(design.spec)},
    )  # fmt: skip


def _check(design: Design, neighbours: int, population: bool, parts: bool) -> None:
    if not len(design.pairs) or "treated" not in design.pairs:
        raise EstimationError("a design with pairs", "none", "build it with `match`, or choose another vcov")
    if isinstance(neighbours, bool) or not isinstance(neighbours, int | np.integer) or neighbours < 0:
        raise EstimationError("variance_neighbours >= 0, a whole number", f"{neighbours}", "0 for one variance for all")
    if parts and (not population or design.target != "treated"):
        raise EstimationError("parts of a population ATT", "another estimand", "ask for the effect alone")


def _known_pairs(design, t, y, name) -> tuple[np.ndarray, np.ndarray, int]:
    """(focal, partner) rows of the pairs whose outcomes are both known, and how many are not."""
    focal, partner = ends(design.pairs)
    whole = np.isfinite(y[focal]) & np.isfinite(y[partner])
    if len(np.unique(focal[whole])) < 2:
        raise EstimationError(
            "two matched units whose outcomes are known, in both arms", "fewer",
            "check the outcome's horizon and censoring", column=name, count=int((~whole).sum()),
        )  # fmt: skip
    return focal[whole], partner[whole], int((~whole).sum())


def _bias(design, names, outcome, y, focal, partner, share) -> np.ndarray:
    """(pairs,) what the covariates' remaining difference is worth, by regression among the matches of each arm."""
    t, out = design.treated, np.zeros(len(focal))
    if not names:
        return out
    z, _, _ = encode(held_fixed(design, names, outcome, y, np.ones(len(t), bool)), names, drop_base=True)
    z = (z - z.mean(axis=0)) / np.where(z.std(axis=0) > 0, z.std(axis=0), 1.0)
    for arm in (False, True):
        mine = t[partner] == arm
        if not mine.any():
            continue
        use = np.bincount(partner[mine], weights=share[mine], minlength=len(t))
        rows = use > 0
        root = np.sqrt(use[rows])
        x = np.column_stack([np.ones(int(rows.sum())), z[rows]])
        beta = np.linalg.lstsq(x * root[:, None], y[rows] * root, rcond=1e-10)[0]
        out[mine] = (z[focal[mine]] - z[partner[mine]]) @ beta[1:]
    return out


def _estimand(design, found, t, population, dropped) -> str:
    text = design.estimand
    if dropped:
        whose, total = ("treated", int(t.sum())) if design.target == "treated" else ("units", len(t))
        text = f"{'ATT' if whose == 'treated' else 'ATE'} on the matched {whose} ({int(found.sum()):,} of {total:,})"
    return text if population else "S" + text


def _space(design: Design) -> Space:
    """The space the design matched in, rows in the order of its units."""
    if design.distance is not None:
        return line(design.distance)
    order = key_order(design.units, design.spec.get("key"))
    rows = design.units.iloc[order]
    weights = design.spec.get("covariate_weights")
    found = space(rows, design.covariates, design.treated[order], design.spec["distance"], weights)
    block, inner = np.empty_like(found.block), np.empty_like(found.inner)
    block[order], inner[order] = found.block, found.inner
    return Space(centres=found.centres, block=block, inner=inner)


def _neighbours(
    where: Space, asking, pool, count: int, tolerance: float = 0.0, cell: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of each asking unit with its `count` nearest of the pool (itself among them when it is there), all ties."""
    if len(pool) < count:
        raise EstimationError(f"{count} units with a known outcome in each arm", f"{len(pool)}",
                              "ask for fewer variance_neighbours")  # fmt: skip
    cell = np.zeros(len(where.block), int) if cell is None else cell
    left, right, _ = k_nearest(asking, pool, where, cell, Side(), count, all_ties=True, tolerance=tolerance)
    return left, right


def _local_variance(design: Design, y: np.ndarray, asking: np.ndarray, neighbours: int) -> np.ndarray:
    """(n,) variance of the outcome among a unit and its nearest of the same arm; 0 where not asked."""
    where, known, t, n = _space(design), np.isfinite(y), design.treated, len(y)
    tolerance = float(design.spec.get("tie_tolerance", 0.0))
    cell = cell_numbers(design.units, design.spec.get("exact", ()))
    out = np.zeros(n)
    for arm in (False, True):
        rows = np.flatnonzero(asking & (t == arm))
        if not len(rows):
            continue
        i, j = _neighbours(where, rows, np.flatnonzero(known & (t == arm)), neighbours + 1, tolerance, cell)
        count = np.maximum(np.bincount(i, minlength=n), 1)
        mean = np.bincount(i, weights=y[j], minlength=n) / count
        spread = np.bincount(i, weights=(y[j] - mean[i]) ** 2, minlength=n)
        out[rows] = (spread / np.maximum(count - 1, 1))[rows]
        alone = rows[count[rows] == 1]  # the only one of its arm in an exact cell: the arm's mean variance
        out[alone] = out[rows][count[rows] > 1].mean() if len(alone) < len(rows) else y[known & (t == arm)].var(ddof=1)
    return out


def _theory_holds(design: Design) -> bool:
    spec = design.spec
    return (
        spec.get("distance") in _SCORES and spec.get("replace") is True and spec.get("score") is None
        and not any(spec.get(name) for name in ("caliper_sd", "exact", "anti_exact", "discard", "person"))
    )  # fmt: skip


def _estimated_propensity(design: Design, y: np.ndarray, tau: float, focal: np.ndarray) -> float:
    """What the variance gains (or loses) because the propensity was estimated by this logit."""
    if design.propensity is None or design.spec.get("score") is not None:
        raise EstimationError("a propensity that the design fitted as a logit", "another or none",
                              "set estimated_propensity=False")  # fmt: skip
    known = np.isfinite(y)
    t, p = design.treated[known], design.propensity[known]
    y = y[known]
    covariates, _, _ = encode(design.units[known], design.covariates, drop_base=True)
    covariates = covariates[:, covariates.std(axis=0) > 0]  # a level that only units without an outcome have
    covariates = (covariates - covariates.mean(axis=0)) / covariates.std(axis=0)
    x = np.column_stack([np.ones(len(y)), covariates])
    density = p * (1 - p)
    information = (x * density[:, None]).T @ x
    where, everybody = line(p), np.arange(len(y))
    moved, level = {}, {}
    for arm in (False, True):
        i, j = _neighbours(where, everybody, np.flatnonzero(t == arm), 2)
        moved[arm], level[arm] = _local_covariance(i, j, x, y)
    treated_only = design.target == "treated"
    if not treated_only:
        c = ((moved[True] / p[:, None] + moved[False] / (1 - p)[:, None]) * density[:, None]).mean(axis=0)
        return -float(c @ np.linalg.solve(information, c))
    n1 = t.sum()
    c = (x * (density * (level[True] - level[False] - tau))[:, None]).sum(axis=0) / n1
    c += ((moved[True] + (p / (1 - p))[:, None] * moved[False]) * density[:, None]).sum(axis=0) / n1
    slope = _slope(covariates, x, density, t, y, tau) / n1
    return float(slope @ np.linalg.solve(information, slope) - c @ np.linalg.solve(information, c))


def _local_covariance(i, j, x, y) -> tuple[np.ndarray, np.ndarray]:
    """(n, k) covariance of covariates and outcome among the neighbours of each i, and their (n,) mean outcome."""
    n = len(y)
    count = np.bincount(i, minlength=n)
    level = np.bincount(i, weights=y[j], minlength=n) / count
    out = np.empty_like(x)
    for column in range(x.shape[1]):
        centre = np.bincount(i, weights=x[j, column], minlength=n) / count
        product = (x[j, column] - centre[i]) * (y[j] - level[i])
        out[:, column] = np.bincount(i, weights=product, minlength=n) / (count - 1)
    return out, level


def _slope(covariates, x, density, t, y, tau) -> np.ndarray:
    """Sum of x f (effect_i - ATT), effects imputed by the two nearest of the other arm in the covariates themselves."""
    names = [f"x{j}" for j in range(covariates.shape[1])]
    where = space(pd.DataFrame(covariates, columns=names), names, t, "mahalanobis_total")
    total = np.zeros(x.shape[1])
    for arm in (False, True):
        asking = np.flatnonzero(t == arm)
        i, j = _neighbours(where, asking, np.flatnonzero(t != arm), 2)
        count = np.bincount(i, minlength=len(y))
        other = np.bincount(i, weights=y[j], minlength=len(y))[asking] / count[asking]
        effect = (y[asking] - other) * (1.0 if arm else -1.0)
        total += (x[asking] * (density[asking] * (effect - tau))[:, None]).sum(axis=0)
    return total
