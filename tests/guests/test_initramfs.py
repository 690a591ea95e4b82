# SPDX-License-Identifier: GPL-2.0-or-later
"""The initramfs, as GNU cpio reads it and as a kernel in QEMU boots it."""

import gzip
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from armprobe.guests.linux.debian import READY, KernelFiles, build_initramfs
from tests.qemu import boot

Tool = Callable[[str, str], str]


def cpio(tool: Tool, archive: bytes, *options: str) -> bytes:
    """What GNU cpio makes of `archive`."""
    command = [tool("cpio", "cpio"), "--extract", "--quiet", *options]
    return subprocess.run(command, input=gzip.decompress(archive), check=True, capture_output=True).stdout


def test_initramfs_as_cpio_reads_it(tool: Tool) -> None:
    archive = build_initramfs(
        b"\x7fELF" * 1001,
        {"/lib/modules/probe.ko": (0o640, b"module"), "./x": (0o4755, b"odd"), "bin/link": (0o120777, b"busybox")},
    )
    listing = cpio(tool, archive, "--list", "--verbose", "--numeric-uid-gid").decode().splitlines()
    rows = {fields[-1] if "->" not in fields else fields[-3]: fields for fields in map(str.split, listing)}
    assert {fields[2] + fields[3] for fields in rows.values()} == {"00"}
    assert {name: fields[0] for name, fields in rows.items()}.items() >= {
        "bin": "drwxr-xr-x",
        "bin/busybox": "-rwxr-xr-x",
        "bin/link": "lrwxrwxrwx",
        "dev/console": "crw-------",
        "init": "-rwxr-xr-x",
        "lib": "drwxr-xr-x",
        "lib/modules": "drwxr-xr-x",
        "lib/modules/probe.ko": "-rw-r-----",
        "proc": "drwxr-xr-x",
        "x": "-rwsr-xr-x",
    }.items()
    assert rows["dev/console"][4:6] == ["5,", "1"]
    assert rows["bin/link"][-1] == "busybox"
    order = list(rows)
    assert all(order.index(str(Path(name).parent)) < order.index(name) for name in order if "/" in name)
    assert cpio(tool, archive, "--to-stdout", "bin/busybox") == b"\x7fELF" * 1001
    assert cpio(tool, archive, "--to-stdout", "lib/modules/probe.ko") == b"module"
    assert cpio(tool, archive, "--to-stdout", "x") == b"odd"


def test_a_file_given_replaces_one_of_the_same_path(tool: Tool) -> None:
    archive = build_initramfs(b"shell", {"/init": (0o700, b"#!/bin/busybox true\n")})
    assert cpio(tool, archive, "--list").split().count(b"init") == 1
    assert cpio(tool, archive, "--to-stdout", "init") == b"#!/bin/busybox true\n"


def test_initramfs_is_the_same_at_any_time(monkeypatch: pytest.MonkeyPatch) -> None:
    first = build_initramfs(b"shell", {"a": (0o644, b"a")})
    monkeypatch.setattr(time, "time", lambda: 2e9)
    assert build_initramfs(b"shell", {"a": (0o644, b"a")}) == first
    assert first[4:8] == bytes(4)  # RFC 1952, section 2.3.1: the time, 0 when there is none


@pytest.mark.parametrize("path", ["", "/", "../etc/passwd", "lib/../../x"])
def test_path_outside_the_initramfs(path: str) -> None:
    with pytest.raises(ValueError, match="cannot be put into the initramfs"):
        build_initramfs(b"shell", {path: (0o644, b"")})


def test_boot_to_a_shell(kernel: KernelFiles, tool: Tool, tmp_path: Path) -> None:
    qemu = tool("qemu-system-aarch64", "qemu-system-arm")
    initrd = tmp_path / "initrd.gz"
    files = {"opt/tool": (0o755, b"#!/bin/sh\necho given $((6 * 7))\n"), "opt/same": (0o120777, b"tool")}
    initrd.write_bytes(build_initramfs(kernel.busybox.read_bytes(), files))
    console = boot(
        qemu,
        kernel.vmlinuz,
        initrd,
        [
            "uname -nr; /opt/same; tty",
            "mount | cut -d' ' -f3,5; ls /sys/kernel/tracing/kprobe_events",
            "sleep 1; exit",
            "cd /proc; grep -c arch_timer interrupts; cd",
            "poweroff -f",
        ],
    )
    assert f"\n{READY}\n" in console
    assert f"\narmprobe {kernel.kernel_version}\ngiven 42\n/dev/ttyAMA0\n" in console
    for mounted in ("/proc proc", "/sys sysfs", "/dev devtmpfs", "/sys/kernel/tracing tracefs"):
        assert f"\n{mounted}\n" in console
    assert "\n/sys/kernel/tracing/kprobe_events\n" in console
    assert console.count("built-in shell") == 2  # a second one after exit
    assert "\n1\n" in console
    assert "reboot: Power down" in console
