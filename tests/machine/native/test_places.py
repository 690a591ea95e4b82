# SPDX-License-Identifier: GPL-2.0-or-later
"""Places, on a core that is only a structure: hits, missed hits, both stages, pairs of entry and return."""

from __future__ import annotations

import ctypes
import itertools
import random
from collections.abc import Sequence

import pytest

from armprobe.machine.native.binding import function, structure
from armprobe.machine.native.places import NEVER, Action, Pair, Place, Record, Recorder, stages
from armprobe.probes import PtRegs, decode, simulate

REACH = function("armprobe_place", None, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint32, ctypes.c_void_p)
SETTLE = function("armprobe_places_settle", None, ctypes.c_void_p, ctypes.c_uint64)
RETURN = function("armprobe_returned", ctypes.c_uint32, ctypes.c_void_p, ctypes.c_uint64)
HANDLED = 1  # enum handled
SIMULATE = function(
    "armprobe_simulate",
    ctypes.c_bool,
    ctypes.c_void_p,
    ctypes.c_uint32,
    ctypes.c_uint64,
    ctypes.c_void_p,
    ctypes.c_void_p,
)
TRAMPOLINE, AT, SP, CALLER = 0x9000, 0x1000, 0x8000, 0x4444
_VMEM = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t)


@structure("layout")
class Layout(ctypes.Structure):
    x: int
    pstate: int
    nf: int
    zf: int
    cf: int
    vf: int
    daif: int
    btype: int
    sp_el0: int


@structure("cp_reg")
class CpReg(ctypes.Structure):
    pass


@structure("core")
class Core(ctypes.Structure):
    uc: int
    registers: int
    base: int
    block: int
    count: int
    idle: int
    layout: Layout
    vmem_read: int


class Guest:
    """A core at rest, whose registers and position the test sets, with a recorder."""

    def __init__(self, ring: int = 16, pairs: int = 8) -> None:
        self.words = (ctypes.c_uint64 * 64)()
        self.core = Core()
        self.idle = ctypes.c_uint64()
        self.core.registers, self.core.idle = ctypes.addressof(self.words), ctypes.addressof(self.idle)
        layout = self.core.layout
        for at, name in enumerate(("pstate", "nf", "zf", "cf", "vf", "daif", "btype", "sp_el0"), 40):
            setattr(layout, name, 8 * at)
        self.words[40], self.words[42] = 5, 1  # EL1h, Z clear
        self.memory: dict[int, bytes] = {}
        self._read = _VMEM(self._vmem_read)
        self.core.vmem_read = ctypes.cast(self._read, ctypes.c_void_p).value or 0
        self.ring = (Record * ring)()
        self.pairs = (Pair * pairs)()
        self.held = (Record * pairs)()
        self.free_held = (ctypes.c_uint32 * pairs)(*range(pairs))
        self.mixed = 0
        self._mixed = ctypes.CFUNCTYPE(None)(self._count_mixed)
        self.left: list[int] = []  # the addresses of places whose hits were left to Python
        self._undecided = ctypes.CFUNCTYPE(None, ctypes.c_uint64)(self.left.append)
        self.recorder = Recorder(
            core=ctypes.addressof(self.core),
            ring=ctypes.addressof(self.ring),
            stride=ctypes.sizeof(Record),
            capacity=ring,
            held=ctypes.addressof(self.held),
            free_held=ctypes.addressof(self.free_held),
            free_count=pairs,
            pairs=ctypes.addressof(self.pairs),
            room=pairs,
            trampoline=TRAMPOLINE,
            kept=0xFFFF_FFFF,
            sets_pc=True,
            mixed=ctypes.cast(self._mixed, ctypes.c_void_p).value,
            undecided=ctypes.cast(self._undecided, ctypes.c_void_p).value,
        )
        self.actions: list[Action] = []
        self.places: list[Place] = []

    def _vmem_read(self, _: int, address: int, __: int, buffer: int, size: int) -> int:
        data = self.memory.get(address)
        if data is None or len(data) < size:
            return 1
        ctypes.memmove(buffer, data[:size], size)
        return 0

    def _count_mixed(self) -> None:
        self.mixed += 1

    def place(
        self, address: int, *actions: Action, word: int = 0, simulated: bool = False, follows: bool = False
    ) -> Place:
        for action, next_action in itertools.pairwise(actions):
            action.next = ctypes.addressof(next_action)
        self.actions += actions
        self.memory[address] = word.to_bytes(4, "little")
        place = Place(
            recorder=ctypes.addressof(self.recorder),
            address=address,
            actions=ctypes.addressof(actions[0]) if actions else 0,
            reached=NEVER,
            next=address + 4,
            word=word,
            simulated=simulated,
            follows=follows,
            looked=NEVER,
            records_second=any(action.records_second and not action.follows for action in actions),
        )
        self.places.append(place)  # the recorder has a pointer to it
        return place

    def reach(self, place: Place, executed: int, **registers: int) -> None:
        """The guest is about to execute the instruction at `place`, after `executed` others."""
        self.at(place.address, executed, **registers)
        REACH(None, place.address, 4, ctypes.addressof(place))

    def at(self, pc: int, executed: int, **registers: int) -> None:
        self.core.block, self.core.base, self.core.count = pc, executed, 1
        self.words[32] = pc
        for name, value in registers.items():
            self.words[31 if name == "sp" else int(name[1:])] = value

    def settle(self, pc: int, executed: int) -> None:
        """The run has ended at `pc`, after `executed` instructions."""
        self.words[32] = pc
        SETTLE(ctypes.addressof(self.recorder), executed)

    def call_returns(self, executed: int, sp: int = SP) -> bool:
        self.at(TRAMPOLINE, executed, sp=sp)
        return bool(RETURN(ctypes.addressof(self.recorder), executed) == HANDLED)

    def records(self) -> list[tuple[int, int, int, int]]:
        """Of each record in the ring, oldest first: its action's number, stage, hit, and count of instructions."""
        recorder, kept = self.recorder, min(self.recorder.written, self.recorder.capacity)
        order = [self.ring[(recorder.at - kept + i) % recorder.capacity] for i in range(kept)]
        return [(record.action, record.stage, record.number, record.executed) for record in order]


