"""Findings in words and rounded numbers, for people."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from typing import Any

import pandas as pd

MINUS = "\u2212"
LONG_NOTE = 120  # letters: a longer note is said once for the same people in a table
KINDS = {
    "strong": "good", "moderate": "good", "passed": "good", "weak": "mid", "cannot conclude": "bad", "failed": "bad",
    "not estimable": "none", "not available": "none", "suppressed": "none", "not settled": "none",
    "no fault found": "none", "nothing to test": "none", "no comparison": "none",
}  # fmt: skip
FIGURE = re.compile(r"[-+−<]?[\d–][^a-z]*( ?%| points)?( to .*)?( [A-Z]{3} a \w+)?")
_NAMES = {
    "age": "Age", "female": "Women", "education": "Education level", "education_years": "Years of school",
    "no_degree": "No school diploma", "partnered": "Living with a partner", "black": "Black", "hispanic": "Hispanic",
    "unemp_months": "Months without work", "household_size": "Household size", "children_u14": "Children under 14",
    "educ": "Years of school", "nodegree": "No school diploma", "married": "Married", "hisp": "Hispanic",
    "re74": "Earnings in 1974", "re75": "Earnings in 1975", "re78": "Earnings in 1978", "u74": "Without work in 1974",
    "u75": "Without work in 1975",
    "test_score": "Admission test score", "distance": "Propensity (all covariates)", "landmark": "Landmark month",
    "application_quarter": "Quarter of application", "history_employed_share": "Share of past periods in work",
    "paid": "Paid programmes", "free": "Free courses", "apprenticeship": "Apprenticeships",
    "subscription": "Subscriptions", "treated": "Started", "stand-in": "Stand-in", "comparison": "Comparison",
    "claimed": "Claimed", "verified": "Verified", "observed": "Observed", "counterfactual": "Counterfactual",
    "attributable": "Attributable",
    "cps1": "CPS-1", "psid1": "PSID-1", "nsw_control": "Randomised controls", "no_funding": "No funding",
    "open": "Not yet decided", "withdrew": "Withdrew", "rejected": "Rejected", "elsewhere": "Went elsewhere",
}  # fmt: skip
_LAGS = {"income": "Income", "employed": "In work", "jobless": "Without work"}


def pretty(name: Any, labels: Mapping[str, str] | None = None) -> str:
    """A column or code as a label: the caller's own first, then the house's, then the code without underscores."""
    text = str(name)
    if labels and text in labels:
        return labels[text]
    if text in _NAMES:
        return _NAMES[text]
    if text.endswith("_h"):  # outcomes of a cohort: income_h, employed_h
        return f"{_LAGS.get(text[:-2], pretty(text[:-2]))} at the horizon"
    lag = re.fullmatch(r"([a-z]+)_lag_(\d+)", text)
    if lag:
        back = int(lag[2])
        what = _LAGS.get(lag[1], lag[1].capitalize())
        return f"{what}, {back} period{'s' if back > 1 else ''} before"
    if "_" not in text:
        return text[:1].upper() + text[1:]
    for stem, title in _NAMES.items():  # one level of a category, `education_bac`
        if "_" in stem and text.startswith(stem + "_"):
            return f"{title}: {text[len(stem) + 1 :].replace('_', ' ')}"
    words = text.replace("_", " ")
    return words[:1].upper() + words[1:]


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of a frame as dicts."""
    return [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]


class Told(pd.DataFrame):
    """A frame whose notebook display shows every word, no row numbers, grades as badges, its caption above."""

    @property
    def _constructor(self) -> type[pd.DataFrame]:
        return pd.DataFrame

    def _repr_html_(self) -> str:
        if self.empty:
            return ""
        with pd.option_context("display.max_colwidth", None):
            cells = pd.DataFrame(self).map(_cell)
            if "what" in cells and "note" in self.columns:  # one wide column instead of three narrow ones
                cells = _folded(pd.DataFrame(self), cells)
            cells.columns = [html.escape(str(name)) for name in cells.columns]
            caption = str(self.attrs.get("caption", ""))
            above = f'<p class="caption">{html.escape(caption)}</p>' if caption else ""
            return above + cells.to_html(index=False, border=0, classes="told", escape=False)


