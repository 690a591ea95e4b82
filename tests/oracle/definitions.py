# SPDX-License-Identifier: GPL-2.0-or-later
"""Random definitions of kprobe events, half of them wrong, and how a guest's own tracefs is asked about them."""

from __future__ import annotations

import errno
import os
import random
import re
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from armprobe.commands import Session
from armprobe.probes import EventError, Events
from tests.probes.events.kernel_definitions import format_lines, remove_all  # tests have no import name to go by

TRACING: Final = "/sys/kernel/tracing"
_ERRORS: Final = {os.strerror(number): EventError(number, "").errno_name for number in errno.errorcode}
_LOGGED: Final = re.compile(r"\[[ \d.]+\] trace_kprobe: error: (.*)\n  Command: (.*)\n(  *)\^\n")
_HASH: Final = re.compile(r"0x[0-9a-f]+")
_CHARACTERS: Final = 'pr:-+@%$\\"()[]{}u8x64 \t#=,.abz019/<é'
# One write of a line to kprobe_events, then what the kernel logged, what it lists, and the formats.
_ASK: Final = r"""
cd /sys/kernel/tracing
while IFS= read -r before && IFS= read -r text; do
    : > kprobe_events
    [ -z "$before" ] || echo "$before" >> kprobe_events
    echo > error_log
    echo "=definition"
    echo "$text" 2>&1 >> kprobe_events
    echo "=log"
    cat error_log
    echo "=listing"
    cat kprobe_events
    for format in events/kprobes/*/format events/grp/*/format; do
        [ -f "$format" ] && echo "=format $format" && cat "$format"
    done
done < /definitions 2>/dev/null
: > kprobe_events
"""


class Question(NamedTuple):
    """A line for kprobe_events, and the line that was written before it, empty for none."""

    before: str
    text: str


class Answer(NamedTuple):
    """What a write did: errno's name or empty, what was logged (message, command, column), the listing, the formats."""

    error: str
    logged: tuple[str, str, int] | None
    listing: list[str]
    formats: dict[str, object]


