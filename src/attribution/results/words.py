"""Options as sentences: what a design did, and how a standard error was taken."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_DISTANCES = {
    "logit": "the logit of the propensity", "propensity": "the propensity",
    "mahalanobis": "Mahalanobis distance", "mahalanobis_total": "Mahalanobis distance",
    "robust_mahalanobis": "rank-based Mahalanobis distance", "scaled_euclidean": "weighted Euclidean distance",
}  # fmt: skip
_METHODS = {
    "exact": "exact cells of the covariates", "coarsened": "cells of the coarsened covariates",
    "subclass": "subclasses of the propensity",
    "ipw": "inverse probability weights", "overlap": "overlap weights", "entropy": "entropy balancing weights",
    "cbps": "covariate-balancing propensity weights", "cardinality": "largest sample with balanced means",
    "everyone": "everyone as they are",
}  # fmt: skip
_STD_ERRORS = {
    "m_estimation": "by M-estimation (weights count as estimated)", "abadie_imbens": "by Abadie and Imbens",
    "cluster": "clustered by the design's groups", "stacked": "by M-estimation (models count as estimated)",
    "influence": "by the influence function (models count as known)",
}  # fmt: skip
_ESTIMATORS = {
    "aipw": "augmented inverse probability weighting (AIPW)", "aipw_wls": "AIPW, weighted outcome regression",
    "ipwra": "inverse-probability-weighted regression", "ra": "outcome regression",
    "ipw": "inverse probability weighting", "tmle": "targeted maximum likelihood (TMLE)",
    "partially linear": "partially linear regression", "multinomial": "inverse generalised propensity weighting",
}  # fmt: skip
_MODELS = {"outcome_model": "outcome", "propensity_model": "treatment", "treatment_model": "treatment"}
_IN_SETS, _IN_CELLS = ("nearest", "optimal", "full", "cardinality"), ("exact", "coarsened", "subclass")


def design_words(spec: Mapping[str, Any]) -> str:
    """What the design of these options did; empty for one that no builder of the package made."""
    method = spec.get("method")
    if method in ("nearest", "optimal"):
        how, on = "nearest-neighbour" if method == "nearest" else "optimal", _DISTANCES[spec["distance"]]
        said = [f"{spec.get('ratio', 1)}:1 {how} matching on {on}",
                f"with{'' if spec.get('replace') else 'out'} replacement"]  # fmt: skip
    elif method == "full":
        said = [f"full matching on {_DISTANCES[spec.get('distance', 'propensity')]}"]
    elif method in _METHODS:
        said = [_METHODS[method]]
    else:
        return ""
    if (width := spec.get("caliper_sd")) is not None:
        each = width.items() if isinstance(width, Mapping) else [("", width)]
        said += [f"caliper {value:g} SD{f' of {name}' if name else ''}" for name, value in each]
    for option, words in (("exact", "exact on"), ("anti_exact", "different in")):
        if names := spec.get(option):
            said.append(f"{words} {', '.join(map(str, names))}")
    if rule := spec.get("discard"):
        said.append(f"overlap by {str(rule).replace('_', ' ')}")
    if (quantile := spec.get("trim")) is not None:
        said.append(f"weights capped at their {quantile:.0%} quantile")
    return ", ".join(said)


def effect_words(spec: Mapping[str, Any]) -> str:
    """Design or estimator, and the kind of standard error, of an effect with these options."""
    design = spec.get("design")
    what = design_words(design) if isinstance(design, Mapping) else ""
    estimator = spec.get("estimator")
    said = [f"Design: {what}" if what else "", f"estimator: {estimator}" if estimator and what else ""]
    estimator = _ESTIMATORS.get(str(estimator), estimator)
    if estimator and not what:
        folds = spec.get("folds")
        said = [f"Estimator: {estimator}{f', {folds} folds' if folds else ''}"]
        said += [f"{what}: {str(spec[option]).partition('(')[0]}" for option, what in _MODELS.items() if option in spec]
    if adjust := spec.get("adjust"):
        said.append(f"adjusted for {', '.join(map(str, adjust))}")
    if (kind := spec.get("vcov")) and (what or estimator):
        how = _STD_ERRORS.get(kind, f"robust ({kind})")
        if cluster := spec.get("cluster"):
            how = f"{how}, clustered by {cluster}" if kind in ("stacked", "influence") else f"clustered by {cluster}"
        elif kind == "cluster" and isinstance(design, Mapping):
            if design.get("replace") or design.get("method") not in (*_IN_SETS, *_IN_CELLS):
                how = "robust, each unit on its own"
            elif design.get("method") in _IN_SETS:
                how = "clustered by matched set"
        said.append(f"standard errors {how}")
    return f"{'; '.join(filter(None, said))}." if any(said) and (what or estimator) else ""
