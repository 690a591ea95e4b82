# SPDX-License-Identifier: GPL-2.0-or-later
"""Packets without end, sent over a socket to a server that has the demo kernel.

They write its memory and registers at random, run it, put breakpoints and probes in, and reset it. Whatever was sent,
the server answers what comes next; and the guest, put back to its start, is what it was: it boots, and computes what it
must. Some seconds of that here; `make fuzz` makes it a million.
"""

import faulthandler
import gc
import logging
import os
import random
import re
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from armprobe.commands import Session
from armprobe.machine import Stop
from armprobe.stub import Server, serve
from tests.stub.client import RESYNC, Client, framed
from tests.stub.guest_packets import Packets
from tests.stub.in_process import descriptors, resident
from tests.waiting import PATIENCE, wait_until

SHARDS = 4
PACKETS = int(os.environ.get("ARMPROBE_FUZZ", "8000")) // SHARDS
_BATCH = 100  # packets that are sent at once
_LIFE = 600  # packets that one connection lives, unless it is ended before
_PROOF = 10_000  # packets after which the guest must boot
_QUIET = 0.02  # seconds without an answer after which a Ctrl-C is sent
_HELD = 32 << 20  # bytes that may be held more at the end than after the first tenth
_PIECE = re.compile(rb"[+-]|[$%]([^#]*)#([0-9a-f]{2})", re.DOTALL)
"""An acknowledgment, a packet, or a notification: an answer takes long (GDB manual, "Notification Packets")."""


class Defects(logging.Handler):
    """What the stub says of itself that it must never have to."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if "defect" in text or "could not be" in text:
            self.found.append(text)


@pytest.fixture
def defects() -> Iterator[Defects]:
    handler, logger = Defects(), logging.getLogger("armprobe.stub")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


class Flooded:
    """The demo kernel behind a server, and what is sent to it."""

    def __init__(self, session: Session, server: Server, generator: random.Random) -> None:
        self._session, self._server, self._random = session, server, generator
        self._packets = Packets(session, generator)
        self._run = session.machine.run
        session.machine.run = self._run_a_while  # type: ignore[method-assign]
        self.limited = True
        self.last: list[bytes] = []
        """What was sent last."""
        with Client(server.address) as client:
            self._description = client.ask(b"qXfer:features:read:target.xml:0,ffff")[1:]

    def _run_a_while(self, *arguments: object, **options: object) -> Stop:
        """Guests that run for ever, which only Ctrl-C stops, are the exception: that takes some milliseconds each."""
        if not self.limited or self._random.randrange(100) == 0:
            return self._run(*arguments, **options)  # type: ignore[arg-type]
        return self._run(instructions=self._random.choice((100, 2000, 20_000)))

    def life(self) -> int:
        """One connection's: how many packets it was sent."""
        sent = 0
        with Client(self._server.address) as client:
            client.socket.settimeout(_QUIET)
            begin = framed(b"qSupported:swbreak+;hwbreak+;error-message+")
            client.send(begin + (framed(b"QStartNoAckMode") if self._random.randrange(2) else b""))
            while sent < _LIFE:
                self.last = [self._packets.next() for _ in range(_BATCH)]
                sent += _BATCH
                at = self._random.randrange(len(self._description) - 8)
                question = framed(b"qXfer:features:read:target.xml:%x,8" % at)
                # The empty packet ends what is open, and Ctrl-C what runs.
                if not self._answers(
                    client, b"".join(self.last) + RESYNC + b"\x03", question, self._description[at : at + 8]
                ):
                    break
        return sent

    def _answers(self, client: Client, data: bytes, question: bytes, text: bytes) -> bool:
        """Whether the client is still served, in which case `question` is answered after all else."""
        answer, received = framed(b"m" + text), bytearray()
        began = time.monotonic()
        try:
            client.send(data + question)
            while not received.endswith(answer):
                try:
                    piece = client.socket.recv(1 << 20)
                except TimeoutError:
                    if time.monotonic() > began + PATIENCE:
                        faulthandler.dump_traceback()
                        raise AssertionError(f"no answer to {self.last}") from None
                    client.send(b"\x03")
                    continue
                if not piece:
                    break
                received += piece
        except ConnectionError:
            pass
        at = 0
        while match := _PIECE.match(received, at):
            at = match.end()
            assert match[2] is None or sum(match[1]) % 256 == int(match[2], 16)
        assert at == len(received) or not received.endswith(answer), f"{bytes(received[at : at + 80])!r}"
        return received.endswith(answer)

    def prove(self, checksum: str) -> None:
        """A client of good manners finds the guest as it was when it was loaded; and it boots to its checksum."""
        session, guest = self._session, self._session.machine.guest
        with Client(self._server.address) as client:
            assert client.ask(b"QTinit") == b"OK"
            assert client.ask(b"vKill;1") == b"OK"
        with Client(self._server.address) as client:
            assert client.ask(b"?").startswith(b"T05")
            assert client.ask(b"p20") == guest.entry.to_bytes(8, "little").hex().encode()
            for segment in guest.segments:
                crc = zlib.crc32(bytes(int(f"{byte:08b}"[::-1], 2) for byte in segment.data))
                expected = int(f"{crc ^ 0xFFFF_FFFF:032b}"[::-1], 2)
                assert client.ask(b"qCRC:%x,%x" % (segment.address, len(segment.data))) == b"C%x" % expected
            assert session.kprobes.list() == []
            session.machine.console.read()
            self.limited = False
            client.socket.settimeout(PATIENCE)
            place = session.machine.symbols["batch_report"].address
            for _ in range(2):  # there, and where it returns to
                assert client.ask(b"Z0,%x,4" % place) == b"OK"
                assert client.ask(b"vCont;c").startswith(b"T05")
                assert client.ask(b"p20") == place.to_bytes(8, "little").hex().encode()
                assert client.ask(b"z0,%x,4" % place) == b"OK"
                place = int.from_bytes(bytes.fromhex(client.ask(b"p1e").decode()), "little")
            self.limited = True
            assert f"checksum {checksum} ok" in session.machine.console.read().decode()
            assert client.ask(b"vKill;1") == b"OK"  # nor is there a history, whose memory depends on the time


