# SPDX-License-Identifier: GPL-2.0-or-later
"""Call frame information found in code is the compiler's own for that code, at every instruction."""

import re
import subprocess
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from elftools.dwarf.callframe import FDE
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection
from hypothesis import given
from hypothesis import strategies as st

from armprobe.machine.loaders import DEMO
from armprobe.machine.native.call_frames import debug_frame

Tool = Callable[[str, str], str]
Row = tuple[int, int, int | None]
"""A register, what the caller's sp is above it, and where x30 is stored, from there; None while it is not."""

FP, LR, SP = 29, 30, 31

# Functions of the shapes that a compiler gives them: leaves, tail calls, parts that use no frame, large and growing
# frames, loops, many ways out.
SOURCE = """
extern int use(void *), other(int, ...); extern void end(void) __attribute__((noreturn)); extern volatile int flag;
int leaf(int a, int b) { return a * b + flag; }
int tail(int a) { return other(a + 1); }
int calls(int a) { return other(a) + other(a + 1); }
int early(int a, int *p) { if (!p) return -22; if (a < 3) return a; return use(p) + use(p + a) + a; }
int early2(int a, int *p) { if (a == 1) return flag; if (flag & 4) return use(p) + 1; flag = a; return 0; }
int large(int a) { char room[3000]; use(room); return other(room[a], a); }
int medium(int a) { char room[400]; if (a > 400) return -1; use(room); use(room + a); return room[a]; }
int growing(int a) { char room[a]; use(room); return room[0] + use(room + 1); }
int loop(int n) { int sum = 0; for (int i = 0; i < n; i++) { if (other(i)) continue; sum += other(sum, i); }
    return sum; }
int ways(int a) { switch (a) { case 0: return other(1) + 1; case 1: other(2); return 5; case 2: return tail(other(3));
    case 7: end(); case 9: other(4); other(5); break; default: return -1; } return other(6) * 2; }
int many(int a, int b, int c, int d, int e, int f, int g, int h, int i, int j) {
    int x = other(a, b, c, d, e, f, g, h, i, j); use(&x); return x + a + b + c + d + e + f + g + h + i + j; }
int list(int a, ...) { __builtin_va_list v; __builtin_va_start(v, a); int x = use(&v); __builtin_va_end(v); return x; }
float real(float a, int b) { float x = a * b; use(&x); return x + a + other(b); }
int recursive(int n) { return n < 2 ? 1 : recursive(n - 1) + recursive(n - 2); }
"""


