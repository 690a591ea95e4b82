# SPDX-License-Identifier: GPL-2.0-or-later
"""One client's control of the machine, from its first packet until it leaves: a state machine that owns no I/O."""

import enum
import logging
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import replace
from functools import partial
from typing import Protocol, TypeVar

from . import stop_reply
from .aarch64 import register_table
from .feature import PacketKind, Registry
from .framing import (
    PACKET_SIZE,
    Acknowledgment,
    Damaged,
    Deframer,
    Event,
    Interrupt,
    Noise,
    Oversized,
    Packet,
    notification,
)
from .held_packets import MOST, HeldPackets
from .opening import Handshake, NotADebugger
from .output import Output
from .refusals import DEFECT, GREETING, LET_GO, MALFORMED, refusal
from .sender import Sender
from .target import Client, HostCall, Interrupted, StopEvent, Target, TargetError, display_of
from .thread_view import ThreadView
from .tracing import Experiment, TraceView
from .view import View
from .visible import visible
from .wire import MalformedPacket, of_process, to_hex

T = TypeVar("T")

_SIGN_OF_LIFE = 0.5  # seconds without a reply after which the client is sent a notification

log = logging.getLogger("armprobe.stub")

_ELSEWHERE = "not resumed: the guest's registers were changed from outside, look where it is first"


class State(enum.Enum):
    """Whether the client may ask, waits for an answer, or has left."""

    IDLE = "idle"
    BUSY = "busy"  # the machine runs for the client, or a command of the client's does
    DISCONNECTED = "disconnected"


class Link(Protocol):
    """The transport of a connection's bytes."""

    def send(self, data: bytes) -> None:
        """Send bytes to the client, or drop them if it has gone."""

    def wake(self) -> None:
        """Call `Connection.deliver` soon, on the connection's own thread. Called from any thread."""

    def start(self, work: Callable[[], None]) -> None:
        """Call `work` on a new thread."""


