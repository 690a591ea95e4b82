# SPDX-License-Identifier: GPL-2.0-or-later
"""The state that a client knows of a machine which others change too: a prompt, a script, a restored snapshot.

A client keeps the registers and some of the memory that it was told of at a stop, and the protocol has no way to tell
it that they are different now.
"""

from .target import Changes

_NONE = Changes(0, 0)


class View:
    """Compares the changes that `target` counts (`ChangeCount`), if it does, with those that the client knows of."""

    def __init__(self, target: object) -> None:
        self._target = target
        self._known = _NONE
        self._start: Changes | None = None  # the count when the client's own change began

    @property
    def _now(self) -> Changes:
        return getattr(self._target, "changes", _NONE)  # to ask for the protocol takes 12 microseconds

    @property
    def outdated(self) -> Changes:
        """How many changes of others the client does not know of."""
        now, known = self._now, self._known
        return Changes(now.registers - known.registers, now.memory - known.memory)

    @property
    def registers_outdated(self) -> bool:
        """Whether others have changed the registers since the client was told of them."""
        return (self._start or self._now).registers != self._known.registers

    def seen(self) -> None:
        """The client knows the present state, or has forgotten all that it knew."""
        self._known, self._start = self._now, None

    def registers_seen(self) -> None:
        """The client has been told all registers."""
        now = self._now.registers
        self._known = self._known._replace(registers=now)
        if self._start is not None:
            self._start = self._start._replace(registers=now)

    def begin(self) -> None:
        """From now on changes are the client's own."""
        if self._start is None:
            self._start = self._now

    def disown(self) -> None:
        """The changes since `begin` are not the client's own, although it has asked for them."""
        self._start = None

    def end(self) -> None:
        """The changes since `begin` were the client's own, so it knows of them.

        It does not know another state, even if a command of its own has put that in place.
        """
        now, start, known = self._now, self._start, self._known
        if start is not None and now != start and now.states == start.states:
            self._known = known._replace(
                registers=known.registers + now.registers - start.registers,
                memory=known.memory + now.memory - start.memory,
            )
        self._start = None
