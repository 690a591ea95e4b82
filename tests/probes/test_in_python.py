# SPDX-License-Identifier: GPL-2.0-or-later
"""The short ways to say things in Python: registers by name, probes as contexts, fault injection, memory, symbols."""

import asyncio

import pytest

from armprobe import Session, machine
from armprobe.machine import Machine, StopReason
from armprobe.probes import ERAS, Fail, Kprobe, Kprobes, Kretprobe, KretprobeInstance, ProbeError, PtRegs


@pytest.fixture
def demo() -> Machine:
    guest = machine.load("demo")
    guest.run(until=guest.symbols["workload_round"].address)
    return guest


def test_registers_by_name() -> None:
    regs = PtRegs(range(31))
    assert [getattr(regs, f"x{number}") for number in range(31)] == list(range(31))
    regs.x7 = -1
    assert regs.regs[7] == (1 << 64) - 1
    regs.return_value = 5
    assert regs.x0 == regs.regs[0] == 5
    with pytest.raises(AttributeError):
        regs.x31 = 0  # type: ignore[attr-defined]


def test_a_probe_as_a_context(demo: Machine) -> None:
    seen: list[int] = []
    with demo.kprobes.kprobe("strlen", pre_handler=lambda p, regs: seen.append(regs.x0)) as probe:
        demo.run(instructions=300_000)
        assert demo.kprobes.list() == [probe]
    assert demo.kprobes.list() == []
    assert len(seen) == probe.hits > 0
    with pytest.raises(ProbeError, match="is not registered"):
        probe.unregister()


def test_a_probe_removed_within_its_context(demo: Machine) -> None:
    with demo.kprobes.kretprobe("strlen") as probe:
        probe.unregister()
    assert demo.kprobes.list() == []


def test_one_registry_for_a_machine(demo: Machine) -> None:
    made = Kprobes(demo, era="v5.10")
    assert demo.kprobes is made


def test_the_time_of_a_call(demo: Machine) -> None:
    """As the record of the return has it."""
    found: list[tuple[int | None, int | None]] = []

    def handler(ri: KretprobeInstance, regs: PtRegs) -> None:
        found.append((ri.entry_time, ri.elapsed))

    probe = demo.kprobes.register_kretprobe(Kretprobe("strlen", handler=handler))
    demo.run(instructions=300_000)
    recorded = [hit for hit in demo.kprobes.hits if hit.probe is probe and hit.stage.value == "return"]
    entries = [hit for hit in demo.kprobes.hits if hit.probe is probe and hit.stage.value == "entry"]
    assert found
    assert [elapsed for _, elapsed in found] == [
        round((end.seconds - start.seconds) * 1e9) for start, end in zip(entries, recorded, strict=True)
    ]
    assert [entered for entered, _ in found] == [round(start.seconds * 1e9) for start in entries]


@pytest.mark.parametrize("era", ERAS)
def test_a_call_fails(era: str, demo: Machine) -> None:
    """The caller sees the value, and the function is not executed: a probe on its second instruction has no hit."""
    kprobes = Kprobes(demo, era=era)
    inside = kprobes.register_kprobe(Kprobe("kmalloc+4"))
    probe = kprobes.fail("kmalloc", nth=2, times=2, returns=0)
    results = [demo.call("kmalloc", 32) for _ in range(5)]
    assert [result == 0 for result in results] == [False, True, True, False, False]
    assert (probe.calls, probe.failed, inside.hits) == (5, 2, 3)
    kprobes.unregister(probe)
    assert demo.call("kmalloc", 32)


@pytest.mark.parametrize("numbers", [{"nth": 0}, {"times": 0}, {"nth": -5}])
def test_numbers_that_mean_nothing(numbers: dict[str, int]) -> None:
    with pytest.raises(ProbeError, match="give a number from 1 on"):
        Fail("kmalloc", **numbers)  # type: ignore[arg-type]


def test_memory_by_size_and_by_type(demo: Machine) -> None:
    sp = demo.registers.sp
    data = demo.memory.read(sp, 8)
    assert demo.memory.u64(sp) == int.from_bytes(data, "little")
    assert demo.memory.u32(sp + 4) == int.from_bytes(data[4:], "little")
    assert (demo.memory.u16(sp), demo.memory.u8(sp)) == (int.from_bytes(data[:2], "little"), data[0])
    demo.memory.write(sp, b"caf\xc3\xa9 \xff\0")
    assert demo.memory.string(sp) == "caf\u00e9 \\xff"
    assert str(demo.memory.read(sp, "char[3]")) == '(char [3])"caf"'
    assert str(demo.memory.read(demo.symbols["workload"].address, "struct workload")).startswith("(struct workload){")


def test_symbols_by_a_pattern(demo: Machine) -> None:
    names = [symbol.name for symbol in demo.symbols.search("k*alloc")]
    assert "kmalloc" in names
    assert all(name.startswith("k") and name.endswith("alloc") for name in names)
    assert demo.symbols.search("no*such") == []


def test_the_next_stop() -> None:
    async def both() -> tuple[StopReason, int]:
        with Session("demo") as session:
            session.run("kprobe strlen stop=pre")
            turns = 0

            async def count() -> None:
                nonlocal turns
                while True:
                    turns += 1
                    await asyncio.sleep(0)

            counting = asyncio.create_task(count())
            stop = await session.next_stop()
            counting.cancel()
            return stop.reason, turns

    reason, turns = asyncio.run(both())
    assert reason is StopReason.PROBE
    assert turns > 0


def test_a_wait_that_is_cancelled() -> None:
    async def cancelled() -> StopReason:
        with Session("demo") as session:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(session.next_stop(), 0.05)
            return session.stop.reason

    assert asyncio.run(cancelled()) is StopReason.INTERRUPTED
