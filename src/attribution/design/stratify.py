"""Strata: exact cells, coarsened cells, subclasses of the propensity, optimal full matching. Blind to outcomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from ..errors import DesignError
from ..results import Design
from .coarsen import Cut, Missing, cells
from .discard import Discard, no_overlap
from .matching.metric import VECTOR_DISTANCES, on_grid
from .matching.optimal import full_sets
from .matching.search import SCORES, Calipers, Distance, Search, calipers_of, search_of
from .pairs import no_pairs
from .propensity import Propensity, propensity, require_score
from .table import (
    cell_numbers,
    choice_order,
    in_order,
    key_order,
    read_treatment,
    refuse_missing,
    require_columns,
    to_pandas,
)

Method = Literal["exact", "coarsened", "subclass", "full"]
_PLACE = {"exact": "cell", "coarsened": "cell", "subclass": "subclass", "full": "set"}


def stratify(
    units: Any, treatment: str, *, covariates: Sequence[str], method: Method, cuts: Mapping[str, Cut] | None = None,
    subclasses: int = 6, distance: Distance = "propensity", score: Propensity | None = None,
    ratio: tuple[float, float] | None = None, caliper_sd: Calipers = None, exact: Sequence[str] = (),
    discard: Discard | None = None, target: Literal["treated", "all"] = "treated", missing: Missing = "refuse",
    key: str | None = None,
) -> Design:  # fmt: skip
    """Group units that are alike and compare within the groups: the ATT, or the ATE, on the units so covered.

    Estimand : average effect on the treated ("treated") or on everybody ("all") whose stratum holds both arms; the
        name says how many of how many.
    Assumes : within a stratum treatment is as good as random; overlap.
    Estimator : "exact": strata agree on every covariate. "coarsened": on every covariate once cut into bins (Iacus,
        King & Porro 2012). "subclass": quantiles of the propensity of the target (Rosenbaum & Rubin 1984). "full":
        optimal full matching on `distance`, one treated with one or more comparison units or the reverse, least
        total distance (Rosenbaum 1991). Weights: treated 1, comparison n_t/n_c of their stratum, scaled to the number
        of comparison units; for "all" each arm is weighted to the stratum's size, scaled to its own number.
    Std. errors : `strata` holds the independent groups, the strata; `att` clusters by them. In simulation 95 %
        intervals cover 0.95 to 0.98; HC errors, which do not know the strata, are 1.3 to 1.5 times too wide.
    Edge cases : units whose stratum lacks the other arm are `unmatched`, those a rule of overlap leaves out
        `discarded`. A constant covariate does no harm to cells; the propensity refuses it. Cells do not depend on the
        order of rows; sets of equal total distance go by `key`, or by row. Text columns of a file come as categories.
        "full" by a distance of several covariates leaves what differs within its sets (Abadie & Imbens 2006): set a
        caliper on what matters, or `att(adjust=)`.
    Example : `at.stratify(units, "treated", covariates=["age", "town"], method="coarsened", cuts={"age": [25, 40]})`
    Checked : reference/match exact_, cem_default_, cem_cutpoints_, subclass6_, full_lalonde (MatchIt 4.7.2).

    Parameters
    ----------
    units : table (pandas, Polars, Arrow, a DuckDB relation, or the path of a Parquet or CSV file), one row a unit.
    treatment : its 0/1 column. covariates : what the strata, or the propensity, are made of.
    cuts : for "coarsened", by covariate: cut points (x >= point goes to the upper bin), a number of bins of equal
        width, "sturges" (ceil(log2 n + 1) of them; the default of numbers), "quantile:4", "exact", or a mapping from
        level to group. subclasses : number of propensity subclasses.
    distance : what "full" measures, as in `match`. score : a fitted propensity of the same rows, in place of a logit.
    ratio : for "full", (least, most) comparison units per treated unit, a least of 1/3 lets three treated share one;
        None for no limit. caliper_sd : for "full", largest distance between partners, as in `match`.
    exact : further columns on which strata must agree. discard : None, "common_support" or "crump".
    missing : "refuse", or, for cells, "level": a missing value is a level of its own, counted in the notes.
    key : column of unique values that breaks ties; without one the labels of the index do.

    Raises
    ------
    DesignError : missing or infinite values, unusable cuts, no stratum with both arms, what the propensity refuses.
    """
    given, units = units, to_pandas(units)
    exact = list(dict.fromkeys(exact))
    bounded = [name for name in calipers_of(caliper_sd, distance) if name not in SCORES]
    named = [*covariates, *exact, *bounded, *([key] if key else [])]
    require_columns(units, [treatment, *named])
    t = read_treatment(units, treatment)
    _check(treatment, named, method, cuts, subclasses, distance, ratio, caliper_sd, target, missing)
    celled = method in ("exact", "coarsened")
    refuse_missing(units, [*([] if celled else [*covariates, *exact, *bounded]), *([key] if key else [])])
    order = choice_order(given, units, key, [treatment, *named])[0] if method == "full" else key_order(units, key)

    if score is not None:
        require_score(score, t)
    p = d = None
    out = np.zeros(len(t), bool)
    if method == "full":
        options = {"distance": distance, "exact": exact, "anti_exact": (), "caliper_sd": caliper_sd, "person": None,
                   "discard": discard, "covariate_weights": None, "key": key}  # fmt: skip
        search = search_of(units, treatment, covariates, options, target, score, order, t)
        back = np.argsort(order)
        p, d = (None if values is None else values[back] for values in (search.probability, search.d))
        out = search.lost[back]
    elif score is not None or discard is not None or not celled:
        score = score or _scores(units, treatment, covariates, t, order)
        p = score.probability
        d = on_grid(score.logit if distance == "logit" else p)
        out = no_overlap(p, t, discard)
    kept = np.flatnonzero(~out)
    if not (t[kept].any() and not t[kept].all()):
        raise DesignError("units of both arms with overlap", "none left", "discard by a milder rule",
                          count=len(t))  # fmt: skip
    pairs = no_pairs()
    notes: tuple[str, ...] = ()
    if celled:
        strata, spec, notes = _cells(units, t, kept, covariates, exact, cuts or {}, method, missing)
    elif method == "subclass":
        assert p is not None
        strata, spec = _subclasses(p, t, kept, cell_numbers(units, exact), subclasses, target)
    else:
        pairs, spec = _full(search, ratio, order)
        spec |= {"distance": distance, "ratio": ratio, "caliper_sd": caliper_sd}
        strata = _sets(pairs["treated"].to_numpy(), pairs["comparison"].to_numpy(), order)
    strata = _with_both_arms(strata, t)
    if not (strata >= 0).any():
        raise DesignError(f"at least one {_PLACE[method]} with treated and comparison units", "none",
                          "coarsen more, agree on less, or report no design", count=int(t.sum()))  # fmt: skip
    spec = {"method": method, "exact": tuple(exact), "discard": discard, "target": target, "key": key, **spec,
            "strata": int(strata.max()) + 1}  # fmt: skip
    matched = strata >= 0
    return Design(
        estimand=_estimand(t, matched, out, method, target), units=units.copy() if units is given else units,
        treatment=treatment, covariates=tuple(covariates), weights=stratum_weights(strata, t, target),
        pairs=pairs if target == "treated" else no_pairs(), strata=strata, discarded=out, unmatched=~matched & ~out,
        propensity=p, distance=d, target=target, spec=spec,
        notes=(*notes, *_notes(t, matched, out, method, target, discard)),
    )  # fmt: skip


def _cells(
    units, t, kept, covariates, exact, cuts, method, missing
) -> tuple[np.ndarray, dict[str, Any], tuple[str, ...]]:
    """(n,) cells of the kept units, the options behind them, notes."""
    both = [name for name in exact if name in cuts]
    if both:
        raise DesignError("cuts or exact agreement, not both", "columns with both", "leave them out of one",
                          count=len(both), keys=both)  # fmt: skip
    part = units if len(kept) == len(units) else units.iloc[kept]
    found, points, notes = cells(
        part, t[kept], [*covariates, *exact], cuts=dict.fromkeys(exact, "exact") | dict(cuts),
        coarsen=method == "coarsened", missing=missing,
    )  # fmt: skip
    strata = np.full(len(t), -1)
    strata[kept] = found
    groups = {name: dict(cut) for name, cut in cuts.items() if isinstance(cut, Mapping)}
    return strata, {"cuts": points | groups, "missing": missing}, notes


def _subclasses(p, t, kept, cell, subclasses, target) -> tuple[np.ndarray, dict[str, Any]]:
    """(n,) subclasses of the propensity within exact cells, cut at the quantiles of the target's kept units."""
    even = on_grid(p)
    base = even[kept] if target == "all" else even[kept][t[kept]]
    cut = np.unique(np.quantile(base, np.arange(1, subclasses) / subclasses))
    strata = np.full(len(t), -1)
    strata[kept] = (cell * (len(cut) + 1) + np.searchsorted(cut, even, side="right"))[kept]
    return strata, {"subclasses": subclasses, "cuts": {"propensity": tuple(cut.tolist())}}


