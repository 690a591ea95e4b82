# SPDX-License-Identifier: GPL-2.0-or-later
"""A bare-metal program whose semihosting calls for files a real gdb does, in its own working directory."""

import queue
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from armprobe.commands import GdbSession, Session
from armprobe.machine.semihosting import FileCall
from armprobe.stub import Client, HostCall, Interrupted, StopEvent, TargetError
from tests.gdb.conftest import Tool
from tests.waiting import PATIENCE

# The results are left in memory: x0 of each call.
PROGRAM = """
    .globl _start, after_open, done, results
    .macro call number, arguments:vararg
    .data
    .balign 8
77: .quad \\arguments
    .text
    ldr x1, =77b
    mov w0, #\\number
    hlt #0xf000
    str x0, [x19], #8
    .endm
_start:
    ldr x19, =results
    ldr x1, =opening
    mov w0, #1
opens:
    hlt #0xf000
after_open:
    str x0, [x19], #8
    ldr x20, =handle
    str x0, [x20]
    mov w0, #5
    ldr x1, =handle
    hlt #0xf000
    str x0, [x19], #8
    mov w0, #12                         // length
    ldr x1, =handle
    hlt #0xf000
    str x0, [x19], #8
    mov w0, #9                          // a terminal?
    ldr x1, =handle
    hlt #0xf000
    str x0, [x19], #8
    ldr x20, =seeking
    ldr x21, =handle
    ldr x21, [x21]
    str x21, [x20]
    mov w0, #10                         // to byte 5
    mov x1, x20
    hlt #0xf000
    str x0, [x19], #8
    ldr x20, =reading
    str x21, [x20]
    mov w0, #6
    mov x1, x20
    hlt #0xf000
    str x0, [x19], #8
    mov w0, #2                          // closed
    ldr x1, =handle
    hlt #0xf000
    str x0, [x19], #8
    call 15, name, 8, other, 9
    call 14, doomed, 10
    call 1, missing, 0, 10
    call 19, 0
    call 18, command, 9
    call 2, 1000
done:
    ldr x1, =code
    mov w0, #0x18
    hlt #0xf000
    b .

    .data
    .balign 8
opening: .quad name, 6, 8               // "w+"
handle: .quad 0, text, 12
seeking: .quad 0, 5
reading: .quad 0, buffer, 100
code: .quad 0x20026, 3
results: .fill 14, 8, 0x55
buffer: .fill 100
name: .asciz "file.txt"
other: .asciz "other.txt"
doomed: .asciz "doomed.txt"
missing: .asciz "no/such.tx"
text: .ascii "some text.\\n\\n"
command: .asciz "touch x.x"
"""

FAILED = (1 << 64) - 1


