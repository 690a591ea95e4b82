# SPDX-License-Identifier: GPL-2.0-or-later
"""`armprobe demo`, the tour, and `armprobe bug-2015`, the bug that armprobe grew from."""

from __future__ import annotations

import argparse

from armprobe.commands import bug_2015, tour
from armprobe.commands.terminal import say

from .options import Options, Verb, add_era


def _bug_arguments(parser: argparse.ArgumentParser) -> None:
    names = ("all", *(case.name for case in bug_2015.CASES))
    parser.add_argument("case", nargs="?", default="all", choices=names, help="case to run (default: all)")


def _run_tour(options: Options) -> int:
    return tour.run(options.era, say)


def _run_bug(options: Options) -> int:
    return bug_2015.run(options.case, say)


DEMO = Verb("demo", "show what armprobe does, on the demo guest", add_era, _run_tour)
BUG_2015 = Verb(
    "bug-2015", "reproduce the kretprobe bug of 2015 from which armprobe grew, and its fix", _bug_arguments, _run_bug
)
