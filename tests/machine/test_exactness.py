# SPDX-License-Identifier: GPL-2.0-or-later
"""The C core against `CountingEngine`: the same registers, memory, state and count, wherever a run ends.

Calls from conditions are in test_conditional_breakpoints.py: after one, Unicorn's own count lacks an instruction.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from armprobe import machine
from armprobe.machine import Machine, MachineError, Stop
from armprobe.machine.core import calibration
from armprobe.machine.core.core import Core
from armprobe.machine.core.run_loop import Run, RunLoop
from armprobe.machine.devices import Device
from armprobe.machine.devices.timer import FREQUENCY
from armprobe.probes import Kprobes
from tests.machine.reference import counting_engine
from tests.memories import different_pieces

Log = list[object]
Load = Callable[[], Machine]
SLICES = 1, 2, 1, 3, 5, 1, 7, 11, 50, 4, 1, 1, 200, 9
LONG = 3_000, 7, 10_000, 1, 4_999, 20_000
"""Instructions, which the cases are run in. In the long ones, the C core begins further slices by itself."""


def by_reference(load: Load) -> Machine:
    """A machine that runs by Unicorn's count."""
    with pytest.MonkeyPatch.context() as patch:
        counting_engine.install(patch)
        return load()


def state(guest: Machine) -> dict[str, Any]:
    saved = guest.state.save_for_file()
    del saved["core0.register_access"]  # the code searched depends on where blocks begin
    return saved


def difference(one: Machine, other: Machine) -> list[object]:
    """What differs between two machines."""
    states = state(one), state(other)
    found: list[object] = [
        (part, field, *(each[part][field] for each in states))
        for part in states[0]
        for field in states[0][part]
        if states[0][part][field] != states[1][part][field]
    ]
    for ram, same in zip(one.bus.rams, other.bus.rams, strict=True):
        if any(True for _ in different_pieces(ram.data, same.data)):
            found.append(ram.name)
    return found


def place(guest: Machine, stop: Stop) -> object:
    return stop.reason, stop.address, stop.text, guest.instructions, guest.clock.now, guest.registers.pc


class Script:
    """What is done to the demo: `do` takes an action and a number, and `log` keeps what came of it."""

    SYMBOLS = "kfree", "kmalloc", "strlen", "cmp_u32", "workload_round"

    def __init__(self, guest: Machine) -> None:
        self.guest, self.log = guest, Log()
        self.kprobes = Kprobes(guest)
        self._breakpoints: set[int] = set()
        self._watched: tuple[str, int, int] | None = None
        self._saved = guest.snapshot()

    def address(self, number: int) -> int:
        """An instruction of a function."""
        symbol = self.guest.symbols[self.SYMBOLS[number % 5]]
        return symbol.address + number // 5 % 4 * 4

    def do(self, action: str, number: int) -> None:
        try:
            getattr(self, action)(number)
        except MachineError as error:  # such as a call that comes to a breakpoint
            self.log.append(str(error))
        self.log.append((action, self.guest.instructions, self.guest.registers.pc))

    def run(self, number: int) -> None:
        self.log.append(place(self.guest, self.guest.run(instructions=number)))

    def step(self, number: int) -> None:
        self.log.append(place(self.guest, self.guest.step(number % 4 + 1)))

    def breakpoint(self, number: int) -> None:
        address = self.address(number)
        (self.guest.breakpoints.remove if address in self._breakpoints else self.guest.breakpoints.add)(address)
        self._breakpoints ^= {address}

    def condition(self, number: int) -> None:
        """A condition that is sometimes true."""
        hits: list[int] = []

        def decide(core: Core) -> bool:
            hits.append(self.guest.instructions)
            return len(hits) % 7 == number % 7

        self.log.append(hits)
        self.guest.conditional_breakpoints.add(self.address(number), decide)

    def watch(self, number: int) -> None:
        """Watch the stack, or stop watching."""
        if self._watched is not None:
            self.guest.watchpoints.remove(*self._watched)
            self._watched = None
        else:
            at = (self.guest.registers.sp - 16 * (number % 9)) & ~7
            self._watched = ("write", "read", "access")[number % 3], at, 8
            self.guest.watchpoints.add(*self._watched)

    def save(self, number: int) -> None:
        self._saved = self.guest.snapshot()

    def restore(self, number: int) -> None:
        self.guest.restore(self._saved)


def demo() -> Machine:
    return machine.load("demo", memory="4M")


# Not calls and probes: what they execute out of line counts as nothing (tests/probes/test_position.py), and Unicorn's
# own count includes it.
ACTIONS = "run", "run", "run", "step", "breakpoint", "condition", "watch", "save", "restore"


