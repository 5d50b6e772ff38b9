"""How far could a variable nobody recorded have moved a doubly robust effect, whatever its shape?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd

from ..errors import EstimationError, check_level
from ..inference import normal_quantile
from ..results import Effects, Result


@dataclass(frozen=True, kw_only=True, repr=False)
class OmittedVariableBounds(Result):
    """Between which values the effect lies if something unrecorded explains so much and no more.

    table : one row a strength, "as asked" first, then "as strong as" each benchmark: r2_outcome, r2_treatment,
        bound_low, bound_high, their std_error_low, std_error_high, conf_low, conf_high (each end one-sided at `level`),
        and estimate_without the benchmark.
    robustness_value : the strength, alike for outcome and treatment, that moves the estimate to `null`;
        robustness_value_ci : the end of its one-sided interval, 0 where that holds `null` already.
    """

    outcome: str
    estimand: str
    unit: str
    estimate: float
    std_error: float
    null: float
    rho: float
    level: float
    robustness_value: float
    robustness_value_ci: float
    table: pd.DataFrame
    n_treated: int
    n_comparison: int
    notes: tuple[str, ...] = ()
    spec: Mapping[str, Any] = field(default_factory=dict)

    def tidy(self) -> pd.DataFrame:
        return self.table.assign(
            term=self.outcome, estimand=self.estimand, estimate=self.estimate, std_error=self.std_error, rho=self.rho,
            null=self.null, level=self.level, robustness_value=self.robustness_value,
            robustness_value_ci=self.robustness_value_ci, n_treated=self.n_treated, n_comparison=self.n_comparison,
            unit=self.unit,
        )  # fmt: skip

    def summary(self) -> str:
        point = "zero" if self.null == 0 else f"{self.null:,.4g}"
        lines = [f"{self.estimand} on {self.outcome}: {self.estimate:,.4g} (standard error {self.std_error:,.4g}), in "
                 f"{self.unit}; {self.n_treated:,} treated, {self.n_comparison:,} comparison units"]  # fmt: skip
        for row in self.table.to_dict("records"):
            strength = f"{row['r2_outcome']:.1%} of what is left of the outcome, {row['r2_treatment']:.1%} of treatment"
            ends = (f"between {row['bound_low']:,.4g} and {row['bound_high']:,.4g} (ends with {self.level:.0%} "
                    f"confidence each: {row['conf_low']:,.4g} and {row['conf_high']:,.4g})")  # fmt: skip
            if row["covariate"] is None:
                lines.append(f"If something unrecorded explains {strength}, the effect lies {ends}.")
                continue
            lies = f"the effect lies {ends}" if np.isfinite(row["bound_low"]) else "no bound"
            lines.append(f"If it is {row['confounder']} ({strength}): {lies}; leaving that out gives "
                         f"{row['estimate_without']:,.4g}.")  # fmt: skip
        lines.append(f"To bring the estimate to {point} it would take {self.robustness_value:.1%} of both"
                     + (f", for the end of its {self.level:.0%} interval {self.robustness_value_ci:.1%}."
                        if self.robustness_value_ci > 0 else "; its interval holds that already."))  # fmt: skip
        if self.rho < 1:
            lines.append(f"Its ties to outcome and treatment are taken to agree by {self.rho:.0%}, not fully.")
        return "\n".join([*lines, *self.notes])


def omitted_variable_bounds(
    effect: Effects, *, r2_outcome: float, r2_treatment: float, rho: float = 1.0, null: float = 0.0,
    benchmarks: Mapping[str, Effects] | None = None, level: float = 0.95,
) -> OmittedVariableBounds:  # fmt: skip
    """Values the effect can have if something unrecorded explains part of outcome and treatment: bounds of ATE or ATT.

    Estimand : that of `effect`, had the unrecorded variable been adjusted for too, as a set.
    Assumes : nothing about its shape or distribution, only that it is no stronger than said; with it nobody knew more.
    Estimator : Chernozhukov, Cinelli, Newey, Sharma & Syrgkanis 2022 ("Long story short"): estimate -+ rho S C_Y C_D,
        C_Y^2 = r2_outcome, C_D^2 = r2_treatment / (1 - r2_treatment), S^2 = E[(Y - g)^2] E[alpha^2], alpha the weight
        (Riesz representer) of the estimate. The robustness value solves r^2 / (1 - r) = ((estimate - null) / rho S)^2.
    Std. errors : influence function of estimate and S together; each end one-sided at `level`, as the authors do.
    Edge cases : a benchmark that explains nothing beyond the others has no bounds and says so. An estimate with nothing
        left to explain is refused. None of it raises a grade.
    Checked : reference/match dml_lalonde, dml_sensitivity_lalonde (DoubleML 0.11.4; it gives each end the error of the
        other, and takes the share treated for known: simulation and a jackknife say that ours are right).
    Example : `at.omitted_variable_bounds(at.aipw(...), r2_outcome=0.03, r2_treatment=0.03)`

    Parameters
    ----------
    effect : one difference, from `aipw` (form "aipw" or "aipw_wls"), `tmle` or `partially_linear`.
    r2_outcome : share of the outcome's variance left by covariates and treatment that it explains, in [0, 1].
    r2_treatment : in [0, 1): for `partially_linear` the share of the treatment's variance left by the covariates that
        it explains; for `aipw` and `tmle` the share of E[alpha^2] that it would add, which is how much more surely it
        tells who is treated. rho : how far the two go together, in (0, 1]; 1 is the worst case.
    benchmarks : name -> the same call without some covariates: what would something as strong as these do?
        Its r2_outcome is what they take from the variance left, over what is left; r2_treatment what they add to
        E[alpha^2], over E[alpha^2] without them (the bound of Cinelli & Hazlett 2020, section 4.4, for k = 1).
    null : the effect to be explained away to, in the unit of the effect. level : of each end.

    Raises
    ------
    EstimationError : another estimator, several terms, a ratio, strengths out of range, other samples as benchmarks.
    """
    check_level(level)
    _require(effect, "effect")
    odd = [one for one in (r2_outcome, r2_treatment, rho, null) if not isinstance(one, Real)]
    if odd or not (0 <= r2_outcome <= 1 and 0 <= r2_treatment < 1 and 0 < rho <= 1 and np.isfinite(null)):
        raise EstimationError("r2_outcome in [0, 1], r2_treatment in [0, 1), rho in (0, 1], a finite null",
                              f"{r2_outcome}, {r2_treatment}, {rho}, {null}", "give shares, as 0.03")  # fmt: skip
    if not isinstance(benchmarks or {}, Mapping):
        raise EstimationError("benchmarks by name", f"a {type(benchmarks).__name__}",
                              'give {"pay before": the same call without it}')  # fmt: skip
    room = effect.unrecorded
    assert room is not None
    strengths: list[tuple[str, str | None, float, float, float]] = [
        ("as asked", None, float(r2_outcome), float(r2_treatment), float("nan"))
    ]
    nothing = []
    for name, short in (benchmarks or {}).items():
        _require(short, f"benchmark {name!r}")
        _require_shorter(effect, short, name)
        without = short.unrecorded
        assert without is not None
        of_y = (without.noise - room.noise) / room.noise
        of_d = (room.leverage - without.leverage) / without.leverage
        if of_y >= 1 or of_d >= 1:
            raise EstimationError("benchmarks weaker than all that is left", f"{name!r} explains more than that",
                                  "nothing unrecorded can be as strong: choose weaker covariates")  # fmt: skip
        nothing += [f"{name}, beyond the others, tells nothing about the {what}: it is no measure of what is hidden."
                    for what, share in (("outcome", of_y), ("treatment", of_d)) if share <= 0]  # fmt: skip
        strengths.append((f"as strong as {name}", name, max(of_y, 0.0), max(of_d, 0.0), float(short.estimate[0])))
    theta, scores, z = float(effect.estimate[0]), effect.scores[:, 0], normal_quantile(level)
    rows = []
    for confounder, covariate, of_y, of_d, estimate in strengths:
        moved = rho * np.sqrt(of_y * of_d / (1 - of_d))
        if covariate is not None and moved == 0:
            moved = np.nan
        low, high = theta - moved * room.largest, theta + moved * room.largest
        se_low, se_high = (float(np.linalg.norm(scores + side * moved * room.scores)) for side in (-1, 1))
        rows.append({"confounder": confounder, "covariate": covariate, "r2_outcome": of_y, "r2_treatment": of_d,
                     "bound_low": low, "bound_high": high, "std_error_low": se_low, "std_error_high": se_high,
                     "conf_low": low - z * se_low, "conf_high": high + z * se_high,
                     "estimate_without": estimate})  # fmt: skip
    return OmittedVariableBounds(
        outcome=str(effect.labels["outcome"].iloc[0]), estimand=effect.estimand, unit=effect.unit, estimate=theta,
        std_error=float(effect.std_error[0]), null=float(null), rho=float(rho), level=level,
        robustness_value=_strength(abs(theta - null) / room.largest, rho),
        robustness_value_ci=_strength(_reach(theta - null, scores, room.largest, room.scores, z), rho),
        table=pd.DataFrame(rows), n_treated=int(effect.n_treated[0]), n_comparison=int(effect.n_comparison[0]),
        notes=(*effect.notes, *nothing), spec=dict(effect.spec),
    )  # fmt: skip


def _require(effect: Any, what: str) -> None:
    if not isinstance(effect, Effects) or effect.unrecorded is None:
        found = effect.estimand if isinstance(effect, Effects) else type(effect).__name__
        raise EstimationError(f"as {what} one difference by aipw, tmle or partially_linear", found,
                              "estimate it by one of these, without parts=, ratios, or other forms; for the regression "
                              "after a design there is robustness(design, outcome)")  # fmt: skip
    if not effect.unrecorded.largest > 0:
        raise EstimationError("an outcome that varies given treatment and covariates, and overlap",
                              f"nothing left of one of them in {what}", "adjust for less, or trim=")  # fmt: skip


def _require_shorter(effect: Effects, short: Effects, name: str) -> None:
    """The benchmark is the same call on the same units with fewer covariates, or refused."""

    def rest(spec: Mapping[str, Any]) -> dict[str, Any]:
        return {option: value for option, value in spec.items() if option != "covariates"}

    same = rest(effect.spec) == rest(short.spec) and effect.scores.shape == short.scores.shape
    same = same and effect.unit == short.unit and list(effect.n_treated) == list(short.n_treated)
    if not same or not set(short.spec["covariates"]) < set(effect.spec["covariates"]):
        raise EstimationError(f"as benchmark {name!r} the same call without some of the covariates", short.estimand,
                              "leave covariates out and nothing else", keys=list(short.spec["covariates"]))  # fmt: skip


def _reach(gap: float, scores: np.ndarray, largest: float, moved: np.ndarray, z: float) -> float:
    """The smallest C_Y C_D at which the end of the one-sided interval nearer to the null reaches it; 0: it has."""
    from scipy.optimize import brentq

    side = np.sign(gap)

    def beyond(c: float) -> float:
        return abs(gap) - c * largest - z * float(np.linalg.norm(scores - side * c * moved))

    return 0.0 if beyond(0.0) <= 0 else float(brentq(beyond, 0.0, abs(gap) / largest, xtol=1e-12, rtol=1e-12))


def _strength(c: float, rho: float) -> float:
    """r with rho r / sqrt(1 - r) = c."""
    f = (c / rho) ** 2
    return float((np.sqrt(f**2 + 4 * f) - f) / 2)