ALL = (1 << 33) - 1  # x0 to x30, sp and pc


def recording(number: int, first: bool = True, second: bool = True) -> Action:
    return Action(id=number, enabled=True, registers=ALL, records_first=first, records_second=second)


def following(number: int, capacity: int = 10) -> Action:
    action = recording(number)
    action.follows, action.capacity = True, capacity
    return action


def test_the_two_stages_of_a_hit_have_the_registers_before_and_after_the_instruction() -> None:
    guest = Guest()
    place, after = guest.place(AT, recording(7)), guest.place(AT + 4)
    guest.reach(place, 100, x0=1, x30=CALLER)
    guest.reach(after, 101, x0=2)
    assert guest.records() == [(7, 0, 1, 100), (7, 1, 1, 101)]
    first, second = guest.ring[:2]
    assert (first.x[0], first.x[30], first.x[32]) == (1, CALLER, AT)
    assert (second.x[0], second.x[30], second.x[32]) == (2, CALLER, AT + 4)
    assert first.pstate == 5


def test_the_instruction_after_is_reached_another_way_too() -> None:
    guest = Guest()
    place, after = guest.place(AT, recording(7)), guest.place(AT + 4)
    guest.reach(place, 100)
    guest.reach(after, 150)  # the instruction has faulted, and 49 others were executed first
    guest.reach(after, 160)
    assert guest.records() == [(7, 0, 1, 100)]


def test_a_run_that_ends_behind_the_instruction_has_both_stages() -> None:
    guest = Guest()
    place, after = guest.place(AT, recording(7)), guest.place(AT + 4)
    guest.reach(place, 100)
    guest.settle(AT + 4, 101)
    guest.reach(after, 101)
    assert guest.records() == [(7, 0, 1, 100), (7, 1, 1, 101)]


def test_a_run_that_ends_in_the_vector_of_a_fault_has_one() -> None:
    guest = Guest()
    guest.reach(guest.place(AT, recording(7)), 100)
    guest.settle(0x200, 100)
    assert guest.records() == [(7, 0, 1, 100)]


def test_an_instruction_begun_twice_is_one_hit() -> None:
    guest = Guest()
    place, after = guest.place(AT, recording(7)), guest.place(AT + 4)
    guest.reach(place, 100)
    guest.reach(place, 100)
    guest.reach(after, 101)
    guest.reach(place, 102)
    assert guest.records() == [(7, 0, 1, 100), (7, 1, 1, 101), (7, 0, 2, 102)]
    assert guest.actions[0].hits == 2


