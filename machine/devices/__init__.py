# SPDX-License-Identifier: GPL-2.0-or-later
"""The board's devices, one class per file, and `Device`, the base of devices that users write and add."""

from __future__ import annotations

from typing import TYPE_CHECKING

from armprobe.machine.lazy_names import lazy_names

if TYPE_CHECKING:
    from .device import Device
    from .devices import Devices
    from .flash import Flash
    from .gic import Gic, GicCpuInterface
    from .pl011 import Pl011
    from .pl031 import Pl031
    from .pmu import Pmu
    from .timer import GenericTimer
    from .virtio_block import VirtioBlock
else:
    __getattr__ = lazy_names(
        __name__,
        {
            ".device": ("Device",),
            ".devices": ("Devices",),
            ".flash": ("Flash",),
            ".gic": ("Gic", "GicCpuInterface"),
            ".pl011": ("Pl011",),
            ".pl031": ("Pl031",),
            ".pmu": ("Pmu",),
            ".timer": ("GenericTimer",),
            ".virtio_block": ("VirtioBlock",),
        },
    )

__all__ = [
    "Device",
    "Devices",
    "Flash",
    "GenericTimer",
    "Gic",
    "GicCpuInterface",
    "Pl011",
    "Pl031",
    "Pmu",
    "VirtioBlock",
]