def _folded(frame: pd.DataFrame, cells: pd.DataFrame) -> pd.DataFrame:
    """Tier, comparison and note as quiet lines below what a finding is about."""
    pools = frame["compared with"] if "compared with" in frame else pd.Series("", index=frame.index)
    tiers = frame["tier"] if "tier" in frame else pd.Series("", index=frame.index)
    finding = []
    for what, tier, pool, note in zip(cells["what"], tiers, pools, frame["note"], strict=True):
        where = ", ".join(part for part in (tier, f"compared with: {pool}" if pool else "") if part)
        below = "".join(f'<span class="sub">{html.escape(str(line))}</span>' for line in (where, note) if line)
        finding.append(what[:1].upper() + what[1:] + below)
    rest = cells.drop(columns=["what", "note", "tier", "compared with"], errors="ignore")
    return pd.concat([pd.Series(finding, index=cells.index, name="finding"), rest], axis=1)


def _cell(value: Any) -> str:
    text = "" if pd.isna(value) else str(value)
    if text in KINDS:
        return f'<span class="badge {KINDS[text]}">{text}</span>'
    safe = html.escape(text)
    return f'<span class="keep">{safe}</span>' if len(text) < 30 and FIGURE.fullmatch(text) else safe


def slug(name: str) -> str:
    """A title as part of a finding's id."""
    return re.sub(r"\W+", "_", name.partition(" (")[0].lower()).strip("_")


class Answer(str):
    """A text that a notebook shows as a paragraph."""

    def _repr_html_(self) -> str:
        return f"<p class='answer'>{html.escape(self)}</p>"


