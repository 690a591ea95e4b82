# SPDX-License-Identifier: GPL-2.0-or-later
"""Arguments by the names of parameters, compared with the kernels that have them."""

from __future__ import annotations

import re

import pytest

from armprobe.commands import Session
from tests.oracle.definitions import Question, ask_kernel, our_answer
from tests.oracle.guests import at_shell
from tests.oracle.references import ASKED, REFERENCES, fetch  # tests have no import name to go by

DEFINITIONS = (
    "p:ev do_sys_openat2 $arg*",
    "p:ev do_sys_openat2 dfd name=filename:ustring",
    "p:ev do_sys_openat2 filename:ustring dfd:x8 x=dfd",
    "p:ev vfs_read $arg* n=count:u8",
    "p:ev vfs_read file->f_mode mode=file->f_inode->i_mode pos",
    "p:ev vfs_read name=file->f_path.dentry->d_name.name:string h=+0(file->f_inode)",
    "p:ev vfs_read ino=file->f_inode->i_ino sb=file->f_inode->i_sb->s_id:string",
)
REFUSED = ("p:ev vfs_read file->nosuch", "p:ev vfs_read nosuch", "p:ev vfs_read count->a", "p:ev vfs_read+8 count")
TRACING = "/sys/kernel/tracing"


@pytest.mark.parametrize("reference", [era for era in ASKED if era in ("v6.9", "v7.2")])
def test_the_kernel_prints_the_same(reference: str) -> None:
    """Formats, listing, and the lines of both while a command runs; and what is refused there is refused here."""
    with Session(at_shell(fetch(REFERENCES[reference]))) as session:
        questions = [Question("", text) for text in (*DEFINITIONS, *REFUSED)]
        for question, theirs in zip(questions, ask_kernel(session, questions), strict=True):
            ours = our_answer(session.kprobes.events, question)
            assert (bool(ours.error), ours.formats) == (bool(theirs.error), theirs.formats), question
            assert bool(theirs.error) is (question.text in REFUSED), question
        for text in DEFINITIONS:
            ours_lines, their_lines = lines(session, text)
            assert ours_lines == their_lines, text
            assert ours_lines


def lines(session: Session, text: str) -> tuple[list[str], list[str]]:
    """The arguments in our lines of one command's hits, and in the guest's."""
    kprobes, shell = session.kprobes, session.guest.sh
    kprobes.hits.clear()
    kprobes.events.define(text)
    kprobes.events.enable("ev")
    enable = f"{TRACING}/events/kprobes/ev/enable"
    shell(f"echo '{text}' > {TRACING}/kprobe_events; echo > {TRACING}/trace; echo 1 > {enable}")
    shell("exec wc /proc/version")
    trace = shell(f"echo 0 > {enable}; cat {TRACING}/trace; echo > {TRACING}/kprobe_events").out
    ours = kprobes.events.trace()
    kprobes.events.disable("ev")
    kprobes.events.clear()
    pattern = re.compile(r"^ *wc-\d+ .*? ev: \([^)]*\) (.*)$", re.MULTILINE)
    return pattern.findall("\n".join(ours)), pattern.findall(trace)
