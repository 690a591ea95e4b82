# SPDX-License-Identifier: GPL-2.0-or-later
"""The reference of `--json`, in Markdown, from the records' own declarations."""

import inspect
import json
import re
import sys
import types
import typing
from collections.abc import Generator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Final, Literal, Union

from . import values
from .declaration import Command
from .reference import escaped
from .registry import Registry
from .render.json import VERSION
from .values import Hex

_INTRODUCTION: Final = """\
# JSON

`armprobe --json -c CMD` and `armprobe script --json FILE` write one line for each command to standard output, and
nothing else. `armprobe decode --json` and `armprobe check --json` do the same. Each line is a JSON object (RFC 8259) in
ASCII:

```
{"command": "probes", "ok": true, "value": ...}
{"command": "probes 4", "ok": false, "error": "there is no probe '4': probes lists them by number and name"}
```

* `command` is the line as it was given, without the blanks around it. Blank lines and comments have no line of output.
* `ok` says whether the command succeeded. The exit status of armprobe is 0 if all of them did, and no program that
  `sh` or `shell` executed ended with another status.
* `value` is the command's answer. [The table](#commands) says which record it is. It is null if there is no answer. For
  a line of several commands, with `;` between them, it is a list of their answers.
* `error` is one sentence that says what was wrong. A `value` may come with it, with the results that were found despite
  the error: for `check`, the places and why they are refused.

Warnings, exceptions in handlers of probes, and other notices go to standard error. The guest's output while a line is
typed at its console is in the value.

Numbers are JSON numbers. Those of 64 bits may exceed 2^53, above which JavaScript and jq before 1.7 round. So each
field that people read in hexadecimal, such as an address, has a second field beside it with `_hex` after its name: a
string such as `"0xffff800000083cc0"`, exact everywhere. Bytes are a string of hexadecimal digits, two a byte. This
prints the probes and their hits, from a script that ends in `probes`:

```
armprobe script --json FILE | jq -r 'select(.command == "probes").value[] | [.address_hex, .name, .hits] | @tsv'
```

In Python `Session.ask` returns the same records, of `armprobe.commands.values`.

## Stability

This is **version {version}** of the form; `armprobe doctor --json` has the number as `json_version`. It does not change
as long as the form stays compatible:

* A command, a record, and a field of a record stay, with their names and types. A field that can be null is null where
  there is nothing to say, and is never left out.
* New commands, records, and fields may come, and so may further records that a command answers with, and further words
  in a field whose words are listed here. A program should ignore fields that it does not know.
* The sentences in `error`, and other texts for people (`text`, `note`, `warnings`), may change their words.

What is not compatible gets version {next}, and CHANGELOG.md says what has changed.
"""

_VERBS: Final[dict[str, list[type]]] = {
    "cache clear": [values.CacheRemoved],
    "cache list": [values.CacheEntries],
    "compare": [values.EraAnswers],
    "doctor": [values.Doctor],
}
"""What verbs of the command line answer with, which are no commands."""


def json_reference(registry: Registry) -> str:
    """The Markdown text: which records each command answers with, and the fields of each record."""
    version = {"{version}": str(VERSION), "{next}": str(VERSION + 1)}
    introduction = re.sub(r"\{(version|next)\}", lambda found: version[found[0]], _INTRODUCTION)
    parts = [introduction, "## Commands\n", "| command | value |\n|---|---|"]
    commands = _answers_of_all(registry)
    for name, kinds in commands.items():
        shown = f"`{name}`" if name not in _VERBS else f"`armprobe {name} --json`"
        parts.append(f"| {shown} | {' or '.join(map(_described, kinds)) or 'null'} |")
    records = _records_of(commands)
    parts.append("\n## Records\n")
    parts += [_record(name, records[name]) for name in sorted(records)]
    return "\n".join(parts)


def schema(registry: Registry) -> dict[str, Any]:
    """The form of `--json` as JSON, for a program to compare: what docs/json.md has in its tables.

    "version"; "commands", the types that each answers with; "records", the type of each field. A type is its words.
    """
    commands = _answers_of_all(registry)
    records = _records_of(commands)
    return {
        "version": VERSION,
        "commands": {name: [_described(kind) for kind in kinds] for name, kinds in commands.items()},
        "records": {name: _fields(records[name]) for name in sorted(records)},
    }


