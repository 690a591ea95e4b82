# SPDX-License-Identifier: GPL-2.0-or-later
"""`armprobe query SQL`: SQL on hits, those of a file or those that commands record."""

from __future__ import annotations

import argparse
from pathlib import Path

from armprobe.commands.errors import CommandError
from armprobe.commands.query import answer_of
from armprobe.commands.terminal import say_answer
from armprobe.traces.query import Database

from .open_session import open_session
from .options import FILE, Options, Verb, add_guest, add_session
from .prompt import run_commands

_DESCRIPTION = """\
Answer a query in SQL on hits: those of a file that trace save has written, or those that commands record.

  armprobe query "SELECT comm, count(*) FROM hits GROUP BY 1" hits.parquet
  armprobe query "SELECT comm, count(*) FROM hits GROUP BY 1" --guest linux -c "kprobe vfs_read" -c "console ls"

The table hits has a row for each hit, and the table stages one for each stage of a hit. docs/traces.md describes their
columns. The SQL is DuckDB's, which pip install 'armprobe[data]' installs."""


def _run(options: Options) -> int:
    (sql,) = options.what
    if options.hits is not None and options.commands:
        raise CommandError("give a file of hits or commands that record some (-c), not both")
    if options.hits is not None:
        say_answer(f"query {sql}", answer_of(Database(Path(options.hits)).ask(sql)), options.json)
        return 0
    if not options.commands:
        raise CommandError(
            "there are no hits to query: give a file that trace save has written (armprobe query SQL hits.parquet), or "
            "commands that record some (-c 'kprobe kfree' -c 'continue instructions=1000000')"
        )
    with open_session(options) as session:
        return run_commands(session, options, [*options.commands, ["query", sql]])


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", nargs=1, metavar="SQL", help="a statement of SQL")
    what = parser.add_argument("hits", nargs="?", metavar="FILE", help="file of hits: .parquet, .ndjson or .csv")
    what.complete = FILE  # type: ignore[attr-defined]
    add_guest(parser, "--guest")
    add_session(parser)


QUERY = Verb(
    "query", "answer SQL on hits: those of a file, or those that commands record", _arguments, _run, _DESCRIPTION
)
