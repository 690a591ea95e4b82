# SPDX-License-Identifier: GPL-2.0-or-later
"""The shell of a Linux guest, typed at over its serial line, and its tracefs."""

import base64
import gzip
import hashlib
import itertools
import re
from typing import Final, NamedTuple

from armprobe.machine import Machine, Stop, StopReason

TRACING: Final = "/sys/kernel/tracing"
_LIMIT: Final = 3_000_000_000  # instructions that one command may take
_TERMINAL: Final = re.compile(rb"\x1b\[[0-9;?]*[a-zA-Z]")
_EVENT: Final = re.compile(
    r"^ *(?P<task>\S+)-(?P<pid>\d+) +\[000\] (?P<flags>\S+) +(?P<seconds>\d+\.\d+): "
    r"(?P<event>\w+): \((?P<place>[^)]+)\)"
    r"(?P<arguments>.*)$",
    re.MULTILINE,
)
_ARGUMENT: Final = re.compile(r'(\w+)=("(?:[^"\\]|\\.)*"|\S+)')


class NotFinished(Exception):
    """The machine stopped before a command was over."""

    def __init__(self, stop: Stop) -> None:
        super().__init__(str(stop))
        self.stop = stop


class Event(NamedTuple):
    """One line of the guest's trace file."""

    task: str
    pid: int
    flags: str
    seconds: float
    event: str
    place: str
    arguments: dict[str, str]


class Shell:
    """The shell that waits at the console of a stopped machine."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._marks = itertools.count()

    def run(self, line: str, typed: str = "") -> str:
        """What `line` prints, which reads what is `typed`. Raises NotFinished if the machine stops before."""
        return self.status(line, typed)[0]

    def status(self, line: str, typed: str = "") -> tuple[str, int]:
        """What `line` prints, and its exit status."""
        mark = f"-{next(self._marks)}-"
        # The shell takes the quotes off: the echo of what is typed is not the answer.
        self.type(f"{line}; echo '=''{mark}'$?.\n{typed}".removesuffix("\n"))
        return self._answer(mark)

    def type(self, line: str) -> None:
        """Type a line; it is read as soon as the machine runs."""
        self.machine.console.write(f"{line}\n".encode())

    def finish(self) -> str:
        """Run on until what was typed is over; what was printed since it was last looked."""
        mark = f"-{next(self._marks)}-"
        self.type(f"echo '=''{mark}'$?.")
        return self._answer(mark)[0]

    def _answer(self, mark: str) -> tuple[str, int]:
        machine, printed = self.machine, bytearray()
        end = re.compile(re.escape(f"={mark}").encode() + rb"(\d+)\.\r\n")

        def listen(data: bytes) -> None:
            printed.extend(data)
            if printed.endswith(b"\r\n") and end.search(printed):
                machine.interrupt()  # now: an idle guest's time flies

        machine.console.listen(listen)
        try:
            stop = machine.run(instructions=_LIMIT)
        finally:
            machine.console.unlisten(listen)
        found = end.search(printed)
        if stop.reason in (StopReason.INSTRUCTIONS, StopReason.IDLE):
            raise AssertionError(f"no answer in {_LIMIT:,} instructions; the guest printed {bytes(printed)!r}")
        if found is None or stop.reason is not StopReason.INTERRUPTED:
            raise NotFinished(stop)
        # The last echo: where the terminal still echoes when the line is typed, the line editor does so again.
        said = _TERMINAL.sub(b"", printed[: found.start()]).rpartition(f"'{mark}'$?.\r\n".encode())[2]
        return said.replace(b"\r\n", b"\n").decode(), int(found[1])

    def put(self, path: str, content: bytes) -> None:
        """Type an executable file into the guest."""
        lines = base64.encodebytes(gzip.compress(content, mtime=0)).decode()
        # POSIX's own form of base64: the BusyBox of Debian 11 has no other.
        decode = f"uudecode -o {path}.gz; gunzip {path}.gz; chmod +x {path}"
        self.run(decode, f"begin-base64 644 {path}\n{lines}====")
        assert self.run(f"md5sum < {path}") == f"{hashlib.md5(content).hexdigest()}  -\n"

    def probe_events(self, *definitions: str) -> None:
        """Have the guest's own kprobe_events be these, enabled, and its trace empty."""
        commands = [f"echo '{definition}' >> {TRACING}/kprobe_events" for definition in definitions]
        said = self.run("; ".join([*commands, f"echo 1 > {TRACING}/events/kprobes/enable; echo > {TRACING}/trace"]))
        assert said == "", said
        assert len(self.run(f"cat {TRACING}/kprobe_events").splitlines()) == len(definitions)

    def no_probe_events(self) -> None:
        """Remove the guest's own."""
        assert self.run(f"echo 0 > {TRACING}/events/kprobes/enable; echo > {TRACING}/kprobe_events") == ""
        assert self.run(f"cat {TRACING}/kprobe_events") == ""

    def trace(self) -> list[Event]:
        """The guest's trace file."""
        return [
            Event(
                found["task"],
                int(found["pid"]),
                found["flags"],
                float(found["seconds"]),
                found["event"],
                found["place"],
                dict(_ARGUMENT.findall(found["arguments"])),
            )
            for found in _EVENT.finditer(self.run(f"cat {TRACING}/trace"))
        ]

    def symbol(self, name: str) -> int:
        """The address of a kernel symbol, as the guest itself has it."""
        return int(self.run(f"grep -w {name}$ /proc/kallsyms").split()[0], 16)
