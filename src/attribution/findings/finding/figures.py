"""Figures of a notebook: shown where it runs, saved where it writes. matplotlib is whatever drew them."""

from __future__ import annotations

import base64
import io
import sys
from pathlib import Path
from typing import Any


def show(figure: Any, caption: str) -> None:
    """Display a figure where a notebook is running, once, whether or not pyplot knows it."""
    ipython = sys.modules.get("IPython")
    if ipython is None or ipython.get_ipython() is None:
        return
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None}, dpi=160, bbox_inches="tight")
    data = {"image/png": base64.b64encode(stream.getvalue()).decode(), "text/plain": "figure"}
    shape = {"width": round(figure.get_figwidth() * 100), "alt": caption}
    ipython.display.display(data, raw=True, metadata={"image/png": shape})
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close(figure)  # or the inline backend shows it a second time


def save(figure: Any, stem: Path) -> None:
    """SVG and PNG without dates, versions or random ids."""
    matplotlib = sys.modules["matplotlib"]  # loaded by whoever drew the figure; findings never import it
    with matplotlib.rc_context({"svg.hashsalt": "attribution"}):
        figure.savefig(stem.with_suffix(".svg"), metadata={"Date": None, "Creator": None}, bbox_inches="tight")
        figure.savefig(stem.with_suffix(".png"), metadata={"Software": None}, dpi=200, bbox_inches="tight")
