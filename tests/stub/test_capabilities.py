# SPDX-License-Identifier: GPL-2.0-or-later
"""What is served follows from what the target has: nothing more is answered, and nothing less."""

from collections.abc import Iterator

import pytest

from armprobe.clients import GdbError, GdbSession
from armprobe.stub import ExecFile, serve
from tests.stub.client import Client
from tests.stub.fake import FakeTarget
from tests.stub.tiny import BASE, CODE, TinyTarget


@pytest.fixture
def gdb(gdb_path: str) -> Iterator[GdbSession]:
    with GdbSession(TinyTarget(), gdb=gdb_path) as gdb:
        yield gdb


def test_a_gdb_on_the_smallest_target(gdb: GdbSession) -> None:
    assert gdb.register("pc") == BASE
    assert gdb.read_memory(BASE, len(CODE)) == CODE
    assert [gdb.step().pc for _ in range(3)] == [BASE + 4, BASE, BASE + 4]
    assert gdb.register("x0") == 2
    gdb.execute("set $x0 = 40")
    gdb.step()
    gdb.step()
    assert gdb.register("x0") == 41
    gdb.execute(f"set *(unsigned *) {BASE + 4:#x} = 0x11223344")
    assert gdb.read_memory(BASE + 4, 4) == bytes.fromhex("44332211")
    with pytest.raises(GdbError, match="Cannot access memory"):
        gdb.execute("x/x 0")
    gdb.cont()
    assert gdb.interrupt().signal == "SIGINT"


@pytest.mark.parametrize(
    ("command", "refusal"),
    [
        ("monitor info", "Target does not support this command"),
        ("run", 'The "remote" target does not support "run"'),
        ("kill", "Can't kill process"),
    ],
)
def test_gdb_says_what_the_smallest_target_lacks(gdb: GdbSession, command: str, refusal: str) -> None:
    with pytest.raises(GdbError, match=refusal):
        gdb.execute(command)
    assert gdb.step().pc == BASE + 4


def test_gdb_inserts_no_hardware_breakpoint_where_there_are_none(gdb: GdbSession) -> None:
    gdb.execute(f"hbreak *{BASE + 4:#x}")
    with pytest.raises(GdbError, match="Could not insert hardware breakpoints"):
        gdb.continue_to_stop()
    gdb.execute("delete")
    assert gdb.step().pc == BASE + 4


def supported(client: Client) -> set[bytes]:
    return set(client.ask(b"qSupported:multiprocess+;qRelocInsn+").split(b";"))


def test_what_the_smallest_target_supports() -> None:
    """Packets that GDB's manual requires of every stub ("Overview" of the remote protocol), and ones that need no
    more than those do."""
    with serve(TinyTarget(), "127.0.0.1:0") as server, Client(server.address) as client:
        assert supported(client) == {
            *(b"PacketSize=20000", b"QStartNoAckMode+", b"binary-upload+", b"vContSupported+", b"multiprocess+"),
            *(b"qXfer:features:read+", b"qXfer:threads:read+"),
        }


def test_the_packet_that_tells_a_computer_from_a_process() -> None:
    """pwndbg and GEF look for "ENABLE=" (is_qemu). QEMU's bit is 1 too (SSTEP_ENABLE, include/hw/core/cpu.h)."""
    with serve(TinyTarget(), "127.0.0.1:0") as server, Client(server.address) as client:
        assert client.ask(b"Qqemu.sstepbits") == b"ENABLE=1"
        assert client.ask(b"qOffsets") == b"", "whose answer would mean a process"


def test_a_question_without_features_takes_none_back() -> None:
    """As pwndbg asks in a gdb that has said what it can (exec_file_supported)."""
    with serve(TinyTarget(), "127.0.0.1:0") as server, Client(server.address) as client:
        supported(client)
        current = client.ask(b"qC")
        assert current == b"QCp1.1", "with the process, as multiprocess+ has it (GDB manual, thread-id syntax)"
        assert client.ask(b"qSupported").startswith(b"PacketSize=")
        assert client.ask(b"qC") == current


class Without(TinyTarget):
    """A target that has all capabilities but those that `members` are of."""

    def __init__(self, *members: str) -> None:
        super().__init__()
        self._whole = FakeTarget()
        self._whole.program = ExecFile("/x.elf", lambda: open("/dev/null", "rb"))  # noqa: SIM115
        self._members = members

    def __getattr__(self, name: str) -> object:
        if name.startswith("__") or name in self._members:
            raise AttributeError(name)
        return getattr(self._whole, name)


# What a target loses with a capability: the packets, and the words of the reply to qSupported.
CAPABILITIES = {
    "insert_breakpoint": (
        [b"Z0,40000000,4", b"Z1,40000000,4", b"z0,40000000,4"],
        b"swbreak+ hwbreak+ ConditionalBreakpoints+ BreakpointCommands+",
    ),
    "insert_conditional_breakpoint": ([], b"ConditionalBreakpoints+ BreakpointCommands+"),
    "insert_watchpoint": ([b"Z2,40000000,4", b"Z3,40000000,4", b"Z4,40000000,4", b"z2,40000000,4"], b""),
    "trace": (
        [b"qTStatus", b"QTinit", b"qTfV", b"QTFrame:0", b"QTBuffer:circular:0"],
        b"ConditionalTracepoints+ TracepointSource+ EnableDisableTracepoints+ FastTracepoints+ InstallInTrace+ tracenz+"
        b" DisconnectedTracing+ QTBuffer:size+ qXfer:traceframe-info:read+",
    ),
    "restart": ([b"vRun;", b"vKill;1"], b""),
    "command": ([b"qRcmd,zz", b"QArmprobe.MonitorErrors", b"qArmprobe.commands"], b""),
    "command_table": ([b"qArmprobe.commands", b"qArmprobe.stop"], b""),
    "exec_file": ([b"vFile:setfs:0", b"qXfer:exec-file:read::0,100"], b"qXfer:exec-file:read+"),
    "libraries": ([b"qXfer:libraries-svr4:read::0,100"], b"qXfer:libraries-svr4:read+"),
    "memory_size": ([b"qMemoryRegionInfo:0", b"qXfer:memory-map:read::0,100"], b"qXfer:memory-map:read+"),
    "answer": ([b"F0"], b""),
    "resume_backwards": ([b"bs", b"bc"], b"ReverseStep+ ReverseContinue+"),
}


@pytest.mark.parametrize("member", CAPABILITIES)
def test_a_capability_that_is_absent(member: str) -> None:
    packets, words = CAPABILITIES[member]
    with serve(Without(), "127.0.0.1:0") as server, Client(server.address) as client:
        whole = supported(client)
        assert b"" not in [client.ask(packet) for packet in packets if not packet.startswith(b"vKill")]
    with serve(Without(member), "127.0.0.1:0") as server, Client(server.address) as client:
        assert supported(client) == whole - set(words.split())
        assert [client.ask(packet) for packet in packets] == [b""] * len(packets)


def test_a_condition_where_breakpoints_take_none() -> None:
    with serve(Without("insert_conditional_breakpoint"), "127.0.0.1:0") as server, Client(server.address) as client:
        assert client.ask(b"Z0,40000000,4;X3,220127") == b"E01"
        assert client.ask(b"Z0,40000000,4") == b"OK"
