# SPDX-License-Identifier: GPL-2.0-or-later
"""`info mem` in the format of QEMU's monitor, which pwndbg and GEF parse."""

import re
from collections.abc import Iterator

import pytest
from elftools.elf.elffile import ELFFile

from armprobe.commands import CommandError, Session
from armprobe.machine.loaders import DEMO
from armprobe.machine.memory import regions


@pytest.fixture
def session() -> Iterator[Session]:
    with Session("demo", memory="16M") as session:
        yield session


# QEMU, target/i386/monitor.c, mem_print: TARGET_FMT_plx "-" TARGET_FMT_plx " " TARGET_FMT_plx " %c%c%c\n", the
# characters being u or -, r, and w or -. pwndbg (vmmap.py) takes the line apart at the first "-", the first and the
# last blank, and for "x" in an access of four characters; GEF (Permission.from_monitor_info_mem) looks for r and w in
# the second and third.
LINE = re.compile(r"([0-9a-f]{16})-([0-9a-f]{16}) ([0-9a-f]{16}) ([u-])(r)([w-])([x-])")


def test_the_segments_of_the_demo_kernel(session: Session) -> None:
    session.run("continue until=workload_round")
    matches = [LINE.fullmatch(line) for line in session.run("info mem").splitlines()]
    rows = [match.groups() for match in matches if match]
    assert len(rows) == len(matches)
    listed = [(int(start, 16), int(end, 16), int(size, 16), "".join(access)) for start, end, size, *access in rows]
    assert all(end - start == size > 0 for start, end, size, _ in listed)
    assert listed == sorted(listed)
    with DEMO.open("rb") as file:
        segments = [segment.header for segment in ELFFile(file).iter_segments() if segment["p_type"] == "PT_LOAD"]
    assert len(segments) == 4
    for segment in segments:
        (access,) = [access for start, end, _, access in listed if start <= segment.p_vaddr < end]
        user = "u" if segment.p_vaddr < 1 << 63 else "-"  # guests/demo/README.md: its task has the lower half
        assert access == f"{user}r{'w' if segment.p_flags & 2 else '-'}{'x' if segment.p_flags & 1 else '-'}"
    assert not [start for start, end, _, _ in listed if start <= 0 < end]


def test_before_the_mmu_is_on(session: Session) -> None:
    """QEMU, hmp_info_mem."""
    assert session.run("info mem") == "PG disabled\n"


def test_a_guest_that_maps_too_much(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    session.run("continue until=workload_round")
    monkeypatch.setattr(regions, "_MOST_MAPPED", 3)
    said: list[str] = []
    with pytest.raises(CommandError, match=r"^that is not all: the guest maps more than 3 regions$"):
        session.execute("info mem", said.append)
    assert all(LINE.fullmatch(line) for line in "".join(said).splitlines())
