"""The design never sees what happens after date zero: it is bit-identical when all of that is shuffled or removed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from small_school import config, random_school

from attribution.cohorts.cohorts import Cohort, landmarks
from attribution.design.match import match
from attribution.results import Design
from attribution.study import Study

Tables = dict[str, pd.DataFrame]
MONEY_AND_WORK = ["employed", "earnings_net_cents", "household_net_cents"]


def shuffled_across_people(frame: pd.DataFrame, later: pd.Series, columns: list[str]) -> pd.DataFrame:
    """The values of `columns` in the rows `later` dealt out anew among those rows."""
    out = frame.copy()
    place = np.random.default_rng(5).permutation(int(later.sum()))
    for column in [name for name in columns if name in frame]:
        out.loc[later, column] = frame.loc[later, column].to_numpy()[place]
    return out


def set_missing(frame: pd.DataFrame, later: pd.Series, columns: list[str]) -> pd.DataFrame:
    out = frame.copy()
    for column in [name for name in columns if name in frame]:
        out[column] = out[column].astype("Float64").mask(later)
    return out


def removed(frame: pd.DataFrame, later: pd.Series, columns: list[str]) -> pd.DataFrame:
    return frame[~later].reset_index(drop=True)


CHANGES: list[Callable] = [shuffled_across_people, set_missing, removed]


def fingerprint(frame: pd.DataFrame) -> str:
    """Hash of columns, types and bytes."""
    text = hashlib.sha256(repr([(name, str(kind)) for name, kind in frame.dtypes.items()]).encode())
    for name in frame:
        values = frame[name].to_numpy()
        text.update(repr(values.tolist()).encode() if values.dtype == object else values.tobytes())
    return text.hexdigest()


def matched(study: Study, cohort: Cohort) -> Design:
    plan = study.design
    return match(
        cohort.units, "treated", covariates=list(plan.covariates), exact=tuple(plan.exact), caliper_sd=plan.caliper_sd,
        key="record_id", person="person",
    )  # fmt: skip


def assert_same_design(one: Cohort, two: Cohort) -> None:
    assert fingerprint(one.units) == fingerprint(two.units)
    pd.testing.assert_frame_equal(one.flow, two.flow)
    a, b = matched(one.study, one), matched(two.study, two)
    assert fingerprint(a.pairs) == fingerprint(b.pairs)
    for name in ("weights", "strata", "discarded", "unmatched", "propensity", "distance"):
        left, right = getattr(a, name), getattr(b, name)
        assert (left is None and right is None) or left.tobytes() == right.tobytes(), name


@pytest.fixture(scope="module")
def school() -> Tables:
    return random_school(1_200, seed=4)


def one_landmark(school: Tables) -> tuple[Tables, pd.Series]:
    """Applicants of one month, so that "after date zero" is one date for everybody: the month after they applied."""
    month = pd.Timestamp("2024-02-01")
    applied = school["applications"]["applied_on"]
    few = set(school["applications"].loc[(applied >= "2024-01-01") & (applied < month), "person_id"])
    kept = {
        name: frame[frame["person_id"].isin(few)].reset_index(drop=True) if "person_id" in frame else frame
        for name, frame in school.items()
    }
    return kept, kept["income_panel"]["period"] >= "2024Q1"


@pytest.mark.parametrize("change", CHANGES)
def test_designs_of_a_school_do_not_see_later_income_or_work(school, change):
    study = Study.from_tables(config(clock={"landmark_months": 2}), school)
    whole = landmarks(study, "paid")
    later = school["income_panel"]["period"] >= "2025Q1"  # after every date zero of the cohort year
    changed = school | {"income_panel": change(school["income_panel"], later, MONEY_AND_WORK)}
    two = landmarks(Study.from_tables(config(clock={"landmark_months": 2}), changed), "paid")
    assert_same_design(whole, two)
    assert fingerprint(whole.outcomes) != fingerprint(two.outcomes)  # the change did reach what may be seen


@pytest.mark.parametrize("change", CHANGES)
def test_designs_of_one_intake_do_not_see_its_own_quarter(school, change):
    few, later = one_landmark(random_school(9_000, seed=2))
    options = config(clock={"landmark_months": 2})
    one = landmarks(Study.from_tables(options, few), "paid")
    changed = few | {"income_panel": change(few["income_panel"], later, MONEY_AND_WORK)}
    two = landmarks(Study.from_tables(options, changed), "paid")
    assert_same_design(one, two)


def test_designs_do_not_see_events_after_the_last_landmark(school):
    events = school["outcome_events"]
    later = events["occurred_on"] >= "2025-01-01"
    rng = np.random.default_rng(1)
    dealt = events.copy()
    dealt.loc[later, "person_id"] = rng.permutation(events.loc[later, "person_id"].to_numpy())
    one = landmarks(Study.from_tables(config(), school), "paid")
    for changed in (dealt, events[~later].reset_index(drop=True)):
        two = landmarks(Study.from_tables(config(), school | {"outcome_events": changed}), "paid")
        assert_same_design(one, two)


def test_a_record_does_not_see_what_happens_after_its_own_date_zero(school):
    """Look-ahead: the world is cut off at a date; records with date zero up to it stay as they were."""
    whole = landmarks(Study.from_tables(config(), school), "paid").units
    cut = pd.Timestamp("2024-07-01")  # everything from July on is unknown, but for the starts of July themselves
    enrolments, applications = school["enrolments"], school["applications"].copy()
    late = (applications["decided_on"] >= cut) | applications["person_id"].isin(
        enrolments.loc[enrolments["start"] >= "2024-08-01", "person_id"]
    )
    applications.loc[late, "stage"] = "admitted"
    applications.loc[late, "reason_not_started"] = pd.NA
    applications.loc[late, "decided_on"] = pd.NaT
    world = school | {
        "enrolments": enrolments[enrolments["start"] < "2024-08-01"].reset_index(drop=True),
        "outcome_events": school["outcome_events"].query("occurred_on < @cut").reset_index(drop=True),
        "applications": applications,
        "income_panel": school["income_panel"].query("period < '2024Q3'").reset_index(drop=True),
    }
    then = landmarks(Study.from_tables(config(), world), "paid").units
    past = [frame[frame["date_zero"] <= "2024-07-01"].reset_index(drop=True) for frame in (whole, then)]
    assert len(past[0]) > 500
    pd.testing.assert_frame_equal(past[0], past[1], check_exact=True)


@pytest.mark.parametrize("change", CHANGES)
def test_designs_of_the_trial_study_do_not_see_1978(root, change):
    study = Study.open(root / "data" / "nsw", check=False)
    made = {name: study.table(name) for name in study.engine.tables()}
    one = landmarks(study, "paid", pools=["psid1", "nsw_control"])
    later = made["income_panel"]["period"] == "1978"
    panel = change(made["income_panel"], later, MONEY_AND_WORK)
    two = landmarks(
        Study.from_tables(study_toml(root), made | {"income_panel": panel}), "paid", pools=["psid1", "nsw_control"]
    )
    assert_same_design(one, two)
    assert_same_design(one.stand_in("nsw_control"), two.stand_in("nsw_control"))


def study_toml(root) -> dict:
    import tomllib

    return tomllib.loads((root / "data" / "nsw" / "study.toml").read_text(encoding="utf-8"))
