"""Who selects, on what: each estimator of household income, and the recommended one with its choice, on known truths.

    python tests/recovery/selection.py [PANELS]      writes selection.csv, selection.md (the table README shows) and
                                                     selection_first.csv: the first 60 panels, which CI makes again

Each panel is 800 people over 18 quarters (20 where starts are spread). Income is a fixed effect (SD 1,200 EUR a
quarter), an autoregressive shock (SD 600), white noise (SD 300) and a person's own trend. People apply in a quarter s,
more often the lower their income of that quarter, start one quarter later, and gain 150 EUR from then on. What they
select on besides, and how long a shock lasts, is the process. The estimators are told the quarters that selection could
look at (s-2 to s) and the delay; never the process. All speak of the fourth quarter after the start.
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd

RESULTS, TABLE = Path(__file__).with_name("selection.csv"), Path(__file__).with_name("selection.md")
FIRST, AGAIN = Path(__file__).with_name("selection_first.csv"), 60
PEOPLE, QUARTERS, APPLIED, DELAY, HORIZON, EFFECT = 800, 18, 12, 1, 4, 150.0
FIXED, SHOCK, NOISE, LEVEL, GROWTH = 1_200.0, 600.0, 300.0, 6_000.0, 20.0
PROCESSES = {
    "transitory dip": {"rho": 0.4},
    "persistent shock": {"rho": 0.9},
    "shock that stays": {"rho": 1.0, "fixed": 0.0},
    "no dip": {"rho": 0.4, "income": 0.0, "fixed": -0.8},
    "dynamic assignment": {"rho": 0.75, "waves": 4},
    "trend": {"rho": 0.4, "income": -0.3, "fixed": 0.0, "trend": -1.5, "spread": 75.0},
    "weak trend": {"rho": 0.4, "income": -0.3, "fixed": 0.0, "trend": -1.0, "spread": 20.0},
    "transitory dip, no effect": {"rho": 0.4, "effect": 0.0},
}  # what sets a process apart from: income -1 per 1,000 EUR, fixed +0.4 per SD, trend 0, SD of trends 10 EUR, 1 wave
NAMES = {
    "last period before the start": "last quarter before the start", "long base": "long base",
    "symmetric": "symmetric", "history": "history (regression)", "symmetric, given the dip": "symmetric, given the dip",
    "symmetric, less the trend": "the same, less the trend", "recommended": "**recommended**",
}  # fmt: skip
RULE = {"delay": DELAY, "dip": (-2, 0), "base": (-7, -4), "before": (-11, -4), "horizons": [HORIZON], "later": "stay"}


def draw(process: str, seed: int) -> tuple[np.ndarray, np.ndarray, float]:
    """(n, T) incomes, (n,) quarter of application (missing = never), the true effect on those who applied.

    Where applications come in waves, the truth is that of "now rather than not yet": some would have started later.
    """
    p = {"income": -1.0, "fixed": 0.4, "trend": 0.0, "spread": 10.0, "waves": 1, "effect": EFFECT, **PROCESSES[process]}
    rng = np.random.default_rng([seed, list(PROCESSES).index(process)])
    n, quarters = PEOPLE, QUARTERS + (2 if p["waves"] > 1 else 0)
    fixed, trend = rng.normal(0, FIXED, n), rng.normal(0, p["spread"], n)
    shock = np.empty((n, quarters))
    stays = p["rho"] == 1
    shock[:, 0] = rng.normal(0, SHOCK / 2 if stays else SHOCK, n)
    for t in range(1, quarters):
        step = 250.0 if stays else SHOCK * np.sqrt(1 - p["rho"] ** 2)
        shock[:, t] = p["rho"] * shock[:, t - 1] + rng.normal(0, step, n)
    own = fixed[:, None] + shock + rng.normal(0, NOISE, (n, quarters)) + np.outer(trend, np.arange(quarters) - APPLIED)
    waves = np.arange(p["waves"]) + (APPLIED - 1 if p["waves"] > 1 else APPLIED)
    look = own[:, waves] if p["waves"] == 1 else (own[:, waves] + own[:, waves - 1]) / 2
    index = p["income"] * look / 1_000 + (p["fixed"] * fixed / FIXED + p["trend"] * trend / p["spread"])[:, None]
    wish = index - 1.2 - np.log(p["waves"]) + rng.logistic(size=look.shape) > 0
    first = np.where(wish.any(axis=1), waves[wish.argmax(axis=1)], 10**6)
    after = wish & (waves > first[:, None])
    second = np.where(after.any(axis=1), waves[after.argmax(axis=1)], 10**6)
    applied = first < 10**6
    at = first + DELAY + HORIZON
    truth = p["effect"] * float((1.0 - (at >= second + DELAY))[applied].mean())
    income = LEVEL + GROWTH * np.arange(quarters) + own
    income = income + p["effect"] * (np.arange(quarters) >= (first + DELAY)[:, None])
    return income, np.where(applied, first, np.nan), truth


def panel(income: np.ndarray, applied: np.ndarray):
    """The same as the package's panel, cohort = quarter of application."""
    import attribution as at

    n, quarters = income.shape
    frame = pd.DataFrame({"person": np.repeat(np.arange(n), quarters), "quarter": np.tile(np.arange(quarters), n),
                          "applied": np.repeat(applied, quarters), "income": income.ravel()})  # fmt: skip
    return at.Panel(frame, unit="person", period="quarter", cohort="applied", outcome="income")


