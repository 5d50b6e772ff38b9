"""One process from start to exit: what the benchmarks measure, imports included."""

from __future__ import annotations

import os
import subprocess
import time


def measure(command: list[str]) -> tuple[dict[str, float], str] | str:
    """CPU and wall seconds and peak GB of a process, and the last line it printed; of its errors alone if it fails."""
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        out, err = process.stdout.read(), process.stderr.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        return (err.strip().splitlines() or [f"exit {process.returncode}"])[-1]
    spent = {"cpu": used.ru_utime + used.ru_stime, "wall": time.perf_counter() - started, "gb": used.ru_maxrss / 2**20}
    return spent, (out.strip().splitlines() or [""])[-1]


def importable(python: str, modules: dict[str, str]) -> list[str]:
    """The names whose module this Python can import."""
    code = f"import importlib.util as u; print(*[n for n, m in {modules!r}.items() if u.find_spec(m)], sep=',')"
    found = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    return [name for name in found.split(",") if name]
