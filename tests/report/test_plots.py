"""Figures: their words and marks, hostile inputs, the same bytes twice, untouched inputs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from attribution.design.balance import balance
from attribution.errors import AttributionError
from attribution.report import plots
from attribution.report.plots.designs import spoken
from attribution.report.plots.words import Unit, count, in_words, number, pretty
from attribution.results import Balance, Design, Effects
from attribution.stress.trends import Bounds


def words(figure: Figure) -> list[str]:
    """Everything a reader of the figure reads, lines joined."""
    figure.canvas.draw()
    return [" ".join(t.get_text().split()) for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip()]


def said(figure: Figure, *texts: str) -> None:
    everything = "\n".join(words(figure))
    for text in texts:
        assert text in everything, f"{text!r} is not in\n{everything}"


def inside(figure: Figure) -> None:
    """No word leaves the page, and no two row or axis labels of an axis overlap."""
    figure.set_dpi(200)
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    drawn, (width, height) = figure.get_tightbbox(renderer), figure.get_size_inches()
    assert drawn.x0 >= -0.01 and drawn.x1 <= width + 0.01, f"something leaves the page sideways: {drawn}"
    assert drawn.y0 >= -0.01 and drawn.y1 <= height + 0.01, f"something leaves the page: {drawn}"
    for axis in figure.axes:
        labels = [t.get_window_extent(renderer) for t in axis.get_yticklabels() if t.get_visible() and t.get_text()]
        labels = sorted((box for box in labels if box.width > 0), key=lambda box: box.y0)
        for below, above in zip(labels[:-1], labels[1:], strict=True):
            assert above.y0 >= below.y1 - 2, "row labels overlap"


def make_balance(k: int = 10, seed: int = 0) -> Balance:
    rng = np.random.default_rng(seed)
    names = ["age", "income_lag_1", "education_bac", *[f"covariate_{j}" for j in range(k)]][:k]
    rows = [
        {"covariate": name, "sample": sample, "smd": rng.normal() * scale}
        for name in names
        for sample, scale in (("before", 0.6), ("after", 0.02))
    ]
    return Balance(table=pd.DataFrame(rows))


def make_design(n_treated: int = 60, n_comparison: int = 400, shift: float = 1.0, seed: int = 0) -> Design:
    rng = np.random.default_rng(seed)
    n = n_treated + n_comparison
    treated = np.arange(n) < n_treated
    logit = rng.normal(size=n) + np.where(treated, shift, -shift)
    weights = np.where(np.arange(n) < 2 * n_treated, 1.0, 0.0)
    return Design(
        estimand="ATT", units=pd.DataFrame({"treated": treated.astype(int)}), treatment="treated", covariates=("x",),
        weights=weights, pairs=pd.DataFrame(), strata=np.zeros(n, int), discarded=np.zeros(n, bool),
        unmatched=weights == 0, propensity=1 / (1 + np.exp(-logit)),
    )  # fmt: skip


def with_covariate(n: int = 460, **more) -> Design:
    design = make_design(60, n - 60)
    x = np.random.default_rng(1).normal(size=n) + design.treated
    return replace(design, units=design.units.assign(test_score=x, **more))


def make_effects(first: int = -8, last: int = 4, unit: str = "share", scale: float = 0.02, base: int = -6) -> Effects:
    rng = np.random.default_rng(0)
    times = np.arange(first, last + 1)
    estimate = np.where(times >= 0, times * scale, 0.0)
    scores = rng.normal(size=(200, len(times))) * scale / 20
    scores[:, times == base] = 0
    return Effects(
        estimand="effect of starting", unit=unit, labels=pd.DataFrame({"term": times.astype(str), "event_time": times}),
        estimate=estimate, scores=scores, n_treated=np.full(len(times), 2310), n_comparison=np.full(len(times), 9000),
        spec={"base_period": base},
    )  # fmt: skip


def make_bridge() -> pd.DataFrame:
    def row(tier, stage, share, status="described", n=2310):
        return {
            "tier": tier, "stage": stage, "status": status, "share": share, "std_error": 0.01, "conf_low": share - 0.02,
            "conf_high": share + 0.02, "people": share * n, "n": n, "reason": "",
        }  # fmt: skip

    def empty(tier, stage, status, reason):
        return {"tier": tier, "stage": stage, "status": status, "reason": reason}

    return pd.DataFrame(
        [
            row("free", "claimed", 0.021, n=41_203), empty("free", "verified", "not_available", "no audits yet"),
            row("free", "observed", 0.31, n=41_203), empty("free", "counterfactual", "not_estimable", "nobody applies"),
            empty("free", "attributable", "not_estimable", "nobody applies"),
            row("paid", "claimed", 0.43), empty("paid", "verified", "not_available", "no audits yet"),
            row("paid", "observed", 0.583), row("paid", "counterfactual", 0.531, "estimated"),
            row("paid", "attributable", 0.052, "estimated"),
        ]
    )  # fmt: skip


def make_estimates() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "label": ["CPS-1, matched", "PSID-1, matched", "Randomised controls"], "group": ["1978", "1978", "Placebo"],
            "estimate": [1672.0, -800.0, np.nan], "conf_low": [-100.0, -3900.0, np.nan],
            "conf_high": [3400.0, 2500.0, np.nan], "grade": ["moderate", "cannot conclude", ""],
            "status": ["estimated", "estimated", "not_estimable"],
            "reason": ["", "", "income_lag_1 separates the groups"], "unit": "USD a year",
        }
    )  # fmt: skip


def make_flow() -> pd.DataFrame:
    return pd.DataFrame(
        [
            (0, "treated", 2601, 0, "first starts in the tier in 2024"), (1, "treated", 2590, 11, "no consent"),
            (2, "treated", 2590, 0, "nobody"), (3, "treated", 2590, 0, "treated records"),
            (0, "comparison", 18_000, 0, "applicant-months in 2024"), (1, "comparison", np.nan, np.nan, "no funding"),
            (2, "comparison", 2310, 14_690, "closed before: no_funding"),
        ],
        columns=["step", "arm", "n", "excluded", "reason"],
    )  # fmt: skip


def make_reach() -> pd.DataFrame:
    return pd.DataFrame(
        [
            ("free", "everyone", 41_203, 1.0), ("free", "women in tech", 8240, 0.2), ("free", "refugees", 494, 0.012),
            ("paid", "everyone", 240, 1.0), ("paid", "women in tech", 48, 0.2), ("paid", "refugees", np.nan, np.nan),
        ],
        columns=["tier", "group", "n", "share"],
    )  # fmt: skip


def make_rates() -> pd.DataFrame:
    months = np.arange(25)
    arms = [
        pd.DataFrame({"month": months, "arm": arm, "rate": top * (1 - np.exp(-months / 8))})
        for arm, top in (("treated", 0.61), ("comparison", 0.55))
    ]
    frame = pd.concat(arms, ignore_index=True)
    return frame.assign(conf_low=frame["rate"] - 0.02, conf_high=frame["rate"] + 0.02)


def make_bounds(**changes) -> Bounds:
    ends = {"with the dip": [(90, 150), (100, 140), (-20, 260), (-140, 380)],
            "without the dip": [(90, 150), (90, 130), (60, 190), (-10, 270)]}  # fmt: skip
    rows = [
        {"pre_periods": name, "value": value, "conf_low": low, "conf_high": high, "estimate": point}
        for name, pairs in ends.items()
        for value, point, (low, high) in zip([np.nan, 0, 1, 2], [120.0, *[np.nan] * 3], pairs, strict=True)
    ]
    given = {
        "estimand": "ATT by event time, average of event times 0 to 5", "unit": "EUR a quarter", "parameter": "Mbar",
        "restriction": "relative magnitudes", "table": pd.DataFrame(rows),
        "breakdowns": {"with the dip": 0.847, "without the dip": 1.91}, "spec": {"level": 0.95, "method": "c-lf"},
    }  # fmt: skip
    return Bounds(**{**given, **changes})


def make_bracket() -> pd.DataFrame:
    return pd.DataFrame(
        {"label": ["Matched", "Symmetric", "Long base"], "estimate": [0.05, 0.06, 0.07], "conf_low": [0.01, 0.0, 0.02],
         "conf_high": [0.09, 0.12, 0.12], "headline": [True, False, False]}
    )  # fmt: skip


DRAWINGS: dict[str, Callable[[], tuple[Callable[..., Figure], object, dict]]] = {
    "love": lambda: (plots.love, make_balance(), {}),
    "overlap": lambda: (plots.overlap, make_design(), {}),
    "ecdf": lambda: (plots.ecdf, with_covariate(), {"covariate": "test_score"}),
    "event_study": lambda: (plots.event_study, make_effects(), {"dip": (-3, -1), "period": "quarters"}),
    "waterfall": lambda: (plots.waterfall, make_bridge(), {}),
    "estimates": lambda: (plots.estimates, make_estimates(), {"benchmark": 1794.34, "benchmark_interval": (479, 3109)}),
    "bracket": lambda: (plots.bracket, make_bracket(), {"unit": "share"}),
    "flow": lambda: (plots.flow, make_flow(), {}),
    "reach": lambda: (plots.reach, make_reach(), {}),
    "rates": lambda: (plots.rates, make_rates(), {"landmark": 12}),
    "honest_bounds": lambda: (plots.honest_bounds, make_bounds(), {}),
}


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_figure_is_drawn_within_its_page_and_says_what_it_is_told(name):
    function, data, options = DRAWINGS[name]()
    figure = function(data, **options, title="A?", subtitle="Unit, n", footnote="From here, 5 US$ or 6 US$.")
    said(figure, "A?", "Unit, n", "From here, 5 US$ or 6 US$.")
    inside(figure)
    default = function(data, **options)
    assert default.get_figwidth() == 7
    inside(default)


@pytest.mark.parametrize("name", DRAWINGS)
def test_the_same_figure_is_saved_as_the_same_bytes(name, tmp_path):
    function, data, options = DRAWINGS[name]()
    figure = function(data, **options)
    first = [path.read_bytes() for path in plots.save(figure, tmp_path / "a" / name)]
    again = [path.read_bytes() for path in plots.save(figure, tmp_path / "b" / name)]
    with matplotlib.rc_context({"font.size": 20, "axes.grid": True, "svg.hashsalt": "other", "savefig.dpi": 30}):
        redrawn = [path.read_bytes() for path in plots.save(function(data, **options), tmp_path / "c" / name)]
    assert first == again == redrawn
    assert first[0].startswith(b"<?xml") and b"<dc:date>" not in first[0] and first[1].startswith(b"\x89PNG")


@pytest.mark.parametrize("name", DRAWINGS)
def test_inputs_and_settings_are_left_as_they_were(name):
    function, data, options = DRAWINGS[name]()
    table = data if isinstance(data, pd.DataFrame) else getattr(data, "table", None)
    copy = table.copy(deep=True) if table is not None else None
    settings = dict(matplotlib.rcParams)
    function(data, **options)
    assert dict(matplotlib.rcParams) == settings
    if copy is not None:
        pd.testing.assert_frame_equal(table, copy)


def test_a_fresh_process_saves_the_same_bytes(tmp_path):
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import test_plots as t; from attribution.report import plots\n"
        "f, d, o = t.DRAWINGS['waterfall'](); plots.save(f(d, **o), sys.argv[2])"
    )
    here = __file__.rsplit("/", 1)[0]
    subprocess.run([sys.executable, "-c", program, here, str(tmp_path / "other")], check=True)
    function, data, options = DRAWINGS["waterfall"]()
    mine = plots.save(function(data, **options), tmp_path / "mine")
    for path in mine:
        assert path.read_bytes() == (tmp_path / f"other{path.suffix}").read_bytes()


def test_a_figure_shows_itself_without_a_window():
    figure = plots.love(make_balance())
    assert figure._repr_png_().startswith(b"\x89PNG")
    import matplotlib.pyplot as plt

    assert not plt.get_fignums()


def test_love_counts_what_still_differs_and_speaks_words():
    balance = make_balance()
    balance.table.loc[1, "smd"] = 0.31
    figure = plots.love(balance)
    said(figure, "After matching, 1 of 10 covariates still differ", "Income, 1 period before", "after, beyond 0.1")
    assert not [text for text in words(figure) if "_" in text]
    said(plots.love(balance, labels={"age": "Years lived"}), "Years lived")


def test_love_bears_the_infinite_the_missing_and_the_many():
    balance = make_balance(80)
    long = {f"covariate_{j}": f"some_very_long_covariate_name_that_goes_on_and_on_{j}" for j in range(0, 80, 5)}
    balance.table["covariate"] = balance.table["covariate"].replace(long)
    balance.table.loc[0, "smd"], balance.table.loc[2, "smd"], balance.table.loc[5, "smd"] = np.inf, -40.0, np.nan
    figure = plots.love(balance)
    said(figure, "∞", "−40.0", "(1 unknown)", "60 largest of 80")
    inside(figure)
    inside(plots.love(make_balance(1)))


def test_overlap_counts_both_arms_and_needs_a_propensity():
    said(plots.overlap(make_design()), "60 of 60 started and 60 of 400 comparison are kept", "Outline: everyone")
    said(plots.overlap(make_design(shift=4.0)), "logit scale")
    with pytest.raises(AttributionError, match="propensity"):
        plots.overlap(replace(make_design(), propensity=None))
    inside(plots.overlap(make_design(3, 5)))
    nobody = make_design()
    inside(plots.overlap(replace(nobody, weights=np.zeros(len(nobody.weights)))))


def test_overlap_of_weights_tells_what_they_count_for():
    design = make_design()
    weights = np.where(design.treated, 1.0, np.arange(460) % 2 + 1.0)
    text = "60 of 60 started and 400 of 400 comparison are kept; weighted, they count as much as 60 and 360"
    said(plots.overlap(replace(design, weights=weights)), text, "with their weights", "are compared")


def test_love_names_squares_and_interactions_and_the_kind_of_design():
    units = make_design().units
    rng = np.random.default_rng(0)
    sites = rng.choice(["new_york", "rome"], 460)
    units = units.assign(x=rng.normal(size=460), flag=rng.integers(0, 2, 460), site=sites)
    design = replace(make_design(), units=units, covariates=("x", "flag", "site"), spec={"method": "ipw"}, target="all")
    found = balance(design, squares=True, interactions=True)
    figure = plots.love(found, labels={"flag": "Has a car"}, order="given")
    said(figure, "After weighting", "both groups, pooled", "X²", "X × Has a car: no", "X × Site: new york", "±0.25",
         "covariates, squares and interactions")  # fmt: skip
    inside(figure)
    rows = [t.get_text() for t in figure.axes[0].get_yticklabels()]
    assert rows[:3] == ["X", "Has a car", "Site: new york"]
    by_after = plots.love(found, order="after")
    biggest = found.table.query("sample == 'after'").set_index("covariate")["smd"].abs().idxmax()
    assert by_after.axes[0].get_yticklabels()[0].get_text() == spoken(found, biggest)


def test_love_marks_every_cluster():
    rng = np.random.default_rng(0)
    units = make_design().units.assign(x=rng.normal(size=460), site=np.arange(460) % 3)
    found = balance(replace(make_design(), units=units, covariates=("x",)), by="site")
    figure = plots.love(found)
    said(figure, "after, each site")
    inside(figure)
    marks = [line for line in figure.axes[0].get_lines() if line.get_marker() == "|"]
    expected = found.clusters.query("sample == 'after' and covariate == 'x'")["smd"]
    np.testing.assert_allclose(marks[0].get_xdata(), expected)


def test_ecdf_shows_where_the_groups_are_furthest_apart():
    """Treated 3 4, comparison 1 2 | 3 4 of weight 1 | 0: all apart before, the same after."""
    frame = pd.DataFrame({"treated": [1, 1, 0, 0, 0, 0], "x": [3.0, 4, 1, 2, 3, 4], "word": list("ababab")})
    design = replace(make_design(2, 4), units=frame, weights=np.array([1.0, 1, 0, 0, 1, 1]))
    figure = plots.ecdf(design, "x", labels={"x": "Points won"})
    said(figure, "Points won: up to 50 points apart before, 0 after the design", "furthest apart: 50 points")
    before, after = figure.axes
    lines = {line.get_label(): line.get_xydata() for line in before.get_lines()}
    assert lines["started"][1:-1].tolist() == [[1, 0], [2, 0], [3, 50], [4, 100]]
    assert lines["comparison"][1:-1].tolist() == [[1, 25], [2, 50], [3, 75], [4, 100]]
    after_lines = {line.get_label(): line.get_ydata() for line in after.get_lines()}
    np.testing.assert_allclose(after_lines["started"], after_lines["comparison"])
    for column, message in (("word", "no order"), ("nowhere", "nowhere"), ("treated2", "several finite")):
        with pytest.raises(AttributionError, match=message):
            plots.ecdf(replace(design, units=frame.assign(treated2=1)), column)


def test_ecdf_bears_long_tails_missing_values_and_many_rows():
    n = 5000
    wild = np.random.default_rng(0).normal(size=n) ** 9
    wild[:7] = np.nan
    figure = plots.ecdf(with_covariate(n, a_very_long_name_of_a_covariate_that_goes_on_and_on=wild),
                        "a_very_long_name_of_a_covariate_that_goes_on_and_on")  # fmt: skip
    said(figure, "7 without a value are left out", "Not drawn: at most 1%")
    inside(figure)
    assert max(len(line.get_xdata()) for axis in figure.axes for line in axis.get_lines()) < 2100


def test_event_study_marks_base_dip_and_both_intervals():
    figure = plots.event_study(make_effects(), dip=(-3, -1))
    said(figure, "base", "dip before date zero", "before", "after", "covers all of them at once", "percentage points")
    said(figure, "2,310 treated")
    said(plots.event_study(make_effects(), dip=(-1, -1)), "\ndip\n")
    alone = plots.event_study(make_effects(), bands="pointwise", base=-2)
    assert "at once" not in "\n".join(words(alone))


def test_event_study_bears_gaps_single_times_and_tiny_or_huge_numbers():
    effects = make_effects(-12, 18, unit="tiny", scale=1e-7)
    broken = effects.estimate.copy()
    broken[[4, 20]] = np.nan
    inside(plots.event_study(replace(effects, estimate=broken)))
    inside(plots.event_study(make_effects(unit="EUR a year", scale=4e7)))
    single = plots.event_study(make_effects(2, 2))
    assert [t.get_text() for t in single.axes[0].get_xticklabels()] == ["+2"]
    with pytest.raises(AttributionError, match="event_time"):
        plots.event_study(replace(effects, labels=effects.labels.drop(columns="event_time")))


def test_waterfall_floats_the_difference_and_never_invents_a_number():
    figure = plots.waterfall(make_bridge(), labels={"paid": "Paid courses"})
    said(figure, "Free courses", "Paid courses", "+5.2 points", "+120 people", "58.3%", "41,203 people")
    assert words(figure).count("not estimable") == 2 and words(figure).count("not available") == 2
    said(figure, "Not estimable, counterfactual, attributable (Free courses): nobody applies.")
    said(figure, "Not available, verified: no audits yet.")
    bars = {round(bar.get_x(), 3): round(bar.get_width(), 3) for bar in figure.axes[1].patches}
    assert bars[53.1] == 5.2


def test_waterfall_bears_losses_suppression_and_many_tiers():
    frame = make_bridge()
    paid = frame[frame["tier"] == "paid"]
    loss = paid.assign(tier="subscription")
    loss["share"] = [0.4, np.nan, 0.31, 0.38, -0.07]
    loss["people"] = loss["share"] * loss["n"]
    loss[["conf_low", "conf_high"]] = np.column_stack([loss["share"] - 0.04, loss["share"] + 0.04])
    hidden = paid.assign(tier="a_tier_with_a_very_long_name_indeed", status="suppressed", reason="fewer than 10 people")
    figure = plots.waterfall(pd.concat([frame, loss, hidden], ignore_index=True))
    said(figure, "−7.0 points", "−162 people", "suppressed", "fewer than 10 people")
    inside(figure)
    inside(plots.waterfall(hidden))


def test_estimates_stand_beside_the_known_answer():
    figure = plots.estimates(make_estimates(), benchmark=1794.34)
    said(figure, "Experiment +1,794", "+1,672 [−100, +3,400]", "Placebo", "not estimable", "Hollow: cannot conclude.")
    said(figure, "Randomised controls: income, 1 period before separates the groups")
    inside(figure)


def test_estimates_bear_enormous_missing_and_single_intervals():
    frame = pd.DataFrame(
        {"label": ["wide", "word " * 60, "no_interval", "far"], "estimate": [0.05, 0.02, 0.01, 5e4],
         "conf_low": [-3e6, 0.01, np.nan, 49_999.0], "conf_high": [3e6, 0.03, np.nan, 50_001.0]}
    )  # fmt: skip
    figure = plots.estimates(frame)
    said(figure, "−3.0 m, +3.0 m", "No interval", "…")
    inside(figure)
    inside(plots.estimates(frame.iloc[[2]], unit="share"))
    inside(plots.estimates(frame.assign(estimate=np.nan)))


@pytest.mark.parametrize(
    ("values", "title"),
    [
        ([0.05, 0.06], "All 2 declared estimators agree on the sign: from +5.0 to +6.0 points"),
        ([0.05, -0.06], "disagree on the sign: cannot conclude"),
        ([0.05, 0.0], "disagree on the sign: cannot conclude"),
        ([np.nan, 0.06], "One declared estimator could be computed"),
        ([np.nan, np.nan], "None of the declared estimators could be computed"),
    ],
)
def test_the_bracket_says_whether_its_signs_agree(values, title):
    frame = make_bracket().iloc[:2].assign(estimate=values)
    said(plots.bracket(frame, unit="share"), title)


def test_the_flow_adds_up_in_words_and_hides_small_steps():
    figure = plots.flow(make_flow())
    said(figure, "2,601", "−11 No consent", "−14,690 Closed before: no funding", "not shown, to protect a small group")
    assert "Nobody" not in words(figure)


def test_reach_hatches_what_is_suppressed():
    figure = plots.reach(make_reach())
    said(figure, "41,203 people", "20%", "8,240", "1.2%", "small group", "withheld")
    inside(plots.reach(make_reach().query("tier == 'paid'")))
    inside(plots.reach(make_reach().query("group == 'everyone'")))
    said(plots.reach(make_reach().drop(index=2)), "not asked")


def test_rates_label_their_lines():
    said(plots.rates(make_rates(), labels={"treated": "Began", "comparison": "Waited"}), "Began 58.0%", "Waited 52.3%")
    few = pd.DataFrame({"month": [6, 6, 12, 12], "arm": list("abab"), "rate": [0.3, 0.3, 0.51, np.nan]})
    inside(plots.rates(few))
    inside(plots.rates(few.iloc[:1]))
    inside(plots.rates(few.assign(rate=np.nan)))


@pytest.mark.parametrize("name", ["waterfall", "estimates", "bracket", "flow", "reach", "rates"])
def test_a_frame_that_cannot_be_drawn_is_refused_by_name(name):
    with pytest.raises(AttributionError, match=f"plots.{name}"):
        getattr(plots, name)(pd.DataFrame({"wrong": [1]}))
    function, data, options = DRAWINGS[name]()
    with pytest.raises(AttributionError, match="no rows"):
        function(data.iloc[:0], **options)


def test_numbers_are_written_one_way():
    assert [number(v) for v in (1234.5, -0.0123, 12.34, 0, np.nan, 2.5e6, 3e9)] == [
        "1,234", "−0.012", "12.3", "0", "–", "2.5 m", "3.0 bn",
    ]  # fmt: skip
    assert (number(3, signed=True), number(-0.0001, 2, signed=True), count(1234.6)) == ("+3.0", "0.00", "1,235")
    assert Unit("share").interval(0.1106, 0.0255, 0.1957) == "+11.1 [+2.5, +19.6]"
    assert Unit("share", effect=False).value(0.7568) == "75.7%"
    assert Unit("USD a year").interval(1794.342, 479, 3109) == "+1,794 [+479, +3,109]"
    assert Unit("share").interval(np.nan, np.nan, np.nan) == "–"


def test_names_are_words():
    assert pretty("income_lag_2") == "Income, 2 periods before"
    assert pretty("odd_name") == "Odd name" and pretty("odd_name", {"odd_name": "Mine"}) == "Mine"
    assert in_words("income_lag_1 differs by 0.6 SD") == "income, 1 period before differs by 0.6 SD"


def test_honest_bounds_say_where_they_reach_zero():
    figure = plots.honest_bounds(make_bounds())
    said(figure, "The effect outlasts trends that part 0.84 times as fast as before", "with the dip", "without the dip",
         "breakdown 0.84", "breakdown 1.91", "usual interval", "95% sets, C-LF", "EUR a quarter")  # fmt: skip
    lines = [line.get_xdata()[0] for line in figure.axes[0].lines if line.get_linestyle() == "--"]
    assert lines == [0.847, 1.91]


def test_honest_bounds_say_what_they_cannot_draw():
    one = make_bounds().table
    one = one[one["pre_periods"] == "without the dip"].assign(pre_periods="as named")
    one.loc[one["value"] == 1, ["conf_low", "conf_high"]] = np.nan
    one.loc[one["value"] == 2, "conf_high"] = np.inf
    for value, text in (
        (0.0, "Zero cannot be excluded, even if trends part no further"), (0.0, "holds zero already at Mbar = 0"),
        (np.inf, "The effect outlasts every departure from parallel trends tried"), (np.inf, "at no Mbar tried"),
        (7.5, "beyond the drawing, at Mbar 7.50"), (7.5, "empty"),
    ):  # fmt: skip
        figure = plots.honest_bounds(make_bounds(table=one, breakdowns={"as named": value}))
        said(figure, text)
        inside(figure)
    ticks = [line.get_marker() for line in figure.axes[0].lines]
    assert "^" in ticks and "v" not in ticks  # one set has no upper end
