# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands that keep states of the whole guest and go back to them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from armprobe.kernel import Linux
from armprobe.kernel.vmcore import write_vmcore
from armprobe.machine import Stop, StopReason, host_files
from armprobe.session.authority import Host

from .declaration import Arg, Arguments, Command, Option, path
from .errors import CommandError
from .locations import location
from .stops import require_stopped
from .values import Disk, PutBack, Saved, SnapshotRow, SnapshotRows, SnapshotTaken, VmcoreSaved

if TYPE_CHECKING:
    from armprobe.session import Session
    from armprobe.session.snapshots import NamedSnapshot

GROUP = "Snapshots"


def _complete(session: Session, word: str) -> Iterable[str]:
    return [each.name for each in session.snapshots.all()]


def _name(session: Session, word: str) -> str:
    if not word.isprintable() or len(word) > 100:
        raise CommandError("a snapshot's name has at most 100 characters, all of them printable")
    return word


def _row(session: Session, named: NamedSnapshot) -> SnapshotRow:
    place = location(session, named.address)
    return SnapshotRow(named.name, named.snapshot.position, named.seconds, place)


def _snapshot(session: Session, arguments: Arguments) -> SnapshotTaken:
    replaced = session.snapshots.take(arguments.name, session.stop)
    return SnapshotTaken(_row(session, session.snapshots.named(arguments.name)), replaced)


def _snapshots(session: Session, arguments: Arguments) -> SnapshotRows:
    if arguments.delete is not None:
        session.snapshots.delete(arguments.delete)
    return SnapshotRows(_row(session, each) for each in session.snapshots.all())


def _put_back(session: Session, what: str, put_back: Callable[[], None], stop: Stop | None = None) -> PutBack:
    require_stopped(session)
    put_back()
    machine = session.machine
    pc = machine.registers.pc
    session.stop = stop or Stop(StopReason.RESET, pc, f"put back to {what}")
    return PutBack(what, machine.instructions, machine.clock.seconds, location(session, pc))


def _restore(session: Session, arguments: Arguments) -> PutBack:
    named = session.snapshots.named(arguments.name)
    put_back = lambda: session.machine.restore(named.snapshot)  # noqa: E731
    return _put_back(session, f"snapshot {named.name}", put_back, named.stop)


def _reset(session: Session, arguments: Arguments) -> PutBack:
    return _put_back(session, "its start", session.machine.reset)


def _save(session: Session, arguments: Arguments) -> Saved:
    machine, timeline = session.machine, session.machine.timeline
    history = timeline.enabled and arguments.history != "no"
    machine.save(arguments.file, force=arguments.force is not None, history=history)
    disk = None if machine.disk is None else machine.disk.image.name
    return Saved(host_files.shown(arguments.file), disk, timeline.start if history else None)


def _load(session: Session, arguments: Arguments) -> PutBack:
    return _put_back(session, host_files.shown(arguments.file), lambda: session.machine.resume(arguments.file))


def _vmcore(session: Session, arguments: Arguments) -> VmcoreSaved:
    kernel = session.machine.kernel
    if not isinstance(kernel, Linux):
        raise CommandError("a vmcore is of a Linux kernel, which this guest is not: use save")
    with host_files.new_file(arguments.file, lambda _: False, force=arguments.force is not None) as out:
        size = write_vmcore(kernel, out)
    return VmcoreSaved(host_files.shown(arguments.file), size)


def _disk(session: Session, arguments: Arguments) -> Disk:
    disk, file = session.machine.disk, arguments.file
    if disk is None:
        if file is not None:
            raise CommandError("the guest has no disk: start it with --disk IMAGE")
        return Disk(None, 0, 0, None)
    if file is not None:
        require_stopped(session)
        with host_files.new_file(file, lambda _: False, force=arguments.force is not None) as out:
            disk.image.export(out)
    return Disk(disk.image.name, disk.image.size, disk.image.written, None if file is None else host_files.shown(file))


_NAME = Arg("name", "name of the snapshot", complete=_complete)

COMMANDS = (
    Command(
        "snapshot",
        "Keep the whole state of the guest under a NAME, to restore it later.\n"
        "It takes milliseconds and holds what changes from then on. An older snapshot of that name is replaced.",
        (Arg("name", "name of the snapshot", type=_name, complete=_complete),),
        _snapshot,
        group=GROUP,
    ),
    Command(
        "restore",
        "Put the guest back to a snapshot: registers, memory, devices, time.\n"
        "Probes and breakpoints that are set stay set, and recorded hits are those up to that state.",
        (_NAME,),
        _restore,
        group=GROUP,
        gdb="guest-restore",
        changes_state=True,
    ),
    Command(
        "snapshots",
        "List the snapshots, or delete one.",
        (Option("delete", "name of a snapshot to delete", complete=_complete),),
        _snapshots,
        group=GROUP,
    ),
    Command(
        "reset",
        "Put the guest back to the state in which it was loaded. Probes and breakpoints stay set.",
        (),
        _reset,
        group=GROUP,
        changes_state=True,
    ),
    Command(
        "save",
        "Save the whole machine to a file, from which it can be resumed later: armprobe FILE.\n"
        "The file has the guest's history too, so that whoever opens it can go back. With history=no, it is smaller.\n"
        "It replaces an older snapshot of that name, and another file only with the word force.",
        (
            Arg("file", "file to write", type=path, host=Host.WRITES_FILES),
            Arg("force", "replace a file even if it is no snapshot", optional=True, choices=("force",)),
            Option("history", "no: leave the history out", choices=("no",)),
        ),
        _save,
        group=GROUP,
        gdb="guest-save",
    ),
    Command(
        "load",
        "Put the guest into the state in a file that save has written, with the history that the file has.\n"
        "The file must be of the same guest. Another one is started with armprobe FILE.",
        (Arg("file", "file to read", type=path, host=Host.READS_FILES),),
        _load,
        group=GROUP,
        gdb="guest-load",
        changes_state=True,
    ),
    Command(
        "vmcore",
        "Write the memory and the registers of a Linux guest to a FILE, an ELF vmcore, for crash, drgn and others.\n"
        "It is what kdump makes when a kernel has crashed, of the guest as it is now. The file has holes where the\n"
        "guest's memory has zeros. A file that is there is replaced only if it is empty, or with the word force.\n\n"
        "    vmcore guest.vmcore",
        (
            Arg("file", "file to write", type=path, host=Host.WRITES_FILES),
            Arg("force", "replace a file that is there", optional=True, choices=("force",)),
        ),
        _vmcore,
        group=GROUP,
    ),
    Command(
        "disk",
        "Show the guest's disk, or write its present content to a FILE, an image for --disk and other programs.\n"
        "The guest's own kernel may hold back what its programs have written: have it do sync first (sh sync).\n"
        "A file that is there is replaced only if it is empty, or with the word force.",
        (
            Arg("file", "file to write", type=path, optional=True, host=Host.WRITES_FILES),
            Arg("force", "replace a file that is there", optional=True, choices=("force",)),
        ),
        _disk,
        group=GROUP,
    ),
)
