# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs the examples of a Markdown file again, and says where they no longer give what is printed there.

A block marked `console` is a transcript. Behind `$ ` is a shell's command line; `$ armprobe ...` without a command to
run starts a program that goes on through the blocks that follow, behind `armprobe> ` or `(gdb) `. A block marked
`python` whose first line is a comment with a file name (`# sizes.py: ...`) is that file. In what is printed, a line
`...` stands for any lines, and `...` within a line for anything there; numbers of two digits and more may differ,
because they change with the smallest change of the machine or of Debian's kernel.

    python -m tests.docs.transcript FILE...

runs the examples of these files and writes the numbers that are printed now into them.
"""

from __future__ import annotations

import itertools
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from tests.waiting import PATIENCE

ROOT: Final = Path(__file__).parents[2]
_ARMPROBE: Final = (sys.executable, "-m", "armprobe")
_BLOCK: Final = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PROMPT: Final = re.compile(r"(\$|armprobe>|\(gdb\)) (.*)")
_NUMBER: Final = re.compile(r"0x[0-9a-f]{2,}|(?<![\w.])[0-9a-f]{8,}(?!\w)|[\d,]{2,}(?:\.\d+)?|\d+\.\d{2,}")


@dataclass
class Step:
    """One command, the prompt it is typed at, and the lines printed below it."""

    prompt: str
    command: str
    expected: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Example:
    """One program: the files written before it, the shell's line that starts it, and what is typed at it."""

    files: dict[str, str]
    start: Step
    steps: list[Step]

    @property
    def name(self) -> str:
        """For a test's name."""
        return self.start.command


def examples(markdown: str) -> Iterator[Example]:
    """The examples of a document in their order."""
    files: dict[str, str] = {}
    current: Example | None = None
    for language, text in _BLOCK.findall(markdown):
        if language == "python":
            named = re.match(r"# ([\w.]+\.py)\b", text)
            if named:
                files[named[1]] = text
        elif language == "console":
            for step in _steps(text):
                if step.prompt == "$":
                    if current is not None:
                        yield current
                    current = Example(dict(files), step, [])
                else:
                    assert current is not None, f"nothing was started before {step.command!r}"
                    current.steps.append(step)
    if current is not None:
        yield current


def _steps(block: str) -> list[Step]:
    steps: list[Step] = []
    for line in block.splitlines():
        typed = _PROMPT.fullmatch(line)
        if typed:
            steps.append(Step(typed[1], typed[2]))
        else:
            assert steps, f"a transcript begins with a command, not with {line!r}"
            steps[-1].expected.append(line.rstrip())
    return steps


def replay(example: Example, folder: Path) -> list[str]:
    """Run the example, its files in `folder`: what each command printed that gave something else than is shown."""
    for name, text in example.files.items():
        (folder / name).write_text(text)
    words = shlex.split(example.start.command)
    assert words[0] == "armprobe", f"the shell is to run armprobe, not {words[0]}"
    wrong = []
    with _Program([*_ARMPROBE, *words[1:]], folder, interactive=bool(example.steps)) as program:
        for step, printed in zip([example.start, *example.steps], program.outputs(example.steps), strict=True):
            if not matches(step.expected, printed):
                wrong.append(f"{step.prompt} {step.command}\n" + "\n".join(printed))
    return wrong


def renewed(markdown: str, folder: Path) -> str:
    """The document with the numbers that its examples print now. Lines that match nothing printed stay."""
    commands = iter((step, printed) for example in examples(markdown) for step, printed in _printed(example, folder))

    def block(found: re.Match[str]) -> str:
        if found[1] != "console":
            return found[0]
        lines = []
        for step in _steps(found[2]):
            same, printed = next(commands)
            assert (same.prompt, same.command) == (step.prompt, step.command)
            lines += [f"{step.prompt} {step.command}", *_with_numbers_of(step.expected, printed)]
        return f"```console\n{''.join(line + chr(10) for line in lines)}```"

    return _BLOCK.sub(block, markdown)


