"""Any frame -> a checked panel of units, with what was left out counted."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from ..errors import DataError
from ..results import Result
from .moments import Moments, group_by
from .unit_table import BITS, EXACT, UnitTable

SAMPLE = 10_000  # rows whose means are near enough to centre on
FAR = 1e4  # squared distance of the mean from the centre, in variances, beyond which digits are lost
MOST_PRODUCTS = 40  # outcome columns: beyond, products are more numbers than units
Outcome = str | Sequence[str] | Mapping[Any, Any]


class Panel(Result):
    """Units observed over periods, with the period in which each is first treated.

    Parameters
    ----------
    frame : pandas, Polars, Arrow, a DuckDB relation, or the path of a Parquet or CSV file.
    unit : column of unit keys; None means that every row is another unit, seen once (repeated cross-sections).
    period : integer index (year, or year * 4 + quarter - 1); gaps are allowed. None: the table is wide, see `outcome`.
    cohort : first treated period of the unit, the same in all its rows; missing = never treated.
    outcome : number; missing values are counted and left out pair by pair. Several names are fitted jointly. A mapping
        {period: column} reads a wide table, one row a unit; {name: {period: column}} several outcomes of one.
    weight : sampling weight >= 0, the same in all rows of a unit. cluster : column of independent groups.
    risk_set : cohort for which a record is at risk (sequential trials): it is compared with that cohort only. The
        record of a unit treated later, risk_set < cohort, serves as not yet treated.

    Raises
    ------
    DataError : missing column, duplicate unit-period, cohort or weight that changes within a unit, cohort coded 0,
        negative or infinite, periods that are no integers, outcomes that are infinite or all missing, fewer than two
        units, a frame or file that cannot be read.

    Units treated in or before the first period have no period before treatment: they are dropped and counted. So are
    units of weight 0, and units without any outcome: whether their rows are absent or empty makes no difference.
    """

    own_cluster = False
    complete = False  # until known

    def __init__(
        self, frame: Any, *, unit: str | None, cohort: str, outcome: Outcome, period: str | None = None,
        weight: str | None = None, cluster: str | None = None, risk_set: str | None = None,
    ) -> None:  # fmt: skip
        parts = {"unit": unit, "period": period, "cohort": cohort, "weight": weight, "cluster": cluster,
                 "risk_set": risk_set}  # fmt: skip
        wide = _wide(outcome) if isinstance(outcome, Mapping) else None
        several = isinstance(outcome, Sequence) and not isinstance(outcome, str)
        self.outcomes: tuple[Any, ...] = tuple(wide or (outcome if several else [outcome]))
        _refuse_odd_names(parts, self.outcomes)
        if (period is None) == (wide is None):
            raise DataError("either a period column, or outcome = {period: column} of a wide table",
                            f"period={period!r} and outcome={outcome!r}", "name one of the two")  # fmt: skip
        self.columns = {**parts, "outcome": ", ".join(self.outcomes)}
        self.table = UnitTable(frame, parts, self.outcomes, wide)
        self.periods = self.table.periods
        self.cross_section = self.table.kind == "cross-section"
        moments = self._moments()
        n, seen, c = moments.n, self.pattern(moments.keys), moments.keys["c"].astype(float)
        empty = [name for name, some in zip(self.outcomes, self._by_outcome(n @ seen), strict=True) if not some.any()]
        if empty:
            raise DataError("outcomes", "missing values only", "check the column, and the join that filled it",
                            column=self.columns["outcome"], count=len(empty), keys=empty)  # fmt: skip
        values = (n @ seen).sum() / len(self.outcomes)
        places = n.sum() * (1 if self.cross_section else len(self.periods))
        rows = places if wide else self.table.rows
        weightless = ~moments.keys["w"].astype(bool) if weight else np.zeros(len(n), bool)
        blank, always = ~seen.any(axis=1), c <= self.periods[0]
        self.some_blank, self.complete = bool(blank.any()), bool(seen.all())
        self.earliest = min(c[np.isfinite(c)], default=np.inf)  # cohort
        self.counts = {
            "rows": self.table.rows, "units": int(n.sum()), "rows without outcome": round(rows - values),
            "unit-periods absent": round(places - rows),
            "units without any outcome, left out": int(n[blank].sum()),
            "units of weight 0, left out": int(n[weightless & ~blank].sum()),
            "units treated in or before the first period, dropped": int(n[always & ~weightless & ~blank].sum()),
        }  # fmt: skip
        if weightless.all():
            raise DataError("weights above 0", "none", "check the column", column=weight, count=int(n.sum()))
        if always.all():
            raise DataError("units untreated in the first period", "none", "add earlier periods", table="panel")
        self.moments = moments.where(~(weightless | blank | always))
        if self.moments.n.sum() < 2:
            raise DataError("at least two units untreated at first, with outcomes and weights above 0", "fewer",
                            "check the filter, and the column of unit keys", table="panel", column=unit,
                            count=int(self.moments.n.sum()))  # fmt: skip

    def _moments(self) -> Moments:
        """Cohorts by risk set and observed periods: sums of the outcomes less `centre`, and of their products.

        The products, all that a fit without covariates, weights or clusters needs, come with the same pass. They are
        taken about a centre from the first rows; should that lie far from the mean, about the mean in a second pass.
        """
        z, parts = self.outcome_columns, self.columns
        squares = parts["weight"] is None and parts["cluster"] is None and len(z) <= MOST_PRODUCTS
        keys = [*self.keys(), *(["w > 0 AS w"] if parts["weight"] else [])]
        self.centre = self.near_means() if squares else np.zeros(len(z))
        for _ in range(2):
            paths = [f"{y} - {mean!r}" for y, mean in zip(self.values(), self.centre.tolist(), strict=True)]
            found = group_by(self.table.fetch, self.select(values=paths), keys, z, squares=squares)
            if not np.isfinite(found.sums).all():
                self._refuse_infinite()
            count = np.maximum(found.n @ self.pattern(found.keys), 1)
            off = found.sums.sum(axis=0) / count
            if found.gram is None:
                return found
            with np.errstate(over="ignore", invalid="ignore"):  # too large is told where the squares are used
                square = np.einsum("sii->i", found.gram) / count
                near = (off**2 <= FAR * (square - off**2)).all()
            if near or not off.any():
                return found
            self.centre = self.centre + off
        return found

    def near_means(self, *, levels: bool = False) -> np.ndarray:
        """(J * T,) means of the values in the first rows, or of all rows where the first hold none."""
        names = self.outcome_columns
        means = ", ".join(f"avg({y}) AS {y}" for y in names)
        source = self.select(values=self.values(levels))
        near = np.full(len(names), np.nan)
        for rows in (f"(SELECT * FROM {source} LIMIT {SAMPLE})", source):
            found = self.table.one(f"SELECT {means} FROM {rows}")
            near = np.array([np.nan if found[y] is None else found[y] for y in names], dtype=float)
            if np.isfinite(near).all():
                break
        return np.where(np.isfinite(near), near, 0.0)

    @property
    def strata(self) -> pd.DataFrame:
        """Units by cohort: c (NaN = never treated), n; one row a cohort, risk set and pattern of observed periods."""
        return pd.DataFrame({"c": self.moments.keys["c"].astype(float), "n": self.moments.n})

    # -- how queries see the table of units --

    @property
    def outcome_columns(self) -> list[str]:
        """SQL names of the values of a unit: y0, y1, ... one a period and outcome."""
        return [f"y{j}" for j in range(len(self.outcomes) * len(self.periods))]

    def values(self, levels: bool = False) -> list[str]:
        """SQL of the outcomes; in a panel, unless as levels, counted from the first known one of the unit."""
        names, width = self.outcome_columns, len(self.periods)
        return names if levels or self.cross_section else [f"({y} - b{j // width})" for j, y in enumerate(names)]

    @property
    def _letters(self) -> list[str]:
        """SQL of cohort, and of risk set, weight and cluster where the panel has them."""
        parts = {"r": "risk_set", "w": "weight", "u AS k" if self.own_cluster else "k": "cluster"}
        return ["c", *(letter for letter, part in parts.items() if self.columns[part])]

    def keys(self, covariates: Sequence[str] = ()) -> list[str]:
        """SQL names that make a cell: cohort, risk set, observed pattern, covariates."""
        patterns = range(-(-len(self.outcome_columns) // BITS))
        return ["c", *(["r"] if self.columns["risk_set"] else []), *(f"p{b}" for b in patterns),
                *(f"x{j}" for j in range(len(covariates)))]  # fmt: skip

    def select(
        self, covariates: Sequence[str] = (), values: Sequence[str] | None = None, after: int | None = None
    ) -> str:
        """SQL to read FROM: keys, weight, cluster and the given expressions of y0, y1, ... under the same names.

        In a panel, expressions may use b0, b1, ...: the first known value of each outcome of the unit.
        after : leave out cohorts treated in or before this period, units of weight 0 and units without any outcome.
        """
        names, table = self.outcome_columns, self.table.sql(covariates)
        if self.cross_section:  # one value a row: the other periods are missing
            at = {t: i for i, t in enumerate(self.periods.tolist())}
            spread = [f"CASE WHEN t = {t} THEN y{j} END AS z{j * len(at) + i}"
                      for j in range(len(self.outcomes)) for t, i in at.items()]  # fmt: skip
            plain = [f"z{j} AS {name}" for j, name in enumerate(names)]
            table = f"(SELECT * EXCLUDE ({', '.join(self._values)}), {', '.join(spread)} FROM {table})"
            table = f"(SELECT *, {', '.join(plain)} FROM {table})"
        else:
            blocks = [names[j : j + len(self.periods)] for j in range(0, len(names), len(self.periods))]
            first = [f"coalesce({', '.join(block)}) AS b{j}" for j, block in enumerate(blocks)]
            table = f"(SELECT *, {', '.join(first)} FROM {table})"
        bits = [" | ".join(f"(({name} IS NOT NULL)::BIGINT << {j})" for j, name in enumerate(names[b : b + BITS]))
                for b in range(0, len(names), BITS)]  # fmt: skip
        if self.complete:
            bits = [str(2 ** min(BITS, len(names) - b) - 1) for b in range(0, len(names), BITS)]
        columns = ["u", *self._letters, *(f"({sql})::BIGINT AS p{b}" for b, sql in enumerate(bits))]
        columns += [f"x{j}" for j in range(len(covariates))]
        columns += [f"{value} AS {name}" for value, name in zip(values or names, names, strict=True)]
        return f"(SELECT {', '.join(columns)} FROM {table}{'' if after is None else self._where(after, names)})"

    def _where(self, after: int, values: Sequence[str]) -> str:
        """Only conditions that some unit fails: each costs a pass, and a guess of how many units it leaves."""
        needed = {
            f"(c IS NULL OR c > {after})": self.earliest <= after,
            "w > 0": self.columns["weight"] is not None,
            f"coalesce({', '.join(values)}) IS NOT NULL": self.some_blank,
        }
        conditions = [condition for condition, is_needed in needed.items() if is_needed]
        return f" WHERE {' AND '.join(conditions)}" if conditions else ""

    @property
    def _values(self) -> list[str]:
        """SQL names of the values of a row of the table of units; a cross-section has one an outcome."""
        return [f"y{j}" for j in range(len(self.outcomes))] if self.cross_section else self.outcome_columns

    def _by_outcome(self, values: np.ndarray) -> np.ndarray:
        """(J, T) from (J * T,)."""
        return values.reshape(len(self.outcomes), -1)

    def pattern(self, found: Mapping[str, np.ndarray]) -> np.ndarray:
        """(S, J * T) bool: the observed periods that the pattern columns p0, p1, ... of a query stand for."""
        width, kinds = len(self.outcome_columns), []
        for b in range(-(-width // BITS)):  # few patterns, many rows: spell each pattern out once
            codes, kind = np.unique(found[f"p{b}"].astype(np.int64), return_inverse=True)
            bits = (codes[:, None] >> np.arange(min(BITS, width - b * BITS))) & 1
            kinds.append(bits.astype(bool)[kind])
        return kinds[0] if len(kinds) == 1 else np.hstack(kinds)

    def _refuse_infinite(self) -> None:
        names = self._values
        each = " + ".join(f"count(*) FILTER (WHERE isinf({y}))" for y in names)
        any_of = " OR ".join(f"isinf({y})" for y in names)
        count = self.table.one(f"SELECT {each} AS n FROM units")
        keys = self.table.fetch(f"SELECT u FROM units WHERE {any_of} ORDER BY u LIMIT 5")
        raise DataError("finite outcomes", "infinite values", "correct them, or set them missing",
                        column=self.columns["outcome"], count=int(count["n"]),
                        keys=keys["u"].tolist() if self.columns["unit"] else ())  # fmt: skip

    # -- the units themselves, for methods that need rows --

    @cached_property
    def _units(self) -> dict[str, np.ndarray]:
        """Arrays by unit, in the order of their keys, without those that are left out."""
        names = self._values
        extra = ["t"] if self.cross_section else []
        found = self.table.fetch(f"SELECT {', '.join(['u', *self._letters, *extra, *names])} FROM units "
                                 f"{self._where(int(self.periods[0]), self._values)} ORDER BY u")  # fmt: skip
        y = np.column_stack([found.pop(name).astype(float) for name in names])
        if self.cross_section:
            here = found.pop("t")[:, None] == self.periods
            y = np.hstack([np.where(here, column[:, None], np.nan) for column in y.T])
        return {**found, "y": y}

    @property
    def units(self) -> np.ndarray:
        """(n,) keys, ascending."""
        return self._units["u"]

    @property
    def y(self) -> np.ndarray:
        """(n, T) outcomes, NaN where unknown; several outcomes stand side by side."""
        return self._units["y"]

    @property
    def cohort(self) -> np.ndarray:
        """(n,) first treated period, NaN for the never treated."""
        return self._units["c"].astype(float)

    @property
    def weight(self) -> np.ndarray | None:
        """(n,) sampling weights."""
        return self._units["w"].astype(float) if "w" in self._units else None

    @property
    def risk_set(self) -> np.ndarray | None:
        """(n,) cohorts for which the records are at risk."""
        return self._units["r"].astype(float) if "r" in self._units else None

    @property
    def cluster(self) -> np.ndarray | None:
        """(n,) numbers of the clusters, in the order of their labels."""
        return pd.factorize(self._units["k"], sort=True)[0] if "k" in self._units else None

    @property
    def observed(self) -> np.ndarray:
        """(n, T) bool: outcome known."""
        return np.isfinite(self.y)

    @property
    def cohorts(self) -> np.ndarray:
        """Cohorts treated within the observed periods, ascending."""
        g = np.unique(self.strata["c"].dropna())
        return g[g <= self.periods[-1]].astype(int)

    def covariates(self, names: Sequence[str]) -> pd.DataFrame:
        """(n, len(names)) values of unit-level columns; refused when they are missing or change within a unit."""
        if not names:
            return pd.DataFrame(index=range(len(self.units)))
        found = self.table.fetch(f"SELECT {', '.join(f'x{j}' for j in range(len(names)))} FROM {self.table.sql(names)} "
                                 f"{self._where(int(self.periods[0]), self._values)} ORDER BY u")  # fmt: skip
        return pd.DataFrame({name: found[f"x{j}"] for j, name in enumerate(names)})

    def by_unit(self) -> Panel:
        """Each unit as its own cluster, where there is none: the scores of two fits then share rows."""
        if self.columns["cluster"] is not None:
            return self
        out = copy.copy(self)
        out.columns = {**self.columns, "cluster": self.columns["unit"] or "row"}
        out.own_cluster = True
        out.__dict__.pop("_units", None)
        return out

    def tidy(self) -> pd.DataFrame:
        """What came in, and what was left out: columns what, count."""
        c, n = self.strata["c"], self.strata["n"]
        sizes = n.groupby(c, dropna=False).sum()
        counts = {**self.counts, "units used": int(n.sum()), "of these never treated": int(n[c.isna()].sum()),
                  "of these treated after the last period (not yet treated throughout)":
                  int(n[c > self.periods[-1]].sum()),
                  "periods": len(self.periods), "gaps between periods": int((np.diff(self.periods) > 1).sum()),
                  "cohorts": len(self.cohorts), "cohorts of one unit": int((sizes == 1).sum())}  # fmt: skip
        return pd.DataFrame({"what": list(counts), "count": list(counts.values())})

    def summary(self) -> str:
        head = f"panel of {self.columns['outcome']!r}, periods {self.periods[0]} to {self.periods[-1]}"
        return f"{head}\n{self.tidy().to_string(index=False, header=False)}"


def _wide(outcome: Mapping[Any, Any]) -> dict[str, dict[int, str]]:
    """{outcome: {period: column}}, periods ascending; {period: column} is one outcome named after its columns."""
    if all(isinstance(value, Mapping) for value in outcome.values()):
        named = {str(name): dict(each) for name, each in outcome.items()}
    else:
        named = {_common([str(column) for column in outcome.values()]): dict(outcome)}
    if not named or not all(named.values()):
        raise DataError("a column for each period", "no outcome columns", "write outcome = {period: column}")
    bad = [t for each in named.values() for t in each
           if isinstance(t, bool) or not isinstance(t, (int, np.integer)) or abs(int(t)) > EXACT]  # fmt: skip
    if bad:
        raise DataError("periods as integers", "other values", "write outcome = {period: column}",
                        count=len(bad), keys=bad)  # fmt: skip
    if len({frozenset(each) for each in named.values()}) > 1:
        raise DataError("the same periods for every outcome", "periods that differ", "name a column for each period")
    columns = [str(column) for each in named.values() for column in each.values()]
    twice = sorted({column for column in columns if columns.count(column) > 1})
    if twice:
        raise DataError("a column of its own for each period and outcome", "columns named twice", "correct the names",
                        count=len(twice), keys=twice)  # fmt: skip
    return {name: {int(t): str(each[t]) for t in sorted(each)} for name, each in named.items()}


def _refuse_odd_names(parts: Mapping[str, Any], outcomes: Sequence[Any]) -> None:
    odd = [f"{part}={name!r}" for part, name in parts.items() if not isinstance(name, (str, type(None)))]
    odd += [f"outcome={name!r}" for name in outcomes if not isinstance(name, str)]
    if parts["cohort"] is None:
        odd.append("cohort=None")
    if odd or not outcomes or len(set(outcomes)) < len(outcomes):
        raise DataError("names of columns, each outcome once", ", ".join(odd) or f"outcome={outcomes!r}",
                        "name columns of the frame by text")  # fmt: skip


def _common(columns: list[str]) -> str:
    """What the names of the columns share at their start: income_2003, income_2004 -> income."""
    first, last = min(columns), max(columns)
    same = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    return first[:same].rstrip("_-. 0123456789") or columns[0]
