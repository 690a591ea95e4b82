# SPDX-License-Identifier: GPL-2.0-or-later
"""Kretprobes: what handlers are given, which calls are missed, and what handlers can change."""

import pytest

from armprobe.probes import Era
from tests.oracle.live.conftest import Compare, Opponent
from tests.oracle.live.journal import REGISTERS, stages, the_last
from tests.oracle.live.subjects import Action, Subject, at_stage


def masked_on_return(era: Era) -> int:
    """DAIF in return handlers: see HitRules.masks_returns, and a trampoline that is a BRK masks everything."""
    return 0x3C0 if era.hits.trampoline == "brk" else 0x80 if era.hits.masks_returns else 0


def test_pt_regs_and_daif_at_entry_and_return(compare: Compare, reference: Opponent) -> None:
    """pt_regs and DAIF at both stages, the instance, and all registers after it."""

    def scenario(s: Subject) -> None:
        p = s.kretprobe("oracle_add", data_size=16)
        s.register(p)
        s.call("oracle_add", 5, 7)
        s.unregister(p)
        s.call("oracle_add", 5, 7)

    journal = compare(scenario)
    assert stages(journal) == [("entry", 0), ("return", 0)]
    entry, returned = the_last(journal, "entry"), the_last(journal, "return")
    assert (entry["daif"], returned["daif"]) == (0x3C0, masked_on_return(reference.era))
    assert returned["data"] == ~5 & (1 << 64) - 1
    assert returned["ret_addr"] == entry["x30"]
    assert returned["pc"] == (entry["x30"] if reference.era.hits.sets_return_pc else 0)
    assert returned["x30"] == "the trampoline"


def test_pstate_at_return_is_nzcv_daif_current_el_and_spsel(compare: Compare) -> None:
    """A function that changes all registers it may, and the flags."""

    def scenario(s: Subject) -> None:
        p = s.kretprobe("oracle_spoil")
        s.register(p)
        s.call("oracle_spoil")
        s.unregister(p)

    assert the_last(compare(scenario), "return")["pstate"] == 0x6000_0005


@pytest.mark.parametrize("register", REGISTERS)
@pytest.mark.sample
def test_return_handler_sets_x0_to_x29_and_nzcv_only(compare: Compare, register: str) -> None:
    """pc, x30 and the rest of pstate are ignored."""
    value = 0x9000_03C5 if register == "pstate" else 0x1234_5678
    set_by = Action() if register in ("x29", "sp") else Action(set=register, value=value)  # the caller needs those

    def scenario(s: Subject) -> None:
        p = s.kretprobe("oracle_add", handler=set_by)
        s.register(p)
        s.call("oracle_add", 5, 7)
        s.unregister(p)

    called = the_last(compare(scenario), "call")
    if register in REGISTERS[:29]:
        assert called[register] == value or register == "x29"
    elif register == "pstate":
        assert called["nzcv"] == 0x9000_0000


@pytest.mark.parametrize(("register", "value"), [("x0", 40), ("x1", 41), ("x30", 0)])
def test_register_set_by_the_entry_handler(compare: Compare, register: str, value: int) -> None:
    def scenario(s: Subject) -> None:
        setting = Action(set=register, value=value or s.address("oracle_elsewhere"))
        p = s.kretprobe("oracle_add", entry=setting)
        s.register(p)
        s.call("oracle_add", 5, 7)
        s.unregister(p)

    compare(scenario)


@pytest.mark.parametrize("handlers", [(True, False), (False, True), (False, False)])
def test_handlers_left_out(compare: Compare, handlers: tuple[bool, bool]) -> None:
    def scenario(s: Subject) -> None:
        entry, handler = (Action() if there else None for there in handlers)
        p = s.kretprobe("oracle_add", entry=entry, handler=handler)
        s.register(p)
        s.call("oracle_add", 5, 7)
        s.unregister(p)

    assert len(stages(compare(scenario))) == sum(handlers)


