# SPDX-License-Identifier: GPL-2.0-or-later
"""Files of a few megabytes that cost gigabytes or minutes to read, if what they say is believed."""

import gzip
import json
import lzma
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from armprobe import machine
from armprobe.machine import Symbols
from armprobe.machine.loaders.snapshot_file import SECTIONS, VERSION
from tests.kernel.kernel_image import LINK_BASE, TOKENS
from tests.machine.snapshot_format import Parts, whole  # tests have no import name to go by

MB = 1_000_000
_ELF = b"\x7fELF\2\1\1".ljust(16, b"\0")
EXECUTABLE, RELOCATABLE = 2, 1


def elf(kind: int, programs: list[bytes], sections: list[bytes], content: bytes, *, shentsize: int = 64) -> bytes:
    """An ELF: header, `content` from 64 on, then the headers of programs and of sections."""
    phoff = 64 + len(content)
    shoff = phoff + sum(map(len, programs))
    counts = 64, 56, len(programs), shentsize, len(sections), 0
    places = 0x4008_0000, phoff, shoff if sections else 0
    header = struct.pack("<16sHHIQQQIHHHHHH", _ELF, kind, 183, 1, *places, 0, *counts)
    return header + content + b"".join(programs) + b"".join(sections)


def program(offset: int, size: int, address: int) -> bytes:
    return struct.pack("<IIQQQQQQ", 1, 5, offset, address, address, size, size, 4)


def section(kind: int, flags: int, offset: int, size: int, link: int = 0, entry: int = 0) -> bytes:
    return struct.pack("<IIQQQQIIQQ", 0, kind, flags, 0, offset, size, link, 0, 1, entry)


NONE = section(0, 0, 0, 0)


def overlapping_segments() -> bytes:
    """8,200 segments, each of all the file."""
    return elf(EXECUTABLE, [program(64, MB, 0x4000_0000 + number * 4096) for number in range(8200)], [], bytes(MB))


def segments_of_the_same_bytes() -> bytes:
    """As many as fit in memory one behind another."""
    return elf(EXECUTABLE, [program(64, MB, 0x4000_0000 + number * (1 << 20)) for number in range(250)], [], bytes(MB))


def _symbols(kind: int, names: list[int], strings: bytes, *, entry: int = 24) -> bytes:
    rows = b"".join(struct.pack("<IBBHQQ", name, 0x12, 0, 1, 0x4008_0000 + 4 * n, 4) for n, name in enumerate(names))
    code = struct.pack("<16I", *[0xD503201F] * 16)
    content = code + rows + strings
    sections = [
        NONE,
        section(1, 6, 64, len(code)),
        section(2, 0, 64 + len(code), len(rows), 3, entry),
        section(3, 0, 64 + len(code) + len(rows), len(strings)),
    ]
    return elf(kind, [program(64, len(code), 0x4008_0000)], sections, content)


def one_long_name(kind: int) -> bytes:
    """40,000 symbols that share a name of a megabyte."""
    return _symbols(kind, [1] * 40_000, b"\0" + b"a" * MB + b"\0")


def suffixes_of_one_name(kind: int) -> bytes:
    """Each of 40,000 symbols has another part of it."""
    return _symbols(kind, list(range(1, 40_001)), b"\0" + b"a" * 60_000 + b"\0")


def entries_of_one_byte(kind: int) -> bytes:
    return _symbols(kind, [1] * 40_000, b"\0a\0", entry=1)


def as_many_symbols_as_fit(kind: int) -> bytes:
    """8 MB of symbols with names of their own."""
    count = 280_000
    strings = b"\0" + b"".join(b"%x\0" % number for number in range(count))
    places, at = [], 1
    for number in range(count):
        places.append(at)
        at += len(b"%x\0" % number)
    return _symbols(kind, places, strings)


def sections_of_the_same_code() -> bytes:
    return elf(RELOCATABLE, [], [NONE, *[section(1, 6, 64, MB)] * 60_000], Random(1).randbytes(MB))


def as_many_sections_as_fit() -> bytes:
    return elf(EXECUTABLE, [program(64, 64, 0x4008_0000)], [NONE, *[section(1, 2, 64, 4)] * 65_000], bytes(64))


def any_instructions() -> bytes:
    return Random(2).randbytes(MB)


