"""The page a person opens first: the answer, the bridge, every question with its findings, the small print."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..findings.words import say_estimate, say_interval, say_number

TEMPLATES = Path(__file__).with_name("templates")
STAGES = ("claimed", "verified", "observed", "counterfactual", "attributable")
STAGE_NOTES = {
    "claimed": "credit the school",
    "verified": "confirmed by an audit",
    "observed": "had the outcome, whatever the cause",
    "counterfactual": "would have had it anyway",
    "attributable": "observed minus counterfactual",
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
HEADLINE = "bridge"


def write_index(folder: Path, study: Any, documents: list[dict[str, Any]]) -> Path:
    """Write `folder`/index.html from what the notebooks wrote; nothing in it varies from run to run."""
    from jinja2 import Environment, FileSystemLoader

    environment = Environment(loader=FileSystemLoader([TEMPLATES, TEMPLATES / "attribution"]), autoescape=True,
                              trim_blocks=True, lstrip_blocks=True)  # fmt: skip
    titles = {name: _get(tier, "title", name) for name, tier in dict(getattr(study, "tiers", {})).items()}
    pools = dict(_get(getattr(study, "comparison", None), "titles", {}) or {})
    sections = [_section(document, titles, pools) for document in documents]
    page = environment.get_template("index.html.j2").render(
        study=study, title=getattr(study, "title", study.name), question=getattr(study, "question", ""),
        bridge=_bridge(documents, titles), stage_notes=STAGE_NOTES, headline=_headline(folder, documents),
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


def _section(document: dict[str, Any], titles: dict[str, str], pools: dict[str, str]) -> dict[str, Any]:
    """One notebook: its question, answer, figures and the rows of its findings."""
    rows = [_row(record, titles, pools) for record in document["findings"]]
    figures = [figure for figure in document["figures"] if figure["name"] != HEADLINE]
    columns = {name: any(row[name] for row in rows) for name in ("interval", "people", "grade", "benchmark")}
    number = document["notebook"].split("_")[0]
    return {
        "id": document["notebook"],
        "number": number if number.isdigit() else "",
        "question": document["question"],
        "answer": document["answer"],
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
    details = [part for part in (record["design"], record["estimator"]) if part]
    benchmark = ""
    if record["benchmark"] is not None:
        number = say_estimate({**record, "estimate": record["benchmark"], "status": record["status"]
                               if not missing else "estimated"})  # fmt: skip
        benchmark = number
    return {
        "tier": titles.get(record["tier"], record["tier"]), "what": _sentence(record["estimand"] or record["term"]),
        "pool": pools.get(record["pool"], record["pool"].replace("_", " ")),
        "result": say_estimate(record), "interval": say_interval(record),
        "people": say_number(record["n_covered"], "people"), "grade": grade, "grade_kind": _kind(grade),
        "missing": missing, "reason": record["reason"] if missing or grade in ("weak", "cannot conclude") else "",
        "text": record["text"], "details": ", ".join(details), "benchmark": benchmark,
        "benchmark_source": record["benchmark_source"], "quiet": grade == "cannot conclude",
    }  # fmt: skip


def _kind(grade: str) -> str:
    return next((kind for name, kind, _ in GRADES if name == grade), "none")


def _sentence(text: str) -> str:
    text = text.replace("_", " ").strip()
    return text[:1].upper() + text[1:]


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
        return {"badge": status, "kind": _kind(status), "reason": record["reason"]}
    people = "" if record["n_covered"] is None else f"{record['estimate'] * record['n_covered']:,.0f} people"
    gain = {**record, "status": "estimated" if record["term"] == "attributable" else "described"}
    return {"value": say_estimate(gain), "interval": say_interval(gain), "people": people}


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
