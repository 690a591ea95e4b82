# SPDX-License-Identifier: GPL-2.0-or-later
"""gdb as an editor drives it, by the Debug Adapter Protocol: requests are typed with their arguments as JSON."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from armprobe.clients.gdb_session import GDBINIT, PROXY
from armprobe.stub import serve
from tests.debuggers.editor import Editor
from tests.debuggers.programs import PROGRAMS, Program, version
from tests.debuggers.tools.tool import Ask, Row, Subject, Tool

_GDB: Final[Program] = next(each for each in reversed(PROGRAMS) if each.command == "gdb")


def _version() -> str:
    return version(_GDB.install())


@contextmanager
def _opened(subject: Subject) -> Iterator[Ask]:
    command = [_GDB.install(), "-nx", "-l", "60", "-i=dap", "-x", str(GDBINIT)]
    environment = {**os.environ, "ARMPROBE_GDB_PROXY": str(PROXY)}
    with (
        serve(subject.session, "127.0.0.1:0") as server,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process,
    ):
        try:
            editor = Editor(process)
            editor.ask("initialize", adapterID="gdb", linesStartAt1=True)
            attaching = editor.send("attach", target=server.address)
            editor.until(event="initialized")
            editor.ask("configurationDone")
            editor.until(request_seq=attaching, success=True)
            requests = _Requests(editor)
            yield lambda line: requests(line.replace("PC", f"{subject.session.machine.registers.pc:#x}"))
            editor.ask("disconnect")
        finally:
            process.kill()


class _Requests:
    """Sends a request, for the thread that stopped and its innermost frame, and answers with the response's body.

    One that resumes the guest is answered with the stop, and with what was put out until then.
    """

    def __init__(self, editor: Editor) -> None:
        self._editor = editor
        self._looked_at: dict[str, Any] = {}

    def __call__(self, line: str) -> str:
        name, _, given = line.partition(" ")
        arguments = {**self._looked_at, **json.loads(given or "{}")}
        if name not in ("continue", "stepIn"):
            body = self._editor.ask(name, **arguments)
            if name == "stackTrace":
                self._looked_at["frameId"] = body["stackFrames"][0]["id"]
            return json.dumps(body)
        self._editor.output = ""
        self._editor.send(name, **arguments)
        stop = self._editor.until(event="stopped")["body"]
        self._looked_at = {"threadId": stop["threadId"]}
        # A probe's name comes behind the event.
        self._editor.ask("threads")
        return json.dumps({**stop, "output": self._editor.output})


def _threads(subject: Subject, said: str) -> None:
    """By name; kernel threads that work for whoever has work come and go."""
    names = " ".join(thread["name"] for thread in json.loads(said)["threads"])
    missing = [name for name in subject.facts.tasks.values() if name[:15] not in names and "kworker" not in name]
    assert not missing, (missing, said)


def _probe(subject: Subject, said: str) -> None:
    expected = f"kprobe 1: vfs_read at {subject.facts.symbols['vfs_read']:#x}, stops at pre\n"
    assert json.loads(said)["result"] == expected, said


def _stop(subject: Subject, said: str) -> None:
    assert subject.session.machine.registers.pc == subject.facts.symbols["vfs_read"]
    assert "kprobe vfs_read: stage pre, hit 1" in said, said


def _stack(subject: Subject, said: str) -> None:
    """Where it is, and the caller, by the register with the return address."""
    first, second, *_ = json.loads(said)["stackFrames"]
    machine = subject.session.machine.registers
    assert first["name"] == "vfs_read"
    assert int(first["instructionPointerReference"], 16) == machine.pc
    start = subject.facts.symbols[second["name"]]
    assert 0 < machine["x30"] - start < 0x1000, said


def _memory(subject: Subject, said: str) -> None:
    pc, memory = subject.session.machine.registers.pc, subject.session.machine.memory
    assert base64.b64decode(json.loads(said)["data"]) == memory.read(pc, 16), said


def _argument(subject: Subject, said: str) -> None:
    assert re.fullmatch(r"\d+", json.loads(said)["result"]), said
    assert int(json.loads(said)["result"]) == subject.session.machine.registers["x2"], said


def _step(subject: Subject, said: str) -> None:
    assert json.loads(said)["reason"] == "step", said
    assert subject.session.machine.registers.pc == subject.facts.symbols["vfs_read"] + 4, said


def _breakpoint(subject: Subject, said: str) -> None:
    assert json.loads(said)["breakpoints"][0]["verified"], said


def _breakpoint_stop(subject: Subject, said: str) -> None:
    stop = json.loads(said)
    assert stop["reason"] == "breakpoint", said
    assert subject.session.machine.registers.pc == subject.facts.symbols["__arm64_sys_read"], said


DAP: Final = Tool(
    "gdb's DAP",
    _version,
    _opened,
    (
        Row("threads", "/proc/PID/stat", _threads),
        Row(
            'evaluate {"expression": "kprobe vfs_read stop=pre", "context": "repl"}',
            "/proc/kallsyms",
            _probe,
        ),
        Row(
            'evaluate {"expression": "console true", "context": "repl"}; continue {"threadId": 1}',
            "the machine's pc; the output names the probe",
            _stop,
        ),
        Row("stackTrace", "the machine's registers, /proc/kallsyms", _stack),
        Row('evaluate {"expression": "count", "context": "watch"}', "the machine's x2", _argument),
        Row('stepIn {"granularity": "instruction"}', "the machine's pc", _step),
        Row('readMemory {"memoryReference": "PC", "count": 16}', "the machine's memory", _memory),
        Row(
            'setFunctionBreakpoints {"breakpoints": [{"name": "__arm64_sys_read"}]}',
            "whether gdb has verified it",
            _breakpoint,
        ),
        Row("continue", "/proc/kallsyms, the machine's pc", _breakpoint_stop),
    ),
)
