# SPDX-License-Identifier: GPL-2.0-or-later
"""Creates Unicorn engines that act as an AArch64 CPU at EL1, and accesses their system registers."""

from __future__ import annotations

import ctypes
from typing import Final

import unicorn
from unicorn import arm64_const as reg
from unicorn.unicorn_py3.unicorn import uclib

from armprobe.machine.errors import MachineError

from .sysregs import Encoding

CPU_MODELS: Final = {
    "cortex-a53": reg.UC_CPU_ARM64_A53,
    "cortex-a57": reg.UC_CPU_ARM64_A57,
    "cortex-a72": reg.UC_CPU_ARM64_A72,
    "max": reg.UC_CPU_ARM64_MAX,
}

# The binding's library. Calls keep the interpreter's lock: releasing it would take longer than the calls do.
LIBRARY: Final = ctypes.PyDLL(uclib._name)
# Bytes for translated code, of which Linux at work makes a megabyte a second. When they are full, all of it is dropped.
# Code calls the engine in a slower way from more than 2 GiB away, as it did from a second machine's 1 GiB, the default.
_BUFFER: Final = 256 << 20
# Bytes of the pages by which Unicorn keeps code and translations: the smallest granule of AArch64 (Arm ARM, D8.1.8). By
# default it is the 1 KiB of ARMv5: more translations are looked up then, a TLBI of one page drops all of them, and only
# branches within a kilobyte lead straight to translated code.
ENGINE_PAGE: Final = 4096
_HCR_EL2: Final = Encoding(3, 4, 1, 1, 0)
_HCR: Final = 1 << 31 | 1 << 13  # EL1 is AArch64 (RW), WFI is trapped (TWI). Arm ARM, D19.2.48
_SCR_EL3: Final = Encoding(3, 6, 1, 1, 0)
_SCR: Final = 0x5B1  # EL2 is AArch64 (RW), non-secure (NS), no SMC (SMD), HVC (HCE), and RES1. Arm ARM, D19.2.119


def new_engine(model: str) -> unicorn.Uc:
    """A Unicorn engine with CPU `model` (a key of `CPU_MODELS`), whose EL1 is AArch64 and non-secure.

    Raises MachineError for an unknown model.
    """
    if model not in CPU_MODELS:
        raise MachineError(f"there is no CPU model '{model}': choose one of {', '.join(CPU_MODELS)}")
    engine = unicorn.Uc(unicorn.UC_ARCH_ARM64, unicorn.UC_MODE_ARM)
    engine.ctl_set_cpu_model(CPU_MODELS[model])
    engine.ctl_set_page_size(ENGINE_PAGE)
    engine.ctl_set_tcg_buffer_size(_BUFFER)
    # Without SCR_EL3.RW and HCR_EL2.RW, ERET at EL1 is an illegal return and the MMU walks AArch32 tables.
    write_system_register(engine, _SCR_EL3, _SCR)
    write_system_register(engine, _HCR_EL2, _HCR)
    return engine


def engine_handle(engine: unicorn.Uc) -> int:
    """The address of the engine's structure in this process."""
    handle = engine._uch
    return int(getattr(handle, "value", handle))


def write_system_register(engine: unicorn.Uc, encoding: Encoding, value: int) -> None:
    """Write a system register. As a side effect, Unicorn rebuilds its cached CPU flags."""
    op0, op1, crn, crm, op2 = encoding
    engine.reg_write(reg.UC_ARM64_REG_CP_REG, (crn, crm, op0, op1, op2, value))


def read_system_register(engine: unicorn.Uc, encoding: Encoding) -> int:
    """Read a system register."""
    op0, op1, crn, crm, op2 = encoding
    return int(engine.reg_read(reg.UC_ARM64_REG_CP_REG, (crn, crm, op0, op1, op2)))
