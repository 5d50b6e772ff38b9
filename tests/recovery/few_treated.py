"""How often is a true null rejected with few treated units among many? Every design against the bar of 7 %.

    python tests/recovery/few_treated.py [REPS]       writes tests/recovery/few_treated.csv

Units are independent, 300 of them to compare with. "auto" is what group_time_att gives, "off" the scores as they are.
Growth that is skewed as an exponential is beyond any t test from few units: those rows are there to be read.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

import attribution as at

RESULTS = Path(__file__).with_name("few_treated.csv")
BAR = 0.07
PERIODS = 2
OUTCOMES = 100  # independent draws that one fit takes together


@dataclass(frozen=True)
class Design:
    treated: int
    outcome: str = "normal"  # normal | lognormal: skewed levels | exponential: skewed growth
    method: str = "reg"
    covariates: int = 0
    comparison: int = 300


def draw(d: Design, rng: np.random.Generator, outcomes: int) -> pd.DataFrame:
    """A long panel of independent outcomes without any effect; treatment depends on x, and so does growth."""
    n = d.treated + d.comparison
    treated = np.arange(n) < d.treated
    x = rng.normal(size=(n, 2)) + 0.3 * treated[:, None]
    noise = rng.normal(size=(n, PERIODS, outcomes))
    if d.outcome == "lognormal":
        noise = np.exp(noise)
    elif d.outcome == "exponential":
        noise = rng.exponential(size=noise.shape).cumsum(axis=1)
    growth = 0.5 * x.sum(axis=1)[:, None] * np.arange(PERIODS) if d.covariates else np.zeros((n, PERIODS))
    y = (rng.normal(size=(n, 1, outcomes)) + noise + growth[:, :, None]).reshape(n * PERIODS, outcomes)
    units = {"u": np.arange(n), "g": np.where(treated, PERIODS - 1.0, np.nan), "x0": x[:, 0], "x1": x[:, 1]}
    frame = pd.DataFrame({name: np.repeat(values, PERIODS) for name, values in units.items()})
    named = pd.DataFrame(y, columns=[f"y{k}" for k in range(outcomes)])
    return pd.concat([frame.assign(t=np.tile(np.arange(PERIODS), n)), named], axis=1)


def fit(d: Design, frame: pd.DataFrame) -> dict[str, at.Effects]:
    """The effect under both rules."""
    outcomes = [name for name in frame if name.startswith("y")]
    panel = at.Panel(frame, unit="u", period="t", cohort="g", outcome=outcomes)
    covariates = ["x0", "x1"][: d.covariates]
    options = {"comparison": "never_treated", "base_period": -1, "method": d.method, "covariates": covariates}
    return {rule: at.aggregate(at.group_time_att(panel, few_clusters=rule, **options), by="overall")
            for rule in ("auto", "off")}  # fmt: skip


def simulate(d: Design, reps: int = 2_000, seed: int = 1, each: int = OUTCOMES) -> dict:
    """Rejection at 5 %; `each` outcomes share one draw of the covariates."""
    rng = np.random.default_rng(seed)
    draws, rejected = reps // each, {"auto": 0.0, "off": 0.0}
    made = 0
    for _ in range(draws):
        frame = draw(d, rng, each)
        try:
            found = fit(d, frame)
        except at.EstimationError:  # the logit finds no overlap: refused
            continue
        made += 1
        for rule, one in found.items():
            low, high = one.conf_int()
            rejected[rule] += np.mean((low > 0) | (high < 0))
    shares = {rule: number / made if made else np.nan for rule, number in rejected.items()}
    return {**asdict(d), "reps": made * each, "refused": 1 - made / draws, "rejection": shares["auto"],
            "rejection_off": shares["off"]}  # fmt: skip


def designs() -> list[Design]:
    out = [Design(m, outcome) for outcome in ("normal", "lognormal", "exponential") for m in (2, 3, 5, 8, 12, 19)]
    out += [Design(m, "normal", method, 2) for method in ("reg", "ipw", "dr") for m in (3, 5, 8, 12)]
    out += [Design(m, "lognormal", "dr", 2) for m in (3, 5, 8, 12)]
    out += [Design(200, "normal", "reg", p, comparison) for p in (0, 2) for comparison in (5, 8, 12)]
    return out


def main(reps: int = 2_000) -> pd.DataFrame:
    return pd.DataFrame([simulate(d, reps) for d in designs()])


if __name__ == "__main__":
    made = main(int(sys.argv[1]) if len(sys.argv) > 1 else 2_000)
    made.round(4).to_csv(RESULTS, index=False, lineterminator="\n")
    print(made.to_string())
