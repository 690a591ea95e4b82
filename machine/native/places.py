# SPDX-License-Identifier: GPL-2.0-or-later
"""Places of one core: addresses at which C records, counts or follows calls, without Python (places.h)."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from .binding import function, link, structure
from .code_hook import CodeHook
from .structures import NativeSlot

if TYPE_CHECKING:
    from armprobe.machine.core.core import Core

_A = TypeVar("_A", bound="ctypes.Array[Any]")

_MIXED: Final = ctypes.CFUNCTYPE(None)
_HANDLER: Final = ctypes.CFUNCTYPE(ctypes.c_bool)
_ENDED: Final = ctypes.CFUNCTYPE(ctypes.c_uint32, ctypes.c_uint64)
NEVER: Final = (1 << 64) - 1
"""`reached` of a place or a tracepoint before the first hit."""


@structure("record")
class Record(ctypes.Structure):
    """`struct record`: the registers at a stage of a hit, and what else is known of it."""

    action: int
    number: int
    executed: int
    idle: int
    caller: int
    pstate: int
    word: int
    pid: int
    stage: int
    task_known: bool
    x: ctypes.Array[ctypes.c_uint64]
    comm: ctypes.Array[ctypes.c_uint8]
    note: int
    memory: int

    @property
    def note_data(self) -> bytes:
        """What the note gave. Only for a record that C has made."""
        return ctypes.string_at(ctypes.addressof(self) + ctypes.sizeof(self), self.note)

    @property
    def memory_data(self) -> bytes:
        """What the note with memory gave. Only for a record that C has made."""
        return ctypes.string_at(ctypes.addressof(self) + ctypes.sizeof(self) + self.note, self.memory)


class NativeHandler:
    """A handler in Python that C calls (handlers.c), with what it calls at its end. Both functions must not raise.

    `handler` returns whether `ended` is to be called anyway. That gets the address of the registers from before, or 0,
    and returns an `enum handled`.
    """

    def __init__(self, handler: Callable[[], bool], ended: Callable[[int], int]) -> None:
        self._callbacks = _HANDLER(handler), _ENDED(ended)
        self.address, self.ended = (ctypes.cast(each, ctypes.c_void_p).value or 0 for each in self._callbacks)


@structure("action")
class Action(ctypes.Structure):
    """`struct action`: what is done at a place."""

    next: int
    id: int
    enabled: bool
    follows: bool
    records_first: bool
    records_second: bool
    decides_second: bool
    notes_second: bool
    leaves: bool
    handler: int
    handler_ended: int
    conditional: bool
    selected: bool
    condition: int
    note: int
    note_data: int
    note_size: int
    note_length: int
    registers: int
    memory: int
    memory_second: bool
    memory_data: int
    memory_size: int
    memory_length: int
    event: bool
    aggregate: int
    histograms: int
    hits: int
    met: int
    missed: int
    calls: int
    refused: int
    leaked: int
    capacity: int
    outstanding: int


@structure("place")
class Place(ctypes.Structure):
    """`struct place`: an address with its actions."""

    recorder: int
    address: int
    actions: int
    reached: int
    next: int
    word: int
    simulated: bool
    follows: bool
    changed: bool
    looked: int
    records_second: bool
    slot: NativeSlot


@structure("pair")
class Pair(ctypes.Structure):
    """`struct pair`: a call that has been entered and not returned from."""

    action: int
    sp: int
    ret: int
    fp: int
    task: int
    number: int
    entered: int
    executed: int
    leaked: bool
    selected: bool
    holds: bool
    held: int


@structure("recorder")
class Recorder(ctypes.Structure):
    """`struct recorder`: what the places of one core share."""

    core: int
    reader: int
    ring: int
    stride: int
    capacity: int
    at: int
    written: int
    stages: int
    pending: int
    pending_executed: int
    following: int
    translated: int
    busy: bool
    reads_task: bool
    comm: int
    pid: int
    pairs: int
    outstanding: int
    room: int
    held: int
    free_held: int
    free_count: int
    trampoline: int
    spare: int
    frame: int
    kept: int
    sets_pc: bool
    sets_x30: bool
    compares: bool
    registers_size: int
    returning: Pair
    frame_regs: ctypes.Array[ctypes.c_uint64]
    frame_at: int
    frame_pc: int
    frame_record: int
    mixed: int
    undecided: int
    places: int
    mask: int


_UNDECIDED: Final = ctypes.CFUNCTYPE(None, ctypes.c_uint64)
_behind: Final = function("armprobe_behind", ctypes.c_bool, ctypes.c_uint32, ctypes.c_void_p, ctypes.c_void_p)
_ALL_REGISTERS: Final = (1 << 33) - 1
_settle: Final = function("armprobe_places_settle", None, ctypes.c_void_p, ctypes.c_uint64)


class Places:
    """The places of one core. `recorder` is what they share.

    A place has a hook of the engine at its address, and at the address after it if stage 1 is recorded there: it may
    also follow from the record of stage 0 (behind.c). With some thirty hooks the engine gets slow. Further places have
    a breakpoint in the code, which the core answers.
    """

    def __init__(self, core: Core, capacity: int) -> None:
        self._core = core
        self.recorder = Recorder(core=core.native.address, kept=0xFFFF_FFFF, spare=NEVER)
        self.reader = core.reader
        self.recorder.reader = ctypes.addressof(self.reader)
        self._pairs, self._free_held = (Pair * 0)(), (ctypes.c_uint32 * 0)()
        self._held = ctypes.create_string_buffer(0)
        self._capacity = capacity
        self.lost = 0  # records that were overwritten before they were taken
        self.resize(ctypes.sizeof(Record))
        self.make_room(1)
        core.native.record(ctypes.addressof(self.recorder))
        self._places: dict[int, Place] = {}  # those with hooks
        self._breakpoints: dict[int, Place] = {}
        self._table = (ctypes.c_uint64 * 0)()
        self._actions: dict[int, Sequence[Action]] = {}  # by the address of their place
        self._hooks: dict[int, CodeHook] = {}
        self._removed: list[object] = []  # what code that is being executed may still refer to
        self._read = self._stages = 0  # of the records written, and of the stages in them

    @property
    def hooks(self) -> int:
        """The number of addresses with a hook."""
        return len(self._hooks)

    def resize(self, stride: int) -> None:
        """Make the ring's records `stride` bytes long, at least what they are. Drops those in it."""
        self._hold(len(self._pairs), stride)
        self._ring = ctypes.create_string_buffer(self._capacity * stride)
        recorder = self.recorder
        recorder.ring, recorder.stride = ctypes.addressof(self._ring), stride
        recorder.capacity, recorder.at = self._capacity, 0
        recorder.written = self._read = recorder.stages = self._stages = recorder.following = 0

    def _hold(self, room: int, stride: int) -> None:
        """Have room for `room` held records of `stride` bytes, and keep what is held."""
        old, before = self._held, self.recorder.stride
        self._held = ctypes.create_string_buffer(room * stride)
        for at in range(len(old) // before if before else 0):
            ctypes.memmove(ctypes.addressof(self._held) + at * stride, ctypes.addressof(old) + at * before, before)
        self.recorder.held = ctypes.addressof(self._held)

    def keep(self, capacity: int) -> None:
        """Make the ring hold that many records. All records must have been taken."""
        self._capacity = capacity
        self.resize(self.recorder.stride)

    def make_notes(self, size: int) -> None:
        """Have room for notes of `size` bytes in each record. All records must have been taken."""
        stride = ctypes.sizeof(Record) + -(-size // 8) * 8
        if stride > self.recorder.stride:
            self.resize(stride)

    def put(self, address: int, word: int, simulated: bool, actions: Sequence[Action]) -> None:
        """Do these actions, in this order, each time before the instruction `word` at `address` is executed."""
        place = self._place(address)
        self._set(place, word, simulated, actions)
        place.follows = not simulated and len(actions) == 1 and _follows(actions[0], word)
        if _is_seen_behind(place):
            self._place(place.next)
        else:
            self._tidy(place.next)

    def put_breakpoint(self, address: int, word: int, slot: NativeSlot | None, actions: Sequence[Action]) -> None:
        """Like `put`, where the code has BRK #4 in place of `word`, which is executed in `slot`.

        Without a `slot` it is simulated.
        """
        place = self._breakpoints.get(address)
        if place is None:
            place = Place(recorder=ctypes.addressof(self.recorder), address=address, next=address + 4)
            self._breakpoints[address] = place
            if 2 * len(self._breakpoints) > len(self._table):
                self._index()
            else:
                self._enter(place)
        if slot is not None:
            place.slot = slot
            place.slot.place = ctypes.addressof(place)
        self._set(place, word, slot is None, actions)

    def _set(self, place: Place, word: int, simulated: bool, actions: Sequence[Action]) -> None:
        self._actions[place.address] = actions
        place.reached, place.word, place.simulated, place.looked = NEVER, word, simulated, NEVER
        place.records_second = any(action.records_second and not action.follows for action in actions)
        place.actions = link(actions)

    def remove(self, address: int) -> None:
        """Undo a `put` or `put_breakpoint`."""
        if address in self._breakpoints:
            place = self._breakpoints.pop(address)
            self._removed.append((place, self._actions.pop(address)))
            self._leave(place)
            return
        place = self._places[address]
        if self.recorder.pending == ctypes.addressof(place):
            self.recorder.pending = self.recorder.following = 0
        place.actions, place.records_second = 0, False
        self._removed.append(self._actions.pop(address))
        self._tidy(address)
        self._tidy(place.next)

    def _index(self) -> None:
        """Make the hash table of the breakpoints, with open addressing. At least half of its entries are free."""
        places = self._breakpoints.values()
        self._table = (ctypes.c_uint64 * (4 << len(places).bit_length()))()
        for place in places:
            self._enter(place)
        self.recorder.places, self.recorder.mask = ctypes.addressof(self._table), len(self._table) - 1

    def _enter(self, place: Place) -> None:
        """Add a breakpoint to the table, which has room for it."""
        table, size = self._table, len(self._table)
        at = place.address // 4 % size
        while table[at]:
            at = (at + 1) % size
        table[at] = ctypes.addressof(place)

    def _leave(self, place: Place) -> None:
        """Take a breakpoint out of the table. Entries behind it move up, so that a search for them still finds them."""
        table, size = self._table, len(self._table)
        free = place.address // 4 % size
        while table[free] != ctypes.addressof(place):
            free = (free + 1) % size
        at = (free + 1) % size
        while table[at]:
            first = Place.from_address(table[at]).address // 4 % size  # where a search for it begins
            if (at - first) % size >= (at - free) % size:
                table[free], free = table[at], at
            at = (at + 1) % size
        table[free] = 0

    @staticmethod
    def of_slot(slot: int) -> int:
        """The address in the guest's code of the place whose `NativeSlot` is at `slot`; 0 if it is no place's."""
        place = NativeSlot.from_address(slot).place
        return Place.from_address(place).address if place else 0

    def _place(self, address: int) -> Place:
        place = self._places.get(address)
        if place is None:
            place = self._places[address] = Place(
                recorder=ctypes.addressof(self.recorder), address=address, reached=NEVER, next=address + 4
            )
            core = self._core.native.address
            self._hooks[address] = CodeHook(core, "armprobe_place", ctypes.addressof(place), address)
            self._core.forget([address])
        return place

    def _tidy(self, address: int) -> None:
        """Remove the hook at `address` if there is nothing to do."""
        place, before = self._places.get(address), self._places.get(address - 4)
        if place is None or place.actions or (before is not None and _is_seen_behind(before)):
            return
        self._removed.append(self._places.pop(address))
        self._hooks.pop(address).remove()
        self._core.forget([address])

    def at_rest(self) -> None:
        """The engine executes nothing, but for a run in which this one is."""
        if not self._core.running:
            if self.recorder.pending:
                self.settle()
            self._removed.clear()

    def retire(self, used: object) -> None:
        """Keep `used`, which code that is being executed may refer to, until the engine executes nothing."""
        self._removed.append(used)

    def settle(self) -> None:
        """While the engine executes nothing: complete the records of the instruction that was executed last."""
        if self.recorder.pending and not self._core.running:
            _settle(ctypes.addressof(self.recorder), self._core.machine.clock.executed)

    @property
    def pending(self) -> bool:
        """Whether there are records that were not taken."""
        return self.recorder.written != self._read

    def make_room(self, calls: int) -> None:
        """Have room for that many outstanding calls."""
        recorder, old = self.recorder, len(self._pairs)
        if calls <= old:
            return
        room = 2 * calls
        self._pairs = _grown(self._pairs, room)
        self._hold(room, recorder.stride)
        self._free_held = _grown(self._free_held, room)
        for index in range(old, room):
            self._free_held[recorder.free_count] = index
            recorder.free_count += 1
        recorder.pairs, recorder.room = ctypes.addressof(self._pairs), room
        recorder.free_held = ctypes.addressof(self._free_held)

    def take_pairs(self) -> list[tuple[Pair, Record | None]]:
        """The outstanding calls, oldest first, which C no longer follows, and the record of the entry if it is held."""
        outstanding = self.recorder.outstanding
        pairs = [Pair.from_buffer_copy(self._pairs[index]) for index in range(outstanding)]
        self.forget_pairs()
        stride = self.recorder.stride
        return [(pair, Record.from_buffer(self._held, pair.held * stride) if pair.holds else None) for pair in pairs]

    def forget_pairs(self) -> None:
        """C follows no call any more."""
        recorder, room = self.recorder, len(self._pairs)
        recorder.outstanding, recorder.free_count = 0, room
        self._free_held[:] = list(range(room))

    def leave_to(self, mixed: Callable[[], None], undecided: Callable[[int], None]) -> None:
        """Call `mixed` when a call returns that is left to Python, and `undecided` with the address of such a hit."""
        self._callbacks = _MIXED(mixed), _UNDECIDED(undecided)
        self.recorder.mixed, self.recorder.undecided = (
            ctypes.cast(callback, ctypes.c_void_p).value or 0 for callback in self._callbacks
        )

    def forget(self) -> None:
        """The core was put into another state."""
        self.recorder.pending = self.recorder.following = 0
        self.forget_pairs()
        for place in self._places.values():
            place.reached = NEVER

    def take(self) -> Iterator[Record]:
        """The records written since the last call, oldest first. They are valid until the guest runs on."""
        recorder, capacity = self.recorder, self._capacity
        new = recorder.written - self._read
        self.lost += recorder.stages - self._stages
        self._read, self._stages = recorder.written, recorder.stages
        for back in range(min(new, capacity), 0, -1):
            record = Record.from_buffer(self._ring, (recorder.at - back) % capacity * recorder.stride)
            for each in stages(record):
                self.lost -= 1
                yield each


def _follows(action: Action, word: int) -> bool:
    """Whether stage 1 of the instruction `word` follows from what the action records of stage 0."""
    registers, pstate = (ctypes.c_uint64 * 33)(), ctypes.c_uint32()
    return (
        action.records_second
        and not action.follows
        and action.registers == _ALL_REGISTERS
        and _behind(word, registers, ctypes.byref(pstate))
    )


def _is_seen_behind(place: Place) -> bool:
    """Whether stage 1 is recorded at the next address."""
    return place.records_second and not (place.simulated or place.follows)


def stages(record: Record) -> Iterator[Record]:
    """The record, that of the stage that follows from it, or both. None if its instruction was not executed."""
    if not record.action:
        return
    if not record.stage or not record.word:
        yield record
    if record.word:
        behind, pstate = Record.from_buffer_copy(record), ctypes.c_uint32(record.pstate)
        _behind(record.word, behind.x, ctypes.byref(pstate))
        behind.stage, behind.executed, behind.pstate = 1, record.executed + 1, pstate.value
        behind.word = behind.note = behind.memory = 0
        yield behind


def _grown(array: _A, length: int) -> _A:
    """A copy of `array` with more elements."""
    larger = cast(_A, (array._type_ * length)())
    ctypes.memmove(larger, array, ctypes.sizeof(array))
    return larger
