"""The logit: R's glm to six digits, and refusals that name the covariate."""

import numpy as np
import pandas as pd
import polars as pl
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


def test_probit_is_statsmodels():
    from statsmodels.discrete.discrete_model import Probit

    frame = data("lalonde")
    fit = propensity(frame, "treat", ["age", "educ", "re74"], link="probit")
    exog = np.column_stack([np.ones(len(frame)), frame[["age", "educ", "re74"]]])
    peer = Probit(frame["treat"], exog).fit(disp=0, method="newton", tol=1e-12)
    np.testing.assert_allclose(fit.coefficients, peer.params, rtol=1e-6)
    np.testing.assert_allclose(fit.std_error, peer.bse, rtol=1e-6)
    np.testing.assert_allclose(fit.probability, peer.predict(exog), atol=1e-9)
    assert fit.log_likelihood == pytest.approx(peer.llf)
    np.testing.assert_allclose(1 / (1 + np.exp(-fit.logit)), fit.probability)


def test_with_a_key_the_order_of_rows_does_not_matter():
    frame = school(300)
    shuffled = frame.sample(frac=1, random_state=3)
    one, two = (propensity(f, "treated", ["x", "z", "b"], key="key") for f in (frame, shuffled))
    assert one.coefficients.equals(two.coefficients)
    back = pd.Series(two.probability, shuffled["key"]).loc[frame["key"]].to_numpy()
    assert (back == one.probability).all()


def test_equal_covariates_get_equal_scores():
    """Also in the last, odd block of rows."""
    frame = school(8_193).drop(columns="key").assign(c=lambda f: f["z"] ** 2)
    frame.loc[8_192, ["x", "z", "b", "c"]] = frame.loc[0, ["x", "z", "b", "c"]]
    score = propensity(frame, "treated", ["x", "z", "b", "c"])
    assert score.logit[0] == score.logit[8_192] and score.probability[0] == score.probability[8_192]


def fold_case(folds=5, **options):
    from sklearn.linear_model import LogisticRegression

    frame = school(300)
    frame["level"] = np.where(np.arange(300) == 7, "rare", "common")  # unseen in four of the five training samples
    model = LogisticRegression(C=1e6, tol=1e-10, max_iter=1000)
    return frame, propensity(frame, "treated", ["x", "z", "level"], model=model, folds=folds, key="key", **options)


def test_cross_fitting_predicts_from_the_other_folds():
    from sklearn.linear_model import LogisticRegression

    from attribution.design.propensity import fold_of

    frame, score = fold_case()
    t = frame["treated"].to_numpy() == 1
    fold = fold_of(frame["key"].to_numpy(), t, 5, 0)
    for arm in (t, ~t):
        sizes = np.bincount(fold[arm])
        assert sizes.max() - sizes.min() <= 1  # dealt evenly within each arm
    x = np.column_stack([frame[["x", "z"]], frame["level"] == "common", frame["level"] == "rare"])
    out = fold == 2
    peer = LogisticRegression(C=1e6, tol=1e-10, max_iter=1000).fit(x[~out], t[~out])
    np.testing.assert_allclose(score.probability[out], peer.predict_proba(x[out])[:, 1], atol=1e-5)
    assert score.spec == {"covariates": ("x", "z", "level"), "model": "LogisticRegression", "folds": 5, "seed": 0}
    assert "out of 5 folds (AUC" in score.summary() and score.tidy().empty


def test_cross_fitting_is_the_same_in_any_order_and_changes_with_the_seed():
    from sklearn.ensemble import RandomForestClassifier

    frame = school(200)
    shuffled = frame.sample(frac=1, random_state=1)

    def fit(f, seed=0):
        model = RandomForestClassifier(n_estimators=10, min_samples_leaf=20)
        return pd.Series(propensity(f, "treated", ["x", "z"], model=model, key="key", seed=seed).probability, f["key"])

    assert fit(frame).equals(fit(shuffled).loc[frame["key"]])
    assert not np.allclose(fit(frame), fit(frame, seed=1))


def test_cross_fitting_where_nothing_names_the_rows():
    """Content orders them; units alike in it could be told apart only by their row, and need a key."""
    from sklearn.ensemble import RandomForestClassifier

    frame, model = school(200), RandomForestClassifier(n_estimators=10, min_samples_leaf=20)
    scores = [pd.Series(propensity(pl.from_pandas(f), "treated", ["x", "z"], model=model).probability, f["key"])
              for f in (frame, frame.sample(frac=1, random_state=1))]  # fmt: skip
    assert scores[0].equals(scores[1].loc[frame["key"]])
    with pytest.raises(DesignError, match="key=, a column that tells units apart"):
        propensity(pl.from_pandas(frame.assign(x=1.0 * (frame["x"] > 0))), "treated", ["x", "b"], model=model)


def test_a_classifier_that_is_certain_is_refused_and_counted():
    from sklearn.tree import DecisionTreeClassifier

    with pytest.raises(DesignError, match=r"certain of some units \[\d+\] \(for example u\d+.*Calibrated"):
        propensity(school(200), "treated", ["x", "z"], model=DecisionTreeClassifier(), key="key")


@pytest.mark.parametrize(("options", "says"), [
    ({"model": object()}, "predict_proba"), ({"link": "cauchit"}, "logit"), ({"key": "cell"}, "one row a key"),
])  # fmt: skip
def test_bad_options(options, says):
    with pytest.raises(DesignError, match=says):
        propensity(school(200), "treated", ["x"], **options)


@pytest.mark.parametrize("folds", [1, 250])
def test_bad_folds(folds):
    with pytest.raises(DesignError, match=f"{folds} folds"):
        fold_case(folds=folds)
