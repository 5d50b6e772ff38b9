"""Readers of tests/reference/match, shared by the tests of design, estimate and stress."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from attribution.results import Design

FOLDER = Path(__file__).resolve().parent / "reference" / "match"
LALONDE = ["age", "educ", "race", "married", "nodegree", "re74", "re75"]
PSID = ["age", "age2", "educ", "black", "hisp", "married", "nodegree", "re74", "re75", "u74", "u75"]
CASES = {
    "nn1_noreplace_lalonde": {},
    "nn1_noreplace_caliper_lalonde": {"caliper_sd": 0.2},
    "nn1_exactwithin_lalonde": {"exact": ["race", "nodegree"]},
    "nn1_noreplace_caliper_nsw_psid": {"caliper_sd": 0.2},
    "nn1_replace_lalonde": {"replace": True},
    "nn1_replace_nsw_psid": {"replace": True},
    "nn2_replace_lalonde": {"replace": True, "ratio": 2},
}
WEIGHTINGS = {  # options of `weight` behind each reference case
    "ipw_att_lalonde": {"method": "ipw"},
    "ipw_ate_lalonde": {"method": "ipw", "target": "all"},
    "ipw_ato_lalonde": {"method": "overlap"},
    "ebal_att_lalonde": {"method": "entropy"},
    "ebal_att_nsw_psid": {"method": "entropy"},
    "cbps_att_lalonde": {"method": "cbps"},
}


def case(name: str) -> dict:
    return json.loads((FOLDER / f"{name}.json").read_text())


def data(name: str) -> pd.DataFrame:
    frame = pd.read_csv(FOLDER / "data" / f"{name}.csv")
    if name == "nsw_psid":
        frame["age2"] = frame["age"] ** 2
    return frame


def dataset(case_name: str) -> str:
    return "nsw_psid" if case_name.endswith("nsw_psid") else "lalonde"


def covariates(case_name: str) -> list[str]:
    return PSID if case_name.endswith("nsw_psid") else LALONDE


def peer_design(case_name: str) -> Design:
    """MatchIt's own pairs, weights and subclasses as a Design: what we compute from it must equal R's figures."""
    found, units = case(case_name), data(dataset(case_name))
    weights, strata = np.zeros(len(units)), np.full(len(units), -1)
    for unit, weight in found["weights"].items():
        weights[int(unit) - 1] = weight
    if "subclass" in found:
        for unit, label in found["subclass"].items():
            strata[int(unit) - 1] = label
    else:
        strata = np.where(weights > 0, np.arange(len(units)), -1)
    pairs = pd.DataFrame(np.array(found["pairs"]) - 1, columns=["treated", "comparison"])
    return Design(
        estimand="ATT", units=units, treatment="treat", covariates=tuple(covariates(case_name)), weights=weights,
        pairs=pairs, strata=strata, discarded=np.zeros(len(units), bool), unmatched=weights == 0,
    )  # fmt: skip


def school(n: int, seed: int = 0, effect: float = 0.0) -> pd.DataFrame:
    """Simulated selection on observables: two normal covariates, one binary, a quarter to a third treated."""
    rng = np.random.default_rng(seed)
    x, z, b = rng.normal(size=n), rng.normal(size=n), rng.integers(0, 2, n)
    treated = (rng.random(n) < 1 / (1 + np.exp(1.2 - 0.6 * x - 0.4 * b))).astype(int)
    y = x + 0.5 * z + 0.5 * b + effect * treated + rng.normal(size=n)
    frame = pd.DataFrame({"x": x, "z": z, "b": b, "treated": treated, "y": y})
    return frame.assign(key=[f"u{i:06d}" for i in range(n)], cell=rng.integers(0, 4, n))
