"""DoWhy asked twice: does the causal graph allow the design, and does the estimate survive what should not matter?

None of these checks ever raises the grade of a finding: they cannot see what nobody measured.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import pandas as pd

from ..design.match import match
from ..errors import AttributionError, DesignError
from ..estimate.att import att
from ..results import Check


@contextmanager
def _quiet_dowhy() -> Iterator[None]:
    """DoWhy without its side effects: no LaTeX floats in notebooks, no progress bars, no chatter."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import dowhy  # noqa: F401
        import sympy

        sympy.init_printing(pretty_print=False)
        logger = logging.getLogger("dowhy")
        level = logger.level
        logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logger.setLevel(level)


def adjustment_set(
    graph: str, treatment: str, outcome: str, *, covariates: Sequence[str],
    columns: Mapping[str, Sequence[str]] | None = None,
) -> Check:  # fmt: skip
    """Do the design's covariates close every back door of the study's causal graph?

    A covariate set identifies the effect when it holds no descendant of the treatment and separates treatment and
    outcome once the treatment's own arrows are cut (Pearl 1995; van der Zander et al. 2014). DoWhy's graph functions
    are used: its identification tries sets one by one and takes exponential time in the common causes.

    Parameters
    ----------
    graph : DOT text. A node may carry `observed="no"`, and `columns="employed_lag_* age"` when it stands for several
        columns of the data (names or patterns). treatment, outcome : its nodes.
    covariates : columns the design uses (matching and exact). columns : node -> names or patterns, instead of the
        attribute in the graph.

    Returns
    -------
    Check "adjustment set"; `passed` True when the graph, taken as true, identifies the effect with these covariates.
    Its table has one row a node: role, observed, in the design, needed.

    Raises
    ------
    DesignError : a covariate is a consequence of the treatment (a mediator, or the outcome's consequence), or a
        collider that opens a path; the graph has a cycle or lacks treatment or outcome.
    """
    with _quiet_dowhy():
        from dowhy.graph import (  # fmt: skip
            build_graph_from_str,
            check_valid_backdoor_set,
            do_surgery,
            get_ancestors,
            get_descendants,
            get_instruments,
            has_cycle,
        )

        g = build_graph_from_str(graph)
        for node in (treatment, outcome):
            if node not in g:
                raise DesignError("treatment and outcome as nodes of the graph", f"no node {node!r}",
                                  "correct the graph", column="graph.dot", keys=sorted(g.nodes))  # fmt: skip
        if has_cycle(g):
            raise DesignError("a causal graph without cycles", "a cycle", "give the two moments their own nodes",
                              column="graph.dot")  # fmt: skip
        nodes = sorted(set(g.nodes) - {treatment, outcome})
        unseen = {n for n in nodes if _attribute(g, n, "observed").lower() in ("no", "false", "0")}
        patterns = {n: list((columns or {}).get(n, ())) or _attribute(g, n, "columns").replace(",", " ").split() or [n]
                    for n in nodes}  # fmt: skip
        stands = {n: [c for c in covariates if any(fnmatchcase(c, p) for p in patterns[n])] for n in nodes}
        used = {n for n in nodes if stands[n] and n not in unseen}
        after = get_descendants(g, [treatment])
        bad = sorted(used & after)
        if bad:
            between = bad[0] in get_ancestors(g, [outcome])
            why = "the treatment acts through it" if between else "it is a consequence of the treatment"
            raise DesignError(
                "covariates fixed before treatment",
                f"{bad[0]} lies after {treatment} in the causal graph: {why}, so holding it fixed "
                "hides part of the effect",
                "leave it out of the design", column=stands[bad[0]][0], count=len(bad), keys=bad,
            )  # fmt: skip
        cut = do_surgery(g, [treatment], remove_outgoing_edges=True)

        def closes(chosen: Collection[str]) -> bool:
            return bool(check_valid_backdoor_set(g, [treatment], [outcome], chosen, new_graph=cut)["is_dseparated"])

        ok = closes(used)
        candidates = sorted((get_ancestors(g, [treatment, outcome]) - after - unseen - {treatment, outcome}) | set())
        possible = closes(candidates)
        if not ok:
            opening = [n for n in sorted(used) if closes(used - {n})]
            if opening:
                raise DesignError(
                    "covariates that open no path", f"{opening[0]} is a collider: two causes meet in it, and holding "
                    "it fixed makes them move together", "leave it out of the design", column=stands[opening[0]][0],
                    count=len(opening), keys=opening,
                )  # fmt: skip
        needed: set[str] = set(candidates)
        if possible:
            for node in sorted(candidates, key=lambda n: (n in used, n)):  # keep what the design has, where it suffices
                if closes(needed - {node}):
                    needed -= {node}
        instruments = set(get_instruments(g, [treatment], [outcome]))
        roles = {n: _role(n, after, instruments, unseen, get_ancestors(g, [treatment]), get_ancestors(g, [outcome]))
                 for n in nodes}  # fmt: skip
    table = pd.DataFrame({
        "node": nodes, "role": [roles[n] for n in nodes], "observed": [n not in unseen for n in nodes],
        "in_design": [n in used for n in nodes], "needed": [possible and n in needed for n in nodes],
        "columns": [", ".join(stands[n]) for n in nodes],
    })  # fmt: skip
    strangers = sorted(set(covariates) - {c for found in stands.values() for c in found})
    missing = sorted(needed - used) if possible else []
    if ok:
        text = f"If the graph is true, the design closes every back door ({', '.join(sorted(used)) or 'none is open'})."
    elif possible:
        text = f"The design leaves a back door open: {', '.join(missing)} should be among the covariates."
    else:
        blame = [n for n in sorted(unseen) if roles[n] == "unobserved common cause"]
        text = (f"No observed covariates can close every back door ({', '.join(blame) or 'unobserved causes'} cannot "
                "be seen): the estimate leans on what is assumed about them.")  # fmt: skip
    if instrument_used := sorted(instruments & used):
        text += f" {', '.join(instrument_used)} moves only the treatment: it adds noise and amplifies hidden bias."
    if strangers:
        text += f" Not in the graph: {', '.join(strangers)}."
    return Check(
        name="adjustment set", question="Does the causal graph allow this comparison?", statistic=float(len(missing)),
        std_error=None, threshold=0.0, passed=bool(ok), text=text, table=table,
    )  # fmt: skip


