# SPDX-License-Identifier: GPL-2.0-or-later
"""What registering gives: the result, and what becomes of the struct."""

import errno

import pytest

from armprobe.probes import Kretprobe, ProbeError
from tests.docs.refusals import CASES  # tests have no import name to go by
from tests.oracle.live.conftest import Compare, Opponent
from tests.oracle.live.engine_probes import EngineProbes
from tests.oracle.live.journal import DISABLED, Event
from tests.oracle.live.kernel_probes import Kernel
from tests.oracle.live.subjects import Scenario, Subject
from tests.oracle.references import DEFAULT


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


def each(*places: str, kretprobe: bool = False, data_size: int = 0) -> Scenario:
    """Probes at "symbol" or "symbol+offset", by symbol, without handlers."""

    def scenario(s: Subject) -> None:
        for place in places:
            symbol, _, offset = place.partition("+")
            where = int(offset or "0", 0)
            if kretprobe:
                number = s.kretprobe(symbol, offset=where, entry=None, handler=None, data_size=data_size)
            else:
                number = s.kprobe(symbol, offset=where, pre=None, post=None)
            s.unregistered(*s.registered(number))

    return scenario


def found(function: str, word: int, index: int, beyond: int = 0) -> Scenario:
    """A kprobe at that occurrence of an instruction in what a compiler made, or some bytes behind it."""

    def scenario(s: Subject) -> None:
        words = [s.guest.memory.u32(address) for address in s.instructions(function)]
        offset = 4 * [i for i, found in enumerate(words) if found == word][index] + beyond
        s.unregistered(*s.registered(s.kprobe(function, offset=offset)))

    return scenario


def registered_again(s: Subject) -> None:
    """Without changing anything in the struct."""
    p = s.kprobe("oracle_add")
    s.register(p)
    s.unregister(p)
    s.register(p)


def registered_twice(s: Subject) -> None:
    """The same struct."""
    p = s.kprobe("oracle_add")
    s.registered(p, p)
    s.unregister(p)


NOP, BUG = 0xD503201F, 0xD4210000  # BRK #0x800
BLACKLISTED = ("el1h_64_sync_handler", "vectors", "gic_handle_irq", "idmap_cpu_replace_ttbr1", "__hyp_stub_vectors")

# The rows of the table in docs/kprobes.md, by what they say is asked for.
DOCUMENTED: dict[str, Scenario] = {
    "a function": each("oracle_add", "vfs_read"),
    "an instruction inside a function": each("oracle_add+4", "vfs_read+8"),
    "`memcpy`, `__switch_to`": each("memcpy", "__switch_to"),
    "an instruction that only works where it is (B, ADR, CBZ, LDR literal...)": each(
        "oracle_tail+4", "oracle_each+0x3c", "oracle_inner_simulated", "oracle_each+0x48"
    ),
    "symbol and address both given": one(symbol="oracle_add", at="oracle_add"),
    "neither given": one(),
    "a symbol that there is not": one(symbol="oracle_nowhere"),
    "an address that no symbol covers": one(addr=0x1000),
    "a misaligned address, by symbol + 2 too": each("oracle_add+2", "vfs_read+2"),
    "data": one(at="oracle_add+0x8000"),
    "code marked NOKPROBE_SYMBOL": each("oracle_marked", "oracle_marked+8", "do_mem_abort"),
    "`.kprobes.text`": each("oracle_in_section", "oracle_in_section+8", "do_page_fault"),
    "entry, irqentry, noinstr, idmap and hyp text": each(*BLACKLISTED),
    "an instruction with an exception-table entry": each("oracle_load_guarded", "__arch_copy_from_user+0x2c"),
    "MRS of DAIF": each("oracle_refused"),
    "MSR": each("oracle_refused+4", "oracle_refused+8"),
    "HINTs but NOP, BTI, PAC* and XPACLRI": each("oracle_refused+12", "oracle_refused+16"),
    "PRFM (literal)": each("oracle_refused+20"),
    "a load or store exclusive": each("oracle_refused+32", "oracle_refused+40", "oracle_exclusive+16"),
    "an instruction between the two": each("oracle_refused+36", "oracle_exclusive+12"),
    "the same struct a second time": registered_twice,
    "a struct that was unregistered, its `addr` still set": registered_again,
    "a kretprobe off the function's entry": each("oracle_add+4", "vfs_read+8", kretprobe=True),
    "a kretprobe whose data_size is over 4096": each("oracle_add", kretprobe=True, data_size=4097),
    "disabling a probe that is not registered": lambda s: s.disable(s.kprobe("oracle_add")),
}


@pytest.mark.parametrize("row", [case[0] for case in CASES[:-1]])
@pytest.mark.sample
def test_row_of_the_documentation(compare: Compare, reference: Opponent, row: str) -> None:
    """What it says of v6.1, and that others do as theirs. The last is below: the kernel crashes."""
    expected = next(kernel for what, kernel, _ in CASES if what == row)
    journal = compare(DOCUMENTED[row])
    gave = [int(event["result"]) for event in journal if event["what"] in ("register", "disable")]
    if row.startswith(("the same struct", "a struct that was")):
        assert gave.pop(0) == 0
    assert gave
    if reference.era.name == DEFAULT:
        assert {errno.errorcode.get(-result, "0") for result in gave} == {expected}


