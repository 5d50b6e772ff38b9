"""The face every result shows: a tidy frame, a summary for people, HTML for notebooks."""

from __future__ import annotations

import html

import pandas as pd


class Result:
    """Shared face of the results: `tidy()` for frames, `summary()` for people, HTML for notebooks."""

    def tidy(self) -> pd.DataFrame:
        raise NotImplementedError

    def summary(self) -> str:
        raise NotImplementedError

    def __repr__(self) -> str:
        return self.summary()  # also in a list of checks

    def __str__(self) -> str:
        return self.summary()

    def _repr_html_(self) -> str:
        return f"<pre class='attribution'>{html.escape(self.summary())}</pre>"
