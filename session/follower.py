# SPDX-License-Identifier: GPL-2.0-or-later
"""Shows hits while the guest runs, as the kernel's trace_pipe does (Documentation/trace/ftrace.rst)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

from armprobe.machine import Machine
from armprobe.probes import Kprobes


class Follower:
    """Passes the lines of new hits to a function, while it is `following`: between slices, and on each call of `look`.

    Its methods are for the thread that uses the machine.
    """

    def __init__(self, machine: Machine, kprobes: Kprobes) -> None:
        self.following = False
        """Whether hits are shown."""
        self._before_slice = machine.scheduler.before_slice
        self._kprobes = kprobes
        self._show: Callable[[str], None] = lambda text: None
        self._seen = 0, 0, 0

    def follow(self, show: Callable[[str], None]) -> None:
        """Pass the lines of new hits to `show` from now on, and to nobody else."""
        self._show = show
        if not self.following:
            self._seen = self._state()
            self.following = True
            self._before_slice.append(self.look)

    def stop(self) -> None:
        """Show hits no longer."""
        if self.following:
            self.following = False
            self._before_slice.remove(self.look)

    def look(self) -> None:
        """Show the hits since the last look, if it is following."""
        from armprobe.traces import is_traced, lost_line

        if not self.following:
            return
        cleared, added, lost = self._seen
        self._seen = now = self._state()
        if now == (cleared, added, lost) or now[0] != cleared:  # another state of the machine was put in place
            return
        ring, new = self._kprobes.hits, now[1] - added
        lost = now[2] - lost + max(0, new - len(ring))
        lines = [f"{lost_line(lost)}\n"] if lost else []
        hits = islice(ring, max(0, len(ring) - new), None)
        lines += (f"{self._kprobes.trace_line(hit)}\n" for hit in hits if is_traced(hit))
        self._show("".join(lines))

    def _state(self) -> tuple[int, int, int]:
        """How often the ring was emptied, how many stages were put into it, and how many were lost before that."""
        ring = self._kprobes.hits
        return ring.cleared, len(ring) + ring.lost, self._kprobes.lost - ring.lost
