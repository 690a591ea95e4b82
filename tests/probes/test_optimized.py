# SPDX-License-Identifier: GPL-2.0-or-later
"""Optimised probes: the same as ordinary ones, hit for hit; which are optimised, and when no longer."""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable, Iterable, Sequence

import pytest

from armprobe import machine
from armprobe.expressions import Condition, Note, Scope
from armprobe.machine import CallNotReturned, StopReason
from armprobe.probes import Hit, Kprobe, Kprobes, Kretprobe, Probe, ProbeError, PtRegs, Record, Stage, Task, optimizer

from .test_hits import PCREL

BRK_4 = 0xD4200080
OPTIMIZED = 4  # KPROBE_FLAG_OPTIMIZED, include/linux/kprobes.h

Make = Callable[[], Sequence[Probe]]
Seen = list[tuple[object, ...]]


def register(kprobes: Kprobes, probes: Iterable[Probe]) -> None:
    for probe in probes:
        if isinstance(probe, Kretprobe):
            kprobes.register_kretprobe(probe)
        elif isinstance(probe, Kprobe):
            kprobes.register_kprobe(probe)


def seen(hits: Iterable[Hit]) -> Seen:
    """All of each stage but its time: the breakpoints of ordinary probes take some."""
    return [(str(hit), hit.general, hit.pstate, hit.caller, hit.task, hit.note) for hit in hits]


def counts(probe: Probe) -> tuple[int, ...]:
    leaked = probe.leaked if isinstance(probe, Kretprobe) else 0
    return probe.hits, probe.nmissed, probe.kp.hits, probe.kp.nmissed, leaked


def compare(make: Make, rounds: str, calls: int = 1, **registry: str) -> tuple[Seen, list[tuple[int, ...]]]:
    """Let the guest run one of its functions with the probes optimised and with them ordinary."""
    results = []
    for optimization in (True, False):
        demo = machine.load("demo", memory="16M")
        demo.run(until=rounds)
        kprobes = Kprobes(demo, **registry)
        kprobes.optimization = optimization
        probes = make()
        register(kprobes, probes)
        for _ in range(calls):
            demo.run(until=demo.registers.x[30])
            if calls > 1:
                demo.run(until=rounds)
        assert all(bool(probe.flags & OPTIMIZED) is optimization for probe in probes)
        results.append((seen(kprobes.hits), [counts(probe) for probe in probes], list(demo.registers.x)))
    optimized, ordinary = results
    assert optimized[1] == ordinary[1]
    assert optimized[0] == ordinary[0]
    assert optimized[2] == ordinary[2]
    return optimized[0], optimized[1]


@pytest.mark.usefixtures("_hooks")
@pytest.mark.parametrize("half", [PCREL[:8], PCREL[8:]])
def test_every_class_of_simulated_instruction(half: list[str]) -> None:
    hits, counted = compare(lambda: [Kprobe(f"pcrel_{name}") for name in half], "pcrel_round")
    assert len(hits) == 2 * len(half)
    assert all(count[0] for count in counted)


@pytest.mark.usefixtures("_hooks")
def test_every_instruction_of_a_function() -> None:
    demo = machine.load("demo", memory="16M")
    symbol = demo.symbols["strlen"]
    offsets = range(0, min(symbol.size, 40), 4)
    hits, _ = compare(lambda: [Kprobe("strlen", offset=offset) for offset in offsets], "string_round")
    assert {str(hit[0]).partition(":")[0] for hit in hits} > {"kprobe strlen", "kprobe strlen+0x4"}


def _random_word(choose: random.Random) -> int:
    """Data processing with an immediate or of registers, a store, or NOP (Arm ARM, C4.1.92 to C4.1.95)."""
    word = choose.getrandbits(32)
    match choose.randrange(6):
        case 0:
            return word & ~0x1C000000 | 0x10000000
        case 1:
            return word & ~0x0E000000 | 0x0A000000
        case 2:  # STP, STNP
            return word & ~0x7E4003E0 | 0x28000000 | choose.choice((19, 31)) << 5
        case 3:  # STR, STUR
            return word & ~0x3FE003E0 | 0x38000000 | choose.choice((19, 31)) << 5
        case 4:
            return 0xD503201F
        case _:  # STR with an unsigned offset, of up to 2 KiB
            return word & ~0x3FF003E0 | 0x39000000 | choose.choice((19, 31)) << 5


