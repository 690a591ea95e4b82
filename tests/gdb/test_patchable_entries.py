# SPDX-License-Identifier: GPL-2.0-or-later
"""Conditions that gdb compiles where debug information has a function begin behind its symbol."""

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from armprobe.clients.gdb_session import GDBINIT, PROXY
from armprobe.commands import GdbError, GdbSession, Session
from armprobe.stub import serve
from tests.patchable import ROUNDS, build
from tests.waiting import PATIENCE

pytestmark = pytest.mark.sample(of="files")

Tool = Callable[[str, str], str]


@pytest.fixture(scope="module", params=["2", "4,2"])
def program(request: pytest.FixtureRequest, tool: Tool, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tool, tmp_path_factory.mktemp("program"), request.param)


@pytest.fixture
def session(program: Path) -> Iterator[Session]:
    with Session(program, memory="16M") as session:
        yield session


@pytest.fixture
def gdb(session: Session, program: Path, gdb_path: str, tmp_path: Path) -> Iterator[GdbSession]:
    gdbinit = tmp_path / "gdbinit"
    gdbinit.write_text(f"file {program}\nsource {GDBINIT}\n")
    with GdbSession(session, gdb=gdb_path, gdbinit=gdbinit) as gdb:
        yield gdb


def symbols(program: Path, name: str) -> list[int]:
    with program.open("rb") as file:
        table = ELFFile(file).get_section_by_name(".symtab")
        assert isinstance(table, SymbolTableSection)
        return sorted(symbol["st_value"] for symbol in table.get_symbol_by_name(name) or ())


def entry(program: Path, name: str) -> int:
    """The DW_AT_low_pc of a function."""
    with program.open("rb") as file:
        for unit in ELFFile(file).get_dwarf_info().iter_CUs():
            for die in unit.iter_DIEs():
                if die.tag == "DW_TAG_subprogram" and die.attributes["DW_AT_name"].value == name.encode():
                    return int(die.attributes["DW_AT_low_pc"].value)
    raise AssertionError(f"{name} is not described")


@pytest.mark.parametrize(
    ("line", "hits"),
    [
        ("kprobe fill if count > 30", [*range(31, ROUNDS)]),  # where the symbol is, count is a variable of another file
        ("kprobe fill if value == 15 && count", [5]),
        ("kprobe fill if to == buffer && count < 3", [0, 1, 2]),
        ("kprobe many if j == -7", [7]),  # on the stack
        ("kprobe many if i != 8", []),
        ("kretprobe fill at=entry if count > 37", [38, 39]),
        ("kretprobe many if (int) $x0 == 36 && a == 1", None),
        ("kretprobe many if (int) $x0 != 36", []),  # 1 + ... + 8, and n - n
    ],
)
@pytest.mark.sample
def test_what_a_condition_reads(gdb: GdbSession, session: Session, line: str, hits: list[int] | None) -> None:
    """Hits are counted from 1, and in each round there is one; what the program passes is in its source."""
    if hits is None:
        with pytest.raises(GdbError, match="a is gone when the function returns"):
            gdb.execute(line)
        return
    assert f", if {line.split(' if ')[1]}\n" in gdb.execute(line)
    gdb.continue_to_stop()
    assert sorted({hit.number - 1 for hit in session.kprobes.hits}) == hits


def test_it_is_on_the_symbol(session: Session, program: Path, gdb_path: str, tmp_path: Path) -> None:
    """As the kernel's own kprobes are, and `info args` shows the arguments there, as gdb does where it knows them."""
    (symbol,) = symbols(program, "fill")
    begins = entry(program, "fill")
    assert begins == symbol + 8  # else gcc has changed, and this tests nothing
    with serve(session, "127.0.0.1:0") as server:
        commands = (
            f"source {GDBINIT}",
            f"target remote {server.address}",
            "kprobe fill stop=pre if count == 9",
            "continue",
            "output/x $pc",
            "info args",
            "backtrace",
            'printf "%#lx\\n", $pc',
            f"advance *{begins:#x}",
            "info args",
        )
        said = subprocess.run(
            [gdb_path, "-nx", "-q", "-batch", program, *(part for each in commands for part in ("-ex", each))],
            env={**os.environ, "ARMPROBE_GDB_PROXY": str(PROXY)},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=True,
        ).stdout
    assert f"this function from {begins:#x} on, behind NOPs." in said
    assert f"info args and backtrace have both.\n{symbol:#x}" in said
    buffer = symbols(program, "buffer")[0]
    assert said.count(f"to = {buffer:#x} <buffer> ") == 2
    assert said.count("\ncount = 9\nvalue = 27\n") == 2
    # The lines of fill's brace and of its call, in the source.
    lines = (program.parent / "main.c").read_text().splitlines()
    begun, called = (next(n for n, line in enumerate(lines, 1) if text in line) for text in (") void fill", "fill(buf"))
    assert f"#0  {symbol:#018x} in fill (to={buffer:#x} <buffer> " in said
    shown = rf"#0 .*, count=9, value=27\) at main.c:(?:{begun}|{begun + 2})\n#1  0x\w+ in run \(\) at main.c:{called}\n"
    assert re.search(shown, said)
    assert f"\n{symbol:#x}\n" in said  # nothing has moved


def test_info_args_elsewhere_is_gdb_s_own(gdb: GdbSession, program: Path) -> None:
    (symbol,) = symbols(program, "fill")
    gdb.execute("kprobe fill stop=pre if count == 9")
    gdb.continue_to_stop()
    assert "\nvalue = 27\n" in gdb.execute("info args")
    assert gdb.execute("python gdb.selected_frame().older().select(); gdb.execute('info args')") == "No arguments.\n"
    assert gdb.execute("frame function fill").startswith(f"#0  {symbol:#018x} in fill ()")
    gdb.execute(f"advance *{entry(program, 'fill'):#x}")
    assert gdb.execute("info args").count("\n") == 3


