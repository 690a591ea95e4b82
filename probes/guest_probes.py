# SPDX-License-Identifier: GPL-2.0-or-later
"""Getting along with the kprobes that a Linux guest has of its own, on the same instructions.

The word under our breakpoint is what the guest believes to be in its text. While the guest's own code reads or
patches that text our breakpoint is lifted, and put back over whatever is there then. Where that is the guest's own
BRK #4 the guest executes the instruction: our hit passes the exception on to it, and our post-handlers run when its
slot ends.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from armprobe.kernel.btf import Btf
from armprobe.kernel.code_references import addresses_formed
from armprobe.kernel.text import Text
from armprobe.machine import Machine, MachineError
from armprobe.machine.core.context import Context
from armprobe.machine.core.core import Core
from armprobe.machine.core.exceptions import IL, Class

from .decode import decode
from .engine import Engine
from .eras import Era
from .eras.decoder_rows import Verdict
from .eras.hit_rules import Status
from .errors import ProbeError
from .simulate import SIMULATORS
from .site import Site
from .slots import Slots
from .stepping import KPROBES_BRK_IMM, KPROBES_BRK_SS_IMM, KPROBES_BRK_WORD

_BUCKETS: Final = 64  # of kprobe_table, 1 << KPROBE_HASH_BITS
_CHAIN_LIMIT: Final = 10_000
_ADDR: Final = 0x28  # bytes to struct kprobe's addr: behind the hash chain, a list and nmissed in every version
_MOV_X9_X30: Final = 0xAA1E03E9
_SCAN: Final = 128  # bytes before a probe that arch_prepare_kprobe reads, looking for exclusives


class GuestKprobe(NamedTuple):
    """A kprobe of the guest's: the instruction it stands on, and its slot (0 if the guest simulates it)."""

    opcode: int
    slot: int


# The functions that read or patch text, and whether x0 is the address or points to a struct kprobe that has it.
_TEXT_FUNCTIONS: Final = {
    "arch_prepare_kprobe": True,
    "aarch64_insn_patch_text_nosync": False,
    "aarch64_insn_write": False,
    "__aarch64_insn_write": False,
    "aarch64_insn_read": False,
}


def _leaves_x30_alone(word: int) -> bool:
    """Whether an instruction has x30 in none of its register fields, or is the `mov x9, x30` that ftrace puts there."""
    return word == _MOV_X9_X30 or all(word >> shift & 31 != 30 for shift in (0, 5, 10, 16))