def test_places_one_after_another_have_their_stages_in_order() -> None:
    guest = Guest()
    first, second = guest.place(AT, recording(1)), guest.place(AT + 4, recording(2, second=False))
    guest.reach(first, 100)
    guest.reach(second, 101)
    assert guest.records() == [(1, 0, 1, 100), (1, 1, 1, 101), (2, 0, 1, 101)]


def test_actions_are_done_in_order_at_each_stage() -> None:
    guest = Guest()
    disabled = recording(3)
    disabled.enabled = False
    place, after = guest.place(AT, recording(1), recording(2, second=False), disabled), guest.place(AT + 4)
    guest.reach(place, 100)
    guest.reach(after, 101)
    assert guest.records() == [(1, 0, 1, 100), (2, 0, 1, 100), (1, 1, 1, 101)]
    assert [action.hits for action in guest.actions] == [1, 1, 0]


def test_a_hit_within_another_is_missed_by_all() -> None:
    guest = Guest()
    disabled = recording(3)
    disabled.enabled = False
    place = guest.place(AT, recording(1), following(2), disabled)
    guest.recorder.busy = True
    guest.reach(place, 100, x30=CALLER)
    assert [(action.hits, action.missed) for action in guest.actions] == [(0, 1)] * 3
    assert guest.words[30] == CALLER
    assert not guest.records()


def test_a_full_ring_loses_the_oldest() -> None:
    guest = Guest(ring=3)
    place = guest.place(AT, recording(1, second=False))
    for executed in range(5):
        guest.reach(place, 100 + executed)
    assert guest.recorder.written == 5
    assert [number for _, _, number, _ in guest.records()] == [3, 4, 5]


def test_the_task_is_recorded() -> None:
    guest = Guest()
    place = guest.place(AT, recording(1, second=False))
    guest.words[47] = 0x5000
    guest.recorder.reads_task, guest.recorder.comm, guest.recorder.pid = True, 0x100, 0x40
    guest.reach(place, 1)
    guest.memory = {0x5100: b"dd".ljust(16, b"\0"), 0x5040: (113).to_bytes(4, "little")}
    guest.reach(place, 2)
    unknown, known = guest.ring[:2]
    assert not unknown.task_known
    assert known.task_known
    assert bytes(known.comm).startswith(b"dd\0")
    assert known.pid == 113


# Calls


def test_a_call_returns_to_its_caller() -> None:
    guest = Guest()
    place = guest.place(AT, following(1))
    guest.reach(place, 100, sp=SP, x0=5, x30=CALLER)
    assert guest.words[30] == TRAMPOLINE
    assert guest.call_returns(140)
    assert guest.words[32] == CALLER
    assert guest.records() == [(1, 0, 1, 100), (1, 1, 1, 140)]
    last = guest.ring[1]
    assert (last.caller, last.x[32], last.x[30]) == (CALLER, CALLER, TRAMPOLINE)
    assert not guest.call_returns(141)


def test_calls_beyond_the_capacity_are_counted_and_the_outermost_are_followed() -> None:
    guest = Guest()
    place = guest.place(AT, following(1, capacity=3))
    for depth in range(6):
        guest.reach(place, 100 + depth, sp=SP - 16 * depth, x30=CALLER + 4 * depth)
    assert guest.words[30] == CALLER + 20  # not taken
    for depth in reversed(range(3)):
        assert guest.call_returns(200 - depth, sp=SP - 16 * depth)
        assert guest.words[32] == CALLER + 4 * depth
    action = guest.actions[0]
    assert (action.hits, action.calls, action.refused, action.outstanding) == (6, 3, 3, 0)
    assert [record[2] for record in guest.records() if record[1]] == [3, 2, 1]  # the innermost first


def test_two_on_one_function_return_the_oldest_registered_first() -> None:
    guest = Guest()
    place = guest.place(AT, following(2), following(1))  # newest first
    guest.reach(place, 100, sp=SP, x30=CALLER)
    assert guest.ring[1].x[30] == TRAMPOLINE  # the first has run
    assert guest.call_returns(120)
    assert guest.words[32] == CALLER
    assert [record[:2] for record in guest.records()] == [(2, 0), (1, 0), (1, 1), (2, 1)]
    assert [record.caller for record in guest.ring[2:4]] == [CALLER, CALLER]


