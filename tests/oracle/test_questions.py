# SPDX-License-Identifier: GPL-2.0-or-later
"""What one-liners and tracepoints answer in kernels of other series, and those kernels' own tracers, on the same run.

tests/linux has the comparisons, for the kernel that `armprobe linux` boots.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from armprobe.commands import Session
from armprobe.machine import Snapshot
from tests.linux import test_one_liners, test_trace_events
from tests.linux.shell import TRACING
from tests.oracle.guests import at_shell
from tests.oracle.references import ASKED, DEFAULT, EVERYTHING, REFERENCES, fetch  # tests have no import name to go by


@pytest.fixture(scope="module", params=[era for era in ASKED if era != DEFAULT])
def start(request: pytest.FixtureRequest) -> Iterator[tuple[Session, Snapshot]]:
    with Session(at_shell(fetch(REFERENCES[request.param]))) as session:
        yield session, session.machine.snapshot()


@pytest.fixture
def session(start: tuple[Session, Snapshot]) -> Iterator[Session]:
    """One at the shell, as the others."""
    session, snapshot = start
    session.machine.restore(snapshot)
    yield session
    session.run("unregister all")


@pytest.mark.parametrize(
    "compare",
    [
        test_one_liners.test_counts_and_histograms_are_those_of_a_hist_trigger,
        test_one_liners.test_funccount_is_what_the_function_tracer_sees,
        test_one_liners.test_a_graph_is_what_function_graph_sees,
        test_one_liners.test_latency_is_the_duration_in_a_graph,
        test_trace_events.test_events_are_those_of_the_guests_tracer,
        test_trace_events.system_calls_are_those_of_the_guests_tracer,
        test_trace_events.test_stacks_are_those_of_the_guests_stacktrace,
    ]
    if EVERYTHING
    else [test_one_liners.test_a_graph_is_what_function_graph_sees],
    ids=lambda compare: compare.__name__,
)
def test_the_guests_tracer_says_the_same(session: Session, compare: Callable[[Session], None]) -> None:
    triggers = session.guest.sh(f"cat {TRACING}/events/sched/sched_switch/trigger").out
    if compare is test_one_liners.test_counts_and_histograms_are_those_of_a_hist_trigger and "hist" not in triggers:
        pytest.skip("this kernel has no hist triggers (CONFIG_HIST_TRIGGERS)")
    compare(session)
