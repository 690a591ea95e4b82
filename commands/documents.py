# SPDX-License-Identifier: GPL-2.0-or-later
"""Writes the documents that derive from declarations: ``python -m armprobe.commands.documents FOLDER``."""

import os
import sys
from pathlib import Path

from .catalog import registry
from .cli.man_page import WIDTH, man_page
from .json_reference import json_reference
from .reference import reference


def main() -> int:
    """Write them to the folder named on the command line."""
    if len(sys.argv) != 2:
        print("usage: python -m armprobe.commands.documents FOLDER", file=sys.stderr)
        return 2
    os.environ["COLUMNS"] = WIDTH
    for name, text in (
        ("commands.md", reference(registry())),
        ("json.md", json_reference(registry())),
        ("armprobe.1", man_page()),
    ):
        (Path(sys.argv[1]) / name).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
