# SPDX-License-Identifier: GPL-2.0-or-later
"""`armprobe doctor` and `armprobe cache`: this computer, not a guest."""

from __future__ import annotations

import argparse

from armprobe.commands import computer
from armprobe.commands.errors import CommandError
from armprobe.commands.terminal import say_answer
from armprobe.guests.linux import cache

from .options import Options, Verb, add_config, add_json

_ACTIONS = ("list", "clear")
_CACHE = f"""\
List what armprobe keeps in its cache, or remove it. All of it can be made again.

  armprobe cache                  list it: kind, size, time since the last use, and what it is
  armprobe cache clear            remove the snapshots that were not used for a day
  armprobe cache clear KIND ...   remove all of a kind: {", ".join(cache.KINDS)}
  armprobe cache clear --all      remove everything

What another armprobe is using stays. When a snapshot is written, the oldest ones beyond a limit go by themselves: the
setting cache_limit says how much they may take together (default: {cache.DEFAULT_LIMIT})."""
_DOCTOR = """\
Show the versions and the state of armprobe and of what it works with: what to send with a report of a fault. It says
nothing of guests, and the home folder is shown as ~. The exit status is 1 if something is wrong."""


def _run_doctor(options: Options) -> int:
    found = computer.examine(options.usual_listen, options.cache_limit)
    say_answer("doctor", found, options.json)
    return 1 if found.problems else 0


def _run_cache(options: Options) -> int:
    action, *kinds = options.what or ("list",)
    line = " ".join(["cache", action, *kinds, *(["--all"] if options.everything else [])])
    if action not in _ACTIONS:
        raise CommandError(f"armprobe cache has no {action!r}: it has {' and '.join(_ACTIONS)}")
    chosen = list(computer.settled_kinds(kinds))
    if action == "list":
        say_answer(line, computer.list_cache(chosen or cache.KINDS), options.json)
    elif chosen or options.everything:
        say_answer(line, computer.clear_cache(cache.KINDS if options.everything else chosen), options.json)
    else:
        say_answer(line, computer.clear_cache(["snapshots"], cache.SPARED), options.json)
    return 0


def _doctor_arguments(parser: argparse.ArgumentParser) -> None:
    add_config(parser)
    add_json(parser)


def _cache_arguments(parser: argparse.ArgumentParser) -> None:
    help = f"list (the default) or clear, then kinds: {', '.join(cache.KINDS)}"
    parser.add_argument("what", nargs="*", metavar="list|clear|KIND", help=help)
    parser.add_argument("--all", dest="everything", action="store_true", help="with clear: all kinds")
    add_json(parser)


DOCTOR = Verb(
    "doctor", "show versions and the state of this installation, for a report", _doctor_arguments, _run_doctor, _DOCTOR
)
CACHE = Verb("cache", "list what armprobe keeps on this computer, or remove it", _cache_arguments, _run_cache, _CACHE)
