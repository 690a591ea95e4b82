# SPDX-License-Identifier: GPL-2.0-or-later
"""The command that answers SQL on the recorded hits."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from armprobe.traces.query import MOST_ROWS, Answer, Database

from .declaration import Arg, Arguments, Command
from .parsing import split
from .trace import GROUP
from .values import Cell, QueryAnswer

if TYPE_CHECKING:
    from armprobe.session import Session


def answer_of(answer: Answer) -> QueryAnswer:
    """The answer to a query, as a value."""
    return QueryAnswer(answer.columns, tuple(tuple(map(_cell, row)) for row in answer.rows), answer.more)


def _cell(value: Any) -> Cell:
    """A number, a text, a truth value or None as it is; a text for what JSON has not."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Decimal):
        value = float(value)
    if value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return str(value)


def _query(session: Session, arguments: Arguments) -> QueryAnswer:
    words = split(arguments.sql)
    sql = words[0].text if len(words) == 1 else arguments.sql
    scheduler = session.machine.scheduler
    database = Database(session.kprobes.hits.table)
    return answer_of(database.ask(sql, lambda: scheduler.interrupt_requested))


COMMANDS = (
    Command(
        "query",
        "Answer a query in SQL on the hits that are kept.\n"
        "The table hits has a row for each hit, the stage that trace shows. The table stages has all stages.\n"
        "docs/traces.md describes their columns.\n\n"
        "    query SELECT comm, count(*) FROM hits GROUP BY 1\n"
        "    query SELECT probe, max(elapsed_ns) FROM hits GROUP BY probe\n\n"
        f"The SQL is DuckDB's, which pip install 'armprobe[data]' installs. The first {MOST_ROWS} rows are shown.",
        (Arg("sql", "a statement, with or without quotes around it", rest=True, foreign=True),),
        _query,
        group=GROUP,
    ),
)
