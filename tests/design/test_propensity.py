"""The logit: R's glm to six digits, and refusals that name the covariate."""

import numpy as np
import pandas as pd
import pytest
from matching_reference import LALONDE, PSID, case, data, school

from attribution.design.propensity import propensity
from attribution.errors import DesignError

FITS = {"ps_logit_lalonde": ("lalonde", LALONDE), "ps_logit_nsw_psid": ("nsw_psid", PSID)}


def fit_case(name):
    dataset, names = FITS[name]
    return propensity(data(dataset), "treat", names)


def compare(fit, found):
    r = found["results"]
    np.testing.assert_allclose(fit.coefficients, list(r["coef"].values()), rtol=1e-6)
    np.testing.assert_allclose(fit.std_error, list(r["se"].values()), rtol=1e-4)  # R: one iteration before the end
    np.testing.assert_allclose(fit.probability, found["ps"], atol=1e-7)
    np.testing.assert_allclose(fit.log_likelihood, r["loglik"], rtol=1e-8)
    np.testing.assert_allclose(fit.auc, r["auc"], rtol=1e-9)


@pytest.mark.parametrize("name", FITS)
def test_reference(name):
    fit = fit_case(name)
    assert fit.converged
    compare(fit, case(name))


@pytest.mark.parametrize("name", FITS)
def test_canary(name):
    """Each column of the reference, moved by one part in ten thousand of itself, must be noticed."""
    fit = fit_case(name)
    for path in ("coef", "se", "ps", "loglik", "auc"):
        found = case(name)
        if path == "ps":
            found["ps"] = [p + 1e-5 for p in found["ps"]]
        elif path in ("loglik", "auc"):
            found["results"][path] *= 1.0001
        else:
            found["results"][path] = {k: v * 1.001 for k, v in found["results"][path].items()}
        with pytest.raises(AssertionError):
            compare(fit, found)


def test_categories_use_sorted_or_own_order():
    frame = school(400)
    frame["level"] = np.array(["c", "a", "b"])[np.arange(400) % 3]
    assert list(propensity(frame, "treated", ["x", "level"]).coefficients.index) == [
        "intercept",
        "x",
        "level_b",
        "level_c",
    ]
    frame["level"] = pd.Categorical(frame["level"], categories=["unused", "c", "b", "a"], ordered=True)
    assert list(propensity(frame, "treated", ["x", "level"]).coefficients.index)[2:] == ["level_b", "level_a"]


def test_units_of_a_covariate_only_scale_its_coefficient():
    frame = school(500)
    plain = propensity(frame, "treated", ["x", "z"])
    scaled = propensity(frame.assign(x=frame["x"] * 1e6 + 1e8), "treated", ["x", "z"])
    np.testing.assert_allclose(scaled.coefficients["x"] * 1e6, plain.coefficients["x"], rtol=1e-8)
    np.testing.assert_allclose(scaled.probability, plain.probability, atol=1e-10)


@pytest.mark.parametrize(
    ("change", "column", "says"),
    [
        (lambda f: f.assign(w=1.0), "w", "constant"),
        (lambda f: f.assign(w=f["x"] + 2 * f["z"]), "w", "is fixed by x, z"),
        (lambda f: f.assign(w=f["treated"] * 2.0 + np.linspace(0, 1, len(f))), "w", "alone tells treated"),
        (lambda f: f.assign(w=f["treated"] * (np.arange(len(f)) % 2)), "w", "every comparison unit has w = 0"),
        (lambda f: f.assign(w=np.where(np.arange(len(f)) < 3, np.nan, f["z"] ** 2)), "w", "[3] (for example 0, 1, 2)"),
        (lambda f: f.assign(w=np.inf), "w", "infinite"),
        (lambda f: f.assign(w=pd.Timestamp("2024-01-01")), "w", "dates"),
    ],
)
def test_refusals_name_the_covariate(change, column, says):
    with pytest.raises(DesignError, match=".*") as error:
        propensity(change(school(300)), "treated", ["x", "z", "w"])
    assert error.value.column == column
    assert says in str(error.value)


def test_one_treated_unit_is_refused():
    frame = school(100).assign(treated=[1] + [0] * 99)
    with pytest.raises(DesignError, match="1 treated and 99 comparison"):
        propensity(frame, "treated", ["x"])
    with pytest.raises(DesignError, match="0 or 1"):
        propensity(frame.assign(treated=2), "treated", ["x"])


def test_separation_by_a_combination_is_refused():
    frame = school(300)
    frame["treated"] = (frame["x"] + frame["z"] > 0).astype(int)
    with pytest.raises(DesignError, match="does not converge"):
        propensity(frame, "treated", ["x", "z"])
