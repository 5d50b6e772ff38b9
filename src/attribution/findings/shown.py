"""Tables as people read them: small cells hidden, columns in words, numbers rounded. The notebooks print only these."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..outcomes.income import IncomeOutcome
from ..results import Check, Effects
from ..study import Study
from .bracket import Declared, one_count
from .bridge import Bridge
from .comparison import Comparison
from .disclosure import protect, protect_table, too_small
from .finding import read_documents
from .sentences import (
    breakdown_in_words,
    effects_in_words,
    grades_in_words,
    headline_in_words,
    inside,
    pool_title,
)
from .words import MINUS, Told, plain, pretty, say_number, slug

__all__ = [  # what the notebooks use from here, though it is made elsewhere
    "breakdown_in_words", "effects_in_words", "grades_in_words", "headline_in_words", "inside", "one_count", "plain",
    "pool_title", "slug",
]  # fmt: skip

NO_NUMBER = "–"
TERMS = {
    "observed": "starters (observed)", "counterfactual": "partners (counterfactual)", "att": "difference: the effect",
}  # fmt: skip


def in_tier_order(study: Study, frame: pd.DataFrame) -> pd.DataFrame:
    """Rows in the order in which the plan names the tiers; tiers it does not name come last."""
    place = {tier: k for k, tier in enumerate(study.tiers)}
    order = frame["tier"].map(place).fillna(len(place))
    return frame.iloc[order.argsort(kind="stable")].reset_index(drop=True)


def large_enough(
    study: Study, effects: Mapping[str, Effects], refused: Mapping[str, str]
) -> tuple[dict[str, Effects], dict[str, str]]:
    """The effects that may be shown, and the reasons extended by those that rest on too few people.

    A share needs `percent_min_n` people in each arm and no small cell in its parts; money needs `min_cell_sensitive`.
    """
    few = {name for name, effect in effects.items() if too_small(effect, study.disclosure)}
    kept = {name: effect for name, effect in effects.items() if name not in few}
    return kept, {**refused, **dict.fromkeys(sorted(few), "fewer people than may be shown")}


def reach_table(study: Study, reached: pd.DataFrame) -> pd.DataFrame:
    """`at.reach` with small cells as missing numbers: tier, group, n, of, share (titles in words)."""
    rule = study.disclosure
    frame = in_tier_order(study, reached).set_index(["tier", "group"])[["n", "of", "share"]]
    words = protect_table(
        frame, counts=["n", "of"], shares={"share": ("n", "of")}, min_cell=rule.min_cell_sensitive,
        percent_min_n=rule.percent_min_n,
    )  # fmt: skip
    told = frame.astype(float).where(~words.isin(_hidden(words)))
    told = told.reset_index()
    return told.assign(tier=told["tier"].map(study.tier_title))


def reach_words(reached: pd.DataFrame) -> pd.DataFrame:
    """`reach_table` as people read it: one row a group, one column a tier, "small group" where nothing is shown."""
    told = reached.assign(
        told=[
            "small group" if pd.isna(n) else f"{n:,.0f}" if group == "everyone" or pd.isna(share)
            else f"{n:,.0f} ({share:.0%} of {of:,.0f})"
            for group, n, of, share in zip(reached["group"], reached["n"], reached["of"], reached["share"], strict=True)
        ]
    )  # fmt: skip
    tiers, groups = list(dict.fromkeys(told["tier"])), list(dict.fromkeys(told["group"]))
    wide = told.pivot(index="group", columns="tier", values="told").reindex(index=groups, columns=tiers)
    return Told(wide.fillna("").rename_axis(index="people", columns=None).reset_index())


def flow_table(study: Study, flow: pd.DataFrame) -> pd.DataFrame:
    """A sample flow with small cells as missing numbers; what is left and what was left out are protected together.

    Steps that left nobody out are dropped. Who is left at the end is printed with every finding, so it stays.
    """
    ends = ~flow.duplicated("arm") | ~flow.duplicated("arm", keep="last")
    flow = flow[ends | (flow["excluded"] > 0)].reset_index(drop=True)
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
    last = [(arm, rows["step"].iloc[-1], "n") for arm, rows in flow.groupby("arm", sort=False)]
    hidden = protect(cells, sums, min_cell=study.disclosure.min_cell, public=last)
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
    frame = in_tier_order(study, table).set_index("tier")
    shown = protect_table(
        frame[[*counts, "observed_share", "claimed_share"]], counts=counts,
        shares={"observed_share": ("observed", "matured"), "claimed_share": ("claimed", "matured")},
        hidden=[(tier, kind) for tier in frame.index for kind in kinds if _some_small(study, frame.loc[tier, kinds])],
        min_cell=study.disclosure.min_cell, percent_min_n=study.disclosure.percent_min_n,
    )  # fmt: skip
    shown.index = [study.tier_title(tier) for tier in shown.index]
    names = {
        "persons": "people who started", "matured": "of them, horizon passed",
        "observed": "had a career outcome, whatever the cause", "observed_share": "as a share",
        "found_job": "of them: found a job", "changed_job": "of them: changed jobs",
        "moved_up": "of them: moved up", "business": "of them: started a business",
        "claimed": "credit the school with it", "claimed_share": "as a share ", "partly": "credit the school in part",
        "embedded": "contract of the programme itself (counted apart)",
    }  # fmt: skip
    wide = shown[list(names)].rename(columns=names).T.rename_axis("people").reset_index()
    wide["people"] = wide["people"].str.strip()
    return Told(wide.rename_axis(columns=None))


def checks_shown(study: Study, made: Mapping[str, Comparison], refused: Mapping[str, str]) -> pd.DataFrame:
    """One row a pool: how many are covered, worst imbalance, placebo, grade; pools that cannot be built say why."""
    rows = []
    counts, close = _covered(study, made)
    for pool, one in made.items():
        starters, kept = counts[pool]
        rows.append({
            "compared with": pool_title(study, pool),
            "starters": NO_NUMBER if close else _people(study, starters),  # the few left out would be a small cell
            "with a partner": _people(study, kept),
            "largest difference left (SD)": f"{one.balance.worst_smd:.2f}",
            **{check.name: check.verdict for check in one.checks}, "evidence": one.grade.level,
        })  # fmt: skip
    for pool, why in refused.items():
        rows.append({"compared with": pool_title(study, pool), "evidence": "no comparison", "why": plain(why)})
    return Told(pd.DataFrame(rows).fillna(""))


def balance_table(study: Study, one: Comparison) -> pd.DataFrame:
    """The balance of a comparison for people: one row a covariate, SDs before and after, spread, and distributions."""
    names = {name: pretty(name) for name in one.balance.table["covariate"]}
    table = one.balance.readable(labels=names).reset_index()
    for column in ("SMD before", "SMD after", "variance ratio", "KS"):
        table[column] = [NO_NUMBER if pd.isna(v) else f"{v:.2f}".replace("-0.00", "0.00").replace("-", MINUS)
                         for v in table[column]]  # fmt: skip
    return Told(table.rename(columns={"SMD before": "SDs apart before", "SMD after": "after", "variance ratio":
                "variance ratio after", "KS": "largest distance of distributions"}))  # fmt: skip


def covered(study: Study, made: Mapping[str, Comparison]) -> dict[str, dict[str, Any]]:
    """What `Findings.describe` says of each pool: the share of starters with a partner, of how many.

    Only how many have one, in every pool, where in one of them the starters without would be a small cell.
    """
    counts, close = _covered(study, made)
    if close:
        return {pool: {"count": kept, "estimand": "starters with a partner"} for pool, (_, kept) in counts.items()}
    about = "share of starters with a partner"
    return {pool: {"count": kept, "n": starters, "estimand": about} for pool, (starters, kept) in counts.items()}


def _covered(study: Study, made: Mapping[str, Comparison]) -> tuple[dict[str, tuple[int, int]], bool]:
    """(starters, those with a partner) by pool, and whether those left out of one of them are a small cell."""
    counts = {pool: (int(one.design.treated.sum()), int((one.design.matched & one.design.treated).sum()))
              for pool, one in made.items()}  # fmt: skip
    return counts, any(0 < starters - kept < study.disclosure.min_cell for starters, kept in counts.values())


def effects_table(effects: Mapping[str, Effects], *, first: str = "compared with", level: float = 0.95) -> pd.DataFrame:
    """Several results side by side: one row an estimate, in words and rounded; dictionary keys name the rows."""
    rows = []
    for name, effect in effects.items():
        for row in effect.tidy(level).to_dict("records"):
            unit = effect.unit
            points = unit == "share" and row["term"] not in ("observed", "counterfactual")
            low, high = (_say(row[bound], unit, points) for bound in ("conf_low", "conf_high"))
            rows.append({
                first: name, "what": TERMS.get(row["term"], str(row["term"]).replace("_", " ")),
                "estimate": _say(row["estimate"], unit, points),
                f"{level:.0%} interval": f"{low.removesuffix(' %').removesuffix(' points')} to {high}",
                "starters": f"{row['n_treated']:,.0f}", "partners": f"{row['n_comparison']:,.0f}",
            })  # fmt: skip
    return Told(pd.DataFrame(rows))


def bridge_table(study: Study, bridge: Bridge) -> pd.DataFrame:
    """The bridge for people: one row a tier and stage."""
    rows = []
    for row in bridge.table.to_dict("records"):
        shown = row["status"] in ("estimated", "described")
        rows.append({
            "tier": row["tier"], "stage": row["stage"], "share": f"{row['share']:.1%}" if shown else NO_NUMBER,
            "95 % interval": f"{row['conf_low']:.1%} to {row['conf_high']:.1%}" if shown else NO_NUMBER,
            "people": f"{row['people']:,.0f}" if shown else NO_NUMBER, "of": f"{row['n']:,.0f}" if shown else NO_NUMBER,
            "why no number": "" if shown else f"{row['status'].replace('_', ' ')}: {plain(str(row['reason']))}",
        })  # fmt: skip
    return Told(pd.DataFrame(rows))


def earlier(out: str) -> pd.DataFrame:
    """What the other notebooks of the same run answered; empty when nothing is written (interactive use)."""
    rows = [(one["question"], one["answer"]) for one in read_documents(out)] if out else []
    return Told(rows, columns=["question", "answer"])


def checks_in_words(checks: Sequence[tuple[str, Check]]) -> pd.DataFrame:
    """One row a check: the tier it is about, the question, the verdict, what was found.

    checks : (title of the tier, check).
    """
    rows = [(tier, check.question, check.verdict, plain(check.text)) for tier, check in checks]
    return Told(rows, columns=["tier", "question", "verdict", "found"])


def graph_in_words(check: Check) -> pd.DataFrame:
    """`adjustment_set` for people: the verdict above, and what each cause in the graph is to the plan.

    Returns
    -------
    One row a node: cause, role in the graph, recorded, held equal (by the plan), must be (for the graph to allow it).
    """
    assert check.table is not None
    names = {node: pretty(node) for node in check.table["node"]}
    told = Told({
        "cause": check.table["node"].map(names), "role in the graph": check.table["role"],
        **{name: check.table[column].map({True: "yes", False: "no"}) for name, column in
           (("recorded", "observed"), ("held equal", "in_design"), ("must be", "needed"))},
    })  # fmt: skip
    text = re.sub(r"\w+", lambda found: names.get(found[0], found[0]), check.text)
    if check.passed:
        text = re.sub(r" \([^)]*\)\.$", ".", text)  # what is held equal stands in the table
    told.attrs["caption"] = f"{check.question} {check.verdict.capitalize()}. {text}"
    return told


def dips_in_words(checks: Sequence[tuple[str, Check]]) -> pd.DataFrame:
    """`checks_in_words` of the dip, with what it means: did income of starters fall further before the start, or less?

    The rebound that follows a deeper fall looks like an effect; a shallower one hides part of an effect.
    """
    words = {
        -1.0: "the income of starters had fallen more than the comparison's (or risen less): a rebound would look like "
              "an effect",
        1.0: "the income of starters had fallen less than the comparison's (or risen more): a rebound would hide part "
             "of an effect",
    }  # fmt: skip
    even = {True: "hardly any difference to the comparison", None: "whether starters had fallen more or less cannot be "
            "told"}  # fmt: skip
    told = checks_in_words(checks)
    told.insert(3, "before the start", [
        words.get(np.sign(check.statistic), "no difference") if check.passed is False else even[check.passed]
        for _, check in checks
    ])  # fmt: skip
    return Told(told)


def definitions(study: Study, incomes: Mapping[str, IncomeOutcome]) -> pd.DataFrame:
    """How income enters each estimate, and what was counted: one row a tier, shares that rest on few people hidden.

    A few people are many person-periods: the smallest count that is shown is one period of the window for each of
    `min_cell_sensitive` people.
    """
    if not incomes:
        return Told()
    first, last = study.did.window
    rule = study.disclosure
    counted = {name: income.table.set_index("what")["count"] for name, income in incomes.items()}
    frame = pd.DataFrame(
        [{"person-periods": n["rows"], "known": n["known"], "missing": n["rows"] - n["known"], "zero": n["zero"],
          "negative": n["negative"]} for n in counted.values()], index=list(counted)).astype(int)  # fmt: skip
    of = {"not known": ("missing", "person-periods"), "zero ": ("zero", "known"), "negative ": ("negative", "known")}
    for name, (part, whole) in of.items():
        frame[name] = frame[part] / frame[whole].clip(lower=1)
    told = protect_table(
        frame, counts=["person-periods", "known", "missing", "zero", "negative"], shares=of,
        sums=[("person-periods", ["known", "missing"])], min_cell=rule.min_cell_sensitive * (last - first + 1),
        percent_min_n=rule.percent_min_n,
    )  # fmt: skip
    few = {f"<{rule.min_cell_sensitive * (last - first + 1)}": "few", "suppressed": "few"}
    told = told[["person-periods", *of]].replace(few).rename(columns=str.strip)
    told.insert(0, "income", [income.unit for income in incomes.values()])
    return Told(told.rename_axis("").reset_index())


def known_elsewhere(study: Study) -> pd.DataFrame:
    """Numbers the study knows from elsewhere, with their sources."""
    rows = [
        (row["what"], _say(row["estimate"], "share", True) if 0 < abs(row["estimate"]) < 1
         else f"{row['estimate']:,.0f}", row["source"])
        for row in study.benchmarks.values()
    ]  # fmt: skip
    return Told(rows, columns=["known from elsewhere", "number", "source"])


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
    rows += [{"label": pool_title(study, pool), "reason": plain(reason)} for pool, reason in refused.items()]
    return pd.DataFrame(rows).reindex(columns=["label", "estimate", "conf_low", "conf_high", "grade", "reason"])


def bracket(effects: Mapping[str, Effects | Declared]) -> pd.DataFrame:
    """Frame for `plots.bracket`: one row an estimator, the first is the headline."""
    columns = ["estimate", "conf_low", "conf_high"]
    rows = [{"label": name, **effect.tidy().iloc[0][columns]} for name, effect in effects_of(effects).items()]
    return pd.DataFrame(rows).assign(headline=[j == 0 for j in range(len(rows))])


def effects_of(declared: Mapping[str, Effects | Declared]) -> dict[str, Effects]:
    """The effects of declared estimators, by name."""
    return {name: one.effect if isinstance(one, Declared) else one for name, one in declared.items()}


def lagged(study: Study, column: str) -> str:
    """A column such as employed_lag_6 in words: employed 6 quarters before the start."""
    name, _, periods = column.rpartition("_lag_")
    if not name:
        return column.replace("_", " ")
    zero = "the start" if study.clock.date_zero == "start" else "date zero"
    return f"{name.replace('_', ' ')} {periods} {study.frequency}{'' if periods == '1' else 's'} before {zero}"


def _hidden(words: pd.DataFrame) -> list[str]:
    cells = pd.unique(words.astype(str).to_numpy().ravel())
    return [cell for cell in cells if cell == "suppressed" or cell.startswith("<")]


def _some_small(study: Study, counts: pd.Series) -> bool:
    """Whether one of the counts is small: kinds nearly add up to the people observed, so all are hidden with it."""
    return bool(((counts > 0) & (counts < study.disclosure.min_cell)).any())


def _people(study: Study, n: float) -> str:
    return f"<{study.disclosure.min_cell}" if 0 < n < study.disclosure.min_cell else f"{n:,.0f}"


def _say(value: float, unit: str, signed: bool) -> str:
    if value is None or not np.isfinite(value):
        return NO_NUMBER
    if unit == "share":
        return say_number(value, unit, signed=signed)
    return f"{say_number(value, unit)} {unit}"
