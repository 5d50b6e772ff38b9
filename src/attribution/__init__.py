"""How much of the change in job placement and household income did the school cause?

`import attribution as at` gives the whole public surface; each name loads its module when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.4.0"

_WHERE = {
    "study": ["Study"],
    "read.simulate": ["School", "simulate_school"],
    "read.external": ["full_nsw_sample"],
    "outcomes.career": ["career_outcomes"],
    "outcomes.income": ["IncomeOutcome", "household_income", "log_outcome"],
    "outcomes.poverty": ["PovertyLine", "given_line", "poverty_line"],
    "cohorts.cohorts": ["Cohort", "landmarks"],
    "cohorts.panel": ["Panel"],
    "design.everyone": ["everyone"],
    "design.match": ["match"],
    "design.weight": ["weight"],
    "design.propensity": ["Propensity", "propensity"],
    "design.stratify": ["stratify"],
    "design.cardinality": ["cardinality_match"],
    "design.balance": ["balance", "overlap"],
    "estimate.att": ["att"],
    "estimate.levels": ["multi_valued"],
    "estimate.g_computation": ["g_computation"],
    "estimate.aipw": ["aipw"],
    "estimate.tmle": ["tmle"],
    "estimate.partially_linear": ["partially_linear"],
    "estimate.subgroups": ["Subgroups", "minimum_detectable_effect", "subgroup_effects"],
    "design.genetic": ["GeneticWeights", "genetic_weights"],
    "estimate.abadie_imbens": ["abadie_imbens"],
    "estimate.tie_range": ["TieRange", "tie_range"],
    "estimate.did": ["group_time_att"],
    "estimate.did_2x2": ["did_2x2"],
    "estimate.twfe": ["twfe", "twfe_weights"],
    "estimate.bacon": ["Bacon", "bacon"],
    "estimate.sun_abraham": ["sun_abraham"],
    "estimate.imputation": ["imputation", "imputation_pretrend"],
    "estimate.experiment": ["difference_in_means"],
    "estimate.aggregate": ["aggregate"],
    "estimate.distribution": ["ChangesInChanges", "changes_in_changes"],
    "estimate.attributable": ["attributable_euros", "caused_share", "percent_of_counterfactual", "treated_means"],
    "estimate.bounds": ["IdentifiedSet", "lee_bounds", "manski_bounds"],
    "estimate.gains": ["Gains", "share_who_gain"],
    "estimate.attributable_outcomes": ["AttributableOutcomes", "attributable_outcomes"],
    "estimate.symmetric": ["symmetric_did"],
    "estimate.matched": ["MatchedDid", "matched_did"],
    "findings.finding": ["Finding", "Findings", "read_findings"],
    "findings.bracket": ["bracket", "disagreement", "income_bracket"],
    "findings.bridge": ["Bridge", "bridge"],
    "findings.income": ["Income", "income_base_curve", "income_bounds", "income_effects"],
    "findings.household": ["Household", "household_effects", "tell_household"],
    "findings.comparison": [
        "Comparison",
        "compare",
        "compare_all",
        "compare_tiers",
        "match_options",
        "why_no_placement",
    ],
    "cohorts.reach": ["reach"],
    "cohorts.sequential": ["risk_sets"],
    "stress.dip": ["base_curve", "dip_test"],
    "findings.recommend": ["Recommended", "recommended_did", "recommended_income"],
    "stress.placebo": ["beside", "placebo_outcome", "pre_period"],
    "stress.trends": ["Bounds", "relative_magnitudes", "smoothness"],
    "stress.graph": ["adjustment_set", "falsify_graph"],
    "stress.refute": ["placebo_treatment", "random_common_cause", "refute"],
    "stress.confounding": ["Robustness", "robustness"],
    "stress.omitted": ["OmittedVariableBounds", "omitted_variable_bounds"],
    "stress.e_value": ["EValue", "e_value"],
    "stress.hidden_bias": ["HiddenBias", "rosenbaum_bounds"],
    "findings.grade": ["grade"],
    "findings.disclosure": ["protect", "protect_table", "protect_tables"],
    "results": ["Balance", "Check", "Design", "Effects"],
    "errors": ["AttributionError", "DataError", "DesignError", "EstimationError", "attempt"],
}
_NAMES = {name: module for module, names in _WHERE.items() for name in names}
_MODULES = {"plots": "report.plots"}

__all__ = ["__version__", "plots", *sorted(_NAMES)]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"attribution.{_MODULES[name]}")
    if name in _NAMES:
        return getattr(import_module(f"attribution.{_NAMES[name]}"), name)
    raise AttributeError(f"module 'attribution' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
