"""Two periods, other units in each: the effect on the treated from repeated cross-sections."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from .algebra import CannotEstimate, by_column, cross, refuse_collinear, regression_gram
from .propensity import logit, odds, probability, tilted

RepeatedMethod = Literal["dr", "dr_rc1", "dr_imp", "dr_imp_rc1", "reg", "ipw", "ipw_ht", "twfe"]
REPEATED_METHODS: tuple[str, ...] = get_args(RepeatedMethod)
WHEN = ("earlier", "later")


@dataclass(frozen=True, kw_only=True)
class PeriodScore:
    """Coefficients for the units of one period.

    alpha = d x'up - a share_c - (1-d) x'down, and
    gamma = -alpha x'(d fit_t + (1-d) fit_c) + d (x'own + level_t) + a level_c - (d-p) x'v + level.
    """

    up: np.ndarray  # (p,) weight of a treated unit's outcome
    down: np.ndarray  # (p,) weight of a comparison unit's outcome that its regression adds
    share_c: float
    fit_t: np.ndarray  # (p, k) regression subtracted from a treated unit's outcome
    fit_c: np.ndarray  # (p, k)
    own: np.ndarray  # (p, k) what a treated unit's covariates say
    level_t: np.ndarray  # (k,)
    level_c: np.ndarray
    level: np.ndarray
    v: np.ndarray  # (p, k) what the propensity's estimation adds
    propensity: np.ndarray | None

    def __call__(self, x: np.ndarray, treated: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        alpha = np.where(treated, x @ self.up, -(x @ self.down))
        gamma = np.where(treated[:, None], x @ self.own + self.level_t, 0.0) + self.level
        if self.propensity is not None:
            p = probability(x, self.propensity)
            a = odds(p, treated)
            alpha = alpha - a * self.share_c
            gamma += np.multiply.outer(a, self.level_c) - (x * (treated - p)[:, None]) @ self.v
        gamma -= alpha[:, None] * np.where(treated[:, None], x @ self.fit_t, x @ self.fit_c)
        return alpha, gamma


@dataclass(frozen=True)
class TwoByTwoRepeated:
    """estimate (k,); score(x, treated, post) -> alpha (r,), gamma (r, k): unit i adds w_i (alpha y_i + gamma)."""

    estimate: np.ndarray
    periods: tuple[PeriodScore, PeriodScore]  # earlier, later

    def score(self, x: np.ndarray, treated: np.ndarray, post: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """alpha (r,), gamma (r, k) of any rows; divided by n already, so their sums S have S'S = V."""
        alpha, gamma = np.empty(len(x)), np.empty((len(x), len(self.estimate)))
        for late, part in enumerate(self.periods):
            rows = post == late
            alpha[rows], gamma[rows] = part(x[rows], treated[rows])
        return alpha, gamma


def two_by_two_rc(
    method: RepeatedMethod, x: np.ndarray, treated: np.ndarray, post: np.ndarray, weight: np.ndarray,
    total: np.ndarray, start: np.ndarray | None = None,
) -> TwoByTwoRepeated:  # fmt: skip
    """ATT of the treated cells against the others, for k outcomes at once; each cell is seen in one of two periods.

    Assumes : who is sampled, and their covariates, do not change between the periods (stationarity).
    Estimator : Sant'Anna & Zhao 2020. "dr" locally efficient (their eq. for tau_2: regressions in all four groups and a
        logit of both periods), "dr_rc1" without the treated regressions (tau_1); "dr_imp", "dr_imp_rc1" the same with
        inverse probability tilting and least squares weighted by its odds, whose first stages add nothing to the
        variance where sampling is stationary; "reg" Heckman, Ichimura & Todd 1997; "ipw" normalised (Hajek) weights;
        "ipw_ht" Abadie 2005, the share of the later period estimated; "twfe" the interaction in a regression on
        treated, later and x, biased where effects or trends move with x: for comparison only.
    Edge cases : comparison units with propensity >= 0.995 leave; no lower clip. A period without treated or comparison
        units is refused.

    Parameters
    ----------
    x : (C, p) covariates, first column 1. treated, post : (C,) bool. weight : (C,) sums of w.
    total : (C, k) sums of w y. start : (p,) coefficients to start the propensity from.

    Raises
    ------
    CannotEstimate : an empty group, collinear covariates, no overlap; with the columns of x to blame.
    """
    if method not in REPEATED_METHODS:
        raise ValueError(f"method {method!r} is none of {REPEATED_METHODS}")
    x = by_column(x)
    for late, when in enumerate(WHEN):
        for arm, name in ((True, "treated"), (False, "comparison")):
            if not weight[(post == late) & (treated == arm)].sum() > 0:
                raise CannotEstimate(f"no {name} units in the {when} period")
    if method == "twfe":
        return _twfe(x, treated, post, weight, total)
    return _Repeated(method, x, treated, post, weight, total, start).fit()


