# SPDX-License-Identifier: GPL-2.0-or-later
"""The registry of probes that a machine has: one at most, as each exception has one handler."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary, ref

from armprobe.machine import Machine

from .errors import ProbeError

if TYPE_CHECKING:
    from .registration import Kprobes

_KNOWN: Final[WeakKeyDictionary[Machine, ref[Kprobes]]] = WeakKeyDictionary()


def claim(machine: Machine, kprobes: Kprobes) -> None:
    """Make `kprobes` the registry of `machine`. Raises ProbeError (EEXIST) if it has one."""
    if machine in _KNOWN:
        raise ProbeError(errno.EEXIST, "this machine has a registry of probes already: use that one")
    _KNOWN[machine] = ref(kprobes)


def kprobes_of(machine: Machine) -> Kprobes | None:
    """The registry of `machine`, or None."""
    known = _KNOWN.get(machine)
    return None if known is None else known()
