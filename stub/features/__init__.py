# SPDX-License-Identifier: GPL-2.0-or-later
"""The list of features. A file has a feature for each capability that its packets require."""

from armprobe.stub.feature import Registry

from .breakpoints import BreakpointConditions, BreakpointPackets
from .control import Attachment, Killing
from .crc import Crc
from .description import Description
from .exec_file import ExecFileName
from .extended import Extended, Starting
from .file_io import FileIo
from .files import Files
from .libraries import LibraryList
from .memory import MemoryAccess
from .memory_map import Regions
from .monitor import MonitorPackets
from .noack import NoAck
from .proxy import Proxy
from .qemu import Qemu
from .query import Query
from .registers import RegisterAccess
from .resume import Resuming
from .reverse import ReverseExecution
from .search import MemorySearch
from .threads import Threads
from .trace_frames import TraceFrames
from .tracepoints import TracepointPackets
from .tracing import Tracing
from .transfer import Transfer
from .watchpoints import WatchpointPackets

REGISTRY = Registry(
    (
        Query,
        NoAck,
        Transfer,
        Description,
        ExecFileName,
        LibraryList,
        Files,
        FileIo,
        RegisterAccess,
        MemoryAccess,
        Regions,
        MemorySearch,
        Crc,
        BreakpointPackets,
        BreakpointConditions,
        WatchpointPackets,
        Resuming,
        ReverseExecution,
        Threads,
        TracepointPackets,
        Tracing,
        TraceFrames,
        Attachment,
        Killing,
        Extended,
        Starting,
        MonitorPackets,
        Proxy,
        Qemu,
    )
)
