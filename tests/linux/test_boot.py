# SPDX-License-Identifier: GPL-2.0-or-later
"""A stock Debian arm64 kernel, from its first instruction to its last."""

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from armprobe import machine
from armprobe.commands import Session
from armprobe.guests import linux
from armprobe.guests.linux.debian import READY, build_initramfs, cache_directory
from armprobe.machine import Machine, MachineError, StopReason
from armprobe.probes import Kprobe, Kprobes, Kretprobe, ProbeError, find_era
from tests.linux.shell import NotFinished, Shell
from tests.stock import stock_kernel  # tests have no import name to go by
from tests.waiting import PATIENCE

pytestmark = pytest.mark.sample(of="files")


@pytest.mark.usefixtures("snapshot")
def test_boot_from_scratch(tmp_path: Path) -> None:
    files = stock_kernel()
    initrd = tmp_path / "initrd"
    initrd.write_bytes(build_initramfs(files.busybox.read_bytes(), {"etc/motd": (0o644, b"not Debian's\n")}))
    guest = machine.load(files.vmlinuz, initrd=initrd, memory="192M")
    printed = linux.boot(guest).decode()
    assert f"Linux version {files.kernel_version}" in printed
    assert "Machine model: armprobe" in printed
    assert READY in printed
    assert not re.search(r"Call trace|WARNING|BUG|Oops|panic", printed)
    shell = Shell(guest)
    assert shell.run("uname -r") == f"{files.kernel_version}\n"
    assert shell.run("cat /etc/motd") == "not Debian's\n"
    assert 150_000 < int(shell.run("sed -n 's/MemTotal: *//p' /proc/meminfo").split()[0]) < 192 << 10


def test_the_era_is_that_of_its_kernel(session: Session) -> None:
    """Also of one that is resumed; Debian's package has the number of the point release."""
    version = stock_kernel().package_version.partition("-")[0]
    assert session.kprobes.era == find_era(version)
    assert re.search(rf"^era  .*as the guest is Linux {re.escape(version)}\)$", session.run("info"), re.MULTILINE)


@pytest.mark.usefixtures("snapshot")
def test_boot_with_probes(tmp_path: Path) -> None:
    """The kernel walks its page tables when it has booted, ours among them; and frees its initialisation code."""
    initrd = tmp_path / "initrd"
    initrd.write_bytes(build_initramfs(stock_kernel().busybox.read_bytes()))
    guest = machine.load(stock_kernel().vmlinuz, initrd=initrd)
    kprobes = Kprobes(guest)
    early = kprobes.register_kprobe(Kprobe("vfs_read", record=False))
    assert "vfs_read waits until Linux has its final page tables" in early.warnings[0]
    guest.run(until="kernel_init_freeable")  # initialisation code, called once it is mapped for good
    once = kprobes.register_kprobe(Kprobe("kernel_init_freeable"))
    opens = kprobes.register_kretprobe(Kretprobe("do_sys_openat2", maxactive=20))
    printed = linux.boot(guest).decode()
    assert "Checked W+X mappings: passed" in printed
    assert not re.search(r"Call trace|WARNING|BUG|Oops|panic", printed)
    assert once.hits == 1
    assert opens.hits > 1
    kprobes.list()
    assert once.gone
    with pytest.raises(ProbeError, match="EINVAL: kernel_init_freeable is gone"):
        kprobes.enable(once)
    assert early.hits > 0
    hits = opens.hits
    Shell(guest).run("cat /proc/version")
    assert opens.hits > hits


def test_uname(shell: Shell) -> None:
    files = stock_kernel()
    said = shell.run("uname -a").split()
    assert said[:3] == ["Linux", "armprobe", files.kernel_version]
    assert files.package_version in said
    assert said[-2:] == ["aarch64", "GNU/Linux"]


def counts(shell: Shell) -> dict[str, int]:
    """Interrupts taken, by device."""
    lines = re.findall(r"^ *\d+: +(\d+) +GIC-0 .* (\S+)$", shell.run("cat /proc/interrupts"), re.MULTILINE)
    return {name: int(count) for count, name in lines}


def test_interrupts_are_counted(guest: Machine, shell: Shell) -> None:
    """The timer's, 250 a second (CONFIG_HZ) while the guest is busy; the UART's as we type; and no alarm's."""
    before = counts(shell)
    assert set(before) == {"arch_timer", "uart-pl011", "rtc-pl031"}
    assert before["rtc-pl031"] == 0
    start = guest.clock.seconds
    shell.run("i=0; while [ $i -lt 3000 ]; do i=$((i+1)); done")
    seconds = guest.clock.seconds - start
    after = counts(shell)
    assert seconds > 0.05
    assert after["arch_timer"] - before["arch_timer"] >= int(250 * seconds)
    assert after["uart-pl011"] > before["uart-pl011"]


