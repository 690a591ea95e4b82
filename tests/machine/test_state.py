# SPDX-License-Identifier: GPL-2.0-or-later
"""The registry of a machine's state: everything a guest could tell is in it, in the declared order, and checked."""

import copy
import ctypes
import gc
import weakref
from pathlib import Path
from typing import Any

import pytest

from armprobe import machine
from armprobe.machine import Machine, MachineError
from armprobe.machine.native.structures import WALKS, NativeWalk
from armprobe.machine.state import Entry, Order, StateRegistry
from armprobe.probes import Kprobe, Kprobes

MEMORY = "4M"


@pytest.fixture
def demo() -> Machine:
    return machine.load("demo", memory=MEMORY)


def plain(thing: object) -> dict[str, object]:
    """The attributes of `thing` that are numbers, or lists of them; the fields of a structure of the C core's, too."""
    found: dict[str, object] = {}
    fields = {name: getattr(thing, name) for name, *_ in getattr(thing, "_fields_", ())}
    for name, value in {**vars(thing), **fields}.items():
        numbers = list(value) if isinstance(value, list | ctypes.Array) else [value]
        if all(isinstance(each, int | None) for each in numbers):
            found[name] = copy.copy(value) if isinstance(value, int | None) else numbers
        elif isinstance(value, ctypes.Array) and all(isinstance(each, ctypes.Structure) for each in numbers):
            found |= {f"{name}[{i}].{key}": each for i, one in enumerate(numbers) for key, each in plain(one).items()}
    return found


def plain_state(guest: Machine) -> dict[tuple[str, str], object]:
    """Those of every part of the machine and of its core, by part and attribute."""
    parts: dict[str, object] = {
        **{f"machine.{name}": part for name, part in vars(guest).items()},
        **{f"core.{name}": part for name, part in vars(guest.core).items()},
        **{f"core.timers[{number}]": timer for number, timer in guest.core.timers.items()},
    }
    ours = {name: part for name, part in parts.items() if type(part).__module__.startswith("armprobe.machine.")}
    ours.pop("machine.timeline")  # a history, which has states of the guest
    ours.pop("machine.symbols", None)  # files have it apart, and the guest does not change it
    return {(name, key): value for name, part in ours.items() for key, value in plain(part).items()}


# Attributes that are no state of the guest: what they hold is of this process, or is worked out again.
NOT_STATE: set[tuple[str, str]] = {
    ("machine.guest", "entry"),
    ("machine.guest", "x0"),
    ("machine.bus", "changes"),
    ("machine.state", "restorations"),
    *(("machine.gic", pointer) for pointer in ("interfaces[0].gic", "_first")),
    *(("machine.uart", pointer) for pointer in ("gic", "drain", "waiting", "waiting_end")),
    *(("machine.uart", name) for name in ("output", "sent", "collected")),  # the console's
    *((f"core.timers[{number}]", pointer) for number in (2, 3) for pointer in ("at", "gic")),
    ("machine.core", "changes"),
    ("machine.clock", "idle_at"),
    ("machine.scratch", "_end"),  # before what is reserved, which is no part of the state
    ("machine.core", "_handle"),
    ("machine.core", "_physical_at"),
    ("core.context", "address"),
    ("core._translation", "address"),
    ("core.native", "_at"),
    ("core.native", "_exits"),
    ("core.native", "_translated"),  # of the engine's code, of which a new machine has none
    # Of walks of the guest's tables, which are made again where they are missing.
    *(("core.native", f"_walks[{number}].{name}") for number in range(WALKS) for name, *_ in NativeWalk._fields_),
    ("machine.core", "runs"),  # tells the runs of one machine apart
    ("core.dispatcher", "_uncounted"),
    ("core.dispatcher", "handler_daif"),  # of an exception being handled, which there is none of at a stop
    ("core.guest_debug", "_changed"),
    ("core.register_access", "_begun"),
    *(("core.reader", pointer) for pointer in ("uc", "core")),
    # Of checkpoints, of which a new machine has none, and the other one has some if this computer is slow.
    *(("machine.checkpoints", name) for name in ("bound", "_states", "_exact", "_unwanted")),
}


def test_no_attribute_is_left_out(demo: Machine, tmp_path: Path) -> None:
    """Each part of a machine made from a file has the same plain attributes as the one that was saved."""
    kprobes = Kprobes(demo)
    kprobes.unregister(kprobes.register_kprobe(Kprobe("kfree")))  # takes memory of the machine's own
    demo.run(instructions=2_345_678)
    demo.call("strlen", demo.registers.sp)
    demo.console.write(b"typed")
    demo.run(instructions=1000)
    demo.save(tmp_path / "snapshot")
    other = machine.load(tmp_path / "snapshot")
    saved, loaded = plain_state(demo), plain_state(other)
    assert {where for where in saved if saved[where] != loaded.get(where)} <= NOT_STATE
    parts = {part for part, _ in saved}
    assert {"machine.clock", "core.run_loop", "core.pmu", "machine.uart", "core.timers[3]"} <= parts
    assert ("machine.gic", "interfaces[0].mask") in saved


