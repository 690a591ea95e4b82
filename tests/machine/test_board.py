# SPDX-License-Identifier: GPL-2.0-or-later
"""The device tree, read by dtc's tools and compared with QEMU's for the machine that the board is modelled on."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from armprobe.machine import board, device_tree
from armprobe.machine.errors import MachineError

Tool = Callable[[str, str], str]
SEED = bytes(range(64))
MIB = 1 << 20


@pytest.fixture(scope="module")
def trees(tool: Tool, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Ours, and the one of QEMU's machine with the same memory."""
    folder = tmp_path_factory.mktemp("trees")
    ours, theirs = folder / "ours.dtb", folder / "theirs.dtb"
    ours.write_bytes(device_tree.build(256 * MIB, 'console=ttyAMA0 a="b c"', (0x4800_0000, 0x4810_0000), SEED))
    qemu = tool("qemu-system-aarch64", "qemu-system-arm")
    machine = f"virt,gic-version=2,dumpdtb={theirs}"
    subprocess.run([qemu, "-M", machine, "-cpu", "cortex-a57", "-m", "256"], check=True, capture_output=True)
    return ours, theirs


@pytest.fixture
def get(tool: Tool) -> Callable[..., str]:
    """get(tree, node, property, type): the value as fdtget(1) prints it."""
    fdtget = tool("fdtget", "device-tree-compiler")

    def value(tree: Path, node: str, name: str, kind: str = "x") -> str:
        return subprocess.check_output([fdtget, "-t", kind, str(tree), node, name], text=True).rstrip("\n")

    return value


@pytest.mark.parametrize(
    ("node", "name", "kind"),
    [
        ("/", "compatible", "s"),
        ("/", "#address-cells", "x"),
        ("/", "#size-cells", "x"),
        ("/memory@40000000", "reg", "x"),
        ("/memory@40000000", "device_type", "s"),
        ("/cpus", "#address-cells", "x"),
        ("/cpus", "#size-cells", "x"),
        ("/cpus/cpu@0", "compatible", "s"),
        ("/cpus/cpu@0", "device_type", "s"),
        ("/cpus/cpu@0", "reg", "x"),
        ("/psci", "method", "s"),
        ("/timer", "interrupts", "x"),
        ("/intc@8000000", "compatible", "s"),
        ("/intc@8000000", "#interrupt-cells", "x"),
        ("/intc@8000000", "reg", "x"),
        ("/pl011@9000000", "compatible", "s"),
        ("/pl011@9000000", "reg", "x"),
        ("/pl011@9000000", "interrupts", "x"),
        ("/pl011@9000000", "clock-names", "s"),
        ("/pl031@9010000", "compatible", "s"),
        ("/pl031@9010000", "reg", "x"),
        ("/pl031@9010000", "interrupts", "x"),
        ("/pl031@9010000", "clock-names", "s"),
        ("/apb-pclk", "clock-frequency", "x"),
        ("/apb-pclk", "compatible", "s"),
        ("/chosen", "stdout-path", "s"),
    ],
)
def test_property_is_as_in_qemu(
    trees: tuple[Path, Path], get: Callable[..., str], node: str, name: str, kind: str
) -> None:
    ours, theirs = trees
    assert get(ours, node, name, kind) == get(theirs, node, name, kind)


def test_references_lead_to_the_nodes_meant(trees: tuple[Path, Path], get: Callable[..., str]) -> None:
    ours, _ = trees
    assert get(ours, "/", "interrupt-parent") == get(ours, "/intc@8000000", "phandle")
    clock = get(ours, "/apb-pclk", "phandle")
    assert get(ours, "/pl031@9010000", "clocks") == clock
    assert get(ours, "/pl011@9000000", "clocks") == f"{clock} {clock}"


def test_boot_loader_leaves_its_word(trees: tuple[Path, Path], get: Callable[..., str]) -> None:
    ours, _ = trees
    assert get(ours, "/chosen", "bootargs", "s") == 'console=ttyAMA0 a="b c"'
    assert get(ours, "/chosen", "linux,initrd-start") == "0 48000000"
    assert get(ours, "/chosen", "linux,initrd-end") == "0 48100000"
    assert (
        bytes.fromhex("".join(f"{int(byte, 16):02x}" for byte in get(ours, "/chosen", "rng-seed", "bx").split()))
        == SEED
    )


def test_dtc_has_nothing_to_complain_about(trees: tuple[Path, Path], tool: Tool) -> None:
    dtc = tool("dtc", "device-tree-compiler")
    done = subprocess.run(
        [dtc, "-I", "dtb", "-O", "dtb", "-o", "/dev/null", str(trees[0])], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_tree_without_initrd_does_not_mention_one() -> None:
    assert b"initrd" not in device_tree.build(16 * MIB, "x", None, SEED)


@pytest.mark.parametrize("line", ["café", "a\nb", "a\0b", "tab\t"])
def test_unprintable_command_line_is_refused(line: str) -> None:
    with pytest.raises(MachineError, match="printable ASCII"):
        device_tree.build(16 * MIB, line, None, SEED)


def test_command_line_that_linux_would_cut_is_refused() -> None:
    device_tree.build(16 * MIB, "x" * 2047, None, SEED)
    with pytest.raises(MachineError, match="2048 characters; arm64 takes 2047"):
        device_tree.build(16 * MIB, "x" * 2048, None, SEED)


@pytest.mark.parametrize("size", [0, -MIB, MIB - 1, MIB + 1, 3073 * MIB, 1 << 64])
def test_memory_the_board_cannot_have_is_refused(size: int) -> None:
    with pytest.raises(MachineError, match=r"whole megabytes from 1M to 3072M"):
        board.check_memory_size(size)


@pytest.mark.parametrize("size", [MIB, 256 * MIB, 3072 * MIB])
def test_memory_the_board_can_have_is_taken(size: int) -> None:
    board.check_memory_size(size)
