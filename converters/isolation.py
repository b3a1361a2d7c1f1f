"""Run a converter in a child process and translate its failures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from edgesdk.converters.conversion import Conversion, ConversionRequest
from edgesdk.errors import (
    ConversionError,
    ConverterCrashError,
    ConverterLimitError,
    EdgeSdkError,
)
from edgesdk.host.processes import (
    ChildDied,
    ChildFailure,
    ChildMemoryLimit,
    ChildProcess,
    ChildTimeout,
)

__all__ = ["WORKER", "ConversionFailed", "Converter", "Limits"]

#: Module that runs in the converter's process.
WORKER = "edgesdk.converters.worker"


@dataclass(frozen=True)
class Limits:
    """Resource limits of a conversion.

    Attributes:
        seconds: Largest wall-clock time of one conversion.
        memory_bytes: Largest resident memory of its process and descendants; None for no limit.
    """

    seconds: float = 900.0
    memory_bytes: int | None = None


class ConversionFailed(Exception):
    """One conversion failed.

    Args:
        error: The error to record.
        log: Last lines that the converter printed.
    """

    def __init__(self, error: EdgeSdkError, log: str) -> None:
        super().__init__(str(error))
        self.error = error
        self.log = log


class Converter:
    """A converter's process. Closing it ends a running conversion.

    Args:
        request: Conversion to run.
        limits: Its resource limits.
    """

    def __init__(self, request: ConversionRequest, limits: Limits) -> None:
        self.request = request
        self._limits = limits
        self._child = ChildProcess(
            WORKER,
            memory_limit=limits.memory_bytes,
            # Converters iterate over sets: a random hash seed would change the artefact.
            # Quantizers solve many small systems, which more threads only slow down.
            environment={"PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1"},
            name=f"the {request.target} converter",
        )

    def run(
        self, on_progress: Callable[[dict[str, Any]], None] | None = None
    ) -> tuple[Conversion, float]:
        """Convert.

        Args:
            on_progress: Called with ``{"step": text}``.

        Returns:
            The conversion and its duration in seconds.

        Raises:
            ConversionFailed: The conversion failed for any reason.
        """
        payload = TypeAdapter(ConversionRequest).dump_python(self.request, mode="json")
        name = self.request.target
        try:
            reply = self._child.request(
                "convert", payload, timeout=self._limits.seconds, on_progress=on_progress
            )
        except ChildTimeout as error:
            raise ConversionFailed(
                ConverterLimitError(
                    f"{name}'s converter did not end within {self._limits.seconds:g} s",
                    remedy="raise the limit with --timeout, or use a smaller input",
                ),
                error.log,
            ) from error
        except ChildMemoryLimit as error:
            raise ConversionFailed(
                ConverterLimitError(
                    f"{name}'s converter needed more memory than allowed: {error.message}",
                    remedy="raise the limit with --memory-limit, or convert on a larger machine",
                ),
                error.log,
            ) from error
        except ChildDied as error:
            raise ConversionFailed(
                ConverterCrashError(
                    f"{name}'s converter died: {error.message.partition(': ')[2]}",
                    remedy="this is a crash in the vendor's code; see the log for the last step",
                ),
                error.log,
            ) from error
        except ChildFailure as error:
            raise ConversionFailed(
                ConversionError(
                    f"{name}'s converter failed with {error.kind}: {error.detail}",
                    remedy="see its traceback with --debug",
                ),
                error.traceback or error.log,
            ) from error
        except EdgeSdkError as error:
            raise ConversionFailed(error, self._child.log_tail()) from error
        finally:
            self.close()
        conversion = TypeAdapter(Conversion).validate_python(reply.payload["conversion"])
        return conversion, float(reply.payload["seconds"])

    def close(self) -> None:
        """Stop the process."""
        self._child.close()
