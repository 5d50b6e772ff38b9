"""The causal graph against the design, and against the data."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from attribution.errors import DesignError
from attribution.read import config
from attribution.stress.graph import _holm, adjustment_set, falsify_graph

ROOT = Path(__file__).resolve().parents[2]
GRAPH = """digraph { t -> y; t -> m; m -> y; y -> later; z -> t; c -> t; c -> y; history [columns="lag_*"];
history -> t; history -> y; a -> meet; b -> meet; a -> t; b -> y; }"""


def test_design_that_closes_every_back_door():
    check = adjustment_set(GRAPH, "t", "y", covariates=["c", "lag_1", "lag_2"])
    assert check.passed is True and check.only_lowers
    roles = check.table.set_index("node")["role"]
    assert roles[["c", "m", "z", "later", "history", "b"]].tolist() == [
        "common cause", "mediator", "instrument", "consequence of treatment", "common cause", "cause of the outcome",
    ]  # fmt: skip


def test_open_back_door_is_named():
    check = adjustment_set(GRAPH, "t", "y", covariates=["c"])
    assert check.passed is False
    assert "history should be among the covariates" in check.text


def test_unobserved_cause_is_named_and_a_blocked_one_is_not():
    dot = """digraph { t -> y; c -> t; c -> y; drive [observed="no"]; drive -> t; drive -> y;
    past [observed="no"]; past -> c; past -> y; }"""
    check = adjustment_set(dot, "t", "y", covariates=["c"])
    assert check.passed is False
    assert "(drive cannot be seen)" in check.text


@pytest.mark.parametrize(
    ("extra", "says"),
    [("m", "acts through it"), ("later", "consequence of the treatment"), ("meet", "collider"), ("z", "an instrument")],
)
def test_covariates_that_would_bias_are_refused(extra, says):
    with pytest.raises(DesignError, match=says) as error:
        adjustment_set(GRAPH, "t", "y", covariates=["c", "lag_1", extra])
    assert error.value.column == extra


def test_two_colliders_in_a_row_are_found():
    """Neither opens the path alone, so leaving out either one of them is enough."""
    dot = "digraph { t -> y; a -> m1; b -> m1; b -> m2; d -> m2; a -> t; d -> y; }"
    assert adjustment_set(dot, "t", "y", covariates=["m1"]).passed is True
    assert adjustment_set(dot, "t", "y", covariates=["m2"]).passed is True
    with pytest.raises(DesignError, match="m2 is a collider"):
        adjustment_set(dot, "t", "y", covariates=["m1", "m2"])


def test_a_collider_is_found_beside_a_covariate_that_reaches_the_outcome_only_through_a_hidden_cause():
    dot = 'digraph { t -> y; u [observed="no"]; u -> c; c -> t; u -> y; a -> m; b -> m; a -> t; b -> y; }'
    assert adjustment_set(dot, "t", "y", covariates=["c"]).passed is True
    with pytest.raises(DesignError, match="m is a collider"):
        adjustment_set(dot, "t", "y", covariates=["c", "m"])


def test_an_instrument_may_be_allowed_and_strangers_are_mentioned():
    check = adjustment_set(GRAPH, "t", "y", covariates=["c", "lag_1", "z", "shoe_size"], instruments="allow")
    assert check.passed is True
    assert "z moves only the treatment" in check.text
    assert "Not in the graph: shoe_size" in check.text


def test_a_distant_instrument_counts_and_a_cause_of_treatment_with_another_way_out_does_not():
    dot = "digraph { t -> y; far -> near; near -> t; c -> y; c -> t; c -> x; x -> t; }"
    with pytest.raises(DesignError, match="far moves only the treatment"):
        adjustment_set(dot, "t", "y", covariates=["c", "far"])
    assert adjustment_set(dot, "t", "y", covariates=["c", "x"]).passed is True


def test_broken_graphs():
    with pytest.raises(DesignError, match="a cycle, a -> b -> a|a cycle, b -> a -> b"):
        adjustment_set("digraph { t -> y; a -> b; b -> a; }", "t", "y", covariates=[])
    for wrong in (None, {"t": ["y"]}, "", "graph { t -- y; }"):
        with pytest.raises(DesignError, match="a causal graph in DOT|without direction"):
            adjustment_set(wrong, "t", "y", covariates=[])
    with pytest.raises(DesignError, match=r"no node 'treatd'; did you mean treated\?"):
        adjustment_set("digraph { treated -> y; }", "treatd", "y", covariates=[])
    with pytest.raises(DesignError, match=r"no node 'cc'; .*the nodes are c, t, y"):
        adjustment_set("digraph { t -> y; c -> t; c -> y; }", "t", "y", covariates=["c"], columns={"cc": ["c"]})
    with pytest.raises(DesignError, match="no node 'y'"):
        adjustment_set("digraph { t -> x; }", "t", "y", covariates=[])
    with pytest.raises(DesignError, match="cannot be read as a graph"):
        adjustment_set("digraph { t -> }", "t", "y", covariates=[])
    with pytest.raises(DesignError, match='"refuse" or "allow"'):
        adjustment_set(GRAPH, "t", "y", covariates=[], instruments="drop")


@pytest.mark.parametrize("dot", [
    "digraph { t -> y; t <-> y; }", "digraph{t->y;t<->y;}", "digraph { t -> y; subgraph s { c -> t; } }",
    "digraph { t -> y; c -- t; }", "digraph{t->y;c--t;}", "digraph { t -> y [dir=both]; }",
    'digraph { t -> y; c -> t [dir = "back"]; }', "digraph { edge [dir=none]; t -> y; }",
    "digraph { t -> y; c:n -> t; c:s -> y; }", "digraph { t -> y; }\ndigraph { c -> t; c -> y; }",
])  # fmt: skip
def test_what_dowhys_reader_would_drop_without_a_word_is_refused(dot):
    """t <-> y, a hidden common cause in other software's notation, was read as if it were not there."""
    with pytest.raises(DesignError, match="a hidden common cause is a node of its own"):
        adjustment_set(dot, "t", "y", covariates=[])
    with pytest.raises(DesignError, match="a hidden common cause is a node of its own"):
        falsify_graph(chain(50, 1), dot)


