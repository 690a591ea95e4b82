# SPDX-License-Identifier: GPL-2.0-or-later
"""What `make` does about system packages, with an apt-get that writes down what it is asked for."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

MAKEFILE = Path(__file__).parent.parent / "Makefile"
# as root or not; `gone` is a package that the archive has not
FAKES = {
    "id": "echo {user}",
    "apt-get": 'echo "$@" >> {log}; case "$*" in *gone*) echo "E: no gone" >&2; exit 100; esac',
}

Tool = Callable[[str, str], str]


class Done(NamedTuple):
    said: list[str]
    asked: list[list[str]]
    """The packages of each call of apt-get install."""


@pytest.fixture
def ask(tmp_path: Path, tool: Tool) -> Callable[..., Done]:
    """ask(pair, ...): have the Makefile look for command:package pairs, of which only `present` is there."""
    log, programs = tmp_path / "log", tmp_path / "bin"
    programs.mkdir()

    def run(*pairs: str, user: int) -> Done:
        log.touch()
        for name, script in {**FAKES, "present": ""}.items():
            (programs / name).write_text("#!/bin/sh\n" + script.format(user=user, log=log))
            (programs / name).chmod(0o755)
        makefile = tmp_path / "wanted.mk"
        makefile.write_text(f"wanted:\n\t@$(call system,{' '.join(pairs)})\ninclude {MAKEFILE}\n")
        (programs / "find").symlink_to(shutil.which("find") or "find")
        done = subprocess.run(
            [tool("make", "make"), "-f", str(makefile), "wanted"],
            cwd=MAKEFILE.parent,
            env={**os.environ, "PATH": str(programs), "MAKEFLAGS": "", "MAKELEVEL": ""},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == 0, done.stdout
        calls = [line.split() for line in log.read_text().splitlines()]
        asked = [call[call.index("DPkg::Lock::Timeout=120") + 1 :] for call in calls if "install" in call]
        return Done(done.stdout.splitlines(), asked)

    return run


def test_an_ordinary_user_is_told_exactly_what_is_missing(ask: Callable[..., Done]) -> None:
    done = ask("present:here", "absent:one", f"{MAKEFILE}:file-here", "/nowhere/file:two", user=1000)
    assert done == (["Not installed, and of use to armprobe; as root: apt-get install one two"], [])


def test_root_has_them_installed(ask: Callable[..., Done]) -> None:
    assert ask("present:here", "absent:one", "missing:two", user=0) == (["installing one two"], [["one", "two"]])


def test_one_package_that_is_gone_does_not_keep_the_others_out(ask: Callable[..., Done]) -> None:
    done = ask("absent:one", "lost:gone", "missing:two", user=0)
    assert done.asked == [["one", "gone", "two"], ["one"], ["gone"], ["two"]]
    assert done.said == [
        "installing one gone two",
        "E: no gone",
        "Not installed, and of use to armprobe; as root: apt-get install gone",
    ]


def test_nothing_is_said_where_all_is_there(ask: Callable[..., Done]) -> None:
    assert ask("present:here", user=0) == ([], [])
