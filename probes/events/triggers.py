# SPDX-License-Identifier: GPL-2.0-or-later
"""Triggers of events: what is written to an event's `trigger` file (kernel/trace/trace_events_trigger.c of v6.1)."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Protocol

from armprobe.machine.native import histogram as native

from . import c_text as c
from .errors import EventError
from .filter import PAGE_SIZE, Filter, parse_filter
from .filter_fields import DeclaredField, Values, filter_fields
from .numbers import SPACES, BadNumber, is_digit, unsigned

if TYPE_CHECKING:
    from .histogram import Histogram, Labels

UNLIMITED = -1
_TO_EVENT = ("enable_event", "disable_event", "enable_hist", "disable_hist")
COMMANDS = ("traceon", "traceoff", "snapshot", "stacktrace", *_TO_EVENT, "hist")
_CLASSES = {
    "traceon": "onoff",
    "traceoff": "onoff",
    "enable_event": "event",
    "disable_event": "event",
    "enable_hist": "hists",
    "disable_hist": "hists",
}
"""Commands of which an event has one: those of a class exclude each other (enum event_trigger_type)."""
_POST = ("traceoff", "stacktrace")
"""Commands that are carried out when the event has been recorded (EVENT_CMD_FL_POST_TRIGGER)."""


class Effects(Protocol):
    """What triggers act upon, for one machine."""

    tracing: bool
    """Whether hits of events are recorded (tracing_on)."""

    def snapshot(self) -> None:
        """Take a snapshot."""
        ...

    def find(self, group: str, name: str) -> TriggerTarget | None:
        """The event with that group and name."""
        ...


class TriggerTarget(Protocol):
    """An event that triggers of others switch."""

    @property
    def path(self) -> str:
        """Its group and name, "kprobes/ev"."""
        ...

    @property
    def triggers(self) -> EventTriggers:
        """Its triggers."""
        ...

    soft_disabled: bool
    """Whether its hits are not recorded, although it is enabled or a trigger can enable it."""

    def hold(self, held: bool) -> None:
        """A trigger that can enable it has come, or has gone."""
        ...


TriggerState = tuple[object, int, bool, bytes]
"""What hits have changed of a trigger: which one it is, its count, whether it is paused, and its histogram."""


class Trigger:
    """A trigger of an event. `count` is how often it will still act, -1 for always. `filter` selects the hits."""

    def __init__(self, command: str, target: TriggerTarget | None = None) -> None:
        self.command = command
        self.target = target
        self.count = UNLIMITED
        self.limited = False
        self.filter: Filter | None = None
        self.filter_text = ""

    @property
    def kind(self) -> tuple[str, object]:
        """What only one trigger of an event can have."""
        return _CLASSES.get(self.command, self.command), self.target

    @property
    def is_late(self) -> bool:
        """Whether it acts when the event has been recorded."""
        return self.command in _POST

    def listing(self) -> str:
        """Its line in the `trigger` file."""
        words = [self.command]
        if self.target is not None:
            words += self.target.path.split("/")
        words.append("unlimited" if self.count == UNLIMITED else f"count={self.count}")
        return ":".join(words) + (f" if {self.filter_text}" if self.filter_text else "")

    def acts(self) -> bool:
        """Whether its count allows it to act once more."""
        return self.count != 0

    def fire(self, values: Values, effects: Effects) -> None:
        """Act."""
        if not self._would_change(effects) or not self.acts():
            return
        if self.count != UNLIMITED:
            self.count -= 1
        enables = not self.command.startswith(("disable", "traceoff"))
        if self.command in ("traceon", "traceoff"):
            effects.tracing = enables
        elif self.command == "snapshot":
            effects.snapshot()
        elif self.target is not None and self.command.endswith("_event"):
            self.target.soft_disabled = not enables
        elif self.target is not None:
            for each in self.target.triggers.histograms:
                each.paused = not enables

    def _would_change(self, effects: Effects) -> bool:
        """Whether the state is not the wanted one. Without a count, it does not matter for events."""
        if self.command in ("traceon", "traceoff"):
            return effects.tracing is not (self.command == "traceon")
        if self.command in ("enable_event", "disable_event") and self.limited:
            assert self.target is not None
            return self.target.soft_disabled is (self.command == "enable_event")
        return True


class HistogramTrigger:
    """A hist trigger. Those of one `name` share the histogram of the first of them, which is their `owner`."""

    command = "hist"
    is_late = False

    def __init__(self, histogram: Histogram) -> None:
        self.histogram = histogram
        self.name = histogram.text.attributes.name
        self.owner: HistogramTrigger | None = None
        self.is_gone = False  # from its event
        self.native: Sequence[native.HistogramTrigger] = ()
        """What counts in the C core, for each probe of the event."""
        self._paused = False
        self.filter: Filter | None = None
        self.filter_text = ""

    @property
    def paused(self) -> bool:
        """Whether it counts nothing."""
        return self._paused

    @paused.setter
    def paused(self, paused: bool) -> None:
        self._paused = paused
        for each in self.native:
            each.paused = paused

    def listing(self) -> str:
        """Its line in the `trigger` file."""
        condition = f" if {self.filter_text}" if self.filter_text else ""
        state = "paused" if self.paused else "active"
        return c.user_text(self.histogram.text.specification()) + f"{condition} [{state}]"

    def fire(self, values: Values, effects: Effects) -> None:
        """Count the hit."""
        self.histogram.update(values)

    def shown(self, labels: Labels) -> str:
        """Its part of the `hist` file."""
        head = f"# event histogram\n#\n# trigger info: {self.listing()}\n#\n\n"
        return head + "\n".join(self.histogram.lines(labels)) + "\n"

    def matches(self, other: HistogramTrigger, named: HistogramTrigger | None, with_filter: bool = True) -> bool:
        """Whether `other` is the same to the kernel, if `named` is the first one of this one's name."""
        if named is not None and other is not named and other.owner is not named:
            return False
        if named is None and other.name is not None:
            return False
        if with_filter and self.filter_text != other.filter_text:
            return False
        return self.histogram.text.identity() == other.histogram.text.identity()


