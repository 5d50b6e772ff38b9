"""How often is a true null rejected with few treated units among many? Every design against the bar of 7 %.

    python tests/recovery/few_treated.py [REPS]       writes tests/recovery/few_treated.csv

Units are independent, or alike within more than 200 clusters (fewer: few_clusters.py). "auto" is what group_time_att
gives, "off" the scores as they are. Estimates and scores are linear in the outcomes: of the difference in means in
closed form, with covariates (drawn 4 times) from the scores of one fit whose outcomes are one unit each. Both are
checked against the call itself, and then meet thousands of draws.
Growth that is skewed (exponential, and worse: lognormal) is beyond any t test from few units: those rows are measured
to be read, and nothing is claimed for them.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

import attribution as at
from attribution.inference import student_quantile

RESULTS = Path(__file__).with_name("few_treated.csv")
BAR = 0.07
SKEWED = ("exponential growth", "lognormal growth")  # nothing is claimed for these


@dataclass(frozen=True)
class Design:
    treated: int  # units, or clusters
    outcome: str = "normal"  # normal | lognormal levels: their growth is symmetric | SKEWED
    method: str = "reg"
    covariates: int = 0
    comparison: int = 300
    cluster_size: int = 1  # units, which share their growth


def growth(d: Design, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Draws of the change of an outcome, without any effect."""
    if d.outcome == "lognormal levels":
        return np.exp(rng.normal(size=shape)) - np.exp(rng.normal(size=shape))
    if d.outcome == "lognormal growth":
        return np.exp(rng.normal(size=shape))
    return rng.exponential(size=shape) if d.outcome == "exponential growth" else rng.normal(size=shape)


def units(d: Design, rng: np.random.Generator) -> pd.DataFrame:
    """One row a unit; who is treated depends on the covariates."""
    group = np.repeat(np.arange(d.treated + d.comparison), d.cluster_size)
    treated = group < d.treated
    x = rng.normal(size=(len(group), 2)) + 0.3 * treated[:, None]
    return pd.DataFrame({"u": np.arange(len(group)), "k": group, "g": np.where(treated, 1.0, np.nan),
                         "x0": x[:, 0], "x1": x[:, 1]})  # fmt: skip


def fit(d: Design, frame: pd.DataFrame, change: np.ndarray, rule: str) -> at.Effects:
    """The effects on the outcomes whose (n, J) changes these are."""
    names = [f"y{j}" for j in range(change.shape[1])]
    now = pd.concat([frame.assign(t=1), pd.DataFrame(change, columns=names)], axis=1)
    before = pd.concat([frame.assign(t=0), pd.DataFrame(0 * change, columns=names)], axis=1)
    panel = at.Panel(pd.concat([before, now], ignore_index=True), unit="u", period="t", cohort="g", outcome=names,
                     cluster="k" if d.cluster_size > 1 else None)  # fmt: skip
    gt = at.group_time_att(panel, comparison="never_treated", base_period=-1, method=d.method,
                           covariates=["x0", "x1"][: d.covariates], few_clusters=rule)  # fmt: skip
    return gt.rows((gt.labels["event_time"] == 0).to_numpy())


