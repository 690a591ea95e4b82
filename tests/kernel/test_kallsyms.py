# SPDX-License-Identifier: GPL-2.0-or-later
"""kallsyms read from an Image, against what the running kernel says of itself, and against tables written here."""

import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from armprobe.guests.linux.debian import build_initramfs
from armprobe.kernel import kallsyms
from armprobe.machine.errors import MachineError
from tests.kernel.kernel_image import LAYOUTS, ROWS, write_image
from tests.stock import stock_kernel  # tests have no import name to go by
from tests.waiting import PATIENCE

pytestmark = pytest.mark.sample(of="files")

Tool = Callable[[str, str], str]

PRINT_KALLSYMS = b"""#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
echo BEGIN
/bin/busybox cat /proc/kallsyms
echo END
/bin/busybox poweroff -f
"""


def test_stock_kernel_has_the_symbols_that_it_says_it_has(tool: Tool, tmp_path: Path) -> None:
    """/proc/kallsyms of the kernel booted in QEMU without KASLR: every name, address and type letter, in its order."""
    qemu = tool("qemu-system-aarch64", "qemu-system-arm")
    tool("apt-get", "apt")
    kernel = stock_kernel()
    initrd = tmp_path / "initrd"
    initrd.write_bytes(build_initramfs(kernel.busybox.read_bytes(), {"init": (0o755, PRINT_KALLSYMS)}))
    command = [qemu, "-M", "virt,gic-version=2", "-cpu", "cortex-a57", "-m", "256", "-nographic", "-no-reboot"]
    command += ["-kernel", str(kernel.vmlinuz), "-initrd", str(initrd), "-append", "console=ttyAMA0 nokaslr quiet"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL, timeout=PATIENCE
    )
    lines = done.stdout.splitlines()
    said = [line.split() for line in lines[lines.index("BEGIN") + 1 : lines.index("END")]]
    assert len(said) > 10_000
    found = kallsyms.read(kernel.vmlinuz.read_bytes())
    assert found == [(name, int(address, 16), letter) for address, letter, name in said]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_order_of_the_tables_is_read(layout: str) -> None:
    assert kallsyms.read(write_image(ROWS, layout)) == ROWS


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("count", [257, 511, 512, 513, 1025])
def test_number_of_symbols_and_alignment_do_not_matter(layout: str, count: int) -> None:
    assert kallsyms.read(write_image(ROWS[:count], layout, seed=count)) == ROWS[:count]


def test_name_of_more_than_127_tokens_is_read() -> None:
    rows = [*ROWS[:600], ("rust" + "Z" * 300, ROWS[600][1], "t"), *ROWS[601:900]]
    assert kallsyms.read(write_image(rows, "6.1")) == rows


def test_image_without_tables_is_said_to_have_none() -> None:
    for image in (b"", bytes(100_000), b"ARMd" * 20_000, b"0\x001\x002\x003\x004\x005\x006\x007\x008\x009\x00" * 100):
        with pytest.raises(MachineError, match="carries no kallsyms tables that can be read"):
            kallsyms.read(image)


@cache
def small_image(layout: str) -> bytes:
    return write_image(ROWS[:600], layout)


@settings(max_examples=60)
@given(st.sampled_from(LAYOUTS), st.data())
def test_damaged_image_gives_symbols_or_a_sentence(layout: str, data: st.DataObject) -> None:
    image = bytearray(small_image(layout))
    for _ in range(data.draw(st.integers(1, 4))):
        image[data.draw(st.integers(0, len(image) - 1))] = data.draw(st.integers(0, 255))
    try:
        kallsyms.read(bytes(image[: data.draw(st.just(len(image)) | st.integers(0, len(image)))]))
    except MachineError:
        return
