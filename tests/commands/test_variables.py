# SPDX-License-Identifier: GPL-2.0-or-later
"""The command info args, beside what the demo kernel's source and gdb say."""

import re
from collections.abc import Iterator

import pytest

from armprobe.commands import CommandError, Session


@pytest.fixture
def session() -> Iterator[Session]:
    with Session("demo", memory="16M") as session:
        yield session


def test_arguments_at_the_entry(session: Session) -> None:
    """size_t strlen(const char *s), guests/demo/lib/string.c; void *kmalloc(size_t size, unsigned int flags), slab.c"""
    session.run("tbreak kmalloc")
    session.run("continue")
    x0, x1 = (int(session.run(f"print/d $x{number}")) for number in (0, 1))
    assert session.run("info args") == f"size = (size_t){x0}\nflags = (unsigned int){x1}\n"
    session.run("tbreak strlen")
    session.run("continue")
    x0 = int(session.run("print/d $x0")) & (1 << 64) - 1
    text = re.search(r'"(.*)"', session.run("x/s $x0"))
    assert text is not None
    assert session.run("info args") == f's = (const char *){x0:#x} = "{text[1]}"\n'


def test_where_they_are_not_known(session: Session) -> None:
    session.run("tbreak kmalloc+4")
    session.run("continue")
    with pytest.raises(CommandError, match=r"known at its first instruction, and this is .*gdb follows them"):
        session.run("info args")
    with pytest.raises(CommandError, match="armprobe gdb reads local variables"):
        session.run("info locals")
