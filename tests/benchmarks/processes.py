"""One process from start to exit: what the benchmarks measure, imports included."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time


def measure(command: list[str], limit: float | None = None) -> tuple[dict[str, float], str] | str:
    """CPU and wall seconds and peak GB of a process, and the last line it printed; of its errors alone if it fails.

    A process that has not ended after `limit` seconds is killed, and that is the answer.
    """
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        alarm = threading.Timer(limit or threading.TIMEOUT_MAX, process.kill)
        alarm.daemon = True
        alarm.start()
        out, err = process.stdout.read(), process.stderr.read()
        _, status, used = os.wait4(process.pid, 0)
        alarm.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode == -signal.SIGKILL and limit and time.perf_counter() - started >= limit:
        return f"not done after {limit:.0f} s"
    if process.returncode:
        return (err.strip().splitlines() or [f"exit {process.returncode}"])[-1]
    spent = {"cpu": used.ru_utime + used.ru_stime, "wall": time.perf_counter() - started, "gb": used.ru_maxrss / 2**20}
    return spent, (out.strip().splitlines() or [""])[-1]


def importable(python: str, modules: dict[str, str]) -> list[str]:
    """The names whose module this Python can import."""
    code = f"import importlib.util as u; print(*[n for n, m in {modules!r}.items() if u.find_spec(m)], sep=',')"
    found = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    return [name for name in found.split(",") if name]
