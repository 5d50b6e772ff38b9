"""Tables as people read them: small cells hidden, columns in words, numbers rounded. The notebooks print only these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..results import Check, Effects
from ..study import Study
from .bridge import Bridge
from .comparison import Comparison
from .disclosure import protect, protect_table
from .finding import read_findings
from .words import human_table, say_number

VERDICT = {True: "passed", False: "failed", None: "not answered"}
NO_NUMBER = "–"
TERMS = {"att": "effect on the treated (ATT)"}


def pool_title(study: Study, pool: str) -> str:
    """A comparison pool in words."""
    return study.comparison.titles.get(pool, pool.replace("_", " "))


def inside(title: str) -> str:
    """A title inside a sentence: only the first letter changes."""
    return title[:1].lower() + title[1:]


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
        for step, n, excluded in zip(rows["step"], rows["n"], rows["excluded"], strict=True):
            cells[arm, step, "n"] = int(n)
            if before is not None:
                cells[arm, step, "excluded"] = int(excluded)
                sums.append(((arm, before, "n"), [(arm, step, "n"), (arm, step, "excluded")]))
            before = step
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
        treated = one.design.treated
        rows.append({
            "comparison": pool_title(study, pool), "starters": _people(study, int(treated.sum())),
            "matched": _people(study, int((one.design.matched & treated).sum())),
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
        for row in effect.tidy(level).to_dict("records"):
            unit = effect.unit
            points = unit == "share" and row["term"] not in ("observed", "counterfactual")
            low, high = (_say(row[bound], unit, points) for bound in ("conf_low", "conf_high"))
            rows.append({
                first: name, "what": TERMS.get(row["term"], str(row["term"]).replace("_", " ")),
                "estimate": _say(row["estimate"], unit, points), "standard error": _say(row["std_error"], unit, False),
                f"{level:.0%} interval": f"{low} to {high}", "treated": f"{row['n_treated']:,.0f}",
                "comparison records": f"{row['n_comparison']:,.0f}",
            })  # fmt: skip
    return pd.DataFrame(rows)


def bridge_table(study: Study, bridge: Bridge) -> pd.DataFrame:
    """The bridge for people: one row a tier and stage. Small tiers show words instead of numbers."""
    rows = []
    least = max(study.disclosure.min_cell, study.disclosure.percent_min_n)
    for row in bridge.table.to_dict("records"):
        told = row["status"] in ("estimated", "described")
        small = told and 0 < row["n"] < least
        shown = told and not small
        rows.append({
            "tier": row["tier"], "stage": row["stage"], "share": f"{row['share']:.1%}" if shown else NO_NUMBER,
            "95 % interval": f"{row['conf_low']:.1%} to {row['conf_high']:.1%}" if shown else NO_NUMBER,
            "people": f"{row['people']:,.0f}" if shown else NO_NUMBER, "of": f"{row['n']:,.0f}" if shown else NO_NUMBER,
            "why no number": "fewer people than the disclosure rule allows" if small else row["reason"],
        })  # fmt: skip
    return pd.DataFrame(rows)


def earlier(out: str) -> pd.DataFrame:
    """What the other notebooks of the same run found; empty when nothing is written (interactive use)."""
    return human_table(read_findings(out)) if out else pd.DataFrame()


def checks_in_words(checks: Sequence[Check]) -> pd.DataFrame:
    """One row a check: the question, the verdict, what was found."""
    rows = [{"question": check.question, "verdict": VERDICT[check.passed], "found": check.text} for check in checks]
    return pd.DataFrame(rows, columns=["question", "verdict", "found"])


def forest(
    study: Study, made: Mapping[str, Comparison], effects: Mapping[str, Effects], refused: Mapping[str, str]
) -> pd.DataFrame:
    """Frame for `plots.estimates`: one row a pool, the effect or why there is none."""
    rows = []
    for pool, effect in effects.items():
        terms = effect.labels["term"].tolist()
        one = effect.tidy().iloc[terms.index("att") if "att" in terms else 0]
        numbers = {name: one[name] for name in ("estimate", "conf_low", "conf_high")}
        rows.append({"label": pool_title(study, pool), "grade": made[pool].grade.level, **numbers})
    rows += [{"label": pool_title(study, pool), "reason": reason} for pool, reason in refused.items()]
    return pd.DataFrame(rows).reindex(columns=["label", "estimate", "conf_low", "conf_high", "grade", "reason"])


def bracket(effects: Mapping[str, Effects]) -> pd.DataFrame:
    """Frame for `plots.bracket`: one row an estimator, the first is the headline."""
    columns = ["estimate", "conf_low", "conf_high"]
    rows = [{"label": name, **effect.tidy().iloc[0][columns]} for name, effect in effects.items()]
    return pd.DataFrame(rows).assign(headline=[j == 0 for j in range(len(rows))])


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
