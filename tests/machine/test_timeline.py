# SPDX-License-Identifier: GPL-2.0-or-later
"""Going back: the machine is, at a position, what it was when it was there for the first time."""

import hashlib
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from unicorn import UC_HOOK_MEM_WRITE

from armprobe import machine
from armprobe.machine import Machine, MachineError, Stop, StopReason, WatchHit
from armprobe.machine.time.search import Write
from armprobe.probes import Kprobe, Kprobes, Kretprobe, Stage

from .test_input import Button

UNUSED = 0x4030_0000


def state(guest: Machine) -> str:
    """A digest of registers, time and the guest's memory."""
    registers = [guest.registers[name] for name in (*(f"x{n}" for n in range(31)), "sp", "pc", "pstate", "elr_el1")]
    digest = hashlib.sha256(repr((registers, guest.instructions, guest.clock.now)).encode())
    digest.update(guest.ram.data)
    return digest.hexdigest()


@pytest.fixture
def demo() -> Machine:
    guest = machine.load("demo", memory="4M")
    guest.timeline.pacing.spacing = 30_000
    guest.run(until="workload_round")  # it has a stack there
    guest.restore(guest.snapshot())
    return guest


def run(guest: Machine, chance: random.Random, most: int = 30_000) -> str:
    guest.run(instructions=chance.randrange(1, most))
    return state(guest)


def journey(guest: Machine, chance: random.Random, actions: list[Callable[[Machine], object]]) -> dict[int, str]:
    """Run, with each of the actions in between. What the guest was at the positions."""
    seen = {guest.instructions: state(guest)}
    for action in actions:
        run(guest, chance)
        seen[guest.instructions] = state(guest)
        action(guest)
        guest.step(chance.randrange(1, 9))
        seen[guest.instructions] = state(guest)
    return seen


def check(guest: Machine, chance: random.Random, seen: dict[int, str]) -> None:
    """Go to all positions in another order, from later and from earlier, and to the present at last."""
    present = guest.instructions
    positions = sorted(seen)
    chance.shuffle(positions)
    for position in positions:
        guest.timeline.go(position)
        assert guest.timeline.position == guest.instructions == position
        assert state(guest) == seen[position], position
    guest.timeline.go(present)
    assert state(guest) == seen[present]
    assert guest.timeline.live


def write_memory(guest: Machine) -> None:
    guest.memory.write(guest.registers.sp - 256, b"from outside")


def write_register(guest: Machine) -> None:
    guest.registers.x[9] = 0x1234_5678
    guest.registers["v3"] = 1 << 100


def type_text(guest: Machine) -> None:
    guest.console.write(b"typed")


def call(guest: Machine) -> None:
    guest.call("strlen", guest.symbols["strlen"].address)


def press(guest: Machine) -> None:
    button = guest.devices["button"]
    assert isinstance(button, Button)
    button.press()


ACTIONS = [write_memory, write_register, type_text, call, press, lambda guest: guest.skip_to(guest.clock.now + 5000)]


@pytest.mark.parametrize("seed", range(3))
def test_each_position_is_what_it_was_with_all_input(demo: Machine, seed: int) -> None:
    chance = random.Random(seed)
    demo.devices.add(Button())
    check(demo, chance, journey(demo, chance, chance.sample(ACTIONS, len(ACTIONS)) * 2))


def test_handlers_are_not_called_again_and_what_they_changed_is_applied(demo: Machine) -> None:
    called: list[str] = []
    kprobes = Kprobes(demo)

    def pre(probe: object, regs: object) -> int:
        called.append("pre")
        regs.regs[1] = len(called)  # type: ignore[attr-defined]
        demo.memory.physical.write(UNUSED, len(called).to_bytes(4, "little"))
        return 0

    def returned(instance: object, regs: object) -> None:
        called.append("return")
        demo.call("strlen", demo.symbols["strlen"].address)
        regs.regs[0] ^= len(called)  # type: ignore[attr-defined]

    probe = kprobes.register_kprobe(Kprobe("cmp_u32", pre_handler=pre))
    kprobes.register_kretprobe(Kretprobe("strlen", handler=returned))
    demo.restore(demo.snapshot())  # the history begins with both probes in the guest
    chance = random.Random(1)
    seen = journey(demo, chance, [write_memory, write_register, call] * 2)
    hits, calls = probe.hits, len(called)
    assert hits
    assert calls > hits
    check(demo, chance, seen)
    assert len(called) == calls
    demo.call("strlen", demo.symbols["strlen"].address)
    assert len(called) > calls  # live again


