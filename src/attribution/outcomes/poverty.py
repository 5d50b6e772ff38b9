"""Who is poor: the line at 60 % of the weighted median, held fixed, and the share below it as an outcome."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..errors import DataError, EstimationError
from ..results import Result
from .income import IncomeOutcome, income_series


@dataclass(frozen=True, kw_only=True, repr=False)
class PovertyLine(Result):
    """A line of poverty and the population it was drawn from.

    line, median : in the unit of the incomes. share : line / median. rate : weighted share strictly below the line.
    gini : weighted Gini coefficient, 0 to 1 (NaN with negative incomes). n : known incomes with weight. A line
    from elsewhere has no median, share or gini: `given_line`.
    """

    line: float
    median: float
    share: float
    rate: float
    gini: float
    n: int
    missing: int
    unit: str

    def below(self, values: Any) -> pd.Series:
        """1.0 strictly below the line, 0.0 at or above it, NaN where income is unknown: an outcome of unit "share".

        The line stays where it is, before and after treatment: an effect on this outcome is an effect on the share of
        people below a fixed line. values : incomes in the same unit and prices, or an IncomeOutcome (checked).
        """
        if isinstance(values, IncomeOutcome) and self.unit and values.unit != self.unit:
            raise EstimationError(f"incomes in the unit of the line, {self.unit}", values.unit,
                                  "define both incomes by the same choices")  # fmt: skip
        y = income_series(values)
        return (y < self.line).astype(float).where(y.notna()).rename("below_poverty_line")

    def tidy(self) -> pd.DataFrame:
        names = ("line", "median", "share", "rate", "gini", "n", "missing", "unit")
        return pd.DataFrame([{name: getattr(self, name) for name in names}])

    def summary(self) -> str:
        missing = f"; {self.missing:,} without income left out" if self.missing else ""
        drawn = "given" if np.isnan(self.share) else f"{self.share:.0%} of the weighted median {self.median:,.2f}"
        gini = "" if np.isnan(self.gini) else f"; Gini {self.gini:.4f}"
        line = f"{self.line:,.2f} {self.unit}".strip()
        return f"poverty line {line}: {drawn}; {self.rate:.2%} of {self.n:,} incomes lie below it{gini}{missing}"


def poverty_line(values: Any, weights: Any = None, *, share: float = 0.6) -> PovertyLine:
    """Line at `share` of the weighted median: the at-risk-of-poverty threshold, and the share of people below it.

    Estimator : Eurostat's convention: the weighted median is the smallest income at which the cumulated weight reaches
        half of the total; where it is hit exactly, the mean of that income and the next. Gini: Eurostat's formula.
    Std. errors : none: it describes the people given, and draws a line that effects then take as fixed.
    Edge cases : missing incomes and zero weights are left out; zero and negative incomes stay in, but the median must
        lie above zero.
    Checked : laeken 0.5.2 on synthetic EU-SILC: 10,859.24, 14.44 %, Gini 26.49.

    Parameters
    ----------
    values : (n,) equivalised incomes or an equivalised IncomeOutcome. weights : (n,) sampling weights of persons.
    share : of the median, between 0 and 1.
    """
    if not 0 < share < 1:
        raise EstimationError("0 < share < 1", f"share = {share}", "the European line is 0.6")
    if isinstance(values, IncomeOutcome) and not values.equivalised:
        raise EstimationError("equivalised income: poverty is a matter of households", values.unit,
                              'use household_income(equivalise="oecd_modified")')  # fmt: skip
    y = income_series(values).to_numpy()
    w = np.ones(len(y)) if weights is None else np.asarray(weights, float)
    if w.shape != y.shape or not np.isfinite(w).all() or (w < 0).any():
        raise DataError("one finite weight >= 0 for each income", f"{len(w)} weights for {len(y)} incomes, or others",
                        "correct the weights")  # fmt: skip
    used = np.isfinite(y) & (w > 0)
    if not used.any():
        raise DataError("known incomes with weight", "none", "check the column", count=len(y))
    median = weighted_median(y[used], w[used])
    if median <= 0:
        raise DataError("a median above 0: nobody lies below a share of it otherwise", f"{median:g}",
                        "give the incomes of the whole population, or a line known from elsewhere (given_line)",
                        count=int((y[used] <= 0).sum()))  # fmt: skip
    line = share * median
    return PovertyLine(
        line=line, median=median, share=share, rate=float(w[used & (y < line)].sum() / w[used].sum()),
        gini=gini(y[used], w[used]), n=int(used.sum()), missing=int(np.isnan(y).sum()),
        unit=values.unit if isinstance(values, IncomeOutcome) else "",
    )  # fmt: skip


def weighted_median(y: np.ndarray, w: np.ndarray) -> float:
    """Smallest value whose cumulated weight reaches half; hit exactly, the mean with the next value."""
    order = np.argsort(y, kind="stable")
    cumulated = np.cumsum(w[order] / w.max())
    half = cumulated[-1] / 2
    # sums of weights such as 0.1 or 0.7 miss the half by rounding only: the unit of the weights must not decide
    at = int(np.searchsorted(cumulated, half * (1 - 1e-12)))
    exact = bool(np.isclose(cumulated[at], half, rtol=1e-12, atol=0))
    return float(y[order[at]] + y[order[at + 1]]) / 2 if exact else float(y[order[at]])


def gini(y: np.ndarray, w: np.ndarray) -> float:
    """Weighted Gini coefficient, 0 to 1: (2 sum w y W - sum w^2 y) / (sum w sum w y) - 1, W the cumulated weight."""
    order = np.argsort(y, kind="stable")
    y, w = y[order], w[order]
    total = w.sum() * (w @ y)
    return float((2 * (w * y) @ np.cumsum(w) - w**2 @ y) / total - 1) if y[0] >= 0 and total > 0 else float("nan")


def given_line(line: float, incomes: IncomeOutcome) -> PovertyLine:
    """A line known from elsewhere (a national statistic), in the unit of these equivalised incomes.

    Parameters
    ----------
    line : in the unit of `incomes` (money a period). incomes : from `household_income`, equivalised.
    """
    if not incomes.equivalised or not line > 0:
        raise EstimationError("a line above 0 and equivalised income", f"{line} and {incomes.unit}",
                              'use household_income(equivalise="oecd_modified")')  # fmt: skip
    nan, known = float("nan"), incomes.values.notna()
    rate, n = float((incomes.values[known] < line).mean()), int(known.sum())
    return PovertyLine(line=float(line), median=nan, share=nan, gini=nan, n=n, missing=len(known) - n, rate=rate,
                       unit=incomes.unit)  # fmt: skip
