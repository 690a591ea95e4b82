# SPDX-License-Identifier: GPL-2.0-or-later
"""Imported by the LLDB that `LldbSession` has started: does what it is asked to. Standard library only.

Requests and answers are lines of JSON on the socket whose descriptor is in ARMPROBE_LLDB_AGENT:
{"id": N, "call": METHOD, "with": {ARGUMENT: VALUE}}, and {"id": N, "value": VALUE} or {"id": N, "error": SENTENCE}.
"""

import json
import math
import os
import re
import socket
import time
from typing import Any

import lldb

_POLL = 0.005  # seconds between looks for an event
# gdb's words for why the machine stopped (GDB manual, node "GDB/MI Async Records").
_REASONS = {
    lldb.eStopReasonBreakpoint: "breakpoint-hit",
    lldb.eStopReasonWatchpoint: "watchpoint-trigger",
    lldb.eStopReasonTrace: "end-stepping-range",
    lldb.eStopReasonPlanComplete: "end-stepping-range",
    lldb.eStopReasonSignal: "signal-received",
    lldb.eStopReasonException: "signal-received",
}
_NAME = re.compile(r"(?<![\w$.>])[a-z]\w*")


class Refused(Exception):
    """LLDB's reason, one sentence."""


def checked(error: Any) -> None:
    """Raise `Refused` if LLDB reports an error."""
    if error.Fail():
        raise Refused(str(error.GetCString() or "LLDB gave no reason").removeprefix("error: ").rstrip("\n."))


