"""Honest bounds: by hand, against linear programmes, R's HonestDiD, coverage, and what is refused."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from places import ROOT
from scipy.optimize import linprog, minimize

import attribution as at
from attribution.errors import EstimationError
from attribution.stress.trends import cone, event_path, relative_magnitudes_sets, sets, smoothness_sets
from attribution.stress.trends.cone import extreme_rays
from attribution.stress.trends.dual import Listed, Programmes, largest_quantile
from attribution.stress.trends.flci import flci, folded_quantile
from attribution.stress.trends.restrictions import bends, relative_pieces, smooth_piece
from attribution.stress.trends.sets import Inverter, truncated_tail

FOLDER = ROOT / "tests" / "reference" / "did"
CASES = {case["id"]: case for case in json.loads((FOLDER / "honestdid_BC_ref.json").read_text())["cases"]}
CHAIN = {case["id"]: case for case in json.loads((FOLDER / "honestdid_chain_mpdta.json").read_text())["cases"]}
SURE = 1e-10 * np.eye(4)  # hardly any sampling error: the sets become the identified ones


def ends(found):
    return [pytest.approx((one.low, one.high), abs=1e-3) for one in found]


def noisy(times, base, seed=0, scale=0.1):
    """Estimates from a random walk of trends, measured from `base` (an event time or a window of them)."""
    times = np.asarray(times)
    rng = np.random.default_rng(seed)
    walk = np.cumsum(rng.normal(size=(3 * len(times), len(times))), axis=1)
    levels, cov = scale * rng.normal(size=len(times)).cumsum(), scale**2 * np.cov(walk.T) / 20
    at_base = np.isin(times, base) / np.isin(times, base).sum()
    move = np.eye(len(times)) - at_base
    return move @ levels, move @ cov @ move.T


# -- by hand --


def test_without_noise_relative_magnitudes_are_the_identified_set():
    """Steps before: 1 and 0.5 (largest 1). Effect at 0 within Mbar of the estimate; at 1 within twice that."""
    setting = dict(estimate=[-1.5, -0.5, 3.0, 4.0], cov=SURE, event_times=[-3, -2, 0, 1], base=-1,
                   pre_periods=(-3, -2), mbar=(0, 1, 2))  # fmt: skip
    assert ends(relative_magnitudes_sets(**setting, weights={0: 1})) == [(3, 3), (2, 4), (1, 5)]
    assert ends(relative_magnitudes_sets(**setting, weights={1: 1})) == [(4, 4), (2, 6), (0, 8)]
    assert ends(relative_magnitudes_sets(**setting, weights={0: -1, 1: 1})) == [(1, 1), (0, 2), (-1, 3)]
    assert ends(relative_magnitudes_sets(**setting, weights={0: 1}, bias="positive")) == [(3, 3), (2, 3), (1, 3)]
    assert ends(relative_magnitudes_sets(**setting, weights={0: 1}, monotone="decreasing")) == [(3, 3), (3, 4), (3, 5)]
    # changes of slope before: 0.5 - 1 = -0.5; a line continues at slope 0.5
    trend = relative_magnitudes_sets(**setting, weights={0: 1}, bound="linear trend")
    assert ends(trend) == [(2.5, 2.5), (2, 3), (1.5, 3.5)]


def test_only_the_named_periods_set_mbar():
    """The step of 1 from -3 to -2 is not named: the one of 0.5 into the base remains."""
    found = relative_magnitudes_sets([-1.5, -0.5, 3.0, 4.0], SURE, [-3, -2, 0, 1], -1, weights={0: 1},
                                     pre_periods=(-2,), mbar=(1,))  # fmt: skip
    assert ends(found) == [(2.5, 3.5)]


def test_without_noise_smoothness_extends_the_line():
    """Slope 0.5 before: at M = 0 the line says 0.5 at 0 and 1 at 1; M adds 1 and 3 times itself."""
    for method in ("flci", "c-lf", "c-f", "conditional"):
        setting = dict(estimate=[-1.0, -0.5, 3.0, 4.0], cov=SURE, event_times=[-3, -2, 0, 1], base=-1, m=(0, 0.2),
                       method=method)  # fmt: skip
        assert ends(smoothness_sets(**setting, weights={0: 1})) == [(2.5, 2.5), (2.3, 2.7)], method
        assert ends(smoothness_sets(**setting, weights={1: 1})) == [(3.0, 3.0), (2.4, 3.6)], method
    steep = smoothness_sets([-1.0, -0.5, 3.0, 4.0], SURE, [-3, -2, 0, 1], -1, weights={0: 1}, m=(0.2,), bias="positive",
                            method="c-lf")  # fmt: skip
    assert ends(steep) == [(2.3, 2.7)]


def test_one_pre_period_gives_the_closed_form_of_the_flci():
    """The only unbiased estimator is effect_0 + effect_-2; its bias is at most M: half = se * cv(M / se)."""
    cov = np.array([[0.04, 0.01], [0.01, 0.09]])
    found = smoothness_sets([0.3, 1.0], cov, [-2, 0], -1, weights={0: 1}, m=(0, 0.1))
    se = np.sqrt(0.04 + 0.09 + 2 * 0.01)
    assert (found[0].low, found[0].high) == pytest.approx((1.3 - 1.959964 * se, 1.3 + 1.959964 * se), rel=1e-6)
    assert found[1].high - 1.3 == pytest.approx(se * float(folded_quantile(np.array(0.1 / se), 0.95)))


def test_at_mbar_zero_the_set_is_the_usual_interval_from_the_last_period_before():
    """Whatever the base: effect_0 minus effect_-1, with its standard error."""
    times = np.arange(-8, 4)
    for base in (-1, -6):
        estimate, cov = noisy(times, base)
        move = np.where(times == 0, 1.0, 0.0) - (times == -1)
        centre, se = move @ estimate, np.sqrt(move @ cov @ move)
        (found,) = relative_magnitudes_sets(estimate, cov, times, base, weights={0: 1}, pre_periods=range(-8, 0),
                                            mbar=(0,), method="conditional")  # fmt: skip
        assert (found.low, found.high) == pytest.approx((centre - 1.959964 * se, centre + 1.959964 * se), abs=1e-3 * se)


@pytest.mark.parametrize("base", [-6, (-8, -5)])
def test_the_base_does_not_matter(base):
    """Moves and bends of the trends are the same from any base: with pre-periods on both sides of it, or a window."""
    times = np.arange(-8, 4)
    window = list(range(base[0], base[1] + 1)) if isinstance(base, tuple) else base
    weights, named = {0: 0.25, 3: 0.75}, {"pre_periods": range(-8, 0)}
    found = []
    for measured, b in ((window, base), (-1, -1)):
        estimate, cov = noisy(times, measured)
        shared = {"event_times": times, "base": b, "weights": weights}
        found.append([
            *relative_magnitudes_sets(estimate, cov, **shared, **named, mbar=(0.5, 1)),
            *relative_magnitudes_sets(estimate, cov, **shared, **named, mbar=(1,), bound="linear trend"),
            *smoothness_sets(estimate, cov, **shared, m=(0, 0.02)),
            *smoothness_sets(estimate, cov, **shared, m=(0.02,), method="c-lf"),
        ])  # fmt: skip
    for one, other in zip(*found, strict=True):
        width = one.high - one.low
        assert (one.low, one.high) == pytest.approx((other.low, other.high), abs=0.02 * width)  # other draws
    assert (found[0][3].low, found[0][3].high) == pytest.approx((found[1][3].low, found[1][3].high), rel=1e-6)  # none


def test_gaps_count_by_the_period():
    """Steps before: 1 a period over two periods. The step to 0 spans three periods: three times Mbar."""
    found = relative_magnitudes_sets([-2.0, 5.0], 1e-10 * np.eye(2), [-5, 0], -3, weights={0: 1}, pre_periods=(-5,),
                                     mbar=(1,))  # fmt: skip
    assert ends(found) == [(2, 8)]
    # slope 1 a period; bends up to M per period, mean distance of the two steps (2 + 3) / 2 periods, over 3 periods
    found = smoothness_sets([-2.0, 5.0], 1e-10 * np.eye(2), [-5, 0], -3, weights={0: 1}, m=(0, 0.1))
    assert ends(found) == [(2, 2), (2 - 0.75, 2 + 0.75)]


# -- against the slow and obvious --


def pieces_to_check():
    times = np.arange(-4, 4)
    estimate, cov = noisy(times, -1, seed=3)
    path = event_path(estimate, cov, times, -1)
    weights = np.where(path.post, 0.25, 0.0)
    for bias, monotone in ((None, None), ("positive", None), (None, "increasing"), ("negative", "decreasing")):
        yield path, weights, lambda size, b=bias, m=monotone: relative_pieces(
            path, size, range(-4, 0), bound="parallel trends", bias=b, monotone=m)[:2]  # fmt: skip
        yield path, weights, lambda size, b=bias, m=monotone: [smooth_piece(path, size / 10, bias=b, monotone=m)]


def eta(y, x, sd):
    """min eta: y - x t <= eta sd, by HiGHS."""
    got = linprog(np.r_[1, np.zeros(x.shape[1])], A_ub=-np.column_stack([sd, x]), b_ub=-y, bounds=(None, None))
    return got.fun


def slow_reject(piece, path, weights, theta, alpha, critical):
    """Andrews, Roth & Pakes' hybrid by linear programmes; the truncation points by bisection on the programme."""
    size = alpha if np.isinf(critical) else (alpha - alpha / 10) / (1 - alpha / 10)
    w = weights[path.post]
    after = piece.rows[:, path.post]
    x = after @ np.linalg.svd(w[None])[2][1:].T  # effects that leave theta where it is
    sigma = piece.rows @ path.cov @ piece.rows.T
    sd = np.sqrt(np.diag(sigma))
    y = piece.rows @ path.estimate - piece.bound - after @ w / (w @ w) * theta
    dual = linprog(-y, A_eq=np.vstack([x.T, sd]), b_eq=np.r_[np.zeros(x.shape[1]), 1], bounds=(0, None))
    gamma, best = dual.x, -dual.fun
    if best > critical:
        return True
    variance = gamma @ sigma @ gamma
    rest = y - sigma @ gamma / variance * best

    def optimal(z):
        return eta(rest + sigma @ gamma / variance * z, x, sd) <= z + 1e-9

    def edge(step):
        far = best
        for _ in range(12):
            far += step
            if not optimal(far):
                break
            step *= 2
        else:
            return np.inf if step > 0 else -np.inf
        near = far - step
        for _ in range(40):
            middle = (near + far) / 2
            near, far = (middle, far) if optimal(middle) else (near, middle)
        return near

    s = np.sqrt(variance)
    p = truncated_tail(np.array(best / s), np.array(edge(-0.2) / s), np.array(min(edge(0.2), critical) / s))
    return best > 0 and p < size


