"""Cardinality matching: the reference's size and balance, every subset by brute force, refusals."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matching_reference import LALONDE, case, data, school

from attribution.design.balance import balance
from attribution.design.cardinality import cardinality_match
from attribution.errors import DesignError
from attribution.estimate.att import att


def test_cardinality_reference():
    """118 and 118 men with every difference within 0.05 SD, as MatchIt with Symphony; proven largest."""
    found, frame = case("cardinality_lalonde")["results"], data("lalonde")
    design = cardinality_match(frame, "treat", covariates=LALONDE)
    table = design.tidy().set_index("sample")
    names = {"all": "All", "matched": "Matched", "unmatched": "Unmatched", "effective": "Matched (ESS)"}
    for ours, theirs in names.items():
        assert table.loc[ours].tolist() == [found["n"][theirs]["Treated"], found["n"][theirs]["Control"]]
    assert design.matched[design.treated].sum() == found["optimum_n_treated"]
    after = balance(design).table.query("sample == 'after'")
    assert len(after) == 9
    assert (after["smd"].abs() <= 0.05).all()
    assert design.spec["largest_smd"] == pytest.approx(after["smd"].abs().max())
    assert design.estimand == "ATT on the treated of the largest balanced sample (118 of 185)"
    assert att(design, "re78", vcov="HC1").std_error[0] == pytest.approx(att(design, "re78").std_error[0])


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), ratio=st.integers(1, 2), tol=st.sampled_from([0.0, 0.1, 0.5]))
def test_cardinality_equals_brute_force(seed, ratio, tol):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"x": rng.integers(0, 4, 11), "b": rng.integers(0, 2, 11)})
    frame["t"] = rng.permutation([1] * 4 + [0] * 7)
    t = frame["t"].to_numpy() == 1
    x = frame[["x", "b"]].to_numpy(float)
    p = x[:, 1]
    sd = [x[t, 0].std(ddof=1) or np.sqrt((x[t, 0].var(ddof=1) + x[~t, 0].var(ddof=1)) / 2) or 1.0,
          np.sqrt(p[t].var() or (p[t].var() + p[~t].var()) / 2) or 1.0]  # fmt: skip
    if np.isin(x[:, 0], (0, 1)).all():
        return
    best = 0
    for k in range(1, 5):
        for some in combinations(np.flatnonzero(t), k):
            for others in combinations(np.flatnonzero(~t), k * ratio) if k * ratio <= 7 else ():
                gap = np.abs(x[list(some)].mean(axis=0) - x[list(others)].mean(axis=0)) / sd
                best = max(best, k * bool((gap <= tol + 1e-9).all()))
    try:
        design = cardinality_match(frame, "t", covariates=["x", "b"], tols=tol, ratio=ratio)
    except DesignError as error:
        assert "in a balanced sample" in str(error)
        assert best == 0
        return
    assert design.matched[t].sum() == best
    assert design.matched[~t].sum() == best * ratio


def test_cardinality_does_not_see_the_order_of_rows_or_the_outcome():
    frame = school(200)
    other = frame.sample(frac=1, random_state=1).assign(y=0.0)
    a, b = (cardinality_match(units, "treated", covariates=["x", "b"], tols={"x": 0.01, "b": 0.1}, key="key")
            for units in (frame, other))  # fmt: skip
    assert dict(zip(frame["key"], a.weights, strict=True)) == dict(zip(other["key"], b.weights, strict=True))
    assert a.spec["tols"] == {"x": 0.01, "b": 0.1}


BAD = {
    "tolerance": ({"tols": -0.1}, "tolerances >= 0"),
    "names": ({"tols": {"x": 0.1}}, "a tolerance for every covariate"),
    "ratio": ({"ratio": 500}, "ratio = 500"),
    "none": ({"covariates": []}, "name what must balance"),
    "key": ({"key": "b"}, "one row a key"),
    "time": ({"covariates": ["x", "z", "b"], "tols": 1e-6, "time_limit_s": 0.05}, "proven within 0.05 seconds"),
}


@pytest.mark.parametrize("name", BAD)
def test_cardinality_refuses(name):
    options, words = BAD[name]
    with pytest.raises(DesignError, match=words):
        cardinality_match(school(300), "treated", **{"covariates": ["x", "b"]} | options)
