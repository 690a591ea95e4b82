# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest changed from outside while gdb is stopped: gdb shows what is there, and does not act on what was there.

What is expected is what the machine itself has, and by the demo kernel's source.
"""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from armprobe.clients.gdb_session import GDBINIT, PROXY
from armprobe.commands import GdbSession, Session
from armprobe.stub import serve
from tests.gdb.oracle import DEMO, Demo
from tests.gdb.terminal import Terminal

pytestmark = pytest.mark.sample(of="files")


@pytest.fixture(params=["with the proxy", "without"])
def stopped(request: pytest.FixtureRequest, session: Session, gdb_path: str, gdbinit: Path) -> Iterator[GdbSession]:
    """A gdb at kfree, which has seen registers, stack and code there."""
    with GdbSession(session, gdb=gdb_path, gdbinit=gdbinit if request.param == "with the proxy" else None) as gdb:
        gdb.execute(f"file {DEMO}")
        gdb.execute("tbreak *kfree")
        gdb.continue_to_stop()
        yield gdb


def seen(gdb: GdbSession, session: Session) -> None:
    """gdb shows the registers that the machine has, and where it is."""
    registers = session.machine.registers
    for name in ("pc", "sp", "x0", "x19", "v3"):
        assert int(gdb.evaluate(f"(unsigned long) ${name}{'.d.u[0]' * (name == 'v3')}")) == registers[name] % 2**64
    found = session.machine.symbols.at(registers.pc)
    assert found
    assert gdb.execute("info symbol $pc").split()[0] == found[0].name


def test_a_snapshot_restored(stopped: GdbSession, session: Session, demo: Demo) -> None:
    snapshot = session.machine.snapshot()
    stopped.execute("tbreak *strlen")
    stopped.continue_to_stop()
    seen(stopped, session)
    session.machine.restore(snapshot)
    assert stopped.register("pc") == demo.address("kfree")
    seen(stopped, session)
    assert "kfree (" in stopped.execute("backtrace 1")
    stopped.execute("tbreak *strlen")
    assert stopped.continue_to_stop().pc == demo.address("strlen")  # at once, and it resumes


@pytest.mark.parametrize("command", ["set $x5 = 77", "call fib 6"])
def test_what_monitor_does_is_seen(session: Session, gdb_path: str, gdbinit: Path, command: str) -> None:
    """As what others do is: gdb knows nothing of it."""
    with GdbSession(session, gdb=gdb_path, gdbinit=gdbinit) as gdb:
        gdb.execute(f"file {DEMO}")
        gdb.execute("tbreak *kfree")
        gdb.continue_to_stop()
        gdb.execute("info registers")
        gdb.execute(f"monitor {command}")
        registers = session.machine.registers
        assert gdb.execute("print/x $pc").endswith(f" = {registers.pc:#x}\n")
        assert gdb.execute("print/x $x5").endswith(f" = {registers.x[5]:#x}\n")


def test_the_commands_in_gdb(session: Session, gdb_path: str, gdbinit: Path, demo: Demo) -> None:
    """Native where gdb has no command of that name, guest-restore where it has."""
    with GdbSession(session, gdb=gdb_path, gdbinit=gdbinit) as gdb:
        gdb.execute(f"file {DEMO}")
        gdb.execute("tbreak *kfree")
        gdb.continue_to_stop()
        assert gdb.execute("snapshot here").startswith("snapshot here: kfree, after ")
        gdb.execute("stepi 5")
        assert gdb.register("pc") != demo.address("kfree")
        assert gdb.execute("guest-restore here").startswith("back at snapshot here: kfree, ")
        assert gdb.register("pc") == demo.address("kfree")
        seen(gdb, session)
        gdb.execute("stepi 5")
        gdb.execute("monitor restore here")
        assert "changed from outside" in gdb.execute("print $x0")  # gdb itself knows nothing of what monitor does
        assert gdb.register("pc") == demo.address("kfree")
        assert "here" in gdb.execute("snapshots")
        gdb.execute("tbreak *kmalloc")
        gdb.execute("guest-restore here")
        assert gdb.continue_to_stop().pc == demo.address("kmalloc")  # at once: gdb has read the registers
        gdb.execute("reset")
        assert (session.machine.instructions, gdb.register("pc")) == (0, session.machine.registers.pc)


def test_registers_and_memory_written(stopped: GdbSession, session: Session) -> None:
    sp = stopped.register("sp")
    before = int(stopped.evaluate(f"*(unsigned long *) {sp}"))
    stopped.execute("backtrace")  # gdb keeps what it has read of the stack
    session.machine.memory.write(sp, (before ^ 1).to_bytes(8, "little"))
    assert int(stopped.evaluate(f"*(unsigned long *) {sp}")) == before ^ 1
    session.machine.registers["v3"] = 5
    session.machine.registers.x[19] = 7
    seen(stopped, session)


def test_the_guest_run_by_a_script(stopped: GdbSession, session: Session) -> None:
    session.machine.step(3)
    seen(stopped, session)


def test_a_frame_that_was_selected_stays(stopped: GdbSession) -> None:
    """gdb drops nothing for what it has done itself."""
    stopped.execute("up")
    stopped.execute("set $x19 = 3")
    stopped.execute("up")
    assert stopped.execute("frame").startswith("#2 ")


@pytest.fixture
def typed(session: Session, gdb_path: str) -> Iterator[Callable[..., Terminal]]:
    """typed(word, ...): a gdb of those words at a terminal, stopped at kfree and in control of `session`."""
    with contextlib.ExitStack() as stack:

        def start(*words: str) -> Terminal:
            server = stack.enter_context(serve(session, "127.0.0.1:0"))
            environment = {"ARMPROBE_GDB_PROXY": str(PROXY)}
            terminal = stack.enter_context(Terminal([gdb_path, "-nx", "-q", *words], environment))
            terminal.type(f"target remote {server.address}", "tbreak *kfree", "continue", "info symbol $pc")
            terminal.expect("^kfree in section")
            terminal.expect(r"\(gdb\) ")
            return terminal

        yield start


def test_armprobes_gdb_says_so_at_its_prompt(typed: Callable[..., Terminal], session: Session) -> None:
    terminal = typed("-x", str(GDBINIT))
    terminal.type("kprobe kfree", "guest-call strlen $x1", "set $x2 = 2", "up", "probes")
    assert "changed" not in terminal.expect("^num .*\n.*kfree.*\n")  # by nobody but itself
    session.machine.registers.pc = session.machine.symbols["strlen"].address
    terminal.type("echo")
    terminal.expect("^The guest was changed from outside; .*\n#0 .*strlen")
    terminal.expect(r"\(gdb\) ")
    terminal.type("info symbol $pc", "stepi", "info symbol $pc")
    terminal.expect("^strlen in section")
    terminal.expect(r"^strlen \+ 4 in section")


@pytest.mark.parametrize(
    ("look", "shown"),
    [
        ("print $x9", r"^\$1 = 4242$"),
        ("output $x9", "^4242"),
        ('printf "%d\\n", $x9', "^4242$"),
        ("info registers x9", r"^x9 +0x1092 +4242$"),
        ("x/i $pc", r"^=> 0x\w+ <strlen>:"),
        ("info symbol $pc", "^strlen in section"),
        ("backtrace 1", r"^#0  strlen \(.*\n.*\n?\(More stack"),
        ("up", r"^#1 .* slab_round \("),
        ("info frame", r"^ pc = 0x\w+ in strlen "),
        ("tbreak", r"^Temporary breakpoint 2 at 0x\w+: file lib/string.c"),
        ("set $seen = $x9 + 1\noutput $seen", "^4243"),
        ("if $x9 == 4242\necho yes\\n\nend", "^yes$"),
        ("python print(int(gdb.parse_and_eval('$x9')))", "^4242$"),
        ("source {script}", "^4242$"),
    ],
)
@pytest.mark.sample
def test_the_first_look_shows_the_new_state(
    typed: Callable[..., Terminal], session: Session, tmp_path: Path, look: str, shown: str
) -> None:
    """gdb has prompted before the change and executes the command with what it knew then, if nothing tells it."""
    script = tmp_path / "look.py"
    script.write_text("print(int(gdb.parse_and_eval('$x9')))")
    terminal = typed(str(DEMO), "-x", str(GDBINIT))
    session.machine.registers.pc = session.machine.symbols["strlen"].address
    session.machine.registers.x[9] = 4242
    terminal.type(look.replace("{script}", str(script)))
    terminal.expect("^The guest was changed from outside; .*\n#0 .*strlen")
    terminal.expect(shown)
    terminal.expect(r"\(gdb\) ")
    terminal.type(look.replace("{script}", str(script)), "echo end\\n")
    assert "outside" not in terminal.expect("^end$")


def test_a_hook_of_the_user_s_is_kept(typed: Callable[..., Terminal], session: Session, tmp_path: Path) -> None:
    """One defined before, and one defined after, of which gdb asks, as for any command that is defined already."""
    before = tmp_path / "before"
    before.write_text("define hook-print\necho before\\n\nend\n")
    terminal = typed("-x", str(before), "-x", str(GDBINIT))
    session.machine.registers.x[9] = 4242
    terminal.type("print $x9")
    terminal.expect("outside; .*\n(.*\n)*before\n.* = 4242")
    terminal.type("define hook-output")
    terminal.expect(r"\(y or n\) ")
    terminal.type("y", "echo after\\n", "end", "echo end\\n")
    terminal.expect("^end")
    session.machine.registers.x[9] = 4243
    terminal.type("output $x9", "echo \\n")
    terminal.expect("outside; .*\n(.*\n)*after\n4243")


def test_a_trace_frame_is_not_the_guest_s_state(typed: Callable[..., Terminal], session: Session) -> None:
    """What was traced does not change. gdb reads the present state when it looks at that again."""
    terminal = typed("-x", str(GDBINIT))
    terminal.type("trace *kfree", "actions", "collect $regs", "end", "tstart", "tbreak *strlen", "continue", "tstop")
    terminal.type("tfind start", "info symbol $pc")
    terminal.expect("^kfree in section")
    terminal.expect(r"\(gdb\) ")
    session.machine.registers.x[9] = 4242
    terminal.type("info symbol $pc")
    assert "outside" not in terminal.expect("^kfree in section")
    terminal.type("tfind none", "print $x9")
    terminal.expect("= 4242")


@pytest.mark.parametrize("proxy", [True, False])
def test_a_driven_gdb_on_a_stub_of_another_process(
    session: Session, gdb_path: str, gdbinit: Path, demo: Demo, proxy: bool
) -> None:
    with (
        serve(session, "127.0.0.1:0") as server,
        GdbSession(server.address, gdb=gdb_path, gdbinit=gdbinit if proxy else None) as gdb,
    ):
        gdb.execute(f"file {DEMO}")
        gdb.execute("tbreak *kfree")
        gdb.continue_to_stop()
        session.machine.registers.x[9] = 4242
        assert gdb.evaluate("$x9") == "4242"
        session.machine.registers.x[9] = 4243
        assert gdb.execute("output $x9") == "4243"
        session.machine.registers.pc = demo.address("strlen")
        assert "strlen (" in gdb.execute("backtrace 1")
        gdb.execute("up")
        gdb.execute("up")
        assert gdb.execute("frame").startswith("#2 ")  # nothing else has changed


def test_gdb_alone_does_not_go_on_from_where_the_guest_no_longer_is(
    typed: Callable[..., Terminal], session: Session
) -> None:
    """It would set a breakpoint at the return address that it knows. It stops, and finishes what it then shows."""
    terminal = typed(str(DEMO))
    executed = session.machine.instructions
    session.machine.registers.pc = session.machine.symbols["strlen"].address
    terminal.type("finish")
    terminal.expect("^not resumed: the guest's registers were changed from outside.*\n")
    terminal.expect(r"SIGINT.*\n.*strlen")
    assert session.machine.instructions == executed
    terminal.expect(r"\(gdb\) ")
    terminal.type("stepi", "info symbol $pc")
    terminal.expect(r"^strlen \+ 4 in section")