class _Repeated:
    """What the two periods share: propensity, treated means, and the sum of their pieces."""

    def __init__(self, method, x, treated, post, weight, total, start) -> None:
        self.method, self.x, self.treated, self.post, self.weight, self.total = method, x, treated, post, weight, total
        self.zero, self.first = np.zeros((x.shape[1], total.shape[1])), np.eye(x.shape[1])[0]
        self.x_d = x.T @ (weight * treated)
        self.n_d = self.x_d[0]
        self.b: np.ndarray | None = None
        self.p, self.a = np.zeros(len(x)), np.zeros(len(x))
        if method == "reg":
            return
        self.b = logit(x, treated, weight, start)
        if "imp" in method:
            regression_gram(x, np.where(treated, 0.0, weight))
            self.b = tilted(x, treated, weight, self.b)
        self.p = probability(x, self.b)
        self.a = odds(self.p, treated)

    def fit(self) -> TwoByTwoRepeated:
        parts = [self._ipw_ht(late) if self.method == "ipw_ht" else self._one_period(late) for late in (0, 1)]
        estimate = parts[1]["estimate"] - parts[0]["estimate"]
        v, own = self.zero, parts[1]["own"] - parts[0]["own"]
        if self.b is not None and "imp" not in self.method:
            information = cross(self.x, self.weight * self.p * (1 - self.p), self.x)
            v = np.linalg.solve(information, parts[1]["moment"] - parts[0]["moment"])
        # what both periods know about all treated units: their covariates, and (not normalised) their number
        centre = -(self.x_d / self.n_d) @ own - (estimate if self.method == "ipw_ht" else 0)
        own, centre = own / self.n_d, centre / self.n_d
        scores = [
            PeriodScore(up=sign * part["up"], down=sign * part["down"], share_c=sign * part["share_c"],
                        fit_t=part["fit_t"], fit_c=part["fit_c"], own=own, level_t=sign * part["level_t"] + centre,
                        level_c=sign * part["level_c"], level=level, v=v, propensity=self.b)
            for sign, part, level in zip((-1, 1), parts, self._share_terms(parts), strict=True)
        ]  # fmt: skip
        return TwoByTwoRepeated(estimate, (scores[0], scores[1]))

    def _share_terms(self, parts: list[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
        """(earlier, later) constants for the estimated share of the later period (Abadie's estimator alone)."""
        if self.method != "ipw_ht":
            return self.zero[0], self.zero[0]
        n = self.weight.sum()
        late = (self.weight @ self.post) / n
        slope = -(parts[1]["estimate"] / late + parts[0]["estimate"] / (1 - late)) / n
        return -late * slope, (1 - late) * slope

    def _one_period(self, late: int) -> dict[str, Any]:
        """Treated minus comparison mean in one period, and the coefficients of its influence function."""
        x, total, here, method = self.x, self.total, self.post == late, self.method
        d, one = (here & self.treated).astype(float), (here & ~self.treated).astype(float)
        a = np.where(here, self.a, 0.0)
        x_t, x_a, total_a = x.T @ (self.weight * d), x.T @ (self.weight * a), cross(x, a, total)
        if self.b is not None and not x_a[0] > 0:
            raise CannotEstimate("no overlap: every comparison unit has a propensity of 0.995 or more")
        share_t, share_c = 1 / x_t[0], 0.0 if self.b is None else 1 / x_a[0]
        fit_c = fit_t = own = self.zero
        up, down = self.first * share_t, 0 * self.first
        weighted = cross(x, self.weight * a, x)
        aim = x_t * share_t if method == "dr_rc1" else self.x_d / self.n_d  # whom the comparison must look like
        if method in ("dr", "dr_rc1", "reg"):
            gram = regression_gram(x, self.weight * one, f"comparison units of the {WHEN[late]} period")
            fit_c = np.linalg.solve(gram, cross(x, one, total))
            down = np.linalg.solve(gram, aim - x_a * share_c)
        elif "imp" in method:
            regression_gram(x, self.weight * one, f"comparison units of the {WHEN[late]} period")
            fit_c = np.linalg.solve(weighted, total_a)
        if method in ("dr", "dr_imp"):
            gram = regression_gram(x, self.weight * d, f"treated units of the {WHEN[late]} period")
            fit_t = np.linalg.solve(gram, cross(x, d, total))
            up = np.linalg.solve(gram, aim) if method == "dr" else up
            own = fit_t - fit_c
        elif method == "reg":
            own = -fit_c
        else:
            fit_t = fit_c
        residual_a = total_a - weighted @ fit_c
        eta_t, eta_c = (d @ total - x_t @ fit_t) * share_t, residual_a[0] * share_c
        return {
            "estimate": eta_t + aim @ own - eta_c, "up": up, "down": down, "share_c": share_c, "fit_t": fit_t,
            "fit_c": fit_c, "own": own, "level_t": -eta_t * share_t, "level_c": eta_c * share_c,
            "moment": (residual_a - np.multiply.outer(x_a, eta_c)) * share_c,
        }  # fmt: skip

    def _ipw_ht(self, late: int) -> dict[str, Any]:
        """Abadie's weights: period totals over the expected number of treated units."""
        here = self.post == late
        n = self.n_d * self.weight[here].sum() / self.weight.sum()
        moment = cross(self.x, np.where(here, self.a, 0.0), self.total) / n
        return {
            "estimate": (here & self.treated).astype(float) @ self.total / n - moment[0], "up": self.first / n,
            "down": 0 * self.first, "share_c": 1 / n, "fit_t": self.zero, "fit_c": self.zero, "own": self.zero,
            "level_t": self.zero[0], "level_c": self.zero[0], "moment": moment,
        }  # fmt: skip


def _twfe(x, treated, post, weight, total) -> TwoByTwoRepeated:
    """Least squares on treated, later, their product and x: the product's coefficient."""
    z = np.column_stack([x, treated, post, treated & post]).astype(float)
    p, gram = x.shape[1], cross(z, weight, z)
    refuse_collinear(gram, "collinear covariates")
    theta = np.linalg.solve(gram, cross(z, np.ones(len(z)), total))
    u = np.linalg.solve(gram, np.eye(p + 3)[-1])

    def at(values: np.ndarray, d: int, late: int) -> np.ndarray:
        """The coefficients of x alone, among units for which treated and later are constants."""
        constant = d * values[p] + late * values[p + 1] + d * late * values[p + 2]
        return values[:p] + np.multiply.outer(np.eye(p)[0], constant)

    zero = np.zeros((p, total.shape[1]))
    scores = [
        PeriodScore(up=at(u, 1, late), down=-at(u, 0, late), share_c=0.0, fit_t=at(theta, 1, late),
                    fit_c=at(theta, 0, late), own=zero, level_t=zero[0], level_c=zero[0], level=zero[0], v=zero,
                    propensity=None)
        for late in (0, 1)
    ]  # fmt: skip
    return TwoByTwoRepeated(theta[-1], (scores[0], scores[1]))