def test_time_passes_for_the_guest(guest: Machine, shell: Shell) -> None:
    """A second of sleep is one on every clock of the guest's and on the machine's, and takes far less here."""
    before, uptime = guest.clock.seconds, float(shell.run("cat /proc/uptime").split()[0])
    said = shell.run("time sleep 1")
    elapsed = float(shell.run("cat /proc/uptime").split()[0]) - uptime
    real = re.search(r"real\s+0m ([\d.]+)s", said)
    assert real is not None
    assert 1 <= float(real[1]) < 1.1
    assert 1 <= elapsed <= guest.clock.seconds - before + 0.02  # uptime is given in hundredths
    assert guest.clock.seconds - before < 2


def test_minutes_pass(guest: Machine, shell: Shell) -> None:
    """Idle time is skipped, not waited for; timers that are far off come in order."""
    before = guest.clock.seconds
    said = shell.run("(sleep 200; echo second) & sleep 100; echo first; wait; sleep 400; echo third")
    assert said.split()[-3:] == ["first", "second", "third"]
    assert 600 <= guest.clock.seconds - before < 603
    assert "stall" not in shell.run("dmesg")


def test_the_kernel_has_nothing_to_complain_of(shell: Shell) -> None:
    """Through work of every kind."""
    zeros = hashlib.md5(bytes(1 << 20)).hexdigest()
    said = shell.run("dd if=/dev/zero of=/tmp/f bs=64k count=16 2>/dev/null; md5sum < /tmp/f; rm /tmp/f")
    assert said == f"{zeros}  -\n"
    assert shell.run("seq 1 500 | sort -rn | head -1") == "500\n"
    assert shell.run("ls -l /sys/class | tail -n +2 | wc -l") == shell.run("ls /sys/class | wc -l")
    said = shell.run("(exit 7); echo $?; kill -9 $(sleep 99 & echo $!); sh -c 'kill -SEGV $$'; echo $?")
    assert said.split() == ["7", "Segmentation", "fault", "139"]  # 128 + SIGSEGV
    assert not re.search(r"Call trace|WARNING|BUG|Oops|stall|panic", shell.run("dmesg"))


def test_power_off(guest: Machine, shell: Shell) -> None:
    with pytest.raises(NotFinished) as error:
        shell.run("poweroff -f")
    assert error.value.stop.reason is StopReason.POWER_OFF
    with pytest.raises(MachineError, match="powered the machine off: restore a snapshot or load the guest again"):
        guest.run()


def test_reboot(guest: Machine, shell: Shell) -> None:
    start = guest.snapshot()
    with pytest.raises(NotFinished) as error:
        shell.run("reboot -f")
    assert error.value.stop.reason is StopReason.RESET
    guest.restore(start)
    assert shell.run("echo back") == "back\n"


def test_the_same_input_gives_the_same_run(snapshot: Path) -> None:
    """To the instruction, also of what the guest prints of time and randomness."""

    def outcome() -> tuple[int, str]:
        guest = machine.load(snapshot)
        said = Shell(guest).run(
            "cat /proc/sys/kernel/random/uuid /proc/uptime; head -c 8 /dev/urandom | md5sum; ls / | wc -l"
        )
        return guest.instructions, said

    assert outcome() == outcome()


PREPARE = """
import json, sys
from armprobe.commands import Session, linux
lines = []
print(json.dumps([str(linux.prepare(memory="160M", report=lines.append)), lines]))
"""


def test_two_at_once_boot_it_once(snapshot: Path, tmp_path: Path) -> None:
    """Two processes want the snapshot of a kernel that has not been booted so; one waits for the other's."""
    cache = tmp_path / "armprobe"
    cache.mkdir()
    (cache / "debian").symlink_to(cache_directory() / "debian")
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    command = [sys.executable, "-c", PREPARE]
    runs = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    answers = [json.loads(run.communicate(timeout=PATIENCE)[0]) for run in runs]
    paths, reports = zip(*answers, strict=True)
    assert len(set(paths)) == 1
    assert [line.partition(" ")[0] for lines in sorted(reports, key=len) for line in lines] == [
        "another",
        "booting",
        "booted:",
    ]
    assert "MemTotal" in Shell(machine.load(paths[0])).run("head -1 /proc/meminfo")


@pytest.mark.usefixtures("snapshot")
def test_a_session_on_linux_by_name() -> None:
    files = stock_kernel()
    with Session("linux") as session:
        assert session.name == "linux"
        assert f"Linux version {files.kernel_version}" in session.run("dmesg")
        assert session.kprobes.register_kprobe(Kprobe("vfs_read"))
    with pytest.raises(MachineError, match="base is for raw binaries"):
        Session("linux", base=0)
