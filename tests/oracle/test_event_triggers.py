# SPDX-License-Identifier: GPL-2.0-or-later
"""Random filters and triggers of events, and a 6.1 kernel's own tracefs: both accept, refuse and list the same.

The seed is printed. ARMPROBE_ORACLE=all has more texts.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
from collections import Counter
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from armprobe.commands import Session
from armprobe.probes.events.errors import EventError
from armprobe.probes.events.filter import Filter, filter_file
from armprobe.probes.events.triggers import EventTriggers, Histograms
from tests.oracle.trigger_lines import DEFINITIONS, Lines
from tests.probes.events.kernel_answers import Field, field
from tests.stock import stock_snapshot

TEXTS: Final = 2_000 if os.environ.get("ARMPROBE_ORACLE") == "all" else 150
TRACEFS: Final = "/sys/kernel/tracing"
ERRORS: Final = {os.strerror(number): number for number in errno.errorcode}


class Answer(NamedTuple):
    """What came of a text: an errno or 0, the message, command and column that are logged, and the file then."""

    errno: int
    logged: tuple[str | None, str | None, int | None]
    file: str


class NoEffects:
    """Nothing is hit, so that no trigger acts."""

    tracing = True

    def __init__(self) -> None:
        self.events: dict[tuple[str, str], Target] = {}

    def snapshot(self) -> None:
        raise AssertionError

    def find(self, group: str, name: str) -> Target | None:
        return self.events.get((group, name))


class Target:
    """An event with its triggers."""

    soft_disabled = False

    def __init__(self, name: str, fields: list[Field], histograms: Histograms, effects: NoEffects) -> None:
        self.path = f"kprobes/{name}"
        self.triggers = EventTriggers("kprobes", name, fields, histograms, effects)
        effects.events["kprobes", name] = self

    def hold(self, held: bool) -> None:
        """Nothing depends on it here."""


def script(texts: list[tuple[str, str]]) -> str:
    """Writes the texts to the files of the first event, and shows what comes of each."""
    definitions = [f"echo '{each}' >> kprobe_events" for each in DEFINITIONS]
    lines = [f"cd {TRACEFS}", *definitions, "cd events/kprobes/ev", "echo @file > /tmp/file", "exec 2>&1"]
    for number, (file, text) in enumerate(texts):
        quoted = text.replace("'", "'\\''")
        lines.append(f"echo '@text {number}'; echo > {TRACEFS}/error_log; echo '{quoted}' >> {file}")
        lines.append(f"cat {TRACEFS}/error_log /tmp/file {file}")
    lines.append("echo '@format'; cat format ../two/format")
    return "\n".join(lines) + "\n"


def kernels_answer(shown: str) -> Answer:
    """The answer that the script shows."""
    head, _, file = shown.partition("@file\n")
    refused = re.search(r"write error: (.*)", head)
    logged = re.findall(r"\] .*?: error: (.*)\n  Command: (.*)\n(.*)\^", head)
    message, command, caret = logged[-1] if logged else (None, None, "")
    column = len(caret.encode("utf-8", "surrogateescape")) - len("  Command: ") if logged else None
    return Answer(ERRORS[refused[1]] if refused else 0, (message, command, column), file.rstrip("\n"))


class Event:
    """Ours."""

    def __init__(self, formats: str) -> None:
        effects, histograms = NoEffects(), Histograms()
        self._fields: dict[str, list[Field]] = {}
        for text in formats.split("name: ")[1:]:
            own = [line.strip() for line in text.splitlines() if line.startswith("\tfield:") and " common_" not in line]
            self._fields[text.partition("\n")[0]] = [field(line.replace("\t", " ")) for line in own]
        targets = {name: Target(name, fields, histograms, effects) for name, fields in self._fields.items()}
        self._triggers = targets["ev"].triggers
        self._filter = "none"

    def write(self, file: str, text: str) -> Answer:
        """The answer to a text."""
        number = 0
        logged: tuple[str | None, str | None, int | None] = (None, None, None)
        try:
            if file == "trigger":
                self._triggers.write(text)
            else:
                self._filter = Filter.parse(text, self._fields["ev"]).text
        except EventError as error:
            number, logged = error.errno, (error.message, error.command, error.column)
            if file == "filter":
                self._filter = filter_file(error)
        shown = "\n".join(self._triggers.lines()) if file == "trigger" else self._filter
        return Answer(number, logged, shown.rstrip("\n"))


@pytest.mark.sample(of="tests")
def test_the_kernel_answers_the_same(tmp_path: Path) -> None:
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    lines = Lines(seed)
    texts = [lines.line() for _ in range(TEXTS)]
    texts = [each for each in texts if each[1].strip() != "0" and not each[1].startswith("-")]
    path = tmp_path / "texts.sh"
    answers: list[Answer] = []
    outcome: Counter[str] = Counter()
    with Session(stock_snapshot()) as session:
        path.write_text(script(texts), errors="surrogateescape")
        session.guest.push(path, "/tmp/texts.sh")
        done = session.guest.sh("sh /tmp/texts.sh", timeout=4 * TEXTS)
    shown, _, formats = done.out.partition("@format\n")
    event = Event(formats)
    for part in shown.split("@text ")[1:]:
        number, _, rest = part.partition("\n")
        file, text = texts[int(number)]
        theirs, ours = kernels_answer(rest), event.write(file, text)
        assert ours == theirs, f"seed {seed}, {file}: {text!r}"
        answers.append(ours)
        outcome[f"{file} {'refused' if ours.errno else 'accepted'}"] += 1
    assert len(answers) == len(texts)
    print(outcome)
    assert all(
        outcome[f"{file} {kind}"] > TEXTS // 100 for file in ("filter", "trigger") for kind in ("accepted", "refused")
    )
