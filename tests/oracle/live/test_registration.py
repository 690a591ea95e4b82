# SPDX-License-Identifier: GPL-2.0-or-later
"""What registering gives: the result, and what becomes of the struct."""

import errno
import re

import pytest

from armprobe.probes import Kretprobe, ProbeError

from .conftest import Compare
from .journal import DISABLED, Event
from .subjects import EngineProbes, KernelProbes, Scenario, Subject


def results(journal: list[Event], what: str = "register") -> list[int]:
    """What each registration, or other change, gave."""
    return [int(event["result"]) for event in journal if event["what"] == what]


def one(**arguments: object) -> Scenario:
    """A kprobe that is registered, and unregistered if it was accepted."""

    def scenario(s: Subject) -> None:
        resolved = {name: s.address(value) if name == "at" else value for name, value in arguments.items()}  # type: ignore[arg-type]
        if "at" in resolved:
            resolved["addr"] = resolved.pop("at")
        s.unregistered(*s.registered(s.kprobe(**resolved)))  # type: ignore[arg-type]

    return scenario


REGISTRATIONS = {
    "neither symbol nor address": (one(), -errno.EINVAL),
    "both": (one(symbol="oracle_add", at="oracle_add"), -errno.EINVAL),
    "unknown symbol": (one(symbol="oracle_nowhere"), -errno.ENOENT),
    "symbol of a module": (one(symbol="oracle:oracle_add"), 0),
    "unknown module": (one(symbol="nowhere:oracle_add"), -errno.ENOENT),
    "unknown symbol of a module": (one(symbol="oracle:kfree"), -errno.ENOENT),
    "address outside kallsyms": (one(addr=0x1000), -errno.ENOENT),
    "address in the linear map": (one(addr=0xFFFF_0000_0000_0000), -errno.ENOENT),
    "address of a slot or a stack": (one(addr=0xFFFF_8000_09CF_0000), -errno.ENOENT),
    "address of a function": (one(at="oracle_add"), 0),
    "address and offset": (one(at="oracle_add", offset=4), 0),
    "module data": (one(at="oracle_add+0x8000"), -errno.EINVAL),
    "after a module": (one(at="oracle_add+0x100000"), -errno.ENOENT),
    "kernel data": (one(at="_etext+0x10000"), -errno.ENOENT),
    "text of the kernel that is freed": (one(symbol="start_kernel"), -errno.EINVAL),
    "misaligned": (one(at="oracle_add+2"), -errno.EINVAL),
    "misaligned by its offset": (one(symbol="oracle_add", offset=2), -errno.EINVAL),
    "past the function": (one(symbol="oracle_add", offset=16), 0),
    "far past the function": (one(symbol="vfs_read", offset=0x1000), None),
    "flags": (one(symbol="oracle_add", flags=0xFF), 0),
    "disabled": (one(symbol="oracle_add", flags=DISABLED), 0),
    "gone": (one(symbol="oracle_add", flags=1), 0),
    "start of a C function": (one(symbol="oracle_traced"), 0),
    "ftrace site": (one(symbol="oracle_traced", offset=4), -errno.EINVAL),
    "after the ftrace site": (one(symbol="oracle_traced", offset=8), 0),
    "ftrace site in the kernel": (one(symbol="vfs_read", offset=4), -errno.EINVAL),
    "start of a function in the kernel": (one(symbol="vfs_read", pre=None, post=None), 0),
    "memcpy": (one(symbol="memcpy", pre=None, post=None), 0),
    "kfree": (one(symbol="kfree", pre=None, post=None), 0),
    "__switch_to": (one(symbol="__switch_to", pre=None, post=None), 0),
    ".kprobes.text": (one(symbol="do_page_fault"), -errno.EINVAL),
    "NOKPROBE_SYMBOL": (one(symbol="do_mem_abort"), -errno.EINVAL),
    "noinstr": (one(symbol="el1h_64_sync_handler"), -errno.EINVAL),
    "entry": (one(symbol="vectors"), -errno.EINVAL),
    "idmap": (one(symbol="idmap_cpu_replace_ttbr1"), -errno.EINVAL),
    "NOKPROBE_SYMBOL in a module": (one(symbol="oracle_marked"), -errno.EINVAL),
    "offset in it": (one(symbol="oracle_marked", offset=8), -errno.EINVAL),
    ".kprobes.text of a module": (one(symbol="oracle_in_section"), -errno.EINVAL),
    "offset in that": (one(symbol="oracle_in_section", offset=8), -errno.EINVAL),
    "exception table": (one(symbol="__arch_copy_from_user", offset=0x2C), -errno.EINVAL),
    "exception table of a module": (one(symbol="oracle_load_guarded"), -errno.EINVAL),
    "next to it": (one(symbol="oracle_load_guarded", offset=4), 0),
    "jump label of a module": (one(symbol="oracle_switched", offset=8), -errno.EINVAL),
    "next to that": (one(symbol="oracle_switched", offset=12), 0),
    "breakpoint of WARN_ON": (one(symbol="oracle_warns", offset=24), -errno.EINVAL),
    "between exclusives": (one(symbol="oracle_exclusive", offset=12), -errno.EINVAL),
    "after exclusives": (one(symbol="oracle_exclusive", offset=20), 0),
    "trampoline": (one(symbol="__kretprobe_trampoline"), 0),
}


@pytest.mark.parametrize("name", REGISTRATIONS)
def test_registration(compare: Compare, name: str) -> None:
    scenario, expected = REGISTRATIONS[name]
    journal = compare(scenario)
    assert expected is None or results(journal) == [expected]


