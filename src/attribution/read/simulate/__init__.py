"""A simulated school whose causal effects are known: `simulate_school`, `write_demo`."""

from .parameters import VARIANTS, Parameters
from .school import School, simulate_school, write_demo

__all__ = ["VARIANTS", "Parameters", "School", "simulate_school", "write_demo"]
