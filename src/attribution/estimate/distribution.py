"""The effect along the distribution: changes in changes, with bounds wherever ranks are tied (an atom such as zero)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd

from ..cohorts.panel import Panel
from ..errors import EstimationError
from ..inference import FEW_TREATED, normal_interval
from ..results import Effects, Result
from .few_clusters import Clusters
from .group_time import Comparison

By = Literal["overall", "event_time", "cohort", "period", "group_time"]
# ties so few that they are broken at random and no bounds shown: a 95 % interval then covers 94.9 % at worst
SMALL_ATOM, SMALL_WIDTH = 0.01, 0.1  # share of a comparison group; share of the standard error
DECILES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
NOT_DECILES_OF_EFFECTS = "effects on deciles, not deciles of effects"


@dataclass(frozen=True, kw_only=True, repr=False)
class ChangesInChanges(Result):
    """Effects on the mean and on quantiles of the treated: effects on deciles, not deciles of effects.

    effects : one row a mean or quantile (label `quantile`, NaN for the mean), with joint scores.
    lower, upper : the bounds, same rows; equal to `effects` where no tie matters (see `changes_in_changes`).
    in_support : (k,) bool: no treated outside the comparison's support at base can move this row (Athey & Imbens 2006,
        corollary 3.1).
    cells : one row a cohort and period: n, treated outside the comparison's support at base, largest atom, reason.
    """

    effects: Effects
    lower: Effects
    upper: Effects
    in_support: np.ndarray
    cells: pd.DataFrame

    @property
    def mean(self) -> Effects:
        """Effects on the mean."""
        return self.effects.rows(self.effects.labels["quantile"].isna().to_numpy())

    @property
    def deciles(self) -> Effects:
        """Effects on the quantiles."""
        return self.effects.rows(self.effects.labels["quantile"].notna().to_numpy())

    def at(self, **place: int) -> ChangesInChanges:
        """The rows of one place only: at(event_time=4), at(cohort=8096)."""
        labels = self.effects.labels
        if absent := [name for name in place if name not in labels]:
            raise EstimationError("labels of this result", f"{', '.join(absent)}", "see effects.labels",
                                  keys=list(labels))  # fmt: skip
        keep = np.logical_and.reduce([labels[name].to_numpy() == value for name, value in place.items()])
        if not np.any(keep):
            raise EstimationError(f"rows at {place}", "none", "see effects.labels")
        one, low, high = (effects.rows(keep) for effects in (self.effects, self.lower, self.upper))
        return replace(self, effects=one, lower=low, upper=high, in_support=self.in_support[keep])

    @property
    def at_atom(self) -> np.ndarray:
        """(k,) bool: the data give bounds, and a point only if ties rank alike in both groups."""
        return self.upper.estimate > self.lower.estimate

    def tidy(self, level: float = 0.95) -> pd.DataFrame:
        """The columns of the results protocol, then these; bound_low and bound_high are `lower` and `upper`.

        set_low, set_high : interval that holds both bounds with at least `level` (Bonferroni).
        """
        low, high = (one.estimate for one in (self.lower, self.upper))
        return self.effects.tidy(level).assign(
            quantile=self.effects.labels["quantile"], bound_low=low, bound_high=high,
            set_low=normal_interval(low, np.nan_to_num(self.lower.std_error), level)[0],
            set_high=normal_interval(high, np.nan_to_num(self.upper.std_error), level)[1], at_atom=self.at_atom,
            in_support=self.in_support,
        )  # fmt: skip

    def summary(self) -> str:
        table = self.tidy()
        keep = ["term", "estimate", "std_error", "conf_low", "conf_high", "n_treated", "n_comparison"]
        if self.at_atom.any():
            keep += ["bound_low", "bound_high", "set_low", "set_high"]
        text = table[keep].to_string(index=False, float_format=lambda v: f"{v:,.4g}" if abs(v) < 1000 else f"{v:,.0f}")
        return "\n".join([f"{self.effects.estimand}, in {self.effects.unit} (95 % intervals)", text,
                          *self.effects.notes])  # fmt: skip


def changes_in_changes(
    panel: Panel, *, comparison: Comparison, base_period: int, by: By, quantiles: Sequence[float] = DECILES,
    anticipation: int = 0, draws: int = 400, seed: int = 20_240_101, unit: str | None = None,
) -> ChangesInChanges:  # fmt: skip
    """Effect on the distribution of the treated: their quantiles (and mean) less those without treatment.

    Estimand : Q_q(Y_t | treated) - Q_q(Y_t(never) | treated) at each quantile q: effects on deciles, not deciles of
        effects (who sits at a decile may change); and the same for means, the ATT. Cohorts are pooled by size: both
        distributions are mixtures over the treated of all cohorts in the row.
    Assumes : who is alike in the untreated outcome ranks alike in both groups, in each period, and the distribution of
        ranks within a group stays from base to t; treated outcomes at base within the comparison's support; no
        effect more than `anticipation` periods before treatment. Invariant to monotone changes of the outcome's scale.
    Estimator : per cohort g and period t, F(y) = F_gb(F_cb^-1(F_ct(y))) (Athey & Imbens 2006, theorem 3.1). Where two
        or more comparison units tie at base: the bounds of their theorem 4.1, from F_cb^-1(q) = inf{y: F >= q} and
        F_cb^(-1)(q) = sup{y: F <= q}; the point then breaks ties at random (their theorem 4.2). Only the
        point is given where the bounds are no wider than a tenth of its standard error and no atom behind the row
        holds more than 1 % of a comparison group: two equal amounts in cents among thousands.
    Std. errors : exchangeable bootstrap, Exp(1) weights on units or `cluster` (Rubin 1981; van der Vaart & Wellner
        1996, theorem 3.6.13), same draws for all rows. Their rows of `scores` are draws, not units: subtract only
        results of one panel, seed and number of draws. Nothing corrects for few units or clusters: a note. Not reliable
        for a quantile that jumps between two atoms.
    Edge cases : units without an outcome at base or t leave that cell; a cell with fewer than two treated or comparison
        units has a reason in `cells`; treated outside the support at base get the comparison's extreme value and are
        counted. No sampling variation (both quantiles inside an atom): standard error NaN.
    Checked : slow oracle with F and F^-1 written out; Athey & Imbens' variance for known densities; reference/cic
        (diff-diff 3.13.0: one bound at atoms; between two support points it rounds down where half go each way here).

    Parameters
    ----------
    comparison : "never_treated", or "not_yet_treated" (also those treated later than t and anticipation).
    base_period : negative event time such as -6. by : what a row pools: "overall" (t >= g), "event_time", "cohort"
        (t >= g), "period" (t >= g) or "group_time". quantiles : in (0, 1). draws : of the bootstrap, 100 or more.
    unit : unit of the outcome for the reader; default its column name.

    Raises
    ------
    EstimationError : no cell can be estimated, base not before anticipation, fewer than two clusters.
    """
    _check(panel, comparison, base_period, by, quantiles, anticipation, draws)
    pairs, cells = _pairs(panel, comparison, base_period, anticipation)
    event = cells["event_time"].to_numpy()
    use = np.array([pair is not None for pair in pairs]) & ((event >= 0) | np.isin(by, ("event_time", "group_time")))
    if not use.any():
        raise EstimationError("at least one cohort and period with both groups seen at base and then", "none",
                              "choose another base_period", keys=cells["reason"].unique().tolist())  # fmt: skip
    names = {"overall": [], "group_time": ["cohort", "period"]}.get(by, [by])
    keys = cells.loc[use, names].drop_duplicates().sort_values(names).to_dict("records") if names else [{}]
    groups, labels, sizes = [], [], []
    for key in keys:
        rows = np.flatnonzero(use & np.logical_and.reduce([cells[k] == v for k, v in key.items()], initial=True))
        groups.append(_Group([pair for k in rows if (pair := pairs[k]) is not None], np.asarray(quantiles, float)))
        part = cells.iloc[rows]
        if by == "group_time":
            key["event_time"] = key["period"] - key["cohort"]
        place = " ".join(f"{name}={value}" for name, value in key.items() if by != "group_time" or name != "event_time")
        labels += [{"term": f"{what} {place}".strip(), "quantile": q, **key}
                   for q, what in [(np.nan, "mean"), *((q, f"quantile {q:g}") for q in quantiles)]]  # fmt: skip
        size = part.groupby("cohort")["n_treated"].max().sum(), part["n_comparison"].max()
        sizes += [size] * (1 + len(quantiles))
    weight = np.ones(len(panel.units)) if panel.weight is None else panel.weight
    point = np.hstack([group.effects(weight) for group in groups])
    scores = _bootstrap(groups, weight, panel.cluster, draws, seed)
    width, spread = point[2] - point[1], np.linalg.norm(scores[:, 0], axis=0)
    atom = np.repeat([group.atom for group in groups], 1 + len(quantiles))
    tiny = (width <= SMALL_WIDTH * spread) & (atom <= SMALL_ATOM)
    moved = int((tiny & (width > 0)).sum())
    point[1:, tiny], scores[:, 1:, tiny] = point[0, tiny], scores[:, :1, tiny]
    n = np.array(sizes, dtype=int)
    effects = Effects(
        estimand=f"effect on mean and quantiles of the treated (changes in changes; {NOT_DECILES_OF_EFFECTS})",
        unit=unit or panel.columns["outcome"] or "", labels=pd.DataFrame(labels), estimate=point[0],
        scores=scores[:, 0], n_treated=n[:, 0], n_comparison=n[:, 1],
        spec={"comparison": comparison, "base_period": base_period, "by": by, "quantiles": tuple(quantiles),
              "anticipation": anticipation, "draws": draws, "seed": seed, "score_rows": "draws",
              "units": len(weight), "estimator": "changes in changes"},
    )  # fmt: skip
    lower = replace(effects, estimate=point[1], scores=scores[:, 1], estimand=f"lower bound, {effects.estimand}")
    upper = replace(effects, estimate=point[2], scores=scores[:, 2], estimand=f"upper bound, {effects.estimand}")
    inside = np.concatenate([group.in_support(weight) for group in groups])
    notes = (*_notes(cells, use, point, inside, draws, panel.cluster is not None, moved), *_few_note(panel, cells[use]))
    effects = replace(effects, notes=notes)
    return ChangesInChanges(effects=effects, lower=lower, upper=upper, in_support=inside, cells=cells)


class _Pair:
    """One cohort at one period: positions of both groups, and their sorted outcomes at base and then."""

    def __init__(self, treated: np.ndarray, others: np.ndarray, before: np.ndarray, after: np.ndarray) -> None:
        self.treated, self.others, self.observed = treated, others, after[treated]
        self.base, self.base_of, ties = np.unique(before[others], return_inverse=True, return_counts=True)
        self.values, self.value_of = np.unique(after[others], return_inverse=True)
        self.tied = ties > 1
        self.atom = float(ties.max() / len(others)) if self.tied.any() else 0.0
        own = before[treated]
        self.rank_of = np.searchsorted(self.base, own)
        self.between = own != self.base[np.minimum(self.rank_of, len(self.base) - 1)]
        self.below, self.above = own < self.base[0], own > self.base[-1]

    def untreated(self, w: np.ndarray) -> np.ndarray:
        """(3, m) mass of the treated at each of `values` had they not been treated: point, highest, lowest."""
        own, other = w[self.treated], w[self.others]
        # rounded, so that sums of the same weights in another order compare as equal
        at_base = np.round(np.cumsum(np.bincount(self.base_of, other)) / other.sum(), 12)
        then = np.round(np.cumsum(np.bincount(self.value_of, other)) / other.sum(), 12)
        below, at = (np.bincount(self.rank_of, own * part, len(self.base) + 1) / own.sum()
                     for part in (self.between, ~self.between))  # fmt: skip
        upto = np.cumsum(below + at)  # F_gb at each support point, and just below it
        under = upto - at
        k = np.searchsorted(at_base, then)  # F_cb^-1(F_ct(y)), as a position
        inside = at_base[k] > then
        share = (then - np.r_[0.0, at_base][k]) / np.diff(at_base, prepend=0.0)[k]
        # whoever is between two support points has exactly the rank of the lower one: half goes below, half above
        point = np.where(inside, under[k] + at[k] * share, upto[k] + below[k + 1] / 2)
        highest = np.where(inside & self.tied[k], under[k], point)
        lowest = np.where(inside & self.tied[k], upto[k], point)
        cdf = np.vstack([point, highest, lowest])
        cdf[:, -1] = 1.0  # treated above the support
        return np.diff(cdf, axis=1, prepend=0.0) * own.sum()


class _Group:
    """The pairs that one row pools: observed and untreated distributions are mixtures over them."""

    def __init__(self, pairs: list[_Pair], quantiles: np.ndarray) -> None:
        self.pairs, self.quantiles = pairs, quantiles
        self.treated = np.concatenate([pair.treated for pair in pairs])
        self.atom = max(pair.atom for pair in pairs)
        self.observed, self.observed_order = _sorted([pair.observed for pair in pairs])
        self.values, self.order = _sorted([pair.values for pair in pairs])

    def effects(self, w: np.ndarray) -> np.ndarray:
        """(3, 1 + q) effects on mean and quantiles: point, lower, upper."""
        seen = _features(self.observed, w[self.treated][self.observed_order], self.quantiles)
        masses = np.hstack([pair.untreated(w) for pair in self.pairs])[:, self.order]
        return seen - np.vstack([_features(self.values, mass, self.quantiles) for mass in masses])

    def in_support(self, w: np.ndarray) -> np.ndarray:
        """(1 + q,) bool: nobody of unknown rank, below or above, can move this mean or quantile."""
        below, above = (w[self.treated] @ np.concatenate([getattr(pair, side) for pair in self.pairs])
                        / w[self.treated].sum() for side in ("below", "above"))  # fmt: skip
        return np.r_[below + above == 0, (below < self.quantiles) & (self.quantiles <= 1 - above)]


def _sorted(parts: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    values = np.concatenate(parts)
    order = np.argsort(values, kind="stable")
    return values[order], order


def _features(values: np.ndarray, mass: np.ndarray, quantiles: np.ndarray) -> np.ndarray:
    """Mean and quantiles inf{y: F(y) >= q} of sorted values with these masses."""
    cdf = np.cumsum(mass)
    at = np.searchsorted(np.round(cdf / cdf[-1], 12), quantiles)
    return np.r_[values @ mass / cdf[-1], values[np.minimum(at, len(values) - 1)]]


def _bootstrap(groups: list[_Group], weight: np.ndarray, cluster: np.ndarray | None, draws: int, seed: int):
    """(draws, 3, k) scores with S'S the bootstrap covariance."""
    code = np.arange(len(weight)) if cluster is None else np.unique(cluster, return_inverse=True)[1]
    rng, n = np.random.default_rng(seed), int(code.max()) + 1
    drawn = np.stack([
        np.hstack([group.effects(weight * multiplier) for group in groups])
        for multiplier in (rng.exponential(size=n)[code] for _ in range(draws))
    ])  # fmt: skip
    return (drawn - drawn.mean(axis=0)) / np.sqrt(draws - 1)


