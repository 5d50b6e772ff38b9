"""Trend sensitivity of difference-in-differences: honest bounds (Rambachan & Roth 2023, REStud 90)."""

from .bounds import Bounds, path_of, relative_magnitudes, smoothness
from .restrictions import EventPath, event_path
from .sets import ConfidenceSet
from .solve import relative_magnitudes_sets, smoothness_sets

__all__ = [
    "Bounds", "ConfidenceSet", "EventPath", "event_path", "path_of", "relative_magnitudes", "relative_magnitudes_sets",
    "smoothness", "smoothness_sets",
]  # fmt: skip
