"""A study: what is asked (study.toml, frozen and hashed) and the tables that answer it."""

from __future__ import annotations

import datetime
import difflib
import hashlib
import html
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from sqlglot import exp

from .errors import DataError
from .read import config as toml
from .read.contract.tables import TABLES, sql_types
from .read.engine import DuckDB, open_engine, query, to_pandas
from .read.sql import render, tables_of

PROJECT = "ATTRIBUTION_PROJECT"  # environment variable naming the project folder


@dataclass(frozen=True, kw_only=True, repr=False)
class Study:
    """study.toml and its tables; `Study.open` for a folder, `Study.from_tables` for frames in memory.

    year : calendar year whose findings are asked for. years : all that may be asked for.
    clock, outcomes, tiers, comparison, design, did, disclosure, benchmarks, graph : sections of study.toml, frozen.
    plan_hash : sha256 of the canonical study.toml, so that a change of plan after the data were seen shows.
    """

    config: toml.Config
    year: int
    plan_hash: str
    engine: Any
    folder: Path | None = None

    @classmethod
    def open(cls, name_or_path: str | Path = "demo", year: int | None = None, *, check: bool = True) -> Study:
        """The study of that name in <project>/data/, or of that folder, checked against the contract.

        Parameters
        ----------
        name_or_path : folder name in <project>/data/, or path of a folder with a study.toml.
        year : a year of the study; default_year where it is None.
        check : False opens without the contract checks (a second opening of tables that were checked).

        Raises
        ------
        DataError : unknown study or year, a study.toml that does not hold, tables that break the contract.
        """
        folder = find_study(name_or_path)
        raw = toml.read_toml(folder / "study.toml")
        config = toml.parse(raw)
        chosen = _year(config, year)
        tables = config.study.tables
        where: str | Path = tables if "://" in tables else folder / tables
        if config.study.simulated and isinstance(where, Path) and not where.exists():
            from .read.simulate import write_demo  # a generator is not needed to read real data

            write_demo(folder, **config.simulate)
        study = cls(
            config=config, year=chosen, plan_hash=_hash(raw), engine=open_engine(where, sql_types()), folder=folder
        )
        if check:
            from .read.contract import require  # pandera takes a second to import

            require(study)
        return study

    @classmethod
    def from_tables(cls, config: Mapping[str, Any], tables: Mapping[str, Any], year: int | None = None) -> Study:
        """A study over frames in memory (pandas, Polars, Arrow), not checked (`read.contract.check(study)` does).

        config : what study.toml would hold. tables : table name -> frame.
        """
        parsed = toml.parse(config)
        engine = DuckDB(sql_types())
        for name, frame in tables.items():
            engine.add_frame(name, frame)
        return cls(config=parsed, year=_year(parsed, year), plan_hash=_hash(config), engine=engine)

    # what is asked -----------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        return self.config.study.name

    @property
    def title(self) -> str:
        return self.config.study.title

    @property
    def question(self) -> str:
        return self.config.study.question

    @property
    def years(self) -> list[int]:
        return list(self.config.study.years)

    @property
    def currency(self) -> str:
        return self.config.study.currency

    @property
    def frequency(self) -> str:
        """quarter or year: the step of income_panel."""
        return self.config.study.frequency

    @property
    def data_until(self) -> str:
        """ISO date up to which the data speak; the end of the last year where study.toml gives none."""
        return self.config.study.data_until or f"{self.years[-1]}-12-31"

    @property
    def horizon_months(self) -> int:
        return self.config.clock.horizon_months

    @property
    def clock(self) -> toml.Clock:
        return self.config.clock

    @property
    def outcomes(self) -> Mapping[str, toml.Outcome]:
        return self.config.outcomes

    @property
    def tiers(self) -> Mapping[str, toml.Tier]:
        return self.config.tiers

    @property
    def designed_tiers(self) -> list[str]:
        """Tiers that have somebody to be compared with."""
        return [tier for tier, plan in self.tiers.items() if plan.design != "none"]

    def tier_title(self, tier: str) -> str:
        """A tier in words, also one that study.toml does not name."""
        return self.tiers[tier].title if tier in self.tiers else tier.replace("_", " ").capitalize()

    @property
    def comparison(self) -> toml.Comparison:
        return self.config.comparison

    @property
    def design(self) -> toml.MatchPlan:
        return self.config.design

    @property
    def did(self) -> toml.DidPlan:
        return self.config.did

    @property
    def disclosure(self) -> toml.Disclosure:
        return self.config.disclosure

    @property
    def benchmarks(self) -> Mapping[str, Any]:
        return self.config.benchmarks

    @property
    def simulate(self) -> Mapping[str, Any]:
        return self.config.simulate

    @property
    def graph(self) -> toml.Graph:
        return self.config.graph

    # the tables --------------------------------------------------------------------------------------------------

    def has(self, table: str) -> bool:
        """Whether the study has this table (perhaps without rows)."""
        return table in self.engine.tables()

    def why_absent(self, table: str) -> str:
        """One sentence for a notebook that skips a section; empty where the table exists."""
        if self.has(table):
            return ""
        about = f" ({TABLES[table].doc})" if table in TABLES else ""
        return f"the study {self.name} has no table {table}{about}"

    def columns(self, table: str) -> list[str]:
        """Columns of a table, in stored order; empty where the table is absent."""
        return list(self.engine.tables().get(table, {}))

    def sql(self, query_text: str, /, **params: Any) -> pd.DataFrame:
        """Answer of a query in DuckDB's dialect on whatever engine the study has.

        Parameters
        ----------
        query_text : one SELECT over the contract's tables; order it, where the order matters.
        params : values of its `:name` placeholders: numbers, text, dates, None, or lists inside `IN (:name)`.
        """
        try:
            return to_pandas(query(self.engine, query_text, **params))
        except DataError as error:
            for table in sorted(tables_of(query_text) & set(TABLES)):
                if not self.has(table):
                    raise DataError(
                        f"a table {table}", self.why_absent(table), f"add the table, or ask study.has({table!r}) first",
                        table=table,
                    ) from error  # fmt: skip
            raise

    def table(self, name: str) -> pd.DataFrame:
        """A whole table, ordered by its key."""
        if not self.has(name):
            raise DataError(f"a table {name}", self.why_absent(name), f"ask study.has({name!r}) first", table=name)
        key = [column for column in (TABLES[name].key if name in TABLES else ()) if column in self.columns(name)]
        select = exp.select("*").from_(exp.to_identifier(name, quoted=True))
        select = select.order_by(*(exp.column(column, quoted=True) for column in key)) if key else select
        return to_pandas(self.engine.fetch(render(select.sql("duckdb"), self.engine.dialect)))

    def sources(self) -> list[tuple[str, str]]:
        """Input files: (path below the study's folder, sha256), study.toml first."""
        if self.folder is None:
            return []
        files = sorted({file for files in getattr(self.engine, "files", {}).values() for file in files})
        files = [self.folder / "study.toml", *files]
        return [(_below(self.folder, file), _sha256(file)) for file in files]

    # what people see ---------------------------------------------------------------------------------------------

    def counts(self) -> pd.DataFrame:
        """table, rows, note: rows of each table, or why it is absent."""
        present = list(self.engine.tables())
        select = " UNION ALL ".join(
            f"SELECT {exp.Literal.string(t).sql('duckdb')} AS t, COUNT(*) AS n "
            f"FROM {exp.to_identifier(t, quoted=True).sql('duckdb')}"
            for t in present
        )
        rows = {row["t"]: row["n"] for row in query(self.engine, select).to_pylist()} if present else {}
        listed = (
            [t for t in TABLES if t in rows] + sorted(set(present) - set(TABLES)) + [t for t in TABLES if t not in rows]
        )
        return pd.DataFrame(
            {
                "table": listed,
                "rows": pd.array([rows.get(t) for t in listed], dtype="Int64"),
                "note": [
                    ("" if t in TABLES else "not in the contract") if t in rows else f"absent: {TABLES[t].doc}"
                    for t in listed
                ],
            }
        )

    def summary(self) -> str:
        """Name, year and tables, as text."""
        lines = [f"{self.title} ({self.name}), {self.year}; data until {self.data_until}; plan {self.plan_hash[:12]}"]
        lines += [f"  {table:<20} {rows:>12}  {note}".rstrip() for table, rows, note in self._shown()]
        return "\n".join(lines)

    def _shown(self) -> list[tuple[str, str, str]]:
        frame = self.counts()
        rows = [
            "-" if missing else f"{n:,}"
            for n, missing in zip(frame["rows"].fillna(0), frame["rows"].isna(), strict=True)
        ]
        return list(zip(frame["table"], rows, frame["note"], strict=True))

    def __repr__(self) -> str:
        return f"Study({self.name!r}, year={self.year})"

    def __str__(self) -> str:
        return self.summary()

    def _repr_html_(self) -> str:
        head, *_ = self.summary().splitlines()
        rows = "".join(
            f"<tr><td>{html.escape(table)}</td><td style='text-align:right'>{n}</td>"
            f"<td style='text-align:left'>{html.escape(note)}</td></tr>"
            for table, n, note in self._shown()
        )
        return (
            f"<p><b>{html.escape(head)}</b></p><table class='attribution'><thead><tr><th>table</th><th>rows</th>"
            f"<th></th></tr></thead><tbody>{rows}</tbody></table>"
        )


