"""Weights in place of pairs: inverse probability, overlap, entropy balancing, CBPS. Blind to outcomes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd

from ..errors import DesignError
from ..results import Design, WeightModel
from .discard import Discard, no_overlap
from .newton import Columns, Weighted
from .propensity import Propensity, columns_of, propensity, require_score
from .table import (
    cell_numbers,
    encode,
    key_order,
    read_treatment,
    refuse_missing,
    require_columns,
    to_pandas,
    with_both_arms,
)
from .weighting.calibrate import cbps, entropy, powers
from .weighting.inverse import from_score, inverse

Method = Literal["ipw", "overlap", "entropy", "cbps"]
Target = Literal["treated", "all", "overlap"]
ESTIMAND = {"treated": "ATT", "all": "ATE", "overlap": "ATO (units count by how open their treatment was)"}
_NO_PAIRS = pd.DataFrame({"treated": [], "comparison": [], "distance": []}).astype({"treated": int, "comparison": int})
_NUMBERS = 200_000_000  # units times parameters of all cells held at once (1.6 GB, twice)
_HEAVY, _THIN = 0.05, 0.1  # said aloud: one unit's share of its arm's weight, effective share of an arm


def weight(
    units: Any, treatment: str, *, covariates: Sequence[str], method: Method = "ipw", target: Target | None = None,
    moments: int = 1, stabilised: bool = False, trim: float | None = None, discard: Discard | None = None,
    score: Propensity | None = None, exact: Sequence[str] = (), sampling: str | None = None, key: str | None = None,
    person: str | None = None,
) -> Design:  # fmt: skip
    """Weight the arms until they resemble each other: the ATT, ATE or ATO of the units that are kept.

    Estimand : "treated": weights 1 and p/(1-p); "all": 1/p and 1/(1-p); "overlap": 1-p and p (Li, Morgan & Zaslavsky
        2018). Discarded units and capped weights change it, and its name says so. With `exact` the units of a cell
        that lacks the other arm are discarded.
    Assumes : given the covariates nobody knew anything more about their outcome when treatment was decided; overlap.
    Estimator : "ipw", "overlap": a logit (or `score`). "entropy": Hainmueller (2012), exactly equal means (and higher
        moments). "cbps": Imai & Ratkovic (2014), just identified. After `discard` the model is fitted again on those
        left (Crump et al. 2009), unless a `score` is given.
        With `exact` each cell of those columns has its own model, as if every covariate interacted with the cell.
    Std. errors : `weight_model` carries how the weights were estimated; `att(design, y, vcov="m_estimation")` uses it.
        The rule of discarding, a cap, sampling weights and the score of a classifier are held fixed. The means that
        entropy balancing aims at are estimated, too: WeightIt holds them fixed (lalonde: 780.9, ours and CBPS 789.7).
    Edge cases : missing values, separation, constant or collinear covariates and means that no weights can reach are
        refused by name. Weights are never clipped on the quiet; heavy ones are noted.
    Example : `at.weight(units, "treated", covariates=["age", "pay_before"], method="entropy", key="id")`
    Checked : reference/match ipw_*_lalonde, ebal_att_*, cbps_att_lalonde (WeightIt 1.4.0), imbens_xu_rows_nsw_psid,
        trim_*, stata_teffects_cattaneo2 (ipw, through a probit score). `exact`: the model with all interactions.

    Parameters
    ----------
    units : table, one row a unit. treatment : its 0/1 column. covariates : columns to balance.
    target : default "treated" ("overlap" for method "overlap"). moments : 1 to 3, powers that
        entropy balancing equates.
    stabilised : times the arm's share, so that weights average about one ("ipw", "cbps"). trim : in (0.5, 1), quantile
        of an arm's weights at which they are capped. discard : rule of overlap, on the propensity.
    score : from `propensity` on these rows, for "ipw" and "overlap". A logit or probit keeps its M-estimation when
        nothing is discarded; any other is held fixed.
    exact : columns within whose cells the arms are weighted apart, for any method without `score`.
    sampling : column of weights > 0 that the data came with; entropy balancing starts from them.
    key : column of unique values, else the labels of the index: with either the order of rows never matters.
    person : column naming the person behind a row; the rows of a person are one independent group.
    """
    units = to_pandas(units)
    target = _target(method, target, moments, stabilised, trim, score, exact)
    columns = [*covariates, *exact, *(name for name in (key, person, sampling) if name)]
    require_columns(units, [treatment, *columns])
    if treatment in columns:
        raise DesignError("covariates other than the treatment", "the treatment itself", "leave it out",
                          column=treatment)  # fmt: skip
    treated = read_treatment(units, treatment)
    refuse_missing(units, columns, units[key].to_numpy() if key else None)
    p = _given(score, treated)
    if p is None and discard is not None:
        p = propensity(units, treatment, covariates, key=key).probability
    kept = np.ones(len(units), bool) if p is None else ~no_overlap(p, treated, discard)
    cell = cell_numbers(units, exact)
    alone = kept & ~with_both_arms(cell, treated, kept)
    kept &= ~alone
    order = key_order(units, key)
    at = order[kept[order]]  # the kept, in the order of the key
    rows, t = (units if in_place(at, len(units)) else units.iloc[at]), treated[at]
    if min(t.sum(), (~t).sum()) < 2:
        raise DesignError("two units of each arm with overlap", f"{t.sum()} treated and {(~t).sum()} comparison units",
                          "match exactly on less, or report no design" if exact else "report no design",
                          column=treatment)  # fmt: skip
    notes: list[str] = []
    base = _sampling(rows, sampling)
    if exact:
        found = _within(cell[at], exact, rows, t, covariates, method, target, moments, base, notes)
    elif score is None:
        found = _fitted(rows, t, covariates, method, target, moments, base, kept.all(), notes)
    else:
        found = from_score(score, score.logit[at], rows, t, base, target)
        if found.slopes is None:
            notes.append("The propensity is held fixed: standard errors leave out that it was estimated.")
    scale, caps = _scaled_and_capped(found.weights, t, method, target, stabilised, trim)
    w = np.minimum(found.weights * scale, caps)
    if p is None and found.log_odds is not None and method != "entropy":
        p = spread(1 / (1 + np.exp(-found.log_odds)), at, len(units))
    model = None
    if found.slopes is not None and found.influence is not None:
        found.slopes.T[:] *= np.where(w < caps, scale, 0.0)  # in place: a million rows of them fill the memory
        model = WeightModel(influence=spread(found.influence, at, len(units)),
                            slopes=spread(found.slopes, at, len(units)))  # fmt: skip
    groups = at if person is None else pd.factorize(rows[person])[0]
    return Design(
        estimand=_estimand(target, treated, kept, trim, exact), units=units.copy(), treatment=treatment,
        covariates=tuple(covariates), weights=spread(w, at, len(units)), pairs=_NO_PAIRS.copy(),
        strata=spread(groups + 1, at, len(units)) - 1, discarded=~kept, unmatched=np.zeros(len(units), bool),
        propensity=p, distance=p, target=target, weight_model=model,
        spec={"method": method, "target": target, "moments": moments, "stabilised": stabilised, "trim": trim,
              "discard": discard, "score": None if score is None else score.spec.get("model"), "exact": tuple(exact),
              "sampling": sampling, "key": key, "person": person},
        notes=(*_notes(target, treated, kept, alone, exact, w, t, caps, trim), *notes),
    )  # fmt: skip


def _target(method, target, moments, stabilised, trim, score, exact) -> Target:
    if method not in ("ipw", "overlap", "entropy", "cbps"):
        raise DesignError('method "ipw", "overlap", "entropy" or "cbps"', f"{method!r}", "choose one of these")
    chosen = target or ("overlap" if method == "overlap" else "treated")
    allowed = {"ipw": tuple(ESTIMAND), "overlap": ("overlap",)}.get(method, ("treated", "all"))
    if chosen not in allowed:
        raise DesignError(f"target {' or '.join(allowed)} with method {method!r}", f"{target!r}", "choose one of these")
    if moments not in (1, 2, 3) or (moments > 1 and method != "entropy"):
        raise DesignError('moments 1, 2 or 3, above 1 with method "entropy"', f"moments = {moments}, {method!r}",
                          "add squares to the covariates, or balance by entropy")  # fmt: skip
    if stabilised and (method in ("overlap", "entropy") or chosen == "overlap"):
        raise DesignError('stabilised weights with "ipw" or "cbps", target treated or all', f"{method!r}, {chosen!r}",
                          "leave it out: these weights need no scale")  # fmt: skip
    if trim is not None and not 0.5 < trim < 1:
        raise DesignError("0.5 < trim < 1, a quantile of the weights", f"trim = {trim}", "0.99 is common; None: no cap")
    if score is not None and method not in ("ipw", "overlap"):
        raise DesignError('score= with "ipw" or "overlap"', f"{method!r}", "leave it out: these weights fit their own")
    if score is not None and exact:
        raise DesignError("exact= or score=", "both", "leave score= out: every cell fits its own")
    return chosen  # type: ignore[return-value]


def _sampling(rows: pd.DataFrame, name: str | None) -> np.ndarray:
    if name is None:
        return np.ones(len(rows))
    base = pd.to_numeric(rows[name], errors="coerce").to_numpy(dtype=float)
    wrong = ~(np.isfinite(base) & (base > 0))
    if wrong.any():
        raise DesignError("sampling weights that are finite and above zero", "others",
                          "leave units out that stand for nobody; correct the others at the source", column=name,
                          count=int(wrong.sum()), keys=rows.index[wrong].tolist())  # fmt: skip
    return base


def _given(score: Propensity | None, treated: np.ndarray) -> np.ndarray | None:
    if score is None:
        return None
    require_score(score, treated)
    return score.probability


def _fitted(rows, t, covariates, method, target, moments, base, whole, notes) -> Weighted:
    """The weights of the kept rows, before scale and cap."""
    x, names, origins = encode(rows, covariates, drop_base=True)
    if not whole:  # a covariate that discarding made constant is balanced already
        varies = np.flatnonzero(np.ptp(x, axis=0) > 0)
        gone = [name for j, name in enumerate(names) if j not in varies]
        if gone:
            notes.append(f"Among the units with overlap nothing varies in {', '.join(gone)}: left out of the model.")
        x, names, origins = x[:, varies], [names[j] for j in varies], [origins[j] for j in varies]
    if method == "entropy" and moments > 1:
        x, names, origins = powers(x, names, origins, moments)
    # a cell in which nothing varies needs no more than its share
    columns = Columns.of(x) if not whole and not names else columns_of(x, names, origins)
    if method in ("entropy", "cbps"):
        return (entropy if method == "entropy" else cbps)(columns, t, base, target, names, origins)
    return inverse(columns, t, base, target, names, origins)


def _within(cell, exact, rows, t, covariates, method, target, moments, base, notes) -> Weighted:
    """The weights of every cell by a model of its own; its parameters move the weights of that cell only."""
    members = [np.flatnonzero(cell == one) for one in np.unique(cell)]
    parts, flat = [], 0
    for mine in members:
        said: list[str] = []
        part = rows.iloc[mine]
        try:
            parts.append(_fitted(part, t[mine], covariates, method, target, moments, base[mine], False, said))
        except DesignError as error:
            where, n_treated = ", ".join(f"{name} {part[name].iloc[0]}" for name in exact), int(t[mine].sum())
            raise DesignError(
                f"{error.required}, within {where}",
                f"{error.found}, among {n_treated:,} treated and {len(mine) - n_treated:,} comparison units",
                f"{error.mend}; or make the cells of exact= larger", column=error.column, count=error.count,
                keys=error.keys,
            ) from error  # fmt: skip
        flat += bool(said)
    if flat:
        notes.append(f"In {flat:,} of {len(parts):,} cells some covariates do not vary: left out of the model there.")
    size = [0 if one.slopes is None else one.slopes.shape[1] for one in parts]
    if len(rows) * sum(size) > _NUMBERS:
        raise DesignError(f"cells times covariates times units of at most {_NUMBERS:,}, for standard errors",
                          f"{len(parts):,} cells with {sum(size):,} parameters", "make the cells of exact= larger",
                          count=len(rows))  # fmt: skip
    w, log_odds = np.empty(len(rows)), np.zeros(len(rows))
    influence, slopes = np.zeros((len(rows), sum(size))), np.zeros((len(rows), sum(size)))
    for mine, one, start, k in zip(members, parts, np.cumsum([0, *size]), size, strict=False):
        w[mine] = one.weights
        log_odds[mine] = np.nan if one.log_odds is None else one.log_odds
        influence[mine, start : start + k], slopes[mine, start : start + k] = one.influence, one.slopes
    return Weighted(weights=w, log_odds=None if np.isnan(log_odds).any() else log_odds, influence=influence,
                    slopes=slopes)  # fmt: skip


def in_place(at: np.ndarray, n: int) -> bool:
    return len(at) == n and bool((at == np.arange(n)).all())


def spread(values: np.ndarray, at: np.ndarray, n: int) -> np.ndarray:
    """Rows of the kept units at their place among all n; the others are zero."""
    if in_place(at, n):
        return values
    out = np.zeros((n, *values.shape[1:]), values.dtype)
    out[at] = values
    return out


def _scaled_and_capped(w, t, method, target, stabilised, trim) -> tuple[np.ndarray, np.ndarray]:
    """(m,) factors and caps. Entropy weights sum to the units of their arm; stabilised ones carry the arm's share."""
    scale, caps = np.ones(len(w)), np.full(len(w), np.inf)
    goal = t.sum() if target == "treated" else len(t)
    for arm in (t, ~t):
        if method == "entropy":
            scale[arm] = arm.sum() / w[arm].sum()
        elif stabilised:
            scale[arm] = arm.sum() / goal
        own = w[arm] * scale[arm]
        if trim is not None and (own != own[0]).any():  # the treated of an ATT all count the same
            caps[arm] = np.quantile(own, trim)
    return scale, caps


