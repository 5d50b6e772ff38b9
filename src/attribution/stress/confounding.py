"""How strong must something nobody measured be to explain an estimate away?

Robustness values and benchmark bounds of a regression (Cinelli & Hazlett 2020). None of it raises a grade: it says what
would have to be true, and the reader judges whether it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from ..design.table import encode
from ..errors import EstimationError, check_level
from ..estimate.sample import held_fixed, read_outcome, sample
from ..inference import student_p_value, student_quantile
from ..results import Design, Result, require_design


@dataclass(frozen=True, kw_only=True, repr=False)
class Robustness(Result):
    """What a hidden confounder Z would have to explain, of the treatment and of the outcome, to change the answer.

    estimate, std_error, dof : of treatment in the regression. q : the share of the estimate to explain away.
    partial_r2 : share of the outcome's residual variance that treatment explains: were Z to explain all that is left of
        the outcome, it would have to explain this share of the treatment.
    robustness_value : share of both residual variances Z must explain to move the estimate by q of itself.
    robustness_value_ci : the same, for the interval of `level` to reach that point.
    benchmarks : one row a confounder "k times as strong as" a covariate; missing where none can be that strong.
    """

    outcome: str
    treatment: str
    unit: str
    estimate: float
    std_error: float
    dof: int
    q: float
    level: float
    partial_r2: float
    robustness_value: float
    robustness_value_ci: float
    benchmarks: pd.DataFrame
    n_treated: int
    n_comparison: int
    notes: tuple[str, ...] = ()
    spec: Mapping[str, Any] = field(default_factory=dict)

    def adjusted(self, r2_treatment: Any, r2_outcome: Any) -> pd.DataFrame:
        """Estimate, standard error, t and interval if a Z of this strength, working against it, were held fixed.

        r2_treatment : partial R2 of Z with treatment given the covariates, in [0, 1). r2_outcome : of Z with the
        outcome given treatment and covariates, in [0, 1]. Numbers, or arrays of one shape; one row each.
        """
        rz, ry = np.broadcast_arrays(np.atleast_1d(np.asarray(r2_treatment, float)),
                                     np.atleast_1d(np.asarray(r2_outcome, float)))  # fmt: skip
        if ((rz < 0) | (rz >= 1) | (ry < 0) | (ry > 1)).any():
            raise EstimationError("partial R2 in [0, 1), and in [0, 1] for the outcome",
                                  f"{rz.min():g} to {rz.max():g}, {ry.min():g} to {ry.max():g}",
                                  "give shares of residual variance")  # fmt: skip
        return pd.DataFrame({"r2_treatment": rz.ravel(), "r2_outcome": ry.ravel()}).assign(
            **_adjusted(self.estimate, self.std_error, self.dof, self.level, rz.ravel(), ry.ravel())
        )

    def tidy(self) -> pd.DataFrame:
        """The estimate itself (confounder "none"), then the benchmarks."""
        half = self.std_error * float(student_quantile(0.5 + self.level / 2, self.dof))
        none = pd.DataFrame([{
            "confounder": "none", "covariate": None, "times": 0.0, "r2_treatment": 0.0, "r2_outcome": 0.0,
            "estimate": self.estimate, "std_error": self.std_error, "t": self.estimate / self.std_error,
            "conf_low": self.estimate - half, "conf_high": self.estimate + half,
        }])  # fmt: skip
        table = none if self.benchmarks.empty else pd.concat([none, self.benchmarks], ignore_index=True)
        return table.assign(
            p_value=student_p_value(table["t"], self.dof),
            level=self.level, robustness_value=self.robustness_value, robustness_value_ci=self.robustness_value_ci,
            partial_r2=self.partial_r2, n_treated=self.n_treated, n_comparison=self.n_comparison, unit=self.unit,
        )  # fmt: skip

    def summary(self) -> str:
        rv, rva, all_ = self.robustness_value, self.robustness_value_ci, self.q == 1
        target = "to zero" if all_ else f"by {self.q:.0%} of itself"
        lines = [
            f"Effect of {self.treatment} on {self.outcome}: {self.estimate:,.4g} (standard error "
            f"{self.std_error:,.4g}, {self.dof:,} degrees of freedom), in {self.unit}; {self.n_treated:,} treated, "
            f"{self.n_comparison:,} comparison units",
            f"Something hidden that explains {rv:.1%} of what is left of both treatment and outcome would bring it "
            f"{target}; " + (f"{rva:.1%} is enough for the {self.level:.0%} interval to reach that." if rva > 0
                             else f"its {self.level:.0%} interval holds that already."),
            f"If it explained all that is left of the outcome, {self.partial_r2:.1%} of treatment would do"
            + (" to bring it to zero." if not all_ else "."),
        ]  # fmt: skip
        for row in self.benchmarks.to_dict("records"):
            if np.isnan(row["estimate"]):
                lines.append(f"{row['confounder']}: no confounder can be that strong")
            else:
                strength = f"{row['r2_treatment']:.1%} of treatment, {row['r2_outcome']:.1%} of outcome"
                ends = f"[{row['conf_low']:,.4g}, {row['conf_high']:,.4g}]"
                lines.append(f"{row['confounder']} ({strength}): {row['estimate']:,.4g} {ends}")
        return "\n".join([*lines, *self.notes])


def robustness(
    design: Design, outcome: Any, *, adjust: Sequence[str] | None = None,
    benchmarks: Sequence[str] | Mapping[str, Sequence[str]] = (), times: Sequence[float] = (1, 2, 3), q: float = 1.0,
    level: float = 0.95, data: pd.DataFrame | None = None,
) -> Robustness:  # fmt: skip
    """What a hidden confounder must explain to overturn the regression after a design: its robustness value.

    Estimand : the coefficient of treatment in the design-weighted regression of the outcome on treatment and `adjust`.
    Assumes : nothing about the confounder but that it enters linearly; benchmarks assume that it is at most k times as
        strong as the covariate named, as predictor of treatment and of the outcome, and unrelated to the covariates.
    Estimator : weighted least squares; Cinelli & Hazlett (2020): bias (their eq. 9), standard error (11), robustness
        value (section 4.1; the value for an interval uses its n-1 critical value), benchmark bounds (section 4.4).
    Std. errors : classical, as their algebra needs; `att` gives robust ones, which may be larger.
    Edge cases : a benchmark whose bound exceeds 1 is a row of missing values. A category is one benchmark: the joint
        partial R2 of its levels. Covariates that are combinations of others add nothing and cost nothing.
    Checked : reference/match/sensemakr_darfur (sensemakr 0.1.6).

    Parameters
    ----------
    design : any Design. outcome, data : as `att`. adjust : columns held fixed; default the design's covariates.
    benchmarks : columns among them, or name -> several columns taken together. times : multiples k of their strength.
    q : share of the estimate to explain away, > 0. level : of the intervals.

    Raises
    ------
    EstimationError : treatment is a combination of the covariates, no degrees of freedom, a benchmark not adjusted for.
    """
    check_level(level)
    require_design(design)
    adjust = list(design.covariates if adjust is None else adjust)
    groups = dict(benchmarks) if isinstance(benchmarks, Mapping) else {name: [name] for name in benchmarks}
    strangers = sorted({c for columns in groups.values() for c in columns} - set(adjust))
    if strangers:
        raise EstimationError("benchmarks among the covariates held fixed", "others", "add them to adjust",
                              count=len(strangers), keys=strangers)  # fmt: skip
    if not q > 0 or not all(k > 0 for k in times):
        raise EstimationError("q and times above 0", f"q = {q}, times = {list(times)}", "give q = 1 and times = (1, 2)")
    s = sample(design, outcome, data)
    units = held_fixed(design, adjust, s.name, read_outcome(design, outcome, data)[1], s.rows)
    x, _, origins = encode(units, adjust, drop_base=True)
    root = np.sqrt(s.weight)
    x = np.column_stack([np.ones(len(s.y)), x]) * root[:, None]
    d, y = s.treated * root, s.y * root
    where = np.array(["", *origins], dtype=object)
    rank, (d_left, y_left) = _residuals(x, d, y)
    dof = len(s.y) - rank - 1
    if dof < 2:
        raise EstimationError("more units than coefficients, by two", f"{len(s.y)} units, {rank + 1} coefficients",
                              "adjust for less")  # fmt: skip
    left = float(d_left @ d_left)
    if left <= 1e-10 * float(d @ d):
        raise EstimationError("treatment that the covariates do not determine", "a combination of them",
                              "leave out the covariate that gives treatment away", column=design.treatment)  # fmt: skip
    estimate = float(d_left @ y_left) / left
    noise = y_left - estimate * d_left
    spare = float(noise @ noise)
    if spare <= 1e-20 * float(y @ y) or not y_left.any():
        raise EstimationError("an outcome that varies given treatment and covariates", "none left",
                              "an outcome that is all equal has no effect to explain away", column=s.name)  # fmt: skip
    std_error = float(np.sqrt(spare / dof / left))
    t = estimate / std_error
    rows = []
    for name, columns in groups.items():
        out = np.isin(where, columns)
        r2_d = _explained(x, d, out)
        r2_y = _explained(np.column_stack([x, d]), y, np.append(out, False))
        rows += [{"confounder": f"{k:g} x {name}", "covariate": name, "times": float(k),
                  **dict(zip(("r2_treatment", "r2_outcome"), _benchmark(k, r2_d, r2_y), strict=True))}
                 for k in times]  # fmt: skip
    table = pd.DataFrame(rows)
    if rows:
        rz, ry = table["r2_treatment"].to_numpy(), table["r2_outcome"].to_numpy()
        table = table.assign(**_adjusted(estimate, std_error, dof, level, rz, ry))
    return Robustness(
        outcome=s.name, treatment=design.treatment, unit=s.unit, estimate=estimate, std_error=std_error, dof=dof, q=q,
        level=level, partial_r2=t**2 / (t**2 + dof), robustness_value=_value(t, dof, q, None),
        robustness_value_ci=_value(t, dof, q, level), benchmarks=table, n_treated=s.n_treated,
        n_comparison=s.n_comparison, notes=(*design.whom, *s.notes),
        spec={"adjust": tuple(adjust), "times": tuple(times), "design": dict(design.spec)},
    )  # fmt: skip


def _residuals(x: np.ndarray, *columns: np.ndarray) -> tuple[int, list[np.ndarray]]:
    """Rank of x, and what it leaves of each column; norms are taken out first, so that units do not matter."""
    norm = np.linalg.norm(x, axis=0)
    targets = np.column_stack(columns)
    fit, _, rank, _ = np.linalg.lstsq(x / np.where(norm > 0, norm, 1.0), targets, rcond=1e-10)
    left = targets - (x / np.where(norm > 0, norm, 1.0)) @ fit
    return int(rank), list(left.T)


def _explained(x: np.ndarray, target: np.ndarray, out: np.ndarray) -> float:
    """Partial R2 of the columns `out` of x with the target, given the others."""
    (_, (full,)), (_, (reduced,)) = _residuals(x, target), _residuals(x[:, ~out], target)
    return 1 - float(full @ full) / float(reduced @ reduced)


def _benchmark(k: float, r2_d: float, r2_y: float) -> tuple[float, float]:
    """(R2 of Z with treatment, with outcome) for a Z k times as strong; NaN where no Z is (Cinelli & Hazlett, 4.4)."""
    r2_treatment = k * r2_d / (1 - r2_d)
    if r2_treatment >= 1 or k * r2_d >= 1:
        return float("nan"), float("nan")
    r2_zx = k * r2_d**2 / ((1 - k * r2_d) * (1 - r2_d))  # of Z with the covariate, once treatment is held fixed
    if r2_zx >= 1:
        return float("nan"), float("nan")
    r2_outcome = (np.sqrt(k) + np.sqrt(r2_zx)) ** 2 / (1 - r2_zx) * r2_y / (1 - r2_y)
    return (r2_treatment, float(r2_outcome)) if r2_outcome <= 1 else (float("nan"), float("nan"))


def _adjusted(estimate, std_error, dof, level, rz, ry) -> dict[str, np.ndarray]:
    bias = std_error * np.sqrt(dof) * np.sqrt(ry * rz / (1 - rz))
    value = np.sign(estimate) * (np.abs(estimate) - bias)
    se = std_error * np.sqrt((1 - ry) / (1 - rz) * dof / (dof - 1))
    half = se * float(student_quantile(0.5 + level / 2, dof))  # as sensemakr, which counts Z in the error only
    with np.errstate(divide="ignore", invalid="ignore"):
        t = value / se
    return {"estimate": value, "std_error": se, "t": t, "conf_low": value - half, "conf_high": value + half}


def _value(t: float, dof: int, q: float, level: float | None) -> float:
    """Robustness value: for the estimate (no level), or for its interval of that level."""
    f = q * abs(t) / np.sqrt(dof)
    critical = 0.0 if level is None else float(student_quantile(0.5 + level / 2, dof - 1)) / np.sqrt(dof - 1)
    beyond = f - critical
    if beyond <= 0:
        return 0.0
    if critical > 0 and f > 1 / critical:  # with so few degrees of freedom the standard error gives way first
        return float((f**2 - critical**2) / (1 + f**2))
    return float((np.sqrt(beyond**4 + 4 * beyond**2) - beyond**2) / 2)
