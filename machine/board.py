# SPDX-License-Identifier: GPL-2.0-or-later
"""The board: what is at which physical address and on which interrupt, and the device tree that tells a kernel so.

It is QEMU's `-M virt,gic-version=2 -cpu cortex-a57` as far as it goes.
"""

from __future__ import annotations

from typing import Final

import fdt

from .errors import MachineError

RAM_BASE: Final = 0x4000_0000
RAM_END_MAX: Final = 0x1_0000_0000
SCRATCH_BASE: Final = 0x3000_0000
SCRATCH_SIZE: Final = 2 << 20
"""Bytes of memory that is the machine's own. A kernel is told that it is there, as it may meet it in its page tables,
and that it is taken."""
RAM_SIZE: Final = 256 << 20
"""Bytes of RAM unless told otherwise."""

GIC_DIST: Final = 0x0800_0000
GIC_CPU: Final = 0x0801_0000
GIC_SIZE: Final = 0x1_0000
"""Bytes of each of the two, the GICv2 distributor and the CPU interface."""

PAGE: Final = 0x1000

FLASH: Final = 0x0400_0000
FLASH_SIZE: Final = 0x0400_0000

UART: Final = 0x0900_0000
UART_SIZE: Final = 0x1000

UART_INTID: Final = 33
VIRTUAL_TIMER_INTID: Final = 27
PMU_INTID: Final = 23
PHYSICAL_TIMER_INTID: Final = 30
"""Of the non-secure physical timer, which is EL1's."""

UART_CLOCK: Final = 24_000_000
"""Hz."""

COMMAND_LINE_MAX: Final = 2047
"""Characters of a kernel command line; arm64's COMMAND_LINE_SIZE is 2048 with the NUL (asm/setup.h)."""

# Secure physical, physical, virtual, hypervisor: the order of arm,arch_timer.yaml.
_TIMER_INTIDS: Final = (29, PHYSICAL_TIMER_INTID, VIRTUAL_TIMER_INTID, 26)
_SPI, _PPI = 0, 1
_LEVEL_HIGH: Final = 4
_CPU_0: Final = 1 << 8  # which CPUs a PPI goes to: arm,gic.yaml
_GIC_HANDLE, _CLOCK_HANDLE = 1, 2


def check_memory_size(size: int) -> None:
    """Raise MachineError unless the board can have `size` bytes of RAM."""
    largest = RAM_END_MAX - RAM_BASE
    if not 1 << 20 <= size <= largest or size % (1 << 20):
        raise MachineError(
            f"memory of {size:,} bytes is not possible: give whole megabytes from 1M to {largest >> 20}M, such as 256M"
        )


def check_command_line(text: str) -> None:
    """Raise MachineError unless an arm64 kernel can be given the command line `text`."""
    if len(text) > COMMAND_LINE_MAX:
        raise MachineError(
            f"the kernel command line has {len(text)} characters; arm64 takes {COMMAND_LINE_MAX}: shorten it"
        )
    if not (text.isascii() and text.isprintable()):
        raise MachineError("the kernel command line has characters that are not printable ASCII: leave them out")


Value = str | bytes | list[str] | list[int] | None
"""Of a property: a text, bytes, texts, cells, or None for one that is just there."""


def device_tree(memory_size: int, command_line: str, initrd: tuple[int, int] | None, seed: bytes) -> bytes:
    """The flattened device tree of the board (Devicetree Specification 0.4), with what a boot loader puts in /chosen.

    `memory_size` in bytes; `initrd` is its first physical address and the one after its last; `seed` is what the
    kernel's random generator starts from. Raises MachineError for a command line that the kernel could not take.
    """
    check_command_line(command_line)
    nodes = _nodes(memory_size)
    # There are no properties of no bytes.
    nodes["/chosen"] |= {name: value for name, value in (("bootargs", command_line), ("rng-seed", seed)) if value}
    if initrd:
        nodes["/chosen"] |= {"linux,initrd-start": _cells(initrd[0]), "linux,initrd-end": _cells(initrd[1])}
    tree = fdt.FDT()
    for path, properties in nodes.items():
        for name, value in properties.items():
            tree.set_property(name, value, path)
    return bytes(tree.to_dtb(version=17))


def _cells(*values: int) -> list[int]:
    """Each of `values` as two 32-bit cells, the high one first."""
    return [half for value in values for half in (value >> 32, value & 0xFFFF_FFFF)]


def _nodes(memory_size: int) -> dict[str, dict[str, Value]]:
    """The nodes by path, with their properties."""
    gic, uart, memory = f"/intc@{GIC_DIST:x}", f"/pl011@{UART:x}", f"/memory@{RAM_BASE:x}"
    timer = [cell for intid in _TIMER_INTIDS for cell in (_PPI, intid - 16, _CPU_0 | _LEVEL_HIGH)]
    return {
        "/": {
            "#address-cells": [2],
            "#size-cells": [2],
            "compatible": "linux,dummy-virt",
            "model": "armprobe",
            "interrupt-parent": [_GIC_HANDLE],
        },
        "/chosen": {"stdout-path": uart},
        memory: {"device_type": "memory", "reg": _cells(RAM_BASE, memory_size)},
        f"/memory@{SCRATCH_BASE:x}": {"device_type": "memory", "reg": _cells(SCRATCH_BASE, SCRATCH_SIZE)},
        "/reserved-memory": {"#address-cells": [2], "#size-cells": [2], "ranges": None},
        f"/reserved-memory/armprobe@{SCRATCH_BASE:x}": {"reg": _cells(SCRATCH_BASE, SCRATCH_SIZE)},
        "/cpus": {"#address-cells": [1], "#size-cells": [0]},
        "/cpus/cpu@0": {"device_type": "cpu", "compatible": "arm,cortex-a57", "reg": [0], "enable-method": "psci"},
        "/psci": {"compatible": ["arm,psci-1.0", "arm,psci-0.2"], "method": "hvc"},
        "/timer": {"compatible": "arm,armv8-timer", "interrupts": timer, "always-on": None},
        gic: {
            "compatible": "arm,cortex-a15-gic",
            "interrupt-controller": None,
            "#interrupt-cells": [3],
            "#address-cells": [0],
            "reg": _cells(GIC_DIST, GIC_SIZE, GIC_CPU, GIC_SIZE),
            "phandle": [_GIC_HANDLE],
        },
        "/apb-pclk": {
            "compatible": "fixed-clock",
            "#clock-cells": [0],
            "clock-frequency": [UART_CLOCK],
            "phandle": [_CLOCK_HANDLE],
        },
        uart: {
            "compatible": ["arm,pl011", "arm,primecell"],
            "reg": _cells(UART, UART_SIZE),
            "interrupts": [_SPI, UART_INTID - 32, _LEVEL_HIGH],
            "clocks": [_CLOCK_HANDLE, _CLOCK_HANDLE],
            "clock-names": ["uartclk", "apb_pclk"],
        },
    }