def _attribute(graph: Any, node: str, name: str) -> str:
    return str(graph.nodes[node].get(name, "")).strip('"')


def _role(node, after, instruments, unseen, causes_t, causes_y) -> str:
    if node in after:
        return "mediator" if node in causes_y else "consequence of treatment"
    if node in causes_t and node in causes_y and node not in instruments:
        return "unobserved common cause" if node in unseen else "common cause"
    if node in instruments:
        return "instrument"
    return "cause of the outcome" if node in causes_y else "cause of treatment" if node in causes_t else "other"


class _Refit:
    """Our estimator as DoWhy's refuters want it. Every fit starts over: propensity, matching, then the ATT.

    DoWhy's own propensity estimators keep the first score, so their placebo fails on a sound estimate.
    """

    def __init__(self, estimand: Any, outcome: np.ndarray, options: Mapping[str, Any], values: list[float]) -> None:
        self.estimand, self.outcome, self.options, self.values = estimand, outcome, options, values
        self._effect_modifier_names: list[str] = []
        self._target_units = "att"

    def get_new_estimator_object(self, estimand: Any, **_: Any) -> _Refit:
        return _Refit(estimand, self.outcome, self.options, self.values)

    def fit(self, data: pd.DataFrame, effect_modifier_names: Any = None, **_: Any) -> _Refit:
        return self

    def estimate_effect(self, data: pd.DataFrame, **_: Any) -> Any:
        treatment = self.estimand.treatment_variable[0]
        covariates = sorted(self.estimand.get_adjustment_set())
        try:
            design = match(data, treatment, covariates=covariates, **self.options)
            value = float(att(design, self.outcome).estimate[0])
        except AttributionError:  # a shuffled sample without overlap: counted, not hidden
            value = float("nan")
        self.values.append(value)
        return type("Value", (), {"value": value})()


def _refuter(
    kind: str, units: pd.DataFrame, treatment: str, outcome: Any, covariates: Sequence[str], n: int, seed: int,
    data: pd.DataFrame | None, options: Mapping[str, Any],
) -> tuple[float, float, np.ndarray]:  # fmt: skip
    """(estimate, standard error, refitted estimates) from one of DoWhy's refuters with our estimator plugged in."""
    base = att(match(units, treatment, covariates=sorted(covariates), **options), outcome, data=data)
    if isinstance(outcome, str):
        frame = units if data is None else data.loc[units.index]
        y = frame[outcome].to_numpy(dtype=float, na_value=np.nan)
    else:
        y = np.asarray(outcome, float)
    keep = [
        treatment,
        *covariates,
        *options.get("exact", ()),
        *(options[k] for k in ("key", "person") if options.get(k)),
    ]
    frame = units[list(dict.fromkeys(keep))].copy()  # DoWhy adds columns to what it is given
    values: list[float] = []
    with _quiet_dowhy():
        from dowhy.causal_estimator import CausalEstimate
        from dowhy.causal_identifier.identified_estimand import IdentifiedEstimand
        from dowhy.causal_refuters.placebo_treatment_refuter import PlaceboType, refute_placebo_treatment
        from dowhy.causal_refuters.random_common_cause import refute_random_common_cause

        estimand = IdentifiedEstimand(
            None, treatment_variable=[treatment], outcome_variable=["outcome"],
            backdoor_variables={"backdoor": sorted(covariates)}, default_backdoor_id="backdoor",
        )  # fmt: skip
        estimand.set_identifier_method("backdoor")
        estimate = CausalEstimate(
            data=frame, treatment_name=[treatment], outcome_name=["outcome"], estimate=float(base.estimate[0]),
            target_estimand=estimand, realized_estimand_expr=None, control_value=0, treatment_value=1,
        )  # fmt: skip
        estimate.add_estimator(_Refit(estimand, y, dict(options), values))
        state = np.random.RandomState(seed)
        common = {"num_simulations": n, "random_state": state, "n_jobs": 1, "show_progress_bar": False}
        if kind == "placebo":
            refute_placebo_treatment(frame, deepcopy(estimand), estimate, [treatment],
                                     placebo_type=PlaceboType.PERMUTE, **common)  # fmt: skip
        else:
            refute_random_common_cause(frame, deepcopy(estimand), estimate, **common)
    return float(base.estimate[0]), float(base.std_error[0]), np.array(values)


