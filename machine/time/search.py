# SPDX-License-Identifier: GPL-2.0-or-later
"""Searches of the past: the last stop before a position, and the last write to memory.

Both go through the history checkpoint by checkpoint, from the newest on. From each they run forward to where the search
before has begun, and take the last that they find. A search for the first goes through it once, from its start.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import unicorn

from armprobe.machine.core.access_stop import BLOCK
from armprobe.machine.core.deferred_signals import calls_users_code
from armprobe.machine.errors import MachineError
from armprobe.machine.lazy_dataclass import lazy_dataclass
from armprobe.machine.memory.mmu import PAGE
from armprobe.machine.native.condition import SearchHook
from armprobe.machine.native.program import Program
from armprobe.machine.stop import Stop, StopReason, WatchHit

if TYPE_CHECKING:
    from armprobe.machine.core.run_loop import Run
    from armprobe.machine.machine import Machine

    from .kept import Kept
    from .timeline import Timeline

_WAYS: Final = 500, 5_000, 50_000  # instructions: some seconds
_PIECES: Final = 8  # into which the way between two checkpoints is divided
_WATCHED: Final = 20_000  # instructions, up to 20 ms: most of that is to translate their code for the hooks on memory
_LONGER: Final = 4  # times as long is the next piece, if a page was written in one and nothing at the address
Holds = Callable[["Machine"], object]
Looked = Callable[[int], None]
REPORTED: Final = StopReason.BREAKPOINT, StopReason.WATCHPOINT, StopReason.PROBE
"""The stops that are looked for. Others are answered as the history says, such as a host call."""


@lazy_dataclass
class Write:
    """A write to memory. `position` is that of its instruction, which is about to be executed there, at `pc`.

    `address` and `size` are those of the bytes written, `value` is little-endian. A write from outside, such as a
    debugger's, has no `pc`, and the bytes that were asked for.
    """

    position: int
    pc: int | None
    address: int
    size: int
    value: int


@lazy_dataclass
class RegisterChange:
    """A change of a register by the instruction at `pc`, which is about to be executed at `position`.

    `before` and `value` are its values before and after that. A change from outside, by a debugger, has no `pc`.
    """

    position: int
    pc: int | None
    register: str
    before: int
    value: int


def from_start(timeline: Timeline, limit: int) -> Iterator[None]:
    """Go from the start of the history to `limit`, within an excursion. Yields at each checkpoint, and at the end."""
    kept = timeline.kept_before(limit)
    if not kept:
        return
    timeline.restore_kept(kept[-1])
    for position in [*(each.position for each in reversed(kept[:-1])), limit]:
        timeline.replay_to(position)
        yield


def last_change(timeline: Timeline, machine: Machine, register: str) -> RegisterChange | None:
    """The last change of a register before this position, None if it has not changed in the whole history.

    Goes forward instruction by instruction, from further and further back. Raises MachineError when that is too far.
    """
    high = limit = timeline.position
    machine.registers[register]  # raises for an unknown name
    with timeline.excursion():
        for way in _WAYS:
            low = max(timeline.start, limit - way)
            found = _change_between(timeline, machine, register, low, high)
            if found is not None or low == timeline.start:
                return found
            high = low
    raise MachineError(f"{register} has not changed in the last {_WAYS[-1]:,} instructions: goto there, and ask again")


def _change_between(timeline: Timeline, machine: Machine, register: str, low: int, high: int) -> RegisterChange | None:
    found, outside = None, set()

    def entered(position: int, before: bytes | None) -> bytes:
        now = int(machine.registers[register]).to_bytes(16, "little")
        if before is not None and now != before:
            outside.add(position)
        return now

    timeline.replay.on_event = entered
    try:
        timeline.replay_from_before(low)
        value = machine.registers[register]
        while (position := timeline.position) < high:
            pc, before = machine.registers.pc, value
            timeline.replay_to(position + 1)
            value = machine.registers[register]
            if value != before:
                found = RegisterChange(position, None if position in outside else pc, register, before, value)
    finally:
        timeline.replay.on_event = None
    return found


class _TrueSearch:
    """Looks, while the guest runs, for the last instruction before which something is true."""

    def __init__(self, machine: Machine, holds: Holds, program: Program | None, first: int) -> None:
        self._machine, self._holds, self._program, self._first = machine, holds, program, first

    def __enter__(self) -> SearchHook:
        core = self._machine.core
        self._hook = SearchHook(core.native.address, core.reader, self._program, self._first, self._asked)
        core.forget_all()  # code translated earlier does not call the hook
        return self._hook

    def __exit__(self, *_: object) -> None:
        self._hook.remove()
        self._machine.core.forget_all()

    def _asked(self) -> None:
        """Called by the C core. Errors of the function end the run."""
        machine = self._machine
        machine.core.context.load()
        try:
            with machine.clock.before_instruction():
                if self._asks():
                    self._hook.found = machine.instructions
        except BaseException as error:
            machine.core.fail(error)
            return
        if machine.core.dispatcher.ends_soon:  # with slow answers the slice may take long
            machine.core.limit(0)

    @calls_users_code
    def _asks(self) -> object:
        return self._holds(self._machine)


def last_true(
    timeline: Timeline,
    machine: Machine,
    holds: Holds,
    program: Program | None,
    within: int | None,
    looked: Looked,
) -> int | None:
    """The last position before this one at which `holds` is true; None if it was not, or not `within` so many.

    Where `program` has a value, that is asked instead. `looked` is called with positions from which on it was not true.
    """
    limit = timeline.position
    first = timeline.start if within is None else max(timeline.start, limit - within)
    with timeline.excursion(), _TrueSearch(machine, holds, program, first) as search:
        for kept in timeline.kept_before(limit):
            timeline.restore_kept(kept)
            search.found = None
            timeline.replay_to(limit)
            if search.found is not None or kept.position <= first:
                return search.found
            limit = kept.position
            looked(limit)
    return None


def last_stop(timeline: Timeline, machine: Machine, hits: bool) -> Stop:
    """Go back to the last stop before the present position, or to the start of the history.

    `hits`: stops within hits at the present position count too, such as the return of a call to a breakpoint here.
    """
    limit = before = here = timeline.position
    while (kept := _last_kept(timeline, before)) is not None:
        last, same = None, 0  # the position of the last stop, and how many stops there are at that
        quiet = before if _nothing_watched_is_written(timeline, machine, kept, before) else kept.position
        for _ in _stops(timeline, machine, kept, quiet, limit, hits, leaving=limit == here):  # most stops are near
            last, same = timeline.position, same + 1 if timeline.position == last else 1
        if last is not None:
            start = kept if last == kept.position else _last_kept(timeline, last)
            assert start is not None
            with contextlib.closing(_stops(timeline, machine, start, quiet, limit, hits, leaving=False)) as stops:
                for stop in stops:
                    same -= timeline.position == last
                    if not same:
                        return stop
        # A stop at a checkpoint's own position is found on the way to it.
        before, limit, hits = kept.position, kept.position + 1, False
    timeline.go(timeline.start)
    return Stop(StopReason.HISTORY_START, machine.registers.pc)


def _last_kept(timeline: Timeline, position: int) -> Kept | None:
    """The last checkpoint before `position`."""
    return next(iter(timeline.kept_before(position)), None)


def _nothing_watched_is_written(timeline: Timeline, machine: Machine, kept: Kept, end: int) -> bool:
    """Whether it is known that no watchpoint stops the machine between a checkpoint and the one at `end`."""
    written = machine.core.watchpoints.written
    if not written:
        return False
    pages = [page for piece in written for page in machine.checkpoints.pages_of(*piece)]
    return _is_untouched(timeline, machine, kept, end, pages)


def _is_untouched(timeline: Timeline, machine: Machine, kept: Kept, end: int, pages: list[int]) -> bool:
    """Whether it is known that nothing has written to these pages between a checkpoint and the one at `end`."""
    after = _last_kept(timeline, end + 1)
    if after is None or after.position != end or after.checkpoint is None:
        return False
    return machine.checkpoints.is_untouched(pages, kept.position, kept.checkpoint, after.checkpoint)


def _stops(
    timeline: Timeline, machine: Machine, kept: Kept, quiet: int, limit: int, hits: bool, leaving: bool
) -> Generator[Stop, None, None]:
    """Run from a checkpoint on, `leaving` others. Yields each stop before `limit`, with the machine in it.

    No watchpoint stops it before the position `quiet`, and nothing is watched until there. `hits`: also the stops at
    `limit` that are within a hit, which come before the guest gets there.
    """
    timeline.restore_kept(kept)
    run = None
    if quiet > kept.position:
        with machine.core.watchpoints.lifted():
            run = yield from _stops_until(timeline, machine, quiet, limit, hits, leaving)
    yield from _stops_until(timeline, machine, limit, limit, hits, leaving, run)


def _stops_until(
    timeline: Timeline, machine: Machine, end: int, limit: int, hits: bool, leaving: bool, run: Run | None = None
) -> Generator[Stop, None, Run | None]:
    """The same up to `end`. Returns the run that has got there, whose next part may stop at a breakpoint there."""
    while timeline.position < end or (hits and timeline.position == limit and in_hit(machine)):
        with timeline.quietly(leaving):
            stop = machine.scheduler.run(None, end - timeline.position, interrupts=True, run=run)
        run = None
        if stop.reason is StopReason.INSTRUCTIONS:
            return machine.scheduler.last_run
        if stop.reason is StopReason.INTERRUPTED:
            raise MachineError(f"interrupted on the way back, at position {timeline.position}")
        if stop.reason is StopReason.IDLE or stop.reason.final:
            return None
        if stop.reason not in REPORTED or changes_nothing(stop):
            continue
        if timeline.position < limit or (hits and in_hit(machine)):
            yield stop
    return None


def in_hit(machine: Machine) -> bool:
    """Whether the machine is within the hit of a probe: at a stage of it, or in code of the machine's own."""
    return machine.core.dispatcher.resume is not None or machine.core.load().pc in machine.scratch