class Histograms:
    """The hist triggers of a machine, newest first."""

    def __init__(self) -> None:
        self._triggers: list[HistogramTrigger] = []

    def add(self, trigger: HistogramTrigger) -> None:
        """An event has got `trigger`."""
        self._triggers.insert(0, trigger)

    def remove(self, trigger: HistogramTrigger) -> None:
        """An event has lost `trigger`. While others share its histogram, it can still be found by its name."""
        trigger.is_gone = True
        sharing = {each.owner for each in self._triggers if each.owner is not None and not each.is_gone}
        self._triggers = [each for each in self._triggers if not each.is_gone or each in sharing]

    def first(self, name: str | None) -> HistogramTrigger | None:
        """The one that owns the histogram of that name."""
        return next((each for each in self._triggers if name and each.name == name and each.owner is None), None)

    @property
    def variables(self) -> frozenset[str]:
        """The names of their variables."""
        return _variables(self._triggers)


class EventTriggers:
    """The triggers of one event: `group` and `name` are the event's, `fields` those of its format."""

    def __init__(
        self, group: str, name: str, fields: Iterable[DeclaredField], shared: Histograms, effects: Effects
    ) -> None:
        self._path = (group, name)
        self._fields = filter_fields(fields)
        self._shared = shared
        self._effects = effects
        self._triggers: list[Trigger | HistogramTrigger] = []

    def __bool__(self) -> bool:
        return bool(self._triggers)

    @property
    def need_stack(self) -> bool:
        """Whether a trigger looks at `stacktrace` among the values of a hit."""
        from .histogram_field import Mark

        return any(
            any(key.marks & Mark.STACKTRACE for key in each.histogram.text.keys)
            if isinstance(each, HistogramTrigger)
            else each.command == "stacktrace"
            for each in self._triggers
        )

    @property
    def conditional(self) -> bool:
        """Whether the triggers see the record of a hit, because one of them needs it (update_cond_flag())."""
        return any(each.filter is not None or each.is_late or each.command == "hist" for each in self._triggers)

    @property
    def histograms(self) -> Sequence[HistogramTrigger]:
        """The hist triggers, oldest first."""
        return [each for each in self._triggers if isinstance(each, HistogramTrigger)]

    @property
    def only_count(self) -> bool:
        """Whether all that they do is to count hits in histograms."""
        return all(isinstance(each, HistogramTrigger) for each in self._triggers)

    def lines(self) -> list[str]:
        """The lines of the `trigger` file."""
        if not self._triggers:
            return ["# Available triggers:", f"# {' '.join(COMMANDS)}"]
        return [each.listing() for each in self._triggers]

    def hist(self, labels: Labels) -> str:
        """The text of the `hist` file."""
        return "\n\n".join(each.shown(labels) for each in self.histograms)

    def fire(self, values: Values) -> list[Trigger]:
        """Have the triggers act on a hit. Gives those that act when it has been recorded (event_triggers_call())."""
        late: list[Trigger] = []
        for each in list(self._triggers):
            if isinstance(each, HistogramTrigger) and each.paused:
                continue
            if each.filter is not None and not each.filter.matches(values):
                continue
            if isinstance(each, Trigger) and each.is_late:
                late.append(each)
            else:
                each.fire(values, self._effects)
        return late

    def saved(self) -> list[TriggerState]:
        """What hits have changed of the triggers."""
        return [
            (each, 0, each.paused, each.histogram.table.saved())
            if isinstance(each, HistogramTrigger)
            else (each, each.count, False, b"")
            for each in self._triggers
        ]

    def restore(self, saved: Sequence[TriggerState]) -> None:
        """Go back to what `saved` has. The histograms of triggers that are not in it are empty then."""
        states = {state[0]: state for state in saved}
        for each in self._triggers:
            state = states.get(each)
            if isinstance(each, HistogramTrigger):
                each.histogram.table.restore(b"" if state is None else state[3])
                each.paused = each.paused if state is None else state[2]
            elif state is not None:
                each.count = state[1]

    def remove_all(self) -> None:
        """The event goes."""
        for each in list(self._triggers):
            self._remove(each)

    def write(self, text: str) -> None:
        """Write a trigger, or with `!` before it remove one (trigger_process_regex()). Raises EventError."""
        if len(text.encode("utf-8", "surrogateescape")) >= PAGE_SIZE:
            raise EventError(errno.EINVAL, f"the trigger is longer than {PAGE_SIZE - 1} bytes")
        source = c.strip(c.c_text(text))
        end = next((at for at, char in enumerate(source) if char in ": \t"), len(source))
        command, rest = source[:end], source[end + 1 :].lstrip(SPACES)
        removes = command.startswith("!")
        command = command.removeprefix("!")
        if command not in COMMANDS:
            shown = c.user_text(command)
            raise EventError(errno.EINVAL, f"'{shown}' is no trigger: write one of {', '.join(COMMANDS)}")
        if command == "hist":
            self._write_histogram(rest, removes)
        elif command in _TO_EVENT:
            self._write_to_event(command, rest, removes)
        else:
            # A count is optional. All else is taken for a filter.
            counted = is_digit(rest[:1])
            parameter, condition = _split(rest) if counted else ("", rest)
            self._write(Trigger(command), parameter if counted else None, condition, removes)

    def _write(self, trigger: Trigger, count: str | None, condition: str, removes: bool) -> None:
        old = next((each for each in self._triggers if isinstance(each, Trigger) and each.kind == trigger.kind), None)
        if removes:
            if old is not None:
                self._remove(old)
            return
        if count is not None:
            trigger.count, trigger.limited = _count(count.partition(":")[0]), True
        self._set_filter(trigger, condition)
        if old is not None:
            raise EventError(errno.EEXIST, f"there is a trigger already that does this: {old.listing()}")
        self._triggers.insert(0, trigger)
        if trigger.target is not None:
            trigger.target.hold(True)

    def _write_to_event(self, command: str, rest: str, removes: bool) -> None:
        """enable_event:GROUP:EVENT[:COUNT] and its likes (event_enable_trigger_parse())."""
        parameter, condition = _split(rest)
        group, colon, name = parameter.partition(":")
        if not colon:
            raise EventError(errno.EINVAL, f"{command} needs an event, as in {command}:kprobes:ev")
        name, colon, count = name.partition(":")
        target = self._effects.find(group, name)
        if target is None:
            raise EventError(errno.EINVAL, f"there is no event {c.user_text(f'{group}:{name}')}")
        self._write(Trigger(command, target), count if colon else None, condition, removes)

    def _set_filter(self, trigger: Trigger | HistogramTrigger, condition: str) -> None:
        """Give a trigger its filter (set_trigger_filter()). The kernel logs no errors of it."""
        if not condition:
            return
        word, filter_text = _cut(condition)
        if word != "if" or filter_text is None:
            raise EventError(errno.EINVAL, f"'{c.user_text(condition)}' is no filter: write 'if' and a filter")
        try:
            trigger.filter = parse_filter(c.user_text(filter_text), self._fields)
        except EventError as error:
            raise EventError(error.errno, f"the filter is refused: {error.reason}") from None
        trigger.filter_text = c.user_text(filter_text)

    def _remove(self, trigger: Trigger | HistogramTrigger) -> None:
        self._triggers.remove(trigger)
        if isinstance(trigger, Trigger):
            if trigger.target is not None:
                trigger.target.hold(False)
        else:
            self._shared.remove(trigger)

    def _write_histogram(self, rest: str, removes: bool) -> None:
        """hist:... (event_hist_trigger_parse())."""
        from .histogram import Histogram
        from .histogram_text import CLOCKS, HistogramParser, split_filter

        if not rest:
            raise EventError(errno.EINVAL, "a hist trigger needs keys, as in hist:keys=common_pid")
        text, condition = split_filter(rest)
        taken: frozenset[str] = frozenset() if removes else _variables(self.histograms)
        parser = HistogramParser(f"hist:{rest}", self._path, self._fields, taken, self._shared.variables)
        trigger = HistogramTrigger(Histogram(parser.parse(text)))
        self._set_filter(trigger, condition or "")
        attributes = trigger.histogram.text.attributes
        named = self._shared.first(trigger.name)
        same = next((each for each in self.histograms if trigger.matches(each, named)), None)
        if removes:
            if same is not None:
                self._remove(same)
            return
        if attributes.pause or attributes.resume or attributes.clear:
            fits = named is None or trigger.matches(named, named, with_filter=False)
            if same is not None and fits and (named is not None or trigger.name is None):
                self._update(same, pause=attributes.pause, resume=attributes.resume)
                return
        if named is not None and not trigger.matches(named, named, with_filter=False):
            parser.refuse(
                "Named hist trigger doesn't match existing named trigger (includes variables)", trigger.name or ""
            )
        if same is not None and (named is not None or trigger.name is None):
            parser.refuse("Hist trigger already exists", "", errno.EEXIST)
        if attributes.resume or attributes.clear:
            parser.refuse("Can't clear or continue a nonexistent hist trigger", "", errno.ENOENT)
        if trigger.histogram.text.uses_time and attributes.clock not in CLOCKS:
            parser.refuse("Couldn't set trace_clock", attributes.clock)
        trigger.paused = attributes.pause
        if named is not None:
            trigger.owner, trigger.histogram = named, named.histogram
        self._shared.add(trigger)
        self._triggers.append(trigger)

    def _update(self, trigger: HistogramTrigger, *, pause: bool, resume: bool) -> None:
        """Pause, continue or clear an existing histogram (existing_hist_update_only())."""
        if pause:
            trigger.paused = True
        elif resume:
            trigger.paused = False
        else:
            trigger.histogram.table.clear()


def _split(text: str) -> tuple[str, str]:
    """The word, and what follows it (event_trigger_separate_filter())."""
    word, rest = _cut(text)
    return word, (rest or "").lstrip(SPACES)


def _cut(text: str) -> tuple[str, str | None]:
    """The text up to a space or a tab, and that behind it."""
    end = next((at for at, char in enumerate(text) if char in " \t"), None)
    return (text, None) if end is None else (text[:end], text[end + 1 :])


def _count(text: str) -> int:
    """A count, as a signed long (event_trigger_parse_num())."""
    try:
        number = unsigned(text)
    except BadNumber as error:
        raise EventError(error.errno, f"the count '{c.user_text(text)}' is no number") from None
    return number - (number >> 63 << 64)


def _variables(triggers: Iterable[HistogramTrigger]) -> frozenset[str]:
    return frozenset(field.variable for each in triggers for field in each.histogram.text.variables)
