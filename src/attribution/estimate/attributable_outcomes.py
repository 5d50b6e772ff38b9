"""From a share to heads: outcomes that treatment caused, per 100 learners and in total, beside what was claimed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..errors import EstimationError, check_level
from ..inference import fieller
from ..results import Effects, Result


@dataclass(frozen=True, kw_only=True, repr=False)
class AttributableOutcomes(Result):
    """Outcomes caused among the people an estimate speaks for.

    table : one row a term (observed, counterfactual, attributable, claimed; those known), with columns per_100 and
        total, each with std_error and interval. ratio : attributable / claimed (ratio, low, high, kind: Fieller), or
        None.
    """

    table: pd.DataFrame
    ratio: dict[str, float | str] | None
    n_covered: int
    level: float
    estimand: str
    notes: tuple[str, ...] = ()

    def tidy(self) -> pd.DataFrame:
        return self.table.copy()

    def summary(self) -> str:
        lines = [f"{self.estimand}: of {self.n_covered:,} learners it speaks for ({self.level:.0%} intervals)"]
        for row in self.table.to_dict("records"):
            if np.isnan(row["per_100_low"]):
                lines.append(f"  {row['term']:<15} {row['per_100']:6.1f} of 100, alike for all: no interval")
                continue
            lines.append(f"  {row['term']:<15} {row['per_100']:6.1f} of 100 [{row['per_100_low']:.1f}, "
                         f"{row['per_100_high']:.1f}]  {row['total']:,.0f} in all [{row['total_low']:,.0f}, "
                         f"{row['total_high']:,.0f}]")  # fmt: skip
        if self.ratio is not None:
            low, high, kind = self.ratio["low"], self.ratio["high"], self.ratio["kind"]
            words = {"interval": f"between {low:.2f} and {high:.2f}",
                     "complement": f"{low:.2f} or less, or {high:.2f} or more",
                     "line": "any value"}[str(kind)]  # fmt: skip
            none = self.ratio["kind"] == "line" and np.isnan(float(self.ratio["ratio"]))
            share = "no ratio, nobody claims" if none else f"{self.ratio['ratio']:.2f}, {words}"
            lines.append(f"  attributable / claimed: {share}")
        return "\n".join([*lines, *self.notes])


def attributable_outcomes(
    effects: Effects, *, n_covered: int, claimed: Effects | None = None, level: float = 0.95
) -> AttributableOutcomes:
    """Outcomes that treatment caused: 100 x ATT for every hundred learners, and ATT x n covered, for nobody else.

    Estimand : sum over the covered treated of Y(treated) - Y(untreated), Y a 0/1 outcome.
    Assumes : what the estimate assumes; the covered are those behind it.
    Estimator : 100 x ATT; ATT x n_covered.
    Std. errors : of the ATT, times n_covered, a count taken as known. attributable / claimed: Fieller (1954), with the
        covariance of the two from their scores.
    Edge cases : euros or other amounts are refused (`attributable_euros`), as are more people than stand behind the
        estimate, and a claim on other score rows. A claimed share near zero: the set is the outside of an interval.

    Parameters
    ----------
    effects : ATT in shares, one term, or observed, counterfactual and att (`parts=True`). n_covered : treated people
        the estimand speaks for, at most those behind the estimate. claimed : share of the same people who credit the
        school, one term on the same score rows.
    """
    check_level(level)
    if effects.unit != "share":
        raise EstimationError("an effect in shares of a 0/1 outcome", f"one in {effects.unit}",
                              "use attributable_euros for amounts; for ratios estimate the difference")  # fmt: skip
    terms = list(effects.labels["term"])
    if terms[-1] in ("ate", "ato") or effects.estimand.startswith(("ATE", "ATO")):
        raise EstimationError("the effect on the treated", effects.estimand, 'estimate with target="treated"')
    if len(terms) not in (1, 3) or (len(terms) == 3 and terms != ["observed", "counterfactual", "att"]):
        raise EstimationError("one ATT, or observed, counterfactual and att", f"terms {terms}", "estimate one outcome")
    most = int(effects.n_treated.min())
    whole = isinstance(n_covered, (int, np.integer)) and not isinstance(n_covered, bool)
    if not whole or not 0 < n_covered <= most:
        raise EstimationError(f"n_covered from 1 to the {most:,} treated behind the estimate", f"{n_covered!r}",
                              "count only people the estimand speaks for")  # fmt: skip
    names = ["attributable"] if len(terms) == 1 else ["observed", "counterfactual", "attributable"]
    rows = _rows(effects, names, n_covered, level)
    ratio: dict[str, float | str] | None = None
    if claimed is not None:
        if len(claimed) != 1 or claimed.unit != "share" or claimed.scores.shape[0] != effects.scores.shape[0]:
            raise EstimationError("a claimed share of the same people on the same score rows",
                                  f"{len(claimed)} terms in {claimed.unit} on {len(claimed.scores):,} rows",
                                  "estimate both on one design: att(design, claimed, parts=True)")  # fmt: skip
        rows += _rows(claimed, ["claimed"], n_covered, level)
        both = np.column_stack([effects.scores[:, -1], claimed.scores[:, 0]])
        top, bottom = float(effects.estimate[-1]), float(claimed.estimate[0])
        low, high, kind = fieller(top, bottom, both.T @ both, level, float(effects.degrees[-1]))
        ratio = {"ratio": top / bottom if bottom else float("nan"), "low": low, "high": high, "kind": kind}
    return AttributableOutcomes(table=pd.DataFrame(rows), ratio=ratio, n_covered=int(n_covered), level=level,
                                estimand=effects.estimand, notes=effects.notes)  # fmt: skip


def _rows(effects: Effects, names: list[str], n: int, level: float) -> list[dict[str, float | str]]:
    low, high = effects.conf_int(level)
    out = []
    for j, name in enumerate(names):
        value, se = effects.estimate[j], effects.std_error[j]
        out.append({
            "term": name, "per_100": 100 * value, "per_100_se": 100 * se, "per_100_low": 100 * low[j],
            "per_100_high": 100 * high[j], "total": n * value, "total_se": n * se, "total_low": n * low[j],
            "total_high": n * high[j], "n_covered": n,
        })  # fmt: skip
    return out
