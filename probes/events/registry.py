# SPDX-License-Identifier: GPL-2.0-or-later
"""The events of one machine: what the kernel has in kprobe_events (kernel/trace/trace_kprobe.c)."""

from __future__ import annotations

import errno
import logging
import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import cached_property
from typing import TYPE_CHECKING, Final

from armprobe import wiring
from armprobe.expressions import Condition
from armprobe.kernel.text import Text
from armprobe.machine import Machine, Snapshot
from armprobe.machine.state import Entry, Order
from armprobe.probes.errors import ProbeError
from armprobe.probes.kprobe import Kprobe
from armprobe.probes.kretprobe import Kretprobe
from armprobe.probes.probe import Probe
from armprobe.probes.record import Hit
from armprobe.probes.recording import MOST_MEMORY

from .c_text import raw, user_text
from .control import Controls, EventControl, GuestLabels
from .errors import EventError
from .numbers import BadNumber
from .place import Places

if TYPE_CHECKING:
    from armprobe.probes.registration import Kprobes

    from .definition import Definition
    from .event import Event, EventProbe
    from .kernel_event import KernelEvent, KernelEventProbe, KernelEvents

log = logging.getLogger(__name__)

_MOST_HEAD: Final = 63  # MAX_ARGSTR_LEN
_FIRST_NUMBER: Final = 1 << 11
_ENABLE_FILE: Final = re.compile(r"(?:/.*/)?events/(?:(?P<group>[^/]+)/(?:(?P<event>[^/]+)/)?)?enable")


