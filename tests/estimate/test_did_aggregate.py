"""Aggregations: weights by hand, the term for estimated shares by simulation, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from estimate.did_oracle import panel

from attribution.cohorts.panel import Panel
from attribution.errors import EstimationError
from attribution.estimate.aggregate import aggregate
from attribution.estimate.did import group_time_att


@pytest.fixture(scope="module")
def gt():
    made = Panel(panel(n=300, seed=8), unit="unit", period="t", cohort="g", outcome="y")
    return group_time_att(made, comparison="never_treated", base_period="universal")


def att(gt, g, t):
    return gt.estimate[(gt.labels["cohort"] == g) & (gt.labels["period"] == t)][0]


def test_weights_by_hand(gt):
    p3, p4 = gt.shares[3], gt.shares[4]
    event = aggregate(gt, by="event_time")
    at = dict(zip(event.labels["event_time"], event.estimate, strict=True))
    assert at[1] == pytest.approx((p3 * att(gt, 3, 4) + p4 * att(gt, 4, 5)) / (p3 + p4))
    assert at[2] == pytest.approx(att(gt, 3, 5))
    cohort = aggregate(gt, by="cohort")
    assert cohort.estimate[1] == pytest.approx((att(gt, 4, 4) + att(gt, 4, 5)) / 2)
    period = aggregate(gt, by="period")
    assert period.labels["period"].tolist() == [3, 4, 5]
    assert period.estimate[0] == pytest.approx(att(gt, 3, 3))
    assert aggregate(gt, by="event_time", overall=True).estimate[0] == pytest.approx((at[0] + at[1] + at[2]) / 3)


def test_units_behind_an_aggregate_are_counted_once(gt):
    overall = aggregate(gt, by="overall")
    assert overall.n_treated[0] == round(300 * gt.shares.sum()) and len(overall) == 1
    assert overall.n_comparison[0] == gt.n_comparison.max()
    assert overall.labels["term"].tolist() == ["overall"]


def test_balance_holds_the_mix_of_cohorts(gt):
    event = aggregate(gt, by="event_time", balance=1)
    assert event.labels["event_time"].max() == 1 and event.labels["event_time"].min() == -3


def test_the_term_for_estimated_shares_matters():
    """Cohorts of random size with effects 0 and 10: without the term the interval would be far too short."""
    found, errors, without = [], [], []
    for seed in range(150):
        frame = panel(n=150, seed=seed)
        frame["y"] += 10.0 * ((frame["g"] == 4) & (frame["t"] >= 4))
        gt = group_time_att(Panel(frame, unit="unit", period="t", cohort="g", outcome="y"),
                            comparison="never_treated", base_period="universal")  # fmt: skip
        one = aggregate(gt, by="cohort", overall=True)
        fixed = gt.combine(np.isin(gt.labels["term"], ["att(4,4)", "att(4,5)"]) * gt.shares[4] / gt.shares.sum() / 2)
        found.append(one.estimate[0])
        errors.append(one.std_error[0])
        without.append(fixed.std_error[0])
    assert 0.85 < np.mean(errors) / np.std(found) < 1.15
    assert np.mean(without) < 0.6 * np.std(found)


@pytest.mark.parametrize("options", [{"by": "dynamic"}, {"by": "overall", "balance": 1}])
def test_refused_options(gt, options):
    with pytest.raises(EstimationError):
        aggregate(gt, **options)


def test_an_aggregate_is_not_aggregated_again(gt):
    with pytest.raises(EstimationError, match="once"):
        aggregate(aggregate(gt, by="cohort"), by="overall")
