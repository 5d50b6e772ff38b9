"""The search behind a match: only rows within reach matter, and the order of rows is all that decides ties."""

import numpy as np
import pytest
from matching_reference import school

from attribution.design.match import match
from attribution.design.matching.search import search_of
from attribution.estimate.tie_range import _score


@pytest.mark.parametrize("options", [
    {"caliper_sd": 0.05}, {"caliper_sd": 0.05, "replace": True}, {"caliper_sd": 0.1, "exact": ["z"]},
    {"caliper_sd": 0.1, "replace": True, "ties": "all"}, {"distance": "mahalanobis", "caliper_sd": {"logit": 0.1}},
])  # fmt: skip
def test_rows_out_of_reach_change_nothing(options):
    frame = school(300).assign(z=lambda f: f["z"].round())
    design = match(frame, "treated", covariates=["x", "z"], **options)
    n = len(frame)
    search = search_of(frame, "treated", design.covariates, design.spec, "treated", _score(design), np.arange(n),
                       design.treated)  # fmt: skip
    rows = search.within_reach()
    focal, partner, _ = search.among(rows).pairs()
    assert sorted(zip(rows[focal], rows[partner], strict=True)) == sorted(
        zip(design.pairs["treated"], design.pairs["comparison"], strict=True))  # fmt: skip
    assert options.get("distance") or len(rows) < n
