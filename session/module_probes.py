# SPDX-License-Identifier: GPL-2.0-or-later
"""Probes on functions of modules: they wait for the module, and are set when it is loaded, each time.

The kernel's kprobe_events do the same (trace_kprobe_module_callback in kernel/trace/trace_kprobe.c). They are set again
before the module is initialised, so a module's own initialisation can be probed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from armprobe.machine import Machine
from armprobe.machine.state import Order
from armprobe.probes import Kprobes, Kretprobe, Probe, ProbeError
from armprobe.probes.kprobe import DISABLED

from .errors import CommandError
from .probe_list import ProbeList

_MOST_NAMED: Final = 5  # probes that a notice names


Renew = Callable[[Probe], None]


class ModuleProbes:
    """Keeps the probes of a list in step with the modules that are loaded. Use it on the owner's thread."""

    def __init__(self, machine: Machine, kprobes: Kprobes, probes: ProbeList, notify: Callable[[str], None]) -> None:
        self._machine, self._kprobes, self._probes, self._notify = machine, kprobes, probes, notify
        self._modules: dict[Probe, str] = {}  # the module of each probe that is kept in step
        self._renew: dict[Probe, Renew | None] = {}
        self._waiting: set[Probe] = set()  # those of them that are not registered
        self._refused: set[Probe] = set()  # those that could not be set in the module that is loaded now
        self._listening = False
        machine.state.on_restored(Order.PROBES, self._look)

    def waits(self, probe: Probe) -> bool:
        """Whether `probe` waits for its module."""
        return probe in self._waiting

    def wait(self, probe: Probe, module: str, renew: Renew | None = None) -> None:
        """Register `probe` when `module` is loaded. Raises CommandError if that cannot be seen in this guest.

        `renew` is called before, each time. It may raise CommandError, and the probe waits on then.
        """
        events = None if self._machine.kernel is None else self._machine.kernel.module_events
        if events is None or not events.available:
            raise CommandError(f"there is no symbol '{probe.name}', and this guest loads no modules")
        probe.validate()
        self._waiting.add(probe)
        self._keep(probe, module, renew)

    def registered(self, probe: Probe, renew: Renew | None = None) -> None:
        """Take note of a probe that is registered. One that was set by a symbol of a module is set again with that."""
        if probe.symbol_name is not None and (module := self._machine.symbols.module_at(probe.addr or 0)):
            self._keep(probe, module, renew)

    def _keep(self, probe: Probe, module: str, renew: Renew | None) -> None:
        self._modules[probe], self._renew[probe] = module, renew
        kernel = self._machine.kernel
        if not self._listening and kernel is not None and kernel.module_events is not None:
            self._listening = True
            kernel.module_events.listen(self._changed)

    def _changed(self, machine: Machine) -> None:
        self._look()
        kernel = machine.kernel
        if not self._modules and kernel is not None and kernel.module_events is not None:
            self._listening = False
            kernel.module_events.unlisten(self._changed)

    def _look(self) -> None:
        """Register the probes whose modules are there now, and make those wait whose modules are gone."""
        if not self._modules:
            return
        modules, numbers = self._machine.symbols.modules, {probe: number for number, probe in self._probes.items()}
        for probe in self._modules.keys() - numbers.keys():  # removed meanwhile
            del self._modules[probe], self._renew[probe]
            self._waiting.discard(probe)
        self._refused = {probe for probe in self._refused if self._modules.get(probe) in modules}
        done: dict[tuple[str, str], list[str]] = {}
        for probe, module in self._modules.items():
            if (module in modules) is not (probe in self._waiting) or probe in self._refused:
                continue
            said = self._set(probe) if probe in self._waiting else self._lose(probe)
            done.setdefault((module, said), []).append(f"{probe.kind} {numbers[probe]} ({probe.name})")
        for (module, said), probes in done.items():
            self._notify(f"{_named(probes)}: {said.format(module=module)}\n")

    def _set(self, probe: Probe) -> str:
        counts, renew = _counters(probe), self._renew[probe]
        try:
            if renew is not None:
                renew(probe)
            self._kprobes.register(probe)
        except (ProbeError, CommandError) as error:
            probe.addr = None
            self._refused.add(probe)
            return "still pending, as it cannot be set in the module {module}: " + _literal(str(error))
        self._waiting.discard(probe)
        _put_back(probe, counts)
        if probe.disabled:
            return "set, but disabled, as the module {module} is loaded"
        warnings = "".join(f"; warning: {_literal(warning)}" for warning in probe.warnings)
        return "set, as the module {module} is loaded" + warnings

    def _lose(self, probe: Probe) -> str:
        disabled = probe.flags & DISABLED
        self._kprobes.unregister(probe)
        probe.addr, probe.flags = None, disabled
        self._waiting.add(probe)
        return "gone with the module {module}, and pending until that is loaded again"


def _counters(probe: Probe) -> tuple[int, ...]:
    return probe.hits, probe.met, probe.nmissed, probe.kp.nmissed


def _put_back(probe: Probe, counts: tuple[int, ...]) -> None:
    """Go on counting: the kernel's events do not begin at 0 either."""
    probe.hits, probe.met, probe.nmissed = counts[:3]
    if isinstance(probe, Kretprobe):
        probe.kp.nmissed = counts[3]


def _literal(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def _named(probes: Iterable[str]) -> str:
    first, *others = probes
    shown = [first, *others[: _MOST_NAMED - 1]]
    more = 1 + len(others) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
