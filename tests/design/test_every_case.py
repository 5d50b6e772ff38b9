"""No reference case is forgotten: whoever adds one to the index must hold it in a test, or name here why not."""

import json
import re

import pandas as pd
import pytest
from places import ROOT

HERE = "test_every_case.py"


def held() -> dict[str, list[str]]:
    """case -> the test modules that read it; a name made of parts (f"ai_match_{name}") counts for all it can be."""
    found: dict[str, list[str]] = {}
    names = pd.read_csv(ROOT / "data" / "external" / "reference" / "match" / "INDEX.csv")["case"]
    texts = {path: path.read_text() for path in sorted((ROOT / "tests").rglob("*.py")) if path.name != HERE}
    # the cases of the list are run one by one by whoever imports it
    lists = {path.name: text for path, text in texts.items() if path.name == "matching_reference.py"}
    users = [path.name for path, text in texts.items() if re.search(r"from matching_reference import .*\bCASES\b", text)
             and path.name.startswith("test_")]  # fmt: skip
    for name in names:
        found[name] = []
        for path, text in texts.items():
            if path.name in lists:
                found[name] += users if f'"{name}"' in text else []
                continue
            quoted = [one for one in re.findall(r'f?"([a-z0-9_{}.]+)"', text) if "_" in one and one[0] != "{"]
            patterns = [re.sub(r"\\\{[^}]*\\\}", "[a-z0-9_]+", re.escape(one)) for one in quoted]
            if any(re.fullmatch(one, name) for one in patterns) and path.name.startswith("test_"):
                found[name].append(path.name)
    return found


@pytest.fixture(scope="module")
def cases():
    if not (ROOT / "data" / "external" / "reference" / "match" / "INDEX.csv").exists():
        pytest.skip("data/external/reference/match/INDEX.csv is absent: the list of cases is not committed")
    return held()


def test_every_case_of_the_index_is_in_a_test(cases):
    assert len(cases) >= 50
    assert [name for name, modules in cases.items() if not modules] == []


def test_the_committed_figures_are_those_of_the_reference(cases):
    """A copy that differs would hold us to something else."""
    theirs = ROOT / "data" / "external" / "reference" / "match"
    for path in sorted((ROOT / "tests" / "reference" / "match").glob("*.json")):
        if path.stem in cases:
            source = json.loads((theirs / path.name).read_text())
            ours = json.loads(path.read_text())["results"]  # some leave out figures that are held elsewhere
            assert ours and {name: source["results"].get(name) for name in ours} == ours, path.name
