# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line: `armprobe [GUEST]`, and the verbs serve, gdb, linux, script and demo."""

from __future__ import annotations

import argparse
import io
import logging
import os
import runpy
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from armprobe.clients.gdb_session import GDBINIT, PROXY
from armprobe.guests.linux import shell as linux
from armprobe.machine import MachineError, host_files
from armprobe.machine.loaders import DEMO
from armprobe.machine.loaders.image import COMMAND_LINE
from armprobe.machine.loaders.snapshot_file import is_snapshot
from armprobe.probes import DEFAULT_ERA, ERAS, POINT_RELEASES, STEPPINGS, TRAMPOLINES, ProbeError
from armprobe.probes.recorder import HANDLERS_LOG
from armprobe.stub import PRIVATE, Server, StubError, serve

from . import bug_2015, demo
from .catalog import registry as all_commands
from .errors import CommandError
from .repl import Repl
from .session import Session
from .terminal import ArgumentParser, Lines, OutputClosed, complain, open_standard_streams, say

LISTEN: Final = "127.0.0.1:1234"
_LONGEST_SCRIPT: Final = 16 << 20  # bytes
_QUESTIONS: Final = ("decode", "check")  # commands that are verbs too
_VERBS: Final = ("serve", "gdb", "linux", "script", "demo", "bug-2015", *_QUESTIONS)
_DESCRIPTION: Final = """\
An ARMv8-A machine in this process with Linux kprobes built into it, that GDB attaches to.

  armprobe [GUEST]          prompt on GUEST (default: demo, the kernel that is shipped), GDB stub on 127.0.0.1:1234
  armprobe serve [GUEST]    the GDB stub alone
  armprobe gdb [GUEST]      gdb-multiarch attached to GUEST, with armprobe's commands in it; -- ARGUMENTS are gdb's own
  armprobe linux            a stock Debian arm64 kernel at its shell: fetched and booted once, then resumed
  armprobe script FILE      run a script of commands, or a .py using the API
  armprobe -c CMD [-c CMD]  run commands and exit
  armprobe demo             the tour: what armprobe does, shown on the demo guest
  armprobe bug-2015         the kretprobe bug that armprobe grew from, happening and fixed
  armprobe decode WHAT      how a kernel would execute a probed instruction, or why it would refuse to
  armprobe check PLACE...   whether probes would be accepted; the exit status says so too

GUEST is demo, linux, or the path of a bare-metal AArch64 ELF, an arm64 kernel Image or vmlinuz, a snapshot, or with
--base a raw binary."""

_ERA_HELP: Final = (
    f"kernel whose kprobes rules apply: {', '.join(ERAS)}, or a version, as point releases such as "
    f"{', '.join(POINT_RELEASES)} differ (default: the guest's own kernel, {DEFAULT_ERA} if it is not Linux)"
)


