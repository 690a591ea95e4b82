# SPDX-License-Identifier: GPL-2.0-or-later
"""Each class of load and store is seen by what watches memory (Arm ARM, C4.1, C6.2, C7.2, D2.10)."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest

from armprobe.machine import Machine, Stop, StopReason, WatchHit
from tests.soak import AT_LENGTH, chance

pytestmark = pytest.mark.soak

PHYSICAL = 0x4020_3000
BASE = 1024  # of what x0 points to, in the page
OLD = bytes(0x80 | at % 128 for at in range(4096))  # the page's content
ASCENDING = bytes(range(1, 65))  # x2, x3 and v0 to v3, as a store puts them


@dataclass(frozen=True)
class Access:
    """`code` accesses `size` bytes at x0 + `offset`, and writes `new` there, if anything."""

    code: str
    offset: int
    size: int
    new: bytes | None = None
    reads: bool = True

    @property
    def kinds(self) -> set[str]:
        return ({"read"} if self.reads else set()) | ({"write"} if self.new is not None else set())


def store(code: str, offset: int, size: int, new: bytes = ASCENDING) -> Access:
    return Access(code, offset, size, new[:size], reads=False)


def change(code: str, size: int, result: Callable[[int, int], int]) -> Access:
    """A read-modify-write of what x0 points to, with x2."""
    old = int.from_bytes(OLD[BASE:][:size], "little")
    new = result(old, int.from_bytes(ASCENDING[:size], "little"))
    return Access(code, 0, size, (new % (1 << 8 * size)).to_bytes(size, "little"))


def interleaved(registers: int, element: int) -> bytes:
    """Structures of one element of each of v0 and those that follow it (C7.2, ST2 to ST4)."""
    return b"".join(
        ASCENDING[16 * register + at :][:element] for at in range(0, 16, element) for register in range(registers)
    )


LOADS = [
    Access("ldr x6, [x0]", 0, 8),
    Access("ldr w6, [x0, #4]", 4, 4),
    Access("ldrb w6, [x0, #3]", 3, 1),
    Access("ldrsh x6, [x0, #6]", 6, 2),
    Access("ldrsw x6, [x0, #12]", 12, 4),
    Access("ldur x6, [x0, #-5]", -5, 8),
    Access("ldr x6, [x0, #8]!", 8, 8),
    Access("ldr x6, [x0], #8", 0, 8),
    Access("ldr x6, [x0, x5, lsl #3]", 128, 8),
    Access("ldr w6, [x0, w7, sxtw #2]", -12, 4),
    Access("ldraa x6, [x0, #8]", 8, 8),
    Access("ldp x6, x8, [x0, #16]", 16, 16),
    Access("ldpsw x6, x8, [x0, #-8]", -8, 8),
    Access("ldnp w6, w8, [x0, #8]", 8, 8),
    Access("ldp q4, q5, [x0, #32]", 32, 32),
    Access("ldnp d4, d5, [x0]", 0, 16),
    Access("ldr q4, [x0, #16]", 16, 16),
    Access("ldur h4, [x0, #5]", 5, 2),
    Access("ldr b4, [x0, #5]", 5, 1),
    Access("ld1 {v4.2d, v5.2d, v6.2d, v7.2d}, [x0]", 0, 64),
    Access("ld1 {v4.s}[1], [x0]", 0, 4),
    Access("ld1r {v4.8h}, [x0]", 0, 2),
    Access("ld2 {v4.8b, v5.8b}, [x0], #16", 0, 16),
    Access("ld3 {v4.4s, v5.4s, v6.4s}, [x0]", 0, 48),
    Access("ld4 {v4.d, v5.d, v6.d, v7.d}[1], [x0]", 0, 32),
    Access("ld3r {v4.8h, v5.8h, v6.8h}, [x0]", 0, 6),
    Access("ldar x6, [x0]", 0, 8),
    Access("ldarb w6, [x0]", 0, 1),
    Access("ldlarh w6, [x0]", 0, 2),
    Access("ldapr x6, [x0]", 0, 8),
    Access("ldapursw x6, [x0, #-12]", -12, 4),
    Access("ldxr x6, [x0]", 0, 8),
    Access("ldaxrh w6, [x0]", 0, 2),
    Access("ldxp x6, x8, [x0]", 0, 16),
    Access("ldaxp w6, w8, [x0]", 0, 8),
]
STORES = [
    store("str x2, [x0]", 0, 8),
    store("str w2, [x0, #4]!", 4, 4),
    store("strb w2, [x0], #1", 0, 1),
    store("sturh w2, [x0, #-3]", -3, 2),
    store("str x2, [x0, x5]", 16, 8),
    store("stp x2, x3, [x0, #16]", 16, 16),
    store("stnp x2, x3, [x0]", 0, 16),
    store("stp q0, q1, [x0, #32]", 32, 32),
    store("str q0, [x0, #16]", 16, 16),
    store("str b0, [x0, #5]", 5, 1),
    store("stur s0, [x0, #-7]", -7, 4),
    store("st1 {v0.16b, v1.16b, v2.16b, v3.16b}, [x0], #64", 0, 64),
    store("st1 {v0.d}[1], [x0]", 0, 8, ASCENDING[8:]),
    store("st2 {v0.16b, v1.16b}, [x0]", 0, 32, interleaved(2, 1)),
    store("st3 {v0.4s, v1.4s, v2.4s}, [x0]", 0, 48, interleaved(3, 4)),
    store("st4 {v0.8h, v1.8h, v2.8h, v3.8h}, [x0]", 0, 64, interleaved(4, 2)),
    store("st2 {v0.b, v1.b}[0], [x0]", 0, 2, interleaved(2, 1)),
    store("stlr x2, [x0]", 0, 8),
    store("stlrb w2, [x0]", 0, 1),
    store("stllrh w2, [x0]", 0, 2),
    store("stlur x2, [x0, #-16]", -16, 8),
    store("stxr w6, x2, [x0]", 0, 8),
    store("stlxrb w6, w2, [x0]", 0, 1),
    store("stxp w6, x2, x3, [x0]", 0, 16),
    store("stxp w6, w2, w9, [x0]", 0, 8),
    store("dc zva, x0", 0, 64, bytes(64)),
]
CHANGES = [
    change("ldadd x2, x6, [x0]", 8, lambda old, x2: old + x2),
    change("ldaddalb w2, w6, [x0]", 1, lambda old, x2: old + x2),
    change("stadd w2, [x0]", 4, lambda old, x2: old + x2),
    change("ldclra x2, x6, [x0]", 8, lambda old, x2: old & ~x2),
    change("ldeorlh w2, w6, [x0]", 2, lambda old, x2: old ^ x2),
    change("ldset x2, x6, [x0]", 8, lambda old, x2: old | x2),
    change("ldsmax x2, x6, [x0]", 8, lambda old, x2: x2),  # the old one is negative
    change("ldsmin x2, x6, [x0]", 8, lambda old, x2: old),
    change("ldumax w2, w6, [x0]", 4, max),
    change("ldumin x2, x6, [x0]", 8, min),
    change("swp x2, x6, [x0]", 8, lambda old, x2: x2),
    change("swpalh w2, w6, [x0]", 2, lambda old, x2: x2),
    change("cas x10, x2, [x0]", 8, lambda old, x2: x2),
    change("casalb w10, w2, [x0]", 1, lambda old, x2: x2),
    change("casp x10, x11, x2, x3, [x0]", 16, lambda old, x2: x2),
    change("caspal w12, w13, w2, w3, [x0]", 8, lambda old, x2: int.from_bytes(b"\1\2\3\4\t\n\v\f", "little")),
]
NONE = [
    Access(code, 0, 8, reads=False)
    for code in ("prfm pldl1keep, [x0]", "prfum pstl1strm, [x0, #1]", "dc cvac, x0", "dc civac, x0", "dc cvau, x0")
]
ACCESSES = LOADS + STORES + CHANGES + NONE
TOUCHES = "untouched", "read", "written"  # what was done to the page before
MAPPINGS = {"no MMU": None, "executable": 0, "never executed": 1 << 53 | 1 << 6, "tagged": 0}  # PXN, AP[1]
TAG = 0x5A << 56
MMU = """
    ldr x0, =0x40600000; msr ttbr0_el1, x0; mov x0, #0xff; msr mair_el1, x0
    ldr x0, =0x2000803519; msr tcr_el1, x0; isb
    mrs x0, sctlr_el1; orr x0, x0, #1; msr sctlr_el1, x0; isb
