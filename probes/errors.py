# SPDX-License-Identifier: GPL-2.0-or-later
"""What probes raise when a request is refused, and what a user's condition may raise."""

from __future__ import annotations

import errno


class ProbeError(Exception):
    """A request was refused.

    `errno` is the number the kernel returns for it (positive, see errno(3)); `reason` is one sentence that says what
    was wrong and, where something can be done about it, what. `rule` says the same without naming the place, so that
    refusals of many probes can be counted by it.
    """

    def __init__(self, number: int, reason: str, rule: str = "") -> None:
        super().__init__(number, reason)
        self.errno = number
        self.reason = reason
        self.rule = rule or reason

    @property
    def errno_name(self) -> str:
        """The name of `errno`, such as EINVAL."""
        return errno.errorcode[self.errno]

    def __str__(self) -> str:
        return f"{self.errno_name}: {self.reason}"


class ConditionError(Exception):
    """A condition cannot say whether it holds, for the reason in the text. The machine stops as if it held."""