def _parser(verb: str) -> argparse.ArgumentParser:
    parser = ArgumentParser(
        prog=f"armprobe {verb}".strip(),
        description=_DESCRIPTION if not verb else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    if verb == "bug-2015":
        names = ("all", *(case.name for case in bug_2015.CASES))
        parser.add_argument("case", nargs="?", default="all", choices=names, help="one of the cases (default: all)")
        return parser
    if verb == "gdb":
        parser.usage = "%(prog)s [OPTION ...] [guest] [-- GDB-ARGUMENT ...]"
        parser.epilog = """\
What follows -- is for gdb, which comes to it when it has connected:

  armprobe gdb -- -ex 'break kfree' -ex run
  armprobe gdb linux -- -x commands.gdb vmlinux

run starts the guest from its beginning, with breakpoints and probes left in."""
    if verb == "script":
        parser.add_argument("file", type=Path, help="a file of commands, one a line, or a .py using the API")
        parser.add_argument("arguments", nargs="*", help="for a .py: its sys.argv")
    if verb == "linux":
        parser.add_argument("--kernel", type=Path, metavar="FILE", help="a kernel of your own instead of Debian's")
        parser.add_argument("--refresh", action="store_true", help="look for a newer Debian kernel")
    elif verb != "demo":
        what = "demo, linux or a file (default: demo)"
        if verb == "script":
            parser.add_argument("--guest", default="demo", help=what)
        else:
            parser.add_argument("guest", nargs="?", default="demo", help=what)
    if verb != "demo":
        parser.add_argument("-c", dest="commands", action="append", metavar="CMD", help="run CMD and exit (repeatable)")
        parser.add_argument("--initrd", type=Path, metavar="FILE", help="initial RAM disk for a Linux kernel")
        parser.add_argument(
            "--vmlinux", type=Path, metavar="FILE", help="ELF of the Linux kernel, for symbols and debug information"
        )
        line = f"the kernel's whole command line (default: {COMMAND_LINE})"
        parser.add_argument("--cmdline", metavar="TEXT", help=line)
        parser.add_argument("--append", metavar="TEXT", help="added to the kernel's command line")
        parser.add_argument(
            "--base",
            type=_address,
            metavar="ADDRESS",
            help="physical address of a raw binary, or of a position-independent ELF",
        )
        parser.add_argument("--memory", default="256M", metavar="SIZE", help="RAM, such as 512M (default: 256M)")
        parser.add_argument("--snapshot", type=Path, metavar="FILE", help="start from this snapshot instead of GUEST")
        parser.add_argument("--paced", action="store_true", help="keep guest time from running ahead of the wall clock")
    parser.add_argument("--era", metavar="VERSION", help=_ERA_HELP)
    if verb != "demo":
        parser.add_argument(
            "--stepping",
            choices=STEPPINGS,
            help="how to execute an instruction out of line (default: the era's)",
        )
        parser.add_argument(
            "--trampoline", choices=TRAMPOLINES, help="how a kretprobe gets control (default: the era's)"
        )
    parser.add_argument(
        "--listen",
        metavar="ADDRESS",
        help="of the GDB stub: HOST:PORT (port 0: any free one), unix:PATH, private (a unix socket in a folder of its "
        f"own) or none (default: {PRIVATE if verb == 'gdb' else LISTEN})",
    )
    parser.add_argument(
        "--trust-tcp",
        action="store_true",
        help="let debuggers that come over TCP use the commands that touch this computer's files, too; those of your "
        "own on a unix socket always may",
    )
    return parser


def _address(text: str) -> int:
    """A physical address. Raises ArgumentTypeError for what is none."""
    try:
        return int(text, 0)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no address: write a number, such as 0x40200000") from None


def _question_parser(verb: str) -> argparse.ArgumentParser:
    command = all_commands().find(verb)
    parser = ArgumentParser(
        prog=f"armprobe {verb}", description=command.help, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    argument = command.positional[0]
    parser.add_argument("what", nargs="+" if argument.many else 1, metavar=argument.label, help=argument.help)
    parser.add_argument("--guest", default="demo", help="whose code it is: demo, linux or a file (default: demo)")
    parser.add_argument("--era", metavar="VERSION", help=f"{_ERA_HELP}; or all")
    parser.set_defaults(
        initrd=None, vmlinux=None, cmdline=None, append=None, base=None, memory="256M", snapshot=None, paced=False
    )
    parser.set_defaults(stepping=None, trampoline=None)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of the console script; the exit status: 0 if all went well, 1 if not, 2 for a wrong command line."""
    open_standard_streams()
    words = list(sys.argv[1:] if arguments is None else arguments)
    verb = words.pop(0) if words and words[0] in _VERBS else ""
    for_gdb: list[str] = []
    if verb == "gdb" and "--" in words:
        words, for_gdb = words[: words.index("--")], words[words.index("--") + 1 :]
    try:
        options = (_question_parser if verb in _QUESTIONS else _parser)(verb).parse_args(words)
        options.for_gdb = for_gdb
        if verb in _QUESTIONS:
            return _ask(verb, options)
        if verb == "demo":
            return demo.run(options.era, say)
        if verb == "bug-2015":
            return bug_2015.run(options.case, say)
        if verb == "script" and options.file.suffix == ".py":
            return _python_script(options)
        with _session(verb, options) as session:
            return _drive(verb, options, session)
    except (CommandError, MachineError, ProbeError, StubError) as error:
        complain(f"armprobe: {error}")
        return 1
    except OutputClosed as error:
        if str(error):
            complain(f"armprobe: {error}")
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _session(verb: str, options: argparse.Namespace) -> Session:
    guest: str | Path = getattr(options, "guest", "")
    how = {"initrd": options.initrd, "cmdline": options.cmdline, "append": options.append, "base": options.base}
    if options.snapshot is not None:
        if any(value is not None for value in how.values()):
            raise CommandError("a snapshot has its guest already: leave --initrd, --cmdline, --append and --base out")
        if not is_snapshot(options.snapshot):
            name = host_files.shown(options.snapshot)
            raise CommandError(
                f"{name} is not a snapshot: give one that the command save wrote, or start the file itself with "
                f"armprobe {name}"
            )
        guest, name = options.snapshot, str(options.snapshot)
    elif verb == "linux" or guest == "linux":
        kernel = getattr(options, "kernel", None)
        if options.base is not None:
            raise CommandError("--base is for raw binaries and position-independent ELFs, not for a Linux kernel")
        guest = linux.prepare(
            kernel,
            options.initrd,
            cmdline=options.cmdline,
            append=options.append,
            memory=options.memory,
            refresh=getattr(options, "refresh", False),
            report=complain,
        )
        how, name = {}, "linux"
    else:
        name = str(guest)
    rules = {"era": options.era, "stepping": options.stepping, "trampoline": options.trampoline}
    session = Session(guest, **rules, **how, vmlinux=options.vmlinux, memory=options.memory)
    session.name = name
    session.machine.clock.paced = options.paced
    for note in (*session.machine.guest.notes, *session.kprobes.warnings):
        complain(f"note: {note}")
    return session


def _ask(verb: str, options: argparse.Namespace) -> int:
    """Run one command that is a verb too, on a guest that does not run."""
    line = shlex.join([verb, *options.what, *([f"era={options.era}"] if options.era else [])])
    options.era = None
    with _session(verb, options) as session:
        return Repl(session, session.registry).run_lines([line])


def _drive(verb: str, options: argparse.Namespace, session: Session) -> int:
    repl = Repl(session, session.registry)
    if verb == "script":
        lines = list(io.StringIO(host_files.read_text(options.file, _LONGEST_SCRIPT)))
        with _listening(session, options, default=None):
            return _status(session, repl.run_lines(lines))
    if options.commands:
        with _listening(session, options, default=None):
            return _status(session, repl.run_lines(options.commands))
    if verb == "serve":
        return _serve(session, options)
    if verb == "gdb":
        return _gdb(session, options)
    with _listening(session, options, default=LISTEN):
        session.show_console()
        if sys.stdin.isatty():
            say(f"armprobe: {session.name}, {len(session.machine.symbols):,} symbols; {_gdb_hint(session)}\n")
        return repl.run()


class _NotListening:
    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


def _listening(session: Session, options: argparse.Namespace, default: str | None) -> Server | _NotListening:
    wanted = options.listen or default
    if wanted is None or wanted == "none":
        return _NotListening()
    server = serve(session, wanted, trust_tcp=options.trust_tcp)
    session.stub_address = server.address
    return server


def _gdb_hint(session: Session) -> str:
    if not session.stub_address:
        return "no GDB stub"
    return f"gdb: gdb-multiarch -ex 'target remote {session.stub_address.removeprefix('unix:')}'"


def _serve(session: Session, options: argparse.Namespace) -> int:
    with _listening(session, options, default=LISTEN):
        lines = Lines(say)
        lines.add(f"armprobe: {session.name}; {_gdb_hint(session)}; Ctrl-C ends\n", None)
        ended = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: ended.set())

        def show(text: str) -> None:
            try:
                lines.add(text, session)
            except OutputClosed:
                ended.set()

        session.on_notice(show)
        session.show_console()
        try:
            ended.wait()
        except KeyboardInterrupt:
            lines.end()
            say("\n")
    return 0


def _gdb(session: Session, options: argparse.Namespace) -> int:
    debugger = shutil.which("gdb-multiarch")
    if debugger is None:
        raise CommandError("gdb-multiarch is not installed (Debian: apt-get install gdb-multiarch)")
    if options.listen == "none":
        raise CommandError("gdb attaches through the stub, so --listen cannot be none here")
    with (
        _listening(session, options, default=PRIVATE),
        tempfile.TemporaryDirectory(prefix="armprobe-") as folder,
    ):
        command = [debugger, "--quiet"]
        # guests/demo is where the demo kernel's debug information has its sources (its Makefile, MAP).
        command += ["-iex", f"set substitute-path guests/demo {shlex.quote(str(DEMO.parent))}"]
        if (symbols := _symbol_path(session, Path(folder))) is not None:
            command += ["-iex", f"file {shlex.quote(str(symbols))}"]  # before gdb loads a file of the user's
        command += ["-x", str(GDBINIT)]
        # Extended, for `run` to start the guest anew.
        command += ["-ex", f"target extended-remote {session.stub_address.removeprefix('unix:')}", *options.for_gdb]
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is gdb's
        for number in (signal.SIGTERM, signal.SIGHUP):  # or the folders would stay
            signal.signal(number, lambda number, _: sys.exit(128 + number))
        return subprocess.run(
            command,
            env={**os.environ, "ARMPROBE_GDB_PROXY": str(PROXY)},
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            check=False,
        ).returncode


def _symbol_path(session: Session, folder: Path) -> Path | None:
    """A file of the guest's symbols, its own or one in `folder`: gdb reads that faster than through the stub."""
    file = session.exec_file
    if file is None or session.machine.guest.dwarf is not None:
        return session.machine.guest.dwarf
    path = folder / Path(file.name).name
    with file.open() as content:
        path.write_bytes(content.read())
    return path


def _status(session: Session, status: int) -> int:
    """The exit status of commands that were run: 1 also if a handler raised meanwhile, which was told then."""
    return status or int(bool(session.kprobes.errors))


class _Failures(logging.Handler):
    """Counts handlers that raised, and shows those that are shown nowhere else."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        """As `logging.Handler.emit`."""
        self.count += 1
        if record.levelno >= logging.WARNING:
            complain(record.getMessage())


def _python_script(options: argparse.Namespace) -> int:
    """Run a program on the API; 1 if a handler of a probe raised, unless the program has an `on_error` of its own."""
    host_files.open_regular(options.file).close()
    sys.argv = [str(options.file), *options.arguments]
    log, failures = logging.getLogger(HANDLERS_LOG), _Failures()
    log.addHandler(failures)
    log.setLevel(logging.INFO)
    try:
        runpy.run_path(str(options.file), run_name="__main__")
    finally:
        log.removeHandler(failures)
    return int(failures.count > 0)