def _full(search: Search, ratio, order: np.ndarray) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The edges of the optimal full matching, and the options behind them; the search runs in key order."""
    rows, own = np.flatnonzero(~search.lost), search.options["distance"]
    place = search.where.points() if search.d is None else search.d
    plain = set(search.widths) <= {own}
    left, right = full_sets(
        search.treated[rows], place[rows], ratio=ratio, width=search.widths.get(own, np.inf), cell=search.cell[rows],
        allowed=None if plain else lambda i, j: search.side.allows(rows[i], rows[j]),
    )  # fmt: skip
    left, right = rows[left], rows[right]
    gap = search.gap(left, right)
    pairs = pd.DataFrame({"treated": order[left], "comparison": order[right], "distance": gap})
    return pairs, {"caliper_widths": search.widths, "caliper_width": search.widths.get(own),
                   "total_distance": float(gap.sum())}  # fmt: skip


def stratum_weights(strata: np.ndarray, treated: np.ndarray, target: str) -> np.ndarray:
    """(n,) weights that give both arms the distribution of the target over the strata; 0 for stratum -1."""
    inside = strata >= 0
    n_t = np.bincount(strata[inside & treated], minlength=strata.max() + 1)
    n_c = np.bincount(strata[inside & ~treated], minlength=strata.max() + 1)
    size = n_t if target == "treated" else n_t + n_c
    out = np.zeros(len(strata))
    for arm, own in ((treated, n_t), (~treated, n_c)):
        with np.errstate(invalid="ignore", divide="ignore"):  # a number nobody bears has no units at all
            share = (size / own) * (own.sum() / size.sum())  # the arm's weights sum to its number of units
        out[inside & arm] = share[strata[inside & arm]]
    return out


def _check(treatment, named, method, cuts, subclasses, distance, ratio, caliper_sd, target, missing) -> None:
    if method not in _PLACE or target not in ("treated", "all"):
        raise DesignError('method "exact", "coarsened", "subclass" or "full"; target "treated" or "all"',
                          f"{method!r}, {target!r}", "choose one of these")  # fmt: skip
    allowed = SCORES if method != "full" else (*SCORES, *VECTOR_DISTANCES)
    if distance not in allowed:
        raise DesignError(f"distance {', '.join(allowed)} with method {method!r}", f"{distance!r}",
                          'choose one of these; distances of several covariates are for "full"')  # fmt: skip
    if treatment in named:
        raise DesignError("covariates other than the treatment", "the treatment itself", "leave it out",
                          column=treatment)  # fmt: skip
    if cuts is not None and not isinstance(cuts, Mapping):
        raise DesignError("cuts by covariate", f"{cuts!r}", 'for example {"age": [25, 40]}')
    if cuts and method != "coarsened":
        raise DesignError('cuts with method "coarsened"', f"method {method!r}", "leave cuts out, or coarsen")
    if missing != "refuse" and method not in ("exact", "coarsened"):
        raise DesignError('missing "refuse" where a propensity is fitted', f"{missing!r}",
                          "impute, and add a missing-indicator as a covariate")  # fmt: skip
    if (ratio is not None or caliper_sd is not None) and method != "full":
        raise DesignError('ratio and caliper_sd with method "full"', f"method {method!r}", "leave them out")
    if int(subclasses) != subclasses or subclasses < 1:
        raise DesignError("a whole number of subclasses >= 1", f"{subclasses}", "5 or 6 is common")
    if ratio is not None and not (np.shape(ratio) == (2,) and 0 < ratio[0] <= ratio[1] >= 1):
        raise DesignError("ratio (least, most) with 0 < least <= most and most >= 1", f"{ratio}",
                          "for example (1 / 3, 5)")  # fmt: skip


def _scores(units, treatment, covariates, t, order) -> Propensity:
    """Fitted in the order of the key, so that not even floating-point sums see the order of rows."""
    fitted = propensity(in_order(units[[treatment, *covariates]], order), treatment, covariates)
    back = np.argsort(order)
    return replace(fitted, probability=fitted.probability[back], logit=fitted.logit[back], treated=t)


def _sets(left: np.ndarray, right: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Set numbers from edges, in the order of each set's first unit by key; -1 without an edge."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n = len(order)
    component = connected_components(coo_array((np.ones(len(left)), (left, right)), shape=(n, n)), directed=False)[1]
    used = np.zeros(n, bool)
    used[left], used[right] = True, True
    out = np.full(n, -1)
    rows = order[used[order]]
    out[rows] = pd.factorize(component[rows])[0]
    return out


def _with_both_arms(strata: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Strata numbered from 0 in their order; -1 for the units of those that lack an arm."""
    arms = np.zeros((strata.max() + 2, 2), bool)
    arms[strata, t.astype(int)] = True  # -1 is the last row
    arms[-1] = False
    good = arms[:, 0] & arms[:, 1]
    return np.where(good[strata], (np.cumsum(good) - 1)[strata], -1)


