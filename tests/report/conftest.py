"""A project folder of toys."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from toys import notebook


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in ("data", "notebooks", "reports"):
        (tmp_path / name).mkdir()
    return tmp_path


@pytest.fixture
def put(project: Path):
    def put(name: str, *cells: str, **options) -> None:
        nbformat.write(notebook(name, *cells, **options), project / "notebooks" / f"{name}.ipynb")

    return put
