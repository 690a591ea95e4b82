# SPDX-License-Identifier: GPL-2.0-or-later
"""The areas without probes, against what the kernel's own code makes its list of."""

from __future__ import annotations

from armprobe.kernel.code_references import addresses_formed
from tests.oracle.cold_kernel import ColdKernel
from tests.oracle.function_records import KernelOnRecord

GENERIC = ("__kprobes_text_start", "__noinstr_text_start")
"""Those that kernel/kprobes.c adds, for every architecture, in a part of init_kprobes()."""


def formed(kernel: ColdKernel | KernelOnRecord, function: str) -> list[int]:
    symbol = kernel.symbols[function]
    if isinstance(kernel, KernelOnRecord):
        words = kernel.record.code[function]
        return addresses_formed(lambda address: words[(address - symbol.address) // 4], symbol)
    return addresses_formed(kernel.machine.memory.u32, symbol)


def areas_added(kernel: ColdKernel) -> list[tuple[int, int]]:
    """What arch_populate_kprobe_blacklist() would add."""
    return kernel.recorded_calls("kprobe_add_area_blacklist", by="arch_populate_kprobe_blacklist")


def test_areas_of_the_architecture(kernel: ColdKernel | KernelOnRecord) -> None:
    if isinstance(kernel, KernelOnRecord):
        added = [(start, end) for start, end in kernel.record.blacklisted]
    else:
        added = areas_added(kernel)
    areas = [area for area in kernel.era.blacklist if area[0] not in GENERIC]
    assert sorted(added) == sorted(tuple(kernel.symbols[name].address for name in area) for area in areas)


def test_areas_of_all_architectures(kernel: ColdKernel | KernelOnRecord) -> None:
    """init_kprobes() does too much to be called here, but it has these addresses in it."""
    areas = [area for area in kernel.era.blacklist if area[0] in GENERIC]
    assert len(areas) == len(GENERIC)
    assert {kernel.symbols[start].address for start, _ in areas} <= set(formed(kernel, "init_kprobes"))
