"""fastdid 1.0.7 on mpdta: 60 calls, estimates to 1e-8, analytic standard errors to 1e-6."""

from __future__ import annotations

import json
import re

import numpy as np
import pandas as pd
import pytest
from did_oracle import att_gt
from places import ROOT

import attribution as at

FOLDER = ROOT / "tests" / "reference" / "did"
REFERENCE = json.loads((FOLDER / "fastdid_sunab_mpdta.json").read_text())
CASES = {case["id"]: case for case in REFERENCE["cases"] if case["id"].startswith("fastdid/")}
COMPARISON = {"never": "never_treated", "both": "not_yet_treated"}  # "both": the never and the not yet treated
KEY = {"simple": None, "group": "cohort", "time": "period", "dynamic": "event_time", "group_time": None}
BY = {"simple": "overall", "group": "cohort", "time": "period", "dynamic": "event_time"}


@pytest.fixture(scope="module")
def fits():
    """ATT(g, t) of each set of options, once."""
    frame = pd.read_parquet(FOLDER / "mpdta.parquet")
    frame = frame.assign(first_treat=frame["first_treat"].replace(0, np.nan))
    panel = at.Panel(frame, unit="countyreal", period="year", cohort="first_treat", outcome="lemp")
    options = sorted({tuple(name.split("/")[1:4]) for name in CASES})
    return {
        (cov, method, control): at.group_time_att(
            panel, comparison=COMPARISON[control], base_period="varying", method=method,
            covariates=("lpop",) if cov == "cov" else (),
        )
        for cov, method, control in options
    }  # fmt: skip


def before_treatment(gt, kind):
    """fastdid's aggregates of the ATT(g, t) before treatment, which `aggregate` has not: {key: (estimate, se)}."""
    g, t = gt.labels["cohort"].to_numpy(), gt.labels["period"].to_numpy()
    key = {"simple": np.zeros(len(gt)), "group": g, "time": t}[kind]
    at_row = gt.shares.index.get_indexer(pd.Index(g))
    out = {}
    for k in np.unique(key[t < g]):
        rows = np.flatnonzero((t < g) & (key == k))
        share, weights = gt.shares.to_numpy()[at_row[rows]], np.zeros(len(gt))
        weights[rows] = 1 / len(rows) if kind == "group" else share / share.sum()
        extra = None
        if kind != "group":
            gain = gt.estimate[rows] - weights @ gt.estimate
            extra = (gt.share_scores[:, at_row[rows]] @ gain / share.sum())[:, None]
        one = gt.combine(weights, weights_influence=extra)
        out[k, "pre"] = one.estimate[0], one.std_error[0]
    return out


def ours(gt, kind):
    if kind == "group_time":
        keys = zip(gt.labels["cohort"], gt.labels["period"], strict=True)
        return dict(zip(keys, zip(gt.estimate, gt.std_error, strict=True), strict=True))
    fit = at.aggregate(gt, by=BY[kind])
    keys = fit.labels[KEY[kind]] if KEY[kind] else [0]
    post = zip(keys, zip(fit.estimate, fit.std_error, strict=True), strict=True)
    if kind == "dynamic":
        return dict(post)
    return {(k, "post"): pair for k, pair in post} | before_treatment(gt, kind)


def theirs(case, kind):
    def key(row):
        if kind == "group_time":
            return row["cohort"], row["time"]
        if kind == "dynamic":
            return row["event_time"]
        return row.get("cohort", row.get("time", 0)), row["type"]

    return {key(row): (row["att"], row["se"]) for row in case["rows"]}


@pytest.mark.parametrize("name", CASES)
def test_fastdid(fits, name):
    _, cov, method, control, kind = name.split("/")
    call = CASES[name]["call"]  # what the name says is what was called
    assert re.search(f"control_option='{control}', control_type='{method}'", call) and "base_period='varying'" in call
    assert (f"result_type='{kind}'" in call) and (("covariatesvar=lpop" in call) == (cov == "cov"))
    found, expected = ours(fits[cov, method, control], kind), theirs(CASES[name], kind)
    # fastdid ends its logit early: see test_where_fastdid_is_off
    held = 2e-6 if (cov, method, control) == ("cov", "ipw", "never") else 1e-6
    assert set(found) == set(expected)
    for key, (att, se) in expected.items():
        assert found[key][0] == pytest.approx(att, abs=1e-8), (key, "estimate")
        assert found[key][1] == pytest.approx(se, rel=held), (key, "standard error")


def test_where_fastdid_is_off(fits):
    """ipw, lpop, never treated: fastdid and R did differ by 1.7e-6; stacked estimating equations say did."""
    gt = fits["cov", "ipw", "never"]
    k = int(np.flatnonzero((gt.labels["cohort"] == 2004) & (gt.labels["period"] == 2005))[0])
    case = next(c for c in json.loads((FOLDER / "mpdta_did.json").read_text())["cases"]
                if c["id"] == "mpdta/lpop/ipw/nevertreated/ant0/varying")  # fmt: skip
    did = next(se for g, t, _, se in case["att_gt"] if (g, t) == (2004, 2005))
    fastdid = theirs(CASES["fastdid/cov/ipw/never/group_time"], "group_time")[2004, 2005][1]
    frame = pd.read_parquet(FOLDER / "mpdta.parquet")
    wide = frame.pivot(index="countyreal", columns="year", values="lemp")
    unit = frame.drop_duplicates("countyreal").set_index("countyreal").loc[wide.index]
    cohort = unit["first_treat"].replace(0, np.nan).to_numpy()
    x = unit[["lpop"]].to_numpy()
    _, scores = att_gt(wide.to_numpy(), cohort, list(wide.columns), 2004, 2005, 2003, method="ipw", x=x)
    right = np.sqrt((scores**2).sum())
    assert gt.std_error[k] == pytest.approx(right, rel=1e-12) and did == pytest.approx(right, rel=1e-9)
    assert abs(fastdid / right - 1) > 1e-6


def test_all_sixty_are_read():
    assert len(CASES) == 60
    assert REFERENCE["meta"]["package"] == {"fastdid": "1.0.7", "fixest": "0.14.2"}