def _printed(example: Example, folder: Path) -> Iterator[tuple[Step, list[str]]]:
    for name, text in example.files.items():
        (folder / name).write_text(text)
    words = shlex.split(example.start.command)
    with _Program([*_ARMPROBE, *words[1:]], folder, interactive=bool(example.steps)) as program:
        yield from zip([example.start, *example.steps], program.outputs(example.steps), strict=True)


def _with_numbers_of(expected: list[str], printed: list[str]) -> list[str]:
    """The lines of `expected` with the numbers of the lines of `printed` that they match."""
    left, lines = list(printed), []
    for line in expected:
        place = next((at for at, each in enumerate(left) if matches([line], [each])), None) if line != "..." else None
        if place is None:
            lines.append(line)
            continue
        shown = left[place]
        del left[: place + 1]
        lines.append(_with_numbers(line, shown) if "..." in line else shown)
    return lines


def _with_numbers(line: str, shown: str) -> str:
    """A line with `...` in it, with the numbers of the line that was shown."""
    parts = re.split(f"(?:{_NUMBER.pattern})|\\.\\.\\.", line)
    marks = re.findall(f"(?:{_NUMBER.pattern})|\\.\\.\\.", line)
    pattern = re.sub(r"(\\ )+", r"\\s+", re.escape(parts[0]))
    for mark, part in zip(marks, parts[1:], strict=True):
        pattern += ("(.*)" if mark == "..." else f"({_NUMBER.pattern})") + re.sub(r"(\\ )+", r"\\s+", re.escape(part))
    found = re.fullmatch(pattern, shown.expandtabs())
    if found is None:
        return line
    new = [mark if mark == "..." else number for mark, number in zip(marks, found.groups(), strict=True)]
    return "".join(part + mark for part, mark in itertools.zip_longest(parts, new, fillvalue=""))


def matches(expected: list[str], printed: list[str]) -> bool:
    """Whether `printed` is what `expected` says, with its `...` and up to the numbers."""
    pattern = "".join(r"(?:.*\n)*?" if line == "..." else _pattern(line) for line in expected)
    return re.fullmatch(pattern, "".join(_masked(line) + "\n" for line in printed)) is not None


def _pattern(line: str) -> str:
    return ".*".join(map(re.escape, _masked(line).split("..."))) + "\n"


def _masked(line: str) -> str:
    return re.sub(r"\s+", " ", _NUMBER.sub("#", line.expandtabs().rstrip()))


class _Program:
    """A program on pipes, its standard error with its output as on a terminal."""

    def __init__(self, command: list[str], folder: Path, interactive: bool) -> None:
        self._gdb = "gdb" in command
        self._expected_status = int("compare" in command)  # 1 where answers differ, as diff ends
        if interactive and not self._gdb:
            command += ["--listen", "none"]
        self._process = subprocess.Popen(
            command,
            cwd=ROOT if self._gdb else folder,  # at the root gdb finds the demo kernel's sources
            env={**os.environ, "COLUMNS": "80"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def outputs(self, steps: list[Step]) -> Iterator[list[str]]:
        """What is printed at the start, and in answer to each step."""
        if not steps:
            yield _lines(self._process.communicate(timeout=PATIENCE)[0])
            status = self._process.returncode
            assert status == self._expected_status, f"its exit status is {status}"
            return
        for number, command in zip(itertools.count(), ["", *(step.command for step in steps)]):
            yield self._answer(command, f"end-of-answer-{number}")

    def _answer(self, command: str, mark: str) -> list[str]:
        """Have `command` run, and then something that prints `mark`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        # To the REPL the mark is an unknown command.
        self._process.stdin.write(f"{command}\n" + (f"echo {mark}\\n\n" if self._gdb else f"{mark}\n"))
        self._process.stdin.flush()
        printed = ""
        for line in self._process.stdout:
            if mark in line:
                return _lines(printed + line.partition("error:" if not self._gdb else mark)[0])
            printed += line
        raise AssertionError(f"it ended at {command!r}; it printed {printed}")


def _lines(printed: str) -> list[str]:
    lines = [line.replace("(gdb) ", "").rstrip() for line in printed.splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    return lines


if __name__ == "__main__":
    for document in map(Path, sys.argv[1:]):
        with tempfile.TemporaryDirectory() as scratch:
            document.write_text(renewed(document.read_text(), Path(scratch)))
