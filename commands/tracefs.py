# SPDX-License-Identifier: GPL-2.0-or-later
"""What a shell writes to the kernel's tracefs by `echo TEXT > FILE`, as commands for events."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from .errors import CommandError

_FILE: Final = re.compile(
    r"(?:.*/)?(?:(?P<name>kprobe_events|set_event|tracing_on|synthetic_events)"
    r"|events/(?:(?P<group>[^/]+)/(?:(?P<event>[^/]+)/)?)?(?P<what>enable|filter|trigger))"
)
_SWITCHED: Final = {"0": ("disable", "off"), "1": ("enable", "on")}


def written(words: Sequence[str]) -> list[list[str]]:
    """The commands, as words, that do what `echo` of these words does to tracefs; none without a > among them.

    Raises CommandError for a file that has no counterpart.
    """
    *text, last = words or [""]
    if text and text[-1] in (">", ">>"):
        appends, file = text.pop() == ">>", last
    elif found := re.fullmatch(r"(>>?)([^>].*)", last):
        appends, file = found[1] == ">>", found[2]
    else:
        return []
    return _commands(" ".join(text), file, appends)


def _commands(text: str, file: str, appends: bool) -> list[list[str]]:
    found = _FILE.fullmatch(file)
    if found is None:
        raise CommandError(
            f"echo writes to no file {file!r}, only to those of tracefs: kprobe_events, set_event, tracing_on, and "
            "enable, filter and trigger of events"
        )
    name, event, what = found["name"], f"{found['group']}/{found['event']}", found["what"]
    if name == "synthetic_events":
        raise CommandError("armprobe has no synthetic events: latency measures calls")
    if name == "kprobe_events":
        define = [["event", text]] if text.strip() else []
        return define if appends else [["events", "clear"], *define]
    if name == "set_event":
        first = [] if appends else [["events", "disable", "*:*"]]
        switched = (("disable", word[1:]) if word.startswith("!") else ("enable", word) for word in text.split())
        return [*first, *(["events", how, word] for how, word in switched)]
    if what == "filter" or what == "trigger":
        if found["event"] is None:
            raise CommandError(f"{file} is of more than one event: write to that of one, as events/GRP/EVENT/{what}")
        return [["events", what, event, text]]
    if text.strip() not in _SWITCHED:
        raise CommandError(f"{file} takes 0 or 1, and not {text!r}")
    how, tracing = _SWITCHED[text.strip()]
    return [["events", "tracing", tracing]] if name else [["events", how, file]]