def test_the_entry_that_gdb_knows(gdb: GdbSession, program: Path) -> None:
    assert "kprobe 1: fill+0x8 at" in gdb.execute("kprobe fill+8 stop=pre if count == 9")
    stop = gdb.continue_to_stop()
    assert stop.pc == entry(program, "fill")
    assert "behind NOPs" not in stop.console
    assert gdb.execute("info args").splitlines()[1:] == ["count = 9", "value = 27"]
    with pytest.raises(GdbError, match=r"for the entry of a function, which fill\+4 is not"):
        gdb.execute("kprobe fill+4 if count")
    with pytest.raises(GdbError, match=r"for the entry of a function, which fill\+12 is not"):
        gdb.execute("kprobe fill+12 if count")


def test_one_of_two_functions_of_a_name(gdb: GdbSession, session: Session, program: Path) -> None:
    first, second = symbols(program, "same")
    assert f"{second:#x}" in gdb.execute("kprobe same if n >= 30")
    gdb.execute(f"kprobe {second:#x} if n >= 35")
    gdb.continue_to_stop()
    met = [(probe.addr, probe.met) for probe in session.probes.values()]
    assert met == [(first, ROUNDS - 30), (second, ROUNDS - 35)]


@pytest.mark.parametrize(
    ("word", "accepted"),
    [
        (0xAA1E03E9, True),  # mov x9, x30: ftrace's
        (0xD503245F, True),  # bti c
        (0xAA0103E0, False),  # mov x0, x1
        (0x94000000, False),  # bl: what it calls may do anything
    ],
)
@pytest.mark.sample
def test_what_is_executed_before_gdb_s_entry(
    gdb: GdbSession, session: Session, program: Path, word: int, accepted: bool
) -> None:
    (symbol,) = symbols(program, "fill")
    session.machine.memory.write(symbol, word.to_bytes(4, "little"))
    gdb.execute("kprobe many if $x0 == 3")
    gdb.execute("maintenance flush dcache")
    if accepted:
        assert "kprobe 2: fill at" in gdb.execute("kprobe fill if count > 30")
    else:
        with pytest.raises(GdbError, match="fill is before that, and has other than NOPs"):
            gdb.execute("kprobe fill if count > 30")


_UNOPTIMISED = """
__asm__(".section .text.start, \\"ax\\"\\n.globl _start\\n_start:\\n"
        "ldr x0, =stack\\nadd x0, x0, #4096\\nmov sp, x0\\nbl run\\nb .\\n.text\\n");
char stack[4096] __attribute__((aligned(16)));
struct big { long a[3]; } big = {{1, 2, 3}};
enum kind { ONE = 1, TWO };
__attribute__((noipa)) double mixed(signed char c, float f, unsigned short s, double d, enum kind k, char *p, long l,
                                    int i, _Bool b, long ninth, long tenth)
{
    return c + f + s + d + k + (long) p + l + i + b + ninth + tenth;
}
__attribute__((noipa)) long behind(long n, struct big v, long m)
{
    return n + v.a[0] + m;
}
void run(void)
{
    for (;;) {
        mixed(-5, 1.5f, 65535, -0.25, TWO, (char *) 0x4321, -7000000000, -12, 1, 99, -100);
        behind(5, big, 6);
    }
}
"""


def test_arguments_that_are_not_stored_yet(tool: Tool, gdb_path: str, tmp_path: Path) -> None:
    """Without optimisation debug information has arguments on the stack, where something else is at the entry.

    They are as the source passes them.
    """
    (tmp_path / "main.c").write_text(_UNOPTIMISED)
    flags = "-O0 -g -ffreestanding -nostdlib -static -fno-pie -no-pie -fpatchable-function-entry=2"
    linking = "-Wl,--no-warn-rwx-segments,-Ttext=0x40080000,-N,--build-id=none,--section-start=.text.start=0x40000000"
    gcc = tool("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu")
    program = tmp_path / "program.elf"
    subprocess.run([gcc, *flags.split(), linking, "-o", program, "main.c"], cwd=tmp_path, check=True)
    (tmp_path / "gdbinit").write_text(f"file {program}\nsource {GDBINIT}\n")
    with (
        Session(program, memory="16M") as session,
        GdbSession(session, gdb=gdb_path, gdbinit=tmp_path / "gdbinit") as gdb,
    ):
        session.machine.registers["cpacr_el1"] = 3 << 20  # floating point does not trap
        gdb.execute("kprobe mixed stop=pre")
        gdb.execute("kprobe behind stop=pre")
        gdb.continue_to_stop()
        assert gdb.register("pc") == entry(program, "mixed") - 8
        assert gdb.execute("info args").splitlines()[1:] == [
            "c = -5 '\\373'", "f = 1.5", "s = 65535", "d = -0.25", "k = TWO",
            "p = 0x4321 <error: Cannot access memory at address 0x4321>", "l = -7000000000", "i = -12", "b = true",
            "ninth = 99", "tenth = -100",
        ]  # fmt: skip
        gdb.continue_to_stop()
        assert gdb.execute("info args").splitlines()[1:] == [
            "n = 5",
            f"v = <not known before {entry(program, 'behind'):#x}>",  # a pointer to it is passed
            f"m = <not known before {entry(program, 'behind'):#x}>",
        ]