class Agent:
    """What can be asked; the arguments are those of JSON."""

    def __init__(self, debugger: Any) -> None:
        debugger.SetAsync(True)  # a command that resumes the machine returns at once
        self._debugger = debugger
        self._listener = lldb.SBListener("armprobe")
        self._target = self._process = None  # type: Any

    def connect(self, address: str, program: str, timeout: float) -> None:
        """Connect to a stub. program: a file with the guest's symbols, or empty. timeout: seconds for a packet."""
        self.execute("settings set auto-confirm true")
        self.execute(f"settings set plugin.process.gdb-remote.packet-timeout {math.ceil(timeout)}")
        error = lldb.SBError()
        self._target = self._debugger.CreateTarget(program, "aarch64-unknown-unknown", "", False, error)
        checked(error)
        path = address.removeprefix("unix:")
        url = f"unix-connect://{path}" if path != address else f"connect://{address}"
        self._process = self._target.ConnectRemote(self._listener, url, "gdb-remote", error)
        if error.Fail():
            raise Refused(f"LLDB cannot connect to {address}: {error.GetCString()}")
        if self.wait(timeout) is None:
            raise Refused(f"the stub at {address} does not say that its machine is stopped")

    def execute(self, command: str) -> str:
        """Run a line of LLDB's; the text that it prints."""
        result = lldb.SBCommandReturnObject()
        self._debugger.GetCommandInterpreter().HandleCommand(command, result)
        if not result.Succeeded():
            text = (result.GetError() or result.GetOutput() or "LLDB gave no reason").strip()
            raise Refused(text.removeprefix("error: "))
        return result.GetOutput() or ""

    def is_running(self) -> bool:
        """Whether the machine was resumed, and its stop has not been waited for."""
        resumed = self._process.GetState() in (lldb.eStateRunning, lldb.eStateStepping)
        return resumed or bool(self._listener.PeekAtNextEvent(lldb.SBEvent()))

    def cont(self) -> None:
        """Resume the machine."""
        checked(self._process.Continue())

    def step(self) -> None:
        """Have the machine execute one instruction."""
        self._thread().StepInstruction(False)

    def interrupt(self) -> None:
        """Stop the machine, soon."""
        self._process.SendAsyncInterrupt()

    def wait(self, seconds: float) -> "dict[str, Any] | None":
        """The stop of the machine, None if it does not stop in that time."""
        deadline, event = time.monotonic() + seconds, lldb.SBEvent()
        while True:
            while not self._listener.GetNextEvent(event):
                if time.monotonic() > deadline:
                    return None
                time.sleep(_POLL)
            if not lldb.SBProcess.EventIsProcessEvent(event) or lldb.SBProcess.GetRestartedFromEvent(event):
                continue
            state = lldb.SBProcess.GetStateFromEvent(event)
            if state == lldb.eStateStopped:
                return self._stop()
            if state == lldb.eStateExited:
                status = self._process.GetExitStatus()
                return _stop("exited" if status else "exited-normally", raw={"exit-code": str(status)})
            if state in (lldb.eStateDetached, lldb.eStateCrashed, lldb.eStateInvalid):
                raise Refused("LLDB has lost the machine it is connected to")

    def breakpoint(
        self, location: str, condition: str, temporary: bool, hardware: bool, pending: bool
    ) -> "dict[str, Any]":
        """Set a breakpoint; its number, and its address if it has one place."""
        file, colon, line = location.rpartition(":")
        if location.startswith("*"):
            place = f"--address {location[1:]}"
        elif colon and line.isdecimal():
            place = f'--file "{file}" --line {line}'
        else:
            place = f'--name "{location}"'
        self.execute(f"breakpoint set {'--hardware ' * hardware}{place}")
        point = self._target.GetBreakpointAtIndex(self._target.GetNumBreakpoints() - 1)
        if not pending and not point.GetNumLocations():
            self._target.BreakpointDelete(point.GetID())
            raise Refused(f"LLDB knows no place {location}")
        point.SetOneShot(temporary)
        if condition:
            point.SetCondition(self._in_lldb_s_names(condition, point))
        return self.breakpoint_state(point.GetID())

    def breakpoint_state(self, number: int) -> "dict[str, Any]":
        point = self._breakpoint(number)
        places = [point.GetLocationAtIndex(index).GetLoadAddress() for index in range(point.GetNumLocations())]
        return {
            "number": number,
            "address": places[0] if len(places) == 1 else None,
            "hits": point.GetHitCount(),
            "condition": point.GetCondition() or "",
            "pending": not places,
            "enabled": point.IsEnabled(),
        }

    def enable_breakpoint(self, number: int, enabled: bool) -> None:
        self._breakpoint(number).SetEnabled(enabled)

    def delete_breakpoint(self, number: int) -> None:
        self._target.BreakpointDelete(number)

    def frames(self, limit: int) -> "list[dict[str, Any]]":
        thread = self._thread()
        return [self._described(thread.GetFrameAtIndex(level)) for level in range(min(limit, thread.GetNumFrames()))]

    def variables(self) -> "dict[str, str]":
        return _values(self._frame().GetVariables(True, True, False, True))

    def register_names(self) -> "list[str]":
        return [
            register.GetName()
            for group in self._frame().GetRegisters()
            for register in group
            if not register.GetNumChildren()
        ]

    def read_register(self, name: str) -> "int | None":
        value, error = self._frame().FindRegister(name), lldb.SBError()
        if not value.IsValid():
            return None
        number = value.GetValueAsUnsigned(error)
        checked(error)
        return int(number)

    def write_register(self, name: str, value: int) -> None:
        error = lldb.SBError()
        self._frame().FindRegister(name).SetValueFromCString(hex(value), error)
        checked(error)

    def evaluate(self, expression: str) -> str:
        value = self._frame().EvaluateExpression(expression)
        checked(value.GetError())
        return _text(value)

    def read_memory(self, address: int, length: int) -> str:
        error = lldb.SBError()
        data = self._process.ReadMemory(address, length, error) or b""
        if error.Fail() or len(data) != length:
            raise Refused(f"of {length} bytes at {address:#x} only {len(data)} can be read")
        return data.hex()

    def write_memory(self, address: int, data: str) -> None:
        error = lldb.SBError()
        written = self._process.WriteMemory(address, bytes.fromhex(data), error)
        checked(error)
        if written != len(data) // 2:
            raise Refused(f"of {len(data) // 2} bytes at {address:#x} only {written} can be written")

    def leave(self) -> None:
        """Detach from the machine, and end LLDB."""
        if self._process is not None:
            self._process.Detach()
        os._exit(0)

    def _thread(self) -> Any:
        return self._process.GetSelectedThread()

    def _frame(self) -> Any:
        return self._thread().GetSelectedFrame()

    def _breakpoint(self, number: int) -> Any:
        point = self._target.FindBreakpointByID(number)
        if not point.IsValid():
            raise Refused(f"LLDB has no breakpoint {number} any more")
        return point

    def _stop(self) -> "dict[str, Any]":
        for thread in self._process:
            if thread.GetStopReason() not in (lldb.eStopReasonNone, lldb.eStopReasonInvalid):
                self._process.SetSelectedThread(thread)
                break
        thread = self._thread()
        reason, frame = thread.GetStopReason(), thread.GetFrameAtIndex(0)
        detail = thread.GetStopReasonDataAtIndex(0) if thread.GetStopReasonDataCount() else 0
        raw: dict[str, Any] = {}
        signal = ""
        if reason == lldb.eStopReasonBreakpoint:
            raw["bkptno"] = str(detail)
        elif reason == lldb.eStopReasonWatchpoint:
            raw["wpt"] = {"number": str(detail)}
        elif reason == lldb.eStopReasonSignal:
            signal = self._process.GetUnixSignals().GetSignalAsCString(detail) or ""
        return _stop(
            _REASONS.get(reason, ""),
            signal=signal,
            pc=frame.GetPC(),
            function=frame.GetFunctionName() or "",
            description=thread.GetStopDescription(1000) or "",
            raw=raw,
        )

    def _described(self, frame: Any) -> "dict[str, Any]":
        line = frame.GetLineEntry()
        file = line.GetFileSpec()
        return {
            "level": frame.GetFrameID(),
            "address": frame.GetPC(),
            "function": frame.GetFunctionName() or "",
            "file": str(file) if file.IsValid() else "",
            "line": line.GetLine() if line.IsValid() else None,
            "args": _values(frame.GetVariables(True, False, False, True)),
        }

    def _in_lldb_s_names(self, condition: str, point: Any) -> str:
        """The condition with a $ before names of registers that are no variables of the function."""
        registers = set(self.register_names())
        block = point.GetLocationAtIndex(0).GetAddress().GetFunction().GetBlock()
        own = (
            {each.GetName() for each in block.GetVariables(self._target, True, True, True)}
            if block.IsValid()
            else set()
        )
        return _NAME.sub(lambda found: f"${found[0]}" if found[0] in registers - own else found[0], condition)


