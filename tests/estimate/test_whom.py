"""Whenever units drop, every output says whose effect is left."""

import pytest
from matching_reference import LALONDE, data

import attribution as at

MEN = data("lalonde").assign(placed=lambda men: (men["re78"] > 5000).astype(int))
DESIGNS = {
    "pairs": lambda: at.match(MEN, "treat", covariates=LALONDE, caliper_sd=0.2),
    "optimal pairs": lambda: at.match(MEN, "treat", covariates=LALONDE, method="optimal", caliper_sd=0.2),
    "pairs of the overlap": lambda: at.match(MEN, "treat", covariates=LALONDE, discard="crump"),
    "pairs for all": lambda: at.match(MEN, "treat", covariates=LALONDE, caliper_sd=0.02, replace=True, target="all"),
    "cells": lambda: at.stratify(MEN, "treat", covariates=LALONDE, method="coarsened"),
    "cells for all": lambda: at.stratify(MEN, "treat", covariates=LALONDE, method="coarsened", target="all"),
    "subclasses": lambda: at.stratify(MEN, "treat", covariates=LALONDE, method="subclass", discard="common_support"),
    "weights": lambda: at.weight(MEN, "treat", covariates=LALONDE, discard="crump"),
    "weights for all": lambda: at.weight(MEN, "treat", covariates=LALONDE, target="all", discard="crump"),
    "capped weights": lambda: at.weight(MEN, "treat", covariates=LALONDE, target="all", trim=0.98),
    "cardinality": lambda: at.cardinality_match(MEN, "treat", covariates=["age", "race", "re74"], tols=0.01),
}
OUTPUTS = {
    "design": lambda d: d,
    "att": lambda d: at.att(d, "re78"),
    "adjusted": lambda d: at.att(d, "re78", adjust=["age"]),
    "parts": lambda d: at.att(d, "placed", parts=True, vcov="HC1"),
    "g-computation": lambda d: at.g_computation(d, "placed", scale="ratio"),
    "subgroups": lambda d: at.subgroup_effects(d, "re78", by="nodegree"),
    "gains": lambda d: at.share_who_gain(d, "placed", draws=200),
    "balance": lambda d: at.balance(d),
    "robustness": lambda d: at.robustness(d, "re78", adjust=["age"]),
}
PAIRED = {
    "hidden bias": lambda d: at.rosenbaum_bounds(d, "re78"),
    "ties": lambda d: at.tie_range(d, "re78", orders=3),
    "Abadie-Imbens": lambda d: at.att(d, "re78", vcov="abadie_imbens"),
}


@pytest.mark.parametrize("name", DESIGNS)
def test_every_output_names_the_estimand(name):
    design = DESIGNS[name]()
    assert design.estimand not in ("ATT", "ATE")
    outputs = OUTPUTS | (PAIRED if name in ("pairs", "pairs of the overlap", "optimal pairs") else {})
    for what, output in outputs.items():
        result = output(design)
        assert design.estimand in result.summary(), what
        assert design.estimand in result._repr_html_(), what


def test_nothing_is_said_where_nobody_is_left_out():
    design = at.match(MEN, "treat", covariates=LALONDE)
    assert design.whom == () and "speaks for" not in at.balance(design).summary()


def test_trimming_without_a_design_is_named():
    for effects in (at.aipw(MEN, "treat", outcome="re78", covariates=LALONDE, trim=0.1),
                    at.tmle(MEN, "treat", outcome="re78", covariates=LALONDE, trim=0.1)):  # fmt: skip
        kept = int(effects.n_treated[0] + effects.n_comparison[0])
        assert kept < 614 and effects.estimand == f"ATE on units with overlap ({kept} of 614)"
        assert effects.estimand in effects.summary()


@pytest.mark.parametrize("name", DESIGNS)
def test_every_figure_of_a_design_names_whose_effect_is_left(name):
    """In words, without the counts: a figure must not tell how few were left out."""
    design = DESIGNS[name]()
    said = design.estimand.split(" (")[0]
    figures = [at.plots.love(at.balance(design)), at.plots.ecdf(design, "age")]
    figures += [at.plots.overlap(design)] if design.propensity is not None else []
    for figure in figures:
        words = " ".join(" ".join(text.get_text().split()) for text in figure.texts)
        assert f"Speaks for: {said}" in words


def test_figures_of_everybody_say_nothing_of_it():
    design = at.match(MEN, "treat", covariates=LALONDE)
    for figure in (at.plots.love(at.balance(design)), at.plots.ecdf(design, "age"), at.plots.overlap(design)):
        assert "Speaks for" not in " ".join(text.get_text() for text in figure.texts)
