# SPDX-License-Identifier: GPL-2.0-or-later
"""The tour: shows armprobe's features on the demo guest in a few seconds, without questions."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Final

from armprobe.clients.gdb_session import GdbSession
from armprobe.session import Session

from .terminal import Out

_FINISH: Final = """\
Try next:
  .venv/bin/armprobe                 the prompt on this guest; help lists the commands
  .venv/bin/armprobe gdb             gdb on it, with the same commands
  .venv/bin/armprobe linux           a stock Debian arm64 kernel at its shell
  .venv/bin/armprobe bug-2015        the kretprobe bug from which armprobe grew, and its fix
  docs/tutorial.md                   a walk through all of them
"""


def run(era: str | None, out: Out) -> int:
    """Show a kprobe and a kretprobe, pt_regs of each stage, and gdb seeing the same; the exit status."""

    def say(text: str = "") -> None:
        out(f"{text}\n")

    with Session("demo", era=era) as session:

        def command(line: str) -> None:
            say(f"armprobe> {line}")
            say(session.run(line).rstrip("\n"))
            say()

        say("The demo kernel, booted until it runs its workload:")
        command("continue until=workload_round")
        say("\n".join(f"    {line}" for line in session.console_text.add(session.machine.console.read()).splitlines()))
        say()
        say("A kprobe on kfree and a kretprobe on kmalloc record hits. The guest does not stop.")
        command("kprobe kfree")
        command("kretprobe kmalloc")
        command("continue instructions=1000000")
        command("probes")
        say("pt_regs at each stage of the last hit of each probe:")
        command("regs kfree")
        command("regs kmalloc")
        say("The last hits, in the format of the kernel's trace file:")
        command("trace 6")
        _from_gdb(session, say)
    say(_FINISH)
    return 0


def _from_gdb(session: Session, say: Callable[[str], None]) -> None:
    if shutil.which("gdb-multiarch") is None:
        say("gdb-multiarch is not installed (Debian: apt-get install gdb-multiarch), so its side is not shown.\n")
        return
    say("The same in gdb-multiarch, attached to the stub. The probe on strlen stops the guest:")
    with GdbSession(session) as gdb:

        def command(line: str) -> None:
            say(f"(gdb) {line}")
            say(gdb.execute(line).rstrip("\n"))

        command("kprobe strlen stop=pre")
        say("(gdb) continue")
        stop = gdb.continue_to_stop()
        say(stop.console.rstrip("\n"))
        command("info registers x0 x30 sp pc")
        command("x/s $x0")
        command("backtrace 3")
        command("regs strlen stage=pre")
    say("")
