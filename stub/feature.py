# SPDX-License-Identifier: GPL-2.0-or-later
"""What a feature is: the packets it answers and the words it adds to the reply to qSupported.

A feature is a class in a file of `features/`. It names the capability of the target that it requires, and each
connection has an object of it, which holds what the feature must remember of that client. A packet that no feature
serves is answered with the empty packet, which is how the protocol says "not supported" (GDB manual, "General Query
Packets"). So the packets that are answered and the reply to qSupported follow from what the target has.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, get_args

from armprobe.machine.lazy_dataclass import lazy_dataclass

from .framing import enframe

if TYPE_CHECKING:
    from .connection import Connection

C = TypeVar("C")

_SHORT, _MOST_KNOWN = 64, 256  # bytes of a packet whose request is kept for the next time, and how many are kept

# A name ends at the first delimiter (GDB manual, "General Query Packets"); Z and b take one letter more.
_NAME = re.compile(rb"[vqQ][^,:;]*|[zZb].?|.", re.DOTALL)


@lazy_dataclass
class PacketKind:
    """One kind of packet: how its fields are read, and how it is answered."""

    name: str
    parse: Callable[[bytes], Any]
    """Takes what follows the name; raises `MalformedPacket`."""
    handle: Callable[[Any, Any], bytes | None]
    """A method of the feature, which takes what `parse` gave. Gives the reply, or None where there is none (yet).

    May raise `TargetError` or `MalformedPacket`."""
    handshake: bool = False
    """Whether debuggers begin with it: from then on the client is taken for one (`opening`). It changes nothing."""
    reads: bool = False
    """Whether it changes nothing, so that it may come before the handshake."""
    leaves: bool = False
    """Whether with this packet the client gives up control, so that it need not wait for a running machine to stop."""
    uncontrolled: bool = False
    """Whether it is answered also when the client has let go of the machine ("!")."""


Request = tuple[PacketKind, Any]
"""The kind of a packet, and what its `parse` gave, which nobody changes: the request is kept for the next time."""


@lazy_dataclass
class Document:
    """An object that qXfer reads."""

    name: str
    read: Callable[[Any, str], str | None]
    """A method of the feature, which gives the text for an annex; None if there is no such annex."""
    available: Callable[[Any], bool] = lambda feature: True
    """Whether the machine has any such object; if not, the client is told that there is no such packet."""
    uncontrolled: bool = False
    """As for a `PacketKind`."""


class Feature(Generic[C]):
    """A piece of the protocol. `class X(Feature[Capability])` requires that capability of the target."""

    requires: ClassVar[type]
    packets: ClassVar[tuple[PacketKind, ...]] = ()
    documents: ClassVar[tuple[Document, ...]] = ()
    words: ClassVar[tuple[str, ...]] = ()
    """What the reply to qSupported says of it, apart from the documents."""

    def __init_subclass__(cls) -> None:
        (cls.requires,) = get_args(cls.__orig_bases__[0])  # type: ignore[attr-defined]  # PEP 560

    def __init__(self, connection: Connection, target: C) -> None:
        self.connection = connection
        self.target = target

    def released(self) -> None:
        """The client is about to let go of the machine, whether it stays connected or not."""

    def disconnected(self) -> None:
        """The client has gone."""


class Registry:
    """Which packet is whose."""

    def __init__(self, features: Iterable[type[Feature[Any]]]) -> None:
        self.features = tuple(features)
        self._packets = {kind.name.encode(): kind for feature in self.features for kind in feature.packets}
        self.known: dict[bytes, Request] = {}
        """Requests by the bytes on the wire, for short packets: debuggers send the same ones again and again."""

    def served(self, target: object) -> Registry:
        """The part of it that can be served on `target`."""
        return Registry(feature for feature in self.features if isinstance(target, feature.requires))

    @property
    def kinds(self) -> tuple[PacketKind, ...]:
        """All packets that are served."""
        return tuple(self._packets.values())

    def find(self, payload: bytes) -> tuple[PacketKind, bytes] | None:
        """The kind of the packet, and its fields without the delimiter before them; None if no feature has it."""
        match = _NAME.match(payload)
        kind = self._packets.get(match[0]) if match else None
        if kind is None:
            return None
        return kind, payload[len(kind.name) + (payload[0] in b"vqQ") :]

    def request(self, payload: bytes) -> Request | None:
        """The packet with its fields read; None if no feature has it. Raises `MalformedPacket`."""
        found = self.find(payload)
        if found is None:
            return None
        kind, fields = found
        request = kind, kind.parse(fields)
        if len(payload) <= _SHORT:
            if len(self.known) >= _MOST_KNOWN:
                self.known.clear()
            self.known[enframe(payload)] = request
        return request
