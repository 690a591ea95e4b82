# SPDX-License-Identifier: GPL-2.0-or-later
"""Put on record what a stock kernel's functions answer: python -m tests.oracle.record_functions SUITE KERNEL.

`make record` does it after the rest. Of what the tests ask a kernel that can be had, this is a part. Its arguments are
those of `record`.
"""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
from array import array
from collections.abc import Sequence
from pathlib import Path

from armprobe.guests.linux.debian import KernelFiles, fetch_kernel
from armprobe.kernel.code_tables import CodeTables
from armprobe.kernel.text import Text
from tests.oracle import test_blacklist, test_decode, test_exclusives, test_simulate, test_tables
from tests.oracle.cold_kernel import ColdKernel
from tests.oracle.function_records import SEQUENCES, SHARE, STATES, Answer, FunctionRecord, digest
from tests.oracle.references import Reference
from tests.oracle.words import BITS, GROUPS, group

_TEXT = 128  # of how many different words of the text one is on record
_NEAR = 150  # instructions shortly after exclusives
_BEFORE = 40  # instructions before each of these


def record_functions(files: KernelFiles) -> Path:
    """Ask the kernel in `files`; the file that its answers are in."""
    compiler = shutil.which("aarch64-linux-gnu-gcc")
    assert compiler, "aarch64-linux-gnu-gcc is not installed (Debian: apt-get install gcc-aarch64-linux-gnu)"
    with tempfile.TemporaryDirectory() as folder:
        kernel = ColdKernel(files.vmlinuz, Reference.era_of(files), compiler, Path(folder))
    record = FunctionRecord(files.package_version.partition("-")[0], f"linux {files.package_version}")
    _decode(kernel, record)
    _exclusives(kernel, record)
    for simulator in sorted({row.simulator for row in kernel.era.rows if row.simulator}):
        record.simulated[simulator] = test_simulate.asked(kernel, simulator, STATES).to_json()
    names = {name for area in kernel.era.blacklist for name in area}
    names |= {name for each in test_tables.TABLES for name in each} | {"init_kprobes", "_stext", "_etext"}
    for name in sorted(names):
        symbol = kernel.symbols.get(name)
        if symbol is None:
            continue
        record.symbols.append((name, symbol.address, "t"))
        if name in ("init_kprobes", *(each[0] for each in test_tables.TABLES)):
            record.code[name] = _words(kernel, symbol.address, symbol.size)
            record.symbols.append((f"{name}.end", symbol.address + symbol.size, "t"))  # as no symbol has its size
    record.blacklisted = test_blacklist.areas_added(kernel)
    tables = CodeTables(kernel.machine, Text(kernel.machine, {}))
    for function, start, end in test_tables.TABLES:
        record.tables[function] = test_tables.asked(kernel, tables, function, start, end)
    return record.save()


def _decode(kernel: ColdKernel, record: FunctionRecord) -> None:
    letters: dict[Answer, str] = {}

    def written(words: Sequence[int]) -> str:
        answers = test_decode.kernels(kernel, array("I", words))
        return "".join(letters.setdefault(answer, chr(ord("a") + len(letters))) for answer in answers)

    record.rows = BITS
    for name in GROUPS:
        words = group(name, False)[::SHARE]
        record.decoded[name] = {"words": digest(words), "answers": written(words)}
    text = list(dict.fromkeys(kernel.text()[1]))[::_TEXT]
    record.text = {"words": text, "answers": written(text)}
    record.answers = list(letters)


def _exclusives(kernel: ColdKernel, record: FunctionRecord) -> None:
    sequences = test_exclusives.Sequences(kernel, SEQUENCES)
    record.sequences = {"words": digest(sequences.words), "answers": "".join(map(str, sequences.answers))}
    start, words = kernel.text()
    near = [index for index in test_exclusives.shortly_after_exclusives(words) if index >= _BEFORE]
    chosen = random.Random(5).sample(near, _NEAR)
    answers = test_exclusives.kernels(kernel, [start + 4 * index for index in chosen])
    for index, answer in zip(chosen, answers, strict=True):
        covering = kernel.symbols.at(start + 4 * index)
        assert covering is not None
        offset = min(start + 4 * index - covering[0].address, 4 * _BEFORE)
        before = words[index - offset // 4 : index + 1] if offset % 4 == 0 else words[index - _BEFORE : index + 1]
        record.near_exclusives.append((offset, list(before), answer))


def _words(kernel: ColdKernel, address: int, size: int) -> list[int]:
    return list(array("I", kernel.machine.memory.read(address, size // 4 * 4)))


def main(suite: str, kernel: str) -> int:
    """Make the record."""
    path = record_functions(fetch_kernel(suite=suite, series=kernel))
    print(f"{path}: {path.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