"""


def before(code: str) -> str:
    """The load exclusive of a store exclusive, into registers that nothing else uses, or NOP."""
    if not (match := re.match("stl?x([rp])([bh]?) w6, ([xw])", code)):
        return "nop"
    single, size, width = match.groups()
    return f"ldxr{size} {width}16, [x0]" if single == "r" else f"ldxp {width}16, {width}17, [x0]"


class Guest:
    """Executes single accesses, each behind another access to the page or none."""

    def __init__(self, bare: Callable[..., Machine], mapping: str, more: str = "") -> None:
        attributes = MAPPINGS[mapping]
        self.data = PHYSICAL if attributes is None else 0x4040_3000
        self.tag = TAG if mapping == "tagged" else 0
        accesses = "".join(f"{before(each.code)}; {each.code}; nop; nop; " for each in ACCESSES)
        self.machine = bare(
            f"""{"" if attributes is None else MMU}
            mov x1, #(3 << 20); msr cpacr_el1, x1; isb
            adr x1, vectors; ld1 {{v0.16b, v1.16b, v2.16b, v3.16b}}, [x1]; b .
            vectors: .byte {", ".join(map(str, ASCENDING))}
            .balign 4096; {accesses}
            .balign 4096; nop; br x19; ldr x14, [x1]; br x19; str x14, [x1]; br x19
            .balign 4096; msr dbgwvr0_el1, x20; msr dbgwcr0_el1, x21; msr mdscr_el1, x22; msr oslar_el1, xzr
            ldr x20, =0x40004000; msr vbar_el1, x20; msr daifclr, #8; isb
            .balign 4096; {more} b .; .balign 512; b .""",
            "max",
        )
        self.page = self.machine.memory.physical
        if attributes is not None:
            for address, entry in {
                0x4060_0008: 0x4060_1003,
                0x4060_1000: 0x4000_0701,
                0x4060_1010: 0x4020_0701 | attributes,
            }.items():
                self.page.write(address, entry.to_bytes(8, "little"))
        assert self.machine.run(instructions=100).reason is StopReason.INSTRUCTIONS
        assert self.machine.registers["v3"].to_bytes(16, "little") == ASCENDING[48:]

    def at(self, address: int) -> None:
        """Be about to execute the instruction at `address`, with the registers of the accesses."""
        self.machine.registers.pc = address
        x = self.machine.registers.x
        old = [int.from_bytes(OLD[BASE + 4 * at :][:4], "little") for at in range(4)]
        for number, value in {
            0: self.data + BASE + self.tag,
            1: self.data + 3000,
            2: int.from_bytes(ASCENDING[:8], "little"),
            3: int.from_bytes(ASCENDING[8:16], "little"),
            14: int.from_bytes(OLD[3000:3008], "little"),
            5: 16,
            7: 0xFFFF_FFFD,
            9: int.from_bytes(ASCENDING[4:8], "little"),
            10: old[0] | old[1] << 32,
            11: old[2] | old[3] << 32,
            12: old[0],
            13: old[1],
        }.items():
            x[number] = value

    def execute(self, access: Access, touch: int, kind: str, address: int) -> tuple[Stop, int]:
        """Execute an access while the byte at `address` is watched. Returns the stop, and the access's address."""
        guest, code = self.machine, 0x4000_1000 + 16 * ACCESSES.index(access)
        self.page.write(PHYSICAL, OLD)
        self.at(code)
        guest.step()
        guest.watchpoints.add(kind, address, 1)
        try:
            if before(access.code) == "nop":  # elsewhere first: what is translated for the first time ends a run
                self.at(0x4000_2000 + 8 * touch)
                guest.registers.x[0] += 1024
                guest.registers.x[19] = code + 4
                guest.run(instructions=4)
                self.page.write(PHYSICAL, OLD)
            self.at(0x4000_2000 + 8 * touch)
            guest.registers.x[19] = code + 4
            return guest.run(instructions=4), code + 4
        finally:
            guest.watchpoints.remove(kind, address, 1)

    def watching(self, access: Access, kind: str, at: int) -> str | None:
        """What is wrong with an access while the guest watches the byte at x0 + `at`; None if nothing is."""
        guest, code, address = self.machine, 0x4000_1000 + 16 * ACCESSES.index(access), self.data + BASE + at
        self.page.write(PHYSICAL, OLD)
        self.at(code)
        guest.step()
        enable, el1, which = 1, 1 << 1, {"read": 1 << 3, "write": 2 << 3}[kind]
        self.at(0x4000_3000)
        x = guest.registers.x
        x[20], x[21] = address & -8, enable | el1 | which | 1 << 5 + address % 8
        x[22] = 1 << 15 | 1 << 13  # MDE, KDE
        guest.run(instructions=8)
        self.at(0x4000_2010)  # a store to the page
        x[19] = code + 4
        guest.run(instructions=4)
        registers = guest.registers
        pc, esr, elr, far = (registers[name] for name in ("pc", "esr_el1", "elr_el1", "far_el1"))
        now = self.page.read(PHYSICAL, 4096)
        self.at(0x4000_3000)
        x[21] = x[22] = 0
        guest.run(instructions=8)
        taken = pc == 0x4000_4200
        if taken != (kind in access.kinds):
            return f"pc {pc:#x}"
        if not taken:
            return None
        syndrome = 0x35 << 26 | 1 << 25 | 0x22 | (kind == "write") << 6
        if (esr, elr) != (syndrome, code + 4) or not access.offset <= far - self.data - BASE <= at:
            return f"esr {esr:#x} elr {elr:#x} far {far:#x}"
        return None if now == OLD else "written too early"


