"""The NSW tables: what the register says they are, and the experiment's published answer."""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest


@pytest.fixture(scope="module")
def tables(root: Path) -> dict[str, pd.DataFrame]:
    return {path.stem: pd.read_parquet(path) for path in sorted((root / "data/nsw/tables").glob("*.parquet"))}


@pytest.fixture(scope="module")
def register(root: Path) -> list[dict[str, str]]:
    with (root / "data/sources.csv").open(encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


@pytest.fixture(scope="module")
def outcomes(tables) -> pd.DataFrame:
    """Employment and dollars of 1978 of the 445 men of the experiment."""
    panel = tables["income_panel"].query("period == '1978' and person_id.str.startswith('nsw-')")
    return pd.DataFrame(
        {
            "treated": panel["person_id"].str.startswith("nsw-t").astype(int),
            "employed": panel["employed"].astype(float),
            "earnings": panel["earnings_net_cents"] / 100,
        }
    )


def difference(outcomes: pd.DataFrame, column: str) -> tuple[float, float, float]:
    """Difference in means with its HC2 and its homoskedastic standard error."""
    arms = [outcomes.loc[outcomes["treated"] == arm, column] for arm in (1, 0)]
    squares, n = [((a - a.mean()) ** 2).sum() for a in arms], [len(a) for a in arms]
    hc2 = np.sqrt(sum(s / (k - 1) / k for s, k in zip(squares, n, strict=True)))
    ols = np.sqrt(sum(squares) / (sum(n) - 2) * sum(1 / k for k in n))
    return arms[0].mean() - arms[1].mean(), float(hc2), float(ols)


def test_the_register_lists_every_committed_file_with_its_bytes(root, register):
    listed = {row["file"] for row in register}
    assert listed == {f"nsw/tables/{path.name}" for path in (root / "data/nsw/tables").iterdir()}
    for row in register:
        path = root / "data" / row["file"]
        assert hashlib.sha256(path.read_bytes()).hexdigest() == row["sha256"], row["file"]
        assert pq.read_metadata(path).num_rows == int(row["rows"])
        assert row["licence"] == "MIT" and row["producer"] and row["what"] and row["source"]


def test_the_script_reproduces_the_files_bit_for_bit(root, register, tmp_path):
    sources = {part.strip() for row in register for part in row["source"].split(";")}
    for name, wanted in (source.split() for source in sorted(sources)):
        found = version(name)
        if found != wanted:
            pytest.skip(f"{name} {found} is installed, the tables were made with {wanted}")
    spec = importlib.util.spec_from_file_location("nsw_build", root / "data/nsw/build.py")
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    for path in build.build(tmp_path):
        committed = root / "data/nsw/tables" / path.name
        writer = pq.read_metadata(committed).created_by
        if writer.endswith(f"version {pa.__version__}"):
            assert path.read_bytes() == committed.read_bytes(), path.name
        else:  # another writer lays the same table out differently
            assert pq.read_table(path).equals(pq.read_table(committed)), path.name
    assert "nsw_build" not in sys.modules


def test_the_experiment_says_what_was_published(outcomes):
    estimate, hc2, ols = difference(outcomes, "earnings")
    assert estimate == pytest.approx(1794.34, abs=0.01)
    assert hc2 == pytest.approx(671.0, abs=0.5)
    assert ols == pytest.approx(632.85, abs=0.01)
    estimate, hc2, _ = difference(outcomes, "employed")
    assert estimate == pytest.approx(0.1106, abs=0.00005)
    assert hc2 == pytest.approx(0.0434, abs=0.00005)


def test_the_experiment_agrees_with_the_shared_benchmarks(outcomes, external):
    file = external / "data" / "benchmarks.csv"
    known = pd.read_csv(file).query("quantity == 'ATT re78, DW experimental (185 T, 260 C)'").iloc[0]
    estimate, hc2, ols = difference(outcomes, "earnings")
    assert round(estimate) == float(known["published"])
    assert known["se"] == f"{ols:.0f} (OLS), {hc2:.0f} (HC2)"


def test_the_study_quotes_the_experiment_as_computed(root, outcomes):
    import tomllib

    known = tomllib.loads((root / "data/nsw/study.toml").read_text(encoding="utf-8"))["benchmarks"]
    for section, column, digits in (("income", "earnings", 2), ("placement", "employed", 4)):
        estimate, hc2, _ = difference(outcomes, column)
        assert known[section]["estimate"] == round(estimate, digits)
        assert known[section]["std_error"] == round(hc2, 0 if column == "earnings" else 4)
    assert known["stand_in"]["estimate"] == 0.0


def test_the_full_sample_benchmark_is_the_published_one(root, external):
    import tomllib

    plan = tomllib.loads((root / "data/nsw/study.toml").read_text(encoding="utf-8"))
    known = plan["benchmarks"]["income_full_sample"]
    men = pd.read_parquet(external / "data" / "lalonde_men.parquet").query("sample == 'nsw'")
    estimate, hc2, ols = difference(men, "re78")
    assert round(estimate, 1) == known["estimate"]
    assert (round(hc2), round(ols)) == (known["std_error"], known["std_error_ols"])
    assert men["treated"].value_counts().to_dict() == {0: known["n_comparison"], 1: known["n_treated"]}


def test_everybody_has_one_role_and_a_whole_history(tables):
    men = set(tables["learners"]["person_id"])
    pools = tables["comparison_units"].set_index("unit_id")["pool"]
    assert len(men) == 185 and not men & set(pools.index) and pools.index.is_unique
    assert pools.value_counts().to_dict() == {"cps1": 15_992, "psid1": 2_490, "nsw_control": 260}
    panel = tables["income_panel"]
    assert set(panel["person_id"]) == men | set(pools.index) == set(tables["learners_sensitive"]["person_id"])
    assert not panel.duplicated(["person_id", "period"]).any()
    assert panel["period"].value_counts().to_dict() == dict.fromkeys(["1974", "1975", "1978"], 18_927)
    assert ((panel["earnings_net_cents"] > 0) == (panel["employed"] == 1)).all()
    assert (panel["earnings_net_cents"] >= 0).all()


def test_sensitive_facts_stay_in_their_own_table(tables):
    for name, table in tables.items():
        if name != "learners_sensitive":
            assert not {"ethnicity", "black", "hispanic", "disability"} & set(table.columns), name
    counts = tables["learners_sensitive"]["ethnicity"].value_counts()
    assert set(counts.index) == {"black", "hispanic", "other"}


def test_the_pools_are_those_of_the_published_comparison(tables, external):
    """Same men as in another package's copy of the data, group by group."""
    known = pd.read_parquet(external / "data" / "lalonde_men.parquet")
    panel = tables["income_panel"].pivot(index="person_id", columns="period", values="earnings_net_cents") / 100
    for pool in ("cps1", "psid1"):
        theirs = known[known["sample"] == pool]
        ours = panel[panel.index.str.startswith(pool)]
        for period, column in (("1974", "re74"), ("1975", "re75"), ("1978", "re78")):
            # that copy rounds PSID earnings to whole dollars
            np.testing.assert_allclose(np.sort(ours[period]), np.sort(theirs[column]), atol=0.51)


def test_the_study_meets_the_contract(root):
    from attribution.read.contract import check
    from attribution.study import Study

    study = Study.open(root / "data/nsw", check=False)
    assert list(check(study)) == []
    assert study.year == 1978 and study.comparison.benchmark == "nsw_control"
