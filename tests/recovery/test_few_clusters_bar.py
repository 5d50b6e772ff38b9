"""With 5 to 10 clusters, or few treated among up to 200, a true null is rejected in at most 7 %, or refused."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import few_clusters
from few_clusters import BAR, Design

FIELDS = list(Design.__dataclass_fields__)


@pytest.fixture(scope="module")
def committed() -> pd.DataFrame:
    return pd.read_csv(few_clusters.RESULTS, keep_default_na=False, na_values=[""])


def test_every_design_is_there_with_enough_draws(committed):
    assert committed[FIELDS].drop_duplicates().to_dict("records") == [vars(d) for d in few_clusters.designs()]
    assert (committed.loc[committed["rejection"].notna(), "reps"] >= 2_000).all()


def test_no_true_null_is_rejected_more_often_than_the_bar(committed):
    tried = committed.dropna(subset=["rejection"])
    assert (tried["rejection"] <= BAR).all(), tried[tried["rejection"] > BAR].to_string()
    assert (committed["refused"][committed["rejection"].isna()] == 1).all()


def test_the_standard_error_is_hardly_ever_too_small_and_the_test_not_blind(committed):
    assert (committed["se_ratio"].dropna() > 0.97).all()
    balanced = committed[(committed["treated"] * 2 == committed["clusters"]) & (committed["sizes"] == "equal")
                         & (committed["timing"] == "one") & (committed["estimand"] == "overall")]  # fmt: skip
    assert (balanced["power_4sd"] > 0.7).all(), balanced.to_string()


def test_whole_cohorts_of_one_cluster_are_refused(committed):
    two = committed[(committed["treated"] == 2) & (committed["timing"] == "staggered")]
    assert (two.loc[two["estimand"] == "cohort", "refused"] == 1).all()
    assert (two.loc[two["estimand"] == "overall", "refused"] == 0).all()


@pytest.mark.parametrize("design", [
    Design(6, 2), Design(8, 3, treated_sd=3.0), Design(8, 4, timing="staggered", comparison="not_yet_treated"),
])  # fmt: skip
def test_the_committed_rates_are_what_the_code_gives(committed, design):
    own = committed[(committed[FIELDS] == pd.Series(vars(design))).all(axis=1)].set_index("estimand")
    again = few_clusters.simulate(design, reps=2_000, seed=7).set_index("estimand")
    assert list(own.index) == list(again.index)
    noise = np.sqrt(own["rejection"] * (1 - own["rejection"]) * (1 / 2_000 + 1 / own["reps"]))
    assert ((own["rejection"] - again["rejection"]).abs() <= 4 * noise + 0.003).all()
    np.testing.assert_allclose(own["se_ratio"].dropna(), again["se_ratio"].dropna(), rtol=0.12)


@pytest.mark.slow
def test_every_fifth_design_again(committed):
    """`python tests/recovery/few_clusters.py` makes them all."""
    some = few_clusters.designs()[::5]
    made = pd.concat([few_clusters.simulate(d) for d in some], ignore_index=True)
    own = committed.merge(pd.DataFrame([vars(d) for d in some]), on=FIELDS)
    pd.testing.assert_frame_equal(made.round(4), own, check_dtype=False, atol=2e-3)
