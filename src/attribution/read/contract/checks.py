"""The contract checks of a study: schema first, then one counting query a table, then up to five keys of what failed.

Rows never leave the engine: a check is a count, and keys are fetched only where the count is not zero.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from ...errors import DataError
from ..engine import query
from . import money
from .columns import Wrong, column_checks, name, row_checks, uncastable
from .declare import Table
from .problems import Problems
from .rules import RULES, Rule, foreign_rules, sensitive_columns
from .tables import REQUIRED, TABLES

if TYPE_CHECKING:
    from ...study import Study


def check(study: Study) -> Problems:
    """Every problem of the study's tables; empty where the contract holds."""
    tables = study.engine.tables()
    errors, warnings = _tables(study, set(tables))
    usable: dict[str, set[str]] = {}
    for table_name, stored in tables.items():
        for column in sensitive_columns(list(stored)):
            if table_name not in TABLES or not TABLES[table_name].sensitive:
                errors.append(_misplaced(study, table_name, column))
        if table_name not in TABLES:
            continue
        table = TABLES[table_name]
        try:
            found, usable[table_name] = _one_table(study, table, stored)
        except DataError as error:  # pages that cannot be read behind a footer that can
            found, usable[table_name] = [_named(error, table_name)], set()
        errors += found
        extra = [column for column in stored if column not in table.names and column not in sensitive_columns([column])]
        warnings += [_extra_column(table, column) for column in extra]
    for rule in (*RULES, *foreign_rules(usable)):
        if not _answers(rule, usable):
            continue
        try:
            errors += _counted(study, rule.table, [rule.wrong])
        except DataError as error:
            if not any(known.table == rule.table for known in errors):  # otherwise the cause is already told
                errors.append(_named(error, rule.table))
    errors += _agreement(study, usable)
    return Problems(errors, warnings)


def require(study: Study) -> None:
    """Raise where the contract is broken: the one problem, or the first with the number of the others.

    Raises
    ------
    DataError : naming table, column, count, up to five keys and the mend.
    """
    errors = check(study).errors
    if not errors:
        return
    first, others = errors[0], len(errors) - 1
    if not others:
        raise first
    raise DataError(
        first.required, first.found,
        f"{first.mend}; and {others} more problem{'s' if others > 1 else ''}: "
        f"`attribution check {study.name}` lists all",
        table=first.table, column=first.column, count=first.count, keys=first.keys,
    )  # fmt: skip


def _tables(study: Study, present: set[str]) -> tuple[list[DataError], list[DataError]]:
    needed = dict.fromkeys(REQUIRED, "every study needs it")
    for tier_name, tier in study.tiers.items():
        if tier.design != "none":
            needed.setdefault("income_panel", f"tier {tier_name} is to be estimated")
            needed.setdefault(
                "applications" if tier.design == "landmark" else "comparison_units",
                f"the design of tier {tier_name} is {tier.design}",
            )
    unknown = sorted(present - set(TABLES))
    errors, warnings = [], []
    for table, why in needed.items():
        if table not in present:
            near = difflib.get_close_matches(table, unknown, n=1)
            mend = f"rename {near[0]} to {table}" if near else f"add {table}.parquet or {table}.csv"
            errors.append(DataError(f"a table {table} ({why})", "no such table", mend, table=table))
            continue
        if not _count(study, table):
            errors.append(
                DataError(f"rows in {table} ({why})", "an empty table", "export it again", table=table, count=0)
            )
    for table in unknown:
        near = difflib.get_close_matches(table, list(TABLES), n=1)
        warnings.append(
            DataError("tables of the contract", f"a table {table}, which nothing reads",
                      f"did you mean {near[0]}?" if near else "remove it, or leave it", table=table)
        )  # fmt: skip
    return errors, warnings


def _one_table(study: Study, table: Table, stored: dict[str, str]) -> tuple[list[DataError], set[str]]:
    """Problems of one table, and the columns that later checks may read."""
    from .schema import problems_of_schema  # pandera takes a second to import

    errors = problems_of_schema(table, study.engine.fetch(f'SELECT * FROM "{table.name}" LIMIT 0'))
    usable, complete = set(stored) - {str(error.column) for error in errors}, True
    given = study.engine.given(table.name) if hasattr(study.engine, "given") else stored
    as_text = [
        c for c in table.columns if c.name in usable and given[c.name] == "VARCHAR" and stored[c.name] != "VARCHAR"
    ]
    if as_text:
        unread = _counted(
            study, table.name, [uncastable(c) for c in as_text], source=study.engine.given_name(table.name)
        )
        errors += unread
        usable -= {str(error.column) for error in unread}
        if unread:  # an engine may evaluate a column that a rule does not name
            complete = False
    checks = [
        wrong
        for column in table.columns
        if column.name in usable
        for wrong in column_checks(table, column, stored[column.name], study.data_until)
    ]
    checks += row_checks(table, usable)
    if "currency" in usable:
        checks.append(money.currency_check(study.currency))
    if table.name == "income_panel":
        checks += _income(study, usable)
    errors += _counted(study, table.name, checks)
    if set(table.key) <= usable:
        errors += _duplicates(study, table)
    return errors, usable if complete else set()


def _income(study: Study, usable: set[str]) -> list[Wrong]:
    checks = money.period_checks(study.frequency, study.data_until) if "period" in usable else []
    columns = money.income_columns(usable)
    rows = _count(study, "income_panel")
    if columns and rows and "imputed" in usable:
        answer = query(study.engine, money.quantile_query(columns, rows)).to_pylist()[0]
        checks += money.income_checks(columns, answer, study.frequency)
    return checks