def test_signs_inside_names_and_comments_are_no_arrows():
    dot = 'digraph { t -> y; "a <-> b" -> t; "a <-> b" -> y; /* c -- d */ "sub-graph" -> y; }'
    assert adjustment_set(dot, "t", "y", covariates=["a <-> b"]).passed is True
    assert adjustment_set("digraph { rankdir=LR; t -> y [dir=forward]; }", "t", "y", covariates=[]).passed is True


def test_columns_are_a_mapping():
    with pytest.raises(DesignError, match="columns by node"):
        adjustment_set("digraph { t -> y; }", "t", "y", covariates=[], columns=["t", "y"])


def test_treatment_and_outcome_are_no_covariates_and_stand_in_their_order():
    dot = "digraph { t -> y; c -> t; c -> y; }"
    for wrong, says in (("t", "t is the treatment itself"), ("y", "y is the outcome itself")):
        with pytest.raises(DesignError, match=says):
            adjustment_set(dot, "t", "y", covariates=["c", wrong])
    with pytest.raises(DesignError, match="y causes t in the causal graph"):
        adjustment_set("digraph { y -> a; a -> t; c -> t; c -> y; }", "t", "y", covariates=["c"])
    with pytest.raises(DesignError, match="two nodes"):
        adjustment_set(dot, "t", "t", covariates=["c"])


def test_one_covariate_may_come_as_text():
    assert adjustment_set("digraph { t -> y; age -> t; age -> y; }", "t", "y", covariates="age").passed is True


def test_a_collider_is_refused_although_another_back_door_is_open():
    dot = """digraph { t -> y; u [observed="no"]; v [observed="no"]; u -> t; u -> m; v -> m; v -> y; c -> t; c -> y;
    d -> t; d -> y; }"""
    for others in ([], ["c"], ["c", "d"]):
        with pytest.raises(DesignError, match="m is a collider"):
            adjustment_set(dot, "t", "y", covariates=["m", *others])
    assert "d should be among" in adjustment_set(dot, "t", "y", covariates=["c"]).text


