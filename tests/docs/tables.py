# SPDX-License-Identifier: GPL-2.0-or-later
"""The tables in the documentation that are made from the code. `python -m tests.docs.tables` writes them again."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tests.docs import columns, packets, refusals

_DOCS: Final = Path(__file__).parents[2] / "docs"
TABLES: Final = {
    _DOCS / "kprobes.md": refusals.table,
    _DOCS / "protocol.md": packets.table,
    _DOCS / "traces.md": columns.table,
}
_BEGIN, _END = "<!-- python -m tests.docs.tables -->\n", "<!-- end -->\n"


def rewritten(document: Path) -> str:
    """The document with its table made again."""
    before, _, rest = document.read_text().partition(_BEGIN)
    _, end, after = rest.partition(_END)
    assert end, f"{document} has no place for its table"
    heading, *rows = TABLES[document]()
    lines = ["| " + " | ".join(cells) + " |\n" for cells in (heading, ["---"] * len(heading), *rows)]
    return f"{before}{_BEGIN}{''.join(lines)}{_END}{after}"


if __name__ == "__main__":
    for path in TABLES:
        path.write_text(rewritten(path))
