"""1,000 panels a process of selection: the table that README quotes, held to its promises and made again in part."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import selection

CLAIMED = ["transitory dip", "persistent shock", "shock that stays", "no dip", "dynamic assignment",
           "transitory dip, no effect"]  # fmt: skip


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return pd.read_csv(selection.RESULTS).set_index(["process", "estimator"])


def test_the_markdown_is_the_table():
    assert selection.TABLE.read_text(encoding="utf-8") == selection.markdown(pd.read_csv(selection.RESULTS))


def test_a_thousand_panels_a_process_and_every_estimator(table):
    assert (table["panels"] >= 1_000).all()
    assert set(table.index) == {(p, e) for p in selection.PROCESSES for e in selection.NAMES}


def test_the_recommended_estimate_covers_where_it_claims_to(table):
    rows = table.xs("recommended", level="estimator").loc[CLAIMED]
    slack = 3 * np.sqrt(0.95 * 0.05 / rows["panels"])
    assert (rows["coverage"] > 0.95 - 0.01 - slack).all(), rows.to_string()
    assert (rows["bias"].abs() < 0.25 * rows["mean_se"]).all(), rows.to_string()
    assert rows["se_ratio"].between(0.9, 1.1).all(), rows.to_string()
    assert (rows["cannot_conclude"] < 0.15).all(), rows.to_string()


def test_it_is_never_the_estimator_with_the_large_bias(table):
    for process in CLAIMED:
        part = table.loc[process]
        assert part.loc["recommended", "rmse"] < 1.6 * part["rmse"].min(), part.to_string()
    worst = table.loc["transitory dip"]["bias"].abs().idxmax()
    assert worst == "last period before the start"


def test_a_trend_defeats_the_symmetric_base_and_is_said(table):
    trend = table.loc["trend"]
    assert trend.loc["symmetric", "coverage"] < 0.05
    assert trend.loc["recommended", "cannot_conclude"] > 0.9
    assert trend.loc["recommended", "said_wrong"] < 0.1
    assert trend.loc["symmetric, less the trend", "coverage"] > 0.92


def test_a_weak_trend_is_the_known_limit(table):
    weak = table.loc[("weak trend", "recommended")]
    assert weak["cannot_conclude"] > table.loc[("transitory dip", "recommended"), "cannot_conclude"] + 0.1
    assert weak["coverage"] < 0.9  # said in README: eight quarters do not show every trend


@pytest.mark.parametrize("process", ["transitory dip", "trend"])
def test_fresh_panels_agree_with_the_table(table, process):
    panels = 40
    fresh = selection.summarise(selection.runs(panels, [process], first=200_001)).set_index(["process", "estimator"])
    stored = table.loc[fresh.index]
    plain = stored.index.get_level_values("estimator") != "recommended"
    spread = np.sqrt(stored["rmse"] ** 2 - stored["bias"] ** 2)
    assert ((fresh["bias"] - stored["bias"]).abs() < 4 * spread / np.sqrt(panels))[plain].all(), fresh.to_string()
    p = stored[["coverage", "cannot_conclude"]].clip(0.02, 0.98)
    off = (fresh[["coverage", "cannot_conclude"]] - stored[["coverage", "cannot_conclude"]]).abs()
    assert (off < 4 * np.sqrt(p * (1 - p) / panels)).all().all(), fresh.to_string()
    steady = plain & (stored.index.get_level_values("estimator") != "symmetric, less the trend")
    # that one's standard error has a long tail: where shocks last, a trend can hardly be told from a dip's tail
    np.testing.assert_allclose(fresh["mean_se"][steady], stored["mean_se"][steady], rtol=0.1)


@pytest.mark.slow
def test_the_first_panels_of_the_table_are_what_the_code_gives(table):
    first = pd.read_csv(selection.FIRST).set_index(["process", "estimator"])  # written from the same rows
    again = selection.summarise(selection.runs(selection.AGAIN)).set_index(["process", "estimator"])
    assert set(again.index) == set(table.index)
    np.testing.assert_allclose(again.to_numpy(float), first.loc[again.index].to_numpy(float), rtol=1e-3, atol=2e-4)


def test_readme_shows_the_table(root):
    readme = (root / "README.md").read_text(encoding="utf-8")
    shown = readme.partition("<!-- selection -->\n")[2].partition("<!-- /selection -->")[0]
    assert shown.strip() == selection.TABLE.read_text(encoding="utf-8").strip()
