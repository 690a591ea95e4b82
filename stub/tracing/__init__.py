# SPDX-License-Identifier: GPL-2.0-or-later
"""gdb's tracepoints: what is to be collected, the experiment that collects it, and the frames it is kept in."""

from .experiment import Experiment
from .frames import TraceFrame
from .tracepoint import Tracepoint

__all__ = ["Experiment", "TraceFrame", "Tracepoint"]
