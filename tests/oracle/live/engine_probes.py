# SPDX-License-Identifier: GPL-2.0-or-later
"""Our own probes, on the same functions."""

from __future__ import annotations

from armprobe.probes import Era, Kprobe, Kprobes, Kretprobe, KretprobeInstance, ProbeError, PtRegs
from tests.oracle.live.guests import USER, Death, OracleGuest
from tests.oracle.live.journal import FLAGS, REGISTERS, Event
from tests.oracle.live.subjects import NOBODY, Action, Definition, Subject, without

_U64 = (1 << 64) - 1


class EngineProbes(Subject):
    """Ours."""

    def __init__(self, oracle: OracleGuest, era: Era) -> None:
        super().__init__(oracle.guest)
        self._oracle = oracle
        self.kprobes = Kprobes(self.guest, era)
        self._events: list[Event] = []
        self._probes: list[Kprobe | Kretprobe] = []

    def clear(self) -> None:
        super().clear()
        self._events.clear()
        self._probes.clear()
        self._oracle.clear()

    def nothing(self) -> int:
        return self._oracle.nothing()

    def die(self, function: str, *arguments: int) -> Death:
        return self._oracle.die(self.address(function), *arguments)

    def _define(self, number: int, definition: Definition) -> None:
        d = definition
        place = d.symbol, d.addr, d.offset
        probe: Kprobe | Kretprobe
        if d.returns:
            handler = self._return_handler(number, d.after) if d.after else None
            entry = self._entry_handler(number, d.before) if d.before else None
            probe = Kretprobe(*place, handler, entry, d.maxactive, d.data_size)
        else:
            pre = self._pre_handler(number, d.before) if d.before else None
            post = self._post_handler(number, d.after) if d.after else None
            probe = Kprobe(*place, pre, post)
        _kprobe(probe).flags = d.flags
        self._probes.append(probe)

    def _pre_handler(self, number: int, action: Action):  # type: ignore[no-untyped-def]
        return lambda probe, regs: self._act(self._hit("pre", number, regs), action, regs)

    def _post_handler(self, number: int, action: Action):  # type: ignore[no-untyped-def]
        return lambda probe, regs, flags: self._act(self._hit("post", number, regs, flags=flags), action, regs)

    def _entry_handler(self, number: int, action: Action):  # type: ignore[no-untyped-def]
        def handler(instance: KretprobeInstance, regs: PtRegs) -> int:
            if len(instance.data) >= 8:
                instance.data[:8] = (~regs.regs[0] & _U64).to_bytes(8, "little")
            return self._act(self._hit("entry", number, regs), action, regs)

        return handler

    def _return_handler(self, number: int, action: Action):  # type: ignore[no-untyped-def]
        def handler(instance: KretprobeInstance, regs: PtRegs) -> int:
            data = int.from_bytes(instance.data[:8], "little")
            event = self._hit("return", number, regs, ret_addr=instance.ret_addr, fp=instance.fp, data=data)
            return self._act(event, action, regs)

        return handler

    def _hit(self, what: str, number: int, regs: PtRegs, **more: int) -> Event:
        words = *regs.regs, regs.sp, regs.pc, regs.pstate
        event: Event = {"what": what, "probe": number, **dict(zip(REGISTERS, words, strict=True))}
        daif = self.guest.call("oracle_daif")
        event |= {"daif": daif, "daif_after": daif, "mdscr": self.guest.registers["mdscr_el1"], "nested": 0}
        event |= {**self._missed(number), **more}
        self._events.append(event)
        return event

    def _missed(self, number: int) -> Event:
        probe = self._probes[number]
        if isinstance(probe, Kretprobe):
            return {"nmissed": probe.kp.nmissed, "missed_returns": probe.nmissed}
        return {"nmissed": probe.nmissed, "missed_returns": 0}

    def _act(self, event: Event, action: Action, regs: PtRegs) -> int:
        if action.call:
            event["nested"] = self.guest.call(self.address(action.call), action.argument)
            event["daif_after"] = self.guest.call("oracle_daif")
        if action.set.startswith("x"):
            regs.regs[int(action.set[1:])] = action.value
        elif action.set:
            setattr(regs, action.set, action.value)
        return action.result

    def register(self, number: int) -> None:
        probe = self._probes[number]
        try:
            if isinstance(probe, Kretprobe):
                self.kprobes.register_kretprobe(probe)
            else:
                self.kprobes.register_kprobe(probe)
        except ProbeError as error:
            self._changed("register", number, -error.errno)
        else:
            self._changed("register", number, 0)

    def unregister(self, number: int) -> None:
        self.kprobes.unregister(self._probes[number])
        self._changed("unregister", number, 0)

    def enable(self, number: int) -> None:
        self._switch("enable", number)

    def disable(self, number: int) -> None:
        self._switch("disable", number)

    def _switch(self, what: str, number: int) -> None:
        try:
            getattr(self.kprobes, what)(self._probes[number])
        except ProbeError as error:
            self._changed(what, number, -error.errno)
        else:
            self._changed(what, number, 0)

    def _changed(self, what: str, number: int, result: int) -> None:
        probe = self._probes[number]
        kprobe = _kprobe(probe)
        event: Event = {"what": what, "probe": number, "result": result, **self._missed(number)}
        event |= {"addr": kprobe.addr or 0, "flags": kprobe.flags & FLAGS}
        event["maxactive"] = probe.maxactive if isinstance(probe, Kretprobe) else 0
        site = kprobe.site if what == "register" and not result else None
        event["opcode"] = site.original if site else 0
        event["slot"] = site.slot if site else 0
        event["instructions"] = self.guest.memory.u64(site.slot) if site and site.slot else 0
        self._events.append(event)

    def change(self, number: int, *, addr: int | None = None, flags: int | None = None) -> None:
        kprobe = _kprobe(self._probes[number])
        if addr is not None:
            kprobe.addr = addr or None
        if flags is not None:
            kprobe.flags = flags

    def register_no_kprobes(self, count: int) -> None:
        try:
            self.kprobes.register_kprobes([])  # the length of a list cannot be less than 0
        except ProbeError as error:
            self._events.append({"what": "register_many", "probe": NOBODY, "result": -error.errno})

    def call(self, function: str, *arguments: int) -> None:
        self._events += self._oracle.tell("call", self.address(function), *arguments)

    def call_with_user_memory(self, function: str) -> None:
        self._events += self._oracle.tell(USER, self.address(function))

    def nmissed(self, number: int) -> int:
        return int(self._missed(number)["nmissed"])

    def peek(self, address: int) -> None:
        self._events += self._oracle.tell("peek", address)

    def sweep(self, addresses: range) -> list[int]:
        results = []
        for address in addresses:
            probe = Kprobe(addr=address, disabled=True)
            try:
                self.kprobes.register_kprobe(probe)
            except ProbeError as error:
                results.append(-error.errno)
            else:
                self.kprobes.unregister(probe)
                results.append(0)
        return results

    @property
    def journal(self) -> list[Event]:
        scratch = self.guest.scratch
        trampolines = {
            value for event in self._events for value in event.values() if isinstance(value, int) and value in scratch
        }
        return [without(event, trampolines) for event in self._events]


def _kprobe(probe: Kprobe | Kretprobe) -> Kprobe:
    return probe.kp if isinstance(probe, Kretprobe) else probe