@hypothesis.settings(max_examples=15)
@hypothesis.given(
    st.lists(st.tuples(st.sampled_from(ACTIONS), st.one_of(st.integers(1, 60), st.integers(60, 9000))), max_size=14)
)
def test_a_debugged_demo(actions: list[tuple[str, int]]) -> None:
    scripts = []
    for guest in (demo(), by_reference(demo)):
        guest.run(until="workload_round")
        script = Script(guest)
        for action, number in actions:
            script.do(action, number)
        script.do("run", 3000)
        for probe in script.kprobes.list():
            script.kprobes.unregister(probe)  # a state that a file can keep has none
        scripts.append(script)
    one, other = scripts
    assert one.log == other.log
    assert difference(one.guest, other.guest) == []


PRELUDE = """
    b start
    .balign 2048
vectors:
    .org vectors + 0x200 // synchronous, from EL1
    mrs x21, elr_el1; mrs x22, esr_el1; add x23, x23, x22; add x21, x21, #4; msr elr_el1, x21; eret
    .org vectors + 0x280 // IRQ
    b irq
    .org vectors + 0x400 // synchronous, from EL0
    mrs x21, elr_el1; add x24, x24, x21; mrs x22, esr_el1; add x23, x23, x22
    lsr x22, x22, #26; cmp x22, #0x15; b.eq 1f; add x21, x21, #4; msr elr_el1, x21
1:  eret
    .org vectors + 0x480 // IRQ, from EL0
irq:
    ldr w10, [x2, #0xc]; mov x11, #41; msr cntv_tval_el0, x11; mrs x12, cntvct_el0; add x25, x25, x12
    mrs x21, elr_el1; add x24, x24, x21; str w10, [x2, #0x10]; add x26, x26, #1; eret
start:
    adr x0, vectors; msr vbar_el1, x0
    ldr x0, =0x08000000; ldr x2, =0x08010000
    mov w1, #1; str w1, [x0]; mov w1, #0x08000000; add w1, w1, #8; str w1, [x0, #0x100]
    mov w1, #0xff; str w1, [x2, #4]; mov w1, #1; str w1, [x2]
    mov x3, #50; msr cntv_tval_el0, x3; mov x3, #1; msr cntv_ctl_el0, x3
loop:
"""
CASES = {
    "interrupts are unmasked in the midst of a block": """
        add x5, x5, #1; add x6, x6, x5; msr daifclr, #2; add x5, x5, #1; nop; msr daifset, #2
        mul x6, x6, x5; eor x7, x7, x6; tbz x6, #3, 2f; add x7, x7, #1; 2: b loop""",
    "interrupts are unmasked by ERET": """
        adr x3, 2f; msr elr_el1, x3; mov x3, #5; msr spsr_el1, x3; add x5, x5, #1; eret
        2: add x5, x5, #3; nop; add x6, x6, x5; msr daifset, #2; b loop""",
    "WFI": """
        msr daifclr, #2; add x5, x5, #1; wfi; add x5, x5, #1; msr daifset, #2; wfi; mrs x3, cntvct_el0
        add x6, x6, x3; wfi; b loop""",
    "WFE": "msr daifclr, #2; sevl; wfe; add x5, x5, #1; wfe; yield; add x5, x5, #1; b loop",
    "pairs at devices": """
        msr daifclr, #2; add x8, x0, #0x400; ldp w5, w6, [x8]; add x7, x7, x6; add w5, w5, #8; stp w5, w6, [x8], #8
        add x8, x0, #0x100; ldp w5, w6, [x8]; add x7, x7, x5; ldr w5, [x8, #4]!; add x7, x7, x8; b loop""",
    "a device raises an interrupt in the midst of a block": """
        msr daifclr, #2; ldr w5, =0x02000003; nop; str w5, [x0, #0xf00]; add x6, x6, #1; add x6, x6, x6
        add x8, x0, #0x200; mov w5, #8; stp w5, wzr, [x8]; add x7, x7, x6; str w5, [x8], #4; stp wzr, w5, [x8, #-8]
        add x7, x7, x8; b loop""",
    "code that changes itself": """
        msr daifclr, #2; adr x3, 3f; ldr w4, [x3]; eor w4, w4, #0x400; str w4, [x3]; dc cvau, x3; dsb ish; ic ivau, x3
        dsb ish; isb; add x5, x5, #1; 3: add x6, x6, #1; add x7, x7, x6; b loop""",
    "faults": """
        msr daifclr, #2; mov x3, #0x100; lsl x3, x3, #28; add x5, x5, #1; ldr x4, [x3]; add x5, x5, #1; str x4, [x3]
        svc #1; brk #7; hvc #9; .inst 0; add x6, x6, x5; b loop""",
    "input that comes for output": """
        msr daifclr, #2; mov w13, #0x09000000; mov w14, #65; str w14, [x13]; wfi; ldr w5, [x13, #0x18]; add x6, x6, x5
        wfi; ldr w5, [x13]; add x7, x7, x5; mov x3, #90; 2: sub x3, x3, #1; cbnz x3, 2b; wfi; b loop""",
    "EL0": """
        adr x3, 2f; msr elr_el1, x3; msr spsr_el1, xzr; add x5, x5, #1; eret
        2: add x5, x5, #1; svc #3; add x6, x6, x5; mrs x3, cntvct_el0; wfi; brk #1; .inst 0
        add x6, x6, #1; ldr x3, [x9, #1]; b 2b""",
}


