# SPDX-License-Identifier: GPL-2.0-or-later
"""Kprobes, kretprobes and jprobes for a machine's guest: `Kprobes(machine).register_kprobe(Kprobe("kfree", ...))`."""

from armprobe.kernel.backtrace import Backtrace, CallFrame, symbolised
from armprobe.kernel.code_tables import Area
from armprobe.kernel.tasks import Task

from .aggregation import Aggregation, Bucket, Counted, Linear, Special
from .decoder import Decoded, decode
from .eras import DEFAULT_ERA, ERAS, POINT_RELEASES, Era, find_era
from .eras.decoder_rows import Verdict
from .eras.hit_rules import Status
from .errors import ConditionError, ModuleNotLoaded, ProbeError
from .events import Event, EventError, Events
from .exception_moments import Moment
from .fail import Fail
from .function_watches import FunctionCounts, FunctionGraph, GraphCall
from .functions import is_pattern
from .handler_failures import HandlerError
from .jprobe import Jprobe
from .kprobe import Kprobe
from .kretprobe import Kretprobe, KretprobeInstance
from .probe import Condition, DecidingFunction, Probe
from .pt_regs import PtRegs
from .record import Hit, Stage
from .recording import Record
from .registration import Kprobes
from .simulation import simulate
from .stepping import STEPPINGS
from .trace_record import TraceRecord
from .tracepoint import Tracepoint
from .trampoline import TRAMPOLINES

__all__ = [
    "DEFAULT_ERA",
    "ERAS",
    "POINT_RELEASES",
    "STEPPINGS",
    "TRAMPOLINES",
    "Aggregation",
    "Area",
    "Backtrace",
    "Bucket",
    "CallFrame",
    "Condition",
    "ConditionError",
    "Counted",
    "DecidingFunction",
    "Decoded",
    "Era",
    "Event",
    "EventError",
    "Events",
    "Fail",
    "FunctionCounts",
    "FunctionGraph",
    "GraphCall",
    "HandlerError",
    "Hit",
    "Jprobe",
    "Kprobe",
    "Kprobes",
    "Kretprobe",
    "KretprobeInstance",
    "Linear",
    "ModuleNotLoaded",
    "Moment",
    "Probe",
    "ProbeError",
    "PtRegs",
    "Record",
    "Special",
    "Stage",
    "Status",
    "Task",
    "TraceRecord",
    "Tracepoint",
    "Verdict",
    "decode",
    "find_era",
    "is_pattern",
    "simulate",
    "symbolised",
]
