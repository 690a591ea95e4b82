# SPDX-License-Identifier: GPL-2.0-or-later
"""Puts breakpoints into the guest's text and removes them (arm_kprobe, disarm_kprobe in kernel/kprobes.c).

A site that the guest has not mapped yet waits until execution gets there. The slot of a site without probes is given
back once no instruction is being executed in it.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable, Mapping

from armprobe.kernel.text import Text
from armprobe.machine import Machine, MachineError
from armprobe.machine.state import Entry, Order

from .decoder import decode
from .engine import Engine
from .eras import Era
from .eras.decoder_rows import Verdict
from .errors import ProbeError
from .guest_kprobes import GuestKprobes
from .jprobe import Jprobe
from .jprobe_engine import JprobeEngine
from .kprobe import Kprobe
from .kretprobe import Kretprobe
from .kretprobe_engine import KretprobeEngine
from .optimizer import Optimizer
from .record import Stage
from .site import Site
from .slots import Slots
from .stepping import KPROBES_BRK, KPROBES_BRK_WORD, BranchStepping, Stepping


class Arming:
    """Arms the sites of one machine. `sites` is the table of sites with probes, which the registry fills.

    `stepping` executes the instructions whose end must be noticed. The others end in a branch if `branches` is given.
    """

    def __init__(
        self,
        machine: Machine,
        era: Era,
        sites: dict[int, Site],
        text: Text,
        slots: Slots,
        stepping: Stepping,
        branches: BranchStepping | None,
        engine: Engine,
        kretprobes: KretprobeEngine,
        jprobes: JprobeEngine,
        guest: GuestKprobes,
        optimizer: Optimizer,
    ) -> None:
        self._machine = machine
        self._era = era
        self._sites = sites
        self._text = text
        self._slots = slots
        self._stepping, self._branches = stepping, branches
        self._engine = engine
        self._kretprobes, self._jprobes = kretprobes, jprobes
        self._guest = guest
        self._optimizer = optimizer
        self._retired: list[Site] = []
        self._waiting: dict[int, Callable[[Machine], None]] = {}
        self.changes = 0  # how often there was a breakpoint more in the text, or one less
        self._originals: dict[int, int] = {}  # the instruction at each address that ever had a breakpoint
        # In another state the guest may not have patched these yet, or patched them since.
        machine.state.add("breakpoints", Entry(Order.PROBES, lambda: dict(self._originals), self._restore))

    def add(self, site: Site) -> None:
        """A probe has been added to `site`: arm it, unless it is armed. Raises ProbeError if it cannot be."""
        self._install_code(site)
        self._choose_stepping(site)
        if site.active and not site.armed:
            self.arm(site)
        self._optimizer.review(site)

    def update(self, site: Site) -> None:
        """The probes of `site` have changed: arm or disarm it accordingly. Raises ProbeError if it cannot be armed."""
        site.refresh()
        self._choose_stepping(site)
        if site.active and not site.armed:
            self._install_code(site)  # which may have been put off, as the guest had not mapped the site yet
            try:
                self.arm(site)
            except MachineError as error:
                raise ProbeError(errno.EINVAL, f"the instruction at {site.addr:#x} cannot be read: {error}") from None
        elif not site.active:
            self.disarm(site)
        self._optimizer.review(site)

    def arm(self, site: Site) -> None:
        """Put our breakpoint over the current word in the text: the guest may have patched it since we last looked.

        If the guest has not mapped it yet, wait until execution gets there. Raises ProbeError or MachineError if the
        current instruction cannot be probed.
        """
        if not self._text.mapped(site.addr):
            self._wait(site)
            return
        self._change(site, int.from_bytes(self._text.read(site.addr, 4), "little"))
        if site.decoded.verdict is Verdict.REJECTED:
            raise ProbeError(errno.EINVAL, f"the guest put {site.word:#010x} there: {site.decoded.reason}")
        self._arm(site)

    def rearm(self, site: Site) -> None:
        """Put our breakpoint back over the guest's current instruction. If that fails, tell the probes' users."""
        try:
            self.arm(site)
        except (MachineError, ProbeError) as error:
            site.lost(error)

    def disarm(self, site: Site) -> None:
        """Take the breakpoint of `site` out of the text."""
        self._stop_waiting(site)
        if site.armed:
            site.armed = False
            self.changes += 1
            self._optimizer.stop(site)
            self._kretprobes.guest_trampoline.sync(site)
            with contextlib.suppress(MachineError):  # the guest may have patched, freed or unmapped its text
                if self._machine.memory.u32(site.addr) == KPROBES_BRK_WORD:
                    self._machine.memory.put(site.addr, site.word.to_bytes(4, "little"))

    def lift(self, site: Site) -> bool:
        """Take the breakpoint out of the text, although the site stays armed: something else notices hits now.

        False if the guest has put something else there.
        """
        try:
            if self._machine.memory.u32(site.addr) != KPROBES_BRK_WORD:
                return False
        except MachineError:
            return False
        self._machine.memory.put(site.addr, site.word.to_bytes(4, "little"))
        self.changes += 1
        return True

    def text_gone(self, site: Site) -> None:
        """The guest has freed the text of `site`, or is about to. The table no longer has the site (kill_kprobe)."""
        self._stop_waiting(site)
        site.armed = False
        self.changes += 1
        self._optimizer.stop(site)
        self.retire(site)
        self.hit_over()

    def retire(self, site: Site) -> None:
        """`site` has no probes any more. Its slot can be given back when nothing is executed there."""
        self._retired.append(site)

    @property
    def awaits_end(self) -> bool:
        """Whether there is something to do when a hit is over."""
        return self._optimizer.busy or bool(self._retired)

    def hit_over(self) -> None:
        """Give back the slots of retired sites, once nothing is executed there."""
        if self._optimizer.busy:
            self._optimizer.hit_over()
        if self._retired:
            busy = self._engine.busy
            for site in [site for site in self._retired if site not in busy]:
                self._retired.remove(site)
                if site.slot:
                    self._slots.give_back(site)

    def _restore(self, originals: Mapping[int, int]) -> None:
        self._originals = dict(originals)

    def begin_restore(self) -> None:
        """The machine was put into another state, whose armed sites and slots are not known yet."""
        self._retired.clear()
        self._optimizer.forget()
        for site in self._sites.values():
            site.armed, site.slot = False, 0

    def remove_others(self) -> None:
        """Remove from the restored memory the breakpoints of probes that may no longer be registered."""
        for address, original in self._originals.items():
            with contextlib.suppress(MachineError):
                if self._machine.memory.u32(address) == KPROBES_BRK_WORD and self._guest.find(address) is None:
                    self._machine.memory.put(address, original.to_bytes(4, "little"))

    def rearm_all(self) -> None:
        """Put the current breakpoints into the restored memory."""
        for site in self._sites.values():
            self._stop_waiting(site)
            self._install_code(site)
            if site.active:
                self.rearm(site)

    def site_of_hit(self, address: int, slot: int) -> Site:
        """The site of a hit in progress, in a state that the machine was put into.

        It is a registered site, or a new one for this hit only.
        """
        site = self._sites.get(address) or self._engine.internal.get(address)
        if site is None or site.slot != slot:
            word = self._originals[address]
            site = Site(address, word, word, decode(word, self._era), self._stepping)
            site.slot = slot
            self.retire(site)
        return site

    def _change(self, site: Site, word: int) -> None:
        if word == site.word:
            return
        original = site.original if word == KPROBES_BRK_WORD else word
        if site.slot:
            self._slots.give_back(site)
        site.change(word, original, decode(original, self._era))

    def _install_code(self, site: Site) -> None:
        """Put the code of kretprobes and jprobes into guest memory, once the guest has mapped the site."""
        owners = {type(probe.owner) for probe in site.probes} - {Kprobe}
        if owners and self._text.mapped(site.addr):
            try:
                if Kretprobe in owners:
                    self._kretprobes.install()
                if Jprobe in owners:
                    self._jprobes.install()
            except MachineError as error:
                raise ProbeError(errno.ENOMEM, f"there is no room for what the probe calls: {error}") from None

    def _choose_stepping(self, site: Site) -> None:
        """Step by a branch if that was asked for and nothing has to notice the end of the instruction."""
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

    def _arm(self, site: Site) -> None:
        address = site.addr
        if site.steps_in_slot and not site.slot:
            self._slots.take(site)
        if not site.hooked:
            self._machine.memory.put(address, KPROBES_BRK)
            self.changes += 1
            self._optimizer.hide(address)
        self._originals[address] = site.original
        site.armed = True
        self._kretprobes.guest_trampoline.sync(site)
        self._optimizer.review(site)

    def _wait(self, site: Site) -> None:
        if site.addr not in self._waiting:
            self._waiting[site.addr] = lambda machine: self._arrived(site)
            self._machine.intercept(site.addr, self._waiting[site.addr])

    def _arrived(self, site: Site) -> None:
        if self._text.mapped(site.addr):
            self._stop_waiting(site)
            self._install_code(site)
            self.rearm(site)

    def _stop_waiting(self, site: Site) -> None:
        arrived = self._waiting.pop(site.addr, None)
        if arrived is not None:
            self._machine.unintercept(site.addr, arrived)
