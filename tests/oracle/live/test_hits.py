# SPDX-License-Identifier: GPL-2.0-or-later
"""Hits of kprobes: what handlers are given, in which order they run, and what they can change."""

import struct

import pytest

from armprobe.probes import Kretprobe, KretprobeInstance, PtRegs, Status
from tests.linux.shell import NotFinished  # tests have no import name to go by
from tests.oracle.live.conftest import Compare, Opponent, counts_preemption
from tests.oracle.live.engine_probes import EngineProbes
from tests.oracle.live.journal import DISABLED, HITS, stages, the_last
from tests.oracle.live.kernel_probes import Kernel
from tests.oracle.live.subjects import Action, Subject, at_stage, played


def test_pt_regs_and_daif_at_pre_and_post(compare: Compare) -> None:
    """All registers at both stages, what is masked in the handlers, and the state after the hit."""

    def scenario(s: Subject) -> None:
        p = s.kprobe("oracle_add")
        s.register(p)
        s.call("oracle_add", 5, 7)
        s.unregister(p)
        s.call("oracle_add", 5, 7)

    journal = compare(scenario)
    assert [event["what"] for event in journal] == ["register", "pre", "post", "call", "unregister", "call"]
    pre, post = journal[1:3]
    assert (pre["daif"], post["daif"]) == (0x3C0, 0x3C0)
    address = int(journal[0]["addr"])
    assert (pre["pc"], post["pc"]) == (address, address + 4)
    assert (pre["pstate"], post["pstate"]) == (0x9000_0005, 0x9000_0005)


@pytest.mark.parametrize("first", ["oracle_add", "oracle_inner_simulated"])
def test_flags_of_post_are_0(compare: Compare, first: str) -> None:
    def scenario(s: Subject) -> None:
        probes = [s.kprobe(first), s.kprobe(first)]
        s.registered(*probes)
        s.call(first, 5, 7)
        s.unregistered(*probes)

    assert [event["flags"] for event in compare(scenario) if event["what"] == "post"] == [0, 0]


def test_mdscr_is_left_alone(compare: Compare) -> None:
    """A BRK needs neither MDE nor KDE, and nothing is stepped by the hardware."""

    def scenario(s: Subject) -> None:
        probes = [s.kprobe("oracle_add"), s.kretprobe("oracle_add"), s.kprobe("oracle_add", offset=4)]
        s.registered(*probes)
        s.call("oracle_add", 5, 7)
        s.unregistered(*probes)

    seen = [event["mdscr"] for event in compare(scenario) if "mdscr" in event]
    assert seen == [0x1000] * 6


def test_sp_is_above_pt_regs(kernel: Kernel, engine: EngineProbes, reference: Opponent) -> None:
    """At every stage in the kernel; here on return, where the trampoline makes a struct pt_regs in guest memory."""

    def scenario(s: Subject) -> None:
        probes = [s.kprobe("oracle_add"), s.kretprobe("oracle_add")]
        s.registered(*probes)
        s.call("oracle_add", 5, 7)
        s.unregistered(*probes)

    below = [event["below_sp"] for event in played(scenario, kernel) if event["what"] in HITS]
    assert below == [reference.era.hits.frame.size] * 4
    guest, found = engine.guest, []
    if engine.kprobes.trampoline != "direct":
        return

    def returned(instance: KretprobeInstance, regs: PtRegs) -> None:
        found.append((guest.memory.read(regs.sp - 0x150, 0x100), struct.pack("<32Q", *regs.regs, regs.sp)))

    engine.clear()
    probe = engine.kprobes.register_kretprobe(Kretprobe("oracle_add", handler=returned))
    engine.call("oracle_add", 5, 7)
    engine.kprobes.unregister(probe)
    ((memory, registers),) = found
    assert memory == registers