def _stop(
    reason: str, signal: str = "", pc: "int | None" = None, function: str = "", description: str = "", raw: Any = None
) -> "dict[str, Any]":
    return {**locals(), "raw": raw or {}}


def _values(variables: Any) -> "dict[str, str]":
    found: dict[str, str] = {}
    for each in variables:
        found.setdefault(each.GetName(), _text(each))
    return found


def _text(value: Any) -> str:
    if value.GetError().Fail():
        return f"<{value.GetError().GetCString()}>"
    simple = value.GetValue()
    if simple is None:
        return str(value).partition(" = ")[2]
    return f"{simple} {value.GetSummary()}" if value.GetSummary() else str(simple)


def __lldb_init_module(debugger: Any, names: "dict[str, Any]") -> None:
    """Called by LLDB: answer until the other end of the socket is closed, then detach and end LLDB."""
    # A debugger of our own: the one that LLDB has begun with has a thread that handles the same stops, and deadlocks
    # with this one (ThreadList::SetSelectedThreadByID and Process::HandleProcessStateChangedEvent, LLDB 23).
    agent = Agent(lldb.SBDebugger.Create(False))
    with socket.socket(fileno=int(os.environ["ARMPROBE_LLDB_AGENT"])) as wire, wire.makefile("rw") as lines:
        for line in lines:
            request = json.loads(line)
            answer = {"id": request["id"]}
            try:
                answer["value"] = getattr(agent, request["call"])(**request["with"])
            except Refused as refused:
                answer["error"] = str(refused)
            lines.write(json.dumps(answer) + "\n")
            lines.flush()
    agent.leave()
