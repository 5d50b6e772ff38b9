"""The study's causal graph asked twice: does it allow the design, and do the data contradict it?

Neither answer ever raises the grade of a finding: a graph is what its author believes, and data can only refute it.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from fnmatch import fnmatchcase
from io import StringIO
from itertools import combinations
from typing import Any, Literal

import numpy as np
import pandas as pd

from ..design.table import to_pandas
from ..errors import DesignError, check_level, spelling
from ..results import Check
from .independence import partial_correlations

Columns = Mapping[str, Sequence[str]]


@contextmanager
def quiet_dowhy() -> Iterator[None]:
    """DoWhy without its side effects: no LaTeX floats in notebooks, no progress bars, no chatter."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import dowhy  # noqa: F401
        import sympy

        sympy.init_printing(pretty_print=False)
        logger = logging.getLogger("dowhy")
        level = logger.level
        logger.setLevel(logging.CRITICAL)  # a missing optional reader of graphs is an error to it
        try:
            yield
        finally:
            logger.setLevel(level)


@dataclass(frozen=True)
class _Graph:
    """A parsed graph: DoWhy's, the names of its nodes, those nobody records, and the columns each stands for."""

    arrows: Any
    nodes: tuple[str, ...]
    unseen: frozenset[str]
    patterns: Mapping[str, Sequence[str]]

    def stands(self, names: Sequence[str]) -> dict[str, list[str]]:
        """node -> which of the names it stands for, in their order."""
        return {n: [c for c in names if any(fnmatchcase(str(c), p) for p in self.patterns[n])] for n in self.nodes}


_FOREIGN = {  # what DoWhy's reader drops or turns without a word
    r"<->": "a <-> that DoWhy's reader drops without a word", r"--": "a line without direction",
    r"\bsubgraph\b": "a subgraph, whose arrows DoWhy's reader drops without a word",
    r"\bdir\s*=(?!\s*forward\b)": "an arrow with dir=, which DoWhy's reader takes for forward",
    r":": "a port (a:n), whose arrows DoWhy's reader gives to another node",
    r"\bdigraph\b.*\bdigraph\b": "a second digraph, which DoWhy's reader drops without a word",
}  # fmt: skip


def _read(dot: str, columns: Columns | None) -> _Graph:
    import networkx as nx
    from dowhy.graph import build_graph_from_str, has_cycle

    if not isinstance(dot, str):
        raise DesignError("a causal graph in DOT", f"a {type(dot).__name__}",
                          'give text such as "digraph { cause -> effect; }"', column="graph.dot")  # fmt: skip
    plain = re.sub(r"(?m)(^|[\s;{}])//.*$", r"\1", dot)  # DoWhy joins the lines, so a comment would swallow the rest
    words = re.sub(r"/\*.*?\*/", " ", re.sub(r'"[^"]*"', "name", plain), flags=re.DOTALL)
    for sign, found in _FOREIGN.items():
        if re.search(sign, words, flags=re.DOTALL):
            raise DesignError("arrows from a cause to its effect", found,
                              "write one arrow after the other; a hidden common cause is a node of its own: "
                              'u [observed="no"]; u -> a; u -> b;', column="graph.dot")  # fmt: skip
    if not re.match(r"\s*(strict\s+)?digraph\b", words):
        raise DesignError("a causal graph in DOT", "text without digraph, which cannot be read as a graph",
                          "write arrows as digraph { cause -> effect; }", column="graph.dot")  # fmt: skip
    try:
        with redirect_stdout(StringIO()):  # the reader prints the whole text before it fails
            g = build_graph_from_str(plain)
    except Exception as error:
        raise DesignError("a causal graph in DOT", "text that cannot be read as a graph",
                          "write arrows as digraph { cause -> effect; }", column="graph.dot") from error  # fmt: skip
    if has_cycle(g):
        loop = [a for a, _ in nx.find_cycle(g)]
        raise DesignError("a causal graph without cycles", f"a cycle, {' -> '.join([*loop, loop[0]])}",
                          "give the two moments their own nodes", column="graph.dot")  # fmt: skip
    nodes = tuple(sorted(g.nodes))
    unseen = frozenset(n for n in nodes if _attribute(g, n, "observed").lower() in ("no", "false", "0"))
    if not isinstance(columns or {}, Mapping):
        raise DesignError("columns by node", f"a {type(columns).__name__}", 'give {"node": ["column", "pattern_*"]}')
    _known(list(columns or ()), nodes, "columns= of nodes of the graph")
    patterns = {n: list((columns or {}).get(n, ())) or _attribute(g, n, "columns").replace(",", " ").split() or [n]
                for n in nodes}  # fmt: skip
    return _Graph(g, nodes, unseen, patterns)


