"""Devices that measure artefacts, behind one interface."""

from __future__ import annotations

from collections.abc import Callable

from edgesdk.devices.base import Case, Device, Figures, Measurement, Protocol, Step
from edgesdk.devices.local import LocalDevice
from edgesdk.errors import UnknownNameError

__all__ = ["Case", "Device", "Figures", "LocalDevice", "Measurement", "Protocol", "Step", "find"]

_MAKERS: dict[str, Callable[[], Device]] = {LocalDevice.identifier: LocalDevice}


def find(identifier: str) -> Device:
    """Find a device by its identifier.

    >>> find("local").name  # doctest: +SKIP

    Args:
        identifier: ``local`` is this machine.

    Raises:
        UnknownNameError: The device does not exist.
    """
    if identifier not in _MAKERS:
        raise UnknownNameError("device", identifier, _MAKERS)
    return _MAKERS[identifier]()
