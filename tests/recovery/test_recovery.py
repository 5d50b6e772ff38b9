"""500 simulated schools a variant: the table that README quotes, held to its promises and made again in part."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import proof

SEEDS = 500


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return pd.read_csv(proof.RESULTS)


@pytest.mark.slow
def test_the_first_schools_of_the_table_are_what_the_code_gives(table):
    first = pd.read_csv(proof.FIRST)  # written from the same rows as the table
    again = proof.summarise(proof.runs(proof.AGAIN))
    assert (table["seeds"] == SEEDS).all()
    assert table["variant"].tolist() == first["variant"].tolist() == again["variant"].tolist()
    numbers = again.select_dtypes("number").columns
    np.testing.assert_allclose(first[numbers], again[numbers], rtol=1e-3, atol=2e-4)


def test_base_is_covered_at_its_level_without_bias(table):
    base = table[table["variant"].isin(["base", "zero"])]
    low = 0.95 - 3 * np.sqrt(0.95 * 0.05 / SEEDS)
    assert (base["coverage"] > low).all(), base.to_string()
    assert (base["bias_in_se"].abs() < 0.25).all(), base.to_string()
    assert base["se_ratio"].between(0.9, 1.1).all(), base.to_string()


def test_a_wrong_sign_is_hardly_ever_stated(table):
    assert (table["confident_wrong_sign"] <= 0.01).all(), table.to_string()


def test_what_the_design_cannot_answer_is_flagged(table):
    flagged = table.set_index(["variant", "estimand"])["cannot_conclude"]
    hidden, base = flagged["hidden"], flagged["base"]
    assert (hidden > 2 * base).all(), flagged.to_string()  # about 115 pairs: no placebo sees a hidden cause every time


def test_the_readme_quotes_the_committed_table(root):
    assert proof.markdown(pd.read_csv(proof.RESULTS)) in (root / "README.md").read_text(encoding="utf-8")


def test_one_school_of_each_variant_runs():
    rows = pd.DataFrame([row for variant in proof.VARIANTS for row in proof.one((variant, 1))])
    assert len(rows) == 4 * len(proof.VARIANTS)
    assert np.isfinite(rows[["estimate", "std_error", "truth"]]).all().all()
