# SPDX-License-Identifier: GPL-2.0-or-later
"""Power State Coordination Interface by HVC #0 (Arm DEN 0022): enough for one CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from .frame import Frame
from .stop import Stop, StopReason

_VERSION, _MIGRATE_INFO_TYPE, _FEATURES = 0x8400_0000, 0x8400_0006, 0x8400_000A
_NOT_SUPPORTED: Final = (1 << 64) - 1
_STOPS: Final = {0x8400_0008: StopReason.POWER_OFF, 0x8400_0009: StopReason.RESET}


class Psci:
    """Answers PSCI calls; power-off and reset stop the machine."""

    def __init__(self, request_stop: Callable[[Stop], None]) -> None:
        self._request_stop = request_stop

    def call(self, frame: Frame) -> bool:
        """Handle an HVC #0 of EL1: the function is in w0, the answer goes to x0."""
        function = frame.x[0] & 0xFFFF_FFFF
        if function in _STOPS:
            self._request_stop(Stop(_STOPS[function], frame.pc))
            return True
        match function:
            case 0x8400_0000:
                frame.x[0] = 0x10000  # version 1.0
            case 0x8400_0006:
                frame.x[0] = 2  # MIGRATE_INFO_TYPE: no migration needed
            case 0x8400_000A:
                known = {_VERSION, _MIGRATE_INFO_TYPE, _FEATURES, *_STOPS}
                frame.x[0] = 0 if frame.x[1] & 0xFFFF_FFFF in known else _NOT_SUPPORTED
            case _:
                frame.x[0] = _NOT_SUPPORTED
        return True
