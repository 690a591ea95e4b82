# SPDX-License-Identifier: GPL-2.0-or-later
"""The one place where a lower room gets something that a higher one makes.

Imports between the rooms run one way (tests/test_layout.py). What has to go the other way is a function here, which
imports the higher room when it is called.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from armprobe.commands.shell import Shell as Shell  # for the annotations of those who call `shell_of`
    from armprobe.kernel import Kernel as Kernel
    from armprobe.kernel.memory_values import TypedMemory
    from armprobe.kernel.types import Type as Type  # for the annotations of those who call `typed_memory_of`
    from armprobe.kernel.value import Value as Value
    from armprobe.machine import Machine, Symbols
    from armprobe.probes import Hit
    from armprobe.probes import Kprobes as Kprobes
    from armprobe.session import Session
    from armprobe.traces import HitRing as HitRing  # for the annotations of those who call `hit_ring`


def kernel_symbols(image: bytes) -> Symbols:
    """The symbols in an uncompressed kernel `image`. Raises MachineError when it has none that can be read."""
    from armprobe.kernel import kallsyms
    from armprobe.machine import Symbols

    return Symbols.from_kallsyms(kallsyms.read(image))


def kernel_of(machine: Machine) -> Kernel | None:
    """The kernel in `machine`, or None if its guest is no kernel."""
    from armprobe.kernel import find_kernel

    return find_kernel(machine)


def typed_memory_of(machine: Machine) -> TypedMemory:
    """The memory of `machine` as values of its guest's types."""
    from armprobe.kernel.memory_values import typed_memory

    return typed_memory(machine)


def kprobes_of(machine: Machine) -> Kprobes:
    """The probes of `machine`, by the rules of its guest's kernel if nobody has chosen others."""
    from armprobe.probes import Kprobes
    from armprobe.probes.of_machine import kprobes_of as known

    return known(machine) or Kprobes(machine)


def hit_ring(kprobes: Kprobes, capacity: int | None = None) -> HitRing:
    """A ring for that many stages of the hits of `kprobes` (by default, for the usual number), with nothing in it."""
    from armprobe.traces import KEPT, HitRing

    return HitRing(KEPT if capacity is None else capacity, kprobes)


def trace_line(kprobes: Kprobes, hit: Hit, arguments: Iterable[tuple[str, int]] | None, name: str | None) -> str:
    """The line of the kernel's trace file for a hit, see `armprobe.traces.trace_line`."""
    from armprobe.traces import trace_line as line

    return line(kprobes, hit, arguments, name)


def keep_symbol_file(machine: Machine) -> None:
    """Make the file that debuggers get of the guest in `machine`, for the user's cache."""
    from armprobe.session.symbol_cache import SymbolFile
    from armprobe.session.symbol_file import SymbolSources

    SymbolFile(machine, lambda: SymbolSources.of(machine)).read()


def shell_of(session: Session) -> Shell:
    """A shell with all commands, for a session that is made."""
    from armprobe.commands.shell import Shell

    return Shell(session)
