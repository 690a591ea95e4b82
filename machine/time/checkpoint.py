# SPDX-License-Identifier: GPL-2.0-or-later
"""Checkpoints: the whole state of a machine, taken and restored in milliseconds.

A checkpoint holds the pages that have changed since the checkpoint before it, its parent. So checkpoints form a tree,
whose root is the memory as it was loaded. Each version of a page is stored once. The copies that `DirtyPages` compares
the memories with are called the base: it holds the newest versions of the checkpoint that was last taken or restored,
`_current`. Others are in a `PageStore`.
"""

from __future__ import annotations

import itertools
from array import array
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from armprobe.machine.errors import MachineError
from armprobe.machine.memory import dirty_pages
from armprobe.machine.memory.bus import Ram
from armprobe.machine.memory.dirty_pages import DirtyPages
from armprobe.machine.memory.page_store import PageStore
from armprobe.machine.native import pages as native
from armprobe.machine.native.pages import PAGE, Pages, pages_of
from armprobe.machine.state import Volume

if TYPE_CHECKING:
    from armprobe.machine.machine import Machine

_STATE: Final = 32 << 10  # bytes of a state apart from its `volume`: for Linux some 20,000, most of them the registers
_BOUND: Final = 512 << 20
_NO_VOLUME: Final = Volume()


@dataclass(eq=False)
class Checkpoint:
    """The state of a machine at `position`, its count of instructions.

    `state` is what its `StateRegistry` saved, of that `volume`; if it is `filed`, for a file.
    """

    position: int
    state: dict[str, Any]
    parent: Checkpoint | None
    children: set[Checkpoint] = field(default_factory=set)
    # The places of its versions of pages, by number; None for those in the base.
    pages: dict[int, int | None] = field(default_factory=dict)
    # The numbers of others that may have been written to since its parent, and are as they were.
    unchanged: array[int] = field(default_factory=lambda: array("I"))
    dropped: bool = False
    filed: bool = False
    volume: Volume = _NO_VOLUME

    @property
    def held(self) -> int:
        """Bytes of its state that its parent does not have."""
        assert self.parent is not None
        return _STATE + self.unchanged.itemsize * len(self.unchanged) + self.volume.beyond(self.parent.volume)

    def ancestors(self) -> Iterator[Checkpoint]:
        """This checkpoint, its parent, and so on to the root."""
        checkpoint: Checkpoint | None = self
        while checkpoint is not None:
            yield checkpoint
            checkpoint = checkpoint.parent

    @property
    def root(self) -> Checkpoint:
        """The root of its tree."""
        return deque(self.ancestors(), 1).pop()

    def __repr__(self) -> str:
        return f"Checkpoint(position={self.position}, pages={len(self.pages)}{', dropped' * self.dropped})"


class Memory(Protocol):
    """A memory of `count` pages that checkpoints follow, with its base."""

    @property
    def count(self) -> int: ...

    def changed(self) -> Pages:
        """The pages that may differ from the base. All that do are among them."""

    def keep(self, pages: Pages, store: PageStore, exact: bool) -> tuple[Pages, list[int], Pages]:
        """Copy those of these pages that differ to the base, and what they are there to `store`.

        `pages` are all that may differ. Returns those that did with their places, and the others. From here on, those
        that did count as changed at once, unless `exact`.
        """

    def put_back(self, pages: Pages) -> None:
        """Copy these pages, all that have changed among them, from the base."""

    def base_page(self, number: int) -> bytes:
        """A page of the base."""

    def set_base_page(self, number: int, content: bytes) -> None:
        """Replace a page of the base."""


