# SPDX-License-Identifier: GPL-2.0-or-later
"""Which instructions of the kernel can be probed: its blacklist, and every instruction of many functions."""

from collections.abc import Callable

import pytest

from tests.oracle.live.engine_probes import EngineProbes
from tests.oracle.live.kernel_probes import Kernel
from tests.oracle.live.subjects import disagreements


def test_blacklist(kernel: Kernel, engine: EngineProbes) -> None:
    """As debugfs has it, the module's own functions included."""
    listed = kernel.blacklist()
    assert len(listed) > 250
    areas = {(start, end) for start, end, _ in listed}
    assert {(area.start, area.end) for area in engine.kprobes.blacklist} == areas
    names = {name for _, _, name in listed}
    assert {"oracle_marked", "do_page_fault"} <= names
    assert engine.kprobes.machine.symbols["oracle_marked"].address in {start for start, _ in areas}


# Functions with places that cannot be probed for one reason or another, and the reason. Some have had several names.
FUNCTIONS = [
    "__arch_copy_from_user",  # exception table
    "__arch_copy_to_user",
    "__arch_clear_user",
    "do_sys_openat2",
    "vfs_read",  # ftrace
    "schedule",  # jump labels
    "try_to_wake_up",
    "__switch_to",
    "kfree",
    "memcpy",
    "refcount_warn_saturate",  # BRK
    "queued_spin_lock_slowpath",  # load-acquire exclusives
    "do_page_fault",  # blacklist
    "el1h_64_sync_handler or el1_sync_handler",
    "kprobe_breakpoint_handler or kprobe_brk_handler",
    "__kretprobe_trampoline or kretprobe_trampoline",
    "cpu_do_idle",  # system instructions
    "__cpu_suspend_enter",
    "do_debug_exception or do_el1_brk64",
    "futex_wake",
    "oracle_add",
    "oracle_each",
    "oracle_exclusive",
    "oracle_marked",
    "oracle_switched",
    "oracle_load_guarded",
]


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.sample
def test_function(kernel: Kernel, engine: EngineProbes, function: str, compared: Callable[[str, int], None]) -> None:
    addresses = kernel.instructions(next(name for name in function.split(" or ") if name in kernel.symbols))
    different = disagreements(kernel, engine, addresses)
    assert not different, "\n".join(different)
    compared("places to register at", len(addresses))
