"""The simulated school: calibrated, reproducible, whole or not at all, and right about its own truth."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from attribution.errors import DataError
from attribution.read.simulate import VARIANTS, Parameters, School, simulate_school, write_demo

DEMO = Path(__file__).parents[2] / "data" / "demo"
CORE = {"programmes", "learners", "applications", "enrolments", "outcome_events", "income_panel"}


def small(**options) -> School:
    return simulate_school(3_000, core=True, **{"applicant_share": 1.0, "seed": 7, **options})


@pytest.fixture(scope="module")
def school() -> School:
    return simulate_school()


def month(dates: pd.Series) -> pd.Series:
    return dates.dt.year * 12 + dates.dt.month - 1


def test_every_calibrated_figure_is_within_its_tolerance(school):
    table = school.calibration()
    off = table[(table["simulated"] - table["target"]).abs() > table["tolerance"]]
    assert off.empty, off.to_string()
    assert table["source"].str.len().gt(5).all()


def test_every_parameter_has_a_unit_and_a_source():
    assert all(row["unit"] and row["source"] for row in Parameters().table())


def test_same_seed_same_bytes_and_another_seed_others(tmp_path):
    def digest(folder: Path) -> dict[str, str]:
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        return {str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}

    for name, seed in (("one", 5), ("two", 5), ("three", 6)):
        write_demo(tmp_path / name, learners=1_200, seed=seed)
    one, two, three = (digest(tmp_path / name) for name in ("one", "two", "three"))
    assert one == two
    assert one["tables/income_panel.parquet"] != three["tables/income_panel.parquet"]


def test_a_failed_write_leaves_the_old_school_untouched(tmp_path, monkeypatch):
    from attribution.read.simulate import school as module

    write_demo(tmp_path, learners=400, seed=1)
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    write, calls = module.write_parquet, []

    def fail_late(frame, path):
        calls.append(path)
        if len(calls) == 5:
            raise OSError("disk full")
        write(frame, path)

    monkeypatch.setattr(module, "write_parquet", fail_late)
    with pytest.raises(OSError, match="disk full"):
        write_demo(tmp_path, learners=400, seed=2)
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before


def test_unknown_variant_and_unknown_figure_are_refused():
    with pytest.raises(DataError, match="variant"):
        simulate_school(1_000, variant="rosy")
    with pytest.raises(DataError, match="start_rat"):
        simulate_school(1_000, start_rat=0.3)
    with pytest.raises(DataError, match="40 applicants"):
        simulate_school(50)


def test_core_makes_only_the_core_and_the_same_lives():
    core, whole = small(), simulate_school(3_000, applicant_share=1.0, seed=7)
    assert set(core.tables) == CORE
    pd.testing.assert_frame_equal(core.tables["income_panel"], whole.tables["income_panel"])
    pd.testing.assert_frame_equal(core.people, whole.people)


def test_nothing_of_the_truth_is_in_the_tables(school):
    hidden = {"employability", "employed0_q4", "income0_q4", "shock", "latent"}
    assert not hidden & {column for frame in school.tables.values() for column in frame.columns}
    assert "audits" not in school.tables
    sensitive = {"disability", "refugee", "qpv", "minimum_income"}
    assert all(not sensitive & set(f.columns) for name, f in school.tables.items() if name != "learners_sensitive")


def test_dates_are_in_order(school):
    applied, enrolled = school.tables["applications"], school.tables["enrolments"]
    seen = school.tables["learners"].set_index("person_id")["first_seen"]
    assert (applied["person_id"].map(seen) <= applied["applied_on"]).all()
    closed = applied["stage"] != "started"
    assert applied.loc[closed, ["decided_on", "reason_not_started"]].notna().all().all()
    assert applied.loc[~closed, ["decided_on", "reason_not_started"]].isna().all().all()
    start = enrolled[enrolled["tier"] != "free"].set_index("person_id")["start"]
    gap = month(applied["person_id"].map(start)) - month(applied["applied_on"])
    assert gap.dropna().between(1, 12).all()
    decided = (month(applied["decided_on"]) - month(applied["applied_on"])).dropna()
    assert decided.between(1, 12).all()
    events = school.tables["outcome_events"]
    assert (events["occurred_on"] <= events["recorded_on"]).all()
    assert (events["person_id"].map(seen) <= events["occurred_on"]).all()
    assert events["recorded_on"].max() <= pd.Timestamp("2025-12-31")
    assert school.tables["income_panel"]["period"].max() == "2025Q4"


def test_who_finds_a_job_before_the_start_never_starts(school):
    applied = school.tables["applications"].set_index("person_id")
    events = school.tables["outcome_events"]
    first = events[(events["type"] == "new_job") & events["person_id"].isin(applied.index)]
    first = first.groupby("person_id")["occurred_on"].min()
    jobless = school.tables["learners"].set_index("person_id")["status_at_entry"].reindex(applied.index) == "jobseeker"
    found = applied[jobless & (applied["reason_not_started"] == "found_job")]
    assert (found.index.map(first) == found["decided_on"]).all()
    starts = school.tables["enrolments"].query("tier != 'free'").set_index("person_id")["start"]
    starters = applied.index[jobless & (applied["stage"] == "started")]
    later = first.reindex(starters).dropna()
    assert (later > starts.loc[later.index]).all()


def test_the_income_panel_shows_a_dip_before_application_and_none_in_no_dip():
    def path(school: School) -> pd.Series:
        panel, applied = school.tables["income_panel"], school.tables["applications"]
        zero = applied.set_index("person_id")["applied_on"]
        number = panel["period"].str[:4].astype(int) * 4 + panel["period"].str[5].astype(int) - 1
        return panel["employed"].groupby(number - month(panel["person_id"].map(zero)) // 3).mean()

    base, flat = path(small()), path(small(variant="no_dip"))
    assert base[-6] - base[-1] > 0.2
    assert abs(flat[-6] - flat[-1]) < 0.04


def test_the_panel_is_the_factual_potential_outcome():
    school = small()
    panel = school.tables["income_panel"].copy()
    panel["q"] = panel["period"].str[:4].astype(int) * 4 + panel["period"].str[5].astype(int) - 1
    panel = panel.set_index(["person_id", "q"])
    for k in (0, 4, 8):
        people = school.people[school.people["zero_period"] + k <= 2025 * 4 + 3]
        seen = panel.loc[pd.MultiIndex.from_arrays([people["person_id"], people["zero_period"] + k])]
        assert (seen["employed"].to_numpy() == people[f"employed1_q{k}"].to_numpy()).all()
        assert (seen["household_net_cents"].to_numpy() == people[f"income1_q{k}"].to_numpy()).all()


def test_zero_is_zero_for_every_starter_at_every_horizon():
    people = small(variant="zero").people
    for k in range(9):
        assert (people[f"employed1_q{k}"] == people[f"employed0_q{k}"]).all()
        assert (people[f"income1_q{k}"] == people[f"income0_q{k}"]).all()


def test_lock_in_then_gain_and_larger_gains_for_women_and_the_less_qualified(school):
    people = school.people.query("tier == 'paid' and jobless")
    gain = {k: people[f"employed1_q{k}"].astype(float) - people[f"employed0_q{k}"] for k in range(9)}
    assert gain[0].mean() < -0.01 < 0.05 < gain[4].mean() < gain[8].mean() + 0.02
    assert gain[4][people["sex"] == "F"].mean() > gain[4][people["sex"] == "M"].mean()
    low = people["education"].isin(["none", "cap_bep", "bac"])
    assert gain[8][low].mean() > gain[8][~low].mean()


def test_apprentices_hold_a_contract_that_is_not_a_placement(school):
    events = school.tables["outcome_events"].query("type == 'apprenticeship'")
    assert events["programme_embedded"].all() and (events["contract"] == "apprentice").all()
    people = school.people.query("tier == 'apprenticeship' and jobless")
    assert people["employed1_q2"].all() and not people["regular1_q2"].any()


def test_naive_answers_are_wrong_in_the_known_directions():
    schools = [simulate_school(12_000, core=True, applicant_share=1.0, seed=seed, variant="zero") for seed in (1, 2, 3)]
    naive = [school.truth["years"][year]["paid"]["naive"] for school in schools for year in ("2022", "2023", "2025")]
    assert np.mean([row["starters_minus_never_12m"] for row in naive]) < -0.03  # true effect 0
    assert np.mean([row["income_did_last_quarter_cents"] for row in naive]) > 12_000  # 120 euros where the truth is 0


@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_every_variant_makes_a_school(variant):
    school = small(variant=variant)
    assert school.truth["variant"] == variant and len(school.people) > 300
    json.dumps(school.truth, allow_nan=False)


def test_the_hidden_confounder_is_hidden_and_large():
    base, hidden = small().people["employability"].mean(), small(variant="hidden").people["employability"].mean()
    assert hidden - base > 0.3


def test_who_expects_to_start_stops_searching_so_more_of_them_start():
    assert len(small(variant="anticipation").people) > len(small().people)


def test_signals_capture_more_inside_and_answers_follow_the_outcome(school):
    invites = school.tables["survey_invites"]
    applicants = invites[invites["stratum"] == "applicant"]
    panel = school.tables["income_panel"]
    quarter = applicants["wave_id"].str[1:] + "Q4"
    job = panel.set_index(["person_id", "period"])["employed"].reindex(
        pd.MultiIndex.from_arrays([applicants["person_id"], quarter])
    )
    rate = applicants["responded_on"].notna().groupby(job.to_numpy()).mean()
    assert rate[1] - rate[0] > 0.12
    assert ((invites["inclusion_prob"] > 0) & (invites["inclusion_prob"] <= 1)).all()


def test_the_contract_holds(tmp_path):
    contract = pytest.importorskip("attribution.read.contract")
    study = pytest.importorskip("attribution.study")
    (tmp_path / "study.toml").write_bytes((DEMO / "study.toml").read_bytes())
    write_demo(tmp_path, learners=2_000, seed=3)
    opened = study.Study.open(tmp_path)
    contract.require(opened)
    for name in contract.TABLES:
        assert opened.has(name) == (name not in {"audits", "comparison_units", "releases"})
