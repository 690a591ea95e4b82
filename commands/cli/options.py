# SPDX-License-Identifier: GPL-2.0-or-later
"""The parsed command line as one frozen object, and the arguments that several verbs share."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import field
from pathlib import Path
from typing import Final, NamedTuple, Self

from armprobe.commands.declaration import seconds
from armprobe.commands.errors import CommandError
from armprobe.commands.guest_time import TIMEOUT
from armprobe.commands.settings import NAME, OF_GUEST, Settings
from armprobe.guests.linux.cache import DEFAULT_LIMIT
from armprobe.machine.lazy_dataclass import lazy_dataclass
from armprobe.machine.loaders.image import COMMAND_LINE
from armprobe.machine.time.pacing import HISTORY_INTERVAL
from armprobe.probes import DEFAULT_ERA, ERAS, POINT_RELEASES, STEPPINGS, TRAMPOLINES
from armprobe.traces import KEPT

LISTEN: Final = "127.0.0.1:1234"
OTHER_PORTS: Final = 16  # that are tried after it, if it is in use
GUEST_HELP: Final = "demo, linux or a file (default: demo)"
_ERA_HELP: Final = (
    f"kernel whose kprobes rules apply: {', '.join(ERAS)}, or another version. Point releases such as "
    f"{', '.join(POINT_RELEASES)} have rules of their own (default: the version of the guest, or {DEFAULT_ERA} for a "
    "guest other than Linux)"
)


@lazy_dataclass
class Options:
    """A command line. A field for which the verb has no argument has its default."""

    verb: str
    guest: str = "demo"
    commands: tuple[str, ...] = ()  # -c
    json: bool = False
    until: str | None = None
    timeout: float = TIMEOUT
    # the guest
    kernel: Path | None = None
    refresh: bool = False
    flavour: str | None = None
    initrd: Path | None = None
    vmlinux: Path | None = None
    cmdline: str | None = None
    append: str | None = None
    base: int | None = None
    kaslr: int | None = None
    memory: str = "256M"
    snapshot: Path | None = None
    disk: Path | None = None
    root: bool = False
    pushed_files: tuple[str, ...] = ()  # --file
    pushed_folders: tuple[str, ...] = ()  # --dir
    paced: bool = False
    history: bool = True
    history_memory: str = "512M"
    history_interval: int = HISTORY_INTERVAL
    history_folder: Path | None = None
    # the rules of its kprobes
    era: str | None = None
    stepping: str | None = None
    trampoline: str | None = None
    # the hits that are kept
    trace_size: int | None = None
    # the stub
    listen: str | None = None
    trust_tcp: bool = False
    # the cache
    cache_limit: str = DEFAULT_LIMIT
    # of one verb
    for_gdb: tuple[str, ...] = ()
    file: Path = Path()
    keep_going: bool = False
    arguments: tuple[str, ...] = ()
    what: tuple[str, ...] = ()
    hits: str | None = None
    case: str = "all"
    shell: str = ""
    everything: bool = False  # --all
    size: str = "512M"
    suite: str = ""
    force: bool = False
    topic: str | None = None
    # other values from the settings files
    settings: Settings = field(default_factory=Settings)

    @classmethod
    def from_namespace(cls, namespace: argparse.Namespace, settings: Settings) -> Self:
        """The options that argparse found, plus those that only `settings` has. Lists become tuples.

        The settings' guest goes with its loading options. Neither applies if the command line names a guest.
        """
        found = vars(namespace)
        named = "guest" in found or "snapshot" in found
        known = {name: value for name, value in settings.options.items() if not (named and name in OF_GUEST)}
        known.pop("listen", None)  # `usual_listen`
        for name, value in found.items():
            if name in cls.__dataclass_fields__:
                known[name] = tuple(value) if isinstance(value, list) else value
        return cls(**known, settings=settings)

    @property
    def usual_listen(self) -> str:
        """The default address of the stub, at a prompt or alone."""
        return str(self.settings.options.get("listen", LISTEN))


FILE: Final = "file"
FOLDER: Final = "folder"
"""What shells complete an argument with: the value of `complete`, an attribute of its action. See `completion`."""


class Verb(NamedTuple):
    """`armprobe NAME`. `add_arguments` declares its arguments, `run` runs it and returns the exit status."""

    name: str
    help: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[Options], int]
    description: str = ""


def add_guest(parser: argparse.ArgumentParser, *names: str, **how: object) -> None:
    """The argument that names the guest. It is positional unless `names` are those of an option."""
    what = {"help": GUEST_HELP, **({} if names else {"nargs": "?"}), **how}
    parser.add_argument(*(names or ("guest",)), **what).complete = FILE  # type: ignore[arg-type, attr-defined]


def add_file(parser: argparse.ArgumentParser, name: str, **how: object) -> None:
    """An argument that is a file's path, which shells complete."""
    parser.add_argument(name, type=Path, **how).complete = FILE  # type: ignore[arg-type, attr-defined]


