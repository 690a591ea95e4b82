# SPDX-License-Identifier: GPL-2.0-or-later
"""All that the tables of docs/coming-from have in armprobe's column works, in the order of its page.

The second column has the code. Its heading says where it is typed: `armprobe` is the prompt of the guest in the comment
above the table, or a shell; `in gdb` is gdb on that guest.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from armprobe.clients import GdbSession
from armprobe.commands import Session
from armprobe.commands.cli.parser import parse
from tests.stock import stock_snapshot

PAGES = Path(__file__).parents[2] / "docs" / "coming-from"
# What commands say of hits that were to come and did not.
NOTHING = re.compile(r"nothing was counted|no hit is recorded|Hits: 0$|# enabled, 0 hits", re.MULTILINE)


@dataclass
class Table:
    page: str
    guest: str
    place: str
    commands: list[str] = field(default_factory=list)


def tables(page: Path) -> Iterator[Table]:
    """The tables of a page, shell's lines by themselves as one of the place `shell`."""
    found: list[Table] = []
    shell = Table(page.name, "", "shell")
    guest, inside = "", False
    for line in page.read_text().splitlines():
        if named := re.fullmatch(r"<!-- guest: (\w+) -->", line):
            guest = named[1]
        if not line.startswith("|"):
            inside = False
            continue
        cell = line.strip("|").split("|")[1].strip()
        if not inside:
            found.append(Table(page.name, guest, cell))
        inside = True
        for code in re.findall("`([^`]+)`", cell):
            (shell if code.startswith("armprobe ") else found[-1]).commands.append(code)
    yield from (table for table in (*found, shell) if table.commands)


ALL = [table for page in sorted(PAGES.glob("*.md")) for table in tables(page)]


def of(place: str) -> pytest.MarkDecorator:
    those = [table for table in ALL if table.place == place]
    return pytest.mark.parametrize("table", those, ids=[f"{table.page} {table.guest}" for table in those])


def test_every_page_has_a_table_and_every_table_a_place() -> None:
    assert {table.page for table in ALL} | {"index.md"} == {page.name for page in PAGES.glob("*.md")}
    assert {table.place for table in ALL} == {"armprobe", "in gdb", "shell"}
    assert sum(len(table.commands) for table in ALL) > 90


@of("armprobe")
@pytest.mark.sample
def test_at_the_prompt(table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if table.guest == "linux":
        stock_snapshot()
    monkeypatch.chdir(tmp_path)  # some write files
    with Session(table.guest) as session:
        for command in table.commands:
            text = session.run(command)
            assert text.strip(), command
            assert not NOTHING.search(text), f"{command}: {text}"


@of("in gdb")
def test_in_gdb(table: Table, gdb_path: str) -> None:
    with Session(table.guest) as session, GdbSession(session, gdb=gdb_path) as gdb:
        for command in table.commands:
            gdb.execute(command)


@of("shell")
def test_in_a_shell(table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("vmlinuz", "initrd.gz"):
        (tmp_path / name).touch()
    for command in table.commands:
        parse(command.split()[1:])
