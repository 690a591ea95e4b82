# SPDX-License-Identifier: GPL-2.0-or-later
"""Why and where the guest stopped, as a value."""

from __future__ import annotations

from typing import TYPE_CHECKING

from armprobe.machine import Stop
from armprobe.probes import Hit

from .errors import CommandError
from .hits import stage_of
from .locations import location
from .values import Stopped

if TYPE_CHECKING:
    from armprobe.session import Session


def stopped(session: Session, stop: Stop) -> Stopped:
    """Why and where the guest stopped."""
    return Stopped(
        reason=stop.reason.name.lower(),
        text=stop.text or stop.reason.value,
        location=location(session, stop.address),
        hit=stage_of(stop.detail) if isinstance(stop.detail, Hit) else None,
    )


def require_stopped(session: Session) -> None:
    """Raise CommandError while the guest runs."""
    if session.owner.running:
        raise CommandError("the guest is running: interrupt it first (Ctrl-C)")
