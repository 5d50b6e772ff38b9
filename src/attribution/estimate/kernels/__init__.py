"""One difference-in-differences on cells: the estimate, and the influence value of any unit as a small function.

algebra.py: weighted sums by blocks, what cannot be estimated. propensity.py: logit and inverse probability tilting.
panel.py: the same units in both periods. repeated.py: other units in each period.
"""

from .algebra import CannotEstimate, varying
from .panel import METHODS, Method, TwoByTwo, two_by_two
from .repeated import REPEATED_METHODS, RepeatedMethod, TwoByTwoRepeated, two_by_two_rc

__all__ = [
    "METHODS", "REPEATED_METHODS", "CannotEstimate", "Method", "RepeatedMethod", "TwoByTwo", "TwoByTwoRepeated",
    "two_by_two", "two_by_two_rc", "varying",
]  # fmt: skip
