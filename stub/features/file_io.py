# SPDX-License-Identifier: GPL-2.0-or-later
"""F: the client's answer to a call of the guest for a file (GDB manual, "The F Reply Packet").

The request took the place of a stop reply. Before the client answers, it reads and writes the guest's memory as the
call requires, with the packets for memory.
"""

import errno
from functools import partial

from armprobe.machine.lazy_dataclass import lazy_dataclass
from armprobe.stub.feature import Feature, PacketKind
from armprobe.stub.target import HostCalls, TargetError
from armprobe.stub.wire import MalformedPacket, number

_LARGEST = 1 << 63


@lazy_dataclass
class Answer:
    """The result of the call, its errno, and whether the user has pressed Ctrl-C meanwhile."""

    result: int
    errno: int
    interrupted: bool

    @staticmethod
    def parse(fields: bytes) -> "Answer":
        """The fields are retcode[,errno[,C]][;attachment]; attachments are for calls that nothing here makes."""
        result, *rest = fields.partition(b";")[0].split(b",")
        errno = number(rest[0], 1 << 31) if rest and rest[0] else 0
        if len(rest) > 2 or rest[1:] not in ([], [b""], [b"C"]):
            raise MalformedPacket("only C may follow the errno of a File-I/O reply")
        negative = result.startswith(b"-")
        value = number(result.removeprefix(b"-"), _LARGEST)
        return Answer(-value if negative else value, errno, rest[1:] == [b"C"])


class FileIo(Feature[HostCalls]):
    def answer(self, answer: Answer) -> None:
        connection = self.connection
        if not connection.calling:
            raise TargetError(errno.EINVAL, "the guest has asked for no file, so there is nothing to answer")
        interrupted = answer.interrupted or connection.call_interrupted
        connection.run(partial(self.target.answer, answer.result, answer.errno, interrupted))

    packets = (PacketKind("F", Answer.parse, answer, uncontrolled=True),)
