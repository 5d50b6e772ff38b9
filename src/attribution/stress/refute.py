"""DoWhy's refuters with our own designs and estimators plugged in: does the estimate survive what should not matter?

None of these checks ever raises the grade of a finding: they cannot see what nobody measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from functools import partial
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from ..design.match import match
from ..design.table import require_columns, to_pandas
from ..errors import AttributionError, DesignError, attempt
from ..estimate.att import att
from ..estimate.sample import numeric, refuse_treatment
from ..results import Check, Design
from ..results.tables import amount
from .graph import quiet_dowhy

Kind = Literal["placebo", "random_common_cause", "subset", "bootstrap", "dummy_outcome"]
KINDS: tuple[Kind, ...] = get_args(Kind)
_OUTCOME, _DUMMY = "outcome of the refuter", "dummy_outcome"  # the second is DoWhy's name
_MATCHING = ("nearest", "optimal", "full", "cardinality")


def refute(
    units: Any, treatment: str, *, outcome: Any, build: Callable[..., Design], estimate: Callable[..., Any] = att,
    kinds: Sequence[Kind] | None = None, n: int = 20, seed: int = 0, data: pd.DataFrame | None = None,
    fraction: float = 0.8, largest_shift: float = 2.0,
) -> tuple[Check, ...]:  # fmt: skip
    """Refit the whole analysis on data that were tampered with on purpose: it must find nothing, or the same again.

    Estimand : that of `estimate` on the tampered data; zero by construction, or the estimate itself.
    Assumes : units are exchangeable. Nothing here sees what nobody recorded, so no kind can raise a grade.
    Estimator : DoWhy's refuters make the data; every draw refits everything that `build` and `estimate` do (score,
        design, effect). DoWhy's own propensity estimators keep the first score, so their placebo fails on a sound one.

    - placebo: the treatment is dealt out again at random. The effect must be zero.
    - dummy_outcome: the outcome is dealt out again at random. The effect must be zero.
    - random_common_cause: a normal random covariate joins the design. The estimate must stay. Not for exact cells.
    - subset: a random `fraction` of the units. The estimate must stay.
    - bootstrap: as many units, drawn with replacement. The estimate must stay, and vary as its standard error says.
      Refused for matching, where it is invalid (Abadie & Imbens 2008).

    Std. errors : Monte-Carlo errors of the mean of the refits.
    Verdict : failed if the mean of the refits is more than 4 Monte-Carlo standard errors from zero (first two), if it
        has moved by more than `largest_shift` standard errors of the estimate (the others), or if bootstrap estimates
        vary, beyond Monte-Carlo error, more than 1.5 times as much as the standard error. Otherwise no fault was found,
        never passed.
    Edge cases : a draw in which no honest design exists (no overlap by chance) is counted, not hidden. NumPy's global
        random state is left as it was found.
    Checked : reference/match refuters_lalonde (Monte-Carlo bands of IPW).

    Parameters
    ----------
    units : table, one row a unit. treatment : its 0/1 column. outcome, data : as `att`.
    build : called as build(units, treatment), with covariates= for a random common cause; usually
        functools.partial(at.match, covariates=[...], caliper_sd=0.2), or the same of `stratify` or `weight`.
    estimate : called as estimate(design, outcome as an array). kinds : None is all that are valid for the design.
    n : refits a kind. seed : of the draws. fraction : of the units in a subset.
    largest_shift : in standard errors of the estimate; one nearest match is a single draw among many nearly as good, so
        shifts of a whole standard error happen without any fault.

    Returns
    -------
    One Check a kind, in the order asked for; its table holds the refitted effects (missing: no design).
    """
    units = to_pandas(units)
    if unknown := [kind for kind in kinds or () if kind not in KINDS]:
        raise DesignError(f"kinds among {', '.join(KINDS)}", ", ".join(map(repr, unknown)), "choose among these")
    if n < 2 or not 0 < fraction < 1:
        raise DesignError("n of at least 2 and a fraction between 0 and 1", f"n = {n}, fraction = {fraction}",
                          "20 refits show a gross fault, some hundreds a small one")  # fmt: skip
    design = build(units, treatment)
    for kind in kinds or ():
        _refuse_invalid(kind, design)
    y = _values(units, treatment, outcome, data)
    if estimate is att:
        estimate = partial(att, tie_orders=0)  # refits are compared by their estimates: ranges over ties would be lost
    effect = estimate(design, y)
    value, std_error = float(effect.estimate[0]), float(effect.std_error[0])
    say = partial(amount, unit=getattr(effect, "unit", ""))
    checks = []
    for kind in kinds or [kind for kind in KINDS if attempt(_refuse_invalid, kind, design)[1] == ""]:
        draws = _draws(kind, units, y, design, value, build, estimate, n, seed, fraction)
        good = draws[np.isfinite(draws)]
        if len(good) < 2:
            raise DesignError("at least two refits for which a design exists", f"{len(good)} of {n} ({kind})",
                              "use more units or fewer covariates")  # fmt: skip
        judge = _must_vanish if kind in ("placebo", "dummy_outcome") else _must_stay
        checks.append(judge(kind, good, draws, value, std_error, largest_shift, say))
    return tuple(checks)


def placebo_treatment(
    units: pd.DataFrame, treatment: str, *, outcome: Any, covariates: Sequence[str], n: int = 20, seed: int = 0,
    data: pd.DataFrame | None = None, **options: Any,
) -> Check:  # fmt: skip
    """`refute(kinds=["placebo"])` of a matched design: with treatment dealt out at random, is nothing found?

    Estimator, Edge cases, Checked : see `refute`.

    Parameters
    ----------
    units, treatment, covariates, options : as `match`. outcome, data : as `att`. n : permutations. seed : of the draws.
    """
    build = partial(match, covariates=sorted(covariates), **options)
    return refute(units, treatment, outcome=outcome, build=build, kinds=["placebo"], n=n, seed=seed, data=data)[0]


def random_common_cause(
    units: pd.DataFrame, treatment: str, *, outcome: Any, covariates: Sequence[str], n: int = 20, seed: int = 0,
    data: pd.DataFrame | None = None, largest_shift: float = 2.0, **options: Any,
) -> Check:  # fmt: skip
    """`refute(kinds=["random_common_cause"])` of a matched design: does a meaningless covariate leave it alone?

    Estimator, Edge cases, Checked : see `refute`.

    Parameters
    ----------
    As `placebo_treatment`. largest_shift : as `refute`.
    """
    build = partial(match, covariates=sorted(covariates), **options)
    return refute(units, treatment, outcome=outcome, build=build, kinds=["random_common_cause"], n=n, seed=seed,
                  data=data, largest_shift=largest_shift)[0]  # fmt: skip


def _refuse_invalid(kind: Kind, design: Design) -> None:
    method = design.spec.get("method")
    if kind == "bootstrap" and (len(design.pairs) or method in _MATCHING):
        raise DesignError(
            "a design that a bootstrap can imitate",
            "matching: a unit drawn twice matches as no unit of the data does, so the spread over resamples is not the "
            "estimate's, however many units there are (Abadie & Imbens 2008)",
            "ask for subset instead, and take the standard error of the design",
        )  # fmt: skip
    if kind == "random_common_cause" and method == "exact":
        raise DesignError(
            "a design that can take a continuous covariate", "exact cells: the random covariate is different for "
            "every unit, so each would stand alone in its cell", "ask for subset instead",
        )  # fmt: skip


def _values(units: pd.DataFrame, treatment: str, outcome: Any, data: pd.DataFrame | None) -> np.ndarray:
    if not isinstance(outcome, str):
        return numeric(pd.Series(np.asarray(outcome)), "outcome")
    frame = units if data is None else data.loc[units.index]
    refuse_treatment(outcome, treatment)
    require_columns(frame, [outcome])
    return numeric(frame[outcome], outcome)


class _Refit:
    """A build and an estimate as DoWhy's refuters want them: every fit starts over from the units."""

    _effect_modifier_names: Sequence[str] = []
    _target_units = "att"

    def __init__(self, estimand: Any, base: Design, build: Any, estimate: Any, values: list[float]) -> None:
        self.estimand, self.base, self.build, self.estimate, self.values = estimand, base, build, estimate, values

    def get_new_estimator_object(self, estimand: Any, **_: Any) -> _Refit:
        return _Refit(estimand, self.base, self.build, self.estimate, self.values)

    def fit(self, data: pd.DataFrame, effect_modifier_names: Any = None, **_: Any) -> _Refit:
        return self

    def estimate_effect(self, data: pd.DataFrame, **_: Any) -> Any:
        self.values.append(self._value(data.reset_index(drop=True)))
        return type("Value", (), {"value": self.values[-1]})()

    def _value(self, rows: pd.DataFrame) -> float:
        treatment, key = self.base.treatment, self.base.spec.get("key")
        if key and rows[key].duplicated().any():  # drawn twice: two units of their own
            rows = rows.sort_values(key, kind="stable", ignore_index=True).assign(**{key: range(len(rows))})
        y = rows[self.estimand.outcome_variable[0]].to_numpy(dtype=float)
        if (dealt := self.estimand.treatment_variable[0]) != treatment:
            rows = rows.assign(**{treatment: rows[dealt]}).drop(columns=dealt)
        added = [name for name in self.estimand.get_adjustment_set() if name not in self.base.covariates]
        options = {"covariates": [*self.base.covariates, *added]} if added else {}
        try:
            design = self.build(rows.drop(columns=[_OUTCOME, _DUMMY], errors="ignore"), treatment, **options)
            return float(self.estimate(design, y).estimate[0])
        except AttributionError:  # a shuffled sample without overlap: counted, not hidden
            return float("nan")


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Two of DoWhy's refuters draw from NumPy's global state: seeded for them, and put back."""
    state = np.random.get_state()  # noqa: NPY002
    np.random.seed(seed)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002


def _draws(
    kind: Kind, units: pd.DataFrame, y: np.ndarray, design: Design, value: float, build: Any, estimate: Any, n: int,
    seed: int, fraction: float,
) -> np.ndarray:  # fmt: skip
    """(n,) effects refitted by one of DoWhy's refuters."""
    frame = units.assign(**{_OUTCOME: y})  # DoWhy adds columns to what it is given
    values: list[float] = []
    with quiet_dowhy(), _seeded(seed):
        from dowhy.causal_estimator import CausalEstimate
        from dowhy.causal_identifier.identified_estimand import IdentifiedEstimand
        from dowhy.causal_refuters.bootstrap_refuter import refute_bootstrap
        from dowhy.causal_refuters.data_subset_refuter import refute_data_subset
        from dowhy.causal_refuters.dummy_outcome_refuter import refute_dummy_outcome
        from dowhy.causal_refuters.placebo_treatment_refuter import PlaceboType, refute_placebo_treatment
        from dowhy.causal_refuters.random_common_cause import refute_random_common_cause

        treatment = design.treatment
        estimand = IdentifiedEstimand(
            None, treatment_variable=[treatment], outcome_variable=[_OUTCOME],
            backdoor_variables={"backdoor": list(design.covariates)}, default_backdoor_id="backdoor",
        )  # fmt: skip
        estimand.set_identifier_method("backdoor")
        found = CausalEstimate(
            data=frame, treatment_name=[treatment], outcome_name=[_OUTCOME], estimate=value, target_estimand=estimand,
            realized_estimand_expr=None, control_value=0, treatment_value=1,
        )  # fmt: skip
        found.add_estimator(_Refit(estimand, design, build, estimate, values))
        given = (frame, deepcopy(estimand), found)
        common: dict[str, Any] = {"num_simulations": n, "random_state": np.random.RandomState(seed), "n_jobs": 1,
                                  "show_progress_bar": False}  # fmt: skip
        if kind == "placebo":
            refute_placebo_treatment(*given, [treatment], placebo_type=PlaceboType.PERMUTE, **common)
        elif kind == "random_common_cause":
            refute_random_common_cause(*given, **common)
        elif kind == "subset":
            refute_data_subset(*given, subset_fraction=fraction, **common)
        elif kind == "bootstrap":
            refute_bootstrap(*given, required_variables=False, **common)  # resampling alone, no noise on the covariates
        else:
            # no noise is added: that step copies, and what the shuffle returns may be read-only
            shuffle = [("permute", {"permute_fraction": 1}), ("noise", {"std_dev": 0.0})]
            refute_dummy_outcome(*given, [treatment], _OUTCOME, required_variables=True, transformation_list=shuffle,
                                 **common)  # fmt: skip
    return np.array(values)


