# SPDX-License-Identifier: GPL-2.0-or-later
"""Python programs in gdb that ask it and the machine wherever gdb calls them. They are typed at a terminal.

What each shows without armprobe's proxy is what it shows with it: nothing hangs, and no stop is lost.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from armprobe.clients.gdb_session import GDBINIT, PROXY
from armprobe.commands import Session
from armprobe.stub import Server, serve
from tests.gdb.oracle import DEMO
from tests.gdb.terminal import Terminal

pytestmark = pytest.mark.sample(of="files")

Say = Callable[[str, bool], list[str]]

# In each, ask() is called where gdb calls Python. It looks at the guest by all that gdb has for that.
_ASK = """
import gdb
def ask(armprobe=''):
    value = int(gdb.parse_and_eval('(unsigned long) $x0'))
    gdb.execute('info registers pc', to_string=True)
    gdb.execute('backtrace 2', to_string=True)
    gdb.execute('x/2i $pc', to_string=True)
    gdb.selected_inferior().read_memory(gdb.selected_frame().pc(), 4)
    if armprobe and OURS:
        gdb.execute(armprobe, to_string=True)
    return value
"""

STOP_METHOD = """
class Counting(gdb.Breakpoint):
    seen = 0
    def stop(self):
        Counting.seen += 1
        before = ask('probes')
        ask('guest-call strlen $x0')
        if Counting.seen == 1:
            ask('kprobe kfree')
        print(f'={Counting.seen}', f'{before:#x}', before == ask('monitor info registers'))
        return Counting.seen == 30
Counting('*strlen')
gdb.execute('continue')
print(f'=after {Counting.seen} {gdb.selected_frame().name()}')
"""
STOP_HANDLER = """
def told(event):
    print(f'=told {ask("probes"):#x}', event.breakpoints[0].number, ask('guest-call strlen $x0') == ask())
gdb.events.stop.connect(told)
gdb.Breakpoint('*strlen')
for _ in range(5):
    gdb.execute('continue')
    print(f'=at {ask():#x}')
"""
EVERY_EVENT = """
names = 'memory_changed register_changed breakpoint_created breakpoint_modified before_prompt cont'
for name in names.split():
    def told(*event, name=name):
        if name != 'cont':  # the guest is about to run
            ask('probes')
        told.seen = True
    getattr(gdb.events, name).connect(told)
point = gdb.Breakpoint('*strlen')
gdb.execute('continue')
point.condition = '$x0 != 0'
gdb.execute('set var $x1 = 5')
gdb.execute('set var *(int *) ($sp - 64) = 5')
gdb.execute('stepi')
print(f'={int(gdb.parse_and_eval("$x1"))} {gdb.selected_frame().name()} {point.hit_count}')
"""
FINISHING = """
class Result(gdb.FinishBreakpoint):
    def stop(self):
        print(f'=result {ask("probes"):#x}', int(self.return_value) == ask('info kprobes'))
        return True
class Entry(gdb.Breakpoint):
    def stop(self):
        print(f'=entry {ask("probes"):#x}')
        return True
Entry('*strlen')
for _ in range(3):
    gdb.execute('continue')
    Result(gdb.newest_frame(), internal=True)
    gdb.execute('continue')
"""
POSTED = """
turns = 0
def told(event):
    global turns
    turns += 1
    print(f'=told {turns} {ask("probes"):#x}')
    if turns < 20:
        gdb.post_event(lambda: gdb.execute('continue'))
    else:
        gdb.post_event(lambda: print('=done'))
gdb.events.stop.connect(told)
gdb.Breakpoint('*strlen')
gdb.post_event(lambda: gdb.execute('continue'))
"""
HOOK_STOP = """
def hook():
    print(f'=hook {ask("probes"):#x}', ask('guest-call strlen $x0') == ask())
gdb.execute('define hook-stop\\npython hook()\\nend')
gdb.Breakpoint('*strlen')
for _ in range(5):
    gdb.execute('continue')
    print(f'=at {ask():#x}')
"""
RESUMED_BY_COMMANDS = """
gdb.events.stop.connect(lambda event: print(f'=told {int(gdb.parse_and_eval("$x0")):#x}', gdb.parse_and_eval('$n')))
gdb.execute('set $n = 0')
lines = 'silent', 'set $n = $n + 1', 'python ask("probes")', 'if $n < 30', 'continue', 'end', 'echo =done\\\\n'
gdb.Breakpoint('*strlen').commands = '\\n'.join(lines)
"""


@pytest.fixture
def server(session: Session) -> Iterator[Server]:
    with serve(session, "127.0.0.1:0") as server:
        yield server


@pytest.fixture
def say(server: Server, gdb_path: str, tmp_path: Path) -> Say:
    def script(program: str, proxy: bool) -> list[str]:
        """What the program marks, in a gdb with or without the proxy."""
        words = [gdb_path, "-nx", "-q", "-ex", "set confirm off", "-ex", "set pagination off", "-ex", "set width 0"]
        words += ["-x", str(GDBINIT)] if proxy else ["-ex", f"file {DEMO}"]
        path = tmp_path / "program.py"
        path.write_text(f"OURS = {proxy}\n{_ASK}{program}")
        with Terminal(words, {"ARMPROBE_GDB_PROXY": str(PROXY)}) as terminal:
            terminal.expect(r"\(gdb\) ")
            terminal.type(f"target extended-remote {server.address}", f"source {path}")
            if "=done" in program:  # what it has begun goes on after it
                terminal.type(*(["continue"] if ".commands" in program else []))
                said = terminal.expect("^=done$")
            else:
                terminal.type("echo =next\\n")
                said = terminal.expect("^(?:.gdb. )*=next$")
            terminal.type("delete", "kill", "quit")
            terminal.rest()
        assert "Exception" not in said, said
        assert "Error" not in said, said
        return re.findall(r"^(?:\(gdb\) )*=(.*)$", said, re.MULTILINE)

    return script


@pytest.mark.parametrize(
    ("program", "count"),
    [
        (STOP_METHOD, 32),
        (STOP_HANDLER, 11),
        (EVERY_EVENT, 2),
        (FINISHING, 7),
        (POSTED, 21),
        (HOOK_STOP, 11),
        (RESUMED_BY_COMMANDS, 31),
    ],
    ids=["stop-method", "stop-handler", "every-event", "finishing", "posted", "hook-stop", "commands"],
)
@pytest.mark.sample
def test_as_without_armprobe(say: Say, program: str, count: int) -> None:
    alone = say(program, False)
    assert len(alone) == count
    assert say(program, True) == alone