def check(guest: Guest, access: Access, touch: int, kind: str, at: int) -> str | None:
    """What is wrong with an access while the byte at x0 + `at` is watched; None if nothing is."""
    stop, code = guest.execute(access, touch, kind, guest.data + BASE + at)
    hit = stop.detail
    if kind not in access.kinds or not access.offset <= at < access.offset + access.size:
        return None if stop.reason is StopReason.INSTRUCTIONS else f"{stop}"
    if not isinstance(hit, WatchHit) or guest.machine.registers.pc != code or guest.page.read(PHYSICAL, 4096) != OLD:
        return f"{stop}"
    if kind == "read":
        return None if hit.before is None else f"{hit}"
    which = 0 if at == access.offset else -1
    values = [(value or 0).to_bytes(hit.size, "little")[which] for value in (hit.before, hit.value)]
    return None if access.new and values == [OLD[BASE + at], access.new[at - access.offset]] else f"{hit}"


def some(always: Sequence[str], number: int) -> list[Access]:
    """Accesses, of which more are tried at length."""
    return [each for each in ACCESSES if each.code.startswith(tuple(always))] + chance().sample(
        ACCESSES, len(ACCESSES) if AT_LENGTH else number
    )


@pytest.mark.parametrize(
    ("mapping", "touch"),
    [
        ("no MMU", "written"),
        ("executable", "read"),
        *(("never executed", touch) for touch in TOUCHES),
        ("tagged", "read"),
    ],
)
def test_watchpoints(mapping: str, touch: str, bare: Callable[..., Machine]) -> None:
    guest = Guest(bare, mapping)
    wrong = [
        (access.code, kind, at, said)
        for access in some(["dc zva", "stxp"], 15)
        for kind in ("read", "write")
        for at in {access.offset - 1, access.offset, access.offset + access.size - 1, access.offset + access.size}
        if (said := check(guest, access, TOUCHES.index(touch), kind, at))
    ]
    assert not wrong, "\n".join(map(str, wrong))