class Generator:
    """Makes definitions. `used` has the productions of the grammar that occurred."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.used: set[str] = set()

    def question(self, mutant: bool) -> Question:
        """A definition or a deletion, with mistakes if it is a `mutant`."""
        before = self.definition() if self._random.random() < 0.3 else ""
        text = self._one(self._again, self._deletion)(before) if before else self.definition()
        return Question(before, self._mutated(text) if mutant else text)

    def definition(self) -> str:
        """A definition, right by the grammar."""
        words = [self._head(), self._place()]
        return " ".join(words + [self._argument() for _ in range(self._random.choice((0, 1, 1, 2, 3)))])

    def _one(self, *productions: Callable[..., str]) -> Callable[..., str]:
        production = self._random.choice(productions)
        self.used.add(production.__name__.strip("_"))
        return production

    def _pick(self, *words: str, wrong: Sequence[str] = ()) -> str:
        return self._random.choice(wrong if wrong and self._random.random() < 0.05 else words)

    def _again(self, before: str) -> str:
        """The same event again, which may be another probe of it."""
        words = before.split()
        if self._random.random() < 0.4:
            words[1] = self._place()
        if self._random.random() < 0.4:
            words[2:] = [*words[2:], self._argument()][-2:]
        return " ".join(words)

    def _deletion(self, before: str) -> str:
        head, place, *_ = before.split()
        name = head.partition(":")[2]
        if place[0].isdigit():  # which the kernel has a hash for
            return f"-:{name}"
        return self._pick(f"-:{name}", "-:ev", "-:grp/", "-:kprobes/ev", f"-:{name} {' '.join(before.split()[1:])}")

    def _head(self) -> str:
        return self._one(self._kprobe, self._kretprobe, self._maxactive)() + self._one(self._named, self._unnamed)()

    def _kprobe(self) -> str:
        return "p"

    def _kretprobe(self) -> str:
        return "r"

    def _maxactive(self) -> str:
        return f"r{self._pick('1', '8', '010', '0x20', '4096', '-1', wrong=('4097', '0', '4294967295'))}"

    def _named(self) -> str:
        return ":" + self._pick("ev", "grp/ev", "grp/", "grp.ev", "e2", "_x", "kprobes/ev")

    def _unnamed(self) -> str:
        return ""

    def _place(self) -> str:
        return self._one(
            *[self._symbol] * 6, self._inside, self._of_module, self._address, self._returning, self._refused
        )()

    def _symbol(self) -> str:
        return self._pick("vfs_read", "vfs_write", "do_sys_openat2", "kfree", "do_filp_open")

    def _inside(self) -> str:
        return self._symbol() + self._pick("+8", "+0xc", "+0", "-0", "+010", wrong=("+2", "+4", "-4", "+1000000000"))

    def _of_module(self) -> str:
        return self._pick("no_such:foo", "no_such:foo+8", "vmlinux:vfs_read")

    def _address(self) -> str:
        return self._pick("0x1000", "0xffff800008010000", "18446603336359216912", "1", "0xffff8000083a0710")

    def _returning(self) -> str:
        return self._symbol() + self._pick("%return", "+0%return", wrong=("+8%return", "%ret"))

    def _refused(self) -> str:
        return self._pick("t_show", "no_such", "ret_from_fork", "_stext", "_etext", "brk_handler", "cpu_switch_to")

    def _argument(self) -> str:
        name = self._pick("", "", "a=", "b=", "name=", "x1=", wrong=("common_pid=", "="))
        return name + self._fetch(0) + self._one(self._untyped, self._typed, self._bit_field, self._array)()

    def _fetch(self, depth: int) -> str:
        sources = (
            self._register,
            self._register,
            self._variable,
            self._at_address,
            self._at_symbol,
            self._immediate,
            self._text,
        )
        if depth < 4 and self._random.random() < 0.5:
            return self._one(self._dereference, self._user_dereference)(depth)
        return self._one(*sources)()

    def _register(self) -> str:
        return "%" + self._pick("x0", "x1", "x30", "sp", "pc", "lr", "pstate", wrong=("x31", "w0", "fp"))

    def _variable(self) -> str:
        wrong = "retval", "arg0", "arg1", "stack2049", "stackx", "argx"
        return "$" + self._pick("stack", "stack0", "stack12", "stack2048", "comm", "COMM", wrong=wrong)

    def _at_address(self) -> str:
        return "@" + self._pick(
            "0x1000", "12", "0777", "0xffff8000083a0710", wrong=("08", "+8", "99999999999999999999")
        )

    def _at_symbol(self) -> str:
        return "@" + self._pick("vfs_read", "kfree+8", "kfree-8", wrong=("no_such", "vfs_read+x", "jiffies"))

    def _immediate(self) -> str:
        wrong = "08", "99999999999999999999", "-9223372036854775809"
        return "\\" + self._pick("1", "-1", "+3", "0x10", wrong=wrong)

    def _text(self) -> str:
        return '\\"' + self._pick("text", "", "a:b", "%s") + self._pick('"', wrong=("",))

    def _dereference(self, depth: int) -> str:
        return self._pick("+0", "+8", "-8", "+0x10", "+-8", "++8", "+010") + f"({self._fetch(depth + 1)})"

    def _user_dereference(self, depth: int) -> str:
        return self._pick("+u0", "-u8", "+u8") + f"({self._fetch(depth + 1)})"

    def _untyped(self) -> str:
        return ""

    def _typed(self) -> str:
        integers = [f"{letter}{bits}" for letter in "usx" for bits in (8, 16, 32, 64)]
        return ":" + self._pick(*integers, "string", "ustring", "symbol", "symstr", wrong=("char", "int"))

    def _bit_field(self) -> str:
        wrong = "b9@0/8", "b@0/8", "b1@0/24", "b1@/8"
        return ":" + self._pick("b4@0/8", "b1@31/32", "b16@8/64", "b0x4@0/0x20", wrong=wrong)

    def _array(self) -> str:
        return self._typed() + self._pick("[1]", "[4]", "[64]", "[0x2]", wrong=("[65]", "[0]", "[x]", "[2", "[2]x"))

    def _mutated(self, text: str) -> str:
        for _ in range(self._random.choice((1, 1, 2, 3))):
            at = self._random.randrange(len(text) + 1)
            other = self._random.randrange(len(text) + 1)
            text = self._one(self._inserted, self._removed, self._replaced, self._repeated)(text, at, other)
        return text

    def _inserted(self, text: str, at: int, _: int) -> str:
        return text[:at] + self._random.choice(_CHARACTERS) + text[at:]

    def _removed(self, text: str, at: int, _: int) -> str:
        return text[:at] + text[at + 1 :]

    def _replaced(self, text: str, at: int, _: int) -> str:
        return text[:at] + self._random.choice(_CHARACTERS) + text[at + 1 :]

    def _repeated(self, text: str, at: int, other: int) -> str:
        first, last = sorted((at, other))
        return text[:last] + text[first : first + 40] + text[last:]


PRODUCTIONS: Final = frozenset(
    (
        *("again", "deletion", "kprobe", "kretprobe", "maxactive", "named", "unnamed", "symbol", "inside", "of_module"),
        *("address", "returning", "refused", "register", "variable", "at_address", "at_symbol", "immediate", "text"),
        *("dereference", "user_dereference", "untyped", "typed", "bit_field", "array"),
        *("inserted", "removed", "replaced", "repeated"),
    )
)


def ask_kernel(session: Session, questions: Sequence[Question]) -> list[Answer]:
    """What the guest's own kprobe_events does with the lines."""
    guest = session.guest
    with tempfile.TemporaryDirectory() as folder:
        for name, text in (
            ("definitions", "".join(f"{each.before}\n{each.text}\n" for each in questions)),
            ("ask", _ASK),
        ):
            Path(folder, name).write_bytes(text.encode())
            guest.push(Path(folder, name), f"/{name}")
    guest.sh(f"mount -t tracefs t {TRACING} 2>/dev/null; sh /ask > /answers", timeout=600)
    parts = re.split(r"^=definition\n", guest.pull("/answers").decode("utf-8", "surrogateescape"), flags=re.MULTILINE)
    return [_answer(part) for part in parts[1:]]


