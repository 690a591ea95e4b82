# SPDX-License-Identifier: GPL-2.0-or-later
"""The commands that keep states of the guest, in every front end."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from armprobe.commands import CommandError, Session
from armprobe.stub import serve
from tests.commands.test_authority import REFUSED, monitor  # tests have no import name to go by
from tests.stub.client import Client
from tests.waiting import PATIENCE, wait_until


@pytest.fixture
def demo() -> Iterator[Session]:
    with Session("demo", memory="4M") as session:
        session.run("continue until=workload_round")
        yield session


def place(session: Session) -> tuple[int, int, bytes]:
    machine = session.machine
    return machine.instructions, machine.registers.pc, bytes(machine.ram.data)


def test_there_and_back(demo: Session) -> None:
    assert demo.run("snapshots") == "there are no snapshots; snapshot NAME takes one\n"
    before, count = place(demo), demo.machine.instructions
    said = demo.run("snapshot before")
    assert said.startswith(f"snapshot before: workload_round, after {count:,} instructions, ")
    demo.run("continue instructions=100000")
    demo.run("snapshot 'a while later'")
    demo.run("continue instructions=100000")
    rows = demo.ask("snapshots")
    assert [(row.name, row.instructions) for row in rows] == [("before", count), ("a while later", count + 100_000)]
    assert demo.run("restore before").startswith(f"back at snapshot before: workload_round, after {count:,} ")
    assert place(demo) == before
    demo.run("restore 'a while later'")
    assert demo.machine.instructions == count + 100_000
    assert demo.run("snapshot before").endswith("instead of an older one\n")
    assert [row.name for row in demo.ask("snapshots delete=before")] == ["a while later"]
    with pytest.raises(CommandError, match=r"no snapshot 'before': there are a while later$"):
        demo.run("restore before")


def test_probes_stay(demo: Session) -> None:
    """Set before or after the snapshot was taken. Their counts go back with the guest: the same run gives the same."""
    demo.run("snapshot before")
    demo.run("kprobe kfree")
    demo.run("continue instructions=300000")
    (probe,) = demo.kprobes.list()
    hits = probe.hits
    assert hits
    demo.run("restore before")
    assert probe.hits == 0
    demo.run("continue instructions=300000")
    assert probe.hits == hits
    demo.run("reset")
    assert demo.machine.instructions == 0
    demo.run("continue until=workload_round")
    demo.run("continue instructions=300000")
    assert probe.hits == hits


def test_a_file_of_the_same_guest(demo: Session, tmp_path: Path) -> None:
    """Its state is in place, with the probes of this session; that of another guest is refused."""
    file = tmp_path / "saved.armprobe"
    demo.run(f"save {file}")
    saved = place(demo)
    demo.run("continue instructions=100000")
    assert demo.run(f"load {file}").startswith(f"back at {file}: workload_round, ")
    assert place(demo) == saved
    demo.run("snapshot there")
    demo.run("kprobe kfree")
    demo.run("continue instructions=300000")
    (probe,) = demo.kprobes.list()
    hits = probe.hits
    demo.run(f"load {file}")
    demo.run("continue instructions=300000")
    assert probe.hits == hits > 0
    with Session("demo", memory="8M") as other:
        before = place(other)
        with pytest.raises(CommandError, match="is of another guest"):
            other.run(f"load {file}")
        assert place(other) == before
    done = subprocess.run(
        [sys.executable, "-m", "armprobe", str(file), "--json", "-c", "info"], capture_output=True, check=True
    )
    assert json.loads(done.stdout)["value"]["instructions"] == saved[0]


def test_what_is_no_file_of_ours(demo: Session, tmp_path: Path) -> None:
    before = place(demo)
    (tmp_path / "text").write_text("nothing")
    for name, why in (("text", "is not a snapshot"), ("nowhere", "No such file")):
        with pytest.raises(CommandError, match=why):
            demo.run(f"load {tmp_path / name}")
    assert place(demo) == before


def test_by_a_debugger(demo: Session, tmp_path: Path) -> None:
    """It may do without this computer's files what it may do with the guest anyway."""
    with serve(demo, "127.0.0.1:0") as server, Client(server.address) as debugger:
        pc = demo.machine.registers.pc
        assert monitor(debugger, "snapshot here").startswith("snapshot here: ")
        debugger.ask(b"vCont;s")
        assert demo.machine.registers.pc != pc
        assert monitor(debugger, "restore here").startswith("back at snapshot here: ")
        assert bytes.fromhex(debugger.ask(b"p20").decode()) == pc.to_bytes(8, "little")
        assert REFUSED in monitor(debugger, f"load {tmp_path / 'x'}")


def test_not_under_a_running_guest(demo: Session) -> None:
    """A snapshot may be taken then; another state is not put in its place."""
    demo.machine.memory.write(demo.machine.registers.pc, 0x1400_0000.to_bytes(4, "little"))  # b .
    demo.run("snapshot before")
    running = threading.Thread(target=demo.run, args=("continue",))
    running.start()
    try:
        wait_until(lambda: demo.owner.running, "the guest runs")
        for line in ("restore before", "reset"):
            with pytest.raises(CommandError, match="the guest is running: interrupt it first"):
                demo.run(line)
        demo.run("snapshot meanwhile")
    finally:
        demo.interrupt()
        running.join(PATIENCE)
    now = demo.machine.instructions
    demo.run("restore meanwhile")
    assert demo.ask("snapshots")[0].instructions < demo.machine.instructions <= now
