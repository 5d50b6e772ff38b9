"""The sample flow: who was left out at each step, and why; the counts add up."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

NO_CONSENT = "no consent to research, or erased"
COLUMNS = ["step", "arm", "n", "excluded", "reason", "persons"]


class Flow:
    """Collects the steps of a sample flow, one chain an arm: n of a row = n of the row before it - excluded."""

    def __init__(self) -> None:
        self._rows: list[dict] = []
        self._left: dict[str, int] = {}
        self._step: dict[str, int] = {}

    def open(self, arm: str, n: int, reason: str, persons: int | None = None) -> None:
        """First row of an arm: everyone before any exclusion."""
        self._left[arm], self._step[arm] = int(n), 0
        self._add(arm, 0, reason, persons)

    def exclude(self, arm: str, excluded: int, reason: str) -> None:
        """One exclusion; the row is kept even where nobody is concerned, so that flows of two years line up."""
        self._left[arm] -= int(excluded)
        self._add(arm, int(excluded), reason, None)

    def close(self, arm: str, reason: str, persons: int | None = None) -> None:
        """Last row of an arm: who is left."""
        self._add(arm, 0, reason, persons)

    def count(self, arm: str, why: np.ndarray, order: Iterable[str]) -> None:
        """Excludes by reason code, in the order given; `why` holds one reason (or "") a record of the arm."""
        names, counts = np.unique(why.astype(str), return_counts=True)
        found = dict(zip(names.tolist(), counts.tolist(), strict=True))
        order = list(order)
        for reason in order + sorted(set(found) - set(order) - {""}):
            self.exclude(arm, found.get(reason, 0), reason)

    def table(self) -> pd.DataFrame:
        """Columns step, arm, n, excluded, reason, persons."""
        arms = list(self._left)
        rows = sorted(self._rows, key=lambda row: (arms.index(row["arm"]), row["step"]))
        table = pd.DataFrame(rows, columns=COLUMNS)
        return table.astype({"step": "int64", "n": "int64", "excluded": "int64", "persons": "Int64"})

    def _add(self, arm: str, excluded: int, reason: str, persons: int | None) -> None:
        self._rows.append({"step": self._step[arm], "arm": arm, "n": self._left[arm], "excluded": excluded,
                           "reason": reason, "persons": persons})  # fmt: skip
        self._step[arm] += 1


def continued(flow: pd.DataFrame, arm: str, excluded: int, reason: str) -> pd.DataFrame:
    """The flow with one more exclusion at the end of an arm."""
    last = flow[flow["arm"] == arm].iloc[-1]
    row = pd.DataFrame([{"step": last["step"] + 1, "arm": arm, "n": last["n"] - excluded, "excluded": excluded,
                         "reason": reason, "persons": pd.NA}]).astype(flow.dtypes.to_dict())  # fmt: skip
    place = int(np.flatnonzero(flow["arm"].to_numpy() == arm)[-1]) + 1
    return pd.concat([flow.iloc[:place], row, flow.iloc[place:]], ignore_index=True)