def test_what_is_behind_random_instructions() -> None:
    """Registers and PSTATE are those that the CPU has when it executes them in the slots of ordinary probes."""
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    choose, nop = random.Random(seed), 0xD503201F
    demo = machine.load("demo", memory="16M")
    demo.run(until="workload_round")
    kprobes, text, stack = Kprobes(demo), demo.symbols["panic"].address, demo.registers.sp & ~0xFFF
    before = demo.snapshot()
    followed = 0
    for _ in range(100):
        words = _random_word(choose), nop
        registers = [choose.choice((0, 1, choose.getrandbits(64), choose.getrandbits(32))) for _ in range(29)]
        registers[19], flags = stack + 2048, choose.getrandbits(4) << 28
        results, record = [], choose.choice((True, Record(stages=[Stage.POST])))
        for optimization in (True, False):
            demo.restore(before)
            demo.memory.write(text, b"".join(word.to_bytes(4, "little") for word in words))
            for number, value in enumerate(registers):
                demo.registers.x[number] = value
            demo.registers.pc, demo.registers.pstate = text, demo.registers.pstate & ~0xF0000000 | flags
            kprobes.optimization = optimization
            try:
                probe = kprobes.register_kprobe(Kprobe("panic", record=record))
            except ProbeError:  # among the words that do not move
                break
            demo.run(instructions=2)
            place = kprobes._optimizer.places._places.get(text)
            followed += place is not None and place.follows
            assert bool(probe.flags & OPTIMIZED) is optimization
            results.append(seen(kprobes.hits))
            kprobes.unregister(probe)
            kprobes.hits.clear()
        assert not results or results[0] == results[1], f"{words[0]:#010x}"
    assert followed > 20


@pytest.mark.usefixtures("_hooks")
@pytest.mark.parametrize("era", ["v5.10", "v6.1", "v6.9"])
def test_calls_and_their_returns(era: str) -> None:
    _, counted = compare(
        lambda: [Kretprobe(name) for name in ("kmalloc", "kfree", "strlen")], "slab_round", calls=2, era=era
    )
    assert counted[0][0] > 5


@pytest.mark.usefixtures("_hooks")
def test_recursion_beyond_maxactive() -> None:
    _, counted = compare(lambda: [Kretprobe("hanoi", maxactive=2), Kretprobe("fib", maxactive=1)], "recursion_round")
    assert counted[0][1] > 0  # nmissed


@pytest.mark.usefixtures("_hooks")
def test_several_on_one_function() -> None:
    compare(
        lambda: [Kprobe("kfree"), Kretprobe("kfree"), Kprobe("kfree", record=False), Kretprobe("kfree", maxactive=1)],
        "slab_round",
    )


@pytest.mark.usefixtures("_hooks")
def test_a_hit_is_of_the_task_that_has_it() -> None:
    """Counted only, and recorded, on the path of a system call."""
    compare(lambda: [Kprobe("sys_getpid"), Kprobe("invoke_syscall", record=False)], "task_round")


# Which are optimised


def word(demo: machine.Machine, name: str) -> int:
    return demo.memory.u32(demo.symbols[name].address)


def test_an_optimised_probe_leaves_the_text_and_the_guests_run_as_they_are(
    demo: machine.Machine, kprobes: Kprobes
) -> None:
    state, text = demo.snapshot(), word(demo, "kfree")
    demo.run(instructions=50_000)
    registers = list(demo.registers.x), demo.registers.pc
    demo.restore(state)
    probe = kprobes.register_kprobe(Kprobe("kfree"))
    assert word(demo, "kfree") == BRK_4  # the kernel, too, optimises a little later
    demo.run(instructions=50_000)
    assert probe.hits
    assert probe.flags == OPTIMIZED
    assert word(demo, "kfree") == text
    assert (list(demo.registers.x), demo.registers.pc) == registers


def test_one_that_gets_a_handler_becomes_ordinary_and_back(demo: machine.Machine, kprobes: Kprobes) -> None:
    called: list[int] = []
    text = word(demo, "checksum_mix")
    probe = kprobes.register_kprobe(Kprobe("checksum_mix"))
    demo.call("checksum_mix", 1, 2)
    assert probe.flags == OPTIMIZED
    probe.post_handler = lambda p, regs, flags: called.append(p.hits)
    assert probe.flags == 0
    assert word(demo, "checksum_mix") == BRK_4
    demo.call("checksum_mix", 1, 2)
    assert called == [2]
    probe.post_handler = None
    demo.call("checksum_mix", 1, 2)
    assert probe.flags == OPTIMIZED
    assert word(demo, "checksum_mix") == text
    assert (probe.hits, called) == (3, [2])
    assert [(hit.stage, hit.number) for hit in kprobes.hits] == [
        (stage, number) for number in (1, 2, 3) for stage in (Stage.PRE, Stage.POST)
    ]


