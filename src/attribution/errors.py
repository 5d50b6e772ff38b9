"""The errors of the package: each says what was required, what was found, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

Result = TypeVar("Result")


class AttributionError(ValueError):
    """Base of every error this package raises on purpose.

    Parameters
    ----------
    required : what had to hold, as a clause ("one row per person_id").
    found : what was there instead, as a clause.
    mend : what the reader should do next.
    table, column : where, when the error is about data.
    count : how many rows or units are concerned.
    keys : up to five examples are shown.
    """

    def __init__(
        self,
        required: str,
        found: str,
        mend: str,
        *,
        table: str | None = None,
        column: str | None = None,
        count: int | None = None,
        keys: Sequence[object] = (),
    ) -> None:
        self.required, self.found, self.mend = required, found, mend
        self.table, self.column, self.count, self.keys = table, column, count, tuple(keys)[:5]
        where = ".".join(part for part in (table, column) if part)
        examples = f" (for example {', '.join(str(key) for key in self.keys)})" if self.keys else ""
        number = f" [{count:,}]" if count is not None else ""
        place = f"{where}: " if where else ""
        super().__init__(f"{place}required: {required}; found: {found}{number}{examples}; {mend}")

    def __reduce__(self):  # keeps the clauses when the error crosses a process boundary
        clauses = (self.required, self.found, self.mend)
        return _rebuild, (type(self), *clauses, self.table, self.column, self.count, self.keys)


def _rebuild(kind, required, found, mend, table, column, count, keys):
    return kind(required, found, mend, table=table, column=column, count=count, keys=keys)


class DataError(AttributionError):
    """The data break the contract."""


class DesignError(AttributionError):
    """No honest comparison can be built as asked."""


class EstimationError(AttributionError):
    """The design stands, but the estimate asked for does not exist."""


def spelling(wrong: object, known: Sequence[object], *, what: str = "the columns are") -> str:
    """The mend for a name that does not exist: the one that it resembles, and up to twelve of those that do exist."""
    names = [str(name) for name in known]
    near = difflib.get_close_matches(str(wrong), names, n=1, cutoff=0.6)
    listed = ", ".join(names[:12]) + (f" and {len(names) - 12:,} more" if len(names) > 12 else "")
    return f"{f'did you mean {near[0]}? ' if near else ''}{what} {listed or 'none'}"


def attempt(function: Callable[..., Result], *arguments: Any, **options: Any) -> tuple[Result | None, str]:
    """(result, "") or (None, why not): for reports that say *not estimable* where no honest answer exists.

    Only a DesignError or an EstimationError becomes a reason; broken data still stop the run.

    Parameters
    ----------
    function : called with the arguments and options.
    """
    try:
        return function(*arguments, **options), ""
    except (DesignError, EstimationError) as error:
        return None, f"{error.found}; required: {error.required}"


def check_level(level: float) -> None:
    """Refuse what is no confidence level."""
    if isinstance(level, str) or not 0 < level < 1:
        raise EstimationError("0 < level < 1", f"level = {level!r}", "give a level such as 0.95")