def _must_vanish(kind, good, draws, value, std_error, largest_shift, say) -> Check:
    mean, spread = float(good.mean()), float(good.std(ddof=1))
    error = spread / np.sqrt(len(good))
    passed = False if abs(mean) > 4 * error else None
    what = "treatment" if kind == "placebo" else "outcome"
    name = "placebo treatment" if kind == "placebo" else "dummy outcome"
    verdict = ("is not zero, as it should be: the procedure itself is at fault" if passed is False
               else "is compatible with zero")  # fmt: skip
    text = (f"With the {what} dealt out at random, {len(good)} of {len(draws)} refits: mean effect "
            f"{say(mean)} (Monte-Carlo standard error {say(error)}) {verdict}; their spread is {say(spread)}, the "
            f"estimate's standard error {say(std_error)}.")  # fmt: skip
    return _check(name, f"Does a shuffled {what} show no effect?", mean, error, 4 * error, passed, text, draws)


_STAYS = {
    "random_common_cause": ("random common cause", "Does a meaningless covariate leave the estimate alone?",
                            "A random covariate"),
    "subset": ("data subset", "Is the estimate the same on part of the data?", "Leaving out some units at random"),
    "bootstrap": ("bootstrap", "Does the estimate vary as its standard error says?", "Resampling the units"),
}  # fmt: skip


