# SPDX-License-Identifier: GPL-2.0-or-later
"""Which aborts Linux asks kprobes about: those that its do_page_fault() is given (arch/arm64/mm/fault.c, fault_info).

Kprobes are not told of other aborts or of undefined instructions.
"""

from __future__ import annotations

from typing import Final

from armprobe.machine.core.exceptions import Class

_CLASSES: Final = (Class.DATA_ABORT, Class.PREFETCH_ABORT)
_TRANSLATION: Final = range(0x04, 0x08)  # fault status codes, levels 0 to 3 (Arm ARM, ESR_EL1, ISS of a data abort)
_LEVEL_3: Final = 0x07
_ACCESS_FLAG: Final = range(0x09, 0x0C)  # levels 1 to 3
_PERMISSION: Final = range(0x0D, 0x10)
_TASK_SIZE: Final = 1 << 48
_UNTAGGED: Final = (1 << 56) - 1


def is_page_fault(syndrome: int, address: int, level_3: bool) -> bool:
    """Whether an exception at EL1 with that ESR_EL1 and FAR_EL1 is a page fault to Linux.

    A translation fault in the kernel's half of the addresses is not one (do_translation_fault). `level_3` says
    whether this kernel makes an exception of those at level 3.
    """
    if syndrome >> 26 not in _CLASSES:
        return False
    status = syndrome & 0x3F
    if status in _TRANSLATION:
        return address & _UNTAGGED < _TASK_SIZE or (level_3 and status == _LEVEL_3)
    return status in _ACCESS_FLAG or status in _PERMISSION
