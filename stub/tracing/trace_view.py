# SPDX-License-Identifier: GPL-2.0-or-later
"""What one client looks at: the machine, or a frame of the trace experiment."""

from .experiment import Experiment
from .frames import TraceFrame


class TraceView:
    """The target's trace experiment, which clients before this one may have begun, and the frame of it selected."""

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment
        self.frame: TraceFrame | None = None
        """The frame that the client looks at instead of the machine."""
        self.frame_number = 0
        """The number of the frame selected last."""
