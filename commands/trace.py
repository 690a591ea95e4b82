# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands for the recorded hits: their lines in the kernel's trace file, live too, and files of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from armprobe.machine import host_files
from armprobe.probes import Hit
from armprobe.session.authority import Asker, Host, asker
from armprobe.traces import lost_line
from armprobe.traces.formats import FORMATS, Format, format_of, save

from .declaration import Arg, Arguments, Command, integer, path
from .errors import CommandError
from .hits import stage_of
from .values import FollowsHits, SavedHits, Trace, TraceEvent, TraceSize

if TYPE_CHECKING:
    from armprobe.session import Session

GROUP = "Probes"


def _trace(session: Session, arguments: Arguments) -> Trace:
    shown, count = session.kprobes.hits.traced(), arguments.count
    if len(shown) <= count and session.kprobes.lost:
        session.remark(f"{lost_line(session.kprobes.lost)}\n")
    return Trace(_event(session, hit) for hit in (shown[-count:] if count > 0 else ()))


def _event(session: Session, hit: Hit) -> TraceEvent:
    comm, pid = hit.task or (None, None)
    line = session.kprobes.trace_line(hit)
    return TraceEvent(
        at=stage_of(hit),
        seconds=hit.seconds,
        address=hit.address,
        task=comm,
        pid=pid,
        x0=hit.recorded.get("x0"),
        note=hit.note,
        line="\n".join((line, *session.kprobes.events.stack(hit, line))),
    )


def _count(session: Session, word: str) -> int:
    """The number of lines. What else may follow is the second word of another command's name."""
    if word.startswith(">"):
        raise CommandError("write a blank between > and the file: trace > FILE")
    if " " in word:  # as bcc's trace has it
        raise CommandError('trace shows recorded hits: kprobe FUNCTION print "FORMAT", VALUE records them')
    return integer(session, word)


def _follow(session: Session, arguments: Arguments) -> FollowsHits:
    if arguments.state == "off":
        session.follower.stop()
    else:
        session.follower.follow(session.remark if asker() is Asker.LOCAL else session.debug_target.remark)
    return FollowsHits(session.follower.following)


def _save(session: Session, arguments: Arguments) -> SavedHits:
    return _saved(session, arguments.file, format_of(arguments.file), arguments.force is not None)


def _write(session: Session, arguments: Arguments) -> SavedHits:
    return _saved(session, arguments.file, FORMATS[0], arguments.force is not None)


def _saved(session: Session, file: Path, how: Format, force: bool) -> SavedHits:
    saved = save(session.kprobes, file, how, force=force)
    return SavedHits(host_files.shown(file), how.name, len(saved.table.hits), saved.lost)


def _size(session: Session, arguments: Arguments) -> TraceSize:
    if arguments.size is not None:
        session.kprobes.kept = arguments.size
    return TraceSize(session.kprobes.kept, len(session.kprobes.hits), session.kprobes.lost)


_FILE: Final = Arg("file", "file to write", type=path, host=Host.WRITES_FILES)
_FORCE: Final = Arg("force", "replace a file that armprobe has not made", optional=True, choices=("force",))
_ENDINGS: Final = "".join(f"    {', '.join(each.endings):<16} {each.name}\n" for each in FORMATS)

COMMANDS = (
    Command(
        "trace",
        "Show the last hits, one a line, in the format of the kernel's trace file.\n"
        "Where the guest's types are known, a line has the arguments of the function by name, and its result as\n"
        "retval, with -ENOENT and the like for error pointers and for system calls; otherwise x0.\n"
        "If all that are kept are shown and there were others before them, a line says how many stages were lost.",
        (Arg("count", "number of lines (default: 20)", type=_count, optional=True, default=20),),
        _trace,
        group=GROUP,
        gdb="kprobe-trace",
    ),
    Command(
        "trace follow",
        "Show hits as they come while the guest runs, as the kernel's trace_pipe does.\n"
        "They are shown where this was typed, at armprobe's prompt or in gdb, whoever runs the guest. If more come\n"
        "between two looks than are kept, a line says how many were lost; trace size keeps more.",
        (Arg("state", "off: show them no longer", optional=True, choices=("on", "off"), default="on"),),
        _follow,
        group=GROUP,
        gdb=False,
    ),
    Command(
        "trace save",
        "Save the hits that are kept to a file, in the format that its ending names.\n"
        f"{_ENDINGS}\n"
        "The table formats have a row for each stage of a hit. docs/traces.md describes the columns.\n"
        "It replaces a file of the same format that armprobe has made, and another only with the word force.",
        (_FILE, _FORCE),
        _save,
        group=GROUP,
        gdb=False,
    ),
    Command(
        "trace >",
        "Write the lines of all hits that are kept to a file, as trace save does to a file ending in .txt.",
        (_FILE, _FORCE),
        _write,
        group=GROUP,
        gdb=False,
    ),
    Command(
        "trace size",
        "Show or change how many stages of hits are kept: 1000 at first, 262144 at most.\n"
        "A hit of a kprobe has the stages pre and post, one of a kretprobe entry and return. If there are more, the\n"
        "oldest are lost, and counted.",
        (Arg("size", "number of stages", type=integer, optional=True),),
        _size,
        group=GROUP,
        gdb=False,
    ),
)
