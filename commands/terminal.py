# SPDX-License-Identifier: GPL-2.0-or-later
"""What this process says to its user: standard output, standard error, and lines that are left open."""

import argparse
import contextlib
import io
import os
import sys
from collections.abc import Callable
from typing import Final, TextIO

from armprobe.stub.visible import visible

from .render.styled import Styles

_STANDARD: Final = (("stdin", os.O_RDONLY), ("stdout", os.O_WRONLY), ("stderr", os.O_WRONLY))

Out = Callable[[str], None]
"""Where text goes, piece by piece."""


class OutputClosed(Exception):
    """Standard output cannot be written. The text says why; it is empty where the reader has gone, which is usual."""


def say(text: str) -> None:
    """Write to standard output. Raises OutputClosed."""
    say_styled(visible(text))


def say_styled(text: str) -> None:
    """Write text that is harmless to a terminal already to standard output. Raises OutputClosed."""
    try:
        _write(sys.stdout, text)
    except OSError as error:
        # What is left in the buffer must not be found out once more when Python exits.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        gone = isinstance(error, BrokenPipeError)
        raise OutputClosed("" if gone else f"standard output cannot be written: {error.strerror}") from None


def complain(text: str) -> None:
    """Write a line to standard error; where that cannot be written there is nobody to tell."""
    with contextlib.suppress(OSError):
        _write(sys.stderr, Styles(sys.stderr).text(text.rstrip("\r\n") + "\n"))


def _write(stream: TextIO, text: str) -> None:
    encoding = stream.encoding or "utf-8"
    stream.write(text.encode(encoding, "replace").decode(encoding))
    stream.flush()


def open_standard_streams() -> None:
    """Give the process those of the three that it was started without, on the null device.

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
    """Writes the text of several speakers, so that nobody's text runs on in a line that another has left open."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._open: object = None  # whose line is open

    def add(self, text: str, speaker: object) -> None:
        """Write text that may end within a line, which only the same speaker goes on with."""
        if text:
            if self._open not in (None, speaker):
                text = f"\n{text}"
            self._open = None if text.endswith("\n") else speaker
            self._write(text)

    def end(self) -> None:
        """End the line that is open, if one is."""
        if self._open is not None:
            self._open = None
            self._write("\n")


class ArgumentParser(argparse.ArgumentParser):
    """One whose messages, which quote the command line, are made harmless."""

    def _print_message(self, message: str, file: object = None) -> None:
        (say if file is sys.stdout else complain)(message)
