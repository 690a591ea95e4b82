# SPDX-License-Identifier: GPL-2.0-or-later
"""What makes no sense: one clear sentence for it, and the guest as it was."""

from __future__ import annotations

import errno
import logging
import re
from collections.abc import Callable
from typing import Any

import pytest

from armprobe import machine
from armprobe.commands import Session
from armprobe.machine import StopReason
from armprobe.probes import Kprobe, Kprobes, Kretprobe, KretprobeInstance, ProbeError, PtRegs, Stage

NONSENSE: dict[str, tuple[dict[str, Any], int, str]] = {
    "symbol: number": ({"symbol_name": 5}, errno.EINVAL, "symbol_name is 5: give the name"),
    "symbol: bytes": ({"symbol_name": b"kfree"}, errno.EINVAL, "symbol_name is b'kfree': give the name"),
    "symbol: empty": ({"symbol_name": ""}, errno.ENOENT, "no symbol ''"),
    "symbol: nothing but an offset": ({"symbol_name": "+0x10"}, errno.ENOENT, "no symbol ''"),
    "symbol: endless": ({"symbol_name": "k" * 100_000}, errno.ENOENT, "no symbol"),
    "symbol: pattern": ({"symbol_name": "kmal*"}, errno.ENOENT, r"'kmal\*' is a pattern"),
    "symbol: backwards": ({"symbol_name": "kfree-4"}, errno.ENOENT, "'kfree-4': an offset counts forwards"),
    "symbol: module": ({"symbol_name": "nowhere:kfree"}, errno.ENOENT, "no symbol 'nowhere:kfree'"),
    "offset: negative in the symbol": ({"symbol_name": "kfree+-4"}, errno.EINVAL, "is -0x4: it counts bytes forwards"),
    "offset: absent": ({"symbol_name": "kfree+"}, errno.EINVAL, "'' in 'kfree.' is not a number"),
    "offset: two": ({"symbol_name": "kfree+4+4"}, errno.EINVAL, "'4.4' in .* is not a number"),
    "offset: negative": ({"symbol_name": "kfree", "offset": -4}, errno.EINVAL, "offset is -0x4: it can be 0 to"),
    "offset: too large": ({"symbol_name": "kfree", "offset": 1 << 32}, errno.EINVAL, "offset is 0x100000000: it can"),
    "offset: sum too large": (
        {"symbol_name": "kfree+0xfffffffc", "offset": 4}, errno.EINVAL, "is 0x100000000: it counts",
    ),
    "offset: far away": ({"symbol_name": "kfree+0xfffffff0"}, errno.ENOENT, "no symbol covers it"),
    "offset: text": ({"symbol_name": "kfree", "offset": "4"}, errno.EINVAL, "offset is '4': give a number"),
    "offset: fraction": ({"symbol_name": "kfree", "offset": 4.0}, errno.EINVAL, "offset is 4.0: give a number"),
    "address: negative": ({"addr": -4}, errno.EINVAL, "addr is -0x4: it can be 0 to 0xffffffffffffffff"),
    "address: too large": ({"addr": 1 << 64}, errno.EINVAL, "addr is 0x10000000000000000: it can be"),
    "address: text": ({"addr": "kfree"}, errno.EINVAL, "addr is 'kfree': give a number"),
    "address: truth": ({"addr": True}, errno.EINVAL, "addr is True: give a number"),
    "address: null": ({"addr": 0}, errno.EINVAL, "neither a symbol nor an address"),
    "address: last": ({"addr": 0xFFFF_FFFF_FFFF_FFFC}, errno.ENOENT, "the guest maps nothing there"),
    "address: unmapped": ({"addr": 0xFFFF_9000_0000_0000}, errno.ENOENT, "the guest maps nothing there"),
    "address: device": ({"addr": 0xFFFF_8000_4900_0000}, errno.ENOENT, r"register of a device \(pl011\)"),
    "address: user stack": ({"addr": 0x7F_F000}, errno.ENOENT, "it is in user space"),
    "handler: number": ({"symbol_name": "kfree", "pre_handler": 5}, errno.EINVAL, "pre_handler is 5: give a function"),
    "handler: name": ({"symbol_name": "kfree", "post_handler": "f"}, errno.EINVAL, "post_handler is 'f': give a"),
    "condition: number": ({"symbol_name": "kfree", "condition": 3}, errno.EINVAL, "condition is 3: give a function"),
    "condition: text": (
        {"symbol_name": "kfree", "condition": "x0 > 1"},
        errno.EINVAL,
        "condition is 'x0 > 1': give a function, a Condition of armprobe.expressions, or None",
    ),
    "stop: name": ({"symbol_name": "kfree", "stop": ["pre"]}, errno.EINVAL, "stop has 'pre', which is no stage"),
    "stop: another's": ({"symbol_name": "kfree", "stop": [Stage.RETURN]}, errno.EINVAL, "give Stage.PRE or Stage.POST"),
}  # fmt: skip


