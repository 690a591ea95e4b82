# SPDX-License-Identifier: GPL-2.0-or-later
"""Kernel Images made here, with symbols as scripts/kallsyms.c of several kernels writes them."""

import re
import struct

Row = tuple[str, int, str]

LINK_BASE = 0xFFFF_8000_0800_0000

TOKENS = [bytes([code]) if 32 < code < 127 else b"sys_%x_" % code for code in range(256)]
"""Some that stand for themselves, as the digits must, and some that stand for more."""
_CODES = {token: code for code, token in enumerate(TOKENS)}
_LONGEST_FIRST = re.compile(b"|".join(map(re.escape, sorted(TOKENS, key=len, reverse=True))))


def write_image(rows: list[Row], layout: str, *, seed: int = 1) -> bytes:
    """An Image that carries `rows` as scripts/kallsyms.c of a kernel version writes them (their addresses ascend)."""
    wide = 4 if layout == "7.0" else 8
    names, markers = b"", []
    for number, (name, _, letter) in enumerate(rows):
        if not number % 256:
            markers.append(len(names))
        packed = bytes(_CODES[token] for token in _LONGEST_FIRST.findall((letter + name).encode()))
        size = len(packed)
        names += (bytes([size]) if size < 128 else bytes([size & 0x7F | 0x80, size >> 7])) + packed
    starts = [sum(len(token) + 1 for token in TOKENS[:code]) for code in range(256)]
    base = rows[0][1]
    tables = {
        "num_syms": struct.pack("<I", len(rows)),
        "names": names,
        "markers": struct.pack(f"<{len(markers)}{'Q' if layout == '4.19' else 'I'}", *markers),
        "token_table": b"".join(token + b"\0" for token in TOKENS),
        "token_index": struct.pack("<256H", *starts),
        "offsets": struct.pack(f"<{len(rows)}I", *(address - base for _, address, _ in rows)),
        "relative_base": struct.pack("<Q", 0 if layout in ("4.19", "6.1", "6.2") else base),
        "seqs": b"".join((number * 7919 % len(rows)).to_bytes(3, "big") for number in range(len(rows))),
    }
    old = ["offsets", "relative_base", "num_syms", "names", "markers"]
    order = {
        "4.19": [*old, "token_table", "token_index"],
        "6.1": [*old, "token_table", "token_index"],
        "6.2": [*old, "seqs", "token_table", "token_index"],
        "6.4": ["num_syms", "names", "markers", "token_table", "token_index", "offsets", "relative_base", "seqs"],
        "7.0": ["num_syms", "names", "markers", "token_table", "token_index", "offsets", "seqs"],
    }[layout]
    image = bytearray(bytes(8) + struct.pack("<Q", 0) + bytes(0x28) + b"ARMd" + bytes(4))
    image += (
        bytes(seed * 37 % 256 for seed in range(seed, seed + 4096))
        + b"0\x001\x002\x003\x004\x005\x006\x007\x008\x009\x00"
    )
    places = {}
    for name in order:
        image += bytes(-len(image) % wide)
        places[name] = len(image)
        image += tables[name]
    if layout == "7.0":
        for number, (_, address, _) in enumerate(rows):
            place = places["offsets"] + 4 * number
            struct.pack_into("<i", image, place, address - LINK_BASE - place)
    image += bytes(-len(image) % 8)
    for name, address, _ in rows:  # the table of system calls
        image += struct.pack("<Q", address) if name.startswith("__arm64_sys_") else b""
    relative_base = places.get("relative_base", 0)
    decoy = (relative_base + 0x20_0000, base + 0x50_0000)  # another place with the same low bits
    for place, value in ((0x1000, base + 64), decoy, (relative_base, base), (0x2008, base + 8)):
        image += struct.pack("<QQQ", LINK_BASE + place, 0x403, value)  # RELA
    return bytes(image)


ROWS = [
    (
        f"{'__arm64_sys_' if number % 40 == 7 else 'do_'}{number * 2654435761 % 2**32:x}",
        LINK_BASE + 0x10000 + 44 * number,
        "tTdb"[number % 4],
    )
    for number in range(1500)
]
LAYOUTS = ["4.19", "6.1", "6.2", "6.4", "7.0"]