@pytest.mark.parametrize("change", ["stop", "on_hit", "on_moment", "task", "optimization", "neighbour"])
def test_what_makes_a_probe_ordinary(demo: machine.Machine, kprobes: Kprobes, change: str) -> None:
    probe = kprobes.register_kprobe(Kprobe("checksum_mix"))
    demo.call("checksum_mix", 1, 2)
    assert probe.flags == OPTIMIZED
    other = Kprobe("checksum_mix", pre_handler=lambda p, regs: None)
    match change:
        case "stop":
            probe.stop.add(Stage.PRE)
        case "on_hit":
            kprobes.on_hit = lambda hit: None
        case "on_moment":
            kprobes.on_moment = lambda moment: None
        case "task":
            kprobes.task = lambda: Task("cat", 1)
        case "optimization":
            kprobes.optimization = False
        case "neighbour":
            kprobes.register_kprobe(other)
    assert probe.flags == 0
    assert word(demo, "checksum_mix") == BRK_4
    match change:
        case "stop":
            probe.stop.clear()
        case "on_hit":
            kprobes.on_hit = None
        case "on_moment":
            kprobes.on_moment = None
        case "task":
            kprobes.task = None
        case "optimization":
            kprobes.optimization = True
        case "neighbour":
            kprobes.unregister(other)
    demo.call("checksum_mix", 1, 2)
    assert probe.flags == OPTIMIZED
    assert probe.hits == 2


@pytest.mark.usefixtures("_hooks")
def test_hits_in_a_function_that_a_handler_calls_are_missed(demo: machine.Machine, kprobes: Kprobes) -> None:
    def call(probe: Kprobe, regs: PtRegs) -> None:
        demo.call("checksum_mix", 1, 2)

    kprobes.register_kprobe(Kprobe("insn_nop", pre_handler=call))
    probe = kprobes.register_kprobe(Kprobe("checksum_mix"))
    kretprobe = kprobes.register_kretprobe(Kretprobe("checksum_mix"))
    demo.call("insn_nop", 7)
    assert probe.flags == OPTIMIZED
    assert (probe.hits, probe.nmissed, kretprobe.hits, kretprobe.kp.nmissed) == (0, 1, 0, 1)
    demo.call("checksum_mix", 1, 2)
    assert (probe.hits, probe.nmissed, kretprobe.hits, kretprobe.kp.nmissed) == (1, 1, 1, 1)


@pytest.mark.usefixtures("_hooks")
def test_hits_of_both_kinds_are_in_order(demo: machine.Machine, kprobes: Kprobes) -> None:
    kprobes.register_kprobe(Kprobe("kmalloc"))
    kprobes.register_kprobe(Kprobe("kfree", pre_handler=lambda p, regs: None))
    demo.run(instructions=40_000)
    assert [hit.instructions for hit in kprobes.hits] == sorted(hit.instructions for hit in kprobes.hits)
    assert {hit.probe.name for hit in kprobes.hits} == {"kmalloc", "kfree"}


def test_an_outstanding_call_is_known_when_somebody_looks(demo: machine.Machine, kprobes: Kprobes) -> None:
    probe = kprobes.register_kretprobe(Kretprobe("kmalloc"))
    demo.run(until="kmalloc")
    caller = demo.registers.x[30]
    demo.step(3)
    assert probe.flags == OPTIMIZED
    (call,) = kprobes.outstanding
    assert (call.rp, call.ret_addr, call.number) == (probe, caller, probe.hits)
    demo.run(until=caller)
    assert kprobes.outstanding == []
    assert kprobes.hits[-1].stage is Stage.RETURN
    assert kprobes.hits[-1].caller == caller


@pytest.mark.usefixtures("_hooks")
def test_a_state_has_outstanding_calls(demo: machine.Machine, kprobes: Kprobes) -> None:
    probe = kprobes.register_kretprobe(Kretprobe("kmalloc"))
    demo.run(until="kmalloc")
    caller = demo.registers.x[30]
    demo.step(3)
    state = demo.snapshot()
    for _ in range(2):
        demo.run(until=caller)
        assert kprobes.hits[-1].stage is Stage.RETURN
        assert kprobes.hits[-1].caller == caller
        assert (demo.registers.pc, probe.nmissed) == (caller, 0)
        demo.restore(state)


def test_unregistered_while_calls_are_outstanding(demo: machine.Machine, kprobes: Kprobes) -> None:
    probe = kprobes.register_kretprobe(Kretprobe("kmalloc"))
    demo.run(until="kmalloc")
    caller = demo.registers.x[30]
    demo.step(3)
    kprobes.unregister(probe)
    demo.run(until=caller)
    assert demo.registers.pc == caller
    assert kprobes.outstanding == []


