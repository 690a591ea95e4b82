# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line: `armprobe [GUEST]`, and one file for each verb."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence

from armprobe.clients.gdb_records import GdbError
from armprobe.commands.errors import CommandError
from armprobe.commands.render.errors import error_text
from armprobe.commands.terminal import OutputClosed, complain, open_standard_streams
from armprobe.machine import MachineError
from armprobe.probes.errors import ProbeError
from armprobe.stub.errors import StubError

from .parser import parse, verb


def main(arguments: Sequence[str] | None = None) -> int:
    """Console script entry point. Returns the exit status: 0 for success, 1 for failure, 2 for a wrong command line."""
    open_standard_streams()
    try:
        options = parse(sys.argv[1:] if arguments is None else arguments)
        return verb(options.verb).run(options)
    except (CommandError, GdbError, MachineError, ProbeError, StubError) as error:
        complain(f"armprobe: {error_text(error)}")
        return 1
    except OutputClosed as error:
        if str(error):
            complain(f"armprobe: {error}")
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