def changes_nothing(stop: Stop) -> bool:
    """Whether it is for a write of the value that is there."""
    hit = stop.detail
    return isinstance(hit, WatchHit) and hit.before is not None and hit.value == hit.before


def position_at(timeline: Timeline, machine: Machine, time: int) -> int:
    """The first position at which the generic timer's count is `time` or more. The machine is near it then."""
    low, high = timeline.start, timeline.end
    if time <= machine.clock.now:  # a tick is an instruction at most
        low, high = max(low, timeline.position - (machine.clock.now - time)), timeline.position
    else:
        high = min(high, timeline.position + time - machine.clock.now)
    while low < high:
        middle = (low + high) // 2
        timeline.go(middle)
        if machine.clock.now < time:
            low = middle + 1
        else:
            high = middle
    return low


class _Watcher:
    """Notes the last write to a piece of memory while the guest runs, or the `first`."""

    def __init__(self, timeline: Timeline, machine: Machine, address: int, size: int, first: bool = False) -> None:
        self._first = first
        self.last: Write | None = None
        self.limit = 0  # the position at which the search ends
        self._timeline, self._machine, self._core = timeline, machine, machine.core
        self._pieces = []
        self.pages: list[int] = []  # that hold it, as checkpoints count them
        at = address
        for physical, length in machine.memory.pieces(address, size):
            if machine.bus.ram_at(physical) is None:
                raise MachineError(f"there is no memory at {at:#x}: who wrote it is not known")
            self._pieces.append((at, physical, length))
            self.pages += machine.checkpoints.pages_of(physical, length)
            at += length
        self._hooks: list[int] = []

    def __enter__(self) -> _Watcher:
        for virtual, physical, length in self._pieces:
            first = max(0, physical - BLOCK + 1) // BLOCK * BLOCK  # an access may begin before, and reach into it

            def written(
                engine: unicorn.Uc,
                access: int,
                at: int,
                width: int,
                value: int,
                _: object,
                piece: tuple[int, int, int] = (virtual, physical, length),
            ) -> None:
                self._written(piece, at, width, value)

            add = self._core.engine.hook_add
            self._hooks.append(add(unicorn.UC_HOOK_MEM_WRITE, written, None, first, physical + length - 1))
            if (end := self._page_before(virtual, physical)) is not None:
                self._hooks.append(add(unicorn.UC_HOOK_MEM_WRITE, written, None, end - BLOCK, end - 1))
        self._core.access_stop.begin()
        self._timeline.replay.on_event = self._entered
        return self

    def __exit__(self, *_: object) -> None:
        self._timeline.replay.on_event = None
        for hook in self._hooks:
            self._core.engine.hook_del(hook)
        self._hooks.clear()
        self._core.access_stop.end()

    @property
    def watches(self) -> bool:
        """Whether it notes writes now."""
        return bool(self._hooks)

    def _page_before(self, virtual: int, physical: int) -> int | None:
        """The physical end of the page before, from where a write reaches into this one, if that has another place."""
        offset = virtual % PAGE
        if offset >= BLOCK or virtual < PAGE:
            return None
        try:
            end = self._machine.memory.translate(virtual - offset - 1).physical + 1
        except MachineError:
            return None
        return end if end != physical - offset else None

    def _written(self, piece: tuple[int, int, int], at: int, width: int, value: int) -> None:
        virtual, physical, length = piece
        whole = self._core.access_stop.written_whole()  # loads the context
        if self._machine.scratch.is_extra(self._core.context.pc):
            return  # a trampoline's frame: what was there is put back
        if whole is not None:
            at, data = at // BLOCK * BLOCK | whole[0] % BLOCK, whole[1]
            width, value = len(data), int.from_bytes(data, "little")
        pieces = [(at, width)]
        if at % PAGE + width > PAGE:
            pieces = [(start, len(data)) for start, data in self._core.access_stop.content(at, width)]
        position, offset, value = self._machine.instructions - 1, 0, value & (1 << 8 * width) - 1
        for start, size in pieces:
            if start + size > physical and start < physical + length and position < self.limit:
                self._note(position, self._core.context.pc, virtual + start - offset - physical, width, value)
            offset += size

    def _note(self, *write: Any) -> None:
        if self.last is None or not self._first:
            self.last = Write(*write)

    def found(self, timeline: Timeline, machine: Machine) -> Write | None:
        """The write, with the guest's own instruction if that was executed out of line. The machine goes there then."""
        found = self.last
        if found is not None and found.pc is not None and found.pc in machine.scratch:
            timeline.replay_from_before(found.position)
            found = replace(found, pc=machine.registers.pc)
        return found

    def _bytes(self) -> bytes:
        return b"".join(self._machine.bus.read(physical, length) for _, physical, length in self._pieces)

    def _entered(self, position: int, before: bytes | None) -> bytes:
        """Called with None before something enters from outside, and with what that returned after it."""
        now = self._bytes()
        if before is not None and now != before and position < self.limit:
            self._note(position, None, self._pieces[0][0], len(now), int.from_bytes(now, "little"))
        return now


