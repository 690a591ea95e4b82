# SPDX-License-Identifier: GPL-2.0-or-later
"""The structures that the C core shares with Python (native.h)."""

from __future__ import annotations

import ctypes
from typing import Final

from .binding import structure


@structure("layout")
class NativeLayout(ctypes.Structure):
    """Where the registers are: see `machine.core.calibration.Layout`."""


@structure("cp_reg")
class SystemRegister(ctypes.Structure):
    """Unicorn's description of an access to a system register."""

    crn: int
    crm: int
    op0: int
    op1: int
    op2: int
    value: int


@structure("access")
class NativeAccess(ctypes.Structure):
    """An access to a device that has been made."""


WALKS: Final = 16


@structure("walk")
class NativeWalk(ctypes.Structure):
    """A walk of the guest's tables."""


@structure("core")
class NativeCore(ctypes.Structure):
    """One CPU and its engine."""

    uc: int
    registers: int
    copy: int
    cpu: int
    generation: int
    ram: int
    ram_base: int
    ram_size: int
    walks: int
    translated: int
    recorder: int
    interface: int
    timers: ctypes.Array[ctypes.c_uint64]
    base: int
    count: int
    limit: int
    hard: int
    begin: int
    executed: int
    ended: int
    idle: int
    slice: int
    end: int
    deadline: int
    own: int
    own_size: int
    roles: int
    own_descriptor: int
    own_offset: int
    borrowed: int
    borrowed_count: int
    functions: int
    looked: int
    looked_size: int
    ret: int
    frame_entry: int
    frame_size: int
    frame_lowered: int
    exits: int
    exit_count: int
    uncounted: int
    irq: int
    mask: int
    running: int
    xzr: int
    cp_reg: int
    slot: int
    slot_running: int
    slot_daif: int
    slot_left: int
    framed: bool
    pan: bool
    ends: bool
    interrupting: bool
    faults_claimed: bool
    translated_elsewhere: bool
    following: bool
    watching: bool
    waiting: bool
    called: bool
    handling: bool
    handler: int
    handler_idle: int
    exact: bool
    layout: NativeLayout
    refreshed: SystemRegister
    emu_start: int
    emu_stop: int
    ctl: int
    hook_add: int
    mmio_map: int
    reg_read: int
    reg_write: int
    context_save: int
    context_restore: int
    vmem_read: int
    vmem_write: int
    mem_read: int
    mem_write: int
    rebuild: int
    raised: int
    found: int
    read_register: int
    write_register: int


@structure("slot")
class NativeSlot(ctypes.Structure):
    """An instruction that is executed out of line, and the BRK behind it."""

    start: int
    next: int
    brk: int
    sets: int
    clears: int
    restores: int
    place: int


@structure("site")
class Site(ctypes.Structure):
    """An MRS or MSR."""

    core: int
    address: int


@structure("window")
class NativeWindow(ctypes.Structure):
    """Where a device is."""

    core: int
    device: int
    read: int
    write: int
    timed: bool
