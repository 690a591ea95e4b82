# SPDX-License-Identifier: GPL-2.0-or-later
"""Tells of steps that take time: a line each, and on a terminal how long the current one has taken."""

from __future__ import annotations

import os
import sys
from types import TracebackType
from typing import TYPE_CHECKING

from armprobe.commands.terminal import complain
from armprobe.stub.visible import visible

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Steps:
    """A context. Call it with a line for each step, before the step."""

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._current: TaskID | None = None

    def __enter__(self) -> Steps:
        if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
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
