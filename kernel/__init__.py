# SPDX-License-Identifier: GPL-2.0-or-later
"""What a guest kernel tells of itself in its own memory: `Machine.kernel` is a `Kernel`."""

from .btf import Btf
from .kernel import Kernel, Linux, find_kernel
from .tasks import Task, Tasks

__all__ = ["Btf", "Kernel", "Linux", "Task", "Tasks", "find_kernel"]
