# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs a real gdb from a program: for scripts, and for tests of anything that gdb can attach to.

    with GdbSession("127.0.0.1:1234") as gdb:
        gdb.execute("break *0x40080000")
        stop = gdb.continue_to_stop()

Sessions are independent of each other: several may be used at once, each by one thread.

It speaks GDB/MI (GDB manual, node "GDB/MI") through pygdbmi. gdb runs with `mi-async` on; otherwise only a signal could
interrupt it.
"""

import contextlib
import re
import time
from collections.abc import Callable
from pathlib import Path

from armprobe.stub import Debuggable, Target, target_of

from .debugger_session import DebuggerSession
from .gdb_process import GdbProcess
from .gdb_records import GdbError, GdbStop, GdbTimeout, Record
from .gdb_values import GdbBreakpoint, GdbFrame, GdbRegisters, condition_in_gdb_s_names

GDBINIT = Path(__file__).parent.parent / "gdbinit"
PROXY = Path(__file__).parent.parent / "commands/gdb_proxy.py"
_POLL = 0.1  # seconds between checks that gdb is alive

# No prompts, folded lines or colours, and no 15 seconds of retries at an address without a listener. A breakpoint at an
# unknown place is refused at once: otherwise gdb asks whether to make it pending, and answers no itself.
_SETTINGS = ("mi-async on", "height 0", "width 0", "style enabled off", "tcp auto-retry off", "breakpoint pending off")
# gdb's text for commands that do not fail, such as `delete 99` (gdb/breakpoint.c, map_breakpoint_numbers; stack.c).
_NOTHING_DONE = re.compile(r"^No (?:breakpoint|display) number .*\.$", re.MULTILINE)
# gdb's text for an error reply to a `monitor` command, whose message was shown before (gdb/remote.c, rcmd).
_MONITOR_FAILED = re.compile(r"Protocol error with Rcmd.*")
_PYTHON_FAILED = "Error while executing Python code."
# gdb's text where hook-stop, or a method or handler in Python, fails at a stop, which gdb then reports as any other
# (gdb/infrun.c, normal_stop; python/python.c, gdbpy_print_stack).
_FAILED_AT_STOP = re.compile(r"Error while running hook_stop:|Python Exception ")
_WARNING = "warning: "
# armprobe's own packet, and a reply to it that has text: a 1, and what was changed in hexadecimal.
_CHANGES = "qArmprobe.changes"
_CHANGED = re.compile(r'^received: "1[0-9a-f]+"$', re.MULTILINE)
# The output of `set debug ...` (gdbsupport/common-debug.cc, debug_prefixed_vprintf).
_DEBUGGING = re.compile(r" *\[[\w-]+\] ")


class GdbSession(DebuggerSession):
    """One gdb attached to one stub. A context manager. Not for use by several threads at once.

    Each `GdbError` has the session's last lines as `transcript`.
    """

    def __init__(
        self,
        where: str | Target | Debuggable,
        *,
        gdb: str = "gdb-multiarch",
        extended: bool = False,
        gdbinit: Path | None = GDBINIT,
        timeout: float | None = None,
    ) -> None:
        """Start gdb and connect it.

        where: the address of a stub, "host:port" or "unix:/path", which must be listening; or a target, such as an
        `armprobe.commands.Session`, which is served on a private unix socket until the session ends.
        gdb: its name or path. extended: connect by ``target extended-remote``. gdbinit: a file for gdb to source.
        timeout: seconds each operation may take; default TIMEOUT.

        Raises `GdbError` if gdb is absent or the connection is refused.
        """
        super().__init__(where, timeout)
        self._token = 0
        self._stop: Record | None = None
        self._resumption: int | None = None  # the token of the command that resumed the machine
        self._refusal: str | None = None  # why gdb did not resume it, or has lost it
        self._ended = False  # gdb has said that the machine has ended, and not yet how
        self._said: list[str] = []
        self._complaints: list[str] = []
        self._final: list[str] = []  # complaints since the stop, after which nothing else came
        self._target = None if isinstance(where, str) else target_of(where)
        self._seen = self._changes()
        self._io = GdbProcess(gdb, self.timeout, {"ARMPROBE_GDB_PROXY": str(PROXY)})
        self._process = self._io.process
        try:
            address = self._address()
            for setting in _SETTINGS:
                self._command(f"-gdb-set {setting}")
            with contextlib.suppress(GdbError):  # gdb 13 was the first to have it
                # Before version 4 of MI, a breakpoint's commands are sent as invalid MI.
                self._command("-fix-breakpoint-script-output")
            if gdbinit:
                self.execute(f"source {gdbinit}")
            self._command(f"-target-select {'extended-' * extended}remote {address.removeprefix('unix:')}")
            self._command('-interpreter-exec console "maint packet QArmprobe.MonitorErrors"')  # armprobe's own packet
            self._begin()  # the stop at connecting belongs to no command
        except BaseException:
            self.close()
            raise

    def execute(self, command: str, timeout: float | None = None) -> str:
        """Do what `command` does when typed at gdb's prompt, and return the text it prints.

        A command that resumes the machine ends when the machine has stopped, as `wait_for_stop` has it. Raises
        `GdbError` with gdb's message if gdb refuses any of it, or the machine refuses a ``monitor`` command. A
        breakpoint at an unknown place is refused; after ``set breakpoint pending on`` it is pending.
        """
        self._begin()
        try:
            self._command(f"-interpreter-exec console {_quoted(command)}", timeout)
        except GdbTimeout:
            raise
        except GdbError as error:
            raise GdbError(self._explained(str(error)), str(self._transcript)) from None
        resumed = self._running or self._stop is not None
        said = self.wait_for_stop(timeout).console if resumed else "".join(self._said)
        if refused := _NOTHING_DONE.search(said):
            raise GdbError(refused[0], str(self._transcript))
        return said

    def cont(self) -> None:
        """Resume the machine and return."""
        self._begin()
        self._command("-exec-continue")

    def mi(self, command: str, timeout: float | None = None) -> Record:
        """Run a command of GDB/MI, such as "-stack-info-depth", and return the results that gdb gives with "^done".

        A string in the results is text, a list a list, a tuple a dict (GDB manual, node "GDB/MI Output Syntax"). A
        command that resumes the machine returns at once, and `wait_for_stop` or `expect_stop` waits for the stop.
        Raises `GdbError` with gdb's message.
        """
        _refuse_line_end(command)
        self._begin()
        return self._command(f"-{command.removeprefix('-')}", timeout)

    def breakpoint(
        self,
        location: str,
        *,
        condition: str = "",
        temporary: bool = False,
        hardware: bool = False,
        pending: bool = False,
    ) -> GdbBreakpoint:
        """Set a breakpoint at `location`, which is written as for gdb's `break`.

        condition: stop only where this C expression is not 0. Registers may be written as `x0` or, as in gdb, `$x0`.
        temporary: gdb deletes the breakpoint when it has stopped the machine. hardware: as gdb's `hbreak`. pending: a
        location that gdb does not know yet is waited for; otherwise it is refused.

        Raises `GdbError` with gdb's message.
        """
        options = "-t " * temporary + "-h " * hardware + "-f " * pending
        self._begin()
        while True:
            wanted = f"-c {_quoted(condition)} " if condition else ""
            try:
                made = self._command(f"-break-insert {options}{wanted}{_quoted(location)}")
            except GdbTimeout:
                raise
            except GdbError as error:
                changed = condition_in_gdb_s_names(condition, str(error), self.registers)
                if changed is None:
                    raise
                condition = changed
            else:
                return GdbBreakpoint(self._command, made["bkpt"])

    def frames(self, limit: int = 100) -> list[GdbFrame]:
        """The frames of the stack, from the innermost on; `limit` of them at most, because a broken stack can go on."""
        self._look()
        if limit < 1:  # gdb takes -1 for "all"
            return []
        part = f"0 {limit - 1}"
        stack = self._command(f"-stack-list-frames {part}")["stack"]
        arguments = self._command(f"-stack-list-arguments --all-values {part}")["stack-args"]
        return [GdbFrame.of(frame, _by_name(row["args"])) for frame, row in zip(stack, arguments, strict=True)]

    def variables(self) -> dict[str, str]:
        """The local variables and arguments of the selected frame, in gdb's format; `execute("up")` selects another.

        Of variables with one name, the innermost. A function without debug information has none.
        """
        self._look()
        return _by_name(self._command("-stack-list-variables --all-values")["variables"])

    @property
    def registers(self) -> GdbRegisters:
        """The registers of the selected frame, by gdb's names: `gdb.registers["x0"] += 1`."""
        return GdbRegisters(self.mi, self.register)

    def step(self, timeout: float | None = None) -> GdbStop:
        """Execute one instruction."""
        self._begin()
        self._command("-exec-step-instruction")
        return self.wait_for_stop(timeout)

    def interrupt(self, timeout: float | None = None) -> GdbStop:
        """Stop the running machine. If it stops by itself at that moment, that stop is returned."""
        if not self._running and self._stop is None:
            raise GdbError("the machine is not running, so there is nothing to interrupt", str(self._transcript))
        if self._running:
            self._command("-exec-interrupt")
        return self.wait_for_stop(timeout)

    def wait_for_stop(self, timeout: float | None = None) -> GdbStop:
        """Wait until the machine that was resumed stops, and gdb has executed the commands of the breakpoint there.

        If those resume the machine, the stop after that is waited for. Raises `GdbTimeout`, and leaves the machine
        running. Raises `GdbError` if gdb or the stub has ended; if gdb could not resume the machine, perhaps for want
        of a watchpoint; or, with the machine stopped, if one of those commands failed, hook-stop, or a method or
        handler in Python. A command is taken to have failed when the last text at the stop is on gdb's stderr, where
        errors are printed, and is not a warning.
        """
        if not self._running and self._stop is None and self._refusal is None:
            raise GdbError("the machine is not running, so there is no stop to wait for", str(self._transcript))
        began = time.monotonic()
        while True:
            self._read(
                lambda record: bool(self._stop or self._refusal is not None), "the machine to stop", timeout, began
            )
            if self._refusal is not None:
                refusal, self._refusal = self._refusal, None
                raise GdbError("".join([*self._complaints, refusal]), str(self._transcript))
            # gdb reads its next command after it has executed those of the breakpoint.
            self._command('-interpreter-exec console "echo"', timeout, began)
            if self._stop is not None:  # the commands have not resumed it
                break
        payload, self._stop = self._stop["payload"], None
        if failure := self._failure_at_stop():
            raise GdbError(failure, str(self._transcript))
        if not payload:  # gdb does not describe the stop if the commands begin with `silent`
            payload = self._command("-stack-info-frame")
        frame = payload.get("frame", {})
        return GdbStop(
            reason=payload.get("reason", ""),
            signal=payload.get("signal-name", ""),
            pc=int(frame["addr"], 16) if "addr" in frame else None,
            function=frame.get("func", "").replace("??", ""),
            console="".join(self._said),
            complaints="".join(self._complaints),
            raw=payload,
        )

    def evaluate(self, expression: str) -> str:
        """The value of an expression, as text in gdb's format."""
        self._look()
        return str(self._command(f"-data-evaluate-expression {_quoted(expression)}")["value"])

    def register(self, name: str) -> int:
        """The value of a register that holds one number, by gdb's name."""
        text = self.execute(f"output/x ${name}")
        try:
            return int(text, 16)
        except ValueError:
            raise GdbError(f"${name} is not one number: gdb shows {text!r}", str(self._transcript)) from None

    def read_memory(self, address: int, length: int) -> bytes:
        """`length` bytes of memory. Raises `GdbError` if any of them cannot be read."""
        self._look()
        blocks = self._command(f"-data-read-memory-bytes {address:#x} {length}")["memory"]
        data = b"".join(bytes.fromhex(block["contents"]) for block in blocks)
        if len(data) != length:
            raise GdbError(f"of {length} bytes at {address:#x} only {len(data)} can be read", str(self._transcript))
        return data

    def write_memory(self, address: int, data: bytes) -> None:
        """Write `data` to memory. Raises `GdbError` if any of it cannot be written."""
        self._look()
        if data:  # gdb refuses to write nothing
            self._command(f"-data-write-memory-bytes {address:#x} {data.hex()}")

    def _end(self) -> None:
        self._io.end()

    def _failure_at_stop(self) -> str:
        """gdb's message for what failed at the stop; empty if nothing did."""
        if any(_FAILED_AT_STOP.match(each) for each in self._complaints):
            return "".join(self._complaints)
        # An error ends the commands, so nothing is printed after its message.
        return "" if not self._final or self._final[-1].startswith(_WARNING) else "".join(self._final)

    def _look(self) -> None:
        """Make gdb forget its caches of the machine if someone else has changed it since gdb's last command."""
        if not self._running and self._changed():
            for cache in ("register-cache", "dcache"):
                self._command(f'-interpreter-exec console "maintenance flush {cache}"')

    def _changed(self) -> bool:
        """Whether someone else has changed the machine. A stub of another process is asked."""
        if self._target is not None:
            return self._changes() != self._seen
        self._said.clear()
        with contextlib.suppress(GdbError):  # not connected
            self._command(f'-interpreter-exec console "maint packet {_CHANGES}"')
        return _CHANGED.search("".join(self._said)) is not None

    def _changes(self) -> object:
        """The target's count of changes, if it is a target in this process that counts them."""
        return getattr(self._target, "changes", None)

    def _explained(self, message: str) -> str:
        """gdb's message. If it says nothing useful, the explanation that gdb printed on its console is inserted."""
        if message == _PYTHON_FAILED:
            return "".join([*self._complaints, message])
        said = "".join(self._said).strip()
        return _MONITOR_FAILED.sub(lambda _: said, message) if said else message

    def _begin(self) -> None:
        """Forget the results of earlier commands, and outdated state."""
        self._look()
        self._said.clear()
        self._complaints.clear()
        if not self._running:
            self._stop = None

    def _command(self, command: str, timeout: float | None = None, began: float | None = None) -> Record:
        """Run an MI command and return its results, `timeout` seconds after `began` at the latest.

        Raises `GdbError` with gdb's message.
        """
        self._token += 1
        token = self._token
        try:
            self._transcript.sent(f"{token}{command}")
            self._io.write(f"{token}{command}", read_response=False)
        except (OSError, ValueError):  # a broken pipe, or one closed by close()
            raise GdbError(
                f"gdb has ended, so it cannot do {command}; it last said: {self._transcript.last}",
                str(self._transcript),
            ) from None
        answer = self._read(
            lambda r: r["type"] == "result" and r["token"] == token, f"the result of {command}", timeout, began
        )
        self._seen = self._changes()
        results: Record = answer["payload"] or {}
        if answer["message"] == "error":
            raise GdbError(results.get("msg", "gdb gave no reason"), str(self._transcript))
        return results

    def _read(
        self, awaited: Callable[[Record], bool], what: str, timeout: float | None, began: float | None = None
    ) -> Record:
        """Read records until the awaited one, and return it. An earlier record may have been the awaited one.

        It has `timeout` seconds from `began`, a time.monotonic(), or from now.
        """
        timeout = self.timeout if timeout is None else timeout
        deadline = (time.monotonic() if began is None else began) + timeout
        record: Record = {"type": "none"}
        found = awaited(record)
        while not found:
            # Checked before reading, so that the last output of a gdb that is gone is still read.
            status = self._process.poll()
            left = deadline - time.monotonic()
            records = self._io.get_gdb_response(max(0, min(_POLL, left)), raise_error_on_timeout=False)
            for each in records:
                self._note(each)
                if not found and awaited(each):
                    found, record = True, each
            if not found and not records:
                if status is not None:
                    raise GdbError(
                        f"gdb ended with status {status} before {what}; it last said: {self._transcript.last}",
                        str(self._transcript),
                    )
                if left <= 0:
                    raise GdbTimeout(
                        f"waited {timeout:g} s for {what}; gdb last said: {self._transcript.last}",
                        str(self._transcript),
                    )
        return record

    def _note(self, record: Record) -> None:
        """Keep track of the information in every record, awaited or not."""
        self._transcript.received(record)
        kind, message, payload = record["type"], record.get("message"), record.get("payload")
        if kind in ("console", "target") and payload:
            self._said.append(payload)
            self._final.clear()
        elif kind == "log" and payload:
            self._complaints.append(payload)
            if (
                self._ended
            ):  # there is no "stopped" record if the connection breaks (gdb/remote.c, remote_unpush_target)
                self._ended, self._running, self._refusal = False, False, "gdb has lost the machine it is connected to"
            if not _DEBUGGING.match(payload):
                self._final.append(payload)
        elif message == "running":
            self._running, self._resumption = True, record["token"] or self._resumption
            self._stop = None
        elif message == "error" and self._running and record["token"] == self._resumption:
            # This comes after gdb has said that the machine runs, which it does not.
            self._running, self._refusal = False, (payload or {}).get("msg", "gdb gave no reason")
        elif message == "thread-group-exited":
            self._ended = self._running
        elif message == "stopped":
            self._ended, self._running, self._stop = False, False, record
            self._final.clear()


def _by_name(variables: list[Record]) -> dict[str, str]:
    """Values by name, of the first of each name: gdb gives the innermost first."""
    values: dict[str, str] = {}
    for each in variables:
        values.setdefault(each["name"], each.get("value", ""))
    return values


def _refuse_line_end(text: str) -> None:
    """Raise `GdbError` for text with a line end, which would end the command."""
    if "\n" in text or "\r" in text:
        raise GdbError(f"one command at a time: {text!r} contains a line end")


def _quoted(text: str) -> str:
    """Quote text as an MI c-string. Raises `GdbError` if it contains a line end."""
    _refuse_line_end(text)
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
