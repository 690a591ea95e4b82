# SPDX-License-Identifier: GPL-2.0-or-later
"""The user's cache of symbol files: what is in it is taken only for the same guest, and only as it was written."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from armprobe.machine import Machine
from armprobe.machine.loaders import read_guest
from armprobe.session import symbol_cache
from armprobe.session.symbol_cache import SymbolFile
from armprobe.session.symbol_file import SymbolSources, symbol_file

GUEST = replace(read_guest("demo"), dwarf=None)


def started() -> Machine:
    """A guest without types, which is known once its MMU is on."""
    machine = Machine(GUEST)
    machine.run(until="kfree")
    return machine


STARTED = started()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "armprobe/symbols"


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[SymbolSources]:
    """What files were made of, rather than read."""
    sources: list[SymbolSources] = []

    def make(of: SymbolSources, warn: Callable[[str], None]) -> bytes:
        sources.append(of)
        return symbol_file(of, warn)

    monkeypatch.setattr(symbol_cache, "symbol_file", make)
    return sources


def read(guest: Machine | None = None) -> bytes:
    """A new process's file for a guest."""
    of = guest or STARTED
    return SymbolFile(of, lambda: SymbolSources.of(of)).read()


def test_a_second_process_reads_it(folder: Path, made: list[SymbolSources]) -> None:
    content = read()
    assert content == symbol_file(SymbolSources.of(STARTED))
    assert read() == content
    assert len(made) == 1
    (file,) = folder.iterdir()
    assert file.read_bytes()[:-32] == content


def test_it_is_opened_where_it_is(folder: Path) -> None:
    """By a process that makes it, and by one that finds it."""
    for _ in range(2):
        made = SymbolFile(STARTED, lambda: SymbolSources.of(STARTED))
        assert made.path is None
        with made.open() as file:
            assert made.path is not None
            assert os.path.samestat(os.fstat(file.fileno()), os.stat(made.path))
            assert file.read()[:-32] == made.read()
        made.path.unlink()
        with made.open() as file:
            assert file.read() == made.read()
    folder.rmdir()
    folder.touch()
    made = SymbolFile(STARTED, lambda: SymbolSources.of(STARTED))
    assert made.open().read() == made.read()
    assert made.path is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file.write_bytes(b""),
        lambda file: file.write_bytes(file.read_bytes()[:-1]),
        lambda file: file.write_bytes(file.read_bytes()[:100]),
        lambda file: file.write_bytes(b"\x7fELF" + bytes(1000)),
        lambda file: file.write_bytes(file.read_bytes()[:500] + b"\xff" + file.read_bytes()[501:]),
        lambda file: os.truncate(file, 1 << 40),  # a sparse file of a terabyte
    ],
    ids=["empty", "cut short", "its start", "another", "a byte", "large"],
)
@pytest.mark.sample
def test_a_damaged_file_is_made_anew(folder: Path, made: list[SymbolSources], damage: Callable[[Path], object]) -> None:
    content = read()
    (file,) = folder.iterdir()
    written = file.read_bytes()
    damage(file)
    assert read() == content
    assert len(made) == 2
    assert file.read_bytes() == written


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_what_is_no_file_is_left_alone(folder: Path, made: list[SymbolSources], make: Callable[[Path], object]) -> None:
    content = read()
    (file,) = folder.iterdir()
    file.unlink()
    make(file)
    assert read() == content
    assert len(made) == 2
    assert list(folder.iterdir()) == [file]
    assert file.is_symlink() or not file.is_file()


def test_without_a_folder_to_write_to(tmp_path: Path, folder: Path, made: list[SymbolSources]) -> None:
    folder.parent.write_text("a file where the folder would be")
    assert read() == read()
    assert len(made) == 2


def test_another_guest_has_another_file(folder: Path, made: list[SymbolSources]) -> None:
    """Also one with the same symbols: one instruction is another."""
    other = started()
    other.guest = replace(GUEST, segments=())  # so that its code is read from memory
    assert read(other) == read(other)
    at = other.symbols["kfree"].address
    other.memory.write(at, bytes(4))
    read(other)
    assert len(made) == 2
    assert len(list(folder.iterdir())) == 2


def test_other_code_makes_another_file(
    folder: Path, made: list[SymbolSources], monkeypatch: pytest.MonkeyPatch
) -> None:
    read()
    monkeypatch.setattr(symbol_cache, "_makers", lambda: b"a later version's")
    read()
    assert len(made) == len(list(folder.iterdir())) == 2


@pytest.mark.parametrize("later", ["no files", "other files"])
def test_an_upgrade_leaves_the_cache_to_later_processes(
    folder: Path, made: list[SymbolSources], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, later: str
) -> None:
    """What this process makes is not made by the code that is there now."""
    root = tmp_path / "installed"
    if later == "other files":
        for name in "session/symbol_file.py", "kernel/types.py":
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text("# of the next version")
    monkeypatch.setattr(symbol_cache, "_ROOT", root)
    symbol_cache._makers.cache_clear()
    try:
        file = SymbolFile(STARTED, lambda: SymbolSources.of(STARTED))
        content = file.read()
        assert file.read() == content == symbol_file(SymbolSources.of(STARTED))
    finally:
        symbol_cache._makers.cache_clear()
    assert file.path is None
    assert not folder.exists()
    assert len(made) == 1


def test_the_oldest_are_deleted(folder: Path) -> None:
    folder.mkdir(parents=True)
    for age in range(40):
        (folder / f"{age}.elf").touch()
        os.utime(folder / f"{age}.elf", (1e9 - age, 1e9 - age))
    read()
    names = {file.name for file in folder.iterdir()}
    assert len(names) == 16
    assert {f"{age}.elf" for age in range(15)} < names
