# SPDX-License-Identifier: GPL-2.0-or-later
"""The symbols in a kernel Image: the tables that scripts/kallsyms.c writes and kernel/kallsyms.c reads.

An Image does not say where they are. The table of tokens is found first: in it the ten digits stand for themselves, one
after the other. The other tables are then found by conditions that each must meet. The orders of the tables that are
understood, since Linux 4.6:

    before 6.2  offsets, relative_base, num_syms, names, markers, token_table, token_index
    6.2, 6.3    the same with seqs_of_names between markers and token_table
    since 6.4   num_syms, names, markers, token_table, token_index, offsets, relative_base, seqs_of_names
    since 7.0   the same without relative_base: an offset counts from its own place (commit a081b5789255)

They are aligned to 8 bytes, since 7.0 to 4.
"""

from __future__ import annotations

import re
import struct
from array import array
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import Final

from armprobe.machine.errors import MachineError
from armprobe.machine.lazy_dataclass import lazy_dataclass

_DIGITS: Final = b"".join(bytes((digit, 0)) for digit in b"0123456789")
_TOKENS: Final = 256
_NAMES_A_MARKER: Final = 256  # markers[i] is the offset of name 256 * i
_LONGEST_NAME: Final = 514  # KSYM_NAME_LEN of 512, and two bytes of length

# An Image is not trusted: it may have any number of plausible tables, with names that expand to any length.
_LONGEST_TOKENS: Final = 1 << 16  # bytes of token_table: an offset into it has 16 bits
_EXPANSION: Final = 4  # bytes of names for each byte of their table, at most; kernels have 2
_BYTES_A_SYMBOL: Final = 64  # of the Image, at least; kernels have 200
_MOST_POINTERS: Final = 10_000  # with the same low half word; a kernel has about ten
_FEW_SYMBOLS: Final = 1 << 16  # so many are allowed in any Image

_MARKERS_WITHIN: Final = 2 << 20  # bytes before token_table; between them is seqs_of_names, 3 bytes a symbol, at most

_RELATIVE: Final = struct.pack("<Q", 0x403)  # R_AARCH64_RELATIVE, symbol 0: ELF for the Arm 64-bit Architecture
_KERNEL_HALF: Final = 0xFFFF << 48
_LINK_ALIGNMENT: Final = 0x20_0000  # an Image is linked at text_offset above a multiple of this (asm/memory.h)
_NONE: Final = "this kernel Image carries no kallsyms tables that can be read (CONFIG_KALLSYMS), so it has no symbols"


@lazy_dataclass
class _TokenTables:
    """token_table and token_index: the tokens, the offset of the first table, and the offset after the second."""

    tokens: list[str]
    start: int
    end: int
    alignment: int


class _Search:
    """A bound on the time of the search, in steps of about a microsecond; each part of it calls `spend`."""

    def __init__(self, size: int) -> None:
        """Set the bound for an Image of `size` bytes. Debian's kernels take less than a tenth of it."""
        self._left = 1_000_000 + size // 2

    def spend(self, steps: int) -> None:
        """Take `steps` from what is left. Raises MachineError when that is less."""
        self._left -= steps
        if self._left < 0:
            raise MachineError(f"{_NONE}: too much in it looks like them")


def read(image: bytes) -> list[tuple[str, int, str]]:
    """The symbols of an uncompressed arm64 `image`: (name, link address, type letter of nm(1)), by address.

    Raises MachineError when it has none or keeps them in a form unknown here.
    """
    search = _Search(len(image))
    for table in _token_tables(image, search):
        for num_syms, names_at in _names_tables(image, table, search):
            names = _names(image, names_at, num_syms, table.tokens)
            search.spend(4 * num_syms)
            if names is not None and (addresses := _addresses(image, names, names_at, table, search)):
                return [(name[1:], address, name[:1]) for name, address in zip(names, addresses, strict=True)]
    raise MachineError(_NONE)


