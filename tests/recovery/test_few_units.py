"""After a design or from a table, few units in an arm reject a true null in at most about 7 % of draws."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import attribution as at
from attribution.inference import student_quantile

BAR = 0.07
COVARIATES = ["x0", "x1"]
OF_DESIGN = {
    "1:1": lambda f: at.match(f, "t", covariates=COVARIATES, key="key"),
    "3:1": lambda f: at.match(f, "t", covariates=COVARIATES, key="key", ratio=3),
    "ipw": lambda f: at.weight(f, "t", covariates=COVARIATES, method="ipw"),
    "everyone": lambda f: at.everyone(f, "t"),
}


def units(treated: int, rng: np.random.Generator, comparison: int = 100) -> pd.DataFrame:
    t = np.repeat([1, 0], [treated, comparison])
    x = rng.normal(size=(len(t), 2)) + 0.4 * t[:, None]
    y = x.sum(axis=1) / 2 + rng.normal(size=len(t))
    return pd.DataFrame({"t": t, "x0": x[:, 0], "x1": x[:, 1], "y": y, "key": np.arange(len(t))})


def doubly_robust(frame: pd.DataFrame, target: str = "treated") -> at.Effects:
    return at.aipw(frame, "t", outcome="y", covariates=COVARIATES, target=target, outcome_model="linear", key="key")


def effects(kind: str, frame: pd.DataFrame):
    """Outcomes (n,) -> Effects, on one design."""
    if kind == "aipw":
        return lambda y: doubly_robust(frame.assign(y=y))
    if kind == "difference in means":
        return lambda y: at.difference_in_means(frame.assign(y=y), "t", "y")
    design = OF_DESIGN[kind](frame)
    return lambda y: at.att(design, y)


@pytest.mark.parametrize("kind", ["1:1", "3:1", "ipw", "aipw", "everyone", "difference in means"])
@pytest.mark.parametrize("treated", [5, 10, 15])
def test_true_nulls(kind, treated):
    """Estimates and scores are linear in the outcomes: those of one unit each are a map for thousands of draws."""
    rng = np.random.default_rng(treated)
    frame = units(treated, rng)
    fit, n = effects(kind, frame), len(frame)
    each = [fit(row) for row in np.eye(n)]
    to_estimate, to_scores = np.array([e.estimate[0] for e in each]), np.stack([e.scores[:, 0] for e in each], axis=1)
    y = rng.normal(size=(n, 8_000))
    estimate, se = to_estimate @ y, np.sqrt(((to_scores @ y) ** 2).sum(axis=0))
    one = fit(y[:, 0])
    assert estimate[0] == pytest.approx(one.estimate[0]) and se[0] == pytest.approx(one.std_error[0])
    assert one.dof[0] <= treated - 1 + 1e-9
    t = np.abs(estimate) / se
    assert (t > float(student_quantile(0.975, one.dof[0]))).mean() <= BAR
    if treated == 5 and kind != "3:1":
        assert (t > 1.96).mean() > BAR  # the normal would not do


@pytest.mark.slow
@pytest.mark.parametrize("treated", [5, 10, 15])
@pytest.mark.parametrize("kind", ["1:1", "3:1", "with replacement", "bias-corrected", "ipw", "aipw", "aipw, all"])
def test_true_nulls_when_covariates_decide(kind, treated):
    """Everything drawn again and matched again; replacement has Abadie and Imbens' errors, enlarged."""
    rng, rejected, draws = np.random.default_rng(7), 0, 1_200
    for _ in range(draws):
        frame = units(treated, rng)
        if kind in OF_DESIGN:
            found = at.att(OF_DESIGN[kind](frame), "y")
        elif kind.startswith("aipw"):
            try:
                found = doubly_robust(frame, "all" if kind.endswith("all") else "treated")
            except at.EstimationError:  # no overlap
                continue
        else:
            design = at.match(frame, "t", covariates=COVARIATES, replace=True, key="key")
            found = at.att(design, "y", bias_correction=COVARIATES if kind == "bias-corrected" else ())
        rejected += int(found.tidy()["p_value"].iloc[0] < 0.05)
    assert rejected / draws <= BAR + 2 * np.sqrt(BAR * (1 - BAR) / draws)


