"""The first page says what the notebooks found: numbers for people, no number where there is none."""

from __future__ import annotations

import re

from toys import toy

from attribution.findings.finding import Findings, read_documents
from attribution.report.pages import write_index


def test_the_page(tmp_path):
    study = toy(tiers={"paid": {"title": "Paid programmes"}}, question="Did it help <us>?")
    findings = Findings(study, "07_committee", "What do we tell the committee?", population="starters")
    columns = {"tier": "paid", "estimand": "share"}
    findings.describe("claimed", count=300, n=1000, term="claimed", **columns)
    findings.not_available("verified", "no audits yet", term="verified", **columns)
    findings.describe("observed", count=600, n=1000, term="observed", **columns)
    findings.not_estimable(
        "counterfactual", "Overlap fails.", term="counterfactual", grade="cannot conclude", **columns
    )
    whole = {"std_error": 0.01, "unit": "share", "n_treated": 1000, "n_covered": 1000, "design": "landmark"}
    findings.add("attributable", estimate=0.05234567, term="attributable", grade="weak", **whole, **columns)
    findings.describe("rare", count=3, n=900, term="rare", **columns)
    findings.answer("About 52 people.")
    findings.write(tmp_path)
    page = write_index(tmp_path, study, read_documents(tmp_path)).read_text()
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.split("</style>")[1]))
    for words in (
        "About 52 people.", "Paid programmes", "30.0 %", "+5.2 points", "+3.3 to +7.2", "52 people", "no audits yet",
        "cannot conclude", "Overlap fails.", "suppressed", "starters", "Did it help &lt;us&gt;?",
    ):  # fmt: skip
        assert words in text, words
    assert "0.0523" not in page and "n_treated" not in page and "not_estimable" not in page
    assert "<script" not in page and "http" not in page
    assert write_index(tmp_path, study, read_documents(tmp_path)).read_text() == page