@dataclass(frozen=True)
class Map:
    """estimate : (n,), scores : (n rows, n) of the change of each unit. factor : (n rows,) of the rule "auto"."""

    estimate: np.ndarray
    scores: np.ndarray
    factor: np.ndarray
    dof: float

    def of(self, change: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """rule -> estimate, standard error and half width of the interval of (reps, n) changes."""
        theta, scores = change @ self.estimate, change @ self.scores.T
        out = {}
        for rule, factor, dof in (("auto", self.factor, self.dof), ("off", 1.0, np.inf)):
            se = np.sqrt(((scores * factor) ** 2).sum(axis=1))
            out[rule] = theta, se, student_quantile(0.975, np.array([dof]))[0] * se
        return out


def difference_in_means(d: Design) -> Map:
    """Of the means of units, or of clusters of one size."""
    arm = np.r_[np.zeros(d.treated, int), np.ones(d.comparison, int)]
    count = np.array([d.treated, d.comparison])
    few = count < 20
    inside = (arm[:, None] == arm) / count[arm]
    sign = np.where(arm == 0, 1.0, -1.0) / count[arm]
    return Map(sign, sign[:, None] * (np.eye(len(arm)) - inside), np.where(few, count / (count - 1), 1.0)[arm],
               float(count.min() - 1) if few.any() else np.inf)  # fmt: skip


def by_fit(d: Design, frame: pd.DataFrame) -> Map:
    """From a fit whose j-th outcome is 1 for unit j and 0 for all others."""
    made = {rule: fit(d, frame, np.eye(len(frame)), rule) for rule in ("auto", "off")}
    size = np.abs(made["off"].scores).sum(axis=1)
    ratio = np.divide(np.abs(made["auto"].scores).sum(axis=1), size, out=np.ones_like(size), where=size > 0)
    return Map(made["off"].estimate, made["off"].scores, ratio, float(made["auto"].degrees[0]))


def check(d: Design, frame: pd.DataFrame, one: Map, rng: np.random.Generator) -> None:
    """Assert that the map gives what the call gives."""
    change = growth(d, (3, d.treated + d.comparison), rng)
    for rule, (theta, _, half) in one.of(change).items():
        call = fit(d, frame, change[:, frame["k"]].T, rule)
        low, high = call.conf_int()
        np.testing.assert_allclose(call.estimate, theta, atol=1e-8)
        np.testing.assert_allclose((high - low) / 2, half, rtol=1e-6)


def simulate(d: Design, reps: int = 20_000, seed: int = 1) -> dict:
    """Rejection at 5 %, over draws of the covariates that the estimator does not refuse."""
    rng = np.random.default_rng(seed)
    draws = 4 if d.covariates else 1
    rejected: dict[str, list[float]] = {"auto": [], "off": []}
    ratio = []
    for _ in range(draws):
        frame = units(d, rng)
        try:
            one = by_fit(d, frame) if d.covariates else difference_in_means(d)
            check(d, frame, one, rng)
        except at.EstimationError:  # the logit finds no overlap: refused
            continue
        change = np.concatenate([growth(d, (1_000, len(one.estimate)), rng) for _ in range(reps // draws // 1_000)])
        change = change - {"exponential growth": 1.0, "lognormal growth": np.exp(0.5)}.get(d.outcome, 0.0)
        for rule, (theta, se, half) in one.of(change).items():
            rejected[rule].append(float((np.abs(theta) > half).mean()))
            if rule == "auto":
                ratio.append(float(np.sqrt((se**2).mean()) / theta.std()))
    made = len(ratio)
    shares = {rule: float(np.mean(found)) if made else np.nan for rule, found in rejected.items()}
    return {**asdict(d), "reps": made * (reps // draws), "refused": 1 - made / draws, "rejection": shares["auto"],
            "rejection_off": shares["off"], "se_ratio": float(np.mean(ratio)) if made else np.nan}  # fmt: skip


def designs() -> list[Design]:
    """2 to 19 treated among 300 (150 with covariates), 5 to 45 to compare with, 10 to 19 clusters among over 200."""
    outcomes = ("normal", "lognormal levels", *SKEWED)
    out = [Design(m, outcome) for outcome in outcomes for m in (2, 3, 5, 8, 12, 19)]
    out += [Design(m, "normal", method, 2, 150) for method in ("reg", "ipw", "dr") for m in (3, 5, 8, 12)]
    out += [Design(m, "lognormal levels", "dr", 2, 150) for m in (3, 5, 8, 12)]
    out += [Design(100 if p else 200, "normal", "reg", p, comparison) for p in (0, 2) for comparison in (5, 8, 12, 21)]
    out += [Design(100, "normal", "reg", 2, comparison) for comparison in (22, 30, 45)]
    return [*out, *(Design(m, outcome, cluster_size=4) for outcome in outcomes[:2] for m in (10, 15, 19))]


def main(reps: int = 20_000) -> pd.DataFrame:
    return pd.DataFrame([simulate(d, reps) for d in designs()])


if __name__ == "__main__":
    made = main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000)
    made.round(4).to_csv(RESULTS, index=False, lineterminator="\n")
    print(made.to_string())
