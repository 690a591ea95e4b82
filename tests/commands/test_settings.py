# SPDX-License-Identifier: GPL-2.0-or-later
"""Files of settings: which are read, which wins, and what is said of those that are wrong."""

import os
from pathlib import Path

import pytest

from armprobe.commands import cli
from armprobe.commands.cli.options import LISTEN
from armprobe.commands.cli.parser import parse
from armprobe.commands.errors import CommandError
from armprobe.commands.settings import read_settings


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's file, in a folder that is there."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    path = tmp_path / "config/armprobe/config.toml"
    path.parent.mkdir(parents=True)
    return path


@pytest.fixture
def project(user: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's file; the process is in a folder below its folder."""
    below = tmp_path / "project/drivers/net"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    return tmp_path / "project/armprobe.toml"


def test_without_files(project: Path) -> None:
    options = parse([])
    assert (options.guest, options.memory, options.era, options.usual_listen) == ("demo", "256M", None, LISTEN)


def test_the_nearer_wins(user: Path, project: Path) -> None:
    user.write_text('era = "v5.4"\nmemory = "64M"\nlisten = "none"\n[aliases]\nk = "kprobe"\np = "probes"\n')
    project.write_text('guest = "build/vmlinuz"\nmemory = "1G"\nvmlinux = "vmlinux"\n[aliases]\np = "probes *"\n')
    options = parse([])
    assert options.guest == str(project.parent / "build/vmlinuz")
    assert options.vmlinux == project.parent / "vmlinux"
    assert (options.memory, options.era, options.usual_listen, options.listen) == ("1G", "v5.4", "none", None)
    assert options.settings.aliases == {"k": "kprobe", "p": "probes *"}
    assert parse(["--memory", "2G", "--era", "v6.9"]).memory == "2G"


def test_of_two_projects_the_inner_one(project: Path) -> None:
    project.write_text('era = "v5.4"\nmemory = "64M"\n')
    Path("../armprobe.toml").write_text('era = "v6.9"\n')
    assert (parse([]).era, parse([]).memory) == ("v6.9", "256M")


@pytest.mark.parametrize("words", [["x.elf"], ["linux"], ["--snapshot", "x"], ["check", "kfree", "--guest", "demo"]])
def test_a_guest_on_the_command_line_is_loaded_in_its_own_way(words: list[str], project: Path) -> None:
    project.write_text('guest = "Image"\nvmlinux = "vmlinux"\ncmdline = "quiet"\nera = "v6.9"\n')
    options = parse(words)
    assert (options.vmlinux, options.cmdline, options.era) == (None, None, "v6.9")
    assert "Image" not in str(options.guest)


@pytest.mark.parametrize("words", [["--no-config"], ["gdb", "--no-config"], ["check", "kfree", "--no-config"]])
def test_no_config(words: list[str], user: Path, project: Path) -> None:
    user.write_text("era = 5")
    project.write_text("=")
    assert parse(words).era is None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("=", "is not TOML"),
        ("a = " + "[" * 100_000, "is not TOML"),
        ('gest = "demo"', "gest: there is no such setting; did you mean 'guest'?"),
        ("xyzzy = 1", "there is no such setting; there are aliases, "),
        ("guest = 5", "guest: it is a text"),
        ('base = "0x1000"', "base: it is a whole number"),
        ("base = true", "base: it is a whole number"),
        ('paced = "yes"', "paced: it is true or false"),
        ('probes = "kprobe kfree"', "probes: it is a list"),
        ('probes = ["save /etc/passwd"]', "probes: write a list of lines that begin with kprobe or"),
        ("probes = [5]", "probes: write a list"),
        ("aliases = 5", "aliases: it is a table"),
        ('[aliases]\n"a b" = "probes"', "aliases: write 'a b' as one word"),
        ("[aliases]\na = 5", "aliases: write 'a' as one word"),
        ('colour = "green"', "colour: it is auto or always or never"),
        ('"\\u001b[31m" = 1', "there is no such setting"),
    ],
)
def test_a_file_that_is_wrong(text: str, why: str, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project.write_text(text)
    assert cli.main(["-c", "info"]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"armprobe: {project}")
    assert why in said
    assert said.count("\n") == 1
    assert "\x1b" not in said


def test_a_file_that_cannot_be_read(project: Path) -> None:
    project.write_bytes(b"\xff")
    with pytest.raises(CommandError, match="it is not text"):
        read_settings(Path.cwd())


def test_a_project_of_another_user(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project.write_text('era = "v6.9"')
    if os.getuid() == 0:
        os.chown(project, 12345, -1)
    else:
        monkeypatch.setattr(os, "getuid", lambda: 12345)
    settings = read_settings(Path.cwd())
    assert settings.options == {}
    assert settings.notes == (f"{project} belongs to another user and is not read",)


def test_probes_and_aliases(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project.write_text(
        'probes = ["kprobe kfree", "kprobe nothing_of_this_name"]\n'
        '[aliases]\nhot = "continue instructions=100000"\nprobes = "info"\nzz = "nonsense"\n'
    )
    assert cli.main(["--listen", "none", "-c", "hot", "-c", "probes"]) == 0
    shown = capsys.readouterr()
    assert "kfree" in shown.out
    assert "stopped as asked" in shown.out
    notes = shown.err.splitlines()
    assert [note.startswith("note: ") for note in notes] == [True] * 3
    assert "the alias 'probes' is the name of a command" in notes[0]
    assert "there is no command 'nonsense'" in notes[1]
    assert "the settings' kprobe nothing_of_this_name:" in notes[2]


def test_completion_knows_aliases(project: Path) -> None:
    from armprobe.commands import Session

    with Session("demo") as session:
        session.shell.registry.alias("hot", "kprobe")
        assert session.complete("ho") == ["hot"]
        assert session.complete("hot workload_rou") == session.complete("kprobe workload_rou") == ["workload_round"]
