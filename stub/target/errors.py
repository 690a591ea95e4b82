# SPDX-License-Identifier: GPL-2.0-or-later
"""How a target refuses."""


class TargetError(Exception):
    """A request that the machine refuses.

    `errno` (1 to 255) is all that some clients show; `message` is one sentence.
    """

    def __init__(self, errno: int, message: str) -> None:
        super().__init__(message)
        self.errno = errno
        self.message = message
