"""Matching, weighting, balance and AIPW from a Parquet file to the answer: ours, peers, and a floor.

    python tests/benchmarks/matching.py [--rows 1000000] [--repeat 3] [--python PEERS] [--only TASK ...] [--limit 600]

Every line is a process of its own, imports included; the repeats are interleaved and the minimum is kept. The floor
reads the same file and sorts one column. 10 % of the rows are treated; six covariates are normal and four have four
levels. Python peers (causalml, econml, DoubleML, psmpy, ebal, empirical_calibration, tableone) run where `--python`
(default: this one) can import them, R's MatchIt (coarsened exact only: the version of Debian 12 matches nearest
wrongly) and Matching where Rscript finds them. Mahalanobis with Abadie-Imbens errors is compared on a tenth of the
rows, as R takes minutes; a peer that is not done after `--limit` seconds is stopped and said so. Where two must agree
their answers are held against each other; the others are printed. Ratios travel, seconds do not.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from processes import importable, measure

NUMBERS, GROUPS = [f"x{i}" for i in range(6)], [f"c{i}" for i in range(4)]
NAMES = [*NUMBERS, *GROUPS]


def write(path: Path, rows: int) -> None:
    """n rows, about 10 % treated, six normal and four categorical covariates; also raw doubles for R."""
    import numpy as np
    import pandas as pd

    rng = np.random.default_rng(0)
    frame = pd.DataFrame({name: rng.normal(size=rows) for name in NUMBERS})
    codes = {name: rng.integers(0, 4, rows) for name in GROUPS}
    score = frame["x0"] + 0.5 * frame["x1"] - 2.8 + 0.2 * (codes["c0"] == 1)
    treated = (rng.random(rows) < 1 / (1 + np.exp(-score))).astype(int)
    y = frame["x0"] + 0.5 * frame["x2"] + treated + rng.normal(size=rows)
    raw = np.column_stack([treated, y, frame, *codes.values()]).astype(float)
    raw.T.tofile(path.with_suffix(".bin"))
    for name, code in codes.items():
        frame[name] = pd.Categorical.from_codes(code, list("abcd"))
    frame.assign(treated=treated, y=y, id=np.arange(rows)).to_parquet(path, index=False)


def read(path: str, *more: str):
    import pandas as pd

    return pd.read_parquet(path, columns=[*NAMES, "treated", *more])


def dummies(frame):
    """What peers without categories need."""
    import pandas as pd

    return pd.get_dummies(frame[NAMES], columns=GROUPS, drop_first=True, dtype=float)


# -- the contestants: a Parquet file in, one number out --


def floor(path: str) -> float:
    import numpy as np

    return float(np.argsort(read(path)["x0"].to_numpy(), kind="stable")[0])


def nearest(path: str) -> float:
    import attribution as at

    design = at.match(read(path, "id"), "treated", covariates=NAMES, caliper_sd=0.2, key="id")
    return float(len(design.pairs))


def nearest_psmpy(path: str) -> float:
    from psmpy import PsmPy

    frame = read(path, "id")
    psm = PsmPy(dummies(frame).assign(treated=frame["treated"], id=frame["id"]), treatment="treated", indx="id")
    psm.logistic_ps(balance=False)
    psm.kdtree_matched(matcher="propensity_logit", replacement=False, caliper=0.2, drop_unmatched=True)
    return float(len(psm.matched_ids))


def with_score(path: str):
    from sklearn.linear_model import LogisticRegression

    frame = read(path)
    x = dummies(frame)
    frame["score"] = LogisticRegression(C=1e6).fit(x, frame["treated"]).decision_function(x)
    return frame


def nearest_causalml(path: str) -> float:
    from causalml.match import NearestNeighborMatch

    matched = NearestNeighborMatch(caliper=0.2, replace=False, ratio=1).match(
        data=with_score(path), treatment_col="treated", score_cols=["score"])  # fmt: skip
    return float(matched["treated"].sum())


def replace(path: str) -> float:
    import attribution as at

    return float(len(at.match(read(path, "id"), "treated", covariates=NAMES, replace=True, key="id").pairs))


def replace_causalml(path: str) -> float:
    from causalml.match import NearestNeighborMatch

    matched = NearestNeighborMatch(caliper=100.0, replace=True, ratio=1).match(
        data=with_score(path), treatment_col="treated", score_cols=["score"])  # fmt: skip
    return float(matched["treated"].sum())


def mahalanobis(path: str) -> float:
    import attribution as at

    design = at.match(read(path, "id"), "treated", covariates=NUMBERS, distance="mahalanobis", replace=True, key="id")
    return float(len(design.pairs))


def mahalanobis_causalml(path: str) -> float:
    """Its distance is Euclidean on scaled columns: on whitened ones that is Mahalanobis."""
    import numpy as np
    from causalml.match import NearestNeighborMatch

    frame = read(path)
    x = frame[NUMBERS].to_numpy()
    frame[NUMBERS] = x @ np.linalg.inv(np.linalg.cholesky(np.cov(x, rowvar=False))).T
    matched = NearestNeighborMatch(caliper=100.0, replace=True, ratio=1).match(
        data=frame, treatment_col="treated", score_cols=NUMBERS)  # fmt: skip
    return float(matched["treated"].sum())


def mahalanobis_errors(path: str) -> float:
    import attribution as at

    design = at.match(read(path, "y", "id"), "treated", covariates=NUMBERS, distance="mahalanobis_total",
                      replace=True, ties="all", key="id")  # fmt: skip
    return float(at.att(design, "y").estimate[0])


def coarsened(path: str) -> float:
    import attribution as at

    return float(at.stratify(read(path), "treated", covariates=NAMES, method="coarsened").matched.sum())


def balance(path: str) -> float:
    import attribution as at

    frame = read(path)
    design = at.Design(
        estimand="ATT", units=frame, treatment="treated", covariates=tuple(NAMES), weights=frame["x3"].to_numpy() ** 2,
        pairs=frame[:0], strata=frame.index.to_numpy(), discarded=frame["x0"].to_numpy() > 9,
        unmatched=frame["x0"].to_numpy() > 9,
    )  # fmt: skip
    return at.balance(design).worst_smd


def balance_causalml(path: str) -> float:
    from causalml.match import create_table_one

    frame = read(path)
    x = dummies(frame)
    return float(create_table_one(x.assign(treated=frame["treated"]), "treated", list(x)).shape[0])


def balance_tableone(path: str) -> float:
    from tableone import TableOne

    table = TableOne(read(path), columns=NAMES, categorical=GROUPS, groupby="treated", pval=False, smd=True)
    return float(len(table.tableone))


def entropy(path: str) -> float:
    import attribution as at

    design = at.weight(read(path, "y"), "treated", covariates=NAMES, method="entropy")
    return float(at.att(design, "y", vcov="m_estimation").estimate[0])


def entropy_ebal(path: str) -> float:
    from ebal import ebal_bin

    frame = read(path, "y")
    fit = ebal_bin(print_level=-1, PCA=False).ebalance(frame["treated"], dummies(frame), frame["y"])
    return float(fit["wls"].params.iloc[-1] if hasattr(fit["wls"].params, "iloc") else fit["wls"].params[-1])


def entropy_calibration(path: str) -> float:
    """Weights alone: it has no standard error."""
    import empirical_calibration as ec

    frame = read(path, "y")
    x, ones = dummies(frame).to_numpy(), (frame["treated"] == 1).to_numpy()
    weights, _ = ec.calibrate(x[~ones], x[ones], objective=ec.Objective.ENTROPY)
    y = frame["y"].to_numpy()
    return float(y[ones].mean() - weights @ y[~ones])


def doubly_robust(path: str) -> float:
    from sklearn.linear_model import LinearRegression, LogisticRegression

    import attribution as at

    effect = at.aipw(read(path, "y", "id"), "treated", outcome="y", covariates=NAMES, folds=5, key="id",
                     outcome_model=LinearRegression(), propensity_model=LogisticRegression(C=1e6))  # fmt: skip
    return float(effect.estimate[0])


def doubly_robust_econml(path: str) -> float:
    from econml.dr import LinearDRLearner
    from sklearn.linear_model import LinearRegression, LogisticRegression

    frame = read(path, "y")
    learner = LinearDRLearner(model_propensity=LogisticRegression(C=1e6), model_regression=LinearRegression(), cv=5,
                              random_state=0)  # fmt: skip
    learner.fit(frame["y"].to_numpy(), frame["treated"].to_numpy(), X=None, W=dummies(frame).to_numpy())
    return float(learner.ate_inference().mean_point)


def doubly_robust_doubleml(path: str) -> float:
    import doubleml as dml
    from sklearn.linear_model import LinearRegression, LogisticRegression

    frame = read(path, "y")
    x = dummies(frame)
    data = dml.DoubleMLData(x.assign(y=frame["y"], treated=frame["treated"]), "y", "treated", x_cols=list(x))
    fit = dml.DoubleMLIRM(data, LinearRegression(), LogisticRegression(C=1e6), n_folds=5)
    return float(fit.fit().coef[0])


R_HEAD = """
p <- commandArgs(TRUE)[1]; v <- readBin(p, "double", file.size(p) / 8); d <- as.data.frame(matrix(v, ncol = 12))
names(d) <- c("treated", "y", paste0("x", 0:5), paste0("c", 0:3))
for (g in paste0("c", 0:3)) d[[g]] <- factor(d[[g]])
"""
R = {
    "MatchIt": 'suppressMessages(library(MatchIt)); f <- reformulate(names(d)[3:12], "treated"); '
               'cat(sum(matchit(f, data = d, method = "cem")$weights > 0))',
    "Matching": "suppressMessages(library(Matching)); "
                "m <- Match(d$y, d$treated, as.matrix(d[paste0('x', 0:5)]), M = 1, Weight = 2, tolerance = 0); "
                "cat(format(m$est[1], digits = 12))",
}  # fmt: skip

# task -> contestant -> what it runs; the first of each task is ours
TASKS = {
    "floor": {"floor": floor},
    "nearest 1:1, caliper, no replacement": {"ours": nearest, "causalml": nearest_causalml, "psmpy": nearest_psmpy},
    "nearest with replacement": {"ours": replace, "causalml": replace_causalml},
    "Mahalanobis with replacement": {"ours": mahalanobis, "causalml": mahalanobis_causalml},
    "Mahalanobis 1:1, Abadie-Imbens, tenth": {"ours": mahalanobis_errors, "Matching": None},
    "coarsened exact": {"ours": coarsened, "MatchIt": None},
    "balance table": {"ours": balance, "causalml": balance_causalml, "tableone": balance_tableone},
    "entropy balancing": {"ours": entropy, "ebal": entropy_ebal, "calibration": entropy_calibration},
    "AIPW, 5 folds": {"ours": doubly_robust, "econml": doubly_robust_econml, "DoubleML": doubly_robust_doubleml},
}
MODULES = {"causalml": "causalml", "psmpy": "psmpy", "econml": "econml", "DoubleML": "doubleml", "ebal": "ebal",
           "calibration": "empirical_calibration", "tableone": "tableone"}  # fmt: skip
MUST_AGREE = {  # to this part of ours
    ("Mahalanobis 1:1, Abadie-Imbens, tenth", "Matching"): 1e-6,
    ("coarsened exact", "MatchIt"): 1e-6,
    ("entropy balancing", "ebal"): 1e-3,  # stops where means differ by 1e-4
    ("entropy balancing", "calibration"): 1e-3,
}


def r_packages() -> list[str]:
    """R's packages that are installed here."""
    if not shutil.which("Rscript"):
        return []
    code = f"cat(Filter(function(p) requireNamespace(p, quietly = TRUE), c({', '.join(map(repr, R))})), sep = ',')"
    return subprocess.run(["Rscript", "-e", code], capture_output=True, text=True).stdout.split(",")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--python", default=sys.executable, help="interpreter that has the peers")
    parser.add_argument("--only", nargs="+", choices=TASKS, default=list(TASKS), metavar="TASK")
    parser.add_argument("--limit", type=float, default=600, help="seconds after which a peer is stopped")
    parser.add_argument("--without", nargs="+", default=[], metavar="PEER", help="peers to leave out")
    parser.add_argument("--one", nargs=3, metavar=("TASK", "WHAT", "PATH"), help=argparse.SUPPRESS)
    parser.add_argument("--write", nargs=2, metavar=("PATH", "ROWS"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.write:
        return write(Path(given.write[0]), int(given.write[1]))
    if given.one:
        task, what, path = given.one
        run = TASKS[task][what]
        assert run is not None
        print(run(path))
        return None
    here = {"ours", "floor", *importable(given.python, MODULES), *r_packages()} - set(given.without)
    peers = ", ".join(sorted(here - {"ours", "floor"})) or "none"
    print(f"{given.rows:,} rows, minimum of {given.repeat}; peers: {peers}")
    print(f"{'':38} {'':11} {'cpu s':>7} {'wall s':>7} {'GB':>5} {'x ours cpu':>10} {'wall':>6} {'GB':>6}   answer")
    with tempfile.TemporaryDirectory() as folder:
        whole, tenth = Path(folder) / "whole.parquet", Path(folder) / "tenth.parquet"
        for path, rows in ((whole, given.rows), (tenth, given.rows // 10)):
            subprocess.run([sys.executable, __file__, "--write", str(path), str(rows)], check=True)
        for task in given.only:
            path = tenth if "tenth" in task else whole
            everyone = [what for what in TASKS[task] if what in here]
            report(task, everyone, interleaved(task, everyone, given, path))
    return None


def interleaved(task: str, everyone: list[str], given: argparse.Namespace, path: Path) -> list[list]:
    """Every contestant once a round; who failed or was stopped is not asked again."""
    runs: list[list] = []
    for _ in range(given.repeat):
        last = runs[-1] if runs else [None] * len(everyone)
        runs.append([had if isinstance(had, str) else one(task, what, given, path)
                     for what, had in zip(everyone, last, strict=True)])  # fmt: skip
    return runs


def one(task: str, what: str, given: argparse.Namespace, path: Path):
    if what in R:
        return measure(["Rscript", "-e", R_HEAD + R[what], str(path.with_suffix(".bin"))], given.limit)
    python = given.python if what in MODULES else sys.executable
    return measure([python, __file__, "--one", task, what, str(path)], given.limit)


def report(task: str, everyone: list[str], runs: list) -> None:
    """Minimum of the repeats and ratios to ours; answers that must agree and do not stop the run."""
    best, answers = {}, {}
    for j, what in enumerate(everyone):
        failed = next((run[j] for run in runs if isinstance(run[j], str)), None)
        if failed is not None:
            print(f"{task:38} {what:11} {failed}", flush=True)
            continue
        best[what] = {key: min(run[j][0][key] for run in runs) for key in runs[0][j][0]}
        answers[what] = float(runs[0][j][1])
    own = best.get("ours")
    for what, got in best.items():
        ratios = [f"{got[key] / own[key]:.1f}" if own else "" for key in ("cpu", "wall", "gb")]
        print(f"{task:38} {what:11} {got['cpu']:7.2f} {got['wall']:7.2f} {got['gb']:5.2f} "
              f"{ratios[0]:>10} {ratios[1]:>6} {ratios[2]:>6}   {answers[what]:.10g}", flush=True)  # fmt: skip
        apart = abs(answers[what] - answers["ours"]) if own else 0.0
        if apart > MUST_AGREE.get((task, what), float("inf")) * abs(answers.get("ours", 0.0)):
            raise SystemExit(f"{what} and ours disagree: {answers[what]} and {answers['ours']}")


if __name__ == "__main__":
    main()