def sliced(guest: Machine, stops: tuple[int, ...], lengths: Iterable[int]) -> list[object]:
    """What is seen when the guest runs in slices, with breakpoints at `stops`."""
    seen: list[object] = []
    for address in stops:
        guest.breakpoints.add(address)
    for length in lengths:
        stop = guest.run(instructions=length)
        registers = guest.core.load()
        seen.append((place(guest, stop), registers.pstate, list(registers.x)))
    return seen


@pytest.mark.parametrize("stopping", [False, True], ids=["through", "with breakpoints"])
@pytest.mark.parametrize("copied", [False, True], ids=["live registers", "copies"])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.sample
def test_slices(
    case: str, copied: bool, stopping: bool, build: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    elf = build(PRELUDE + CASES[case])

    def load() -> Machine:
        return machine.load(elf, memory="16M")

    reference = by_reference(load)
    if copied:
        calibration.calibrate.cache_clear()
        monkeypatch.setattr(calibration, "_find_live", lambda *_: None)
    guest = load()
    if copied:
        calibration.calibrate.cache_clear()
    assert bool(guest.core.context.copy) == copied
    loop = guest.symbols["loop"].address
    stops = (loop + 12, loop + 20, loop + 28, guest.symbols["irq"].address) if stopping else ()
    lengths = [SLICES[number % len(SLICES)] for number in range(180)]
    assert sliced(guest, stops, lengths) == sliced(reference, stops, lengths)
    assert difference(guest, reference) == []
    assert guest.instructions > 1000 or stopping


def by_python(load: Load) -> Machine:
    """A machine whose slices Python begins, all of them."""
    guest = load()
    guest.core.native.go_on = lambda *_: None  # type: ignore[method-assign]
    return guest


@pytest.mark.parametrize("stopping", [False, True], ids=["through", "with a breakpoint"])
@pytest.mark.parametrize("other", [by_reference, by_python])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.sample
def test_long_slices(case: str, other: Callable[[Load], Machine], stopping: bool, build: Callable[[str], Path]) -> None:
    """Input comes where it comes between slices that Python begins. By the reference, it may come elsewhere."""
    elf, seen = build(PRELUDE + CASES[case]), []

    def load() -> Machine:
        return machine.load(elf, memory="16M")

    guests = load(), other(load)
    for guest in guests:
        log = Log()
        watched_over(guest, log, types=other is by_python)
        stops = (guest.symbols["irq"].address,) if stopping else ()
        seen.append((sliced(guest, stops, LONG), log))
    assert seen[0] == seen[1]
    assert difference(*guests) == []


def watched_over(guest: Machine, log: Log, types: bool) -> None:
    """Have an alarm every thousand ticks or so. With `types`, answer each byte that the guest sends."""

    def answer(data: bytes) -> None:
        log.append(data)
        if types:
            guest.console.write(data)

    def ring() -> None:
        log.append(guest.clock.now)
        clock.alarm(1003 / FREQUENCY)

    clock = Device("alarm-clock", expired=ring)
    guest.devices.add(clock)
    clock.alarm(1003 / FREQUENCY)
    guest.console.listen(answer)


@pytest.mark.parametrize("case", ["WFI", "a device raises an interrupt in the midst of a block"])
def test_interrupts_and_waits_are_left_to_c(
    case: str, build: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, begin = Log(), RunLoop.slice

    def slice_begins(loop: RunLoop, run: Run, most: int) -> Stop | None:
        begun.append(run)
        return begin(loop, run, most)

    monkeypatch.setattr(RunLoop, "slice", slice_begins)
    guest = machine.load(build(PRELUDE + CASES[case]), memory="16M")
    guest.run(instructions=100_000)
    assert len(begun) < guest.registers.x[26] / 20  # which counts the interrupts


@pytest.fixture(scope="module")
def shells(snapshot: Path) -> tuple[Machine, Machine]:
    """Debian's kernel at its shell twice, busy with processes, the second by the reference."""
    return machine.load(snapshot), by_reference(lambda: machine.load(snapshot))


@hypothesis.settings(max_examples=4)
@hypothesis.given(st.lists(st.sampled_from((1, 2, 7, 100, 999, 12_345)), min_size=5, max_size=60))
def test_linux(shells: tuple[Machine, Machine], slices: list[int]) -> None:
    """It goes on from example to example, and runs processes, system calls, page faults and interrupts."""
    seen: list[list[object]] = []
    for guest in shells:
        guest.console.write(b"for i in 1 2 3; do cat /proc/uptime | wc; done; sleep 0.01\n")
        seen.append([(place(guest, guest.run(instructions=count)), guest.core.load().pstate) for count in slices])
        seen[-1].append((place(guest, guest.run(instructions=400_000)), guest.console.read()))
    assert seen[0] == seen[1]
    assert difference(*shells) == []
