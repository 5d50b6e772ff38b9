"""Figures of hidden confounding and of who gains: their words, their marks, the same bytes twice."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matching_reference import data, school
from test_plots import inside, said

import attribution as at
from attribution.report import plots


@pytest.fixture(scope="module")
def nsw() -> at.Design:
    return at.everyone(data("nsw_dw"), "treat", covariates=["age", "educ", "black", "nodegree", "re75"])


def test_contour_says_how_strong_and_what_is_left(nsw, tmp_path):
    result = at.robustness(nsw, "emp78", benchmarks=["black", "re75"], times=(1, 10))
    figure = plots.sensitivity_contour(result, labels={"emp78": "In work in 1978", "re75": "Earnings in 1975"})
    inside(figure)
    said(figure, f"{result.robustness_value:.0%} of both treatment and outcome", "In work in 1978", "percentage points",
         "10 × Black", "10 × Earnings in 1975", "No effect left", f"at {result.robustness_value:.1%} of both", "185",
         "Dashed: the 95% interval begins to hold zero", "1 and 10 times")  # fmt: skip
    one, two = (plots.save(plots.sensitivity_contour(result), tmp_path / name) for name in ("a", "b"))
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(one, two, strict=True))


def test_contour_of_a_harm_without_benchmarks_and_of_half_the_effect():
    frame = school(400, effect=-0.8)
    design = at.everyone(frame, "treated", covariates=["x", "z", "b"])
    figure = plots.sensitivity_contour(at.robustness(design, "y", q=0.5), unit="EUR a quarter", footnote="Simulated.")
    inside(figure)
    said(figure, "50% of itself", "EUR a quarter", "\u2212", "left", "Simulated.")
    weak = at.robustness(design, np.random.default_rng(9).normal(size=400))
    said(plots.sensitivity_contour(weak), "interval holds zero already")


def test_contour_with_many_and_impossible_covariates():
    rng = np.random.default_rng(1)
    frame = school(500, effect=1.0)
    for j in range(10):
        frame[f"a_covariate_with_a_long_name_{j}"] = rng.normal(size=500) + 0.2 * frame["treated"]
    frame["gives_it_away"] = frame["treated"] + rng.normal(size=500) * 0.1
    names = [c for c in frame if c.startswith("a_cov")]
    result = at.robustness(at.everyone(frame, "treated"), "y", adjust=[*names, "gives_it_away"],
                           benchmarks=[*names, "gives_it_away"], times=(2,))  # fmt: skip
    figure = plots.sensitivity_contour(result)
    inside(figure)
    said(figure, "4 further covariates are not drawn", "Nothing can be 2 times as strong as gives it away",
         "long name 5")  # fmt: skip
    assert "…" not in "".join(text.get_text() for text in figure.axes[1].texts)


def test_who_gains_in_euros(nsw, tmp_path):
    result = at.share_who_gain(nsw, "re78", threshold=[0, 1_000, -500], by=["nodegree"])
    figure = plots.share_who_gain(result, unit="USD", labels={"re78": "Earnings in 1978", "nodegree": "No diploma"})
    inside(figure)
    first = result.table.iloc[0]
    said(figure, f"Between {first['bound_low']:.0%} and {first['bound_high']:.0%} gain more than nothing", "Have less",
         "Gain at least 1,000 USD", "Lose no more than 500 USD", "185 treated", "which no data can show",
         "groups of no diploma", "all people")  # fmt: skip
    bars = [patch for patch in figure.axes[0].patches if patch.get_gid() == "bounds"]
    table = result.table.sort_values(["term", "threshold"])
    np.testing.assert_allclose([bar.get_x() for bar in bars], 100 * table["bound_low"])
    np.testing.assert_allclose([bar.get_x() + bar.get_width() for bar in bars], 100 * table["bound_high"])
    one, two = (plots.save(plots.share_who_gain(result), tmp_path / name) for name in ("a", "b"))
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(one, two, strict=True))


def test_who_gains_a_placement(nsw):
    figure = plots.share_who_gain(at.share_who_gain(nsw, "emp78"), labels={"emp78": "In work"}, footnote="NSW.")
    inside(figure)
    said(figure, "owe it to treatment", "Lose it to treatment", "11\u201335%", "NSW.")


def test_a_share_that_is_nearly_nothing_is_not_nothing():
    frame = pd.DataFrame({"t": np.repeat([1, 0], 2_000), "y": 0})
    frame.loc[:14, "y"] = 1
    result = at.share_who_gain(at.everyone(frame, "t"), "y", level=0.5)
    said(plots.share_who_gain(result), "<1")