def incompatible(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What of the schema `before` a program would miss in `now`: a sentence for each change. Additions are none."""
    found = []
    for command, kinds in before["commands"].items():
        found += [
            f"{command} no longer answers with {kind}" for kind in kinds if kind not in now["commands"].get(command, ())
        ]
    for record, members in before["records"].items():
        for field, kind in members.items():
            there = now["records"].get(record, {}).get(field)
            if there is None:
                found.append(f"{record}.{field} is gone")
            elif not _compatible(kind, there):
                found.append(f"{record}.{field} was {kind}, and is {there}")
    return found


def _compatible(before: str, now: str) -> bool:
    """Whether one type is another, which may have further words."""
    old, new = set(before.split(" or ")), set(now.split(" or "))
    return (
        old <= new
        and all(added.startswith('"') for added in new - old)
        and (new == old or any(word.startswith('"') for word in old))
    )


def _answers_of_all(registry: Registry) -> dict[str, list[type]]:
    """The classes of `values` that each command and verb answers with, by name."""
    found = {command.name: answers(command) for command in registry.everything} | _VERBS
    return dict(sorted(found.items()))


def _records_of(commands: dict[str, list[type]]) -> dict[str, type]:
    records: dict[str, type] = {}
    for kinds in commands.values():
        for kind in kinds:
            _collect(kind, records)
    return records


def answers(command: Command) -> list[type]:
    """The classes of `values` that a command answers with, by what its function is declared to return."""
    names = {**vars(values), "Session": object}
    hint = typing.get_type_hints(command.run, localns=names)["return"]
    if typing.get_origin(hint) is Generator:
        hint = typing.get_args(hint)[2]
    return [kind for kind in _alternatives(hint) if kind is not type(None)]


def _alternatives(hint: Any) -> list[Any]:
    return list(typing.get_args(hint)) if typing.get_origin(hint) in (Union, types.UnionType) else [hint]


def element(kind: type) -> Any:
    """What a list of `values` is a list of; None for a record."""
    bases: tuple[Any, ...] = getattr(kind, "__orig_bases__", ())
    return typing.get_args(bases[0])[0] if bases else None


def _collect(hint: Any, records: dict[str, type]) -> None:
    """Add the records that a type has in it."""
    for kind in _alternatives(hint):
        if is_dataclass(kind) and isinstance(kind, type):
            if kind.__name__ not in records:
                records[kind.__name__] = kind
                for each in typing.get_type_hints(kind).values():
                    _collect(each, records)
        elif isinstance(kind, type) and issubclass(kind, tuple):
            _collect(element(kind), records)
        elif typing.get_origin(kind) is tuple:
            _collect(typing.get_args(kind)[0], records)


def _described(hint: Any) -> str:
    """A type as JSON has it."""
    words = {int: "number", float: "number", str: "string", bool: "true or false", type(None): "null", object: "values"}
    kinds = _alternatives(hint)
    if len(kinds) > 1:
        return " or ".join(dict.fromkeys(map(_described, kinds)))
    (kind,) = kinds
    if kind == Hex:
        return "number, with `_hex`"
    if typing.get_origin(kind) is Literal:
        return " or ".join(f'"{word}"' for word in typing.get_args(kind))
    if typing.get_origin(kind) is tuple:
        return f"array of {_described(typing.get_args(kind)[0])}"
    if kind is bytes:
        return "string of hexadecimal digits"
    if is_dataclass(kind) and isinstance(kind, type):
        return f"[{kind.__name__}](#{kind.__name__.lower()})"
    if isinstance(kind, type) and issubclass(kind, tuple):
        return f"array of {_described(element(kind))}"
    return words[kind]


def _fields(record: Any) -> dict[str, str]:
    """The type of each field of a record, as JSON has it."""
    hints = typing.get_type_hints(record, include_extras=True)
    return {field.name: _described(hints[field.name]) for field in fields(record)}


def _record(name: str, record: type) -> str:
    summary, _, details = inspect.cleandoc(record.__doc__ or "").partition("\n")
    rows = [f"| `{name}` | {kind} |" for name, kind in _fields(record).items()]
    text = [f"### {name}", "", escaped(summary).replace("None", "null"), ""]
    if details.strip():
        text += [re.sub(r"\n(?=\w+(?:, \w+)*: )", "\n\n", escaped(details.strip()).replace("None", "null")), ""]
    return "\n".join([*text, "| field | |", "|---|---|", *rows, ""])


def main(arguments: list[str]) -> int:
    """``python -m armprobe.commands.json_reference FILE``: write the schema, unless FILE has one that it breaks."""
    from .catalog import registry

    (file,) = map(Path, arguments)
    now = schema(registry())
    before = json.loads(file.read_text()) if file.exists() else now
    if before["version"] == now["version"] and (changes := incompatible(before, now)):
        print("\n".join(["this takes another version (armprobe/commands/render/json.py):", *changes]), file=sys.stderr)
        return 1
    file.write_text(json.dumps(now, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
