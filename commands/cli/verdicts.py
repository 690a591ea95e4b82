# SPDX-License-Identifier: GPL-2.0-or-later
"""`armprobe decode WHAT`, `armprobe check PLACE...`: commands that are also verbs, on a guest that does not run."""

from __future__ import annotations

import argparse
from dataclasses import replace

from armprobe.commands.catalog import registry
from armprobe.commands.script import run_lines

from .open_session import open_session
from .options import Options, Verb, add_config, add_era, add_guest, add_json


def _run(options: Options) -> int:
    words = [options.verb, *options.what, *([f"era={options.era}"] if options.era else [])]
    with open_session(replace(options, era=None)) as session:
        return run_lines(session, [words], options.json)


def _question(name: str, help: str) -> Verb:
    command = registry().find(name)
    argument = command.positional[0]

    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("what", nargs="+" if argument.many else 1, metavar=argument.label, help=argument.help)
        add_guest(parser, "--guest", help="guest whose code to look at: demo, linux or a file (default: demo)")
        add_config(parser)
        add_era(parser, ". all stands for all of these eras")
        add_json(parser)

    return Verb(name, help, add_arguments, _run, command.help)


DECODE = _question("decode", "show how a kernel executes a probed instruction, or why it refuses the probe")
CHECK = _question("check", "show whether probes would be accepted; the exit status is 1 if one would be refused")
