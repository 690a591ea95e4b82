# SPDX-License-Identifier: GPL-2.0-or-later
"""Panics, oopses, BUGs and warnings of stock kernels: what is said of them is what the guest's own console says."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from armprobe import machine
from armprobe.commands import Session
from armprobe.guests import linux
from armprobe.machine import Machine, StopReason
from tests.memories import digest
from tests.oracle.references import AT_LENGTH, REFERENCES, fetch
from tests.progress import progress

pytestmark = pytest.mark.sample(of="files")

A_WHILE = 60_000_000
"""Instructions in which a kernel prints all that it has to say."""
DATA_ABORT = 0x25  # ESR_EL1.EC, from EL1
BLR_X1, MOV_X0 = 0xD63F_0020, 0xAA00_03E0  # mov x0, and a register << 16
SUB_UAF = 3  # enum refcount_saturation_type


@pytest.fixture(params=AT_LENGTH)
def snapshot(request: pytest.FixtureRequest) -> Path:
    return linux.prepare(fetch(REFERENCES[request.param]).vmlinuz, report=progress)


@pytest.fixture
def session(snapshot: Path) -> Iterator[Session]:
    with Session(snapshot) as session:
        yield session


def stopped(session: Session) -> str:
    """What is said when the kernel stops by itself."""
    answer = session.ask(f"continue instructions={A_WHILE}")
    assert answer.reason == "crash"
    return str(answer.text)


def printed(session: Session) -> str:
    """The console's text after that, without the times."""
    session.run("crashes none")
    session.run(f"continue instructions={A_WHILE}")
    text = session.machine.console.read().decode(errors="replace").replace("\r", "")
    return re.sub(r"^\[ *\d+\.\d+\] ", "", text, flags=re.MULTILINE)


def agrees(session: Session, said: str) -> str:
    """Compare it with the console: the task, and where; the message is compared by line, and returned."""
    console = printed(session)
    lines = [line for line in said.splitlines()[:-1] if not line.startswith(("bad address: ", "to go back: "))]
    *message, task, place = lines
    comm, pid = re.fullmatch(r"task: (.*) \(pid (\d+)\)", task).groups()  # type: ignore[union-attr]
    assert re.search(rf"^CPU: 0 (UID: 0 )?PID: {pid} Comm: {comm} ", console, re.MULTILINE)
    pc = re.match(r"pc: ([\w.]+)\+(0x[0-9a-f]+)", place)
    assert pc
    # The kernel names what follows the call of panic(), which is of the next function if the call is a function's end.
    assert message[0].startswith("Kernel panic") or re.search(rf"\b{pc[1]}\+", console.partition("Comm: ")[2])
    for line in message:
        assert line in console
    return "\n".join(message)


def at_vfs_read(session: Session) -> Machine:
    session.machine.console.write(b"cat /proc/version\n")
    session.run("continue until=vfs_read")
    return session.machine


def test_a_panic(session: Session) -> None:
    session.machine.console.write(b"echo c > /proc/sysrq-trigger\n")
    said = stopped(session)
    assert said.startswith("Kernel panic - not syncing: sysrq triggered crash\ntask: ")
    assert "\npc: sysrq_handle_crash+" in said
    assert session.exit_status == 1
    agrees(session, said)


def test_a_panic_again(session: Session) -> None:
    """After going back to before it, to within panic(), and to after it."""
    guest = session.machine
    session.run("snapshot before")
    guest.console.write(b"echo c > /proc/sysrq-trigger\n")
    said, position = stopped(session), guest.instructions
    session.run("snapshot there")
    for _ in range(2):
        session.run("restore before")
        guest.console.write(b"echo c > /proc/sysrq-trigger\n")
        session.run("continue until=panic")
        assert (stopped(session), guest.instructions) == (said, position)
        session.run("restore there")
        assert session.ask("continue instructions=1000").reason == "instructions"
    session.run("restore before")
    guest.console.write(b"echo c > /proc/sysrq-trigger\n")
    session.run("continue until=vscnprintf")
    session.run("restore before")
    session.run("crashes none")
    guest.console.write(b"echo c > /proc/sysrq-trigger\n")
    assert session.ask(f"continue instructions={A_WHILE}").reason == "instructions"


def test_a_null_pointer(session: Session) -> None:
    """vfs_read() of no file: the address is the offset of a member, and its base is a register that has 0."""
    at_vfs_read(session).registers.x[0] = 0
    said = stopped(session)
    register = bad_register(session, said)
    assert session.machine.registers[register] == 0
    instruction = session.machine.registers.pc
    session.run("step")
    assert session.machine.registers["elr_el1"] == instruction
    assert session.machine.registers["esr_el1"] >> 26 == DATA_ABORT
    session.run("goto end")
    message = agrees(session, said)
    assert re.match(r"Unable to handle kernel NULL pointer dereference at virtual address 0{12}", message)