def _known(names: Sequence[str], nodes: Sequence[str], required: str) -> None:
    if absent := [name for name in names if name not in nodes]:
        raise DesignError(required, f"no node {absent[0]!r}", spelling(absent[0], nodes, what="the nodes are"),
                          column="graph.dot")  # fmt: skip


def _attribute(graph: Any, node: str, name: str) -> str:
    return str(graph.nodes[node].get(name, "")).strip('"')


def adjustment_set(
    graph: str, treatment: str, outcome: str, *, covariates: Sequence[str], columns: Columns | None = None,
    instruments: Literal["refuse", "allow"] = "refuse",
) -> Check:  # fmt: skip
    """Do the design's covariates close every back door of the study's causal graph? Estimates nothing.

    Estimand : none; whether these covariates identify the total effect of treatment on the outcome, and which would.
    Assumes : that the graph is true: what it leaves out, the answer leaves out.
    Estimator : back-door criterion: the set holds no descendant of the treatment and separates treatment and outcome
        once the treatment's own arrows are cut (Pearl 1995; van der Zander et al. 2014). DoWhy's graph functions answer
        each question of separation, and the number of questions is linear in the nodes. Its identification as a whole
        tries sets one by one: like its "efficient" variants, it takes exponential time in the common causes.
    Std. errors : none.
    Edge cases : covariates that no node stands for are named in the text. `needed` is one sufficient set among the
        recorded nodes, with as much of the design's own as suffices; where none suffices, the unrecorded are named.
    Checked : DoWhy's exhaustive search on random graphs.

    Parameters
    ----------
    graph : DOT text. A node may carry `observed="no"`, and `columns="employed_lag_* age"` when it stands for several
        columns of the data (names or patterns). treatment, outcome : its nodes.
    covariates : columns the design uses (matching and exact). columns : node -> names or patterns, instead of the
        attribute in the graph.
    instruments : "allow" keeps a covariate that moves only the treatment, and says so in the text.

    Returns
    -------
    Check "adjustment set"; `passed` True when the graph, taken as true, identifies the effect with these covariates.
    Its table has one row a node: role, observed, in the design, needed. It can lower a grade, never raise it.

    Raises
    ------
    DesignError : a covariate is a consequence of the treatment (a mediator, or the outcome's consequence), a collider
        that opens a path, an instrument, the treatment or the outcome; the graph has a cycle, an arrow from outcome to
        treatment, `<->`, `--` or a subgraph, or lacks treatment or outcome.
    """
    covariates = [covariates] if isinstance(covariates, str) else list(covariates)
    if instruments not in ("refuse", "allow"):
        raise DesignError('instruments "refuse" or "allow"', f"{instruments!r}", "choose one of these")
    with quiet_dowhy():
        from dowhy.graph import (  # fmt: skip
            check_dseparation,
            check_valid_backdoor_set,
            do_surgery,
            get_ancestors,
            get_descendants,
        )

        read = _read(graph, columns)
        g, unseen = read.arrows, read.unseen
        _known([treatment, outcome], read.nodes, "treatment and outcome as nodes of the graph")
        _refuse_misplaced(read, treatment, outcome, covariates)
        nodes = [n for n in read.nodes if n not in (treatment, outcome)]
        stands = read.stands(covariates)
        used = {n for n in nodes if stands[n] and n not in unseen}
        after = get_descendants(g, [treatment])
        cut = do_surgery(g, [treatment], remove_outgoing_edges=True)
        causes_t, causes_y = get_ancestors(g, [treatment]), get_ancestors(cut, [outcome])
        _refuse_consequences(sorted(used & after), causes_y, treatment, stands)

        def closes(chosen: Collection[str]) -> bool:
            return bool(check_valid_backdoor_set(g, [treatment], [outcome], chosen, new_graph=cut)["is_dseparated"])

        ok = closes(used)
        candidates = sorted((causes_t | causes_y) - after - unseen - {treatment, outcome})
        possible = closes(candidates)
        # If any part of a set separates two nodes, then the part of it that causes either of them does: what is left
        # can only open paths. Where the design lacks a cause, all of them are put in before it is asked what opens.
        core = used & (causes_t | causes_y)
        for closed in (core, set(candidates)):
            if not ok and closes(closed) and not closes(closed | used):
                _refuse_colliders(closed, sorted(used - closed), closes, stands)
        only_treatment = {n for n in causes_t - causes_y if check_dseparation(cut, [n], [outcome], [])}
        moves_only = sorted(only_treatment & used)
        if moves_only and instruments == "refuse":
            raise DesignError(
                "covariates that bear on the outcome",
                f"{moves_only[0]} moves only the treatment (an instrument): holding it fixed takes away chance "
                "differences in who is treated, which widens the standard error and amplifies any hidden bias",
                'leave it out of the design, or pass instruments="allow"', column=stands[moves_only[0]][0],
                count=len(moves_only), keys=moves_only,
            )  # fmt: skip
        needed = set(candidates)
        if possible:
            never = set(g.predecessors(treatment)) & set(g.predecessors(outcome))  # nothing else stops them
            for node in sorted(needed - never, key=lambda n: (n in used, n)):  # keep what the design has if it suffices
                if closes(needed - {node}):
                    needed -= {node}
        roles = {n: _role(n, after, only_treatment, unseen, causes_t, causes_y) for n in nodes}
        hidden = [n for n in nodes if roles[n] == "unobserved common cause"]
        if possible:
            roles |= dict.fromkeys(hidden, "unobserved, its paths can be closed")
        blame = [n for n in hidden if not possible and not closes({*candidates, *hidden} - {n})] or hidden
    table = pd.DataFrame({
        "node": nodes, "role": [roles[n] for n in nodes], "observed": [n not in unseen for n in nodes],
        "in_design": [n in used for n in nodes], "needed": [possible and n in needed for n in nodes],
        "columns": [", ".join(stands[n]) for n in nodes],
    })  # fmt: skip
    strangers = sorted(set(covariates) - {c for found in stands.values() for c in found})
    missing = sorted(needed - used) if possible else []
    if ok:
        text = f"If the graph is true, the design closes every back door ({_some(sorted(used)) or 'none is open'})."
    elif possible:
        text = f"The design leaves a back door open: {_some(missing)} should be among the covariates."
    else:
        text = (f"No observed covariates can close every back door ({_some(blame) or 'unobserved causes'} cannot "
                "be seen): the estimate leans on what is assumed about them.")  # fmt: skip
    if moves_only:
        text += f" {_some(moves_only)} moves only the treatment: it adds noise and amplifies hidden bias."
    if strangers:
        text += f" Not in the graph: {_some(strangers)}; whether they may be held fixed it cannot say."
    return Check(
        name="adjustment set", question="Does the causal graph allow this comparison?", statistic=float(len(missing)),
        std_error=None, threshold=0.0, passed=bool(ok), text=text, table=table, only_lowers=True,
    )  # fmt: skip


