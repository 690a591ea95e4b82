# SPDX-License-Identifier: GPL-2.0-or-later
"""Files of commands: comments, numbers, variables, errors with their place, and the exit status of the guest."""

import json
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from armprobe.commands import CommandError, Session, cli
from tests.waiting import PATIENCE  # tests have no import name to go by


@pytest.fixture
def script(tmp_path: Path) -> Path:
    return tmp_path / "some.commands"


def test_a_script_ends_at_the_first_error(script: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As `set -e` of sh(1) and gdb's source have it (GDB manual, "Command Files")."""
    script.write_text("# first\necho one\nnonsense\necho two\n")
    assert cli.main(["script", str(script)]) == 1
    captured = capsys.readouterr()
    assert captured.out == "one\n"
    assert captured.err.startswith(f"error: {script}:3: there is no command 'nonsense'")


def test_a_script_that_keeps_going(script: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script.write_text("nonsense\necho two\n")
    assert cli.main(["script", "--keep-going", "--json", str(script)]) == 1
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["error"].startswith(f"{script}:1: there is no command")
    assert second == {"command": "echo two", "ok": True, "value": {"text": "two"}}


def test_comments_at_the_end_of_a_line() -> None:
    with Session("demo") as demo:
        assert demo.run("echo one # two") == "one\n"
        assert demo.run("echo 'one # two' three#four") == "one # two three#four\n"


def test_variables_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FUNCTION", "kfree")
    with Session("demo") as demo:
        assert "kprobe 1: kfree" in demo.run("kprobe ${FUNCTION}")
        assert demo.run("echo '<${FUNCTION}>'") == "<kfree>\n"
        with pytest.raises(CommandError, match=r"^there is no environment variable NOT_SET$"):
            demo.run("echo ${NOT_SET}")


def test_a_debugger_of_others_sees_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "hidden")
    from armprobe.session.authority import Asker, acting_for

    with Session("demo") as demo, acting_for(Asker.OTHER), pytest.raises(CommandError, match="reads files of this"):
        demo.shell.registry.run(demo, "echo ${SECRET}", lambda _: None)


@pytest.mark.parametrize(
    ("word", "count"), [("1e5", 100_000), ("0x10", 16), ("1.5k", 1500), ("2M", 2_000_000), ("1_000", 1000)]
)
def test_numbers(word: str, count: int) -> None:
    """Counts have powers of 1000."""
    with Session("demo") as demo:
        before = demo.machine.instructions
        demo.run(f"continue instructions={word}")
        assert demo.machine.instructions - before == count


@pytest.mark.parametrize("word", ["1.5", "1e", "k", "1kk", "1e99999", "9" * 5000 + "k", "\N{ARABIC-INDIC DIGIT ONE}k"])
def test_words_that_are_no_numbers(word: str) -> None:
    with Session("demo") as demo, pytest.raises(CommandError, match=r"is not a number: write it as 1000, 0x3e8"):
        demo.run(f"continue instructions={word}")


def test_sizes_have_powers_of_1024() -> None:
    with Session("demo") as demo:
        assert len(demo.ask("examine 0x40080000 2k").data) == 2048


def test_source(script: Path, tmp_path: Path) -> None:
    inner = tmp_path / "inner.commands"
    inner.write_text("echo in\n")
    script.write_text(f"echo before\nsource {inner}\nkprobe kfree\n")
    with Session("demo") as demo:
        assert demo.run(f"source {script}").startswith("before\nin\nkprobe 1: kfree")
        assert [type(each).__name__ for each in demo.ask(f"source {inner}")] == ["PrintedLine"]
        inner.write_text("echo in\nnonsense\n")
        with pytest.raises(CommandError, match=rf"^{script}:2: {inner}:2: there is no command 'nonsense'"):
            demo.run(f"source {script}")


def test_a_file_that_runs_itself(script: Path) -> None:
    script.write_text(f"source {script}\n")
    with Session("demo") as demo, pytest.raises(CommandError, match="over 16 files of commands run each other"):
        demo.run(f"source {script}")


def _exits_with(code: int, before: bytes = b"") -> bytes:
    """Code that calls SYS_EXIT with a block at 0x40080100 (Semihosting for AArch32 and AArch64, 6.6)."""
    # mov x0, #0x18; movz x1, #0x4008, lsl #16; movk x1, #0x100; hlt #0xf000
    exits = struct.pack("<4I", 0xD280_0300, 0xD2A8_0101, 0xF280_2001, 0xD45E_0000)
    return (before + exits).ljust(0x100, b"\0") + struct.pack("<2Q", 0x20026, code)


@pytest.mark.parametrize(("code", "status"), [(0, 0), (7, 7), (256, 1), ((1 << 64) - 1, 255)])
def test_the_guests_exit_status(code: int, status: int, tmp_path: Path) -> None:
    """What exit() of the guest gives is what a process with that status gives, but a failure stays one."""
    raw = tmp_path / "exits.bin"
    raw.write_bytes(_exits_with(code))
    guest = [str(raw), "--base", "0x40080000"]
    assert cli.main(["run", *guest]) == status
    assert cli.main([*guest, "-c", "continue"]) == status
    script = tmp_path / "exits.commands"
    script.write_text("continue\n")
    assert cli.main(["script", str(script), "--guest", *guest]) == status


# movz x1, #0x900, lsl #16 (the PL011); mov w2, #'A'; str w2, [x1]; mov w2, #10; str w2, [x1]
_PRINTS = struct.pack("<5I", 0xD2A1_2001, 0x5280_0822, 0xB900_0022, 0x5280_0142, 0xB900_0022)


def test_run_shows_the_console(tmp_path: Path) -> None:
    """A process, as its output is that of the guest and nothing else."""
    raw = tmp_path / "prints.bin"
    raw.write_bytes(_exits_with(3, _PRINTS))
    command = [sys.executable, "-m", "armprobe", "run", str(raw), "--base", "0x40080000"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert (done.stdout, done.stderr, done.returncode) == ("A\n", "", 3)


@pytest.mark.parametrize(
    ("words", "status", "out", "error"),
    [
        (["run", "--until", "A"], 0, "A\n", ""),
        (["run", "--until", "[B-Z]"], 1, "A\n", "b'[B-Z]' before the guest stopped (the guest exited with code 3"),
        (["-c", "echo one", "--until", "A"], 0, "one\nA\n", ""),
        (["-c", "step 3", "-c", "step", "--until", "A"], 0, None, ""),  # which it has printed by then
        (["-c", "break 0x40080004", "--until", "A"], 1, None, "armprobe: breakpoint 1"),
        (["-c", "echo", "--until", "("], 1, "\n", "'(' is no regular expression"),
        (["-c", "nonsense", "--until", "A"], 1, "", "there is no command 'nonsense'"),
        (["--json", "-c", "echo one", "--until", "A"], 0, None, ""),
        (["script", "FILE", "--until", "A", "--guest"], 0, "two\nA\n", ""),
        (["script", "FILE.py", "--until", "A", "--guest"], 1, "", "a program has machine.console.expect"),
    ],
)
def test_until(
    words: list[str], status: int, out: str | None, error: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The guest prints A, and exits with 3."""
    raw, script = tmp_path / "prints.bin", tmp_path / "two"
    raw.write_bytes(_exits_with(3, _PRINTS))
    script.write_text("echo two\n")
    words = [word.replace("FILE", str(script)) for word in words]
    assert cli.main([*words, str(raw), "--base", "0x40080000", "--no-config"]) == status
    said = capsys.readouterr()
    assert out is None or said.out == out
    assert error in said.err
    assert bool(error) == bool(said.err)
    assert "--json" not in words or len(said.out.splitlines()) == 1


def test_until_no_longer_than_a_time_of_the_guest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A guest that does nothing for ever: b . (Arm ARM, C6.2.26)"""
    raw = tmp_path / "waits.bin"
    raw.write_bytes(struct.pack("<I", 0x1400_0000))
    words = [str(raw), "--base", "0x40080000", "--no-config"]
    assert cli.main(["run", "--until", "A", "--timeout", "20ms", *words]) == 1
    assert "has not printed b'A' within 0.02 s of the guest's time; its output ends with b''" in capsys.readouterr().err
    assert cli.main(["-c", "continue timeout=20ms until-console A", "-c", "when", *words]) == 1
    assert cli.main(["-c", "continue timeout=20ms", *words]) == 1
    assert "timeout= is for until-console" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main(["run", "--until", "A", "--timeout", "soon", *words])
    assert "'soon' is no time: write it as 10 or 0.5, in seconds, or as 20ms" in capsys.readouterr().err
