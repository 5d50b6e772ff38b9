"""Sentences for people: what was found, how well it can be believed, and what would take it away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..stress.trends import Bounds
from ..study import Study
from .bridge import Bridge, verdict
from .comparison import Comparison
from .words import MINUS, plain, records, say_estimate, say_interval


def pool_title(study: Study, pool: str) -> str:
    """A comparison pool in words."""
    return study.comparison.titles.get(pool, pool.replace("_", " "))


def inside(title: str) -> str:
    """A title inside a sentence: only the first letter changes, and not that of an acronym."""
    return title if title[1:2].isupper() else title[:1].lower() + title[1:]


def breakdown_in_words(study: Study, tier: str, found: Bounds | None, why: str = "") -> str:
    """A sentence on how far trends may part before the income effect of a tier is gone.

    found : of `income_bounds`, or why there is none.
    """
    title = study.tier_title(tier)
    if found is None:
        return f"How far trends may part before the income effect of {title} is gone cannot be told: {plain(why)}."
    times = found.breakdown_shown
    if times == 0:
        return f"The income effect of {title} cannot be told from zero even if trends did not part at all."
    if not np.isfinite(times):
        most = found.table["value"].max()
        return (f"The income effect of {title} would still be there if trends parted by {most:g} of the largest step "
                "before.")  # fmt: skip
    return f"The income effect of {title} would be gone if trends parted by {times:g} of the largest step before."


def grades_in_words(study: Study, compared: Mapping[str, tuple[Mapping[str, Comparison], Mapping[str, str]]]) -> str:
    """A sentence a tier: with whom its starters can be compared, how well, and with whom not."""
    said = []
    for tier, (made, refused) in compared.items():
        good = [f"{inside(pool_title(study, pool))} (evidence {one.grade.level})" for pool, one in made.items()
                if one.grade.level != "cannot conclude"]  # fmt: skip
        bad = [inside(pool_title(study, pool)) for pool, one in made.items() if one.grade.level == "cannot conclude"]
        bad += [inside(pool_title(study, pool)) for pool in refused]
        text = f"can be compared with: {', '.join(good)}." if good else "can be compared with nobody."
        also = f" Nothing can be concluded from: {', '.join(bad)}." if bad else ""
        said.append(f"{study.tier_title(tier)} {text}{also}")
    return " ".join(said)


def effects_in_words(study: Study, told: pd.DataFrame, *, average: pd.DataFrame | None = None) -> str:
    """A sentence a finding: the effect with interval and evidence, or why there is none.

    average : findings of the same tiers averaged since date zero, told beside those at the horizon.
    """
    means = {} if average is None else {record["tier"]: record for record in records(average)}
    said = []
    for record in records(told):
        title = study.tier_title(record["tier"])
        if record["status"] != "estimated":
            why = plain(record["reason"]).rstrip(".")
            said.append(f"{title}: {record['status'].replace('_', ' ')}, because {inside(why)}.")
        elif record["grade"] == "cannot conclude":
            said.append(f"{title}: nothing can be concluded, because a check of the comparison failed.")
        else:
            text = f"{title}: {_effect_in_words(record)}"
            mean = means.get(record["tier"])
            both = [record]
            if mean and mean["status"] == "estimated" and mean["estimate"] != record["estimate"]:
                both.append(mean)
                at = f"{record['horizon_months']:g} months after date zero"
                text += f" {at}, and on average since date zero {_effect_in_words(mean)}"
            said.append(f"{text}; the evidence is {record['grade']}.{_why_unclear(both)}")
    return " ".join(said)


def _effect_in_words(record: Mapping[str, Any]) -> str:
    clear = "no clear effect, " if verdict(record["estimate"], record["std_error"]) == "no clear effect" else ""
    return f"{clear}{say_estimate(record)} (95 % interval {say_interval(record)})"


def _why_unclear(told: Sequence[Mapping[str, Any]]) -> str:
    """Why an effect whose interval leaves out zero is not called clear."""
    near = [record for record in told if record["conf_low"] > 0 or record["conf_high"] < 0]
    if any(verdict(record["estimate"], record["std_error"]) == "no clear effect" for record in near):
        which = "That 95 % interval" if len(told) > 1 else "The 95 % interval"
        return f" {which} excludes zero, but an effect is called clear only beyond 99.5 %."
    return ""


def headline_in_words(study: Study, bridge: Bridge, grades: Mapping[str, str], outcome: str) -> str:
    """The headline for a reader in a hurry: a sentence or two a tier.

    grades : tier title -> grade. outcome : what was observed, in words.
    """
    said = []
    happened = inside(outcome)
    for tier in dict.fromkeys(bridge.table["tier"]):
        caused, seen, anyway = (bridge.stage(tier, name) for name in ("attributable", "observed", "counterfactual"))
        if caused["status"] != "estimated":
            status = str(caused["status"]).replace("_", " ")
            said.append(f"{tier}: {status}, because {inside(plain(str(caused['reason'])).rstrip('.'))}.")
            continue
        low, high = (f"{100 * caused[end]:+.1f}".replace("-", MINUS) for end in ("conf_low", "conf_high"))
        share = f"{100 * caused['share']:+.1f}".replace("-", MINUS)
        unclear = verdict(caused["share"], caused["std_error"]) == "no clear effect"
        called = "is too uncertain to be called an effect" if unclear else "is attributable"
        said.append(
            f"{tier}: of {caused['n']:,.0f} people without a job at the start, {seen['people']:,.0f} "
            f"({seen['share']:.0%}) were {happened}. Without it, similar people suggest, {anyway['people']:,.0f} would "
            f"have been. The difference, {caused['people']:,.0f} people ({share} points, 95 % interval {low} to "
            f"{high}), {called}; the evidence is {grades[tier]}."
        )
    return " ".join(said)
