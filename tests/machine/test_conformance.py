# SPDX-License-Identifier: GPL-2.0-or-later
"""The machine beside the architecture: each case of the conformance guests reports what the Arm ARM says.

Where QEMU is installed the same is asked of it: an expectation that it does not meet needs a reason.
"""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from armprobe import machine
from tests.machine.conformance import guests  # tests have no import name to go by


def told(report: guests.Report, guest: str) -> guests.Report:
    """Of a report, what something is expected of."""
    return {
        case.name: {key: report.get(case.name, {}).get(key, -1) for key in case.expected}
        for case in guests.cases(guest)
    }


@pytest.mark.parametrize("guest", guests.NAMES)
def test_here(guest: str) -> None:
    report = guests.run_here(guest)
    assert told(report, guest) == {case.name: case.expected for case in guests.cases(guest)}
    assert len(report) == len(guests.cases(guest))


@pytest.mark.parametrize("guest", guests.NAMES)
def test_here_in_pieces(guest: str, tmp_path: Path) -> None:
    """With a snapshot in memory at many places, and one in a file, gone on from after more has been executed."""
    loaded = machine.load(guests.elf(guest), memory="16M")
    printed, saved, pieces = b"", False, 0
    while not loaded.ended:
        place = loaded.snapshot()
        loaded.run(instructions=1500)
        loaded.restore(place)
        loaded.console.read()
        loaded.run(instructions=1009)
        printed += loaded.console.read()
        pieces += 1
        if pieces == 5 and not loaded.ended:
            loaded.save(tmp_path / "snapshot")
            loaded = machine.load(tmp_path / "snapshot")
            saved = True
    assert saved
    assert guests.parse_report(printed.decode()) == guests.run_here(guest)


@pytest.mark.parametrize("guest", guests.NAMES)
def test_qemu(guest: str, tool: Callable[[str, str], str]) -> None:
    report = told(guests.run_in_qemu(tool("qemu-system-aarch64", "qemu-system-arm"), guest), guest)
    unexplained = {
        case.name: report[case.name]
        for case in guests.cases(guest)
        if report[case.name] != case.expected and not case.qemu_differs
    }
    assert unexplained == {}


@pytest.mark.parametrize("guest", guests.NAMES)
def test_what_is_committed_is_what_is_built(guest: str, tmp_path: Path, tool: Callable[[str, str], str]) -> None:
    """But for the linker's version, which nothing of the guest depends on."""
    assembler = tool("aarch64-linux-gnu-as", "binutils-aarch64-linux-gnu")
    linker = tool("aarch64-linux-gnu-ld", "binutils-aarch64-linux-gnu")
    objects, elf = tmp_path / "guest.o", tmp_path / "guest.elf"
    source = guests.HERE / f"{guest}.S"
    subprocess.run([assembler, "-o", objects, source], cwd=guests.HERE, check=True)
    subprocess.run([linker, "--no-warn-rwx-segments", "-N", "-Ttext", "0x40000000", "-o", elf, objects], check=True)
    assert loaded(elf) == loaded(guests.elf(guest))


def loaded(path: Path) -> list[bytes]:
    with path.open("rb") as file:
        return [segment.data() for segment in ELFFile(file).iter_segments("PT_LOAD")]


def test_the_page_says_what_is_expected() -> None:
    page = (Path(__file__).parents[2] / "docs/conformance.md").read_text()
    for guest in guests.NAMES:
        for case in guests.cases(guest):
            assert f"| `{case.name}` | {case.text} | {case.source} |" in page