def _align(offset: int, alignment: int) -> int:
    return -(-offset // alignment) * alignment


def _token_tables(image: bytes, search: _Search) -> Iterator[_TokenTables]:
    """Each table of 256 tokens that is followed by its token_index."""
    run = image.find(_DIGITS)
    while run >= 0:
        search.spend(_TOKENS)
        end, limit = run, run + _LONGEST_TOKENS
        for _ in range(_TOKENS - ord("0")):
            end = image.find(b"\0", end, limit) + 1
            if not end:
                break
        for alignment in (8, 4):
            index = _align(end, alignment)
            if not end or index + 2 * _TOKENS > len(image):
                continue
            offsets = struct.unpack_from(f"<{_TOKENS}H", image, index)
            start = run - offsets[ord("0")]
            if start >= 0 and _offsets_of(tokens := image[start : end - 1].split(b"\0")) == list(offsets):
                yield _TokenTables([token.decode("latin-1") for token in tokens], start, index + 2 * _TOKENS, alignment)
        run = image.find(_DIGITS, run + 1)


def _offsets_of(tokens: list[bytes]) -> list[int]:
    offsets = [0]
    for token in tokens[:-1]:
        offsets.append(offsets[-1] + len(token) + 1)
    return offsets


def _names_tables(image: bytes, table: _TokenTables, search: _Search) -> Iterator[tuple[int, int]]:
    """Each table of names with markers before `table`: num_syms and the offset of the names."""
    alignment = table.alignment
    most = _FEW_SYMBOLS + len(image) // _BYTES_A_SYMBOL
    for markers_at, markers in _marker_tables(image, table.start, search):
        # num_syms comes right before the names; the names end at the markers, up to alignment.
        latest = (markers_at - markers[-1] - alignment) // alignment * alignment
        places = range(latest, max(latest - _NAMES_A_MARKER * _LONGEST_NAME, 0), -alignment)
        search.spend(len(places) // 2)
        for at in places:
            num_syms = int.from_bytes(image[at : at + alignment], "little")
            if num_syms <= most and 0 <= len(markers) * _NAMES_A_MARKER - num_syms < _NAMES_A_MARKER:
                end = _end_of_names(image, at + alignment, num_syms, markers, markers_at, search)
                if end is not None and _align(end, alignment) == markers_at:
                    yield num_syms, at + alignment


def _marker_tables(image: bytes, before: int, search: _Search) -> Iterator[tuple[int, list[int]]]:
    """Runs of offsets from 0, each larger by the size of 256 names: (place, offsets), nearest to `before` first.

    They have 4 bytes each, 8 before 4.20.
    """
    start = max(before // 4 * 4 - _MARKERS_WITHIN, 0)
    words = array("I", image[start : before // 4 * 4])
    search.spend(len(words) // 4)
    smallest, largest = 2 * _NAMES_A_MARKER, _LONGEST_NAME * _NAMES_A_MARKER
    for first in range(len(words) - 1, -1, -1):
        if words[first]:
            continue
        for step in (1, 2):
            markers = [0]
            for at in range(first + step, len(words), step):
                if not smallest <= words[at] - markers[-1] <= largest or (step == 2 and words[at - 1]):
                    break
                markers.append(words[at])
            if len(markers) > 1:
                yield start + first * 4, markers


def _end_of_names(
    image: bytes, names_at: int, num_syms: int, markers: list[int], limit: int, search: _Search
) -> int | None:
    """The end of the names at `names_at`; None if they disagree with `markers` or extend beyond `limit`."""
    at = names_at
    for number in range(num_syms):
        if not number % _NAMES_A_MARKER:
            if at - names_at != markers[number // _NAMES_A_MARKER]:
                return None
            search.spend(_NAMES_A_MARKER // 2)
        length = image[at]
        at += 1
        if length & 0x80:
            length = (length & 0x7F) | image[at] << 7
            at += 1
        at += length
        if at > limit:
            return None
    return at


def _names(image: bytes, names_at: int, num_syms: int, tokens: list[str]) -> list[str] | None:
    """The names, each after its type letter; None if they are too long.

    A length above 127 takes two bytes since 6.1.
    """
    names = []
    room = 0
    expand = tokens.__getitem__
    at = names_at
    for _ in range(num_syms):
        length = image[at]
        at += 1
        if length & 0x80:
            length = (length & 0x7F) | image[at] << 7
            at += 1
        name = "".join(map(expand, image[at : at + length]))
        at += length
        room += _EXPANSION * (length + 1) - len(name)
        if len(name) > _LONGEST_NAME or room < -_FEW_SYMBOLS:
            return None
        names.append(name)
    return names


def _addresses(image: bytes, names: list[str], names_at: int, table: _TokenTables, search: _Search) -> list[int] | None:
    """The address of each name; None if the tables are in no known order."""
    count, alignment = len(names), table.alignment
    after = _align(table.end, alignment)
    before = names_at - 2 * alignment
    for offsets_at, base_at in (
        ((before - 4 * count) // alignment * alignment, before),
        (after, _align(after + 4 * count, alignment)),
    ):
        if offsets_at < 0 or base_at + 8 > len(image):
            continue
        offsets = array("I", image[offsets_at : offsets_at + 4 * count])
        if offsets[-1] and sorted(offsets) == list(offsets):
            search.spend(len(image) // 64)
            base = _relocated(image, base_at)
            if base is not None:
                return [base + offset for offset in offsets]
    if after + 4 * count > len(image):
        return None
    signed = array("i", image[after : after + 4 * count])
    places = [place + offset for place, offset in zip(range(after, after + 4 * count, 4), signed, strict=True)]
    if places[0] < 0 or sorted(places) != places:
        return None
    link_base = _link_base(image, names, places, search)
    return None if link_base is None else [link_base + place for place in places]


def _link_base(image: bytes, names: list[str], places: list[int], search: _Search) -> int | None:
    """The link address of an Image whose symbols are at the offsets `places`.

    The table of system calls points to every system call, or a relocation (RELA) does that fills in the table. The
    base with which the Image has pointers to most of a few system calls is taken.
    """
    votes: Counter[int] = Counter()
    calls = [place for name, place in zip(names, places, strict=True) if name[1:].startswith("__arm64_sys_")]
    for place in islice(calls, 8):
        pointer = re.compile(re.escape(struct.pack("<H", place & 0xFFFF)) + b".{4}\xff\xff", re.DOTALL)
        search.spend(len(image) // 64)
        matches = islice((match for match in pointer.finditer(image) if not match.start() % 8), _MOST_POINTERS)
        pointed_to = (int.from_bytes(match[0], "little") for match in matches)
        votes.update({value - place for value in pointed_to if not (value - place) % _LINK_ALIGNMENT})
    (base, agreed), *_ = [*votes.most_common(1), (0, 0)]
    return base if agreed > 4 else None


def _relocated(image: bytes, at: int) -> int | None:
    """The pointer at offset `at`, as it is in a kernel that runs at its link address.

    A linker that emits RELA leaves 0 at the place and puts the value into the relocation. With RELR, and in a kernel
    that is linked not to be relocated, the value is at the place.
    """
    (value,) = struct.unpack_from("<Q", image, at)
    if value:
        return int(value) if value >= _KERNEL_HALF else None
    # The low half word of the place's address follows from text_offset, the header's second doubleword. The value, the
    # address of the lowest symbol, is in the first 2 MiB. Nothing else in an Image meets both conditions.
    (text_offset,) = struct.unpack_from("<Q", image, 8)
    low = struct.pack("<H", (at + text_offset) & 0xFFFF)
    pattern = re.compile(re.escape(low) + b".{4}\xff\xff" + re.escape(_RELATIVE), re.DOTALL)
    for match in pattern.finditer(image, 0, len(image) - 8):
        place, _, addend = struct.unpack_from("<QQQ", image, match.start())
        link_base = place - at
        if not (link_base - text_offset) % _LINK_ALIGNMENT and 0 <= addend - link_base < _LINK_ALIGNMENT:
            return int(addend)
    return None
