# SPDX-License-Identifier: GPL-2.0-or-later
"""`make matrix`: every check with every debugger on every guest, and the table of them in docs/debuggers.md."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from armprobe.commands import CommandError, Session
from armprobe.stub import Server, serve
from tests.debuggers.checks import CHECKS, Bench, NotApplicable
from tests.debuggers.driver import DebuggerError, start
from tests.debuggers.guests import GUESTS, Guest
from tests.debuggers.programs import PROGRAMS, Program, version

DOCUMENT: Final = Path(__file__).parents[2] / "docs" / "debuggers.md"
_BEGIN, _END = "<!-- make matrix -->\n", "<!-- end -->\n"
YES: Final = "yes"


def attempt(name: str, path: str, guest: Guest, session: Session, server: Server, folder: Path) -> str:
    """Do the check called `name`: "yes", "-" and a reason where there is nothing to check, or what went wrong."""
    program = None if name == "symbols from the stub" else guest.program(session, folder)
    with start(path, program) as debugger:
        try:
            CHECKS[name](Bench(session, guest, debugger, server.address, folder))
        except NotApplicable as reason:
            return f"- {reason}"
        except (AssertionError, DebuggerError) as failure:
            return f"no: {failure}"
    return YES


def column(path: str, guest: Guest, names: Sequence[str] = tuple(CHECKS)) -> Iterator[tuple[str, str]]:
    """The checks of one debugger on a fresh guest, as name and result."""
    with (
        tempfile.TemporaryDirectory(prefix="armprobe-") as folder,
        guest.open() as session,
        serve(session, "127.0.0.1:0") as server,
    ):
        for name in names:
            yield name, attempt(name, path, guest, session, server, Path(folder))


def cell(result: str) -> str:
    """What the table has for it: "yes", "no" or "-"."""
    return result.split()[0].rstrip(":")


def rows(results: Mapping[tuple[str, str], Mapping[str, str]], columns: Sequence[tuple[str, str]]) -> list[str]:
    """The table's lines in Markdown; `results` by (debugger, guest) and check."""
    head = ["", *(f"{program}, {guest}" for program, guest in columns)]
    lines = [head, ["---"] * len(head), *([name, *(cell(results[c][name]) for c in columns)] for name in CHECKS)]
    return ["| " + " | ".join(cells) + " |\n" for cells in lines]


def _rewrite(table: str) -> None:
    before, _, rest = DOCUMENT.read_text().partition(_BEGIN)
    _, end, after = rest.partition(_END)
    assert end, f"{DOCUMENT} has no place for its table"
    DOCUMENT.write_text(f"{before}{_BEGIN}{table}{_END}{after}")


def _run(program: Program, guest: Guest, names: Sequence[str]) -> dict[str, str]:
    path = program.install()
    results = {}
    for name, result in column(path, guest, names):
        print(f"{program.name}, {guest.name}: {name}: {result}", flush=True)
        results[name] = result
    return results


def main() -> int:
    """Run what was asked for; with nothing left out, write the table too. 1 if anything does not work."""
    parser = argparse.ArgumentParser(description="Tries the stub with many debuggers. Takes some minutes.")
    parser.add_argument("--program", choices=[program.name for program in PROGRAMS])
    parser.add_argument("--guest", choices=[guest.name for guest in GUESTS])
    parser.add_argument("--check", choices=CHECKS)
    options = parser.parse_args()
    programs = [p for p in PROGRAMS if options.program in (None, p.name)]
    guests = [g for g in GUESTS if options.guest in (None, g.name)]
    results = {}
    try:
        for program in programs:
            for guest in guests:
                names = [options.check] if options.check else list(CHECKS)
                results[program.name, guest.name] = _run(program, guest, names)
    except (CommandError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if not (options.program or options.guest or options.check):
        versions = "".join(f"* {p.name}: {version(p.install())}\n" for p in PROGRAMS)
        _rewrite(versions + "\n" + "".join(rows(results, list(results))))
    return int(any(cell(result) == "no" for found in results.values() for result in found.values()))


if __name__ == "__main__":
    sys.exit(main())
