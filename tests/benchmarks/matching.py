"""Seconds of the matching stage and their ratio to a floor, one argsort: python tests/benchmarks/matching.py ROWS"""

from __future__ import annotations

import sys
import time

import numpy as np
import pandas as pd

from attribution.design.balance import balance
from attribution.design.match import match
from attribution.design.propensity import propensity
from attribution.design.weight import weight
from attribution.estimate.att import att


def school(n: int) -> pd.DataFrame:
    """n rows, about 10 % treated, six normal and four categorical covariates (21 columns once expanded)."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(n, 6)), columns=[f"x{i}" for i in range(6)])
    for i in range(4):
        frame[f"c{i}"] = pd.Categorical(rng.choice(list("abcd"), n))
    score = frame["x0"] + 0.5 * frame["x1"] - 2.8
    return frame.assign(
        treated=(rng.random(n) < 1 / (1 + np.exp(-score))).astype(int), y=rng.normal(size=n) + frame["x0"]
    )


def best(call, times: int = 3) -> tuple[float, object]:
    spent = []
    for _ in range(times):
        start = time.perf_counter()
        result = call()
        spent.append(time.perf_counter() - start)
    return min(spent), result


def main(n: int) -> None:
    frame = school(n)
    names = [c for c in frame if c not in ("treated", "y")]
    floor, _ = best(lambda: np.argsort(frame["x0"].to_numpy(), kind="stable"))
    seconds = {}
    seconds["propensity"], _ = best(lambda: propensity(frame, "treated", names))
    seconds["match 1:1, caliper 0.2"], design = best(lambda: match(frame, "treated", covariates=names, caliper_sd=0.2))
    seconds["match, exact within c0"], _ = best(
        lambda: match(frame, "treated", covariates=names, caliper_sd=0.2, exact=["c0"])
    )
    seconds["match with replacement"], _ = best(lambda: match(frame, "treated", covariates=names, replace=True))
    seconds["balance table"], _ = best(lambda: balance(design))
    seconds["att, pair clustered"], _ = best(lambda: att(design, "y"))
    seconds["weight, entropy"], design = best(lambda: weight(frame, "treated", covariates=names, method="entropy"))
    seconds["weight, ipw"], design = best(lambda: weight(frame, "treated", covariates=names))
    seconds["att, M-estimation"], _ = best(lambda: att(design, "y", vcov="m_estimation"))
    table = pd.DataFrame({"seconds": seconds})
    table["times the floor"] = table["seconds"] / floor
    sys.stdout.write(f"{n:,} rows; floor (argsort) {floor:.4f} s\n{table.round(3).to_string()}\n")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
