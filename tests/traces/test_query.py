# SPDX-License-Identifier: GPL-2.0-or-later
"""SQL on hits: in memory, in files, and what a query may not do."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pytest

from armprobe.machine import MachineError
from armprobe.probes import Kprobes
from armprobe.traces import COLUMNS, TraceError
from armprobe.traces.formats import save
from armprobe.traces.query import MOST_ROWS, Database

pytest.importorskip("duckdb")


@pytest.fixture(scope="module")
def database(kprobes: Kprobes) -> Database:
    return Database(kprobes.hits.table)


@pytest.mark.parametrize("ending", ["", ".parquet", ".ndjson", ".csv"])
def test_every_form_of_the_hits_gives_the_same(kprobes: Kprobes, ending: str, tmp_path: Path) -> None:
    """The answer is what Python counts. The file's name has what DuckDB takes for a pattern."""
    hits = kprobes.hits.table
    if ending:
        folder = tmp_path / "a*[b]?c=1"
        folder.mkdir()
        save(kprobes, folder / f"it's{ending}")
    database = Database(folder / f"it's{ending}" if ending else hits)
    traced = kprobes.hits.traced()
    # CSV has no empty text: what is empty there is missing.
    comm = "coalesce(comm, '')"
    answer = database.ask(f"SELECT {comm}, count(*) FROM hits GROUP BY 1")
    assert dict(answer.rows) == Counter(hit.task.comm for hit in traced if hit.task is not None)
    total = database.ask("SELECT count(*), sum(sp), sum(elapsed_ns) FROM stages").rows
    elapsed = sum(ns or 0 for ns in hits.elapsed)
    assert total == ((len(hits.hits), sum(hit.regs.sp for hit in hits.hits if not hit.missing), elapsed),)
    fields = "SELECT args['front'], args['bad'] FROM hits WHERE probe = 'tree_visit' ORDER BY position LIMIT 2"
    expected = [hit.data["front"] for hit in traced if hit.probe.name == "tree_visit"][:2]
    assert database.ask(fields).rows == tuple((front.hex(), None) for front in expected if isinstance(front, bytes))
    assert database.ask("SELECT count(*) FROM hits WHERE note <> ''").rows == ((52,),)
    assert database.ask("SELECT * FROM stages").columns == tuple(column.name for column in COLUMNS)


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("SELECT nosuch FROM hits", 'Referenced column "nosuch" not found'),
        ("SELEC 1", "syntax error"),
        ("", "a query is one statement of SQL, and this has 0"),
        ("SELECT 1; SELECT 2", "this has 2"),
        ("SELECT * FROM '/etc/passwd'", "does not exist"),
        ("SELECT * FROM read_text('/etc/passwd')", "disabled by configuration"),
        ("SELECT * FROM glob('/*')", "disabled by configuration"),
        ("COPY hits TO 'FOLDER/a'", "disabled by configuration"),
        ("ATTACH 'FOLDER/a'", "disabled by configuration"),
        ("EXPORT DATABASE 'FOLDER/a'", "disabled by configuration"),
        ("INSTALL httpfs", "disabled by configuration"),
        ("LOAD httpfs", ""),
        ("SET enable_external_access = true", "locked"),
        ("SET memory_limit = '1TB'", "locked"),
        ("SELECT * FROM kprobes", "does not exist"),
        ("SELECT repeat('x', 1 << 31) FROM hits", ""),
    ],
)
def test_a_query_has_the_hits_and_nothing_else(
    database: Database, kprobes: Kprobes, query: str, why: str, tmp_path: Path
) -> None:
    """Not even a variable of Python's that is a table."""
    with pytest.raises(TraceError) as raised:
        database.ask(query.replace("FOLDER", str(tmp_path)))
    assert why in str(raised.value)
    assert str(raised.value).isprintable()
    assert not list(tmp_path.iterdir())
    assert database.ask("SELECT count(*) FROM stages").rows == ((len(kprobes.hits),),)


def test_a_long_answer_is_cut(database: Database) -> None:
    answer = database.ask("SELECT * FROM range(1000000000)")
    assert (len(answer.rows), answer.more) == (MOST_ROWS, True)


def test_a_query_without_end_is_interrupted(database: Database) -> None:
    began = time.monotonic()
    with pytest.raises(TraceError, match="INTERRUPT"):
        database.ask("SELECT sum(a.range + b.range) FROM range(10000000) a, range(10000000) b", lambda: True)
    assert time.monotonic() - began < 60


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("a.csv", "x,y\n1,2\n", "there is no column position"),
        ("a.csv", "", "has no hits"),
        ("a.ndjson", '{"x": 1}\n', "there is no column position"),
        ("a.ndjson", "{", "has no hits"),
        ("a.parquet", "PAR1", "has no hits"),
        ("a.txt", "", "give a file ending in .parquet, .ndjson or .csv"),
        ("a.csv/", "", "it is a folder"),
    ],
)
def test_a_file_of_something_else(name: str, text: str, why: str, tmp_path: Path) -> None:
    file = tmp_path / name
    if name.endswith("/"):
        file.mkdir()
    else:
        file.write_text(text)
    with pytest.raises(MachineError, match=why) as raised:
        Database(file)
    assert str(raised.value).isprintable()
    assert "\n" not in str(raised.value)
