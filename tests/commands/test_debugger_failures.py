# SPDX-License-Identifier: GPL-2.0-or-later
"""Verbs that use a debugger, where that does not work: one sentence, and exit status 1."""

import sys
from pathlib import Path

import pytest

from armprobe.clients import debugger_session
from armprobe.commands import cli

SCRIPT = """
from armprobe.commands import GdbSession, Session
with Session("demo") as session, GdbSession(session):
    print("never")
"""
# It reads commands, answers none, and ends as it is told to.
SILENT = '#!/bin/sh\nwhile read -r line; do case "$line" in *-gdb-exit) exit;; esac; done\n'
BROKEN = "\x7fELF"  # execve(2): ENOEXEC


@pytest.mark.parametrize(
    ("words", "debugger", "sentence"),
    [
        (["demo"], SILENT, "waited 0.1 s for the result of -gdb-set mi-async on; gdb last said: nothing"),
        (["script", "slab.py"], SILENT, "waited 0.1 s for the result of -gdb-set mi-async on; gdb last said: nothing"),
        (["demo"], BROKEN, "{gdb} does not run: Exec format error"),
        (["script", "slab.py"], BROKEN, "{gdb} does not run: Exec format error"),
        (["gdb", "--no-config"], BROKEN, "{gdb} does not run: Exec format error"),
    ],
)
def test_one_sentence(
    words: list[str],
    debugger: str,
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    gdb = tmp_path / "gdb-multiarch"
    gdb.write_text(debugger)
    gdb.chmod(0o755)
    (tmp_path / "slab.py").write_text(SCRIPT)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(debugger_session, "TIMEOUT", 0.1)
    monkeypatch.setattr("signal.signal", lambda number, handler: None)  # those of this process stay
    monkeypatch.setattr(sys, "argv", sys.argv)  # which a script is given its own of
    assert cli.main(words) == 1
    assert capsys.readouterr().err == f"armprobe: {sentence.format(gdb=gdb)}\n"
