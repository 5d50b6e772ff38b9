"""The regressions behind g-computation and AIPW against statsmodels; separation, collinearity."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm

from attribution.errors import EstimationError
from attribution.estimate.glm import regress

LINKS = {"logit": sm.families.links.Logit, "probit": sm.families.links.Probit}


def sample(n=300, seed=0):
    rng = np.random.default_rng(seed)
    x = np.column_stack([np.ones(n), rng.normal(size=n), 1e5 + 1e3 * rng.normal(size=n)])
    y = (rng.random(n) < 1 / (1 + np.exp(-x[:, 1]))).astype(float)
    return x, y, rng.uniform(0.1, 4, n)


@pytest.mark.parametrize("family", LINKS)
def test_statsmodels_finds_the_same(family):
    x, y, w = sample()
    fit = regress(x, y, w, family=family)
    binomial = sm.families.Binomial(LINKS[family]())
    peer = sm.GLM(y, x, family=binomial, var_weights=w).fit(tol=1e-14, tol_criterion="params")
    np.testing.assert_allclose(fit.coefficients, peer.params, rtol=1e-6)
    information = -peer.model.hessian(peer.params)  # observed
    np.testing.assert_allclose(fit.bread, np.linalg.inv(information), rtol=1e-5)
    np.testing.assert_allclose((x * fit.u[:, None]).sum(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(fit.mean(x), peer.fittedvalues, rtol=1e-7)
    half = (y + 1) / 3  # shares, as TMLE asks for
    other = sm.GLM(half, x, family=binomial, var_weights=w).fit(tol=1e-14, tol_criterion="params")
    warm = regress(x, half, w, family=family, start=fit.coefficients)
    np.testing.assert_allclose(warm.mean(x), other.fittedvalues, rtol=1e-6)


def test_least_squares():
    x, y, w = sample()
    fit = regress(x, y, w, family="linear")
    peer = sm.WLS(y, x, weights=w).fit()
    np.testing.assert_allclose(fit.coefficients, peer.params, rtol=1e-7)
    np.testing.assert_allclose(fit.bread, peer.normalized_cov_params, rtol=1e-7)
    hat = x @ np.linalg.inv(x.T * w @ x) @ x.T * w
    np.testing.assert_allclose(fit.lever(x), np.diag(hat), rtol=1e-7)


def test_a_level_whose_outcomes_are_alike_is_fitted_at_its_limit_and_counted():
    rng = np.random.default_rng(0)
    level = np.repeat([0.0, 1.0], [80, 20])
    y = np.where(level == 1, 1.0, (rng.random(100) < 0.4).astype(float))
    x = np.column_stack([np.ones(100), level])
    fit = regress(x, y, family="logit")
    assert fit.separated == 20
    np.testing.assert_allclose(fit.mean(x), np.where(level == 1, 1.0, y[:80].mean()), atol=1e-6)
    alone = regress(x[:80, :1], y[:80], family="logit")
    assert fit.bread[0, 0] == pytest.approx(alone.bread[0, 0], rel=1e-5)  # the runaway does not spoil the rest


def test_refusals():
    x, y, w = sample()
    with pytest.raises(EstimationError, match="told|fitted as 0 or 1"):
        regress(x, (x[:, 1] > 0).astype(float), family="logit")
    with pytest.raises(EstimationError, match="twice.* does not add anything among the treated"):
        regress(np.column_stack([x, 2 * x[:, 1]]), y, family="linear", names=["one", "a", "b", "twice"],
                where=" among the treated")  # fmt: skip
    with pytest.raises(EstimationError, match="does not add anything"):
        regress(np.column_stack([x, np.zeros(len(y))]), y, family="logit")
