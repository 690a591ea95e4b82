# SPDX-License-Identifier: GPL-2.0-or-later
"""What a guest kernel tells of itself in its own memory: `Machine.kernel` is a `Kernel`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from armprobe.machine.lazy_names import lazy_names

if TYPE_CHECKING:
    from .kernel import Kernel, Linux, find_kernel
    from .log import LogRecord
    from .memory_values import TypedMemory, typed_memory
    from .module_table import ModuleStruct
    from .mounts import Mount
    from .task_list import TaskStruct
    from .tasks import Task, Tasks
    from .trace_events import COMMON_FIELDS, TraceEvent, TraceEvents, TraceField
    from .types import Member, Struct, Type, Types
    from .value import Value
    from .variables import Variable
else:
    __getattr__ = lazy_names(
        __name__,
        {
            ".kernel": ("Kernel", "Linux", "find_kernel"),
            ".log": ("LogRecord",),
            ".memory_values": ("TypedMemory", "typed_memory"),
            ".module_table": ("ModuleStruct",),
            ".mounts": ("Mount",),
            ".task_list": ("TaskStruct",),
            ".tasks": ("Task", "Tasks"),
            ".trace_events": ("COMMON_FIELDS", "TraceEvent", "TraceEvents", "TraceField"),
            ".types": ("Member", "Struct", "Type", "Types"),
            ".value": ("Value",),
            ".variables": ("Variable",),
        },
    )

__all__ = [
    "COMMON_FIELDS",
    "Kernel",
    "Linux",
    "LogRecord",
    "Member",
    "ModuleStruct",
    "Mount",
    "Struct",
    "Task",
    "TaskStruct",
    "Tasks",
    "TraceEvent",
    "TraceEvents",
    "TraceField",
    "Type",
    "TypedMemory",
    "Types",
    "Value",
    "Variable",
    "find_kernel",
    "typed_memory",
]