def test_a_sentence_names_a_dozen_and_counts_the_rest():
    names = [f"c{i:02d}" for i in range(40)]
    dot = "digraph { t -> y; " + " ".join(f"{c} -> t; {c} -> y;" for c in names) + " }"
    assert "c11 and 28 more)." in adjustment_set(dot, "t", "y", covariates=names).text
    assert "c11 and 28 more should be among" in adjustment_set(dot, "t", "y", covariates=[]).text


def test_comments_in_a_graph_are_skipped(capfd):
    dot = "digraph { // what we believe\n t -> y; c -> t; // a cause\n c -> y; }"
    assert adjustment_set(dot, "t", "y", covariates=["c"]).passed is True
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("n", [10, 40])
def test_questions_asked_of_dowhy_grow_with_the_common_causes_and_not_faster(n, monkeypatch):
    import dowhy.graph

    asked = []
    for name in ("check_valid_backdoor_set", "check_dseparation"):
        original = getattr(dowhy.graph, name)
        monkeypatch.setattr(dowhy.graph, name, lambda *a, _f=original, **k: asked.append(1) or _f(*a, **k))
    names = [f"c{i}" for i in range(n)]
    dot = "digraph { t -> y; " + " ".join(f"{c} -> t; {c} -> y;" for c in names) + " }"
    assert adjustment_set(dot, "t", "y", covariates=names).passed is True
    assert len(asked) <= 2 * n + 5


@st.composite
def graphs(draw):
    names = draw(st.permutations(["t", "y", "a", "b", "c", "d"]).filter(lambda p: p.index("t") < p.index("y")))
    pairs = [(x, z) for i, x in enumerate(names) for z in names[i + 1 :]]
    arrows = [("t", "y"), *(pair for pair in pairs if draw(st.booleans()))]
    hidden = draw(st.sets(st.sampled_from("abcd"), max_size=2))
    text = "; ".join(f"{x} -> {z}" for x, z in dict.fromkeys(arrows))
    return f"digraph {{ {text}; {' '.join(f'{h} [observed=no];' for h in sorted(hidden))} }}", hidden


@settings(max_examples=30, deadline=None)
@given(graphs())
def test_agrees_with_dowhys_exhaustive_search(drawn):
    """DoWhy tries every set of recorded nodes; ours decides without trying, and its minimal set is one of them."""
    from dowhy.causal_identifier.auto_identifier import BackdoorAdjustment, identify_backdoor
    from dowhy.graph import build_graph_from_str

    dot, hidden = drawn
    g = build_graph_from_str(dot)
    seen = [n for n in sorted(g.nodes) if n not in hidden]
    found = identify_backdoor(
        g, ["t"], ["y"], seen, include_unobserved=False, backdoor_adjustment=BackdoorAdjustment.BACKDOOR_EXHAUSTIVE
    )
    sets = {frozenset(one.get_adjustment_variables()) for one in found}
    empty = adjustment_set(dot, "t", "y", covariates=[])
    assert empty.passed is (frozenset() in sets)
    assert ("No observed covariates" in empty.text) is not bool(sets)
    if sets:
        needed = empty.table.loc[empty.table["needed"], "node"].tolist()
        assert adjustment_set(dot, "t", "y", covariates=needed, instruments="allow").passed is True
        assert frozenset(needed) in sets
        assert not any(other < frozenset(needed) for other in sets)


@pytest.mark.parametrize("name", ["demo", "nsw"])
def test_the_graph_of_a_study_allows_its_plan(name):
    study = config.parse(config.read_toml(ROOT / "data" / name / "study.toml"))
    plan, graph = study.design, study.graph
    check = adjustment_set(graph.dot, graph.treatment, graph.outcome, covariates=[*plan.covariates, *plan.exact])
    assert check.passed is True
    assert "Not in the graph" not in check.text


def chain(n: int, seed: int, direct: float = 0.0) -> pd.DataFrame:
    """a -> b -> c, with an arrow a -> c of that strength."""
    rng = np.random.default_rng(seed)
    a = rng.normal(size=n)
    b = a**2 - a + rng.normal(size=n)
    return pd.DataFrame({"a": a, "b": b, "c": np.exp(0.5 * b) + direct * a + rng.normal(size=n)})