def _estimand(t, matched, out, method, target) -> str:
    who, of = ("ATT", t) if target == "treated" else ("ATE", np.full(len(t), True))
    covered, total = int((matched & of).sum()), int(of.sum())
    if covered == total:
        return who
    place, kept = _PLACE[method], " inside the overlap" if (out & of).any() else ""
    whom = (f"the treated{kept} with comparison units in their {place}" if target == "treated"
            else f"the units{kept} with both arms in their {place}")  # fmt: skip
    return f"{who} on {whom} ({covered:,} of {total:,})"


def _notes(t, matched, out, method, target, discard) -> tuple[str, ...]:
    notes, place = [], _PLACE[method]
    if out.any():
        notes.append(f"{int((out & t).sum()):,} treated and {int((out & ~t).sum()):,} comparison units were discarded: "
                     f"no overlap ({discard}).")  # fmt: skip
    lost, off = int((t & ~matched & ~out).sum()), int((~t & ~matched & ~out).sum())
    where = (("are in no set",) * 2 if method == "full"
             else (f"have no comparison unit in their {place}", f"are in a {place} without treated units"))  # fmt: skip
    others = ": the effect speaks for the others only"
    if lost:
        notes.append(f"{lost:,} of {int(t.sum()):,} treated units {where[0]}{others}.")
    if off:
        notes.append(f"{off:,} comparison units {where[1]}{others if target == 'all' else ''}.")
    return tuple(notes)
