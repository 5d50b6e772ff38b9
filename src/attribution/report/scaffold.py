"""`attribution new`: a study folder to fill in, every key of study.toml explained, a template for each table."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from ..errors import DataError
from ..read.contract import REQUIRED, TABLES, data_dictionary

TEMPLATE = Path(__file__).with_name("templates") / "study.toml"
NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
NEEDED = {
    "applications": 'needed for tiers with design = "landmark"',
    "comparison_units": 'needed for tiers with design = "pools"',
    "income_panel": "needed wherever an effect is estimated",
}


def create(data: Path, name: str) -> Path:
    """Make `data`/`name`/ with study.toml, templates/*.csv and tables/README.md; refuse to touch what exists."""
    if not NAME.fullmatch(name):
        raise DataError("a study name of lower-case letters, digits and _", repr(name), "choose another name")
    folder = data / name
    if folder.exists():
        raise DataError(
            "a new study name", f"{folder.parent.name}/{name} exists", "choose another name; nothing is overwritten"
        )
    scratch = data / f".building-{name}"
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        (scratch / "tables").mkdir(parents=True)
        (scratch / "templates").mkdir()
        text = TEMPLATE.read_text(encoding="utf-8").replace("NAME", name)
        (scratch / "study.toml").write_text(text, encoding="utf-8")
        for table in TABLES.values():
            header = ",".join(table.names)
            (scratch / "templates" / f"{table.name}.csv").write_text(header + "\n", encoding="utf-8")
        (scratch / "tables" / "README.md").write_text(_readme(name), encoding="utf-8")
        scratch.rename(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return folder


def _readme(name: str) -> str:
    lines = [
        f"# Tables of {name}", "",
        "One file a table, CSV (UTF-8, comma) or Parquet, named as below: `learners.csv` or `learners.parquet`. "
        "`../templates/` has a CSV with the right header for each: copy those you have data for to this folder and "
        "fill them. A table that you lack stays away; the notebooks say what they skip. "
        f"Then `attribution check {name}` lists what is wrong, and how to mend it.", "",
        "Dates are `YYYY-MM-DD`, money is in whole cents beside a `currency` column, yes/no columns of type bool are "
        "`true` or `false`, and an empty field means missing. Ids are pseudonyms: no names, no e-mail addresses.", "",
    ]  # fmt: skip
    lines += ["| table | |", "|---|---|", *(f"| {table} | {_need(table)} |" for table in TABLES), "", data_dictionary()]
    return "\n".join(lines)


def _need(table: str) -> str:
    return "**required**" if table in REQUIRED else NEEDED.get(table, "optional")
