"""Cluster-robust errors: clubSandwich's figures, the definition by brute force, the jackknife, one cluster refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matching_reference import case
from places import ROOT
from scipy.linalg import sqrtm

from attribution.errors import EstimationError
from attribution.estimate.clustered import cluster_scores, satterthwaite_dof
from attribution.estimate.glm import regress

DARFUR = ROOT / "data" / "external" / "reference" / "match" / "data" / "darfur.csv"
KINDS = ("CR0", "CR1", "CR1S", "CR2", "CR3")


@pytest.fixture(scope="module")
def darfur():
    if not DARFUR.exists():
        pytest.skip(f"{DARFUR.name} (GPL package, not in git) is not in data/external/reference/match/data")
    frame = pd.read_csv(DARFUR)
    names = ["directlyharmed", "age", "farmer_dar", "herder_dar", "pastvoted", "hhsize_darfur", "female"]
    x = np.column_stack([np.ones(len(frame)), frame[names].to_numpy(float)])
    return x, frame["peacefactor"].to_numpy(), frame["village"].to_numpy()


def compare(x, y, village, results):
    one = np.ones(len(y))
    fit = regress(x, y, family="linear")
    assert fit.coefficients[1] == pytest.approx(results["est"], rel=1e-6)
    for kind in KINDS:
        scores = cluster_scores(x, fit.residual, one, village, kind)
        assert np.sqrt((scores[:, 1] ** 2).sum()) == pytest.approx(results["se"][kind], rel=1e-6)
    assert results["se_vcovCL_HC1"] == results["se"]["CR1S"]
    dof = satterthwaite_dof(x, one, village, np.eye(8)[:, [1]])
    assert dof[0] == pytest.approx(results["satterthwaite_df_CR2"], rel=1e-6)


def test_reference(darfur):
    compare(*darfur, case("cluster_se_darfur")["results"])


@pytest.mark.parametrize("path", [("est",), ("satterthwaite_df_CR2",), *(("se", kind) for kind in KINDS)])
def test_canary(darfur, path):
    results = case("cluster_se_darfur")["results"]
    holder = results
    for step in path[:-1]:
        holder = holder[step]
    holder[path[-1]] *= 1.0001
    with pytest.raises(AssertionError):
        compare(*darfur, results)


def small(n=40, groups=7, seed=0):
    rng = np.random.default_rng(seed)
    x = np.column_stack([np.ones(n), rng.normal(size=(n, 2))])
    return x, rng.normal(size=n), rng.uniform(0.2, 3, n), rng.integers(0, groups, n)


def test_cr2_and_its_degrees_of_freedom_by_their_definition():
    x, y, w, g = small()
    fit = regress(x, y, w, family="linear")
    bread = np.linalg.inv(x.T * w @ x)
    rest = np.eye(len(y)) - x @ bread @ x.T * w
    cov, pulls = np.zeros((3, 3)), []
    for k in np.unique(g):
        own = g == k
        root = np.linalg.inv(np.real(sqrtm(rest[own] @ rest[own].T)))
        pull = root @ (w[own][:, None] * x[own]) @ bread
        score = pull.T @ fit.residual[own]
        cov += np.outer(score, score)
        pulls.append(rest[own].T @ pull[:, 1])
    scores = cluster_scores(x, fit.residual, w, g, "CR2")
    np.testing.assert_allclose(scores.T @ scores, cov, rtol=1e-9)
    gram = np.array(pulls) @ np.array(pulls).T
    dof = satterthwaite_dof(x, w, g, np.eye(3)[:, [1]])
    assert dof[0] == pytest.approx(np.trace(gram) ** 2 / (gram**2).sum(), rel=1e-9)


def test_cr3_is_the_jackknife():
    x, y, w, g = small(seed=1)
    fit = regress(x, y, w, family="linear")
    left_out = [regress(x[g != k], y[g != k], w[g != k], family="linear").coefficients for k in np.unique(g)]
    np.testing.assert_allclose(cluster_scores(x, fit.residual, w, g, "CR3"), fit.coefficients - left_out, rtol=1e-8)


def test_one_cluster_and_a_coefficient_of_one_cluster_are_refused():
    x, y, w, g = small()
    with pytest.raises(EstimationError, match="two clusters"):
        cluster_scores(x, y, w, np.zeros(len(y)), "CR1")
    with pytest.raises(EstimationError, match="single cluster"):
        cluster_scores(np.column_stack([x, g == 0]), y, w, g, "CR3")