def add_loading(parser: argparse.ArgumentParser, eras: str = "") -> None:
    """Options for loading the guest and for the rules of its kprobes. `eras` is added to the help of --era."""
    add_config(parser)
    add_file(parser, "--initrd", metavar="FILE", help="initial RAM disk of a Linux kernel")
    symbols = "ELF of the Linux kernel, for symbols and debug information"
    add_file(parser, "--vmlinux", metavar="FILE", help=symbols)
    line = f"whole command line of the kernel (default: {COMMAND_LINE})"
    parser.add_argument("--cmdline", metavar="TEXT", help=line)
    parser.add_argument("--append", metavar="TEXT", help="text to add to the kernel's command line")
    seed = (
        "let the Linux kernel move to another address (KASLR), the one that SEED decides (default: 1); without this "
        "option it does not move"
    )
    parser.add_argument("--kaslr", nargs="?", type=_seed, const=1, metavar="SEED", help=seed)
    base = "physical address at which to load a raw binary or a position-independent ELF"
    parser.add_argument("--base", type=_address, metavar="ADDRESS", help=base)
    parser.add_argument("--memory", metavar="SIZE", help="size of the RAM, such as 512M (default: 256M)")
    add_file(parser, "--snapshot", metavar="FILE", help="snapshot to start from, instead of GUEST")
    disk = (
        "image of a disk for the guest (/dev/vda), which is never written: what the guest writes stays in armprobe; a "
        "snapshot with a disk needs it again"
    )
    add_file(parser, "--disk", metavar="IMAGE", help=disk)
    root = "with --disk: boot the stock Linux kernel to a shell on the disk's file system"
    parser.add_argument("--root", action="store_true", help=root)
    push = (
        "put FILE of this computer into the Linux guest, at PATH (default: its name in the home folder); may be given "
        "several times"
    )
    parser.add_argument(
        "--file", dest="pushed_files", action="append", metavar="FILE[:PATH]", help=push
    ).complete = FILE  # type: ignore[attr-defined]
    push = "the same for the content of a folder"
    parser.add_argument(
        "--dir", dest="pushed_folders", action="append", metavar="FOLDER[:PATH]", help=push
    ).complete = FOLDER  # type: ignore[attr-defined]
    without = "keep no history: the guest cannot go back"
    parser.add_argument("--no-history", dest="history", action="store_false", help=without)
    room = "memory that the history may take, such as 1G; beyond it the oldest part is dropped (default: 512M)"
    parser.add_argument("--history-memory", metavar="SIZE", help=room)
    apart = (
        "milliseconds that going to a position takes at most, about: checkpoints are half as far apart, if possible "
        f"(default: {HISTORY_INTERVAL})"
    )
    parser.add_argument("--history-interval", type=int, metavar="MS", help=apart)
    spilled = "keep the memory of checkpoints in an unnamed file in FOLDER, and not in memory"
    parser.add_argument("--history-folder", type=Path, metavar="FOLDER", help=spilled).complete = FOLDER  # type: ignore[attr-defined]
    parser.add_argument("--paced", action="store_true", help="keep guest time from running ahead of the wall clock")
    add_era(parser, eras)
    how = "how to execute a probed instruction out of line (default: as the era does)"
    parser.add_argument("--stepping", choices=STEPPINGS, help=how)
    parser.add_argument(
        "--trampoline", choices=TRAMPOLINES, help="how a kretprobe gets control (default: as in the era)"
    )
    kept = f"number of stages of hits that are kept (default: {KEPT})"
    parser.add_argument("--trace-size", type=int, metavar="N", help=kept)


