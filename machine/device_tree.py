# SPDX-License-Identifier: GPL-2.0-or-later
"""The flattened device tree, which describes the board to a guest (Devicetree Specification 0.4)."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from typing import Final

import fdt

from . import board
from .board import Placement, Value

# Secure physical, physical, virtual, hypervisor: the order of arm,arch_timer.yaml.
_TIMER_INTIDS: Final = (29, board.PHYSICAL_TIMER_INTID, board.VIRTUAL_TIMER_INTID, 26)
_SPI, _PPI = 0, 1
_LEVEL_HIGH: Final = 4
_CPU_0: Final = 1 << 8  # the CPUs that a PPI goes to: arm,gic.yaml


def build(
    memory_size: int, command_line: str, initrd: tuple[int, int] | None, seed: bytes, kaslr: int | None = None
) -> bytes:
    """The device tree of the board, with the properties that a boot loader puts in /chosen.

    `memory_size` is in bytes. `initrd` is the first physical address of the initial RAM disk and the one after its
    last. `seed` seeds the kernel's random generator. `kaslr` seeds the choice of the address that the kernel moves to.
    Raises MachineError for a command line the kernel cannot take.
    """
    board.check_command_line(command_line)
    nodes = _nodes(memory_size)
    # Leave out properties without bytes.
    nodes["/chosen"] |= {name: value for name, value in (("bootargs", command_line), ("rng-seed", seed)) if value}
    if kaslr is not None:
        # Linux 6.1 uses bits 21 to 45 as they are and 6.12 the highest ones. Hashed, small seeds differ in all of them.
        hashed = hashlib.blake2b(struct.pack("<Q", kaslr), digest_size=8).digest()
        nodes["/chosen"] |= {"kaslr-seed": _cells(int.from_bytes(hashed))}
    if initrd:
        nodes["/chosen"] |= {"linux,initrd-start": _cells(initrd[0]), "linux,initrd-end": _cells(initrd[1])}
    return _flattened(fdt.FDT(), nodes)


def with_device(tree: bytes, placement: Placement) -> bytes:
    """The device tree `tree` with a node added for one device."""
    return _flattened(fdt.parse_dtb(tree), {placement.path: _device(placement)})


def _flattened(tree: fdt.FDT, nodes: Mapping[str, Mapping[str, Value]]) -> bytes:
    for path, properties in nodes.items():
        for name, value in properties.items():
            tree.set_property(name, value, path)
    return bytes(tree.to_dtb(version=17))


def _device(placement: Placement) -> dict[str, Value]:
    """The properties of a device's node."""
    interrupt: dict[str, Value] = {}
    if placement.intid is not None:
        interrupt["interrupts"] = [_SPI, placement.intid - 32, _LEVEL_HIGH]
    return {**placement.properties, "reg": _cells(placement.base, placement.size), **interrupt}


def _cells(*values: int) -> list[int]:
    """Each of `values` as two 32-bit cells, the high one first."""
    return [half for value in values for half in (value >> 32, value & 0xFFFF_FFFF)]


def _nodes(memory_size: int) -> dict[str, dict[str, Value]]:
    """The nodes by path, with their properties."""
    memory = f"/memory@{board.RAM_BASE:x}"
    timer = [cell for intid in _TIMER_INTIDS for cell in (_PPI, intid - 16, _CPU_0 | _LEVEL_HIGH)]
    return {
        "/": {
            "#address-cells": [2],
            "#size-cells": [2],
            "compatible": "linux,dummy-virt",
            "model": "armprobe",
            "interrupt-parent": [board.GIC_HANDLE],
        },
        "/chosen": {"stdout-path": board.UART.path},
        memory: {"device_type": "memory", "reg": _cells(board.RAM_BASE, memory_size)},
        f"/memory@{board.SCRATCH_BASE:x}": {
            "device_type": "memory",
            "reg": _cells(board.SCRATCH_BASE, board.SCRATCH_SIZE),
        },
        "/reserved-memory": {"#address-cells": [2], "#size-cells": [2], "ranges": None},
        f"/reserved-memory/armprobe@{board.SCRATCH_BASE:x}": {"reg": _cells(board.SCRATCH_BASE, board.SCRATCH_SIZE)},
        "/cpus": {"#address-cells": [1], "#size-cells": [0]},
        "/cpus/cpu@0": {"device_type": "cpu", "compatible": "arm,cortex-a57", "reg": [0], "enable-method": "psci"},
        "/psci": {"compatible": ["arm,psci-1.0", "arm,psci-0.2"], "method": "hvc"},
        "/timer": {"compatible": "arm,armv8-timer", "interrupts": timer, "always-on": None},
        f"/intc@{board.GIC_DIST.base:x}": {
            "compatible": "arm,cortex-a15-gic",
            "interrupt-controller": None,
            "#interrupt-cells": [3],
            "#address-cells": [0],
            "reg": _cells(board.GIC_DIST.base, board.GIC_DIST.size, board.GIC_CPU.base, board.GIC_CPU.size),
            "phandle": [board.GIC_HANDLE],
        },
        "/apb-pclk": {
            "compatible": "fixed-clock",
            "#clock-cells": [0],
            "clock-frequency": [board.UART_CLOCK],
            "phandle": [board.CLOCK_HANDLE],
        },
        **{placement.path: _device(placement) for placement in board.PLACEMENTS if placement.node},
    }
