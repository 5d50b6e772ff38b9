"""The page a person opens first: the answer, the bridge, every question with its findings, the small print."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ..findings.bridge import outcome_of
from ..findings.words import plain, say_estimate, say_interval, say_number, say_what
from ..study import Study

TEMPLATES = Path(__file__).with_name("templates")
STAGES = ("claimed", "verified", "observed", "counterfactual", "attributable")
STAGE_NOTES = {
    "claimed": "say they owe it to the programme",
    "verified": "confirmed by an audit",
    "observed": "had the outcome, whatever the cause",
    "counterfactual": "would have had it anyway, judging by similar people",
    "attributable": "observed minus counterfactual: the effect",
}
CLOCKS = {
    "application": "the day of application",
    "start": "the month of the start",
    "assignment": "the day of assignment",
}
GRADES = [
    ("strong", "good", "People were assigned by lot, and no check failed."),
    ("moderate", "good", "Groups overlap and are balanced, and the placebo before treatment is close to zero."),
    ("weak", "mid", "No check failed, but these data cannot answer all of them. Not rejecting is not passing."),
    ("cannot conclude", "bad", "A check failed: no number should be read as an effect."),
]
STATUSES = [
    ("not estimable", "none", "No comparison exists for this group; no other group's effect is lent to it."),
    ("not available", "none", "The data for this number do not exist yet."),
    ("suppressed", "none", "Too few people, or a number from which too few people could be worked out."),
]
GLOSSARY = [
    ("date zero", "The day from which months are counted; nothing after it decides who is compared with whom."),
    ("horizon", "How many months after date zero outcomes are read."),
    (
        "95 % interval",
        "The range of effects these data are compatible with. One that includes zero shows no clear effect.",
    ),
    ("points", "Percentage points: from 50 % to 58 % is +8 points."),
    (
        "similar person, partner",
        "Somebody who had not started, as alike as possible in what was known before date zero.",
    ),
    ("placebo", "The same comparison asked about a time before the start, where the true effect is zero."),
    ("SD", "Standard deviation, the usual spread among people; a difference of 0.1 SD is small."),
    (
        "claimed, attributable",
        "Claimed is what people say; attributable is what the comparison supports. Either can be larger.",
    ),
]
HEADLINE = "bridge"


def write_index(folder: Path, study: Any, documents: list[dict[str, Any]]) -> Path:
    """Write `folder`/index.html from what the notebooks wrote; nothing in it varies from run to run."""
    from jinja2 import Environment, FileSystemLoader

    environment = Environment(loader=FileSystemLoader([TEMPLATES, TEMPLATES / "attribution"]), autoescape=True,
                              trim_blocks=True, lstrip_blocks=True)  # fmt: skip
    titles = {name: _get(tier, "title", name) for name, tier in dict(getattr(study, "tiers", {})).items()}
    pools = dict(_get(getattr(study, "comparison", None), "titles", {}) or {})
    rows = _bridge(documents, titles)
    sections = [_section(document, titles, pools, study) for document in documents]
    page = environment.get_template("index.html.j2").render(
        study=study, title=getattr(study, "title", study.name), question=getattr(study, "question", ""),
        bridge=rows, cards=_cards(rows or []), whom=_whom(study, documents), glossary=GLOSSARY,
        happened=_inside(outcome_of(study)[1] if isinstance(study, Study) else "in a job"),
        stage_notes=STAGE_NOTES, headline=_headline(folder, documents),
        lead=next((document["answer"] for document in reversed(documents) if document["answer"]), ""),
        sections=sections, small_print=_small_print(study, documents, pools), grades=GRADES, statuses=STATUSES,
        simulated=bool(_get(_get(getattr(study, "config", None), "study", None), "simulated", False)),
        minimum=_get(getattr(study, "disclosure", None), "min_cell", 10),
        share_minimum=_get(getattr(study, "disclosure", None), "percent_min_n", 25),
    )  # fmt: skip
    path = folder / "index.html"
    path.write_text(page.rstrip() + "\n", encoding="utf-8")
    return path


def _get(thing: Any, name: str, default: Any) -> Any:
    if thing is None:
        return default
    return thing.get(name, default) if hasattr(thing, "get") else getattr(thing, name, default)


def _section(document: dict[str, Any], titles: dict[str, str], pools: dict[str, str], study: Any) -> dict[str, Any]:
    """One notebook: its question, answer, figures and the rows of its findings; the headline is shown above already."""
    headline = getattr(_get(study, "comparison", None), "headline", "") if hasattr(study, "comparison") else ""
    on_top = {record["term"] for record in document["findings"]} >= {"observed", "attributable"}
    rows = _distinct([_row(record, titles, pools) for record in document["findings"]
                      if not (on_top and record["term"] in STAGES)])  # fmt: skip
    badges = _badges(document, titles, str(headline or ""))
    figures = [figure for figure in document["figures"] if figure["name"] != HEADLINE]
    columns = {name: any(row[name] for row in rows) for name in ("interval", "people", "grade")}
    number = document["notebook"].split("_")[0]
    return {
        "id": document["notebook"],
        "number": number if number.isdigit() else "",
        "question": document["question"],
        "answer": document["answer"],
        "on_top": on_top,
        "badges": badges,
        "page": f"notebooks/{document['notebook']}.html",
        "rows": rows,
        "columns": columns,
        "figures": figures,
        "tables": document["tables"],
    }


def _row(record: dict[str, Any], titles: dict[str, str], pools: dict[str, str]) -> dict[str, Any]:
    """One finding in words and rounded numbers."""
    missing = record["status"] in ("not_estimable", "not_available", "suppressed")
    grade = record["grade"] or ""
    pool = pools.get(record["pool"], record["pool"].replace("_", " "))
    design = (
        re.sub(rf"^(matched with|risk set:) {re.escape(pool)}(; )?", "", record["design"]) if pool else record["design"]
    )
    text = plain(record["text"])
    reason = plain(record["reason"]) if missing or grade in ("weak", "cannot conclude") else ""
    benchmark = ""
    if record["benchmark"] is not None:
        told = {**record, "estimate": record["benchmark"], "status": "estimated" if missing else record["status"]}
        benchmark = f"{say_estimate(told)} ({record['benchmark_source']})"
    return {
        "tier": titles.get(record["tier"], record["tier"]), "what": _sentence(say_what(record)), "pool": _inside(pool),
        "result": say_estimate(record), "interval": say_interval(record),
        "people": say_number(record["n_covered"], "people"), "grade": grade, "grade_kind": _kind(grade),
        "missing": missing, "reason": "" if reason.lower() in text.lower() else reason,
        "text": text[:1].upper() + text[1:], "estimator": record["estimator"],
        "details": _sentence("; ".join(part for part in (design, record["estimator"]) if part)), "benchmark": benchmark,
        "quiet": grade == "cannot conclude",
    }  # fmt: skip


def _distinct(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows that would read the same are told apart by their estimator."""
    keys = [(row["what"], row["tier"], row["pool"]) for row in rows]
    return [
        {**row, "what": f"{row['what']}: {_inside(row['estimator'])}"}
        if keys.count(key) > 1 and row["estimator"]
        else row
        for row, key in zip(rows, keys, strict=True)
    ]


