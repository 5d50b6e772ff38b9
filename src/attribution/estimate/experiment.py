"""The answer of a randomised trial: a difference in means, nothing to assume but the coin."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from ..design.table import read_treatment, require_columns, to_pandas
from ..errors import EstimationError
from ..results import Effects
from .few_units import few_note, few_units
from .sample import numeric, refuse_treatment


def difference_in_means(units: Any, treatment: str, outcome: str, *, unit: str | None = None) -> Effects:
    """Mean of the treated minus mean of the others: the ATE of a completely randomised trial.

    Estimator : Neyman (1923). Std. errors : sqrt(s1^2 / n1 + s0^2 / n0), the HC2 error of the regression on treatment.
    Edge cases : missing outcomes are left out and counted in the notes; an arm of fewer than two is refused.
        With fewer than 20 in an arm Student's t with one degree of freedom less than these.
    Checked : NSW re78, 1,794 (HC2 671) on the Dehejia-Wahba men, 886 (488) on all 722 (Imbens & Xu 2024).

    Parameters
    ----------
    units : one row a unit. treatment : its 0/1 column. outcome : numeric column. unit : unit of the outcome.
    """
    units = to_pandas(units)
    t = read_treatment(units, treatment)
    refuse_treatment(outcome, treatment)
    require_columns(units, [outcome])
    y = numeric(units[outcome], outcome)
    known = ~np.isnan(y)
    scores = np.zeros(len(y))
    means = []
    for arm, sign in ((t & known, 1.0), (~t & known, -1.0)):
        n = int(arm.sum())
        if n < 2:
            raise EstimationError("two or more units with an outcome in each arm", f"{n}", "check both", column=outcome)
        means.append(y[arm].mean())
        scores[arm] = sign * (y[arm] - means[-1]) / n * np.sqrt(n / (n - 1))
    missing = int((~known).sum())
    support = few_units(np.ones(int(known.sum())), np.where(t[known], 0, 1), np.ones((2, 1)))
    return Effects(
        estimand="ATE of the trial", unit=unit or outcome, labels=pd.DataFrame({"term": [outcome]}),
        estimate=np.array([means[0] - means[1]]), scores=scores[known, None],
        n_treated=np.array([(t & known).sum()]), n_comparison=np.array([(~t & known).sum()]),
        spec={"treatment": treatment, "outcome": outcome, "estimator": "difference in means",
              "vcov": "HC2"},
        support=support, dof=None if support is None else support.dof,
        notes=(*few_note(support, np.bincount(t[known]).min()),
               *([f"{missing:,} units without {outcome} were left out."] if missing else [])),
    )  # fmt: skip