def _pairs(
    panel: Panel, comparison: Comparison, base: int, anticipation: int
) -> tuple[list[_Pair | None], pd.DataFrame]:
    """Every cohort and period but the base, or the reason why it has no pair."""
    pairs: list[_Pair | None] = []
    rows = []
    at = {int(period): j for j, period in enumerate(panel.periods)}
    never = ~np.isfinite(panel.cohort) | (panel.cohort > panel.periods[-1] + anticipation)
    for g in panel.cohorts.tolist():
        own, at_risk = panel.cohort == g, np.ones(len(never), bool)
        if panel.risk_set is not None:
            at_risk = panel.risk_set == g
        for t in (t for t in at if t != g + base):
            others = never
            if comparison == "not_yet_treated":
                others = never | (panel.cohort > max(t, g + base) + anticipation)
            pair, counts, reason = None, (0, 0), "base period not observed"
            if g + base in at:
                before, after = panel.y[:, at[g + base]], panel.y[:, at[t]]
                seen = np.isfinite(before) & np.isfinite(after) & at_risk
                seen &= True if panel.weight is None else panel.weight > 0
                positions = np.flatnonzero(seen & own), np.flatnonzero(seen & others & ~own)
                counts, reason = (len(positions[0]), len(positions[1])), ""
                if min(counts) < 2:
                    arm = "treated" if counts[0] < 2 else "comparison"
                    reason = f"fewer than two {arm} units with an outcome in both periods"
                else:
                    pair = _Pair(*positions, before, after)
            pairs.append(pair)
            outside = int((pair.below | pair.above).sum()) if pair else 0
            rows.append({"cohort": g, "period": t, "event_time": t - g, "n_treated": counts[0],
                         "n_comparison": counts[1], "outside_support": outside,
                         "largest_atom": pair.atom if pair else np.nan, "reason": reason})  # fmt: skip
    return pairs, pd.DataFrame(rows)


