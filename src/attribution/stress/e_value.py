"""E-values: the smallest risk ratios by which something hidden must be tied to both treatment and outcome."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from ..errors import EstimationError, check_level
from ..inference import normal_quantile, student_quantile
from ..results import Effects, Result

Scale = Literal["risk_ratio", "odds_ratio", "hazard_ratio", "mean_difference"]


@dataclass(frozen=True, kw_only=True, repr=False)
class EValue(Result):
    """A risk ratio (found or approximated), and the E-values of it and of its interval's end nearer to `null`.

    e_value_ci : 1 where the interval holds `null`; NaN where no interval was given.
    """

    outcome: str
    scale: str
    null: float
    risk_ratio: float
    conf_low: float
    conf_high: float
    level: float
    e_value: float
    e_value_ci: float

    def tidy(self) -> pd.DataFrame:
        return pd.DataFrame([{
            "term": self.outcome, "scale": self.scale, "null": self.null, "risk_ratio": self.risk_ratio,
            "conf_low": self.conf_low, "conf_high": self.conf_high, "level": self.level, "e_value": self.e_value,
            "e_value_ci": self.e_value_ci,
        }])  # fmt: skip

    def summary(self) -> str:
        about = "" if self.scale == "risk_ratio" else f" (approximated from a {self.scale.replace('_', ' ')})"
        point = "no effect" if self.null == 1 else f"a risk ratio of {self.null:g}"
        known = np.isfinite([self.conf_low, self.conf_high]).all()
        ends = f" [{self.conf_low:.3g}, {self.conf_high:.3g}]" if known else ""
        text = [f"Risk ratio {self.risk_ratio:.3g}{ends}{about}. To bring it to "
                f"{point}, something hidden would have to be tied to treatment and to {self.outcome}, each by a risk "
                f"ratio of {self.e_value:.3g}, beyond the covariates."]  # fmt: skip
        if self.e_value_ci == 1:
            text.append("The interval holds that already: nothing hidden is needed.")
        elif np.isfinite(self.e_value_ci):
            text.append(f"For the {self.level:.0%} interval to reach it, {self.e_value_ci:.3g} is enough.")
        return "\n".join(text)


def e_value(
    effect: float | Effects, *, scale: Scale, low: float | None = None, high: float | None = None,
    std_error: float | None = None, spread: float | None = None, rare: bool | None = None, null: float = 1.0,
    level: float = 0.95,
) -> EValue:  # fmt: skip
    """How strongly must something hidden be tied to treatment and outcome to explain a risk ratio away: its E-value.

    Estimand : that of `effect`, as a risk ratio; the answer is about it, and estimates nothing new.
    Assumes : nothing about the confounder's distribution; treatment 0/1. Approximations for other scales as named.
    Estimator : RR + sqrt(RR (RR - 1)), RR above 1 (else inverted), relative to `null` (VanderWeele & Ding 2017). Odds
        ratios of a common outcome by their square root; hazard ratios by (1 - .5^sqrt(HR)) / (1 - .5^sqrt(1/HR)); rare
        outcomes as they are; mean differences of d SDs by exp(.91 d), interval exp(.91 d -+ 1.78 SE).
    Std. errors : from Effects of `att(..., parts=True)`, delta method on the log risk ratio.
    Edge cases : an interval that holds `null` has the E-value 1. A share of 0 in an arm, a ratio outside its interval:
        refused.
    Checked : reference/match evalue_a (EValue 4.1.4).

    Parameters
    ----------
    effect : a number on `scale`; or Effects. For "risk_ratio" those of `att(..., parts=True)` of a 0/1 outcome, for
        "mean_difference" any with one term. scale : what the number is.
    low, high : its interval, one end may be missing; of Effects they are computed. std_error, spread : for
        "mean_difference": in the unit of the effect, and the outcome's SD (1 if the effect is in SDs already).
    rare : required for odds and hazard ratios: is the outcome seen in fewer than 15 % by the end of follow-up?
    null : the risk ratio to be explained away to, > 0. level : of the interval, in (0, 1).

    Raises
    ------
    EstimationError : Effects that fit no scale, a ratio of 0 or below, `rare` or `spread` missing where needed.
    """
    if scale not in ("risk_ratio", "odds_ratio", "hazard_ratio", "mean_difference"):
        raise EstimationError('scale "risk_ratio", "odds_ratio", "hazard_ratio" or "mean_difference"', repr(scale),
                              'for a difference of shares give att(..., parts=True) with "risk_ratio"')  # fmt: skip
    if scale in ("odds_ratio", "hazard_ratio") and rare is None:
        raise EstimationError("rare=True or rare=False for an odds or hazard ratio", "neither",
                              "rare=True if fewer than 15 % have the outcome, else False")  # fmt: skip
    check_level(level)
    outcome, z = "the outcome", normal_quantile(0.5 + level / 2)
    if isinstance(effect, Effects):
        outcome = str(effect.labels["outcome"].iloc[0]) if "outcome" in effect.labels else effect.labels["term"].iloc[0]
        if np.isfinite(fewest := effect.degrees.min()):
            z = float(student_quantile(0.5 + level / 2, fewest))
        if scale == "risk_ratio":
            value, low, high = _ratio_of_risks(effect, z)
        elif scale == "mean_difference" and len(effect) == 1:
            value, std_error = float(effect.estimate[0]), float(effect.std_error[0])
        else:
            raise EstimationError("Effects with one mean difference, or with observed and counterfactual risks",
                                  f"{len(effect)} effects on scale {scale!r}",
                                  'take one row, or scale="risk_ratio" of att(..., parts=True)')  # fmt: skip
    else:
        value = float(effect)
    if scale == "mean_difference":
        if spread is None or not spread > 0:
            raise EstimationError("spread, the SD of the outcome", repr(spread), "give it in the unit of the effect")
        d, se = value / spread, None if std_error is None else std_error / spread
        value = float(np.exp(0.91 * d))
        if se is not None:  # 1.78 = .91 x 1.96, as published; other levels in proportion
            wide = 1.78 * z / normal_quantile(0.975) * se
            low, high = float(np.exp(0.91 * d - wide)), float(np.exp(0.91 * d + wide))
    else:
        value = _as_risk_ratio(value, scale, bool(rare))
        low, high = (None if v is None else _as_risk_ratio(v, scale, bool(rare)) for v in (low, high))
    low, high = (float("nan") if v is None else float(v) for v in (low, high))
    if not (np.isfinite(value) and value > 0 and null > 0) or low > value or high < value:
        raise EstimationError("a positive ratio inside its interval, and a positive null",
                              f"{value:g} in [{low:g}, {high:g}], null {null:g}",
                              "check scale, low and high")  # fmt: skip
    near = low if value >= null else high
    if np.isnan(near):
        ci = float("nan")
    elif (near <= null) if value >= null else (near >= null):
        ci = 1.0
    else:
        ci = _e(near / null)
    return EValue(outcome=outcome, scale=scale, null=null, risk_ratio=value, conf_low=low, conf_high=high, level=level,
                  e_value=_e(value / null), e_value_ci=ci)  # fmt: skip


def _e(ratio: float) -> float:
    ratio = max(ratio, 1 / ratio)
    return float(ratio + np.sqrt(ratio * (ratio - 1)))


def _as_risk_ratio(value: float, scale: str, rare: bool) -> float:
    if scale == "risk_ratio" or rare:
        return value
    if value <= 0:
        raise EstimationError("a positive ratio", f"{value:g}", "give the ratio itself, not its logarithm")
    root = float(np.sqrt(value))
    return root if scale == "odds_ratio" else (1 - 0.5**root) / (1 - 0.5 ** (1 / root))


def _ratio_of_risks(effects: Effects, z: float) -> tuple[float, float, float]:
    """(risk ratio, low, high) from the observed and the counterfactual share, with their joint scores."""
    terms = list(effects.labels["term"])
    if effects.unit != "share" or not {"observed", "counterfactual"} <= set(terms):
        raise EstimationError("observed and counterfactual shares of a 0/1 outcome", f"{terms} in {effects.unit}",
                              "give att(design, outcome, parts=True)")  # fmt: skip
    rows = [terms.index("observed"), terms.index("counterfactual")]
    p1, p0 = effects.estimate[rows]
    if min(p1, p0) <= 0:
        raise EstimationError("an outcome seen in both arms", f"shares {p1:.3g} and {p0:.3g}",
                              "no risk ratio exists; give bounds (manski_bounds) instead")  # fmt: skip
    score = effects.scores[:, rows[0]] / p1 - effects.scores[:, rows[1]] / p0
    se = float(np.sqrt(score @ score))
    return float(p1 / p0), float(p1 / p0 * np.exp(-z * se)), float(p1 / p0 * np.exp(z * se))
