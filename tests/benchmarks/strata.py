"""CPU seconds and peak memory of one stratification, whole process: python tests/benchmarks/strata.py METHOD FILE

FILE is a Parquet file of `matching.school(ROWS)`; with a number in its place the file is written first:
python tests/benchmarks/strata.py write 1000000
"""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path


def main(method: str, file: str) -> None:
    if method == "write":
        from matching import school

        school(int(file)).to_parquet(f"school_{file}.parquet")
        return
    import attribution as at

    names = [f"x{i}" for i in range(6)] + [f"c{i}" for i in range(4)]
    covariates = names[6:] if method == "exact" else names
    design = at.stratify(Path(file), "treated", covariates=covariates, method=method)  # type: ignore[arg-type]
    gigabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # kilobytes on Linux
    sys.stdout.write(f"{method}: {time.process_time():.2f} CPU s, {gigabytes:.2f} GB; {design.estimand}\n")


if __name__ == "__main__":
    main(*sys.argv[1:3])
