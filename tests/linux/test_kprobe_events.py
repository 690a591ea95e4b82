# SPDX-License-Identifier: GPL-2.0-or-later
"""Our probes and the guest kernel's own, on the same function at once: two logs of the same calls."""

from collections.abc import Callable

import pytest

from armprobe.machine import Machine
from armprobe.probes import Kprobe, Kprobes, Kretprobe, KretprobeInstance, PtRegs

from .shell import TRACING, Shell

FUNCTION = "do_sys_openat2"
COMMANDS = ("cat /proc/version", "ls /", "cat /nonexistent", "cp /init /tmp/copy", "wc -c /tmp/copy", "ls /tmp/none")
Call = tuple[str, int, str]  # file name, result, and where it was called from as "symbol+offset/size"


class Log:
    """What our kprobe and kretprobe see of each call."""

    def __init__(self, guest: Machine, kprobes: Kprobes) -> None:
        self.guest = guest
        self.calls: list[Call] = []
        self.posts: list[int] = []
        self.kprobe = Kprobe(FUNCTION, post_handler=self._post)
        self.kretprobe = Kretprobe(FUNCTION, entry_handler=self._entry, handler=self._return)
        self._kprobes = kprobes

    def register(self) -> None:
        self._kprobes.register_kprobe(self.kprobe)
        self._kprobes.register_kretprobe(self.kretprobe)

    def unregister(self) -> None:
        self._kprobes.unregister(self.kretprobe)
        self._kprobes.unregister(self.kprobe)

    def _entry(self, ri: KretprobeInstance, regs: PtRegs) -> None:
        ri.data = self.guest.memory.read_string(regs.regs[1]).decode()

    def _return(self, ri: KretprobeInstance, regs: PtRegs) -> None:
        result = regs.regs[0] - (regs.regs[0] >> 63 << 64)
        symbol, offset = self.guest.symbols.at(regs.pc) or pytest.fail("returned to nowhere")
        self.calls.append((ri.data, result, f"{symbol.name}+{offset:#x}/{symbol.size:#x}"))

    def _post(self, probe: Kprobe, regs: PtRegs, flags: int) -> None:
        self.posts.append(regs.pc)


def guests_calls(shell: Shell) -> list[Call]:
    """The same, from the guest's trace file."""
    calls, names = [], {}
    for event in shell.trace():
        if event.event == "d":
            names[event.pid] = event.arguments["name"].strip('"')
        elif event.pid in names:
            place, _, function = event.place.partition(" <- ")
            assert function == FUNCTION
            result = int(event.arguments["result"], 0)
            calls.append((names.pop(event.pid), result, place))
    return calls


def enable_guests(shell: Shell) -> None:
    shell.probe_events(f"p:d {FUNCTION} name=+0($arg2):ustring", f"r:z {FUNCTION} result=$retval:s32")


@pytest.mark.parametrize("first", ["ours", "guests"])
@pytest.mark.parametrize("last", ["ours", "guests"])
def test_the_two_logs_agree(guest: Machine, shell: Shell, first: str, last: str) -> None:
    """Whoever came first, and whoever leaves last; and the text is the guest's own again in the end."""
    entry = guest.symbols[FUNCTION].address
    text = guest.memory.read(entry, 64)
    log = Log(guest, Kprobes(guest))
    register: list[Callable[[], None]] = [log.register, lambda: enable_guests(shell)]
    for action in register if first == "ours" else register[::-1]:
        action()
    shell.run(f"echo > {TRACING}/trace")
    log.calls.clear()
    log.posts.clear()
    for command in COMMANDS:
        shell.run(command)
    ours, posts = list(log.calls), list(log.posts)
    theirs = guests_calls(shell)
    assert {name for name, _, _ in ours} >= {"/proc/version", "/", "/nonexistent", "/init", "/tmp/copy"}
    assert -2 in {result for name, result, _ in ours if name == "/nonexistent"}  # ENOENT
    # The shell opened the trace file, to empty it and to read it, at the edges of what we compare.
    edges = f"{TRACING}/trace"
    assert [call for call in ours if call[0] != edges] == [call for call in theirs if call[0] != edges]
    assert len(posts) == len(ours)
    assert set(posts) == {entry + 4}
    assert log.kprobe.nmissed == log.kretprobe.nmissed == 0
    remove = [log.unregister, shell.no_probe_events]
    for action in remove[::-1] if last == "ours" else remove:
        action()
    assert guest.memory.read(entry, 64) == text
    assert "armprobe" in shell.run("uname -a")
