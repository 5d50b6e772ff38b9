"""An executed notebook as it is published: normalised, and a page of its own beside it."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

from ..normalise import normalise
from ..pages import TEMPLATES
from .kernels import import_notebooks

SECRET = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL)", re.I)


def finish_notebook(path: Path, folder: Path, study: Any, root: Path, scratch: Path, failure: str = "") -> None:
    """Write an executed notebook normalised, and its page beside it."""
    nbformat = import_notebooks("nbformat")
    notebook = normalise(nbformat.read(path, as_version=4), _replacements(study, root, scratch))
    text = nbformat.writes(notebook, version=4)
    (folder / path.name).write_text(text + "\n", encoding="utf-8")
    page = _page(notebook, path.stem, f"{getattr(study, 'title', study.name)}, {study.year}", failure)
    (folder / f"{path.stem}.html").write_text(page, encoding="utf-8")


def _replacements(study: Any, root: Path, scratch: Path) -> dict[str, str]:
    """Machine paths and secrets that outputs may hold, and what is written instead."""
    paths = {str(scratch): f"reports/{study.name}/{study.year}", str(root.resolve()): ".", sys.prefix: "<python>"}
    folder = getattr(study, "folder", None)
    if folder is not None and not Path(folder).resolve().is_relative_to(root.resolve()):
        paths[str(Path(folder).resolve())] = study.name
    if len(str(Path.home())) > 3:
        paths[str(Path.home())] = "~"
    secrets = {value: f"<{name}>" for name, value in os.environ.items() if SECRET.search(name) and len(value) >= 8}
    return {**secrets, **paths}


def _page(notebook: Any, name: str, title: str, failure: str) -> str:
    """One executed notebook as a self-contained page: nothing is loaded from elsewhere, code is folded away."""
    nbconvert = import_notebooks("nbconvert")
    exporter = nbconvert.HTMLExporter(
        template_name="attribution", extra_template_basedirs=[str(TEMPLATES)], require_js_url="", mathjax_url="",
        exclude_anchor_links=True,
    )  # fmt: skip
    exporter.register_filter("hidden_cell", _hidden)
    heading = next((line[2:].strip() for cell in notebook.cells if cell.cell_type == "markdown"
                    for line in cell.source.splitlines() if line.startswith("# ")), name)  # fmt: skip
    body, _ = exporter.from_notebook_node(
        notebook,
        resources={"metadata": {"name": name}, "page": {"title": title, "heading": heading, "failure": failure}},
    )
    return "\n".join(line.rstrip() for line in body.splitlines()) + "\n"


def _hidden(cell: Any) -> bool:
    """The declared defaults are hidden where injected values follow them; nothing else is."""
    return "parameters" in cell.get("metadata", {}).get("tags", [])
