# SPDX-License-Identifier: GPL-2.0-or-later
"""The parser of the command line: all verbs, and the meaning of the first word."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import armprobe
from armprobe.commands.settings import Settings, read_settings
from armprobe.commands.terminal import ArgumentParser
from armprobe.machine.similar_names import similar

from .bundle import BUNDLE
from .check_kernel import CHECK_KERNEL
from .compare import COMPARE
from .completion import COMPLETION
from .computer import CACHE, DOCTOR
from .drgn import DRGN
from .gdb import GDB
from .make_root import MAKE_ROOT
from .options import Options, Verb
from .prompt import LINUX, PROMPT
from .query import QUERY
from .run import RUN
from .script import SCRIPT
from .serve import SERVE
from .tours import BUG_2015, DEMO
from .verdicts import CHECK, DECODE

_DESCRIPTION: Final = """\
armprobe runs an ARMv8-A machine with Linux kprobes built into it. GDB can attach to it.

  armprobe [GUEST]          start a prompt on GUEST (default: demo), with a GDB stub on 127.0.0.1:1234
  armprobe -c CMD [-c CMD]  run commands and exit
  armprobe VERB ...         see below; armprobe VERB --help shows the options of a verb

GUEST is demo (the kernel that armprobe ships), linux (Debian's kernel), or a file: a bare-metal AArch64 ELF, an arm64
kernel Image or vmlinuz, a snapshot, or with --base a raw binary."""


def _help_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("topic", nargs="?", metavar="VERB", help="verb to explain (default: all)")


def _help(options: Options) -> int:
    parse([*([options.topic] if options.topic else []), "--help"])
    return 0


HELP = Verb("help", "show the help of armprobe or of a verb", _help_arguments, _help)
VERBS: Final = (
    PROMPT,
    SERVE,
    GDB,
    LINUX,
    RUN,
    SCRIPT,
    QUERY,
    DRGN,
    DEMO,
    BUG_2015,
    DECODE,
    CHECK,
    COMPARE,
    DOCTOR,
    CACHE,
    CHECK_KERNEL,
    MAKE_ROOT,
    BUNDLE,
    COMPLETION,
    HELP,
)
_RUN: Final = {verb.name: verb.run for verb in VERBS}
_FOR_ALL: Final = ("-h", "--help", "--version")


def build_parser() -> argparse.ArgumentParser:
    """The parser, with a subparser for each verb. Command lines, completion and the man page use it."""
    # The namespace has only the arguments that were given. `Options` has the defaults.
    common: dict[str, Any] = {
        "formatter_class": argparse.RawDescriptionHelpFormatter,
        "argument_default": argparse.SUPPRESS,
    }
    parser = ArgumentParser(prog="armprobe", description=_DESCRIPTION, **common)
    parser.add_argument("--version", action=_Version)
    verbs = parser.add_subparsers(title="verbs", dest="verb", metavar="VERB", required=True)
    for verb in VERBS:
        description = verb.description or verb.help
        added = verbs.add_parser(verb.name, help=verb.help, description=description, **common)
        verb.add_arguments(added)
    return parser


def parse(words: Sequence[str]) -> Options:
    """Parse the words of a command line. Raises SystemExit, after an explanation, if they are not a command line."""
    words, for_gdb = list(words), list[str]()
    parser = build_parser()
    if not words or words[0] not in (*_RUN, *_FOR_ALL):
        _look_for_mistake(parser, words)
        words.insert(0, PROMPT.name)
    if words[0] == GDB.name and "--" in words:
        words, for_gdb = words[: words.index("--")], words[words.index("--") + 1 :]
    namespace = parser.parse_args(words)
    namespace.for_gdb = for_gdb
    configured = not getattr(namespace, "no_config", True)
    return Options.from_namespace(namespace, read_settings(Path.cwd()) if configured else Settings())


def run(options: Options) -> int:
    """Run the verb and return the exit status."""
    return _RUN[options.verb](options)


class _Version(argparse._VersionAction):
    """Looks the version up when it is asked for, which takes as long as many imports."""

    def __call__(self, *arguments: Any, **named: Any) -> None:
        self.version = f"armprobe {armprobe.__version__}"
        super().__call__(*arguments, **named)


def _look_for_mistake(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Look for a mistyped verb in the first word, which is taken for a guest."""
    word = words[0] if words else ""
    if not word or word.startswith("-") or "/" in word or word in ("demo", "linux") or os.path.lexists(word):
        return
    if near := similar(word, _RUN, most=1):
        parser.error(f"there is no verb and no file {word!r}: did you mean armprobe {near[0]}?")
