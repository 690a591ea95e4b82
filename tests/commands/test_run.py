# SPDX-License-Identifier: GPL-2.0-or-later
"""The commands that run the guest, on the demo guest, and what they refuse."""

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from armprobe.commands import CommandError, Session, cli


@pytest.fixture
def demo() -> Iterator[Session]:
    with Session("demo") as session:
        session.run("continue until=workload_round")
        yield session


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("0x0", "0x0 cannot be called: the guest maps nothing there"),
        ("workload", "workload cannot be called: the guest has it mapped as data"),
        ("kfree+2", r"kfree\+0x2 cannot be called: the address of an instruction is a multiple of 4"),
    ],
)
def test_calls_of_what_is_no_function(demo: Session, address: str, why: str) -> None:
    """The guest is none the worse for it."""
    before = list(demo.machine.registers.x), demo.machine.registers.pc
    with pytest.raises(CommandError, match=f"^{why}$"):
        demo.run(f"call {address}")
    assert (list(demo.machine.registers.x), demo.machine.registers.pc) == before
    assert not demo.machine.ended
    assert "workload_round" in demo.run("continue until=workload_round")


def test_calls_of_what_is_no_memory() -> None:
    """The MMU is off."""
    with Session("demo") as demo, pytest.raises(CommandError, match=r"^0x9000000 cannot be called: there is no memory"):
        demo.run("call 0x9000000")


def test_a_stop_where_nothing_has_a_name_says_its_address_once() -> None:
    with Session("demo") as demo:
        said = demo.run("run instructions=1000")
        assert said == f"stopped as asked at {demo.machine.registers.pc:#x}\n"
        assert demo.status() == f"demo  {said}".rstrip()


def test_a_count_ends_with_a_guest_that_waits() -> None:
    """Nothing wakes it, and it has no answer to what is typed."""
    with Session("demo") as demo:
        guest = demo.machine
        guest.memory.write(0x4000_1000, struct.pack("<2I", 0xD503_207F, 0x17FF_FFFF))  # 1: wfi; b 1b
        guest.registers.pc = 0x4000_1000
        for _ in range(2):
            assert demo.run("continue instructions=1000").startswith("the guest waits for an interrupt that nothing")
        assert demo.run("console hello") == "\n"


def test_save_makes_no_folders(demo: Session, tmp_path: Path) -> None:
    path = tmp_path / "no" / "such" / "file"
    with pytest.raises(CommandError, match=f"there is no folder {path.parent}"):
        demo.run(f"save {path}")
    assert not list(tmp_path.iterdir())


def test_a_snapshot_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a snapshot")
    assert cli.main(["--listen", "none", "--snapshot", str(path), "-c", "info"]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"armprobe: {path} is not a snapshot: ")
    assert said.count("\n") == 1
    assert cli.main(["--listen", "none", "--snapshot", str(tmp_path / "absent"), "-c", "info"]) == 1
    assert "No such file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        (b"~ # \x1b[6n", "~ # "),
        (b"\x1b[1;34mbin\x1b[0m  \x1b[?25hinit\n", "bin  init\n"),
        (b"\x1b[6n", "(the guest has printed nothing since)\n"),
        (b"no [6n sequence\n", "no [6n sequence\n"),
    ],
)
def test_what_a_guest_tells_its_terminal_is_not_shown(demo: Session, sent: bytes, shown: str) -> None:
    demo.machine.console.read()
    for byte in sent:
        demo.machine.console.transmitted(byte)
    assert demo.run("console") == shown