def test_a_tail_call_returns_with_its_caller() -> None:
    guest = Guest()
    outer, inner = guest.place(AT, following(1)), guest.place(AT + 64, following(2))
    guest.reach(outer, 100, sp=SP, x30=CALLER)
    guest.reach(inner, 110, sp=SP, x30=TRAMPOLINE)
    assert guest.call_returns(120)
    assert guest.words[32] == CALLER
    assert [record[0] for record in guest.records() if record[1]] == [2, 1]


def test_a_call_whose_beginning_is_pythons_is_left_to_python() -> None:
    guest = Guest()
    guest.reach(guest.place(AT, following(2)), 110, sp=SP, x30=TRAMPOLINE)
    assert not guest.call_returns(120)
    assert guest.mixed == 1
    assert guest.words[32] == TRAMPOLINE


def test_a_call_that_ends_without_returning_leaks_and_its_place_is_free_again() -> None:
    guest = Guest(pairs=3)
    place = guest.place(AT, following(1, capacity=2))
    for round_ in range(4):
        guest.reach(place, 100 + 10 * round_, sp=SP, x30=CALLER)
        guest.reach(place, 101 + 10 * round_, sp=SP - 64, x30=CALLER + 4)  # leaves by longjmp
        assert guest.call_returns(105 + 10 * round_)
    action = guest.actions[0]
    assert (action.leaked, action.refused, action.outstanding) == (4, 0, 0)
    assert guest.recorder.outstanding < 3  # earlier ones were forgotten, to make room


def test_a_leaked_call_that_returns_after_all_goes_to_its_caller_unseen() -> None:
    guest = Guest()
    place = guest.place(AT, following(1))
    guest.reach(place, 100, sp=SP, x30=CALLER)
    guest.reach(place, 101, sp=SP - 64, x30=CALLER + 4)
    assert guest.call_returns(105)
    assert guest.call_returns(106, sp=SP - 64)
    assert guest.words[32] == CALLER + 4
    assert [record[1:3] for record in guest.records()] == [(0, 1), (0, 2), (1, 1)]


def test_a_call_of_another_task_or_stack_does_not_leak() -> None:
    guest = Guest()
    place = guest.place(AT, following(1))
    guest.reach(place, 100, sp=SP, x30=CALLER)
    guest.words[47] = 1  # SP_EL0, where Linux keeps the task
    guest.reach(place, 101, sp=SP - 64, x30=CALLER + 4)
    guest.words[47] = 0
    assert guest.call_returns(105)
    assert guest.actions[0].leaked == 0
    assert guest.call_returns(106, sp=SP - 64)


# Simulation

_CLASSES = (
    (0x14000000, 0x83FFFFFF),  # B, BL
    (0x54000000, 0x00FFFFEF),  # B.cond
    (0x34000000, 0x81FFFFFF),  # CBZ, CBNZ
    (0x36000000, 0x81FFFFFF),  # TBZ, TBNZ
    (0x10000000, 0xE0FFFFFF),  # ADR, ADRP
    (0xD61F0000, 0x000003E0),  # BR
    (0xD63F0000, 0x000003E0),  # BLR
    (0xD65F0000, 0x000003E0),  # RET
    (0x18000000, 0x40FFFFFF),  # LDR (literal)
    (0x98000000, 0x00FFFFFF),  # LDRSW (literal)
    (0xD503201F, 0),  # NOP
)


def _simulated(guest: Guest, word: int, registers: Sequence[int], pstate: int) -> tuple[list[int], int]:
    x, flags = (ctypes.c_uint64 * 33)(*registers), ctypes.c_uint32(pstate)
    assert SIMULATE(ctypes.addressof(guest.core), word, registers[32], ctypes.addressof(x), ctypes.addressof(flags))
    return list(x), flags.value


