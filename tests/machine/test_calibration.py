# SPDX-License-Identifier: GPL-2.0-or-later
"""Finding what Unicorn keeps where, and refusing a build that does not keep it there."""

import errno
import os
import struct
from collections.abc import Callable, Iterator

import pytest
import unicorn
from unicorn import arm64_const as reg

from armprobe.machine import MachineError, StopReason, load
from armprobe.machine.core import calibration
from armprobe.machine.core.engine import CPU_MODELS, new_engine
from armprobe.probes import Kprobe, Kprobes, Kretprobe


@pytest.fixture(autouse=True)
def afresh() -> Iterator[None]:
    """Calibration happens once a process."""
    calibration.calibrate.cache_clear()
    yield
    calibration.calibrate.cache_clear()


@pytest.mark.parametrize("model", CPU_MODELS)
def test_what_is_found_is_what_the_registers_hold(model: str) -> None:
    layout = calibration.calibrate(model)
    engine = new_engine(model)
    engine.reg_write(reg.UC_ARM64_REG_X7, 0x1234_5678_9ABC_DEF0)
    engine.reg_write(reg.UC_ARM64_REG_PC, 0x4000_1000)
    engine.reg_write(reg.UC_ARM64_REG_VBAR_EL1, 0x4000_2000)
    context = bytes(engine.context_save())
    general = struct.unpack_from("<33Q", context, layout.x)
    assert general[7] == 0x1234_5678_9ABC_DEF0
    assert general[32] == 0x4000_1000
    assert struct.unpack_from("<Q", context, layout.vbar_el1) == (0x4000_2000,)


def test_every_register_has_a_place_of_its_own() -> None:
    layout = calibration.calibrate("cortex-a57")
    places = [value for name, value in vars(layout).items() if name not in ("x", "v_stride", "live")]
    assert len(set(places)) == len(places)
    assert not any(layout.x <= place < layout.x + 33 * 8 for place in places)


def _hide(needle: bytes) -> Callable[[bytes], bytes]:
    return lambda context: context.replace(needle, bytes(len(needle)))


def _double(needle: bytes) -> Callable[[bytes], bytes]:
    return lambda context: context + needle


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (_hide(struct.pack("<I", 0xF200_1234)), "the fault syndrome"),
        (_double(struct.pack("<I", 0xF200_1234)), "the fault syndrome"),
        (_hide(struct.pack("<Q", 0x1122_3344_5566_7780)), "sp_el0"),
        (lambda context: bytes(len(context)), "the general registers"),
    ],
    ids=["no syndrome", "two syndromes", "no system register", "nothing"],
)
def test_another_build_is_refused(monkeypatch: pytest.MonkeyPatch, damage: Callable[[bytes], bytes], what: str) -> None:
    real = calibration._context
    monkeypatch.setattr(calibration, "_context", lambda engine: damage(real(engine)))
    with pytest.raises(MachineError, match=f"does not keep {what} where") as caught:
        load("demo", memory="16M")
    assert "\n" not in str(caught.value)


def test_copies_serve_where_the_live_registers_are_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that copies the registers runs as one that uses the CPU's own."""

    def run() -> tuple[bool, list[str], bytes]:
        machine = load("demo", memory="16M")
        kprobes = Kprobes(machine)
        kprobes.register_kprobe(Kprobe("kfree"))
        kprobes.register_kretprobe(Kretprobe("kmalloc"))
        for length in (1, 77_777, 1, 1_000_000):
            machine.run(instructions=length)
            machine.step(3)
        return bool(machine.core.context.copy), [str(hit) for hit in kprobes.hits], bytes(machine.ram.data)

    copied, *found = run()
    assert not copied
    assert len(found[0]) > 100
    calibration.calibrate.cache_clear()
    monkeypatch.setattr(calibration, "_find_live", lambda *_: None)
    assert run() == (True, *found)


def test_copies_serve_where_proc_is_not_mounted(monkeypatch: pytest.MonkeyPatch) -> None:
    opens = os.open

    def without(path: str, *rest: int, **more: int) -> int:
        if path == "/proc/self/mem":
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return opens(path, *rest, **more)

    monkeypatch.setattr(os, "open", without)
    machine = load("demo", memory="16M")
    assert machine.core.context.copy
    assert machine.run(until="kfree").reason is StopReason.UNTIL


def test_a_pointer_to_what_is_allocated_before_the_cpu_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """In another engine something else may be there."""
    offset, _ = calibration.calibrate("cortex-a57").live or (0, 0)
    assert offset
    peek = calibration._peek

    def with_a_neighbour(memory: int, address: int, size: int) -> bytes:
        data = peek(memory, address, size)
        if size == calibration._SEARCH_BYTES:
            (pointer,) = struct.unpack_from("<Q", data, offset)
            data = struct.pack("<Q", pointer - 1608) + data[8:]
        return data

    calibration.calibrate.cache_clear()
    monkeypatch.setattr(calibration, "_peek", with_a_neighbour)
    assert (calibration.calibrate("cortex-a57").live or (0, 0))[0] == offset


def test_a_build_that_does_not_call_the_exception_hook_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unicorn.Uc, "emu_start", lambda *_, **__: None)
    with pytest.raises(MachineError, match="one call an exception"):
        calibration.calibrate("cortex-a57")


def test_unknown_model() -> None:
    with pytest.raises(MachineError, match="no CPU model 'z80': choose one of cortex-a53, cortex-a57"):
        load("demo", memory="16M", cpu="z80")


def test_a_pointer_that_execution_sets_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """It points into the CPU (so in Unicorn's library for aarch64), and is null in a core that has not run yet."""
    places, engines = calibration._live_places, list[unicorn.Uc]()

    def with_one_more(engine: unicorn.Uc, x: int) -> set[tuple[int, int]]:
        engines.append(engine)
        return places(engine, x) | ({(2040, x)} if engine is engines[0] else set())

    expected = calibration.calibrate("cortex-a57").live
    calibration.calibrate.cache_clear()
    monkeypatch.setattr(calibration, "_live_places", with_one_more)
    assert calibration.calibrate("cortex-a57").live == expected
