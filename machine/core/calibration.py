# SPDX-License-Identifier: GPL-2.0-or-later
"""Offsets of the state that Unicorn keeps but does not expose through a register id of its API.

The CPU context that `context_save` copies out holds all registers, and the fault syndrome and fault address of the last
exception. The offsets depend on the build of the library, so `calibrate` plants values and searches for them, once per
process. The machine refuses to start when an offset is missing or ambiguous. It uses the CPU's own registers if it
finds them, and copies of the context otherwise.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import os
import struct

import unicorn
from unicorn import arm64_const as reg

from armprobe.machine.errors import MachineError
from armprobe.machine.lazy_dataclass import lazy_dataclass

from .engine import engine_handle, new_engine, read_system_register, write_system_register
from .instruction_words import NOP, brk
from .pstate import DAIF, EL1H
from .sysregs import SYSTEM_REGISTERS

_BASE = 0x4000_0000
_BRK_1234, _BRANCH_SELF, _BRANCH_NEXT = brk(0x1234), 0x14000000, 0x14000001
_LDXP_X2_X3_X0 = 0xC87F0C02
_ARM_BREAKPOINT = 0xD5100080, 0xD51000A1  # msr dbgbvr0_el1, x0; msr dbgbcr0_el1, x1
_DISARM_BREAKPOINT = 0xD51000BF  # msr dbgbcr0_el1, xzr
_SYNDROME_BRK_1234 = 0xF2001234  # EC 0x3C (BRK from AArch64), IL, comment 0x1234: Arm ARM, ESR_EL1
_SEARCH_BYTES = 0x1000  # bytes of the engine's structure searched for pointers
_OBJECT_BYTES = 0x1_0000  # bytes of an object searched for the registers
_UNASSIGNED = (1 << 64) - 1  # two indices of -1
_EL1H_MASKED = DAIF | EL1H

_SYSTEM_REGISTERS = (
    "sp_el0", "sp_el1", "elr_el1", "spsr_el1", "esr_el1", "far_el1", "vbar_el1", "sctlr_el1", "mdscr_el1",
    "ttbr0_el1", "ttbr1_el1", "tcr_el1",
)  # fmt: skip


@lazy_dataclass
class Layout:
    """Byte offsets into the CPU context.

    The bytes from `start` to `end` can be copied between contexts. The context's description of itself precedes them,
    and pointers to the engine's records of the guest's breakpoints follow. x0..x30, sp and pc are contiguous u64s, and
    so are the three of the exclusive monitor. Vector registers are 128 bits each, `v_stride` bytes apart.
    """

    start: int
    end: int
    x: int
    pstate: int
    nf: int
    zf: int
    cf: int
    vf: int
    daif: int
    btype: int
    syndrome: int
    fault_address: int
    sp_el0: int
    sp_el1: int
    elr_el1: int
    spsr_el1: int
    esr_el1: int
    far_el1: int
    vbar_el1: int
    sctlr_el1: int
    mdscr_el1: int
    ttbr0_el1: int
    ttbr1_el1: int
    tcr_el1: int
    exclusive: int
    v: int
    v_stride: int
    live: tuple[int, int] | None
    """Where the CPU keeps these bytes: the offset in the engine's structure of a pointer, and what to add to it to get
    the address from which the other offsets count. None if that was not found."""
    generation: int | None
    """The number under which code is translated: the engine executes none that was translated under another one.
    None if that was not found."""


def _failed(what: str) -> MachineError:
    return MachineError(
        f"this build of Unicorn ({unicorn.__version__}) does not keep {what} where armprobe can find it: "
        "install the version that pyproject.toml pins"
    )


def _unique(haystack: bytes, needle: bytes, what: str) -> int:
    at = haystack.find(needle)
    if at < 0 or haystack.find(needle, at + 1) >= 0:
        raise _failed(what)
    return at


def _context(engine: unicorn.Uc) -> bytes:
    return bytes(engine.context_save())


def _find_system_register(engine: unicorn.Uc, name: str) -> int:
    encoding = SYSTEM_REGISTERS[name]
    before = read_system_register(engine, encoding)
    planted = 0x1122_3344_5566_7780
    write_system_register(engine, encoding, planted)
    at = _unique(_context(engine), struct.pack("<Q", planted), name)
    write_system_register(engine, encoding, before)
    return at


def _find_vectors(engine: unicorn.Uc) -> tuple[int, int]:
    """The offset of v0 and the distance between two vector registers, in bytes."""
    for i in range(32):
        engine.reg_write(reg.UC_ARM64_REG_V0 + i, (0x6B00_0000_0000_0000 | i) << 64 | 0x6C00_0000_0000_0000 | i)
    context = _context(engine)
    places = [
        _unique(context, struct.pack("<QQ", 0x6C00_0000_0000_0000 | i, 0x6B00_0000_0000_0000 | i), f"v{i}")
        for i in range(32)
    ]
    if len({after - before for before, after in itertools.pairwise(places)}) != 1:
        raise _failed("the vector registers")
    return places[0], places[1] - places[0]


def _find_pstate(engine: unicorn.Uc) -> dict[str, int]:
    """The offsets of the words that hold PSTATE.

    Unicorn fills the word that holds N with the whole value written. That word changes with every bit, so it is
    subtracted from the words that each other bit changes.
    """

    context = engine.context_save()  # reused for all images: part of a new context is not initialised

    def changed_by(bit: int) -> set[int]:
        different = 0
        for value in (_EL1H_MASKED, _EL1H_MASKED ^ bit):
            engine.reg_write(reg.UC_ARM64_REG_PSTATE, value)
            engine.context_update(context)
            different ^= int.from_bytes(bytes(context), "little")
        words = set()
        while different:
            word = ((different & -different).bit_length() - 1) // 32  # the lowest that differs
            words.add(4 * word)
            different &= ~(0xFFFF_FFFF << 32 * word)
        return words

    found = {"nf": changed_by(1 << 31)}
    bits = {"zf": 1 << 30, "cf": 1 << 29, "vf": 1 << 28, "daif": 1 << 7, "btype": 1 << 10, "pstate": 1 << 20}
    for name, bit in bits.items():
        found[name] = changed_by(bit) - found["nf"]
    engine.reg_write(reg.UC_ARM64_REG_PSTATE, _EL1H_MASKED)
    if any(len(words) != 1 for words in found.values()) or len(set.union(*found.values())) != len(found):
        raise _failed("PSTATE")
    return {name: words.pop() for name, words in found.items()}


def _find_syndrome(engine: unicorn.Uc) -> int:
    """Run a BRK; inside the exception hook, search for its syndrome."""
    engine.mem_write(_BASE, struct.pack("<3I", _BRK_1234, NOP, _BRANCH_SELF))
    seen: list[bytes] = []

    def on_exception(engine: unicorn.Uc, number: int, _: object) -> None:
        seen.append(_context(engine))
        engine.emu_stop()

    hook = engine.hook_add(unicorn.UC_HOOK_INTR, on_exception)
    engine.emu_start(_BASE, 0)
    engine.hook_del(hook)
    if len(seen) != 1:
        raise _failed("the exception hook's promise of one call an exception")
    return _unique(seen[0], struct.pack("<I", _SYNDROME_BRK_1234), "the fault syndrome")


def _find_live(used: unicorn.Uc, fresh: unicorn.Uc, x: int) -> tuple[int, int] | None:
    """See `Layout.live`. `x` is the offset of the general registers in a context.

    The engine's structure has a pointer to the object that holds the CPU, in an engine that has executed code and in
    one that has not: some other pointers into that object are set when code is executed. Pointers to objects that
    happen to be allocated before the CPU lead to it, too, but to another place in another engine. The CPU's own is the
    nearest: one that is nearer could only point into the same object.
    """
    found = _live_places(used, x) & _live_places(fresh, x)
    return min(found, key=lambda place: (place[1], place[0])) if found else None


def _live_places(engine: unicorn.Uc, x: int) -> set[tuple[int, int]]:
    """Each pointer in the engine's structure that leads to its CPU, as `Layout.live` has it.

    Copies of the registers in memory that was freed match as well, but they do not follow a change.
    """
    # No byte is zero, as most of that memory is: what is searched for skips such memory by its own length.
    planted = [(0x5B + i) * 0x0101_0101_0101_0101 for i in range(29)]
    needle = struct.pack("<29Q", *planted)
    for i, value in enumerate(planted):
        engine.reg_write(reg.UC_ARM64_REG_X0 + i, value)
    # Read through the kernel: the sizes are unknown, and a read past a mapping must fail, not crash.
    try:
        memory = os.open("/proc/self/mem", os.O_RDONLY)
    except OSError:  # where /proc is not mounted, copies serve
        return set()
    try:
        found = [
            (offset, pointer, at)
            for offset, pointer in enumerate(_words(_peek(memory, engine_handle(engine), _SEARCH_BYTES)))
            if 1 << 16 <= pointer < 1 << 47 and (at := _peek(memory, pointer, _OBJECT_BYTES).find(needle)) >= 0
        ]
        engine.reg_write(reg.UC_ARM64_REG_X0 + 7, 0x1234)
        return {
            (8 * offset, at - x)
            for offset, pointer, at in found
            if _words(_peek(memory, pointer + at + 56, 8)) == (0x1234,)
        }
    finally:
        os.close(memory)


def _peek(memory: int, address: int, size: int) -> bytes:
    """Up to `size` bytes of this process from `address`; empty where nothing is mapped."""
    try:
        return os.pread(memory, size, address)
    except OSError:
        return b""


def _words(data: bytes) -> tuple[int, ...]:
    return struct.unpack(f"<{len(data) // 8}Q", data[: len(data) // 8 * 8])


def _find_generation(engine: unicorn.Uc, live: tuple[int, int] | None) -> int | None:
    """See `Layout.generation`. `engine` has executed code.

    It is the mask of QEMU's trace events that are on, which Unicorn has none of: `trace_vcpu_dstate` is part of what
    a block of code is looked up by (qemu/accel/tcg/cpu-exec.c). The structure of the CPU, which precedes the registers,
    has in a row: u64 trace_dstate; i32 cpu_index, cluster_index, both unassigned; u32 halted, can_do_io; i32
    exception_index; and, aligned, a pointer to the engine (qemu/include/hw/core/cpu.h).
    """
    if live is None:
        return None
    pointer, delta = live
    handle = engine_handle(engine)
    cpu = ctypes.c_uint64.from_address(handle + pointer).value
    words = _words(ctypes.string_at(cpu, delta))
    found = [
        8 * at - delta
        for at in range(len(words) - 4)
        if words[at + 4] == handle and words[at : at + 2] == (0, _UNASSIGNED)
    ]
    return found[0] if len(found) == 1 and _separates(engine, cpu + delta + found[0]) else None


def _separates(engine: unicorn.Uc, address: int) -> bool:
    """Whether the number at that address separates code as `Layout.generation` says."""
    generation, translated = ctypes.c_uint64.from_address(address), 0

    def on_translation(*_: object) -> None:
        nonlocal translated
        translated += 1

    def translations(number: int) -> int:
        """How many blocks are translated to execute three."""
        nonlocal translated
        translated, generation.value = 0, number
        engine.emu_start(_BASE, 0)
        return translated

    engine.mem_write(_BASE, struct.pack("<3I", _BRANCH_NEXT, _BRANCH_NEXT, _BRK_1234))
    engine.ctl_flush_tb()
    hooks = [
        engine.hook_add(unicorn.UC_HOOK_EDGE_GENERATED, on_translation),
        engine.hook_add(unicorn.UC_HOOK_INTR, lambda engine, *_: engine.emu_stop()),
    ]
    try:
        return [translations(number) for number in (0, 0, 1, 0, 1)] == [3, 0, 3, 0, 0]
    finally:
        generation.value = 0
        for hook in hooks:
            engine.hook_del(hook)


def _find_exclusive_monitor(engine: unicorn.Uc) -> int:
    """The offset of the address that a load exclusive marks. The two doublewords read at that address follow it."""
    address, values = _BASE + 0x800, (0x7A11_0000_0000_0001, 0x7A22_0000_0000_0002)
    engine.mem_write(address, struct.pack("<2Q", *values))
    engine.reg_write(reg.UC_ARM64_REG_X0, address)
    _execute(engine, _LDXP_X2_X3_X0)
    return _unique(_context(engine), struct.pack("<3Q", address, *values), "the exclusive monitor")


def _find_end(engine: unicorn.Uc, pc: int) -> int:
    """The offset of the pointers to the engine's records of breakpoints, found by arming a breakpoint.

    The pointers, one for each of 16 breakpoints, are the last part of a context. Copying them between contexts would
    free a record twice if the guest cleared the breakpoint in between. `pc` is the offset of the program counter.
    """
    address, control = _BASE + 0x800, 0x1E5  # an address that is not executed; enabled at EL1 and EL0
    engine.reg_write(reg.UC_ARM64_REG_X0, address)
    engine.reg_write(reg.UC_ARM64_REG_X1, control)
    context = engine.context_save()  # reused for both images: part of a new context is not initialised
    before = bytes(context)
    _execute(engine, *_ARM_BREAKPOINT)
    engine.context_update(context)
    after = bytes(context)
    _execute(engine, _DISARM_BREAKPOINT)
    size = len(before) // 8
    old, new = (struct.unpack_from(f"<{size}Q", image) for image in (before, after))
    known = {address, control}
    changed = [8 * i for i in range(size) if old[i] != new[i] and new[i] not in known and 8 * i != pc]
    if len(changed) != 1 or changed[0] != len(before) - 16 * 8:
        raise _failed("the guest's breakpoints")
    return changed[0]


def _execute(engine: unicorn.Uc, *words: int) -> None:
    engine.mem_write(_BASE, struct.pack(f"<{len(words)}I", *words))
    engine.ctl_flush_tb()
    engine.emu_start(_BASE, 0, count=len(words))


@functools.cache
def calibrate(model: str) -> Layout:
    """Find the layout for CPU `model`. Takes a few milliseconds, once per process.

    Raises MachineError when this build of the library has an unexpected layout.
    """
    engine = new_engine(model)
    engine.mem_map(_BASE, 0x1000)
    general = [0x5A00_0000_0000_0000 | i * 0x0101_0101 for i in range(33)]
    for i in range(31):
        number = reg.UC_ARM64_REG_X0 + i if i < 29 else reg.UC_ARM64_REG_X29 + i - 29
        engine.reg_write(number, general[i])
    engine.reg_write(reg.UC_ARM64_REG_SP, general[31])
    engine.reg_write(reg.UC_ARM64_REG_PC, general[32])
    x = _unique(_context(engine), struct.pack("<33Q", *general), "the general registers")

    v, v_stride = _find_vectors(engine)
    system = {name: _find_system_register(engine, name) for name in _SYSTEM_REGISTERS}
    pstate = _find_pstate(engine)
    syndrome = _find_syndrome(engine)
    exclusive, end = _find_exclusive_monitor(engine), _find_end(engine, x + 32 * 8)
    live = _find_live(engine, new_engine(model), x)
    context = _context(engine)
    start = len(context) - int.from_bytes(context[:8], "little")  # a context begins with the size of its content
    if not 8 <= start <= x:
        raise _failed("the size of a context")
    return Layout(
        start=start,
        end=end,
        x=x,
        exclusive=exclusive,
        syndrome=syndrome,
        fault_address=syndrome + 8,  # {u32 syndrome; u32 fsr; u64 vaddress; u32 target_el}
        v=v,
        v_stride=v_stride,
        live=live,
        generation=_find_generation(engine, live),
        **pstate,
        **system,
    )
