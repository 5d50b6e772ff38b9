"""One setting for every engine in process, `ATTRIBUTION_THREADS`: 1 gives the same bytes each time."""

from __future__ import annotations

import os

from threadpoolctl import threadpool_limits

from ..errors import DataError


def threads() -> int:
    """Threads of DuckDB; with more than one, sums of floats may differ in the last digit."""
    text = os.environ.get("ATTRIBUTION_THREADS", "1")
    if not text.isdigit() or int(text) < 1:
        raise DataError(
            "ATTRIBUTION_THREADS as a whole number >= 1", repr(text), "unset it, or give a number of threads"
        )
    return int(text)


def one_setting() -> threadpool_limits:
    """A context in which linear algebra keeps to `threads()`, too: on few cores, threads that wait cost more."""
    return threadpool_limits(threads(), user_api="blas")