def bad_register(session: Session, said: str) -> str:
    """The name of the register that is to blame. Does what is suggested, after which the guest is at the fault."""
    name = re.search(r"^bad address: from (x\d+) = ", said, re.MULTILINE)[1]  # type: ignore[index]
    position = re.search(rf"^to go back: goto (\d+): .*; last-write \${name} there: ", said, re.MULTILINE)
    assert position, said
    session.run(f"goto {position[1]}")
    assert f"{name} changed from " in session.run(f"last-write ${name}")
    return name


def test_a_branch_to_nowhere(session: Session) -> None:
    guest = at_vfs_read(session)
    text = guest.symbols["_stext"].address
    code = memoryview(guest.memory.read(text, 1 << 20)).cast("I").tolist()
    moves = {MOV_X0 | number << 16 for number in range(2, 29)}
    branch = next(i for i in range(1, len(code)) if code[i] == BLR_X1 and code[i - 1] in moves)
    guest.registers.pc, guest.registers.x[1] = text + 4 * (branch - 1), 0x8000
    said = stopped(session)
    assert bad_register(session, said) == "x1"
    assert guest.registers.pc == text + 4 * branch


def test_a_crash_is_saved_with_calls_that_kretprobes_waited_for(session: Session, tmp_path: Path) -> None:
    session.run("kretprobe vfs_write")
    session.run("kretprobe vfs_read")
    session.machine.console.write(b"echo c > /proc/sysrq-trigger\n")
    stopped(session)
    stack = session.run("backtrace")
    assert "\n#6" in stack
    session.run("unregister all")
    session.run(f"save {tmp_path / 'crash.armprobe'}")
    with Session(tmp_path / "crash.armprobe") as other:
        assert other.run("backtrace") == stack
        other.run("reverse-continue until $pc == sysrq_handle_crash")
        assert "vfs_write+" in other.run("backtrace")


def test_a_bug(session: Session) -> None:
    """usercopy_abort(name, detail, to_user, offset, size), which is what hardened usercopy calls: it ends in BUG()."""
    guest = at_vfs_read(session)
    for number, value in enumerate((0, 0, 1, 16, 8)):
        guest.registers.x[number] = value
    guest.registers.pc = guest.symbols["usercopy_abort"].address
    said = stopped(session)
    assert re.match(
        r"usercopy: Kernel memory exposure attempt detected from .* \(offset 16, size 8\)!\n"
        r"kernel BUG at mm/usercopy\.c:\d+!\nInternal error: Oops - BUG\n",
        said,
    )
    agrees(session, said)


def test_a_warning(session: Session) -> None:
    guest = at_vfs_read(session)
    there = guest.registers.pc
    before = {name: guest.registers[name] for name in (*(f"x{number}" for number in range(19)), "x30")}
    for name, value in {"x0": guest.registers.sp - 4096, "x1": SUB_UAF, "x30": there}.items():
        guest.registers[name] = value
    guest.registers.pc = guest.symbols["refcount_warn_saturate"].address
    said = stopped(session)
    assert re.match(
        r"WARNING at lib/refcount\.c:\d+\nrefcount_t: underflow; use-after-free\.\ntask: .*\npc: refcount_warn_", said
    )
    assert session.exit_status == 0
    session.run("continue until=vfs_read")
    for name, value in before.items():
        guest.registers[name] = value
    console = printed(session)
    place = re.escape(said.splitlines()[0].removeprefix("WARNING at "))
    assert re.search(rf"refcount_t: underflow; use-after-free\.\nWARNING: .*\b{place} ", console)
    assert "Linux version" in console, "the guest is none the worse for it"


def test_only_what_was_chosen(session: Session) -> None:
    session.run("crashes oopses")
    guest = at_vfs_read(session)
    guest.call("refcount_warn_saturate", guest.registers.sp - 4096, SUB_UAF)
    session.run("crashes none")
    guest.registers.x[0] = 0
    assert session.ask(f"continue instructions={A_WHILE}").reason == "instructions"


def test_the_run_is_the_same(session: Session, snapshot: Path) -> None:
    """With crashes watched, and nothing of that is among the probes."""
    other = machine.load(snapshot)

    def worked(guest: Machine) -> tuple[int, str, bytes]:
        guest.console.write(b"cat /proc/version; ls /proc | wc -l\n")
        assert guest.run(instructions=20_000_000).reason is StopReason.INSTRUCTIONS
        return guest.instructions, digest(guest.ram.data), guest.console.read()

    assert session.ask("probes") == ()
    assert worked(session.machine) == worked(other)
