"""Euros, caused shares and percents: by hand, with the covariance proved against raw data, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from did_oracle import panel as random_panel
from scipy import stats

import attribution as at
from attribution.errors import EstimationError
from attribution.estimate.attributable import Ratios

UNIT = "EUR of 2024 a quarter, not equivalised, not winsorised"


def income(**changes) -> at.IncomeOutcome:
    frame = pd.DataFrame({"y": [1.0, 2.0], "uc": 1.0})
    options = {"income": "y", "currency": "EUR", "frequency": "quarter", "price_year": 2024, "prices": "constant",
               "equivalise": "none", "winsorise": None, **changes}  # fmt: skip
    return at.household_income(frame, household_uc="uc", **options)


def two_periods(change_treated, change_comparison, base=100.0):
    changes = np.r_[change_treated, change_comparison].astype(float)
    n = len(changes)
    g = np.where(np.arange(n) < len(change_treated), 2.0, np.nan)
    y = np.r_[np.full(n, base), base + changes]
    frame = pd.DataFrame({"u": np.tile(np.arange(n), 2), "t": np.repeat([1, 2], n), "g": np.tile(g, 2), "y": y})
    panel = at.Panel(frame, unit="u", period="t", cohort="g", outcome="y")
    gt = at.group_time_att(panel, comparison="never_treated", base_period="universal", unit=UNIT)
    return panel, gt


def overall(panel, gt, of):
    return at.aggregate(gt, by="overall"), at.aggregate(at.treated_means(panel, gt, of=of), by="overall")


def test_by_hand():
    """The treated gain 40 on average, the others 10: three quarters caused; 30 on a counterfactual mean of 110."""
    panel, gt = two_periods([20, 40, 60], [0, 10, 20])
    effect, change = overall(panel, gt, "change")
    assert change.estimate[0] == pytest.approx(40) and effect.estimate[0] == pytest.approx(30)
    # three units an arm: Var of a mean is (3 / 2)^2 times 800 / 3 / 3 of the treated, 200 / 3 / 3 of the others
    assert change.std_error[0] ** 2 == pytest.approx(200)
    assert effect.scores[:, 0] @ change.scores[:, 0] == pytest.approx(200)
    share = at.caused_share(effect, change, n_covered=3, income=income()).tidy().iloc[0]
    assert share["ratio"] == pytest.approx(0.75)
    assert share["caused"] == pytest.approx(90) and share["total_change"] == pytest.approx(120)
    gradient = np.array([1 / 40, -30 / 1600])
    known = gradient @ np.array([[250, 200], [200, 200]]) @ gradient
    assert share["std_error"] ** 2 == pytest.approx(known)
    percent = at.percent_of_counterfactual(*overall(panel, gt, "level")).tidy().iloc[0]
    assert percent["ratio"] == pytest.approx(30 / 110) and percent["kind"] == "interval"
    money = at.attributable_euros(effect, income=income(), n_covered=3, treated_total=5)
    first, rest = money.tidy().to_dict("records")
    assert first["total"] == pytest.approx(90) and first["std_error"] == pytest.approx(3 * np.sqrt(250))
    assert rest["n"] == 2 and np.isnan(rest["total"]) and first["unit"] == "EUR of 2024 a quarter"
    assert "not covered: 2 treated without an estimate, and no euros for them" in money.summary()


@pytest.mark.parametrize("cluster", [None, "k"])
@pytest.mark.parametrize("covariates", [[], ["s"], ["x", "s"]], ids=["cells", "strata", "units"])
def test_means_against_raw_data(cluster, covariates):
    """Compressed or not, clustered or not, weighted, unbalanced: means and standard errors, unit by unit."""
    frame = random_panel(seed=3, missing=0.1)
    panel = at.Panel(frame, unit="unit", period="t", cohort="g", outcome="y", weight="w", cluster=cluster)
    gt = at.group_time_att(panel, comparison="not_yet_treated", base_period=(-2, -1), covariates=covariates)
    wide = frame.pivot(index="unit", columns="t", values="y")
    unit = frame.drop_duplicates("unit").set_index("unit")
    for of in ("level", "change"):
        means = at.treated_means(panel, gt, of=of)
        known = ~np.isnan(gt.estimate)
        assert (known == ~np.isnan(means.estimate)).all() and known.sum() > 5
        for k in np.flatnonzero(known):
            g, t = gt.labels.loc[k, ["cohort", "period"]]
            base = [p for p in (g - 2, g - 1) if p in wide]
            path = wide[[*base, t]] if t not in base else wide[base]
            rows = (unit["g"] == g) & path.notna().all(axis=1)
            y = wide[t] - (wide[base].mean(axis=1) if of == "change" else 0)
            w, y = unit["w"][rows], y[rows]
            mean = (w * y).sum() / w.sum()
            assert means.estimate[k] == pytest.approx(mean)
            psi = w * (y - mean) / w.sum()
            variance = psi.groupby(unit["k"][rows]).sum() if cluster else psi
            assert means.std_error[k] ** 2 == pytest.approx((variance**2).sum())
            assert means.n_treated[k] == gt.n_treated[k] == rows.sum()


def test_the_covariance_is_that_of_repeated_samples():
    """Over 400 samples of one law, ATT and change of the treated co-vary as the scores of each say."""
    r = np.random.default_rng(5)
    draws, said = [], []
    for _ in range(400):
        effect, change = overall(*two_periods(r.normal(40, 30, 60), r.normal(10, 20, 80)), "change")
        draws.append([effect.estimate[0], change.estimate[0]])
        said.append(effect.scores[:, 0] @ change.scores[:, 0])
    seen = np.cov(np.array(draws).T)[0, 1]
    assert np.mean(said) == pytest.approx(seen, rel=0.2) and seen > 10  # 30^2 / 60 = 15, far from zero


@pytest.mark.slow
def test_fieller_sets_cover():
    r = np.random.default_rng(6)
    inside = []
    for _ in range(1_000):
        effect, change = overall(*two_periods(r.normal(12, 30, 60), r.normal(6, 20, 80)), "change")
        row = at.caused_share(effect, change, n_covered=60).tidy().iloc[0]
        low, high, kind = row["low"], row["high"], row["kind"]
        inside.append({"interval": low <= 0.5 <= high, "line": True, "complement": not low < 0.5 < high}[kind])
    assert 0.93 <= np.mean(inside) <= 0.97


def test_fieller_sets_are_said_in_words():
    def words(treated, comparison):
        effect, change = overall(*two_periods(treated, comparison), "change")
        out = at.caused_share(effect, change, n_covered=len(treated))
        assert isinstance(out, Ratios)
        return out.tidy()["kind"].iloc[0], out.summary()

    kind, text = words([38, 40, 42], [9, 10, 11])
    assert kind == "interval" and "between" in text
    kind, text = words([-29, 1, 31], [-101, -100, -99])
    assert kind == "complement" and "or less, or" in text and "the change may be zero" in text
    kind, text = words([-30, 1, 32], [-30, 0, 30])
    assert kind == "line" and "any value" in text
    assert "no totals: only heads, and euros neither equivalised nor winsorised" in text


def test_heads_are_counted_where_the_outcome_is_a_share():
    panel, gt = two_periods([1, 1, 0, 1], [0, 1, 0, 0], base=0.0)
    effect, change = (replace(one, unit="share") for one in overall(panel, gt, "change"))
    out = at.caused_share(effect, change, n_covered=4)
    row = out.tidy().iloc[0]
    assert row["total_change"] == pytest.approx(3) and row["caused"] == pytest.approx(2)
    assert row["total_unit"] == "heads" and "+2 of +3 heads, on 4 covered" in out.summary()


def test_a_year_is_four_quarters():
    _, gt = two_periods([20, 40, 60], [0, 10, 20])
    one, year = (at.attributable_euros(at.aggregate(gt, by="overall"), income=income(), n_covered=3, treated_total=3,
                                       periods=p).tidy().iloc[0] for p in (1, 4))  # fmt: skip
    assert year["total"] == pytest.approx(4 * one["total"]) and year["unit"] == "EUR of 2024 over 4 quarters"


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"equivalise": "oecd_modified"}, "equivalised .OECD-modified."), ({"winsorise": (0, 0.99)}, "winsorised at"),
     ({"price_year": 2023}, "EUR of 2023")],
)  # fmt: skip
def test_other_euros_are_refused(changes, words):
    panel, gt = two_periods([20, 40, 60], [0, 10, 20])
    effect, change = overall(panel, gt, "change")
    with pytest.raises(EstimationError, match=words):
        at.attributable_euros(effect, income=income(**changes), n_covered=3, treated_total=3)
    with pytest.raises(EstimationError, match=words):
        at.caused_share(effect, change, n_covered=3, income=income(**changes))


def test_more_people_than_the_estimate_has_are_refused():
    _, gt = two_periods([20, 40, 60], [0, 10, 20])
    effect = at.aggregate(gt, by="overall")
    with pytest.raises(EstimationError, match="3 treated units behind the estimate"):
        at.attributable_euros(effect, income=income(), n_covered=4, treated_total=4)
    with pytest.raises(EstimationError, match="treated_total >= n_covered"):
        at.attributable_euros(effect, income=income(), n_covered=3, treated_total=2)
    with pytest.raises(EstimationError, match="one estimated ATT"):
        at.attributable_euros(gt, income=income(), n_covered=3, treated_total=3)


def test_only_what_belongs_together_is_divided():
    panel, gt = two_periods([20, 40, 60], [0, 10, 20])
    effect, change = overall(panel, gt, "change")
    level = overall(panel, gt, "level")[1]
    by_event = at.aggregate(at.treated_means(panel, gt, of="change"), by="event_time")
    for wrong in (level, by_event, effect):
        with pytest.raises(EstimationError, match="aggregated alike"):
            at.caused_share(effect, wrong, n_covered=3)
    with pytest.raises(EstimationError, match="aggregated alike"):
        at.percent_of_counterfactual(effect, change)
    with pytest.raises(EstimationError, match="result of group_time_att"):
        at.treated_means(panel, effect, of="level")
    other = two_periods([20, 40, 60, 80], [0, 10, 20])[0]
    with pytest.raises(EstimationError, match="panel that the effects were estimated on"):
        at.treated_means(other, gt, of="level")


def test_few_units_widen_the_set_and_are_said():
    """The set is Fieller's with Student's t of the effect; enough units: the normal, and nothing said."""
    r = np.random.default_rng(3)
    panel, gt = two_periods(r.normal(40, 9, 6), r.normal(10, 9, 200))
    effect, change = overall(panel, gt, "change")
    share = at.caused_share(effect, change, n_covered=6)
    pair = np.column_stack([effect.scores[:, 0], change.scores[:, 0]])
    row, cov = share.tidy().iloc[0], pair.T @ pair
    z2 = stats.t(effect.dof[0]).ppf(0.975) ** 2
    for end in (row["low"], row["high"]):  # where the numerator less the share of the denominator is just not zero
        line = np.array([1, -end])
        value = effect.estimate[0] - end * change.estimate[0]
        assert value**2 == pytest.approx(z2 * (line @ cov @ line))
    assert effect.dof[0] < 19 and "Student's t" in share.summary()
    panel, gt = two_periods(r.normal(40, 9, 30), r.normal(10, 9, 200))
    many = at.caused_share(*overall(panel, gt, "change"), n_covered=30)
    assert "Student's t" not in many.summary()


def test_people_are_whole_and_levels_are_shares():
    panel, gt = two_periods([10, 20, 30], [1, 2, 3, 4])
    effect, change = overall(panel, gt, "change")
    with pytest.raises(EstimationError, match="covered from 1.*1.7"):
        at.caused_share(effect, change, n_covered=1.7)
    with pytest.raises(EstimationError, match="whole numbers"):
        at.attributable_euros(effect, income=income(), n_covered=3, treated_total=3.5)
    with pytest.raises(EstimationError, match="0 < level < 1"):
        at.caused_share(effect, change, n_covered=3, level=95)
    with pytest.raises(EstimationError, match="0 < level < 1"):
        at.attributable_euros(effect, income=income(), n_covered=3, treated_total=3, level=95)