def _refuse_misplaced(read: _Graph, treatment: str, outcome: str, covariates: Sequence[str]) -> None:
    """The graph or the design has treatment and outcome where neither can be."""
    from dowhy.graph import get_descendants

    if treatment == outcome:
        raise DesignError("two nodes, treatment and outcome", f"{treatment!r} as both", "name the outcome's own node",
                          column="graph.dot")  # fmt: skip
    if treatment in get_descendants(read.arrows, [outcome]):
        raise DesignError("treatment before outcome", f"{outcome} causes {treatment} in the causal graph: no covariate "
                          "undoes that", "turn the arrow, or give the earlier outcome a node of its own",
                          column="graph.dot")  # fmt: skip
    for node, what in ((treatment, "the treatment"), (outcome, "the outcome")):
        if found := read.stands(covariates)[node]:
            raise DesignError("covariates other than treatment and outcome", f"{found[0]} is {what} itself",
                              "leave it out of the design", column=found[0])  # fmt: skip


def _some(names: Sequence[str]) -> str:
    """Up to a dozen names, and how many more."""
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")


def _refuse_consequences(bad: list[str], causes_y: Collection[str], treatment: str, stands: Columns) -> None:
    if bad:
        why = "the treatment acts through it" if bad[0] in causes_y else "it is a consequence of the treatment"
        raise DesignError(
            "covariates fixed before treatment",
            f"{bad[0]} lies after {treatment} in the causal graph: {why}, so holding it fixed hides part of the effect",
            "leave it out of the design", column=stands[bad[0]][0], count=len(bad), keys=bad,
        )  # fmt: skip


