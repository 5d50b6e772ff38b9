"""Words for people: no column names, no machine numbers, evidence as badges, one wide column for what was found."""

from __future__ import annotations

import pytest

from attribution.findings.finding import Findings
from attribution.findings.words import Told, plain, say_number


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