def _notes(
    cells: pd.DataFrame, use: np.ndarray, point, inside, draws: int, clustered: bool, tiny: int
) -> tuple[str, ...]:
    used = cells[use]
    notes = [
        f"{NOT_DECILES_OF_EFFECTS[0].upper()}{NOT_DECILES_OF_EFFECTS[1:]}: the people at a decile may change.",
        f"Standard errors: {draws} draws of {'cluster' if clustered else 'unit'} weights (bootstrap).",
    ]  # fmt: skip
    if outside := int(used["outside_support"].sum()):
        total = int(used["n_treated"].sum())
        notes.append(f"{outside:,} of {total:,} treated unit-periods ({outside / total:.1%}) lie outside the support "
                     "of the comparison at base: they were given its lowest or highest value, which touches "
                     f"{int((~inside).sum())} of {len(inside)} rows (in_support).")  # fmt: skip
    if wide := int((point[2] > point[1]).sum()):
        atom = used["largest_atom"].max()
        notes.append(f"{wide} of {point.shape[1]} rows are bounds (ties at base, the largest {atom:.1%} of a "
                     "comparison group); their point breaks ties at random.")  # fmt: skip
    if tiny:
        notes.append(f"{tiny} of {point.shape[1]} rows have ties at base that move them by at most {SMALL_WIDTH:.0%} "
                     "of their standard error: broken at random, no bounds shown.")  # fmt: skip
    for reason, count in cells.loc[cells["reason"] != "", "reason"].value_counts().items():
        notes.append(f"{count} of {len(cells)} cohort-periods could not be estimated: {reason}.")
    return tuple(notes)


