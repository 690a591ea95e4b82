# SPDX-License-Identifier: GPL-2.0-or-later
"""`armprobe make-root IMAGE [PACKAGE ...]`: an ext4 image with Debian's packages, for a guest to boot from."""

from __future__ import annotations

import argparse

from armprobe.commands.render.progress import Steps
from armprobe.commands.terminal import say
from armprobe.guests.linux.debian import make_root
from armprobe.guests.linux.debian.root_image import PACKAGES
from armprobe.machine import host_files
from armprobe.machine.loaders import parse_size

from .options import Options, Verb, add_file

_DESCRIPTION = f"""\
Make an image with an ext4 file system that has packages of Debian's for arm64, for a Linux guest:

  armprobe make-root root.ext4 strace python3-minimal
  armprobe linux --disk root.ext4 --root

It takes no root's rights. The packages come from this system's apt sources, with all that they depend on, and are
unpacked; their installation scripts are not run. These are always there: {", ".join(PACKAGES)}.
It takes mke2fs and debugfs (Debian: apt-get install e2fsprogs)."""


def _run(options: Options) -> int:
    with Steps() as steps:
        size, suite = parse_size(options.size), options.suite
        make_root(options.file, options.arguments, size, suite=suite, force=options.force, report=steps)
    name = host_files.shown(options.file)
    say(f"made {name}; armprobe linux --disk {name} --root boots to a shell on it\n")
    return 0


def _arguments(parser: argparse.ArgumentParser) -> None:
    add_file(parser, "file", metavar="IMAGE", help="file to write; an ext4 image that is there is replaced")
    parser.add_argument("arguments", nargs="*", metavar="PACKAGE", help="package to put into it")
    parser.add_argument("--size", metavar="SIZE", help="size of the file system (default: 512M)")
    parser.add_argument("--suite", metavar="NAME", help="Debian release, such as trixie (default: this system's)")
    parser.add_argument("--force", action="store_true", help="replace a file that is no ext4 image")


MAKE_ROOT = Verb(
    "make-root", "make a disk image with Debian's packages, for a Linux guest", _arguments, _run, _DESCRIPTION
)
