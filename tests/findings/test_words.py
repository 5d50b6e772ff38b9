"""Words for people: no column names, no machine numbers, evidence as badges, one wide column for what was found."""

from __future__ import annotations

import pandas as pd
import pytest

import attribution as at
from attribution.findings import shown
from attribution.findings.finding import Findings
from attribution.findings.words import Told, human_table, plain, say_number
from attribution.results.tables import amount


@pytest.mark.parametrize(
    ("machine", "people"),
    [
        ("ATT on the matched treated (525 of 529)", "effect on those who took part (525 of 529 could be matched)"),
        ("ATT 4 quarters after date zero", "effect on those who took part, 4 quarters after date zero"),
        ("Placebo: 1.39e-17 (standard error 0.128)", "Placebo: 0 (standard error 0.128)"),
        ("mean effect -0.5", "mean effect \u22120.5"),
        ("the study demo has no table audits (gold labels; never overwritten)",
         "nobody has checked a random sample of outcomes yet"),
        ("2024-01-05 and 1999-2000 stay", "2024-01-05 and 1999-2000 stay"),
    ],
)  # fmt: skip
def test_plain(machine, people):
    assert plain(machine) == people


def test_zero_has_no_sign():
    assert say_number(-0.0001, "share", signed=True) == "0.0 points"
    assert say_number(-0.052, "share", signed=True) == "\u22125.2 points"


def test_tables_show_words_and_badges():
    findings = Findings("toy", "04_placements", "Did we?", year=2025, population="starters")
    findings.not_estimable("free", "nobody <applies>", tier="free", estimand="ATT", pool="open")
    html = findings.table()._repr_html_()
    assert '<span class="badge none">not estimable</span>' in html and "&lt;applies&gt;" in html
    assert "Effect on those who took part" in html and "compared with: open" in html and "<th>0</th>" not in html
    assert Told()._repr_html_() == "" and findings.table("nothing").empty


def test_a_graph_is_told_with_the_names_of_people():
    dot = """digraph { t -> y; age -> t; age -> y; income_lag_1 -> t; income_lag_1 -> y; life [observed="no"];
    life -> age; }"""
    told = shown.graph_in_words(at.adjustment_set(dot, "t", "y", covariates=["age"]))
    assert told.set_index("cause").loc["Income, 1 period before"].tolist() == ["common cause", "yes", "no", "yes"]
    page = told._repr_html_()
    assert "Failed. The design leaves a back door open: Income, 1 period before should be among" in page
    assert "income_lag" not in page


def test_a_table_shows_its_caption_and_a_long_note_once():
    note = "Long reason. " * 20
    rows = [{"finding_id": f"f{i}", "tier": "paid", "pool": pool, "estimand": f"effect {i}", "text": note}
            for i, pool in enumerate(["a", "a", "b"])]  # fmt: skip
    blank = dict.fromkeys(["term", "estimator", "status", "unit", "estimate", "conf_low", "conf_high", "grade",
                           "n_covered", "reason", "population"])  # fmt: skip
    table = human_table(pd.DataFrame([{**blank, "status": "described", **row} for row in rows]))
    assert table["note"].tolist() == [note.strip(), "checks as above", note.strip()]
    told = Told({"a": [1]})
    told.attrs["caption"] = "Paid & others"
    assert told._repr_html_().startswith('<p class="caption">Paid &amp; others</p>')


@pytest.mark.parametrize(
    ("value", "unit", "says"),
    [(0.0973, "share", "9.7 points"), (-0.0127, "share", "−1.3 points"), (-0.0001, "share", "0.0 points"),
     (1234.5, "USD", "1,234"), (0.0973, "", "0.0973")],
)  # fmt: skip
def test_amounts_within_a_sentence(value, unit, says):
    assert amount(value, unit) == says
