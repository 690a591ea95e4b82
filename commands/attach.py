# SPDX-License-Identifier: GPL-2.0-or-later
"""The user's terminal as the guest's console: keys go to the guest as they are, Ctrl-C among them."""

from __future__ import annotations

import os
import select
import sys
import termios
import threading
import tty
from typing import TYPE_CHECKING, Final

from armprobe.machine import Stop, StopReason

from .stops import stopped

if TYPE_CHECKING:
    from collections.abc import Callable

    from armprobe.session import Session

LEAVE: Final = b"\x1d"
"""Ctrl-], with which telnet(1) is left, too."""
_KEYS: Final = 4096  # bytes that are read at once
ATTACHED: Final = b"the terminal is the guest's console now: Ctrl-] leaves, Ctrl-C is the guest's\r\n"


def attach(session: Session, keyboard: int, screen: int) -> Stop | None:
    """Run the guest with the terminal `keyboard` and `screen` as its console, until Ctrl-] or until it stops.

    Returns why it has stopped by itself; None after Ctrl-]. While a debugger is in control of the guest, that runs it,
    or not. Raises CommandError if it runs already.
    """
    before = termios.tcgetattr(keyboard)
    wake, waker = os.pipe()
    left = threading.Event()

    def show(data: bytes) -> None:
        while data:
            data = data[os.write(screen, data) :]

    def type_keys() -> None:
        while True:
            ready, _, _ = select.select([keyboard, wake], [], [])
            if wake in ready:
                return
            keys, leave, _ = os.read(keyboard, _KEYS).partition(LEAVE)
            if keys:
                session.machine.console.write(keys)
            if leave or not keys:  # or the terminal is gone
                left.set()
                session.interrupt()
                return

    console = session.machine.console
    keys = threading.Thread(target=type_keys, name="armprobe console", daemon=True)
    session.console_in_use = True
    console.listen(show)
    try:
        tty.setraw(keyboard, termios.TCSADRAIN)  # what has been typed ahead is the guest's
        show(ATTACHED)
        keys.start()
        if session.controlled:
            keys.join()
            return None
        stop = session.owner.call(lambda: session.go(session.machine.run))
        return None if left.is_set() and stop.reason is StopReason.INTERRUPTED else stop
    finally:
        os.write(waker, b"\0")
        if keys.ident is not None:
            keys.join()
        console.unlisten(show)
        console.read()  # which has been shown
        session.console_in_use = False
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)
        os.close(wake)
        os.close(waker)


def attached(session: Session, show: Callable[[object], None]) -> None:
    """`attach` the process's own terminal, and show why the guest has stopped. Raises CommandError."""
    stop = attach(session, sys.stdin.fileno(), sys.stdout.fileno())
    if stop is not None:
        show(session.owner.call(stopped, session, stop))
