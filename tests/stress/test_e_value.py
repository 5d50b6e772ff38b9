"""E-values: EValue's figures, the formula by hand, and the bias they promise to cover."""

from __future__ import annotations

import numpy as np
import pytest
from matching_reference import case, data

import attribution as at
from attribution.errors import EstimationError
from attribution.stress.e_value import e_value

CALLS = {
    "RR_3.9_1.8_8.7": (3.9, {"scale": "risk_ratio", "low": 1.8, "high": 8.7}),
    "OR_0.86_0.75_0.99_common": (0.86, {"scale": "odds_ratio", "low": 0.75, "high": 0.99, "rare": False}),
    "MD_d.5_se.25": (0.5, {"scale": "mean_difference", "std_error": 0.25, "spread": 1.0}),
    "RR_1.1_0.9_1.3": (1.1, {"scale": "risk_ratio", "low": 0.9, "high": 1.3}),
    "RR_true_1.5": (2.5, {"scale": "risk_ratio", "low": 1.7, "high": 3.6, "null": 1.5}),
}


@pytest.mark.parametrize("name", CALLS)
def test_reference(name):
    found = case("evalue_a")["results"][name]
    effect, options = CALLS[name]
    result = e_value(effect, **options)
    ends = [v for v in (found["E_lower"], found["E_upper"]) if v is not None]
    ours = [result.e_value, result.e_value_ci]
    np.testing.assert_allclose(ours, [found["E_point"], *ends], rtol=1e-6)
    if "null" not in options:
        theirs = [found["point"], found["lower"], found["upper"]]
        np.testing.assert_allclose([result.risk_ratio, result.conf_low, result.conf_high], theirs, rtol=1e-6)


def test_by_hand_and_by_symmetry():
    assert e_value(2.0, scale="risk_ratio").e_value == pytest.approx(2 + np.sqrt(2))
    assert e_value(0.5, scale="risk_ratio").e_value == pytest.approx(2 + np.sqrt(2))
    assert e_value(1.0, scale="risk_ratio").e_value == 1
    hazard = e_value(2.0, scale="hazard_ratio", rare=False)
    assert hazard.risk_ratio == pytest.approx((1 - 0.5 ** np.sqrt(2)) / (1 - 0.5 ** np.sqrt(0.5)))
    assert e_value(2.0, scale="hazard_ratio", rare=True).risk_ratio == 2
    assert np.isnan(e_value(2.0, scale="risk_ratio").e_value_ci)
    assert "nan" not in e_value(2.0, scale="risk_ratio").summary()


@pytest.mark.parametrize("ratio", [1.2, 2.0, 3.5])
def test_a_confounder_as_strong_as_the_e_value_can_explain_it_and_no_weaker(ratio):
    """Ding & VanderWeele's bound RR1 RR2 / (RR1 + RR2 - 1) reaches the ratio at E, E and not below."""
    e = e_value(ratio, scale="risk_ratio").e_value
    assert e * e / (2 * e - 1) == pytest.approx(ratio)
    weaker = 0.99 * e
    assert weaker**2 / (2 * weaker - 1) < ratio


def test_from_the_effects_of_a_design():
    """NSW: shares .757 and .646; ln RR .158, its delta-method error from two binomials with n/(n - 1)."""
    frame = data("nsw_dw")
    parts = at.att(at.everyone(frame, "treat"), "emp78", parts=True, vcov="HC2")
    result = e_value(parts, scale="risk_ratio")
    assert result.risk_ratio == pytest.approx(case("nsw_experimental")["results"]["emp78"]["rr"], rel=1e-6)
    p1, p0 = 140 / 185, 168 / 260
    se = np.sqrt((1 - p1) / p1 / 184 + (1 - p0) / p0 / 259)
    np.testing.assert_allclose([result.conf_low, result.conf_high], p1 / p0 * np.exp([-1.959964 * se, 1.959964 * se]),
                               rtol=1e-6)  # fmt: skip
    assert result.outcome == "emp78" and 1 < result.e_value_ci < result.e_value
    euros = at.att(at.everyone(frame, "treat"), "re78")
    assert e_value(euros, scale="mean_difference", spread=6_631.0).e_value > 1


def test_refusals():
    with pytest.raises(EstimationError, match="rare=True or rare=False"):
        e_value(2.0, scale="odds_ratio")
    with pytest.raises(EstimationError, match="inside its interval"):
        e_value(2.0, scale="risk_ratio", low=2.5, high=3.0)
    with pytest.raises(EstimationError, match="logarithm"):
        e_value(-0.2, scale="odds_ratio", rare=False)
    with pytest.raises(EstimationError, match="spread"):
        e_value(400.0, scale="mean_difference")
    with pytest.raises(EstimationError, match="parts=True"):
        e_value(at.att(at.everyone(data("nsw_dw"), "treat"), "re78"), scale="risk_ratio")
    with pytest.raises(EstimationError, match="for a difference of shares"):
        e_value(2.0, scale="risk")
    with pytest.raises(EstimationError, match="both arms"):
        frame = data("nsw_dw").assign(never=lambda f: f["emp78"] * f["treat"])
        e_value(at.att(at.everyone(frame, "treat"), "never", parts=True, vcov="HC1"), scale="risk_ratio")
