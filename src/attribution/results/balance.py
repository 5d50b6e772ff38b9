"""How alike the arms are before and after a design, as numbers and in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd

from ..errors import DesignError
from .result import Result
from .tables import as_html, as_text

_GRAVE_SMD = 0.25  # Rubin (2001)


@dataclass(frozen=True, kw_only=True, repr=False)
class Balance(Result):
    """Covariate balance before and after a design: `table` has one row a covariate and sample (before, after).

    threshold_smd, threshold_ks, range_ratio : customary limits (Stuart 2010; Rubin 2001), shown, deciding nothing.
    clusters : the same rows for every level of the column `spec["by"]`. notes : what a reader must know of a row.
    """

    table: pd.DataFrame
    threshold_smd: float = 0.1
    threshold_ks: float = 0.1
    range_ratio: tuple[float, float] = (0.5, 2.0)
    clusters: pd.DataFrame | None = None
    spec: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def tidy(self) -> pd.DataFrame:
        """The table; with clusters, each level's rows below it (the whole has a missing level)."""
        return self.table.copy() if self.clusters is None else pd.concat([self.table, self.clusters], ignore_index=True)

    @property
    def after(self) -> pd.DataFrame:
        """The rows after the design, but for that of the propensity, which sums the others up."""
        kind = self.table.get("kind", self.table["covariate"])  # a covariate may itself be called distance
        return self.table[(self.table["sample"] == "after") & (kind != "distance")]

    @property
    def worst_smd(self) -> float:
        """Largest absolute standardised mean difference of a covariate after the design."""
        return float(self.after["smd"].abs().max())

    @property
    def rows_are(self) -> tuple[str, str]:
        """What the rows are, many and one: "covariates and squares", "covariate or square"."""
        kinds = set(self.table.get("kind", ()))
        extra = [kind for kind in ("square", "interaction") if kind in kinds]
        many = " and ".join(", ".join(["covariates", *(f"{kind}s" for kind in extra)]).rsplit(", ", 1))
        return many, " or ".join(", ".join(["covariate", *extra]).rsplit(", ", 1))

    def across(self) -> pd.DataFrame:
        """One row a covariate and sample: mean and largest |SMD| and KS over the clusters, and the worst of them."""
        if self.clusters is None:
            raise DesignError("a balance table by cluster", "one of the whole only", "balance(design, by=...)")
        sized = self.clusters.assign(smd=self.clusters["smd"].abs())
        known = sized[sized["smd"].notna()]
        groups = known.groupby(["covariate", "sample"], sort=False)
        worst = known.loc[groups["smd"].idxmax()].set_index(["covariate", "sample"])[self.spec["by"]]
        table = groups.agg(clusters=("smd", "size"), smd_mean=("smd", "mean"), smd_max=("smd", "max"),
                           ks_mean=("ks", "mean"), ks_max=("ks", "max"))  # fmt: skip
        return table.assign(worst=worst).reset_index()

    def readable(
        self, *, order: Literal["given", "worst"] = "given", labels: Mapping[str, str] | None = None
    ) -> pd.DataFrame:
        """One row a covariate, in words: SMD before and after, variance ratio and KS after, and what stands out.

        order : as asked for, or the largest |SMD| after first. labels : column -> words.
        """
        first = self.table.drop_duplicates(["covariate", "sample"])
        before, after = (first[first["sample"] == s].set_index("covariate") for s in ("before", "after"))
        wide = pd.DataFrame({"SMD before": before["smd"], "SMD after": after["smd"]})
        for name, column in (("variance ratio", "variance_ratio"), ("KS", "ks")):
            wide[name] = after.get(column, np.nan)
        wide = wide.reindex(list(dict.fromkeys(self.table["covariate"])))
        wide["in words"] = [self._verdict(*row) for row in wide.iloc[:, 1:].itertuples(index=False)]
        if order == "worst":
            wide = wide.loc[wide["SMD after"].abs().sort_values(ascending=False, kind="stable").index]
        return wide.set_axis([self.name(label, labels) for label in wide.index]).rename_axis("covariate")

    def name(self, label: str, labels: Mapping[str, str] | None = None) -> str:
        """A row's name as people read it: `race: black`, `age × educ`, `age²`."""
        given = labels or {}
        parts = self.spec.get("parts", {}).get(label, ((label, None),))
        words = [given.get(str(column), str(column)) + ("" if level is None else f": {level}")
                 for column, level in parts]  # fmt: skip
        return given.get(label) or (f"{words[0]}²" if len(words) == 2 and words[0] == words[1] else " × ".join(words))

    def _verdict(self, smd: float, ratio: float, ks: float) -> str:
        if np.isnan(smd):
            return "not known"
        size, (low, high) = abs(smd), self.range_ratio
        said = []
        if size > self.threshold_smd:
            grave = max(_GRAVE_SMD, self.threshold_smd)
            said.append(f"far apart (over {grave:g} SD)" if size > grave else f"apart (over {self.threshold_smd:g} SD)")
        if ratio < low or ratio > high:
            said.append("spread differs" + (" (narrower among the treated)" if ratio < low else
                                            " (wider among the treated)"))  # fmt: skip
        if ks > self.threshold_ks and size <= self.threshold_smd and not said:
            said.append(f"shape differs (distributions over {self.threshold_ks:g} apart)")
        return ", ".join(said) or "close"

    def _lines(self) -> tuple[str, str]:
        after = self.after["smd"].abs()
        off, low_high = int((after > self.threshold_smd).sum()), "{:g} to {:g}".format(*self.range_ratio)
        many, one = self.rows_are
        head = (f"{off} of {len(after)} {many} differ by more than {self.threshold_smd:g} SD after the design" if off
                else f"No {one} differs by more than {self.threshold_smd:g} SD after the design")  # fmt: skip
        foot = (f"SMD: difference of means in SDs ({self.spec.get('denominator', 'original sample')}). Customary "
                f"limits: SMD {self.threshold_smd:g}, variance ratio {low_high}, KS "
                f"{self.threshold_ks:g}.")  # fmt: skip
        if self.clusters is not None:
            across = self.across().query("sample == 'after'")
            across = across[across["covariate"].isin(self.after["covariate"])].reset_index(drop=True)
            if len(across):
                row = across.iloc[int(across["smd_max"].argmax())]
                foot += (f" Worst by {self.spec['by']}: {self.name(row['covariate'])}, {row['smd_max']:.2f} SD in "
                         f"{row['worst']}.")  # fmt: skip
        return head, foot

    def summary(self, *, order: Literal["given", "worst"] = "given", labels: Mapping[str, str] | None = None) -> str:
        """The readable table; order and labels as there."""
        head, foot = self._lines()
        return "\n".join([head, as_text(self.readable(order=order, labels=labels).reset_index()), foot, *self.notes])

    def _repr_html_(self) -> str:
        head, foot = self._lines()
        return as_html(head, self.readable().reset_index(), (foot, *self.notes), alert="apart")
