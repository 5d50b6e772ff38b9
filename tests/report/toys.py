"""Tiny projects: notebooks of a few cells without heavy imports, and a study that is nothing but a name."""

from __future__ import annotations

from types import SimpleNamespace

import nbformat

PARAMETERS = """study: str = "toy"  # folder in data/
year: int = 2024
out: str = ""  # "" writes nothing
seed: int = 1  # any"""
LOAD = """from attribution.findings.finding import Findings
findings = Findings(study, {name!r}, {question!r}, year=year)"""
DRAW = """from matplotlib.figure import Figure
figure = Figure(figsize=(3, 2))
figure.subplots().plot([1, 2, seed])
findings.figure('line_{name}', figure, 'A line.')
print(object(), out)"""
LAST = """findings.describe('people_{name}', count=40, n=100, estimand='share of people', tier='paid')
findings.answer('Forty in a hundred.')
findings.write(out)"""


def notebook(name: str, *cells: str, question: str = "Who was reached?", parameters: str = PARAMETERS):
    code = nbformat.v4.new_code_cell
    book = nbformat.v4.new_notebook()
    first = code(parameters, metadata={"tags": ["parameters"]})
    load, last = LOAD.format(name=name, question=question), LAST.format(name=name)
    book.cells = [nbformat.v4.new_markdown_cell(f"# {question}"), first, code(load), *map(code, cells), code(last)]
    return book


def toy(**changes):
    values = {"name": "toy", "title": "A toy study", "question": "Does it run?", "year": 2024, "years": [2024],
              "plan_hash": "0" * 64, "horizon_months": 12, "sources": lambda: []}  # fmt: skip
    return SimpleNamespace(**{**values, **changes})
