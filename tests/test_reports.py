"""The committed example is what the code gives, twice the same, and shows no person."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

import attribution as at
from attribution.report.runner import run

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "reports" / "nsw" / "1978"
NUMBERS = ["estimate", "std_error", "conf_low", "conf_high", "n_treated", "n_comparison", "n_covered", "benchmark"]


@pytest.fixture(scope="module")
def again(tmp_path_factory):
    """The NSW study run twice into empty folders."""
    folders = [tmp_path_factory.mktemp(name) for name in ("one", "two")]
    return [run("nsw", reports=folder).folder for folder in folders]


def test_the_committed_findings_are_recomputed(again):
    committed, fresh = (pd.read_csv(folder / "findings.csv") for folder in (EXAMPLE, again[0]))
    words = [name for name in committed.columns if name not in NUMBERS]
    pd.testing.assert_frame_equal(committed[words], fresh[words])
    pd.testing.assert_frame_equal(committed[NUMBERS], fresh[NUMBERS], rtol=1e-9, atol=1e-9)


def test_lalondes_table_is_recomputed(again):
    committed, fresh = (pd.read_csv(folder / "tables" / "estimators_paid.csv") for folder in (EXAMPLE, again[0]))
    assert len(committed) > 60 and (committed["reason"].isna() | committed["estimate"].isna()).all()
    pd.testing.assert_frame_equal(committed, fresh, rtol=1e-6, atol=1e-6)


def test_the_same_inputs_give_the_same_bytes(again):
    one, two = (
        {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}
        for folder in again
    )
    assert one.keys() == two.keys()
    assert [name for name in one if one[name] != two[name]] == ["run.json"]


def test_the_manifest_lists_every_file_with_its_hash(again):
    import hashlib

    manifest = json.loads((again[0] / "manifest.json").read_text())
    listed = manifest["outputs"]
    there = {str(f.relative_to(again[0])) for f in again[0].rglob("*") if f.is_file()} - {"manifest.json", "run.json"}
    assert set(listed) == there
    assert all(hashlib.sha256((again[0] / name).read_bytes()).hexdigest() == digest for name, digest in listed.items())


def test_what_the_trial_knows_is_printed_and_not_used(again):
    found = pd.read_csv(again[0] / "findings.csv").set_index("finding_id")
    income = found.loc["05_did_we_raise_household_income.income_matched_paid_cps1"]
    assert income["benchmark"] == pytest.approx(1794.34, abs=0.01)
    assert abs(income["estimate"] - income["benchmark"]) < 1.96 * income["std_error"]
    null = found.loc["05_did_we_raise_household_income.income_null_paid_cps1"]
    assert null["benchmark"] == 0 and abs(null["estimate"]) < 1.96 * null["std_error"]
    assert (found.loc[found["pool"] == "psid1", "grade"].dropna() == "cannot conclude").all()


def test_readme_shows_lalondes_table():
    from attribution.findings.estimators import lalonde_words

    study = at.Study.open("nsw")
    table = pd.read_csv(ROOT / "reports" / "nsw" / "1978" / "tables" / "estimators_paid.csv")
    shown = (ROOT / "README.md").read_text(encoding="utf-8").partition("<!-- lalonde -->\n")[2]
    assert shown.partition("<!-- /lalonde -->")[0].strip() == markdown(lalonde_words(study, table))


def markdown(frame: pd.DataFrame) -> str:
    rows = [frame.columns, ["---"] * frame.shape[1], *frame.itertuples(index=False)]
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in rows)
