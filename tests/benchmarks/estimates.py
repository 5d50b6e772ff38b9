"""CPU seconds of the estimates after a design, beside econml and DoubleML where installed.

python tests/benchmarks/estimates.py ROWS    (OMP_NUM_THREADS=1 for one thread)
"""

from __future__ import annotations

import resource
import sys
import time
from importlib.util import find_spec

import numpy as np
import pandas as pd
from matching import school
from sklearn.linear_model import LinearRegression, LogisticRegression

import attribution as at

FOLDS = 5


def econml(y, t, x):
    from econml.dr import LinearDRLearner

    learner = LinearDRLearner(model_regression=LinearRegression(), model_propensity=LogisticRegression(C=1e8),
                              cv=FOLDS)  # fmt: skip
    return learner.fit(y, t, X=None, W=x).ate(T0=0, T1=1)


def doubleml(y, t, x):
    from doubleml import DoubleMLData, DoubleMLIRM

    model = DoubleMLIRM(DoubleMLData.from_arrays(x, y, t), LinearRegression(), LogisticRegression(C=1e8), n_folds=FOLDS)
    return model.fit().coef[0]


def main(n: int) -> None:
    frame = school(n).assign(placed=lambda f: (f["y"] > 0.5).astype(int))
    names = [c for c in frame if c not in ("treated", "y", "placed")]
    design = at.match(frame, "treated", covariates=names, caliper_sd=0.2)
    calls = {
        f"aipw, {FOLDS} folds": lambda: at.aipw(frame, "treated", outcome="y", covariates=names, folds=FOLDS),
        "aipw in sample, stacked errors": lambda: at.aipw(frame, "treated", outcome="placed", covariates=names),
        "tmle": lambda: at.tmle(frame, "treated", outcome="placed", covariates=names),
        "g-computation after matching, by pair": lambda: at.g_computation(design, "placed"),
        "linear, CR2 by pair": lambda: at.g_computation(design, "y", model="linear", vcov="CR2"),
    }  # fmt: skip
    x = pd.get_dummies(frame[names], drop_first=True).to_numpy(float)
    y, t = frame["y"].to_numpy(), frame["treated"].to_numpy()
    for name, call in (("econml", econml), ("doubleml", doubleml)):
        if find_spec(name):
            calls[f"{name}, {FOLDS} folds"] = lambda call=call: call(y, t, x)
    rows = {}
    for name, call in calls.items():
        start = time.process_time()
        call()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        rows[name] = {"CPU s": time.process_time() - start, "peak GB so far": peak}
    table = pd.DataFrame(rows).T
    table["times ours"] = np.where(table.index.str.contains("folds"), table["CPU s"] / table["CPU s"].iloc[0], np.nan)
    sys.stdout.write(f"{n:,} rows\n{table.round(2).to_string(na_rep='')}\n")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