@pytest.fixture(scope="session")
def checksum() -> str:
    """Of a batch of the demo kernel's, which a model of it has confirmed (tests/guests)."""
    header = Path(__file__).parents[2] / "guests" / "demo" / "include" / "workload.h"
    found = re.search(r"BATCH_CHECKSUM\s+0x(\w+)UL", header.read_text())
    assert found
    return found[1]


@pytest.mark.parametrize("shard", range(SHARDS))
@pytest.mark.sample(of="tests")
def test_a_flood_at_a_guest(shard: int, checksum: str, defects: Defects) -> None:
    with Session("demo", memory="16M") as session, serve(session, "127.0.0.1:0") as server:
        session.run("continue until=workload_round")
        flooded = Flooded(session, server, random.Random(shard))
        began, sent, lives, proofs = time.monotonic(), 0, 0, 0
        before: tuple[int, int, int] | None = None
        while sent < PACKETS:
            sent += flooded.life()
            lives += 1
            assert not defects.found, f"{defects.found} after life {lives} ended with {flooded.last}"
            if sent // _PROOF > proofs or sent >= PACKETS:
                flooded.prove(checksum)
                proofs += 1
                gc.collect()
                if before is None and sent >= PACKETS // 10:
                    before = resident(), descriptors(), threading.active_count()
        assert before is not None
        held = before[1]  # the server closes the last connection in a thread of its own
        wait_until(lambda: descriptors() <= held, "no more files are open than before")
        after = resident(), descriptors(), threading.active_count()
        print(
            f"shard {shard}: {sent} packets in {lives} connections and {time.monotonic() - began:.0f} s, "
            f"{proofs} boots; {before[0] >> 20} MiB, then {after[0] >> 20}; {before[1]} descriptors, then {after[1]}"
        )
        assert after[0] - before[0] < _HELD
        assert after[1:] <= before[1:]
