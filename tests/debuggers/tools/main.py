# SPDX-License-Identifier: GPL-2.0-or-later
"""The last part of `make matrix`: other people's tools on Debian's kernel, and their tables in docs/debuggers.md."""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from armprobe.commands import CommandError, Session
from armprobe.machine import MachineError
from tests.debuggers.driver import DebuggerError
from tests.debuggers.matrix import DOCUMENT, YES, cell
from tests.debuggers.tools.crash import CRASH
from tests.debuggers.tools.dap import DAP
from tests.debuggers.tools.drgn_shell import DRGN
from tests.debuggers.tools.facts import Facts, ask
from tests.debuggers.tools.gef import GEF
from tests.debuggers.tools.lx_scripts import LX_SCRIPTS
from tests.debuggers.tools.pwndbg import PWNDBG
from tests.debuggers.tools.tool import Absent, Row, Subject, Tool

TOOLS: Final = (LX_SCRIPTS, DRGN, PWNDBG, GEF, DAP, CRASH)


def tried(tool: Tool, facts: Facts, folder: Path) -> Iterator[tuple[Row, str]]:
    """Each row with "yes", or with what was wrong, of a tool on a guest of its own."""
    with Session(facts.snapshot) as session:
        subject = Subject(facts, session, folder)
        with tool.opened(subject) as answer:
            for row in tool.rows:
                try:
                    row.right(subject, "".join(answer(line) for line in row.typed.split("; ")))
                except (AssertionError, DebuggerError) as failure:
                    yield row, f"no: {failure}"
                else:
                    yield row, YES


def table(version: str, results: list[tuple[Row, str]]) -> str:
    """What the document has of a tool."""
    cells = [("typed", "compared with", ""), ("---", "---", "---")]
    for row, result in results:
        cells.append((" ".join(f"`{line}`" for line in row.typed.split("; ")), row.like, cell(result)))
    return f"{version}\n\n" + "".join("| " + " | ".join(line) + " |\n" for line in cells)


def rewritten(document: str, name: str, text: str) -> str:
    """The document with `text` at the tool's place. Raises AssertionError if it has no such place."""
    place = re.compile(rf"(<!-- make matrix: {re.escape(name)} -->\n).*?(<!-- end -->\n)", re.DOTALL)
    assert place.search(document), f"{DOCUMENT} has no place for {name}"
    return place.sub(lambda found: found[1] + text + found[2], document, count=1)


def main() -> int:
    """Try what was asked for, and write it down. 1 if a row that the document has as right is not, or nothing ran."""
    parser = argparse.ArgumentParser(description="Tries other people's tools. Takes some minutes.")
    parser.add_argument("--tool", choices=[tool.name for tool in TOOLS])
    wanted = parser.parse_args().tool
    worse = False
    with tempfile.TemporaryDirectory(prefix="armprobe-tools-") as folder:
        try:
            facts = ask(Path(folder))
            for tool in [tool for tool in TOOLS if wanted in (None, tool.name)]:
                try:
                    version = tool.version()
                except Absent as absent:
                    print(f"{tool.name} is not tried: {absent}", flush=True)
                    continue
                results = []
                for row, result in tried(tool, facts, Path(folder)):
                    print(f"{tool.name}: {row.typed}: {result}", flush=True)
                    results.append((row, result))
                before = DOCUMENT.read_text()
                after = rewritten(before, tool.name, table(version, results))
                worse |= after.count("| yes |") < before.count("| yes |")
                DOCUMENT.write_text(after)
        except (CommandError, MachineError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    return int(worse)


if __name__ == "__main__":
    sys.exit(main())
