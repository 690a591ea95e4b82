# SPDX-License-Identifier: GPL-2.0-or-later
"""Generated definitions of events, given to the kernel that runs in the machine and to `Kprobes.events`."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator

import pytest

from armprobe.commands import Session
from tests.oracle.definitions import PRODUCTIONS, Generator, ask_kernel, comparable, our_answer
from tests.oracle.references import EVERYTHING
from tests.stock import stock_snapshot  # tests have no import name to go by

COUNT = 2000 if EVERYTHING else 60


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    with Session(stock_snapshot()) as session:
        yield session


@pytest.mark.sample(of="tests")
def test_the_kernel_says_the_same(session: Session, compared: Callable[[str, int], None]) -> None:
    """Acceptance, errno, message, command, column, listing and formats, each a definition and each second a mutant."""
    seed = int(os.environ.get("ARMPROBE_SEED", random.randrange(1 << 32)))
    print(f"ARMPROBE_SEED={seed}")
    generator = Generator(seed)
    questions = [generator.question(number % 2 == 1) for number in range(COUNT)]
    theirs = ask_kernel(session, questions)
    assert len(theirs) == len(questions)
    ours = [our_answer(session.kprobes.events, question) for question in questions]
    differ = [
        (question, kernel, us)
        for question, kernel, us in zip(questions, map(comparable, theirs), map(comparable, ours), strict=True)
        if kernel != us
    ]
    assert differ == [], f"ARMPROBE_SEED={seed}"
    if EVERYTHING:
        assert generator.used == PRODUCTIONS
    refused = sum(bool(answer.error) for answer in theirs)
    assert COUNT // 10 < refused < COUNT
    compared("generated definitions of events", COUNT)