def find_project(start: Path | None = None) -> Path:
    """The project: the first folder from `start` upwards with pyproject.toml and notebooks/ or data/."""
    if named := os.environ.get(PROJECT):
        if not Path(named).is_dir():
            raise DataError(f"a folder in {PROJECT}", "a path that is no folder", f"correct or unset {PROJECT}")
        return Path(named).resolve()
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        data = folder / "data"
        if (folder / "pyproject.toml").is_file() and ((folder / "notebooks").is_dir() or data.is_dir()):
            return folder
        if data.is_dir() and any(data.glob("*/study.toml")):
            return folder
    raise DataError(
        "a project folder (pyproject.toml beside notebooks/ or data/) here or above", "none",
        f"change into the project, or set {PROJECT} to its folder",
    )  # fmt: skip


def studies(project: Path | None = None) -> list[str]:
    """Names of the studies in <project>/data/."""
    return sorted(file.parent.name for file in ((project or find_project()) / "data").glob("*/study.toml"))


def find_study(name_or_path: str | Path) -> Path:
    """The folder of a study, from its name or path."""
    given = Path(name_or_path)
    if (given / "study.toml").is_file():
        return given.resolve()
    if given.name == "study.toml" and given.is_file():
        return given.resolve().parent
    project = find_project()
    for folder in (project / "data" / given, project / given):
        if (folder / "study.toml").is_file():
            return folder.resolve()
    known = studies(project)
    near = difflib.get_close_matches(given.name, known, n=1, cutoff=0.5)
    raise DataError(
        f"one of the studies {', '.join(known) or '(none yet)'}, or a folder with a study.toml",
        f"{given.as_posix()!r}",
        f"did you mean {near[0]}?" if near else "`attribution new NAME` makes a study", table="study.toml",
    )  # fmt: skip


def _year(config: toml.Config, year: int | None) -> int:
    if year is None:
        return config.study.default_year
    if isinstance(year, bool) or year not in config.study.years:
        raise DataError(
            f"a year of the study {config.study.name}: {', '.join(map(str, config.study.years))}", repr(year),
            "ask for one of these",
            table="study.toml", column="study.years",
        )  # fmt: skip
    return int(year)


def _hash(raw: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(_plain(raw), sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value.isoformat() if isinstance(value, (datetime.date, datetime.time)) else value


def _below(folder: Path, file: Path) -> str:
    try:
        return file.resolve().relative_to(folder).as_posix()
    except ValueError:
        return file.name


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