@pytest.fixture
def session(tool: Tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    source, objects, elf = (tmp_path / f"guest.{ending}" for ending in ("s", "o", "elf"))
    source.write_text(PROGRAM)
    subprocess.run([tool("aarch64-linux-gnu-as", "binutils-aarch64-linux-gnu"), "-o", objects, source], check=True)
    linker = tool("aarch64-linux-gnu-ld", "binutils-aarch64-linux-gnu")
    subprocess.run([linker, "-N", "-Ttext", "0x40000000", "-o", elf, objects], check=True)
    folder = tmp_path / "gdb"
    folder.mkdir()
    (folder / "doomed.txt").write_text("doomed")
    monkeypatch.chdir(folder)  # where gdb is started
    with Session(elf, memory="16M") as session:
        yield session


@pytest.fixture
def gdb(session: Session, gdb_path: str) -> Iterator[GdbSession]:
    with GdbSession(session, gdb=gdb_path) as gdb:
        yield gdb


def results(session: Session) -> list[int]:
    at = session.machine.symbols["results"].address
    return [session.machine.memory.u64(at + 8 * n) for n in range(13)]


def test_files(gdb: GdbSession, session: Session) -> None:
    session.run("semihosting files=gdb")
    stop = gdb.continue_to_stop()
    assert stop.reason == "exited"
    assert int(stop.raw["exit-code"], 8) == 3
    opened, *others = results(session)
    assert 4 <= opened < 100
    assert others == [
        0,  # all written
        12,  # its length
        0,  # no terminal
        0,
        100 - 7,  # read but for what the file does not have
        0,
        0,
        0,
        FAILED,  # no such file,
        2,  # ENOENT
        FAILED,  # gdb's user has not allowed commands
        FAILED,
    ]
    buffer = session.machine.symbols["buffer"].address
    assert session.machine.memory.read(buffer, 8) == b"text.\n\n\0"
    folder = Path.cwd()
    assert sorted(path.name for path in folder.iterdir()) == ["other.txt"]
    assert (folder / "other.txt").read_text() == "some text.\n\n"


def test_not_unless_it_is_allowed(gdb: GdbSession, session: Session) -> None:
    assert gdb.continue_to_stop().reason == "exited"
    opened, *_, missing, errno, system, closed = results(session)
    assert [opened, missing, errno, system, closed] == [FAILED, FAILED, 19, FAILED, FAILED]
    assert [path.name for path in Path.cwd().iterdir()] == ["doomed.txt"]


def test_a_step_is_one_call(gdb: GdbSession, session: Session) -> None:
    gdb.execute("semihosting files=gdb")
    after = session.machine.symbols["after_open"].address
    gdb.execute("tbreak *opens")
    gdb.continue_to_stop()
    assert gdb.step().pc == after
    assert 4 <= gdb.register("x0") < 100
    assert (Path.cwd() / "file.txt").read_text() == ""


def test_a_breakpoint_after_the_call(gdb: GdbSession, session: Session) -> None:
    gdb.execute("semihosting files=gdb")
    gdb.execute("break *after_open")
    stop = gdb.continue_to_stop()
    assert stop.reason == "breakpoint-hit"
    assert stop.pc == session.machine.symbols["after_open"].address
    assert 4 <= gdb.register("x0") < 100


def test_range_steps(gdb: GdbSession, session: Session) -> None:
    """`next` where there are no lines: up to the next symbol, over one call, then over all the others."""
    gdb.execute("semihosting files=gdb")
    gdb.execute("tbreak *opens")
    gdb.continue_to_stop()
    for place in ("after_open", "done"):
        gdb.execute("next")
        assert gdb.register("pc") == session.machine.symbols[place].address
    assert results(session)[1:4] == [0, 12, 0]
    assert (Path.cwd() / "other.txt").read_text() == "some text.\n\n"


def test_commands_where_gdb_s_user_allows_them(gdb: GdbSession, session: Session) -> None:
    gdb.execute("semihosting files=gdb")
    gdb.execute("set remote system-call-allowed 1")
    gdb.continue_to_stop()
    assert (Path.cwd() / "x.x").exists()
    assert results(session)[11] == 0


class Debugger:
    """In control of a session, with the answers in hand that gdb would take from its files."""

    def __init__(self, session: Session) -> None:
        session.run("semihosting files=gdb")
        session.debug_target.attach(Client())
        self._session = session
        self._stops: queue.Queue[StopEvent] = queue.Queue()

    def resume(self) -> StopEvent:
        self._session.debug_target.resume(False, None, self._stops.put)
        return self._stops.get(timeout=PATIENCE)

    def answer(self, result: int, errno: int = 0, interrupted: bool = False) -> StopEvent:
        self._session.debug_target.answer(result, errno, interrupted, self._stops.put)
        return self._stops.get(timeout=PATIENCE)


def asked(stop: StopEvent) -> FileCall:
    """What the guest asks for."""
    assert isinstance(stop, HostCall)
    return stop.call


def test_ctrl_c_stops_behind_the_call(session: Session) -> None:
    """The call has failed with EINTR, and the guest goes on from there."""
    debugger = Debugger(session)
    place = session.machine.symbols
    opening = asked(debugger.resume())
    assert opening == FileCall("open", ((place["name"].address, 9), 0x602, 0o644))
    stop = debugger.answer(-1, 4, interrupted=True)
    assert isinstance(stop, Interrupted)
    assert session.machine.registers.pc == place["after_open"].address
    assert session.machine.registers["x0"] == FAILED
    stop = debugger.resume()
    assert results(session)[:2] == [FAILED, 12]
    assert asked(stop) == FileCall("rename", ((place["name"].address, 9), (place["other"].address, 10)))


def test_ctrl_c_between_the_calls_of_one_operation(session: Session) -> None:
    """A length takes three: those that are left are not made."""
    debugger = Debugger(session)
    debugger.resume()
    assert asked(debugger.answer(3)) == FileCall("write", (3, session.machine.symbols["text"].address, 12))
    assert asked(debugger.answer(12)) == FileCall("lseek", (3, 0, 1))
    assert isinstance(debugger.answer(12, interrupted=True), Interrupted)
    assert session.machine.registers["x0"] == FAILED
    assert asked(debugger.resume()) == FileCall("isatty", (3,))
    assert results(session)[1:3] == [0, FAILED]


def test_nonsense_for_an_answer(session: Session) -> None:
    """More than was asked for, and descriptors that are none."""
    debugger = Debugger(session)
    debugger.resume()
    assert asked(debugger.answer(3))
    assert asked(debugger.answer(1 << 62))
    assert results(session)[1] == 0
    assert asked(debugger.answer((1 << 63) - 1)) == FileCall("lseek", (3, 0, 2))


def test_a_debugger_that_leaves_has_failed_the_call(session: Session) -> None:
    debugger = Debugger(session)
    assert asked(debugger.resume())
    session.debug_target.detach()
    session.debug_target.kill()
    with pytest.raises(TargetError, match="no call"):
        session.debug_target.answer(0, 0, False, lambda event: None)
    session.debug_target.attach(Client())
    assert asked(debugger.resume())
    session.debug_target.detach()
    assert "exited with code 3" in session.run("continue")
    opened, written, *_ = results(session)
    assert [opened, written] == [FAILED, 12]
    assert results(session)[10] == 19


def test_one_call_moves_a_mebibyte_at_most(session: Session) -> None:
    """gdb would allocate whatever length it is given."""
    debugger = Debugger(session)
    place, memory = session.machine.symbols, session.machine.memory
    memory.write(place["handle"].address + 16, (3 << 20).to_bytes(8, "little"))
    debugger.resume()
    assert asked(debugger.answer(3)) == FileCall("write", (3, place["text"].address, 1 << 20))
    debugger.answer(1 << 20)
    assert results(session)[1] == 2 << 20
