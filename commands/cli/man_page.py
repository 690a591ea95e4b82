# SPDX-License-Identifier: GPL-2.0-or-later
"""The man page, from the parser of the command line."""

from .parser import build_parser

WIDTH = "80"  # columns of the usage lines, which argparse takes from $COLUMNS


def man_page() -> str:
    """armprobe(1), in the macros of man(7). The same for every day it is written on."""
    from argparse_manpage.manpage import Manpage  # an extra: who runs armprobe has no use for it

    page = Manpage(
        build_parser(),
        _data={
            "project_name": "armprobe",
            "description": "an ARMv8-A machine with Linux kprobes built into it, that GDB attaches to",
            "manual_title": "User Commands",
            "date": " ",
        },
        format="single-commands-section",
    )
    return str(page).strip() + "\n"