class _RamPages:
    """One of the machine's RAMs."""

    def __init__(self, machine: Machine, ram: Ram, kind: type[DirtyPages]) -> None:
        self._machine, self._ram, self._dirty = machine, ram, kind(ram)
        self.count = ram.size // PAGE
        self.changed = self._dirty.changed

    def keep(self, pages: Pages, store: PageStore, exact: bool) -> tuple[Pages, list[int], Pages]:
        base = native.address_of(self._dirty.base)
        changed, others = native.differing(native.address_of(self._ram.data), base, pages)
        stored = store.put_pages(base, changed)
        self._dirty.keep(changed, pages if exact else others)
        return changed, stored, others

    def put_back(self, pages: Pages) -> None:
        self._dirty.put_back(pages)
        for core in self._machine.cores:
            core.forget_pages(self._ram.base, pages)

    def base_page(self, number: int) -> bytes:
        return bytes(self._dirty.base[number * PAGE : (number + 1) * PAGE])

    def set_base_page(self, number: int, content: bytes) -> None:
        self._dirty.base[number * PAGE : (number + 1) * PAGE] = content


class Checkpoints:
    """The checkpoints of one machine. Used on the thread that runs it, between two slices or while it is stopped.

    `bound` is how many bytes of memory `thin` lets them take.
    """

    def __init__(self, machine: Machine, kind: type[DirtyPages] | None = None) -> None:
        self._machine = machine
        self._store = PageStore()
        self._states = 0  # bytes of their states
        self.bound = _BOUND
        self._root = Checkpoint(0, {}, None)
        self._current = self._root
        self._owners: dict[int, Checkpoint] = {}  # whose version of a page is in the base, if it is not the root's
        self._unwanted: list[Checkpoint] = []
        kind = kind or dirty_pages.best()
        self._exact = kind.exact
        memories: list[Memory] = [_RamPages(machine, ram, kind) for ram in machine.bus.rams]
        if machine.disk is not None:
            memories.append(machine.disk.image)
        # Each with the number of its first page.
        firsts = itertools.accumulate([0, *(memory.count for memory in memories[:-1])])
        self._memories = list(zip(firsts, memories, strict=True))

    @property
    def size(self) -> int:
        """The bytes of memory that the checkpoints take, apart from one copy of the machine's memory."""
        return self._store.size + self._states

    def take(self, exact: bool = False) -> Checkpoint:
        """The present state, to `restore` later. Raises MachineError in a handler, and when a disk is full.

        The guest goes on faster from it, or `exact`: `is_untouched` knows which pages it writes to up to the next one.
        """
        machine = self._machine
        machine.refuse_in_handler()
        self._drop_unwanted()
        state = machine.state.save()  # before the memories, to which this may write
        changed = [memory.changed() for _, memory in self._memories]
        self._store.reserve(sum(map(len, changed)))
        checkpoint = Checkpoint(machine.clock.executed, state, self._current, volume=machine.state.volume(state))
        owners = self._owners
        for (first, memory), pages in zip(self._memories, changed, strict=True):
            numbers, places, others = memory.keep(pages, self._store, exact)
            for number, place in zip(numbers, places, strict=True):
                owners.get(first + number, self._root).pages[first + number] = place
            checkpoint.pages.update(dict.fromkeys([first + number for number in numbers]))
            checkpoint.unchanged.extend([first + number for number in others])
        owners.update(dict.fromkeys(checkpoint.pages, checkpoint))
        self._current.children.add(checkpoint)
        self._states += checkpoint.held
        self._move_to(checkpoint)
        return checkpoint

    def restore(self, checkpoint: Checkpoint) -> None:
        """Put the machine into the state of a checkpoint of its own, and announce no input.

        Code translated from memory that does not change is kept. Raises MachineError in a handler, for a checkpoint
        that was dropped, and when a disk is full.
        """
        self._machine.refuse_in_handler()
        self._drop_unwanted()
        if checkpoint.dropped or checkpoint.root is not self._root:
            raise MachineError("this checkpoint was dropped, or belongs to another machine: take another one")
        self._put_back(checkpoint)
        registry = self._machine.state
        (registry.restore_from_file if checkpoint.filed else registry.restore)(checkpoint.state)

    def adopt(self, parent: Checkpoint, position: int, state: dict[str, Any], pages: Mapping[int, bytes]) -> Checkpoint:
        """A checkpoint from a file, with the `state` there, that differs from `parent` in these pages, by number.

        `has_page` must be true of each. Raises MachineError when a disk is full.
        """
        self._store.reserve(len(pages))
        checkpoint = Checkpoint(position, state, parent, filed=True)
        checkpoint.pages = {number: self._store.put(content) for number, content in pages.items()}
        parent.children.add(checkpoint)
        self._states += checkpoint.held
        return checkpoint

    @property
    def newest(self) -> Checkpoint:
        """The checkpoint that was last taken or restored; at first, memory as it was loaded."""
        return self._current

    def has_page(self, number: int) -> bool:
        """Whether a page of that number may differ between two checkpoints."""
        return any(first <= number < first + memory.count for first, memory in self._memories)

    def unload(self) -> None:
        """Put memory back to its content when the guest was loaded. The rest of the state stays."""
        self._put_back(self._root)

    def differing_pages(self, checkpoint: Checkpoint) -> Iterator[tuple[int, bytes, bytes]]:
        """The pages that differ between a checkpoint and that last taken or restored, in no order.

        Gives the number of each, and its content at the one and at the other.
        """
        for number, owner in self._versions(checkpoint).items():
            first, memory = next(each for each in reversed(self._memories) if each[0] <= number)
            place = owner.pages[number]
            assert place is not None
            old, new = self._store.get(place), memory.base_page(number - first)
            if old != new:
                yield number, old, new

    def differing(self, checkpoint: Checkpoint) -> Iterator[tuple[int, bytes, bytes]]:
        """The same for the pages of the machine's RAM alone, with the physical address of each."""
        for number, old, new in self.differing_pages(checkpoint):
            if number < self._memories[0][1].count:
                yield self._machine.ram.base + number * PAGE, old, new

    def pages_of(self, physical: int, size: int) -> list[int]:
        """The numbers of the pages that hold `size` bytes of a RAM at a physical address, for `is_untouched`."""
        for (first, _), ram in zip(self._memories, self._machine.bus.rams, strict=False):
            if ram.base <= physical < ram.end:
                offset = physical - ram.base
                return [first + page for page in range(offset // PAGE, (offset + size - 1) // PAGE + 1)]
        raise MachineError(f"there is no memory at {physical:#x}")

    def is_untouched(self, pages: list[int], position: int, since: Checkpoint | None, until: Checkpoint) -> bool:
        """Whether it is known that nothing has written to these pages between two checkpoints of one history.

        `position` is that of the first, which is None for the state in which the history begins.
        """
        if not self._exact:
            return False
        for each in until.ancestors():
            if each is since or each.position < position:
                return True
            if each.filed or any(page in each.pages or page in each.unchanged for page in pages):
                return False
        return True

    def is_unchanged(self, pages: list[int]) -> bool:
        """The same since the checkpoint that was last taken or restored."""
        return self._exact and not any(
            first + page in pages for first, memory in self._memories for page in memory.changed()
        )

    def drop(self, checkpoint: Checkpoint) -> None:
        """Free what only this checkpoint needs; it cannot be restored any more. Does nothing if it is dropped."""
        checkpoint.dropped = True
        self._prune(checkpoint)

    def thin(self, kept: Sequence[Checkpoint], keep: Collection[Checkpoint] = ()) -> list[Checkpoint]:
        """Drop some of `kept`, which are in the order of their positions, until `size` is within `bound`.

        It drops none of `keep`, nor the first and the last. The distances between those left grow with age: the one
        that goes is always that whose neighbours are nearest to each other, compared with its age. Returns those
        dropped.
        """
        left, dropped = list(kept), []
        while self.size > self.bound and (candidates := [i for i in range(1, len(left) - 1) if left[i] not in keep]):
            now = left[-1].position
            gaps = {i: (left[i + 1].position - left[i - 1].position) / (now - left[i].position + 1) for i in candidates}
            dropped.append(left.pop(min(gaps, key=lambda i: gaps[i])))
            self.drop(dropped[-1])
        return dropped

    def drop_soon(self, checkpoint: Checkpoint) -> None:
        """The same from any thread, as late as the next `take` or `restore`."""
        self._unwanted.append(checkpoint)

    def _drop_unwanted(self) -> None:
        while self._unwanted:
            self.drop(self._unwanted.pop())

    def spill(self, folder: Path) -> None:
        """Keep the contents of pages in an unnamed file in `folder` from now on. Raises MachineError."""
        self._store.spill(folder)

    # The tree of versions.

    def _into_base(self, number: int, owner: Checkpoint) -> None:
        """Make `owner` the one whose version of the page is in the base."""
        owner.pages[number] = None
        if owner is self._root:
            del owner.pages[number], self._owners[number]
        else:
            self._owners[number] = owner

    def _put_back(self, checkpoint: Checkpoint) -> None:
        """Make memory as it was at a checkpoint, the root also."""
        versions = self._versions(checkpoint)
        self._store.reserve(len(versions))
        for first, memory in self._memories:
            changed = set(memory.changed())
            for number in [number for number in versions if first <= number < first + memory.count]:
                owner = versions[number]
                place = owner.pages[number]
                assert place is not None
                content = memory.base_page(number - first)
                self._owners.get(number, self._root).pages[number] = self._store.put(content)
                memory.set_base_page(number - first, self._store.get(place))
                self._store.drop(place)
                self._into_base(number, owner)
                changed.add(number - first)
            memory.put_back(pages_of(sorted(changed)))
        self._move_to(checkpoint)

    def _versions(self, checkpoint: Checkpoint) -> dict[int, Checkpoint]:
        """The pages of which the base has another version than `checkpoint` needs, and whose version that is."""
        theirs = set(self._current.ancestors())
        path = []  # from the checkpoint to the one from which both descend
        for each in checkpoint.ancestors():
            if each in theirs:
                common = each
                break
            path.append(each)
        versions: dict[int, Checkpoint] = {}
        unresolved: set[int] = set()
        for each in self._current.ancestors():
            if each is common:
                break
            unresolved.update(each.pages)
        for each in path:
            for number in each.pages:
                versions.setdefault(number, each)
        unresolved.difference_update(versions)
        for each in common.ancestors():
            if not unresolved:
                break
            for number in unresolved.intersection(each.pages):
                versions[number] = each
            unresolved.difference_update(each.pages)
        return {number: owner for number, owner in versions.items() if self._owners.get(number) is not owner}

    def _move_to(self, checkpoint: Checkpoint) -> None:
        before, self._current = self._current, checkpoint
        self._prune(before)

    def _prune(self, checkpoint: Checkpoint) -> None:
        """Free a dropped checkpoint, unless two others or the base need its versions of pages."""
        while checkpoint.dropped and checkpoint is not self._current and len(checkpoint.children) < 2:
            parent = checkpoint.parent
            if parent is None:
                return  # freed before
            self._states -= checkpoint.held
            parent.children.remove(checkpoint)
            for child in checkpoint.children:
                self._states -= child.held
                self._inherit(child, checkpoint)
                child.parent = parent
                self._states += child.held
                parent.children.add(child)
            for place in checkpoint.pages.values():
                assert place is not None
                self._store.drop(place)
            checkpoint.parent, checkpoint.pages, checkpoint.state = None, {}, {}
            checkpoint.children.clear()
            checkpoint = parent

    def _inherit(self, child: Checkpoint, parent: Checkpoint) -> None:
        """Give `child` the versions of `parent` that it has no newer ones of."""
        for number in [number for number in parent.pages if number not in child.pages]:
            child.pages[number] = parent.pages.pop(number)
            if self._owners.get(number) is parent:
                self._owners[number] = child
        child.unchanged = array("I", {*child.unchanged, *parent.unchanged})
