# SPDX-License-Identifier: GPL-2.0-or-later
"""A debugger's command line, driven through pipes: what is typed at it, what it prints, and Ctrl-C."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Self

from tests.waiting import PATIENCE

_MARK: Final = "-- armprobe --"


class DebuggerError(Exception):
    """The debugger did not do what was asked of it; the text is what it said."""


class Debugger(ABC):
    """A debugger at its prompt. What differs between gdb and LLDB is the words."""

    attach_words: str
    prompt: str
    reads_program = True
    """Whether it takes the guest's program from the stub when it was given none."""

    def __init__(self, command: list[str], *commands: str, environment: Mapping[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
        self._said = b""
        for line in commands:
            self.execute(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe
            pipe.close()

    def execute(self, command: str) -> str:
        """What the debugger prints for `command`, until it is at its prompt again."""
        self.send(command)
        return self.answer()

    def send(self, command: str) -> None:
        """Type a line and do not wait."""
        assert self._process.stdin
        self._process.stdin.write(f"{command}\n{self._mark_command()}\n".encode())
        self._process.stdin.flush()

    def answer(self) -> str:
        """What it printed for the line that was sent. Raises DebuggerError if there is no end to it, or it died."""
        assert self._process.stdout
        end, deadline = f"\n{_MARK}\n".encode(), time.monotonic() + PATIENCE
        while end not in self._said:
            ready, _, _ = select.select([self._process.stdout], [], [], max(deadline - time.monotonic(), 0))
            part = os.read(self._process.stdout.fileno(), 1 << 16) if ready else b""
            if not part:
                why = "ended" if ready else f"did not answer for {PATIENCE:.0f} s"
                raise DebuggerError(f"the debugger {why}; it said: {self._said.decode(errors='replace')[-500:]}")
            self._said += part
        said, _, self._said = self._said.partition(end)
        lines = said.decode(errors="replace").replace(self.prompt, "").splitlines()
        return "\n".join(line for line in lines if _MARK not in line)

    def run(self) -> None:
        """Set the guest going and return."""
        self.send("continue")

    def control_c(self) -> str:
        """Interrupt the guest that was set going: what is said of its stop."""
        self._process.send_signal(signal.SIGINT)
        return self.answer()

    def attach(self, address: str) -> str:
        """Connect to a stub."""
        return self.execute(f"{self.attach_words} {address}")

    def value(self, expression: str) -> int:
        """An expression's value, of 64 bits or fewer."""
        said = self.execute(self._print_command(expression))
        match = re.search(r"= (0x[0-9a-f]+)$", said, re.MULTILINE)
        if not match:
            raise DebuggerError(f"{expression} has no value: {said}")
        return int(match[1], 16)

    @abstractmethod
    def _mark_command(self) -> str: ...

    @abstractmethod
    def _print_command(self, expression: str) -> str: ...

    @abstractmethod
    def registers(self) -> dict[str, int]:
        """x0 to x30 (as LLDB and gdb both call them), sp, pc, cpsr."""

    @abstractmethod
    def memory(self, address: int, length: int, folder: Path) -> bytes:
        """`length` bytes, by way of a file in `folder`."""

    @abstractmethod
    def write_register(self, name: str, value: int) -> str: ...

    @abstractmethod
    def write_word(self, address: int, value: int) -> str:
        """Eight bytes of memory."""

    @abstractmethod
    def breakpoint(self, where: str, condition: str = "", hardware: bool = False) -> str:
        """Set one, at a function (`name`) or an address (`*0x...`)."""

    @abstractmethod
    def watch(self, kind: str, address: int, variable: str) -> str:
        """Watch a variable, or eight bytes of memory if it has no name; `kind` is gdb's command for it."""

    @abstractmethod
    def regions(self) -> list[tuple[int, int]]:
        """Where it takes memory to be: starts and ends, in order."""

    @abstractmethod
    def delete(self) -> None:
        """All breakpoints and watchpoints."""

    step_instruction: str
    next_instruction: str
    step: str
    next: str
    finish: str
    kill: str
    monitor: str
    interrupted: str


class Gdb(Debugger):
    """GDB, with confirmation, paging and its questions to the network off."""

    attach_words, prompt = "target remote", "(gdb) "
    step_instruction, next_instruction, step, next, finish = "stepi", "nexti", "step", "next", "finish"
    kill, monitor, interrupted = "kill", "monitor", "received signal SIGINT"

    def __init__(
        self, path: str, program: Path | None, *options: str, environment: Mapping[str, str] | None = None
    ) -> None:
        settings = ("confirm off", "height 0", "width 0", "tcp connect-timeout 5", "style enabled off")
        commands = (f"set {setting}" for setting in settings)
        super().__init__([path, "-nx", "-q", *options], *commands, environment=environment)
        if program:
            self.execute(f"file {program}")

    def _mark_command(self) -> str:
        return rf"echo \n{_MARK}\n"

    def _print_command(self, expression: str) -> str:
        return f"print/x {expression}"

    def registers(self) -> dict[str, int]:
        said = self.execute("info registers")
        return {name: int(value, 16) for name, value in re.findall(r"^(\w+) +(0x[0-9a-f]+)", said, re.MULTILINE)}

    def memory(self, address: int, length: int, folder: Path) -> bytes:
        path = folder / "dump"
        self.execute(f"dump binary memory {path} {address:#x} {address + length:#x}")
        return path.read_bytes()

    def write_register(self, name: str, value: int) -> str:
        return self.execute(f"set ${name} = {value:#x}")

    def write_word(self, address: int, value: int) -> str:
        return self.execute(f"set {{long}} {address:#x} = {value:#x}")

    def breakpoint(self, where: str, condition: str = "", hardware: bool = False) -> str:
        return self.execute(f"{'hbreak' if hardware else 'break'} {where}{' if ' * bool(condition)}{condition}")

    def watch(self, kind: str, address: int, variable: str) -> str:
        return self.execute(f"{kind} {variable or f'*(unsigned long *) {address:#x}'}")

    def regions(self) -> list[tuple[int, int]]:
        said = self.execute("info mem")
        found = re.findall(r"^\d+\s+y\s+(0x[0-9a-f]+) (0x[0-9a-f]+) +rw nocache", said, re.MULTILINE)
        return [(int(start, 16), int(end, 16)) for start, end in found]

    def delete(self) -> None:
        self.execute("delete")


class Lldb(Debugger):
    """LLDB, whose commands wait for the stop, as gdb's do."""

    attach_words, prompt, reads_program = "gdb-remote", "(lldb) ", False
    step_instruction, next_instruction = "thread step-inst", "thread step-inst-over"
    step, next, finish = "thread step-in", "thread step-over", "thread step-out"
    kill, monitor, interrupted = "process kill", "process plugin packet monitor", "stop reason = signal SIGINT"

    def __init__(self, path: str, program: Path | None) -> None:
        super().__init__(
            [path, "--no-lldbinit", "--no-use-colors"],
            "script lldb.debugger.SetAsync(False)",
            "settings set auto-confirm true",
        )
        if program:
            self.execute(f"target create {program}")

    def run(self) -> None:
        self.execute("script lldb.debugger.SetAsync(True)")
        self.execute("continue")
        self._await("is running")

    def control_c(self) -> str:
        # A signal that reaches LLDB before it reads commands again is lost, and a second one ends it.
        self.execute("process interrupt")
        said = self._await("stopped")
        self.execute("script lldb.debugger.SetAsync(False)")
        return said

    def _await(self, state: str) -> str:
        deadline = time.monotonic() + PATIENCE
        while state not in (said := self.execute("process status")):
            if time.monotonic() > deadline:
                raise DebuggerError(f"waited {PATIENCE:.0f} s for {state!r}; LLDB says: {said}")
            time.sleep(0.02)
        return said

    def _mark_command(self) -> str:
        return f"script print('\\n{_MARK}')"

    def _print_command(self, expression: str) -> str:
        return f"expression -f hex -- (unsigned long) ({expression})"

    def registers(self) -> dict[str, int]:
        said = self.execute("register read")
        found = re.findall(r"^ *(\w+) = (0x[0-9a-f]+)", said, re.MULTILINE)
        return {{"fp": "x29", "lr": "x30"}.get(name, name): int(value, 16) for name, value in found}

    def memory(self, address: int, length: int, folder: Path) -> bytes:
        path = folder / "dump"
        self.execute(f"memory read --force --binary --outfile {path} {address:#x} {address + length:#x}")
        return path.read_bytes()

    def write_register(self, name: str, value: int) -> str:
        return self.execute(f"register write {name} {value:#x}")

    def write_word(self, address: int, value: int) -> str:
        return self.execute(f"memory write -s 8 {address:#x} {value:#x}")

    def breakpoint(self, where: str, condition: str = "", hardware: bool = False) -> str:
        place = f"-a {where[1:]}" if where.startswith("*") else f"-n {where}"
        options = "-H " * hardware + (f"-c '{condition}' " if condition else "")
        return self.execute(f"breakpoint set {options}{place}")

    def watch(self, kind: str, address: int, variable: str) -> str:
        access = {"watch": "write", "rwatch": "read", "awatch": "read_write"}[kind]
        if variable:
            return self.execute(f"watchpoint set variable -w {access} {variable}")
        return self.execute(f"watchpoint set expression -w {access} -s 8 -- {address:#x}")

    def regions(self) -> list[tuple[int, int]]:
        said = self.execute("memory region --all")
        found = re.findall(r"^\[(0x[0-9a-f]+)-(0x[0-9a-f]+)\) r[w-][x-]", said, re.MULTILINE)
        return [(int(start, 16), int(end, 16)) for start, end in found]

    def delete(self) -> None:
        self.execute("breakpoint delete -f")
        self.execute("watchpoint delete -f")


def start(path: str, program: Path | None) -> Debugger:
    """The debugger at `path`, with a program to take symbols from, or none."""
    return (Lldb if Path(path).name == "lldb" else Gdb)(path, program)
