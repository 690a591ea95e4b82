# SPDX-License-Identifier: GPL-2.0-or-later
"""`armprobe completion SHELL`: the script with which bash, zsh or fish complete armprobe's command line."""

from __future__ import annotations

import argparse

import shtab

from armprobe.commands.terminal import say

from .options import Options, Verb

_EPILOG = """\
bash:  armprobe completion bash > ~/.local/share/bash-completion/completions/armprobe
zsh:   armprobe completion zsh > ~/.zfunc/_armprobe        (with ~/.zfunc in $fpath)
fish:  armprobe completion fish > ~/.config/fish/completions/armprobe.fish"""


def _run(options: Options) -> int:
    from .parser import build_parser  # the parser has this verb, too

    say(shtab.complete(build_parser(), options.shell) + "\n")
    return 0


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EPILOG
    parser.add_argument("shell", choices=("bash", "zsh", "fish"), help="shell for which to print the script")


COMPLETION = Verb(
    "completion", "print a script that completes armprobe's command line in bash, zsh or fish", _arguments, _run
)
