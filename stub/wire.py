# SPDX-License-Identifier: GPL-2.0-or-later
"""Strict readers of the fields of a packet. A field that is not exactly as the manual says is a `MalformedPacket`.

GDB manual, "Overview" of the remote protocol: numbers are hexadecimal without leading 0x, binary data is two
hexadecimal digits a byte.
"""

import binascii
import re

_HEX = re.compile(rb"[0-9a-fA-F]+")
ALL_THREADS, ANY_THREAD = -1, 0  # as a packet names them
CPU_THREAD = 1  # the machine's CPU, where the guest's tasks are not threads
PROCESS = b"1"  # and one program

ADDRESS_SPACE = 1 << 64


class MalformedPacket(Exception):
    """The client sent something the protocol does not allow; the text says what."""


def number(field: bytes, limit: int = ADDRESS_SPACE) -> int:
    """The hexadecimal number in `field`, which must be below `limit`."""
    if not _HEX.fullmatch(field):
        raise MalformedPacket(f"{quote(field)} is not a hexadecimal number")
    value = int(field, 16)
    if value >= limit:
        raise MalformedPacket(f"0x{quote(field)[1:-1]} is too large a number")
    return value


def hex_data(field: bytes) -> bytes:
    """The bytes of pairs of hexadecimal digits."""
    try:
        return binascii.unhexlify(field)
    except ValueError:
        raise MalformedPacket(f"{quote(field)} is not pairs of hexadecimal digits") from None


def hex_text(field: bytes) -> str:
    """The UTF-8 text of pairs of hexadecimal digits."""
    return hex_data(field).decode(errors="replace")


def to_hex(data: bytes | str) -> bytes:
    """`data`, text as UTF-8, as pairs of hexadecimal digits."""
    return binascii.hexlify(data.encode(errors="replace") if isinstance(data, str) else data)


def split(payload: bytes, separator: bytes, count: int) -> list[bytes]:
    """Exactly `count` fields of `payload`; the last may contain the separator."""
    fields = payload.split(separator, count - 1)
    if len(fields) != count:
        raise MalformedPacket(f"{quote(payload)} lacks a {separator.decode()!r}")
    return fields


def span(payload: bytes) -> tuple[int, int]:
    """An `address,length` pair, cut where the address space ends."""
    address, length = split(payload, b",", 2)
    start = number(address)
    return start, min(number(length), ADDRESS_SPACE - start)


def thread_number(field: bytes) -> int | None:
    """The thread that a thread-id names, `ANY_THREAD` or `ALL_THREADS`; None if it is of another process than ours.

    The forms with a process, pPROCESS.THREAD and pPROCESS, are understood too (GDB manual, "Packets").
    """
    if not field.startswith(b"p"):
        return ALL_THREADS if field == b"-1" else number(field)
    process, dot, thread = field[1:].partition(b".")
    named = thread_number(thread) if dot else ALL_THREADS
    return named if names_the_process(process) else None


def names_the_process(field: bytes) -> bool:
    """Whether a number names our process: 1, "any" (0) or "all" (-1)."""
    return field == b"-1" or number(field) in (0, int(PROCESS))


def thread_id(client_words: frozenset[str], thread: int) -> bytes:
    """A thread in the form that a client with these features expects."""
    return b"p%b.%x" % (PROCESS, thread) if "multiprocess" in client_words else b"%x" % thread


def of_process(client_words: frozenset[str]) -> bytes:
    """The part of an exit reply that names the process, for clients with "multiprocess"."""
    return b";process:" + PROCESS if "multiprocess" in client_words else b""


def nothing(payload: bytes) -> None:
    """The parser of packets that carry no fields."""
    if payload:
        raise MalformedPacket(f"{quote(payload)} follows where nothing should")


def anything(payload: bytes) -> bytes:
    """The parser of packets whose fields do not matter."""
    return payload


def quote(field: bytes) -> str:
    """The beginning of a field, for a sentence about it."""
    return repr(field[:32].decode("ascii", errors="replace"))
