# SPDX-License-Identifier: GPL-2.0-or-later
"""gdb's own DAP (gdb 14 and later), as editors drive it: attach, a probe, its stop, the stack, the trace."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from armprobe.clients.gdb_session import GDBINIT, PROXY
from armprobe.commands import Session
from armprobe.stub import serve
from tests.debuggers.editor import Editor
from tests.debuggers.programs import PROGRAMS


def launch_configuration(address: str) -> dict[str, str]:
    """That of docs/how-to.md for gdb's DAP, in this folder. Editors keep `name` and `type` to themselves."""
    root = Path(__file__).parents[2]
    blocks = re.findall(r"```json\n(.*?)```", (root / "docs/how-to.md").read_text(), re.DOTALL)
    (found,) = (each for each in map(json.loads, blocks) if each.get("type") == "gdb")
    assert found.pop("target") == "127.0.0.1:1234"
    return {key: value.replace("${workspaceFolder}", str(root)) for key, value in found.items()} | {"target": address}


def test_a_probe() -> None:
    gdb = next(
        (p.path for p in reversed(PROGRAMS) if p.command == "gdb" and p.path and int(p.name.split()[1]) >= 14), None
    )
    if gdb is None:
        pytest.skip("no gdb of 14 or later is installed: make matrix installs them")
    command = [gdb, "-nx", "-i=dap", "-x", str(GDBINIT)]
    environment = {**os.environ, "ARMPROBE_GDB_PROXY": str(PROXY)}
    with (
        Session("demo") as session,
        serve(session, "127.0.0.1:0") as server,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process,
    ):
        try:
            editor = Editor(process)
            editor.ask("initialize", adapterID="gdb", linesStartAt1=True)
            configuration = launch_configuration(server.address)
            del configuration["name"], configuration["type"]
            attaching = editor.send(configuration.pop("request"), **configuration)
            editor.until(event="initialized")
            editor.ask("configurationDone")
            editor.until(request_seq=attaching, success=True)
            said = editor.ask("evaluate", expression="kprobe strlen stop=pre", context="repl")["result"]
            address = session.machine.symbols["strlen"].address
            assert said == f"kprobe 1: strlen at {address:#x}, stops at pre\n"
            editor.send("continue", threadId=1)
            editor.until(event="stopped")
            frame, *_ = editor.ask("stackTrace", threadId=1)["stackFrames"]
            assert int(frame["instructionPointerReference"], 16) == address
            assert (
                "strlen: (strlen+0x0" in editor.ask("evaluate", expression="kprobe-trace 1", context="repl")["result"]
            )
            assert "kprobe strlen: stage pre, hit 1\n" in editor.output
            editor.ask("disconnect")
        finally:
            process.kill()
