"""Two weighted samples of one column compared: means, spread, and the distance between their distributions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

SAMPLES = ("before", "after")
_NAN = float("nan")
_SAME = 1e-12  # an SD this small beside the values themselves is rounding


@dataclass(frozen=True, kw_only=True)
class Figures:
    """One column: a dict of figures a sample, what a reader must be told, and the value where there is only one."""

    before: dict[str, float]
    after: dict[str, float]
    remark: str = ""
    value: float | None = None

    def rows(self, label: str, kind: str) -> list[dict[str, Any]]:
        """The two rows of the balance table."""
        return [{"covariate": label, "sample": sample, **getattr(self, sample), "kind": kind} for sample in SAMPLES]


@dataclass(frozen=True, kw_only=True)
class Arms:
    """The treated and the comparison units, each with weights that sum to one before and after the design.

    at : rows of the treated and of the comparison; weights : arm -> sample -> (n_arm,). signed : (n,) complex, treated
    minus comparison weight, before as the real and after as the imaginary part: one pass over a sorted column then
    serves both samples. rows : which rows of the table these are; None: all.
    """

    at: tuple[np.ndarray, np.ndarray]
    weights: tuple[dict[str, np.ndarray], dict[str, np.ndarray]]
    signed: np.ndarray
    alive: dict[str, bool]
    pooled: bool
    source: tuple[np.ndarray, np.ndarray | None, np.ndarray]
    rows: np.ndarray | None = None
    _reliability: dict[Any, float] = field(default_factory=dict)

    @classmethod
    def of(
        cls, treated: np.ndarray, base: np.ndarray | None, after: np.ndarray, *, pooled: bool,
        rows: np.ndarray | None = None,
    ) -> Arms:  # fmt: skip
        """treated : (n,) bool. base, after : (n,) weights before (None: equal) and after the design."""
        at = np.flatnonzero(treated), np.flatnonzero(~treated)
        weights: tuple[dict[str, np.ndarray], dict[str, np.ndarray]] = ({}, {})
        signed, alive = np.zeros(len(treated), complex), {}
        for sample, whole, part in (("before", base, signed.real), ("after", after, signed.imag)):
            totals = []
            for mine, where, sign in zip(weights, at, (1.0, -1.0), strict=True):
                own = np.ones(len(where)) if whole is None else whole[where]
                total = float(own.sum())
                mine[sample] = own / total if total > 0 else own
                part[where] = sign * mine[sample]
                totals.append(total)
            alive[sample] = min(totals) > 0
        reliability = {(arm, s): 1 - float(w @ w) for arm in (0, 1) for s, w in weights[arm].items()}
        return cls(at=at, weights=weights, signed=signed, alive=alive, pooled=pooled, source=(treated, base, after),
                   rows=rows, _reliability=reliability)  # fmt: skip

    def only(self, rows: np.ndarray) -> Arms:
        """The same arms on some rows (positions), weights scaled again."""
        treated, base, after = self.source
        return Arms.of(treated[rows], None if base is None else base[rows], after[rows], pooled=self.pooled,
                       rows=rows if self.rows is None else self.rows[rows])  # fmt: skip

    def number(self, x: np.ndarray) -> Figures:
        """Figures of a numeric column on these rows."""
        if not self.alive["before"]:
            return Figures(before=nothing(), after=nothing())
        low, high = float(x.min()), float(x.max())
        if low == high:
            none = {"mean_treated": low, "mean_comparison": low, "smd": 0.0, "variance_ratio": _NAN, "ks": 0.0,
                    "ecdf_mean": 0.0}  # fmt: skip
            return Figures(before=none, after=none if self.alive["after"] else nothing(), value=low,
                           remark=f"always {low:g}, so there is nothing to compare")  # fmt: skip
        if is_two_valued(x, low, high):
            is_high = x == high
            shares = [{s: float(w @ is_high[where]) for s, w in mine.items()}
                      for mine, where in zip(self.weights, self.at, strict=True)]  # fmt: skip
            return self.shares(shares[0], shares[1], low, high)
        return self._spread(x)

    def shares(self, treated: dict[str, float], comparison: dict[str, float], low=0.0, high=1.0) -> Figures:
        """Figures of a column of two values, from each arm's share of the higher one."""
        span = high - low
        own, other = (p["before"] * (1 - p["before"]) for p in (treated, comparison))
        both = max(treated["before"], comparison["before"]), min(treated["before"], comparison["before"])
        if not self.alive["before"]:
            return Figures(before=nothing(), after=nothing())
        rounding = 1e-11  # shares are sums of weights: 1 - 1e-13 is all of a million
        scale, remark = self._scale(own if own > rounding else 0.0, other if other > rounding else 0.0)
        out = {}
        for s in SAMPLES:
            gap = treated[s] - comparison[s]
            out[s] = nothing() if not self.alive[s] else {
                "mean_treated": low + span * treated[s], "mean_comparison": low + span * comparison[s],
                "smd": _smd(gap, scale, rounding), "variance_ratio": _NAN, "ks": abs(gap), "ecdf_mean": abs(gap),
            }  # fmt: skip
        flat = both[0] < rounding or both[1] > 1 - rounding
        value = None if not flat else low if both[0] < rounding else high
        if value is not None:
            remark = f"always {value:g}, so there is nothing to compare"
        return Figures(before=out["before"], after=out["after"], value=value, remark=remark)

    def _spread(self, x: np.ndarray) -> Figures:
        means, variances = ({}, {}), ({}, {})  # type: ignore[var-annotated]
        for arm, (where, mine) in enumerate(zip(self.at, self.weights, strict=True)):
            own = x[where]
            for s, w in mine.items():
                mean = float(w @ own)
                apart = own - mean
                reliability = self._reliability[arm, s]
                means[arm][s] = mean
                variances[arm][s] = float(w @ (apart * apart)) / reliability if reliability > 1e-12 else _NAN
        size = max(abs(float(x.min())), abs(float(x.max())))
        own, other = variances[0]["before"], variances[1]["before"]
        own, other = own if own == own else other, other if other == other else own  # one unit alone has no spread
        scale, remark = self._scale(*(v if v > (_SAME * size) ** 2 else 0.0 for v in (own, other)))
        largest, average = self._distances(x)
        out = {}
        for k, s in enumerate(SAMPLES):
            spread = variances[1][s]
            out[s] = nothing() if not self.alive[s] else {
                "mean_treated": means[0][s], "mean_comparison": means[1][s],
                "smd": _smd(means[0][s] - means[1][s], scale, _SAME * size),
                "variance_ratio": variances[0][s] / spread if spread > (_SAME * size) ** 2 else _NAN,
                "ks": largest[k], "ecdf_mean": average[k],
            }  # fmt: skip
        return Figures(before=out["before"], after=out["after"], remark=remark)

    def _scale(self, own: float, other: float) -> tuple[float, str]:
        """SD in the original sample, and what to say when it is not the one expected."""
        pooled = float(np.sqrt((own + other) / 2))
        if own == 0 and other == 0:
            return 0.0, "constant within both arms, at different values: no number of SDs tells how far apart"
        if own == 0 and not self.pooled:
            return pooled, "the treated do not vary, so the SD is the pooled one"
        return (pooled if self.pooled else float(np.sqrt(own))), ""

    def _distances(self, x: np.ndarray) -> tuple[list[float], list[float]]:
        """Largest and mean distance of the distribution functions, before and after, over the distinct values."""
        order = np.argsort(x)
        ordered = x[order]
        last = np.append(ordered[1:] != ordered[:-1], True)  # the distribution functions jump here
        apart = np.cumsum(self.signed[order])
        if not last.all():
            apart = apart[last]
        distances = [np.abs(part) for part in (apart.real, apart.imag)]
        return [float(d.max()) for d in distances], [float(d.mean()) for d in distances]


def is_two_valued(x: np.ndarray, low: float, high: float) -> bool:
    """Nothing but the two: the first thousand rows answer for most columns."""
    return all(bool(((part == low) | (part == high)).all()) for part in (x[:1000], x))


def nothing() -> dict[str, float]:
    return dict.fromkeys(("mean_treated", "mean_comparison", "smd", "variance_ratio", "ks", "ecdf_mean"), _NAN)


def _smd(gap: float, scale: float, rounding: float) -> float:
    if scale > 0:
        return gap / scale
    return 0.0 if abs(gap) <= rounding else float(np.copysign(np.inf, gap))