def _counted(study: Study, table: str, checks: list[Wrong], source: str | None = None) -> list[DataError]:
    """One query counts all; then the keys of each that failed."""
    if not checks:
        return []
    source = _quote(source or table)
    if len(checks) == 1:
        counts = ", ".join(["COUNT(*) AS c0"])
        where = f" WHERE {checks[0].condition}"
    else:
        counts, where = ", ".join(f"COUNT(*) FILTER (WHERE {w.condition}) AS c{k}" for k, w in enumerate(checks)), ""
    row = query(study.engine, f"SELECT {counts} FROM {source} AS t{where}").to_pylist()[0]
    return [_error(study, table, source, wrong, int(row[f"c{k}"])) for k, wrong in enumerate(checks) if row[f"c{k}"]]


def _error(study: Study, table: str, source: str, wrong: Wrong, count: int) -> DataError:
    key = [c for c in (TABLES[table].key if table in TABLES else ()) if c in study.columns(table)]
    fields = " || '/' || ".join(f"COALESCE(CAST({name(c)} AS VARCHAR), '?')" for c in key) or "'?'"
    shown = f"CAST({name(wrong.show)} AS VARCHAR)" if wrong.show else "NULL"
    rows = query(
        study.engine,
        f"SELECT {fields} AS k, {shown} AS v FROM {source} AS t WHERE {wrong.condition} ORDER BY 1, 2 LIMIT 5",
    ).to_pylist()
    values = list(dict.fromkeys(row["v"] for row in rows if row["v"] is not None))
    found = wrong.found + (f" ({', '.join(values[:3])}{', ...' if len(values) > 3 else ''})" if values else "")
    return DataError(
        wrong.required,
        found,
        wrong.mend,
        table=table,
        column=wrong.column,
        count=count,
        keys=[row["k"] for row in rows],
    )


def _duplicates(study: Study, table: Table) -> list[DataError]:
    columns = ", ".join(_quote(c) for c in table.key)
    # rows without a key are another problem
    given = " AND ".join(f"{_quote(c)} IS NOT NULL" for c in table.key if not table.column(c).nullable)
    groups = f"SELECT {columns} FROM {_quote(table.name)} WHERE {given} GROUP BY {columns} HAVING COUNT(*) > 1"
    count = query(study.engine, f"SELECT COUNT(*) AS n FROM ({groups}) AS g").to_pylist()[0]["n"]
    if not count:
        return []
    rows = query(study.engine, f"{groups} ORDER BY {columns} LIMIT 5").to_pylist()
    return [
        DataError(
            f"one row per {' and '.join(table.key)}", "keys that occur more than once",
            "keep one row each (an export appended twice is the usual cause)", table=table.name, column=table.key[0],
            count=count, keys=["/".join("?" if row[c] is None else str(row[c]) for c in table.key) for row in rows],
        )
    ]  # fmt: skip


def _misplaced(study: Study, table: str, column: str) -> DataError:
    wrong = Wrong(
        column, f"{name(column)} IS NOT NULL", "sensitive attributes only in learners_sensitive",
        f"a column {column} in {table}",
        f"move it to learners_sensitive (with legal_basis and collected_on) and drop it from {table}",
    )  # fmt: skip
    try:
        found = _counted(study, table, [wrong])
    except DataError:
        found = []
    return (
        found[0] if found else DataError(wrong.required, wrong.found, wrong.mend, table=table, column=column, count=0)
    )


def _extra_column(table: Table, column: str) -> DataError:
    near = difflib.get_close_matches(column, table.names, n=1)
    return DataError(
        "columns of the contract", f"a column {column}, which nothing reads",
        f"did you mean {near[0]}?" if near else "remove it, or leave it",
        table=table.name, column=column,
    )  # fmt: skip


def _agreement(study: Study, usable: dict[str, set[str]]) -> list[DataError]:
    """study.toml and the tables speak of the same columns and pools."""
    errors = []
    designed = any(tier.design != "none" for tier in study.tiers.values())
    for key, outcome in study.outcomes.items():
        if designed and "income_panel" in usable and outcome.column not in study.columns("income_panel"):
            errors.append(DataError(
                f"outcome {key} of study.toml as a column of income_panel", f"no column {outcome.column}",
                "name another column under [outcomes], or add it", table="income_panel", column=outcome.column,
            ))  # fmt: skip
    if study.comparison.kind == "pools" and "pool" in usable.get("comparison_units", set()):
        have = {row["pool"] for row in query(study.engine, "SELECT DISTINCT pool FROM comparison_units").to_pylist()}
        named = [*study.comparison.pools, *([study.comparison.benchmark] if study.comparison.benchmark else [])]
        if empty := [pool for pool in named if pool not in have]:
            errors.append(DataError(
                "units in every pool of study.toml", f"pools without any: {', '.join(empty)}",
                "correct [comparison], or add the units",
                table="comparison_units", column="pool", count=len(empty), keys=empty,
            ))  # fmt: skip
    return errors


def _answers(rule: Rule, usable: dict[str, set[str]]) -> bool:
    needs = (need.split(".") for need in rule.needs)
    return rule.table in usable and all(column in usable.get(table, set()) for table, column in needs)


def _count(study: Study, table: str) -> int:
    return int(query(study.engine, f"SELECT COUNT(*) AS n FROM {_quote(table)}").to_pylist()[0]["n"])


def _named(error: DataError, table: str) -> DataError:
    return DataError(
        error.required, error.found, error.mend, table=error.table or table, column=error.column,
        count=error.count or 1,
        keys=error.keys or (table,),
    )  # fmt: skip


def _quote(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'