class Events:
    """The kernel's kprobe_events for a machine, without its tracefs.

    Each definition makes an ordinary probe of `kprobes`, which is registered disabled. The methods raise EventError,
    with the kernel's errno and message.
    """

    def __init__(self, kprobes: Kprobes, text: Text) -> None:
        self._kprobes = kprobes
        self._controls = Controls(kprobes, self._find)
        self._places = Places(kprobes.machine, text)
        self._probes: list[EventProbe] = []  # in the order of their definition
        self._events: dict[tuple[str, str], Event] = {}
        self._by_probe: dict[Probe, EventProbe] = {}
        self._in_modules: dict[EventProbe, str] = {}  # the probes whose place names a module, and that module
        self._number = _FIRST_NUMBER
        self._watching = False  # the guest's modules
        kprobes.machine.state.add(
            "events",
            Entry(
                Order.PROBES,
                self._controls.saved,
                self._controls.restore,
                restored=self._controls.restored,
                volume=self._controls.volume,
            ),
        )
        kprobes.machine.state.on_restored(Order.PROBES, lambda: self._modules_changed(kprobes.machine))

    @cached_property
    def _of_kernel(self) -> KernelEvents:
        from .kernel_event import KernelEvents  # with seven files that few guests need

        return KernelEvents(self._kprobes, self._controls)

    # The file kprobe_events

    def define(self, text: str, tasks: Condition | None = None) -> None:
        """Write `text` to kprobe_events: definitions, deletions and comments, a line each.

        It stops at the first line that is refused. Those before it stay. `tasks` selects the tasks whose hits what is
        defined has; their triggers see no others.
        """
        from .definition import lines

        for line in lines(raw(text)):
            if line.startswith("-"):
                self._release(line)
            else:
                self._create(line, tasks)

    def delete(self, text: str) -> None:
        """Delete events: "ev" of any group, "grp/ev", or "grp/", all of a group. Further words must match."""
        self.define(text if text.startswith("-") else f"-:{text}")

    def clear(self) -> None:
        """Delete all events, as opening kprobe_events for writing does; none if one is enabled (EBUSY)."""
        busy = next((event for event in self._events.values() if event.enabled), None)
        if busy is not None:
            raise EventError(errno.EBUSY, f"{busy.path} is enabled: disable it first")
        for each in list(self._probes):
            self._free(each)

    def remove_all(self) -> None:
        """Delete all events, enabled or not. Those of the guest's kernel are disabled, without filter and triggers."""
        self._controls.clear()
        self.clear()

    # The folders of the events

    def _find(self, group: str, name: str) -> Event | KernelEvent | None:
        return self._events.get((group, name)) or self._of_kernel.find(group, name)

    def find(self, name: str) -> Event | KernelEvent:
        """The event called "grp/ev" or "grp:ev", or "ev" if only one group has that. Raises EventError (ENOENT).

        An event of the guest's kernel is found, too: a tracepoint or a system call.
        """
        group, separator, event = raw(name).replace(":", "/").rpartition("/")
        keys = [key for key in self._events if key[1] == event and (not separator or key[0] == group)]
        keys = keys or self._of_kernel.named(group, event)
        if len(keys) > 1:
            paths = ", ".join(user_text("/".join(key)) for key in keys)
            raise EventError(errno.EINVAL, f"several groups have an event '{name}': choose one of {paths}")
        found = self._find(*keys[0]) if keys else None
        if found is None:
            remedy = "define it first; tracepoints lists those of a kernel"
            if group == "synthetic":
                remedy = "armprobe has no synthetic events"
            raise EventError(errno.ENOENT, f"there is no event '{name}': {remedy}")
        return found

    def chosen(self, text: str) -> list[str]:
        """The paths, such as "grp/ev", of the event called `text` as for `find`, or of all that it names.

        As the kernel's set_event has it, "grp", "grp:", "grp:*" are those of a group, and "*:ev" those called ev; so
        are "grp/" and the file "events/grp/enable". "events/enable" is all. Other patterns are the shell's. Raises
        EventError (ENOENT) for none.
        """
        name = raw(text).replace(":", "/")
        file = _ENABLE_FILE.fullmatch(name)
        group, separator, event = name.rpartition("/") if file is None else (file["group"], "/", file["event"])
        if (group, event) in self._events:
            return [user_text(f"{group}/{event}")]
        keys = list(dict.fromkeys((*self._events, *self._of_kernel.names)))
        if separator:
            found = [key for key in keys if fnmatchcase(key[0], group or "*") and fnmatchcase(key[1], event or "*")]
        elif any(key[1] == event for key in keys):
            found = []
        else:
            found = [key for key in keys if event and (fnmatchcase(key[0], event) or fnmatchcase(key[1], event))]
        return [user_text("/".join(key)) for key in found] or [self.find(text).path]

    @property
    def events(self) -> Sequence[Event]:
        """All events, oldest first."""
        return list(self._events.values())

    @property
    def probes(self) -> Sequence[EventProbe]:
        """The probes of all events, in the order of their definition."""
        return [*self._probes]

    @property
    def kernel_probes(self) -> Sequence[KernelEventProbe]:
        """The probes of events of the guest's kernel that were named so far."""
        return self._of_kernel.probes

    def format(self, name: str) -> str:
        """The text of an event's format file."""
        return self.find(name).format

    def enable(self, name: str) -> None:
        """Record the hits of the events that `name` chooses. Raises ProbeError if the text of a probe is gone.

        Of several, those of the guest's kernel that no code of it calls are passed over, as they have no hits.
        """
        refused, enabled = None, False
        for path in self.chosen(name):
            try:
                event = self.find(path)
            except EventError as error:
                refused = error
            else:
                event.control.enable()
                enabled = True
        if refused and not enabled:
            raise refused

    def disable(self, name: str) -> None:
        """Record no further hits of the events that `name` chooses."""
        named = {each.event.path for each in self._probes} | {each.event.path for each in self.kernel_probes}
        for path in self.chosen(name):
            if path in named:
                self.find(path).control.disable()

    def filter(self, name: str, text: str | None = None) -> str:
        """Write `text` to an event's file `filter`, if it is given. Gives what the file then shows.

        A filter selects the hits that are recorded: `count > 100 && comm == "cat"`; "0" removes it.
        If it is refused, the event has none.
        """
        control = self.find(name).control
        if text is not None:
            control.filter(text)
        return control.filter_file

    def trigger(self, name: str, text: str | None = None) -> str:
        """Add a trigger to an event, if `text` is given, or remove the one behind `!`. Gives the lines of `trigger`."""
        control = self.find(name).control
        if text is not None:
            control.trigger(text)
        return "".join(f"{line}\n" for line in control.triggers.lines())

    def hist(self, name: str) -> str:
        """The text of an event's file `hist`: the histograms of its hist triggers."""
        return self.find(name).control.triggers.hist(GuestLabels(self._kprobes))

    @property
    def tracing(self) -> bool:
        """Whether hits of events are recorded: the file `tracing_on`, which the triggers traceon and traceoff set."""
        return self._controls.tracing

    @tracing.setter
    def tracing(self, wanted: bool) -> None:
        self._controls.tracing = wanted

    @property
    def snapshot(self) -> Snapshot | None:
        """The snapshot of the machine that the trigger `snapshot` took last."""
        return self._controls.taken

    # Hits

    def probe_of(self, hit: Hit) -> EventProbe | None:
        """The probe of an event that was hit; None for another probe."""
        return self._by_probe.get(hit.probe)

    def trace(self) -> list[str]:
        """The lines of the kernel's trace file for the recorded hits of events, oldest first.

        The name of a task is the last one that it had, as in the kernel, which keeps one for each pid.
        """
        found = [hit for hit in self._kprobes.hits if self._control(hit) is not None]
        names = {hit.task.pid: hit.task for hit in found if hit.task is not None}
        shown = []
        for hit in found:
            line = self._line(hit, hit if hit.task is None else hit._replace(task=names[hit.task.pid]))
            shown += [line, *self.stack(hit, line)]
        return shown

    def stack(self, hit: Hit, line: str) -> Sequence[str]:
        """The lines that follow the `line` of a hit, if a trigger has recorded the stack."""
        control = self._control(hit)
        return () if control is None else control.stack_lines(hit, line)

    def _control(self, hit: Hit) -> EventControl | None:
        """That of the event that was hit; None for another probe."""
        each = self._by_probe.get(hit.probe)
        event = self._of_kernel.of(hit) if each is None else each.event
        return None if event is None else event.control

    def line(self, hit: Hit) -> str | None:
        """The line of one hit, with the name that its task had; None for a hit of another probe."""
        return self._line(hit, hit) if hit.probe in self._by_probe else None

    def _line(self, hit: Hit, shown: Hit) -> str:
        """The line of a hit, which begins as that of `shown`, the hit with the name of its task that is to be shown.

        Arguments have the name that it had: `$comm` is recorded.
        """
        each = self._by_probe.get(hit.probe)
        if each is None:
            return wiring.trace_line(self._kprobes, shown, None, None)
        return wiring.trace_line(self._kprobes, shown, (), each.event.name) + each.text(hit)

    def list(self) -> list[str]:
        """The lines of kprobe_events. Writing them defines the same events."""
        return [each.listing for each in self._probes]

    # Creating and removing

    def _create(self, line: str, tasks: Condition | None) -> None:
        from .definition import parse
        from .event import Event, EventProbe

        definition = parse(line, self._places)
        if definition is None:
            return
        key = definition.group, definition.event
        old = self._events.get(key)
        if old is not None:
            if old.is_return is not definition.is_return:
                raise definition.refused(0, "Probe type is different from existing probe", 0, errno.EEXIST)
            self._refuse_other(definition, old)
        elif self._places.taken(*key):
            message = "Given group/event name is already used by another event"
            raise definition.refused(0, message, 0, errno.EEXIST)
        event = old or Event(user_text(key[0]), user_text(key[1]), definition.is_return, self._number)
        probe = EventProbe(definition, event, self._kprobes.machine.symbols, tasks)
        self._register(probe)
        event.probes.append(probe)
        self._probes.append(probe)
        if old is None:
            self._events[key] = event
            self._number += 1
            event.control = self._controls.add(event)
        module, colon, _ = user_text(definition.symbol or "").partition(":")
        if colon:
            self._in_modules[probe] = module
        self._watch_modules()
        event.control.refresh()

    def _refuse_other(self, definition: Definition, event: Event) -> None:
        """Raise EventError unless the definition can be a further probe of `event` (append_trace_kprobe)."""
        ours, theirs = definition.arguments, event.arguments
        differs = 0
        if len(ours) != len(theirs):
            differs = 1 + min(len(ours), len(theirs))
        else:
            pairs = enumerate(zip(ours, theirs, strict=True), start=1)
            signature = [(at, (a.type, a.count, a.name) != (b.type, b.count, b.name)) for at, (a, b) in pairs]
            differs = next((at for at, other in signature if other), 0)
        if differs:
            message = "Argument type or name is different from existing probe"
            raise definition.refused(differs + 1, message, 0, errno.EEXIST)
        texts = [each.text for each in ours]
        for probe in event.probes:
            other = probe.definition
            same_place = (other.symbol, other.offset) == (definition.symbol, definition.offset)
            if same_place and [each.text for each in other.arguments] == texts:
                raise definition.refused(0, "There is already the exact same probe event", 0, errno.EEXIST)

    def _register(self, probe: EventProbe) -> None:
        """Register the kprobe or kretprobe. Without its module, it waits. Raises EventError."""
        definition = probe.definition
        try:
            probe.probe = self._registered(probe)
        except ProbeError as error:
            if error.errno == errno.ENOENT:
                if self._places.may_come(definition.symbol):
                    return
                raise definition.refused(1, "Invalid probed address or symbol", 0, errno.ENOENT) from error
            if error.errno == errno.ENOMEM:
                raise EventError(error.errno, error.reason) from error
            raise definition.refused(1, "Failed to register probe event", 0, error.errno) from error
        except BadNumber as bad:
            raise definition.refused(1, "Failed to register probe event", 0, bad.errno) from bad

    def _registered(self, each: EventProbe) -> Kprobe | Kretprobe:
        """__register_trace_kprobe(). Raises ProbeError, and BadNumber for the offset of an `@SYM`."""
        from .recorded import record

        definition = each.definition
        self._places.refuse_untraced(definition)
        self._places.find_symbols(definition)
        probe: Kprobe | Kretprobe
        symbol, offset = definition.symbol, definition.offset
        address = definition.address if symbol is None else None
        what = record(definition, self._kprobes.machine, MOST_MEMORY // self._kprobes.kept)
        if definition.is_return:
            probe = Kretprobe(symbol, address, offset, maxactive=definition.maxactive, record=what)
        else:
            probe = Kprobe(symbol, address, offset, record=what)
        probe.kp.disabled = True
        self._kprobes.register(probe)
        self._by_probe[probe] = each
        return probe

    def _watch_modules(self) -> None:
        """Follow what modules the guest loads, as long as there is an event in one."""
        kernel = self._kprobes.machine.kernel
        events = None if kernel is None else kernel.module_events
        wanted = bool(self._in_modules)
        if events is None or not events.available or wanted is self._watching:
            return
        self._watching = wanted
        (events.listen if wanted else events.unlisten)(self._modules_changed)

    def _modules_changed(self, machine: Machine) -> None:
        """Register the probes whose module has come (trace_kprobe_module_callback)."""
        for each, module in self._in_modules.items():
            if module not in machine.symbols.modules:
                continue
            if each.probe is not None:
                if not each.probe.gone:
                    continue
                self._unregister(each)
            try:
                self._register(each)
            except EventError as error:
                log.warning("%s stays pending: %s", each.event.path, error)
                continue
            each.event.control.refresh()

    def _unregister(self, each: EventProbe) -> None:
        if each.probe is not None:
            self._kprobes.unregister(each.probe)
            del self._by_probe[each.probe]
            each.probe = None

    def _release(self, line: str) -> None:
        """Delete what a line that begins with `-` names (dyn_event_release)."""
        from .definition import split

        words = split(line)
        name = words[0][2:]
        group, slash, event = name.partition("/")
        if not words[0].startswith("-:") or not (event or slash if slash else name):
            raise EventError(
                errno.EINVAL, f"'{user_text(words[0])}' names no event: write -:EVENT, -:GRP/EVENT or -:GRP/"
            )
        if not slash:
            event = name
        found = [
            each
            for each in self._probes
            if (not event or each.definition.event == event)
            and (not slash or each.definition.group == group)
            and _matches(each.definition, words[1:])
        ]
        if not found:
            raise EventError(
                errno.ENOENT, f"no event is '{user_text(' '.join(words)[2:])}': the listing has their names"
            )
        for each in found:
            if len(each.event.probes) == 1 and each.event.enabled:
                raise EventError(errno.EBUSY, f"{each.event.path} is enabled: disable it first")
            self._free(each)

    def _free(self, each: EventProbe) -> None:
        self._unregister(each)
        self._probes.remove(each)
        each.event.probes.remove(each)
        self._in_modules.pop(each, None)
        self._watch_modules()
        if not each.event.probes:
            self._controls.remove(each.event.control)
            del self._events[each.definition.group, each.definition.event]


def _matches(definition: Definition, words: Sequence[str]) -> bool:
    """Whether the listing of a probe begins with `words` (trace_kprobe_match_command_head)."""
    if not words:
        return True
    listed = [f"{each.name}={each.text}" for each in definition.arguments]
    return definition.place[:_MOST_HEAD] == words[0] and listed[: len(words) - 1] == [*words[1:]]