def placebo_treatment(
    units: pd.DataFrame, treatment: str, *, outcome: Any, covariates: Sequence[str], n: int = 20, seed: int = 0,
    data: pd.DataFrame | None = None, **options: Any,
) -> Check:  # fmt: skip
    """With treatment dealt out at random, does the whole procedure find nothing, as it must?

    DoWhy's placebo refuter permutes the treatment over the units; propensity, matching and ATT are refitted each time.
    Failed: the mean of the `n` placebo effects is more than 4 Monte-Carlo standard errors from zero. Otherwise no
    verdict: this finds faults in the procedure, never hidden confounding, and raises no grade.

    Parameters
    ----------
    units, treatment, covariates, options : as `match`. outcome, data : as `att`. n : permutations. seed : of the draws.
    """
    estimate, std_error, draws = _refuter("placebo", units, treatment, outcome, covariates, n, seed, data, options)
    good = draws[np.isfinite(draws)]
    if len(good) < 2:
        raise DesignError(
            "at least two placebo designs that can be built",
            f"{len(good)} of {n}",
            "use more units or fewer covariates",
        )
    mean, spread = float(good.mean()), float(good.std(ddof=1))
    error = spread / np.sqrt(len(good))
    passed = False if abs(mean) > 4 * error else None
    verdict = (
        "is not zero, as it should be: the procedure itself is at fault"
        if passed is False
        else "is compatible with zero"
    )
    text = (f"Placebo treatment, {len(good)} of {n} refits: mean effect {mean:,.3g} (Monte-Carlo standard error "
            f"{error:,.3g}) {verdict}; their spread is {spread:,.3g}, "
            f"the estimate's standard error {std_error:,.3g}.")  # fmt: skip
    return Check(
        name="placebo treatment", question="Does a shuffled treatment show no effect?", statistic=mean, std_error=error,
        threshold=4 * error, passed=passed, text=text, table=pd.DataFrame({"draw": range(len(draws)), "effect": draws}),
    )  # fmt: skip


def random_common_cause(
    units: pd.DataFrame, treatment: str, *, outcome: Any, covariates: Sequence[str], n: int = 20, seed: int = 0,
    data: pd.DataFrame | None = None, largest_shift: float = 2.0, **options: Any,
) -> Check:  # fmt: skip
    """Does the estimate stay where it is when a meaningless covariate joins the design?

    DoWhy's refuter adds a normal random covariate; propensity, matching and ATT are refitted each time. Failed: the
    mean of the refitted effects is more than `largest_shift` standard errors from the estimate. Otherwise no verdict.

    Parameters
    ----------
    As `placebo_treatment`. largest_shift : in standard errors of the estimate; one nearest match is a single draw among
        many nearly as good, so shifts of a whole standard error happen without any fault.
    """
    estimate, std_error, draws = _refuter("random", units, treatment, outcome, covariates, n, seed, data, options)
    good = draws[np.isfinite(draws)]
    if len(good) < 2:
        raise DesignError("at least two designs with a random covariate", f"{len(good)} of {n}", "use more units")
    shift = float(good.mean()) - estimate
    error = float(good.std(ddof=1) / np.sqrt(len(good)))
    limit = largest_shift * std_error
    passed = False if abs(shift) > limit else None
    text = (f"A random covariate moves the estimate from {estimate:,.3g} by {shift:,.3g} on average over {len(good)} "
            f"refits ({abs(shift) / std_error:.2f} standard errors; {largest_shift:g} would be too many).")  # fmt: skip
    return Check(
        name="random common cause", question="Does a meaningless covariate leave the estimate alone?", statistic=shift,
        std_error=error, threshold=limit, passed=passed, text=text,
        table=pd.DataFrame({"draw": range(len(draws)), "effect": draws}),
    )  # fmt: skip
