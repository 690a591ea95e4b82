# SPDX-License-Identifier: GPL-2.0-or-later
"""`make wheel`: the wheel works in clean environments, away from the checkout, on each Python that is named.

The environments are made from a bundle by its own script, without a network. Takes minutes and a network, for what the
bundle holds and for pytest.
"""

import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from armprobe.commands.bundle import FOLDER, write_bundle

PYTHONS = os.environ.get("ARMPROBE_PYTHONS", "").split()
HANDLER = """
from armprobe import machine, probes
guest = machine.load("demo")
kprobes = probes.Kprobes(guest)
kprobes.register_kprobe(probes.Kprobe("kfree", pre_handler=lambda p, regs: print(hex(regs.argument(0)))))
guest.run(instructions=100_000)
"""
GDB = """
from armprobe.commands import GdbSession, Session
with Session("demo") as session, GdbSession(session) as gdb:
    with gdb.breakpoint("kfree", condition="x0 != 0") as bp:
        gdb.cont()
        print(gdb.expect_stop(reason="breakpoint-hit", breakpoint=bp).function)
"""
PLUGIN = """
def test_hits(demo, kprobes):
    with kprobes.kprobe("kfree") as probe:
        demo.run("continue instructions=200000")
        assert probe.hits
"""
MINUTES = 10


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle, unpacked."""
    folder = tmp_path_factory.mktemp("bundle")
    write_bundle(folder / "bundle.tar")
    with tarfile.open(folder / "bundle.tar") as tar:
        tar.extractall(folder, filter="tar")
    return folder / FOLDER


class Environment:
    """armprobe, installed from the bundle without a network, and an empty home folder, where its programs are run."""

    def __init__(self, bundle: Path, python: str, home: Path) -> None:
        self.home = home
        self._variables = {"PATH": "/usr/bin:/bin", "HOME": str(home), "PYTHON": python}
        self.run(str(bundle / "install"), alone=True)

    def run(self, program: str, *words: str, alone: bool = False) -> str:
        """What a program prints, `alone` without a network (unshare(1)). It has to succeed."""
        installed = self.home / "armprobe/bin" / program
        before = ("unshare", "--net", "--map-root-user") if alone else ()
        done = subprocess.run(
            [*before, installed if installed.exists() else program, *words],
            cwd=self.home,
            env={**(os.environ if program == "pip" else {}), **self._variables},
            capture_output=True,
            text=True,
            timeout=60 * MINUTES,
            check=False,
        )
        assert done.returncode == 0, f"{program} {' '.join(words)}: {done.stdout}{done.stderr}"
        return done.stdout


@pytest.fixture(scope="module", params=PYTHONS)
def environment(request: pytest.FixtureRequest, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    python = shutil.which(request.param)
    assert python, f"there is no {request.param}"
    return Environment(bundle, python, tmp_path_factory.mktemp("home"))


def test_the_command_line(environment: Environment) -> None:
    assert environment.run("armprobe", "--version").startswith("armprobe ")
    assert environment.run("armprobe", "doctor")
    assert "(gdb) backtrace 3" in environment.run("armprobe", "demo")


def test_linux_boots_without_a_network(environment: Environment) -> None:
    assert environment.run("armprobe", "linux", "-c", "sh echo $((6*7))", alone=True).splitlines()[-1] == "42"


@pytest.mark.parametrize(("program", "expected"), [(HANDLER, "0xffff800000200000"), (GDB, "kfree")])
def test_programs(environment: Environment, program: str, expected: str) -> None:
    (environment.home / "program.py").write_text(program)
    assert environment.run("armprobe", "script", "program.py").splitlines()[0] == expected


def test_the_plugin_of_pytest(environment: Environment) -> None:
    environment.run("pip", "install", "--quiet", "pytest")
    (environment.home / "test_hits.py").write_text(PLUGIN)
    assert "1 passed" in environment.run("pytest", "test_hits.py")
