"""Goodman-Bacon: sums to TWFE, each comparison by hand, forbidden ones named; what it refuses; its figure."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from did_oracle import panel as random_panel
from places import ROOT
from test_twfe import COLUMNS, staggered

import attribution as at
from attribution.errors import EstimationError
from attribution.report import plots


@pytest.mark.parametrize("weight", [None, "w"])
@pytest.mark.parametrize("cohorts", [(3, 4), (2, 3, 5), (2, 4, 5, 9)])
def test_sums_to_twfe(cohorts, weight):
    frame = random_panel(150, cohorts=cohorts, seed=1)
    panel = at.Panel(frame, **COLUMNS, weight=weight)
    out = at.bacon(panel)
    assert out.table["weight"].sum() == pytest.approx(1, abs=1e-12) and (out.table["weight"] > 0).all()
    total = at.twfe(panel, form="static").estimate[0]
    assert out.table["weight"] @ out.table["estimate"] == pytest.approx(total, abs=1e-10)
    kinds = out.by_kind()
    assert kinds["weight"] @ kinds["estimate"] == pytest.approx(total, abs=1e-10)
    inside = sum(g <= 5 for g in cohorts)
    assert len(out.table) == inside + inside * (inside - 1) and out.n_forbidden == inside * (inside - 1) // 2


REFERENCE = json.loads((ROOT / "tests" / "reference" / "did" / "bacon_medicaid.json").read_text())["cases"]


@pytest.mark.parametrize("sample", REFERENCE)
def test_bacondecomp(sample):
    frame = pd.read_parquet(ROOT / "tests" / "reference" / "did" / "medicaid_ehec.parquet")
    if sample == "treated":
        frame = frame[frame["yexp2"].notna()]
    panel = at.Panel(frame, unit="stfips", period="year", cohort="yexp2", outcome="dins")
    out = at.bacon(panel, few_clusters="off").table
    ours = {(row.treated, 0 if np.isnan(row.comparison) else int(row.comparison)): row for row in out.itertuples()}
    assert len(ours) == len(REFERENCE[sample]["rows"])
    for treated, comparison, estimate, weight in REFERENCE[sample]["rows"]:
        row = ours[treated, comparison or 0]
        assert row.estimate == pytest.approx(estimate, abs=6e-10) and row.weight == pytest.approx(weight, abs=6e-11)
        assert row.forbidden == (0 < (comparison or 0) < treated)
        assert np.isnan(row.std_error) == (2017 in (treated, comparison))  # one state: nothing to see its variation by
    few = (out["n_treated"] < 20) | (out["n_comparison"] < 20)
    assert (at.bacon(panel).table["std_error"].isna() == few).all()


def test_without_never_treated():
    frame = random_panel(150, cohorts=(2, 3, 5), seed=2)
    panel = at.Panel(frame[frame["g"].notna()], **COLUMNS)
    out = at.bacon(panel)
    assert set(out.table["kind"]) == {"earlier vs later treated", "later vs earlier treated"}
    assert out.table["weight"] @ out.table["estimate"] == pytest.approx(out.total.estimate[0], abs=1e-10)


def test_each_comparison_is_a_regression_on_its_two_groups():
    """A 2x2 comparison is the TWFE of its two groups in its window: estimate and standard error."""
    frame = random_panel(200, cohorts=(2, 4), seed=3)
    out = at.bacon(at.Panel(frame, **COLUMNS)).table.set_index(["kind", "treated"])
    windows = {("treated vs never treated", 2): frame[frame["g"] != 4],
               ("treated vs never treated", 4): frame[frame["g"] != 2],
               ("earlier vs later treated", 2): frame[frame["g"].notna() & (frame["t"] < 4)]}  # fmt: skip
    for name, part in windows.items():
        alone = at.twfe(at.Panel(part, **COLUMNS), form="static")
        assert out.loc[name, "estimate"] == pytest.approx(alone.estimate[0], abs=1e-12), name
        assert out.loc[name, "std_error"] == pytest.approx(alone.std_error[0], rel=1e-9), name
    late = frame[frame["g"].notna() & (frame["t"] >= 2)]
    mean = late.assign(after=late["t"] >= 4).groupby(["g", "after"])["y"].mean().unstack()
    by_hand = (mean[True] - mean[False]).loc[4] - (mean[True] - mean[False]).loc[2]
    assert out.loc[("later vs earlier treated", 4), "estimate"] == pytest.approx(by_hand, abs=1e-12)


def test_forbidden_comparisons_are_where_growing_effects_are_lost():
    out = at.bacon(at.Panel(staggered(lambda e: 1 + 4 * e, periods=10, starts=(3, 6)), **COLUMNS))
    kinds = out.by_kind().set_index("kind")["estimate"]
    assert kinds["earlier vs later treated"] > 0 > kinds["later vs earlier treated"]
    assert "1 of 2 comparisons are forbidden" in out.summary()
    assert f"{out.forbidden_weight:.1%} of the weight" in out.summary()
    assert out.forbidden_weight == pytest.approx(out.table.set_index("kind").loc["later vs earlier treated", "weight"])


def test_always_treated_are_counted():
    out = at.bacon(at.Panel(staggered(lambda e: 1.0, starts=(1, 4, np.nan)), **COLUMNS))
    assert "7 units treated in or before the first period" in out.summary() and len(out.table) == 1


def test_refusals():
    frame = random_panel(60, cohorts=(3, 4), missing=0.1)
    with pytest.raises(EstimationError, match="balanced panel"):
        at.bacon(at.Panel(frame, **COLUMNS))
    with pytest.raises(EstimationError):
        at.bacon(at.Panel(staggered(lambda e: 1.0, starts=(4,)), **COLUMNS))


def test_figure():
    out = at.bacon(at.Panel(random_panel(150, cohorts=(2, 3, 5), seed=1), **COLUMNS))
    before = out.tidy()
    figure = plots.bacon(out)
    (axis,) = figure.axes
    drawn = {c.get_gid(): np.asarray(c.get_offsets()) for c in axis.collections}
    for kind, part in out.table.groupby("kind"):
        np.testing.assert_allclose(drawn[kind], part[["weight", "estimate"]] * [100, 1])
    texts = " ".join(t.get_text() for t in axis.get_legend().get_texts())
    assert texts.count("forbidden") == 1 and "Later vs earlier treated" in texts
    assert f"{out.forbidden_weight:.0%}" in figure.alt
    box, (width, height) = figure.get_tightbbox(figure.canvas.get_renderer()), figure.get_size_inches()
    assert box.x0 >= -0.01 and box.y0 >= -0.01 and box.x1 <= width + 0.01 and box.y1 <= height + 0.01
    assert before.equals(out.tidy())
