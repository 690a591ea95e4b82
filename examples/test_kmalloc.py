# SPDX-License-Identifier: GPL-2.0-or-later
"""Tests of the demo kernel's allocator: its functions are called, and watched while the kernel works."""

import pytest

from armprobe import Session
from armprobe.probes import Kprobes

PAGE = 4096


@pytest.fixture
def kernel(demo: Session) -> Session:
    """The demo kernel with its memory set up."""
    demo.machine.run(until="workload_round")
    return demo


@pytest.mark.parametrize(("size", "usable"), [(1, 16), (16, 16), (17, 32), (100, 128), (PAGE, PAGE)])
def test_sizes_are_rounded_up(kernel: Session, size: int, usable: int) -> None:
    pointer = kernel.machine.call("kmalloc", size, 0)
    assert kernel.machine.call("ksize", pointer) == usable


@pytest.mark.parametrize("size", [0, PAGE + 1])
def test_other_sizes_are_refused(kernel: Session, size: int) -> None:
    assert kernel.machine.call("kmalloc", size, 0) == 0


def test_memory_is_used_again(kernel: Session) -> None:
    first = kernel.machine.call("kmalloc", 24, 0)
    kernel.machine.call("kfree", first)
    assert kernel.machine.call("kmalloc", 24, 0) == first


def test_kmalloc_says_when_there_is_no_memory(kernel: Session, kprobes: Kprobes) -> None:
    with kprobes.fail("alloc_page", times=None, returns=0) as failing:
        while kernel.machine.call("kmalloc", PAGE, 0):  # until the free objects are used up
            pass
    assert failing.failed == 1


@pytest.mark.parametrize("demo", ["v4.8", "v6.1"], indirect=True)
def test_the_kernel_frees_what_it_allocates(kernel: Session, kprobes: Kprobes) -> None:
    """Its workload does so in each round, by the rules of an old and of a newer kernel alike."""
    with kprobes.kprobe("kmalloc") as allocated, kprobes.kprobe("kfree") as freed:
        kernel.machine.run(instructions=1)
        kernel.machine.run(until="workload_round")
    assert allocated.hits == freed.hits > 0
