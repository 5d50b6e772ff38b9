"""Shared by all tests: where the project is, and the studies that may be read but not committed."""

from __future__ import annotations

from pathlib import Path

import pytest
from places import ROOT


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def external() -> Path:
    """data/external/, or a named skip: these files may not be committed (data/sources.csv says why)."""
    folder = ROOT / "data" / "external"
    if not (folder / "data").is_dir():
        pytest.skip("data/external/data is absent: F-marked studies may not be committed; copy them there to run this")
    return folder
