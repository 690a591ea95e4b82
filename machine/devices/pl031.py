# SPDX-License-Identifier: GPL-2.0-or-later
"""The real-time clock: an Arm PL031 (Arm DDI 0224), which counts seconds of guest time.

It starts at 0, which kernels read as 1970, so that every run is the same. A guest or `set` changes it.
"""

from __future__ import annotations

from typing import Final

from .device import Device
from .timer import FREQUENCY

_ID: Final = bytes.fromhex("31 10 14 00 0d f0 05 b1")  # PeriphID0..3, PCellID0..3, at 0xfe0
_MASK32: Final = (1 << 32) - 1


class Pl031(Device):
    """One RTC. Registers are 32 bits wide (DDI 0224, 3.2)."""

    def __init__(self) -> None:
        super().__init__("pl031", state={"offset": 0, "match": 0, "mask": 0, "raised": 0})

    @property
    def seconds(self) -> int:
        """The value of RTCDR."""
        return (self.now // FREQUENCY + int(self.state["offset"])) & _MASK32

    def set(self, seconds: int) -> None:
        """Set the clock, as a guest does through RTCLR."""
        with self.entering():
            self.state["offset"] = seconds - self.now // FREQUENCY & _MASK32
            self._await_match()

    def read(self, offset: int, size: int) -> int:
        """RTC registers."""
        match offset:
            case 0x00:
                return self.seconds
            case 0x04:
                return int(self.state["match"])
            case 0x08:
                return self.seconds
            case 0x0C:
                return 1  # RTCCR: the clock always runs
            case 0x10:
                return int(self.state["mask"])
            case 0x14:
                return int(self.state["raised"])
            case 0x18:
                return int(self.state["raised"] & self.state["mask"])
        if 0xFE0 <= offset < 0x1000 and not offset % 4:
            return _ID[(offset - 0xFE0) // 4]
        return 0

    def write(self, offset: int, size: int, value: int) -> None:
        """RTC registers."""
        match offset:
            case 0x04:
                self.state["match"] = value & _MASK32
                self._await_match()
            case 0x08:
                self.set(value & _MASK32)
            case 0x10:
                self.state["mask"] = value & 1
            case 0x1C:
                self.state["raised"] &= ~value
        self._drive()

    def expired(self) -> None:
        """The count has reached RTCMR."""
        self.state["raised"] = 1
        self._drive()

    def _await_match(self) -> None:
        """Raise RTCINTR when the count reaches RTCMR, at once if they are equal."""
        ahead = int(self.state["match"]) - self.seconds & _MASK32
        self.deadline = (self.now // FREQUENCY + ahead) * FREQUENCY if ahead else None
        if not ahead:
            self.expired()

    def _drive(self) -> None:
        self.set_interrupt(bool(self.state["raised"] & self.state["mask"]))