def _answer(text: str) -> Answer:
    written, rest = re.split(r"^=log\n", text, maxsplit=1, flags=re.MULTILINE)
    log, rest = re.split(r"^=listing\n", rest, maxsplit=1, flags=re.MULTILINE)
    listing, *formats = re.split(r"^=format ", rest, flags=re.MULTILINE)
    found = _LOGGED.search(log)
    indent = len("  Command: ")
    return Answer(
        _ERRORS[written.strip().rpartition(": ")[2]] if written else "",
        None if found is None else (found[1], found[2], len(found[3]) - indent),
        listing.splitlines(),
        {each.partition("\n")[0].split("/", 1)[1].rpartition("/")[0]: format_lines(each) for each in formats},
    )


def our_answer(events: Events, question: Question) -> Answer:
    """What `events` do with the line."""
    remove_all(events)
    error, logged = "", None
    if question.before:
        _refusal(events, question.before)
    refusal = _refusal(events, question.text)
    if refusal is not None:
        error = refusal.errno_name
        if refusal.message is not None and refusal.command is not None and refusal.column is not None:
            logged = refusal.message, refusal.command, refusal.column
    asked = [event for event in events.events if event.group in ("kprobes", "grp")]
    formats: dict[str, object] = {event.path: format_lines(event.format) for event in asked}
    return Answer(error, logged, events.list(), formats)


def _refusal(events: Events, line: str) -> EventError | None:
    try:
        events.define(f"{line}\n")
    except EventError as error:
        return error
    return None


def comparable(answer: Answer) -> Answer:
    """Without the addresses of places, of which the kernel shows hashes."""
    listing = []
    for line in answer.listing:
        head, place, *rest = line.split(" ")
        if place.startswith("0x"):
            head, place = _HASH.sub("0x<hash>", head), "0x<hash>"
        listing.append(" ".join([head, place, *rest]))
    formats = {_HASH.sub("0x<hash>", name): lines for name, lines in answer.formats.items()}
    return answer._replace(listing=listing, formats=formats)
