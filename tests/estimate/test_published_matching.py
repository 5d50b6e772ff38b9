"""Imbens & Xu 2024, table LDW: nearest-neighbour matching of the NSW trainees with CPS-1 and PSID-1 men."""

import pandas as pd
import pytest

from attribution.design.match import match
from attribution.estimate.att import att

COVARIATES = ["age", "education", "nodegree", "married", "black", "hispanic", "re74", "re75", "u74", "u75"]


@pytest.mark.parametrize(("pool", "estimate", "std_error"), [("cps1", 1729, 815), ("psid1", 2255, 1404)])
def test_five_neighbours_bias_corrected(external, pool, estimate, std_error):
    """Published figures, to the dollar. The experiment says 1,794: against PSID-1 the standard error says it all."""
    men = pd.read_parquet(external / "data" / "lalonde_men.parquet")
    trainees = (men["sample"] == "nsw") & (men["dw"] == 1) & (men["treated"] == 1)
    men = men[trainees | (men["sample"] == pool)]
    men = men.assign(trainee=(men["sample"] == "nsw").astype(int), u74=(men["re74"] == 0) * 1.0,
                     u75=(men["re75"] == 0) * 1.0)  # fmt: skip
    design = match(men, "trainee", covariates=COVARIATES, distance="scaled_euclidean", ratio=5, replace=True,
                   ties="all")  # fmt: skip
    ours = att(design, "re78", bias_correction=COVARIATES)
    assert round(ours.estimate[0]) == estimate
    assert round(ours.std_error[0]) == std_error
