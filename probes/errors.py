# SPDX-License-Identifier: GPL-2.0-or-later
"""Exceptions of probes: refused requests, and conditions that cannot be decided."""

from __future__ import annotations

import errno
from collections.abc import Collection


class ProbeError(Exception):
    """A request was refused.

    `errno` is the kernel's error number (positive, see errno(3)). `reason` is one sentence that says what was wrong
    and, if possible, how to fix it. `rule` says the same without naming the place, so that refusals of many probes can
    be counted by rule.
    """

    def __init__(self, number: int, reason: str, rule: str = "") -> None:
        super().__init__(number, reason)
        self.errno = number
        self.reason = reason
        self.rule = rule or reason

    @property
    def errno_name(self) -> str:
        """The name of `errno`, such as EINVAL. The kernel has no ENOTSUP (include/uapi/asm-generic/errno.h)."""
        return "EOPNOTSUPP" if self.errno == errno.EOPNOTSUPP else errno.errorcode[self.errno]

    def __str__(self) -> str:
        return f"{self.errno_name}: {self.reason}"


class ModuleNotLoaded(ProbeError):
    """The place is a symbol of a module that is not loaded now."""

    module: str
    """The name of the module."""

    def __init__(self, number: int, reason: str, module: str) -> None:
        super().__init__(number, reason)
        self.module = module


class ConditionError(Exception):
    """A condition cannot be decided. The text gives the reason. The machine stops as if the condition held."""


def one_of(what: str, name: str, names: Collection[str]) -> str:
    """`name`, which is one of `names`. Raises ProbeError (EINVAL) for another."""
    if name not in names:
        raise ProbeError(errno.EINVAL, f"there is no {what} '{name}': choose one of {', '.join(names)}")
    return name