def refused_instructions() -> bytes:
    """Each of them is to be disassembled, if all are listed."""
    return struct.pack("<I", 0xD69F03E0) * (MB // 4)  # ERET


_IMAGE = struct.pack("<IIQQQQQQ4sI", 0x14000000, 0, 0, 0x80_0000, 0b1010, 0, 0, 0, b"ARMd", 0)
_TOKEN_TABLE = b"".join(token + b"\0" for token in TOKENS)
_TOKEN_INDEX = struct.pack("<256H", *(sum(len(token) + 1 for token in TOKENS[:code]) for code in range(256)))


def marker_runs() -> bytes:
    """32,000 tables of markers before one of tokens."""
    runs = struct.pack("<4I", 0, 1024, 2048, 3072) * 32_000
    tables = runs + _TOKEN_TABLE.ljust(-(-len(_TOKEN_TABLE) // 8) * 8, b"\0") + _TOKEN_INDEX
    return _IMAGE + tables.ljust(2 * MB, b"\0")


def counts_of_symbols() -> bytes:
    """Every word may be the number of symbols before names that are right as far as the first marker."""
    runs = struct.pack("<II", 300, 300) * 60_000 + struct.pack("<II", 0, 1024) * 2000
    tables = runs + _TOKEN_TABLE.ljust(-(-len(_TOKEN_TABLE) // 8) * 8, b"\0") + _TOKEN_INDEX
    return _IMAGE + tables


def token_tables() -> bytes:
    """2,000 of them, each after markers."""
    table = struct.pack("<4I", 0, 1024, 2048, 0) * 20 + _TOKEN_TABLE.ljust(-(-len(_TOKEN_TABLE) // 8) * 8, b"\0")
    return _IMAGE + (table + _TOKEN_INDEX) * 2000


def digits() -> bytes:
    """Only what gives a table of tokens away."""
    return _IMAGE + b"0\x001\x002\x003\x004\x005\x006\x007\x008\x009\x00" * 50_000


def expanding_names() -> bytes:
    """Names of 100 tokens of 240 characters."""
    tokens = [bytes([code]) if code in b"0123456789" else b"%03d" % code + b"x" * 237 for code in range(256)]
    starts = [sum(len(token) + 1 for token in tokens[:code]) for code in range(256)]
    count = 20_000
    names = (b"\x64" + b"\x80" * 100) * count
    markers = struct.pack(f"<{-(-count // 256)}I", *range(0, 101 * count, 101 * 256))
    body = b"".join(
        piece + bytes(-len(piece) % 8)
        for piece in (
            struct.pack(f"<{count}I", *range(0, 16 * count, 16)),
            struct.pack("<Q", LINK_BASE),
            struct.pack("<Q", count),
            names,
            markers,
            b"".join(token + b"\0" for token in tokens),
            struct.pack("<256H", *starts),
        )
    )
    return _IMAGE + body


def zeros_in_gzip() -> bytes:
    return gzip.compress(_IMAGE + bytes(100 << 20), 9)


def zeros_in_xz() -> bytes:
    payload = lzma.compress(_IMAGE + bytes(100 << 20), preset=0)
    head = struct.pack("<HH4sIIQ32s8x", 0x5A4D, 0, b"zimg", 0x400, len(payload), 0, b"xzkern")
    return head.ljust(0x400, b"\0") + payload


def large_image() -> bytes:
    return _IMAGE + Random(3).randbytes(8 * MB)


_STRINGS = b"\0module\0state\0"


def _btf(types: bytes) -> bytes:
    head = struct.pack("<HBB5I", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(_STRINGS))
    return head + types + _STRINGS


def nested_structs() -> bytes:
    """Each of 300,000 has the next, which has no name, in it."""
    types = [struct.pack("<6I", 1, 4 << 24 | 1, 8, 0, 2, 0)]
    types += [struct.pack("<6I", 0, 4 << 24 | 1, 8, 0, number + 1, 0) for number in range(2, 300_000)]
    return _btf(b"".join(types))


def structs_of_one_name() -> bytes:
    large = struct.pack("<3I", 0, 4 << 24 | 60_000, 8) + struct.pack("<3I", 1, 1, 0) * 60_000
    return _btf(large + struct.pack("<6I", 1, 4 << 24 | 1, 8, 0, 1, 0) * 100_000)


def deep_header() -> bytes:
    return whole(b'{"version": %d, "sections": ' % VERSION + b"[" * (2 * MB), [])


def wide_header() -> bytes:
    return whole(b'{"version": %d, "sections": [' % VERSION + b"{}," * 600_000 + b"0]}", [])


def long_header() -> bytes:
    return whole(b" " * (8 * MB), [])


def _with_state(state: bytes) -> bytes:
    """A snapshot of a machine with 4 MiB of memory, all zeros, and without symbols and a history."""
    contents = {
        **dict.fromkeys(SECTIONS, b""),
        "state": state,
        "symbols": Symbols([]).to_bytes(),
        "ram": bytes(4 << 20),
        "scratch": bytes(2 << 20),
    }
    sections = [
        {
            "name": name,
            "version": SECTIONS[name].version,
            "size": len(content),
            "filled": [[0, len(content)]] if content else [],
            "crc": zlib.crc32(content),
        }
        for name, content in contents.items()
    ]
    header = {"version": VERSION, "unicorn": "", "cpu": "cortex-a57", "kind": "elf", "sources": [], "key": ""}
    return whole(json.dumps({**header, "sections": sections}).encode(), list(contents.values()))


def deep_state() -> bytes:
    return _with_state(b"[" * (2 * MB))


def wide_state() -> bytes:
    return _with_state(b"[" + b"{}," * 600_000 + b"0]")


def long_state() -> bytes:
    return _with_state(b" " * (8 * MB))


def _with_history(change: Callable[[Parts, dict[str, Any]], None]) -> bytes:
    """A snapshot of the demo with its history, which `change` changes."""
    guest, path = machine.load("demo", memory="4M"), Path("with-history")
    guest.run(instructions=100_000)
    guest.save(path, history=True)
    parts = Parts.of(path.read_bytes())
    path.unlink()
    history = json.loads(parts.contents["history"])
    change(parts, history)
    parts.replace("history", json.dumps(history).encode())
    return parts.to_bytes()


def _events(count: int, value: bytes = b'["",true]') -> bytes:
    """So many times that interrupts are taken from now on: the shortest event there is."""
    return (struct.pack("<QQB3xII", 0, 0, 14, len(value), 0) + value) * count


def many_events() -> bytes:
    def change(parts: Parts, history: dict[str, Any]) -> None:
        parts.replace("events", _events(130_000))
        history["branches"][0]["events"] = history["cursor"] = 130_000

    return _with_history(change)


def branches_of_the_same_events() -> bytes:
    def change(parts: Parts, history: dict[str, Any]) -> None:
        parts.replace("events", _events(60_000))
        (main,) = history["branches"]
        main["events"] = history["cursor"] = 60_000
        for number in range(64):
            own = {"name": f"branch-{number}", "parent": "main", "common": 60_000, "events": 0, "states": 1}
            history["branches"].append(main | own)

    return _with_history(change)


def a_wide_event() -> bytes:
    def change(parts: Parts, history: dict[str, Any]) -> None:
        parts.replace("events", _events(1, b"[" + b"{}," * 2_000_000 + b"0]"))
        history["branches"][0]["events"] = history["cursor"] = 1

    return _with_history(change)


def as_many_checkpoints_as_fit() -> bytes:
    """Each is of the same state."""

    def change(parts: Parts, history: dict[str, Any]) -> None:
        clock = json.dumps({"clock": {**parts.state["clock"], "instructions": 0}}).encode()
        empty = struct.pack("<QQB3xII", 0, 0, 1, 2, 0) + b"{}"
        first = struct.pack("<QQB3xII", 0, 0, 1, len(clock), 0) + clock
        parts.replace("checkpoints", first + empty * 4095)
        parts.replace("pages", b"")
        history["states"] = history["branches"][0]["states"] = 4096

    return _with_history(change)


def pages_of_zeros() -> bytes:
    """A checkpoint in which the same page has changed again and again."""

    def change(parts: Parts, history: dict[str, Any]) -> None:
        clock = json.dumps({"clock": {**parts.state["clock"], "instructions": 0}}).encode()
        head = struct.pack("<QQB3xII", 0, 0, 1, len(clock), 4000) + clock
        parts.replace("checkpoints", head + bytes(8 * 4000))
        parts.replace("pages", bytes(4096 * 4000))

    return _with_history(change)


CRAFTED: dict[str, tuple[str, Callable[[], bytes]]] = {
    "overlapping segments": ("elf", overlapping_segments),
    "segments of the same bytes": ("elf", segments_of_the_same_bytes),
    "as many sections as fit": ("elf", as_many_sections_as_fit),
    "as many sections as fit (vmlinux)": ("vmlinux", as_many_sections_as_fit),
    **{
        f"{make.__name__.replace('_', ' ')} ({reader})": (reader, lambda make=make, kind=kind: make(kind))  # type: ignore[misc]
        for make in (one_long_name, suffixes_of_one_name, entries_of_one_byte, as_many_symbols_as_fit)
        for reader, kind in (("elf", EXECUTABLE), ("vmlinux", EXECUTABLE), ("code", RELOCATABLE))
    },
    "sections of the same code": ("code", sections_of_the_same_code),
    "any instructions": ("code", any_instructions),
    "refused instructions": ("code", refused_instructions),
    "marker runs": ("image", marker_runs),
    "counts of symbols": ("image", counts_of_symbols),
    "token tables": ("image", token_tables),
    "digits": ("image", digits),
    "expanding names": ("image", expanding_names),
    "zeros in gzip": ("image", zeros_in_gzip),
    "zeros in xz": ("image", zeros_in_xz),
    "large image": ("image", large_image),
    "nested structs": ("btf", nested_structs),
    "structs of one name": ("btf", structs_of_one_name),
    "deep header": ("snapshot", deep_header),
    "wide header": ("snapshot", wide_header),
    "long header": ("snapshot", long_header),
    "deep state": ("snapshot", deep_state),
    "wide state": ("snapshot", wide_state),
    "long state": ("snapshot", long_state),
    "many events": ("snapshot", many_events),
    "branches of the same events": ("snapshot", branches_of_the_same_events),
    "a wide event": ("snapshot", a_wide_event),
    "as many checkpoints as fit": ("snapshot", as_many_checkpoints_as_fit),
    "pages of zeros": ("snapshot", pages_of_zeros),
}
"""By name: what reads it, a key of `mutants.READERS`, and what makes it."""
