# SPDX-License-Identifier: GPL-2.0-or-later
"""Files as somebody hostile would make them, and what it costs to read each.

    python -m tests.machine.mutants FORMAT COUNT SEED FOLDER

reads that many mutants of a format in a process of its own and prints what came of them, as JSON. A file may be
refused, in one sentence, or accepted. Reading it may not raise anything else, take more than 2 s of CPU time for each
MB (2 s for less than that), or have the process grow by more than 4 times the file and 64 MiB. The mutant that is being
read is in FOLDER/mutant, where it stays if the process dies.
"""

import contextlib
import ctypes
import gc
import gzip
import json
import lzma
import os
import resource
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, NamedTuple
from unittest import mock

from armprobe import machine
from armprobe.commands.check import decode_file
from armprobe.commands.disassembly import read_code
from armprobe.commands.errors import CommandError
from armprobe.commands.render.text import as_text
from armprobe.kernel.btf import Btf
from armprobe.kernel.dwarf import Dwarf
from armprobe.kernel.modules import _Layout
from armprobe.machine import MachineError, Symbols
from armprobe.machine.loaders import DEMO, read_guest, vmlinux
from armprobe.machine.loaders.snapshot_file import MAGIC, VERSION
from tests.kernel.kernel_image import LAYOUTS, ROWS, write_image
from tests.kernel.test_dwarf import section_header
from tests.machine.hostile import CRAFTED
from tests.machine.snapshot_format import FIXED, PAGE, Parts
from tests.memories import memory_of

MIB = 1 << 20
SECONDS_A_MB = 2
GROWTH, GROWTH_MORE = 4, 64 * MIB
_LIMIT = 4 << 30  # bytes of address space: a mutant that takes this much ends in MemoryError, not in a dead computer

_LIBC = ctypes.CDLL(None)
_MEMFD = os.memfd_create
_NUMBERS = [0, 1, 2, 7, 8, 24, 0x7F, 0xFF, 0x100, 0xFFFF, 0x1_0000, 0x7FFF_FFFF, 0xFFFF_FFFF, 1 << 32, 1 << 40, 1 << 62]
_NUMBERS += [(1 << 63) - 1, 1 << 63, (1 << 64) - 1, 0x4000_0000, 0x4010_0000, 0xFFFF_8000_0000_0000]


class Seed(NamedTuple):
    """A good file, and where in it the numbers are that say what else there is: (offset, size) of their tables."""

    data: bytes
    tables: tuple[tuple[int, int], ...]


def mutated(random: Random, seed: Seed) -> bytes:
    """The file after one to six changes, most of them to numbers in its tables."""
    data = bytearray(seed.data)
    for _ in range(random.randint(1, 6)):
        at, size = random.choice(seed.tables) if random.random() < 0.8 else (0, len(data))
        place = at + random.randrange(max(size, 1))
        width = random.choice((1, 2, 4, 8))
        number = random.choice((*_NUMBERS, len(data), random.randrange(len(data) + 1), random.getrandbits(64)))
        match random.randrange(12):
            case 0:
                del data[place : place + random.randrange(200)]
            case 1:
                data[place:place] = data[at : at + random.randrange(1, 5000)] * random.randrange(1, 50)
            case 2:
                other = random.randrange(len(data) + 1)
                count = random.randrange(200)
                data[place : place + count] = data[other : other + count]
            case 3 if random.random() < 0.3:
                del data[place:]
            case 4 if random.random() < 0.1:
                data += random.choice((bytes(MIB), data[:MIB], random.randbytes(MIB)))
            case _:
                place -= place % width  # as most are aligned
                data[place : place + width] = (number & (1 << 8 * width) - 1).to_bytes(width, "little")
        if not data:
            return b""
    return bytes(data)


# Formats: the good files, and what reads one


