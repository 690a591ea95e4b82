# SPDX-License-Identifier: GPL-2.0-or-later
"""gdb's breakpoints and watchpoints on the demo kernel. What is watched is computed here a second time."""

import re
from collections.abc import Iterator

import pytest

from armprobe.commands import GdbError, GdbSession, Session
from tests.gdb.oracle import Demo
from tests.waiting import PATIENCE

pytestmark = pytest.mark.sample(of="files")

SEED = 0x12345678  # batch_start in guests/demo/kernel/workload.c


def xorshift32(state: int = SEED) -> Iterator[int]:
    """Marsaglia, Xorshift RNGs (Journal of Statistical Software 8, 14), with the parameters 13, 17, 5."""
    while True:
        state ^= state << 13 & 0xFFFF_FFFF
        state ^= state >> 17
        state ^= state << 5 & 0xFFFF_FFFF
        yield state


def at_the_first_round(gdb: GdbSession) -> None:
    gdb.execute("tbreak workload_round")
    gdb.continue_to_stop()


@pytest.mark.parametrize("kind", ["break", "hbreak", "tbreak", "thbreak"])
def test_breakpoints(gdb: GdbSession, demo: Demo, kind: str) -> None:
    gdb.execute(f"{kind} *avl_erase")
    stop = gdb.continue_to_stop()
    assert (stop.reason, stop.pc, stop.function) == ("breakpoint-hit", demo.address("avl_erase"), "avl_erase")
    assert gdb.register("x30") in demo.return_addresses("avl_erase")
    gdb.execute("tbreak list_round")
    stop = gdb.continue_to_stop()
    assert stop.function == ("avl_erase" if kind in ("break", "hbreak") else "list_round")


def test_a_breakpoint_is_hit_as_often_as_the_place_is_reached(gdb: GdbSession) -> None:
    """slab_round calls kmalloc 24 times (SLAB_OBJECTS)."""
    gdb.execute("break kmalloc")
    gdb.execute("ignore 1 1000000")
    gdb.execute("tbreak list_round")
    gdb.continue_to_stop()
    assert "breakpoint already hit 24 times" in gdb.execute("info breakpoints")


@pytest.mark.parametrize("address", [0, 0xFFFF_FFFF_FFFF_FFFC])
def test_a_breakpoint_where_nothing_is(gdb: GdbSession, address: int) -> None:
    """It is never hit, before the MMU is on and after it, and in nobody's way."""
    gdb.execute(f"break *{address:#x}")
    gdb.execute(f"hbreak *{address:#x}")
    for _ in range(2):
        at_the_first_round(gdb)


@pytest.mark.parametrize("condition", ["", " if $sp != 0"])
def test_jump_to_a_breakpoint(gdb: GdbSession, session: Session, demo: Demo, condition: str) -> None:
    """What is jumped to is not executed: the stop is at once."""
    at_the_first_round(gdb)
    gdb.execute(f"break *fib{condition}")
    before = session.machine.instructions
    gdb.execute("jump *fib")
    assert (gdb.register("pc"), session.machine.instructions) == (demo.address("fib"), before)
    gdb.execute("set $x0 = 3")
    gdb.continue_to_stop()  # fib calls itself
    assert (gdb.register("pc"), gdb.evaluate("n")) == (demo.address("fib"), "2")


def test_jump_to_a_condition_that_is_false(gdb: GdbSession, demo: Demo) -> None:
    at_the_first_round(gdb)
    gdb.execute("break *fib if $x0 == 2")
    gdb.execute("set $x0 = 3")
    gdb.execute("jump *fib")
    assert (gdb.register("pc"), gdb.evaluate("n")) == (demo.address("fib"), "2")


def test_a_condition(gdb: GdbSession) -> None:
    gdb.execute("break fib if n == 3")
    stop = gdb.continue_to_stop()
    assert (stop.function, gdb.evaluate("n")) == ("fib", "3")
    assert gdb.execute("finish").split("Value returned is ")[1].split(" = ")[1] == "2\n"


def test_a_breakpoint_before_the_mmu_is_on(gdb: GdbSession, demo: Demo) -> None:
    """Code at its physical address, which is where it runs first."""
    virtual, physical, _ = demo.segments[0]
    where = demo.address("__enable_mmu") - virtual + physical
    gdb.execute(f"hbreak *{where:#x}")
    assert gdb.continue_to_stop().pc == where
    assert gdb.register("sctlr_el1") & 1 == 0
    gdb.execute("tbreak __primary_switched")
    assert gdb.continue_to_stop().pc == demo.address("__primary_switched")
    assert gdb.register("sctlr_el1") & 1 == 1


def test_a_breakpoint_at_el0(gdb: GdbSession) -> None:
    """The task's own code, at an address of the lower half."""
    gdb.execute("tbreak user_main")
    stop = gdb.continue_to_stop()
    assert stop.pc is not None
    assert stop.pc < 1 << 32
    assert "EL=0" in gdb.evaluate("$cpsr")


def values(text: str) -> list[int]:
    """The numbers in "Old value = 1 / New value = 2"."""
    return [int(value) for value in re.findall(r"^(?:Old value|New value|Value) = (\d+)$", text, re.MULTILINE)]