@pytest.mark.parametrize("maxactive", [1, 3, 7])
def test_empty_pool_counts_nmissed_and_the_outermost_calls_are_traced(compare: Compare, maxactive: int) -> None:
    """The outermost calls have the instances; the others are missed, and counted."""

    def scenario(s: Subject) -> None:
        p = s.kretprobe("oracle_recurse", maxactive=maxactive, data_size=8)
        s.register(p)
        s.call("oracle_recurse", 6)
        s.call("oracle_recurse", 1)
        s.unregister(p)

    journal = compare(scenario)
    assert stages(journal)[: 2 * maxactive] == [("entry", 0)] * maxactive + [("return", 0)] * maxactive
    missed = 7 - maxactive + max(2 - maxactive, 0)
    assert the_last(journal, "unregister")["missed_returns"] == missed


def test_entry_handler_that_returns_1_recycles_the_instance(compare: Compare) -> None:
    """Its return is not waited for, the instance is free again, and nothing counts as missed."""

    def scenario(s: Subject) -> None:
        p = s.kretprobe("oracle_recurse", maxactive=1, entry=Action(result=1))
        s.register(p)
        s.call("oracle_recurse", 3)
        s.unregister(p)

    journal = compare(scenario)
    assert stages(journal) == [("entry", 0)] * 4
    assert the_last(journal, "unregister")["missed_returns"] == 0


def test_two_on_one_function_return_oldest_first(compare: Compare) -> None:
    """The oldest handler runs first on return; with a kprobe there too, which sees x30 as they left it."""

    def scenario(s: Subject) -> None:
        probes = [s.kprobe("oracle_add"), s.kretprobe("oracle_add"), s.kretprobe("oracle_add"), s.kprobe("oracle_add")]
        s.registered(*probes)
        s.call("oracle_add", 5, 7)
        s.unregistered(*probes)

    before = [("pre", 3), ("entry", 2), ("entry", 1), ("pre", 0)]
    assert stages(compare(scenario)) == [*before, ("post", 3), ("post", 0), ("return", 1), ("return", 2)]


def test_two_on_a_recursive_function(compare: Compare) -> None:
    def scenario(s: Subject) -> None:
        probes = [s.kretprobe("oracle_recurse", maxactive=2), s.kretprobe("oracle_recurse", maxactive=3)]
        s.registered(*probes)
        s.call("oracle_recurse", 4)
        s.unregistered(*probes)

    compare(scenario)


def test_tail_call(compare: Compare) -> None:
    """Two functions that return to the same place, both probed."""

    def scenario(s: Subject) -> None:
        probes = [s.kretprobe("oracle_tail"), s.kretprobe("oracle_add")]
        s.registered(*probes)
        s.call("oracle_tail", 5, 7)
        s.unregistered(*probes)

    journal = compare(scenario)
    assert stages(journal) == [("entry", 0), ("entry", 1), ("return", 1), ("return", 0)]


def test_result_of_an_earlier_handler(compare: Compare) -> None:
    """What one handler writes, the next is given."""

    def scenario(s: Subject) -> None:
        probes = [s.kretprobe("oracle_add", handler=Action(set="x0", value=99)), s.kretprobe("oracle_add")]
        s.registered(*probes)
        s.call("oracle_add", 5, 7)
        s.unregistered(*probes)

    assert the_last(compare(scenario), "return")["x0"] == 99


@pytest.mark.parametrize("stage", ["entry", "handler"])
def test_probes_hit_in_a_handler_are_missed(compare: Compare, stage: str) -> None:
    """They are missed: kprobes, and kretprobes by their entry."""

    def scenario(s: Subject) -> None:
        nested = Action(call="oracle_inner", argument=11)
        entry, handler = (nested, Action()) if stage == "entry" else (Action(), nested)
        outer = s.kretprobe("oracle_add", entry=entry, handler=handler)
        inner = [s.kprobe("oracle_inner"), s.kretprobe("oracle_inner"), s.kprobe("oracle_inner", offset=4)]
        s.registered(outer, *inner)
        s.call("oracle_add", 1, 2)
        s.call("oracle_inner", 4)
        s.unregistered(outer, *inner)

    journal = compare(scenario)
    assert sum(int(e["nested"]) for e in journal if e["what"] in ("entry", "return")) == 33
    assert [e["nmissed"] for e in journal if e["what"] == "unregister"] == [0, 1, 1, 1]


