"""What the checks find: errors stop a study, warnings are told."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ...errors import DataError

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ["severity", "table", "column", "required", "found", "count", "keys", "mend"]


class Problems(Sequence):
    """All problems of a study's tables: a sequence of DataErrors (errors first), and a frame.

    errors : what breaks the contract. warnings : what is only unknown to it.
    """

    def __init__(self, errors: Sequence[DataError], warnings: Sequence[DataError] = ()) -> None:
        self.errors, self.warnings = tuple(errors), tuple(warnings)

    def __len__(self) -> int:
        return len(self.errors) + len(self.warnings)

    def __getitem__(self, k):
        return (self.errors + self.warnings)[k]

    def __iter__(self) -> Iterator[DataError]:
        return iter(self.errors + self.warnings)

    def frame(self) -> pd.DataFrame:
        """One row a problem: severity, table, column, required, found, count, keys, mend."""
        import pandas as pd

        rows = [
            (severity, p.table, p.column, p.required, p.found, p.count, ", ".join(map(str, p.keys)), p.mend)
            for severity, group in (("error", self.errors), ("warning", self.warnings))
            for p in group
        ]
        return pd.DataFrame(rows, columns=COLUMNS).astype({"count": "Int64"})

    def summary(self) -> str:
        """One line a problem."""
        if not self:
            return "the tables hold the contract"
        lines = [f"error   {problem}" for problem in self.errors] + [f"warning {problem}" for problem in self.warnings]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"Problems({len(self.errors)} errors, {len(self.warnings)} warnings)"

    def __str__(self) -> str:
        return self.summary()
