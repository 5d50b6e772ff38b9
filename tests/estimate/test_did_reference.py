"""R did 2.5.1 and DRDID 1.2.3 on mpdta: estimates to 1e-8, standard errors to 1e-6; a canary tests the test."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from places import ROOT

from attribution.cohorts.panel import Panel
from attribution.estimate.aggregate import aggregate
from attribution.estimate.did import group_time_att
from attribution.inference import sup_t, wald
from attribution.stress.placebo import pre_period

FOLDER = ROOT / "tests" / "reference" / "did"
REFERENCE = json.loads((FOLDER / "mpdta_did.json").read_text())
CASES = {case["id"]: case for case in REFERENCE["cases"]}
METHODS = {"drdid/imp": "dr_imp", "drdid/trad": "dr", "ipwdid/normalized=TRUE": "ipw", "ordid": "reg"}
TWO_BY_TWO = {case["id"]: case for case in json.loads((FOLDER / "drdid_2x2.json").read_text())["cases"]}
BY = {"simple": "overall", "dynamic": "event_time", "group": "cohort", "calendar": "period"}


@pytest.fixture(scope="module")
def mpdta() -> pd.DataFrame:
    frame = pd.read_parquet(FOLDER / "mpdta.parquet")
    return frame.assign(first_treat=frame["first_treat"].replace(0, np.nan))


def fit(frame, args):
    panel = Panel(frame, unit="countyreal", period="year", cohort="first_treat", outcome="lemp",
                  weight=args.get("weightsname"))  # fmt: skip
    comparison = args.get("control_group", "nevertreated").replace("notyet", "not_yet_").replace("never", "never_")
    covariates = [name for name in args.get("xformla", "").strip("~1").split("+") if name]
    return group_time_att(
        panel, comparison=comparison, method=args.get("est_method", "dr"), covariates=covariates,
        base_period=args.get("base_period", "varying"), anticipation=args.get("anticipation", 0),
    )  # fmt: skip


def ours(gt, case):
    """What the case holds, computed by us: {name: (estimate, standard error)}."""
    rows = zip(gt.labels["cohort"], gt.labels["period"], gt.estimate, gt.std_error, strict=True)
    found = {(g, t): (att, se) for g, t, att, se in rows}
    for kind in case["agg"]:
        balance = int(kind.removeprefix("dynamic_balance_e")) if "balance" in kind else None
        by = BY[kind.split("_")[0]]
        one = aggregate(gt, by=by, overall=True, balance=balance)
        found[kind, "overall"] = one.estimate[0], one.std_error[0]
        if by != "overall":
            each = aggregate(gt, by=by, balance=balance)
            rows = zip(each.labels[by], each.estimate, each.std_error, strict=True)
            found |= {(kind, at): (att, se) for at, att, se in rows}
    return found


def theirs(case):
    expected = {(g, t): (att, se) for g, t, att, se in case["att_gt"]}
    for kind, agg in case["agg"].items():
        expected[kind, "overall"] = tuple(agg["overall"])
        expected |= {(kind, at): (att, se) for at, att, se in agg["rows"]}
    return expected


def differences(found, expected):
    """Names of the values that are off."""
    off = []
    for name, (att, se) in expected.items():
        if not np.isclose(found[name][0], att, rtol=1e-8, atol=1e-9):
            off.append((name, "att"))
        if (se is None) != bool(np.isnan(found[name][1])) or (se and not np.isclose(found[name][1], se, rtol=1e-6)):
            off.append((name, "se"))
    return off


@pytest.mark.parametrize("name", CASES)
def test_did(mpdta, name):
    case = CASES[name]
    gt = fit(mpdta, case["args"])
    assert gt.spec["units"] == case["n_units"]
    assert differences(ours(gt, case), theirs(case)) == []
    before = (gt.labels["event_time"] < 0).to_numpy() & np.isfinite(gt.std_error)
    assert wald(gt.estimate[before], gt.cov[np.ix_(before, before)])[0] == pytest.approx(case["pretest"]["W"], rel=1e-6)
    if not gt.spec["anticipation"]:  # did also tests the anticipated periods, in which an effect is allowed: we do not
        assert pre_period(gt).statistic == pytest.approx(case["pretest"]["W"], rel=1e-6)
    if "vcov_gt" in case:
        np.testing.assert_allclose(gt.cov, np.array(case["vcov_gt"]), rtol=1e-6, atol=1e-10)


def test_canary_every_reference_column_is_read(mpdta):
    case = CASES["mpdta/lpop/dr/nevertreated/ant0/varying"]
    found, expected = ours(fit(mpdta, case["args"]), case), theirs(case)
    for name, (att, se) in expected.items():
        assert differences(found, {name: (att * (1 + 1e-6) + 1e-8, se)}) == [(name, "att")]
        assert differences(found, {name: (att, se * (1 + 1e-5))}) == [(name, "se")]


@pytest.mark.parametrize("name", METHODS)
def test_drdid_2x2(mpdta, name):
    """All 18 cases are held in test_did_2x2.py; these four are group-time effects too."""
    case, method = TWO_BY_TWO[f"mpdta2x2/{name}"], METHODS[name]
    two = mpdta[mpdta["year"].isin([2003, 2004]) & (mpdta["first_treat"].isna() | (mpdta["first_treat"] == 2004))]
    gt = fit(two, {"est_method": method, "xformla": "~lpop"})
    assert gt.estimate[0] == pytest.approx(case["att"], rel=1e-7)
    assert gt.std_error[0] == pytest.approx(case["se"], rel=1e-6)


def test_simultaneous_band(mpdta):
    """did's own bootstrap differs by design (see the README there); the Gaussian plug-in is the one to meet."""
    gt = fit(mpdta, {"xformla": "~lpop"})
    assert sup_t(gt.cov) == pytest.approx(REFERENCE["supt"]["gauss_crit_gt"], abs=0.03)
    assert 2.60 <= sup_t(gt.cov) <= 2.86


def test_cases_left_out_are_named():
    assert {why for _, why in REFERENCE["not_copied"]} == {
        "repeated cross sections", "bootstrap critical values: tested within an interval"}  # fmt: skip
