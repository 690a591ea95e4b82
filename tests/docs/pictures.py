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
from typing import Final, NamedTuple

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "figures"
PATIENCE = 60.0  # seconds
# Without rich's own font, which a browser would fetch from another site.
FORMAT = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)


class Feature(NamedTuple):
    """What a picture shows: the lines of the terminal, pairs of keys and what is waited for, and the environment."""

    lines: int
    steps: Sequence[tuple[Sequence[str], str]]
    environment: str = ""


_BREAK = (("break slab_round", "Enter"), "breakpoint 1 at")
_STOP = (("c; until", "Enter"), r"^-{70,}$")
_LINE = (('kprobe kfree if x0 > 0x10 print "%s", comm; !make # both',), "both")
FEATURES: Final = {
    "completion": Feature(14, ((("tr", "Tab"), "armprobe> trace"), (("Tab",), "Show the last hits"))),
    "fuzzy": Feature(14, ((("kprobe klc", "Tab"), "kmalloc_caches"),)),
    "help": Feature(40, ((("help undo", "Enter"), "says more"),)),
    "print": Feature(
        30,
        (
            (("context off", "Enter"), "nothing"),
            (("tb kfree; c", "Enter"), "breakpoint 1"),
            (("p workload; p/x workload.random", "Enter"), "^0x"),
            (("p/x $sp; x/3i $pc; x/2gx $sp", "Enter"), "init_stack"),
        ),
    ),
    "search": Feature(12, ((("kprobe kfree if x0 > 16", "Enter"), "kprobe 1"), (("C-r", "kfr"), "kfr.*kprobe kfree"))),
    "stop": Feature(40, (_BREAK, _STOP, _LINE)),
    "no-color": Feature(40, (_BREAK, _STOP, _LINE), "NO_COLOR=1"),
}
WIDTHS: Final = (80, 140)


class Picture(NamedTuple):
    """A picture of a feature: its file's name, and the columns of the terminal."""

    name: str
    columns: int
    feature: Feature


PICTURES = [
    Picture(f"prompt-{name}-{columns}", columns, feature) for name, feature in FEATURES.items() for columns in WIDTHS
]


def taken(picture: Picture) -> str:
    """The screen, with its colours as escape sequences."""
    with tempfile.TemporaryDirectory() as state:
        tmux = ["tmux", "-L", f"armprobe-{os.getpid()}", "-f", "/dev/null"]
        size = ["-x", str(picture.columns), "-y", str(picture.feature.lines)]
        environment = f"env -u NO_COLOR {picture.feature.environment} XDG_STATE_HOME={state}"
        armprobe = f"{environment} {sys.executable} -m armprobe --no-config --listen none"
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
            for keys, expected in picture.feature.steps:
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