def test_many_probes_are_all_hit(demo: machine.Machine, kprobes: Kprobes) -> None:
    """More than there are hooks for."""
    names = [s.name for s in demo.symbols if s.kind == "function" and s.name.startswith(("list", "avl", "str", "mem"))]
    probes = [kprobes.register_kprobe(Kprobe(name)) for name in names]
    probes += [kprobes.register_kprobe(Kprobe(f"pcrel_{name}")) for name in PCREL]
    demo.run(instructions=300_000)
    assert len(probes) > 35
    assert sum(probe.hits > 0 for probe in probes) > 25


# Conditions and notes


class Names(Scope):
    """The names in expressions (armprobe.expressions.Scope): GDB's numbers of registers."""

    registers = (*(f"x{number}" for number in range(31)), "sp", "pc", "cpsr")
    task = None

    def __init__(self, returned: bool) -> None:
        self.returned = returned
        self._symbols = machine.load("demo", memory="16M").symbols

    def register(self, name: str) -> int | None:
        return self.registers.index(name) if name in self.registers else None

    def symbol(self, name: str) -> int:
        return self._symbols[name].address


@pytest.mark.usefixtures("_hooks")
@pytest.mark.parametrize(
    "text",
    [
        "x0 % 2 == 0",
        "x1 > 64 && x30 != 0",
        "*(u64 *)sp != 0",
        "*(u32 *)kmalloc != 0xd4200080",  # memory as it is without a probe
        "cpsr & 0x80000000",
    ],
)
@pytest.mark.parametrize("at", list(Stage)[2:])
def test_conditions(text: str, at: Stage) -> None:
    asked = Condition.compile(text, Names(at is Stage.RETURN))
    compare(
        lambda: [
            Kprobe("kmalloc", condition=asked),
            Kretprobe("kmalloc", condition=asked, condition_at=at),
            Kprobe("kmalloc", offset=8, condition=asked),
        ],
        "slab_round",
    )


@pytest.mark.usefixtures("_hooks")
def test_notes() -> None:
    entry, returned = Names(False), Names(True)
    hits, _ = compare(
        lambda: [
            Kprobe("kmalloc", note=Note.compile('"%d bytes for %x, on top of %x", x0, x30, *(u64 *)sp', entry)),
            Kretprobe("kmalloc", note=Note.compile('"gives %p", x0', returned)),
            Kprobe("strlen", note=Note.compile('"of %s", x0', entry)),
        ],
        "slab_round",
        calls=2,
    )
    assert any("gives 0x" in str(hit[-1]) for hit in hits)


@pytest.mark.usefixtures("_hooks")
def test_a_condition_without_a_value_stops_the_guest_for_the_hit(demo: machine.Machine, kprobes: Kprobes) -> None:
    asked = Condition.compile("*(u64 *)(x1 - 1) > 0", Names(False))  # x1 is 0 at first
    probe = kprobes.register_kprobe(Kprobe("checksum_mix", condition=asked))
    hooked = optimizer.HOOKS > 0
    with pytest.raises(CallNotReturned, match="its condition cannot be evaluated"):
        demo.call("checksum_mix", 1, 0)
    assert probe.flags == (0 if hooked else OPTIMIZED)
    demo.step()  # it is tried again when the guest goes on
    demo.call("checksum_mix", 1, demo.symbols["kmalloc"].address + 1)
    assert (probe.flags, probe.hits, probe.met) == (OPTIMIZED, 2, 1)


@pytest.mark.usefixtures("_hooks")
@pytest.mark.parametrize("word", [0xF9400000, 0xF8008C01], ids=["ldr x0, [x0]", "str x1, [x0, #8]!"])
def test_a_page_fault_is_the_instructions(demo: machine.Machine, kprobes: Kprobes, word: int) -> None:
    """The guest sees it at the instruction, with its own PSTATE, and the hit has no second stage."""
    demo.memory.write(demo.symbols["strlen"].address, word.to_bytes(4, "little"))
    probe = kprobes.register_kprobe(Kprobe("strlen"))
    pstate = demo.registers.pstate
    demo.registers.x[0], demo.registers.pc = 0xDEAD_0000, demo.symbols["strlen"].address
    assert demo.run(until="el1h_64_sync_handler", instructions=1000).reason is StopReason.UNTIL
    assert demo.registers["elr_el1"] == demo.symbols["strlen"].address
    assert demo.registers["spsr_el1"] == pstate
    assert probe.flags == OPTIMIZED
    assert [hit.stage for hit in kprobes.hits] == [Stage.PRE]
    demo.run(until="show_regs", instructions=100_000)
    demo.call("checksum_mix", 1, 2)
    assert kprobes.hits[-1].stage is Stage.PRE


