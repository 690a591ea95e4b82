# SPDX-License-Identifier: GPL-2.0-or-later
"""Opens the guest, session and stub that a command line names."""

from __future__ import annotations

import contextlib
import functools
import gc
import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from armprobe.commands.errors import CommandError
from armprobe.commands.render.errors import error_text
from armprobe.commands.render.progress import Steps
from armprobe.commands.settings import Settings
from armprobe.commands.terminal import complain
from armprobe.guests import linux
from armprobe.guests.linux.debian import CLOUD
from armprobe.machine import host_files
from armprobe.machine.loaders.snapshot_file import is_snapshot, read_ahead

from .options import LISTEN, OTHER_PORTS, Options

if TYPE_CHECKING:
    from armprobe.session import Session
    from armprobe.stub import Server


def open_session(options: Options) -> Session:
    """The session that `options` ask for. Notes on its guest go to standard error.

    Raises CommandError, MachineError or ProbeError, each with one sentence, if this fails.
    """
    guest, name, loading = _guest(options)
    if options.guest == "linux":
        read_ahead(guest)
    rules: dict[str, Any] = {"era": options.era, "stepping": options.stepping, "trampoline": options.trampoline}
    history: dict[str, Any] = {"history": options.history, "history_memory": options.history_memory}
    history |= {"history_interval": options.history_interval, "history_folder": options.history_folder}
    gc.disable()
    try:
        from armprobe.session import Session  # with most of armprobe, while the snapshot is read

        session = Session(guest, **rules, **loading, **history, vmlinux=options.vmlinux, memory=options.memory)
    finally:
        _keep_what_is_there()
        gc.enable()
    session.name = name
    session.machine.clock.paced = options.paced
    if options.trace_size is not None:
        session.kprobes.kept = options.trace_size
    notes = *options.settings.notes, *session.shell.notes, *session.machine.guest.notes, *session.kprobes.warnings
    for note in notes:
        complain(f"note: {note}")
    try:
        for given in options.pushed_files:
            session.guest.push(*_source_and_path(given))
        for given in options.pushed_folders:
            session.guest.push_folder(*_source_and_path(given))
    except BaseException:
        session.close()
        raise
    _apply(options.settings, session)
    return session


@functools.cache
def _keep_what_is_there() -> None:
    """Look for no garbage among what this process has made by its first session: most of it stays, and to look takes a
    twentieth of a start. A later session may follow one that is garbage."""
    gc.freeze()


def _source_and_path(given: str) -> tuple[str, str | None]:
    """The parts of SOURCE[:PATH]. A source that exists may have a colon in its name."""
    source, colon, path = given.rpartition(":")
    return (given, None) if not colon or os.path.lexists(given) else (source, path)


def _apply(settings: Settings, session: Session) -> None:
    """Give the session the aliases and probes of the settings. Those that fail are reported and skipped."""
    for variable, colour in (("NO_COLOR", "never"), ("FORCE_COLOR", "always")):
        if settings.colour == colour:
            os.environ[variable] = "1"
    for name, line in settings.aliases.items():
        try:
            session.shell.registry.alias(name, line)
        except CommandError as error:
            complain(f"note: {error}")
    for line in settings.probes:
        try:
            session.run(line)
        except CommandError as error:
            complain(f"note: the settings' {line}: {error_text(error)}")


def _guest(options: Options) -> tuple[str | Path, str, dict[str, Any]]:
    """The guest's file or "demo", its name, and the arguments for loading it."""
    loading: dict[str, Any] = {
        "initrd": options.initrd,
        "cmdline": options.cmdline,
        "append": options.append,
        "base": options.base,
        "kaslr": options.kaslr,
    }
    disk: dict[str, Any] = {"disk": options.disk}
    if options.root and (options.guest != "linux" or options.snapshot is not None):
        raise CommandError("--root is for the guest linux, which is booted for it: armprobe linux --disk IMAGE --root")
    if options.snapshot is not None:
        if any(value is not None for value in loading.values()):
            raise CommandError(
                "a snapshot has its guest already: leave --initrd, --cmdline, --append, --base and --kaslr out"
            )
        if not is_snapshot(options.snapshot):
            name = host_files.shown(options.snapshot)
            raise CommandError(
                f"{name} is not a snapshot: give one that the command save wrote, or start the file itself with "
                f"armprobe {name}"
            )
        return options.snapshot, str(options.snapshot), loading | disk
    if options.guest != "linux":
        return options.guest, options.guest, loading | disk
    if options.base is not None:
        raise CommandError("--base is for raw binaries and position-independent ELFs, not for a Linux kernel")
    if options.flavour is not None and options.kernel is not None:
        raise CommandError(
            "--flavour chooses one of Debian's kernels, and --kernel FILE names another: give one of them"
        )
    with Steps() as steps:
        snapshot = linux.prepare(
            options.kernel,
            options.initrd,
            cmdline=options.cmdline,
            append=options.append,
            memory=options.memory,
            refresh=options.refresh,
            kaslr=options.kaslr,
            report=steps,
            cache_limit=options.cache_limit,
            disk=options.disk,
            root=options.root,
            flavour=options.flavour or CLOUD,
        )
    return snapshot, "linux", disk


def listening(session: Session, options: Options, default: str | None) -> AbstractContextManager[object]:
    """The session's stub at the address in `options` or `default`. Without an address there is no stub.

    If `LISTEN` is in use and the user did not ask for it, the next port that is free takes its place, with a note.
    """
    wanted = options.listen or default
    if wanted is None or wanted == "none":
        return contextlib.nullcontext()
    from armprobe.stub import AddressInUse, serve  # which imports the stub

    try:
        server = serve(session, wanted, trust_tcp=options.trust_tcp)
    except AddressInUse:
        if options.listen is not None or "listen" in options.settings.options:
            raise
        server = _next_free(session, options)
        complain(f"note: {wanted} is in use, so gdb attaches at {server.address} here (--listen chooses another)")
    session.stub_address = server.address
    return server


def _next_free(session: Session, options: Options) -> Server:
    """The session's stub at the first port after that of `LISTEN` which is free, or at any."""
    from armprobe.stub import AddressInUse, serve

    host, _, port = LISTEN.rpartition(":")
    for other in range(int(port) + 1, int(port) + 1 + OTHER_PORTS):
        with contextlib.suppress(AddressInUse):
            return serve(session, f"{host}:{other}", trust_tcp=options.trust_tcp)
    return serve(session, f"{host}:0", trust_tcp=options.trust_tcp)


def gdb_hint(session: Session) -> str:
    """The command line for a gdb that attaches to the session."""
    if not session.stub_address:
        return "no GDB stub"
    return f"gdb: gdb-multiarch -ex 'target remote {session.stub_address.removeprefix('unix:')}'"
