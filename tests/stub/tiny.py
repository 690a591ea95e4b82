# SPDX-License-Identifier: GPL-2.0-or-later
"""The smallest target: control, registers, memory, resuming, and nothing that is optional."""

from collections.abc import Callable, Sequence

from armprobe.stub import Client, Interrupted, Stepped, StopEvent, TargetError

BASE = 0x4000_0000
CODE = bytes.fromhex("000400911f2003d5")  # add x0, x0, #1; nop


class TinyTarget:
    """Two instructions that are executed by turns; what one does is done when it is stepped over."""

    def __init__(self) -> None:
        self.registers = dict.fromkeys(
            (f"{kind}{n}" for kind, count in (("x", 31), ("v", 32)) for n in range(count)), 0
        )
        self.registers |= {"sp": BASE, "pc": BASE, "cpsr": 0x3C5, "fpsr": 0, "fpcr": 0}
        self.memory = bytearray(CODE)
        self._done: Callable[[StopEvent], None] | None = None  # while it runs

    def attach(self, client: Client) -> StopEvent:
        return Stepped()

    def detach(self) -> None:
        self.interrupt()

    def read_registers(self, names: Sequence[str]) -> list[int]:
        return [self.registers[name] for name in names]

    def write_register(self, name: str, value: int) -> None:
        self.registers[name] = value

    def read_memory(self, address: int, length: int) -> bytes:
        data = bytes(self.memory[max(address - BASE, 0) :][:length]) if address >= BASE else b""
        if not data:
            raise TargetError(14, f"there is no memory at 0x{address:x}")
        return data

    def write_memory(self, address: int, data: bytes) -> None:
        if not BASE <= address <= BASE + len(self.memory) - len(data):
            raise TargetError(14, f"there is no memory at 0x{address:x}")
        self.memory[address - BASE : address - BASE + len(data)] = data

    def resume(self, step: bool, range: tuple[int, int] | None, done: Callable[[StopEvent], None]) -> None:
        if not step:
            self._done = done
            return
        first = self.registers["pc"] == BASE
        self.registers["x0"] += first
        self.registers["pc"] = BASE + 4 if first else BASE
        done(Stepped())

    def interrupt(self) -> None:
        done, self._done = self._done, None
        if done:
            done(Interrupted())