class Connection:
    """The control of the machine by one client. Only `post` and `show` may be called from any thread."""

    def __init__(
        self,
        target: Target,
        registry: Registry,
        link: Link,
        experiment: Experiment | None = None,
        client: Client | None = None,
    ) -> None:
        self.client = replace(client or Client(), show=self.show)
        self.registry = registry
        self.registers = register_table(getattr(target, "system_registers", ()))  # to ask for a protocol takes 12 us
        self.state = State.IDLE
        self.client_words: frozenset[str] = frozenset()
        """Features the client said it has, such as "swbreak" (qSupported)."""
        self.trace = TraceView(experiment or Experiment(target))
        """The trace experiment, and the frame of it that the client looks at instead of the machine."""
        self.calling = False
        """Whether the client is carrying out a call of the guest's for a file (File-I/O)."""
        self.call_interrupted = False
        """Whether the client's Ctrl-C crossed that call on the way."""
        self.extended = False
        """Whether the client stays when it lets go of the machine ("!")."""
        self.threads = ThreadView(target, lambda: self.client_words)
        """The threads that the client sees."""
        self.view = View(target)
        """The state of the target that the client knows."""
        self._target = target
        self._link = link
        self.sender = Sender(link.send)
        """Sends to the client."""
        self._deframer = Deframer()
        self._handshake = Handshake(registry)
        self._stop: StopEvent | None = None  # None until the client's first packet attached it
        self._released = False  # whether it has let go of the machine and stayed
        self._activity = object()  # the one that the state is BUSY with, told apart from earlier ones
        self._commanding = False  # whether that activity is a command
        self._posted: deque[Callable[[], None]] = deque()
        self._held = HeldPackets()
        self._printed = Output(self.post, self.console)
        self._errand: Future[bytes] | None = None  # the work that `begin` started last; it may be over
        self._thread = 0  # the one that handles the client's bytes just now
        features = [(feature, feature(self, target)) for feature in registry.features]
        self._features = {kind.name: each for feature, each in features for kind in feature.packets}
        self._served = [each for _, each in features]
        self.documents = {
            document.name: (document, each) for feature, each in features for document in feature.documents
        }
        """The objects of qXfer by name, with their features."""

    # What the transport calls

    def receive(self, data: bytes) -> None:
        """Act on bytes that the client sent."""
        self._thread = threading.get_ident()
        request = self.registry.known.get(data)
        if request is not None and self._at_rest:
            self._answer_request(*request)
        else:
            for event in self._deframer.feed(data) if self._handshake.over else self._opening(data):
                if self.state is State.DISCONNECTED:
                    break
                self._take(event)
                self._deliver()
        self._thread = 0
        if self._posted or self._held.payloads:
            self._deliver()
        self.sender.flush()

    def deliver(self) -> None:
        """Call the posted actions, then answer the packets that came in the meantime, and send the replies."""
        self._deliver()
        self.sender.flush()

    def leave(self) -> None:
        """End the client's control, because of a packet of its own or because it is gone."""
        if self.state is not State.DISCONNECTED:
            self._release(State.DISCONNECTED)

    # What features call

    def words(self) -> list[str]:
        """The words of the reply to qSupported."""
        documents = [name for name, (document, feature) in self.documents.items() if document.available(feature)]
        words = [word for feature in self.registry.features for word in feature.words]
        return [*words, *(f"qXfer:{name}:read+" for name in documents)]

    def require_control(self) -> None:
        """Raise `TargetError` while the client has let go of the machine."""
        if self._released:
            raise TargetError(LET_GO, "the machine was let go of: `attach 1` takes it again, `run` starts it anew")

    @property
    def released(self) -> bool:
        """Whether the client has let go of the machine and is still there."""
        return self._released

    def let_go(self) -> None:
        """End the client's control by a packet of its own; an extended client's connection stays."""
        self._release(State.IDLE if self.extended else State.DISCONNECTED)

    def take_again(self) -> None:
        """Give an extended client its control back, if it has let go of the machine."""
        if self._released:
            self._stop = self._target.attach(self.client)
            self.view.seen()
            self._released = False
            self._printed = Output(self.post, self.console)

    def restarted(self, stop: StopEvent) -> None:
        """Take note that the guest was put back to its start."""
        self.calling = False
        self._stop = stop
        self.view.seen()

    def interrupt(self) -> None:
        """Ask the machine or the command that runs for the client to stop soon."""
        self._target.interrupt()

    @property
    def attached(self) -> bool:
        """Whether the client has taken control, which it does with its first packet."""
        return self._stop is not None

    @property
    def stop(self) -> StopEvent:
        """Why the machine last stopped."""
        assert self._stop is not None, "a packet was answered before the machine was attached"
        return self._stop

    def stop_reply(self, expedited: bool = True) -> bytes:
        """The reply that says why the machine stopped. A client that let go is told that there is no process."""
        if self._released:
            return b"W00" + of_process(self.client_words)
        thread = self.threads.running_id
        return stop_reply.encode(self.stop, self._target, self.registers, self.client_words, thread, expedited)

    def run(self, start: Callable[[Callable[[StopEvent], None]], None]) -> None:
        """Call `start`, which starts the machine. It is given the function to call when the machine has stopped."""
        self.trace.frame = None
        self.calling = False
        self.threads.resumed()
        activity = self._activity = object()
        self._be_busy(partial(start, lambda event: self.post(partial(self._stopped, activity, event))))

    def resume(self, step: bool, range: tuple[int, int] | None = None) -> None:
        """Start the machine, unless somebody else has changed its registers since the client read them.

        The client would step and finish by frames that are no longer there. It is told of a stop instead, and reads
        them again.
        """
        if self.view.registers_outdated:
            self.run(lambda done: done(Interrupted(text=_ELSEWHERE)))
        else:
            self.run(partial(self._target.resume, step, range))

    def run_aside(self, work: Callable[[], bytes]) -> None:
        """Call `work` on another thread, so that Ctrl-C is heard meanwhile. Its result is the reply."""

        activity = self._activity = object()
        ended = partial(self._finished, activity)
        self._be_busy(lambda: self._link.start(lambda: self.post(partial(ended, self._guard(work)))), commanding=True)

    def begin(self, work: Callable[[], bytes]) -> Future[bytes]:
        """Call `work` on another thread. It may outlast the packet."""
        self._errand = self._elsewhere(partial(self._guard, work))
        return self._errand

    def patiently(self, work: Callable[[], T]) -> T:
        """The result of `work`, called on another thread, which may take longer than the client waits for a reply.

        gdb gives up after three times its remotetimeout, 2 seconds, unless it hears something meanwhile
        (gdb/remote.c, getpkt_or_notif_sane_1).
        """
        future = self._elsewhere(work)
        while not wait([future], _SIGN_OF_LIFE).done:
            self.sender.send(notification(b"busy"))
            self.sender.flush()
        return future.result()

    def _elsewhere(self, work: Callable[[], T]) -> Future[T]:
        """Call `work` on another thread."""
        future = Future[T]()

        def run() -> None:
            try:
                future.set_result(work())
            except BaseException as error:  # raised again by `Future.result`
                future.set_exception(error)

        self._link.start(run)
        return future

    def post(self, action: Callable[[], None]) -> None:
        """Call `action` soon on the connection's thread."""
        self._posted.append(action)
        if threading.get_ident() != self._thread:  # which calls it anyway
            self._link.wake()

    def console(self, text: str) -> None:
        """Show text at the client. It listens only while it waits for a stop or a command."""
        data = visible(text).encode()
        room = PACKET_SIZE // 2 - 1
        for start in range(0, len(data), room):
            self.sender.reply(b"O" + to_hex(data[start : start + room]))

    def show(self, text: str) -> None:
        """Show text from inside a run, at the client or, when that has gone, at the machine itself."""
        if not self._printed.add(text, wait=threading.get_ident() != self._thread):
            display_of(self._target)(text)

    def error(self, errno: int, message: str) -> bytes:
        """An error reply: a sentence for clients that can read it (GDB manual, "Standard Replies"), or a number."""
        return refusal(message) if "error-message" in self.client_words else b"E%02x" % (errno & 0xFF)

    # Inside

    @property
    def _at_rest(self) -> bool:
        """Whether a packet is answered at once and with nothing else.

        The handshake is over then, and the machine attached: the packet that ends acknowledging is part of that.
        """
        return self.state is State.IDLE and not (
            self.sender.acknowledging
            or self._released
            or self._posted
            or self._held.payloads
            or self._deframer.begun
            or (self._errand is not None and self._on_errand)
        )

    def _deliver(self) -> None:
        for _ in range(len(self._posted)):  # a bounded number: a command could post without end
            self._posted.popleft()()
        while self._held.payloads and self.state is State.IDLE:
            self._answer(self._held.next())

    def _opening(self, data: bytes) -> list[Packet]:
        """The packet of a client whose handshake is not over. One that is no debugger is turned away."""
        try:
            packet = self._handshake.feed(data)
        except NotADebugger as stranger:
            log.info("a client is turned away: %s", stranger)
            self.sender.send(GREETING)
            self.leave()
            return []
        return [packet] if packet else []

    def _take(self, event: Event) -> None:
        match event:
            case Packet(payload):
                self.sender.acknowledge(b"+")
                if not self.attached and not self._attach():
                    return
                if self.state is State.IDLE:
                    self._answer(payload)
                elif self._leaves(payload):
                    self._printed.close()  # or the guest would wait to print, and we for the guest to stop
                    self._answer(payload)
                elif not self._held.hold(payload):
                    log.error("a client sent over %d bytes of packets while the machine ran; it is disconnected", MOST)
                    self.leave()
            case Damaged():
                self.sender.acknowledge(b"-")
            case Oversized():
                # A '-' would have it sent again for ever.
                self.sender.acknowledge(b"+")
                self.sender.reply(self.error(MALFORMED, f"a packet was larger than {PACKET_SIZE} bytes"))
            case Interrupt() if self.state is State.BUSY:
                self._guard(self._target.interrupt)
            case Interrupt() if self.calling:
                self.call_interrupted = True
            case Acknowledgment(positive=False):
                self.sender.send_again()
            case Noise(byte):
                log.error("a client sent 0x%02x between packets, which no debugger does: it is disconnected", byte)
                self.leave()

    def _release(self, state: State) -> None:
        commanding = self.state is State.BUSY and self._commanding
        commanding = commanding or self._on_errand
        self.state = state
        self.calling = False
        self._printed.close()
        self._activity = object()  # the end of one that still runs is ignored
        if state is State.DISCONNECTED:
            for feature in self._served:
                feature.disconnected()
        if not self.attached or self._released:
            return
        self._released = True
        try:
            if commanding:
                self._target.interrupt()
            self.trace.frame = None
            for feature in self._served:
                feature.released()
            self._target.detach()
        except Exception as error:
            log.error("the machine could not be detached from: %s", error)

    def _attach(self) -> bool:
        """Take control of the machine. If that fails, answer the first packet with the reason, and disconnect."""
        try:
            self._stop = self._target.attach(self.client)
            self.view.seen()
        except Exception as error:
            log.error("the machine could not be attached to: %s", error)
            self.sender.reply(refusal(str(error)))
            self.leave()
        return self.attached

    def _leaves(self, payload: bytes) -> bool:
        found = self.registry.find(payload)
        return found is not None and found[0].leaves

    def _answer(self, payload: bytes) -> None:
        try:
            request = self.registry.request(payload)
            if request is not None and self._released and not request[0].uncontrolled:
                self.require_control()
        except Exception as error:
            self.sender.reply(self._refusal_for(error))
        else:
            if request is None:
                self.sender.reply(b"")
            else:
                self._answer_request(*request)

    def _answer_request(self, kind: PacketKind, arguments: object) -> None:
        if not kind.reads:
            self.view.begin()
        try:
            reply = kind.handle(self._features[kind.name], arguments)
        except Exception as error:
            reply = self._refusal_for(error, kind.name.startswith("QT"))
        if not kind.reads and self.state is not State.BUSY and (self._errand is None or not self._on_errand):
            self.view.end()
        if reply is not None:
            self.sender.reply(reply)

    def _guard(self, work: Callable[[], T]) -> T | bytes:
        """The result of `work`, or the error reply for its exception. No packet of a client may end the server."""
        try:
            return work()
        except Exception as error:
            return self._refusal_for(error)

    def _refusal_for(self, error: Exception, noisy: bool = False) -> bytes:
        """The error reply for an exception; `noisy` is for packets that gdb sends to have something said meanwhile."""
        match error:
            case MalformedPacket():
                return self.error(MALFORMED, f"malformed packet: {error}")
            case TargetError() if noisy and "error-message" not in self.client_words:
                # gdb listens to the console while it waits for the reply to these, and says something of its own about
                # numbers that begin with 1 or 2 (gdb/remote.c, remote_get_noisy_reply and trace_error).
                self.console(f"{error.message}\n")
                return self.error(MALFORMED, error.message)
            case TargetError():
                return self.error(error.errno, error.message)
        log.error("a defect in the machine or the stub: %r", error)
        log.debug("where it was raised", exc_info=error)
        return self.error(DEFECT, f"a defect in the machine or the stub: {error!r}")

    def _be_busy(self, start: Callable[[], None], commanding: bool = False) -> None:
        """Be busy with the new activity that `start` starts, unless that fails."""
        self.state, self._commanding = State.BUSY, commanding
        try:
            start()
        except BaseException:
            self.state = State.IDLE
            raise

    def _stopped(self, activity: object, event: StopEvent) -> None:
        if self.state is not State.BUSY or activity is not self._activity:
            return
        self._printed.flush()
        self.state = State.IDLE
        self._stop = event
        self.view.seen()
        if event.text:
            self.console(event.text.rstrip("\n") + "\n")
        if isinstance(event, HostCall):
            self.calling, self.call_interrupted = True, False
            self.sender.reply(stop_reply.request(event.call))
        else:
            self.sender.reply(self._guard(self.stop_reply))

    @property
    def _on_errand(self) -> bool:
        return self._errand is not None and not self._errand.done()

    def _finished(self, activity: object, reply: bytes) -> None:
        if self.state is State.BUSY and activity is self._activity:
            self._printed.flush()
            self.state = State.IDLE
            if not self._on_errand:
                self.view.end()
            self.sender.reply(reply)