def _badges(document: dict[str, Any], titles: dict[str, str], headline: str) -> list[dict[str, str]]:
    """The evidence behind a section's answer, one badge a tier: of its first graded finding, headline pool first."""
    found: dict[str, dict[str, str]] = {}
    for record in sorted(document["findings"], key=lambda record: record["pool"] not in ("", headline)):
        missing = record["status"] == "not_estimable"
        if "known trap" in record["design"]:  # printed as a warning, answers nothing
            continue
        if record["tier"] not in found and (missing or record["grade"]):
            word = record["grade"] or "not estimable"
            found[record["tier"]] = {
                "tier": titles.get(record["tier"], record["tier"]),
                "word": word,
                "kind": _kind(word),
            }
    order = list(titles)
    return [found[tier] for tier in sorted(found, key=lambda tier: order.index(tier) if tier in order else len(order))]


def _cards(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The answer a tier, tiers with a number first."""
    cards = []
    for row in rows:
        cells = dict(row["cells"])
        if cells["attributable"]:
            cards.append({"tier": row["tier"], **cells})
    return sorted(cards, key=lambda card: "badge" in card["attributable"])


def _whom(study: Any, documents: list[dict[str, Any]]) -> str:
    """Whom the headline speaks for, and when."""
    for document in reversed(documents):
        for record in document["findings"]:
            if record["term"] == "attributable" and record["population"]:
                clock = CLOCKS.get(record["clock"], record["clock"])
                lag = _get(getattr(study, "clock", None), "cohort_lag_years", None)
                year = f", starters of {study.year - lag}" if lag is not None else ""
                months = record["horizon_months"]
                return f"{_sentence(record['population'])}{year}" + (
                    f"; {months} months after {clock}" if months else ""
                )
    return ""


def _kind(grade: str) -> str:
    return next((kind for name, kind, _ in GRADES if name == grade), "none")


def _sentence(text: str) -> str:
    text = text.replace("_", " ").strip()
    return text[:1].upper() + text[1:]


def _inside(text: str) -> str:
    return text if text[1:2].isupper() else text[:1].lower() + text[1:]


def _headline(folder: Path, documents: list[dict[str, Any]]) -> dict[str, str] | None:
    """The bridge figure, where the last notebook drew one."""
    for document in documents:
        for figure in document["figures"]:
            if figure["name"] == HEADLINE and (folder / "figures" / f"{HEADLINE}.svg").exists():
                return figure
    return None


def _bridge(documents: list[dict[str, Any]], titles: dict[str, str]) -> list[dict[str, Any]] | None:
    """Rows of the headline table: one a tier, one cell a stage, from the notebook whose terms are the stages."""
    for document in reversed(documents):
        records = [record for record in document["findings"] if record["term"] in STAGES]
        if {"observed", "attributable"} <= {record["term"] for record in records}:
            tiers = dict.fromkeys(record["tier"] for record in records)
            found = {(record["tier"], record["term"]): _stage(record) for record in records}
            return [
                {"tier": titles.get(tier, tier), "cells": [(stage, found.get((tier, stage))) for stage in STAGES]}
                for tier in tiers
            ]
    return None


def _stage(record: dict[str, Any]) -> dict[str, Any]:
    if record["estimate"] is None:
        status = record["grade"] or record["status"].replace("_", " ")
        return {"badge": status, "kind": _kind(status), "reason": plain(record["reason"])}
    people = "" if record["n_covered"] is None else f"{record['estimate'] * record['n_covered']:,.0f} people"
    gain = {**record, "status": "estimated" if record["term"] == "attributable" else "described"}
    grade, known = record["grade"], ""
    if record["benchmark"] is not None:
        known = f"{say_estimate({**gain, 'estimate': record['benchmark']})}, {record['benchmark_source']}"
    low, high = record["conf_low"], record["conf_high"]
    clear = low is not None and high is not None and low * high > 0
    return {
        "value": say_estimate(gain),
        "interval": say_interval(gain),
        "people": people.replace("-", "\u2212"),
        "grade": grade,
        "kind": _kind(grade),
        "of": say_number(record["n_covered"], "people"),
        "clear": clear,
        "known": known,
    }


def _small_print(study: Any, documents: list[dict[str, Any]], pools: dict[str, str]) -> list[tuple[str, list[str]]]:
    """Population, clock and horizon as the findings state them: (label, its distinct values)."""
    found = [record for document in documents for record in document["findings"]]

    def distinct(name: str) -> list[str]:
        values = (record[name] for record in found)
        return list(dict.fromkeys(str(value) for value in values if value not in (None, "")))

    clocks = [f"counted from {CLOCKS[clock]}" if clock in CLOCKS else clock for clock in distinct("clock")]
    horizons = [f"{months} months" for months in distinct("horizon_months")]
    entries = [("Population", distinct("population")), ("Clock", clocks), ("Horizon", horizons),
               ("Compared with", [pools.get(pool, pool.replace("_", " ")) for pool in distinct("pool")]),
               ("Year", [str(study.year)]),
               ("Plan", [f"{study.plan_hash[:12]} (hash of study.toml)"])]  # fmt: skip
    return [(label, values) for label, values in entries if values]
