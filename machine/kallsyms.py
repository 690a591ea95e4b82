# SPDX-License-Identifier: GPL-2.0-or-later
"""The symbols a kernel Image carries: the tables that scripts/kallsyms.c writes and kernel/kallsyms.c reads.

Nothing in an Image says where they are. What gives them away is the table of tokens, in which the ten digits stand for
themselves, next to each other; from there each table is found by what must hold for it. Orders of the tables (aligned
to 8 bytes each) that are read:

    before 6.2  offsets, relative_base, num_syms, names, markers, token_table, token_index
    6.2, 6.3    the same with seqs_of_names between markers and token_table
    since 6.4   num_syms, names, markers, token_table, token_index, offsets, relative_base, seqs_of_names
"""

from __future__ import annotations

import re
import struct
from array import array
from collections.abc import Iterator
from typing import Final

from .errors import MachineError

_DIGITS: Final = b"".join(bytes((digit, 0)) for digit in b"0123456789")
_TOKENS: Final = 256
_NAMES_A_MARKER: Final = 256  # markers[i] is the offset of name 256 * i
_LONGEST_NAME: Final = 514  # KSYM_NAME_LEN of 512, and two bytes of length

_RELATIVE: Final = struct.pack("<Q", 0x403)  # R_AARCH64_RELATIVE, symbol 0: ELF for the Arm 64-bit Architecture
_LINK_ALIGNMENT: Final = 0x20_0000
_KERNEL_HALF: Final = 0xFFFF << 48
_NONE: Final = "this kernel Image carries no kallsyms tables that can be read (CONFIG_KALLSYMS), so it has no symbols"


def read(image: bytes) -> list[tuple[str, int, str]]:
    """The symbols of an uncompressed arm64 `image`: (name, link address, type letter of nm(1)), by address.

    Raises MachineError when it has none or keeps them in a form unknown here.
    """
    for tokens, table, index in _token_tables(image):
        for num_syms, names_at in _names_tables(image, table):
            names = _names(image, names_at, num_syms, tokens)
            addresses = _addresses(image, num_syms, names_at - 8, index + 2 * _TOKENS)
            if addresses:
                return [(name[1:], address, name[:1]) for name, address in zip(names, addresses, strict=True)]
    raise MachineError(_NONE)


def _align(offset: int) -> int:
    return (offset + 7) & ~7


def _token_tables(image: bytes) -> Iterator[tuple[list[str], int, int]]:
    """Each table of 256 tokens that token_index confirms: the tokens, where it is, and where token_index is."""
    run = image.find(_DIGITS)
    while run >= 0:
        end = run
        for _ in range(_TOKENS - ord("0")):
            end = image.find(b"\0", end) + 1
            if not end:
                break
        index = _align(end)
        if end and index + 2 * _TOKENS <= len(image):
            offsets = struct.unpack_from(f"<{_TOKENS}H", image, index)
            table = run - offsets[ord("0")]
            if table >= 0 and not offsets[0]:
                tokens = image[table : end - 1].split(b"\0")
                starts = [0]
                for token in tokens[:-1]:
                    starts.append(starts[-1] + len(token) + 1)
                if tuple(starts) == offsets:
                    yield [token.decode("latin-1") for token in tokens], table, index
        run = image.find(_DIGITS, run + 1)


def _names_tables(image: bytes, table: int) -> Iterator[tuple[int, int]]:
    """Each table of names before the token_table at `table` that has markers: num_syms and the offset of the names."""
    for markers_at, markers in _marker_tables(image, table):
        # num_syms is the 8 bytes before the names; the names end at the markers, up to alignment.
        latest = markers_at - markers[-1] - 8
        for at in range(latest & ~7, max(latest - _NAMES_A_MARKER * _LONGEST_NAME, 0), -8):
            num_syms, zero = struct.unpack_from("<II", image, at)
            if zero or not 0 <= len(markers) * _NAMES_A_MARKER - num_syms < _NAMES_A_MARKER:
                continue
            if _agree(image, at + 8, num_syms, markers, markers_at):
                yield num_syms, at + 8


