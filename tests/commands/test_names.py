# SPDX-License-Identifier: GPL-2.0-or-later
"""The names of the real commands, against gdb's own."""

import subprocess

from armprobe.commands.catalog import registry
from armprobe.commands.reference import reference


def test_no_command_shadows_one_of_gdb_s_or_its_abbreviation(gdb_path: str) -> None:
    names = [command.gdb_name for command in registry().commands if command.gdb_name]
    assert len(set(names)) == len(names) > 10
    arguments = [part for name in names for part in ("-ex", f"help {name}")]
    done = subprocess.run([gdb_path, "-nx", "-q", "-batch", *arguments], capture_output=True, text=True, check=False)
    assert done.stdout == ""  # not one of them has help
    assert done.stderr == "".join(f'Undefined command: "{name}".  Try "help".\n' for name in names)


def test_no_command_shadows_an_info_of_gdb_s(gdb_path: str) -> None:
    (name,) = {command.gdb_info for command in registry().commands if command.gdb_info}
    command = [gdb_path, "-nx", "-q", "-batch", "-ex", f"help info {name}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("", f'Undefined info command: "{name}".  Try "help info".\n')


def test_gdb_s_own_names_keep_their_meaning_at_the_prompt_of_armprobe() -> None:
    """What gdb users type by habit is there, and is no abbreviation of something else."""
    names = set(registry().names)
    assert {"help", "quit", "step", "enable", "disable"} <= names


def test_every_command_and_argument_says_what_it_is() -> None:
    for command in registry().commands:
        assert command.summary.endswith("."), command.name
        assert all(arg.help for arg in command.args), command.name
    assert all(f"### {name}\n" in reference(registry()) for name in registry().names)
