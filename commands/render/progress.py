# SPDX-License-Identifier: GPL-2.0-or-later
"""Tells of what takes time: of steps, and of how far one has come."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Final, TypeVar

from armprobe.commands.terminal import complain
from armprobe.session.authority import Asker, asker
from armprobe.stub.visible import visible

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

T = TypeVar("T")


_PATIENCE: Final = 1.0  # seconds after which people want to know how far it is


def _on_a_terminal() -> bool:
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


class Steps:
    """A context. Call it with a line for each step, before the step: a line, and on a terminal the time it takes."""

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._current: TaskID | None = None

    def __enter__(self) -> Steps:
        if _on_a_terminal():
            from rich.console import Console
            from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

            words = TextColumn("{task.description}", markup=False)
            console = Console(stderr=True, highlight=False)
            self._progress = Progress(SpinnerColumn(finished_text=" "), words, TimeElapsedColumn(), console=console)
        return self

    def __call__(self, step: str) -> None:
        """The step before this is done."""
        if self._progress is None:
            complain(step)
            return
        if self._current is None:
            self._progress.start()  # nothing is shown where there are no steps
        self._finish()
        self._current = self._progress.add_task(visible(step), total=None)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._finish()
            self._progress.stop()

    def _finish(self) -> None:
        if self._progress is not None and self._current is not None:
            self._progress.update(self._current, total=1, completed=1)


def followed(what: str, items: Iterable[T], total: int) -> Iterator[T]:
    """The items, with a bar on a terminal if they take more than a second. It goes when they end.

    There is none where a debugger asks: what it is told is not on this terminal.
    """
    if not _on_a_terminal() or asker() is not Asker.LOCAL:
        yield from items
        return
    shown: Progress | None = None
    begun = time.monotonic()
    try:
        for done, item in enumerate(items):
            if shown is None and time.monotonic() - begun > _PATIENCE:
                shown = _bar()
                task = shown.add_task(visible(what), total=total)
                shown.start()
            if shown is not None:
                shown.update(task, completed=done)
            yield item
    finally:
        if shown is not None:
            shown.stop()


def _bar() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    words = TextColumn("{task.description}", markup=False)
    console = Console(stderr=True, highlight=False)
    return Progress(words, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console, transient=True)
