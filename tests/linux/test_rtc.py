# SPDX-License-Identifier: GPL-2.0-or-later
"""Linux and devices: its own driver of the RTC, and a device of ours in a guest that runs already."""

from datetime import UTC, datetime

from armprobe.machine import Device, Machine
from tests.linux.shell import Shell

MOUNT = "mkdir -p /dev; mount -t devtmpfs devtmpfs /dev 2>/dev/null"


def test_hwclock(guest: Machine, shell: Shell) -> None:
    shell.run(MOUNT)
    assert "pl031" in shell.run("cat /sys/class/rtc/rtc0/name")
    shell.run("date -u -s '2015-07-14 12:30:00' && hwclock -u -w -f /dev/rtc0")
    printed = shell.run("cat /sys/class/rtc/rtc0/since_epoch")
    expected = int(datetime(2015, 7, 14, 12, 30, tzinfo=UTC).timestamp())
    assert 0 <= int(printed) - expected <= 2
    assert "Jul 14 12:30" in shell.run("hwclock -u -r -f /dev/rtc0")


def test_a_device_of_ours_in_a_running_kernel(guest: Machine, shell: Shell) -> None:
    written: list[tuple[int, int, int]] = []
    device = guest.devices.add(
        Device("mine", read=lambda offset, size: 0x1234_0000 + offset, write=lambda *what: written.append(what))
    )
    assert device.base is not None
    shell.run(MOUNT)
    assert shell.run(f"devmem {device.base + 0x10:#x} 32").strip() == "0x12340010"
    shell.run(f"devmem {device.base + 0x20:#x} 32 0x99")
    assert written == [(0x20, 4, 0x99)]
