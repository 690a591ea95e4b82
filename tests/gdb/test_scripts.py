# SPDX-License-Identifier: GPL-2.0-or-later
"""Scripts in gdb's own language, typed at a terminal, piped into gdb and read from a file.

The three differ in how gdb waits for the guest: from a file each command is over before the next one is read, while at
a terminal and from a pipe gdb goes back to its event loop when a command has resumed the guest.
"""

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from armprobe.clients.gdb_session import GDBINIT, PROXY
from armprobe.commands import Session
from armprobe.stub import Server, serve
from tests.gdb.oracle import DEMO
from tests.gdb.terminal import Terminal
from tests.waiting import PATIENCE

pytestmark = pytest.mark.sample(of="files")

Say = Callable[..., str]
ENVIRONMENT = {"ARMPROBE_GDB_PROXY": str(PROXY)}
COUNT = ("silent", "set $n = $n + 1", "if $n < 50", "continue", "end")
LEAVE = ("kill", "quit")


@pytest.fixture
def server(session: Session) -> Iterator[Server]:
    with serve(session, "127.0.0.1:0") as server:
        yield server


@pytest.fixture(params=["terminal", "pipe", "file"])
def say(request: pytest.FixtureRequest, gdb_path: str, tmp_path: Path) -> Say:
    """say(line, ..., proxy=True): what gdb shows of a script, once it has left by the script's last line."""

    def script(*lines: str, proxy: bool = True) -> str:
        words = [gdb_path, "-nx", "-q", "-ex", "set confirm off", "-ex", "set pagination off", "-ex", "set width 0"]
        words += ["-x", str(GDBINIT)] if proxy else ["-ex", f"file {DEMO}"]
        if request.param == "terminal":
            with Terminal(words, ENVIRONMENT) as terminal:
                terminal.expect(r"\(gdb\) ")
                terminal.type(*lines)
                return terminal.rest()
        text = "".join(f"{line}\n" for line in lines)
        if request.param == "file":
            (tmp_path / "script").write_text(text)
            words += ["-x", str(tmp_path / "script")]
        done = subprocess.run(
            words,
            input=text if request.param == "pipe" else "",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
            check=False,
            env=os.environ | ENVIRONMENT,
        )
        return done.stdout

    return script


def marked(said: str) -> list[str]:
    """The lines that a script has marked so."""
    return re.findall(r"^(?:\(gdb\) )?=(.*)$", said, re.MULTILINE)


@pytest.mark.sample
def test_commands_of_a_breakpoint_that_resume(say: Say, server: Server) -> None:
    """As gdb alone has it: it stops after fifty hits, where the guest is then."""
    script = (
        *(f"target remote {server.address}", "set $n = 0", "break strlen", "commands", *COUNT, "end", "continue"),
        *('printf "=%d %lx %lx\\n", $n, $pc, $x0', *LEAVE),
    )
    alone = marked(say(*script, proxy=False))
    assert alone[0].startswith("50 ")
    assert marked(say(*script)) == alone


def test_commands_of_a_breakpoint_that_finish(say: Say, server: Server) -> None:
    """Its stop is the last one, as with gdb alone."""
    script = (
        *(f"target remote {server.address}", "break kmalloc", "commands", "silent", "finish", "end", "continue"),
        *('printf "=%lx %lx\\n", $pc, $x0', "info symbol $pc", *LEAVE),
    )
    alone = say(*script, proxy=False)
    assert marked(alone)
    said = say(*script)
    assert marked(said) == marked(alone)
    assert "slab_round + 128 in section .text" in said


@pytest.mark.sample
def test_commands_of_a_breakpoint_that_the_first_run_hits(say: Say, server: Server) -> None:
    script = (
        *(f"target extended-remote {server.address}", "set $n = 0", "break strlen", "commands", *COUNT, "end", "run"),
        *('printf "=%d %lx\\n", $n, $x0', *LEAVE),
    )
    alone = marked(say(*script, proxy=False))
    assert alone[0].startswith("50 ")
    assert marked(say(*script)) == alone


def test_what_a_stop_is_for_is_known_in_every_place_a_script_can_ask(say: Say, server: Server) -> None:
    """In hook-stop, a handler in Python, and the commands of a breakpoint, which is for no probe."""
    said = say(
        f"target remote {server.address}",
        "define hook-stop",
        "if $_isvoid($_hit)",
        "echo =hook void\\n",
        "else",
        'printf "=hook %s %s %d\\n", $_kprobe, $_stage, $_hit',
        "python",
        "returned = gdb.convenience_variable('_retval')",
        "if returned is not None:",
        "  print('=returned', (int(returned) - int(gdb.parse_and_eval('$x0'))) % 2**64)",
        "end",
        "end",
        "end",
        "python",
        "def told(event):",
        " names = ('_kprobe', '_stage', '_hit')",
        " print('=told', *(str(gdb.convenience_variable(name)) for name in names))",
        "gdb.events.stop.connect(told)",
        "end",
        "kprobe strlen stop=pre",
        *("continue", "continue", "monitor disable 1"),
        *("kretprobe kmalloc stop=return", "continue", "monitor disable 2"),
        *("break kfree", "commands", "silent", 'printf "=commands %d\\n", $_isvoid($_hit)', "end"),
        "continue",
        *LEAVE,
    )
    assert marked(said)[:10] == [
        *("hook strlen pre 1", 'told "strlen" "pre" 1'),
        *("hook strlen pre 2", 'told "strlen" "pre" 2'),
        *("hook kmalloc return 1", "returned 0", 'told "kmalloc" "return" 1'),
        *("hook void", "told None None None", "commands 1"),
    ]


@pytest.mark.parametrize("first", [True, False], ids=["before-armprobe", "behind-armprobe"])
def test_commands_are_there_behind_a_hook_of_somebody_else(
    gdb_path: str, server: Server, tmp_path: Path, first: bool
) -> None:
    """In a script, which has no prompt, behind a hook that a program has defined (GEF does, as here)."""
    program, script = tmp_path / "theirs.py", tmp_path / "script"
    program.write_text("import gdb\ngdb.execute('define target hookpost-remote\\necho =theirs\\\\n\\nend')\n")
    script.write_text(f"target remote {server.address}\nkprobe strlen\nprobes\n")
    files = (program, GDBINIT) if first else (GDBINIT, program)
    done = subprocess.run(
        [gdb_path, "-nx", "-batch", *(word for file in (*files, script) for word in ("-x", str(file)))],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        env=os.environ | ENVIRONMENT,
    )
    assert (marked(done.stdout), done.stderr) == (["theirs"], "")
    assert re.search(r"^  1  kprobe .* strlen ", done.stdout, re.MULTILINE)


def test_armprobes_commands_in_hook_stop(say: Say, server: Server) -> None:
    """Those of a breakpoint that resume the guest are carried out after it, as gdb's own commands there are."""
    script = (
        *("set $n = 0", "break strlen", "commands", *COUNT, "end", "continue"),
        *('printf "=%d %lx\\n", $n, $x0', *LEAVE),
    )
    connect = f"target remote {server.address}"
    alone = marked(say(connect, "define hook-stop", "info line", "end", *script, proxy=False))
    assert alone[0].startswith("50 ")
    said = say(connect, "define hook-stop", "probes", "guest-call strlen $x0", "end", *script)
    assert marked(said) == alone
    assert said.count("no probes; set one with") == 50
    assert len(re.findall(r"^0x\w+ \(\d+\)$", said, re.MULTILINE)) == 50
