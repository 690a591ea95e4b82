# SPDX-License-Identifier: GPL-2.0-or-later
"""`armprobe compare COMMAND...`: the same commands by the rules of several eras, and where their answers differ."""

from __future__ import annotations

import argparse
from dataclasses import replace

from armprobe.commands.errors import CommandError
from armprobe.commands.render.errors import error_text
from armprobe.commands.terminal import say_answer
from armprobe.commands.values import EraAnswer, EraAnswers
from armprobe.probes.eras import ERAS

from .open_session import open_session
from .options import Options, Verb, add_guest, add_json, add_loading

_ALL = "all"


def _run(options: Options) -> int:
    """Returns 1 if the answers differ, as diff(1) does."""
    chosen = options.era or _ALL
    eras = list(dict.fromkeys(ERAS if chosen == _ALL else (name.strip() for name in chosen.split(","))))
    if len(eras) < 2:
        raise CommandError(f"compare takes several eras, such as --era v4.8,v6.1 or --era all, and not {chosen}")
    answers = EraAnswers(EraAnswer(era, _printed(replace(options, era=era))) for era in eras)
    say_answer("; ".join(options.what), answers, options.json)
    return int(len({answer.text for answer in answers}) > 1)


def _printed(options: Options) -> str:
    """What the commands print, on a guest of their own, up to the first that fails."""
    said: list[str] = []
    with open_session(options) as session:
        session.on_notice(said.append)
        try:
            for line in options.what:
                session.execute(line, said.append)
        except CommandError as error:
            said.append(f"error: {error_text(error)}")
    return "".join(said)


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", nargs="+", metavar="COMMAND", help="line of commands; source FILE runs a file of them")
    add_guest(parser, "--guest", help="guest to run them on, anew for each era: demo, linux or a file (default: demo)")
    add_loading(parser, ", with commas between several, or all of these six (default: all)")
    add_json(parser)


COMPARE = Verb(
    "compare",
    "run commands by the rules of several eras (--era v4.8,v6.1), and show the answers side by side where they differ",
    _arguments,
    _run,
)
