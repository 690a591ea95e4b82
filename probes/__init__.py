# SPDX-License-Identifier: GPL-2.0-or-later
"""Kprobes, kretprobes and jprobes for a machine's guest: `Kprobes(machine).register_kprobe(Kprobe("kfree", ...))`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from armprobe.machine.lazy_names import lazy_names

if TYPE_CHECKING:
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
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "armprobe.kernel.backtrace": ("Backtrace", "CallFrame", "symbolised"),
            "armprobe.kernel.code_tables": ("Area",),
            "armprobe.kernel.tasks": ("Task",),
            ".aggregation": ("Aggregation", "Bucket", "Counted", "Linear", "Special"),
            ".decoder": ("Decoded", "decode"),
            ".eras": ("DEFAULT_ERA", "ERAS", "POINT_RELEASES", "Era", "find_era"),
            ".eras.decoder_rows": ("Verdict",),
            ".eras.hit_rules": ("Status",),
            ".errors": ("ConditionError", "ModuleNotLoaded", "ProbeError"),
            ".events": ("Event", "EventError", "Events"),
            ".exception_moments": ("Moment",),
            ".fail": ("Fail",),
            ".function_watches": ("FunctionCounts", "FunctionGraph", "GraphCall"),
            ".functions": ("is_pattern",),
            ".handler_failures": ("HandlerError",),
            ".jprobe": ("Jprobe",),
            ".kprobe": ("Kprobe",),
            ".kretprobe": ("Kretprobe", "KretprobeInstance"),
            ".probe": ("Condition", "DecidingFunction", "Probe"),
            ".pt_regs": ("PtRegs",),
            ".record": ("Hit", "Stage"),
            ".recording": ("Record",),
            ".registration": ("Kprobes",),
            ".simulation": ("simulate",),
            ".stepping": ("STEPPINGS",),
            ".trace_record": ("TraceRecord",),
            ".tracepoint": ("Tracepoint",),
            ".trampoline": ("TRAMPOLINES",),
        },
    )

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