REGISTRATIONS = {
    "symbol of a module": (one(symbol="oracle:oracle_add"), 0),
    "unknown module": (one(symbol="nowhere:oracle_add"), -errno.ENOENT),
    "unknown symbol of a module": (one(symbol="oracle:kfree"), -errno.ENOENT),
    "address in the linear map": (one(addr=0xFFFF_0000_0000_0000), -errno.ENOENT),
    "address of a slot or a stack": (one(addr=0xFFFF_8000_09CF_0000), -errno.ENOENT),
    "address of a function": (one(at="oracle_add"), 0),
    "address and offset": (one(at="oracle_add", offset=4), 0),
    "after a module": (one(at="oracle_add+0x100000"), -errno.ENOENT),
    "kernel data": (one(at="_etext+0x10000"), -errno.ENOENT),
    "text of the kernel that is freed": (one(symbol="start_kernel"), -errno.EINVAL),
    "misaligned": (one(at="oracle_add+2"), -errno.EINVAL),
    "past the function": (one(symbol="oracle_add", offset=16), 0),
    "far past the function": (one(symbol="vfs_read", offset=0x1000), None),
    "flags": (one(symbol="oracle_add", flags=0xFF), 0),
    "disabled": (one(symbol="oracle_add", flags=DISABLED), 0),
    "gone": (one(symbol="oracle_add", flags=1), 0),
    "start of a C function": (one(symbol="oracle_traced"), 0),
    "ftrace site": (one(symbol="oracle_traced", offset=4), -errno.EINVAL),
    "after the ftrace site": (one(symbol="oracle_traced", offset=8), 0),
    "ftrace site in the kernel": (one(symbol="vfs_read", offset=4), -errno.EINVAL),
    "kfree": (each("kfree"), 0),
    "next to an exception-table entry": (one(symbol="oracle_load_guarded", offset=4), 0),
    "jump label of a module": (found("oracle_switched", NOP, 1), -errno.EINVAL),
    "next to that": (found("oracle_switched", NOP, 1, 4), 0),
    "breakpoint of WARN_ON": (found("oracle_warns", BUG, 0), -errno.EINVAL),
    "after exclusives": (one(symbol="oracle_exclusive", offset=20), 0),
    "SVC": (each("oracle_refused+24"), -errno.EINVAL),
    "ERET": (each("oracle_refused+28"), -errno.EINVAL),
    "trampoline": (one(symbol="__kretprobe_trampoline"), 0),
}
"""What is registered, and what v6.1 says to it, None where that may change with an update of the kernel."""


@pytest.mark.parametrize("name", REGISTRATIONS)
@pytest.mark.sample
def test_registration(compare: Compare, reference: Opponent, name: str) -> None:
    scenario, expected = REGISTRATIONS[name]
    journal = compare(scenario)
    assert expected is None or results(journal) == [expected] or reference.era.name != DEFAULT


def test_same_struct_twice(compare: Compare, reference: Opponent, kernel: Kernel) -> None:
    """The kernel warns, too, but for early ones."""

    def scenario(s: Subject) -> None:
        p = s.kprobe(addr=s.address("oracle_add"))
        s.registered(p, p)
        s.call("oracle_add", 1, 2)
        s.unregister(p)

    assert results(compare(scenario)) == [0, -errno.EINVAL]
    warned = kernel.dmesg(r"WARNING: (?:.* at )?kernel/kprobes.c:\d+ (?:at )?register_kprobe")
    assert bool(warned) is (reference.era.name != "v5.10")


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
        ({"addr": 0x1000}, -errno.ENOENT),  # of a kprobe it is EINVAL in early eras
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


def test_default_of_maxactive(compare: Compare, reference: Opponent) -> None:
    def scenario(s: Subject) -> None:
        p = s.kretprobe("oracle_add")
        s.unregistered(*s.registered(p))

    assert compare(scenario)[0]["maxactive"] == reference.era.maxactive  # max(10, 2 * CPUs)


@pytest.mark.parametrize("count", [0, -1])
def test_register_kprobes_of_none(compare: Compare, count: int) -> None:
    assert results(compare(lambda s: s.register_no_kprobes(count)), "register_many") == [-errno.EINVAL]


def test_unregistering_a_kretprobe_that_never_was_registered(reference: Opponent, engine: EngineProbes) -> None:
    """Kernels since commit d741bf41d7c7 (v5.11) follow a null pointer; here it is an error."""
    if reference.era.name != "v5.10":
        kernel = reference.kernel()
        number = kernel.kretprobe("oracle_add")
        kernel.unregister(number)
        kernel.oops()
        assert kernel.dmesg("Unable to handle kernel NULL pointer dereference")
        assert kernel.dmesg("unregister_kretprobes")
    with pytest.raises(ProbeError) as caught:
        engine.kprobes.unregister(Kretprobe("oracle_add"))
    assert caught.value.errno == errno.EINVAL
