"""G-computation and risk ratios after `weight`, with the weights' own equations stacked: WeightIt's figures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from matching_reference import LALONDE, case, data

import attribution as at

pytest.importorskip("attribution.design.weight")
DESIGNS = {"ipw_att_lalonde": {"method": "ipw"}, "ipw_ate_lalonde": {"method": "ipw", "target": "all"},
           "ipw_ato_lalonde": {"method": "overlap"}}  # fmt: skip


def compare(name, results):
    design = at.weight(data("lalonde"), "treat", covariates=LALONDE, **DESIGNS[name])
    for scale, key in (("difference", "rd"), ("ratio", "ln_rr")):
        found, expected = at.g_computation(design, "emp78", adjust=[], scale=scale), results["binary_effect"][key]
        assert found.estimate[0] == pytest.approx(expected["est"], rel=1e-6)
        assert found.std_error[0] == pytest.approx(expected["se"], rel=1e-5)
    if design.target == "overlap":  # WeightIt's example averages over everyone here, not over the overlap
        design = replace(design, target="all")
    found, expected = at.g_computation(design, "re78", model="linear"), results["effect"]["weighted_regression_gcomp"]
    assert found.estimate[0] == pytest.approx(expected["est"], rel=1e-6)
    assert found.std_error[0] == pytest.approx(expected["se"], rel=1e-5)


@pytest.mark.parametrize("name", DESIGNS)
def test_reference(name):
    compare(name, case(name)["results"])


@pytest.mark.parametrize("path", [("binary_effect", "rd"), ("binary_effect", "ln_rr"),
                                  ("effect", "weighted_regression_gcomp")])  # fmt: skip
@pytest.mark.parametrize("figure", ["est", "se"])
def test_canary(path, figure):
    results = case("ipw_ate_lalonde")["results"]
    results[path[0]][path[1]][figure] *= 1.0001
    with pytest.raises(AssertionError):
        compare("ipw_ate_lalonde", results)


def test_without_covariates_it_is_the_weighted_difference():
    design = at.weight(data("lalonde"), "treat", covariates=LALONDE, method="cbps")
    ours = at.g_computation(design, "re78", adjust=[], model="linear")
    theirs = at.att(design, "re78", vcov="m_estimation")
    np.testing.assert_allclose([ours.estimate[0], ours.std_error[0]], [theirs.estimate[0], theirs.std_error[0]],
                               rtol=1e-9)  # fmt: skip