def test_changes_of_a_handler_whose_probe_is_gone_are_applied(demo: Machine) -> None:
    kprobes = Kprobes(demo)

    def pre(probe: object, regs: object) -> None:
        regs.regs[9] = 0xABCD  # type: ignore[attr-defined]
        demo.memory.physical.write(UNUSED, b"changed")

    probe = kprobes.register_kprobe(Kprobe("kfree", pre_handler=pre))
    demo.restore(demo.snapshot())
    demo.run(until="kfree")
    demo.run(instructions=60_000)
    kprobes.unregister(probe)
    chance = random.Random(2)
    check(demo, chance, journey(demo, chance, [write_memory]))
    demo.timeline.go(demo.timeline.start)
    demo.timeline.go(demo.timeline.end)
    assert demo.memory.physical.read(UNUSED, 7) == b"changed"


def test_a_step_back_is_one_instruction(demo: Machine) -> None:
    demo.run(instructions=50_000)
    places = []
    for _ in range(20):
        places.append((demo.instructions, demo.registers.pc, demo.registers.sp))
        demo.step()
    for position, pc, sp in reversed(places):
        demo.timeline.reverse_step(1)
        assert (demo.timeline.position, demo.registers.pc, demo.registers.sp) == (position, pc, sp)


def test_the_past_is_followed_until_something_else_happens(demo: Machine) -> None:
    first = demo.instructions
    demo.run(instructions=50_000)
    demo.registers.x[9] = 77
    demo.run(instructions=50_000)
    present = state(demo)
    demo.timeline.go(first + 20_000)
    demo.run(instructions=80_000)
    assert state(demo) == present
    demo.timeline.go(first + 20_000)
    demo.registers.x[10] = 5  # from here on the history is another
    assert demo.timeline.end == first + 20_000
    demo.run(instructions=30_000)
    with pytest.raises(MachineError, match=f"ends at position {first + 50_000}"):
        demo.timeline.go(first + 100_000)
    demo.timeline.go(None, "main")
    assert state(demo) == present


def test_what_the_guest_prints_is_seen_once(demo: Machine) -> None:
    heard = bytearray()
    demo.console.read()
    demo.console.listen(heard.extend)
    demo.run(instructions=200_000)
    before, end = bytes(heard), demo.instructions
    assert before
    demo.timeline.go(demo.timeline.start)
    demo.timeline.go(end)
    assert heard == before
    assert demo.console.read() == before


def test_refusals(demo: Machine) -> None:
    first = demo.instructions
    with pytest.raises(MachineError, match=f"ends at position {first}"):
        demo.timeline.go(first + 1)
    demo.call("strlen", demo.symbols["strlen"].address)
    with pytest.raises(MachineError, match="within a call of a guest function"):
        demo.timeline.go(first + 5)
    with pytest.raises(MachineError, match="before"):
        demo.timeline.go(-1)
    assert demo.timeline.live
    with pytest.raises(MachineError, match="no history"):
        machine.load("demo", memory="4M", history=False).timeline.go(0)


def test_reverse_continue_finds_the_stops_of_the_way_forward_in_reverse(demo: Machine) -> None:
    demo.breakpoints.add(demo.symbols["kfree"].address)
    demo.watchpoints.add("write", demo.registers.sp - 64, 8)
    kprobes = Kprobes(demo)
    kprobes.register_kprobe(Kprobe("kmalloc", stop={Stage.PRE, Stage.POST}))
    demo.restore(demo.snapshot())
    start = demo.instructions
    stops: list[tuple[int, StopReason, int]] = []
    while len(stops) < 60:
        stop = demo.run(instructions=200_000)
        if stop.reason is not StopReason.INSTRUCTIONS:
            changes = not isinstance(stop.detail, WatchHit) or stop.detail.value != stop.detail.before
            stops += [(demo.instructions, stop.reason, stop.address)] * changes
    assert {reason for _, reason, _ in stops} >= {StopReason.BREAKPOINT, StopReason.PROBE}
    demo.run(instructions=1)
    for expected in reversed(stops):
        stop = demo.timeline.reverse_continue()
        assert (demo.timeline.position, stop.reason, stop.address) == expected
    stop = demo.timeline.reverse_continue()
    assert (stop.reason, demo.timeline.position) == (StopReason.HISTORY_START, start)