@pytest.mark.parametrize("arguments", [(5, 7), (1 << 63, 0x1234_5678_9ABC_DEF1)])
def test_every_kind_of_instruction(compare: Compare, arguments: tuple[int, ...]) -> None:
    """Registers before and after each, executed out of line or simulated; which are refused."""
    words = 48

    def scenario(s: Subject) -> None:
        probes = [s.kprobe("oracle_each", offset=4 * word) for word in range(words)]
        accepted = s.registered(*probes)
        s.call("oracle_each", *arguments)
        s.unregistered(*accepted)

    journal = compare(scenario)
    accepted = [event for event in journal if event["what"] == "register" and not event["result"]]
    simulated = [event for event in accepted if not event["instructions"]]
    print(len(accepted), len(simulated))
    assert len(stages(journal)) > 2 * len(accepted) - 2 * 4  # but for three words never reached


@pytest.mark.parametrize("probed", ["oracle_inner", "oracle_inner_simulated", "oracle_inner+4"])
@pytest.mark.parametrize("stage", ["pre", "post"])
def test_reentry_from_hit_active_or_hit_ssdone_is_missed_and_executed(
    compare: Compare, probed: str, stage: str
) -> None:
    """A probe hit from a handler of another is missed; its instruction is executed."""

    def scenario(s: Subject) -> None:
        function, _, offset = probed.partition("+")
        calling = Action(call=function, argument=11)
        outer = at_stage(s, stage, calling)
        inner = [s.kprobe(function, offset=int(offset or "0")) for _ in range(2)]
        s.registered(outer, *inner)
        s.call("oracle_add", 1, 2)
        s.call(function, 4)
        s.unregistered(outer, *inner)

    journal = compare(scenario)
    assert the_last(journal, stage)["nested"] == 0
    assert [e["nested"] for e in journal if e["what"] == stage and e["probe"] == 0] == [33]
    assert stages(journal) == [("pre", 0), ("post", 0), ("pre", 2), ("pre", 1), ("post", 2), ("post", 1)]
    assert [e["nmissed"] for e in journal if e["what"] == "unregister"] == [0, 1, 1]


def test_probes_on_one_instruction_run_newest_first(compare: Compare) -> None:
    """Before it and after it."""

    def scenario(s: Subject) -> None:
        probes = [s.kprobe("oracle_add"), s.kprobe("oracle_add", post=None), s.kprobe("oracle_add", pre=None)]
        s.registered(*probes)
        s.call("oracle_add", 1, 2)
        s.disable(probes[0])
        s.call("oracle_add", 1, 2)
        s.unregister(probes[2])
        s.call("oracle_add", 1, 2)
        s.unregistered(*probes[:2])

    journal = compare(scenario)
    assert stages(journal)[:4] == [("pre", 1), ("pre", 0), ("post", 2), ("post", 0)]


@pytest.mark.parametrize("deciding", [0, 1, 2])
def test_pre_that_returns_1_stops_the_rest_and_all_posts(compare: Compare, deciding: int) -> None:
    """Having set the PC: the instruction is not executed either, and nothing counts as missed."""

    def scenario(s: Subject) -> None:
        skip = Action(result=1, set="pc", value=s.address("oracle_called"))
        probes = [s.kprobe("oracle_add", pre=skip if i == deciding else Action()) for i in range(3)]
        s.registered(*probes)
        s.call("oracle_add", 1, 2)
        s.unregistered(*probes)
        other = s.kprobe("oracle_add")
        s.register(other)
        s.call("oracle_add", 1, 2)
        s.unregister(other)

    journal = compare(scenario)
    assert stages(journal)[: 3 - deciding] == [("pre", i) for i in (2, 1, 0)][: 3 - deciding]
    assert [e["x0"] for e in journal if e["what"] == "call"] == [1, 3]
    assert {e["nmissed"] for e in journal if e["what"] == "unregister"} == {0}


@pytest.mark.parametrize(
    ("stage", "register", "value"),
    [
        ("pre", "x0", 40),
        ("pre", "x1", 41),
        ("post", "x2", 42),
        ("post", "x29", 43),
        ("pre", "pstate", 0x6000_0005),
        ("post", "pstate", 0x5000_0085),
    ],
)
def test_register_set_by_a_handler(compare: Compare, stage: str, register: str, value: int) -> None:
    def scenario(s: Subject) -> None:
        probes = [at_stage(s, stage, Action(set=register, value=value)), s.kprobe("oracle_add", offset=8)]
        s.registered(*probes)
        s.call("oracle_add", 1, 2)
        s.unregistered(*probes)

    compare(scenario)


