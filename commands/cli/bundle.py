# SPDX-License-Identifier: GPL-2.0-or-later
"""`armprobe bundle FILE`: what computers without a network need to install armprobe and to boot Debian's kernel."""

from __future__ import annotations

import argparse

from armprobe.commands.bundle import FOLDER, write_bundle
from armprobe.commands.render.progress import Steps
from armprobe.commands.terminal import say
from armprobe.machine import host_files

from .options import Options, Verb, add_file

_DESCRIPTION = f"""\
Write a tar file for computers of this architecture that have no network, as in a classroom:

  armprobe bundle armprobe.tar                      here
  tar xf armprobe.tar && {FOLDER}/install    there; then armprobe/bin/armprobe

It has wheels of armprobe and of the packages that it needs, which pip fetches, Debian's kernel and BusyBox. There it
takes a Python from 3.11 on. gdb-multiarch is that computer's own."""


def _run(options: Options) -> int:
    with Steps() as steps:
        write_bundle(options.file, force=options.force, report=steps)
    name = host_files.shown(options.file)
    size = options.file.stat().st_size / 1e6
    say(f"made {name} ({size:.0f} MB); on the other computers: tar xf {name} && {FOLDER}/install\n")
    return 0


def _arguments(parser: argparse.ArgumentParser) -> None:
    add_file(parser, "file", metavar="FILE", help="file to write; a bundle that is there is replaced")
    parser.add_argument("--force", action="store_true", help="replace a file that is no bundle")


BUNDLE = Verb(
    "bundle", "write what computers without a network need to install and run armprobe", _arguments, _run, _DESCRIPTION
)
