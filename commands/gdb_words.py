# SPDX-License-Identifier: GPL-2.0-or-later
"""gdb's commands that armprobe's prompt does not have, and what does their work there."""

from __future__ import annotations

from typing import Final

_FRAMES: Final = "backtrace shows the callers; armprobe gdb can choose one"
_PRINT: Final = 'print EXPRESSION, or print "%d %s", FIRST, SECOND'
_BACK: Final = "set it again, as in break kfree if $x0 == 0"
GDB_WORDS: Final = {
    "up": _FRAMES,
    "down": _FRAMES,
    "frame": _FRAMES,
    "display": "print shows a value once, and the context what is around each stop",
    "undisplay": "context off shows nothing after a stop",
    "printf": _PRINT,
    "output": _PRINT,
    "condition": _BACK,
    "ignore": _BACK,
    "undo": "reverse-stepi goes one instruction back, goto to any position",
    "jump": "set $pc = ADDRESS goes on elsewhere",
    "commands": "a script runs commands after a stop: armprobe script",
    "start": "reset, then continue until=FUNCTION",
    "attach": "the guest is here: continue",
    "detach": "continue lets the guest run",
    "stop": "Ctrl-C stops the guest",
}
"""By the word that is typed."""
