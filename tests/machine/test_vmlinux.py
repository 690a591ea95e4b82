# SPDX-License-Identifier: GPL-2.0-or-later
"""A vmlinux beside an Image or a snapshot: its symbols are nm's, and one of another kernel is refused."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from armprobe import machine
from armprobe.machine import MachineError, Symbol, Symbols, host_files
from armprobe.machine.loaders import vmlinux
from tests.kernel.kernel_image import LINK_BASE, ROWS, write_image

from ..small_kernel import SmallKernel, build  # noqa: TID252

Tool = Callable[[str, str], str]
Built = Callable[..., SmallKernel]

# Linked where the Images of `write_image` are. What kallsyms would leave out is in .data.
ASSEMBLY = """
    .text
    .org 0x1000
    .globl kfree
    .type kfree, %function
kfree:
    nop
    ret
    .size kfree, . - kfree
    .type same, %function
same:
    nop
    nop
    .size same, . - same
    .data
    .globl jiffies
    .type jiffies, %object
jiffies:
    .quad 0
    .size jiffies, 8
label:
    .globl end_of_data
end_of_data:
"""


@pytest.fixture(scope="module")
def built(tool: Tool, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """built(version=..., options=...): a small kernel, as `build` makes it."""

    def make(**how: object) -> SmallKernel:
        return build(tool, tmp_path_factory.mktemp("kernel"), **how)  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="module")
def kernel(built: Built) -> SmallKernel:
    return built()


@pytest.fixture(scope="module")
def assembled(tool: Tool, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ELF of `ASSEMBLY`, without a build ID."""
    folder = tmp_path_factory.mktemp("assembled")
    (folder / "vmlinux.S").write_text(ASSEMBLY)
    (folder / "kernel.lds").write_text(
        f"SECTIONS {{ . = {LINK_BASE:#x}; _text = .; .text : {{ *(.text) }} . = ALIGN(4096); .data : {{ *(.data) }} }}"
    )
    gcc = tool("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu")
    options = ["-nostdlib", "-static", "-Wl,--build-id=none", "-Wl,-T,kernel.lds", "-Wl,--no-warn-rwx-segments"]
    subprocess.run([gcc, *options, "vmlinux.S", "-o", "vmlinux"], cwd=folder, check=True)
    return folder / "vmlinux"


def nm(tool: Tool, path: Path) -> set[tuple[str, int, int]]:
    """What binutils says of a file: name, address and size or 0; mapping symbols and what is absolute are left out."""
    program = tool("aarch64-linux-gnu-nm", "binutils-aarch64-linux-gnu")
    said = subprocess.run([program, "-S", "-f", "posix", path], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in said.splitlines()]
    return {
        (name, int(address, 16), int(size, 16) if size else 0)
        for name, letter, address, size in (row + [""] * (4 - len(row)) for row in rows)
        if letter not in "aA" and not name.startswith("$")
    }


def test_an_image_without_kallsyms_has_the_symbols_of_its_vmlinux(kernel: SmallKernel, tool: Tool) -> None:
    guest = machine.load(kernel.image, vmlinux=kernel.vmlinux)
    rows = nm(tool, kernel.vmlinux)
    assert {(symbol.name, symbol.address) for symbol in guest.symbols} == {row[:2] for row in rows}
    sized = {row[:2]: row[2] for row in rows if row[2]}
    assert {"tick", "jiffies"} < {name for name, _ in sized}
    assert all(symbol.size == sized.get((symbol.name, symbol.address), symbol.size) for symbol in guest.symbols)
    assert guest.guest.dwarf == kernel.vmlinux
    assert guest.guest.notes == ()
    assert guest.run(until="tick").address == guest.symbols["tick"].address


def test_without_it_there_are_none(kernel: SmallKernel) -> None:
    guest = machine.load(kernel.image)
    assert len(guest.symbols) == 0
    assert guest.guest.dwarf is None
    assert len(guest.guest.notes) == 1


def rows_of(path: Path, tool: Tool, *names: str) -> list[tuple[str, int, str]]:
    """Rows of kallsyms for code."""
    return sorted(((name, at, "T") for name, at, _ in nm(tool, path) if name in names), key=lambda row: row[1])


def image_with(tmp_path: Path, rows: list[tuple[str, int, str]]) -> Path:
    path = tmp_path / "Image"
    path.write_bytes(write_image(rows + ROWS[:300], "6.1"))  # as few as a handful are not recognised
    return path


def test_kallsyms_stays_and_data_is_added(assembled: Path, tool: Tool, tmp_path: Path) -> None:
    rows = rows_of(assembled, tool, "_text", "kfree", "same")
    image = image_with(tmp_path, rows)
    before = {symbol.name: symbol for symbol in machine.load(image).symbols}
    assert before.keys() == {name for name, _, _ in rows + ROWS[:300]}
    guest = machine.load(image, vmlinux=assembled)
    after = {symbol.name: symbol for symbol in guest.symbols}
    assert {name: after[name] for name in before} == before
    data = {name: (at, size) for name, at, size in nm(tool, assembled) if name in ("jiffies", "end_of_data")}
    assert after.keys() - before.keys() == data.keys()  # `label` is local
    assert after["jiffies"] == Symbol("jiffies", *data["jiffies"], "object")
    assert after["end_of_data"].address == data["end_of_data"][0]
    assert guest.symbols.describe(data["jiffies"][0] + 4) == "jiffies+0x4"
    assert guest.guest.dwarf is None
    assert guest.guest.notes == (
        f"{assembled} has no debug information, which CONFIG_DEBUG_INFO gives it, only symbols",
    )


