"""Recovery on small simulated schools: does each estimand, as trimmed, cover its known truth, and is the rest flagged?

    python tests/recovery/proof.py [SEEDS]       writes results.csv (one row a variant and estimand) and first.csv,
                                                 the same over its first 60 seeds, which CI makes again

Each seed draws 3,000 applicants, runs the code of the notebooks (compare, att, income_effects) and sets the estimate
beside the truth of exactly the people it speaks for: the mean of their own two potential outcomes.
"""

from __future__ import annotations

import os
import sys
import tomllib
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parents[2]
RESULTS, FIRST = Path(__file__).with_name("results.csv"), Path(__file__).with_name("first.csv")
AGAIN = 60  # seeds that CI runs again
VARIANTS = ["base", "zero", "hidden", "no_dip", "dynamic", "anticipation"]
APPLICANTS = 3_000
CONFIG = tomllib.loads((ROOT / "data" / "demo" / "study.toml").read_text(encoding="utf-8"))


def one(job: tuple[str, int]) -> list[dict]:
    """One simulated school: a row an estimand."""
    variant, seed = job
    import attribution as at
    from attribution.findings.bridge import verdict

    school = at.simulate_school(APPLICANTS, seed=seed, variant=variant, core=True, applicant_share=1.0)
    study = at.Study.from_tables(CONFIG, school.tables, year=2025)
    people = school.people.set_index("person_id")
    one = at.compare(study, "paid")
    rows = []

    def keep(estimand: str, effect, term: str, truth: float, grade: str) -> None:
        j = list(effect.labels["term"]).index(term)
        rows.append({
            "variant": variant, "seed": seed, "estimand": estimand, "estimate": effect.estimate[j],
            "std_error": effect.std_error[j], "truth": truth, "grade": grade,
            "verdict": verdict(effect.estimate[j], effect.std_error[j]),
        })  # fmt: skip

    units, design = one.cohort.units, one.design
    matched = people.loc[units.loc[design.matched & design.treated, "person"]]
    effect = at.att(design, "employed_h", data=one.cohort.outcomes)
    gained = matched["employed1_q4"].astype(float) - matched["employed0_q4"]
    keep("placement, matched", effect, "employed_h", gained.mean(), one.grade.level)

    income = at.income_effects(study, one)
    for k in (2, 4):
        truth = (matched[f"income1_q{k}"] - matched[f"income0_q{k}"]).mean() / 100
        keep(f"household income, quarter {k}", income.events, f"event_time={k}", truth, income.grade.level)
    gain = np.mean([(matched[f"income1_q{k}"] - matched[f"income0_q{k}"]).mean() for k in range(5)]) / 100
    keep("household income, overall", income.overall, "overall", gain, income.grade.level)
    return rows


def runs(seeds: int, variants: list[str] = VARIANTS) -> pd.DataFrame:
    """All rows of `seeds` schools a variant, two processes."""
    jobs = [(variant, seed) for variant in variants for seed in range(1, seeds + 1)]
    with ProcessPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
        return pd.DataFrame([row for rows in pool.map(one, jobs, chunksize=10) for row in rows])


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a variant and estimand: bias in SEs, RMSE, coverage, SE ratio, how often flagged or confidently wrong."""
    out = []
    for (variant, estimand), part in rows.groupby(["variant", "estimand"], sort=False):
        error = part["estimate"] - part["truth"]
        said = part["grade"].isin(["strong", "moderate", "weak"]) & (part["verdict"] != "no clear effect")
        sign = np.sign(part["truth"].mean()) if variant != "zero" else 0.0
        wrong = said & (np.where(part["verdict"] == "raised", 1.0, -1.0) != sign)
        out.append({
            "variant": variant, "estimand": estimand, "seeds": len(part), "truth": part["truth"].mean(),
            "bias": error.mean(), "mean_se": part["std_error"].mean(),
            "bias_in_se": error.mean() / part["std_error"].mean(),
            "rmse": float(np.sqrt((error**2).mean())), "se_ratio": part["std_error"].mean() / error.std(),
            "coverage": (error.abs() < 1.959964 * part["std_error"]).mean(),
            "cannot_conclude": (part["grade"] == "cannot conclude").mean(), "confident_wrong_sign": wrong.mean(),
        })  # fmt: skip
    return pd.DataFrame(out)


def markdown(table: pd.DataFrame) -> str:
    """The rows that README quotes."""
    titles = {"base": "base", "zero": "no effect at all", "no_dip": "no dip", "anticipation": "anticipation",
              "dynamic": "dynamic assignment", "hidden": "hidden confounder"}  # fmt: skip
    heads = ["variant", "estimand", "truth", "bias, in SEs", "coverage of 95 %", "SE ratio", "*cannot conclude*",
             "wrong sign stated"]  # fmt: skip
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    rows = table.set_index(["variant", "estimand"])
    for variant, title in titles.items():
        for estimand in ("placement, matched", "household income, quarter 4"):
            row = rows.loc[(variant, estimand)]
            truth = f"{100 * row['truth']:+.1f} points" if "placement" in estimand else f"{row['truth']:+.0f} EUR"
            lines.append(
                f"| {title} | {estimand} | {truth} | {row['bias_in_se']:+.2f} | {row['coverage']:.1%} | "
                f"{row['se_ratio']:.2f} | {row['cannot_conclude']:.0%} | {row['confident_wrong_sign']:.1%} |"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    rows = runs(int(sys.argv[1]) if len(sys.argv) > 1 else 500)
    table = summarise(rows)
    table.round(4).to_csv(RESULTS, index=False, lineterminator="\n")
    summarise(rows[rows["seed"] <= AGAIN]).round(4).to_csv(FIRST, index=False, lineterminator="\n")
    print(table.round(3).to_string(index=False))