def test_pc_set_by_a_post_handler(compare: Compare) -> None:
    def scenario(s: Subject) -> None:
        p = s.kprobe("oracle_add", post=Action(set="pc", value=s.address("oracle_add+12")))
        s.register(p)
        s.call("oracle_add", 1, 2)
        s.unregister(p)

    assert the_last(compare(scenario), "call")["x0"] == 1


def test_text_is_restored_when_all_probes_there_are_disabled(compare: Compare) -> None:
    """And not before."""

    def scenario(s: Subject) -> None:
        place = s.address("oracle_add")
        probes = [s.kprobe("oracle_add"), s.kprobe("oracle_add", flags=2)]
        s.peek(place)
        s.registered(*probes)
        for change, number in ((s.disable, 0), (s.enable, 1), (s.disable, 1), (s.enable, 0), (s.enable, 0)):
            s.peek(place)
            change(probes[number])
            s.call("oracle_add", 1, 2)
        s.peek(place)
        s.unregistered(*probes)
        s.peek(place)

    journal = compare(scenario)
    assert len({e["word"] for e in journal if e["what"] == "peek"}) == 2


def test_fault_in_hit_ss_cancels_the_hit(compare: Compare) -> None:
    """A load from a page that is not there yet: the probe is cancelled, and hit again when the page is there."""

    def scenario(s: Subject) -> None:
        p = s.kprobe("oracle_load")
        q = s.kprobe("oracle_load", offset=4)
        s.registered(p, q)
        s.call_with_user_memory("oracle_load")
        s.unregistered(p, q)

    assert stages(compare(scenario)) == [("pre", 0), ("pre", 0), ("post", 0), ("pre", 1), ("post", 1)]


@pytest.mark.usefixtures("handlers_may_fault")
def test_fault_in_reenter_cancels_the_reentry(compare: Compare) -> None:
    """The same in a function that a handler calls: the inner probe is missed twice."""

    def scenario(s: Subject) -> None:
        s.call_with_user_memory("oracle_load")
        page = int(the_last(s.journal, "call")["x2"])  # the same each time
        outer = s.kprobe("oracle_add", pre=Action(call="oracle_load", argument=page))
        inner = s.kprobe("oracle_load")
        s.registered(outer, inner)
        s.call_with_user_memory("oracle_add")
        s.unregistered(outer, inner)

    journal = compare(scenario)
    assert stages(journal) == [("pre", 0), ("post", 0)]
    assert the_last(journal, "unregister")["nmissed"] == 2


def test_page_fault_in_a_handler_where_preemption_is_counted(reference: Opponent) -> None:
    """In the kernel an oops. Our handlers are none of the guest's, which does not know, and brings the page in."""
    if not counts_preemption(reference.era):
        pytest.skip("this kernel does not count preemption, and repairs faults in handlers")

    def scenario(s: Subject) -> None:
        s.call_with_user_memory("oracle_load")
        page = int(the_last(s.journal, "call")["x2"])  # the same each time
        s.register(s.kprobe("oracle_add", pre=Action(call="oracle_load", argument=page)))
        s.call_with_user_memory("oracle_add")

    kernel, engine = reference.kernel(), reference.engine()
    scenario(kernel)
    kernel.oops()
    assert kernel.dmesg("Unable to handle kernel paging request at virtual address 0000")
    scenario(engine)
    assert stages(engine.journal) == [("pre", 0), ("post", 0)]


def test_missed_hit_counts_for_every_probe_there(compare: Compare) -> None:
    """Also for one that is disabled."""

    def scenario(s: Subject) -> None:
        outer = s.kprobe("oracle_add", pre=Action(call="oracle_inner", argument=11))
        inner = [s.kprobe("oracle_inner", flags=DISABLED if i == 1 else 0) for i in range(3)]
        s.registered(outer, *inner)
        s.call("oracle_add", 1, 2)
        s.unregistered(outer, *inner)

    unregistered = [e["nmissed"] for e in compare(scenario) if e["what"] == "unregister"]
    assert unregistered[:2] == [0, 1]


