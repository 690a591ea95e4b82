# SPDX-License-Identifier: GPL-2.0-or-later
"""What every front end drives: a machine, its probes, and who is attached."""

from .errors import CommandError
from .session import Session

__all__ = ["CommandError", "Session"]
