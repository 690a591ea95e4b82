# SPDX-License-Identifier: GPL-2.0-or-later
"""The user's settings, ~/.config/armprobe/config.toml, and a project's, armprobe.toml: TOML 1.0.

The project's file is the nearest one in the working directory and the directories above it. Where both have a setting,
the project's wins; the command line wins over both.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Any, Final, Self

from armprobe.machine import MachineError, host_files
from armprobe.machine.lazy_dataclass import lazy_dataclass
from armprobe.machine.similar_names import similar

from .errors import CommandError

NAME: Final = "armprobe.toml"
PROBE_COMMANDS: Final = ("kprobe", "kretprobe", "jprobe", "count", "hist", "latency")
"""The commands that `probes` may use: a file that comes with a checkout does not run any other."""
_LONGEST: Final = 1 << 20  # bytes
_FILES: Final = ("initrd", "vmlinux", "snapshot")
_PATHS: Final = (*_FILES, "history_folder")
_TEXTS: Final = (
    *("guest", *_PATHS, "cmdline", "append", "memory", "history_memory", "era", "stepping", "trampoline", "listen"),
    "cache_limit",
)
_OTHERS: Final = {"base": int, "history_interval": int, "trace_size": int, "paced": bool, "history": bool}
_COLOURS: Final = ("auto", "always", "never")
_BUILT_IN_GUESTS: Final = ("demo", "linux")

OF_GUEST: Final = frozenset(("guest", *_FILES, "cmdline", "append", "memory", "base"))
"""Settings that are about the guest that the file names, and mean nothing for another."""


@lazy_dataclass
class Settings:
    """What the files say. `options` has values of `cli.Options`, by name."""

    options: Mapping[str, Any] = field(default_factory=dict)
    probes: tuple[str, ...] = ()
    aliases: Mapping[str, str] = field(default_factory=dict)
    colour: str = "auto"
    notes: tuple[str, ...] = ()  # what the user should know, a sentence each

    def under(self, nearer: Settings) -> Settings:
        """These settings where `nearer` has none."""
        return Settings(
            {**self.options, **nearer.options},
            nearer.probes or self.probes,
            {**self.aliases, **nearer.aliases},
            nearer.colour if nearer.colour != "auto" else self.colour,
            self.notes + nearer.notes,
        )

    @classmethod
    def read(cls, path: Path) -> Self:
        """The settings in the file at `path`, whose relative paths are relative to it. Raises CommandError."""
        import tomllib  # here, as most starts find no file

        try:
            found = tomllib.loads(host_files.read_text(path, _LONGEST))
        except MachineError as error:
            raise CommandError(str(error)) from None
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise CommandError(f"{host_files.shown(path)} is not TOML: {host_files.shown(str(error))}") from None
        return cls(*_Checked(path, found).fields())


class _Checked:
    """The contents of one file. Its methods raise CommandError, naming the file and the setting."""

    def __init__(self, path: Path, found: dict[str, Any]) -> None:
        self._path, self._found = path, found

    def fields(self) -> tuple[dict[str, Any], tuple[str, ...], dict[str, str], str]:
        """The first four fields of `Settings`."""
        known = {*_TEXTS, *_OTHERS, "probes", "aliases", "colour"}
        for name in self._found:
            if name not in known:
                near = similar(name, known, most=1)
                hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(known))}"
                raise self._error(name, f"there is no such setting; {hint}")
        options: dict[str, Any] = {name: self._text(name) for name in _TEXTS if name in self._found}
        if options.get("guest", "demo") not in _BUILT_IN_GUESTS:
            options["guest"] = str(self._path.parent / options["guest"])
        options |= {name: self._path.parent / options[name] for name in _PATHS if name in options}
        for name, kind in _OTHERS.items():
            if name in self._found:
                options[name] = self._typed(name, kind)
        return options, self._probes(), self._aliases(), self._colour()

    def _probes(self) -> tuple[str, ...]:
        probes = self._typed("probes", list) if "probes" in self._found else []
        for line in probes:
            if not isinstance(line, str) or line.split(maxsplit=1)[:1] not in [[name] for name in PROBE_COMMANDS]:
                raise self._error("probes", f"write a list of lines that begin with {' or '.join(PROBE_COMMANDS)}")
        return tuple(probes)

    def _aliases(self) -> dict[str, str]:
        aliases = self._typed("aliases", dict) if "aliases" in self._found else {}
        for name, line in aliases.items():
            if not (isinstance(line, str) and line.strip() and name.isprintable() and len(name.split()) == 1):
                raise self._error("aliases", f"write {name!r} as one word, and what it stands for as a text")
        return aliases

    def _colour(self) -> str:
        colour = self._text("colour") if "colour" in self._found else "auto"
        if colour not in _COLOURS:
            raise self._error("colour", f"it is {' or '.join(_COLOURS)}")
        return colour

    def _text(self, name: str) -> str:
        return str(self._typed(name, str))

    def _typed(self, name: str, kind: type) -> Any:
        value = self._found[name]
        if type(value) is not kind:
            said = {str: "a text", int: "a whole number", bool: "true or false", list: "a list", dict: "a table"}
            raise self._error(name, f"it is {said[kind]}")
        return value

    def _error(self, name: str, why: str) -> CommandError:
        return CommandError(f"{host_files.shown(self._path)}: {host_files.shown(name)}: {why}")


def user_file() -> Path:
    """Where the user's own settings are (XDG Base Directory Specification)."""
    home = Path(os.environ.get("XDG_CONFIG_HOME", ""))
    return (home if home.is_absolute() else Path.home() / ".config") / "armprobe" / "config.toml"


def project_file(folder: Path) -> Path | None:
    """The nearest armprobe.toml in `folder` and above, or None."""
    return next((path for each in (folder, *folder.parents) if (path := each / NAME).is_file()), None)


def read_settings(folder: Path) -> Settings:
    """The settings for a process in `folder`. Raises CommandError for a file that is not as it should be.

    A project's file that belongs to neither the user nor root is left out: it would run with the user's rights.
    """
    settings = Settings()
    try:
        if (path := user_file()).is_file():
            settings = Settings.read(path)
    except RuntimeError:  # there is no home
        pass
    found = project_file(folder)
    if found is None:
        return settings
    if found.stat().st_uid not in (os.getuid(), 0):
        note = f"{host_files.shown(found)} belongs to another user and is not read"
        return settings.under(Settings(notes=(note,)))
    return settings.under(Settings.read(found))
