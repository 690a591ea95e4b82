# SPDX-License-Identifier: GPL-2.0-or-later
"""Strict readers of the fields of a packet. A field that is not exactly as the manual says is a `MalformedPacket`.

GDB manual, "Overview" of the remote protocol: numbers are hexadecimal without leading 0x, binary data is two
hexadecimal digits a byte.
"""

import binascii
import re

_HEX = re.compile(rb"[0-9a-fA-F]+")
_OURS = (b"-1", b"0", b"1")
THREAD = b"1"  # the machine has one CPU, which GDB sees as one thread
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


def names_the_thread(field: bytes) -> bool:
    """Whether a thread-id names thread 1: by its number, as "any" (0) or as "all" (-1).

    The forms with a process, pPROCESS.THREAD and pPROCESS, are understood too (GDB manual, "Packets").
    """
    if field.startswith(b"p"):
        process, dot, thread = field[1:].partition(b".")
        return all([names_the_thread(each) for each in ([process, thread] if dot else [process])])
    if field in _OURS:
        return True
    number(field)
    return False


def thread_id(client_words: frozenset[str]) -> bytes:
    """Thread 1 in the form that a client with these features expects."""
    return b"p%b.%b" % (PROCESS, THREAD) if "multiprocess" in client_words else THREAD


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
