"""What must not matter: row order, names, scale, copies within a cluster; and inputs stay as they were."""

from __future__ import annotations

import numpy as np
import pandas as pd
from estimate.did_oracle import panel
from hypothesis import given, settings
from hypothesis import strategies as st

from attribution.cohorts.panel import Panel
from attribution.estimate.aggregate import aggregate
from attribution.estimate.did import group_time_att

few = settings(max_examples=15, deadline=None)
seeds = st.integers(0, 10_000)
covariates = st.sampled_from([(), ("s",), ("x",), ("s", "x")])
methods = st.sampled_from(["dr", "reg", "ipw"])


def fit(frame, cluster=None, weight=None, **options):
    made = Panel(frame, unit="unit", period="t", cohort="g", outcome="y", cluster=cluster, weight=weight)
    return group_time_att(made, comparison="not_yet_treated", base_period="varying", **options)


def same(a, b, rtol=1e-7):
    np.testing.assert_allclose(a.estimate, b.estimate, rtol=rtol, atol=1e-9)
    np.testing.assert_allclose(a.std_error, b.std_error, rtol=rtol, atol=1e-9)


@few
@given(seeds, covariates, methods)
def test_row_order(seed, covariates, method):
    frame = panel(seed=seed, missing=0.03)
    shuffled = frame.sample(frac=1, random_state=seed)
    same(fit(frame, covariates=covariates, method=method), fit(shuffled, covariates=covariates, method=method))


@few
@given(seeds, covariates)
def test_relabelled_units_and_shifted_periods(seed, covariates):
    frame = panel(seed=seed)
    moved = frame.assign(unit="u" + (997 * frame["unit"] % 1009).astype(str), t=frame["t"] + 2000, g=frame["g"] + 2000)
    same(fit(frame, covariates=covariates), fit(moved, covariates=covariates))


@few
@given(seeds, covariates, methods, st.floats(1e-3, 1e6), st.floats(-1e4, 1e4))
def test_scale_and_shift_of_the_outcome(seed, covariates, method, scale, shift):
    frame = panel(seed=seed)
    one = fit(frame, covariates=covariates, method=method)
    other = fit(frame.assign(y=scale * (frame["y"] + shift)), covariates=covariates, method=method)
    same(one, other.scaled(1 / scale, "y"), rtol=1e-5)


@few
@given(seeds, covariates, st.floats(1e-2, 1e3))
def test_scale_of_the_weights(seed, covariates, scale):
    frame = panel(seed=seed)
    one, other = (fit(f, weight="w", covariates=covariates) for f in (frame, frame.assign(w=frame["w"] * scale)))
    same(one, other)
    same(aggregate(one, by="overall"), aggregate(other, by="overall"))


@few
@given(seeds, covariates)
def test_copies_within_a_cluster_add_nothing(seed, covariates):
    frame = panel(seed=seed)
    copied = pd.concat([frame, frame.assign(unit=frame["unit"] + 10_000)])
    one = fit(frame, cluster="k", covariates=covariates)
    other = fit(copied, cluster="k", covariates=covariates)
    same(one, other)
    same(aggregate(one, by="event_time"), aggregate(other, by="event_time"))


@few
@given(seeds)
def test_every_unit_its_own_cluster_is_no_cluster(seed):
    frame = panel(seed=seed)
    one, other = fit(frame, covariates=("s",)), fit(frame, cluster="unit", covariates=("s",))
    same(one, other)
    same(aggregate(one, by="overall"), aggregate(other, by="overall"))


@few
@given(seeds)
def test_inputs_are_never_changed(seed):
    frame = panel(seed=seed, missing=0.05)
    before = frame.copy(deep=True)
    made = Panel(frame, unit="unit", period="t", cohort="g", outcome="y")
    y = made.y.copy()
    gt = group_time_att(made, comparison="not_yet_treated", base_period="varying", covariates=["x", "s"])
    estimate, scores = gt.estimate.copy(), gt.scores.copy()
    aggregate(gt, by="event_time")
    pd.testing.assert_frame_equal(frame, before)
    np.testing.assert_array_equal(made.y, y)
    np.testing.assert_array_equal(gt.estimate, estimate)
    np.testing.assert_array_equal(gt.scores, scores)
