# SPDX-License-Identifier: GPL-2.0-or-later
"""A comparison that cannot fail is worth nothing: mistakes that the others would notice.

Each breaks our engine, with a rule of another kernel's where there is one, and plays one of the scenarios that are
compared elsewhere.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Final

import pytest

from armprobe.kernel.code_tables import CodeTables
from armprobe.probes import ERAS, Era, Kprobe, Kretprobe
from armprobe.probes.eras.hit_rules import Status
from armprobe.probes.site import Site
from armprobe.probes.stepping import BrkStepping
from tests.oracle.live.conftest import Opponent
from tests.oracle.live.engine_probes import EngineProbes
from tests.oracle.live.journal import HITS, Event, comparable, differences
from tests.oracle.live.kernel_probes import Kernel
from tests.oracle.live.subjects import Action, Scenario, Subject, disagreements, played
from tests.oracle.references import DEFAULT, EVERYTHING, RECORDING  # tests have no import name to go by

V6_1: Final = ERAS["v6.1"]

# One kernel is enough to see that the comparison can fail.
_KERNELS: Final = ["recording"] if RECORDING else [DEFAULT, "6.1.192"] if EVERYTHING else ["6.1.192"]
pytestmark = pytest.mark.parametrize("reference", _KERNELS, indirect=True, scope="session")


def hit(s: Subject) -> None:
    """One kprobe with all that happens to it."""
    p = s.kprobe("oracle_add")
    s.register(p)
    s.call("oracle_add", 5, 7)
    s.disable(p)
    s.unregister(p)


def several(s: Subject) -> None:
    """Kprobes and kretprobes on one function, one of which skips it."""
    probes = [s.kprobe("oracle_add"), s.kretprobe("oracle_add"), s.kretprobe("oracle_add"), s.kprobe("oracle_add")]
    s.registered(*probes)
    s.call("oracle_add", 5, 7)
    s.unregistered(*probes)


def skipped(s: Subject) -> None:
    """A pre-handler that makes the function return at once; then another hit."""
    p = s.kprobe("oracle_add", pre=Action(result=1, set="pc", value=s.address("oracle_called")))
    q = s.kprobe("oracle_inner")
    s.registered(p, q)
    s.call("oracle_add", 1, 2)
    s.call("oracle_inner", 1)
    s.unregistered(p, q)


def missed(s: Subject) -> None:
    """A probe hit while another is handled."""
    p, q = s.kprobe("oracle_add", pre=Action(call="oracle_inner", argument=3)), s.kprobe("oracle_inner")
    s.registered(p, q)
    s.call("oracle_add", 1, 2)
    s.unregistered(p, q)


def returned(s: Subject) -> None:
    """A kretprobe with as many instances as there are by default."""
    p = s.kretprobe("oracle_recurse", data_size=8)
    s.register(p)
    s.call("oracle_recurse", 11)
    s.unregister(p)


def faulted(s: Subject) -> None:
    """A load in a slot from a page that is not there yet, and what is masked afterwards."""
    p = s.kprobe("oracle_load")
    s.register(p)
    s.call_with_user_memory("oracle_load")
    s.unregister(p)


def with_hits(**changes: Any) -> Era:
    return dataclasses.replace(V6_1, hits=dataclasses.replace(V6_1.hits, **changes))


OTHER_RULES: Final[dict[str, tuple[Era, Scenario]]] = {
    "the hit goes on after a pre-handler that returns 1": (with_hits(skip_ends_hit=False), skipped),
    "sp is an instance's fp": (with_hits(instance_fp="sp"), returned),
    "pc at return is not the return address": (with_hits(sets_return_pc=False), returned),
    "DAIF is not put back after a fault in the slot": (with_hits(fault_restores_daif=False), faulted),
    "re-entry from HIT_ACTIVE is not recovered from": (with_hits(recovers_from=frozenset({Status.HIT_SS})), missed),
}
OTHER_TEXT: Final[dict[str, tuple[Era, str]]] = {
    "the decoder of v4.8": (dataclasses.replace(V6_1, rows=ERAS["v4.8"].rows), "vfs_read"),
    "the areas of v6.9": (dataclasses.replace(V6_1, blacklist=ERAS["v6.9"].blacklist), "enter_vhe"),
    "a scan for exclusives of one instruction": (
        dataclasses.replace(V6_1, exclusives=dataclasses.replace(V6_1.exclusives, reach=0)),
        "oracle_exclusive",
    ),
}


def wrong(kernel: Kernel, engine: EngineProbes, scenario: Scenario) -> bool:
    """Whether the engine is seen to differ: in the journal, or by a guest that does not go on."""
    real = played(scenario, kernel)
    try:
        return bool(differences(real, played(scenario, engine)))
    except Exception:
        return True


@pytest.mark.parametrize("scenario", [hit, several, skipped, missed, returned, faulted])
def test_without_mistakes_nothing_is_noticed(kernel: Kernel, engine: EngineProbes, scenario: Scenario) -> None:
    assert differences(played(scenario, kernel), played(scenario, engine)) == []


@pytest.mark.parametrize("name", OTHER_RULES)
def test_rule_of_another_kernel_is_noticed(reference: Opponent, kernel: Kernel, name: str) -> None:
    era, scenario = OTHER_RULES[name]
    assert wrong(kernel, reference.engine(era), scenario)


@pytest.mark.parametrize("name", OTHER_TEXT)
def test_text_of_another_kernel_is_noticed(reference: Opponent, kernel: Kernel, name: str) -> None:
    era, function = OTHER_TEXT[name]
    assert disagreements(kernel, reference.engine(era), kernel.instructions(function))


def test_exception_table_that_is_not_looked_at_is_noticed(
    kernel: Kernel, engine: EngineProbes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CodeTables, "may_fault", lambda tables, address: False)
    assert disagreements(kernel, engine, kernel.instructions("__arch_copy_from_user"))


def oldest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    refresh = Site.refresh

    def reversed_refresh(site: Site) -> None:
        refresh(site)
        site.active = site.active[::-1]

    monkeypatch.setattr(Site, "refresh", reversed_refresh)


def uncounted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Kprobe, "nmissed", property(lambda probe: 0, lambda probe, value: None), raising=False)


def one_instance_more(monkeypatch: pytest.MonkeyPatch) -> None:
    prepare = Kretprobe.prepare

    def more(probe: Kretprobe, era: Era, memory: int) -> None:
        prepare(probe, dataclasses.replace(era, maxactive=era.maxactive + 1), memory)

    monkeypatch.setattr(Kretprobe, "prepare", more)


def masked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BrkStepping, "finish", lambda *arguments: None)


@pytest.mark.parametrize(
    ("mistake", "scenario"),
    [(oldest_first, several), (uncounted, missed), (one_instance_more, returned), (masked, hit)],
)
def test_mistake_is_noticed(
    reference: Opponent,
    kernel: Kernel,
    monkeypatch: pytest.MonkeyPatch,
    mistake: Callable[[pytest.MonkeyPatch], None],
    scenario: Scenario,
) -> None:
    mistake(monkeypatch)
    assert wrong(kernel, reference.engine(), scenario)


def test_every_field_and_event_counts(kernel: Kernel) -> None:
    """A journal with one field changed, or one event left out, added or moved, is another."""
    journal = played(several, kernel)
    assert {event["what"] for event in journal} >= {*HITS, "register", "unregister", "call"}
    assert differences(journal, journal) == []
    for number, event in enumerate(comparable(journal)):
        for field, value in event.items():
            changed: Event = {**event, field: value + 1 if isinstance(value, int) else ""}
            if field == "what":
                changed[field] = "peek"
            assert differences(journal, [*journal[:number], changed, *journal[number + 1 :]]), field
        without = [*journal[:number], *journal[number + 1 :]]
        assert differences(journal, without)
        assert differences(without, journal)
    assert differences(journal, [journal[1], journal[0], *journal[2:]])
