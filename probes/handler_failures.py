# SPDX-License-Identifier: GPL-2.0-or-later
"""Failures of handlers: an exception is kept and reported, and the guest goes on."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Final, NamedTuple

from .record import Stage

if TYPE_CHECKING:
    from .probe import Probe

HANDLERS_LOG: Final = "armprobe.probes"
"""The logger for exceptions in handlers."""
log = logging.getLogger(HANDLERS_LOG)


class HandlerError(NamedTuple):
    """A handler of `probe` raised `error` at `stage`."""

    probe: Probe
    stage: Stage
    error: Exception


def describe_failure(probe: Probe, error: BaseException) -> str:
    """The text for an exception in a handler of `probe`: lines, the last without a newline."""
    lines = traceback.format_exception(type(error), error, of_handler(error))
    return f"a handler of the {probe.kind} on {probe.name} raised; the guest goes on\n{''.join(lines)}".rstrip("\n")


def of_handler(error: BaseException) -> TracebackType | None:
    """The traceback of a handler's error, from the handler's own frame on."""
    at = error.__traceback__
    while at is not None and at.tb_next is not None and _is_ours(at.tb_frame):
        at = at.tb_next
    return at


def _is_ours(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__", "")).startswith("armprobe.")


class HandlerFailures:
    """The first failure of each probe, in `errors`. Each is reported to `on_error`, or to the log if that is None."""

    def __init__(self) -> None:
        self.errors: list[HandlerError] = []
        self.on_error: Callable[[Probe, Exception], object] | None = None

    def add(self, probe: Probe, stage: Stage, error: Exception) -> None:
        """Keep and report an exception of a handler, once for each probe.

        The log goes to standard error unless the program has configured it otherwise (module logging).
        """
        if any(known.probe is probe for known in self.errors):
            return
        self.errors.append(HandlerError(probe, stage, error))
        if self.on_error is not None:
            self.on_error(probe, error)
        else:
            log.error("%s", describe_failure(probe, error))
