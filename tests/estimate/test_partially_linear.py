"""Partially linear regression: DoubleML's figure, least squares in sample, recovery, refusal."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from matching_reference import LALONDE, case, data, school

import attribution as at
from attribution.errors import EstimationError


def compare(expected):
    frame = data("lalonde")
    frame["fold"] = np.arange(len(frame)) % 5
    found = at.partially_linear(frame, "treat", outcome="re78", covariates=LALONDE, fold="fold")
    assert found.estimate[0] == pytest.approx(expected["est"], rel=1e-6)
    assert found.std_error[0] == pytest.approx(expected["se"], rel=1e-5)


def test_doubleml():
    compare(case("dml_lalonde")["results"]["plr_linear"])


@pytest.mark.parametrize("figure", ["est", "se"])
def test_canary(figure):
    expected = case("dml_lalonde")["results"]["plr_linear"]
    expected[figure] *= 1.0001
    with pytest.raises(AssertionError):
        compare(expected)


def test_in_sample_it_is_least_squares():
    frame = school(400, effect=0.7)
    found = at.partially_linear(frame, "treated", outcome="y", covariates=["x", "z", "b"], folds=0)
    peer = sm.OLS(frame["y"], sm.add_constant(frame[["treated", "x", "z", "b"]])).fit(cov_type="HC0")
    assert found.estimate[0] == pytest.approx(peer.params["treated"], rel=1e-9)
    assert found.std_error[0] == pytest.approx(peer.bse["treated"], rel=1e-9)


def test_recovers_a_constant_effect():
    rows = []
    for seed in range(60):
        frame = school(500, seed=seed, effect=0.5)
        found = at.partially_linear(frame, "treated", outcome="y", covariates=["x", "z", "b"], key="key")
        low, high = found.conf_int()
        rows.append((found.estimate[0] - 0.5, found.std_error[0], low[0] <= 0.5 <= high[0]))
    error, se, covered = np.array(rows).T
    assert abs(error.mean()) < 4 * error.std(ddof=1) / np.sqrt(60)
    assert se.mean() / error.std(ddof=1) == pytest.approx(1, abs=4 / np.sqrt(120))
    assert covered.mean() > 0.95 - 4 * np.sqrt(0.05 * 0.95 / 60)


def test_a_treatment_that_the_covariates_tell_is_refused():
    frame = school(300).assign(copy=lambda f: f["treated"])
    with pytest.raises(EstimationError, match="predict perfectly"):
        at.partially_linear(frame, "treated", outcome="y", covariates=["x", "copy"])