@pytest.mark.parametrize("name", NONSENSE)
def test_refused(demo: machine.Machine, kprobes: Kprobes, name: str) -> None:
    arguments, number, words = NONSENSE[name]
    start = demo.symbols["_stext"].address
    text = demo.memory.read(start, 0x5000)
    with pytest.raises(ProbeError) as caught:
        kprobes.register_kprobe(Kprobe(**arguments))
    assert caught.value.errno == number
    assert re.search(words, caught.value.reason), caught.value.reason
    assert demo.memory.read(start, 0x5000) == text
    assert kprobes.list() == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"handler": 5}, "EINVAL: handler is 5: give a function"),
        ({"entry_handler": "f"}, "EINVAL: entry_handler is 'f': give a function"),
        ({"stop": [Stage.PRE]}, "EINVAL: .*which is no stage of a kretprobe: give Stage.ENTRY or Stage.RETURN"),
        ({"maxactive": 10**9}, "ENOMEM: maxactive is 1000000000: there is memory for 65536"),
    ],
)
def test_refused_kretprobes(kprobes: Kprobes, arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ProbeError, match=words):
        kprobes.register_kretprobe(Kretprobe("kfree", **arguments))
    assert kprobes.list() == []


@pytest.mark.parametrize("what", ["run", "step", "restore", "reset"])
def test_what_a_handler_cannot_do(demo: machine.Machine, kprobes: Kprobes, what: str) -> None:
    state = demo.snapshot()
    requests: dict[str, Callable[[], object]] = {
        "run": lambda: demo.run(instructions=10),
        "step": demo.step,
        "restore": lambda: demo.restore(state),
        "reset": demo.reset,
    }

    def pre(probe: Kprobe, regs: PtRegs) -> None:
        requests[what]()

    probe = kprobes.register_kprobe(Kprobe("kfree", pre_handler=pre))
    assert demo.run(instructions=20_000).reason is StopReason.INSTRUCTIONS
    assert "this is a handler" in str(kprobes.errors[0].error)
    assert (probe.hits > 5, probe.nmissed) == (True, 0)


def test_no_probe_at_all(kprobes: Kprobes) -> None:
    what: Any
    for what in ("kfree", None, 5):
        for request in (kprobes.register_kprobe, kprobes.register_kretprobe, kprobes.unregister, kprobes.enable):
            with pytest.raises(ProbeError, match=r"EINVAL: .* is no (probe|Kprobe|Kretprobe): "):
                request(what)


def test_one_kind_as_the_other(kprobes: Kprobes) -> None:
    rp, p = Kretprobe("kfree"), Kprobe("kfree")
    for request, probe, words in (
        (kprobes.register_kprobe, rp, "is no Kprobe"),
        (kprobes.register_kretprobe, p, "is no Kretprobe"),
        (kprobes.register_kprobe, rp.kp, "kfree is a part of a kretprobe: register that"),
    ):
        with pytest.raises(ProbeError, match=words):
            request(probe)  # type: ignore[arg-type]
    assert kprobes.list() == []


# Handlers


def fails(*_: object) -> int:
    raise ValueError("a mistake of the user's")


@pytest.mark.parametrize("stage", ["pre_handler", "post_handler"])
def test_a_kprobes_handler_that_raises(
    demo: machine.Machine, kprobes: Kprobes, caplog: pytest.LogCaptureFixture, stage: str
) -> None:
    """The guest goes on; the log has the traceback, once."""
    expected = demo.call("checksum_mix", 1, 2)
    probe = Kprobe("checksum_mix")
    setattr(probe, stage, fails)
    kprobes.register_kprobe(probe)
    with caplog.at_level(logging.ERROR, "armprobe.probes"):
        assert [demo.call("checksum_mix", 1, 2) for _ in range(5)] == [expected] * 5
    assert (probe.hits, probe.nmissed) == (5, 0)
    (record,) = caplog.records
    assert "kprobe on checksum_mix raised" in record.getMessage()
    assert "in fails" in caplog.text
    assert "ValueError: a mistake of the user's" in caplog.text
    ((who, _, error),) = kprobes.errors
    assert who is probe
    assert isinstance(error, ValueError)