@pytest.mark.parametrize("treated", [20, 40])
def test_with_twenty_units_nothing_changes(treated):
    frame = units(treated, np.random.default_rng(3), comparison=150)
    found = [effects(kind, frame)(frame["y"].to_numpy()) for kind in (*OF_DESIGN, "aipw", "difference in means")]
    found.append(at.tmle(frame, "t", outcome="y", covariates=COVARIATES, target="treated", key="key"))
    found.append(at.partially_linear(frame, "t", outcome="y", covariates=COVARIATES, folds=0, key="key"))
    for one in found:
        assert one.dof is None and one.support is None and not any("Student" in note for note in one.notes)


def test_the_same_t_everywhere():
    """p-values, Holm, detectable effects, differences and sums of subgroups of 8 and of 60 treated."""
    rng = np.random.default_rng(5)
    frame = units(68, rng, comparison=200).assign(level=lambda f: np.where(f["key"] % 268 < 8, "small", "large"))
    frame.loc[frame["t"] == 0, "level"] = np.where(np.arange(200) < 60, "small", "large")
    found = at.subgroup_effects(at.everyone(frame, "t"), "y", by="level")
    assert found.effects.dof == pytest.approx([np.inf, 7])
    # 8 and 60 equal units: (1/8 + 1/60)^2 / (1/8^3 + 1/60^3) of them carry the difference
    apart = (1 / 8 + 1 / 60) ** 2 / (1 / 8**3 + 1 / 60**3) - 1
    assert found.differences.dof == pytest.approx([apart])
    assert found.effects.combine(np.array([0.5, 0.5])).dof == pytest.approx([apart])
    assert found.effects.minus(found.effects).dof == pytest.approx([np.inf, 7])
    rows = found.tidy().set_index("term")
    for term, dof in (("small", 7), ("small minus large", apart)):
        row, quantile = rows.loc[term], student_quantile(np.array([0.975, 0.8]), dof)
        assert row["mde"] == pytest.approx(quantile.sum() * row["std_error"])
        assert row["conf_high"] - row["estimate"] == pytest.approx(quantile[0] * row["std_error"])
    p = rows.loc[["large", "small"], "p_value"]
    assert rows.loc[p.idxmin(), "p_adjusted"] == pytest.approx(min(2 * p.min(), 1))
    assert "Fewer than 20 treated units carry the estimate of small: Student's t with 7 degrees" in found.summary()
    named = at.subgroup_effects(at.everyone(frame, "t"), "y", by="level", vcov="CR2")
    assert (named.effects.dof <= [np.inf, 7 + 1e-9]).all() and named.effects.support is None


def test_what_is_kept_is_small():
    frame = units(15, np.random.default_rng(1), comparison=5_000)
    for kind in ("1:1", "ipw", "aipw"):
        one = effects(kind, frame)(frame["y"].to_numpy())
        assert len(one.support.sizes) == 2 and one.support.units <= 15 + 1e-9


def test_parts_rest_on_their_own_arm():
    frame = units(6, np.random.default_rng(2))
    parts = at.att(at.everyone(frame, "t"), "y", parts=True)
    assert parts.dof == pytest.approx([5, np.inf, 5])
    assert parts.combine(np.array([[1.0, -1.0, 0.0]])).dof == pytest.approx([5])
    assert "2 of 3 estimates" in parts.summary()


def test_levels_and_clusters():
    rng = np.random.default_rng(4)
    way = np.repeat(["free", "paid", "apprentice"], [200, 60, 9])
    frame = pd.DataFrame({"way": way, "x": rng.normal(size=269), "y": rng.normal(size=269), "key": np.arange(269)})
    found = at.multi_valued(frame, "way", outcome="y", covariates=["x"], reference="free")
    dof = dict(zip(found.labels["level"], found.dof, strict=True))
    assert dof["apprentice"] <= 8 and np.isinf(dof["paid"])
    school = frame.assign(t=(frame["key"] < 120).astype(int), class_=frame["key"] // 12)
    by_class = at.aipw(school, "t", outcome="y", covariates=["x"], cluster="class_", key="key", target="treated")
    assert by_class.dof == pytest.approx([9], rel=0.2) and "treated or comparison clusters carry" in by_class.summary()