def test_same_struct_twice(compare: Compare, kernel: KernelProbes) -> None:
    """The kernel warns, too."""

    def scenario(s: Subject) -> None:
        p = s.kprobe(addr=s.address("oracle_add"))
        s.registered(p, p)
        s.call("oracle_add", 1, 2)
        s.unregister(p)

    assert results(compare(scenario)) == [0, -errno.EINVAL]
    assert re.search(r"WARNING: .* at kernel/kprobes.c:\d+ register_kprobe", kernel.shell.run("dmesg"))


def test_same_struct_twice_by_symbol(compare: Compare) -> None:
    def scenario(s: Subject) -> None:
        p = s.kprobe("oracle_add")
        s.registered(p, p)
        s.unregister(p)

    assert results(compare(scenario)) == [0, -errno.EINVAL]


def test_two_structs_at_one_address(compare: Compare) -> None:
    def scenario(s: Subject) -> None:
        p, q = s.kprobe("oracle_add"), s.kprobe(addr=s.address("oracle_add"))
        s.registered(p, q)
        s.unregistered(p, q)

    assert results(compare(scenario)) == [0, 0]


def test_registering_again(compare: Compare) -> None:
    """Unregistering leaves the address and DISABLED behind, which is a trap."""

    def scenario(s: Subject) -> None:
        p = s.kprobe("oracle_add")
        s.register(p)
        s.unregister(p)
        s.register(p)
        s.change(p, addr=0)
        s.register(p)
        s.call("oracle_add", 1, 2)
        s.enable(p)
        s.call("oracle_add", 1, 2)
        s.unregister(p)
        s.change(p, addr=0, flags=0)
        s.register(p)
        s.call("oracle_add", 1, 2)
        s.unregister(p)

    journal = compare(scenario)
    assert results(journal) == [0, -errno.EINVAL, 0, 0]
    hits = [event["what"] for event in journal if event["what"] in ("call", "pre", "enable")]
    assert hits == ["call", "enable", "pre", "call", "pre", "call"]


def test_registering_again_after_a_refusal(compare: Compare) -> None:
    def scenario(s: Subject) -> None:
        p = s.kprobe("oracle_traced", offset=4)
        s.register(p)
        s.register(p)

    assert results(compare(scenario)) == [-errno.EINVAL, -errno.EINVAL]


@pytest.mark.parametrize("change", ["enable", "disable"])
def test_change_of_one_that_is_not_registered(compare: Compare, change: str) -> None:
    def scenario(s: Subject) -> None:
        p = s.kprobe("oracle_add")
        getattr(s, change)(p)
        s.register(p)
        s.unregister(p)
        getattr(s, change)(p)

    assert results(compare(scenario), change) == [-errno.EINVAL] * 2


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"symbol": "oracle_add"}, 0),
        ({"symbol": "oracle_add", "offset": 4}, -errno.EINVAL),
        ({"symbol": "oracle_traced", "offset": 4}, -errno.EINVAL),
        ({"symbol": "oracle_traced", "offset": 8}, None),
        ({"symbol": "oracle_nowhere"}, -errno.ENOENT),
        ({}, -errno.EINVAL),
        ({"symbol": "oracle_marked"}, -errno.EINVAL),
        ({"symbol": "oracle_add", "data_size": 4096}, 0),
        ({"symbol": "oracle_add", "data_size": 4097}, -errno.E2BIG),
        ({"symbol": "oracle_add", "maxactive": 0}, 0),
        ({"symbol": "oracle_add", "maxactive": -1}, 0),
        ({"symbol": "oracle_add", "maxactive": 4000}, 0),
        ({"symbol": "oracle_marked", "maxactive": -1}, -errno.EINVAL),
    ],
)
def test_kretprobe(compare: Compare, arguments: dict[str, int], expected: int | None) -> None:
    def scenario(s: Subject) -> None:
        s.unregistered(*s.registered(s.kretprobe(**arguments)))  # type: ignore[arg-type]

    journal = compare(scenario)
    assert expected is None or results(journal) == [expected]


def test_kretprobe_by_address(compare: Compare) -> None:
    def scenario(s: Subject) -> None:
        probes = [s.kretprobe(addr=s.address(place)) for place in ("oracle_add", "oracle_add+4")]
        s.unregistered(*s.registered(*probes))

    assert results(compare(scenario)) == [0, -errno.EINVAL]


def test_default_of_maxactive(compare: Compare) -> None:
    def scenario(s: Subject) -> None:
        p = s.kretprobe("oracle_add")
        s.unregistered(*s.registered(p))

    assert compare(scenario)[0]["maxactive"] == 10  # max(10, 2 * CPUs)


@pytest.mark.parametrize("count", [0, -1])
def test_register_kprobes_of_none(compare: Compare, count: int) -> None:
    assert results(compare(lambda s: s.register_no_kprobes(count)), "register_many") == [-errno.EINVAL]


def test_unregistering_a_kretprobe_that_never_was_registered(snapshot, engine: EngineProbes) -> None:  # type: ignore[no-untyped-def]
    """The kernel follows a null pointer; here it is an error."""
    kernel = KernelProbes(snapshot)
    number = kernel.kretprobe("oracle_add")
    kernel.unregister(number)
    with pytest.raises(AssertionError):
        kernel.journal  # noqa: B018
    messages = kernel.shell.run("dmesg")
    assert "Unable to handle kernel NULL pointer dereference" in messages
    assert "unregister_kretprobes" in messages
    with pytest.raises(ProbeError) as caught:
        engine.kprobes.unregister(Kretprobe("oracle_add"))
    assert caught.value.errno == errno.EINVAL