def test_the_last_write_is_that_of_a_log_of_all_writes(demo: Machine) -> None:
    """The log is of hooks of the engine, for a stack frame of the workload."""
    demo.run(instructions=100_000)
    demo.restore(demo.snapshot())  # the history begins here
    first = demo.registers.sp - 512
    log: dict[int, tuple[int, int]] = {}
    begun: dict[int, tuple[int, int]] = {}

    def written(engine: object, access: int, at: int, width: int, value: int, _: object) -> None:
        demo.core.context.load()
        for byte in range(at, at + width):
            log[byte] = demo.instructions - 1, demo.core.context.pc
            begun.setdefault(byte, log[byte])

    physical = demo.memory.translate(first).physical
    hook = demo.core.engine.hook_add(UC_HOOK_MEM_WRITE, written, None, physical - 64, physical + 576)
    demo.core.forget_translations()
    demo.run(instructions=150_000)
    demo.core.engine.hook_del(hook)
    present = state(demo)
    for offset in range(0, 512, 32):
        found = demo.timeline.last_write(first + offset, 8)
        known = [log[at] for at in range(physical + offset, physical + offset + 8) if at in log]
        if known:
            assert found is not None
            assert (found.position, found.pc) == max(known)
            assert found.address < first + offset + 8
        found = demo.timeline.first_write(first + offset, 8)
        known = [begun[at] for at in range(physical + offset, physical + offset + 8) if at in begun]
        assert ([] if found is None else [(found.position, found.pc)]) == sorted(known)[:1]
    assert log
    assert state(demo) == present
    assert demo.timeline.live


def test_a_write_from_outside_is_found(demo: Machine) -> None:
    demo.run(instructions=1000)
    at, address = demo.instructions, demo.registers.sp - 1024
    demo.memory.write(address, b"12345678")
    demo.run(instructions=1000)
    assert demo.timeline.last_write(address, 4) == Write(at, None, address, 4, int.from_bytes(b"1234", "little"))


def test_a_write_from_outside_is_found_before_a_checkpoint_at_its_position(demo: Machine) -> None:
    address = demo.registers.sp - 1024
    for data in (b"12345678", b"abcdefgh"):
        demo.run(instructions=1000)
        demo.memory.write(address, data)
        demo.timeline.take()
        written = Write(demo.instructions, None, address, 4, int.from_bytes(data[:4], "little"))
        if data[:1] == b"1":
            first = written
    demo.run(instructions=1000)
    assert demo.timeline.last_write(address, 4) == written
    demo.run(instructions=1000)
    assert demo.timeline.first_write(address, 4) == first


SELDOM = """
    ldr x0, =0x40200000; movz x1, #200, lsl #16
    1: subs x1, x1, #1; b.ne 1b; add x2, x2, #1; store: str x2, [x0]; ldr x3, [x0, #4352]
    movz x1, #200, lsl #16; b 1b
    aside: nop; place: b 1b"""
"""It writes once in millions of instructions, or soon after x1 was set to 1, and reads another page then."""


