"""Devices: where artefacts are measured, behind one interface."""

from __future__ import annotations

from collections.abc import Callable

from edgesdk.devices.base import Case, Device, Figures, Measurement, Protocol, Step
from edgesdk.devices.local import LocalDevice
from edgesdk.errors import UnknownNameError

__all__ = ["Case", "Device", "Figures", "LocalDevice", "Measurement", "Protocol", "Step", "find"]

_MAKERS: dict[str, Callable[[], Device]] = {LocalDevice.identifier: LocalDevice}


def find(identifier: str) -> Device:
    """The device of an identifier.

    Args:
        identifier: ``local`` is this machine.

    Raises:
        UnknownNameError: No such device.
    """
    if identifier not in _MAKERS:
        raise UnknownNameError("device", identifier, _MAKERS)
    return _MAKERS[identifier]()
