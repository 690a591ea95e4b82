# SPDX-License-Identifier: GPL-2.0-or-later
"""Stock kernels with a disk: an ext4 file system that e2fsprogs makes and reads, and a root on it."""

import hashlib
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from armprobe import machine
from armprobe.commands import Session, cli
from armprobe.guests import linux
from armprobe.guests.linux.debian import DebianError, cache_directory, make_root
from armprobe.machine import Machine, StopReason
from armprobe.machine.file_lock import exclusive_lock
from tests.linux.shell import Shell
from tests.oracle.guests import FOLDER
from tests.oracle.references import EVERYTHING, REFERENCES, fetch, fetched, missing
from tests.progress import progress

pytestmark = pytest.mark.sample(of="files")

CONTENT = random.Random(1).randbytes(300_000)
Tool = Callable[[str, str], str]


def kept(name: str, make: Callable[[Path], None]) -> Path:
    """An image in the cache: a kernel that has been booted with it needs the same one again."""
    path = cache_directory() / FOLDER / name
    with exclusive_lock(path.with_suffix(".lock"), f"another worker makes {path}: waiting for it", progress):
        if not path.exists():
            partial = path.with_suffix(".partial")
            partial.unlink(missing_ok=True)
            make(partial)
            partial.rename(path)
    return path


@pytest.fixture(scope="module")
def image(tool: Tool, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("content")
    (folder / "random").write_bytes(CONTENT)

    def make(path: Path) -> None:
        subprocess.run([tool("mke2fs", "e2fsprogs"), "-q", "-t", "ext4", "-d", folder, path, "8M"], check=True)

    return kept("disk.ext4", make)


@pytest.fixture(scope="module")
def booted(image: Path) -> Path:
    """A stock kernel at its shell, with the disk."""
    return linux.prepare(disk=image, report=progress)


def shell_of(guest: Machine) -> Shell:
    shell = Shell(guest)
    shell.run("dmesg -n 1")  # the kernel's messages would get between an answer and the prompt
    return shell


def work(shell: Shell, commands: str) -> str:
    return shell.run(f"mkdir -p /mnt; mount /dev/vda /mnt; cd /mnt; {commands}; cd; umount /mnt")


def test_read_write_go_back_and_read_elsewhere(booted: Path, image: Path, tool: Tool, tmp_path: Path) -> None:
    before = image.read_bytes()
    guest = machine.load(booted, disk=image)
    shell = shell_of(guest)
    digest = hashlib.sha256(CONTENT).hexdigest()
    assert work(shell, "sha256sum < random") == f"{digest}  -\n"
    assert work(shell, "ls -1; echo first > new; sync") == "lost+found\nrandom\n"
    state = guest.snapshot()
    assert work(shell, "cat new; echo second > new; rm random; sync; ls -1") == "first\nlost+found\nnew\n"
    guest.restore(state)
    assert work(shell, "cat new; ls -1") == "first\nlost+found\nnew\nrandom\n"
    guest.save(tmp_path / "saved")
    again = Shell(machine.load(tmp_path / "saved", disk=image))
    assert work(again, "cat new; sha256sum < random") == f"first\n{digest}  -\n"
    assert image.read_bytes() == before

    with (tmp_path / "exported").open("w+b") as out:
        assert guest.disk is not None
        guest.disk.image.export(out)
    tools = {name: tool(name, "e2fsprogs") for name in ("debugfs", "e2fsck")}
    read = subprocess.run([tools["debugfs"], "-R", "cat new", tmp_path / "exported"], capture_output=True, check=True)
    assert read.stdout == b"first\n"
    subprocess.run([tools["e2fsck"], "-fn", tmp_path / "exported"], capture_output=True, check=True)


def state_of(guest: Machine) -> tuple[int, str]:
    """The position, and a digest of what the guest has there."""
    assert guest.disk is not None
    memory = hashlib.sha256(guest.ram.data)
    for part in (guest.registers.x, guest.disk.state, guest.disk.image.read(0, guest.disk.image.size)):
        memory.update(repr(list(part) if part is guest.registers.x else part).encode())
    return guest.instructions, memory.hexdigest()


def test_it_repeats_exactly(booted: Path, image: Path) -> None:
    """In another process, in slices of other lengths, and when the machine goes back."""
    states = []
    for step in (30_000_000, 1_234_567):
        guest = machine.load(booted, disk=image)
        start = guest.instructions
        shell = Shell(guest)
        shell.type("mkdir -p /mnt; mount /dev/vda /mnt; cp /mnt/random /mnt/copy; sync")
        while guest.instructions < start + 30_000_000:
            rest = start + 30_000_000 - guest.instructions
            assert guest.run(instructions=min(step, rest)).reason is StopReason.INSTRUCTIONS
        states.append(state_of(guest))
        assert guest.disk is not None
        assert guest.disk.image.written > len(CONTENT)
    assert states[0] == states[1]
    guest.timeline.go(start + 1_000_000)
    guest.timeline.go(start + 30_000_000)
    assert state_of(guest) == states[0]


def test_command_line(booted: Path, image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exported = tmp_path / "exported"
    write = "sh mkdir -p /mnt && mount /dev/vda /mnt && echo from the guest > /mnt/new && umount /mnt"
    line = ["linux", "--disk", str(image), "--listen", "none"]
    assert cli.main([*line, "-c", write, "-c", f"disk {exported}", "-c", "disk"]) == 0
    assert f"its present content is in {exported}" in capsys.readouterr().out
    assert exported.stat().st_size == image.stat().st_size
    assert b"from the guest" in exported.read_bytes()
    assert cli.main(["-c", "disk"]) == 0
    assert capsys.readouterr().out == "the guest has no disk; --disk IMAGE gives it one\n"
    assert cli.main(["--root", "-c", "disk"]) == 1
    assert "--root is for the guest linux" in capsys.readouterr().err


@pytest.mark.skipif(not EVERYTHING, reason="it boots a kernel: make oracle")
def test_a_disk_without_a_root(image: Path) -> None:
    """The guest says so, and is at the shell of its initramfs."""
    snapshot = linux.prepare(disk=image, root=True, report=progress)
    shell = Shell(machine.load(snapshot, disk=image))
    assert shell.run("grep -c ' / rootfs ' /proc/mounts; ls /disk") == "1\n"


@pytest.mark.skipif(not EVERYTHING, reason="ARMPROBE_ORACLE=all fetches some 50 packages and boots each kernel")
@pytest.mark.parametrize("era", REFERENCES)
def test_a_root(era: str, tmp_path: Path) -> None:
    """Debian's packages of the system's release on ext4, with kernels of every series."""
    if isinstance(why := fetched(REFERENCES[era], False), str):
        missing(why, REFERENCES[era])

    def make(path: Path) -> None:
        make_root(path, ["strace"], report=progress)

    try:
        image = kept("root.ext4", make)
    except DebianError as error:
        missing(error.reason, REFERENCES[era])
    kernel = fetch(REFERENCES[era])
    snapshot = linux.prepare(kernel=kernel.vmlinuz, disk=image, root=True, report=progress)
    with Session(snapshot, disk=image) as session:
        done = session.guest.sh("grep ' / ' /proc/mounts; echo $0; readlink /proc/1/exe; strace -e trace=none true")
        mounts, shell, first, *_ = done.out.splitlines()
        assert mounts.startswith("/dev/vda / ext4 rw")
        assert (shell, first) == ("/bin/sh", "/run/armprobe/busybox")
        assert (done.err, done.status) == ("+++ exited with 0 +++\n", 0)
        assert Shell(session.machine).run("echo $BASH_VERSION $HOME").startswith("5.")