def _few_note(panel: Panel, used: pd.DataFrame) -> tuple[str, ...]:
    """The sentence for few units or clusters, whose bootstrap understates the error; none where there are enough."""
    fewest, what = int(used[["n_treated", "n_comparison"]].to_numpy().min()), "units"
    if panel.cluster is not None and not panel.own_cluster:
        clusters = Clusters.of(np.unique(panel.cluster, return_inverse=True)[1], np.isfinite(panel.cohort))
        if clusters.few:
            fewest, what = int(clusters.arms.min()), f"of {clusters.total:,} clusters"
    if fewest >= FEW_TREATED and what == "units":
        return ()
    return (f"An arm has {fewest} {what}: the bootstrap's standard errors are too small for so few, read them as a "
            "lower limit.",)  # fmt: skip


def _check(panel, comparison, base_period, by, quantiles, anticipation, draws) -> None:
    def refuse(required: str, found: object, mend: str = "choose one of these"):
        raise EstimationError(required, repr(found), mend)

    if comparison not in ("never_treated", "not_yet_treated"):
        refuse('comparison "never_treated" or "not_yet_treated"', comparison)
    if by not in ("overall", "event_time", "cohort", "period", "group_time"):
        refuse('by "overall", "event_time", "cohort", "period" or "group_time"', by)
    if not isinstance(anticipation, (int, np.integer)) or isinstance(anticipation, bool) or anticipation < 0:
        refuse("anticipation as a number of periods >= 0", anticipation)
    whole = isinstance(base_period, (int, np.integer)) and not isinstance(base_period, bool)
    if not whole or base_period >= -anticipation:
        refuse(f"one base period before treatment and anticipation (event time below {-anticipation})", base_period)
    if len(panel.periods) < 2:
        refuse("two periods or more: one for the base, one to compare", len(panel.periods), "add earlier periods")
    if not isinstance(quantiles, (Sequence, np.ndarray)) or not len(quantiles) or not all(0 < q < 1 for q in quantiles):
        refuse("quantiles between 0 and 1", quantiles, "give for example (0.1, 0.5, 0.9)")
    if draws < 100:
        refuse("100 draws or more", draws, "a standard error from fewer is noise")
    if panel.cluster is not None and len(np.unique(panel.cluster)) < 2:
        refuse("at least two clusters", 1, "cluster by unit")
    if comparison == "never_treated" and (np.isfinite(panel.cohort) & (panel.cohort <= panel.periods[-1])).all():
        refuse("never-treated units", 0, 'use comparison="not_yet_treated"')
