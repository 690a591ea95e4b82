# SPDX-License-Identifier: GPL-2.0-or-later
"""How a client is refused: by a number, by a sentence, or by a line of text if it is no debugger."""

import errno

from .visible import visible

MALFORMED = 1
"""GDB's own stubs answer E01 to a packet that they cannot make sense of."""
LET_GO = errno.ESRCH
DEFECT = errno.EIO
GREETING = b"This is a GDB remote serial protocol server: connect with gdb's `target remote`.\r\n"
"""The answer to a client that is no debugger."""
# Clients undo no escapes in an error reply, and would take each of these for framing or for a run length.
_UNSAFE = dict.fromkeys(map(ord, "$#*}"))


def refusal(message: str) -> bytes:
    """The error reply that is a sentence. As the first reply, every GDB shows it."""
    return b"E." + visible(message).translate(_UNSAFE).encode("ascii", errors="replace")
