"""One row a unit: a long table turned wide once, a wide file read where it lies; every promise checked.

Columns: u unit, c cohort, w weight, k cluster, r risk set, y0, y1, ... outcome by outcome and period by period; x0,
x1, ... covariates where asked for. Repeated cross-sections keep one row an observation, with its period t.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import DataError
from .source import Source, quoted

BITS = 60  # periods that one integer of a pattern holds
MOST_PERIODS = 1_000
EXACT = 2**53  # the largest whole number up to which a double tells all whole numbers apart
LETTERS = {"c": "cohort", "w": "weight", "k": "cluster", "r": "risk_set"}
PROMISES = {  # what must be the same in all rows of a unit, and what to do when it is not
    "c": ("one cohort per unit (treatment that starts stays)", "keep the first treated period in all rows of the unit"),
    "w": ("one weight >= 0 per unit", "make it constant within the unit"),
    "k": ("one cluster per unit", "use the cluster before treatment"),
    "r": ("one risk set per unit", "make it constant within the unit"),
}
FLAWS = {  # what no unit may have: SQL, what is required, what was found, and what to do
    "w": ("w IS NULL OR NOT (w = 0 OR w BETWEEN 1e-100 AND 1e100)", "one weight >= 0 per unit, 1e-100 to 1e100",
          "missing, negative, infinite or extreme weights", "correct or fill them, or drop the units"),
    "k": ("k IS NULL", "a cluster for every unit", "missing clusters", "fill them or drop the units"),
    "r": ("r IS NULL OR isinf(r) OR r <> round(r)", "one risk set per unit: a cohort",
          "missing, infinite or fractional values", "fill or correct them, or drop the units"),
}  # fmt: skip


class UnitTable:
    """The table of units of a panel. `columns` names the parts; `wide` maps outcome -> {period: column}, or is None."""

    def __init__(
        self, frame: Any, columns: Mapping[str, str | None], outcomes: Sequence[str],
        wide: Mapping[str, Mapping[int, str]] | None,
    ) -> None:  # fmt: skip
        self.columns, self.outcomes, self.wide = columns, tuple(outcomes), wide
        values = [name for each in wide.values() for name in each.values()] if wide else list(outcomes)
        self._source = Source(frame, [name for name in (*columns.values(), *values) if name])
        self.fetch, self.one = self._source.fetch, self._source.one
        self._letters = [letter for letter, part in LETTERS.items() if columns[part]]
        self._values = [self._source.number(name) for name in values]
        keys = {"c": "cohort"} if wide else {"c": "cohort", "t": "period"}
        asked = ", ".join(f"{self._part(part)} AS {key}" for key, part in keys.items())
        stored = ", ".join(f"source.{quoted(columns[part] or '')}" for part in keys.values())  # whole numbers: faster
        found = self.fetch(f"SELECT {asked}, count(*) AS n FROM source GROUP BY {stored}")
        self.rows = int(found["n"].sum())
        if not self.rows:
            raise DataError("at least one row", "an empty table", "check the filter that made the panel", table="panel")
        self.periods = np.array(sorted(next(iter(wide.values())))) if wide else self._read_periods(found)
        self._refuse_cohorts(found["c"].astype(float), found["n"])
        self._in_order: Any = None  # the Arrow table of units, where rows came unit by unit and period by period
        self.kind = "wide" if wide else "long" if columns["unit"] else "cross-section"
        if self.kind == "long":
            self._turn_wide()
        else:
            self._view()
        self._check()

    # -- reading -----------------------------------------------------------------------------------------------------

    def _part(self, part: str) -> str:
        name = self.columns[part]
        assert name is not None
        return self._source.key(name) if part in ("unit", "cluster") else self._source.number(name)

    def _head(self) -> list[str]:
        unit = self._part("unit") if self.columns["unit"] else "row_number() OVER ()"
        return [f"{unit} AS u", *(f"{self._part(LETTERS[letter])} AS {letter}" for letter in self._letters)]

    def _read_periods(self, found: Mapping[str, np.ndarray]) -> np.ndarray:
        t = found["t"].astype(float)
        bad = ~(np.abs(t) <= EXACT) | (t != np.round(t))
        if bad.any():
            raise DataError("periods as integers, none missing", "other values",
                            "number the periods (year * 4 + quarter - 1)", column=self.columns["period"],
                            count=int(found["n"][bad].sum()), keys=np.unique(t[bad]).tolist())  # fmt: skip
        periods = np.unique(t).astype(np.int64)
        if len(periods) > MOST_PERIODS:
            raise DataError(f"at most {MOST_PERIODS:,} periods", "more", "number months or quarters, not seconds",
                            column=self.columns["period"], count=len(periods), keys=periods.tolist())  # fmt: skip
        return periods

    def _refuse_cohorts(self, c: np.ndarray, n: np.ndarray) -> None:
        """n : (len(c),) rows of each cohort."""
        column = self.columns["cohort"]
        coded = (c == 0) | np.isinf(c) | ((c < 0) & (self.periods[0] > 0))
        if coded.any():
            raise DataError("the first treated period, or missing for the never treated",
                            "codes 0, negative or infinite", "never treated = missing: replace the code (and number "
                            "true periods from 1)", column=column, count=int(n[coded].sum()),
                            keys=np.unique(c[coded]).tolist())  # fmt: skip
        part = np.isfinite(c) & (c != np.round(c))
        if part.any():
            raise DataError("cohorts as integer periods", "fractions", "number them like the periods", column=column,
                            count=int(n[part].sum()), keys=np.unique(c[part]).tolist())  # fmt: skip

    def _view(self) -> None:
        """A wide file, or one observation a row: a view with other names."""
        self._selected = [*self._head(), *(f"{value} AS y{j}" for j, value in enumerate(self._values))]
        if self.kind == "cross-section":
            self._selected.append(f"CAST({self._part('period')} AS BIGINT) AS t")
        self._source.run(f"CREATE VIEW units AS SELECT {', '.join(self._selected)} FROM source")

    def _turn_wide(self) -> None:
        """A long table: in order, it is wide already; else one pass turns it and flags the units that contradict."""
        rows = [*self._head(), f"CAST({self._part('period')} AS BIGINT) AS t",
                *(f"{value} AS v{j}" for j, value in enumerate(self._values))]  # fmt: skip
        self._in_order = self._source.in_order(f"SELECT {', '.join(rows)} FROM source", self.periods)
        if self._in_order is not None:
            self._source.hold("units", self._in_order)
            return
        starts = [int(self.periods[0])]  # of windows in which a bit stands for a period; none where no period is
        for t in self.periods.tolist():
            if t >= starts[-1] + BITS:
                starts.append(t)
        bit = "1::BIGINT << CAST(t - {0} AS INTEGER)"
        if len(starts) > 1:
            bit = f"CASE WHEN t BETWEEN {{0}} AND {{0}} + {BITS - 1} THEN {bit} END"
        seen = [f"coalesce(bit_count(bit_or({bit.format(b)})), 0)::INTEGER" for b in starts]
        columns = [f"min({x}) AS {x}, {_differs(x)} AS {x}_differs" for x in self._letters]
        columns += [f"max(v{j}) FILTER (WHERE t = {t}) AS y{j * len(self.periods) + i}"
                    for j in range(len(self._values)) for i, t in enumerate(self.periods.tolist())]  # fmt: skip
        self._source.run(
            f"CREATE TEMP TABLE units AS SELECT u, count(*) <> {' + '.join(seen)} AS twice, {', '.join(columns)} "
            f"FROM (SELECT {', '.join(rows)} FROM source) GROUP BY u"
        )

    def sql(self, covariates: Sequence[str] = ()) -> str:
        """What to read FROM: the table of units, with these covariates as x0, x1, ...; they are checked here."""
        if not covariates:
            return "units"
        self._source.use(covariates)
        asked = [self._source.number(name) if self.is_number(name) else f"CAST({quoted(name)} AS VARCHAR)"
                 for name in covariates]  # fmt: skip
        columns = [f"{x} AS x{j}" for j, x in enumerate(asked)]
        if self.kind != "long":
            both = ", ".join([*self._selected, *columns])
            self._source.run(f"CREATE OR REPLACE VIEW units_x AS SELECT {both} FROM source")
        elif not self._append(columns):
            return self._join(covariates, columns)
        self._refuse_missing("units_x", covariates)
        return "units_x"

    def _append(self, columns: Sequence[str]) -> bool:
        """Covariates of a long table in order stand in the order of its units."""
        if self._in_order is None:
            return False
        asked = ", ".join([f"{self._part('unit')} AS u", *columns])
        found = self._source.in_order(f"SELECT {asked} FROM source", self.periods)
        if found is None or not found["u"].equals(self._in_order["u"]):
            return False
        units = self._in_order
        for name in found.column_names[1:]:
            units = units.append_column(name, found[name])
        self._source.hold("units_x", units)
        return True

    def _join(self, covariates: Sequence[str], columns: Sequence[str]) -> str:
        """Covariates of any other long table: one pass gathers them by unit, and flags the units where they change."""
        unit = f"{self._part('unit')} AS xu"
        each = [f"min(x{j}) AS x{j}, {_differs(f'x{j}')} AS x{j}_differs" for j in range(len(columns))]
        self._source.run(
            f"CREATE OR REPLACE TEMP TABLE covariates AS SELECT xu, {', '.join(each)} "
            f"FROM (SELECT {', '.join([unit, *columns])} FROM source) GROUP BY xu"
        )
        self._refuse_missing("covariates", covariates, key="xu")
        for j, name in enumerate(covariates):
            self._refuse(f"x{j}_differs", "covariates that are constant within a unit", "units where it changes",
                         "use the value at the base period, as a column of its own", column=name, table="covariates",
                         key="xu")  # fmt: skip
        return "(SELECT * FROM units JOIN covariates ON u = xu)"

    def is_number(self, column: str) -> bool:
        """True for a covariate that enters as a number, false for a category."""
        return self._source.is_number(column)

    # -- checks ------------------------------------------------------------------------------------------------------

    def _check(self) -> None:
        if self.columns["unit"] and self.one("SELECT count(*) - count(u) AS n FROM units")["n"]:
            missing = self.one(f"SELECT count(*) AS n FROM source WHERE {self._part('unit')} IS NULL")["n"]
            raise DataError("a key in every row", "missing keys", "fill or drop these rows",
                            column=self.columns["unit"], count=int(missing))  # fmt: skip
        if self.kind == "long" and self._in_order is None:
            self._refuse_duplicates()
            for letter in self._letters:
                required, mend = PROMISES[letter]
                self._refuse(f"{letter}_differs", required, "units where it changes", mend, part=LETTERS[letter])
        elif self.kind != "long" and self.columns["unit"]:
            self._refuse_repeated_units()
        for letter in self._letters:
            if letter in FLAWS:
                where, required, found, mend = FLAWS[letter]
                self._refuse(where, required, found, mend, part=LETTERS[letter])
        if "r" in self._letters:
            self._refuse("r > c", "records at risk before they are treated", "a risk set later than the cohort",
                         "give treated records risk_set = cohort", part="risk_set")  # fmt: skip

    def _refuse(
        self, where: str, required: str, found: str, mend: str, *, part: str = "", column: str | None = None,
        table: str = "units", key: str = "u", count: int | None = None,
    ) -> None:  # fmt: skip
        """Raise when a unit is WHERE it should not be, naming the first of them."""
        keys = self.fetch(f"SELECT DISTINCT {key} AS u FROM {table} WHERE {where} ORDER BY ALL LIMIT 5")["u"]
        if len(keys):
            if count is None:
                count = int(self.one(f"SELECT count(DISTINCT {key}) AS n FROM {table} WHERE {where}")["n"])
            shown = keys.tolist() if self.columns["unit"] else ()
            raise DataError(required, found, mend, column=column or self.columns[part], count=count, keys=shown)

    def _refuse_missing(self, table: str, covariates: Sequence[str], key: str = "u") -> None:
        for j, name in enumerate(covariates):
            flaw = f"x{j} IS NULL" + (f" OR abs(x{j}) > 1e100" if self.is_number(name) else "")
            self._refuse(flaw, "covariates known for every unit, and finite", "missing or infinite values", "impute or "
                         "correct them, or drop these units and say so", column=name, table=table, key=key)  # fmt: skip

    def _refuse_duplicates(self) -> None:
        if not self.one("SELECT count(*) FILTER (WHERE twice) AS n FROM units")["n"]:
            return
        pair = f"{self._part('unit')} AS u, {self._part('period')} AS t"
        pairs = f"SELECT {pair}, count(*) AS n FROM source GROUP BY ALL HAVING count(*) > 1"
        self._refuse("twice", "one row per unit and period", "duplicates", "aggregate or drop the extra rows",
                     part="period", count=int(self.one(f"SELECT count(*) AS n FROM ({pairs})")["n"]))  # fmt: skip

    def _refuse_repeated_units(self) -> None:
        """In a wide table each key stands once; whole numbers close together are counted in a bitmap."""
        u = self.fetch(f"SELECT {self._part('unit')} AS u FROM source")["u"]
        if u.dtype.kind in "iu" and int(u.max()) - int(u.min()) < 64 * len(u):
            u = u if u.dtype.kind == "u" else u.astype(np.int64)  # differences of small types overflow
            seen = np.zeros(int(u.max()) - int(u.min()) + 1, dtype=bool)
            seen[u - u.min()] = True
            once = int(seen.sum()) == self.rows
        else:
            del u
            once = self.one("SELECT count(DISTINCT u) AS n FROM units")["n"] == self.rows
        if not once:
            several = "u IN (SELECT u FROM units GROUP BY u HAVING count(*) > 1)"
            self._refuse(several, "one row per unit in a wide table", "units that stand in several rows",
                         "aggregate or drop the extra rows", part="unit")  # fmt: skip


def _differs(x: str) -> str:
    """SQL: the rows of a unit do not agree on x."""
    return f"(min({x}) <> max({x}) OR count({x}) NOT IN (0, count(*)))"
