# SPDX-License-Identifier: GPL-2.0-or-later
"""The probes of one machine: registering, enabling and removing them (kernel/kprobes.c)."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeVar, cast
from weakref import WeakSet

from armprobe.kernel.backtrace import Backtrace
from armprobe.kernel.code_tables import Area, CodeTables
from armprobe.kernel.tasks import Tasks
from armprobe.kernel.text import Text
from armprobe.machine import Machine, MachineError, Symbol
from armprobe.machine.state import Order

from . import record
from .address import Addresses
from .decode import Decoded, decode
from .engine import Engine
from .eras import Era, choose_era, find_era
from .eras.decoder_rows import Verdict
from .errors import ProbeError
from .freed_text import Departures
from .functions import functions_matching
from .guest_probes import GuestProbes
from .hit_trace import Moment
from .jprobe import Jprobe, Jprobes
from .kprobe import DISABLED, Kprobe
from .kretprobe import Kretprobe, KretprobeInstance
from .kretprobe_engine import Returns
from .record import Hit, Stage
from .recorder import Recorded, Recorder
from .site import Site
from .slots import Slots
from .stepping import KPROBES_BRK, KPROBES_BRK_WORD, STEPPINGS, BranchStepping, Stepping, followed
from .trampoline import DIRECT, TRAMPOLINES
from .unwind import Unwind

Probe = Kprobe | Kretprobe | Jprobe
_P = TypeVar("_P", Kprobe, Kretprobe)

_PROBED: Final[WeakSet[Machine]] = WeakSet()  # each exception has one handler
_UNKNOWN: Final = Decoded(
    Verdict.GOOD,
    warning="the guest has a BRK #4 of its own here that is none of its kprobes: it gets that after the pre-handlers, "
    "and post-handlers do not run",
)


class Kprobes(Recorded):
    """The registry of one machine. One machine has one; making a second raises ProbeError (EEXIST).

    `era` is an era, its name, or a kernel's version ("6.12.110"); by default that of the guest's own kernel, and v6.1
    for a guest that is not Linux. `era_origin` says which it was, for people.
    `stepping` (of `STEPPINGS`) and `trampoline` (of `TRAMPOLINES`) are the era's own unless given; `warnings` says so
    when no kernel ever had that combination. Under "branch", instructions with a post-handler or a stop at the stage
    post are stepped by "brk", and for the others the stage post is not recorded.
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
        self.stepping = _one_of("way to step", stepping or rules.stepping, STEPPINGS)
        self.trampoline = _one_of("trampoline", trampoline or rules.trampoline, TRAMPOLINES)
        self.warnings = list(rules.unheard_of(self.era.name, self.stepping, self.trampoline))
        if machine in _PROBED:
            raise ProbeError(errno.EEXIST, "this machine has a registry of probes already: use that one")
        _PROBED.add(machine)
        self.machine = machine
        self._sites: dict[int, Site] = {}
        self._retired: list[Site] = []
        self._waiting: dict[int, Callable[[Machine], None]] = {}
        self._text = Text(machine, self._sites)
        self._tables = CodeTables(machine, self._text)
        self._addresses = Addresses(machine, self._text, self._tables, self.era)
        self._checkers = {self.era.name: self._addresses}  # by era
        self._departures = Departures(machine, self._text, self._sites, self._text_gone)
        self._slots = Slots(machine, self._text)
        self._recorder = Recorder(machine, self)
        self._recorder.task = Tasks(machine).current
        self._engine = Engine(machine, rules, self.era.name, self._sites, self._recorder)
        self._stepping: Stepping = followed(machine, rules, self.stepping)
        self._branches = BranchStepping() if self.stepping == "branch" else None
        self._returns = Returns(
            machine, self._engine, self._recorder, rules, self.trampoline, self._slots, self._text, self._stepping
        )
        self._jprobes = Jprobes(machine, self._recorder)
        self.unwind = Unwind(machine, self._text, self._returns, self._recorder)
        self._engine.idle = self._reap
        self._words: dict[int, int] = {}  # what was at each address that ever had a breakpoint
        machine.state.on_restored(Order.PROBES, self._restored)
        machine.state.before_saving.append(self._refuse_saving)
        self._guest = GuestProbes(
            machine, self._sites, self._engine, self._arm, self._disarm, self._slots, self.era, self._text
        )

    # What was recorded: see `Recorded`, too

    @property
    def on_moment(self) -> Callable[[Moment], object] | None:
        """Called with each debug exception of a hit, and each return from one, as it happens."""
        return self._engine.moments.observer

    @on_moment.setter
    def on_moment(self, function: Callable[[Moment], object] | None) -> None:
        self._engine.moments.observer = function

    def trace_line(self, hit: Hit, arguments: Iterable[tuple[str, int]] | None = None) -> str:
        """See `record.trace_line`."""
        rules = self.era.hits
        masked = hit.stage is not Stage.RETURN or self.trampoline != DIRECT or rules.masks_returns
        return record.trace_line(hit, self.machine.symbols, masked, rules.trace_flags, arguments)

    # Registering

    def register_kprobe(self, probe: Kprobe) -> Kprobe:
        """Put `probe` into the guest. Raises ProbeError with the kernel's errno and why."""
        self._refuse_unfit(probe, Kprobe)
        if probe.fault_handler is not None and not self.era.hits.fault_handlers:
            raise ProbeError(errno.EINVAL, f"{self.era.name} has no fault_handler (Linux dropped it in v5.14)")
        address, symbol = self._addresses.resolve(probe)
        probe.addr = address  # and stays so if it is refused
        self._add(probe, address, symbol)
        return probe

    def register_kretprobe(self, probe: Kretprobe) -> Kretprobe:
        """Put `probe` on a function. Raises ProbeError with the kernel's errno and why."""
        self._refuse_unfit(probe, Kretprobe)
        address, symbol = self._addresses.resolve(probe.kp)
        outside = f"{probe.name} is not the entry of a function, which is where a kretprobe takes the return address"
        if address != symbol.address and self.era.entry_only:
            raise ProbeError(errno.EINVAL, outside)
        probe.prepare(self.era, self.machine.ram.size)
        probe.kp.pre_handler = self._returns.entry_handler(probe)
        probe.kp.addr = address
        self._returns.add(probe)
        try:
            self._add(probe.kp, address, symbol)
        except ProbeError:
            self._returns.forget(probe)
            raise
        if address != symbol.address:
            probe.kp.warnings.append(outside)
        return probe

    def register_jprobe(self, probe: Jprobe) -> Jprobe:
        """Put `probe` on a function. Raises ProbeError with the kernel's errno and why."""
        if not self.era.hits.jprobes:
            raise ProbeError(
                errno.ENOSYS,
                f"{self.era.name} has no jprobes (Linux dropped them in v4.15): use era v4.8, or a kprobe, whose "
                "pre-handler finds the arguments in regs",
            )
        self._refuse_unfit(probe, Jprobe)
        address, symbol = self._addresses.resolve(probe.kp)
        self._jprobes.prepare(probe)
        probe.kp.addr = address
        self._add(probe.kp, address, symbol)
        if address != symbol.address:  # register_jprobes() looks at where `entry` is, not at where the probe is
            probe.warnings.append(f"{probe.name} is not the entry of a function, where its arguments are")
        return probe

    def register_kprobes(self, probes: Sequence[Kprobe]) -> None:
        """Register all of them or, when one is refused, none. Raises ProbeError, for no probes at all too (EINVAL)."""
        self._register_all(probes, self.register_kprobe)

    def register_kretprobes(self, probes: Sequence[Kretprobe]) -> None:
        """As `register_kprobes`."""
        self._register_all(probes, self.register_kretprobe)

    def reset_current_kprobe(self) -> None:
        """Forget the hit that is being handled: what a pre-handler that returns non-zero has to do itself in v4.8."""
        self._engine.over()

    def unregister(self, probe: Probe) -> None:
        """Take `probe` out of the guest. Its `addr` is kept and it is marked disabled, as the kernel leaves it.

        Calls that a kretprobe waits for return to where they came from. Raises ProbeError (EINVAL) for a probe that
        is not registered.
        """
        self.unregister_kprobes([probe])

    def unregister_kprobes(self, probes: Iterable[Probe]) -> None:
        """Unregister each of them, kprobes or kretprobes; none, if there is one that is not registered. Raises so."""
        registered = [(probe, self._registered(probe)) for probe in dict.fromkeys(probes)]
        self._departures.look(kprobe.site for _, kprobe in registered)
        for probe, kprobe in registered:
            site = cast(Site, kprobe.site)
            site.probes.remove(kprobe)
            kprobe.site = None
            kprobe.disabled = True
            if isinstance(probe, Kretprobe):
                self._returns.forget(probe)
            if self._sites.get(site.addr) is site:
                try:
                    self._update(site)
                except ProbeError as error:  # the guest's memory may be in ruins, which keeps no probe from going
                    self._disarm(site)
                    site.lost(error)
                if not site.probes:
                    del self._sites[site.addr]
                    self._retired.append(site)
            elif not site.probes:
                self._departures.gone.remove(site)
        self._reap()
        self._guest.watch()
        if not self._sites:
            self._departures.unwatch()

    def enable(self, probe: Probe) -> None:
        """Arm a disabled probe. Raises ProbeError (EINVAL) for one that is not registered, or whose text is gone."""
        kprobe = self._registered(probe)
        self._departures.look([kprobe.site])
        if kprobe.gone:
            reason = f"{probe.name} is gone, as the guest has freed the code it was on: unregister it"
            raise ProbeError(errno.EINVAL, reason)
        kprobe.disabled = False
        self._update(cast(Site, kprobe.site))

    def disable(self, probe: Probe) -> None:
        """Disarm a probe; the text is restored when no enabled one is left there.

        Raises ProbeError (EINVAL) for one that is not registered.
        """
        kprobe = self._registered(probe)
        self._departures.look([kprobe.site])
        kprobe.disabled = True
        if not kprobe.gone:
            self._update(cast(Site, kprobe.site))

    def list(self) -> list[Probe]:
        """The registered probes in order of address; at one address, newest first. `flags` of each is up to date."""
        self._departures.look(self._sites.values())
        sites = sorted([*self._sites.values(), *self._departures.gone], key=lambda site: site.addr)
        return [probe.owner for site in sites for probe in site.probes]

    def functions(self, pattern: str = "*") -> Sequence[Symbol]:
        """The guest's functions whose names match a pattern such as "vfs_*"; see `functions_matching`."""
        return functions_matching(self.machine.symbols, pattern)

    def check(self, place: str | int, era: str | Era | None = None) -> Decoded:
        """How the instruction at `place` would be executed, if it had a probe: "kfree", "kfree+0x10" or an address.

        Nothing is registered, and `era` may be another than the registry's: what would that kernel say, if the guest's
        code were its own? Raises ProbeError as `register_kprobe` would.
        """
        wanted = self.era if era is None else find_era(era)
        if wanted.name not in self._checkers:
            self._checkers[wanted.name] = Addresses(self.machine, self._text, self._tables, wanted)
        addresses = self._checkers[wanted.name]
        address, symbol = addresses.resolve(Kprobe(place) if isinstance(place, str) else Kprobe(addr=place))
        return self._judge(addresses, address, symbol)[-1]

    @property
    def blacklist(self) -> Sequence[Area]:
        """What must not be probed, in order of address."""
        return self._addresses.blacklist.areas()

    @property
    def outstanding(self) -> Sequence[KretprobeInstance]:
        """The calls that kretprobes wait for."""
        return self._returns.instances.outstanding()

    def read_text(self, address: int, size: int) -> bytes:
        """The guest's code at virtual `address`, without our breakpoints, and also before the guest has mapped it.

        Raises MachineError where there is none.
        """
        return self._text.unpatched(address, self._text.read(address, size))

    def unpatched(self, address: int, data: bytes) -> bytes:
        """`data`, read from virtual `address`, with the instructions that our breakpoints stand on put back."""
        return self._text.unpatched(address, data)

    def backtrace(self, hit: Hit | None = None) -> Backtrace:
        """Who called the code that the guest is stopped in, or that `hit` was in.

        Of a hit it can be told as long as the callers have not gone on: where the guest is stopped for it, and until a
        call that a kretprobe waits for has returned. Raises ProbeError (ESTALE) after that.
        """
        return self.unwind.backtrace(hit)

    # Inside

    def _refuse_saving(self) -> None:
        """A file is resumed where nobody handles our breakpoints. Raises MachineError while the guest has any."""
        if self._sites:
            raise MachineError("the guest has probes in it, which a file cannot keep: unregister all, then save")
        if self.outstanding:
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
        """Raise ProbeError (EINVAL) for what is no such probe, and for one that is registered."""
        if not isinstance(probe, kind):
            raise ProbeError(errno.EINVAL, f"{probe!r} is no {kind.__name__}: make one of that class")
        kprobe = probe if isinstance(probe, Kprobe) else probe.kp
        if kprobe.owner is not probe:
            raise ProbeError(errno.EINVAL, f"{kprobe.name} is a part of a {kprobe.owner.kind}: register that")
        if kprobe.site is not None:
            raise ProbeError(errno.EINVAL, f"{probe.name} is registered already: make another probe for the same place")

    def _registered(self, probe: Probe) -> Kprobe:
        if not isinstance(probe, Probe):
            raise ProbeError(errno.EINVAL, f"{probe!r} is no probe: give what was registered")
        kprobe = probe if isinstance(probe, Kprobe) else probe.kp
        site = kprobe.site
        known = site is not None and (self._sites.get(site.addr) is site or site in self._departures.gone)
        if kprobe.owner is not probe or not known:
            raise ProbeError(errno.EINVAL, f"{probe.name} is not registered here: nothing was done")
        return kprobe

    def _add(self, probe: Kprobe, address: int, symbol: Symbol) -> None:
        probe.flags &= DISABLED
        site = self._sites.get(address)
        if site is None:
            site = Site(address, *self._judge(self._addresses, address, symbol), self._stepping)
        site.add(probe)
        site.refresh()
        try:
            self._install_code(site)
            self._choose_stepping(site)
            if site.active and not site.armed:
                self._arm(site)
        except ProbeError:
            site.probes.remove(probe)
            site.refresh()
            raise
        self._sites[address] = site
        self._guest.watch()
        self._departures.watch(address)
        probe.site = site
        probe.nmissed = probe.hits = probe.owner.hits = probe.met = probe.owner.met = 0
        ambiguity = self.machine.symbols.ambiguity(probe.symbol_name or "")
        probe.warnings = [warning for warning in (site.decoded.warning, ambiguity) if warning]
        if probe.disabled:
            probe.warnings.append(
                f"{probe.name} is disabled, as unregistering leaves a probe, and therefore not armed: enable it"
            )
        elif not site.armed and self.machine.kind == "linux":
            probe.warnings.append(
                f"{probe.name} waits until Linux has its final page tables: what it executes there before is not seen"
            )

    def _judge(self, addresses: Addresses, address: int, symbol: Symbol) -> tuple[int, int, Decoded]:
        """What the text has at `address`, the instruction proper, and the verdict on it. Raises ProbeError."""
        word = addresses.instruction(address)
        addresses.check(address, symbol)
        original = self._guest.original(address, word)
        return word, original, _UNKNOWN if original == KPROBES_BRK_WORD else addresses.accept(address, symbol, original)

    def _choose_stepping(self, site: Site) -> None:
        """Step by a branch where that was asked for and nobody needs to know when the instruction is done."""
        if self._branches is None or self._engine.steps(site):
            return
        followed = any(probe.post_handler is not None or Stage.POST in probe.stop for probe in site.active)
        wanted = self._stepping if followed else self._branches
        if wanted is not site.stepping:
            if site.slot:
                self._slots.give_back(site)
            site.stepping = wanted
            if site.armed and site.steps_in_slot:
                self._slots.take(site)

    def _install_code(self, site: Site) -> None:
        """What kretprobes and jprobes need in guest memory, as soon as the guest has mapped the site."""
        owners = {type(probe.owner) for probe in site.probes} - {Kprobe}
        if owners and self._text.mapped(site.addr):
            try:
                if Kretprobe in owners:
                    self._returns.install()
                if Jprobe in owners:
                    self._jprobes.install()
            except MachineError as error:
                raise ProbeError(errno.ENOMEM, f"there is no room for what the probe calls: {error}") from None

    def _update(self, site: Site) -> None:
        site.refresh()
        self._choose_stepping(site)
        if site.active and not site.armed:
            try:
                self._guest.arm(site)
            except MachineError as error:
                raise ProbeError(errno.EINVAL, f"the instruction at {site.addr:#x} cannot be read: {error}") from None
        elif not site.active:
            self._disarm(site)

    def _arm(self, site: Site) -> None:
        """Put the breakpoint into the text; as long as the guest has not mapped it, wait until execution gets there."""
        address = site.addr
        if not self._text.mapped(address):
            if address not in self._waiting:
                self._waiting[address] = lambda machine: self._arrived(site)
                self.machine.intercept(address, self._waiting[address])
            return
        if site.steps_in_slot and not site.slot:
            self._slots.take(site)
        self.machine.memory.write(address, KPROBES_BRK)
        self._words[address] = site.original
        site.armed = True
        self._returns.guest_trampoline.settle(site)

    def _arrived(self, site: Site) -> None:
        if self._text.mapped(site.addr):
            self._stop_waiting(site)
            self._install_code(site)
            self._arm(site)

    def _stop_waiting(self, site: Site) -> None:
        arrived = self._waiting.pop(site.addr, None)
        if arrived is not None:
            self.machine.unintercept(site.addr, arrived)

    def _text_gone(self, site: Site) -> None:
        """The text of `site` is no more, or about to be; it is in the table no longer (kill_kprobe)."""
        self._stop_waiting(site)
        site.armed = False
        self._retired.append(site)
        self._reap()

    def _disarm(self, site: Site) -> None:
        self._stop_waiting(site)
        if site.armed:
            site.armed = False
            self._returns.guest_trampoline.settle(site)
            with contextlib.suppress(MachineError):  # the guest may have patched or freed its text, or unmapped it
                if self.machine.memory.read_u32(site.addr) == KPROBES_BRK_WORD:
                    self.machine.memory.write(site.addr, site.word.to_bytes(4, "little"))

    def _restored(self) -> None:
        """The machine was put into another state: give its memory the breakpoints that there are now, and no others."""
        self._retired.clear()
        for site in self._sites.values():
            site.armed, site.slot = False, 0
        self._returns.restore()
        self._slots.restore({**self._sites, **self._engine.internal}, self._engine.restored_slots())
        self._engine.restore(self._site_of_hit)
        self._recorder.forget_after(self.machine.instructions)
        for address, original in self._words.items():
            with contextlib.suppress(MachineError):
                if self.machine.memory.read_u32(address) == KPROBES_BRK_WORD and self._guest.find(address) is None:
                    self.machine.memory.write(address, original.to_bytes(4, "little"))
        self._departures.revive()
        for site in self._sites.values():
            self._stop_waiting(site)
            self._install_code(site)
            if site.active:
                self._guest.rearm(site)
        self._guest.restore()

    def _site_of_hit(self, address: int, slot: int) -> Site:
        """The site of a hit that is being handled, in a state that the machine was put into: it may be registered."""
        site = self._sites.get(address) or self._engine.internal.get(address)
        if site is None or site.slot != slot:
            word = self._words[address]
            site = Site(address, word, word, decode(word, self.era), self._stepping)
            site.slot = slot
            self._retired.append(site)
        return site

    def _reap(self) -> None:
        """Give back the slots of removed probes, once nothing is executed there."""
        if self._retired:
            busy = self._engine.busy
            for site in [site for site in self._retired if site not in busy]:
                self._retired.remove(site)
                if site.slot:
                    self._slots.give_back(site)


def _one_of(what: str, name: str, names: Sequence[str]) -> str:
    if name not in names:
        raise ProbeError(errno.EINVAL, f"there is no {what} '{name}': choose one of {', '.join(names)}")
    return name
