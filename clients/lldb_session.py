# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs a real LLDB from a program, with the methods that `GdbSession` has.

    with Session("demo") as session, LldbSession(session) as lldb:
        lldb.breakpoint("kfree", condition="x0 != 0")
        stop = lldb.continue_to_stop()

LLDB's own Python does the work (`lldb_agent.py`), which is asked over a socket.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from armprobe.session import Session
from armprobe.session.symbol_cache import symbol_path
from armprobe.stub import Debuggable, Target

from .debugger_session import DebuggerSession
from .gdb_records import GdbError, GdbStop, GdbTimeout, Record
from .gdb_values import GdbFrame
from .lldb_process import LldbProcess
from .lldb_values import LldbBreakpoint, LldbRegisters

PROXY: Final = Path(__file__).parent.parent / "commands/lldb_proxy.py"


class LldbSession(DebuggerSession):
    """One LLDB attached to one stub. A context manager. Not for use by several threads at once.

    What it gives and the errors are those of `GdbSession`, also `GdbError.transcript`.
    """

    def __init__(
        self,
        where: str | Target | Debuggable,
        *,
        lldb: str = "lldb",
        program: Path | None = None,
        timeout: float | None = None,
    ) -> None:
        """Start LLDB and connect it.

        where: as for `GdbSession`. lldb: its name or path. program: a file with the guest's symbols, which LLDB does
        not take from a stub; by default that of a `Session`, and none for an address. timeout: seconds each operation
        may take; default TIMEOUT.

        Raises `GdbError` if LLDB is absent, has no Python, or the connection is refused.
        """
        super().__init__(where, timeout)
        self._folder = TemporaryDirectory(prefix="armprobe-")
        try:
            if isinstance(where, Session) and program is None:
                program = symbol_path(where, Path(self._folder.name))
            self._lldb = LldbProcess(lldb, self._transcript)
        except BaseException:
            self._folder.cleanup()
            raise
        self._process = self._lldb.process
        try:
            self._ask("connect", address=self._address(), program=str(program or ""), timeout=self.timeout)
            self._ask("execute", command=f'command script import "{PROXY}"')
        except BaseException:
            self.close()
            raise

    def execute(self, command: str, timeout: float | None = None) -> str:
        """Do what `command` does when typed at LLDB's prompt, armprobe's own too, and return the text it prints.

        A command that resumes the machine ends when the machine has stopped. Raises `GdbError` with LLDB's message.
        """
        said = str(self._ask("execute", timeout, command=command))
        self._running = bool(self._ask("is_running"))
        return said + self.wait_for_stop(timeout).console if self._running else said

    def cont(self) -> None:
        """Resume the machine and return."""
        self._ask("cont")
        self._running = True

    def step(self, timeout: float | None = None) -> GdbStop:
        """Execute one instruction."""
        self._ask("step")
        self._running = True
        return self.wait_for_stop(timeout)

    def interrupt(self, timeout: float | None = None) -> GdbStop:
        """Stop the running machine. If it stops by itself at that moment, that stop is returned."""
        if not self._running:
            raise GdbError("the machine is not running, so there is nothing to interrupt", str(self._transcript))
        self._ask("interrupt")
        return self.wait_for_stop(timeout)

    def wait_for_stop(self, timeout: float | None = None) -> GdbStop:
        """Wait until the machine that was resumed stops.

        Raises `GdbTimeout`, and leaves the machine running. Raises `GdbError` if LLDB or the stub has ended.
        """
        if not self._running:
            raise GdbError("the machine is not running, so there is no stop to wait for", str(self._transcript))
        limit = self.timeout if timeout is None else timeout
        try:
            stop: Record | None = self._ask("wait", limit + self.timeout, seconds=limit)
        except GdbTimeout:
            raise
        except GdbError:
            self._running = False
            raise
        if stop is None:
            raise GdbTimeout(f"waited {limit:g} s for the machine to stop", str(self._transcript))
        self._running = False
        return GdbStop(
            reason=stop["reason"],
            signal=stop["signal"],
            pc=stop["pc"],
            function=stop["function"],
            console=stop["description"],
            complaints="",
            raw=stop["raw"],
        )

    def breakpoint(
        self,
        location: str,
        *,
        condition: str = "",
        temporary: bool = False,
        hardware: bool = False,
        pending: bool = False,
    ) -> LldbBreakpoint:
        """Set a breakpoint at `location`: FUNCTION, FILE:LINE or *ADDRESS. The rest is as for `GdbSession`.

        Raises `GdbError` with LLDB's message. LLDB finds a mistake in the condition when the machine is there.
        """
        options = {"condition": condition, "temporary": temporary, "hardware": hardware, "pending": pending}
        return LldbBreakpoint(self._ask, location, self._ask("breakpoint", location=location, **options))

    def frames(self, limit: int = 100) -> list[GdbFrame]:
        """The frames of the stack, from the innermost on; `limit` of them at most, because a broken stack can go on."""
        return [GdbFrame(**frame) for frame in self._ask("frames", limit=limit)]

    def variables(self) -> dict[str, str]:
        """The local variables and arguments of the selected frame, in LLDB's format.

        Of variables with one name, the innermost. A function without debug information has none.
        """
        values: dict[str, str] = self._ask("variables")
        return values

    @property
    def registers(self) -> LldbRegisters:
        """The registers of the selected frame, by LLDB's names: `lldb.registers["x0"] += 1`."""
        return LldbRegisters(self._ask)

    def register(self, name: str) -> int:
        """The value of a register that holds one number. Raises `GdbError`."""
        try:
            return self.registers[name]
        except KeyError as error:
            raise GdbError(error.args[0], str(self._transcript)) from None

    def evaluate(self, expression: str) -> str:
        """The value of an expression, as text in LLDB's format."""
        return str(self._ask("evaluate", expression=expression))

    def read_memory(self, address: int, length: int) -> bytes:
        """`length` bytes of memory. Raises `GdbError` if any of them cannot be read."""
        return bytes.fromhex(self._ask("read_memory", address=address, length=length))

    def write_memory(self, address: int, data: bytes) -> None:
        """Write `data` to memory. Raises `GdbError` if any of it cannot be written."""
        self._ask("write_memory", address=address, data=data.hex())

    def mi(self, command: str, timeout: float | None = None) -> Record:
        """Raises `GdbError`: GDB/MI is gdb's."""
        raise GdbError(f"LLDB has no GDB/MI, so it cannot do {command!r}: use execute, or a GdbSession")

    def _end(self) -> None:
        try:
            self._lldb.end()
        finally:
            self._folder.cleanup()

    def _ask(self, call: str, timeout: float | None = None, /, **arguments: Any) -> Any:
        if self._running and call not in ("wait", "interrupt"):
            raise GdbError(f"the machine runs, so LLDB cannot do {call}: interrupt it first", str(self._transcript))
        return self._lldb.ask(call, arguments, self.timeout if timeout is None else timeout)
