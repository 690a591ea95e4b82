# SPDX-License-Identifier: GPL-2.0-or-later
"""Random instructions of every simulated class in a loop: optimised, ordinary, and as the CPU itself executes them."""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable

import pytest

from armprobe import machine
from armprobe.machine import Machine
from armprobe.probes import Hit, Kprobe, Kprobes, Stage, optimizer
from armprobe.probes.kprobe import OPTIMIZED

SITES, LOOPS = 44, 250
AREA = "slab_round"  # the workload's functions follow it, which are not executed here
COUNT, STATE, PATH, BACK = 19, 20, 21, 28  # registers of the loop; x0 to x15 are those of the instructions


def ubfx(to: int, of: int, low: int) -> int:
    return 0xD3400000 | low << 16 | low << 10 | of << 5 | to


def adr(to: int, offset: int, page: bool = False) -> int:
    offset &= (1 << 21) - 1
    return page << 31 | 0x10000000 | (offset & 3) << 29 | offset >> 2 << 5 | to


def scattered() -> list[int]:
    """Xorshift64 (Marsaglia 2003) on x20, and its top bits as flags."""
    rounds = ((13, 0), (7, 1), (17, 0))
    eor = [0xCA000000 | right << 22 | STATE << 16 | by << 10 | STATE << 5 | STATE for by, right in rounds]
    return [*eor, 0xD51B4200 | STATE]


def either(draw: random.Random, register: int) -> list[int]:
    """Zero or not; for half of them only in the upper word."""
    bit = ubfx(register, STATE, draw.randrange(64))
    return [bit, 0xD3607C00 | register << 5 | register] if draw.random() < 0.5 else [bit]  # LSL #32


Make = Callable[[random.Random, int], tuple[list[int], int]]
"""What is before an instruction, and the instruction. It goes on there, or behind the next one."""


def conditional(word: int) -> Make:
    def make(draw: random.Random, n: int) -> tuple[list[int], int]:
        return either(draw, n), word | draw.getrandbits(1) << 24 | draw.getrandbits(1) << 31 | 2 << 5 | n

    return make


def bit_branch(draw: random.Random, n: int) -> tuple[list[int], int]:
    number = draw.randrange(64)
    word = 0x36000000 | draw.getrandbits(1) << 24 | number >> 5 << 31 | (number & 31) << 19 | 2 << 5 | n
    return [0xAA0003E0 | STATE << 16 | n], word  # MOV Xn, X20


def indirect(word: int) -> Make:
    return lambda draw, n: ([adr(n, draw.choice((8, 12)))], word | n << 5)


def literal(word: int) -> Make:
    """The offset is that of a word behind the loop, put in later."""
    return lambda draw, n: ([], word | n)


CLASSES: dict[str, Make] = {
    "b": lambda draw, n: ([], 0x14000002),
    "bl": lambda draw, n: ([], 0x94000002),
    "b.cond": lambda draw, n: ([], 0x54000040 | draw.randrange(16)),
    "cbz": conditional(0x34000000),
    "tbz": bit_branch,
    "br": indirect(0xD61F0000),
    "blr": indirect(0xD63F0000),
    "ret": indirect(0xD65F0000),
    "adr": lambda draw, n: ([], adr(n, draw.getrandbits(21))),
    "adrp": lambda draw, n: ([], adr(n, draw.getrandbits(21), page=True)),
    "ldr w": literal(0x18000000),
    "ldr x": literal(0x58000000),
    "ldrsw": literal(0x98000000),
    "nop": lambda draw, n: ([], 0xD503201F),
}


def program(draw: random.Random, probeable: Callable[[int], bool]) -> tuple[bytes, dict[int, str]]:
    """The code of a function (x0: a seed, x1: how often), and the class of each instruction to probe, by offset."""
    words = [0xAA1E03FC, 0xAA0003F4, 0xAA0103F3]  # x28 = x30, x20 = x0, x19 = x1
    top, sites = len(words), {}
    names = [*CLASSES, *draw.choices([*CLASSES], k=SITES - len(CLASSES))]
    draw.shuffle(names)
    for name in names:
        before, word = CLASSES[name](draw, draw.randrange(16))
        while not probeable(4 * (len(words) + 4 + len(before))):
            words.append(0xD503201F)  # between the functions that are written over
        words += [*scattered(), *before]
        sites[len(words) * 4] = name
        words += [word, 0x91000000 | draw.randrange(1, 4096) << 10 | PATH << 5 | PATH]  # ADD X21, X21, #
    words += [0xF1000400 | COUNT << 5 | COUNT, 0x54000001 | (top - len(words) - 1 & (1 << 19) - 1) << 5]
    words.append(0xD65F0000 | BACK << 5)
    for offset, name in sites.items():
        if name.startswith("ldr"):
            at = len(words) + len(words) % 2 + 2 * draw.randrange(8)
            words[offset // 4] |= at - offset // 4 << 5
    words += [draw.getrandbits(32) for _ in range(20)]
    return b"".join(word.to_bytes(4, "little") for word in words), sites


def prepared(code: bytes) -> tuple[Machine, int]:
    demo = machine.load("demo", memory="16M")
    demo.run(until="workload_round")
    start = demo.symbols[AREA].address
    demo.memory.write(start, code)
    return demo, start


def recorded(code: bytes, sites: dict[int, str], era: str, arguments: tuple[int, int], optimization: bool) -> list[Hit]:
    demo, start = prepared(code)
    kprobes = Kprobes(demo, era)
    kprobes.kept, kprobes.optimization = 1 << 15, optimization
    probes = [kprobes.register_kprobe(Kprobe(addr=start + offset)) for offset in sites]
    demo.call(start, *arguments)
    assert {probe.flags for probe in probes} == {OPTIMIZED * optimization}
    return list(kprobes.hits)


@pytest.mark.parametrize(("era", "hooks"), [("v6.1", 30), ("v5.10", 0), ("v7.2", 12)])
def test_post_is_as_in_the_ordinary_way_and_as_the_cpu_has_it(
    era: str, hooks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    draw = random.Random(seed)
    guest, start = prepared(b"")
    code, sites = program(draw, lambda offset: guest.symbols.at(start + offset) is not None)
    arguments = draw.getrandbits(64) | 1, LOOPS
    monkeypatch.setattr(optimizer, "HOOKS", hooks)
    optimized, ordinary = (recorded(code, sites, era, arguments, optimization) for optimization in (True, False))
    quick, slow = (
        [(hit.address, hit.stage, hit.number, hit.general, hit.pstate) for hit in hits]
        for hits in (optimized, ordinary)
    )
    assert len(quick) >= 2 * 10_000
    assert quick == slow

    demo, _ = prepared(code)
    expected: list[tuple[int, ...]] = []
    demo.registers.x[0], demo.registers.x[1] = arguments
    demo.registers.pc = start
    while len(expected) < SITES * 20:
        at = demo.registers.pc
        demo.step(1)
        if at - start in sites:
            expected.append((at, *demo.registers.x, demo.registers.pc, demo.registers.pstate))
    posts = [hit for hit in optimized if hit.stage is Stage.POST][: len(expected)]
    # The others are not the same: they are what the caller has left there.
    own = [*range(16), STATE, PATH]
    assert [(hit.address, *(hit.regs.regs[n] for n in own), hit.regs.pc, hit.pstate) for hit in posts] == [
        (at, *(x[n] for n in own), pc, pstate) for at, *x, pc, pstate in expected
    ]
