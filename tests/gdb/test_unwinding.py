# SPDX-License-Identifier: GPL-2.0-or-later
"""gdb unwinds the stack as if there were no kretprobes; the reference is the same place without them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from armprobe.commands import CommandError, GdbError, GdbSession, Session
from armprobe.machine import Snapshot
from tests.gdb.oracle import Demo, Registers, registers

pytestmark = pytest.mark.sample(of="files")

FRAMES = """
frames = []
frame = gdb.newest_frame()
while frame:
    if frame.type() != gdb.INLINE_FRAME:
        frames.append("%x %s %x" % (frame.pc(), frame.name(), int(frame.read_register("sp")) & 2**64 - 1))
    frame = frame.older()
print("\\n".join(frames))
"""
STEPS = 90

Frames = Callable[[], list[str]]


@pytest.fixture
def frames(gdb: GdbSession, tmp_path: Path) -> Frames:
    """frames(): pc, function and stack pointer of each physical frame, innermost first, as gdb has them."""
    script = tmp_path / "frames.py"
    script.write_text(FRAMES)
    return lambda: gdb.execute(f"source {script}").splitlines()


def probe_everything(session: Session) -> int:
    """A kretprobe on every function that may have one; how many there are."""
    for symbol in list(session.machine.symbols.functions()):
        try:
            session.run(f"kretprobe {symbol.name} maxactive=100 quiet=yes")
        except CommandError:
            continue
    return len(session.probes)


def back_to(session: Session, gdb: GdbSession, start: Snapshot) -> None:
    session.owner.call(session.machine.restore, start)
    gdb.execute("maintenance flush register-cache")
    gdb.execute("maintenance flush dcache")


@pytest.fixture
def started(gdb: GdbSession, session: Session) -> Callable[[str], Snapshot]:
    """started(function): the guest at its entry, called from the workload, as a snapshot."""

    def run(function: str) -> Snapshot:
        gdb.execute(f"tbreak *{function}")
        gdb.continue_to_stop()
        return session.machine.snapshot()

    return run


@pytest.mark.parametrize("function", ["slab_round", "recursion_round", "tree_round", "pcrel_round"])
@pytest.mark.sample
def test_every_instruction_has_the_frames_and_registers_it_has_without_probes(
    gdb: GdbSession, session: Session, frames: Frames, started: Callable[[str], Snapshot], function: str
) -> None:
    """Through prologues, leaves, recursion, epilogues and the trampoline, which takes no step."""
    start = started(function)
    seen: list[list[tuple[list[str], Registers]]] = []
    for probed in (False, True):
        back_to(session, gdb, start)
        if probed:
            assert probe_everything(session) > 100
        stretch = []
        for _ in range(STEPS):
            stretch.append((frames(), registers(gdb)))
            gdb.step()
        seen.append(stretch)
    assert sum(probe.hits for probe in session.kprobes.list()) > 3
    for without, with_probes in zip(*seen, strict=True):
        assert with_probes == without
    depths = {len(place) for place, _ in seen[0]}
    assert len(depths) > 1


def test_what_gdb_writes_back_changes_nothing(gdb: GdbSession, session: Session, tmp_path: Path) -> None:
    """The whole stack, where return addresses have been taken."""
    gdb.execute("kretprobe fib maxactive=100")
    gdb.execute("tbreak fib if n == 0")
    gdb.continue_to_stop()
    sp = gdb.register("sp")
    before = session.owner.call(session.machine.memory.read, sp, 1024)
    assert len(session.kprobes.outstanding) >= 3
    assert gdb.read_memory(sp, 1024) != before
    dump = tmp_path / "stack"
    gdb.execute(f"dump binary memory {dump} {sp:#x} {sp + 1024:#x}")
    gdb.execute(f"restore {dump} binary {sp:#x}")
    assert session.owner.call(session.machine.memory.read, sp, 1024) == before


@pytest.mark.parametrize("function", ["strlen", "kmalloc", "fib"])
def test_calls_from_within_a_function_with_a_kretprobe(
    gdb: GdbSession, session: Session, demo: Demo, function: str
) -> None:
    """Where x30 is still the return address: gdb's call of a function overwrites it and puts it back, and within that
    call it may stop and make another."""
    gdb.execute(f"kretprobe {function} maxactive=100")
    gdb.execute(f"tbreak *{function}+4")
    gdb.continue_to_stop()
    before = registers(gdb)
    assert before["x30"] in demo.return_addresses(function)
    assert gdb.evaluate("fib(10)") == "55"
    gdb.execute("tbreak *next_random+4")
    with pytest.raises(GdbError, match="stopped while in a function called from GDB"):
        gdb.execute("print next_random(&workload)")
    assert gdb.evaluate("fib(5)") == "5"
    assert "Run till exit" in gdb.execute("finish")
    assert registers(gdb) == before
    calls = len(session.kprobes.outstanding)
    gdb.execute("finish")
    assert gdb.register("pc") == before["x30"]
    assert len(session.kprobes.outstanding) == calls - 1
    assert session.kprobes.hits[-1].caller == before["x30"]


@pytest.mark.parametrize(
    ("function", "place", "command"),
    [("strlen", "*strlen+4", "set $x30 = {0}"), ("slab_round", "*kmalloc", "set *(long *) ($x29 + 8) = {0}")],
)
def test_a_return_address_set_by_hand(
    gdb: GdbSession, session: Session, demo: Demo, function: str, place: str, command: str
) -> None:
    """In x30, and on the stack: that is where the call returns, and the kretprobe sees it."""
    gdb.execute(f"kretprobe {function}")
    gdb.execute(f"tbreak {place}")
    gdb.continue_to_stop()
    elsewhere = demo.address("machine_power_off")
    gdb.execute(command.format(elsewhere))
    assert f"0x{elsewhere:016x} in " in gdb.execute("backtrace")
    gdb.execute("tbreak *machine_power_off")
    assert gdb.continue_to_stop().pc == elsewhere
    hit = session.kprobes.hits[-1]
    assert (hit.stage.value, hit.caller, hit.number) == ("return", elsewhere, 1)
    assert session.kprobes.outstanding == []


def test_a_function_made_to_return(gdb: GdbSession, session: Session, demo: Demo) -> None:
    """gdb's `return` goes to the caller without the trampoline, and the kretprobe does not wait any longer."""
    gdb.execute("kretprobe kmalloc maxactive=1")
    gdb.execute("tbreak kmalloc")
    gdb.continue_to_stop()
    gdb.execute("set confirm off")
    gdb.execute("return (void *) 0")
    assert gdb.register("pc") in demo.return_addresses("kmalloc")
    gdb.execute("unregister all")
    gdb.execute("kretprobe kmalloc maxactive=1")
    gdb.execute("tbreak list_round")
    assert gdb.continue_to_stop().function == "list_round"
    assert '"kmalloc"' in gdb.evaluate("workload.first_failure")
    (probe,) = session.kprobes.list()
    assert (probe.nmissed, session.kprobes.outstanding) == (0, [])