def first_write(timeline: Timeline, machine: Machine, address: int, size: int) -> Write | None:
    """The first write to any of `size` bytes at virtual `address`, as the guest maps it now, up to this position."""
    limit, position = timeline.position, timeline.start
    watcher = _Watcher(timeline, machine, address, size, first=True)
    with timeline.excursion():
        with _WriteSearch(timeline, machine, watcher) as search:
            while watcher.last is None and position < limit:
                kept = _last_kept(timeline, position + 1)
                assert kept is not None
                following = [each.position for each in timeline.kept_before(limit) if each.position > position]
                end = min(following, default=limit)
                if search.looks(kept, end, min(end + 1, limit)):
                    position = end
        return watcher.found(timeline, machine)


def last_write(timeline: Timeline, machine: Machine, address: int, size: int) -> Write | None:
    """The last write to any of `size` bytes at virtual `address`, as the guest maps it now, before this position."""
    before = limit = timeline.position
    watcher = _Watcher(timeline, machine, address, size)
    with timeline.excursion():
        with _WriteSearch(timeline, machine, watcher) as search:
            while watcher.last is None and (kept := _last_kept(timeline, before)) is not None:
                if search.looks(kept, before, limit):
                    before, limit = kept.position, kept.position + 1
        return watcher.found(timeline, machine)


