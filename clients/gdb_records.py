# SPDX-License-Identifier: GPL-2.0-or-later
"""What gdb reports in GDB/MI: its stops, its errors, and a transcript of the last lines of both directions."""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

Record = dict[str, Any]

_LINES: Final = 50  # of the transcript
_WIDTH: Final = 300  # characters of a line of the transcript
_SHOWN: Final = 200  # characters of gdb's last output that an error quotes
# The first characters of records (GDB manual, node "GDB/MI Output Syntax"), by pygdbmi's names.
_PREFIXES: Final = {"console": "~", "target": "@", "output": "", "log": "&", "result": "^"}


class GdbError(Exception):
    """gdb refused a command (with its own message), could not be started, or is gone."""

    def __init__(self, message: str, transcript: str = "") -> None:
        super().__init__(message)
        self.transcript = transcript
        """The last lines that were sent to gdb (`>`) and came from it, at most 50; empty if none were."""


class GdbTimeout(GdbError):
    """gdb did not report an expected event in time."""


class UnexpectedStop(GdbError):
    """The machine has stopped, but not as expected."""

    def __init__(self, message: str, transcript: str, stop: "GdbStop") -> None:
        super().__init__(message, transcript)
        self.stop = stop


@dataclass(frozen=True)
class GdbStop:
    """The reason and place of a stop (GDB manual, node "GDB/MI Async Records")."""

    reason: str
    """gdb's word: "breakpoint-hit", "end-stepping-range", "signal-received"...; empty if it gives none."""
    signal: str
    """The signal's name, such as "SIGTRAP"; empty if there was none."""
    pc: int | None
    """None if the guest has ended."""
    function: str
    """The function that contains pc; empty if gdb does not know it."""
    console: str
    """Output on gdb's console between the resumption and the stop, from the stub or gdb itself."""
    complaints: str
    """Output on gdb's stderr in that time: warnings, and errors in conditions, which stop the machine."""
    raw: Mapping[str, Any] = field(repr=False)
    """The whole record."""

    @property
    def breakpoint(self) -> int | None:
        """gdb's number of the breakpoint or watchpoint that was hit. None if none was."""
        # A watchpoint's record is under "wpt", "hw-rwpt" or "hw-awpt" (gdb/breakpoint.c, print_it_watchpoint).
        numbers = [self.raw["bkptno"]] if "bkptno" in self.raw else []
        numbers += [self.raw[key]["number"] for key in ("wpt", "hw-rwpt", "hw-awpt") if key in self.raw]
        return int(numbers[0]) if numbers else None

    def __str__(self) -> str:
        place = "" if self.pc is None else f" at {self.pc:#x}" + f" in {self.function}" * bool(self.function)
        number = "" if self.breakpoint is None else f", number {self.breakpoint}"
        return f"{self.reason or 'no reason given'}{f', {self.signal}' * bool(self.signal)}{number}{place}"

    def __repr__(self) -> str:
        return f"<GdbStop {self}>"


class Transcript:
    """The last lines of a session, shortened: what was sent with `>` before it, what came as in GDB/MI.

    They are put together when they are read: a command may have thousands of records.
    """

    def __init__(self) -> None:
        self._kept: deque[str | Record] = deque(maxlen=_LINES)  # a record has one line or more
        self._last: Record | None = None

    def sent(self, command: str) -> None:
        """gdb was sent a command."""
        self._kept.append(command[:_WIDTH])

    def received(self, record: Record) -> None:
        """gdb has sent a record."""
        self._kept.append(record)
        self._last = record

    @property
    def last(self) -> str:
        """The last record, for an error message."""
        if self._last is None:
            return "nothing"
        kind, message, payload = (self._last.get(key) for key in ("type", "message", "payload"))
        return " ".join(str(part) for part in (kind, message, payload) if part)[:_SHOWN]

    def __str__(self) -> str:
        lines: list[str] = []
        for each in self._kept:
            lines.extend([f"> {each}"] if isinstance(each, str) else _lines(each))
        return "\n".join(lines[-_LINES:])


def _lines(record: Record) -> list[str]:
    """A record as GDB/MI has it; no line for one that says nothing of use."""
    kind, message, payload = record["type"], record["message"], record["payload"]
    token = "" if record.get("token") is None else str(record["token"])
    if isinstance(payload, str):  # text, for people
        return [f"{_PREFIXES.get(kind, '')}{line[:_WIDTH]}" for line in payload.splitlines()[-_LINES:]]
    if message == "stopped" or kind in ("result", "notify"):
        prefix = "*" if message in ("stopped", "running") else _PREFIXES.get(kind, "=")
        return [f"{token}{prefix}{message}{f' {payload}' if payload else ''}"[:_WIDTH]]
    return []


def expected_stop(wait: Callable[[], GdbStop], transcript: Transcript, wanted: Mapping[str, object]) -> GdbStop:
    """The stop that `wait` returns, if the attributes of it in `wanted` that are not None are equal.

    Raises `UnexpectedStop` if they are not, and what `wait` raises. The message ends with the transcript.
    """
    expected = ", ".join(f"{name} {value}" for name, value in wanted.items() if value is not None) or "any"
    try:
        stop = wait()
    except GdbError as error:
        raise type(error)(_with(transcript, f"expected a stop ({expected}): {error}"), error.transcript) from None
    for name, value in wanted.items():
        if value is not None and getattr(stop, name) != value:
            text = f"expected a stop ({expected}), and the machine has stopped otherwise: {stop}"
            raise UnexpectedStop(_with(transcript, text), str(transcript), stop)
    return stop


def _with(transcript: Transcript, message: str) -> str:
    return f"{message}\nThe last lines of the session with the debugger:\n{transcript}"
