"""Everything the choice of partners depends on, row by row, so that it can be made again in another order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from ...errors import DesignError
from ..discard import no_overlap
from ..propensity import Propensity, propensity
from ..table import cell_numbers, in_order, is_number
from .metric import VECTOR_DISTANCES, Space, VectorDistance, line, on_grid, space
from .nearest import Side, greedy, k_nearest
from .nearest_line import greedy_line, k_nearest_line

Distance = Literal["logit", "propensity"] | VectorDistance
Calipers = float | Mapping[str, float] | None
SCORES = ("logit", "propensity")


@dataclass(frozen=True, kw_only=True)
class Search:
    """Arrays of n rows, in the order in which equally near units are taken; options as `match` takes them.

    treated, lost (outside the overlap) : bool. d : the number matched on, None for several covariates. where : the
    points; scale : the SD of d they are in (1: several covariates). cell : exact cell. side : calipers and values that
    must differ. widths : calipers in units of their number. who : person behind a row; None: nobody has two rows.
    """

    treated: np.ndarray
    lost: np.ndarray
    probability: np.ndarray | None
    logit: np.ndarray | None
    d: np.ndarray | None
    where: Space
    scale: float
    cell: np.ndarray
    side: Side
    widths: Mapping[str, float]
    who: np.ndarray | None
    options: Mapping[str, Any]
    target: str

    def among(self, order: np.ndarray) -> Search:
        """The same search with its rows in another order."""

        def of(values: np.ndarray | None) -> np.ndarray | None:
            return None if values is None else values[order]

        side = Side(calipers=tuple((values[order], width) for values, width in self.side.calipers),
                    differ=tuple(values[order] for values in self.side.differ))  # fmt: skip
        where = replace(self.where, block=self.where.block[order], inner=self.where.inner[order])
        return replace(
            self, treated=self.treated[order], lost=self.lost[order], probability=of(self.probability),
            logit=of(self.logit), d=of(self.d), where=where, cell=self.cell[order], side=side, who=of(self.who),
        )  # fmt: skip

    def within_reach(self) -> np.ndarray:
        """(m,) rows that can be part of a pair at all: somebody of the other arm is in their cell and caliper."""
        width = self.widths.get(self.options["distance"], np.inf)
        keep = ~self.lost
        if self.d is None or not np.isfinite(width):
            return np.flatnonzero(keep)
        levels, rank = np.unique(self.d, return_inverse=True)
        code = self.cell * np.int64(len(levels)) + rank  # cells, and distances within them, sort as one
        for arm in (True, False):
            mine, others = np.flatnonzero(self.treated == arm), np.flatnonzero((self.treated != arm) & ~self.lost)
            others = others[np.argsort(code[others], kind="stable")]
            near = np.zeros(len(mine), bool)
            spot = np.searchsorted(code[others], code[mine])
            for step in (0, -1) if len(others) else ():
                other = others[np.clip(spot + step, 0, len(others) - 1)]
                near |= (self.cell[other] == self.cell[mine]) & (np.abs(self.d[other] - self.d[mine]) <= width)
            keep[mine] &= near
        return np.flatnonzero(keep)

    def gap(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Distances between partners: of the number matched on, or of the points."""
        return np.abs(self.d[left] - self.d[right]) if self.d is not None else np.sqrt(self.where.squared(left, right))

    def pairs(self) -> tuple[np.ndarray, np.ndarray, int]:
        """(focal, partner, ties): who looked for a partner, who was found, and how many choices were ties."""
        focal, partner, tied = [np.empty(0, int)], [np.empty(0, int)], 0
        for arm in (True,) if self.target == "treated" else (True, False):
            asking = np.flatnonzero((self.treated == arm) & ~self.lost)
            pool = np.flatnonzero((self.treated != arm) & ~self.lost)
            if not (len(asking) and len(pool)):
                continue
            if self.logit is not None and self.d is not None:
                asking = asking[np.argsort(-self.logit[asking], kind="stable")]
            i, j, more = self._choose(asking, pool)
            focal.append(i)
            partner.append(j)
            tied += more
        return np.concatenate(focal), np.concatenate(partner), tied

    def _choose(self, asking: np.ndarray, pool: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
        """By the kernel that fits: sorting where the distance is one number, else a search."""
        d, where, cell, side, options = self.d, self.where, self.cell, self.side, self.options
        ratio, own = options["ratio"], options["distance"]
        plain = d is not None and not side.differ and set(self.widths) <= {own}
        width = self.widths.get(own, np.inf)
        if options["method"] == "optimal":
            from .optimal import optimal_pairs

            rows = np.sort(np.concatenate([asking, pool]))
            left, right = optimal_pairs(
                np.isin(rows, asking), (where.points() if d is None else d)[rows], ratio=ratio, width=width,
                cell=cell[rows], allowed=None if plain else lambda i, j: side.allows(rows[i], rows[j]),
            )  # fmt: skip
            return rows[left], rows[right], 0
        if not options["replace"]:
            if plain:
                return greedy_line(asking, pool, d, cell, width, ratio, self.who)
            return greedy(asking, pool, where, cell, side, ratio, self.who)
        if plain and options["ties"] == "key":
            return k_nearest_line(asking, pool, d, cell, width, ratio)
        return k_nearest(
            asking, pool, where, cell, side, ratio, all_ties=options["ties"] == "all",
            tolerance=options["tie_tolerance"],
            reach=np.inf if not np.isfinite(width) else (width / self.scale) ** 2 * (1 + 1e-9),
        )  # fmt: skip


def search_of(
    units: pd.DataFrame, treatment: str, covariates: Sequence[str], options: Mapping[str, Any], target: str,
    score: Propensity | None, order: np.ndarray, treated: np.ndarray,
) -> Search:  # fmt: skip
    """The search of checked options on the units in `order`."""
    distance, exact, anti_exact, person = (options[k] for k in ("distance", "exact", "anti_exact", "person"))
    calipers = calipers_of(options["caliper_sd"], distance)
    asked = [name for name in calipers if name not in SCORES]
    needed = [treatment, *covariates, *exact, *anti_exact, *asked, *([person] if person else [])]
    rows = in_order(units[list(dict.fromkeys(needed))], order)
    t, n = treated[order], len(rows)
    probability, logit = _scores(rows, treatment, covariates, score, order, distance, calipers, options["discard"])
    numbers = {"propensity": probability, "logit": logit}
    if distance in SCORES:
        d = on_grid(numbers[distance])
        where = line(d)
    else:
        d, where = None, space(rows, covariates, t, distance, options["covariate_weights"])
    for name in asked:
        if not is_number(rows[name]):
            raise DesignError("a caliper on a number", f"type {rows[name].dtype}", "match exactly on it", column=name)
    bounded = {name: numbers[name] if name in SCORES else rows[name].to_numpy(float) for name in calipers}
    widths = {name: calipers[name] * float(np.std(values, ddof=1)) for name, values in bounded.items()}
    return Search(
        treated=t, lost=no_overlap(probability, t, options["discard"]) if options["discard"] else np.zeros(n, bool),
        probability=probability, logit=logit, d=d, where=where, widths=widths, options=options, target=target,
        scale=float(np.std(d, ddof=1)) if d is not None else 1.0,
        cell=cell_numbers(rows, exact),
        side=Side(
            calipers=tuple((bounded[name], widths[name]) for name in sorted(bounded, key=lambda one: calipers[one])),
            differ=tuple(pd.factorize(rows[name])[0] for name in anti_exact),
        ),
        who=pd.factorize(rows[person])[0] if person and rows[person].duplicated().any() else None,
    )  # fmt: skip


def calipers_of(caliper_sd: Calipers, distance: str) -> dict[str, float]:
    """{column or score: SDs}; a bare number, or "distance", means the score that is matched on."""
    if caliper_sd is None:
        return {}
    given = dict(caliper_sd) if isinstance(caliper_sd, Mapping) else {"distance": caliper_sd}
    for name, width in given.items():
        if isinstance(width, str | bool) or not width > 0:
            raise DesignError("caliper_sd > 0", f"caliper_sd = {width}", "0.2 is common; None for no caliper",
                              column=str(name))  # fmt: skip
    if "distance" in given and distance in VECTOR_DISTANCES:
        raise DesignError("a caliper on something with a standard deviation", f"one on the {distance} distance",
                          'give {"propensity": 0.2}, {"logit": 0.2} or {a covariate: SDs}')  # fmt: skip
    out: dict[str, float] = {}
    for name, width in given.items():
        name = distance if name == "distance" else str(name)
        out[name] = min(float(width), out.get(name, np.inf))
    return out


def _scores(rows, treatment, covariates, score, order, distance, calipers, discard):
    """(probability, logit) in that order, where anything asks for them; else None, None."""
    if score is not None:
        return score.probability[order], score.logit[order]
    if distance in SCORES or discard is not None or any(name in SCORES for name in calipers):
        fitted = propensity(rows, treatment, covariates)
        return fitted.probability, fitted.logit
    return None, None
