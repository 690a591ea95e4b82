# SPDX-License-Identifier: GPL-2.0-or-later
"""What a feature is: the packets it answers and the words it adds to the reply to qSupported.

A file of `features/` ends in one `Feature`. What is not registered is answered with the empty packet, which is how the
protocol says "not supported", and what is registered is what qSupported says (GDB manual, "General Query Packets").
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from .connection import Connection

T = TypeVar("T")

# A name ends at the first delimiter (GDB manual, "General Query Packets"); one letter is a name, and Z with its type.
_NAME = re.compile(rb"[vqQ][^,:;]*|[zZ].?|.", re.DOTALL)


@dataclass(frozen=True)
class PacketKind(Generic[T]):
    """One kind of packet: how its fields are read, and how it is answered."""

    name: str
    parse: Callable[[bytes], T]
    """Takes what follows the name; raises `MalformedPacket`."""
    handle: Callable[[Connection, T], bytes | None]
    """Gives the reply, or None where there is none (yet). May raise `TargetError` or `MalformedPacket`."""
    handshake: bool = False
    """Whether debuggers begin with it: from then on the client is taken for one (`opening`). It changes nothing."""
    reads: bool = False
    """Whether it changes nothing, so that it may come before the handshake."""
    leaves: bool = False
    """Whether with this packet the client gives up control, so that it need not wait for a running machine to stop."""


@dataclass(frozen=True)
class Document:
    """An object that qXfer reads: its name, and what gives its text for an annex (None: no such annex)."""

    name: str
    read: Callable[[Connection, str], str | None]
    available: Callable[[Connection], bool] = lambda connection: True
    """Whether the machine has any such object; if not, the client is told that there is no such packet."""


@dataclass(frozen=True)
class Feature:
    """A piece of the protocol that is there as a whole or not at all."""

    packets: tuple[PacketKind[Any], ...] = ()
    documents: tuple[Document, ...] = ()
    words: tuple[str, ...] = ()
    """What the reply to qSupported says of it, apart from the documents."""


class Registry:
    """Which packet is whose."""

    def __init__(self, features: Iterable[Feature]) -> None:
        self._packets: dict[bytes, PacketKind[Any]] = {}
        self.documents: dict[str, Document] = {}
        self._words: list[str] = []
        for feature in features:
            self._packets |= {packet.name.encode(): packet for packet in feature.packets}
            self.documents |= {document.name: document for document in feature.documents}
            self._words += feature.words

    @property
    def kinds(self) -> tuple[PacketKind[Any], ...]:
        """All packets that are served."""
        return tuple(self._packets.values())

    def words(self, connection: Connection) -> list[str]:
        """What the reply to qSupported says."""
        available = (document.name for document in self.documents.values() if document.available(connection))
        return [*self._words, *(f"qXfer:{name}:read+" for name in available)]

    def find(self, payload: bytes) -> tuple[PacketKind[Any], bytes] | None:
        """The kind of the packet, and its fields without the delimiter before them; None if nobody registered it."""
        match = _NAME.match(payload)
        kind = self._packets.get(match[0]) if match else None
        if kind is None:
            return None
        return kind, payload[len(kind.name) + (payload[0] in b"vqQ") :]