def test_vertices_give_what_linear_programmes_give():
    """Same statistic (to 1e-7), and the same verdict of both tests wherever the p-value is not at the edge."""
    rng, compared = np.random.default_rng(0), 0
    for path, weights, pieces in pieces_to_check():
        inverter = Inverter(path, weights, pieces)
        for piece in pieces(0.7):
            for method in ("conditional", "c-lf"):
                test = sets._Test(inverter, piece, 0.95, method, None)
                low, high = test.first_stage()
                low, high = (low, high) if low <= high else (-0.5, 0.5)  # rejected at the first stage, everywhere
                theta = rng.uniform(low - 0.1, high + 0.1, 4)
                w = weights[path.post]
                after = piece.rows[:, path.post]
                x, unit = after @ np.linalg.svd(w[None])[2][1:].T, after @ w / (w @ w)
                sd = np.sqrt(np.diag(piece.rows @ path.cov @ piece.rows.T))
                for t, rejected in zip(theta, test.reject(theta), strict=True):
                    y = piece.rows @ path.estimate - piece.bound - unit * t
                    assert (test.constant - test.slope * t).max() == pytest.approx(eta(y, x, sd), abs=1e-7)
                    assert slow_reject(piece, path, weights, t, 0.05, test.critical) == rejected
                    compared += 1
    assert compared > 80


def test_extreme_rays_of_a_square_cone():
    """g1 + g2 = g3 + g4, g >= 0: the four ways of one on each side."""
    rays = extreme_rays(np.array([[1.0], [1.0], [-1.0], [-1.0]]))
    assert sorted(map(tuple, (rays > 0).astype(int))) == [(0, 1, 0, 1), (0, 1, 1, 0), (1, 0, 0, 1), (1, 0, 1, 0)]


def test_no_linear_estimator_is_shorter_than_the_flci():
    for seed, m in ((1, 0.0), (2, 0.03), (3, 0.1)):
        times = np.arange(-6, 3)
        estimate, cov = noisy(times, -1, seed=seed)
        path = event_path(estimate, cov, times, -1)
        weights = np.where(path.times == 1, 1.0, 0.0)
        best = flci(path, weights, m, 0.95)
        bend = bends(path.times)
        after = ((bend != 0) & path.post).any(axis=1)
        fixed = np.linalg.solve(bend[np.ix_(after, path.post)].T, weights[path.post])

        def half(free, after=after, fixed=fixed, bend=bend, cov=path.cov, m=m):
            c = np.zeros(len(bend))
            c[after], c[~after] = fixed, free
            sd = np.sqrt(c @ bend @ cov @ bend.T @ c)
            return float(sd * folded_quantile(m * np.abs(c).sum() / sd, 0.95))

        options = {"xatol": 1e-9, "fatol": 1e-13, "maxiter": 20_000, "maxfev": 20_000}
        starts = [np.full((~after).sum(), s) for s in (0.0, 0.5, 1.0)]
        brute = min(minimize(half, s, method="Nelder-Mead", options=options).fun for s in starts)
        assert best.half <= brute * (1 + 1e-7)
        c = np.linalg.lstsq(bend.T, best.weights, rcond=None)[0]
        assert best.half == pytest.approx(half(c[~after]), rel=1e-9)
        np.testing.assert_allclose(best.weights[path.post], weights[path.post], atol=1e-9)


