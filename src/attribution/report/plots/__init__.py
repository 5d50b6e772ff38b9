"""Every figure of the reports. Functions take results and return a figure; `save` writes it as SVG and PNG.

Each figure states its question or answer as title, its unit and numbers below, and its source at the foot. None of
them opens a window, reads a file or changes its input. Frames are documented at each function.
"""

from .bacon import bacon
from .bases import base_curve
from .bounds import honest_bounds
from .confounding import sensitivity_contour
from .curves import rates
from .designs import flow, love, overlap, reach
from .distribution import deciles
from .ecdf import ecdf
from .effects import bracket, estimates, event_study
from .gains import share_who_gain
from .headline import waterfall
from .theme import save

__all__ = [
    "bacon", "base_curve", "bracket", "deciles", "ecdf", "estimates", "event_study", "flow", "honest_bounds", "love",
    "overlap", "rates", "reach", "save", "sensitivity_contour", "share_who_gain", "waterfall",
]  # fmt: skip