def human_table(
    frame: pd.DataFrame, tiers: Mapping[str, str] | None = None, pools: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """Display table of findings: what, estimate with interval, n, evidence; suppressed and missing ones in words.

    tiers, pools : code -> title.
    """
    rows, seen, told = [], set(), set()
    for record in records(frame):
        pool = dict(pools or {}).get(record["pool"], record["pool"].replace("_", " "))
        what = say_what(record)
        if (what, record["tier"], pool) in seen and record["estimator"]:
            what = f"{what}; {record['estimator']}"
        seen.add((what, record["tier"], pool))
        note = plain(record["text"] or record["reason"] or "")
        if len(note) > LONG_NOTE and (record["tier"], pool, note) in told:
            note = "checks as above"
        told.add((record["tier"], pool, note))
        rows.append({
            "tier": dict(tiers or {}).get(record["tier"], record["tier"]), "what": what, "compared with": pool,
            "result": say_estimate(record), "95 % interval": say_interval(record),
            "people": say_number(record["n_covered"], "people"), "evidence": record["grade"] or "",
            "note": note,
        })  # fmt: skip
    if not rows:
        return Told()
    table = pd.DataFrame(rows).fillna("")
    always = ("what", "note")
    return Told(table[[name for name in table.columns if name in always or (table[name] != "").any()]])


_PLAIN = [
    (r"the study \S+ has no table audits( \([^)]*\))?", "nobody has checked a random sample of outcomes yet"),
    (
        r"the study \S+ has no table outcome_events( \([^)]*\))?",
        "career outcomes, and whom people credit with them, were not recorded",
    ),
    (r"the study \S+ has no table survey_invites( \([^)]*\))?", "no survey was sent"),
    (r"the study \S+ has no table (\w+)( \([^)]*\))?", r"there is no table \1"),
    (r"\bATT on the matched treated \((\d+) of (\d+)\)", r"effect on those who took part (\1 of \2 could be matched)"),
    (r"\bATT, average since date zero\b", "effect on those who took part, average since date zero"),
    (r"\bATT (?=\d)", "effect on those who took part, "),
    (r"\bATT\b", "effect on those who took part"),
    (r"\bATE of the trial\b", "effect found by the trial"),
    (r"\bof the treated have a partner\b", "of them have a similar person to compare with"),
    (r"-?\b\d+(\.\d+)?e-\d+\b", "0"),
    (r"(?<![\w.)])-(?=\d)", MINUS),
    (r"\b([a-z]+)[_ ]lag[_ ](\d+)\b", r"\1 \2 periods before date zero"),
    (r"\bjoint test p = [\d.]+ \(\d+ degrees of freedom\)", ""),
]


# What an error of the machinery required -> what a report says instead: no ranges, counts of handfuls or column names.
_REFUSED = [
    (r"^(\S+: )?(treated|comparison) records of the tier|comparison records of the status",
     "nobody is left after those were excluded who cannot be compared"),
    (r"at least one treated unit with a partner", "nobody comparable was found within the limits of the plan"),
    (r"at least two treated and two|matched units with an outcome in both arms|enough|more matched units|more treated|"
     r"more comparison|at least two (independent groups|clusters)|never-treated units",
     "there are too few people on one of the two sides"),
    (r"overlap:", "some characteristic alone decides who starts, so nobody comparable exists"),
    (r"covariates that (vary|are not combinations)|adjustment covariates that vary",
     "a characteristic that was to be held equal does not vary, or repeats another"),
    (r"no missing value", "values are missing in what the comparison needs"),
    (r"an effect at the horizon|cohorts observed", "income was not recorded long enough to reach the horizon"),
    (r"two periods or more before the dip|at least one pre-period|periods before the dip",
     "there are too few periods before the dip to see how trends had parted before"),
    (r"the year in whose prices", "the plan does not say in the prices of which year income is told"),
    (r"since the application|the period of the application", "applications are not dated in this study"),
    (r"a base period|a base well", "the plan names no base period"),
    (r"at least one estimated ATT|at least one cohort", "no effect could be estimated in any period"),
]  # fmt: skip


def refused(why: str) -> str:
    """A reason from `attempt` ("found; required: clause") as a fixed sentence; other reasons stay as they are.

    The clauses of an error name ranges, counts and columns: right for who mends the study, not for a report.
    """
    found, _, required = str(why).partition("; required: ")
    if not required:
        return why
    if required.startswith(("a tier with a comparison", "the table")):  # the study's own words
        return found.partition('design = "none": ')[2] or found
    return next((words for pattern, words in _REFUSED if re.search(pattern, required)), "these data do not allow it")


def plain(text: str) -> str:
    """A sentence of the machinery as a reader without statistics would want it; numbers stay as they are."""
    text = refused(text)
    for pattern, words in _PLAIN:
        text = re.sub(pattern, words, text)
    return re.sub(r"\s*;\s*:", ":", text).strip()


def say_what(record: Mapping[str, Any]) -> str:
    """What a finding is about, in words."""
    text = plain(str(record["estimand"] or record["term"]).replace("_", " "))
    if str(record["population"]).startswith("randomised controls"):
        text = text.replace("those who took part", "people who did not take part: the truth is zero")
    return text


POINTS = ("points", "share points", "percentage points")
NO_NUMBER = ("not_estimable", "not_available", "suppressed")
AS_IT_STANDS = ("counterfactual", "observed", "claimed", "verified")  # levels, not differences: no plus sign


def say_number(value: Any, unit: str, *, signed: bool = False, scale: float | None = None) -> str:
    """A number for people: shares as percent, counts and money without decimals.

    signed : a difference, so it carries its sign (and a share is told in points). scale : size that sets the number of
    decimals, so that the ends of an interval match.
    """
    if value is None or pd.isna(value):
        return ""
    plus = "+" if signed else ""
    if unit == "share":
        return f"{_signless(f'{100 * value:{plus}.1f}')} {'points' if signed else '%'}"
    if unit in POINTS:
        return f"{_signless(f'{value:+.1f}')} points"
    size = abs(value if scale is None else scale)
    whole = scale is None and float(value).is_integer()
    digits = 0 if size >= 100 or whole or unit == "people" else 1 if size >= 10 else 2 if size >= 0.1 else 3
    text = f"{value:{plus},.{digits}f}"
    return "0" if text.strip("+-0.,") == "" else text.replace("-", MINUS)


def _signless(text: str) -> str:
    """Zero without a sign, and a true minus."""
    return text.lstrip("+-") if not text.strip("+-0.,") else text.replace("-", MINUS)


def say_estimate(record: Mapping[str, Any]) -> str:
    """The result cell: a formatted number with its unit, or the status in words."""
    if record["status"] in NO_NUMBER:
        return record["status"].replace("_", " ")
    unit = record["unit"]
    number = say_number(record["estimate"], unit, signed=_signed(record), scale=_scale(record))
    return number if unit in ("share", *POINTS) else f"{number} {unit}".strip()


def say_interval(record: Mapping[str, Any]) -> str:
    """The interval in the unit of the result, with as many decimals as the result."""
    low, high = record["conf_low"], record["conf_high"]
    if pd.isna(low) or pd.isna(high) or record["status"] in NO_NUMBER:
        return ""
    ends = [say_number(end, record["unit"], signed=_signed(record), scale=_scale(record)) for end in (low, high)]
    return " to ".join(end.removesuffix(" points").removesuffix(" %") for end in ends)


def _scale(record: Mapping[str, Any]) -> float | None:
    """Size that sets the decimals of an estimate and its interval alike; None where there is no interval."""
    sizes = [record[name] for name in ("estimate", "conf_low", "conf_high")]
    return None if any(pd.isna(size) for size in sizes) else max(abs(size) for size in sizes)


def _signed(record: Mapping[str, Any]) -> bool:
    return record["status"] == "estimated" and record["term"] not in AS_IT_STANDS
