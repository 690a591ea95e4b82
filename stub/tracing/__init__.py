# SPDX-License-Identifier: GPL-2.0-or-later
"""gdb's tracepoints: what they collect, the experiment that they belong to, and the frames with collected data."""

from .experiment import Experiment
from .frames import TraceFrame
from .trace_view import TraceView
from .tracepoint import Tracepoint

__all__ = ["Experiment", "TraceFrame", "TraceView", "Tracepoint"]