def test_reentry_from_hit_ss_is_missed(reference: Opponent) -> None:
    """A probe hit while the instruction of another is executed out of line, by way of a fault there.

    v6.1 recovers, as it was updated, and the others end in a BUG.
    """
    recovers = Status.HIT_SS in reference.era.hits.recovers_from
    for subject in (reference.kernel(), reference.engine()):
        nothing = subject.nothing()
        loads, faults = subject.kprobe("oracle_load"), subject.kprobe("do_sea")
        assert subject.registered(loads, faults) == [loads, faults]
        if recovers or isinstance(subject, Kernel):
            death = subject.die("oracle_load", nothing)
            assert death.external_abort is recovers  # the fault alone
            assert death.words == ("" if recovers else reference.era.hits.unrecoverable)
        else:
            with pytest.raises(NotFinished, match=reference.era.hits.unrecoverable):
                subject.die("oracle_load", nothing)
        assert stages(subject.journal) == [("pre", loads)]
        assert (subject.nmissed(loads), subject.nmissed(faults)) == (0, int(recovers))


@pytest.mark.parametrize(
    ("address", "cancelled"), [(0x10, True), (0xFFFF_A000_0000_0000, False), (0x00FF_0000_0000_0000, False)]
)
@pytest.mark.sample
def test_fault_in_hit_ss_that_is_no_page_fault(reference: Opponent, address: int, cancelled: bool) -> None:
    """In the kernel's half of the addresses: the fault is seen in the slot, and the hit has no end.

    Only a kernel that survives the second probe can tell.
    """
    if Status.HIT_SS not in reference.era.hits.recovers_from:
        pytest.skip("this kernel ends in a BUG at the second probe")
    said = []
    for subject in (reference.kernel(), reference.engine()):
        loads, dies = subject.kprobe("oracle_load"), subject.kprobe("die")
        assert subject.registered(loads, dies) == [loads, dies]
        death = subject.die("oracle_load", address)
        assert (death.where == "oracle_load+0x0") is cancelled
        said.append((death, stages(subject.journal), subject.nmissed(loads), subject.nmissed(dies)))
    assert said[0] == said[1]
    assert said[0][3] == 1 - cancelled


def reenter_from_reenter(subject: Subject) -> str:
    """The same while the instruction is that of a probe that was missed itself; what the kernel, or armprobe, says."""
    outer = subject.kprobe("oracle_add", pre=Action(call="oracle_load", argument=subject.nothing()))
    inner = subject.kprobe("oracle_load"), subject.kprobe("do_sea")
    assert subject.registered(outer, *inner) == [0, 1, 2]
    if isinstance(subject, EngineProbes):
        subject.call("oracle_add", 1, 2)
        (failed,) = subject.kprobes.errors  # of the handler: the function that it called did not return
        return str(failed.error)
    death = subject.die("oracle_add", 1, 2)
    assert death.bug
    assert stages(subject.journal) == [("pre", outer)]
    return death.words


def test_reentry_from_reenter_is_a_bug(reference: Opponent) -> None:
    for subject in (reference.kernel(), reference.engine()):
        assert reference.era.hits.unrecoverable in reenter_from_reenter(subject)


def test_reentry_from_reenter_is_not_counted_as_missed(reference: Opponent) -> None:
    for subject in (reference.kernel(), reference.engine()):
        reenter_from_reenter(subject)
        assert [subject.nmissed(number) for number in range(3)] == [0, 1, 0]


def test_lowest_free_slot_is_used_next(compare: Compare) -> None:
    """What is in a slot is compared by `compare`; here that the lowest free one is used next."""
    slots: list[list[int]] = []

    def scenario(s: Subject) -> None:
        probes = [s.kprobe("oracle_each", offset=4 * word) for word in range(1, 6)]
        s.registered(*probes[:4])
        s.unregistered(probes[1], probes[2])
        s.registered(probes[4])
        s.unregistered(probes[0], probes[3], probes[4])
        slots.append([int(event["slot"]) for event in s.journal if event["what"] == "register"])

    compare(scenario)
    for first, second, third, fourth, fifth in slots:
        assert first < second < third < fourth
        assert fifth == second
