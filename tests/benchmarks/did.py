"""Group-time ATT with analytic standard errors, file to event study with a simultaneous band: ours, peers, and a floor.

    python tests/benchmarks/did.py [--units 1000000] [--periods 12] [--repeat 3] [--python PEERS] [--only ours floor]

Every line is a process of its own, imports included; the repeats are interleaved and the minimum is kept. The floor is
a plain DuckDB scan-and-sum of the same columns. Peers run where `--python` (default: this one) can import them; a wide
file they turn long first, as their users must. All answers of one setting are checked against each other. Ratios
travel, seconds do not. `--units 10000000 --only ours floor --files wide` measures the large case.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import processes

COVARIATES = {"none": [], "discrete": ["level", "region"], "continuous": ["score", "age"]}
CHUNK = 1_000_000


def write(folder: Path, units: int, periods: int, files: list[str]) -> None:
    """panel_wide.parquet and panel_long.parquet: cohorts and the never treated, incomes in cents, true effect 500."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    r = np.random.default_rng(1)
    writers: dict[str, pq.ParquetWriter] = {}
    for first in range(0, units, CHUNK):
        n = min(CHUNK, units - first)
        cohort = r.choice([0, *range(periods // 3, periods - 1, 2)], n)
        level, region = r.integers(0, 5, n), r.integers(0, 8, n)
        score, age = r.normal(size=n) + 0.2 * (cohort > 0), r.normal(size=n)
        y = r.normal(size=(n, periods)).cumsum(axis=1) + (0.1 * level + 0.05 * score)[:, None] * np.arange(periods)
        y += (cohort[:, None] > 0) & (np.arange(periods) >= cohort[:, None])
        y = np.round(2000 + 500 * y, 2)
        unit = {"unit": first + np.arange(n), "level": level, "region": region, "score": score, "age": age}
        tables = {"wide": unit | {"cohort": cohort} | {f"y_{t}": y[:, t] for t in range(periods)}}
        if "long" in files:
            tables["long"] = {name: np.repeat(values, periods) for name, values in (unit | {"cohort": cohort}).items()}
            tables["long"] |= {"period": np.tile(np.arange(periods), n), "y": y.ravel()}
        for name, columns in tables.items():
            columns["cohort"] = pa.array(columns["cohort"], mask=columns["cohort"] == 0)
            table = pa.table(columns)
            if name not in writers:
                writers[name] = pq.ParquetWriter(folder / f"panel_{name}.parquet", table.schema)
            writers[name].write_table(table)
    for writer in writers.values():
        writer.close()


# -- the contestants: a Parquet file in, overall ATT and its standard error out; each is a process of its own --


def floor(path: str, periods: int, covariates: list[str]) -> tuple[float, float]:
    import duckdb

    values = [f"y_{t}" for t in range(periods)] if "wide" in path else ["period", "y"]
    sums = ", ".join(f"sum({name})" for name in ["unit", "cohort", *covariates, *values])
    duckdb.connect(config={"threads": 1}).sql(f"SELECT {sums} FROM read_parquet('{path}')").fetchall()
    return float("nan"), float("nan")


def ours(path: str, periods: int, covariates: list[str]) -> tuple[float, float]:
    import attribution as at

    long = {"period": "period", "outcome": "y"}
    shape = {"outcome": {t: f"y_{t}" for t in range(periods)}} if "wide" in path else long
    panel = at.Panel(path, unit="unit", cohort="cohort", **shape)
    gt = at.group_time_att(panel, comparison="never_treated", base_period="universal", method="dr",
                           covariates=covariates)  # fmt: skip
    at.aggregate(gt, by="event_time").conf_int(band="simultaneous")
    overall = at.aggregate(gt, by="overall")
    return float(overall.estimate[0]), float(overall.std_error[0])


def long_frame(path: str, periods: int, covariates: list[str]):
    """What the peers need: a long pandas frame, cohort 0 for the never treated."""
    import pandas as pd

    if "wide" in path:
        values = [f"y_{t}" for t in range(periods)]
        wide = pd.read_parquet(path, columns=["unit", "cohort", *covariates, *values])
        wide.columns = [name.removeprefix("y_") for name in wide.columns]
        frame = wide.melt(["unit", "cohort", *covariates], var_name="period", value_name="y")
        frame["period"] = frame["period"].astype(int)
    else:
        frame = pd.read_parquet(path, columns=["unit", "cohort", "period", "y", *covariates])
    frame["cohort"] = frame["cohort"].fillna(0).astype(int)
    return frame


def diff_diff(path: str, periods: int, covariates: list[str]) -> tuple[float, float]:
    import warnings

    from diff_diff import CallawaySantAnna

    warnings.simplefilter("ignore")
    frame = long_frame(path, periods, covariates)
    fit = CallawaySantAnna(control_group="never_treated", estimation_method="dr", base_period="universal").fit(
        frame, outcome="y", unit="unit", time="period", first_treat="cohort", covariates=covariates or None,
        aggregate="event_study",
    )  # fmt: skip
    return float(fit.overall_att), float(fit.overall_se)


def csdid(path: str, periods: int, covariates: list[str]) -> tuple[float, float]:
    import contextlib
    import io

    from csdid.att_gt import ATTgt

    frame = long_frame(path, periods, covariates)
    with contextlib.redirect_stdout(io.StringIO()):
        formula = f"y ~ {' + '.join(covariates)}" if covariates else "y ~ 1"
        fit = ATTgt(yname="y", tname="period", idname="unit", gname="cohort", data=frame, xformla=formula,
                    control_group=["nevertreated"])  # fmt: skip
        fit = fit.fit(est_method="dr", base_period="universal", bstrap=False)
        fit.aggte(typec="dynamic", bstrap=False, cband=False)
        simple = fit.aggte(typec="simple", bstrap=False, cband=False)
    return float(simple.atte["overall_att"]), float(simple.atte["overall_se"])


def differences(path: str, periods: int, covariates: list[str]) -> tuple[float, float]:
    import warnings

    import numpy as np
    from differences import ATTgt

    warnings.simplefilter("ignore")
    frame = long_frame(path, periods, covariates)
    frame["cohort"] = frame["cohort"].astype(float).replace(0, np.nan)
    fit = ATTgt(data=frame.set_index(["unit", "period"]), cohort_column="cohort", base_period="universal")
    formula = f"y ~ {' + '.join(covariates)}" if covariates else "y"
    fit.fit(formula, est_method="dr", control_group="never_treated", progress_bar=False)
    fit.aggregate("event")
    simple = fit.aggregate("simple").to_numpy().ravel()
    return float(simple[0]), float(simple[1])


CONTESTANTS = {"floor": floor, "ours": ours, "diff-diff": diff_diff, "csdid": csdid, "differences": differences}
MODULES = {"diff-diff": "diff_diff", "csdid": "csdid", "differences": "differences"}


def measure(what: str, python: str, path: Path, periods: int, covariates: str) -> dict[str, float] | None:
    """One process, from start to exit: CPU and wall seconds, peak GB, and its answer; None where it fails."""
    command = [python if what in MODULES else sys.executable, __file__, "--one", what, str(path), str(periods)]
    got = processes.measure([*command, covariates])
    if isinstance(got, str):
        print(f"{what} {covariates} failed: {got}")
        return None
    spent, answer = got
    att, se = json.loads(answer)
    return spent | {"att": att, "se": se}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", type=int, default=1_000_000)
    parser.add_argument("--periods", type=int, default=12)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--python", default=sys.executable, help="interpreter that has the peers")
    parser.add_argument("--only", nargs="+", choices=CONTESTANTS, default=list(CONTESTANTS))
    parser.add_argument("--files", nargs="+", choices=["wide", "long"], default=["wide", "long"])
    parser.add_argument("--covariates", nargs="+", choices=COVARIATES, default=list(COVARIATES))
    parser.add_argument("--write", metavar="FOLDER", help=argparse.SUPPRESS)
    parser.add_argument("--one", nargs=4, metavar=("WHAT", "PATH", "PERIODS", "COVARIATES"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        what, path, periods, covariates = given.one
        print(json.dumps(CONTESTANTS[what](path, int(periods), COVARIATES[covariates])))
        return
    if given.write:
        write(Path(given.write), given.units, given.periods, given.files)
        return
    ready = ["floor", "ours", *processes.importable(given.python, MODULES)]
    here = [name for name in given.only if name in ready]
    print(f"{given.units:,} units x {given.periods} periods, {os.cpu_count()} cores, minimum of {given.repeat}; peers: "
          f"{', '.join(name for name in here if name in MODULES) or 'none installed'}")  # fmt: skip
    print(f"{'file':5} {'covariates':11} {'':12} {'cpu s':>7} {'wall s':>7} {'GB':>5} {'x ours cpu':>10} {'wall':>6} "
          f"{'GB':>6} {'x floor':>7}   overall ATT (SE)")  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        # in a process of its own: a child's peak memory begins at that of its parent
        subprocess.run([sys.executable, __file__, "--write", folder, "--units", str(given.units), "--periods",
                        str(given.periods), "--files", *given.files], check=True)  # fmt: skip
        for file in given.files:
            for covariates in given.covariates:
                path = Path(folder) / f"panel_{file}.parquet"
                runs = [[measure(what, given.python, path, given.periods, covariates) for what in here]
                        for _ in range(given.repeat)]  # fmt: skip
                report(file, covariates, here, runs)


def report(file: str, covariates: str, here: list[str], runs: list[list[dict[str, float] | None]]) -> None:
    """Minimum of the repeats, ratios to ours and to the floor; answers that differ stop the run."""
    best = {what: {key: min(run[j][key] for run in runs) for key in runs[0][j]}  # type: ignore[index,union-attr]
            for j, what in enumerate(here) if all(run[j] for run in runs)}  # fmt: skip
    own, least = best.get("ours"), best.get("floor")
    for what, got in best.items():
        ratios = [f"{got[key] / own[key]:.1f}" if own else "" for key in ("cpu", "wall", "gb")]
        floors = f"{got['cpu'] / least['cpu']:.1f}" if least else ""
        answer = "" if what == "floor" else f"{got['att']:.6f} ({got['se']:.6f})"
        print(f"{file:5} {covariates:11} {what:12} {got['cpu']:7.2f} {got['wall']:7.2f} {got['gb']:5.2f} "
              f"{ratios[0]:>10} {ratios[1]:>6} {ratios[2]:>6} {floors:>7}   {answer}", flush=True)  # fmt: skip
        if own and what != "floor" and abs(got["att"] - own["att"]) > 1e-6 * abs(own["att"]):
            raise SystemExit(f"{what} and ours disagree: {got['att']} and {own['att']}")
        if own and what != "floor" and abs(got["se"] - own["se"]) > 1e-4 * own["se"]:
            raise SystemExit(f"standard errors of {what} and ours disagree: {got['se']} and {own['se']}")


if __name__ == "__main__":
    main()
