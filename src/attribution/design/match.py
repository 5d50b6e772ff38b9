"""Nearest and optimal matching: who is compared with whom. Blind to outcomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ..errors import DesignError
from ..results import Design
from .discard import Discard
from .matching.metric import VECTOR_DISTANCES
from .matching.search import SCORES, Calipers, Distance, calipers_of, search_of
from .pairs import pair_weights
from .propensity import Propensity, require_score
from .table import (
    choice_order,
    key_order,
    read_treatment,
    refuse_missing,
    require_columns,
    to_pandas,
    with_both_arms,
)


def match(
    units: Any, treatment: str, *, covariates: Sequence[str], distance: Distance = "logit",
    method: Literal["nearest", "optimal"] = "nearest", ratio: int = 1, replace: bool = False,
    caliper_sd: Calipers = None, exact: Sequence[str] = (), anti_exact: Sequence[str] = (),
    ties: Literal["key", "all"] = "key", tie_tolerance: float = 0.0, target: Literal["treated", "all"] = "treated",
    discard: Discard | None = None, score: Propensity | None = None,
    covariate_weights: Mapping[str, float] | None = None, key: str | None = None, person: str | None = None,
) -> Design:  # fmt: skip
    """Pair every treated unit with its nearest comparison units: the ATT on the matched treated.

    Estimand : average effect on the treated that find a partner; the name says how many of how many. `target` "all":
        every unit finds partners in the other arm, the average effect on all that do.
    Assumes : given the covariates nobody knew anything more about their outcome when treatment was decided; overlap.
    Estimator : Rosenbaum & Rubin 1985, greedy: treated units choose in descending propensity (by `key` when several
        covariates make the distance) the closest unused comparison unit; `ratio` k takes k passes. With `replace` each
        takes its k closest. "optimal": the pairs with the smallest total distance (Rosenbaum 1989). Ties "key" (equal
        propensity, equal distance) go to the smallest `key`, without one to the smallest label of the index: the answer
        does not depend on the order of rows. Tables without labels (Polars, Arrow, files, labels that repeat) need a
        key if any two units are alike in all that the design sees. Ties "all" (Abadie & Imbens 2006; with replacement)
        keep everyone no farther than the k-th, each with the same share.
    Std. errors : `strata` holds the independent groups: the pair, or, with `person`, all pairs sharing a person.
        With replacement each unit is its own group, and `att` takes Abadie & Imbens' standard error.
    Edge cases : `discarded` are units outside `discard`'s overlap or in an exact cell without the other arm,
        `unmatched` others without partner. Comparison weights are the sum of 1/(partners of the treated unit), scaled
        to the number of matched comparisons; for `target` "all" a unit's weight is 1 plus what it stands in for. How
        many choices were ties is in the notes; `tie_range` says what they are worth.
    Example : `at.match(units, "treated", covariates=["age", "pay_before"], caliper_sd=0.2, exact=["town"], key="id")`
    Checked : reference/match nn1_*, nn2_replace_lalonde, mahal1_replace_nsw_psid (MatchIt 4.7.2), ai_* (Matching
        4.10.8).

    Parameters
    ----------
    units : table, one row a unit (or a person at a landmark). treatment : its 0/1 column.
    covariates : columns the propensity or the distance uses.
    distance : "logit" (log-odds), "propensity", or one of `design.matching.metric.space`: "mahalanobis" (covariance
        within the arms), "mahalanobis_total" (of all units), "robust_mahalanobis" (ranks), "scaled_euclidean".
    method : "nearest" (greedy) or "optimal". ratio : comparison units per treated unit, >= 1.
    replace : may a comparison unit serve several times?
    caliper_sd : largest distance within a pair, in standard deviations (n - 1, all units): a number for the propensity
        or logit matched on, or {"propensity" | "logit" | covariate: SDs, ...}, all of which must hold.
    exact, anti_exact : columns on which partners must agree, must differ. key : column of unique values that breaks
        ties; without one the labels of the index do.
    tie_tolerance : squared distance (SDs; for scores SDs of the score) within which `ties` "all" calls two equal; 0 is
        equality up to rounding. (Matching's default is 1e-5.)
    discard : "common_support" or "crump" leaves out units without overlap before matching.
    score : a fitted `propensity` of the same rows, used instead of a new one.
    covariate_weights : importance of covariates, for "scaled_euclidean".
    person : column naming the person behind a row. A person then serves at most once as comparison over all rows
        (in the order of matching), never for themselves; without replacement only.

    Raises
    ------
    DesignError : missing values, separation, a constant or collinear covariate, bad options, or no pair at all.
    """
    given, units = units, to_pandas(units)
    options = {"method": method, "distance": distance, "ratio": ratio, "replace": replace, "caliper_sd": caliper_sd,
               "exact": tuple(exact), "anti_exact": tuple(anti_exact), "ties": ties, "tie_tolerance": tie_tolerance,
               "discard": discard, "key": key, "person": person,
               "covariate_weights": None if covariate_weights is None else dict(covariate_weights)}  # fmt: skip
    calipers = calipers_of(caliper_sd, distance)
    treated = _check(units, treatment, covariates, options | {"target": target}, calipers, score)
    n = len(units)
    # Everything below runs in key order, so that not even floating-point sums see the order of rows.
    seen = [treatment, *covariates, *exact, *anti_exact, *(name for name in calipers if name not in SCORES)]
    seen += [person] if person else []
    order, first = (key_order(units, key), "") if ties == "all" else choice_order(given, units, key, seen)
    search = search_of(units, treatment, covariates, options, target, score, order, treated)
    t, lost, cell, d, widths = search.treated, search.lost, search.cell, search.d, search.widths
    left, right, tied = search.pairs()
    if not len(left):
        limit = ", ".join(f"{name} {width:.3g}" for name, width in widths.items())
        raise DesignError(
            "at least one treated unit with a partner",
            f"none within the caliper ({limit}) and exact cells" if limit else "none within the exact cells",
            "widen the caliper, match exactly on less, or report no design", count=int(t.sum()),
        )  # fmt: skip

    weights, partners = pair_weights(left, right, n, target)
    matched = weights > 0
    discarded = lost | ~with_both_arms(cell, t, ~lost)
    groups = np.full(n, -1)
    groups[matched] = _independent(matched, left, right, search.who, replace)
    back = np.empty(n, int)
    back[order] = np.arange(n)  # row -> position in key order
    pairs = _pairs(order, left, right, search.gap(left, right), t, target)
    primary = widths.get(distance)
    return Design(
        estimand=_estimand(t, partners > 0, target), units=units.copy(), treatment=treatment,
        covariates=tuple(covariates), weights=weights[back], pairs=pairs, strata=groups[back],
        discarded=discarded[back], unmatched=(~matched & ~discarded)[back], target=target,
        propensity=None if search.probability is None else search.probability[back],
        distance=None if d is None else d[back],
        spec=options | {"caliper_width": primary, "caliper_widths": widths, "tied": tied,
                        "score": None if score is None else "given"},
        notes=_notes(t, matched, discarded, lost, partners, ratio, exact, target, tied, first, ties),
    )  # fmt: skip


def _pairs(order, left, right, gap, t, target) -> pd.DataFrame:
    """The pairs in the order of their focal units; rows are positions in the caller's table."""
    rank = np.lexsort((np.arange(len(left)), left))
    left, right, gap = left[rank], right[rank], gap[rank]
    if target == "treated":
        return pd.DataFrame({"treated": order[left], "comparison": order[right], "distance": gap})
    mine = t[left]
    return pd.DataFrame({
        "treated": order[np.where(mine, left, right)], "comparison": order[np.where(mine, right, left)],
        "distance": gap, "focal": np.where(mine, "treated", "comparison"),
    })  # fmt: skip


def _estimand(t, found, target) -> str:
    covered, total = int((found & (t | (target == "all"))).sum()), int(t.sum()) if target == "treated" else len(t)
    if target == "treated":
        return "ATT" if covered == total else f"ATT on the matched treated ({covered:,} of {total:,})"
    return "ATE" if covered == total else f"ATE on the matched units ({covered:,} of {total:,})"


def _check(units, treatment, covariates, options, calipers, score) -> np.ndarray:
    def choice(name: str, allowed: Sequence[Any]) -> None:
        if options[name] not in allowed:
            listed = ", ".join(f'"{a}"' if isinstance(a, str) else str(a) for a in allowed)
            raise DesignError(f"{name} {listed}", f"{options[name]!r}", "choose one of these")

    choice("method", ("nearest", "optimal"))
    choice("distance", (*SCORES, *VECTOR_DISTANCES))
    choice("ties", ("key", "all"))
    choice("target", ("treated", "all"))
    choice("discard", (None, "common_support", "crump"))
    ratio, replace, key, person = options["ratio"], options["replace"], options["key"], options["person"]
    if isinstance(ratio, bool) or not isinstance(ratio, int | np.integer) or ratio < 1:
        raise DesignError("ratio >= 1, a whole number", f"ratio = {ratio!r}", "give partners per treated unit")
    if not options["tie_tolerance"] >= 0:
        raise DesignError("tie_tolerance >= 0", f"{options['tie_tolerance']}", "0 means equal up to rounding")
    if person and replace:
        raise DesignError("person= without replacement", "replace=True", "a person serves at most once as comparison")
    if not replace and (options["ties"] == "all" or options["target"] == "all"):
        what = 'ties="all"' if options["ties"] == "all" else 'target="all"'
        raise DesignError(f"{what} with replacement", "replace=False", "set replace=True")
    if options["method"] == "optimal" and (replace or person):
        raise DesignError("optimal pairs without replacement and without person=", "one of them",
                          'use method="nearest"')  # fmt: skip
    asked = [name for name in calipers if name not in SCORES]
    columns = [*covariates, *options["exact"], *options["anti_exact"], *asked, *(c for c in (key, person) if c)]
    require_columns(units, [treatment, *columns])
    if treatment in columns:
        raise DesignError(
            "covariates other than the treatment", "the treatment itself", "leave it out", column=treatment
        )
    treated = read_treatment(units, treatment)
    refuse_missing(units, columns, units[key].to_numpy() if key else None)
    if score is not None:
        require_score(score, treated)
    smallest = int((~treated).sum()) if options["target"] == "treated" else int(min(treated.sum(), (~treated).sum()))
    if ratio > smallest:
        raise DesignError("ratio no larger than the pool", f"ratio {ratio}, {smallest} comparison units",
                          "lower the ratio")  # fmt: skip
    return treated


def _independent(matched, left, right, who, replace) -> np.ndarray:
    """Group numbers of the matched units: linked by a pair, or by being the same person."""
    if replace:
        return np.arange(int(matched.sum()))
    n = len(matched)
    a, b, size = left, right, n
    if who is not None:
        a, b, size = np.concatenate([left, np.arange(n)]), np.concatenate([right, n + who]), n + int(who.max()) + 1
    graph = coo_array((np.ones(len(a), bool), (a, b)), shape=(size, size))
    component = connected_components(graph, directed=False)[1][:n][matched]
    return np.unique(component, return_inverse=True)[1]


def _notes(t, matched, discarded, lost, partners, ratio, exact, target, tied, first, ties) -> tuple[str, ...]:
    notes = []
    total = int(t.sum())
    alone, out = int((t & ~matched).sum()), int((t & discarded & ~lost).sum())
    if alone:
        off = int((t & lost).sum())
        why = [f"{out:,} of them in an exact cell without comparison units" if out else "",
               f"{off:,} outside the overlap of the propensity" if off else ""]  # fmt: skip
        where = ", ".join(filter(None, why))
        notes.append(f"{alone:,} of {total:,} treated units have no partner{f' ({where})' if where else ''}: "
                     "the effect speaks for the others only.")  # fmt: skip
    off = int((~t & discarded & ~lost).sum())
    if off:
        notes.append(f"{off:,} comparison units stand in an exact cell ({', '.join(exact)}) without treated units.")
    if (off := int((~t & lost).sum())) > 0:
        notes.append(f"{off:,} comparison units lie outside the overlap of the propensity.")
    if target == "all" and (alone := int((~t & ~discarded & (partners == 0)).sum())) > 0:
        notes.append(f"{alone:,} of {int((~t).sum()):,} comparison units find no treated partner.")
    short = int(((partners > 0) & (partners < ratio)).sum())
    if short:
        whose = "matched treated units" if target == "treated" else "matched units"
        notes.append(f"{short:,} {whose} have fewer than {ratio} partners.")
    if tied and ties == "key":
        choices = "1 choice" if tied == 1 else f"{tied:,} choices"
        notes.append(f"In {choices} several partners were equally near; {first} was taken: `tie_range` says what that "
                     "is worth.")  # fmt: skip
    elif tied:
        notes.append(f"{tied:,} units have equally near partners beyond the {ratio} asked for; all are kept.")
    return tuple(notes)
