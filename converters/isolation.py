"""Convert in a process of its own, and say in our words how it ended."""

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
    """What a converter may use.

    Attributes:
        seconds: Wall-clock time for one conversion.
        memory_bytes: Resident memory of its process and descendants; None for no limit.
    """

    seconds: float = 900.0
    memory_bytes: int | None = None


class ConversionFailed(Exception):
    """One conversion failed: the error to record, with the converter's last words.

    Args:
        error: What went wrong.
        log: The last lines the converter printed.
    """

    def __init__(self, error: EdgeSdkError, log: str) -> None:
        super().__init__(str(error))
        self.error = error
        self.log = log


class Converter:
    """A converter's process, not yet asked. Closing it ends a conversion under way.

    Args:
        request: What it will be asked.
        limits: What it may use.
    """

    def __init__(self, request: ConversionRequest, limits: Limits) -> None:
        self.request = request
        self._limits = limits
        self._child = ChildProcess(
            WORKER,
            memory_limit=limits.memory_bytes,
            # The converters walk through sets: a seed of each run's own would show in the artefact.
            # Quantizers solve many small systems, which more threads only make wait.
            environment={"PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1"},
            name=f"the {request.target} converter",
        )

    def run(
        self, on_progress: Callable[[dict[str, Any]], None] | None = None
    ) -> tuple[Conversion, float]:
        """Convert.

        Args:
            on_progress: Called with ``{"step": words}``.

        Returns:
            The conversion, and the seconds it took.

        Raises:
            ConversionFailed: However it went wrong.
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
                    remedy="give it more time with --timeout, or a smaller input",
                ),
                error.log,
            ) from error
        except ChildMemoryLimit as error:
            raise ConversionFailed(
                ConverterLimitError(
                    f"{name}'s converter needed more memory than allowed: {error.message}",
                    remedy="allow more with --memory-limit, or convert on a larger machine",
                ),
                error.log,
            ) from error
        except ChildDied as error:
            raise ConversionFailed(
                ConverterCrashError(
                    f"{name}'s converter died: {error.message}",
                    remedy="a crash of the vendor's code; the log says how far it came",
                ),
                error.log,
            ) from error
        except ChildFailure as error:
            raise ConversionFailed(
                ConversionError(
                    f"{name}'s converter failed with {error.kind}: {error.detail}",
                    remedy="--debug shows its own traceback",
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
        """End the process."""
        self._child.close()
