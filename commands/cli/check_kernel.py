# SPDX-License-Identifier: GPL-2.0-or-later
"""`armprobe check-kernel FILE`: whether a kernel can be booted, and what will be known of it."""

from __future__ import annotations

import argparse

from armprobe.commands.terminal import say_answer
from armprobe.kernel.kernel_facts import examine
from armprobe.machine.loaders import parse_size

from .options import Options, Verb, add_file, add_json

_DESCRIPTION = """\
Say whether armprobe can boot a Linux kernel, what it will know of it, and why not the rest. The kernel is not booted.

  armprobe check-kernel arch/arm64/boot/Image

FILE is an Image, plain or compressed, a vmlinuz, or a vmlinux. The exit status is 1 if it cannot be booted.
docs/own-kernels.md explains the answers."""


def _run(options: Options) -> int:
    facts = examine(options.file, parse_size(options.memory))
    say_answer(f"check-kernel {facts.file}", facts, options.json)
    return 0 if facts.bootable else 1


def _arguments(parser: argparse.ArgumentParser) -> None:
    add_file(parser, "file", metavar="FILE", help="kernel to look at")
    parser.add_argument("--memory", metavar="SIZE", help="size of the RAM to boot it in (default: 256M)")
    add_json(parser)


CHECK_KERNEL = Verb(
    "check-kernel",
    "show whether a kernel can be booted and what will be known of it; the exit status is 1 if it cannot",
    _arguments,
    _run,
    _DESCRIPTION,
)
