"""Run a module of the SDK in a separate process, so that native code can crash only that process.

Converters and runtimes are large native libraries: they crash, hang, print and use much memory. The
parent starts ``python -m MODULE`` through :class:`ChildProcess` and sends it requests; the module
answers them with :func:`serve`::

    # edgesdk/some_worker.py
    def double(payload, arrays, progress):
        progress({"step": "doubling"})
        return {"factor": 2}, {name: array * 2 for name, array in arrays.items()}

    if __name__ == "__main__":
        serve({"double": double})

    # the parent
    with ChildProcess("edgesdk.some_worker", name="doubling") as child:
        reply = child.request("double", {}, {"x": np.ones(3)}, timeout=10.0)
        reply.arrays["x"]

Every failure is an exception of :mod:`edgesdk.host.processes.failures`, which the caller translates
(``ConverterCrashError``, ``SessionCrashError``, ...). An :class:`~edgesdk.errors.EdgeSdkError` that
the handler raises arrives as the same class.
"""

from __future__ import annotations

from edgesdk.host.processes.child import Handler, Progress, serve
from edgesdk.host.processes.failures import (
    ChildDied,
    ChildError,
    ChildFailure,
    ChildMemoryLimit,
    ChildTimeout,
    describe_exit,
)
from edgesdk.host.processes.parent import ChildProcess, Reply

__all__ = [
    "ChildDied",
    "ChildError",
    "ChildFailure",
    "ChildMemoryLimit",
    "ChildProcess",
    "ChildTimeout",
    "Handler",
    "Progress",
    "Reply",
    "describe_exit",
    "serve",
]
