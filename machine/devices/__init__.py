# SPDX-License-Identifier: GPL-2.0-or-later
"""The board's devices, one class a file. Each keeps its whole state in attributes listed in `STATE`, for snapshots."""

from .flash import Flash
from .gic import Gic
from .gic_cpu import GicCpuInterface
from .pl011 import Pl011
from .pmu import Pmu
from .timer import GenericTimer

__all__ = ["Flash", "GenericTimer", "Gic", "GicCpuInterface", "Pl011", "Pmu"]