def _elf_seeds() -> list[Seed]:
    data = DEMO.read_bytes()
    (phoff, shoff), (phnum, _, shnum) = struct.unpack_from("<QQ", data, 32), struct.unpack_from("<HHH", data, 56)
    tables = [(0, 64), (phoff, 56 * phnum), (shoff, 64 * shnum)]
    for number in range(shnum):
        at, size = struct.unpack_from("<QQ", data, shoff + 64 * number + 24)
        if struct.unpack_from("<I", data, shoff + 64 * number + 4)[0] == 2:  # SHT_SYMTAB
            tables.append((at, size))
    relocatable = data[:16] + struct.pack("<H", 1) + data[18:]
    return [Seed(data, tuple(tables)), Seed(relocatable, tuple(tables))]


def _image_seeds() -> list[Seed]:
    seeds = []
    for layout in LAYOUTS:
        data = write_image(ROWS[:700], layout)
        tokens = data.rindex(b"0\x001\x002\x003\x00") - 500
        seeds.append(Seed(data, ((0, 64), (4096, tokens - 4096), (tokens, 3000), (tokens - 100, 100))))
    return seeds


def _packed_seeds() -> list[Seed]:
    image = write_image(ROWS[:300], "6.1")
    packed = [gzip.compress(image)]
    for name, payload in ((b"gzip", gzip.compress(image)), (b"xzkern", lzma.compress(image, preset=0))):
        head = struct.pack("<HH4sIIQ32s8x", 0x5A4D, 0, b"zimg", 0x400, len(payload), 0, name)
        packed.append(head.ljust(0x400, b"\0") + payload)
    return [Seed(data, ((0, 64), (len(data) - 16, 16))) for data in packed]


def _btf_seeds() -> list[Seed]:
    """The structs that modules are read by, the parts of one within nameless structs."""
    strings, offsets = bytearray(b"\0"), {"": 0}

    def name(text: str) -> int:
        if text not in offsets:
            offsets[text] = len(strings)
            strings.extend(text.encode() + b"\0")
        return offsets[text]

    def structure(called: str, members: list[tuple[str, int]]) -> bytes:
        rows = [struct.pack("<3I", name(member), kind, 64 * number) for number, (member, kind) in enumerate(members)]
        return struct.pack("<3I", name(called), 4 << 24 | len(members), 8 * len(members)) + b"".join(rows)

    types = struct.pack("<4I", name("int"), 1 << 24, 4, 32)  # 1
    types += structure("", [("state", 1), ("list", 1)]) + structure("", [("", 2), ("name", 1)])  # 2, 3
    types += structure("module", [("", 3), ("kallsyms", 1), ("mem", 1)])
    types += structure("mod_kallsyms", [(member, 1) for member in ("symtab", "num_symtab", "strtab", "typetab")])
    types += structure("module_memory", [("base", 1), ("size", 1)])
    head = struct.pack("<HBB5I", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(strings))
    return [Seed(head + types + bytes(strings), ((0, 24), (24, len(types))))]


def _dwarf_seeds() -> list[Seed]:
    data, tables = DEMO.read_bytes(), []
    for name in (b".debug_info", b".debug_abbrev", b".debug_str"):
        tables.append(struct.unpack_from("<QQ", data, section_header(data, name) + 24))
    return [Seed(data, tuple(tables))]


def _snapshot_seeds() -> list[Seed]:
    path = Path("demo.snapshot")
    guest = machine.load("demo", memory="4M")
    guest.timeline.pacing.spacing = 500_000
    guest.run(instructions=2_000_000)
    plain = guest.snapshot()
    guest.save(path)
    files = [path.read_bytes()]
    guest.restore(plain)
    for number in range(3):
        guest.console.write(b"typed")
        guest.run(instructions=600_000)
        guest.call("strlen", guest.symbols["strlen"].address)
        guest.timeline.go(guest.instructions - 300_000)
        guest.registers.x[9] = number  # begins a branch
    guest.timeline.marks["here"] = guest.instructions
    guest.save(path, history=True)
    files.append(path.read_bytes())
    path.unlink()
    return [Seed(data, _tables(data)) for data in files]


