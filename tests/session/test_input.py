# SPDX-License-Identifier: GPL-2.0-or-later
"""What debuggers and commands change in the guest enters through the machine's gate, each change once."""

from collections import Counter
from collections.abc import Iterator

import pytest

from armprobe.commands import Session
from armprobe.machine.input import Input, InputKind
from armprobe.stub import serve
from tests.stub.client import Client, framed

HIGH = 0xFFFF_8000_0000_0000
REGISTER, MEMORY = InputKind.REGISTER, InputKind.MEMORY


@pytest.fixture
def session() -> Iterator[Session]:
    with Session("demo", memory="16M") as session:
        session.machine.run(until="workload_round")
        yield session


@pytest.fixture
def heard(session: Session) -> list[Input]:
    heard: list[Input] = []
    session.machine.input.listeners.append(heard.append)
    return heard


@pytest.fixture
def debugger(session: Session) -> Iterator[Client]:
    with serve(session, "127.0.0.1:0") as server, Client(server.address) as client:
        client.ask(b"qSupported:swbreak+")
        yield client


def hexadecimal(value: int) -> bytes:
    return value.to_bytes(8, "little").hex().encode()


def test_a_register(session: Session, heard: list[Input], debugger: Client) -> None:
    """P n...=r... (GDB manual, "Packets"); number 3 is x3 in the description of the core registers."""
    assert debugger.ask(b"P3=" + hexadecimal(0x1234)) == b"OK"
    assert [(each.kind, each.where, each.value) for each in heard] == [(REGISTER, "x3", 0x1234)]
    assert session.machine.registers.x[3] == 0x1234


def test_all_registers(session: Session, heard: list[Input], debugger: Client) -> None:
    """Two of them are changed; none is announced twice, and the guest has no other change."""
    before = [session.machine.registers.x[number] for number in range(31)]
    data = debugger.ask(b"g")
    changed = hexadecimal(1) + hexadecimal(2) + data[32:]
    assert debugger.ask(b"G" + changed) == b"OK"
    counts = Counter((each.kind, each.where) for each in heard)
    assert counts[REGISTER, "x0"] == counts[REGISTER, "x1"] == 1
    assert set(counts.values()) == {1}
    values = {each.where: each.value for each in heard}
    assert (values["x0"], values["x1"]) == (1, 2)
    after = [session.machine.registers.x[number] for number in range(31)]
    assert after == [values.get(f"x{number}", value) for number, value in enumerate(before)]


@pytest.mark.parametrize("packet", [b"M%x,3:616263", b"X%x,3:abc"])
def test_memory(session: Session, heard: list[Input], debugger: Client, packet: bytes) -> None:
    address = session.machine.registers.sp - 64
    assert debugger.ask(packet % address) == b"OK"
    assert [(each.kind, each.where, each.value) for each in heard] == [(MEMORY, address, b"abc")]


def test_breakpoints_steps_and_reads_are_no_input(session: Session, heard: list[Input], debugger: Client) -> None:
    kfree = session.machine.symbols["kfree"].address
    assert debugger.ask(b"Z0,%x,4" % kfree) == b"OK"
    assert debugger.ask(b"c")[:1] == b"T"
    assert debugger.ask(b"s")[:1] == b"T"
    assert debugger.ask(b"m%x,20" % kfree)
    assert debugger.ask(b"z0,%x,4" % kfree) == b"OK"
    assert heard == []


def test_a_restart(session: Session, heard: list[Input], debugger: Client) -> None:
    assert debugger.ask(b"!") == b"OK"
    debugger.send(framed(b"R00"))  # has no reply but the acknowledgment
    assert debugger.byte() == b"+"
    assert debugger.ask(b"?")[:1] in b"TS"
    assert [(each.position, each.kind, each.where) for each in heard] == [(0, InputKind.STATE, "reset")]


def test_commands(session: Session, heard: list[Input]) -> None:
    strlen, sp = session.machine.symbols["strlen"].address, session.machine.registers.sp
    session.run(f"call strlen {sp:#x}")
    assert [(each.kind, each.where, each.value) for each in heard] == [(InputKind.CALL, strlen, (sp,))]
    heard.clear()
    session.run("console hello")
    assert [(each.kind, each.value) for each in heard] == [(InputKind.CONSOLE, b"hello\n")]
    heard.clear()
    for line in ("kprobe kfree", "kretprobe kmalloc", "continue instructions=100000", "probes", "info", "step 3"):
        session.run(line)
    session.run("unregister all")
    assert heard == []
