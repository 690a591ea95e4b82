# SPDX-License-Identifier: GPL-2.0-or-later
"""Generates the man page from the parser of the command line."""

from .parser import build_parser

WIDTH = "80"  # columns of the usage lines, which argparse takes from $COLUMNS


def man_page() -> str:
    """armprobe(1), in the macros of man(7). The text does not depend on the date."""
    from argparse_manpage.manpage import Manpage  # an extra, which users of armprobe do not need

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
