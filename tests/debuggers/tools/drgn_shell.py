# SPDX-License-Identifier: GPL-2.0-or-later
"""drgn's shell, as `armprobe drgn` opens it."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.debuggers.tools.tool import Ask, Row, Subject, Tool
from tests.gdb.terminal import Terminal

_PROMPT = r"^>>> "


def _version() -> str:
    pip = [sys.executable, "-m", "pip", "-qq", "--disable-pip-version-check", "install", "drgn"]
    subprocess.run(pip, check=True)
    import drgn

    return f"drgn {drgn.__version__}"


@contextmanager
def _opened(subject: Subject) -> Iterator[Ask]:
    words = [sys.executable, "-m", "armprobe", "drgn", "--no-config", "--snapshot", str(subject.facts.snapshot)]
    # Without a history file, colours and redrawn lines: the Python shell of 3.13 and later would edit lines itself.
    with Terminal(words, {"PYTHON_BASIC_REPL": "1", "TERM": "dumb", "COLUMNS": "10000"}) as terminal:
        terminal.expect(r"helpers\.linux import \*\n>>> ")

        def answer(line: str) -> str:
            terminal.type(line)
            said = terminal.expect(_PROMPT)
            return said.partition("\n")[2].rpartition("\n")[0]

        yield answer


def _literal(right: Callable[[Subject], object]) -> Callable[[Subject, str], None]:
    """An answer that is a Python value, and equal to what the guest says."""

    def check(subject: Subject, said: str) -> None:
        assert _value(said) == right(subject), said

    return check


def _value(said: str) -> Any:
    try:
        return ast.literal_eval(said)
    except (SyntaxError, ValueError):
        raise AssertionError(said) from None


def _log(subject: Subject, said: str) -> None:
    assert said.strip().splitlines() == subject.facts.said["dmesg"].strip().splitlines(), said


def _tasks(subject: Subject, said: str) -> None:
    found = _value(said)
    tasks = subject.facts.tasks
    assert found.keys() == tasks.keys(), said
    assert all(tasks[number].startswith(name) for number, name in found.items()), said


def _stack(subject: Subject, said: str) -> None:
    """The guest leaves out the scheduler (stack_trace_consume_entry_nosched, kernel/stacktrace.c)."""
    theirs = re.findall(r"\] ([\w.]+)\+", subject.facts.said["cat /proc/1/stack"])
    found = re.findall(r"^#\d+ +([\w.]+)", said, re.MULTILINE)
    assert theirs, subject.facts.said
    assert found[-len(theirs) :] == theirs, (theirs, said)
    assert {*found[: -len(theirs)]} <= {"__switch_to", "__schedule", "schedule"}, said


DRGN = Tool(
    "drgn",
    _version,
    _opened,
    (
        Row('prog["UTS_RELEASE"].string_().decode()', "uname -r", _literal(lambda subject: subject.facts.release)),
        Row(
            "{t.pid.value_(): t.comm.string_().decode() for t in for_each_task(prog)}",
            "/proc/PID/stat",
            _tasks,
        ),
        Row(
            "{m.name.string_().decode(): (m.core_layout.base.value_(), m.core_layout.size.value_())"
            " for m in for_each_module(prog)}",
            "/proc/modules",
            _literal(lambda subject: subject.facts.modules),
        ),
        Row(
            "[[mount_dst(m).decode(), mount_fstype(m).decode()] for m in for_each_mount(prog)]",
            "/proc/mounts",
            _literal(lambda subject: [fields[1:3] for fields in subject.facts.mounts]),
        ),
        Row("print(get_dmesg(prog).decode())", "dmesg, byte for byte", _log),
        Row(
            "{s.name.string_().decode(): s.size.value_() for s in for_each_slab_cache(prog)}",
            "/proc/slabinfo",
            _literal(lambda subject: subject.facts.slabs),
        ),
        Row("stack_trace(1)", "/proc/1/stack", _stack),
        Row(
            "cpu_curr(prog, 0).comm.string_().decode()",
            "the machine's SP_EL0, which is `current`",
            _literal(lambda subject: subject.session.run("print $comm").split('"')[1]),
        ),
    ),
)
