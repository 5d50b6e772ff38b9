"""Kernels of this very interpreter: one thread, a fixed hash seed, figures inline, nothing of the machine's own."""

from __future__ import annotations

import contextlib
import importlib
import logging
import sys
from collections.abc import Iterator
from typing import Any

ONE_THREAD = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "ATTRIBUTION_THREADS",
)
KERNEL_ENV = {
    "PYTHONHASHSEED": "0",
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",  # an inherited "Agg" would silently drop every figure
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    **dict.fromkeys(ONE_THREAD, "1"),
}


def import_notebooks(name: str) -> Any:
    """Import papermill & co. without the parser of internationalised addresses, a CPU second nobody here uses.

    jsonschema guards that import with `suppress(ImportError)`; None in sys.modules makes it raise just that.
    """
    parser = "rfc3987_syntax"
    absent = parser not in sys.modules
    if absent:
        sys.modules[parser] = None  # type: ignore[assignment]
    try:
        return importlib.import_module(name)
    finally:
        if absent:
            sys.modules.pop(parser, None)


@contextlib.contextmanager
def kernels() -> Iterator[Any]:
    """A kernel manager class that starts kernels of this very interpreter, over TCP, and remembers them."""
    import_notebooks("nbclient")
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager
    from traitlets import Unicode

    logging.getLogger("papermill").setLevel(logging.CRITICAL)
    logging.getLogger("traitlets").setLevel(logging.CRITICAL)
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}", "--log-level=50"]
    started: list[Any] = []

    class OwnKernel(AsyncKernelManager):
        """Not whatever kernel this machine calls python3, and not its environment either."""

        transport = Unicode("tcp")

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            started.append(self)

        @property
        def kernel_spec(self) -> Any:
            return KernelSpec(argv=command, env=dict(KERNEL_ENV), display_name="Python 3", language="python")

        @staticmethod
        def kill_all() -> None:
            for manager in started:
                process = getattr(manager.provisioner, "process", None)
                if process is not None and process.poll() is None:
                    process.kill()

    try:
        yield OwnKernel
    finally:
        OwnKernel.kill_all()