class _WriteSearch:
    """Watches the ways between checkpoints in which a page was written.

    The engine is slow while it watches memory, so a way in which nothing has written to a page of the watched bytes is
    left out. The others are divided before, as long as that leaves something out. A page that is written all the time
    is watched in longer and longer pieces.
    """

    def __init__(self, timeline: Timeline, machine: Machine, watcher: _Watcher) -> None:
        self._timeline, self._machine, self._watcher = timeline, machine, watcher
        self._shortest = self._least = max(1, min(_WATCHED, timeline.pacing.spacing // _PIECES))
        self._unchanged: tuple[int, int] | None = None  # a way in which the pages are known to be as they were
        self._watching = contextlib.ExitStack()

    def __enter__(self) -> _WriteSearch:
        return self

    def __exit__(self, *_: object) -> None:
        self._watching.close()

    def looks(self, kept: Kept, end: int, limit: int) -> bool:
        """Look for writes from a checkpoint to the position `end`, where the next one is. False if it was divided.

        What entered at `end` before that checkpoint is found if `limit` is behind `end`.
        """
        way = end - kept.position
        if self._unchanged == (kept.position, end) or _is_untouched(
            self._timeline, self._machine, kept, end, self._watcher.pages
        ):
            if way > self._least:
                self._least = self._shortest
            return True
        if way > 2 * self._least and self._divide(kept, end, limit):
            return False
        if not self._watcher.watches:
            self._watching.enter_context(self._watcher)
        self._watcher.limit = limit
        self._timeline.restore_kept(kept)
        self._timeline.replay_to(limit)
        self._least *= _LONGER
        return True

    def _divide(self, kept: Kept, end: int, limit: int) -> bool:
        """Take checkpoints between one and `end`. Returns whether there are any now."""
        self._watching.close()
        timeline, way = self._timeline, end - kept.position
        pieces = min(_PIECES, way // self._least)
        timeline.restore_kept(kept)
        for number in range(1, pieces):
            timeline.replay_to(kept.position + way * number // pieces)
            timeline.take()
        last = _last_kept(timeline, end)
        if last is None or last is kept:
            return False
        timeline.replay_to(limit)
        if self._machine.checkpoints.is_unchanged(self._watcher.pages):
            self._unchanged = last.position, end
        return True
