# SPDX-License-Identifier: GPL-2.0-or-later
"""The story of docs/drivers.md: a driver of ours, with a bug, for a device of ours, with its .ko and nothing else."""

from __future__ import annotations

import hashlib
import runpy
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from armprobe import machine
from armprobe.commands import CommandError, GdbSession, Session
from armprobe.guests import linux
from armprobe.guests.linux.debian import build_initramfs, cache_directory
from armprobe.kernel import Linux
from armprobe.kernel.module_file import ModuleFile
from armprobe.machine import Device, MachineError
from armprobe.machine.file_lock import exclusive_lock
from armprobe.machine.loaders.snapshot_file import read_key
from tests.linux.shell import Shell
from tests.oracle.guests import FOLDER
from tests.oracle.live.build import compiled
from tests.oracle.references import ASKED, REFERENCES, fetch_with
from tests.progress import progress
from tests.waiting import PATIENCE

pytestmark = pytest.mark.sample(of="files")

SOURCE = Path(__file__).parent.parent.parent / "examples/driver"

Tool = Callable[[str, str], str]


def thermometer() -> Device:
    device = runpy.run_path(str(SOURCE / "thermometer.py"))["Thermometer"]()
    assert isinstance(device, Device)
    return device


@pytest.fixture(scope="module", params=ASKED)
def story(request: pytest.FixtureRequest, tool: Tool, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A guest that was booted with the device on its board, and the driver's .ko."""
    reference = REFERENCES[request.param]
    folder = cache_directory() / FOLDER / reference.suite
    with exclusive_lock(folder / "lock", f"another worker prepares Linux {reference.series}: waiting for it", progress):
        files, module = fetch_with(
            reference, lambda files: (files, compiled("thermo", SOURCE, files, folder, tool, debug_information=True))
        )
        path = folder / "driver.snapshot"
        parts = files.vmlinuz.read_bytes(), files.busybox.read_bytes(), machine.build_id()
        key = hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()
        if read_key(path) != key:
            initrd = tmp_path_factory.mktemp("initrd") / "initrd"
            initrd.write_bytes(build_initramfs(files.busybox.read_bytes()))
            progress(f"booting Linux {files.kernel_version} with a thermometer")
            booting = machine.load(files.vmlinuz, initrd=initrd, history=False)
            booting.devices.add(thermometer())
            linux.boot(booting)
            booting.save(path, key, force=True)
    return path, module


@pytest.fixture
def session(story: tuple[Path, Path], tmp_path: Path) -> Iterator[Session]:
    """With the driver in the guest's file system, under the name that kbuild gives it."""
    snapshot, module = story
    with Session(snapshot) as session:
        session.machine.devices.add(thermometer())
        (tmp_path / "thermo.ko").write_bytes(module.read_bytes())
        session.guest.push(tmp_path / "thermo.ko")
        yield session


def insert(session: Session) -> None:
    """Stopped by a probe, or not."""
    try:
        done = session.guest.sh("insmod thermo.ko")
        assert (done.err, done.status) == ("", 0)
    except (CommandError, MachineError) as error:
        if "the guest was stopped first" not in str(error):
            raise


def device_of(session: Session) -> Device:
    device = session.machine.devices["thermometer"]
    assert isinstance(device, Device)
    return device


def test_the_bug_is_found_at_the_prompt(session: Session) -> None:
    """The driver tells the device 30 degrees less than it was told to: seen before its initialisation has returned."""
    session.run('kprobe thermo:thermo_start stop=pre print "limit %d, %d alarms", limit, thermo->alarms')
    session.run("kprobe thermo:thermo_init")
    insert(session)
    hits = list(session.kprobes.hits)
    assert hits[0].probe.symbol_name == "thermo:thermo_init"
    assert [hit.note for hit in hits if hit.note] == ["limit 30, 0 alarms"]
    said = session.run("print *thermo").splitlines()
    assert said[0] == "(struct thermo){"
    assert [line.split()[0] for line in said[1:7]] == [".registers", ".irq", ".limit", ".alarms", ".hottest", ".unit"]
    assert said[6].endswith('= "celsius",')
    assert session.ask("print limit").number == 30
    session.run("disable 1")
    assert device_of(session).state["limit"] == 30
    session.run("finish")
    assert device_of(session).state["limit"] == 0


def test_its_interrupt_handler(session: Session) -> None:
    """Each interrupt raises the limit by a degree, because of the bug: the handler sees the device's registers."""
    session.run('kprobe thermo:thermo_interrupt print "%d %d", irq, ((struct thermo *)data)->alarms')
    session.run('kprobe thermo:thermo_note print "%d", degrees')
    insert(session)
    for _ in range(1000):
        if device_of(session).state["degrees"] >= 25:  # one more in half a second of the guest's time, which idles
            break
        session.machine.run(instructions=100_000)
    said = Shell(session.machine).run("cat /proc/interrupts")
    number, count = next(line.split()[:2] for line in said.splitlines() if "thermo" in line)
    notes: dict[str | None, list[str]] = {}
    for hit in session.kprobes.hits:
        notes.setdefault(hit.probe.symbol_name, []).extend([hit.note] if hit.note else [])
    interrupts, degrees = notes["thermo:thermo_interrupt"], notes["thermo:thermo_note"]
    assert interrupts == [f"{number.rstrip(':')} {alarm}" for alarm in range(len(interrupts))]
    assert len(interrupts) >= int(count) >= 3
    assert degrees == [str(20 + 1 + at) for at in range(len(degrees))], "the device's degrees, one more each time"
    assert device_of(session).state["limit"] == int(degrees[-1])


def test_the_same_in_gdb(session: Session, gdb_path: str) -> None:
    """A stock gdb that is attached already: arguments, the struct, the source line, without a file of its user's."""
    with GdbSession(session, gdb=gdb_path) as gdb:
        gdb.execute("set breakpoint pending on")
        # By the file, too, gdb takes the functions of the debug information only: gcc has these begin behind the words
        # for ftrace (-fpatchable-function-entry), and gdb stops at the symbol as well where it takes both.
        gdb.execute("break thermo.c:thermo_start")
        gdb.execute("break thermo.c:thermo_init")
        gdb.execute("monitor console insmod thermo.ko")
        assert gdb.continue_to_stop(PATIENCE).reason == "breakpoint-hit"
        assert "thermo_init" in gdb.execute("frame")
        assert gdb.continue_to_stop(PATIENCE).reason == "breakpoint-hit"
        arguments = gdb.execute("info args")
        assert "limit = 30" in arguments
        assert "thermo = 0x" in arguments
        assert '"celsius"' in gdb.execute("print *thermo")
        assert "thermo.c" in gdb.execute("info line")
        for member in ("irq", "limit", "alarms", "hottest"):
            theirs = gdb.execute(f"print thermo->{member}").rpartition("= ")[2].strip()
            assert int(theirs) == session.ask(f"print ((struct thermo *)$x0)->{member}").number
        assert "thermo_probe" in gdb.execute("backtrace 3")


def test_the_file_says_what_gdb_reads_in_it(story: tuple[Path, Path], gdb_path: str) -> None:
    types, words = ModuleFile(story[1]).types, [gdb_path, "-nx", "-batch", str(story[1])]
    for name in ("thermo", "platform_device", "device", "task_struct", "file"):
        members = [
            member
            for member in types[name].members
            if "." not in member and not types[name].member(member).bit_field_size
        ]
        asked = [f"print (int)(unsigned long)&((struct {name} *)0)->{member}" for member in members]
        asked.append(f"print (int)sizeof(struct {name})")
        said = subprocess.run(
            [*words, *(word for each in asked for word in ("-ex", each))],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=True,
        ).stdout
        theirs = [int(line.rpartition("= ")[2]) for line in said.splitlines()]
        assert theirs == [*(types[name].offset(member) for member in members), types[name].size]


@pytest.mark.parametrize("change", ["another", "text", "cut", "stripped"])
@pytest.mark.sample
def test_a_file_that_is_not_the_loaded_module(
    session: Session, story: tuple[Path, Path], tmp_path: Path, change: str, tool: Tool
) -> None:
    """It is refused in one sentence, or describes nothing."""
    kernel, data = session.machine.kernel, story[1].read_bytes()
    assert isinstance(kernel, Linux)
    insert(session)
    assert kernel.module_files.loaded("thermo") is not None
    path = tmp_path / "changed.ko"
    path.write_bytes({"text": b"text" * 100, "cut": data[:5000]}.get(change, data))
    if change == "stripped":
        subprocess.run([tool("aarch64-linux-gnu-strip", "binutils-aarch64-linux-gnu"), "-g", path], check=True)
    if change != "another":
        with pytest.raises(MachineError, match=r"is cut short|is no module|has no debug information|is a damaged ELF"):
            kernel.module_files.add(path)
        return
    path.write_bytes(data.replace(b"thermo_note", b"thermo_tone"))
    kernel.module_files.add(path)
    assert kernel.module_files.loaded("thermo") is None
    with pytest.raises(CommandError, match="has no types"):
        session.run("kprobe thermo:thermo_start if limit")
