"""What a balance table compares: covariates, their squares and products, made one at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from ..errors import DesignError
from .arms import SAMPLES, Arms, Figures, is_two_valued
from .table import categories, is_category, is_number

Part = tuple[tuple[str, Any], ...]  # ((column, level or None), ...): what a label is made of


@dataclass(frozen=True, kw_only=True)
class Term:
    """A column, or all the levels of a category.

    labels : one a row of the table; parts : what each is made of. values : makes the (n,) numbers (nothing of a
    million rows is kept). codes : (n,) levels of a category. known : (n,) bool, or None when nothing is missing.
    """

    labels: tuple[str, ...]
    parts: tuple[Part, ...]
    kind: str
    values: Callable[[], np.ndarray] | None = None
    codes: np.ndarray | None = None
    known: np.ndarray | None = None
    origin: str = ""

    @classmethod
    def of(cls, name: str, x: np.ndarray, *, kind: str = "covariate") -> Term:
        """A numeric column; NaN is missing."""
        hole = np.isnan(x)
        return cls(labels=(str(name),), parts=(((str(name), None),),), kind=kind, values=lambda: x, origin=str(name),
                   known=~hole if hole.any() else None)  # fmt: skip

    def number(self, arms: Arms) -> Figures:
        """Figures of a numeric term."""
        assert self.values is not None
        arms, x = self._on(arms, self.values())
        return arms.number(x)

    def levels(self, arms: Arms) -> list[Figures]:
        """Figures of every level, from counts: no column of zeros and ones is made."""
        assert self.codes is not None
        arms, codes = self._on(arms, self.codes)
        k = len(self.labels)
        shares = [{s: np.bincount(codes[where], weights=mine[s], minlength=k) for s in SAMPLES}
                  for mine, where in zip(arms.weights, arms.at, strict=True)]  # fmt: skip
        return [arms.shares(*({s: float(p[s][j]) for s in SAMPLES} for p in shares)) for j in range(k)]

    def _on(self, arms: Arms, x: np.ndarray) -> tuple[Arms, np.ndarray]:
        """The arms and the column on the rows whose value is known."""
        if self.known is not None:
            known = self.known if arms.rows is None else self.known[arms.rows]
            arms = arms.only(np.flatnonzero(known))
        return arms, x if arms.rows is None else x[arms.rows]


def read_terms(units: pd.DataFrame, names: Sequence[str]) -> list[Term]:
    """A term a covariate; after one with missing values, the row of being missing."""
    terms: list[Term] = []
    for name in names:
        series = units[name]
        if is_category(series):
            codes, levels = categories(series)
            known = codes >= 0
            terms.append(Term(
                labels=tuple(f"{name}_{level}" for level in levels), kind="covariate", codes=codes, origin=str(name),
                parts=tuple(((str(name), level),) for level in levels), known=None if known.all() else known,
            ))  # fmt: skip
        elif is_number(series):
            x = series.to_numpy(dtype=float, na_value=np.nan)
            if np.isinf(x).any():
                raise DesignError("finite covariates", "infinite values", "correct them at the source",
                                  column=str(name), count=int(np.isinf(x).sum()))  # fmt: skip
            terms.append(Term.of(name, x))
        else:
            raise DesignError("numeric or categorical covariates", f"a column of type {series.dtype}",
                              "turn dates into numbers with a meaning (months since application)",
                              column=str(name))  # fmt: skip
        hole = terms[-1].known
        if hole is not None:
            if not hole.any():
                raise DesignError("covariates with values", "a column that is missing throughout", "leave it out",
                                  column=str(name), count=len(hole))  # fmt: skip
            terms.append(Term(labels=(f"{name}:missing",), parts=(((str(name), "missing"),),), kind="missing",
                              values=partial(_floats, ~hole), origin=str(name)))  # fmt: skip
    return terms


def squares_of(terms: Sequence[Term]) -> list[Term]:
    """Squares of the numbers of more than two values."""
    return [
        Term(labels=(f"{term.origin}^2",), parts=(((term.origin, None), (term.origin, None)),), kind="square",
             values=partial(_times, term.values, term.values), known=term.known, origin=term.origin)
        for term in terms if term.kind == "covariate" and term.values is not None and _two(term) is None
    ]  # fmt: skip


def interactions_of(terms: Sequence[Term]) -> list[Term]:
    """Products of every two columns of different covariates; categories and two-valued columns by level."""
    columns = [column for term in terms if term.kind == "covariate" for column in _by_level(term)]
    return [_product(a, b) for a, b in combinations(columns, 2) if a.origin != b.origin]


def _product(a: Term, b: Term) -> Term:
    known = a.known if b.known is None else b.known if a.known is None else a.known & b.known
    assert a.values is not None and b.values is not None
    return Term(labels=(f"{a.labels[0]} * {b.labels[0]}",), parts=((*a.parts[0], *b.parts[0]),), kind="interaction",
                values=partial(_times, a.values, b.values), known=known)  # fmt: skip


def _by_level(term: Term) -> list[Term]:
    if term.codes is not None:
        return [
            Term(labels=(label,), parts=(part,), kind="covariate", origin=term.origin, known=term.known,
                 values=partial(_is, lambda: term.codes, j))
            for j, (label, part) in enumerate(zip(term.labels, term.parts, strict=True))
        ]  # fmt: skip
    values, make = _two(term), term.values
    if values is None or make is None:
        return [term]
    words = ("no", "yes") if values == (0, 1) else tuple(f"{value:g}" for value in values)
    return [
        Term(labels=(f"{term.origin}_{value:g}",), parts=(((term.origin, word),),), kind="covariate",
             origin=term.origin, known=term.known, values=partial(_is, make, value))
        for value, word in zip(values, words, strict=True)
    ]  # fmt: skip


def _two(term: Term) -> tuple[float, float] | None:
    """The two values of a column that has no others."""
    assert term.values is not None
    x = term.values() if term.known is None else term.values()[term.known]
    low, high = float(x.min()), float(x.max())
    return (low, high) if low < high and is_two_valued(x, low, high) else None


def _times(a: Callable[[], np.ndarray], b: Callable[[], np.ndarray]) -> np.ndarray:
    return a() * b()


def _is(make: Callable[[], Any], value: float) -> np.ndarray:
    return _floats(make() == value)


def _floats(values: np.ndarray) -> np.ndarray:
    return values.astype(float)