def test_watch(gdb: GdbSession) -> None:
    """The values, old and new, are those of the generator; each stop is behind the store."""
    at_the_first_round(gdb)
    gdb.execute("watch workload.random")
    generator, before = xorshift32(), SEED
    for _ in range(12):
        stop = gdb.continue_to_stop()
        after = next(generator)
        assert values(stop.console) == [before, after]
        assert stop.function == "next_random"
        assert gdb.register("x0") == after
        before = after


def test_two_watchpoints_in_one_access(gdb: GdbSession) -> None:
    """A store to both that changes one of them: gdb shows that one."""
    at_the_first_round(gdb)
    steps = ((state, next(xorshift32(state))) for state in range(1, 1 << 20))
    state = next(s for s, after in steps if not (s ^ after) & 0xFF and (s ^ after) >> 24)
    first = gdb.execute("watch -location ((unsigned char *) &workload.random)[0]").split()[2]
    last = gdb.execute("watch -location ((unsigned char *) &workload.random)[3]").split()[2]
    gdb.execute(f"set var workload.random = {state}")
    said = gdb.continue_to_stop().console
    assert (f"watchpoint {first}" in said, f"watchpoint {last}" in said) == (False, True), said
    assert f"New value = {next(xorshift32(state)) >> 24} " in said


def test_rwatch(gdb: GdbSession) -> None:
    """Each call loads the state once; stores of it do not count."""
    at_the_first_round(gdb)
    gdb.execute("rwatch workload.random")
    state = SEED
    for expected in [SEED, *(value for value, _ in zip(xorshift32(), range(6), strict=False))]:
        stop = gdb.continue_to_stop()
        assert "Hardware read watchpoint" in stop.console
        assert values(stop.console) == [expected]
        assert stop.function == "next_random"
        state = expected
    assert state == int(gdb.evaluate("workload.random"))


def test_awatch(gdb: GdbSession) -> None:
    """Load and store take turns."""
    at_the_first_round(gdb)
    gdb.execute("awatch workload.random")
    before = SEED
    for after, _ in zip(xorshift32(), range(5), strict=False):
        assert values(gdb.continue_to_stop().console) == [before]
        assert values(gdb.continue_to_stop().console) == [before, after]
        before = after


def test_watch_a_part(gdb: GdbSession, demo: Demo) -> None:
    """One byte of a word, which the store of the whole word reaches; stores beside it do not stop."""
    at_the_first_round(gdb)
    gdb.execute("watch -l *((unsigned char *) &workload.random + 2)")
    before = SEED
    for after, _ in zip(xorshift32(), range(4), strict=False):
        stop = gdb.continue_to_stop()
        texts = re.findall(r"value = (\d+)", stop.console)
        assert [int(text) for text in texts] == [before >> 16 & 0xFF, after >> 16 & 0xFF]
        before = after


def test_watch_through_a_probe(gdb: GdbSession, session: Session, demo: Demo) -> None:
    """The store is the instruction probed, executed out of line: the watchpoint sees it all the same."""
    start, size = demo.symbols["next_random"]
    store = next(at for at in range(start, start + size, 4) if demo.instructions[at].name == "str")
    at_the_first_round(gdb)
    gdb.execute(f"kprobe {store:#x}")
    gdb.execute("watch workload.random")
    before = SEED
    for after, _ in zip(xorshift32(), range(4), strict=False):
        stop = gdb.continue_to_stop()
        assert values(stop.console) == [before, after]
        assert stop.pc == store + 4
        before = after
    assert session.kprobes.list()[0].hits == 4


def test_several_watchpoints(gdb: GdbSession) -> None:
    """The one hit is the one reported; without them the guest goes on, its results right."""
    at_the_first_round(gdb)
    gdb.execute("watch workload.round")
    gdb.execute("watch workload.failures")
    gdb.execute("rwatch workload.first_failure")
    for number in range(3):
        stop = gdb.continue_to_stop(PATIENCE)
        assert "workload.round" in stop.console
        assert values(stop.console) == [number, number + 1]
    gdb.execute("delete")
    gdb.execute("tbreak batch_report")
    gdb.continue_to_stop()
    assert gdb.evaluate("workload.failures") == "0"


def test_watching_what_a_null_pointer_points_to(gdb: GdbSession) -> None:
    """Nothing accesses it, and a watchpoint that gdb cannot set would be in the way of everything else."""
    at_the_first_round(gdb)
    gdb.execute("watch *(long *) 0")
    gdb.execute("rwatch *(long *) 0xffff900000000000")
    gdb.execute("tbreak list_round")
    assert gdb.continue_to_stop().function == "list_round"


def test_a_device_cannot_be_watched(gdb: GdbSession) -> None:
    at_the_first_round(gdb)
    gdb.execute("awatch *(int *) 0xffff800049000000")  # the console: guests/demo/README.md
    with pytest.raises(GdbError, match="Could not insert hardware watchpoint"):
        gdb.continue_to_stop()
    gdb.execute("delete")
    gdb.execute("tbreak list_round")
    assert gdb.continue_to_stop().function == "list_round"
