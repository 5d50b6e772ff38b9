"""Ours against a plain DuckDB scan-and-sum of the same file: CPU, wall and peak memory as ratios.

    python tests/benchmarks/did.py [--units 1000000] [--periods 12] [--repeat 3]

Each line is a process of its own, imports included, interleaved, minimum of the repeats. Ratios travel, seconds do not.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

COVARIATES = {"none": [], "discrete": ["level"], "continuous": ["level", "score"]}


def write(path: Path, units: int, periods: int) -> None:
    """Long Parquet file: four cohorts and the never treated, true effect 1."""
    import duckdb
    import numpy as np
    import pyarrow as pa

    r = np.random.default_rng(1)
    cohort = r.choice([0, *range(periods // 3, periods - 1, 2)], units)
    level, score = r.integers(0, 5, units), r.normal(size=units)
    y = r.normal(size=(units, periods)).cumsum(axis=1) + 0.1 * level[:, None] * np.arange(periods)
    y += (cohort[:, None] > 0) & (np.arange(periods) >= cohort[:, None])
    by_unit = {"unit": np.arange(units), "cohort": cohort, "level": level, "score": score}
    long = {name: np.repeat(values, periods) for name, values in by_unit.items()}
    long |= {"period": np.tile(np.arange(periods), units), "y": y.ravel()}
    duckdb.from_arrow(pa.table(long)).project("* replace (nullif(cohort, 0) as cohort)").write_parquet(str(path))


def floor(path: str, _: str) -> float:
    """What no one can undercut: read the same columns and add them up."""
    import duckdb

    query = f"select cohort, period, sum(y), count(*) from read_parquet('{path}') group by all"
    return float(len(duckdb.sql(query).fetchall()))


def ours(path: str, covariates: str) -> float:
    """File to event study with a simultaneous band."""
    import attribution as at

    panel = at.Panel(path, unit="unit", period="period", cohort="cohort", outcome="y")
    gt = at.group_time_att(panel, comparison="not_yet_treated", base_period="universal", method="dr",
                           covariates=COVARIATES[covariates])  # fmt: skip
    at.aggregate(gt, by="event_time").conf_int(band="simultaneous")
    return float(at.aggregate(gt, by="overall").estimate[0])


def measure(what: str, path: Path, covariates: str) -> dict[str, float]:
    """One process: CPU seconds, wall seconds, peak GB, and its answer."""
    done = subprocess.run([sys.executable, __file__, "--one", what, str(path), covariates],
                          capture_output=True, text=True, check=True)  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--units", type=int, default=1_000_000)
    parser.add_argument("--periods", type=int, default=12)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--one", nargs=3, metavar=("WHAT", "PATH", "COVARIATES"))
    given = parser.parse_args()
    if given.one:
        what, path, covariates = given.one
        started = time.perf_counter()
        answer = {"floor": floor, "ours": ours}[what](path, covariates)
        wall, used = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF)
        cpu, gb = used.ru_utime + used.ru_stime, used.ru_maxrss / 2**20
        print(json.dumps({"cpu": cpu, "wall": wall, "gb": gb, "answer": answer}))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "panel.parquet"
        write(path, given.units, given.periods)
        lines = [("floor", "none"), *(("ours", name) for name in COVARIATES)]
        runs = [[measure(what, path, covariates) for what, covariates in lines] for _ in range(given.repeat)]
    best = [{key: min(run[j][key] for run in runs) for key in runs[0][j]} for j in range(len(lines))]
    print(f"{given.units:,} units x {given.periods} periods, long Parquet, minimum of {given.repeat}")
    for (what, covariates), got in zip(lines, best, strict=True):
        ratio = got["cpu"] / best[0]["cpu"]
        print(f"{what:6} {covariates:11} cpu {got['cpu']:7.2f} s  wall {got['wall']:7.2f} s  peak {got['gb']:5.2f} GB"
              f"  {ratio:6.1f} x floor  answer {got['answer']:.6f}")  # fmt: skip


if __name__ == "__main__":
    main()
