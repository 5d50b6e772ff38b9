"""The data dictionary of the README, generated from the declarations."""

from __future__ import annotations

from .declare import Column
from .tables import REQUIRED, SENSITIVE, TABLES


def data_dictionary() -> str:
    """Markdown: one section a table, one row a column."""
    intro = (
        "Types: text, int, float, bool, date (ISO)."
        " Ids are pseudonymous text; money is integer cents. `?` after a type: "
        "values may be missing. `optional`: the column may be absent. "
        f"Required tables: {', '.join(REQUIRED)}; the others may be absent, "
        "and notebooks then say what they skip."
    )
    parts = [intro]
    for table in TABLES.values():
        links = "; ".join(
            f"`{key.column}` in {' or '.join(f'{t}.{c}' for t, c in key.targets)}" for key in table.foreign
        )
        head = f"**{table.name}**: {table.doc}. Key: {', '.join(table.key)}." + (f" Refers: {links}." if links else "")
        rows = [f"| {c.name} | {_type(c)} | {_allowed(c)} | {c.unit} | {c.doc} |" for c in table.columns]
        parts.append(
            "\n".join([head, "", "| column | type | allowed | unit | meaning |", "|---|---|---|---|---|", *rows])
        )
    parts.append(f"Only in learners_sensitive: {', '.join(SENSITIVE)}.")
    return "\n\n".join(parts) + "\n"


def _type(column: Column) -> str:
    return column.type + ("?" if column.nullable else "") + ("" if column.required else " optional")


def _allowed(column: Column) -> str:
    if column.allowed:
        return ", ".join(str(value) for value in column.allowed)
    if column.pattern:
        return "`" + column.pattern.replace("|", "\\|") + "`"
    if column.low is None and column.high is None:
        return ""
    low, high = (f"{bound:g}" if bound is not None else "" for bound in (column.low, column.high))
    return f"{low} to {high}" if low and high else f"from {low}" if low else f"to {high}"
