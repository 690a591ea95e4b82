# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether anything runs the guest, for threads that wait until nothing does."""

import threading


class Idle:
    """Set while nothing runs the guest. What `threading.Event` does, but without its lock where nobody waits.

    A debugger's step clears and sets it, and an event took a tenth of the step.
    """

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._waiting = 0  # threads
        self._set = True

    def clear(self) -> None:
        """Something runs the guest."""
        self._set = False

    def set(self) -> None:
        """Nothing does any more. Wakes those who wait."""
        self._set = True
        if self._waiting:  # whoever begins to wait after this has been looked at sees the line before
            with self._condition:
                self._condition.notify_all()

    def wait(self) -> None:
        """Wait until nothing runs the guest."""
        with self._condition:
            self._waiting += 1
            try:
                self._condition.wait_for(lambda: self._set)
            finally:
                self._waiting -= 1
