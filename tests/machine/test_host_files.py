# SPDX-License-Identifier: GPL-2.0-or-later
"""What is done with the host's files: open(2), rename(2) and stat(2) say what happened to them."""

import os
import resource
import secrets
import socket
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest

from armprobe.machine import MachineError, host_files

MAGIC = b"ours\n"
Check = Callable[[BinaryIO], bool]


def is_ours(file: BinaryIO) -> bool:
    return file.read(len(MAGIC)) == MAGIC


def write(path: Path, data: bytes = MAGIC, *, force: bool = False) -> None:
    with host_files.new_file(path, is_ours, force=force) as file:
        file.write(data)


def fifo(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")  # to make a device takes a privilege


def unix_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


def folder(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize(
    ("make", "kind"),
    [(fifo, "a pipe"), (device, "a character device"), (unix_socket, "a socket"), (folder, "a folder")],
)
def test_only_regular_files_are_read(tmp_path: Path, make: Callable[[Path], None], kind: str) -> None:
    make(tmp_path / "odd")
    with pytest.raises(MachineError, match=f"cannot read .*/odd: it is {kind}, not a regular file"):
        host_files.read_file(tmp_path / "odd", 1000)


def test_a_file_that_becomes_a_pipe_does_not_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look at it and its opening."""
    (tmp_path / "file").write_bytes(b"x")
    regular = os.stat(tmp_path / "file")
    (tmp_path / "file").unlink()
    os.mkfifo(tmp_path / "file")
    monkeypatch.setattr(os, "stat", lambda path: regular)
    with pytest.raises(MachineError, match="it is a pipe"):
        host_files.open_regular(tmp_path / "file")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("", "the name of the file is empty"),
        ("a\0b", r"'a\\x00b' is no file name"),
        ("\ud800", r"'\\ud800' is no file name"),
        ("/none/file", "cannot .* /none/file: (No such file or directory|there is no folder /none)"),
        ("x" * 5000, "cannot .* x{100}[.]{3}x{100}: File name too long"),
        ("/none/\udcff\x1b]0;t\x07", r"cannot .* '/none/\\udcff\\x1b\]0;t\\x07': (No such|there is no)"),
    ],
)
def test_names_that_are_odd_get_one_harmless_sentence(path: str, words: str) -> None:
    for attempt in (lambda: host_files.read_file(path, 1), lambda: write(path)):  # type: ignore[arg-type]
        with pytest.raises(MachineError, match=words) as raised:
            attempt()
        assert str(raised.value).isprintable()


@pytest.mark.parametrize("path", ["/", ".", "..", "folder/"])
def test_folders_are_not_written(path: str) -> None:
    with pytest.raises(MachineError, match="it is the name of a folder"):
        write(path)  # type: ignore[arg-type]


def test_what_is_too_large_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(MachineError, match="it has 1,099,511,627,776 bytes, and 1,000 are the limit"):
        host_files.read_file(tmp_path / "sparse", 1000)
    # The kernel says that this one has no bytes at all.
    with pytest.raises(MachineError, match="10 are the limit"):
        host_files.read_file("/proc/self/maps", 10)


def test_text(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"\xef\xbb\xbfh\xc3\xa9\n")  # as Windows' Notepad writes it
    assert host_files.read_text(tmp_path / "text", 100) == "h\u00e9\n"
    (tmp_path / "text").write_bytes(b"\xff")
    with pytest.raises(MachineError, match="it is not text in UTF-8"):
        host_files.read_text(tmp_path / "text", 100)


def test_a_new_file_has_the_mode_of_any_new_file(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write(tmp_path / "new")
    finally:
        os.umask(before)
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o640
    assert [file.name for file in tmp_path.iterdir()] == ["new"]


def test_what_is_not_ours_is_replaced_only_on_request(tmp_path: Path) -> None:
    path = tmp_path / "document"
    path.write_bytes(b"text")
    with pytest.raises(MachineError, match="a file of that name is there, which armprobe has not made"):
        write(path)
    assert path.read_bytes() == b"text"
    write(path, force=True)
    write(path, MAGIC + b"again")
    assert path.read_bytes() == MAGIC + b"again"
    path.write_bytes(b"")  # mktemp(1)
    write(path)
    assert path.read_bytes() == MAGIC


@pytest.mark.parametrize(("make", "kind"), [(fifo, "a pipe"), (unix_socket, "a socket"), (folder, "a folder")])
def test_what_is_no_file_is_never_replaced(tmp_path: Path, make: Callable[[Path], None], kind: str) -> None:
    make(tmp_path / "odd")
    before = (tmp_path / "odd").stat()
    with pytest.raises(MachineError, match=f"it is {kind}, not a regular file"):
        write(tmp_path / "odd", force=True)
    assert (tmp_path / "odd").stat() == before


def test_links_are_neither_followed_nor_replaced(tmp_path: Path) -> None:
    (tmp_path / "victim").write_bytes(MAGIC)
    (tmp_path / "link").symlink_to("victim")
    with pytest.raises(MachineError, match="it is a symbolic link"):
        write(tmp_path / "link", b"new", force=True)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "victim").read_bytes() == MAGIC


def test_the_temporary_file_is_no_file_of_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of its name, should somebody guess it, is neither followed nor written: O_EXCL, open(2)."""
    monkeypatch.setattr(secrets, "token_hex", lambda size: "guessed")
    (tmp_path / ".armprobe-guessed").symlink_to(tmp_path / "victim")
    with pytest.raises(MachineError, match="File exists"):
        write(tmp_path / "new")
    assert not (tmp_path / "victim").exists()
    assert (tmp_path / ".armprobe-guessed").is_symlink()


def test_what_comes_in_between_is_not_lost(tmp_path: Path) -> None:
    writing = host_files.new_file(tmp_path / "new", is_ours)
    writing.__enter__().write(MAGIC)
    (tmp_path / "new").write_bytes(b"text")
    with pytest.raises(MachineError, match="a file of that name is there"):
        writing.__exit__(None, None, None)
    assert (tmp_path / "new").read_bytes() == b"text"
    assert [found.name for found in tmp_path.iterdir()] == ["new"]


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    write(tmp_path / "file", MAGIC + b"old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(MachineError, match=r"cannot write .*/file: File too large"):
            write(tmp_path / "file", bytes(200_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    with pytest.raises(KeyboardInterrupt), host_files.new_file(tmp_path / "file", is_ours):
        raise KeyboardInterrupt
    assert (tmp_path / "file").read_bytes() == MAGIC + b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["file"]
