# SPDX-License-Identifier: GPL-2.0-or-later
"""A thermometer that interrupts when it gets hot: the device of docs/drivers.md."""

from armprobe.machine import Device

CURRENT, LIMIT, CLEAR = 0x00, 0x04, 0x08


class Thermometer(Device):
    def __init__(self):
        super().__init__(
            "thermometer",
            compatible="example,thermometer",  # what a driver's of_match_table has
            interrupt=True,  # any free SPI; or its INTID
            properties={"example,unit": "celsius"},
            state={"degrees": 20, "limit": 30},
        )

    def read(self, offset, size):
        return self.state["degrees"] if offset == CURRENT else self.state["limit"]

    def write(self, offset, size, value):
        if offset == LIMIT:
            self.state["limit"] = value
            self.alarm(0.5)  # have expired() called in half a second of guest time
        elif offset == CLEAR:
            self.set_interrupt(False)

    def expired(self):
        self.state["degrees"] += 1
        self.set_interrupt(self.state["degrees"] > self.state["limit"])
        self.alarm(0.5)