# -- linear programmes where the vertices are too many --


def average_of(post, seed=0, **options):
    times = np.arange(-4, post)
    estimate, cov = noisy(times, -1, seed=seed)
    return {"estimate": estimate, "cov": cov, "event_times": times, "base": -1,
            "weights": dict.fromkeys(range(post), 1 / post), **options}  # fmt: skip


def same_sets(found, other):
    assert [len(one.intervals) for one in found] == [len(one.intervals) for one in other]
    for one, two in zip(found, other, strict=True):
        np.testing.assert_allclose(one.intervals, two.intervals, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("method", ["c-lf", "conditional"])
@pytest.mark.parametrize("shape", [{"bias": "positive"}, {"bias": "negative", "monotone": "decreasing"}])
def test_programmes_give_what_the_vertices_give(method, shape, monkeypatch):
    """The same 4,000 draws, so the same sets, holes included: to 1e-6."""
    monkeypatch.setattr(sets, "DRAWS", 4000)
    relative = average_of(5, pre_periods=range(-4, 0), mbar=(0, 0.5, 1.5), method=method, **shape)
    smooth = average_of(6, seed=1, m=(0, 0.02), method=method, **shape)
    listed = relative_magnitudes_sets(**relative), smoothness_sets(**smooth)
    monkeypatch.setattr(cone, "MOST", 1)
    solved = relative_magnitudes_sets(**relative), smoothness_sets(**smooth)
    for one, other in zip(listed, solved, strict=True):
        assert not any(s.programmes for s in one) and all(s.programmes for s in other)
        same_sets(other, one)


def test_the_flci_hybrid_by_programmes(monkeypatch):
    setting = average_of(5, m=(0.02,), method="c-f", bias="positive")
    listed = smoothness_sets(**setting)
    monkeypatch.setattr(cone, "MOST", 1)
    same_sets(smoothness_sets(**setting), listed)


def test_an_average_of_fourteen_with_a_sign_takes_seconds():
    """About 1 s on one idle core beyond the 1 s until the list is given up; the bound leaves room for a slow one."""
    start = time.process_time()
    (found,) = relative_magnitudes_sets(**average_of(14, pre_periods=range(-4, 0), mbar=(1,), bias="positive"))
    assert time.process_time() - start < 20
    assert found.programmes and np.isfinite([found.low, found.high]).all()
    free = relative_magnitudes_sets(**average_of(14, pre_periods=range(-4, 0), mbar=(1,)))[0]
    assert not free.programmes
    assert found.high < free.high  # a positive bias only lowers the effect


def test_fourteen_event_times_without_noise_are_the_identified_set():
    """Steps before of 1 and 0.5: at Mbar = 1 the bias at t lies in [0, t + 1], on average up to 7.5."""
    times = np.r_[-3, -2, range(14)]
    shared = {"event_times": times, "base": -1, "weights": dict.fromkeys(range(14), 1 / 14), "pre_periods": (-3, -2)}
    found = relative_magnitudes_sets(np.r_[-1.5, -0.5, np.full(14, 3.0)], 1e-10 * np.eye(16), **shared, mbar=(0, 1),
                                     bias="positive")  # fmt: skip
    assert all(one.programmes for one in found)
    assert ends(found) == [(3, 3), (3 - 7.5, 3)]


def test_the_largest_ratio_by_programme_and_by_vertex():
    """Square cone again: any numerator and denominator, those that are nowhere positive or without a largest too."""
    equations = np.array([[1.0], [1.0], [-1.0], [-1.0]])
    listed, solved = Listed(extreme_rays(equations)), Programmes(equations)
    assert solved.largest(np.array([1.0, 2, 0, 0]), np.ones(4)) == pytest.approx(1)  # half of (0, 1, 1, 0)
    assert solved.largest(np.ones(4), -np.ones(4)) == listed.largest(np.ones(4), -np.ones(4)) == -np.inf
    flat = np.array([1.0, 0, 0, -1])
    assert solved.largest(np.ones(4), flat) == listed.largest(np.ones(4), flat) == np.inf
    rng = np.random.default_rng(0)
    for _ in range(200):
        top, bottom = rng.normal(size=(2, 4))
        low, high = listed.largest(top, bottom), -listed.largest(top, -bottom)
        assert solved.largest(top, bottom) == (pytest.approx(low, rel=1e-7) if low <= high else np.inf)
    assert len(solved.rays) == 4


def test_the_critical_value_from_few_programmes_is_the_one_from_all():
    for seed, cov in enumerate((None, 0.01 * np.eye(12), 0.01 * (np.eye(12) + 1))):
        times = np.r_[-4:-1, 0:9]
        estimate, walk = noisy(np.arange(-4, 9), -1, seed=seed)
        path = event_path(estimate[np.arange(13) != 3], walk[np.ix_(*[np.arange(13) != 3] * 2)] if cov is None else cov,
                          times, -1)  # fmt: skip
        weights = np.where(path.post, 1 / 9, 0.0)

        def pieces(size, path=path):
            return relative_pieces(path, size, range(-4, 0), bound="parallel trends", bias="positive", monotone=None)

        inverter = Inverter(path, weights, pieces)
        equations = np.delete(pieces(1.0)[0].rows[:, path.post] - pieces(1.0)[0].rows[:, path.post][:, :1], 0, axis=1)
        solved, normal = Programmes(equations), inverter._normal[:, :2000]
        for piece in pieces(1.0)[:2] + pieces(0.3)[:2]:
            sd = np.sqrt(np.diag(piece.rows @ path.cov @ piece.rows.T))
            args = piece.rows @ inverter._root, sd, normal, 0.995
            assert largest_quantile(solved, *args) == pytest.approx(largest_quantile(inverter.dual, *args), rel=1e-9)
        assert len(solved.rays) < len(inverter.dual.rays)


def test_a_programme_without_solution_is_refused(monkeypatch):
    monkeypatch.setattr(cone, "MOST", 1)
    failed = SimpleNamespace(status=4, message="Numerical difficulties\nencountered")
    monkeypatch.setattr("scipy.optimize.linprog", lambda *a, **k: failed)
    with pytest.raises(EstimationError, match="Numerical difficulties"):
        relative_magnitudes_sets(**average_of(3, pre_periods=range(-4, 0), mbar=(1,), bias="positive"))


def test_a_piece_that_never_settles_is_refused(monkeypatch):
    monkeypatch.setattr(cone, "MOST", 1)
    monkeypatch.setattr(sets._Test, "confirmed", lambda self, theta: False)
    with pytest.raises(EstimationError, match="still change"):
        relative_magnitudes_sets(**average_of(3, pre_periods=range(-4, 0), mbar=(1,), bias="positive"))


def test_the_note_names_the_programmes(mpdta, monkeypatch):
    options = {"pre_periods": (-4, -3, -2), "mbar": (1,), "bias": "positive"}
    assert "HiGHS" not in at.relative_magnitudes(mpdta(), **options).summary()
    monkeypatch.setattr(cone, "MOST", 1)
    assert "linear programmes (HiGHS)" in at.relative_magnitudes(mpdta(), **options).summary()


# -- R --


@pytest.fixture(scope="module")
def benzarti(external):
    """Event study of Benzarti & Carloni, as R's HonestDiD ships it: F-marked, read only."""
    file = external / "reference" / "did" / "honestdid_BC.json"
    if not file.is_file():
        pytest.skip(f"{file.name} is absent from data/external/reference/did: it may not be committed")
    given = json.loads(file.read_text())
    times = np.array(given["timeVec"]) - given["referencePeriod"] - 1
    return {"estimate": np.array(given["betahat"]), "cov": np.array(given["sigma"]), "event_times": times, "base": -1}


def chain_study():
    given = CHAIN["mpdta_chain/event_study"]
    return {"estimate": np.array(given["betahat"]), "cov": np.array(given["sigma"]),
            "event_times": np.array(given["event_time"]), "base": -1}  # fmt: skip


def ours(study, case_id, rows):
    """Our sets for the rows of a case, and R's grid: (low, high, points) of each row."""
    times = study["event_times"]
    post = times[times >= 0]
    weights = dict.fromkeys(post.tolist(), 1 / len(post)) if "avg" in case_id else {0: 1.0}
    w = np.array([weights.get(int(t), 0.0) for t in times])
    sd = np.sqrt(w @ study["cov"] @ w)
    level = 0.9 if "alpha10" in case_id else 0.95
    found, grids = [], []
    for row in rows:
        delta, method = row["Delta"], row["method"].lower()
        shape = {"bias": "positive" if delta.endswith("PB") else None,
                 "monotone": "increasing" if delta.endswith("I") else None}  # fmt: skip
        shared = {**study, "weights": weights, "level": level, "method": method, **shape}
        if "Mbar" in row:
            bound = "linear trend" if "SDRM" in delta else "parallel trends"
            found += relative_magnitudes_sets(**shared, pre_periods=times[times < 0], mbar=[row["Mbar"]], bound=bound)
            grids.append((-0.6, 0.8, 700) if "widegrid" in case_id else (-0.4, 0.4, 500) if "mpdta" in case_id
                         else (-20 * sd, 20 * sd, 1000))  # fmt: skip
        else:
            found += smoothness_sets(**shared, m=[row["M"]])
            reach = row["M"] * np.mean([(t + 1) * (t + 2) / 2 for t in weights])  # R's grid: 20 sd around this
            below = 0 if any(shape.values()) else reach
            grids.append((-20 * sd - below, 20 * sd + reach, 1000))
    return found, grids


def off(found, row, grid):
    """Distance from R's accepted points in grid steps, an end that R cut at its grid aside."""
    low, high, points = grid
    step = (high - low) / (points - 1)
    at_end = row["ub"] > high - 0.5 * step
    assert row["lb"] > low + 0.5 * step
    if at_end:
        assert found.high > row["ub"] - step
    return max(abs(found.low - row["lb"]), 0 if at_end else abs(found.high - row["ub"])) / step


# rows where R's 1,000 draws for the critical value matter more than one grid step, with the largest distance in steps
DRAWS = {
    ("BC/RM/C-LF/avg", 1.5): 1.4, ("BC/RM/C-LF/avg", 2): 2.2, ("BC/RM/C-LF/first", 1): 1.1,
    ("BC/RM_bias_positive/C-LF/first", 1): 3.3, ("BC/RM_bias_positive/C-LF/first", 1.5): 3.8,
    ("BC/RM_bias_positive/C-LF/first", 2): 7.0, ("BC/RM_mono_increasing/C-LF/first", 1): 3.3,
    ("BC/RM_mono_increasing/C-LF/first", 1.5): 2.8, ("BC/RM_mono_increasing/C-LF/first", 2): 1.9,
    ("BC/RM_alpha10/C-LF/first", 1.5): 1.2, ("BC/RM_alpha10/C-LF/first", 2): 1.4,
    ("BC/SD_mono_increasing/C-LF/first", 0): 1.6, ("BC/SD_mono_increasing/C-LF/first", 0.01): 1.3,
}  # fmt: skip


def grid_ids(cases):
    return [name for name, case in cases.items() if "FLCI" not in name and "original" not in name and "rows" in case]


def hold(study, case, monkeypatch):
    found, grids = ours(study, case["id"], case["rows"])
    for one, row, grid in zip(found, case["rows"], grids, strict=True):
        distance = off(one, row, grid)
        allowed = DRAWS.get((case["id"], row.get("Mbar", row.get("M"))))
        if allowed is None:
            assert distance <= 1, (case["id"], row)
            continue
        assert 1 < distance <= allowed, (case["id"], row)
        with monkeypatch.context() as patch:
            patch.setattr(sets, "DRAWS", 1000)
            patch.setattr(sets, "FEW_DRAWS", 1000)
            spread = []
            for seed in range(30):
                patch.setattr(sets, "SEED", seed)
                spread += ours(study, case["id"], [row])[0]
        step = (grid[1] - grid[0]) / (grid[2] - 1)
        assert min(s.low for s in spread) - step <= row["lb"] <= max(s.low for s in spread) + step
        if row["ub"] < grid[1] - step / 2:
            assert min(s.high for s in spread) - step <= row["ub"] <= max(s.high for s in spread) + step


@pytest.mark.parametrize("case_id", grid_ids(CASES))
def test_grid_methods_equal_r(case_id, benzarti, monkeypatch):
    hold(benzarti, CASES[case_id], monkeypatch)


@pytest.mark.parametrize("case_id", [name for name, case in CASES.items() if "original" in name])
def test_the_usual_interval_equals_r(case_id, benzarti):
    (row,) = CASES[case_id]["rows"]
    post = benzarti["event_times"] >= 0
    w = post / post.sum() if "avg" in case_id else (benzarti["event_times"] == 0).astype(float)
    half = 1.959964 * np.sqrt(w @ benzarti["cov"] @ w)
    assert w @ benzarti["estimate"] - half == pytest.approx(row["lb"], rel=1e-6)
    assert w @ benzarti["estimate"] + half == pytest.approx(row["ub"], rel=1e-6)


def shortest_around(study, weights, m, centre):
    """Half-length of the shortest unbiased-under-lines interval whose centre is given: the optimum next to R's."""
    path = event_path(**study)
    w = np.array([weights.get(int(t), 0.0) for t in path.times])
    bend = bends(path.times)
    after = ((bend != 0) & path.post).any(axis=1)
    fixed = np.linalg.solve(bend[np.ix_(after, path.post)].T, w[path.post])
    start = np.linalg.lstsq(bend.T, flci(path, w, m, 0.95).weights, rcond=None)[0]

    def c(free):
        out = np.zeros(len(bend))
        out[after], out[~after] = fixed, free
        return out

    def half(free):
        sd = np.sqrt(c(free) @ bend @ path.cov @ bend.T @ c(free))
        return float(sd * folded_quantile(m * np.abs(c(free)).sum() / sd, 0.95))

    meets = {"type": "eq", "fun": lambda free: 100 * (c(free) @ bend @ path.estimate - centre)}
    got = minimize(half, start[~after], method="SLSQP", constraints=[meets], options={"ftol": 1e-14, "maxiter": 500})
    assert abs(meets["fun"](got.x)) < 1e-6
    return got.fun


def hold_flci(study, case):
    """Half-lengths to 1.3e-3 (R simulates a quantile that is exact here: 1.9622 for 1.9600 at M = 0), ends to 1e-3 of
    the larger one; returned: in how many intervals R's search grid moved them further, to 3e-3 at most. There, the
    best interval with R's centre is longer than ours, by less than 2e-5: R stopped beside the optimum, not ours."""
    found, _ = ours(study, case["id"], case["rows"])
    moved = 0
    for one, row in zip(found, case["rows"], strict=True):
        assert (one.high - one.low) == pytest.approx(row["ub"] - row["lb"], rel=1.3e-3)
        size = max(abs(row["lb"]), abs(row["ub"]))
        gap = max(abs(one.low - row["lb"]), abs(one.high - row["ub"])) / size
        if gap > 1e-3:
            moved += 1
            assert gap < 3e-3
            best = shortest_around(study, {0: 1.0}, row["M"], (row["lb"] + row["ub"]) / 2)
            assert 1 < best / ((one.high - one.low) / 2) < 1 + 2e-5
    return moved


@pytest.mark.parametrize("case_id,moved", [("BC/SD/FLCI/avg", 0), ("BC/SD/FLCI/first", 1)])
def test_flci_equals_r(case_id, moved, benzarti):
    assert hold_flci(benzarti, CASES[case_id]) == moved


@pytest.mark.parametrize("case_id,moved", [("mpdta_chain/SD/FLCI/first", 2), ("mpdta_chain/SD/FLCI/avg", 0)])
def test_flci_of_the_chain_equals_r(case_id, moved):
    assert hold_flci(chain_study(), CHAIN[case_id]) == moved


@pytest.mark.parametrize("case_id", grid_ids(CHAIN))
def test_grid_methods_of_the_chain_equal_r(case_id, monkeypatch):
    hold(chain_study(), CHAIN[case_id], monkeypatch)


def test_a_perturbed_estimate_no_longer_equals_r(benzarti):
    """The test of the tests: 2 % more at one event time after, or before, treatment is seen."""
    case = CASES["BC/RM/Conditional/first"]
    for moved in (4, 2):
        estimate = benzarti["estimate"].copy()
        estimate[moved] += 0.004
        found, grids = ours({**benzarti, "estimate": estimate}, case["id"], case["rows"])
        assert max(off(one, row, grid) for one, row, grid in zip(found, case["rows"], grids, strict=True)) > 2


def test_r_cuts_its_sets_at_its_grid_and_ours_are_whole(benzarti):
    """Average effect: R's default grid ends at 0.3531 and says so for every Mbar; a wider grid shows 0.367 to 0.786."""
    cut, whole = CASES["BC/RM/C-LF/avg"]["rows"], CASES["BC/RM_widegrid/C-LF/avg"]["rows"]
    found, _ = ours(benzarti, "BC/RM/C-LF/avg", cut)
    assert [round(row["ub"], 4) for row in cut[1:]] == [0.3531] * 4
    for one, row in zip(found[1:], whole[1:], strict=True):
        assert one.high == pytest.approx(row["ub"], abs=1.4 / 699)


@pytest.fixture(scope="module")
def mpdta():
    """mpdta from group-time ATT to event study: covariate lpop, universal base."""
    frame = pd.read_parquet(FOLDER / "mpdta.parquet")
    frame = frame.assign(first_treat=frame["first_treat"].replace(0, np.nan))
    panel = at.Panel(frame, unit="countyreal", period="year", cohort="first_treat", outcome="lemp")

    def study(base="universal", **options):
        gt = at.group_time_att(panel, comparison="never_treated", base_period=base, covariates=["lpop"], **options)
        return at.aggregate(gt, by="event_time")

    return study


def test_from_group_time_att_to_bounds_as_in_r(mpdta):
    effects, given = mpdta(), chain_study()
    keep = effects.labels["event_time"].to_numpy() != -1
    np.testing.assert_allclose(effects.estimate[keep], given["estimate"], atol=1e-8)
    np.testing.assert_allclose(effects.cov[np.ix_(keep, keep)], given["cov"], rtol=1e-6)
    columns = ["conf_low", "conf_high"]
    for at_time, name in ((0, "first"), ("average", "avg")):
        bounds = at.relative_magnitudes(effects, pre_periods=(-4, -3, -2), mbar=(0.5, 1, 2), at=at_time).tidy()
        usual = CHAIN[f"mpdta_chain/original/{name}"]["rows"][0]
        assert bounds.loc[0, columns].tolist() == pytest.approx([usual["lb"], usual["ub"]], rel=1e-6)
        for k, row in enumerate(CHAIN[f"mpdta_chain/RM/C-LF/{name}"]["rows"], start=1):
            assert bounds.loc[k, columns].tolist() == pytest.approx([row["lb"], row["ub"]], abs=0.8 / 499)
        smooth = at.smoothness(effects, m=(0, 0.01, 0.02), at=at_time).tidy()
        for k, row in enumerate(CHAIN[f"mpdta_chain/SD/FLCI/{name}"]["rows"], start=1):
            assert smooth.loc[k, columns].tolist() == pytest.approx([row["lb"], row["ub"]], abs=2e-4)


def test_medicaid_as_published():
    """HonestDiD's README: years before 2016 without the 2015 cohort, TWFE event study clustered by state (fixest's
    small-sample factor), effect in 2014. One cohort: TWFE and group-time ATT coincide."""
    frame = pd.read_parquet(FOLDER / "medicaid_ehec.parquet")
    frame = frame[(frame["year"] < 2016) & (frame["yexp2"] != 2015)]
    frame = frame.assign(cohort=frame["yexp2"].where(frame["yexp2"] == 2014))
    panel = at.Panel(frame, unit="stfips", period="year", cohort="cohort", outcome="dins")
    gt = at.group_time_att(panel, comparison="never_treated", base_period="universal")
    effects = at.aggregate(gt, by="event_time")
    n, states, coefficients = len(frame), frame["stfips"].nunique(), 15
    factor = (n - 1) / (n - coefficients) * states / (states - 1)
    study = dict(estimate=effects.estimate, cov=effects.cov * factor, event_times=effects.labels["event_time"], base=-1,
                 weights={0: 1})  # fmt: skip
    step = 40 * effects.std_error[6] * np.sqrt(factor) / 999
    published = [(0.0241, 0.0673), (0.0171, 0.0720), (0.00859, 0.0796), (-0.00107, 0.0883)]
    found = relative_magnitudes_sets(**study, pre_periods=range(-6, 0), mbar=(0.5, 1, 1.5, 2))
    for one, (low, high), draws in zip(found, published, (1, 1, 1.3, 1), strict=True):  # 1.3: R's 1,000 draws
        assert (one.low, one.high) == pytest.approx((low, high), abs=draws * step + 5e-5)  # a grid step and rounding
    published = [(0.0259, 0.0607), (0.00286, 0.0907), (-0.00714, 0.101)]
    for one, (low, high) in zip(smoothness_sets(**study, m=(0, 0.02, 0.03)), published, strict=True):
        quantile = 1.3e-3 * (one.high - one.low) / 2  # R's simulated quantile, see the folder's README
        assert one.low == pytest.approx(low, abs=quantile + 5e-5)
        assert one.high == pytest.approx(high, abs=quantile + (5e-4 if high > 0.1 else 5e-5))


# -- what the result says --


def effects_of(estimate, cov, times, base, unit="EUR", **spec):
    """An event study with given estimates and covariance."""
    value, vectors = np.linalg.eigh(np.asarray(cov, float))
    return at.Effects(
        estimand="ATT by event time", unit=unit, labels=pd.DataFrame({"term": times, "event_time": times}),
        estimate=np.asarray(estimate, float), scores=(vectors * np.sqrt(np.clip(value, 0, None))).T,
        n_treated=np.full(len(times), 50), n_comparison=np.full(len(times), 80), spec={"base_period": base, **spec},
    )  # fmt: skip


def plain(estimate=(-1.5, -0.5, 0.0, 3.0), base=-1, noise=1e-10, **spec):
    cov = np.diag([noise if t != base else 0.0 for t in (-3, -2, -1, 0)])
    return effects_of(estimate, cov, [-3, -2, -1, 0], base, **spec)


def test_breakdown_is_a_number():
    """Effect 3, largest step before 1: zero is reached at Mbar = 3. The line says 2.5, so M = 2.5."""
    bounds = at.relative_magnitudes(plain(), pre_periods=(-3, -2))
    assert bounds.breakdown == pytest.approx(3, abs=0.006)
    assert "breakdown Mbar 2.99" in bounds.summary() or "breakdown Mbar 3.00" in bounds.summary()
    assert at.smoothness(plain(), m=(0, 1)).breakdown == pytest.approx(2.5, rel=0.01)
    assert at.relative_magnitudes(plain((-1.5, -0.5, 0, -3.0)), pre_periods=(-3, -2)).breakdown == pytest.approx(
        3, abs=0.006
    )


def test_a_breakdown_that_does_not_exist_is_said():
    none = at.relative_magnitudes(plain((-1.5, -0.5, 0, 0.0), noise=0.01), pre_periods=(-3, -2), mbar=(1,))
    assert none.breakdown == 0 and "already at Mbar = 0" in none.summary()
    never = at.relative_magnitudes(plain(), pre_periods=(-3, -2), mbar=(1,), bias="negative")
    assert np.isinf(never.breakdown) and "no breakdown" in never.summary()


def test_the_set_at_the_breakdown_reaches_zero(mpdta):
    bounds = at.relative_magnitudes(mpdta(), pre_periods=(-4, -3, -2), at=2, mbar=(1,))
    assert 0.1 < bounds.breakdown < 3
    for size, holds_zero in ((bounds.breakdown, False), (bounds.breakdown + 0.01, True)):
        row = at.relative_magnitudes(mpdta(), pre_periods=(-4, -3, -2), at=2, mbar=(size,)).tidy().iloc[-1]
        assert (row["conf_low"] <= 0 <= row["conf_high"]) == holds_zero


def test_with_and_without_the_dip():
    """Steps 1, then a fall of 4 into -1. Naming the dip frees -1: the step to 0 spans two periods from -2."""
    study = effects_of([-1.0, 0.0, -4.0, 6.0], np.diag([1e-10, 0, 1e-10, 1e-10]), [-3, -2, -1, 0], -2)
    bounds = at.relative_magnitudes(study, pre_periods=(-3, -2, -1), dip=[-1], mbar=(1,), at=0)
    table = bounds.tidy().set_index(["pre_periods", "term"])[["conf_low", "conf_high"]]
    assert table.loc[("with the dip", "Mbar = 1")].tolist() == pytest.approx([6, 14], abs=1e-3)
    assert table.loc[("without the dip", "Mbar = 1")].tolist() == pytest.approx([4, 8], abs=1e-3)
    assert table.loc[("without the dip", "original")].tolist() == pytest.approx([6, 6], abs=1e-3)
    assert bounds.breakdowns["with the dip"] == pytest.approx(2.5, abs=0.006)
    assert bounds.breakdowns["without the dip"] == pytest.approx(3, abs=0.006)
    assert bounds.breakdown == min(bounds.breakdowns.values())
    for words in ("with the dip", "without the dip", "Without the dip: breakdown Mbar", "about event times -1"):
        assert words in bounds.summary()
    smooth = at.smoothness(study, m=(0,), dip=[-1], at=0).tidy().set_index(["pre_periods", "term"])
    assert smooth.loc[("without the dip", "M = 0"), "conf_low"] == pytest.approx(4, abs=1e-3)  # the line says 2 at 0


def test_tidy_keeps_the_fixed_columns(mpdta):
    bounds = at.relative_magnitudes(mpdta(), pre_periods=(-4, -3, -2), at={0: 0.5, 2: 0.5}, mbar=(1,))
    table = bounds.tidy()
    assert table.columns[:15].tolist() == mpdta().tidy().columns.tolist()
    assert table["term"].tolist() == ["original", "Mbar = 1"] and table["pre_periods"].eq("as named").all()
    assert table["n_treated"].eq(191).all() and table["estimate"].notna().tolist() == [True, False]
    combined = mpdta().combine((mpdta().labels["event_time"].isin([0, 2]) / 2).to_numpy())
    assert table["std_error"][0] == pytest.approx(combined.std_error[0])
    table["conf_low"] = 0.0
    assert not bounds.tidy()["conf_low"].eq(0).any()
    assert "<pre" in bounds._repr_html_()


def test_a_fixed_base_gives_the_same_sets_as_the_universal_one(mpdta):
    options = {"pre_periods": (-4, -3, -2, -1), "mbar": (0.5,), "at": 1}
    one, other = (at.relative_magnitudes(mpdta(b), **options).tidy().iloc[1] for b in ("universal", -1))
    assert one["conf_low"] == other["conf_low"] and one["conf_high"] == other["conf_high"]


@pytest.mark.parametrize("base", [-3, (-3, -2)])
def test_a_base_further_back_or_a_window_gives_the_same_sets_through_the_estimator(base):
    """One cohort, seen in all periods: bounds do not depend on the base, which is 0 without an error, or a mean."""
    frame = pd.read_parquet(FOLDER / "mpdta.parquet")
    frame = frame[frame["first_treat"].isin([0, 2007])].assign(g=lambda d: d["first_treat"].replace(0, np.nan))
    panel = at.Panel(frame, unit="countyreal", period="year", cohort="g", outcome="lemp")
    rows = []
    for b in ("universal", base):
        gt = at.group_time_att(panel, comparison="never_treated", base_period=b)
        options = {"pre_periods": (-4, -3, -2, -1), "mbar": (0.5,), "at": 0, "method": "conditional"}
        effects = at.aggregate(gt, by="event_time")
        rows.append(
            [
                at.relative_magnitudes(effects, **options).tidy().iloc[1],
                at.smoothness(effects, m=(0.01,), at=0).tidy().iloc[1],
            ]
        )
    for one, other in zip(*rows, strict=True):
        assert one["conf_low"] == pytest.approx(other["conf_low"], rel=1e-3)
        assert one["conf_high"] == pytest.approx(other["conf_high"], rel=1e-3)


def test_anticipation_moves_the_first_period_with_an_effect(mpdta):
    effects = mpdta(anticipation=1)
    bounds = at.relative_magnitudes(effects, pre_periods=(-4, -3), mbar=(1,), at=0)
    with pytest.raises(EstimationError, match="before -1"):
        at.relative_magnitudes(effects, pre_periods=(-4, -3, -1))
    assert "average of event times 0 to" in at.smoothness(effects, m=(0,)).estimand
    assert bounds.tidy()["conf_low"].notna().all()


# -- refused --


@pytest.mark.parametrize("change,words", [
    ({"base_period": "varying"}, "base_period='varying'.*universal"),
    ({"base_period": None}, "one base period"),
])  # fmt: skip
def test_a_varying_base_is_refused(change, words):
    for call in (lambda e: at.relative_magnitudes(e, pre_periods=(-3, -2)), lambda e: at.smoothness(e, m=(0,))):
        with pytest.raises(EstimationError, match=words):
            call(plain(**{"base": change["base_period"]}))


def test_a_varying_base_from_the_estimator_is_refused(mpdta):
    with pytest.raises(EstimationError, match="universal"):
        at.relative_magnitudes(mpdta("varying"), pre_periods=(-3, -2))


def test_pre_periods_are_required():
    with pytest.raises(TypeError, match="pre_periods"):
        at.relative_magnitudes(plain())
    with pytest.raises(EstimationError, match="no pre-period"):
        at.relative_magnitudes(plain(), pre_periods=())
    with pytest.raises(EstimationError, match="for example -9, 0"):
        at.relative_magnitudes(plain(), pre_periods=(-9, 0, -2))
    with pytest.raises(EstimationError, match="two neighbouring"):
        at.relative_magnitudes(plain(), pre_periods=(-3,))
    with pytest.raises(EstimationError, match="three neighbouring"):
        at.relative_magnitudes(plain(), pre_periods=(-2,), bound="linear trend")


def test_no_pre_period_is_refused():
    alone = effects_of([0.0, 3.0], np.diag([0, 1.0]), [-1, 0], -1)
    with pytest.raises(EstimationError, match="two neighbouring"):
        at.relative_magnitudes(alone, pre_periods=(-1,))
    for method in ("flci", "c-lf", "c-f"):
        with pytest.raises(EstimationError, match="besides the base"):
            at.smoothness(alone, m=(0,), method=method)
    with pytest.raises(EstimationError, match="besides the base"):
        at.smoothness(plain(), m=(0,), dip=[-3, -2])


@pytest.mark.parametrize("options,words", [
    ({"mbar": (-1,)}, "mbar as numbers"), ({"mbar": ()}, "mbar as numbers"), ({"mbar": (np.inf,)}, "mbar as numbers"),
    ({"level": 1.0}, "level"), ({"method": "flci"}, "no interval of fixed length"), ({"bias": "up"}, "bias one of"),
    ({"monotone": "positive"}, "monotone one of"), ({"bound": "none"}, "bound one of"), ({"at": 5}, "for example 5"),
    ({"at": -2}, "for example -2"), ({"at": {0: 0.0}}, "no weight"), ({"at": "first"}, "average"),
    ({"dip": (-3, -1)}, "one by one"), ({"dip": (-9,)}, "one by one"), ({"dip": (-1, 0), "at": 0}, "outside the dip"),
    ({"dip": (-1, 0)}, "outside the dip"),
])  # fmt: skip
def test_options_that_make_no_sense_are_refused(options, words):
    with pytest.raises(EstimationError, match=words):
        at.relative_magnitudes(plain(), **{"pre_periods": (-3, -2, -1), **options})


@pytest.mark.parametrize("options,words", [
    ({"at": True}, "at \"average\""), ({"at": 0.5}, "at \"average\""), ({"at": [0, 1]}, "at \"average\""),
    ({"at": {0: np.nan}}, "finite weight"), ({"at": {0: "a"}}, "finite weight"), ({"at": {0.5: 1}}, "finite weight"),
    ({"at": "abc"}, "at \"average\""), ({"pre_periods": (-2.5, -2)}, "whole event times"),
    ({"pre_periods": -2}, "whole event times"), ({"pre_periods": "abc"}, "whole event times"),
    ({"pre_periods": (-2, True)}, "whole event times"), ({"dip": "abc"}, "dip as a sequence"),
    ({"dip": -1}, "dip as a sequence"), ({"dip": (-1.5,)}, "dip as a sequence"), ({"mbar": ("a",)}, "mbar as numbers"),
    ({"mbar": "abc"}, "mbar as numbers"), ({"mbar": [[1], [1, 2]]}, "mbar as numbers"), ({"level": "abc"}, "level"),
])  # fmt: skip
def test_options_of_another_kind_are_refused(options, words):
    with pytest.raises(EstimationError, match=words):
        at.relative_magnitudes(plain(), **{"pre_periods": (-3, -2, -1), **options})
    with pytest.raises(EstimationError, match="m as numbers"):
        at.smoothness(plain(), m=("a",))


def test_numpy_integers_are_whole_numbers():
    one = at.relative_magnitudes(plain(), pre_periods=np.array([-3, -2]), at=np.int64(0), mbar=np.array([1.0]))
    other = at.relative_magnitudes(plain(), pre_periods=range(-3, -1), at=0, mbar=1)
    pd.testing.assert_frame_equal(one.tidy(), other.tidy())


def test_few_clusters_are_refused():
    """The sets take the estimate for normal; with Student's t they would be too short."""
    few = replace(plain(), dof=np.array([5.0, 5.0, np.nan, 5.0]))
    for call in (lambda: at.relative_magnitudes(few, pre_periods=(-3, -2)), lambda: at.smoothness(few, m=(0,))):
        with pytest.raises(EstimationError, match="more than 40 clusters, or say few_clusters='off'"):
            call()


def test_several_bases_are_refused():
    for base, bases in (("universal", ((-1,), (-2,))), (-1, ((-1,), (-3, -2)))):
        with pytest.raises(EstimationError, match=r"several bases \[2\] \(for example -1, "):
            at.smoothness(plain(base=base, bases=bases), m=(0,))
    one, other = (at.smoothness(plain(**spec), m=(0,)).tidy() for spec in ({}, {"bases": ((-1,),)}))
    pd.testing.assert_frame_equal(one, other)
    window = replace(plain(), spec={"base_period": (-1, -1)})  # of one period
    one = at.smoothness(window, m=(0,)).tidy()
    pd.testing.assert_frame_equal(one, other)


def test_effects_without_a_base_are_refused():
    with pytest.raises(EstimationError, match="rows before treatment from a regression of their own"):
        at.smoothness(plain(base=None, estimator="imputation"), m=(0,))


def test_arrays_that_make_no_sense_are_refused():
    ok = {"estimate": [-1.0, 0.0, 2.0], "cov": np.diag([1.0, 0, 1]), "event_times": [-2, -1, 0], "base": -1}
    event_path(**ok)
    for change, words in (
        ({"estimate": [-1.0, 0.0]}, "as many"), ({"event_times": [-2, -2, 0]}, "each event time once"),
        ({"estimate": [-1.0, 0.0, np.nan]}, "finite"), ({"estimate": [-1.0, 0.5, 2.0]}, "effect 0 without error"),
        ({"cov": np.diag([0.0, 0, 1])}, "a variance"), ({"base": 0}, "a variance"),
        ({"event_times": [-3, -1, -2]}, "a base before"),
        ({"cov": np.eye(3)}, "effect 0 without error"),
    ):  # fmt: skip
        with pytest.raises(EstimationError, match=words):
            event_path(**{**ok, **change})


def test_effects_not_by_event_time_are_refused(mpdta):
    with pytest.raises(EstimationError, match='by="event_time"'):
        at.smoothness(mpdta().combine(np.eye(8)[5]), m=(0,))


def test_inputs_are_left_alone_and_calls_repeat():
    estimate, cov = noisy(np.arange(-4, 3), -1)
    before = estimate.copy(), cov.copy()
    options = {"event_times": np.arange(-4, 3), "base": -1, "weights": {0: 1}, "pre_periods": (-3, -2), "mbar": (1,)}
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    assert relative_magnitudes_sets(estimate, cov, **options) == relative_magnitudes_sets(estimate, cov, **options)
    np.testing.assert_array_equal(state, np.random.get_state()[1])  # noqa: NPY002
    np.testing.assert_array_equal(before[0], estimate)
    np.testing.assert_array_equal(before[1], cov)


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_the_unit_does_not_matter(factor):
    times = np.arange(-5, 4)
    estimate, cov = noisy(times, -1, seed=5)
    shared = {"event_times": times, "base": -1, "weights": {1: 1.0}}
    for call, sizes in ((relative_magnitudes_sets, {"pre_periods": range(-5, 0), "mbar": (1,)}), (smoothness_sets, {})):
        one = call(estimate, cov, **shared, **(sizes or {"m": (0.02,)}))[0]
        other = call(estimate * factor, cov * factor**2, **shared, **(sizes or {"m": (0.02 * factor,)}))[0]
        assert (other.low, other.high) == pytest.approx((one.low * factor, one.high * factor), rel=1e-6)


# -- coverage --


def covered(seeds, truth, cov, times, call):
    """Share of samples in which the set holds an effect of zero, and in which the usual interval does."""
    root = np.linalg.cholesky(cov + 1e-14 * np.eye(len(cov)))
    k = int(np.flatnonzero(times == 2)[0])
    hits = np.zeros((seeds, 2))
    for seed in range(seeds):
        estimate = truth + root @ np.random.default_rng(seed).standard_normal(len(times))
        found = call(estimate)
        hits[seed] = found.low <= 0 <= found.high, abs(estimate[k]) <= 1.96 * np.sqrt(cov[k, k])
    return hits.mean(axis=0)


@pytest.mark.parametrize("method", ["c-lf", "conditional"])
def test_relative_magnitudes_cover_a_violation_inside_mbar(method, monkeypatch):
    """Steps of at most 1 before and exactly 1 after: the worst case at Mbar = 1; the usual interval never covers."""
    monkeypatch.setattr(sets, "DRAWS", 4000)
    times = np.array([-4, -3, -2, 0, 1, 2])
    truth = np.array([0.5, 0.0, -1.0, 1.0, 2.0, 3.0])
    cov = 0.04 * (0.5 * np.eye(6) + 0.5)
    options = {"event_times": times, "base": -1, "weights": {2: 1}, "pre_periods": (-4, -3, -2), "method": method}
    inside, usual = covered(150, truth, cov, times,
                            lambda e: relative_magnitudes_sets(e, cov, **options, mbar=(1,))[0])  # fmt: skip
    assert usual == 0
    assert inside >= 0.95 - 2.5 * np.sqrt(0.95 * 0.05 / 150)
    outside, _ = covered(60, truth, cov, times, lambda e: relative_magnitudes_sets(e, cov, **options, mbar=(0.2,))[0])
    assert outside < 0.1


@pytest.mark.parametrize("method", ["flci", "c-lf", "c-f"])
def test_smoothness_covers_a_parabola(method, monkeypatch):
    """Bends of exactly M = 0.2 throughout."""
    monkeypatch.setattr(sets, "DRAWS", 4000)
    times = np.array([-4, -3, -2, 0, 1, 2])
    truth = 0.1 * (times + 1.0) * (times + 2.0)
    cov = 0.04 * (0.5 * np.eye(6) + 0.5)
    options = {"event_times": times, "base": -1, "weights": {2: 1}, "method": method}
    inside, usual = covered(300, truth, cov, times, lambda e: smoothness_sets(e, cov, **options, m=(0.2,))[0])
    assert usual < 0.5
    assert inside >= 0.95 - 2.5 * np.sqrt(0.95 * 0.05 / 300)


@pytest.mark.slow
def test_a_dip_that_recovers_is_covered_without_the_dip(monkeypatch):
    """A transitory dip of 3 at -1 and 0 that is gone at 2: the usual base -1 and the bounds with the dip at Mbar = 0
    miss the effect of zero; the bounds without it, the dip named on both sides of date zero, cover."""
    monkeypatch.setattr(sets, "DRAWS", 4000)
    times = np.arange(-8, 4)
    dip = np.where(times == -1, -3.0, np.where(times == 0, -3.0, np.where(times == 1, -1.0, 0.0)))
    trend = np.where(times % 2 == 0, 0.15, -0.15)
    at_base = (times == -6).astype(float)
    move = np.eye(len(times)) - at_base
    cov = move @ (0.01 * np.eye(len(times))) @ move.T
    root = np.linalg.cholesky(0.01 * np.eye(len(times)))
    hits = []
    for seed in range(80):
        estimate = move @ (dip + trend + root @ np.random.default_rng(seed).standard_normal(len(times)))
        study = effects_of(estimate * (1 - at_base), cov * np.outer(1 - at_base, 1 - at_base), times, -6)
        table = at.relative_magnitudes(study, pre_periods=range(-8, 0), dip=(-1, 0, 1), at=2, mbar=(0, 1)).tidy()
        rows = table.set_index(["pre_periods", "term"])
        hits.append([rows.loc[key, "conf_low"] <= 0 <= rows.loc[key, "conf_high"] for key in
                     (("with the dip", "Mbar = 0"), ("without the dip", "Mbar = 1"))])  # fmt: skip
    naive, without = np.mean(hits, axis=0)
    assert naive < 0.05 and without >= 0.95 - 2.5 * np.sqrt(0.95 * 0.05 / 80)