@pytest.mark.parametrize(("value", "variable"), _CLASSES)
def test_instructions_are_simulated_as_the_kernel_does(value: int, variable: int) -> None:
    """The simulators of probes/simulation.py were compared with the kernel's own functions."""
    era = "v6.18" if value == 0xD503201F else "v6.1"
    choose, guest = random.Random(value), Guest()
    for _ in range(300):
        word = value | choose.getrandbits(32) & variable
        if decode(word, era).simulator == "":
            continue
        registers = [choose.choice((0, choose.getrandbits(64), choose.getrandbits(32) << 32)) for _ in range(33)]
        registers[32] &= ~3
        pstate = choose.getrandbits(4) << 28 | choose.getrandbits(2) << 10 | 5
        literal = choose.randbytes(8)
        expected = PtRegs(registers[:31], registers[31], registers[32], pstate)

        def read(address: int, size: int, literal: bytes = literal) -> bytes:
            guest.memory = {address: literal}
            return literal[:size]

        simulate(word, registers[32], expected, era, read)
        assert _simulated(guest, word, registers, pstate) == (list(expected.words)[:33], expected.pstate), hex(word)


def test_a_simulated_instruction_has_both_stages_at_once() -> None:
    guest = Guest()
    branch = guest.place(AT, recording(1), word=0x9400_0010, simulated=True)  # bl .+0x40
    guest.reach(branch, 100, x30=CALLER)
    assert guest.records() == [(1, 0, 1, 100), (1, 1, 1, 101)]
    assert (guest.ring[1].x[30], guest.ring[1].x[32]) == (AT + 4, AT + 0x40)
    assert guest.words[30] == CALLER  # the guest executes it itself


@pytest.mark.parametrize("simulated", [True, False])
def test_a_hit_of_code_that_the_guest_has_changed_is_left_to_python(simulated: bool) -> None:
    """It is translated anew before it is executed."""
    guest = Guest()
    word = 0x9400_0010 if simulated else _STP  # bl .+0x40
    place = guest.place(AT, recording(1), word=word, simulated=simulated, follows=not simulated)
    guest.reach(place, 100, sp=SP)
    assert (len(_taken(guest)), guest.left) == (2, [])
    guest.memory[AT] = bytes(4)
    guest.recorder.translated += 1
    guest.reach(place, 200, sp=SP)
    assert (len(_taken(guest)), guest.left) == (2, [AT])


def test_a_literal_that_cannot_be_read_has_no_second_stage() -> None:
    guest = Guest()
    guest.reach(guest.place(AT, recording(1), word=0x5800_0040, simulated=True), 100)
    assert guest.records() == [(1, 0, 1, 100)]


# The second stage follows from the record of the first

_STP = 0xA9BE7BFD  # stp x29, x30, [sp, #-32]!


def _taken(guest: Guest) -> list[tuple[int, int, int, int]]:
    """Of each stage in the ring: its number, the count of instructions, sp and pc."""
    kept = min(guest.recorder.written, guest.recorder.capacity)
    found = [
        (each.stage, each.executed, each.x[31], each.x[32]) for at in range(kept) for each in stages(guest.ring[at])
    ]
    assert guest.recorder.stages == len(found)
    return found


def test_the_second_stage_follows_from_the_first() -> None:
    guest = Guest()
    place = guest.place(AT, recording(7), word=_STP, follows=True)
    guest.reach(place, 100, sp=SP)
    guest.settle(AT + 4, 101)
    assert guest.recorder.written == 1
    assert _taken(guest) == [(0, 100, SP, AT), (1, 101, SP - 32, AT + 4)]


def test_the_second_stage_alone_follows_from_the_registers_before() -> None:
    guest = Guest()
    guest.reach(guest.place(AT, recording(7, first=False), word=_STP, follows=True), 100, sp=SP)
    assert _taken(guest) == [(1, 101, SP - 32, AT + 4)]


@pytest.mark.parametrize("first", [True, False])
def test_it_follows_when_the_instruction_is_executed(first: bool) -> None:
    """Not when the run ends before it. It is begun again then, and something may have changed the registers."""
    guest = Guest()
    place = guest.place(AT, recording(7, first=first), word=_STP, follows=True)
    before = [(0, 100, SP, AT)] * first
    guest.reach(place, 100, sp=SP)
    guest.settle(AT, 100)
    assert _taken(guest) == before
    guest.reach(place, 100, sp=SP - 64)
    assert _taken(guest) == [*before, (1, 101, SP - 96, AT + 4)]
