# SPDX-License-Identifier: GPL-2.0-or-later
"""Output of this process: standard output, standard error, and unfinished lines."""

import argparse
import contextlib
import io
import os
import sys
from collections.abc import Callable
from typing import Final, TextIO

from armprobe.stub.visible import visible

_STANDARD: Final = (("stdin", os.O_RDONLY), ("stdout", os.O_WRONLY), ("stderr", os.O_WRONLY))

Out = Callable[[str], None]
"""Where text goes, piece by piece."""


class OutputClosed(Exception):
    """Standard output cannot be written. The text says why; it is empty if the reader has gone, the usual case."""


def say(text: str) -> None:
    """Write to standard output. Raises OutputClosed."""
    say_styled(visible(text))


def say_styled(text: str) -> None:
    """Write text without control characters of others to standard output. Raises OutputClosed."""
    try:
        _write(sys.stdout, text)
    except OSError as error:
        # Python flushes the buffer at exit, and would fail again.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        gone = isinstance(error, BrokenPipeError)
        raise OutputClosed("" if gone else f"standard output cannot be written: {error.strerror}") from None


def say_answer(line: str, value: object, json: bool) -> None:
    """Write the answer of a verb to standard output, with `json` as that of the command `line`. Raises OutputClosed."""
    if json:
        from .render.json import as_json_line

        say(as_json_line(line, value, ""))
    else:
        from .render.styled import Styles

        say_styled(Styles(sys.stdout).value(value))


def complain(text: str) -> None:
    """Write a line to standard error, or drop it if standard error cannot be written."""
    from .render.styled import Styles

    with contextlib.suppress(OSError):
        _write(sys.stderr, Styles(sys.stderr).text(text.rstrip("\r\n") + "\n"))


def _write(stream: TextIO, text: str) -> None:
    encoding = stream.encoding or "utf-8"
    stream.write(text.encode(encoding, "replace").decode(encoding))
    stream.flush()


def open_standard_streams() -> None:
    """Open those of the three streams that the process was started without, on the null device.

    A closed descriptor would be given to the next file or socket that is opened, and Python's stream is None. Input
    that is not UTF-8 is read with U+FFFD in its place.
    """
    for descriptor, (name, flags) in enumerate(_STANDARD):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, flags)  # the lowest free descriptor, which is this one
        if getattr(sys, name) is None:
            mode = "r" if flags == os.O_RDONLY else "w"
            setattr(sys, name, open(descriptor, mode, encoding="utf-8", closefd=False))  # noqa: SIM115  # kept open
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")


class Lines:
    """Writes the text of several speakers, so that no text continues the unfinished line of another speaker."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._open: object = None  # the speaker of an unfinished line

    def add(self, text: str, speaker: object) -> None:
        """Write text. If it ends within a line, only the same speaker continues that line."""
        if text:
            if self._open not in (None, speaker):
                text = f"\n{text}"
            self._open = None if text.endswith("\n") else speaker
            self._write(text)

    def end(self) -> None:
        """End an unfinished line."""
        if self._open is not None:
            self._open = None
            self._write("\n")


class ArgumentParser(argparse.ArgumentParser):
    """An argparse parser whose messages, which quote the command line, have no control characters."""

    def _print_message(self, message: str, file: object = None) -> None:
        (say if file is sys.stdout else complain)(message)
