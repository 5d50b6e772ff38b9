"""The contract of the central database: declarations, checks, and the data dictionary made from them."""

from .checks import check, require
from .declare import Column, Table
from .dictionary import data_dictionary
from .tables import REQUIRED, SENSITIVE, TABLES

__all__ = ["REQUIRED", "SENSITIVE", "TABLES", "Column", "Table", "check", "data_dictionary", "require"]