def _tables(data: bytes) -> tuple[tuple[int, int], ...]:
    """Where a snapshot has its header and its state."""
    (length,) = struct.unpack_from("<Q", data, len(MAGIC))
    return (0, FIXED), (FIXED, length + 4), (FIXED + length + PAGE, 20_000)


_ODD: list[Any] = [None, True, False, -1, 1.5, "", "x", "1", [], {}, [[]], [0], [0, 0], {"": 0}, "\ud800", 1 << 200]


def mutated_snapshot(random: Random, seed: Seed) -> bytes:
    """Most of the time with values of its JSON replaced, left out or added, and right checksums."""
    if random.random() < 0.3:
        return mutated(random, seed)
    parts = Parts.of(seed.data)
    history = json.loads(parts.contents["history"] or b"{}")
    if history and random.random() < 0.4:
        name = random.choice(("events", "checkpoints"))
        content = parts.contents[name]
        parts.replace(name, mutated(random, Seed(content, ((0, len(content)),))))
    for _ in range(random.randint(1, 4)):
        value: Any = random.choice((parts.header, parts.state, *(history,) * 2 * bool(history)))
        while True:
            keys = list(value) if isinstance(value, dict) else range(len(value))
            if not keys:
                break
            key = random.choice(keys)
            if isinstance(value[key], dict | list) and value[key] and random.random() < 0.9:
                value = value[key]
                continue
            match random.randrange(12):
                case 0:
                    del value[key]
                case 1 if isinstance(value, dict):
                    value[random.choice(("extra", "0", "x0", "base"))] = random.choice((*_ODD, *_NUMBERS))
                case 2 if isinstance(value, list):
                    value.insert(key, random.choice((*_ODD, *_NUMBERS)))
                case 3 | 4:
                    value[key] = random.choice(_ODD)
                case 5:
                    value[key] = random.choice((*_NUMBERS, random.getrandbits(64)))
                case _ if type(value[key]) is int:
                    value[key] ^= 1 << random.randrange(max(value[key].bit_length(), 1) + 1)
            break
    if random.random() < 0.9:
        parts.header["version"] = VERSION
    if parts.contents["history"]:
        parts.replace("history", json.dumps(history).encode())
    return parts.to_bytes()


def _load(path: Path) -> None:
    read_guest(path)


def _boot(path: Path) -> None:
    """With it as the initial RAM disk too, which may be anything."""
    read_guest(path, initrd=path)


def _vmlinux(path: Path) -> None:
    """Of a kernel without symbols, then of one with the demo's functions."""
    demo = read_guest("demo")
    functions = Symbols(symbol for symbol in demo.symbols if symbol.kind == "function")
    with contextlib.suppress(MachineError):
        vmlinux.read(path, Symbols(), lambda _: demo.segments[0].data)
    vmlinux.read(path, functions, lambda _: demo.segments[0].data)


def _decode(path: Path) -> None:
    assert len(as_text(decode_file(path.name, read_code(path), "v6.1"))) < MIB


def _types(path: Path) -> None:
    _Layout(Btf(path.read_bytes()))


def _dwarf(path: Path) -> None:
    types = Dwarf(path)
    for name in ("task_struct", "pt_regs", "nobody"):
        if name in types:
            assert len(types[name].members) < 100_000


def _resume(path: Path) -> None:
    """And run it, and go back: what was accepted must not harm the engine."""
    guest = machine.load(path)
    timeline, here = guest.timeline, guest.instructions
    with contextlib.suppress(MachineError):
        timeline.go(timeline.start)
        timeline.go(min(timeline.start + 2000, timeline.end))
    with contextlib.suppress(MachineError):
        timeline.go(here)
    guest.run(instructions=2000)
    guest.reset()
    guest.run(instructions=2000)