@pytest.mark.parametrize("command", ["up", "finish", "until *kfree", "advance ksize", "next"])
@pytest.mark.sample
def test_what_gdb_does_at_each_stage(
    gdb: GdbSession, session: Session, frames: Frames, started: Callable[[str], Snapshot], command: str
) -> None:
    """It ends where it does without probes. Stages are stopped at on the way: gdb is told to go on."""
    start = started("kmalloc")
    outer = frames()[1:]
    gdb.execute("stepi")
    gdb.execute(command)
    expected = gdb.execute("frame"), frames(), registers(gdb)
    back_to(session, gdb, start)
    for line in ("kretprobe kmalloc stop=entry", "kprobe kmalloc stop=pre,post", "kretprobe slab_round"):
        gdb.execute(line)
    for _ in range(2):  # entry and pre are one place, and one stop
        gdb.continue_to_stop()
        assert frames()[1:] == outer
    gdb.execute(command)
    assert (gdb.execute("frame"), frames(), registers(gdb)) == expected


def test_finish_to_the_stage_return(gdb: GdbSession, session: Session, frames: Frames) -> None:
    """Where it ends is where the kretprobe stops: one stop for both; the value is shown, the caller is where it was."""
    gdb.execute("kretprobe kmalloc stop=entry,return")
    gdb.continue_to_stop()
    outer = frames()[1:]
    said = gdb.execute("finish")
    assert "kretprobe kmalloc: stage return, hit 1" in said
    assert "Value returned is $1 = (void *) " in said
    assert frames() == outer
    assert gdb.execute("up").startswith("#1 ")
    gdb.execute("frame 0")
    pc = gdb.register("pc")
    gdb.execute("stepi")
    assert gdb.register("pc") == pc + 4