def test_restoring_gives_what_was_saved(demo: Machine) -> None:
    demo.run(instructions=2_000_000)
    saved = demo.snapshot()
    demo.run(instructions=1_000_000)
    assert demo.state.save() != saved.state
    demo.restore(saved)
    assert demo.state.save() == saved.state


class Counter:
    STATE = ("count",)

    def __init__(self) -> None:
        self.count = 0


def test_parts_are_restored_in_the_declared_order() -> None:
    """And are told afterwards, in the same order, however they joined."""
    registry, happened = StateRegistry(), []
    for order in reversed(Order):
        registry.add(
            order.name,
            Entry(
                order,
                lambda: None,
                lambda _, order=order: happened.append(("restored", order)),  # type: ignore[misc]
                restored=lambda order=order: happened.append(("told", order)),  # type: ignore[misc]
            ),
        )
    registry.on_restored(Order.CLOCK, lambda: happened.append(("told", Order.CLOCK)))
    registry.begin()
    registry.restore(registry.save())
    orders = sorted(Order)
    assert happened == [
        *(("restored", order) for order in orders),
        ("told", Order.CLOCK),
        *(("told", order) for order in orders),
    ]


def test_a_part_that_is_younger_than_the_state_begins_anew() -> None:
    registry, older, younger = StateRegistry(), Counter(), Counter()
    registry.join("older", older, Order.DEVICES)
    registry.begin()
    saved = registry.save()
    younger.count = 3
    registry.join("younger", younger, Order.DEVICES)
    older.count = younger.count = 5
    registry.restore(saved)
    assert (older.count, younger.count) == (0, 3)
    registry.reset()
    assert (older.count, younger.count) == (0, 3)


def test_a_saved_state_shares_nothing_with_the_parts(demo: Machine) -> None:
    saved = demo.state.save()
    before = copy.deepcopy(saved)
    demo.gic.priority[40] ^= 8
    demo.uart.receive(b"1")
    assert saved == before
    demo.state.restore(saved)
    demo.gic.priority[40] ^= 8
    assert saved == before


def test_a_file_with_any_wrong_field_is_refused(demo: Machine) -> None:
    """Each field of each part, left out or of another kind; and parts that are missing or that nobody has."""
    demo.run(instructions=1_000_000)
    state: dict[str, Any] = demo.state.save_for_file()
    assert demo.state.misfit(state) == ""
    assert {"clock", "gic", "pl011", "core0", "core0.run_loop", "core0.virtual-timer", "scratch"} <= state.keys()
    checked = 0
    for name, values in state.items():
        for field in values:
            for wrong in ("x", -1, 1 << 200, [None], {"": 0}):
                assert demo.state.misfit({**state, name: {**values, field: wrong}}) == f"{name}.{field}", wrong
            without = {key: values[key] for key in values if key != field}
            assert demo.state.misfit({**state, name: without}) == f"{name}.{field}"
            checked += 1
        assert demo.state.misfit({**state, name: {**values, "extra": 0}}) == f"{name}.extra"
        assert demo.state.misfit({key: state[key] for key in state if key != name}) == name
    assert checked > 160  # of which some 120 are registers
    assert demo.state.misfit({**state, "extra": {}}) == "extra"
    assert demo.state.misfit([]) == "all of it"


def test_probes_are_in_snapshots_and_refuse_files(demo: Machine, tmp_path: Path) -> None:
    kprobes = Kprobes(demo)
    probe = kprobes.register_kprobe(Kprobe("kfree"))
    assert {"hits", "kretprobes", "jprobes", "slots"} <= demo.snapshot().state.keys()
    with pytest.raises(MachineError):
        demo.save(tmp_path / "snapshot")
    kprobes.unregister(probe)
    demo.save(tmp_path / "snapshot")
    assert not {"hits", "kretprobes", "jprobes", "slots"} & demo.state.save_for_file().keys()


def test_two_machines_do_not_meet(demo: Machine) -> None:
    """By turns, each does what it does alone; and nothing keeps those that are thrown away."""
    demo.run(instructions=1_500_000)
    expected = demo.state.save_for_file(), bytes(demo.ram.data)
    others = [machine.load("demo", memory=MEMORY) for _ in range(2)]
    for _ in range(15):
        for other in others:
            other.run(instructions=100_000)
    for other in others:
        assert (other.state.save_for_file(), bytes(other.ram.data)) == expected
    gone = [weakref.ref(other) for other in others]
    del other, others
    gc.collect()
    assert [reference() for reference in gone] == [None, None]


@pytest.mark.sample(of="tests")
def test_a_hundred_machines() -> None:
    """Made, run and thrown away: they do the same, and hold on to no memory."""
    counts, sizes = set(), []
    for _ in range(10):
        for _ in range(10):
            guest = machine.load("demo", memory="2M")
            guest.run(until="kfree")
            counts.add(guest.instructions)
        del guest
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        sizes.append(pages * 4096)
    assert len(counts) == 1
    assert max(sizes) - sizes[1] < 64 << 20  # of the engine alone, a machine that is kept has some ten megabytes