@pytest.mark.parametrize("stage", ["pre", "post"])
def test_kretprobe_hit_in_a_kprobe_handler_is_missed(compare: Compare, stage: str) -> None:
    def scenario(s: Subject) -> None:
        outer = at_stage(s, stage, Action(call="oracle_recurse", argument=2))
        inner = s.kretprobe("oracle_recurse")
        s.registered(outer, inner)
        s.call("oracle_add", 1, 2)
        s.call("oracle_recurse", 1)
        s.unregistered(outer, inner)

    assert the_last(compare(scenario), "unregister")["nmissed"] == 3


@pytest.mark.usefixtures("handlers_may_fault")
def test_fault_of_a_missed_probe_in_a_return_handler(compare: Compare, reference: Opponent) -> None:
    """Exceptions are unmasked in the handler. The kernel puts DAIF back when a first hit's slot faults, not here."""

    def scenario(s: Subject) -> None:
        s.call_with_user_memory("oracle_load")
        page = int(the_last(s.journal, "call")["x2"])  # the same each time
        outer = s.kretprobe("oracle_add", handler=Action(call="oracle_load", argument=page))
        inner = s.kprobe("oracle_load")
        s.registered(outer, inner)
        s.call_with_user_memory("oracle_add")
        s.unregistered(outer, inner)

    journal = compare(scenario)
    returned = the_last(journal, "return")
    assert (returned["daif"], returned["daif_after"]) == (masked_on_return(reference.era), 0x3C0)
    assert the_last(journal, "unregister")["nmissed"] == 2


@pytest.mark.usefixtures("handlers_may_fault")
def test_fault_in_a_return_handler(compare: Compare, reference: Opponent) -> None:
    """In what it calls: the page comes in; and it is counted where faults in handlers are."""

    def scenario(s: Subject) -> None:
        s.call_with_user_memory("oracle_load")
        page = int(the_last(s.journal, "call")["x2"])  # the same each time
        p = s.kretprobe("oracle_add", handler=Action(call="oracle_load", argument=page))
        s.register(p)
        s.call_with_user_memory("oracle_add")
        s.unregister(p)

    journal = compare(scenario)
    assert stages(journal) == [("entry", 0), ("return", 0)]
    assert the_last(journal, "unregister")["nmissed"] == int(reference.era.hits.fault_handlers)


def test_disabled(compare: Compare) -> None:
    def scenario(s: Subject) -> None:
        p = s.kretprobe("oracle_add", flags=2)
        s.register(p)
        s.call("oracle_add", 1, 2)
        s.enable(p)
        s.call("oracle_add", 1, 2)
        s.disable(p)
        s.call("oracle_add", 1, 2)
        s.unregister(p)

    assert stages(compare(scenario)) == [("entry", 0), ("return", 0)]


def test_kprobe_where_the_function_returns_to(compare: Compare) -> None:
    def scenario(s: Subject) -> None:
        probes = [s.kretprobe("oracle_add"), s.kprobe("oracle_called")]
        s.registered(*probes)
        s.call("oracle_add", 1, 2)
        s.unregistered(*probes)

    assert stages(compare(scenario)) == [("entry", 0), ("return", 0), ("pre", 1), ("post", 1)]


def test_first_instruction_simulated(compare: Compare) -> None:
    def scenario(s: Subject) -> None:
        probes = [s.kretprobe("oracle_inner_simulated"), s.kprobe("oracle_inner_simulated")]
        s.registered(*probes)
        s.call("oracle_inner_simulated", 0)
        s.call("oracle_inner_simulated", 3)
        s.unregistered(*probes)

    compare(scenario)


def test_c_function(compare: Compare) -> None:
    """At its start is what ftrace patches; the kretprobe is before that."""

    def scenario(s: Subject) -> None:
        probes = [s.kretprobe("oracle_traced"), s.kprobe("oracle_traced"), s.kprobe("oracle_traced", offset=8)]
        s.registered(*probes)
        s.call("oracle_traced", 21)
        s.unregistered(*probes)

    assert the_last(compare(scenario), "return")["x0"] == 21


