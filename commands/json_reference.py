# SPDX-License-Identifier: GPL-2.0-or-later
"""The reference of `--json`, in Markdown, from the records' own declarations."""

import inspect
import re
import types
import typing
from collections.abc import Generator
from dataclasses import fields, is_dataclass
from typing import Any, Final, Literal, Union

from . import values
from .declaration import Command
from .reference import escaped
from .registry import Registry
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
* `ok` says whether the command succeeded. The exit status of armprobe is 0 if all of them did.
* `value` is the command's answer. [The table](#commands) says which record it is. It is null if there is no answer.
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

**The form is not stable yet**: fields may change their names until a release says otherwise. A program should ignore
fields that it does not know.
"""


def json_reference(registry: Registry) -> str:
    """The Markdown text: which records each command answers with, and the fields of each record."""
    parts = [_INTRODUCTION, "## Commands\n", "| command | value |\n|---|---|"]
    records: dict[str, type] = {}
    for command in sorted(registry.everything, key=lambda command: command.name):
        kinds = answers(command)
        parts.append(f"| `{command.name}` | {' or '.join(map(_described, kinds)) or 'null'} |")
        for kind in kinds:
            _collect(kind, records)
    parts.append("\n## Records\n")
    parts += [_record(name, records[name]) for name in sorted(records)]
    return "\n".join(parts)


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


def _record(name: str, record: type) -> str:
    summary, _, details = inspect.cleandoc(record.__doc__ or "").partition("\n")
    hints = typing.get_type_hints(record, include_extras=True)
    rows = [f"| `{field.name}` | {_described(hints[field.name])} |" for field in fields(record)]
    text = [f"### {name}", "", escaped(summary).replace("None", "null"), ""]
    if details.strip():
        text += [re.sub(r"\n(?=\w+(?:, \w+)*: )", "\n\n", escaped(details.strip()).replace("None", "null")), ""]
    return "\n".join([*text, "| field | |", "|---|---|", *rows, ""])
