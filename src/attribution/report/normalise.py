"""Executed notebooks without anything that varies from run to run: same inputs, same bytes."""

from __future__ import annotations

import copy
import re
from typing import Any

ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{6,16}\b")
CELL_FILE = re.compile(r"\S*ipykernel_\d+/\d+\.py")
SITE = re.compile(r"[^\s\"'<>()]*/(?:site|dist)-packages/")
STYLER = re.compile(r"\bT_([0-9a-f]{5})(?=[_\"\s#.{])")
KEEP = {"tags", "jupyter", "collapsed", "slideshow"}


def normalise(notebook: Any, paths: dict[str, str]) -> Any:
    """A copy of an executed notebook with stable ids, no timings, no addresses and no machine paths.

    paths : what to write instead of each path that may appear in sources and outputs (longest first wins).
    """
    out = copy.deepcopy(notebook)
    out.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    out.nbformat, out.nbformat_minor = 4, 5
    stylers: dict[str, str] = {}
    ordered = sorted(paths.items(), key=lambda item: -len(item[0]))
    for number, cell in enumerate(out.cells, start=1):
        cell["id"] = f"cell-{number:02d}"
        cell["metadata"] = {key: value for key, value in cell.get("metadata", {}).items() if key in KEEP}
        cell["source"] = _clean(cell["source"], ordered, stylers)
        if cell["cell_type"] != "code":
            continue
        cell["outputs"] = _coalesce([_output(item, ordered, stylers) for item in cell["outputs"]])
    return out


def _output(output: Any, paths: list[tuple[str, str]], stylers: dict[str, str]) -> Any:
    for key in ("text", "evalue"):
        if isinstance(output.get(key), str):
            output[key] = _clean(output[key], paths, stylers)
    if isinstance(output.get("traceback"), list):
        output["traceback"] = [_clean(line, paths, stylers) for line in output["traceback"]]
    for kind, value in (output.get("data") or {}).items():
        if isinstance(value, str) and not kind.startswith(("image/png", "image/jpeg")):
            output["data"][kind] = _clean(value, paths, stylers)
    if "metadata" in output and output["output_type"] != "error":
        output["metadata"] = {key: value for key, value in output["metadata"].items() if key != "execution"}
    return output


def _clean(text: str, paths: list[tuple[str, str]], stylers: dict[str, str]) -> str:
    for old, new in paths:
        text = text.replace(old, new)
    text = CELL_FILE.sub("<cell>", text)
    text = SITE.sub("", text)
    text = ADDRESS.sub("0x0", text)
    return STYLER.sub(lambda match: stylers.setdefault(match.group(0), f"T_{len(stylers):05x}"), text)


def _coalesce(outputs: list[Any]) -> list[Any]:
    """Streams arrive in pieces that depend on timing: all of one name become one piece, at its first place."""
    first: dict[str, Any] = {}
    kept = []
    for output in outputs:
        if output["output_type"] == "stream":
            if output["name"] in first:
                first[output["name"]]["text"] += output["text"]
                continue
            first[output["name"]] = output
        kept.append(output)
    return kept
