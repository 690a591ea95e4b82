# SPDX-License-Identifier: GPL-2.0-or-later
"""gdb's own DAP (gdb 14 and later), as editors drive it: attach, a probe, a breakpoint, their stops, the stack."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from armprobe.clients.gdb_session import GDBINIT, PROXY
from armprobe.commands import Session
from armprobe.stub import serve
from tests.debuggers.editor import Editor
from tests.debuggers.programs import PROGRAMS

ROOT = Path(__file__).parents[2]


def launch_configuration(address: str) -> dict[str, str]:
    """That of docs/how-to.md for gdb's DAP, in this folder. Editors keep `name` and `type` to themselves."""
    blocks = re.findall(r"```json\n(.*?)```", (ROOT / "docs/how-to.md").read_text(), re.DOTALL)
    (found,) = (each for each in map(json.loads, blocks) if each.get("type") == "gdb")
    assert found.pop("target") == "127.0.0.1:1234"
    return {key: value.replace("${workspaceFolder}", str(ROOT)) for key, value in found.items()} | {"target": address}


@pytest.fixture
def session() -> Iterator[Session]:
    with Session("demo") as session:
        yield session


@pytest.fixture
def editor(session: Session) -> Iterator[tuple[Editor, int]]:
    """Attaching, and the number of that request: next come the breakpoints, and configurationDone."""
    gdb = next(
        (p.path for p in reversed(PROGRAMS) if p.command == "gdb" and p.path and int(p.name.split()[1]) >= 14), None
    )
    if gdb is None:
        pytest.skip("no gdb of 14 or later is installed: make matrix installs them")
    command = [gdb, "-nx", "-i=dap", "-x", str(GDBINIT)]
    environment = {**os.environ, "ARMPROBE_GDB_PROXY": str(PROXY)}
    with (
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
            yield editor, attaching
            editor.ask("disconnect")
        finally:
            process.kill()


def test_a_probe(session: Session, editor: tuple[Editor, int]) -> None:
    dap, attaching = editor
    dap.ask("configurationDone")
    dap.until(request_seq=attaching, success=True)
    said = dap.ask("evaluate", expression="kprobe strlen stop=pre", context="repl")["result"]
    address = session.machine.symbols["strlen"].address
    assert said == f"kprobe 1: strlen at {address:#x}, stops at pre\n"
    dap.send("continue", threadId=1)
    dap.until(event="stopped")
    frame, *_ = dap.ask("stackTrace", threadId=1)["stackFrames"]
    assert int(frame["instructionPointerReference"], 16) == address
    assert "strlen: (strlen+0x0" in dap.ask("evaluate", expression="kprobe-trace 1", context="repl")["result"]
    assert "kprobe strlen: stage pre, hit 1\n" in dap.output


def test_a_line(session: Session, editor: tuple[Editor, int]) -> None:
    """The requests of an editor whose user has clicked at a line, with a condition, and looks at what is there."""
    dap, attaching = editor
    path = ROOT / "guests/demo/kernel/slab.c"
    line = 1 + path.read_text().splitlines().index("\tstruct page *page = virt_to_page(p);")  # the first of kfree
    asked = {"line": line, "condition": "p != 0"}
    dap.ask("setBreakpoints", source={"name": path.name, "path": str(path)}, lines=[line], breakpoints=[asked])
    dap.ask("setFunctionBreakpoints", breakpoints=[])
    dap.ask("setExceptionBreakpoints", filters=[])
    dap.ask("configurationDone")
    dap.until(request_seq=attaching, success=True)
    (thread,) = dap.ask("threads")["threads"]
    for _ in range(2):
        dap.send("continue", threadId=thread["id"])
        assert dap.until(event="stopped")["body"]["reason"] == "breakpoint"
        frame, caller, *_ = dap.ask("stackTrace", threadId=thread["id"], startFrame=0, levels=20)["stackFrames"]
        assert (frame["name"], frame["line"], Path(frame["source"]["path"])) == ("kfree", line, path)
        assert "kfree(" in Path(caller["source"]["path"]).read_text().splitlines()[caller["line"] - 1]
        scopes = {each["name"]: each for each in dap.ask("scopes", frameId=frame["id"])["scopes"]}
        assert {"Arguments", "Locals", "Registers"} <= scopes.keys()
        reference = scopes["Arguments"]["variablesReference"]
        (p,) = dap.ask("variables", variablesReference=reference)["variables"]
        x0 = session.machine.registers.x[0]
        assert (p["name"], int(p["value"], 16)) == ("p", x0)
        said = dap.ask("evaluate", expression="p", frameId=frame["id"], context="watch")["result"]
        assert int(said.split()[0], 16) == x0 != 0
