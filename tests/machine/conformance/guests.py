# SPDX-License-Identifier: GPL-2.0-or-later
"""The conformance guests: what each case is expected to report, by which rule, and how a guest is run.

A case in a guest's source is preceded by its expectation and, where QEMU is known to differ, by why:

    //! KEY=VALUE ... | SOURCE
    //? REASON
    case NAME

A value is hexadecimal, or a symbol with an offset (`data+8`). `count` is 1 unless it is said, as are exceptions.
"""

import re
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from armprobe import machine
from armprobe.machine import StopReason
from tests.waiting import PATIENCE

HERE = Path(__file__).parent
NAMES = tuple(sorted(path.stem for path in HERE.glob("*.S")))
QEMU_BOARD = "-M virt,gic-version=2 -cpu cortex-a57 -m 256M -display none -serial stdio -monitor none"

_CASE = re.compile(r"^ *//! (.*?) \| (.*)\n(?: *//\? (.*)\n)? *(?:gic_)?case (\w+)$", re.MULTILINE)

_IRP = re.compile(r"^ *\.irp (\w+), (.*)\n((?:.*\n)*?) *\.endr\n", re.MULTILINE)

Report = dict[str, dict[str, int]]
"""Case -> key -> value."""


@dataclass(frozen=True)
class Case:
    """One case: what it is expected to report, the source of that, and why QEMU differs, if it is known to."""

    name: str
    expected: dict[str, int]
    text: str
    source: str
    qemu_differs: str


@cache
def cases(guest: str) -> tuple[Case, ...]:
    """The cases of a guest, in order."""
    source = _IRP.sub(_repeated, (HERE / f"{guest}.S").read_text())
    with elf(guest).open("rb") as file:
        table = ELFFile(file).get_section_by_name(".symtab")
        assert isinstance(table, SymbolTableSection)
        symbols = {symbol.name: symbol["st_value"] for symbol in table.iter_symbols()}
    found = []
    for text, why, differs, name in _CASE.findall(source):
        expected = {"count": 1}
        for pair in text.split():
            key, value = pair.split("=")
            symbol, _, offset = value.partition("+")
            expected[key] = symbols[symbol] + int(offset or "0", 16) if symbol in symbols else int(value, 16)
        found.append(Case(name, expected, text, why, differs))
    assert [case.name for case in found] == re.findall(r"^ *(?:gic_)?case (\w+)$", source, re.MULTILINE)
    return tuple(found)


def _repeated(irp: re.Match[str]) -> str:
    """What the assembler makes of .irp."""
    name, values, body = irp.groups()
    return "".join(body.replace(f"\\{name}\\()", value).replace(f"\\{name}", value) for value in values.split(", "))


def elf(guest: str) -> Path:
    """The guest as it is committed."""
    return HERE / f"{guest}.elf"


def run_here(guest: str) -> Report:
    """What the guest reports on our machine."""
    loaded = machine.load(elf(guest))
    stop = loaded.run(instructions=20_000_000)
    printed = loaded.console.read().decode()
    assert stop.reason is StopReason.POWER_OFF, printed[-2000:]
    return parse_report(printed)


def run_in_qemu(qemu: str, guest: str) -> Report:
    """What the guest reports on QEMU's virt board."""
    command = [qemu, *QEMU_BOARD.split(), "-kernel", str(elf(guest))]
    return parse_report(subprocess.run(command, capture_output=True, timeout=PATIENCE, check=True).stdout.decode())


def parse_report(printed: str) -> Report:
    """What a guest's lines say."""
    report: Report = {}
    for line in printed.strip().splitlines():
        name, *pairs = line.split()
        assert name not in report
        report[name] = {key: int(value, 16) for key, value in (pair.split("=") for pair in pairs)}
    return report
