# SPDX-License-Identifier: GPL-2.0-or-later
"""The parser of the command line: all verbs, and the meaning of the first word."""

from __future__ import annotations

import argparse
import importlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import armprobe
from armprobe.commands.settings import Settings, read_settings
from armprobe.commands.terminal import ArgumentParser
from armprobe.machine.similar_names import similar

from .options import Options, Verb

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
VERBS: Final = {
    "prompt": "prompt",
    "serve": "serve",
    "gdb": "gdb",
    "linux": "prompt",
    "run": "run",
    "script": "script",
    "query": "query",
    "drgn": "drgn",
    "demo": "tours",
    "bug-2015": "tours",
    "decode": "verdicts",
    "check": "verdicts",
    "compare": "compare",
    "doctor": "computer",
    "cache": "computer",
    "check-kernel": "check_kernel",
    "make-root": "make_root",
    "bundle": "bundle",
    "completion": "completion",
    "help": "parser",
}
"""The file of each verb, which is imported when the verb is used."""
_FOR_ALL: Final = ("-h", "--help", "--version")


def verb(name: str) -> Verb:
    """The verb of this name."""
    file = importlib.import_module(f".{VERBS[name]}", __package__)
    found: Verb = getattr(file, name.upper().replace("-", "_"))
    return found


def build_parser(names: Iterable[str] = VERBS) -> argparse.ArgumentParser:
    """The parser, with a subparser for each of these verbs. Command lines, completion and the man page use it."""
    # The namespace has only the arguments that were given. `Options` has the defaults.
    common: dict[str, Any] = {
        "formatter_class": argparse.RawDescriptionHelpFormatter,
        "argument_default": argparse.SUPPRESS,
    }
    parser = ArgumentParser(prog="armprobe", description=_DESCRIPTION, **common)
    parser.add_argument("--version", action=_Version)
    verbs = parser.add_subparsers(title="verbs", dest="verb", metavar="VERB", required=True)
    for declared in map(verb, names):
        description = declared.description or declared.help
        added = verbs.add_parser(declared.name, help=declared.help, description=description, **common)
        declared.add_arguments(added)
    return parser


def parse(words: Sequence[str]) -> Options:
    """Parse the words of a command line. Raises SystemExit, after an explanation, if they are not a command line."""
    words, for_gdb = list(words), list[str]()
    if not words or words[0] not in (*VERBS, *_FOR_ALL):
        _look_for_mistake(words)
        words.insert(0, "prompt")
    if words[0] == "gdb" and "--" in words:
        words, for_gdb = words[: words.index("--")], words[words.index("--") + 1 :]
    needed = words[:1] if words[0] in VERBS else () if words[0] == "--version" else VERBS
    namespace = build_parser(needed).parse_args(words)
    namespace.for_gdb = for_gdb
    configured = not getattr(namespace, "no_config", True)
    return Options.from_namespace(namespace, read_settings(Path.cwd()) if configured else Settings())


class _Version(argparse._VersionAction):
    """Looks the version up when it is asked for, which takes as long as many imports."""

    def __call__(self, *arguments: Any, **named: Any) -> None:
        self.version = f"armprobe {armprobe.__version__}"
        super().__call__(*arguments, **named)


def _look_for_mistake(words: Sequence[str]) -> None:
    """Look for a mistyped verb in the first word, which is taken for a guest."""
    word = words[0] if words else ""
    if not word or word.startswith("-") or "/" in word or word in ("demo", "linux") or os.path.lexists(word):
        return
    if near := similar(word, VERBS, most=1):
        build_parser().error(f"there is no verb and no file {word!r}: did you mean armprobe {near[0]}?")
