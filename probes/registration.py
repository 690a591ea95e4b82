# SPDX-License-Identifier: GPL-2.0-or-later
"""The probes of one machine: registering, enabling and removing them (kernel/kprobes.c)."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar, cast

from armprobe import wiring
from armprobe.kernel.backtrace import Backtrace
from armprobe.kernel.code_tables import Area, CodeTables
from armprobe.kernel.text import Text
from armprobe.machine import Machine, MachineError, Symbol
from armprobe.machine.state import Entry, Order, Volume

from .address_rules import AddressRules
from .aggregation import Special
from .aggregator import Aggregator, Key
from .arming import Arming
from .decoder import Decoded
from .engine import Engine
from .eras import Era, choose_era, find_era
from .errors import ProbeError, one_of
from .events.registry import Events
from .exception_moments import Moment
from .fail import Fail
from .function_watches import FunctionWatches, Watched
from .functions import functions_matching
from .gone_sites import GoneSites
from .guest_kprobes import GuestKprobes
from .jprobe import Jprobe
from .jprobe_engine import JprobeEngine
from .kprobe import DISABLED, Kprobe
from .kretprobe import Kretprobe, KretprobeInstance
from .kretprobe_engine import KretprobeEngine
from .observed import Observed
from .of_machine import claim
from .optimizer import Optimizer
from .probe import Probe
from .record import Hit
from .recorder import Kept, Recorded, Recorder
from .recording import prepared
from .scope import GuestScope
from .shared_hits import SharedHits
from .site import Site
from .slots import Slots
from .stepping import STEPPINGS, BranchStepping, Stepping, followed
from .suspended_breakpoints import SuspendedBreakpoints
from .tracepoint import Tracepoint
from .tracepoint_engine import TracepointEngine
from .trampoline import TRAMPOLINES
from .unwind import Unwind

_P = TypeVar("_P", Kprobe, Kretprobe)


class Kprobes(Recorded, Watched):
    """The registry of one machine. A second registry for the same machine raises ProbeError (EEXIST).

    `era` is an era, its name, or a kernel's version ("6.12.110"). The default is the era of the guest's own kernel, or
    v6.1 for a guest that is not Linux. `era_origin` is a text that says how it was chosen. `stepping` (of `STEPPINGS`)
    and `trampoline` (of `TRAMPOLINES`) default to the era's own. `warnings` has a sentence if no kernel ever had that
    combination. Under "branch", instructions with a post-handler or a stop at the stage post are stepped by "brk". For
    the others the stage post is not recorded.
    """

    def __init__(
        self,
        machine: Machine,
        era: str | Era | None = None,
        stepping: str | None = None,
        trampoline: str | None = None,
    ) -> None:
        self.era, self.era_origin = choose_era(machine, era)
        rules = self.era.hits
        self.stepping = one_of("way to step", stepping or rules.stepping, STEPPINGS)
        self.trampoline = one_of("trampoline", trampoline or rules.trampoline, TRAMPOLINES)
        self.warnings = list(rules.unsupported_choices(self.era.name, self.stepping, self.trampoline))
        claim(machine, self)
        self.machine = machine
        self._sites: dict[int, Site] = {}
        self._text = Text(machine, self._sites)
        self._guest = GuestKprobes(machine, self._text)
        self._tables = CodeTables(machine, self._text)
        self._rules = AddressRules(machine, self._text, self._tables, self._guest)
        self._resolver, self._check = self._rules.of(self.era)
        self._slots = Slots(machine, self._text)
        self._recorder = Recorder(machine, self)
        self._recorded_most = 0  # the most bytes of memory that a probe has ever recorded of a hit
        kernel = machine.kernel
        if kernel is not None and kernel.tasks is not None:
            self._recorder.task = self._recorder.kernel_task = kernel.tasks.current
        self._replaces_page_tables = kernel is not None and kernel.replaces_page_tables
        self._engine = Engine(machine, rules, self.era.name, self._sites, self._recorder)
        self._optimizer = Optimizer(machine, self._engine, self._recorder, self._sites, self._recorder.hits.maxlen or 0)
        self._recorder.optimizer = self._optimizer
        self._stepping: Stepping = followed(rules, self.stepping)
        self._kretprobes = KretprobeEngine(
            machine, self._engine, self._recorder, rules, self.trampoline, self._slots, self._text, self._stepping
        )
        self._jprobes = JprobeEngine(machine, self._recorder)
        self._arming = Arming(
            machine,
            self.era,
            self._sites,
            self._text,
            self._slots,
            self._stepping,
            BranchStepping() if self.stepping == "branch" else None,
            self._engine,
            self._kretprobes,
            self._jprobes,
            self._guest,
            self._optimizer,
        )
        self._optimizer.connect(self._arming, self._kretprobes, self.era, self.stepping)
        self._shared = SharedHits(machine, self._engine, self._kretprobes, self._guest)
        self._suspended = SuspendedBreakpoints(machine, self._sites, self._arming)
        self._engine.connect(self._arming, self._kretprobes, self._kretprobes.guest_trampoline, self._shared)
        self._tracepoints = TracepointEngine(machine, self._text, self._recorder, self._optimizer)
        self._gone = GoneSites(machine, self._text, self._sites, self._arming.text_gone)
        self.watches = FunctionWatches(self)
        self.unwind = Unwind(machine, self._text, self._kretprobes, self._recorder)
        self.events = Events(self, self._text)
        machine.state.add(
            "probes",
            Entry(Order.PROBES, self._save, self._restore, restored=self._restored, volume=self._volume),
        )
        machine.state.before_saving.append(self._refuse_saving)
        machine.timeline.observations.append((self._save, self._put_back))

    @property
    def optimization(self) -> bool:
        """Whether probes whose action is data are optimised: hit without a breakpoint, and recorded in C.

        The kernel has this as /proc/sys/debug/kprobes-optimization.
        """
        return self._optimizer.enabled

    @optimization.setter
    def optimization(self, wanted: bool) -> None:
        self._optimizer.enabled = wanted

    # Recordings; see also `Recorded`

    @property
    def on_moment(self) -> Callable[[Moment], object] | None:
        """Called with each debug exception of a hit, and each return from one, as it happens."""
        return self._engine.moments.observer

    @on_moment.setter
    def on_moment(self, function: Callable[[Moment], object] | None) -> None:
        self._engine.moments.observer = function
        self._optimizer.review_all()

    def trace_line(self, hit: Hit, arguments: Iterable[tuple[str, int]] | None = None) -> str:
        """The line for a hit in the kernel's trace file: of an event's probe, the event's.

        See `armprobe.traces.trace_line`.
        """
        line = self.events.line(hit) if arguments is None else None
        return wiring.trace_line(self, hit, arguments, None) if line is None else line

    # Registering

    def register_kprobe(self, probe: Kprobe) -> Kprobe:
        """Put `probe` into the guest. Raises ProbeError with the kernel's errno and the reason."""
        self._refuse_unfit(probe, Kprobe)
        if probe.fault_handler is not None and not self.era.hits.fault_handlers:
            raise ProbeError(errno.EINVAL, f"{self.era.name} has no fault_handler (Linux dropped it in v5.14)")
        address, symbol = self._resolver.resolve(probe)
        probe.addr = address  # and stays so if the probe is refused
        key = None if probe.aggregate is None else probe.aggregate.key
        if key in (Special.CALLER, Special.STACK) and address != symbol.address:
            raise ProbeError(errno.EINVAL, f"the {key} is known at a function's entry, which {probe.name} is not")
        self._add(probe, address, symbol)
        return probe

    def register_kretprobe(self, probe: Kretprobe) -> Kretprobe:
        """Put `probe` on a function. Raises ProbeError with the kernel's errno and the reason."""
        self._refuse_unfit(probe, Kretprobe)
        address, symbol = self._resolver.resolve(probe)
        outside = f"{probe.name} is not the entry of a function, which is where a kretprobe takes the return address"
        if address != symbol.address and self.era.entry_only:
            raise ProbeError(errno.EINVAL, outside)
        probe.prepare(self.era, self.machine.ram.size)
        probe.kp.pre_handler = self._kretprobes.entry_handler(probe)
        probe.kp.addr = address
        self._kretprobes.add(probe)
        try:
            self._add(probe.kp, address, symbol)
        except ProbeError:
            self._kretprobes.forget(probe)
            raise
        if address != symbol.address:
            probe.kp.warnings.append(outside)
        return probe

    def on(self, place: str | int, key: Key = None, condition: str | None = None) -> Aggregator:
        """Counts and histograms of the hits at `place`: `on("vfs_read", key="comm").hist("elapsed")`. See there."""
        return Aggregator(self, place, key, condition)

    def register_jprobe(self, probe: Jprobe) -> Jprobe:
        """Put `probe` on a function. Raises ProbeError with the kernel's errno and the reason."""
        if not self.era.hits.jprobes:
            raise ProbeError(
                errno.ENOSYS,
                f"{self.era.name} has no jprobes (Linux dropped them in v4.15): use era v4.8, or a kprobe, whose "
                "pre-handler finds the arguments in regs",
            )
        self._refuse_unfit(probe, Jprobe)
        address, symbol = self._resolver.resolve(probe)
        self._jprobes.prepare(probe)
        probe.kp.addr = address
        self._add(probe.kp, address, symbol)
        if address != symbol.address:  # register_jprobes() checks the address of `entry`, not that of the probe
            probe.warnings.append(f"{probe.name} is not the entry of a function, where its arguments are")
        return probe

    def register_tracepoint(self, probe: Tracepoint) -> Tracepoint:
        """Look out for an event of the guest's kernel. Raises ProbeError."""
        self._refuse_unfit(probe, Tracepoint)
        self._tracepoints.register(probe)
        probe.registry = self
        return probe

    def register(self, probe: Probe) -> Probe:
        """Register a probe by its kind. Raises ProbeError."""
        match probe:
            case Kprobe():
                return self.register_kprobe(probe)
            case Kretprobe():
                return self.register_kretprobe(probe)
            case Jprobe():
                return self.register_jprobe(probe)
            case Tracepoint():
                return self.register_tracepoint(probe)
        raise ProbeError(errno.EINVAL, f"{probe!r} is no probe: give a Kprobe, Kretprobe, Jprobe or Tracepoint")

    def kprobe(self, *arguments: Any, **options: Any) -> Kprobe:
        """Register a `Kprobe` with these arguments: `with k.kprobe("kfree", pre_handler=f) as p`. Raises ProbeError."""
        return self.register_kprobe(Kprobe(*arguments, **options))

    def kretprobe(self, *arguments: Any, **options: Any) -> Kretprobe:
        """Register a `Kretprobe` with these arguments. Raises ProbeError."""
        return self.register_kretprobe(Kretprobe(*arguments, **options))

    def fail(self, *arguments: Any, **options: Any) -> Fail:
        """Have calls of a function fail: register a `Fail` with these arguments. Raises ProbeError."""
        probe = Fail(*arguments, **options)
        self.register_kprobe(probe)
        return probe

    def register_kprobes(self, probes: Sequence[Kprobe]) -> None:
        """Register all of them, or none if one is refused. Raises ProbeError, also for an empty sequence (EINVAL)."""
        self._register_all(probes, self.register_kprobe)

    def register_kretprobes(self, probes: Sequence[Kretprobe]) -> None:
        """Like `register_kprobes`."""
        self._register_all(probes, self.register_kretprobe)

    def reset_current_kprobe(self) -> None:
        """Forget the hit being handled. In v4.8 a pre-handler that returns non-zero has to do this itself."""
        core = self.machine.core
        core.dispatcher.leave_hit()
        self._engine.over(self._engine.blocks[core])

    def unregister(self, probe: Probe) -> None:
        """Take `probe` out of the guest. It keeps its `addr` and is marked disabled, as the kernel leaves it.

        A kretprobe's outstanding calls return to their callers. Raises ProbeError (EINVAL) for a probe that is not
        registered.
        """
        self.unregister_kprobes([probe])

    def unregister_kprobes(self, probes: Iterable[Probe]) -> None:
        """Unregister kprobes or kretprobes. Raises ProbeError, and removes none, if one is not registered."""
        registered = [(probe, self._registered(probe)) for probe in dict.fromkeys(probes)]
        self._gone.look(kprobe.site for _, kprobe in registered)
        for probe, kprobe in registered:
            probe.registry = None
            if isinstance(probe, Tracepoint):
                self._tracepoints.unregister(probe)
                continue
            site = cast(Site, kprobe.site)
            self._optimizer.release(kprobe)
            site.probes.remove(kprobe)
            kprobe.site = None
            kprobe.disabled = True
            if isinstance(probe, Kretprobe):
                self._kretprobes.forget(probe)
            if self._sites.get(site.addr) is site:
                try:
                    self._arming.update(site)
                except ProbeError as error:  # the guest's memory may be damaged, which must not prevent the removal
                    self._arming.disarm(site)
                    site.lost(error)
                if not site.probes:
                    del self._sites[site.addr]
                    self._arming.retire(site)
            elif not site.probes:
                self._gone.gone.remove(site)
        self._arming.hit_over()
        self._suspended.watch()
        if not self._sites:
            self._gone.unwatch()

    def enable(self, probe: Probe) -> None:
        """Arm a disabled probe. Raises ProbeError (EINVAL) if it is not registered or its text is gone."""
        self._switch(probe, disabled=False)

    def disable(self, probe: Probe) -> None:
        """Disarm a probe. The text is restored if no enabled probe is left there.

        Raises ProbeError (EINVAL) for one that is not registered.
        """
        self._switch(probe, disabled=True)

    def _switch(self, probe: Probe, *, disabled: bool) -> None:
        kprobe = self._registered(probe)
        self._gone.look([kprobe.site])
        if kprobe.gone and not disabled:
            raise ProbeError(errno.EINVAL, f"{probe.name} is gone, as the guest has freed its code: unregister it")
        kprobe.disabled = disabled
        if kprobe.site is None:
            probe.review()
        elif not kprobe.gone:
            self._arming.update(kprobe.site)

    def list(self) -> list[Probe]:
        """The registered probes by address, newest first at one address. The `flags` of each are up to date."""
        self._gone.look(self._sites.values())
        sites = sorted([*self._sites.values(), *self._gone.gone], key=lambda site: site.addr)
        return [*(probe.owner for site in sites for probe in site.probes), *self._tracepoints.probes]

    def functions(self, pattern: str = "*") -> Sequence[Symbol]:
        """The guest's functions whose names match a pattern such as "vfs_*". See `functions_matching`."""
        return functions_matching(self.machine.symbols, pattern)

    def check(self, place: str | int, era: str | Era | None = None) -> Decoded:
        """The kernel's verdict on the instruction at `place`: "kfree", "kfree+0x10" or an address.

        Nothing is registered. `era` may differ from the registry's: the verdict is then that of such a kernel, if the
        guest's code were its own. Raises ProbeError as `register_kprobe` would.
        """
        resolver, check = self._rules.of(self.era if era is None else find_era(era))
        address, symbol = resolver.resolve(Kprobe(place) if isinstance(place, str) else Kprobe(addr=place))
        return check.judge(address, symbol).decoded

    @property
    def blacklist(self) -> Sequence[Area]:
        """The areas that must not be probed, in order of address."""
        return self._check.blacklist.areas()

    @property
    def outstanding(self) -> Sequence[KretprobeInstance]:
        """The calls that kretprobes wait for."""
        return self._kretprobes.instances.outstanding()

    def read_text(self, address: int, size: int) -> bytes:
        """The guest's code at virtual `address`, without our breakpoints, even before the guest has mapped it.

        Raises MachineError if there is none.
        """
        return self._text.unpatched(address, self._text.read(address, size))

    def unpatched(self, address: int, data: bytes) -> bytes:
        """`data`, read from virtual `address`, with the original instructions in place of our breakpoints."""
        return self._text.unpatched(address, data)

    def backtrace(self, hit: Hit | None = None) -> Backtrace:
        """The callers of the code that the guest is stopped in, or that `hit` was in.

        The callers of a hit are known only until they go on: while the guest is stopped for it, and until a call that a
        kretprobe waits for has returned. Raises ProbeError (ESTALE) after that.
        """
        return self.unwind.backtrace(hit)

    # Inside

    def _refuse_saving(self) -> None:
        """Raise MachineError if the guest has breakpoints of ours: nothing handles them where a file is resumed."""
        if self._sites:
            raise MachineError("the guest has probes in it, which a file cannot keep: unregister all, then save")
        if self.outstanding and (self.machine.timeline.diverting or not self.unwind.give_back()):
            raise MachineError(
                f"{len(self.outstanding)} calls have yet to return through a trampoline: run on until then, and save"
            )

    def _register_all(self, probes: Sequence[_P], register: Callable[[_P], object]) -> None:
        if not probes:
            raise ProbeError(errno.EINVAL, "there are no probes to register: give at least one")
        done: list[_P] = []
        for probe in probes:
            try:
                register(probe)
            except ProbeError as error:
                if done:
                    self.unregister_kprobes(done)
                reason = f"number {len(done) + 1} of {len(probes)} probes was refused, and so none is registered: "
                raise ProbeError(error.errno, reason + error.reason, error.rule) from None
            done.append(probe)

    def _refuse_unfit(self, probe: Probe, kind: type[Probe]) -> None:
        """Raise ProbeError (EINVAL) if `probe` is not of this kind or is already registered."""
        if not isinstance(probe, kind):
            raise ProbeError(errno.EINVAL, f"{probe!r} is no {kind.__name__}: make one of that class")
        kprobe = probe.kp
        if kprobe.owner is not probe:
            raise ProbeError(errno.EINVAL, f"{kprobe.name} is a part of a {kprobe.owner.kind}: register that")
        if probe.registered:
            raise ProbeError(errno.EINVAL, f"{probe.name} is registered already: make another probe for the same place")

    def _registered(self, probe: Probe) -> Kprobe:
        if not isinstance(probe, Probe):
            raise ProbeError(errno.EINVAL, f"{probe!r} is no probe: give what was registered")
        kprobe = probe.kp
        site = kprobe.site
        known = site is not None and (self._sites.get(site.addr) is site or site in self._gone.gone)
        if kprobe.owner is not probe or not (known or probe in self._tracepoints.probes):
            raise ProbeError(errno.EINVAL, f"{probe.name} is not registered here: nothing was done")
        return kprobe

    def _add(self, probe: Kprobe, address: int, symbol: Symbol) -> None:
        probe.flags &= DISABLED
        scope = lambda stage: GuestScope(self.machine, stage, address)  # noqa: E731
        probe.owner.recording = recording = prepared(probe.owner.record, probe.owner.stages, scope, self.kept)
        self._recorded_most = max(self._recorded_most, 0 if recording is None else recording.size)
        site = self._sites.get(address)
        if site is None:
            site = Site(address, *self._check.judge(address, symbol), self._stepping)
            site.reviewer = self._optimizer.changed
        site.add(probe)
        site.refresh()
        probe.site = site
        try:
            self._arming.add(site)
        except ProbeError:
            site.probes.remove(probe)
            site.refresh()
            probe.site = None
            raise
        self._sites[address] = site
        probe.owner.registry = self
        self._suspended.watch()
        self._gone.watch(address)
        probe.nmissed = probe.hits = probe.owner.hits = probe.met = probe.owner.met = 0
        ambiguity = self.machine.symbols.ambiguity(probe.symbol_name or "")
        probe.warnings = [warning for warning in (site.decoded.warning, ambiguity) if warning]
        if probe.disabled:
            probe.warnings.append(
                f"{probe.name} is disabled, as unregistering leaves a probe, and therefore not armed: enable it"
            )
        elif not site.armed and self._replaces_page_tables:
            probe.warnings.append(
                f"{probe.name} waits until Linux has its final page tables: what it executes there before is not seen"
            )

    @property
    def _largest(self) -> int:
        """The most bytes of memory that a registered probe records of a hit."""
        recordings = [probe.owner.recording for site in self._sites.values() for probe in site.probes]
        return max((recording.size for recording in recordings if recording is not None), default=0)

    def _save(self) -> Observed:
        """What the probes have recorded and counted so far."""
        return Observed.of(self._recorded_by(), Kept(tuple(self.hits), self.lost))

    def _volume(self, saved: Observed) -> Volume:
        return saved.volume(self._recorded_most)

    def _recorded_by(self) -> set[Probe]:
        """The probes that record or count, those of a kretprobe or jprobe and its kprobe."""
        sites = {each for site in self._sites.values() for probe in site.probes for each in (probe, probe.owner)}
        return {*sites, *self._tracepoints.probes}

    def _put_back(self, saved: Observed) -> None:
        self._optimizer.drain()
        self._recorder.put_back(saved.kept)
        saved.put_back(self._recorded_by())

    def _restore(self, saved: Observed) -> None:
        self._saved = saved

    def _restored(self) -> None:
        """The machine was put into another state. Put exactly the current breakpoints into its memory."""
        self._arming.begin_restore()
        self._kretprobes.restore()
        self._slots.restore({**self._sites, **self._engine.internal}, self._engine.restored_slots())
        self._engine.restore(self._arming.site_of_hit)
        self._put_back(self._saved)
        self._arming.remove_others()
        self._gone.revive()
        self._arming.rearm_all()
        self._shared.restore()
        self._suspended.restore()
        self._optimizer.begin_due()  # as when the guest was here first, and had come here by running