def _refuse_colliders(core: set[str], others: list[str], closes: Any, stands: Columns) -> None:
    kept, bad = set(core), []
    for node in others:
        if closes(kept | {node}):
            kept.add(node)
        else:
            bad.append(node)
    raise DesignError(
        "covariates that open no path", f"{bad[0]} is a collider: two causes meet in it, and holding it fixed makes "
        "them move together", "leave it out of the design", column=stands[bad[0]][0], count=len(bad), keys=bad,
    )  # fmt: skip


def _role(node, after, only_treatment, unseen, causes_t, causes_y) -> str:
    if node in after:
        return "mediator" if node in causes_y else "consequence of treatment"
    if node in only_treatment:
        return "instrument"
    if node in causes_t and node in causes_y:
        return "unobserved common cause" if node in unseen else "common cause"
    return "cause of the outcome" if node in causes_y else "cause of treatment" if node in causes_t else "other"


def falsify_graph(
    units: Any, graph: str, *, columns: Columns | None = None, person: str | None = None, negligible: float = 0.05,
    level: float = 0.95,
) -> Check:  # fmt: skip
    """Do the data contradict an independence that the causal graph implies? Estimates no effect.

    Estimand : the rank correlation, given z, of every two recorded nodes that the graph says are independent given z.
    Assumes : rows, or with `person` all rows of one person together, are independent; `units` were not selected on a
        common consequence of two nodes (such selection makes independent causes move together).
    Estimator : for every two recorded nodes without an arrow between them, DoWhy's graph functions look for recorded
        nodes that separate them (van der Zander et al. 2014: their recorded causes do, or nothing does), kept minimal.
        Each such claim is held against the data by `partial_correlations`. Failed: a dependence larger than
        `negligible` is shown at `level` after Holm's correction over all claims (Holm 1979). Otherwise no verdict, and
        never passed: many graphs imply the same independences, and none of the claims speaks of causes nobody recorded.
    Std. errors : of the partial correlations, see there.
    Edge cases : a node is recorded when a column of `units` stands for it; without the outcome among the columns the
        check is blind to it. Rows with a missing value in a column of the graph are left out and counted. A column
        fixed by those it is held against, or a claim with fewer than 30 rows beyond its regressors, is not tested.
    Checked : Spearman's and within-cell correlations; one true family in twenty refuted in simulation.

    Parameters
    ----------
    units : one row a unit. graph : DOT text, as `adjustment_set`. columns : node -> names or patterns of columns
        ({"starts": ["treated"]}). person : column naming the person behind a row.
    negligible : largest partial correlation that is let pass, 0 to 1 (0.05 with the treatment is a difference of 0.1 SD
        where half are treated, 0.25 SD where one in 25 is). level : of all claims together.

    Returns
    -------
    Check "graph falsification"; statistic is the number of claims refuted. Its table has one row a claim and pair of
    columns: x, y, given, column_x, column_y, correlation, std_error, p_value (adjusted), refuted.

    Raises
    ------
    DesignError : text that is no graph, a cycle, `negligible` or `level` out of range.
    """
    check_level(level)
    units = to_pandas(units)
    if not 0 <= negligible < 1:
        raise DesignError("negligible between 0 and 1", f"{negligible}", "0.05 is common")
    with quiet_dowhy():
        read = _read(graph, columns)
        names = [c for c in units.columns if c != person]
        stands = {n: found for n, found in read.stands(names).items() if found and n not in read.unseen}
        claims = _claims(read.arrows, sorted(stands))
    wanted = list(dict.fromkeys(c for found in stands.values() for c in found))
    frame = units[wanted]
    whole = frame.notna().all(axis=1).to_numpy()
    group = None if person is None else units[person][whole]
    found = partial_correlations(
        frame[whole], [(stands[x], stands[y], [c for n in z for c in stands[n]]) for x, y, z in claims], group=group
    )
    table = pd.DataFrame([{"x": x, "y": y, "given": ", ".join(z)} for x, y, z in claims], columns=["x", "y", "given"])
    table = table.loc[found.pop("claim")].reset_index(drop=True).join(found)
    excess = (table["correlation"].abs() - negligible).clip(lower=0.0) / table["std_error"]
    table["p_value"] = _holm(excess.to_numpy(dtype=float))
    table["refuted"] = table["p_value"] < 1 - level
    table = table.sort_values(["p_value", "x", "y"], kind="stable", ignore_index=True)
    refuted = table[table["refuted"]].drop_duplicates(["x", "y"])
    lost = int((~whole).sum())
    tested = len(table.drop_duplicates(["x", "y"]))
    if not tested:
        text = ("The graph implies no independence among the recorded columns that these data could contradict: it is "
                "neither refuted nor supported.")  # fmt: skip
    elif len(refuted):
        worst = refuted.head(3)
        said = [f"{r['x']} and {r['y']}{' given ' + r['given'] if r['given'] else ''} (correlation "
                f"{r['correlation']:.2f})" for r in worst.to_dict("records")]  # fmt: skip
        text = (f"The data contradict {len(refuted)} of the {tested} independences that the graph implies: "
                f"{'; '.join(said)}{' and others' if len(refuted) > len(worst) else ''}. An arrow or a common cause is "
                "missing between them, or the records were selected on something both cause.")  # fmt: skip
    else:
        text = (f"None of the {tested} independences that the graph implies is contradicted by {int(whole.sum()):,} "
                f"records beyond a correlation of {negligible:g}, which shows nothing about causes nobody "
                "recorded.")  # fmt: skip
    if lost:
        text += f" {lost:,} records with a missing value were left out."
    return Check(
        name="graph falsification", question="Do the data contradict the causal graph?", statistic=float(len(refuted)),
        std_error=None, threshold=0.0, passed=False if len(refuted) else None, text=text, table=table, only_lowers=True,
    )  # fmt: skip


