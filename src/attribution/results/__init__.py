"""What every stage returns: frozen results that can be read, tabulated and combined, and never changed."""

from .balance import Balance
from .check import Check, checks_table
from .design import Design, WeightModel, require_design
from .effects import TIDY_COLUMNS, Band, Effects
from .result import Result

__all__ = ["TIDY_COLUMNS", "Balance", "Band", "Check", "Design", "Effects", "Result", "WeightModel", "checks_table",
           "require_design"]  # fmt: skip
