"""How a table is declared: columns, keys, conditions on rows, and the short script they are written in."""

from __future__ import annotations

from dataclasses import dataclass

SQL = {"text": "VARCHAR", "int": "BIGINT", "float": "DOUBLE", "bool": "BOOLEAN", "date": "DATE"}


@dataclass(frozen=True)
class Column:
    """One column. required: the column must be there. nullable: its values may be missing."""

    name: str
    type: str
    doc: str = ""
    unit: str = ""
    nullable: bool = False
    required: bool = True
    allowed: tuple[object, ...] = ()
    pattern: str = ""
    low: float | None = None
    high: float | None = None
    future: bool = False  # a planned date: may lie after data_until


@dataclass(frozen=True)
class ForeignKey:
    """Values of a column must be keys of one of the targets (table, column); targets a study lacks are passed over."""

    column: str
    targets: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class RowCheck:
    """A condition in SQL that is true of a wrong row; it names columns of one table (any absent column skips it)."""

    name: str
    column: str
    wrong: str
    required: str
    found: str
    mend: str
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    name: str
    doc: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    foreign: tuple[ForeignKey, ...] = ()
    rows: tuple[RowCheck, ...] = ()
    sensitive: bool = False

    def column(self, name: str) -> Column:
        return next(column for column in self.columns if column.name == name)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)


def columns(text: str) -> tuple[Column, ...]:
    """Lines `name type[?][-][+] | allowed, /pattern/ or range | unit | doc`.

    ? = values may be missing, - = the column may be absent, + = a planned date.
    """
    found = []
    for line in text.strip().splitlines():
        rest, unit, doc = (part.strip() for part in line.rsplit("|", 2))
        head, rule = (part.strip() for part in rest.split("|", 1))  # a pattern may hold a bar
        name, kind = head.split()
        future, kind = kind.endswith("+"), kind.rstrip("+")
        absent, kind = kind.endswith("-"), kind.rstrip("-")
        nullable, kind = kind.endswith("?") or absent, kind.rstrip("?")
        allowed: tuple[object, ...] = ()
        pattern, low, high = "", None, None
        if rule.startswith("{"):
            words = rule.strip("{}").split()
            allowed = tuple(int(word) for word in words) if kind == "int" else tuple(words)
        elif rule.startswith("/"):
            pattern = rule.strip("/")
        elif rule:
            first, last = rule.split("..")
            low, high = float(first) if first else None, float(last) if last else None
        found.append(Column(name, kind, doc, unit, nullable, not absent, allowed, pattern, low, high, future))
    return tuple(found)


def in_order(column: str, first: str, then: str, mend: str, *, days: int = 0) -> RowCheck:
    """`first` may not be later than `then` (plus days)."""
    late = f"{first} > {then}" if not days else f"{first} > {then} + INTERVAL {days} DAY"
    slack = f" + {days} days" if days else ""
    return RowCheck(
        f"{first} after {then}", column, late, f"{first} <= {then}{slack}", "rows with the dates the wrong way round",
        mend, (first, then),
    )  # fmt: skip


def foreign_keys(*pairs: str) -> tuple[ForeignKey, ...]:
    """`column>table.column|table.column`."""
    keys = []
    for pair in pairs:
        column, targets = pair.split(">")
        keys.append(ForeignKey(column, tuple((t.split(".")[0], t.split(".")[1]) for t in targets.split("|"))))
    return tuple(keys)