@pytest.fixture
def trampoline(reference: Opponent) -> str:
    """The name of the kernel's."""
    if reference.era.hits.trampoline != "direct":
        pytest.skip("this kernel's trampoline is a BRK, on which there can be no probe")
    return "kretprobe_trampoline" if reference.era.name == "v5.10" else "__kretprobe_trampoline"


def test_kprobe_on_the_trampoline_fires(compare: Compare, trampoline: str) -> None:
    def scenario(s: Subject) -> None:
        probes = [s.kretprobe("oracle_add"), s.kprobe(trampoline)]
        s.registered(*probes)
        s.call("oracle_add", 1, 2)
        s.unregistered(*probes)

    assert stages(compare(scenario)) == [("entry", 0), ("pre", 1), ("post", 1), ("return", 0)]


# Of the trampoline: a store, x0 = sp, the call of the handler, and what follows when all registers are restored
@pytest.mark.parametrize(("offset", "before"), [(0x4, 1), (0x6C, 1), (0x70, 1), (0xC0, 0), (0xC4, 0)])
def test_kprobe_inside_the_trampoline(
    compare: Compare, reference: Opponent, trampoline: str, offset: int, before: int
) -> None:
    """Between the call of the handler and the end, registers that a function may change are not compared."""
    if offset > 0x68 and not reference.era.hits.frame.record:
        offset -= 4  # the instruction that makes x29 point to a frame record is not there

    def scenario(s: Subject) -> None:
        probes = [s.kretprobe("oracle_add"), s.kprobe(trampoline, offset=offset)]
        s.registered(*probes)
        s.call("oracle_add", 1, 2)
        s.unregistered(*probes)

    journal = compare(scenario)
    hit = [("pre", 1), ("post", 1)]
    assert stages(journal) == [("entry", 0), *hit * before, ("return", 0), *hit * (1 - before)]
    assert the_last(journal, "pre")["pc"] == the_last(journal, "register")["addr"]


def test_instructions_of_the_trampoline_that_are_refused(
    compare: Compare, reference: Opponent, trampoline: str
) -> None:
    """MRS of DAIF, MSR of NZCV."""
    less = 0 if reference.era.hits.frame.record else 4

    def scenario(s: Subject) -> None:
        assert not s.registered(*(s.kprobe(trampoline, offset=offset) for offset in (0x4C, 0x80 - less)))

    compare(scenario)


def test_kprobes_on_the_trampoline_come_and_go(compare: Compare, trampoline: str) -> None:
    """Registered before any kretprobe, disabled, enabled, unregistered; two of them, one that skips the other."""

    def scenario(s: Subject) -> None:
        older, newer = s.kprobe(trampoline), s.kprobe(trampoline)
        s.register(older)
        s.call("oracle_add", 1, 2)
        returns = s.kretprobe("oracle_add")
        s.registered(returns, newer)
        s.call("oracle_add", 1, 2)
        s.disable(older)
        s.call("oracle_add", 1, 2)
        s.disable(newer)
        s.call("oracle_add", 1, 2)
        s.enable(older)
        s.call("oracle_add", 1, 2)
        s.unregistered(older, newer)
        s.call("oracle_add", 1, 2)
        s.unregister(returns)

    def around(*hits: tuple[str, int]) -> list[tuple[str, int]]:
        return [("entry", 2), *hits, ("return", 2)]

    both = [("pre", 1), ("pre", 0), ("post", 1), ("post", 0)]
    calls = [around(*both), around(("pre", 1), ("post", 1)), around(), around(("pre", 0), ("post", 0)), around()]
    # numbers are in the order of definition: the older kprobe 0, the newer 1, the kretprobe 2
    assert stages(compare(scenario)) == [hit for call in calls for hit in call]


def test_probes_hit_in_a_handler_on_the_trampoline_are_missed(compare: Compare, trampoline: str) -> None:
    def scenario(s: Subject) -> None:
        on = s.kprobe(trampoline, pre=Action(call="oracle_inner", argument=11))
        probes = [s.kretprobe("oracle_add"), on, s.kprobe("oracle_inner")]
        s.registered(*probes)
        s.call("oracle_add", 1, 2)
        s.unregistered(*probes)

    assert the_last(compare(scenario), "unregister")["nmissed"] == 1
