"""The page a person opens first (placeholder)."""
from pathlib import Path
from typing import Any


def write_index(folder: Path, study: Any, documents: list[dict[str, Any]]) -> None:
    (folder / "index.html").write_text("<!doctype html>")
