# SPDX-License-Identifier: GPL-2.0-or-later
"""SQL on hits, by DuckDB.

The table `stages` has a row for each stage of a hit. The view `hits` has those stages of them that have a line in the
kernel's trace file, which is one row for each hit. The columns are those of `COLUMNS`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from armprobe.expressions.errors import printable
from armprobe.machine import host_files
from armprobe.probes.record import TRACED_STAGE

from .columns import COLUMNS, HitTable, Kind
from .errors import TraceError
from .libraries import library

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

MOST_ROWS: Final = 10_000
"""Rows of an answer."""
_SQL_TYPES: Final = {
    Kind.NUMBER: "BIGINT",
    Kind.WORD: "UBIGINT",
    Kind.TEXT: "VARCHAR",
    Kind.FIELDS: "MAP(VARCHAR, VARCHAR)",
}
_HITS: Final = " OR ".join(f"kind = '{kind}' AND stage = '{stage.value}'" for kind, stage in TRACED_STAGE.items())
_CONFIGURATION: Final = {
    "memory_limit": "1GB",
    "temp_directory": "",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
}
_POLL: Final = 0.1  # seconds


class Answer(NamedTuple):
    """The answer to a query: names of columns, rows, and whether there were more rows than `MOST_ROWS`."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    more: bool


class Database:
    """Hits that can be asked by SQL.

    A query sees them and nothing else: no file, no network, no variable of Python's. It has a gigabyte of memory.
    """

    def __init__(self, hits: HitTable | Path) -> None:
        """`hits` are some in memory or a file of them (.parquet, .ndjson, .csv). Raises TraceError if it is none."""
        self._duckdb = library("duckdb", "a query")
        self._connection: DuckDBPyConnection = self._duckdb.connect(config=_CONFIGURATION)
        if isinstance(hits, Path):
            self._load(hits)
        else:
            self._connection.register("stages", hits.to_arrow())
        self._connection.execute(f"CREATE VIEW hits AS SELECT * FROM stages WHERE {_HITS}")
        self._connection.execute("SET enable_external_access = false")
        self._connection.execute("SET lock_configuration = true")

    def _load(self, path: Path) -> None:
        readers = {".parquet": "read_parquet(?)", ".csv": "read_csv(?, all_varchar = true)"}
        types = ", ".join(f"{column.name}: '{_SQL_TYPES[column.kind]}'" for column in COLUMNS)
        lines = f"read_json(?, format = 'newline_delimited', columns = {{{types}}})"
        reader = readers.get(path.suffix) or {".ndjson": lines, ".jsonl": lines}.get(path.suffix)
        if reader is None:
            raise TraceError(
                f"{host_files.shown(path)} cannot be queried: give a file ending in .parquet, .ndjson or .csv"
            )
        host_files.open_regular(path).close()
        columns = ", ".join(f'{_cast(path, name, kind)} AS "{name}"' for name, kind, _ in COLUMNS)
        # A name of a file is a pattern to DuckDB.
        name = "".join(f"[{letter}]" if letter in "*?[" else letter for letter in str(path.absolute()))
        try:
            there = {row[0] for row in self._connection.execute(f"DESCRIBE SELECT * FROM {reader}", [name]).fetchall()}
            missing = next((column.name for column in COLUMNS if column.name not in there), None)
            if missing is None:
                self._connection.execute(f"CREATE TABLE stages AS SELECT {columns} FROM {reader}", [name])
                found = self._connection.execute("SELECT count(*) FROM stages WHERE position IS NULL").fetchone()
                missing = "position" if found != (0,) else None
            reason = f"there is no column {missing}"
        except self._duckdb.Error as error:
            missing, reason = "", _sentence(str(error))
        if missing is not None:
            raise TraceError(f"{host_files.shown(path)} has no hits saved by trace save: {reason}")

    def ask(self, query: str, interrupted: Callable[[], bool] = lambda: False) -> Answer:
        """The answer to `query`, one statement. It ends early when `interrupted` is true.

        Raises TraceError, with DuckDB's words, if the query is wrong.
        """
        result: list[Answer | BaseException] = []

        def work() -> None:
            try:
                result.append(self._answer(query))
            except BaseException as error:  # re-raised in the waiting thread
                result.append(error)

        thread = threading.Thread(target=work, name="armprobe query", daemon=True)
        thread.start()
        while thread.is_alive():
            thread.join(_POLL)
            if interrupted():
                self._connection.interrupt()
        (answer,) = result
        if isinstance(answer, self._duckdb.Error):
            raise TraceError(_sentence(str(answer))) from None
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def _answer(self, query: str) -> Answer:
        statements = self._connection.extract_statements(query)
        if len(statements) != 1:
            raise TraceError(f"a query is one statement of SQL, and this has {len(statements)}")
        cursor = self._connection.execute(statements[0])
        rows = cursor.fetchmany(MOST_ROWS + 1)
        names = tuple(column[0] for column in cursor.description or ())
        return Answer(names, tuple(rows[:MOST_ROWS]), len(rows) > MOST_ROWS)


def _cast(path: Path, name: str, kind: Kind) -> str:
    """The SQL for a column of a file. In CSV, `args` is JSON, and an empty note is an empty field."""
    value = f'"{name}"'  # some are keywords of SQL
    if path.suffix == ".csv":
        value = {"args": "json(args)", "note": "coalesce(note, '')"}.get(name, value)
    return f"CAST({value} AS {_SQL_TYPES[kind]})"


def _sentence(text: str) -> str:
    """DuckDB's message in one line: its first line, and the suggestion after it."""
    kept = [line.strip() for line in text.splitlines() if line.strip()]
    return printable("; ".join(line for line in kept if not line.startswith(("LINE ", "^"))))
