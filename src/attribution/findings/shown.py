"""Tables as people read them: small cells hidden, columns in words, numbers rounded. The notebooks print only these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..results import Effects
from ..study import Study
from .bridge import Bridge
from .comparison import Comparison
from .disclosure import protect, protect_table
from .finding import read_findings
from .words import human_table, say_number

VERDICT = {True: "passed", False: "failed", None: "not answered"}
NO_NUMBER = "–"


def pool_title(study: Study, pool: str) -> str:
    """A comparison pool in words."""
    return study.comparison.titles.get(pool, pool.replace("_", " "))


def reach_table(study: Study, reached: pd.DataFrame) -> pd.DataFrame:
    """`at.reach` with small cells as missing numbers: tier, group, n, of, share (titles in words)."""
    rule = study.disclosure
    frame = reached.set_index(["tier", "group"])[["n", "of", "share"]]
    words = protect_table(
        frame, counts=["n", "of"], shares={"share": ("n", "of")}, min_cell=rule.min_cell_sensitive,
        percent_min_n=rule.percent_min_n,
    )  # fmt: skip
    told = frame.astype(float).where(~words.isin(_hidden(words)))
    told = told.reset_index()
    return told.assign(tier=told["tier"].map(lambda tier: study.tiers[tier].title if tier in study.tiers else tier))


def flow_table(study: Study, flow: pd.DataFrame) -> pd.DataFrame:
    """A sample flow with small cells as missing numbers; what is left and what was left out are protected together."""
    cells: dict[Any, int] = {}
    sums = []
    for arm, rows in flow.groupby("arm", sort=False):
        before = None
        for row in rows.itertuples():
            cells[arm, row.step, "n"] = int(row.n)
            if before is not None:
                cells[arm, row.step, "excluded"] = int(row.excluded)
                sums.append(((arm, before, "n"), [(arm, row.step, "n"), (arm, row.step, "excluded")]))
            before = row.step
    hidden = protect(cells, sums, min_cell=study.disclosure.min_cell)
    told = flow.copy()
    for column in ("n", "excluded"):
        told[column] = [
            np.nan if (arm, step, column) in hidden else float(value)
            for arm, step, value in zip(flow["arm"], flow["step"], flow[column], strict=True)
        ]
    return told[["step", "arm", "n", "excluded", "reason"]]


def outcomes_table(study: Study, table: pd.DataFrame) -> pd.DataFrame:
    """Career outcomes by tier (`career_outcomes(...).table()`), protected and in words."""
    kinds = ["found_job", "changed_job", "moved_up", "business"]
    counts = ["persons", "matured", "observed", "claimed", "partly", "embedded", *kinds]
    frame = table.set_index("tier")
    shown = protect_table(
        frame[[*counts, "observed_share", "claimed_share"]], counts=counts,
        shares={"observed_share": ("observed", "matured"), "claimed_share": ("claimed", "matured")},
        min_cell=study.disclosure.min_cell, percent_min_n=study.disclosure.percent_min_n,
    )  # fmt: skip
    shown.index = [study.tiers[tier].title if tier in study.tiers else tier for tier in shown.index]
    names = {
        "persons": "started", "matured": "horizon passed",
        "observed": "observed (any cause)", "observed_share": "observed share",
        "claimed": "claimed (credited)", "claimed_share": "claimed share", "partly": "credited in part",
        "embedded": "contract of the programme (apart)", "found_job": "found a job", "changed_job": "changed jobs",
        "moved_up": "moved up", "business": "started a business",
    }  # fmt: skip
    return shown.rename(columns=names).rename_axis("tier").reset_index()


def checks_shown(study: Study, made: Mapping[str, Comparison], refused: Mapping[str, str]) -> pd.DataFrame:
    """One row a pool: how many are covered, worst imbalance, placebo, grade; pools that cannot be built say why."""
    rows = []
    for pool, one in made.items():
        counts = one.design.tidy().set_index("sample")
        rows.append({
            "comparison": pool_title(study, pool), "starters": _people(study, counts.loc["all", "treated"]),
            "matched": _people(study, counts.loc["matched", "treated"]),
            "largest imbalance (SD)": f"{one.balance.worst_smd:.2f}",
            **{check.name: VERDICT[check.passed] for check in one.checks}, "grade": one.grade.level,
        })  # fmt: skip
    for pool, why in refused.items():
        rows.append({"comparison": pool_title(study, pool), "grade": "no comparison", "why": why})
    return pd.DataFrame(rows).fillna("")


def effects_table(effects: Mapping[str, Effects], *, first: str = "comparison", level: float = 0.95) -> pd.DataFrame:
    """Several results side by side: one row an estimate, in words and rounded; dictionary keys name the rows."""
    rows = []
    for name, effect in effects.items():
        for row in effect.tidy(level).itertuples():
            unit = effect.unit
            points = unit == "share" and row.term not in ("observed", "counterfactual")
            rows.append({
                first: name, "what": str(row.term).replace("_", " "),
                "estimate": _say(row.estimate, unit, points), "standard error": _say(row.std_error, unit, False),
                f"{level:.0%} interval": f"{_say(row.conf_low, unit, points)} to {_say(row.conf_high, unit, points)}",
                "treated": f"{row.n_treated:,.0f}", "comparison records": f"{row.n_comparison:,.0f}",
            })  # fmt: skip
    return pd.DataFrame(rows)


def bridge_table(study: Study, bridge: Bridge) -> pd.DataFrame:
    """The bridge for people: one row a tier and stage. Small tiers show words instead of numbers."""
    rows = []
    for row in bridge.table.itertuples():
        told = row.status in ("estimated", "described")
        small = told and 0 < row.n < max(study.disclosure.min_cell, study.disclosure.percent_min_n)
        rows.append({
            "tier": row.tier, "stage": row.stage,
            "share": NO_NUMBER if not told or small else f"{row.share:.1%}",
            "95 % interval": NO_NUMBER if not told or small else f"{row.conf_low:.1%} to {row.conf_high:.1%}",
            "people": NO_NUMBER if not told or small else f"{row.people:,.0f}",
            "of": NO_NUMBER if not told or small else f"{row.n:,.0f}",
            "why no number": "fewer people than the disclosure rule allows" if small else row.reason,
        })  # fmt: skip
    return pd.DataFrame(rows)


def earlier(out: str) -> pd.DataFrame:
    """What the other notebooks of the same run found; empty when nothing is written (interactive use)."""
    return human_table(read_findings(out)) if out else pd.DataFrame()


def forest(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Frame for `plots.estimates` from {label, effect, term?, grade?, group?} or {label, reason}."""
    out = []
    for row in rows:
        effect = row.get("effect")
        line = {key: row[key] for key in ("label", "group", "grade", "reason") if key in row}
        if effect is not None:
            tidy = effect.tidy()
            one = tidy[tidy["term"] == row["term"]].iloc[0] if "term" in row else tidy.iloc[0]
            line |= {name: one[name] for name in ("estimate", "conf_low", "conf_high")}
        out.append(line)
    return pd.DataFrame(out).reindex(columns=["label", "group", "estimate", "conf_low", "conf_high", "grade", "reason"])


def _hidden(words: pd.DataFrame) -> list[str]:
    cells = pd.unique(words.astype(str).to_numpy().ravel())
    return [cell for cell in cells if cell == "suppressed" or cell.startswith("<")]


def _people(study: Study, n: float) -> str:
    return f"<{study.disclosure.min_cell}" if 0 < n < study.disclosure.min_cell else f"{n:,.0f}"


def _say(value: float, unit: str, signed: bool) -> str:
    if value is None or not np.isfinite(value):
        return NO_NUMBER
    if unit == "share":
        return f"{100 * value:{'+' if signed else ''}.1f} {'points' if signed else '%'}"
    return say_number(value, unit)
