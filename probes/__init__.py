# SPDX-License-Identifier: GPL-2.0-or-later
"""Kprobes and kretprobes for a machine's guest: `Kprobes(machine).register_kprobe(Kprobe("kfree", ...))`."""

from .decode import Decoded, decode
from .engine import Status
from .era import DEFAULT_ERA, ERAS, Era
from .errors import ProbeError
from .instructions import Verdict
from .kprobe import Kprobe
from .kretprobe import Kretprobe, KretprobeInstance
from .pt_regs import PtRegs
from .record import Hit, Stage, Task, trace_line
from .recorder import HandlerError
from .registry import Kprobes
from .simulate import simulate
from .tables import Area

__all__ = [
    "DEFAULT_ERA",
    "ERAS",
    "Area",
    "Decoded",
    "Era",
    "HandlerError",
    "Hit",
    "Kprobe",
    "Kprobes",
    "Kretprobe",
    "KretprobeInstance",
    "ProbeError",
    "PtRegs",
    "Stage",
    "Status",
    "Task",
    "Verdict",
    "decode",
    "simulate",
    "trace_line",
]
