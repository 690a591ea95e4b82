# SPDX-License-Identifier: GPL-2.0-or-later
"""Takes the pictures of the prompt that the documentation shows: `make pictures`.

Each is what tmux has on its screen after some keys, as SVG.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "figures"
PATIENCE = 60.0  # seconds
# Without rich's own font, which a browser would fetch from another site.
FORMAT = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)


class Picture(NamedTuple):
    """A picture: its file's name, the columns and lines of the terminal, and pairs of keys and what is waited for."""

    name: str
    columns: int
    lines: int
    steps: Sequence[tuple[Sequence[str], str]]


_STOP = (("break slab_round", "Enter"), "breakpoint 1 at"), (("c; until", "Enter"), r"^-{70,}$")
_LINE = (('kprobe kfree if x0 > 0x10 print "%s", comm; !make # both',), "both")
PICTURES = (
    Picture(
        "prompt-completion",
        80,
        14,
        ((("help undo", "Enter"), "says more"), (("tr", "Tab"), "armprobe> trace"), (("Tab",), "Show the last hits")),
    ),
    Picture("prompt-fuzzy", 80, 14, ((("kprobe klc", "Tab"), "kmalloc_caches"),)),
    Picture("prompt-stop", 80, 40, _STOP),
    Picture("prompt-wide", 140, 40, (*_STOP, _LINE)),
)


def taken(picture: Picture) -> str:
    """The screen, with its colours as escape sequences."""
    with tempfile.TemporaryDirectory() as state:
        tmux = ["tmux", "-L", f"armprobe-{os.getpid()}", "-f", "/dev/null"]
        size = ["-x", str(picture.columns), "-y", str(picture.lines)]
        armprobe = f"env -u NO_COLOR XDG_STATE_HOME={state} {sys.executable} -m armprobe --no-config --listen none"
        subprocess.run([*tmux, "new-session", "-d", *size, armprobe], cwd=ROOT, check=True)

        def screen(*options: str) -> str:
            command = [*tmux, "capture-pane", "-p", *options]
            return subprocess.run(command, capture_output=True, text=True, check=True).stdout

        def wait(pattern: str) -> None:
            until = time.monotonic() + PATIENCE
            while not re.search(pattern, screen().rstrip("\n "), re.MULTILINE):
                if time.monotonic() > until:
                    raise SystemExit(f"{picture.name}: there is no {pattern!r} on the screen:\n{screen()}")
                time.sleep(0.2)

        try:
            wait("^armprobe>")
            for keys, expected in picture.steps:
                for key in keys:
                    subprocess.run([*tmux, "send-keys", key], check=True)
                wait(expected)
            return screen("-e")
        finally:
            subprocess.run([*tmux, "kill-server"], check=False)


def svg(screen: str, picture: Picture) -> str:
    """The screen as a picture."""
    with open(os.devnull, "w") as nowhere:
        console = Console(
            record=True, width=picture.columns, file=nowhere, force_terminal=True, color_system="truecolor"
        )
        console.print(Text.from_ansi(screen.rstrip("\n")), soft_wrap=True)
        return console.export_svg(title="armprobe", code_format=FORMAT, unique_id=picture.name)


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for picture in PICTURES:
        (FOLDER / f"{picture.name}.svg").write_text(svg(taken(picture), picture))
        print(f"docs/figures/{picture.name}.svg")


if __name__ == "__main__":
    main()