def test_another_instruction_since_the_probe_was_set(demo: machine.Machine, kprobes: Kprobes) -> None:
    """The next hit finds it: that is an ordinary one, and the next run's are optimised again."""
    text = demo.symbols["strlen"].address
    ((physical, _),) = demo.memory.pieces(text, 4)
    demo.memory.write(text, (0x91000400).to_bytes(4, "little"))  # add x0, x0, #1
    probe = kprobes.register_kprobe(Kprobe("strlen"))
    for flags, added in (OPTIMIZED, 1), (0, 2), (OPTIMIZED, 2):
        demo.registers.pc = text
        kprobes.hits.clear()
        demo.run(instructions=1)
        assert probe.flags == flags
        before, behind = kprobes.hits
        assert (before.stage, behind.stage) == (Stage.PRE, Stage.POST)
        assert behind.regs.regs[0] - before.regs.regs[0] == added
        if added == 1:
            demo.core.engine.mem_write(physical, (0x91000800).to_bytes(4, "little"))  # add x0, x0, #2
            demo.core.forget([text])
    assert probe.hits == 3


@pytest.mark.usefixtures("_hooks")
@pytest.mark.parametrize("optimization", [True, False])
@pytest.mark.parametrize(
    ("word", "kind"), [(0xF9400001, "read"), (0xF8008401, "write")], ids=["ldr x1, [x0]", "str x1, [x0], #8"]
)
def test_a_watchpoint_at_the_instruction_is_in_the_midst_of_the_hit(
    demo: machine.Machine, kprobes: Kprobes, word: int, kind: str, optimization: bool
) -> None:
    """It ends the run in the slot, if there is one. The second stage follows when the guest goes on."""
    kprobes.optimization = optimization
    demo.memory.write(demo.symbols["strlen"].address, word.to_bytes(4, "little"))
    probe = kprobes.register_kprobe(Kprobe("strlen"))
    data, text = demo.registers.sp - 64, demo.symbols["strlen"].address
    demo.memory.write(data, b"\x11" * 8)
    demo.watchpoints.add(kind, data, 8)
    demo.registers.x[0], demo.registers.x[1], demo.registers.pc = data, 2, text
    assert demo.run(instructions=1000).reason is StopReason.WATCHPOINT
    assert [hit.stage for hit in kprobes.hits] == [Stage.PRE]
    demo.watchpoints.remove(kind, data, 8)
    demo.run(instructions=2)
    assert bool(probe.flags & OPTIMIZED) is optimization
    assert [(hit.stage, hit.number) for hit in kprobes.hits] == [(Stage.PRE, 1), (Stage.POST, 1)]
    regs = kprobes.hits[1].regs
    behind = (data, 0x1111_1111_1111_1111) if kind == "read" else (data + 8, 2)
    assert (regs.regs[0], regs.regs[1], regs.pc) == (*behind, text + 4)


@pytest.mark.usefixtures("_hooks")
def test_stepping_goes_where_it_goes_without_a_probe(demo: machine.Machine, kprobes: Kprobes) -> None:
    demo.run(until="checksum_mix")
    state = demo.snapshot()

    def steps() -> list[int]:
        demo.restore(state)
        return [demo.step().address for _ in range(40)]

    without = steps()
    kprobes.register_kprobe(Kprobe("checksum_mix"))
    kprobes.register_kprobe(Kprobe("checksum_mix", offset=8))
    kprobes.register_kretprobe(Kretprobe("checksum_mix"))
    assert steps() == without


@pytest.mark.parametrize("optimization", [True, False])
def test_the_number_of_hits_kept_can_be_set_and_those_lost_are_counted(
    demo: machine.Machine, kprobes: Kprobes, optimization: bool
) -> None:
    kprobes.optimization = optimization
    probe = kprobes.register_kprobe(Kprobe("checksum_mix"))
    kprobes.kept = 6
    for _ in range(5):
        demo.call("checksum_mix", 1, 2)
    assert [hit.number for hit in kprobes.hits] == [3, 3, 4, 4, 5, 5]
    assert (kprobes.kept, kprobes.lost, probe.hits) == (6, 4, 5)
    kprobes.kept = 100
    demo.call("checksum_mix", 1, 2)
    assert [hit.number for hit in kprobes.hits] == [3, 3, 4, 4, 5, 5, 6, 6]
    assert kprobes.lost == 4
    with pytest.raises(ProbeError, match="give a number up to 262144"):
        kprobes.kept = 1 << 40