def test_a_snapshot_and_its_vmlinux(kernel: SmallKernel, built: Built, tmp_path: Path) -> None:
    saved = tmp_path / "saved"
    first = machine.load(kernel.image)
    first.run(instructions=3)
    first.save(saved)
    resumed = machine.load(saved, vmlinux=kernel.vmlinux)
    assert resumed.guest.dwarf == kernel.vmlinux
    assert (
        resumed.run(until="main").address == machine.load(kernel.image, vmlinux=kernel.vmlinux).symbols["main"].address
    )
    with pytest.raises(MachineError, match="its build ID is not the guest's"):
        machine.load(saved, vmlinux=built(version=2).vmlinux)
    machine.load("demo").save(saved)
    with pytest.raises(MachineError, match="is no snapshot of a Linux kernel"):
        machine.load(saved, vmlinux=kernel.vmlinux)


def test_the_code_may_begin_behind_the_multiple_of_2_mib(kernel: SmallKernel) -> None:
    """As before Linux 5.8: text_offset was 0x80000."""
    ram = memoryview(bytes(0x28_0000) + kernel.image.read_bytes())
    assert vmlinux.in_ram(ram)(0xFFFF_8000_1008_0000)[:64] == kernel.image.read_bytes()[:64]


def refusal(image: Path, elf: Path) -> str:
    """The sentence, without the file's name."""
    with pytest.raises(MachineError) as caught:
        machine.load(image, vmlinux=elf)
    text = str(caught.value)
    assert text.startswith(f"{host_files.shown(elf)} ")
    assert "\n" not in text
    return text.removeprefix(f"{host_files.shown(elf)} ")


def test_another_kernel_by_its_build_id(kernel: SmallKernel, built: Built) -> None:
    other = built(version=2)
    assert "is the vmlinux of another kernel: its build ID is not the guest's" in refusal(kernel.image, other.vmlinux)
    machine.load(other.image, vmlinux=other.vmlinux)


def test_another_kernel_by_where_its_functions_are(assembled: Path, tool: Tool, tmp_path: Path) -> None:
    rows = rows_of(assembled, tool, "_text", "kfree", "same")
    moved = [(name, at + 4 * (name == "same"), letter) for name, at, letter in rows]
    assert "is the vmlinux of another kernel: it has same at" in refusal(image_with(tmp_path, moved), assembled)


def test_one_of_no_kernel_known(assembled: Path, built: Built, tool: Tool, tmp_path: Path) -> None:
    rows = [("_stext", LINK_BASE + 64, "T")]
    assert "may be the vmlinux of any kernel" in refusal(image_with(tmp_path, rows), assembled)
    anonymous = built(options=("-Wl,--build-id=none",))
    assert "may be the vmlinux of any kernel" in refusal(anonymous.image, anonymous.vmlinux)


def test_what_is_no_vmlinux(kernel: SmallKernel, tool: Tool, tmp_path: Path) -> None:
    objcopy = tool("aarch64-linux-gnu-objcopy", "binutils-aarch64-linux-gnu")
    gcc = tool("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu")
    stripped, nameless, module = (tmp_path / name for name in ("stripped", "nameless", "module.ko"))
    subprocess.run([objcopy, "--strip-all", kernel.vmlinux, stripped], check=True)
    subprocess.run([objcopy, "--strip-symbol=_text", kernel.vmlinux, nameless], check=True)
    subprocess.run([gcc, "-c", kernel.source, "-DVERSION=1", "-o", module], check=True)
    assert "is no ELF: give the file vmlinux" in refusal(kernel.image, kernel.image)
    assert "is no linked kernel" in refusal(kernel.image, module)
    assert "has no symbols" in refusal(kernel.image, stripped)
    assert "is no vmlinux: it has no symbol _text" in refusal(kernel.image, nameless)
    with pytest.raises(MachineError, match="a vmlinux, a command line and KASLR are for kernel Images"):
        machine.load("demo", vmlinux=kernel.vmlinux)


def test_more_symbols_at_known_names_and_places() -> None:
    """Columns in any order; at one address what was there first comes first."""
    symbols = Symbols.from_kallsyms([("one", 0x1000, "t"), ("two", 0x2000, "t")], end=0x3000)
    more = symbols.with_more(["late", "two", "also"], [0x9000, 0x5000, 0x2000], [8, 8, 0], [1, 1, 1])
    assert [(s.name, s.address, s.size, s.kind) for s in more] == [
        ("one", 0x1000, 0x1000, "function"),
        ("two", 0x2000, 0x1000, "function"),
        ("also", 0x2000, 0x7000, "object"),
        ("late", 0x9000, 8, "object"),
    ]
    assert more.describe(0x2004) == "two+0x4"
    assert len(symbols) == 2