@pytest.mark.parametrize("stage", ["entry_handler", "handler"])
def test_a_kretprobes_handler_that_raises(demo: machine.Machine, kprobes: Kprobes, stage: str) -> None:
    expected = demo.call("checksum_mix", 1, 2)
    probe = Kretprobe("checksum_mix")
    setattr(probe, stage, fails)
    kprobes.register_kretprobe(probe)
    assert [demo.call("checksum_mix", 1, 2) for _ in range(25)] == [expected] * 25
    assert (probe.hits, probe.nmissed, len(kprobes.errors)) == (25, 0, 1)
    assert kprobes.outstanding == []


def test_a_session_shows_the_traceback_once() -> None:
    with Session("demo") as session:
        said: list[str] = []
        session.on_notice(said.append)
        session.kprobes.register_kprobe(Kprobe("kfree", pre_handler=fails))
        session.run("continue instructions=1000000")
        (text,) = [line for line in said if "raised" in line]
        assert text.startswith("a handler of the kprobe on kfree raised; the guest goes on\nTraceback (most recent")
        assert text.count("  File ") == 1  # the handler's own line, and none of ours
        assert "in fails" in text
        assert text.endswith("ValueError: a mistake of the user's\n")


@pytest.mark.parametrize("value", ["main", None, 1.5, [1]])
def test_nonsense_for_the_pc(demo: machine.Machine, kprobes: Kprobes, value: Any) -> None:
    def jump(p: Kprobe, regs: PtRegs) -> int:
        regs.pc = value
        return 1

    expected = demo.call("checksum_mix", 1, 2)
    kprobes.register_kprobe(Kprobe("checksum_mix", pre_handler=jump))
    assert demo.call("checksum_mix", 1, 2) == expected
    ((_, stage, error),) = kprobes.errors
    assert (stage, type(error)) == (Stage.PRE, TypeError)


def test_a_pc_that_is_not_asked_for(demo: machine.Machine, kprobes: Kprobes) -> None:
    """A pre-handler that returns 0 has not moved the PC, whatever it wrote there: setup_singlestep() overwrites it."""

    def scribble(p: Kprobe, regs: PtRegs) -> int:
        regs.pc = 0xDEAD_0000
        return 0

    expected = demo.call("checksum_mix", 1, 2), demo.call("pcrel_cbz", 0)
    kprobes.register_kprobe(Kprobe("checksum_mix", pre_handler=scribble))
    kprobes.register_kprobe(Kprobe("pcrel_cbz", pre_handler=scribble))  # simulated
    assert (demo.call("checksum_mix", 1, 2), demo.call("pcrel_cbz", 0)) == expected
    assert kprobes.errors == []


@pytest.mark.parametrize("target", [0xDEAD_0000_0000_0000, 0, 2, -1, 0xFFFF_8000_7FFF_F000])
def test_a_pc_that_leads_nowhere(demo: machine.Machine, kprobes: Kprobes, target: int) -> None:
    """The guest takes the abort that a jump there gives, as on any machine; the machine itself is none the worse."""
    state = demo.snapshot()

    def jump(p: Kprobe, regs: PtRegs) -> int:
        regs.pc = target
        return 1

    probe = kprobes.register_kprobe(Kprobe("kfree", pre_handler=jump))
    demo.run(instructions=3_000_000)
    assert probe.hits == 1
    assert "el1h_64_sync" in demo.console.read().decode() or demo.registers["esr_el1"] >> 26 in (0x21, 0x22)
    kprobes.unregister(probe)
    demo.restore(state)
    assert demo.run(instructions=1_000_000).reason is StopReason.INSTRUCTIONS


@pytest.mark.parametrize("value", [0xD, 0x1F, -1])
def test_nonsense_for_pstate(demo: machine.Machine, kprobes: Kprobes, value: int) -> None:
    state = demo.snapshot()

    def change(p: Kprobe, regs: PtRegs) -> None:
        regs.pstate = value

    probe = kprobes.register_kprobe(Kprobe("kfree", post_handler=lambda p, regs, flags: change(p, regs)))
    demo.run(instructions=100_000)
    assert probe.hits >= 1
    kprobes.unregister(probe)
    demo.restore(state)
    assert demo.run(instructions=1_000_000).reason is StopReason.INSTRUCTIONS


def test_nonsense_for_a_result(demo: machine.Machine, kprobes: Kprobes) -> None:
    def result(ri: KretprobeInstance, regs: PtRegs) -> None:
        regs.regs[0] = "much"  # type: ignore[call-overload]

    expected = demo.call("checksum_mix", 1, 2)
    kprobes.register_kretprobe(Kretprobe("checksum_mix", handler=result))
    assert demo.call("checksum_mix", 1, 2) == expected
    assert type(kprobes.errors[0].error) is TypeError
