"""What an effect amounts to: for whom, relative to what, of how many learners, and who can have gained.

Everything that would show a small group is left out here, before any table or figure is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from ..errors import DesignError, attempt
from ..estimate.att import att
from ..estimate.attributable_outcomes import attributable_outcomes
from ..estimate.g_computation import g_computation
from ..estimate.gains import Gains, share_who_gain
from ..estimate.subgroups import subgroup_effects
from ..results import Effects
from ..study import Study
from .comparison import Comparison
from .disclosure import too_small
from .words import Told, pretty, say_number


def amounts(study: Study, one: Comparison, outcome: str) -> list[dict[str, Any]]:
    """The effect on a 0/1 outcome in four other words, as columns of findings: ratio, per 100, in all, who owes it.

    Ratio: how many times as likely as without, from the two shares of the design. Who owes it: bounds on the share that
    would not have been placed otherwise, max(ATT, 0) to min(p1, 1 - p0) before their correction.

    Raises
    ------
    DesignError : fewer people than may be shown, in all or in one of the four cells.
    """
    data = one.cohort.outcomes
    parts = att(one.design, outcome, data=data, parts=True)
    if too_small(parts, study.disclosure):
        raise DesignError("as many people as may be shown", "fewer people than may be shown", "widen the cohort")
    n = int(parts.n_treated[-1])
    ratio = g_computation(one.design, outcome, adjust=(), scale="ratio", data=data)
    low, high = ratio.conf_int()
    heads = attributable_outcomes(parts, n_covered=n).tidy().set_index("term").loc["attributable"]
    owed = share_who_gain(one.design, outcome, data=data).table.iloc[0]
    both = f"95 % interval of least and most together: {owed['conf_low']:.1%} to {owed['conf_high']:.1%}."
    rows: list[dict[str, Any]] = [
        {"term": "ratio", "estimand": "how many times as likely as without", "unit": "times", "estimator":
         "ratio of the two shares, delta method", "estimate": float(np.exp(ratio.estimate[0])),
         "conf_low": float(np.exp(low[0])), "conf_high": float(np.exp(high[0]))},
        {"term": "in_all", "estimand": "people placed who would not have been", "unit": "people",
         "estimator": "effect times the people it speaks for",
         **{name: float(np.round(heads[column])) for name, column in (
             ("estimate", "total"), ("conf_low", "total_low"), ("conf_high", "total_high"))}},
        *({"term": term, "estimand": f"share who owe it to the school, at {term}", "unit": "share", "estimator":
           "bounds on the share who gain (Fan and Park 2010), half-median-unbiased",
           "estimate": float(owed[f"bound_{end}"]), "text": both}
          for term, end in (("least", "low"), ("most", "high"))),
    ]  # fmt: skip
    return [{**row, "n_covered": n} for row in rows]


def by_group(study: Study, one: Comparison, outcome: str, *, unit: str | None = None) -> dict[str, pd.DataFrame]:
    """Effects by the plan's subgroups: one table a covariate; those with a level too small to show are left out whole.

    Returns
    -------
    Covariate -> rows of `Subgroups.tidy()`: effects of the levels and their differences, with mde and p_adjusted; and
    `level`, the same in words.
    """
    found = {}
    for name in study.design.subgroups:
        groups, _ = attempt(subgroup_effects, one.design, outcome, by=name, data=one.cohort.outcomes, unit=unit)
        if groups is None or groups.refused or _any_small(study, one, outcome, name, groups.effects):
            continue
        table = groups.tidy()
        found[name] = table.assign(unit=groups.effects.unit, level=_levels(table["term"]))
    return found


def _levels(terms: pd.Series) -> list[str]:
    """The levels in words: no and yes of a 0/1 covariate, whole numbers without decimals."""
    plain = [str(term).replace(".0", "") for term in terms]
    if set(plain) <= {"0", "1", "1 minus 0"}:
        return [{"0": "no", "1": "yes"}.get(term, "difference") for term in plain]
    return plain


def _any_small(study: Study, one: Comparison, outcome: str, name: str, effects: Effects) -> bool:
    """Whether a level has too few people in an arm, or a small cell of a 0/1 outcome there."""
    rule = study.disclosure
    people = np.concatenate([effects.n_treated, effects.n_comparison])
    if effects.unit != "share":
        return bool(people.min() < rule.min_cell_sensitive)
    known = one.cohort.outcomes[outcome]
    counts = known[one.design.matched].groupby(
        [one.design.units.loc[one.design.matched, name], one.design.treated[one.design.matched]]
    ).agg(["sum", "count"])  # fmt: skip
    cells = np.concatenate([counts["sum"], counts["count"] - counts["sum"]])
    return bool(people.min() < rule.percent_min_n or ((cells > 0) & (cells < rule.min_cell)).any())


def groups_table(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """`by_group` for people: one row a level or difference, with the smallest effect that could have been seen."""
    rows = []
    for name, table in tables.items():
        for row in table.to_dict("records"):
            unit = row["unit"]
            said = {key: say_number(row[key], unit, signed=True) for key in ("estimate", "conf_low", "conf_high")}
            rows.append({
                "by": pretty(name), "level": row["level"],
                "effect": said["estimate"],
                "95 % interval": f"{said['conf_low'].removesuffix(' points')} to {said['conf_high']}",
                "could be seen from": say_number(row["mde"], unit, signed=True).lstrip("+"),
                "p, adjusted": "under 0.001" if row["p_adjusted"] < 0.001 else f"{row['p_adjusted']:.3f}",
                "starters": "" if row["kind"] == "difference" else f"{row['n_treated']:,.0f}",
            })  # fmt: skip
    return Told(pd.DataFrame(rows))


def not_shown(study: Study, tables: Mapping[str, pd.DataFrame]) -> str:
    """The plan's subgroups that `by_group` left out, as the end of a caption; empty where there are none."""
    left_out = [pretty(name) for name in study.design.subgroups if name not in tables]
    return f" (not shown, for too few people in a group: {', '.join(left_out)})" if left_out else ""


def income_gains(study: Study, one: Comparison) -> Gains:
    """Bounds on the share of matched starters whose income gained, at the plan's thresholds.

    Raises
    ------
    DesignError : fewer people than a share may be told of.
    """
    found = share_who_gain(one.design, "income_h", data=one.cohort.outcomes,
                           threshold=list(study.outcomes["income"].gain_thresholds))  # fmt: skip
    least = max(study.disclosure.percent_min_n, study.disclosure.min_cell_sensitive)
    if min(found.n_treated, found.n_comparison) < least:
        raise DesignError("as many people as may be shown", "fewer people than may be shown", "widen the cohort")
    return found