def _marker_tables(image: bytes, table: int) -> Iterator[tuple[int, list[int]]]:
    """Runs of offsets that rise from 0 by what 256 names may take, nearest `table` first. 8 bytes each before 4.20."""
    size = table & ~7
    words = array("I", image[:size])
    smallest, largest = 2 * _NAMES_A_MARKER, _LONGEST_NAME * _NAMES_A_MARKER
    for first in range(len(words) - 4, -1, -2):
        if words[first]:
            continue
        for step in (1, 2):
            markers = [0]
            at = first + step
            while at < len(words) and smallest <= words[at] - markers[-1] <= largest:
                if step == 2 and words[at - 1]:
                    break
                markers.append(words[at])
                at += step
            if len(markers) > 1:
                yield first * 4, markers


def _agree(image: bytes, names_at: int, num_syms: int, markers: list[int], markers_at: int) -> bool:
    """Whether the names at `names_at` are where `markers` has them and end where the markers begin."""
    at = names_at
    for number in range(num_syms):
        if not number % _NAMES_A_MARKER and at - names_at != markers[number // _NAMES_A_MARKER]:
            return False
        length = image[at]
        at += 1
        if length & 0x80:
            length = (length & 0x7F) | image[at] << 7
            at += 1
        at += length
        if at > markers_at:
            return False
    return _align(at) == markers_at


def _names(image: bytes, names_at: int, num_syms: int, tokens: list[str]) -> list[str]:
    """The names, each with its type letter in front. A length above 127 takes two bytes since 6.1."""
    names = []
    expand = tokens.__getitem__
    at = names_at
    for _ in range(num_syms):
        length = image[at]
        at += 1
        if length & 0x80:
            length = (length & 0x7F) | image[at] << 7
            at += 1
        names.append("".join(map(expand, image[at : at + length])))
        at += length
    return names


def _addresses(image: bytes, num_syms: int, num_syms_at: int, after_tokens: int) -> list[int] | None:
    """The address of each name; None where neither order of the tables makes sense."""
    before = num_syms_at - 8
    for offsets_at, base_at in (
        ((before - 4 * num_syms) & ~7, before),
        (_align(after_tokens), _align(_align(after_tokens) + 4 * num_syms)),
    ):
        if offsets_at < 0 or base_at + 8 > len(image):
            continue
        offsets = array("I", image[offsets_at : offsets_at + 4 * num_syms])
        if offsets[-1] and sorted(offsets) == list(offsets):
            base = _relocated(image, base_at)
            if base is not None:
                return [base + offset for offset in offsets]
    return None


def _relocated(image: bytes, at: int) -> int | None:
    """The pointer at offset `at` as the kernel has it when it runs where it was linked.

    A linker that emits RELA leaves the place 0 and the value in the relocation; one that emits RELR, or a kernel linked
    not to be relocated, has it in place.
    """
    (value,) = struct.unpack_from("<Q", image, at)
    if value:
        return int(value) if value >= _KERNEL_HALF else None
    # The Image is linked at text_offset (its header's second doubleword) above a multiple of 2 MiB (asm/memory.h,
    # KIMAGE_VADDR), so the low half word of the place's address is known; and the value, the lowest symbol's address,
    # is in the first 2 MiB. Elsewhere in the Image, nothing of this form passes for it.
    (text_offset,) = struct.unpack_from("<Q", image, 8)
    low = struct.pack("<H", (at + text_offset) & 0xFFFF)
    pattern = re.compile(re.escape(low) + b".{4}\xff\xff" + re.escape(_RELATIVE), re.DOTALL)
    for match in pattern.finditer(image, 0, len(image) - 8):
        place, _, addend = struct.unpack_from("<QQQ", image, match.start())
        link_base = place - at
        if not (link_base - text_offset) % _LINK_ALIGNMENT and 0 <= addend - link_base < _LINK_ALIGNMENT:
            return int(addend)
    return None
