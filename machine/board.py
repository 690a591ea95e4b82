# SPDX-License-Identifier: GPL-2.0-or-later
"""The board: the physical addresses and interrupts of memory and devices. The device tree derives from it.

It is a subset of QEMU's `-M virt,gic-version=2 -cpu cortex-a57`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Final

from armprobe.machine.lazy_dataclass import lazy_dataclass

from .errors import MachineError

RAM_BASE: Final = 0x4000_0000
RAM_END_MAX: Final = 0x1_0000_0000
SCRATCH_BASE: Final = 0x3000_0000
SCRATCH_SIZE: Final = 2 << 20
"""Bytes of the machine's own memory, which the device tree lists as reserved."""
RAM_SIZE: Final = 256 << 20
"""The default size of RAM in bytes."""

PAGE: Final = 0x1000

VIRTUAL_TIMER_INTID: Final = 27
PMU_INTID: Final = 23
PHYSICAL_TIMER_INTID: Final = 30
"""The interrupt of the non-secure physical timer, which EL1 uses."""

UART_CLOCK: Final = 24_000_000
"""Hz."""

COMMAND_LINE_MAX: Final = 2047
"""Characters of a kernel command line; arm64's COMMAND_LINE_SIZE is 2048 with the NUL (asm/setup.h)."""

GIC_HANDLE, CLOCK_HANDLE = 1, 2
"""The phandles by which nodes of the device tree name the interrupt controller and the clock."""

Value = str | bytes | list[str] | list[int] | None
"""The value of a device tree property: a text, bytes, texts, cells, or None for a property without a value."""


@lazy_dataclass
class Placement:
    """The place of a device: `size` bytes from physical `base`, both multiples of 4 KiB, and its interrupt's INTID.

    `node` is the name of its node in the device tree. The node has `properties` besides the registers and interrupt. A
    placement without a node is left out of the device tree.
    """

    base: int
    size: int
    intid: int | None = None
    node: str = ""
    properties: Mapping[str, Value] = field(default_factory=dict)

    @property
    def end(self) -> int:
        """The address after the last."""
        return self.base + self.size

    @property
    def path(self) -> str:
        """The path of its node."""
        return f"/{self.node}@{self.base:x}"


FLASH: Final = Placement(0x0400_0000, 0x0400_0000)
GIC_DIST: Final = Placement(0x0800_0000, 0x1_0000)  # the GICv2's distributor and its CPU interface: one node has both
GIC_CPU: Final = Placement(0x0801_0000, 0x1_0000)
UART: Final = Placement(
    0x0900_0000,
    0x1000,
    intid=33,
    node="pl011",
    properties={
        "compatible": ["arm,pl011", "arm,primecell"],
        "clocks": [CLOCK_HANDLE, CLOCK_HANDLE],
        "clock-names": ["uartclk", "apb_pclk"],
    },
)
RTC: Final = Placement(
    0x0901_0000,
    0x1000,
    intid=34,
    node="pl031",
    properties={"compatible": ["arm,pl031", "arm,primecell"], "clocks": [CLOCK_HANDLE], "clock-names": ["apb_pclk"]},
)
PLACEMENTS: Final = (FLASH, GIC_DIST, GIC_CPU, UART, RTC)
"""Every device of the board."""

OTHERS: Final = range(0x0C00_0000, 0x0E00_0000)
"""Physical addresses for devices that users add: QEMU's platform bus."""
OTHER_INTIDS: Final = range(40, 64)
"""INTIDs for devices that users add."""


def check_memory_size(size: int) -> None:
    """Raise MachineError unless the board can have `size` bytes of RAM."""
    largest = RAM_END_MAX - RAM_BASE
    if not 1 << 20 <= size <= largest or size % (1 << 20):
        raise MachineError(
            f"memory of {size:,} bytes is not possible: give whole megabytes from 1M to {largest >> 20}M, such as 256M"
        )


def check_command_line(text: str) -> None:
    """Raise MachineError unless an arm64 kernel can take `text` as its command line."""
    if len(text) > COMMAND_LINE_MAX:
        raise MachineError(
            f"the kernel command line has {len(text)} characters; arm64 takes {COMMAND_LINE_MAX}: shorten it"
        )
    if not (text.isascii() and text.isprintable()):
        raise MachineError("the kernel command line has characters that are not printable ASCII: leave them out")