def test_little_is_watched_for_a_write(bare: Callable[..., Machine], monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is watched for some ten thousand instructions, of a million."""
    guest = bare(SELDOM)
    guest.run(instructions=1_000_000)
    guest.registers["x1"] = 1
    guest.run(instructions=1_000_000)
    replay, watched = guest.timeline.replay_to, [0]

    def replay_to(position: int, leaving: bool = False) -> None:
        before = guest.instructions
        replay(position, leaving)
        watched[0] += (guest.instructions - before) * guest.core.native.state.watching

    monkeypatch.setattr(guest.timeline, "replay_to", replay_to)
    for look in (guest.timeline.last_write, guest.timeline.first_write):
        watched[0] = 0
        assert look(0x4020_0000, 8) == Write(1_000_003, guest.symbols["store"].address, 0x4020_0000, 8, 1)
        assert 0 < watched[0] <= 50_000


@pytest.mark.parametrize(
    ("kind", "address", "most"), [("write", 0x4020_0000, 250_000), ("read", 0x4020_1100, 2_000_000)]
)
def test_little_is_watched_on_the_way_back(
    kind: str, address: int, most: int, bare: Callable[..., Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the page was not written since the last checkpoint but one, others are looked for at the usual speed."""
    guest, forward = bare(SELDOM), []
    guest.watchpoints.add(kind, address, 8)
    guest.breakpoints.add(guest.symbols["place"].address)
    for number in range(20):
        guest.run(instructions=50_000)
        guest.timeline.take()
        if number in (3, 8, 12):
            guest.registers["x1"] = 1
            if number == 8:
                guest.registers["x1"], guest.registers["pc"] = 0, guest.symbols["aside"].address
            forward.append((guest.run(instructions=50_000).reason, guest.instructions))
            guest.timeline.take()  # as when it goes on from a stop
    assert [reason for reason, _ in forward] == [StopReason.WATCHPOINT, StopReason.BREAKPOINT, StopReason.WATCHPOINT]
    run, watched = guest.scheduler.run, [0]

    def counted(*arguments: object, **more: object) -> Stop:
        before = guest.instructions
        stop = run(*arguments, **more)  # type: ignore[arg-type]
        watched[0] += (guest.instructions - before) * guest.core.native.state.watching
        return stop

    monkeypatch.setattr(guest.scheduler, "run", counted)
    for expected in reversed(forward):
        assert (guest.timeline.reverse_continue().reason, guest.instructions) == expected
    assert watched[0] <= most
    assert guest.timeline.reverse_continue().reason is StopReason.HISTORY_START


def test_a_call_in_the_past_leaves_no_trace(demo: Machine) -> None:
    demo.run(instructions=30_000)
    call(demo)
    demo.run(instructions=30_000)
    present, end = state(demo), demo.instructions
    demo.timeline.go(demo.timeline.start + 10_000)
    before = state(demo)
    assert demo.call("strlen", demo.symbols["strlen"].address) == demo.call("strlen", demo.symbols["strlen"].address)
    assert state(demo) == before
    assert demo.timeline.end == end
    demo.timeline.go(end)
    assert state(demo) == present
    demo.run(instructions=10)
    demo.timeline.take()
    assert demo.timeline.kept_before(end + 11)[0].position == end + 10


def test_the_oldest_part_of_a_history_that_takes_too_much_memory_is_dropped(demo: Machine) -> None:
    demo.timeline.memory = 4 << 20
    begun, seen, chance = demo.instructions, {}, random.Random(6)
    for number in range(100):
        demo.memory.physical.write(UNUSED, bytes([number]) * 65536)
        demo.run(instructions=chance.randrange(1, 3000))
        seen[demo.instructions] = state(demo)
    start = demo.timeline.start
    assert start > begun
    kept = {position: digest for position, digest in seen.items() if position > start}
    assert 1 <= len(kept) <= 17  # of 64 KiB each: the share of the input is 1 MiB
    check(demo, chance, kept)
    with pytest.raises(MachineError, match=r"what came before was dropped.*--history-memory"):
        demo.timeline.go(begun)


def test_writes_at_one_position_are_bounded_too(demo: Machine) -> None:
    demo.timeline.memory = 4 << 20
    for number in range(200):
        demo.memory.physical.write(UNUSED, bytes([number]) * 65536)
    assert demo.timeline.start == demo.instructions
    demo.run(instructions=1000)
    after = state(demo)
    demo.timeline.go(demo.timeline.start)
    demo.timeline.go(demo.timeline.end)
    assert state(demo) == after


def test_the_history_begins_at_a_state_from_a_file(demo: Machine, tmp_path: Path) -> None:
    """What the machine did before is not the past of that state."""
    demo.memory.physical.write(UNUSED, b"saved")
    demo.save(tmp_path / "state")
    saved = demo.instructions, state(demo)
    demo.memory.physical.write(UNUSED, b"later")
    demo.run(instructions=100_000)
    demo.registers["x28"] = 1
    other = machine.load("demo", memory="4M")
    other.run(instructions=100_000)
    for guest in (demo, other):
        guest.resume(tmp_path / "state")
        assert (guest.timeline.start, guest.timeline.end) == (saved[0], saved[0])
        guest.run(instructions=5000)
        after = state(guest)
        guest.timeline.go(saved[0] + 100)
        assert guest.memory.physical.read(UNUSED, 5) == b"saved"
        guest.timeline.go(saved[0])
        assert state(guest) == saved[1]
        with pytest.raises(MachineError, match="the history begins at position"):
            guest.timeline.go(saved[0] - 1)
        guest.timeline.go(guest.timeline.end)
        assert state(guest) == after


def test_what_a_handler_did_is_kept_in_a_history_that_begins_anew(demo: Machine, tmp_path: Path) -> None:
    """Each kmalloc returns NULL; the way back there leads to the same state."""
    demo.save(tmp_path / "file")
    guest = machine.load(tmp_path / "file")
    kprobes = Kprobes(guest)
    failing = kprobes.fail("kmalloc", returns=0)
    begin = guest.timeline.position
    guest.run(instructions=50_000)
    assert failing.failed > 0
    assert kprobes.errors == []
    there = guest.timeline.position, state(guest)
    guest.timeline.go(begin)
    guest.timeline.go(there[0])
    assert state(guest) == there[1]


def test_calls_of_the_past_are_those_that_a_probe_would_have_hit(demo: Machine) -> None:
    demo.restore(demo.snapshot())
    kprobes = Kprobes(demo)
    probe = Kretprobe("strlen")
    kprobes.register_kretprobe(probe)
    demo.restore(demo.snapshot())
    demo.run(instructions=150_000)
    before, end = state(demo), demo.instructions
    entries = {hit.number: hit for hit in kprobes.hits if hit.stage is Stage.ENTRY}
    results = {hit.number: hit for hit in kprobes.hits if hit.stage is Stage.RETURN}
    assert len(results) > 3
    recorded = len(kprobes.hits)
    found = demo.timeline.calls("strlen")
    assert [(call.position, call.arguments[0], call.caller) for call in found] == [
        (hit.instructions, hit.regs.regs[0], hit.regs.regs[30]) for hit in entries.values()
    ]
    assert [call.result for call in found if call.returned] == [hit.regs.regs[0] for hit in results.values()]
    assert (state(demo), demo.instructions, len(kprobes.hits)) == (before, end, recorded)
    wanted = found[2].arguments[0]
    chosen = [call for call in found if call.arguments[0] == wanted]
    assert demo.timeline.calls("strlen", lambda guest: guest.registers.x[0] == wanted) == chosen
    assert demo.timeline.first_call("strlen", lambda guest: guest.registers.x[0] == wanted) == chosen[0]
    demo.timeline.go(found[1].position)
    assert demo.registers.pc == demo.symbols["strlen"].address
    assert demo.timeline.calls("strlen") == found  # from within the past, also what comes after it
    assert demo.timeline.position == found[1].position


def test_the_last_change_of_a_register_is_that_of_a_log_of_steps(demo: Machine) -> None:
    demo.run(instructions=3000)
    demo.registers.x[28] = 0x1234
    log: dict[str, tuple[int, int, int, int]] = {}
    for _ in range(400):
        position, pc, before = demo.instructions, demo.registers.pc, [*map(demo.registers.x.__getitem__, range(31))]
        demo.step()
        for number, (old, new) in enumerate(zip(before, [*map(demo.registers.x.__getitem__, range(31))], strict=True)):
            if old != new:
                log[f"x{number}"] = position, pc, old, new
    present = state(demo)
    assert len(log) > 4
    for name, known in log.items():
        found = demo.timeline.last_change(name)
        assert found is not None
        assert (found.position, found.pc, found.before, found.value) == known
    found = demo.timeline.last_change("x28")
    assert found is not None
    assert "x28" in log or (found.pc, found.value) == (None, 0x1234)
    assert state(demo) == present