def one(job: tuple[str, int]) -> list[dict]:
    """One panel: a row an estimator."""
    import attribution as at

    process, seed = job
    income, applied, truth = draw(process, seed)
    got = at.recommended_did(panel(income, applied), **RULE)
    flag, dip = got.grade.level == "cannot conclude", got.checks[0].passed is False
    every = {**got.candidates, "recommended": got.effects}
    return [
        {"process": process, "seed": seed, "estimator": name, "estimate": every[name].estimate[0],
         "std_error": every[name].std_error[0], "truth": truth, "cannot_conclude": flag and name == "recommended",
         "weak": got.grade.level == "weak" and name == "recommended",
         "chosen": got.estimator if name == "recommended" else "", "dip": dip}
        for name in NAMES
    ]  # fmt: skip


def runs(panels: int, processes: list[str] | None = None, first: int = 1) -> pd.DataFrame:
    """All rows of `panels` panels a process, two processors."""
    jobs = [(process, seed) for process in processes or PROCESSES for seed in range(first, first + panels)]
    with ProcessPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
        return pd.DataFrame([row for rows in pool.map(one, jobs, chunksize=10) for row in rows])


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a process and estimator; coverage_said: among the panels where something was concluded."""
    out = []
    for (process, name), part in rows.groupby(["process", "estimator"], sort=False):
        error = part["estimate"] - part["truth"]
        inside, said = error.abs() < 1.959964 * part["std_error"], ~part["cannot_conclude"].astype(bool)
        out.append({
            "process": process, "estimator": name, "panels": len(part), "truth": part["truth"].mean(),
            "bias": error.mean(), "rmse": float(np.sqrt((error**2).mean())), "mean_se": part["std_error"].mean(),
            "se_ratio": part["std_error"].mean() / error.std(), "coverage": inside.mean(),
            "cannot_conclude": 1 - said.mean(), "coverage_said": inside[said].mean(),
            "said_wrong": (said & ~inside).mean(), "graded_weak": part["weak"].mean(),
            "chose_long_base": (part["chosen"] == "long base").mean(),
            "chose_less_trend": (part["chosen"] == "symmetric, less the trend").mean(),
            "dip_found": part["dip"].mean(),
        })  # fmt: skip
    return pd.DataFrame(out)


def markdown(table: pd.DataFrame) -> str:
    """The rows that README quotes."""
    heads = ["selection", "estimator", "bias, EUR", "RMSE", "coverage of 95 %", "SE ratio", "*cannot conclude*"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in table.itertuples():
        flag = f"{row.cannot_conclude:.0%}" if row.estimator == "recommended" else ""
        title = f"{row.process} (truth {row.truth:+.0f})" if row.estimator == next(iter(NAMES)) else ""
        lines.append(f"| {title} | {NAMES[row.estimator]} | {row.bias:+.0f} | {row.rmse:.0f} | {row.coverage:.1%} | "
                     f"{row.se_ratio:.2f} | {flag} |")  # fmt: skip
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    rows = runs(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000)
    table = summarise(rows)
    table.round(4).to_csv(RESULTS, index=False, lineterminator="\n")
    summarise(rows[rows["seed"] <= AGAIN]).round(4).to_csv(FIRST, index=False, lineterminator="\n")
    TABLE.write_text(markdown(pd.read_csv(RESULTS)), encoding="utf-8")
    print(table.round(3).to_string(index=False))