def test_a_missing_arrow_is_found_and_a_true_graph_is_never_confirmed():
    dot = "digraph { a -> b; b -> c; }"
    false = falsify_graph(chain(2000, 1, direct=0.8), dot)
    assert false.passed is False and false.statistic == 1
    assert false.table[["x", "y", "given"]].to_numpy().tolist() == [["a", "c", "b"]]
    assert "a and c given b" in false.text
    true = falsify_graph(chain(2000, 1), dot)
    assert true.passed is None and true.statistic == 0
    assert "shows nothing about causes nobody recorded" in true.text
    assert falsify_graph(chain(2000, 1), dot + "// said").table.equals(true.table)


def test_a_graph_without_claims_is_neither_refuted_nor_supported():
    for dot in (
        "digraph { a -> b; a -> c; b -> c; }",
        'digraph { a -> b; u [observed="no"]; u -> a; u -> b; u -> c; c -> a; }',
        "digraph { a -> elsewhere; }",
    ):
        check = falsify_graph(chain(200, 1), dot)
        assert check.passed is None and len(check.table) == 0
        assert "neither refuted nor supported" in check.text


@pytest.mark.parametrize(
    "dot",
    ["a -> u; u -> b; b -> c;", "a -> b; b -> u; u -> c;", "c -> u; u -> b; b -> a;", "c -> b; b -> u; u -> a;"],
)
def test_claims_condition_on_recorded_nodes_only(dot):
    """An unrecorded node stands between a and c, and a recorded one on either side of it separates them as well."""
    table = falsify_graph(chain(300, 2), f'digraph {{ {dot} u [observed="no"]; }}').table
    assert table[["x", "y", "given"]].to_numpy().tolist() == [["a", "c", "b"]]


def test_holms_correction_by_hand():
    z = -norm.ppf(np.array([0.04, 0.01, 0.03]) / 2)
    np.testing.assert_allclose(_holm(z), [0.06, 0.03, 0.06])


def test_columns_patterns_missing_values_and_treatment_under_another_name():
    frame = chain(500, 3).rename(columns={"b": "b_1"}).assign(treated=lambda f: (f["c"] > 1).astype(int))
    frame["b_2"] = frame["b_1"] ** 3
    frame.loc[:9, "a"] = np.nan
    before = frame.copy()
    check = falsify_graph(frame, 'digraph { a -> b; b -> starts; b [columns="b_*"]; }', columns={"starts": ["treated"]})
    assert "10 records with a missing value were left out" in check.text
    assert check.table[["x", "y", "given", "column_y"]].to_numpy().tolist() == [["a", "starts", "b", "treated"]]
    assert check.table.loc[0, "p_value"] > 0.05
    assert frame.equals(before)


def test_family_of_claims_is_refuted_by_chance_in_one_of_twenty_samples():
    """Six claims, all true, without any tolerance: Holm's correction holds the share of refuted graphs below 5 %."""
    dot = "digraph { a -> b; b -> c; d; }"
    refuted = 0
    for seed in range(80):
        frame = chain(300, seed).assign(d=np.random.default_rng(1000 + seed).normal(size=300))
        refuted += falsify_graph(frame, dot, negligible=0.0).passed is False
    assert refuted <= 9  # binomial(80, 0.05): more has a chance of 1 %


def test_people_who_come_back_are_one_observation():
    frame = pd.concat([chain(40, 5)] * 25, ignore_index=True).assign(who=np.tile(np.arange(40), 25))
    frame["d"] = np.tile(np.random.default_rng(8).normal(size=40), 25)
    alone = falsify_graph(frame, "digraph { a -> b; d; }", negligible=0.0)
    together = falsify_graph(frame, "digraph { a -> b; d; }", negligible=0.0, person="who")
    assert together.passed is None
    one, other = (check.table.sort_values("x")["std_error"].to_numpy() for check in (together, alone))
    assert (one > 3 * other).all()


def test_tolerance_is_between_zero_and_one():
    with pytest.raises(DesignError, match="negligible between 0 and 1"):
        falsify_graph(chain(50, 1), "digraph { a -> b; }", negligible=1.5)