def _claims(g: Any, seen: Sequence[str]) -> list[tuple[str, str, tuple[str, ...]]]:
    """(x, y, z): x and y are independent given z if the graph is true; x, y and z recorded, z minimal."""
    import networkx as nx
    from dowhy.graph import check_dseparation, get_ancestors

    above = {n: get_ancestors(g, [n]) for n in seen}
    claims = []
    for x, y in combinations(seen, 2):
        if g.has_edge(x, y) or g.has_edge(y, x):
            continue
        causes = ((above[x] | above[y]) & set(seen)) - {x, y}
        if check_dseparation(g, [x], [y], causes):
            small = g.subgraph({x, y} | above[x] | above[y])  # separation is decided among the causes of both
            claims.append((x, y, tuple(sorted(nx.find_minimal_d_separator(small, {x}, {y}, restricted=causes)))))
    return claims


def _holm(z: np.ndarray) -> np.ndarray:
    """Adjusted two-sided p-values of standard normal statistics (Holm 1979)."""
    from scipy.stats import norm

    order = np.argsort(-z, kind="stable")
    adjusted = np.empty(len(z))
    adjusted[order] = np.maximum.accumulate(2 * norm.sf(z[order]) * np.arange(len(z), 0, -1))
    return np.minimum(adjusted, 1.0)
