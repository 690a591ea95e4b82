# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line: its verbs, its mistakes, its completions and its man page."""

import importlib.metadata
import shutil
import subprocess
import sys
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from armprobe.commands import cli
from armprobe.commands.cli import man_page
from armprobe.commands.cli.parser import VERBS, parse

ARMPROBE = [sys.executable, "-m", "armprobe"]
NAMES = list(VERBS)


def run(*words: str, **options: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([*ARMPROBE, *words], capture_output=True, text=True, timeout=120, check=False, **options)  # type: ignore[call-overload,no-any-return]


def test_version() -> None:
    assert run("--version").stdout == f"armprobe {importlib.metadata.version('armprobe')}\n"


@pytest.mark.parametrize("name", NAMES)
def test_each_verb_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    shown = []
    for words in ([name, "--help"], ["help", name]):
        with pytest.raises(SystemExit) as ended:
            cli.main(words)
        assert ended.value.code == 0
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1]
    assert shown[0].startswith(f"usage: armprobe {name}")


def test_help_names_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["help"])
    out = capsys.readouterr().out
    assert all(f"\n    {name}" in out for name in NAMES)


@pytest.mark.parametrize(
    ("word", "meant"), [("gbd", "gdb"), ("sevre", "serve"), ("scirpt", "script"), ("Linux", "linux"), ("hlep", "help")]
)
def test_a_misspelt_verb(word: str, meant: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([word])
    assert ended.value.code == 2
    assert f"there is no verb and no file {word!r}: did you mean armprobe {meant}?" in capsys.readouterr().err


def test_a_file_with_the_name_of_a_misspelt_verb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gbd").write_bytes(b"\0")
    monkeypatch.chdir(tmp_path)
    assert parse(["gbd"]).guest == "gbd"


def test_options_are_frozen() -> None:
    options = parse(["gdb", "linux", "-c", "info", "--", "-ex", "run"])
    assert (options.verb, options.guest, options.commands, options.for_gdb) == (
        "gdb",
        "linux",
        ("info",),
        ("-ex", "run"),
    )
    with pytest.raises(FrozenInstanceError):
        options.guest = "demo"  # type: ignore[misc]


def test_no_verb_is_the_prompt() -> None:
    assert parse(["-c", "info"]) == parse(["prompt", "-c", "info"])
    assert parse([]).guest == "demo"


def complete_in_bash(script: Path, *words: str) -> list[str]:
    """What bash offers for the last of `words`."""
    code = f"""
        source {script}
        COMP_WORDS=({" ".join(f"'{word}'" for word in words)}); COMP_CWORD={len(words) - 1}
        function=$(complete -p armprobe | sed 's/.*-F \\([^ ]*\\).*/\\1/')
        $function armprobe "${{COMP_WORDS[COMP_CWORD]}}" && printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    shell = ["bash", "--norc", "-c", code]
    return subprocess.run(shell, capture_output=True, text=True, timeout=60, check=True).stdout.split()


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_completion_in_bash(tmp_path: Path) -> None:
    script = tmp_path / "armprobe.bash"
    script.write_text(run("completion", "bash").stdout)
    assert complete_in_bash(script, "armprobe", "ser") == ["serve"]
    assert set(complete_in_bash(script, "armprobe", "")) >= set(NAMES)
    assert complete_in_bash(script, "armprobe", "gdb", "--trus") == ["--trust-tcp"]
    assert complete_in_bash(script, "armprobe", "linux", "--stepping", "") == ["ss", "brk", "branch"]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_completions_are_in_the_shells_syntax(shell: str, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text(run("completion", shell).stdout)
    assert all(f"{name}" in script.read_text() for name in NAMES)
    if (installed := shutil.which(shell)) is not None:
        subprocess.run([installed, "-n", script], check=True, timeout=60)


def test_man_page_is_of_these_verbs(monkeypatch: pytest.MonkeyPatch) -> None:
    """`make docs` writes it."""
    monkeypatch.setenv("COLUMNS", man_page.WIDTH)
    page = (Path(__file__).parents[2] / "docs/armprobe.1").read_text()
    assert page.count(".SS ") == len(NAMES)
    if sys.version_info[:2] == (3, 11):  # each argparse words its usage lines in its own way
        assert page == man_page.man_page()


def test_a_guest_without_history_does_not_go_back(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--no-config", "--no-history", "-c", "continue until=kfree", "-c", "goto boot"]) == 1
    assert "keeps no history (--no-history)" in capsys.readouterr().err
    assert cli.main(["--no-config", "--history-memory", "1M", "-c", "when"]) == 1
    assert "16M of memory at least" in capsys.readouterr().err