class GuestProbes:
    """The breakpoints that one machine's guest puts into its own text."""

    def __init__(
        self,
        machine: Machine,
        sites: Mapping[int, Site],
        engine: Engine,
        arm: Callable[[Site], None],
        disarm: Callable[[Site], None],
        slots: Slots,
        era: Era,
        text: Text,
    ) -> None:
        self._machine = machine
        self._sites = sites
        self._engine = engine
        self._arm, self._disarm = arm, disarm
        self._slots = slots
        self._era = era
        self._text = text
        self._context = machine.core.context
        self._lifted: set[Site] = set()
        self._lifts: list[Callable[[], None]] = []  # what puts back the breakpoints of each, before its time too
        self._watching: list[tuple[int, Callable[[Machine], None]]] = []
        # By the address of the BRK #6: the site, its DAIF, and what takes x30 for our kretprobes.
        self._awaited: dict[int, tuple[Site, int, Callable[[bool], None] | None]] = {}
        self._members: tuple[int, int] | None = None  # bytes to a struct kprobe's opcode and slot, once asked for
        engine.guest_steps = self._steps
        engine.guest_stepped = self._stepped
        machine.calls.on_begin.append(self._call_begins)

    def _call_begins(self, _: Core) -> Callable[[], None]:
        """A guest function is called: what puts back the breakpoints that it lifts, should it not return."""
        lifts, awaited = list(self._lifts), dict(self._awaited)

        def abandon() -> None:
            self._awaited = awaited
            for put_back in [lift for lift in self._lifts if lift not in lifts]:
                put_back()

        return abandon

    def find(self, address: int) -> GuestKprobe | None:
        """The guest's kprobe at `address`, from its kprobe_table.

        None if it has none there, or has no such table, or no type information that says what is in it.
        """
        memory = self._machine.memory
        try:
            lookup = self._machine.symbols.get("get_kprobe")
            tables = [] if lookup is None else addresses_formed(self._text.read_u32, lookup)
            if len(tables) != 1:
                return None
            opcode, slot = self._offsets()
            for (node,) in struct.iter_unpack("<Q", memory.read(tables[0], 8 * _BUCKETS)):
                for _ in range(_CHAIN_LIMIT):
                    if not node:
                        break
                    if memory.read_u64(node + _ADDR) == address:
                        return GuestKprobe(memory.read_u32(node + opcode), memory.read_u64(node + slot))
                    node = memory.read_u64(node)
        except MachineError:
            return None
        return None

    def _offsets(self) -> tuple[int, int]:
        """Raises MachineError if the guest has no type information (BTF)."""
        if self._members is None:
            types = Btf.of(self._machine)
            try:
                slot = types.offset("arch_specific_insn", "xol_insn")
            except MachineError:
                slot = types.offset("arch_probe_insn", "insn")  # of ainsn.api, which comes first: up to v6.12
            self._members = types.offset("kprobe", "opcode"), types.offset("kprobe", "ainsn") + slot
        return self._members

    def original(self, address: int, word: int) -> int:
        """The instruction at `address`, where the text has `word`, which may be a breakpoint of the guest's."""
        guest = self.find(address) if word == KPROBES_BRK_WORD else None
        return word if guest is None else guest.opcode

    # Lifting our breakpoints

    def watch(self) -> None:
        """Look out for the guest patching its text, as long as there are probes."""
        if self._sites and not self._watching:
            for name, indirect in _TEXT_FUNCTIONS.items():
                symbol = self._machine.symbols.get(name) if self._machine.kind == "linux" else None
                if symbol is not None:
                    self._intercept(symbol.address, self._entered(indirect))
        elif not self._sites:
            for address, function in self._watching:
                self._machine.unintercept(address, function)
            self._watching.clear()
            self._lifts.clear()

    def restore(self) -> None:
        """The machine's memory is another."""
        self._lifted.clear()
        self._lifts.clear()
        self._awaited.clear()
        for address, function in self._watching:
            self._machine.unintercept(address, function)
        self._watching.clear()
        self.watch()

    def _intercept(self, address: int, function: Callable[[Machine], None]) -> None:
        self._watching.append((address, function))
        self._machine.intercept(address, function)

    def _entered(self, indirect: bool) -> Callable[[Machine], None]:
        def entered(machine: Machine) -> None:
            context = machine.core.load()
            address = context.x[0]
            first = address
            try:
                if indirect:
                    address = machine.memory.read_u64(address + _ADDR)
                    first = address - _SCAN
            except MachineError:
                return  # the guest is about to find out itself
            lifted = [
                s for s in self._sites.values() if first <= s.addr <= address and s.armed and s not in self._lifted
            ]
            if lifted:
                self._lift(lifted, context.x[30], context.sp)

        return entered

    def _lift(self, sites: list[Site], return_address: int, sp: int) -> None:
        for site in sites:
            self._lifted.add(site)
            self._machine.memory.write(site.addr, site.word.to_bytes(4, "little"))

        def returned(machine: Machine) -> None:
            if machine.core.load().sp == sp:
                put_back()

        def put_back() -> None:
            self._lifts.remove(put_back)
            self._watching.remove((return_address, returned))
            self._machine.unintercept(return_address, returned)
            for site in sites:
                self._lifted.discard(site)
                self._settle(site)

        self._lifts.append(put_back)
        self._intercept(return_address, returned)

    def _settle(self, site: Site) -> None:
        """Put our breakpoint back where it was lifted."""
        if site.armed and self._sites.get(site.addr) is site:
            self.rearm(site)

    def rearm(self, site: Site) -> None:
        """Put our breakpoint back over whatever the guest has made of the instruction."""
        try:
            self.arm(site)
        except (MachineError, ProbeError) as error:
            site.lost(error)

    def arm(self, site: Site) -> None:
        """Put our breakpoint over whatever is there: the guest may have patched its text since we last looked.

        Raises ProbeError or MachineError when what is there now cannot be probed.
        """
        self._change(site, int.from_bytes(self._text.read(site.addr, 4), "little"))
        if site.decoded.verdict is Verdict.REJECTED:
            raise ProbeError(errno.EINVAL, f"the guest put {site.word:#010x} there: {site.decoded.reason}")
        self._arm(site)

    def _change(self, site: Site, word: int) -> None:
        if word == site.word:
            return
        original = site.original if word == KPROBES_BRK_WORD else word
        if site.slot:
            self._slots.give_back(site)
        site.change(word, original, decode(original, self._era))

    # Hits that the guest shares

    def _steps(self, context: Context, site: Site) -> None:
        """Our pre-handlers are done: give the guest its breakpoint."""
        engine = self._engine
        if engine.status is Status.REENTER:
            engine.pop()
            self._deliver(KPROBES_BRK_IMM)
            return
        engine.over()
        simulator = SIMULATORS.get(site.decoded.simulator)
        if simulator is None:
            guest = self.find(site.addr)
            if guest is not None and guest.slot:
                # A kretprobe of the guest's is to find the caller in x30, not our trampoline: ours then takes x30 after
                # the instruction, unless that uses it.
                take = engine.return_address_shown() if _leaves_x30_alone(site.original) else None
                self._awaited[guest.slot + 4] = site, context.daif, take
            self._deliver(KPROBES_BRK_IMM)
            return
        # The guest simulates it, and nothing tells when: show our post-handlers what it will do, and undo it.
        before = context.save()
        try:
            simulator(site.original, site.addr, engine.regs, self._machine.memory.read)
        except MachineError:
            self._deliver(KPROBES_BRK_IMM)
            return

        def then(context: Context) -> None:
            context.restore(before)
            self._deliver(KPROBES_BRK_IMM)

        engine.post(site, then)

    def _stepped(self, context: Context) -> bool:
        """The guest's BRK #6: if it ends a hit that is also ours, run our post-handlers first."""
        awaited = self._awaited.pop(context.pc, None)
        if awaited is None:
            return False
        site, daif, take = awaited
        if take is not None:
            take(True)
        end, masked = context.pc, context.daif
        context.pc, context.daif = site.addr + 4, daif

        def then(context: Context) -> None:
            context.pc, context.daif = end, masked
            self._deliver(KPROBES_BRK_SS_IMM)

        self._engine.post(site, then)
        return True

    def _deliver(self, immediate: int) -> None:
        self._machine.core.dispatcher.deliver(Class.BRK << 26 | IL | immediate)
