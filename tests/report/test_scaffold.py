"""A scaffolded study can be opened, explains itself, and never overwrites."""

from __future__ import annotations

import dataclasses
import re

import pytest

from attribution.errors import DataError
from attribution.read import config
from attribution.read.contract import TABLES
from attribution.report.scaffold import create


def test_the_plan_parses_and_names_every_key(tmp_path):
    folder = create(tmp_path, "mine")
    parsed = config.parse(config.read_toml(folder / "study.toml"))
    assert parsed.study.name == "mine" and parsed.comparison.headline == "open"
    text = (folder / "study.toml").read_text()
    assert not re.search(r"\bNAME\b", text)
    sections = (config.General, config.Clock, config.Outcome, config.Tier, config.MatchPlan, config.DidPlan)
    for kind in (*sections, config.Disclosure):
        for field in dataclasses.fields(kind):
            if field.name != "simulated":
                assert re.search(rf"^(# )?{field.name} = ", text, re.M), f"{kind.__name__}.{field.name}"


def test_a_template_and_a_description_for_every_table(tmp_path):
    folder = create(tmp_path, "mine")
    text = (folder / "tables" / "README.md").read_text()
    for table in TABLES.values():
        assert (folder / "templates" / f"{table.name}.csv").read_text().strip().split(",") == list(table.names)
        assert f"**{table.name}**" in text


def test_nothing_is_overwritten(tmp_path):
    create(tmp_path, "mine")
    with pytest.raises(DataError, match="exists"):
        create(tmp_path, "mine")
    for name in ("Mine", "../mine", "", "a b"):
        with pytest.raises(DataError, match="lower-case"):
            create(tmp_path, name)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
