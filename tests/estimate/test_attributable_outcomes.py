"""Attributable outcomes: per 100 and in total, the share of what was claimed, what may not be counted."""

from __future__ import annotations

import numpy as np
import pytest
from matching_reference import school

import attribution as at
from attribution.errors import EstimationError
from attribution.inference import fieller


@pytest.fixture(scope="module")
def design():
    frame = school(800, effect=1.0).assign(placed=lambda f: (f["y"] > 0.5).astype(int))
    rng = np.random.default_rng(0)
    said = np.where((frame["treated"] == 1) & (frame["placed"] == 1), rng.random(800) < 0.8, 0)
    return at.match(frame.assign(said=said.astype(float)), "treated", covariates=["x", "z", "b"], caliper_sd=0.2)


def claims(design):
    parts = at.att(design, "said", parts=True)
    return parts.combine([1.0, 0.0, 0.0], labels=parts.labels.iloc[[0]])


def test_heads_are_the_share_times_the_covered(design):
    parts = at.att(design, "placed", parts=True)
    n = int(parts.n_treated[0])
    found = at.attributable_outcomes(parts, n_covered=n, claimed=claims(design))
    rows = found.tidy().set_index("term")
    pairs = design.pairs
    placed = design.units["placed"].to_numpy()
    assert rows.loc["observed", "total"] == pytest.approx(placed[pairs["treated"]].sum())
    assert rows.loc["attributable", "total"] == pytest.approx(
        placed[pairs["treated"]].sum() - placed[pairs["comparison"]].sum())  # fmt: skip
    assert rows.loc["attributable", "per_100"] == pytest.approx(100 * parts.estimate[2])
    assert rows.loc["attributable", "total_se"] == pytest.approx(n * parts.std_error[2])
    assert rows.loc["claimed", "total"] == pytest.approx(design.units["said"].to_numpy()[pairs["treated"]].sum())
    assert "of 100" in found.summary() and "attributable / claimed" in found.summary()


def test_the_ratio_to_what_was_claimed_is_fieller_s_with_the_covariance(design):
    parts, said = at.att(design, "placed", parts=True), claims(design)
    found = at.attributable_outcomes(parts, n_covered=10, claimed=said)
    both = np.column_stack([parts.scores[:, 2], said.scores[:, 0]])
    low, high, kind = fieller(parts.estimate[2], said.estimate[0], both.T @ both, 0.95)
    assert (found.ratio["low"], found.ratio["high"], found.ratio["kind"]) == (low, high, kind)
    assert kind == "interval" and low < found.ratio["ratio"] < high


def test_g_computation_counts_alike(design):
    single = at.g_computation(design, "placed")
    parts = at.g_computation(design, "placed", parts=True)
    one = at.attributable_outcomes(single, n_covered=50).tidy()
    three = at.attributable_outcomes(parts, n_covered=50).tidy()
    assert list(one["term"]) == ["attributable"] and len(three) == 3
    np.testing.assert_allclose(one["total"], three["total"].iloc[-1:])


def test_what_may_not_be_counted(design):
    parts = at.att(design, "placed", parts=True)
    for n in (0, int(parts.n_treated[0]) + 1, 10.5, True):
        with pytest.raises(EstimationError, match="n_covered from 1"):
            at.attributable_outcomes(parts, n_covered=n)
    with pytest.raises(EstimationError, match="attributable_euros"):
        at.attributable_outcomes(at.att(design, "y"), n_covered=10)
    with pytest.raises(EstimationError, match="shares"):
        at.attributable_outcomes(at.g_computation(design, "placed", scale="ratio"), n_covered=10)
    with pytest.raises(EstimationError, match="effect on the treated"):
        everyone = at.aipw(design.units, "treated", outcome="placed", covariates=["x", "z"])
        at.attributable_outcomes(everyone, n_covered=10)
    with pytest.raises(EstimationError, match="same score rows"):
        at.attributable_outcomes(parts, n_covered=10, claimed=at.att(design, "said", vcov="HC1"))


@pytest.mark.parametrize("seeds", [60, pytest.param(400, marks=pytest.mark.slow)])
def test_recovers_the_number_of_placements_caused(seeds):
    covered, errors = [], []
    for seed in range(seeds):
        frame = school(600, seed=seed)
        rng = np.random.default_rng(seed + 999)
        chance = 1 / (1 + np.exp(-frame["x"]))
        risk = np.where(frame["treated"] == 1, np.minimum(chance + 0.15, 1), chance)
        frame["placed"] = (rng.random(600) < risk).astype(int)
        design = at.match(frame, "treated", covariates=["x"], caliper_sd=0.2)
        speaks = design.treated & design.matched
        truth = (np.minimum(chance + 0.15, 1) - chance)[speaks].sum()
        row = at.attributable_outcomes(at.att(design, "placed"), n_covered=int(speaks.sum())).tidy().iloc[0]
        covered.append(row["total_low"] <= truth <= row["total_high"])
        errors.append(row["total"] - truth)
    assert np.mean(covered) > 0.95 - 4 * np.sqrt(0.05 * 0.95 / seeds)
    assert abs(np.mean(errors)) < 4 * np.std(errors, ddof=1) / np.sqrt(seeds)
