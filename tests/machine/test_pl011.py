# SPDX-License-Identifier: GPL-2.0-or-later
"""The serial line, as the PL011's manual has it (Arm DDI 0183)."""

import pytest

from armprobe.machine.devices import Gic, Pl011
from armprobe.machine.state import StateRegistry

DR, FR, IBRD, LCR_H, CR, IFLS, IMSC, RIS, MIS, ICR, PERIPH_ID = (
    0x00, 0x18, 0x24, 0x2C, 0x30, 0x34, 0x38, 0x3C, 0x40, 0x44, 0xFE0,
)  # fmt: skip
INTID = 33
RX, TX, TIMEOUT = 1 << 4, 1 << 5, 1 << 6
RXFE, TXFF, TXFE, BUSY = 1 << 4, 1 << 5, 1 << 7, 1 << 3


class Rig:
    def __init__(self) -> None:
        self.sent = bytearray()
        registry = StateRegistry()
        self._gic = Gic(registry)
        self.uart = Pl011(registry, self._gic, INTID, self._transmitted)
        self.uart.watched = True

    def _transmitted(self) -> None:
        self.sent += self.uart.collect()

    @property
    def line(self) -> bool:
        return self._gic.level == 1 << INTID


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_reset_values(rig: Rig) -> None:
    """3.2, table 3-1."""
    assert rig.uart.read(CR, 2) == 0x300
    assert rig.uart.read(IFLS, 2) == 0x12
    assert rig.uart.read(FR, 2) & (RXFE | TXFE | TXFF | BUSY) == RXFE | TXFE
    assert rig.uart.read(RIS, 2) == rig.uart.read(MIS, 2) == rig.uart.read(IMSC, 2) == 0


def test_identification(rig: Rig) -> None:
    """3.3.14 and 3.3.15: part 0x011, designer 0x41 (Arm), then the PrimeCell identification."""
    identity = [rig.uart.read(PERIPH_ID + 4 * i, 4) for i in range(8)]
    assert identity[0] | (identity[1] & 15) << 8 == 0x011
    assert identity[1] >> 4 | (identity[2] & 15) << 4 == 0x41
    assert identity[4:] == [0x0D, 0xF0, 0x05, 0xB1]


def test_sending(rig: Rig) -> None:
    """Only the low byte is data, and there is always room."""
    for byte in b"hello":
        assert not rig.uart.read(FR, 2) & (TXFF | BUSY)
        rig.uart.write(DR, 4, byte | 0xFF00)
    assert rig.sent == b"hello"


def test_receiving(rig: Rig) -> None:
    rig.uart.write(IMSC, 2, RX | TIMEOUT)
    assert not rig.line
    rig.uart.receive(b"ab")
    assert rig.line
    assert rig.uart.read(RIS, 2) & (RX | TIMEOUT) == RX | TIMEOUT
    assert not rig.uart.read(FR, 2) & RXFE
    assert (rig.uart.read(DR, 4), rig.line) == (ord("a"), True)
    assert (rig.uart.read(DR, 4), rig.line) == (ord("b"), False)
    assert rig.uart.read(FR, 2) & RXFE
    assert rig.uart.read(DR, 4) == 0


def test_the_mask_decides_the_line_and_not_the_status(rig: Rig) -> None:
    """3.3.10 to 3.3.12."""
    rig.uart.receive(b"x")
    assert (rig.line, rig.uart.read(RIS, 2) & RX, rig.uart.read(MIS, 2)) == (False, RX, 0)
    rig.uart.write(IMSC, 2, RX)
    assert (rig.line, rig.uart.read(MIS, 2)) == (True, RX)
    rig.uart.write(IMSC, 2, 0)
    assert not rig.line


def test_transmit_interrupt(rig: Rig) -> None:
    """Raised by the FIFO passing its level, not by its being empty (2.8.1); cleared by ICR."""
    rig.uart.write(IMSC, 2, TX)
    assert not rig.line
    rig.uart.write(DR, 4, ord("x"))
    assert (rig.line, rig.uart.read(MIS, 2)) == (True, TX)
    rig.uart.write(ICR, 2, RX)
    assert rig.line
    rig.uart.write(ICR, 2, TX)
    assert (rig.line, rig.uart.read(RIS, 2)) == (False, 0)


def test_settings_are_kept(rig: Rig) -> None:
    for register, value in ((IBRD, 0x1234), (LCR_H, 0x70), (CR, 0x301)):
        rig.uart.write(register, 4, value | 0x1_0000)
        assert rig.uart.read(register, 4) == value


@pytest.mark.parametrize("watched", [True, False])
def test_output_is_kept_until_it_is_collected(rig: Rig, watched: bool) -> None:
    """However much there is, in order; each byte at once while somebody watches."""
    rig.uart.watched = watched
    expected = bytes(i * 7 & 0xFF for i in range(200_000))
    for i, byte in enumerate(expected):
        rig.uart.write(DR, 4, byte)
        assert not watched or len(rig.sent) == i + 1
    assert watched or rig.sent
    assert rig.sent + rig.uart.collect() == expected


def test_what_a_listener_raises_comes_after_the_access(rig: Rig) -> None:
    def fail() -> None:
        raise ValueError("listener")

    rig.uart.transmitted = fail
    with pytest.raises(ValueError, match="listener"):
        rig.uart.write(DR, 4, ord("x"))
    assert rig.uart.read(RIS, 2) == TX
    rig.uart.write(IMSC, 4, 0)
    assert rig.uart.collect() == b"x"


def test_typing_more_than_the_guest_reads(rig: Rig) -> None:
    """What arrives follows what waits; what a debugger takes is gone for the guest."""
    rig.uart.receive(b"ab")
    rig.uart.receive(b"cdefgh")
    assert rig.uart.read(DR, 4) == ord("a")
    assert rig.uart.take(2) == b"bc"
    rig.uart.receive(bytes(100_000))
    assert rig.uart.received == list(b"defgh" + bytes(100_000))
    assert rig.uart.take(1 << 20) == b"defgh" + bytes(100_000)
    assert (rig.uart.take(1), rig.uart.read(DR, 4), rig.uart.received) == (b"", 0, [])