Mutate = Callable[[Random, Seed], bytes]
FORMATS: dict[str, tuple[Callable[[], list[Seed]], Mutate, Callable[[Path], None]]] = {
    "elf": (_elf_seeds, mutated, _load),
    "vmlinux": (_elf_seeds, mutated, _vmlinux),
    "code": (_elf_seeds, mutated, _decode),
    "image": (_image_seeds, mutated, _boot),
    "packed": (_packed_seeds, mutated, _load),
    "btf": (_btf_seeds, mutated, _types),
    "dwarf": (_dwarf_seeds, mutated, _dwarf),
    "snapshot": (_snapshot_seeds, mutated_snapshot, _resume),
}
READERS = {"elf": _load, "vmlinux": _vmlinux, "code": _decode, "image": _load, "btf": _types, "snapshot": _resume}


# What reading one costs


def cost(read: Callable[[Path], None], path: Path) -> tuple[str, float, float]:
    """What became of reading the file, how many of its allowed seconds it took, and of its allowed bytes."""
    gc.collect()
    _LIBC.malloc_trim(0)  # memory that was freed before would be taken first, and not counted
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    held: list[int] = []  # the files in memory that are made: as large as they were at most, until they are closed

    def create(*arguments: Any) -> int:
        held.append(made := _MEMFD(*arguments))
        return os.dup(made)

    before, start = memory_of(os.getpid(), "VmRSS"), time.process_time()
    try:
        with mock.patch("os.memfd_create", create):
            read(path)
        outcome = "accepted"
    except (MachineError, CommandError) as error:
        outcome = "refused" if "\n" not in str(error) else f"more than one sentence: {error}"
    except BaseException as error:
        outcome = f"{type(error).__name__}: {error}"[:300]
    took, grew, size = time.process_time() - start, memory_of(os.getpid(), "VmHWM") - before, path.stat().st_size
    for descriptor in held:
        os.close(descriptor)
    return outcome, took / (SECONDS_A_MB * max(size / 1e6, 1)), grew / (GROWTH * size + GROWTH_MORE)


def main(wanted: str, count: int, seed: int, folder: Path) -> dict[str, object]:
    """Read `count` mutants of the format `wanted`, or all that are "crafted"; what came of them."""
    resource.setrlimit(resource.RLIMIT_AS, (_LIMIT, resource.getrlimit(resource.RLIMIT_AS)[1]))
    path, outcomes = folder / "mutant", Counter[str]()
    longest = largest = (0.0, "")
    files = _crafted() if wanted == "crafted" else _mutants(wanted, count, seed)
    for name, data, read in files:
        path.write_bytes(data)
        outcome, seconds, growth = cost(read, path)
        if max(seconds, growth) > 1:  # pages that the system had reclaimed before come back, and count, once
            outcome, seconds_again, growth_again = cost(read, path)
            seconds, growth = min(seconds, seconds_again), min(growth, growth_again)
        good = outcome in ("accepted", "refused")
        outcomes[outcome if good else f"{name}: {outcome}"] += 1
        longest, largest = max(longest, (seconds, name)), max(largest, (growth, name))
    path.unlink()
    return {"outcomes": outcomes, "longest": longest, "largest": largest}


def _mutants(wanted: str, count: int, seed: int) -> Any:
    seeds, mutate, read = FORMATS[wanted]
    files = seeds()
    for file in files:  # a good one is accepted, and what is loaded on first use is there
        Path("seed").write_bytes(file.data)
        try:
            read(Path("seed"))
        except MachineError:
            assert wanted in ("elf", "vmlinux")  # the one that is relocatable
    for number in range(count):
        random = Random(f"{wanted} {seed} {number}")
        yield f"{seed} {number}", mutate(random, random.choice(files)), read


def _crafted() -> Any:
    machine.load("demo", memory="16M").run(instructions=1000)
    for name, (kind, make) in CRAFTED.items():
        yield name, make(), READERS[kind]


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))))
