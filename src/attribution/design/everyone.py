"""The whole sample, each unit once: a randomised trial, or the start of a sensitivity analysis without a design."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..results import Design
from .table import read_treatment, require_columns, to_pandas


def everyone(units: Any, treatment: str, *, covariates: Sequence[str] = ()) -> Design:
    """Every unit with weight 1, no partner, nobody left out: the ATE if treatment was dealt out at random.

    Estimand : the difference between the arms as they are; causal only in a randomised trial.

    Parameters
    ----------
    units : table, one row a unit. treatment : its 0/1 column. covariates : columns later steps may use.
    """
    units = to_pandas(units)
    read_treatment(units, treatment)
    require_columns(units, covariates)
    n = len(units)
    return Design(
        estimand="difference between the arms, everyone", units=units, treatment=treatment,
        covariates=tuple(covariates), weights=np.ones(n), pairs=pd.DataFrame(columns=["treated", "comparison"]),
        strata=np.arange(n), discarded=np.zeros(n, bool), unmatched=np.zeros(n, bool), target="all",
        spec={"method": "everyone"},
    )  # fmt: skip
