# SPDX-License-Identifier: GPL-2.0-or-later
"""Generated definitions, filters, triggers, expressions and commands: each is accepted, or refused in one sentence."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator
from typing import Final

import pytest

from armprobe.commands import CommandError, Session
from armprobe.expressions import Condition, ExpressionError, Value, text_at
from armprobe.machine import MachineError
from armprobe.probes import EventError, ProbeError, Stage
from armprobe.probes.events.filter import Filter
from armprobe.probes.scope import GuestScope
from tests.oracle.definitions import Generator
from tests.oracle.trigger_lines import Lines
from tests.soak import AT_LENGTH, chance

COUNT: Final = 1_000_000 if AT_LENGTH else 2_000
EVENT: Final = "kprobes/own"
TIDIED: Final = 512
"""Lines after which what they have made is removed."""
PARTS: Final = (
    *("x0", "x1", "sp", "pc", "$comm", "$pid", "size", "kfree", "1", "0", "-1", "0xffffffffffffffff", "1UL", "'a'"),
    *(
        '"text"',
        "(",
        "(",
        ")",
        ")",
        "[",
        "]",
        "->",
        "->next",
        ".a",
        "*",
        "&",
        "+",
        "-",
        "/",
        "%",
        "<<",
        ">>",
        "==",
        "!=",
    ),
    *(
        "<=",
        ">=",
        "&&",
        "||",
        "!",
        "~",
        "(long)",
        "(char *)",
        "(struct slab *)",
        "sizeof(long)",
        "str(x0)",
        "u8",
        "s32",
    ),
    *("container_of(", "struct", " ", "\0", "é", "retval", "$elapsed", "elapsed"),
)
WORDS: Final = (
    *("count", "hist", "latency", "stacks", "stackcount", "argdist", "-C", "-H", "-p", "-i", "funccount", "funcgraph"),
    *("funclatency", "kprobe", "kretprobe", "probe", "-l", "-d", "if", "by", "print", "kfree", "kmalloc", "strlen"),
    *(
        "slab_*",
        "*",
        "x0",
        "$comm",
        "comm",
        "caller",
        "stack",
        "retval",
        "$pid",
        "size",
        "==",
        "!=",
        ">",
        "<",
        "&&",
        "||",
    ),
    *("(", ")", "1", "0x10", "-1", '"dd"', "str(x0)", "str(", "((char *)x0)", "*(long *)x0", "x0->y", "sizeof(int)"),
    *("container_of(x0,struct list_head,next)", "linear=0,10,1", "linear=", "keys=4", "keys=x", "depth=3", "depth=99"),
    *("calls=1", "p::kmalloc(long a,int b):long:a", "r::kmalloc():long:$retval", "'p::f(int'", "t:sched:sched_switch"),
    *("stop=pre", "%", "1/0", "x0/0", "&x0", "#", "é", "\\", "'", '"', "if x0 >", "++", "?", ":", "lhist(x0,0,10,1)"),
    *("@[comm] = count()", "kprobe:vfs_read { @ = hist(arg2); }", "{", "}"),
)
HEADS: Final = "count kfree by ", "hist kmalloc ", "count kmalloc if ", "argdist -C kmalloc ", "argdist -C "
REFUSALS: Final = EventError, CommandError, ProbeError, MachineError, ExpressionError


class _Generated:
    """Lines of each kind, and what takes them."""

    def __init__(self, session: Session, rng: random.Random) -> None:
        self._session, self._rng = session, rng
        seed = rng.randrange(1 << 32)
        self._definitions, self._triggers = Generator(seed), Lines(seed)
        self._events = session.kprobes.events
        self._events.define(f"p:{EVENT} kmalloc size=%x0:u64 flags=%x1:x32 name=+0(%x2):string")
        self._fields = self._events.find(EVENT).fields
        entry = session.machine.symbols["kmalloc"].address
        self._scopes = [GuestScope(session.machine, stage, entry, "kmalloc") for stage in (Stage.PRE, Stage.RETURN)]

    def lines(self) -> Iterator[tuple[str, Callable[[str], object]]]:
        """Lines and their functions, of each kind by turns."""
        while True:
            yield self._definitions.question(self._rng.random() < 0.5).text, self._events.define
            kind, line = self._triggers.line()
            yield line, self._filter if kind == "filter" else self._trigger
            yield self._expression(), self._rng.choice((self._condition, self._value, self._text))
            yield self._command(), self._session.run

    def tidy(self) -> None:
        """Remove probes and triggers, and all events but one."""
        self._session.run("unregister all")
        for line in self._events.trigger(EVENT).splitlines():
            if not line.startswith("#"):
                with contextlib.suppress(EventError):  # as the kernel, it lists keys=-(FIELD.buckets=10) as keys=
                    self._trigger("!" + line.partition(" [")[0])
        for event in self._events.events:
            self._events.disable(event.path)
            if event.path != EVENT:
                self._events.delete(event.path)

    def _filter(self, line: str) -> object:
        return Filter.parse(line, self._fields)

    def _trigger(self, line: str) -> object:
        return self._events.trigger(EVENT, line)

    def _condition(self, line: str) -> object:
        return Condition.compile(line, self._rng.choice(self._scopes))

    def _value(self, line: str) -> object:
        return Value.compile(line, self._rng.choice(self._scopes))

    def _text(self, line: str) -> object:
        return text_at(line, self._rng.choice(self._scopes), 511)

    def _expression(self) -> str:
        return "".join(self._rng.choices(PARTS, k=self._rng.randrange(1, 9)))

    def _command(self) -> str:
        if self._rng.random() < 0.5:
            return self._rng.choice(HEADS) + self._expression()
        line = " ".join(self._rng.choices(WORDS, k=self._rng.randrange(1, 8)))
        return f"count {line}" if line.startswith("!") else line  # which is for the shell


@pytest.mark.soak
def test_a_line_is_accepted_or_refused_in_one_sentence() -> None:
    accepted = refused = 0
    with Session("demo", memory="16M") as session:
        generated = _Generated(session, chance())
        for number, (line, take) in enumerate(generated.lines(), start=1):
            try:
                take(line)
                accepted += 1
            except REFUSALS as refusal:
                sentence = str(refusal).partition("\n  ")[0]  # what follows shows the place in the line
                assert sentence, line
                assert "\n" not in sentence, line
                refused += 1
            if number % TIDIED == 0:
                generated.tidy()
            if number == COUNT:
                break
    print(f"{accepted:,} accepted, {refused:,} refused")
    assert accepted > COUNT // 50
    assert refused > COUNT // 2