@pytest.mark.parametrize("mapping", ["never executed", "tagged"])
def test_the_guests_own_watchpoints(mapping: str, bare: Callable[..., Machine]) -> None:
    guest = Guest(bare, mapping)
    wrong = [
        (access.code, kind, at, said)
        for access in some(["dc zva", "stxp", "ldraa"], 15)
        for kind in ("read", "write")
        for at in {access.offset, access.offset + access.size - 1}
        if (said := guest.watching(access, kind, at))
    ]
    assert not wrong, "\n".join(map(str, wrong))


def test_last_writes(bare: Callable[..., Machine]) -> None:
    """Of 256 bytes for each access, in pages that have been written to."""
    region, size = 0x4040_4000, 256
    code = "".join(
        f"mov x0, x20; str x14, [x0, #-128]; {before(each.code)}; {each.code}; add x20, x20, #{size}; "
        for each in ACCESSES
    )
    accesses = Guest(bare, "never executed", code)
    accesses.at(0x4000_4000)
    guest = accesses.machine
    pattern = OLD[BASE:][:size] * len(ACCESSES)
    guest.memory.write(region - BASE, OLD[:BASE] + pattern)
    guest.registers.x[20] = region
    begun, pc = guest.instructions, guest.registers.pc
    guest.run(instructions=5 * len(ACCESSES))
    for number, access in enumerate(ACCESSES):
        if "write" not in access.kinds:
            continue
        for at in {access.offset, access.offset + access.size - 1}:
            found = guest.timeline.last_write(region + size * number + at, 1)
            assert found is not None, access
            assert (found.position - begun, (found.pc or 0) - pc) == (5 * number + 3, 4 * (5 * number + 3)), access


@pytest.mark.parametrize("code", ["str x2, [x0]", "stp x3, x2, [x0, #-8]", "st1 {v0.16b, v1.16b}, [x0]"])
def test_a_write_that_begins_in_the_page_before(code: str, bare: Callable[..., Machine]) -> None:
    """That page has another place in memory (D8.3: a table of pages)."""
    accesses = Guest(bare, "never executed", f"{code}; ")
    guest, second = accesses.machine, 0x4040_5000
    accesses.page.write(0x4060_1010, (0x4060_2003).to_bytes(8, "little"))
    for address, entry in {0x4060_2020: 0x4025_0703, 0x4060_2028: 0x4023_0703}.items():
        accesses.page.write(address, entry.to_bytes(8, "little"))
    accesses.at(0x4000_4000)
    guest.registers.x[0] = second - 4
    begun = guest.instructions
    guest.watchpoints.add("write", second, 1)
    assert guest.run(instructions=2).reason is StopReason.WATCHPOINT
    guest.watchpoints.remove("write", second, 1)
    assert guest.memory.read(second - 16, 32) == bytes(32)
    guest.run(instructions=2)
    assert guest.memory.u32(second) != 0
    found = guest.timeline.last_write(second, 1)
    assert found is not None
    assert (found.position, found.pc) == (begun, 0x4000_4000)
    assert found.address <= second < found.address + found.size
