# SPDX-License-Identifier: GPL-2.0-or-later
"""?, vCont, and for LLDB c, C, s, S: why the machine stopped, and resuming it (GDB manual, "Packets").

A signal to deliver is accepted and ignored: a machine has no process to take it.
"""

import errno

from armprobe.machine.lazy_dataclass import lazy_dataclass
from armprobe.stub.feature import Feature, PacketKind
from armprobe.stub.target import Target, TargetError
from armprobe.stub.wire import ALL_THREADS, ANY_THREAD, MalformedPacket, nothing, number, quote, split, thread_number


@lazy_dataclass
class Resume:
    """How to go on: freely, for one instruction, or in steps while pc is in `range`; from `address` if given."""

    step: bool
    range: tuple[int, int] | None = None
    address: int | None = None

    @staticmethod
    def parse_continue(fields: bytes) -> "Resume":
        return Resume(False, address=_address(fields))

    @staticmethod
    def parse_step(fields: bytes) -> "Resume":
        return Resume(True, address=_address(fields))

    @staticmethod
    def parse_continue_signal(fields: bytes) -> "Resume":
        return Resume.parse_continue(_drop_signal(fields))

    @staticmethod
    def parse_step_signal(fields: bytes) -> "Resume":
        return Resume.parse_step(_drop_signal(fields))


def _parse_actions(fields: bytes) -> list[tuple[Resume, int | None]]:
    """vCont: actions, each with the thread that it is for."""
    actions = []
    for part in fields.split(b";"):
        action, colon, thread = part.partition(b":")
        actions.append((_action(action), thread_number(thread) if colon else ALL_THREADS))
    return actions


def _address(field: bytes) -> int | None:
    return number(field) if field else None


def _drop_signal(fields: bytes) -> bytes:
    signal, _, address = fields.partition(b";")
    number(signal, 256)
    return address


def _action(action: bytes) -> Resume:
    match action[:1], action[1:]:
        case (b"c", b""):
            return Resume(False)
        case (b"s", b""):
            return Resume(True)
        case (b"C", signal):
            number(signal, 256)
            return Resume(False)
        case (b"S", signal):
            number(signal, 256)
            return Resume(True)
        case (b"r", addresses):
            start, end = split(addresses, b",", 2)
            return Resume(True, (number(start), number(end)))
    raise MalformedPacket(f"{quote(action)} is no action of vCont")


class Resuming(Feature[Target]):
    words = ("vContSupported+",)

    def resume(self, resume: Resume) -> None:
        if resume.address is not None:
            self.target.write_register("pc", resume.address)
        self.connection.resume(resume.step, resume.range)

    def resume_threads(self, actions: list[tuple[Resume, int | None]]) -> None:
        """The first action for the thread that runs counts. Another thread cannot step: it does not run."""
        running = self.connection.threads.running
        for resume, thread in actions:
            if thread in (running, ALL_THREADS, ANY_THREAD):
                self.resume(resume)
                return
            if resume.step and thread is not None and len(self.connection.threads.all()) > 1:
                why = f"task {thread} does not run, so it cannot step: continue, or select the one that runs"
                if "error-message" not in self.connection.client_words:
                    self.connection.console(f"{why}\n")
                raise TargetError(errno.EPERM, why)
        raise MalformedPacket(f"no action is for thread {running:x}")

    def why(self, _: None) -> bytes:
        """Why the machine is stopped, without registers, so that gdb asks for them by `g`.

        Until it has, it believes that there are system registers in that, too, and `tsave` writes a file in which it
        finds no memory (gdb/remote.c: sizeof_g_packet).
        """
        return self.connection.stop_reply(expedited=False)

    def actions(self, _: None) -> bytes:
        return b"vCont;c;C;s;S;r"

    packets = (
        PacketKind("?", nothing, why, handshake=True, uncontrolled=True),
        PacketKind("vCont", _parse_actions, resume_threads),
        PacketKind("vCont?", nothing, actions, reads=True, uncontrolled=True),
        PacketKind("c", Resume.parse_continue, resume),
        PacketKind("C", Resume.parse_continue_signal, resume),
        PacketKind("s", Resume.parse_step, resume),
        PacketKind("S", Resume.parse_step_signal, resume),
    )