@pytest.fixture(scope="module")
def compile(tool: Tool, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """compile(option, ...): `SOURCE` as an ELF, linked but for what is not defined in it."""
    gcc = tool("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu")
    folder = tmp_path_factory.mktemp("compiled")
    (folder / "source.c").write_text(SOURCE)

    def run(*options: str) -> Path:
        path = folder / ("_".join(options) + ".elf")
        command = [gcc, *options, "-g", "-fno-asynchronous-unwind-tables", "-fno-unwind-tables", "-ffreestanding"]
        link = ["-nostdlib", "-static", "-Wl,--unresolved-symbols=ignore-all", "-Wl,-e,leaf"]
        subprocess.run([*command, *link, folder / "source.c", "-o", path], check=True)
        return path

    return run


def rows(fde: FDE, start: int, end: int) -> Iterator[Row]:
    """What holds at each instruction, as pyelftools decodes it."""
    table: list[dict[Any, Any]] = fde.get_decoded().table
    for address in range(start, end, 4):
        row = next(row for row in reversed(table) if row["pc"] <= address)
        saved = row.get(LR)
        yield row["cfa"].reg, row["cfa"].offset, saved.arg if saved and saved.type == "OFFSET" else None


def fdes(elf: ELFFile) -> dict[tuple[int, int], FDE]:
    """By the addresses where their functions begin and end."""
    found = [entry for entry in elf.get_dwarf_info().CFI_entries() if isinstance(entry, FDE)]
    starts = {fde: fde.header["initial_location"] for fde in found}
    return {(start, start + fde.header["address_range"]): fde for fde, start in starts.items()}


def same(ours: Row, theirs: Row) -> bool:
    """Whether both say the same. GCC counts from sp also while there is a frame record, which is where it stores x30.

    In between, when x30 is stored and x29 still the caller's, ours may leave it at that x30 is still there as well.
    """
    if ours[0] == FP:
        return ours[2] == theirs[2] == 8 - ours[1] and theirs[0] in (SP, FP) and (theirs[0] == SP or ours == theirs)
    return ours[:2] == theirs[:2]


def disagreements(path: Path, theirs: dict[tuple[int, int], FDE], tmp_path: Path, objcopy: str) -> list[str]:
    """Where what is found in the code of .text is not what `theirs` say; "none" where there is a frame unseen."""
    with path.open("rb") as file:
        elf = ELFFile(file)
        text = elf.get_section_by_name(".text")
        assert text
        code, address = text.data(), text["sh_addr"]
    contents, made = tmp_path / "debug_frame", tmp_path / "made.elf"
    contents.write_bytes(debug_frame(sorted(theirs), code, address))
    replace = ["--remove-section=.debug_frame", f"--add-section=.debug_frame={contents}"]
    subprocess.run([objcopy, *replace, path, made], check=True)
    with made.open("rb") as file:
        ours = fdes(ELFFile(file))
        different = []
        for span, fde in theirs.items():
            expected = list(rows(fde, *span))
            if span not in ours:
                different += [f"{span[0]:#x}: no frame found"] if any(row[2] for row in expected) else []
                continue
            for number, (our, their) in enumerate(zip(rows(ours[span], *span), expected, strict=True)):
                if not same(our, their):
                    different.append(f"{span[0]:#x}+{4 * number:#x}: {our}, not {their}")
    return different


@pytest.fixture
def objcopy(tool: Tool) -> str:
    return tool("aarch64-linux-gnu-objcopy", "binutils-aarch64-linux-gnu")


# As arch/arm64/Makefile compiles kernels, among others
KERNEL = ("-fno-omit-frame-pointer", "-fpatchable-function-entry=2", "-mbranch-protection=pac-ret+leaf+bti")


@pytest.mark.parametrize(
    "options",
    [("-O2",), ("-O1",), ("-Os",), ("-O3",), ("-O2", *KERNEL), ("-Os", *KERNEL), ("-O2", "-fstack-protector-all")],
)
def test_the_compilers_own(
    compile: Callable[..., Path], options: tuple[str, ...], tmp_path: Path, objcopy: str
) -> None:
    path = compile(*options)
    with path.open("rb") as file:
        theirs = fdes(ELFFile(file))
        assert len(theirs) >= 14
        assert disagreements(path, theirs, tmp_path, objcopy) == []


def test_the_demo_kernels(tmp_path: Path, objcopy: str) -> None:
    """Of its C, that is: entry.S tells of the registers of what it interrupted, of which a frame record holds two."""
    with DEMO.open("rb") as file:
        elf = ELFFile(file)
        text = elf.get_section_by_name(".text")
        assert text
        symbols = elf.get_section_by_name(".symtab")
        assert isinstance(symbols, SymbolTableSection)
        first, last = text["sh_addr"], text["sh_addr"] + text["sh_size"]
        theirs = {span: fde for span, fde in fdes(elf).items() if first <= span[0] < last}
        vectors = {symbol["st_value"] for symbol in symbols.iter_symbols() if re.match(r"el\d[ht]?_", symbol.name)}
        theirs = {span: fde for span, fde in theirs.items() if span[0] not in vectors}
        assert len(theirs) > 90
        assert disagreements(DEMO, theirs, tmp_path, objcopy) == []


@given(st.lists(st.one_of(st.integers(0, (1 << 32) - 1), st.sampled_from([0x910003FD, 0xA8C17BFD, 0xD65F03C0]))))
def test_anything_may_be_code(words: list[int]) -> None:
    code = b"".join(word.to_bytes(4, "little") for word in words)
    marks = sorted({0, len(code), len(code) * 2, *(4 * (word % (len(words) + 1)) for word in words)})
    contents = debug_frame(pairwise(marks), code, 0)
    while contents:  # whole entries
        size = int.from_bytes(contents[:4], "little") + 4
        assert len(contents) >= size
        contents = contents[size:]


@pytest.mark.parametrize("span", [(0x0FFC, 0x1004), (0x1004, 0x1000)])
def test_a_function_outside_of_the_code_is_refused(span: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="begins before"):
        debug_frame([span], bytes(16), 0x1000)