def _must_stay(kind, good, draws, value, std_error, largest_shift, say) -> Check:
    name, question, cause = _STAYS[kind]
    shift, spread = float(good.mean()) - value, float(good.std(ddof=1))
    limit = largest_shift * std_error
    passed = False if abs(shift) > limit else None
    text = (f"{cause} moves the estimate from {say(value)} by {say(shift)} on average over {len(good)} of "
            f"{len(draws)} refits ({abs(shift) / std_error:.2f} standard errors; {largest_shift:g} would be too many); "
            f"their spread is {say(spread)}, the estimate's standard error {say(std_error)}.")  # fmt: skip
    if kind == "bootstrap" and spread / std_error > 1.5 * (1 + 4 / np.sqrt(2 * (len(good) - 1))):
        passed = False
        text += f" The standard error is too small: resamples vary {spread / std_error:.1f} times as much."
    return _check(name, question, shift, spread / np.sqrt(len(good)), limit, passed, text, draws)


def _check(name, question, statistic, std_error, threshold, passed, text, draws) -> Check:
    return Check(
        name=name, question=question, statistic=statistic, std_error=float(std_error), threshold=threshold,
        passed=passed, text=text, table=pd.DataFrame({"draw": range(len(draws)), "effect": draws}), only_lowers=True,
    )  # fmt: skip