def add_config(parser: argparse.ArgumentParser) -> None:
    """Whether the user's and the project's settings apply. They apply only to verbs with this argument."""
    files = f"do not read the settings in ~/.config/armprobe/config.toml and {NAME}"
    parser.add_argument("--no-config", action="store_true", default=False, help=files)


def add_era(parser: argparse.ArgumentParser, more: str = "") -> None:
    """The kernel whose rules apply. `more` is added to the help."""
    parser.add_argument("--era", metavar="VERSION", help=_ERA_HELP + more)


def add_commands(parser: argparse.ArgumentParser) -> None:
    """Options with commands to run instead of reading them."""
    parser.add_argument(
        "-c", dest="commands", action="append", metavar="CMD", help="run CMD and exit; may be given several times"
    )
    add_json(parser)


def add_until(parser: argparse.ArgumentParser) -> None:
    """The option to have the guest print something."""
    until = (
        "then run the guest until its console has printed PATTERN, a regular expression; the exit status is 1 if it "
        "ends, stops or takes longer than --timeout before"
    )
    parser.add_argument("--until", metavar="PATTERN", help=until)
    timeout = f"time of the guest for --until, such as 10 (seconds) or 20ms (default: {TIMEOUT:g})"
    parser.add_argument("--timeout", metavar="TIME", type=_time, default=TIMEOUT, help=timeout)


def add_json(parser: argparse.ArgumentParser) -> None:
    """The option to print values instead of text."""
    parser.add_argument("--json", action="store_true", help="print a line of JSON for each command (docs/json.md)")


def add_stub(parser: argparse.ArgumentParser, default: str = LISTEN) -> None:
    """The address of the GDB stub, and the peers it trusts."""
    where = (
        "address of the GDB stub: HOST:PORT (port 0: any free port), unix:PATH, private (a unix socket in a private "
        f"folder) or none (default: {default}{', or the next port that is free' if default == LISTEN else ''})"
    )
    parser.add_argument("--listen", metavar="ADDRESS", help=where)
    trust = (
        "let debuggers that connect over TCP use the commands that touch files of this computer; your own debuggers on "
        "a unix socket always may"
    )
    parser.add_argument("--trust-tcp", action="store_true", help=trust)


def add_session(parser: argparse.ArgumentParser, listen: str = LISTEN) -> None:
    """All options for a guest that is driven: commands, loading, the stub."""
    add_commands(parser)
    add_loading(parser)
    add_stub(parser, listen)


def add_private_stub(parser: argparse.ArgumentParser) -> None:
    """Like `add_session`, for a debugger of our own."""
    from armprobe.stub import PRIVATE

    add_session(parser, PRIVATE)


def _address(text: str) -> int:
    """Parse a physical address. Raises ArgumentTypeError for any other text."""
    try:
        return int(text, 0)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no address: write a number, such as 0x40200000") from None


def _time(text: str) -> float:
    """Parse a time in seconds. Raises ArgumentTypeError for any other text."""
    try:
        return seconds(None, text)
    except CommandError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _seed(text: str) -> int:
    """Parse a seed for KASLR. Raises ArgumentTypeError for any other text."""
    try:
        seed = int(text, 0)
    except ValueError:
        seed = 0
    if not 0 < seed < 1 << 64:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no seed: write a number from 1 to 2**64 - 1, as in --kaslr=2, or --kaslr as the last argument"
        )
    return seed
