"""Omitted-variable bounds: DoubleML's figures, the algebra by hand, a jackknife, a confounder put in, refusals."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matching_reference import LALONDE, case, data, school

import attribution as at
from attribution.errors import EstimationError
from attribution.inference import normal_quantile

ROWS = {"irm_ATE": ("all", None), "irm_ATTE": ("treated", None), "plr_linear": (None, "linear"),
        "plr_logit": (None, "logit")}  # fmt: skip
DROPPED = {"age": ["age"], "race": ["race"], "earnings": ["re74", "re75"]}


def estimate(name, without=()):
    """As DoubleML was called: five fixed folds, probabilities moved to [0.01, 0.99]."""
    target, treatment_model = ROWS[name]
    frame = data("lalonde")
    frame["fold"] = np.arange(len(frame)) % 5
    options = {"outcome": "re78", "covariates": [c for c in LALONDE if c not in without], "fold": "fold"}
    if target is None:
        return at.partially_linear(frame, "treat", treatment_model=treatment_model, **options)
    return at.aipw(frame, "treat", target=target, clip=0.01, **options)


def error_of_the_ends(effect, moved, treated_known):
    """Standard errors of both ends; with the share treated taken for known, as DoubleML does."""
    scores, room = effect.scores[:, 0], effect.unrecorded
    theirs = room.scores
    if treated_known:
        t = np.asarray(data("lalonde")["treat"], float)
        theirs = theirs + room.largest * (t / t.mean() - 1) / len(t)
    return [np.linalg.norm(scores + side * moved * theirs) for side in (-1, 1)]


def compare(name, result, scenario):
    effect = estimate(name)
    found = at.omitted_variable_bounds(effect, r2_outcome=scenario["cf_y"], r2_treatment=scenario["cf_d"],
                                       rho=scenario["rho"], null=scenario["null"], level=scenario["level"])  # fmt: skip
    row = found.table.iloc[0]
    theta = result["theta"]
    np.testing.assert_allclose([row["bound_low"], row["bound_high"]], [theta["lower"], theta["upper"]], rtol=1e-5)
    assert found.robustness_value == pytest.approx(result["rv"], abs=2e-6)  # its minimiser stops there
    moved = scenario["rho"] * scenario["cf_d"] ** 0.5 * scenario["cf_y"] ** 0.5 / (1 - scenario["cf_d"]) ** 0.5
    known = name == "irm_ATTE"
    low, high = error_of_the_ends(effect, moved, known)
    if not known:
        np.testing.assert_allclose([row["std_error_low"], row["std_error_high"]], [low, high], rtol=1e-12)
    if "se" in result:
        np.testing.assert_allclose([high, low], [result["se"]["lower"], result["se"]["upper"]], rtol=1e-3)
    z = normal_quantile(scenario["level"])
    ends = [theta["lower"] - z * high, theta["upper"] + z * low]  # its ends with the errors it gives them
    np.testing.assert_allclose(ends, [result["ci"]["lower"], result["ci"]["upper"]], rtol=1e-3)
    rva = result["rva"]
    if found.robustness_value_ci == 0:
        assert rva < 1e-2 * result["rv"] + 1e-3  # a minimiser looking for the edge of [0, 1)
        return
    moved = scenario["rho"] * rva / np.sqrt(1 - rva)  # at its value its own interval touches the null
    above = result["est"] > scenario["null"]
    wrong = error_of_the_ends(effect, moved, known)[1 if above else 0]
    end = result["est"] - (1 if above else -1) * (moved * effect.unrecorded.largest + z * wrong)
    assert end == pytest.approx(scenario["null"], abs=2e-3 * effect.std_error[0])


SCENARIOS = case("dml_sensitivity_lalonde")["scenarios"]


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("name", ROWS)
def test_doubleml(name, scenario):
    results = case("dml_sensitivity_lalonde")["results"][name]
    compare(name, results[scenario] | {"est": results["est"]}, SCENARIOS[scenario])
    room = estimate(name).unrecorded
    np.testing.assert_allclose([room.noise, room.leverage], [results["sigma2"], results["nu2"]], rtol=1e-5)


@pytest.mark.parametrize("name", ["irm_ATE", "irm_ATTE"])
def test_doubleml_as_given(name):
    results = case("dml_lalonde")["results"][name]
    compare(name, results["sensitivity_cf03"] | {"est": results["est"]}, SCENARIOS["cf03"])


@pytest.mark.parametrize("path", [("theta", "lower"), ("theta", "upper"), ("ci", "lower"), ("ci", "upper"), ("rv",)])
@pytest.mark.parametrize("name", ["irm_ATE", "irm_ATTE"])
def test_canary(name, path):
    results = case("dml_lalonde")["results"][name]
    result = results["sensitivity_cf03"]
    inner = result if len(path) == 1 else result[path[0]]
    inner[path[-1]] *= 1.0001 if path[0] == "theta" else 1.01
    with pytest.raises(AssertionError):
        compare(name, result | {"est": results["est"]}, SCENARIOS["cf03"])


@pytest.mark.parametrize("path", [("se", "lower"), ("se", "upper"), ("rva",)])
@pytest.mark.parametrize("name", ROWS)
def test_canary_of_errors(name, path):
    results = case("dml_sensitivity_lalonde")["results"][name]
    result = results["null"]
    inner = result if len(path) == 1 else result[path[0]]
    inner[path[-1]] *= 1.01
    with pytest.raises(AssertionError):
        compare(name, result | {"est": results["est"]}, SCENARIOS["null"])


def compare_benchmarks(name, theirs):
    shorter = {label: estimate(name, without) for label, without in DROPPED.items()}
    effect = estimate(name)
    if name == "irm_ATE":  # without race the probabilities are so far off that E[alpha^2] comes out negative
        with pytest.raises(EstimationError, match="benchmark 'race'"):
            at.omitted_variable_bounds(effect, r2_outcome=0.03, r2_treatment=0.03, benchmarks=shorter)
        del shorter["race"]
    found = at.omitted_variable_bounds(effect, r2_outcome=0.03, r2_treatment=0.03, benchmarks=shorter)
    rows = found.table.iloc[1:].set_index("covariate")
    for label, row in rows.iterrows():
        np.testing.assert_allclose([row["r2_outcome"], row["r2_treatment"]],
                                   [theirs[label]["cf_y"], theirs[label]["cf_d"]], rtol=1e-4, atol=1e-8)  # fmt: skip
        assert np.isnan(row["bound_low"]) == (min(theirs[label]["cf_y"], theirs[label]["cf_d"]) == 0)
        moved = effect.estimate[0] - row["estimate_without"]
        assert abs(moved) == pytest.approx(abs(theirs[label]["delta_theta"]), rel=1e-3)


@pytest.mark.parametrize("name", ROWS)
def test_benchmarks_of_doubleml(name):
    compare_benchmarks(name, case("dml_sensitivity_lalonde")["results"][name]["benchmarks"])


@pytest.mark.parametrize("figure", ["cf_y", "cf_d", "delta_theta"])
def test_canary_of_benchmarks(figure):
    theirs = case("dml_sensitivity_lalonde")["results"]["irm_ATTE"]["benchmarks"]
    theirs["earnings"][figure] *= 1.01
    with pytest.raises(AssertionError):
        compare_benchmarks("irm_ATTE", theirs)


def test_by_hand():
    """One cell, half treated: effect 2, noise 1, alpha = +-2, so S = 2; 0.2 and 0.2 move it by 2 x 0.1 / sqrt(0.2)...

    C_Y C_D = sqrt(0.2 x 0.2 / 0.8) = 0.2236, S C_Y C_D = 0.4472. Robustness: r^2 / (1 - r) = 1, r = 0.618.
    """
    frame = pd.DataFrame({"t": [0, 0, 1, 1] * 2, "b": [0, 0, 0, 0, 1, 1, 1, 1], "y": [-1.0, 1, 1, 3] * 2})
    effect = at.aipw(frame, "t", outcome="y", covariates=["b"])
    found = at.omitted_variable_bounds(effect, r2_outcome=0.2, r2_treatment=0.2)
    row = found.table.iloc[0]
    np.testing.assert_allclose([row["bound_low"], row["bound_high"]], [2 - 0.2**0.5, 2 + 0.2**0.5], rtol=1e-7)
    assert found.robustness_value == pytest.approx((5**0.5 - 1) / 2)
    half = at.omitted_variable_bounds(effect, r2_outcome=0.2, r2_treatment=0.2, rho=0.5).table.iloc[0]
    assert half["bound_low"] == pytest.approx(2 - 0.2**0.5 / 2)
    treated = at.aipw(frame, "t", outcome="y", covariates=["b"], target="treated")
    assert treated.unrecorded.largest == pytest.approx(2)


@pytest.mark.parametrize("target", ["all", "treated"])
def test_errors_of_the_ends_by_leaving_out_one(target):
    """Both models held, as they are orthogonal; outcomes so skewed that estimate and room move together."""
    rng = np.random.default_rng(1)
    n = 1_500
    x = rng.normal(size=n)
    t = rng.random(n) < 1 / (1 + np.exp(1 - 0.6 * x))
    frame = pd.DataFrame({"x": x, "t": t.astype(int), "y": x + 0.5 * t + rng.exponential(1, n) * (1 + 1.5 * t)})
    effect = at.aipw(frame, "t", outcome="y", covariates=["x"], target=target, std_error="influence")
    row = at.omitted_variable_bounds(effect, r2_outcome=0.25, r2_treatment=0.25).table.iloc[0]
    import statsmodels.api as sm

    one, y = sm.add_constant(x), frame["y"].to_numpy()
    p = sm.Logit(t.astype(float), one).fit(disp=0).predict(one)
    m1, m0 = (sm.OLS(y[arm], one[arm]).fit().predict(one) for arm in (t, ~t))
    square = (y - np.where(t, m1, m0)) ** 2
    if target == "all":
        effects = m1 - m0 + t * (y - m1) / p - ~t * (y - m0) / (1 - p)
        leverage, share = 2 / (p * (1 - p)) - np.where(t, 1 / p, 1 / (1 - p)) ** 2, np.ones(n)
    else:
        effects = t * (y - m0) - ~t * p / (1 - p) * (y - m0)
        leverage, share = 2 * t / (1 - p) - np.where(t, 1, p / (1 - p)) ** 2, t.astype(float)

    def but_one(values):
        return (values.sum() - values) / (n - 1)

    c = 0.25 / 0.75**0.5
    room = np.sqrt(but_one(square) * but_one(leverage)) / but_one(share)
    for side, end in ((-1, "std_error_low"), (1, "std_error_high")):
        left = but_one(effects) / but_one(share) + side * c * room
        assert row[end] == pytest.approx(np.sqrt((n - 1) ** 2 / n * left.var()), rel=5e-3)
    assert row["std_error_low"] < 0.8 * row["std_error_high"]  # which end is which can be told


@pytest.mark.parametrize("kind", ["ATE", "ATT", "one for all"])
def test_a_confounder_of_known_strength_is_inside(kind):
    """Adjusting for z, and told how strong z is, the bounds without z hold the estimate with it, near the edge."""
    frame = school(4_000, seed=3, effect=0.3)
    frame["y"] += 2 * frame["x"]

    def call(names):
        options = {"outcome": "y", "covariates": names}
        if kind == "one for all":
            return at.partially_linear(frame, "treated", folds=0, **options)
        return at.aipw(frame, "treated", target="all" if kind == "ATE" else "treated", **options)

    full, short = call(["z", "b", "x"]), call(["z", "b"])
    r2_y = 1 - full.unrecorded.noise / short.unrecorded.noise
    r2_d = 1 - short.unrecorded.leverage / full.unrecorded.leverage
    row = at.omitted_variable_bounds(short, r2_outcome=r2_y, r2_treatment=r2_d).table.iloc[0]
    moved = (short.estimate[0] - full.estimate[0]) / (short.estimate[0] - row["bound_low"])
    if kind == "one for all":
        assert moved == pytest.approx(1)  # in a regression the bound is the bias itself
    else:
        assert 0.6 < moved < 1


def test_the_robustness_value_and_its_interval_end_where_they_say():
    frame = school(1_200, seed=2, effect=-0.6).assign(y=lambda f: f["y"] * 100)
    for target in ("all", "treated"):
        effect = at.tmle(frame, "treated", outcome="y", covariates=["x", "z", "b"], target=target)
        for null in (0.0, -20.0, -90.0):
            found = at.omitted_variable_bounds(effect, r2_outcome=0, r2_treatment=0, null=null)
            ends = ["bound_high", "conf_high"] if effect.estimate[0] < null else ["bound_low", "conf_low"]
            for value, end in zip((found.robustness_value, found.robustness_value_ci), ends, strict=True):
                row = at.omitted_variable_bounds(effect, r2_outcome=value, r2_treatment=value).table.iloc[0]
                if value > 0:
                    assert row[end] == pytest.approx(null, abs=1e-6)
    assert found.table["bound_low"].iloc[0] == effect.estimate[0]


def test_units_order_clusters_and_words():
    frame = school(600, seed=5, effect=0.5)
    options = {"outcome": "y", "covariates": ["x", "z", "b"], "key": "key", "cluster": "cell"}
    strength = {"r2_outcome": 0.05, "r2_treatment": 0.02}
    effect = at.aipw(frame, "treated", **options)
    plain = at.omitted_variable_bounds(effect, **strength)
    mixed = at.omitted_variable_bounds(at.aipw(frame.sample(frac=1, random_state=1), "treated", **options), **strength)
    pd.testing.assert_frame_equal(plain.table, mixed.table)
    cents = at.omitted_variable_bounds(effect.scaled(100, "cents"), **strength)
    ends = ["bound_low", "std_error_high", "conf_high"]
    np.testing.assert_allclose(cents.table[ends], 100 * plain.table[ends])
    assert cents.robustness_value_ci == pytest.approx(plain.robustness_value_ci)
    text = plain.summary()
    for said in ("ATE on y", "units of y", "treated", "5.0% of what is left of the outcome, 2.0% of treatment", "95%"):
        assert said in text
    assert len(plain.tidy()) == 1 and "unrecorded" not in text.replace("something unrecorded", "")


def test_refusals():
    frame = school(300)
    options = {"outcome": "y", "covariates": ["x", "b"]}
    strength = {"r2_outcome": 0.03, "r2_treatment": 0.03}
    effect = at.aipw(frame, "treated", **options)
    for other in (at.aipw(frame, "treated", form="ipw", **options), at.aipw(frame, "treated", parts=True, **options),
                  effect.combine([1.0]), effect.minus(effect), 3.0,
                  at.att(at.everyone(frame, "treated"), "y")):  # fmt: skip
        with pytest.raises(EstimationError, match="aipw, tmle or partially_linear"):
            at.omitted_variable_bounds(other, **strength)
    for wrong in ({"r2_outcome": 3}, {"r2_treatment": 1}, {"rho": 0}, {"null": np.nan}, {"r2_outcome": -0.1}):
        with pytest.raises(EstimationError, match="give shares"):
            at.omitted_variable_bounds(effect, **(strength | wrong))
    with pytest.raises(EstimationError, match="give shares"):
        at.omitted_variable_bounds(effect, r2_outcome="0.03", r2_treatment=0.03)
    with pytest.raises(EstimationError, match="benchmarks by name"):
        at.omitted_variable_bounds(effect, benchmarks=["x"], **strength)
    with pytest.raises(EstimationError, match="level"):
        at.omitted_variable_bounds(effect, level=95, **strength)
    for short in (effect, at.aipw(frame, "treated", outcome="z", covariates=["x"]),
                  at.aipw(frame, "treated", target="treated", outcome="y", covariates=["x"]),
                  at.aipw(frame.iloc[:299], "treated", outcome="y", covariates=["x"])):  # fmt: skip
        with pytest.raises(EstimationError, match="same call"):
            at.omitted_variable_bounds(effect, benchmarks={"b": short}, **strength)
    exact = frame.assign(y=frame["x"] + frame["b"])
    with pytest.raises(EstimationError, match="nothing left"):
        at.omitted_variable_bounds(at.aipw(exact.assign(y=exact["b"] * 2.0), "treated", outcome="y",
                                           covariates=["b"]), **strength)  # fmt: skip
