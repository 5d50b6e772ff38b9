"""The simulated school as a whole: its tables, its truth, its calibration, its files."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ...errors import DataError
from . import surroundings, tables
from .calibration import calibrate
from .lives import NEVER, Applicants, Lives, draw_applicants, live
from .parameters import VARIANTS, Parameters, parameters_for
from .truth import naive_answers, observable_until, people_frame, truth

CORE = ("programmes", "learners", "applications", "enrolments", "outcome_events", "income_panel")


@dataclass(frozen=True, kw_only=True)
class School:
    """A simulated school.

    Parameters
    ----------
    tables : the central database, one frame per table.
    truth : aggregate truth, ready for JSON.
    people : one row per starter with both potential outcomes; never written into the tables.
    figures : the parameters used.
    """

    tables: Mapping[str, pd.DataFrame]
    truth: Mapping[str, object]
    people: pd.DataFrame
    figures: Parameters

    def calibration(self) -> pd.DataFrame:
        """Return figure, target, simulated value, tolerance and source; one row per calibrated figure."""
        return calibrate(self.tables, self.people, self.figures)


def simulate_school(
    learners: int = 60_000,
    *,
    seed: int = 20_240_101,
    variant: str = "base",
    core: bool = False,
    **parameter_overrides: Any,
) -> School:
    """Simulate a school whose causal effects are known.

    Parameters
    ----------
    learners : persons, applicants and free learners together; `applicant_share` of them apply.
    seed : same seed, same bytes.
    variant : one of VARIANTS.
    core : make only the six tables that cohorts and estimates need (3,000 applicants: 0.1 s with applicant_share=1).
    parameter_overrides : figures of Parameters by name.

    Raises
    ------
    DataError : unknown variant or figure, or fewer than 40 applicants.
    """
    p = parameters_for(variant, parameter_overrides)
    n = int(round(learners * p.applicant_share))
    if n < 40:
        raise DataError("at least 40 applicants", f"{n}", "simulate more learners", count=learners)
    rng, names, events_rng, rest = np.random.default_rng(seed).spawn(4)
    a = draw_applicants(rng, n, p, variant)
    lives = live(a, p)
    when = _dates(names, a, lives)
    who = tables.describe(names, a, learners - n, when)
    made = {
        "programmes": tables.programmes(),
        "learners": tables.learners(names, who, a),
        "applications": tables.applications(who, a, lives, when),
        "enrolments": tables.enrolments(names, who, a, lives, p, when),
        "outcome_events": tables.outcome_events(events_rng, who, a, lives, p),
        "income_panel": tables.income_panel(who, a, lives, p),
    }
    if not core:
        made |= _surroundings(rest, made, who, a, lives, p, when)
    people = people_frame(who.person_id[:n], a, lives, p)
    facts = {
        "variant": variant, "meaning": VARIANTS[variant], "seed": seed, "learners": learners, "applicants": n,
        "data_until": observable_until(),
        "estimand": "start now rather than not yet, jobless starters, by study year (starts of the year before) and "
        "tier; event quarter k = the k-th after the quarter of the start, employed in its last month, see income_panel",
        "years": truth(people, naive_answers(a, lives, p)),
    }  # fmt: skip
    return School(tables=made, truth=facts, people=people, figures=p)


def _dates(rng: np.random.Generator, a: Applicants, lives: Lives) -> dict[str, np.ndarray]:
    """Applications on any day, starts before the 11th, decisions after it: the order within a month is plain."""
    n = len(a.month)
    applied = tables.day(a.month, rng.integers(1, 29, n))
    started = lives.start < NEVER
    missing = np.full(n, np.datetime64("NaT"), dtype="datetime64[D]")
    start = tables.day(a.month + np.where(started, lives.start, 0), rng.integers(1, 11, n))
    month = a.month + np.where(started, 0, lives.close)
    hired = lives.reason == "found_job"
    of_month = np.where(hired, tables.job_day(np.arange(n), month), rng.integers(12, 29, n))
    decided = tables.day(month, of_month)
    return {
        "applied_on": applied,
        "started_on": np.where(started, start, missing),
        "decided_on": np.where(started, missing, decided),
    }


def _surroundings(rng, made, who, a: Applicants, lives: Lives, p: Parameters, when) -> dict[str, pd.DataFrame]:
    n = len(a.month)
    one, two, three, four, five, six = rng.spawn(6)
    invites = surroundings.survey_invites(two, who, a, lives, p, when)
    money = surroundings.finance(made["enrolments"])
    return {
        "learners_sensitive": surroundings.learners_sensitive(one, who, a, lives, p),
        "outcome_events": surroundings.credit_events(three, made["outcome_events"], invites, p),
        "signals": surroundings.signals(four, who, made["outcome_events"], lives, n, p, when),
        "survey_waves": surroundings.survey_waves(),
        "survey_invites": invites,
        "engagement": surroundings.engagement(five, who, a, lives),
        "labour_market": surroundings.labour_market(six),
        "definitions": surroundings.definitions(),
        "objectives": surroundings.objectives(),
        "finance": money,
        "environment": surroundings.environment(made["enrolments"]),
        "company_kpis": surroundings.company_kpis(money),
    }


def write_demo(
    folder: str | Path,
    *,
    learners: int = 60_000,
    seed: int = 20_240_101,
    variant: str = "base",
    **parameter_overrides: Any,
) -> School:
    """Write `tables/*.parquet`, `truth.json` and `truth_people.parquet` into a study folder, whole or not at all.

    Same arguments, same bytes. Other files of the folder (study.toml) are left alone.
    """
    school = simulate_school(learners, seed=seed, variant=variant, **parameter_overrides)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".building-", dir=folder))
    try:
        (scratch / "tables").mkdir()
        for name, frame in school.tables.items():
            write_parquet(frame, scratch / "tables" / f"{name}.parquet")
        write_parquet(school.people, scratch / "truth_people.parquet")
        facts = {**school.truth, "parameters": school.figures.table(),
                 "calibration": json.loads(school.calibration().to_json(orient="records"))}  # fmt: skip
        text = json.dumps(facts, indent=1, ensure_ascii=False, allow_nan=False)
        (scratch / "truth.json").write_text(text + "\n", encoding="utf-8")
        _swap(scratch, folder, ["tables", "truth_people.parquet", "truth.json"])
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return school


def _swap(scratch: Path, folder: Path, names: list[str]) -> None:
    """Move the new files in; if any move fails, put the old ones back."""
    aside = scratch / "old"
    aside.mkdir()
    moved: list[str] = []
    try:
        for name in names:
            if (folder / name).exists():
                (folder / name).rename(aside / name)
            moved.append(name)
            (scratch / name).rename(folder / name)
    except OSError:
        for name in moved:
            target = folder / name
            if target.is_dir():
                shutil.rmtree(target)
            else:
                target.unlink(missing_ok=True)
            if (aside / name).exists():
                (aside / name).rename(target)
        raise


def write_parquet(frame: pd.DataFrame, path: Path) -> None:
    """Write one table with fixed options: dates as date32, no pandas metadata, zstd."""
    table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
    for i, column in enumerate(table.schema):
        if pa.types.is_timestamp(column.type):
            table = table.set_column(i, column.name, table.column(i).cast(pa.date32()))
        elif pa.types.is_null(column.type) or pa.types.is_large_string(column.type):
            table = table.set_column(i, column.name, table.column(i).cast(pa.string()))
    pq.write_table(table, path, compression="zstd", version="2.6", write_statistics=True, row_group_size=1_000_000)
