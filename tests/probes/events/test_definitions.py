# SPDX-License-Identifier: GPL-2.0-or-later
"""Definitions of events, compared with the answers of a 6.1 kernel."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Iterator
from typing import Final

import pytest

from armprobe.commands import Session
from armprobe.probes import EventError, Events, Kprobes
from tests.oracle.references import DEFAULT, REFERENCES, fetch_with
from tests.oracle.stock_modules import stock_modules
from tests.probes.events.kernel_definitions import Answer, definitions, kernels_answer, our_answer, remove_all
from tests.stock import stock_snapshot  # tests have no import name to go by

CATEGORIES: Final = list(dict.fromkeys(str(case["category"]) for case in definitions()))
LINES: Final = 1_000_000 if "ARMPROBE_FUZZ" in os.environ else 5_000
ALPHABET: Final = 'pr:-+@%$\\"()[]{}u8x64 \t\n#=,.abz019/@\0\xe9\U0001f600'
WORDS: Final = (
    *("p", "r", "p:", "r8:", "-:", "p:ev", "p:grp/ev", "vfs_read", "vfs_read+8", "do_sys_openat2", "dummy:dummy_xmit"),
    *(
        "%return",
        "0x1000",
        "%x0",
        "%sp",
        "$arg1",
        "$stack",
        "$stack9",
        "$comm",
        "$retval",
        "@vfs_read",
        "+0(",
        "-8(",
        ")",
    ),
    *(
        "+u4(",
        ":u8",
        ":string",
        ":ustring",
        ":symbol",
        ":symstr",
        ":b4@0/8",
        "[3]",
        '\\"text"',
        "\\-1",
        "a=",
        "name=",
        " ",
    ),
)


@pytest.fixture(scope="module")
def guest_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """A stock kernel with the module dummy loaded."""
    file = tmp_path_factory.mktemp("modules") / "dummy.ko"
    file.write_bytes(fetch_with(REFERENCES[DEFAULT], stock_modules)["dummy"])
    with Session(stock_snapshot()) as session:
        session.guest.push(file, "/dummy.ko")
        assert session.guest.sh("insmod /dummy.ko").status == 0
        yield session


@pytest.fixture
def kprobes(guest_session: Session) -> Iterator[Kprobes]:
    yield guest_session.kprobes
    remove_all(guest_session.kprobes.events)


@pytest.mark.parametrize("category", CATEGORIES)
@pytest.mark.sample(of="tests")
def test_definitions(kprobes: Kprobes, category: str) -> None:
    """Acceptance, errno, message, command, column, listing and format: all as the kernel's."""
    cases = [case for case in definitions() if case["category"] == category]
    symbols = kprobes.machine.symbols
    differ: list[tuple[Answer, Answer, Answer]] = []
    for case in cases:
        theirs, ours = kernels_answer(case), our_answer(kprobes.events, case, symbols)
        if ours != theirs:
            differ.append((case, theirs, ours))
    assert differ == []
    assert cases


def test_nothing_is_left_out() -> None:
    assert len(definitions()) == 932


def refusal(events: Events, text: str) -> EventError | None:
    try:
        events.define(text)
    except EventError as error:
        return error
    return None


def test_any_line(kprobes: Kprobes) -> None:
    """What is no definition is an EventError, with the caret in the command, and never anything else."""
    seed = random.randrange(1 << 32)
    generator, accepted, refused = random.Random(seed), 0, set()
    for _ in range(LINES):
        words = generator.choices(WORDS, k=generator.randrange(1, 9))
        text = "".join(words) if generator.random() < 0.5 else " ".join(words)
        if generator.random() < 0.5:
            text = f"{generator.choice('pr')}:e{generator.randrange(9)} vfs_read {' '.join(words[:2])}"
        for _ in range(generator.randrange(3)):
            at = generator.randrange(len(text) + 1)
            text = text[:at] + generator.choice(ALPHABET) + text[at + generator.randrange(2) :]
        error = refusal(kprobes.events, text)
        if error is None:
            accepted += 1
        else:
            refused.add(error.message)
            assert error.errno in errno.errorcode, (seed, text)
            assert error.reason, (seed, text)
            if error.column is not None:
                command = (error.command or "").encode("utf-8", "surrogateescape")
                assert 0 <= error.column <= len(command) + 1, (seed, text)
        assert all(len(line.splitlines()) == 1 for line in kprobes.events.list()), (seed, text)
        if len(kprobes.events.list()) > 20:
            kprobes.events.clear()
    assert accepted > LINES // 500, seed
    assert len(refused) > 15, seed


def test_listing_defines_the_same(kprobes: Kprobes) -> None:
    """The listing is a file that can be loaded: what somebody has on a board works here, and back."""
    text = "# two of them\np:open do_sys_openat2 name=+0(%x1):ustring\n\nr4:grp/read vfs_read $retval:s64 # sizes\n"
    kprobes.events.define(text)
    listed = kprobes.events.list()
    assert listed == [
        "p:kprobes/open do_sys_openat2 name=+0(%x1):ustring",
        "r4:grp/read vfs_read arg1=$retval:s64",
    ]
    kprobes.events.clear()
    kprobes.events.define("\n".join(listed))
    assert kprobes.events.list() == listed


def test_names_that_are_not_ascii(kprobes: Kprobes) -> None:
    """A generated name has the bytes of the symbol. An event is found by the name that is shown."""
    events = kprobes.events
    events.define("r no_such:é\np:\udcc3/x vfs_read \udcc3=%x0")
    assert [event.path for event in events.events] == ["kprobes/r_no_such_é_0", "\udcc3/x"]
    for event in events.events:
        assert event.name in events.format(event.path)
        events.enable(event.path)
        events.disable(event.path)
        events.delete(event.path)
    assert events.list() == []


def test_modules_come(guest_session: Session, kprobes: Kprobes) -> None:
    """An event in a module that is not loaded waits for it, each time, as the kernel's does."""
    shell, events = guest_session.guest.sh, kprobes.events
    assert shell("rmmod dummy").status == 0
    events.define("r:up dummy:dummy_dev_init $retval")
    events.define("p:up2 dummy:dummy_setup")
    assert events.list() == ["r:kprobes/up dummy:dummy_dev_init arg1=$retval", "p:kprobes/up2 dummy:dummy_setup"]
    events.enable("up")
    events.enable("up2")
    for _ in range(2):
        kprobes.hits.clear()
        assert shell("insmod /dummy.ko").status == 0
        assert events.list()[0] == "r10:kprobes/up dummy:dummy_dev_init arg1=$retval"
        names = [line.split(": ")[1].strip() for line in events.trace()]
        assert names == ["up2", "up"]
        assert shell("rmmod dummy").status == 0
    assert shell("insmod /dummy.ko").status == 0