def _estimand(target, t, kept, trim, exact) -> str:
    name, where = ESTIMAND[target], f"overlap{' in their cell' if exact else ''}"
    if target == "treated" and not kept[t].all():
        name = f"ATT on the treated with {where} ({int(kept[t].sum()):,} of {len(kept[t]):,})"
    elif target != "treated" and not kept.all():
        name = f"{name} on the units with {where} ({int(kept.sum()):,} of {len(kept):,})"
    return name if trim is None else f"{name}, weights capped at their {trim:.0%} quantile"


def _notes(target, treated, kept, alone, exact, w, t, caps, trim) -> list[str]:
    notes = []
    if not kept.all():
        lost = int((~kept & treated).sum())
        whom = "them" if target != "treated" else "these treated" if lost else ""
        notes.append(f"{lost:,} treated and {int((~kept & ~treated).sum()):,} comparison units were discarded for lack "
                     "of overlap" + (f": the effect does not speak for {whom}." if whom else "."))  # fmt: skip
    if alone.any():
        lost = int((alone & treated).sum())
        notes.append(f"{lost:,} of these treated and {int(alone.sum()) - lost:,} of these comparison units stand in a "
                     f"cell ({', '.join(exact)}) without the other arm.")  # fmt: skip
    for name, arm in (("treated", t), ("comparison", ~t)):
        own, cap = w[arm], caps[arm][0]
        if np.isfinite(cap):
            notes.append(f"{int((own >= cap).sum()):,} {name} weights are capped at {cap:.4g}, their {trim:.0%} "
                         "quantile: these units count for less than the target asks.")  # fmt: skip
        share, effective = own.max() / own.sum(), own.sum() ** 2 / (own**2).sum()
        if share > max(_HEAVY, 2 / len(own)) or effective < _THIN * len(own):
            notes.append(f"Few {name} units carry the weight: {len(own):,} count as much as {effective:,.0f} equal "
                         f"ones, and one of them holds {share:.0%}.")  # fmt: skip
    return notes
