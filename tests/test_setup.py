# SPDX-License-Identifier: GPL-2.0-or-later
"""What `make` does about system packages, with an apt-get that writes down what it is asked for.

The apt-get installs gcc: a compiler that finds the headers if libc6-dev came with it.
"""

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
    "apt-get": """echo "$@" >> {log}
        case "$*" in *gone*) echo "E: no gone" >&2; exit 100;;
        *gcc*libc6-dev*) printf '#!/bin/sh\n' > {bin}/cc; /bin/chmod +x {bin}/cc;; esac""",
}

Tool = Callable[[str, str], str]


class Done(NamedTuple):
    said: list[str]
    asked: list[list[str]]
    """The packages of each call of apt-get install."""


@pytest.fixture
def make(tmp_path: Path, tool: Tool) -> Callable[..., Done]:
    """make(recipe, user=, programs=, status=): run a recipe that uses a macro of the Makefile, as root (0) or not.

    The only programs there are the fakes, `present`, and `programs`.
    """
    log, folder = tmp_path / "log", tmp_path / "bin"
    folder.mkdir()

    def run(recipe: str, *, user: int, programs: dict[str, str] | None = None, status: int = 0) -> Done:
        log.touch()
        for name, script in {**FAKES, "present": "", **(programs or {})}.items():
            (folder / name).write_text("#!/bin/sh\n" + script.format(user=user, log=log, bin=folder))
            (folder / name).chmod(0o755)
        makefile = tmp_path / "wanted.mk"
        makefile.write_text(f"wanted:\n\t@{recipe}\ninclude {MAKEFILE}\n")
        (folder / "find").symlink_to(shutil.which("find") or "find")
        done = subprocess.run(
            [tool("make", "make"), "-f", str(makefile), "wanted"],
            cwd=MAKEFILE.parent,
            env={**os.environ, "PATH": str(folder), "MAKEFLAGS": "", "MAKELEVEL": "", "CC": ""},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == status, done.stdout
        calls = [line.split() for line in log.read_text().splitlines()]
        asked = [call[call.index("DPkg::Lock::Timeout=120") + 1 :] for call in calls if "install" in call]
        return Done(done.stdout.splitlines(), asked)

    return run


@pytest.fixture
def ask(make: Callable[..., Done]) -> Callable[..., Done]:
    """ask(pair, ...): have the Makefile look for command:package pairs, of which only `present` is there."""
    return lambda *pairs, user: make(f"$(call system,{' '.join(pairs)})", user=user)


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


SENTENCE = (
    "armprobe's core is compiled, and there is no C compiler (cc) with the C library's headers; "
    "as root: apt-get install gcc libc6-dev"
)
NO_HEADERS = 'echo "stdlib.h: No such file or directory" >&2; exit 1'


@pytest.mark.parametrize("programs", [{}, {"cc": NO_HEADERS}], ids=["no compiler", "no headers"])
def test_without_a_c_compiler(make: Callable[..., Done], programs: dict[str, str]) -> None:
    """An ordinary user reads one sentence, and nothing after it is done."""
    done = make("$(compiler); echo compiled", user=1000, programs=programs, status=2)
    assert [line for line in done.said if not line.startswith("make: ***")] == [SENTENCE]
    assert done.asked == []


def test_root_has_the_c_compiler_installed(make: Callable[..., Done]) -> None:
    done = make("$(compiler); echo compiled", user=0, programs={"cc": NO_HEADERS})
    assert done == (["installing gcc libc6-dev", "compiled"], [["gcc", "libc6-dev"]])


def test_with_a_c_compiler(make: Callable[..., Done]) -> None:
    """It is given a program that includes a header of the C library."""
    cc = 'read line; [ "$line" = "#include <stdlib.h>" ]'
    assert make("$(compiler); echo compiled", user=0, programs={"cc": cc}) == (["compiled"], [])


@pytest.fixture
def commands(tmp_path: Path, tool: Tool) -> Callable[[], list[str]]:
    """commands(): what `make build/run` would run in a checkout that is set up, and older than its installed tree."""
    shutil.copy(MAKEFILE, tmp_path)
    tree = "build/__editable__.armprobe/armprobe/machine/native/libarmprobe.so"
    files = (
        "setup.py",
        "pyproject.toml",
        ".venv/pyvenv.cfg",
        "machine/native/compile.py",
        "machine/native/core.c",
        tree,
    )
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "build/run").touch()

    def ask() -> list[str]:
        words = [tool("make", "make"), "--no-print-directory", "-n", "build/run"]
        env = {**os.environ, "MAKEFLAGS": "", "MAKELEVEL": ""}
        return subprocess.run(
            words, cwd=tmp_path, env=env, capture_output=True, text=True, check=True
        ).stdout.splitlines()

    return ask


def make_newer(file: Path) -> None:
    stamp = file.stat().st_mtime + 10
    os.utime(file, (stamp, stamp))


def test_what_is_up_to_date_is_left(commands: Callable[[], list[str]]) -> None:
    assert commands() == ["make: 'build/run' is up to date."]


def test_a_change_in_c_alone_is_compiled_alone(commands: Callable[[], list[str]], tmp_path: Path) -> None:
    make_newer(tmp_path / "machine/native/core.c")
    compiles, touches = commands()
    assert compiles == ".venv/bin/python build/__editable__.*/armprobe/machine/native/compile.py"
    assert touches.startswith("touch ")


@pytest.mark.parametrize("what", ["a missing library", "a change of setup.py"])
def test_what_sets_everything_up_again(commands: Callable[[], list[str]], tmp_path: Path, what: str) -> None:
    if what == "a missing library":
        next(tmp_path.rglob("libarmprobe.so")).unlink()
    else:
        make_newer(tmp_path / "setup.py")
    assert "pip -qq --disable-pip-version-check install --editable ." in commands()[0]


@pytest.mark.parametrize("status", [0, 3])
def test_the_status_of_the_set_up_is_that_of_pip(
    commands: Callable[[], list[str]], tmp_path: Path, tool: Tool, status: int
) -> None:
    """The system packages are installed at the same time."""
    next(tmp_path.rglob("libarmprobe.so")).unlink()
    python, stamp, log = tmp_path / ".venv/bin/python", tmp_path / "build/run", tmp_path / "log"
    (tmp_path / "guests/demo").mkdir(parents=True)
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\necho "$@" >> {log}\nmkdir -p build\nexit {status}\n')
    python.chmod(0o755)
    env = {**os.environ, "MAKEFLAGS": "", "MAKELEVEL": ""}
    done = subprocess.run([tool("make", "make"), "build/run", "FOR_RUN="], cwd=tmp_path, env=env, capture_output=True)
    assert (done.returncode, stamp.exists()) == ((2, False) if status else (0, True))
    assert log.read_text() == "-m pip -qq --disable-pip-version-check install --editable .\n"
