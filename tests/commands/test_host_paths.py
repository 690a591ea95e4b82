# SPDX-License-Identifier: GPL-2.0-or-later
"""Every path that a command or an option takes: what is odd there gets one sentence, at once, and harms nothing."""

import contextlib
import os
import re
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from armprobe.commands import Session, cli
from armprobe.commands.errors import CommandError

PLACES = {
    "guest": ("{}",),
    "serve": ("serve", "{}"),
    "gdb": ("gdb", "{}"),
    "script": ("script", "{}"),
    "python script": ("script", "{}.py"),
    "script's guest": ("script", "/dev/null", "--guest", "{}"),
    "snapshot": ("--snapshot", "{}", "-c", "info"),
    "kernel": ("linux", "--kernel", "{}", "--initrd", "/proc/self/exe", "-c", "info"),
    "initrd": ("linux", "--initrd", "{}", "-c", "info"),
    "decode's guest": ("decode", "--guest", "{}", "0xd503201f"),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("what", ["pipe", "device", "folder", "absent", "long", "NUL", "no text", "empty"])
@pytest.mark.sample
def test_each_place_for_a_path(place: str, what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ending = ".py" if place == "python script" else ""
    path = str(tmp_path / "odd")
    match what:
        case "pipe":
            os.mkfifo(path + ending)
        case "device":
            os.symlink("/dev/zero", path + ending)
        case "folder":
            os.mkdir(path + ending)
        case "long":
            path = "x" * 5000
        case "NUL":
            path = "a\0b"
        case "no text":
            path = str(tmp_path / "\udcff\x1b[2J")
        case "empty":
            path = ""
    words = [word.replace("{}", path) for word in PLACES[place]]
    assert cli.main([*words, "--listen", "none"] if words[0] != "decode" else words) == 1
    said = capsys.readouterr().err
    assert said.startswith("armprobe: ")
    assert said.count("\n") == 1
    assert said.strip().isprintable()
    assert "defect" not in said


def test_a_script_from_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    """As a shell's <(COMMAND) is; it ends, or is more than a script may be."""
    for text, status in (b"symbols kfree\n", 0), (b"#" * (17 << 20), 1):
        reading, writing = os.pipe()
        writer = threading.Thread(target=_write, args=(writing, text))
        writer.start()
        assert cli.main(["script", f"/dev/fd/{reading}"]) == status
        os.close(reading)
        writer.join()
    said = capsys.readouterr()
    assert "function kfree" in said.out
    assert re.search(r"^armprobe: cannot read /dev/fd/\d+: it gives more than 16,777,216 bytes, ", said.err)


def _write(descriptor: int, data: bytes) -> None:
    with contextlib.suppress(BrokenPipeError), open(descriptor, "wb", buffering=0) as file:
        while data:
            data = data[file.write(data) :]


@pytest.fixture(scope="module")
def demo() -> Iterator[Session]:
    with Session("demo") as session:
        yield session


@pytest.mark.parametrize("command", ["save", "decode", "push", "trace >"])
@pytest.mark.parametrize("name", ["pipe", "device", "folder", "x" * 5000, "a\0b", "none/none", "none/\udcff"])
def test_commands_that_take_a_path(command: str, name: str, demo: Session, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    os.symlink("/dev/zero", tmp_path / "device")
    (tmp_path / "folder").mkdir()
    with pytest.raises(CommandError) as raised:
        demo.run(f"{command} '{tmp_path / name}'")
    assert "\n" not in str(raised.value)
    assert (tmp_path / "pipe").is_fifo()
    assert os.readlink(tmp_path / "device") == "/dev/zero"


def test_save_takes_a_word_to_replace_a_document(demo: Session, tmp_path: Path) -> None:
    path = tmp_path / "thesis.tex"
    path.write_text("\\begin{document}")
    with pytest.raises(CommandError, match="say force to replace it"):
        demo.run(f"save {path}")
    assert path.read_text() == "\\begin{document}"
    assert demo.run(f"save {path} force").startswith("saved")
    assert demo.run(f"save {path}").startswith("saved")  # a snapshot is replaced by a newer one


def test_what_is_no_text_is_typed_as_the_bytes_it_is(demo: Session) -> None:
    """A shell's argument of other bytes comes as surrogates (PEP 383)."""
    demo.machine.uart.received = []
    typed: list[bytes] = []
    demo.machine.console.receive = typed.append
    demo.run("console \udcff")
    assert typed == [b"\xff\n"]


@pytest.mark.parametrize("name", ["a b", "it's", "$HOME", "-x", "--", "serve"])
def test_the_line_that_save_suggests_can_be_typed(
    demo: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A shell takes it for the file's name, and armprobe for no option."""
    monkeypatch.chdir(tmp_path)
    found = re.fullmatch(
        r"saved; (armprobe .*) goes on from here, or back, to position 0 at most\n", demo.run(["save", name])
    )
    assert found
    words = subprocess.run(
        ["sh", "-c", f"armprobe() {{ printf '%s\\n' \"$@\"; }}; {found[1]}"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    (word,) = words
    assert os.path.samefile(word, tmp_path / name)
    assert "/" in word
