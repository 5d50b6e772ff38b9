"""How often is a true null rejected with 5 to 10 clusters, or few treated among more? The bar is 7 %.

    python tests/recovery/few_clusters.py [REPS]       writes tests/recovery/few_clusters.csv

The estimates and those without each cluster are linear in the outcomes. One call of group_time_att and aggregate a
design gives that linear map (checked against the call itself), which then meets thousands of draws of the outcomes:
cluster shocks that are independent or a random walk, unit noise, no effect. Covariates, and who is treated within
clusters, are drawn 20 times.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

import attribution as at
from attribution.cohorts.cells import build_cells
from attribution.estimate import few_clusters
from attribution.estimate.group_time import fit_cells
from attribution.inference import student_quantile

RESULTS = Path(__file__).with_name("few_clusters.csv")
BAR = 0.07


@dataclass(frozen=True)
class Design:
    clusters: int
    treated: int  # clusters; 0: half of the units of every cluster
    timing: str = "one"  # one | staggered: cohorts 3 and 5 alternate
    sizes: str = "equal"  # equal | half_treated, half_comparison: one cluster with half of all units | geometric
    shock: str = "walk"  # walk | independent
    icc: float = 0.3  # share of the cluster shocks in the variance of a period's innovation
    treated_sd: float = 1.0  # of the treated clusters' shocks, in that of the others: say, effects that differ
    covariate: str = "none"  # none | discrete | continuous
    comparison: str = "never_treated"
    periods: int = 6
    method: str = "dr"


def sizes(d: Design) -> np.ndarray:
    n = np.full(d.clusters, 20)
    if d.sizes.startswith("half"):
        n[0 if d.sizes == "half_treated" else -1] = 20 * (d.clusters - 1)
    elif d.sizes == "geometric":
        n = np.round(12 * 1.4 ** (np.arange(d.clusters) * 5 % d.clusters)).astype(int)
    return n


def units(d: Design, rng: np.random.Generator) -> pd.DataFrame:
    """One row a unit: cluster, cohort, covariate."""
    cluster = np.repeat(np.arange(d.clusters), sizes(d))
    starts = np.array([3.0, 5.0] if d.timing == "staggered" else [4.0])
    if d.treated:
        by_cluster = np.full(d.clusters, np.nan)
        by_cluster[: d.treated] = starts[np.arange(d.treated) % len(starts)]
        cohort = by_cluster[cluster]
    else:
        number = np.arange(len(cluster))
        cohort = rng.permuted(np.where(number % 2, np.nan, starts[number // 2 % len(starts)]))
    x = rng.normal(size=len(cluster)) + 0.3 * np.isfinite(cohort)
    x = np.digitize(x, [-0.4, 0.6]).astype(float) if d.covariate == "discrete" else x
    return pd.DataFrame({"unit": np.arange(len(cluster)), "k": cluster, "g": cohort, "x": x})


def outcomes(d: Design, frame: pd.DataFrame, rng: np.random.Generator, reps: int = 1) -> np.ndarray:
    """(reps, n, T) draws without any effect."""
    shocks = rng.normal(size=(reps, d.clusters, d.periods)) * np.sqrt(d.icc / (1 - d.icc))
    if d.shock == "walk":
        shocks = shocks.cumsum(axis=2)
    shocks[:, : d.treated] *= d.treated_sd
    trend = 0.5 * frame["x"].to_numpy()[:, None] * np.arange(d.periods) if d.covariate != "none" else 0.0
    return shocks[:, frame["k"].to_numpy()] + trend + rng.normal(size=(reps, len(frame), d.periods))


def fitted(d: Design, frame: pd.DataFrame, y: np.ndarray):
    """The panel and its group-time effects."""
    long = frame.loc[np.repeat(frame.index, d.periods)]
    long = long.assign(t=np.tile(np.arange(1, d.periods + 1), len(frame)), y=y.ravel())
    panel = at.Panel(long, unit="unit", period="t", cohort="g", outcome="y", cluster="k")
    return panel, at.group_time_att(panel, comparison=d.comparison, base_period="universal", method=d.method,
                                    covariates=[] if d.covariate == "none" else ["x"])  # fmt: skip


@dataclass(frozen=True)
class Map:
    """Aggregates of one design as linear functions of unit outcomes. full: (1 + G, K, n, T)."""

    labels: pd.DataFrame
    full: np.ndarray
    dof: np.ndarray

    def of(self, y: np.ndarray) -> np.ndarray:
        """(reps, 1 + G, K) estimates from (reps, n, T) outcomes."""
        shape = self.full.shape
        flat = self.full.reshape(shape[0] * shape[1], -1)
        return (y.reshape(len(y), -1) @ flat.T).reshape(len(y), *shape[:2])


def linear_map(d: Design, frame: pd.DataFrame, y: np.ndarray) -> Map:
    """The map of every aggregate; asserts that it gives what the call gives."""
    panel, gt = fitted(d, frame, y)
    covariates = () if d.covariate == "none" else ("x",)
    cells = build_cells(panel, covariates)
    loadings = np.zeros((1 + d.clusters, len(cells.group), len(gt)))
    place = pd.Series(np.arange(len(gt)), index=gt.labels["term"])
    for r in range(1 + d.clusters):
        left = cells.without(r - 1) if r else cells
        one = fit_cells(left, panel.cohorts, comparison=d.comparison, base_period="universal", method=d.method,
                        anticipation=0, cross_section=False, fewest=1)  # fmt: skip
        rows = np.flatnonzero(cells.group != r - 1)  # every moment row as its own cluster: its loading
        each = few_clusters._loadings(replace(left, group=rows), one, len(cells.group), 2).sum(axis=1)
        loadings[r][:, place[one.labels["term"]].to_numpy()] = each
    loadings = (loadings / cells.one[:, None])[:, row_of_unit(cells, frame, bool(covariates))]
    pieces, labels, dof = [], [], []
    for by in ("overall", "event_time", "cohort"):
        made = at.aggregate(gt, by=by)
        kept = ~np.isnan(made.std_error)
        weights = made.jackknife.weights[:, kept]
        piece = np.einsum("rkb,rnb,bt->rknt", weights, loadings, made.jackknife.contrasts[0], optimize=True)
        again = np.einsum("rknt,nt->rk", piece, y)
        factor = np.sqrt((d.clusters - 1) / d.clusters)
        np.testing.assert_allclose(again[0], made.estimate[kept], atol=1e-8)
        np.testing.assert_allclose(factor * (again[1:] - again[0]), made.scores[:, kept], atol=1e-8)
        pieces.append(piece)
        labels.append(made.labels.assign(by=by, kept=kept, refused=~kept & (made.labels["reason"] != "")))
        dof.append(made.dof[kept])
    return Map(pd.concat(labels, ignore_index=True), np.concatenate(pieces, axis=1), np.concatenate(dof))


def row_of_unit(cells, frame: pd.DataFrame, covariates: bool) -> np.ndarray:
    """The moment row that each unit is in: its cluster, cohort and covariate."""

    def key(columns):
        return list(map(tuple, np.round(np.nan_to_num(np.column_stack(columns), nan=-1.0), 9)))

    x = frame["x"].to_numpy()
    z = (x - x.mean()) / x.std()
    unit = key([frame["k"], frame["g"], *([z] if covariates else [])])
    rows = key([cells.group, cells.cohort[cells.cell], *([cells.x[cells.cell, 0]] if covariates else [])])
    place = {k: i for i, k in enumerate(rows)}
    return np.array([place[k] for k in unit])


def simulate(d: Design, reps: int = 4_000, seed: int = 1) -> pd.DataFrame:
    """A row an estimand (of event times and cohorts the worst): how often a true null is rejected at 5 %."""
    rng = np.random.default_rng(seed)
    draws = 20 if d.covariate != "none" or not d.treated else 1
    found: dict[tuple[str, str], list[np.ndarray]] = {}
    refused: dict[str, list[bool]] = {}
    for _ in range(draws):
        frame = units(d, rng)
        one = linear_map(d, frame, outcomes(d, frame, rng)[0])
        theta = np.concatenate([one.of(outcomes(d, frame, rng, 100)) for _ in range(reps // draws // 100)])
        estimate, scores = theta[:, 0], theta[:, 1:] - theta[:, :1]
        se = np.sqrt((d.clusters - 1) / d.clusters * (scores**2).sum(axis=1))
        half = student_quantile(0.975, one.dof) * se
        for by, gone in zip(one.labels["by"], one.labels["refused"], strict=True):
            refused.setdefault(by, []).append(gone)
        kept = one.labels[one.labels["kept"]].reset_index(drop=True)
        for j, (by, term) in enumerate(zip(kept["by"], kept["term"], strict=True)):
            found.setdefault((by, term), []).append(np.stack([estimate[:, j], se[:, j], half[:, j]]))
        band = np.flatnonzero(kept["by"] == "event_time")
        if len(band):
            wide = student_quantile(1 - 0.025 / len(band), one.dof[band]) * se[:, band]
            beyond = (np.abs(estimate[:, band]) / wide).max(axis=1)
            found.setdefault(("band", "band"), []).append(np.stack([beyond, beyond, np.ones_like(beyond)]))
    rows = []
    for by in ("overall", "event_time", "cohort", "band"):
        terms = [_summary(np.hstack(parts), by) for (of, _), parts in found.items() if of == by]
        worst = max(terms, key=lambda row: row["rejection"]) if terms else {"reps": 0}
        rows.append({**asdict(d), "estimand": by, "refused": float(np.mean(refused.get(by, [not terms]))), **worst})
    return pd.DataFrame(rows)


def _summary(values: np.ndarray, by: str) -> dict[str, float]:
    """values : (3, reps) estimate, standard error, half width of the interval."""
    estimate, se, half = values
    share = float((np.abs(estimate) > half).mean())
    out = {"reps": len(estimate), "rejection": share, "mc_error": float(np.sqrt(share * (1 - share) / len(estimate)))}
    if by == "band":
        return out
    sd = estimate.std()
    return {**out, "se_ratio": float(np.sqrt((se**2).mean()) / sd), "width": float(half.mean() / (1.96 * sd)),
            "power_4sd": float((np.abs(estimate + 4 * sd) > half).mean())}  # fmt: skip


def designs() -> list[Design]:
    """5 to 10 clusters; treated clusters from 2 to all but 2, or half of the units in every cluster (0).

    Then few in an arm among 50 to 200 clusters.
    """
    out = []
    for g in (5, 6, 8, 10):
        for m in sorted({2, 3, g // 2, g - 2}):
            out += [Design(g, m, sizes=s) for s in ("equal", "half_treated", "half_comparison")]
            out += [Design(g, m, treated_sd=3.0)]
        for m in sorted({2, 4, g - 2} - {5}):
            if m <= g - 2:
                out += [Design(g, m, timing="staggered", comparison=c) for c in ("never_treated", "not_yet_treated")]
        half = g // 2
        out += [Design(g, half, icc=icc, shock=s) for icc, s in ((0.0, "walk"), (0.1, "walk"), (0.3, "independent"))]
        out += [Design(g, half, sizes="half_treated", icc=0.0), Design(g, half, sizes="geometric")]
        out += [Design(g, half, shock="independent", periods=20)]
        out += [Design(g, 0), Design(g, 0, sizes="half_treated"), Design(g, 0, timing="staggered", icc=0.1)]
        out += [Design(g, half, covariate=x) for x in ("discrete", "continuous")]
        out += [Design(g, 0, covariate="continuous", sizes="geometric")]
    out += [Design(10, 8, timing="staggered", sizes="half_treated", comparison="not_yet_treated", icc=0.1)]
    out += [Design(8, 3, covariate="continuous", method=m) for m in ("reg", "ipw", "dr_imp")]
    out += [Design(8, 4, covariate="discrete", timing="staggered", comparison="not_yet_treated")]
    few_among = ((50, 2), (50, 5), (50, 12), (50, 19), (50, 45), (120, 3), (200, 5), (200, 19))
    out += [Design(g, m, periods=4) for g, m in few_among]
    out += [Design(50, 4, timing="staggered"), Design(50, 5, sizes="half_treated"), Design(50, 5, icc=0.0, periods=4)]
    return out


def main(reps: int = 4_000) -> pd.DataFrame:
    """Every design."""
    return pd.concat([simulate(d, reps) for d in designs()], ignore_index=True)


if __name__ == "__main__":
    made = main(int(sys.argv[1]) if len(sys.argv) > 1 else 4_000)
    made.round(4).to_csv(RESULTS, index=False, lineterminator="\n")
    print(made.sort_values("rejection", ascending=False).head(20).to_string())
