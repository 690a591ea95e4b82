# SPDX-License-Identifier: GPL-2.0-or-later
"""`armprobe completion SHELL`: the script with which bash, zsh or fish complete armprobe's command line."""

from __future__ import annotations

import argparse
from typing import Any

from armprobe.commands.terminal import say

from .options import FILE, FOLDER, Options, Verb

_EPILOG = """\
bash:  armprobe completion bash > ~/.local/share/bash-completion/completions/armprobe
zsh:   armprobe completion zsh > ~/.zfunc/_armprobe        (with ~/.zfunc in $fpath)
fish:  armprobe completion fish > ~/.config/fish/completions/armprobe.fish"""


def _run(options: Options) -> int:
    import shtab  # here, as it looks up its own version, which takes as long as many imports

    from .parser import build_parser  # the parser has this verb, too

    parser = build_parser()
    _name_for_shtab(parser, {FILE: shtab.FILE, FOLDER: shtab.DIRECTORY})
    say(shtab.complete(parser, options.shell) + "\n")
    return 0


def _name_for_shtab(parser: argparse.ArgumentParser, names: dict[str, Any]) -> None:
    """Replace what arguments are completed with by what shtab calls that."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                _name_for_shtab(each, names)
        elif complete := getattr(action, "complete", None):
            action.complete = names[complete]  # type: ignore[attr-defined]


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EPILOG
    parser.add_argument("shell", choices=("bash", "zsh", "fish"), help="shell for which to print the script")


COMPLETION = Verb(
    "completion", "print a script that completes armprobe's command line in bash, zsh or fish", _arguments, _run
)
